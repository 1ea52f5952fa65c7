//! The NPY array format, versions 1.0 to 3.0 (NumPy Enhancement Proposal 1).
//!
//! Written by hand, since the format is one line of text before the numbers, and the crates for it bring a grammar of Python with them.

use super::FileError;
use super::array::{Array, Element};
use super::error::excerpt;
use super::map::Mapped;
use std::path::Path;
use std::sync::Arc;

/// What a file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read. NumPy itself writes and reads up to 10,000 bytes.
const LONGEST_HEADER: usize = 1 << 16;
/// Most axes, as in NumPy.
const MOST_AXES: usize = 64;

/// The bytes before the numbers of a C-ordered little-endian f32 array, in version 1.0.
pub fn header(shape: &[u64]) -> Vec<u8> {
    let mut sizes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    if shape.len() > 1 {
        sizes.truncate(sizes.len() - 2);
    }
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
    let padding = 63 - (10 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a shape of a few numbers is short");
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}

/// Opens an array of numbers; only the header is read now.
///
/// # Errors
/// The file cannot be read, is not such an array, or has fewer or more bytes than its header says.
pub fn open(path: &Path) -> Result<Array, FileError> {
    let file = Arc::new(Mapped::open(path)?);
    let text = header_text(&file)?;
    let start = text.end;
    let read = Text { file: &file, bytes: &file[text], at: 0 }.header()?;
    let data = start..file.len();
    Array::new(Arc::clone(&file), "data", data, read.element, read.shape, read.fortran)
}

/// What the header says.
struct Header {
    element: Element,
    shape: Vec<usize>,
    fortran: bool,
}

/// Where the text of the header stands.
fn header_text(file: &Mapped) -> Result<std::ops::Range<usize>, FileError> {
    let wrong = |field, expected: &str, found: String| Err(FileError::content(file.path(), field, expected, found));
    if !file.starts_with(MAGIC) {
        let found = if file.starts_with(b"PK") {
            "a ZIP archive such as .npz, whose arrays can be saved singly with np.save".to_owned()
        } else {
            excerpt(&file[..file.len().min(MAGIC.len())])
        };
        return wrong("first bytes", "an array saved by NumPy, which begins with `\\x93NUMPY`", found);
    }
    let (start, length) = match file.get(MAGIC.len()..) {
        Some([1, _, low, high, ..]) => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        Some([2 | 3, _, a, b, c, d, ..]) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        Some([1..=3, ..]) => {
            return wrong("header", "its length", format!("the end of the file after {} bytes", file.len()));
        }
        Some([version, ..]) => return wrong("version", "1, 2 or 3", version.to_string()),
        _ => return wrong("version", "1, 2 or 3", "the end of the file".to_owned()),
    };
    if length > LONGEST_HEADER {
        return wrong("header length", &format!("at most {LONGEST_HEADER}"), length.to_string());
    }
    if start + length > file.len() {
        return wrong(
            "header length",
            &format!("at most the {} bytes that follow", file.len() - start),
            length.to_string(),
        );
    }
    Ok(start..start + length)
}

/// The header as a text that is read from left to right: a dictionary in the notation of Python.
struct Text<'a> {
    file: &'a Mapped,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    fn header(mut self) -> Result<Header, FileError> {
        let (mut element, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while self.peek() != Some(b'}') {
            let key = self.string("a key")?;
            self.expect(b':')?;
            match key {
                b"descr" if element.is_none() => element = Some(self.element()?),
                b"fortran_order" if fortran.is_none() => fortran = Some(self.boolean()?),
                b"shape" if shape.is_none() => shape = Some(self.shape()?),
                _ => {
                    let expected = "the keys descr, fortran_order and shape, each once";
                    return Err(self.wrong("header", expected, excerpt(key)));
                }
            }
            if self.peek() != Some(b'}') {
                self.expect(b',')?;
            }
        }
        self.expect(b'}')?;
        if self.peek().is_some() {
            return Err(self.unexpected("the end of the header after `}`"));
        }
        match (element, fortran, shape) {
            (Some(element), Some(fortran), Some(shape)) => Ok(Header { element, shape, fortran }),
            (element, fortran, _) => {
                let missing = if element.is_none() {
                    "descr"
                } else if fortran.is_none() {
                    "fortran_order"
                } else {
                    "shape"
                };
                Err(self.wrong("header", "the keys descr, fortran_order and shape", format!("no {missing}")))
            }
        }
    }

    fn wrong(&self, field: &str, expected: &str, found: String) -> FileError {
        FileError::content(self.file.path(), field, expected, found)
    }

    fn unexpected(&self, expected: &str) -> FileError {
        let found = if self.at < self.bytes.len() { excerpt(&self.bytes[self.at..]) } else { "its end".to_owned() };
        self.wrong("header", expected, found)
    }

    /// The next character that is not a space.
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, character: u8) -> Result<(), FileError> {
        if self.peek() != Some(character) {
            return Err(self.unexpected(&format!("`{}`", char::from(character))));
        }
        self.at += 1;
        Ok(())
    }

    /// A quoted text without escapes, which none of the keys and kinds has.
    fn string(&mut self, what: &str) -> Result<&'a [u8], FileError> {
        let quote = self.peek().filter(|c| matches!(c, b'\'' | b'"'));
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        match quote.and_then(|quote| rest.iter().position(|c| *c == quote)) {
            Some(length) => {
                self.at += length + 2;
                Ok(&rest[..length])
            }
            None => Err(self.unexpected(&format!("{what} in quotes"))),
        }
    }

    fn boolean(&mut self) -> Result<bool, FileError> {
        self.peek();
        for (word, value) in [(b"True".as_slice(), true), (b"False", false)] {
            if self.bytes[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    fn shape(&mut self) -> Result<Vec<usize>, FileError> {
        let mut shape = Vec::new();
        let mut after_comma = true;
        self.expect(b'(')?;
        while self.peek() != Some(b')') {
            let digits = self.bytes[self.at..].iter().take_while(|c| c.is_ascii_digit()).count();
            let text = &self.bytes[self.at..self.at + digits];
            if !after_comma || digits == 0 {
                return Err(self.unexpected("a tuple of lengths such as (100, 7)"));
            }
            let length = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            let Some(length) = length.filter(|_| shape.len() < MOST_AXES) else {
                let expected = format!("at most {MOST_AXES} axes, each shorter than 2^{}", usize::BITS);
                return Err(self.wrong("shape", &expected, excerpt(&self.bytes[self.at..])));
            };
            shape.push(length);
            self.at += digits;
            after_comma = self.peek() == Some(b',');
            self.at += usize::from(after_comma);
        }
        self.at += 1;
        Ok(shape)
    }

    fn element(&mut self) -> Result<Element, FileError> {
        if self.peek() == Some(b'[') {
            return Err(self.wrong("descr", "one kind of number", "records of several".to_owned()));
        }
        let descr = self.string("the kind of number")?;
        Ok(match descr {
            b"<f2" => Element::F16,
            b"<f4" => Element::F32,
            b"<f8" => Element::F64,
            b"|b1" => Element::Bool,
            b"|i1" => Element::I8,
            b"<i2" => Element::I16,
            b"<i4" => Element::I32,
            b"<i8" => Element::I64,
            b"|u1" => Element::U8,
            b"<u2" => Element::U16,
            b"<u4" => Element::U32,
            b"<u8" => Element::U64,
            _ => {
                let hint = match descr {
                    [b'>', ..] => ", which is big-endian: save array.astype(array.dtype.newbyteorder('<'))",
                    [b'|', b'O', ..] => ", which is pickled Python, and that is not read",
                    [_, b'V', ..] => ", which may be bfloat16: save it as safetensors, or as float32",
                    [_, b'U' | b'S', ..] => ", which is text: labels that are text can be read from CSV",
                    _ => "",
                };
                let expected = "<f2, <f4, <f8, or an integer kind such as <i8";
                return Err(self.wrong("descr", expected, format!("{}{hint}", excerpt(descr))));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A file with this header text, version and data.
    fn file(version: u8, text: &str, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let length = text.len() as u32;
        let size = if version == 1 { length.to_le_bytes()[..2].to_vec() } else { length.to_le_bytes().to_vec() };
        std::fs::write(&path, [b"\x93NUMPY", [version, 0].as_slice(), &size, text.as_bytes(), data].concat()).unwrap();
        (folder, path)
    }

    fn dictionary(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
    }

    #[test]
    fn the_data_begins_at_a_multiple_of_64_bytes_after_a_line_of_python() {
        for shape in [vec![], vec![3], vec![100_000, 768], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
            let bytes = header(&shape);
            assert_eq!(bytes.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), bytes.len() - 10);
            assert_eq!(bytes.last(), Some(&b'\n'));
        }
        let text = String::from_utf8_lossy(&header(&[3])).into_owned();
        assert!(text.contains("'shape': (3, ), }"), "{text}");
        assert!(String::from_utf8_lossy(&header(&[100, 7])).contains("'shape': (100, 7), }"));
    }

    #[test]
    fn what_the_writer_begins_the_reader_understands() {
        for shape in [vec![], vec![3], vec![4, 2], vec![2, 1, 3]] {
            let numbers: Vec<f32> = (0..shape.iter().product::<u64>()).map(|i| i as f32 - 1.5).collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.npy");
            let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            std::fs::write(&path, [header(&shape), data].concat()).unwrap();
            let array = open(&path).unwrap();
            assert_eq!(array.shape(), shape.iter().map(|n| *n as usize).collect::<Vec<_>>());
            assert_eq!(array.to_f32(), numbers);
        }
    }

    #[test]
    fn all_kinds_of_numbers_are_read_in_every_version() {
        let half = [0x00_u8, 0x3e, 0x00, 0xc0];
        let cases: [(&str, Vec<u8>, [f32; 2]); 7] = [
            ("<f2", half.to_vec(), [1.5, -2.0]),
            ("<f4", [1.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect(), [1.5, -2.0]),
            ("<f8", [1.5_f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect(), [1.5, -2.0]),
            ("<i8", [7_i64, -2].iter().flat_map(|x| x.to_le_bytes()).collect(), [7.0, -2.0]),
            ("<i2", [7_i16, -2].iter().flat_map(|x| x.to_le_bytes()).collect(), [7.0, -2.0]),
            ("|u1", vec![7, 255], [7.0, 255.0]),
            ("|b1", vec![1, 0], [1.0, 0.0]),
        ];
        for version in 1..=3 {
            for (descr, data, numbers) in &cases {
                let (_folder, path) = file(version, &dictionary(descr, "False", "(2,)"), data);
                assert_eq!(open(&path).unwrap().to_f32(), numbers, "{descr}");
            }
        }
        let (_folder, path) = file(1, &dictionary("<i8", "False", "(2,)"), &cases[3].1);
        assert_eq!([0, 1].map(|i| open(&path).unwrap().integer(i)), [7, -2]);
    }

    #[test]
    fn rows_of_a_fortran_ordered_array_are_gathered() {
        // In Fortran order the first index runs fastest.
        let data: Vec<u8> = [1.0_f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let (_folder, path) = file(1, &dictionary("<f4", "True", "(2, 3)"), &data);
        assert_eq!(open(&path).unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        // Index (i, j, k) of the shape (2, 1, 3) stands at i + 2 j + 2 k.
        let (_folder, path) = file(1, &dictionary("<f4", "True", "(2, 1, 3)"), &data);
        assert_eq!(open(&path).unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn a_hostile_header_gives_one_error_that_names_file_and_field() {
        let good = dictionary("<f4", "False", "(2,)");
        for (version, text, data, names) in [
            (9, good.as_str(), 8, "version: expected 1, 2 or 3, found 9"),
            (1, &good, 7, "data: expected 8 bytes"),
            (1, &good, 9, "data: expected 8 bytes"),
            (1, &dictionary(">f4", "False", "(2,)"), 8, "big-endian"),
            (1, &dictionary("|O", "False", "(2,)"), 8, "pickled"),
            (1, &dictionary("<V2", "False", "(2,)"), 4, "bfloat16"),
            (1, &dictionary("<U4", "False", "(2,)"), 8, "CSV"),
            (1, &dictionary("<f4", "Maybe", "(2,)"), 8, "True or False"),
            (1, &dictionary("<f4", "False", "(99999999999999999999,)"), 8, "shape: expected at most 64 axes"),
            (
                1,
                &dictionary("<f4", "False", "(4294967296, 4294967296, 4)"),
                8,
                "data: expected a shape of less than 2^",
            ),
            (1, &dictionary("<f4", "False", "(0, 18446744073709551615)"), 8, "data: expected"),
            (1, &dictionary("<f4", "False", &format!("({})", "1,".repeat(65))), 4, "at most 64 axes"),
            (1, &dictionary("<f4", "False", "(2 2)"), 16, "a tuple of lengths"),
            (1, &dictionary("<f4", "False", "(-2,)"), 8, "a tuple of lengths"),
            (1, &dictionary("<f4", "False", "[2]"), 8, "expected `(`"),
            (1, "{'descr': '<f4', 'shape': (2,)}", 8, "no fortran_order"),
            (1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", 8, "descr: expected one kind"),
            (1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, "each once"),
            (1, "{'descr': '<f4", 8, "the kind of number in quotes"),
            (1, "", 8, "header: expected `{`, found its end"),
        ] {
            let (_folder, path) = file(version, text, &vec![0; data]);
            let error = open(&path).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()) && error.contains(names), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_header_that_is_longer_than_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        for (bytes, names) in [
            (b"".as_slice(), "first bytes"),
            (b"PK\x03\x04....", "np.save"),
            (b"\x93NUMPY", "version"),
            (b"\x93NUMPY\x01\x00\x40", "header: expected its length"),
            (b"\x93NUMPY\x01\x00\xff\xff{", "header length: expected at most the 1 bytes"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "header length: expected at most 65536"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = open(&path).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
    }
}
