//! The interior of a cell: its centre, the loss with the decoder eliminated, and the blocks of single neurons.

use super::{Block, CENTRING, Interior, Point};
use crate::optim::cell::inner;
use crate::theory::loss::{ApproximateLoss, LossError};
use faer::linalg::solvers::DenseSolveCore;
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Mat, MatRef, Par, Side};

/// Entry by entry.
pub(super) fn product(A: &Mat<f64>, B: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(A.nrows(), A.ncols(), |d, i| A[(d, i)] * B[(d, i)])
}

/// The largest −ds/s of each column: how far a change can go before a slack is 0, inverted.
pub(super) fn reach(slacks: &Mat<f64>, change: &Mat<f64>, i: usize) -> f64 {
    slacks.col_as_slice(i).iter().zip(change.col_as_slice(i)).map(|(s, ds)| -ds / s).fold(0.0, f64::max)
}

impl Interior {
    /// None where the threshold is not 0, no neuron fires, or a live row lies on a face of the cell.
    pub(super) fn new(problem: &ApproximateLoss, on: &[Vec<usize>], W: MatRef<'_, f64>) -> Option<Self> {
        let live: Vec<usize> = (0..on.len()).filter(|i| !on[*i].is_empty()).collect();
        let (P, n, m) = (problem.P().to_owned(), problem.n(), live.len());
        let W = Mat::from_fn(problem.n_p(), m, |k, i| W[(live[i], k)]);
        let mut fires = Mat::<f64>::zeros(n, m);
        for (i, neuron) in live.iter().enumerate() {
            on[*neuron].iter().for_each(|d| fires[(*d, i)] = 1.0);
        }
        let signs = Mat::from_fn(n, m, |d, i| 2.0 * fires[(d, i)] - 1.0);
        let roots: Vec<f64> = problem.masses().iter().map(|mass| mass.sqrt()).collect();
        let Y = Mat::from_fn(n, problem.n_r(), |d, k| roots[d] * problem.R()[(k, d)]);
        let inside = Self { normals: &P * &signs, live, W, P, roots, Y, fires, signs };
        let slacks = inside.slacks(&inside.W);
        let is_inside = (0..m).all(|i| slacks.col_as_slice(i).iter().all(|s| *s > 0.0));
        (problem.c() == 0.0 && m > 0 && is_inside).then_some(inside)
    }

    /// s at W.
    pub(super) fn slacks(&self, W: &Mat<f64>) -> Mat<f64> {
        product(&self.signs, &(self.P.transpose() * W))
    }

    /// Divides every row by its mean slack.
    pub(super) fn rescale(&self, W: &mut Mat<f64>) {
        let slacks = self.slacks(W);
        for i in 0..W.ncols() {
            let mean = slacks.col_as_slice(i).iter().sum::<f64>() / slacks.nrows() as f64;
            W.col_as_slice_mut(i).iter_mut().for_each(|w| *w /= mean);
        }
    }

    /// The inverse of Σ_d h_d p_d p_dᵀ − H Hᵀ, which is positive definite up to rounding.
    pub(super) fn inverse(
        &self,
        weights: impl Fn(usize) -> f64,
        less: Option<Mat<f64>>,
    ) -> Result<Mat<f64>, LossError> {
        let (n_p, n) = (self.P.nrows(), self.P.ncols());
        let mut scaled = self.P.clone();
        for d in 0..n {
            let root = weights(d).sqrt();
            scaled.col_as_slice_mut(d).iter_mut().for_each(|x| *x *= root);
        }
        let mut B = &scaled * scaled.transpose();
        if let Some(H) = less {
            B -= &H * H.transpose();
        }
        let trace: f64 = (0..n_p).map(|k| B[(k, k)].abs()).sum();
        let mut jitter = 1e-13 * trace / n_p as f64;
        for _ in 0..6 {
            (0..n_p).for_each(|k| B[(k, k)] += jitter);
            if let Ok(factor) = B.llt(Side::Lower) {
                return Ok(factor.inverse());
            }
            jitter *= 100.0;
        }
        Err(LossError::Decomposition)
    }

    /// The block of a neuron by its inverse.
    pub(super) fn block(&self, i: usize, inverse: Mat<f64>) -> Block {
        let normal = faer::ColRef::from_slice(self.normals.col_as_slice(i));
        let of_normal = &inverse * normal;
        Block { along: normal.transpose() * &of_normal, inverse, of_normal }
    }

    /// The part of B⁻¹ x that is orthogonal to c_i, the nearest in the norm of B.
    pub(super) fn tangent(&self, i: usize, block: &Block, x: &[f64], out: &mut [f64]) {
        let y = &block.inverse * faer::ColRef::from_slice(x);
        let share = faer::ColRef::from_slice(self.normals.col_as_slice(i)).transpose() * &y / block.along;
        out.iter_mut().enumerate().for_each(|(k, out)| *out = y[k] - share * block.of_normal[k]);
    }

