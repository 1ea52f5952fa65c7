//! The folder of a comparison: what its files are, why it cannot be opened, and how it is emptied.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Results of a comparison, the configuration last: a folder that was emptied in part still says of what.
const FILES: [&str; 4] = ["results.jsonl", "timings.jsonl", "provenance.json", "config.toml"];
/// Folders of a comparison, whose files end in `.json`.
const FOLDERS: [&str; 2] = ["certificates", "instances"];

/// Why a folder cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The comparison cannot be made; names the field and what was expected.
    #[error("{0}")]
    Comparison(String),
    /// The folder does not suit it; names the file.
    #[error("{0}")]
    Folder(String),
}

/// An error that names its file.
pub(super) fn failed(file: &Path, error: &Error) -> String {
    format!("{}: {error}", file.display())
}

/// The text of a file; nothing if there is none.
///
/// # Errors
/// It cannot be read.
pub(super) fn text(file: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

/// Removes what a comparison has left in its folder, certificates and instances included. In a folder that holds none nothing is removed.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn clear(path: &Path) -> Result<(), String> {
    if !FILES.iter().any(|name| path.join(name).exists()) {
        return Ok(());
    }
    for folder in FOLDERS.map(|name| path.join(name)) {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&folder, &error)),
        };
        for entry in entries {
            let file = entry.map_err(|error| failed(&folder, &error))?.path();
            if file.extension().is_some_and(|ending| ending == "json") {
                fs::remove_file(&file).map_err(|error| failed(&file, &error))?;
            }
        }
    }
    for file in FILES.map(|name| path.join(name)) {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&file, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// A folder holds another comparison than is asked for.
pub(super) fn another(path: &Path) -> OpenError {
    OpenError::Folder(format!(
        "{}: holds another comparison; choose another folder with --out, or --force to remove it",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_comparison_has_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in FOLDERS {
            fs::create_dir(at(name)).unwrap();
        }
        let (own, others) = (["certificates/a.json", "instances/b.json"], ["notes.txt", "certificates/c.txt"]);
        own.iter().chain(&others).for_each(|name| fs::write(at(name), "x").unwrap());
        // No comparison: the files are somebody else's.
        clear(folder.path()).unwrap();
        assert!(own.iter().chain(&others).all(|name| at(name).exists()));
        FILES.iter().for_each(|name| fs::write(at(name), "x").unwrap());
        clear(folder.path()).unwrap();
        assert!(own.iter().chain(&FILES).all(|name| !at(name).exists()));
        assert!(others.iter().all(|name| at(name).exists()));
    }
}
