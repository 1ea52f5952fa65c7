//! The block steps against independent solvers, and every optimizer on problems whose optima are known.

use super::acs::{AlternatingSearch, Variant};
use super::adam::Adam;
use super::anchored::Anchored;
use super::end_point::{Class, classify};
use super::gradient_descent::{GradientDescent, Perturbation, StepRule};
use super::nesterov::Nesterov;
use super::quasi_newton::{Kind, QuasiNewton};
use super::restarts::Restarts;
use super::*;
use crate::bench::features::{random_unit, stream};
use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};
use faer::Par;
use faer::linalg::solvers::DenseSolveCore;

/// Random unit features with targets of their own and masses between ½ and 2.
fn problem(n: usize, n_p: usize, n_r: usize, c: f64, seed: u64) -> ApproximateLoss {
    let mut rng = stream(seed, "problem of a test");
    let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(n_r, n, &mut rng));
    let masses = (0..n).map(|d| 0.5 + 1.5 * ((d * 7 + 3) % 11) as f64 / 10.0).collect();
    ApproximateLoss::new(P, R, masses, c).unwrap().with_par(Par::Seq)
}

/// An autoencoder of the same kind.
fn autoencoder(n: usize, n_p: usize, seed: u64) -> ApproximateLoss {
    let P = random_unit(n_p, n, &mut stream(seed, "problem of a test"));
    let masses = (0..n).map(|d| 0.5 + 1.5 * ((d * 7 + 3) % 11) as f64 / 10.0).collect();
    ApproximateLoss::new(P.clone(), P, masses, 0.0).unwrap().with_par(Par::Seq)
}

/// The least value of the cell's quadratic in W on the closure of the cell, by an interior-point method on the whole encoder.
fn interior_point(problem: &ApproximateLoss, cell: &Cell, V: &Mat<f64>) -> f64 {
    let (n, n_p, q) = (problem.n(), problem.n_p(), V.ncols());
    let size = q * n_p;
    let gram = V.transpose() * V;
    let mut H = Mat::<f64>::zeros(size, size);
    let mut linear = vec![0.0; size];
    for d in 0..n {
        let m = problem.masses()[d];
        let on: Vec<usize> = (0..q).filter(|&i| cell.on[i].contains(&d)).collect();
        for &i in &on {
            let rv: f64 = (0..problem.n_r()).map(|k| problem.R()[(k, d)] * V[(k, i)]).sum();
            for a in 0..n_p {
                linear[i * n_p + a] -= 2.0 * m * rv * problem.P()[(a, d)];
                for &j in &on {
                    for b in 0..n_p {
                        H[(i * n_p + a, j * n_p + b)] +=
                            2.0 * m * gram[(i, j)] * problem.P()[(a, d)] * problem.P()[(b, d)];
                    }
                }
            }
        }
    }
    let mut constraints = Mat::<f64>::zeros(q * n, size);
    let mut bounds = vec![0.0; q * n];
    for i in 0..q {
        for d in 0..n {
            let sign = if cell.on[i].contains(&d) { -1.0 } else { 1.0 };
            bounds[i * n + d] = sign * problem.c();
            (0..n_p).for_each(|a| constraints[(i * n + d, i * n_p + a)] = sign * problem.P()[(a, d)]);
        }
    }
    let sparse = |M: &Mat<f64>, upper: bool| {
        let (mut starts, mut rows, mut values) = (vec![0], Vec::new(), Vec::new());
        for b in 0..M.ncols() {
            for a in 0..M.nrows() {
                if M[(a, b)] != 0.0 && (!upper || a <= b) {
                    rows.push(a);
                    values.push(M[(a, b)]);
                }
            }
            starts.push(rows.len());
        }
        CscMatrix::new(M.nrows(), M.ncols(), starts, rows, values)
    };
    let settings = DefaultSettings { verbose: false, tol_gap_abs: 1e-12, tol_gap_rel: 1e-12, ..Default::default() };
    let cones = [SupportedConeT::NonnegativeConeT(q * n)];
    let mut solver =
        DefaultSolver::new(&sparse(&H, true), &linear, &sparse(&constraints, false), &bounds, &cones, settings)
            .unwrap();
    solver.solve();
    assert!(
        matches!(solver.solution.status, SolverStatus::Solved | SolverStatus::AlmostSolved),
        "{:?}",
        solver.solution.status
    );
    Biconvex::total(problem) + solver.solution.obj_val
}

