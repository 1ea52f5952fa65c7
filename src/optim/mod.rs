//! Optimizers of one biconvex problem, under one trait, with termination as data and observers beside them.
//!
//! A problem is [`Biconvex`]: for a fixed encoder the decoder is a least-squares problem, for a fixed decoder and a fixed [`Cell`] the encoder
//! is a convex quadratic program over the closure of the cell (Thm 3.2). The approximate loss L̃ implements it. So does the empirical loss of N
//! samples, for which sample-pattern cells take the place of feature-pattern cells: it *is* L̃ of the problem whose features are the
//! samples, each of mass 1/N ([`empirical`]).
//!
//! | optimizer | module |
//! |---|---|
//! | alternating convex search and its variants | [`acs`] |
//! | the best of many alternating searches | [`restarts`] |
//! | an interior-point method for the partial optimum of a cell | [`interior`] |
//! | gradient descent, three step rules, with perturbation | [`gradient_descent`] |
//! | gradient descent with anchored neurons at first | [`anchored`] |
//! | accelerated gradient descent | [`nesterov`] |
//! | Adam | [`adam`] |
//! | L-BFGS and a trust region | [`quasi_newton`] |
//! | dictionary learning from samples, without an encoder: online, K-SVD, MOD | [`dictionary`] |
//!
//! At bench scale, on the empirical loss of many samples in f32, alternating search is in [`samples`].
//!
//! Global optima, within a cell and over all patterns, are in [`global`].
//!
//! Costs are counted in evaluations of loss and gradient; [`price`] says what an operation takes of one.
//!
//! What an iterate is in the end, [`end_point`] says: dead neurons, polysemantic blocks, partial optimum, saddle, local minimum.

pub mod acs;
pub mod adam;
pub mod anchored;
pub mod cell;
mod cholesky;
pub mod dictionary;
mod eliminated;
pub mod encoder_step;
pub mod end_point;
mod feature;
pub mod global;
pub mod gradient_descent;
#[cfg(test)]
mod gradient_tests;
pub mod interior;
#[cfg(test)]
mod multiplier_tests;
pub mod nesterov;
pub mod price;
pub mod quasi_newton;
pub mod restarts;
mod row;
pub mod samples;
pub mod start;
#[cfg(test)]
mod tests;

pub use cell::Cell;
pub use encoder_step::EncoderStep;
pub use price::Prices;

use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::{Mat, MatRef};
use serde::{Deserialize, Serialize};

/// A problem that is convex in the decoder, and convex in the encoder within a cell.
pub trait Biconvex {
    /// The loss at a point, in whichever cell the point lies.
    fn loss(&self, at: &Weights) -> Result<f64, LossError>;

    /// The loss and its gradient in the interior of the point's cell.
    fn gradient(&self, at: &Weights) -> Result<(f64, Weights), LossError>;

    /// The cell of an encoder.
    fn cell(&self, W: MatRef<'_, f64>) -> Result<Cell, LossError>;

    /// The loss of the cell's quadratic, continued to the closure of the cell, with its rows' firing sets read from `cell`.
    fn cell_loss(&self, cell: &Cell, at: &Weights) -> Result<f64, LossError>;

    /// A best decoder for an encoder in the closure of the cell: of least norm, or, with `proximal` = ρ > 0, the minimiser of the loss plus
    /// ρ‖V − V₀‖² where V₀ is the point's own decoder.
    fn v_step(&self, cell: &Cell, at: &Weights, proximal: f64) -> Result<DecoderMove, LossError>;

    /// A best encoder in the closure of the cell for the point's decoder: among the minimisers one near the point's own encoder, or, with
    /// `proximal` = ρ > 0, the minimiser of the loss plus ρ‖W − W₀‖².
    fn w_step(&self, cell: &Cell, at: &Weights, proximal: f64) -> Result<EncoderStep, LossError>;

    /// Σ_d M_d ‖r_d‖², the loss of a model that answers nothing.
    fn total(&self) -> f64;

    /// What operations cost that the sizes alone decide; the steps state their own costs.
    fn prices(&self, n_q: usize) -> Prices;
}

/// The result of a V-step.
#[derive(Debug, Clone)]
pub struct DecoderMove {
    /// V, n_r×n_q.
    pub V: Mat<f64>,
    /// r_V = loss at the point minus loss with this decoder ≥ 0, computed as a squared distance (for ρ = 0).
    pub decrease: f64,
    /// What it has cost, in evaluations of loss and gradient ([`price`]).
    pub cost: f64,
}

/// Both block residuals of a point: what either block alone can still gain (Def. of a partial optimum).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Residuals {
    /// r_V = L̃ − min_V L̃.
    pub r_v: f64,
    /// r_W = L̃ − min over the closure of the cell of the cell's quadratic.
    pub r_w: f64,
}

