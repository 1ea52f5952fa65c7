//! Rows under a threshold: the cell {w : ⟨w, p_d⟩ > c for d ∈ F, ≤ c otherwise}.

use super::RegionError;
use super::inequalities::{at_least, at_most, decide};
use crate::exact::Rational;
use crate::exact::lp;
use crate::fault::{self, Fault};
use crate::theory::problem::Problem;
use sdlab_verify::format::Rat;
use std::collections::BTreeSet;

/// Whether a row with a given firing set exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// It does.
    Realizable {
        /// A row w of n_p short numbers.
        w: Vec<Rational>,
    },
    /// It does not: with the coefficients y of `on` and z of `off`, Σ y_d p_d = Σ z_e p_e and c Σ y_d ≥ c Σ z_e, so that
    /// Σ y_d ⟨w, p_d⟩ > c Σ y_d ≥ c Σ z_e ≥ Σ z_e ⟨w, p_e⟩ would be a contradiction.
    Empty {
        /// Features of F with coefficients > 0, at least one.
        on: Vec<(usize, Rat)>,
        /// Features outside F with coefficients > 0.
        off: Vec<(usize, Rat)>,
    },
}

/// Decides whether some row fires on exactly the features of `set`.
pub fn decide_row(problem: &Problem, set: &BTreeSet<usize>) -> Result<Row, RegionError> {
    let c = threshold(problem)?;
    super::in_range(problem, set)?;
    let on: Vec<bool> = (0..problem.n()).map(|d| set.contains(&d)).collect();
    Ok(decide_prefix(problem, c, &on))
}

/// Decides the first features alone: those of them that `on` marks fire, the others do not.
pub(super) fn decide_prefix(problem: &Problem, c: &Rational, on: &[bool]) -> Row {
    if !on.contains(&true) {
        return Row::Realizable { w: vec![Rational::ZERO; problem.n_p()] };
    }
    match decide(problem.n_p(), row_cell(problem, c, on)) {
        Ok(w) => Row::Realizable { w },
        Err(multipliers) => {
            let (on, off) = multipliers.into_iter().partition(|(d, _)| on[*d]);
            Row::Empty { on, off }
        }
    }
}

/// The threshold of the problem.
pub(super) fn threshold(problem: &Problem) -> Result<&Rational, RegionError> {
    problem.threshold().ok_or(RegionError::NotThreshold)
}

/// One inequality per feature: ⟨w, p_d⟩ > c where it fires, ≤ c where it does not.
pub(super) fn row_cell(problem: &Problem, c: &Rational, on: &[bool]) -> Vec<lp::Row<Rational>> {
    let inequality = |(p, &fires): (&Vec<Rational>, &bool)| match fires {
        true => at_least(p.clone(), c.clone(), !fault::planted(Fault::Cell)),
        false => at_most(p, c),
    };
    problem.features().iter().map(|f| &f.w_p).zip(on).map(inequality).collect()
}
