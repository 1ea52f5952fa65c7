//! Gradients of sparse codes, latent by latent.

use super::codes::{ByLatent, Entry};
use super::simd::{Isa, Kernel, Simd, WIDTH};
use super::state::{CHUNK, Grads};
use super::vector::{add_scaled, squared_norm};
use crate::backend::score::exp;
use crate::sdl::{Parameter, Shape};
use rayon::prelude::*;
use std::ops::Range;

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
    pub shape: Shape,
    /// W_D, a row for each latent.
    pub decoder: &'a [f32],
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
    /// Times the residual: what an entry adds to the decoder column.
    #[inline(always)]
    fn forward(&self, entry: &Entry) -> f32 {
        (2.0 * self.weights[entry.row as usize]) as f32 * entry.z
    }

    /// The terms of an entry, from the products of the residuals with v_i. `norm` is c_i.
    #[inline(always)]
    pub fn terms(&self, source: &Source<'_>, i: usize, entry: &Entry, norm: f32, by_code: f32, by_gate: f32) -> Terms {
        let weight = self.weights[entry.row as usize];
        let factor = (2.0 * weight) as f32;
        let penalty = (weight * source.l1) as f32;
        let by_code = factor * by_code;
        let forward = self.forward(entry);
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
    ///
    /// An entry reads a row of residuals and a row of x', as far apart as they come: from main memory, that is what the step waits for. Hence
    /// [`panels`] of columns at a time: the rows of a panel stay in the cache that cores share, and what a latent sums up stays in registers.
    pub fn run(self, source: &Source<'_>, codes: &ByLatent, add: bool, grads: &mut Grads) {
        let Shape { n_p, n_r, .. } = self.shape;
        let Grads { encoder, decoder, live, sums, scratch, .. } = grads;
        let Scratch { panel, products, gates, .. } = scratch;
        if !add {
            live.fill(false);
            sums.fill(Sums::default());
        }
        products.clear();
        products.resize(codes.entries.len(), 0.0);
        gates.clear();
        gates.resize(if source.gate.is_some() { codes.entries.len() } else { 0 }, 0.0);
        let mut chunks = Vec::with_capacity(live.len().div_ceil(CHUNK));
        let (mut products, mut gates) = (products.as_mut_slice(), gates.as_mut_slice());
        let (mut encoder, mut decoder) = (encoder.as_mut_slice(), decoder.as_mut_slice());
        for (chunk, (live, sums)) in live.chunks_mut(CHUNK).zip(sums.chunks_mut(CHUNK)).enumerate() {
            let first = chunk * CHUNK;
            let entries = codes.offsets[first + live.len()] - codes.offsets[first];
            let gated = if source.gate.is_some() { entries } else { 0 };
            chunks.push(Chunk {
                first,
                columns: &self.decoder[first * n_r..],
                encoder: take(&mut encoder, live.len() * n_p),
                decoder: take(&mut decoder, live.len() * n_r),
                products: take(&mut products, entries),
                gates: take(&mut gates, gated),
                soon: None,
                live,
                sums,
            });
        }
        let rows = self.weights.len();
        let lines = rows * source.parts;
        for columns in panels(n_r, lines) {
            let rows = pack(source.residuals, n_r, &columns, lines, panel);
            let panel = Panel { of: self, source, codes, rows, columns };
            chunks.par_iter_mut().for_each(|chunk| self.isa.run(Decoder { panel: &panel, chunk }));
        }
        if let Some(gate) = &source.gate {
            for columns in panels(n_r, rows) {
                let rows = pack(gate.residuals, n_r, &columns, rows, panel);
                let panel = Panel { of: self, source, codes, rows, columns };
                chunks.par_iter_mut().for_each(|chunk| self.isa.run(Gates { panel: &panel, chunk }));
            }
        }
        chunks.par_iter_mut().for_each(|chunk| self.isa.run(Latents { of: self, source, codes, chunk }));
        for columns in panels(n_p, rows) {
            let rows = pack(self.x, n_p, &columns, rows, panel);
            let panel = Panel { of: self, source, codes, rows, columns };
            chunks.par_iter_mut().for_each(|chunk| self.isa.run(Encoder { panel: &panel, chunk }));
        }
        for (i, live) in live.iter_mut().enumerate() {
            *live |= !codes.of(i).is_empty();
        }
    }
}

