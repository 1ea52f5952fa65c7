//! One run in numbers.

use crate::metrics::score::{RecoveryScores, SideScores, WithAndWithout};
use crate::train::config::Published;
use crate::train::run::End;
use crate::train::trace::Point;
use serde::{Deserialize, Serialize};

/// Recovery is kept for τ = 0, 1/20, .., 1.
pub const STEPS: usize = 20;

/// What a run has scored on held-out samples, and where it comes from: a line of JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Of these lines: 1.
    pub format: u32,
    /// The row of the paper that the run repeats.
    pub published: Published,
    /// SHA-256 of the complete experiment.
    pub experiment: String,
    /// Seed of everything random.
    pub seed: u64,
    /// n, n_p, n_q.
    pub size: [usize; 3],
    /// Updates done.
    pub steps: u64,
    /// Epochs done, the last one possibly in part.
    pub epochs: f64,
    /// Why training ended.
    pub end: End,
    /// Rows of W_E against W_p.
    pub encoder: Side,
    /// Columns of W_D against W_r.
    pub decoder: Side,
    /// Mean number of active latents.
    pub l0: f64,
    /// Share of latents that were active in no held-out sample.
    pub dead: f64,
    /// Fraction of variance unexplained.
    pub fvu: Option<f64>,
    /// Dead latents that resampling has moved, each time counted; absent where it was not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<u64>,
    /// Loss and recovery on the way; empty where they were not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<Point>,
    /// Which program has run where.
    pub origin: Origin,
}

/// One side of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Latents scaled to norm 1.
    pub normalised: Recovered,
    /// Latents as they are, the formula as printed.
    pub raw: Recovered,
    /// Scaled to norm 1, without anchored features and latents; absent without anchors.
    pub free: Option<Recovered>,
}

/// Maximum inner product, and M_GT over τ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// MIP.
    pub mip: f64,
    /// M_GT(τ) for τ = 0, 0.05, .., 1.
    pub curve: Vec<f64>,
}

/// Which program has run where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Version of sdlab.
    pub version: String,
    /// Commit of its source, if known.
    pub commit: Option<String>,
    /// Backend, instruction set.
    pub device: String,
}

/// Why lines of records cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: line {line}: {problem}")]
pub struct RecordError {
    /// The file.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// To six digits, since more of them say nothing and make long lines.
pub(super) fn six(x: f64) -> f64 {
    format!("{x:.5e}").parse().unwrap_or(x)
}

impl Recovered {
    fn of(scores: &RecoveryScores) -> Self {
        let each = (scores.recovered.len() - 1) / STEPS;
        Self { mip: six(scores.mip), curve: scores.recovered.iter().step_by(each).map(|share| six(*share)).collect() }
    }

    /// M_GT at τ = step / 20.
    ///
    /// # Panics
    /// Above 20.
    pub fn at(&self, step: usize) -> f64 {
        self.curve[step]
    }
}

impl Side {
    /// Of all scores of a side.
    pub(super) fn of(scores: &SideScores) -> Self {
        let WithAndWithout { all, free } = &scores.whole.normalised;
        Self {
            normalised: Recovered::of(all),
            raw: Recovered::of(&scores.whole.raw.all),
            free: free.as_ref().map(Recovered::of),
        }
    }
}

impl RunRecord {
    /// Where the record stands among others: table, method, parameter, anchors, seed.
    pub fn place(&self) -> impl Ord + '_ {
        let Published { table, method, anchored, at } = &self.published;
        (*table, method.as_str(), at.as_deref(), *anchored, self.seed)
    }

    /// Reads lines of JSON; empty ones count for nothing.
    ///
    /// # Errors
    /// The first line that is no record, or that has curves of another length.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Self>, RecordError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(k, line)| {
                let fail = |problem: String| RecordError { file: file.to_owned(), line: k + 1, problem };
                let record: Self = serde_json::from_str(line).map_err(|error| fail(error.to_string()))?;
                let sides = [&record.encoder, &record.decoder];
                let all = sides.iter().flat_map(|side| [Some(&side.normalised), Some(&side.raw), side.free.as_ref()]);
                if record.format != 1 {
                    return Err(fail(format!("format: expected 1, found {}", record.format)));
                }
                if let Some(odd) = all.flatten().find(|recovered| recovered.curve.len() != STEPS + 1) {
                    return Err(fail(format!("curve: expected {} numbers, found {}", STEPS + 1, odd.curve.len())));
                }
                Ok(record)
            })
            .collect()
    }

    /// One line of JSON with its end.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("plain numbers always serialise") + "\n"
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record whose decoder has this MIP and recovers this share up to τ = 0.95.
    pub(in super::super) fn record(method: &str, anchored: bool, seed: u64, share: f64, mip: f64) -> RunRecord {
        let recovered = |mip: f64, share: f64| Recovered {
            mip,
            curve: (0..=STEPS).map(|k| if k < STEPS { share } else { 0.0 }).collect(),
        };
        let side = |mip, share| Side { normalised: recovered(mip, share), raw: recovered(mip, share), free: None };
        RunRecord {
            format: 1,
            published: Published { table: 1, method: method.into(), anchored, at: None },
            experiment: "0".repeat(64),
            seed,
            size: [60, 48, 240],
            steps: 100,
            epochs: 2.5,
            end: End::Completed,
            encoder: side(mip / 2.0, 0.0),
            decoder: side(mip, share),
            l0: 4.0,
            dead: 0.5,
            fvu: Some(0.1),
            moved: None,
            trace: Vec::new(),
            origin: Origin { version: "0.1.0".into(), commit: None, device: "reference f64".into() },
        }
    }

    #[test]
    fn a_record_is_one_line_that_comes_back() {
        let records = [record("TopK SAE", false, 0, 0.5, 0.9), record("ReLU SAE", true, 1, 0.0, 0.25)];
        let text: String = records.iter().map(RunRecord::line).collect();
        assert_eq!(text.lines().count(), 2);
        // As before there were traces.
        assert!(!text.contains("trace") && !text.contains("moved"));
        assert_eq!(RunRecord::parse(&text, "x.jsonl").unwrap(), records);
        assert_eq!(RunRecord::parse("\n\n", "x.jsonl").unwrap(), []);
        let point = Point { step: 3, samples: 12, loss: 0.5, l0: 2.0, encoder: 0.0, decoder: 0.25 };
        let traced = RunRecord { moved: Some(7), trace: vec![point], ..records[0].clone() };
        assert_eq!(RunRecord::parse(&traced.line(), "x.jsonl").unwrap(), [traced]);
        assert_eq!((six(1.0 / 3.0), six(-1_234_567.0), six(0.0)), (0.333333, -1_234_570.0, 0.0));
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let good = record("TopK SAE", false, 0, 0.5, 0.9);
        let mut short = good.clone();
        short.decoder.raw.curve.pop();
        for (line, expected) in [
            ("{".to_owned(), "x.jsonl: line 2: EOF"),
            (short.line(), "x.jsonl: line 2: curve: expected 21 numbers, found 20"),
            (RunRecord { format: 2, ..good.clone() }.line(), "x.jsonl: line 2: format: expected 1, found 2"),
        ] {
            let error = RunRecord::parse(&format!("{}{line}", good.line()), "x.jsonl").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
