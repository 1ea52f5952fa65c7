//! The best value of a block, and of any small cell, within ε, by decomposition and bounds of the parts.
//!
//! # A block
//!
//! With s_d = M_d^½ r_d and b_d = M_d^½ a_d a block's problem is min ‖S − v bᵀ‖² over columns v and b in a polyhedral cone. It is bilinear:
//! b are the complicating variables, and with b fixed the rest is convex. From the global optimization algorithm (GOP) come
//!
//! * the *primal problem* at b^k: the V-step v^k = S b^k/‖b^k‖², an upper value, with the multipliers Y = S − v^k (b^k)ᵀ of the lifted
//!   constraints u_d = b_d v;
//! * the *relaxed dual*: with the minimum over u taken, L(b, v) = ‖Y‖² − 2⟨Y b, v⟩ bounds the loss at every b from below once v ranges over
//!   a set that holds the best column for b. Where v is bounded by v^k ± ρ, the least value over v is attained at a corner that the signs of
//!   the *qualifying constraints* (Y b)_j select, ‖Y‖² − 2⟨Y b, v^k⟩ − 2 Σ_j ρ_j |(Y b)_j|.
//!
//! The classical algorithm keeps all duals in one master problem over fixed bounds of v, with one linear program for every sign vector of
//! the qualifying constraints; its error falls linearly with the distance to the nearest b^k. Ours differs in the master: the cone of b is
//! cut into simplices by bisection of the longest edge, and every simplex has its own primal problem, at its barycentre, and its own bounds
//! of v, which shrink with it, so that the error falls quadratically. The dual value is concave in b, so that its minimum over a simplex is
//! at a vertex and no linear program is left. It is thus a branch-and-bound with GOP's primal and dual problems.
//!
//! # Neurons that share features
//! [`solve_cell`] bounds the cell of any pattern. The codes of all neurons that features connect are the complicating variables then, and the
//! primal problem is the V-step as before. The dual needs other bounds of the columns: where codes may be parallel no bounded set holds the best
//! ones. The columns are eliminated instead. That leaves a quotient of two forms that are quadratic in every code, which is bounded over a
//! product of simplices by the coefficients of the forms (`wedge`), with differences of codes in the place of codes that may be
//! parallel (`charts`, `node`). An infimum that codes approach as they become parallel is found like any other.
//!
//! The bounds are computed in f64. [`super::cell_bound`] certifies them: `proof` finds certificates of neurons that share features.
//!
//! # Requirements
//! [`solve`]: one neuron covers the block (every block of a partition cell). [`solve_cell`]: few features and neurons in a component. The work grows
//! with ε^-½ and exponentially with the number of rays; a budget that is spent leaves bounds that hold. Twenty thousand products of simplices are
//! mostly enough for neurons of two or three rays that share one or two, and not for two neurons of four rays that share three.
//!
//! # References
//! * C. A. Floudas and V. Visweswaran, A global optimization algorithm (GOP) for certain classes of nonconvex NLPs, I, Computers & Chemical
//!   Engineering 14 (1990). doi:10.1016/0098-1354(90)80020-C
//! * C. A. Floudas and V. Visweswaran, Primal-relaxed dual global optimization approach, Journal of Optimization Theory and Applications 78
//!   (1993). doi:10.1007/BF00939667

mod cell;
mod charts;
mod exact;
mod node;
mod proof;
mod search;
mod wedge;

pub use cell::{CellBounds, solve_cell};
pub(super) use cell::{components, solve_orthants};
pub(super) use proof::prove;

use super::GlobalError;
use super::partition::Partition;
use crate::optim::cell::dot;
use crate::theory::loss::ApproximateLoss;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// When the search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The largest gap between upper and lower value, relative to the upper one.
    pub epsilon: f64,
    /// Most simplices that are bounded.
    pub budget: usize,
}

impl Default for Options {
    /// ε = 1e-7, 2 million simplices.
    fn default() -> Self {
        Self { epsilon: 1e-7, budget: 2_000_000 }
    }
}

/// Why the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The gap is within ε.
    Converged,
    /// The budget was spent; the bounds hold all the same.
    Budget,
    /// A simplex that stays open is as small as rounding allows; the bounds hold all the same.
    Rounding,
}

