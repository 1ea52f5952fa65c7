//! Linear systems of equations, inequalities and strict inequalities over an ordered field, decided with proof.
//!
//! f64 arithmetic proposes, exact arithmetic decides: either a point is returned or multipliers in the sense of Motzkin's
//! transposition theorem (1936), and [`verify`] accepts nothing else.

use super::domain::Domain;
use super::elimination::{Echelon, reduced_echelon};
use super::field::{OrderedField, Rationals};
use super::interior::{Interior, inequality, interior};
use super::matrix::{solve, transpose};
use super::proposal::DyadicPoint;
use super::rational::Rational;
use super::simplex::Inequality;
use dashu::integer::IBig;

/// How the two sides of a row compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// coeffs·x = rhs
    Eq,
    /// coeffs·x ≥ rhs
    Ge,
    /// coeffs·x > rhs
    Gt,
}

/// coeffs·x relation rhs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<E> {
    /// One coefficient per variable.
    pub coeffs: Vec<E>,
    /// The relation.
    pub relation: Relation,
    /// The right-hand side.
    pub rhs: E,
}

/// A system in free variables. Every row has one coefficient per variable.
#[derive(Debug, Clone, PartialEq)]
pub struct System<E> {
    /// Number of variables.
    pub variables: usize,
    /// The rows.
    pub rows: Vec<Row<E>>,
}

/// The decision with its proof.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<E> {
    /// A solution x. A `Ge` row is strict at x unless every solution satisfies it with equality.
    Feasible(Vec<E>),
    /// Multipliers m, one per row: ≥ 0 on `Ge` and `Gt` rows, of any sign on `Eq` rows, with Σ m_k coeffs_k = 0 and either
    /// Σ m_k rhs_k > 0, or Σ m_k rhs_k = 0 and m_k > 0 for some `Gt` row.
    Infeasible(Vec<E>),
}

/// Does the outcome prove what it says? A vector of the wrong length proves nothing.
pub fn verify<F: OrderedField>(field: &F, system: &System<F::Elem>, outcome: &Outcome<F::Elem>) -> bool {
    match outcome {
        Outcome::Feasible(x) => {
            x.len() == system.variables
                && system.rows.iter().all(|row| {
                    let sign = field.sign(&field.sub(&field.dot(&row.coeffs, x), &row.rhs));
                    match row.relation {
                        Relation::Eq => sign == 0,
                        Relation::Ge => sign >= 0,
                        Relation::Gt => sign > 0,
                    }
                })
        }
        Outcome::Infeasible(m) => {
            let signs: Vec<i32> = m.iter().map(|m| field.sign(m)).collect();
            let rows = &system.rows;
            let column = |j: usize| rows.iter().map(|row| row.coeffs[j].clone()).collect::<Vec<_>>();
            let rhs: Vec<F::Elem> = rows.iter().map(|row| row.rhs.clone()).collect();
            m.len() == rows.len()
                && rows.iter().zip(&signs).all(|(row, &sign)| row.relation == Relation::Eq || sign >= 0)
                && (0..system.variables).all(|j| field.is_zero(&field.dot(m, &column(j))))
                && match field.sign(&field.dot(m, &rhs)) {
                    1 => true,
                    0 => rows.iter().zip(&signs).any(|(row, &sign)| row.relation == Relation::Gt && sign > 0),
                    _ => false,
                }
        }
    }
}

/// Decides a system over the rationals.
pub fn decide_rational(system: &System<Rational>) -> Outcome<Rational> {
    decide(&Rationals, system)
}

/// Decides a system: exact for every input, fast where f64 arithmetic guesses well.
///
/// Equations are eliminated, then a point strictly inside the inequalities is sought. Where there is none, the multipliers
/// prove infeasibility, or they name `Ge` rows that hold with equality at every solution; these join the equations.
pub fn decide<F: OrderedField>(field: &F, system: &System<F::Elem>) -> Outcome<F::Elem> {
    debug_assert!(system.rows.iter().all(|row| row.coeffs.len() == system.variables));
    let mut decision = Decision::new(field, system);
    let outcome = loop {
        if let Some(outcome) = decision.step() {
            break outcome;
        }
    };
    debug_assert!(verify(field, system, &outcome));
    outcome
}

type DomainElem<F> = <<F as OrderedField>::Domain as Domain>::Elem;

struct Decision<'a, F: OrderedField> {
    field: &'a F,
    system: &'a System<F::Elem>,
    /// Coefficients and right-hand side of each row in the domain.
    integral: Vec<Vec<DomainElem<F>>>,
    /// integral[k] = scales[k]·row k.
    scales: Vec<Rational>,
    /// Is the row an equation, or does it hold with equality at every solution?
    tight: Vec<bool>,
    /// For each set of rows that became tight: multipliers ≥ 0 on the inequalities, positive on that set, whose combination is 0 ≥ 0.
    proofs: Vec<Vec<F::Elem>>,
}

