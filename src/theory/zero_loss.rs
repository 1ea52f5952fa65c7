//! The set of points without loss, {(V, W) : r_d = Vσ(Wp_d) for all d} (eq. 16), exactly.
//!
//! In a cell the condition is V Z(W) = R with Z_id = ⟨w_i,p_d⟩ where neuron i fires on d. For an encoder with rank Z = ρ and
//! row(R) ⊆ row(Z) the decoders form an affine space of dimension n_r (n_q − ρ). If both hold for all encoders near it, the zero set is
//! there a bundle over ℝ^{n_q×n_p} of dimension n_q n_p + n_r (n_q − ρ) ([`dimension`]), and the Jacobian of the residuals has
//! rank n_r ρ ([`jacobian`]).

use super::pattern::{Pattern, dot, firing};
use super::point::Point;
use super::problem::Problem;
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix;

/// Z = σ(WP), n_q rows of n codes.
pub fn codes(problem: &Problem, w_e: &[Vec<Rational>]) -> Vec<Vec<Rational>> {
    let mut Z = vec![vec![Rational::ZERO; problem.n()]; w_e.len()];
    for (d, feature) in problem.features().iter().enumerate() {
        let z: Vec<Rational> = w_e.iter().map(|row| dot(row, &feature.w_p)).collect();
        for i in firing(problem.activation(), &z) {
            Z[i][d] = z[i].clone();
        }
    }
    Z
}

/// Columns v_i of a decoder with V Z = R for this encoder, or `None` if there is none.
pub fn decoder(problem: &Problem, w_e: &[Vec<Rational>]) -> Option<Vec<Vec<Rational>>> {
    let transposed = matrix::transpose(&codes(problem, w_e));
    let rows: Option<Vec<Vec<Rational>>> = (0..problem.n_r())
        .map(|k| {
            let targets: Vec<Rational> = problem.features().iter().map(|f| f.w_r[k].clone()).collect();
            matrix::solve(&Rationals, &transposed, &targets)
        })
        .collect();
    rows.map(|rows| matrix::transpose(&rows))
}

/// r_d = Vσ(Wp_d) for every d (eq. 16)?
pub fn matches_every_feature(problem: &Problem, point: &Point) -> bool {
    (0..problem.n()).all(|d| matches(problem, point, d))
}

/// r_d = Vσ(Wp_d) for this d?
pub fn matches(problem: &Problem, point: &Point, d: usize) -> bool {
    let feature = &problem.features()[d];
    let z: Vec<Rational> = point.w_e.iter().map(|row| dot(row, &feature.w_p)).collect();
    let fired = firing(problem.activation(), &z);
    (0..problem.n_r()).all(|k| {
        let sum = fired.iter().fold(Rational::ZERO, |sum, &i| sum + &z[i] * &point.w_d[i][k]);
        sum == feature.w_r[k]
    })
}

/// The Jacobian of (V, W) ↦ Vσ(WP) in the point's cell: n·n_r rows, and n_q (n_r + n_p) columns, for neuron after neuron the entries of
/// v_i and then those of w_i.
pub fn jacobian(problem: &Problem, point: &Point) -> Vec<Vec<Rational>> {
    let Z = codes(problem, &point.w_e);
    let pattern = Pattern::of_encoder(problem, &point.w_e);
    let (n_p, n_r) = (problem.n_p(), problem.n_r());
    let width = n_r + n_p;
    let mut rows = Vec::with_capacity(problem.n() * n_r);
    for (d, feature) in problem.features().iter().enumerate() {
        for k in 0..n_r {
            let mut row = vec![Rational::ZERO; point.w_e.len() * width];
            for i in pattern.neurons_of(d) {
                row[i * width + k] = Z[i][d].clone();
                for (entry, p) in row[i * width + n_r..(i + 1) * width].iter_mut().zip(&feature.w_p) {
                    *entry = p * &point.w_d[i][k];
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// The rank of [`jacobian`].
pub fn jacobian_rank(problem: &Problem, point: &Point) -> usize {
    matrix::rank(&Rationals, &jacobian(problem, point))
}

/// rank Z.
pub fn code_rank(problem: &Problem, w_e: &[Vec<Rational>]) -> usize {
    matrix::rank(&Rationals, &codes(problem, w_e))
}

/// n_q n_p + n_r (n_q − ρ), the dimension of the zero set where all encoders nearby have rank Z = ρ and row(R) ⊆ row(Z).
pub fn dimension(n_q: usize, n_p: usize, n_r: usize, rank: usize) -> usize {
    n_q * n_p + n_r * (n_q - rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::problem::{Activation, Feature};

    fn vector(entries: &[i32]) -> Vec<Rational> {
        entries.iter().map(|&x| Rational::from(x)).collect()
    }

    fn sae(features: &[&[i32]]) -> Problem {
        let features =
            features.iter().map(|p| Feature { w_p: vector(p), w_r: vector(p), mass: Rational::ONE }).collect();
        Problem::new(features, Activation::Threshold(Rational::ZERO)).unwrap()
    }

    #[test]
    fn a_solved_decoder_has_no_loss_and_a_dead_encoder_has_no_decoder() {
        let problem = sae(&[&[1, 0], &[1, 1]]);
        let w_e = vec![vector(&[1, 0]), vector(&[0, 1])];
        let w_d = decoder(&problem, &w_e).unwrap();
        let mut point = Point { w_e, w_d };
        assert!(matches_every_feature(&problem, &point));
        assert_eq!(point.loss(&problem), Rational::ZERO);
        point.w_d[1][0] = Rational::ONE;
        assert!(matches(&problem, &point, 0) && !matches(&problem, &point, 1));
        assert_eq!(decoder(&problem, &[vector(&[-1, 0])]), None);
    }

    #[test]
    fn the_jacobian_is_the_exact_difference_quotient_of_the_residuals() {
        let problem = sae(&[&[1, 0], &[1, 2], &[-1, 1]]);
        let point =
            Point { w_e: vec![vector(&[2, 1]), vector(&[-1, 3])], w_d: vec![vector(&[1, -2]), vector(&[3, 1])] };
        let output = |point: &Point| -> Vec<Rational> {
            let Z = codes(&problem, &point.w_e);
            let entry = |d: usize, k: usize| (0..2).fold(Rational::ZERO, |s, i| s + &Z[i][d] * &point.w_d[i][k]);
            (0..3).flat_map(|d| (0..2).map(move |k| (d, k))).map(|(d, k)| entry(d, k)).collect()
        };
        let J = jacobian(&problem, &point);
        let step = Rational::ONE / Rational::from(1000);
        for column in 0..8 {
            // One entry moves, so that Vσ(WP) is affine and the quotient is the derivative.
            let mut moved = point.clone();
            let (i, at) = (column / 4, column % 4);
            let entry = if at < 2 { &mut moved.w_d[i][at] } else { &mut moved.w_e[i][at - 2] };
            *entry += &step;
            for (row, (after, before)) in J.iter().zip(output(&moved).iter().zip(&output(&point))) {
                assert_eq!((after - before) / &step, row[column]);
            }
        }
    }
}
