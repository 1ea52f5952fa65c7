//! Recovery of known features (§5.1): the best match s_d = max_i S_id of every feature, the share M_GT(τ) of features
//! with s_d > τ, and the mean MIP of s.
//!
//! For s ≥ 0: MIP ≥ τ·M_GT(τ), and M_GT(τ) = 0 implies MIP ≤ τ. For s ≤ 1: MIP ≤ M_GT(τ) + τ (1 − M_GT(τ)).

use super::similarity::{Comparison, Sign, SimilarityError, Vectors};
use serde::{Deserialize, Serialize};

/// The latent most similar to a feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The latent; of equal ones the lower. Absent if there is none.
    pub latent: Option<u32>,
    /// s_d; 0 if there is no latent.
    pub similarity: f64,
}

/// Best matches of all features, feature by feature.
#[derive(Debug, Clone, PartialEq)]
pub struct BestMatches {
    /// With latents scaled to norm 1, so that s ≤ 1: what is meant where nothing else is said.
    pub normalised: Vec<Match>,
    /// With latents as they are: the formula as printed. It grows with the norms of the rows, and s can exceed 1.
    pub raw: Vec<Match>,
    /// Normalised, among the latents that are not anchored.
    pub normalised_free: Vec<Match>,
    /// Raw, among the latents that are not anchored.
    pub raw_free: Vec<Match>,
}

/// Running maxima over latents.
#[derive(Debug, Clone)]
struct Running {
    best: Vec<f32>,
    latent: Vec<u32>,
}

impl Running {
    fn new(n: usize) -> Self {
        Self { best: vec![f32::NEG_INFINITY; n], latent: vec![u32::MAX; n] }
    }

    fn take(&mut self, latent: usize, values: impl Iterator<Item = f32>) {
        for ((best, at), value) in self.best.iter_mut().zip(&mut self.latent).zip(values) {
            if value > *best {
                (*best, *at) = (value, latent as u32);
            }
        }
    }

    /// Later latents win only by being larger.
    fn merge(&mut self, later: &Self) {
        for (d, value) in later.best.iter().enumerate() {
            if *value > self.best[d] {
                (self.best[d], self.latent[d]) = (*value, later.latent[d]);
            }
        }
    }
}

impl BestMatches {
    /// The best matches of known directions among learned ones. The latent is chosen by products in f32, one matrix
    /// product for all four lists; its similarity is then computed in f64.
    ///
    /// # Errors
    /// Different dimensions, or numbers that are not finite.
    pub fn of(learned: Vectors<'_>, truth: Vectors<'_>, sign: Sign, anchored: &[u32]) -> Result<Self, SimilarityError> {
        let comparison = Comparison::new(learned, truth)?;
        let n = comparison.features();
        let mut free = vec![true; comparison.latents()];
        anchored.iter().filter_map(|i| free.get_mut(*i as usize).map(|f| *f = false)).for_each(drop);
        // Without anchors the last two are the first two.
        let lists = if free.contains(&false) { 4 } else { 2 };
        let panels = comparison.panels(|panel| {
            let mut running = vec![Running::new(n); lists];
            for (i, cosines) in panel.latents() {
                let norm = comparison.norm(i) as f32;
                for (list, running) in running.iter_mut().enumerate() {
                    if list < 2 || free[i] {
                        let scale = if list % 2 == 1 { norm } else { 1.0 };
                        running.take(i, cosines.iter().map(|g| sign.of_f32(*g) * scale));
                    }
                }
            }
            running
        });
        let mut all = vec![Running::new(n); lists];
        for panel in &panels {
            all.iter_mut().zip(panel).for_each(|(all, panel)| all.merge(panel));
        }
        let matches = |list: usize| {
            let found = |(d, &latent): (usize, &u32)| {
                if latent == u32::MAX {
                    return Match { latent: None, similarity: 0.0 };
                }
                let cosine = sign.of(comparison.cosine(latent as usize, d));
                let scale = if list % 2 == 1 { comparison.norm(latent as usize) } else { 1.0 };
                Match { latent: Some(latent), similarity: cosine * scale }
            };
            all[list % lists].latent.iter().enumerate().map(found).collect()
        };
        Ok(Self { normalised: matches(0), raw: matches(1), normalised_free: matches(2), raw_free: matches(3) })
    }
}

