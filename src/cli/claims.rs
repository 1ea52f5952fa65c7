//! `sdlab claims`: what is claimed, and on one claim everything that is known.

use super::names::choose;
use super::verify::{claim_value, run_all, snapshot, verdicts};
use super::{Answer, CliError, Session};
use crate::claims::sources::Source;
use crate::claims::{Claim, Context, Outcome, REGISTRY, Verdict};
use crate::report::bibliography;
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
    let recorded = snapshot(None)?;
    let columns = [
        ("subject", Kind::Text),
        ("claim", Kind::Text),
        ("in short", Kind::Text),
        ("in the paper", Kind::Text),
        ("recorded", Kind::Text),
    ];
    let mut table = Table::new("claims", "claims", columns);
    let mut last = "";
    for claim in REGISTRY {
        let subject = if claim.subject() == last { "" } else { claim.subject() };
        last = claim.subject();
        let verdict = recorded.get(claim.id).map_or(Cell::Missing, |word| Cell::from(word.as_str()));
        table.push([
            Cell::from(subject),
            Cell::from(claim.id),
            Cell::from(claim.title),
            Cell::from(claim.place),
            verdict,
        ]);
    }
    session.output.table(&table)?;
    session.output.text(
        "\nsdlab claims CLAIM says more of one; with --problem, sdlab verify decides some for a problem of yours.",
    )?;
    let machine = REGISTRY.iter().map(|claim| {
        json!({
            "id": claim.id,
            "subject": claim.subject(),
            "place": claim.place,
            "title": claim.title,
            "statement": claim.statement,
            "latex": claim.latex,
            "assumes": claim.assumes,
            "recorded": recorded.get(claim.id),
            "on_instance": claim.on_instance.is_some(),
        })
    });
    session.output.json(&machine.collect::<Value>())?;
    Ok(Answer::Yes)
}

fn one(name: &str, session: &Session) -> Result<Answer, CliError> {
    let chosen = choose(&[name.to_owned()])?;
    let [claim] = chosen[..] else {
        return Err(CliError::Request(format!("`{name}` means {} claims; name one", chosen.len())));
    };
    let runs = run_all(&chosen, Context { seed: session.seed }, &snapshot(None)?);
    session.output.table(&verdicts(&runs))?;
    for run in &runs {
        session.output.text(&described(claim, &run.outcome, session.seed))?;
        for table in &run.outcome.tables {
            session.output.text("")?;
            session.output.table(table)?;
        }
        session.output.json(&claim_value(run)?)?;
    }
    Ok(Answer::Yes)
}

/// Everything about one claim, in paragraphs.
fn described(claim: &Claim, outcome: &Outcome, seed: u64) -> String {
    let verdict = match &outcome.verdict {
        Verdict::HoldsWith(hypothesis) => format!("holds with an added hypothesis: {hypothesis}"),
        Verdict::Undecided(why) => format!("undecided: {why}"),
        other => other.word().to_owned(),
    };
    let mut text = String::new();
    let mut part = |heading: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{heading}\n  {}\n", lines.join("\n  "));
        }
    };
    part(claim.place, vec![claim.statement.into(), claim.latex.into()]);
    part("Assumes", vec![claim.assumes.into()]);
    part("Verdict", vec![verdict]);
    let evidence = outcome.evidence.iter().flat_map(|evidence| {
        let proof = evidence.proof.as_ref();
        let proof = proof.map(|p| format!("  certificate `{}`: {}", p.name, p.certified.statement()));
        std::iter::once(evidence.text.clone()).chain(proof)
    });
    part("Evidence", evidence.collect());
    if let Some(correction) = &outcome.correction {
        let checks = correction.checks.iter();
        let checks = checks.map(|c| format!("checked: {} ({} trials, {} failures)", c.what, c.trials, c.failures));
        part(
            "True instead",
            [correction.statement.clone(), correction.latex.clone()].into_iter().chain(checks).collect(),
        );
    }
    let quantities = outcome.quantities.iter().map(|q| format!("{} = {}: {}", q.name, q.value.text(), q.meaning));
    part("Numbers", quantities.collect());
    part("Replay", replay(claim, outcome, seed));
    part("Sources", claim.sources.iter().map(Source::sentence).collect());
    part("Cite", vec![bibliography::citation(claim)]);
    let bibtex = bibliography::sources(claim);
    part("BibTeX", bibtex.iter().flat_map(|source| source.bibtex.lines()).map(str::to_owned).collect());
    text
}

/// The command lines that reach the verdict again and check its certificates without sdlab.
fn replay(claim: &Claim, outcome: &Outcome, seed: u64) -> Vec<String> {
    let seed = if seed == 0 { String::new() } else { format!(" --seed {seed}") };
    let mut verify = format!("sdlab verify {}{seed}", claim.id);
    let mut lines = Vec::new();
    if outcome.evidence.iter().any(|e| e.proof.is_some()) {
        verify += " --certificates proofs";
        lines.extend(["sdlab-verify proofs".to_owned(), "python3 verify/check.py proofs".to_owned()]);
    }
    lines.insert(0, verify);
    lines.push(format!("cargo test --release --test claims {}", claim.id.replace(['-', '.'], "_")));
    lines
}
