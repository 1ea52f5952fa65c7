//! Lower bounds of cells with certificates: `lower-bound` with a pattern (`verify/FORMAT.md` §5).
//!
//! [`super::gop`] bounds every block in f64. Where no feature fires two neurons the bounds add up, and each is a group of the certificate: if
//! no neuron fires on a feature its whole mass is lost, and a block with the lower value s loses at least s because tD − DGD − N is positive
//! semidefinite for t = Σ_F M_d‖r_d‖² − s and some N ≥ 0, so that no codes a ≥ 0 save more than t. The multipliers N are found for the value that
//! decomposition and duality has returned, and made exact.
//!
//! Up to four features in a block such N exist for every s below its best value (Diananda 1962). Larger blocks, and neurons that share features,
//! have proofs by cones of codes that are cut (`proof` of [`super::gop`]).
//!
//! # Requirements
//! Codes range over the orthant here. That is the closed cell if the features are independent. Otherwise less may be certified than was bounded: both
//! numbers are stated.
//!
//! # References
//! P. H. Diananda, On non-negative forms in real variables some or all of which are non-negative, Mathematical Proceedings of the Cambridge
//! Philosophical Society 58 (1962).

use super::GlobalError;
use super::gop::{self, Bounds, Options};
use super::patterns::{Component, conic_value, rank_value, total, unreached};
use super::rayleigh::MAX;
use crate::exact::Rational;
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::theory::certificate;
use crate::theory::loss::ApproximateLoss;
use crate::theory::pattern::Pattern;
use crate::theory::problem::Problem;
use sdlab_verify::Certificate;
use sdlab_verify::format::{BoundNode, Group, LowerBound, Rat};

/// A lower bound of the loss in a partition cell.
#[derive(Debug, Clone)]
pub struct CellBound {
    /// The sum of the lower values of the blocks and of the masses that no neuron covers, in f64.
    pub bounded: f64,
    /// What of it is certified.
    pub certified: Rational,
    /// Its proof.
    pub certificate: Certificate,
}

/// What is given up of a bound so that its proof has room, relative to Σ_F M_d‖r_d‖²: the first that is enough.
const MARGINS: [f64; 4] = [1e-10, 1e-9, 1e-8, 1e-7];

/// Certifies the bounds of the blocks of a pattern, one for each neuron in order.
///
/// # Errors
/// If a feature fires two neurons.
pub fn certify(problem: &Problem, pattern: &Pattern, blocks: &[Bounds]) -> Result<CellBound, GlobalError> {
    let lists = pattern.lists();
    if !pattern.is_disjoint() {
        return Err(GlobalError::Blocks { n: problem.n(), found: lists.concat() });
    }
    let part = |(list, bounds): (&Vec<usize>, &Bounds)| (bounds.lower, block(problem, list, bounds.lower));
    Ok(assembled(problem, &lists, lists.iter().zip(blocks).map(part).collect()))
}

/// The bound of the blocks or components of a pattern: for each what was bounded, and what of it is proved.
fn assembled(problem: &Problem, lists: &[Vec<usize>], parts: Vec<(f64, Option<(Rational, Group)>)>) -> CellBound {
    let missed: Vec<usize> = (0..problem.n()).filter(|d| !lists.iter().any(|list| list.contains(d))).collect();
    let mut groups = Vec::new();
    let mut certified = total(problem, &missed);
    let mut bounded = to_f64(&certified);
    if !missed.is_empty() {
        groups.push(unreached(problem, missed));
    }
    for (lower, proved) in parts {
        bounded += lower;
        if let Some((s, group)) = proved {
            certified += s;
            groups.push(group);
        }
    }
    let body = LowerBound {
        latents: lists.len(),
        pattern: Some(lists.to_vec()),
        bound: Rat(certified.clone()),
        tree: BoundNode::Groups(groups),
    };
    CellBound { bounded, certified, certificate: Certificate::new(certificate::instance(problem), body) }
}

