//! A table of the paper repeated once at its full size: means over seeds beside the printed numbers, as a file of TOML that people read.

use super::compare::{Comparison, Measure, PublishedRow, Scored};
use super::record::{RunRecord, six};
use crate::train::run::End;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What our runs of one table have come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Number of the table.
    pub table: u32,
    /// n, n_p, n_q.
    pub sizes: Vec<[usize; 3]>,
    /// Which programs have run.
    pub versions: Vec<String>,
    /// Commits of their sources, where known.
    pub commits: Vec<String>,
    /// Backends and instruction sets.
    pub devices: Vec<String>,
    /// All rows that have runs, in the order of the paper.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The method as printed.
    pub method: String,
    /// With feature anchoring.
    pub anchored: bool,
    /// The printed parameter that varies within the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// SHA-256 of the experiments.
    pub experiments: Vec<String>,
    /// Seeds of the runs.
    pub seeds: Vec<u64>,
    /// Mean number of epochs.
    pub epochs: f64,
    /// Why the runs ended.
    pub ends: Vec<End>,
    /// Mean number of active latents.
    pub l0: f64,
    /// Mean share of dead latents.
    pub dead: f64,
    /// Mean fraction of variance unexplained, where there is a variance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fvu: Option<f64>,
    /// What the paper prints.
    pub printed: Numbers,
    /// Columns of W_D, scaled to norm 1.
    pub decoder: Numbers,
    /// Rows of W_E, scaled to norm 1.
    pub encoder: Numbers,
    /// Rows of W_E as they are.
    pub encoder_raw: Numbers,
}

/// Recovery in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// M_GT at τ = 0.9, in [0, 1].
    pub recovery: f64,
    /// MIP.
    pub mip: f64,
    /// L0, where it is printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l0: Option<f64>,
}

