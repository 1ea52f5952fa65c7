//! Branch-and-bound over the codes of neurons that share features.
//!
//! A node has a simplex of codes for each neuron, in one of the [charts](super::charts), and a number that tr(K P) does not exceed
//! ([`super::wedge`]). The node with the largest one is cut ([`super::node`]), until it is as low as the best value of codes that was found.

use super::charts::{Chart, charts};
use super::node::{BESIDE, Node, POINT, Simplex, Vertex, centre, longest, mean, sum};
use super::wedge::{Forms, combination};
use super::{Options, Reason};
use crate::optim::cell::dot;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// What a search has found: two bounds of the loss, and codes.
pub(in crate::optim::global) struct Found {
    pub(in crate::optim::global) lower: f64,
    pub(in crate::optim::global) upper: f64,
    pub(super) codes: Vec<Vec<f64>>,
    pub(super) simplices: usize,
    pub(super) reason: Reason,
}

/// The search over the codes of some neurons with these cones.
pub(super) struct Search {
    forms: Forms,
    cones: Vec<Vec<Vec<f64>>>,
    rays: Vec<Vec<f64>>,
    charts: Vec<Chart>,
    total: f64,
    /// The sum of the q largest eigenvalues of K.
    rank: f64,
    best: f64,
    codes: Vec<Vec<f64>>,
    count: usize,
}

/// What a loss of 0 may be, relative to the loss without neurons.
const ZERO: f64 = 1e-12;
/// Starts of the ascent, and sweeps of each.
const STARTS: u64 = 8;
const SWEEPS: usize = 500;

impl Search {
    /// For cones with these extreme rays, of which none is 0 and whose codes are independent in general.
    pub(super) fn new(K: &[Vec<f64>], cones: Vec<Vec<Vec<f64>>>, rank: f64) -> Self {
        let unit = |ray: &Vec<f64>| ray.iter().map(|x| x / dot(ray, ray).sqrt()).collect::<Vec<f64>>();
        let cones: Vec<Vec<Vec<f64>>> = cones.iter().map(|cone| cone.iter().map(unit).collect()).collect();
        let (rays, charts) = charts(&cones);
        let total = (0..K.len()).map(|d| K[d][d]).sum();
        let codes = vec![vec![0.0; K.len()]; cones.len()];
        Self { forms: Forms::new(K, cones.len()), cones, rays, charts, total, rank, best: 0.0, codes, count: 0 }
    }

    pub(super) fn run(mut self, options: Options) -> Found {
        for start in 0..STARTS {
            // Weights between 1 and 2, all of them 1 at the first start.
            let weight = |i: usize, k: usize| 1.0 + (start * (7 * i as u64 + 3 * k as u64 + 5) % 11) as f64 / 10.0;
            let weights = self.cones.iter().enumerate();
            self.ascend(weights.map(|(i, cone)| (0..cone.len()).map(|k| weight(i, k)).collect()).collect());
        }
        let mut heap = BinaryHeap::new();
        for chart in 0..self.charts.len() {
            let simplices: Vec<Rc<Simplex>> = self.charts[chart].simplices.iter().cloned().map(Rc::new).collect();
            let differences = vec![None; simplices.len()];
            let node = Node { bound: self.rank, chart, simplices, differences, improved: false, plain: false };
            heap.push(self.bounded(node));
        }
        let (bound, reason) = loop {
            let Some(node) = heap.pop() else { break (self.best, Reason::Converged) };
            let upper = self.total - self.best;
            if node.bound - self.best <= (options.epsilon * upper).max(ZERO * self.total) {
                break (node.bound, Reason::Converged);
            }
            if self.count >= options.budget {
                break (node.bound, Reason::Budget);
            }
            let Some(parts) = self.parts(&node) else { break (node.bound, Reason::Rounding) };
            for part in parts {
                let part = self.bounded(part);
                if part.bound > self.best {
                    heap.push(part);
                }
            }
        };
        let upper = (self.total - self.best).max(0.0);
        let lower = (self.total - bound).clamp(0.0, upper);
        Found { lower, upper, codes: self.codes, simplices: self.count, reason }
    }

