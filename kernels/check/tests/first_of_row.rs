//! The first k of a row against a sort, at sizes that leave tails, under many schedules of the threads, with planted faults that must be noticed;
//! and a top-k of a backend that takes all latents.

mod common;
#[path = "common/numbers.rs"]
mod numbers;

use common::first_of_row;
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::Checked;
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::backend::{Backend, Mode, Rows, Spec};
use sdlab_kernels::sdl::{Activation, Init, Shape};
use sdlab_kernels::shim::Shim;
use std::cmp::Ordering;

/// The order of the reference: larger first, NaN last, −0 equal to +0, the earlier one first among equals.
fn first(k: usize, values: &[f32]) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..values.len() as u32).collect();
    let at = |i: u32| values[i as usize];
    positions.sort_by(|a, b| {
        at(*a).is_nan().cmp(&at(*b).is_nan()).then_with(|| at(*b).partial_cmp(&at(*a)).unwrap_or(Ordering::Equal))
    });
    positions.truncate(k);
    positions.sort_unstable();
    positions
}

/// (n, k) with tails, k = 1, k = n and k > n. Those above 2048 do not fit a list of all entries: the k that most widths of a block allow, one
/// that needs a search of the whole row, and one whose list is put in order in two parts and whose floor comes from a sample.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (5, 1),
    (33, 33),
    (64, 5),
    (70, 100),
    (150, 20),
    (257, 64),
    (500, 1),
    (500, 499),
    (2100, 30),
    (2303, 100),
    (5000, 3),
    (2500, 2400),
    (70_000, 100),
];

fn selects(device: &Checked<Shim>, seed: u64) -> bool {
    SHAPES.into_iter().all(|(n, k)| {
        let values = numbers(3 * n, seed + n as u64);
        [false, true].into_iter().all(|positive| {
            let expected = values.chunks(n).map(|row| {
                let chosen = first(k, row).into_iter();
                chosen.filter(|i| !positive || row[*i as usize] > 0.0).collect::<Vec<_>>()
            });
            first_of_row(device, &values, n, k, positive) == Ok(expected.collect::<Vec<_>>())
        })
    })
}

#[test]
fn the_first_k_of_a_row_are_those_of_a_sort_whatever_the_numbers_are() {
    for schedule in SCHEDULES {
        for width in WIDTHS {
            assert!(
                selects(&Checked::new(Shim::new(width, schedule)), schedule),
                "schedule {schedule}, {width} threads"
            );
        }
    }
}

#[test]
fn the_first_k_of_equal_numbers_are_the_first_ones() {
    for (schedule, n) in SCHEDULES.into_iter().zip([2048, 2052, 4097].into_iter().cycle()) {
        let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
        // Nothing but zeros of both signs, nothing but NaN, and a few greater ones among equals.
        let zeros = (0..n).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 });
        let values: Vec<f32> = zeros
            .chain(std::iter::repeat_n(f32::NAN, n))
            .chain((0..n).map(|i| if i % 700 == 1 { 2.0 } else { -1.0 }))
            .collect();
        for k in [1, 2, 40] {
            let expected: Vec<Vec<u32>> = values.chunks(n).map(|row| first(k, row)).collect();
            assert_eq!(first_of_row(&device, &values, n, k, false), Ok(expected), "{k} of {n}, schedule {schedule}");
        }
    }
}

#[test]
fn a_missing_barrier_and_an_error_by_one_are_noticed() {
    for fault in ["missing-barrier/", "off-by-one/", "off-by-one-listed/", "early-list/", "high-floor/"] {
        let noticed =
            SCHEDULES.into_iter().filter(|s| !selects(&Checked::new(Shim::with_fault(64, *s, fault)), *s)).count();
        // The order of threads as numbered may hide a missing barrier; most others must not.
        assert!(noticed >= 8, "{fault} is noticed under {noticed} schedules of {}", SCHEDULES.len());
    }
}

#[test]
fn a_screen_that_keeps_every_latent_selects_all_of_them() {
    for (schedule, n_q) in SCHEDULES.into_iter().zip([5, 33, 70].into_iter().cycle()) {
        for k in [n_q, n_q + 3] {
            for activation in [Activation::TopK { k }, Activation::TopKRelu { k }] {
                let shape = Shape { n_p: 9, n_r: 9, n_q };
                let model = Init { encoder_bias: true, ..Init::default() }.model(shape, activation, schedule);
                let inputs: Vec<f32> = numbers(200, schedule).into_iter().filter(|x| x.is_finite()).take(63).collect();
                let codes = |options| {
                    let backend = Cuda::on(Shim::new(64, schedule), Spec::plain(shape, 7), options);
                    let params = backend.params(&model);
                    let (mut batch, mut codes) = (backend.batch(), backend.codes());
                    backend.load(Rows { inputs: &inputs, targets: &[], weights: None }, &mut batch);
                    let opt = backend.opt_state(&params);
                    backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
                    assert_eq!(backend.failure(), None);
                    backend.codes_of(&codes)
                };
                let expected = codes(Options { encoder: Encoder::Exact, ..Options::default() });
                if matches!(activation, Activation::TopK { .. }) {
                    assert_eq!(expected.latents.len(), 7 * n_q, "all latents of all rows");
                }
                for encoder in [Encoder::F32, Encoder::Tf32, Encoder::Bf16] {
                    // With room for all of them, and with too little, so that rows are scored in full.
                    for candidates in [None, Some(n_q - 1)] {
                        let found = codes(Options { encoder, candidates, ..Options::default() });
                        assert_eq!(found, expected, "{activation:?} of {n_q}, {encoder:?}, {candidates:?}");
                    }
                }
            }
        }
    }
}
