//! Exact line searches inside one cell.
//!
//! Along one block L̃ is a quadratic: with E₁ = ΔV Z, or E₁ = V Ż where Ż = B∘(ΔW P),
//! t* = tr(E D E₁ᵀ) / tr(E₁ D E₁ᵀ). Along a joint direction the residual is E(t) = E − t E₁ − t² E₂ with E₁ = ΔV Z + V Ż and
//! E₂ = ΔV Ż, so that L̃ is a quartic. Both are the continuation of the cell's polynomial to all t: where the cell itself ends is
//! said by [`ApproximateLoss::cell_interval`], and [`super::sweep`] goes on across cells.

use super::products::{add_product, product};
use super::roots::{derivative, evaluate, real_roots};
use super::{ApproximateLoss, LossError, Weights};
use faer::{Mat, MatRef};

/// The exact minimum of a quadratic along one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockMinimum {
    /// The minimising step t*; 0 if L̃ is constant along the direction.
    pub t: f64,
    /// L̃ at 0 minus the minimum, ≥ 0.
    pub decrease: f64,
}

/// L̃ along a joint direction, continued from the cell at t = 0: a_0 + a_1 t + .. + a_4 t⁴ ≥ 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartic {
    /// a_0, .., a_4.
    pub coefficients: [f64; 5],
}

/// The steps t that stay in the cell of t = 0: an interval that contains 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CellInterval {
    /// The lower end, possibly −∞.
    pub lo: f64,
    /// The upper end, possibly ∞.
    pub hi: f64,
    /// True if `lo` itself still belongs to the cell.
    pub lo_closed: bool,
    /// True if `hi` itself still belongs to the cell.
    pub hi_closed: bool,
}

impl Quartic {
    /// L̃ at t on the continued cell.
    pub fn value(&self, t: f64) -> f64 {
        evaluate(&self.coefficients, t)
    }

    /// Every t at which the derivative is zero, ascending; none if L̃ is constant.
    pub fn critical_points(&self) -> Vec<f64> {
        real_roots(&derivative(&self.coefficients))
    }

    /// A global minimiser over all t; 0 if L̃ is constant.
    pub fn minimiser(&self) -> f64 {
        self.minimiser_between(f64::NEG_INFINITY, f64::INFINITY)
    }

    /// A minimiser over [lo, hi] ∋ 0, whose infinite ends are allowed because L̃ ≥ 0 is bounded below.
    pub fn minimiser_between(&self, lo: f64, hi: f64) -> f64 {
        let ends = [lo, hi].into_iter().filter(|t| t.is_finite());
        let inner = self.critical_points().into_iter().filter(|t| lo < *t && *t < hi);
        std::iter::once(0.0)
            .filter(|t| lo <= *t && *t <= hi)
            .chain(inner)
            .chain(ends)
            .min_by(|s, t| self.value(*s).total_cmp(&self.value(*t)))
            .unwrap_or(0.0)
    }
}

impl ApproximateLoss {
    /// The exact minimum of L̃(V + tΔV, W) over t.
    pub fn decoder_line_minimum(
        &self,
        weights: &Weights,
        direction: MatRef<'_, f64>,
    ) -> Result<BlockMinimum, LossError> {
        self.check(weights)?;
        if direction.nrows() != self.n_r() || direction.ncols() != weights.n_q() {
            return Err(super::shape("direction V", format!("{}×{}", self.n_r(), weights.n_q()), direction));
        }
        let Z = self.codes_of(weights.W.as_ref());
        let change = product(direction, Z.as_ref(), self.par);
        Ok(self.block_minimum(&self.residuals_of(weights.V.as_ref(), Z.as_ref()), &change))
    }

