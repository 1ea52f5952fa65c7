//! Near the partial optima of partition cells: how fast alternating search comes, and how fast gradient descent leaves.
//!
//! **Contraction.** On a block F of a partition cell a sweep maps b = D^½a to D^½ G D^½ b up to scale, power iteration. Where the top eigenvector is
//! positive the angle to it contracts by λ_2/λ_1 in each sweep, and where it stays inside its cell the search ends there. The rate is measured from
//! the changes of the direction of b in the last sweeps, without knowledge of the limit. With a threshold the search can end on a face of the
//! cell, where codes at the threshold stay: a sweep has the derivative D^½ G D^½/λ_1 at its fixed points, so that the search contracts by
//! λ_max/λ_1, λ_max without the features of those codes, which lies between λ_2/λ_1 and 1.
//!
//! **Escape.** A partial optimum of a partition cell at which some block's μ is below λ_max is a strict saddle of L̃, though Thm 3.7 calls it a
//! minimum. Gradient descent with a small fixed step η moves away along the softest direction u of the Hessian by the factor 1 + η|λ_min| a step, so that
//! from a distance δ = |⟨x − x*, u⟩| it needs log(ρ/δ)/log(1 + η|λ_min|) steps to the distance ρ. Local minima of the same patterns stand beside them: there
//! it must stay.
//!
//! One neuron for each block, so that no dead row, which has escapes of its own, takes part.

use super::config::{Comparison, Steps, optimizer};
use super::measure::Course;
use super::record::{digits, hits};
use super::suite::Instance;
use crate::bench::features::stream;
use crate::optim::acs::{AlternatingSearch, Variant};
use crate::optim::end_point::softest;
use crate::optim::global::partition::Partition;
use crate::optim::{Biconvex, Optimizer, State, run};
use crate::theory::loss::{ApproximateLoss, Weights};
use crate::theory::partial_optimum::{self, BlockSummary, Class, Kind};
use crate::theory::pattern::Pattern;
use faer::{Mat, Side};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Optimizers that stay in the cell of their start.
pub const IN_CELL: [&str; 5] = ["acs", "acs-proximal", "acs-extrapolated", "acs-accelerated", "interior-point"];
/// Partition cells of an instance from which alternating search starts, and largest n for which it does.
const CELLS: (usize, usize) = (3, 12);
/// Partitions of an instance whose partial optima are listed, and largest n for which they are.
const LISTED: (usize, usize) = (12, 6);
/// Saddles and local minima of an instance beside which gradient descent starts.
const POINTS: [(Class, usize); 2] = [(Class::StrictSaddle, 2), (Class::LocalMin, 1)];
/// Size of the perturbation relative to the point.
pub const PERTURBATION: f64 = 1e-5;
/// Points with a pre-activation nearer to the threshold, relative to its row, are passed over.
pub const MARGIN: f64 = 1e-3;
/// Distance from the point, relative to it, at which gradient descent has left.
pub const LEFT: f64 = 1e-2;
/// Step times the largest curvature at the point.
pub const STEP: f64 = 0.2;
/// Most steps of gradient descent.
const MOST: u64 = 200_000;
/// Points that are predicted to need more steps are passed over.
pub const SLOW: u64 = MOST / 2;
/// Changes of the direction of b from which a rate is measured: below the first the later eigenvalues have died out, above the second rounding is small.
const CHANGES: (f64, f64) = (1e-3, 1e-10);
/// Sweeps from which a rate is measured, at most.
const SWEEPS: usize = 500;
/// Codes above the threshold by no more than this part of the largest stand at it, up to rounding.
const HELD: f64 = 1e-9;
/// Ratios of changes, the last ones, whose geometric mean is the measured rate.
const RATIOS: usize = 5;

/// Alternating search from a start in one partition cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellStudy {
    /// Features of each neuron.
    pub blocks: Vec<Vec<usize>>,
    /// The least L̃ in the closed cell, by the closed form.
    pub optimum: f64,
    /// Those that stay in a cell, with the comparison's budget.
    pub ends: Vec<CellEnd>,
    /// One for each block whose top eigenvector is positive.
    pub contractions: Vec<Contraction>,
}

