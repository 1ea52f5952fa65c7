//! `sdlab verify`: reaches the verdict on every claim, or on one's own problem.

use super::names::choose;
use super::output::{Output, Progress};
use super::{Answer, CliError, Session, shown};
use crate::claims::ledger::{self, Finished};
use crate::claims::{Claim, Context, Outcome, Verdict};
use crate::report::claims::tone;
use crate::report::{bibliography, macros};
use crate::stats::{Cell, Kind, Table};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Reach the verdict on the claims of the theory, and compare it with the recorded one
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The claims, as `sdlab claims` lists them, or patterns such as `table-*`; all of them if none is named
    #[arg(value_name = "CLAIM")]
    claims: Vec<String>,
    /// Show the evidence of every claim; of one claim alone it is always shown
    #[arg(long)]
    details: bool,
    /// Decide the claims for this problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: Option<String>,
    /// Write the certificates into this folder
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Compare with the verdicts in this file instead of the built-in ones
    #[arg(long, value_name = "FILE", conflicts_with = "problem")]
    snapshot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab verify
  sdlab verify 'thm-3.7*' --details
  sdlab verify thm-3.7 --certificates proofs
  sdlab verify thm-3.7 --problem problem.json

Every verdict is computed first and compared with the recorded one (reports/verdicts.toml) afterwards. Exit status 1: a
verdict differs from the recorded one, or a claim is refuted for the given problem. Exit status 3: the only difference is
that a verdict could not be reached.";

/// Verdicts that were reached before.
const SNAPSHOT: &str = include_str!("../../reports/verdicts.toml");

