//! Upper values of the global optimum: losses of points.
//!
//! Every multiset of realizable rows is a pattern up to the order of the neurons. Where the codes of its cell have a kernel
//! ([`super::kernel`]), the best x gives encoder rows whose codes are orthogonal to it; the other starts are rows inside the cells, improved
//! by exact line searches along the gradient with the decoder taken afresh at every step.

use super::GlobalError;
use super::kernel::{Cones, KernelGroup, Known};
use crate::bench::features::stream;
use crate::exact::rational::{from_f64, to_f64};
use crate::exact::{Rational, rational};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use crate::theory::partial_optimum::overlap::v_step;
use crate::theory::pattern::Pattern;
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::region::RealizableRow;
use faer::{Mat, Par};
use rand::RngExt;
use std::collections::BTreeSet;

/// An encoder with the loss of its best decoder, in f64.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// L̃ with the best decoder.
    pub value: f64,
    /// W, n_q×n_p.
    pub W: Mat<f64>,
}

/// All multisets of `size` of `count` indices, in lexicographic order.
pub fn multisets(count: usize, size: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![Vec::new()];
    for _ in 0..size {
        let longer = |set: Vec<usize>| {
            let first = set.last().copied().unwrap_or(0);
            (first..count).map(move |next| set.iter().copied().chain([next]).collect::<Vec<_>>())
        };
        sets = sets.into_iter().flat_map(longer).collect();
    }
    sets
}

/// The number of multisets, or `usize::MAX` if that is larger.
pub fn count_multisets(count: usize, size: usize) -> usize {
    (0..size).fold(1usize, |sets, k| sets.saturating_mul(count + k) / (k + 1))
}

/// What is known of neurons with these firing sets.
pub fn decided(n: usize, sets: &[&BTreeSet<usize>]) -> Vec<Known> {
    sets.iter().map(|set| (0..n).map(|d| Some(set.contains(&d))).collect()).collect()
}

/// The loss with the best decoder.
pub fn value(loss: &ApproximateLoss, W: &Mat<f64>) -> Result<f64, LossError> {
    let V = loss.decoder_step(W.as_ref())?.V;
    loss.value(&Weights { V, W: W.clone() })
}

/// Looks for points with a low loss in the closed cell of one pattern, given by rows: first a point inside, then those that a kernel
/// vector gives.
pub fn in_cell(
    problem: &Problem,
    loss: &ApproximateLoss,
    cones: &mut Cones,
    rows: &[&RealizableRow],
    best: &mut Option<Candidate>,
) -> Result<(), GlobalError> {
    let sets: Vec<&BTreeSet<usize>> = rows.iter().map(|row| &row.set).collect();
    let known = decided(problem.n(), &sets);
    let inside: Vec<Vec<f64>> = rows.iter().map(|row| row.w.iter().map(to_f64).collect()).collect();
    let mut offer = |W: Vec<Vec<f64>>| -> Result<(), GlobalError> {
        let W = Mat::from_fn(W.len(), problem.n_p(), |i, k| W[i][k]);
        if W.is_all_finite() {
            let value = value(loss, &W)?;
            if value.is_finite() && best.as_ref().is_none_or(|best| value < best.value) {
                *best = Some(Candidate { value, W });
            }
        }
        Ok(())
    };
    offer(inside.clone())?;
    let features: Vec<usize> = (0..problem.n()).collect();
    let Some(group) = KernelGroup::new(problem, cones, &known, &features) else { return Ok(()) };
    let Some((_, xi)) = group.least() else { return Ok(()) };
    let mut rng = stream(0, "kernel vectors beside the best");
    // The best x may leave the neurons no independent rows; then the infimum is approached, not attained, by x beside it.
    for step in [0.0, 1e-9, 1e-8, 1e-7, 1e-6] {
        for _ in 0..if step == 0.0 { 1 } else { 4 } {
            let moved: Vec<f64> = xi.iter().map(|x| x + step * rng.random_range(-1.0..1.0)).collect();
            let x = group.x(&moved);
            let mut repeats = std::collections::BTreeMap::new();
            let row = |(i, inside): (usize, &Vec<f64>)| {
                let cone = cones.of(problem, &known[i], &features);
                let rays: Vec<Vec<f64>> = cone.rows.iter().map(|w| w.iter().map(to_f64).collect()).collect();
                let values: Vec<f64> =
                    cone.rays.iter().map(|ray| ray.iter().zip(&x).map(|(z, x)| to_f64(z) * x).sum()).collect();
                // Neurons with one pattern take different pairs of rays, or different rays where x is 0 on all.
                let repeat = repeats.entry(sets[i]).or_insert(0usize);
                *repeat += 1;
                across(&rays, &values, *repeat - 1, inside)
            };
            offer(inside.iter().enumerate().map(row).collect())?;
        }
    }
    Ok(())
}

