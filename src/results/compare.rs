//! Means over seeds beside the published rows.

use super::record::{RunRecord, Side, six};
use crate::stats::{Cell, Kind, MeanInterval, Table};
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

/// Which score of a model; the paper scores the encoder by its formula, but does not say how rows are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored {
    /// Columns of W_D, normalised.
    Decoder,
    /// The same over the features and latents that are not anchored.
    DecoderFree,
    /// Columns of W_D as they are.
    DecoderRaw,
    /// Rows of W_E, normalised.
    Encoder,
    /// The same over the features and latents that are not anchored.
    EncoderFree,
    /// Rows of W_E as they are: the formula as printed.
    EncoderRaw,
}

/// Records of one size beside the published rows.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    pub(super) published: &'a [PublishedRow],
    /// By row and seed.
    pub(super) runs: Vec<BTreeMap<u64, &'a RunRecord>>,
}

/// Scores of latents scaled to norm 1.
const SCALED: [Scored; 4] = [Scored::Decoder, Scored::DecoderFree, Scored::Encoder, Scored::EncoderFree];
/// τ = 0.9 in the curves of records.
const USUAL: usize = 18;

impl Measure {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Recovery, Self::Mip];

    /// As the paper calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Recovery => "M_GT",
            Self::Mip => "MIP",
        }
    }

    /// What it is, for captions.
    fn meaning(self) -> &'static str {
        match self {
            Self::Recovery => "M_GT in percent, at τ = 0.9",
            Self::Mip => "MIP, the mean of the maximum inner products",
        }
    }

    /// A mean with half its interval, if there is one; M_GT in percent.
    pub(super) fn shown(self, mean: f64, half: f64, sign: bool) -> String {
        let number = |x: f64| match self {
            Self::Recovery => format!("{:.1}", 100.0 * x),
            Self::Mip => format!("{x:.3}"),
        };
        let size = number(mean.abs());
        let sign = if mean < 0.0 && size.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
            "−"
        } else if sign {
            "+"
        } else {
            ""
        };
        if half.is_finite() { format!("{sign}{size} ± {}", number(half)) } else { format!("{sign}{size}") }
    }

    /// A printed number, with the digits that are printed.
    pub(super) fn printed(self, value: f64) -> String {
        let text = match self {
            Self::Recovery => format!("{:.2}", 100.0 * value),
            Self::Mip => format!("{value:.3}"),
        };
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

impl Scored {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Decoder, Self::DecoderFree, Self::DecoderRaw, Self::Encoder, Self::EncoderFree, Self::EncoderRaw];

    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Decoder => "decoder",
            Self::DecoderFree => "decoder, free",
            Self::DecoderRaw => "decoder, raw",
            Self::Encoder => "encoder",
            Self::EncoderFree => "encoder, free",
            Self::EncoderRaw => "encoder, raw",
        }
    }

    /// True if what is anchored does not count.
    pub fn is_free(self) -> bool {
        matches!(self, Self::DecoderFree | Self::EncoderFree)
    }

    /// Of a run. Without anchors everything is free of them; with anchors there is nothing where the record does not hold it.
    pub fn score(self, record: &RunRecord, measure: Measure) -> Option<f64> {
        let side: &Side = match self {
            Self::Decoder | Self::DecoderFree | Self::DecoderRaw => &record.decoder,
            Self::Encoder | Self::EncoderFree | Self::EncoderRaw => &record.encoder,
        };
        let recovered = match self {
            Self::DecoderRaw | Self::EncoderRaw => &side.raw,
            Self::DecoderFree | Self::EncoderFree if record.published.anchored => side.free.as_ref()?,
            _ => &side.normalised,
        };
        Some(match measure {
            Measure::Recovery => recovered.at(USUAL),
            Measure::Mip => recovered.mip,
        })
    }
}

