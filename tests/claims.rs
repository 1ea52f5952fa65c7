//! Every claim reaches its verdict by computation, for several seeds, with certificates that the checker accepts.
//!
//! Each claim is one test of its own name: `cargo test --test claims thm_3_7`.

use sdlab::claims::{Context, Outcome, REGISTRY, Verdict, find};
use sdlab::theory::partial_optimum::decide;
use sdlab::theory::pattern::Pattern;
use sdlab::theory::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};

/// Two seeds besides the default one: a verdict does not depend on them.
const SEEDS: [u64; 3] = [0, 1, 20_260];

fn outcomes(id: &str) -> Vec<Outcome> {
    let claim = find(id).expect("the claim is registered");
    SEEDS.iter().map(|&seed| (claim.run)(&Context { seed })).collect()
}

/// For every seed: the verdict of the snapshot, certificates of these kinds, a correction of what is refuted, and every
/// check of it passed on at least 100 instances or draws.
fn assert_verdict(id: &str, kinds: &[&str]) {
    let snapshot = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/reports/verdicts.toml")).unwrap();
    let snapshot: BTreeMap<String, String> = toml::from_str(&snapshot).unwrap();
    for (seed, outcome) in SEEDS.iter().zip(outcomes(id)) {
        let at = format!("{id}, seed {seed}");
        assert_eq!(snapshot.get(id).map(String::as_str), Some(outcome.verdict.word()), "{at}: {:?}", outcome.verdict);
        let proven: BTreeSet<&str> =
            outcome.evidence.iter().filter_map(|e| e.proof.as_ref()).map(|p| p.certified.kind()).collect();
        for kind in kinds {
            assert!(proven.contains(kind), "{at}: no {kind} certificate among {proven:?}");
        }
        assert!(outcome.verdict != Verdict::Refuted || outcome.correction.is_some(), "{at}: not corrected");
        let checks = outcome.correction.iter().flat_map(|c| &c.checks).collect::<Vec<_>>();
        assert!(checks.iter().all(|c| c.trials >= 100 && c.failures == 0), "{at}: {checks:?}");
    }
}

macro_rules! claims {
    ($($name:ident: $id:literal, certified by $kinds:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert_verdict($id, &$kinds);
            }
        )*
        /// The claims that have a test.
        const TESTED: &[&str] = &[$($id),*];
    };
}

claims! {
    eq_10: "eq-10", certified by ["arithmetic"];
    eq_10_jump: "eq-10-jump", certified by ["arithmetic", "pattern-witness", "pattern-empty"];
    thm_3_1: "thm-3.1", certified by ["exact-loss"];
    thm_3_1_threshold: "thm-3.1-threshold", certified by ["exact-loss"];
    thm_3_1_two_active: "thm-3.1-two-active", certified by ["arithmetic"];
    regime: "regime", certified by ["arithmetic"];
    thm_3_2: "thm-3.2", certified by ["not-convex"];
    thm_3_2_hessian: "thm-3.2-hessian", certified by ["not-separable"];
    thm_3_2_topk: "thm-3.2-topk", certified by ["not-convex"];
    thm_3_2_empirical: "thm-3.2-empirical", certified by ["pattern-witness", "exact-loss", "arithmetic"];
    thm_3_3: "thm-3.3", certified by ["loss-value"];
    thm_3_3_global: "thm-3.3-global", certified by ["loss-value", "zero-loss"];
    thm_3_3_fewer: "thm-3.3-fewer", certified by ["loss-value", "lower-bound"];
    thm_3_4: "thm-3.4", certified by ["exact-loss"];
    thm_3_4_dimension: "thm-3.4-dimension", certified by ["zero-loss", "jacobian-rank", "arithmetic"];
    thm_3_4_anchored: "thm-3.4-anchored", certified by ["zero-loss", "jacobian-rank", "arithmetic"];
    ex_3_5: "ex-3.5", certified by ["local-min", "loss-value"];
    thm_3_7_construction: "thm-3.7-construction", certified by ["not-partial-optimum"];
    thm_3_7: "thm-3.7", certified by ["pattern-witness", "no-partial-optimum"];
    thm_3_7_prevalence: "thm-3.7-prevalence", certified by ["no-partial-optimum"];
    thm_3_7_matchings: "thm-3.7-matchings", certified by ["local-min", "strict-saddle", "arithmetic"];
    thm_3_7_epsilon: "thm-3.7-epsilon", certified by ["no-partial-optimum", "epsilon-partial-optimum", "not-partial-optimum"];
    hierarchy_independence: "hierarchy-independence", certified by ["arithmetic", "exact-loss"];
    thm_3_10_relu: "thm-3.10-relu", certified by ["absorption"];
    thm_3_10_threshold: "thm-3.10-threshold", certified by ["absorption", "pattern-witness"];
    thm_3_10_top1: "thm-3.10-top1", certified by ["absorption"];
    escape: "escape", certified by ["loss-value", "arithmetic", "local-min"];
    table_1: "table-1", certified by ["arithmetic"];
    table_1_vs_4: "table-1-vs-4", certified by ["arithmetic"];
    table_1_counts: "table-1-counts", certified by ["arithmetic"];
    table_2: "table-2", certified by [];
    table_3: "table-3", certified by ["arithmetic"];
    table_4: "table-4", certified by ["arithmetic"];
    table_5: "table-5", certified by ["arithmetic"];
    table_6: "table-6", certified by ["arithmetic"];
    table_7: "table-7", certified by [];
}