impl Summary {
    /// Of the runs of one table; none if there are no runs of it.
    pub fn of(table: u32, published: &[PublishedRow], records: &[RunRecord]) -> Option<Self> {
        let ours: Vec<&RunRecord> = records.iter().filter(|record| record.published.table == table).collect();
        let comparison = Comparison::new(published, records);
        let numbered = published.iter().enumerate().filter(|(_, row)| row.table == table);
        let rows: Vec<Row> = numbered.filter_map(|(place, row)| Row::of(&comparison, place, row)).collect();
        let texts = |of: &dyn Fn(&RunRecord) -> Option<String>| -> Vec<String> {
            ours.iter().filter_map(|record| of(record)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        (!rows.is_empty()).then(|| Self {
            table,
            sizes: ours.iter().map(|record| record.size).collect::<BTreeSet<_>>().into_iter().collect(),
            versions: texts(&|record| Some(record.origin.version.clone())),
            commits: texts(&|record| record.origin.commit.clone()),
            devices: texts(&|record| Some(record.origin.device.clone())),
            rows,
        })
    }

    /// As a file, whose first lines say what it is.
    pub fn to_toml(&self) -> String {
        let head = format!(
            "# Table {} at the size of the paper: means over our runs beside the printed numbers.\n\
             # Written by `sdlab report --full --tables {}`.\n\n",
            self.table, self.table
        );
        // Numbers, texts and lists of them are always TOML.
        head + &toml::to_string_pretty(self).unwrap_or_default()
    }
}

impl Row {
    fn of(comparison: &Comparison<'_>, place: usize, published: &PublishedRow) -> Option<Self> {
        let mean = |of: &dyn Fn(&RunRecord) -> f64| comparison.mean(place, of).map(|mean| six(mean.mean));
        let runs: Vec<&RunRecord> = comparison.runs(place).collect();
        let numbers = |scored: Scored| {
            let number = |measure| comparison.score(place, scored, measure).map(|mean| six(mean.mean));
            Some(Numbers { recovery: number(Measure::Recovery)?, mip: number(Measure::Mip)?, l0: None })
        };
        let mut ends: Vec<End> = Vec::new();
        for run in &runs {
            if !ends.contains(&run.end) {
                ends.push(run.end);
            }
        }
        Some(Self {
            method: published.method.clone(),
            anchored: published.anchored,
            at: published.at.clone(),
            experiments: runs.iter().map(|run| run.experiment.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
            seeds: runs.iter().map(|run| run.seed).collect(),
            epochs: mean(&|run| run.epochs)?,
            ends,
            l0: mean(&|run| run.l0)?,
            dead: mean(&|run| run.dead)?,
            fvu: runs.iter().all(|run| run.fvu.is_some()).then(|| mean(&|run| run.fvu.unwrap_or(0.0))).flatten(),
            printed: Numbers { recovery: published.recovery, mip: published.mip, l0: published.l0 },
            decoder: numbers(Scored::Decoder)?,
            encoder: numbers(Scored::Encoder)?,
            encoder_raw: numbers(Scored::EncoderRaw)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn the_stored_summary_is_that_of_the_stored_runs() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/results");
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let records = RunRecord::parse(&text("full.jsonl"), "full.jsonl").unwrap();
        let summary = Summary::of(1, &crate::report::exhibits::published_rows(), &records).unwrap();
        assert_eq!(toml::from_str::<Summary>(&text("table1.toml")).unwrap(), summary);
    }

    #[test]
    fn the_readme_shows_the_stored_summary() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
        let summary: Summary = toml::from_str(&text("reports/results/table1.toml")).unwrap();
        let readme = text("README.md");
        let (_, rest) = readme.split_once("from reports/results/table1.toml -->").unwrap();
        let (table, _) = rest.split_once("<!-- end -->").unwrap();
        let lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert_eq!(lines.len(), summary.rows.len());
        for (line, row) in lines.into_iter().zip(&summary.rows) {
            let mut cells = line.trim_matches('|').split(['|', ',']).map(str::trim);
            let anchors = if row.anchored { " + anchors" } else { "" };
            assert_eq!(cells.next().unwrap(), format!("{}{anchors}", row.method));
            let shown: Vec<f64> = cells.map(|cell| cell.trim_end_matches(" %").parse().unwrap()).collect();
            let percent = [&row.printed, &row.decoder, &row.encoder].map(|numbers| 100.0 * numbers.recovery);
            let others = [row.epochs, row.printed.l0.unwrap(), row.l0];
            assert_eq!(shown.len(), 6, "{line}");
            for (shown, stored) in shown.iter().zip(percent.into_iter().chain(others)) {
                // One digit after the point is shown.
                assert!((shown - stored).abs() < 0.05 + 1e-9, "{line}: {shown} for {stored}");
            }
        }
    }

    fn published(method: &str, anchored: bool) -> PublishedRow {
        PublishedRow { table: 1, method: method.into(), anchored, at: None, recovery: 0.5, mip: 0.75, l0: Some(3.0) }
    }

    #[test]
    fn a_summary_holds_the_means_over_seeds_and_comes_back_from_its_file() {
        let rows = [published("TopK SAE", false), published("ReLU SAE", false), published("TopK SAE", true)];
        let records = [record("TopK SAE", false, 0, 0.5, 0.9), record("TopK SAE", false, 3, 0.0, 0.5)];
        let summary = Summary::of(1, &rows, &records).unwrap();
        assert_eq!(summary.rows.len(), 1);
        assert_eq!(summary.rows[0].seeds, [0, 3]);
        let mean = |of: fn(&RunRecord) -> f64| (of(&records[0]) + of(&records[1])) / 2.0;
        assert_eq!(summary.rows[0].decoder.recovery, mean(|r| r.decoder.normalised.at(18)));
        assert_eq!(summary.rows[0].encoder.mip, mean(|r| r.encoder.normalised.mip));
        assert_eq!(summary.rows[0].printed, Numbers { recovery: 0.5, mip: 0.75, l0: Some(3.0) });
        let text = summary.to_toml();
        assert!(text.starts_with("# Table 1 at the size of the paper"));
        assert_eq!(toml::from_str::<Summary>(&text).unwrap(), summary);
        assert_eq!(Summary::of(4, &rows, &records), None);
        assert_eq!(Summary::of(1, &rows, &[]), None);
    }
}
