//! How far a model is from a partial optimum of L̃: r_V exactly, r_W between two bounds.
//!
//! * r_V = L̃ − min_V L̃ = ‖E D^½ Π‖², with Π the projection on the row space of Z D^½: a decoder can reach exactly that part of the residuals. Biases stay.
//! * r_W ≤ Σ_d M_d (what the codes of feature d alone could gain if they were free, whichever latents fire on it): no row could do better. With one latent on
//!   a feature this is the minimum over its code above the threshold, which rows do reach where the p_d are independent and the other inequalities are slack.
//! * r_W ≥ what descent along the gradient of W with exact line searches gains while no activation changes, each step checked by encoding anew. In a top-k of
//!   many latents hardly a step changes no activation, and the bound is 0.

use super::features::squared;
use super::isolated::Isolated;
use crate::backend::score;
use crate::sdl::{Activation, Parameter};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, Par};
use rayon::prelude::*;
use serde::Serialize;

/// Singular values of Z D^½ below this share of the largest count as 0: codes are rounded to f32, at 2⁻²⁴ of their size.
pub const RANK: f64 = 1e-6;
/// A feature on which more latents fire counts whole in the upper bound of r_W.
pub const FREE_CODES: usize = 64;
/// Steps of the descent behind the lower bound of r_W.
const STEPS: usize = 8;
/// Rows that leave their cell go half as far, at most so many times a step; then they stay where they are.
const RETRIES: usize = 6;

/// Residuals of a point, in the units of L̃.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Residuals {
    /// r_V; absent if the singular values of the codes are not found.
    pub r_v: Option<f64>,
    /// Lower bound of r_W.
    pub r_w_low: f64,
    /// Upper bound of r_W.
    pub r_w_high: f64,
}

impl Residuals {
    /// Of a model at its features.
    pub fn of(isolated: &Isolated<'_>) -> Self {
        let high = r_w_high(isolated);
        // Rounding aside, the descent cannot gain more than there is.
        Self { r_v: r_v(isolated), r_w_low: r_w_low(isolated).min(high), r_w_high: high }
    }
}

/// ‖E D^½ Π‖².
fn r_v(isolated: &Isolated<'_>) -> Option<f64> {
    let (n, masses) = (isolated.features.n(), &isolated.features.masses);
    let fired: Vec<Vec<(usize, f64)>> = isolated.pattern(0.0).into_iter().filter(|fired| !fired.is_empty()).collect();
    if fired.is_empty() {
        return Some(0.0);
    }
    // (Z D^½)ᵀ, whose left singular vectors span the row space
    let mut Y = Mat::zeros(n, fired.len());
    for (i, fired) in fired.iter().enumerate() {
        for (d, z) in fired {
            Y[(*d, i)] = z * masses[*d].sqrt();
        }
    }
    let size = n.min(fired.len());
    let (mut U, mut s) = (Mat::zeros(n, size), Diag::zeros(size));
    let (thin, none, settings) = (ComputeSvdVectors::Thin, ComputeSvdVectors::No, Default::default());
    // One thread, so that the bits do not depend on their number.
    let mut memory = MemBuffer::new(svd_scratch::<f64>(n, fired.len(), thin, none, Par::Seq, settings));
    svd(Y.as_ref(), s.as_mut(), Some(U.as_mut()), None, Par::Seq, MemStack::new(&mut memory), settings).ok()?;
    let values: Vec<f64> = s.column_vector().iter().copied().collect();
    let rank = values.iter().take_while(|value| **value > RANK * values[0]).count();
    let along = |k: usize| {
        let mut part = vec![0.0; isolated.residuals.nrows()];
        for d in 0..n {
            let factor = masses[d].sqrt() * U[(d, k)];
            part.iter_mut().zip(isolated.residuals.col_as_slice(d)).for_each(|(x, e)| *x += factor * e);
        }
        squared(&part)
    };
    let parts: Vec<f64> = (0..rank).into_par_iter().map(along).collect();
    Some(parts.iter().sum())
}

/// The least code of latent i that fires.
fn least_code(isolated: &Isolated<'_>, i: usize) -> f64 {
    let model = isolated.model;
    match model.activation {
        Activation::TopK { .. } => f64::NEG_INFINITY,
        Activation::JumpRelu { .. } => {
            model.tensors.get(Parameter::LogThreshold).map_or(0.0, |log| f64::from(score::exp(log[i])))
        }
        Activation::BatchTopK { .. } => f64::from(model.threshold.unwrap_or(0.0)),
        Activation::Relu | Activation::TopKRelu { .. } | Activation::Gated => 0.0,
    }
}

