//! Labels of the user's samples: one class per row, from a `.npy` file or from CSV.

use super::error::excerpt;
use super::{FileError, hexadecimal, npy};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// A class for every sample that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The class of each sample, as a place in `names`.
    pub classes: Vec<Option<u32>>,
    /// Classes in order: integers by size, then texts by letters.
    pub names: Vec<String>,
}

/// Integers come before texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Number(i128),
    Text(String),
}

impl Label {
    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "" => None,
            text => Some(text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Number)),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl Labels {
    /// Reads `FILE.npy` (integers on one axis), `FILE.csv` with one column, or `FILE.csv:COLUMN`, whose first line names the columns. A sample
    /// has no class where CSV has an empty cell or, in one column, an empty line, and where the number is negative.
    ///
    /// Without COLUMN the first line is a heading if it is a word and all other labels are integers. A heading above words looks like a label, so
    /// that words are taken from the first line on, and one word too many is refused.
    ///
    /// # Errors
    /// The file cannot be read, is of another kind, or has not one label for each of the `samples`.
    pub fn open(source: &str, samples: usize) -> Result<Self, FileError> {
        let (file, column) = match source.split_once(".csv:") {
            Some((stem, column)) => (format!("{stem}.csv"), Some(column)),
            None => (source.to_owned(), None),
        };
        let path = Path::new(&file);
        let labels = match path.extension().and_then(|e| e.to_str()) {
            Some("npy") => from_npy(path, samples)?,
            Some("csv") => from_csv(path, column, samples)?,
            _ => {
                return Err(FileError::content(
                    path,
                    "name",
                    "FILE.npy, FILE.csv or FILE.csv:COLUMN",
                    excerpt(source.as_bytes()),
                ));
            }
        };
        let labels: Vec<Option<Label>> =
            labels.into_iter().map(|label| label.filter(|label| !matches!(label, Label::Number(..0)))).collect();
        let mut order: BTreeMap<&Label, u32> = labels.iter().flatten().map(|label| (label, 0)).collect();
        for (class, at) in (0..).zip(order.values_mut()) {
            *at = class;
        }
        if order.is_empty() {
            return Err(FileError::content(path, "labels", "at least one class", "none"));
        }
        let classes = labels.iter().map(|label| label.as_ref().map(|label| order[label])).collect();
        Ok(Self { classes, names: order.keys().map(|label| label.name()).collect() })
    }

    /// SHA-256 of the names and of the class of every sample.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for name in &self.names {
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name);
        }
        for class in &self.classes {
            digest.update(class.unwrap_or(u32::MAX).to_le_bytes());
        }
        hexadecimal(&digest.finalize())
    }
}

/// There must be one label for each row.
fn miscounted(path: &Path, samples: usize, found: impl Into<String>) -> FileError {
    FileError::content(path, "number of labels", format!("{samples}, one for each row of the embeddings"), found)
}

fn from_npy(path: &Path, samples: usize) -> Result<Vec<Option<Label>>, FileError> {
    let array = npy::open(path)?;
    if array.element().is_float() || array.shape().len() != 1 {
        let found = format!("{:?} with the shape {:?}", array.element(), array.shape());
        return Err(array.wrong("integers on one axis", found));
    }
    if array.len() != samples {
        return Err(miscounted(path, samples, array.len().to_string()));
    }
    Ok((0..array.len()).map(|i| Some(Label::Number(array.integer(i)))).collect())
}

