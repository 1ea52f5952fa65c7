//! Sparse coefficients x (eqs. 29 and 30): which features are active in a sample, and how strongly.
//!
//! A sample is a function of (seed, index) alone. With a [`Philox`] stream of the seed, the block at the counter
//! (index mod 2³², index / 2³², b, 0) decides the features 4b .. 4b + 3: feature d is active iff its word is below ⌊p_d 2³²⌋. The magnitude of an
//! active feature d is s_d (c_min + β·[`exponential`](super::philox::exponential)(w)), w the first word at (.., .., d, 1), rounded to f32. A group's common factor (correlation) comes
//! from (.., .., group, 2).
//!
//! | structure | active iff |
//! |---|---|
//! | independent (Asm. 2.4) | word < ⌊p_d 2³²⌋ |
//! | Gaussian copula | word < ⌊Φ((Φ⁻¹(p_d) − √ρ g)/√(1−ρ)) 2³²⌋, g the normal factor of its group |
//! | hierarchy (Def. 3.9) | sub-concepts as above; a parent iff one of them is |

use super::config::{BenchConfig, MagnitudeSpread};
use super::features::stream;
use super::philox::{Philox, exponential};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use statrs::distribution::{Continuous, ContinuousCDF, Normal};

/// The law of x, and its samples.
#[derive(Debug, Clone)]
pub struct Coefficients {
    stream: Philox,
    /// ⌊p_d 2³²⌋, 2³² for a feature that always fires.
    thresholds: Vec<u64>,
    rates: Vec<f64>,
    scales: Vec<f64>,
    c_min: f64,
    beta: f64,
    copula: Option<Copula>,
    /// One parent and its sub-concepts each; groups of one are plain features.
    groups: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, Copy)]
struct Copula {
    group: usize,
    rho: f64,
    normal: Normal,
}

/// Rows of sparse vectors: row i has the entries offsets[i] .. offsets[i + 1], by increasing index.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseBatch {
    /// Where every row begins; one more than there are rows.
    pub offsets: Vec<usize>,
    /// Active features, counted from 0.
    pub indices: Vec<u32>,
    /// Their magnitudes.
    pub values: Vec<f32>,
    /// Weight of every row in a mean; absent means 1 / rows.
    pub weights: Option<Vec<f64>>,
}

/// Lanes of the generator: 64 features at a time.
const LANES: usize = 16;
/// Purposes of counters.
const ACTIVITY: u32 = 0;
const MAGNITUDE: u32 = 1;
const FACTOR: u32 = 2;
/// Rows that one thread draws at a time.
const ROWS: usize = 64;