impl Residuals {
    /// The larger of the two.
    pub fn largest(&self) -> f64 {
        self.r_v.max(self.r_w)
    }
}

/// Where an optimizer is.
#[derive(Debug, Clone)]
pub struct State {
    /// The iterate.
    pub at: Weights,
    /// Its loss.
    pub loss: f64,
    /// Its residuals, where the optimizer learns them anyway.
    pub residuals: Option<Residuals>,
    /// ‖∇‖ of the iterate, where the optimizer learns it anyway.
    pub gradient: Option<f64>,
    /// The cell in which the optimizer works.
    pub cell: Cell,
    /// Steps taken: sweeps of an alternating method, iterations of any other.
    pub steps: u64,
    /// What they have cost in evaluations of loss and gradient ([`price`]).
    pub gradients: f64,
}

impl State {
    /// The end of a gradient method: ‖∇‖ is at most `tolerance` times √(Σ_d M_d ‖r_d‖²), or it is `stuck`.
    fn settled(&self, problem: &dyn Biconvex, tolerance: f64, stuck: bool) -> Option<Termination> {
        let (gradient, tolerance) = (self.gradient?, tolerance * problem.total().sqrt());
        if gradient <= tolerance {
            return Some(Termination::Stationary { gradient, tolerance });
        }
        stuck.then_some(Termination::NoDescent { measure: gradient })
    }
}

/// Why an optimizer has ended, with the numbers that decided it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Termination {
    /// Both block residuals are at most `tolerance` times the loss.
    PartialOptimum {
        /// r_V.
        r_v: f64,
        /// r_W.
        r_w: f64,
        /// The factor.
        tolerance: f64,
    },
    /// The norm of the gradient is at most the tolerance.
    Stationary {
        /// ‖∇‖.
        gradient: f64,
        /// The bound.
        tolerance: f64,
    },
    /// The loss is at most `floor`, rounding's share of Σ_d M_d ‖r_d‖².
    NoLoss {
        /// The loss.
        loss: f64,
        /// The bound.
        floor: f64,
    },
    /// No step along the optimizer's direction lowers the loss in f64 arithmetic.
    NoDescent {
        /// ‖∇‖, or the last decrease.
        measure: f64,
    },
    /// All starts have been searched from, and the best search was given up before its end.
    Starts {
        /// Their number.
        starts: u64,
        /// Steps after which a search is given up.
        steps: u64,
    },
    /// The loss is no finite number any more, or absurdly large.
    Diverged {
        /// The step at which it was seen.
        step: u64,
    },
    /// The budget is spent.
    Budget {
        /// Steps taken.
        steps: u64,
        /// Evaluations of loss and gradient that they have cost.
        gradients: f64,
    },
}

impl Termination {
    /// The reason in a word, as in JSON.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::PartialOptimum { .. } => "partial-optimum",
            Self::Stationary { .. } => "stationary",
            Self::NoLoss { .. } => "no-loss",
            Self::NoDescent { .. } => "no-descent",
            Self::Starts { .. } => "starts",
            Self::Diverged { .. } => "diverged",
            Self::Budget { .. } => "budget",
        }
    }
}