fn from_csv(path: &Path, column: Option<&str>, samples: usize) -> Result<Vec<Option<Label>>, FileError> {
    let wrong = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => FileError::read(path, error),
        csv::ErrorKind::Utf8 { pos, .. } => {
            let line = pos.map_or(0, |pos| pos.line());
            FileError::content(path, &format!("line {line}"), "text in UTF-8", "other bytes")
        }
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.map_or(0, |pos| pos.line());
            FileError::content(path, &format!("line {line}"), format!("{expected_len} columns"), len.to_string())
        }
        kind => FileError::content(path, "records", "CSV", format!("{kind:?}")),
    };
    let file = File::open(path).map_err(|error| FileError::read(path, error))?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(column.is_some())
        .terminator(csv::Terminator::Any(b'\n'))
        .from_reader(Filled::new(BufReader::new(file)));
    let at = match column {
        None => 0,
        Some(column) => {
            let names = reader.headers().map_err(wrong)?;
            names.iter().position(|name| name.trim() == column).ok_or_else(|| {
                let found = names.iter().take(12).map(str::trim).collect::<Vec<_>>().join(", ");
                FileError::content(path, "first line", format!("a column named {column}"), excerpt(found.as_bytes()))
            })?
        }
    };
    // More lines than a heading and two labels too many change nothing about the answer, and a long file is not held.
    let most = samples.saturating_add(2);
    let mut labels = Vec::new();
    for record in reader.records().take(most) {
        let record = record.map_err(wrong)?;
        if column.is_none() && record.len() != 1 {
            let expected = "one column, or the name of one after a colon, as in FILE.csv:COLUMN";
            return Err(FileError::content(path, "columns", expected, record.len().to_string()));
        }
        labels.push(Label::read(&record[at]));
    }
    let cut = labels.len() == most;
    let heading = (column.is_none() && is_headed(&labels)).then(|| labels.remove(0)).flatten();
    if labels.len() == samples {
        return Ok(labels);
    }
    let least = if cut { "at least " } else { "" };
    let empty = match labels.iter().filter(|label| label.is_none()).count() {
        0 => String::new(),
        empty => format!(", {empty} of them empty"),
    };
    let hint = match (heading, labels.first()) {
        (Some(heading), _) => format!(", below the heading {}", excerpt(heading.name().as_bytes())),
        (None, Some(Some(first @ Label::Text(_)))) if column.is_none() && labels.len() == samples + 1 => {
            let first = excerpt(first.name().as_bytes());
            format!("; if {first} is a heading, name the column as FILE.csv:COLUMN")
        }
        _ => String::new(),
    };
    let found = format!("{least}{}{empty}{hint}", labels.len());
    Err(miscounted(path, samples, found))
}

/// A word above integers is a heading.
fn is_headed(labels: &[Option<Label>]) -> bool {
    let Some((Some(Label::Text(_)), rest)) = labels.split_first() else { return false };
    let mut rest = rest.iter().flatten().peekable();
    rest.peek().is_some() && rest.all(|label| matches!(label, Label::Number(_)))
}

/// Lines of CSV, in which an empty one becomes an empty cell in quotes: the reader of CSV passes over lines that hold nothing.
struct Filled<R> {
    lines: R,
    line: Vec<u8>,
    /// Bytes of the line that have been given.
    given: usize,
    /// The next line begins within quotes.
    quoted: bool,
}

impl<R: BufRead> Filled<R> {
    fn new(lines: R) -> Self {
        Self { lines, line: Vec::new(), given: 0, quoted: false }
    }
}

impl<R: BufRead> Read for Filled<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.line.len() {
            self.line.clear();
            self.given = 0;
            self.lines.read_until(b'\n', &mut self.line)?;
            if !self.quoted && matches!(self.line.as_slice(), b"\n" | b"\r\n") {
                self.line.splice(..0, *b"\"\"");
            }
            self.quoted = ends_quoted(&self.line, self.quoted);
        }
        let count = (&self.line[self.given..]).read(out)?;
        self.given += count;
        Ok(count)
    }
}

