//! Embeddings of the user: one row of numbers per sample, in a `.npy` file or a tensor of a safetensors file, mapped into memory.

use super::array::Array;
use super::tensors::TensorFile;
use super::{FileError, hexadecimal, npy};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::path::Path;

/// Numbers that are hashed together.
const BLOCK: usize = 1 << 16;

/// Rows of a file, converted to f32 when they are asked for.
#[derive(Debug, Clone)]
pub struct Embeddings {
    array: Array,
    rows: usize,
    sources: usize,
    dimension: usize,
}

impl Embeddings {
    /// Opens `FILE.npy`, `FILE.safetensors:TENSOR`, or `FILE.safetensors` with a single tensor. Numbers are f16, bf16, f32 or f64, and axes
    /// are (samples, dimension); with a third axis, (samples, sources, dimension), the sources of a crosscoder are stacked into one row.
    ///
    /// # Errors
    /// The file cannot be read, is of another kind, or has another shape.
    pub fn open(source: &str) -> Result<Self, FileError> {
        let array = array(source)?;
        if !array.element().is_float() {
            return Err(array.wrong("floating-point numbers", format!("{:?}", array.element())));
        }
        let (&rows, axes) = array.shape().split_first().unwrap_or((&0, &[]));
        let dimension = axes.iter().product();
        let sources = if let [sources, _] = axes { *sources } else { 1 };
        if !matches!(axes.len(), 1 | 2) || rows == 0 || dimension == 0 {
            let expected = "the axes (samples, dimension) or (samples, sources, dimension), none of them empty";
            return Err(array.wrong(expected, format!("the shape {:?}", array.shape())));
        }
        Ok(Self { rows, sources, dimension, array })
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sources of a crosscoder that are stacked in a row; 1 without a third axis.
    pub fn sources(&self) -> usize {
        self.sources
    }

    /// Length of a row, all sources together.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Reads the whole file once, and says what it holds: SHA-256 of its axes and of its numbers in f32, the same in every kind of file. On all
    /// cores at once; one that has instructions for SHA-256 does more than a gigabyte a second.
    ///
    /// # Errors
    /// A number is NaN or infinite (in f32); the first such row is named.
    pub fn digest(&self) -> Result<String, FileError> {
        // Blocks of rows depend on the axes alone, so that the number of threads changes nothing.
        let rows = (BLOCK / self.dimension).max(1);
        let blocks = (0..self.rows.div_ceil(rows)).into_par_iter();
        let blocks: Vec<_> = blocks.map(|b| self.block(b * rows..self.rows.min((b + 1) * rows))).collect();
        let mut whole = Sha256::new();
        for length in [self.rows, self.sources, self.dimension] {
            whole.update((length as u64).to_le_bytes());
        }
        for block in blocks {
            whole.update(block?);
        }
        Ok(hexadecimal(&whole.finalize()))
    }

    /// SHA-256 of some rows.
    fn block(&self, rows: Range<usize>) -> Result<[u8; 32], FileError> {
        let mut digest = Sha256::new();
        let mut row = vec![0.0; self.dimension];
        let mut bytes = vec![0_u8; 4 * self.dimension];
        for i in rows {
            self.array.row(i, &mut row);
            if let Some(at) = row.iter().position(|x| !x.is_finite()) {
                let field = format!("{}, row {i}, column {at}", self.array.name());
                return Err(FileError::content(
                    self.array.path(),
                    &field,
                    "a finite number in f32",
                    row[at].to_string(),
                ));
            }
            bytes.as_chunks_mut::<4>().0.iter_mut().zip(&row).for_each(|(bytes, x)| *bytes = x.to_le_bytes());
            digest.update(&bytes);
        }
        Ok(digest.finalize().into())
    }

    /// Rows by their numbers, one after the other.
    ///
    /// # Panics
    /// If there is no such row, or `out` has another length; both are mistakes of the program.
    pub fn read(&self, indices: &[u64], out: &mut [f32]) {
        assert_eq!(out.len(), indices.len() * self.dimension, "one row per index");
        for (&i, row) in indices.iter().zip(out.chunks_exact_mut(self.dimension)) {
            self.array.row(i as usize, row);
        }
    }
}

/// The array that a source names.
fn array(source: &str) -> Result<Array, FileError> {
    let extension = Path::new(source).extension().and_then(|e| e.to_str()).unwrap_or_default();
    if let Some((stem, name)) = source.split_once(".safetensors:") {
        return TensorFile::open(Path::new(&format!("{stem}.safetensors")))?.array(name);
    }
    match extension {
        "npy" => npy::open(Path::new(source)),
        "safetensors" => {
            let file = TensorFile::open(Path::new(source))?;
            match file.names().as_slice() {
                [only] => file.array(only),
                names => {
                    let expected = "the name of one after a colon, as in FILE.safetensors:TENSOR";
                    Err(FileError::content(file.path(), "tensors", expected, names.join(", ")))
                }
            }
        }
        other => {
            let found = match other {
                "pt" | "pth" | "bin" => {
                    format!(".{other}, which holds pickled Python; save_file of safetensors.torch writes what is read")
                }
                "npz" => ".npz, whose arrays np.save writes singly".to_owned(),
                _ => format!("`{source}`"),
            };
            Err(FileError::content(Path::new(source), "name", "FILE.npy or FILE.safetensors:TENSOR", found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tensors::serialize;
    use super::*;

    fn npy_file(folder: &Path, name: &str, shape: &[u64], numbers: &[f32]) -> String {
        let path = folder.join(name);
        let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(&path, [npy::header(shape), data].concat()).unwrap();
        path.display().to_string()
    }

    #[test]
    fn rows_are_read_by_their_number_from_both_kinds_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let numbers = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let tensors = folder.path().join("x.safetensors");
        std::fs::write(&tensors, serialize(&[("model.acts", vec![3, 2], &numbers)])).unwrap();
        let tensors = tensors.display().to_string();
        for source in
            [npy_file(folder.path(), "x.npy", &[3, 2], &numbers), tensors.clone(), format!("{tensors}:model.acts")]
        {
            let embeddings = Embeddings::open(&source).unwrap();
            assert_eq!((embeddings.rows(), embeddings.dimension()), (3, 2));
            let mut out = [0.0; 6];
            embeddings.read(&[2, 0, 2], &mut out);
            assert_eq!(out, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
            assert_eq!(embeddings.digest().unwrap(), Embeddings::open(&tensors).unwrap().digest().unwrap());
        }
    }

    #[test]
    fn a_digest_tells_any_number_and_any_axes_apart() {
        let folder = tempfile::tempdir().unwrap();
        let digest = |shape: &[u64], numbers: &[f32]| {
            Embeddings::open(&npy_file(folder.path(), "x.npy", shape, numbers)).unwrap().digest().unwrap()
        };
        // More than one block, the last one short.
        let count = 2 * BLOCK as u64 + 6;
        let numbers: Vec<f32> = (0..count).map(|k| k as f32).collect();
        let mut digests = vec![
            digest(&[count, 1], &numbers),
            digest(&[count / 2, 2], &numbers),
            digest(&[count / 2, 2, 1], &numbers),
            digest(&[2, count / 2], &numbers),
        ];
        for at in [0, BLOCK, numbers.len() - 1] {
            let mut other = numbers.clone();
            other[at] += 0.5;
            digests.push(digest(&[count, 1], &other));
        }
        let mut swapped = numbers.clone();
        swapped.rotate_left(BLOCK);
        digests.push(digest(&[count, 1], &swapped));
        assert_eq!(digest(&[count, 1], &numbers), digests[0]);
        for (k, one) in digests.iter().enumerate() {
            assert!(one.len() == 64 && digests[..k].iter().all(|other| other != one), "{k}");
        }
    }

    #[test]
    fn sources_are_stacked_in_a_row_and_their_number_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let embeddings =
            Embeddings::open(&npy_file(folder.path(), "x.npy", &[1, 3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        assert_eq!((embeddings.rows(), embeddings.sources(), embeddings.dimension()), (1, 3, 6));
        let mut out = [0.0; 6];
        embeddings.read(&[0], &mut out);
        assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let flat = Embeddings::open(&npy_file(folder.path(), "x.npy", &[1, 2], &[1.0, 2.0])).unwrap();
        assert_eq!(flat.sources(), 1);
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_by_row_and_column() {
        let folder = tempfile::tempdir().unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let mut numbers = vec![1.0; 2000];
            numbers[1234] = bad;
            numbers[1500] = bad;
            let source = npy_file(folder.path(), "x.npy", &[1000, 2], &numbers);
            let error = Embeddings::open(&source).unwrap().digest().unwrap_err().to_string();
            assert!(error.contains("row 617, column 0: expected a finite number"), "{error}");
        }
    }

    #[test]
    fn other_shapes_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let two = folder.path().join("two.safetensors");
        std::fs::write(&two, serialize(&[("a", vec![1, 1], &[1.0]), ("b", vec![1, 1], &[1.0])])).unwrap();
        for (source, names) in [
            (npy_file(folder.path(), "one.npy", &[6], &[0.0; 6]), "axes (samples, dimension)"),
            (npy_file(folder.path(), "none.npy", &[0, 4], &[]), "none of them empty"),
            (npy_file(folder.path(), "four.npy", &[1, 1, 1, 1], &[0.0]), "axes (samples, dimension)"),
            (at("two.safetensors"), "FILE.safetensors:TENSOR, found a, b"),
            (at("two.safetensors:c"), "found only a, b"),
            (at("absent.npy"), "cannot be read"),
            (at("acts.pt"), "save_file"),
            (at("acts.txt"), "FILE.npy"),
        ] {
            let error = Embeddings::open(&source).unwrap_err().to_string();
            assert!(error.contains(names), "{source}: {error}");
        }
    }
}
