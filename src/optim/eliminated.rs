//! L-BFGS on the loss as a function of the decoder alone, with the encoder eliminated, in the metric of V-steps.
//!
//! Let Φ(V) be the least loss within the closure of the cell. If W is best for V and Z are its codes, half the gradient of Φ is −E D Zᵀ with E = R − V Z
//! (Danskin), and the V-step from (V, W) is V + E D Zᵀ A⁺ with A = Z D Zᵀ: alternating search is descent on Φ in the metric A. The products with
//! an approximate inverse Hessian start from that metric, so that without memory the step is the V-step, and with it, what
//! alternating search contracts slowly is met by the curvature that the last steps have seen.
//!
//! References: Liu, Nocedal 1989 (the recursion); De Sterck, Howse 2018 (preconditioned by alternating least squares).

use super::cell::inner;
use crate::theory::loss::LossError;
use faer::{Mat, Side};
use std::collections::VecDeque;

/// Steps that are remembered.
const REMEMBERED: usize = 8;
/// Eigenvalues of Z D Zᵀ below this times the largest are zero.
const RANK: f64 = 1e-13;
/// A step whose gradient has changed along it by less than this times both their lengths has seen no curvature.
const CURVATURE: f64 = 1e-12;

/// A step in V, s, and what it has done to half the gradient, y.
#[derive(Debug, Clone)]
struct Seen {
    s: Mat<f64>,
    y: Mat<f64>,
    /// 1/⟨s, y⟩.
    factor: f64,
}

/// Where the gradient was asked last.
#[derive(Debug, Clone)]
struct Point {
    V: Mat<f64>,
    /// Half the gradient.
    gradient: Mat<f64>,
    /// A⁺.
    inverse: Mat<f64>,
}

/// What the recursion knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    seen: VecDeque<Seen>,
    last: Option<Point>,
}

impl Memory {
    /// Takes a decoder, the V-step from it, and the codes of the encoder that is best for it.
    pub(super) fn see(&mut self, V: &Mat<f64>, step: &Mat<f64>, Z: &Mat<f64>, masses: &[f64]) -> Result<(), LossError> {
        let ZD = Mat::from_fn(Z.nrows(), Z.ncols(), |i, d| Z[(i, d)] * masses[d]);
        let A = &ZD * Z.transpose();
        // From the step itself, which does not cancel where E D Zᵀ would.
        let gradient = (V - step) * &A;
        if let Some(before) = self.last.take() {
            let (s, y) = (V - &before.V, &gradient - &before.gradient);
            let curvature = inner(&s, &y);
            if curvature > CURVATURE * (inner(&s, &s) * inner(&y, &y)).sqrt() {
                self.seen.push_back(Seen { s, y, factor: 1.0 / curvature });
                if self.seen.len() > REMEMBERED {
                    self.seen.pop_front();
                }
            }
        }
        self.last = Some(Point { V: V.clone(), gradient, inverse: pseudo_inverse(&A)? });
        Ok(())
    }

    /// The step of L-BFGS and the slope of Φ along it; `None` without memory, and where it does not descend.
    pub(super) fn direction(&self) -> Option<(Mat<f64>, f64)> {
        let (Point { gradient, inverse, .. }, newest) = (self.last.as_ref()?, self.seen.back()?);
        let mut D = gradient.clone();
        let mut taken = Vec::with_capacity(self.seen.len());
        for Seen { s, y, factor } in self.seen.iter().rev() {
            let share = factor * inner(s, &D);
            D -= faer::Scale(share) * y;
            taken.push(share);
        }
        let scale = 1.0 / (newest.factor * inner(&newest.y, &(&newest.y * inverse)));
        D = faer::Scale(scale) * (D * inverse);
        for (Seen { s, y, factor }, share) in self.seen.iter().zip(taken.into_iter().rev()) {
            D += faer::Scale(share - factor * inner(y, &D)) * s;
        }
        let slope = -2.0 * inner(gradient, &D);
        (slope < 0.0 && slope.is_finite()).then(|| (faer::Scale(-1.0) * D, slope))
    }

    /// Steps that are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// Forgets all steps.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Follows a change of gauge, v_i → v_i / t_i, but for A⁺, which is made anew before it is used.
    pub(super) fn rescale(&mut self, factors: &[f64]) {
        let steps = self.seen.iter_mut().map(|Seen { s, y, .. }| (s, y));
        for (decoder, gradient) in steps.chain(self.last.iter_mut().map(|Point { V, gradient, .. }| (V, gradient))) {
            for (i, t) in factors.iter().enumerate().filter(|(_, t)| **t != 1.0) {
                decoder.col_as_slice_mut(i).iter_mut().for_each(|x| *x /= t);
                gradient.col_as_slice_mut(i).iter_mut().for_each(|x| *x *= t);
            }
        }
    }
}

