//! What f64 arithmetic proposes for a system of inequalities: a point inside, or the rows that leave no room.

use super::domain::{Domain, Float};
use super::simplex::Inequality;
use dashu::integer::IBig;
use microlp::{ComparisonOp, OptimizationDirection, Problem, Variable};

/// Slack, relative to a row's largest coefficient, below which a row counts as tight. The solver's own tolerance is 1e-7.
const TIGHT: f64 = 1e-6;

/// Size of the shifts that make the tight rows of a system with right-hand sides few.
const SHIFT: f64 = 1e-3;

/// A guess. Nothing may be concluded from it without exact arithmetic.
#[derive(Debug, Clone)]
pub(crate) enum Proposal {
    /// A point of positive margin.
    Inside(Vec<f64>),
    /// The rows without slack at the point of largest margin.
    Tight(Vec<usize>),
    /// Nothing.
    Silent,
}

/// The point k·2^-bits, bits ≥ 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DyadicPoint {
    pub numerators: Vec<IBig>,
    pub bits: usize,
}

impl DyadicPoint {
    /// The point of the numbers k·2^-shift for any shift.
    pub fn new(mut numerators: Vec<IBig>, shift: i64) -> Self {
        if shift < 0 {
            numerators.iter_mut().for_each(|k| *k <<= shift.unsigned_abs() as usize);
        }
        Self { numerators, bits: shift.max(0) as usize }
    }

    /// Does the point satisfy the inequality strictly?
    pub fn satisfies<D: Domain>(&self, domain: &D, row: &Inequality<D::Elem>) -> bool {
        let left = domain.combination(&row.coeffs, &self.numerators);
        let right = domain.mul(&row.rhs, &domain.integer(&-(IBig::ONE << self.bits)));
        domain.sign(&domain.add(&left, &right)) > 0
    }
}

/// Asks the f64 solver for the largest margin.
pub(crate) fn propose<D: Domain>(domain: &D, rows: &[Inequality<D::Elem>], variables: usize) -> Proposal {
    let mut scaled: Vec<(Vec<f64>, f64)> = rows.iter().map(|row| scaled_row(domain, row)).collect();
    if scaled.iter().any(|(_, rhs)| !rhs.is_finite()) {
        return Proposal::Silent;
    }
    let homogeneous = scaled.iter().all(|(_, rhs)| *rhs == 0.0);
    let Some((point, margin)) = solve(&scaled, variables, homogeneous) else { return Proposal::Silent };
    if margin > TIGHT {
        return Proposal::Inside(point);
    }
    // Any vertex of {m ≥ 0: Σ m_k coeffs_k = 0, Σ m_k = 1} proves a homogeneous system closed, but at z = 0 every row is
    // tight. Distinct right-hand sides (multiples of the golden ratio modulo 1) single out the rows of one vertex.
    let size = if homogeneous { 1.0 } else { SHIFT };
    for (k, (_, rhs)) in scaled.iter_mut().enumerate() {
        *rhs += size * ((k + 1) as f64 * 0.618_033_988_749_895).fract();
    }
    let Some((point, margin)) = solve(&scaled, variables, false) else { return Proposal::Silent };
    let slack =
        |(coeffs, rhs): &(Vec<f64>, f64)| coeffs.iter().zip(&point).map(|(a, z)| a * z).sum::<f64>() - rhs - margin;
    Proposal::Tight((0..rows.len()).filter(|&k| slack(&scaled[k]) < TIGHT * size).collect())
}

/// A point z of largest t ≤ 1 with coeffs·z ≥ rhs + t, within the unit cube if asked for, and that t.
fn solve(rows: &[(Vec<f64>, f64)], variables: usize, in_cube: bool) -> Option<(Vec<f64>, f64)> {
    let reach = if in_cube { 1.0 } else { f64::INFINITY };
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let coordinates: Vec<Variable> = (0..variables).map(|_| problem.add_var(0.0, (-reach, reach))).collect();
    let margin = problem.add_var(1.0, (f64::NEG_INFINITY, 1.0));
    for (coeffs, rhs) in rows {
        let terms = coordinates.iter().copied().zip(coeffs.iter().copied()).filter(|(_, a)| *a != 0.0);
        problem.add_constraint(terms.chain([(margin, -1.0)]), ComparisonOp::Ge, *rhs);
    }
    let solution = problem.solve().ok()?.into_solution().ok()?;
    let point: Vec<f64> = coordinates.iter().map(|&v| solution.var_value(v)).collect();
    point.iter().all(|v| v.is_finite()).then(|| (point, solution.var_value(margin)))
}

/// A row divided by the power of two of its largest coefficient.
fn scaled_row<D: Domain>(domain: &D, row: &Inequality<D::Elem>) -> (Vec<f64>, f64) {
    let floats: Vec<Float> = row.coeffs.iter().map(|a| domain.approximate(a)).collect();
    let exponent = largest_exponent(&floats);
    let coeffs = floats.iter().map(|a| a.scaled(exponent)).collect();
    (coeffs, domain.approximate(&row.rhs).scaled(exponent))
}

/// The largest exponent of non-zero numbers; 0 when there is none.
pub(crate) fn largest_exponent(values: &[Float]) -> i64 {
    values.iter().filter(|v| v.mantissa != 0.0).map(|v| v.exponent).max().unwrap_or(0)
}

/// The coarsest dyadic rounding of a point that satisfies all inequalities strictly, when `round(shift)` gives the point in
/// multiples of 2^-shift for shifts from `first` to `last`.
pub(crate) fn coarsest<D: Domain>(
    domain: &D,
    rows: &[&Inequality<D::Elem>],
    (first, last): (i64, i64),
    round: impl Fn(i64) -> Vec<IBig>,
) -> Option<DyadicPoint> {
    // The row that refused the last rounding is likely to refuse the next.
    let mut suspect = 0;
    for shift in first..=last {
        let point = DyadicPoint::new(round(shift), shift);
        if rows.get(suspect).is_some_and(|row| !point.satisfies(domain, row)) {
            continue;
        }
        match rows.iter().position(|row| !point.satisfies(domain, row)) {
            None => return Some(point),
            Some(k) => suspect = k,
        }
    }
    None
}
