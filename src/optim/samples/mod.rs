//! Alternating convex search on the empirical loss of many samples.
//!
//! ```text
//!     minimize   L(V, W) = (1/N) Σ_s ‖x_r^s − V z_s‖²,      z_si = ⟨w_i, x_p^s⟩ for i ∈ S_s, else 0      (eq. 3 on N samples)
//! ```
//!
//! The support S_s is what σ selects of W x_p^s: the k largest for TopK (eq. 7), the positive ones for ReLU. All encoders with the same
//! supports of all samples form a sample-pattern **cell**; on a cell L is a polynomial that is convex in V for fixed W and in W for fixed V, by the proof of
//! Thm 3.2. For ReLU a cell is a product of polyhedra, one for each row; for TopK it couples the rows, and what is kept is the support: which
//! latents a sample uses, not their order, their sign or what the others would have been.
//!
//! A **sweep** of [`Search`] from (V, W):
//!
//! 1. [`encoder`]: D, the minimiser of the cell's quadratic in W plus ρ‖D‖², by conjugate gradients. The inequalities of the cell are *not* imposed:
//!    there are N n_q of them.
//! 2. For t = 1, ½, ¼, ..: the patterns of W + tD are read again, the decoder step is taken for them, and the first t whose loss, a true loss
//!    at patterns that have been read, is below the old one is kept. So the search is *projected* in this sense alone: after every
//!    step the iterate's cell is the one that its encoder lies in, and the loss never rises. Nothing is projected to the closure of the old cell.
//! 3. ρ is divided by [`Config::relax`] if t = 1 was taken, stays at ½, and is multiplied by [`Config::raise`] if only shorter steps or none lowered the loss
//!    (Levenberg and Marquardt's rule, with the true loss as the judge).
//!
//! [`decoder`]: the decoder step, λ‖V − V₀‖² added, with a Cholesky factor or by conjugate gradients. Both steps are damped from the start.
//! With a nearly exact decoder step (λ = 1e-6 of the mean diagonal) each step fits patterns that the next one changes: on the bench of
//! `configs/compare/scale-small.toml` with seed 0, twenty sweeps ended at a loss of 3.27 in place of 1.58.
//!
//! It ends ([`Termination`]) when a whole window of sweeps has lowered the loss by less than a share of it, or when no step of any length
//! under any ρ lowers it. Where a support changes, L of TopK jumps, usually upwards; a t so small that none changes lowers L unless D is 0. So the
//! last sweeps are tiny, and where the search ends is optimal within its cell and held by the jumps around it, no stationary point of a smooth loss.
//!
//! [`online`]: the same two steps on mini-batches, where only ρ and λ hold the iterate back; it has no monotone loss.
//!
//! Numbers are f32, scalars sums in f64 in a fixed order: the same bits at any number of threads.
//!
//! # Requirements
//! TopK, TopKRelu or ReLU as activation, a model of W and V alone, and all samples in memory, with fewer than 2^32 codes that are not 0.
//!
//! # References
//! * Gorski, Pfeuffer, Klamroth 2007, *Biconvex sets and optimization with biconvex functions*, Alg. 4.1.
//! * Attouch, Bolte, Redont, Soubeyran 2010, *Proximal alternating minimization and projection methods for nonconvex problems*, doi:10.1287/moor.1100.0449.
//! * Golub, Pereyra 1973, *The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate*: judging a
//!   step in W by the loss after the best V.

mod codes;
pub mod decoder;
pub mod encoder;
mod kernels;
pub mod online;
mod problem;
#[cfg(test)]
mod tests;

pub use codes::Codes;
pub use decoder::DENSE;
pub use online::Online;
pub use problem::{Problem, SamplesError};

use super::{Expired, never};
use crate::sdl::{Model, Parameter};
use serde::{Deserialize, Serialize};

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `ridge` | 2 |
/// | `proximal` | 2 |
/// | `relax`, `raise` | 1.1, 1.5 |
/// | `iterations` | 5 |
/// | `accuracy` | 1e-2 |
/// | `halvings` | 4 |
/// | `tolerance`, `window` | 1e-4, 10 |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ of the decoder step over the mean of the diagonal of A; > 0.
    pub ridge: f64,
    /// The first ρ of the encoder step over the mean of the diagonal of H; > 0.
    pub proximal: f64,
    /// What ρ is divided by after a full step; > 1.
    pub relax: f64,
    /// What ρ is multiplied by after a short step or none; > 1.
    pub raise: f64,
    /// Most products of conjugate gradients in one step, ≥ 1.
    pub iterations: usize,
    /// Share of the residual at which they end, in (0, 1).
    pub accuracy: f64,
    /// How often a step of the encoder is halved before ρ is raised.
    pub halvings: u32,
    /// The search ends when `window` sweeps have lowered the loss by less than this share of it; ≥ 0.
    pub tolerance: f64,
    /// Sweeps, ≥ 1.
    pub window: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ridge: 2.0,
            proximal: 2.0,
            relax: 1.1,
            raise: 1.5,
            iterations: 5,
            accuracy: 1e-2,
            halvings: 4,
            tolerance: 1e-4,
            window: 10,
        }
    }
}

