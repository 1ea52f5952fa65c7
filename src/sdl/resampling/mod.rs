//! Dead latents, and ways to bring them back: rows of dead latents are moved to where samples are reconstructed badly.
//!
//! | kind | decoder column | encoder row |
//! |---|---|---|
//! | `bricken` | the direction of a target x_r, drawn with probability ∝ (‖x_r − x̂_r‖²)² | that input's direction, times 0.2 of the mean norm of living rows |
//! | `decrease` | the best one for its row | the row that lowers the loss most ([`decrease`]) |
//!
//! Both move parameters on the host, between two steps, so that they work with every backend; a backend may take over the [`passes`] over the
//! samples that make the second one dear. Whatever is moved starts anew: b_E, r and m are 0,
//! log θ is what it was at the start, first and second moments are 0, the latent counts as just active, and the learning rate rises again.

mod bricken;
pub mod decrease;
pub mod passes;
#[cfg(test)]
mod tests;

use super::activation::Activation;
use super::model::{Model, Parameter};
use crate::backend::{HostCodes, HostOptState, WarmUp};
use crate::bench::features::stream;
use passes::{Passes, Tables};
use serde::{Deserialize, Serialize};

/// Whether and how dead latents are moved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"decrease\", steps = [1000, 2000] }")]
pub enum Resampling {
    /// Never.
    #[default]
    None,
    /// The recipe of Bricken et al. 2023, all of it.
    Bricken(Recipe),
    /// Ours: the exact decrease, one latent after the other. A latent costs about 60 passes over the samples.
    Decrease(Recipe),
}

/// When, which and how many.
///
/// | field | default |
/// |---|---|
/// | `steps` | none; an experiment must name at least one |
/// | `dead_after` | 100 000 samples |
/// | `samples` | 4096 |
/// | `most` | 0: all dead latents |
/// | `warm_up` | 0 |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// After so many updates each.
    pub steps: Vec<u64>,
    /// A latent is dead if it has not been active for this many samples.
    pub dead_after: u64,
    /// How many samples are looked at, ≥ 1.
    pub samples: usize,
    /// At most so many latents are moved at a time, those of the lowest number; 0 means all.
    pub most: usize,
    /// Steps over which the learning rate rises again.
    pub warm_up: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { steps: Vec::new(), dead_after: 100_000, samples: 4096, most: 0, warm_up: 0 }
    }
}

/// Samples and what the model makes of them, rows on the host, with [`Mode::Inference`](crate::backend::Mode::Inference).
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    /// Rows of x_p.
    pub inputs: &'a [f32],
    /// Rows of x_r (x_p again, where the model reconstructs its input).
    pub targets: &'a [f32],
    /// Rows of x̂_r.
    pub reconstructions: &'a [f32],
    /// Active latents.
    pub codes: &'a HostCodes,
    /// w_b; 1/B if absent.
    pub weights: Option<&'a [f64]>,
}

/// What the model must keep.
#[derive(Debug, Clone, Copy, Default)]
pub struct Constraints<'a> {
    /// Decoder columns have norm 1.
    pub unit_decoder: bool,
    /// Latents that stay where they are.
    pub anchored: &'a [u32],
}

/// Who computes passes over the samples: somebody else, where this gives one, or the processor.
pub type Elsewhere<'a, 'b> = &'a dyn Fn(&Tables) -> Option<Box<dyn Passes + 'b>>;

/// A latent that was moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// Which.
    pub latent: u32,
    /// By how much Σ_b w_b ‖x_r − x̂_r‖² over the samples falls, with all latents that were moved before it in place; the recipe of Bricken
    /// et al. makes no such promise.
    pub decrease: Option<f64>,
}

impl Resampling {
    /// The numbers of the recipe, if there is one.
    pub fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::None => None,
            Self::Bricken(recipe) | Self::Decrease(recipe) => Some(recipe),
        }
    }

    /// True if dead latents are to be moved after so many updates.
    pub fn is_due(&self, step: u64) -> bool {
        self.recipe().is_some_and(|recipe| recipe.steps.contains(&step))
    }

    /// Moves the dead latents. Latents that are active in one of the samples are not dead. The same for the same seed and step.
    ///
    /// # Panics
    /// If the samples are not rows of the model's sizes.
    pub fn apply(
        &self,
        model: &mut Model,
        state: &mut HostOptState,
        samples: &Samples<'_>,
        constraints: Constraints<'_>,
        seed: u64,
    ) -> Vec<Moved> {
        self.apply_with(model, state, samples, constraints, &|_| None, seed)
    }

    /// The same, and the same bits, with passes over the samples elsewhere.
    ///
    /// # Panics
    /// If the samples are not rows of the model's sizes.
    pub fn apply_with(
        &self,
        model: &mut Model,
        state: &mut HostOptState,
        samples: &Samples<'_>,
        constraints: Constraints<'_>,
        elsewhere: Elsewhere<'_, '_>,
        seed: u64,
    ) -> Vec<Moved> {
        let Some(recipe) = self.recipe() else { return Vec::new() };
        samples.check(model);
        let dead = recipe.dead(state, samples, constraints);
        let mut rng = stream(seed, &format!("resampling after {}", state.step));
        let moved = match self {
            Self::Bricken(_) => bricken::replace(model, samples, &dead, &mut rng),
            _ => decrease::replace(model, samples, &dead, constraints, elsewhere, &mut rng),
        };
        for &Moved { latent, .. } in &moved {
            start_anew(model, state, latent as usize);
        }
        if !moved.is_empty() {
            state.warm_up = WarmUp { from: state.step, steps: recipe.warm_up };
        }
        moved
    }
}

