//! The closed cone of the codes of one row, by its extreme rays, exactly.
//!
//! A row w that fires on F alone has codes z_d = ⟨w, p_d⟩ for d ∈ F and 0 elsewhere. The loss does not change when the row is scaled up and
//! its decoder column down, so that only directions count, and those of the cell {w : ⟨w, p_d⟩ > c on F, ≤ c off F} have the closure
//!
//! ```text
//!     c = 0:  ⟨w, p_d⟩ ≥ 0 on F, ⟨w, p_e⟩ ≤ 0 off F            c > 0:  ⟨w, p_d⟩ ≥ 0 on F, ⟨w, p_d − p_e⟩ ≥ 0 for d on, e off F
//! ```
//!
//! which is a pointed polyhedral cone in the space that the features span. Its extreme rays are the solutions of sets of dim − 1 of these
//! inequalities taken as equations; all such sets are tried.

use super::GlobalError;
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix::{independent_columns, nullspace, rank};
use crate::exact::rational::sign;
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use crate::theory::region::inequalities::{at_least, coprime_integers, decide};
use crate::theory::region::{RegionError, Row, decide_row};
use std::collections::BTreeSet;

/// Most sets of inequalities that are tried for one cone.
pub const LIMIT: usize = 20_000;

/// The closed cone of the rows with one firing set, and of their codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCone {
    /// F.
    pub set: BTreeSet<usize>,
    /// A row inside the cell.
    pub interior: Vec<Rational>,
    /// For each extreme ray of the codes a row that has it, n_p numbers.
    pub rows: Vec<Vec<Rational>>,
    /// The extreme rays of the codes, n numbers each, those off F 0.
    pub codes: Vec<Vec<Rational>>,
    /// The dimension of the cone of codes.
    pub dimension: usize,
}

/// The cone of the rows that fire on exactly `set` (threshold activations).
///
/// # Errors
/// If the activation is no threshold, the set names a feature that does not exist, the cell is empty, or over [`LIMIT`] sets of
/// inequalities would be tried.
pub fn row_cone(problem: &Problem, set: &BTreeSet<usize>) -> Result<RowCone, GlobalError> {
    let c = problem.threshold().ok_or(RegionError::NotThreshold)?;
    let Row::Realizable { w: interior } = decide_row(problem, set)? else {
        return Err(GlobalError::EmptyCell(set.iter().copied().collect()));
    };
    let mut cone = RowCone { set: set.clone(), interior, rows: Vec::new(), codes: Vec::new(), dimension: 0 };
    if set.is_empty() {
        return Ok(cone);
    }
    let full: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let coordinates = independent_columns(&Rationals, &full);
    let p: Vec<Vec<Rational>> = full.iter().map(|p| coordinates.iter().map(|&k| p[k].clone()).collect()).collect();
    let facets = facets(&p, set, sign(c) > 0);
    let (count, size) = (facets.len(), coordinates.len() - 1);
    let sets = (0..size).fold(1usize, |sets, k| sets.saturating_mul(count.saturating_sub(k)) / (k + 1));
    if sets > LIMIT {
        return Err(GlobalError::TooLarge { what: "sets of faces of a row's cell", limit: LIMIT, found: sets });
    }
    let mut rays: Vec<(Vec<Rational>, Vec<Rational>)> = Vec::new();
    for tight in subsets(count, size) {
        let equations: Vec<Vec<Rational>> = tight.iter().map(|&k| facets[k].clone()).collect();
        let lines = nullspace(&Rationals, &equations, coordinates.len());
        let [line] = &lines[..] else { continue };
        for turned in [line.clone(), line.iter().map(|x| -x).collect()] {
            if facets.iter().all(|facet| sign(&dot(facet, &turned)) >= 0) {
                let row: Vec<Rational> = coprime_integers(&turned).into_iter().map(Rational::from).collect();
                let code = |d: usize| if set.contains(&d) { dot(&p[d], &row) } else { Rational::ZERO };
                let codes: Vec<Rational> = (0..p.len()).map(code).collect();
                rays.push((row, codes));
            }
        }
    }
    rays.retain(|(_, codes)| codes.iter().any(|z| !z.is_zero()));
    let mut directions: BTreeSet<Vec<dashu::integer::IBig>> = BTreeSet::new();
    rays.retain(|(_, codes)| directions.insert(coprime_integers(codes)));
    cone.dimension = rank(&Rationals, &rays.iter().map(|(_, codes)| codes.clone()).collect::<Vec<_>>());
    if rays.len() > cone.dimension {
        extreme(&mut rays, |(_, codes)| codes);
    }
    for (row, codes) in rays {
        let mut w = vec![Rational::ZERO; problem.n_p()];
        coordinates.iter().zip(row).for_each(|(&k, x)| w[k] = x);
        cone.rows.push(w);
        cone.codes.push(codes);
    }
    Ok(cone)
}

