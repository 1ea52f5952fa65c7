//! The suite on the first GPU, where there is one. It is left out for want of a driver or of a device, and for no other reason.

use super::{Cuda, DeviceError, Driver, Encoder, Options};
use crate::backend::{Backend, HostOptState, Mode, Rows, SelectBy, Spec, conformance};
use crate::bench::config::BenchConfig;
use crate::bench::dataset::Bench;
use crate::sdl::{Activation, Init, Model, Parameter, Shape};

/// The first device.
fn device() -> Option<Driver> {
    match Driver::open(0) {
        Ok(driver) => Some(driver),
        Err(error) => {
            assert!(is_absent(&error), "there is a device, and it cannot be used: {error}");
            println!("{error}: not checked");
            None
        }
    }
}

fn is_absent(error: &DeviceError) -> bool {
    match error {
        DeviceError::Missing { what, .. } => what.contains("libcuda)"),
        other => matches!(other, DeviceError::NoDevice { .. }),
    }
}

#[test]
fn only_a_missing_driver_or_device_is_a_reason_to_leave_the_suite_out() {
    let missing = |what| DeviceError::Missing { what, remedy: "it" };
    assert!(is_absent(&missing("the CUDA driver (libcuda)")));
    assert!(is_absent(&DeviceError::NoDevice { reason: "none".to_owned() }));
    assert!(!is_absent(&missing("cuBLASLt (libcublasLt)")));
    assert!(!is_absent(&DeviceError::Build { reason: "an old compiler".to_owned() }));
    assert!(!is_absent(&DeviceError::OutOfMemory { bytes: 1 }));
}

fn conforms(takes: impl Fn(Activation) -> bool, encoder: Encoder, candidates: Option<usize>) {
    let Some(driver) = device() else { return };
    conformance::suite_of(takes, |spec| Cuda::on(&driver, spec, Options { encoder, candidates, ..Options::default() }));
}

/// Only these are screened.
fn is_ranked(activation: Activation) -> bool {
    matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. })
}

#[test]
fn exact_scores_conform_on_a_device() {
    conforms(|_| true, Encoder::Exact, None);
}

#[test]
fn a_screen_in_f32_conforms_on_a_device() {
    conforms(is_ranked, Encoder::F32, None);
}

#[test]
fn a_screen_in_tf32_conforms_on_a_device_with_room_for_few_candidates() {
    conforms(is_ranked, Encoder::Tf32, Some(12));
}

#[test]
fn a_screen_in_bf16_conforms_on_a_device() {
    conforms(is_ranked, Encoder::Bf16, Some(40));
}

#[test]
fn moments_in_bf16_conform_on_a_device() {
    let Some(driver) = device() else { return };
    conformance::rounded(1, 0, |_| true, |spec| Cuda::on(&driver, spec, Options::default()));
}

/// A few steps on the bench at sizes that fill some multiprocessors.
fn trained(driver: &Driver, encoder: Encoder) -> (Model, HostOptState) {
    let bench = Bench::generate(&BenchConfig { n: 300, n_p: 64, interference: 0.9, ..BenchConfig::default() })
        .expect("a small bench");
    let shape = Shape { n_p: 64, n_r: 64, n_q: 3000 };
    let backend = Cuda::on(driver, Spec::plain(shape, 1500), Options { encoder, ..Options::default() });
    let mut params = backend.params(&Init::default().model(shape, Activation::TopK { k: 20 }, 1));
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    for step in 0..5 {
        backend.sample(&bench, &(step * 1500..(step + 1) * 1500).collect::<Vec<_>>(), &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        backend.step(&mut params, &mut opt, &codes, &mut grads);
    }
    assert_eq!(backend.failure(), None);
    (backend.model(&params), backend.save(&opt))
}

#[test]
fn a_device_trains_to_the_same_bits_again_whatever_screens() {
    let Some(driver) = device() else { return };
    let expected = trained(&driver, Encoder::Exact);
    for encoder in [Encoder::Exact, Encoder::F32, Encoder::Tf32, Encoder::Bf16, Encoder::Tf32] {
        assert!(trained(&driver, encoder) == expected, "{encoder:?}");
    }
}

#[test]
fn a_product_of_small_integers_is_the_score_and_selects_the_same_latents_on_a_device() {
    let Some(driver) = device() else { return };
    let shape = Shape { n_p: 70, n_r: 70, n_q: 3001 };
    // Exact in bf16, and so are their sums in f32, in any order. Ties are many.
    let integers = |count: usize, by: u32| {
        (0..count as u32).map(move |j| (j.wrapping_mul(by) >> 16) as f32 % 7.0 - 3.0).collect::<Vec<_>>()
    };
    let mut model = Init::default().model(shape, Activation::TopK { k: 20 }, 1);
    let w = model.tensors.get_mut(Parameter::Encoder).expect("W_E");
    w.copy_from_slice(&integers(w.len(), 2_654_435_761));
    let inputs = integers(300 * shape.n_p, 2_246_822_519);
    let codes = |select_by| {
        let backend = Cuda::on(&driver, Spec { select_by, ..Spec::plain(shape, 300) }, Options::default());
        let params = backend.params(&model);
        let (mut batch, mut codes) = (backend.batch(), backend.codes());
        backend.load(Rows { inputs: &inputs, targets: &[], weights: None }, &mut batch);
        backend.encode_select(&params, &backend.opt_state(&params), &batch, Mode::Training, &mut codes);
        assert_eq!(backend.failure(), None);
        backend.codes_of(&codes)
    };
    let expected = codes(SelectBy::Score);
    for by in [SelectBy::Tf32, SelectBy::Bf16] {
        assert_eq!(codes(by), expected, "{by:?}");
    }
}