/// Σ_d M_d of what free codes gain.
fn r_w_high(isolated: &Isolated<'_>) -> f64 {
    let gain = |d: usize| {
        let e = isolated.residuals.col_as_slice(d);
        let active: Vec<(usize, f64)> = isolated.firing(d).collect();
        let gain = match &active[..] {
            [] => 0.0,
            [(i, z)] => {
                let v = isolated.column(*i);
                let product: f64 = e.iter().zip(&v).map(|(e, v)| e * v).sum();
                let norm = squared(&v);
                let step = if norm > 0.0 { (product / norm).max(least_code(isolated, *i) - z) } else { 0.0 };
                2.0 * step * product - step * step * norm
            }
            active if active.len() <= FREE_CODES.min(e.len()) => projected(isolated, e, active),
            _ => squared(e),
        };
        isolated.features.masses[d] * gain
    };
    let gains: Vec<f64> = (0..isolated.features.n()).into_par_iter().map(gain).collect();
    gains.iter().sum()
}

/// The squared length of e on the span of the columns of these latents.
fn projected(isolated: &Isolated<'_>, e: &[f64], active: &[(usize, f64)]) -> f64 {
    let columns: Vec<Vec<f64>> = active.iter().map(|(i, _)| isolated.column(*i)).collect();
    let V = Mat::from_fn(e.len(), active.len(), |k, j| columns[j][k]);
    let qr = V.col_piv_qr();
    let Q = qr.compute_thin_Q();
    let R = qr.thin_R();
    let rank = (0..active.len()).take_while(|k| R[(*k, *k)].abs() > RANK * R[(0, 0)].abs()).count();
    (0..rank).map(|k| Q.col(k).iter().zip(e).map(|(q, e)| q * e).sum::<f64>().powi(2)).sum()
}

/// What descent inside the cell gains.
fn r_w_low(isolated: &Isolated<'_>) -> f64 {
    let start = isolated.loss();
    let mut model = isolated.model.clone();
    let mut best = start;
    for _ in 0..STEPS {
        let at = Isolated::of(&model, isolated.features);
        let Some((next, loss)) = descend(&at) else { break };
        if loss >= best {
            break;
        }
        (model, best) = (next, loss);
    }
    start - best
}

/// One step down that changes no activation, and the loss after it; none if there is no such step.
fn descend(at: &Isolated<'_>) -> Option<(crate::sdl::Model, f64)> {
    let (n_p, pattern) = (at.model.shape().n_p, at.pattern(0.0));
    let features = at.features;
    let direction = |i: usize| {
        let (v, gain) = (at.column(i), at.gain(i));
        let mut row = vec![0.0; n_p];
        for (d, _) in &pattern[i] {
            let product: f64 = at.residuals.col_as_slice(*d).iter().zip(&v).map(|(e, v)| e * v).sum();
            let factor = features.masses[*d] * gain * product;
            row.iter_mut().zip(features.P.col_as_slice(*d)).for_each(|(x, p)| *x += factor * p);
        }
        row
    };
    let mut rows: Vec<Vec<f64>> = (0..pattern.len()).into_par_iter().map(direction).collect();
    let mut longest = f64::INFINITY;
    for attempt in 0..2 * RETRIES {
        // The minimum along what is left of the direction, but not farther than before: a row that was shortened would else be lengthened again.
        let t = line_search(at, &rows)?.min(longest);
        longest = t;
        let mut model = at.model.clone();
        for (i, row) in rows.iter().enumerate() {
            let to = model.tensors.row_mut(Parameter::Encoder, i);
            to.iter_mut().zip(row).for_each(|(w, x)| *w = (f64::from(*w) + t * x) as f32);
        }
        let (loss, after) = {
            let moved = Isolated::of(&model, features);
            (moved.loss(), moved.pattern(0.0))
        };
        let features_of = |fired: &[(usize, f64)]| fired.iter().map(|(d, _)| *d).collect::<Vec<_>>();
        let changed: Vec<usize> =
            (0..rows.len()).filter(|i| features_of(&pattern[*i]) != features_of(&after[*i])).collect();
        if changed.is_empty() {
            return Some((model, loss));
        }
        let still = changed.iter().all(|i| rows[*i].iter().all(|x| *x == 0.0));
        let shorter = if attempt < RETRIES { 0.5 } else { 0.0 };
        changed.iter().for_each(|i| rows[*i].iter_mut().for_each(|x| *x *= shorter));
        if still {
            // In a top-k the other rows have pushed them out.
            longest /= 2.0;
        }
    }
    None
}

