//! Small exact models with independent features, for the claims about L − L̃.

use super::Evidence;
use super::search::rational_unit;
use crate::exact::{Rational, rational};
use crate::theory::certificate_body::{certificate, number, numbers, point as point_json};
use crate::theory::exact_loss::ExactLossError;
use crate::theory::exact_loss::finite::{ExactLosses, FiniteDistribution, exact_polynomial};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::json;

/// A point of a problem with n independent features, each active with probability p and then with a magnitude of this law.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub problem: Problem,
    pub point: Point,
    /// (y, Pr(y)), y > 0.
    pub magnitudes: Vec<(Rational, Rational)>,
}

/// Numbers of features, neurons and dimensions n_p = n_r.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub n: usize,
    pub neurons: usize,
    pub dimension: usize,
}

impl Model {
    /// Unit features p_d and r_d, small weights, and a law with two magnitudes.
    pub fn propose(rng: &mut ChaCha20Rng, shape: Shape, activation: Activation) -> Self {
        let unit = |rng: &mut ChaCha20Rng| {
            let direction: Vec<f64> = (0..shape.dimension).map(|_| StandardNormal.sample(rng)).collect();
            rational_unit(&direction, 1)
        };
        let features = (0..shape.n).map(|_| Feature { w_p: unit(rng), w_r: unit(rng), mass: Rational::ONE }).collect();
        let half = |rng: &mut ChaCha20Rng| Rational::from(rng.random_range(-4..=4_i32)) / Rational::from(2);
        let mut matrix = || (0..shape.neurons).map(|_| (0..shape.dimension).map(|_| half(rng)).collect()).collect();
        let point = Point { w_e: matrix(), w_d: matrix() };
        let first = rng.random_range(1..=3_i32);
        let share = Rational::ONE / Rational::from(rng.random_range(2..=3_i32));
        let second = Rational::from(first + rng.random_range(1..=3_i32)) / Rational::from(2);
        let magnitudes =
            vec![(Rational::from(first) / Rational::from(2), share.clone()), (second, Rational::ONE - share)];
        Self { problem: Problem::new(features, activation).expect("masses are 1"), point, magnitudes }
    }

    /// E\[y^k\].
    pub fn moment(&self, k: isize) -> Rational {
        self.magnitudes.iter().fold(Rational::ZERO, |sum, (y, q)| sum + q * y.pow(k))
    }

    /// S̃ = E\[y²\] Σ_d ‖e_d‖², so that L̃(p) = p (1−p)^(n−1) S̃ (eq. 11; the problem's masses are 1).
    pub fn approximate_sum(&self) -> Rational {
        self.moment(2) * self.point.loss(&self.problem)
    }

    /// The coefficients of L − L̃ in powers of p.
    pub fn gap(&self) -> Result<Vec<Rational>, ExactLossError> {
        let mut gap = exact_polynomial(&self.problem, &self.point, &self.magnitudes)?;
        subtract_single(&mut gap, &self.approximate_sum());
        Ok(gap)
    }

    /// Σ_{|A| = size} ℓ(A): the losses when exactly the features of A are active, by enumeration of their magnitudes.
    pub fn sum_over_active(&self, size: usize) -> Result<Rational, ExactLossError> {
        let n = self.problem.n();
        let mut sum = Rational::ZERO;
        for set in (0..1_usize << n).filter(|set| set.count_ones() as usize == size) {
            let mut atoms = vec![(Vec::new(), Rational::ONE)];
            for d in 0..n {
                let values =
                    if set >> d & 1 == 1 { self.magnitudes.clone() } else { vec![(Rational::ZERO, Rational::ONE)] };
                let longer = |(x, q): &(Vec<Rational>, Rational)| {
                    let (x, q) = (x.clone(), q.clone());
                    let extend =
                        move |(y, share): &(Rational, Rational)| ([x.clone(), vec![y.clone()]].concat(), &q * share);
                    values.iter().map(extend).collect::<Vec<_>>()
                };
                atoms = atoms.iter().flat_map(longer).collect();
            }
            sum += FiniteDistribution::new(atoms)?.losses(&self.problem, &self.point)?.loss;
        }
        Ok(sum)
    }

    /// L and L̃ at p.
    pub fn losses(&self, p: &Rational) -> Result<ExactLosses, ExactLossError> {
        FiniteDistribution::independent(self.problem.n(), p, &self.magnitudes)?.losses(&self.problem, &self.point)
    }

    /// The certified values of L and L̃ at p.
    pub fn certified(&self, p: &Rational, text: String, name: &str) -> Result<Evidence, String> {
        let law = FiniteDistribution::independent(self.problem.n(), p, &self.magnitudes).map_err(|e| e.to_string())?;
        let losses = law.losses(&self.problem, &self.point).map_err(|e| e.to_string())?;
        let atoms: Vec<_> =
            law.atoms().iter().map(|(x, q)| json!({"x": numbers(x), "probability": number(q)})).collect();
        let body = json!({
            "point": point_json(&self.point),
            "distribution": atoms,
            "loss": number(&losses.loss),
            "approximate": number(&losses.approximate),
        });
        Evidence::certified(text, name, certificate(&self.problem, "exact-loss", body))
            .map_err(|refusal| refusal.to_string())
    }

    /// The law of the magnitudes and the weights in words.
    pub fn describe(&self) -> String {
        let vector = |v: &[Rational]| match v {
            [x] => x.to_string(),
            _ => format!("({})", v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        };
        let list = |name: &str, rows: &[Vec<Rational>]| {
            let each = rows.iter().enumerate().map(|(i, row)| format!("{name}_{} = {}", i + 1, vector(row)));
            each.collect::<Vec<_>>().join(", ")
        };
        let law: Vec<String> = self.magnitudes.iter().map(|(y, q)| format!("{y} with probability {q}")).collect();
        let law = match self.magnitudes.as_slice() {
            [(y, _)] => y.to_string(),
            _ => law.join(", "),
        };
        format!("{}, {}, magnitudes {law}", list("w", &self.point.w_e), list("v", &self.point.w_d))
    }

    /// Size for shrinking: features, neurons, dimensions, magnitudes, and the length of the numbers.
    pub fn size(&self) -> (usize, usize, usize, usize, usize, usize) {
        let bits = |x: &Rational| if x.is_zero() { 0 } else { rational::bits(x) };
        let features = self.problem.features().iter().flat_map(|f| f.w_p.iter().chain(&f.w_r));
        let weights = self.point.w_e.iter().chain(&self.point.w_d).flatten();
        let law = self.magnitudes.iter().flat_map(|(y, q)| [y, q]);
        let numbers: Vec<&Rational> = features.chain(weights).chain(law).chain(self.problem.threshold()).collect();
        let negative = numbers.iter().filter(|x| rational::sign(x) < 0).count();
        let total = numbers.iter().map(|x| bits(x)).sum();
        (self.problem.n(), self.point.w_e.len(), self.problem.n_p(), self.magnitudes.len(), total, negative)
    }
}

/// Subtracts p (1−p)^(n−1) s from a polynomial in p of degree n.
pub(super) fn subtract_single(coefficients: &mut [Rational], s: &Rational) {
    let n = coefficients.len() - 1;
    let mut binomial = Rational::ONE;
    for (k, coefficient) in coefficients.iter_mut().skip(1).enumerate() {
        let term = s * &binomial;
        if k % 2 == 0 {
            *coefficient -= term;
        } else {
            *coefficient += term;
        }
        binomial = binomial * Rational::from(n - 1 - k) / Rational::from(k + 1);
    }
}