/// The two bounds of a block's best value.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// No point of the closed cell has a lower block loss, up to rounding.
    pub lower: f64,
    /// The block loss at `codes`.
    pub upper: f64,
    /// a_d for the features of the block, in order, up to scale.
    pub codes: Vec<f64>,
    /// Simplices that were bounded.
    pub simplices: usize,
    /// Why it ended.
    pub reason: Reason,
}

/// A block in the variables b.
struct Block {
    /// s_d, one column for each feature.
    S: Vec<Vec<f64>>,
    /// Simplex vertices at the root: the rays of the cone, with entries that add up to 1.
    rays: Vec<Vec<f64>>,
    roots: Vec<f64>,
    total: f64,
}

/// A simplex of b with its lower value.
pub(super) struct Simplex {
    pub(super) bound: f64,
    pub(super) vertices: Vec<Vec<f64>>,
}

impl PartialEq for Simplex {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Simplex {}

impl PartialOrd for Simplex {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Simplex {
    /// The lowest bound comes first out of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        other.bound.total_cmp(&self.bound)
    }
}

/// Bounds the best value of the block F = `features` of a partition cell.
///
/// # Errors
/// If the block is wrong or its cell is empty, see [`Partition::rays`].
pub fn solve(loss: &ApproximateLoss, features: &[usize], options: Options) -> Result<Bounds, GlobalError> {
    let rays = Partition::new(loss)?.rays(features)?;
    let roots: Vec<f64> = features.iter().map(|&d| loss.masses()[d].sqrt()).collect();
    let column = |(&d, root): (&usize, &f64)| loss.R().col(d).iter().map(|r| root * r).collect::<Vec<f64>>();
    let S: Vec<Vec<f64>> = features.iter().zip(&roots).map(column).collect();
    let scaled = |ray: &Vec<f64>| {
        let b: Vec<f64> = ray.iter().zip(&roots).map(|(a, root)| a * root).collect();
        let sum: f64 = b.iter().sum();
        b.into_iter().map(|b| b / sum).collect()
    };
    let total = S.iter().map(|s| dot(s, s)).sum();
    let block = Block { rays: rays.iter().map(scaled).collect(), S, roots, total };
    Ok(block.search(options))
}

impl Block {
    fn search(&self, options: Options) -> Bounds {
        let mut best = (self.total, vec![0.0; self.S.len()]);
        let mut heap = BinaryHeap::new();
        let mut simplices = 0;
        let mut bound = |vertices: Vec<Vec<f64>>, best: &mut (f64, Vec<f64>)| {
            simplices += 1;
            let bound = self.bound(&vertices, best);
            (Simplex { bound, vertices }, simplices)
        };
        if self.rays.is_empty() {
            return Bounds {
                lower: self.total,
                upper: self.total,
                codes: best.1,
                simplices: 0,
                reason: Reason::Converged,
            };
        }
        self.rays.iter().for_each(|ray| self.improve(ray, &mut best));
        heap.push(bound(self.rays.clone(), &mut best).0);
        let mut count = 1;
        let (mut lower, mut reason) = (best.0, Reason::Converged);
        while let Some(simplex) = heap.pop() {
            // A loss of zero is met within the rounding of the data.
            let wanted = best.0 - (options.epsilon * best.0).max(1e-15 * self.total);
            lower = simplex.bound.min(best.0);
            if lower >= wanted {
                break;
            }
            if count >= options.budget {
                reason = Reason::Budget;
                break;
            }
            for half in bisect(simplex.vertices) {
                let (half, so_far) = bound(half, &mut best);
                count = so_far;
                // No better than its parent's bound by rounding alone.
                heap.push(Simplex { bound: half.bound.max(simplex.bound), ..half });
            }
        }
        let codes = best.1.iter().zip(&self.roots).map(|(b, root)| if *b == 0.0 { 0.0 } else { b / root }).collect();
        Bounds { lower: lower.max(0.0), upper: best.0, codes, simplices: count, reason }
    }

    /// S b.
    fn image(&self, b: &[f64]) -> Vec<f64> {
        let mut image = vec![0.0; self.S[0].len()];
        for (s, &b) in self.S.iter().zip(b) {
            image.iter_mut().zip(s).for_each(|(sum, s)| *sum += b * s);
        }
        image
    }

    /// The primal problem at b: keeps its value if it is the best.
    fn improve(&self, b: &[f64], best: &mut (f64, Vec<f64>)) {
        let image = self.image(b);
        let value = self.total - dot(&image, &image) / dot(b, b);
        if value < best.0 {
            *best = (value, b.to_vec());
        }
    }

