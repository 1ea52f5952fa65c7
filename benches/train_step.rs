//! What a whole training step costs beside the matrix product of its encoder.
//!
//! ```text
//!     cargo bench --bench train_step -- [--quick] [--shape N_P,N_Q,K] [--batch B,..] [--train STEPS] [--screen float|integer] [--split] [METHOD..]
//!     cargo bench --bench train_step -- --grid [--quick] [METHOD..]
//! ```
//!
//! Each repetition times the bare product X W_Eᵀ (the `gemm` crate, all threads, into a matrix that exists already) and then one step, operation by
//! operation, in one process and on the same data; the medians and their ratio are printed. A sparse step needs one product, a dense one
//! five: X W_Eᵀ, Z V, E Vᵀ, and both gradients. With the screen in integers (the default where the processor has AVX-512 VNNI) the product of a
//! sparse step is that of the screen, with nothing to be found: it rounds X, multiplies and compares. The product in f32 is printed beside it.
//! Other work on the machine moves all figures, so ratios are what counts. With `--split` gradients and update are timed separately, as two passes
//! also where training makes them in one.
//!
//! With `--grid` time and memory are shown as they grow with n_q, the batch and k (TopK, unless methods are named): the median step, what the process
//! holds for it, and by what each grows where one of the three is doubled, the geometric mean over the grid.

mod common;

use common::{machine, median};
use rand::RngExt;
use rand_distr::{Distribution, Exp1};
use sdlab::backend::cpu::{Cpu, Isa, Screen};
use sdlab::backend::{Backend, Mode, Rows, Spec};
use sdlab::bench::features::{random_unit, stream};
use sdlab::sdl::{Activation, Init, Objective, Parameter, Shape};
use std::time::Instant;

const METHODS: [&str; 6] = ["topk", "topk-relu", "batch-topk", "relu", "jump-relu", "gated"];

fn activation(method: &str, k: usize) -> Activation {
    match method {
        "topk" => Activation::TopK { k },
        "topk-relu" => Activation::TopKRelu { k },
        "batch-topk" => Activation::BatchTopK { k },
        "relu" => Activation::Relu,
        "jump-relu" => Activation::JumpRelu { theta: 0.05, bandwidth: 0.01 },
        _ => Activation::Gated,
    }
}

/// Gradients and update, which training makes as one operation, and separately.
const OPERATIONS: [&[&str]; 2] = [&["encode", "decode", "update"], &["encode", "decode", "backward", "update"]];

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let quick = words.iter().position(|a| a == "--quick").map(|at| words.remove(at)).is_some();
    let mut train = 0;
    if let Some(at) = words.iter().position(|a| a == "--train") {
        train = words.get(at + 1).and_then(|n| n.parse().ok()).unwrap_or_else(|| usage());
        words.drain(at..at + 2);
    }
    if let Some(at) = words.iter().position(|a| a == "--grid") {
        words.remove(at);
        return grid(quick, &words);
    }
    let split = words.iter().position(|a| a == "--split").map(|at| words.remove(at)).is_some();
    let mut screen = Screen::of(Isa::detect());
    if let Some(at) = words.iter().position(|a| a == "--screen") {
        screen = match words.get(at + 1).map(String::as_str) {
            Some("float") => Screen::Float,
            Some("integer") => Screen::Integer,
            _ => usage(),
        };
        words.drain(at..at + 2);
    }
    let (mut n_p, mut n_q, mut k) = if quick { (96, 2000, 64) } else { (768, 16000, 64) };
    let mut batches = if quick { vec![256] } else { vec![1024, 4096] };
    if let Some(numbers) = numbers(&mut words, "--shape") {
        [n_p, n_q, k] = numbers.try_into().unwrap_or_else(|_| usage());
    }
    if let Some(numbers) = numbers(&mut words, "--batch") {
        batches = numbers;
    }
    if k > n_q || words.iter().any(|word| !METHODS.contains(&word.as_str())) {
        usage();
    }
    println!("machine: {}, {} threads", machine(), rayon::current_num_threads());
    let name = Isa::detect().name();
    println!("n_p = n_r = {n_p}, n_q = {n_q}, k = {k}, {train} steps before; {name}, {screen:?} screen; medians of 5");
    let columns = OPERATIONS[usize::from(split)].iter().map(|name| format!("{name:>9}")).collect::<String>();
    println!(
        "{:12} {:>6} {:>9} {:>9} {:>9} {:>7} {columns} {:>11} {:>7}",
        "method", "batch", "f32", "product", "step", "ratio", "samples/s", "L0"
    );
    for batch in batches {
        for name in METHODS {
            if words.is_empty() || words.iter().any(|word| word == name) {
                let shape = Shape { n_p, n_r: n_p, n_q };
                let measured = measure(activation(name, k), (screen, split), shape, batch, train);
                let Measured { float, product, step, operations, l0 } = measured;
                let columns: String = operations.iter().map(|seconds| format!("{:9.1}", seconds * 1e3)).collect();
                let (rate, ratio) = (batch as f64 / step, step / product);
                let times = format!("{:9.1} {:9.1} {:9.1} {ratio:7.2}", float * 1e3, product * 1e3, step * 1e3);
                println!("{name:12} {batch:6} {times} {columns} {rate:11.0} {l0:7.1}");
            }
        }
    }
}

