//! The loss L itself (eqs. 3 and 4), of which L̃ is the part with one active feature.
//!
//! Features are independent, each is active with probability p = 1 − S, and the magnitudes of active features are independent with one
//! law ([`magnitudes::Magnitudes`]). With ℓ(A) the expected loss when exactly the features of A are active,
//!
//! ```text
//!     L(p) = Σ_A p^|A| (1−p)^(n−|A|) ℓ(A),       L̃(p) = Σ_d M_d ‖e_d‖²,   M_d = p (1−p)^(n−1) E\[y²\]
//! ```
//!
//! so that for c = 0, where ℓ({d}) = E\[y²\]‖e_d‖², the gap L − L̃ begins with p² Σ_{d<e} ℓ({d, e}) (Thm 3.1), while for c > 0 it begins with p.
//!
//! | what | where |
//! |---|---|
//! | ℓ(A) in closed form | [`pair`] for two features, [`cones`] for any number, finite laws by enumeration |
//! | L and L − L̃ as polynomials in p | [`polynomial`] |
//! | L for every S when all rows are sign-coherent | [`ExactLoss::sign_coherent_loss`] |
//! | an estimate with an interval for any n | [`monte_carlo`] |
//! | everything in rationals for a finite law | [`finite`] |

pub mod cones;
mod divided;
pub mod finite;
pub mod magnitudes;
pub mod monte_carlo;
pub mod pair;
pub mod polynomial;
#[cfg(test)]
mod tests;

use super::loss::{ApproximateLoss, LossError, Weights};
use faer::{Mat, MatRef};
use magnitudes::Magnitudes;

/// L for the features and the threshold of one problem and one law of magnitudes.
#[derive(Debug, Clone)]
pub struct ExactLoss {
    features: ApproximateLoss,
    magnitudes: Magnitudes,
}

/// Why L cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExactLossError {
    /// Shapes or numbers of the point or the features are wrong.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The law of magnitudes makes no sense.
    #[error("magnitudes: {0}")]
    Magnitudes(&'static str),
    /// A probability is out of range.
    #[error("{name}: expected a probability in {range}, found {found}")]
    Probability {
        /// What it is.
        name: &'static str,
        /// The range in words.
        range: &'static str,
        /// The value.
        found: f64,
    },
    /// A closed form that needs σ(sz) = sσ(z), with c > 0.
    #[error("the threshold is {0}: this closed form needs a positively homogeneous activation, c = 0")]
    NotHomogeneous(f64),
    /// A row has pre-activations of both signs.
    #[error("row {neuron} is not sign-coherent: positive on feature {positive}, negative on feature {negative}")]
    NotSignCoherent {
        /// 0-based neuron.
        neuron: usize,
        /// A feature with ⟨w, p⟩ > 0.
        positive: usize,
        /// A feature with ⟨w, p⟩ < 0.
        negative: usize,
    },
    /// An active set names a feature that does not exist, or one twice.
    #[error("active set: expected distinct features below {n}, found {feature}")]
    Feature {
        /// The offender.
        feature: usize,
        /// Number of features.
        n: usize,
    },
    /// The enumeration would be too long.
    #[error("{what}: more than {limit}")]
    TooLarge {
        /// What would be enumerated.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// An exact point or distribution does not fit the problem.
    #[error("{0}")]
    Shape(&'static str),
}

impl ExactLoss {
    /// The features and the threshold of `loss` (its masses are not used) with a law of magnitudes.
    pub fn new(loss: &ApproximateLoss, magnitudes: Magnitudes) -> Result<Self, ExactLossError> {
        magnitudes.check()?;
        Ok(Self { features: loss.clone(), magnitudes })
    }

    /// The law of the magnitudes.
    pub fn magnitudes(&self) -> &Magnitudes {
        &self.magnitudes
    }

    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.features.n()
    }

    /// M_d = p (1−p)^(n−1) E\[y²\], the same for every feature (after eq. 11).
    pub fn mass(&self, p: f64) -> Result<f64, ExactLossError> {
        check_probability("p", p)?;
        Ok(p * (1.0 - p).powf((self.n() - 1) as f64) * self.magnitudes.second())
    }

    /// L̃ with these masses (eq. 11).
    pub fn approximate(&self, p: f64) -> Result<ApproximateLoss, ExactLossError> {
        let masses = vec![self.mass(p)?; self.n()];
        let (P, R) = (self.features.P().to_owned(), self.features.R().to_owned());
        Ok(ApproximateLoss::new(P, R, masses, self.features.c())?.with_par(self.features.par()))
    }

    /// ℓ(A): the expected loss when exactly the features of `active` are active. Exponential laws in closed form for any c (see
    /// [`cones`]), finite laws by enumeration.
    pub fn conditional_loss(&self, weights: &Weights, active: &[usize]) -> Result<f64, ExactLossError> {
        let restricted = self.restrict(weights, active)?;
        match &self.magnitudes {
            Magnitudes::Exponential { shift, scale } => cones::expected_loss(&restricted, *shift, *scale),
            Magnitudes::Finite(atoms) => restricted.enumerate(atoms),
        }
    }

    /// L in closed form for every S, if c = 0 and every row is sign-coherent (Pᵀw_i ≥ 0 or ≤ 0): σ is linear on what the model sees,
    /// so L = (pμ₂ − p²μ₁²) Σ‖e_d‖² + p²μ₁² ‖Σ e_d‖² with μ₁ = E\[y\], μ₂ = E\[y²\].
    pub fn sign_coherent_loss(&self, weights: &Weights, p: f64) -> Result<f64, ExactLossError> {
        check_probability("p", p)?;
        self.homogeneous()?;
        let E = self.features.residuals(weights)?;
        let A = &weights.W * self.features.P();
        for neuron in 0..A.nrows() {
            let find = |sign: f64| (0..A.ncols()).find(|&d| A[(neuron, d)] * sign > 0.0);
            if let (Some(positive), Some(negative)) = (find(1.0), find(-1.0)) {
                return Err(ExactLossError::NotSignCoherent { neuron, positive, negative });
            }
        }
        let mean = p * self.magnitudes.mean();
        let sum = &E * faer::Col::<f64>::full(E.ncols(), 1.0);
        let variance = p * self.magnitudes.second() - mean * mean;
        Ok(variance * E.squared_norm_l2() + mean * mean * sum.squared_norm_l2())
    }

    fn homogeneous(&self) -> Result<(), ExactLossError> {
        if self.features.c() > 0.0 { Err(ExactLossError::NotHomogeneous(self.features.c())) } else { Ok(()) }
    }

    /// What the model does to the span of a few features.
    fn restrict<'a>(&self, weights: &'a Weights, active: &[usize]) -> Result<Restricted<'a>, ExactLossError> {
        // The residuals check the shapes.
        self.features.residuals(weights)?;
        for (k, &feature) in active.iter().enumerate() {
            if feature >= self.n() || active[..k].contains(&feature) {
                return Err(ExactLossError::Feature { feature, n: self.n() });
            }
        }
        let columns = |A: MatRef<'_, f64>| Mat::from_fn(A.nrows(), active.len(), |k, j| A[(k, active[j])]);
        Ok(Restricted {
            A: &weights.W * columns(self.features.P()),
            R: columns(self.features.R()),
            V: weights.V.as_ref(),
            c: self.features.c(),
        })
    }
}

