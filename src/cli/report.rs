//! `sdlab report`: everything, as one page with figures, tables and certificates.

use super::names::choose;
use super::verify::{answer, machine, run_all, snapshot, verdicts};
use super::{Answer, CliError, Session};
use crate::claims::Context;
use crate::report::{claims, page};
use clap::Args;
use std::path::PathBuf;

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
}

const EXAMPLES: &str = "\
Examples:
  sdlab report
  sdlab report thm-3.7 --out thm-3.7

The folder then holds index.html, figures (SVG, PNG, and their data as JSON), tables (LaTeX, JSON), certificates, and
verdicts.json. The same version and seed write the same bytes.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let chosen = choose(&arguments.claims)?;
    let runs = run_all(&chosen, Context { seed: session.seed }, &snapshot(None)?);
    let shown: Vec<_> = runs.iter().map(|run| (run.claim, &run.outcome)).collect();
    page::write(&claims::page(&shown, session.seed), &arguments.out).map_err(|e| CliError::Request(e.to_string()))?;
    let index = arguments.out.join("index.html");
    // The file does not say where it lies, so that two folders compare equal.
    session.output.file(&arguments.out.join("verdicts.json"), format!("{:#}\n", machine(&runs, None)?).as_bytes())?;
    session.output.table(&verdicts(&runs))?;
    session.output.text(&format!("\nPage written: {}", index.display()))?;
    session.output.json(&machine(&runs, Some(&index))?)?;
    Ok(answer(&runs))
}
