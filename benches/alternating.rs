//! Alternating convex search: `cargo bench --bench alternating [-- --quick]`.
//!
//! * From seeded polysemantic partition starts at n = 200, n_p = 160 and 100, n_q = 200, with λ₂/λ₁ ≤ 0.9 in every block: the bar is a pair of residuals of
//!   1e-10 of the loss within 10 s. Overlapping patterns with n_q = 30 likewise, from random starts, and by the interior-point search of the same cells.
//! * `--write FILE` writes instances and starts for other solvers, `--against FILE` reads what they reached and compares; see
//!   `benches/peers/biconvex.py`.

#![allow(non_snake_case)]

mod common;

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SupportedConeT};
use faer::{Mat, MatRef, Par};
use rand::seq::SliceRandom;
use sdlab::bench::features::{random_unit, stream};
use sdlab::optim::acs::{AlternatingSearch, Variant};
use sdlab::optim::global::partition::Partition;
use sdlab::optim::interior::InteriorPoint;
use sdlab::optim::restarts::race;
use sdlab::optim::{Biconvex, Budget, Optimizer, Trace, run, start};
use sdlab::theory::loss::{ApproximateLoss, Weights};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// Relative residuals at which a search ends.
const TOLERANCE: f64 = 1e-10;
/// Starts of the overlapping instances.
const STARTS: u64 = 400;
/// Sweeps of a search on a small instance, at most.
const SWEEPS: u64 = 100_000;
/// Seconds of a search, at most.
const SECONDS: f64 = 10.0;
/// Partners that are tried for a feature.
const PARTNERS: usize = 10;

/// Masses from 1/2 to 2.
fn masses(n: usize) -> Vec<f64> {
    (0..n).map(|d| 0.5 + 1.5 * ((d * 7 + 3) % 11) as f64 / 10.0).collect()
}

/// An autoencoder with random unit features.
fn autoencoder(n: usize, n_p: usize, seed: u64) -> ApproximateLoss {
    let P = random_unit(n_p, n, &mut stream(seed, "instance of a bench"));
    ApproximateLoss::new(P.clone(), P, masses(n), 0.0).expect("finite numbers").with_par(Par::Seq)
}

/// The shortest row with codes of at least 1 on the features of a block and of at most −1/50 elsewhere: the hyperplane of largest margin, by an
/// interior-point method; `None` if the block is no firing set.
fn row_of(loss: &ApproximateLoss, block: &[usize]) -> Option<Vec<f64>> {
    let (P, n_p, n) = (loss.P(), loss.n_p(), loss.n());
    let inside = |d: usize| block.contains(&d);
    let entries = (0..n_p).flat_map(|k| (0..n).map(move |d| if inside(d) { -P[(k, d)] } else { P[(k, d)] })).collect();
    let starts = (0..=n_p).map(|k| k * n).collect();
    let rows = (0..n_p).flat_map(|_| 0..n).collect();
    let margins = CscMatrix::new(n, n_p, starts, rows, entries);
    let bounds: Vec<f64> = (0..n).map(|d| if inside(d) { -1.0 } else { -0.02 }).collect();
    let settings = DefaultSettings { verbose: false, ..Default::default() };
    let cones = [SupportedConeT::NonnegativeConeT(n)];
    let identity = CscMatrix::identity(n_p);
    let mut solver = DefaultSolver::new(&identity, &vec![0.0; n_p], &margins, &bounds, &cones, settings).ok()?;
    solver.solve();
    let row = solver.solution.x;
    // Its inequalities hold up to the solver's accuracy; the margins are far above it.
    let code = |d: usize| -> f64 { row.iter().enumerate().map(|(k, w)| w * P[(k, d)]).sum() };
    (0..n).all(|d| if inside(d) { code(d) > 0.5 } else { code(d) < -0.01 }).then_some(row)
}

/// λ₂/λ₁ of the matrix (√(M_d M_e) ⟨r_d, r_e⟩) of a block, by which a sweep contracts the angle to the top eigenvector.
fn contraction(loss: &ApproximateLoss, block: &[usize]) -> f64 {
    let entry = |a: usize, b: usize| {
        let (d, e) = (block[a], block[b]);
        let product: f64 = (0..loss.n_r()).map(|k| loss.R()[(k, d)] * loss.R()[(k, e)]).sum();
        (loss.masses()[d] * loss.masses()[e]).sqrt() * product
    };
    let gram = Mat::from_fn(block.len(), block.len(), entry);
    let values = gram.self_adjoint_eigenvalues(faer::Side::Lower).expect("a symmetric matrix");
    values[values.len() - 2] / values[values.len() - 1]
}

