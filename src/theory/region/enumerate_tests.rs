//! Enumerations against Cover's counts, against brute force and against random rows.

use super::*;
use crate::theory::pattern::Pattern;
use crate::theory::region::testing::{decided, integer_columns, problem, rng, threshold, unit_columns, written};
use rand::RngExt as _;

#[test]
fn in_general_position_the_count_is_covers() {
    let mut rng = rng(1);
    let mut seen = 0;
    for c in ["0", "3/2"] {
        for (n, n_p) in [(1, 1), (4, 1), (2, 2), (5, 2), (7, 2), (3, 3), (6, 3), (7, 4), (4, 6)] {
            for unit in [false, true] {
                let columns = match unit && n_p > 1 {
                    true => unit_columns(&mut rng, n, n_p, 30),
                    false => integer_columns(&mut rng, n, n_p, 20),
                };
                let count = count_rows(&problem(&columns, threshold(c)), 10_000).unwrap();
                if count.position == Position::General {
                    assert_eq!(count.count, count.cover, "n={n} n_p={n_p} c={c} {columns:?}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 28, "random features are almost always in general position, {seen} of 36 were");
}

#[test]
fn every_subset_is_listed_or_proved_empty() {
    let mut rng = rng(2);
    for round in 0..60 {
        let (n, n_p) = (rng.random_range(1..6), rng.random_range(1..4));
        // Entries of at most 1 in absolute value: zero, repeated, antipodal and dependent features are the rule.
        let problem = problem(&integer_columns(&mut rng, n, n_p, 1), threshold(["0", "1"][round % 2]));
        let listed: Vec<BTreeSet<usize>> =
            enumerate_rows(&problem, 1000).unwrap().into_iter().map(|row| row.set).collect();
        let subsets = (0u32..1 << n).map(|bits| (0..n).filter(|d| bits >> d & 1 == 1).collect::<Vec<_>>());
        let realizable: BTreeSet<BTreeSet<usize>> = subsets
            .filter(|s| decided(&problem, &Pattern::new(vec![s.clone()], n).unwrap()))
            .map(BTreeSet::from_iter)
            .collect();
        assert_eq!(BTreeSet::from_iter(listed.clone()), realizable, "{}", problem.to_json());
        assert_eq!(listed.len(), realizable.len(), "a set is listed twice");
    }
}

#[test]
fn rows_of_the_list_fire_on_their_sets_and_random_rows_on_no_others() {
    let mut rng = rng(3);
    for c in ["0", "1"] {
        let problem = problem(&unit_columns(&mut rng, 7, 3, 20), threshold(c));
        let rows = enumerate_rows(&problem, 10_000).unwrap();
        let mut unseen: BTreeSet<BTreeSet<usize>> = rows.iter().map(|row| row.set.clone()).collect();
        let all = unseen.clone();
        for row in &rows {
            assert_eq!(Pattern::of_encoder(&problem, std::slice::from_ref(&row.w)).sets()[0], row.set);
        }
        for _ in 0..3000 {
            let w = integer_columns(&mut rng, 1, 3, if c == "0" { 50 } else { 5 });
            let set = Pattern::of_encoder(&problem, &w).sets()[0].clone();
            assert!(all.contains(&set), "{w:?}");
            unseen.remove(&set);
        }
        // At c = 0 cells are cones, which 3000 random rows meet all but surely unless they are tiny.
        assert!(c != "0" || unseen.len() * 5 < all.len(), "{} of {} sets were never met", unseen.len(), all.len());
    }
}

#[test]
fn sets_realized_on_faces_alone_are_counted() {
    for (columns, c, expected, cover) in [
        // {∅} by w = 0 alone.
        ("1; -1", "0", 3, 3),
        ("1; -1", "1", 3, 3),
        // {2} needs ⟨w, p_0⟩ = ⟨w, p_1⟩ = 0; so does ∅, but not w = 0.
        ("1 0; -1 0; 0 1", "0", 6, 6),
        ("1 1; 1 1; 2 2", "0", 2, 6),
        ("1 1; 1 1; 2 2", "1", 3, 7),
        // Two antipodal pairs: each coordinate is positive, negative or zero.
        ("1 0; -1 0; 0 1; 0 -1", "0", 9, 9),
        ("0 0", "0", 1, 2),
    ] {
        let count = count_rows(&written(columns, threshold(c)), 1000).unwrap();
        assert_eq!((count.count, count.cover), (UBig::from(expected as u32), UBig::from(cover as u32)), "{columns:?}");
    }
}

#[test]
fn a_spent_budget_is_an_error() {
    let problem = written("1 0; 0 1", threshold("0"));
    // The root, two nodes that decide feature 0, four that decide feature 1 as well.
    assert_eq!(enumerate_rows(&problem, 6), Err(RegionError::Budget { budget: 6 }));
    assert_eq!(enumerate_rows(&problem, 7).unwrap().len(), 4);
}
