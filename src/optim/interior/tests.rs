//! Tests of the interior-point search.

use super::*;
use crate::bench::features::{random_unit, stream};
use crate::optim::cell::inner;
use crate::optim::{Budget, Outcome, Unobserved, run, start};
use faer::Par;

fn problem(n: usize, n_p: usize, c: f64, seed: u64) -> ApproximateLoss {
    let P = random_unit(n_p, n, &mut stream(seed, "problem of a test"));
    let masses = (0..n).map(|d| 0.5 + 0.2 * (d % 5) as f64).collect();
    ApproximateLoss::new(P.clone(), P, masses, c).unwrap().with_par(Par::Seq)
}

fn inside(n: usize, n_p: usize, n_q: usize, seed: u64) -> Interior {
    let problem = problem(n, n_p, 0.0, seed);
    let at = start::random(&problem, n_q, seed);
    let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
    Interior::new(&problem, &cell.on, at.W.as_ref()).unwrap()
}

fn eliminated(inside: &Interior, W: Mat<f64>, rho: f64) -> Point {
    let s = inside.slacks(&W);
    inside.eliminated(W, s, rho).unwrap()
}

fn along(n_p: usize, m: usize) -> Mat<f64> {
    Mat::from_fn(n_p, m, |k, i| ((k * 5 + i * 3) % 7) as f64 - 3.0)
}

#[test]
fn gradient_and_hessian_are_those_of_the_loss_with_the_decoder_eliminated() {
    for rho in [0.0, 0.3] {
        let inside = inside(12, 6, 4, 1);
        let at = eliminated(&inside, inside.W.clone(), rho);
        let (U, none) = (along(6, inside.live.len()), Mat::zeros(12, inside.live.len()));
        let t = 1e-5;
        let moved = |t: f64| eliminated(&inside, &inside.W + faer::Scale(t) * &U, rho);
        let (before, after) = (moved(-t), moved(t));
        let slope = (after.loss - before.loss) / (2.0 * t);
        assert!((inner(&at.gradient, &U) - slope).abs() < 1e-6 * slope.abs(), "{slope}");
        let change = faer::Scale(0.5 / t) * (&after.gradient - &before.gradient);
        let expected = inside.hessian(&at, &none, &U);
        assert!((&change - &expected).norm_max() < 1e-6 * expected.norm_max());
        // And the barrier's, which is that of Σ h s²/2.
        let barrier = Mat::from_fn(12, inside.live.len(), |d, i| ((d + 2 * i) % 3) as f64);
        let more = inside.hessian(&at, &barrier, &U) - expected;
        let s = inside.slacks(&U);
        let square: f64 =
            (0..s.ncols()).flat_map(|i| (0..12).map(move |d| (d, i))).map(|e| barrier[e] * s[e] * s[e]).sum();
        assert!((inner(&more, &U) - square).abs() < 1e-9 * square);
    }
}

#[test]
fn without_residuals_a_block_is_the_hessian_of_its_neuron() {
    let mut inside = inside(12, 5, 3, 2);
    let at = eliminated(&inside, inside.W.clone(), 0.0);
    // Targets that the decoder answers exactly.
    inside.Y = &inside.Y - Mat::from_fn(12, 5, |d, k| at.ME[(d, k)] / inside.roots[d]);
    let at = eliminated(&inside, inside.W.clone(), 0.0);
    assert!(at.fit < 1e-20);
    let barrier = Mat::from_fn(12, inside.live.len(), |d, i| 0.1 + ((d + i) % 3) as f64);
    let blocks = inside.blocks(&at, &barrier).unwrap();
    for (i, block) in blocks.iter().enumerate() {
        let mut U = Mat::zeros(5, inside.live.len());
        U.col_mut(i).copy_from(along(5, inside.live.len()).col(i));
        let back = &block.inverse * inside.hessian(&at, &barrier, &U).col(i);
        assert!((&back - U.col(i)).norm_max() < 1e-8, "{i}: {back:?}");
    }
}