/// Scratch of [`Backward::run`].
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    pub panel: Vec<f32>,
    /// A panel of x', where one of the residuals is needed at the same time.
    pub inputs: Vec<f32>,
    /// For every entry the product of its residual with v_i, and then what it adds of x'.
    pub products: Vec<f32>,
    /// For every entry the product of the residual of its gate with v_i.
    gates: Vec<f32>,
}

/// Columns of a strip: eight vectors, as many sums as 16 registers hold beside what else is needed.
const STRIP: usize = 8 * WIDTH;

/// Bytes of a panel, if one strip is not more already. Panels as small as what a core has for itself (1 MiB) take half as long again: each goes through
/// all entries once more.
const CACHE: usize = 4 << 20;

/// Columns of a panel of so many rows.
fn panel_width(rows: usize) -> usize {
    let strip = size_of::<f32>().saturating_mul(STRIP).saturating_mul(rows.max(1));
    STRIP * (CACHE / strip).max(1)
}

/// Columns of d, in strips as many at a time as the cache holds of so many rows.
fn panels(d: usize, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let width = panel_width(rows);
    (0..d).step_by(width).map(move |first| first..d.min(first + width))
}

/// Numbers of the longest copy that [`pack`] makes of a table of d columns.
pub fn longest_panel(d: usize, rows: usize) -> usize {
    let stride = d.min(panel_width(rows)).next_multiple_of(STRIP);
    if stride == d { 0 } else { stride.saturating_mul(rows) }
}

/// True if a table of so many rows of d numbers is one panel.
pub(super) fn is_one_panel(d: usize, rows: usize) -> bool {
    (1..=panel_width(rows)).contains(&d)
}

/// The first entries of a slice, which keeps the others.
pub(super) fn take<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(count);
    *rest = others;
    first
}

/// Columns of a table with rows of d numbers, with zeros up to whole strips: the table itself where that is all of them, else a copy.
pub(super) fn pack<'a>(
    table: &'a [f32],
    d: usize,
    columns: &Range<usize>,
    rows: usize,
    panel: &'a mut Vec<f32>,
) -> &'a [f32] {
    let stride = columns.len().next_multiple_of(STRIP);
    if stride == d {
        return &table[..rows * d];
    }
    panel.resize(rows * stride, 0.0);
    panel.par_chunks_exact_mut(stride).zip(table.par_chunks_exact(d)).with_min_len(64).for_each(|(line, row)| {
        let (line, rest) = line.split_at_mut(columns.len());
        line.copy_from_slice(&row[columns.clone()]);
        rest.fill(0.0);
    });
    panel
}

/// A few latents, with what is theirs.
pub(super) struct Chunk<'a> {
    pub first: usize,
    /// Their decoder columns, and maybe those of latents after them.
    pub columns: &'a [f32],
    pub encoder: &'a mut [f32],
    pub decoder: &'a mut [f32],
    /// Which of them have had a gradient before.
    pub live: &'a [bool],
    pub sums: &'a mut [Sums],
    pub products: &'a mut [f32],
    pub gates: &'a mut [f32],
    pub soon: Option<&'a Soon<'a>>,
}

/// Numbers of the same latents that are needed afterwards. Gradients wait for the cache that cores share, so that main memory is free to send these.
pub(super) struct Soon<'a> {
    /// With n_r numbers for each latent.
    pub decoder: [&'a [f32]; 2],
    /// With n_p numbers for each latent.
    pub encoder: [&'a [f32]; 3],
}

/// Some columns of a table, and what they are for.
pub(super) struct Panel<'a> {
    pub of: Backward<'a>,
    pub source: &'a Source<'a>,
    pub codes: &'a ByLatent,
    pub rows: &'a [f32],
    pub columns: Range<usize>,
}

