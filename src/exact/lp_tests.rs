//! Tests of [`super::lp`]: every outcome is checked by [`verify`], which is itself tested on hand-made proofs.

use super::{Outcome, Relation, Row, System, decide_rational, verify};
use crate::exact::field::Rationals;
use crate::exact::rational::{Rational, bits, parse, sign};
use proptest::prelude::*;

fn q(text: &str) -> Rational {
    parse(text).unwrap()
}

fn system(variables: usize, rows: &[(&[&str], &str, &str)]) -> System<Rational> {
    let rows = rows
        .iter()
        .map(|(coeffs, relation, rhs)| Row {
            coeffs: coeffs.iter().map(|a| q(a)).collect(),
            relation: match *relation {
                "=" => Relation::Eq,
                ">=" => Relation::Ge,
                _ => Relation::Gt,
            },
            rhs: q(rhs),
        })
        .collect();
    System { variables, rows }
}

fn feasible(system: &System<Rational>) -> bool {
    let outcome = decide_rational(system);
    assert!(verify(&Rationals, system, &outcome), "{outcome:?} does not decide {system:?}");
    matches!(outcome, Outcome::Feasible(_))
}

fn numbers(values: &[&str]) -> Vec<Rational> {
    values.iter().map(|v| q(v)).collect()
}

#[test]
fn a_proof_is_refused_when_any_part_of_it_fails() {
    let s = system(1, &[(&["1"], ">", "0"), (&["-1"], ">=", "0"), (&["0"], "=", "0")]);
    let infeasible = |m: &[&str]| verify(&Rationals, &s, &Outcome::Infeasible(numbers(m)));
    assert!(infeasible(&["1", "1", "0"]) && infeasible(&["2", "2", "-5"]));
    assert!(!infeasible(&["1", "2", "0"]), "coefficients must cancel");
    assert!(!infeasible(&["-1", "-1", "0"]), "multipliers of inequalities are not negative");
    assert!(!infeasible(&["0", "0", "0"]) && !infeasible(&["0", "0", "1"]), "0 ≥ 0 is no contradiction");
    assert!(!infeasible(&["1", "1"]), "one multiplier per row");
    let s = system(1, &[(&["1"], ">=", "1"), (&["-1"], ">=", "0")]);
    assert!(verify(&Rationals, &s, &Outcome::Infeasible(numbers(&["1", "1"]))));
    let s = system(1, &[(&["1"], ">=", "-1"), (&["-1"], ">", "0")]);
    assert!(!verify(&Rationals, &s, &Outcome::Infeasible(numbers(&["1", "1"]))), "0 > -1 is true");

    let s = system(2, &[(&["1", "0"], ">", "0"), (&["0", "1"], ">=", "0"), (&["1", "1"], "=", "1")]);
    let point = |x: &[&str]| verify(&Rationals, &s, &Outcome::Feasible(numbers(x)));
    assert!(point(&["1", "0"]) && point(&["1/2", "1/2"]));
    assert!(!point(&["0", "1"]) && !point(&["2", "-1"]) && !point(&["1", "1"]) && !point(&["1"]));
}

#[test]
fn small_systems_are_decided_as_by_hand() {
    assert!(feasible(&system(2, &[])));
    assert!(feasible(&system(0, &[])));
    assert!(!feasible(&system(0, &[(&[], ">", "0")])));
    assert!(!feasible(&system(2, &[(&["0", "0"], "=", "1")])));
    assert!(feasible(&system(1, &[(&["1"], ">=", "3"), (&["-1"], ">=", "-3")])));
    assert!(!feasible(&system(1, &[(&["1"], ">=", "3"), (&["-1"], ">", "-3")])));
    assert!(!feasible(&system(2, &[(&["1", "1"], "=", "1"), (&["2", "2"], "=", "3")])));
    // The row of Theorem 3.10's counterexample: p_2 = (6/5) p_1 + p_3 with p_1 and p_3 off and p_2 on.
    let off = [(&["-1", "0"][..], ">=", "0"), (&["3/5", "-4/5"], ">=", "0"), (&["3/5", "4/5"], ">", "0")];
    assert!(!feasible(&system(2, &off)));
}

#[test]
fn opposite_inequalities_act_as_an_equation() {
    // x = y by two inequalities, then y = z by two more; a strict row on the plane, and one that the plane forbids.
    let chain = [
        (&["1", "-1", "0"][..], ">=", "0"),
        (&["-1", "1", "0"], ">=", "0"),
        (&["0", "1", "-1"], ">=", "0"),
        (&["0", "-2", "2"], ">=", "0"),
    ];
    let mut rows = chain.to_vec();
    rows.push((&["1", "1", "1"], ">", "0"));
    assert!(feasible(&system(3, &rows)));
    rows.push((&["1", "0", "-1"], ">", "0"));
    assert!(!feasible(&system(3, &rows)));
}

#[test]
fn margins_of_1e_40_decide() {
    for (gap, expected) in [("1e-40", true), ("0", false), ("-1e-40", false)] {
        let rhs = (q("1") + q(gap)).to_string();
        // 1 < x < 1 + gap
        let s = system(1, &[(&["1"], ">", "1"), (&["-1"], ">", &format!("-{rhs}"))]);
        assert_eq!(feasible(&s), expected, "{gap}");
    }
    for (slope, expected) in [("1e-40", true), ("0", false), ("-1e-40", true)] {
        // A wedge of angle 1e-40, on either side.
        let tilted = (q("-1") + q(slope)).to_string();
        let s = system(2, &[(&["1", "1"], ">", "0"), (&["-1", &tilted], ">", "0")]);
        assert_eq!(feasible(&s), expected, "{slope}");
    }
    let s = system(2, &[(&["1e-40", "1"], ">", "0"), (&["1e-40", "-1"], ">", "0"), (&["-1e40", "1"], ">", "-1e-60")]);
    assert!(feasible(&s));
}

