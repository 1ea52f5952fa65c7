//! Global optimization of the approximate loss L̃ (eq. 11): exact values where a formula exists, elsewhere an interval with a
//! lower bound that the checker replays.
//!
//! | question | where | what it returns |
//! |---|---|---|
//! | best value of a partition cell | [`partition`] | the closed form, block by block |
//! | the same by decomposition and duality | [`gop`] | lower and upper value within ε |
//! | best value of any small cell | [`gop::solve_cell`] | lower and upper value, within ε where the search comes to an end |
//! | lower value of a cell, certified | [`cell_bound`] | a certificate of the cell |
//! | best value over all patterns | [`patterns`] | two values with certificates, for few features and neurons |
//! | every pattern of a small problem | [`atlas`] | best values, classes, basins |
//! | the cone of codes of one row | [`rays`] | exact extreme rays |
//! | infimum over all patterns, independent features | [`span`] | values in f64, encoders that come to it |
//! | its lower value, certified | [`code_bound`] | a certificate |
//! | lower bounds of overlapping patterns | [`kernel`] | a proof by a vector that the codes annihilate |
//! | points with a low loss | [`upper`] | encoders |
//!
//! The upper values are losses that points have or approach; the lower values are proved, in f64 by `partition` and `gop` and exactly by the
//! certificates of `patterns` and `cell_bound`.

#![allow(clippy::needless_range_loop, reason = "small matrices are indexed as in the formulas")]

pub mod atlas;
pub mod cell_bound;
pub mod code_bound;
mod dense;
pub mod gop;
pub mod kernel;
pub mod multipliers;
pub mod partition;
pub mod patterns;
pub mod rayleigh;
pub mod rays;
pub mod span;
pub mod upper;

use crate::theory::loss::LossError;
use crate::theory::region::RegionError;

/// Why a global optimum cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GlobalError {
    /// A block repeats a feature, names one that does not exist, or two blocks share one.
    #[error("blocks: expected disjoint lists of different features below {n}, found {found:?}")]
    Blocks {
        /// Number of features.
        n: usize,
        /// The list at fault.
        found: Vec<usize>,
    },
    /// No row fires on exactly these features.
    #[error("no row fires on exactly the features {0:?}")]
    EmptyCell(Vec<usize>),
    /// A problem is too large for a method that enumerates.
    #[error("{what}: expected at most {limit}, found {found}")]
    TooLarge {
        /// What is enumerated.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// The size asked for.
        found: usize,
    },
    /// A tree needs more nodes than it may have.
    #[error("the tree that proves a lower bound needs more than {0} nodes")]
    Nodes(usize),
    /// A number of a problem is too large or too small for f64.
    #[error("features[{feature}].{field}: expected {expected}, found {found}")]
    Magnitude {
        /// 0-based feature.
        feature: usize,
        /// `w_p`, `w_r` or `mass`.
        field: &'static str,
        /// The range in words.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The loss cannot be computed.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// The cells cannot be computed.
    #[error(transparent)]
    Region(#[from] RegionError),
}
