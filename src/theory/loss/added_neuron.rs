//! What one more neuron can gain: the exact score of a resampling direction.

use super::{ApproximateLoss, LossError};
use faer::MatRef;

/// The best decoder column for one added encoder row, and what the pair gains.
#[derive(Debug, Clone, PartialEq)]
pub struct AddedNeuron {
    /// v = q(w) / Σ_d M_d z_d², n_r numbers; zero if the row fires on no feature of positive mass.
    pub column: Vec<f64>,
    /// L̃ before minus L̃ after the neuron (v, w) is added: ‖q(w)‖² / Σ_d M_d z_d² ≥ 0.
    pub decrease: f64,
}

impl ApproximateLoss {
    /// Scores the encoder row w (n_p numbers) at a point whose residuals E are given (see [`Self::residuals`]): with
    /// z_d = σ_c(⟨w, p_d⟩) and q = Σ_d M_d z_d e_d, the best decoder column lowers L̃ by exactly ‖q‖² / Σ_d M_d z_d².
    /// The other neurons stay as they are.
    pub fn added_neuron(&self, residuals: MatRef<'_, f64>, row: &[f64]) -> Result<AddedNeuron, LossError> {
        if residuals.nrows() != self.n_r() || residuals.ncols() != self.n() {
            return Err(super::shape("residuals", format!("{}×{}", self.n_r(), self.n()), residuals));
        }
        let row = MatRef::from_row_major_slice(row, 1, row.len());
        self.check_encoder("row", row)?;
        let codes = self.codes_of(row);
        let mut q = vec![0.0; self.n_r()];
        let mut weight = 0.0;
        for (d, &mass) in self.masses.iter().enumerate() {
            let z = codes[(0, d)];
            if z != 0.0 {
                weight += mass * z * z;
                q.iter_mut().zip(residuals.col(d).iter()).for_each(|(sum, e)| *sum += mass * z * e);
            }
        }
        if weight == 0.0 {
            return Ok(AddedNeuron { column: vec![0.0; self.n_r()], decrease: 0.0 });
        }
        let decrease = q.iter().map(|x| x * x).sum::<f64>() / weight;
        q.iter_mut().for_each(|x| *x /= weight);
        Ok(AddedNeuron { column: q, decrease })
    }
}
