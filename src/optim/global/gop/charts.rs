//! Charts of the codes of several neurons: products of cones with the same spans in which no codes are parallel, where such are known.
//!
//! The loss depends on the span of the codes alone, so that one code may be replaced by its difference to a multiple of another one. Let the
//! cones of the neurons i and j have the rays G in common, and α be the largest number for which b_j − α b_i has no negative weight on G. A
//! weight on some k ∈ G is then 0, and
//!
//! * if the rays of i are G alone, the difference is in the cone of j without k: pairs of *nested* cones become pairs of smaller ones;
//! * if i has one ray ρ beside G, the difference is in the cone of −ρ and the rays of j without k. Every such pair comes from codes of the
//!   cell, with α the weight on −ρ over that of b_i on ρ. Where b_i is near G this is one of |G| charts for b_j; where it is near ρ,
//!   b_j itself is, and no two codes are parallel there.

use super::node::Vertex;
use super::wedge::{combination, distance};
use std::collections::BTreeSet;

/// b_to was replaced by b_to − α b_from, without weight on the ray `rest` of b_from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    from: usize,
    to: usize,
    rest: usize,
}

/// One product of simplices.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// For each neuron the rays of its cone; beyond the number of rays they are the negative ones.
    pub(super) rays: Vec<Vec<usize>>,
    /// For each neuron the part of its cone that is covered.
    pub(super) simplices: Vec<Vec<Vertex>>,
    steps: Vec<Step>,
}

impl Chart {
    /// The weights of codes of the cell with the span of these.
    pub(super) fn codes(&self, mut weights: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let half = weights.first().map_or(0, |w| w.len() / 2);
        for step in self.steps.iter().rev() {
            let minus = weights[step.to][half + step.rest];
            weights[step.to][half + step.rest] = 0.0;
            if minus <= 0.0 {
                continue;
            }
            let from = &mut weights[step.from];
            let least = FACE * from.iter().sum::<f64>();
            from[step.rest] = from[step.rest].max(least);
            let from = from.clone();
            let alpha = minus / from[step.rest];
            weights[step.to].iter_mut().zip(&from).for_each(|(w, x)| *w += alpha * x);
            weights[step.to][step.rest] = 0.0;
        }
        weights
    }
}

/// A weight that stands for 0 where a chart divides by it, small beside [`BESIDE`](super::node::BESIDE).
const FACE: f64 = 1e-9;

/// A product that may have to be replaced.
#[derive(Debug, Clone)]
struct Open {
    rays: Vec<Vec<usize>>,
    /// The simplex that stands for the whole cone, and the ray that it is far from or near to.
    parts: Vec<Option<(Vec<Vertex>, usize, bool)>>,
    steps: Vec<Step>,
    done: Vec<(usize, usize)>,
}

/// The different rays of some cones, of unit length, followed by their negatives, and products of cones whose spans are those of the given ones.
pub(super) fn charts(cones: &[Vec<Vec<f64>>]) -> (Vec<Vec<f64>>, Vec<Chart>) {
    let mut all: Vec<Vec<f64>> = Vec::new();
    let mut number = |ray: &Vec<f64>| {
        all.iter().position(|other| distance(other, ray) <= 1e-12).unwrap_or_else(|| {
            all.push(ray.clone());
            all.len() - 1
        })
    };
    let rays: Vec<Vec<usize>> =
        cones.iter().map(|cone| cone.iter().map(&mut number).collect::<BTreeSet<_>>().into_iter().collect()).collect();
    let negative: Vec<Vec<f64>> = all.iter().map(|ray| ray.iter().map(|x| -x).collect()).collect();
    let half = all.len();
    all.extend(negative);
    let mut open = vec![Open { parts: vec![None; rays.len()], rays, steps: Vec::new(), done: Vec::new() }];
    let mut seen = BTreeSet::new();
    let mut charts = Vec::new();
    while let Some(product) = open.pop() {
        if product.rays.iter().any(Vec::is_empty) {
            continue;
        }
        if product.steps.is_empty() && product.done.is_empty() {
            let mut sorted = product.rays.clone();
            sorted.sort();
            if !seen.insert(sorted) {
                continue;
            }
        }
        let less = product.unnested().or_else(|| product.parted(&all, half));
        match less {
            Some(less) => open.extend(less),
            None => charts.push(product.chart(&all)),
        }
    }
    (all, charts)
}

