//! What L̃ and both gradients cost beside the matrix products they need.
//!
//! ```text
//!     cargo bench --bench loss -- [--quick] [n n_p n_r n_q [repetitions]]
//! ```
//!
//! Each repetition times the five bare products (W P, V Z, E D Zᵀ, Vᵀ E D, [B∘·] Pᵀ, into matrices that exist already) and then the
//! whole of `value_and_gradients_into` at a random point, in one process and with the same threads; the ratio of the two medians is
//! printed with the machine. The products need n·n_q·(4 n_p + 6 n_r) operations: the table at the end shows that the whole grows like
//! them, linearly in n and in n_q.

// Single-letter matrices are the paper's own names.
#![allow(non_snake_case)]

mod common;

use common::{machine, median};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use sdlab::bench::features::{random_unit, stream};
use sdlab::theory::loss::gradients::Workspace;
use sdlab::theory::loss::{ApproximateLoss, Weights};
use std::time::Instant;

#[derive(Debug, Clone, Copy)]
struct Sizes {
    n: usize,
    n_p: usize,
    n_r: usize,
    n_q: usize,
}

impl Sizes {
    fn operations(&self) -> f64 {
        let Self { n, n_p, n_r, n_q } = *self;
        (n * n_q) as f64 * (4.0 * n_p as f64 + 6.0 * n_r as f64)
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let quick = words.iter().any(|a| a == "--quick");
    let numbers: Option<Vec<usize>> = words.iter().filter(|a| *a != "--quick").map(|a| a.parse().ok()).collect();
    let defaults = if quick { vec![250, 96, 96, 1000, 5] } else { vec![1000, 768, 768, 16000, 5] };
    let chosen = match numbers {
        Some(given) if given.is_empty() => defaults,
        Some(mut given) if (given.len() == 4 || given.len() == 5) && !given.contains(&0) => {
            given.resize(5, 5);
            given
        }
        _ => {
            eprintln!("usage: loss [--quick] [n n_p n_r n_q [repetitions]], positive integers");
            std::process::exit(2);
        }
    };
    let (sizes, repetitions) = (Sizes { n: chosen[0], n_p: chosen[1], n_r: chosen[2], n_q: chosen[3] }, chosen[4]);

    println!("machine: {}, {} threads", machine(), rayon::current_num_threads());
    println!("{sizes:?}, f64, median of {repetitions}");
    let (products, whole) = measure(sizes, repetitions);
    let rate = |seconds: f64| sizes.operations() / seconds / 1e9;
    println!("five bare products      {:9.1} ms  {:6.1} GFLOP/s", products * 1e3, rate(products));
    println!("value and gradients     {:9.1} ms  {:6.1} GFLOP/s", whole * 1e3, rate(whole));
    println!("ratio                   {:9.3}", whole / products);

    println!("growth (whole):");
    for smaller in [Sizes { n: sizes.n.div_ceil(2), ..sizes }, Sizes { n_q: sizes.n_q.div_ceil(2), ..sizes }] {
        let (_, time) = measure(smaller, repetitions.min(3));
        let (n, n_q) = (smaller.n, smaller.n_q);
        println!("  n {n:6}  n_q {n_q:6}  {:9.1} ms, {:.2} of the whole above", time * 1e3, time / whole);
    }
}

/// Median seconds of the five products and of the whole.
fn measure(sizes: Sizes, repetitions: usize) -> (f64, f64) {
    let Sizes { n, n_p, n_r, n_q } = sizes;
    let par = Par::rayon(0);
    let mut rng = stream(1, "loss bench");
    let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(n_r, n, &mut rng));
    let weights =
        Weights { V: random_unit(n_r, n_q, &mut rng), W: random_unit(n_p, n_q, &mut rng).transpose().to_owned() };
    let loss = ApproximateLoss::new(P.clone(), R, vec![1.0; n], 0.0).expect("the sizes fit each other").with_par(par);
    let (mut Z, mut flow) = (Mat::<f64>::zeros(n_q, n), Mat::<f64>::zeros(n_q, n));
    let mut E = Mat::<f64>::zeros(n_r, n);
    let mut gradients = Weights::zeros(&loss, n_q);
    let mut work = Workspace::default();
    let (mut products, mut wholes) = (Vec::new(), Vec::new());
    // The first round warms caches, pages and threads and is not counted.
    for round in 0..=repetitions {
        let start = Instant::now();
        matmul(&mut Z, Accum::Replace, &weights.W, &P, 1.0, par);
        matmul(&mut E, Accum::Replace, &weights.V, &Z, 1.0, par);
        matmul(&mut gradients.V, Accum::Replace, &E, Z.transpose(), 1.0, par);
        matmul(&mut flow, Accum::Replace, weights.V.transpose(), &E, 1.0, par);
        matmul(&mut gradients.W, Accum::Replace, &flow, P.transpose(), 1.0, par);
        let bare = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let value =
            loss.value_and_gradients_into(&weights, &mut gradients, &mut work).expect("the sizes fit each other");
        let whole = start.elapsed().as_secs_f64();
        std::hint::black_box(value);
        if round > 0 {
            products.push(bare);
            wholes.push(whole);
        }
    }
    (median(products), median(wholes))
}
