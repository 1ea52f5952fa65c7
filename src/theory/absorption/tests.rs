//! Absorption: where Thm 3.10 holds, where it does not, and the certificates of both.

use super::*;
use crate::theory::pattern::dot;
use crate::theory::region::testing::{
    accepted, grid, integer_columns, problem, q, refused, rng, threshold, unit_columns, written,
};
use rand::RngExt as _;

fn pattern(lists: &[&[usize]]) -> Pattern {
    Pattern::new(lists.iter().map(|l| l.to_vec()).collect(), 99).unwrap()
}

/// Absorbs, and has the certificate checked.
fn absorbed(problem: &Problem, pattern: &Pattern, neuron: usize) -> Absorption {
    let answer = absorb(problem, pattern, neuron).unwrap();
    accepted(&answer.certificate(problem, pattern, neuron));
    answer
}

fn unchanged_rows(answer: &Absorption, neuron: usize) -> bool {
    let Absorption::Possible { w_e, split, .. } = answer else { return false };
    (0..w_e.len()).all(|i| i == neuron || w_e[i] == split[i])
}

/// The patterns of random encoders that have a neuron with two features or more.
fn random_patterns(problem: &Problem, latents: usize, seed: u64) -> Vec<(Pattern, usize)> {
    let mut rng = rng(seed);
    let encoders = (0..10).map(|_| integer_columns(&mut rng, latents, problem.n_p(), 6)).collect::<Vec<_>>();
    let patterns = encoders.iter().map(|w_e| Pattern::of_encoder(problem, w_e));
    patterns.filter_map(|p| (0..latents).find(|&i| p.sets()[i].len() >= 2).map(|i| (p.clone(), i))).collect()
}

