//! Polyhedra given by strict and non-strict half-spaces: a simple point of the relative interior, or multipliers that prove
//! emptiness.

use crate::exact::Rational;
use crate::exact::domain::{Domain, Integers};
use crate::exact::field::{Rationals, common_denominator};
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::matrix::{independent_columns, nullspace};
use crate::exact::rational::{bits, sign};
use crate::theory::pattern::dot;
use dashu::base::{Abs, BitTest};
use dashu::integer::{IBig, UBig};

/// The half-space coeffs·x ≥ rhs, or > rhs where strict.
#[derive(Debug, Clone)]
pub(crate) struct HalfSpace {
    pub(crate) coeffs: Vec<Rational>,
    pub(crate) rhs: Rational,
    pub(crate) strict: bool,
}

impl HalfSpace {
    /// coeffs·x − rhs.
    pub(crate) fn slack(&self, x: &[Rational]) -> Rational {
        dot(&self.coeffs, x) - &self.rhs
    }

    fn holds(&self, x: &[Rational]) -> bool {
        sign(&self.slack(x)) >= i32::from(self.strict)
    }
}

/// What a polyhedron is.
#[derive(Debug, Clone)]
pub(crate) enum Interior {
    /// Not empty.
    Point {
        /// A point that meets every half-space strictly, except those of `implied`.
        x: Vec<Rational>,
        /// The half-spaces that hold with equality on the whole polyhedron, each with a coefficient > 0: the sum of
        /// coefficient·(coeffs, rhs) over them is 0, which proves it. Empty where the polyhedron has full dimension.
        implied: Vec<(usize, Rational)>,
    },
    /// Empty: coefficients > 0 of half-spaces with Σ coefficient·coeffs = 0 and Σ coefficient·rhs > 0, or = 0 with a strict
    /// half-space among them.
    Empty(Vec<(usize, Rational)>),
}

/// A point of the relative interior, or a proof of emptiness.
///
/// All half-spaces are first taken to be strict. If that system is infeasible and its multipliers do not refute the given
/// one, they are a positive dependence of non-strict half-spaces, which therefore hold with equality; they become equations,
/// and so on. Each round lowers the dimension, so at most `variables` + 1 linear programs are decided.
pub(crate) fn interior(variables: usize, half_spaces: &[HalfSpace]) -> Interior {
    // Positive on the half-spaces known to hold with equality, zero elsewhere, with Σ implied·(coeffs, rhs) = 0.
    let mut implied = vec![Rational::ZERO; half_spaces.len()];
    loop {
        let rows = half_spaces.iter().zip(&implied).map(|(h, known)| Row {
            coeffs: h.coeffs.clone(),
            relation: if known.is_zero() { Relation::Gt } else { Relation::Eq },
            rhs: h.rhs.clone(),
        });
        let system = System { variables, rows: rows.collect() };
        let mut multipliers = match decide_rational(&system) {
            Outcome::Feasible(x) => return Interior::Point { x, implied: support(implied) },
            Outcome::Infeasible(multipliers) => multipliers,
        };
        // Multipliers of equations may be negative: add the dependence that made them equations.
        let lift = |(m, known): (&Rational, &Rational)| (sign(m) < 0).then(|| -(m / known));
        if let Some(most) = multipliers.iter().zip(&implied).filter_map(lift).max() {
            multipliers.iter_mut().zip(&implied).for_each(|(m, known)| *m += &most * known);
        }
        let total = multipliers.iter().zip(half_spaces).fold(Rational::ZERO, |sum, (m, h)| sum + m * &h.rhs);
        if sign(&total) > 0 || multipliers.iter().zip(half_spaces).any(|(m, h)| h.strict && sign(m) > 0) {
            return Interior::Empty(support(multipliers));
        }
        implied.iter_mut().zip(multipliers).for_each(|(known, m)| *known += m);
    }
}

/// The non-zero entries, scaled to coprime integers.
fn support(values: Vec<Rational>) -> Vec<(usize, Rational)> {
    coprime_integers(&values).into_iter().enumerate().filter(|(_, v)| !v.is_zero()).map(|(k, v)| (k, v.into())).collect()
}

/// The positive multiple of the vector with coprime integer entries (zeros stay zeros).
pub(crate) fn coprime_integers(values: &[Rational]) -> Vec<IBig> {
    let (mut integers, _) = common_denominator(values);
    Integers.strip_content(&mut integers);
    integers
}

/// A point with shorter numbers than `x` that meets every half-space too, and `implied` with equality as `x` does.
///
/// The free coordinates of the subspace {y : coeffs·y = 0 for implied half-spaces} are rounded to ever more bits until the
/// point passes. Where all right sides are 0 the point is scaled to coprime integers.
pub(crate) fn simple_point(half_spaces: &[HalfSpace], x: &[Rational], implied: &[(usize, Rational)]) -> Vec<Rational> {
    let cone = half_spaces.iter().all(|h| h.rhs.is_zero());
    let equations: Vec<Vec<Rational>> = implied.iter().map(|(k, _)| half_spaces[*k].coeffs.clone()).collect();
    let basis = nullspace(&Rationals, &equations, x.len());
    // A basis vector has the 1 of its free column, the only one of these columns where it is not 0.
    let pivots = independent_columns(&Rationals, &equations);
    let free: Vec<&Rational> = (0..x.len()).filter(|k| !pivots.contains(k)).map(|k| &x[k]).collect();
    let largest = free.iter().map(|t| (*t).clone().abs()).max().unwrap_or(Rational::ZERO);
    if largest.is_zero() {
        return x.to_vec();
    }
    // 2^exponent exceeds every free coordinate, by a factor of at most 4.
    let exponent = largest.numerator().bit_len() as i64 - largest.denominator().bit_len() as i64 + 1;
    let length: usize = x.iter().map(bits).sum();
    let mut kept = 1;
    while (kept as usize) * free.len() < length {
        let unit = power_of_two(exponent - kept);
        let rounded = free.iter().map(|t| Rational::from((*t / &unit).round()) * &unit);
        let mut point = vec![Rational::ZERO; x.len()];
        for (t, direction) in rounded.zip(&basis) {
            point.iter_mut().zip(direction).for_each(|(p, b)| *p += &t * b);
        }
        if half_spaces.iter().all(|h| h.holds(&point)) {
            return if cone { coprime_integers(&point).into_iter().map(Rational::from).collect() } else { point };
        }
        kept += 1 + kept / 4;
    }
    if cone { coprime_integers(x).into_iter().map(Rational::from).collect() } else { x.to_vec() }
}

fn power_of_two(exponent: i64) -> Rational {
    let power = UBig::ONE << exponent.unsigned_abs() as usize;
    if exponent >= 0 { Rational::from(power) } else { Rational::from_parts(IBig::ONE, power) }
}