/// An inequality in the variables that the equations leave free.
struct Reduced<E> {
    /// Its row.
    row: usize,
    inequality: Inequality<E>,
    /// It is the row plus equations, divided by this (up to a factor common to all rows).
    content: IBig,
}

impl<'a, F: OrderedField> Decision<'a, F> {
    fn new(field: &'a F, system: &'a System<F::Elem>) -> Self {
        let (integral, scales) = system
            .rows
            .iter()
            .map(|row| field.integral(&row.coeffs.iter().chain([&row.rhs]).cloned().collect::<Vec<_>>()))
            .unzip();
        let tight = system.rows.iter().map(|row| row.relation == Relation::Eq).collect();
        Self { field, system, integral, scales, tight, proofs: Vec::new() }
    }

    /// One round; `None` when rows became tight.
    fn step(&mut self) -> Option<Outcome<F::Elem>> {
        let domain = self.field.domain();
        let variables = self.system.variables;
        let equations = self.integral.iter().zip(&self.tight).filter(|(_, tight)| **tight).map(|(row, _)| row.clone());
        let mut echelon = reduced_echelon(domain, equations.collect(), variables);
        if echelon.rest.iter().any(|row| domain.sign(&row[variables]) != 0) {
            return Some(self.inconsistent_equations());
        }
        if domain.sign(&echelon.denominator) < 0 {
            let entries = echelon.rows.iter_mut().flatten().chain([&mut echelon.denominator]);
            entries.for_each(|entry| *entry = domain.neg(entry));
        }
        let free: Vec<usize> = (0..variables).filter(|c| !echelon.pivots.contains(c)).collect();
        let mut reduced = Vec::new();
        for row in (0..self.integral.len()).filter(|&k| !self.tight[k]) {
            let candidate = self.reduce(row, &echelon, &free);
            if candidate.inequality.coeffs.iter().any(|a| domain.sign(a) != 0) {
                reduced.push(candidate);
                continue;
            }
            // The row has become 0 ≥ rhs or 0 > rhs.
            let sign = domain.sign(&candidate.inequality.rhs);
            if sign > 0 || sign == 0 && self.system.rows[row].relation == Relation::Gt {
                return Some(Outcome::Infeasible(self.lift(&[(row, self.field.one())])));
            }
        }
        let (inequalities, origins): (Vec<_>, Vec<_>) =
            reduced.into_iter().map(|r| (r.inequality, (r.row, r.content))).unzip();
        match interior(domain, &inequalities, free.len()) {
            Interior::Point(point) => Some(Outcome::Feasible(self.point(&echelon, &free, &inequalities, point))),
            Interior::Empty(multipliers) => {
                let value = multipliers
                    .iter()
                    .fold(domain.zero(), |sum, (k, m)| domain.add(&sum, &domain.mul(m, &inequalities[*k].rhs)));
                let (indices, numerators): (Vec<usize>, Vec<_>) = multipliers.into_iter().unzip();
                let elements = self.field.quotients(&numerators, &domain.one());
                let lifted: Vec<(usize, F::Elem)> = indices
                    .iter()
                    .zip(elements)
                    .map(|(&k, m)| {
                        let (row, content) = &origins[k];
                        let scale = &self.scales[*row] / Rational::from(content.clone());
                        (*row, self.field.scale(&scale, &m))
                    })
                    .collect();
                let multipliers = self.lift(&lifted);
                let strict = lifted.iter().any(|(row, _)| self.system.rows[*row].relation == Relation::Gt);
                if strict || domain.sign(&value) > 0 {
                    return Some(Outcome::Infeasible(multipliers));
                }
                lifted.iter().for_each(|(row, _)| self.tight[*row] = true);
                self.proofs.push(multipliers);
                None
            }
        }
    }

    /// The row in the free variables: denominator·row − Σ_r row[pivot r]·equation r.
    fn reduce(&self, row: usize, echelon: &Echelon<DomainElem<F>>, free: &[usize]) -> Reduced<DomainElem<F>> {
        let domain = self.field.domain();
        let entries = &self.integral[row];
        let mut result: Vec<DomainElem<F>> = free
            .iter()
            .chain([&self.system.variables])
            .map(|&j| {
                let start = domain.mul(&echelon.denominator, &entries[j]);
                echelon.rows.iter().zip(&echelon.pivots).fold(start, |sum, (equation, &p)| {
                    domain.add(&sum, &domain.neg(&domain.mul(&entries[p], &equation[j])))
                })
            })
            .collect();
        let content = IBig::from(domain.strip_content(&mut result));
        let rhs = result.pop().unwrap_or_else(|| domain.zero());
        Reduced { row, inequality: inequality(domain, result, rhs), content }
    }

