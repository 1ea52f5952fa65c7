//! Passes over the samples of a resampling on the device have the bits of the processor, and so have the latents that are moved by them.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::{Backend, Mode, Rows, Spec};
use sdlab_kernels::sdl::resampling::passes::{Of, Passes, Tables};
use sdlab_kernels::sdl::resampling::{Constraints, Elsewhere, Moved, Recipe, Resampling, Samples};
use sdlab_kernels::sdl::{Activation, Init, Model, Parameter, Shape};
use sdlab_kernels::shim::Shim;
use std::cell::Cell;

/// With or without infinities and NaN, and with factors that are 0.
fn doubles(count: usize, seed: u64, finite: bool) -> Vec<f64> {
    let all = numbers(4 * count + 64, seed).into_iter().filter(|x| !finite || x.is_finite());
    all.take(count).map(|x| f64::from(x) / 3.0).collect()
}

/// Equal bits, NaN equal to NaN.
fn same(a: &[Vec<f64>], b: &[Vec<f64>]) -> bool {
    let equal = |(a, b): (&f64, &f64)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(equal))
}

#[test]
fn products_and_sums_have_the_bits_of_the_processor() {
    let shapes = [(1, [1, 1]), (5, [37, 3]), (70, [64, 65]), (300, [7, 130]), (33, [257, 257])];
    for (schedule, (rows, widths)) in SCHEDULES.into_iter().zip(shapes.into_iter().cycle()) {
        let width = WIDTHS[schedule as usize % WIDTHS.len()];
        let backend =
            Cuda::on(Shim::new(width, schedule), Spec::plain(Shape { n_p: 1, n_r: 1, n_q: 1 }, 1), Options::default());
        // Every other time with a few numbers that are none.
        let finite = schedule % 2 == 0;
        let [inputs, missing] = widths.map(|width| doubles(rows * width, schedule + width as u64, finite));
        let mut host = Tables { rows, widths, inputs, missing };
        let mut device = backend.passes(&host).expect("passes on the device");
        for round in 0..2 {
            for (of, width) in [(Of::Inputs, widths[0]), (Of::Missing, widths[1])] {
                let lists = |length: usize| (0..3).map(|k| doubles(length, 10 * round + k, finite)).collect::<Vec<_>>();
                let (vectors, factors) = (lists(width), lists(rows));
                assert!(same(&device.products(of, &vectors), &host.products(of, &vectors)), "{schedule} {of:?}");
                assert!(same(&device.sums(of, &factors), &host.sums(of, &factors)), "{schedule} {of:?}");
            }
            let changed: Vec<_> =
                (0..rows).step_by(3).map(|b| (b, doubles(widths[1], 100 + b as u64, finite))).collect();
            host.replace(&changed);
            device.replace(&changed);
        }
        assert!(device.products(Of::Inputs, &[]).is_empty() && device.sums(Of::Missing, &[]).is_empty());
        drop(device);
        assert_eq!(backend.failure(), None);
    }
}

#[test]
fn a_row_whose_factor_is_zero_takes_no_part_whatever_it_holds() {
    let backend = Cuda::on(Shim::new(32, 1), Spec::plain(Shape { n_p: 1, n_r: 1, n_q: 1 }, 1), Options::default());
    let tables = Tables {
        rows: 3,
        widths: [1, 2],
        inputs: vec![1.0; 3],
        missing: vec![1.0, 2.0, f64::NAN, f64::INFINITY, 3.0, 4.0],
    };
    let device = backend.passes(&tables).expect("passes on the device");
    for passes in [&*device, &tables] {
        assert_eq!(passes.sums(Of::Missing, &[vec![1.0, 0.0, -2.0], vec![0.0, -0.0, 0.0]]), [[-5.0, -6.0], [0.0, 0.0]]);
    }
}

const SHAPE: Shape = Shape { n_p: 9, n_r: 9, n_q: 40 };
const ROWS: usize = 50;

/// A resampling of some silent latents, with passes by whoever is given.
fn moved(
    backend: &Cuda<Shim>,
    activation: Activation,
    unit_decoder: bool,
    elsewhere: Elsewhere<'_, '_>,
) -> (Model, Vec<Moved>) {
    let init = Init { input_bias: true, decoder_bias: true, tied: false, ..Init::default() };
    let mut model = init.model(SHAPE, activation, 3);
    for i in 20..26 {
        model.tensors.row_mut(Parameter::Encoder, i).fill(0.0);
    }
    model.threshold = matches!(activation, Activation::BatchTopK { .. }).then_some(0.2);
    let params = backend.params(&model);
    let (mut batch, mut codes) = (backend.batch(), backend.codes());
    let mut state = backend.save(&backend.opt_state(&params));
    state.idle[20..26].fill(1000);
    let draw = |seed| -> Vec<f32> {
        let ordinary = numbers(3 * ROWS * 9, seed).into_iter().filter(|x| x.is_finite() && x.abs() > 1e-6);
        ordinary.take(ROWS * 9).collect()
    };
    let (inputs, targets) = (draw(1), draw(2));
    backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
    backend.encode_select(&params, &backend.restore(&state), &batch, Mode::Inference, &mut codes);
    backend.decode_residual(&params, &batch, &mut codes);
    let samples = Samples {
        inputs: &inputs,
        targets: &targets,
        reconstructions: &backend.reconstruction_of(&batch, &codes),
        codes: &backend.codes_of(&codes),
        weights: None,
    };
    let recipe = Recipe { steps: vec![1], dead_after: 1000, ..Recipe::default() };
    let constraints = Constraints { unit_decoder, anchored: &[] };
    let moved = Resampling::Decrease(recipe).apply_with(&mut model, &mut state, &samples, constraints, elsewhere, 7);
    assert_eq!(backend.failure(), None);
    (model, moved)
}

#[test]
fn the_exact_decrease_moves_to_the_same_bits_wherever_passes_are_computed() {
    for (schedule, activation) in [
        Activation::Relu,
        Activation::JumpRelu { theta: 0.1, bandwidth: 0.1 },
        Activation::TopK { k: 3 },
        Activation::TopKRelu { k: 3 },
        Activation::BatchTopK { k: 3 },
        Activation::Gated,
    ]
    .into_iter()
    .enumerate()
    {
        for unit_decoder in [false, true] {
            let spec = Spec { unit_decoder, reconstructs_its_input: false, ..Spec::plain(SHAPE, ROWS) };
            let backend = Cuda::on(Shim::new(64, schedule as u64), spec, Options::default());
            let expected = moved(&backend, activation, unit_decoder, &|_| None);
            assert!(expected.1.len() >= 4, "{activation:?}: {:?}", expected.1);
            let asked = Cell::new(0);
            let on_device = |tables: &Tables| {
                asked.set(asked.get() + 1);
                backend.passes(tables)
            };
            assert!(
                moved(&backend, activation, unit_decoder, &on_device) == expected,
                "{activation:?}, {unit_decoder}"
            );
            assert_eq!(asked.get(), 1);
        }
    }
}
