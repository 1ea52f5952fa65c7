//! Upper values of the global optimum: losses of points.
//!
//! Every multiset of realizable rows is a pattern up to the order of the neurons. Where the codes of its cell have a kernel
//! ([`super::kernel`]), the best x gives encoder rows whose codes are orthogonal to it; the other starts are rows inside the cells, improved
//! by exact line searches along the gradient with the decoder taken afresh at every step.
//!
//! At the best x the codes may be dependent: two neurons on the ray that their cells share, or all on a face. Then the loss there is above the
//! infimum, which is approached by x beside the best in a direction in which every neuron cuts them ([`Least::inwards`]): the codes become
//! parallel, the decoder grows, and their span has a limit.

use super::GlobalError;
use super::kernel::{Cones, KernelGroup, Known, Least};
use super::rays::RowCone;
use crate::bench::features::stream;
use crate::exact::rational::{from_f64, to_f64};
use crate::exact::{Rational, rational};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use crate::theory::partial_optimum::overlap::v_step;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Feature, Problem};
use crate::theory::region::RealizableRow;
use faer::{Mat, Par};
use rand::RngExt;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

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
    let faces = vec![vec![None; problem.n()]; sets.len()];
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
    let Some(group) = KernelGroup::new(problem, cones, &known, &faces, &features) else { return Ok(()) };
    let Some(Least { xi, inwards, .. }) = group.least() else { return Ok(()) };
    let limit = inwards.iter().any(|y| *y != 0.0);
    let mut rng = stream(0, "rows orthogonal to a kernel vector");
    for step in if limit { &STEPS[..] } else { &[0.0] } {
        let moved: Vec<f64> = xi.iter().zip(&inwards).map(|(x, y)| x + step * y).collect();
        let x = group.x(&moved);
        for _ in 0..DRAWS {
            let mut W = Vec::new();
            for (set, inside) in sets.iter().zip(&inside) {
                let row = cones.rows(problem, set).ok().and_then(|cone| across(cone, &x, &mut rng));
                W.push(row.map_or_else(|| inside.clone(), |w| fire(problem, set, w)));
            }
            offer(W)?;
        }
    }
    Ok(())
}

/// Steps from a limit to points beside it. The loss there exceeds the limit by about the step, relative to the loss's own slope.
const STEPS: [f64; 7] = [1e-9, 3e-9, 1e-8, 3e-8, 1e-7, 3e-7, 1e-6];
/// Encoders for one x: those with independent codes have the same loss.
const DRAWS: usize = 2;

/// A row of the closed cell whose codes are orthogonal to x, a positive combination of all rays on which the product with x is positive, all
/// on which it is negative, and all on which it is 0, with random weights; `None` for a cell without codes.
fn across(cone: &RowCone, x: &[f64], rng: &mut impl RngExt) -> Option<Vec<f64>> {
    let norm = |w: &[f64]| w.iter().map(|x| x * x).sum::<f64>().sqrt();
    let whole = norm(x);
    let mut rays: Vec<(f64, Vec<f64>)> = Vec::new();
    for (w, codes) in cone.rows.iter().zip(&cone.codes) {
        let codes: Vec<f64> = codes.iter().map(to_f64).collect();
        // A weight that keeps rays of different lengths alike.
        let weight = rng.random_range(0.5..1.5) / norm(&codes);
        let value = weight * codes.iter().zip(x).map(|(z, x)| z * x).sum::<f64>();
        // Products of unit vectors are accurate to about 1e-15.
        let value = if value.abs() <= 1e-13 * whole { 0.0 } else { value };
        rays.push((value, w.iter().map(|w| weight * to_f64(w)).collect()));
    }
    let sum = |sign: f64| rays.iter().map(|(value, _)| (sign * value).max(0.0)).sum::<f64>();
    let (above, below) = (sum(1.0), sum(-1.0));
    let nearest = rays.iter().map(|(value, _)| value.abs()).fold(f64::INFINITY, f64::min);
    let (above, below) = (above / (above + below), below / (above + below));
    let factor = |value: f64| match (above > 0.0 && below > 0.0, value == 0.0) {
        (true, false) => {
            if value > 0.0 {
                below
            } else {
                above
            }
        }
        (true, true) => above * below,
        // Where all are on one side, those that are orthogonal, or the nearest.
        (false, _) => {
            if value.abs() <= nearest {
                1.0
            } else {
                0.0
            }
        }
    };
    let mut row = vec![0.0; cone.rows.first()?.len()];
    for (value, w) in &rays {
        row.iter_mut().zip(w).for_each(|(x, w)| *x += factor(*value) * w);
    }
    Some(row)
}

