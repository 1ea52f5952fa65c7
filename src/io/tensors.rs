//! Safetensors files: named arrays, mapped into memory.

use super::FileError;
use super::array::{Array, Element};
use super::map::Mapped;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// An open file. Its header is read, its numbers are not.
#[derive(Debug)]
pub struct TensorFile {
    file: Arc<Mapped>,
    start: usize,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file.
    ///
    /// # Errors
    /// The file cannot be read or is not one of safetensors.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = Arc::new(Mapped::open(path)?);
        let found = match file.get(..2) {
            Some(b"PK") => Some("a ZIP archive, as torch.save writes"),
            Some([0x80, 2..=5]) => Some("pickled Python"),
            _ => None,
        };
        let expected = "the format safetensors";
        if let Some(found) = found {
            let fix = "which is not read; save_file of safetensors.torch writes a file that is";
            return Err(FileError::content(path, "header", expected, format!("{found}, {fix}")));
        }
        let (length, metadata) = SafeTensors::read_metadata(&file)
            .map_err(|error| FileError::content(path, "header", expected, error.to_string()))?;
        // 8 bytes hold the length of the header.
        Ok(Self { file, start: 8 + length, metadata })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names of the tensors, in alphabetic order.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names
    }

    /// True if there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// A tensor.
    ///
    /// # Errors
    /// There is none of this name, or it holds numbers of an unusual kind.
    pub fn array(&self, name: &str) -> Result<Array, FileError> {
        let Some(info) = self.metadata.info(name) else {
            let found = format!("only {}", listed(&self.names()));
            return Err(FileError::content(self.path(), name, "a tensor of this name", found));
        };
        let Some(element) = Element::of_safetensors(info.dtype) else {
            let expected = "numbers in F16, BF16, F32, F64 or integers";
            return Err(FileError::content(self.path(), name, expected, info.dtype.to_string()));
        };
        let (first, end) = info.data_offsets;
        Array::new(
            Arc::clone(&self.file),
            name,
            self.start + first..self.start + end,
            element,
            info.shape.clone(),
            false,
        )
    }

    /// All numbers of a tensor of floating-point numbers in f32, which must have this shape.
    ///
    /// # Errors
    /// There is none of this name, or it has another shape or other numbers.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
        let array = self.array(name)?;
        if array.shape() != shape {
            return Err(array.wrong(format!("the shape {shape:?}"), format!("{:?}", array.shape())));
        }
        if !array.element().is_float() {
            return Err(array.wrong("floating-point numbers", format!("{:?}", array.element())));
        }
        Ok(array.to_f32())
    }
}

/// The bytes of a file of f32 tensors.
pub fn serialize(tensors: &[(&str, Vec<usize>, &[f32])]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, numbers)| (*name, Floats { shape, numbers }));
    safetensors::serialize(views, None).expect("names are distinct and sizes are right")
}

/// Numbers that become bytes when they are written, one tensor at a time.
struct Floats<'a> {
    shape: &'a [usize],
    numbers: &'a [f32],
}

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.numbers.len()
    }
}

/// Names as an error lists them.
fn listed(names: &[String]) -> String {
    const MOST: usize = 12;
    match names.len() {
        0 => "an empty file".to_owned(),
        1..=MOST => names.join(", "),
        more => format!("{} and {} more", names[..MOST].join(", "), more - MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn tensors_are_found_by_name_and_have_their_shape() {
        let (_folder, path) = written(&serialize(&[("b", vec![3], &[1.0, 2.0, 3.0]), ("a", vec![2, 1], &[4.0, 5.0])]));
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.names(), ["a", "b"]);
        assert_eq!(file.floats("a", &[2, 1]).unwrap(), [4.0, 5.0]);
        assert_eq!(file.array("b").unwrap().to_f32(), [1.0, 2.0, 3.0]);
        let error = file.floats("a", &[1, 2]).unwrap_err().to_string();
        assert!(error.ends_with("a: expected the shape [1, 2], found [2, 1]"), "{error}");
        let error = file.array("c").unwrap_err().to_string();
        assert!(error.ends_with("c: expected a tensor of this name, found only a, b"), "{error}");
    }

    #[test]
    fn half_precisions_become_the_same_numbers_in_f32() {
        for (dtype, bytes) in [(Dtype::F16, [0x00_u8, 0x3e, 0x00, 0xc0]), (Dtype::BF16, [0xc0, 0x3f, 0x00, 0xc0])] {
            let view = TensorView::new(dtype, vec![2], &bytes).unwrap();
            let (_folder, path) = written(&safetensors::serialize([("x", view)], None).unwrap());
            assert_eq!(TensorFile::open(&path).unwrap().floats("x", &[2]).unwrap(), [1.5, -2.0]);
        }
    }

    #[test]
    fn a_damaged_file_and_the_files_of_pytorch_are_refused_by_name() {
        let good = serialize(&[("x", vec![2], &[1.0, 2.0])]);
        let long = [b"\xff\xff\xff\xff\xff\xff\xff\x7f".as_slice(), &good[8..]].concat();
        for bytes in [&good[..good.len() - 1], &good[..20], &good[..7], b"", &[good.as_slice(), b"x"].concat(), &long] {
            let (_folder, path) = written(bytes);
            let error = TensorFile::open(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: header: expected", path.display())), "{error}");
        }
        for bytes in [b"PK\x03\x04zip".as_slice(), b"\x80\x02pickle"] {
            let (_folder, path) = written(bytes);
            let error = TensorFile::open(&path).unwrap_err().to_string();
            assert!(error.contains("save_file"), "{error}");
        }
    }
}
