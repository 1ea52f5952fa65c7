//! ℓ({d, e}) in closed form for c = 0.
//!
//! With magnitudes y of d and y' of e the pre-activation of neuron i is α_i y + β_i y', which changes sign on the ray y' = ρ_i y,
//! ρ_i = −α_i/β_i, if α_i β_i < 0. Between two such rays the residual is linear, y·g + y'·h, so that
//!
//! ```text
//!     ℓ({d, e}) = Σ_wedges ‖g‖² E[y²;·] + 2⟨g, h⟩ E[y y';·] + ‖h‖² E[y'²;·]
//! ```
//!
//! with the moments of [`super::magnitudes::Magnitudes::wedge`]. A pair costs n_q log n_q + n_r·(number of rays).

use super::{ExactLoss, ExactLossError, Restricted};
use crate::theory::loss::Weights;
use faer::Mat;
use rayon::prelude::*;

impl ExactLoss {
    /// ℓ({d, e}) for d ≠ e; needs c = 0.
    pub fn pair_loss(&self, weights: &Weights, d: usize, e: usize) -> Result<f64, ExactLossError> {
        self.homogeneous()?;
        Ok(self.wedges(&self.restrict(weights, &[d, e])?))
    }

    /// Σ_{d<e} ℓ({d, e}), the coefficient of p² in L − L̃; needs c = 0. Pairs are spread over threads and summed in order.
    pub fn pair_sum(&self, weights: &Weights) -> Result<f64, ExactLossError> {
        self.homogeneous()?;
        self.features.residuals(weights)?;
        let A = &weights.W * self.features.P();
        let R = self.features.R();
        let columns = |M: faer::MatRef<'_, f64>, d: usize, e: usize| {
            Mat::from_fn(M.nrows(), 2, |k, j| M[(k, if j == 0 { d } else { e })])
        };
        let rows: Vec<f64> = (0..self.n())
            .into_par_iter()
            .map(|d| {
                let mut pair = Restricted { A: Mat::new(), R: Mat::new(), V: weights.V.as_ref(), c: 0.0 };
                let of_pair = |e| {
                    (pair.A, pair.R) = (columns(A.as_ref(), d, e), columns(R, d, e));
                    self.wedges(&pair)
                };
                (d + 1..self.n()).map(of_pair).sum()
            })
            .collect();
        Ok(rows.iter().sum())
    }

    fn wedges(&self, pair: &Restricted<'_>) -> f64 {
        let (alpha, beta) = (pair.A.col(0), pair.A.col(1));
        let (mut g, mut h) = (pair.R.col(0).to_owned(), pair.R.col(1).to_owned());
        let mut rays: Vec<(f64, usize)> = Vec::new();
        for i in 0..pair.A.nrows() {
            // Just above the ray y' = 0.
            if alpha[i] > 0.0 || (alpha[i] == 0.0 && beta[i] > 0.0) {
                g -= pair.V.col(i) * faer::Scale(alpha[i]);
                h -= pair.V.col(i) * faer::Scale(beta[i]);
            }
            if (alpha[i] > 0.0 && beta[i] < 0.0) || (alpha[i] < 0.0 && beta[i] > 0.0) {
                rays.push((-alpha[i] / beta[i], i));
            }
        }
        rays.sort_by(|x, y| x.0.total_cmp(&y.0));
        let mut total = 0.0;
        let mut near = self.magnitudes.wedge(0.0);
        for (rho, neuron) in rays.into_iter().map(|(rho, i)| (rho, Some(i))).chain([(f64::INFINITY, None)]) {
            let far = self.magnitudes.wedge(rho);
            total += g.squared_norm_l2() * (near.squared - far.squared)
                + 2.0 * (g.transpose() * &h) * (near.mixed - far.mixed)
                + h.squared_norm_l2() * (near.other_squared - far.other_squared);
            if let Some(i) = neuron {
                let sign = if beta[i] > 0.0 { 1.0 } else { -1.0 };
                g -= pair.V.col(i) * faer::Scale(sign * alpha[i]);
                h -= pair.V.col(i) * faer::Scale(sign * beta[i]);
            }
            near = far;
        }
        total
    }
}
