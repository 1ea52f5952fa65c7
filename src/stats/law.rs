//! Exact tests of a predicted probability or mean: they raise a false alarm less than once in 10⁶, and say which wrong law they
//! would have noticed.

use super::table::rounded;
use statrs::distribution::{Beta, Binomial, ContinuousCDF, DiscreteCDF};
use std::ops::RangeInclusive;

/// A predicted probability against a count of independent draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Proportion {
    /// Number of draws.
    pub trials: u64,
    /// Draws on which the event happened.
    pub successes: u64,
    /// The predicted probability.
    pub law: f64,
    /// The nearest wrong probability that the test must be able to notice.
    pub wrong: f64,
}

impl Proportion {
    /// Probability with which a true law is rejected, at most.
    pub const FALSE_ALARM: f64 = 1e-6;
    /// Probability with which the wrong law must be rejected, at least.
    pub const POWER: f64 = 0.99;

    /// The counts that the law makes likely: both tails outside have probability ≤ FALSE_ALARM / 2, exactly. Empty if `law` is no
    /// probability.
    pub fn accepted(trials: u64, law: f64) -> RangeInclusive<u64> {
        let Ok(binomial) = Binomial::new(law, trials) else { return RangeInclusive::new(1, 0) };
        let tail = Self::FALSE_ALARM / 2.0;
        // smallest k with Pr(X ≤ k) > tail, so that Pr(X < k) ≤ tail; and the same from above
        let low = bisect(trials, |k| binomial.cdf(k) > tail);
        let high = trials - bisect(trials, |k| upper(&binomial, trials - k) > tail);
        low..=high
    }

    /// True if the count is one that the law makes likely.
    pub fn agrees(&self) -> bool {
        Self::accepted(self.trials, self.law).contains(&self.successes)
    }

    /// Probability of rejecting the law when `wrong` is true.
    pub fn power(&self) -> f64 {
        let accepted = Self::accepted(self.trials, self.law);
        let Ok(binomial) = Binomial::new(self.wrong, self.trials) else { return 0.0 };
        let below = accepted.start().checked_sub(1).map_or(0.0, |k| binomial.cdf(k));
        below + binomial.sf(*accepted.end())
    }

    /// The smallest number of draws with which the test has power .99 against `wrong`, or `None` above 10⁸.
    pub fn draws(law: f64, wrong: f64) -> Option<u64> {
        const MOST: u64 = 100_000_000;
        let enough = |trials: u64| Self { trials, successes: 0, law, wrong }.power() >= Self::POWER;
        if !enough(MOST) {
            return None;
        }
        Some(bisect(MOST, enough))
    }

    /// The measured share.
    pub fn share(&self) -> f64 {
        self.successes as f64 / self.trials as f64
    }

    /// The interval of Clopper and Pearson (1934) for the probability, at confidence `level`: no probability outside it makes a
    /// count this far out more likely than (1 − level)/2.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let tail = (1.0 - level) / 2.0;
        let (k, rest) = (self.successes as f64, (self.trials - self.successes.min(self.trials)) as f64);
        let low = Beta::new(k, rest + 1.0).map_or(0.0, |beta| beta.inverse_cdf(tail));
        let high = Beta::new(k + 1.0, rest).map_or(1.0, |beta| beta.inverse_cdf(1.0 - tail));
        (low, high)
    }

    /// "0.1253 of 40000, law 0.125; accepted 0.117 to 0.133; power 0.999 against 0.14".
    pub fn sentence(&self) -> String {
        let accepted = Self::accepted(self.trials, self.law);
        let share = |count: u64| rounded(count as f64 / self.trials as f64, 4);
        format!(
            "{} of {}, law {}; accepted {} to {}; power {} against {}",
            share(self.successes),
            self.trials,
            rounded(self.law, 4),
            share(*accepted.start()),
            share(*accepted.end()),
            rounded(self.power(), 4),
            rounded(self.wrong, 4)
        )
    }
}

/// Pr(X ≥ k).
fn upper(binomial: &Binomial, k: u64) -> f64 {
    k.checked_sub(1).map_or(1.0, |below| binomial.sf(below))
}

/// The smallest k in 0..=most with `holds(k)`, for a statement that stays true once it is; `most` if there is none below.
fn bisect(most: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// A predicted mean against the mean of independent draws from a bounded range (Hoeffding 1963, Theorem 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// Number of draws.
    pub trials: u64,
    /// The mean of the draws.
    pub mean: f64,
    /// The range that every draw lies in.
    pub range: (f64, f64),
    /// The predicted mean.
    pub law: f64,
    /// The nearest wrong mean that the test must be able to notice.
    pub wrong: f64,
}

impl Mean {
    /// Half the width of the interval around the law: |mean − law| exceeds it with probability ≤ FALSE_ALARM.
    pub fn tolerance(&self) -> f64 {
        let width = self.range.1 - self.range.0;
        width * ((2.0 / Proportion::FALSE_ALARM).ln() / (2.0 * self.trials as f64)).sqrt()
    }

