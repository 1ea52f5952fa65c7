//! Both sides of the laboratory compute one function: on the batch of isolated features, loss and gradients of training are those of the
//! approximate loss of the exact side.

#![allow(non_snake_case)]

use faer::Mat;
use sdlab::backend::reference::Reference;
use sdlab::backend::{Backend, Mode, Rows, Spec};
use sdlab::bench::config::BenchConfig;
use sdlab::bench::dataset::{Bench, Side};
use sdlab::sdl::{Activation, Init, Model, Parameter, Shape, Tensors};
use sdlab::theory::activation::SparseActivation;
use sdlab::theory::loss::{ApproximateLoss, Weights};

const N: usize = 24;
const N_Q: usize = 40;

struct Trained {
    model: Model,
    loss: f64,
    gradients: Tensors<f32>,
}

fn bench() -> Bench {
    let config = BenchConfig { n: N, n_p: 16, interference: 0.4, sparsity: 0.9, ..BenchConfig::default() };
    Bench::generate(&config).expect("a small bench")
}

/// Loss and gradients on the isolated features.
fn trained(bench: &Bench, activation: Activation) -> Trained {
    let isolated = bench.coefficients().isolated();
    let n_p = bench.directions(Side::Input).dimension();
    let shape = Shape { n_p, n_r: n_p, n_q: N_Q };
    let spec = Spec::plain(shape, N);
    let backend = Reference::new(spec);
    let model = Init { tied: false, ..Init::default() }.model(shape, activation, 7);
    let params = backend.params(&model);
    let mut x = vec![0.0; N * n_p];
    bench.synthesize(&isolated, Side::Input, &mut x);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    backend.load(Rows { inputs: &x, targets: &[], weights: isolated.weights.as_deref() }, &mut batch);
    backend.encode_select(&params, &backend.opt_state(&params), &batch, Mode::Training, &mut codes);
    backend.decode_residual(&params, &batch, &mut codes);
    backend.backward(&params, &batch, &mut codes, &mut grads);
    let loss = backend.observe(&params, &codes, &grads).loss;
    Trained { loss, gradients: backend.gradients_of(&params, &grads), model }
}

fn weights(model: &Model) -> Weights {
    let Shape { n_p, n_r, n_q } = model.shape();
    Weights {
        V: Mat::from_fn(n_r, n_q, |j, i| f64::from(model.w_d(i)[j])),
        W: Mat::from_fn(n_q, n_p, |i, k| f64::from(model.w_e(i)[k])),
    }
}

/// Gradients come in f32, so each number is within 2^-24 of itself; sums of f64 add less.
fn assert_gradients(what: &str, trained: &Trained, V: &Mat<f64>, W: &Mat<f64>) {
    for i in 0..N_Q {
        let column = trained.gradients.row(Parameter::Decoder, i);
        let row = trained.gradients.row(Parameter::Encoder, i);
        for (found, exact) in column.iter().zip(V.col(i).iter()).chain(row.iter().zip(W.row(i).iter())) {
            assert!((f64::from(*found) - exact).abs() <= 1e-7 * exact.abs() + 1e-13, "{what}: {found} for {exact}");
        }
    }
}

#[test]
fn relu_and_thresholds_have_the_loss_and_gradients_of_the_exact_side() {
    let bench = bench();
    let P = bench.directions(Side::Input).matrix();
    // θ is stored as a logarithm in f32: the threshold that training compares with is its exponential.
    let theta = f64::from((0.25_f64.ln() as f32).exp());
    for (activation, c) in [(Activation::Relu, 0.0), (Activation::JumpRelu { theta: 0.25, bandwidth: 1e-9 }, theta)] {
        let trained = trained(&bench, activation);
        let exact =
            ApproximateLoss::new(P.clone(), P.clone(), bench.coefficients().masses(), c).expect("a valid problem");
        let (value, gradients) = exact.value_and_gradients(&weights(&trained.model)).expect("weights of its shape");
        // A few hundred f64 terms on both sides.
        assert!(
            value > 0.0 && (trained.loss - value).abs() < 1e-12 * value,
            "{activation:?}: {} for {value}",
            trained.loss
        );
        assert_gradients(&format!("{activation:?}"), &trained, &gradients.V, &gradients.W);
    }
}

#[test]
fn top_k_and_top_k_relu_and_batch_top_k_have_the_loss_and_gradients_of_the_exact_activation() {
    let bench = bench();
    let P = bench.directions(Side::Input).matrix();
    let masses = bench.coefficients().masses();
    for (activation, exact) in [
        (Activation::TopK { k: 4 }, SparseActivation::TopK(4)),
        (Activation::TopK { k: 30 }, SparseActivation::TopK(30)),
        (Activation::TopKRelu { k: 30 }, SparseActivation::TopKRelu(30)),
        (Activation::BatchTopK { k: 3 }, SparseActivation::BatchTopKRelu(3)),
    ] {
        let trained = trained(&bench, activation);
        let Weights { V, W } = weights(&trained.model);
        let pre = &W * &P;
        let columns: Vec<Vec<f64>> = (0..N).map(|d| pre.col(d).iter().copied().collect()).collect();
        let codes = exact.apply_batch(&columns).expect("a valid activation");
        let Z = Mat::from_fn(N_Q, N, |i, d| codes[d][i]);
        let E = &P - &V * &Z;
        let ED = Mat::from_fn(E.nrows(), N, |j, d| E[(j, d)] * masses[d]);
        let value: f64 = (0..N).map(|d| masses[d] * E.col(d).squared_norm_l2()).sum();
        assert!(
            value > 0.0 && (trained.loss - value).abs() < 1e-12 * value,
            "{activation:?}: {} for {value}",
            trained.loss
        );
        let back = V.transpose() * &ED;
        let masked = Mat::from_fn(N_Q, N, |i, d| if Z[(i, d)] == 0.0 { 0.0 } else { -2.0 * back[(i, d)] });
        let gradient_V = &ED * Z.transpose() * faer::Scale(-2.0);
        assert_gradients(&format!("{activation:?}"), &trained, &gradient_V, &(&masked * P.transpose()));
    }
}
