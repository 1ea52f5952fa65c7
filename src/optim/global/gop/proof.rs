//! Proofs of lower values of neurons that share features (`cones` of `verify/FORMAT.md`).
//!
//! A search for a fixed value: cones of codes are replaced and cut as in [`super::search`] until the coefficients of [`super::wedge`] prove it. The
//! codes are rational here, so that a cut is what the certificate says it is, and no difference of nearly parallel codes loses digits. Where
//! to cut is decided in f64, and so is whether it is worth while to compute the coefficients exactly.
//!
//! Codes range over the orthant of the features on which a neuron fires. That is the closed cell if the features are independent.

use super::exact::ExactForms;
use super::node::{POINT, SMALL, longest, mean, pieces};
use super::wedge::{Forms, distance};
use crate::exact::Rational;
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::optim::cell::dot;
use crate::optim::global::patterns::total;
use crate::theory::pattern::dot as exact_dot;
use crate::theory::problem::Problem;
use sdlab_verify::format::{ConesBound, ConesStep, Group, GroupBound, Rat};
use std::collections::BTreeSet;

/// Most nodes of a proof, and most from its root to a leaf.
const NODES: usize = 4_000;
const PATH: usize = 300;

/// The group of these features, on which neurons fire as listed, with a contribution of s. `None` if a proof would be too long.
pub(in crate::optim::global) fn prove(
    problem: &Problem,
    features: &[usize],
    lists: &[Vec<usize>],
    s: &Rational,
) -> Option<Group> {
    let within = features.len() <= super::cell::FEATURES && (1..=features.len()).contains(&lists.len());
    if !within || lists.iter().any(|list| list.is_empty() || list.iter().any(|d| !features.contains(d))) {
        return None;
    }
    // Codes that are always dependent prove nothing: a certificate needs a feature for each neuron.
    let mut choices: BTreeSet<BTreeSet<usize>> = BTreeSet::from([BTreeSet::new()]);
    for list in lists {
        let more = |choice: &BTreeSet<usize>| {
            let new = list.iter().filter(|d| !choice.contains(d));
            new.map(|d| choice.iter().chain([d]).copied().collect()).collect::<Vec<BTreeSet<usize>>>()
        };
        choices = choices.iter().flat_map(more).collect();
    }
    if choices.is_empty() {
        return None;
    }
    let mut proof = Proof::new(problem, features, lists.len(), s)?;
    let place = |d: &usize| features.iter().position(|e| e == d).map(|place| Ray { place, negative: false });
    let rays: Vec<Vec<Ray>> = lists.iter().map(|list| list.iter().filter_map(place).collect()).collect();
    proof.replaced(Chart { parts: vec![None; rays.len()], rays, done: Vec::new() })?;
    let bound = GroupBound::Cones(ConesBound { s: Rat(s.clone()), steps: proof.steps });
    Some(Group { features: features.to_vec(), bound })
}

/// ± the unit vector of a feature of the group.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ray {
    place: usize,
    negative: bool,
}

impl Ray {
    fn vector(self, size: usize) -> Vec<Rational> {
        let entry = if self.negative { Rational::NEG_ONE } else { Rational::ONE };
        (0..size).map(|d| if d == self.place { entry.clone() } else { Rational::ZERO }).collect()
    }
}

/// A cone of codes.
pub(super) type Cone = Vec<Vec<Rational>>;

/// Products of cones before any code is replaced by a difference, as in [`super::charts`].
#[derive(Clone)]
struct Chart {
    rays: Vec<Vec<Ray>>,
    /// The part of a neuron's cone, the ray that it was cut from, and whether it is near to the others.
    parts: Vec<Option<(Cone, Ray, bool)>>,
    done: Vec<(usize, usize)>,
}

/// A product of cones.
#[derive(Clone)]
struct Node {
    codes: Vec<Cone>,
    /// The neuron from which the differences of a neuron are, and their cone.
    differences: Vec<Option<(usize, Cone)>>,
}

impl Node {
    fn current(&self) -> Vec<&Cone> {
        let cones = self.codes.iter().zip(&self.differences);
        cones.map(|(codes, other)| other.as_ref().map_or(codes, |(_, cone)| cone)).collect()
    }
}

struct Proof {
    size: usize,
    /// M_d^½.
    roots: Vec<f64>,
    forms: Forms,
    exact: ExactForms,
    t: f64,
    steps: Vec<ConesStep>,
}

