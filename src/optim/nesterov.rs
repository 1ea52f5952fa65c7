//! Accelerated gradient descent with a step of 1/L by backtracking, restarted whenever the loss would rise.
//!
//! # Requirements
//! A threshold activation. The loss is neither convex nor smooth across cells, so that the rate of the convex theory is not promised; the
//! restart makes it a descent method.
//!
//! # References
//! Nesterov 1983; O'Donoghue, Candès 2015, *Adaptive restart for accelerated gradient schemes*.

use super::{Biconvex, Optimizer, State, Termination};
use crate::theory::loss::{LossError, Weights};

/// Accelerated gradient descent. The gradient of a [`State`] is that of the extrapolated point from which the last step was taken.
#[derive(Debug, Clone)]
pub struct Nesterov {
    tolerance: f64,
    t: f64,
    theta: f64,
    before: Option<Weights>,
    stuck: bool,
}

impl Nesterov {
    /// Ends when ‖∇‖ is at most `tolerance` times √(Σ_d M_d ‖r_d‖²).
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, t: 1.0, theta: 1.0, before: None, stuck: false }
    }
}

impl Optimizer for Nesterov {
    fn name(&self) -> String {
        "nesterov".into()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        (self.t, self.theta, self.before, self.stuck) = (1.0, 1.0, None, false);
        let (loss, slope) = problem.gradient(start)?;
        let cell = problem.cell(start.W.as_ref())?;
        let gradient = Some(slope.dot(&slope).sqrt());
        Ok(State { at: start.clone(), loss, residuals: None, gradient, cell, steps: 0, gradients: 1.0 })
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        state.steps += 1;
        let next = 0.5 * (1.0 + (1.0 + 4.0 * self.theta * self.theta).sqrt());
        let momentum = (self.theta - 1.0) / next;
        // y = x + β(x − x₋); without momentum the step is one of plain descent from x.
        let candidates = match &self.before {
            Some(before) if momentum > 0.0 => {
                vec![Weights {
                    V: &state.at.V + faer::Scale(momentum) * (&state.at.V - &before.V),
                    W: &state.at.W + faer::Scale(momentum) * (&state.at.W - &before.W),
                }]
            }
            _ => Vec::new(),
        };
        for (from, accelerated) in candidates.into_iter().map(|y| (y, true)).chain([(state.at.clone(), false)]) {
            let (value, slope) = problem.gradient(&from)?;
            state.gradients += 1.0;
            let square = slope.dot(&slope);
            let mut found = None;
            let price = problem.prices(from.n_q()).loss;
            for _ in 0..60 {
                let next = from.plus(-self.t, &slope);
                let lower = problem.loss(&next)?;
                state.gradients += price;
                if lower <= value - 0.5 * self.t * square {
                    found = Some((next, lower));
                    break;
                }
                self.t *= 0.5;
            }
            if let Some((point, lower)) = found
                && lower < state.loss
            {
                self.theta = if accelerated { next } else { 0.5 * (1.0 + 5.0_f64.sqrt()) };
                self.before = Some(std::mem::replace(&mut state.at, point));
                self.t *= 1.5;
                state.loss = lower;
                state.gradient = Some(square.sqrt());
                state.cell = problem.cell(state.at.W.as_ref())?;
                self.stuck = false;
                return Ok(());
            }
            // Momentum has carried it uphill.
            self.theta = 1.0;
            self.t *= 2.0;
            if !accelerated {
                state.gradient = Some(square.sqrt());
                self.stuck = true;
            }
        }
        Ok(())
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        state.settled(problem, self.tolerance, self.stuck)
    }
}
