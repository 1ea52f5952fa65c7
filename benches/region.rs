//! How long it takes to decide a pattern of one row with its certificate: n = 60 features of 53 bits in ℝ^12.
//!
//! `cargo bench --bench region`, with `-- --quick` for fewer seeds. The bar is 100 ms in a release build.

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha20Rng;
use sdlab::exact::Rational;
use sdlab::exact::rational::from_f64;
use sdlab::theory::pattern::Pattern;
use sdlab::theory::problem::{Activation, Feature, Problem};
use sdlab::theory::region::{Realizability, decide};
use std::time::{Duration, Instant};

const N: usize = 60;
const N_P: usize = 12;
const BAR: Duration = Duration::from_millis(100);

/// Features uniform in a cube, as dyadic numbers of 53 bits, and a pattern of one neuron.
fn instance(seed: u64, feasible: bool, c: f64) -> (Problem, Pattern) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut uniform = || rng.random::<f64>() - 0.5;
    let row: Vec<f64> = (0..N_P).map(|_| uniform()).collect();
    let columns: Vec<Vec<f64>> = (0..N).map(|_| (0..N_P).map(|_| uniform()).collect()).collect();
    let exact = |x: &f64| from_f64(*x).expect("uniform numbers are finite");
    let feature = |p: &Vec<f64>| {
        let w_p: Vec<Rational> = p.iter().map(exact).collect();
        Feature { w_r: w_p.clone(), w_p, mass: Rational::ONE }
    };
    let problem = Problem::new(columns.iter().map(feature).collect(), Activation::Threshold(exact(&c)));
    let fires = |p: &Vec<f64>| p.iter().zip(&row).map(|(x, w)| x * w).sum::<f64>() > c;
    // A random set of 60 features is realizable with probability 6e-7 at c = 0, 2e-6 above (Cover).
    let set = (0..N).filter(|&d| if feasible { fires(&columns[d]) } else { rng.random() }).collect();
    (problem.expect("a valid problem"), Pattern::new(vec![set], N).expect("a valid pattern"))
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let seeds = if quick { 3 } else { 20 };
    let mut slowest = Duration::ZERO;
    println!("n = {N}, n_p = {N_P}, {seeds} seeds; decision and certificate text");
    println!("{:<12} {:>5} {:>12} {:>12} {:>16}", "instance", "c", "median", "worst", "certificate");
    for (name, feasible) in [("realizable", true), ("empty", false)] {
        for c in [0.0, 0.125] {
            let mut times = Vec::new();
            let mut length = 0;
            for seed in 0..seeds {
                let (problem, pattern) = instance(seed, feasible, c);
                let start = Instant::now();
                let decision = decide(&problem, &pattern).expect("the pattern belongs to the problem");
                let text = decision.certificate(&problem, &pattern).to_json();
                times.push(start.elapsed());
                assert_eq!(matches!(decision, Realizability::Realizable { .. }), feasible, "seed {seed}");
                length = length.max(text.len());
            }
            times.sort_unstable();
            let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
            println!("{name:<12} {c:>5} {median:>12.2?} {worst:>12.2?} {length:>10} bytes");
            slowest = slowest.max(worst);
        }
    }
    println!("{}: the bar is {BAR:?}", if slowest <= BAR { "within" } else { "MISSED" });
}
