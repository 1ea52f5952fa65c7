//! Feature absorption (Defs. 3.9, Thm 3.10): can a neuron hand one of its features to a new neuron?
//!
//! The split of d ∈ F_i (eq. 20) replaces F_i by F_i∖{d} and adds a neuron that fires on d alone. Thm 3.10 claims that if a
//! pattern is realizable, then for every neuron with two features or more some split is realizable too.
//!
//! * c = 0: false; p = (1,0), (3/5,4/5), (−3/5,4/5), F the first two.
//! * c > 0: true for distinct features of one length, by shrinking the row. False for others: a row that fires on p also
//!   fires on 2p and on a second copy of p, so F = {p, 2p} has no split.
//! * Top-1 with a ReLU: true if every feature fires a neuron and no two features of F_i are positive multiples of each
//!   other. For then no tie is forced: the cell's relation Σ (comparisons) = 0 would be one of non-strict comparisons,
//!   which the lowest neuron in it only wins, on features of a pointed cone. A point of the cell without ties has room for a new row
//!   beside w_i. False if silent features force a row into a subspace in which the features of F_i have no extreme ray of their own:
//!   (4/5,±3/5), ±(0,1), F the first two.

mod construct;
mod hierarchy;
mod published;

pub use hierarchy::{Hierarchy, HierarchyError, Parent};
pub use published::{Published, published};

use super::certificate::{instance, rows};
use super::pattern::Pattern;
use super::problem::{Activation, Problem, ProblemError};
use super::region::{Realizability, RegionError, Row, decide, decide_row};
use crate::exact::Rational;
use construct::Proposal;
use sdlab_verify::Certificate;
use sdlab_verify::format::{self, EmptySplit, Farkas, FarkasRow, Split};
use std::collections::BTreeSet;

/// Why a question about absorption has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbsorptionError {
    /// The neuron does not exist.
    #[error("neuron {neuron} is out of range, the pattern has {latents} neurons, counted from 0")]
    OutOfRange {
        /// The index.
        neuron: usize,
        /// n_q.
        latents: usize,
    },
    /// The neuron has nothing to split.
    #[error("neuron {neuron} fires on {size} features, absorption needs at least 2")]
    TooSmall {
        /// The index.
        neuron: usize,
        /// |F_i|.
        size: usize,
    },
    /// The pattern does not belong to the problem, or the activation has no threshold.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// The problem with the raised threshold is not valid.
    #[error(transparent)]
    Problem(ProblemError),
}

/// How a realizable split was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the construction that proves the theorem for this activation.
    Constructed,
    /// By linear programs, one split after the other.
    Decided,
}

/// Whether a neuron can hand a feature to a new neuron.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absorption {
    /// The pattern itself is not realizable, so that Thm 3.10 says nothing.
    NotRealizable {
        /// The proof.
        farkas: Farkas,
    },
    /// It can.
    Possible {
        /// An encoder with the pattern.
        w_e: Vec<Vec<Rational>>,
        /// The absorbed feature d.
        feature: usize,
        /// An encoder with the split pattern: n_q + 1 rows, the last one for d.
        split: Vec<Vec<Rational>>,
        /// How it was found.
        method: Method,
    },
    /// It cannot: the pattern is realizable and no split of this neuron is.
    Impossible {
        /// An encoder with the pattern.
        w_e: Vec<Vec<Rational>>,
        /// For every d ∈ F_i the proof that its split is empty.
        splits: Vec<(usize, Farkas)>,
    },
}

