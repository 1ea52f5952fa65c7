//! Expected running time: what one success costs if one restarts until it comes (Hansen et al. 2022, COCO: Performance Assessment,
//! <https://arxiv.org/abs/1605.03560>; Auger, Hansen 2005, <https://doi.org/10.1109/CEC.2005.1554902>).

use super::bootstrap::{RESAMPLES, draw, is_level, percentiles};
use crate::bench::features::stream;
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it cost until it succeeded, or until it was given up: a finite number ≥ 0 in seconds, sweeps, gradient equivalents.
    pub cost: f64,
    /// Whether it met the target.
    pub success: bool,
}

/// ERT = (cost of all runs, the unsuccessful ones included) / (number of successes), with a percentile bootstrap interval over the runs.
///
/// If few runs succeed, resamples without a success are infinite, and so may be the upper end: the data then do not bound the time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpectedTime {
    /// Number of runs.
    pub runs: usize,
    /// Runs that ended without success: their cost is a lower bound of what they would have needed.
    pub censored: usize,
    /// The expected running time; infinite without a success.
    pub time: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl ExpectedTime {
    /// Of these runs, at confidence `level`. The same for the same seed and order of runs. Nothing without runs, for a cost that is not a
    /// finite number ≥ 0, or for a level outside (0, 1).
    pub fn of(attempts: &[Attempt], level: f64, seed: u64) -> Option<Self> {
        let usable = |attempt: &Attempt| attempt.cost.is_finite() && attempt.cost >= 0.0;
        if attempts.is_empty() || !attempts.iter().all(usable) || !is_level(level) {
            return None;
        }
        let mut rng = stream(seed, "bootstrap of expected running time");
        let runs = attempts.len();
        let resamples = (0..RESAMPLES).map(|_| ratio(draw(runs, &mut rng).map(|k| attempts[k]))).collect();
        let (low, high) = percentiles(resamples, level);
        let censored = attempts.iter().filter(|attempt| !attempt.success).count();
        Some(Self { runs, censored, time: ratio(attempts.iter().copied()), low, high })
    }

    /// Number of successes.
    pub fn successes(&self) -> usize {
        self.runs - self.censored
    }
}

/// Total cost over successes.
fn ratio(attempts: impl Iterator<Item = Attempt>) -> f64 {
    let (cost, successes) = attempts.fold((0.0, 0_usize), |(cost, successes), attempt| {
        (cost + attempt.cost, successes + usize::from(attempt.success))
    });
    if successes == 0 { f64::INFINITY } else { cost / successes as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn attempts(runs: &[(f64, bool)]) -> Vec<Attempt> {
        runs.iter().map(|&(cost, success)| Attempt { cost, success }).collect()
    }

    #[test]
    fn failures_are_paid_for_by_successes() {
        let time = ExpectedTime::of(&attempts(&[(3.0, true), (10.0, false), (5.0, true)]), 0.95, 0).unwrap();
        assert_eq!((time.time, time.runs, time.censored, time.successes()), (9.0, 3, 1, 2));
        assert!(time.low <= 9.0 && 9.0 <= time.high);
        let never = ExpectedTime::of(&attempts(&[(1.0, false); 4]), 0.95, 0).unwrap();
        assert_eq!((never.time, never.low, never.high), (f64::INFINITY, f64::INFINITY, f64::INFINITY));
    }

    #[test]
    fn the_interval_is_that_of_all_possible_resamples() {
        let runs = attempts(&[(1.0, true), (4.0, true), (9.0, true), (16.0, false), (2.5, true)]);
        let n = runs.len();
        // all 5⁵ resamples are equally likely
        let mut all: Vec<f64> =
            (0..n.pow(n as u32)).map(|code| ratio((0..n).map(|digit| runs[code / n.pow(digit as u32) % n]))).collect();
        all.sort_by(f64::total_cmp);
        let share_below = |x: f64| all.iter().filter(|y| **y < x).count() as f64 / all.len() as f64;
        let share_up_to = |x: f64| all.iter().filter(|y| **y <= x).count() as f64 / all.len() as f64;
        for seed in 0..20 {
            let time = ExpectedTime::of(&runs, 0.9, seed).unwrap();
            // A quantile of RESAMPLES draws is a quantile of the law within five standard deviations of a share of .05.
            let slack = 5.0 * (0.05 * 0.95 / RESAMPLES as f64).sqrt();
            for (end, share) in [(time.low, 0.05), (time.high, 0.95)] {
                assert!(share_below(end) <= share + slack && share_up_to(end) >= share - slack, "{time:?}");
            }
        }
    }

    #[test]
    fn a_geometric_number_of_restarts_is_estimated() {
        // Success with probability ¼ after cost 1, else given up after cost 2: E = 1 + 2·(¾/¼) = 7.
        let mut rng = stream(0, "expected time tests");
        let runs: Vec<(f64, bool)> =
            (0..4000).map(|_| if rng.random_bool(0.25) { (1.0, true) } else { (2.0, false) }).collect();
        let time = ExpectedTime::of(&attempts(&runs), 0.999_999, 1).unwrap();
        // ERT = 2/p̂ − 1 with p̂ = ¼ ± .0068: one standard deviation is .22; five of them.
        assert!((time.time - 7.0).abs() < 1.1 && time.low < 7.0 && time.high > 7.0, "{time:?}");
        assert!(time.high - time.low < 2.5, "{time:?}");
    }

    #[test]
    fn the_seed_decides_the_interval() {
        let runs = attempts(&[(1.0, true), (4.2, true), (9.1, true), (16.3, false), (2.5, true), (3.3, true)]);
        assert_eq!(ExpectedTime::of(&runs, 0.95, 7), ExpectedTime::of(&runs, 0.95, 7));
        let ends: Vec<f64> = (0..10).map(|seed| ExpectedTime::of(&runs, 0.95, seed).unwrap().high).collect();
        assert!(ends.iter().any(|end| *end != ends[0]), "{ends:?}");
    }

    #[test]
    fn no_run_and_impossible_costs_have_no_expected_time() {
        assert_eq!(ExpectedTime::of(&[], 0.95, 0), None);
        for cost in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(ExpectedTime::of(&attempts(&[(cost, true)]), 0.95, 0), None);
        }
        assert_eq!(ExpectedTime::of(&attempts(&[(1.0, true)]), 1.0, 0), None);
    }
}
