//! Parameters that all latents share: b_p, b_D and W_S. Sums over rows are taken in blocks of fixed size, which are added in order.

use super::decode::Residuals;
use super::matmul::{Layout, product};
use super::simd::{Isa, Kernel, Simd};
use super::state::{Batch, Grads, Params};
use super::vector::add_scaled;
use crate::sdl::Parameter;
use rayon::prelude::*;

/// Rows of a block.
const ROWS: usize = 64;

/// Scratch of [`backward`].
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// Of every row.
    factors: Vec<f32>,
    /// Sums over blocks of rows.
    sums: Vec<f32>,
    /// A block of x_p, row by row times its factor.
    scaled: Vec<f32>,
}

/// x' = x_p − b_p.
pub fn centre(isa: Isa, x: &[f32], bias: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(ROWS * bias.len()).zip(x.par_chunks(ROWS * bias.len())).for_each(|(out, x)| {
        isa.run(Centre(x, bias, out));
    });
}

struct Centre<'a>(&'a [f32], &'a [f32], &'a mut [f32]);

impl Kernel for Centre<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let d = self.1.len();
        for (out, x) in self.2.chunks_exact_mut(d).zip(self.0.chunks_exact(d)) {
            out.iter_mut().zip(x).zip(self.1).for_each(|((o, x), b)| *o = x - b);
        }
    }
}

/// Adds W_S x_p to the first part of the residuals, `stride` numbers apart.
pub fn add_skip(params: &Params, batch: &Batch, stride: usize, residuals: &mut [f32]) {
    let (n_p, n_r) = (params.shape().n_p, params.shape().n_r);
    let Some(skip) = params.block(Parameter::Skip) else { return };
    let inputs = &batch.inputs[..batch.rows * n_p];
    residuals.par_chunks_mut(ROWS * stride).zip(inputs.par_chunks(ROWS * n_p)).for_each(|(out, x)| {
        let rows = x.len() / n_p;
        let at = Layout { rows, columns: n_r, row: stride, column: 1 };
        product((out, at), (x, Layout::by_rows(rows, n_p)), (skip, Layout::by_rows(n_r, n_p).transposed()), true);
    });
}

/// Gradients of b_p, b_D and W_S, from the residuals and from the sums of the latents.
pub fn backward(isa: Isa, params: &Params, batch: &Batch, parts: usize, residuals: &Residuals, grads: &mut Grads) {
    let (n_p, n_r, n_q) = (params.shape().n_p, params.shape().n_r, params.shape().n_q);
    let stride = parts * n_r;
    let Grads { rest, sums: of_latents, shared: Scratch { factors, sums, scaled }, .. } = grads;
    if let Some(out) = rest.get_mut(Parameter::InputBias) {
        factors.clear();
        factors.extend(of_latents.iter().map(|sums| -sums.score));
        weighted_sum(isa, (&params.encoder()[..n_q * n_p], n_p), factors, sums, out);
    }
    factors.clear();
    factors.extend(batch.weights[..batch.rows].iter().map(|w| (2.0 * w) as f32));
    if let Some(out) = rest.get_mut(Parameter::DecoderBias) {
        weighted_sum(isa, (&residuals.rows, stride), factors, sums, out);
    }
    if let Some(out) = rest.get_mut(Parameter::Skip) {
        out.fill(0.0);
        scaled.resize(ROWS * n_p, 0.0);
        let rows = residuals.rows.chunks(ROWS * stride).zip(batch.inputs.chunks(ROWS * n_p)).zip(factors.chunks(ROWS));
        for ((residuals, x), factors) in rows {
            let rows = factors.len();
            for ((scaled, x), factor) in scaled.chunks_exact_mut(n_p).zip(x.chunks_exact(n_p)).zip(factors) {
                scaled.iter_mut().zip(x).for_each(|(s, x)| *s = factor * x);
            }
            let at = Layout { rows, columns: n_r, row: stride, column: 1 };
            let x = (&scaled[..rows * n_p], Layout::by_rows(rows, n_p));
            product((out, Layout::by_rows(n_r, n_p)), (residuals, at.transposed()), x, true);
        }
    }
}

/// Σ_b c_b·row_b of rows that stand `stride` apart. `sums` is scratch.
fn weighted_sum(isa: Isa, (rows, stride): (&[f32], usize), factors: &[f32], sums: &mut Vec<f32>, out: &mut [f32]) {
    let columns = out.len();
    out.fill(0.0);
    if columns == 0 {
        return;
    }
    sums.resize(factors.len().div_ceil(ROWS) * columns, 0.0);
    let blocks = rows.par_chunks(ROWS * stride).zip(factors.par_chunks(ROWS)).zip(sums.par_chunks_mut(columns));
    blocks.for_each(|((rows, factors), sum)| isa.run(Sum { rows, stride, factors, sum }));
    for sum in sums.chunks(columns) {
        out.iter_mut().zip(sum).for_each(|(o, x)| *o += x);
    }
}

struct Sum<'a> {
    rows: &'a [f32],
    stride: usize,
    factors: &'a [f32],
    sum: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, stride, factors, sum } = self;
        sum.fill(0.0);
        for (row, factor) in rows.chunks(stride).zip(factors) {
            add_scaled(s, sum, &row[..sum.len()], *factor);
        }
    }
}