/// A row whose codes are orthogonal to x, from the rows of the rays and their products with x: a positive combination of a ray on which the
/// product is positive and one on which it is negative, a different one for every `repeat`.
fn across(rays: &[Vec<f64>], values: &[f64], repeat: usize, inside: &[f64]) -> Vec<f64> {
    let size = values.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    let length = |w: &Vec<f64>| w.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = rays.iter().map(length).fold(0.0, f64::max);
    let Some(last) = rays.len().checked_sub(1) else { return inside.to_vec() };
    if size <= 1e-9 * scale {
        let ray = &rays[repeat % (last + 1)];
        return inside
            .iter()
            .zip(ray)
            .map(|(a, b)| a / length(&inside.to_vec()).max(1e-300) + b / length(ray))
            .collect();
    }
    let pairs: Vec<(usize, usize)> = (0..=last)
        .flat_map(|j| (0..=last).map(move |k| (j, k)))
        .filter(|&(j, k)| values[j] > 0.0 && values[k] <= 0.0)
        .collect();
    match pairs.get(repeat % pairs.len().max(1)) {
        Some(&(j, k)) => rays[j].iter().zip(&rays[k]).map(|(a, b)| (a * -values[k] + b * values[j]) / size).collect(),
        None => {
            let nearest = (0..=last).min_by(|&j, &k| values[j].abs().total_cmp(&values[k].abs()));
            rays[nearest.unwrap_or(0)].clone()
        }
    }
}

/// Improves an encoder by gradient steps with exact line searches across cells, the decoder being the best one after every step.
pub fn descend(loss: &ApproximateLoss, start: &Candidate, steps: usize) -> Result<Candidate, GlobalError> {
    let mut best = start.clone();
    for _ in 0..steps {
        let V = loss.decoder_step(best.W.as_ref())?.V;
        let at = Weights { V, W: best.W.clone() };
        let (_, gradient) = loss.value_and_gradients(&at)?;
        let direction = Weights { V: Mat::zeros(loss.n_r(), at.n_q()), W: -&gradient.W };
        if direction.dot(&direction) == 0.0 {
            break;
        }
        let minimum = loss.line_minimum(&at, &direction, 0.0, f64::INFINITY)?;
        let W = at.plus(minimum.t, &direction).W;
        let moved = value(loss, &W)?;
        if moved.is_nan() || moved >= best.value * (1.0 - 1e-12) {
            break;
        }
        best = Candidate { value: moved, W };
    }
    Ok(best)
}

/// The exact point with this encoder and its best decoder, and its loss. Under a positive threshold the rows are scaled up until what fires
/// clearly fires.
pub fn exact_point(problem: &Problem, W: &Mat<f64>) -> Option<(Point, Rational)> {
    let row = |i: usize| (0..W.ncols()).map(|k| from_f64(W[(i, k)]).ok()).collect::<Option<Vec<_>>>();
    let w_e = (0..W.nrows()).map(row).collect::<Option<Vec<_>>>()?;
    let pattern = Pattern::of_encoder(problem, &w_e);
    let w_d = v_step(problem, &pattern, &w_e);
    let point = Point { w_e, w_d };
    let loss = point.loss(problem);
    debug_assert!(rational::sign(&loss) >= 0);
    Some((point, loss))
}

/// The loss of a problem for these searches.
pub fn sequential(problem: &Problem) -> Result<ApproximateLoss, GlobalError> {
    Ok(ApproximateLoss::from_problem(problem)?.with_par(Par::Seq))
}
