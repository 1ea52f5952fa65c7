//! Times of exact decisions with certificate, by block size: `cargo bench --bench partial_optimum [-- --quick]`.
//!
//! Random features with f64 coordinates, masses in [1/4, 4], one block of all n = n_p = n_r features. Both answers occur.

use rand::RngExt;
use sdlab::bench::features::{random_unit, stream};
use sdlab::exact::Rational;
use sdlab::exact::rational::from_f64;
use sdlab::theory::partial_optimum::decide;
use sdlab::theory::pattern::Pattern;
use sdlab::theory::problem::{Activation, Feature, Problem};
use std::time::Instant;

fn main() {
    let quick = std::env::args().any(|a| a == "--quick");
    println!("features   instances   median ms   worst ms   none   certificate kB");
    for (m, instances) in [(3, 100), (8, 20), (12, 8)] {
        let instances = if quick { 2 } else { instances };
        let mut times = Vec::new();
        let (mut none, mut bytes) = (0, 0);
        for seed in 0..instances {
            let mut rng = stream(seed, "partial optimum bench");
            let columns = random_unit(m, m, &mut rng);
            let features = (0..m)
                .map(|d| {
                    let p: Vec<Rational> = (0..m).map(|k| from_f64(columns[(k, d)]).expect("finite")).collect();
                    let mass = from_f64(2f64.powf(rng.random_range(-2.0..2.0))).expect("finite");
                    Feature { w_r: p.clone(), w_p: p, mass }
                })
                .collect();
            let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("valid");
            let pattern = Pattern::new(vec![(0..m).collect()], m).expect("in range");
            let start = Instant::now();
            let decision = decide(&problem, &pattern).expect("threshold");
            times.push(start.elapsed().as_secs_f64() * 1e3);
            none += usize::from(decision.exists == Some(false));
            let certificate = decision.certificate.expect("decided");
            bytes += certificate.to_json().len();
            sdlab_verify::check(&certificate).expect("accepted");
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{m:>8}   {instances:>9}   {:>9.2}   {:>8.2}   {none:>4}   {:>14.1}",
            times[times.len() / 2],
            times[times.len() - 1],
            bytes as f64 / instances as f64 / 1e3
        );
    }
}
