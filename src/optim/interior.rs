//! Interior-point search: a path through the interior of the start's cell to one of its partial optima.
//!
//! With the decoder eliminated, Φ(W) = min_V L̃ within the cell, the path follows the minimisers of
//!
//! ```text
//!     Φ(W) − μ Σ_{i,d} log s_{i,d},    s_{i,d} = ⟨w_i, p_d⟩ where d ∈ F_i, −⟨w_i, p_d⟩ elsewhere,
//! ```
//!
//! while μ falls to 0. With multipliers λ_{i,d} > 0 of the inequalities s ≥ 0, and ∇Φ = Σ λ ∇s, the encoder is best for its decoder up to Σ λ s, since the
//! W-step is convex; so the end is a partial optimum on its boundary, where alternating search comes to rest only slowly if features depend on
//! each other and its W-steps are dear. The start says in which cell to search and nothing else: the path begins at the centre of the cell,
//! the minimiser of −Σ log s. Scale is free, and is fixed by Σ_d s_{i,d} = n for every neuron; Σ_d s_{i,d} = ⟨w_i, c_i⟩, so that steps are orthogonal to c_i.
//!
//! A step is one of Newton on the primal-dual equations: conjugate gradients with exact products of the Hessian of Φ and the barrier's λ/s, in a trust
//! region, preconditioned by the blocks of single neurons that Kaufman's approximation of Φ and the barrier have; then a search along the line
//! within the interior. Far from the end the decoder is damped by ρ‖V‖² with ρ ~ μ, so that codes that nearly depend on each other are not fitted by
//! huge columns. For ρ, μ is measured against Σ_d M_d ‖r_d‖²: against the loss, which vanishes with μ in some cells, ρ would hardly fall there.
//!
//! Every minimiser on the path is given its best decoder. Without loss it is the end; near the end of the path its encoder is tried as well, since
//! in the interior of the cell a minimiser can be a partial optimum long before μ says so.
//!
//! # Requirements
//! A threshold at 0, and a start in the interior of its cell: no ⟨w_i, p_d⟩ is 0, except in rows that fire on nothing, which are left alone. Elsewhere, and
//! where the path comes to no end, accelerated alternating search goes on ([`super::acs`]). Where the infimum of a cell is not attained, the
//! decoder grows as μ falls and minimisers take more and more steps; alternating search need not come to an end there, either.
//! With independent features the encoder step of alternating search is exact and cheap, and the accelerated variant comes to its end sooner;
//! there the path is left as soon as it crawls.
//! It is no descent method: the loss may rise on the way, and it may end above the loss of the start. [`super::price`] says what a step costs.
//!
//! # References
//! Kaufman 1975 (the decoder eliminated); Steihaug 1983 (conjugate gradients in a trust region); Forsgren, Gill, Wright 2002, *Interior methods for
//! nonlinear optimization*.

use super::acs::{AlternatingSearch, Variant, balance};
use super::cell::inner;
use super::price::Sizes;
use super::{Biconvex, NO_LOSS, Optimizer, Residuals, State, Termination};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::linalg::solvers::DenseSolveCore;
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Mat, MatRef, Par, Side};
use std::collections::VecDeque;

/// Σ λ s at the end, over the loss and the tolerance.
const GAP: f64 = 0.1;
/// Where Σ λ s is below so many times the loss and the tolerance, a minimiser may be a partial optimum already, which is tried.
const NEAR: f64 = 1e3;
/// What μ is multiplied with, and once its minimiser is found at once.
const REDUCTION: (f64, f64) = (0.2, 0.3);
/// μ is multiplied with this at least.
const STEEPEST: f64 = 1e-3;
/// A minimiser is found when the slope of Newton's step is below this part of Σ λ s.
const FOUND: f64 = 0.02;
/// Or when, after so many steps, the last few have lowered the barrier function by less than this part of Σ λ s each.
const CRAWL: (u32, usize, f64) = (12, 6, 0.02);
/// Conjugate gradients end when the residual has shrunk to this, in the norm of the preconditioner's inverse, or after so many.
const GRADIENTS: (f64, usize) = (0.01, 300);
/// λ s may be so many times more or less than μ; less where steps have failed.
const LEASH: f64 = 30.0;
/// Steps that are cut to a tenth, one after the other, before μ is raised again, and how often it is.
const SHORT: (u32, u32) = (8, 3);
/// Damping of the decoder where μ is largest, over the mean of ‖z_i‖².
const DAMPING: f64 = 0.01;
/// The least damping, in the same unit: it keeps codes apart that depend on each other.
const LEAST_DAMPING: f64 = 1e-15;
/// Newton steps to the centre at most.
const CENTRING: usize = 60;

