//! Alternating steps on mini-batches.
//!
//! On every batch the decoder step and the encoder step of [`super`] are taken once, at the batch's own patterns, each
//! proximal: λ‖V − V₀‖² and ρ‖W − W₀‖², relative to the mean diagonals of the batch. This is the stochastic proximal-point method on either block. In epoch
//! e = 0, 1, .. both weights are multiplied by (1 + e)^`decay`, so that steps shrink and the iterate settles; a constant weight (0) leaves it in a ball whose
//! size is the batch's noise. The loss may rise; nothing is searched along a line. A latent that no sample of a batch uses stays as it was.
//!
//! # Requirements
//! Those of [`super`]. ρ and λ must hold the iterate back, since a batch of fewer samples than n_q or n_p determines neither step.
//!
//! # References
//! * Bertsekas 2011, *Incremental proximal methods for large scale convex optimization*, doi:10.1007/s10107-011-0472-0.

use super::{Problem, SamplesError, decoder, encoder, kernels, problem};
use crate::bench::features::stream;
use crate::optim::dictionary::Samples;
use crate::optim::{Expired, never};
use crate::sdl::{Model, Parameter};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `batch` | 2048 |
/// | `ridge`, `proximal` | 2, 2 |
/// | `decay` | 1 |
/// | `iterations` | 5 |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Samples of a batch, ≥ 1.
    pub batch: usize,
    /// λ of the decoder step over the mean of the diagonal of A, in the first epoch; > 0.
    pub ridge: f64,
    /// ρ of the encoder step over the mean of the diagonal of H, in the first epoch; > 0.
    pub proximal: f64,
    /// How fast both grow with the epochs; ≥ 0.
    pub decay: f64,
    /// Most products of conjugate gradients in one step, ≥ 1.
    pub iterations: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { batch: 2048, ridge: 2.0, proximal: 2.0, decay: 1.0, iterations: 5 }
    }
}

impl Config {
    /// Checks the parameters.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), SamplesError> {
        let fail = |name, expected, found: String| Err(SamplesError::Parameter { name, expected, found });
        for (name, count) in [("batch", self.batch), ("iterations", self.iterations)] {
            if count == 0 {
                return fail(name, "an integer >= 1", count.to_string());
            }
        }
        for (name, x) in [("ridge", self.ridge), ("proximal", self.proximal)] {
            if !(1e-12..=1e7).contains(&x) {
                return fail(name, "a number in [1e-12, 1e7]", x.to_string());
            }
        }
        if !(0.0..=8.0).contains(&self.decay) {
            return fail("decay", "a number in [0, 8]", self.decay.to_string());
        }
        Ok(())
    }
}

/// Alternating steps on mini-batches, with their iterate.
#[derive(Debug)]
pub struct Online<'a> {
    problem: Problem<'a>,
    config: Config,
    model: Model,
    order: Vec<usize>,
    rng: ChaCha20Rng,
    epoch: u64,
}

impl<'a> Online<'a> {
    /// Begins at a model; `seed` decides the order of the samples, which is a new one for every epoch.
    ///
    /// # Errors
    /// A parameter out of its range, or a model that does not fit.
    pub fn new(problem: Problem<'a>, config: Config, start: &Model, seed: u64) -> Result<Self, SamplesError> {
        config.check()?;
        problem.admits(start)?;
        let order = (0..problem.count()).collect();
        let rng = stream(seed, "online alternating search: order of samples");
        Ok(Self { problem, config, model: start.clone(), order, rng, epoch: 0 })
    }

    /// The iterate.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// One pass over the samples.
    ///
    /// # Errors
    /// More than 2³² codes.
    pub fn epoch(&mut self) -> Result<(), SamplesError> {
        self.epoch_until(&never)
    }

    /// The same for a limited time, which is looked at between batches.
    ///
    /// # Errors
    /// The same.
    pub fn epoch_until(&mut self, expired: &Expired<'_>) -> Result<(), SamplesError> {
        self.order.shuffle(&mut self.rng);
        let Config { batch, ridge, proximal, decay, iterations } = self.config;
        let growth = ((1 + self.epoch) as f64).powf(decay);
        let decoder_step = decoder::Solve { ridge: ridge * growth, iterations, tolerance: 1e-3, dense: decoder::DENSE };
        let encoder_step = encoder::Solve { proximal: proximal * growth, iterations, tolerance: 1e-3 };
        let own = self.problem.inputs.data().as_ptr() == self.problem.targets.data().as_ptr();
        let (mut inputs, mut targets, mut residuals) = (Vec::new(), Vec::new(), Vec::new());
        for (i, chosen) in self.order.chunks(batch).enumerate() {
            if i > 0 && expired() {
                break;
            }
            let rows = |of: Samples<'a>, out: &mut Vec<f32>| {
                out.clear();
                chosen.iter().for_each(|s| out.extend_from_slice(of.row(*s)));
            };
            rows(self.problem.inputs, &mut inputs);
            if !own {
                rows(self.problem.targets, &mut targets);
            }
            let part = self.problem.on(&inputs, if own { &inputs } else { &targets })?;
            let codes = part.encode(&self.model)?;
            part.residuals(problem::decoder(&self.model), &codes, &mut residuals);
            let V = problem::block(&mut self.model, Parameter::Decoder);
            decoder::step(&part, &codes, &residuals, decoder_step, V);
            part.residuals(V, &codes, &mut residuals);
            if let Some(found) = encoder::direction(&part, &codes, V, &residuals, encoder_step, &never) {
                kernels::add(problem::block(&mut self.model, Parameter::Encoder), 1.0, &found.D);
            }
        }
        self.epoch += 1;
        Ok(())
    }
}
