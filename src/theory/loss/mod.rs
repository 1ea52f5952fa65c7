//! The approximate loss in f64 (eq. 11):
//!
//! ```text
//!     L̃(V, W) = tr(E D Eᵀ) = Σ_d M_d ‖r_d − V σ_c(W p_d)‖²,    E = R − V Z,   Z = B∘(W P),   B_id = 1(⟨w_i, p_d⟩ > c)
//! ```
//!
//! with D = diag(M_d). Inside a cell Ω_A (B fixed) it is a quadratic in V, a quadratic in W and a quartic along a line.
//!
//! | what | where |
//! |---|---|
//! | L̃ and both gradients in one pass | [`gradients`] |
//! | products with the Hessian, and the dense Hessian | [`hessian`] |
//! | the best decoder for an encoder (V-step) | [`decoder_step`] |
//! | exact line searches inside a cell | [`line_search`] |
//! | the global minimum along a line, across cells | [`sweep`] |
//! | what one more neuron can gain | [`added_neuron`] |
//!
//! These are numbers, not verdicts: each pre-activation is rounded, so that a feature within rounding of the threshold may
//! be put on the wrong side of it. The exact loss of an exact point is [`super::point::Point::loss`].

pub mod added_neuron;
pub mod decoder_step;
pub mod gradients;
pub mod hessian;
pub mod line_search;
mod products;
pub mod roots;
pub mod sweep;
#[cfg(test)]
mod tests;

use super::point::Point;
use super::problem::Problem;
use crate::exact::{Rational, rational};
use faer::{Mat, MatRef, Par};
use std::sync::OnceLock;

/// L̃ of one problem with a threshold activation σ_c, in f64.
#[derive(Debug, Clone)]
pub struct ApproximateLoss {
    P: Mat<f64>,
    R: Mat<f64>,
    masses: Vec<f64>,
    c: f64,
    par: Par,
    left_inverse: OnceLock<Option<Mat<f64>>>,
}

/// Singular values of P below this times the largest make its columns dependent for [`ApproximateLoss::left_inverse`].
const INDEPENDENT: f64 = 1e-6;

/// A point (V, W), a direction (ΔV, ΔW) or a pair of gradients (∇_V L̃, ∇_W L̃).
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The decoder V = W_D, n_r×n_q, column v_i for neuron i.
    pub V: Mat<f64>,
    /// The encoder W = W_E, n_q×n_p, row w_i for neuron i.
    pub W: Mat<f64>,
}

/// Why a loss cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LossError {
    /// The problem's activation is no σ_c, so that eq. 11 with a threshold does not describe it.
    #[error("activation: expected a threshold, found one that compares neurons with each other")]
    NotThreshold,
    /// A matrix has another shape than the problem asks for.
    #[error("{name}: expected {expected}, found {rows}×{columns}")]
    Shape {
        /// `P`, `R`, `V`, `W`, a direction or a row.
        name: &'static str,
        /// The shape in words and numbers.
        expected: String,
        /// Rows found.
        rows: usize,
        /// Columns found.
        columns: usize,
    },
    /// There are not as many masses as features.
    #[error("masses: expected {expected} numbers, one for each column of P, found {found}")]
    Masses {
        /// Number of features.
        expected: usize,
        /// Number of masses.
        found: usize,
    },
    /// A mass is negative, infinite or not a number.
    #[error("masses[{feature}]: expected a finite number >= 0, found {found}")]
    Mass {
        /// 0-based feature.
        feature: usize,
        /// The value.
        found: f64,
    },
    /// The threshold is negative, infinite or not a number.
    #[error("threshold: expected a finite number >= 0, found {0}")]
    Threshold(f64),
    /// A matrix holds an infinite number or one that is not a number.
    #[error("{0}: expected finite numbers")]
    NotFinite(&'static str),
    /// A parameter of a computation is out of its range.
    #[error("{name}: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// The singular value decomposition did not converge.
    #[error("the singular value decomposition of the codes did not converge")]
    Decomposition,
    /// A dense matrix would be too large.
    #[error("the dense Hessian would have {dimension} rows, more than {limit}: use products with it")]
    TooLarge {
        /// Its dimension.
        dimension: usize,
        /// The limit.
        limit: usize,
    },
}