    /// The primal problem at the barycentre and its dual's least value over the simplex.
    fn bound(&self, vertices: &[Vec<f64>], best: &mut (f64, Vec<f64>)) -> f64 {
        let (m, n) = (self.S.len(), vertices.len() as f64);
        let centre: Vec<f64> = (0..m).map(|d| vertices.iter().map(|u| u[d]).sum::<f64>() / n).collect();
        self.improve(&centre, best);
        let square = dot(&centre, &centre);
        let v: Vec<f64> = self.image(&centre).into_iter().map(|x| x / square).collect();
        let residual = |d: usize| self.S[d].iter().zip(&v).map(|(s, v)| s - centre[d] * v).collect::<Vec<f64>>();
        let Y: Vec<Vec<f64>> = (0..m).map(residual).collect();
        let constant: f64 = Y.iter().map(|y| dot(y, y)).sum();
        // The best column for b = b^k + δ differs from v^k by (S δ − v^k (2⟨b^k, δ⟩ + ‖δ‖²)) / ‖b‖², and ‖b‖ ≥ ⟨b, b^k⟩/‖b^k‖.
        let (mut linear, mut ball, mut quadratic, mut least) = (vec![0.0f64; v.len()], 0.0f64, 0.0f64, f64::INFINITY);
        for u in vertices {
            let delta: Vec<f64> = u.iter().zip(&centre).map(|(u, c)| u - c).collect();
            let along = 2.0 * dot(&centre, &delta);
            let change: Vec<f64> = self.image(&delta).iter().zip(&v).map(|(s, v)| s - v * along).collect();
            linear.iter_mut().zip(&change).for_each(|(most, x)| *most = most.max(x.abs()));
            ball = ball.max(dot(&change, &change).sqrt());
            quadratic = quadratic.max(dot(&delta, &delta));
            least = least.min(dot(u, &centre).powi(2) / square);
        }
        let radius: Vec<f64> = linear.iter().zip(&v).map(|(x, v)| (x + v.abs() * quadratic) / least).collect();
        let ball = (ball + dot(&v, &v).sqrt() * quadratic) / least;
        let dual = |u: &Vec<f64>| {
            let mut qualifying = vec![0.0; v.len()];
            for (y, &b) in Y.iter().zip(u) {
                qualifying.iter_mut().zip(y).for_each(|(sum, y)| *sum += b * y);
            }
            let corner: f64 = radius.iter().zip(&qualifying).map(|(radius, q)| radius * q.abs()).sum();
            // The columns also lie in a ball, which is smaller than the box in some directions.
            let round = ball * dot(&qualifying, &qualifying).sqrt();
            constant - 2.0 * dot(&qualifying, &v) - 2.0 * corner.min(round)
        };
        vertices.iter().map(dual).fold(f64::INFINITY, f64::min)
    }
}

/// The two halves of a simplex, cut in the middle of its longest edge. A single vertex is its own half.
fn bisect(vertices: Vec<Vec<f64>>) -> Vec<Vec<Vec<f64>>> {
    let mut longest = (0.0, 0, 0);
    for (j, u) in vertices.iter().enumerate() {
        for (k, w) in vertices.iter().enumerate().skip(j + 1) {
            let length: f64 = u.iter().zip(w).map(|(a, b)| (a - b) * (a - b)).sum();
            if length > longest.0 {
                longest = (length, j, k);
            }
        }
    }
    let (_, j, k) = longest;
    let middle: Vec<f64> = vertices[j].iter().zip(&vertices[k]).map(|(a, b)| (a + b) / 2.0).collect();
    let (mut first, mut second) = (vertices.clone(), vertices);
    first[j] = middle.clone();
    second[k] = middle;
    vec![first, second]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::{Rational, rational};
    use crate::optim::global::cell_bound::certify;
    use crate::theory::families::{Family, Parameters};
    use crate::theory::pattern::Pattern;
    use crate::theory::problem::Problem;
    use serde_json::Value;

    /// Blocks of all n features: independent ones (n_p = n), or with a cone of their own (n_p < n, one more feature stays silent).
    fn problem(n: usize, n_p: usize, seed: u64) -> Problem {
        let parameters = Parameters { n, n_p, n_r: Some(n), c: Rational::ZERO };
        Family::SpreadMasses { decades: 1 }.generate(&parameters, seed).unwrap()
    }

    fn instance(n: usize, n_p: usize, seed: u64) -> ApproximateLoss {
        ApproximateLoss::from_problem(&problem(n, n_p, seed)).unwrap()
    }

    /// Certifies what was found for the first features, and sees that the certificate is accepted and that mutated ones are not.
    fn certified(problem: &Problem, features: &[usize], found: Bounds, best: f64) -> f64 {
        let pattern = Pattern::new(vec![features.to_vec()], problem.n()).unwrap();
        let cell = certify(problem, &pattern, &[found]).unwrap();
        assert_eq!(sdlab_verify::check(&cell.certificate).unwrap().kind(), "lower-bound");
        let written: Value = serde_json::from_str(&cell.certificate.to_json()).unwrap();
        let of = |x: &str| rational::parse(x).unwrap();
        let groups = written["body"]["tree"]["groups"].as_array().unwrap();
        let at = groups.iter().position(|group| group.get("conic").is_some()).unwrap();
        let t = of(groups[at]["conic"]["t"].as_str().unwrap());
        // A bound above the contributions; one above the best value, with the t that it needs; and a pattern with one more neuron that fires on a feature.
        let above = rational::from_f64(1e-5 * best).unwrap();
        let raised = (&cell.certified + &above).to_string();
        let small =
            |value: &mut Value| value["body"]["tree"]["groups"][at]["conic"]["t"] = (&t - &above).to_string().into();
        let bound = |value: &mut Value| value["body"]["bound"] = raised.as_str().into();
        let shared = |value: &mut Value| {
            value["body"]["latents"] = 2.into();
            value["body"]["pattern"] = serde_json::json!([features, [features[0]]]);
        };
        let refused = |edit: &dyn Fn(&mut Value), reason: &str| {
            let mut value = written.clone();
            edit(&mut value);
            let refusal = sdlab_verify::check_text(&value.to_string()).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{refusal}");
        };
        refused(&bound, "do not reach the bound");
        refused(
            &|value| {
                small(value);
                bound(value);
            },
            "tD − DGD − N is not positive semidefinite",
        );
        refused(&shared, "several neurons reach the group");
        rational::to_f64(&cell.certified)
    }

    #[test]
    fn the_bounds_enclose_the_closed_form_and_are_certified() {
        let (mut faces, mut compared) = (0, [0; 2]);
        for (n, n_p, block, seeds) in [(3, 3, 3, 100), (4, 4, 4, 100), (4, 3, 3, 12)] {
            for seed in 0..seeds {
                let loss = instance(n, n_p, seed);
                let features: Vec<usize> = (0..block).collect();
                let Ok(exact) = Partition::new(&loss).unwrap().block(&features) else { continue };
                let found = solve(&loss, &features, Options::default()).unwrap();
                assert_eq!(found.reason, Reason::Converged, "{seed}");
                // ε, and the rounding of sums of a dozen squares
                assert!(found.lower <= exact.loss * (1.0 + 1e-12), "{seed}: {} {}", found.lower, exact.loss);
                assert!(found.upper >= exact.loss * (1.0 - 1e-12), "{seed}: {} {}", found.upper, exact.loss);
                assert!((found.upper - exact.loss).abs() <= 1e-6 * exact.loss);
                assert!((found.lower - exact.loss).abs() <= 1e-6 * exact.loss);
                if n == n_p {
                    let certified = certified(&problem(n, n_p, seed), &features, found, exact.loss);
                    assert!(certified <= exact.loss * (1.0 + 1e-12), "{seed}: {certified} {}", exact.loss);
                    assert!(certified >= exact.loss * (1.0 - 1e-6), "{seed}: {certified} {}", exact.loss);
                }
                faces += usize::from(exact.codes.contains(&0.0));
                compared[block - 3] += usize::from(n == n_p);
            }
        }
        assert!(faces >= 50, "only {faces} optima on a face");
        assert_eq!(compared, [100, 100], "independent features have a closed form");
    }

    #[test]
    fn a_spent_budget_leaves_bounds_that_hold() {
        let loss = instance(4, 4, 1);
        let exact = Partition::new(&loss).unwrap().block(&[0, 1, 2, 3]).unwrap().loss;
        let found = solve(&loss, &[0, 1, 2, 3], Options { budget: 50, ..Options::default() }).unwrap();
        assert_eq!(found.reason, Reason::Budget);
        assert!(found.lower < exact && exact <= found.upper * (1.0 + 1e-12));
    }
}
