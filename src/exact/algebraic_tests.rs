//! Tests of [`super::NumberField`] against f64, against identities, and against fields whose polynomial hides a factor.

use super::*;
use crate::exact::definite::is_positive_definite;
use crate::exact::field::Rationals;
use crate::exact::lp::{Outcome, Relation, Row, System, decide, decide_rational, verify};
use crate::exact::matrix::{mat_mul, mat_vec, nullspace, rank, rref, solve};
use crate::exact::poly::{adjugate_column, characteristic_polynomial, isolate_real_roots, sturm_count};
use crate::exact::rational::parse;
use dashu::base::Abs;
use proptest::prelude::*;

fn q(text: &str) -> Rational {
    parse(text).unwrap()
}

fn qs(values: &[&str]) -> Vec<Rational> {
    values.iter().map(|v| q(v)).collect()
}

fn field(coeffs: &[i64], lo: &str, hi: &str) -> NumberField {
    let poly = Polynomial::from_integers(coeffs.iter().map(|&c| c.into()).collect());
    NumberField::new(&poly, &q(lo), &q(hi)).unwrap()
}

/// All real roots of a polynomial as fields.
fn fields(poly: &Polynomial) -> Vec<NumberField> {
    let part = poly.squarefree_part();
    isolate_real_roots(poly).iter().map(|(lo, hi)| NumberField::new(&part, lo, hi).unwrap()).collect()
}

#[test]
fn only_isolating_intervals_of_squarefree_polynomials_make_a_field() {
    let make = |coeffs: &[i64], lo: &str, hi: &str| {
        NumberField::new(&Polynomial::from_integers(coeffs.iter().map(|&c| c.into()).collect()), &q(lo), &q(hi))
            .is_some()
    };
    assert!(make(&[-2, 0, 1], "1", "2") && make(&[-2, 0, 1], "-1/2", "2"));
    assert!(!make(&[-2, 0, 1], "-2", "2"), "two roots");
    assert!(!make(&[-2, 0, 1], "2", "3") && !make(&[-2, 0, 1], "2", "1"), "no root");
    assert!(!make(&[-4, 0, 1], "2", "3") && !make(&[0, -1, 1], "-1", "1"), "an end point is a root");
    assert!(!make(&[4, 0, -4, 0, 1], "1", "2"), "(x² − 2)² is not squarefree");
    assert!(!make(&[0, -1, 0, 1], "-2", "2"), "three roots");
    assert!(!make(&[3], "1", "2") && !make(&[], "1", "2"), "constants");
}

#[test]
fn rational_roots_are_recognised() {
    // (2x − 3)(x² − 2)
    let hidden = field(&[6, -4, -3, 2], "29/20", "8");
    assert_eq!(hidden.rational_value(), Some(q("3/2")));
    assert_eq!(hidden.alpha(), qs(&["3/2"]));
    assert_eq!(hidden.poly(), Polynomial::from_integers(vec![(-3).into(), 2.into()]));
    assert_eq!(hidden.sign(&qs(&["-9/4", "0", "1"])), 0);
    let (lo, hi) = hidden.interval();
    assert!(lo < q("3/2") && q("3/2") < hi && lo >= q("29/20"));
    assert_eq!(field(&[6, -4, -3, 2], "1", "29/20").rational_value(), None);
    assert_eq!(field(&[-6, 4], "-100", "1000").rational_value(), Some(q("3/2")));
    assert_eq!(field(&[1_000_003, 7], "-1e9", "1").rational_value(), Some(q("-1000003/7")));
}

#[test]
fn a_zero_test_shrinks_the_polynomial_and_keeps_elements_valid() {
    // (x² − 2)(x² − 3) at √2
    let f = field(&[6, 0, -5, 0, 1], "1", "3/2");
    let element = qs(&["1", "2", "3", "4"]);
    let before = f.to_f64(&element);
    assert_eq!(f.sign(&qs(&["-2", "0", "1"])), 0);
    assert_eq!(f.poly(), Polynomial::from_integers([-2, 0, 1].map(IBig::from).to_vec()));
    // 1 + 2√2 + 3·2 + 4·2√2
    assert_eq!(f.normal_form(&element), qs(&["7", "10"]));
    // Both are within 2^-52 of a number below 32.
    assert!((f.to_f64(&element) - before).abs() < 1e-14);
    let (lo, hi) = f.interval();
    assert_eq!(sturm_count(&f.poly(), &lo, &hi), 1);
    // x² − 3 is not zero at √2, and its inverse is found by discarding that factor.
    let f = field(&[6, 0, -5, 0, 1], "1", "3/2");
    assert_eq!(f.inv(&qs(&["-3", "0", "1"])), qs(&["-1"]));
    assert_eq!(f.degree(), 2);
    let f = field(&[6, 0, -5, 0, 1], "1", "3/2");
    // 10^60·(x² − 3) + x² − 2: not zero, with a gcd modulo neither factor; and a sign that needs no precision.
    assert_eq!(f.sign(&qs(&["-3e60", "0", "1e60"])), -1);
}

