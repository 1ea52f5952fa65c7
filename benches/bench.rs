//! What making the bench costs: its features (eqs. 26–28), the coefficients of a batch (eqs. 29, 30), and x = W c (eq. 31), beside what each
//! cannot do without.
//!
//! ```text
//!     cargo bench --bench bench -- [--quick]
//! ```
//!
//! Floors, measured in the same run: for features the products PᵀP and P·G of the steps that were needed, in f64; for coefficients the random numbers that
//! decide which features fire, one word each; for representations writing them. Last, one step of the features of a bench whose products of all pairs
//! would not fit beside each other: its floor is the same products in panels, and its memory is the largest that the program has held.

// Single-letter matrices are the paper's own names.
#![allow(non_snake_case)]

mod common;

use common::{machine, median};
use faer::Mat;
use faer::linalg::matmul::matmul;
use faer::{Accum, Par};
use rayon::prelude::*;
use sdlab::bench::config::BenchConfig;
use sdlab::bench::dataset::{Bench, Side};
use sdlab::bench::features::{InterferenceBound, bounded_interference_watched, stream};
use std::hint::black_box;
use std::time::Instant;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (n, n_p, rows) = if quick { (100, 77, 256) } else { (1000, 768, 4096) };
    let config = BenchConfig { n, n_p, interference: if quick { 0.3 } else { 0.1 }, ..BenchConfig::default() };
    println!("machine: {}, {} threads", machine(), rayon::current_num_threads());
    println!(
        "n = {n}, n_p = {n_p}, S = {}, M = {}, {rows} samples; medians of 5",
        config.sparsity, config.interference
    );
    println!("{:28} {:>10} {:>10} {:>7}", "", "ms", "floor, ms", "ratio");
    let mut steps = 0_usize;
    let features = time(|| {
        steps = 0;
        let rng = &mut stream(0, "bench of features");
        black_box(bounded_interference_watched(n_p, n, &config.bound(), rng, &mut |_| steps += 1).is_ok());
    });
    let P = Mat::from_fn(n_p, n, |i, j| ((i * 31 + j * 17) % 97) as f64);
    let (mut gram, mut gradient) = (Mat::zeros(n, n), Mat::zeros(n_p, n));
    let products = time(|| {
        let par = Par::rayon(0);
        matmul(gram.as_mut(), Accum::Replace, P.transpose(), P.as_ref(), 1.0, par);
        matmul(gradient.as_mut(), Accum::Replace, P.as_ref(), gram.as_ref(), 1.0, par);
    });
    line(&format!("features, {steps} steps"), features, products * (steps + 1) as f64);
    let bench = Bench::generate(&config).expect("a bench within its limits");
    let indices: Vec<u64> = (0..rows as u64).collect();
    let drawn = time(|| {
        black_box(bench.coefficients().batch(&indices));
    });
    let words = time(|| {
        let each = |row: u64| (0..n as u64).fold(row, |word, d| word ^ mix(row << 32 | d));
        black_box(indices.par_iter().map(|row| each(*row)).reduce(|| 0, |a, b| a ^ b));
    });
    line("coefficients", drawn, words);
    let batch = bench.coefficients().batch(&indices);
    let mut x = vec![0.0_f32; rows * n_p];
    let made = time(|| bench.synthesize(&batch, Side::Input, &mut x));
    let source = vec![1.0_f32; n_p];
    let written = time(|| {
        x.par_chunks_mut(n_p).for_each(|row| row.copy_from_slice(&source));
    });
    line("representations", made, written);
    println!("one batch: {:.2} ms, {:.0} samples/s", (drawn + made) * 1e3, rows as f64 / (drawn + made));
    if quick { many(2048, 96, 256) } else { many(16_384, 768, 1024) }
}

/// One step towards the features of a large bench, once.
fn many(n: usize, n_p: usize, panel: usize) {
    let bound = InterferenceBound { budget: 1, ..InterferenceBound::new(0.1) };
    let mut steps = 0;
    let start = Instant::now();
    let rng = &mut stream(0, "bench of features");
    black_box(bounded_interference_watched(n_p, n, &bound, rng, &mut |_| steps += 1).is_ok());
    let features = start.elapsed().as_secs_f64();
    let peak = peak_mib();
    let P = Mat::from_fn(n_p, n, |i, j| ((i * 31 + j * 17) % 97) as f64);
    let (mut gram, mut gradient) = (Mat::zeros(n, panel), Mat::zeros(n_p, panel));
    let start = Instant::now();
    for from in (0..n).step_by(panel) {
        let par = Par::rayon(0);
        matmul(gram.as_mut(), Accum::Replace, P.transpose(), P.subcols(from, panel), 1.0, par);
        matmul(gradient.as_mut(), Accum::Replace, P.as_ref(), gram.as_ref(), 1.0, par);
    }
    let products = start.elapsed().as_secs_f64();
    println!("n = {n}, n_p = {n_p}, M = {}, once", bound.maximum);
    line(&format!("features, {steps} step"), features, products * (steps + 1) as f64);
    let mib = |numbers: usize| (8 * numbers) >> 20;
    let largest = peak.map_or("–".into(), |peak| format!("{peak} MiB"));
    println!(
        "largest memory: {largest}; the features are {} MiB, products of all pairs {} MiB",
        mib(n * n_p),
        mib(n * n)
    );
}

/// Largest resident memory of this process so far, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn line(what: &str, seconds: f64, floor: f64) {
    println!("{what:28} {:10.2} {:10.2} {:7.2}", seconds * 1e3, floor * 1e3, seconds / floor);
}

/// The median of five runs, after one that is not counted.
fn time(mut work: impl FnMut()) -> f64 {
    work();
    let once = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    median((0..5).map(|_| once(&mut work)).collect())
}

/// A cheap mixing of bits, with a product and two shifts: less than any generator needs.
fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ x >> 29
}