fn shape(name: &'static str, expected: String, found: MatRef<'_, f64>) -> LossError {
    LossError::Shape { name, expected, rows: found.nrows(), columns: found.ncols() }
}

impl ApproximateLoss {
    /// From the columns p_d of P (n_p×n) and r_d of R (n_r×n), the masses M_d ≥ 0 and the threshold c ≥ 0.
    pub fn new(P: Mat<f64>, R: Mat<f64>, masses: Vec<f64>, c: f64) -> Result<Self, LossError> {
        if P.nrows() == 0 || P.ncols() == 0 {
            return Err(shape("P", "at least one row and one column".into(), P.as_ref()));
        }
        if R.nrows() == 0 || R.ncols() != P.ncols() {
            return Err(shape("R", format!("at least one row, and {} columns as in P", P.ncols()), R.as_ref()));
        }
        if masses.len() != P.ncols() {
            return Err(LossError::Masses { expected: P.ncols(), found: masses.len() });
        }
        if let Some((feature, &found)) = masses.iter().enumerate().find(|(_, m)| !(m.is_finite() && **m >= 0.0)) {
            return Err(LossError::Mass { feature, found });
        }
        if !(c.is_finite() && c >= 0.0) {
            return Err(LossError::Threshold(c));
        }
        for (name, matrix) in [("P", &P), ("R", &R)] {
            if !matrix.is_all_finite() {
                return Err(LossError::NotFinite(name));
            }
        }
        Ok(Self { P, R, masses, c, par: Par::rayon(0), left_inverse: OnceLock::new() })
    }

    /// The f64 view of an exact problem: every number is rounded to the nearest f64.
    pub fn from_problem(problem: &Problem) -> Result<Self, LossError> {
        let c = rational::to_f64(problem.threshold().ok_or(LossError::NotThreshold)?);
        let features = problem.features();
        let P = Mat::from_fn(problem.n_p(), problem.n(), |k, d| rational::to_f64(&features[d].w_p[k]));
        let R = Mat::from_fn(problem.n_r(), problem.n(), |k, d| rational::to_f64(&features[d].w_r[k]));
        Self::new(P, R, features.iter().map(|f| rational::to_f64(&f.mass)).collect(), c)
    }

    /// Chooses how the matrix products are spread over threads; the default is every thread of rayon's pool.
    /// A verdict that rests on these numbers takes [`Par::Seq`].
    pub fn with_par(mut self, par: Par) -> Self {
        self.par = par;
        self
    }

