//! Gradients of sparse codes, latent by latent.

use super::codes::{ByLatent, Entry};
use super::simd::{Isa, Kernel, Simd};
use super::state::{CHUNK, Grads, Params};
use super::vector::{add_scaled, gather, score, squared_norm};
use crate::backend::score::exp;
use crate::sdl::Parameter;
use rayon::prelude::*;

/// What codes reconstruct, and what they cost.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// For every row and part, the gradient of the loss in x̂_r up to 2 w_b.
    pub residuals: &'a [f32],
    pub parts: usize,
    /// λ₁ of these codes.
    pub l1: f64,
    /// The second path of Gated.
    pub gate: Option<Gate<'a>>,
}

/// Gates: π reconstructs too, through decoder columns that count as constants.
#[derive(Clone, Copy)]
pub struct Gate<'a> {
    /// The residuals of that reconstruction.
    pub residuals: &'a [f32],
    /// r.
    pub scales: &'a [f32],
    /// b_E.
    pub biases: &'a [f32],
}

/// What the gradients of W_D and W_E are made of.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    /// x', rows of n_p numbers.
    pub x: &'a [f32],
    /// w_b.
    pub weights: &'a [f64],
    pub l1_by_decoder_norm: bool,
}

/// Sums over the batch for one latent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// ∂loss/∂s_i.
    pub score: f32,
    /// ∂loss/∂π_i.
    pub preactivation: f32,
    /// ∂loss/∂r_i.
    pub scale: f32,
    /// ∂loss/∂m_i.
    pub magnitude: f32,
}

impl Sums {
    #[inline(always)]
    pub fn add(&mut self, other: Self) {
        self.score += other.score;
        self.preactivation += other.preactivation;
        self.scale += other.scale;
        self.magnitude += other.magnitude;
    }
}

/// What one entry adds.
pub struct Terms {
    /// Times the residual: to the decoder column.
    pub forward: f32,
    /// Times x': to the encoder row.
    pub back: f32,
    /// Times v/‖v‖: to the decoder column.
    pub pull: f32,
    pub sum: Sums,
}

impl Backward<'_> {
    /// The terms of an entry, from the products of the residuals with v_i. `norm` is c_i.
    #[inline(always)]
    pub fn terms(&self, source: &Source<'_>, i: usize, entry: &Entry, norm: f32, by_code: f32, by_gate: f32) -> Terms {
        let weight = self.weights[entry.row as usize];
        let factor = (2.0 * weight) as f32;
        let penalty = (weight * source.l1) as f32;
        let by_code = factor * by_code;
        let forward = factor * entry.z;
        match &source.gate {
            None => {
                let sign = if entry.z == 0.0 { 0.0 } else { entry.z.signum() };
                let back = by_code + penalty * norm * sign;
                let sum = Sums { score: back, preactivation: back, ..Sums::default() };
                Terms { forward, back, pull: penalty * entry.z.abs(), sum }
            }
            Some(gate) => {
                let rho = exp(gate.scales[i]);
                // Where the magnitude is cut off at 0 it passes nothing.
                let by_code = if entry.z == 0.0 { 0.0 } else { by_code };
                let preactivation = factor * by_gate + penalty * norm;
                let back = preactivation + by_code * rho;
                let sum = Sums { score: back, preactivation, scale: by_code * rho * entry.s, magnitude: by_code };
                Terms { forward, back, pull: penalty * (entry.s + gate.biases[i]), sum }
            }
        }
    }

    /// Writes the rows of the latents that have entries, and marks them; adds to rows that are marked already if `add`.
    pub fn run(self, source: &Source<'_>, codes: &ByLatent, add: bool, grads: &mut Grads) {
        let shape = self.params.shape();
        let Grads { encoder, decoder, live, sums, .. } = grads;
        let rows = encoder.par_chunks_mut(CHUNK * shape.n_p).zip(decoder.par_chunks_mut(CHUNK * shape.n_r));
        let marks = live.par_chunks_mut(CHUNK).zip(sums.par_chunks_mut(CHUNK));
        rows.zip(marks).enumerate().for_each(|(chunk, ((encoder, decoder), (live, sums)))| {
            let first = chunk * CHUNK;
            self.isa.run(Latents { of: self, source, codes, add, first, encoder, decoder, live, sums });
        });
    }
}

