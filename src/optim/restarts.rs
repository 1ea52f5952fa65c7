//! Alternating convex search from one random start after another, of which the best end counts.
//!
//! The first start is the given one. A search that has ended, or has made 200 sweeps, gives way to one from the next seeded start, in its own cell. The
//! state is the best end so far, and the iterate until there is one, so that a budget that cuts off a search leaves the end of another; its cost is that
//! of all.
//!
//! Where all starts can be kept in memory, a [`race`] between them is cheaper: most searches are given up long before their ends.
//!
//! # Requirements
//! Those of [`super::acs`].
//!
//! # References
//! Multistart is folklore; Gorski, Pfeuffer, Klamroth 2007 advise it for alternating search, whose end depends on the start. Karnin, Koren, Somekh
//! 2013, *Almost optimal exploration in multi-armed bandits*, for the halving of a race.

use super::acs::{AlternatingSearch, Variant};
use super::{Biconvex, NO_LOSS, Optimizer, State, Termination, start};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};

/// Sweeps of one search, at most.
const SWEEPS: u64 = 200;

/// Sweeps of every search of a race before the first half of them is given up.
const HEAT: u64 = 16;

/// Searches of a race that go on to their ends.
const FINALISTS: usize = 8;

/// The best end of a race between accelerated searches from `starts` ≥ 1 seeded random starts, the seeds counting up from `seed`.
///
/// All make sixteen sweeps, the half with the lower losses as many again, the half of them twice as many, and so on: each round costs as much as the
/// first. The last eight search until both residuals are at most `tolerance` times the loss, or for `sweeps` sweeps. The state is that of
/// the best of them, its residuals `None` if it has not ended; its steps and its cost are those of all searches.
pub fn race(
    problem: &ApproximateLoss,
    n_q: usize,
    starts: u64,
    (tolerance, sweeps): (f64, u64),
    seed: u64,
) -> Result<State, LossError> {
    let floor = NO_LOSS * problem.total();
    let search = |seed| {
        let mut search = AlternatingSearch::new(problem, Variant::Accelerated, tolerance);
        search.init(problem, &start::random(problem, n_q, seed)).map(|state| (search, state))
    };
    let mut left = (0..starts.max(1)).map(|k| search(seed.wrapping_add(k))).collect::<Result<Vec<_>, _>>()?;
    let (mut steps, mut gradients) = (0, 0.0);
    let mut until = HEAT;
    loop {
        let last = left.len() <= FINALISTS;
        let most = if last { sweeps } else { until.min(sweeps) };
        for (search, state) in &mut left {
            while state.steps < most && state.loss > floor && search.terminate(problem, state).is_none() {
                search.step(problem, state)?;
            }
        }
        left.sort_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss));
        let kept = if last { 1 } else { (left.len() / 2).max(FINALISTS) };
        for (_, state) in left.drain(kept..) {
            steps += state.steps;
            gradients += state.gradients;
        }
        if last {
            let (_, mut best) = left.swap_remove(0);
            best.steps += steps;
            best.gradients += gradients;
            return Ok(best);
        }
        until *= 2;
    }
}

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
        let unfinished = Termination::Starts { starts: self.starts, steps: SWEEPS };
        Some(self.search.terminate(problem, state).unwrap_or(unfinished))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Observer, Residuals, Unobserved, run};
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
    fn a_race_ends_as_low_as_all_searches_at_a_part_of_their_cost() {
        let sizes = Parameters { n: 10, n_p: 10, n_r: None, c: crate::exact::Rational::ZERO };
        let tolerance = 1e-8;
        for seed in 0..3 {
            let problem = Family::RandomUnit.generate(&sizes, seed).unwrap();
            let loss = ApproximateLoss::from_problem(&problem).unwrap();
            let found = race(&loss, 5, 100, (tolerance, 10_000), 0).unwrap();
            assert!(found.residuals.is_some_and(|residuals| residuals.largest() <= tolerance * found.loss));
            let all: Vec<State> = (0..100)
                .map(|seed| {
                    let mut search = AlternatingSearch::new(&loss, Variant::Accelerated, tolerance);
                    let budget = Budget { steps: 10_000, gradients: f64::INFINITY };
                    run(&loss, &mut search, &start::random(&loss, 5, seed), budget, &mut Unobserved).unwrap().state
                })
                .collect();
            let best = all.iter().map(|state| state.loss).fold(f64::INFINITY, f64::min);
            let cost: f64 = all.iter().map(|state| state.gradients).sum();
            println!("{seed}: {} against {best}, {:.3} of the cost", found.loss, found.gradients / cost);
            assert!(found.loss <= best * (1.0 + 1e-6), "{seed}: {} against {best}", found.loss);
            assert!(found.gradients < 0.5 * cost, "{seed}: {} against {cost}", found.gradients);
        }
    }

    #[test]
    fn a_race_of_one_is_a_search() {
        let sizes = Parameters { n: 6, n_p: 6, n_r: None, c: crate::exact::Rational::ZERO };
        let problem = Family::RandomUnit.generate(&sizes, 1).unwrap();
        let loss = ApproximateLoss::from_problem(&problem).unwrap();
        let found = race(&loss, 3, 1, (1e-10, 10_000), 5).unwrap();
        let mut search = AlternatingSearch::new(&loss, Variant::Accelerated, 1e-10);
        let budget = Budget { steps: 10_000, gradients: f64::INFINITY };
        let alone = run(&loss, &mut search, &start::random(&loss, 3, 5), budget, &mut Unobserved).unwrap().state;
        assert_eq!((found.loss.to_bits(), found.steps), (alone.loss.to_bits(), alone.steps));
        assert_eq!(found.gradients.to_bits(), alone.gradients.to_bits());
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
