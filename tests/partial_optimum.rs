//! Partial optima decided exactly: the degenerate cases, the laws, and the invariances.

use proptest::prelude::*;
use sdlab::exact::Rational;
use sdlab::exact::rational::{from_f64, parse, to_f64};
use sdlab::theory::partial_optimum::{Class, Decision, Kind, LossValue, decide};
use sdlab::theory::pattern::Pattern;
use sdlab::theory::problem::{Activation, Feature, Problem};

/// A number written as text.
fn q(text: &str) -> Rational {
    parse(text).expect("test numbers are exact")
}

fn vector(text: &str) -> Vec<Rational> {
    text.split(' ').map(q).collect()
}

/// A ReLU problem: (p, r, mass) per feature; an empty r means r = p.
fn relu(features: &[(&str, &str, &str)]) -> Problem {
    let features = features
        .iter()
        .map(|(p, r, mass)| Feature { w_p: vector(p), w_r: vector(if r.is_empty() { p } else { r }), mass: q(mass) })
        .collect();
    Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("test problems are valid")
}

/// Decides, and checks every certificate with the checker.
fn decided(problem: &Problem, lists: &[&[usize]]) -> Decision {
    let pattern =
        Pattern::new(lists.iter().map(|l| l.to_vec()).collect(), problem.n()).expect("test patterns are valid");
    let decision = decide(problem, &pattern).expect("test problems have thresholds");
    for certificate in decision.certificate.iter().chain(decision.optima.iter().map(|o| &o.certificate)) {
        let accepted = sdlab_verify::check(certificate);
        assert!(accepted.is_ok(), "{}: {}", accepted.unwrap_err(), certificate.to_json());
    }
    decision
}

#[test]
fn orthonormal_features_with_masses_1_and_2_have_no_partial_optimum() {
    let decision = decided(&relu(&[("1 0", "", "1"), ("0 1", "", "2")]), &[&[0, 1], &[]]);
    assert!(decision.realizable);
    assert_eq!(decision.exists, Some(false));
    assert!(decision.certificate.is_some() && decision.optima.is_empty());
}

