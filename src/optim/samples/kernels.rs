//! The loops over samples and over latents that all products are made of. Every sum has one order, whatever the number of threads: a row is
//! made by one task, and scalars are sums in f64 over rows, row after row.

use super::codes::{BLOCK, Codes};
use crate::backend::cpu::simd::{Isa, Kernel, Simd};
use crate::backend::cpu::vector::{gather, score};
use rayon::prelude::*;

/// Rows of a matrix that one task works on.
const ROWS: usize = 16;

/// Rows of `width` numbers.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    pub data: &'a [f32],
    pub width: usize,
}

impl<'a> Table<'a> {
    pub fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.width..(i + 1) * self.width]
    }
}

/// out_s ← start_s + sign Σ_i c_si t_i for every sample s, with one c for each entry of the codes; start is 0 where there is none.
pub fn decode(
    isa: Isa,
    codes: &Codes,
    values: &[f32],
    sign: f32,
    table: Table<'_>,
    start: Option<&[f32]>,
    out: &mut [f32],
) {
    let width = table.width;
    out.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, out)| {
        let from = block * BLOCK;
        match start {
            Some(start) => out.copy_from_slice(&start[from * width..][..out.len()]),
            None => out.fill(0.0),
        }
        isa.run(Decode { codes, values, sign, table, from, out });
    });
}

struct Decode<'a> {
    codes: &'a Codes,
    values: &'a [f32],
    sign: f32,
    table: Table<'a>,
    from: usize,
    out: &'a mut [f32],
}

impl Kernel for Decode<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codes, values, sign, table, from, out } = self;
        let mut entries = Vec::new();
        for (k, out) in out.chunks_exact_mut(table.width).enumerate() {
            let range = codes.offsets[from + k]..codes.offsets[from + k + 1];
            entries.clear();
            entries.extend(codes.latents[range.clone()].iter().zip(&values[range]).map(|(i, c)| (*i, sign * c)));
            gather(simd, out, table.data, &entries);
        }
    }
}

/// ⟨t_i, y_s⟩ for every entry (s, i) of the codes.
pub fn products(isa: Isa, codes: &Codes, table: Table<'_>, rows: Table<'_>, out: &mut [f32]) {
    codes.blocks(out).into_par_iter().for_each(|(samples, out)| {
        isa.run(Products { codes, table, rows, from: samples.start, to: samples.end, out });
    });
}

struct Products<'a> {
    codes: &'a Codes,
    table: Table<'a>,
    rows: Table<'a>,
    from: usize,
    to: usize,
    out: &'a mut [f32],
}

impl Kernel for Products<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codes, table, rows, from, to, out } = self;
        let first = codes.offsets[from];
        for s in from..to {
            for entry in codes.offsets[s]..codes.offsets[s + 1] {
                out[entry - first] = score(simd, table.row(codes.latents[entry] as usize), rows.row(s));
            }
        }
    }
}

/// ⟨v_i, Σ_j v_j ⟨d_j, x_s⟩⟩ for every entry (s, i) of the codes, j over the latents of sample s.
pub fn curvature(
    isa: Isa,
    codes: &Codes,
    inputs: Table<'_>,
    direction: Table<'_>,
    decoder: Table<'_>,
    out: &mut [f32],
) {
    codes.blocks(out).into_par_iter().for_each(|(samples, out)| {
        isa.run(Curvature { codes, inputs, direction, decoder, from: samples.start, to: samples.end, out });
    });
}

struct Curvature<'a> {
    codes: &'a Codes,
    inputs: Table<'a>,
    direction: Table<'a>,
    decoder: Table<'a>,
    from: usize,
    to: usize,
    out: &'a mut [f32],
}

impl Kernel for Curvature<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codes, inputs, direction, decoder, from, to, out } = self;
        let first = codes.offsets[from];
        let mut entries = Vec::new();
        let mut moved = vec![0.0_f32; decoder.width];
        for s in from..to {
            let range = codes.offsets[s]..codes.offsets[s + 1];
            let latents = &codes.latents[range.clone()];
            entries.clear();
            for j in latents {
                entries.push((*j, score(simd, direction.row(*j as usize), inputs.row(s))));
            }
            moved.fill(0.0);
            gather(simd, &mut moved, decoder.data, &entries);
            for (out, i) in out[range.start - first..range.end - first].iter_mut().zip(latents) {
                *out = score(simd, decoder.row(*i as usize), &moved);
            }
        }
    }
}

/// out_i ← factor Σ_s c_si y_s + shift·d_i for every latent i, s over the samples that use it; d is 0 where there is none.
pub fn collect(
    isa: Isa,
    codes: &Codes,
    values: &[f32],
    factor: f32,
    rows: Table<'_>,
    shift: Option<(f32, Table<'_>)>,
    out: &mut [f32],
) {
    out.par_chunks_mut(ROWS * rows.width).enumerate().for_each(|(block, out)| {
        isa.run(Collect { codes, values, factor, rows, shift, from: block * ROWS, out });
    });
}

struct Collect<'a> {
    codes: &'a Codes,
    values: &'a [f32],
    factor: f32,
    rows: Table<'a>,
    shift: Option<(f32, Table<'a>)>,
    from: usize,
    out: &'a mut [f32],
}

impl Kernel for Collect<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { codes, values, factor, rows, shift, from, out } = self;
        let mut entries = Vec::new();
        for (k, out) in out.chunks_exact_mut(rows.width).enumerate() {
            entries.clear();
            entries.extend(codes.uses(from + k).iter().map(|(s, entry)| (*s, factor * values[*entry as usize])));
            match shift {
                Some((shift, table)) => out.iter_mut().zip(table.row(from + k)).for_each(|(o, d)| *o = shift * d),
                None => out.fill(0.0),
            }
            gather(simd, out, rows.data, &entries);
        }
    }
}

/// Σ a·b in f64 in eight lanes, added in order at the end.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0_f64; 8];
    for (a, b) in a.iter().zip(b) {
        for l in 0..8 {
            lanes[l] += f64::from(a[l]) * f64::from(b[l]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Σ a·b over rows of `width` numbers: every row by [`dot`], rows in order.
pub fn inner(a: &[f32], b: &[f32], width: usize) -> f64 {
    let rows = a.par_chunks(ROWS * width).zip(b.par_chunks(ROWS * width));
    rows.map(|(a, b)| dot(a, b)).collect::<Vec<f64>>().iter().sum()
}

/// a ← a + t·b.
pub fn add(a: &mut [f32], t: f32, b: &[f32]) {
    let chunk = ROWS * 1024;
    a.par_chunks_mut(chunk).zip(b.par_chunks(chunk)).for_each(|(a, b)| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += t * b);
    });
}
