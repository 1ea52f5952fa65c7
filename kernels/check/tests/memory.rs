//! The memory that is foretold against the memory that a training asks a device for.

use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options, memory};
use sdlab_kernels::backend::{Backend, Mode, Optimizer, Rows, Rule, Spec};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Objective, Scales, Shape};
use sdlab_kernels::shim::Shim;

#[test]
fn a_training_takes_the_memory_that_is_foretold_and_hardly_more() {
    let aux = Some(AuxK { k: 40, weight: 0.1, dead_after: 5, target: AuxTarget::Residual });
    let prefixes = Scales::Prefixes { sizes: vec![100, 500], weights: vec![1.0, 1.0] };
    let biases =
        Init { tied: false, encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    for (activation, init, encoder) in [
        (Activation::TopK { k: 8 }, Init::default(), Encoder::Tf32),
        (Activation::TopK { k: 8 }, biases, Encoder::Bf16),
        (Activation::TopKRelu { k: 900 }, Init::default(), Encoder::Exact),
        (Activation::BatchTopK { k: 8 }, biases, Encoder::Tf32),
        (Activation::Relu, biases, Encoder::Tf32),
        (Activation::JumpRelu { theta: 0.1, bandwidth: 0.1 }, biases, Encoder::Tf32),
        (Activation::Gated, biases, Encoder::Tf32),
    ] {
        for (objective, reconstructs_its_input, rule) in [
            (Objective::default(), true, Rule::Adam),
            (Objective { aux, scales: prefixes.clone(), ..Objective::default() }, false, Rule::Sgd),
        ] {
            let shape = Shape { n_p: 60, n_r: 60, n_q: 500 };
            let optimizer = Optimizer { rule, ..Optimizer::default() };
            let spec = Spec { objective, optimizer, reconstructs_its_input, ..Spec::plain(shape, 50) };
            let options = Options { encoder, ..Options::default() };
            let parameters = init.parameters(&activation);
            let foretold = memory(&spec, options, activation, &parameters, true);
            let shim = Shim::new(32, 1);
            let left = shim.left();
            let backend = Cuda::on(shim, spec, options);
            let mut params = backend.params(&init.model(shape, activation, 1));
            let mut opt = backend.opt_state(&params);
            let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
            let inputs: Vec<f32> = (0..50 * 60).map(|k| (k as f32).sin()).collect();
            backend.load(Rows { inputs: &inputs, targets: &inputs, weights: None }, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
            backend.step(&mut params, &mut opt, &codes, &mut grads);
            assert_eq!(backend.failure(), None);
            let taken = (usize::MAX - left.get()) as u64;
            // Arrays of a few numbers, those of the search of BatchTopK, and blocks of sums.
            let most = foretold + foretold / 100 + 6000;
            assert!(
                (foretold..=most).contains(&taken),
                "{activation:?}, {encoder:?}, {rule:?}: {foretold} foretold, {taken}"
            );
        }
    }
}
