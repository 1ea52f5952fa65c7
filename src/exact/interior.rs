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
    decide_from(domain, rows, variables, propose(domain, rows, variables))
}

fn decide_from<D: Domain>(
    domain: &D,
    rows: &[Inequality<D::Elem>],
    variables: usize,
    proposal: Proposal,
) -> Interior<D::Elem> {
    let everything: Vec<&Inequality<D::Elem>> = rows.iter().collect();
    let mut chosen: Vec<usize> = match proposal {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::domain::{Integers, dot, sign};
    use proptest::prelude::*;

    fn inequalities(rows: &[(Vec<i64>, i64)]) -> Vec<Inequality<IBig>> {
        let row = |(a, b): &(Vec<i64>, i64)| inequality(&Integers, a.iter().map(|&v| v.into()).collect(), (*b).into());
        rows.iter().map(row).collect()
    }

    /// Does the decision prove what it says? Returns whether there is a point.
    fn proven(rows: &[Inequality<IBig>], variables: usize, decision: &Interior<IBig>) -> bool {
        match decision {
            Interior::Point(point) => {
                for row in rows {
                    let rhs = &row.rhs << point.bits;
                    assert!(dot(&row.coeffs, &point.numerators) > rhs, "{row:?} fails at {point:?}");
                }
                true
            }
            Interior::Empty(multipliers) => {
                assert!(!multipliers.is_empty() && multipliers.iter().all(|(_, m)| sign(m) > 0));
                let sum = |part: &dyn Fn(&Inequality<IBig>) -> IBig| -> IBig {
                    multipliers.iter().map(|(k, m)| m * part(&rows[*k])).sum()
                };
                for j in 0..variables {
                    assert!(sum(&|row| row.coeffs[j].clone()).is_zero());
                }
                assert!(sign(&sum(&|row| row.rhs.clone())) >= 0);
                false
            }
        }
    }

    fn proposal() -> impl Strategy<Value = Proposal> {
        prop_oneof![
            prop::collection::vec(prop_oneof![-3.0f64..3.0, Just(0.0), Just(1e-300), Just(1e300)], 3)
                .prop_map(Proposal::Inside),
            prop::collection::btree_set(0usize..5, 0..5).prop_map(|rows| Proposal::Tight(rows.into_iter().collect())),
            Just(Proposal::Silent),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn a_wrong_proposal_changes_neither_the_answer_nor_its_proof(
            rows in prop::collection::vec((prop::collection::vec(-3i64..4, 3), -2i64..3), 5..14),
            proposal in proposal(),
            homogeneous in any::<bool>(),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(a, b)| (a, if homogeneous { 0 } else { b })).collect();
            let rows = inequalities(&rows);
            let misled = decide_from(&Integers, &rows, 3, proposal);
            let guided = interior(&Integers, &rows, 3);
            prop_assert_eq!(proven(&rows, 3, &misled), proven(&rows, 3, &guided));
        }
    }

    #[test]
    fn a_program_on_which_dantzigs_rule_cycles_is_decided() {
        // Beale's example (1955) in four variables, with the demand that the objective exceed its optimum 1/20 or stay below.
        let beale = |bound: i64| {
            let mut rows = vec![
                (vec![-25, 6000, 4, -900], 0),
                (vec![-50, 9000, 2, -300], 0),
                (vec![0, 0, -1, 0], -1),
                (vec![75, -15000, 2, -600], bound),
            ];
            rows.extend((0..4).map(|k| ((0..4).map(|j| i64::from(j == k)).collect(), 0)));
            inequalities(&rows)
        };
        for (bound, expected) in [(4, true), (5, false), (6, false)] {
            let rows = beale(bound);
            let decision = decide_from(&Integers, &rows, 4, Proposal::Silent);
            assert_eq!(proven(&rows, 4, &decision), expected, "{bound}");
        }
    }

    #[test]
    fn the_coarsest_rounding_that_stays_inside_is_taken() {
        // 0.3 < z < 0.4: multiples of 1/8 are the first to hit.
        let rows = inequalities(&[(vec![10], 3), (vec![-10], -4)]);
        let Interior::Point(point) = interior(&Integers, &rows, 1) else { panic!("3/8 is inside") };
        assert_eq!(point, DyadicPoint { numerators: vec![3.into()], bits: 3 });
    }
}