/// Steps after which the path is left.
const LONGEST: u64 = 300;

/// The interior-point search.
#[derive(Debug, Clone)]
pub struct InteriorPoint<'a> {
    problem: &'a ApproximateLoss,
    tolerance: f64,
    path: Option<Path>,
    /// Where there is no path, or none any more.
    search: AlternatingSearch<'a>,
}

impl<'a> InteriorPoint<'a> {
    /// The method for one problem; it stops when both residuals are at most `tolerance` times the loss.
    pub fn new(problem: &'a ApproximateLoss, tolerance: f64) -> Self {
        let search = AlternatingSearch::new(problem, Variant::Accelerated, tolerance);
        Self { problem, tolerance, path: None, search }
    }

    /// At a minimiser on the path: with the best decoder it may have no loss, or, near the end of the path, be a partial optimum already. The
    /// state has that decoder in any case. Where the path ends without one of them it is left: the encoder is then best for its decoder.
    fn judge(&mut self, problem: &dyn Biconvex, state: &mut State, ends: bool) -> Result<(), LossError> {
        let gap = self.path.as_ref().and_then(|path| path.place.as_ref()).map_or(0.0, Place::gap);
        let price = problem.prices(state.at.n_q()).loss;
        let decoder = problem.v_step(&state.cell, &state.at, 0.0)?;
        state.at.V = decoder.V;
        state.loss = problem.cell_loss(&state.cell, &state.at)?;
        state.gradients += decoder.cost + price;
        let is_near = gap <= NEAR * self.tolerance * state.loss;
        if state.loss <= NO_LOSS * problem.total() || !(ends || is_near) {
            return Ok(());
        }
        let encoder = problem.w_step(&state.cell, &state.at, 0.0)?;
        state.gradients += encoder.cost;
        let r_w = encoder.decrease.max(0.0);
        if r_w <= self.tolerance * state.loss {
            state.residuals = Some(Residuals { r_v: 0.0, r_w });
        } else if ends {
            state.at.W = encoder.W;
            state.loss = problem.cell_loss(&state.cell, &state.at)?;
            state.gradients += price;
            self.path = None;
        } else {
            return Ok(());
        }
        balance(&mut state.at);
        Ok(())
    }
}

impl Optimizer for InteriorPoint<'_> {
    fn name(&self) -> String {
        "interior-point".into()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        let state = self.search.init(problem, start)?;
        self.path = Interior::new(self.problem, &state.cell.on, start.W.as_ref())
            .map(|inside| Path::new(inside, self.problem.left_inverse().is_some()));
        Ok(state)
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let Some(path) = &mut self.path else { return self.search.step(problem, state) };
        state.steps += 1;
        let sizes = Sizes::new(self.problem, state.at.n_q());
        let taken = match &path.place {
            None => path.begin(sizes, problem.total()).map(|work| (Reached::Minimiser, work)),
            Some(_) => path.advance(sizes, GAP * self.tolerance),
        };
        // Where rounding has made a block indefinite the path has come to its end, too.
        let (reached, work) = taken.unwrap_or((Reached::End, 0.0));
        state.gradients += sizes.cost(work);
        path.show(state);
        let ends = reached == Reached::End || state.steps >= LONGEST;
        if ends || reached == Reached::Minimiser { self.judge(problem, state, ends) } else { Ok(()) }
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        self.search.terminate(problem, state)
    }
}

