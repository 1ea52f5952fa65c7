//! Cones of the codes of one neuron, and why they miss an x.

use super::{Case, CodeCone, Cones, Faces, Known, Line, Weight, Witness};
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::matrix::rank;
use crate::exact::rational::sign;
use crate::optim::global::GlobalError;
use crate::optim::global::rays::{RowCone, row_cone};
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use crate::theory::region::inequalities::coprime_integers;
use std::collections::BTreeSet;

impl Cones {
    /// The closed cone of the rows that fire on `set`.
    pub fn rows(&mut self, problem: &Problem, set: &BTreeSet<usize>) -> Result<&RowCone, GlobalError> {
        self.rows.entry(set.clone()).or_insert_with(|| row_cone(problem, set)).as_ref().map_err(Clone::clone)
    }

    /// A cone for the codes of a neuron on `features`: that of its cell if all is decided, else the orthant of the features on which it may
    /// fire.
    pub fn of(&mut self, problem: &Problem, known: &Known, faces: &Faces, features: &[usize]) -> CodeCone {
        if !known.contains(&None) {
            let set: BTreeSet<usize> = (0..known.len()).filter(|&d| known[d] == Some(true)).collect();
            let below: BTreeSet<usize> = (0..known.len()).filter(|&e| faces[e] == Some(false)).collect();
            let key = (set, below, features.to_vec());
            if !self.codes.contains_key(&key) {
                let cone = self.rows(problem, &key.0).ok().and_then(|rows| decided(problem, rows, &key.1, features));
                self.codes.insert(key.clone(), cone);
            }
            if let Some(Some(cone)) = self.codes.get(&key) {
                return cone.clone();
            }
        }
        orthant(known, features)
    }
}

/// The orthant of the features on which a neuron may fire.
fn orthant(known: &Known, features: &[usize]) -> CodeCone {
    let mut rays = Vec::new();
    let mut weights = Vec::new();
    for (at, &d) in features.iter().enumerate().filter(|(_, d)| known[**d] != Some(false)) {
        let unit = |k: usize| if k == at { Rational::ONE } else { Rational::ZERO };
        rays.push((0..features.len()).map(unit).collect());
        weights.push(match known[d] {
            Some(_) => Weight::Row { on: vec![(d, Rational::ONE)], off: Vec::new() },
            None => Weight::Free(d),
        });
    }
    let all: Vec<usize> = (0..rays.len()).collect();
    let fires: Vec<usize> = all.iter().copied().filter(|&j| matches!(weights[j], Weight::Row { .. })).collect();
    // Where nothing is known to fire, the codes may all vanish.
    let witnesses = if fires.is_empty() {
        all.first().map(|&ray| sum(&weights, all.clone(), ray)).into_iter().collect()
    } else {
        fires.into_iter().map(|ray| sum(&weights, vec![ray], ray)).collect()
    };
    CodeCone { rays, witnesses }
}

/// z·x = Σ_j λ_j h_j.
fn sum(weights: &[Weight], needs: Vec<usize>, ray: usize) -> Witness {
    let others = weights.iter().cloned().enumerate().filter(|(k, _)| *k != ray).collect();
    let scales = vec![Rational::ONE; needs.len()];
    Witness { needs, cases: vec![Case { ray, base: weights[ray].clone(), others, lines: Vec::new() }], scales }
}