/// The minimum along W + t·rows inside the cell; none without descent.
fn line_search(at: &Isolated<'_>, rows: &[Vec<f64>]) -> Option<f64> {
    let features = at.features;
    let sums = |d: usize| {
        let p = features.P.col_as_slice(d);
        let mut change = vec![0.0; at.residuals.nrows()];
        for (i, _) in at.firing(d) {
            let rate: f64 = at.gain(i) * rows[i].iter().zip(p).map(|(x, p)| x * p).sum::<f64>();
            change.iter_mut().zip(at.model.w_d(i)).for_each(|(y, v)| *y += rate * f64::from(*v));
        }
        let along: f64 = at.residuals.col_as_slice(d).iter().zip(&change).map(|(e, y)| e * y).sum();
        (features.masses[d] * along, features.masses[d] * squared(&change))
    };
    let parts: Vec<(f64, f64)> = (0..features.n()).into_par_iter().map(sums).collect();
    let (along, square) = parts.iter().fold((0.0, 0.0), |(a, s), (b, t)| (a + b, s + t));
    (along > 0.0 && square > 0.0).then(|| along / square)
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;
    use crate::theory::loss::Weights;

    #[test]
    fn the_decoder_residual_is_that_of_the_approximate_loss() {
        for seed in 0..5 {
            let (features, weights) = planted::random(7, 4, 5, 6, seed);
            let model = planted::model(&weights, Activation::Relu);
            let found = Residuals::of(&Isolated::of(&model, &features)).r_v.unwrap();
            let expected = features.approximate_loss(0.0).unwrap().decoder_residual(&weights).unwrap();
            // f32 codes
            assert!((found - expected).abs() < 1e-4 * expected, "{found} {expected}");
        }
    }

    #[test]
    fn a_best_decoder_has_no_residual_and_dead_latents_have_none_at_all() {
        let (features, mut weights) = planted::random(7, 4, 5, 6, 0);
        weights.V = features.approximate_loss(0.0).unwrap().decoder_step(weights.W.as_ref()).unwrap().V;
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        assert!(Residuals::of(&isolated).r_v.unwrap() < 1e-9 * isolated.loss());
        let dead = Weights { W: Mat::zeros(3, 4), V: Mat::zeros(5, 3) };
        let model = planted::model(&dead, Activation::Relu);
        let residuals = Residuals::of(&Isolated::of(&model, &features));
        assert_eq!(residuals, Residuals { r_v: Some(0.0), r_w_low: 0.0, r_w_high: 0.0 });
    }

    #[test]
    fn the_bounds_meet_the_closed_form_of_a_disjoint_latent() {
        // min over a > 0 of Σ M_d ‖r_d − v a_d‖²: a_d = max(0, ⟨r_d, v⟩/‖v‖²).
        let (features, weights) = planted::pair(0.5, [1.0, 4.0], [1.0, 0.3], [0.6, 0.9]);
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let norm = 0.36 + 0.81;
        let best: f64 = (0..2)
            .map(|d| {
                let r = features.R.col_as_slice(d);
                let product = 0.6 * r[0] + 0.9 * r[1];
                features.masses[d] * (squared(r) - product.max(0.0).powi(2) / norm)
            })
            .sum();
        let expected = isolated.loss() - best;
        let residuals = Residuals::of(&isolated);
        assert!((residuals.r_w_high - expected).abs() < 1e-6, "{residuals:?} {expected}");
        // Steepest descent with condition number 4 gains all but ((4 − 1)/(4 + 1))^16 = 3e-4 of it in eight steps.
        assert!(residuals.r_w_low > 0.999 * expected, "{residuals:?} {expected}");
    }

    #[test]
    fn a_code_at_its_threshold_gains_nothing_by_falling() {
        // ⟨r, v⟩ < 0 on the second feature: its best code is 0, at the end of its cell.
        let (features, weights) = planted::pair(-0.5, [1.0, 1.0], [1.0, 0.25], [1.0, 0.0]);
        let model = planted::model(&weights, Activation::Relu);
        let residuals = Residuals::of(&Isolated::of(&model, &features));
        // first feature: code 1 is its best; second: ‖r − ¼v‖² − ‖r‖² = ¼ + 1/16
        assert!((residuals.r_w_high - 0.3125).abs() < 1e-6, "{residuals:?}");
        assert!(residuals.r_w_low > 0.0 && residuals.r_w_low <= residuals.r_w_high);
    }

    #[test]
    fn the_lower_bound_is_reached_inside_the_cell_and_below_the_upper_one() {
        for seed in 0..6 {
            let (features, weights) = planted::random(8, 5, 5, 4, seed);
            for activation in [Activation::Relu, Activation::TopK { k: 2 }, Activation::TopKRelu { k: 2 }] {
                let residuals = Residuals::of(&Isolated::of(&planted::model(&weights, activation), &features));
                assert!(0.0 <= residuals.r_w_low && residuals.r_w_low <= residuals.r_w_high, "{residuals:?}");
            }
        }
    }
}
