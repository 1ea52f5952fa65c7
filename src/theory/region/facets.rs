//! The facets of a row cell: which features bound it, and why the others do not.

use super::RegionError;
use super::inequalities::{at_least, decide, slack, support};
use super::threshold::{row_cell, threshold};
use crate::exact::Rational;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::rational::sign;
use crate::theory::problem::Problem;
use sdlab_verify::format::Rat;
use std::collections::BTreeSet;

/// An irredundant description of the closure {w : ⟨w, p_d⟩ ≥ c for d ∈ F, ≤ c otherwise} of a row cell. Every feature stands in
/// one of the three lists. Let s_d = 1 for d ∈ F and −1 otherwise; feature d contributes s_d(⟨w, p_d⟩ − c) ≥ 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facets {
    /// Features e ∉ F with ⟨w, p_e⟩ = c on the whole cell (then c = 0), with coefficients z_e > 0 such that Σ z_e p_e = 0.
    pub equalities: Vec<(usize, Rat)>,
    /// The irredundant inequalities.
    pub facets: Vec<Facet>,
    /// The inequalities that follow from these.
    pub redundant: Vec<Redundant>,
}

/// An inequality that no other implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// The feature d.
    pub feature: usize,
    /// A row with ⟨w, p_d⟩ = c that satisfies the equalities, and every other facet's inequality strictly.
    pub point: Vec<Rational>,
}

/// An inequality that the others imply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redundant {
    /// The feature d.
    pub feature: usize,
    /// (f, m_f) over facets with m_f > 0 and over equalities with m_f of any sign, such that s_d p_d = Σ m_f s_f p_f and
    /// c s_d ≤ c Σ m_f s_f.
    pub multipliers: Vec<(usize, Rational)>,
}

/// Finds the facets of the cell of rows that fire on exactly the features of `set`.
///
/// Of inequalities that imply one another (parallel features) the one with the highest index stays.
pub fn facets(problem: &Problem, set: &BTreeSet<usize>) -> Result<Facets, RegionError> {
    let c = threshold(problem)?;
    super::in_range(problem, set)?;
    let on: Vec<bool> = (0..problem.n()).map(|d| set.contains(&d)).collect();
    let cell = row_cell(problem, c, &on);
    let inside = decide(problem.n_p(), cell.clone())
        .map_err(|_| RegionError::EmptyRow { set: set.iter().copied().collect() })?;
    // The point is strict wherever a point of the cell can be.
    let equation: Vec<bool> = cell.iter().map(|row| slack(row, &inside).is_zero()).collect();
    let mut dropped: Vec<(usize, Vec<Rational>)> = Vec::new();
    let mut facets = Vec::new();
    for d in (0..problem.n()).filter(|&d| !equation[d]) {
        let rest: Vec<usize> = (0..problem.n()).filter(|e| *e != d && dropped.iter().all(|(r, _)| r != e)).collect();
        match violate(&cell, d, &rest, &equation) {
            Outcome::Feasible(outside) => {
                facets.push(Facet { feature: d, point: crossing(&cell[d], &inside, &outside) });
            }
            Outcome::Infeasible(multipliers) => {
                let (own, others) = multipliers.split_last().expect("one multiplier per row");
                let mut weights = vec![Rational::ZERO; problem.n()];
                rest.iter().zip(others).for_each(|(&e, m)| weights[e] = m / own);
                dropped.push((d, weights));
            }
        }
    }
    Ok(Facets { equalities: dependence(problem, &equation), facets, redundant: substitute(dropped) })
}

/// Coefficients z_e > 0 with Σ z_e p_e = 0 over the features that every row of the cell is orthogonal to. They exist: an
/// inequality that always holds with equality has a multiplier in some dependence, and dependences add up.
fn dependence(problem: &Problem, equation: &[bool]) -> Vec<(usize, Rat)> {
    let members: Vec<usize> = (0..problem.n()).filter(|&e| equation[e]).collect();
    let vanishes = (0..problem.n_p()).map(|k| Row {
        coeffs: members.iter().map(|&e| problem.features()[e].w_p[k].clone()).collect(),
        relation: Relation::Eq,
        rhs: Rational::ZERO,
    });
    let unit = |m: usize| (0..members.len()).map(|k| Rational::from(u8::from(k == m))).collect();
    let positive = (0..members.len()).map(|m| at_least(unit(m), Rational::ZERO, true));
    let coefficients = decide(members.len(), vanishes.chain(positive).collect()).unwrap_or_default();
    support(&coefficients).into_iter().map(|(k, z)| (members[k], z)).collect()
}

/// A point that violates inequality d strictly but none of the rest, or multipliers of the rest and of d.
fn violate(cell: &[Row<Rational>], d: usize, rest: &[usize], equation: &[bool]) -> Outcome<Rational> {
    let row = |e: usize| Row {
        coeffs: cell[e].coeffs.clone(),
        relation: if equation[e] { Relation::Eq } else { Relation::Ge },
        rhs: cell[e].rhs.clone(),
    };
    let violated = at_least(cell[d].coeffs.iter().map(|x| -x).collect(), -&cell[d].rhs, true);
    let rows = rest.iter().map(|&e| row(e)).chain([violated]).collect();
    decide_rational(&System { variables: cell[d].coeffs.len(), rows })
}

/// Where the segment from a strict inside point to an outside point meets the hyperplane.
fn crossing(row: &Row<Rational>, inside: &[Rational], outside: &[Rational]) -> Vec<Rational> {
    let (start, end) = (slack(row, inside), slack(row, outside));
    let part = &start / (&start - end);
    inside.iter().zip(outside).map(|(a, b)| a + &part * (b - a)).collect()
}

/// Expresses every dropped inequality by those that stayed. One that was dropped later may stand in an earlier one's weights, never
/// the other way round.
fn substitute(dropped: Vec<(usize, Vec<Rational>)>) -> Vec<Redundant> {
    let mut settled: Vec<(usize, Vec<Rational>)> = Vec::new();
    for (d, mut weights) in dropped.into_iter().rev() {
        for (later, by) in &settled {
            let weight = std::mem::take(&mut weights[*later]);
            if sign(&weight) != 0 {
                weights.iter_mut().zip(by).for_each(|(w, b)| *w += &weight * b);
            }
        }
        settled.push((d, weights));
    }
    let list = |weights: Vec<Rational>| weights.into_iter().enumerate().filter(|(_, m)| !m.is_zero()).collect();
    settled.into_iter().rev().map(|(feature, weights)| Redundant { feature, multipliers: list(weights) }).collect()
}

#[cfg(test)]
#[path = "facets_tests.rs"]
mod tests;
