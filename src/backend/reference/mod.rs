//! The reference: f64, dense, plain loops, and f32 only where numbers are uploaded or downloaded. It is what other backends are compared
//! with, so it is written to be read beside [the definitions](super#what-a-step-computes).
//!
//! | operation | where |
//! |---|---|
//! | which latents are selected, by f32 scores | [`selection`] |
//! | codes, residuals, terms of the loss | [`forward`] |
//! | gradients | [`backward`] |
//! | one update | [`update`] |
//!
//! Selection rounds parameters and inputs to f32 and looks at [`score`](super::score::score), so that the reference selects exactly what
//! every f32 backend with the same numbers selects. Everything else, the value of a selected latent too, is computed in f64;
//! [`Backend::codes_of`] gives the f32 values that selection has seen. A step ends with rounding parameters and moments to f32, so that a run that
//! is saved and restored goes on with the same bits.

pub mod backward;
pub mod forward;
pub mod selection;
pub mod update;

#[cfg(test)]
mod gradient_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod theory_tests;

use super::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Rule, Spec, WarmUp};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Model, Tensors};

/// The reference backend.
#[derive(Debug, Clone)]
pub struct Reference {
    spec: Spec,
}

/// Parameters in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// σ.
    pub activation: Activation,
    /// Weights and biases.
    pub tensors: Tensors<f64>,
    /// θ of BatchTopK.
    pub threshold: Option<f64>,
}

/// The optimizer's state in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Updates done.
    pub step: u64,
    /// The last rise of the learning rate.
    pub warm_up: WarmUp,
    /// First moments or velocity.
    pub first: Tensors<f64>,
    /// Second moments.
    pub second: Option<Tensors<f64>>,
    /// Samples since each latent was last active.
    pub idle: Vec<u64>,
}

/// Samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Rows of x_p.
    pub inputs: Vec<f32>,
    /// Rows of x_r.
    pub targets: Vec<f32>,
    /// w_b.
    pub weights: Vec<f64>,
}

/// What a batch has become.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Codes {
    /// Sample by sample.
    pub rows: Vec<Row>,
    /// The least value that BatchTopK has kept in training.
    pub least_kept: Option<f32>,
    /// Terms of the loss, without anchoring.
    pub terms: Observation,
}

/// One sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// x' = x_p − b_p.
    pub input: Vec<f64>,
    /// s = W_E x', of all latents.
    pub s: Vec<f64>,
    /// π = s + b_E, of all latents.
    pub pi: Vec<f64>,
    /// Selected latents, increasing.
    pub selected: Vec<Selected>,
    /// Latents within ε/2 of their threshold (JumpReLU).
    pub band: Vec<usize>,
    /// Dead latents that reconstruct what is missing (AuxK).
    pub auxiliary: Vec<usize>,
    /// e^{(s)} = x̂^{(s)} − x_r for each part of the loss.
    pub residuals: Vec<Vec<f64>>,
    /// ê − t (AuxK).
    pub missing: Vec<f64>,
    /// b_D + W_S x_p + Σ_i max(0, π_i) v_i − x_r (Gated).
    pub gates: Vec<f64>,
}

/// One latent of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selected {
    /// i.
    pub latent: usize,
    /// Its [`Scales::level`](crate::sdl::Scales::level).
    pub level: usize,
    /// z_i.
    pub z: f64,
    /// z_i in f32, as defined by the score.
    pub code: f32,
}

impl Selected {
    /// z ≠ 0.
    pub fn is_active(&self) -> bool {
        self.code != 0.0
    }
}

/// Gradients of all terms but anchoring.
#[derive(Debug, Clone, PartialEq)]
pub struct Grads {
    /// Parameter by parameter.
    pub tensors: Tensors<f64>,
    /// Norm of the whole gradient that a step has seen.
    pub norm: f64,
}

impl Reference {
    /// A reference for these sizes and this objective.
    pub fn new(spec: Spec) -> Self {
        Self { spec }
    }

    fn fill(&self, inputs: Vec<f32>, targets: Vec<f32>, weights: Option<Vec<f64>>, batch: &mut Batch) {
        let rows = inputs.len() / self.spec.shape.n_p;
        assert!(rows <= self.spec.batch, "a batch of at most {} rows", self.spec.batch);
        assert_eq!(
            (inputs.len(), targets.len()),
            (rows * self.spec.shape.n_p, rows * self.spec.shape.n_r),
            "whole rows"
        );
        let weights = weights.unwrap_or_else(|| vec![1.0 / rows as f64; rows]);
        assert_eq!(weights.len(), rows, "one weight per row");
        *batch = Batch { inputs, targets, weights };
    }
}

