//! Percentile intervals of the bootstrap (Efron 1979; Efron, Tibshirani 1993, ch. 13).

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// Number of resamples: the ends of a 95 % interval then lie within about ±.007 of their nominal probability (two standard
/// deviations of a share of .025 or .975).
pub const RESAMPLES: usize = 2000;

/// Draws so many indices below `count`, with replacement.
pub fn draw(count: usize, rng: &mut ChaCha20Rng) -> impl Iterator<Item = usize> {
    (0..count).map(move |_| rng.random_range(0..count))
}

/// The quantiles (1 − level)/2 and (1 + level)/2 of these values, each the least value that at least this share of them does
/// not exceed. No interpolation, so that infinite values are in order. There must be a value.
pub fn percentiles(mut values: Vec<f64>, level: f64) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let tail = (1.0 - level) / 2.0;
    let rank = |share: f64| ((share * count as f64).ceil() as usize).clamp(1, count) - 1;
    (values[rank(tail)], values[rank(1.0 - tail)])
}

/// True for a confidence that makes sense: above 0 and below 1.
pub fn is_level(level: f64) -> bool {
    level > 0.0 && level < 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_order_statistics_also_beside_infinity() {
        let values: Vec<f64> = (1..=40).rev().map(f64::from).collect();
        // 40 · .025 = 1 and 40 · .975 = 39 in real numbers; 39 or 40 after rounding of (1 − .95)/2
        let (low, high) = percentiles(values, 0.9);
        assert_eq!((low, high), (2.0, 38.0));
        assert_eq!(percentiles(vec![f64::INFINITY, 1.0], 0.5), (1.0, f64::INFINITY));
        assert_eq!(percentiles(vec![3.0], 0.95), (3.0, 3.0));
    }
}