/// Fraction of Σ_d M_d ‖r_d‖² below which a loss is rounding.
pub const NO_LOSS: f64 = 1e-20;

/// Multiple of Σ_d M_d ‖r_d‖² beyond which a loss is absurd.
const DIVERGED: f64 = 1e9;

/// What an optimizer may spend; whichever ends first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Steps.
    pub steps: u64,
    /// Evaluations of loss and gradient.
    pub gradients: f64,
}

/// Asked within a round, before work that can be left out, whether the time is over; once true it stays so. The round then ends with what it has,
/// and what that is depends on the machine.
pub type Expired<'a> = dyn Fn() -> bool + 'a;

/// No end of time.
pub fn never() -> bool {
    false
}

/// An optimizer of a biconvex problem. One value carries one run: [`init`](Self::init) begins it.
pub trait Optimizer {
    /// Its name, with the parameters that tell it from others of its kind.
    fn name(&self) -> String;

    /// Begins at a point.
    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError>;

    /// One step. It never makes the iterate of a descent method worse.
    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError>;

    /// Whether the run is over, from what the state says.
    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination>;
}

/// Watches a run and changes nothing.
pub trait Observer {
    /// Called with the start and after every step, with the seconds that the optimizer has worked.
    fn observe(&mut self, state: &State, seconds: f64);
}

/// Where a run has ended, and why.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The last state.
    pub state: State,
    /// The reason.
    pub termination: Termination,
    /// Seconds that the optimizer has worked.
    pub seconds: f64,
}

/// Runs an optimizer from a start to its termination, or until the budget is spent. The observer's time is not counted.
pub fn run(
    problem: &dyn Biconvex,
    optimizer: &mut dyn Optimizer,
    start: &Weights,
    budget: Budget,
    observer: &mut dyn Observer,
) -> Result<Outcome, LossError> {
    let clock = std::time::Instant::now();
    let mut state = optimizer.init(problem, start)?;
    let mut seconds = clock.elapsed().as_secs_f64();
    let floor = NO_LOSS * problem.total();
    loop {
        observer.observe(&state, seconds);
        let termination = if !state.loss.is_finite() || state.loss > DIVERGED * problem.total() {
            Some(Termination::Diverged { step: state.steps })
        } else if state.loss <= floor {
            Some(Termination::NoLoss { loss: state.loss, floor })
        } else {
            optimizer.terminate(problem, &state)
        };
        let spent = state.steps >= budget.steps || state.gradients >= budget.gradients;
        let budget = || Termination::Budget { steps: state.steps, gradients: state.gradients };
        if let Some(termination) = termination.or_else(|| spent.then(budget)) {
            return Ok(Outcome { state, termination, seconds });
        }
        let clock = std::time::Instant::now();
        optimizer.step(problem, &mut state)?;
        seconds += clock.elapsed().as_secs_f64();
    }
}

/// An observer that sees nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn observe(&mut self, _: &State, _: f64) {}
}

/// The loss after every step against its cost.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// (steps, evaluations of loss and gradient, seconds, loss).
    pub points: Vec<(u64, f64, f64, f64)>,
}

impl Observer for Trace {
    fn observe(&mut self, state: &State, seconds: f64) {
        self.points.push((state.steps, state.gradients, seconds, state.loss));
    }
}

/// The empirical loss (1/N) Σ_s ‖x_r^s − V σ_c(W x_p^s)‖² of N samples as an approximate loss: its features are the samples, columns of
/// X_p (n_p×N) and X_r (n_r×N). It is piecewise biconvex over sample-pattern cells, by the proof of Thm 3.2.
pub fn empirical(X_p: Mat<f64>, X_r: Mat<f64>, c: f64) -> Result<ApproximateLoss, LossError> {
    let N = X_p.ncols();
    ApproximateLoss::new(X_p, X_r, vec![1.0 / N.max(1) as f64; N], c)
}
