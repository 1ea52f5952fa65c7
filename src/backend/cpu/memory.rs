//! How much memory a training takes, known before any is taken.

use super::backward::{Sums, longest_panel};
use super::codes::Entry;
use super::fused;
use super::integer::{LONGEST, Line, PANEL};
use super::state::CHUNK;
use super::{Cpu, Screen};
use crate::backend::Rule;
use crate::sdl::{Activation, Parameter};

/// Bytes of a training: all that is allocated at its start and by its first step, but for the blocks of each thread, a few megabytes, the codes of
/// activations that do not bound their number, and the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Parameters, and what there is of every one or of every latent: moments, a gradient, integers of the screen, counters.
    pub model: u64,
    /// A batch, its codes and its residuals.
    pub batch: u64,
    /// A copy of parameters and moments, while a checkpoint is written.
    pub copy: u64,
}

impl Memory {
    /// Bytes from the first step on.
    pub fn training(self) -> u64 {
        self.model.saturating_add(self.batch)
    }

    /// Bytes while a checkpoint is written, as at the end of every training.
    pub fn most(self) -> u64 {
        self.training().saturating_add(self.copy)
    }

    /// Of so many trainings at a time.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        let [model, batch, copy] = [self.model, self.batch, self.copy].map(|bytes| product(&[bytes, count as u64]));
        Self { model, batch, copy }
    }
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor))
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |sum: u64, term| sum.saturating_add(*term))
}

const F32: u64 = size_of::<f32>() as u64;
const WORD: u64 = size_of::<u64>() as u64;

impl Cpu {
    /// The memory of a training of a model with this activation and these parameters. Nothing is allocated for it.
    pub fn memory(&self, activation: Activation, parameters: &[Parameter]) -> Memory {
        let spec = &self.spec;
        let size = |parameter: &Parameter| {
            let (rows, columns) = parameter.size(spec.shape);
            product(&[rows as u64, columns as u64])
        };
        let numbers = product(&[F32, sum(&parameters.iter().map(size).collect::<Vec<_>>())]);
        let moments = if spec.optimizer.rule == Rule::Sgd { 1 } else { 2 };
        let [n_p, n_r, n_q] = [spec.shape.n_p, spec.shape.n_r, spec.shape.n_q].map(|n| n as u64);
        let aux = spec.objective.aux.is_some();
        let gated = activation == Activation::Gated;
        // The norm of every latent; three marks and a counter; its sums; where its entries begin and end; two squares for each chunk.
        let mut of_latent = sum(&[F32, 3, WORD, size_of::<Sums>() as u64, 2 * WORD]);
        if aux {
            of_latent += sum(&[F32, 1, 2 * WORD]);
        }
        let packed =
            self.screen == Screen::Integer && activation.is_sparse() && (1..=LONGEST).contains(&spec.shape.n_p);
        let panels = if packed { n_q.div_ceil(PANEL as u64) } else { 0 };
        let lines = product(&[panels + u64::from(packed), n_p.div_ceil(2), size_of::<Line>() as u64]);
        let model = sum(&[
            product(&[2 + moments, numbers]),
            product(&[n_q, of_latent]),
            product(&[2, n_q.div_ceil(CHUNK as u64), WORD]),
            lines,
            product(&[panels, 2 * F32 * PANEL as u64]),
        ]);
        let parts = spec.objective.scales.weights().len() as u64;
        let targets = if spec.reconstructs_its_input { 0 } else { n_r };
        let centred = if parameters.contains(&Parameter::InputBias) { n_p } else { 0 };
        // Residuals of gates and of dead latents.
        let further = u64::from(gated) + u64::from(aux);
        let residuals = product(&[n_r, parts + further]);
        // By row twice, where they are found and where they are joined, by latent, and a product with the residual.
        let of_entry = 4 * F32 + size_of::<Entry>() as u64 + F32;
        let entries = activation.k().map_or(0, |k| product(&[k as u64, of_entry]));
        let row = sum(&[
            product(&[F32, sum(&[n_p, targets, centred, residuals])]),
            product(&[WORD, 3 + parts + further]),
            entries,
        ]);
        let lines = spec.batch.saturating_mul(spec.objective.scales.weights().len());
        let [outputs, inputs] =
            [longest_panel(spec.shape.n_r, lines), longest_panel(spec.shape.n_p, spec.batch)].map(|n| n as u64);
        // With both in one pass they are needed together.
        let at_once = fused::fits(spec.shape, lines, spec.batch);
        let panel = if at_once { outputs.saturating_add(inputs) } else { outputs.max(inputs) };
        let batch = sum(&[product(&[spec.batch as u64, row]), product(&[panel, F32])]);
        Memory { model, batch, copy: product(&[1 + moments, numbers]) }
    }
}
