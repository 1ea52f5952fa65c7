//! The decoder step: least squares in V for given codes.
//!
//! ```text
//!     minimize   (1/N) Σ_s ‖e_s − Δ z_s‖² + λ ‖Δ‖²       over Δ = V − V₀, with e_s = x_r^s − V₀ z_s
//!     (A + λ I) Δᵀ = (1/N) Σ_s z_s e_sᵀ,                 A = (1/N) Σ_s z_s z_sᵀ
//! ```
//!
//! **Rank and ridge.** λ is `ridge` times the mean of the diagonal of A over the latents in use. No rank is decided: a direction whose
//! eigenvalue is far below λ stays as it was, a latent without a use does exactly, and one far above λ is optimal to λ's share of it. The
//! step never raises the loss in exact arithmetic, since Δ = 0 is allowed.
//!
//! | n_q | solver | multiply-adds | memory in bytes |
//! |---|---|---|---|
//! | up to [`DENSE`] | Cholesky's factor of A + λ I in f64 | N k² + N k n_r + n_q³/6 + n_q² n_r | 8 n_q² + 12 n_q n_r |
//! | above | conjugate gradients in f32 on all n_r right-hand sides at once, from Δ = 0, so that V₀ is the warm start, with the diagonal as preconditioner; every right-hand side has its own step lengths, and all share one product | 2 N k n_r for each product, whose gathers read 8 N k n_r bytes | 4 N n_r + 16 n_q n_r |

use super::codes::Codes;
use super::kernels::{self, Table};
use super::problem::Problem;
use faer::linalg::cholesky::llt;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::{Mat, Par};
use rayon::prelude::*;

/// Largest n_q whose normal equations are factored.
pub const DENSE: usize = 2000;
/// Right-hand sides that are solved at a time, and rows whose products are added at a time.
const PANEL: usize = 64;

/// Parameters of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Solve {
    /// λ over the mean of the diagonal.
    pub ridge: f64,
    /// Most products of conjugate gradients.
    pub iterations: usize,
    /// They end when the residual of every right-hand side is at most this share of what it was.
    pub tolerance: f64,
    /// Largest n_q whose normal equations are factored.
    pub dense: usize,
}

/// Moves the decoder to the minimiser; `residuals` are those of the decoder as it is. Returns the number of sparse products.
pub(super) fn step(
    problem: &Problem<'_>,
    codes: &Codes,
    residuals: &[f32],
    solve: Solve,
    decoder: &mut [f32],
) -> usize {
    let n_r = problem.targets.dimension();
    let share = 1.0 / problem.count() as f64;
    let diagonal: Vec<f64> = (0..codes.n_q())
        .into_par_iter()
        .map(|i| {
            codes.uses(i).iter().map(|(_, entry)| f64::from(codes.values[*entry as usize]).powi(2)).sum::<f64>() * share
        })
        .collect();
    let used = diagonal.iter().filter(|a| **a > 0.0).count();
    if used == 0 {
        return 0;
    }
    let lambda = solve.ridge * diagonal.iter().sum::<f64>() / used as f64;
    let mut right = vec![0.0_f32; decoder.len()];
    let rows = Table { data: residuals, width: n_r };
    kernels::collect(problem.isa, codes, &codes.values, share as f32, rows, None, &mut right);
    if codes.n_q() <= solve.dense {
        factored(codes, share, lambda, &right, n_r, decoder);
        1
    } else {
        gradients(problem, codes, &diagonal, lambda, right, solve, decoder)
    }
}

/// By Cholesky's factor of A + λ I; the decoder stays as it is where rounding leaves none.
fn factored(codes: &Codes, share: f64, lambda: f64, right: &[f32], n_r: usize, decoder: &mut [f32]) {
    let n_q = codes.n_q();
    let mut A = Mat::<f64>::zeros(n_q, n_q);
    A.par_col_iter_mut().enumerate().for_each(|(i, mut column)| {
        for (s, entry) in codes.uses(i) {
            let z = share * f64::from(codes.values[*entry as usize]);
            let (latents, values) = codes.sample(*s as usize);
            latents.iter().zip(values).for_each(|(j, other)| column[*j as usize] += z * f64::from(*other));
        }
        // A latent without a use keeps its column whatever stands here.
        column[i] += if codes.uses(i).is_empty() { 1.0 } else { lambda };
    });
    let par = Par::Seq;
    let scratch = llt::factor::cholesky_in_place_scratch::<f64>(n_q, par, Default::default());
    let mut memory = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut memory);
    if llt::factor::cholesky_in_place(A.as_mut(), Default::default(), par, stack, Default::default()).is_err() {
        return;
    }
    // Panels of right-hand sides: columns of the decoder are latents, so that a panel is a range of coordinates of all of them.
    let panels: Vec<usize> = (0..n_r).step_by(PANEL).collect();
    let solved: Vec<Mat<f64>> = panels
        .par_iter()
        .map(|&from| {
            let width = PANEL.min(n_r - from);
            let mut solution = Mat::from_fn(n_q, width, |i, c| f64::from(right[i * n_r + from + c]));
            let mut memory = MemBuffer::new(llt::solve::solve_in_place_scratch::<f64>(n_q, width, par));
            llt::solve::solve_in_place(A.as_ref(), solution.as_mut(), par, MemStack::new(&mut memory));
            solution
        })
        .collect();
    decoder.par_chunks_mut(n_r).enumerate().for_each(|(i, v)| {
        for (v, c) in v.iter_mut().zip(0..) {
            *v = (f64::from(*v) + solved[c / PANEL][(i, c % PANEL)]) as f32;
        }
    });
}

