//! Whether one solver beats another on the same instances: Wilcoxon's signed-rank test, its effect size, and Holm's correction for
//! several comparisons.
//!
//! | what | source |
//! |---|---|
//! | signed-rank test | Wilcoxon 1945, <https://doi.org/10.2307/3001968> |
//! | differences of 0 that keep their ranks | Pratt 1959, <https://doi.org/10.1080/01621459.1959.10501526> |
//! | matched-pairs rank-biserial correlation | Kerby 2014, <https://doi.org/10.2466/11.IT.3.1> |
//! | correction | Holm 1979, <https://www.jstor.org/stable/4615733> |

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// Up to so many differences that are not 0 the law of the statistic is exact.
pub const EXACT: usize = 25;

/// What becomes of differences that are exactly 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zeros {
    /// Pratt's rule: they are ranked with the others, as the least, and their ranks then go to neither side.
    #[default]
    Pratt,
    /// Wilcoxon's rule: they are left out before ranking.
    Wilcoxon,
}

/// The test of Wilcoxon that differences are symmetric about 0, with two sides.
///
/// Equal absolute differences share the mean of their ranks. Given these ranks, every sign is + or − with probability ½: up to [`EXACT`]
/// differences that are not 0 the p-value is that of this law, ties or not, by a count of all sums of doubled ranks; beyond, that of the normal law with
/// its mean and variance (so corrected for ties) and a continuity correction of ½.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SignedRank {
    /// Number of pairs, equal ones included.
    pub pairs: usize,
    /// Pairs that differ.
    pub different: usize,
    /// W₊, the sum of ranks of positive differences.
    pub positive: f64,
    /// W₋, the sum of ranks of negative differences.
    pub negative: f64,
    /// Probability of W₊ at least as far from its mean, if differences are symmetric about 0. 1 if no pair differs.
    pub p: f64,
    /// Whether `p` is exact.
    pub exact: bool,
    /// (W₊ − W₋)/(W₊ + W₋): 1 if all differences are positive, −1 if all are negative. 0 if no pair differs.
    pub effect: f64,
}

impl SignedRank {
    /// Of these differences; nothing if there are none, or one is no number. Infinite differences rank last.
    pub fn of(differences: &[f64], zeros: Zeros) -> Option<Self> {
        if differences.is_empty() || differences.iter().any(|d| d.is_nan()) {
            return None;
        }
        let ranked: Vec<f64> = differences.iter().copied().filter(|d| zeros == Zeros::Pratt || *d != 0.0).collect();
        let doubled = doubled_ranks(&ranked);
        let signed: Vec<(f64, usize)> = ranked.into_iter().zip(doubled).filter(|(d, _)| *d != 0.0).collect();
        let ranks: Vec<usize> = signed.iter().map(|(_, rank)| *rank).collect();
        let sum = |positive: bool| signed.iter().filter(|(d, _)| (*d > 0.0) == positive).map(|(_, r)| r).sum::<usize>();
        let (positive, negative) = (sum(true), sum(false));
        let exact = ranks.len() <= EXACT;
        let p = if exact { exact_p(&ranks, positive) } else { normal_p(&ranks, positive) };
        let total = positive + negative;
        let effect = if total == 0 { 0.0 } else { (positive as f64 - negative as f64) / total as f64 };
        Some(Self {
            pairs: differences.len(),
            different: ranks.len(),
            positive: positive as f64 / 2.0,
            negative: negative as f64 / 2.0,
            p,
            exact,
            effect,
        })
    }
}

/// Twice the rank of every absolute difference, counted from 1; equal ones share their mean rank, so that twice a rank is an integer.
fn doubled_ranks(differences: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..differences.len()).collect();
    order.sort_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
    let mut ranks = vec![0; differences.len()];
    let mut from = 0;
    for group in order.chunk_by(|a, b| differences[*a].abs() == differences[*b].abs()) {
        let to = from + group.len();
        // ranks from + 1 to `to`
        group.iter().for_each(|&k| ranks[k] = from + 1 + to);
        from = to;
    }
    ranks
}

/// Twice the smaller tail of the exact law of the doubled W₊, at most 1.
fn exact_p(ranks: &[usize], positive: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    // ways[s]: sign choices with this sum, at most 2^EXACT and so exact in f64
    let mut ways = vec![0.0; total + 1];
    ways[0] = 1.0;
    let mut reach = 0;
    for &rank in ranks {
        reach += rank;
        for s in (rank..=reach).rev() {
            ways[s] += ways[s - rank];
        }
    }
    let all = 2f64.powi(ranks.len() as i32);
    let tail = ways[..=positive].iter().sum::<f64>().min(ways[positive..].iter().sum());
    (2.0 * tail / all).min(1.0)
}

