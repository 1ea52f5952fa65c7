//! Certificates of patterns that were changed in one place are refused.

use super::testing::{integer_columns, problem, refused, rng, threshold};
use super::*;
use crate::theory::pattern::Pattern;
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use sdlab_verify::format::{Body, Rat};

/// A problem without zero features, and a pattern of two neurons.
fn random_question(rng: &mut ChaCha8Rng, round: usize) -> (Problem, Pattern) {
    let activation = [threshold("0"), threshold("3"), Activation::TopK(1), Activation::TopKRelu(1)][round % 4].clone();
    let mut columns = integer_columns(rng, 5, 2, 3);
    columns.retain(|p| p.iter().any(|x| !x.is_zero()));
    columns.push(vec![Rational::ONE; 2]);
    let owners: Vec<usize> = columns.iter().map(|_| rng.random_range(0..2)).collect();
    let lists = (0..2).map(|i| (0..columns.len()).filter(|&d| owners[d] == i).collect()).collect();
    (problem(&columns, activation), Pattern::new(lists, columns.len()).unwrap())
}

/// Every certificate that differs from `empty` in one coefficient, which is one larger.
fn with_a_larger_coefficient(empty: &PatternEmpty) -> Vec<PatternEmpty> {
    let mut places = empty.clone();
    let count = coefficients(&mut places.farkas).len();
    let changed = |k: usize| {
        let mut changed = empty.clone();
        let mut places = coefficients(&mut changed.farkas);
        places[k].0 += Rational::ONE;
        changed
    };
    (0..count).map(changed).collect()
}

fn coefficients(farkas: &mut Farkas) -> Vec<&mut Rat> {
    match farkas {
        Farkas::Row(row) => row.on.iter_mut().chain(&mut row.off).map(|(_, y)| y).collect(),
        Farkas::Count(_) => Vec::new(),
        Farkas::Comparisons(lists) => {
            let single = lists.positives.iter_mut().chain(&mut lists.nonpositives).map(|(_, _, y)| y);
            lists.comparisons.iter_mut().map(|(_, _, _, y)| y).chain(single).collect()
        }
    }
}

#[test]
fn a_certificate_with_a_changed_coefficient_or_pattern_is_refused() {
    let mut rng = rng(1);
    let mut tried = [0; 2];
    for round in 0..200 {
        let (problem, pattern) = random_question(&mut rng, round);
        let certificate = decide(&problem, &pattern).unwrap().certificate(&problem, &pattern);
        let changed = |body: Body| Certificate { body, ..certificate.clone() };
        match &certificate.body {
            Body::PatternEmpty(empty) => {
                for other in with_a_larger_coefficient(empty) {
                    refused(&changed(other.into()));
                    tried[0] += 1;
                }
            }
            Body::PatternWitness(witness) => {
                for d in 0..problem.n() {
                    let mut other = witness.clone();
                    match other.pattern[0].iter().position(|&e| e == d) {
                        Some(place) => drop(other.pattern[0].remove(place)),
                        None => other.pattern[0].push(d),
                    }
                    refused(&changed(other.into()));
                }
                tried[1] += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(tried[0] > 100 && tried[1] > 20, "both kinds must occur: {tried:?}");
}