#[test]
fn signs_are_exact_at_any_distance_from_zero() {
    let f = field(&[-2, 0, 1], "1", "2");
    // A convergent of √2: p/q − √2 is of size 1/(2√2 q²).
    let (mut p, mut d) = (IBig::ONE, IBig::ONE);
    for k in 0..2000 {
        if k % 250 == 0 {
            let element = vec![Rational::from_parts_signed(p.clone(), d.clone()), -Rational::ONE];
            assert_eq!(f.sign(&element), if k % 2 == 0 { -1 } else { 1 }, "{k}");
            assert_eq!(f.sign(&f.neg(&element)), if k % 2 == 0 { 1 } else { -1 }, "{k}");
        }
        (p, d) = (&p + IBig::from(2) * &d, p + d);
    }
    let (lo, hi) = f.enclosure(&f.alpha(), 3000);
    assert!(&lo * &lo < q("2") && q("2") < &hi * &hi && hi - lo <= Rational::from_parts(IBig::ONE, UBig::ONE << 3000));
}

#[test]
fn isolating_intervals_are_short() {
    // √2 and √2 + 1e-30 are two roots, so one side needs about 100 bits; the other side stays short.
    let x = Polynomial::new(qs(&["0", "1"]));
    let square = x.mul(&x).sub(&Polynomial::constant(q("2")));
    let shifted = square.compose_linear(&q("-1e-30"), &q("1"));
    let all = fields(&square.mul(&shifted));
    assert_eq!(all.len(), 4);
    for f in &all {
        let (lo, hi) = f.interval();
        assert_eq!(sturm_count(&f.poly(), &lo, &hi), 1);
        assert!(rational::bits(&lo).min(rational::bits(&hi)) <= 16, "({lo}, {hi})");
    }
    let (lo, hi) = field(&[-2, 0, 1], "141421356237309504/100000000000000000", "15/10").interval();
    assert!(rational::bits(&hi) <= 6 && lo < hi);
}

/// A polynomial with two to six real roots, reducible in some cases, not monic in most.
fn random_field() -> impl Strategy<Value = NumberField> {
    let coeffs = |n| prop::collection::vec(-12i64..13, n);
    (coeffs(3), coeffs(4), any::<prop::sample::Index>()).prop_filter_map("no real root", |(a, b, index)| {
        let [a, b] = [a, b].map(|c| Polynomial::from_integers(c.into_iter().map(IBig::from).collect()));
        let all = if a.is_zero() || b.is_zero() { Vec::new() } else { fields(&a.mul(&b)) };
        (!all.is_empty()).then(|| all[index.index(all.len())].clone())
    })
}

fn element() -> impl Strategy<Value = Vec<Rational>> {
    prop::collection::vec((-20i64..21, 1u64..9), 1..6)
        .prop_map(|c| trimmed(c.into_iter().map(|(a, b)| Rational::from_parts(a.into(), b.into())).collect()))
}

/// The value by Horner's rule at an enclosure of α to 400 bits, far more than a zero of this size needs.
fn value(f: &NumberField, a: &[Rational]) -> Rational {
    let (alpha, _) = f.enclosure(&f.alpha(), 400);
    a.iter().rev().fold(Rational::ZERO, |sum, c| sum * &alpha + c)
}

