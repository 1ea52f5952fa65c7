//! All firing sets of a single row, and their number against Cover's.

use super::general_position::{Position, general_position};
use super::inequalities::decide;
use super::threshold::{Row, decide_prefix, row_cell, threshold};
use super::{RegionError, cover::cover};
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix::rank;
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use dashu::integer::UBig;
use std::collections::BTreeSet;

/// A firing set of some row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealizableRow {
    /// F, the features on which the row fires.
    pub set: BTreeSet<usize>,
    /// A row that fires on exactly these.
    pub w: Vec<Rational>,
}

/// All sets F ⊆ \[n\] that are the firing set of a row (threshold), in the order of their indicator vectors.
///
/// Sets that are realized on lower-dimensional faces only (some ⟨w, p_e⟩ = c is forced) are among them. The search adds one
/// feature after the other: a row of the parent decides one child at once, a linear program the other. At most `budget`
/// nodes are visited, else [`RegionError::Budget`]; there are at most n times as many nodes as sets.
pub fn enumerate_rows(problem: &Problem, budget: u64) -> Result<Vec<RealizableRow>, RegionError> {
    let c = threshold(problem)?;
    let mut open = vec![(Vec::with_capacity(problem.n()), vec![Rational::ZERO; problem.n_p()])];
    let mut found = Vec::new();
    let mut visited = 0;
    while let Some((on, w)) = open.pop() {
        visited += 1;
        if visited > budget {
            return Err(RegionError::Budget { budget });
        }
        let Some(feature) = problem.features().get(on.len()) else {
            let set = on.iter().enumerate().filter(|(_, fires)| **fires).map(|(d, _)| d).collect();
            found.push(RealizableRow { set, w });
            continue;
        };
        let fires = dot(&w, &feature.w_p) > *c;
        // The child that fires is pushed first, so that it is visited last.
        for child in [true, false] {
            let mut on: Vec<bool> = on.clone();
            on.push(child);
            if child == fires {
                open.push((on, w.clone()));
            } else if let Row::Realizable { w } = decide_prefix(problem, c, &on) {
                open.push((on, w));
            }
        }
    }
    Ok(found)
}

/// The number of realizable rows beside Cover's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The number of firing sets, by enumeration.
    pub count: UBig,
    /// Cover's number for n features in ℝ^{n_p}, plus 1 where the empty set is realized by w = 0 alone.
    pub cover: UBig,
    /// Whether the features are in general position, where the two must agree.
    pub position: Position,
}

/// Counts the realizable rows, with `budget` steps for the enumeration and for the test of general position each.
pub fn count_rows(problem: &Problem, budget: u64) -> Result<Count, RegionError> {
    let c = threshold(problem)?;
    let count = UBig::from(enumerate_rows(problem, budget)?.len());
    let only_zero = c.is_zero() && only_zero_fires_nothing(problem);
    let cover = cover(problem.n(), problem.n_p(), c.is_zero()) + UBig::from(u8::from(only_zero));
    Ok(Count { count, cover, position: general_position(problem, budget)? })
}

/// Is {w : ⟨w, p_d⟩ ≤ 0 for all d} the origin alone?
fn only_zero_fires_nothing(problem: &Problem) -> bool {
    let columns: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let cell = row_cell(problem, &Rational::ZERO, &vec![false; problem.n()]);
    // Unless every solution is orthogonal to all features, a decided point is not.
    let lone = decide(problem.n_p(), cell).is_ok_and(|w| w.iter().all(Rational::is_zero));
    lone && rank(&Rationals, &columns) == problem.n_p()
}

#[cfg(test)]
#[path = "enumerate_tests.rs"]
mod tests;