impl Proof {
    fn new(problem: &Problem, features: &[usize], neurons: usize, s: &Rational) -> Option<Self> {
        let f = |d: &usize| &problem.features()[*d];
        let roots: Vec<f64> = features.iter().map(|d| to_f64(&f(d).mass).sqrt()).collect();
        let gram = features.iter().map(|d| features.iter().map(|e| exact_dot(&f(d).w_r, &f(e).w_r)).collect());
        let gram: Vec<Vec<Rational>> = gram.collect();
        let entry = |j: usize, k: usize| roots[j] * roots[k] * to_f64(&gram[j][k]);
        let K: Vec<Vec<f64>> = (0..roots.len()).map(|j| (0..roots.len()).map(|k| entry(j, k)).collect()).collect();
        let masses: Vec<Rational> = features.iter().map(|d| f(d).mass.clone()).collect();
        let t = total(problem, features) - s;
        let finite = K.iter().flatten().all(|x| x.is_finite());
        finite.then(|| Self {
            size: roots.len(),
            forms: Forms::new(&K, neurons),
            exact: ExactForms::new(&gram, &masses, neurons, &t),
            t: to_f64(&t),
            roots,
            steps: Vec::new(),
        })
    }

    /// One node more; `None` if they are too many.
    fn step(&mut self, step: ConesStep) -> Option<()> {
        self.steps.push(step);
        (self.steps.len() <= NODES).then_some(())
    }

    /// b_d = M_d^½ a_d.
    fn scaled(&self, code: &[Rational]) -> Vec<f64> {
        code.iter().zip(&self.roots).map(|(a, root)| root * to_f64(a)).collect()
    }

    fn unit(&self, code: &[Rational]) -> Vec<f64> {
        let b = self.scaled(code);
        let length = dot(&b, &b).sqrt();
        b.into_iter().map(|x| x / length).collect()
    }

    fn units(&self, cone: &Cone) -> Vec<Vec<f64>> {
        cone.iter().map(|code| self.unit(code)).collect()
    }

    /// Proves a chart, by smaller ones where cones are nested or differ in one ray.
    fn replaced(&mut self, chart: Chart) -> Option<()> {
        let count = chart.rays.len();
        if chart.rays.iter().any(Vec::is_empty) {
            return self.step(ConesStep::Bounded { differences: false });
        }
        let pairs = || (0..count).flat_map(|i| (0..count).map(move |j| (i, j))).filter(|(i, j)| i != j);
        let positive = |i: usize| chart.rays[i].iter().all(|ray| !ray.negative);
        let beside = |i: usize, j: usize| {
            chart.rays[i].iter().copied().filter(|ray| !chart.rays[j].contains(ray)).collect::<Vec<Ray>>()
        };
        let whole = |i: usize| chart.parts[i].is_none();
        let nested = |&(i, j): &(usize, usize)| whole(i) && whole(j) && positive(i) && beside(i, j).is_empty();
        if let Some((i, j)) = pairs().find(nested) {
            return self.minus(&chart, i, j);
        }
        for (i, j) in pairs().filter(|&(i, j)| whole(j) && positive(i)) {
            let known = chart.done.contains(&(i, j)) || chart.done.contains(&(j, i));
            let [rest] = beside(i, j)[..] else { continue };
            if known || chart.rays[i].len() == 1 {
                continue;
            }
            let mut chart = chart.clone();
            chart.done.push((i, j));
            match chart.parts[i] {
                None => {
                    let cone = chart.rays[i].iter().map(|ray| ray.vector(self.size)).collect();
                    let others: Vec<usize> = (0..chart.rays[i].len()).filter(|at| chart.rays[i][*at] != rest).collect();
                    return self.parted(&chart, (i, j, rest), &cone, &others);
                }
                Some((_, ray, near)) if ray == rest => {
                    return if near { self.minus(&chart, i, j) } else { self.replaced(chart) };
                }
                Some(_) => {}
            }
        }
        let vectors = |rays: &Vec<Ray>| rays.iter().map(|ray| ray.vector(self.size)).collect::<Cone>();
        let cones = chart.rays.iter().zip(&chart.parts);
        let codes = cones.map(|(rays, part)| part.as_ref().map_or_else(|| vectors(rays), |part| part.0.clone()));
        self.node(&Node { codes: codes.collect(), differences: vec![None; count] }, 0)
    }

