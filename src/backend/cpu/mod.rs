//! Training on the CPU, in f32.

mod backward;
mod codes;
mod decode;
mod encode;
mod matmul;
mod screen;
mod select;
mod shared;
mod simd;
mod state;
#[cfg(test)]
mod tests;
mod update;
mod vector;

pub use simd::Isa;
pub use state::{Batch, Grads, OptState, Params};

use super::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Spec};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Model, Parameter, Tensors};
use backward::Backward;
use codes::{ByLatent, Sparse};
use decode::{Decode, Residuals};
use encode::{Pool, TopK};

/// The backend.
#[derive(Debug, Clone)]
pub struct Cpu {
    spec: Spec,
    isa: Isa,
    anchors: update::AnchorIndex,
}

/// Active latents of a batch and what follows from them.
#[derive(Debug, Default)]
pub struct Codes {
    rows: usize,
    /// x', where there is a b_p.
    centred: Vec<f32>,
    counts: Vec<u32>,
    codes: Sparse,
    by_latent: ByLatent,
    residuals: Residuals,
    weights: Vec<f64>,
    pool: Pool,
}

impl Cpu {
    /// A backend with the best instruction set of this processor.
    pub fn new(spec: Spec) -> Self {
        Self::with_isa(spec, Isa::detect())
    }

    /// A backend with a given instruction set, or a lesser one where the processor lacks it.
    pub fn with_isa(spec: Spec, isa: Isa) -> Self {
        let anchors = update::AnchorIndex::new(&spec);
        Self { spec, isa, anchors }
    }

    /// x' of the batch.
    fn inputs<'a>(&self, params: &Params, batch: &'a Batch, codes: &'a Codes) -> &'a [f32] {
        if params.block(Parameter::InputBias).is_some() { &codes.centred } else { &batch.inputs }
    }
}

impl Backend for Cpu {
    type Params = Params;
    type OptState = OptState;
    type Batch = Batch;
    type Codes = Codes;
    type Grads = Grads;

