//! What each family promises, in exact arithmetic.

use super::*;
use crate::exact::rational;
use crate::theory::loss::ApproximateLoss;
use crate::theory::pattern::dot;
use proptest::prelude::*;

fn sizes(n: usize, n_p: usize) -> Parameters {
    Parameters { n, n_p, n_r: None, c: Rational::ZERO }
}

fn product(problem: &Problem, i: usize, j: usize) -> Rational {
    dot(&problem.features()[i].w_p, &problem.features()[j].w_p)
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(|i| (0..i).map(move |j| (i, j)))
}

fn parse(text: &str) -> Rational {
    rational::parse(text).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_family_has_unit_features_positive_masses_and_one_problem_for_a_seed(seed: u64, at in 0usize..10, n_r in prop::option::of(1usize..4)) {
        let family = Family::ALL[at];
        let (n, n_p) = match family {
            Family::Orthonormal | Family::Equicorrelated { .. } | Family::MixedInterference { .. } => (3, 4),
            Family::BoundedInterference { .. } => (5, 3),
            _ => (6, 3),
        };
        let parameters = Parameters { n_r, c: parse("1/3"), ..sizes(n, n_p) };
        let problem = family.generate(&parameters, seed).unwrap();
        prop_assert_eq!((problem.n(), problem.n_p(), problem.n_r()), (n, n_p, n_r.unwrap_or(n_p)));
        prop_assert_eq!(problem.threshold(), Some(&parse("1/3")));
        for (d, feature) in problem.features().iter().enumerate() {
            prop_assert_eq!(product(&problem, d, d), Rational::ONE);
            if n_r.is_none() && !matches!(family, Family::ParallelTargets { .. }) {
                prop_assert_eq!(&feature.w_r, &feature.w_p);
            }
        }
        prop_assert_eq!(&problem, &family.generate(&parameters, seed).unwrap());
        prop_assert_ne!(&problem, &family.generate(&parameters, seed.wrapping_add(1)).unwrap());
        prop_assert!(ApproximateLoss::from_problem(&problem).is_ok());
        prop_assert_eq!(Family::by_name(family.name()), Some(family));
    }

    #[test]
    fn orthonormal_features_have_product_zero(seed: u64, n in 1usize..6) {
        let problem = Family::Orthonormal.generate(&sizes(n, 5), seed).unwrap();
        prop_assert!(pairs(n).all(|(i, j)| product(&problem, i, j).is_zero()));
    }

    #[test]
    fn equicorrelated_features_have_one_product_close_to_the_one_asked_for(seed: u64, n in 2usize..6, share in 0.05..0.95f64) {
        let lowest = -1.0 / (n as f64 - 1.0);
        let rho = lowest + share * (1.0 - lowest);
        let problem = Family::Equicorrelated { rho }.generate(&sizes(n, 5), seed).unwrap();
        let common = product(&problem, 1, 0);
        prop_assert!(pairs(n).all(|(i, j)| product(&problem, i, j) == common));
        // A slope t is rounded by 1/8192; |dρ/dt| = 2α|dα/dt| is at most 4 on the conic.
        prop_assert!((rational::to_f64(&common) - rho).abs() < 1e-3, "{} {}", common, rho);
    }

    #[test]
    fn bounded_interference_holds_exactly(seed: u64) {
        let problem = Family::BoundedInterference { maximum: 0.5 }.generate(&sizes(7, 4), seed).unwrap();
        prop_assert!(pairs(7).all(|(i, j)| product(&problem, i, j) <= parse("1/2")));
    }

    #[test]
    fn antipodal_features_come_in_opposite_pairs(seed: u64) {
        let problem = Family::Antipodal.generate(&sizes(5, 3), seed).unwrap();
        prop_assert_eq!(product(&problem, 0, 1), -Rational::ONE);
        prop_assert_eq!(product(&problem, 2, 3), -Rational::ONE);
        prop_assert!(product(&problem, 4, 0) > -Rational::ONE);
    }

    #[test]
    fn parallel_targets_are_positive_multiples_within_a_group(seed: u64, group in 2usize..4) {
        let problem = Family::ParallelTargets { group }.generate(&Parameters { n_r: Some(3), ..sizes(6, 4) }, seed).unwrap();
        for (i, j) in pairs(6) {
            let (r, s) = (&problem.features()[i].w_r, &problem.features()[j].w_r);
            // Cauchy and Schwarz with equality and a positive product: parallel.
            let parallel = dot(r, s) > Rational::ZERO && dot(r, s) * dot(r, s) == dot(r, r) * dot(s, s);
            prop_assert_eq!(parallel, i / group == j / group);
        }
    }

    #[test]
    fn dependent_features_lie_in_planes_of_the_orthonormal_ones(seed: u64) {
        let problem = Family::Dependent.generate(&sizes(9, 3), seed).unwrap();
        for d in 3..9 {
            let parts: Vec<Rational> = (0..3).map(|j| product(&problem, d, j)).collect();
            prop_assert_eq!(parts.iter().filter(|x| !x.is_zero()).count(), 2);
            prop_assert_eq!(dot(&parts, &parts), Rational::ONE);
        }
        prop_assert!(pairs(9).all(|(i, j)| product(&problem, i, j) != Rational::ONE));
    }

    #[test]
    fn sub_concepts_lean_towards_their_parent(seed: u64, n_p in 2usize..5) {
        let problem = Family::Hierarchy { children: 2 }.generate(&sizes(8, n_p), seed).unwrap();
        let groups = hierarchy_groups(8, 2);
        prop_assert_eq!(&groups, &vec![vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        for group in groups {
            for child in &group[1..] {
                let lean = product(&problem, group[0], *child);
                prop_assert!(lean > Rational::ZERO && lean < Rational::ONE);
            }
        }
    }

    #[test]
    fn masses_span_the_decades_asked_for(seed: u64, decades in 0u32..9) {
        let problem = Family::SpreadMasses { decades }.generate(&sizes(6, 3), seed).unwrap();
        let masses: BTreeSet<Rational> = problem.features().iter().map(|f| f.mass.clone()).collect();
        prop_assert_eq!(masses.first().unwrap(), &Rational::ONE);
        prop_assert_eq!(masses.last().unwrap(), &Rational::from(10).pow(decades as isize));
        prop_assert_eq!(masses.len(), if decades == 0 { 1 } else { 6 });
    }
}

#[test]
fn exact_unit_vectors_lie_near_what_they_approximate() {
    for u in [[0.6, -0.8, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.577_350_269, 0.577_350_269, 0.577_350_269]] {
        let p = exact_geometry::unit_near(&u, 8);
        assert_eq!(dot(&p, &p), Rational::ONE);
        let distance = p.iter().zip(u).map(|(p, u)| (rational::to_f64(p) - u).powi(2)).sum::<f64>().sqrt();
        assert!(distance <= 3f64.sqrt() / 256.0, "{u:?}");
    }
}

#[test]
fn sizes_that_a_family_cannot_have_are_refused() {
    for (family, n, n_p) in [
        (Family::Orthonormal, 4, 3),
        (Family::Equicorrelated { rho: 0.1 }, 4, 3),
        (Family::Equicorrelated { rho: 1.0 }, 3, 3),
        (Family::Equicorrelated { rho: -0.5 }, 3, 3),
        (Family::Equicorrelated { rho: f64::NAN }, 3, 3),
        (Family::BoundedInterference { maximum: 0.0 }, 9, 4),
        (Family::Dependent, 3, 3),
        (Family::Dependent, 3, 1),
        (Family::Hierarchy { children: 0 }, 3, 3),
        (Family::Hierarchy { children: 1 }, 3, 1),
        (Family::ParallelTargets { group: 1 }, 3, 3),
        (Family::SpreadMasses { decades: 301 }, 3, 3),
        (Family::RandomUnit, 0, 3),
    ] {
        assert!(family.generate(&sizes(n, n_p), 1).is_err(), "{family:?} {n} {n_p}");
    }
    let negative = Parameters { c: -Rational::ONE, ..sizes(2, 2) };
    assert!(matches!(Family::RandomUnit.generate(&negative, 1), Err(FamilyError::Problem(_))));
}

#[test]
fn mixed_interference_has_one_size_and_both_signs() {
    let problem = Family::MixedInterference { rho: 0.25 }.generate(&sizes(5, 6), 4).unwrap();
    let p: Vec<_> = problem.features().iter().map(|f| &f.w_p).collect();
    let rho = dot(p[0], p[2]);
    assert!(rho > Rational::ZERO);
    for d in 0..5 {
        for e in 0..d {
            let expected = if (d + e) % 2 == 0 { rho.clone() } else { -rho.clone() };
            assert_eq!(dot(p[d], p[e]), expected, "{d} {e}");
        }
    }
}
