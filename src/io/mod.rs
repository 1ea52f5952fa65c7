//! Files: written whole or not at all, and read without trust.
//!
//! | file | module |
//! |---|---|
//! | `.npy` | [`npy`] |
//! | `.safetensors` | [`tensors`] |
//! | embeddings and labels of a user | [`embeddings`], [`labels`] |
//! | a trained model, in the layout of SAELens | [`saelens`] |
//! | where a result comes from | [`origin`] |
//! | models of other trainers | [`import`] |

pub mod array;
pub mod embeddings;
mod error;
pub mod import;
pub mod labels;
pub mod map;
pub mod npy;
pub mod origin;
pub mod saelens;
pub mod tensors;

pub use error::FileError;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Temporary files that are being written now, so that an interrupt can remove them.
static PENDING: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<PathBuf>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a file under a temporary name in the same folder and renames it, so that at `path` there is always the old
/// content or all of the new. Missing folders are made.
///
/// # Errors
/// The error of the operating system; then `path` is as it was and no temporary file is left.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// A file that is written bit by bit under a temporary name and appears at its place when it is whole.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: io::BufWriter<File>,
}

impl AtomicFile {
    /// Begins the file that will stand at `path`. Missing folders are made.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = temporary_name(path)?;
        pending().push(temporary.clone());
        let file = File::create(&temporary).inspect_err(|_| pending().retain(|p| *p != temporary))?;
        Ok(Self { path: path.to_owned(), temporary, file: io::BufWriter::with_capacity(1 << 20, file) })
    }

    /// Puts the file at its place.
    ///
    /// # Errors
    /// The error of the operating system; then the place is as it was.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit there is nothing to remove.
        let _ = fs::remove_file(&self.temporary);
        pending().retain(|p| *p != self.temporary);
    }
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hidden name beside `path`, whose folder is made.
fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    fs::create_dir_all(folder)?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(folder.join(temporary))
}

/// Removes what is being written at this moment; for an interrupted program that is about to end.
pub fn remove_pending() {
    for path in pending().drain(..) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file.txt");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.bin");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(&[1; 10]).unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        assert!(write_atomic(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