/// The same by the normal law.
fn normal_p(ranks: &[usize], positive: usize) -> f64 {
    let rank = |doubled: &usize| *doubled as f64 / 2.0;
    let mean = ranks.iter().map(rank).sum::<f64>() / 2.0;
    let variance = ranks.iter().map(|doubled| rank(doubled).powi(2)).sum::<f64>() / 4.0;
    let distance = ((positive as f64 / 2.0 - mean).abs() - 0.5).max(0.0);
    2.0 * Normal::standard().sf(distance / variance.sqrt())
}

/// p-values adjusted by Holm's step-down rule, in the order given: with the k-th smallest of m,
///
/// ```text
///     p̃_(k) = min(1, max_{j ≤ k} (m − j + 1) p_(j)).
/// ```
///
/// Rejecting where p̃ ≤ α makes one or more false rejections with probability at most α, whatever depends on what. Nothing if a value is not
/// in \[0, 1\].
pub fn holm(p: &[f64]) -> Option<Vec<f64>> {
    if !p.iter().all(|p| (0.0..=1.0).contains(p)) {
        return None;
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (before, &k) in order.iter().enumerate() {
        largest = largest.max((p.len() - before) as f64 * p[k]).min(1.0);
        adjusted[k] = largest;
    }
    Some(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use rand::RngExt;

    /// The p-value by its definition: every choice of signs, mean ranks found by counting.
    fn slow_p(differences: &[f64], zeros: Zeros) -> f64 {
        let ranked: Vec<f64> = differences.iter().copied().filter(|d| zeros == Zeros::Pratt || *d != 0.0).collect();
        let rank = |d: f64| {
            let below = ranked.iter().filter(|e| e.abs() < d.abs()).count() as f64;
            let equal = ranked.iter().filter(|e| e.abs() == d.abs()).count() as f64;
            below + (equal + 1.0) / 2.0
        };
        let signed: Vec<f64> = ranked.iter().copied().filter(|d| *d != 0.0).collect();
        let ranks: Vec<f64> = signed.iter().map(|d| rank(*d)).collect();
        let seen: f64 = signed.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
        let (mut below, mut above) = (0_u32, 0_u32);
        for signs in 0..1_u32 << ranks.len() {
            let sum: f64 = ranks.iter().enumerate().filter(|(k, _)| signs >> k & 1 == 1).map(|(_, r)| r).sum();
            below += u32::from(sum <= seen);
            above += u32::from(sum >= seen);
        }
        (2.0 * f64::from(below.min(above)) / f64::from(1_u32 << ranks.len())).min(1.0)
    }

    #[test]
    fn the_exact_p_is_the_share_of_all_signs_with_and_without_ties_and_zeros() {
        let mut rng = stream(0, "signed-rank tests");
        for count in 1..=12 {
            for widest in [2, 5, 1000] {
                let differences: Vec<f64> = (0..count).map(|_| f64::from(rng.random_range(-widest..=widest))).collect();
                for zeros in [Zeros::Pratt, Zeros::Wilcoxon] {
                    let test = SignedRank::of(&differences, zeros).unwrap();
                    assert!(test.exact);
                    assert_eq!(test.p, slow_p(&differences, zeros), "{differences:?} {zeros:?}");
                }
            }
        }
    }

    #[test]
    #[allow(clippy::approx_constant)] // 3.14 is a score
    fn a_textbook_example_has_its_printed_value() {
        // Hollander, Wolfe 1973, pp. 29f., depression scores before and after; R's help of wilcox.test: V = 40, one-sided
        // p = 0.01953.
        let before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        let differences: Vec<f64> = before.iter().zip(after).map(|(x, y)| x - y).collect();
        let test = SignedRank::of(&differences, Zeros::default()).unwrap();
        assert_eq!((test.positive, test.negative, test.p), (40.0, 5.0, 20.0 / 512.0));
        assert_eq!(test.effect, 35.0 / 45.0);
    }

    #[test]
    fn the_two_rules_for_zeros_differ_as_pratt_says() {
        let differences = [0.0, 0.0, 1.0, 2.0, -3.0, 4.0];
        let pratt = SignedRank::of(&differences, Zeros::Pratt).unwrap();
        let wilcoxon = SignedRank::of(&differences, Zeros::Wilcoxon).unwrap();
        assert_eq!((pratt.positive, pratt.negative, pratt.different), (13.0, 5.0, 4));
        assert_eq!((wilcoxon.positive, wilcoxon.negative, wilcoxon.pairs), (7.0, 3.0, 6));
    }

    #[test]
    fn the_normal_law_has_the_printed_variance_and_is_close_to_the_exact_one() {
        let mut rng = stream(1, "signed-rank tests");
        for widest in [6, 1_000_000] {
            for _ in 0..20 {
                let count = EXACT + 1 + rng.random_range(0..20);
                let differences: Vec<f64> =
                    (0..count).map(|_| f64::from(rng.random_range(-widest..=widest * 2)).abs().max(1.0)).collect();
                let differences: Vec<f64> =
                    differences.iter().map(|d| if rng.random_bool(0.6) { *d } else { -d }).collect();
                let test = SignedRank::of(&differences, Zeros::Pratt).unwrap();
                let ranks = doubled_ranks(&differences);
                let exact = exact_p(&ranks, (2.0 * test.positive) as usize);
                // Edgeworth's next term is of order 1/n: below .01 at these n, as the exact law confirms for every case.
                assert!(!test.exact && (test.p - exact).abs() < 0.01, "{} {exact}", test.p);
                // n(n+1)(2n+1)/24 − Σ(t³ − t)/48 (Lehmann 1975, eq. 3.21) is a quarter of the sum of squared mean ranks.
                let n = count as f64;
                let ties: f64 = (differences.iter())
                    .map(|d| {
                        let t = differences.iter().filter(|e| e.abs() == d.abs()).count() as f64;
                        (t * t * t - t) / t
                    })
                    .sum();
                let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
                let squares: f64 = ranks.iter().map(|r| (*r as f64 / 2.0).powi(2)).sum();
                assert!((squares / 4.0 - variance).abs() < 1e-9 * variance);
                let z = ((test.positive - n * (n + 1.0) / 4.0).abs() - 0.5).max(0.0) / variance.sqrt();
                let p = statrs::function::erf::erfc(z / 2f64.sqrt());
                assert!((test.p - p).abs() < 1e-9, "{} {p}", test.p);
            }
        }
    }

    #[test]
    fn pairs_that_do_not_differ_say_nothing_and_what_is_no_number_has_no_test() {
        for zeros in [Zeros::Pratt, Zeros::Wilcoxon] {
            let test = SignedRank::of(&[0.0, -0.0], zeros).unwrap();
            assert_eq!((test.p, test.effect, test.different), (1.0, 0.0, 0));
            assert_eq!(SignedRank::of(&[], zeros), None);
            assert_eq!(SignedRank::of(&[1.0, f64::NAN], zeros), None);
            assert_eq!(SignedRank::of(&[f64::INFINITY, 1.0, -2.0], zeros).unwrap().positive, 4.0);
        }
    }

    #[test]
    fn adjusted_p_values_are_the_levels_at_which_holms_rule_begins_to_reject() {
        // The procedure as Holm states it: go up the sorted values while p_(k) ≤ α/(m − k + 1).
        let rejects = |p: &[f64], which: usize, alpha: f64| {
            let mut sorted = p.to_vec();
            sorted.sort_by(f64::total_cmp);
            let passed =
                sorted.iter().enumerate().take_while(|(k, p)| **p <= alpha / (sorted.len() - k) as f64).count();
            passed > 0 && p[which] <= sorted[passed - 1]
        };
        let mut rng = stream(2, "signed-rank tests");
        for count in 1..8 {
            let p: Vec<f64> = (0..count).map(|_| rng.random::<f64>().powi(3)).collect();
            let adjusted = holm(&p).unwrap();
            for (k, level) in adjusted.into_iter().enumerate() {
                assert!(!rejects(&p, k, level * (1.0 - 1e-9)), "{p:?}");
                assert!(level == 1.0 || rejects(&p, k, level * (1.0 + 1e-9)), "{p:?}");
            }
        }
        // p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") of R
        let printed = [0.05, 0.08, 0.09, 0.09, 0.09];
        let adjusted = holm(&[0.01, 0.02, 0.03, 0.04, 0.05]).unwrap();
        assert!(adjusted.iter().zip(printed).all(|(p, q)| (p - q).abs() < 1e-15), "{adjusted:?}");
        assert_eq!(holm(&[0.6, 0.7]).unwrap(), [1.0, 1.0]);
        assert_eq!(holm(&[]), Some(vec![]));
        assert_eq!((holm(&[f64::NAN]), holm(&[1.1])), (None, None));
    }
}