/// The row, under a positive threshold scaled to where it fires on `set` alone if its direction can.
fn fire(problem: &Problem, set: &BTreeSet<usize>, row: Vec<f64>) -> Vec<f64> {
    let threshold = problem.threshold().map_or(0.0, to_f64);
    let code = |d: usize| row.iter().zip(&problem.features()[d].w_p).map(|(w, p)| w * to_f64(p)).sum::<f64>();
    let least = set.iter().map(|&d| code(d)).fold(f64::INFINITY, f64::min);
    let most = (0..problem.n()).filter(|d| !set.contains(d)).map(code).fold(0.0, f64::max);
    if threshold == 0.0 || most >= least {
        return row;
    }
    let scale = threshold / (most + (least - most) / 2.0);
    row.into_iter().map(|w| scale * w).collect()
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

/// The rows of an encoder as exact numbers; `None` if one is not finite.
fn exact_rows(W: &Mat<f64>) -> Option<Vec<Vec<Rational>>> {
    let row = |i: usize| (0..W.ncols()).map(|k| from_f64(W[(i, k)]).ok()).collect();
    (0..W.nrows()).map(row).collect()
}

/// The exact point with this encoder and its best decoder, and its loss.
pub fn exact_point(problem: &Problem, W: &Mat<f64>) -> Option<(Point, Rational)> {
    Some(point_with(problem, exact_rows(W)?))
}

/// The point with an exact encoder and its best decoder, and its loss.
pub fn point_with(problem: &Problem, w_e: Vec<Vec<Rational>>) -> (Point, Rational) {
    let pattern = Pattern::of_encoder(problem, &w_e);
    let w_d = v_step(problem, &pattern, &w_e);
    let point = Point { w_e, w_d };
    let loss = point.loss(problem);
    debug_assert!(rational::sign(&loss) >= 0);
    (point, loss)
}

/// The exact loss of an encoder with its best decoder if its neurons fire as the pattern says. In f64 that of nearly parallel codes is wrong by more than
/// what tells them apart.
pub fn exact_loss_in(problem: &Problem, pattern: &Pattern, W: &Mat<f64>) -> Option<Rational> {
    let w_e = exact_rows(W)?;
    let w_d = v_step(problem, pattern, &w_e);
    let lists = pattern.lists();
    let terms = problem.features().iter().enumerate().map(|(d, feature)| {
        let mut residual = feature.w_r.clone();
        for i in (0..lists.len()).filter(|&i| lists[i].contains(&d)) {
            let code = dot(&w_e[i], &feature.w_p);
            residual.iter_mut().zip(&w_d[i]).for_each(|(x, v)| *x -= &code * v);
        }
        &feature.mass * dot(&residual, &residual)
    });
    Some(terms.fold(Rational::ZERO, |sum, term| sum + term))
}

/// The loss of a problem for these searches.
///
/// # Errors
/// If the activation is no threshold, or Σ M_d‖r_d‖² or Σ M_d‖p_d‖² is so small or so large that f64 does not hold its square.
pub fn sequential(problem: &Problem) -> Result<ApproximateLoss, GlobalError> {
    problem.threshold().ok_or(LossError::NotThreshold)?;
    holds(problem, "w_r", |f| &f.w_r, "the sum of mass·‖w_r‖² to be between 1e-140 and 1e140")?;
    holds(problem, "w_p", |f| &f.w_p, "the sum of mass·‖w_p‖² to be between 1e-140 and 1e140")?;
    Ok(ApproximateLoss::from_problem(problem)?.with_par(Par::Seq))
}

/// Sums whose squares f64 holds.
const HELD: RangeInclusive<f64> = 1e-140..=1e140;

/// Whether Σ M_d‖x_d‖² is in [`HELD`], or 0. The error names the field of the feature that contributes most.
fn holds(
    problem: &Problem,
    field: &'static str,
    of: impl Fn(&Feature) -> &Vec<Rational>,
    expected: &'static str,
) -> Result<(), GlobalError> {
    let squares: Vec<Rational> = problem.features().iter().map(|f| dot(of(f), of(f))).collect();
    let terms: Vec<Rational> = problem.features().iter().zip(&squares).map(|(f, square)| &f.mass * square).collect();
    let sum = terms.iter().fold(Rational::ZERO, |sum, term| sum + term);
    let Some(most) = (0..terms.len()).max_by(|&a, &b| terms[a].cmp(&terms[b])) else { return Ok(()) };
    if sum.is_zero() || HELD.contains(&to_f64(&sum)) {
        return Ok(());
    }
    // The number at fault is the vector's, unless its own square is in the range.
    let field = if HELD.contains(&to_f64(&squares[most])) { "mass" } else { field };
    let found = if to_f64(&sum) > 1.0 { "more" } else { "less" };
    Err(GlobalError::Magnitude { feature: most, field, expected, found: found.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::families::{Family, Parameters};
    use crate::theory::region::enumerate_rows;

    #[test]
    fn a_problem_that_f64_does_not_hold_names_the_field_at_fault() {
        let refused = |p: &str, r: &str, mass: &str| {
            let one = r#"{"w_p":["0","1"],"w_r":["0","1"],"mass":"1"}"#;
            let other = format!(r#"{{"w_p":["{p}","0"],"w_r":["{r}","0"],"mass":"{mass}"}}"#);
            let text = format!(r#"{{"format":1,"features":[{one},{other}]}}"#);
            sequential(&Problem::from_json(&text).unwrap()).err().map(|error| error.to_string())
        };
        let start = |field: &str| format!("features[1].{field}: expected the sum of mass·‖");
        assert!(refused("1", "1e160", "1").unwrap().starts_with(&start("w_r")));
        assert!(refused("1e160", "1", "1").unwrap().starts_with(&start("w_p")));
        assert!(refused("1", "1e50", "1e200").unwrap().starts_with(&start("mass")));
        assert_eq!(refused("1e30", "1e30", "1e30"), None);
        // Too small, although not 0.
        let text = r#"{"format":1,"features":[{"w_p":["1"],"mass":"1e-200"}]}"#;
        let error = sequential(&Problem::from_json(text).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("features[0].mass: ") && error.ends_with(", found less"), "{error}");
    }

    #[test]
    fn the_least_quotient_of_two_neurons_is_the_infimum_of_their_cell() {
        let parameters = Parameters { n: 3, n_p: 2, n_r: Some(3), c: Rational::ZERO };
        let (mut limits, mut patterns) = (0, 0);
        for seed in 0..8 {
            let problem = Family::RandomUnit.generate(&parameters, seed).unwrap();
            let loss = sequential(&problem).unwrap();
            let rows = enumerate_rows(&problem, 1 << 20).unwrap();
            let live: Vec<&RealizableRow> = rows.iter().filter(|row| !row.set.is_empty()).collect();
            let total: f64 = loss.value(&Weights { V: Mat::zeros(3, 1), W: Mat::zeros(1, 2) }).unwrap();
            let mut cones = Cones::default();
            for pattern in multisets(live.len(), 2).into_iter().filter(|pattern| pattern[0] != pattern[1]) {
                let rows: Vec<&RealizableRow> = pattern.iter().map(|&k| live[k]).collect();
                let known = decided(3, &[&rows[0].set, &rows[1].set]);
                let faces = vec![vec![None; 3]; 2];
                let group = KernelGroup::new(&problem, &mut cones, &known, &faces, &[0, 1, 2]).unwrap();
                let least = group.least().unwrap();
                let mut best = None;
                in_cell(&problem, &loss, &mut cones, &rows, &mut best).unwrap();
                let best = best.unwrap().value;
                // Points are taken 1e-9 and more from a limit.
                assert!((best - least.value).abs() <= 1e-7 * total, "{seed} {pattern:?}: {best} {}", least.value);
                limits += usize::from(least.inwards.iter().any(|y| *y != 0.0));
                patterns += 1;
            }
        }
        assert!(limits >= 10 && limits < patterns, "{limits} of {patterns}");
    }
}
