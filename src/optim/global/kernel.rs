//! Groups of features whose codes have a kernel: lower bounds by one vector (`kernel` of `verify/FORMAT.md`).
//!
//! If the codes Z of a group g satisfy Zx = 0, the group loses at least ‖R_g x‖² / Σ x_d²/M_d. With fewer neurons than features there is
//! such an x. A neuron leaves x only where one of its codes z has z·x = 0: x is *cut* by the cone of its codes. The least quotient over the x
//! that every neuron cuts is a lower bound.
//!
//! Cells are half open. What fires is > c, so that a ray of the closed cone belongs to the cell of one pattern at most, and an x that is
//! orthogonal to this ray alone, and positive on the others, is cut by that pattern and by none beside it. This matters where the cells of two
//! neurons share a ray and x is positive on the one cell and negative on the other: in the closed cells both neurons would take the
//! ray, and their codes would be parallel. If x has one sign on both cells it is the limit of x that cut both inside; the decoder grows
//! without end there, and the infimum of the loss is approached, not attained. With a positive threshold the cone of a cell's directions is
//! open, and no ray belongs to it.
//!
//! With one feature more than neurons the least quotient is therefore the infimum of the loss over the cell, if the codes of some such x are
//! independent. They are not where they all lie in one face of fewer dimensions than neurons: one neuron inside the face and others on its
//! rays, each of which belongs to its own cell. [`super::patterns`] then asks of these others whether they are on the face, and
//! bounds the loss by the costliest x that the face leaves.
//!
//! Neurons whose codes are all taken up by x (F_i ∩ g with P_{F_i ∩ g} x = 0) need no equation. A class of neurons with one pattern is taken
//! up where that costs no more dimensions than it has neurons, for then it costs nothing.

use super::GlobalError;
use super::multipliers::multipliers;
use super::rays::{RowCone, row_cone};
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::matrix::{is_positive_semidefinite, nullspace, rank, rref};
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use crate::theory::region::inequalities::coprime_integers;
use sdlab_verify::format::{Missed, Rat, SignNode};
use std::collections::{BTreeMap, BTreeSet};

/// What a node of the search knows of one neuron: whether it fires on each feature, if that is decided.
pub type Known = Vec<Option<bool>>;

/// What a node knows of the faces of a decided neuron's cell, for c = 0: whether ⟨w, p_e⟩ = 0 or < 0 for features on which it does not fire, if
/// that was asked.
pub type Faces = Vec<Option<bool>>;

/// λ_j ≥ 0 as a combination of what is known to be ≥ 0.
#[derive(Debug, Clone)]
enum Weight {
    /// Σ α_d ⟨w, p_d⟩ − Σ β_e ⟨w, p_e⟩.
    Row { on: Vec<(usize, Rational)>, off: Vec<(usize, Rational)> },
    /// z_d of an undecided feature.
    Free(usize),
}

impl Weight {
    fn scaled(&self, factor: &Rational) -> Self {
        let scale = |list: &[(usize, Rational)]| list.iter().map(|(d, y)| (*d, y * factor)).collect();
        match self {
            Self::Row { on, off } => Self::Row { on: scale(on), off: scale(off) },
            Self::Free(d) => Self::Free(*d),
        }
    }
}

/// A cone that holds the codes of a neuron on a group, and why it misses the x that it misses.
#[derive(Debug, Clone)]
pub struct CodeCone {
    /// Its rays ρ_j, one number for each feature of the group.
    pub rays: Vec<Vec<Rational>>,
    witnesses: Vec<Witness>,
}

/// No code z of the neuron is orthogonal to an x with ρ_j·x ≥ 0 for all j if ρ_j·x > 0 for the j of `needs`.
#[derive(Debug, Clone)]
struct Witness {
    needs: Vec<usize>,
    /// One for each of `needs`, for the case that its h_j = ρ_j·x is the least over `scales`; or a single one for all cases.
    cases: Vec<Case>,
    /// a_j > 0, one for each ray of `needs`.
    scales: Vec<Rational>,
}

/// z·x = h_j base + Σ_k (h_k − κ_k h_j) weight_k, where κ_k = a_k/a_j for the rays that are needed if there are several cases, else 0.
#[derive(Debug, Clone)]
struct Case {
    ray: usize,
    base: Weight,
    others: Vec<(usize, Weight)>,
    /// The factors of what is 0 in the cell, which belong to the sum as well.
    lines: Vec<(Vec<Rational>, Line)>,
}

/// ⟨w, p_l⟩ = 0 in the whole cell, and why: both it and its negative are combinations ≥ 0.
#[derive(Debug, Clone)]
struct Line {
    feature: usize,
    up: Weight,
    down: Weight,
}

/// Where a row fires, the features e with ⟨w, p_e⟩ < 0 that were asked for, and those of the group.
type Cell = (BTreeSet<usize>, BTreeSet<usize>, Vec<usize>);

/// The cones of decided rows, kept for the next question.
#[derive(Debug, Default)]
pub struct Cones {
    rows: BTreeMap<BTreeSet<usize>, Result<RowCone, GlobalError>>,
    codes: BTreeMap<Cell, Option<CodeCone>>,
}

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
    super::rays::extreme(&mut rays, |(ray, _)| ray);
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

