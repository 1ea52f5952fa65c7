//! `sdlab verify`: reaches the verdict on every claim, or on one's own problem.

use super::output::{Output, Progress};
use super::{Answer, CliError, Session, shown};
use crate::claims::{self, Claim, Context, Outcome, Verdict};
use crate::report::claims::tone;
use crate::stats::{Cell, Kind, Table};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reach the verdict on the claims of the theory, and compare it with the snapshot
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The claims, as `sdlab claims` lists them; all of them if none is named
    #[arg(value_name = "CLAIM")]
    claims: Vec<String>,
    /// Decide the claims for this problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: Option<String>,
    /// Write the certificates into this folder
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Compare with this snapshot instead of the built-in one
    #[arg(long, value_name = "FILE", conflicts_with = "problem")]
    snapshot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab verify
  sdlab verify thm-3.7 --certificates proofs
  sdlab verify thm-3.7 --problem problem.json

The verdict is computed first and compared with the snapshot (reports/verdicts.toml) afterwards. Exit status 1: a verdict
differs from the snapshot, or a claim is refuted for the given problem.";

/// Verdicts that were reached before.
const SNAPSHOT: &str = include_str!("../../reports/verdicts.toml");

/// A claim that was run.
pub struct Run {
    /// The claim.
    pub claim: &'static Claim,
    /// What came out.
    pub outcome: Outcome,
    /// The verdict in the snapshot.
    pub expected: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let context = Context { seed: session.seed };
    let chosen = choose(&arguments.claims)?;
    let (runs, own) = match &arguments.problem {
        Some(problem) => (on_problem(problem, &arguments.claims, &chosen, context, session)?, true),
        None => (run_all(&chosen, context, &snapshot(arguments.snapshot.as_deref())?), false),
    };
    session.output.table(&verdicts(&runs))?;
    say_details(&session.output, &runs)?;
    if let Some(folder) = &arguments.certificates {
        let count = save_certificates(&session.output, &runs, folder)?;
        let folder = folder.display();
        session.output.text(&format!("{count} certificates written; replay them with: sdlab certify {folder}"))?;
    }
    session.output.json(&machine(&runs, None)?)?;
    Ok(if own { own_answer(&runs) } else { answer(&runs) })
}