impl Absorption {
    /// The certificate of the answer to [`absorb`] with these arguments: `absorption`, or `pattern-empty` for an unrealizable
    /// pattern.
    pub fn certificate(&self, problem: &Problem, pattern: &Pattern, neuron: usize) -> Certificate {
        let absorption = |w_e: &[Vec<Rational>], split: Split| {
            let body = format::Absorption { pattern: pattern.lists(), w_e: rows(w_e), neuron, split };
            Certificate::new(instance(problem), body)
        };
        match self {
            Self::NotRealizable { farkas } => {
                Realizability::Empty { farkas: farkas.clone() }.certificate(problem, pattern)
            }
            Self::Possible { w_e, feature, split, .. } => {
                absorption(w_e, Split::Realizable { feature: *feature, w_e: rows(split) })
            }
            Self::Impossible { w_e, splits } => {
                let empty =
                    |(feature, farkas): &(usize, Farkas)| EmptySplit { feature: *feature, farkas: farkas.clone() };
                absorption(w_e, Split::None(splits.iter().map(empty).collect()))
            }
        }
    }
}

/// Decides whether some split of the neuron (eq. 20) is realizable, given that the pattern is.
///
/// The construction for the activation is tried first and verified exactly (c > 0: shrink the row; Top-1 with a ReLU: an extreme
/// ray); otherwise, and where it fails, linear programs decide every split.
pub fn absorb(problem: &Problem, pattern: &Pattern, neuron: usize) -> Result<Absorption, AbsorptionError> {
    let set = checked_set(pattern, neuron)?;
    let w_e = match decide(problem, pattern)? {
        Realizability::Realizable { w_e } => w_e,
        Realizability::Empty { farkas } => return Ok(Absorption::NotRealizable { farkas }),
    };
    let proposals: Vec<Proposal> = match problem.activation() {
        Activation::Threshold(c) if !c.is_zero() => {
            construct::shrink(problem, c, &w_e, set, neuron).into_iter().collect()
        }
        Activation::TopKRelu(1) => construct::extreme_rays(problem, &w_e, set, neuron).collect(),
        Activation::Threshold(_) | Activation::TopK(_) | Activation::TopKRelu(_) => Vec::new(),
    };
    let works = |p: &Proposal| Pattern::of_encoder(problem, &p.w_e) == pattern.split(neuron, p.feature);
    if let Some(Proposal { feature, w_e: split }) = proposals.into_iter().find(works) {
        return Ok(Absorption::Possible { w_e, feature, split, method: Method::Constructed });
    }
    let mut splits = Vec::with_capacity(set.len());
    for &feature in set {
        match decide_split(problem, pattern, neuron, feature, &w_e)? {
            Realizability::Realizable { w_e: split } => {
                return Ok(Absorption::Possible { w_e, feature, split, method: Method::Decided });
            }
            Realizability::Empty { farkas } => splits.push((feature, farkas)),
        }
    }
    Ok(Absorption::Impossible { w_e, splits })
}

/// Decides one split. Under a threshold only two rows are new.
fn decide_split(
    problem: &Problem,
    pattern: &Pattern,
    neuron: usize,
    feature: usize,
    w_e: &[Vec<Rational>],
) -> Result<Realizability, RegionError> {
    let split = pattern.split(neuron, feature);
    if problem.threshold().is_none() {
        return decide(problem, &split);
    }
    let mut rows = w_e.to_vec();
    rows.push(Vec::new());
    for changed in [neuron, pattern.latents()] {
        match decide_row(problem, &split.sets()[changed])? {
            Row::Realizable { w } => rows[changed] = w,
            Row::Empty { on, off } => {
                return Ok(Realizability::Empty { farkas: Farkas::Row(FarkasRow { neuron: changed, on, off }) });
            }
        }
    }
    Ok(Realizability::Realizable { w_e: rows })
}

fn checked_set(pattern: &Pattern, neuron: usize) -> Result<&BTreeSet<usize>, AbsorptionError> {
    let latents = pattern.latents();
    let set = pattern.sets().get(neuron).ok_or(AbsorptionError::OutOfRange { neuron, latents })?;
    if set.len() < 2 { Err(AbsorptionError::TooSmall { neuron, size: set.len() }) } else { Ok(set) }
}

#[cfg(test)]
mod tests;