/// Whether quotes are open at the end of a line. One opens where a cell begins, or right after the one that has closed, which is a quote in the text.
fn ends_quoted(line: &[u8], mut quoted: bool) -> bool {
    let mut opens = !quoted;
    for &byte in line {
        (quoted, opens) = match (byte, quoted) {
            (b'"', true) => (false, true),
            (b'"', false) => (opens, false),
            (b',', false) => (false, true),
            (_, quoted) => (quoted, false),
        };
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str, content: &[u8], column: &str, samples: usize) -> Result<Labels, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Labels::open(&format!("{}{column}", path.display()), samples)
    }

    #[test]
    fn a_column_of_csv_is_read_with_and_without_a_heading() {
        let expected =
            Labels { classes: vec![Some(1), None, Some(0), Some(1)], names: vec!["cat".into(), "dog, big".into()] };
        let rows = "\"dog, big\"\n\"\"\ncat\n\"dog, big\"\n";
        assert_eq!(labels("x.csv", rows.as_bytes(), "", 4).unwrap(), expected);
        assert_eq!(labels("x.csv", format!("animal\n{rows}").as_bytes(), ":animal", 4).unwrap(), expected);
        let table = "id,animal\n1,\"dog, big\"\n2,\n3,cat\n4,\"dog, big\"\n";
        assert_eq!(labels("x.csv", table.as_bytes(), ":animal", 4).unwrap(), expected);
    }

    #[test]
    fn an_empty_line_is_a_sample_without_a_class_wherever_it_stands() {
        let numbers = |classes: &[Option<u32>]| Labels {
            classes: classes.to_vec(),
            names: (1..=classes.iter().flatten().count()).map(|k| k.to_string()).collect(),
        };
        for (content, column, classes) in [
            // As many records as samples if the empty line is passed over, and a heading among them.
            ("class\n1\n\n2\n", "", [Some(0), None, Some(1)]),
            ("class\n1\n\n2\n", ":class", [Some(0), None, Some(1)]),
            ("\n1\n2\n", "", [None, Some(0), Some(1)]),
            ("1\n2\n\n", "", [Some(0), Some(1), None]),
            ("1\n\n\n", "", [Some(0), None, None]),
            ("class\r\n\r\n1\r\n2\r\n", "", [None, Some(0), Some(1)]),
            ("\"class\"\r\n\r\n\"1\"\r\n2", ":class", [None, Some(0), Some(1)]),
            ("class,id\n1,a\n,b\n2,c\n", ":class", [Some(0), None, Some(1)]),
            ("id,class\r\na,1\r\nb,\r\nc,2\r\n", ":class", [Some(0), None, Some(1)]),
        ] {
            assert_eq!(labels("x.csv", content.as_bytes(), column, 3).unwrap(), numbers(&classes), "{content:?}");
        }
        // Within quotes it is text.
        let quoted = labels("x.csv", b"\"a\"\"\n\nb\"\n\n\"c\"\n", "", 3).unwrap();
        assert_eq!((quoted.classes, quoted.names), (vec![Some(0), None, Some(1)], vec!["a\"\n\nb".into(), "c".into()]));
    }

    #[test]
    fn a_line_too_many_or_too_few_is_never_taken_for_a_heading_or_a_label() {
        for (content, column, names) in [
            ("class\n1\n2\n", "", "expected 3, one for each row of the embeddings, found 2, below the heading `class`"),
            ("class\n1\n\n", "", "found 2, 1 of them empty, below the heading `class`"),
            ("1\n2\n3\n4\n", "", "found 4"),
            ("1\n2\n3\n\n", "", "found 4, 1 of them empty"),
            ("animal\ncat\ndog\ncat\n", "", "found 4; if `animal` is a heading, name the column as FILE.csv:COLUMN"),
            ("animal\ncat\n\ndog\n", "", "found 4, 1 of them empty; if `animal` is a heading"),
            ("class\n1\n2\n3\n4\n", "", "found at least 4, below the heading `class`"),
            ("class\n1\n2\n", ":class", "found 2"),
            ("class\n1\n2\n3\n4\n", ":class", "found 4"),
            ("id,class\na,1\n\nb,2\n", ":class", "line 3: expected 2 columns, found 1"),
        ] {
            let error = labels("x.csv", content.as_bytes(), column, 3).unwrap_err().to_string();
            assert!(error.contains(names), "{content:?}: {error}");
        }
        // What comes after two lines too many is not read.
        let long = [b"1\n2\n3\n4\n5\n".as_slice(), &[b'\n'; 1 << 14], b"\xff\n"].concat();
        for column in ["", ":1"] {
            let error = labels("x.csv", &long, column, 3).unwrap_err().to_string();
            assert!(error.contains("found at least 5"), "{error}");
        }
    }

    #[test]
    fn integers_are_ordered_by_size_and_negative_ones_are_no_class() {
        let expected = Labels { classes: vec![Some(1), None, Some(0)], names: vec!["2".into(), "10".into()] };
        assert_eq!(labels("x.csv", b"10\n-1\n2\n", "", 3).unwrap(), expected);
        let header = "{'descr': '<i8', 'fortran_order': False, 'shape': (3,)}";
        let data: Vec<u8> = [10_i64, -1, 2].iter().flat_map(|x| x.to_le_bytes()).collect();
        let file =
            [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), &data].concat();
        assert_eq!(labels("x.npy", &file, "", 3).unwrap(), expected);
    }

    #[test]
    fn labels_that_do_not_fit_the_samples_are_refused() {
        for (name, content, column, names) in [
            ("x.csv", b"1\n2\n".as_slice(), "", "number of labels: expected 3"),
            ("x.csv", b"1\n2\n3\n4\n5\n", "", "number of labels: expected 3"),
            ("x.csv", b"1,2\n2,3\n4,5\n", "", "FILE.csv:COLUMN"),
            ("x.csv", b"a,b\n2,3\n4\n", ":a", "line 3: expected 2 columns, found 1"),
            ("x.csv", b"a,b\n2,3\n", ":c", "first line: expected a column named c, found `a, b`"),
            ("x.csv", b"a\n\xff\n3\n", ":a", "text in UTF-8"),
            ("x.csv", b"-1\n-1\n-1\n", "", "at least one class"),
            ("x.csv", b"", "", "number of labels"),
            ("x.txt", b"", "", "FILE.npy, FILE.csv"),
            ("x.npy", b"no", "", "first bytes"),
        ] {
            let error = labels(name, content, column, 3).unwrap_err().to_string();
            assert!(error.contains(names) && !error.contains('\n'), "{error}");
        }
    }
}