#[test]
fn the_w_step_is_the_minimum_that_an_interior_point_method_finds() {
    let (mut held, mut overlapping) = (0, 0);
    for seed in 0..60 {
        let c = [0.0, 0.2][seed as usize % 2];
        let (n, n_p, q) = [(6, 4, 3), (5, 5, 2), (9, 3, 3), (4, 6, 4)][seed as usize % 4];
        let problem = problem(n, n_p, 4, c, seed);
        let at = start::random(&problem, q, seed);
        let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
        let step = problem.w_step(&cell, &at, 0.0).unwrap();
        assert!(step.converged, "seed {seed}");
        let least = interior_point(&problem, &cell, &at.V);
        let found = problem.cell_loss(&cell, &Weights { V: at.V.clone(), W: step.W.clone() }).unwrap();
        assert!((found - least).abs() <= 1e-8 * found.max(1.0), "seed {seed}: {found} against {least}");
        let before = problem.cell_loss(&cell, &at).unwrap();
        assert!((before - found - step.decrease).abs() <= 1e-12 * before, "seed {seed}");
        held += usize::from(!step.multipliers.is_empty());
        overlapping += usize::from(!cell.is_disjoint());
        // The row stays in the closure of the cell.
        for (i, on) in cell.on.iter().enumerate() {
            for d in 0..n {
                let z: f64 = (0..n_p).map(|k| step.W[(i, k)] * problem.P()[(k, d)]).sum();
                let out = if on.contains(&d) { c - z } else { z - c };
                assert!(out <= 1e-12, "seed {seed}: neuron {i}, feature {d} by {out}");
            }
        }
    }
    assert!(held >= 20 && overlapping >= 20, "{held} were held back, {overlapping} overlap");
}

#[test]
fn the_v_step_is_the_decoder_of_least_loss_and_norm() {
    for seed in 0..20 {
        let problem = problem(7, 4, 5, 0.0, seed);
        let mut at = start::random(&problem, 5, seed);
        // Two neurons with proportional codes, so that the decoder is not unique.
        (0..4).for_each(|k| at.W[(1, k)] = 2.0 * at.W[(0, k)]);
        let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
        let step = problem.v_step(&cell, &at, 0.0).unwrap();
        let expected = problem.decoder_step(at.W.as_ref()).unwrap().V;
        assert!((&step.V - &expected).norm_l2() <= 1e-10 * expected.norm_l2().max(1.0), "seed {seed}");
        let after = problem.value(&Weights { V: step.V, W: at.W.clone() }).unwrap();
        assert!((problem.value(&at).unwrap() - after - step.decrease).abs() <= 1e-11, "seed {seed}");
    }
}

#[test]
fn a_proximal_step_is_stationary_for_its_own_problem() {
    let problem = autoencoder(6, 6, 3);
    let at = start::random(&problem, 3, 3);
    let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
    let rho = 0.3;
    let V = problem.v_step(&cell, &at, rho).unwrap().V;
    let moved = Weights { V: V.clone(), W: at.W.clone() };
    let gradient = problem.value_and_gradients(&moved).unwrap().1.V + faer::Scale(2.0 * rho) * (&V - &at.V);
    assert!(gradient.norm_l2() <= 1e-12, "{}", gradient.norm_l2());
}