/// Takes an option with the numbers behind it, which are positive and have commas between them.
fn numbers(words: &mut Vec<String>, option: &str) -> Option<Vec<usize>> {
    let at = words.iter().position(|word| word == option)?;
    let list = words.get(at + 1).unwrap_or_else(|| usage());
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| usage());
    let numbers = list.split(',').map(number).collect();
    words.drain(at..at + 2);
    Some(numbers)
}

fn usage() -> ! {
    let names = METHODS.join(", ");
    eprintln!(
        "usage: train_step [--quick] [--shape N_P,N_Q,K] [--batch B,..] [--train STEPS] [--screen float|integer] [--split] [METHOD..], or train_step --grid [--quick] [METHOD..], methods: {names}"
    );
    std::process::exit(2);
}

/// A step at every place of a grid, and how it grows along each of its axes.
fn grid(quick: bool, methods: &[String]) {
    if methods.iter().any(|word| !METHODS.contains(&word.as_str())) {
        usage();
    }
    let (n_p, latents, batches, ks) = match quick {
        true => (96, [500, 1000, 2000], [64, 128, 256], [4, 16, 64]),
        false => (768, [4000, 8000, 16000], [512, 1024, 2048], [16, 64, 256]),
    };
    println!("machine: {}, {} threads", machine(), rayon::current_num_threads());
    println!("n_p = n_r = {n_p}; {}; medians of 5", Isa::detect().name());
    let methods = if methods.is_empty() { vec!["topk"] } else { methods.iter().map(String::as_str).collect() };
    for method in methods {
        println!(
            "{:12} {:>6} {:>6} {:>5} {:>9} {:>9} {:>11}",
            "method", "n_q", "batch", "k", "step ms", "MiB", "samples/s"
        );
        let axes = [latents, batches, ks];
        let mut cells = [[[(0.0, 0.0); 3]; 3]; 3];
        for (n_q, cells) in latents.into_iter().zip(&mut cells) {
            for (rows, cells) in batches.into_iter().zip(cells) {
                for (k, cell) in ks.into_iter().zip(cells) {
                    let (seconds, bytes) = growth(activation(method, k), Shape { n_p, n_r: n_p, n_q }, rows);
                    let (milliseconds, mebibytes, rate) =
                        (seconds * 1e3, bytes / 1024.0 / 1024.0, rows as f64 / seconds);
                    println!("{method:12} {n_q:6} {rows:6} {k:5} {milliseconds:9.1} {mebibytes:9.1} {rate:11.0}");
                    *cell = (seconds, bytes);
                }
            }
        }
        for (axis, name) in ["n_q", "batch", "k"].into_iter().enumerate() {
            let doublings = 9.0 * (axes[axis][2] as f64 / axes[axis][0] as f64).log2();
            let place = |at: usize, other: usize, third: usize| match axis {
                0 => cells[at][other][third],
                1 => cells[other][at][third],
                _ => cells[other][third][at],
            };
            let ratio = |of: fn((f64, f64)) -> f64| {
                let lines =
                    (0..9).map(|line| (of(place(2, line / 3, line % 3)) / of(place(0, line / 3, line % 3))).ln());
                (lines.sum::<f64>() / doublings).exp()
            };
            println!(
                "twice the {name}: {:.2} times as long, {:.2} times the memory",
                ratio(|cell| cell.0),
                ratio(|cell| cell.1)
            );
        }
    }
}

/// The median time of a step, and the bytes that the process holds for it.
fn growth(activation: Activation, shape: Shape, rows: usize) -> (f64, f64) {
    let data: Vec<Vec<f32>> = (0..2).map(|seed| samples(shape.n_p, rows, seed)).collect();
    let before = resident();
    let objective = Objective { l1: if activation.is_sparse() { 0.0 } else { 0.05 }, ..Objective::default() };
    let cpu = Cpu::new(Spec { objective, ..Spec::plain(shape, rows) });
    let mut params = cpu.params(&Init::default().model(shape, activation, 0));
    let mut opt = cpu.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
    let mut steps = Vec::new();
    for round in 0..7 {
        cpu.load(Rows { inputs: &data[round % data.len()], targets: &[], weights: None }, &mut batch);
        let start = Instant::now();
        cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        cpu.decode_residual(&params, &batch, &mut codes);
        cpu.backward_and_step(&mut params, &mut opt, &batch, &mut codes, &mut grads);
        steps.push(start.elapsed().as_secs_f64());
    }
    (median(steps.split_off(2)), resident() - before)
}

