//! `sdlab claims`: what is claimed, and on one claim everything that is known.

use super::verify::{choose, claim_value, run_all, snapshot, verdicts};
use super::{Answer, CliError, Session};
use crate::claims::{Context, REGISTRY};
use crate::stats::{Cell, Kind, Table};
use clap::Args;
use serde_json::{Value, json};

/// What the theory claims; for one claim, its verdict, evidence and correction
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Run this claim and show what is true instead, and on which evidence
    #[arg(value_name = "CLAIM")]
    claim: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab claims
  sdlab claims thm-3.7";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    match &arguments.claim {
        None => list(session),
        Some(name) => one(name, session),
    }
}

fn list(session: &Session) -> Result<Answer, CliError> {
    let columns = [("claim", Kind::Text), ("in the paper", Kind::Text), ("statement", Kind::Text)];
    let mut table = Table::new("claims", "claims", columns);
    for claim in REGISTRY {
        table.push([Cell::from(claim.id), Cell::from(claim.place), Cell::from(claim.statement)]);
    }
    session.output.table(&table)?;
    let machine = REGISTRY.iter().map(|claim| {
        json!({
            "id": claim.id,
            "place": claim.place,
            "statement": claim.statement,
            "latex": claim.latex,
            "on_instance": claim.on_instance.is_some(),
        })
    });
    session.output.json(&machine.collect::<Value>())?;
    Ok(Answer::Yes)
}

fn one(name: &str, session: &Session) -> Result<Answer, CliError> {
    let chosen = choose(&[name.to_owned()])?;
    let runs = run_all(&chosen, Context { seed: session.seed }, &snapshot(None)?);
    for run in &runs {
        let mut text = format!("{}\n\n{}\n\n{}\n", run.claim.place, run.claim.statement, run.claim.latex);
        text += "\nEvidence:\n";
        for evidence in &run.outcome.evidence {
            text += &format!("  {}\n", evidence.text);
            if let Some(proof) = &evidence.proof {
                text += &format!("    certificate `{}`: {}\n", proof.name, proof.certified.statement());
            }
        }
        if let Some(correction) = &run.outcome.correction {
            text += &format!("\nTrue instead:\n  {}\n  {}\n", correction.statement, correction.latex);
            for check in &correction.checks {
                text +=
                    &format!("  checked: {} ({} instances, {} failures)\n", check.what, check.trials, check.failures);
            }
        }
        session.output.table(&verdicts(&runs))?;
        session.output.text(&format!("\n{text}"))?;
        for table in &run.outcome.tables {
            session.output.table(table)?;
        }
        session.output.json(&claim_value(run)?)?;
    }
    Ok(Answer::Yes)
}
