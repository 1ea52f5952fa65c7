//! Files and directories of certificates, for the commands that replay them.

use crate::json::{Fields, Json};
use crate::{Cause, Certified, Refusal, check_text};
use serde::Serialize;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file that is read.
const MAX_BYTES: u64 = 32 << 20;

/// A file that cannot be replayed at all.
#[derive(Debug)]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: io::Error,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for FileError {}

/// The outcome of one file.
#[derive(Debug)]
pub struct Replay {
    /// The file.
    pub path: PathBuf,
    /// What it proves, or why it proves nothing.
    pub outcome: Result<Certified, Refusal>,
    /// For a file of a corpus that must be refused: what was changed in it.
    pub must_be_refused: Option<String>,
}

impl Replay {
    /// Accepted, or refused if it must be.
    pub fn is_as_expected(&self) -> bool {
        self.outcome.is_ok() == self.must_be_refused.is_none()
    }
}

/// `accepted KIND PATH — STATEMENT` or `refused PATH: REASON`.
impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = self.path.display();
        match &self.outcome {
            Ok(certified) => write!(f, "accepted {} {path} — {}", certified.kind(), certified.statement())?,
            Err(refusal) => write!(f, "refused {path}: {refusal}")?,
        }
        match (&self.must_be_refused, self.is_as_expected()) {
            (Some(changed), true) => write!(f, " (as it must be: {changed})"),
            (Some(changed), false) => write!(f, " (but it must be refused: {changed})"),
            (None, _) => Ok(()),
        }
    }
}

/// One object: `path`, `accepted`, `as_expected`; `kind`, `sha256`, `statement`, `interior`, `strict`, `loss`, or `cause`,
/// `place`, `reason`.
impl Serialize for Replay {
    fn serialize<S: serde::Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        let common = serde_json::json!({
            "path": self.path.display().to_string(),
            "accepted": self.outcome.is_ok(),
            "as_expected": self.is_as_expected(),
        });
        let found = match &self.outcome {
            Ok(certified) => serde_json::json!({
                "kind": certified.kind(),
                "sha256": certified.sha256(),
                "statement": certified.statement(),
                "interior": certified.interior(),
                "strict": certified.strict(),
                "loss": certified.loss(),
            }),
            Err(refusal) => serde_json::json!({
                "cause": match refusal.cause {
                    Cause::Format => "format",
                    Cause::Limit => "limit",
                    Cause::Condition => "condition",
                },
                "place": refusal.place,
                "reason": refusal.reason,
            }),
        };
        sink.collect_map([common, found].iter().filter_map(|part| part.as_object()).flatten())
    }
}

/// The certificate files among `paths`: files as they are, directories searched for `*.json` in sorted order. Links to
/// directories are not followed.
///
/// # Errors
/// A path that does not exist or cannot be read, and a directory without certificates.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for path in paths {
        let fail = |error| FileError { path: path.clone(), error };
        if fs::metadata(path).map_err(fail)?.is_dir() {
            let before = found.len();
            search(path, &mut found)?;
            if found.len() == before {
                return Err(fail(io::Error::new(io::ErrorKind::NotFound, "no *.json in this directory")));
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn search(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let fail = |error| FileError { path: directory.to_owned(), error };
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(fail)?;
    let mut entries: Vec<_> = entries.into_iter().map(|entry| (entry.path(), entry.file_type())).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, kind) in entries {
        if kind.map_err(fail)?.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "json") && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

/// The text of a file, or the refusal of what is no text or too long.
fn read(path: &Path) -> Result<Result<String, Refusal>, FileError> {
    let fail = |error| FileError { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Ok(Err(Refusal::limit("over 32 MiB")));
    }
    Ok(String::from_utf8(bytes).map_err(|_| Refusal::format("not UTF-8")))
}

/// Checks one certificate file.
///
/// # Errors
/// The file cannot be read. A refusal is an [`outcome`](Replay::outcome), not an error.
pub fn replay(path: &Path) -> Result<Replay, FileError> {
    let outcome = read(path)?.and_then(|text| check_text(&text));
    Ok(Replay { path: path.to_owned(), outcome, must_be_refused: None })
}

/// Checks a corpus: certificates in `accepted/`, and in `refused/` objects `{"changed", "from", "certificate"}` or, where
/// the text itself is wrong, `{"changed", "from", "text"}`.
///
/// # Errors
/// A file that cannot be read, or is no such object.
pub fn replay_corpus(directory: &Path) -> Result<Vec<Replay>, FileError> {
    let mut replays = Vec::new();
    for path in find(&[directory.join("accepted")])? {
        replays.push(replay(&path)?);
    }
    for path in find(&[directory.join("refused")])? {
        let wrong = |refusal: Refusal| FileError {
            path: path.clone(),
            error: io::Error::new(io::ErrorKind::InvalidData, refusal.to_string()),
        };
        let (changed, text) = read(&path)?.and_then(|text| mutated(&text)).map_err(wrong)?;
        replays.push(Replay { outcome: check_text(&text), must_be_refused: Some(changed), path });
    }
    Ok(replays)
}

/// What was changed, and the text of the certificate.
fn mutated(text: &str) -> Result<(String, String), Refusal> {
    let mut fields = Fields::of(Json::parse(text)?)?;
    let changed = fields.take("changed")?;
    fields.take::<String>("from")?;
    let text = match fields.take_optional::<Json>("certificate")? {
        Some(certificate) => certificate.canonical(),
        None => fields.take("text")?,
    };
    fields.finish()?;
    Ok((changed, text))
}