    /// The minimiser of −Σ log s, to a tenth of it, and the steps that were taken.
    pub(super) fn centre(&self) -> Result<(Mat<f64>, usize), LossError> {
        let mut W = self.W.clone();
        self.rescale(&mut W);
        for steps in 0..CENTRING {
            let s = self.slacks(&W);
            let gradient = &self.P * Mat::from_fn(s.nrows(), s.ncols(), |d, i| -self.signs[(d, i)] / s[(d, i)]);
            let mut U = Mat::zeros(W.nrows(), W.ncols());
            for i in 0..W.ncols() {
                let B = self.block(i, self.inverse(|d| s[(d, i)].powi(-2), None)?);
                self.tangent(i, &B, gradient.col_as_slice(i), U.col_as_slice_mut(i));
            }
            let left = (0..W.ncols()).map(|i| crate::optim::cell::dot(gradient.col_as_slice(i), U.col_as_slice(i)));
            if left.fold(0.0, f64::max) < 0.1 {
                return Ok((W, steps));
            }
            U *= faer::Scale(-1.0);
            let ds = self.slacks(&U);
            for i in 0..W.ncols() {
                let far = reach(&s, &ds, i);
                let mut t = if far > 0.0 { (0.9 / far).min(1.0) } else { 1.0 };
                // The minimum along the line, which is convex, by Newton in the interior.
                for _ in 0..6 {
                    let ratios = s.col_as_slice(i).iter().zip(ds.col_as_slice(i)).map(|(s, ds)| ds / (s + t * ds));
                    let (slope, curvature) = ratios.fold((0.0, 0.0), |(a, b), r| (a + r, b + r * r));
                    let most = if far > 0.0 { (0.99 / far).min(0.5 * (t + 0.99 / far)) } else { f64::INFINITY };
                    t = (t + slope / curvature).clamp(0.1 * t, most);
                }
                W.col_as_slice_mut(i).iter_mut().zip(U.col_as_slice(i)).for_each(|(w, u)| *w += t * u);
            }
            self.rescale(&mut W);
        }
        Ok((W, CENTRING))
    }

    /// Φ with ρ‖V‖² at W with its slacks.
    pub(super) fn eliminated(&self, W: Mat<f64>, s: Mat<f64>, rho: f64) -> Result<Point, LossError> {
        let (n, m) = (self.fires.nrows(), self.fires.ncols());
        // Where a neuron fires, its slack is its code.
        let Z = product(&self.fires, &s);
        let weighted = Mat::from_fn(n, m, |d, i| self.roots[d] * Z[(d, i)]);
        let entry = |r: usize, i: usize| if r < n { weighted[(r, i)] } else { f64::from(r - n == i) * rho.sqrt() };
        let qr = Mat::from_fn(n + m, m, entry).qr();
        let (Q, R) = (qr.compute_thin_Q().subrows(0, n).to_owned(), qr.thin_R());
        let mut V = Q.transpose() * &self.Y;
        solve_upper_triangular_in_place(R, V.as_mut(), Par::Seq);
        let mut inverse = Mat::identity(m, m);
        solve_upper_triangular_in_place(R, inverse.as_mut(), Par::Seq);
        let inverse = &inverse * inverse.transpose();
        let E = &self.Y - &weighted * &V;
        let fit = inner(&E, &E);
        let ME = Mat::from_fn(n, E.ncols(), |d, k| self.roots[d] * E[(d, k)]);
        let pull = product(&self.fires, &(&ME * V.transpose()));
        let gradient = faer::Scale(-2.0) * (&self.P * pull);
        let MZ = Mat::from_fn(n, m, |d, i| self.roots[d] * weighted[(d, i)]);
        let loss = fit + rho * inner(&V, &V);
        let VV = &V * V.transpose();
        Ok(Point { s, W, fit, loss, V, ME, MZ, Q, inverse, VV, gradient })
    }

    /// The Hessian of Φ and Σ h_{i,d} p_d p_dᵀ, times U.
    pub(super) fn hessian(&self, at: &Point, barrier: &Mat<f64>, U: &Mat<f64>) -> Mat<f64> {
        let C = self.P.transpose() * U;
        let dZ = product(&self.fires, &C);
        // What the best decoder changes by.
        let dV = &at.inverse * (dZ.transpose() * &at.ME - (at.MZ.transpose() * &dZ) * &at.V);
        let by_codes = &dZ * &at.VV;
        let T = &at.MZ * (&dV * at.V.transpose()) - &at.ME * dV.transpose();
        let entry = |d: usize, i: usize| {
            let quadratic = self.roots[d] * self.roots[d] * by_codes[(d, i)] + T[(d, i)];
            2.0 * self.fires[(d, i)] * quadratic + barrier[(d, i)] * C[(d, i)]
        };
        &self.P * Mat::from_fn(C.nrows(), C.ncols(), entry)
    }

    /// For every neuron its block of Kaufman's approximation and the barrier.
    pub(super) fn blocks(&self, at: &Point, barrier: &Mat<f64>) -> Result<Vec<Block>, LossError> {
        let weighted_Q = |i: usize| {
            Mat::from_fn(at.Q.nrows(), at.Q.ncols(), |d, j| self.fires[(d, i)] * self.roots[d] * at.Q[(d, j)])
        };
        let block = |i: usize| {
            let square = 2.0 * at.VV[(i, i)];
            let weights = |d: usize| square * self.fires[(d, i)] * self.roots[d].powi(2) + barrier[(d, i)];
            let inverse = self.inverse(weights, Some(faer::Scale(square.sqrt()) * (&self.P * weighted_Q(i))))?;
            Ok(self.block(i, inverse))
        };
        (0..self.live.len()).map(block).collect()
    }
}