/// What is given up of the bound of neurons that share features, relative to Σ_g M_d‖r_d‖². Proofs are longer the less it is.
const SHARED: [f64; 5] = [1e-8, 1e-6, 1e-5, 1e-4, 1e-3];

/// Certifies a bound of the cell of any pattern. The budget is that of each component, that is of neurons that features connect; ε is the gap up to
/// which each is bounded before its bound is certified.
///
/// # Errors
/// If a component with several neurons is too large.
pub fn certify_shared(
    problem: &Problem,
    loss: &ApproximateLoss,
    pattern: &Pattern,
    options: Options,
) -> Result<CellBound, GlobalError> {
    let lists = pattern.lists();
    let mut parts = Vec::new();
    for (features, neurons) in gop::components(&lists) {
        parts.push(if let [i] = neurons[..] {
            let lower = gop::solve(loss, &lists[i], options)?.lower;
            (lower, block(problem, &lists[i], lower))
        } else {
            let lists: Vec<Vec<usize>> = neurons.iter().map(|&i| lists[i].clone()).collect();
            let lower = gop::solve_orthants(loss, &features, &lists, options)?.lower;
            (lower, shared(problem, &features, &lists, lower))
        });
    }
    Ok(assembled(problem, &lists, parts))
}

/// The group of some neurons and what it contributes: the most that a short proof shows. Where the bound is that of the rank, it has that proof.
fn shared(problem: &Problem, features: &[usize], lists: &[Vec<usize>], lower: f64) -> Option<(Rational, Group)> {
    let size = to_f64(&total(problem, features));
    let below = |margin: f64| from_f64(lower - margin * size).ok().filter(|s| sign(s) > 0);
    let rank = rank_value(problem, features, lists.len()).filter(|(value, _)| *value >= lower - MARGINS[3] * size);
    let by_rank = rank.and_then(|(_, eigen)| {
        let component = Component::Rank { features: features.to_vec(), neurons: lists.len(), eigen };
        MARGINS.iter().find_map(|margin| {
            let s = below(*margin)?;
            Some((component.prove(problem, &s)?, s))
        })
    });
    let by_cones = || {
        SHARED.iter().find_map(|margin| {
            let s = below(*margin)?;
            Some((gop::prove(problem, features, lists, &s)?, s))
        })
    };
    by_rank.or_else(by_cones).map(|(group, s)| (s, group))
}

