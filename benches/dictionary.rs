//! Dictionary learning on the bench, n = 200 features in R^128, S = 0.98, N = 20,000 samples: seconds, and the share of features that are recovered.
//!
//! ```text
//!     cargo bench --bench dictionary -- [--quick] [--seeds 5] [--repeats 3] [--save DIR] [METHOD..]
//! ```
//!
//! Each seed is another bench (features and samples) and another start. Seconds are the median of the repeats, in which nothing but `fit` is timed. The
//! floor of online learning is the time of its matrix products alone, in f32 and in the same run: for every batch DᵀD, DᵀX and D A.
//! `--save` writes the samples and the features of every seed as `samples-S.npy` and `features-S.npy`, for the packages of others, which
//! `benches/peers/dictionary.py` times.

// Single-letter matrices are the paper's own names.
#![allow(non_snake_case)]

mod common;

use common::{machine, median};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use sdlab::bench::config::BenchConfig;
use sdlab::bench::dataset::{Bench, Side};
use sdlab::io::npy;
use sdlab::metrics::recovery::{BestMatches, Recovery};
use sdlab::metrics::similarity::{Sign, Vectors};
use sdlab::optim::dictionary::{Coder, Dictionary, Ksvd, Online, OptimalDirections, Samples};
use std::path::Path;
use std::time::Instant;

const METHODS: [&str; 3] = ["online", "ksvd", "mod"];

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let quick = words.iter().position(|a| a == "--quick").map(|at| words.remove(at)).is_some();
    let seeds = number(&mut words, "--seeds").unwrap_or(5);
    let repeats = number(&mut words, "--repeats").unwrap_or(3);
    let folder = option(&mut words, "--save");
    if words.iter().any(|word| !METHODS.contains(&word.as_str())) {
        usage();
    }
    let (n, n_r, count) = if quick { (60, 40, 4000) } else { (200, 128, 20_000) };
    let interference = if quick { 0.2 } else { 0.1 };
    let config = |seed| BenchConfig {
        n,
        n_p: n_r,
        samples: count as u64,
        sparsity: if quick { 0.95 } else { 0.98 },
        interference,
        seed,
        ..BenchConfig::default()
    };
    println!("machine: {}, {} threads", machine(), rayon::current_num_threads());
    println!("n = {n}, n_r = {n_r}, N = {count}; {seeds} seeds, medians of {repeats}");
    let benches: Vec<(Bench, Vec<f32>)> = (0..seeds as u64).map(|seed| drawn(&config(seed))).collect();
    if let Some(folder) = folder {
        for (seed, (bench, x)) in benches.iter().enumerate() {
            save(&folder, &format!("samples-{seed}.npy"), x, n_r);
            save(&folder, &format!("features-{seed}.npy"), bench.directions(Side::Input).data(), n_r);
        }
    }
    println!(
        "{:8} {:>4} {:>4} {:>9} {:>9} {:>6} {:>6} {:>7}",
        "method", "K", "seed", "seconds", "floor", ".9", ".95", "passes"
    );
    for method in METHODS.iter().filter(|method| words.is_empty() || words.iter().any(|word| word == *method)) {
        for atoms in [2 * n, n] {
            for (seed, (bench, x)) in benches.iter().enumerate() {
                let samples = Samples::new(x, n_r).expect("samples of the bench");
                let mut times = Vec::new();
                let mut timed = || {
                    let start = Instant::now();
                    let fit = learn(method, atoms, 2 * n == atoms, samples, seed as u64);
                    times.push(start.elapsed().as_secs_f64());
                    fit
                };
                // One seed gives the same dictionary every time.
                (1..repeats).for_each(|_| drop(timed()));
                let (dictionary, passes) = timed();
                let floor = match *method {
                    "online" => format!("{:9.3}", products(samples, atoms, passes)),
                    _ => format!("{:>9}", "-"),
                };
                let recovery = recovery(bench, &dictionary);
                let (loose, tight) = (recovery.recovered(0.9), recovery.recovered(0.95));
                let seconds = median(times);
                println!("{method:8} {atoms:4} {seed:4} {seconds:9.3} {floor} {loose:6.3} {tight:6.3} {passes:7}");
            }
        }
    }
}

