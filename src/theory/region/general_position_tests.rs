//! General position against the rank of every subset.

use super::*;
use crate::exact::field::Rationals;
use crate::exact::matrix::rank;
use crate::theory::region::testing::{integer_columns, problem, rng, threshold, written};
use rand::RngExt as _;

/// All subsets of `size` columns are independent.
fn brute_force(columns: &[Vec<Rational>], size: usize) -> bool {
    (0u32..1 << columns.len()).filter(|bits| bits.count_ones() as usize == size).all(|bits| {
        let chosen: Vec<_> = (0..columns.len()).filter(|d| bits >> d & 1 == 1).map(|d| columns[d].clone()).collect();
        rank(&Rationals, &chosen) == size
    })
}

#[test]
fn the_answer_is_that_of_all_subsets() {
    let mut rng = rng(1);
    let mut general = [0, 0];
    for round in 0..400 {
        let (n, n_p) = (rng.random_range(1..8), rng.random_range(1..4));
        let columns = integer_columns(&mut rng, n, n_p, 1 + round as i64 % 7);
        let linear = brute_force(&columns, n.min(n_p));
        let affine: Vec<Vec<Rational>> =
            columns.iter().map(|p| p.iter().cloned().chain([Rational::ONE]).collect()).collect();
        for (c, expected) in [("0", linear), ("5", linear && brute_force(&affine, n.min(n_p + 1)))] {
            match general_position(&problem(&columns, threshold(c)), 1_000_000).unwrap() {
                Position::General => assert!(expected, "c={c} {columns:?}"),
                Position::Degenerate(features) => {
                    assert!(!expected, "c={c} {columns:?}");
                    let pick = |from: &[Vec<Rational>]| features.iter().map(|&d| from[d].clone()).collect::<Vec<_>>();
                    let dependent = |chosen: Vec<Vec<Rational>>| rank(&Rationals, &chosen) < chosen.len();
                    let linearly = features.len() <= n_p && dependent(pick(&columns));
                    assert!(linearly || c != "0" && dependent(pick(&affine)), "c={c} {features:?} {columns:?}");
                }
            }
            general[usize::from(c != "0")] += usize::from(expected);
        }
    }
    assert!(general.iter().all(|&g| (50..350).contains(&g)), "both answers must occur: {general:?}");
}

#[test]
fn a_minor_that_the_prime_divides_is_not_taken_for_zero() {
    // det = 2^61 − 1.
    let features = "2305843009213693951 1; 0 1";
    assert_eq!(general_position(&written(features, threshold("0")), 100), Ok(Position::General));
    let features = "2305843009213693951 1; 0 1; 0 -2";
    assert_eq!(general_position(&written(features, threshold("0")), 100), Ok(Position::Degenerate(vec![1, 2])));
}

#[test]
fn a_spent_budget_is_an_error() {
    let mut rng = rng(2);
    let large = problem(&integer_columns(&mut rng, 60, 12, 1000), threshold("0"));
    assert_eq!(general_position(&large, 5000), Err(RegionError::Budget { budget: 5000 }));
}
