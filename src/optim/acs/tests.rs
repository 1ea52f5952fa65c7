//! Which neuron moves, when a cell is left, where proximal steps lead, and the gauge.

use super::super::{Budget, Cell, Unobserved, run, start};
use super::*;
use crate::bench::features::{random_unit, stream};
use crate::optim::global::partition::Partition;
use faer::Par;
use faer::linalg::solvers::Solve;

/// Random unit features with targets of their own and masses between ½ and 2.
fn problem(n: usize, n_p: usize, n_r: usize, c: f64, seed: u64) -> ApproximateLoss {
    let mut rng = stream(seed, "problem of a test");
    let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(n_r, n, &mut rng));
    let masses = (0..n).map(|d| 0.5 + 1.5 * ((d * 7 + 3) % 11) as f64 / 10.0).collect();
    ApproximateLoss::new(P, R, masses, c).unwrap().with_par(Par::Seq)
}

/// Features e_1, .., e_n with the masses given.
fn orthonormal(masses: &[f64]) -> ApproximateLoss {
    let P = Mat::identity(masses.len(), masses.len());
    ApproximateLoss::new(P.clone(), P, masses.to_vec(), 0.0).unwrap().with_par(Par::Seq)
}

/// Rows and columns from lists.
fn weights(W: &[&[f64]], V: &[&[f64]]) -> Weights {
    Weights {
        V: Mat::from_fn(V[0].len(), V.len(), |k, i| V[i][k]),
        W: Mat::from_fn(W.len(), W[0].len(), |i, k| W[i][k]),
    }
}

fn begun(problem: &ApproximateLoss, at: &Weights) -> State {
    AlternatingSearch::new(problem, Variant::Insertion, 1e-9).init(problem, at).unwrap()
}

#[test]
fn the_cheapest_neuron_is_the_one_whose_removal_raises_the_loss_least() {
    let mut not_the_first = 0;
    for seed in 0..12 {
        let problem = problem(8, 4, 5, [0.0, 0.2][seed as usize % 2], seed);
        let state = begun(&problem, &start::random(&problem, 4, seed));
        let E = problem.residuals(&state.at).unwrap();
        let (found, cost) = cheapest(&problem, &state, E.as_ref()).unwrap();
        let raised = |i: usize| {
            let mut without = state.at.clone();
            without.V.col_mut(i).fill(0.0);
            problem.value(&without).unwrap() - state.loss
        };
        let all: Vec<f64> = (0..4).map(raised).collect();
        // Differences of losses of about 10.
        assert!((cost - all[found]).abs() <= 1e-13 * state.loss, "{seed}: {cost} and {all:?}");
        assert!(all.iter().all(|other| all[found] <= *other), "{seed}: neuron {found} of {all:?}");
        not_the_first += usize::from(found != 0);
    }
    assert!(not_the_first >= 3, "{not_the_first}");
}

#[test]
fn an_insertion_moves_the_cheapest_neuron_to_the_feature_that_misses_most() {
    // Neurons on the features of mass 3 and 1; the one of mass 2 has none.
    let problem = orthonormal(&[3.0, 2.0, 1.0]);
    let at = weights(&[&[-1.0, -1.0, 1.0], &[1.0, -1.0, -1.0]], &[&[0.0, 0.0, 1.0], &[1.0, 0.0, 0.0]]);
    let search = AlternatingSearch::new(&problem, Variant::Insertion, 1e-9);
    let mut state = begun(&problem, &at);
    assert_eq!(state.loss, 2.0);
    let before = state.gradients;
    assert!(search.insert(&mut state).unwrap());
    // Tried are, with the cheapest neuron away: e_1, of which nothing is missed, once, the other two and what they turn to four times each.
    let sizes = Sizes::new(&problem, 2);
    let candidates = sizes.cost(9.0 * sizes.candidate());
    let paid = state.gradients - before;
    assert!(candidates > 3.0 && paid > candidates && paid < candidates + 3.0, "{paid} for {candidates}");
    assert_eq!((&state.cell.on, state.loss), (&vec![vec![1], vec![0]], 1.0));
    // The other neuron is as it was.
    assert!((0..3).all(|k| state.at.W[(1, k)] == at.W[(1, k)] && state.at.V[(k, 1)] == at.V[(k, 1)]));
    assert_eq!(state.loss, problem.value(&state.at).unwrap());
    // Now the feature without a neuron is the lightest, and nothing is moved.
    let (settled, cell) = (state.at.clone(), state.cell.clone());
    assert!(!search.insert(&mut state).unwrap());
    assert!(state.at == settled && state.cell == cell && state.loss == 1.0);
}

