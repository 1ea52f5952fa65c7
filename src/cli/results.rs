//! Stored results of trainings on the bench, and how they are made again.

use super::CliError;
use super::output::{Output, Progress};
use crate::results::RunRecord;
use crate::results::measure::measure;
use crate::train::config::Experiment;
use std::path::{Path, PathBuf};

/// Results are lines of JSON in files with this ending.
const ENDING: &str = "jsonl";

/// The records of every file of the folder, by the file's name without its ending; nothing if there is no folder.
pub(super) fn stored(folder: &Path) -> Result<Vec<(String, Vec<RunRecord>)>, CliError> {
    let mut all = Vec::new();
    for path in files(folder, ENDING)? {
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
        let records =
            RunRecord::parse(&text, &path.display().to_string()).map_err(|e| CliError::Request(e.to_string()))?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        all.push((name, records));
    }
    Ok(all)
}

/// Trains every experiment under `configs` that repeats a row of the paper, with the seeds 0 .. `seeds`, and keeps all results in one file.
pub(super) fn refresh(
    configs: &Path,
    file: &Path,
    seeds: u64,
    commit: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let mut experiments = Vec::new();
    for path in files(configs, "toml")? {
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
        let named = |error: &dyn std::fmt::Display| CliError::Request(format!("{}: {error}", path.display()));
        let experiment = Experiment::from_toml(&text).map_err(|e| named(&e))?;
        if experiment.published.is_some() {
            experiment.check().map_err(|e| named(&e))?;
            experiments.push((path, experiment));
        }
    }
    if experiments.is_empty() {
        let expected = "expected TOML files of experiments that repeat a row of the paper, found none";
        return Err(CliError::Request(format!("{}: {expected}", configs.display())));
    }
    let total = experiments.len() * usize::try_from(seeds).unwrap_or(usize::MAX);
    let mut progress = Progress::new(total);
    let mut lines = String::new();
    for (k, (path, experiment)) in experiments.iter().enumerate() {
        let name = path.strip_prefix(configs).unwrap_or(path).display().to_string();
        for seed in 0..seeds {
            let done = k * usize::try_from(seeds).unwrap_or(0) + usize::try_from(seed).unwrap_or(0);
            progress.set(done, &format!("{name}, seed {seed}"));
            let record = measure(experiment, seed, commit.map(str::to_owned), &mut |_| ())
                .map_err(|error| CliError::Request(format!("{}: {error}", path.display())))?;
            lines.push_str(&record.line());
        }
    }
    progress.finish();
    output.file(file, lines.as_bytes())?;
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Request(format!("{}: cannot be read: {error}", path.display()))
}

/// Files with an ending in a folder and the folders in it, in the order of their names.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, CliError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&folder, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|e| unreadable(&folder, &e))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