#[test]
fn numbers_beyond_f64_are_decided() {
    let s = system(2, &[(&["1e400", "1"], ">", "1e400"), (&["-1e400", "1e-400"], ">=", "-1e401")]);
    assert!(feasible(&s));
    let s = system(1, &[(&["1e400"], ">", "1e800"), (&["-1e-400"], ">", "-1")]);
    assert!(!feasible(&s));
}

#[test]
fn solutions_of_roomy_systems_are_short() {
    // Data of many digits, but a cone with the room of a quadrant.
    let s =
        system(2, &[(&["0.123456789012345678", "0.00123"], ">", "0"), (&["-0.0123", "0.98765432109876"], ">", "0")]);
    let Outcome::Feasible(x) = decide_rational(&s) else { panic!("(1, 1) is a solution") };
    assert!(x.iter().all(|v| bits(v) <= 4), "{x:?}");
}

fn relation() -> impl Strategy<Value = Relation> {
    prop_oneof![Just(Relation::Eq), Just(Relation::Ge), Just(Relation::Gt), Just(Relation::Ge), Just(Relation::Gt)]
}

/// Rows with few distinct small coefficients, so that ties, parallel and opposite rows abound.
fn rows(variables: usize, count: usize) -> impl Strategy<Value = Vec<(Vec<i64>, Relation, i64)>> {
    let coeffs = prop::collection::vec(-2i64..3, variables);
    prop::collection::vec((coeffs, relation(), -1i64..2), 0..count)
}

fn to_system(variables: usize, rows: &[(Vec<i64>, Relation, i64)], rhs_scale: i64) -> System<Rational> {
    let rows = rows
        .iter()
        .map(|(coeffs, relation, rhs)| Row {
            coeffs: coeffs.iter().map(|&a| a.into()).collect(),
            relation: *relation,
            rhs: (rhs * rhs_scale).into(),
        })
        .collect();
    System { variables, rows }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_outcome_is_a_proof(variables in 1usize..5, rows in rows(4, 12), rhs_scale in 0i64..3) {
        let rows: Vec<_> = rows.into_iter().map(|(a, r, b)| (a[..variables].to_vec(), r, b)).collect();
        feasible(&to_system(variables, &rows, rhs_scale));
    }

    #[test]
    fn rows_that_hold_at_a_planted_point_are_feasible(
        point in prop::collection::vec((-50i64..50, 1u64..9), 4),
        rows in rows(4, 14),
        slack in prop::collection::vec((0i64..3, 1u64..1000), 14),
    ) {
        let x: Vec<Rational> = point.iter().map(|&(a, b)| Rational::from_parts(a.into(), b.into())).collect();
        let mut s = to_system(4, &rows, 1);
        for (row, (a, b)) in s.rows.iter_mut().zip(slack) {
            let value = row.coeffs.iter().zip(&x).fold(Rational::ZERO, |sum, (a, x)| sum + a * x);
            let slack = match row.relation {
                Relation::Eq => Rational::ZERO,
                Relation::Ge => Rational::from_parts(a.into(), b.into()),
                Relation::Gt => Rational::from_parts((a + 1).into(), (b * b * b).into()),
            };
            row.rhs = value - slack;
        }
        prop_assert!(feasible(&s));
    }

    #[test]
    fn rows_with_a_planted_contradiction_are_infeasible(
        rows in rows(4, 10),
        weights in prop::collection::vec(0i64..4, 10),
        excess in prop_oneof![Just(q("0")), Just(q("1e-45")), Just(q("1"))],
    ) {
        // The last row says that a non-negative combination of the others is less than their right-hand sides demand.
        let mut s = to_system(4, &rows, 1);
        let mut last = Row { coeffs: vec![Rational::ZERO; 4], relation: Relation::Gt, rhs: excess };
        for (row, &weight) in s.rows.iter().zip(&weights) {
            for (sum, a) in last.coeffs.iter_mut().zip(&row.coeffs) {
                *sum -= a * Rational::from(weight);
            }
            last.rhs -= &row.rhs * Rational::from(weight);
        }
        s.rows.push(last);
        prop_assert!(!feasible(&s));
    }

    #[test]
    fn an_inequality_is_tight_at_the_solution_only_if_it_always_is(rows in rows(3, 9)) {
        let s = to_system(3, &rows, 1);
        if let Outcome::Feasible(x) = decide_rational(&s) {
            for (k, row) in s.rows.iter().enumerate().filter(|(_, row)| row.relation == Relation::Ge) {
                let value = row.coeffs.iter().zip(&x).fold(-row.rhs.clone(), |sum, (a, x)| sum + a * x);
                if sign(&value) == 0 {
                    let mut strict = s.clone();
                    strict.rows[k].relation = Relation::Gt;
                    prop_assert!(!feasible(&strict));
                }
            }
        }
    }

    #[test]
    fn the_cone_of_random_long_numbers_is_decided(
        data in prop::collection::vec(any::<i64>(), 60), rhs in prop::collection::vec(-1i64..2, 15), scale in 0i64..2,
    ) {
        let rows: Vec<_> = data.chunks(4).zip(rhs).map(|(a, b)| (a.to_vec(), Relation::Gt, b)).collect();
        feasible(&to_system(4, &rows, scale));
        feasible(&to_system(4, &rows[..5], scale));
    }
}