impl Open {
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = self.rays.len();
        (0..count).flat_map(move |i| (0..count).map(move |j| (i, j))).filter(|(i, j)| i != j)
    }

    /// The smaller products if the cone of j is within that of i.
    fn unnested(&self) -> Option<Vec<Self>> {
        let within = |&(i, j): &(usize, usize)| {
            self.parts[i].is_none() && self.rays[j].iter().all(|ray| self.rays[i].contains(ray))
        };
        let (i, j) = self.pairs().find(within)?;
        let without = |k: &usize| {
            let mut less = self.clone();
            less.rays[i].retain(|ray| ray != k);
            less
        };
        Some(self.rays[j].iter().map(without).collect())
    }

    /// The products with charts if the cone of i has one ray that j lacks.
    fn parted(&self, all: &[Vec<f64>], half: usize) -> Option<Vec<Self>> {
        let (i, j, common, rest) = self.pairs().find_map(|(i, j)| {
            let (common, rest): (Vec<usize>, Vec<usize>) =
                self.rays[i].iter().partition(|&ray| self.rays[j].contains(ray));
            let fits = match (&rest[..], &self.parts[i]) {
                (&[rest], Some((_, other, _))) => rest == *other,
                (&[rest], None) => rest < half,
                _ => false,
            };
            let known = self.done.contains(&(i, j)) || self.done.contains(&(j, i));
            (fits && !common.is_empty() && self.parts[j].is_none() && !known).then(|| (i, j, common, rest[0]))
        })?;
        let mut base = self.clone();
        base.done.push((i, j));
        let mut products = Vec::new();
        let mut add = |base: &Self, near: Option<Vec<Vertex>>| {
            for k in &common {
                let mut product = base.clone();
                product.rays[j].retain(|ray| ray != k);
                product.rays[j].push(half + rest);
                product.steps.push(Step { from: i, to: j, rest });
                if let Some(near) = &near {
                    product.parts[i] = Some((near.clone(), rest, true));
                }
                products.push(product);
            }
        };
        match &self.parts[i] {
            Some((_, _, true)) => add(&base, None),
            Some(_) => products.push(base),
            None => {
                let pure = |ray: usize| Vertex::new(all, &[(ray, 1.0)]);
                let middle = |ray: usize| Vertex::new(all, &[(ray, 1.0), (rest, 1.0)]);
                for at in 0..common.len() {
                    let near = common[..=at].iter().map(|&ray| pure(ray));
                    add(&base, Some(near.chain(common[at..].iter().map(|&ray| middle(ray))).collect()));
                }
                let far = [pure(rest)].into_iter().chain(common.iter().map(|&ray| middle(ray))).collect();
                base.parts[i] = Some((far, rest, false));
                products.push(base);
            }
        }
        Some(products)
    }

    fn chart(self, all: &[Vec<f64>]) -> Chart {
        let whole = |rays: &Vec<usize>| rays.iter().map(|&ray| Vertex::new(all, &[(ray, 1.0)])).collect();
        let simplices =
            self.rays.iter().zip(self.parts).map(|(rays, part)| part.map_or_else(|| whole(rays), |part| part.0));
        Chart { simplices: simplices.collect(), rays: self.rays, steps: self.steps }
    }
}

impl Vertex {
    /// The sum of some rays with weights, at unit length.
    pub(super) fn new(all: &[Vec<f64>], terms: &[(usize, f64)]) -> Self {
        let mut weights = vec![0.0; all.len()];
        terms.iter().for_each(|&(ray, weight)| weights[ray] = weight);
        Self { b: combination(all, &weights), weights }.unit()
    }
}