/// Fraction of (1/N) Σ_s ‖x_r^s‖² below which a loss is rounding of f32.
const NO_LOSS: f64 = 1e-12;

/// Bounds of ρ over the mean of the diagonal of H.
const LEAST_PROXIMAL: f64 = 1e-7;
const MOST_PROXIMAL: f64 = 1e7;

impl Config {
    /// Checks the parameters.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), SamplesError> {
        let fail = |name, expected, found: String| Err(SamplesError::Parameter { name, expected, found });
        let range = |x: f64, from: f64, to: f64| x.is_finite() && x >= from && x <= to;
        for (name, x) in [("ridge", self.ridge), ("proximal", self.proximal)] {
            if !range(x, LEAST_PROXIMAL * 1e-5, MOST_PROXIMAL) {
                return fail(name, "a number in [1e-12, 1e7]", x.to_string());
            }
        }
        for (name, x) in [("relax", self.relax), ("raise", self.raise)] {
            if !(range(x, 1.0, 1e3) && x > 1.0) {
                return fail(name, "a number in (1, 1000]", x.to_string());
            }
        }
        if !(self.accuracy > 0.0 && self.accuracy < 1.0) {
            return fail("accuracy", "a number in (0, 1)", self.accuracy.to_string());
        }
        if self.halvings > 30 {
            return fail("halvings", "an integer up to 30", self.halvings.to_string());
        }
        if !range(self.tolerance, 0.0, 1.0) {
            return fail("tolerance", "a number in [0, 1]", self.tolerance.to_string());
        }
        for (name, count) in [("iterations", self.iterations), ("window", self.window)] {
            if count == 0 {
                return fail(name, "an integer >= 1", count.to_string());
            }
        }
        Ok(())
    }

    fn decoder(&self) -> decoder::Solve {
        let (ridge, iterations, tolerance) = (self.ridge, self.iterations, self.accuracy);
        decoder::Solve { ridge, iterations, tolerance, dense: DENSE }
    }
}

/// Why a search has ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Termination {
    /// The last sweeps have lowered the loss by less than a share of it.
    Settled {
        /// Share by which they have.
        decrease: f64,
        /// The bound.
        tolerance: f64,
    },
    /// No step of the encoder lowers the loss, of any length and with any ρ.
    NoDescent {
        /// ρ over the mean of the diagonal.
        proximal: f64,
    },
    /// Nothing is left to be explained.
    NoLoss {
        /// The loss.
        loss: f64,
    },
}

/// What one sweep has done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The loss after it.
    pub loss: f64,
    /// The length of the encoder's step; 0 if none lowered the loss.
    pub step: f64,
    /// ρ over the mean of the diagonal that the step was made with.
    pub proximal: f64,
    /// By how much the step would have lowered the loss in its cell with the decoder as it was.
    pub promised: f64,
    /// Products of conjugate gradients with H.
    pub products: usize,
    /// Share of the codes that the sweep has moved to other latents.
    pub moved: f64,
}

/// An alternating search with its iterate.
#[derive(Debug)]
pub struct Search<'a> {
    problem: Problem<'a>,
    config: Config,
    model: Model,
    codes: Codes,
    residuals: Vec<f32>,
    loss: f64,
    proximal: f64,
    /// Losses after every sweep, that of the start first.
    trace: Vec<f64>,
    exhausted: bool,
}

impl<'a> Search<'a> {
    /// Begins at a model, with its best decoder.
    ///
    /// # Errors
    /// A parameter out of its range, a model that does not fit, or a loss that is not finite.
    pub fn new(problem: Problem<'a>, config: Config, start: &Model) -> Result<Self, SamplesError> {
        config.check()?;
        problem.admits(start)?;
        let mut search = Self {
            problem,
            config,
            model: start.clone(),
            codes: problem.encode(start)?,
            residuals: Vec::new(),
            loss: 0.0,
            proximal: config.proximal,
            trace: Vec::new(),
            exhausted: false,
        };
        problem.residuals(problem::decoder(start), &search.codes, &mut search.residuals);
        let before = problem.loss_of(&search.residuals);
        search.loss = search.settle_decoder(before);
        if !search.loss.is_finite() {
            return Err(SamplesError::NotFinite(search.loss));
        }
        search.trace.push(search.loss);
        Ok(search)
    }

