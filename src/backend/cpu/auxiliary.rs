//! AuxK (eq. 8): what dead latents make of the part that is missing.

use super::codes::Sparse;
use super::simd::{Isa, Kernel, Simd};
use super::state::{Batch, Params};
use super::vector::{add_scaled, gather_each, scale, squared_norm};
use crate::sdl::{AuxK, AuxTarget};
use rayon::prelude::*;

/// The auxiliary reconstruction.
#[derive(Clone, Copy)]
pub struct Auxiliary<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    pub batch: &'a Batch,
    pub aux: AuxK,
    /// Rows of λ·e, the last parts of the residuals.
    pub residuals: &'a [f32],
    pub parts: usize,
    /// λ of the last part.
    pub lambda: f64,
    /// t takes part; else only the latents.
    pub affine: bool,
    /// How many latents each row has, where some of them are elsewhere.
    pub counts: Option<&'a [u32]>,
}

impl Auxiliary<'_> {
    /// ê − t for every row that has dead latents, or what these latents and, with `affine`, t have in it; false where nothing was looked for.
    pub fn start(self, codes: &Sparse, rows: &mut Vec<f32>, squares: &mut Vec<f64>) -> bool {
        let n_r = self.params.shape().n_r;
        squares.clear();
        // An evaluation has not looked for dead latents.
        if codes.rows() < self.batch.rows {
            return false;
        }
        rows.resize(self.batch.rows * n_r, 0.0);
        squares.resize(self.batch.rows, 0.0);
        let rows = rows.par_chunks_mut(n_r).enumerate().with_min_len(8);
        rows.for_each(|(b, out)| self.isa.run(Start { aux: self, codes, b, out }));
        true
    }

    /// λ_aux (ê − t) from what [`Auxiliary::start`] has left on all ranks, and λ_aux ‖ê − t‖², 0 for rows without dead latents.
    pub fn finish(self, codes: &Sparse, rows: &mut [f32], squares: &mut [f64]) {
        let rows = rows.par_chunks_mut(self.params.shape().n_r).zip(squares).enumerate().with_min_len(8);
        rows.for_each(|(b, (out, square))| {
            *square = if self.is_empty(codes, b) { 0.0 } else { self.isa.run(Finish { weight: self.aux.weight, out }) };
        });
    }

    fn is_empty(&self, codes: &Sparse, b: usize) -> bool {
        self.counts.map_or_else(|| codes.row(b).0.is_empty(), |counts| counts[b] == 0)
    }
}

struct Start<'a> {
    aux: Auxiliary<'a>,
    codes: &'a Sparse,
    b: usize,
    out: &'a mut [f32],
}

impl Kernel for Start<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { aux, codes, b, out } = self;
        if aux.is_empty(codes, b) {
            return;
        }
        let (latents, values) = codes.row(b);
        let n_r = out.len();
        match aux.aux.target {
            _ if !aux.affine => out.fill(0.0),
            AuxTarget::Residual => {
                out.copy_from_slice(&aux.residuals[((b + 1) * aux.parts - 1) * n_r..][..n_r]);
                if aux.lambda != 1.0 {
                    scale(s, out, (1.0 / aux.lambda) as f32);
                }
            }
            AuxTarget::Target => {
                out.fill(0.0);
                add_scaled(s, out, &aux.batch.targets()[b * n_r..(b + 1) * n_r], -1.0);
            }
        }
        gather_each(s, out, aux.params.decoder(), latents.iter().copied().zip(values.iter().copied()));
    }
}

struct Finish<'a> {
    weight: f64,
    out: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let square = f64::from(squared_norm(s, self.out));
        scale(s, self.out, self.weight as f32);
        self.weight * square
    }
}