fn nearly_zero(x: &Rational) -> bool {
    // |α| ≤ 13 and elements below 20·13^5, so 400 bits of α leave errors below 2^-340; a product of a few factors, below 2^-300.
    x.numerator().is_zero() || (x.denominator().bit_len() as i64 - x.numerator().bit_len() as i64) > 300
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn field_operations_are_those_of_the_values(f in random_field(), a in element(), b in element()) {
        for (exact, expected) in [
            (f.add(&a, &b), value(&f, &a) + value(&f, &b)),
            (f.sub(&a, &b), value(&f, &a) - value(&f, &b)),
            (f.mul(&a, &b), value(&f, &a) * value(&f, &b)),
            (f.neg(&a), -value(&f, &a)),
            (f.normal_form(&a), value(&f, &a)),
        ] {
            prop_assert!(nearly_zero(&(value(&f, &exact) - expected)));
            prop_assert!(!exact.is_empty() && exact.len() <= f.degree().max(5));
        }
        prop_assert!(f.normal_form(&a).len() <= f.degree());
    }

    #[test]
    fn signs_and_inverses_agree_with_the_values(f in random_field(), a in element()) {
        let sign = f.sign(&a);
        let v = value(&f, &a);
        prop_assert_eq!(sign, if nearly_zero(&v) { 0 } else { rational::sign(&v) });
        if sign != 0 {
            let inverse = f.inv(&a);
            prop_assert!(nearly_zero(&(value(&f, &inverse) * &v - Rational::ONE)));
            prop_assert_eq!(f.sign(&f.sub(&f.mul(&a, &inverse), &f.one())), 0);
            let relative = f.to_f64(&a) / rational::to_f64(&v) - 1.0;
            // to_f64 promises about 52 bits.
            prop_assert!(relative.abs() < 1e-15, "{}", relative);
        }
        let (centre, radius) = f.ball(&a, 100);
        let offset = v * Rational::from(IBig::ONE << 100) - Rational::from(centre);
        prop_assert!(offset.abs() <= Rational::from(radius));
    }

    #[test]
    fn the_polynomial_always_isolates_the_same_root(f in random_field(), a in element(), b in element()) {
        let (before, _) = f.enclosure(&f.alpha(), 200);
        f.sign(&a);
        if f.sign(&b) != 0 {
            f.inv(&b);
        }
        let (lo, hi) = f.interval();
        prop_assert!(f.poly().sign_at(&lo) * f.poly().sign_at(&hi) < 0);
        prop_assert_eq!(sturm_count(&f.poly(), &lo, &hi), 1);
        prop_assert!(lo < before && before < hi);
        prop_assert!(NumberField::new(&f.poly(), &lo, &hi).is_some());
        let (after, _) = f.enclosure(&f.alpha(), 200);
        prop_assert!((before - after).abs() <= Rational::from_parts(IBig::ONE, UBig::ONE << 200));
    }
}