    /// The iterate.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its codes.
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Its loss.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Takes the decoder step from the residuals as they are, unless it raises the loss by rounding; the loss.
    fn settle_decoder(&mut self, before: f64) -> f64 {
        let old = problem::decoder(&self.model).to_vec();
        let V = problem::block(&mut self.model, Parameter::Decoder);
        decoder::step(&self.problem, &self.codes, &self.residuals, self.config.decoder(), V);
        self.problem.residuals(V, &self.codes, &mut self.residuals);
        let loss = self.problem.loss_of(&self.residuals);
        if loss <= before {
            return loss;
        }
        V.copy_from_slice(&old);
        self.problem.residuals(V, &self.codes, &mut self.residuals);
        before
    }

    /// One sweep. The loss never rises.
    ///
    /// # Errors
    /// More than 2³² codes.
    pub fn sweep(&mut self) -> Result<Sweep, SamplesError> {
        self.sweep_until(&never)
    }

    /// The same for a limited time, which is looked at between products of conjugate gradients and between lengths of the step. The decoder's step is
    /// always made whole.
    ///
    /// # Errors
    /// The same.
    pub fn sweep_until(&mut self, expired: &Expired<'_>) -> Result<Sweep, SamplesError> {
        let Config { iterations, accuracy, halvings, relax, raise, .. } = self.config;
        let solve = encoder::Solve { proximal: self.proximal, iterations, tolerance: accuracy };
        let V = problem::decoder(&self.model);
        let found = encoder::direction(&self.problem, &self.codes, V, &self.residuals, solve, expired);
        let mut sweep =
            Sweep { loss: self.loss, step: 0.0, proximal: self.proximal, promised: 0.0, products: 0, moved: 0.0 };
        let Some(found) = found else {
            self.exhausted = true;
            return Ok(sweep);
        };
        (sweep.promised, sweep.products) = (found.decrease, found.products);
        let start = self.model.clone();
        let codes = self.codes.clone();
        let mut t = 1.0_f32;
        let mut cut = false;
        for halving in 0..=halvings {
            cut = halving > 0 && expired();
            if cut {
                break;
            }
            let W = problem::block(&mut self.model, Parameter::Encoder);
            W.copy_from_slice(problem::encoder(&start));
            kernels::add(W, t, &found.D);
            self.codes = self.problem.encode(&self.model)?;
            self.problem.residuals(problem::decoder(&self.model), &self.codes, &mut self.residuals);
            let moved = self.problem.loss_of(&self.residuals);
            let loss = self.settle_decoder(moved);
            if loss < self.loss {
                sweep.step = f64::from(t);
                self.loss = loss;
                sweep.moved = moved_codes(&codes, &self.codes);
                break;
            }
            problem::block(&mut self.model, Parameter::Decoder).copy_from_slice(problem::decoder(&start));
            t *= 0.5;
        }
        if sweep.step == 0.0 {
            self.model = start;
            self.codes = codes;
            self.problem.residuals(problem::decoder(&self.model), &self.codes, &mut self.residuals);
        }
        if sweep.step == 1.0 {
            self.proximal = (self.proximal / relax).max(LEAST_PROXIMAL);
        } else if sweep.step < 0.5 && !cut {
            self.exhausted = sweep.step == 0.0 && self.proximal >= MOST_PROXIMAL;
            self.proximal = (self.proximal * raise).min(MOST_PROXIMAL);
        }
        sweep.loss = self.loss;
        if sweep.step > 0.0 {
            self.trace.push(self.loss);
        }
        Ok(sweep)
    }

    /// Whether the search is over.
    pub fn terminate(&self) -> Option<Termination> {
        let Config { tolerance, window, .. } = self.config;
        if self.loss <= NO_LOSS * self.problem.total() {
            return Some(Termination::NoLoss { loss: self.loss });
        }
        if self.exhausted {
            return Some(Termination::NoDescent { proximal: self.proximal });
        }
        let before = *self.trace.get(self.trace.len().checked_sub(window + 1)?)?;
        let decrease = 1.0 - self.loss / before;
        (decrease < tolerance).then_some(Termination::Settled { decrease, tolerance })
    }
}

/// Share of the entries of the second that the first does not have.
fn moved_codes(old: &Codes, new: &Codes) -> f64 {
    let new_ones = |s: usize| {
        let (before, now) = (old.sample(s).0, new.sample(s).0);
        now.iter().filter(|i| before.binary_search(i).is_err()).count()
    };
    (0..new.samples()).map(new_ones).sum::<usize>() as f64 / new.latents.len().max(1) as f64
}