/// L̃ of the best decoder for a row on a block: Σ M‖r‖² − top eigenvalue, if its vector is positive.
#[test]
fn alternating_search_reaches_the_eigenvalue_of_a_block_at_its_rate() {
    let problem = autoencoder(3, 3, 12);
    let products: Vec<f64> =
        (0..3).flat_map(|d| (0..d).map(move |e| (d, e))).map(|(d, e)| dot_of(&problem, d, e)).collect();
    // All three products can be made positive if their product is.
    assert!(products.iter().product::<f64>() > 0.0, "another seed is needed");
    let P = Mat::from_fn(
        3,
        3,
        |k, d| if dot_of(&problem, 0, d) < 0.0 { -problem.P()[(k, d)] } else { problem.P()[(k, d)] },
    );
    let problem =
        ApproximateLoss::new(P.clone(), P.clone(), problem.masses().to_vec(), 0.0).unwrap().with_par(Par::Seq);
    let root: Vec<f64> = problem.masses().iter().map(|m| m.sqrt()).collect();
    let A = Mat::from_fn(3, 3, |d, e| root[d] * root[e] * dot_of(&problem, d, e));
    let mut values: Vec<f64> = A.self_adjoint_eigenvalues(faer::Side::Lower).unwrap();
    values.sort_by(|a, b| b.total_cmp(a));
    // One neuron that fires on all three: w with Pᵀw = (1, 1, 1).
    let inverse = P.transpose().partial_piv_lu().inverse();
    let W = Mat::from_fn(1, 3, |_, k| (0..3).map(|d| inverse[(k, d)]).sum::<f64>());
    let at = Weights { V: W.transpose().to_owned(), W };
    let mut search = AlternatingSearch::new(&problem, Variant::Cell, 1e-13);
    let mut trace = Trace::default();
    let outcome = run(&problem, &mut search, &at, Budget { steps: 10_000, gradients: 1e9 }, &mut trace).unwrap();
    assert!(matches!(outcome.termination, Termination::PartialOptimum { .. }), "{:?}", outcome.termination);
    let best = Biconvex::total(&problem) - values[0];
    assert!((outcome.state.loss - best).abs() <= 1e-10 * best, "{} against {best}", outcome.state.loss);
    // The angle contracts by λ₂/λ₁ a sweep, so the loss by its square.
    let gaps: Vec<f64> = trace.points.iter().map(|p| p.3 - best).collect();
    let late: Vec<&f64> = gaps.iter().filter(|g| **g > 1e-9 && **g < 1e-4).collect();
    let rate = (late[late.len() - 1] / late[0]).powf(0.5 / (late.len() - 1) as f64);
    assert!((rate - values[1] / values[0]).abs() < 0.02 * rate, "{rate} against {}", values[1] / values[0]);
}

fn dot_of(problem: &ApproximateLoss, d: usize, e: usize) -> f64 {
    (0..problem.n_p()).map(|k| problem.P()[(k, d)] * problem.P()[(k, e)]).sum()
}

fn optimizers(problem: &ApproximateLoss) -> Vec<Box<dyn Optimizer + '_>> {
    let tolerance = 1e-9;
    vec![
        Box::new(AlternatingSearch::new(problem, Variant::Cell, 1e-12)),
        Box::new(AlternatingSearch::new(problem, Variant::Proximal(0.01), 1e-10)),
        Box::new(AlternatingSearch::new(problem, Variant::Extrapolated, 1e-12)),
        Box::new(AlternatingSearch::new(problem, Variant::Accelerated, 1e-12)),
        Box::new(Restarts::new(problem, 3, 1e-12, 7)),
        Box::new(AlternatingSearch::new(problem, Variant::Piecewise, 1e-12)),
        Box::new(AlternatingSearch::new(problem, Variant::Insertion, 1e-12)),
        Box::new(GradientDescent::new(problem, StepRule::Lipschitz, tolerance)),
        Box::new(GradientDescent::new(problem, StepRule::Exact, tolerance)),
        Box::new(GradientDescent::new(problem, StepRule::Fixed(0.02), tolerance)),
        Box::new(Anchored::new(problem, 1.0, tolerance, 3)),
        Box::new(Nesterov::new(tolerance)),
        Box::new(Adam::new(0.02, 0.001, tolerance)),
        Box::new(QuasiNewton::new(problem, Kind::Lbfgs, tolerance)),
        Box::new(QuasiNewton::new(problem, Kind::TrustRegion, tolerance)),
    ]
}