/// A symmetric integer matrix and the fields of its eigenvalues.
fn symmetric() -> impl Strategy<Value = Vec<Vec<Rational>>> {
    (2usize..5).prop_flat_map(|n| {
        prop::collection::vec((-3i64..4, 1u64..3), n * n).prop_map(move |entries| {
            let entry = |i: usize, j: usize| {
                let (a, b) = entries[i.min(j) * n + i.max(j)];
                Rational::from_parts(a.into(), b.into())
            };
            (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
        })
    })
}

/// K − αI over ℚ(α).
fn shifted(f: &NumberField, K: &[Vec<Rational>]) -> Vec<Vec<Vec<Rational>>> {
    let entry = |i: usize, j: usize| {
        let value = f.rational(&K[i][j]);
        if i == j { f.sub(&value, &f.alpha()) } else { value }
    };
    (0..K.len()).map(|i| (0..K.len()).map(|j| entry(i, j)).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn eigenspaces_over_the_field_of_an_eigenvalue_are_exact(K in symmetric()) {
        let n = K.len();
        let f = characteristic_polynomial(&K);
        let mut dimensions = 0;
        for field in fields(&f) {
            let matrix = shifted(&field, &K);
            let basis = nullspace(&field, &matrix, n);
            prop_assert_eq!(basis.len(), n - rank(&field, &matrix));
            dimensions += basis.len();
            for vector in &basis {
                prop_assert!(mat_vec(&field, &matrix, vector).iter().all(|v| field.is_zero(v)));
            }
            let (reduced, pivots) = rref(&field, &matrix);
            for (row, &p) in reduced.iter().zip(&pivots) {
                prop_assert_eq!(field.sign(&field.sub(&row[p], &field.one())), 0);
            }
            // Columns of the adjugate of αI − K lie in the eigenspace; for a simple eigenvalue one of them is not zero.
            let columns: Vec<Vec<Vec<Rational>>> =
                (0..n).map(|j| adjugate_column(&K, j).iter().map(|p| field.evaluate(p)).collect()).collect();
            for column in &columns {
                prop_assert!(mat_vec(&field, &matrix, column).iter().all(|v| field.is_zero(v)));
            }
            prop_assert_eq!(columns.iter().flatten().any(|v| field.sign(v) != 0), basis.len() == 1);
            // An image is reached, and a vector off the image is not: K − αI is symmetric, so its image is the complement of the kernel.
            let x: Vec<_> = (0..n).map(|k| field.rational(&Rational::from(k as i64 + 1))).collect();
            let image = mat_vec(&field, &matrix, &x);
            let found = solve(&field, &matrix, &image).unwrap();
            let again = mat_vec(&field, &matrix, &found);
            prop_assert!(again.iter().zip(&image).all(|(a, b)| field.cmp(a, b).is_eq()));
            prop_assert!(solve(&field, &matrix, &basis[0]).is_none());
        }
        // A symmetric matrix is diagonalisable over the reals.
        prop_assert_eq!(dimensions, n);
    }

    #[test]
    fn definiteness_over_a_field_agrees_with_the_order_of_the_eigenvalues(K in symmetric(), shift in -3i64..8) {
        // K + (shift − α)I is positive definite iff the smallest eigenvalue of K exceeds α − shift.
        for field in fields(&Polynomial::from_integers([-2, 0, 1].map(IBig::from).to_vec())) {
            let mut matrix = shifted(&field, &K);
            for (k, row) in matrix.iter_mut().enumerate() {
                row[k] = field.add(&row[k], &field.rational(&shift.into()));
            }
            let roots = fields(&characteristic_polynomial(&K));
            let bound = field.to_f64(&field.alpha()) - shift as f64;
            let smallest = roots[0].to_f64(&roots[0].alpha());
            // √2 is no eigenvalue of small matrices shifted by integers except by design; leave ties to the exact tests.
            prop_assume!((smallest - bound).abs() > 1e-9);
            prop_assert_eq!(crate::exact::matrix::is_positive_definite_in(&field, &matrix), Some(smallest > bound));
        }
    }

    #[test]
    fn systems_over_a_field_are_decided_with_proof(
        f in random_field(),
        data in prop::collection::vec((-2i64..3, -2i64..3), 32),
        relations in prop::collection::vec(0usize..5, 8),
        homogeneous in any::<bool>(),
    ) {
        let system = System {
            variables: 3,
            rows: data
                .chunks(4)
                .zip(relations)
                .map(|(row, relation)| {
                    let mut entries: Vec<_> = row.iter().map(|&(a, b)| f.normal_form(&[a.into(), b.into()])).collect();
                    let rhs = entries.pop().unwrap();
                    Row {
                        coeffs: entries,
                        relation: [Relation::Eq, Relation::Ge, Relation::Gt, Relation::Ge, Relation::Gt][relation],
                        rhs: if homogeneous { f.zero() } else { rhs },
                    }
                })
                .collect(),
        };
        let outcome = decide(&f, &system);
        prop_assert!(verify(&f, &system, &outcome), "{:?}", outcome);
    }

    #[test]
    fn systems_of_rational_numbers_have_the_same_answer_over_every_field(
        f in random_field(), data in prop::collection::vec(-3i64..4, 24), relations in prop::collection::vec(0usize..3, 8),
    ) {
        let rows = |entry: &dyn Fn(i64) -> Rational| -> Vec<Row<Rational>> {
            data.chunks(3).zip(&relations).map(|(row, &relation)| Row {
                coeffs: row[..2].iter().map(|&a| entry(a)).collect(),
                relation: [Relation::Eq, Relation::Ge, Relation::Gt][relation],
                rhs: entry(row[2]),
            }).collect()
        };
        let plain = System { variables: 2, rows: rows(&|a| a.into()) };
        let lifted = System {
            variables: 2,
            rows: plain.rows.iter().map(|row| Row {
                coeffs: f.rationals(&row.coeffs), relation: row.relation, rhs: f.rational(&row.rhs),
            }).collect(),
        };
        let same = matches!(
            (decide_rational(&plain), decide(&f, &lifted)),
            (Outcome::Feasible(_), Outcome::Feasible(_)) | (Outcome::Infeasible(_), Outcome::Infeasible(_))
        );
        prop_assert!(same);
    }
}

#[test]
fn an_inequality_that_holds_with_equality_only_at_the_irrational_point_is_decided() {
    // x ≥ α, x ≤ α, and a strict row through the point, on it, and off it by 1e-50.
    let f = field(&[-2, 0, 1], "1", "2");
    let row = |a: &str, relation, rhs: Vec<Rational>| Row { coeffs: vec![f.rational(&q(a))], relation, rhs };
    for (slack, expected) in [("1e-50", true), ("0", false), ("-1e-50", false)] {
        let system = System {
            variables: 1,
            rows: vec![
                row("1", Relation::Ge, f.alpha()),
                row("-2", Relation::Ge, f.scale(&q("-2"), &f.alpha())),
                row("1", Relation::Gt, f.sub(&f.alpha(), &f.rational(&q(slack)))),
            ],
        };
        let outcome = decide(&f, &system);
        assert!(verify(&f, &system, &outcome));
        assert_eq!(matches!(outcome, Outcome::Feasible(_)), expected, "{slack}");
    }
}

#[test]
fn a_gram_matrix_over_the_rationals_inside_a_field_is_still_definite() {
    let f = field(&[-2, 0, 0, 1], "1", "2");
    let A = [[1, 2, 0], [0, 1, 5], [3, 0, 1]].map(|row| row.map(Rational::from).to_vec());
    let gram = mat_mul(&Rationals, &crate::exact::matrix::transpose(&A), &A);
    let lifted: Vec<Vec<Vec<Rational>>> = gram.iter().map(|row| f.rationals(row)).collect();
    assert!(is_positive_definite(&gram));
    assert_eq!(crate::exact::matrix::is_positive_definite_in(&f, &lifted), Some(true));
}
