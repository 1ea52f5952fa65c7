//! L-BFGS with the line search of Moré and Thuente, and a trust region with Steihaug's conjugate gradients, both of the crate argmin, step
//! by step, on the whole gradient across cells.
//!
//! # Requirements
//! A threshold activation. Both assume a smooth function: where the line search fails at a kink between cells the run ends with
//! [`Termination::NoDescent`]. L-BFGS sees no curvature at a saddle where the gradient vanishes.
//!
//! # References
//! Liu, Nocedal 1989, *On the limited memory BFGS method*; Moré, Thuente 1994; Steihaug 1983, *The conjugate gradient method and trust regions*.

use super::{Biconvex, Optimizer, Prices, State, Termination};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use argmin::core::{CostFunction, Error, Gradient, Hessian, IterState, Problem, Solver, State as _};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use argmin::solver::trustregion::{Steihaug, TrustRegion};
use argmin_math::ArgminDot;
use faer::Mat;
use std::cell::Cell;
use std::rc::Rc;

/// Pairs that L-BFGS remembers.
const MEMORY: usize = 10;
/// Losses that one step may ask for.
const LOSSES: u64 = 200;

type Vector = Vec<f64>;
type FirstOrder = IterState<Vector, Vector, (), (), (), f64>;
type SecondOrder<'a> = IterState<Vector, Vector, (), HessianAt<'a>, (), f64>;
type LineSearch = MoreThuenteLineSearch<Vector, Vector, f64>;

/// The problem as a function of (V, W) in one vector: the columns of V, then those of W.
#[derive(Clone)]
struct Flat<'a> {
    problem: &'a ApproximateLoss,
    n_q: usize,
    /// Products with a Hessian so far.
    products: Rc<Cell<u64>>,
    /// Losses in this step.
    losses: Rc<Cell<u64>>,
}

impl Flat<'_> {
    fn weights(&self, x: &[f64]) -> Weights {
        let (n_r, n_p, q) = (self.problem.n_r(), self.problem.n_p(), self.n_q);
        Weights {
            V: Mat::from_fn(n_r, q, |k, i| x[i * n_r + k]),
            W: Mat::from_fn(q, n_p, |i, k| x[n_r * q + k * q + i]),
        }
    }
}

fn flatten(at: &Weights) -> Vector {
    let columns = at.V.col_iter().chain(at.W.col_iter());
    columns.flat_map(|column| column.iter().copied().collect::<Vec<_>>()).collect()
}

impl CostFunction for Flat<'_> {
    type Param = Vector;
    type Output = f64;

    fn cost(&self, x: &Vector) -> Result<f64, Error> {
        // Where the loss jumps no step may be good enough for a line search, which has no bound of its own.
        self.losses.set(self.losses.get() + 1);
        if self.losses.get() > LOSSES {
            return Err(Error::msg("the line search does not end"));
        }
        Ok(self.problem.value(&self.weights(x))?)
    }
}

impl Gradient for Flat<'_> {
    type Param = Vector;
    type Gradient = Vector;

    fn gradient(&self, x: &Vector) -> Result<Vector, Error> {
        Ok(flatten(&self.problem.value_and_gradients(&self.weights(x))?.1))
    }
}

/// The Hessian at a point, by its products.
#[derive(Clone)]
pub struct HessianAt<'a> {
    flat: Flat<'a>,
    at: Weights,
}

impl ArgminDot<Vector, Vector> for HessianAt<'_> {
    fn dot(&self, direction: &Vector) -> Vector {
        self.flat.products.set(self.flat.products.get() + 1);
        let image = self.flat.problem.hessian_product(&self.at, &self.flat.weights(direction));
        image.map_or_else(|_| vec![f64::NAN; direction.len()], |image| flatten(&image))
    }
}

impl<'a> Hessian for Flat<'a> {
    type Param = Vector;
    type Hessian = HessianAt<'a>;

    fn hessian(&self, x: &Vector) -> Result<HessianAt<'a>, Error> {
        Ok(HessianAt { flat: self.clone(), at: self.weights(x) })
    }
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// L-BFGS.
    Lbfgs,
    /// Trust region.
    TrustRegion,
}

type Trust = TrustRegion<Steihaug<Vector, f64>, f64>;
type Running<'a, S, I> = (Problem<Flat<'a>>, S, Option<I>);

enum Inner<'a> {
    Lbfgs(Box<Running<'a, LBFGS<LineSearch, Vector, Vector, f64>, FirstOrder>>),
    TrustRegion(Box<Running<'a, Trust, SecondOrder<'a>>>),
}