#[test]
fn every_registered_claim_has_a_test_and_a_name_of_its_own() {
    let ids: Vec<&str> = REGISTRY.iter().map(|claim| claim.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(ids, TESTED);
}

#[test]
fn the_figure_of_the_readme_shows_every_claim() {
    let figure = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ledger.svg")).unwrap();
    assert!(figure.contains(&format!("each of the {} claims", REGISTRY.len())));
    for claim in REGISTRY {
        let shown = figure.lines().any(|line| line.trim() == claim.id);
        assert!(shown, "{}: copy figures/ledger.svg of a report to docs", claim.id);
    }
}

#[test]
fn titles_are_short_enough_for_a_table() {
    for claim in REGISTRY {
        let length = claim.title.chars().count();
        assert!((1..=64).contains(&length), "{}: {length} characters", claim.id);
    }
}

#[test]
fn the_smallest_counterexample_to_thm_3_7_has_two_features_and_two_dimensions() {
    for outcome in outcomes("thm-3.7") {
        let proof = outcome.evidence.iter().rev().find_map(|e| e.proof.as_ref()).expect("certified");
        let instance = proof.certificate.instance.as_ref().expect("about an instance");
        let problem = Problem::from_json(&instance.canonical_json()).unwrap();
        assert_eq!((problem.n(), problem.n_p()), (2, 2));
        let pattern = Pattern::new(vec![vec![0, 1]], 2).unwrap();
        assert_eq!(decide(&problem, &pattern).unwrap().exists, Some(false));
    }
}

/// Features e_1, e_2 of these masses.
fn axes(masses: [&str; 2]) -> Problem {
    let [first, second] = masses;
    let text = format!(
        r#"{{"format":1,"features":[{{"w_p":["1","0"],"mass":"{first}"}},{{"w_p":["0","1"],"mass":"{second}"}}]}}"#
    );
    Problem::from_json(&text).unwrap()
}

fn on_instance(id: &str, problem: &Problem) -> Result<Outcome, String> {
    find(id).unwrap().on_instance.unwrap()(problem, &Context::default())
}

#[test]
fn thm_3_10_on_a_users_instance_names_the_sets_that_cannot_be_split() {
    let cone = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["3/5","4/5"],"mass":"1"},
        {"w_p":["-3/5","4/5"],"mass":"1"}]}"#;
    let relu = Problem::from_json(cone).unwrap();
    let refuted = on_instance("thm-3.10-relu", &relu).unwrap();
    assert_eq!(refuted.verdict, Verdict::Refuted);
    let kinds: Vec<&str> =
        refuted.evidence.iter().filter_map(|e| e.proof.as_ref()).map(|p| p.certified.kind()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == "absorption"), "{kinds:?}");
    assert_eq!(on_instance("thm-3.10-relu", &axes(["1", "2"])).unwrap().verdict, Verdict::Holds);
    assert!(on_instance("thm-3.10-threshold", &relu).is_err());
    let raised = cone.replace("}]}", r#"}],"activation":{"kind":"threshold","c":"1/2"}}"#);
    let raised = Problem::from_json(&raised).unwrap();
    assert_eq!(on_instance("thm-3.10-threshold", &raised).unwrap().verdict, Verdict::Holds);
}

#[test]
fn the_printed_point_on_a_users_instance_is_refuted_where_masses_differ() {
    assert_eq!(on_instance("thm-3.7-construction", &axes(["1", "2"])).unwrap().verdict, Verdict::Refuted);
}

#[test]
fn thm_3_7_on_a_users_instance_says_which_partitions_have_a_partial_optimum() {
    assert_eq!(on_instance("thm-3.7", &axes(["1", "1"])).unwrap().verdict, Verdict::Holds);
    assert_eq!(on_instance("thm-3.7", &axes(["1", "2"])).unwrap().verdict, Verdict::Refuted);
}
