//! Every claim reaches its verdict by computation, for several seeds, with certificates that the checker accepts.

use sdlab::claims::{Context, Outcome, Verdict, find};
use sdlab::theory::partial_optimum::decide;
use sdlab::theory::pattern::Pattern;
use sdlab::theory::problem::Problem;

/// Seeds besides the default one: a verdict does not depend on them.
const SEEDS: [u64; 3] = [0, 1, 20_260];

fn outcomes(id: &str) -> Vec<Outcome> {
    let claim = find(id).expect("the claim is registered");
    SEEDS.iter().map(|&seed| (claim.run)(&Context { seed })).collect()
}

fn assert_refuted_with(id: &str, kind: &str) {
    for (seed, outcome) in SEEDS.iter().zip(outcomes(id)) {
        assert_eq!(outcome.verdict, Verdict::Refuted, "{id}, seed {seed}");
        let proofs: Vec<_> = outcome.evidence.iter().filter_map(|e| e.proof.as_ref()).collect();
        assert!(proofs.iter().any(|p| p.certified.kind() == kind), "{id}, seed {seed}: no {kind} certificate");
        let correction = outcome.correction.expect("a refuted claim is corrected");
        assert!(correction.checks.iter().all(|c| c.trials >= 100 && c.failures == 0), "{id}, seed {seed}: {:?}", correction.checks);
    }
}

#[test]
fn thm_3_2_hessian() {
    assert_refuted_with("thm-3.2-hessian", "not-separable");
}

#[test]
fn thm_3_7_construction() {
    assert_refuted_with("thm-3.7-construction", "not-partial-optimum");
}

#[test]
fn thm_3_7() {
    assert_refuted_with("thm-3.7", "no-partial-optimum");
}

#[test]
fn ex_3_5() {
    for outcome in outcomes("ex-3.5") {
        assert_eq!(outcome.verdict, Verdict::Holds);
        assert!(outcome.evidence.iter().any(|e| e.proof.as_ref().is_some_and(|p| p.certified.kind() == "local-min")));
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

#[test]
fn thm_3_7_on_a_users_instance_says_which_partitions_have_a_partial_optimum() {
    let claim = find("thm-3.7").unwrap();
    let on_instance = claim.on_instance.unwrap();
    let equal = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"1"}]}"#;
    let outcome = on_instance(&Problem::from_json(equal).unwrap(), &Context::default()).unwrap();
    assert_eq!(outcome.verdict, Verdict::Holds);
    let unequal = equal.replacen(r#""mass":"1""#, r#""mass":"2""#, 1);
    let outcome = on_instance(&Problem::from_json(&unequal).unwrap(), &Context::default()).unwrap();
    assert_eq!(outcome.verdict, Verdict::Refuted);
}
