//! Where the arithmetic of training runs.
//!
//! A [`Backend`] keeps parameters, batches and codes wherever it wants; a training loop only passes them around. Nothing in the trait is
//! host memory, except what is uploaded ([`Backend::load`], [`Backend::params`], [`Backend::restore`]) and what is asked for
//! ([`Backend::observe`], [`Backend::idle`], [`Backend::model`], [`Backend::save`], [`Backend::codes_of`], [`Backend::gradients_of`]).
//!
//! A step is `load` or `sample`, `encode_select`, `decode_residual`, `backward`, `step`, in this order and without waiting in between:
//! step count, learning rate, dead counters and the threshold of BatchTopK live in the optimizer's state.
//!
//! | backend | arithmetic |
//! |---|---|
//! | [`reference`] | f64, dense, plain loops: what the others are compared with |
//! | [`cpu`] | f32, at the machine's limit |
//!
//! # The score of a latent
//!
//! Which latents a top-k keeps depends on the last bit of a pre-activation, so all f32 backends compute the same bits: the score is
//! [`score::score`], products accumulated in 64 lanes by fused multiply-adds and summed in a fixed tree. Screens may only discard what provably
//! cannot be selected by that score. Ties go to the lower latent; NaN is never selected while a number is left.

pub mod cpu;
pub mod reference;
pub mod score;

use crate::bench::dataset::Bench;
use crate::sdl::{Anchors, Model, Objective, Shape, Tensors};
use serde::{Deserialize, Serialize};

/// All that a step needs to know, checked once by whoever makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Sizes.
    pub shape: Shape,
    /// Most samples in a batch; all memory is allocated for it.
    pub batch: usize,
    /// Penalties and further reconstructions.
    pub objective: Objective,
    /// Known features.
    pub anchors: Anchors,
    /// The rule of an update.
    pub optimizer: Optimizer,
    /// Learning rate over the steps.
    pub schedule: Schedule,
    /// Decoder columns are kept at norm 1: the gradient's part along the column is removed, and the column is rescaled after the update.
    pub unit_decoder: bool,
    /// x_r is x_p: targets are not stored twice.
    pub reconstructs_its_input: bool,
}

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
    /// Decoupled weight decay of AdamW: w ← w − η·decay·w.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; a longer one is rescaled. 0 means no limit.
    pub clip: f64,
}

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Kingma and Ba 2015.
    Adam,
    /// Loshchilov and Hutter 2019.
    AdamW,
    /// m ← μ m + g, w ← w − η m.
    Sgd,
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

impl Schedule {
    /// The share at step t, counted from 0.
    pub fn share(&self, t: u64) -> f64 {
        let rise = if t < self.warm_up { (t + 1) as f64 / self.warm_up as f64 } else { 1.0 };
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

/// Samples on the host: rows of x_p and x_r.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Rows of n_p numbers.
    pub inputs: &'a [f32],
    /// Rows of n_r numbers; ignored where the model reconstructs its input.
    pub targets: &'a [f32],
    /// Weight of each row in the loss; 1/B if absent.
    pub weights: Option<&'a [f64]>,
}

/// Which σ is applied: BatchTopK alone distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Selection over the batch.
    Training,
    /// The threshold that training has left.
    Inference,
}

/// What a step has seen: means over the batch as weighted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Samples in the batch.
    pub rows: usize,
    /// All terms together.
    pub loss: f64,
    /// E‖x_r − x̂_r‖² with all active latents.
    pub mse: f64,
    /// E‖x_r − x̂_r^{(s)}‖² for each part of [`Scales`](crate::sdl::Scales).
    pub scales: Vec<f64>,
    /// The L1 and L0 penalties, with their factors.
    pub penalty: f64,
    /// The auxiliary reconstruction, with its factor.
    pub aux: f64,
    /// λ_anchor·L_anchor.
    pub anchor: f64,
    /// Mean number of latents with z_i ≠ 0.
    pub l0: f64,
    /// Norm of the whole gradient, before clipping; 0 before [`Backend::backward`].
    pub gradient_norm: f64,
}

