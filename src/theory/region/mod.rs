//! Patterns and their cells (Def. 3.6, the Ω_A of Thm 3.2): which patterns are realizable, decided exactly.
//!
//! Under a threshold the cell of a pattern is a product over neurons of the row cells
//! {w : ⟨w, p_d⟩ > c for d ∈ F_i, ≤ c otherwise}, neither open nor closed. Under Top-k it couples the rows. Either is given
//! by strict and non-strict linear inequalities with rational coefficients; [`decide`] finds a rational encoder or
//! multipliers that prove that there is none (Motzkin's transposition theorem), and certifies the answer.

pub mod cover;
pub mod enumerate;
pub mod facets;
pub mod general_position;
pub(crate) mod inequalities;
pub mod threshold;
mod top_k;

pub use cover::{Chance, cover, probability_of_realizability};
pub use enumerate::{Count, RealizableRow, count_rows, enumerate_rows};
pub use facets::{Facets, facets};
pub use general_position::{Position, general_position};
pub use threshold::{Row, decide_row};

use super::certificate;
use super::pattern::Pattern;
use super::problem::{Activation, Problem};
use crate::exact::Rational;
use sdlab_verify::Certificate;
use sdlab_verify::format::{Farkas, FarkasRow, PatternEmpty, PatternWitness};
use std::collections::BTreeSet;

/// Why a question about cells has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// Row cells exist for thresholds only.
    #[error("activation: expected threshold, since under top-k the firing set of one row depends on the other rows")]
    NotThreshold,
    /// A pattern was made for another problem.
    #[error("feature {feature} is out of range, the problem has {n} features, counted from 0")]
    OutOfRange {
        /// The index.
        feature: usize,
        /// Number of features.
        n: usize,
    },
    /// The row cell has no facets because it is empty.
    #[error("no row fires on exactly the features {set:?}")]
    EmptyRow {
        /// The firing set.
        set: Vec<usize>,
    },
    /// The search was cut off.
    #[error("the search needs more than {budget} steps")]
    Budget {
        /// The steps that were allowed.
        budget: u64,
    },
}

/// Whether a pattern is realizable (Def. 3.6), with the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realizability {
    /// It is.
    Realizable {
        /// An encoder with that pattern: n_q rows of n_p short numbers.
        w_e: Vec<Vec<Rational>>,
    },
    /// It is not.
    Empty {
        /// The proof.
        farkas: Farkas,
    },
}

impl Realizability {
    /// The certificate: `pattern-witness` or `pattern-empty`.
    pub fn certificate(&self, problem: &Problem, pattern: &Pattern) -> Certificate {
        let (instance, pattern) = (certificate::instance(problem), pattern.lists());
        match self {
            Self::Realizable { w_e } => {
                Certificate::new(instance, PatternWitness { pattern, w_e: certificate::rows(w_e) })
            }
            Self::Empty { farkas } => Certificate::new(instance, PatternEmpty { pattern, farkas: farkas.clone() }),
        }
    }
}

/// Decides whether some encoder has exactly this pattern under the problem's activation.
pub fn decide(problem: &Problem, pattern: &Pattern) -> Result<Realizability, RegionError> {
    pattern.sets().iter().try_for_each(|set| in_range(problem, set))?;
    match problem.activation() {
        Activation::TopK(k) => return Ok(top_k::decide(problem, pattern, *k, false)),
        Activation::TopKRelu(k) => return Ok(top_k::decide(problem, pattern, *k, true)),
        Activation::Threshold(_) => {}
    }
    let mut w_e = Vec::with_capacity(pattern.latents());
    for (neuron, set) in pattern.sets().iter().enumerate() {
        match decide_row(problem, set)? {
            Row::Realizable { w } => w_e.push(w),
            Row::Empty { on, off } => {
                return Ok(Realizability::Empty { farkas: Farkas::Row(FarkasRow { neuron, on, off }) });
            }
        }
    }
    Ok(Realizability::Realizable { w_e })
}

fn in_range(problem: &Problem, set: &BTreeSet<usize>) -> Result<(), RegionError> {
    match set.last() {
        Some(&feature) if feature >= problem.n() => Err(RegionError::OutOfRange { feature, n: problem.n() }),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
