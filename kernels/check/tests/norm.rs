//! The norm of the gradient: taken within a step where the step needs it, else when it is asked for, with the same bits.

use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::{Backend, Mode, Rows, Spec};
use sdlab_kernels::sdl::{Activation, Anchors, Init, Model, Shape};
use sdlab_kernels::shim::{Shim, launched};

const SHAPE: Shape = Shape { n_p: 37, n_r: 37, n_q: 75 };

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|k| (k.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) as f32 * 1e-7).sin()).collect()
}

fn spec(unit_decoder: bool, clip: f64) -> Spec {
    let mut spec = Spec::plain(SHAPE, 35);
    spec.anchors = Anchors::first(0.2, numbers(3 * 37, 5), numbers(3 * 37, 6), SHAPE).expect("three anchors");
    spec.unit_decoder = unit_decoder;
    spec.optimizer.clip = clip;
    spec
}

/// Three steps: the norms that are seen after each, and the model.
fn trained(spec: Spec, schedule: u64, looks: impl Fn(u32) -> bool) -> (Vec<f64>, Model) {
    let backend = Cuda::on(Shim::new(64, schedule), spec, Options::default());
    let init = Init { encoder_bias: true, decoder_bias: true, ..Init::default() };
    let mut params = backend.params(&init.model(SHAPE, Activation::TopK { k: 7 }, 3));
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    let mut norms = Vec::new();
    for step in 0..3 {
        let inputs = numbers(35 * 37, step);
        backend.load(Rows { inputs: &inputs, targets: &[], weights: None }, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        let norm = || backend.observe(&params, &codes, &grads).gradient_norm;
        assert!(!looks(step) || norm() == 0.0, "nothing has met the gradient yet");
        backend.step(&mut params, &mut opt, &codes, &mut grads);
        let norm = || backend.observe(&params, &codes, &grads).gradient_norm;
        if looks(step) {
            norms.push(norm());
            assert_eq!(norm().to_bits(), norms[norms.len() - 1].to_bits(), "the second look");
        }
    }
    assert_eq!(backend.failure(), None);
    (norms, backend.model(&params))
}

#[test]
fn the_norm_is_taken_when_it_is_needed_and_has_the_same_bits_whenever_that_is() {
    let _ = trained(spec(false, 0.0), 1, |_| false);
    assert!(!launched().contains("gradient_squares") && !launched().contains("clipping"), "no one has asked");
    let _ = trained(spec(true, 0.0), 1, |_| false);
    assert!(launched().contains("gradient_squares") && !launched().contains("clipping"), "columns are projected");
    for unit in [false, true] {
        // A limit that no gradient reaches.
        let (norms, model) = trained(spec(unit, 1e12), 2, |_| true);
        assert!(norms.iter().all(|norm| *norm > 0.0));
        for schedule in 3..7 {
            let (found, same) = trained(spec(unit, 0.0), schedule, |_| true);
            assert!(found == norms && same == model, "{unit}, schedule {schedule}: {found:?}, not {norms:?}");
            let (found, same) = trained(spec(unit, 0.0), schedule, |step| step == 2);
            assert!(found == norms[2..] && same == model, "{unit}, schedule {schedule}: {found:?}");
        }
        let (_, clipped) = trained(spec(unit, norms[0] / 2.0), 2, |_| true);
        assert!(clipped != model, "a limit within reach");
    }
}
