//! Laws of the magnitude y > 0 of an active feature, and the moments of two independent magnitudes on a wedge.

use super::ExactLossError;
use rand::RngExt;
use rand_distr::{Distribution, Exp1};

/// The law of an active feature's magnitude.
#[derive(Debug, Clone, PartialEq)]
pub enum Magnitudes {
    /// y = shift + scale·Exp(1), the bench's law (eq. 30); shift = 0 is the exponential law with mean `scale`.
    Exponential {
        /// c_min ≥ 0.
        shift: f64,
        /// β > 0.
        scale: f64,
    },
    /// Finitely many values, each > 0, with probabilities that add up to 1.
    Finite(Vec<(f64, f64)>),
}

/// Moments of independent y, y' of one law on the wedge y' > ρ y: E[·; y' > ρ y].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wedge {
    /// E[y; y' > ρ y].
    pub first: f64,
    /// E[y'; y' > ρ y].
    pub other_first: f64,
    /// E[y²; y' > ρ y].
    pub squared: f64,
    /// E[y y'; y' > ρ y].
    pub mixed: f64,
    /// E[y'²; y' > ρ y].
    pub other_squared: f64,
}

impl Magnitudes {
    /// Checks the parameters.
    pub fn check(&self) -> Result<(), ExactLossError> {
        let wrong = |text| Err(ExactLossError::Magnitudes(text));
        match self {
            Self::Exponential { shift, scale } => {
                if !(shift.is_finite() && *shift >= 0.0) {
                    return wrong("expected a finite shift >= 0");
                }
                if !(scale.is_finite() && *scale > 0.0) {
                    return wrong("expected a finite scale > 0");
                }
            }
            Self::Finite(atoms) => {
                if atoms.iter().any(|(y, q)| !(y.is_finite() && *y > 0.0 && *q > 0.0)) {
                    return wrong("expected finite values > 0 with probabilities > 0");
                }
                // Decimal probabilities such as ten times 0.1 add up to 1 only up to rounding.
                if (atoms.iter().map(|(_, q)| q).sum::<f64>() - 1.0).abs() > 1e-12 {
                    return wrong("expected probabilities that add up to 1");
                }
            }
        }
        Ok(())
    }

    /// μ₁ = E\[y\].
    pub fn mean(&self) -> f64 {
        match self {
            Self::Exponential { shift, scale } => shift + scale,
            Self::Finite(atoms) => atoms.iter().map(|(y, q)| q * y).sum(),
        }
    }

    /// μ₂ = E\[y²\].
    pub fn second(&self) -> f64 {
        match self {
            Self::Exponential { shift, scale } => (shift + scale).powi(2) + scale * scale,
            Self::Finite(atoms) => atoms.iter().map(|(y, q)| q * y * y).sum(),
        }
    }

    /// One magnitude.
    pub fn sample(&self, rng: &mut impl RngExt) -> f64 {
        match self {
            Self::Exponential { shift, scale } => {
                let unit: f64 = Exp1.sample(rng);
                shift + scale * unit
            }
            Self::Finite(atoms) => {
                let mut rest: f64 = rng.random();
                for (y, q) in atoms {
                    rest -= q;
                    if rest < 0.0 {
                        return *y;
                    }
                }
                // Rounding of the running difference can only leave the last value.
                atoms.last().map_or(0.0, |(y, _)| *y)
            }
        }
    }