/// The cone of the codes of a cell on some features, in which ⟨w, p_e⟩ < 0 for the features of `below`.
fn decided(problem: &Problem, cone: &RowCone, below: &BTreeSet<usize>, features: &[usize]) -> Option<CodeCone> {
    let mut directions = BTreeSet::new();
    let mut rays: Vec<(Vec<Rational>, &Vec<Rational>)> = Vec::new();
    for (codes, row) in cone.codes.iter().zip(&cone.rows) {
        let part: Vec<Rational> = features.iter().map(|&d| codes[d].clone()).collect();
        if part.iter().any(|z| !z.is_zero()) && directions.insert(coprime_integers(&part)) {
            rays.push((part, row));
        }
    }
    crate::optim::global::rays::extreme(&mut rays, |(ray, _)| ray);
    let (rays, rows): (Vec<_>, Vec<_>) = rays.into_iter().unzip();
    // What is positive in the cell: the codes, and what they exceed the others by where the threshold is positive, else −⟨w, p_e⟩ for the
    // features of `below`.
    let p = |d: usize| &problem.features()[d].w_p;
    let mut positive: Vec<Positive> = Vec::new();
    let mut add = |on: Vec<(usize, Rational)>, off: Vec<(usize, Rational)>| {
        let terms = on.iter().map(|(d, _)| (*d, Rational::ONE)).chain(off.iter().map(|(e, _)| (*e, -Rational::ONE)));
        let mut vector = vec![Rational::ZERO; problem.n_p()];
        for (d, side) in terms {
            vector.iter_mut().zip(p(d)).for_each(|(x, p)| *x += &side * p);
        }
        let values = rows.iter().map(|row| dot(row, &vector)).collect();
        positive.push((Weight::Row { on, off }, vector, values));
    };
    let one = |d: usize| vec![(d, Rational::ONE)];
    let fires: Vec<usize> = features.iter().copied().filter(|d| cone.set.contains(d)).collect();
    fires.iter().for_each(|&d| add(one(d), Vec::new()));
    if has_threshold(problem) {
        let off = (0..problem.n()).filter(|e| !cone.set.contains(e));
        off.for_each(|e| fires.iter().for_each(|&d| add(one(d), one(e))));
    } else {
        below.iter().for_each(|&e| add(Vec::new(), one(e)));
    }
    let witnesses = stars(problem, &cone.set, features, &rays, positive);
    (!witnesses.is_empty()).then_some(CodeCone { rays, witnesses })
}

/// A linear form of the row that is positive in the cell: as a weight, as a vector, and its values on the rays.
type Positive = (Weight, Vec<Rational>, Vec<Rational>);

/// One reason for every form b that is positive in the cell: q = Σ x_d p_d lies in the dual cone of the cell, and the ray from q
/// against b leaves it by the face of the least ρ_j·x / b_j. So q is b times this plus a point of that face.
fn stars(
    problem: &Problem,
    set: &BTreeSet<usize>,
    features: &[usize],
    rays: &[Vec<Rational>],
    positive: Vec<Positive>,
) -> Vec<Witness> {
    let mut witnesses: Vec<Witness> = Vec::new();
    // With a threshold the cell is open.
    let lines = if has_threshold(problem) { Vec::new() } else { lines(problem, set) };
    for form in positive {
        let needs: Vec<usize> = (0..rays.len()).filter(|&j| !form.2[j].is_zero()).collect();
        if witnesses.iter().any(|known| known.needs.iter().all(|j| needs.contains(j))) {
            continue;
        }
        let scales: Vec<Rational> = needs.iter().map(|&j| form.2[j].clone()).collect();
        let case = |&ray: &usize| star(problem, set, features, rays, &lines, &form, ray);
        if let Some(cases) = needs.iter().map(case).collect::<Option<Vec<Case>>>().filter(|cases| !cases.is_empty()) {
            witnesses.retain(|known| !needs.iter().all(|j| known.needs.contains(j)));
            witnesses.push(Witness { needs, cases, scales });
        }
    }
    witnesses
}

/// Features l with independent p_l and ⟨w, p_l⟩ = 0 in the whole cell: p_l = −Σ β_e p_e over features that do not fire.
fn lines(problem: &Problem, set: &BTreeSet<usize>) -> Vec<Line> {
    let off: Vec<usize> = (0..problem.n()).filter(|e| !set.contains(e)).collect();
    let p = |e: usize| &problem.features()[e].w_p;
    let (mut lines, mut span): (Vec<Line>, Vec<Vec<Rational>>) = (Vec::new(), Vec::new());
    for &l in &off {
        let unit = |v: usize, u: usize| if v == u { Rational::ONE } else { Rational::ZERO };
        let balance = (0..problem.n_p()).map(|k| {
            let coeffs = off.iter().map(|&e| if e == l { Rational::ZERO } else { p(e)[k].clone() }).collect();
            Row { coeffs, relation: Relation::Eq, rhs: -&p(l)[k] }
        });
        let positive = (0..off.len()).map(|v| {
            let coeffs = (0..off.len()).map(|u| unit(v, u)).collect();
            Row { coeffs, relation: Relation::Ge, rhs: Rational::ZERO }
        });
        let rows = balance.chain(positive).collect();
        let Outcome::Feasible(beta) = decide_rational(&System { variables: off.len(), rows }) else { continue };
        span.push(p(l).clone());
        if rank(&Rationals, &span) < span.len() {
            span.pop();
            continue;
        }
        let used = off.iter().zip(beta).filter(|(e, y)| **e != l && !y.is_zero());
        let up = Weight::Row { on: Vec::new(), off: used.map(|(&e, y)| (e, y)).collect() };
        lines.push(Line { feature: l, up, down: Weight::Row { on: Vec::new(), off: vec![(l, Rational::ONE)] } });
    }
    lines
}