impl Backend for Reference {
    type Params = Params;
    type OptState = State;
    type Batch = Batch;
    type Codes = Codes;
    type Grads = Grads;

    fn describe(&self) -> String {
        "reference (f64, 1 thread)".to_owned()
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn params(&self, model: &Model) -> Params {
        Params {
            activation: model.activation,
            tensors: model.tensors.map(f64::from),
            threshold: model.threshold.map(f64::from),
        }
    }

    fn opt_state(&self, params: &Params) -> State {
        let zeros = || Tensors::zeros_like(&params.tensors);
        State {
            step: 0,
            warm_up: self.spec.schedule.first_warm_up(),
            first: zeros(),
            second: (self.spec.optimizer.rule != Rule::Sgd).then(zeros),
            idle: vec![0; self.spec.shape.n_q],
        }
    }

    fn batch(&self) -> Batch {
        Batch::default()
    }

    fn codes(&self) -> Codes {
        Codes::default()
    }

    fn grads(&self, params: &Params) -> Grads {
        Grads { tensors: Tensors::zeros_like(&params.tensors), norm: 0.0 }
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch) {
        let targets = if self.spec.reconstructs_its_input { rows.inputs } else { rows.targets };
        self.fill(rows.inputs.to_vec(), targets.to_vec(), rows.weights.map(<[f64]>::to_vec), batch);
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch) {
        let x = bench.coefficients().batch(indices);
        let side = |side: Side| {
            let mut rows = vec![0.0; indices.len() * bench.directions(side).dimension()];
            bench.synthesize(&x, side, &mut rows);
            rows
        };
        self.fill(side(Side::Input), side(Side::Target), x.weights.clone(), batch);
    }

    fn encode_select(&self, params: &Params, opt: &State, batch: &Batch, mode: Mode, codes: &mut Codes) {
        *codes = forward::encode(&self.spec, params, &opt.idle, batch, mode);
    }

    fn decode_residual(&self, params: &Params, batch: &Batch, codes: &mut Codes) {
        forward::decode(&self.spec, params, batch, codes);
    }

    fn backward(&self, params: &Params, batch: &Batch, codes: &mut Codes, grads: &mut Grads) {
        *grads = Grads { tensors: backward::gradients(&self.spec, params, batch, codes), norm: 0.0 };
    }

    fn step(&self, params: &mut Params, opt: &mut State, codes: &Codes, grads: &mut Grads) {
        let gradient = backward::with_anchoring(&self.spec, params, &grads.tensors);
        grads.norm = update::update(&self.spec, params, opt, codes, gradient);
        *params = self.params(&self.model(params));
        *opt = self.restore(&self.save(opt));
    }

    fn observe(&self, params: &Params, codes: &Codes, grads: &Grads) -> Observation {
        let anchor = forward::anchoring(&self.spec, params);
        Observation { loss: codes.terms.loss + anchor, anchor, gradient_norm: grads.norm, ..codes.terms.clone() }
    }

    fn model(&self, params: &Params) -> Model {
        Model {
            activation: params.activation,
            tensors: params.tensors.map(|w| w as f32),
            threshold: params.threshold.map(|t| t as f32),
        }
    }

    fn idle(&self, opt: &State) -> Vec<u64> {
        opt.idle.clone()
    }

    fn save(&self, opt: &State) -> HostOptState {
        HostOptState {
            step: opt.step,
            warm_up: opt.warm_up,
            first: opt.first.map(|m| m as f32),
            second: opt.second.as_ref().map(|second| second.map(|v| v as f32)),
            idle: opt.idle.clone(),
        }
    }

    fn restore(&self, state: &HostOptState) -> State {
        State {
            step: state.step,
            warm_up: state.warm_up,
            first: state.first.map(f64::from),
            second: state.second.as_ref().map(|second| second.map(f64::from)),
            idle: state.idle.clone(),
        }
    }

    fn codes_of(&self, codes: &Codes) -> HostCodes {
        let mut host = HostCodes { offsets: vec![0], ..HostCodes::default() };
        for row in &codes.rows {
            host.latents.extend(row.selected.iter().map(|c| c.latent as u32));
            host.values.extend(row.selected.iter().map(|c| c.code));
            host.offsets.push(host.latents.len());
        }
        host
    }

    fn reconstruction_of(&self, batch: &Batch, codes: &Codes) -> Vec<f32> {
        let last = codes.rows.iter().filter_map(|row| row.residuals.last()).flatten();
        last.zip(&batch.targets).map(|(e, x)| (e + f64::from(*x)) as f32).collect()
    }

    fn gradients_of(&self, params: &Params, grads: &Grads) -> Tensors<f32> {
        backward::with_anchoring(&self.spec, params, &grads.tensors).map(|g| g as f32)
    }
}
