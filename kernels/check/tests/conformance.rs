//! The CUDA backend, run on the processor, is a backend like the others.

use sdlab_kernels::backend::conformance;
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::shim::Shim;
use std::cell::Cell;

fn conforms(encoder: Encoder, candidates: Option<usize>, width: u32, seed: u64) {
    let seeds = Cell::new(seed);
    conformance::suite(|spec| {
        // Another schedule for every backend, and for each of its launches.
        seeds.set(seeds.get() + 1000);
        Cuda::on(Shim::new(width, seeds.get()), spec, Options { encoder, candidates })
    });
}

#[test]
fn exact_scores_conform() {
    conforms(Encoder::Exact, None, 64, 1);
}

#[test]
fn a_screen_in_f32_conforms() {
    conforms(Encoder::F32, None, 64, 2);
}

#[test]
fn a_screen_in_tf32_conforms_with_room_for_few_candidates() {
    conforms(Encoder::Tf32, Some(12), 96, 3);
}

#[test]
fn a_screen_in_bf16_conforms() {
    conforms(Encoder::Bf16, Some(40), 64, 4);
}
