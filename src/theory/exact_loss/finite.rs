//! L, L̃ and L as a polynomial in p, exactly, for laws with finitely many values. Any activation of a [`Problem`].

use super::ExactLossError;
use crate::exact::{Rational, rational};
use crate::theory::pattern::{dot, firing};
use crate::theory::point::Point;
use crate::theory::problem::Problem;

/// Largest number of atoms that an independent law may spread to.
pub const ATOMS: usize = 1 << 16;

/// A law of the feature vector x with finitely many values, as exact-loss certificates carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiniteDistribution {
    atoms: Vec<(Vec<Rational>, Rational)>,
}

/// L (eq. 3) and L̃ (eq. 11) under one law.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactLosses {
    /// L = E ‖R x − Vσ(W P x)‖².
    pub loss: Rational,
    /// L̃ with the law's own masses M_d = Σ over the atoms at which d alone is active of probability·x_d².
    pub approximate: Rational,
}

impl FiniteDistribution {
    /// Checks values ≥ 0 that are distinct and of one length, and probabilities > 0 that add up to 1.
    pub fn new(atoms: Vec<(Vec<Rational>, Rational)>) -> Result<Self, ExactLossError> {
        let wrong = |text| Err(ExactLossError::Magnitudes(text));
        let Some((first, _)) = atoms.first() else { return wrong("expected at least one value") };
        let n = first.len();
        if atoms.iter().any(|(x, _)| x.len() != n || x.iter().any(|x| rational::sign(x) < 0)) {
            return wrong("expected values >= 0 of one length");
        }
        if atoms.iter().any(|(_, q)| rational::sign(q) <= 0) {
            return wrong("expected probabilities > 0");
        }
        let mut values: Vec<&Vec<Rational>> = atoms.iter().map(|(x, _)| x).collect();
        values.sort();
        if values.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("expected distinct values");
        }
        if atoms.iter().fold(Rational::ZERO, |sum, (_, q)| sum + q) != Rational::ONE {
            return wrong("expected probabilities that add up to 1");
        }
        Ok(Self { atoms })
    }

    /// n independent features, active with probability p, with magnitudes (y, Pr(y)) when active (Asm. 2.4).
    pub fn independent(n: usize, p: &Rational, magnitudes: &[(Rational, Rational)]) -> Result<Self, ExactLossError> {
        let silent = Rational::ONE - p;
        let each: Vec<(Rational, Rational)> = std::iter::once((Rational::ZERO, silent))
            .chain(magnitudes.iter().map(|(y, q)| (y.clone(), q * p)))
            .filter(|(_, q)| !q.is_zero())
            .collect();
        let limit = ExactLossError::TooLarge { what: "values of the feature vector", limit: ATOMS };
        each.len().checked_pow(n as u32).filter(|count| *count <= ATOMS).ok_or(limit)?;
        let mut atoms = vec![(Vec::new(), Rational::ONE)];
        for _ in 0..n {
            let longer = |(x, q): &(Vec<Rational>, Rational)| {
                let (x, q) = (x.clone(), q.clone());
                each.iter()
                    .map(move |(y, share)| ([x.clone(), vec![y.clone()]].concat(), &q * share))
                    .collect::<Vec<_>>()
            };
            atoms = atoms.iter().flat_map(longer).collect();
        }
        Self::new(atoms)
    }

    /// The values with their probabilities.
    pub fn atoms(&self) -> &[(Vec<Rational>, Rational)] {
        &self.atoms
    }

    /// L and L̃ of a point under this law, with the problem's activation. The problem's masses are not used.
    pub fn losses(&self, problem: &Problem, point: &Point) -> Result<ExactLosses, ExactLossError> {
        if self.atoms[0].0.len() != problem.n() {
            return Err(ExactLossError::Shape("distribution: expected one number for each feature of the problem"));
        }
        check_point(problem, point)?;
        let mut losses = ExactLosses { loss: Rational::ZERO, approximate: Rational::ZERO };
        for (x, probability) in &self.atoms {
            losses.loss += probability * loss_at(problem, point, x);
            let active: Vec<usize> = (0..x.len()).filter(|&d| !x[d].is_zero()).collect();
            if let [d] = active[..] {
                let unit: Vec<Rational> = (0..x.len()).map(|e| Rational::from(u8::from(e == d))).collect();
                losses.approximate += probability * &x[d] * &x[d] * loss_at(problem, point, &unit);
            }
        }
        Ok(losses)
    }
}

/// The coefficients a_0, .., a_n of L(p) = Σ a_j p^j for independent features with magnitudes (y, Pr(y)), exactly: n + 1 exact values
/// of L at p = 0, 1/n, .., 1 are interpolated.
pub fn exact_polynomial(
    problem: &Problem,
    point: &Point,
    magnitudes: &[(Rational, Rational)],
) -> Result<Vec<Rational>, ExactLossError> {
    let n = problem.n();
    let nodes: Vec<Rational> = (0..=n).map(|k| Rational::from(k) / Rational::from(n)).collect();
    let mut divided: Vec<Rational> = Vec::with_capacity(n + 1);
    for p in &nodes {
        divided.push(FiniteDistribution::independent(n, p, magnitudes)?.losses(problem, point)?.loss);
    }
    for level in 1..=n {
        for k in (level..=n).rev() {
            divided[k] = (&divided[k] - &divided[k - 1]) / (&nodes[k] - &nodes[k - level]);
        }
    }
    // Newton's form, multiplied out: p ← p·(x − node) + divided difference.
    let mut coefficients = vec![Rational::ZERO; n + 1];
    for k in (0..=n).rev() {
        for j in (0..=n).rev() {
            let lower = if j > 0 { coefficients[j - 1].clone() } else { divided[k].clone() };
            coefficients[j] = lower - &coefficients[j] * &nodes[k];
        }
    }
    Ok(coefficients)
}

/// ‖R x − Vσ(W P x)‖².
fn loss_at(problem: &Problem, point: &Point, x: &[Rational]) -> Rational {
    let combine = |direction: &dyn Fn(usize) -> Vec<Rational>, length: usize| {
        let mut sum = vec![Rational::ZERO; length];
        for (d, x) in x.iter().enumerate().filter(|(_, x)| !x.is_zero()) {
            sum.iter_mut().zip(direction(d)).for_each(|(sum, w)| *sum += x * w);
        }
        sum
    };
    let input = combine(&|d| problem.features()[d].w_p.clone(), problem.n_p());
    let mut residual = combine(&|d| problem.features()[d].w_r.clone(), problem.n_r());
    let z: Vec<Rational> = point.w_e.iter().map(|row| dot(row, &input)).collect();
    for i in firing(problem.activation(), &z) {
        residual.iter_mut().zip(&point.w_d[i]).for_each(|(e, v)| *e -= &z[i] * v);
    }
    dot(&residual, &residual)
}

fn check_point(problem: &Problem, point: &Point) -> Result<(), ExactLossError> {
    let fits = point.w_d.len() == point.w_e.len()
        && point.w_e.iter().all(|row| row.len() == problem.n_p())
        && point.w_d.iter().all(|column| column.len() == problem.n_r());
    if fits { Ok(()) } else { Err(ExactLossError::Shape("point: expected rows and columns of the problem's lengths")) }
}
