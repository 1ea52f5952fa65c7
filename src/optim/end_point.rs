//! What the end of a run is: dead neurons, polysemantic neurons, and its place among partial optima, saddles and minima, in f64.
//!
//! The pattern is read again from the encoder, since the limit of a search within a cell may sit on its boundary.
//!
//! | class | when |
//! |---|---|
//! | no loss | the loss is rounding of Σ_d M_d ‖r_d‖² |
//! | local minimum | stationary, and no eigenvalue of the Hessian is negative beyond rounding |
//! | strict saddle | stationary, and one is |
//! | stationary | stationary, and the Hessian is too large to be decomposed |
//! | boundary optimum | both residuals vanish, but an inequality of the cell holds the encoder back |
//! | partial optimum | both residuals vanish, but the gradient does not, without a multiplier that would explain it |
//! | unfinished | none of these |
//!
//! At c = 0 an iterate with pre-activations of exactly zero sits on a kink, where the Hessian is that of the cell in which it lies, so that a
//! local minimum is one *of the cell's quartic*. Certificates for small problems come from [`crate::theory::partial_optimum`].

use super::{Biconvex, Cell, Residuals};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::{Mat, Side};
use serde::{Deserialize, Serialize};

/// Largest number of parameters whose Hessian is decomposed.
pub const HESSIAN_LIMIT: usize = 400;
/// ‖∇‖ below this times √(Σ_d M_d ‖r_d‖²)·(1 + size of the iterate) is zero.
pub const STATIONARY: f64 = 1e-6;
/// Residuals below this times the loss vanish.
pub const PARTIAL: f64 = 1e-8;
/// Eigenvalues below minus this times the largest are negative.
pub const NEGATIVE: f64 = 1e-6;

/// The class of an end point; the module's table defines them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// No loss is left.
    NoLoss,
    /// A local minimum of the cell's quartic.
    LocalMinimum,
    /// Stationary with a direction of negative curvature.
    StrictSaddle,
    /// Stationary, of unknown second order.
    Stationary,
    /// A partial optimum on the boundary of its cell.
    BoundaryOptimum,
    /// A partial optimum that is not stationary in f64.
    PartialOptimum,
    /// Neither stationary nor a partial optimum.
    Unfinished,
}

