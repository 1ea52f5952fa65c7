//! Which orderings of the paper reproduce: pairs of rows whose printed numbers differ, and how far ours differ.

use super::compare::{Comparison, Measure, Scored};
use crate::stats::{Cell, Kind, MeanInterval, Table, Tone};

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
    /// It contains 0.
    Open,
    /// There is one common seed, and so no interval.
    OneSeed,
}

/// Two published rows by their places, whose printed numbers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// How they differ.
    pub contrast: Contrast,
    /// The row with the larger number.
    pub larger: usize,
    /// The row with the smaller one.
    pub smaller: usize,
}

impl Contrast {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Anchoring, Self::Method, Self::Setting];

    /// What differs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Anchoring => "anchors",
            Self::Method => "methods",
            Self::Setting => "parameters",
        }
    }

    /// The scores that say something about it: what is anchored tells rows apart only where one of two has anchors.
    fn scores(self) -> impl Iterator<Item = Scored> {
        Scored::ALL.into_iter().filter(move |scored| self == Self::Anchoring || !scored.is_free())
    }

    /// Those that are shown for every ordering: a table for each pair, so narrow that its rows need one line.
    pub fn shown(self) -> &'static [[Scored; 2]] {
        match self {
            Self::Anchoring => &[[Scored::Decoder, Scored::DecoderFree], [Scored::Encoder, Scored::EncoderFree]],
            Self::Method | Self::Setting => &[[Scored::Decoder, Scored::Encoder]],
        }
    }
}

impl Reproduction {
    /// By the difference of two rows, the one with the larger printed number less the other.
    pub fn of(difference: &MeanInterval) -> Self {
        if difference.count < 2 {
            Self::OneSeed
        } else if difference.low() > 0.0 {
            Self::Reproduced
        } else if difference.high() < 0.0 {
            Self::Reversed
        } else {
            Self::Open
        }
    }

    fn cell(self, difference: &str) -> Cell {
        let (tone, word) = match self {
            Self::Reproduced => (Tone::Good, "yes"),
            Self::Reversed => (Tone::Bad, "no"),
            Self::Open => (Tone::Open, "open"),
            Self::OneSeed => (Tone::Open, "one seed"),
        };
        Cell::verdict(tone, &format!("{difference}, {word}"))
    }
}

