//! Means over seeds beside the published rows, and which orderings of the paper reproduce.

use super::record::{RunRecord, Side};
use crate::stats::{Cell, Kind, MeanInterval, Table, Tone};
use std::collections::BTreeMap;

/// A row of a published table, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedRow {
    /// Number of the table.
    pub table: u32,
    /// The method, for an anchored row that of the row before it.
    pub method: String,
    /// With feature anchoring.
    pub anchored: bool,
    /// The printed parameter that varies within the table.
    pub at: Option<String>,
    /// M_GT in [0, 1].
    pub recovery: f64,
    /// MIP.
    pub mip: f64,
    /// L0, if printed.
    pub l0: Option<f64>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// M_GT at τ = 0.9.
    Recovery,
    /// MIP.
    Mip,
}

/// Which side of a model is scored; the paper scores the encoder by its formula, but does not say how rows are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored {
    /// Columns of W_D, normalised.
    Decoder,
    /// Rows of W_E, normalised.
    Encoder,
    /// Rows of W_E as they are: the formula as printed.
    EncoderRaw,
}

/// How two rows differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contrast {
    /// The same method with and without anchors.
    Anchoring,
    /// Two methods at the same parameter, both without anchors.
    Method,
    /// The same method at neighbouring parameters.
    Setting,
}

/// What our runs say about an ordering of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reproduction {
    /// The 95 % interval of the difference lies on the published side of 0.
    Reproduced,
    /// It lies on the other side.
    Reversed,
    /// It contains 0, or there are fewer than two common seeds.
    Open,
}

/// Records of one size beside the published rows.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    published: &'a [PublishedRow],
    /// By row and seed.
    runs: Vec<BTreeMap<u64, &'a RunRecord>>,
}

/// What stands in a table of ours.
const OURS: &str =
    "As published, followed by ours: means over runs with different seeds ± half a 95 % interval (Student's t).";
/// τ = 0.9 in the curves of records.
const USUAL: usize = 18;

impl Scored {
    /// All sides.
    pub const ALL: [Self; 3] = [Self::Decoder, Self::Encoder, Self::EncoderRaw];

    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::Encoder => "encoder",
            Self::EncoderRaw => "encoder, raw",
        }
    }

    /// M_GT at τ = 0.9 of a run.
    pub fn recovery(self, record: &RunRecord) -> f64 {
        self.number(record, Measure::Recovery)
    }

    /// MIP of a run.
    pub fn mip(self, record: &RunRecord) -> f64 {
        self.number(record, Measure::Mip)
    }

    fn number(self, record: &RunRecord, measure: Measure) -> f64 {
        let side: &Side = if self == Self::Decoder { &record.decoder } else { &record.encoder };
        let recovered = if self == Self::EncoderRaw { &side.raw } else { &side.normalised };
        match measure {
            Measure::Recovery => recovered.at(USUAL),
            Measure::Mip => recovered.mip,
        }
    }
}

impl PublishedRow {
    fn number(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Recovery => self.recovery,
            Measure::Mip => self.mip,
        }
    }

    /// "TopK SAE + anchors, 0.05".
    pub fn name(&self) -> String {
        let anchors = if self.anchored { " + anchors" } else { "" };
        let at = self.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        format!("{}{anchors}{at}", self.method)
    }
}

impl<'a> Comparison<'a> {
    /// Sorts records to rows; of two with the same row and seed the later counts.
    pub fn new(published: &'a [PublishedRow], records: &'a [RunRecord]) -> Self {
        let repeats = |row: &PublishedRow, record: &RunRecord| {
            let of = &record.published;
            (of.table, &of.method, of.anchored, &of.at) == (row.table, &row.method, row.anchored, &row.at)
        };
        let of_row = |row| records.iter().filter(|record| repeats(row, record)).map(|r| (r.seed, r)).collect();
        Self { published, runs: published.iter().map(of_row).collect() }
    }

