//! x̂_r − x_r and what the loss sees of it, by gathering decoder columns or, for many active latents, by dense products.

use super::Sums;
use super::codes::Sparse;
use super::dense::Dense;
use super::encode::ROWS;
use super::shared::add_skip;
use super::simd::{Isa, Kernel, Simd};
use super::state::{Batch, Params};
use super::vector::{add_scaled, gather_each, scale, squared_norm};
use crate::backend::collective::CollectiveError;
use crate::sdl::{Parameter, Scales};
use rayon::prelude::*;

/// Residuals of a batch.
#[derive(Debug, Clone, Default)]
pub struct Residuals {
    /// For every row and every part s: Σ_{t ≥ s} λ_t e^{(t)}, which is what an active latent of level s has as its gradient, up to 2 w_b.
    pub rows: Vec<f32>,
    /// ‖e^{(s)}‖² for every row and part.
    pub squares: Vec<f64>,
}

/// What reconstructs, and what is reconstructed.
#[derive(Clone, Copy)]
pub struct Decode<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    pub batch: &'a Batch,
    pub scales: &'a Scales,
    /// Where dense products work, if they are to be used.
    pub dense: Option<&'a Dense>,
    /// b_D, W_S x_p and x_r take part; else only the latents.
    pub affine: bool,
}

impl Decode<'_> {
    /// Residuals of all rows and parts, from what each rank has in e^{(s)} if there are several.
    pub fn with(
        self,
        codes: &Sparse,
        others: &mut Option<(bool, Sums<'_>)>,
        out: &mut Residuals,
    ) -> Result<(), CollectiveError> {
        let Some((_, sum)) = others else {
            self.gather(codes, true, out);
            return Ok(());
        };
        self.gather(codes, false, out);
        sum(&mut out.rows)?;
        self.finish(out);
        Ok(())
    }

    /// Residuals from all e^{(s)}.
    fn finish(self, out: &mut Residuals) {
        let (n_r, weights) = (self.params.shape().n_r, self.scales.weights());
        if n_r == 0 {
            return;
        }
        let parts = weights.len();
        let rows = out.rows.par_chunks_mut(parts * n_r).zip(out.squares.par_chunks_mut(parts)).with_min_len(8);
        rows.for_each(|(residuals, squares)| self.isa.run(Finish { weights, n_r, residuals, squares }));
    }

    /// e^{(s)}, or what these latents and, with `affine`, the rest have in it; residuals, if that is all.
    fn gather(self, codes: &Sparse, finish: bool, out: &mut Residuals) {
        let (n_r, parts, rows) = (self.params.shape().n_r, self.scales.weights().len(), self.batch.rows);
        let stride = parts * n_r;
        out.rows.resize(rows * stride, 0.0);
        out.squares.resize(rows * parts, 0.0);
        if n_r == 0 {
            return;
        }
        if self.affine {
            let bias = self.params.block(Parameter::DecoderBias);
            let targets = self.batch.targets().par_chunks(n_r);
            out.rows.par_chunks_mut(stride).zip(targets).with_min_len(8).for_each(|(row, target)| {
                self.isa.run(Start { row: &mut row[..n_r], target, bias });
            });
            add_skip(self.params, self.batch, stride, &mut out.rows);
        } else {
            out.rows.par_chunks_mut(stride).with_min_len(8).for_each(|row| row[..n_r].fill(0.0));
        }
        if let Some(dense) = self.dense {
            out.rows.par_chunks_mut(ROWS * stride).enumerate().for_each(|(block, out)| {
                dense.decode(self.params, codes, self.scales, block * ROWS, out);
            });
        }
        let out = out.rows.par_chunks_mut(stride).zip(out.squares.par_chunks_mut(parts));
        out.enumerate().with_min_len(8).for_each(|(b, (residuals, squares))| {
            let weights = self.scales.weights();
            if self.dense.is_none() {
                self.isa.run(Gather { table: self.params.decoder(), codes, b, n_r, parts, residuals });
            }
            if finish {
                self.isa.run(Finish { weights, n_r, residuals, squares });
            }
        });
    }
}

/// b_D − x_r.
struct Start<'a> {
    row: &'a mut [f32],
    target: &'a [f32],
    bias: Option<&'a [f32]>,
}

impl Kernel for Start<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.bias {
            Some(bias) => self.row.copy_from_slice(bias),
            None => self.row.fill(0.0),
        }
        add_scaled(s, self.row, self.target, -1.0);
    }
}

/// e^{(s)} for every part, from the start that stands in the first.
struct Gather<'a> {
    table: &'a [f32],
    codes: &'a Sparse,
    b: usize,
    n_r: usize,
    parts: usize,
    residuals: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { table, codes, b, n_r, parts, residuals } = self;
        let (latents, values) = codes.row(b);
        let first = codes.offsets[b];
        for part in 0..parts {
            if part > 0 {
                residuals.copy_within((part - 1) * n_r..part * n_r, part * n_r);
            }
            let entries = latents.iter().zip(values).enumerate();
            let level = entries.filter(|(j, _)| codes.level(first + j) == part).map(|(_, (i, z))| (*i, *z));
            gather_each(s, &mut residuals[part * n_r..(part + 1) * n_r], table, level);
        }
    }
}

/// Squared norms, and the sums over later parts.
struct Finish<'a> {
    weights: &'a [f64],
    n_r: usize,
    residuals: &'a mut [f32],
    squares: &'a mut [f64],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { weights, n_r, residuals, squares } = self;
        for part in (0..weights.len()).rev() {
            let (here, after) = residuals[part * n_r..].split_at_mut(n_r);
            squares[part] = f64::from(squared_norm(s, here));
            if weights[part] != 1.0 {
                scale(s, here, weights[part] as f32);
            }
            if part + 1 < weights.len() {
                add_scaled(s, here, &after[..n_r], 1.0);
            }
        }
    }
}