    fn minus(&mut self, chart: &Chart, i: usize, j: usize) -> Option<()> {
        self.step(ConesStep::Minus { neurons: (i, j) })?;
        let (taken, rays) = (&chart.rays[i], &chart.rays[j]);
        let against = taken.iter().filter(|ray| !rays.contains(ray)).map(|ray| Ray { negative: true, ..*ray });
        let against: Vec<Ray> = against.filter(|ray| !rays.contains(ray)).collect();
        for without in taken.iter().filter(|ray| rays.contains(ray)) {
            let mut less = chart.clone();
            less.rays[j].retain(|ray| ray != without);
            less.rays[j].extend(&against);
            self.replaced(less)?;
        }
        Some(())
    }

    /// The cone of i is cut between `rest`, the ray that the cone of j lacks, and the others, at these places. Near to those, codes of j are replaced.
    fn parted(
        &mut self,
        chart: &Chart,
        (i, j, rest): (usize, usize, Ray),
        cone: &Cone,
        others: &[usize],
    ) -> Option<()> {
        let part = |cone: Cone, near: bool| {
            let mut part = chart.clone();
            part.parts[i] = Some((cone, rest, near));
            part
        };
        let Some((&at, others)) = others.split_first() else {
            return self.replaced(part(cone.clone(), false));
        };
        let end = chart.rays[i].iter().position(|ray| *ray == rest)?;
        let [first, second] = self.cut(cone, (i, at, end), false)?;
        self.parted(chart, (i, j, rest), &first, others)?;
        self.minus(&part(second, true), i, j)
    }

    /// The parts of a cone on the two sides of the middle of two vertices.
    fn cut(&mut self, cone: &Cone, edge: (usize, usize, usize), differences: bool) -> Option<[Cone; 2]> {
        let (_, j, k) = edge;
        let length = |code: &Vec<Rational>| {
            let b = self.scaled(code);
            dot(&b, &b).sqrt()
        };
        let weight = from_f64(rounded(length(&cone[j]) / length(&cone[k]))).ok().filter(|weight| sign(weight) > 0)?;
        let middle: Vec<Rational> = cone[j].iter().zip(&cone[k]).map(|(a, b)| a + &weight * b).collect();
        self.step(ConesStep::Cut { differences, edge, weight: Rat(weight) })?;
        Some([j, k].map(|at| {
            let mut part = cone.clone();
            part[at].clone_from(&middle);
            part
        }))
    }

    fn node(&mut self, node: &Node, depth: usize) -> Option<()> {
        if depth > PATH {
            return None;
        }
        let with_differences = node.differences.iter().any(Option::is_some);
        for differences in [false, true].into_iter().filter(|differences| with_differences || !differences) {
            let cones = if differences { node.current() } else { node.codes.iter().collect() };
            if self.bounded(&cones) {
                return self.step(ConesStep::Bounded { differences });
            }
        }
        if let Some((neurons, form)) = self.meeting(node) {
            let pieces = differences(&node.codes[neurons.1], &node.codes[neurons.0], &form)?;
            self.step(ConesStep::Difference { neurons, form: form.into_iter().map(Rat).collect() })?;
            for piece in pieces {
                let mut part = node.clone();
                part.differences[neurons.1] = Some((neurons.0, piece));
                self.node(&part, depth + 1)?;
            }
            return Some(());
        }
        // The codes that differences stand for stay as near to each other as those of the other neuron.
        for (j, differences) in node.differences.iter().enumerate() {
            let Some((i, _)) = differences else { continue };
            let [own, other] = [j, *i].map(|l| longest(self.units(&node.codes[l]).iter().collect()));
            if own.0 > 2.0 * other.0 && own.0 > POINT {
                return self.halved(node, (j, own.1, own.2), false, depth);
            }
        }
        let (length, edge) = self.longest(&node.current());
        let differences = node.differences[edge.0].is_some();
        if length > POINT { self.halved(node, edge, differences, depth) } else { None }
    }

    fn halved(&mut self, node: &Node, edge: (usize, usize, usize), differences: bool, depth: usize) -> Option<()> {
        let cone =
            if differences { node.differences[edge.0].as_ref().map(|(_, cone)| cone)? } else { &node.codes[edge.0] };
        for half in self.cut(cone, edge, differences)? {
            let mut part = node.clone();
            if differences {
                part.differences[edge.0].iter_mut().for_each(|(_, cone)| cone.clone_from(&half));
            } else {
                part.codes[edge.0] = half;
            }
            self.node(&part, depth + 1)?;
        }
        Some(())
    }