/// The linear forms that are ≥ 0 on the closed cone of directions.
fn facets(p: &[Vec<Rational>], set: &BTreeSet<usize>, positive_threshold: bool) -> Vec<Vec<Rational>> {
    let off = || (0..p.len()).filter(|e| !set.contains(e));
    let mut facets: Vec<Vec<Rational>> = set.iter().map(|&d| p[d].clone()).collect();
    if positive_threshold {
        let differences = set.iter().flat_map(|&d| off().map(move |e| (d, e)));
        facets.extend(differences.map(|(d, e)| p[d].iter().zip(&p[e]).map(|(x, y)| x - y).collect()));
    } else {
        facets.extend(off().map(|e| p[e].iter().map(|x| -x).collect::<Vec<_>>()));
    }
    facets
}

/// All sets of `size` of `count` indices.
pub(super) fn subsets(count: usize, size: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![Vec::new()];
    for _ in 0..size {
        let longer = |set: Vec<usize>| {
            let first = set.last().map_or(0, |last| last + 1);
            (first..count).map(move |next| set.iter().copied().chain([next]).collect::<Vec<_>>())
        };
        sets = sets.into_iter().flat_map(longer).collect();
    }
    sets
}

/// Drops the rays that are combinations ≥ 0 of others.
pub(super) fn extreme<R>(rays: &mut Vec<R>, codes: impl Fn(&R) -> &Vec<Rational>) {
    let mut k = 0;
    while k < rays.len() && rays.len() > 1 {
        // A linear form ≥ 0 on the others and < 0 on this one exists iff it is none of their combinations.
        let others = rays.iter().enumerate().filter(|(j, _)| *j != k);
        let mut rows: Vec<_> = others.map(|(_, ray)| at_least(codes(ray).clone(), Rational::ZERO, false)).collect();
        let this = codes(&rays[k]);
        rows.push(at_least(this.iter().map(|z| -z).collect(), Rational::ZERO, true));
        match decide(this.len(), rows) {
            Ok(_) => k += 1,
            Err(_) => drop(rays.remove(k)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::families::{Family, Parameters};
    use crate::theory::region::enumerate_rows;

    fn instance(n: usize, n_p: usize, c: i64, seed: u64) -> Problem {
        Family::RandomUnit.generate(&Parameters { n, n_p, n_r: None, c: c.into() }, seed).unwrap()
    }

    #[test]
    fn independent_features_give_the_orthant() {
        for c in [0, 1] {
            let problem = instance(3, 4, c, 7);
            let cone = row_cone(&problem, &BTreeSet::from([0, 2])).unwrap();
            let mut supports: Vec<Vec<usize>> =
                cone.codes.iter().map(|z| (0..3).filter(|&d| !z[d].is_zero()).collect()).collect();
            supports.sort();
            assert_eq!((cone.dimension, supports), (2, vec![vec![0], vec![2]]));
        }
    }

    #[test]
    fn every_ray_is_in_the_closed_cell_and_every_row_of_the_cell_is_a_combination_of_rays() {
        for (n_p, c) in [(2, 0), (3, 0), (2, 1), (3, 1)] {
            let problem = instance(4, n_p, c, 3);
            for row in enumerate_rows(&problem, 1 << 20).unwrap() {
                let cone = row_cone(&problem, &row.set).unwrap();
                for w in &cone.rows {
                    for (d, feature) in problem.features().iter().enumerate() {
                        let lowest = cone.set.iter().map(|&d| dot(w, &problem.features()[d].w_p)).min().unwrap();
                        let a = dot(w, &feature.w_p);
                        assert!(if cone.set.contains(&d) {
                            sign(&a) >= 0
                        } else if c > 0 {
                            a <= lowest
                        } else {
                            sign(&a) <= 0
                        });
                    }
                }
                if row.set.is_empty() {
                    continue;
                }
                // a separating form between the interior row's codes and the rays does not exist
                let codes: Vec<Rational> = problem
                    .features()
                    .iter()
                    .enumerate()
                    .map(|(d, f)| if row.set.contains(&d) { dot(&row.w, &f.w_p) } else { Rational::ZERO })
                    .collect();
                let mut rows: Vec<_> = cone.codes.iter().map(|z| at_least(z.clone(), Rational::ZERO, false)).collect();
                rows.push(at_least(codes.iter().map(|z| -z).collect(), Rational::ZERO, true));
                assert!(decide(4, rows).is_err(), "{:?}", row.set);
            }
        }
    }

    #[test]
    fn an_empty_cell_and_a_wide_one_are_refused() {
        let antipodal = r#"{"format":1,"features":[{"w_p":["1"],"mass":"1"},{"w_p":["-1"],"mass":"1"}]}"#;
        let problem = Problem::from_json(antipodal).unwrap();
        assert_eq!(row_cone(&problem, &BTreeSet::from([0, 1])), Err(GlobalError::EmptyCell(vec![0, 1])));
        // what the row p_0 fires on is the firing set of a row
        let wide = instance(24, 12, 0, 1);
        let p = |d: usize| &wide.features()[d].w_p;
        let set = (0..24).filter(|&d| sign(&dot(p(0), p(d))) > 0).collect();
        assert!(matches!(row_cone(&wide, &set), Err(GlobalError::TooLarge { .. })));
    }
}