/// Codes on the host: row b has the entries offsets\[b\] .. offsets\[b + 1\], by increasing latent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostCodes {
    /// Where rows begin, one more than there are rows.
    pub offsets: Vec<usize>,
    /// Active latents.
    pub latents: Vec<u32>,
    /// z of each: all non-zero entries of x_q, and the selected ones that happen to be 0.
    pub values: Vec<f32>,
}

/// State of the optimizer on the host: enough to go on bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOptState {
    /// Updates done.
    pub step: u64,
    /// First moments, or the velocity of SGD.
    pub first: Tensors<f32>,
    /// Second moments; absent for SGD.
    pub second: Option<Tensors<f32>>,
    /// Samples since each latent was last active.
    pub idle: Vec<u64>,
}

/// A device and the operations of training on it. See the [module](self) for their order.
pub trait Backend {
    /// Weights and biases.
    type Params;
    /// Moments, step count, dead counters.
    type OptState;
    /// Samples.
    type Batch;
    /// Active latents of a batch with everything that `backward` needs: residuals, bands of straight-through estimates, auxiliary codes.
    type Codes;
    /// Gradients.
    type Grads;

    /// What computes, for provenance: name, instruction set, threads.
    fn describe(&self) -> String;
    /// What the backend was made for.
    fn spec(&self) -> &Spec;

    /// Uploads a model.
    fn params(&self, model: &Model) -> Self::Params;
    /// A fresh state.
    fn opt_state(&self, params: &Self::Params) -> Self::OptState;
    /// Room for a batch.
    fn batch(&self) -> Self::Batch;
    /// Room for codes.
    fn codes(&self) -> Self::Codes;
    /// Room for gradients.
    fn grads(&self, params: &Self::Params) -> Self::Grads;

    /// Uploads samples.
    fn load(&self, rows: Rows<'_>, batch: &mut Self::Batch);
    /// Draws samples of the bench, by their numbers.
    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Self::Batch);
    /// σ(W_E (x_p − b_p) + b_E) for every row: the active latents.
    fn encode_select(
        &self,
        params: &Self::Params,
        opt: &Self::OptState,
        batch: &Self::Batch,
        mode: Mode,
        codes: &mut Self::Codes,
    );
    /// x̂_r − x_r for every row and every part of the loss.
    fn decode_residual(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut Self::Codes);
    /// Gradients of all terms but anchoring, which [`Backend::step`] adds.
    fn backward(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut Self::Codes, grads: &mut Self::Grads);
    /// One update of all parameters, of the dead counters, and of the threshold of BatchTopK.
    fn step(&self, params: &mut Self::Params, opt: &mut Self::OptState, codes: &Self::Codes, grads: &mut Self::Grads);

    /// What the last batch has shown. Waits for the device.
    fn observe(&self, params: &Self::Params, codes: &Self::Codes, grads: &Self::Grads) -> Observation;
    /// Downloads the parameters.
    fn model(&self, params: &Self::Params) -> Model;
    /// Downloads the samples since each latent was last active, the small part of the optimizer's state. Waits for the device.
    fn idle(&self, opt: &Self::OptState) -> Vec<u64>;
    /// Downloads the optimizer's state.
    fn save(&self, opt: &Self::OptState) -> HostOptState;
    /// Uploads an optimizer's state.
    fn restore(&self, state: &HostOptState) -> Self::OptState;
    /// Downloads codes.
    fn codes_of(&self, codes: &Self::Codes) -> HostCodes;
    /// Downloads x̂_r of the last [`Backend::decode_residual`], all active latents, rows of n_r numbers.
    fn reconstruction_of(&self, batch: &Self::Batch, codes: &Self::Codes) -> Vec<f32>;
    /// Downloads gradients, anchoring included.
    fn gradients_of(&self, params: &Self::Params, grads: &Self::Grads) -> Tensors<f32>;
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
}
