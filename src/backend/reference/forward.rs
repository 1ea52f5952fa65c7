//! Codes, residuals and the terms of the loss.

use super::super::{Mode, Observation, Spec};
use super::selection::{self, Preactivations};
use super::{Batch, Codes, Params, Row, Selected};
use crate::sdl::{Activation, AuxTarget, Parameter, Shape, Tensors};

/// ⟨a, b⟩.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// a ← a + factor·b.
pub fn add(a: &mut [f64], factor: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(x, y)| *x += factor * y);
}

/// A number of a parameter that is one number per latent, 0 if the model lacks it.
pub fn of_latent(tensors: &Tensors<f64>, parameter: Parameter, i: usize) -> f64 {
    tensors.get(parameter).map_or(0.0, |block| block[i])
}

/// Pre-activations, the selected latents, and what straight-through estimates and AuxK need.
pub fn encode(spec: &Spec, params: &Params, idle: &[u64], batch: &Batch, mode: Mode) -> Codes {
    let tensors = &params.tensors;
    let Shape { n_p, n_q, .. } = tensors.shape();
    let rounded = tensors.map(|w| w as f32);
    let scores = Preactivations::new(&rounded, batch);
    let selected = scores.select(params, &rounded, mode);
    let mut rows = Vec::with_capacity(selected.len());
    for (b, latents) in selected.into_iter().enumerate() {
        let mut input: Vec<f64> = batch.inputs[b * n_p..(b + 1) * n_p].iter().map(|x| f64::from(*x)).collect();
        if let Some(bias) = tensors.get(Parameter::InputBias) {
            add(&mut input, -1.0, bias);
        }
        let s: Vec<f64> = (0..n_q).map(|i| dot(tensors.row(Parameter::Encoder, i), &input)).collect();
        let pi: Vec<f64> = (0..n_q).map(|i| s[i] + of_latent(tensors, Parameter::EncoderBias, i)).collect();

        let codes: Vec<f32> = latents.iter().map(|&i| scores.code(params.activation, &rounded, b, i)).collect();
        let mut ranks = vec![0; latents.len()];
        for (rank, position) in selection::first(latents.len(), &codes).into_iter().enumerate() {
            ranks[position] = rank;
        }
        let z = |i: usize, code: f32| match params.activation {
            Activation::Gated if code == 0.0 => 0.0,
            Activation::Gated => {
                of_latent(tensors, Parameter::GateScale, i).exp() * s[i]
                    + of_latent(tensors, Parameter::MagnitudeBias, i)
            }
            _ => pi[i],
        };
        let selected = latents.iter().zip(codes.iter().zip(&ranks)).map(|(&latent, (&code, &rank))| {
            let level = spec.objective.scales.level(rank, latent);
            Selected { latent, level, z: z(latent, code), code }
        });
        let selected = selected.collect();

        let band = match params.activation {
            Activation::JumpRelu { bandwidth, .. } => {
                let theta = |i: usize| super::super::score::exp(rounded.row(Parameter::LogThreshold, i)[0]);
                (0..n_q).filter(|&i| selection::is_in_band(scores.row(b)[i], theta(i), bandwidth)).collect()
            }
            _ => Vec::new(),
        };
        let auxiliary = match spec.objective.aux {
            Some(aux) if mode == Mode::Training => {
                let dead: Vec<usize> =
                    (0..n_q).filter(|&i| idle[i] >= aux.dead_after && scores.row(b)[i] > 0.0).collect();
                let values: Vec<f32> = dead.iter().map(|&i| scores.row(b)[i]).collect();
                selection::first(aux.k, &values).into_iter().map(|position| dead[position]).collect()
            }
            _ => Vec::new(),
        };
        rows.push(Row { input, s, pi, selected, band, auxiliary, ..Row::default() });
    }
    let is_batch_top_k = matches!(params.activation, Activation::BatchTopK { .. }) && mode == Mode::Training;
    let kept = rows.iter().flat_map(|row| &row.selected).map(|c| c.code);
    let least_kept = if is_batch_top_k { kept.reduce(f32::min) } else { None };
    Codes { rows, least_kept, terms: Observation::default() }
}

