//! x̂_r − x_r by gathering decoder columns, and what the loss sees of it.

use super::codes::Sparse;
use super::shared::add_skip;
use super::simd::{Isa, Kernel, Simd};
use super::state::{Batch, Params};
use super::vector::{add_scaled, gather, scale, squared_norm};
use crate::sdl::{Parameter, Scales};
use rayon::prelude::*;

/// Residuals of a batch.
#[derive(Debug, Clone, Default)]
pub struct Residuals {
    /// For every row and every part s: Σ_{t ≥ s} λ_t e^{(t)}, which is what an active latent of level s has as its gradient, up to 2 w_b.
    pub rows: Vec<f32>,
    /// ‖e^{(s)}‖² for every row and part.
    pub squares: Vec<f64>,
    /// λ₁ Σ_i c_i |z_i| for every row.
    pub penalties: Vec<f64>,
    /// c_i.
    norms: Vec<f32>,
}

/// Everything but the latents' part of x̂_r.
#[derive(Clone, Copy)]
pub struct Decode<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    pub batch: &'a Batch,
    pub scales: &'a Scales,
    pub l1: f64,
    pub l1_by_decoder_norm: bool,
}

impl Decode<'_> {
    /// Residuals of all rows and parts.
    pub fn run(self, codes: &Sparse, out: &mut Residuals) {
        let (n_r, parts, rows) = (self.params.shape().n_r, self.scales.weights().len(), self.batch.rows);
        out.rows.resize(rows * parts * n_r, 0.0);
        out.squares.resize(rows * parts, 0.0);
        if n_r == 0 {
            return;
        }
        self.penalise(codes, out);
        let bias = self.params.block(Parameter::DecoderBias);
        let prepared = self.params.block(Parameter::Skip).is_some();
        if prepared {
            out.rows.par_chunks_mut(parts * n_r).for_each(|row| start(&mut row[..n_r], bias));
            add_skip(self.params, self.batch, parts * n_r, &mut out.rows);
        }
        let out = out.rows.par_chunks_mut(parts * n_r).zip(out.squares.par_chunks_mut(parts));
        out.enumerate().with_min_len(8).for_each(|(b, (residuals, squares))| {
            self.isa.run(Row { decode: self, codes, b, prepared, residuals, squares });
        });
    }

    fn penalise(self, codes: &Sparse, out: &mut Residuals) {
        let Residuals { penalties, norms, .. } = out;
        penalties.clear();
        penalties.resize(codes.rows(), 0.0);
        if self.l1 == 0.0 {
            return;
        }
        norms.resize(self.params.shape().n_q, 1.0);
        if self.l1_by_decoder_norm {
            let columns = self.params.decoder().par_chunks(self.params.shape().n_r);
            columns.zip(&mut *norms).for_each(|(v, norm)| *norm = self.isa.run(Norm(v)));
        }
        penalties.par_iter_mut().enumerate().for_each(|(b, penalty)| {
            let (latents, values) = codes.row(b);
            let each = latents.iter().zip(values).map(|(i, z)| f64::from(norms[*i as usize]) * f64::from(z.abs()));
            *penalty = self.l1 * each.sum::<f64>();
        });
    }
}

struct Norm<'a>(&'a [f32]);

impl Kernel for Norm<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        squared_norm(s, self.0).sqrt()
    }
}

struct Row<'a> {
    decode: Decode<'a>,
    codes: &'a Sparse,
    b: usize,
    /// b_D + W_S x_p stands there already.
    prepared: bool,
    residuals: &'a mut [f32],
    squares: &'a mut [f64],
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { decode, codes, b, prepared, residuals, squares } = self;
        let (n_r, weights) = (decode.params.shape().n_r, decode.scales.weights());
        let table = decode.params.decoder();
        let target = &decode.batch.targets()[b * n_r..(b + 1) * n_r];
        let (latents, values) = codes.row(b);
        let mut level: Vec<(u32, f32)> = Vec::with_capacity(latents.len());
        for part in 0..weights.len() {
            let (before, here) = residuals.split_at_mut(part * n_r);
            let here = &mut here[..n_r];
            match part {
                0 => {
                    if !prepared {
                        start(here, decode.params.block(Parameter::DecoderBias));
                    }
                    add_scaled(s, here, target, -1.0);
                }
                _ => here.copy_from_slice(&before[(part - 1) * n_r..]),
            }
            level.clear();
            let entries = latents.iter().zip(values).enumerate();
            let first = codes.offsets[b];
            level.extend(entries.filter(|(j, _)| codes.level(first + j) == part).map(|(_, (i, z))| (*i, *z)));
            gather(s, here, table, &level);
            squares[part] = f64::from(squared_norm(s, here));
        }
        for part in (0..weights.len()).rev() {
            let (here, after) = residuals[part * n_r..].split_at_mut(n_r);
            if weights[part] != 1.0 {
                scale(s, here, weights[part] as f32);
            }
            if part + 1 < weights.len() {
                add_scaled(s, here, &after[..n_r], 1.0);
            }
        }
    }
}

fn start(out: &mut [f32], bias: Option<&[f32]>) {
    match bias {
        Some(bias) => out.copy_from_slice(bias),
        None => out.fill(0.0),
    }
}
