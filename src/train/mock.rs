//! A small backend for tests of the loop: a ReLU autoencoder in f32 with Adam or SGD, and a fault that can be planted.

use crate::backend::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Rule, Spec};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Model, Parameter, Tensors};

/// The backend.
pub(crate) struct Mock {
    pub(crate) spec: Spec,
    /// Writes NaN into this encoder row in the update of this step.
    pub(crate) poison: Option<(u64, usize)>,
}

#[derive(Default)]
pub(crate) struct Batch {
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

#[derive(Default)]
pub(crate) struct Codes {
    z: Vec<f32>,
    residual: Vec<f32>,
}

impl Mock {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self { spec: spec.clone(), poison: None }
    }
}

impl Backend for Mock {
    type Params = Model;
    type OptState = HostOptState;
    type Batch = Batch;
    type Codes = Codes;
    type Grads = Tensors<f32>;

    fn describe(&self) -> String {
        "mock".to_owned()
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn params(&self, model: &Model) -> Model {
        model.clone()
    }

    fn opt_state(&self, params: &Model) -> HostOptState {
        let zeros = Tensors::zeros_like(&params.tensors);
        let second = (self.spec.optimizer.rule != Rule::Sgd).then(|| zeros.clone());
        let warm_up = self.spec.schedule.first_warm_up();
        HostOptState { step: 0, warm_up, first: zeros, second, idle: vec![0; self.spec.shape.n_q] }
    }

    fn batch(&self) -> Batch {
        Batch::default()
    }

    fn codes(&self) -> Codes {
        Codes::default()
    }

    fn grads(&self, params: &Model) -> Tensors<f32> {
        Tensors::zeros_like(&params.tensors)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch) {
        batch.inputs = rows.inputs.to_vec();
        batch.targets = if self.spec.reconstructs_its_input { rows.inputs } else { rows.targets }.to_vec();
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch) {
        let sparse = bench.coefficients().batch(indices);
        batch.inputs = vec![0.0; indices.len() * self.spec.shape.n_p];
        batch.targets = vec![0.0; indices.len() * self.spec.shape.n_r];
        bench.synthesize(&sparse, Side::Input, &mut batch.inputs);
        bench.synthesize(&sparse, Side::Target, &mut batch.targets);
    }

    fn encode_select(&self, params: &Model, _: &HostOptState, batch: &Batch, _: Mode, codes: &mut Codes) {
        codes.z.clear();
        for x in batch.inputs.chunks_exact(self.spec.shape.n_p) {
            let dot = |i| params.w_e(i).iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
            // Keeps NaN, which f32::max would hide.
            codes.z.extend((0..self.spec.shape.n_q).map(dot).map(|z| if z < 0.0 { 0.0 } else { z }));
        }
    }

    fn decode_residual(&self, params: &Model, batch: &Batch, codes: &mut Codes) {
        codes.residual.clear();
        let (n_q, n_r) = (self.spec.shape.n_q, self.spec.shape.n_r);
        for (z, x) in codes.z.chunks_exact(n_q).zip(batch.targets.chunks_exact(n_r)) {
            let output = |k: usize| (0..n_q).map(|i| z[i] * params.w_d(i)[k]).sum::<f32>();
            codes.residual.extend((0..n_r).map(|k| output(k) - x[k]));
        }
    }

    fn backward(&self, params: &Model, batch: &Batch, codes: &mut Codes, grads: &mut Tensors<f32>) {
        *grads = Tensors::zeros_like(grads);
        let (n_p, n_q, n_r) = (self.spec.shape.n_p, self.spec.shape.n_q, self.spec.shape.n_r);
        let scale = 2.0 * n_p as f32 / batch.inputs.len() as f32;
        let rows = codes.z.chunks_exact(n_q).zip(codes.residual.chunks_exact(n_r));
        for ((z, e), x) in rows.zip(batch.inputs.chunks_exact(n_p)) {
            for i in (0..n_q).filter(|&i| z[i] != 0.0) {
                let g = e.iter().zip(params.w_d(i)).map(|(e, v)| e * v).sum::<f32>();
                grads.row_mut(Parameter::Decoder, i).iter_mut().zip(e).for_each(|(d, e)| *d += scale * z[i] * e);
                grads.row_mut(Parameter::Encoder, i).iter_mut().zip(x).for_each(|(d, x)| *d += scale * g * x);
            }
        }
    }

    fn step(&self, params: &mut Model, opt: &mut HostOptState, codes: &Codes, grads: &mut Tensors<f32>) {
        let optimizer = &self.spec.optimizer;
        let rate = (optimizer.learning_rate * self.spec.schedule.share_with(opt.warm_up, opt.step)) as f32;
        let (b_1, b_2) = (optimizer.beta_1 as f32, optimizer.beta_2 as f32);
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            for i in 0..self.spec.shape.n_q {
                for k in 0..parameter.size(self.spec.shape).1 {
                    let g = grads.row(parameter, i)[k];
                    let m = &mut opt.first.row_mut(parameter, i)[k];
                    let change = if let Some(second) = &mut opt.second {
                        let v = &mut second.row_mut(parameter, i)[k];
                        (*m, *v) = (b_1 * *m + (1.0 - b_1) * g, b_2 * *v + (1.0 - b_2) * g * g);
                        *m / (v.sqrt() + 1e-8)
                    } else {
                        *m = b_1 * *m + g;
                        *m
                    };
                    params.tensors.row_mut(parameter, i)[k] -= rate * change;
                }
            }
        }
        let n_q = self.spec.shape.n_q;
        let rows = (codes.z.len() / n_q) as u64;
        for (i, idle) in opt.idle.iter_mut().enumerate() {
            let active = codes.z.iter().skip(i).step_by(n_q).any(|z| *z != 0.0);
            *idle = if active { 0 } else { *idle + rows };
        }
        if let Some((step, row)) = self.poison
            && step == opt.step
        {
            params.tensors.row_mut(Parameter::Encoder, row)[0] = f32::NAN;
        }
        opt.step += 1;
    }

