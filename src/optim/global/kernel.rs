//! Groups of features whose codes have a kernel: lower bounds by one vector (`kernel` of `verify/FORMAT.md`).
//!
//! If the codes Z of a group g satisfy Zx = 0, the group loses at least ‖R_g x‖² / Σ x_d²/M_d. With fewer neurons than features there is
//! such an x. A neuron with the cone C of codes leaves x only where some non-zero z ∈ C has z·x = 0, that is unless z·x has one strict sign on
//! all extreme rays of C: x is *cut* by the cone. The least quotient over the x that every cone cuts is a lower bound. With one feature more
//! than neurons it is the infimum of the loss if codes of the closed cells can be chosen that are orthogonal to x and independent, or
//! nearly so. That fails where the cells of two neurons share a ray and both cut x in this ray alone: their codes are then parallel, and
//! the bound is too low. Independent features under the orthant do not have this; dependent ones often do.
//!
//! Neurons whose codes are all taken up by x (F_i ∩ g with P_{F_i ∩ g} x = 0) need no equation. A class of neurons with one pattern is taken
//! up where that costs no more dimensions than it has neurons, for then it costs nothing.

use super::GlobalError;
use super::multipliers::multipliers;
use super::rays::row_cone;
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

/// λ_j ≥ 0 as a combination of what is known to be ≥ 0.
#[derive(Debug, Clone)]
enum Weight {
    /// Σ α_d ⟨w, p_d⟩ − Σ β_e ⟨w, p_e⟩.
    Row { on: Vec<(usize, Rational)>, off: Vec<(usize, Rational)> },
    /// z_d of an undecided feature.
    Free(usize),
}

/// A simplicial cone that holds the codes of a neuron on a group: z = Σ_j λ_j ρ_j.
#[derive(Debug, Clone)]
pub struct CodeCone {
    /// ρ_j, one number for each feature of the group.
    pub rays: Vec<Vec<Rational>>,
    /// Rows with these codes, where the cone is that of a decided row.
    pub rows: Vec<Vec<Rational>>,
    weights: Vec<Weight>,
}

/// The cones of decided rows, kept for the next question.
#[derive(Debug, Default)]
pub struct Cones(BTreeMap<(BTreeSet<usize>, Vec<usize>), Option<CodeCone>>);

impl Cones {
    /// A cone for the codes of a neuron on `features`: exact if all is decided and the cone is simplicial, else the orthant of the features
    /// on which it may fire.
    pub fn of(&mut self, problem: &Problem, known: &Known, features: &[usize]) -> CodeCone {
        let decided: Option<BTreeSet<usize>> = if known.contains(&None) {
            None
        } else {
            Some((0..known.len()).filter(|&d| known[d] == Some(true)).collect())
        };
        if let Some(set) = decided {
            let cone = self.0.entry((set.clone(), features.to_vec()));
            if let Some(cone) = cone.or_insert_with(|| simplicial(problem, &set, features).ok().flatten()) {
                return cone.clone();
            }
        }
        let mut cone = CodeCone { rays: Vec::new(), rows: Vec::new(), weights: Vec::new() };
        for (at, &d) in features.iter().enumerate().filter(|(_, d)| known[**d] != Some(false)) {
            let unit = |k: usize| if k == at { Rational::ONE } else { Rational::ZERO };
            cone.rays.push((0..features.len()).map(unit).collect());
            cone.weights.push(match known[d] {
                Some(_) => Weight::Row { on: vec![(d, Rational::ONE)], off: Vec::new() },
                None => Weight::Free(d),
            });
        }
        cone
    }
}

