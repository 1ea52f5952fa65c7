//! `sdlab certify`: replays certificates.

use super::output::Progress;
use super::{Answer, CliError, Session};
use crate::stats::{Cell, Kind, Table, Tone};
use clap::Args;
use sdlab_verify::Certified;
use sdlab_verify::files::{Replay, find, replay};
use serde_json::json;
use std::path::PathBuf;

/// Replay certificates by exact arithmetic alone, and say what each one proves
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Certificate files, and folders in which every .json file is one
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab certify empty.json
  sdlab certify reports/out/certificates

Exit status 1: at least one certificate is refused. The format is specified in verify/FORMAT.md; the binary `sdlab-verify` and the
script verify/check.py answer the same question without the rest of sdlab.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let files = find(&arguments.paths).map_err(|e| CliError::Request(e.to_string()))?;
    let mut progress = Progress::new(files.len());
    let mut replays = Vec::new();
    for (done, file) in files.iter().enumerate() {
        progress.set(done, &file.display().to_string());
        replays.push(replay(file).map_err(|e| CliError::Request(e.to_string()))?);
    }
    progress.finish();
    let refused = replays.iter().filter(|r| r.outcome.is_err()).count();
    let accepted = replays.len() - refused;
    session.output.table(&listing(&replays))?;
    session.output.text(&format!("\n{accepted} accepted, {refused} refused"))?;
    let files = replays.iter().map(|r| {
        let proof = r.outcome.as_ref().ok();
        json!({
            "path": r.path.display().to_string(),
            "accepted": proof.is_some(),
            "kind": proof.map(Certified::kind),
            "statement": proof.map(Certified::statement),
            "reason": r.outcome.as_ref().err().map(ToString::to_string),
        })
    });
    let files: Vec<_> = files.collect();
    session.output.json(&json!({"accepted": accepted, "refused": refused, "files": files}))?;
    Ok(if refused == 0 { Answer::Yes } else { Answer::No })
}

fn listing(replays: &[Replay]) -> Table {
    let columns =
        [("file", Kind::Text), ("answer", Kind::Verdict), ("what it proves, or why it is refused", Kind::Text)];
    let mut table = Table::new("certificates", "certify", columns);
    for replay in replays {
        let (tone, word, text) = match &replay.outcome {
            Ok(proof) => (Tone::Good, "accepted", proof.statement().to_owned()),
            Err(refusal) => (Tone::Bad, "refused", refusal.to_string()),
        };
        table.push([Cell::from(replay.path.display().to_string()), Cell::verdict(tone, word), Cell::from(text)]);
    }
    table
}
