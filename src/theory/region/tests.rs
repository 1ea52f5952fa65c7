//! Decisions against brute force, and their certificates against the checker.

use super::testing::{decided, grid, integer_columns, problem, rng, threshold, written};
use super::*;
use rand::RngExt as _;
use std::collections::BTreeSet;

fn pattern(lists: &[&[usize]]) -> Pattern {
    Pattern::new(lists.iter().map(|l| l.to_vec()).collect(), 99).unwrap()
}

/// All patterns of `latents` neurons on n features.
fn all_patterns(n: usize, latents: usize) -> impl Iterator<Item = Pattern> {
    (0u32..1 << (n * latents)).map(move |bits| {
        let set = |i: usize| (0..n).filter(|d| bits >> (i * n + d) & 1 == 1).collect();
        Pattern::new((0..latents).map(set).collect(), n).unwrap()
    })
}

#[test]
fn the_pattern_of_every_encoder_is_found_realizable_and_no_other_pattern_is() {
    // Small integer features have small integer witnesses, so a grid of encoders meets every cell, faces included.
    let activations =
        [threshold("0"), threshold("1"), Activation::TopK(1), Activation::TopKRelu(1), Activation::TopKRelu(2)];
    for (seed, activation) in (0..12).flat_map(|seed| activations.iter().map(move |a| (seed, a))) {
        let problem = problem(&integer_columns(&mut rng(seed), 3, 2, 1), activation.clone());
        let rows: Vec<_> = grid(2, 4).collect();
        let encoders = rows.iter().flat_map(|a| rows.iter().map(|b| vec![a.clone(), b.clone()]));
        let seen: BTreeSet<Pattern> = encoders.map(|w_e| Pattern::of_encoder(&problem, &w_e)).collect();
        for pattern in all_patterns(3, 2) {
            let realizable = decided(&problem, &pattern);
            assert_eq!(realizable, seen.contains(&pattern), "{} {pattern}", problem.to_json());
        }
    }
}

#[test]
fn patterns_of_random_encoders_are_realizable() {
    let mut rng = rng(1);
    for round in 0..120 {
        let (n, n_p, latents) = (rng.random_range(1..8), rng.random_range(1..5), rng.random_range(1..5));
        let k = rng.random_range(1..4);
        let activation =
            [threshold("0"), threshold("7/3"), Activation::TopK(k), Activation::TopKRelu(k)][round % 4].clone();
        let problem = problem(&integer_columns(&mut rng, n, n_p, 3), activation);
        let w_e = integer_columns(&mut rng, latents, n_p, 4);
        assert!(decided(&problem, &Pattern::of_encoder(&problem, &w_e)), "{}", problem.to_json());
    }
}

#[test]
fn a_split_of_the_counterexample_to_theorem_3_10_is_not_realizable() {
    let problem = written("1 0; 3/5 4/5; -3/5 4/5", threshold("0"));
    assert!(decided(&problem, &pattern(&[&[0, 1]])));
    assert!(!decided(&problem, &pattern(&[&[1]])));
    assert_eq!(
        decide_row(&problem, &BTreeSet::from([1])).unwrap(),
        // p_2 = (6/5) p_1 + p_3
        Row::Empty { on: vec![(1, 5.into())], off: vec![(0, 6.into()), (2, 5.into())] }
    );
}

#[test]
fn degenerate_features_are_decided_exactly() {
    for (columns, c, set, realizable) in [
        // antipodal: both silent needs ⟨w, p⟩ = 0
        ("1 0; -1 0; 0 1", "0", &[2][..], true),
        ("1 0; -1 0; 0 1", "0", &[0, 1], false),
        ("1 0; -1 0; 1 1; -1 1", "0", &[2], false),
        ("1 0; -1 0; 1 1; -1 1", "0", &[2, 3], true),
        // repeated and parallel
        ("1 2; 1 2", "0", &[0], false),
        ("1 2; 1 2", "1", &[1], false),
        ("1 2; 2 4", "0", &[1], false),
        ("1 2; 2 4", "1", &[1], true),
        ("1 2; 2 4", "1", &[0], false),
        // a zero feature never fires
        ("0 0; 1 1", "0", &[0], false),
        ("0 0; 1 1", "0", &[1], true),
        // 1e-40 apart from parallel or antipodal
        ("1 0; 1 1e-40", "0", &[0], true),
        ("1 0; -1 1e-40", "0", &[0, 1], true),
        ("1 0; -1 1e-40; -1 -1e-40", "0", &[0, 1, 2], false),
        ("1 0; -1 1e-40; -1 -1e-40", "0", &[0, 1], true),
        ("1 0; 1 1e-40", "1e-60", &[0], true),
        ("1 0; -1 1e-40", "1e60", &[0, 1], true),
        // a point 1e-40 inside, on, and 1e-40 outside the segment of two others
        ("1 0; 0 1; 1/2 0.4999999999999999999999999999999999999999", "1", &[2], false),
        ("1 0; 0 1; 1/2 1/2", "1", &[2], false),
        ("1 0; 0 1; 1/2 0.5000000000000000000000000000000000000001", "1", &[2], true),
    ] {
        let problem = written(columns, threshold(c));
        assert_eq!(decided(&problem, &pattern(&[set])), realizable, "{} {set:?}", problem.to_json());
    }
}