/// The cone of the codes of the row that fires on `set`, on some features, if it is simplicial.
fn simplicial(problem: &Problem, set: &BTreeSet<usize>, features: &[usize]) -> Result<Option<CodeCone>, GlobalError> {
    let cone = row_cone(problem, set)?;
    let mut directions = BTreeSet::new();
    let mut rays: Vec<(Vec<Rational>, Vec<Rational>)> = Vec::new();
    for (codes, row) in cone.codes.iter().zip(&cone.rows) {
        let part: Vec<Rational> = features.iter().map(|&d| codes[d].clone()).collect();
        if part.iter().any(|z| !z.is_zero()) && directions.insert(coprime_integers(&part)) {
            rays.push((part, row.clone()));
        }
    }
    super::rays::extreme(&mut rays, |(part, _)| part);
    let (rays, rows): (Vec<_>, Vec<_>) = rays.into_iter().unzip();
    if rank(&Rationals, &rays) < rays.len() {
        return Ok(None);
    }
    Ok(weights(problem, set, features, &rays).map(|weights| CodeCone { rays, rows, weights }))
}

/// λ_j with Σ_j ρ_jd λ_j = p_d for the features that fire, each a combination of the inequalities of the cell.
fn weights(
    problem: &Problem,
    set: &BTreeSet<usize>,
    features: &[usize],
    rays: &[Vec<Rational>],
) -> Option<Vec<Weight>> {
    let (n, n_p) = (problem.n(), problem.n_p());
    let variables = rays.len() * n;
    let p = |d: usize, k: usize| problem.features()[d].w_p[k].clone();
    let signed = |d: usize| if set.contains(&d) { Rational::ONE } else { -Rational::ONE };
    let mut rows = Vec::new();
    let mut row = |coeffs, relation, rhs| rows.push(Row { coeffs, relation, rhs });
    for (at, &d) in features.iter().enumerate().filter(|(_, d)| set.contains(d)) {
        for k in 0..n_p {
            let coefficient = |v: usize| &rays[v / n][at] * signed(v % n) * p(v % n, k);
            row((0..variables).map(coefficient).collect(), Relation::Eq, p(d, k));
        }
    }
    for v in 0..variables {
        row(
            (0..variables).map(|u| if u == v { Rational::ONE } else { Rational::ZERO }).collect(),
            Relation::Ge,
            Rational::ZERO,
        );
    }
    let positive = problem.threshold().is_some_and(|c| sign(c) > 0);
    for j in 0..rays.len() {
        // c (Σ α − Σ β) ≥ 0, and some α is positive, so that the weight is
        let of = |only_on: bool| {
            let coefficient = |v: usize| match v / n == j && (!only_on || set.contains(&(v % n))) {
                true => signed(v % n),
                false => Rational::ZERO,
            };
            (0..variables).map(coefficient).collect::<Vec<_>>()
        };
        row(of(true), Relation::Gt, Rational::ZERO);
        if positive {
            row(of(false), Relation::Ge, Rational::ZERO);
        }
    }
    let Outcome::Feasible(x) = decide_rational(&System { variables, rows }) else { return None };
    let weight = |j: usize| {
        let entries = (0..n).map(|d| (d, x[j * n + d].clone())).filter(|(_, y)| !y.is_zero());
        let (on, off) = entries.partition(|(d, _)| set.contains(d));
        Weight::Row { on, off }
    };
    Some((0..rays.len()).map(weight).collect())
}