    /// P, n_p×n.
    pub fn P(&self) -> MatRef<'_, f64> {
        self.P.as_ref()
    }

    /// R, n_r×n.
    pub fn R(&self) -> MatRef<'_, f64> {
        self.R.as_ref()
    }

    /// M_d for every feature.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    /// The threshold c.
    pub fn c(&self) -> f64 {
        self.c
    }

    /// P⁺ (n×n_p) with P⁺P = I, if the columns of P are independent: no singular value is below a millionth of the largest.
    pub fn left_inverse(&self) -> Option<MatRef<'_, f64>> {
        let inverse = || {
            if self.n() > self.n_p() {
                return None;
            }
            let svd = self.P.thin_svd().ok()?;
            let S = svd.S().column_vector();
            let largest = S.iter().copied().fold(0.0, f64::max);
            if !S.iter().all(|s| *s > INDEPENDENT * largest) {
                return None;
            }
            let scaled = Mat::from_fn(self.n(), self.n(), |d, k| svd.V()[(d, k)] / S[k]);
            Some(scaled * svd.U().transpose())
        };
        self.left_inverse.get_or_init(inverse).as_ref().map(Mat::as_ref)
    }

    /// How products are spread over threads.
    pub fn par(&self) -> Par {
        self.par
    }

    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.P.ncols()
    }

    /// n_p, the dimension of the input representation.
    pub fn n_p(&self) -> usize {
        self.P.nrows()
    }

    /// n_r, the dimension of the target representation.
    pub fn n_r(&self) -> usize {
        self.R.nrows()
    }

    fn check_encoder(&self, name: &'static str, W: MatRef<'_, f64>) -> Result<(), LossError> {
        if W.nrows() == 0 || W.ncols() != self.n_p() {
            return Err(shape(name, format!("at least one row, and {} columns", self.n_p()), W));
        }
        Ok(())
    }

    fn check(&self, weights: &Weights) -> Result<(), LossError> {
        self.check_encoder("W", weights.W.as_ref())?;
        let n_q = weights.W.nrows();
        if weights.V.nrows() != self.n_r() || weights.V.ncols() != n_q {
            let expected = format!("{}×{n_q}, a column for each row of W", self.n_r());
            return Err(shape("V", expected, weights.V.as_ref()));
        }
        Ok(())
    }

    fn check_pair(&self, weights: &Weights, direction: &Weights) -> Result<(), LossError> {
        self.check(weights)?;
        for (name, found, like) in
            [("direction V", &direction.V, &weights.V), ("direction W", &direction.W, &weights.W)]
        {
            if found.nrows() != like.nrows() || found.ncols() != like.ncols() {
                let expected = format!("{}×{} as the point", like.nrows(), like.ncols());
                return Err(shape(name, expected, found.as_ref()));
            }
        }
        Ok(())
    }
}

impl Weights {
    /// Zeros for n_q neurons of `loss`.
    pub fn zeros(loss: &ApproximateLoss, n_q: usize) -> Self {
        Self { V: Mat::zeros(loss.n_r(), n_q), W: Mat::zeros(n_q, loss.n_p()) }
    }

    /// n_q, the number of neurons.
    pub fn n_q(&self) -> usize {
        self.W.nrows()
    }

    /// The f64 nearest to every number of an exact point of `problem`'s shape; `None` if the shape is another.
    pub fn from_point(point: &Point, problem: &Problem) -> Option<Self> {
        let n_q = point.w_e.len();
        let of_length = |rows: &[Vec<Rational>], length| rows.iter().all(|row| row.len() == length);
        if point.w_d.len() != n_q || !of_length(&point.w_e, problem.n_p()) || !of_length(&point.w_d, problem.n_r()) {
            return None;
        }
        Some(Self {
            V: Mat::from_fn(problem.n_r(), n_q, |k, i| rational::to_f64(&point.w_d[i][k])),
            W: Mat::from_fn(n_q, problem.n_p(), |i, k| rational::to_f64(&point.w_e[i][k])),
        })
    }

    /// The exact point with these numbers; `None` if one of them is not finite.
    pub fn to_point(&self) -> Option<Point> {
        let exact = |x: f64| rational::from_f64(x).ok();
        let rows = |m: MatRef<'_, f64>| -> Option<Vec<Vec<Rational>>> {
            (0..m.nrows()).map(|i| (0..m.ncols()).map(|k| exact(m[(i, k)])).collect()).collect()
        };
        Some(Point { w_e: rows(self.W.as_ref())?, w_d: rows(self.V.transpose())? })
    }

    /// self + t·direction. Both have one shape.
    pub fn plus(&self, t: f64, direction: &Weights) -> Self {
        Self { V: &self.V + faer::Scale(t) * &direction.V, W: &self.W + faer::Scale(t) * &direction.W }
    }

    /// The Euclidean inner product of two points of one shape.
    pub fn dot(&self, other: &Weights) -> f64 {
        let inner =
            |a: &Mat<f64>, b: &Mat<f64>| a.col_iter().zip(b.col_iter()).map(|(x, y)| x.transpose() * y).sum::<f64>();
        inner(&self.V, &other.V) + inner(&self.W, &other.W)
    }
}
