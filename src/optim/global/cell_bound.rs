//! Lower bounds of partition cells with certificates: `lower-bound` with a pattern (`verify/FORMAT.md` §5).
//!
//! [`super::gop`] bounds every block in f64. Where no feature fires two neurons the bounds add up, and each is a group of the certificate: if
//! no neuron fires on a feature its whole mass is lost, and a block with the lower value s loses at least s because tD − DGD − N is positive
//! semidefinite for t = Σ_F M_d‖r_d‖² − s and some N ≥ 0, so that no codes a ≥ 0 save more than t. The multipliers N are found for the value that
//! decomposition and duality has returned, and made exact.
//!
//! # Requirements
//! Codes range over the orthant here. That is the closed cell if the features are independent, and up to four features in a block such N exist for
//! every s below its best value (Diananda 1962). Otherwise less may be certified than was bounded: both numbers are stated.
//!
//! # References
//! P. H. Diananda, On non-negative forms in real variables some or all of which are non-negative, Mathematical Proceedings of the Cambridge
//! Philosophical Society 58 (1962).

use super::GlobalError;
use super::gop::Bounds;
use super::patterns::{Component, conic_value, total, unreached};
use super::rayleigh::MAX;
use crate::exact::Rational;
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::theory::certificate;
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
    let missed: Vec<usize> = (0..problem.n()).filter(|d| !lists.iter().any(|list| list.contains(d))).collect();
    let mut groups = Vec::new();
    let mut certified = total(problem, &missed);
    let mut bounded = to_f64(&certified);
    if !missed.is_empty() {
        groups.push(unreached(problem, missed));
    }
    for (features, bounds) in lists.iter().zip(blocks) {
        bounded += bounds.lower;
        if let Some((s, group)) = block(problem, features, bounds.lower) {
            certified += s;
            groups.push(group);
        }
    }
    let body = LowerBound {
        latents: lists.len(),
        pattern: Some(lists),
        bound: Rat(certified.clone()),
        tree: BoundNode::Groups(groups),
    };
    Ok(CellBound { bounded, certified, certificate: Certificate::new(certificate::instance(problem), body) })
}

/// The group of a block and what it contributes.
fn block(problem: &Problem, features: &[usize], lower: f64) -> Option<(Rational, Group)> {
    if features.len() < 2 || features.len() > MAX {
        return None;
    }
    let reached = lower.min(conic_value(problem, features));
    let size = to_f64(&total(problem, features));
    MARGINS.iter().find_map(|margin| {
        let s = from_f64(reached - margin * size).ok().filter(|s| sign(s) > 0)?;
        let group = Component::Conic(features.to_vec()).prove(problem, &s)?;
        Some((s, group))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::global::gop;
    use crate::theory::loss::ApproximateLoss;

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
}
