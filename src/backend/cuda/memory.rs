//! How much memory of a device a training takes, known before any is taken.

use super::encode::{has_screen, most_candidates, stride};
use super::state::ROWS;
use super::{Encoder, Options};
use crate::backend::{Moments, Rule, Spec};
use crate::sdl::{Activation, Parameter};

/// Bytes of a device that a training of a model with this activation and these parameters takes at least: all that is allocated until its first step is
/// done, but for arrays of a few numbers, known features, tables of samples that are drawn on the device, and what libraries and graphs take for
/// themselves. `from_host` is whether samples come from the host, which need room twice.
pub fn memory(spec: &Spec, options: Options, activation: Activation, parameters: &[Parameter], from_host: bool) -> u64 {
    let [n_p, n_r, n_q] = [spec.shape.n_p, spec.shape.n_r, spec.shape.n_q].map(|n| n as u64);
    let (batch, parts) = (spec.batch as u64, spec.objective.scales.weights().len() as u64);
    let numbers: u64 = parameters
        .iter()
        .map(|parameter| {
            let (rows, columns) = parameter.size(spec.shape);
            (rows as u64).saturating_mul(columns as u64)
        })
        .fold(0, u64::saturating_add);
    let of_moment = if spec.moments == Moments::Bf16 { 2 } else { 4 };
    let moments = if spec.optimizer.rule == Rule::Sgd { 1 } else { 2 };
    let has = |parameter| u64::from(parameters.contains(&parameter));
    let (aux, gated) = (u64::from(spec.objective.aux.is_some()), u64::from(activation == Activation::Gated));
    let half = u64::from(options.encoder == Encoder::Bf16);
    // Codes by row and by latent, and a bit for each latent and row.
    let set = |stride: usize| {
        let (entries, words) = (batch * stride as u64, batch.div_ceil(32));
        [batch * 4, entries * 24, n_q * (4 * words + 8)].into_iter().fold(0, u64::saturating_add)
    };
    let dead = spec.objective.aux.map_or(0, |aux| aux.k);
    let main = stride(activation, spec.shape.n_q);
    let band = matches!(activation, Activation::JumpRelu { .. });
    let screens = has_screen(activation, options);
    let list =
        |k: usize| if screens { batch * (8 + 8 * most_candidates(options, k, spec.shape.n_q) as u64) } else { 0 };
    let targets = if spec.reconstructs_its_input { 0 } else { n_r };
    let residuals = 2 * (parts + aux + gated) + has(Parameter::Skip);
    [
        numbers.saturating_mul(8 + of_moment * moments),
        half * 2 * n_q * n_p,
        // Norms, counters, marks, sums, spare gradients, squares; b_E where there is none.
        n_q * (48 + 4 * (1 - has(Parameter::EncoderBias))),
        4 * (n_q.div_ceil(ROWS as u64) * n_p).max(batch.div_ceil(ROWS as u64) * n_r),
        (4 * batch).saturating_mul(n_q),
        set(main),
        if band { set(spec.shape.n_q) } else { 0 },
        gated * 8 * batch * main as u64,
        aux * (set(dead.min(spec.shape.n_q)) + 8 * batch),
        activation.k().map_or(0, list),
        aux * list(dead),
        4 * batch * (n_p + targets) * (1 + u64::from(from_host)),
        4 * batch * (n_r * residuals + n_p * has(Parameter::InputBias)),
        if screens { half * 2 * batch * n_p } else { 0 },
        batch * (12 + 24 + 4 * parts),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}