    /// Keeps codes if their value is the best.
    fn offer(&mut self, value: Option<f64>, codes: impl FnOnce(&Self) -> Vec<Vec<f64>>) {
        if let Some(value) = value.filter(|value| *value > self.best) {
            self.codes = codes(self);
            self.best = value;
        }
    }

    /// Raises the value by exact searches along one ray of one neuron at a time.
    fn ascend(&mut self, mut weights: Vec<Vec<f64>>) {
        let mut codes: Vec<Vec<f64>> = self.cones.iter().zip(&weights).map(|(cone, w)| combination(cone, w)).collect();
        let mut last = f64::NEG_INFINITY;
        for _ in 0..SWEEPS {
            for i in 0..codes.len() {
                for k in 0..self.cones[i].len() {
                    let ray = &self.cones[i][k];
                    let rest: Vec<f64> = codes[i].iter().zip(ray).map(|(b, v)| b - weights[i][k] * v).collect();
                    let with =
                        |b: &Vec<f64>| self.forms.wedge((0..codes.len()).map(|l| if l == i { b } else { &codes[l] }));
                    let (u, v) = (with(&rest), with(ray));
                    let (Ku, Kv) = (self.forms.image(&u), self.forms.image(&v));
                    let N = [dot(&u, &Ku), dot(&u, &Kv), dot(&v, &Kv)];
                    let D = [dot(&u, &u), dot(&u, &v), dot(&v, &v)];
                    weights[i][k] = highest(N, D, weights[i][k]);
                    codes[i] = combination(&self.cones[i], &weights[i]);
                }
                let length = dot(&codes[i], &codes[i]).sqrt();
                if length > 0.0 {
                    weights[i].iter_mut().chain(&mut codes[i]).for_each(|x| *x /= length);
                }
            }
            let value = self.forms.value(codes.iter());
            self.offer(value, |_| codes.clone());
            let Some(value) = value.filter(|value| *value > last + 1e-14 * self.total) else { break };
            last = value;
        }
    }

    /// Bounds a node, and offers its centre.
    fn bounded(&mut self, mut node: Node) -> Node {
        self.count += 1;
        let plain = self.forms.bound(&node.plain());
        let mut bound = plain;
        if node.has_differences() {
            let other = self.forms.bound(&node.current());
            bound = plain.into_iter().chain(other).min_by(f64::total_cmp);
        }
        node.plain = plain.is_some() && bound == plain;
        node.improved = bound.is_some_and(|bound| bound < node.bound);
        node.bound = bound.map_or(node.bound, |bound| bound.min(node.bound));
        let centres: Vec<Vertex> = node.simplices.iter().map(|simplex| centre(simplex)).collect();
        let value = self.forms.value(centres.iter().map(|centre| &centre.b));
        let weights = |centres: &[Vertex]| centres.iter().map(|centre| centre.weights.clone()).collect::<Vec<_>>();
        self.offer(value, |search| search.restored(node.chart, weights(&centres)));
        for (j, differences) in node.differences.iter().enumerate() {
            let Some(differences) = differences else { continue };
            // Codes beside a common one p of both neurons.
            let [own, other] = [j, differences.from].map(|l| &self.charts[node.chart].rays[l]);
            let mut p = centres[differences.from].weights.clone();
            p.iter_mut()
                .enumerate()
                .filter(|(ray, _)| !own.contains(ray) || !other.contains(ray))
                .for_each(|(_, x)| *x = 0.0);
            let b = combination(&self.rays, &p);
            if dot(&b, &b) <= POINT * POINT {
                continue;
            }
            let (x, y) = (sum(&differences.to), sum(&differences.of));
            let mut at = centres.clone();
            at[differences.from] = Vertex { b, weights: p }.unit().plus(&x.clone().times(BESIDE));
            at[j] = y.plus(&x.times(-1.0));
            let value = self.forms.value(at.iter().map(|at| &at.b));
            let beside = at[differences.from].plus(&at[j].clone().times(BESIDE));
            at[j] = beside;
            self.offer(value, |search| search.restored(node.chart, weights(&at)));
        }
        node
    }

