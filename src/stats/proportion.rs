//! The share of runs that succeed, with the score interval of Wilson (1927), <https://doi.org/10.1080/01621459.1927.10502953>.
//!
//! Against a *predicted* probability, and where an interval must be conservative, stands [`Proportion`](super::Proportion).

use super::bootstrap::is_level;
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
        let z = Normal::standard().inverse_cdf((1.0 + level) / 2.0);
        let (n, share) = (trials as f64, successes as f64 / trials as f64);
        let weight = 1.0 + z * z / n;
        let centre = (share + z * z / (2.0 * n)) / weight;
        let half = z / weight * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        // Where no run or every run succeeds, the end is 0 or 1 itself and must not miss it by rounding.
        let low = if successes == 0 { 0.0 } else { centre - half };
        let high = if successes == trials { 1.0 } else { centre + half };
        Some(Self { trials, successes, share, low, high })
    }
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
