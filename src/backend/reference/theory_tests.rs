//! On the batch that holds every feature once, alone and with the weight M_d, training is the approximate loss (eq. 11): value and gradients against
//! L̃ = Σ_d M_d ‖r_d − V σ(W p_d)‖², ∇_V = −2 E D Zᵀ, ∇_W = −2 [B∘(Vᵀ E D)] Pᵀ, written down here once more.

use super::super::{Backend, Mode, Rows, Spec};
use super::{Params, Reference};
use crate::bench::config::{BenchConfig, MagnitudeSpread, Task};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Init, Parameter, Shape, Tensors};
use faer::Mat;

const N_Q: usize = 37;

/// σ(z) for every feature, by f64 pre-activations; ties do not occur.
fn codes(activation: Activation, params: &Params, pre: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let above = |theta: &dyn Fn(usize) -> f64| -> Vec<Vec<f64>> {
        let one = |z: &Vec<f64>| z.iter().enumerate().map(|(i, z)| if *z > theta(i) { *z } else { 0.0 }).collect();
        pre.iter().map(one).collect()
    };
    let largest = |k: usize| -> Vec<Vec<f64>> {
        let one = |z: &Vec<f64>| {
            let mut sorted = z.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            z.iter().map(|z| if *z >= sorted[k - 1] { *z } else { 0.0 }).collect()
        };
        pre.iter().map(one).collect()
    };
    match activation {
        Activation::Relu | Activation::Gated => above(&|_| 0.0),
        Activation::JumpRelu { .. } => above(&|i| params.tensors.row(Parameter::LogThreshold, i)[0].exp()),
        Activation::TopK { k } => largest(k),
        Activation::TopKRelu { k } => largest(k).iter().map(|z| z.iter().map(|z| z.max(0.0)).collect()).collect(),
        Activation::BatchTopK { k } => {
            let mut all: Vec<f64> = pre.iter().flatten().copied().collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let least = all[k * pre.len() - 1].max(0.0);
            pre.iter().map(|z| z.iter().map(|z| if *z >= least { *z } else { 0.0 }).collect()).collect()
        }
    }
}

struct Isolated {
    backend: Reference,
    params: Params,
    batch: super::Batch,
    gradient: Tensors<f64>,
    mse: f64,
    loss: f64,
    masses: Vec<f64>,
}

impl Isolated {
    fn new(bench: &Bench, activation: Activation) -> Self {
        let dimension = |side| bench.directions(side).dimension();
        let shape = Shape { n_p: dimension(Side::Input), n_r: dimension(Side::Target), n_q: N_Q };
        let isolated = bench.coefficients().isolated();
        let spec =
            Spec { reconstructs_its_input: bench.reconstructs_its_input(), ..Spec::plain(shape, isolated.rows()) };
        let backend = Reference::new(spec);
        let params = backend.params(&Init { tied: false, ..Init::default() }.model(shape, activation, 3));
        let rows = |side| {
            let mut rows = vec![0.0; isolated.rows() * dimension(side)];
            bench.synthesize(&isolated, side, &mut rows);
            rows
        };
        let (inputs, targets) = (rows(Side::Input), rows(Side::Target));
        let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
        backend.load(Rows { inputs: &inputs, targets: &targets, weights: isolated.weights.as_deref() }, &mut batch);
        let opt = backend.opt_state(&params);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        let observed = backend.observe(&params, &codes, &grads);
        let masses = bench.coefficients().masses();
        Self { backend, params, batch, gradient: grads.tensors, mse: observed.mse, loss: observed.loss, masses }
    }
}

#[test]
fn training_on_isolated_features_is_the_approximate_loss() {
    let spread = MagnitudeSpread::Spread { decades: 1.0 };
    for task in [Task::Sae, Task::Transcoder { n_r: 9 }, Task::Crosscoder { sources: 2 }] {
        let config = BenchConfig {
            n: 20,
            n_p: 12,
            interference: 0.4,
            sparsity: 0.95,
            magnitudes: spread,
            task,
            ..BenchConfig::default()
        };
        let bench = Bench::generate(&config).unwrap();
        for activation in [
            Activation::Relu,
            Activation::JumpRelu { theta: 0.2, bandwidth: 1e-6 },
            Activation::TopK { k: 5 },
            Activation::TopK { k: 30 },
            Activation::TopKRelu { k: 30 },
            Activation::BatchTopK { k: 3 },
            Activation::Gated,
        ] {
            let found = Isolated::new(&bench, activation);
            let Shape { n_p, n_r, .. } = found.backend.spec().shape;
            let (W, V) = (Parameter::Encoder, Parameter::Decoder);
            let p = |d: usize, k: usize| f64::from(found.batch.inputs[d * n_p + k]);
            let r = |d: usize, j: usize| f64::from(found.batch.targets[d * n_r + j]);
            let tensors = &found.params.tensors;
            let pre: Vec<Vec<f64>> = (0..20)
                .map(|d| (0..N_Q).map(|i| (0..n_p).map(|k| tensors.row(W, i)[k] * p(d, k)).sum()).collect())
                .collect();
            let sigma = codes(activation, &found.params, &pre);
            let Z = Mat::from_fn(N_Q, 20, |i, d| sigma[d][i]);
            let e = |d: usize, j: usize| r(d, j) - (0..N_Q).map(|i| Z[(i, d)] * tensors.row(V, i)[j]).sum::<f64>();
            let E = Mat::from_fn(n_r, 20, |j, d| e(d, j));
            let M = &found.masses;
            let loss: f64 = (0..20).map(|d| M[d] * E.col(d).squared_norm_l2()).sum();
            // f64 sums of a few hundred terms on both sides.
            let close = |a: f64, b: f64, size: f64| (a - b).abs() <= 1e-13 * size;
            assert!(loss > 0.0 && close(found.mse, loss, loss), "{activation:?}: {} for {loss}", found.mse);
            // Gated adds the reconstruction by its gates, which at the start are its codes, with a frozen decoder.
            let copies = if activation == Activation::Gated { 2.0 } else { 1.0 };
            assert!(close(found.loss, copies * loss, loss), "{activation:?}");

            let mass: f64 = M.iter().sum();
            for i in 0..N_Q {
                for j in 0..n_r {
                    let exact: f64 = (0..20).map(|d| -2.0 * M[d] * E[(j, d)] * Z[(i, d)]).sum();
                    assert!(close(found.gradient.row(V, i)[j], exact, mass), "{activation:?}: V");
                }
                for k in 0..n_p {
                    let through = |d: usize| (0..n_r).map(|j| tensors.row(V, i)[j] * E[(j, d)]).sum::<f64>();
                    let active = (0..20).filter(|&d| Z[(i, d)] != 0.0);
                    let exact: f64 = active.map(|d| -2.0 * M[d] * through(d) * p(d, k)).sum();
                    assert!(close(found.gradient.row(W, i)[k], copies * exact, mass), "{activation:?}: W");
                }
            }
        }
    }
}