/// A neuron that x has to meet: its cone as linear forms of ξ.
#[derive(Debug, Clone)]
struct Cut {
    neuron: usize,
    forms: Vec<Vec<Rational>>,
    witnesses: Vec<Witness>,
}

impl Cut {
    /// Whether a code is orthogonal to an x with these signs on the rays.
    fn meets(&self, signs: &[i8]) -> bool {
        let (above, below) = (signs.contains(&1), signs.contains(&-1));
        above == below || !self.witnesses.iter().any(|witness| witness.needs.iter().all(|&j| signs[j] != 0))
    }
}

/// Where the quotient is least.
#[derive(Debug, Clone)]
pub struct Least {
    /// The infimum.
    pub value: f64,
    /// ξ, of length 1, that attains it or is a limit of such that do.
    pub xi: Vec<f64>,
    /// A direction of length 1, or 0: every neuron cuts ξ + t·inwards for small t > 0.
    pub inwards: Vec<f64>,
}

/// Most forms that vanish at a point whose neighbourhood is searched, 3 to that power sign vectors.
const VANISHING: usize = 7;

/// The hyperplanes of the forms of a group.
struct Arrangement<'a> {
    group: &'a KernelGroup,
    lines: Vec<&'a Vec<Rational>>,
    /// For each ray of each cone its line and the side on which its form is positive.
    sides: Vec<Vec<Option<(usize, i8)>>>,
}

impl Arrangement<'_> {
    fn signs_of(&self, cut: usize, signs: &[i8]) -> Vec<i8> {
        self.sides[cut].iter().map(|side| side.map_or(0, |(k, side)| side * signs[k])).collect()
    }

    /// A direction from a point with these signs to points beside it that every neuron cuts, of length 1, or 0 if they cut the point. Where
    /// too many forms vanish the point itself counts.
    fn inwards(&self, signs: &[i8]) -> Option<Vec<f64>> {
        let cuts = || (0..self.sides.len()).map(|cut| self.signs_of(cut, signs));
        // A form that vanishes may take any sign beside the point.
        if cuts().any(|signs| !signs.contains(&0) && signs.contains(&1) != signs.contains(&-1)) {
            return None;
        }
        let vanishing: Vec<usize> = (0..signs.len()).filter(|&k| signs[k] == 0).collect();
        if vanishing.len() > VANISHING {
            return Some(vec![0.0; self.group.dimension()]);
        }
        (0..3usize.pow(vanishing.len() as u32)).find_map(|number| {
            let mut moved = signs.to_vec();
            let mut digits = number;
            for &k in &vanishing {
                moved[k] = [1, -1, 0][digits % 3];
                digits /= 3;
            }
            let met = (0..self.sides.len()).all(|cut| self.group.cuts[cut].meets(&self.signs_of(cut, &moved)));
            if met { self.direction(&vanishing, &moved) } else { None }
        })
    }

    /// A direction of length 1 along which the forms that vanish take these signs, if there is one; 0 if they stay 0.
    fn direction(&self, vanishing: &[usize], signs: &[i8]) -> Option<Vec<f64>> {
        let dimension = self.group.dimension();
        if vanishing.iter().all(|&k| signs[k] == 0) {
            return Some(vec![0.0; dimension]);
        }
        let row = |&k: &usize| {
            let length = self.lines[k].iter().map(|x| to_f64(x).powi(2)).sum::<f64>().sqrt();
            let unit = from_f64(length).ok().filter(|length| !length.is_zero()).unwrap_or(Rational::ONE);
            let turned = if signs[k] < 0 { -unit } else { unit };
            let coeffs = self.lines[k].iter().map(|x| x / &turned).collect();
            match signs[k] {
                0 => Row { coeffs, relation: Relation::Eq, rhs: Rational::ZERO },
                _ => Row { coeffs, relation: Relation::Ge, rhs: Rational::ONE },
            }
        };
        let rows = vanishing.iter().map(row).collect();
        match decide_rational(&System { variables: dimension, rows }) {
            Outcome::Feasible(y) => Some(normalised(y.iter().map(to_f64).collect())),
            Outcome::Infeasible(_) => None,
        }
    }
}

/// Most sets of features that are tried as codes of further neurons.
const SUBSETS: usize = 32;

/// A group with the space of x and the cones that have to cut it.
#[derive(Debug, Clone)]
pub struct KernelGroup {
    /// g.
    pub features: Vec<usize>,
    /// T, one row for each feature.
    pub basis: Vec<Vec<Rational>>,
    cuts: Vec<Cut>,
    /// Tᵀ G T and Tᵀ D⁻¹ T.
    gram: Vec<Vec<Rational>>,
    weight: Vec<Vec<Rational>>,
}

