//! `sdlab report`: everything, as one page with figures, tables and certificates.

use super::names::choose;
use super::output::Progress;
use super::results::{compared, compared_at_scale, full, refresh, stored};
use super::verify::{answer, machine, run_all, snapshot, verdicts};
use super::{Answer, CliError, Session};
use crate::claims::Context;
use crate::io::origin::Checkout;
use crate::report::macros::Facts;
use crate::report::page::Exhibit;
use crate::report::provenance::{Provenance, checkout};
use crate::report::{claims, comparison, exhibits, page, trainings};
use crate::results::{live, low_dimension};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Reach every verdict and write a page with figures, tables and certificates
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The claims, as `sdlab claims` lists them; all of them if none is named
    #[arg(value_name = "CLAIM")]
    claims: Vec<String>,
    /// The folder to write into
    #[arg(long, value_name = "DIR", default_value = "reports/out")]
    out: PathBuf,
    /// The folder of stored results of trainings, files of JSON lines [default: reports/results, if there is one]
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// The folder of stored comparisons: one of optimizers, and in folders of their own those at the bench's scale [default: reports/compare,
    /// if there is one]
    #[arg(long, value_name = "DIR")]
    comparisons: Option<PathBuf>,
    /// First train the small experiments in configs/small again, and store their results as small.jsonl
    #[arg(long, group = "training")]
    refresh: bool,
    /// First train the experiments of the paper's size in configs/table*, and store their results as full.jsonl and table*.toml. Each has its folder,
    /// so that the command goes on after an interruption
    #[arg(long, group = "training")]
    full: bool,
    /// Train those of these tables of the paper only: some of 1, 4, 5, 6, 7
    #[arg(long, value_name = "N,..", value_delimiter = ',', requires = "training")]
    tables: Vec<u32>,
    /// Seeds of each experiment [default: 5, with --full 1]
    #[arg(long, value_name = "N", requires = "training")]
    seeds: Option<u64>,
    /// Train nothing: show stored results only. With claims that are named, which are shown alone otherwise, show stored results as well
    #[arg(long, conflicts_with = "training")]
    stored: bool,
    /// The folder of the runs of --full
    #[arg(long, value_name = "DIR", default_value = "runs/full", requires = "full")]
    runs: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  sdlab report
  sdlab report thm-3.7 --out thm-3.7
  sdlab report --stored                        trains nothing: stored results only
  sdlab report ex-3.5 --stored                 one claim, and stored results
  sdlab report --refresh --tables 1 --seeds 3
  sdlab report --full --tables 1

The folder then holds index.html, figures (SVG, PDF, PNG, and their data as CSV and JSON), tables (LaTeX, CSV, JSON),
certificates, macros.tex, references.bib, an example article in paper, and verdicts.json. The same version and seed write the
same bytes, except for provenance.json, which says when, where and how the report was made.";

impl Arguments {
    fn results(&self) -> &Path {
        self.results.as_deref().unwrap_or(Path::new("reports/results"))
    }

    fn comparisons(&self) -> &Path {
        self.comparisons.as_deref().unwrap_or(Path::new("reports/compare"))
    }