#[test]
fn a_search_across_cells_leaves_one_in_which_a_feature_is_lost() {
    // The third feature is at an acute angle to both others, of which the second is the heavier. The neuron fires on these two, and as it turns to the
    // second one its row comes nearer to the third, whose mass is lost within the cell.
    let P = Mat::from_fn(3, 3, |k, d| [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.6, 0.28_f64.sqrt()]][d][k]);
    let problem = ApproximateLoss::new(P.clone(), P, vec![1.0, 2.0, 1.0], 0.0).unwrap().with_par(Par::Seq);
    let at = weights(&[&[1.0, 0.1, -1.3]], &[&[1.0, 0.0, 0.0]]);
    let least = |features: Vec<usize>| Partition::new(&problem).unwrap().optimum(&[features]).unwrap().loss;
    let (inside, beyond) = (least(vec![0, 1]), least(vec![0, 1, 2]));
    assert!((inside - 2.0).abs() < 1e-12 && beyond < 1.5, "{inside} and {beyond}");
    let end = |variant| {
        let mut search = AlternatingSearch::new(&problem, variant, 1e-12);
        let budget = Budget { steps: 500, gradients: f64::INFINITY };
        run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap().state
    };
    let stayed = end(Variant::Cell);
    assert_eq!(stayed.cell, Cell { on: vec![vec![0, 1]] });
    assert!((stayed.loss - inside).abs() < 1e-9, "{} against {inside}", stayed.loss);
    for variant in [Variant::Piecewise, Variant::Insertion] {
        let left = end(variant);
        assert_eq!(left.cell, Cell { on: vec![vec![0, 1, 2]] });
        assert!((left.loss - beyond).abs() < 1e-9, "{} against {beyond}", left.loss);
    }
}

#[test]
fn a_proximal_w_step_is_the_minimum_of_its_own_problem() {
    let rho = 0.3;
    let (mut free, mut held) = (0, 0);
    for seed in 0..60 {
        let c = [0.0, 0.2][seed as usize % 2];
        let (n, n_p) = [(5, 5), (8, 3)][seed as usize / 2 % 2];
        let problem = problem(n, n_p, 4, c, seed);
        let at = start::random(&problem, 1, seed);
        let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
        let step = problem.w_step(&cell, &at, rho).unwrap();
        let (v, on) = (at.V.col_as_slice(0), &cell.on[0]);
        if step.multipliers.is_empty() {
            // w₀ + (s P H Pᵀ + ρ I)⁻¹ P H (Rᵀv − s Pᵀw₀) with s = ‖v‖², over what fires.
            free += 1;
            let s = dot(v, v);
            let (mut A, mut b) = (Mat::<f64>::zeros(n_p, n_p), Mat::<f64>::zeros(n_p, 1));
            (0..n_p).for_each(|k| A[(k, k)] = rho);
            for &d in on {
                let (p, m) = (column(problem.P(), d), problem.masses()[d]);
                let z: f64 = (0..n_p).map(|k| at.W[(0, k)] * p[k]).sum();
                let asked = dot(column(problem.R(), d), v) - s * z;
                for (k, x) in p.iter().enumerate() {
                    b[(k, 0)] += m * asked * x;
                    p.iter().enumerate().for_each(|(l, y)| A[(k, l)] += m * s * x * y);
                }
            }
            let change = A.partial_piv_lu().solve(&b);
            for k in 0..n_p {
                let expected = at.W[(0, k)] + change[(k, 0)];
                assert!((step.W[(0, k)] - expected).abs() < 1e-10, "{seed}: {} and {expected}", step.W[(0, k)]);
            }
        } else {
            held += 1;
        }
        // No point of the closed cell nearby is better.
        let value = |W: &Mat<f64>| {
            let moved = Weights { V: at.V.clone(), W: W.clone() };
            problem.cell_loss(&cell, &moved).unwrap() + rho * (W - &at.W).squared_norm_l2()
        };
        let inside = |W: &Mat<f64>| {
            let codes = pre_activations(&problem, W);
            (0..n).all(|d| if on.contains(&d) { codes[(0, d)] >= c } else { codes[(0, d)] <= c })
        };
        let least = value(&step.W);
        for k in 0..2 * n_p {
            let mut other = step.W.clone();
            other[(0, k / 2)] += [1e-4, -1e-4][k % 2];
            assert!(!inside(&other) || value(&other) > least, "{seed}");
        }
    }
    assert!(free >= 8 && held >= 8, "{free} free, {held} held back");
}

