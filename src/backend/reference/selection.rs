//! Which latents are selected: decisions on f32 bits that all backends share.

use super::super::{Mode, score};
use super::{Batch, Params};
use crate::sdl::{Activation, Parameter, Tensors};
use std::cmp::Ordering;

/// Pre-activations of a batch in f32, rows of n_q numbers.
pub struct Preactivations {
    n_q: usize,
    s: Vec<f32>,
    pi: Vec<f32>,
}

/// Before or after in the order of a top-k: larger first, NaN after all numbers, −0 equal to +0.
pub fn order(a: f32, b: f32) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| b.partial_cmp(&a).unwrap_or(Ordering::Equal))
}

/// The positions of the first k in that order, lower ones first among equals.
pub fn first(k: usize, values: &[f32]) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..values.len()).collect();
    positions.sort_by(|&a, &b| order(values[a], values[b]));
    positions.truncate(k);
    positions
}

/// |π − θ| < ε/2.
pub fn is_in_band(pi: f32, theta: f32, bandwidth: f64) -> bool {
    (pi - theta).abs() < (bandwidth / 2.0) as f32
}

impl Preactivations {
    /// s and π of all samples.
    pub fn new(tensors: &Tensors<f32>, batch: &Batch) -> Self {
        let shape = tensors.shape();
        let mut all = Self { n_q: shape.n_q, s: Vec::new(), pi: Vec::new() };
        for x in batch.inputs.chunks_exact(shape.n_p) {
            let input: Vec<f32> = match tensors.get(Parameter::InputBias) {
                Some(bias) => x.iter().zip(bias).map(|(x, b)| x - b).collect(),
                None => x.to_vec(),
            };
            for i in 0..shape.n_q {
                let s = score::score(tensors.row(Parameter::Encoder, i), &input);
                all.s.push(s);
                all.pi.push(tensors.get(Parameter::EncoderBias).map_or(s, |bias| s + bias[i]));
            }
        }
        all
    }

    /// π of sample b.
    pub fn row(&self, b: usize) -> &[f32] {
        &self.pi[b * self.n_q..(b + 1) * self.n_q]
    }

    /// The selected latents of every sample, increasing.
    pub fn select(&self, params: &Params, tensors: &Tensors<f32>, mode: Mode) -> Vec<Vec<usize>> {
        let rows = self.pi.len() / self.n_q;
        let above = |theta: &dyn Fn(usize) -> f32| -> Vec<Vec<usize>> {
            (0..rows).map(|b| (0..self.n_q).filter(|&i| self.row(b)[i] > theta(i)).collect()).collect()
        };
        let mut selected: Vec<Vec<usize>> = match params.activation {
            Activation::Relu | Activation::Gated => above(&|_| 0.0),
            Activation::JumpRelu { .. } => above(&|i| score::exp(tensors.row(Parameter::LogThreshold, i)[0])),
            Activation::TopK { k } => (0..rows).map(|b| first(k, self.row(b))).collect(),
            Activation::TopKRelu { k } => {
                let positive = |b: usize| first(k, self.row(b)).into_iter().filter(move |&i| self.row(b)[i] > 0.0);
                (0..rows).map(|b| positive(b).collect()).collect()
            }
            Activation::BatchTopK { k } if mode == Mode::Training => {
                let mut selected = vec![Vec::new(); rows];
                for position in first(k * rows, &self.pi).into_iter().filter(|&p| self.pi[p] > 0.0) {
                    selected[position / self.n_q].push(position % self.n_q);
                }
                selected
            }
            Activation::BatchTopK { .. } => above(&|_| params.threshold.unwrap_or(0.0) as f32),
        };
        selected.iter_mut().for_each(|row| row.sort_unstable());
        selected
    }

    /// z of a selected latent.
    pub fn code(&self, activation: Activation, tensors: &Tensors<f32>, b: usize, i: usize) -> f32 {
        if activation == Activation::Gated {
            let scale = score::exp(tensors.row(Parameter::GateScale, i)[0]);
            let shift = tensors.row(Parameter::MagnitudeBias, i)[0];
            return scale.mul_add(self.s[b * self.n_q + i], shift).max(0.0);
        }
        self.row(b)[i]
    }
}