/// Sums over rows of products of entries, one for each column: rows in panels, panels in order.
fn columns(a: &[f32], b: &[f32], n_r: usize) -> Vec<f64> {
    let panels = a.par_chunks(PANEL * n_r).zip(b.par_chunks(PANEL * n_r));
    let parts: Vec<Vec<f64>> = panels
        .map(|(a, b)| {
            let mut sums = vec![0.0; n_r];
            for (a, b) in a.chunks_exact(n_r).zip(b.chunks_exact(n_r)) {
                sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += f64::from(*a) * f64::from(*b));
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0; n_r];
    parts.iter().for_each(|part| sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x));
    sums
}

/// By conjugate gradients (Hestenes and Stiefel 1952) with the diagonal of A + λ I as preconditioner, all right-hand sides at once.
fn gradients(
    problem: &Problem<'_>,
    codes: &Codes,
    diagonal: &[f64],
    lambda: f64,
    right: Vec<f32>,
    solve: Solve,
    decoder: &mut [f32],
) -> usize {
    let (n_r, isa) = (problem.targets.dimension(), problem.isa);
    let share = 1.0 / problem.count() as f32;
    let scaled = |r: &[f32], out: &mut [f32]| {
        let rows = out.par_chunks_mut(n_r).zip(r.par_chunks(n_r)).zip(diagonal);
        rows.for_each(|((out, r), a)| {
            let factor = if *a > 0.0 { (1.0 / (a + lambda)) as f32 } else { 0.0 };
            out.iter_mut().zip(r).for_each(|(o, r)| *o = factor * r);
        });
    };
    let mut r = right;
    let mut scaled_r = vec![0.0_f32; r.len()];
    scaled(&r, &mut scaled_r);
    let mut direction = scaled_r.clone();
    let mut image = vec![0.0_f32; r.len()];
    let mut moved = vec![0.0_f32; problem.count() * n_r];
    let start = columns(&r, &scaled_r, n_r);
    let mut rho = start.clone();
    let mut products = 0;
    while products < solve.iterations {
        let table = Table { data: &direction, width: n_r };
        kernels::decode(isa, codes, &codes.values, 1.0, table, None, &mut moved);
        let rows = Table { data: &moved, width: n_r };
        kernels::collect(isa, codes, &codes.values, share, rows, Some((lambda as f32, table)), &mut image);
        products += 1;
        let curvature = columns(&direction, &image, n_r);
        let steps: Vec<f32> =
            rho.iter().zip(&curvature).map(|(r, c)| if *c > 0.0 { (r / c) as f32 } else { 0.0 }).collect();
        let rows = decoder.par_chunks_mut(n_r).zip(r.par_chunks_mut(n_r));
        rows.zip(direction.par_chunks(n_r).zip(image.par_chunks(n_r))).for_each(|((v, r), (d, a))| {
            for c in 0..n_r {
                v[c] += steps[c] * d[c];
                r[c] -= steps[c] * a[c];
            }
        });
        scaled(&r, &mut scaled_r);
        let next = columns(&r, &scaled_r, n_r);
        if next.iter().zip(&start).all(|(now, start)| *now <= solve.tolerance.powi(2) * start) {
            break;
        }
        let ratios: Vec<f32> =
            next.iter().zip(&rho).map(|(new, old)| if *old > 0.0 { (new / old) as f32 } else { 0.0 }).collect();
        direction.par_chunks_mut(n_r).zip(scaled_r.par_chunks(n_r)).for_each(|(d, r)| {
            for c in 0..n_r {
                d[c] = r[c] + ratios[c] * d[c];
            }
        });
        rho = next;
    }
    products
}