/// The group of a block and what it contributes.
fn block(problem: &Problem, features: &[usize], lower: f64) -> Option<(Rational, Group)> {
    if features.len() < 2 || features.len() > MAX {
        return None;
    }
    let reached = lower.min(conic_value(problem, features));
    let size = to_f64(&total(problem, features));
    let conic = MARGINS.iter().find_map(|margin| {
        let s = from_f64(reached - margin * size).ok().filter(|s| sign(s) > 0)?;
        let group = Component::Conic(features.to_vec()).prove(problem, &s)?;
        Some((s, group))
    });
    conic.or_else(|| shared(problem, features, &[features.to_vec()], reached))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::families::{Family, Parameters};
    use crate::theory::region::enumerate_rows;
    use faer::Mat;
    use sdlab_verify::format::GroupBound;

    #[test]
    fn the_bounds_of_blocks_and_of_uncovered_features_add_up() {
        // Unit vectors with masses 1, 2, 3, 5 and targets e_d: a block keeps its largest mass.
        let unit = |d: usize| (0..4).map(|k| if k == d { "\"1\"" } else { "\"0\"" }).collect::<Vec<_>>().join(",");
        let feature = |(d, mass): (usize, &u32)| format!(r#"{{"w_p":[{}],"mass":"{mass}"}}"#, unit(d));
        let features: Vec<String> = [1, 2, 3, 5].iter().enumerate().map(feature).collect();
        let text = format!(r#"{{"format":1,"features":[{}]}}"#, features.join(","));
        let problem = Problem::from_json(&text).unwrap();
        let loss = ApproximateLoss::from_problem(&problem).unwrap();
        let pattern = Pattern::new(vec![vec![0, 1], vec![], vec![3]], 4).unwrap();
        let bound = |list: &Vec<usize>| gop::solve(&loss, list, gop::Options::default()).unwrap();
        let blocks: Vec<Bounds> = pattern.lists().iter().map(bound).collect();
        let found = certify(&problem, &pattern, &blocks).unwrap();
        sdlab_verify::check(&found.certificate).unwrap();
        // The lost masses 1 and 3, up to ε of the first and the margin.
        assert!((found.bounded - 4.0).abs() <= 2e-7 && (to_f64(&found.certified) - 4.0).abs() <= 3e-7, "{found:?}");
        let shared = Pattern::new(vec![vec![0, 1], vec![1]], 4).unwrap();
        assert!(matches!(certify(&problem, &shared, &blocks), Err(GlobalError::Blocks { .. })));
    }

    /// What is asked for here.
    const OPTIONS: Options = Options { epsilon: 1e-6, budget: 3_000 };

    fn instance(n: usize, n_p: usize, seed: u64) -> Problem {
        let parameters = Parameters { n, n_p, n_r: Some(n), c: Rational::ZERO };
        Family::SpreadMasses { decades: 1 }.generate(&parameters, seed).unwrap()
    }

    #[test]
    fn bounds_of_neurons_that_share_features_are_certified_as_far_as_they_were_found() {
        let patterns: [&[&[usize]]; 5] = [
            &[&[0, 1], &[1, 2, 3]],
            &[&[0, 1, 2], &[1, 2]],
            &[&[0, 1, 2], &[0, 1, 2]],
            &[&[0, 1, 2], &[1, 2, 3]],
            &[&[0, 1], &[1, 2], &[2, 3, 4]],
        ];
        let (mut steps, mut close) = ([0; 4], 0);
        for (lists, seed) in patterns.iter().flat_map(|lists| (0..3).map(move |seed| (lists, seed))) {
            let n = lists.len() + 2;
            let problem = instance(n, n, seed);
            let loss = ApproximateLoss::from_problem(&problem).unwrap().with_par(faer::Par::Seq);
            let pattern = Pattern::new(lists.iter().map(|list| list.to_vec()).collect(), n).unwrap();
            let all: Vec<usize> = (0..n).collect();
            let size = to_f64(&total(&problem, &all));
            let found = certify_shared(&problem, &loss, &pattern, OPTIONS).unwrap();
            let claim = sdlab_verify::check(&found.certificate).unwrap();
            assert_eq!(claim.kind(), "lower-bound");
            let (certified, best) = (to_f64(&found.certified), gop::solve_cell(&loss, &pattern, OPTIONS).unwrap());
            assert!(certified <= best.upper + 1e-12 * size, "{seed} {pattern}: {certified} {best:?}");
            assert!(certified >= found.bounded - 1e-2 * size, "{seed} {pattern}: {certified} {}", found.bounded);
            close += usize::from(certified >= best.lower - 2e-6 * size);
            let text = found.certificate.to_json();
            for (count, key) in steps.iter_mut().zip(["minus", "cut", "difference", "bounded"]) {
                *count += text.matches(&format!("\"{key}\"")).count();
            }
        }
        assert!(close >= 10 && steps.iter().all(|count| *count > 0), "{close} of 15, {steps:?}");
    }

    #[test]
    fn nothing_above_the_best_value_of_neurons_that_share_features_is_proved() {
        let problem = instance(4, 4, 1);
        let loss = ApproximateLoss::from_problem(&problem).unwrap();
        let lists = [vec![0, 1], vec![1, 2, 3]];
        let pattern = Pattern::new(lists.to_vec(), 4).unwrap();
        let upper = gop::solve_cell(&loss, &pattern, OPTIONS).unwrap().upper;
        let s = |factor: f64| from_f64(upper * factor).unwrap();
        assert!(gop::prove(&problem, &[0, 1, 2, 3], &lists, &s(1.0 - 1e-4)).is_some());
        assert!(gop::prove(&problem, &[0, 1, 2, 3], &lists, &s(1.0 + 1e-4)).is_none());
        // Where all codes are dependent the coefficients say nothing.
        assert!(gop::prove(&problem, &[0, 1], &[vec![0], vec![0]], &s(0.1)).is_none());
    }

    #[test]
    fn with_dependent_features_a_bound_of_the_orthants_is_certified() {
        for seed in 0..3 {
            let problem = instance(4, 3, seed);
            let loss = ApproximateLoss::from_problem(&problem).unwrap().with_par(faer::Par::Seq);
            let rows = enumerate_rows(&problem, 1 << 20).unwrap();
            let fires = |count: usize| rows.iter().filter(move |row| row.set.len() == count);
            for (one, two) in fires(2).zip(fires(3)) {
                let pattern = Pattern::from_sets(vec![one.set.clone(), two.set.clone()]);
                let found = certify_shared(&problem, &loss, &pattern, OPTIONS).unwrap();
                sdlab_verify::check(&found.certificate).unwrap();
                let upper = gop::solve_cell(&loss, &pattern, OPTIONS).unwrap().upper;
                assert!(to_f64(&found.certified) <= upper * (1.0 + 1e-9), "{seed} {pattern}");
            }
        }
    }

    #[test]
    fn a_block_of_five_features_is_certified_beyond_what_one_matrix_proves() {
        // RᵀR = 4I − H with the matrix H of Horn, which is copositive and not the sum of a semidefinite and a non-negative one: zᵀHz ≥ 0 for codes z ≥ 0, and
        // 0 for z = (1, 1, 0, 0, 0), so that one neuron saves 4 of 15.
        let horn = |j: usize, k: usize| if matches!((5 + j - k) % 5, 1 | 4) { -1.0 } else { 1.0 };
        let K = Mat::from_fn(5, 5, |j, k| if j == k { 4.0 } else { 0.0 } - horn(j, k));
        let eigen = K.self_adjoint_eigen(faer::Side::Lower).unwrap();
        let root = Mat::from_fn(5, 5, |j, k| if j == k { f64::sqrt(eigen.S()[j]) } else { 0.0 });
        let R = eigen.U() * root * eigen.U().transpose();
        let unit = |d: usize| (0..5).map(|k| if k == d { "\"1\"" } else { "\"0\"" }).collect::<Vec<_>>().join(",");
        let target = |d: usize| (0..5).map(|k| format!("\"{:.9}\"", R[(k, d)])).collect::<Vec<_>>().join(",");
        let feature = |d: usize| format!(r#"{{"w_p":[{}],"w_r":[{}],"mass":"1"}}"#, unit(d), target(d));
        let features: Vec<String> = (0..5).map(feature).collect();
        let problem = Problem::from_json(&format!(r#"{{"format":1,"features":[{}]}}"#, features.join(","))).unwrap();
        let all: Vec<usize> = (0..5).collect();
        assert!((conic_value(&problem, &all) - 11.0).abs() <= 1e-6);
        let (s, group) = block(&problem, &all, 10.995).unwrap();
        assert!(matches!(group.bound, GroupBound::Cones(_)) && to_f64(&s) >= 10.97, "{s}");
        let pattern = Pattern::new(vec![all], 5).unwrap();
        let bounds =
            Bounds { lower: 10.995, upper: 11.0, codes: vec![1.0; 5], simplices: 1, reason: gop::Reason::Budget };
        let found = certify(&problem, &pattern, &[bounds]).unwrap();
        sdlab_verify::check(&found.certificate).unwrap();
    }
}
