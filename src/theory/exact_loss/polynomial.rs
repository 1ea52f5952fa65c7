//! L and L − L̃ as polynomials in p, by enumeration of the active sets (small n).

use super::{ExactLoss, ExactLossError, check_probability};
use crate::theory::loss::Weights;
use rayon::prelude::*;

/// Largest number of features whose 2^n active sets are enumerated.
pub const FEATURES: usize = 16;

/// L(p) = Σ_k S_k p^k (1−p)^(n−k) with S_k = Σ_{|A| = k} ℓ(A), beside L̃(p) = p (1−p)^(n−1) S̃.
#[derive(Debug, Clone, PartialEq)]
pub struct LossPolynomial {
    /// S_0 = 0, S_1, .., S_n.
    pub by_size: Vec<f64>,
    /// S̃ = E\[y²\] Σ_d ‖e_d‖²: equal to S_1 if c = 0.
    pub approximate: f64,
}

impl LossPolynomial {
    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.by_size.len() - 1
    }

    /// L at the firing probability p.
    pub fn value(&self, p: f64) -> Result<f64, ExactLossError> {
        check_probability("p", p)?;
        Ok(bernstein(&self.by_size, p))
    }

    /// L̃ at p.
    pub fn approximate(&self, p: f64) -> Result<f64, ExactLossError> {
        check_probability("p", p)?;
        Ok(p * (1.0 - p).powi(self.n() as i32 - 1) * self.approximate)
    }

    /// L − L̃ at p, without cancellation for small p.
    pub fn gap(&self, p: f64) -> Result<f64, ExactLossError> {
        check_probability("p", p)?;
        Ok(bernstein(&self.gap_by_size(), p))
    }

    /// a_0, .., a_n with L(p) = Σ a_j p^j.
    pub fn coefficients(&self) -> Vec<f64> {
        powers(&self.by_size)
    }

    /// The coefficients of L − L̃. For c = 0 they begin 0, 0, Σ ℓ_de, Σ ℓ_def − (n−2) Σ ℓ_de; for c > 0 the one of p need not be 0.
    pub fn gap_coefficients(&self) -> Vec<f64> {
        powers(&self.gap_by_size())
    }

    fn gap_by_size(&self) -> Vec<f64> {
        let mut sizes = self.by_size.clone();
        sizes[1] -= self.approximate;
        sizes
    }
}

impl ExactLoss {
    /// Enumerates all active sets; n ≤ [`FEATURES`]. Sets are spread over threads and summed in order.
    pub fn polynomial(&self, weights: &Weights) -> Result<LossPolynomial, ExactLossError> {
        let n = self.n();
        if n > FEATURES {
            return Err(ExactLossError::TooLarge {
                what: "features for the enumeration of active sets",
                limit: FEATURES,
            });
        }
        let losses: Vec<(usize, f64)> = (1usize..1 << n)
            .into_par_iter()
            .map(|set| {
                let active: Vec<usize> = (0..n).filter(|d| set >> d & 1 == 1).collect();
                Ok((active.len(), self.conditional_loss(weights, &active)?))
            })
            .collect::<Result<_, ExactLossError>>()?;
        let mut by_size = vec![0.0; n + 1];
        for (size, loss) in losses {
            by_size[size] += loss;
        }
        let E = self.features.residuals(weights)?;
        let approximate = self.magnitudes.second() * E.squared_norm_l2();
        if self.features.c() == 0.0 {
            // One number by two routes: the gap must not begin with their rounding errors.
            by_size[1] = approximate;
        }
        Ok(LossPolynomial { by_size, approximate })
    }
}

/// Σ_k s_k p^k (1−p)^(n−k).
fn bernstein(sizes: &[f64], p: f64) -> f64 {
    let n = sizes.len() - 1;
    sizes.iter().enumerate().map(|(k, s)| s * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)).sum()
}

/// The same polynomial in powers of p: a_j = Σ_k s_k (−1)^(j−k) C(n−k, j−k).
fn powers(sizes: &[f64]) -> Vec<f64> {
    let n = sizes.len() - 1;
    let mut coefficients = vec![0.0; n + 1];
    for (k, s) in sizes.iter().enumerate() {
        let mut binomial = 1.0;
        for l in 0..=n - k {
            coefficients[k + l] += if l % 2 == 0 { s * binomial } else { -s * binomial };
            binomial = binomial * (n - k - l) as f64 / (l + 1) as f64;
        }
    }
    coefficients
}
