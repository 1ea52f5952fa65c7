//! One update of parameters, dead counters and the threshold of BatchTopK.

use super::super::{Rule, Spec, THRESHOLD_DECAY};
use super::forward::{add, dot};
use super::{Codes, Params, State};
use crate::sdl::{Parameter, Tensors};

/// One update with the whole gradient, anchoring included. Returns its norm before clipping.
pub fn update(spec: &Spec, params: &mut Params, state: &mut State, codes: &Codes, mut gradient: Tensors<f64>) -> f64 {
    if spec.unit_decoder {
        project(&params.tensors, &mut gradient);
    }
    let blocks: Vec<Parameter> = gradient.parameters().collect();
    let norm = blocks.iter().filter_map(|p| gradient.get(*p)).map(|g| dot(g, g)).sum::<f64>().sqrt();
    if spec.optimizer.clip > 0.0 && norm > spec.optimizer.clip {
        let factor = spec.optimizer.clip / norm;
        gradient = gradient.map(|g| g * factor);
    }
    let rate = spec.optimizer.learning_rate * spec.schedule.share_with(state.warm_up, state.step);
    state.step += 1;
    for parameter in blocks {
        apply(spec, parameter, rate, params, state, &gradient);
    }
    if spec.unit_decoder {
        normalise(&mut params.tensors);
    }
    count(state, codes);
    if let Some(least) = codes.least_kept.map(f64::from) {
        params.threshold =
            Some(params.threshold.map_or(least, |t| THRESHOLD_DECAY * t + (1.0 - THRESHOLD_DECAY) * least));
    }
    norm
}

/// Removes from the gradient of each decoder column its part along the column.
pub fn project(tensors: &Tensors<f64>, gradient: &mut Tensors<f64>) {
    for i in 0..tensors.shape().n_q {
        let column = tensors.row(Parameter::Decoder, i);
        let g = gradient.row_mut(Parameter::Decoder, i);
        let square = dot(column, column);
        if square > 0.0 {
            let along = dot(g, column) / square;
            add(g, -along, column);
        }
    }
}

fn apply(
    spec: &Spec,
    parameter: Parameter,
    rate: f64,
    params: &mut Params,
    state: &mut State,
    gradient: &Tensors<f64>,
) {
    let optimizer = &spec.optimizer;
    let (beta_1, beta_2) = (optimizer.beta_1, optimizer.beta_2);
    let (Some(w), Some(m), Some(g)) =
        (params.tensors.get_mut(parameter), state.first.get_mut(parameter), gradient.get(parameter))
    else {
        return;
    };
    let Some(second) = state.second.as_mut().and_then(|second| second.get_mut(parameter)) else {
        for ((w, m), g) in w.iter_mut().zip(m).zip(g) {
            *m = beta_1 * *m + g;
            *w -= rate * *m;
        }
        return;
    };
    let is_matrix = matches!(parameter, Parameter::Encoder | Parameter::Decoder | Parameter::Skip);
    let decay = if optimizer.rule == Rule::AdamW && is_matrix { rate * optimizer.weight_decay } else { 0.0 };
    let t = state.step as f64;
    let (correction_1, correction_2) = (1.0 - beta_1.powf(t), 1.0 - beta_2.powf(t));
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(second).zip(g) {
        *m = beta_1 * *m + (1.0 - beta_1) * g;
        *v = beta_2 * *v + (1.0 - beta_2) * g * g;
        *w -= decay * *w;
        *w -= rate * (*m / correction_1) / ((*v / correction_2).sqrt() + optimizer.epsilon);
    }
}

fn normalise(tensors: &mut Tensors<f64>) {
    for i in 0..tensors.shape().n_q {
        let column = tensors.row_mut(Parameter::Decoder, i);
        let norm = dot(column, column).sqrt();
        if norm > 0.0 && norm.is_finite() {
            column.iter_mut().for_each(|v| *v /= norm);
        }
    }
}

fn count(state: &mut State, codes: &Codes) {
    let mut active = vec![false; state.idle.len()];
    for c in codes.rows.iter().flat_map(|row| &row.selected) {
        active[c.latent] |= c.is_active();
    }
    for (idle, active) in state.idle.iter_mut().zip(active) {
        *idle = if active { 0 } else { *idle + codes.rows.len() as u64 };
    }
}