impl Comparison<'_> {
    /// Pairs of published rows whose printed numbers differ, the larger first.
    pub fn pairs(&self, measure: Measure) -> Vec<Pair> {
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
                    pairs.push(Pair { contrast, larger: i, smaller: j });
                } else if y > x {
                    pairs.push(Pair { contrast, larger: j, smaller: i });
                }
            }
        }
        pairs
    }

    /// The next row of the same method with the next parameter.
    fn next(&self, i: usize) -> Option<usize> {
        let a = &self.published[i];
        let same = |j: &usize| {
            let b = &self.published[*j];
            (b.table, &b.method, b.anchored) == (a.table, &a.method, a.anchored)
        };
        (i + 1..self.published.len()).find(same)
    }

    /// How far our rows differ in the order of a pair, seed by seed; nothing without a common seed.
    pub fn difference(&self, pair: Pair, scored: Scored, measure: Measure) -> Option<MeanInterval> {
        let smaller = &self.runs[pair.smaller];
        let differences = self.runs[pair.larger].iter().filter_map(|(seed, larger)| {
            Some(scored.score(larger, measure)? - scored.score(smaller.get(seed)?, measure)?)
        });
        MeanInterval::of(&differences.collect::<Vec<_>>())
    }

    /// The pairs of a published table of which we have runs.
    fn ours(&self, number: u32, contrast: Contrast, measure: Measure) -> Vec<Pair> {
        let has_runs = |pair: &Pair| self.difference(*pair, Scored::Decoder, measure).is_some();
        let asked = |pair: &Pair| pair.contrast == contrast && self.published[pair.larger].table == number;
        self.pairs(measure).into_iter().filter(|pair| asked(pair) && has_runs(pair)).collect()
    }

    /// "TopK SAE > ReLU SAE", "TopK SAE: with > without", "TopK SAE + anchors: 0.05 > 0.1".
    fn pair_name(&self, pair: Pair) -> String {
        let (a, b) = (&self.published[pair.larger], &self.published[pair.smaller]);
        let at = a.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        match pair.contrast {
            Contrast::Anchoring if a.anchored => format!("{}{at}: with > without", a.method),
            Contrast::Anchoring => format!("{}{at}: without > with", a.method),
            Contrast::Method => format!("{} > {}{at}", a.method, b.method),
            Contrast::Setting => {
                let at = |row: &Option<String>| row.clone().unwrap_or_else(|| "–".to_owned());
                format!("{}: {} > {}", a.variant(), at(&a.at), at(&b.at))
            }
        }
    }

    /// Every ordering of a kind by name, with the differences of ours in two scores; nothing where we have no runs.
    pub fn pairs_table(
        &self,
        number: u32,
        contrast: Contrast,
        measure: Measure,
        scores: [Scored; 2],
        name: &str,
    ) -> Option<Table> {
        let pairs = self.ours(number, contrast, measure);
        let seeds = pairs.iter().filter_map(|pair| self.difference(*pair, Scored::Decoder, measure));
        let seeds = seeds.map(|difference| difference.count).max()?;
        let columns = [("ordering", Kind::Text), ("printed", Kind::Number)]
            .into_iter()
            .chain(scores.map(|scored| (scored.word(), Kind::Verdict)));
        let means = if seeds > 1 {
            "means over common seeds ± half a 95 % interval (Student's t), which is not corrected for the number of orderings. Yes, no or open: the \
             interval lies on the published side of 0, on the other, or on both."
        } else {
            "with one seed, so that there are no intervals and the sign alone says little."
        };
        let unit = if measure == Measure::Recovery { "percentage points of M_GT at τ = 0.9" } else { "MIP" };
        let free = if contrast == Contrast::Anchoring {
            " Free: with anchors over the features and latents that have none, without anchors over all."
        } else {
            ""
        };
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("Orderings of Table {number} by name: {}, {} of {}", contrast.word(), measure.word(), sides(scores)))
            .caption(&format!(
                "Pairs of rows whose printed numbers differ, the larger first, and how far ours differ in that order, in {unit}: {means}{free}"
            ));
        for pair in pairs {
            let printed = [pair.larger, pair.smaller].map(|k| measure.printed(self.published[k].number(measure)));
            let ours = scores.map(|scored| {
                self.difference(pair, scored, measure).map_or(Cell::Missing, |difference| {
                    let shown = measure.shown(difference.mean, difference.half, true);
                    Reproduction::of(&difference).cell(&shown)
                })
            });
            table.push([Cell::from(self.pair_name(pair)), Cell::from(printed.join(", "))].into_iter().chain(ours));
        }
        Some(table)
    }

    /// How many orderings of each kind reproduce, by what is scored. Orderings without any run of ours are left out.
    pub fn orderings_table(&self, number: u32, name: &str) -> Table {
        let columns = [
            ("contrast", Kind::Text),
            ("measure", Kind::Text),
            ("scored", Kind::Text),
            ("orderings", Kind::Number),
            ("same sign", Kind::Number),
            ("reproduced", Kind::Number),
            ("reversed", Kind::Number),
            ("open", Kind::Number),
            ("in short", Kind::Verdict),
        ];
        let mut table = Table::new(name, "experiments", columns)
            .title(&format!("Orderings of Table {number} in our runs"))
            .caption(
                "An ordering is a pair of rows whose printed numbers differ. It has the same sign if ours differ in the same order, in the mean over \
                 seeds. It is reproduced, reversed or open as the 95 % interval of the difference, seed by seed, lies on the published side of 0, on the \
                 other, or on both. Free: with anchors over the features and latents that have none, without anchors over all.",
            );
        for contrast in Contrast::ALL {
            for measure in Measure::ALL {
                let pairs = self.ours(number, contrast, measure);
                for scored in contrast.scores() {
                    let of = |pair: &Pair| self.difference(*pair, scored, measure);
                    let counts = Counts::of(&pairs.iter().filter_map(of).collect::<Vec<_>>());
                    if counts.all > 0 {
                        let head = [contrast.word(), measure.word(), scored.word()].map(Cell::from);
                        table.push(head.into_iter().chain(counts.cells()));
                    }
                }
            }
        }
        table
    }
}

/// "decoder and encoder", or one of them.
fn sides([first, second]: [Scored; 2]) -> String {
    if second.is_free() { first.word().to_owned() } else { format!("{} and {}", first.word(), second.word()) }
}

