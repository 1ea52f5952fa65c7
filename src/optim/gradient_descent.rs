//! Gradient descent on both blocks at once, across cells.
//!
//! | rule | step t |
//! |---|---|
//! | fixed | the given t |
//! | Lipschitz | 1/L with L found by backtracking: halved until the loss falls by t‖∇‖²/2, doubled after a success |
//! | exact | the global minimiser along −∇, by the quartic of every cell and the event sweep |
//!
//! Perturbed: once ‖∇‖ is small a random step of a given radius is taken, and taken back if the loss has not fallen by a stated amount within a
//! stated number of steps, so that saddles are left (Jin et al. 2017).
//!
//! # Requirements
//! A threshold activation. With c > 0 the loss jumps between cells, and only the exact rule sees that.
//!
//! # References
//! Nesterov 2018, §1.2; Jin, Ge, Netrapalli, Kakade, Jordan 2017, *How to escape saddle points efficiently*.

use super::{Biconvex, Optimizer, State, Termination};
use crate::bench::features::stream;
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::Mat;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// How long a step is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepRule {
    /// Always this t.
    Fixed(f64),
    /// 1/L by backtracking.
    Lipschitz,
    /// Exact search along the line, across cells.
    Exact,
}

/// Perturbations that leave saddles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Perturbation {
    /// Norm of the random step, relative to that of the iterate.
    pub radius: f64,
    /// Steps within which the loss must fall.
    pub patience: u64,
    /// By this fraction of Σ_d M_d ‖r_d‖².
    pub fall: f64,
    /// Of the random directions.
    pub seed: u64,
}

/// Gradient descent.
#[derive(Debug, Clone)]
pub struct GradientDescent<'a> {
    problem: &'a ApproximateLoss,
    rule: StepRule,
    tolerance: f64,
    perturbation: Option<Perturbation>,
    t: f64,
    stuck: bool,
    slope: Option<Weights>,
    escape: Option<Escape>,
    rng: Option<ChaCha20Rng>,
}

/// A perturbation that is on trial.
#[derive(Debug, Clone)]
struct Escape {
    from: Weights,
    loss: f64,
    since: u64,
}

impl<'a> GradientDescent<'a> {
    /// Ends when ‖∇‖ is at most `tolerance` times √(Σ_d M_d ‖r_d‖²).
    pub fn new(problem: &'a ApproximateLoss, rule: StepRule, tolerance: f64) -> Self {
        Self {
            problem,
            rule,
            tolerance,
            perturbation: None,
            t: 0.0,
            stuck: false,
            slope: None,
            escape: None,
            rng: None,
        }
    }

    /// The same with perturbations.
    pub fn perturbed(mut self, perturbation: Perturbation) -> Self {
        self.perturbation = Some(perturbation);
        self
    }

    fn bound(&self) -> f64 {
        self.tolerance * self.problem.total().sqrt()
    }

    fn refresh(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let (loss, slope) = problem.gradient(&state.at)?;
        state.loss = loss;
        state.gradient = Some(slope.dot(&slope).sqrt());
        state.cell = problem.cell(state.at.W.as_ref())?;
        state.gradients += 1.0;
        self.slope = Some(slope);
        Ok(())
    }

    fn perturb(
        &mut self,
        problem: &dyn Biconvex,
        state: &mut State,
        perturbation: Perturbation,
    ) -> Result<(), LossError> {
        let escape = Escape { from: state.at.clone(), loss: state.loss, since: state.steps };
        let rng = self.rng.get_or_insert_with(|| stream(perturbation.seed, "perturbation"));
        let mut draw = |rows, columns| {
            Mat::from_fn(rows, columns, |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng))
        };
        let direction = Weights {
            V: draw(state.at.V.nrows(), state.at.V.ncols()),
            W: draw(state.at.W.nrows(), state.at.W.ncols()),
        };
        let size = perturbation.radius * (state.at.dot(&state.at) / direction.dot(&direction)).sqrt();
        state.at = state.at.plus(size, &direction);
        self.escape = Some(escape);
        self.stuck = false;
        self.refresh(problem, state)
    }
}

impl Optimizer for GradientDescent<'_> {
    fn name(&self) -> String {
        let rule = match self.rule {
            StepRule::Fixed(t) => format!("fixed-{t}"),
            StepRule::Lipschitz => "lipschitz".into(),
            StepRule::Exact => "exact".into(),
        };
        format!("{}-{rule}", if self.perturbation.is_some() { "perturbed-descent" } else { "descent" })
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        (self.t, self.stuck, self.escape, self.rng) = (1.0, false, None, None);
        let cell = problem.cell(start.W.as_ref())?;
        let mut state =
            State { at: start.clone(), loss: 0.0, residuals: None, gradient: None, cell, steps: 0, gradients: 0.0 };
        self.refresh(problem, &mut state)?;
        Ok(state)
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        state.steps += 1;
        if let (Some(perturbation), Some(size)) = (self.perturbation, state.gradient) {
            let settled = self.stuck || size <= self.bound();
            let due = |escape: &Escape| state.steps >= escape.since + perturbation.patience || settled;
            if settled && self.escape.is_none() {
                return self.perturb(problem, state, perturbation);
            }
            if let Some(escape) = self.escape.take_if(|escape| due(escape))
                && state.loss > escape.loss - perturbation.fall * problem.total()
            {
                // Nothing was gained: the point before the perturbation is the answer.
                state.at = escape.from;
                self.perturbation = None;
                self.stuck = true;
                return self.refresh(problem, state);
            }
        }
        let Some(slope) = self.slope.take() else { return Ok(()) };
        let square = slope.dot(&slope);
        let prices = problem.prices(state.at.n_q());
        match self.rule {
            StepRule::Fixed(t) => state.at = state.at.plus(-t, &slope),
            StepRule::Lipschitz => {
                self.stuck = true;
                // 60 halvings leave nothing of a step.
                for _ in 0..60 {
                    let next = state.at.plus(-self.t, &slope);
                    state.gradients += prices.loss;
                    let value = problem.loss(&next)?;
                    if value <= state.loss - 0.5 * self.t * square && value < state.loss {
                        state.at = next;
                        self.t *= 2.0;
                        self.stuck = false;
                        break;
                    }
                    self.t *= 0.5;
                }
            }
            StepRule::Exact => {
                let minus = Weights { V: faer::Scale(-1.0) * &slope.V, W: faer::Scale(-1.0) * &slope.W };
                let found = self.problem.line_minimum(&state.at, &minus, 0.0, f64::INFINITY)?;
                state.gradients += prices.line_search + found.events as f64 * prices.event;
                let next = state.at.plus(found.t, &minus);
                state.gradients += prices.loss;
                self.stuck = !(found.value < state.loss && problem.loss(&next)? < state.loss);
                if !self.stuck {
                    state.at = next;
                }
            }
        }
        self.refresh(problem, state)
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        // With perturbations still to come the run is not over.
        if self.perturbation.is_some() { None } else { state.settled(problem, self.tolerance, self.stuck) }
    }
}