    fn observe(&self, _: &Model, codes: &Codes, grads: &Tensors<f32>) -> Observation {
        let rows = codes.z.len() / self.spec.shape.n_q;
        let square = |x: &f32| f64::from(*x).powi(2);
        let mse = codes.residual.iter().map(square).sum::<f64>() / rows as f64;
        let active = codes.z.iter().filter(|z| **z != 0.0).count();
        let gradient = grads.parameters().filter_map(|p| grads.get(p)).flatten().map(square).sum::<f64>();
        let l0 = active as f64 / rows as f64;
        Observation {
            rows,
            loss: mse,
            mse,
            scales: vec![mse],
            l0,
            gradient_norm: gradient.sqrt(),
            ..Observation::default()
        }
    }

    fn model(&self, params: &Model) -> Model {
        params.clone()
    }

    fn best_cosines(&self, params: &Model, of: Parameter, truth: &[f32]) -> Option<Vec<f32>> {
        let (n_q, width) = of.size(self.spec.shape);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = |row: &[f32], p: &[f32]| (dot(row, p) / dot(row, row).sqrt()).abs() as f32;
        let best = |p| (0..n_q).map(|i| cosine(params.tensors.row(of, i), p)).fold(-1.0, f32::max);
        Some(truth.chunks_exact(width).map(best).collect())
    }

    fn idle(&self, opt: &HostOptState) -> Vec<u64> {
        opt.idle.clone()
    }

    fn save(&self, opt: &HostOptState) -> HostOptState {
        opt.clone()
    }

    fn restore(&self, state: &HostOptState) -> HostOptState {
        state.clone()
    }

    fn codes_of(&self, codes: &Codes) -> HostCodes {
        let n_q = self.spec.shape.n_q;
        let mut host = HostCodes { offsets: vec![0], ..HostCodes::default() };
        for z in codes.z.chunks_exact(n_q) {
            for (i, z) in z.iter().enumerate().filter(|(_, z)| **z != 0.0) {
                host.latents.push(i as u32);
                host.values.push(*z);
            }
            host.offsets.push(host.latents.len());
        }
        host
    }

    fn reconstruction_of(&self, batch: &Batch, codes: &Codes) -> Vec<f32> {
        codes.residual.iter().zip(&batch.targets).map(|(e, x)| e + x).collect()
    }

    fn gradients_of(&self, _: &Model, grads: &Tensors<f32>) -> Tensors<f32> {
        grads.clone()
    }
}
