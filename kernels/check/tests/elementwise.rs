//! Kernels that take numbers one by one or in groups, and samples that are drawn, against plain loops and the processor: more numbers than threads,
//! and more features than a block draws at once.

#[path = "common/integers.rs"]
mod integers;
#[path = "common/numbers.rs"]
mod numbers;

use integers::integers;
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::bench::config::BenchConfig;
use sdlab_kernels::bench::dataset::{Bench, Side};
use sdlab_kernels::shim::Shim;

#[test]
fn bf16_is_rounded_to_nearest_and_even() {
    let device = Checked::new(Shim::new(32, 3));
    let mut x = numbers(500, 9);
    x.extend([1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX, -f32::MAX]);
    let (of_x, out): (Array<_, f32>, Array<_, u16>) = (device.array(&x), device.zeros(x.len()));
    device.launch("to_bf16", [2, 1, 1], [of_x.all(), out.all(), (x.len() as u64).into()]);
    for (x, found) in x.iter().zip(device.download(&out, x.len())) {
        let expected = half::bf16::from_f32(*x);
        assert!(found == expected.to_bits() || x.is_nan() && half::bf16::from_bits(found).is_nan(), "{x:e}");
    }
}

#[test]
fn squares_of_many_groups_are_summed_each_into_its_place() {
    let x = integers(1000, 3, 3);
    for (schedule, group) in SCHEDULES.into_iter().zip([100, 333, 1000, 2000, 7].into_iter().cycle()) {
        let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
        let groups = x.len().div_ceil(group);
        let (of_x, out) = (device.array(&x), device.array(&vec![-1.0_f64; groups + 4]));
        let arguments = [of_x.all(), 1000_u64.into(), (group as u64).into(), out.all(), 3_u32.into()];
        device.launch("sum_squares", [groups as u32, 1, 1], arguments);
        let squares = x.chunks(group).map(|x| x.iter().map(|x| f64::from(*x).powi(2)).sum());
        let expected: Vec<f64> = [-1.0; 3].into_iter().chain(squares).chain([-1.0]).collect();
        assert_eq!(device.download(&out, groups + 4), expected, "groups of {group}");
    }
}

#[test]
fn fewer_threads_than_numbers_take_all_of_them() {
    const ROWS: usize = 37;
    const N: usize = 13;
    for schedule in SCHEDULES {
        let device = Checked::new(Shim::new(32, schedule));
        let (x, bias) = (numbers(ROWS * N, schedule), numbers(N, schedule + 1));
        let (of_x, of_bias, out) = (device.array(&x), device.array(&bias), device.zeros::<f32>(ROWS * N));
        let arguments = [of_x.all(), of_bias.all(), out.all(), (ROWS as u32).into(), (N as u32).into()];
        device.launch("centre", [3, 1, 1], arguments);
        for (j, found) in device.download(&out, ROWS * N).into_iter().enumerate() {
            let expected = x[j] - bias[j % N];
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{j}: {found:e}");
        }
        // Powers of two, so that every product is exact and the rule is seen in the bits.
        let (w, g, m) = (integers(500, 3, 1), integers(500, 3, 2), integers(500, 3, 3));
        let arrays = [&w, &g, &m, &m].map(|numbers| device.array(numbers));
        let [of_w, of_g, of_m, unread] = &arrays;
        let clip = device.array(&[8.0_f64, 0.5]);
        let [rate, beta] = [0.25_f32, 0.5];
        let arguments = [
            of_g.all(),
            clip.all(),
            of_w.all(),
            of_m.all(),
            unread.all(),
            true.into(),
            rate.into(),
            1.0_f32.into(),
            beta.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            1.0_f32.into(),
            500_u64.into(),
        ];
        device.launch("update_flat", [2, 1, 1], arguments);
        let momentum: Vec<f32> = m.iter().zip(&g).map(|(m, g)| beta * m + 0.5 * g).collect();
        let moved: Vec<f32> = w.iter().zip(&momentum).map(|(w, m)| w - rate * m).collect();
        assert_eq!((device.download(of_m, 500), device.download(of_w, 500)), (momentum, moved));
        assert_eq!(device.download(unread, 500), m);
    }
}

#[test]
fn samples_of_more_features_than_a_block_draws_at_once_have_the_bits_of_the_processor() {
    let config = BenchConfig { n: 700, n_p: 24, sparsity: 0.9, interference: 0.95, ..BenchConfig::default() };
    let bench = Bench::generate(&config).expect("a small bench");
    let (directions, tables) = (bench.directions(Side::Input), bench.coefficients().tables().expect("tables"));
    let indices = [0, 5, 1 << 33, 7];
    let mut expected = vec![0.0; indices.len() * 24];
    bench.synthesize(&bench.coefficients().batch(&indices), Side::Input, &mut expected);
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        let device = Checked::new(Shim::new(width, schedule));
        let (thresholds, scales) = (device.array(&tables.thresholds), device.array(&tables.scales));
        let (of_indices, of_directions) = (device.array(&indices), device.array(directions.data()));
        let out = device.zeros::<f32>(expected.len());
        let arguments = [
            tables.key[0].into(),
            tables.key[1].into(),
            thresholds.all(),
            scales.all(),
            tables.c_min.into(),
            tables.beta.into(),
            of_indices.all(),
            of_directions.all(),
            700_u32.into(),
            24_u32.into(),
            out.all(),
        ];
        device.launch("draw", [indices.len() as u32, 1, 1], arguments);
        assert_eq!(device.failure(), None);
        assert_eq!(device.download(&out, expected.len()), expected, "schedule {schedule}, {width} threads");
    }
}
