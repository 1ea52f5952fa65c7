//! The V-step: the decoder that is best for a fixed encoder,
//!
//! ```text
//!     V = R D Zᵀ (Z D Zᵀ)⁺ = R D^½ (Z D^½)⁺          (minimum norm)
//!     V = R D Zᵀ (Z D Zᵀ + λ I)⁻¹                    (ridge)
//! ```
//!
//! A dead neuron, and two neurons with proportional codes, make Z D Zᵀ singular, so that the rank is decided by a stated rule
//! on the singular values of Z D^½, never by a factorisation that happens to succeed.

use super::products::{add_product, product};
use super::{ApproximateLoss, LossError, Weights};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef};

/// Which singular values s of Z D^½ count as non-zero: those above `relative` times the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankRule {
    /// The factor, ≥ 0.
    pub relative: f64,
}

impl RankRule {
    /// max(n_q, n)·2⁻⁵², the rounding error of the codes themselves, as in LAPACK's and NumPy's rank rules.
    pub fn rounding(n_q: usize, n: usize) -> Self {
        Self { relative: n_q.max(n) as f64 * f64::EPSILON }
    }
}

/// A best decoder.
#[derive(Debug, Clone)]
pub struct DecoderStep {
    /// V, n_r×n_q.
    pub V: Mat<f64>,
    /// The rank of Z D^½ under the rule.
    pub rank: usize,
    /// All singular values of Z D^½ in descending order: the gap after the first `rank` of them is how clear the rank is.
    pub singular_values: Vec<f64>,
}

struct Decomposition {
    U: Mat<f64>,
    s: Vec<f64>,
    T: Mat<f64>,
}

impl ApproximateLoss {
    /// The decoder of least norm among the minimisers of L̃(·, W), by the rule [`RankRule::rounding`].
    pub fn decoder_step(&self, W: MatRef<'_, f64>) -> Result<DecoderStep, LossError> {
        self.decoder_step_with(W, RankRule::rounding(W.nrows(), self.n()))
    }

    /// The decoder of least norm for codes Z (n_q×n) that are given, by the rule [`RankRule::rounding`]. On the boundary of a cell the codes of
    /// the cell's quadratic need not be those that the encoder has.
    pub fn decoder_step_of(&self, Z: Mat<f64>) -> Result<DecoderStep, LossError> {
        if Z.ncols() != self.n() {
            return Err(super::shape("Z", format!("{} columns", self.n()), Z.as_ref()));
        }
        let rule = RankRule::rounding(Z.nrows(), self.n());
        Ok(self.best_decoder(self.decompose_codes(Z)?, rule))
    }

    /// The decoder of least norm, by a rank rule of one's own.
    pub fn decoder_step_with(&self, W: MatRef<'_, f64>, rule: RankRule) -> Result<DecoderStep, LossError> {
        if !(rule.relative >= 0.0 && rule.relative < 1.0) {
            let expected = "a number in [0, 1)";
            return Err(LossError::Parameter { name: "rank rule", expected, found: rule.relative });
        }
        Ok(self.best_decoder(self.decompose(W)?, rule))
    }

    fn best_decoder(&self, codes: Decomposition, rule: RankRule) -> DecoderStep {
        let cut = rule.relative * codes.s.first().copied().unwrap_or(0.0);
        let rank = codes.s.iter().take_while(|&&s| s > cut).count();
        let V = self.decoder_from(&codes, |k, s| if k < rank { 1.0 / s } else { 0.0 });
        DecoderStep { V, rank, singular_values: codes.s }
    }

    /// The minimiser of L̃(V, W) + λ‖V‖² in V, for λ > 0.
    pub fn ridge_decoder_step(&self, W: MatRef<'_, f64>, lambda: f64) -> Result<Mat<f64>, LossError> {
        if !(lambda > 0.0 && lambda.is_finite()) {
            return Err(LossError::Parameter { name: "lambda", expected: "a finite number > 0", found: lambda });
        }
        let codes = self.decompose(W)?;
        Ok(self.decoder_from(&codes, |_, s| s / (s * s + lambda)))
    }

    /// r_V = L̃(V, W) − min_V L̃(·, W) ≥ 0, as the squared distance ‖(V − V*) Z D^½‖² to a best decoder V*, which does not
    /// cancel near 0.
    pub fn decoder_residual(&self, weights: &Weights) -> Result<f64, LossError> {
        self.check(weights)?;
        let mut difference = self.decoder_step(weights.W.as_ref())?.V;
        difference -= &weights.V;
        let missed = product(difference.as_ref(), self.codes_of(weights.W.as_ref()).as_ref(), self.par);
        Ok(self.inner(&missed, &missed))
    }

    /// Z D^½ = U diag(s) Tᵀ.
    fn decompose(&self, W: MatRef<'_, f64>) -> Result<Decomposition, LossError> {
        self.check_encoder("W", W)?;
        self.decompose_codes(self.codes_of(W))
    }

    fn decompose_codes(&self, mut Y: Mat<f64>) -> Result<Decomposition, LossError> {
        let roots: Vec<f64> = self.masses.iter().map(|m| m.sqrt()).collect();
        for (column, root) in Y.col_iter_mut().zip(&roots) {
            column.iter_mut().for_each(|z| *z *= root);
        }
        if !Y.is_all_finite() {
            return Err(LossError::NotFinite("W"));
        }
        let (m, n) = (Y.nrows(), Y.ncols());
        let size = m.min(n);
        let (mut U, mut T, mut s) = (Mat::zeros(m, size), Mat::zeros(n, size), Diag::zeros(size));
        let (thin, settings) = (ComputeSvdVectors::Thin, Default::default());
        let mut memory = MemBuffer::new(svd_scratch::<f64>(m, n, thin, thin, self.par, settings));
        let stack = MemStack::new(&mut memory);
        svd(Y.as_ref(), s.as_mut(), Some(U.as_mut()), Some(T.as_mut()), self.par, stack, settings)
            .map_err(|_| LossError::Decomposition)?;
        Ok(Decomposition { U, s: s.column_vector().iter().copied().collect(), T })
    }

    /// R D^½ T diag(f(s)) Uᵀ.
    fn decoder_from(&self, codes: &Decomposition, f: impl Fn(usize, f64) -> f64) -> Mat<f64> {
        let roots: Vec<f64> = self.masses.iter().map(|m| m.sqrt()).collect();
        let scaled = Mat::from_fn(self.n_r(), self.n(), |k, d| self.R[(k, d)] * roots[d]);
        let mut filtered = product(scaled.as_ref(), codes.T.as_ref(), self.par);
        for (k, column) in filtered.col_iter_mut().enumerate() {
            let factor = f(k, codes.s[k]);
            column.iter_mut().for_each(|x| *x *= factor);
        }
        let mut V = Mat::zeros(self.n_r(), codes.U.nrows());
        add_product(&mut V, 1.0, filtered.as_ref(), codes.U.transpose(), self.par);
        V
    }
}
