//! Gradients, term by term.

use super::super::Spec;
use super::forward::{add, dot, of_latent, penalty_factor};
use super::{Batch, Codes, Params, Row};
use crate::sdl::{Activation, Parameter, Shape, Tensors};

/// Gradients of all terms but anchoring.
pub fn gradients(spec: &Spec, params: &Params, batch: &Batch, codes: &Codes) -> Tensors<f64> {
    let mut sum = Tensors::zeros_like(&params.tensors);
    let Shape { n_p, .. } = spec.shape;
    for (b, row) in codes.rows.iter().enumerate() {
        let x_p: Vec<f64> = batch.inputs[b * n_p..(b + 1) * n_p].iter().map(|x| f64::from(*x)).collect();
        Sample { spec, params, row, weight: batch.weights[b], upstream: upstream(spec, row, batch.weights[b]) }
            .add_to(&mut sum, &x_p);
    }
    sum
}

/// The same with the gradient 2λ(w_i − w̃_p), 2λ(v_i − w̃_r) of anchoring.
pub fn with_anchoring(spec: &Spec, params: &Params, gradients: &Tensors<f64>) -> Tensors<f64> {
    let mut sum = gradients.clone();
    let factor = 2.0 * spec.anchors.weight;
    for (parameter, known) in [(Parameter::Encoder, &spec.anchors.inputs), (Parameter::Decoder, &spec.anchors.targets)]
    {
        let columns = parameter.size(spec.shape).1;
        for (&i, known) in spec.anchors.latents.iter().zip(known.chunks_exact(columns)) {
            let row = params.tensors.row(parameter, i as usize);
            let gradient = sum.row_mut(parameter, i as usize);
            for ((g, w), k) in gradient.iter_mut().zip(row).zip(known) {
                *g += factor * (w - f64::from(*k));
            }
        }
    }
    sum
}

/// For each level the derivative of the reconstruction terms by Σ z_i v_i over the latents of that level.
fn upstream(spec: &Spec, row: &Row, weight: f64) -> Vec<Vec<f64>> {
    let parts = spec.objective.scales.weights();
    let mut upstream: Vec<Vec<f64>> = row.residuals.clone();
    for part in (0..parts.len()).rev() {
        upstream[part].iter_mut().for_each(|e| *e *= 2.0 * weight * parts[part]);
        if part + 1 < parts.len() {
            let (these, later) = upstream.split_at_mut(part + 1);
            add(&mut these[part], 1.0, &later[0]);
        }
    }
    upstream
}

struct Sample<'a> {
    spec: &'a Spec,
    params: &'a Params,
    row: &'a Row,
    weight: f64,
    upstream: Vec<Vec<f64>>,
}

impl Sample<'_> {
    fn add_to(&self, sum: &mut Tensors<f64>, x_p: &[f64]) {
        if let Some(bias) = sum.get_mut(Parameter::DecoderBias) {
            add(bias, 1.0, &self.upstream[0]);
        }
        if sum.get(Parameter::Skip).is_some() {
            for (j, y) in self.upstream[0].iter().enumerate() {
                add(sum.row_mut(Parameter::Skip, j), *y, x_p);
            }
        }
        self.selected(sum);
        if let Activation::JumpRelu { bandwidth, .. } = self.params.activation {
            self.band(sum, bandwidth);
        }
        self.auxiliary(sum);
    }

    /// ∂loss/∂z_i through the reconstructions and, unless the activation is Gated, the L1 penalty.
    fn by_code(&self, i: usize, level: usize, z: f64) -> f64 {
        let through_reconstruction = dot(self.params.tensors.row(Parameter::Decoder, i), &self.upstream[level]);
        if self.params.activation == Activation::Gated || z == 0.0 {
            return through_reconstruction;
        }
        through_reconstruction + self.penalty(i) * z.signum()
    }

    /// w_b λ₁ c_i.
    fn penalty(&self, i: usize) -> f64 {
        self.weight * self.spec.objective.l1 * penalty_factor(self.spec, &self.params.tensors, i)
    }

    fn selected(&self, sum: &mut Tensors<f64>) {
        let tensors = &self.params.tensors;
        let gated = self.params.activation == Activation::Gated;
        for c in &self.row.selected {
            let i = c.latent;
            let column = tensors.row(Parameter::Decoder, i);
            add(sum.row_mut(Parameter::Decoder, i), c.z, &self.upstream[c.level]);
            let norm = dot(column, column).sqrt();
            if self.spec.objective.l1_by_decoder_norm && norm > 0.0 {
                let size = if gated { self.row.pi[i] } else { c.z.abs() };
                let factor = self.weight * self.spec.objective.l1 * size / norm;
                add(sum.row_mut(Parameter::Decoder, i), factor, column);
            }
            let by_code = self.by_code(i, c.level, c.z);
            if !gated {
                self.preactivation(sum, i, by_code, by_code);
                continue;
            }
            let by_gate = self.penalty(i) + 2.0 * self.weight * dot(column, &self.row.gates);
            // Where the magnitude is cut off at 0 it passes nothing.
            let by_code = if c.is_active() { by_code } else { 0.0 };
            let scale = of_latent(tensors, Parameter::GateScale, i).exp();
            sum.row_mut(Parameter::GateScale, i)[0] += by_code * scale * self.row.s[i];
            sum.row_mut(Parameter::MagnitudeBias, i)[0] += by_code;
            self.preactivation(sum, i, by_gate + by_code * scale, by_gate);
        }
    }

    /// Straight-through estimates in log θ.
    fn band(&self, sum: &mut Tensors<f64>, bandwidth: f64) {
        for &i in &self.row.band {
            let (level, z) = self
                .row
                .selected
                .iter()
                .find(|c| c.latent == i)
                .map_or_else(|| (self.spec.objective.scales.level(usize::MAX, i), 0.0), |c| (c.level, c.z));
            let theta = of_latent(&self.params.tensors, Parameter::LogThreshold, i).exp();
            let by_code = self.by_code(i, level, z);
            sum.row_mut(Parameter::LogThreshold, i)[0] -=
                (theta * theta * by_code + self.weight * self.spec.objective.l0 * theta) / bandwidth;
        }
    }

    fn auxiliary(&self, sum: &mut Tensors<f64>) {
        let Some(aux) = self.spec.objective.aux else { return };
        let factor = 2.0 * self.weight * aux.weight;
        for &i in &self.row.auxiliary {
            add(sum.row_mut(Parameter::Decoder, i), factor * self.row.pi[i], &self.row.missing);
            let by_preactivation = factor * dot(self.params.tensors.row(Parameter::Decoder, i), &self.row.missing);
            self.preactivation(sum, i, by_preactivation, by_preactivation);
        }
    }

    /// Passes ∂loss/∂s_i, and ∂loss/∂π_i where it is taken apart from s_i, to W_E, b_p and b_E.
    fn preactivation(&self, sum: &mut Tensors<f64>, i: usize, by_score: f64, by_preactivation: f64) {
        add(sum.row_mut(Parameter::Encoder, i), by_score, &self.row.input);
        if let Some(bias) = sum.get_mut(Parameter::EncoderBias) {
            bias[i] += by_preactivation;
        }
        if let Some(bias) = sum.get_mut(Parameter::InputBias) {
            add(bias, -by_score, self.params.tensors.row(Parameter::Encoder, i));
        }
    }
}