/// The dictionary, and how many passes it took. Twice as many atoms as features find them all in one pass.
fn learn(method: &str, atoms: usize, spare: bool, samples: Samples<'_>, seed: u64) -> (Dictionary, usize) {
    let coder = Coder::Nnls { atoms: Some(5) };
    let passes = if spare { 10 } else { 30 };
    let fit = match method {
        "online" => Online { atoms, passes: if spare { 1 } else { 2 }, ..Online::default() }.fit(samples, seed),
        "ksvd" => Ksvd { atoms, coder, passes, ..Ksvd::default() }.fit(samples, seed),
        _ => OptimalDirections { atoms, coder, passes, ..OptimalDirections::default() }.fit(samples, seed),
    };
    let fit = fit.expect("samples with a direction");
    (fit.dictionary, fit.trace.len())
}

fn drawn(config: &BenchConfig) -> (Bench, Vec<f32>) {
    let bench = Bench::generate(config).expect("a bench within its limits");
    let batch = bench.coefficients().batch(&(0..config.samples).collect::<Vec<_>>());
    let mut x = vec![0.0; config.samples as usize * config.n_p];
    bench.synthesize(&batch, Side::Input, &mut x);
    (bench, x)
}

fn recovery(bench: &Bench, dictionary: &Dictionary) -> Recovery {
    let learned = Vectors::rows("dictionary", dictionary.data(), dictionary.dimension());
    let truth = Vectors::truth(bench.directions(Side::Input));
    let matches = BestMatches::of(learned, truth, Sign::Absolute, &[]).expect("finite atoms");
    Recovery::without(&matches.normalised, &[]).expect("features")
}

/// Seconds of the matrix products of online learning with batches of 512.
fn products(samples: Samples<'_>, atoms: usize, passes: usize) -> f64 {
    let (batch, n_r) = (512.min(samples.count()), samples.dimension());
    let D = Mat::from_fn(n_r, atoms, |i, k| ((i * 31 + k * 17) % 97) as f32);
    let X = samples.matrix().subcols(0, batch);
    let (mut gram, mut codes, mut update) =
        (Mat::zeros(atoms, atoms), Mat::zeros(atoms, batch), Mat::zeros(n_r, atoms));
    let mut once = || {
        let start = Instant::now();
        let par = Par::rayon(0);
        matmul(gram.as_mut(), Accum::Replace, D.transpose(), D.as_ref(), 1.0_f32, par);
        matmul(codes.as_mut(), Accum::Replace, D.transpose(), X, 1.0, par);
        matmul(update.as_mut(), Accum::Replace, D.as_ref(), gram.as_ref(), 1.0, par);
        start.elapsed().as_secs_f64()
    };
    let times = (0..9).map(|_| once()).collect();
    median(times) * (samples.count().div_ceil(batch) * passes) as f64
}

fn save(folder: &str, name: &str, numbers: &[f32], dimension: usize) {
    let mut bytes = npy::header(&[(numbers.len() / dimension) as u64, dimension as u64]);
    numbers.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
    let path = Path::new(folder).join(name);
    if let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, bytes)) {
        eprintln!("{}: {error}", path.display());
        std::process::exit(2);
    }
}

/// Takes an option with the word behind it.
fn option(words: &mut Vec<String>, name: &str) -> Option<String> {
    let at = words.iter().position(|word| word == name)?;
    let value = words.get(at + 1).cloned().unwrap_or_else(|| usage());
    words.drain(at..at + 2);
    Some(value)
}

/// Takes an option with a positive number behind it.
fn number(words: &mut Vec<String>, name: &str) -> Option<usize> {
    option(words, name).map(|text| text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| usage()))
}

fn usage() -> ! {
    let names = METHODS.join(", ");
    eprintln!("usage: dictionary [--quick] [--seeds S] [--repeats R] [--save DIR] [METHOD..], methods: {names}");
    std::process::exit(2);
}