impl KernelGroup {
    /// The group `features` at a node; `None` if the neurons may leave no x.
    pub fn new(
        problem: &Problem,
        cones: &mut Cones,
        known: &[Known],
        faces: &[Faces],
        features: &[usize],
    ) -> Option<Self> {
        let reaching: Vec<usize> =
            (0..known.len()).filter(|&i| features.iter().any(|&d| known[i][d] != Some(false))).collect();
        // Equations Σ_{d on} p_d x_d = 0 of the classes that are taken up.
        let mut equations: Vec<Vec<Rational>> = Vec::new();
        let mut unmet = reaching;
        loop {
            let before = unmet.len();
            let kind = |i: usize| firing(&known[i], features).map(|on| (on, tight(&faces[i])));
            let classes: BTreeSet<(Vec<bool>, Vec<usize>)> = unmet.iter().filter_map(|&i| kind(i)).collect();
            for class in classes {
                let count = unmet.iter().filter(|&&i| kind(i).as_ref() == Some(&class)).count();
                let mut more = equations.clone();
                let p = |d: usize| &problem.features()[d].w_p;
                // Σ_{d on} p_d x_d is to be a combination of the p_e of the faces.
                let faces: Vec<Vec<Rational>> = class.1.iter().map(|&e| p(e).clone()).collect();
                more.extend(nullspace(&Rationals, &faces, problem.n_p()).iter().map(|across| {
                    let entry = |(&d, &on): (&usize, &bool)| if on { dot(across, p(d)) } else { Rational::ZERO };
                    features.iter().zip(&class.0).map(entry).collect::<Vec<_>>()
                }));
                let more = rref(&Rationals, &more).0;
                if more.len() - equations.len() <= count {
                    equations = more;
                    unmet.retain(|&i| kind(i).as_ref() != Some(&class));
                }
            }
            if unmet.len() == before {
                break;
            }
        }
        let columns = nullspace(&Rationals, &equations, features.len());
        if columns.len() <= unmet.len() {
            return None;
        }
        let group = Self::with_basis(problem, features, columns);
        let dimension = unmet.len() + 1;
        if group.dimension() <= dimension {
            return Some(group.with_cuts(problem, cones, known, faces, &unmet));
        }
        // Any subspace of one dimension more than there are equations will do: the one that loses most, or one that is orthogonal to some
        // codes, as though there were more neurons with these.
        let mut bases = vec![group.costly(dimension)?];
        if unmet.iter().all(|&i| !known[i].contains(&None)) {
            let unit = |at: usize| (0..features.len()).map(|k| Rational::from(u8::from(k == at))).collect::<Vec<_>>();
            for codes in super::rays::subsets(features.len(), group.dimension() - dimension).into_iter().take(SUBSETS) {
                let equations: Vec<Vec<Rational>> = codes.into_iter().map(|at| group.form(&unit(at))).collect();
                let space = nullspace(&Rationals, &equations, group.dimension());
                let columns = space.iter().map(|xi| group.basis.iter().map(|t| dot(t, xi)).collect()).collect();
                let smaller = Self::with_basis(problem, features, columns);
                bases.extend(if smaller.dimension() > dimension {
                    smaller.costly(dimension)
                } else {
                    Some(smaller.columns())
                });
            }
        }
        let mut best: Option<(f64, Self)> = None;
        for columns in bases {
            let group = Self::with_basis(problem, features, columns).with_cuts(problem, cones, known, faces, &unmet);
            let value = group.least().map_or(f64::INFINITY, |least| least.value);
            if best.as_ref().is_none_or(|(other, _)| value > *other) {
                best = Some((value, group));
            }
        }
        best.map(|(_, group)| group)
    }

    /// With the cones of the neurons that x has to meet.
    fn with_cuts(
        mut self,
        problem: &Problem,
        cones: &mut Cones,
        known: &[Known],
        faces: &[Faces],
        unmet: &[usize],
    ) -> Self {
        for &i in unmet {
            let CodeCone { rays, mut witnesses } = cones.of(problem, &known[i], &faces[i], &self.features);
            let forms = rays.iter().map(|ray| self.form(ray)).collect();
            let lines = witnesses.iter_mut().flat_map(|witness| &mut witness.cases).flat_map(|case| &mut case.lines);
            lines.for_each(|(factor, _)| *factor = self.form(factor));
            self.cuts.push(Cut { neuron: i, forms, witnesses });
        }
        self
    }

    /// The columns of T.
    fn columns(&self) -> Vec<Vec<Rational>> {
        (0..self.dimension()).map(|l| self.basis.iter().map(|t| t[l].clone()).collect()).collect()
    }

    fn with_basis(problem: &Problem, features: &[usize], columns: Vec<Vec<Rational>>) -> Self {
        let basis: Vec<Vec<Rational>> =
            (0..features.len()).map(|d| columns.iter().map(|column| column[d].clone()).collect()).collect();
        let r = |d: usize| &problem.features()[d].w_r;
        let product = |inner: &dyn Fn(usize, usize) -> Rational| -> Vec<Vec<Rational>> {
            let entry = |a: &Vec<Rational>, b: &Vec<Rational>| {
                let terms = (0..features.len()).flat_map(|j| (0..features.len()).map(move |k| (j, k)));
                terms.fold(Rational::ZERO, |sum, (j, k)| match a[j].is_zero() || b[k].is_zero() {
                    true => sum,
                    false => sum + &a[j] * &b[k] * inner(features[j], features[k]),
                })
            };
            columns.iter().map(|a| columns.iter().map(|b| entry(a, b)).collect()).collect()
        };
        let gram = product(&|d, e| dot(r(d), r(e)));
        let weight = product(&|d, e| if d == e { Rational::ONE / &problem.features()[d].mass } else { Rational::ZERO });
        Self { features: features.to_vec(), basis, cuts: Vec::new(), gram, weight }
    }