/// Blocks of two and three features that a row can fire on alone, until no feature is left or none fits; the other neurons are dead.
fn partition_start(loss: &ApproximateLoss, n_q: usize, seed: u64) -> (Weights, f64) {
    let mut at = Weights { V: Mat::zeros(loss.n_r(), n_q), W: Mat::zeros(n_q, loss.n_p()) };
    let mut left: Vec<usize> = (0..loss.n()).collect();
    left.shuffle(&mut stream(seed, "order of a bench"));
    let (mut neuron, mut slowest) = (0, 0.0_f64);
    while let Some(first) = left.pop() {
        let want = 1 + neuron % 2;
        let found = (0..left.len().min(PARTNERS)).find_map(|from| {
            let mut block: Vec<usize> = left[from..].iter().copied().take(want).chain([first]).collect();
            block.sort_unstable();
            let ratio = contraction(loss, &block);
            if block.len() < 2 || ratio > 0.9 { None } else { row_of(loss, &block).map(|row| (block, row, ratio)) }
        });
        let Some((block, row, ratio)) = found else { continue };
        left.retain(|d| !block.contains(d));
        slowest = slowest.max(ratio);
        (0..loss.n_p()).for_each(|k| at.W[(neuron, k)] = row[k]);
        neuron += 1;
    }
    (at, slowest)
}

/// Runs a search to its end, or until [`SECONDS`] are over, and measures both residuals where it is then.
fn report(name: &str, loss: &ApproximateLoss, at: &Weights, search: &mut dyn Optimizer) {
    let cell = Biconvex::cell(loss, at.W.as_ref()).expect("a start of this problem");
    let clock = Instant::now();
    let mut state = search.init(loss, at).expect("a start of this problem");
    while search.terminate(loss, &state).is_none() && clock.elapsed().as_secs_f64() < SECONDS {
        search.step(loss, &mut state).expect("a start of this problem");
    }
    let seconds = clock.elapsed().as_secs_f64();
    let r_v = loss.v_step(&cell, &state.at, 0.0).expect("a point of this problem").decrease;
    let r_w = loss.w_step(&cell, &state.at, 0.0).expect("a point of this problem").decrease;
    println!(
        "{name:<36}   {:>12}   {:>4}   {:>6}   {:>12.6}   {:>8.1e}   {seconds:>9.3}",
        cell.polysemantic(),
        cell.dead(),
        state.steps,
        state.loss,
        r_v.max(r_w) / state.loss,
    );
}

fn large(quick: bool) {
    println!("{}, one thread; searches stop after {SECONDS} s", common::machine());
    println!("{:<36}   polysemantic   dead    steps           loss   residual     seconds", "start");
    // With n = 2 n_p half of all sets are the firing set of a row (Cover 1965).
    let (n, n_q) = if quick { (40, 40) } else { (200, 200) };
    for n_p in [n * 4 / 5, n / 2] {
        for seed in 0..if quick { 1 } else { 3 } {
            let loss = autoencoder(n, n_p, seed);
            let (at, slowest) = partition_start(&loss, n_q, seed);
            let mut acs = AlternatingSearch::new(&loss, Variant::Cell, TOLERANCE);
            report(&format!("partition, n_p = {n_p}, λ₂/λ₁ ≤ {slowest:.2}"), &loss, &at, &mut acs);
        }
    }
    let n_q = if quick { 8 } else { 30 };
    // Independent features, and dependent ones.
    for n_p in [n, n / 2] {
        for seed in 0..if quick { 1 } else { 4 } {
            let loss = autoencoder(n, n_p, seed);
            let at = start::random(&loss, n_q, seed);
            for (name, variant) in [("", Variant::Cell), (", accelerated", Variant::Accelerated)] {
                let mut acs = AlternatingSearch::new(&loss, variant, TOLERANCE);
                report(&format!("overlapping, n_p = {n_p}{name}"), &loss, &at, &mut acs);
            }
            let mut interior = InteriorPoint::new(&loss, TOLERANCE);
            report(&format!("overlapping, n_p = {n_p}, interior point"), &loss, &at, &mut interior);
        }
    }
}

/// An instance with a start, as other solvers read it.
#[derive(Debug, Serialize, Deserialize)]
struct Instance {
    name: String,
    features: Vec<Vec<f64>>,
    masses: Vec<f64>,
    cell: Vec<Vec<usize>>,
    decoder: Vec<Vec<f64>>,
    encoder: Vec<Vec<f64>>,
    starts: u64,
}

/// What another solver reached.
#[derive(Debug, Deserialize)]
struct Reached {
    name: String,
    solver: String,
    loss: f64,
    seconds: f64,
    /// The best of many starts of a plain search, and the seconds that they took.
    best: Option<(f64, f64)>,
}

fn rows(M: MatRef<'_, f64>) -> Vec<Vec<f64>> {
    (0..M.nrows()).map(|i| (0..M.ncols()).map(|k| M[(i, k)]).collect()).collect()
}

/// The sizes of the table in the module's script, and 20 more: (n, n_q, partition).
fn sizes() -> Vec<(usize, usize, bool)> {
    let named = [(4, 2, true), (32, 8, true), (32, 16, true), (16, 8, false), (32, 16, false)];
    let more = (0..20).map(|k| [(6, 3, true), (12, 4, true), (8, 4, false), (12, 6, false)][k % 4]);
    named.into_iter().chain(more).collect()
}