    /// The runs of a row, by its place among the published ones, in the order of their seeds.
    pub fn runs(&self, row: usize) -> impl Iterator<Item = &'a RunRecord> {
        self.runs[row].values().copied()
    }

    /// Mean over the seeds of a row, by its place among the published ones.
    pub fn mean(&self, row: usize, of: impl Fn(&RunRecord) -> f64) -> Option<MeanInterval> {
        MeanInterval::of(&self.runs[row].values().map(|record| of(record)).collect::<Vec<_>>())
    }

    /// Recovery and sparsity beside a published table.
    pub fn recovery_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("row", Kind::Text),
            ("M_GT (%)", Kind::Number),
            ("decoder", Kind::Number),
            ("encoder", Kind::Number),
            ("L0", Kind::Number),
            ("ours", Kind::Number),
            ("runs", Kind::Number),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("M_GT and L0 of Table {number} beside our runs"))
            .caption(&format!("{OURS} M_GT at τ = 0.9, with encoder rows and decoder columns scaled to norm 1."));
        for (k, row) in self.rows_of(number) {
            let ours = |scored: Scored| share(self.mean(k, |record| scored.number(record, Measure::Recovery)));
            table.push([
                Cell::from(row.name()),
                percent(row.recovery),
                ours(Scored::Decoder),
                ours(Scored::Encoder),
                row.l0.map_or(Cell::Missing, |l0| Cell::number(l0, 4)),
                self.mean(k, |record| record.l0).map_or(Cell::Missing, |l0| Cell::number(l0.mean, 4)),
                Cell::from(self.runs[k].len()),
            ]);
        }
        table
    }

    /// Maximum inner products beside a published table.
    pub fn product_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("row", Kind::Text),
            ("MIP", Kind::Number),
            ("decoder", Kind::Number),
            ("encoder", Kind::Number),
            ("encoder, raw", Kind::Number),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("MIP of Table {number} beside our runs"))
            .caption(&format!(
                "{OURS} Rows and columns are scaled to norm 1, except raw encoder rows, which are as they are."
            ));
        for (k, row) in self.rows_of(number) {
            let ours = Scored::ALL.map(|scored| product(self.mean(k, |record| scored.number(record, Measure::Mip))));
            table.push([Cell::from(row.name()), Cell::number(row.mip, 3)].into_iter().chain(ours));
        }
        table
    }

    /// The rows of a published table, with their places among all.
    fn rows_of(&self, number: u32) -> impl Iterator<Item = (usize, &PublishedRow)> {
        self.published.iter().enumerate().filter(move |(_, row)| row.table == number)
    }

    /// Pairs of published rows whose printed numbers differ, the larger first.
    fn orderings(&self, measure: Measure) -> Vec<(Contrast, usize, usize)> {
        let mut pairs = Vec::new();
        for (i, a) in self.published.iter().enumerate() {
            for (j, b) in self.published.iter().enumerate().skip(i + 1).filter(|(_, b)| b.table == a.table) {
                let contrast = if a.method == b.method && a.at == b.at {
                    Contrast::Anchoring
                } else if a.at == b.at && !a.anchored && !b.anchored {
                    Contrast::Method
                } else if a.method == b.method && a.anchored == b.anchored && self.next(i) == Some(j) {
                    Contrast::Setting
                } else {
                    continue;
                };
                let (x, y) = (a.number(measure), b.number(measure));
                if x > y {
                    pairs.push((contrast, i, j));
                } else if y > x {
                    pairs.push((contrast, j, i));
                }
            }
        }
        pairs
    }

    /// The next row of the same method with the next parameter.
    fn next(&self, i: usize) -> Option<usize> {
        let a = &self.published[i];
        let same = |b: &&PublishedRow| (b.table, &b.method, b.anchored) == (a.table, &a.method, a.anchored);
        Some(i + 1 + self.published[i + 1..].iter().position(|b| same(&b))?)
    }

    /// What our runs say about one ordering: differences are taken seed by seed.
    pub fn reproduction(&self, larger: usize, smaller: usize, scored: Scored, measure: Measure) -> Reproduction {
        let differences: Vec<f64> = self.runs[larger]
            .iter()
            .filter_map(|(seed, a)| {
                Some(scored.number(a, measure) - scored.number(self.runs[smaller].get(seed)?, measure))
            })
            .collect();
        match MeanInterval::of(&differences) {
            Some(interval) if interval.low() > 0.0 => Reproduction::Reproduced,
            Some(interval) if interval.high() < 0.0 => Reproduction::Reversed,
            _ => Reproduction::Open,
        }
    }

    /// How many orderings of each kind reproduce, by the side that is scored. Orderings without any run of ours are left out.
    pub fn orderings_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("contrast", Kind::Text),
            ("measure", Kind::Text),
            ("side scored", Kind::Text),
            ("orderings", Kind::Number),
            ("reproduced", Kind::Number),
            ("reversed", Kind::Number),
            ("open", Kind::Number),
            ("in short", Kind::Verdict),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("Orderings of Table {number} in our runs"))
            .caption(
                "An ordering is a pair of rows whose printed numbers differ. It is reproduced, reversed or open as the 95 % interval of the \
                 difference, seed by seed, lies on the published side of 0, on the other, or on both.",
            );
        for (contrast, what) in
            [(Contrast::Anchoring, "anchors"), (Contrast::Method, "methods"), (Contrast::Setting, "parameters")]
        {
            for (measure, word) in [(Measure::Recovery, "M_GT"), (Measure::Mip, "MIP")] {
                let pairs: Vec<(usize, usize)> = self
                    .orderings(measure)
                    .into_iter()
                    .filter(|(kind, i, j)| {
                        *kind == contrast
                            && self.published[*i].table == number
                            && [*i, *j].iter().all(|k| !self.runs[*k].is_empty())
                    })
                    .map(|(_, i, j)| (i, j))
                    .collect();
                if pairs.is_empty() {
                    continue;
                }
                for scored in Scored::ALL {
                    let mut counts = BTreeMap::new();
                    for (i, j) in &pairs {
                        *counts.entry(self.reproduction(*i, *j, scored, measure)).or_insert(0_usize) += 1;
                    }
                    let count = |kind| counts.get(&kind).copied().unwrap_or(0);
                    let (yes, no) = (count(Reproduction::Reproduced), count(Reproduction::Reversed));
                    table.push([
                        Cell::from(what),
                        Cell::from(word),
                        Cell::from(scored.word()),
                        Cell::from(pairs.len()),
                        Cell::from(yes),
                        Cell::from(no),
                        Cell::from(count(Reproduction::Open)),
                        summary(yes, no, pairs.len()),
                    ]);
                }
            }
        }
        table
    }
}