    /// r, the dimension of ξ.
    pub fn dimension(&self) -> usize {
        self.gram.len()
    }

    /// ρ as a form of ξ: Tᵀρ.
    fn form(&self, ray: &[Rational]) -> Vec<Rational> {
        (0..self.dimension())
            .map(|l| ray.iter().zip(&self.basis).fold(Rational::ZERO, |sum, (x, t)| sum + x * &t[l]))
            .collect()
    }

    /// T times the `count` costliest eigenvectors of the quotient, rounded to 20 bits.
    fn costly(&self, count: usize) -> Option<Vec<Vec<Rational>>> {
        let pencil = self.pencil()?;
        let mut values: Vec<(f64, Vec<f64>)> = pencil;
        values.sort_by(|a, b| b.0.total_cmp(&a.0));
        let rounded = |xi: &Vec<f64>| {
            let largest = xi.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            let xi: Option<Vec<Rational>> =
                xi.iter().map(|x| from_f64((x / largest * 1048576.0).round() / 1048576.0).ok()).collect();
            let xi = xi?;
            Some(self.basis.iter().map(|t| dot(t, &xi)).collect::<Vec<_>>())
        };
        values.iter().take(count).map(|(_, xi)| rounded(xi)).collect()
    }

    /// All eigenpairs of TᵀGT ξ = μ TᵀD⁻¹T ξ.
    fn pencil(&self) -> Option<Vec<(f64, Vec<f64>)>> {
        super::dense::eigenpairs(&floats(&self.gram), &floats(&self.weight))
    }

    /// The infimum of the quotient over the ξ that every neuron cuts, in f64. On every face of the arrangement of the forms the least
    /// eigenvector counts if it is a limit of such ξ. `None` if no ξ is cut.
    pub fn least(&self) -> Option<Least> {
        // The forms up to a factor, and for each ray of each cone its form and side, `None` where it vanishes.
        let mut lines: Vec<&Vec<Rational>> = Vec::new();
        let mut sides: Vec<Vec<Option<(usize, i8)>>> = Vec::new();
        for cut in &self.cuts {
            let mut rays = Vec::new();
            for form in &cut.forms {
                if form.iter().all(Rational::is_zero) {
                    rays.push(None);
                    continue;
                }
                let known = lines.iter().enumerate().find_map(|(k, line)| {
                    let side = if sign(&ratio(form, line)?) > 0 { 1 } else { -1 };
                    Some((k, side))
                });
                rays.push(Some(known.unwrap_or((lines.len(), 1))));
                if known.is_none() {
                    lines.push(form);
                }
            }
            sides.push(rays);
        }
        let arrangement = Arrangement { group: self, lines, sides };
        let forms: Vec<Vec<f64>> =
            arrangement.lines.iter().map(|h| normalised(h.iter().map(to_f64).collect())).collect();
        let (gram, weight) = (floats(&self.gram), floats(&self.weight));
        let mut best: Option<Least> = None;
        let mut faces: Vec<Vec<usize>> = vec![Vec::new()];
        while let Some(face) = faces.pop() {
            let equations: Vec<Vec<f64>> = face.iter().map(|&k| forms[k].clone()).collect();
            let Some((value, xi)) = super::dense::least_on(&gram, &weight, &equations) else { continue };
            // Smaller faces have larger values.
            if best.as_ref().is_some_and(|best| value >= best.value) {
                continue;
            }
            let xi = normalised(xi);
            // Forms and ξ are unit vectors; ξ is accurate to about 1e-14 over the eigengap.
            let side = |h: &Vec<f64>| {
                let value = h.iter().zip(&xi).map(|(a, b)| a * b).sum::<f64>();
                if value.abs() <= 1e-9 {
                    0
                } else if value > 0.0 {
                    1
                } else {
                    -1
                }
            };
            let signs: Vec<i8> = forms.iter().map(side).collect();
            if let Some(inwards) = arrangement.inwards(&signs) {
                best = Some(Least { value, xi, inwards });
            } else if face.len() + 1 < self.dimension() {
                let first = face.last().map_or(0, |last| last + 1);
                faces.extend((first..forms.len()).map(|next| face.iter().copied().chain([next]).collect()));
            }
        }
        best
    }

    /// x = Tξ.
    pub fn x(&self, xi: &[f64]) -> Vec<f64> {
        self.basis.iter().map(|t| t.iter().zip(xi).map(|(t, x)| to_f64(t) * x).sum()).collect()
    }

