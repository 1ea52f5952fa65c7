//! Cover's counts of realizable rows, and the chance that a given set of features is one.

use crate::exact::Rational;
use dashu::base::BitTest;
use dashu::integer::{IBig, UBig};

/// The number of firing sets F ⊆ \[n\] of a row for n features in general position in ℝ^{n_p} (Cover 1965).
///
/// * c = 0: 2 Σ_{k<n_p} C(n−1, k), the number of cells of n hyperplanes through the origin. The empty set is one more where
///   no row is negative on every feature, see [`count_rows`](super::count_rows).
/// * c > 0: Σ_{k≤n_p} C(n, k), the number of cells of n hyperplanes {w : ⟨w, p_d⟩ = c}. Every non-empty cell has interior
///   points, since (1−ε)w is strictly off wherever w is off.
///
/// Both follow from deletion and restriction: one more hyperplane cuts as many cells as the others leave on it.
pub fn cover(n: usize, n_p: usize, c_is_zero: bool) -> UBig {
    match (n, c_is_zero) {
        (0, _) => UBig::ONE,
        (_, true) => UBig::from(2u8) * binomial_sum(n - 1, n_p),
        (_, false) => binomial_sum(n, n_p + 1),
    }
}

/// Σ_{k<terms} C(n, k).
fn binomial_sum(n: usize, terms: usize) -> UBig {
    let mut binomial = UBig::ONE;
    let mut sum = UBig::ZERO;
    for k in 0..terms.min(n + 1) {
        sum += &binomial;
        binomial = binomial * UBig::from(n - k) / UBig::from(k + 1);
    }
    sum
}

/// A probability with its exact complement.
#[derive(Debug, Clone, PartialEq)]
pub struct Chance {
    /// The probability.
    pub probability: Rational,
    /// 1 − probability.
    pub complement: Rational,
    /// log₁₀ of the complement, −∞ where it is 0.
    pub log10_complement: f64,
}

/// The probability that a set of features is the firing set of some row: [`cover`] / 2^n.
///
/// * c = 0 (Wendel 1962): for every fixed non-empty set, when the features are almost surely in general position and their
///   joint law stays the same if any one p_d is replaced by −p_d. For, then all 2^n strict sign vectors are equally likely to
///   be realizable, and exactly `cover` of them are. Without a law: for a set drawn uniformly, features in general position.
/// * c > 0: for a set drawn uniformly, features in general position. For a fixed set the value depends on the law (a single
///   unit feature is always realizable), but it is at least the value at c = 0: scale the row up.
pub fn probability_of_realizability(n: usize, n_p: usize, c_is_zero: bool) -> Chance {
    let all = UBig::ONE << n;
    let missing = &all - cover(n, n_p, c_is_zero);
    let log10_complement = log10(&missing) - log10(&all);
    let complement = Rational::from_parts(IBig::from(missing), all);
    Chance { probability: Rational::ONE - &complement, complement, log10_complement }
}

/// log₁₀ of an integer of any size: its leading 64 bits, and the number of those behind them.
fn log10(value: &UBig) -> f64 {
    let behind = value.bit_len().saturating_sub(64);
    let leading = (value >> behind).to_f64().value();
    leading.log10() + behind as f64 * std::f64::consts::LOG10_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_counts_are_those_of_arrangements_drawn_by_hand() {
        // Lines through the origin of a plane cut it into 2n sectors; three lines in general position into 7 parts.
        for (n, n_p, c_is_zero, expected) in
            [(3, 2, true, 6), (5, 2, true, 10), (1, 4, true, 2), (3, 2, false, 7), (4, 1, false, 5), (2, 5, false, 4)]
        {
            assert_eq!(cover(n, n_p, c_is_zero), UBig::from(expected as u32), "n={n} n_p={n_p}");
        }
    }

    #[test]
    fn counts_obey_deletion_and_restriction() {
        for c_is_zero in [true, false] {
            for n in 2..20 {
                for n_p in 2..8 {
                    let split = cover(n - 1, n_p, c_is_zero) + cover(n - 1, n_p - 1, c_is_zero);
                    assert_eq!(cover(n, n_p, c_is_zero), split, "n={n} n_p={n_p}");
                }
            }
        }
    }

    #[test]
    fn at_the_bench_size_almost_every_set_is_realizable() {
        let chance = probability_of_realizability(1000, 768, true);
        assert_eq!(&chance.probability + &chance.complement, Rational::ONE);
        // 3.2803e-68 by an independent sum in another language; f64 logarithms of 64 leading bits are good to 1e-13.
        assert!((chance.log10_complement - 3.280_266_161_142_473_4e-68_f64.log10()).abs() < 1e-12);
        assert!((chance.complement.to_f64().value() / 3.280_266_161_142_473_4e-68 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn with_no_more_features_than_dimensions_every_set_is_realizable() {
        for (n, c_is_zero) in [(1, true), (7, true), (7, false)] {
            let chance = probability_of_realizability(n, 7, c_is_zero);
            assert_eq!((chance.probability, chance.log10_complement), (Rational::ONE, f64::NEG_INFINITY));
        }
    }
}
