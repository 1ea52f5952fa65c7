//! Theorem 3.10 for a user's own problem with a threshold: every firing set of a row, and whether it has a split.
//!
//! Under a threshold the rows of a realizable pattern do not depend on one another, so that the theorem is about one row.

use super::splits::{hypotheses, listed, relation};
use super::{Claim, Evidence, Outcome, Verdict};
use crate::stats::{Cell, Kind, Table};
use crate::theory::absorption::{Absorption, absorb};
use crate::theory::pattern::Pattern;
use crate::theory::problem::Problem;
use crate::theory::region::enumerate_rows;

/// Steps of the enumeration of firing sets.
const BUDGET: u64 = 20_000;

/// Decides the claim for every realizable firing set of two features or more.
pub fn decide(problem: &Problem, claim: &Claim) -> Result<Outcome, String> {
    if !hypotheses(problem) {
        return Err(format!("features: {} needs distinct features w_p of norm 1", claim.id));
    }
    let rows = enumerate_rows(problem, BUDGET).map_err(|error| error.to_string())?;
    let columns = [("fires on", Kind::Text), ("splits off", Kind::Text), ("without a split, because", Kind::Text)];
    let mut table = Table::new("splits", claim.id, columns)
        .title("Firing sets of two features or more, and the feature that can get a neuron of its own");
    let mut evidence = Vec::new();
    let (mut sets, mut without) = (0, 0);
    for row in rows.into_iter().filter(|row| row.set.len() >= 2) {
        sets += 1;
        let fires = listed(row.set.iter().copied());
        let pattern = Pattern::new(vec![row.set.into_iter().collect()], problem.n()).map_err(|e| e.to_string())?;
        let answer = absorb(problem, &pattern, 0).map_err(|error| error.to_string())?;
        let (feature, why) = match &answer {
            Absorption::Possible { feature, .. } => (Cell::from(format!("p_{}", feature + 1)), Cell::from("")),
            Absorption::Impossible { splits, .. } => {
                let reasons = splits.iter().filter_map(|(_, farkas)| relation(farkas)).collect::<Vec<_>>().join("; ");
                without += 1;
                let text = format!("A neuron that fires on {fires} has no realizable split: {reasons}.");
                let certificate = answer.certificate(problem, &pattern, 0);
                let item = Evidence::certified(text, &format!("no-split-{without}"), certificate);
                evidence.push(item.map_err(|refusal| refusal.to_string())?);
                (Cell::Missing, Cell::from(reasons))
            }
            Absorption::NotRealizable { .. } => continue,
        };
        table.push([Cell::from(fires), feature, why]);
    }
    evidence.push(Evidence::computed(format!(
        "{sets} sets of two features or more are the firing set of a row; {without} of them have no realizable split."
    )));
    let verdict = if without > 0 { Verdict::Refuted } else { Verdict::Holds };
    let mut outcome = Outcome::new(verdict, evidence);
    outcome.tables.push(table);
    Ok(outcome)
}