impl Class {
    /// All of them, in the order of the table.
    pub const ALL: [Class; 7] = [
        Class::NoLoss,
        Class::LocalMinimum,
        Class::StrictSaddle,
        Class::Stationary,
        Class::BoundaryOptimum,
        Class::PartialOptimum,
        Class::Unfinished,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Class::NoLoss => "no loss",
            Class::LocalMinimum => "local min",
            Class::StrictSaddle => "saddle",
            Class::Stationary => "stationary",
            Class::BoundaryOptimum => "boundary",
            Class::PartialOptimum => "partial",
            Class::Unfinished => "unfinished",
        }
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndPoint {
    /// L̃.
    pub loss: f64,
    /// ‖∇‖.
    pub gradient: f64,
    /// r_V and r_W.
    pub residuals: Residuals,
    /// Its class.
    pub class: Class,
    /// The least eigenvalue of the Hessian relative to the largest, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curvature: Option<f64>,
    /// Neurons that fire on nothing, or whose column is zero.
    #[serde(default, skip_serializing_if = "none")]
    pub dead: usize,
    /// Neurons that fire on two features or more.
    #[serde(default, skip_serializing_if = "none")]
    pub polysemantic: usize,
    /// Features that fire no neuron.
    #[serde(default, skip_serializing_if = "none")]
    pub uncovered: usize,
}

/// True for a count that is not written.
fn none(count: &usize) -> bool {
    *count == 0
}

/// Classifies a point.
pub fn classify(problem: &ApproximateLoss, at: &Weights) -> Result<EndPoint, LossError> {
    let cell: Cell = Biconvex::cell(problem, at.W.as_ref())?;
    let (loss, slope) = problem.value_and_gradients(at)?;
    let gradient = slope.dot(&slope).sqrt();
    let total = Biconvex::total(problem);
    let r_v = problem.v_step(&cell, at, 0.0)?.decrease;
    let encoder = problem.w_step(&cell, at, 0.0)?;
    let residuals = Residuals { r_v, r_w: encoder.decrease.max(0.0) };
    let still = gradient <= STATIONARY * total.sqrt() * (1.0 + at.dot(at).sqrt());
    let partial = encoder.converged && residuals.largest() <= PARTIAL * loss;
    let parameters = at.n_q() * (problem.n_p() + problem.n_r());
    let curvature = if still && parameters <= HESSIAN_LIMIT { least_curvature(problem, at)? } else { None };
    let class = if loss <= 1e-14 * total {
        Class::NoLoss
    } else if still {
        match curvature {
            Some(least) if least < -NEGATIVE => Class::StrictSaddle,
            Some(_) => Class::LocalMinimum,
            None => Class::Stationary,
        }
    } else if partial && !encoder.multipliers.is_empty() {
        Class::BoundaryOptimum
    } else if partial {
        Class::PartialOptimum
    } else {
        Class::Unfinished
    };
    let silent = |i: usize| at.V.col(i).iter().all(|v| *v == 0.0);
    let dead = cell.on.iter().enumerate().filter(|(i, on)| on.is_empty() || silent(*i)).count();
    let (polysemantic, uncovered) = (cell.polysemantic(), cell.uncovered(problem.n()));
    Ok(EndPoint { loss, gradient, residuals, class, curvature, dead, polysemantic, uncovered })
}

/// The direction of least curvature at a point.
#[derive(Debug, Clone)]
pub struct Softest {
    /// The least eigenvalue of the Hessian of the point's cell.
    pub least: f64,
    /// The largest eigenvalue in absolute value.
    pub largest: f64,
    /// A unit eigenvector of the least one.
    pub direction: Weights,
}

/// The least eigenvalue of the Hessian over V and W with its direction; `None` if the eigenvalues are not found.
///
/// # Errors
/// Weights that do not fit the problem, or too many of them.
pub fn softest(problem: &ApproximateLoss, at: &Weights) -> Result<Option<Softest>, LossError> {
    let H = problem.hessian(at)?;
    let Ok(eigen) = H.self_adjoint_eigen(Side::Lower) else { return Ok(None) };
    let values = eigen.S().column_vector();
    let largest = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let (n_q, n_p, n_r) = (at.n_q(), problem.n_p(), problem.n_r());
    // The coordinates of the Hessian: the columns of V, then the rows of W.
    let u = eigen.U().col(0);
    let V = Mat::from_fn(n_r, n_q, |k, i| u[i * n_r + k]);
    let W = Mat::from_fn(n_q, n_p, |i, k| u[n_q * n_r + i * n_p + k]);
    Ok(Some(Softest { least: values[0], largest, direction: Weights { V, W } }))
}

/// λ_min/λ_max of the Hessian; without its vectors, since every end point is classified.
fn least_curvature(problem: &ApproximateLoss, at: &Weights) -> Result<Option<f64>, LossError> {
    let H = problem.hessian(at)?;
    let Ok(values) = H.self_adjoint_eigenvalues(Side::Lower) else { return Ok(None) };
    let largest = values.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    Ok((largest > 0.0).then(|| least / largest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::start;
    use faer::Par;

    /// Columns p_d and r_d from lists, masses of 1.
    fn problem(P: &[&[f64]], R: &[&[f64]]) -> ApproximateLoss {
        let of = |columns: &[&[f64]]| Mat::from_fn(columns[0].len(), columns.len(), |k, d| columns[d][k]);
        ApproximateLoss::new(of(P), of(R), vec![1.0; P.len()], 0.0).unwrap().with_par(Par::Seq)
    }

    fn weights(W: &[&[f64]], V: &[&[f64]]) -> Weights {
        Weights {
            V: Mat::from_fn(V[0].len(), V.len(), |k, i| V[i][k]),
            W: Mat::from_fn(W.len(), W[0].len(), |i, k| W[i][k]),
        }
    }

    fn pair() -> ApproximateLoss {
        problem(&[&[1.0, 0.0], &[0.0, 1.0]], &[&[1.0, 0.0], &[0.0, 1.0]])
    }

    #[test]
    fn a_point_without_loss_is_told_from_a_minimum_with_one() {
        let both = classify(&pair(), &weights(&[&[1.0, -1.0], &[-1.0, 1.0]], &[&[1.0, 0.0], &[0.0, 1.0]])).unwrap();
        assert_eq!((both.class, both.loss, both.dead, both.uncovered), (Class::NoLoss, 0.0, 0, 0));
        // The other feature is lost, and no small step wins it back.
        let one = classify(&pair(), &weights(&[&[1.0, -1.0]], &[&[1.0, 0.0]])).unwrap();
        assert_eq!((one.class, one.loss, one.polysemantic, one.uncovered), (Class::LocalMinimum, 1.0, 0, 1));
        assert!(one.curvature.is_some_and(|least| least.abs() < 1e-12), "the scale of the neuron is free");
    }

    #[test]
    fn a_saddle_has_a_direction_of_negative_curvature() {
        // One neuron on two features at an obtuse angle: the row that fires on both equally belongs to the lower eigenvalue, 2/5.
        let columns: [&[f64]; 2] = [&[1.0, 0.0], &[-0.6, 0.8]];
        let problem = problem(&columns, &columns);
        let at = weights(&[&[1.0, 2.0]], &[&[0.2, 0.4]]);
        let end = classify(&problem, &at).unwrap();
        assert_eq!((end.class, end.polysemantic), (Class::StrictSaddle, 1));
        let Softest { least, largest, direction } = softest(&problem, &at).unwrap().unwrap();
        assert!((end.curvature.unwrap() - least / largest).abs() < 1e-12 && least < 0.0);
        let moved = |t: f64| problem.value(&at.plus(t, &direction)).unwrap();
        assert!(moved(1e-3).max(moved(-1e-3)) < end.loss);
    }

    #[test]
    fn without_a_hessian_the_second_order_is_unknown() {
        let (mut at, count) = (Weights::zeros(&pair(), 101), 101);
        (at.W[(0, 0)], at.W[(0, 1)], at.V[(0, 0)]) = (1.0, -1.0, 1.0);
        let end = classify(&pair(), &at).unwrap();
        assert_eq!((end.class, end.curvature, end.dead), (Class::Stationary, None, count - 1));
    }

    #[test]
    fn dead_neurons_fire_on_nothing_or_have_no_column() {
        let W: [&[f64]; 4] = [&[1.0, -1.0], &[-1.0, -1.0], &[1.0, 1.0], &[1.0, 2.0]];
        let V: [&[f64]; 4] = [&[1.0, 0.0], &[1.0, 1.0], &[0.0, 0.0], &[0.1, 0.0]];
        let end = classify(&pair(), &weights(&W, &V)).unwrap();
        assert_eq!((end.dead, end.polysemantic, end.uncovered), (2, 2, 0));
        let none = classify(&pair(), &weights(&W[1..2], &V[1..2])).unwrap();
        assert_eq!((none.dead, none.polysemantic, none.uncovered), (1, 0, 2));
    }

    #[test]
    fn an_inequality_that_holds_the_encoder_back_makes_a_boundary_optimum() {
        // Codes (1, ½) would be best, but then the third feature would fire: (¾, ¾) is the nearest that keeps w_0 − w_1 ≤ 0.
        let problem = problem(&[&[1.0, 0.0], &[0.0, 1.0], &[1.0, -1.0]], &[&[1.0], &[0.5], &[-1.0]]);
        let at = weights(&[&[0.75, 0.75]], &[&[1.0]]);
        let end = classify(&problem, &at).unwrap();
        assert_eq!((end.class, end.polysemantic, end.uncovered), (Class::BoundaryOptimum, 1, 1));
        assert!(end.gradient > 0.5 && end.residuals.largest() <= 1e-15, "{end:?}");
        // Inside the cell the same point would be none.
        let inside = classify(&problem, &weights(&[&[0.7, 0.8]], &[&[1.0]])).unwrap();
        assert_eq!(inside.class, Class::Unfinished);
    }

    #[test]
    fn a_limit_on_the_boundary_has_the_pattern_that_is_read_there() {
        // Targets 1 and −1: a neuron that fires on both keeps the first one alone, with a code of 0 for the other.
        let problem = problem(&[&[1.0, 0.0], &[0.0, 1.0]], &[&[1.0], &[-1.0]]);
        let at = weights(&[&[1.0, 0.0]], &[&[1.0]]);
        let searched = Cell { on: vec![vec![0, 1]] };
        let held = problem.w_step(&searched, &at, 0.0).unwrap();
        assert!(held.decrease <= 0.0 && held.multipliers.iter().any(|(i, d, _)| (*i, *d) == (0, 1)), "{held:?}");
        let end = classify(&problem, &at).unwrap();
        assert_eq!((end.class, end.polysemantic, end.uncovered, end.loss), (Class::LocalMinimum, 0, 1, 1.0));
    }

    #[test]
    fn small_residuals_with_a_gradient_make_a_partial_optimum_and_large_ones_an_unfinished_end() {
        // A feature of length 1000: a row that is off by 1e-8 of itself has a gradient of 2e-5 and gains only 1e-16.
        let problem = problem(&[&[1000.0, 0.0], &[0.0, 1.0]], &[&[1.0, 0.0], &[0.0, 1.0]]);
        let at = |off: f64| weights(&[&[1e-3 * (1.0 + off), -1e-3]], &[&[1.0, 0.0]]);
        let near = classify(&problem, &at(1e-8)).unwrap();
        assert_eq!(near.class, Class::PartialOptimum, "{near:?}");
        assert!(near.gradient > 1e-5 && near.residuals.largest() > 0.0);
        assert_eq!(classify(&problem, &at(1e-2)).unwrap().class, Class::Unfinished);
        assert_eq!(classify(&problem, &at(0.0)).unwrap().class, Class::LocalMinimum);
        assert_eq!(classify(&pair(), &start::random(&pair(), 2, 1)).unwrap().class, Class::Unfinished);
    }
}