#[test]
fn top_1_gives_ties_to_the_lower_index() {
    let top_1 = written("1; -1", Activation::TopK(1));
    for (lists, realizable) in [
        (&[&[0, 1][..], &[]][..], true),
        // w_1 > w_0 on p and on −p is impossible, w_0 ≥ w_1 on both is not.
        (&[&[], &[0, 1]], false),
        (&[&[0], &[1]], true),
        (&[&[1], &[0]], true),
        // Every feature fires exactly one neuron.
        (&[&[0], &[]], false),
        (&[&[0, 1], &[1]], false),
    ] {
        assert_eq!(decided(&top_1, &pattern(lists)), realizable, "{lists:?}");
    }
    let relu = written("1; -1", Activation::TopKRelu(1));
    assert!(decided(&relu, &pattern(&[&[], &[]])));
    assert!(decided(&relu, &pattern(&[&[0], &[1]])));
    assert!(!decided(&relu, &pattern(&[&[0, 1], &[]])));
}

#[test]
fn top_k_with_k_above_the_number_of_neurons_fires_all_of_them() {
    let top_5 = written("1; 2", Activation::TopK(5));
    assert!(decided(&top_5, &pattern(&[&[0, 1], &[0, 1]])));
    assert!(!decided(&top_5, &pattern(&[&[0, 1], &[0]])));
    let relu = written("1; -1", Activation::TopKRelu(5));
    assert!(decided(&relu, &pattern(&[&[0], &[1], &[]])));
    assert!(!decided(&relu, &pattern(&[&[0, 1], &[1]])));
}

#[test]
fn decisions_do_not_depend_on_the_order_of_features_or_their_positive_scale() {
    let mut rng = rng(2);
    for _ in 0..60 {
        let n = rng.random_range(2..7);
        let columns = integer_columns(&mut rng, n, 3, 2);
        let factors: Vec<Rational> = (0..n).map(|_| Rational::from(rng.random_range(1..1000u32))).collect();
        let rotated: Vec<_> = (0..n).map(|d| columns[(d + 1) % n].clone()).collect();
        let scaled: Vec<Vec<Rational>> =
            columns.iter().zip(&factors).map(|(p, s)| p.iter().map(|x| x * s).collect()).collect();
        let set: Vec<usize> = (0..n).filter(|_| rng.random()).collect();
        let moved: Vec<usize> = set.iter().map(|d| (d + n - 1) % n).collect();
        let zero = threshold("0");
        let expected = decided(&problem(&columns, zero.clone()), &pattern(&[&set]));
        assert_eq!(decided(&problem(&rotated, zero.clone()), &pattern(&[&moved])), expected);
        assert_eq!(decided(&problem(&scaled, zero), &pattern(&[&set])), expected);
        // For c > 0 one factor for all features and the threshold changes nothing.
        let all: Vec<Vec<Rational>> = columns.iter().map(|p| p.iter().map(|x| x * &factors[0]).collect()).collect();
        let one = decided(&problem(&columns, threshold("1")), &pattern(&[&set]));
        assert_eq!(decided(&problem(&all, Activation::Threshold(factors[0].clone())), &pattern(&[&set])), one);
        // Strictly off at c = 0 or not, a row can be scaled above any threshold, so c > 0 only adds sets in general position.
        assert!(
            one || !expected
                || general_position(&problem(&columns, threshold("0")), 1000).unwrap() != Position::General
        );
    }
}

#[test]
fn witnesses_are_short() {
    // Features of 53 bits; a cell of full dimension has a witness of few bits.
    let mut rng = rng(3);
    for _ in 0..20 {
        let columns: Vec<Vec<Rational>> = (0..8)
            .map(|_| (0..3).map(|_| crate::exact::rational::from_f64(rng.random::<f64>() - 0.5).unwrap()).collect())
            .collect();
        let problem = problem(&columns, threshold("0"));
        for row in enumerate_rows(&problem, 1000).unwrap() {
            let bits: usize = row.w.iter().map(crate::exact::rational::bits).sum();
            assert!(bits < 60, "{:?}", row.w);
        }
    }
}

#[test]
fn a_pattern_of_another_problem_is_an_error() {
    let problem = written("1; 2", threshold("0"));
    let error = RegionError::OutOfRange { feature: 2, n: 2 };
    assert_eq!(decide(&problem, &pattern(&[&[0], &[2]])), Err(error.clone()));
    assert_eq!(decide_row(&problem, &BTreeSet::from([2])), Err(error.clone()));
    assert_eq!(facets(&problem, &BTreeSet::from([2])), Err(error));
    let top_k = written("1; 2", Activation::TopK(1));
    assert_eq!(decide_row(&top_k, &BTreeSet::from([0])), Err(RegionError::NotThreshold));
    assert_eq!(enumerate_rows(&top_k, 9), Err(RegionError::NotThreshold));
}