    /// Whether the coefficients prove t. Those that f64 does not tell from 0 are computed exactly.
    fn bounded(&self, cones: &[&Cone]) -> bool {
        let units: Vec<Vec<Vec<f64>>> = cones.iter().map(|cone| self.units(cone)).collect();
        let near = units.iter().map(|cone| cone.iter().collect()).collect::<Vec<Vec<&Vec<f64>>>>();
        self.forms.unclear(&near, self.t).is_some_and(|unclear| self.exact.hold(cones, &unclear))
    }

    /// Two neurons whose codes are near to each other and may be parallel, and a form that is positive on both.
    fn meeting(&self, node: &Node) -> Option<((usize, usize), Vec<Rational>)> {
        let free = |i: &usize| node.differences[*i].is_none();
        let around = |units: &[Vec<f64>]| {
            let centre = mean(&units.iter().collect::<Vec<_>>());
            let most = units.iter().map(|b| distance(b, &centre)).fold(0.0, f64::max);
            (centre, most)
        };
        for i in (0..node.codes.len()).filter(free) {
            for j in (i + 1..node.codes.len()).filter(free) {
                let mut units = self.units(&node.codes[i]);
                let others = self.units(&node.codes[j]);
                let ((a, r), (b, s)) = (around(&units), around(&others));
                // The factor has room for cones that only touch.
                if r.max(s) > SMALL || distance(&a, &b) > 1.05 * (r + s) {
                    continue;
                }
                units.extend(others);
                let h = mean(&units.iter().collect::<Vec<_>>());
                let form = h.iter().zip(&self.roots).map(|(x, root)| from_f64(rounded(x * root)).ok());
                let form: Vec<Rational> = form.collect::<Option<_>>()?;
                let above = |code: &Vec<Rational>| sign(&exact_dot(&form, code)) > 0;
                if node.codes[i].iter().chain(&node.codes[j]).all(above) {
                    return Some(((i, j), form));
                }
            }
        }
        None
    }

    /// The longest edge and its length: that of the unit products with the centres of the others, so that changes within the span of the others do not
    /// count.
    fn longest(&self, cones: &[&Cone]) -> (f64, (usize, usize, usize)) {
        let units: Vec<Vec<Vec<f64>>> = cones.iter().map(|cone| self.units(cone)).collect();
        let centres: Vec<Vec<f64>> = units.iter().map(|cone| mean(&cone.iter().collect::<Vec<_>>())).collect();
        let mut best = (0.0, (0, 0, 1));
        for (i, cone) in units.iter().enumerate() {
            let product = |b: &Vec<f64>| {
                let w = self.forms.wedge((0..units.len()).map(|l| if l == i { b } else { &centres[l] }));
                let length = dot(&w, &w).sqrt();
                (length > 1e-12).then(|| w.iter().map(|x| x / length).collect::<Vec<f64>>())
            };
            let products: Option<Vec<Vec<f64>>> = cone.iter().map(product).collect();
            let (length, j, k) = longest(products.as_ref().unwrap_or(cone).iter().collect());
            if length > best.0 {
                best = (length, (i, j, k));
            }
        }
        best
    }
}

/// x in few bits.
fn rounded(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !((1 << 48) - 1))
}

/// Cones that cover the differences y − x of codes at one scale of the form, as [`super::node`] has them; `None` if they are too many.
fn differences(of: &Cone, to: &Cone, form: &[Rational]) -> Option<Vec<Cone>> {
    let scaled = |cone: &Cone| -> Cone {
        let scale = |code: &Vec<Rational>| {
            let height = exact_dot(form, code);
            code.iter().map(|x| x / &height).collect()
        };
        cone.iter().map(scale).collect()
    };
    let (of, to) = (scaled(of), scaled(to));
    let common = (0..of.len()).filter_map(|y| Some((y, to.iter().position(|x| *x == of[y])?)));
    let common: Vec<(usize, usize)> = common.collect();
    let pairs = pieces(of.len(), to.len(), &common);
    let difference = |(j, k): (usize, usize)| of[j].iter().zip(&to[k]).map(|(y, x)| y - x).collect();
    let piece = |pairs: Vec<(usize, usize)>| pairs.into_iter().map(difference).collect();
    (pairs.len() <= PIECES).then(|| pairs.into_iter().map(piece).collect())
}

/// Most cones of differences, as many as a certificate may have.
const PIECES: usize = 512;
