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

mod cell;
mod place;
#[cfg(test)]
mod tests;

use self::cell::product;
use super::acs::{AlternatingSearch, Variant, balance};
use super::price::Sizes;
use super::{Biconvex, NO_LOSS, Optimizer, Residuals, State, Termination};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::Mat;
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
