//! Sparse coefficients x (eqs. 29 and 30): which features are active in a sample, and how strongly.
//!
//! # A sample is a function of (seed, index)
//!
//! The key of the [`Philox`] stream is the first 8 bytes of SHA-256(seed as 8 little-endian bytes, "bench coefficients"), as two little-endian
//! words. A counter is (index mod 2³², ⌊index/2³²⌋, c, purpose), and a block is the four words that Philox4x32-10 makes of it:
//!
//! | what | c | purpose | words |
//! |---|---|---|---|
//! | which of the features 4c .. 4c + 3 fire | block of features | 0 | one for each of the four, in order |
//! | the magnitude of an active feature | the feature | 1 | the first |
//! | the common factor of a group (correlation) | the group | 2 | the first |
//!
//! Feature d fires iff its word is below t_d; words of features ≥ n are not looked at. Its magnitude is s_d (c_min + β·E) rounded to f32, with
//! E = [`exponential`]\(word\) and the four operations in f64. Another device needs the key, the table of t_d (33 bits) and s_d (f64), and
//! IEEE arithmetic without contraction; it then makes the same bits.
//!
//! | structure | d fires iff |
//! |---|---|
//! | independent (Asm. 2.4) | word < t_d = ⌊p_d 2³²⌋ |
//! | Gaussian copula | word < ⌊Φ((Φ⁻¹(p_d) − √ρ g)/√(1−ρ)) 2³²⌋, g = Φ⁻¹((2w + 1)/2³³) for the word w of its group |
//! | hierarchy (Def. 3.9) | sub-concepts as if independent; a parent iff one of them does |
//!
//! Under the copula t_d changes with the sample, so that a device whose Φ rounds otherwise gets the thresholds from the host.

use super::config::{BenchConfig, MagnitudeSpread};
use super::features::stream;
use super::philox::{Philox, WORD, exponential};
use crate::backend::wide::{Plain, wide};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, Normal};

/// The law of x, and its samples.
#[derive(Debug, Clone)]
pub struct Coefficients {
    stream: Philox,
    /// t_d as the generator meets them.
    thresholds: Thresholds,
    pub(super) rates: Vec<f64>,
    pub(super) scales: Vec<f64>,
    pub(super) c_min: f64,
    pub(super) beta: f64,
    pub(super) copula: Option<Copula>,
    /// One parent and its sub-concepts each; groups of one are plain features.
    pub(super) groups: Vec<Vec<usize>>,
}

/// What another device needs to draw the same samples; see [the module](self).
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// Of the generator.
    pub key: [u32; 2],
    /// t_d, from 0 to 2³².
    pub thresholds: Vec<u64>,
    /// s_d.
    pub scales: Vec<f64>,
    /// c_min.
    pub c_min: f64,
    /// β.
    pub beta: f64,
}

/// Consecutive features with a common normal factor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copula {
    pub(super) group: usize,
    rho: f64,
    pub(super) normal: Normal,
}

/// Rows of sparse vectors: row i has the entries offsets\[i\] .. offsets\[i + 1\], by increasing index.
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

/// Blocks that are drawn at a time: 128 features.
const LANES: usize = 32;
/// Blocks whose hits fit a machine word, four bits each.
const HALF: usize = 16;
/// Magnitudes that are drawn at a time.
const MAGNITUDES: usize = 16;
/// Purposes of counters.
const ACTIVITY: u32 = 0;
const MAGNITUDE: u32 = 1;
const FACTOR: u32 = 2;
/// Rows that one thread draws at a time.
const ROWS: usize = 64;

/// t_d, from 0 to 2³², by (group of lanes, word, lane), as the words come; 0 beyond the last feature.
type Thresholds = Vec<[[u64; LANES]; 4]>;

fn arranged(thresholds: &[u64]) -> Thresholds {
    let mut groups = vec![[[0; LANES]; 4]; thresholds.len().div_ceil(4 * LANES)];
    for (d, &threshold) in thresholds.iter().enumerate() {
        groups[d / (4 * LANES)][d % 4][d / 4 % LANES] = threshold;
    }
    groups
}

/// ⌊p 2³²⌋.
fn threshold(p: f64) -> u64 {
    (p * 2f64.powi(32)).floor() as u64
}

fn low(index: u64) -> [u32; 2] {
    [index as u32, (index >> 32) as u32]
}

impl Copula {
    /// Pr(active | g).
    pub(super) fn given(&self, p: f64, g: f64) -> f64 {
        if p <= 0.0 || p >= 1.0 {
            return p;
        }
        self.normal.cdf((self.normal.inverse_cdf(p) - self.rho.sqrt() * g) / (1.0 - self.rho).sqrt())
    }
}