    /// Codes of the cell from weights in a chart.
    fn restored(&self, chart: usize, weights: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        self.charts[chart].codes(weights).iter().map(|weights| combination(&self.rays, weights)).collect()
    }

    /// Nodes that cover a node; `None` if it is as small as rounding allows.
    fn parts(&self, node: &Node) -> Option<Vec<Node>> {
        let replaced = if node.improved { None } else { node.replaced() };
        if let Some(parts) = replaced {
            return Some(parts);
        }
        if !(node.plain && node.improved) && node.has_differences() {
            // The simplex that differences stand for stays as small as the other.
            for (j, differences) in node.differences.iter().enumerate() {
                let Some(differences) = differences else { continue };
                let length = |i: usize| longest(node.simplices[i].iter().map(|vertex| &vertex.b).collect());
                let (own, other) = (length(j), length(differences.from));
                if own.0 > 2.0 * other.0 && own.0 > POINT {
                    return Some(node.halved(j, own.1, own.2));
                }
            }
            let (length, i, j, k) = self.longest(&node.current(), node.improved);
            let halved =
                if node.differences[i].is_some() { node.halved_differences(i, j, k) } else { node.halved(i, j, k) };
            return (length > POINT).then_some(halved);
        }
        let (length, i, j, k) = self.longest(&node.plain(), node.improved);
        (length > POINT).then(|| node.halved(i, j, k))
    }

    /// The longest edge and its length: that of the unit products with the centres of the others if the node is bounded, so that changes within the
    /// span of the others do not count.
    fn longest(&self, cones: &[Vec<&Vec<f64>>], bounded: bool) -> (f64, usize, usize, usize) {
        let centres: Vec<Vec<f64>> = cones.iter().map(|cone| mean(cone)).collect();
        let mut best = (0.0, 0, 0, 1);
        for (i, cone) in cones.iter().enumerate() {
            let product = |b: &Vec<f64>| {
                let w = self.forms.wedge((0..cones.len()).map(|l| if l == i { b } else { &centres[l] }));
                let length = dot(&w, &w).sqrt();
                (length > 1e-12).then(|| w.iter().map(|x| x / length).collect::<Vec<f64>>())
            };
            let products: Option<Vec<Vec<f64>>> =
                if bounded { cone.iter().map(|b| product(b)).collect() } else { None };
            let (length, j, k) = match &products {
                Some(products) => longest(products.iter().collect()),
                None => longest(cone.clone()),
            };
            if length > best.0 {
                best = (length, i, j, k);
            }
        }
        best
    }
}

/// The x ≥ 0 at which (N_0 + 2 N_1 x + N_2 x²)/(D_0 + 2 D_1 x + D_2 x²) is largest among the critical points, 0 and `x`.
fn highest(N: [f64; 3], D: [f64; 3], mut x: f64) -> f64 {
    let quotient = |x: f64| {
        let below = D[0] + 2.0 * x * D[1] + x * x * D[2];
        if below > 1e-20 { (N[0] + 2.0 * x * N[1] + x * x * N[2]) / below } else { f64::NEG_INFINITY }
    };
    let (a, b, c) = (N[1] * D[0] - D[1] * N[0], N[2] * D[0] - D[2] * N[0], N[2] * D[1] - D[2] * N[1]);
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    let s = -0.5 * (b + if b >= 0.0 { root } else { -root });
    for y in [0.0, s / c, a / s] {
        if (0.0..1e6).contains(&y) && quotient(y) > quotient(x) {
            x = y;
        }
    }
    x
}