fn summary(yes: usize, no: usize, all: usize) -> Cell {
    if yes == all {
        Cell::verdict(Tone::Good, "all reproduce")
    } else if no == 0 && yes > 0 {
        Cell::verdict(Tone::Qualified, "some reproduce")
    } else if yes == 0 && no == 0 {
        Cell::verdict(Tone::Open, "not separated")
    } else if yes == 0 {
        Cell::verdict(Tone::Bad, "reversed")
    } else {
        Cell::verdict(Tone::Qualified, "mixed")
    }
}

fn percent(share: f64) -> Cell {
    Cell::from(format!("{:.1}", 100.0 * share))
}

fn share(interval: Option<MeanInterval>) -> Cell {
    match interval {
        None => Cell::Missing,
        Some(i) if i.half.is_finite() => Cell::from(format!("{:.1} ± {:.1}", 100.0 * i.mean, 100.0 * i.half)),
        Some(i) => percent(i.mean),
    }
}

fn product(interval: Option<MeanInterval>) -> Cell {
    match interval {
        None => Cell::Missing,
        Some(i) if i.half.is_finite() => Cell::from(format!("{:.3} ± {:.3}", i.mean, i.half)),
        Some(i) => Cell::from(format!("{:.3}", i.mean)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    fn row(method: &str, anchored: bool, recovery: f64, mip: f64) -> PublishedRow {
        PublishedRow { table: 1, method: method.into(), anchored, at: None, recovery, mip, l0: Some(3.0) }
    }

    fn published() -> Vec<PublishedRow> {
        vec![
            row("ReLU SAE", false, 0.0, 0.2),
            row("ReLU SAE", true, 0.0, 0.3),
            row("TopK SAE", false, 0.8, 0.9),
            row("TopK SAE", true, 0.85, 0.95),
        ]
    }

    #[test]
    fn an_ordering_reproduces_reverses_or_stays_open_by_the_interval_of_differences() {
        let rows = published();
        let mut records = Vec::new();
        for seed in 0..3 {
            let shift = 0.01 * seed as f64;
            records.push(record("ReLU SAE", false, seed, 0.1, 0.20 + shift));
            records.push(record("ReLU SAE", true, seed, 0.1, 0.25 + shift));
            records.push(record("TopK SAE", false, seed, 0.7, 0.90 + shift));
            records.push(record("TopK SAE", true, seed, 0.6 + 0.1 * seed as f64, 0.85 + shift));
        }
        let comparison = Comparison::new(&rows, &records);
        let said = |larger, smaller, measure| comparison.reproduction(larger, smaller, Scored::Decoder, measure);
        assert_eq!(said(1, 0, Measure::Mip), Reproduction::Reproduced);
        assert_eq!(said(3, 2, Measure::Mip), Reproduction::Reversed);
        // Differences −0.1, 0 and 0.1.
        assert_eq!(said(3, 2, Measure::Recovery), Reproduction::Open);
        // M_GT of the ReLU rows is printed equal: no ordering.
        let kinds: Vec<Contrast> = comparison.orderings(Measure::Recovery).iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [Contrast::Method, Contrast::Anchoring]);
        let table = comparison.orderings_table(1, "orderings-1");
        assert_eq!(table.rows.len(), 4 * 3);
        let ours = comparison.recovery_table(1, "recovery");
        assert_eq!((ours.rows.len(), ours.rows[0][6].text()), (4, "3".to_owned()));
        assert!(ours.rows[2][2].text().starts_with("70.0 ± 0.0"), "{}", ours.rows[2][2].text());
        // 0.90, 0.91, 0.92: their t interval is 0.91 ± 4.30265·0.01/√3.
        assert_eq!(comparison.product_table(1, "products").rows[2][2].text(), "0.910 ± 0.025");
    }

    #[test]
    fn rows_without_runs_say_so_and_judge_nothing() {
        let rows = published();
        let records = [record("TopK SAE", false, 0, 0.5, 0.9)];
        let comparison = Comparison::new(&rows, &records);
        assert_eq!(comparison.recovery_table(1, "r").rows[0][2].text(), "–");
        assert_eq!(comparison.product_table(1, "p").rows[0][2].text(), "–");
        assert_eq!(comparison.orderings_table(1, "o").rows.len(), 0);
        assert_eq!(comparison.reproduction(3, 2, Scored::Decoder, Measure::Mip), Reproduction::Open);
    }

    #[test]
    fn parameters_are_compared_with_their_neighbours_only() {
        let at = |value: &str, mip| PublishedRow { at: Some(value.into()), ..row("TopK SAE", false, 0.5, mip) };
        let rows = [at("0.1", 0.7), at("0.2", 0.8), at("0.3", 0.6)];
        let comparison = Comparison::new(&rows, &[]);
        assert_eq!(comparison.orderings(Measure::Mip), [(Contrast::Setting, 1, 0), (Contrast::Setting, 1, 2)]);
        assert_eq!(comparison.orderings(Measure::Recovery), []);
    }
}
