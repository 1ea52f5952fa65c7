//! Codes with many active latents: dense products over blocks of rows and panels of latents, whose memory does not grow with the batch. Blocks
//! have a fixed size and are added in a fixed order, so that the bits do not depend on the number of threads.

use super::backward::{Backward, Source, Sums, Terms};
use super::codes::{Entry, Sparse};
use super::encode::ROWS;
use super::matmul::{Layout, product};
use super::simd::{Kernel, Simd};
use super::state::{Grads, Params};
use super::vector::{add_scaled, squared_norm};
use crate::sdl::{Activation, Scales};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

/// Latents of a panel.
const PANEL: usize = 512;
/// Share of active latents above which dense products are faster than gathering. At n_p = 768, n_q = 16000 and batch 4096, decoding and gradients
/// took 0.57 µs for each active latent when gathered (TopK) and 4.2 s when dense (ReLU, `benches/train_step.rs`, 2 cores with AVX2): equal at 0.11.
const CROSSOVER: f64 = 0.1;

/// Scratch of dense products, one for each thread.
#[derive(Debug, Default)]
pub struct Dense(Mutex<Vec<Scratch>>);

#[derive(Debug, Default)]
struct Scratch {
    codes: Vec<f32>,
    deltas: Vec<f32>,
    products: Vec<f32>,
    gates: Vec<f32>,
    /// Of the latents of a panel.
    norms: Vec<f32>,
    pulls: Vec<f32>,
}

/// True if dense products are faster.
pub fn is_faster(activation: Activation, codes: &Sparse, n_q: usize) -> bool {
    !activation.is_sparse() && codes.latents.len() as f64 > CROSSOVER * (codes.rows() * n_q) as f64
}

/// The latents of each part; a single part has all. (Parts by rank are for sparse activations only.)
fn ranges(scales: &Scales, n_q: usize) -> Vec<Range<usize>> {
    match scales {
        Scales::Prefixes { sizes, .. } => {
            let starts = std::iter::once(0).chain(sizes.iter().copied());
            starts.zip(sizes).map(|(start, end)| start..*end).collect()
        }
        _ => std::iter::once(0..n_q).collect(),
    }
}

/// Positions of the entries of row b with latents in this range.
fn entries_within(codes: &Sparse, b: usize, latents: &Range<usize>) -> Range<usize> {
    let first = codes.offsets[b];
    let (row, _) = codes.row(b);
    let at = |latent: usize| first + row.partition_point(|i| (*i as usize) < latent);
    at(latents.start)..at(latents.end)
}

impl Dense {
    fn with<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let take = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut scratch = take().pop().unwrap_or_default();
        let result = work(&mut scratch);
        take().push(scratch);
        result
    }

    /// Adds z V to the residuals of the rows from `first` on, part after part.
    pub fn decode(&self, params: &Params, codes: &Sparse, scales: &Scales, first: usize, out: &mut [f32]) {
        let (n_r, n_q) = (params.shape().n_r, params.shape().n_q);
        let parts = ranges(scales, n_q);
        let stride = parts.len() * n_r;
        let rows = out.len() / stride;
        self.with(|scratch| {
            for (part, latents) in parts.into_iter().enumerate() {
                if part > 0 {
                    for row in out.chunks_exact_mut(stride) {
                        row.copy_within((part - 1) * n_r..part * n_r, part * n_r);
                    }
                }
                let end = latents.end;
                for start in latents.step_by(PANEL) {
                    let panel = start..(start + PANEL).min(end);
                    let z = cleared(&mut scratch.codes, rows * panel.len());
                    for (r, z) in z.chunks_exact_mut(panel.len()).enumerate() {
                        for entry in entries_within(codes, first + r, &panel) {
                            z[codes.latents[entry] as usize - panel.start] = codes.values[entry];
                        }
                    }
                    let z = (&*z, Layout::by_rows(rows, panel.len()));
                    let v = (&params.decoder()[panel.start * n_r..panel.end * n_r], Layout::by_rows(panel.len(), n_r));
                    let at = Layout { rows, columns: n_r, row: stride, column: 1 };
                    product((&mut out[part * n_r..], at), z, v, true);
                }
            }
        });
    }

    /// Gradients of all latents; every row is written.
    pub fn backward(&self, of: Backward<'_>, source: &Source<'_>, codes: Coded<'_>, grads: &mut Grads) {
        let shape = of.shape;
        let Grads { encoder, decoder, live, sums, .. } = grads;
        let rows = encoder.par_chunks_mut(PANEL * shape.n_p).zip(decoder.par_chunks_mut(PANEL * shape.n_r));
        let marks = live.par_chunks_mut(PANEL).zip(sums.par_chunks_mut(PANEL));
        rows.zip(marks).enumerate().with_max_len(1).for_each(|(panel, ((encoder, decoder), (live, sums)))| {
            let first = panel * PANEL;
            live.fill(false);
            sums.fill(Sums::default());
            self.with(|scratch| {
                let parts = ranges(codes.scales, shape.n_q);
                for (part, latents) in parts.iter().enumerate() {
                    let panel = latents.start.max(first)..latents.end.min(first + live.len());
                    if panel.is_empty() {
                        continue;
                    }
                    let here = panel.start - first..panel.end - first;
                    Panel {
                        of,
                        source,
                        codes,
                        part,
                        encoder: &mut encoder[here.start * shape.n_p..here.end * shape.n_p],
                        decoder: &mut decoder[here.start * shape.n_r..here.end * shape.n_r],
                        live: &mut live[here.clone()],
                        sums: &mut sums[here],
                        panel,
                    }
                    .run(scratch);
                }
            });
        });
    }
}