#[test]
fn proximal_search_ends_at_a_partial_optimum() {
    let tolerance = 1e-8;
    for seed in 0..4 {
        let problem = problem(6, [6, 4][seed as usize % 2], 4, 0.0, seed);
        let at = start::random(&problem, 3, seed);
        let mut search = AlternatingSearch::new(&problem, Variant::Proximal(0.01), tolerance);
        let budget = Budget { steps: 50_000, gradients: f64::INFINITY };
        let outcome = run(&problem, &mut search, &at, budget, &mut Unobserved).unwrap();
        let Termination::PartialOptimum { r_v, r_w, .. } = outcome.termination else {
            panic!("{seed}: {:?}", outcome.termination)
        };
        let (end, cell) = (&outcome.state.at, &outcome.state.cell);
        // Measured without proximal terms.
        let (v, w) = (problem.v_step(cell, end, 0.0).unwrap(), problem.w_step(cell, end, 0.0).unwrap());
        assert_eq!((v.decrease, w.decrease.max(0.0)), (r_v, r_w));
        assert!(v.decrease.max(w.decrease) <= tolerance * outcome.state.loss, "{seed}: {v:?}");
        let bound = tolerance * outcome.state.loss;
        let before = (problem.v_step(cell, &at, 0.0).unwrap(), problem.w_step(cell, &at, 0.0).unwrap());
        assert!(before.0.decrease > 1e3 * bound && before.1.decrease > 1e3 * bound, "{seed}: the start is none");
    }
}

#[test]
fn rows_and_columns_differ_in_length_by_a_factor_of_two_at_most() {
    let mut at = weights(&[&[3.0, 4.0], &[1e-3, 0.0], &[0.0, 0.0]], &[&[0.1, 0.0], &[300.0, 400.0], &[1.0, 1.0]]);
    let before = at.clone();
    let factors = balance(&mut at);
    for (i, t) in factors.iter().enumerate() {
        assert_eq!(t.log2().fract(), 0.0);
        for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            // Powers of two change no product.
            assert_eq!(at.V[(a, i)] * at.W[(i, b)], before.V[(a, i)] * before.W[(i, b)]);
        }
    }
    assert_eq!(factors[2], 1.0, "a dead neuron has no gauge");
    let problem = orthonormal(&[1.0, 0.7, 0.4, 1.3]);
    let start = start::random(&problem, 3, 4);
    let stretched = Weights { V: faer::Scale(40.0) * &start.V, W: start.W };
    let mut search = AlternatingSearch::new(&problem, Variant::Cell, 1e-12);
    let mut state = search.init(&problem, &stretched).unwrap();
    let ratio = |at: &Weights, i: usize| at.V.col(i).norm_l2() / at.W.row(i).norm_l2();
    assert!((0..3).all(|i| ratio(&state.at, i) > 30.0));
    for _ in 0..20 {
        search.step(&problem, &mut state).unwrap();
        for i in (0..3).filter(|&i| state.at.V.col(i).norm_l2() > 0.0 && state.at.W.row(i).norm_l2() > 0.0) {
            let ratio = ratio(&state.at, i);
            assert!((0.5 - 1e-12..=2.0 + 1e-12).contains(&ratio), "{ratio}");
        }
        if search.terminate(&problem, &state).is_some() {
            break;
        }
    }
    for i in 0..2 {
        let ratio = ratio(&at, i);
        assert!((0.5 - 1e-12..=2.0 + 1e-12).contains(&ratio), "{ratio}");
    }
}
