//! The encoder of activations that compare with a threshold: ReLU, JumpReLU, Gated.
//!
//! Which latents are selected is exact: where the product and its error bound leave open on which side of θ the score is, the score decides.
//! A value is the product's, not the score's, unless the score had to decide; blocks have a fixed size, so that it has the same bits at any number
//! of threads. So these activations select the latents that the definition selects, with values that differ from it by rounding.

use super::encode::{Encoder, Found, LATENTS, ROWS, Scratch, Workspace};
use super::screen::{Block, Panel, TINY, filter, multiply, slack_of};
use super::simd::{Kernel, Simd, WIDTH};
use crate::backend::score::exp;
use crate::sdl::{Activation, Parameter};
use rayon::prelude::*;
use std::cmp::Ordering;

/// Products of one row that are not certainly out.
#[derive(Debug, Default)]
pub struct Hits {
    latents: Vec<u32>,
    s: Vec<f32>,
}

/// What is compared with π, latent by latent.
#[derive(Debug, Default)]
pub struct Thresholds {
    /// θ.
    theta: Vec<f32>,
    /// Less than any π that matters.
    floors: Vec<f32>,
    /// ε/2 of JumpReLU, 0 without.
    half_band: f32,
    /// ρ and m of Gated.
    gate: Vec<(f32, f32)>,
}

impl Thresholds {
    fn fill(&mut self, encoder: &Encoder<'_>) {
        let params = encoder.params;
        let n_q = params.shape().n_q;
        self.theta.clear();
        self.gate.clear();
        self.half_band = 0.0;
        match params.model.activation {
            Activation::JumpRelu { bandwidth, .. } => {
                let logs = params.block(Parameter::LogThreshold).unwrap_or_default();
                self.theta.extend(logs.iter().map(|log| exp(*log)));
                self.half_band = (bandwidth / 2.0) as f32;
            }
            Activation::Gated => {
                let scales = params.block(Parameter::GateScale).unwrap_or_default();
                let shifts = params.block(Parameter::MagnitudeBias).unwrap_or_default();
                self.gate.extend(scales.iter().zip(shifts).map(|(r, m)| (exp(*r), *m)));
            }
            _ => {}
        }
        self.theta.resize(n_q, 0.0);
        let half = f64::from(self.half_band);
        self.floors.clear();
        self.floors.extend(self.theta.iter().map(|theta| {
            let theta = f64::from(*theta);
            // π − θ is rounded before it is compared with ε/2.
            ((theta - half - 1e-6 * (theta + half)) as f32).next_down()
        }));
    }
}

/// A pre-activation and what becomes of it.
struct Decided {
    pi: f32,
    s: f32,
    selected: bool,
    in_band: bool,
}

impl Encoder<'_> {
    /// The selected latents of every row; see [`Found`] for what is kept beside them.
    pub fn above_thresholds(self, thresholds: &mut Thresholds, work: &mut Workspace) {
        thresholds.fill(&self);
        let thresholds = &*thresholds;
        let (pool, found) = work.prepare(self.rows, ROWS);
        found.par_iter_mut().enumerate().with_max_len(1).for_each(|(block, found)| {
            let first = block * ROWS;
            pool.with(|scratch| {
                self.threshold_block(first, ROWS.min(self.rows - first), thresholds, scratch, found);
                self.choose_dead(first, scratch, found);
            });
        });
    }

    fn threshold_block(self, first: usize, rows: usize, at: &Thresholds, scratch: &mut Scratch, found: &mut Found) {
        self.start_block(first, rows, None, scratch);
        scratch.hits.resize_with(rows, Hits::default);
        for hits in &mut scratch.hits {
            hits.latents.clear();
            hits.s.clear();
        }
        let mut hits = std::mem::take(&mut scratch.hits);
        self.panels(first, rows, scratch, |block, panel, room, others| {
            let floors = &at.floors[panel.first..panel.first + panel.norms.len()];
            let product = multiply(block, panel, room);
            self.isa.run(Classify { block, panel, product, floors, hits: &mut hits });
            if let Some((norms, lists)) = others {
                filter(self.isa, block, Panel { norms, ..panel }, product, lists);
            }
        });
        for (r, hits) in hits.iter_mut().enumerate() {
            let factor = scratch.factors[r];
            let full = factor.is_infinite();
            if full {
                self.scores(first + r, None, &mut hits.s);
                hits.latents.clear();
                hits.latents.extend(0..hits.s.len() as u32);
            }
            let decided =
                hits.latents.iter().zip(&hits.s).map(|(&i, &s)| {
                    (i, self.decide(first + r, i as usize, s, if full { None } else { Some(factor) }, at))
                });
            found.push(self.params.model.activation, decided.filter(|(_, d)| d.selected || d.in_band), at);
        }
        scratch.hits = hits;
    }

    /// Decides about a product, or about a score if there is no error factor.
    #[inline]
    fn decide(self, row: usize, i: usize, s: f32, factor: Option<f32>, at: &Thresholds) -> Decided {
        let bias = self.params.block(Parameter::EncoderBias).map_or(0.0, |b| b[i]);
        let (theta, half) = (at.theta[i], at.half_band);
        let pi = s + bias;
        let distance = (pi - theta).abs();
        let certain = factor.is_none_or(|factor| {
            let slack = slack_of(factor, self.params.norms[i], bias);
            // Rounding of π − θ is relative to π and θ.
            let slack = slack + 1e-6 * (pi.abs() + theta) + TINY;
            distance > slack && (half == 0.0 || (distance - half).abs() > slack)
        });
        if !certain {
            return self.decide(row, i, self.score_of(row, i), None, at);
        }
        Decided { pi, s, selected: pi > theta, in_band: half > 0.0 && distance < half }
    }
}

