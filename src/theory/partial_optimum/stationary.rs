//! The stationary rows of a block: interior ones (zero gradient) and boundary ones (c = 0, on off-F faces).

use super::block::{Block, Restriction};
use super::fields;
use crate::exact::Rational;
use crate::exact::algebraic::NumberField;
use crate::exact::field::{OrderedField, Rationals};
use crate::exact::lp::{self, Outcome, Relation, Row, System};
use crate::exact::matrix;
use crate::exact::poly;
use crate::fault::{self, Fault};
use crate::theory::pattern::dot;

/// Largest number of face sets that are looked at.
const MAX_FACE_SETS: usize = 20_000;

type Elem = <NumberField as OrderedField>::Elem;

/// A family of rows that make the block stationary with one μ, given by a representative.
pub(super) struct Stationary {
    /// Q(μ).
    pub field: NumberField,
    /// μ.
    pub mu: Elem,
    /// The representative row, n_p numbers of the field: as many off-F inequalities as possible are strict.
    pub w: Vec<Elem>,
    /// (e, λ_e) with λ_e > 0 and H w = Σ λ_e p_e. Empty for interior rows.
    pub multipliers: Vec<(usize, Elem)>,
    /// Off-F features on whose face the row lies with multiplier 0.
    pub faces: Vec<usize>,
    /// True if μ is the largest eigenvalue of the pencil on the face {⟨w, p_e⟩ = 0 : λ_e > 0}.
    pub is_top: bool,
    /// The rows of the face that no feature of the block sees.
    pub silent: Vec<Vec<Rational>>,
    /// Dimension of the family of activations beyond scale.
    pub family_dim: usize,
}

/// What the enumeration found.
pub(super) struct Enumeration {
    /// All stationary rows, one entry per family.
    pub rows: Vec<Stationary>,
    /// Fields whose root is a value of μ at which the weak system (a ≥ 0, a ≠ 0) is solvable but the strict one is not:
    /// a proof of absence must split there.
    pub degenerate: Vec<NumberField>,
    /// False if there were more face sets than the budget.
    pub complete: bool,
}

/// Lists the stationary rows of a block.
pub(super) fn enumerate(block: &Block) -> Enumeration {
    let (sets, complete) = face_sets(block);
    let mut found = Enumeration { rows: Vec::new(), degenerate: Vec::new(), complete };
    for tight in sets {
        if let Some(restriction) = block.restrict(&tight) {
            on_face(block, &restriction, &mut found);
        }
    }
    found
}

/// The sets J to look at: ∅ always; if c = 0 and the features are dependent, every independent J with |J| < n_p.
///
/// For c > 0 no multiplier can be positive (0 = ⟨w, ∇⟩ = −cΣλ), and independent p_d make Σ λ_e p_e ∈ span(p_F) impossible.
fn face_sets(block: &Block) -> (Vec<Vec<usize>>, bool) {
    let mut sets = vec![Vec::new()];
    if !block.c.is_zero() || block.dual.is_some() {
        return (sets, true);
    }
    let mut last = vec![Vec::new()];
    while !last.is_empty() {
        let mut next: Vec<Vec<usize>> = Vec::new();
        for set in &last {
            let from = set.last().map_or(0, |&e: &usize| e + 1);
            for &e in block.off.iter().filter(|&&e| e >= from) {
                let mut larger = set.clone();
                larger.push(e);
                let rows: Vec<Vec<Rational>> = larger.iter().map(|&e| block.p[e].clone()).collect();
                // Only faces that some encoder row of the cell's closure touches with a > 0 matter.
                if larger.len() < block.n_p()
                    && matrix::rank(&Rationals, &rows) == larger.len()
                    && face_is_touched(block, &larger)
                {
                    next.push(larger);
                }
            }
        }
        if sets.len() + next.len() > MAX_FACE_SETS {
            return (sets, false);
        }
        sets.extend(next.iter().cloned());
        last = next;
    }
    (sets, true)
}

/// Is there a row with a > 0 on F, ⟨w, p_e⟩ ≤ 0 off F and = 0 on `tight`? (c = 0)
fn face_is_touched(block: &Block, tight: &[usize]) -> bool {
    let mut rows = Vec::new();
    for &d in &block.on {
        rows.push(Row { coeffs: block.p[d].clone(), relation: Relation::Gt, rhs: Rational::ZERO });
    }
    for &e in &block.off {
        let relation = if tight.contains(&e) { Relation::Eq } else { Relation::Ge };
        rows.push(Row { coeffs: block.p[e].iter().map(|x| -x.clone()).collect(), relation, rhs: Rational::ZERO });
    }
    matches!(lp::decide_rational(&System { variables: block.n_p(), rows }), Outcome::Feasible(_))
}