/// A run in a partition cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellEnd {
    /// The optimizer.
    pub optimizer: String,
    /// Loss at its end.
    pub loss: f64,
    /// Evaluations of loss and gradient, to four digits.
    pub gradients: f64,
    /// Evaluations until no more than [`LEVELS`](super::record::LEVELS)\[k\] of the way from the start to the optimum of the cell was left.
    pub hits: Vec<f64>,
}

/// The rate of alternating search on one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contraction {
    /// Features of the block.
    pub features: usize,
    /// λ_2/λ_1 of D^½ G D^½.
    pub predicted: f64,
    /// Factor of the change of b's direction in one sweep.
    pub measured: f64,
    /// Sweep of the last change that was measured.
    pub sweep: usize,
    /// Where the search has come to a face of its cell, codes of the block at the threshold: λ_max/λ_1, λ_max without their features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_face: Option<f64>,
}

/// Partial optima of one class that were listed and beside which gradient descent did not start, by the first reason that held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedOver {
    /// Certified class, as [`Class::name`] has it.
    pub class: String,
    /// As many as are wanted had been found before.
    pub further: u64,
    /// The optimum holds on a face of its cell only, or has a neuron less than the partition has blocks.
    pub boundary: u64,
    /// A pre-activation stands near the threshold.
    pub near_threshold: u64,
    /// Saddles whose curvature predicts too many steps, or is rounding.
    pub slow: u64,
}

impl PassedOver {
    /// For whatever reason.
    pub fn all(&self) -> u64 {
        self.further + self.boundary + self.near_threshold + self.slow
    }
}

/// What was found beside the partial optima of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Escapes {
    /// One for each partial optimum beside which descent started.
    pub made: Vec<Escape>,
    /// One for each class of which some were passed over.
    pub passed_over: Vec<PassedOver>,
}

/// Gradient descent with a fixed step from beside a partial optimum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escape {
    /// Features of each neuron.
    pub blocks: Vec<Vec<usize>>,
    /// Certified class of the partial optimum, as [`Class::name`] has it.
    pub class: String,
    /// −2(λ_max − μ), the least over the blocks: the curvature with V eliminated, per unit of ȧᵀDȧ.
    pub block: f64,
    /// λ_min of the Hessian over V and W, relative to its largest eigenvalue.
    pub curvature: f64,
    /// Where descent starts: |⟨x − x*, u⟩|/‖x*‖.
    pub along: f64,
    /// Steps to the distance [`LEFT`] that the curvature predicts; absent at a local minimum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted: Option<f64>,
    /// Steps made.
    pub steps: u64,
    /// True if descent has come to that distance.
    pub left: bool,
    /// L̃ at the partial optimum less L̃ at the end, relative to Σ_d M_d ‖r_d‖².
    pub fall: f64,
    /// True if the end lies in another cell.
    pub crossed: bool,
}

impl Escape {
    /// Whether descent has left the partial optimum: it has come to the distance [`LEFT`], or lies in another cell at a lower loss.
    pub fn has_left(&self) -> bool {
        self.left || (self.crossed && self.fall > 0.0)
    }
}

/// A random partition into `blocks` non-empty blocks, each in ascending order.
fn partition(n: usize, blocks: usize, rng: &mut ChaCha20Rng) -> Vec<Vec<usize>> {
    loop {
        let mut lists = vec![Vec::new(); blocks];
        (0..n).for_each(|d| lists[rng.random_range(0..blocks)].push(d));
        if lists.iter().all(|list| !list.is_empty()) {
            lists.sort();
            return lists;
        }
    }
}

