//! The layer that checks what a kernel is given: what it refuses, products of rows with any stride, and what every kernel says of itself.

#[path = "common/integers.rs"]
mod integers;

use integers::integers;
use sdlab_kernels::backend::cuda::checked::{Checked, Matrices};
use sdlab_kernels::backend::cuda::device::{Device, Precision};
use sdlab_kernels::backend::cuda::kernels::{FILES, signatures};
use sdlab_kernels::shim::Shim;

#[test]
fn the_checked_layer_refuses_what_does_not_fit_a_kernel() {
    let refused = |call: &dyn Fn(&Checked<Shim>)| {
        let device = Checked::new(Shim::new(32, 0));
        call(&device);
        device.failure().expect("a failure").to_string()
    };
    let x = |device: &Checked<Shim>| device.zeros::<f32>(4);
    let short = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).of(5), x(d).all(), 4_u32.into()]));
    assert!(short.contains("argument 0 has 4 numbers, 5 are needed"), "{short}");
    let kind = refused(&|d| d.launch("exponentials", [1, 1, 1], [d.zeros::<u32>(4).all(), x(d).all(), 4_u32.into()]));
    assert!(kind.contains("argument 0 is"), "{kind}");
    let word = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).all(), x(d).all(), 4_u64.into()]));
    assert!(word.contains("argument 2 is"), "{word}");
    let count = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).all(), x(d).all()]));
    assert!(count.contains("3 arguments expected, 2 given"), "{count}");
    let name = refused(&|d| d.launch("no_such", [1, 1, 1], [x(d).all()]));
    assert!(name.contains("no such kernel"), "{name}");
    let long = refused(&|d| d.upload(&[0.0_f32; 5], &x(d)));
    assert!(long.contains("5 numbers into an array of 4"), "{long}");
    // After a failure nothing is computed any more, and what is downloaded is no number.
    let device = Checked::new(Shim::new(32, 0));
    let array = device.array(&[1.0_f32, 2.0]);
    device.launch("no_such", [1, 1, 1], []);
    assert!(device.download(&array, 2).iter().all(|x| x.is_nan()));
    assert_eq!(device.device().width(), 32);
}

#[test]
fn every_kernel_says_its_grid_its_traffic_and_its_floor() {
    let mut seen = 0;
    for (file, text) in &FILES[1..] {
        for (before, after) in text.match_indices("\nKERNEL(").map(|(at, _)| text.split_at(at)) {
            let name = after.trim_start_matches("\nKERNEL(").split(')').next().expect("a name");
            let comment: Vec<&str> = before.lines().rev().take_while(|line| line.starts_with("//")).collect();
            for part in ["Grid:", "Traffic:", "Floor:"] {
                assert!(comment.iter().any(|line| line.contains(part)), "{file}: {name} does not say its {part}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, signatures().len());
}

#[test]
fn dense_products_read_rows_with_any_stride_and_nothing_makes_zeros() {
    for (seed, [m, n, k]) in [[1, 1, 1], [2, 3, 5], [7, 1, 4], [1, 6, 2], [5, 4, 0], [0, 3, 2]].into_iter().enumerate()
    {
        for transposed in [false, true] {
            let device = Checked::new(Shim::new(32, 0));
            // Rows of a and b, each longer than what is read of it.
            let (rows, widths) = if transposed { ([k, k], [m, n]) } else { ([m, n], [k, k]) };
            let strides = widths.map(|width| width + 2 + seed);
            let a = integers(rows[0] * strides[0], 3, seed as u32);
            let b = integers(rows[1] * strides[1], 3, seed as u32 + 100);
            let c = device.array(&vec![7.0_f32; m * n]);
            let (of_a, of_b) = (device.array(&a), device.array(&b));
            device.product(&Matrices {
                precision: Precision::F32,
                transposed,
                sizes: [m, n, k],
                a: (&of_a, strides[0]),
                b: (&of_b, strides[1]),
                c: &c,
            });
            assert_eq!(device.failure(), None);
            let term = |i: usize, j: usize, q: usize| {
                if transposed {
                    a[q * strides[0] + i] * b[q * strides[1] + j]
                } else {
                    a[i * strides[0] + q] * b[j * strides[1] + q]
                }
            };
            let expected: Vec<f32> = (0..m * n).map(|at| (0..k).map(|q| term(at / n, at % n, q)).sum()).collect();
            assert_eq!(device.download(&c, m * n), expected, "{m}×{n}×{k}, transposed {transposed}");
        }
    }
}
