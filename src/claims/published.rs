//! The paper's seven tables, as printed: `reports/published/table-1.toml` .. `table-7.toml`.
//!
//! The files hold every digit as a string, so that 0.00% and 0.0% stay different numbers: a printed number stands for all
//! numbers that round to it ([`Printed`]). The settings of each table name the place in the paper where they stand, and
//! what is not printed is listed as such. Quotes are the sentences of caption and text that the audit tests.

use super::Outcome;
use super::printed::{Printed, PrintedError};
use crate::exact::Rational;
use crate::exact::rational::parse;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The files.
const FILES: [&str; 7] = [
    include_str!("../../reports/published/table-1.toml"),
    include_str!("../../reports/published/table-2.toml"),
    include_str!("../../reports/published/table-3.toml"),
    include_str!("../../reports/published/table-4.toml"),
    include_str!("../../reports/published/table-5.toml"),
    include_str!("../../reports/published/table-6.toml"),
    include_str!("../../reports/published/table-7.toml"),
];

/// The label of a row with feature anchoring; its method is that of the row before it.
const ANCHORED: &str = "+ Feature Anchoring";

/// What a table must say of its configuration, as a setting, in a column, or as not printed.
const SYMBOLS: [&str; 9] = ["n", "n_p", "n_r", "n_q", "S", "M", "k", "λ_{anchor}", "τ"];

/// Why a file is no table.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublishedError {
    /// Not the form of the files.
    #[error("table {number}: {reason}")]
    Form {
        /// The table, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// A cell that is no printed number.
    #[error("table {number}, row {row}: {reason}")]
    Cell {
        /// The table, from 1.
        number: usize,
        /// The row, from 1.
        row: usize,
        /// What is wrong.
        reason: PrintedError,
    },
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Name of the method, or `+ Feature Anchoring`.
    Method,
    /// M_GT, the share of features with s_i > τ, in percent.
    Recovery,
    /// MIP, the mean of the s_i.
    Mip,
    /// Mean number of active latents.
    L0,
    /// The number of features n of the row.
    N,
    /// The bound M on the interference of the row.
    Interference,
    /// What Table 6 calls the sparsity S of the row.
    Sparsity,
    /// The parameter k of TopK of the row.
    TopK,
    /// Name of a parameter (Table 3).
    Parameter,
    /// Its symbol (Table 3).
    Symbol,
    /// Its value (Table 3).
    Value,
}

/// A column as printed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedColumn {
    /// What it holds.
    pub kind: ColumnKind,
    /// The printed heading.
    pub header: String,
}

/// A value of the configuration, and where it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// One of n, n_p, n_r, n_q, S, M, k (anchors), λ_anchor, τ.
    pub symbol: String,
    /// The value, an exact decimal.
    pub value: String,
    /// Where it stands.
    pub place: String,
}

/// A statement about the table in its caption or in the text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quote {
    /// Name within the table.
    pub name: String,
    /// The words.
    pub text: String,
    /// The numbers in it, in the order in which the audit reads them.
    pub values: Vec<String>,
    /// Where it stands.
    pub place: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    heading: String,
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    number: usize,
    place: String,
    about: String,
    unprinted: Vec<String>,
    settings: Vec<Setting>,
    columns: Vec<PublishedColumn>,
    quotes: Vec<Quote>,
    groups: Vec<Group>,
}

/// A row as printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedRow {
    /// Heading of its group, may be empty.
    pub heading: String,
    /// One cell per column.
    pub cells: Vec<String>,
}

/// A published table.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// 1 to 7.
    pub number: usize,
    /// Where it stands.
    pub place: String,
    /// What it shows, in our words.
    pub about: String,
    /// Symbols of the configuration that are printed neither in the table nor in the text about it.
    pub unprinted: Vec<String>,
    /// The configuration.
    pub settings: Vec<Setting>,
    /// The columns.
    pub columns: Vec<PublishedColumn>,
    /// What caption and text say about it.
    pub quotes: Vec<Quote>,
    /// The rows.
    pub rows: Vec<PublishedRow>,
    /// The same rows as numbers; empty for Table 3.
    pub measurements: Vec<Measurement>,
}