/// M_GT(τ) and MIP of some features.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// s by increasing value, never empty.
    sorted: Vec<f64>,
}

/// A histogram of best matches with equal bins from 0 to 1, closed below; the last one contains 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Features below 0 (signed products).
    pub below: usize,
    /// Features in each bin.
    pub counts: Vec<usize>,
    /// Features above 1 (raw products).
    pub above: usize,
}

impl Recovery {
    /// From the similarities of best matches; absent without any.
    pub fn of(similarities: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = similarities.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then_some(Self { sorted })
    }

    /// Of all features but those left out.
    pub fn without(matches: &[Match], left_out: &[u32]) -> Option<Self> {
        let mut kept = vec![true; matches.len()];
        left_out.iter().filter_map(|d| kept.get_mut(*d as usize).map(|k| *k = false)).for_each(drop);
        Self::of(matches.iter().zip(kept).filter(|(_, kept)| *kept).map(|(m, _)| m.similarity))
    }

    /// How many features.
    pub fn features(&self) -> usize {
        self.sorted.len()
    }

    /// M_GT(τ), the share of features with s_d > τ.
    pub fn recovered(&self, tau: f64) -> f64 {
        let above = self.sorted.len() - self.sorted.partition_point(|s| *s <= tau);
        above as f64 / self.sorted.len() as f64
    }

    /// MIP, the mean of s.
    pub fn mip(&self) -> f64 {
        self.sorted.iter().sum::<f64>() / self.sorted.len() as f64
    }

    /// The smallest and the largest s.
    pub fn range(&self) -> (f64, f64) {
        (self.sorted[0], self.sorted[self.sorted.len() - 1])
    }

    /// The whole curve τ ↦ M_GT(τ) as a polyline from `from` to `to`: two corners for each value of s in between.
    pub fn curve(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let mut points = vec![(from, self.recovered(from))];
        for s in &self.sorted {
            let last = points[points.len() - 1];
            if *s > from && *s < to && *s > last.0 {
                points.extend([(*s, last.1), (*s, self.recovered(*s))]);
            }
        }
        let last = points[points.len() - 1];
        points.extend([(to, last.1), (to, self.recovered(to))]);
        points
    }

