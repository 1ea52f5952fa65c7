//! The L1 and L0 penalties, and the straight-through estimates of JumpReLU.

use super::backward::{Backward, Source};
use super::codes::{ByLatent, Sparse};
use super::simd::{Isa, Kernel, Simd};
use super::state::{CHUNK, Params};
use super::vector::{score, squared_norm};
use crate::backend::score::exp;
use crate::sdl::{Activation, Objective};
use rayon::prelude::*;

/// λ₁ Σ_i c_i |z_i| + λ₀ L0 for every row; `sizes` has z, or π with Gated.
pub fn penalties(
    isa: Isa,
    params: &Params,
    objective: &Objective,
    sizes: &Sparse,
    norms: &mut Vec<f32>,
    out: &mut Vec<f64>,
) {
    out.clear();
    out.resize(sizes.rows(), 0.0);
    let l0 = if matches!(params.model.activation, Activation::JumpRelu { .. }) { objective.l0 } else { 0.0 };
    if objective.l1 == 0.0 && l0 == 0.0 {
        return;
    }
    norms.clear();
    norms.resize(params.shape().n_q, 1.0);
    if objective.l1_by_decoder_norm {
        let columns = params.decoder().par_chunks(params.shape().n_r);
        columns.zip(&mut *norms).for_each(|(v, norm)| *norm = isa.run(Norm(v)));
    }
    out.par_iter_mut().enumerate().for_each(|(b, penalty)| {
        let (latents, values) = sizes.row(b);
        let each = latents.iter().zip(values).map(|(i, z)| f64::from(norms[*i as usize]) * f64::from(z.abs()));
        *penalty = objective.l1 * each.sum::<f64>() + l0 * latents.len() as f64;
    });
}

struct Norm<'a>(&'a [f32]);

impl Kernel for Norm<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        squared_norm(s, self.0).sqrt()
    }
}

/// −(θ²/ε)·∂loss/∂z − w_b λ₀ θ/ε for every latent near its threshold, summed in the order of rows.
pub fn estimates(
    of: Backward<'_>,
    source: &Source<'_>,
    band: &ByLatent,
    logs: &[f32],
    (l0, bandwidth): (f64, f64),
    out: &mut [f32],
) {
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
        of.isa.run(Estimates { of, source, band, l0, bandwidth, logs, first: chunk * CHUNK, out });
    });
}

struct Estimates<'a> {
    of: Backward<'a>,
    source: &'a Source<'a>,
    band: &'a ByLatent,
    l0: f64,
    bandwidth: f64,
    logs: &'a [f32],
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Estimates<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, source, band, l0, bandwidth, logs, first, out } = self;
        let n_r = of.shape.n_r;
        for (i, out) in (first..).zip(out) {
            let v = &of.decoder[i * n_r..(i + 1) * n_r];
            let by_norm = of.l1_by_decoder_norm && source.l1 != 0.0;
            let norm = if by_norm { squared_norm(s, v).sqrt() } else { 1.0 };
            let theta = f64::from(exp(logs[i]));
            let mut sum = 0.0;
            for entry in band.of(i) {
                let line = entry.row as usize * source.parts + usize::from(entry.level);
                let by_code = score(s, &source.residuals[line * n_r..][..n_r], v);
                let by_code = f64::from(of.terms(source, i, entry, norm, by_code, 0.0).back);
                sum -= (theta * theta * by_code + of.weights[entry.row as usize] * l0 * theta) / bandwidth;
            }
            *out = sum as f32;
        }
    }
}
