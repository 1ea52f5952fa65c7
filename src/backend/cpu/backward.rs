//! Gradients of sparse codes, latent by latent.

use super::codes::ByLatent;
use super::decode::Residuals;
use super::simd::{Isa, Kernel, Simd};
use super::state::{CHUNK, Grads, Params};
use super::vector::{add_scaled, gather, score};
use rayon::prelude::*;

/// What the gradients of W_D, W_E and b_E are made of.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    /// x', rows of n_p numbers.
    pub x: &'a [f32],
    pub weights: &'a [f64],
    pub residuals: &'a Residuals,
    /// Parts of the loss.
    pub parts: usize,
    pub codes: &'a ByLatent,
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
        let mut entries = Vec::new();
        for (j, ((encoder, decoder), (live, sum))) in rows.zip(live.iter_mut().zip(deltas)).enumerate() {
            let own = backward.codes.of(first + j);
            (*live, *sum) = (!own.is_empty(), 0.0);
            if own.is_empty() {
                continue;
            }
            let v = &backward.params.decoder()[(first + j) * shape.n_r..(first + j + 1) * shape.n_r];
            encoder.fill(0.0);
            decoder.fill(0.0);
            for four in own.chunks(4) {
                let residual = |row: u32, level: u16| (row as usize * backward.parts + usize::from(level)) as u32;
                entries.clear();
                for entry in four {
                    let at = residual(entry.row, entry.level) as usize * shape.n_r;
                    let factor = (2.0 * backward.weights[entry.row as usize]) as f32;
                    let delta = factor * score(s, &backward.residuals.rows[at..at + shape.n_r], v);
                    *sum += delta;
                    entries.push((entry.row, delta));
                }
                gather(s, encoder, backward.x, &entries);
                entries.clear();
                entries.extend(four.iter().map(|entry| {
                    let factor = (2.0 * backward.weights[entry.row as usize]) as f32;
                    (residual(entry.row, entry.level), factor * entry.z)
                }));
                gather(s, decoder, &backward.residuals.rows, &entries);
            }
        }
    }
}