/// A row with a recovery and a maximum inner product.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The table, from 1.
    pub table: usize,
    /// The method, for an anchored row that of the row before it.
    pub method: String,
    /// With feature anchoring.
    pub anchored: bool,
    /// The parameter that varies within the table, exactly.
    pub at: Option<Rational>,
    /// M_GT.
    pub recovery: Printed,
    /// MIP.
    pub mip: Printed,
    /// L0, if there is such a column.
    pub l0: Option<Printed>,
    /// The number of features, if it is printed.
    pub n: Option<u32>,
}

impl Measurement {
    /// "TopK SAE + anchors, 0.05".
    pub fn name(&self) -> String {
        let anchors = if self.anchored { " + anchors" } else { "" };
        let at = self.at.as_ref().map(|at| format!(", {}", super::printed::decimal(at))).unwrap_or_default();
        format!("{}{anchors}{at}", self.method)
    }

    /// "Table 5, TopK SAE + anchors, 0.05".
    pub fn full_name(&self) -> String {
        format!("Table {}, {}", self.table, self.name())
    }

    /// True if no feature can be recovered: the largest share that is printed so is below one feature of n.
    pub fn none_recovered(&self) -> bool {
        self.n.is_some_and(|n| self.recovery.high() * Rational::from(n) < Rational::ONE)
    }
}

/// A row without anchors and the row with anchors below it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Without anchors.
    pub before: &'a Measurement,
    /// With anchors.
    pub after: &'a Measurement,
}

impl Published {
    /// Reads a file. Every row has one cell per column, and every symbol of the configuration is accounted for once.
    pub fn parse(text: &str, number: usize) -> Result<Self, PublishedError> {
        let form = |reason: String| PublishedError::Form { number, reason };
        let file: File = toml::from_str(text).map_err(|error| form(error.to_string()))?;
        if file.number != number {
            return Err(form(format!("number is {}", file.number)));
        }
        let mut rows = Vec::new();
        for group in file.groups {
            for cells in group.rows {
                if cells.len() != file.columns.len() || cells.iter().any(String::is_empty) {
                    return Err(form(format!("{cells:?} has not one cell for each of {} columns", file.columns.len())));
                }
                rows.push(PublishedRow { heading: group.heading.clone(), cells });
            }
        }
        let varied: &[&str] = match number {
            3 => &["n", "n_p", "S", "M"],
            4 => &["n"],
            5 => &["M"],
            6 => &["S"],
            _ => &[],
        };
        let named = file.settings.iter().map(|s| s.symbol.as_str()).chain(file.unprinted.iter().map(String::as_str));
        let mut named: Vec<&str> = named.chain(varied.iter().copied()).collect();
        named.sort_unstable();
        let mut expected = SYMBOLS;
        expected.sort_unstable();
        if named != expected {
            return Err(form(format!("the configuration names {named:?} instead of {expected:?}, each once")));
        }
        let names: BTreeSet<&str> = file.quotes.iter().map(|q| q.name.as_str()).collect();
        if names.len() != file.quotes.len() {
            return Err(form("two quotes of one name".into()));
        }
        let mut table = Self {
            number,
            place: file.place,
            about: file.about,
            unprinted: file.unprinted,
            settings: file.settings,
            columns: file.columns,
            quotes: file.quotes,
            rows,
            measurements: Vec::new(),
        };
        table.measurements = table.read_measurements()?;
        Ok(table)
    }