impl Coefficients {
    /// The law of a checked configuration.
    pub(super) fn new(config: &BenchConfig) -> Self {
        let rates = config.rates();
        let normal = Normal::standard();
        let copula = config.correlation.map(|c| Copula { group: c.group, rho: c.rho, normal });
        let scales = match config.magnitudes {
            MagnitudeSpread::Same => vec![1.0; config.n],
            MagnitudeSpread::Spread { decades } => {
                let last = (config.n - 1).max(1) as f64;
                let mut scales: Vec<f64> =
                    (0..config.n).map(|k| 10f64.powf((k as f64 / last - 0.5) * decades)).collect();
                scales.shuffle(&mut stream(config.seed, "bench magnitudes"));
                scales
            }
        };
        Self {
            stream: Philox::stream(config.seed, "bench coefficients"),
            thresholds: rates.iter().map(|p| threshold(*p)).collect(),
            rates,
            scales,
            c_min: config.c_min,
            beta: config.beta,
            copula,
            groups: config.groups(),
        }
    }

    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.rates.len()
    }

    /// Appends the active features and magnitudes of sample `index`, by increasing feature.
    pub fn sample(&self, index: u64, indices: &mut Vec<u32>, values: &mut Vec<f32>) {
        let first = indices.len();
        let low = [index as u32, (index >> 32) as u32];
        let mut own;
        let thresholds = match &self.copula {
            None => &self.thresholds,
            Some(copula) => {
                own = vec![0; self.n()];
                self.conditional(copula, low, &mut own);
                &own
            }
        };
        for block in (0..self.n().div_ceil(4)).step_by(LANES) {
            let words = self.stream.blocks::<LANES>(low, block as u32, ACTIVITY);
            for lane in 0..LANES {
                for (word, words) in words.iter().enumerate() {
                    let d = 4 * (block + lane) + word;
                    if d < self.n() && u64::from(words[lane]) < thresholds[d] {
                        indices.push(d as u32);
                    }
                }
            }
        }
        if !self.groups.is_empty() {
            self.promote(first, indices);
        }
        values.extend(indices[first..].iter().map(|&d| self.magnitude(low, d)));
    }

    /// Parents fire iff a sub-concept does.
    fn promote(&self, first: usize, indices: &mut Vec<u32>) {
        let drawn = indices.split_off(first);
        let mut rest = drawn.as_slice();
        for group in &self.groups {
            let end = group.last().map_or(0, |&d| d as u32 + 1);
            let (inside, after) = rest.split_at(rest.partition_point(|&d| d < end));
            rest = after;
            let parent = group[0] as u32;
            if group.len() == 1 {
                indices.extend(inside);
            } else if inside.iter().any(|&d| d != parent) {
                indices.push(parent);
                indices.extend(inside.iter().filter(|&&d| d != parent));
            }
        }
    }

    fn magnitude(&self, low: [u32; 2], d: u32) -> f32 {
        let [word, ..] = self.stream.block([low[0], low[1], d, MAGNITUDE]);
        (self.scales[d as usize] * (self.c_min + self.beta * exponential(word))) as f32
    }

    fn conditional(&self, copula: &Copula, low: [u32; 2], thresholds: &mut [u64]) {
        for (group, thresholds) in thresholds.chunks_mut(copula.group).enumerate() {
            let [word, ..] = self.stream.block([low[0], low[1], group as u32, FACTOR]);
            let g = copula.normal.inverse_cdf((2.0 * f64::from(word) + 1.0) / 2f64.powi(33));
            let rates = &self.rates[group * copula.group..];
            // Neighbours mostly share a rate.
            let mut known: Option<(f64, u64)> = None;
            for (threshold, &p) in thresholds.iter_mut().zip(rates) {
                *threshold = match known {
                    Some((rate, value)) if rate == p => value,
                    _ => self::threshold(copula.given(p, g)),
                };
                known = Some((p, *threshold));
            }
        }
    }

    /// The samples of these indices, one row each; the same at any number of threads.
    pub fn batch(&self, samples: &[u64]) -> SparseBatch {
        let parts: Vec<SparseBatch> = samples
            .par_chunks(ROWS)
            .map(|rows| {
                let mut part = SparseBatch { offsets: vec![0], ..SparseBatch::default() };
                for &index in rows {
                    self.sample(index, &mut part.indices, &mut part.values);
                    part.offsets.push(part.indices.len());
                }
                part
            })
            .collect();
        let mut batch = SparseBatch { offsets: vec![0], ..SparseBatch::default() };
        for part in parts {
            let base = batch.indices.len();
            batch.offsets.extend(part.offsets[1..].iter().map(|o| base + o));
            batch.indices.extend(part.indices);
            batch.values.extend(part.values);
        }
        batch
    }

    /// Every feature once, alone and with magnitude 1, row d with weight M_d: the mean of a loss over this batch is L̃ (eq. 11) exactly.
    pub fn isolated(&self) -> SparseBatch {
        let n = self.n();
        SparseBatch {
            offsets: (0..=n).collect(),
            indices: (0..n as u32).collect(),
            values: vec![1.0; n],
            weights: Some(self.masses()),
        }
    }

    /// Pr(x_d > 0) for every feature.
    pub fn firing_rates(&self) -> Vec<f64> {
        let mut rates = self.rates.clone();
        for group in self.groups.iter().filter(|g| g.len() > 1) {
            rates[group[0]] = 1.0 - group[1..].iter().map(|&d| 1.0 - self.rates[d]).product::<f64>();
        }
        rates
    }

    /// E\[x_d² | x_d > 0\] = s_d² (c_min² + 2 c_min β + 2β²).
    pub fn second_moments(&self) -> Vec<f64> {
        let (c, b) = (self.c_min, self.beta);
        self.scales.iter().map(|s| s * s * (c * c + 2.0 * c * b + 2.0 * b * b)).collect()
    }

    /// M_d = Pr(x = x_d e_d)·E\[x_d² | x_d > 0\] (eq. 11). Within a hierarchy it is 0: parents and sub-concepts never fire alone.
    pub fn masses(&self) -> Vec<f64> {
        let n = self.n();
        let mut alone = vec![0.0; n];
        let blocks = self.blocks();
        let silent: Vec<f64> = blocks.iter().map(|b| b.count[0]).collect();
        // Products of all other blocks, by prefixes and suffixes: no division by a probability that may be 0.
        let mut suffix = vec![1.0; silent.len() + 1];
        for k in (0..silent.len()).rev() {
            suffix[k] = suffix[k + 1] * silent[k];
        }
        let mut prefix = 1.0;
        for (k, block) in blocks.iter().enumerate() {
            for (&d, only) in block.features.iter().zip(&block.only) {
                alone[d] = prefix * suffix[k + 1] * only;
            }
            prefix *= silent[k];
        }
        alone.iter().zip(self.second_moments()).map(|(a, m)| a * m).collect()
    }

    /// Pr(‖x‖₀ = m) for m = 0, 1, .. up to where the rest is below 1e-12.
    pub fn count_law(&self) -> Vec<f64> {
        let mut law = vec![1.0];
        for block in self.blocks() {
            law = convolve(&law, &block.count);
            // What is cut off can only move upwards.
            let mut rest = 0.0;
            while law.len() > 1 && rest + law[law.len() - 1] < 1e-12 / self.n() as f64 {
                rest += law[law.len() - 1];
                law.pop();
            }
        }
        law
    }

    /// Groups of features that are independent of one another.
    fn blocks(&self) -> Vec<Block> {
        if let Some(copula) = &self.copula {
            let chunks = self.rates.chunks(copula.group).enumerate();
            return chunks.map(|(k, rates)| Block::correlated(k * copula.group, rates, copula)).collect();
        }
        if self.groups.is_empty() {
            return (0..self.n()).map(|d| Block::independent(d, &self.rates[d..=d])).collect();
        }
        self.groups.iter().map(|group| Block::hierarchical(group, &self.rates)).collect()
    }
}