fn check_probability(name: &'static str, p: f64) -> Result<(), ExactLossError> {
    if (0.0..=1.0).contains(&p) {
        return Ok(());
    }
    Err(ExactLossError::Probability { name, range: "[0, 1]", found: p })
}

/// The model on k active features: pre-activations A y and targets R y of magnitudes y.
struct Restricted<'a> {
    /// ⟨w_i, p_d⟩, n_q×k.
    A: Mat<f64>,
    /// r_d, n_r×k.
    R: Mat<f64>,
    V: MatRef<'a, f64>,
    c: f64,
}

impl Restricted<'_> {
    /// ‖R y − V σ_c(A y)‖².
    fn loss_at(&self, y: &[f64]) -> f64 {
        let y = faer::ColRef::from_slice(y);
        let mut z = &self.A * y;
        z.iter_mut().for_each(|z| *z = if *z <= self.c { 0.0 } else { *z });
        (&self.R * y - self.V * z).squared_norm_l2()
    }

    /// E of the loss over independent magnitudes of a finite law.
    fn enumerate(&self, atoms: &[(f64, f64)]) -> Result<f64, ExactLossError> {
        const LIMIT: usize = 1 << 22;
        let k = self.A.ncols();
        let too_large = ExactLossError::TooLarge { what: "combinations of magnitudes", limit: LIMIT };
        let count = atoms.len().checked_pow(k as u32).filter(|c| *c <= LIMIT).ok_or(too_large)?;
        let mut y = vec![0.0; k];
        let mut total = 0.0;
        for combination in 0..count {
            let (mut rest, mut probability) = (combination, 1.0);
            for y in &mut y {
                let (magnitude, share) = atoms[rest % atoms.len()];
                (*y, rest) = (magnitude, rest / atoms.len());
                probability *= share;
            }
            total += probability * self.loss_at(&y);
        }
        Ok(total)
    }
}
