//! Gradients of sparse codes, latent by latent.

use super::codes::{ByLatent, Entry};
use super::simd::{Isa, Kernel, Simd};
use super::state::{CHUNK, Grads, Params};
use super::vector::{add_scaled, gather, score, squared_norm};
use rayon::prelude::*;

/// Codes with the residuals of what they reconstruct.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub codes: &'a ByLatent,
    /// For every row and part, the gradient of the loss in x̂_r up to 2 w_b.
    pub residuals: &'a [f32],
    pub parts: usize,
    /// λ₁ of these codes.
    pub l1: f64,
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
    pub sources: &'a [Source<'a>],
}

impl Backward<'_> {
    /// Writes the rows of the latents that have entries, and marks them.
    pub fn run(self, grads: &mut Grads) {
        let shape = self.params.shape();
        let Grads { encoder, decoder, live, deltas, .. } = grads;
        let rows = encoder.par_chunks_mut(CHUNK * shape.n_p).zip(decoder.par_chunks_mut(CHUNK * shape.n_r));
        let marks = live.par_chunks_mut(CHUNK).zip(deltas.par_chunks_mut(CHUNK));
        rows.zip(marks).enumerate().for_each(|(chunk, ((encoder, decoder), (live, deltas)))| {
            self.isa.run(Latents { backward: self, first: chunk * CHUNK, encoder, decoder, live, deltas });
        });
    }
}

struct Latents<'a> {
    backward: Backward<'a>,
    first: usize,
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    live: &'a mut [bool],
    deltas: &'a mut [f32],
}

impl Kernel for Latents<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { backward, first, encoder, decoder, live, deltas } = self;
        let shape = backward.params.shape();
        let rows = encoder.chunks_exact_mut(shape.n_p).zip(decoder.chunks_exact_mut(shape.n_r));
        for (j, ((encoder, decoder), (live, sum))) in rows.zip(live.iter_mut().zip(deltas)).enumerate() {
            let i = first + j;
            (*live, *sum) = (backward.sources.iter().any(|source| !source.codes.of(i).is_empty()), 0.0);
            if !*live {
                continue;
            }
            let v = &backward.params.decoder()[i * shape.n_r..(i + 1) * shape.n_r];
            encoder.fill(0.0);
            decoder.fill(0.0);
            for source in backward.sources {
                add_source(s, &backward, source, i, v, Row { encoder, decoder, sum });
            }
        }
    }
}

/// The gradients of one latent.
struct Row<'a> {
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    sum: &'a mut f32,
}

#[inline(always)]
fn add_source<S: Simd>(s: S, backward: &Backward<'_>, source: &Source<'_>, i: usize, v: &[f32], row: Row<'_>) {
    let n_r = v.len();
    let own = source.codes.of(i);
    let (by_norm, norm) = match source.l1 != 0.0 && backward.l1_by_decoder_norm {
        true => (true, squared_norm(s, v).sqrt()),
        false => (false, 1.0),
    };
    let line = |entry: &Entry| entry.row as usize * source.parts + usize::from(entry.level);
    let mut pull = 0.0;
    for (at, four) in own.chunks(4).enumerate() {
        for next in own[at * 4..].iter().skip(4).take(4) {
            let e = &source.residuals[line(next) * n_r..][..n_r];
            e.chunks(16).take(4).for_each(|line| s.prefetch(&line[0]));
        }
        let (mut forward, mut back) = ([(0, 0.0); 4], [(0, 0.0); 4]);
        for ((entry, forward), back) in four.iter().zip(&mut forward).zip(&mut back) {
            let weight = backward.weights[entry.row as usize];
            let factor = (2.0 * weight) as f32;
            let mut delta = factor * score(s, &source.residuals[line(entry) * n_r..][..n_r], v);
            if source.l1 != 0.0 && entry.z != 0.0 {
                let penalty = (weight * source.l1) as f32;
                delta += penalty * norm * entry.z.signum();
                pull += penalty * entry.z.abs();
            }
            *row.sum += delta;
            *forward = (line(entry) as u32, factor * entry.z);
            *back = (entry.row, delta);
        }
        gather(s, row.decoder, source.residuals, &forward[..four.len()]);
        gather(s, row.encoder, backward.x, &back[..four.len()]);
    }
    if by_norm && norm > 0.0 {
        add_scaled(s, row.decoder, v, pull / norm);
    }
}
