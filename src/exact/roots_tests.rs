//! Tests of [`super::roots`] against polynomials with planted roots and against each other.

use super::*;
use crate::exact::rational::parse;
use proptest::prelude::*;

fn q(text: &str) -> Rational {
    parse(text).unwrap()
}

fn with_roots(roots: &[Rational]) -> Polynomial {
    roots.iter().fold(Polynomial::constant(Rational::ONE), |f, root| {
        f.mul(&Polynomial::new(vec![-root.clone(), Rational::ONE]))
    })
}

fn assert_isolated(f: &Polynomial, intervals: &[(Rational, Rational)], roots: &[Rational]) {
    assert_eq!(intervals.len(), roots.len());
    for ((lo, hi), root) in intervals.iter().zip(roots) {
        assert!(lo < root && root < hi, "{root} is not in ({lo}, {hi})");
        assert!(f.sign_at(lo) != 0 && f.sign_at(hi) != 0);
    }
    assert!(intervals.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

#[test]
fn roots_that_agree_to_forty_digits_are_separated() {
    let roots = [q("1"), q("1") + q("1e-40"), q("1") + q("2e-40")];
    let f = with_roots(&roots);
    assert_isolated(&f, &isolate_real_roots(&f), &roots);
    assert_eq!(sturm_count(&f, &q("0"), &q("2")), 3);
    assert_eq!(roots_between(&f, &q("0"), &(q("1") + q("3e-41"))), 1);
}

#[test]
fn wilkinsons_polynomial_has_its_twenty_roots() {
    let roots: Vec<Rational> = (1..=20).map(Rational::from).collect();
    let f = with_roots(&roots);
    assert_isolated(&f, &isolate_real_roots(&f), &roots);
    assert_eq!(sturm_count(&f, &q("1/2"), &q("41/2")), 20);
    // Wilkinson's perturbation of the coefficient of x^19 by -2^-23 leaves ten real roots.
    let mut coeffs = f.coeffs();
    coeffs[19] -= Rational::from_parts(IBig::ONE, UBig::ONE << 23);
    let disturbed = Polynomial::new(coeffs);
    assert_eq!(isolate_real_roots(&disturbed).len(), 10);
    assert_eq!(sturm_count(&disturbed, &q("-1000"), &q("1000")), 10);
}

#[test]
fn constants_and_polynomials_without_real_roots_have_none() {
    assert!(isolate_real_roots(&Polynomial::constant(q("3"))).is_empty());
    assert!(isolate_real_roots(&Polynomial::constant(q("0"))).is_empty());
    let f = Polynomial::new(vec![q("1"), q("0"), q("1")]);
    assert!(isolate_real_roots(&f).is_empty());
    assert_eq!(sturm_count(&f, &q("-9"), &q("9")), 0);
    assert_eq!(roots_between(&f, &q("-9"), &q("9")), 0);
}

#[test]
fn a_thousand_digits_of_the_square_root_of_two_are_right() {
    let f = Polynomial::new(vec![q("-2"), q("0"), q("1")]);
    let width = q("1e-1000");
    let (lo, hi) = refine_root(&f, &(q("1"), q("2")), &width);
    assert!(&hi - &lo <= width);
    assert!(&lo * &lo < q("2") && &hi * &hi > q("2"));
}

#[test]
fn a_root_beside_the_end_of_its_interval_is_found() {
    let root = q("1") + q("1e-50");
    let f = with_roots(&[root.clone(), q("7")]);
    let (lo, hi) = refine_root(&f, &(q("1"), q("6")), &q("1e-60"));
    assert!(lo < root && root < hi && &hi - &lo <= q("1e-60"));
    // With the root at a grid point the interval stays inside the given one.
    let f = with_roots(&[q("1/2")]);
    let (lo, hi) = refine_root(&f, &(q("0"), q("1000")), &q("5000"));
    assert!(lo >= q("0") && lo < q("1/2") && q("1/2") < hi);
}

fn small_rational() -> impl Strategy<Value = Rational> {
    (-64i64..64, prop_oneof![Just(1u64), Just(2), Just(8), 1u64..30])
        .prop_map(|(a, b)| Rational::from_parts(a.into(), b.into()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn planted_roots_are_isolated_counted_and_refined(
        roots in prop::collection::btree_set(small_rational(), 0..6),
        repeated in any::<bool>(),
        c in 1i64..40,
    ) {
        let roots: Vec<Rational> = roots.into_iter().collect();
        // A factor without real roots, and possibly every root twice.
        let mut f = with_roots(&roots).mul(&Polynomial::new(vec![c.into(), Rational::ONE, Rational::ONE]));
        prop_assert_eq!(sturm_count(&f, &q("-100"), &q("100")), roots.len());
        if repeated {
            f = f.mul(&f);
        }
        let intervals = isolate_real_roots(&f);
        assert_isolated(&f, &intervals, &roots);
        prop_assert_eq!(roots_between(&f, &q("-100"), &q("100")), roots.len());
        let part = f.squarefree_part();
        for (interval, root) in intervals.iter().zip(&roots) {
            let (lo, hi) = refine_root(&part, interval, &q("1e-9"));
            prop_assert!(lo < *root && *root < hi && &hi - &lo <= q("1e-9"));
            prop_assert!(lo >= interval.0 && hi <= interval.1);
            prop_assert!(part.sign_at(&lo) != 0 && part.sign_at(&hi) != 0);
        }
    }

    #[test]
    fn sturm_and_descartes_agree(
        coeffs in prop::collection::vec(-9i64..10, 2..9), a in small_rational(), b in small_rational(),
    ) {
        let f = Polynomial::new(coeffs.into_iter().map(Rational::from).collect());
        prop_assume!(f.degree() > 0 && a < b && f.sign_at(&a) != 0 && f.sign_at(&b) != 0);
        prop_assert_eq!(roots_between(&f, &a, &b), sturm_count(&f, &a, &b));
        prop_assert_eq!(isolate_real_roots(&f).len(), sturm_count(&f, &q("-1000"), &q("1000")));
    }

    #[test]
    fn irrational_roots_agree_with_the_eigenvalues_of_the_companion_matrix(coeffs in prop::collection::vec(-9i64..10, 2..7)) {
        let f = Polynomial::new(coeffs.iter().map(|&c| c.into()).chain([Rational::ONE]).collect());
        prop_assume!(f.is_squarefree());
        let n = coeffs.len();
        let companion = nalgebra::DMatrix::from_fn(n, n, |i, j| {
            if j + 1 == n { -coeffs[i] as f64 } else { f64::from(u8::from(i == j + 1)) }
        });
        // The iteration of the oracle does not always end.
        let schur = nalgebra::Schur::try_new(companion, f64::EPSILON, 1000);
        prop_assume!(schur.is_some());
        let eigenvalues = schur.expect("assumed").complex_eigenvalues();
        let part = f.squarefree_part();
        for interval in isolate_real_roots(&f) {
            let (lo, hi) = refine_root(&part, &interval, &q("1e-20"));
            let root = crate::exact::rational::to_f64(&((lo + hi) / q("2")));
            // Squarefree integer polynomials of this size have roots apart by more than 1e-3; 1e-4 allows for ill-conditioning.
            prop_assert!(eigenvalues.iter().any(|e| (e.re - root).abs() + e.im.abs() < 1e-4), "{}", root);
        }
    }
}
