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
    /// A file that holds something else than it should. Words that come from the file are shown on one line and cut.
    pub fn content(path: &Path, field: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let [field, expected, found] = [field.to_owned(), expected.into(), found.into()].map(|text| brief(&text));
        Self::Content { path: path.to_owned(), field, expected, found }
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

/// A text on one line, and not longer than a person reads.
fn brief(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// Text of a file as an error quotes it.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).escape_debug().to_string();
    if bytes.len() > LONGEST { format!("`{text}..`") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_of_bounded_length() {
        let long = "a\nb\u{1b}[31m \u{e9}".repeat(1000);
        let error = FileError::content(Path::new("x"), &long, &long, &long).to_string();
        assert!(error.starts_with("x: a b [31m \u{e9}a b") && error.chars().count() < 1000, "{error}");
        assert!(!error.contains(char::is_control));
        assert_eq!(excerpt(b"\n'"), "`\\n\\'`");
    }
}