/// The interior of a cell: of the neurons that fire on something, the others having no part in the loss. Rows are columns here.
#[derive(Debug, Clone)]
struct Interior {
    /// The live neurons.
    live: Vec<usize>,
    /// Their rows at the start, n_p×m.
    W: Mat<f64>,
    P: Mat<f64>,
    /// √M_d.
    roots: Vec<f64>,
    /// √M_d r_d, n×n_r.
    Y: Mat<f64>,
    /// 1 where d ∈ F_i, n×m.
    fires: Mat<f64>,
    /// 1 where d ∈ F_i, −1 elsewhere.
    signs: Mat<f64>,
    /// c_i, n_p×m.
    normals: Mat<f64>,
}

/// Entry by entry.
fn product(A: &Mat<f64>, B: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(A.nrows(), A.ncols(), |d, i| A[(d, i)] * B[(d, i)])
}

/// The largest −ds/s of each column: how far a change can go before a slack is 0, inverted.
fn reach(slacks: &Mat<f64>, change: &Mat<f64>, i: usize) -> f64 {
    slacks.col_as_slice(i).iter().zip(change.col_as_slice(i)).map(|(s, ds)| -ds / s).fold(0.0, f64::max)
}

impl Interior {
    /// None where the threshold is not 0, no neuron fires, or a live row lies on a face of the cell.
    fn new(problem: &ApproximateLoss, on: &[Vec<usize>], W: MatRef<'_, f64>) -> Option<Self> {
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
    fn slacks(&self, W: &Mat<f64>) -> Mat<f64> {
        product(&self.signs, &(self.P.transpose() * W))
    }

    /// Divides every row by its mean slack.
    fn rescale(&self, W: &mut Mat<f64>) {
        let slacks = self.slacks(W);
        for i in 0..W.ncols() {
            let mean = slacks.col_as_slice(i).iter().sum::<f64>() / slacks.nrows() as f64;
            W.col_as_slice_mut(i).iter_mut().for_each(|w| *w /= mean);
        }
    }

    /// The inverse of Σ_d h_d p_d p_dᵀ − H Hᵀ, which is positive definite up to rounding.
    fn inverse(&self, weights: impl Fn(usize) -> f64, less: Option<Mat<f64>>) -> Result<Mat<f64>, LossError> {
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
    fn block(&self, i: usize, inverse: Mat<f64>) -> Block {
        let normal = faer::ColRef::from_slice(self.normals.col_as_slice(i));
        let of_normal = &inverse * normal;
        Block { along: normal.transpose() * &of_normal, inverse, of_normal }
    }

    /// The part of B⁻¹ x that is orthogonal to c_i, the nearest in the norm of B.
    fn tangent(&self, i: usize, block: &Block, x: &[f64], out: &mut [f64]) {
        let y = &block.inverse * faer::ColRef::from_slice(x);
        let share = faer::ColRef::from_slice(self.normals.col_as_slice(i)).transpose() * &y / block.along;
        out.iter_mut().enumerate().for_each(|(k, out)| *out = y[k] - share * block.of_normal[k]);
    }

    /// The minimiser of −Σ log s, to a tenth of it, and the steps that were taken.
    fn centre(&self) -> Result<(Mat<f64>, usize), LossError> {
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
            let left = (0..W.ncols()).map(|i| super::cell::dot(gradient.col_as_slice(i), U.col_as_slice(i)));
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
    fn eliminated(&self, W: Mat<f64>, s: Mat<f64>, rho: f64) -> Result<Point, LossError> {
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
    fn hessian(&self, at: &Point, barrier: &Mat<f64>, U: &Mat<f64>) -> Mat<f64> {
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
    fn blocks(&self, at: &Point, barrier: &Mat<f64>) -> Result<Vec<Block>, LossError> {
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

/// A block of one neuron, B.
#[derive(Debug, Clone)]
struct Block {
    /// B⁻¹.
    inverse: Mat<f64>,
    /// B⁻¹ c_i.
    of_normal: faer::Col<f64>,
    /// ⟨c_i, B⁻¹ c_i⟩.
    along: f64,
}

/// A point with its decoder eliminated.
#[derive(Debug, Clone)]
struct Point {
    /// n_p×m.
    W: Mat<f64>,
    /// n×m.
    s: Mat<f64>,
    /// L̃.
    fit: f64,
    /// L̃ + ρ‖V‖².
    loss: f64,
    /// Columns as rows, m×n_r.
    V: Mat<f64>,
    /// M_d e_d, n×n_r.
    ME: Mat<f64>,
    /// M_d z_d, n×m.
    MZ: Mat<f64>,
    /// An orthonormal basis of the codes √M_d z_d.
    Q: Mat<f64>,
    /// (Σ M z zᵀ + ρ)⁻¹.
    inverse: Mat<f64>,
    /// ⟨v_i, v_j⟩.
    VV: Mat<f64>,
    /// Of `loss`, n_p×m.
    gradient: Mat<f64>,
}

/// A way through the interior.
#[derive(Debug, Clone)]
struct Path {
    inside: Interior,
    /// Features are independent, so that alternating search is cheap.
    is_cheap: bool,
    place: Option<Place>,
}

/// Where it is.
#[derive(Debug, Clone)]
struct Place {
    at: Point,
    /// λ.
    multipliers: Mat<f64>,
    mu: f64,
    /// Of the trust region.
    radius: f64,
    reduction: f64,
    leash: f64,
    /// The mean of ‖z_i‖² at the centre.
    size: f64,
    /// Σ_d M_d ‖r_d‖².
    total: f64,
    /// Steps with this μ.
    stage: u32,
    short: u32,
    rescues: u32,
    /// By how much the last steps have lowered the barrier function.
    gains: VecDeque<f64>,
}

/// What conjugate gradients have found.
struct Newton {
    U: Mat<f64>,
    /// The Hessian times U.
    HU: Mat<f64>,
    /// ‖U‖² in the norm of the preconditioner's inverse.
    square: f64,
    end: End,
    products: usize,
}

/// The direction of a step.
struct Direction {
    U: Mat<f64>,
    /// What it does to the slacks.
    ds: Mat<f64>,
    /// ‖U‖² in the norm of the preconditioner's inverse.
    square: f64,
    end: End,
    products: usize,
    /// Of the barrier function along U.
    slope: f64,
    /// ⟨U, HU⟩.
    curvature: f64,
}

/// Where a search along a step has ended.
struct Landing {
    /// The length.
    t: f64,
    /// The length at which it began.
    whole: f64,
    /// How near to the faces it may come.
    near: f64,
    /// By how much the barrier function has fallen, over what was promised.
    ratio: f64,
    gain: f64,
    /// Lengths that were too long.
    tries: u32,
    evaluations: u32,
    /// None if nothing was short enough.
    next: Option<Point>,
}

/// Where a step has come to, for its μ.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stands {
    Between,
    Minimiser,
    /// Near enough to the minimiser, as steps hardly lower the barrier function any more.
    Crawling,
}

/// What a step of the path has reached.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reached {
    Nothing,
    /// The minimiser for a μ, which has been lowered.
    Minimiser,
    /// That for the last μ.
    End,
}

/// Why conjugate gradients have ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Found,
    Boundary,
    Most,
}

impl Path {
    fn new(inside: Interior, is_cheap: bool) -> Self {
        Self { inside, is_cheap, place: None }
    }

    /// Goes to the centre; the multiply-adds that this has taken.
    fn begin(&mut self, sizes: Sizes, total: f64) -> Result<f64, LossError> {
        let inside = &self.inside;
        let (W, steps) = inside.centre()?;
        let s = inside.slacks(&W);
        let Z = product(&inside.fires, &s);
        let squares =
            (0..Z.nrows()).map(|d| (0..Z.ncols()).map(|i| (inside.roots[d] * Z[(d, i)]).powi(2)).sum::<f64>());
        let size = squares.sum::<f64>() / Z.ncols() as f64;
        let at = inside.eliminated(W, s, DAMPING * size)?;
        let pairs = (at.s.nrows() * at.s.ncols()) as f64;
        let mu = at.loss / pairs;
        let multipliers = Mat::from_fn(at.s.nrows(), at.s.ncols(), |d, i| mu / at.s[(d, i)]);
        let radius = 0.5 * (mu * pairs).sqrt();
        let (reduction, leash) = (REDUCTION.0, LEASH);
        let gains = VecDeque::with_capacity(CRAWL.1 + 1);
        let place =
            Place { at, multipliers, mu, radius, reduction, leash, size, total, stage: 0, short: 0, rescues: 0, gains };
        self.place = Some(place);
        Ok(steps as f64 * sizes.interior_blocks() + sizes.interior_point())
    }

    /// One step; what is reached, and the multiply-adds.
    fn advance(&mut self, sizes: Sizes, gap: f64) -> Result<(Reached, f64), LossError> {
        let inside = &self.inside;
        let Some(place) = &mut self.place else { return Ok((Reached::End, 0.0)) };
        let step = place.direction(inside)?;
        let landing = place.search(inside, &step)?;
        let work = sizes.interior_blocks()
            + step.products as f64 * sizes.interior_product()
            + landing.evaluations as f64 * sizes.interior_point();
        place.resize(&step, &landing);
        let stands = place.settle(&step, landing);
        let mut reached = Reached::Nothing;
        if place.short >= SHORT.0 && place.rescues < SHORT.1 {
            place.rescue();
        } else {
            match stands {
                Stands::Between => return Ok((reached, work)),
                Stands::Crawling if self.is_cheap => return Ok((Reached::End, work)),
                _ if place.gap() <= gap * place.at.loss => return Ok((Reached::End, work)),
                _ => place.reduce(gap),
            }
            reached = Reached::Minimiser;
        }
        place.at = inside.eliminated(place.at.W.clone(), place.at.s.clone(), place.damping())?;
        place.hold();
        Ok((reached, work + sizes.interior_point()))
    }

    /// Writes where the path is into a state.
    fn show(&self, state: &mut State) {
        let Some(place) = &self.place else { return };
        for (i, &neuron) in self.inside.live.iter().enumerate() {
            for k in 0..state.at.W.ncols() {
                state.at.W[(neuron, k)] = place.at.W[(k, i)];
            }
            for k in 0..state.at.V.nrows() {
                state.at.V[(k, neuron)] = place.at.V[(i, k)];
            }
        }
        state.loss = place.at.fit;
    }
}

impl Place {
    /// Σ λ s, for the multipliers μ/s.
    fn gap(&self) -> f64 {
        self.mu * self.pairs()
    }

    /// Number of inequalities.
    fn pairs(&self) -> f64 {
        (self.at.s.nrows() * self.at.s.ncols()) as f64
    }

    /// ρ.
    fn damping(&self) -> f64 {
        self.size * (DAMPING * (self.gap() / self.total).min(1.0)).max(LEAST_DAMPING)
    }

    /// The next μ, after a minimiser.
    fn reduce(&mut self, gap: f64) {
        let (pairs, before) = (self.pairs(), self.gap());
        let quick = self.stage <= 2 && before < 1e-3 * self.total;
        self.reduction = if quick { (REDUCTION.1 * self.reduction).max(STEEPEST) } else { REDUCTION.0 };
        self.mu = (self.mu * self.reduction).max(0.9 * gap * self.at.loss / pairs);
        self.radius = self.radius.max(before.sqrt());
        (self.stage, self.leash) = (0, LEASH);
    }

    /// A larger μ, where steps have been cut again and again.
    fn rescue(&mut self) {
        self.mu *= 25.0;
        self.radius = 0.5 * self.gap().sqrt();
        (self.short, self.stage, self.reduction) = (0, 0, REDUCTION.0);
        self.rescues += 1;
    }

    /// The trust region after a search.
    fn resize(&mut self, step: &Direction, landing: &Landing) {
        let length = step.square.sqrt();
        if landing.tries > 0 {
            self.radius = landing.t * length;
        } else if landing.ratio > 0.7 && step.end == End::Boundary {
            let wider = if landing.whole == 1.0 { 2.0 } else { 1.2 };
            self.radius = (wider * self.radius).min(1e3 * self.gap().sqrt());
        } else if landing.ratio < 0.25 {
            self.radius = 0.5 * length;
        }
    }

    /// Goes where the search has led, with multipliers.
    fn settle(&mut self, step: &Direction, landing: Landing) -> Stands {
        let Landing { t, ratio, gain, tries, next, near, .. } = landing;
        let gap = self.gap();
        if let Some(next) = next {
            let ds = &step.ds;
            let change = |d: usize, i: usize| {
                let (s, l) = (self.at.s[(d, i)], self.multipliers[(d, i)]);
                self.mu / s - l - l / s * ds[(d, i)]
            };
            let dl = Mat::from_fn(ds.nrows(), ds.ncols(), change);
            let far = (0..dl.ncols()).map(|i| reach(&self.multipliers, &dl, i)).fold(0.0, f64::max);
            let share = if far > 0.0 { (near / far).min(1.0) } else { 1.0 };
            self.multipliers += faer::Scale(share) * dl;
            // Steps keep the scale up to rounding, which is left as it is: another product could round a small slack to 0.
            self.at = next;
            self.leash =
                if ratio < 0.25 || tries > 0 { self.leash.sqrt().max(2.0) } else { (10.0 * self.leash).min(LEASH) };
        } else {
            self.leash = 2.0;
        }
        self.hold();
        self.stage += 1;
        self.short = if t < 0.1 { self.short + 1 } else { 0 };
        self.gains.push_back(gain);
        if self.gains.len() > CRAWL.1 {
            self.gains.pop_front();
        }
        let fallen = self.gains.iter().sum::<f64>();
        if -step.slope < FOUND * gap && step.end == End::Found && t > 0.5 {
            Stands::Minimiser
        } else if self.stage >= CRAWL.0 && fallen < CRAWL.1 as f64 * CRAWL.2 * gap {
            Stands::Crawling
        } else {
            Stands::Between
        }
    }

    /// Along the step, within the interior, to where the barrier function falls enough.
    fn search(&self, inside: &Interior, step: &Direction) -> Result<Landing, LossError> {
        let Direction { U, ds, slope, curvature, .. } = step;
        let columns = 0..ds.ncols();
        let far = columns.clone().map(|i| reach(&self.at.s, ds, i)).fold(0.0, f64::max);
        let near = (1.0 - self.gap() / self.at.loss).max(0.99);
        let whole = if far < near { 1.0 } else { near / far };
        let mut landing =
            Landing { t: whole, whole, near, ratio: -1.0, gain: 0.0, tries: 0, evaluations: 0, next: None };
        let rounding = 1e-12 * self.at.loss;
        while landing.tries < 10 {
            let t = landing.t;
            let W = &self.at.W + faer::Scale(t) * U;
            let s = inside.slacks(&W);
            if columns.clone().all(|i| s.col_as_slice(i).iter().all(|s| *s > 0.0)) {
                let logs = |i: usize| {
                    let pairs = s.col_as_slice(i).iter().zip(self.at.s.col_as_slice(i));
                    pairs.map(|(after, before)| (after / before).ln()).sum::<f64>()
                };
                let deeper = self.mu * columns.clone().map(logs).sum::<f64>();
                let next = inside.eliminated(W, s, self.damping())?;
                landing.evaluations += 1;
                let change = (next.loss - self.at.loss) - deeper;
                let is_rounding = (slope * t).abs() < rounding && change.abs() < rounding;
                if change <= 1e-3 * slope * t || is_rounding {
                    let promised = slope * t + 0.5 * t * t * curvature;
                    landing.ratio = if is_rounding {
                        1.0
                    } else if promised < 0.0 {
                        change / promised
                    } else {
                        -1.0
                    };
                    (landing.next, landing.gain) = (Some(next), -change);
                    return Ok(landing);
                }
            }
            landing.t *= 0.4;
            landing.tries += 1;
        }
        Ok(landing)
    }

    /// Keeps λ s near μ.
    fn hold(&mut self) {
        let Self { at, multipliers, mu, leash, .. } = self;
        for i in 0..at.s.ncols() {
            for (l, s) in multipliers.col_as_slice_mut(i).iter_mut().zip(at.s.col_as_slice(i)) {
                *l = l.clamp(*mu / s / *leash, *mu / s * *leash);
            }
        }
    }

    /// The step from here.
    fn direction(&self, inside: &Interior) -> Result<Direction, LossError> {
        let (s, multipliers) = (&self.at.s, &self.multipliers);
        let (n, m) = (s.nrows(), s.ncols());
        let barrier = Mat::from_fn(n, m, |d, i| multipliers[(d, i)] / s[(d, i)]);
        let blocks = inside.blocks(&self.at, &barrier)?;
        let push = Mat::from_fn(n, m, |d, i| inside.signs[(d, i)] * self.mu / s[(d, i)]);
        let slope = &self.at.gradient - &inside.P * push;
        let Newton { U, HU, square, end, products } = self.gradients(inside, &barrier, &blocks, &slope);
        let (slope, curvature) = (inner(&slope, &U), inner(&U, &HU));
        Ok(Direction { ds: inside.slacks(&U), U, square, end, products, slope, curvature })
    }

    /// Steihaug's conjugate gradients on steps orthogonal to all c_i.
    fn gradients(&self, inside: &Interior, barrier: &Mat<f64>, blocks: &[Block], slope: &Mat<f64>) -> Newton {
        let precondition = |r: &Mat<f64>| {
            let mut out = Mat::zeros(r.nrows(), r.ncols());
            for (i, block) in blocks.iter().enumerate() {
                inside.tangent(i, block, r.col_as_slice(i), out.col_as_slice_mut(i));
            }
            out
        };
        let limit = self.radius * self.radius;
        let (mut U, mut HU) = (Mat::zeros(slope.nrows(), slope.ncols()), Mat::zeros(slope.nrows(), slope.ncols()));
        let mut r = faer::Scale(-1.0) * slope;
        let z = precondition(&r);
        let mut p = z.clone();
        let mut rz = inner(&r, &z);
        let first = rz;
        let (mut square, mut mixed, mut length) = (0.0, 0.0, rz);
        for products in 1..=GRADIENTS.1 {
            let Hp = inside.hessian(&self.at, barrier, &p);
            let curvature = inner(&p, &Hp);
            let t = rz / curvature;
            // False where a number is none, too.
            let stays = curvature > 0.0 && square + 2.0 * t * mixed + t * t * length < limit;
            if !stays {
                let t = ((mixed * mixed + length * (limit - square)).max(0.0).sqrt() - mixed) / length;
                if length > 0.0 && t.is_finite() {
                    U += faer::Scale(t) * &p;
                    HU += faer::Scale(t) * &Hp;
                }
                return Newton { U, HU, square: limit, end: End::Boundary, products };
            }
            U += faer::Scale(t) * &p;
            HU += faer::Scale(t) * &Hp;
            square += 2.0 * t * mixed + t * t * length;
            r -= faer::Scale(t) * Hp;
            let z = precondition(&r);
            let next = inner(&r, &z);
            if next <= GRADIENTS.0 * GRADIENTS.0 * first {
                return Newton { U, HU, square, end: End::Found, products };
            }
            let keep = next / rz;
            p = z + faer::Scale(keep) * p;
            mixed = keep * (mixed + t * length);
            length = next + keep * keep * length;
            rz = next;
        }
        Newton { U, HU, square, end: End::Most, products: GRADIENTS.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Budget, Outcome, Unobserved, run, start};
    use super::*;
    use crate::bench::features::{random_unit, stream};

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
                assert!(
                    matches!(reason, Termination::PartialOptimum { .. } | Termination::NoLoss { .. }),
                    "{reason:?}"
                );
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
}
