//! Stored results of trainings on the bench, and how they are made again.

use super::output::{Output, Progress};
use super::train::{Trained, resume};
use super::{CliError, Session};
use crate::compare::measure::{Held, proofs, times};
use crate::compare::samples::SamplesComparison;
use crate::compare::samples::folder::lines;
use crate::report::comparison::{Maker, Stored, StoredAtScale};
use crate::report::exhibits::{TABLES, published_rows};
use crate::results::measure::{measure, recorded};
use crate::results::{RunRecord, Summary};
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

/// The stored comparison of optimizers in the folder; nothing if it has no `results.jsonl`.
pub(super) fn compared(folder: &Path) -> Result<Option<Stored>, CliError> {
    let path = folder.join("results.jsonl");
    let records = match std::fs::read_to_string(&path) {
        Ok(text) => crate::compare::measure::read(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let records = records.map_err(|error| CliError::Request(format!("{}: {error}", path.display())))?;
    let timings = times(&std::fs::read_to_string(folder.join("timings.jsonl")).unwrap_or_default());
    let missing = || format!("{}: expected it beside results.jsonl", folder.join("config.toml").display());
    let held = Held::read(folder).and_then(|held| held.ok_or_else(missing)).map_err(CliError::Request)?;
    // Who made them is said as far as it can be read.
    let made = std::fs::read(folder.join("provenance.json")).ok();
    let maker = made.and_then(|text| Maker::of(&serde_json::from_slice(&text).ok()?));
    let mut certificates = Vec::new();
    for name in records.iter().flat_map(proofs) {
        let path = folder.join("certificates").join(&name);
        match std::fs::read_to_string(&path) {
            Ok(text) => certificates.push((name, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(Some(Stored { held, maker, records, timings, certificates }))
}

/// The stored comparisons at bench scale, folders in the folder, by name; none if there are no such folders.
pub(super) fn compared_at_scale(folder: &Path) -> Result<Vec<StoredAtScale>, CliError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        if entry.path().join("config.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let config = folder.join(&name).join("config.toml");
        let text = std::fs::read_to_string(&config).map_err(|error| unreadable(&config, &error))?;
        let comparison = SamplesComparison::from_toml(&text)
            .map_err(|error| CliError::Request(format!("{}: {error}", config.display())))?;
        let at = |file: &str| folder.join(&name).join(file);
        let records = lines(&at("results.jsonl")).map_err(CliError::Request)?;
        let timings = lines(&at("timings.jsonl")).map_err(CliError::Request)?;
        let made = std::fs::read(at("provenance.json")).ok();
        let provenance = made.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        all.push(StoredAtScale { name, comparison, provenance, records, timings });
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
    let experiments = experiments(Path::new(SMALL), tables)?;
    let mut records = if file.exists() { read(file)? } else { Vec::new() };
    let runs: Vec<_> = experiments.iter().flat_map(|one| (0..seeds).map(move |seed| (one, seed))).collect();
    let mut progress = Progress::new(runs.len());
    for (done, ((path, experiment), seed)) in runs.into_iter().enumerate() {
        progress.set(done, &format!("{}, seed {seed}", path.display()));
        let record = measure(experiment, seed, commit.map(str::to_owned))
            .map_err(|error| CliError::Request(format!("{}: {error}", path.display())))?;
        keep(&mut records, record, file, output)?;
    }
    progress.finish();
    Ok(())
}

/// Replaces the record of the same row and seed, and writes all of them.
fn keep(records: &mut Vec<RunRecord>, record: RunRecord, file: &Path, output: &Output) -> Result<(), CliError> {
    records.retain(|old| (&old.published, old.seed) != (&record.published, record.seed));
    records.push(record);
    records.sort_by(|a, b| a.place().cmp(&b.place()));
    Ok(output.file(file, records.iter().map(RunRecord::line).collect::<String>().as_bytes())?)
}

/// The experiments of a folder and the folders in it that repeat rows of these tables.
fn experiments(folder: &Path, tables: &[u32]) -> Result<Vec<(PathBuf, Experiment)>, CliError> {
    let mut experiments = Vec::new();
    for path in files(folder, "toml")? {
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
        return Err(CliError::Request(format!("{}: {expected}", folder.display())));
    }
    Ok(experiments)
}

/// Trains the experiments at the paper's size that repeat rows of these tables, with the seeds 0 .. `seeds`, each in a folder of its own below
/// `runs`. A run that was interrupted goes on, a finished one is only read. The records are written after each run, and with them
/// a summary of every table. False if the user has interrupted.
pub(super) fn full(
    tables: &[u32],
    folder: &Path,
    runs: &Path,
    seeds: u64,
    session: &Session,
) -> Result<bool, CliError> {
    let mut all = Vec::new();
    for number in TABLES.iter().filter(|number| tables.is_empty() || tables.contains(number)) {
        all.extend(experiments(&Path::new("configs").join(format!("table{number}")), tables)?);
    }
    if all.is_empty() {
        let expected = TABLES.map(|number| number.to_string()).join(", ");
        return Err(CliError::Request(format!("--tables: expected some of {expected}, found {tables:?}")));
    }
    // Steps of dense activations take many times as long.
    all.sort_by_key(|(_, experiment)| !experiment.model.activation.is_sparse());
    let file = folder.join("full.jsonl");
    let mut records = if file.exists() { read(&file)? } else { Vec::new() };
    let count = all.len() as u64 * seeds;
    for (done, ((path, experiment), seed)) in all.iter().flat_map(|one| (0..seeds).map(move |s| (one, s))).enumerate() {
        let mut experiment = experiment.completed();
        experiment.train.seed = seed;
        experiment.bench.get_or_insert_default().seed = seed;
        let named = |error: &dyn std::fmt::Display| CliError::Request(format!("{}: {error}", path.display()));
        let (table, stem) = (path.parent().and_then(Path::file_name), path.file_stem());
        let (table, stem) = (table.unwrap_or_default().to_string_lossy(), stem.unwrap_or_default().to_string_lossy());
        let run = runs.join(&*table).join(format!("{stem}-seed{seed}"));
        let checked = experiment.check().map_err(|e| named(&e))?;
        let label = format!("run {} of {count}, {table}/{stem}, seed {seed}: ", done + 1);
        let trained = resume(&path.display().to_string(), &run, checked, &label, session)?;
        if let Trained::Now { finish, interrupted, .. } = &trained
            && finish.outcome.is_none()
        {
            let what = if *interrupted { "interrupted" } else { "stopped" };
            session.output.text(&format!("{label}{what}; the same command goes on"))?;
            return Ok(false);
        }
        let record = recorded(&run, &experiment).map_err(|error| CliError::Request(error.to_string()))?;
        keep(&mut records, record, &file, &session.output)?;
        for number in TABLES {
            if let Some(summary) = Summary::of(number, &published_rows(), &records) {
                let path = folder.join(format!("table{number}.toml"));
                session.output.file(&path, summary.to_toml().as_bytes())?;
            }
        }
    }
    Ok(true)
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
