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

/// ERT = (cost of all runs, the unsuccessful ones included) / (number of successes), with a percentile bootstrap interval over the runs, or over
/// clusters of them.
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
        Self::of_clusters(&attempts.iter().map(|attempt| vec![*attempt]).collect::<Vec<_>>(), level, seed)
    }

    /// Of runs that are nested in clusters, such as starts in instances: clusters are drawn anew, each with all of its runs, so that runs which
    /// resemble each other do not count as so many witnesses. Nothing for an empty cluster, and where [`ExpectedTime::of`] is nothing.
    pub fn of_clusters(clusters: &[Vec<Attempt>], level: f64, seed: u64) -> Option<Self> {
        let usable = |attempt: &Attempt| attempt.cost.is_finite() && attempt.cost >= 0.0;
        let filled = |cluster: &Vec<Attempt>| !cluster.is_empty() && cluster.iter().all(usable);
        if clusters.is_empty() || !clusters.iter().all(filled) || !is_level(level) {
            return None;
        }
        let mut rng = stream(seed, "bootstrap of expected running time");
        let mut resample = || ratio(draw(clusters.len(), &mut rng).flat_map(|k| clusters[k].iter().copied()));
        let (low, high) = percentiles((0..RESAMPLES).map(|_| resample()).collect(), level);
        let all = || clusters.iter().flatten().copied();
        let censored = all().filter(|attempt| !attempt.success).count();
        Some(Self { runs: all().count(), censored, time: ratio(all()), low, high })
    }

    /// Number of successes.
    pub fn successes(&self) -> usize {
        self.runs - self.censored
    }
}

/// The expected time of one solver over that of another, on the same clusters of runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeRatio {
    /// The ratio; infinite if only the first has no success, 1 if neither has one.
    pub ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl TimeRatio {
    /// Of clusters with the runs of both, drawn anew together. Nothing where [`ExpectedTime::of_clusters`] is nothing for either.
    pub fn of(clusters: &[(Vec<Attempt>, Vec<Attempt>)], level: f64, seed: u64) -> Option<Self> {
        let usable = |attempt: &Attempt| attempt.cost.is_finite() && attempt.cost >= 0.0;
        let filled = |runs: &Vec<Attempt>| !runs.is_empty() && runs.iter().all(usable);
        if clusters.is_empty() || !clusters.iter().all(|(a, b)| filled(a) && filled(b)) || !is_level(level) {
            return None;
        }
        let of = |chosen: &[usize]| {
            let first = ratio(chosen.iter().flat_map(|k| clusters[*k].0.iter().copied()));
            let second = ratio(chosen.iter().flat_map(|k| clusters[*k].1.iter().copied()));
            // No cost at all on both sides is as good as no success on both.
            if first == second { 1.0 } else { first / second }
        };
        let mut rng = stream(seed, "bootstrap of a ratio of expected running times");
        let mut resample = || of(&draw(clusters.len(), &mut rng).collect::<Vec<_>>());
        let (low, high) = percentiles((0..RESAMPLES).map(|_| resample()).collect(), level);
        Some(Self { ratio: of(&(0..clusters.len()).collect::<Vec<_>>()), low, high })
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
    fn a_ratio_compares_what_happens_on_the_same_clusters() {
        // Twice as dear on every cluster, whose costs differ by far: no resample says otherwise.
        let pair = |cost: f64| (attempts(&[(2.0 * cost, true), (2.0 * cost, false)]), attempts(&[(cost, true); 2]));
        let clusters: Vec<_> = (0..8).map(|k| pair(10f64.powi(k))).collect();
        let twice = TimeRatio::of(&clusters, 0.95, 0).unwrap();
        // Half of the runs fail: 4 cost for a success, against 1.
        assert_eq!((twice.ratio, twice.low, twice.high), (4.0, 4.0, 4.0));
        let never = (attempts(&[(1.0, false)]), attempts(&[(1.0, true)]));
        assert_eq!(TimeRatio::of(std::slice::from_ref(&never), 0.95, 0).unwrap().ratio, f64::INFINITY);
        assert_eq!(TimeRatio::of(&[(never.0.clone(), never.0)], 0.95, 0).unwrap().ratio, 1.0);
        assert_eq!(TimeRatio::of(&[(Vec::new(), never.1)], 0.95, 0), None);
        assert_eq!(TimeRatio::of(&[], 0.95, 0), None);
    }

    #[test]
    fn runs_of_one_cluster_are_one_witness() {
        // Ten clusters of five equal runs: the interval is that of the ten, and wider than that of fifty runs.
        let clusters: Vec<Vec<Attempt>> = (0..10).map(|k| attempts(&[(f64::from(k), true); 5])).collect();
        let nested = ExpectedTime::of_clusters(&clusters, 0.95, 0).unwrap();
        let ten = ExpectedTime::of(&(0..10).map(|k| clusters[k][0]).collect::<Vec<_>>(), 0.95, 0).unwrap();
        let fifty = ExpectedTime::of(&clusters.concat(), 0.95, 0).unwrap();
        assert_eq!((nested.time, nested.low, nested.high), (ten.time, ten.low, ten.high));
        assert_eq!((nested.runs, fifty.runs), (50, 50));
        assert!(nested.high - nested.low > 1.8 * (fifty.high - fifty.low), "{nested:?} {fifty:?}");
        assert_eq!(ExpectedTime::of_clusters(&[attempts(&[(1.0, true)]), Vec::new()], 0.95, 0), None);
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