#[test]
fn every_optimizer_descends_and_ends_where_it_says() {
    let budget = Budget { steps: 3000, gradients: 20_000.0 };
    for seed in 0..4 {
        let problem = autoencoder(5, 5, seed);
        let at = start::random(&problem, 4, seed);
        for mut optimizer in optimizers(&problem) {
            let name = optimizer.name();
            let mut trace = Trace::default();
            let outcome = run(&problem, optimizer.as_mut(), &at, budget, &mut trace).unwrap();
            let end = classify(&problem, &outcome.state.at).unwrap();
            assert!(
                end.loss <= 0.95 * trace.points[0].3,
                "{name}, seed {seed}: {} from {}",
                end.loss,
                trace.points[0].3
            );
            assert!(end.loss == problem.value(&outcome.state.at).unwrap(), "{name}, seed {seed}");
            if let Termination::PartialOptimum { r_w, .. } = outcome.termination
                && ["acs", "acs-extrapolated", "acs-accelerated"].contains(&name.as_str())
            {
                assert!(
                    end.residuals.largest() <= 1e-8 * end.loss && r_w <= 1e-12 * end.loss,
                    "{name}, seed {seed}: {end:?}"
                );
            }
            if name != "adam" && !name.contains("fixed") && !name.contains("anchored") {
                for pair in trace.points.windows(2) {
                    assert!(pair[1].3 <= pair[0].3 * (1.0 + 1e-12), "{name}, seed {seed}: {pair:?}");
                }
            }
            assert!(
                (problem.value(&outcome.state.at).unwrap() - outcome.state.loss).abs()
                    <= 1e-10 * (1.0 + outcome.state.loss),
                "{name}"
            );
        }
    }
}

/// Two features that want opposite columns: the row that fires on both equally is stationary, and its eigenvalue is the smaller one.
#[test]
fn perturbed_descent_leaves_the_saddle_on_which_descent_and_alternating_search_stay() {
    let P = Mat::from_fn(2, 2, |k, d| [[1.0, 0.0], [-0.6, 0.8]][d][k]);
    let problem = ApproximateLoss::new(P.clone(), P, vec![1.0, 1.0], 0.0).unwrap().with_par(Par::Seq);
    // Pᵀw = (1, 1), v = (p_1 + p_2)/2.
    let at = Weights { V: Mat::from_fn(2, 1, |k, _| [0.2, 0.4][k]), W: Mat::from_fn(1, 2, |_, k| [1.0, 2.0][k]) };
    let budget = Budget { steps: 20_000, gradients: 1e6 };
    let end = |mut optimizer: Box<dyn Optimizer + '_>| {
        let outcome = run(&problem, optimizer.as_mut(), &at, budget, &mut Unobserved).unwrap();
        classify(&problem, &outcome.state.at).unwrap()
    };
    // Σ M‖r‖² − μ with μ = 1 + ⟨p_1, p_2⟩ = 2/5.
    for optimizer in [
        Box::new(GradientDescent::new(&problem, StepRule::Lipschitz, 1e-9)) as Box<dyn Optimizer>,
        Box::new(AlternatingSearch::new(&problem, Variant::Cell, 1e-12)),
    ] {
        let end = end(optimizer);
        assert!((end.loss - 1.6).abs() < 1e-12 && end.class == Class::StrictSaddle, "{end:?}");
    }
    let perturbation = Perturbation { radius: 1e-3, patience: 2000, fall: 1e-6, seed: 5 };
    let left = end(Box::new(GradientDescent::new(&problem, StepRule::Lipschitz, 1e-9).perturbed(perturbation)));
    // One neuron on one feature alone leaves 1; descent comes to the kink at which the other feature falls silent, and can stop there.
    assert!(left.loss < 1.001 && left.class != Class::StrictSaddle, "{left:?}");
}