#[test]
fn example_3_5_is_one_family_of_non_strict_local_minima_with_loss_1() {
    let decision = decided(&relu(&[("1 0", "", "1"), ("0 1", "", "1")]), &[&[0, 1], &[]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one family: {:?}", decision.optima.len()) };
    assert_eq!(
        (optimum.kind, optimum.class, optimum.strict, optimum.family_dim),
        (Kind::Interior, Class::LocalMin, false, 1)
    );
    assert_eq!(optimum.loss, LossValue::Rational(Rational::ONE));
}

#[test]
fn masses_that_differ_by_1e_40_have_no_partial_optimum() {
    let second = q("1") + q("1e-40");
    let decision = decided(&relu(&[("1 0", "", "1"), ("0 1", "", &second.to_string())]), &[&[0, 1]]);
    assert_eq!(decision.exists, Some(false));
    assert!(decision.certificate.is_some());
}

#[test]
fn overlaps_of_1e_40_decide_existence_and_class_by_their_sign() {
    for (overlap, class) in [("1e-40", Class::LocalMin), ("-1e-40", Class::StrictSaddle)] {
        let r = format!("{overlap} 1");
        for mass in ["1", "2"] {
            let decision = decided(&relu(&[("1 0", "1 0", "1"), ("0 1", &r, mass)]), &[&[0, 1]]);
            let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
            assert_eq!((optimum.kind, optimum.class), (Kind::Interior, class), "{overlap} {mass}");
        }
    }
}

#[test]
fn parallel_targets_reach_loss_zero_and_antiparallel_ones_are_saddles() {
    let decision = decided(&relu(&[("1 0", "1 0", "1"), ("0 1", "1 0", "3")]), &[&[0, 1]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
    assert_eq!((optimum.class, optimum.strict), (Class::LocalMin, true));
    assert_eq!(optimum.loss, LossValue::Rational(Rational::ZERO));
    let decision = decided(&relu(&[("1 0", "1 0", "1"), ("0 1", "-1 0", "3")]), &[&[0, 1]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
    assert_eq!(optimum.class, Class::StrictSaddle);
    assert_eq!(optimum.loss, LossValue::Rational(q("4")));
}

#[test]
fn a_repeated_eigenvalue_is_one_family() {
    let problem = relu(&[("1 0 0", "", "2"), ("0 1 0", "", "2"), ("0 0 1", "", "2")]);
    let decision = decided(&problem, &[&[0, 1, 2]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one family") };
    assert_eq!((optimum.class, optimum.strict, optimum.family_dim), (Class::LocalMin, false, 2));
    assert_eq!(optimum.loss, LossValue::Rational(q("4")));
}

#[test]
fn equal_masses_do_not_save_the_theorem() {
    let problem = relu(&[("1 0 0", "", "1"), ("200/10001 9999/10001 0", "", "1"), ("-100/2501 0 2499/2501", "", "1")]);
    assert_eq!(decided(&problem, &[&[0, 1, 2], &[], &[]]).exists, Some(false));
}

#[test]
fn an_irrational_optimum_is_certified_in_its_field() {
    let decision = decided(&relu(&[("1 0", "1 0", "1"), ("0 1", "1/2 1", "2")]), &[&[0, 1]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
    assert_eq!(optimum.class, Class::LocalMin);
    let LossValue::Algebraic { poly, lo, hi } = &optimum.loss else { panic!("{:?}", optimum.loss) };
    assert_eq!(poly.len(), 3);
    let at = |x: &Rational| poly.iter().rev().fold(Rational::ZERO, |s, k| s * x + k);
    assert!(at(lo) * at(hi) < Rational::ZERO);
    // S = D^½GD^½ has trace 7/2 and determinant 2, so the loss 7/2 − λ_max is the smaller eigenvalue.
    let expected = (3.5 - (3.5_f64 * 3.5 - 8.0).sqrt()) / 2.0;
    assert!((optimum.loss.to_f64() - expected).abs() < 1e-14, "f64 rounding of two operations");
}

#[test]
fn a_boundary_optimum_on_an_off_face_is_listed_with_its_multiplier() {
    let decision = decided(&relu(&[("1 0", "", "1"), ("0 1", "", "2"), ("-4/5 3/5", "", "1")]), &[&[0, 1]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
    assert_eq!((optimum.kind, optimum.class), (Kind::Boundary, Class::LocalMin));
    assert_eq!(optimum.blocks[0].multipliers, [2]);
    let w = &optimum.blocks[0].w;
    assert!((w[0] * 4.0 - w[1] * 3.0).abs() < 1e-12, "w ∝ (3, 4) up to rounding");
    // 1 + 2 − μ with μ = wᵀAw/wᵀBw at w = (3, 4): (9 + 4·16)/(9 + 2·16); the third feature, not covered, adds 1.
    assert_eq!(optimum.loss, LossValue::Rational(q("4") - q("73/41")));
}

#[test]
fn a_zero_gradient_on_antipodal_faces_is_a_minimum_of_its_ray() {
    let problem = relu(&[("1 0", "", "1"), ("-7/25 24/25", "", "1"), ("4/5 -3/5", "", "1"), ("-4/5 3/5", "", "1")]);
    let decision = decided(&problem, &[&[0, 1]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum: {}", decision.optima.len()) };
    assert_eq!((optimum.kind, optimum.class), (Kind::Interior, Class::LocalMin));
    assert_eq!(optimum.loss, LossValue::Rational(q("4") - q("18/25")));
}

#[test]
fn a_pattern_that_no_encoder_has_is_not_realizable() {
    let problem = relu(&[("1 0", "", "1"), ("3/5 4/5", "", "1"), ("-3/5 4/5", "", "1")]);
    let decision = decided(&problem, &[&[1]]);
    assert!(!decision.realizable);
    assert_eq!(decision.exists, Some(false));
}

#[test]
fn a_dead_pattern_is_a_partial_optimum_with_the_whole_loss() {
    let decision = decided(&relu(&[("1 0", "", "1"), ("0 1", "", "2")]), &[&[], &[]]);
    assert_eq!(decision.exists, Some(true));
    assert_eq!(decision.optima[0].loss, LossValue::Rational(q("3")));
}

#[test]
fn two_irrational_blocks_add_their_losses_exactly() {
    let problem = relu(&[
        ("1 0 0 0", "1 0 0 0", "1"),
        ("0 1 0 0", "1/2 1 0 0", "2"),
        ("0 0 1 0", "0 0 1 0", "1"),
        ("0 0 0 1", "0 0 1/3 1", "3"),
    ]);
    let decision = decided(&problem, &[&[0, 1], &[2, 3]]);
    let [optimum] = decision.optima.as_slice() else { panic!("one optimum") };
    let LossValue::Algebraic { poly, lo, hi } = &optimum.loss else { panic!("{:?}", optimum.loss) };
    assert!(poly.len() == 5 && lo < hi);
    let smaller = |trace: f64, det: f64| (trace - (trace * trace - 4.0 * det).sqrt()) / 2.0;
    // determinants M_1 M_2 det G: 2·1 and 3·1; traces 1 + 2·5/4 and 1 + 3·10/9
    let expected = smaller(3.5, 2.0) + smaller(1.0 + 30.0 / 9.0, 3.0);
    assert!((optimum.loss.to_f64() - expected).abs() < 1e-13, "f64 rounding");
}

#[test]
fn an_overlapping_pattern_is_left_undecided_with_a_certified_point() {
    let problem = relu(&[("1 0", "", "1"), ("0 1", "", "2"), ("3/5 4/5", "", "1")]);
    let decision = decided(&problem, &[&[0, 2], &[1, 2]]);
    assert_eq!(decision.exists, None);
    assert!(decision.best.is_some() && decision.certificate.is_some());
}

#[test]
fn a_threshold_above_zero_bounds_the_activations_and_keeps_optima_interior() {
    let base = relu(&[("1 0", "1 0", "1"), ("0 1", "1/2 1", "2"), ("-3/5 4/5", "", "1")]);
    let problem = Problem::new(base.features().to_vec(), Activation::Threshold(q("1/3"))).unwrap();
    for lists in [vec![vec![0, 1]], vec![vec![0], vec![1]], vec![vec![0, 1, 2]]] {
        let borrowed: Vec<&[usize]> = lists.iter().map(Vec::as_slice).collect();
        let decision = decided(&problem, &borrowed);
        assert!(decision.exists.is_some());
        assert!(decision.optima.iter().all(|o| o.kind == Kind::Interior));
    }
}

/// Random dyadic vectors in [−1, 1] with 1/64 steps, and masses in {1/4, .., 8}.
fn block(m: usize) -> impl Strategy<Value = Problem> {
    let entry = (-64_i32..=64).prop_map(|x| from_f64(f64::from(x) / 64.0).unwrap());
    let mass = (1_i32..=32).prop_map(|x| from_f64(f64::from(x) / 4.0).unwrap());
    prop::collection::vec((prop::collection::vec(entry, m), mass), m).prop_filter_map(
        "independent targets",
        move |list| {
            let axis =
                |k: usize| (0..m).map(|j| if j == k { Rational::ONE } else { Rational::ZERO }).collect::<Vec<_>>();
            let features =
                list.into_iter().enumerate().map(|(d, (r, mass))| Feature { w_p: axis(d), w_r: r, mass }).collect();
            Problem::new(features, Activation::Threshold(Rational::ZERO)).ok()
        },
    )
}

fn with_features(problem: &Problem, change: impl Fn(usize, &Feature) -> Feature) -> Problem {
    let features = problem.features().iter().enumerate().map(|(d, f)| change(d, f)).collect();
    Problem::new(features, problem.activation().clone()).unwrap()
}

fn whole(problem: &Problem) -> Decision {
    let all: Vec<usize> = (0..problem.n()).collect();
    decided(problem, &[&all])
}

/// Existence, and of every optimum kind, class, strictness, family dimension and loss.
type Summary = (Option<bool>, Vec<(Kind, Class, bool, usize, LossValue)>);

/// What an invariance must keep.
fn summary(decision: &Decision) -> Summary {
    (
        decision.exists,
        decision.optima.iter().map(|o| (o.kind, o.class, o.strict, o.family_dim, o.loss.clone())).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Flipping signs of targets moves every eigenvector through all sign patterns: over all 2^m flips each of the m
    /// eigenvectors without zero entries is positive exactly twice.
    #[test]
    fn over_all_sign_flips_there_are_two_optima_per_eigenvector(problem in block(3)) {
        let m = problem.n();
        let mut count = 0;
        let mut degenerate = false;
        for signs in 0..1_u32 << m {
            let flipped = with_features(&problem, |d, f| {
                let sign = Rational::from(if signs >> d & 1 == 1 { -1 } else { 1 });
                Feature { w_r: f.w_r.iter().map(|x| x * &sign).collect(), ..f.clone() }
            });
            let decision = whole(&flipped);
            degenerate |= decision.optima.iter().any(|o| o.family_dim > 0);
            count += decision.optima.len();
        }
        // Zero entries and repeated eigenvalues only lower the count.
        prop_assert!(count <= 2 * m);
        prop_assert!(count == 2 * m || degenerate || has_zero_entry(&problem));
    }

    /// The best rank-one approximation of R D^½ bounds every block loss, and a local minimum attains it.
    #[test]
    fn local_minima_attain_the_rank_one_bound(problem in block(3)) {
        let features = problem.features();
        let m = problem.n();
        let weighted = nalgebra::DMatrix::from_fn(m, m, |k, d| {
            to_f64(&features[d].w_r[k]) * to_f64(&features[d].mass).sqrt()
        });
        let squares: Vec<f64> = weighted.clone().singular_values().iter().map(|s| s * s).collect();
        let total: f64 = squares.iter().sum();
        let bound = total - squares.iter().fold(0.0_f64, |a, b| a.max(*b));
        for optimum in &whole(&problem).optima {
            // rounding of an SVD of a 3×3 matrix with entries up to 3
            let tolerance = 1e-12 * (1.0 + total);
            prop_assert!(optimum.loss.to_f64() >= bound - tolerance);
            prop_assert_eq!(optimum.class == Class::LocalMin, optimum.loss.to_f64() <= bound + tolerance);
        }
    }

    #[test]
    fn scaling_permuting_and_rotating_keep_the_answer(problem in block(3), scale in 1_i32..7) {
        let before = summary(&whole(&problem));
        // a larger input scale changes the row only
        let factor = Rational::from(scale);
        let scaled = with_features(&problem, |_, f| {
            Feature { w_p: f.w_p.iter().map(|x| x * &factor).collect(), ..f.clone() }
        });
        prop_assert_eq!(&summary(&whole(&scaled)), &before);
        let mut reversed = problem.features().to_vec();
        reversed.reverse();
        let reversed = Problem::new(reversed, problem.activation().clone()).unwrap();
        prop_assert_eq!(&summary(&whole(&reversed)), &before);
        // a rational rotation of the targets and of the inputs
        let (cos, sin) = (q("3/5"), q("4/5"));
        let turn = |v: &[Rational]| {
            vec![&cos * &v[0] - &sin * &v[1], &sin * &v[0] + &cos * &v[1], v[2].clone()]
        };
        let rotated = with_features(&problem, |_, f| Feature { w_p: turn(&f.w_p), w_r: turn(&f.w_r), mass: f.mass.clone() });
        prop_assert_eq!(&summary(&whole(&rotated)), &before);
    }

    /// Dependent features: every certificate of existence or absence is accepted (checked in `decided`), and interior
    /// optima are unique up to families.
    #[test]
    fn dependent_features_are_decided_with_accepted_certificates(
        entries in prop::collection::vec(-4_i32..=4, 10),
        masses in prop::collection::vec(1_i32..=4, 5),
        size in 1_usize..=3,
    ) {
        let features = (0..5).map(|d| {
            let p: Vec<Rational> = (0..2).map(|k| Rational::from(entries[2 * d + k])).collect();
            Feature { w_r: p.clone(), w_p: p, mass: Rational::from(masses[d]) }
        }).collect();
        let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).unwrap();
        let block: Vec<usize> = (0..size).collect();
        let decision = decided(&problem, &[&block]);
        prop_assert!(decision.exists.is_some(), "{:?}", decision.undecided);
        prop_assert!(decision.optima.iter().filter(|o| o.kind == Kind::Interior).count() <= 1);
    }
}

/// True if an eigenvector of D^½GD^½ has an entry below f64 resolution.
fn has_zero_entry(problem: &Problem) -> bool {
    let features = problem.features();
    let m = problem.n();
    let root: Vec<f64> = features.iter().map(|f| to_f64(&f.mass).sqrt()).collect();
    let s = nalgebra::DMatrix::from_fn(m, m, |d, e| {
        let dot: f64 = features[d].w_r.iter().zip(&features[e].w_r).map(|(x, y)| to_f64(x) * to_f64(y)).sum();
        root[d] * root[e] * dot
    });
    s.symmetric_eigen().eigenvectors.iter().any(|x| x.abs() < 1e-9)
}