    /// True if the mean is one that the law makes likely.
    pub fn agrees(&self) -> bool {
        (self.mean - self.law).abs() <= self.tolerance()
    }

    /// A lower bound on the probability of rejecting the law when `wrong` is true.
    pub fn power(&self) -> f64 {
        let spare = (self.wrong - self.law).abs() - self.tolerance();
        if spare <= 0.0 {
            return 0.0;
        }
        let width = self.range.1 - self.range.0;
        1.0 - (-2.0 * self.trials as f64 * (spare / width).powi(2)).exp()
    }

    /// "0.1253 over 40000 draws, law 0.125 ± 0.008; power 0.999 against 0.14".
    pub fn sentence(&self) -> String {
        format!(
            "{} over {} draws, law {} ± {}; power {} against {}",
            rounded(self.mean, 4),
            self.trials,
            rounded(self.law, 4),
            rounded(self.tolerance(), 2),
            rounded(self.power(), 4),
            rounded(self.wrong, 4)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pr(X ≤ k), summed term by term.
    fn cdf(trials: u64, law: f64, k: u64) -> f64 {
        let mut term = (1.0 - law).powi(trials as i32);
        let mut sum = term;
        for j in 1..=k {
            term *= law / (1.0 - law) * (trials - j + 1) as f64 / j as f64;
            sum += term;
        }
        sum
    }

    #[test]
    fn the_accepted_counts_are_the_smallest_range_whose_two_tails_are_small() {
        for (trials, law) in [(50, 0.3), (150, 0.04), (1, 0.5), (300, 0.7)] {
            let accepted = Proportion::accepted(trials, law);
            let (low, high) = (*accepted.start(), *accepted.end());
            let below = |k: u64| k.checked_sub(1).map_or(0.0, |k| cdf(trials, law, k));
            assert!(below(low) <= 5e-7 && below(low + 1) > 5e-7, "{trials} {law} {low}");
            // the upper tail by symmetry
            let above = |k: u64| (trials - k).checked_sub(1).map_or(0.0, |k| cdf(trials, 1.0 - law, k));
            assert!(above(high) <= 5e-7 && (high == 0 || above(high - 1) > 5e-7), "{trials} {law} {high}");
        }
    }

    #[test]
    fn the_number_of_draws_is_just_enough_to_notice_the_wrong_law() {
        let draws = Proportion::draws(0.25, 0.3).unwrap();
        let power = |trials| Proportion { trials, successes: 0, law: 0.25, wrong: 0.3 }.power();
        // counts are discrete, so the power is not monotone to the last draw
        assert!(power(draws) >= 0.99 && power(draws * 9 / 10) < 0.99, "{draws}");
        assert_eq!(Proportion::draws(0.5, 0.5), None);
    }

    #[test]
    fn a_wrong_proportion_is_rejected_and_a_right_one_is_not() {
        let test = |successes| Proportion { trials: 10_000, successes, law: 0.125, wrong: 0.15 };
        assert!(test(1_250).agrees() && !test(1_500).agrees() && !test(1_000).agrees());
        assert!(test(0).power() > 0.99);
        assert!(test(1_250).sentence().starts_with("0.1250 of 10000, law 0.1250; accepted 0.10"));
    }

    #[test]
    fn the_ends_of_the_interval_make_the_count_just_unlikely_enough() {
        let test = Proportion { trials: 50, successes: 12, law: 0.25, wrong: 0.5 };
        let (low, high) = test.interval(0.95);
        // statrs inverts to about 1e-8
        assert!((cdf(50, high, 12) - 0.025).abs() < 1e-6);
        assert!((1.0 - cdf(50, low, 11) - 0.025).abs() < 1e-6);
        assert_eq!(Proportion { successes: 0, ..test }.interval(0.95).0, 0.0);
        assert_eq!(Proportion { successes: 50, ..test }.interval(0.95).1, 1.0);
    }

    #[test]
    fn a_law_of_zero_or_one_allows_no_exception() {
        let test = |law, successes| Proportion { trials: 100, successes, law, wrong: 0.5 };
        assert!(test(0.0, 0).agrees() && !test(0.0, 1).agrees());
        assert!(test(1.0, 100).agrees() && !test(1.0, 99).agrees());
    }

    #[test]
    fn the_mean_of_bounded_draws_is_tested_by_hoeffding() {
        let test = |mean| Mean { trials: 100_000, mean, range: (0.0, 2.0), law: 1.0, wrong: 1.1 };
        // 2 √(ln(2e6)/2e5)
        assert!((test(1.0).tolerance() - 0.017_034).abs() < 1e-5);
        assert!(test(1.01).agrees() && !test(1.02).agrees());
        assert!(test(1.0).power() > 0.99);
        assert_eq!(Mean { wrong: 1.01, ..test(1.0) }.power(), 0.0);
    }
}