#[test]
fn faster_variants_need_fewer_sweeps_where_alternating_search_is_slow() {
    let budget = Budget { steps: 3000, gradients: f64::INFINITY };
    let (mut plain, mut extrapolated, mut accelerated) = (0, 0, 0);
    for seed in 0..6 {
        let problem = autoencoder(12, 12, seed);
        let at = start::random(&problem, 6, seed);
        let sweeps = |variant| {
            let mut search = AlternatingSearch::new(&problem, variant, 1e-9);
            let outcome = run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap();
            // All stay in the closure of the start's cell.
            let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
            assert_eq!(outcome.state.cell, cell);
            let codes = &outcome.state.at.W * problem.P();
            for (i, on) in cell.on.iter().enumerate() {
                for d in 0..12 {
                    let out = if on.contains(&d) { -codes[(i, d)] } else { codes[(i, d)] };
                    assert!(out <= 1e-10 * codes.norm_max(), "seed {seed}: neuron {i}, feature {d} by {out}");
                }
            }
            // What it says of its end is so.
            if let Termination::PartialOptimum { r_v, r_w, .. } = outcome.termination {
                let at = &outcome.state.at;
                let (v, w) = (problem.v_step(&cell, at, 0.0).unwrap(), problem.w_step(&cell, at, 0.0).unwrap());
                let rounding = 1e-13 * outcome.state.loss;
                assert!((v.decrease - r_v).abs() <= rounding && (w.decrease - r_w).abs() <= rounding, "seed {seed}");
            }
            outcome.state.steps
        };
        plain += sweeps(Variant::Cell);
        extrapolated += sweeps(Variant::Extrapolated);
        accelerated += sweeps(Variant::Accelerated);
    }
    assert!(3 * extrapolated < 2 * plain, "{extrapolated} against {plain}");
    assert!(5 * accelerated < plain, "{accelerated} against {plain}");
}

#[test]
fn restarts_keep_the_best_end_and_pay_for_all() {
    let problem = autoencoder(6, 6, 1);
    let at = start::random(&problem, 3, 1);
    let budget = Budget { steps: 10_000, gradients: f64::INFINITY };
    let ends = |starts| {
        let mut search = Restarts::new(&problem, starts, 1e-10, 11);
        run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap().state
    };
    let mut alone = AlternatingSearch::new(&problem, Variant::Cell, 1e-10);
    let first = run(&problem, &mut alone, &at, budget, &mut Unobserved).unwrap().state;
    let (one, ten) = (ends(1), ends(10));
    assert_eq!((one.loss, one.steps), (first.loss, first.steps));
    assert!(ten.loss < one.loss && ten.gradients > one.gradients, "{} and {}", ten.loss, one.loss);
}

#[test]
fn restarts_say_when_their_best_search_was_given_up_before_its_end() {
    let (mut given_up, mut ended) = (0, 0);
    for seed in 0..6 {
        let problem = autoencoder(12, 12, seed);
        for tolerance in [1e-13, 1e-2] {
            let mut search = Restarts::new(&problem, 2, tolerance, seed);
            let budget = Budget { steps: 10_000, gradients: f64::INFINITY };
            let at = start::random(&problem, 6, seed);
            let outcome = run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap();
            match outcome.termination {
                Termination::PartialOptimum { r_v, r_w, .. } => {
                    assert!(r_v.max(r_w) <= tolerance * outcome.state.loss, "{seed}");
                    ended += 1;
                }
                found => {
                    assert_eq!((found, found.reason()), (Termination::Starts { starts: 2, steps: 200 }, "starts"));
                    assert!(outcome.state.residuals.is_none() && outcome.state.steps > 200, "{seed}");
                    given_up += 1;
                }
            }
        }
    }
    assert!(given_up >= 2 && ended >= 2, "{given_up} given up, {ended} ended");
}

#[test]
fn the_text_of_every_optimizer_says_what_it_requires_and_where_it_comes_from() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/optim");
    let text = |name: &str| {
        let mut places = [format!("{name}.rs"), format!("{name}/mod.rs")].into_iter().map(|path| folder.join(path));
        std::fs::read_to_string(places.find(|path| path.exists()).unwrap()).unwrap()
    };
    // The modules that the table of a text names.
    let listed = |text: &str| -> Vec<String> {
        let rows = text.lines().take_while(|line| line.starts_with("//!")).filter(|line| line.starts_with("//! | "));
        rows.filter_map(|row| Some(row.rsplit_once("[`")?.1.split_once('`')?.0.to_owned())).collect()
    };
    let own = std::fs::read_to_string(folder.join("mod.rs")).unwrap();
    let mut names: Vec<String> = listed(&own).into_iter().filter(|name| name != "dictionary").collect();
    assert!(names.len() >= 7, "{names:?}");
    let learners = listed(&text("dictionary"));
    assert!(learners.len() >= 3, "{learners:?}");
    names.extend(learners.into_iter().map(|name| format!("dictionary/{name}")));
    names.extend(["samples", "samples/online", "global/gop", "global/partition", "global/patterns"].map(String::from));
    for name in names {
        let text = text(&name);
        for heading in ["Requirements", "References"] {
            let begun = text.lines().skip_while(|line| line.trim_end() != format!("//! # {heading}"));
            let said = begun.skip(1).take_while(|line| line.starts_with("//!") && !line.starts_with("//! #"));
            let words: usize = said.map(|line| line.split_whitespace().count() - 1).sum();
            assert!(words >= 3, "{name}: no {heading}");
        }
    }
}