/// Weights with Σ_{k≠j} (ρ_ke − κ_k ρ_je) weight_k = p_e − (ρ_je/b_j) b for every feature e that fires, κ_k = b_k/b_j, up to what is 0 in the
/// cell.
fn star(
    problem: &Problem,
    set: &BTreeSet<usize>,
    features: &[usize],
    rays: &[Vec<Rational>],
    lines: &[Line],
    (weight, b, values): &Positive,
    j: usize,
) -> Option<Case> {
    let n = problem.n();
    let others: Vec<usize> = (0..rays.len()).filter(|&k| k != j).collect();
    let weighted = others.len() * n;
    // The factor of a line is free for every feature.
    let variables = weighted + lines.len() * features.len();
    let p = |e: usize, k: usize| &problem.features()[e].w_p[k];
    let mut rows = Vec::new();
    for (to, &e) in features.iter().enumerate().filter(|(_, e)| set.contains(e)) {
        let share = &rays[j][to] / &values[j];
        let factors: Vec<Rational> = others.iter().map(|&k| &rays[k][to] - &share * &values[k]).collect();
        for k in 0..problem.n_p() {
            let coefficient = |v: usize| {
                if let Some(v) = v.checked_sub(weighted) {
                    let line = lines[v / features.len()].feature;
                    return if v % features.len() == to { p(line, k).clone() } else { Rational::ZERO };
                }
                let product = &factors[v / n] * p(v % n, k);
                if set.contains(&(v % n)) { product } else { -product }
            };
            let coeffs = (0..variables).map(coefficient).collect();
            rows.push(Row { coeffs, relation: Relation::Eq, rhs: p(e, k) - &share * &b[k] });
        }
    }
    if has_threshold(problem) {
        // ⟨w, p_d⟩ − c and c − ⟨w, p_e⟩: c Σ_on ≥ c Σ_off for each weight.
        for k in 0..others.len() {
            let coefficient = |v: usize| match v / n == k {
                true if set.contains(&(v % n)) => Rational::ONE,
                true => -Rational::ONE,
                false => Rational::ZERO,
            };
            rows.push(Row {
                coeffs: (0..variables).map(coefficient).collect(),
                relation: Relation::Ge,
                rhs: Rational::ZERO,
            });
        }
    }
    for v in 0..weighted {
        let coeffs = (0..variables).map(|u| if u == v { Rational::ONE } else { Rational::ZERO }).collect();
        rows.push(Row { coeffs, relation: Relation::Ge, rhs: Rational::ZERO });
    }
    let Outcome::Feasible(x) = decide_rational(&System { variables, rows }) else { return None };
    let base = weight.scaled(&(Rational::ONE / &values[j]));
    let (weights, factors) = x.split_at(weighted);
    let others = others.iter().copied().zip(split_weights(weights, n, set)).collect();
    let lines = factors.chunks(features.len()).map(<[Rational]>::to_vec).zip(lines.iter().cloned()).collect();
    Some(Case { ray: j, base, others, lines })
}

/// Weights from their coefficients, n for each.
fn split_weights(x: &[Rational], n: usize, set: &BTreeSet<usize>) -> Vec<Weight> {
    let weight = |x: &[Rational]| {
        let entries = x.iter().cloned().enumerate().filter(|(_, y)| !y.is_zero());
        let (on, off) = entries.partition(|(d, _)| set.contains(d));
        Weight::Row { on, off }
    };
    x.chunks(n).map(weight).collect()
}

/// Whether c > 0.
fn has_threshold(problem: &Problem) -> bool {
    problem.threshold().is_some_and(|c| sign(c) > 0)
}
