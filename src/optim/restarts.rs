//! Alternating convex search from one random start after another, of which the best end counts.
//!
//! The first start is the given one. A search that has ended, or has made 200 sweeps, gives way to one from the next seeded start, in its own cell. The
//! state is the best end so far, and the iterate until there is one, so that a budget that cuts off a search leaves the end of another; its cost is that
//! of all.
//!
//! # Requirements
//! Those of [`super::acs`].
//!
//! # References
//! Multistart is folklore; Gorski, Pfeuffer, Klamroth 2007 advise it for alternating search, whose end depends on the start.

use super::acs::{AlternatingSearch, Variant};
use super::{Biconvex, Optimizer, State, Termination, start};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};

/// Sweeps of one search, at most.
const SWEEPS: u64 = 200;

/// Alternating search with restarts.
#[derive(Debug, Clone)]
pub struct Restarts<'a> {
    problem: &'a ApproximateLoss,
    search: AlternatingSearch<'a>,
    starts: u64,
    seed: u64,
    begun: u64,
    current: Option<State>,
}

impl<'a> Restarts<'a> {
    /// At most `starts` ≥ 1 searches, each until both residuals are at most `tolerance` times the loss.
    pub fn new(problem: &'a ApproximateLoss, starts: u64, tolerance: f64, seed: u64) -> Self {
        let search = AlternatingSearch::new(problem, Variant::Cell, tolerance);
        Self { problem, search, starts, seed, begun: 0, current: None }
    }
}

impl Optimizer for Restarts<'_> {
    fn name(&self) -> String {
        format!("acs-restarts-{}", self.starts)
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        let state = self.search.init(problem, start)?;
        (self.begun, self.current) = (1, Some(state.clone()));
        Ok(state)
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        state.steps += 1;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                self.begun += 1;
                let at = start::random(self.problem, state.at.n_q(), self.seed.wrapping_add(self.begun << 32));
                state.gradients += 1.0;
                self.search.init(problem, &at)?
            }
        };
        let before = current.gradients;
        self.search.step(problem, &mut current)?;
        state.gradients += current.gradients - before;
        let over = self.search.terminate(problem, &current).is_some() || current.steps >= SWEEPS;
        if (self.begun == 1 || over) && current.loss <= state.loss {
            (state.at, state.loss, state.cell) = (current.at.clone(), current.loss, current.cell.clone());
            state.residuals = current.residuals;
        }
        if !over {
            self.current = Some(current);
        }
        Ok(())
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        if self.current.is_some() || self.begun < self.starts {
            return None;
        }
        let unfinished = Termination::NoDescent { measure: f64::from(u8::from(state.residuals.is_none())) };
        Some(self.search.terminate(problem, state).unwrap_or(unfinished))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Observer, Residuals, run};
    use super::*;
    use crate::theory::families::{Family, Parameters};

    /// (residuals, loss) after every step.
    struct Shown(Vec<(Option<Residuals>, f64)>);

    impl Observer for Shown {
        fn observe(&mut self, state: &State, _: f64) {
            self.0.push((state.residuals, state.loss));
        }
    }

    #[test]
    fn a_search_that_the_budget_cuts_off_does_not_hide_the_end_of_another() {
        let sizes = Parameters { n: 5, n_p: 5, n_r: None, c: crate::exact::Rational::ZERO };
        let mut shown_ends = 0;
        for seed in 0..4 {
            let problem = Family::RandomUnit.generate(&sizes, seed).unwrap();
            let loss = ApproximateLoss::from_problem(&problem).unwrap();
            let begin = start::random(&loss, 3, seed);
            let mut shown = Shown(Vec::new());
            let budget = Budget { steps: 150, gradients: 1e9 };
            run(&loss, &mut Restarts::new(&loss, 10, 1e-8, seed), &begin, budget, &mut shown).unwrap();
            // From the first end on an end is shown, whatever the later searches are doing; none has made 200 sweeps.
            for (residuals, loss) in shown.0.iter().skip_while(|(residuals, _)| residuals.is_none()) {
                let residuals = residuals.expect("an end has residuals");
                assert!(residuals.largest() <= 1e-8 * loss, "{seed}: {residuals:?}");
                shown_ends += 1;
            }
        }
        assert!(shown_ends > 50, "{shown_ends}");
    }
}