#[test]
fn anchors_hold_their_neurons_first_and_leave_them_then() {
    let problem = autoencoder(6, 6, 2);
    let at = start::random(&problem, 4, 2);
    let mut anchored = Anchored::new(&problem, 100.0, 1e-9, 5);
    let mut state = anchored.init(&problem, &at).unwrap();
    let mut nearest = f64::INFINITY;
    for _ in 0..3000 {
        anchored.step(&problem, &mut state).unwrap();
        // The row of neuron 0 is near some feature at some time, which chance does not bring about: the start is far from all.
        let far = |W: &Mat<f64>| {
            let to = |d: usize| (0..6).map(|k| (W[(0, k)] - problem.P()[(k, d)]).powi(2)).sum::<f64>().sqrt();
            (0..6).map(to).fold(f64::INFINITY, f64::min)
        };
        assert!(far(&at.W) > 0.5);
        nearest = nearest.min(far(&state.at.W));
        if anchored.terminate(&problem, &state).is_some() {
            break;
        }
    }
    assert!(nearest < 0.05, "{nearest}");
    // Descent without anchors goes on from there.
    let mut held = anchored.init(&problem, &at).unwrap();
    (0..300).for_each(|_| anchored.step(&problem, &mut held).unwrap());
    assert!(state.loss < 0.99 * held.loss, "{} after {}", state.loss, held.loss);
}

#[test]
fn a_line_search_ends_where_the_loss_jumps() {
    for seed in 0..6 {
        let problem = problem(5, 5, 5, 0.1, seed);
        let at = start::random(&problem, 3, seed);
        let mut search = QuasiNewton::new(&problem, Kind::Lbfgs, 1e-9);
        let outcome =
            run(&problem, &mut search, &at, Budget { steps: 1000, gradients: 2000.0 }, &mut Unobserved).unwrap();
        assert!(outcome.state.loss <= problem.value(&at).unwrap());
    }
}

#[test]
fn the_empirical_loss_is_the_mean_over_samples_and_biconvex_in_its_own_cells() {
    let features = autoencoder(5, 4, 2);
    // Samples of two features at a time, which no feature-pattern cell describes.
    let X = Mat::from_fn(4, 12, |k, s| {
        (1.0 + 0.1 * s as f64) * features.P()[(k, s % 5)] + 0.7 * features.P()[(k, (2 * s + 1) % 5)]
    });
    let loss = empirical(X.clone(), X.clone(), 0.0).unwrap().with_par(Par::Seq);
    let at = start::random(&loss, 3, 4);
    let mut mean = 0.0;
    for s in 0..12 {
        let code = |i: usize| (0..4).map(|k| at.W[(i, k)] * X[(k, s)]).sum::<f64>().max(0.0);
        let miss = |k: usize| X[(k, s)] - (0..3).map(|i| at.V[(k, i)] * code(i)).sum::<f64>();
        mean += (0..4).map(|k| miss(k).powi(2)).sum::<f64>() / 12.0;
    }
    assert!((loss.value(&at).unwrap() - mean).abs() <= 1e-13 * mean);
    let mut search = AlternatingSearch::new(&loss, Variant::Cell, 1e-10);
    let budget = Budget { steps: 200, gradients: 1e6 };
    let outcome = run(&loss, &mut search, &at, budget, &mut Unobserved).unwrap();
    assert!(outcome.state.loss < mean && outcome.state.cell == Biconvex::cell(&loss, at.W.as_ref()).unwrap());
}