/// Copies the sums to the parameters that are one number per latent.
pub fn spread(grads: &mut Grads) {
    type Of = fn(&Sums) -> f32;
    let parameters: [(Parameter, Of); 3] = [
        (Parameter::EncoderBias, |sums| sums.preactivation),
        (Parameter::GateScale, |sums| sums.scale),
        (Parameter::MagnitudeBias, |sums| sums.magnitude),
    ];
    for (parameter, of) in parameters {
        if let Some(block) = grads.rest.get_mut(parameter) {
            block.iter_mut().zip(&grads.sums).for_each(|(g, sums)| *g = of(sums));
        }
    }
}

struct Latents<'a> {
    of: Backward<'a>,
    source: &'a Source<'a>,
    codes: &'a ByLatent,
    add: bool,
    first: usize,
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    live: &'a mut [bool],
    sums: &'a mut [Sums],
}

impl Kernel for Latents<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, source, codes, add, first, encoder, decoder, live, sums } = self;
        let shape = of.params.shape();
        let rows = encoder.chunks_exact_mut(shape.n_p).zip(decoder.chunks_exact_mut(shape.n_r));
        for (j, ((encoder, decoder), (live, sum))) in rows.zip(live.iter_mut().zip(sums)).enumerate() {
            let own = codes.of(first + j);
            if !add {
                (*live, *sum) = (false, Sums::default());
            }
            if own.is_empty() {
                continue;
            }
            if !std::mem::replace(live, true) {
                encoder.fill(0.0);
                decoder.fill(0.0);
            }
            add_entries(s, &of, source, first + j, own, Row { encoder, decoder, sum });
        }
    }
}

/// The gradients of one latent.
struct Row<'a> {
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    sum: &'a mut Sums,
}

#[inline(always)]
fn add_entries<S: Simd>(s: S, of: &Backward<'_>, source: &Source<'_>, i: usize, own: &[Entry], row: Row<'_>) {
    let n_r = row.decoder.len();
    let v = &of.params.decoder()[i * n_r..(i + 1) * n_r];
    let by_norm = of.l1_by_decoder_norm && source.l1 != 0.0;
    let norm = if by_norm { squared_norm(s, v).sqrt() } else { 1.0 };
    let line = |entry: &Entry| entry.row as usize * source.parts + usize::from(entry.level);
    let residual = |entry: &Entry| &source.residuals[line(entry) * n_r..][..n_r];
    let mut pull = 0.0;
    for (at, four) in own.chunks(4).enumerate() {
        for next in own[at * 4..].iter().skip(4).take(4) {
            residual(next).chunks(16).take(4).for_each(|line| s.prefetch(&line[0]));
        }
        let (mut forward, mut back) = ([(0, 0.0); 4], [(0, 0.0); 4]);
        for ((entry, forward), back) in four.iter().zip(&mut forward).zip(&mut back) {
            let by_code = score(s, residual(entry), v);
            let by_gate = match &source.gate {
                Some(gate) => score(s, &gate.residuals[entry.row as usize * n_r..][..n_r], v),
                None => 0.0,
            };
            let terms = of.terms(source, i, entry, norm, by_code, by_gate);
            *forward = (line(entry) as u32, terms.forward);
            *back = (entry.row, terms.back);
            pull += terms.pull;
            row.sum.add(terms.sum);
        }
        gather(s, row.decoder, source.residuals, &forward[..four.len()]);
        gather(s, row.encoder, of.x, &back[..four.len()]);
    }
    if by_norm && norm > 0.0 {
        add_scaled(s, row.decoder, v, pull / norm);
    }
}
