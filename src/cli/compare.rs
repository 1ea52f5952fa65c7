//! `sdlab compare`: optimizers on instances whose optima are known with certificates, or at bench scale.

use super::interrupt::Deferred;
use super::output::Progress;
use super::{Answer, CliError, Session};
use crate::compare::Comparison;
use crate::compare::config::OPTIMIZERS;
use crate::compare::measure::Folder;
use crate::compare::samples::config::METHODS;
use crate::compare::samples::method::Data;
use crate::compare::samples::{self, SamplesComparison};
use crate::compare::summary::{Answer as Answered, Summary, summarise};
use crate::stats::table::rounded;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Compare optimizers on instances whose optima are known with certificates, or at bench scale; resumable
#[derive(Debug, Args)]
#[command(after_help = examples())]
pub struct Arguments {
    /// The comparison as a TOML file, or `-`
    #[arg(value_name = "CONFIG")]
    config: String,
    /// The folder of the comparison [default: runs/compare/<name of the configuration>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove the results that the folder holds, and begin anew
    #[arg(long)]
    force: bool,
    /// Stop after so many instances of the whole comparison
    #[arg(long, value_name = "N")]
    max_instances: Option<usize>,
    /// At bench scale: stop every method after so many rounds
    #[arg(long, value_name = "N")]
    max_rounds: Option<u64>,
}

fn examples() -> String {
    let names: String = OPTIMIZERS.iter().map(|(name, what)| format!("  {name:18}  {what}\n")).collect();
    let methods: String = METHODS.iter().map(|(name, what)| format!("  {name:18}  {what}\n")).collect();
    format!(
        "Examples:
  sdlab compare configs/compare/default.toml
  sdlab compare configs/compare/default.toml --out runs/mine --seed 1
  sdlab certify runs/compare/default/certificates
  sdlab compare configs/compare/scale-small.toml

Optimizers:
{names}
Methods at bench scale, where the configuration has a [bench]:
{methods}
The folder holds config.toml (complete, with the tuned steps), results.jsonl, the problems in instances, and the certificates of
their bounds and optima. The same comparison writes the same bytes, but for timings.jsonl and provenance.json, unless its budget is one of seconds. A comparison
that was stopped goes on where it was when the command is given again."
    )
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let (name, text) = session.inputs.configuration(&arguments.config)?;
    let request = |error: String| CliError::Request(error);
    if SamplesComparison::is_meant(&text) {
        let comparison = SamplesComparison::from_toml(&text).map_err(|error| request(format!("{name}: {error}")))?;
        return at_scale(arguments, comparison, session);
    }
    let mut comparison = Comparison::from_toml(&text).map_err(|error| request(format!("{name}: {error}")))?;
    if let Some(seed) = session.given_seed {
        comparison.seed = seed;
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_folder(&arguments.config));
    let deferred = Deferred::begin();
    let mut folder = Folder::open(&path, comparison, arguments.force).map_err(request)?;
    let (all, done) = folder.progress();
    if done > 0 && done < all {
        session.output.text(&format!("going on after {done} of {all} instances"))?;
    }
    let until = arguments.max_instances.unwrap_or(all).min(all);
    let clock = std::time::Instant::now();
    let mut progress = Progress::new(all);
    let mut interrupted = false;
    for k in done..until {
        progress.set(k, "instances");
        folder.advance().map_err(request)?;
        interrupted = deferred.asked();
        if interrupted {
            break;
        }
    }
    progress.finish();
    let begun = done;
    let (_, done) = folder.progress();
    folder.finish(done - begun, clock.elapsed().as_secs_f64()).map_err(request)?;
    let mut answered = Vec::new();
    if let Some(Summary { answers, tables, .. }) = summarise(&folder.records, &folder.timings) {
        for table in &tables {
            session.output.table(table)?;
        }
        answered = say(&answers, session)?;
    }
    session.output.json(&json!({
        "folder": path.display().to_string(),
        "instances": all,
        "done": done,
        "runs": folder.records.iter().map(|record| record.runs.len()).sum::<usize>(),
        "answers": answered,
    }))?;
    session.output.text(&format!("\n{done} of {all} instances in {}", path.display()))?;
    Ok(if interrupted { Answer::Interrupted } else { Answer::Yes })
}

/// Writes the answers as text, and returns them as JSON.
fn say(answers: &[Answered], session: &Session) -> Result<Vec<serde_json::Value>, CliError> {
    for Answered { question, answer, .. } in answers {
        session.output.text(&format!("\n{question}\n  {answer}"))?;
    }
    let value = |said: &Answered| json!({ "question": said.question, "answer": said.answer });
    Ok(answers.iter().map(value).collect())
}

/// `runs/compare/` and the name of the configuration.
fn default_folder(config: &str) -> PathBuf {
    let stem = Path::new(config).file_stem().filter(|stem| *stem != "-");
    Path::new("runs/compare").join(stem.unwrap_or_else(|| "comparison".as_ref()))
}

/// A comparison at bench scale.
fn at_scale(
    arguments: &Arguments,
    mut comparison: SamplesComparison,
    session: &mut Session,
) -> Result<Answer, CliError> {
    let request = |error: String| CliError::Request(error);
    if let Some(seed) = session.given_seed {
        comparison.seed = seed;
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_folder(&arguments.config));
    let deferred = Deferred::begin();
    let mut folder = samples::folder::Folder::open(&path, comparison, arguments.force).map_err(request)?;
    let (pending, all) = (folder.pending(), folder.comparison().methods.len());
    let mut interrupted = false;
    if !pending.is_empty() {
        let data = Data::new(folder.comparison()).map_err(request)?;
        let mut progress = Progress::new(all);
        for (k, name) in pending.iter().enumerate() {
            let done = all - pending.len() + k;
            progress.set(done, name);
            let mut stop = |record: &samples::Record, timing: &samples::Timing| {
                let (loss, seconds) = (rounded(record.loss, 4), rounded(timing.seconds, 3));
                progress.set(done, &format!("{name}, round {}: loss {loss} after {seconds} s", record.round));
                interrupted = deferred.asked();
                interrupted
            };
            folder.advance(name, &data, arguments.max_rounds, &mut stop).map_err(request)?;
            if interrupted {
                break;
            }
        }
        progress.finish();
    }
    let (comparison, records) = (folder.comparison(), &folder.records);
    if let Some(Summary { answers, tables, .. }) =
        samples::summary::summarise("scale", comparison, records, &folder.timings)
    {
        for table in &tables {
            session.output.table(table)?;
        }
        let answers = say(&answers, session)?;
        session.output.json(&json!({
            "folder": path.display().to_string(), "methods": all, "done": all - folder.pending().len(),
            "rounds": records.len(), "answers": answers,
        }))?;
    }
    let done = all - folder.pending().len();
    session.output.text(&format!("\n{done} of {all} methods done in {}", path.display()))?;
    Ok(if interrupted { Answer::Interrupted } else { Answer::Yes })
}
