//! One round in numbers.

use serde::{Deserialize, Serialize};

/// A line of `results.jsonl`. Where a method stops for time, how many lines it has depends on the machine; what they say does not, but for the line
/// of a round that was interrupted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of these lines: 1.
    pub format: u32,
    /// The method.
    pub method: String,
    /// Rounds done, or number of the one that was interrupted.
    pub round: u64,
    /// (1/N) Σ_s ‖x_r − V σ(W x_p)‖² on all samples, with σ = TopK for every method.
    pub loss: f64,
    /// The same on samples that no method has seen.
    pub held_out: f64,
    /// M_GT(τ) of the encoder.
    pub encoder: f64,
    /// M_GT(τ) of the decoder.
    pub decoder: f64,
    /// Latents that no sample uses.
    pub dead: usize,
    /// Of `alternating`: what the sweep has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<crate::optim::samples::Sweep>,
    /// True if the time was over within the round: the line is of what the method had by then, and does not come out the same again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Why the method ended, in its last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// Why a method has ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case", deny_unknown_fields)]
pub enum End {
    /// The last rounds have lowered its best loss by too little.
    Settled {
        /// Share by which they have.
        decrease: f64,
    },
    /// No step lowers the loss.
    NoDescent,
    /// Its seconds are spent.
    Time,
    /// The loss is no finite number any more.
    Diverged,
    /// Its rounds were limited, or it was interrupted: it begins anew when the command is given again.
    Stopped,
}

impl End {
    /// In words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Settled { .. } => "settled",
            Self::NoDescent => "no descent",
            Self::Time => "time",
            Self::Diverged => "diverged",
            Self::Stopped => "stopped",
        }
    }

    /// False if the method is to run again.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Stopped)
    }
}

/// A line of `timings.jsonl`, which belongs to the line of `results.jsonl` with the same method and round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The method.
    pub method: String,
    /// That of the record.
    pub round: u64,
    /// Seconds that the method has worked when it can show this round's model. A dictionary's encoder is fitted for every line, and only the fit of
    /// the line itself is in its seconds.
    pub seconds: f64,
}
