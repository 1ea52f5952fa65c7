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

mod cones;
mod proof;

pub(super) use proof::Proof;
use proof::ratio;

use super::GlobalError;
use super::rays::RowCone;
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::lp::{Outcome, Relation, Row, System, decide_rational};
use crate::exact::matrix::{nullspace, rref};
use crate::exact::rational::{from_f64, sign, to_f64};
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use sdlab_verify::format::SignNode;
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
