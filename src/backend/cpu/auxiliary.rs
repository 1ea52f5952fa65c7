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
}

impl Auxiliary<'_> {
    /// λ_aux (ê − t) for every row that has dead latents, and λ_aux ‖ê − t‖², 0 without any.
    pub fn run(self, codes: &Sparse, rows: &mut Vec<f32>, squares: &mut Vec<f64>) {
        let n_r = self.params.shape().n_r;
        squares.clear();
        // An evaluation has not looked for dead latents.
        if codes.rows() < self.batch.rows {
            return;
        }
        rows.resize(self.batch.rows * n_r, 0.0);
        squares.resize(self.batch.rows, 0.0);
        let out = rows.par_chunks_mut(n_r).zip(squares).enumerate();
        out.with_min_len(8).for_each(|(b, (out, square))| *square = self.isa.run(Row { aux: self, codes, b, out }));
    }
}

struct Row<'a> {
    aux: Auxiliary<'a>,
    codes: &'a Sparse,
    b: usize,
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Self { aux, codes, b, out } = self;
        let (latents, values) = codes.row(b);
        if latents.is_empty() {
            return 0.0;
        }
        let n_r = out.len();
        let weight = aux.aux.weight;
        match aux.aux.target {
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
        let square = f64::from(squared_norm(s, out));
        scale(s, out, weight as f32);
        weight * square
    }
}