    /// Moments on the wedge y' > ρ y for ρ ≥ 0; ρ = ∞ gives 0.
    ///
    /// For y = m + h s with s ~ Exp(1), u = m + h s and ρ ≥ 1 the tail Pr(y' > ρ u) = e^{−κ − ρ s}, κ = (ρ−1)m/h, is integrated
    /// against e^{−s}: with q = 1 + ρ and I_k = ∫ u^k e^{−q s} ds
    /// (I₀ = 1/q, I₁ = m/q + h/q², I₂ = m²/q + 2mh/q² + 2h²/q³)
    ///
    /// ```text
    ///     E[y;·]  = e^{−κ} I₁      E[y';·]  = e^{−κ}(ρ I₁ + h I₀)              E[y y';·] = e^{−κ}(ρ I₂ + h I₁)
    ///     E[y²;·] = e^{−κ} I₂      E[y'²;·] = e^{−κ}(ρ² I₂ + 2hρ I₁ + 2h² I₀)
    /// ```
    ///
    /// For ρ < 1 the complement y > y'/ρ is such a wedge with y and y' exchanged.
    pub fn wedge(&self, rho: f64) -> Wedge {
        let nothing = Wedge { first: 0.0, other_first: 0.0, squared: 0.0, mixed: 0.0, other_squared: 0.0 };
        match self {
            _ if rho == f64::INFINITY => nothing,
            Self::Exponential { shift, scale } if rho >= 1.0 => {
                let (m, h, q) = (*shift, *scale, 1.0 + rho);
                let tail = (-(rho - 1.0) * m / h).exp();
                let (I0, I1) = (1.0 / q, m / q + h / (q * q));
                let I2 = m * m / q + 2.0 * m * h / (q * q) + 2.0 * h * h / (q * q * q);
                Wedge {
                    first: tail * I1,
                    other_first: tail * (rho * I1 + h * I0),
                    squared: tail * I2,
                    mixed: tail * (rho * I2 + h * I1),
                    other_squared: tail * (rho * rho * I2 + 2.0 * h * rho * I1 + 2.0 * h * h * I0),
                }
            }
            Self::Exponential { .. } => {
                let opposite = self.wedge(1.0 / rho);
                let (mean, second) = (self.mean(), self.second());
                Wedge {
                    first: mean - opposite.other_first,
                    other_first: mean - opposite.first,
                    squared: second - opposite.other_squared,
                    mixed: mean * mean - opposite.mixed,
                    other_squared: second - opposite.squared,
                }
            }
            Self::Finite(atoms) => {
                let pairs = atoms.iter().flat_map(|x| atoms.iter().map(move |other| (x, other)));
                pairs.filter(|((y, _), (other, _))| *other > rho * y).fold(nothing, |w, ((y, q), (other, share))| {
                    let probability = q * share;
                    Wedge {
                        first: w.first + probability * y,
                        other_first: w.other_first + probability * other,
                        squared: w.squared + probability * y * y,
                        mixed: w.mixed + probability * y * other,
                        other_squared: w.other_squared + probability * other * other,
                    }
                })
            }
        }
    }

    /// E[min(a y, b y')] for a, b > 0: what two features lose when one neuron reads them with opposite signs.
    pub fn minimum(&self, a: f64, b: f64) -> f64 {
        let wedge = self.wedge(a / b);
        a * wedge.first + b * (self.mean() - wedge.other_first)
    }

    /// E[y min(a y, b y')] for a, b > 0.
    pub fn minimum_with_own(&self, a: f64, b: f64) -> f64 {
        let wedge = self.wedge(a / b);
        a * wedge.squared + b * (self.mean().powi(2) - wedge.mixed)
    }

    /// E[min(a₁ y, b₁ y') min(a₂ y, b₂ y')] for positive numbers: two neurons that one pair of features confuses.
    pub fn minimum_product(&self, (a1, b1): (f64, f64), (a2, b2): (f64, f64)) -> f64 {
        let ((a1, b1), (a2, b2)) = if a1 / b1 <= a2 / b2 { ((a1, b1), (a2, b2)) } else { ((a2, b2), (a1, b1)) };
        let (near, far) = (self.wedge(a1 / b1), self.wedge(a2 / b2));
        // y' < ρ₁ y: b₁ b₂ y'²; between: a₁ y · b₂ y'; y' > ρ₂ y: a₁ a₂ y².
        b1 * b2 * (self.second() - near.other_squared) + a1 * b2 * (near.mixed - far.mixed) + a1 * a2 * far.squared
    }
}
