//! One run in numbers.

use crate::optim::Termination;
use crate::optim::end_point::EndPoint;
use serde::{Deserialize, Serialize};

/// A line of `results.jsonl`. The same comparison writes the same lines; seconds stand in `timings.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of these lines: 1.
    pub format: u32,
    /// The instance: family, sizes and number.
    pub instance: String,
    /// Its family.
    pub family: String,
    /// n, n_p, n_q.
    pub size: [usize; 3],
    /// SHA-256 of the problem.
    pub problem: String,
    /// Σ_d M_d ‖r_d‖².
    pub total: f64,
    /// A certified lower bound of L̃ over all encoders with n_q rows.
    pub lower: f64,
    /// True if a certified point attains it.
    pub attained: bool,
    /// The optimizer.
    pub optimizer: String,
    /// Number of the start.
    pub start: u64,
    /// Where it ended; where it began, if it has diverged.
    pub end: EndPoint,
    /// Class of the certified partial optimum with the end's pattern and loss, where the pattern is disjoint, the problem small, and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<String>,
    /// Why it ended.
    pub termination: Termination,
    /// Steps.
    pub steps: u64,
    /// Evaluations of loss and gradient, or their equivalent.
    pub gradients: f64,
    /// (gradients, loss) whenever a quarter of what was left above the lower bound is gone, and at the end: costs are known to such steps.
    pub course: Vec<(f64, f64)>,
}

/// A line of `timings.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The instance.
    pub instance: String,
    /// The optimizer.
    pub optimizer: String,
    /// Number of the start.
    pub start: u64,
    /// Seconds that the optimizer worked, on one thread beside others.
    pub seconds: f64,
}
