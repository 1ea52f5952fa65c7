//! One instance in numbers, with all of its runs.

use super::dynamics::{CellStudy, Escape, PassedOver};
use crate::optim::end_point::{Class, EndPoint};
use serde::{Deserialize, Serialize};

/// Of the lines of `results.jsonl`.
pub const FORMAT: u32 = 3;

/// Shares of the way from the start to the least known loss that may be left at a hit, in decreasing order: all that a figure shows, and coarse
/// steps before.
pub const LEVELS: [f64; 12] = [0.5, 0.2, 0.1, 0.05, 0.02, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8];

/// A line of `results.jsonl`. The same comparison writes the same lines; seconds stand in `timings.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
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
    /// The exact loss of a certified point, rounded upwards, where it exceeds the bound by at most [`ATTAINED`] of Σ_d M_d ‖r_d‖².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The least loss known: that of the certified point, or the least in f64 at which any run ended.
    pub best: f64,
    /// The optima at which runs ended, by increasing loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optima: Vec<Found>,
    /// Alternating search on partition cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellStudy>,
    /// Gradient descent from beside partial optima of partition cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escapes: Vec<Escape>,
    /// Partial optima beside which it did not start; absent from results of versions that did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<Vec<PassedOver>>,
    /// Every start with every optimizer, in this order.
    pub runs: Vec<Run>,
}

/// Share of Σ_d M_d ‖r_d‖² by which a certified point may exceed the bound that it attains.
pub const ATTAINED: f64 = 1e-6;

/// An optimum at which runs ended: all ends of one pattern, up to the order of the neurons and dead ones, whose losses agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The firing sets, in ascending order, where the instance is small; none where no loss is left, whatever the pattern is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pattern: Vec<Vec<usize>>,
    /// The loss of the first of these ends.
    pub loss: f64,
    /// The class of the first of these ends.
    pub class: Class,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The optimizer.
    pub optimizer: String,
    /// Number of the start.
    pub start: u64,
    /// Where it ended; where it began, if it has diverged. Two digits of all but the loss.
    pub end: EndPoint,
    /// Class of the certified partial optimum with the end's pattern and loss, where the pattern is disjoint, the problem small, and there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<String>,
    /// Which of the optima it is; absent if the run is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum: Option<usize>,
    /// The least L̃ in the closed cell of the start, where the closed form knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_cell: Option<f64>,
    /// Why it ended: the reason of [`Termination`](crate::optim::Termination).
    pub ended: String,
    /// Steps.
    pub steps: u64,
    /// Evaluations of loss and gradient, or their equivalent, to five digits.
    pub gradients: f64,
    /// Entry k: evaluations, to four digits, until no more than [`LEVELS`]\[k\] of the way from the start to the least known loss was left. It ends
    /// where the run did not get.
    pub hits: Vec<f64>,
    /// The same on the way to the certified lower bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_bound: Vec<f64>,
    /// The same on the way to the least L̃ in the closed cell of the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_cell: Vec<f64>,
}

/// x to so many significant decimal digits.
pub fn digits(x: f64, count: usize) -> f64 {
    format!("{x:.*e}", count.saturating_sub(1)).parse().unwrap_or(x)
}

/// Costs of the hits of a run on the way to `best`, (cost, loss) after every step.
pub fn hits(course: &[(f64, f64)], best: f64) -> Vec<f64> {
    let Some(&(_, start)) = course.first() else { return Vec::new() };
    let mut found = Vec::new();
    for level in LEVELS {
        let cost = crate::stats::first_hit(course, start, best, level);
        if !cost.is_finite() {
            break;
        }
        found.push(digits(cost, 4));
    }
    found
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
    /// Entry k: seconds until the hit k of the run, to three digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_the_first_costs_at_their_levels_and_end_where_the_run_does() {
        // Of the way from 10 to 2: 0.5 left at cost 3, then back up, then 0.05 left at cost 12347.
        let course = [(1.0, 10.0), (3.0, 6.0), (5.0, 9.0), (12347.0, 2.4), (20000.0, 2.4)];
        let found = hits(&course, 2.0);
        assert_eq!(found.len(), LEVELS.iter().filter(|level| **level >= 0.05).count());
        assert_eq!(found, [3.0, 12350.0, 12350.0, 12350.0]);
        assert!(hits(&[], 0.0).is_empty());
    }

    #[test]
    fn digits_are_significant_ones() {
        assert_eq!((digits(0.000123456, 3), digits(98765.0, 2), digits(0.0, 3)), (0.000123, 99000.0, 0.0));
    }
}
