//! Instances that refute Thm 3.7: a realizable polysemantic partition whose cell holds no partial optimum.

use super::search::{Instance, Proposals};
use crate::exact::Rational;
use crate::theory::partial_optimum::decide;
use crate::theory::pattern::dot;
use crate::theory::problem::Feature;

/// Stream of the proposals: the claim's id.
const PURPOSE: &str = "thm-3.7";
/// Proposals looked at before the search gives up.
pub const PROPOSALS: usize = 200;

/// The theorem's hypotheses on an instance, realizability excepted.
fn hypotheses(instance: &Instance) -> bool {
    let (problem, pattern) = (&instance.problem, &instance.pattern);
    let unit = |f: &Feature| dot(&f.w_p, &f.w_p) == Rational::ONE;
    let covered: std::collections::BTreeSet<usize> = pattern.sets().iter().flatten().copied().collect();
    problem.n() >= 2
        && pattern.latents() >= problem.n()
        && problem.features().iter().all(unit)
        && pattern.is_polysemantic()
        && pattern.is_disjoint()
        && covered.len() == problem.n()
}

/// Hypotheses hold, yet the cell is not empty and holds no partial optimum.
pub fn refutes(instance: &Instance) -> bool {
    hypotheses(instance)
        && decide(&instance.problem, &instance.pattern).is_ok_and(|d| d.realizable && d.exists == Some(false))
}

/// The first refuting instance with n features among the proposals of a seed; `None` if there is none.
pub fn first(seed: u64, n: usize) -> Option<Instance> {
    Proposals::new(seed, PURPOSE, n).take(PROPOSALS).find(refutes)
}
