//! Rows that are gathered in bf16: how they are packed, reconstructions from them bit for bit, and a part of the suite within bounds that know the rounding.

#[path = "common/decoded.rs"]
mod decoded;
#[path = "common/numbers.rs"]
mod numbers;

use decoded::decoded;
use half::bf16;
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::Checked;
use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::{Gather, Observation, Spec, conformance};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Model, Parameter, Scales, Shape};
use sdlab_kernels::shim::Shim;
use std::cell::Cell;

/// Numbers of a stripe.
const STRIPE: usize = 128;

fn rounded(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

#[test]
fn packed_rows_have_the_nearest_numbers_lane_by_lane_and_zeros_behind_them() {
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        let device = Checked::new(Shim::new(width, schedule));
        // Tails of a lane's numbers, of a warp and of a stripe, and stripes that are just full; more rows than blocks and fewer.
        for (n, blocks) in [(1_usize, 1), (31, 9), (33, 2), (97, 3), (127, 5), (128, 1), (129, 4), (300, 2), (1100, 6)]
        {
            let (rows, width) = (5_usize, n.next_multiple_of(STRIPE));
            let x = numbers(rows * n, schedule + n as u64);
            let (of_x, out) = (device.array(&x), device.array(&vec![0x7777_u16; rows * width]));
            let arguments = [of_x.all(), out.all(), (rows as u32).into(), (n as u32).into()];
            device.launch("pack_rows", [blocks, 1, 1], arguments);
            assert_eq!(device.failure(), None);
            let found = device.download(&out, rows * width);
            for (row, (found, x)) in found.chunks(width).zip(x.chunks(n)).enumerate() {
                for c in 0..width {
                    // Lane c mod 32 has four numbers side by side.
                    let place = c / STRIPE * STRIPE + c % 32 * 4 + c % STRIPE / 32;
                    let (found, expected) = (bf16::from_bits(found[place]), x.get(c).map_or(0.0, |x| rounded(*x)));
                    let equal = found.to_f32().to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    assert!(equal, "row {row}, number {c} of {n}, schedule {schedule}: {found}, not {expected}");
                }
            }
        }
    }
}

/// Rows of more than two stripes, the last one begun.
const SHAPE: Shape = Shape { n_p: 20, n_r: 301, n_q: 90 };
const ROWS: usize = 9;

/// What is reconstructed of a batch, and its terms of the loss.
fn reconstructed(gather: Gather, model: &Model, width: u32, schedule: u64) -> (Vec<f32>, Observation) {
    let mut spec = Spec { gather, ..Spec::plain(SHAPE, ROWS) };
    spec.reconstructs_its_input = false;
    spec.objective.l1 = 0.1;
    spec.objective.aux = Some(AuxK { k: 5, weight: 0.5, dead_after: 10, target: AuxTarget::Residual });
    spec.objective.scales = match model.activation {
        Activation::TopK { .. } => Scales::TopK { ks: vec![1, 3, 9], weights: vec![0.5, 1.0, 0.25] },
        Activation::Relu => Scales::Prefixes { sizes: vec![30, 90], weights: vec![0.5, 1.0] },
        _ => Scales::Single,
    };
    let finite = |count: usize, seed: u64| -> Vec<f32> {
        numbers(2 * count, seed).into_iter().filter(|x| x.is_finite()).take(count).collect()
    };
    let (inputs, targets) = (finite(ROWS * SHAPE.n_p, 1), finite(ROWS * SHAPE.n_r, 2));
    let (_, reconstruction, seen) = decoded(Shim::new(width, schedule), spec, model, [&inputs, &targets]);
    (reconstruction, seen)
}

#[test]
fn reconstructions_in_bf16_have_the_bits_of_those_by_rounded_columns() {
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        for activation in [Activation::TopK { k: 9 }, Activation::Relu, Activation::Gated] {
            let init = Init { tied: false, encoder_bias: true, decoder_bias: true, skip: true, ..Init::default() };
            let mut model = init.model(SHAPE, activation, schedule);
            let not_finite = schedule % 4 == 3;
            let columns = model.tensors.get_mut(Parameter::Decoder).expect("W_D");
            if not_finite {
                columns.copy_from_slice(&numbers(SHAPE.n_q * SHAPE.n_r, schedule));
            }
            let mut coarse = model.clone();
            coarse.tensors.get_mut(Parameter::Decoder).expect("W_D").iter_mut().for_each(|v| *v = rounded(*v));
            let (expected, said) = reconstructed(Gather::F32, &coarse, width, 0);
            let (found, seen) = reconstructed(Gather::Bf16, &model, width, schedule);
            let what = format!("{activation:?}, {width} threads, schedule {schedule}");
            let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(found.len() == expected.len() && found.iter().zip(&expected).all(equal), "{what}");
            if not_finite {
                assert!(found.iter().any(|x| x.is_nan()), "{what}: numbers that are none pass through");
            } else {
                assert_eq!(seen, said, "{what}");
                assert_ne!(
                    found,
                    reconstructed(Gather::F32, &model, width, 0).0,
                    "{what}: the test tells bf16 from f32"
                );
            }
        }
    }
}

#[test]
fn a_part_of_the_suite_holds_with_gathers_in_bf16() {
    // With AddressSanitizer less of it.
    let step = if cfg!(feature = "address") { 60 } else { 24 };
    for (from, width) in [(1, 64), (4, 160)] {
        let seeds = Cell::new(from as u64);
        let make = |spec: Spec| {
            seeds.set(seeds.get() + 1001);
            Cuda::on(Shim::new(width, seeds.get()), spec, Options::default())
        };
        conformance::gathered(step, from, |_| true, make);
    }
}
