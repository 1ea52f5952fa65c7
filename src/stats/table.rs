//! [`Table`]: typed cells in columns, as data.

use serde::Serialize;

/// A table of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// File stem: lower-case letters, digits and hyphens.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What the rows show.
    pub caption: String,
    /// The claim that the table belongs to.
    pub source: String,
    /// The columns.
    pub columns: Vec<Column>,
    /// Rows of one cell per column.
    pub rows: Vec<Vec<Cell>>,
    /// Remarks under the table.
    pub notes: Vec<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Heading with its unit.
    pub header: String,
    /// What its cells hold, which decides the alignment.
    pub kind: Kind,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Words, to the left.
    Text,
    /// Numbers, to the right.
    Number,
    /// Exact numbers and code, to the left, in a fixed-width face.
    Exact,
    /// Verdicts, to the left, emphasised.
    Verdict,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Cell {
    /// Words.
    Text {
        /// The words.
        text: String,
    },
    /// An integer.
    Integer {
        /// The value.
        value: i64,
    },
    /// A rounded number.
    Number {
        /// The value.
        value: f64,
        /// Significant digits shown.
        digits: usize,
    },
    /// A rounded number with an interval.
    Interval {
        /// The value.
        value: f64,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
        /// Significant digits shown.
        digits: usize,
    },
    /// An exact number or code, shown as it is.
    Exact {
        /// The text.
        text: String,
    },
    /// A verdict.
    Verdict {
        /// How the reader should take it.
        tone: Tone,
        /// The word.
        text: String,
    },
    /// Nothing to show.
    Missing,
}

/// How a verdict is to be taken. It decides a colour; the word beside it says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// It holds.
    Good,
    /// It holds with an added hypothesis.
    Qualified,
    /// It is refuted.
    Bad,
    /// It is open.
    Open,
}

impl Table {
    /// A table of the claim `source` with these columns and no rows yet.
    pub fn new<'a>(name: &str, source: &str, columns: impl IntoIterator<Item = (&'a str, Kind)>) -> Self {
        let columns = columns.into_iter().map(|(header, kind)| Column { header: header.to_owned(), kind }).collect();
        Self {
            name: name.to_owned(),
            title: String::new(),
            caption: String::new(),
            source: source.to_owned(),
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Sets the heading.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.to_owned();
        self
    }

    /// Sets the caption.
    pub fn caption(mut self, caption: &str) -> Self {
        self.caption = caption.to_owned();
        self
    }

    /// Adds a remark under the table.
    pub fn note(mut self, note: &str) -> Self {
        self.notes.push(note.to_owned());
        self
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If the row has not one cell per column, which is a mistake of the program.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = cells.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a row of table `{}` needs one cell per column", self.name);
        self.rows.push(row);
    }
}

impl Cell {
    /// A number shown with `digits` significant digits.
    pub fn number(value: f64, digits: usize) -> Self {
        Self::Number { value, digits }
    }

    /// An exact number or code.
    pub fn exact(value: impl ToString) -> Self {
        Self::Exact { text: value.to_string() }
    }

    /// A verdict word.
    pub fn verdict(tone: Tone, text: &str) -> Self {
        Self::Verdict { tone, text: text.to_owned() }
    }

    /// The text of the cell in any medium.
    pub fn text(&self) -> String {
        match self {
            Self::Text { text } | Self::Exact { text } | Self::Verdict { text, .. } => text.clone(),
            Self::Integer { value } => value.to_string(),
            Self::Number { value, digits } => rounded(*value, *digits),
            Self::Interval { value, low, high, digits } => {
                format!("{} [{}, {}]", rounded(*value, *digits), rounded(*low, *digits), rounded(*high, *digits))
            }
            Self::Missing => "–".to_owned(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text { text: text.to_owned() }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text { text }
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        i64::try_from(value).map_or_else(|_| Self::exact(value), |value| Self::Integer { value })
    }
}

/// `value` with so many significant digits: positional between 10⁻⁴ and 10⁶, else as `1.2e-7`.
pub fn rounded(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "–".into() } else { if value > 0.0 { "∞" } else { "−∞" }.into() };
    }
    if value == 0.0 {
        return "0".into();
    }
    let digits = digits.max(1);
    // The exponent after rounding: 9.996 with three digits is 10.0.
    let scientific = format!("{:.*e}", digits - 1, value);
    let (_, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
        format!("{value:.decimals$}")
    } else {
        scientific
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_significant_digits() {
        for (value, digits, text) in [
            (0.75214, 3, "0.752"),
            (9.996, 3, "10.0"),
            (-0.0001234, 2, "-0.00012"),
            (1.0e-7, 2, "1.0e-7"),
            (123_456.0, 3, "123456"),
            (0.0, 5, "0"),
            (f64::NAN, 2, "–"),
        ] {
            assert_eq!(rounded(value, digits), text);
        }
    }

    #[test]
    #[should_panic(expected = "one cell per column")]
    fn a_row_of_another_length_is_a_mistake_of_the_program() {
        Table::new("t", "s", [("a", Kind::Text)]).push([]);
    }
}
