//! The share of runs that succeed, with the score interval of Wilson (1927), <https://doi.org/10.1080/01621459.1927.10502953>.
//!
//! Against a *predicted* probability, and where an interval must be conservative, stands [`Proportion`](super::Proportion).

use super::bootstrap::{RESAMPLES, draw, is_level, percentiles};
use crate::bench::features::stream;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// A share with its interval: all probabilities p that a score test does not reject, (share − p)² ≤ z² p(1 − p)/trials. It is never
/// empty or outside \[0, 1\], also for a share of 0 or 1; its coverage is near the level on average over p, not for each p.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ShareInterval {
    /// Number of runs.
    pub trials: u64,
    /// Runs that succeeded.
    pub successes: u64,
    /// Their share.
    pub share: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl ShareInterval {
    /// Of so many successes; nothing without trials, with more successes than trials, or for a level outside (0, 1).
    pub fn of(successes: u64, trials: u64, level: f64) -> Option<Self> {
        if trials == 0 || successes > trials || !is_level(level) {
            return None;
        }
        let share = successes as f64 / trials as f64;
        let (low, high) = wilson(share, trials as f64, level);
        Some(Self { trials, successes, share, low, high })
    }

    /// Of runs that are nested in clusters, such as starts in instances, with (successes, runs) of each: the percentile interval of the bootstrap that
    /// draws clusters anew, each with all of its runs. Where all clusters have one share, resamples do not differ; then it is Wilson's interval with
    /// a cluster as the unit. Nothing without clusters, for a cluster without runs or with more successes than runs, or for a level outside
    /// (0, 1). With few clusters the bootstrap's interval is too narrow.
    pub fn of_clusters(clusters: &[(u64, u64)], level: f64, seed: u64) -> Option<Self> {
        let possible = |(successes, runs): &(u64, u64)| *runs > 0 && successes <= runs;
        if clusters.is_empty() || !clusters.iter().all(possible) || !is_level(level) {
            return None;
        }
        let total = |chosen: &mut dyn Iterator<Item = (u64, u64)>| chosen.fold((0, 0), |(a, b), (s, r)| (a + s, b + r));
        let share = |(successes, runs): (u64, u64)| successes as f64 / runs as f64;
        let (successes, trials) = total(&mut clusters.iter().copied());
        let same = clusters.iter().all(|(s, runs)| s * trials == successes * runs);
        let (low, high) = if same {
            wilson(share((successes, trials)), clusters.len() as f64, level)
        } else {
            let mut rng = stream(seed, "bootstrap of a share");
            let mut resample = || share(total(&mut draw(clusters.len(), &mut rng).map(|k| clusters[k])));
            percentiles((0..RESAMPLES).map(|_| resample()).collect(), level)
        };
        Some(Self { trials, successes, share: share((successes, trials)), low, high })
    }
}

/// The score interval of a share of n trials.
fn wilson(share: f64, n: f64, level: f64) -> (f64, f64) {
    let z = Normal::standard().inverse_cdf((1.0 + level) / 2.0);
    let weight = 1.0 + z * z / n;
    let centre = (share + z * z / (2.0 * n)) / weight;
    let half = z / weight * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    // Where no run or every run succeeds, the end is 0 or 1 itself and must not miss it by rounding.
    let low = if share == 0.0 { 0.0 } else { centre - half };
    let high = if share == 1.0 { 1.0 } else { centre + half };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_that_newcombe_prints() {
        // Newcombe 1998 (Statistics in Medicine 17, 857–872), Table I, method 3; four decimals.
        for (successes, trials, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let interval = ShareInterval::of(successes, trials, 0.95).unwrap();
            assert!((interval.low - low).abs() < 5.1e-5 && (interval.high - high).abs() < 5.1e-5, "{interval:?}");
        }
    }

    #[test]
    fn the_ends_are_where_the_score_test_begins_to_reject() {
        // z of 90 %: 1.6448536269514722 in any table
        let z2 = 1.644_853_626_951_472_2_f64.powi(2);
        for (successes, trials) in [(1, 3), (7, 20), (19, 20), (500, 1000)] {
            let interval = ShareInterval::of(successes, trials, 0.9).unwrap();
            for p in [interval.low, interval.high] {
                let excess = (interval.share - p).powi(2) - z2 * p * (1.0 - p) / trials as f64;
                // statrs inverts the normal law to about 1e-9
                assert!(excess.abs() < 1e-8, "{excess:e}");
            }
        }
    }

    #[test]
    fn runs_of_one_cluster_are_one_witness() {
        // Of ten instances seven succeed from all of three starts: as wide as seven of ten, not as 21 of 30.
        let clusters: Vec<(u64, u64)> = (0..10).map(|k| if k < 7 { (3, 3) } else { (0, 3) }).collect();
        let nested = ShareInterval::of_clusters(&clusters, 0.95, 0).unwrap();
        assert_eq!((nested.successes, nested.trials, nested.share), (21, 30, 0.7));
        // Shares of ten draws with p = .7: P(≤ .3) = .011 and P(≤ .4) = .047, P(≤ .9) = .972 and P(≤ 1) = 1, exact binomial sums.
        assert!((nested.low - 0.4).abs() < 1e-12 && nested.high >= 0.9 - 1e-12, "{nested:?}");
        let each = ShareInterval::of(21, 30, 0.95).unwrap();
        assert!(nested.high - nested.low > 1.3 * (each.high - each.low), "{nested:?} {each:?}");
        // No difference between clusters says nothing about others.
        let none = ShareInterval::of_clusters(&[(0, 3); 4], 0.95, 0).unwrap();
        let four = ShareInterval::of(0, 4, 0.95).unwrap();
        assert_eq!((none.low, none.high, none.trials), (0.0, four.high, 12));
        for impossible in [vec![], vec![(0, 0)], vec![(1, 2), (3, 2)]] {
            assert_eq!(ShareInterval::of_clusters(&impossible, 0.95, 0), None);
        }
    }

    #[test]
    fn the_share_of_no_trial_and_impossible_counts_have_no_interval() {
        assert_eq!(ShareInterval::of(0, 0, 0.95), None);
        assert_eq!(ShareInterval::of(3, 2, 0.95), None);
        for level in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(ShareInterval::of(1, 2, level), None);
        }
        let (none, all) = (ShareInterval::of(0, 5, 0.95).unwrap(), ShareInterval::of(5, 5, 0.95).unwrap());
        assert_eq!((none.low, all.high), (0.0, 1.0));
        assert!((none.high + all.low - 1.0).abs() < 1e-15);
    }
}
