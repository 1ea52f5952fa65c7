//! The multipliers of W-steps are those of the conditions of Karush, Kuhn and Tucker.

use super::cell::{Cell, column, dot};
use super::row::RowProblem;
use super::*;
use crate::bench::features::{random_unit, stream};
use faer::Par;
use rand::RngExt;

/// Random unit features with targets of their own and masses between ½ and 2.
fn problem(n: usize, n_p: usize, c: f64, seed: u64) -> ApproximateLoss {
    let mut rng = stream(seed, "problem of a test");
    let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(4, n, &mut rng));
    let masses = (0..n).map(|d| 0.5 + 1.5 * ((d * 7 + 3) % 11) as f64 / 10.0).collect();
    ApproximateLoss::new(P, R, masses, c).unwrap().with_par(Par::Seq)
}

/// How far a W-step is from the conditions: ‖∇ + Σ ±λ p‖ and ‖∇‖ over the largest pull of a feature.
fn stationarity(problem: &ApproximateLoss, cell: &Cell, V: &Mat<f64>, step: &EncoderStep) -> (f64, f64) {
    let (n_p, n_q) = (problem.n_p(), cell.on.len());
    let Z = cell.codes(step.W.as_ref(), problem.P());
    let E = problem.R() - V * &Z;
    let mut slope = Mat::<f64>::zeros(n_q, n_p);
    let mut scale = 0.0_f64;
    for (i, on) in cell.on.iter().enumerate() {
        for &d in on {
            let pull = -2.0 * problem.masses()[d] * dot(column(E.as_ref(), d), V.col_as_slice(i));
            (0..n_p).for_each(|k| slope[(i, k)] += pull * problem.P()[(k, d)]);
            scale = scale.max(2.0 * problem.masses()[d] * V.col(i).norm_l2());
        }
    }
    let alone = slope.norm_l2();
    for &(i, d, lambda) in &step.multipliers {
        // ⟨w, p⟩ ≥ c where d fires i, and ≤ c elsewhere.
        let sign = if cell.on[i].contains(&d) { -1.0 } else { 1.0 };
        (0..n_p).for_each(|k| slope[(i, k)] += sign * lambda * problem.P()[(k, d)]);
    }
    (slope.norm_l2() / scale, alone / scale)
}

/// Checks one W-step; returns how many of its inequalities have multipliers and whether the gradient alone is far from zero.
fn check(problem: &ApproximateLoss, cell: &Cell, at: &Weights, rounding: f64, what: &str) -> (usize, bool) {
    let step = problem.w_step(cell, at, 0.0).unwrap();
    assert!(step.converged, "{what}");
    let (explained, alone) = stationarity(problem, cell, &at.V, &step);
    assert!(explained <= rounding, "{what}: {explained:e} is left of {alone:e}");
    let mut seen = Vec::new();
    for &(i, d, lambda) in &step.multipliers {
        let z: f64 = (0..problem.n_p()).map(|k| step.W[(i, k)] * problem.P()[(k, d)]).sum();
        // λ (⟨w, p⟩ − c) = 0 and λ > 0.
        assert!(
            lambda > 0.0 && (z - problem.c()).abs() <= 1e-10 * (1.0 + step.W.norm_max()),
            "{what}: {lambda} at {z}"
        );
        assert!(!seen.contains(&(i, d)), "{what}: two multipliers for one inequality");
        seen.push((i, d));
    }
    (seen.len(), alone > 0.05)
}

#[test]
fn the_w_step_by_features_satisfies_the_conditions() {
    let (mut held, mut far) = (0, 0);
    for seed in 0..40 {
        let problem = problem([6, 4][seed as usize % 2], 6, [0.0, 0.2][seed as usize / 2 % 2], seed);
        assert!(problem.left_inverse().is_some());
        let at = start::random(&problem, 4, seed);
        let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
        let (count, away) = check(&problem, &cell, &at, 1e-9, &format!("seed {seed}"));
        (held, far) = (held + count, far + usize::from(away));
    }
    assert!(held >= 40 && far >= 20, "{held} multipliers, {far} gradients that need them");
}

#[test]
fn the_w_step_by_rows_satisfies_the_conditions() {
    let (mut held, mut far, mut off) = (0, 0, 0);
    for seed in 0..40 {
        let problem = problem(9, 4, [0.0, 0.2][seed as usize % 2], seed);
        // One neuron, whose row is solved to rounding, and three that share features, where the last pass gains 1e-10 of all: its root is left.
        for (n_q, rounding) in [(1, 1e-8), (3, 1e-3)] {
            let at = start::random(&problem, n_q, seed);
            let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
            let (count, away) = check(&problem, &cell, &at, rounding, &format!("{n_q} neurons, seed {seed}"));
            (held, far) = (held + count, far + usize::from(away));
            let step = problem.w_step(&cell, &at, 0.0).unwrap();
            off += step.multipliers.iter().filter(|(i, d, _)| !cell.on[*i].contains(d)).count();
        }
    }
    assert!(held >= 60 && far >= 25, "{held} multipliers, {far} gradients that need them");
    assert!(off >= 10 && held - off >= 10, "{off} of {held} on features that stay silent");
}

#[test]
fn a_row_satisfies_the_conditions_with_and_without_a_proximal_term() {
    let mut held = 0;
    for seed in 0..80 {
        let mut rng = stream(seed, "row of a test");
        let (n, n_p) = (8, 4);
        let P = random_unit(n_p, n, &mut rng);
        let (c, rho) = ([0.0, 0.3][seed as usize % 2], [0.0, 0.5][seed as usize / 2 % 2]);
        // A row of the closed cell to begin with.
        let w0: Vec<f64> = (0..n_p).map(|_| rng.random_range(-2.0..2.0)).collect();
        let on: Vec<usize> = (0..n).filter(|&d| dot(&w0, P.col_as_slice(d)) > c).collect();
        if on.is_empty() {
            continue;
        }
        let weights: Vec<f64> = on.iter().map(|_| rng.random_range(0.5..2.0)).collect();
        let targets: Vec<f64> = on.iter().map(|_| rng.random_range(-1.0..2.0)).collect();
        let problem = RowProblem::new(P.as_ref(), &on, &weights, &targets, (c, rho));
        let step = problem.solve(&w0, &[]);
        assert!(step.converged, "{seed}");
        let mut slope: Vec<f64> = step.w.iter().zip(&w0).map(|(w, w0)| 2.0 * rho * (w - w0)).collect();
        let mut add = |factor: f64, d: usize| {
            slope.iter_mut().zip(P.col_as_slice(d)).for_each(|(s, p)| *s += factor * p);
        };
        for ((&d, h), t) in on.iter().zip(&weights).zip(&targets) {
            add(2.0 * h * (dot(&step.w, P.col_as_slice(d)) - t), d);
        }
        for &(d, lambda) in &step.multipliers {
            add(if on.contains(&d) { -lambda } else { lambda }, d);
            assert!(lambda > 0.0 && (dot(&step.w, P.col_as_slice(d)) - c).abs() <= 1e-10, "{seed}");
        }
        let left = dot(&slope, &slope).sqrt();
        // Weights and targets are of the order of 1.
        assert!(left <= 1e-8, "seed {seed}, c = {c}, ρ = {rho}: {left:e}");
        for d in 0..n {
            let z = dot(&step.w, P.col_as_slice(d));
            assert!(if on.contains(&d) { z >= c - 1e-10 } else { z <= c + 1e-10 }, "{seed}: {z}");
        }
        held += step.multipliers.len();
    }
    assert!(held >= 40, "{held}");
}
