//! The rule of an update and the learning rate over the steps.

use serde::{Deserialize, Serialize};

/// The rule of an update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Which rule.
    pub rule: Rule,
    /// Step size η at its largest.
    pub learning_rate: f64,
    /// β₁ of Adam, μ of momentum SGD.
    pub beta_1: f64,
    /// β₂ of Adam.
    pub beta_2: f64,
    /// ε of Adam, added to √v̂.
    pub epsilon: f64,
    /// Decoupled weight decay of AdamW, before its update: w ← w − η·decay·w for W_E, W_D and W_S. The other rules have none.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; a longer one is rescaled. 0 means no limit.
    pub clip: f64,
}

/// Which optimizer. With g the gradient, after t updates, this one included:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Kingma and Ba 2015: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − η (m/(1 − β₁ᵗ)) / (√(v/(1 − β₂ᵗ)) + ε).
    Adam,
    /// Loshchilov and Hutter 2019: Adam after a decay of the weights.
    AdamW,
    /// m ← μ m + g, w ← w − η m.
    Sgd,
}

/// How an optimizer's moments are stored. They come to the host as f32 in either case, and back without loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moments {
    /// As they are computed.
    #[default]
    F32,
    /// In half the memory: each is rounded at random to one of the two bf16 that enclose it, so that its mean is what was computed. To the
    /// nearest, second moments would stand still, as 1 − β₂ = 0.001 of a number is less than half of what bf16 resolves.
    Bf16,
}

/// By what a top-k ranks latents: TopK, Top-k∘ReLU and the dead latents of AuxK. The codes that are selected are exact scores in every case, with
/// [`Gather::Bf16`] of weights that were rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelectBy {
    /// The score, on which all f32 backends agree bit for bit.
    #[default]
    Score,
    /// A product in tf32 on tensor cores, as the device rounds it.
    Tf32,
    /// A product in bf16 on tensor cores, likewise: nothing is scored but what is selected.
    Bf16,
}

impl SelectBy {
    /// As configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// How the rows are stored that a step gathers by code: columns of W_D for reconstructions, derivatives of reconstructions and x' for gradients, and
/// with [`SelectBy::Bf16`] rows of W_E for the scores of what is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gather {
    /// As they are.
    #[default]
    F32,
    /// As copies in half the bytes, rounded to the nearest bf16, ties to even. All sums are in f32, and so are parameters, gradients and moments.
    Bf16,
}

impl Gather {
    /// As configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            rule: Rule::Adam,
            learning_rate: 1e-3,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
        }
    }
}

/// The learning rate at step t of T, as a share of the largest: a linear rise from 0 over the first `warm_up` steps, then constant, then over the
/// last `decay` steps down to 0 along the given curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Steps of rising.
    pub warm_up: u64,
    /// Steps of falling.
    pub decay: u64,
    /// The curve of falling.
    pub curve: Curve,
    /// T.
    pub steps: u64,
}

/// How a learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// Proportional to the steps that are left.
    #[default]
    Linear,
    /// Half a cosine.
    Cosine,
}

/// A linear rise of the learning rate: at step `from` + j, j < `steps`, its share is (j + 1)/`steps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// The step that it begins with.
    pub from: u64,
    /// How many steps it takes.
    pub steps: u64,
}

impl WarmUp {
    /// The share at step t.
    pub fn share(&self, t: u64) -> f64 {
        let done = t.saturating_sub(self.from);
        if done < self.steps { (done + 1) as f64 / self.steps as f64 } else { 1.0 }
    }
}

impl Schedule {
    /// The rise that a run begins with.
    pub fn first_warm_up(&self) -> WarmUp {
        WarmUp { from: 0, steps: self.warm_up }
    }

    /// The share at step t, counted from 0.
    pub fn share(&self, t: u64) -> f64 {
        self.share_with(self.first_warm_up(), t)
    }

    /// The share at step t when the last rise was another one than the first.
    pub fn share_with(&self, warm_up: WarmUp, t: u64) -> f64 {
        let rise = warm_up.share(t);
        let left = self.steps.saturating_sub(t);
        let fall = if self.decay == 0 || left > self.decay {
            1.0
        } else {
            let share = left as f64 / self.decay as f64;
            match self.curve {
                Curve::Linear => share,
                Curve::Cosine => 0.5 - 0.5 * (std::f64::consts::PI * share).cos(),
            }
        };
        rise * fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let schedule = Schedule { warm_up: 10, decay: 20, curve: Curve::Linear, steps: 100 };
        assert_eq!([0, 4, 9, 50, 79].map(|t| schedule.share(t)), [0.1, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!([80, 90, 99, 100].map(|t| schedule.share(t)), [1.0, 0.5, 0.05, 0.0]);
        let cosine = Schedule { curve: Curve::Cosine, ..schedule };
        // cos π/2 is 6e-17 in f64.
        assert!((cosine.share(90) - 0.5).abs() < 1e-15 && cosine.share(80) == 1.0);
        assert_eq!(Schedule::default().share(7), 1.0);
    }

    #[test]
    fn a_second_rise_begins_where_it_is_told_to() {
        let schedule = Schedule { warm_up: 10, decay: 20, curve: Curve::Linear, steps: 100 };
        let again = WarmUp { from: 40, steps: 4 };
        assert_eq!([40, 41, 43, 44, 90].map(|t| schedule.share_with(again, t)), [0.25, 0.5, 1.0, 1.0, 0.5]);
    }
}
