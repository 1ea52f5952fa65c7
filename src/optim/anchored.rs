//! Gradient descent that first holds some neurons near features: anchoring on the approximate loss.
//!
//! For ⌊n_q/2⌋ neurons i with features d_i of their own, a seeded choice, descent with backtracking minimises
//!
//! ```text
//!     L̃(V, W) + λ Σ_i ( ‖w_i − p_{d_i}‖² + ‖v_i − r_{d_i}‖² )                                       (eqs. 24, 25)
//! ```
//!
//! with λ relative to the mean mass, until the gradient is small or 300 steps are made; then the same descent goes on with L̃ alone, so that the
//! end is one of L̃ and can be compared with ends without anchors.
//!
//! # Requirements
//! A threshold activation.
//!
//! # References
//! The paper's section 4.2; eqs. 24 and 25.

use super::cell::column;
use super::gradient_descent::{GradientDescent, StepRule};
use super::{Biconvex, Optimizer, State, Termination};
use crate::bench::features::stream;
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use rand::seq::index::sample;

/// Steps with anchors, at most.
const STEPS: u64 = 300;
/// The anchored descent ends when ‖∇‖ is at most this times √(Σ_d M_d ‖r_d‖²).
const SMALL: f64 = 1e-4;

/// Gradient descent with anchors at first.
#[derive(Debug, Clone)]
pub struct Anchored<'a> {
    problem: &'a ApproximateLoss,
    descent: GradientDescent<'a>,
    lambda: f64,
    seed: u64,
    /// d_i of the neurons 0, 1, ..
    features: Vec<usize>,
    held: bool,
    t: f64,
}

impl<'a> Anchored<'a> {
    /// With weight `lambda`·(mean mass); ends as descent does, by `tolerance`.
    pub fn new(problem: &'a ApproximateLoss, lambda: f64, tolerance: f64, seed: u64) -> Self {
        let lambda = lambda * problem.masses().iter().sum::<f64>() / problem.n() as f64;
        let descent = GradientDescent::new(problem, StepRule::Lipschitz, tolerance);
        Self { problem, descent, lambda, seed, features: Vec::new(), held: true, t: 1.0 }
    }

    /// λ Σ_i (‖w_i − p‖² + ‖v_i − r‖²), and its gradient added to `slope` if there is one.
    fn anchor(&self, at: &Weights, mut slope: Option<&mut Weights>) -> f64 {
        let mut sum = 0.0;
        for (i, &d) in self.features.iter().enumerate() {
            for (k, p) in column(self.problem.P(), d).iter().enumerate() {
                let away = at.W[(i, k)] - p;
                sum += away * away;
                if let Some(slope) = &mut slope {
                    slope.W[(i, k)] += 2.0 * self.lambda * away;
                }
            }
            for (k, r) in column(self.problem.R(), d).iter().enumerate() {
                let away = at.V[(k, i)] - r;
                sum += away * away;
                if let Some(slope) = &mut slope {
                    slope.V[(k, i)] += 2.0 * self.lambda * away;
                }
            }
        }
        self.lambda * sum
    }

    /// One step of descent on the anchored loss; false if it is over.
    fn descend(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<bool, LossError> {
        let (loss, mut slope) = problem.gradient(&state.at)?;
        let before = loss + self.anchor(&state.at, Some(&mut slope));
        state.gradients += 1.0;
        let square = slope.dot(&slope);
        if square.sqrt() <= SMALL * problem.total().sqrt() {
            return Ok(false);
        }
        let price = problem.prices(state.at.n_q()).loss;
        for _ in 0..60 {
            let next = state.at.plus(-self.t, &slope);
            let loss = problem.loss(&next)?;
            state.gradients += price;
            if loss + self.anchor(&next, None) <= before - 0.5 * self.t * square {
                (state.at, state.loss) = (next, loss);
                state.cell = problem.cell(state.at.W.as_ref())?;
                self.t *= 1.5;
                return Ok(true);
            }
            self.t *= 0.5;
        }
        Ok(false)
    }
}

impl Optimizer for Anchored<'_> {
    fn name(&self) -> String {
        "anchored-descent".into()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        (self.held, self.t) = (true, 1.0);
        let count = (start.n_q() / 2).min(self.problem.n());
        self.features = sample(&mut stream(self.seed, "anchored features"), self.problem.n(), count).into_vec();
        self.descent.init(problem, start)
    }

    /// While neurons are held it lowers the anchored loss, not L̃.
    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        if !self.held {
            return self.descent.step(problem, state);
        }
        state.steps += 1;
        state.gradient = None;
        if !self.descend(problem, state)? || state.steps >= STEPS {
            self.held = false;
            let begun = self.descent.init(problem, &state.at)?;
            (state.loss, state.gradient) = (begun.loss, begun.gradient);
            state.gradients += begun.gradients;
        }
        Ok(())
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        if self.held { None } else { self.descent.terminate(problem, state) }
    }
}
