//! The direction of the encoder step: least squares in W within the cell, for a given decoder.
//!
//! ```text
//!     minimize   (1/N) Σ_s ‖e_s − Σ_{i ∈ S_s} v_i ⟨d_i, x_p^s⟩‖² + ρ ‖D‖²        over D = W − W₀, supports S_s kept
//!     H·D + ρ D = G,      (H·D)_i = (1/N) Σ_{s: i ∈ S_s} ⟨v_i, Σ_{j ∈ S_s} v_j ⟨d_j, x_p^s⟩⟩ x_p^s,      G_i = (1/N) Σ_{s: i ∈ S_s} ⟨v_i, e_s⟩ x_p^s
//! ```
//!
//! G is −½ of the gradient in W, H half of the Hessian within the cell. H couples all latents that share a sample, has n_q n_p rows, and is
//! never formed. Conjugate gradients (Hestenes and Stiefel 1952) begin at D = 0, with one number for each latent as preconditioner, the
//! mean of its diagonal: ‖v_i‖² (1/N) Σ_s ‖x_p^s‖²/n_p + ρ. Their iterates minimise the quadratic over growing spaces, so that D is a
//! direction of descent wherever they are stopped.
//!
//! # Cost
//! A product takes 2 N k (n_p + n_r) multiply-adds in gathers: rows of D and of V by sample, 4 N k (n_p + n_r) bytes (those of V twice, the
//! second time from the cache), and rows of X_p by latent, 4 N k n_p bytes. They are bound by memory where W and V do not fit in a cache:
//! at N = 100 000, k = 64, n_p = n_r = 768 a product reads 59 GB. State: 24 n_q n_p bytes for G, D, the residual, the preconditioned
//! residual, the search direction and its image, and 4 N k for the products; beside them the search holds X_p and X_r, 4 N n_r for
//! residuals, twice 16 N k for codes by sample and by latent, and two models.

use super::super::Expired;
use super::codes::Codes;
use super::kernels::{self, Table};
use super::problem::Problem;
use rayon::prelude::*;

/// The direction that conjugate gradients have found.
pub(super) struct Direction {
    /// D, n_q × n_p.
    pub D: Vec<f32>,
    /// 2⟨G, D⟩ − ⟨D, H·D⟩: by how much the full step lowers the loss if no pattern changes.
    pub decrease: f64,
    /// Products with H.
    pub products: usize,
}

/// Parameters of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Solve {
    /// ρ over the mean of the diagonal of H.
    pub proximal: f64,
    /// Most products.
    pub iterations: usize,
    /// The end: residual in the preconditioner's norm at most this share of its start.
    pub tolerance: f64,
}

/// H·D + ρ D.
pub(super) fn product(
    problem: &Problem<'_>,
    codes: &Codes,
    decoder: &[f32],
    rho: f32,
    D: &[f32],
    products: &mut Vec<f32>,
    out: &mut [f32],
) {
    let (inputs, n_p) = (problem.x_p(), problem.inputs.dimension());
    let decoder = Table { data: decoder, width: problem.targets.dimension() };
    let direction = Table { data: D, width: n_p };
    products.resize(codes.latents.len(), 0.0);
    kernels::curvature(problem.isa, codes, inputs, direction, decoder, products);
    let share = 1.0 / problem.count() as f32;
    kernels::collect(problem.isa, codes, products, share, inputs, Some((rho, direction)), out);
}

/// G.
pub(super) fn gradient(problem: &Problem<'_>, codes: &Codes, decoder: &[f32], residuals: &[f32], out: &mut [f32]) {
    let n_r = problem.targets.dimension();
    let mut products = vec![0.0; codes.latents.len()];
    let (table, rows) = (Table { data: decoder, width: n_r }, Table { data: residuals, width: n_r });
    kernels::products(problem.isa, codes, table, rows, &mut products);
    kernels::collect(problem.isa, codes, &products, 1.0 / problem.count() as f32, problem.x_p(), None, out);
}

/// The direction from here; none if G is 0. When the time is over the products end, after the first at least.
pub(super) fn direction(
    problem: &Problem<'_>,
    codes: &Codes,
    decoder: &[f32],
    residuals: &[f32],
    solve: Solve,
    expired: &Expired<'_>,
) -> Option<Direction> {
    let (n_p, n_r, n_q) = (problem.inputs.dimension(), problem.targets.dimension(), codes.n_q());
    let energies: Vec<f64> = (0..problem.count())
        .into_par_iter()
        .map(|s| kernels::dot(problem.inputs.row(s), problem.inputs.row(s)))
        .collect();
    let share = 1.0 / (problem.count() * n_p) as f64;
    let diagonal: Vec<f64> = (0..n_q)
        .into_par_iter()
        .map(|i| {
            let v = &decoder[i * n_r..(i + 1) * n_r];
            kernels::dot(v, v) * codes.uses(i).iter().map(|(s, _)| energies[*s as usize]).sum::<f64>() * share
        })
        .collect();
    let used = diagonal.iter().filter(|a| **a > 0.0).count();
    let rho = solve.proximal * diagonal.iter().sum::<f64>() / used.max(1) as f64;
    let mut G = vec![0.0_f32; n_q * n_p];
    gradient(problem, codes, decoder, residuals, &mut G);
    let scaled = |r: &[f32], out: &mut [f32]| {
        let rows = out.par_chunks_mut(n_p).zip(r.par_chunks(n_p)).zip(&diagonal);
        rows.for_each(|((out, r), a)| {
            let factor = if *a > 0.0 { (1.0 / (a + rho)) as f32 } else { 0.0 };
            out.iter_mut().zip(r).for_each(|(o, r)| *o = factor * r);
        });
    };
    let mut r = G.clone();
    let mut scaled_r = vec![0.0_f32; r.len()];
    scaled(&r, &mut scaled_r);
    let start = kernels::inner(&r, &scaled_r, n_p);
    if !(start > 0.0 && start.is_finite()) {
        return None;
    }
    let mut search = scaled_r.clone();
    let mut image = vec![0.0_f32; r.len()];
    let mut D = vec![0.0_f32; r.len()];
    let (mut work, mut norm, mut products) = (Vec::new(), start, 0);
    while products < solve.iterations {
        if products > 0 && expired() {
            break;
        }
        product(problem, codes, decoder, rho as f32, &search, &mut work, &mut image);
        products += 1;
        let curvature = kernels::inner(&search, &image, n_p);
        if curvature <= 0.0 {
            break;
        }
        let step = (norm / curvature) as f32;
        kernels::add(&mut D, step, &search);
        kernels::add(&mut r, -step, &image);
        scaled(&r, &mut scaled_r);
        let next = kernels::inner(&r, &scaled_r, n_p);
        if next <= solve.tolerance.powi(2) * start {
            break;
        }
        let ratio = (next / norm) as f32;
        search.par_chunks_mut(n_p).zip(scaled_r.par_chunks(n_p)).for_each(|(p, r)| {
            p.iter_mut().zip(r).for_each(|(p, r)| *p = r + ratio * *p);
        });
        norm = next;
    }
    // H·D + ρ D = G − r, so that ⟨D, H·D⟩ needs no further product.
    let bent = kernels::inner(&G, &D, n_p) - kernels::inner(&r, &D, n_p) - rho * kernels::inner(&D, &D, n_p);
    let decrease = 2.0 * kernels::inner(&G, &D, n_p) - bent;
    Some(Direction { D, decrease, products })
}