/// A claim that was run.
pub struct Run {
    /// The claim.
    pub claim: &'static Claim,
    /// What came out.
    pub outcome: Outcome,
    /// Wall-clock seconds that it took.
    pub seconds: f64,
    /// The recorded verdict.
    pub expected: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let begun = Instant::now();
    let context = Context { seed: session.seed };
    let chosen = choose(&arguments.claims)?;
    let (runs, own) = match &arguments.problem {
        Some(problem) => (on_problem(problem, &chosen, context, session)?, true),
        None => (run_all(&chosen, context, &snapshot(arguments.snapshot.as_deref())?), false),
    };
    session.output.table(&verdicts(&runs))?;
    session.output.text(&format!("\n{}", summary(&runs, begun.elapsed().as_secs_f64(), own)))?;
    if arguments.details || runs.len() == 1 {
        say_details(&session.output, &runs)?;
    }
    if let Some(folder) = &arguments.certificates {
        let count = save_certificates(&session.output, &runs, folder)?;
        let folder = folder.display();
        session.output.text(&format!("{count} certificates written; replay them with: sdlab certify {folder}"))?;
    }
    session.output.json(&machine(&runs, None)?)?;
    Ok(if own { own_answer(&runs) } else { answer(&runs) })
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

/// Runs claims, as many at a time as there are cores, and says which ones are running once that takes long.
pub fn run_all(chosen: &[&'static Claim], context: Context, snapshot: &BTreeMap<String, String>) -> Vec<Run> {
    let mut progress = Progress::new(chosen.len());
    let finished = ledger::run(
        chosen,
        ledger::cores(),
        |claim| (claim.run)(&context),
        |state| {
            progress.set(state.done, &state.running.join(", "));
        },
    );
    progress.finish();
    let run = |(claim, Finished { outcome, seconds }): (&&'static Claim, Finished)| Run {
        claim,
        outcome,
        seconds,
        expected: snapshot.get(claim.id).cloned(),
    };
    chosen.iter().zip(finished).map(run).collect()
}

fn on_problem(
    problem: &str,
    chosen: &[&'static Claim],
    context: Context,
    session: &mut Session,
) -> Result<Vec<Run>, CliError> {
    let problem = session.inputs.problem(problem)?;
    let mut runs = Vec::new();
    for claim in chosen {
        let Some(decide) = claim.on_instance else {
            if chosen.len() > 1 {
                continue;
            }
            return Err(CliError::Request(format!("claim `{}` does not speak of single problems", claim.id)));
        };
        let begun = Instant::now();
        match decide(&problem, &context) {
            Ok(outcome) => runs.push(Run { claim, outcome, seconds: begun.elapsed().as_secs_f64(), expected: None }),
            Err(reason) if chosen.len() == 1 => return Err(CliError::Request(reason)),
            Err(reason) => session.output.text(&format!("left out: {reason}"))?,
        }
    }
    Ok(runs)
}

/// The verdicts as a table; with a column for what changed, if anything did.
pub fn verdicts(runs: &[Run]) -> Table {
    let mut columns = vec![
        ("claim", Kind::Text),
        ("in short", Kind::Text),
        ("verdict", Kind::Verdict),
        ("evidence", Kind::Text),
        ("time", Kind::Number),
    ];
    let changed = runs.iter().any(|run| change(run).is_some());
    if changed {
        columns.insert(3, ("recorded", Kind::Text));
    }
    let mut table = Table::new("verdicts", "verify", columns);
    for run in runs {
        let mut row = vec![
            Cell::from(run.claim.id),
            Cell::from(run.claim.title),
            Cell::verdict(tone(&run.outcome.verdict), run.outcome.verdict.word()),
            Cell::from(in_short(&run.outcome)),
            Cell::from(format!("{:.2} s", run.seconds)),
        ];
        if changed {
            row.insert(3, Cell::from(change(run).unwrap_or_default()));
        }
        table.push(row);
    }
    table
}

/// What the recorded verdict was, if it was another. A problem of one's own has none.
fn change(run: &Run) -> Option<&str> {
    run.expected.as_deref().filter(|word| *word != run.outcome.verdict.word())
}

/// How much evidence there is.
fn in_short(outcome: &Outcome) -> String {
    let certificates = certificates(outcome);
    let trials: usize = outcome.correction.iter().flat_map(|c| &c.checks).map(|c| c.trials).sum();
    let parts = [(certificates, "certificate"), (trials, "trial")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|&(count, noun)| counted(count, noun));
    let text = parts.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "computed".into() } else { text }
}

fn certificates(outcome: &Outcome) -> usize {
    outcome.evidence.iter().filter(|e| e.proof.is_some()).count()
}

/// `1 claim`, `2 claims`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// One line on all of them, and one on what changed.
fn summary(runs: &[Run], seconds: f64, own: bool) -> String {
    let count = |word: &str| runs.iter().filter(|run| run.outcome.verdict.word() == word).count();
    let words = [
        ("holds", "hold"),
        ("holds-with", "hold with an added hypothesis"),
        ("refuted", "refuted"),
        ("undecided", "undecided"),
    ];
    let words = words.iter().map(|(word, text)| (count(word), text)).filter(|(n, _)| *n > 0);
    let verdicts = words.map(|(n, text)| format!("{n} {text}")).collect::<Vec<_>>().join(", ");
    let certificates = counted(runs.iter().map(|run| certificates(&run.outcome)).sum(), "certificate");
    let mut text = format!("{}: {verdicts}; {certificates}, {seconds:.1} s.", counted(runs.len(), "claim"));
    if own {
        return text;
    }
    let changed = runs.iter().filter(|run| change(run).is_some()).count();
    let new: Vec<&str> = runs.iter().filter(|run| run.expected.is_none()).map(|run| run.claim.id).collect();
    if changed == 0 && new.is_empty() {
        text += " Every verdict is the recorded one.";
    }
    if changed > 0 {
        text += &format!(
            " {} from what was recorded.",
            if changed == 1 { "1 verdict differs".into() } else { format!("{changed} verdicts differ") }
        );
    }
    if !new.is_empty() {
        text += &format!(" No verdict is recorded for {}.", new.join(", "));
    }
    text
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
    let sources = run.claim.sources.iter().map(|source| json!({"key": source.key, "bibtex": source.bibtex}));
    let quantities = run.outcome.quantities.iter();
    let quantities = quantities.map(|q| {
        let name = macros::name(run.claim.id, q.name);
        json!({"name": q.name, "meaning": q.meaning, "value": q.value, "text": q.value.text(), "macro": name})
    });
    Ok(json!({
        "id": run.claim.id,
        "subject": run.claim.subject(),
        "place": run.claim.place,
        "title": run.claim.title,
        "statement": run.claim.statement,
        "latex": run.claim.latex,
        "assumes": run.claim.assumes,
        "sources": sources.collect::<Vec<_>>(),
        "verdict": run.outcome.verdict.word(),
        "detail": detail(&run.outcome.verdict),
        "evidence": evidence.collect::<Result<Vec<Value>, CliError>>()?,
        "correction": correction,
        "tables": run.outcome.tables,
        "figures": run.outcome.figures.iter().map(|f| &f.name).collect::<Vec<_>>(),
        "quantities": quantities.collect::<Vec<_>>(),
        "cite": bibliography::citation(run.claim),
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
