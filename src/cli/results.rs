//! Stored results of trainings on the bench, and how they are made again.

use super::CliError;
use super::output::{Output, Progress};
use crate::results::RunRecord;
use crate::results::measure::measure;
use crate::train::config::{Experiment, Published};
use std::path::{Path, PathBuf};

/// Results are lines of JSON in files with this ending.
const ENDING: &str = "jsonl";

/// The records of every file of the folder, by the file's name without its ending; nothing if there is no folder.
pub(super) fn stored(folder: &Path) -> Result<Vec<(String, Vec<RunRecord>)>, CliError> {
    let mut all = Vec::new();
    for path in files(folder, ENDING)? {
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        all.push((name, read(&path)?));
    }
    Ok(all)
}

/// The small experiments.
const SMALL: &str = "configs/small";

/// Trains the small experiments that repeat rows of these tables (all tables if none is named), with the seeds 0 .. `seeds`. What the file holds of
/// other rows and seeds stays, and it is written after each run, so that an interruption loses one.
pub(super) fn refresh(
    tables: &[u32],
    file: &Path,
    seeds: u64,
    commit: Option<&str>,
    output: &Output,
) -> Result<(), CliError> {
    let mut experiments = Vec::new();
    for path in files(Path::new(SMALL), "toml")? {
        let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
        let named = |error: &dyn std::fmt::Display| CliError::Request(format!("{}: {error}", path.display()));
        let experiment = Experiment::from_toml(&text).map_err(|e| named(&e))?;
        let chosen = |published: &Published| tables.is_empty() || tables.contains(&published.table);
        if experiment.published.as_ref().is_some_and(chosen) {
            experiment.check().map_err(|e| named(&e))?;
            experiments.push((path, experiment));
        }
    }
    if experiments.is_empty() {
        let expected =
            "expected experiments that repeat rows of these tables, found none; run it in the project's folder";
        return Err(CliError::Request(format!("{SMALL}: {expected}")));
    }
    let mut records = if file.exists() { read(file)? } else { Vec::new() };
    let runs: Vec<_> = experiments.iter().flat_map(|one| (0..seeds).map(move |seed| (one, seed))).collect();
    let mut progress = Progress::new(runs.len());
    for (done, ((path, experiment), seed)) in runs.into_iter().enumerate() {
        progress.set(done, &format!("{}, seed {seed}", path.display()));
        let record = measure(experiment, seed, commit.map(str::to_owned))
            .map_err(|error| CliError::Request(format!("{}: {error}", path.display())))?;
        records.retain(|old| (&old.published, old.seed) != (&record.published, record.seed));
        records.push(record);
        records.sort_by(|a, b| a.place().cmp(&b.place()));
        output.file(file, records.iter().map(RunRecord::line).collect::<String>().as_bytes())?;
    }
    progress.finish();
    Ok(())
}

fn read(path: &Path) -> Result<Vec<RunRecord>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
    RunRecord::parse(&text, &path.display().to_string()).map_err(|e| CliError::Request(e.to_string()))
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
