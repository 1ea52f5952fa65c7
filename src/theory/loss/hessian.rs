//! The Hessian of L̃ inside a cell. With B_id = 1(⟨w_i, p_d⟩ > c), z_id the codes and e_d the residuals its blocks are
//!
//! ```text
//!     (v_i, v_j) = 2 Σ_d M_d z_id z_jd · I
//!     (w_i, w_j) = 2 ⟨v_i, v_j⟩ Σ_d B_id B_jd M_d p_d p_dᵀ
//!     (v_i, w_j) = −2 Σ_d M_d (δ_ij B_id e_d − z_id B_jd v_j) p_dᵀ
//! ```
//!
//! It is not block diagonal in the neurons (eq. 50 of the proof of Thm 3.2 says it is): neurons that fire on one feature interact.

use super::products::{add_product, mask, product};
use super::{ApproximateLoss, LossError, Weights};
use faer::Mat;

/// Largest number of rows of a dense Hessian: 4096² numbers are 128 MiB.
pub const DENSE_LIMIT: usize = 4096;

impl ApproximateLoss {
    /// The Hessian at `weights` times `direction`, without the Hessian: ten products of the cost of W P or V Z, against five for
    /// the gradients.
    pub fn hessian_product(&self, weights: &Weights, direction: &Weights) -> Result<Weights, LossError> {
        self.check_pair(weights, direction)?;
        let par = self.par;
        let (V, dV) = (weights.V.as_ref(), direction.V.as_ref());
        let Z = self.codes_of(weights.W.as_ref());
        let rates = self.code_rates(&Z, direction.W.as_ref());
        let ED = self.weighted(self.residuals_of(V, Z.as_ref()));
        let mut change = product(dV, Z.as_ref(), par);
        add_product(&mut change, 1.0, V, rates.as_ref(), par);
        let change = self.weighted(change);

        // −2 (Ė D Zᵀ + E D Żᵀ) and −2 [B∘(ΔVᵀ E D + Vᵀ Ė D)] Pᵀ with Ė = −(ΔV Z + V Ż).
        let mut decoder = product(change.as_ref(), Z.transpose(), par);
        add_product(&mut decoder, -1.0, ED.as_ref(), rates.transpose(), par);
        let mut flow = product(V.transpose(), change.as_ref(), par);
        add_product(&mut flow, -1.0, dV.transpose(), ED.as_ref(), par);
        mask(&mut flow, &Z);
        let encoder = product(flow.as_ref(), self.P().transpose(), par);
        Ok(Weights { V: decoder * faer::Scale(2.0), W: encoder * faer::Scale(2.0) })
    }

    /// The Hessian as a matrix, from its blocks. Coordinates: v_1, .., v_{n_q} (n_r numbers each), then w_1, .., w_{n_q} (n_p
    /// each). Refused above [`DENSE_LIMIT`] rows.
    pub fn hessian(&self, weights: &Weights) -> Result<Mat<f64>, LossError> {
        self.check(weights)?;
        let (n_q, n_p, n_r) = (weights.n_q(), self.n_p(), self.n_r());
        let dimension = n_q * (n_p + n_r);
        if dimension > DENSE_LIMIT {
            return Err(LossError::TooLarge { dimension, limit: DENSE_LIMIT });
        }
        let Z = self.codes_of(weights.W.as_ref());
        let E = self.residuals_of(weights.V.as_ref(), Z.as_ref());
        let gram = product(weights.V.transpose(), weights.V.as_ref(), self.par);
        let (v, w) = (|i: usize, k: usize| i * n_r + k, |i: usize, k: usize| n_q * n_r + i * n_p + k);
        let mut H = Mat::zeros(dimension, dimension);
        for (d, &mass) in self.masses.iter().enumerate() {
            let p = |k: usize| self.P[(k, d)];
            let firing: Vec<usize> = (0..n_q).filter(|&i| Z[(i, d)] != 0.0).collect();
            for &i in &firing {
                for &j in &firing {
                    for k in 0..n_r {
                        H[(v(i, k), v(j, k))] += 2.0 * mass * Z[(i, d)] * Z[(j, d)];
                        let residual = if i == j { E[(k, d)] } else { 0.0 };
                        let mixed = -2.0 * mass * (residual - Z[(i, d)] * weights.V[(k, j)]);
                        for l in 0..n_p {
                            H[(v(i, k), w(j, l))] += mixed * p(l);
                            H[(w(j, l), v(i, k))] += mixed * p(l);
                        }
                    }
                    for k in 0..n_p {
                        for l in 0..n_p {
                            H[(w(i, k), w(j, l))] += 2.0 * mass * gram[(i, j)] * p(k) * p(l);
                        }
                    }
                }
            }
        }
        Ok(H)
    }
}