/// ⌊p 2³²⌋.
fn threshold(p: f64) -> u64 {
    (p * 2f64.powi(32)).floor() as u64
}

impl Copula {
    /// Pr(active | g).
    fn given(&self, p: f64, g: f64) -> f64 {
        if p <= 0.0 || p >= 1.0 {
            return p;
        }
        self.normal.cdf((self.normal.inverse_cdf(p) - self.rho.sqrt() * g) / (1.0 - self.rho).sqrt())
    }
}

/// Features that are independent of all others.
struct Block {
    features: Vec<usize>,
    /// Pr(exactly m of them are active).
    count: Vec<f64>,
    /// Pr(of them exactly this one is active).
    only: Vec<f64>,
}

impl Block {
    fn independent(first: usize, rates: &[f64]) -> Self {
        let count = rates.iter().fold(vec![1.0], |law, p| convolve(&law, &[1.0 - p, *p]));
        let others =
            |d: usize| rates.iter().enumerate().filter(|(e, _)| *e != d).map(|(_, p)| 1.0 - p).product::<f64>();
        let only = (0..rates.len()).map(|d| rates[d] * others(d)).collect();
        Self { features: (first..first + rates.len()).collect(), count, only }
    }

    /// The mixture over the common factor, by the trapezoid rule, which converges exponentially for a Gaussian weight.
    fn correlated(first: usize, rates: &[f64], copula: &Copula) -> Self {
        const HALF: i32 = 360;
        const STEP: f64 = 1.0 / 40.0;
        let mut mixture =
            Self { features: Vec::new(), count: vec![0.0; rates.len() + 1], only: vec![0.0; rates.len()] };
        for k in -HALF..=HALF {
            let g = f64::from(k) * STEP;
            let weight = STEP * copula.normal.pdf(g);
            let given: Vec<f64> = rates.iter().map(|p| copula.given(*p, g)).collect();
            let block = Self::independent(first, &given);
            mixture.count.iter_mut().zip(&block.count).for_each(|(m, c)| *m += weight * c);
            mixture.only.iter_mut().zip(&block.only).for_each(|(m, o)| *m += weight * o);
            mixture.features = block.features;
        }
        mixture
    }