#[test]
fn at_threshold_zero_the_theorem_fails_on_three_features_of_the_plane() {
    let problem = written("1 0; 3/5 4/5; -3/5 4/5", threshold("0"));
    let hierarchy = pattern(&[&[0, 1]]);
    let answer = absorbed(&problem, &hierarchy, 0);
    let Absorption::Impossible { splits, .. } = &answer else { panic!("{answer:?}") };
    // Either split needs the row {2}, in the split pattern neuron 1 or neuron 0.
    assert_eq!(splits.iter().map(|(d, _)| *d).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn at_threshold_zero_the_answer_is_that_of_a_grid_of_rows() {
    let mut answers = [0, 0];
    for seed in 0..30 {
        let columns = integer_columns(&mut rng(seed), 4, 2, 2);
        let problem = problem(&columns, threshold("0"));
        let rows: std::collections::BTreeSet<_> =
            grid(2, 5).map(|w| Pattern::of_encoder(&problem, &[w]).sets()[0].clone()).collect();
        for set in rows.iter().filter(|set| set.len() >= 2) {
            let expected = set.iter().any(|d| {
                let rest = set.iter().copied().filter(|e| e != d).collect();
                rows.contains(&BTreeSet::from([*d])) && rows.contains(&rest)
            });
            let lists = pattern(&[&set.iter().copied().collect::<Vec<_>>()]);
            assert_eq!(matches!(absorbed(&problem, &lists, 0), Absorption::Possible { .. }), expected, "{columns:?}");
            answers[usize::from(expected)] += 1;
        }
    }
    assert!(answers.iter().all(|&a| a > 10), "both answers must occur: {answers:?}");
}

#[test]
fn above_threshold_zero_the_construction_splits_every_pattern_of_distinct_unit_features() {
    let mut tested = 0;
    for seed in 0..12 {
        let mut rng = rng(seed);
        let (n, n_p) = (rng.random_range(2..8), rng.random_range(2..4));
        let c = ["1", "1/1000", "5"][seed as usize % 3];
        let problem = problem(&unit_columns(&mut rng, n, n_p, 6), threshold(c));
        for (pattern, neuron) in random_patterns(&problem, 3, seed) {
            let answer = absorbed(&problem, &pattern, neuron);
            assert!(matches!(answer, Absorption::Possible { method: Method::Constructed, .. }), "{answer:?}");
            assert!(unchanged_rows(&answer, neuron));
            tested += 1;
        }
    }
    assert!(tested > 50, "{tested}");
}

#[test]
fn ties_at_the_least_activation_are_broken_even_against_silent_features_on_the_threshold() {
    // At w = (0, 2) features 0 and 1 have activation 6/5, 2 and 3 sit on the threshold 1. Feature 4 is only just silent
    // and so long that a small step of the row moves it far.
    let problem = written("4/5 3/5; -4/5 3/5; 1/2 1/2; -1/2 1/2; 100 49/100; 0 -1", threshold("1"));
    let w_e = vec![vec![q("0"), q("2")]];
    let set = BTreeSet::from([0, 1]);
    let proposal = construct::shrink(&problem, &q("1"), &w_e, &set, 0).unwrap();
    let before = Pattern::of_encoder(&problem, &w_e);
    assert_eq!(before, pattern(&[&[0, 1]]));
    assert_eq!(Pattern::of_encoder(&problem, &proposal.w_e), before.split(0, proposal.feature));
}

#[test]
fn with_features_of_different_lengths_the_theorem_fails_above_threshold_zero_too() {
    // A row that fires on p fires on 2p.
    let problem = written("1; 2", threshold("1"));
    assert!(matches!(absorbed(&problem, &pattern(&[&[0, 1]]), 0), Absorption::Impossible { .. }));
    // So it does with a repeated unit feature.
    let problem = written("3/5 4/5; 3/5 4/5", threshold("1"));
    assert!(matches!(absorbed(&problem, &pattern(&[&[0, 1]]), 0), Absorption::Impossible { .. }));
}

#[test]
fn where_the_construction_fails_linear_programs_find_a_split_that_exists() {
    // Feature 0 has the least activation, but no row of its own; feature 2 has one.
    let problem = written("1 0; 2 0; 0 3", threshold("1"));
    let answer = absorbed(&problem, &pattern(&[&[0, 1, 2]]), 0);
    assert!(matches!(answer, Absorption::Possible { feature: 2, method: Method::Decided, .. }), "{answer:?}");
}

#[test]
fn under_top_1_with_a_relu_patterns_that_cover_all_features_split_by_an_extreme_ray() {
    let mut tested = 0;
    for seed in 0..60 {
        let mut rng = rng(seed);
        let (n, n_p) = (rng.random_range(2..6), rng.random_range(2..4));
        let problem = problem(&unit_columns(&mut rng, n, n_p, 4), Activation::TopKRelu(1));
        let covers = |p: &Pattern| p.sets().iter().map(BTreeSet::len).sum::<usize>() == n;
        for (pattern, neuron) in random_patterns(&problem, 3, seed).into_iter().filter(|(p, _)| covers(p)) {
            let answer = absorbed(&problem, &pattern, neuron);
            assert!(matches!(answer, Absorption::Possible { method: Method::Constructed, .. }), "{answer:?}");
            let Absorption::Possible { w_e, split, .. } = &answer else { continue };
            assert_eq!(w_e[..], split[..w_e.len()], "all rows stay");
            tested += 1;
        }
    }
    assert!(tested > 50, "{tested}");
}

#[test]
fn under_top_1_with_a_relu_the_theorem_fails_where_two_silent_features_are_antipodal() {
    // Silence on ±(0, 1) makes every row a multiple of (1, 0), on which features 0 and 1 are equal.
    let problem = written("4/5 3/5; 4/5 -3/5; 0 1; 0 -1", Activation::TopKRelu(1));
    let answer = absorbed(&problem, &pattern(&[&[0, 1]]), 0);
    let Absorption::Impossible { splits, .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(splits.len(), 2);
    // Without the fourth feature there is room.
    let problem = written("4/5 3/5; 4/5 -3/5; 0 1", Activation::TopKRelu(1));
    assert!(matches!(absorbed(&problem, &pattern(&[&[0, 1]]), 0), Absorption::Possible { .. }));
}

#[test]
fn top_1_without_a_relu_and_larger_k_are_decided_by_linear_programs() {
    let top_1 = written("1 0; 0 1; -1 -1", Activation::TopK(1));
    let answer = absorbed(&top_1, &pattern(&[&[0, 1], &[2]]), 0);
    assert!(matches!(answer, Absorption::Possible { method: Method::Decided, .. }), "{answer:?}");
    // One neuron more leaves every other feature with too few neurons under top-2.
    let top_2 = written("1 0; 0 1; -1 -1", Activation::TopK(2));
    assert!(matches!(absorbed(&top_2, &pattern(&[&[0, 1, 2]]), 0), Absorption::Impossible { .. }));
    let relu = written("1 0; 0 1; -1 -1", Activation::TopKRelu(2));
    assert!(matches!(absorbed(&relu, &pattern(&[&[0, 1]]), 0), Absorption::Possible { .. }));
}

#[test]
fn an_unrealizable_pattern_is_answered_with_its_proof() {
    let problem = written("1; -1", threshold("0"));
    assert!(matches!(absorbed(&problem, &pattern(&[&[], &[0, 1]]), 1), Absorption::NotRealizable { .. }));
}

#[test]
fn questions_without_a_neuron_to_split_are_refused() {
    let problem = written("1; -1", threshold("0"));
    let error = |lists: &[&[usize]], neuron| absorb(&problem, &pattern(lists), neuron).unwrap_err();
    assert_eq!(error(&[&[0]], 1), AbsorptionError::OutOfRange { neuron: 1, latents: 1 });
    assert_eq!(error(&[&[0]], 0), AbsorptionError::TooSmall { neuron: 0, size: 1 });
    assert_eq!(error(&[&[0, 2]], 0), AbsorptionError::Region(RegionError::OutOfRange { feature: 2, n: 2 }));
}

#[test]
fn the_published_construction_kills_a_neuron_whose_activation_lies_below_the_raised_threshold() {
    // c = 1, a_min = 3, c′ = 2; the other neuron has 1.1 on feature 2.
    let problem = written("1 0 0; 3/5 4/5 0; 0 0 1", threshold("1"));
    let w_e = vec![vec![q("3"), q("4"), q("0")], vec![q("0"), q("0"), q("11/10")]];
    let published = published(&problem, &w_e, 0).unwrap();
    assert_eq!(published.feature, 0);
    assert!(published.threshold > q("2") && published.threshold < q("10/3"), "{}", published.threshold);
    assert_eq!(published.killed(), [(1, 2)]);
    assert_eq!(published.revived(), []);
    // With a fixed threshold nothing is lost.
    let answer = absorbed(&problem, &Pattern::of_encoder(&problem, &w_e), 0);
    assert!(matches!(answer, Absorption::Possible { .. }) && unchanged_rows(&answer, 0));
    // A neuron above the raised threshold survives the published construction.
    let strong = vec![w_e[0].clone(), vec![q("0"), q("0"), q("21/10")]];
    assert_eq!(super::published(&problem, &strong, 0).unwrap().killed(), []);
}

#[test]
fn the_published_construction_loses_all_features_of_a_tie_but_the_one_it_moves() {
    let problem = written("4/5 3/5; -4/5 3/5; 0 1", threshold("1"));
    let published = published(&problem, &[vec![q("0"), q("2")]], 0).unwrap();
    assert_eq!(published.killed(), [(0, 1)]);
}

#[test]
fn the_published_construction_is_refused_without_a_threshold() {
    let problem = written("1; 2", Activation::TopK(1));
    let error = AbsorptionError::Region(RegionError::NotThreshold);
    assert_eq!(published(&problem, &[vec![q("1")]], 0), Err(error));
}

#[test]
fn the_added_row_of_the_construction_is_2c_over_1_plus_the_positive_part_of_the_largest_interference() {
    for (columns, interference) in [("1 0; 3/5 4/5; -4/5 3/5", "3/5"), ("4/5 3/5; -4/5 3/5; 0 -1", "0")] {
        let problem = written(columns, threshold("7"));
        let answer = absorbed(&problem, &pattern(&[&[0, 1]]), 0);
        let Absorption::Possible { w_e, feature, split, .. } = &answer else { panic!("{answer:?}") };
        let p = &problem.features()[*feature].w_p;
        let factor = q("14") / (q("1") + q(interference));
        assert_eq!(split[1], p.iter().map(|x| x * &factor).collect::<Vec<_>>());
        assert_eq!(dot(&split[0], p), q("7"));
        assert!(dot(&w_e[0], p) > q("7"));
    }
}

#[test]
fn a_changed_certificate_of_absorption_is_refused() {
    let answers = [("0", "3/5 4/5"), ("1", "3/5 4/5")].map(|(c, p)| {
        let problem = written(&format!("1 0; {p}; -3/5 4/5"), threshold(c));
        let pattern = pattern(&[&[0, 1]]);
        absorb(&problem, &pattern, 0).unwrap().certificate(&problem, &pattern, 0)
    });
    let mut changes = [0, 0];
    for certificate in &answers {
        let format::Body::Absorption(body) = &certificate.body else { panic!("{certificate:?}") };
        let check = |body: format::Absorption| refused(&Certificate { body: body.into(), ..certificate.clone() });
        check(format::Absorption { pattern: vec![vec![1]], ..body.clone() });
        match &body.split {
            Split::None(splits) => {
                let alone =
                    |k: usize| format::Absorption { split: Split::None(vec![splits[k].clone()]), ..body.clone() };
                (0..splits.len()).for_each(|k| check(alone(k)));
                let twice = Split::None(vec![splits[0].clone(), splits[0].clone()]);
                check(format::Absorption { split: twice, ..body.clone() });
                changes[0] += 1;
            }
            Split::Realizable { feature, w_e } => {
                let other = Split::Realizable { feature: 1 - feature, w_e: w_e.clone() };
                check(format::Absorption { split: other, ..body.clone() });
                let without = Split::Realizable { feature: *feature, w_e: body.w_e.clone() };
                check(format::Absorption { split: without, ..body.clone() });
                changes[1] += 1;
            }
        }
    }
    assert_eq!(changes, [1, 1]);
}
