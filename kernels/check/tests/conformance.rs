//! The CUDA backend, run on the processor, is a backend like the others.

use sdlab_kernels::backend::conformance;
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::sdl::Activation;
use sdlab_kernels::shim::Shim;
use std::cell::Cell;

fn conforms(takes: impl Fn(Activation) -> bool, encoder: Encoder, candidates: Option<usize>, width: u32, seed: u64) {
    let seeds = Cell::new(seed);
    conformance::suite_of(takes, |spec| {
        // Another schedule for every backend, and for each of its launches.
        seeds.set(seeds.get() + 1001);
        Cuda::on(Shim::new(width, seeds.get()), spec, Options { encoder, candidates, ..Options::default() })
    });
}

/// Only these are screened.
fn is_ranked(activation: Activation) -> bool {
    matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. })
}

#[test]
fn exact_scores_conform() {
    conforms(|_| true, Encoder::Exact, None, 64, 1);
}

#[test]
fn a_screen_in_tf32_conforms_with_room_for_few_candidates() {
    conforms(is_ranked, Encoder::Tf32, Some(12), 96, 3);
}

#[test]
fn a_screen_in_bf16_conforms() {
    conforms(is_ranked, Encoder::Bf16, Some(40), 64, 4);
}
