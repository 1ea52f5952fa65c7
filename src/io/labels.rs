//! Labels of the user's samples: one class per row, from a `.npy` file or from CSV.

use super::error::excerpt;
use super::{FileError, npy};
use std::collections::BTreeMap;
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
    /// has no class where CSV has an empty cell or the number is negative.
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
            Some("npy") => from_npy(path)?,
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
        if labels.len() != samples {
            let expected = format!("{samples}, one for each row of the embeddings");
            return Err(FileError::content(path, "number of labels", expected, labels.len().to_string()));
        }
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
}

fn from_npy(path: &Path) -> Result<Vec<Option<Label>>, FileError> {
    let array = npy::open(path)?;
    if array.element().is_float() || array.shape().len() != 1 {
        let found = format!("{:?} with the shape {:?}", array.element(), array.shape());
        return Err(array.wrong("integers on one axis", found));
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
    let mut reader = csv::ReaderBuilder::new().has_headers(column.is_some()).from_path(path).map_err(wrong)?;
    let at = match column {
        None => 0,
        Some(column) => {
            let names = reader.headers().map_err(wrong)?;
            names.iter().position(|name| name.trim() == column).ok_or_else(|| {
                let found = names.iter().take(12).collect::<Vec<_>>().join(", ");
                FileError::content(path, "first line", format!("a column named {column}"), excerpt(found.as_bytes()))
            })?
        }
    };
    let mut labels = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        if column.is_none() && record.len() != 1 {
            let expected = "one column, or the name of one after a colon, as in FILE.csv:COLUMN";
            return Err(FileError::content(path, "columns", expected, record.len().to_string()));
        }
        labels.push(Label::read(&record[at]));
    }
    // One line more than there are samples: the first one is a heading.
    if column.is_none() && labels.len() == samples + 1 {
        labels.remove(0);
    }
    Ok(labels)
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
        assert_eq!(labels("x.csv", format!("animal\n{rows}").as_bytes(), "", 4).unwrap(), expected);
        let table = "id,animal\n1,\"dog, big\"\n2,\n3,cat\n4,\"dog, big\"\n";
        assert_eq!(labels("x.csv", table.as_bytes(), ":animal", 4).unwrap(), expected);
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