impl Recipe {
    fn dead(&self, state: &HostOptState, samples: &Samples<'_>, constraints: Constraints<'_>) -> Vec<usize> {
        let mut is_dead: Vec<bool> = state.idle.iter().map(|idle| *idle >= self.dead_after).collect();
        let active =
            samples.codes.latents.iter().zip(&samples.codes.values).filter(|(_, z)| **z != 0.0).map(|(i, _)| i);
        for &i in active.chain(constraints.anchored) {
            is_dead[i as usize] = false;
        }
        let most = if self.most == 0 { usize::MAX } else { self.most };
        is_dead.iter().enumerate().filter(|(_, dead)| **dead).map(|(i, _)| i).take(most).collect()
    }
}

impl Samples<'_> {
    fn check(&self, model: &Model) {
        let (shape, rows) = (model.shape(), self.rows());
        assert_eq!(self.inputs.len(), rows * shape.n_p, "rows of x_p");
        assert_eq!(self.targets.len(), rows * shape.n_r, "rows of x_r");
        assert_eq!(self.reconstructions.len(), rows * shape.n_r, "rows of the reconstruction");
        assert!(self.weights.is_none_or(|w| w.len() == rows), "a weight for each row");
    }

    /// Number of samples.
    pub fn rows(&self) -> usize {
        self.codes.offsets.len().saturating_sub(1)
    }

    fn weight(&self, b: usize) -> f64 {
        self.weights.map_or(1.0 / self.rows() as f64, |w| w[b])
    }

    /// x_r − x̂_r of sample b.
    fn missing(&self, b: usize) -> Vec<f64> {
        let n_r = self.targets.len() / self.rows();
        let range = b * n_r..(b + 1) * n_r;
        let pairs = self.targets[range.clone()].iter().zip(&self.reconstructions[range]);
        pairs.map(|(x, y)| f64::from(*x) - f64::from(*y)).collect()
    }
}

/// Norms of the encoder rows of latents that are not dead, their mean; 1 if there are none.
fn mean_norm_of_living_rows(model: &Model, dead: &[usize]) -> f64 {
    let mut is_dead = vec![false; model.shape().n_q];
    dead.iter().for_each(|&i| is_dead[i] = true);
    let norm = |row: &[f32]| row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..model.shape().n_q).filter(|&i| !is_dead[i]).map(|i| norm(model.w_e(i))).collect();
    if norms.is_empty() { 1.0 } else { norms.iter().sum::<f64>() / norms.len() as f64 }
}

/// A row set to a direction of this length.
fn set_row(model: &mut Model, parameter: Parameter, i: usize, direction: &[f64], length: f64) {
    let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    let row = model.tensors.row_mut(parameter, i);
    row.iter_mut().zip(direction).for_each(|(w, x)| *w = (length * x / norm) as f32);
}

/// log θ at the start.
fn log_threshold(activation: Activation) -> f32 {
    match activation {
        Activation::JumpRelu { theta, .. } => theta.ln() as f32,
        _ => 0.0,
    }
}

/// Biases as at the start, moments 0, just active.
fn start_anew(model: &mut Model, state: &mut HostOptState, i: usize) {
    for parameter in [Parameter::EncoderBias, Parameter::GateScale, Parameter::MagnitudeBias] {
        if let Some(block) = model.tensors.get_mut(parameter) {
            block[i] = 0.0;
        }
    }
    let start = log_threshold(model.activation);
    if let Some(block) = model.tensors.get_mut(Parameter::LogThreshold) {
        block[i] = start;
    }
    for moments in std::iter::once(&mut state.first).chain(&mut state.second) {
        for parameter in Parameter::ALL.into_iter().filter(|p| p.is_per_latent()) {
            if moments.get(parameter).is_some() {
                moments.row_mut(parameter, i).fill(0.0);
            }
        }
    }
    state.idle[i] = 0;
}
