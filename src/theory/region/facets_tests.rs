//! Facets against their definition.

use super::*;
use crate::theory::pattern::dot;
use crate::theory::region::enumerate_rows;
use crate::theory::region::testing::{integer_columns, problem, q, rng, threshold, written};
use rand::RngExt as _;

/// Every claim of the description, checked on its own.
fn proved(problem: &Problem, set: &BTreeSet<usize>, found: &Facets) {
    let c = problem.threshold().unwrap();
    let p = |d: usize| &problem.features()[d].w_p;
    let side = |d: usize| Rational::from(if set.contains(&d) { 1 } else { -1 });
    let slack = |d: usize, w: &[Rational]| side(d) * (dot(w, p(d)) - c);
    let mut listed: Vec<usize> = found.equalities.iter().map(|(e, _)| *e).collect();
    listed.extend(found.facets.iter().map(|f| f.feature));
    listed.extend(found.redundant.iter().map(|r| r.feature));
    listed.sort_unstable();
    assert_eq!(listed, (0..problem.n()).collect::<Vec<_>>());
    let combination = |list: &[(usize, Rational)]| {
        let mut sum = vec![Rational::ZERO; problem.n_p()];
        for (d, m) in list {
            sum.iter_mut().zip(p(*d)).for_each(|(s, x)| *s += m * x);
        }
        sum
    };
    let dependence: Vec<_> = found.equalities.iter().map(|(e, z)| (*e, z.0.clone())).collect();
    assert!(dependence.iter().all(|(e, z)| sign(z) > 0 && !set.contains(e)));
    assert!(combination(&dependence).iter().all(Rational::is_zero));
    assert!(dependence.is_empty() || c.is_zero());
    for facet in &found.facets {
        assert!(slack(facet.feature, &facet.point).is_zero());
        assert!(dependence.iter().all(|(e, _)| slack(*e, &facet.point).is_zero()));
        let others = found.facets.iter().filter(|other| other.feature != facet.feature);
        assert!(others.into_iter().all(|other| sign(&slack(other.feature, &facet.point)) > 0));
    }
    for Redundant { feature, multipliers } in &found.redundant {
        let is_facet = |d: usize| found.facets.iter().any(|f| f.feature == d);
        assert!(multipliers.iter().all(|(d, m)| is_facet(*d) && sign(m) > 0 || dependence.iter().any(|(e, _)| e == d)));
        let signed: Vec<_> = multipliers.iter().map(|(d, m)| (*d, m * side(*d))).collect();
        let own = p(*feature).iter().map(|x| x * side(*feature)).collect::<Vec<_>>();
        assert_eq!(combination(&signed), own);
        let total = signed.iter().fold(Rational::ZERO, |sum, (_, m)| sum + m);
        assert!(c * side(*feature) <= c * total);
    }
}

#[test]
fn facets_witnesses_and_redundancy_proofs_hold_for_every_cell() {
    let mut rng = rng(1);
    let mut totals = [0; 3];
    for round in 0..60 {
        let (n, n_p) = (rng.random_range(1..7), rng.random_range(1..4));
        let columns = integer_columns(&mut rng, n, n_p, [1, 4][round / 2 % 2]);
        let problem = problem(&columns, threshold(["0", "2"][round % 2]));
        for row in enumerate_rows(&problem, 1000).unwrap() {
            let found = facets(&problem, &row.set).unwrap();
            proved(&problem, &row.set, &found);
            totals[0] += found.equalities.len();
            totals[1] += found.facets.len();
            totals[2] += found.redundant.len();
        }
    }
    assert!(totals.iter().all(|&t| t > 50), "each list must occur: {totals:?}");
}

#[test]
fn a_cone_of_the_plane_has_its_two_extreme_rays_as_facets() {
    // w in the first quadrant; (1,1) and (3,1) cannot be tight there but at 0.
    let problem = written("1 1; 1 0; 0 1; 3 1; -1 0", threshold("0"));
    let found = facets(&problem, &BTreeSet::from([0, 1, 2, 3])).unwrap();
    // Feature 1 and the silent feature 4 bound the same half-plane: the later one stays.
    assert_eq!(found.facets.iter().map(|f| f.feature).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(found.redundant[0].multipliers, [(2, q("1")), (4, q("1"))]);
    assert_eq!(found.redundant[1].multipliers, [(4, q("1"))]);
    assert_eq!(found.redundant[2].multipliers, [(2, q("1")), (4, q("3"))]);
}

#[test]
fn antipodal_silent_features_are_equalities() {
    let problem = written("1 0; -2 0; 0 1", threshold("0"));
    let found = facets(&problem, &BTreeSet::from([2])).unwrap();
    assert_eq!(found.equalities, [(0, 2.into()), (1, 1.into())]);
    assert_eq!(found.facets.len(), 1);
}

#[test]
fn an_empty_cell_has_no_facets() {
    let problem = written("1; -1", threshold("0"));
    assert_eq!(facets(&problem, &BTreeSet::from([0, 1])), Err(RegionError::EmptyRow { set: vec![0, 1] }));
}
