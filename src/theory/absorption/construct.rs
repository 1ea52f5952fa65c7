//! Constructions of a split: an encoder with one row more, in which one feature has a neuron of its own.
//!
//! They only propose; [`absorb`](super::absorb) verifies the firing sets exactly.

use crate::exact::Rational;
use crate::exact::rational::sign;
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use crate::theory::region::inequalities::{at_least, at_most, decide};
use std::collections::BTreeSet;

/// An encoder proposed for a split.
#[derive(Debug, Clone)]
pub(super) struct Proposal {
    /// The feature that gets its own neuron.
    pub(super) feature: usize,
    /// n_q + 1 rows.
    pub(super) w_e: Vec<Vec<Rational>>,
}

/// c > 0: scales row i by c/a_min, so that the feature of the least activation a_min sits on the closed side of the
/// threshold, and adds the row (2c/(‖p_d‖² + m))·p_d with m = max(0, max_{e≠d} ⟨p_d, p_e⟩). All other rows stay.
///
/// Scaling down keeps silent features silent, since c > 0. The new row fires on d alone iff m < ‖p_d‖²: for distinct unit
/// features always (there the factor is Thm 3.10's 2c/(1+M) with the positive part of the largest interference).
/// `None` where this fails, as it can for other features: a longer feature in the same direction always fires too.
pub(super) fn shrink(
    problem: &Problem,
    c: &Rational,
    w_e: &[Vec<Rational>],
    set: &BTreeSet<usize>,
    neuron: usize,
) -> Option<Proposal> {
    let p = |d: usize| &problem.features()[d].w_p;
    let row = single_minimum(problem, c, &w_e[neuron], set);
    let (least, feature) = set.iter().map(|&d| (dot(&row, p(d)), d)).min()?;
    let norm = dot(p(feature), p(feature));
    let others = (0..problem.n()).filter(|&e| e != feature).map(|e| dot(p(feature), p(e)));
    let interference = others.max().unwrap_or(Rational::ZERO).max(Rational::ZERO);
    if interference >= norm || sign(&least) <= 0 {
        return None;
    }
    let factor = Rational::from(2) * c / (norm + interference);
    let mut w_e = w_e.to_vec();
    w_e[neuron] = scaled(&row, &(c / least));
    w_e.push(scaled(p(feature), &factor));
    Some(Proposal { feature, w_e })
}

/// A row with the same firing set whose least activation is attained once, if distinct features attain it.
///
/// Shrinking by 1−ε first gives every silent feature a slack of at least εc. A small step along −p_d, d the longest of the
/// features that attain the least activation, then lowers d most, since ⟨p_d, p_e⟩ < ‖p_d‖² for the others of these. (For
/// the rest of the set that inequality is the condition of [`shrink`] on the new row.)
fn single_minimum(problem: &Problem, c: &Rational, row: &[Rational], set: &BTreeSet<usize>) -> Vec<Rational> {
    let p = |d: usize| &problem.features()[d].w_p;
    let activations: Vec<(usize, Rational)> = set.iter().map(|&d| (d, dot(row, p(d)))).collect();
    let Some(least) = activations.iter().map(|(_, a)| a.clone()).min() else { return row.to_vec() };
    let tied: Vec<usize> = activations.iter().filter(|(_, a)| *a == least).map(|(d, _)| *d).collect();
    let longest = tied.iter().copied().max_by_key(|&d| dot(p(d), p(d)));
    let Some(longest) = longest.filter(|_| tied.len() > 1) else { return row.to_vec() };
    // Shrunk, the least activation lies half way between c and what it was.
    let middle = (c + &least) / Rational::from(2);
    let shrunk = scaled(row, &(&middle / &least));
    // The step η keeps the least activation above c and silent features silent.
    let mut bounds = vec![(&middle - c) / (Rational::from(2) * dot(p(longest), p(longest)))];
    for silent in problem.features().iter().enumerate().filter(|(e, _)| !set.contains(e)).map(|(_, f)| &f.w_p) {
        let rise = -dot(p(longest), silent);
        if sign(&rise) > 0 {
            bounds.push((c - dot(&shrunk, silent)) / rise);
        }
    }
    let step = bounds.into_iter().min().unwrap_or(Rational::ZERO);
    shrunk.iter().zip(p(longest)).map(|(w, x)| w - &step * x).collect()
}

/// Top-1 with a ReLU: adds the row w_i + εq, where ⟨q, p_d⟩ > 0 and ⟨q, p_f⟩ ≤ 0 on the rest of F_i; d is then alone on an
/// extreme ray of the cone that the p_f, f ∈ F_i, span.
///
/// The new neuron wins d from neuron i and loses the rest of F_i (ties go to the lower index). A small ε keeps it below
/// the winner, and below 0 where nothing fires, on all other features, unless neuron i ties there and q points up.
pub(super) fn extreme_rays<'a>(
    problem: &'a Problem,
    w_e: &'a [Vec<Rational>],
    set: &'a BTreeSet<usize>,
    neuron: usize,
) -> impl Iterator<Item = Proposal> + 'a {
    set.iter().filter_map(move |&feature| {
        let q = separating_direction(problem, set, feature)?;
        let mut step = Rational::ONE;
        for other in problem.features().iter().enumerate().filter(|(e, _)| !set.contains(e)).map(|(_, f)| &f.w_p) {
            let speed = dot(&q, other);
            if sign(&speed) > 0 {
                let best = w_e.iter().map(|row| dot(row, other)).max()?.max(Rational::ZERO);
                step = step.min((best - dot(&w_e[neuron], other)) / speed);
            }
        }
        let mut w_e = w_e.to_vec();
        w_e.push(w_e[neuron].iter().zip(&q).map(|(w, x)| w + &step * x).collect());
        Some(Proposal { feature, w_e })
    })
}

/// A direction q with ⟨q, p_d⟩ > 0 for the feature and ⟨q, p_f⟩ ≤ 0 for the rest of the set.
fn separating_direction(problem: &Problem, set: &BTreeSet<usize>, feature: usize) -> Option<Vec<Rational>> {
    let inequality = |&d: &usize| match &problem.features()[d].w_p {
        p if d == feature => at_least(p.clone(), Rational::ZERO, true),
        p => at_most(p, &Rational::ZERO),
    };
    decide(problem.n_p(), set.iter().map(inequality).collect()).ok()
}

fn scaled(row: &[Rational], factor: &Rational) -> Vec<Rational> {
    row.iter().map(|x| x * factor).collect()
}