/// Different random partitions with a polysemantic block and at most n_q blocks.
fn partitions(instance: &Instance, count: usize, seed: u64, purpose: &str) -> Vec<Vec<Vec<usize>>> {
    let n = instance.loss.n();
    let blocks = instance.latents.min(n.saturating_sub(1));
    let mut rng = stream(seed, &format!("{purpose} of {}", instance.id));
    let mut found: Vec<Vec<Vec<usize>>> = Vec::new();
    // Draws repeat where there are few partitions.
    for _ in 0..4 * count {
        if blocks == 0 || found.len() == count {
            break;
        }
        let drawn = partition(n, blocks, &mut rng);
        if !found.contains(&drawn) {
            found.push(drawn);
        }
    }
    found
}

/// A point of a partition cell whose rows have random codes on their blocks; `None` if the features are dependent.
fn start_in(loss: &ApproximateLoss, blocks: &[Vec<usize>], rng: &mut ChaCha20Rng) -> Option<Weights> {
    let inverse = loss.left_inverse()?;
    let scale = if loss.c() > 0.0 { 4.0 * loss.c() } else { 1.0 };
    let mut codes = Mat::from_fn(blocks.len(), loss.n(), |_, _| -scale);
    for (i, block) in blocks.iter().enumerate() {
        block.iter().for_each(|&d| codes[(i, d)] = scale * rng.random_range(0.5..1.5));
    }
    // The rows of least norm with these codes.
    Some(Weights { V: Mat::zeros(loss.n_r(), blocks.len()), W: codes * inverse })
}

/// b = D^½a of every block, of length 1.
fn directions(loss: &ApproximateLoss, blocks: &[Vec<usize>], state: &State) -> Vec<Vec<f64>> {
    let of = |(i, block): (usize, &Vec<usize>)| {
        let code = |d: usize| (0..loss.n_p()).map(|k| state.at.W[(i, k)] * loss.P()[(k, d)]).sum::<f64>();
        let b: Vec<f64> = block.iter().map(|&d| loss.masses()[d].sqrt() * code(d)).collect();
        let norm = b.iter().map(|x| x * x).sum::<f64>().sqrt();
        b.into_iter().map(|x| x / norm).collect()
    };
    blocks.iter().enumerate().map(of).collect()
}

/// The distance of two directions.
fn change(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (y - x) * (y - x)).sum::<f64>().sqrt()
}

/// D^½ G D^½ of some features.
fn weighted_products(loss: &ApproximateLoss, features: &[usize]) -> Mat<f64> {
    let product = |d: usize, e: usize| (0..loss.n_r()).map(|k| loss.R()[(k, d)] * loss.R()[(k, e)]).sum::<f64>();
    let m = features.len();
    Mat::from_fn(m, m, |j, k| {
        let (d, e) = (features[j], features[k]);
        (loss.masses()[d] * loss.masses()[e]).sqrt() * product(d, e)
    })
}

/// λ_2/λ_1 of D^½ G D^½ on a block if its top eigenvector has no entry near 0 and one sign.
fn predicted(loss: &ApproximateLoss, block: &[usize]) -> Option<f64> {
    let m = block.len();
    let eigen = weighted_products(loss, block).self_adjoint_eigen(Side::Lower).ok()?;
    let (values, top) = (eigen.S().column_vector(), eigen.U().col(m - 1));
    // Entries of a unit vector; the search must not be clipped on its way.
    let positive = |sign: f64| top.iter().all(|x| sign * x > 1e-3);
    (m >= 2 && (positive(1.0) || positive(-1.0))).then(|| values[m - 2].max(0.0) / values[m - 1])
}

/// λ_max/λ_1 on the face where row `i` of an encoder holds codes of its block at the threshold; `None` in the interior, and if all are held.
fn on_face(loss: &ApproximateLoss, block: &[usize], W: &Mat<f64>, i: usize) -> Option<f64> {
    let code = |d: usize| (0..loss.n_p()).map(|k| W[(i, k)] * loss.P()[(k, d)]).sum::<f64>();
    let largest = block.iter().map(|d| code(*d)).fold(0.0, f64::max);
    let free: Vec<usize> = block.iter().copied().filter(|d| code(*d) - loss.c() > HELD * largest).collect();
    if free.is_empty() || free.len() == block.len() {
        return None;
    }
    let top = |features: &[usize]| {
        let values = weighted_products(loss, features).self_adjoint_eigenvalues(Side::Lower).ok()?;
        values.last().copied()
    };
    Some(top(&free)? / top(block)?)
}

