//! Global optimization: `cargo bench --bench global [-- --quick]`.
//!
//! * The exact optimum of a block of a partition cell, by block size: the bar is 50 µs a block up to 8 features.
//! * GOP against that closed form on 200 seeded blocks, half of 3 and half of 4 features: the bar is 1e-6 relative.
//! * Branch-and-bound over patterns at n = 4, n_q = 3: the bar is a gap of 1e-6 with at most half of the instances closed at the root,
//!   every bound replayed.

mod common;

use common::median;
use sdlab::exact::Rational;
use sdlab::optim::global::gop::{self, Reason};
use sdlab::optim::global::partition::Partition;
use sdlab::optim::global::patterns;
use sdlab::theory::families::{Family, Parameters};
use sdlab::theory::loss::ApproximateLoss;
use sdlab::theory::problem::Problem;
use std::time::Instant;

fn problem(family: Family, n: usize, n_p: usize, n_r: usize, seed: u64) -> Problem {
    let parameters = Parameters { n, n_p, n_r: Some(n_r), c: Rational::ZERO };
    family.generate(&parameters, seed).expect("the family has this size")
}

fn blocks(quick: bool) {
    let (n, count) = (32, if quick { 20 } else { 400 });
    println!("{}, one thread", common::machine());
    println!("block size   blocks   median µs   worst µs   eigenvector   copositive   enumeration");
    for size in [2, 3, 4, 6, 8] {
        let (mut times, mut proofs) = (Vec::new(), [0; 3]);
        for seed in 0..count as u64 / 4 {
            let problem = problem(Family::SpreadMasses { decades: 1 }, n, n, n, seed);
            let loss = ApproximateLoss::from_problem(&problem).expect("a threshold problem");
            let partition = Partition::new(&loss).expect("independent features");
            for at in 0..4 {
                let features: Vec<usize> = (0..size).map(|k| (at * 8 + k) % n).collect();
                let start = Instant::now();
                let optimum = partition.block(&features).expect("independent features");
                times.push(start.elapsed().as_secs_f64() * 1e6);
                proofs[optimum.proof as usize] += 1;
            }
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        let [eigenvector, copositive, enumeration] = proofs;
        println!(
            "{size:>10}   {:>6}   {:>9.2}   {worst:>8.1}   {eigenvector:>11}   {copositive:>10}   {enumeration:>11}",
            times.len(),
            median(times.clone())
        );
    }
}

fn decomposition(quick: bool) {
    let count = if quick { 3 } else { 100 };
    println!("\nfeatures   instances   converged   largest difference   median simplices   median ms   worst ms");
    for size in [3, 4] {
        let (mut times, mut simplices, mut converged, mut largest) = (Vec::new(), Vec::new(), 0, 0.0f64);
        for seed in 0..count {
            let problem = problem(Family::SpreadMasses { decades: 1 }, size, size, size, seed);
            let loss = ApproximateLoss::from_problem(&problem).expect("a threshold problem");
            let features: Vec<usize> = (0..size).collect();
            let partition = Partition::new(&loss).expect("independent features");
            let exact = partition.block(&features).expect("independent features").loss;
            let start = Instant::now();
            let bounds = gop::solve(&loss, &features, gop::Options::default()).expect("a block");
            times.push(start.elapsed().as_secs_f64() * 1e3);
            simplices.push(bounds.simplices as f64);
            converged += usize::from(bounds.reason == Reason::Converged);
            largest = largest.max((bounds.upper - exact).abs().max((bounds.lower - exact).abs()) / exact);
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        println!(
            "{size:>8}   {count:>9}   {converged:>9}   {largest:>18.1e}   {:>16}   {:>9.1}   {worst:>8.1}",
            median(simplices),
            median(times)
        );
    }
}

fn branch_and_bound(quick: bool) {
    let count = if quick { 1 } else { 10 };
    println!("\nn_p   instances   gap <= 1e-6   at the root   median nodes   largest kB   median s   worst s");
    for n_p in [2, 3, 4] {
        let (mut times, mut nodes, mut within, mut root, mut bytes) = (Vec::new(), Vec::new(), 0, 0, 0);
        for seed in 0..count {
            let problem = problem(Family::RandomUnit, 4, n_p, 4, seed);
            let start = Instant::now();
            let found = patterns::solve(&problem, 3, patterns::Options::default()).expect("a small problem");
            times.push(start.elapsed().as_secs_f64());
            for certificate in [&found.upper_certificate, &found.lower_certificate] {
                sdlab_verify::check(certificate).expect("accepted");
            }
            nodes.push(found.nodes as f64);
            within += usize::from(found.gap <= 1e-6);
            root += usize::from(found.at_root());
            bytes = bytes.max(found.lower_certificate.to_json().len());
        }
        let worst = times.iter().copied().fold(0.0, f64::max);
        println!(
            "{n_p:>3}   {count:>9}   {within:>11}   {root:>11}   {:>12}   {:>10.1}   {:>8.2}   {worst:>7.2}",
            median(nodes),
            bytes as f64 / 1e3,
            median(times)
        );
    }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    blocks(quick);
    decomposition(quick);
    branch_and_bound(quick);
}
