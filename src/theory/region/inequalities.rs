//! Systems of strict and non-strict inequalities in the form that cells give rise to.

use crate::exact::Rational;
use crate::exact::domain::{Domain, Integers};
use crate::exact::field::common_denominator;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::theory::pattern::dot;
use dashu::integer::IBig;
use sdlab_verify::format::Rat;

/// The inequality coeffs·x > rhs if `strict`, ≥ rhs otherwise.
pub(crate) fn at_least(coeffs: Vec<Rational>, rhs: Rational, strict: bool) -> Row<Rational> {
    Row { coeffs, relation: if strict { Relation::Gt } else { Relation::Ge }, rhs }
}

/// The inequality coeffs·x ≤ rhs.
pub(crate) fn at_most(coeffs: &[Rational], rhs: &Rational) -> Row<Rational> {
    at_least(coeffs.iter().map(|a| -a).collect(), -rhs, false)
}

/// A point that meets all rows, strictly wherever that is possible, or the multipliers > 0 of a contradiction.
pub(crate) fn decide(variables: usize, rows: Vec<Row<Rational>>) -> Result<Vec<Rational>, Vec<(usize, Rat)>> {
    match decide_rational(&System { variables, rows }) {
        Outcome::Feasible(x) => Ok(x),
        Outcome::Infeasible(multipliers) => Err(support(&multipliers)),
    }
}

/// coeffs·x − rhs.
pub(crate) fn slack(row: &Row<Rational>, x: &[Rational]) -> Rational {
    dot(&row.coeffs, x) - &row.rhs
}

/// The entries that are not 0, scaled by one positive factor to coprime integers.
pub(crate) fn support(values: &[Rational]) -> Vec<(usize, Rat)> {
    coprime_integers(values).into_iter().enumerate().filter(|(_, v)| !v.is_zero()).map(|(k, v)| (k, v.into())).collect()
}

/// The positive multiple of a vector with coprime integer entries.
pub(crate) fn coprime_integers(values: &[Rational]) -> Vec<IBig> {
    let (mut integers, _) = common_denominator(values);
    Integers.strip_content(&mut integers);
    integers
}