    fn read_measurements(&self) -> Result<Vec<Measurement>, PublishedError> {
        let column = |kind: ColumnKind| self.columns.iter().position(|c| c.kind == kind);
        let (Some(method), Some(recovery), Some(mip)) =
            (column(ColumnKind::Method), column(ColumnKind::Recovery), column(ColumnKind::Mip))
        else {
            return Ok(Vec::new());
        };
        let varied = [ColumnKind::N, ColumnKind::Interference, ColumnKind::Sparsity, ColumnKind::TopK]
            .into_iter()
            .find_map(|kind| Some((kind, column(kind)?)));
        let mut rows: Vec<Measurement> = Vec::new();
        for (k, row) in self.rows.iter().enumerate() {
            let cell = |reason: PrintedError| PublishedError::Cell { number: self.number, row: k + 1, reason };
            let read = |at: usize| Printed::parse(&row.cells[at]).map_err(cell);
            let anchored = row.cells[method] == ANCHORED;
            let at = match varied {
                Some((_, column)) => Some(
                    parse(&row.cells[column]).map_err(|_| cell(PrintedError { text: row.cells[column].clone() }))?,
                ),
                None => None,
            };
            let previous = rows.last().filter(|last| !last.anchored && last.at == at);
            let method = match (anchored, previous) {
                (false, _) => row.cells[method].clone(),
                (true, Some(previous)) => previous.method.clone(),
                (true, None) => {
                    let reason = format!("row {} has anchors, and the row above it is not the same without", k + 1);
                    return Err(PublishedError::Form { number: self.number, reason });
                }
            };
            let n = match varied {
                Some((ColumnKind::N, _)) => at.clone(),
                _ => self.setting("n"),
            };
            let n = n.and_then(|n| n.to_string().parse().ok());
            let l0 = column(ColumnKind::L0).map(read).transpose()?;
            rows.push(Measurement {
                table: self.number,
                method,
                anchored,
                at,
                recovery: read(recovery)?,
                mip: read(mip)?,
                l0,
                n,
            });
        }
        Ok(rows)
    }

    /// The value of a setting.
    pub fn setting(&self, symbol: &str) -> Option<Rational> {
        parse(&self.settings.iter().find(|s| s.symbol == symbol)?.value).ok()
    }

    /// A quote by its name.
    ///
    /// # Panics
    /// If there is none: the names are part of the program.
    pub fn quote(&self, name: &str) -> &Quote {
        let found = self.quotes.iter().find(|q| q.name == name);
        found.unwrap_or_else(|| panic!("table {} has no quote `{name}`", self.number))
    }

    /// Rows without anchors with the rows with anchors below them.
    pub fn pairs(&self) -> Vec<Pair<'_>> {
        let rows = self.measurements.windows(2).filter(|w| !w[0].anchored && w[1].anchored);
        rows.map(|w| Pair { before: &w[0], after: &w[1] }).collect()
    }

    /// The default value of a symbol (Table 3).
    pub fn default_value(&self, symbol: &str) -> Option<Printed> {
        Printed::parse(&self.rows.iter().find(|row| row.cells.get(1).is_some_and(|s| s == symbol))?.cells[2]).ok()
    }
}

impl Quote {
    /// The k-th number of the statement.
    ///
    /// # Panics
    /// If there is none: the forms of the statements are part of the program.
    pub fn printed(&self, k: usize) -> Printed {
        let value = self.values.get(k).and_then(|text| Printed::parse(text).ok());
        value.unwrap_or_else(|| panic!("quote `{}` has no number {k}", self.name))
    }
}

/// The seven tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables([Published; 7]);

impl Tables {
    /// Reads seven files.
    pub fn parse(files: [&str; 7]) -> Result<Self, PublishedError> {
        let tables: Result<Vec<Published>, PublishedError> =
            files.iter().enumerate().map(|(k, text)| Published::parse(text, k + 1)).collect();
        // Seven files give seven tables.
        Ok(Self(tables?.try_into().unwrap_or_else(|_| unreachable!())))
    }

    /// The table of this number, 1 to 7.
    pub fn table(&self, number: usize) -> &Published {
        &self.0[number - 1]
    }

    /// All tables.
    pub fn all(&self) -> impl Iterator<Item = &Published> {
        self.0.iter()
    }

    /// The published tables with texts replaced wherever they stand in a file (number, from, to), to see that the audit notices.
    #[cfg(test)]
    pub(crate) fn altered(changes: &[(usize, &str, &str)]) -> Self {
        let mut files = FILES.map(str::to_owned);
        for (number, from, to) in changes {
            let changed = files[number - 1].replace(from, to);
            assert_ne!(changed, files[number - 1], "nothing to replace in table {number}");
            files[number - 1] = changed;
        }
        Self::parse(files.each_ref().map(String::as_str)).unwrap()
    }
}

/// The published tables, parsed once.
static TABLES: LazyLock<Result<Tables, PublishedError>> = LazyLock::new(|| Tables::parse(FILES));

/// The rows of all tables in numbers; none if the tables cannot be read.
pub fn measurements() -> Vec<Measurement> {
    TABLES.as_ref().map_or_else(|_| Vec::new(), |tables| tables.all().flat_map(|t| t.measurements.clone()).collect())
}