    fn hierarchical(group: &[usize], rates: &[f64]) -> Self {
        let own: Vec<f64> = group.iter().map(|&d| rates[d]).collect();
        if group.len() == 1 {
            return Self::independent(group[0], &own);
        }
        let children = Self::independent(group[1], &own[1..]);
        // The parent makes one more wherever there is one.
        let count = [&children.count[..1], &[0.0], &children.count[1..]].concat();
        Self { features: group.to_vec(), count, only: vec![0.0; group.len()] }
    }
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            sum[i + j] += x * y;
        }
    }
    sum
}

impl SparseBatch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Active features and magnitudes of a row.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[i]..self.offsets[i + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Weight of a row in a mean over the batch.
    pub fn weight(&self, i: usize) -> f64 {
        self.weights.as_ref().map_or(1.0 / self.rows() as f64, |w| w[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::{Correlation, Hierarchy, Rates};
    use crate::stats::{Mean, Proportion};

    fn config(n: usize, sparsity: f64) -> BenchConfig {
        BenchConfig { n, n_p: n, sparsity, interference: 0.5, ..BenchConfig::default() }
    }

    fn counts(coefficients: &Coefficients, samples: u64, event: impl Fn(&[u32]) -> bool) -> u64 {
        let batch = coefficients.batch(&(0..samples).collect::<Vec<_>>());
        (0..batch.rows()).filter(|&i| event(batch.row(i).0)).count() as u64
    }

    fn assert_law(what: &str, trials: u64, successes: u64, law: f64, wrong: f64) {
        let test = Proportion { trials, successes, law, wrong };
        assert!(test.agrees() && test.power() >= Proportion::POWER, "{what}: {}", test.sentence());
    }

    #[test]
    fn any_sample_stands_alone_and_threads_do_not_matter() {
        let coefficients = config(130, 0.9).coefficients().unwrap();
        let all: Vec<u64> = (0..300).map(|k| k * 0x1_0000_0001).collect();
        let batch = coefficients.batch(&all);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| coefficients.batch(&all)), batch);
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        coefficients.sample(all[17], &mut indices, &mut values);
        assert_eq!(batch.row(17), (indices.as_slice(), values.as_slice()));
        assert!((0..batch.rows()).all(|i| batch.row(i).0.windows(2).all(|w| w[0] < w[1])));
        assert_ne!(
            config(130, 0.9).coefficients().unwrap().batch(&[3]),
            BenchConfig { seed: 1, ..config(130, 0.9) }.coefficients().unwrap().batch(&[3])
        );
    }

    #[test]
    fn every_feature_fires_at_its_rate() {
        let config = BenchConfig { rates: Rates::Zipf { exponent: 0.5 }, ..config(70, 0.9) };
        let coefficients = config.coefficients().unwrap();
        for d in [0, 3, 64, 69] {
            let count = counts(&coefficients, 40_000, |row| row.contains(&d));
            let law = coefficients.firing_rates()[d as usize];
            assert_law("rate", 40_000, count, law, law * 1.2);
        }
    }

    #[test]
    fn the_count_of_active_features_follows_its_law() {
        let cases = [
            config(12, 0.8),
            BenchConfig { hierarchy: Some(Hierarchy { children: 3 }), ..config(13, 0.9) },
            BenchConfig { correlation: Some(Correlation { group: 4, rho: 0.6 }), ..config(10, 0.8) },
        ];
        for config in cases {
            let coefficients = config.coefficients().unwrap();
            let law = coefficients.count_law();
            assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{config:?}");
            for m in 0..4 {
                let count = counts(&coefficients, 60_000, |row| row.len() == m);
                // Seven standard deviations: 4.9 for the false alarms and 2.1 for the power.
                assert_law(&format!("{config:?}, m = {m}"), 60_000, count, law[m], law[m] + 0.0145);
            }
        }
    }

    #[test]
    fn a_parent_fires_iff_a_sub_concept_does_and_has_no_mass() {
        let config = BenchConfig { hierarchy: Some(Hierarchy { children: 2 }), ..config(7, 0.7) };
        let coefficients = config.coefficients().unwrap();
        let batch = coefficients.batch(&(0..2000).collect::<Vec<_>>());
        let mut fired = 0;
        for i in 0..batch.rows() {
            let row = batch.row(i).0;
            for parent in [0, 3] {
                let child = row.contains(&(parent + 1)) || row.contains(&(parent + 2));
                assert_eq!(row.contains(&parent), child);
                fired += usize::from(child);
            }
        }
        assert!(fired > 100);
        let masses = coefficients.masses();
        assert!(masses[..6].iter().all(|m| *m == 0.0) && masses[6] > 0.0);
    }

    #[test]
    fn masses_are_the_probability_of_firing_alone_times_the_second_moment() {
        let spread = MagnitudeSpread::Spread { decades: 1.0 };
        let config =
            BenchConfig { correlation: Some(Correlation { group: 3, rho: 0.5 }), magnitudes: spread, ..config(6, 0.7) };
        let coefficients = config.coefficients().unwrap();
        let (masses, moments) = (coefficients.masses(), coefficients.second_moments());
        assert!(moments.iter().fold(0.0_f64, |a, b| a.max(*b)) / moments[0] >= 1.0);
        for d in 0..6_u32 {
            let count = counts(&coefficients, 60_000, |row| row == [d]);
            let law = masses[d as usize] / moments[d as usize];
            assert_law("alone", 60_000, count, law, law + 0.01);
        }
    }

    #[test]
    fn two_features_of_a_group_fire_together_more_often_than_two_of_different_groups() {
        let config = BenchConfig { correlation: Some(Correlation { group: 2, rho: 0.5 }), ..config(4, 0.8) };
        let coefficients = config.coefficients().unwrap();
        let together = |d, e| counts(&coefficients, 40_000, |row: &[u32]| row.contains(&d) && row.contains(&e));
        // Independent: 0.04. Within a group: a bivariate normal orthant, larger.
        assert_law("across", 40_000, together(0, 2), 0.04, 0.05);
        assert!(together(0, 1) > 2_400);
    }

    #[test]
    fn magnitudes_are_shifted_exponential() {
        let config = BenchConfig { c_min: 0.5, beta: 2.0, ..config(50, 0.5) };
        let coefficients = config.coefficients().unwrap();
        let values = coefficients.batch(&(0..2000).collect::<Vec<_>>()).values;
        assert!(values.iter().all(|v| *v >= 0.5));
        let above = values.iter().filter(|v| **v > 0.5 + 2.0 * std::f32::consts::LN_2).count() as u64;
        assert_law("median", values.len() as u64, above, 0.5, 0.52);
        // min((x − c)/β, 8)/8 is bounded; its mean is (1 − e^−8)/8.
        let bounded = values.iter().map(|v| f64::from((v - 0.5) / 2.0).min(8.0)).sum::<f64>() / values.len() as f64;
        let law = 1.0 - (-8f64).exp();
        let test = Mean { trials: values.len() as u64, mean: bounded, range: (0.0, 8.0), law, wrong: law + 0.2 };
        assert!(test.agrees() && test.power() >= Proportion::POWER, "{}", test.sentence());
    }

    #[test]
    fn the_ends_of_the_range_of_sparsity_work() {
        assert_eq!(config(9, 1.0).coefficients().unwrap().batch(&[0, 1]).indices, Vec::<u32>::new());
        assert_eq!(config(9, 0.0).coefficients().unwrap().batch(&[5]).indices, (0..9).collect::<Vec<u32>>());
        assert_eq!(config(9, 1.0).coefficients().unwrap().count_law(), [1.0]);
        let one = BenchConfig { n: 1, n_p: 1, ..BenchConfig::default() };
        assert_eq!(one.coefficients().unwrap().n(), 1);
    }

    #[test]
    fn the_isolated_batch_carries_the_masses_as_weights() {
        let coefficients = config(5, 0.9).coefficients().unwrap();
        let batch = coefficients.isolated();
        assert_eq!((batch.rows(), batch.row(3)), (5, ([3].as_slice(), [1.0].as_slice())));
        assert_eq!(batch.weight(3), coefficients.masses()[3]);
        assert_eq!(coefficients.batch(&[0, 1]).weight(0), 0.5);
    }
}
