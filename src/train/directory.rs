//! The folder of a run.
//!
//! | file | what it holds |
//! |---|---|
//! | `config.toml` | the experiment, every default written out |
//! | `metrics.jsonl` | one [`Record`] per line |
//! | `trace.jsonl` | one [`Point`] per line, where features are known |
//! | `resampling.jsonl` | one [`Resampled`] per line, where latents have been moved |
//! | `checkpoint.safetensors` | the last [`checkpoint`] |
//! | `sae_weights.safetensors`, `cfg.json`, .. | the trained model, in the layout of [SAELens](crate::io::saelens) |
//! | `result.json` | how it ended, with scores; a run that has it is finished |
//! | `timings.jsonl`, `provenance.json` | dates, speeds, machine: what differs between two runs of one experiment |

use super::check::{Checked, Plan};
use super::checkpoint;
use super::config::Experiment;
use super::run::{Record, State};
use super::trace::Point;
use crate::io::{FileError, saelens, write_atomic};
use crate::sdl::resampling::Moved;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The complete experiment.
pub const CONFIG: &str = "config.toml";
/// Records.
pub const METRICS: &str = "metrics.jsonl";
/// Recovery on the way.
pub const TRACE: &str = "trace.jsonl";
/// Latents that have been moved.
pub const RESAMPLING: &str = "resampling.jsonl";
/// Speeds.
pub const TIMINGS: &str = "timings.jsonl";
/// The end of a run.
pub const RESULT: &str = "result.json";
/// Program and machine.
pub const PROVENANCE: &str = "provenance.json";

/// What to do with a folder that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Refuse it.
    New,
    /// Go on from its last checkpoint.
    Resume,
    /// Remove the run that it holds.
    Force,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file in it cannot be read, written or understood.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds a run.
    #[error("{}: holds {state} run: expected a new folder, --resume to {resume}, or --force to begin anew", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
        /// A finished or an unfinished one.
        state: &'static str,
        /// What resuming would do.
        resume: &'static str,
    },
    /// It holds something else.
    #[error("{}: expected a new or empty folder, or one of a run, found one without {CONFIG}", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// It holds a run of another experiment.
    #[error("{}: holds a run of another experiment: {field} is {there} there and {here} here", path.display())]
    Different {
        /// The folder.
        path: PathBuf,
        /// The first field that differs.
        field: String,
        /// Its value there.
        there: String,
        /// Its value here.
        here: String,
    },
    /// Another process trains into it.
    #[error("{}: expected a folder that no other process trains into, found its {METRICS} locked", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

/// The folder of a run, locked against other processes while this value lives.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    metrics: File,
    timings: File,
}

/// How often a lock is tried.
const PATIENCE: usize = 25;

/// What a folder held.
#[derive(Debug)]
pub enum Found {
    /// Nothing, or a run that had not come to its first checkpoint.
    Nothing,
    /// A run with this checkpoint.
    Checkpoint(Box<State>),
    /// A finished run with this `result.json`.
    Finished(String),
}

/// A line of `resampling.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resampled {
    /// Updates done before.
    pub step: u64,
    /// The moved latents, in the order in which they were moved.
    pub latents: Vec<u32>,
    /// By how much each has lowered the loss of the samples looked at; empty where that is not known.
    pub decreases: Vec<f64>,
}

type Result<T> = std::result::Result<T, DirectoryError>;

