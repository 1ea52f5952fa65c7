//! The folder of a comparison at bench scale.
//!
//! It holds `config.toml` (complete), `results.jsonl`, `timings.jsonl` and `provenance.json`. Every round appends a line to the first two. A
//! method whose last line has an end other than `stopped` is done; any other begins anew when the command is given again, since the state of a method
//! is not kept.

use super::config::SamplesComparison;
use super::method::{self, Data, Round};
use super::record::{End, Record, Timing};
use crate::bench::dataset::Bench;
use crate::compare::measure::append;
use crate::compare::opening::{OpenError, another, clear, failed, text};
use crate::io::origin::{Checkout, checkout, instruction_set, processor, target, utc};
use crate::io::write_atomic;
use crate::metrics::score::{Known, recovered};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `provenance.json` says of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The method.
    pub method: String,
    /// Version of the program.
    pub version: String,
    /// Its source, if known.
    pub source: Option<Checkout>,
    /// Processor architecture and operating system.
    pub target: String,
    /// The processor's name, if known.
    pub processor: Option<String>,
    /// What the processor offers.
    pub instruction_set: Vec<String>,
    /// Threads.
    pub threads: usize,
    /// When the method began, in coordinated universal time.
    pub started: String,
    /// Seconds from there to its last line, measuring included.
    pub wall_seconds: f64,
}

/// A comparison in its folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    comparison: SamplesComparison,
    /// Lines of `results.jsonl`, method by method.
    pub records: Vec<Record>,
    /// Lines of `timings.jsonl`, one for each record.
    pub timings: Vec<Timing>,
    provenance: Vec<Provenance>,
}

impl Folder {
    /// Opens or makes the folder. One that holds another comparison is refused, unless `force` removes its results. Nothing is written or removed
    /// before the bench is known to exist.
    ///
    /// # Errors
    /// A bench that cannot be made, another comparison, or a file that cannot be read or written.
    pub fn open(path: &Path, comparison: SamplesComparison, force: bool) -> Result<Self, OpenError> {
        let file = path.join("config.toml");
        let held = if force { None } else { text(&file).map_err(OpenError::Folder)? };
        let held = held.map(|held| SamplesComparison::from_toml(&held)).transpose();
        let held = held.map_err(|error| OpenError::Folder(format!("{}: {error}", file.display())))?;
        let fresh = held.is_none();
        if held.is_some_and(|held| held != comparison) {
            return Err(another(path));
        }
        if fresh {
            let made = Bench::generate(&comparison.bench);
            made.map_err(|error| OpenError::Comparison(format!("bench: {error}")))?;
        }
        let (records, timings, provenance) = (Vec::new(), Vec::new(), Vec::new());
        let mut folder = Self { path: path.to_owned(), comparison, records, timings, provenance };
        let ready = if fresh { folder.begin(force) } else { folder.read() };
        ready.map_err(OpenError::Folder)?;
        Ok(folder)
    }

    fn begin(&self, force: bool) -> Result<(), String> {
        let text = toml::to_string(&self.comparison).map_err(|error| error.to_string())?;
        fs::create_dir_all(&self.path).map_err(|error| failed(&self.path, &error))?;
        if force {
            clear(&self.path)?;
        }
        write(&self.path.join("config.toml"), &text)
    }