fn on_face(block: &Block, restriction: &Restriction, found: &mut Enumeration) {
    let squarefree = restriction.characteristic.squarefree_part();
    let simple = squarefree.degree() == restriction.characteristic.degree();
    let roots = poly::isolate_real_roots(&squarefree);
    let top = if fault::planted(Fault::Class) { 0 } else { roots.len().saturating_sub(1) };
    for (index, (lo, hi)) in roots.into_iter().enumerate() {
        let Some(field) = NumberField::new(&squarefree, &lo, &hi) else { continue };
        let eigen = eigenvectors(&field, restriction, simple);
        let lift =
            |basis: &[Vec<Rational>]| -> Vec<Vec<Elem>> { eigen.iter().map(|y| combine(&field, basis, y)).collect() };
        let (rows, activations) = (lift(&restriction.rows), lift(&restriction.activations));
        let candidate = Candidate { block, restriction, field: &field, rows, activations };
        match candidate.place() {
            Placement::Found(placed) => {
                if !is_repeated(&field, &placed, &found.rows) {
                    found.rows.push(Stationary {
                        mu: field.alpha(),
                        w: placed.w,
                        multipliers: placed.multipliers,
                        faces: placed.faces,
                        is_top: index == top,
                        silent: restriction.silent.clone(),
                        family_dim: placed.family_dim,
                        field,
                    });
                }
            }
            Placement::Degenerate => found.degenerate.push(field),
            Placement::None => {}
        }
    }
}

/// A row found before with the same multiplier-free description: faces with dependent p_e can show one row twice.
fn is_repeated(field: &NumberField, placed: &Placed, rows: &[Stationary]) -> bool {
    rows.iter().any(|row| {
        !row.multipliers.is_empty()
            && !placed.multipliers.is_empty()
            && fields::same_root(field, &row.field)
            && row.w.len() == placed.w.len()
            && parallel(field, &row.w, &placed.w)
    })
}

fn parallel(field: &NumberField, u: &[Elem], v: &[Elem]) -> bool {
    let Some(k) = u.iter().position(|x| field.sign(x) != 0) else { return false };
    u.iter().zip(v).all(|(x, y)| field.sign(&field.sub(&field.mul(x, &v[k]), &field.mul(y, &u[k]))) == 0)
}

/// A basis of the eigenspace of the field's root, in coordinates of the restriction.
fn eigenvectors(field: &NumberField, restriction: &Restriction, simple: bool) -> Vec<Vec<Elem>> {
    let size = restriction.matrix.len();
    if simple {
        for column in 0..size {
            let vector: Vec<Elem> =
                poly::adjugate_column(&restriction.matrix, column).iter().map(|entry| field.evaluate(entry)).collect();
            if vector.iter().any(|x| field.sign(x) != 0) {
                return vec![vector];
            }
        }
    }
    let shifted: Vec<Vec<Elem>> = restriction
        .matrix
        .iter()
        .enumerate()
        .map(|(i, row)| {
            row.iter()
                .enumerate()
                .map(|(j, x)| {
                    let x = field.rational(x);
                    if i == j { field.sub(&x, &field.alpha()) } else { x }
                })
                .collect()
        })
        .collect();
    matrix::nullspace(field, &shifted, size)
}

/// Σ_k y_k basis_k with y in the field.
pub(super) fn combine(field: &NumberField, basis: &[Vec<Rational>], y: &[Elem]) -> Vec<Elem> {
    let length = basis.first().map_or(0, Vec::len);
    let mut sum = vec![field.zero(); length];
    for (row, factor) in basis.iter().zip(y) {
        for (s, x) in sum.iter_mut().zip(row).filter(|(_, x)| !x.is_zero()) {
            *s = field.add(s, &field.scale(x, factor));
        }
    }
    sum
}

/// ⟨w, p⟩ with w in the field.
pub(super) fn pair(field: &NumberField, w: &[Elem], p: &[Rational]) -> Elem {
    w.iter().zip(p).filter(|(_, x)| !x.is_zero()).fold(field.zero(), |s, (a, x)| field.add(&s, &field.scale(x, a)))
}

struct Candidate<'a> {
    block: &'a Block,
    restriction: &'a Restriction,
    field: &'a NumberField,
    rows: Vec<Vec<Elem>>,
    activations: Vec<Vec<Elem>>,
}