/// The rate of a block from the changes of its direction, and the last sweep used; `None` if too few changes are in range.
fn measured(changes: &[f64]) -> Option<(f64, usize)> {
    // The first change is that from codes that answer no column, and says nothing.
    let last = (1..changes.len()).take_while(|&k| changes[k] > CHANGES.1).last()?;
    let first = (1..=last).find(|&k| changes[k] <= CHANGES.0)?.max(last.saturating_sub(RATIOS));
    (first < last).then(|| ((changes[last] / changes[first]).powf(1.0 / (last - first) as f64), last))
}

/// Alternating search in partition cells of an instance.
///
/// # Errors
/// A loss that cannot be computed.
pub fn cells(instance: &Instance, comparison: &Comparison, steps: Steps) -> Result<Vec<CellStudy>, String> {
    let loss = &instance.loss;
    let mut studies = Vec::new();
    let (count, largest) = CELLS;
    let Ok(closed) = Partition::new(loss) else { return Ok(studies) };
    if loss.n() > largest {
        return Ok(studies);
    }
    let failed = |error: crate::theory::loss::LossError| format!("{}: {error}", instance.id);
    for (number, blocks) in partitions(instance, count, comparison.seed, "partition cells").into_iter().enumerate() {
        let mut rng = stream(comparison.seed, &format!("start {number} in a partition cell of {}", instance.id));
        // Large blocks have no closed form, dependent features no such start.
        let (Ok(optimum), Some(at)) = (closed.optimum(&blocks), start_in(loss, &blocks, &mut rng)) else { continue };
        let mut ends = Vec::new();
        for name in comparison.optimizers.iter().filter(|name| IN_CELL.contains(&name.as_str())) {
            let Some(mut chosen) = optimizer(name, loss, steps, 0) else { continue };
            let mut course = Course::default();
            let end = run(loss, chosen.as_mut(), &at, comparison.budget.budget(), &mut course).map_err(failed)?;
            let hits = hits(&course.by_gradients(), optimum.loss);
            let gradients = digits(end.state.gradients, 4);
            ends.push(CellEnd { optimizer: name.clone(), loss: end.state.loss, gradients, hits });
        }
        let rates: Vec<Option<f64>> = blocks.iter().map(|block| predicted(loss, block)).collect();
        let mut contractions = Vec::new();
        if rates.iter().any(Option::is_some) {
            // By itself it would stop before the last digits, from which the rate of the limit is read.
            let mut search = AlternatingSearch::new(loss, Variant::Cell, 0.0);
            let mut state = search.init(loss, &at).map_err(failed)?;
            let mut seen = vec![directions(loss, &blocks, &state)];
            for _ in 0..SWEEPS {
                search.step(loss, &mut state).map_err(failed)?;
                seen.push(directions(loss, &blocks, &state));
                if (0..blocks.len()).all(|i| change(&seen[seen.len() - 2][i], &seen[seen.len() - 1][i]) <= CHANGES.1) {
                    break;
                }
            }
            for (i, rate) in rates.iter().enumerate() {
                let changes: Vec<f64> = seen.windows(2).map(|pair| change(&pair[0][i], &pair[1][i])).collect();
                if let (Some(predicted), Some((measured, sweep))) = (*rate, measured(&changes)) {
                    let (predicted, measured) = (digits(predicted, 6), digits(measured, 6));
                    let on_face = on_face(loss, &blocks[i], &state.at.W, i).map(|rate| digits(rate, 6));
                    contractions.push(Contraction { features: blocks[i].len(), predicted, measured, sweep, on_face });
                }
            }
        }
        studies.push(CellStudy { blocks, optimum: optimum.loss, ends, contractions });
    }
    Ok(studies)
}

