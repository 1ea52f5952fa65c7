//! A trained model as a directory that SAELens loads: `cfg.json` and `sae_weights.safetensors`.
//!
//! | tensor | shape | holds |
//! |---|---|---|
//! | `W_enc` | d_in × d_sae | W_Eᵀ |
//! | `b_enc`, or `b_gate` of Gated | d_sae | b_E − W_E b_p |
//! | `W_dec` | d_sae × d_out | W_Dᵀ |
//! | `b_dec` | d_out | b_D |
//! | `threshold` | d_sae | θ_i of JumpReLU; θ, repeated, of a BatchTopK |
//! | `r_mag`, `b_mag` | d_sae | r and m − e^r W_E b_p of Gated |
//! | `W_skip` | d_out × d_in | W_S |
//!
//! SAELens subtracts `b_dec` from the input where `apply_b_dec_to_input` says so; that is chosen if b_p and b_D are the same numbers, and then
//! nothing is folded into `b_enc`.
//!
//! | σ | SAE, and transcoder with n_p = n_r | transcoder with n_p ≠ n_r, or with a skip |
//! |---|---|---|
//! | ReLU | `standard` | `transcoder`, `skip_transcoder` |
//! | JumpReLU, trained BatchTopK | `jumprelu` | `jumprelu_transcoder`, `jumprelu_skip_transcoder` |
//! | Top-k∘ReLU | `topk` | none: SAELens refuses the directory |
//! | TopK (eq. 7) | `topk`, which sets negative values to 0 | none |
//! | Gated | `gated` | none |
//!
//! What SAELens cannot express is said in `metadata.sdlab.notes` of `cfg.json`. SAELens refuses tensors that it does not know, so the parameters that
//! cannot be had back bit for bit from its own are in a second file, `sdlab.safetensors`, under the names of [`Parameter::name`]. All else
//! that [`read`] needs is in `metadata.sdlab`, which holds for weights with the SHA-256 that it names: a directory that SAELens has saved
//! again with other weights is read as SAELens understands it.

mod read;
mod write;

pub use read::read;
pub(in crate::io) use read::{assembled, log_threshold};
pub use write::{Export, write};

use crate::sdl::{Activation, Model, Parameter, Tensors};
use serde::{Deserialize, Serialize};

/// The file of weights.
pub const WEIGHTS: &str = "sae_weights.safetensors";
/// The file that says what the weights are.
pub const CONFIG: &str = "cfg.json";
/// The parameters that SAELens has no place for.
pub const EXTRA: &str = "sdlab.safetensors";

/// A model with what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// x_r is x_p; false for a transcoder.
    pub reconstructs_its_input: bool,
    /// Sources of a crosscoder, which are stacked in one row; else 1.
    pub sources: usize,
    /// What another program had that is not in the model, or the other way round.
    pub notes: Vec<String>,
}

/// `metadata.sdlab` of `cfg.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Own {
    /// Version of this layout.
    format: u32,
    /// Version of the program.
    version: String,
    activation: Activation,
    threshold: Option<f32>,
    /// Parameters that the model has.
    parameters: Vec<String>,
    /// Those of them that are in the second file.
    exact: Vec<String>,
    reconstructs_its_input: bool,
    sources: usize,
    notes: Vec<String>,
    weights_sha256: String,
}

/// The parameter of this name.
fn parameter(name: &str) -> Option<Parameter> {
    Parameter::ALL.into_iter().find(|parameter| parameter.name() == name)
}

/// The transpose of a matrix that is stored row by row.
pub(super) fn transposed(rows: usize, columns: usize, numbers: &[f32]) -> Vec<f32> {
    // Blocks that fit the cache, since one of the two sides is read or written with long strides.
    const BLOCK: usize = 32;
    let mut out = vec![0.0; numbers.len()];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for i in first_row..rows.min(first_row + BLOCK) {
                for k in first_column..columns.min(first_column + BLOCK) {
                    out[k * rows + i] = numbers[i * columns + k];
                }
            }
        }
    }
    out
}

/// W_E b in f64, one number per latent.
fn encoded(tensors: &Tensors<f32>, b: &[f32]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(b).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
    (0..tensors.shape().n_q).map(|i| dot(tensors.row(Parameter::Encoder, i))).collect()
}

#[cfg(test)]
mod tests;
