//! What the tests of regions and of absorption share.

use super::{Realizability, decide};
use crate::exact::Rational;
use crate::exact::rational::parse;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sdlab_verify::Certificate;

pub(crate) fn q(text: &str) -> Rational {
    parse(text).unwrap()
}

/// A problem with these p_d; r_d and M_d do not matter for regions.
pub(crate) fn problem(columns: &[Vec<Rational>], activation: Activation) -> Problem {
    let feature = |p: &Vec<Rational>| Feature { w_p: p.clone(), w_r: vec![Rational::ONE], mass: Rational::ONE };
    Problem::new(columns.iter().map(feature).collect(), activation).unwrap()
}

/// A problem with these p_d, written as "1 0; 3/5 4/5".
pub(crate) fn written(columns: &str, activation: Activation) -> Problem {
    let columns: Vec<_> = columns.split(';').map(|p| p.split_whitespace().map(q).collect()).collect();
    problem(&columns, activation)
}

pub(crate) fn threshold(c: &str) -> Activation {
    Activation::Threshold(q(c))
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// n columns of integers of absolute value at most `bound`.
pub(crate) fn integer_columns(rng: &mut ChaCha8Rng, n: usize, n_p: usize, bound: i64) -> Vec<Vec<Rational>> {
    (0..n).map(|_| (0..n_p).map(|_| Rational::from(rng.random_range(-bound..=bound))).collect()).collect()
}

/// n unit columns with rational coordinates: the inverse stereographic images of small fractions.
pub(crate) fn unit_columns(rng: &mut ChaCha8Rng, n: usize, n_p: usize, bound: i64) -> Vec<Vec<Rational>> {
    let mut columns: Vec<Vec<Rational>> = Vec::new();
    while columns.len() < n {
        let t: Vec<Rational> = (1..n_p)
            .map(|_| Rational::from_parts(rng.random_range(-bound..=bound).into(), (bound as u64 / 2 + 1).into()))
            .collect();
        let norm = dot(&t, &t);
        let scale = Rational::from(2) / (&norm + Rational::ONE);
        let mut p: Vec<Rational> = t.iter().map(|x| x * &scale).collect();
        p.push((&norm - Rational::ONE) / (norm + Rational::ONE));
        if !columns.contains(&p) {
            columns.push(p);
        }
    }
    columns
}

/// All vectors with integer coordinates of absolute value at most `bound`.
pub(crate) fn grid(dimension: usize, bound: i64) -> impl Iterator<Item = Vec<Rational>> {
    let side = 2 * bound + 1;
    (0..side.pow(dimension as u32))
        .map(move |k| (0..dimension as u32).map(|j| Rational::from(k / side.pow(j) % side - bound)).collect())
}

/// Decides, has the certificate checked, and says whether the pattern is realizable.
pub(crate) fn decided(problem: &Problem, pattern: &Pattern) -> bool {
    let decision = decide(problem, pattern).unwrap();
    accepted(&decision.certificate(problem, pattern));
    matches!(decision, Realizability::Realizable { .. })
}

/// Panics unless the checker accepts the certificate.
pub(crate) fn accepted(certificate: &Certificate) {
    if let Err(refusal) = sdlab_verify::check(certificate) {
        panic!("{refusal}: {}", certificate.to_json());
    }
}

/// Panics if the checker accepts the certificate.
pub(crate) fn refused(certificate: &Certificate) {
    assert!(sdlab_verify::check(certificate).is_err(), "accepted: {}", certificate.to_json());
}
