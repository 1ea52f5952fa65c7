//! The best value over the closed cell of any pattern, component by component.

use super::search::{Found, Search};
use super::{Options, Reason};
use crate::bench::features::stream;
use crate::optim::cell::dot;
use crate::optim::global::GlobalError;
use crate::optim::global::partition::Partition;
use crate::theory::loss::{ApproximateLoss, LossError};
use crate::theory::pattern::Pattern;
use faer::{Mat, Side};
use rand::RngExt;

/// The two bounds of the best value over a closed cell.
#[derive(Debug, Clone, PartialEq)]
pub struct CellBounds {
    /// No point of the closed cell has a lower loss, up to rounding.
    pub lower: f64,
    /// A loss that points of the closed cell have or approach.
    pub upper: f64,
    /// For each neuron its codes a_d, one for each feature, up to scale. With the best decoder their loss is `upper`; where that is only
    /// approached they are at a distance of about 1e-6 from the limit. Neurons without which the others have the same span are silent.
    pub codes: Vec<Vec<f64>>,
    /// Simplices and products of simplices that were bounded.
    pub simplices: usize,
    /// Why it ended: whether all components are within ε, and else why the last one that is not.
    pub reason: Reason,
}

/// Most features of a component with several neurons.
pub(super) const FEATURES: usize = 8;
/// Most products of one ray of each of its neurons.
const PRODUCTS: usize = 256;
/// Random codes with which it is seen how many neurons of a component have independent ones.
const DRAWS: usize = 3;

/// Bounds the best value over the closed cell of a pattern (threshold activations). ε and the budget are those of each component, that is of
/// neurons that features connect. An open product of simplices takes about a kilobyte.
///
/// # Errors
/// If the cell is empty, the pattern names a feature that does not exist, or a component with several neurons is too large.
pub fn solve_cell(loss: &ApproximateLoss, pattern: &Pattern, options: Options) -> Result<CellBounds, GlobalError> {
    let (n, lists, masses) = (loss.n(), pattern.lists(), loss.masses());
    let partition = Partition::new(loss)?;
    let square = |d: usize| masses[d] * loss.R().col(d).iter().map(|r| r * r).sum::<f64>();
    let mut rays = Vec::new();
    for list in &lists {
        rays.push(partition.rays(list)?);
    }
    let missed: f64 = (0..n).filter(|d| !lists.iter().any(|list| list.contains(d))).map(square).sum();
    let codes = vec![vec![0.0; n]; lists.len()];
    let mut found = CellBounds { lower: missed, upper: missed, codes, simplices: 0, reason: Reason::Converged };
    for (features, neurons) in components(&lists) {
        let (lower, upper, simplices, reason) = if let [i] = neurons[..] {
            let block = super::solve(loss, &lists[i], options)?;
            lists[i].iter().zip(block.codes).for_each(|(&d, a)| found.codes[i][d] = a);
            (block.lower, block.upper, block.simplices, block.reason)
        } else {
            let cone = |&i: &usize| scaled(&features, &lists[i], &rays[i], masses);
            let cones: Vec<Vec<Vec<f64>>> = neurons.iter().map(cone).collect();
            let chosen = independent(&cones);
            let end = search(loss, &features, chosen.iter().map(|&at| cones[at].clone()).collect(), options)?;
            for (&at, b) in chosen.iter().zip(&end.codes) {
                for (&d, b) in features.iter().zip(b).filter(|(_, b)| **b != 0.0) {
                    found.codes[neurons[at]][d] = b / masses[d].sqrt();
                }
            }
            (end.lower, end.upper, end.simplices, end.reason)
        };
        found.lower += lower;
        found.upper += upper;
        found.simplices += simplices;
        if reason != Reason::Converged {
            found.reason = reason;
        }
    }
    Ok(found)
}