impl Panel<'_> {
    /// The row that an entry has in a table of one row per sample and part.
    #[inline(always)]
    fn line(&self, entry: &Entry) -> usize {
        entry.row as usize * self.source.parts + usize::from(entry.level)
    }

    /// The first columns of the strips.
    #[inline(always)]
    fn strips(&self) -> impl Iterator<Item = usize> {
        self.columns.clone().step_by(STRIP)
    }

    /// A strip of one row.
    #[inline(always)]
    fn row(&self, line: usize, strip: usize) -> &[[f32; WIDTH]; STRIP / WIDTH] {
        let stride = self.columns.len().next_multiple_of(STRIP);
        let at = line * stride + strip - self.columns.start;
        &self.rows[at..at + STRIP].as_chunks::<WIDTH>().0.as_chunks().0[0]
    }

    /// The same strip of a row of another table with d columns.
    #[inline(always)]
    fn part(&self, row: usize, d: usize, strip: usize) -> Range<usize> {
        row * d + strip..row * d + self.columns.end.min(strip + STRIP)
    }

    /// Asks for the columns of a row of another table, if there is that row.
    #[inline(always)]
    fn prefetch<S: Simd>(&self, s: S, table: &[f32], row: usize, d: usize) {
        prefetch(s, table, row * d + self.columns.start..row * d + self.columns.end);
    }
}

/// Asks for some numbers of a table, if it has them.
#[inline(always)]
fn prefetch<S: Simd>(s: S, table: &[f32], range: Range<usize>) {
    if let Some(numbers) = table.get(range) {
        numbers.chunks(LINE).for_each(|line| s.prefetch(&line[0]));
    }
}

/// Numbers of a cache line.
const LINE: usize = 16;

/// How many latents ahead the rows are asked for, which lie a page or more apart.
const AHEAD: usize = 3;

/// Numbers of a strip where they stand, or in `room` with zeros after the last column.
#[inline(always)]
fn whole<'a>(part: &'a [f32], room: &'a mut [f32; STRIP]) -> &'a [f32; STRIP] {
    if let Ok(all) = part.try_into() {
        return all;
    }
    *room = [0.0; STRIP];
    room[..part.len()].copy_from_slice(part);
    room
}

/// The part of ∂loss/∂v_i, and of the products of residuals with v_i, that the columns of a panel make.
pub(super) struct Decoder<'a, 'b> {
    pub panel: &'a Panel<'a>,
    pub chunk: &'a mut Chunk<'b>,
}

impl Kernel for Decoder<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panel, chunk } = self;
        let (of, n_r) = (panel.of, panel.of.shape.n_r);
        let mut products = &mut *chunk.products;
        for (j, live) in chunk.live.iter().enumerate() {
            let own = panel.codes.of(chunk.first + j);
            if own.is_empty() {
                continue;
            }
            panel.prefetch(s, chunk.columns, j + AHEAD, n_r);
            panel.prefetch(s, chunk.decoder, j + AHEAD, n_r);
            let products = take(&mut products, own.len());
            for strip in panel.strips() {
                if let Some(soon) = chunk.soon {
                    soon.decoder.iter().for_each(|table| prefetch(s, table, panel.part(j, n_r, strip)));
                }
                let mut room = [0.0; STRIP];
                let v = whole(&chunk.columns[panel.part(j, n_r, strip)], &mut room);
                let out = &mut chunk.decoder[panel.part(j, n_r, strip)];
                let mut sums = Registers::new(s, live.then_some(&*out));
                for (entry, product) in own.iter().zip(&mut *products) {
                    let row = panel.row(panel.line(entry), strip);
                    *product += dot(s, row, v);
                    sums.add(s, of.forward(entry), row);
                }
                sums.store(s, out);
            }
        }
    }
}

/// The part of the products of gates' residuals with v_i that the columns of a panel make.
struct Gates<'a, 'b> {
    panel: &'a Panel<'a>,
    chunk: &'a mut Chunk<'b>,
}

impl Kernel for Gates<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panel, chunk } = self;
        let n_r = panel.of.shape.n_r;
        let mut gates = &mut *chunk.gates;
        for j in 0..chunk.live.len() {
            let own = panel.codes.of(chunk.first + j);
            let gates = take(&mut gates, own.len());
            for strip in panel.strips() {
                let mut room = [0.0; STRIP];
                let v = whole(&chunk.columns[panel.part(j, n_r, strip)], &mut room);
                for (entry, product) in own.iter().zip(&mut *gates) {
                    *product += dot(s, panel.row(entry.row as usize, strip), v);
                }
            }
        }
    }
}

/// The part of ∂loss/∂w_i that the columns of a panel make.
pub(super) struct Encoder<'a, 'b> {
    pub panel: &'a Panel<'a>,
    pub chunk: &'a mut Chunk<'b>,
}

