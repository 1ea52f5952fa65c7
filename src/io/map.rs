//! Files as memory. This is the one module that maps them.
//!
//! A mapped file must not be changed while it is open here. If another program shortens it, reading beyond the new end stops this program with
//! SIGBUS; if another program writes into it, the numbers that are read are a mixture of old and new. A file that was short from the start
//! is safe: its length is taken when it is opened, and every reader checks what it expects against that.
#![allow(unsafe_code)]

use super::FileError;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// The bytes of a file, read from disk when they are touched.
#[derive(Debug)]
pub struct Mapped {
    path: PathBuf,
    map: Mmap,
}

impl Mapped {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// The operating system refuses, or the path is not a regular file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let fail = |error| FileError::read(path, error);
        // Asked before opening, since opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
        }
        let file = File::open(path).map_err(fail)?;
        // SAFETY: the map is read only and private to this value, which hands out shared slices that cannot outlive it. What Rust cannot
        // know is whether another program changes the file meanwhile; see the module for what happens then.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Self { path: path.to_owned(), map })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_bytes_and_an_empty_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [b"".as_slice(), b"abc"] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(&*Mapped::open(&path).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_owned(), folder.path().join("absent"), PathBuf::from("/dev/null")] {
            let error = Mapped::open(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: cannot be read", path.display())), "{error}");
        }
    }
}