/// Codes by row.
#[derive(Clone, Copy)]
pub struct Coded<'a> {
    pub codes: &'a Sparse,
    /// Scores of the entries (Gated).
    pub scores: &'a [f32],
    pub scales: &'a Scales,
}

/// Zeros.
fn cleared(memory: &mut Vec<f32>, length: usize) -> &mut [f32] {
    memory.clear();
    memory.resize(length, 0.0);
    memory
}

/// Latents of one part whose gradients one task computes.
struct Panel<'a> {
    of: Backward<'a>,
    source: &'a Source<'a>,
    codes: Coded<'a>,
    part: usize,
    panel: Range<usize>,
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    live: &'a mut [bool],
    sums: &'a mut [Sums],
}

impl Panel<'_> {
    fn run(self, scratch: &mut Scratch) {
        let Self { of, source, codes: Coded { codes, scores, .. }, part, panel, encoder, decoder, live, sums } = self;
        let shape = of.shape;
        let (n_p, n_r, width) = (shape.n_p, shape.n_r, panel.len());
        let v = &of.decoder[panel.start * n_r..panel.end * n_r];
        let norms = &mut scratch.norms;
        norms.clear();
        norms.extend(v.chunks_exact(n_r).map(|v| of.isa.run(PenaltyNorm { of: &of, source, v })));
        let pulls = cleared(&mut scratch.pulls, width);
        let stride = source.parts * n_r;
        let columns = (v, Layout::by_rows(width, n_r).transposed());
        for first in (0..codes.rows()).step_by(ROWS) {
            let rows = ROWS.min(codes.rows() - first);
            let within = Layout::by_rows(rows, width);
            let e = &source.residuals[first * stride + part * n_r..];
            let e = (e, Layout { rows, columns: n_r, row: stride, column: 1 });
            let products = cleared(&mut scratch.products, rows * width);
            product((&mut *products, within), e, columns, false);
            if let Some(gate) = &source.gate {
                let e = (&gate.residuals[first * n_r..], Layout::by_rows(rows, n_r));
                product((cleared(&mut scratch.gates, rows * width), within), e, columns, false);
            }
            let z = cleared(&mut scratch.codes, rows * width);
            let deltas = cleared(&mut scratch.deltas, rows * width);
            for r in 0..rows {
                for at in entries_within(codes, first + r, &panel) {
                    let j = codes.latents[at] as usize - panel.start;
                    let s = scores.get(at).copied().unwrap_or(0.0);
                    let entry = Entry { row: (first + r) as u32, level: part as u16, z: codes.values[at], s };
                    let by_gate = scratch.gates.get(r * width + j).copied().unwrap_or(0.0);
                    let Terms { forward, back, pull, sum } =
                        of.terms(source, panel.start + j, &entry, norms[j], products[r * width + j], by_gate);
                    z[r * width + j] = forward;
                    deltas[r * width + j] = back;
                    pulls[j] += pull;
                    sums[j].add(sum);
                    live[j] = true;
                }
            }
            let turned = within.transposed();
            product((&mut *decoder, Layout::by_rows(width, n_r)), (z, turned), e, first > 0);
            let x = (&of.x[first * n_p..], Layout::by_rows(rows, n_p));
            product((&mut *encoder, Layout::by_rows(width, n_p)), (deltas, turned), x, first > 0);
        }
        if of.l1_by_decoder_norm {
            let rows = decoder.chunks_exact_mut(n_r).zip(v.chunks_exact(n_r));
            for ((row, v), (pull, norm)) in rows.zip(pulls.iter().zip(&*norms)) {
                if *norm > 0.0 {
                    of.isa.run(AddScaled(row, v, pull / norm));
                }
            }
        }
    }
}

/// c_i.
struct PenaltyNorm<'a> {
    of: &'a Backward<'a>,
    source: &'a Source<'a>,
    v: &'a [f32],
}

impl Kernel for PenaltyNorm<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        if self.of.l1_by_decoder_norm && self.source.l1 != 0.0 { squared_norm(s, self.v).sqrt() } else { 1.0 }
    }
}

struct AddScaled<'a>(&'a mut [f32], &'a [f32], f32);

impl Kernel for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_scaled(s, self.0, self.1, self.2);
    }
}