    /// A folder that is named is one to be read, unless results are stored there now.
    fn ensure_readable(&self) -> Result<(), CliError> {
        let results = self.results.as_ref().filter(|_| !self.refresh && !self.full);
        for (option, folder) in [("--results", results), ("--comparisons", self.comparisons.as_ref())] {
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let message = format!("{option}: expected a folder that exists, found {}", folder.display());
                return Err(CliError::Request(message));
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let (started, clock) = (SystemTime::now(), Instant::now());
    let chosen = choose(&arguments.claims)?;
    arguments.ensure_readable()?;
    ensure_writable(&arguments.out)?;
    let source = checkout();
    let revision = source.as_ref().map(Checkout::revision);
    if arguments.refresh {
        let file = arguments.results().join("small.jsonl");
        refresh(&arguments.tables, &file, arguments.seeds.unwrap_or(5), revision.as_deref(), &session.output)?;
    }
    if arguments.full {
        let Arguments { tables, runs, .. } = arguments;
        if !full(tables, arguments.results(), runs, arguments.seeds.unwrap_or(1), session)? {
            return Ok(Answer::Interrupted);
        }
    }
    // Trainings belong to the whole report; a report of some claims is about these.
    let whole = arguments.claims.is_empty() || arguments.stored;
    let exhibits = if whole { exhibits(arguments, revision.as_deref(), session)? } else { Vec::new() };
    let runs = run_all(&chosen, Context { seed: session.seed }, &snapshot(None)?);
    let shown: Vec<_> = runs.iter().map(|run| (run.claim, &run.outcome)).collect();
    let facts = Facts { version: env!("CARGO_PKG_VERSION"), seed: session.seed, commit: revision };
    page::write(&claims::page(&shown, exhibits, &facts), &arguments.out)
        .map_err(|e| CliError::Request(e.to_string()))?;
    let index = arguments.out.join("index.html");
    // The file does not say where it lies, so that two folders compare equal.
    session.output.file(&arguments.out.join("verdicts.json"), format!("{:#}\n", machine(&runs, None)?).as_bytes())?;
    let command = command(arguments, session.seed);
    let provenance = Provenance::new(command, session.seed, source, started, clock.elapsed());
    let provenance = serde_json::to_string_pretty(&provenance).map_err(|e| CliError::Request(e.to_string()))?;
    session.output.file(&arguments.out.join("provenance.json"), (provenance + "\n").as_bytes())?;
    session.output.table(&verdicts(&runs))?;
    session.output.text(&format!("\nPage written: {}", index.display()))?;
    session.output.json(&machine(&runs, Some(&index))?)?;
    Ok(answer(&runs))
}

/// Trainings, those of the small Table 1 and of resampling made now unless only stored ones are wanted or they have just been made.
fn exhibits(arguments: &Arguments, commit: Option<&str>, session: &Session) -> Result<Vec<Exhibit>, CliError> {
    let mut results = stored(arguments.results())?;
    let failed = |error: &dyn std::fmt::Display| CliError::Request(format!("a training of the report: {error}"));
    let mut all = vec![trainings::low_dimension(&low_dimension::view(session.seed).map_err(|e| failed(&e))?)];
    if !arguments.stored {
        let progress = Mutex::new(Progress::new(live::TRAININGS));
        let say = |before: usize, what: &str, done: usize| {
            progress.lock().unwrap_or_else(PoisonError::into_inner).set(before + done, what);
        };
        let ways = live::resampling(&|done| say(0, "trainings with dead latents", done)).map_err(|e| failed(&e))?;
        let before = live::TRAININGS - live::TABLE_1_TRAININGS;
        all.push(trainings::resampling(&ways));
        if !arguments.refresh {
            let now = live::table_1(commit, &|done| say(before, "trainings of the small Table 1", done));
            all.extend(exhibits::exhibits(&now.map_err(|e| failed(&e))?, "small", true));
            for (_, records) in results.iter_mut().filter(|(size, _)| size == "small") {
                records.retain(|record| record.published.table != 1);
            }
        }
        progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    }
    all.extend(results.iter().flat_map(|(size, records)| exhibits::exhibits(records, size, false)));
    all.extend(compared(arguments.comparisons())?.as_ref().and_then(comparison::exhibit));
    all.extend(compared_at_scale(arguments.comparisons())?.iter().filter_map(comparison::at_scale));
    Ok(all)
}

/// Tells at once, not after a minute of work, that the folder cannot be written.
fn ensure_writable(folder: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder)
        .and_then(|()| try_writing(folder))
        .map_err(|error| CliError::Request(format!("{}: cannot be written: {error}", folder.display())))
}

/// Writes a file into the folder and removes it.
fn try_writing(folder: &Path) -> std::io::Result<()> {
    let trial = folder.join(".sdlab-trial");
    crate::io::write_atomic(&trial, b"trial")?;
    std::fs::remove_file(trial)
}

/// The command that shows the same again, without the folder, which is not part of the result, and without trainings whose results are stored since.
fn command(arguments: &Arguments, seed: u64) -> String {
    let claims: String = arguments.claims.iter().map(|claim| format!(" {claim}")).collect();
    let stored = if arguments.stored { " --stored" } else { "" };
    format!("sdlab report{claims}{stored} --seed {seed}")
}