    /// The exact minimum over t of the quadratic that L̃(V, W + tΔW) is in the cell of W, continued to all t.
    pub fn encoder_line_minimum(
        &self,
        weights: &Weights,
        direction: MatRef<'_, f64>,
    ) -> Result<BlockMinimum, LossError> {
        self.check(weights)?;
        if direction.nrows() != weights.n_q() || direction.ncols() != self.n_p() {
            return Err(super::shape("direction W", format!("{}×{}", weights.n_q(), self.n_p()), direction));
        }
        let Z = self.codes_of(weights.W.as_ref());
        let change = product(weights.V.as_ref(), self.code_rates(&Z, direction).as_ref(), self.par);
        Ok(self.block_minimum(&self.residuals_of(weights.V.as_ref(), Z.as_ref()), &change))
    }

    /// L̃ along (V + tΔV, W + tΔW), continued from the cell of W.
    pub fn quartic(&self, weights: &Weights, direction: &Weights) -> Result<Quartic, LossError> {
        self.check_pair(weights, direction)?;
        let Z = self.codes_of(weights.W.as_ref());
        let rates = self.code_rates(&Z, direction.W.as_ref());
        let E0 = self.residuals_of(weights.V.as_ref(), Z.as_ref());
        let mut E1 = product(direction.V.as_ref(), Z.as_ref(), self.par);
        add_product(&mut E1, 1.0, weights.V.as_ref(), rates.as_ref(), self.par);
        let E2 = product(direction.V.as_ref(), rates.as_ref(), self.par);
        Ok(self.quartic_of(&E0, &E1, &E2))
    }

    /// tr(E D Eᵀ) of E = E_0 − t E_1 − t² E_2.
    pub(crate) fn quartic_of(&self, E0: &Mat<f64>, E1: &Mat<f64>, E2: &Mat<f64>) -> Quartic {
        let coefficients = [
            self.inner(E0, E0),
            -2.0 * self.inner(E0, E1),
            self.inner(E1, E1) - 2.0 * self.inner(E0, E2),
            2.0 * self.inner(E1, E2),
            self.inner(E2, E2),
        ];
        Quartic { coefficients }
    }

    /// The steps t for which W + tΔW has the firing sets of W.
    pub fn cell_interval(&self, W: MatRef<'_, f64>, direction: MatRef<'_, f64>) -> Result<CellInterval, LossError> {
        self.check_encoder("W", W)?;
        if direction.nrows() != W.nrows() || direction.ncols() != W.ncols() {
            return Err(super::shape("direction W", format!("{}×{}", W.nrows(), W.ncols()), direction));
        }
        let (A, rates) = (self.pre_activations(W), self.pre_activations(direction));
        let everything = CellInterval { lo: f64::NEG_INFINITY, hi: f64::INFINITY, lo_closed: false, hi_closed: false };
        Ok(A.col_iter().zip(rates.col_iter()).fold(everything, |interval, (a, rate)| {
            a.iter().zip(rate.iter()).fold(interval, |interval, (&a, &rate)| interval.cut(a, rate, self.c))
        }))
    }

    fn block_minimum(&self, E: &faer::Mat<f64>, change: &faer::Mat<f64>) -> BlockMinimum {
        let (slope, curvature) = (self.inner(E, change), self.inner(change, change));
        if curvature == 0.0 {
            return BlockMinimum { t: 0.0, decrease: 0.0 };
        }
        BlockMinimum { t: slope / curvature, decrease: slope * slope / curvature }
    }
}

impl CellInterval {
    /// True if the step t stays in the cell.
    pub fn contains(&self, t: f64) -> bool {
        (self.lo < t || (self.lo_closed && self.lo == t)) && (t < self.hi || (self.hi_closed && self.hi == t))
    }

    /// Cuts off the steps at which a + t·rate crosses c. A neuron that fires does not fire at the crossing itself, one that is silent
    /// is silent there too.
    fn cut(mut self, a: f64, rate: f64, c: f64) -> Self {
        let crossing = (c - a) / rate;
        if rate == 0.0 || !crossing.is_finite() {
            return self;
        }
        let silent = a <= c;
        if silent == (rate > 0.0) {
            if crossing < self.hi || (crossing == self.hi && !silent) {
                (self.hi, self.hi_closed) = (crossing, silent);
            }
        } else if crossing > self.lo || (crossing == self.lo && !silent) {
            (self.lo, self.lo_closed) = (crossing, silent);
        }
        self
    }
}
