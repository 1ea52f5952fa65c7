//! Rows under a threshold: the cell {w : ⟨w, p_d⟩ > c for d ∈ F, ≤ c otherwise}.

use super::RegionError;
use super::polyhedron::{HalfSpace, Interior, interior, simple_point};
use crate::exact::Rational;
use crate::theory::problem::Problem;
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
        on: Vec<(usize, Rational)>,
        /// Features outside F with coefficients > 0.
        off: Vec<(usize, Rational)>,
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
    let cell = row_cell(problem, c, on);
    match interior(problem.n_p(), &cell) {
        Interior::Point { x, implied } => Row::Realizable { w: simple_point(&cell, &x, &implied) },
        Interior::Empty(multipliers) => {
            let (on, off) = multipliers.into_iter().partition(|(d, _)| on[*d]);
            Row::Empty { on, off }
        }
    }
}

/// The threshold of the problem.
pub(super) fn threshold(problem: &Problem) -> Result<&Rational, RegionError> {
    problem.threshold().ok_or(RegionError::NotThreshold)
}

/// One half-space per feature: ⟨w, p_d⟩ > c where it fires, −⟨w, p_d⟩ ≥ −c where it does not.
pub(super) fn row_cell(problem: &Problem, c: &Rational, on: &[bool]) -> Vec<HalfSpace> {
    let half_space = |(p, &fires): (&Vec<Rational>, &bool)| match fires {
        true => HalfSpace { coeffs: p.clone(), rhs: c.clone(), strict: true },
        false => HalfSpace { coeffs: p.iter().map(|x| -x).collect(), rhs: -c, strict: false },
    };
    problem.features().iter().map(|f| &f.w_p).zip(on).map(half_space).collect()
}