impl Found {
    fn push(&mut self, activation: Activation, entries: impl Iterator<Item = (u32, Decided)>, at: &Thresholds) {
        match activation {
            Activation::Gated => {
                let Self { main, second, scores, .. } = self;
                let mut gates = 0;
                main.push_row(entries.map(|(i, Decided { pi, s, .. })| {
                    let (scale, shift) = at.gate[i as usize];
                    second.push(i, pi);
                    scores.push(s);
                    gates += 1;
                    (i, scale.mul_add(s, shift).max(0.0))
                }));
                second.end_row(gates);
            }
            _ => {
                let Self { main, second, .. } = self;
                let mut band = 0;
                main.push_row(entries.filter_map(|(i, Decided { pi, selected, in_band, .. })| {
                    if in_band {
                        second.push(i, if selected { pi } else { 0.0 });
                        band += 1;
                    }
                    selected.then_some((i, pi))
                }));
                second.end_row(band);
            }
        }
    }
}

/// Where latents have none.
static NO_BIASES: [f32; LATENTS] = [0.0; LATENTS];

/// Appends to the hits of every row what is not certainly below its floor.
struct Classify<'a> {
    block: Block<'a>,
    panel: Panel<'a>,
    product: &'a [f32],
    floors: &'a [f32],
    hits: &'a mut [Hits],
}

impl Kernel for Classify<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { block, panel, product, floors, hits } = self;
        let latents = panel.norms.len();
        let zeros = [0.0; WIDTH];
        let biases = panel.biases.unwrap_or(&NO_BIASES[..latents]);
        let (share, tiny, zero) = (s.splat(slack_of(0.0, 0.0, 1.0)), s.splat(TINY), s.load(&zeros));
        for ((product, &factor), hits) in product.chunks_exact(latents).zip(block.factors).zip(hits) {
            if factor.is_infinite() {
                continue;
            }
            let scale = s.splat(factor);
            let (vectors, rest) = product.as_chunks::<WIDTH>();
            let columns = panel.norms.as_chunks::<WIDTH>().0.iter().zip(biases.as_chunks::<WIDTH>().0);
            let columns = columns.zip(floors.as_chunks::<WIDTH>().0);
            for (at, (z, ((norm, bias), floor))) in vectors.iter().zip(columns).enumerate() {
                let b = s.load(bias);
                let slack = s.fma(scale, s.load(norm), s.fma(share, s.max(b, s.sub(zero, b)), tiny));
                let mut mask = s.not_below(s.add(s.add(s.load(z), b), slack), s.load(floor));
                while mask != 0 {
                    let j = mask.trailing_zeros() as usize;
                    mask &= mask - 1;
                    hits.latents.push((panel.first + at * WIDTH + j) as u32);
                    hits.s.push(z[j]);
                }
            }
            let done = vectors.len() * WIDTH;
            for (j, &z) in (done..).zip(rest) {
                let upper = z + biases[j] + slack_of(factor, panel.norms[j], biases[j]);
                if upper.partial_cmp(&floors[j]) != Some(Ordering::Less) {
                    hits.latents.push((panel.first + j) as u32);
                    hits.s.push(z);
                }
            }
        }
    }
}
