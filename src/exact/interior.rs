//! A point strictly inside a polyhedron, or multipliers that prove that there is none.

use super::domain::{Domain, Float};
use super::proposal::{DyadicPoint, Proposal, coarsest, largest_exponent, propose};
use super::simplex::{Inequality, Margin, largest_margin};
use dashu::integer::IBig;

/// Whether all inequalities can be strict at once.
#[derive(Debug, Clone)]
pub(crate) enum Interior<E> {
    /// They are at this point.
    Point(DyadicPoint),
    /// (k, m_k) with m_k > 0, at least one, Σ m_k coeffs_k = 0 and Σ m_k rhs_k ≥ 0.
    Empty(Vec<(usize, E)>),
}

/// Builds an inequality with a weight of the size of its coefficients.
pub(crate) fn inequality<D: Domain>(domain: &D, coeffs: Vec<D::Elem>, rhs: D::Elem) -> Inequality<D::Elem> {
    let floats: Vec<Float> = coeffs.iter().map(|a| domain.approximate(a)).collect();
    let weight = IBig::ONE << largest_exponent(&floats).max(0) as usize;
    Inequality { coeffs, rhs, weight }
}

/// Decides with exact arithmetic, guided by f64.
///
/// A proposed point is rounded and checked. If that fails, the exact simplex runs on the rows proposed as tight; rows that its
/// point violates join until either all are satisfied or some have no common strict point.
pub(crate) fn interior<D: Domain>(domain: &D, rows: &[Inequality<D::Elem>], variables: usize) -> Interior<D::Elem> {
    if rows.is_empty() {
        return Interior::Point(DyadicPoint::new(vec![IBig::ZERO; variables], 0));
    }
    let everything: Vec<&Inequality<D::Elem>> = rows.iter().collect();
    let mut chosen: Vec<usize> = match propose(domain, rows, variables) {
        Proposal::Inside(point) => match round_floats(domain, &everything, &point) {
            Some(point) => return Interior::Point(point),
            None => (0..rows.len()).collect(),
        },
        Proposal::Tight(tight) => tight,
        Proposal::Silent => (0..rows.len()).collect(),
    };
    loop {
        let subset: Vec<&Inequality<D::Elem>> = chosen.iter().map(|&k| &rows[k]).collect();
        match largest_margin(domain, &subset, variables) {
            Margin::Closed(multipliers) => {
                return Interior::Empty(multipliers.into_iter().map(|(k, m)| (chosen[k], m)).collect());
            }
            Margin::Positive { numerators, denominator } => {
                let point = round_exact(domain, &subset, &numerators, &denominator);
                let violated: Vec<usize> = (0..rows.len()).filter(|&k| !point.satisfies(domain, &rows[k])).collect();
                if violated.is_empty() {
                    return Interior::Point(point);
                }
                // The point satisfies the chosen rows, so these are new.
                chosen.extend(violated);
                chosen.sort_unstable();
            }
        }
    }
}

fn round_floats<D: Domain>(domain: &D, rows: &[&Inequality<D::Elem>], point: &[f64]) -> Option<DyadicPoint> {
    let largest = point.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let exponent = if largest > 0.0 { largest.log2().ceil() as i64 } else { 0 };
    // From one significant bit of the largest coordinate to all bits that an f64 has.
    coarsest(domain, rows, (1 - exponent, 53 - exponent), |shift| {
        let scale = 2f64.powi(shift as i32);
        // Below 2^54 in absolute value, so the conversion is exact.
        point.iter().map(|v| IBig::from((v * scale).round() as i64)).collect()
    })
}

/// Rounds a point at which all rows are strict so coarsely that they stay strict.
fn round_exact<D: Domain>(
    domain: &D,
    rows: &[&Inequality<D::Elem>],
    numerators: &[D::Elem],
    denominator: &D::Elem,
) -> DyadicPoint {
    let floats: Vec<Float> = numerators.iter().map(|n| domain.approximate(n)).collect();
    let exponent = largest_exponent(&floats) - domain.approximate(denominator).exponent;
    let mut first = -exponent;
    loop {
        // Every slack is positive, so a fine enough rounding satisfies all rows.
        let last = first + 63;
        let rounded = coarsest(domain, rows, (first, last), |shift| {
            numerators
                .iter()
                .map(|n| {
                    // One more bit and half a unit, then down: round to nearest.
                    let twice = domain.rounded_quotient(n, denominator, shift + 1);
                    (twice + IBig::ONE) >> 1
                })
                .collect()
        });
        match rounded {
            Some(point) => return point,
            None => first = last + 1,
        }
    }
}
