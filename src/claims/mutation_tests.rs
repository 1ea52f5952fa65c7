//! Checks can fail: with a fault planted in the loss, the gradient, the cell test or the class rule, the claims that rest on it
//! no longer reach their verdict.

use super::{Claim, Context, REGISTRY, ledger};
use crate::fault::{self, Fault};
use std::collections::BTreeSet;

/// Claims that rest on the place of the fault, and must notice it. Others may.
fn resting(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::Loss => &["thm-3.2", "thm-3.2-hessian", "thm-3.2-topk", "thm-3.2-empirical", "ex-3.5", "escape"],
        Fault::Gradient => &["ex-3.5", "thm-3.7-construction", "thm-3.7-epsilon"],
        Fault::Cell => &["thm-3.2", "thm-3.2-hessian", "ex-3.5", "thm-3.7"],
        Fault::Class => &["thm-3.7", "thm-3.7-prevalence", "thm-3.7-matchings"],
    }
}

/// The word of every verdict, and the reason where there is none.
fn verdicts(planted: Option<Fault>) -> Vec<(&'static str, String)> {
    let claims: Vec<&'static Claim> = REGISTRY.iter().collect();
    let each = |claim: &'static Claim| fault::with(planted, || (claim.run)(&Context::default()));
    let finished = ledger::run(&claims, ledger::cores(), each, |_| ());
    claims.iter().zip(finished).map(|(claim, f)| (claim.id, format!("{:?}", f.outcome.verdict))).collect()
}

#[test]
fn every_planted_fault_is_noticed_by_the_claims_that_rest_on_it() {
    let right = verdicts(None);
    let undecided: Vec<_> = right.iter().filter(|(_, verdict)| verdict.starts_with("Undecided")).collect();
    assert!(undecided.is_empty(), "without a fault: {undecided:#?}");
    for planted in [Fault::Loss, Fault::Gradient, Fault::Cell, Fault::Class] {
        let wrong = verdicts(Some(planted));
        let noticed: Vec<_> = wrong.iter().zip(&right).filter(|(w, r)| w != r).map(|(w, _)| w).collect();
        println!("{planted:?} is noticed by {noticed:#?}");
        let ids: BTreeSet<&str> = noticed.iter().map(|(id, _)| *id).collect();
        let missed: Vec<_> = resting(planted).iter().filter(|id| !ids.contains(*id)).collect();
        assert!(missed.is_empty(), "{planted:?} is not noticed by {missed:?}");
    }
}