impl Coefficients {
    /// The law of a checked configuration.
    pub(super) fn new(config: &BenchConfig) -> Self {
        let rates = config.rates();
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
            thresholds: arranged(&rates.iter().map(|p| threshold(*p)).collect::<Vec<_>>()),
            rates,
            scales,
            c_min: config.c_min,
            beta: config.beta,
            copula: config.correlation.map(|c| Copula { group: c.group, rho: c.rho, normal: Normal::standard() }),
            groups: config.groups(),
        }
    }

    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.rates.len()
    }

    /// What another device needs, where features fire independently; under a copula or a hierarchy a sample needs more than tables.
    pub fn tables(&self) -> Option<Tables> {
        (self.copula.is_none() && self.groups.is_empty()).then(|| Tables {
            key: self.stream.key(),
            thresholds: self.rates.iter().map(|p| threshold(*p)).collect(),
            scales: self.scales.clone(),
            c_min: self.c_min,
            beta: self.beta,
        })
    }

    /// The samples of these indices, one row each; the same at any number of threads.
    pub fn batch(&self, samples: &[u64]) -> SparseBatch {
        let parts: Vec<SparseBatch> =
            samples.par_chunks(ROWS).map(|samples| wide(Rows { coefficients: self, samples })).collect();
        let entries = parts.iter().map(|part| part.indices.len()).sum();
        let mut batch = SparseBatch {
            offsets: Vec::with_capacity(samples.len() + 1),
            indices: Vec::with_capacity(entries),
            values: Vec::with_capacity(entries),
            weights: None,
        };
        batch.offsets.push(0);
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

    /// Appends the features that fire in a sample, by increasing feature.
    #[inline(always)]
    fn fire(&self, index: u64, thresholds: &Thresholds, indices: &mut Vec<u32>) {
        for (group, thresholds) in thresholds.iter().enumerate() {
            let words = self.stream.blocks::<LANES>(low(index), (group * LANES) as u32, ACTIVITY);
            // Feature 4c + k fires iff word − t is negative: bit 4c + k of the hits.
            let mut hits = [0; LANES];
            for lane in 0..LANES {
                let fires = |k: usize| (words[k][lane] & WORD).wrapping_sub(thresholds[k][lane]) >> 63;
                hits[lane] = (fires(0) | fires(1) << 1 | fires(2) << 2 | fires(3) << 3) << (4 * (lane % HALF));
            }
            for (half, hits) in hits.chunks_exact(HALF).enumerate() {
                let mut hits = hits.iter().fold(0, |all, bits| all | bits);
                let first = 4 * (group * LANES + half * HALF) as u32;
                while hits != 0 {
                    indices.push(first + hits.trailing_zeros());
                    hits &= hits - 1;
                }
            }
        }
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

    /// t_d given the factors of this sample.
    fn conditional(&self, copula: &Copula, index: u64) -> Thresholds {
        let mut thresholds = Vec::with_capacity(self.n());
        for (group, rates) in self.rates.chunks(copula.group).enumerate() {
            let [low, high] = low(index);
            let [word, ..] = self.stream.block([low, high, group as u32, FACTOR]);
            let g = copula.normal.inverse_cdf((2.0 * f64::from(word) + 1.0) / 2f64.powi(33));
            // Neighbours mostly share a rate.
            let mut known: Option<(f64, u64)> = None;
            for &p in rates {
                let value = match known {
                    Some((rate, value)) if rate == p => value,
                    _ => threshold(copula.given(p, g)),
                };
                known = Some((p, value));
                thresholds.push(value);
            }
        }
        arranged(&thresholds)
    }

    /// The magnitudes of all entries, in their order.
    #[inline(always)]
    fn magnitudes(&self, samples: &[u64], offsets: &[usize], indices: &[u32]) -> Vec<f32> {
        let mut values = Vec::with_capacity(indices.len());
        let mut row = 0;
        for (part, features) in indices.chunks(MAGNITUDES).enumerate() {
            // Lanes beyond the last entry are drawn and not used.
            let mut counters = [[0; MAGNITUDES], [0; MAGNITUDES], [0; MAGNITUDES], [u64::from(MAGNITUDE); MAGNITUDES]];
            for (lane, &d) in features.iter().enumerate() {
                while offsets[row + 1] <= part * MAGNITUDES + lane {
                    row += 1;
                }
                [counters[0][lane], counters[1][lane]] = low(samples[row]).map(u64::from);
                counters[2][lane] = u64::from(d);
            }
            let [words, ..] = self.stream.blocks_at(counters);
            values.extend(features.iter().zip(words).map(|(&d, word)| {
                (self.scales[d as usize] * (self.c_min + self.beta * exponential(word as u32))) as f32
            }));
        }
        values
    }
}

/// The samples that one thread draws.
struct Rows<'a> {
    coefficients: &'a Coefficients,
    samples: &'a [u64],
}

impl Plain for Rows<'_> {
    type Output = SparseBatch;

    #[inline(always)]
    fn run(self) -> SparseBatch {
        let Self { coefficients, samples } = self;
        let mut offsets = vec![0];
        let mut indices = Vec::new();
        for &index in samples {
            let first = indices.len();
            match &coefficients.copula {
                None => coefficients.fire(index, &coefficients.thresholds, &mut indices),
                Some(copula) => coefficients.fire(index, &coefficients.conditional(copula, index), &mut indices),
            }
            if !coefficients.groups.is_empty() {
                coefficients.promote(first, &mut indices);
            }
            offsets.push(indices.len());
        }
        let values = coefficients.magnitudes(samples, &offsets, &indices);
        SparseBatch { offsets, indices, values, weights: None }
    }
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
#[path = "coefficients_tests.rs"]
mod tests;