fn instances() -> Vec<(Instance, ApproximateLoss, Weights)> {
    let mut all = Vec::new();
    for (k, (n, n_q, partition)) in sizes().into_iter().enumerate() {
        let loss = autoencoder(n, n, 1000 + k as u64);
        let at = if partition {
            // Blocks of consecutive features; independent features can be fired on in any way.
            let inverse = loss.left_inverse().expect("independent features").to_owned();
            let own = |i: usize, d: usize| d * n_q / n == i;
            let codes = Mat::from_fn(n_q, n, |i, d| if own(i, d) { 1.0 } else { -0.1 });
            let W = &codes * &inverse;
            Weights { V: W.transpose().to_owned(), W }
        } else {
            start::random(&loss, n_q, k as u64)
        };
        let cell = Biconvex::cell(&loss, at.W.as_ref()).expect("a start");
        let kind = if partition { "partition" } else { "overlapping" };
        let instance = Instance {
            name: format!("{kind}-{n}-{n_q}-{k}"),
            features: rows(loss.P().transpose()),
            masses: loss.masses().to_vec(),
            cell: cell.on,
            decoder: rows(at.V.as_ref()),
            encoder: rows(at.W.as_ref()),
            starts: if k == 3 || k == 4 { STARTS } else { 0 },
        };
        all.push((instance, loss, at));
    }
    all
}

fn write(file: &str) {
    let lines: Vec<String> =
        instances().iter().map(|(instance, _, _)| serde_json::to_string(instance).expect("plain data")).collect();
    std::fs::write(file, lines.join("\n") + "\n").expect("a writable file");
}

fn against(file: &str) {
    let text = std::fs::read_to_string(file).expect("the file that benches/peers/biconvex.py writes");
    let reached: Vec<Reached> = text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    println!("{}, one thread", common::machine());
    println!(
        "{:<22}   {:>9}   {:>12}   {:>9}   {:>12}   {:>9}   {:>8}   {:>7}",
        "instance", "solver", "its loss", "its ms", "our loss", "to its ms", "ours ms", "times"
    );
    let (mut slower, mut worse) = (0, 0);
    for (instance, loss, at) in instances() {
        let Some(theirs) = reached.iter().find(|r| r.name == instance.name) else { continue };
        // Where neurons share features, plain search is slow in the end.
        let variant = if instance.name.starts_with("partition") { Variant::Cell } else { Variant::Accelerated };
        let mut to_theirs = Vec::new();
        let mut whole = Vec::new();
        let mut end = f64::INFINITY;
        for _ in 0..5 {
            let mut trace = Trace::default();
            let mut acs = AlternatingSearch::new(&loss, variant, TOLERANCE);
            let budget = Budget { steps: SWEEPS, gradients: f64::INFINITY };
            let outcome = run(&loss, &mut acs, &at, budget, &mut trace).expect("a start");
            // Solvers state their loss to some digits.
            let there = trace.points.iter().find(|point| point.3 <= theirs.loss * (1.0 + 1e-9));
            to_theirs.push(there.map_or(f64::INFINITY, |point| point.2));
            whole.push(outcome.seconds);
            end = outcome.state.loss;
        }
        let (first, all) = (common::median(to_theirs), common::median(whole));
        let times = theirs.seconds / first;
        slower += usize::from(times < 300.0);
        worse += usize::from(end > theirs.loss * (1.0 + 1e-9));
        println!(
            "{:<22}   {:>9}   {:>12.8}   {:>9.1}   {end:>12.8}   {:>9.3}   {:>8.3}   {times:>7.0}",
            instance.name,
            theirs.solver,
            theirs.loss,
            theirs.seconds * 1e3,
            first * 1e3,
            all * 1e3
        );
        if let Some((best, seconds)) = theirs.best {
            let clock = Instant::now();
            let n_q = at.n_q();
            let ours = race(&loss, n_q, STARTS, (TOLERANCE, SWEEPS), 10_000).expect("random starts").loss;
            let mine = clock.elapsed().as_secs_f64();
            println!(
                "  best of {STARTS} starts: theirs (numpy) {best:.8} in {seconds:.1} s, ours {ours:.8} in {mine:.2} s, {:.0} times",
                seconds / mine
            );
        }
        if instance.name.starts_with("partition") {
            let exact = Partition::new(&loss).expect("independent features").optimum(&instance.cell);
            let exact = exact.map_or(f64::NAN, |exact| exact.loss);
            println!("  exact optimum of the cell {exact:.10}: ours is {:.1e} of it above", (end - exact) / exact);
        }
    }
    println!("{slower} instances under 300 times, {worse} where the other one ends lower");
}

fn main() {
    // Everything is small: threads would only wait for each other.
    faer::set_global_parallelism(Par::Seq);
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|k| arguments.get(k + 1));
    if let Some(file) = value("--write") {
        write(file);
    } else if let Some(file) = value("--against") {
        against(file);
    } else {
        large(arguments.iter().any(|a| a == "--quick"));
    }
}