/// What differences say together.
struct Counts {
    all: usize,
    same_sign: usize,
    reproduced: usize,
    reversed: usize,
    open: usize,
}

impl Counts {
    fn of(differences: &[MeanInterval]) -> Self {
        let are = |kind| differences.iter().filter(|difference| Reproduction::of(difference) == kind).count();
        Self {
            all: differences.len(),
            same_sign: differences.iter().filter(|difference| difference.mean > 0.0).count(),
            reproduced: are(Reproduction::Reproduced),
            reversed: are(Reproduction::Reversed),
            open: are(Reproduction::Open),
        }
    }

    fn cells(&self) -> [Cell; 6] {
        let judged = [self.reproduced, self.reversed, self.open];
        let of = |count: usize| if judged == [0; 3] { Cell::Missing } else { Cell::from(count) };
        let [reproduced, reversed, open] = judged.map(of);
        [Cell::from(self.all), Cell::from(self.same_sign), reproduced, reversed, open, self.summary()]
    }

    fn summary(&self) -> Cell {
        match (self.reproduced, self.reversed, self.open) {
            (0, 0, 0) => Cell::verdict(Tone::Open, "one seed: no interval"),
            (yes, ..) if yes == self.all => Cell::verdict(Tone::Good, "all reproduce"),
            (0, 0, _) => Cell::verdict(Tone::Open, "not separated"),
            (_, 0, _) => Cell::verdict(Tone::Qualified, "some reproduce"),
            (0, ..) => Cell::verdict(Tone::Bad, "reversed"),
            _ => Cell::verdict(Tone::Qualified, "mixed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PublishedRow;
    use super::super::compare::tests::{cell, published, row};
    use super::super::record::tests::record;
    use super::*;

    fn pair(contrast: Contrast, larger: usize, smaller: usize) -> Pair {
        Pair { contrast, larger, smaller }
    }

    /// Three seeds of all rows.
    fn records() -> Vec<crate::results::RunRecord> {
        let of = |seed: u64| {
            let shift = 0.01 * seed as f64;
            let mut anchored = record("TopK SAE", true, seed, 0.55 + 0.1 * seed as f64, 0.85 + shift);
            anchored.decoder.free = Some(record("TopK SAE", true, seed, 0.9, 0.99).decoder.normalised);
            [
                record("ReLU SAE", false, seed, 0.1, 0.20 + shift),
                record("ReLU SAE", true, seed, 0.1, 0.25 + shift),
                record("TopK SAE", false, seed, 0.7, 0.90 + shift),
                anchored,
            ]
        };
        (0..3).flat_map(of).collect()
    }

    #[test]
    fn an_ordering_reproduces_reverses_or_stays_open_by_the_interval_of_differences() {
        let (rows, records) = (published(), records());
        let comparison = Comparison::new(&rows, &records);
        let said = |larger, smaller, scored, measure| {
            Reproduction::of(
                &comparison.difference(pair(Contrast::Anchoring, larger, smaller), scored, measure).unwrap(),
            )
        };
        assert_eq!(said(1, 0, Scored::Decoder, Measure::Mip), Reproduction::Reproduced);
        assert_eq!(said(3, 2, Scored::Decoder, Measure::Mip), Reproduction::Reversed);
        assert_eq!(said(3, 2, Scored::DecoderFree, Measure::Mip), Reproduction::Reproduced);
        // Differences −0.15, −0.05 and 0.05.
        assert_eq!(said(3, 2, Scored::Decoder, Measure::Recovery), Reproduction::Open);
        // M_GT of the ReLU rows is printed equal: no ordering.
        let expected = [pair(Contrast::Method, 2, 0), pair(Contrast::Anchoring, 3, 2)];
        assert_eq!(comparison.pairs(Measure::Recovery), expected);
    }

    #[test]
    fn the_summary_counts_what_the_named_orderings_say() {
        let (rows, records) = (published(), records());
        let comparison = Comparison::new(&rows, &records);
        let by_name = |contrast: Contrast, measure, side: usize| {
            comparison.pairs_table(1, contrast, measure, contrast.shown()[side], "named")
        };
        let [decoder, encoder] = [0, 1].map(|side| by_name(Contrast::Anchoring, Measure::Mip, side).unwrap());
        let shown = |row, header| cell(&decoder, row, header);
        assert_eq!(["ordering", "printed"].map(|h| shown(0, h)), ["ReLU SAE: with > without", "0.3, 0.2"]);
        assert_eq!(shown(0, "decoder"), "+0.050 ± 0.000, yes");
        assert_eq!(shown(1, "decoder"), "−0.050 ± 0.000, no");
        // Differences 0.09, 0.08 and 0.07: 4.30265·0.01/√3 is half their interval.
        assert_eq!(shown(1, "decoder, free"), "+0.080 ± 0.025, yes");
        assert_eq!((shown(0, "decoder, free"), cell(&encoder, 1, "encoder, free")), ("–".into(), "–".into()));
        assert_eq!(cell(&encoder, 0, "encoder"), "+0.025 ± 0.000, yes");
        let methods = by_name(Contrast::Method, Measure::Recovery, 0).unwrap();
        assert_eq!(cell(&methods, 0, "ordering"), "TopK SAE > ReLU SAE");
        assert_eq!(cell(&methods, 0, "decoder"), "+60.0 ± 0.0, yes");
        assert!(methods.columns.iter().all(|column| !column.header.contains("free")), "{:?}", methods.columns);
        assert_eq!(by_name(Contrast::Setting, Measure::Mip, 0), None);
        let table = comparison.orderings_table(1, "orderings");
        let line = |of: [&str; 3]| {
            let row = table.rows.iter().find(|row| row.iter().zip(of).all(|(cell, text)| cell.text() == text)).unwrap();
            row[3..].iter().map(Cell::text).collect::<Vec<_>>()
        };
        assert_eq!(line(["anchors", "MIP", "decoder"]), ["2", "1", "1", "1", "0", "mixed"]);
        assert_eq!(line(["anchors", "MIP", "decoder, free"]), ["1", "1", "1", "0", "0", "all reproduce"]);
        assert_eq!(line(["anchors", "M_GT", "decoder"]), ["1", "0", "0", "0", "1", "not separated"]);
        // Six scores of anchors, of which the encoder's without what is anchored is in no record, four of methods, both twice.
        assert_eq!(table.rows.len(), 2 * (5 + 4));
    }

    #[test]
    fn one_seed_gives_a_sign_and_no_interval() {
        let (rows, records) = (published(), records());
        let comparison = Comparison::new(&rows, &records[..4]);
        let scores = Contrast::Anchoring.shown()[0];
        let named = comparison.pairs_table(1, Contrast::Anchoring, Measure::Recovery, scores, "named").unwrap();
        assert_eq!(cell(&named, 0, "decoder"), "−15.0, one seed");
        assert!(named.caption.contains("with one seed"), "{}", named.caption);
        let table = comparison.orderings_table(1, "orderings");
        assert!(table.rows.iter().all(|row| row[8].text() == "one seed: no interval"), "{:?}", table.rows);
        assert_eq!((cell(&table, 0, "same sign"), cell(&table, 0, "open")), ("0".into(), "–".into()));
    }

    #[test]
    fn orderings_without_runs_of_both_rows_are_left_out() {
        let rows = published();
        let records = [record("TopK SAE", false, 0, 0.5, 0.9), record("TopK SAE", true, 1, 0.5, 0.9)];
        let comparison = Comparison::new(&rows, &records);
        assert_eq!(comparison.orderings_table(1, "o").rows.len(), 0);
        // Seeds are compared with themselves only.
        assert_eq!(comparison.difference(pair(Contrast::Anchoring, 3, 2), Scored::Decoder, Measure::Mip), None);
        let scores = Contrast::Anchoring.shown()[0];
        assert_eq!(comparison.pairs_table(1, Contrast::Anchoring, Measure::Mip, scores, "o"), None);
    }

    #[test]
    fn parameters_are_compared_with_their_neighbours_only() {
        let at = |value: &str, mip| PublishedRow { at: Some(value.into()), ..row("TopK SAE", false, 0.5, mip) };
        let rows = [at("0.1", 0.7), at("0.2", 0.8), at("0.3", 0.6)];
        let comparison = Comparison::new(&rows, &[]);
        let pairs = [pair(Contrast::Setting, 1, 0), pair(Contrast::Setting, 1, 2)];
        assert_eq!(comparison.pairs(Measure::Mip), pairs);
        assert_eq!(comparison.pairs(Measure::Recovery), []);
        assert_eq!(pairs.map(|pair| comparison.pair_name(pair)), ["TopK SAE: 0.2 > 0.1", "TopK SAE: 0.2 > 0.3"]);
    }
}
