//! A batch on a backend that has latents of any age.

use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Spec};
use sdlab_kernels::sdl::{Model, Tensors};
use sdlab_kernels::shim::Shim;

/// Steps for which each latent has been idle, 0 to 14.
pub fn ages(latents: usize) -> Vec<u64> {
    (0..latents as u64).map(|i| i % 15).collect()
}

/// The codes of a batch of inputs and targets, what is reconstructed of it, and its terms of the loss; latents have their [`ages`].
pub fn decoded(
    shim: Shim,
    spec: Spec,
    model: &Model,
    [inputs, targets]: [&[f32]; 2],
) -> (HostCodes, Vec<f32>, Observation) {
    let idle = ages(spec.shape.n_q);
    let backend = Cuda::on(shim, spec, Options::default());
    let params = backend.params(model);
    let zeros = || Tensors::zeros_like(&model.tensors);
    let opt = backend.restore(&HostOptState {
        step: 0,
        warm_up: Default::default(),
        first: zeros(),
        second: Some(zeros()),
        idle,
    });
    let (mut batch, mut codes, grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    backend.load(Rows { inputs, targets, weights: None }, &mut batch);
    backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
    backend.decode_residual(&params, &batch, &mut codes);
    let seen = backend.observe(&params, &codes, &grads);
    assert_eq!(backend.failure(), None);
    (backend.codes_of(&codes), backend.reconstruction_of(&batch, &codes), seen)
}