    /// How s is distributed.
    pub fn histogram(&self, bins: usize) -> Histogram {
        let mut histogram = Histogram { below: 0, counts: vec![0; bins], above: 0 };
        for s in &self.sorted {
            if *s < 0.0 {
                histogram.below += 1;
            } else if *s > 1.0 {
                histogram.above += 1;
            } else {
                histogram.counts[((s * bins as f64) as usize).min(bins - 1)] += 1;
            }
        }
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::BenchConfig;
    use crate::bench::dataset::{Bench, Side};
    use crate::bench::features::{random_unit, stream};
    use proptest::prelude::*;

    fn drawn(count: usize, dimension: usize, purpose: &str) -> Vec<f32> {
        let columns = random_unit(dimension, count, &mut stream(5, purpose));
        columns.col_iter().flat_map(|c| c.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn best_matches_are_those_of_all_pairs_for_both_signs_raw_and_normalised_with_and_without_anchors() {
        let (n, n_q, dimension) = (20, 1100, 12);
        let mut learned = drawn(n_q, dimension, "learned");
        for (i, row) in learned.chunks_mut(dimension).enumerate() {
            row.iter_mut().for_each(|w| *w *= 0.1 + (i % 7) as f32);
        }
        let truth = drawn(n, dimension, "truth");
        let (rows, known) = (Vectors::rows("learned", &learned, dimension), Vectors::rows("truth", &truth, dimension));
        for sign in [Sign::Absolute, Sign::Signed] {
            let anchored: Vec<u32> = (0..600).collect();
            let found = BestMatches::of(rows, known, sign, &anchored).unwrap();
            let comparison = Comparison::new(rows, known).unwrap();
            let expected = |d: usize, raw: bool, first: usize| {
                let value = |i: usize| {
                    let cosine = comparison.cosine(i, d) * if raw { comparison.norm(i) } else { 1.0 };
                    if sign == Sign::Absolute { cosine.abs() } else { cosine }
                };
                (first..n_q).map(value).fold(f64::NEG_INFINITY, f64::max)
            };
            for d in 0..n {
                for (list, raw, first) in [
                    (&found.normalised, false, 0),
                    (&found.raw, true, 0),
                    (&found.normalised_free, false, 600),
                    (&found.raw_free, true, 600),
                ] {
                    // Two latents may be told apart only to f32: 14 roundings of 2^-24, norms below 7.
                    assert!((list[d].similarity - expected(d, raw, first)).abs() < 7.0 * 14.0 * 2f64.powi(-24));
                    assert!(list[d].latent.is_some_and(|i| i as usize >= first));
                }
            }
        }
    }

    #[test]
    fn the_features_themselves_are_recovered_completely_and_their_negatives_by_absolute_value_alone() {
        let config = BenchConfig { n: 40, n_p: 24, interference: 0.3, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let truth = Vectors::truth(bench.directions(Side::Input));
        let negative: Vec<f32> = bench.directions(Side::Input).data().iter().map(|x| -3.0 * x).collect();
        let negative = Vectors::rows("negative", &negative, 24);
        let best = |learned, sign| BestMatches::of(learned, truth, sign, &[]).unwrap();
        let itself = best(truth, Sign::Signed);
        assert!(itself.normalised.iter().enumerate().all(|(d, m)| m.latent == Some(d as u32)));
        let recovery = |matches: &[Match]| Recovery::without(matches, &[]).unwrap();
        // Cosines of equal vectors in f64.
        assert_eq!(recovery(&itself.normalised).recovered(1.0 - 1e-14), 1.0);
        let against = best(negative, Sign::Absolute);
        assert_eq!(recovery(&against.normalised).recovered(0.999), 1.0);
        // Feature matrices are rounded to f32, so that norms are 3 to 24·2^-24.
        assert!((recovery(&against.raw).mip() - 3.0).abs() < 3.0 * 24.0 * 2f64.powi(-24));
        assert_eq!(recovery(&best(negative, Sign::Signed).normalised).recovered(0.999), 0.0);
    }

    #[test]
    fn equal_latents_are_told_apart_by_their_number_and_threads_do_not_matter() {
        let truth = drawn(9, 5, "truth");
        let learned = truth.repeat(200);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (rows, known) = (Vectors::rows("learned", &learned, 5), Vectors::rows("truth", &truth, 5));
            pool.install(|| BestMatches::of(rows, known, Sign::Absolute, &[3]).unwrap())
        };
        let found = run(1);
        assert_eq!(found, run(3));
        assert!(found.normalised.iter().enumerate().all(|(d, m)| m.latent == Some(d as u32)));
        assert_eq!(found.normalised_free[3].latent, Some(12));
    }

    #[test]
    fn without_latents_nothing_is_recovered_and_without_features_there_is_nothing_to_say() {
        let truth = drawn(4, 5, "truth");
        let found =
            BestMatches::of(Vectors::rows("learned", &[], 5), Vectors::rows("truth", &truth, 5), Sign::Absolute, &[])
                .unwrap();
        assert_eq!(found.raw, [Match { latent: None, similarity: 0.0 }; 4]);
        assert_eq!(Recovery::without(&found.normalised, &[0, 1, 2, 3]), None);
        assert_eq!(Recovery::without(&found.normalised, &[1]).unwrap().features(), 3);
    }

    #[test]
    fn a_best_match_equal_to_the_threshold_is_not_above_it() {
        let recovery = Recovery::of([0.9, 0.5, 0.9, 1.0]).unwrap();
        assert_eq!([0.4, 0.5, 0.89, 0.9, 1.0].map(|tau| recovery.recovered(tau)), [1.0, 0.75, 0.75, 0.25, 0.0]);
        assert_eq!((recovery.mip(), recovery.range()), (0.825, (0.5, 1.0)));
        let expected = [(0.0, 1.0), (0.5, 1.0), (0.5, 0.75), (0.9, 0.75), (0.9, 0.25), (1.0, 0.25), (1.0, 0.0)];
        assert_eq!(recovery.curve(0.0, 1.0), expected);
        let histogram = Recovery::of([-0.1, 0.0, 0.3, 0.99, 1.0, 1.5]).unwrap().histogram(4);
        assert_eq!(histogram, Histogram { below: 1, counts: vec![1, 1, 0, 2], above: 1 });
    }

    proptest! {
        /// Rounding: a mean of at most 60 numbers below 1, 2^-53 for each addition, and one product.
        #[test]
        fn mip_and_recovery_bound_each_other(s in prop::collection::vec(0.0..=1.0_f64, 1..60), tau in 0.0..1.0_f64) {
            let recovery = Recovery::of(s).unwrap();
            let (mip, share) = (recovery.mip(), recovery.recovered(tau));
            let rounding = 64.0 * f64::EPSILON;
            prop_assert!(mip >= tau * share - rounding);
            prop_assert!(share > 0.0 || mip <= tau + rounding);
            prop_assert!(mip <= share + tau * (1.0 - share) + rounding);
        }

        #[test]
        fn the_lower_bounds_hold_for_raw_products_too(
            s in prop::collection::vec(0.0..50.0_f64, 1..60),
            tau in 0.0..40.0_f64,
        ) {
            let recovery = Recovery::of(s).unwrap();
            let (mip, share) = (recovery.mip(), recovery.recovered(tau));
            let rounding = 64.0 * 50.0 * f64::EPSILON;
            prop_assert!(mip >= tau * share - rounding);
            prop_assert!(share > 0.0 || mip <= tau + rounding);
        }

        #[test]
        fn models_of_any_size_obey_the_invariants(
            n in 1..12_usize,
            n_q in 1..30_usize,
            dimension in 1..8_usize,
            seed: u64,
            tau in 0.0..1.0_f64,
        ) {
            let draw = |count, purpose| -> Vec<f32> {
                let columns = random_unit(dimension, count, &mut stream(seed, purpose));
                columns.col_iter().flat_map(|c| c.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect()
            };
            let (learned, truth) = (draw(n_q, "learned"), draw(n, "truth"));
            let rows = Vectors::rows("learned", &learned, dimension);
            let known = Vectors::rows("truth", &truth, dimension);
            let best = BestMatches::of(rows, known, Sign::Absolute, &[]).unwrap();
            let recovery = Recovery::without(&best.normalised, &[]).unwrap();
            let (mip, share) = (recovery.mip(), recovery.recovered(tau));
            prop_assert!(best.normalised.iter().all(|m| (0.0..=1.0).contains(&m.similarity)));
            prop_assert!(mip >= tau * share - 1e-14);
            prop_assert!(share > 0.0 || mip <= tau + 1e-14);
            prop_assert!(mip <= share + tau * (1.0 - share) + 1e-14);
        }

        #[test]
        fn the_curve_falls_and_agrees_with_its_definition(
            s in prop::collection::vec(0.0..=1.0_f64, 1..40),
            tau in 0.0..1.0_f64,
        ) {
            let recovery = Recovery::of(s.clone()).unwrap();
            let share = s.iter().filter(|s| **s > tau).count() as f64 / s.len() as f64;
            prop_assert_eq!(recovery.recovered(tau), share);
            let curve = recovery.curve(0.0, 1.0);
            prop_assert!(curve.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 >= w[1].1));
            let at = curve.iter().rposition(|point| point.0 <= tau).unwrap();
            prop_assert_eq!(curve[at].1, share);
            prop_assert_eq!(recovery.histogram(7).counts.iter().sum::<usize>(), s.len());
        }
    }
}