/// A neuron that x has to meet: its cone as linear forms of ξ.
#[derive(Debug, Clone)]
struct Cut {
    neuron: usize,
    forms: Vec<Vec<Rational>>,
    weights: Vec<Weight>,
}

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
    pub fn new(problem: &Problem, cones: &mut Cones, known: &[Known], features: &[usize]) -> Option<Self> {
        let reaching: Vec<usize> =
            (0..known.len()).filter(|&i| features.iter().any(|&d| known[i][d] != Some(false))).collect();
        // Equations Σ_{d on} p_d x_d = 0 of the classes that are taken up.
        let mut equations: Vec<Vec<Rational>> = Vec::new();
        let mut unmet = reaching;
        loop {
            let before = unmet.len();
            let classes: BTreeSet<Vec<bool>> = unmet.iter().filter_map(|&i| firing(&known[i], features)).collect();
            for class in classes {
                let count = unmet.iter().filter(|&&i| firing(&known[i], features).as_ref() == Some(&class)).count();
                let mut more = equations.clone();
                more.extend((0..problem.n_p()).map(|k| {
                    let entry = |(&d, &on): (&usize, &bool)| {
                        if on { problem.features()[d].w_p[k].clone() } else { Rational::ZERO }
                    };
                    features.iter().zip(&class).map(entry).collect::<Vec<_>>()
                }));
                let more = rref(&Rationals, &more).0;
                if more.len() - equations.len() <= count {
                    equations = more;
                    unmet.retain(|&i| firing(&known[i], features).as_ref() != Some(&class));
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
        let mut group = Self::with_basis(problem, features, columns);
        if group.dimension() > unmet.len() + 1 {
            // Any subspace of one dimension more than there are equations will do: take the one that loses most.
            let chosen = group.costly(unmet.len() + 1)?;
            group = Self::with_basis(problem, features, chosen);
        }
        for i in unmet {
            let CodeCone { rays, weights, .. } = cones.of(problem, &known[i], features);
            let forms = rays.iter().map(|ray| group.form(ray)).collect();
            group.cuts.push(Cut { neuron: i, forms, weights });
        }
        Some(group)
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

    /// The least quotient over the ξ that every cone cuts, in f64, and such a ξ: on every face of the arrangement of the forms the least
    /// eigenvector counts if it is cut. `None` if no ξ is cut.
    pub fn least(&self) -> Option<(f64, Vec<f64>)> {
        let unit = |h: &Vec<Rational>| normalised(h.iter().map(to_f64).collect());
        let cuts: Vec<Vec<Vec<f64>>> = self.cuts.iter().map(|cut| cut.forms.iter().map(unit).collect()).collect();
        let mut forms: Vec<&Vec<f64>> = Vec::new();
        for h in cuts.iter().flatten() {
            if !forms.contains(&h) {
                forms.push(h);
            }
        }
        let (gram, weight) = (floats(&self.gram), floats(&self.weight));
        let mut best: Option<(f64, Vec<f64>)> = None;
        let mut faces: Vec<Vec<usize>> = vec![Vec::new()];
        while let Some(face) = faces.pop() {
            let equations: Vec<Vec<f64>> = face.iter().map(|&k| forms[k].clone()).collect();
            let Some((value, xi)) = super::dense::least_on(&gram, &weight, &equations) else { continue };
            // Smaller faces have larger values.
            if best.as_ref().is_some_and(|(best, _)| value >= *best) {
                continue;
            }
            let xi = normalised(xi);
            // Forms and ξ are unit vectors; ξ is accurate to about 1e-14 over the eigengap.
            let cut = |forms: &Vec<Vec<f64>>| {
                let values = forms.iter().map(|h| h.iter().zip(&xi).map(|(a, b)| a * b).sum::<f64>());
                let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
                low <= 1e-9 && high >= -1e-9
            };
            if cuts.iter().all(cut) {
                best = Some((value, xi));
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
        // Cones with the same rays cut the same x.
        let mut cuts: Vec<&Cut> = Vec::new();
        for cut in &self.cuts {
            if !cuts.iter().any(|other| other.forms == cut.forms) {
                cuts.push(cut);
            }
        }
        proof.cases(&cuts, true)
    }
}

/// Where the neuron fires among `features`, if that is decided for all of them.
fn firing(known: &Known, features: &[usize]) -> Option<Vec<bool>> {
    features.iter().map(|&d| known[d]).collect()
}

fn floats(M: &[Vec<Rational>]) -> Vec<Vec<f64>> {
    M.iter().map(|row| row.iter().map(to_f64).collect()).collect()
}

fn normalised(v: Vec<f64>) -> Vec<f64> {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
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
}

/// A form on the path that is a positive multiple of a cone's form, taken with its sign.
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
        Self { Q64: floats(&Q), Q, strict: vec![false; forms.len()], forms }
    }

    /// A leaf, or the cases of the next cone.
    fn cases(&mut self, cuts: &[&Cut], root: bool) -> Option<SignNode> {
        if let Some(leaf) = self.bounded() {
            return Some(leaf);
        }
        let (cut, rest) = cuts.split_first()?;
        let form = cut.forms.first()?.clone();
        let negative: Vec<Rational> = form.iter().map(|x| -x).collect();
        for (turned, below) in [(&form, false), (&negative, true)] {
            if let Some(place) = self.known(turned) {
                return self.chain(cut, rest, vec![place], below);
            }
        }
        let at = self.forms.len();
        let place = |at| Place { at, ratio: Rational::ONE };
        let positive = self.with(&form, true, |proof| proof.chain(cut, rest, vec![place(at)], false))?;
        let other = self.with(&negative, false, |proof| {
            if root {
                return proof.with(&form, false, |proof| proof.cases(rest, false));
            }
            let below = proof.with(&negative, true, |proof| proof.chain(cut, rest, vec![place(at + 1)], true))?;
            let zero = proof.with(&form, false, |proof| proof.cases(rest, false))?;
            Some(split(&negative, below, zero))
        })?;
        Some(split(&form, positive, other))
    }

    /// What follows once the first forms of a cone have one strict sign, as the forms at `strict` say.
    fn chain(&mut self, cut: &Cut, rest: &[&Cut], mut strict: Vec<Place>, below: bool) -> Option<SignNode> {
        if let Some(leaf) = self.bounded() {
            return Some(leaf);
        }
        let Some(next) = cut.forms.get(strict.len()) else { return Some(missed(cut, &strict, below)) };
        let opposite: Vec<Rational> = next.iter().map(|x| -x).collect();
        let (next, opposite) = if below { (&opposite, next) } else { (next, &opposite) };
        if self.known(opposite).is_some() {
            return self.cases(rest, false);
        }
        if let Some(place) = self.known(next) {
            strict.push(place);
            return self.chain(cut, rest, strict, below);
        }
        let other = self.with(opposite, false, |proof| proof.cases(rest, false))?;
        strict.push(Place { at: self.forms.len(), ratio: Rational::ONE });
        let positive = self.with(next, true, |proof| proof.chain(cut, rest, strict, below))?;
        Some(split(next, positive, other))
    }

    /// Where the path says that the form is positive.
    fn known(&self, form: &[Rational]) -> Option<Place> {
        (0..self.forms.len()).filter(|&at| self.strict[at]).find_map(|at| {
            let ratio = ratio(&self.forms[at], form).filter(|ratio| sign(ratio) > 0)?;
            Some(Place { at, ratio })
        })
    }

    fn with<R>(&mut self, form: &[Rational], strict: bool, build: impl FnOnce(&mut Self) -> R) -> R {
        self.forms.push(form.to_vec());
        self.strict.push(strict);
        let built = build(self);
        self.forms.pop();
        self.strict.pop();
        built
    }

    /// A leaf `n`, if Q is non-negative where the forms are.
    pub(super) fn bounded(&self) -> Option<SignNode> {
        let unit: Vec<Vec<f64>> = self.forms.iter().map(|h| h.iter().map(to_f64).collect()).collect();
        let lengths: Vec<f64> = unit.iter().map(|h| h.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
        if lengths.contains(&0.0) {
            // A form that vanishes says nothing; where it had to be positive there is no case at all, but such trees are not built.
            return None;
        }
        let unit: Vec<Vec<f64>> = unit.into_iter().map(normalised).collect();
        // Forms that occur with both signs are 0: the space is cut down to their common kernel.
        let mut zeros: Vec<(usize, usize)> = Vec::new();
        for l in 0..self.forms.len() {
            for k in 0..l {
                if ratio(&self.forms[k], &self.forms[l]).is_some_and(|ratio| sign(&ratio) < 0) {
                    zeros.push((k, l));
                }
            }
        }
        let equations: Vec<Vec<f64>> = zeros.iter().map(|&(k, _)| unit[k].clone()).collect();
        let space = super::dense::kernel(&equations, self.Q.len());
        if space.is_empty() {
            return self.exact(&[], &zeros);
        }
        let bilinear = |a: &Vec<f64>, b: &Vec<f64>| -> f64 {
            a.iter().zip(&self.Q64).map(|(x, row)| x * row.iter().zip(b).map(|(q, y)| q * y).sum::<f64>()).sum()
        };
        let Q: Vec<Vec<f64>> = space.iter().map(|a| space.iter().map(|b| bilinear(a, b)).collect()).collect();
        let mut kept: Vec<(usize, f64)> = Vec::new();
        let mut forms = Vec::new();
        for (k, h) in unit.iter().enumerate().filter(|(k, _)| !zeros.iter().any(|(a, b)| a == k || b == k)) {
            let part: Vec<f64> = space.iter().map(|s| s.iter().zip(h).map(|(x, y)| x * y).sum()).collect();
            let length = part.iter().map(|x| x * x).sum::<f64>().sqrt();
            if length > 1e-9 {
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
        self.exact(&found.iter().map(scaled).collect::<Vec<_>>(), &zeros)
    }

    /// The leaf with these multipliers, and with one large multiplier for each form that is 0 (Finsler), if it passes exactly.
    fn exact(&self, found: &[(usize, usize, f64)], zeros: &[(usize, usize)]) -> Option<SignNode> {
        let largest = found.iter().fold(0.0f64, |most, (_, _, v)| most.max(*v));
        let mut list: Vec<(usize, usize, Rational)> = Vec::new();
        for &(k, l, v) in found.iter().filter(|(_, _, v)| *v > 1e-14 * largest) {
            list.push((k, l, from_f64(v).ok()?));
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
        list.iter().for_each(|(k, l, v)| subtract(&mut gap, *k, *l, v));
        let size = self.Q64.iter().flatten().fold(0.0f64, |most, q| most.max(q.abs()));
        // Each try multiplies the weight of the equations by 256.
        for power in 0..8 {
            let (mut gap, mut list) = (gap.clone(), list.clone());
            for &(k, l) in zeros {
                let square: f64 = self.forms[k].iter().map(|x| to_f64(x).powi(2)).sum();
                let v = from_f64(size / square * 256f64.powi(power)).ok()?;
                subtract(&mut gap, k, l, &v);
                list.push((k, l, v));
            }
            if is_positive_semidefinite(&gap) {
                list.sort_by_key(|(k, l, _)| (*k, *l));
                return Some(SignNode::Bounded(list.into_iter().map(|(k, l, v)| (k, l, Rat(v))).collect()));
            }
            if zeros.is_empty() {
                return None;
            }
        }
        None
    }
}

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

/// The leaf where all forms of a cone are strict, ±Σ z_d x_d = Σ_j λ_j (±h_j).
fn missed(cut: &Cut, places: &[Place], below: bool) -> SignNode {
    let mut missed = Missed { neuron: cut.neuron, on: Vec::new(), off: Vec::new(), free: Vec::new() };
    for (weight, Place { at, ratio }) in cut.weights.iter().zip(places) {
        let scaled = |(d, y): &(usize, Rational)| (*d, *at, Rat(y / ratio));
        match weight {
            Weight::Free(d) => missed.free.push((*d, *at, Rat(Rational::ONE / ratio))),
            Weight::Row { on, off } => {
                missed.on.extend(on.iter().map(scaled));
                missed.off.extend(off.iter().map(scaled));
            }
        }
    }
    if below { SignNode::Below(missed) } else { SignNode::Above(missed) }
}