#[test]
fn the_centre_lies_deeper_in_the_cell_and_steps_along_normals_are_taken_out() {
    let inside = inside(20, 10, 6, 3);
    let depth = |W: &Mat<f64>| {
        let mut W = W.clone();
        inside.rescale(&mut W);
        let s = inside.slacks(&W);
        (0..s.ncols()).flat_map(|i| s.col_as_slice(i).to_vec()).map(f64::ln).sum::<f64>()
    };
    let (W, steps) = inside.centre().unwrap();
    assert!(steps > 0 && depth(&W) > depth(&inside.W) + 1.0);
    for (i, mut row) in (0..W.ncols()).map(|i| (i, vec![0.0; 10])) {
        let block = inside.block(i, inside.inverse(|_| 1.0, None).unwrap());
        inside.tangent(i, &block, W.col_as_slice(i), &mut row);
        let normal = inside.normals.col_as_slice(i);
        let along: f64 = row.iter().zip(normal).map(|(a, b)| a * b).sum();
        assert!(along.abs() < 1e-10);
    }
}

#[test]
fn where_the_loss_vanishes_on_the_path_the_search_ends_without_one() {
    for seed in 0..3 {
        // More neurons than features: the best decoder leaves nothing at almost every encoder.
        let wide = problem(6, 6, 0.0, seed);
        let at = start::random(&wide, 9, seed);
        // Fewer, and targets that one encoder of the cell answers.
        let hidden = problem(16, 8, 0.0, seed);
        let W = start::random(&hidden, 5, seed).W;
        let V = random_unit(8, 5, &mut stream(seed, "decoder of a test"));
        let codes = &W * hidden.P();
        let R = &V * Mat::from_fn(5, 16, |i, d| codes[(i, d)].max(0.0));
        let masses = hidden.masses().to_vec();
        let answered = ApproximateLoss::new(hidden.P().to_owned(), R, masses, 0.0).unwrap().with_par(Par::Seq);
        for (problem, at) in [(&wide, at), (&answered, Weights { V: Mat::zeros(8, 5), W })] {
            let cell = Biconvex::cell(problem, at.W.as_ref()).unwrap();
            let budget = Budget { steps: 100, gradients: f64::INFINITY };
            let outcome = run(problem, &mut InteriorPoint::new(problem, 1e-10), &at, budget, &mut Unobserved);
            let Outcome { state, termination, .. } = outcome.unwrap();
            assert!(matches!(termination, Termination::NoLoss { .. }), "{seed} {}: {termination:?}", at.n_q());
            assert!(problem.cell_loss(&cell, &state.at).unwrap() <= NO_LOSS * problem.total(), "{seed}");
        }
    }
}

#[test]
fn the_end_is_a_partial_optimum_of_the_cell_of_the_start() {
    let mut on_the_path = 0;
    for (n, n_p, n_q, c) in [(16, 8, 4, 0.0), (16, 16, 4, 0.0), (20, 10, 6, 0.0), (10, 10, 3, 0.1)] {
        for seed in 0..3 {
            let problem = problem(n, n_p, c, seed);
            let mut at = start::random(&problem, n_q, seed);
            // One neuron fires on nothing.
            (0..n_p).for_each(|k| at.W[(1, k)] = 0.0);
            let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
            let mut search = InteriorPoint::new(&problem, 1e-10);
            let budget = Budget { steps: 5000, gradients: f64::INFINITY };
            let outcome = run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap();
            let reason = outcome.termination;
            assert!(matches!(reason, Termination::PartialOptimum { .. } | Termination::NoLoss { .. }), "{reason:?}");
            let end = outcome.state.at;
            let loss = problem.cell_loss(&cell, &end).unwrap();
            assert!((loss - outcome.state.loss).abs() <= 1e-12 * loss, "{n} {n_p} {seed}");
            let r_v = problem.v_step(&cell, &end, 0.0).unwrap().decrease;
            let r_w = problem.w_step(&cell, &end, 0.0).unwrap().decrease;
            assert!(r_v.max(r_w) <= 2e-10 * loss, "{n} {n_p} {seed}: {r_v} and {r_w} of {loss}");
            let path = search.path.is_some();
            on_the_path += usize::from(path);
            assert!(!path || c == 0.0);
            // On the path no code changes its sign.
            if path {
                assert_eq!(Biconvex::cell(&problem, end.W.as_ref()).unwrap(), cell);
            }
        }
    }
    assert!(on_the_path >= 6, "{on_the_path}");
}