/// What each table leaves unprinted of its configuration, by its number; none if the tables cannot be read.
pub fn unprinted() -> Vec<(usize, Vec<String>)> {
    TABLES
        .as_ref()
        .map_or_else(|_| Vec::new(), |tables| tables.all().map(|t| (t.number, t.unprinted.clone())).collect())
}

/// What an audit says of the published tables; undecided if they cannot be read.
pub fn audited(audit: impl FnOnce(&Tables) -> Outcome) -> Outcome {
    match &*TABLES {
        Ok(tables) => audit(tables),
        Err(error) => Outcome::undecided(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> &'static Tables {
        TABLES.as_ref().unwrap()
    }

    #[test]
    fn the_seven_tables_have_their_rows_and_every_row_has_its_pair() {
        let rows: Vec<usize> = tables().all().map(|t| t.rows.len()).collect();
        assert_eq!(rows, [14, 6, 6, 14, 30, 30, 6]);
        for table in tables().all() {
            assert_eq!(2 * table.pairs().len(), table.measurements.len());
        }
    }

    #[test]
    fn unknown_keys_incomplete_rows_and_unaccounted_settings_are_refused() {
        let refuse = |from: &str, to: &str| {
            assert!(FILES[0].contains(from), "{from}");
            Published::parse(&FILES[0].replacen(from, to, 1), 1).unwrap_err().to_string()
        };
        assert!(refuse("number = 1", "number = 1\ncolour = 2").contains("colour"));
        assert!(refuse(", \"54.1\"]", "]").contains("one cell for each"));
        assert!(refuse("\"0.205\"", "\"0.2o5\"").contains("0.2o5"));
        assert!(refuse("\"84.90%\"", "\"\"").contains("one cell for each"));
        assert!(refuse("\"M\", ", "").contains("instead of"));
        assert!(refuse("symbol = \"S\"", "symbol = \"M\"").contains("instead of"));
        assert!(refuse("number = 1", "number = 2").contains("number is 2"));
        assert!(refuse("[\"ReLU SAE\", \"0.00%\", \"0.205\", \"2787.4\"],", "").contains("without"));
    }

    #[test]
    fn headings_of_groups_name_the_value_of_their_rows() {
        for table in tables().all() {
            for (row, measured) in table.rows.iter().zip(&table.measurements) {
                if let Some((_, value)) = row.heading.split_once("= ") {
                    assert_eq!(Some(parse(value.trim_end_matches(')')).unwrap()), measured.at);
                }
            }
        }
    }

    #[test]
    fn digits_of_a_column_are_as_many_as_the_paper_prints() {
        // A slip that drops or adds a digit changes the rounding interval.
        for table in tables().all().filter(|t| t.number != 3) {
            for (k, row) in table.measurements.iter().enumerate() {
                let decimals = |printed: &Printed| printed.decimals();
                let percent = match table.number {
                    5 | 7 => 1,
                    6 if row.at.as_ref() != Some(&parse("0.01").unwrap()) => 1,
                    _ => 2,
                };
                assert_eq!(
                    (decimals(&row.recovery), decimals(&row.mip)),
                    (percent, 3),
                    "table {} row {k}",
                    table.number
                );
                assert!(row.l0.as_ref().is_none_or(|l0| decimals(l0) == 1));
            }
        }
    }

    #[test]
    fn numbers_that_the_text_repeats_stand_in_the_tables() {
        let holds = |number: usize, value: &str| {
            let table = tables().table(number);
            let value = Printed::parse(value).unwrap();
            let mut printed = table.measurements.iter().flat_map(|m| [&m.recovery, &m.mip]);
            assert!(printed.any(|p| p.value() == value.value()), "table {number} has no {value:?}");
        };
        for (number, quote, values) in [
            (4, "anchored", vec![0, 1]),
            (4, "decrease", vec![0, 2, 4]),
            (5, "batch-top-k", vec![1, 2]),
            (5, "relu", vec![1, 2]),
            (6, "jump-relu", vec![1, 2]),
            (6, "near-perfect", vec![1, 2]),
            (7, "high", vec![1, 2]),
            (7, "beneficial", vec![1, 2]),
        ] {
            for k in values {
                holds(number, &tables().table(number).quote(quote).values[k]);
            }
        }
    }
}