/// Gradient descent from beside partial optima of an instance.
///
/// # Errors
/// A loss that cannot be computed.
pub fn escapes(instance: &Instance, seed: u64) -> Result<Escapes, String> {
    let (count, largest) = LISTED;
    let mut found = Vec::new();
    // How many of a class are wanted still, and which were passed over.
    let mut wanted = POINTS.map(|(class, left)| {
        let (class_name, [further, boundary, near_threshold, slow]) = (class.name().to_owned(), [0; 4]);
        (class, left, PassedOver { class: class_name, further, boundary, near_threshold, slow })
    });
    if instance.loss.n() > largest {
        return Ok(Escapes { made: found, passed_over: Vec::new() });
    }
    for blocks in partitions(instance, count, seed, "partial optima") {
        let pattern = Pattern::new(blocks.clone(), instance.loss.n()).map_err(|error| error.to_string())?;
        for optimum in partial_optimum::decide(&instance.problem, &pattern)?.optima {
            let Some((_, left, passed)) = wanted.iter_mut().find(|(class, ..)| *class == optimum.class) else {
                continue;
            };
            if *left == 0 {
                passed.further += 1;
                continue;
            }
            if optimum.kind != Kind::Interior || optimum.blocks.len() != blocks.len() {
                passed.boundary += 1;
                continue;
            }
            let purpose = format!("perturbation {} of {}", found.len(), instance.id);
            let mut rng = stream(seed, &purpose);
            let at = weights(&instance.loss, &optimum.blocks);
            // On a face of its cell the Hessian speaks for one side only.
            if margin(&instance.loss, &at) < MARGIN {
                passed.near_threshold += 1;
                continue;
            }
            let descended = descend(&instance.loss, &at, optimum.class, &mut rng);
            match descended.map_err(|error| format!("{}: {error}", instance.id))? {
                Some(escape) => {
                    *left -= 1;
                    found.push(Escape { blocks: blocks.clone(), block: digits(optimum.curvature, 4), ..escape });
                }
                None => passed.slow += 1,
            }
        }
    }
    let passed_over = wanted.into_iter().map(|(.., passed)| passed).filter(|passed| passed.all() > 0).collect();
    Ok(Escapes { made: found, passed_over })
}

/// The least distance of a pre-activation from the threshold, relative to its row.
fn margin(loss: &ApproximateLoss, at: &Weights) -> f64 {
    let Z = &at.W * loss.P();
    let of = |i: usize| {
        let norm = (0..at.W.ncols()).map(|k| at.W[(i, k)] * at.W[(i, k)]).sum::<f64>().sqrt();
        (0..loss.n()).map(|d| (Z[(i, d)] - loss.c()).abs() / norm).fold(f64::INFINITY, f64::min)
    };
    (0..at.n_q()).map(of).fold(f64::INFINITY, f64::min)
}

/// The point of a listed partial optimum, with ‖w_i‖ = ‖v_i‖ where c = 0 leaves the scale free.
fn weights(loss: &ApproximateLoss, blocks: &[BlockSummary]) -> Weights {
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scale = |block: &BlockSummary| if loss.c() > 0.0 { 1.0 } else { (norm(&block.v) / norm(&block.w)).sqrt() };
    let scales: Vec<f64> = blocks.iter().map(scale).collect();
    Weights {
        V: Mat::from_fn(loss.n_r(), blocks.len(), |k, i| blocks[i].v[k] / scales[i]),
        W: Mat::from_fn(blocks.len(), loss.n_p(), |i, k| blocks[i].w[k] * scales[i]),
    }
}