/// L-BFGS or a trust region.
pub struct QuasiNewton<'a> {
    problem: &'a ApproximateLoss,
    kind: Kind,
    tolerance: f64,
    inner: Option<Inner<'a>>,
    stuck: bool,
}

impl<'a> QuasiNewton<'a> {
    /// Ends when ‖∇‖ is at most `tolerance` times √(Σ_d M_d ‖r_d‖²).
    pub fn new(problem: &'a ApproximateLoss, kind: Kind, tolerance: f64) -> Self {
        Self { problem, kind, tolerance, inner: None, stuck: false }
    }

    fn begin(&self, start: &Weights) -> Result<Inner<'a>, Error> {
        let flat = Flat { problem: self.problem, n_q: start.n_q(), products: Rc::default(), losses: Rc::default() };
        let mut problem = Problem::new(flat);
        let x = flatten(start);
        Ok(match self.kind {
            Kind::Lbfgs => {
                let mut solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY);
                let (state, _) = solver.init(&mut problem, IterState::new().param(x))?;
                Inner::Lbfgs(Box::new((problem, solver, Some(state))))
            }
            Kind::TrustRegion => {
                let steihaug = Steihaug::new().with_max_iters(200);
                let size = start.dot(start).sqrt();
                let mut solver = TrustRegion::new(steihaug).with_radius(0.1 * size.max(1e-3))?;
                let (state, _) = solver.init(&mut problem, IterState::new().param(x))?;
                Inner::TrustRegion(Box::new((problem, solver, Some(state))))
            }
        })
    }
}

impl Inner<'_> {
    /// The next iterate with what it has cost in evaluations of loss and gradient; `None` when the method cannot go on.
    fn next(&mut self, prices: Prices) -> Option<(Vector, f64)> {
        fn step<'p, S: Solver<Flat<'p>, I>, I: argmin::core::State<Param = Vector>>(
            (problem, solver, slot): &mut Running<'p, S, I>,
            prices: Prices,
        ) -> Option<(Vector, f64)> {
            let before = spent(problem, prices);
            if let Some(flat) = &problem.problem {
                flat.losses.set(0);
            }
            let (mut state, _) = solver.next_iter(problem, slot.take()?).ok()?;
            state.increment_iter();
            let x = state.get_param()?.clone();
            *slot = Some(state);
            Some((x, spent(problem, prices) - before))
        }
        match self {
            Inner::Lbfgs(running) => step(running, prices),
            Inner::TrustRegion(running) => step(running, prices),
        }
    }
}

/// What losses, gradients and products with the Hessian have cost so far.
fn spent(problem: &Problem<Flat<'_>>, prices: Prices) -> f64 {
    let count = |name: &str| problem.counts.get(name).copied().unwrap_or(0) as f64;
    let products = problem.problem.as_ref().map_or(0, |flat| flat.products.get()) as f64;
    prices.loss * count("cost_count") + count("gradient_count") + prices.hessian_product * products
}

impl Optimizer for QuasiNewton<'_> {
    fn name(&self) -> String {
        match self.kind {
            Kind::Lbfgs => "lbfgs".into(),
            Kind::TrustRegion => "trust-region".into(),
        }
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        let (loss, slope) = problem.gradient(start)?;
        self.inner = self.begin(start).ok();
        self.stuck = self.inner.is_none();
        let cell = problem.cell(start.W.as_ref())?;
        let gradient = Some(slope.dot(&slope).sqrt());
        Ok(State { at: start.clone(), loss, residuals: None, gradient, cell, steps: 0, gradients: 1.0 })
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        state.steps += 1;
        state.gradients += 1.0;
        let flat = Flat { problem: self.problem, n_q: state.at.n_q(), products: Rc::default(), losses: Rc::default() };
        let prices = problem.prices(state.at.n_q());
        let next = self.inner.as_mut().and_then(|inner| inner.next(prices)).map(|(x, cost)| (flat.weights(&x), cost));
        let Some((at, cost)) = next else {
            self.stuck = true;
            return Ok(());
        };
        state.gradients += cost;
        let (loss, slope) = problem.gradient(&at)?;
        // The trust region may refuse a step, L-BFGS must not.
        let still = at == state.at;
        if !loss.is_finite() || loss > state.loss || (still && self.kind == Kind::Lbfgs) {
            self.stuck = true;
            return Ok(());
        }
        (state.at, state.loss, state.gradient) = (at, loss, Some(slope.dot(&slope).sqrt()));
        state.cell = problem.cell(state.at.W.as_ref())?;
        Ok(())
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        state.settled(problem, self.tolerance, self.stuck)
    }
}