/// The claims of these names, or all.
pub fn choose(names: &[String]) -> Result<Vec<&'static Claim>, CliError> {
    if names.is_empty() {
        return Ok(claims::REGISTRY.iter().collect());
    }
    let find = |name: &String| {
        claims::find(name).ok_or_else(|| {
            let known: Vec<&str> = claims::REGISTRY.iter().map(|claim| claim.id).collect();
            CliError::Request(format!("claim `{name}` is not known; expected one of {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// The snapshot: claim to verdict word.
pub fn snapshot(path: Option<&Path>) -> Result<BTreeMap<String, String>, CliError> {
    let (name, text) = match path {
        None => ("reports/verdicts.toml".to_owned(), SNAPSHOT.to_owned()),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| CliError::Request(format!("{name}: cannot be read: {error}")))?;
            (name, text)
        }
    };
    toml::from_str(&text).map_err(|error| {
        let reason = error.message();
        CliError::Request(format!("{name}: expected lines such as thm-3.7 = \"refuted\": {reason}"))
    })
}

/// Runs claims one after the other.
pub fn run_all(chosen: &[&'static Claim], context: Context, snapshot: &BTreeMap<String, String>) -> Vec<Run> {
    let mut progress = Progress::new(chosen.len());
    let mut runs = Vec::new();
    for claim in chosen {
        progress.step(claim.id);
        let outcome = (claim.run)(&context);
        runs.push(Run { claim, outcome, expected: snapshot.get(claim.id).cloned() });
        progress.done();
    }
    progress.finish();
    runs
}

fn on_problem(
    problem: &str,
    named: &[String],
    chosen: &[&'static Claim],
    context: Context,
    session: &mut Session,
) -> Result<Vec<Run>, CliError> {
    let problem = session.inputs.problem(problem)?;
    let mut runs = Vec::new();
    for claim in chosen {
        let Some(decide) = claim.on_instance else {
            if named.is_empty() {
                continue;
            }
            return Err(CliError::Request(format!("claim `{}` does not speak of single problems", claim.id)));
        };
        let outcome = decide(&problem, &context).map_err(CliError::Request)?;
        runs.push(Run { claim, outcome, expected: None });
    }
    Ok(runs)
}

/// The verdicts as a table.
pub fn verdicts(runs: &[Run]) -> Table {
    let columns = [
        ("claim", Kind::Text),
        ("in the paper", Kind::Text),
        ("verdict", Kind::Verdict),
        ("certificates", Kind::Number),
        ("snapshot", Kind::Text),
    ];
    let mut table = Table::new("verdicts", "verify", columns);
    for run in runs {
        let expected = match &run.expected {
            Some(word) if word == run.outcome.verdict.word() => Cell::from("agrees"),
            Some(word) => Cell::from(format!("differs: {word}")),
            None => Cell::Missing,
        };
        table.push([
            Cell::from(run.claim.id),
            Cell::from(run.claim.place),
            Cell::verdict(tone(&run.outcome.verdict), run.outcome.verdict.word()),
            Cell::from(run.outcome.evidence.iter().filter(|e| e.proof.is_some()).count()),
            expected,
        ]);
    }
    table
}

fn say_details(output: &Output, runs: &[Run]) -> Result<(), CliError> {
    for run in runs {
        let detail = detail(&run.outcome.verdict).map_or(String::new(), |detail| format!(" {detail}"));
        let mut text = format!("\n{}: {}.{detail}\n", run.claim.id, run.outcome.verdict.word());
        for evidence in &run.outcome.evidence {
            text += &format!("  {}\n", evidence.text);
        }
        if let Some(correction) = &run.outcome.correction {
            text += &format!("  True instead: {}\n", correction.statement);
        }
        output.text(&text)?;
        for table in &run.outcome.tables {
            output.text("")?;
            output.table(table)?;
        }
    }
    Ok(())
}

fn detail(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::HoldsWith(hypothesis) => Some(hypothesis),
        Verdict::Undecided(why) => Some(why),
        Verdict::Holds | Verdict::Refuted => None,
    }
}

/// Writes every certificate of the runs under `folder`.
fn save_certificates(output: &Output, runs: &[Run], folder: &Path) -> Result<usize, CliError> {
    let mut count = 0;
    for run in runs {
        for proof in run.outcome.evidence.iter().filter_map(|e| e.proof.as_ref()) {
            let path = folder.join(format!("{}-{}.json", run.claim.id, proof.name));
            output.file(&path, (proof.certificate.to_json() + "\n").as_bytes())?;
            count += 1;
        }
    }
    Ok(count)
}

/// Yes if every verdict is that of the snapshot; undecided if one that is not could not be reached.
pub fn answer(runs: &[Run]) -> Answer {
    let differs = |run: &&Run| run.expected.as_deref() != Some(run.outcome.verdict.word());
    let differing: Vec<&Run> = runs.iter().filter(differs).collect();
    if differing.is_empty() {
        Answer::Yes
    } else if differing.iter().all(|run| matches!(run.outcome.verdict, Verdict::Undecided(_))) {
        Answer::Undecided
    } else {
        Answer::No
    }
}

fn own_answer(runs: &[Run]) -> Answer {
    if runs.iter().any(|run| run.outcome.verdict == Verdict::Refuted) {
        Answer::No
    } else if runs.iter().any(|run| matches!(run.outcome.verdict, Verdict::Undecided(_))) {
        Answer::Undecided
    } else {
        Answer::Yes
    }
}

/// One run as JSON (`docs/schema/claim.json`).
pub fn claim_value(run: &Run) -> Result<Value, CliError> {
    let evidence = run.outcome.evidence.iter().map(|evidence| {
        let proof = evidence.proof.as_ref();
        Ok(json!({
            "text": evidence.text,
            "name": proof.map(|p| p.name.clone()),
            "certificate": proof.map_or(Ok(Value::Null), |p| shown::certificate(&p.certificate))?,
            "statement": proof.map(|p| p.certified.statement()),
        }))
    });
    let correction = run.outcome.correction.as_ref().map(|correction| {
        let checks = correction.checks.iter();
        json!({
            "statement": correction.statement,
            "latex": correction.latex,
            "checks": checks.map(|c| json!({"what": c.what, "trials": c.trials, "failures": c.failures})).collect::<Vec<_>>(),
        })
    });
    Ok(json!({
        "id": run.claim.id,
        "place": run.claim.place,
        "statement": run.claim.statement,
        "latex": run.claim.latex,
        "verdict": run.outcome.verdict.word(),
        "detail": detail(&run.outcome.verdict),
        "evidence": evidence.collect::<Result<Vec<Value>, CliError>>()?,
        "correction": correction,
        "tables": run.outcome.tables,
        "expected": run.expected,
    }))
}

/// All runs as JSON (`docs/schema/verify.json`).
pub fn machine(runs: &[Run], page: Option<&Path>) -> Result<Value, CliError> {
    Ok(json!({
        "claims": runs.iter().map(claim_value).collect::<Result<Vec<Value>, CliError>>()?,
        "as_expected": answer(runs) == Answer::Yes,
        "page": page.map(|p| p.display().to_string()),
    }))
}
