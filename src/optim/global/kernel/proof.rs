//! The proof that the least quotient of a group is at least a number: a tree of signs whose leaves carry multipliers.

use super::{Cut, Weight, Witness, floats, norm, normalised};
use crate::exact::Rational;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::matrix::is_positive_semidefinite;
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::optim::global::multipliers::multipliers;
use sdlab_verify::format::{Missed, Rat, SignNode};
use std::collections::{BTreeMap, BTreeSet};

/// The tree under construction.
pub(in crate::optim::global) struct Proof {
    /// Tᵀ(G − s D⁻¹)T.
    Q: Vec<Vec<Rational>>,
    Q64: Vec<Vec<f64>>,
    /// The forms on the path, each ≥ 0.
    forms: Vec<Vec<Rational>>,
    /// Which of them are > 0.
    strict: Vec<bool>,
    /// The forms of all cones.
    pub(super) rays: Vec<Vec<Rational>>,
}

/// A form on the path that is a positive multiple of another one.
#[derive(Debug, Clone)]
struct Place {
    at: usize,
    ratio: Rational,
}

/// c with a = c·b, if there is one; b is not 0.
pub(super) fn ratio(a: &[Rational], b: &[Rational]) -> Option<Rational> {
    let k = b.iter().position(|x| !x.is_zero())?;
    let ratio = &a[k] / &b[k];
    a.iter().zip(b).all(|(x, y)| *x == &ratio * y).then_some(ratio)
}

impl Proof {
    /// That the form Q is non-negative where the given forms are, and more are to come.
    pub(in crate::optim::global) fn new(Q: Vec<Vec<Rational>>, forms: Vec<Vec<Rational>>) -> Self {
        Self { Q64: floats(&Q), Q, strict: vec![false; forms.len()], forms, rays: Vec::new() }
    }

    /// A leaf, or the cases of the next cone.
    pub(super) fn cases(&mut self, cuts: &[&Cut], root: bool) -> Option<SignNode> {
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
    pub(in crate::optim::global) fn bounded(&self) -> Option<SignNode> {
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
        let space = crate::optim::global::dense::kernel(&equations, self.Q.len());
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
    let Some((value, x)) = crate::optim::global::dense::least_on(Q, &identity, &[]) else { return false };
    let values: Vec<f64> = forms.iter().map(|h| h.iter().zip(&x).map(|(a, b)| a * b).sum()).collect();
    value < 0.0 && (values.iter().all(|v| *v >= 0.0) || values.iter().all(|v| *v <= 0.0))
}

fn split(form: &[Rational], positive: SignNode, other: SignNode) -> SignNode {
    SignNode::Sign { form: rats(form), positive: Box::new(positive), other: Box::new(other) }
}

fn rats(v: &[Rational]) -> Vec<Rat> {
    v.iter().cloned().map(Rat).collect()
}