/// Descent from a seeded perturbation of a point; `None` if it would take too many steps.
fn descend(
    loss: &ApproximateLoss,
    at: &Weights,
    class: Class,
    rng: &mut ChaCha20Rng,
) -> Result<Option<Escape>, crate::theory::loss::LossError> {
    let Some(soft) = softest(loss, at)? else { return Ok(None) };
    let mut draw = |M: &Mat<f64>| {
        Mat::from_fn(M.nrows(), M.ncols(), |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng))
    };
    let noise = Weights { V: draw(&at.V), W: draw(&at.W) };
    let size = at.dot(at).sqrt();
    let mut x = at.plus(PERTURBATION * size / noise.dot(&noise).sqrt(), &noise);
    let along = x.plus(-1.0, at).dot(&soft.direction).abs() / size;
    let step = STEP / soft.largest;
    let saddle = class == Class::StrictSaddle;
    let predicted = saddle.then(|| (LEFT / along).ln() / (step * -soft.least).ln_1p());
    // A saddle whose negative curvature is rounding has no prediction either.
    if predicted.is_some_and(|steps| !(0.0..=SLOW as f64).contains(&steps)) {
        return Ok(None);
    }
    // At a minimum, as long as a typical saddle takes.
    let most = if saddle { MOST } else { MOST / 10 };
    let (mut steps, mut left) = (0, false);
    while steps < most && !left {
        let (_, slope) = loss.value_and_gradients(&x)?;
        x = x.plus(-step, &slope);
        steps += 1;
        let moved = x.plus(-1.0, at);
        left = moved.dot(&moved).sqrt() >= LEFT * size;
    }
    let crossed = Biconvex::cell(loss, x.W.as_ref())? != Biconvex::cell(loss, at.W.as_ref())?;
    let fall = (loss.value(at)? - loss.value(&x)?) / Biconvex::total(loss);
    Ok(Some(Escape {
        blocks: Vec::new(),
        class: class.name().into(),
        block: 0.0,
        curvature: digits(soft.least / soft.largest, 6),
        along: digits(along, 6),
        predicted: predicted.map(|steps| digits(steps, 6)),
        steps,
        left,
        fall: digits(fall, 4),
        crossed,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::config::{FamilyConfig, Limits};
    use super::*;

    fn instance(family: &str, n: usize, latents: usize, number: u64) -> Instance {
        let config = FamilyConfig {
            family: family.into(),
            n,
            n_p: n,
            n_r: None,
            latents,
            threshold: "0".into(),
            instances: 1,
            optimizers: Vec::new(),
        };
        Instance::make(&config, number, 0).unwrap()
    }

    fn comparison() -> Comparison {
        Comparison {
            seed: 0,
            starts: 1,
            budget: Limits { steps: 1000, gradients: 1e4, seconds: None },
            optimizers: vec!["acs".into(), "lbfgs".into()],
            families: Vec::new(),
        }
    }

    #[test]
    fn alternating_search_contracts_by_the_ratio_of_eigenvalues_and_ends_at_the_closed_form() {
        let mut seen = 0;
        for number in 0..3 {
            let instance = instance("equicorrelated", 6, 4, number);
            for study in cells(&instance, &comparison(), Steps { descent: 0.1, adam: 0.1 }).unwrap() {
                let [CellEnd { optimizer, loss: end, gradients, hits }] = &study.ends[..] else {
                    panic!("{:?}", study.ends)
                };
                assert_eq!(optimizer, "acs");
                // It ends at the cell's optimum, so that it passes every level but perhaps the last ones.
                assert!(hits.len() >= 10 && hits.is_sorted() && hits[hits.len() - 1] <= gradients * 1.001, "{study:?}");
                let total = Biconvex::total(&instance.loss);
                assert!(*end >= study.optimum - 1e-12 * total, "{study:?}");
                // Positive products have a positive top eigenvector, and power iteration finds it.
                assert!(*end <= study.optimum + 1e-8 * total, "{study:?}");
                for contraction in &study.contractions {
                    seen += 1;
                    // The last changes lie below 1e-3, and the third eigenvalue's share decays from there.
                    let off = (contraction.measured / contraction.predicted - 1.0).abs();
                    assert!(off < 0.02, "{contraction:?}");
                }
            }
        }
        assert!(seen >= 8, "{seen}");
    }

    #[test]
    fn with_a_threshold_the_search_contracts_by_what_is_left_of_the_matrix_on_the_face_where_it_ends() {
        // Two features with the product 1/2 and the masses 1 and 1/16: K = [[1, 1/8], [1/8, 1/16]], whose top eigenvector has codes in the ratio
        // 1 : 0.524.
        let gram = faer::mat![[1.0, 0.5], [0.0, 0.75_f64.sqrt()]];
        let loss =
            ApproximateLoss::new(gram.clone(), gram, vec![1.0, 1.0 / 16.0], 0.1).unwrap().with_par(faer::Par::Seq);
        let block = [0, 1];
        let values = weighted_products(&loss, &block).self_adjoint_eigenvalues(Side::Lower).unwrap();
        let run = |codes: [f64; 2]| {
            let W = Mat::from_fn(1, 2, |_, d| codes[d]) * loss.left_inverse().unwrap();
            let mut search = AlternatingSearch::new(&loss, Variant::Cell, 0.0);
            let mut state = search.init(&loss, &Weights { V: Mat::zeros(2, 1), W }).unwrap();
            let mut seen = Vec::new();
            for _ in 0..400 {
                search.step(&loss, &mut state).unwrap();
                seen.push(directions(&loss, &[block.to_vec()], &state).remove(0));
            }
            let changes: Vec<f64> = seen.windows(2).map(|pair| change(&pair[0], &pair[1])).collect();
            (on_face(&loss, &block, &state.at.W, 0), measured(&changes).unwrap().0)
        };
        // Far above the threshold the scale stays, and the limit is in the interior.
        let (face, rate) = run([4.0, 4.0]);
        assert_eq!(face, None);
        assert!((rate - values[0] / values[1]).abs() < 1e-6, "{rate}");
        // From 0.15 it would come to a second code below c = 0.1, which holds it. K without that feature is the first one's mass.
        let (face, rate) = run([0.15, 0.11]);
        let face = face.unwrap();
        assert!((face - 1.0 / values[1]).abs() < 1e-12);
        assert!((rate - face).abs() < 1e-4, "{rate} {face}");
    }

    #[test]
    fn descent_leaves_saddles_in_the_predicted_number_of_steps_and_stays_at_minima() {
        let (mut saddles, mut minima, mut further) = (0, 0, 0);
        for number in 0..6 {
            let Escapes { made, passed_over } = escapes(&instance("random-unit", 4, 2, number), 0).unwrap();
            for passed in passed_over {
                // Only where as many as are wanted were found some are superfluous.
                let of_class = made.iter().filter(|escape| escape.class == passed.class).count();
                let most = if passed.class == "strict-saddle" { 2 } else { 1 };
                assert!(passed.all() > 0 && (passed.further == 0 || of_class == most), "{passed:?}");
                further += passed.further;
            }
            for escape in made {
                match escape.predicted {
                    Some(predicted) => {
                        saddles += 1;
                        assert!(escape.class == "strict-saddle" && escape.block < 0.0 && escape.curvature < 0.0);
                        assert!(escape.left && escape.fall > 0.0, "{escape:?}");
                        assert!((escape.steps as f64 / predicted - 1.0).abs() < 0.05, "{escape:?}");
                    }
                    None => {
                        minima += 1;
                        assert!(escape.class == "local-min" && escape.block == 0.0 && !escape.left, "{escape:?}");
                        // A perturbation of relative size 1e-5 raises the loss by its square, and descent takes that back.
                        assert!(escape.curvature > -1e-9 && escape.fall.abs() < 1e-9, "{escape:?}");
                    }
                }
            }
        }
        assert!(saddles >= 4 && minima >= 3 && further > 0, "{saddles} saddles, {minima} minima, {further} further");
    }
}