/// Bytes of this process in memory; NaN where the system does not tell.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().map_or(f64::NAN, |kilobytes: f64| 1024.0 * kilobytes)
}

struct Measured {
    float: f64,
    product: f64,
    step: f64,
    operations: Vec<f64>,
    l0: f64,
}

fn measure(
    activation: Activation,
    (screen, split): (Screen, bool),
    shape: Shape,
    rows: usize,
    train: usize,
) -> Measured {
    let objective = Objective { l1: if activation.is_sparse() { 0.0 } else { 0.05 }, ..Objective::default() };
    let cpu = Cpu::with(Spec { objective, ..Spec::plain(shape, rows) }, Isa::detect(), screen);
    let model = Init::default().model(shape, activation, 0);
    let data: Vec<Vec<f32>> = (0..4).map(|seed| samples(shape.n_p, rows, seed)).collect();
    let mut params = cpu.params(&model);
    let mut opt = cpu.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
    let weights = model.tensors.get(Parameter::Encoder).unwrap_or_default();
    let mut out = vec![0.0_f32; rows * shape.n_q];
    let (mut floats, mut products, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut operations = vec![Vec::new(); OPERATIONS[usize::from(split)].len()];
    let mut l0 = 0.0;
    // The first two rounds warm caches, pages and threads and are not counted.
    for round in 0..train + 7 {
        let x = &data[round % data.len()];
        if round >= train {
            let start = Instant::now();
            product(x, weights, &mut out, rows, shape);
            floats.push(start.elapsed().as_secs_f64());
        }
        cpu.load(Rows { inputs: x, targets: &[], weights: None }, &mut batch);
        if round >= train && screen == Screen::Integer && activation.is_sparse() {
            let start = Instant::now();
            cpu.screen_only(&params, &batch, &mut codes);
            products.push(start.elapsed().as_secs_f64());
        }
        let start = Instant::now();
        let mut last = start;
        let mut lap = |phase: usize| {
            operations[phase].push(last.elapsed().as_secs_f64());
            last = Instant::now();
        };
        cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        lap(0);
        cpu.decode_residual(&params, &batch, &mut codes);
        lap(1);
        if split {
            cpu.backward(&params, &batch, &mut codes, &mut grads);
            lap(2);
            cpu.step(&mut params, &mut opt, &codes, &mut grads);
            lap(3);
        } else {
            cpu.backward_and_step(&mut params, &mut opt, &batch, &mut codes, &mut grads);
            lap(2);
        }
        steps.push(start.elapsed().as_secs_f64());
        l0 = cpu.observe(&params, &codes, &grads).l0;
    }
    std::hint::black_box(out[0]);
    let tail = |times: Vec<f64>| median(times[times.len() - 5..].to_vec());
    let products = if products.is_empty() { floats.clone() } else { products };
    let float = tail(floats);
    Measured {
        float,
        product: tail(products),
        step: tail(steps),
        operations: operations.into_iter().map(tail).collect(),
        l0,
    }
}

/// X W_Eᵀ with all threads.
fn product(x: &[f32], weights: &[f32], out: &mut [f32], rows: usize, shape: Shape) {
    let (n_p, n_q) = (shape.n_p as isize, shape.n_q as isize);
    assert!(x.len() == rows * shape.n_p && weights.len() == shape.n_q * shape.n_p && out.len() == rows * shape.n_q);
    #[allow(unsafe_code)]
    // SAFETY: the three matrices are as long as just asserted, and the result overlaps no operand.
    unsafe {
        let (out, x, weights) = (out.as_mut_ptr(), x.as_ptr(), weights.as_ptr());
        let parallelism = gemm::Parallelism::Rayon(0);
        #[rustfmt::skip]
        gemm::gemm(rows, shape.n_q, shape.n_p, out, 1, n_q, false, x, 1, n_p, weights, n_p, 1, 0.0, 1.0, false, false, false, parallelism);
    }
}

/// Sums of 1 % of 1000 random directions with magnitudes 1 + Exp(1).
fn samples(n: usize, rows: usize, seed: u64) -> Vec<f32> {
    let features = random_unit(n, 1000, &mut stream(0, "train_step features"));
    let mut rng = stream(seed, "train_step samples");
    let mut x = vec![0.0; rows * n];
    for row in x.chunks_mut(n) {
        for d in 0..1000 {
            if rng.random::<f32>() < 0.01 {
                let magnitude: f32 = Exp1.sample(&mut rng);
                let direction = features.col(d).iter();
                row.iter_mut().zip(direction).for_each(|(x, w)| *x += (1.0 + magnitude) * *w as f32);
            }
        }
    }
    x
}
