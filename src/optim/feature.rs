//! The W-step where features are independent: it splits by feature.
//!
//! If the p_d are independent (n ≤ n_p), every n_q×n matrix of codes is W P for some W. The best codes in the closure of the cell then solve n
//! problems of non-negative least squares,
//!
//! ```text
//!     min ‖r_d − Σ_{i: d∈F_i} v_i z_id‖²     s.t.  z_id ≥ c,
//! ```
//!
//! codes of neurons that d does not fire stay as they are, and W₀ + (Z − W₀P) P⁺ is the nearest encoder with these codes.
//!
//! Reference: Lawson, Hanson 1974, ch. 23.

use super::cell::{Cell, column, dot};
use super::dictionary::coding::{Gram, Solver, nonnegative};
use super::encoder_step::EncoderStep;
use super::price::Sizes;
use crate::theory::loss::{ApproximateLoss, Weights};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef};

/// Products with what is left of a target below this fraction of it are rounding.
const ROUNDING: f64 = 64.0 * f64::EPSILON;

/// The W-step with `inverse` = P⁺ (n×n_p).
pub(super) fn by_features(loss: &ApproximateLoss, inverse: MatRef<'_, f64>, cell: &Cell, at: &Weights) -> EncoderStep {
    let (n, n_q, c) = (loss.n(), at.n_q(), loss.c());
    // Unit columns, so that all codes of the least-squares problems are of one scale; a column of zeros has no code.
    let norms: Vec<f64> = (0..n_q).map(|i| dot(at.V.col_as_slice(i), at.V.col_as_slice(i)).sqrt()).collect();
    let mut U = at.V.clone();
    for (i, norm) in norms.iter().enumerate().filter(|(_, norm)| **norm > 0.0) {
        U.col_as_slice_mut(i).iter_mut().for_each(|u| *u /= norm);
    }
    let mut products = Mat::zeros(n_q, n_q);
    matmul(&mut products, Accum::Replace, U.transpose(), &U, 1.0, loss.par());
    let mut firing: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (i, on) in cell.on.iter().enumerate().filter(|(i, _)| norms[*i] > 0.0) {
        on.iter().for_each(|&d| firing[d].push(i));
    }
    let Z = cell.codes(at.W.as_ref(), loss.P());
    let mut change = Mat::zeros(n_q, n);
    let mut silent: Vec<bool> = cell.on.iter().zip(&norms).map(|(on, norm)| !on.is_empty() && *norm > 0.0).collect();
    let mut solver = Solver::default();
    let (mut decrease, mut multipliers) = (0.0, Vec::new());
    // Products of columns, W P and the change of W; then what every feature takes.
    let sizes = Sizes::new(loss, n_q);
    let mut work = (n_q * n_q * loss.n_r() + cell.firing() * loss.n_p()) as f64 + sizes.codes();
    for (d, neurons) in firing.iter().enumerate() {
        let (mass, r) = (loss.masses()[d], column(loss.R(), d));
        if neurons.is_empty() || mass == 0.0 {
            continue;
        }
        let m = neurons.len();
        work += (m * loss.n_r() * if c > 0.0 { 2 } else { 1 } + loss.n_r() + 2 * m * m) as f64;
        let gram: Vec<f64> =
            neurons.iter().flat_map(|&i| neurons.iter().map(move |&j| (i, j))).map(|ij| products[ij]).collect();
        // In terms of y = ‖v_i‖ (z_i − c) ≥ 0, with the target r_d − c Σ v_i.
        let mut target = r.to_vec();
        for &i in neurons.iter().filter(|_| c > 0.0) {
            target.iter_mut().zip(at.V.col_as_slice(i)).for_each(|(t, v)| *t -= c * v);
        }
        let pulls: Vec<f64> = neurons.iter().map(|&i| dot(U.col_as_slice(i), &target)).collect();
        let energy = dot(&target, &target);
        nonnegative(Gram::new(&gram, m), &pulls, energy, 0.0, m, &mut solver);
        let mut best = vec![0.0; m];
        let mut free = vec![false; m];
        for (k, y) in solver.codes() {
            (best[k as usize], free[k as usize]) = (y, true);
        }
        let times = |y: &[f64]| -> Vec<f64> { (0..m).map(|k| dot(&gram[k * m..(k + 1) * m], y)).collect() };
        // Half the gradient at the minimum: 0 where the code is free, ≥ 0 where it is c.
        let slope: Vec<f64> = times(&best).iter().zip(&pulls).map(|(g, p)| g - p).collect();
        let moved: Vec<f64> = neurons.iter().zip(&best).map(|(&i, y)| y - norms[i] * (Z[(i, d)] - c)).collect();
        // What is gained as a squared distance and what the multipliers say, neither of which cancels.
        let gain = dot(&moved, &times(&moved)) - 2.0 * dot(&moved, &slope);
        let least = ROUNDING * energy.sqrt();
        for (k, &i) in neurons.iter().enumerate().filter(|(k, _)| !free[*k] && slope[*k] > least) {
            multipliers.push((i, d, 2.0 * mass * slope[k] * norms[i]));
        }
        // Where rounding alone would be gained, the codes stay, although others may be as good.
        let taken = gain > ROUNDING * ROUNDING * energy;
        for (k, &i) in neurons.iter().enumerate() {
            silent[i] &= if taken { best[k] == 0.0 } else { Z[(i, d)] == 0.0 };
            if taken {
                change[(i, d)] = moved[k] / norms[i];
            }
        }
        if taken {
            decrease += mass * gain;
        }
    }
    multipliers.sort_by_key(|&(i, d, _)| (i, d));
    let mut W = at.W.clone();
    matmul(&mut W, Accum::Add, &change, inverse, 1.0, loss.par());
    // At c = 0 a row whose codes are all 0 is 0, so that no decoder step takes what rounding leaves of them for codes.
    for i in (0..n_q).filter(|&i| c == 0.0 && silent[i]) {
        W.row_mut(i).fill(0.0);
    }
    let cost = sizes.cost(work + solver.work() as f64);
    EncoderStep { W, decrease, multipliers, cost, converged: true }
}