/// The bounds of the best value of a component where codes range over the orthants of these lists of features.
///
/// # Errors
/// If it is too large.
pub(in crate::optim::global) fn solve_orthants(
    loss: &ApproximateLoss,
    features: &[usize],
    lists: &[Vec<usize>],
    options: Options,
) -> Result<Found, GlobalError> {
    let unit = |d: &usize| features.iter().map(|e| if d == e { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let cones = lists.iter().map(|list| list.iter().map(unit).collect()).collect();
    search(loss, features, cones, options)
}

fn search(
    loss: &ApproximateLoss,
    features: &[usize],
    cones: Vec<Vec<Vec<f64>>>,
    options: Options,
) -> Result<Found, GlobalError> {
    let products = cones.iter().fold(1usize, |product, cone| product.saturating_mul(cone.len()));
    for (what, limit, found) in
        [("features of a component", FEATURES, features.len()), ("products of rays of a component", PRODUCTS, products)]
    {
        if found > limit {
            return Err(GlobalError::TooLarge { what, limit, found });
        }
    }
    let K = gram(loss, features);
    let rank = largest(&K, cones.len())?;
    Ok(Search::new(&K, cones, rank).run(options))
}

/// The features and neurons of each component; features that no neuron covers and neurons that cover none are in no component.
pub(in crate::optim::global) fn components(lists: &[Vec<usize>]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut components: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (i, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
        let meets = |component: &(Vec<usize>, Vec<usize>)| component.0.iter().any(|d| list.contains(d));
        let (joined, others): (Vec<_>, Vec<_>) = components.into_iter().partition(meets);
        let mut features: Vec<usize> = joined.iter().flat_map(|(features, _)| features).chain(list).copied().collect();
        let mut neurons: Vec<usize> = joined.into_iter().flat_map(|(_, neurons)| neurons).chain([i]).collect();
        features.sort_unstable();
        features.dedup();
        neurons.sort_unstable();
        components = others;
        components.push((features, neurons));
    }
    components
}

/// The rays of a neuron's codes as b_d = M_d^½ a_d on the features of its component, those that are not 0.
fn scaled(features: &[usize], list: &[usize], rays: &[Vec<f64>], masses: &[f64]) -> Vec<Vec<f64>> {
    let code =
        |ray: &Vec<f64>, d: usize| list.iter().position(|e| *e == d).map_or(0.0, |at| ray[at] * masses[d].sqrt());
    let all = rays.iter().map(|ray| features.iter().map(|&d| code(ray, d)).collect::<Vec<f64>>());
    all.filter(|b| b.iter().any(|b| *b != 0.0)).collect()
}

/// D^½ RᵀR D^½ on some features.
fn gram(loss: &ApproximateLoss, features: &[usize]) -> Vec<Vec<f64>> {
    let column = |&d: &usize| loss.R().col(d).iter().map(|r| loss.masses()[d].sqrt() * r).collect::<Vec<f64>>();
    let S: Vec<Vec<f64>> = features.iter().map(column).collect();
    S.iter().map(|s| S.iter().map(|t| dot(s, t)).collect()).collect()
}

/// The sum of the q largest eigenvalues of K.
fn largest(K: &[Vec<f64>], q: usize) -> Result<f64, GlobalError> {
    let K = Mat::from_fn(K.len(), K.len(), |j, k| K[j][k]);
    let eigen = K.self_adjoint_eigen(Side::Lower).map_err(|_| LossError::Decomposition)?;
    Ok(eigen.S().column_vector().iter().rev().take(q).sum())
}

/// Cones whose codes are independent in general, as many as there are. Codes of the others are then in the span of these.
fn independent(cones: &[Vec<Vec<f64>>]) -> Vec<usize> {
    let mut rng = stream(0, "codes in general position");
    let mut most = Vec::new();
    for _ in 0..DRAWS {
        let (mut span, mut chosen): (Vec<Vec<f64>>, Vec<usize>) = (Vec::new(), Vec::new());
        for (at, cone) in cones.iter().enumerate() {
            let mut b = vec![0.0; cone.first().map_or(0, Vec::len)];
            for ray in cone {
                let weight: f64 = rng.random_range(0.5..1.5) / dot(ray, ray).sqrt();
                b.iter_mut().zip(ray).for_each(|(b, x)| *b += weight * x);
            }
            let whole = dot(&b, &b).sqrt();
            for _ in 0..2 {
                for s in &span {
                    let along = dot(s, &b);
                    b.iter_mut().zip(s).for_each(|(b, s)| *b -= along * s);
                }
            }
            let rest = dot(&b, &b).sqrt();
            if rest > 1e-10 * whole {
                span.push(b.into_iter().map(|x| x / rest).collect());
                chosen.push(at);
            }
        }
        if chosen.len() > most.len() {
            most = chosen;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Rational;
    use crate::optim::acs::{AlternatingSearch, Variant};
    use crate::optim::global::kernel::{Cones, KernelGroup};
    use crate::optim::global::upper::{decided, multisets, sequential};
    use crate::optim::{Biconvex, Budget, Unobserved, run, start};
    use crate::theory::families::{Family, Parameters};
    use crate::theory::loss::Weights;
    use crate::theory::problem::Problem;
    use crate::theory::region::{RealizableRow, enumerate_rows};

    /// What is asked for here.
    const OPTIONS: Options = Options { epsilon: 1e-6, budget: 3_000 };

    fn instance(n: usize, n_p: usize, seed: u64) -> Problem {
        let parameters = Parameters { n, n_p, n_r: Some(n), c: Rational::ZERO };
        Family::SpreadMasses { decades: 1 }.generate(&parameters, seed).unwrap()
    }

    fn pattern(lists: &[&[usize]], n: usize) -> Pattern {
        Pattern::new(lists.iter().map(|list| list.to_vec()).collect(), n).unwrap()
    }

    /// The loss of codes with the best decoder.
    fn loss_at(loss: &ApproximateLoss, codes: &[Vec<f64>]) -> f64 {
        let Z = Mat::from_fn(codes.len(), loss.n(), |i, d| codes[i][d]);
        let V = loss.decoder_step_of(Z.clone()).unwrap().V;
        let E = loss.R() - V * Z;
        (0..loss.n()).map(|d| loss.masses()[d] * E.col(d).iter().map(|e| e * e).sum::<f64>()).sum()
    }

    fn total(loss: &ApproximateLoss) -> f64 {
        loss.value(&Weights::zeros(loss, 1)).unwrap()
    }

    #[test]
    fn blocks_of_a_partition_have_their_closed_form() {
        for seed in 0..20 {
            let loss = ApproximateLoss::from_problem(&instance(5, 5, seed)).unwrap();
            let lists: [&[usize]; 3] = [&[0, 2], &[], &[1, 3]];
            let exact = Partition::new(&loss).unwrap().optimum(&lists.map(<[usize]>::to_vec)).unwrap().loss;
            let found = solve_cell(&loss, &pattern(&lists, 5), OPTIONS).unwrap();
            assert_eq!(found.reason, Reason::Converged);
            // ε, and the rounding of sums of a dozen squares
            assert!(
                found.lower <= exact * (1.0 + 1e-12) && found.lower >= exact * (1.0 - 2e-6),
                "{seed} {found:?} {exact}"
            );
            assert!((loss_at(&loss, &found.codes) - found.upper).abs() <= 1e-12 * total(&loss));
        }
    }

    #[test]
    fn with_one_feature_more_than_neurons_the_bounds_enclose_the_infimum_that_a_kernel_vector_gives() {
        let (mut patterns, mut converged, mut limits) = (0, 0, 0);
        for (n_p, seed) in [(3, 0), (3, 1), (3, 2), (2, 3), (2, 4), (2, 5)] {
            let problem = instance(3, n_p, seed);
            let loss = sequential(&problem).unwrap();
            let size = total(&loss);
            let rows = enumerate_rows(&problem, 1 << 20).unwrap();
            let live: Vec<&RealizableRow> = rows.iter().filter(|row| !row.set.is_empty()).collect();
            let mut cones = Cones::default();
            for chosen in multisets(live.len(), 2).into_iter().filter(|chosen| chosen[0] != chosen[1]) {
                let sets = [&live[chosen[0]].set, &live[chosen[1]].set];
                let faces = vec![vec![None; 3]; 2];
                let group = KernelGroup::new(&problem, &mut cones, &decided(3, &sets), &faces, &[0, 1, 2]).unwrap();
                let least = group.least().unwrap();
                let pattern = Pattern::from_sets(sets.map(Clone::clone).to_vec());
                let found = solve_cell(&loss, &pattern, OPTIONS).unwrap();
                // The kernel's vector is accurate to about 1e-9, and so is a side that is 0.
                assert!(found.lower <= least.value + 1e-8 * size, "{seed} {pattern}: {found:?} {}", least.value);
                assert!(found.upper >= least.value - 1e-8 * size, "{seed} {pattern}: {found:?} {}", least.value);
                assert!(found.upper - found.lower <= 1e-5 * size || found.reason != Reason::Converged);
                // Codes that only approach the value are 1e-6 from it.
                let at = loss_at(&loss, &found.codes);
                assert!(
                    at >= least.value - 1e-8 * size && at <= found.upper + 1e-3 * size,
                    "{pattern}: {at} {found:?}"
                );
                patterns += 1;
                converged += usize::from(found.reason == Reason::Converged);
                limits += usize::from(least.inwards.iter().any(|y| *y != 0.0));
            }
        }
        assert!(converged == patterns && limits >= 10, "{converged} of {patterns}, {limits} limits");
    }

    #[test]
    fn no_search_inside_an_overlapping_cell_ends_below_the_bounds_and_most_of_the_best_reach_them() {
        let (mut converged, mut reached) = (0, 0);
        let patterns: [&[&[usize]]; 4] = [
            &[&[0, 1], &[1, 2, 3]],
            &[&[0, 1, 2], &[2, 3]],
            &[&[0, 1, 2], &[1, 2, 3]],
            &[&[0, 1], &[1, 2], &[2, 3, 4]],
        ];
        for (lists, seed) in patterns.iter().flat_map(|lists| (0..5).map(move |seed| (lists, seed))) {
            let n = lists.len() + 2;
            let loss = ApproximateLoss::from_problem(&instance(n, n, seed)).unwrap().with_par(faer::Par::Seq);
            let size = total(&loss);
            let pattern = pattern(lists, n);
            let found = solve_cell(&loss, &pattern, OPTIONS).unwrap();
            // A row inside: code 1 where it fires and −1 elsewhere.
            let targets = Mat::from_fn(lists.len(), n, |i, d| if lists[i].contains(&d) { 1.0 } else { -1.0 });
            let inside = targets * loss.left_inverse().unwrap();
            let cell = Biconvex::cell(&loss, inside.as_ref()).unwrap();
            let mut best = f64::INFINITY;
            for k in 0..20 {
                let V = start::random(&loss, lists.len(), k).V;
                let W = loss.w_step(&cell, &Weights { V: V.clone(), W: inside.clone() }, 0.0).unwrap().W;
                let begin = Weights { V, W: faer::Scale(0.5) * (&inside + W) };
                let mut search = AlternatingSearch::new(&loss, Variant::Cell, 1e-12);
                let budget = Budget { steps: 300, gradients: f64::INFINITY };
                best = best.min(run(&loss, &mut search, &begin, budget, &mut Unobserved).unwrap().state.loss);
            }
            assert!(found.lower <= best + 1e-12 * size, "{seed} {pattern}: {found:?} {best}");
            assert!(found.upper <= best + 1e-6 * size, "{seed} {pattern}: {found:?} {best}");
            converged += usize::from(found.reason == Reason::Converged);
            // Searches towards parallel codes come to no end in 300 sweeps.
            reached += usize::from(best - found.lower <= 1e-5 * size);
        }
        assert!(converged >= 10 && reached >= 8, "{converged} converged, {reached} reached of 20");
    }

    #[test]
    fn a_spent_budget_leaves_bounds_that_hold() {
        let mut open = 0;
        for seed in 0..8 {
            let problem = instance(3, 3, seed);
            let loss = sequential(&problem).unwrap();
            let pattern = pattern(&[&[0, 1, 2], &[1, 2]], 3);
            let bounds = |budget| solve_cell(&loss, &pattern, Options { budget, ..OPTIONS }).unwrap();
            let best = bounds(3_000).upper;
            let mut last = 0.0;
            for budget in [1, 8, 30] {
                let found = bounds(budget);
                assert!(found.lower <= best * (1.0 + 1e-9) && found.upper >= best * (1.0 - 2e-6), "{seed} {found:?}");
                assert!(found.lower >= last, "{seed}: more work lowers the bound");
                last = found.lower;
                open += usize::from(found.reason == Reason::Budget && found.lower < best * (1.0 - 1e-3));
            }
        }
        assert!(open >= 4, "{open}");
    }

    #[test]
    fn neurons_that_the_others_make_up_for_change_nothing() {
        let loss = ApproximateLoss::from_problem(&instance(3, 3, 1)).unwrap();
        let of = |lists: &[&[usize]]| solve_cell(&loss, &pattern(lists, 3), OPTIONS).unwrap();
        // Two features and more neurons than that: all of the first two is kept.
        let more = of(&[&[0, 1], &[0], &[0, 1]]);
        let missed = of(&[&[0], &[1]]);
        assert!((more.upper - missed.upper).abs() <= 1e-9 * total(&loss), "{more:?} {missed:?}");
        assert_eq!(more.reason, Reason::Converged);
        // A second neuron on one ray alone has the code of the first.
        let (twice, once) = (of(&[&[0], &[0], &[0, 1, 2]]), of(&[&[0], &[0, 1, 2]]));
        assert!((twice.upper - once.upper).abs() <= 2e-6 * total(&loss), "{twice:?} {once:?}");
    }

    #[test]
    fn a_component_that_is_too_large_is_refused() {
        let loss = ApproximateLoss::from_problem(&instance(9, 9, 0)).unwrap();
        let lists: [&[usize]; 2] = [&[0, 1, 2, 3, 4], &[4, 5, 6, 7, 8]];
        let refused = solve_cell(&loss, &pattern(&lists, 9), OPTIONS);
        assert!(matches!(refused, Err(GlobalError::TooLarge { limit: FEATURES, found: 9, .. })));
    }
}
