//! Gradient methods on problems whose optima are known.

use super::adam::Adam;
use super::anchored::Anchored;
use super::gradient_descent::{GradientDescent, Perturbation, StepRule};
use super::nesterov::Nesterov;
use super::quasi_newton::{Kind, QuasiNewton};
use super::*;
use crate::optim::global::partition::Partition;
use crate::optim::global::rayleigh::Proof;
use faer::Par;

/// ‖∇‖ of the ends asked for, over √(Σ_d M_d ‖r_d‖²).
const STILL: f64 = 1e-7;

/// All of them.
fn methods(problem: &ApproximateLoss) -> Vec<Box<dyn Optimizer + '_>> {
    let perturbation = Perturbation { radius: 1e-3, patience: 500, fall: 1e-6, seed: 5 };
    vec![
        Box::new(GradientDescent::new(problem, StepRule::Fixed(0.05), STILL)),
        Box::new(GradientDescent::new(problem, StepRule::Lipschitz, STILL)),
        Box::new(GradientDescent::new(problem, StepRule::Exact, STILL)),
        Box::new(GradientDescent::new(problem, StepRule::Lipschitz, STILL).perturbed(perturbation)),
        Box::new(Anchored::new(problem, 1e-3, STILL, 3)),
        Box::new(Nesterov::new(STILL)),
        Box::new(Adam::new(0.02, 0.001, STILL)),
        Box::new(QuasiNewton::new(problem, Kind::Lbfgs, STILL)),
        Box::new(QuasiNewton::new(problem, Kind::TrustRegion, STILL)),
    ]
}

/// Runs all of them: each ends at the loss `best`, lower than the start's by at least `part` of it, with a gradient as small as it says.
fn reach(problem: &ApproximateLoss, at: &Weights, best: f64, part: f64) {
    let start = problem.value(at).unwrap();
    let total = Biconvex::total(problem);
    assert!(best < (1.0 - part) * start, "from {start} to {best} is no way");
    for mut optimizer in methods(problem) {
        let name = optimizer.name();
        let budget = Budget { steps: 5_000, gradients: f64::INFINITY };
        let outcome = run(problem, optimizer.as_mut(), at, budget, &mut Unobserved).unwrap();
        let end = &outcome.state.at;
        let (loss, slope) = problem.value_and_gradients(end).unwrap();
        let gradient = slope.dot(&slope).sqrt();
        println!(
            "{name}: {:?} after {} steps, loss {loss:e}, ‖∇‖ {gradient:e}",
            outcome.termination, outcome.state.steps
        );
        // A step of the size of the gradient lowers the loss by its square over the curvature, which is of the order of the masses.
        assert!((loss - best).abs() <= 1e-9 * total, "{name}: {loss} is not {best}");
        assert!(gradient <= 1e-4 * total.sqrt(), "{name}: {gradient}");
        if let Termination::Stationary { gradient: stated, tolerance } = outcome.termination
            && name != "nesterov"
        {
            assert!((stated - gradient).abs() <= 1e-9 * tolerance + 1e-15 && gradient <= tolerance, "{name}");
        }
        assert!(!matches!(outcome.termination, Termination::Diverged { .. }), "{name}");
    }
}

#[test]
fn every_gradient_method_reaches_the_optimum_of_a_partition_cell() {
    // Features e_1, .., e_4, so that a row's steps do not change what does not fire, with targets at acute angles, so that every block's top eigenvector is
    // positive: within the cell L̃ is two problems of rank one, which have no other minimum.
    let P = Mat::<f64>::identity(4, 4);
    let R = Mat::from_fn(3, 4, |k, d| [[1.0, 0.2, 0.1], [0.5, 0.8, 0.1], [0.1, 0.3, 1.0], [0.6, 0.2, 0.7]][d][k]);
    let problem = ApproximateLoss::new(P, R, vec![0.8, 1.2, 1.0, 0.6], 0.0).unwrap().with_par(Par::Seq);
    let known = Partition::new(&problem).unwrap().optimum(&[vec![0, 1], vec![2, 3]]).unwrap();
    assert!(known.blocks.iter().all(|block| block.proof == Proof::Eigenvector && block.codes.iter().all(|a| *a > 0.0)));
    let signs = [[1.0, 1.0, -1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]];
    let at =
        Weights { V: Mat::from_fn(3, 2, |k, i| 0.3 - 0.1 * (k * i) as f64), W: Mat::from_fn(2, 4, |i, d| signs[i][d]) };
    reach(&problem, &at, known.loss, 0.5);
}

#[test]
fn every_gradient_method_reaches_a_loss_of_zero_where_each_feature_has_a_neuron() {
    let P = Mat::<f64>::identity(3, 3);
    let R = Mat::from_fn(2, 3, |k, d| [[1.0, 0.2], [-0.5, 0.8], [0.3, -1.0]][d][k]);
    let problem = ApproximateLoss::new(P, R, vec![1.0, 0.7, 1.3], 0.0).unwrap().with_par(Par::Seq);
    let at = Weights {
        V: Mat::from_fn(2, 3, |k, i| [[0.8, -0.4], [0.3, 0.5], [-0.4, -0.5]][i][k]),
        W: Mat::from_fn(3, 3, |i, d| if i == d { 0.7 } else { -0.7 }),
    };
    reach(&problem, &at, 0.0, 0.9);
}