    /// The proof that every x that the cones cut pays at least s, if it is found.
    pub fn prove(&self, s: &Rational) -> Option<SignNode> {
        let Q: Vec<Vec<Rational>> = self
            .gram
            .iter()
            .zip(&self.weight)
            .map(|(g, w)| g.iter().zip(w).map(|(g, w)| g - s * w).collect())
            .collect();
        let mut proof = Proof::new(Q, Vec::new());
        // Neurons with one cell cut the same x.
        let mut cuts: Vec<&Cut> = Vec::new();
        let needs = |cut: &Cut| cut.witnesses.iter().map(|witness| witness.needs.clone()).collect::<Vec<_>>();
        for cut in &self.cuts {
            if !cuts.iter().any(|other| other.forms == cut.forms && needs(other) == needs(cut)) {
                cuts.push(cut);
            }
        }
        proof.rays = cuts.iter().flat_map(|cut| &cut.forms).cloned().collect();
        proof.cases(&cuts, true)
    }
}

/// Where the neuron fires among `features`, if that is decided for all of them.
fn firing(known: &Known, features: &[usize]) -> Option<Vec<bool>> {
    features.iter().map(|&d| known[d]).collect()
}

/// The features with ⟨w, p_e⟩ = 0.
fn tight(faces: &Faces) -> Vec<usize> {
    (0..faces.len()).filter(|&e| faces[e] == Some(true)).collect()
}