impl PublishedRow {
    /// What is printed.
    pub fn number(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Recovery => self.recovery,
            Measure::Mip => self.mip,
        }
    }

    /// "TopK SAE + anchors, 0.05".
    pub fn name(&self) -> String {
        let at = self.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        format!("{}{at}", self.variant())
    }

    /// "TopK SAE + anchors".
    pub(super) fn variant(&self) -> String {
        format!("{}{}", self.method, if self.anchored { " + anchors" } else { "" })
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

    /// Mean of a score over the seeds of a row, as far as records hold it.
    pub fn score(&self, row: usize, scored: Scored, measure: Measure) -> Option<MeanInterval> {
        MeanInterval::of(&self.runs(row).filter_map(|record| scored.score(record, measure)).collect::<Vec<_>>())
    }

    /// Our scores beside a published table.
    pub fn score_table(&self, number: u32, measure: Measure, name: &str) -> Table {
        let columns = [("row", Kind::Text), ("printed", Kind::Number)]
            .into_iter()
            .chain(SCALED.map(|scored| (scored.word(), Kind::Number)))
            .chain([("epochs", Kind::Number)]);
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("{} of Table {number} beside our runs", measure.word()))
            .caption(&format!(
                "{}: as published, followed by ours, {}. Rows of W_E and columns of W_D are scaled to norm 1. Free: over the features and latents that \
                 are not anchored.",
                measure.meaning(),
                self.seeds(number)
            ));
        for (k, row) in self.rows_of(number) {
            let ours = SCALED.map(|scored| match self.score(k, scored, measure) {
                Some(mean) if row.anchored || !scored.is_free() => {
                    Cell::from(measure.shown(mean.mean, mean.half, false))
                }
                _ => Cell::Missing,
            });
            let printed = Cell::from(measure.printed(row.number(measure)));
            table.push([Cell::from(row.name()), printed].into_iter().chain(ours).chain([self.epochs(k)]));
        }
        table
    }

    /// Our scores of latents that are not scaled, for the rows of a published table.
    pub fn raw_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("row", Kind::Text),
            ("M_GT, decoder", Kind::Number),
            ("M_GT, encoder", Kind::Number),
            ("MIP, decoder", Kind::Number),
            ("MIP, encoder", Kind::Number),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("Raw scores of our runs of Table {number}"))
            .caption(&format!(
                "The formulas as printed, with rows of W_E and columns of W_D as they are, of whatever norm, anchored features counted: {}. M_GT in percent, \
                 at τ = 0.9.",
                self.seeds(number)
            ));
        for (k, row) in self.rows_of(number) {
            let raw = |(measure, scored): (Measure, Scored)| {
                let mean = self.score(k, scored, measure);
                mean.map_or(Cell::Missing, |mean| Cell::from(measure.shown(mean.mean, mean.half, false)))
            };
            let scores = Measure::ALL.into_iter().flat_map(|m| [(m, Scored::DecoderRaw), (m, Scored::EncoderRaw)]);
            table.push(std::iter::once(Cell::from(row.name())).chain(scores.map(raw)));
        }
        table
    }

    /// Sparsity beside a published table, and how our runs were trained.
    pub fn training_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("row", Kind::Text),
            ("L0, printed", Kind::Number),
            ("L0", Kind::Number),
            ("dead (%)", Kind::Number),
            ("FVU", Kind::Number),
            ("epochs", Kind::Number),
            ("seeds", Kind::Number),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("Sparsity of Table {number}, and how long our runs were trained"))
            .caption(
                "Means over seeds on held-out samples. L0: active latents of a sample. Dead: latents that were active in none. FVU: fraction of \
                 variance unexplained.",
            );
        for (k, row) in self.rows_of(number) {
            let ours = |of: &dyn Fn(&RunRecord) -> f64, digits: usize| {
                self.mean(k, of).map_or(Cell::Missing, |mean| Cell::number(mean.mean, digits))
            };
            let variance = self.runs(k).all(|record| record.fvu.is_some());
            table.push([
                Cell::from(row.name()),
                row.l0.map_or(Cell::Missing, |l0| Cell::number(l0, 4)),
                ours(&|record| record.l0, 4),
                ours(&|record| 100.0 * record.dead, 3),
                if variance { ours(&|record| record.fvu.unwrap_or(f64::NAN), 3) } else { Cell::Missing },
                self.epochs(k),
                Cell::from(self.runs[k].len()),
            ]);
        }
        table
    }

    /// The mean number of epochs of a row.
    fn epochs(&self, row: usize) -> Cell {
        self.mean(row, |record| record.epochs).map_or(Cell::Missing, |mean| Cell::from(six(mean.mean).to_string()))
    }

    /// Over how many seeds the means of a table go, in words.
    fn seeds(&self, number: u32) -> String {
        let counts = || self.rows_of(number).map(|(k, _)| self.runs[k].len()).filter(|count| *count > 0);
        match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
            (_, 0) => "of which there are none".to_owned(),
            (_, 1) => "with one seed, so that there are no intervals".to_owned(),
            (low, high) => {
                let seeds = if low == high { high.to_string() } else { format!("{low} to {high}") };
                format!("means over {seeds} seeds ± half a 95 % interval (Student's t)")
            }
        }
    }

    /// The rows of a published table, with their places among all.
    fn rows_of(&self, number: u32) -> impl Iterator<Item = (usize, &PublishedRow)> {
        self.published.iter().enumerate().filter(move |(_, row)| row.table == number)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::record::tests::record;
    use super::*;

    pub(in super::super) fn row(method: &str, anchored: bool, recovery: f64, mip: f64) -> PublishedRow {
        PublishedRow { table: 1, method: method.into(), anchored, at: None, recovery, mip, l0: Some(3.0) }
    }

    pub(in super::super) fn published() -> Vec<PublishedRow> {
        vec![
            row("ReLU SAE", false, 0.0, 0.2),
            row("ReLU SAE", true, 0.0, 0.3),
            row("TopK SAE", false, 0.8, 0.9),
            row("TopK SAE", true, 0.85, 0.95),
        ]
    }

    /// The cell under a heading.
    pub(in super::super) fn cell(table: &Table, row: usize, header: &str) -> String {
        let column = table.columns.iter().position(|column| column.header == header);
        table.rows[row][column.unwrap_or_else(|| panic!("{header}: {:?}", table.columns))].text()
    }

    #[test]
    fn the_means_of_a_row_stand_beside_it_with_their_seeds_and_epochs() {
        let rows = published();
        let of = |seed: u64| record("TopK SAE", false, seed, 0.7, 0.90 + 0.01 * seed as f64);
        let mut records: Vec<RunRecord> = (0..3).map(of).collect();
        records[0].epochs = 4.0;
        let comparison = Comparison::new(&rows, &records);
        let ours = comparison.score_table(1, Measure::Recovery, "recovery");
        assert_eq!(ours.rows.len(), 4);
        assert_eq!((cell(&ours, 2, "printed"), cell(&ours, 2, "decoder")), ("80".into(), "70.0 ± 0.0".into()));
        // 4, 2.5 and 2.5.
        assert_eq!((cell(&ours, 2, "epochs"), cell(&ours, 0, "epochs")), ("3".into(), "–".into()));
        assert!(ours.caption.contains("means over 3 seeds"), "{}", ours.caption);
        // 0.90, 0.91, 0.92: their t interval is 0.91 ± 4.30265·0.01/√3.
        let products = comparison.score_table(1, Measure::Mip, "products");
        assert_eq!(cell(&products, 2, "decoder"), "0.910 ± 0.025");
        let training = comparison.training_table(1, "training");
        assert_eq!((cell(&training, 2, "seeds"), cell(&training, 1, "seeds")), ("3".into(), "0".into()));
        assert_eq!((cell(&training, 2, "epochs"), cell(&training, 2, "dead (%)")), ("3".into(), "50.0".into()));
        records.truncate(1);
        let alone = Comparison::new(&rows, &records).score_table(1, Measure::Mip, "products");
        assert_eq!(cell(&alone, 2, "decoder"), "0.900");
        assert!(alone.caption.contains("with one seed"), "{}", alone.caption);
        records.extend([1, 2].map(|seed| record("ReLU SAE", true, seed, 0.0, 0.2)));
        let uneven = Comparison::new(&rows, &records).score_table(1, Measure::Mip, "products");
        assert!(uneven.caption.contains("means over 1 to 2 seeds"), "{}", uneven.caption);
    }

    #[test]
    fn what_is_anchored_is_told_apart_from_what_is_not() {
        let rows = published();
        let mut anchored = record("TopK SAE", true, 0, 0.75, 0.9);
        let free = record("TopK SAE", true, 0, 0.5, 0.8).decoder.normalised;
        anchored.decoder.free = Some(free);
        anchored.decoder.raw = record("TopK SAE", true, 0, 0.25, 1.2).decoder.raw;
        let records = [anchored, record("TopK SAE", false, 0, 0.6, 0.7)];
        let comparison = Comparison::new(&rows, &records);
        let table = comparison.score_table(1, Measure::Recovery, "recovery");
        let shown = |row, header| cell(&table, row, header);
        assert_eq!(["decoder", "decoder, free"].map(|header| shown(3, header)), ["75.0", "50.0"]);
        let raw = comparison.raw_table(1, "raw");
        assert_eq!(["M_GT, decoder", "MIP, decoder"].map(|header| cell(&raw, 3, header)), ["25.0", "1.200"]);
        // Records that do not hold it say nothing, and without anchors there is nothing to tell apart.
        assert_eq!((shown(3, "encoder, free"), shown(2, "decoder, free")), ("–".into(), "–".into()));
        assert_eq!(Scored::DecoderFree.score(&records[1], Measure::Recovery), Some(0.6));
        assert_eq!(Scored::EncoderFree.score(&records[0], Measure::Recovery), None);
    }

    #[test]
    fn rows_without_runs_say_so() {
        let rows = published();
        let records = [record("TopK SAE", false, 0, 0.5, 0.9)];
        let comparison = Comparison::new(&rows, &records);
        for measure in Measure::ALL {
            assert_eq!(cell(&comparison.score_table(1, measure, "scores"), 0, "decoder"), "–");
        }
        assert_eq!(cell(&comparison.training_table(1, "training"), 0, "L0"), "–");
    }

    #[test]
    fn numbers_are_shown_with_a_sign_where_they_are_differences() {
        let shown = |measure: Measure, mean, half| measure.shown(mean, half, true);
        assert_eq!(shown(Measure::Recovery, -0.0251, 0.01), "−2.5 ± 1.0");
        assert_eq!(shown(Measure::Recovery, 0.3, f64::INFINITY), "+30.0");
        // What is rounded to 0 has no side.
        assert_eq!(shown(Measure::Mip, -0.0001, 0.0), "+0.000 ± 0.000");
        assert_eq!([0.0, 0.8763, 0.849].map(|x| Measure::Recovery.printed(x)), ["0", "87.63", "84.9"]);
        assert_eq!([0.0, 0.94, 0.983].map(|x| Measure::Mip.printed(x)), ["0", "0.94", "0.983"]);
    }
}