impl Kernel for Encoder<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panel, chunk } = self;
        let n_p = panel.of.shape.n_p;
        let mut products = &mut *chunk.products;
        for (j, live) in chunk.live.iter().enumerate() {
            let own = panel.codes.of(chunk.first + j);
            if own.is_empty() {
                continue;
            }
            panel.prefetch(s, chunk.encoder, j + AHEAD, n_p);
            let factors = take(&mut products, own.len());
            for strip in panel.strips() {
                if let Some(soon) = chunk.soon {
                    soon.encoder.iter().for_each(|table| prefetch(s, table, panel.part(j, n_p, strip)));
                }
                let out = &mut chunk.encoder[panel.part(j, n_p, strip)];
                let mut sums = Registers::new(s, live.then_some(&*out));
                for (entry, factor) in own.iter().zip(&*factors) {
                    sums.add(s, *factor, panel.row(entry.row as usize, strip));
                }
                sums.store(s, out);
            }
        }
    }
}

/// The sums of one latent over the columns of a panel.
struct Registers<S: Simd>([S::V; STRIP / WIDTH]);

impl<S: Simd> Registers<S> {
    /// From the sums so far, if there are any.
    #[inline(always)]
    fn new(s: S, from: Option<&[f32]>) -> Self {
        let mut sums = [s.splat(0.0); STRIP / WIDTH];
        if let Some(from) = from {
            let mut room = [0.0; STRIP];
            for (sum, from) in sums.iter_mut().zip(whole(from, &mut room).as_chunks::<WIDTH>().0) {
                *sum = s.load(from);
            }
        }
        Self(sums)
    }

    #[inline(always)]
    fn add(&mut self, s: S, factor: f32, row: &[[f32; WIDTH]; STRIP / WIDTH]) {
        let factor = s.splat(factor);
        for (sum, row) in self.0.iter_mut().zip(row) {
            *sum = s.fma(factor, s.load(row), *sum);
        }
    }

    #[inline(always)]
    fn store(self, s: S, out: &mut [f32]) {
        let mut room = [0.0; STRIP];
        let is_whole = out.len() == STRIP;
        let all = if is_whole { &mut *out } else { &mut room[..] };
        for (sum, place) in self.0.into_iter().zip(all.as_chunks_mut::<WIDTH>().0) {
            s.store(sum, place);
        }
        if !is_whole {
            out.copy_from_slice(&room[..out.len()]);
        }
    }
}

/// The product over the columns of a panel.
#[inline(always)]
fn dot<S: Simd>(s: S, row: &[[f32; WIDTH]; STRIP / WIDTH], v: &[f32; STRIP]) -> f32 {
    let mut sums = [s.splat(0.0); 2];
    for (l, (a, b)) in row.iter().zip(v.as_chunks::<WIDTH>().0).enumerate() {
        sums[l % 2] = s.fma(s.load(a), s.load(b), sums[l % 2]);
    }
    s.sum(s.add(sums[0], sums[1]))
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

/// What the entries of a few latents add, from the products with v_i.
pub(super) struct Latents<'a, 'b> {
    pub of: Backward<'a>,
    pub source: &'a Source<'a>,
    pub codes: &'a ByLatent,
    pub chunk: &'a mut Chunk<'b>,
}

impl Kernel for Latents<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, source, codes, chunk } = self;
        let n_r = of.shape.n_r;
        let by_norm = of.l1_by_decoder_norm && source.l1 != 0.0;
        let (mut products, mut gates) = (&mut *chunk.products, &*chunk.gates);
        for (j, sum) in chunk.sums.iter_mut().enumerate() {
            let i = chunk.first + j;
            let own = codes.of(i);
            if own.is_empty() {
                continue;
            }
            let v = &chunk.columns[j * n_r..(j + 1) * n_r];
            let norm = if by_norm { squared_norm(s, v).sqrt() } else { 1.0 };
            let mut pull = 0.0;
            let by_gate;
            (by_gate, gates) = gates.split_at(own.len().min(gates.len()));
            for (e, (entry, product)) in own.iter().zip(take(&mut products, own.len())).enumerate() {
                let terms = of.terms(source, i, entry, norm, *product, by_gate.get(e).copied().unwrap_or(0.0));
                *product = terms.back;
                pull += terms.pull;
                sum.add(terms.sum);
            }
            if by_norm && norm > 0.0 {
                add_scaled(s, &mut chunk.decoder[j * n_r..(j + 1) * n_r], v, pull / norm);
            }
        }
    }
}
