//! Adam on the whole gradient, with constant or decaying step.
//!
//! # Requirements
//! A threshold activation. It is no descent method: the state holds the last iterate, not the best.
//!
//! # References
//! Kingma, Ba 2015, *Adam: a method for stochastic optimization*, with β₁ = .9, β₂ = .999, ε = 1e-8 as there.

use super::{Biconvex, Optimizer, State, Termination};
use crate::theory::loss::{LossError, Weights};
use faer::Mat;

/// Decay of the mean of the gradient.
const BETA_1: f64 = 0.9;
/// Decay of the mean of its square.
const BETA_2: f64 = 0.999;
/// Added to the root of the second mean.
const EPSILON: f64 = 1e-8;

/// Adam.
#[derive(Debug, Clone)]
pub struct Adam {
    rate: f64,
    decay: f64,
    tolerance: f64,
    moments: Option<(Weights, Weights)>,
    slope: Option<Weights>,
}

impl Adam {
    /// With steps `rate`/(1 + `decay`·step); ends when ‖∇‖ is at most `tolerance` times √(Σ_d M_d ‖r_d‖²).
    pub fn new(rate: f64, decay: f64, tolerance: f64) -> Self {
        Self { rate, decay, tolerance, moments: None, slope: None }
    }
}

impl Optimizer for Adam {
    fn name(&self) -> String {
        "adam".into()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        let zeros = |like: &Weights| Weights {
            V: Mat::zeros(like.V.nrows(), like.V.ncols()),
            W: Mat::zeros(like.W.nrows(), like.W.ncols()),
        };
        self.moments = Some((zeros(start), zeros(start)));
        let (loss, slope) = problem.gradient(start)?;
        let gradient = Some(slope.dot(&slope).sqrt());
        self.slope = Some(slope);
        let cell = problem.cell(start.W.as_ref())?;
        Ok(State { at: start.clone(), loss, residuals: None, gradient, cell, steps: 0, gradients: 1.0 })
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        state.steps += 1;
        let (Some((first, second)), Some(slope)) = (&mut self.moments, &self.slope) else { return Ok(()) };
        let power = i32::try_from(state.steps).unwrap_or(i32::MAX);
        let (one, two) = (1.0 - BETA_1.powi(power), 1.0 - BETA_2.powi(power));
        let rate = self.rate / (1.0 + self.decay * (state.steps - 1) as f64);
        for (x, m, s, g) in [
            (&mut state.at.V, &mut first.V, &mut second.V, &slope.V),
            (&mut state.at.W, &mut first.W, &mut second.W, &slope.W),
        ] {
            for k in 0..x.ncols() {
                let columns = x.col_as_slice_mut(k).iter_mut().zip(m.col_as_slice_mut(k)).zip(s.col_as_slice_mut(k));
                for (((x, m), s), g) in columns.zip(g.col_as_slice(k)) {
                    *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                    *s = BETA_2 * *s + (1.0 - BETA_2) * g * g;
                    *x -= rate * (*m / one) / ((*s / two).sqrt() + EPSILON);
                }
            }
        }
        let (loss, slope) = problem.gradient(&state.at)?;
        state.gradients += 1.0;
        state.loss = loss;
        state.gradient = Some(slope.dot(&slope).sqrt());
        state.cell = problem.cell(state.at.W.as_ref())?;
        self.slope = Some(slope);
        Ok(())
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        state.settled(problem, self.tolerance, false)
    }
}