/// Residuals of every part, and the terms of the loss without anchoring.
pub fn decode(spec: &Spec, params: &Params, batch: &Batch, codes: &mut Codes) {
    let tensors = &params.tensors;
    let Shape { n_p, n_r, .. } = tensors.shape();
    let objective = &spec.objective;
    let parts = objective.scales.weights();
    let mut terms = Observation { rows: codes.rows.len(), scales: vec![0.0; parts.len()], ..Observation::default() };
    for (b, row) in codes.rows.iter_mut().enumerate() {
        let weight = batch.weights[b];
        let x_p: Vec<f64> = batch.inputs[b * n_p..(b + 1) * n_p].iter().map(|x| f64::from(*x)).collect();
        let x_r: Vec<f64> = batch.targets[b * n_r..(b + 1) * n_r].iter().map(|x| f64::from(*x)).collect();
        let linear = linear_part(tensors, &x_p);

        row.residuals = Vec::with_capacity(parts.len());
        for part in 0..parts.len() {
            let mut residual = linear.clone();
            for c in row.selected.iter().filter(|c| c.level <= part) {
                add(&mut residual, c.z, tensors.row(Parameter::Decoder, c.latent));
            }
            add(&mut residual, -1.0, &x_r);
            terms.scales[part] += weight * dot(&residual, &residual);
            row.residuals.push(residual);
        }
        let e = &row.residuals[parts.len() - 1];

        for c in &row.selected {
            let size = if params.activation == Activation::Gated { row.pi[c.latent] } else { c.z.abs() };
            terms.penalty += weight * objective.l1 * size * penalty_factor(spec, tensors, c.latent);
            if matches!(params.activation, Activation::JumpRelu { .. }) {
                terms.penalty += weight * objective.l0;
            }
        }

        row.missing = Vec::new();
        if let Some(aux) = objective.aux
            && !row.auxiliary.is_empty()
        {
            row.missing = match aux.target {
                AuxTarget::Residual => e.clone(),
                AuxTarget::Target => x_r.iter().map(|x| -x).collect(),
            };
            for &i in &row.auxiliary {
                add(&mut row.missing, row.pi[i], tensors.row(Parameter::Decoder, i));
            }
            terms.aux += weight * aux.weight * dot(&row.missing, &row.missing);
        }

        row.gates = Vec::new();
        if params.activation == Activation::Gated {
            row.gates = linear;
            add(&mut row.gates, -1.0, &x_r);
            for c in &row.selected {
                add(&mut row.gates, row.pi[c.latent], tensors.row(Parameter::Decoder, c.latent));
            }
            terms.aux += weight * dot(&row.gates, &row.gates);
        }
        terms.l0 += row.selected.iter().filter(|c| c.is_active()).count() as f64;
    }
    terms.l0 /= codes.rows.len().max(1) as f64;
    terms.mse = *terms.scales.last().unwrap_or(&0.0);
    terms.loss = dot(parts, &terms.scales) + terms.penalty + terms.aux;
    codes.terms = terms;
}

/// b_D + W_S x_p.
fn linear_part(tensors: &Tensors<f64>, x_p: &[f64]) -> Vec<f64> {
    let n_r = tensors.shape().n_r;
    let mut linear = tensors.get(Parameter::DecoderBias).map_or(vec![0.0; n_r], <[f64]>::to_vec);
    if tensors.get(Parameter::Skip).is_some() {
        linear.iter_mut().enumerate().for_each(|(j, y)| *y += dot(tensors.row(Parameter::Skip, j), x_p));
    }
    linear
}

/// c_i of the L1 penalty.
pub fn penalty_factor(spec: &Spec, tensors: &Tensors<f64>, i: usize) -> f64 {
    if !spec.objective.l1_by_decoder_norm {
        return 1.0;
    }
    let column = tensors.row(Parameter::Decoder, i);
    dot(column, column).sqrt()
}

/// λ_anchor·L_anchor (eq. 25).
pub fn anchoring(spec: &Spec, params: &Params) -> f64 {
    let Shape { n_p, n_r, .. } = spec.shape;
    let distance =
        |row: &[f64], known: &[f32]| row.iter().zip(known).map(|(w, k)| (w - f64::from(*k)).powi(2)).sum::<f64>();
    let mut sum = 0.0;
    for (j, &i) in spec.anchors.latents.iter().enumerate() {
        sum +=
            distance(params.tensors.row(Parameter::Encoder, i as usize), &spec.anchors.inputs[j * n_p..(j + 1) * n_p]);
        sum +=
            distance(params.tensors.row(Parameter::Decoder, i as usize), &spec.anchors.targets[j * n_r..(j + 1) * n_r]);
    }
    spec.anchors.weight * sum
}
