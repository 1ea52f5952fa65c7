//! What `sdlab device` does, on the first GPU, where there is one. It is left out for want of a driver or of a device, and for no other reason.

use super::check::{CHECKS, Settings};
use super::timing::{self, time};
use super::{Cuda, DeviceError, Driver, Options};
use crate::backend::{Backend, Gather, Mode, Moments, Rows, SelectBy, Spec};
use crate::sdl::{Activation, Init, Parameter, Shape};

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

#[test]
fn a_device_computes_what_it_should() {
    let Some(driver) = device() else { return };
    for check in &CHECKS {
        let outcome = check.run(&driver, Settings { seed: 0, every: 1, small: false });
        assert_eq!(outcome.deviates, None, "{}", check.name);
    }
}

#[test]
fn steps_of_a_device_are_timed_kernel_by_kernel() {
    let Some(driver) = device() else { return };
    let (shape, options) = (Shape { n_p: 64, n_r: 64, n_q: 2000 }, Options::default());
    let settings = timing::Settings {
        shape,
        k: 8,
        batch: 512,
        moments: Moments::F32,
        select_by: SelectBy::Bf16,
        gather: Gather::Bf16,
        options,
        before: 0,
        times: 2,
        steps: 3,
    };
    let timed = time(&driver, &settings).unwrap();
    assert!(timed.steps.len() == 2 && timed.kernels.iter().all(|kernel| kernel.calls > 0 && kernel.seconds > 0.0));
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