struct Placed {
    w: Vec<Elem>,
    multipliers: Vec<(usize, Elem)>,
    faces: Vec<usize>,
    family_dim: usize,
}

enum Placement {
    Found(Placed),
    Degenerate,
    None,
}

impl Candidate<'_> {
    /// Looks for a row of the eigenspace plus silent directions with a > c, off-F ≤ c and multipliers > 0.
    fn place(&self) -> Placement {
        let one = self.activations.len() == 1;
        if one {
            // A one-dimensional eigenspace: the activations must have one strict sign.
            let signs: Vec<i32> = self.activations[0].iter().map(|a| self.field.sign(a)).collect();
            if signs.contains(&1) && signs.contains(&-1) {
                return Placement::None;
            }
            if signs.contains(&0) {
                return Placement::Degenerate;
            }
        }
        let multipliers = self.multiplier_forms();
        let off: Vec<usize> = self.block.off.iter().copied().filter(|e| !self.restriction.tight.contains(e)).collect();
        let solve = |strict: &dyn Fn(usize) -> bool, weak: bool| self.solve(&off, &multipliers, strict, weak);
        if let Some(solution) = solve(&|_| true, false) {
            return self.found(solution, &off, &multipliers, self.activations.len() - 1);
        }
        let Some(weakest) = solve(&|_| false, false) else {
            return if solve(&|_| false, true).is_some() { Placement::Degenerate } else { Placement::None };
        };
        // Some faces are unavoidable. The sum of solutions that are strict where possible lies in the relative interior.
        let mut sum = weakest;
        let mut count = 1;
        let mut implied = Vec::new();
        for &e in &off {
            match solve(&|f| f == e, false) {
                Some(solution) => {
                    sum = sum.iter().zip(&solution).map(|(a, b)| self.field.add(a, b)).collect();
                    count += 1;
                }
                None => implied.push(e),
            }
        }
        let mean = Rational::ONE / Rational::from(count);
        let solution: Vec<Elem> = sum.iter().map(|x| self.field.scale(&mean, x)).collect();
        let family_dim = self.family_dim(&implied);
        self.found(solution, &off, &multipliers, family_dim)
    }

    /// λ_e as linear forms in the eigenspace's coordinates: λ = (P_JᵀP_J)⁻¹P_JᵀHw.
    fn multiplier_forms(&self) -> Vec<Vec<Elem>> {
        let tight = &self.restriction.tight;
        if tight.is_empty() {
            return Vec::new();
        }
        let faces: Vec<&Vec<Rational>> = tight.iter().map(|&e| &self.block.p[e]).collect();
        let gram: Vec<Vec<Rational>> = faces.iter().map(|x| faces.iter().map(|y| dot(x, y)).collect()).collect();
        let images: Vec<Vec<Elem>> =
            self.rows.iter().map(|w| hessian_form(self.block, self.field, &self.field.alpha(), w)).collect();
        // row k of `forms`: λ for the k-th eigenrow
        let forms: Vec<Vec<Elem>> = images
            .iter()
            .map(|image| {
                let right: Vec<Elem> = faces.iter().map(|p| pair(self.field, image, p)).collect();
                let lifted: Vec<Vec<Elem>> =
                    gram.iter().map(|row| row.iter().map(|x| self.field.rational(x)).collect()).collect();
                matrix::solve(self.field, &lifted, &right).expect("J is independent")
            })
            .collect();
        (0..tight.len()).map(|j| forms.iter().map(|f| f[j].clone()).collect()).collect()
    }

    /// Solves for coordinates (eigenspace, silent). `weak` asks for a ≥ 0, a ≠ 0 and λ ≥ 0 only.
    fn solve(
        &self,
        off: &[usize],
        multipliers: &[Vec<Elem>],
        strict: &dyn Fn(usize) -> bool,
        weak: bool,
    ) -> Option<Vec<Elem>> {
        // Independent features: any off-F activation can be had, see `found`.
        let free = self.block.dual.is_some();
        let off = if free { &[] } else { off };
        let (f, k) = (self.field, self.activations.len());
        let s = if free { 0 } else { self.restriction.silent.len() };
        let c = f.rational(&self.block.c);
        let zeros = || vec![f.zero(); s];
        let mut rows = Vec::new();
        let mut total = vec![f.zero(); k];
        for d in 0..self.block.on.len() {
            let mut coeffs: Vec<Elem> = self.activations.iter().map(|a| a[d].clone()).collect();
            for (sum, x) in total.iter_mut().zip(&coeffs) {
                *sum = f.add(sum, x);
            }
            coeffs.extend(zeros());
            let relation = if weak { Relation::Ge } else { Relation::Gt };
            rows.push(Row { coeffs, relation, rhs: if weak { f.zero() } else { c.clone() } });
        }
        if weak {
            total.extend(zeros());
            rows.push(Row { coeffs: total, relation: Relation::Gt, rhs: f.zero() });
        }
        for form in multipliers {
            let mut coeffs = form.clone();
            coeffs.extend(zeros());
            rows.push(Row { coeffs, relation: if weak { Relation::Ge } else { Relation::Gt }, rhs: f.zero() });
        }
        for &e in off {
            let p = &self.block.p[e];
            let mut coeffs: Vec<Elem> = self.rows.iter().map(|w| f.neg(&pair(f, w, p))).collect();
            coeffs.extend(self.restriction.silent.iter().map(|w| f.rational(&-dot(w, p))));
            let relation = if strict(e) { Relation::Gt } else { Relation::Ge };
            rows.push(Row { coeffs, relation, rhs: f.neg(&c) });
        }
        let system = System { variables: k + s, rows };
        match lp::decide(f, &system) {
            Outcome::Feasible(x) => Some(x),
            Outcome::Infeasible(_) => None,
        }
    }

    fn found(&self, x: Vec<Elem>, off: &[usize], multipliers: &[Vec<Elem>], family_dim: usize) -> Placement {
        let f = self.field;
        let w = self.row(&x);
        let c = f.rational(&self.block.c);
        let faces = off.iter().copied().filter(|&e| f.sign(&f.sub(&pair(f, &w, &self.block.p[e]), &c)) == 0).collect();
        let multipliers = self
            .restriction
            .tight
            .iter()
            .zip(multipliers)
            .map(|(&e, form)| {
                let value = form.iter().zip(&x).fold(f.zero(), |s, (a, b)| f.add(&s, &f.mul(a, b)));
                (e, value)
            })
            .collect();
        Placement::Found(Placed { w, multipliers, faces, family_dim })
    }

    /// The row with the given coordinates. With independent features its off-F activations are −1 (c = 0) or 0.
    fn row(&self, x: &[Elem]) -> Vec<Elem> {
        let f = self.field;
        let k = self.rows.len();
        let mut w = vec![f.zero(); self.block.n_p()];
        let mut add = |factor: &Elem, row: &[Rational]| {
            for (s, value) in w.iter_mut().zip(row).filter(|(_, value)| !value.is_zero()) {
                *s = f.add(s, &f.scale(value, factor));
            }
        };
        if let Some(dual) = &self.block.dual {
            for (index, &d) in self.block.on.iter().enumerate() {
                let activation =
                    x.iter().zip(&self.activations).fold(f.zero(), |s, (y, a)| f.add(&s, &f.mul(y, &a[index])));
                add(&activation, &dual[d]);
            }
            if self.block.c.is_zero() {
                let minus_one = f.neg(&f.one());
                for &e in &self.block.off {
                    add(&minus_one, &dual[e]);
                }
            }
            return w;
        }
        for (factor, row) in x[k..].iter().zip(&self.restriction.silent) {
            add(factor, row);
        }
        for (factor, row) in x[..k].iter().zip(&self.rows) {
            for (s, value) in w.iter_mut().zip(row) {
                *s = f.add(s, &f.mul(factor, value));
            }
        }
        w
    }

    /// Dimension of {eigenspace coordinates that stay possible when the faces `implied` are equalities} beyond scale.
    fn family_dim(&self, implied: &[usize]) -> usize {
        let f = self.field;
        let k = self.rows.len();
        let equations: Vec<Vec<Elem>> = implied
            .iter()
            .map(|&e| {
                let p = &self.block.p[e];
                let mut row: Vec<Elem> = self.rows.iter().map(|w| pair(f, w, p)).collect();
                row.extend(self.restriction.silent.iter().map(|w| f.rational(&dot(w, p))));
                row
            })
            .collect();
        let solutions = matrix::nullspace(f, &equations, k + self.restriction.silent.len());
        let projected: Vec<Vec<Elem>> = solutions.iter().map(|x| x[..k].to_vec()).collect();
        matrix::rank(f, &projected).saturating_sub(1)
    }
}

/// H w = (A − μB) w.
pub(super) fn hessian_form(block: &Block, field: &NumberField, mu: &Elem, w: &[Elem]) -> Vec<Elem> {
    block
        .a
        .iter()
        .zip(&block.b)
        .map(|(a, b)| field.sub(&pair(field, w, a), &field.mul(mu, &pair(field, w, b))))
        .collect()
}