    /// What the folder holds of methods that are done.
    fn read(&mut self) -> Result<(), String> {
        let path = &self.path;
        self.records = lines(&path.join("results.jsonl"))?;
        self.timings = lines(&path.join("timings.jsonl"))?;
        let file = path.join("provenance.json");
        if let Some(text) = text(&file)? {
            self.provenance = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        for method in self.pending() {
            self.forget(&method);
        }
        match self.records.len() == self.timings.len() {
            true => Ok(()),
            false => {
                let file = self.path.join("timings.jsonl");
                Err(format!("{}: expected a line for each line of results.jsonl", file.display()))
            }
        }
    }

    /// The comparison.
    pub fn comparison(&self) -> &SamplesComparison {
        &self.comparison
    }

    /// Methods that are not done, in the order of the configuration.
    pub fn pending(&self) -> Vec<String> {
        let done = |name: &String| {
            self.records.iter().rfind(|r| r.method == *name).and_then(|r| r.end).is_some_and(|end| end.is_final())
        };
        self.comparison.methods.iter().filter(|name| !done(name)).cloned().collect()
    }

    fn forget(&mut self, method: &str) {
        self.records.retain(|record| record.method != method);
        self.timings.retain(|timing| timing.method != method);
        self.provenance.retain(|made| made.method != method);
    }

    /// Runs a method and keeps its lines. It ends by itself, by the rules of the comparison, after `rounds`, or when `stop`, told of every round, is true.
    ///
    /// # Errors
    /// The method fails, its weights are not finite, or a file cannot be written.
    pub fn advance(
        &mut self,
        name: &str,
        data: &Data,
        rounds: Option<u64>,
        stop: &mut dyn FnMut(&Record, &Timing) -> bool,
    ) -> Result<(), String> {
        self.forget(name);
        self.write()?;
        let comparison = self.comparison.clone();
        let (problem, unseen, known) = (data.problem(&comparison)?, data.unseen(&comparison)?, Known::of(&data.bench));
        let started = SystemTime::now();
        self.provenance.push(Provenance {
            method: name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: checkout(),
            target: target(),
            processor: processor(),
            instruction_set: instruction_set().into_iter().map(str::to_owned).collect(),
            threads: rayon::current_num_threads(),
            started: utc(started),
            wall_seconds: 0.0,
        });
        let first = self.records.len();
        // Dictionaries have no round 0, as they have no encoder at their start.
        let mut round = u64::from(!matches!(name, "adam" | "alternating" | "alternating-online"));
        let watched = &mut |shown: Round<'_>| -> Result<bool, String> {
            let (loss, codes) = problem.loss(shown.model).map_err(|error| error.to_string())?;
            let (held_out, _) = unseen.loss(shown.model).map_err(|error| error.to_string())?;
            let mut record = Record {
                format: 1,
                method: name.to_owned(),
                round,
                loss,
                held_out,
                encoder: 0.0,
                decoder: 0.0,
                dead: codes.dead(),
                sweep: shown.sweep,
                interrupted: shown.interrupted,
                end: None,
            };
            if !loss.is_finite() {
                // JSON has no infinities.
                (record.loss, record.held_out) = (f64::MAX, f64::MAX);
                record.end = Some(End::Diverged);
            } else {
                [record.encoder, record.decoder] =
                    recovered(shown.model, &known, comparison.tau).map_err(|error| error.to_string())?;
            }
            let losses: Vec<f64> = self.records[first..].iter().map(|r| r.loss).chain([record.loss]).collect();
            let timing = Timing { method: name.to_owned(), round, seconds: shown.seconds };
            let wanted = stop(&record, &timing) || rounds.is_some_and(|most| round >= most);
            record.end = record.end.or_else(|| {
                let settled = settled(&losses, comparison.window, comparison.tolerance);
                let spent = (shown.seconds >= comparison.seconds).then_some(End::Time);
                let rules = shown.exhausted.then_some(End::NoDescent).or(settled).or(spent);
                // A part of a round does not show that nothing is left to lower.
                let rules = if shown.interrupted { Some(End::Time) } else { rules };
                rules.or(wanted.then_some(End::Stopped))
            });
            let over = record.end.is_some();
            self.records.push(record);
            self.timings.push(timing);
            if let Some(made) = self.provenance.last_mut() {
                made.wall_seconds = started.elapsed().map_or(0.0, |time| time.as_secs_f64());
            }
            round += 1;
            self.append()?;
            Ok(!over)
        };
        method::run(name, &comparison, data, watched)?;
        // A learner that ends by itself has nothing left to lower.
        if let Some(last) = self.records.last_mut().filter(|last| last.method == name && last.end.is_none()) {
            last.end = Some(End::NoDescent);
            self.write()?;
        }
        Ok(())
    }

    fn write(&self) -> Result<(), String> {
        write(&self.path.join("results.jsonl"), &joined(&self.records)?)?;
        write(&self.path.join("timings.jsonl"), &joined(&self.timings)?)?;
        self.say_how()
    }

    /// Writes the last round alone. Its time comes first, so that a method that has ended by its results has all of its times.
    fn append(&self) -> Result<(), String> {
        let last = |count: usize| count.saturating_sub(1);
        append(&self.path.join("timings.jsonl"), &joined(&self.timings[last(self.timings.len())..])?)?;
        append(&self.path.join("results.jsonl"), &joined(&self.records[last(self.records.len())..])?)?;
        self.say_how()
    }

    fn say_how(&self) -> Result<(), String> {
        let made = serde_json::to_string_pretty(&self.provenance).map_err(|error| error.to_string())?;
        write(&self.path.join("provenance.json"), &(made + "\n"))
    }
}

/// Whether the best loss has fallen by less than the share in the last rounds.
fn settled(losses: &[f64], window: usize, tolerance: f64) -> Option<End> {
    let before = losses.len().checked_sub(window).filter(|before| *before > 0)?;
    let best = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
    let (old, new) = (best(&losses[..before]), best(losses));
    let decrease = if old > 0.0 { 1.0 - new / old } else { 0.0 };
    (decrease < tolerance).then_some(End::Settled { decrease })
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    write_atomic(file, text.as_bytes()).map_err(|error| format!("{}: {error}", file.display()))
}

fn joined<T: Serialize>(values: &[T]) -> Result<String, String> {
    let line = |value: &T| serde_json::to_string(value).map(|line| line + "\n").map_err(|error| error.to_string());
    values.iter().map(line).collect()
}

/// The values of a file of JSON lines; none if there is no file. A last line without its end was being written when the program was killed, and is
/// none.
///
/// # Errors
/// It cannot be read, or a line is not what it should be.
pub fn lines<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, String> {
    let text = text(file)?.unwrap_or_default();
    let read = |(k, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("{}: line {}: {error}", file.display(), k + 1))
    };
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    complete.lines().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_settled_when_its_best_loss_fell_too_little_in_a_window() {
        let losses = [8.0, 4.0, 5.0, 3.9, 6.0];
        // Best before the last two rounds 4, best of all 3.9: a fall by 2.5 %.
        assert_eq!(settled(&losses, 2, 0.02), None);
        let Some(End::Settled { decrease }) = settled(&losses, 2, 0.03) else { panic!("not settled") };
        assert!((decrease - 0.025).abs() < 1e-12);
        // A rise is no fall, and fewer rounds than the window decide nothing.
        assert!(settled(&[1.0, 2.0, 3.0], 1, 1e-9).is_some());
        assert_eq!(settled(&losses, 5, 1.0), None);
        assert_eq!(settled(&losses, 2, 0.0), None);
    }
}