/// The pseudo-inverse of a positive semidefinite matrix.
fn pseudo_inverse(A: &Mat<f64>) -> Result<Mat<f64>, LossError> {
    let eigen = A.self_adjoint_eigen(Side::Lower).map_err(|_| LossError::Decomposition)?;
    let (S, U) = (eigen.S().column_vector(), eigen.U());
    let cut = RANK * S.iter().copied().fold(0.0, f64::max);
    let scaled = Mat::from_fn(A.nrows(), A.ncols(), |i, k| if S[k] > cut { U[(i, k)] / S[k] } else { 0.0 });
    Ok(scaled * U.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::{random_unit, stream};
    use crate::optim::{Biconvex, start};
    use crate::theory::loss::{ApproximateLoss, Weights};
    use faer::Par;

    /// An autoencoder, and its loss as a function of V with the best encoder.
    fn eliminated(c: f64) -> (ApproximateLoss, Weights) {
        let P = random_unit(8, 8, &mut stream(3, "problem of a test"));
        let masses = (0..8).map(|d| 0.5 + 0.2 * d as f64).collect();
        let problem = ApproximateLoss::new(P.clone(), P, masses, c).unwrap().with_par(Par::Seq);
        let at = start::random(&problem, 4, 1);
        (problem, at)
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_with_the_encoder_eliminated() {
        for c in [0.0, 0.2] {
            let (problem, mut at) = eliminated(c);
            let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
            at.W = problem.w_step(&cell, &at, 0.0).unwrap().W;
            let mut memory = Memory::default();
            let step = problem.v_step(&cell, &at, 0.0).unwrap().V;
            memory.see(&at.V, &step, &cell.codes(at.W.as_ref(), problem.P()), problem.masses()).unwrap();
            let along = Mat::from_fn(8, 4, |k, i| ((k * 5 + i * 3) % 7) as f64 - 3.0);
            let value = |t: f64| {
                let mut moved = Weights { V: &at.V + faer::Scale(t) * &along, W: at.W.clone() };
                moved.W = problem.w_step(&cell, &moved, 0.0).unwrap().W;
                problem.cell_loss(&cell, &moved).unwrap()
            };
            let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
            let gradient = 2.0 * inner(&memory.last.as_ref().unwrap().gradient, &along);
            assert!((gradient - slope).abs() < 1e-6 * slope.abs(), "c = {c}: {gradient} and {slope}");
        }
    }

    #[test]
    fn the_last_step_is_met_by_its_curvature_and_a_change_of_gauge_changes_nothing() {
        let (problem, mut at) = eliminated(0.0);
        let cell = Biconvex::cell(&problem, at.W.as_ref()).unwrap();
        let mut memory = Memory::default();
        for _ in 0..4 {
            at.W = problem.w_step(&cell, &at, 0.0).unwrap().W;
            let step = problem.v_step(&cell, &at, 0.0).unwrap().V;
            memory.see(&at.V, &step, &cell.codes(at.W.as_ref(), problem.P()), problem.masses()).unwrap();
            at.V = step;
        }
        assert_eq!(memory.seen.len(), 3);
        // With half the gradient y in place of the last one, the step is −s.
        let Seen { s, y, .. } = memory.seen.back().unwrap().clone();
        let mut asked = memory.clone();
        asked.last.as_mut().unwrap().gradient = y;
        let (D, _) = asked.direction().unwrap();
        assert!((&D + &s).norm_max() < 1e-9 * s.norm_max());
        // Powers of two change no digit but those of A⁺.
        let (D, slope) = memory.direction().unwrap();
        let factors = [2.0, 0.5, 1.0, 8.0];
        let mut other = memory.clone();
        other.rescale(&factors);
        let point = other.last.as_mut().unwrap();
        point.inverse = Mat::from_fn(4, 4, |i, j| point.inverse[(i, j)] / (factors[i] * factors[j]));
        let (E, same) = other.direction().unwrap();
        let back = Mat::from_fn(8, 4, |k, i| E[(k, i)] * factors[i]);
        assert!((&back - &D).norm_max() < 1e-9 * D.norm_max() && (same - slope).abs() < 1e-9 * slope.abs());
    }
}
