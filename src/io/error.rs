//! What can be wrong with a file.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system does not give it.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// The operating system does not take it.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// It holds something else than it should.
    #[error("{}: {field}: expected {expected}, found {found}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// The part of it that is wrong.
        field: String,
        /// What was expected.
        expected: String,
        /// What is there.
        found: String,
    },
}

impl FileError {
    /// A file that holds something else than it should.
    pub fn content(path: &Path, field: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), field: field.to_owned(), expected: expected.into(), found: found.into() }
    }

    /// A file that cannot be read.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A file that cannot be written.
    pub fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

/// Text of a file as an error shows it: on one line, and short.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).escape_debug().to_string();
    if bytes.len() > LONGEST { format!("`{text}..`") } else { format!("`{text}`") }
}