    /// The solution x of the equations whose free coordinates are the given point.
    fn point(
        &self,
        echelon: &Echelon<DomainElem<F>>,
        free: &[usize],
        inequalities: &[Inequality<DomainElem<F>>],
        point: DyadicPoint,
    ) -> Vec<F::Elem> {
        let domain = self.field.domain();
        let variables = self.system.variables;
        let homogeneous = |rhs: &DomainElem<F>| domain.sign(rhs) == 0;
        let DyadicPoint { mut numerators, mut bits } = point;
        if inequalities.iter().all(|row| homogeneous(&row.rhs)) {
            // Any positive multiple of the free coordinates is a point as well: take integers without a common factor.
            bits = 0;
            super::domain::Integers.strip_content(&mut numerators);
        }
        let one = IBig::ONE << bits;
        let denominator = domain.mul(&echelon.denominator, &domain.integer(&one));
        let mut x = vec![domain.zero(); variables];
        for (k, &j) in numerators.iter().zip(free) {
            x[j] = domain.mul(&echelon.denominator, &domain.integer(k));
        }
        for (equation, &p) in echelon.rows.iter().zip(&echelon.pivots) {
            let coeffs: Vec<_> = free.iter().map(|&j| domain.neg(&equation[j])).collect();
            let constant = domain.mul(&equation[variables], &domain.integer(&one));
            x[p] = domain.add(&constant, &domain.combination(&coeffs, &numerators));
        }
        if self.integral.iter().all(|row| homogeneous(&row[variables])) {
            domain.strip_content(&mut x);
            return self.field.quotients(&x, &domain.one());
        }
        self.field.quotients(&x, &denominator)
    }

    /// Equations Σ n_k coeffs_k = 0 with Σ n_k rhs_k = 1, as multipliers.
    fn inconsistent_equations(&self) -> Outcome<F::Elem> {
        let field = self.field;
        let rows = transpose(&self.tight_rows(|row| row.coeffs.iter().chain([&row.rhs]).cloned().collect()));
        let mut target = vec![field.zero(); self.system.variables];
        target.push(field.one());
        // The equations are inconsistent, so these are consistent.
        let found = solve(field, &rows, &target).unwrap_or_default();
        let mut multipliers = vec![field.zero(); self.system.rows.len()];
        for (k, value) in self.tight_indices().zip(found) {
            multipliers[k] = value;
        }
        Outcome::Infeasible(self.with_signs(multipliers))
    }

    /// Multipliers on all rows that continue those on inequalities so that the coefficients cancel.
    fn lift(&self, known: &[(usize, F::Elem)]) -> Vec<F::Elem> {
        let field = self.field;
        let mut multipliers = vec![field.zero(); self.system.rows.len()];
        let mut target = vec![field.zero(); self.system.variables];
        for (k, m) in known {
            multipliers[*k] = m.clone();
            for (sum, a) in target.iter_mut().zip(&self.system.rows[*k].coeffs) {
                *sum = field.sub(sum, &field.mul(m, a));
            }
        }
        let equations = self.tight_rows(|row| row.coeffs.clone());
        if !equations.is_empty() {
            // The combination of the known rows lies in the span of the equations.
            let found = solve(field, &transpose(&equations), &target).unwrap_or_default();
            for (k, value) in self.tight_indices().zip(found) {
                multipliers[k] = value;
            }
        }
        self.with_signs(multipliers)
    }

    /// Adds proofs of tightness until no inequality has a negative multiplier, and removes common factors.
    fn with_signs(&self, mut multipliers: Vec<F::Elem>) -> Vec<F::Elem> {
        let field = self.field;
        for proof in &self.proofs {
            let mut factor = field.zero();
            for (k, row) in self.system.rows.iter().enumerate() {
                if row.relation != Relation::Eq && field.sign(&multipliers[k]) < 0 && field.sign(&proof[k]) > 0 {
                    let needed = field.div(&field.neg(&multipliers[k]), &proof[k]);
                    if field.cmp(&needed, &factor).is_gt() {
                        factor = needed;
                    }
                }
            }
            if !field.is_zero(&factor) {
                for (m, p) in multipliers.iter_mut().zip(proof) {
                    *m = field.add(m, &field.mul(&factor, p));
                }
            }
        }
        let (mut integral, _) = field.integral(&multipliers);
        field.domain().strip_content(&mut integral);
        field.quotients(&integral, &field.domain().one())
    }

    fn tight_indices(&self) -> impl Iterator<Item = usize> {
        self.tight.iter().enumerate().filter(|(_, tight)| **tight).map(|(k, _)| k)
    }

    fn tight_rows<T>(&self, part: impl Fn(&Row<F::Elem>) -> T) -> Vec<T> {
        self.tight_indices().map(|k| part(&self.system.rows[k])).collect()
    }
}

#[cfg(test)]
#[path = "lp_tests.rs"]
mod tests;