impl RunDirectory {
    /// Opens or makes the folder, writes the complete experiment, and cuts the records back to the last checkpoint.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn open(path: &Path, checked: &Checked, plan: &Plan, opening: Opening) -> Result<(Self, Found)> {
        let taken = |state, resume| Err(DirectoryError::Taken { path: path.to_owned(), state, resume });
        let (holds_run, finished) = (path.join(CONFIG).exists(), path.join(RESULT).exists());
        match opening {
            Opening::New if finished => return taken("a finished", "see its result again"),
            Opening::New if holds_run => return taken("an unfinished", "go on with it"),
            _ if !holds_run && !is_empty(path)? => return Err(DirectoryError::Foreign { path: path.to_owned() }),
            Opening::Resume if holds_run => compare(path, checked)?,
            _ => {}
        }
        fs::create_dir_all(path).map_err(|error| FileError::write(path, error))?;
        let metrics = appendable(&path.join(METRICS))?;
        if is_locked(&metrics) {
            return Err(DirectoryError::Busy { path: path.to_owned() });
        }
        remove_temporary(path)?;
        if opening == Opening::Force {
            // The result first: without it the run counts as unfinished.
            for name in
                [RESULT, checkpoint::FILE, TIMINGS, PROVENANCE, saelens::WEIGHTS, saelens::CONFIG, saelens::EXTRA]
            {
                remove(&path.join(name))?;
            }
        }
        let found = if opening == Opening::Resume { Self::found(path, plan)? } else { Found::Nothing };
        let directory = Self { path: path.to_owned(), metrics, timings: appendable(&path.join(TIMINGS))? };
        match &found {
            Found::Finished(_) => {}
            Found::Checkpoint(state) => directory.cut_back(state.opt.step)?,
            Found::Nothing => {
                directory.cut_back(0)?;
                remove(&path.join(RESAMPLING))?;
                remove(&path.join(TRACE))?;
                directory.file(CONFIG, checked.experiment().to_toml().as_bytes())?;
            }
        }
        Ok((directory, found))
    }

    fn found(path: &Path, plan: &Plan) -> Result<Found> {
        let result = path.join(RESULT);
        if result.exists() {
            let text = fs::read_to_string(&result).map_err(|error| FileError::read(&result, error))?;
            return Ok(Found::Finished(text));
        }
        let saved = path.join(checkpoint::FILE);
        if !saved.exists() {
            return Ok(Found::Nothing);
        }
        Ok(Found::Checkpoint(Box::new(checkpoint::read(&saved, plan)?)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn record(&mut self, record: &Record) -> std::result::Result<(), FileError> {
        append(&mut self.metrics, &self.path.join(METRICS), record)
    }

    /// The last record, if there is one.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn last_record(&self) -> std::result::Result<Option<Record>, FileError> {
        let path = self.path.join(METRICS);
        let text = fs::read(&path).map_err(|error| FileError::read(&path, error))?;
        let line = text.split(|byte| *byte == b'\n').rev().find(|line| !line.is_empty());
        Ok(line.and_then(|line| serde_json::from_slice(line).ok()))
    }

    /// Appends a point of recovery.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn traced(&mut self, point: &Point) -> std::result::Result<(), FileError> {
        let path = self.path.join(TRACE);
        append(&mut appendable(&path)?, &path, point)
    }

    /// Appends what a resampling has moved.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn resampled(&mut self, step: u64, moved: &[Moved]) -> std::result::Result<(), FileError> {
        let path = self.path.join(RESAMPLING);
        let latents = moved.iter().map(|moved| moved.latent).collect();
        let decreases = moved.iter().filter_map(|moved| moved.decrease).collect();
        append(&mut appendable(&path)?, &path, &Resampled { step, latents, decreases })
    }

    /// Appends a line about speed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn timing(&mut self, timing: &impl Serialize) -> std::result::Result<(), FileError> {
        append(&mut self.timings, &self.path.join(TIMINGS), timing)
    }

    /// Replaces the checkpoint, after the records before it are safe.
    ///
    /// # Errors
    /// It cannot be written; then the last one is as it was.
    pub fn checkpoint(&self, state: &State, plan: &Plan) -> std::result::Result<(), FileError> {
        self.metrics.sync_data().map_err(|error| FileError::write(&self.path.join(METRICS), error))?;
        checkpoint::write(&self.path.join(checkpoint::FILE), state, plan)
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn file(&self, name: &str, bytes: &[u8]) -> std::result::Result<(), FileError> {
        let path = self.path.join(name);
        write_atomic(&path, bytes).map_err(|error| FileError::write(&path, error))
    }

    /// Keeps the records of steps before `step`, and what was moved until then; a line that was not finished goes too.
    fn cut_back(&self, step: u64) -> std::result::Result<(), FileError> {
        keep(&self.path.join(METRICS), |record: Record| record.step < step)?;
        keep_if_there(&self.path.join(TRACE), |point: Point| point.step < step)?;
        keep_if_there(&self.path.join(RESAMPLING), |resampled: Resampled| resampled.step <= step)
    }
}