    fn describe(&self) -> String {
        format!("cpu, f32, {}, {} threads", self.isa.name(), rayon::current_num_threads())
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn params(&self, model: &Model) -> Params {
        Params::new(model)
    }

    fn opt_state(&self, params: &Params) -> OptState {
        OptState::new(&self.spec, params)
    }

    fn batch(&self) -> Batch {
        Batch::new(&self.spec)
    }

    fn codes(&self) -> Codes {
        Codes::default()
    }

    fn grads(&self, params: &Params) -> Grads {
        Grads::new(params)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch) {
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        batch.rows = rows.inputs.len() / n_p.max(1);
        batch.inputs[..rows.inputs.len()].copy_from_slice(rows.inputs);
        if !self.spec.reconstructs_its_input {
            batch.targets[..batch.rows * n_r].copy_from_slice(rows.targets);
        }
        match rows.weights {
            Some(weights) => batch.weights[..batch.rows].copy_from_slice(weights),
            None => batch.weights.fill(1.0 / batch.rows as f64),
        }
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch) {
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        batch.rows = indices.len();
        batch.weights.fill(1.0 / batch.rows as f64);
        let drawn = bench.coefficients().batch(indices);
        bench.synthesize(&drawn, Side::Input, &mut batch.inputs[..batch.rows * n_p]);
        if !self.spec.reconstructs_its_input {
            bench.synthesize(&drawn, Side::Target, &mut batch.targets[..batch.rows * n_r]);
        }
    }

    fn encode_select(&self, params: &Params, _opt: &OptState, batch: &Batch, _mode: Mode, codes: &mut Codes) {
        codes.rows = batch.rows;
        let n_p = self.spec.shape.n_p;
        if let Some(bias) = params.block(Parameter::InputBias) {
            codes.centred.resize(batch.rows * n_p, 0.0);
            shared::centre(self.isa, &batch.inputs[..batch.rows * n_p], bias, &mut codes.centred);
        }
        let x = if codes.centred.is_empty() { &batch.inputs } else { &codes.centred };
        let (k, positive) = match params.model.activation {
            Activation::TopK { k } => (k, false),
            Activation::TopKRelu { k } => (k, true),
            _ => (0, false),
        };
        let top = TopK { isa: self.isa, params, x, rows: batch.rows, k, positive };
        top.select(&codes.pool, &mut codes.counts, &mut codes.codes);
        encode::assign_levels(&self.spec.objective.scales, &mut codes.codes);
    }

    fn decode_residual(&self, params: &Params, batch: &Batch, codes: &mut Codes) {
        codes.weights.clear();
        codes.weights.extend_from_slice(&batch.weights[..batch.rows]);
        let decode = Decode { isa: self.isa, params, batch, scales: &self.spec.objective.scales };
        decode.run(&codes.codes, &mut codes.residuals);
    }

    fn backward(&self, params: &Params, batch: &Batch, codes: &mut Codes, grads: &mut Grads) {
        codes.by_latent.sort(&codes.codes, self.spec.shape.n_q);
        let parts = self.spec.objective.scales.weights().len();
        let x = self.inputs(params, batch, codes);
        let (weights, residuals) = (&batch.weights[..batch.rows], &codes.residuals);
        Backward { isa: self.isa, params, x, weights, residuals, parts, codes: &codes.by_latent }.run(grads);
        if let Some(biases) = grads.rest.get_mut(Parameter::EncoderBias) {
            biases.copy_from_slice(&grads.deltas);
        }
        shared::backward(self.isa, params, batch, parts, residuals, grads);
        grads.norm = 0.0;
    }

    fn step(&self, params: &mut Params, opt: &mut OptState, codes: &Codes, grads: &mut Grads) {
        update::step(&self.spec, self.isa, &self.anchors, params, opt, grads);
        let active = |i: usize| codes.by_latent.of(i).iter().any(|entry| entry.z != 0.0);
        for (i, idle) in opt.idle.iter_mut().enumerate() {
            *idle = if active(i) { 0 } else { *idle + codes.rows as u64 };
        }
    }

    fn observe(&self, params: &Params, codes: &Codes, grads: &Grads) -> Observation {
        let lambdas = self.spec.objective.scales.weights();
        let mut scales = vec![0.0; lambdas.len()];
        for (squares, weight) in codes.residuals.squares.chunks(lambdas.len()).zip(&codes.weights) {
            scales.iter_mut().zip(squares).for_each(|(sum, square)| *sum += weight * square);
        }
        let anchor = self.spec.anchors.penalty(&params.model);
        let active = codes.codes.values.iter().filter(|z| **z != 0.0).count();
        Observation {
            rows: codes.rows,
            loss: lambdas.iter().zip(&scales).map(|(lambda, e)| lambda * e).sum::<f64>() + anchor,
            mse: scales.last().copied().unwrap_or(0.0),
            scales,
            penalty: 0.0,
            aux: 0.0,
            anchor,
            l0: active as f64 / codes.rows as f64,
            gradient_norm: grads.norm,
        }
    }

    fn model(&self, params: &Params) -> Model {
        params.model.clone()
    }

    fn idle(&self, opt: &OptState) -> Vec<u64> {
        opt.idle.clone()
    }

    fn save(&self, opt: &OptState) -> HostOptState {
        HostOptState {
            step: opt.step,
            warm_up: opt.warm_up,
            first: opt.first.clone(),
            second: opt.second.clone(),
            idle: opt.idle.clone(),
        }
    }

    fn restore(&self, state: &HostOptState) -> OptState {
        OptState::restored(state)
    }

    fn codes_of(&self, codes: &Codes) -> HostCodes {
        codes.codes.to_host()
    }

    fn reconstruction_of(&self, batch: &Batch, codes: &Codes) -> Vec<f32> {
        let (n_r, lambdas) = (self.spec.shape.n_r, self.spec.objective.scales.weights());
        let last = lambdas.len() - 1;
        let rows = codes.residuals.rows.chunks(lambdas.len() * n_r).zip(batch.targets().chunks(n_r)).take(codes.rows);
        let each = rows.flat_map(|(e, x)| e[last * n_r..].iter().zip(x));
        each.map(|(e, x)| e / lambdas[last] as f32 + x).collect()
    }

    fn gradients_of(&self, params: &Params, grads: &Grads) -> Tensors<f32> {
        grads.to_host(&self.spec, params)
    }
}
