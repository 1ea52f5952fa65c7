//! `sdlab certify`: replays certificates.

use super::{Answer, CliError, Session};
use crate::stats::{Cell, Kind, Table, Tone};
use clap::Args;
use sdlab_verify::Certified;
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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

/// Largest certificate, FORMAT.md §6.
const LIMIT: u64 = 32 << 20;

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let mut files = Vec::new();
    for path in &arguments.paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        let paths: Vec<_> = arguments.paths.iter().map(|p| p.display().to_string()).collect();
        return Err(CliError::Request(format!("{}: expected .json files, found none", paths.join(", "))));
    }
    let mut results = Vec::new();
    for path in files {
        results.push((check(&path)?, path));
    }
    let refused = results.iter().filter(|(result, _)| result.is_err()).count();
    let accepted = results.len() - refused;
    session.output.table(&listing(&results))?;
    session.output.text(&format!("\n{accepted} accepted, {refused} refused"))?;
    let files = results.iter().map(|(result, path)| {
        let proof = result.as_ref().ok();
        json!({
            "path": path.display().to_string(),
            "accepted": proof.is_some(),
            "kind": proof.map(Certified::kind),
            "statement": proof.map(Certified::statement),
            "reason": result.as_ref().err(),
        })
    });
    let files: Vec<_> = files.collect();
    session.output.json(&json!({"accepted": accepted, "refused": refused, "files": files}))?;
    Ok(if refused == 0 { Answer::Yes } else { Answer::No })
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> CliError + '_ {
    move |error| CliError::Request(format!("{}: cannot be read: {error}", path.display()))
}

/// A file itself, or the .json files below a folder in the order of their names. Links inside folders are not followed.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    if !fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut open = vec![path.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
            let entry = entry.map_err(unreadable(&folder))?;
            let kind = entry.file_type().map_err(unreadable(&folder))?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && entry.path().extension().is_some_and(|ending| ending == "json") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    files.extend(found);
    Ok(())
}

/// What the checker says of a file; the reason as one line where it refuses.
fn check(path: &Path) -> Result<Result<Certified, String>, CliError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable(path))?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable(path))?;
    if bytes.len() as u64 > LIMIT {
        return Ok(Err("the file is larger than 32 MiB".into()));
    }
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Ok(Err("the file is no UTF-8 text".into()));
    };
    Ok(sdlab_verify::check_text(text)
        .map_err(|refusal| refusal.to_string().split_whitespace().collect::<Vec<_>>().join(" ")))
}

fn listing(results: &[(Result<Certified, String>, PathBuf)]) -> Table {
    let columns =
        [("file", Kind::Text), ("answer", Kind::Verdict), ("what it proves, or why it is refused", Kind::Text)];
    let mut table = Table::new("certificates", "certify", columns);
    for (result, path) in results {
        let (tone, word, text) = match result {
            Ok(proof) => (Tone::Good, "accepted", proof.statement()),
            Err(reason) => (Tone::Bad, "refused", reason.as_str()),
        };
        table.push([Cell::from(path.display().to_string()), Cell::verdict(tone, word), Cell::from(text)]);
    }
    table
}