fn floats(M: &[Vec<Rational>]) -> Vec<Vec<f64>> {
    M.iter().map(|row| row.iter().map(to_f64).collect()).collect()
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn normalised(v: Vec<f64>) -> Vec<f64> {
    let norm = norm(&v);
    v.into_iter().map(|x| x / norm).collect()
}

/// The tree under construction.
pub(super) struct Proof {
    /// Tᵀ(G − s D⁻¹)T.
    Q: Vec<Vec<Rational>>,
    Q64: Vec<Vec<f64>>,
    /// The forms on the path, each ≥ 0.
    forms: Vec<Vec<Rational>>,
    /// Which of them are > 0.
    strict: Vec<bool>,
    /// The forms of all cones.
    rays: Vec<Vec<Rational>>,
}

/// A form on the path that is a positive multiple of another one.
#[derive(Debug, Clone)]
struct Place {
    at: usize,
    ratio: Rational,
}

/// c with a = c·b, if there is one; b is not 0.
fn ratio(a: &[Rational], b: &[Rational]) -> Option<Rational> {
    let k = b.iter().position(|x| !x.is_zero())?;
    let ratio = &a[k] / &b[k];
    a.iter().zip(b).all(|(x, y)| *x == &ratio * y).then_some(ratio)
}

impl Proof {
    /// That the form Q is non-negative where the given forms are, and more are to come.
    pub(super) fn new(Q: Vec<Vec<Rational>>, forms: Vec<Vec<Rational>>) -> Self {
        Self { Q64: floats(&Q), Q, strict: vec![false; forms.len()], forms, rays: Vec::new() }
    }

    /// A leaf, or the cases of the next cone.
    fn cases(&mut self, cuts: &[&Cut], root: bool) -> Option<SignNode> {
        if let Some(leaf) = self.bounded() {
            return Some(leaf);
        }
        let (cut, rest) = cuts.split_first()?;
        self.signs(cut, rest, root)
    }

    /// The cases of the signs of a cone's forms that the path leaves open.
    fn signs(&mut self, cut: &Cut, rest: &[&Cut], root: bool) -> Option<SignNode> {
        let signs: Vec<Option<i8>> = cut.forms.iter().map(|form| self.sign_of(form)).collect();
        if signs.contains(&Some(1)) && signs.contains(&Some(-1)) {
            return match rest.split_first() {
                Some((cut, rest)) => self.signs(cut, rest, root),
                None => self.refine(),
            };
        }
        if let Some(open) = signs.iter().position(Option::is_none) {
            let form = &cut.forms[open];
            let negative: Vec<Rational> = form.iter().map(|x| -x).collect();
            // What the path knows of it already need not be asked.
            let (form, negative) = if self.place(&negative).is_some() { (&negative, form) } else { (form, &negative) };
            let positive = self.with(form, true, |proof| proof.bounded_or(cut, rest))?;
            let other = self.with(negative, false, |proof| {
                if root {
                    proof.with(form, false, |proof| proof.bounded_or(cut, rest))
                } else {
                    proof.bounded_or(cut, rest)
                }
            })?;
            return Some(split(form, positive, other));
        }
        let signs: Vec<i8> = signs.into_iter().flatten().collect();
        if cut.meets(&signs) {
            return match rest.split_first() {
                Some((cut, rest)) => self.signs(cut, rest, root),
                None => self.refine(),
            };
        }
        let witness = cut.witnesses.iter().find(|witness| witness.needs.iter().all(|&j| signs[j] != 0))?;
        let first = witness.cases.first()?.ray;
        Some(self.compare(cut, witness, first, 1, Vec::new(), signs.contains(&-1)))
    }

    /// The signs of the rays that were not needed to know that every neuron cuts x.
    fn refine(&mut self) -> Option<SignNode> {
        let negative = |form: &[Rational]| form.iter().map(|x| -x).collect::<Vec<_>>();
        let open = |form: &&Vec<Rational>| {
            form.iter().any(|x| !x.is_zero()) && self.place(form).is_none() && self.place(&negative(form)).is_none()
        };
        if self.forms.is_empty() {
            return None;
        }
        let Some(form) = self.rays.iter().find(open).cloned() else { return self.pinned() };
        let positive = self.with(&form, true, |proof| proof.bounded().or_else(|| proof.refine()))?;
        let other = self.with(&negative(&form), false, |proof| proof.bounded().or_else(|| proof.refine()))?;
        Some(split(&form, positive, other))
    }

    fn bounded_or(&mut self, cut: &Cut, rest: &[&Cut]) -> Option<SignNode> {
        self.bounded().or_else(|| self.signs(cut, rest, false))
    }

    /// The cases of which needed ray has the least form over its scale: `least` so far, with the places of what the others have more.
    fn compare(
        &mut self,
        cut: &Cut,
        witness: &Witness,
        least: usize,
        next: usize,
        above: Vec<(usize, Vec<usize>)>,
        below: bool,
    ) -> SignNode {
        let scaled = |ray: usize| -> Vec<Rational> {
            let at = witness.needs.iter().position(|&j| j == ray).unwrap_or(0);
            cut.forms[ray]
                .iter()
                .map(|x| if below { -x / &witness.scales[at] } else { x / &witness.scales[at] })
                .collect()
        };
        let Some(case) = witness.cases.get(next) else {
            return self.settled(cut, witness, least, &above, below, 0);
        };
        let difference: Vec<Rational> = scaled(case.ray).iter().zip(&scaled(least)).map(|(a, b)| a - b).collect();
        let opposite: Vec<Rational> = difference.iter().map(|x| -x).collect();
        let at = self.forms.len();
        let mut more = above.clone();
        more.push((case.ray, vec![at]));
        let positive = self.with(&difference, true, |proof| proof.compare(cut, witness, least, next + 1, more, below));
        let mut more = above;
        more.iter_mut().for_each(|(_, places)| places.push(at));
        more.push((least, vec![at]));
        let other = self.with(&opposite, false, |proof| proof.compare(cut, witness, case.ray, next + 1, more, below));
        split(&difference, positive, other)
    }

    /// The cases of the signs of the factors of what is 0 in the cell.
    fn settled(
        &mut self,
        cut: &Cut,
        witness: &Witness,
        least: usize,
        above: &[(usize, Vec<usize>)],
        below: bool,
        line: usize,
    ) -> SignNode {
        let case = witness.cases.iter().find(|case| case.ray == least);
        let Some((factor, _)) = case.and_then(|case| case.lines.get(line)) else {
            return self.missed(cut, witness, least, above, below);
        };
        let negative: Vec<Rational> = factor.iter().map(|x| -x).collect();
        if factor.iter().all(Rational::is_zero) || self.place(factor).is_some() || self.place(&negative).is_some() {
            return self.settled(cut, witness, least, above, below, line + 1);
        }
        let mut next = |form: &[Rational], strict: bool| {
            self.with(form, strict, |proof| proof.settled(cut, witness, least, above, below, line + 1))
        };
        let (positive, other) = (next(factor, true), next(&negative, false));
        split(factor, positive, other)
    }

    /// The leaf of a case, ±z·x = h_j base + Σ_k (h_k − κ_k h_j) weight_k.
    fn missed(
        &self,
        cut: &Cut,
        witness: &Witness,
        least: usize,
        above: &[(usize, Vec<usize>)],
        below: bool,
    ) -> SignNode {
        let (mut on, mut off, mut free) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut add = |weight: &Weight, at: usize, factor: &Rational| {
            let entry = |map: &mut BTreeMap<(usize, usize), Rational>, d: usize, y: &Rational| {
                *map.entry((d, at)).or_insert(Rational::ZERO) += y * factor;
            };
            match weight {
                Weight::Free(d) => entry(&mut free, *d, &Rational::ONE),
                Weight::Row { on: fires, off: rests } => {
                    fires.iter().for_each(|(d, y)| entry(&mut on, *d, y));
                    rests.iter().for_each(|(d, y)| entry(&mut off, *d, y));
                }
            }
        };
        let turned =
            |form: &[Rational]| -> Vec<Rational> { form.iter().map(|x| if below { -x } else { x.clone() }).collect() };
        if let Some(case) = witness.cases.iter().find(|case| case.ray == least) {
            let whole = [(least, &case.base)].into_iter().chain(case.others.iter().map(|(k, weight)| (*k, weight)));
            for (ray, weight) in whole {
                match above.iter().find(|(k, _)| *k == ray) {
                    Some((_, places)) => {
                        let at = witness.needs.iter().position(|&j| j == ray).unwrap_or(0);
                        places.iter().for_each(|&place| add(weight, place, &witness.scales[at]));
                    }
                    None => {
                        if let Some(place) = self.place(&turned(&cut.forms[ray])) {
                            add(weight, place.at, &(Rational::ONE / &place.ratio));
                        }
                    }
                }
            }
            for (factor, line) in &case.lines {
                let factor = turned(factor);
                let opposite: Vec<Rational> = factor.iter().map(|x| -x).collect();
                for (form, weight) in [(&factor, &line.up), (&opposite, &line.down)] {
                    if let Some(place) = self.place(form) {
                        add(weight, place.at, &(Rational::ONE / &place.ratio));
                        break;
                    }
                }
            }
        }
        let list =
            |map: BTreeMap<(usize, usize), Rational>| map.into_iter().map(|((d, at), y)| (d, at, Rat(y))).collect();
        let missed = Missed { neuron: cut.neuron, on: list(on), off: list(off), free: list(free) };
        if below { SignNode::Below(missed) } else { SignNode::Above(missed) }
    }

    /// The sign of a form, where the path tells it.
    fn sign_of(&self, form: &[Rational]) -> Option<i8> {
        if form.iter().all(Rational::is_zero) {
            return Some(0);
        }
        let negative: Vec<Rational> = form.iter().map(|x| -x).collect();
        match (self.place(form), self.place(&negative)) {
            (Some(place), None) => self.strict[place.at].then_some(1),
            (None, Some(place)) => self.strict[place.at].then_some(-1),
            (Some(_), Some(_)) => Some(0),
            (None, None) => None,
        }
    }

    /// Where the path says that the form is positive, or else that it is not negative.
    fn place(&self, form: &[Rational]) -> Option<Place> {
        let place = |at: usize| {
            let ratio = ratio(&self.forms[at], form).filter(|ratio| sign(ratio) > 0)?;
            Some(Place { at, ratio })
        };
        let strict = (0..self.forms.len()).filter(|&at| self.strict[at]).find_map(place);
        strict.or_else(|| (0..self.forms.len()).find_map(place))
    }

    fn with<R>(&mut self, form: &[Rational], strict: bool, build: impl FnOnce(&mut Self) -> R) -> R {
        self.forms.push(form.to_vec());
        self.strict.push(strict);
        let built = build(self);
        self.forms.pop();
        self.strict.pop();
        built
    }

    /// A leaf `n`, if Q is non-negative where the forms are. Forms that occur with both signs are 0.
    pub(super) fn bounded(&self) -> Option<SignNode> {
        let pairs = (0..self.forms.len()).flat_map(|l| (0..l).map(move |k| (k, l)));
        let opposite =
            |&(k, l): &(usize, usize)| ratio(&self.forms[k], &self.forms[l]).is_some_and(|ratio| sign(&ratio) < 0);
        let lift = |(k, l): (usize, usize)| {
            let square: f64 = self.forms[k].iter().map(|x| to_f64(x).powi(2)).sum();
            Some((k, l, from_f64(1.0 / square).ok()?))
        };
        self.bounded_on(&pairs.filter(opposite).map(lift).collect::<Option<Vec<_>>>()?)
    }

    /// The same where more forms are 0: with Σ c_k h_k = 0 and c ≥ 0 those with c_k > 0 are, and
    /// Σ_{k<l} c_k c_l (h_k h_lᵀ + h_l h_kᵀ) = −Σ c_k² h_k h_kᵀ.
    fn pinned(&self) -> Option<SignNode> {
        let variables = self.forms.len();
        let balance = (0..self.Q.len()).map(|l| {
            let coeffs = self.forms.iter().map(|form| form[l].clone()).collect();
            Row { coeffs, relation: Relation::Eq, rhs: Rational::ZERO }
        });
        let positive = (0..variables).map(|k| {
            let coeffs = (0..variables).map(|l| if k == l { Rational::ONE } else { Rational::ZERO }).collect();
            Row { coeffs, relation: Relation::Ge, rhs: Rational::ZERO }
        });
        let rows = balance.chain(positive).collect();
        let Outcome::Feasible(c) = decide_rational(&System { variables, rows }) else { return None };
        let square = |k: usize| self.forms[k].iter().map(|x| to_f64(&(x * &c[k])).powi(2)).sum::<f64>();
        let largest = (0..variables).map(square).fold(0.0, f64::max);
        let scale = from_f64(1.0 / largest).ok()?;
        let support: Vec<usize> = (0..variables).filter(|&k| !c[k].is_zero()).collect();
        let pairs = support.iter().flat_map(|&l| support.iter().filter(move |&&k| k < l).map(move |&k| (k, l)));
        self.bounded_on(&pairs.map(|(k, l)| (k, l, &c[k] * &c[l] * &scale)).collect::<Vec<_>>())
    }

    /// A leaf `n`, where the forms of `lifts` are 0, for −Σ v (h_k h_lᵀ + h_l h_kᵀ) over it is positive semidefinite with their common kernel.
    fn bounded_on(&self, lifts: &[(usize, usize, Rational)]) -> Option<SignNode> {
        let unit: Vec<Vec<f64>> = self.forms.iter().map(|h| h.iter().map(to_f64).collect()).collect();
        let lengths: Vec<f64> = unit.iter().map(|h| norm(h)).collect();
        if lengths.contains(&0.0) {
            // A form that vanishes says nothing; where it had to be positive there is no case at all, but such trees are not built.
            return None;
        }
        let unit: Vec<Vec<f64>> = unit.into_iter().map(normalised).collect();
        let zeros: BTreeSet<usize> = lifts.iter().flat_map(|(k, l, _)| [*k, *l]).collect();
        // The space is cut down to the common kernel of the forms that are 0.
        let equations: Vec<Vec<f64>> = zeros.iter().map(|&k| unit[k].clone()).collect();
        let space = super::dense::kernel(&equations, self.Q.len());
        if space.is_empty() {
            return self.exact(&[], lifts);
        }
        let bilinear = |a: &Vec<f64>, b: &Vec<f64>| -> f64 {
            a.iter().zip(&self.Q64).map(|(x, row)| x * row.iter().zip(b).map(|(q, y)| q * y).sum::<f64>()).sum()
        };
        let Q: Vec<Vec<f64>> = space.iter().map(|a| space.iter().map(|b| bilinear(a, b)).collect()).collect();
        let mut kept: Vec<(usize, f64)> = Vec::new();
        let mut forms: Vec<Vec<f64>> = Vec::new();
        // Forms that occur twice count once.
        let again = |k: usize| (0..k).any(|l| ratio(&self.forms[l], &self.forms[k]).is_some());
        for k in (0..unit.len()).filter(|k| !zeros.contains(k) && !again(*k)) {
            let part: Vec<f64> = space.iter().map(|s| s.iter().zip(&unit[k]).map(|(x, y)| x * y).sum()).collect();
            let length = norm(&part);
            if length > SHORT {
                kept.push((k, length));
                forms.push(part.into_iter().map(|x| x / length).collect());
            }
        }
        if refuted(&Q, &forms) {
            return None;
        }
        let found = multipliers(&Q, &forms, 1e-11)?;
        let scaled = |&(k, l, v): &(usize, usize, f64)| {
            let ((k, a), (l, b)) = (kept[k], kept[l]);
            (k, l, v / (a * b * lengths[k] * lengths[l]))
        };
        self.exact(&found.iter().map(scaled).collect::<Vec<_>>(), lifts)
    }

    /// The leaf with these multipliers, and with large ones for the forms that are 0 (Finsler), if it passes exactly.
    fn exact(&self, found: &[(usize, usize, f64)], lifts: &[(usize, usize, Rational)]) -> Option<SignNode> {
        let largest = found.iter().fold(0.0f64, |most, (_, _, v)| most.max(*v));
        let mut list: BTreeMap<(usize, usize), Rational> = BTreeMap::new();
        for &(k, l, v) in found.iter().filter(|(_, _, v)| *v > 1e-14 * largest) {
            list.insert((k, l), from_f64(v).ok()?);
        }
        let mut gap = self.Q.clone();
        let subtract = |gap: &mut Vec<Vec<Rational>>, k: usize, l: usize, v: &Rational| {
            for a in 0..gap.len() {
                for b in 0..gap.len() {
                    let product = &self.forms[k][a] * &self.forms[l][b] + &self.forms[l][a] * &self.forms[k][b];
                    gap[a][b] -= v * product;
                }
            }
        };
        list.iter().for_each(|((k, l), v)| subtract(&mut gap, *k, *l, v));
        let size = self.Q64.iter().flatten().fold(0.0f64, |most, q| most.max(q.abs()));
        // Each try multiplies the weight of the equations by 256.
        let tries = if lifts.is_empty() { 1 } else { 8 };
        for power in 0..tries {
            let (mut gap, mut list) = (gap.clone(), list.clone());
            let weight = from_f64(size * 256f64.powi(power)).ok()?;
            for (k, l, v) in lifts {
                let v = v * &weight;
                subtract(&mut gap, *k, *l, &v);
                *list.entry((*k, *l)).or_insert(Rational::ZERO) += v;
            }
            if is_positive_semidefinite(&gap) {
                return Some(SignNode::Bounded(list.into_iter().map(|((k, l), v)| (k, l, Rat(v))).collect()));
            }
        }
        None
    }
}

/// A unit form of which less is left in a subspace vanishes there.
const SHORT: f64 = 1e-9;

/// Whether the least eigenvector of Q lies where the forms are ≥ 0 and has a negative value: then there are no multipliers.
fn refuted(Q: &[Vec<f64>], forms: &[Vec<f64>]) -> bool {
    let identity: Vec<Vec<f64>> =
        (0..Q.len()).map(|j| (0..Q.len()).map(|k| if j == k { 1.0 } else { 0.0 }).collect()).collect();
    let Some((value, x)) = super::dense::least_on(Q, &identity, &[]) else { return false };
    let values: Vec<f64> = forms.iter().map(|h| h.iter().zip(&x).map(|(a, b)| a * b).sum()).collect();
    value < 0.0 && (values.iter().all(|v| *v >= 0.0) || values.iter().all(|v| *v <= 0.0))
}

fn split(form: &[Rational], positive: SignNode, other: SignNode) -> SignNode {
    SignNode::Sign { form: rats(form), positive: Box::new(positive), other: Box::new(other) }
}

fn rats(v: &[Rational]) -> Vec<Rat> {
    v.iter().cloned().map(Rat).collect()
}