/// Locks a file; true if someone else has it locked for more than a moment. A program that is just being started holds copies of all files that were
/// open, and their locks, until it begins.
fn is_locked(file: &File) -> bool {
    for _ in 0..PATIENCE {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            // A file system without locks is no reason not to train.
            Err(TryLockError::Error(_)) | Ok(()) => return false,
        }
    }
    true
}

/// The same for a file that only some runs have.
fn keep_if_there<T: DeserializeOwned>(path: &Path, wanted: impl Fn(T) -> bool) -> std::result::Result<(), FileError> {
    if path.exists() { keep(path, wanted) } else { Ok(()) }
}

/// Cuts a file of lines off at the first one that is not wanted or not whole.
fn keep<T: DeserializeOwned>(path: &Path, wanted: impl Fn(T) -> bool) -> std::result::Result<(), FileError> {
    let cut = || -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut reader = BufReader::new(&file);
        let (mut kept, mut line) = (0, Vec::new());
        while reader.read_until(b'\n', &mut line)? > 0 {
            let value: Option<T> = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok());
            if !value.is_some_and(&wanted) {
                break;
            }
            kept += line.len() as u64;
            line.clear();
        }
        file.set_len(kept)
    };
    cut().map_err(|error| FileError::write(path, error))
}

fn appendable(path: &Path) -> std::result::Result<File, FileError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| FileError::write(path, error))
}

fn append(file: &mut File, path: &Path, line: &impl Serialize) -> std::result::Result<(), FileError> {
    let mut text = serde_json::to_vec(line).map_err(|error| FileError::write(path, error.into()))?;
    text.push(b'\n');
    // One write, so that a line is whole unless the disk is full.
    file.write_all(&text).map_err(|error| FileError::write(path, error))
}

fn is_empty(path: &Path) -> std::result::Result<bool, FileError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(FileError::read(path, error)),
    }
}

fn remove(path: &Path) -> std::result::Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::write(path, error)),
        _ => Ok(()),
    }
}

/// Files that a killed process was writing.
fn remove_temporary(path: &Path) -> std::result::Result<(), FileError> {
    let entries = fs::read_dir(path).map_err(|error| FileError::read(path, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") && entry.path().is_file() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The folder's experiment must be this one, except for threads.
fn compare(path: &Path, checked: &Checked) -> Result<()> {
    let config = path.join(CONFIG);
    let text = fs::read_to_string(&config).map_err(|error| FileError::read(&config, error))?;
    let wrong = |error: &str| FileError::content(&config, "config", "the experiment of a run", error);
    let read = |text: &str| toml::from_str::<toml::Table>(text).map_err(|error| wrong(error.message()));
    // A run of an earlier version may lack defaults that are written out now.
    let there = Experiment::from_toml(&text).map_err(|error| wrong(&error))?.completed();
    let there = read(&there.to_toml())?;
    let here = read(&checked.experiment().to_toml())?;
    match difference("", &there.into(), &here.into()) {
        None => Ok(()),
        Some((field, there, here)) => Err(DirectoryError::Different { path: path.to_owned(), field, there, here }),
    }
}

/// The first field in which two experiments differ, with both values.
fn difference(field: &str, a: &toml::Value, b: &toml::Value) -> Option<(String, String, String)> {
    let (toml::Value::Table(x), toml::Value::Table(y)) = (a, b) else {
        return (a != b).then(|| (field.to_owned(), a.to_string(), b.to_string()));
    };
    let absent = toml::Value::String("absent".to_owned());
    let mut keys: Vec<&String> = x.keys().chain(y.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().find_map(|key| {
        let name = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
        if matches!(name.as_str(), "train.threads" | "train.checkpoint_seconds") {
            return None;
        }
        difference(&name, x.get(key).unwrap_or(&absent), y.get(key).unwrap_or(&absent))
    })
}
