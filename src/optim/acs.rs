//! Alternating convex search: the decoder and the encoder take turns in being optimal for each other.
//!
//! Algorithm 4.1 of Gorski, Pfeuffer and Klamroth within the closure of one cell Ω_A, the start's own: W-step, then V-step, each exact. It
//! stops on the pair of residuals (r_V, r_W), never on a small decrease of the loss: r_V = 0 after a V-step, and r_W is the decrease of the
//! next W-step. The tie-break is the nearest row and the decoder of least norm. The gauge, where c = 0 leaves scale free, is ½ ≤ ‖v_i‖/‖w_i‖ ≤ 2
//! for every live neuron: rows and columns are scaled by powers of two, which round no code. The limit may sit on the boundary of the cell, so that its pattern is read again at the end ([`super::end_point`]).
//!
//! | variant | what it does besides |
//! |---|---|
//! | proximal | ρ‖V − V₀‖² and ρ‖W − W₀‖² are added to the steps, ρ relative to the mean mass; a W-step of coupled rows is one pass |
//! | extrapolated | after each sweep an exact search along the line through the last two iterates, as far as the closure of the cell reaches, and a V-step |
//! | accelerated | in place of a V-step, the step of L-BFGS on the loss with the encoder eliminated, in the metric of V-steps (`eliminated.rs`), and where that is not lower a V-step; the iterate has r_W = 0, and r_V is the decrease of the V-step |
//! | piecewise | the W-step may leave the cell: where the search along the line to the encoder that is best without inequalities, across all cells (event sweep), ends lower, that point and its cell are taken; at a partial optimum with multipliers or silent rows the line along −∇_W is tried as well |
//! | insertion | at a partial optimum the neuron whose loss costs least is replaced by the one that gains most, ‖q(w)‖²/Σ M_d z_d², if that lowers the loss |
//!
//! # Requirements
//! A threshold activation. Within a cell the loss never rises. [`super::price`] says what a step costs.
//!
//! # References
//! Gorski, Pfeuffer, Klamroth 2007, *Biconvex sets and optimization with biconvex functions*. Attouch, Bolte, Redont, Soubeyran 2010 for the
//! proximal variant. Rajih, Comon, Harshman 2008, *Enhanced line search*, for the extrapolation. De Sterck, Howse 2018, *Nonlinearly
//! preconditioned L-BFGS as an acceleration mechanism for alternating least squares*.

use super::cell::{column, dot};
use super::eliminated::Memory;
use super::encoder_step::{cell_quartic, longest_step, pre_activations};
use super::price::{Sizes, singular};
use super::{Biconvex, Optimizer, Residuals, State, Termination};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::{Mat, MatRef};

/// A proximal sweep that gains less than this fraction of the loss has gained little.
const LITTLE: f64 = 1e-11;

/// Extrapolation goes at most this many times the last change of the iterate further.
const FURTHEST: f64 = 1000.0;

/// A step of L-BFGS lowers the loss by at least this fraction of what its slope promises.
const SUFFICIENT: f64 = 1e-4;

/// Which alternating method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Variant {
    /// Within the start's cell.
    Cell,
    /// With proximal terms of this weight, relative to the mean mass.
    Proximal(f64),
    /// Within the start's cell, with a search along the line through the last two iterates.
    Extrapolated,
    /// Within the start's cell, with steps of L-BFGS on the loss with the encoder eliminated.
    Accelerated,
    /// Across cells.
    Piecewise,
    /// Across cells, and with neurons moved where they gain most.
    Insertion,
}

/// Alternating convex search.
#[derive(Debug, Clone)]
pub struct AlternatingSearch<'a> {
    problem: &'a ApproximateLoss,
    variant: Variant,
    tolerance: f64,
    rho: f64,
    /// True when no insertion lowers the loss any more.
    exhausted: bool,
    memory: Memory,
}

impl<'a> AlternatingSearch<'a> {
    /// The method for one problem; it stops when both residuals are at most `tolerance` times the loss.
    pub fn new(problem: &'a ApproximateLoss, variant: Variant, tolerance: f64) -> Self {
        let mean = problem.masses().iter().sum::<f64>() / problem.n() as f64;
        let rho = if let Variant::Proximal(factor) = variant { factor * mean } else { 0.0 };
        Self { problem, variant, tolerance, rho, exhausted: false, memory: Memory::default() }
    }

    fn crosses(&self) -> bool {
        matches!(self.variant, Variant::Piecewise | Variant::Insertion)
    }

    /// The point that the event sweep along (0, direction) finds, if it is lower than `value`.
    fn sweep(&self, state: &mut State, direction: Mat<f64>, value: f64) -> Result<Option<(Weights, f64)>, LossError> {
        let direction = Weights { V: Mat::zeros(state.at.V.nrows(), state.at.V.ncols()), W: direction };
        let minimum = self.problem.line_minimum(&state.at, &direction, 0.0, f64::INFINITY)?;
        let prices = self.problem.prices(state.at.n_q());
        state.gradients += prices.line_search + minimum.events as f64 * prices.event;
        if !(minimum.attained && minimum.value < value && minimum.t > 0.0) {
            return Ok(None);
        }
        let at = state.at.plus(minimum.t, &direction);
        state.gradients += prices.loss;
        // The point is evaluated as it is, since rounding may have put it on the other side of an event.
        let value = Some(self.problem.value(&at)?).filter(|found| *found < value);
        Ok(value.map(|value| (at, value)))
    }

    /// W with every row at its minimiser without inequalities, others fixed, minus W; and the multiply-adds that it has taken.
    fn free_direction(&self, state: &State) -> Result<(Mat<f64>, f64), LossError> {
        let problem = self.problem;
        let (V, P) = (&state.at.V, problem.P());
        let E = problem.residuals(&state.at)?;
        let [n_p, n_r] = [problem.n_p(), problem.n_r()].map(|size| size as f64);
        let mut work = Sizes::new(problem, state.at.n_q()).loss();
        let mut D = Mat::zeros(state.at.n_q(), problem.n_p());
        for (i, on) in state.cell.on.iter().enumerate() {
            let v = V.col_as_slice(i);
            let s = dot(v, v);
            if s > 0.0 && !on.is_empty() {
                let columns =
                    Mat::from_fn(problem.n_p(), on.len(), |k, b| P[(k, on[b])] * problem.masses()[on[b]].sqrt());
                let asked = Mat::from_fn(on.len(), 1, |b, _| {
                    dot(column(E.as_ref(), on[b]), v) / s * problem.masses()[on[b]].sqrt()
                });
                let svd = columns.transpose().thin_svd().map_err(|_| LossError::Decomposition)?;
                let row = svd.pseudoinverse() * asked;
                let size = on.len() as f64;
                work += n_r * (size + 1.0) + singular(size, n_p) + size * n_p * (size.min(n_p) + 1.0);
                (0..problem.n_p()).for_each(|k| D[(i, k)] = row[(k, 0)]);
            }
        }
        Ok((D, work))
    }

    /// A step of the accelerated variant, from an encoder that is best for its decoder; the first one makes it so.
    fn accelerate(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let prices = problem.prices(state.at.n_q());
        let sizes = Sizes::new(self.problem, state.at.n_q());
        state.residuals = None;
        if state.steps == 1 {
            let encoder = problem.w_step(&state.cell, &state.at, 0.0)?;
            state.gradients += encoder.cost + prices.loss;
            state.at.W = encoder.W;
            state.loss = problem.cell_loss(&state.cell, &state.at)?;
            return Ok(());
        }
        let decoder = problem.v_step(&state.cell, &state.at, 0.0)?;
        state.gradients += decoder.cost;
        if decoder.decrease <= self.tolerance * state.loss {
            let encoder = problem.w_step(&state.cell, &state.at, 0.0)?;
            state.gradients += encoder.cost;
            let found = Residuals { r_v: decoder.decrease, r_w: encoder.decrease.max(0.0) };
            if encoder.converged && found.r_w <= self.tolerance * state.loss {
                state.residuals = Some(found);
                return Ok(());
            }
        }
        let Z = state.cell.codes(state.at.W.as_ref(), self.problem.P());
        self.memory.see(&state.at.V, &decoder.V, &Z, self.problem.masses())?;
        let codes = (state.cell.firing() * self.problem.n_p()) as f64;
        state.gradients += sizes.cost(codes + sizes.memory(self.memory.remembered()));
        let quick = self.memory.direction().map(|(D, slope)| (&state.at.V + D, SUFFICIENT * slope));
        let plain = (decoder.V, 0.0);
        for (V, change) in quick.into_iter().chain([plain]) {
            let mut to = Weights { V, W: state.at.W.clone() };
            let encoder = problem.w_step(&state.cell, &to, 0.0)?;
            state.gradients += encoder.cost + prices.loss;
            to.W = encoder.W;
            let value = problem.cell_loss(&state.cell, &to)?;
            if value <= state.loss + change {
                (state.at, state.loss) = (to, value);
                break;
            }
            self.memory.forget();
        }
        if self.problem.c() == 0.0 {
            self.memory.rescale(&balance(&mut state.at));
        }
        Ok(())
    }

    fn accept(state: &mut State, at: Weights, value: f64, cell: super::Cell) {
        (state.at, state.loss, state.cell) = (at, value, cell);
    }

    /// Replaces the neuron that costs least by the one that gains most; false if that lowers nothing. The state pays for what is tried.
    fn insert(&self, state: &mut State) -> Result<bool, LossError> {
        let problem = self.problem;
        let sizes = Sizes::new(problem, state.at.n_q());
        let removal = (state.cell.firing() * (problem.n_p() + problem.n_r())) as f64;
        state.gradients += sizes.cost(2.0 * sizes.loss() + removal);
        let E = problem.residuals(&state.at)?;
        let Some((cheapest, cost)) = cheapest(problem, state, E.as_ref()) else { return Ok(false) };
        // Without that neuron.
        let mut without = state.at.clone();
        (0..problem.n_r()).for_each(|k| without.V[(k, cheapest)] = 0.0);
        (0..problem.n_p()).for_each(|k| without.W[(cheapest, k)] = 0.0);
        let E = problem.residuals(&without)?;
        let Candidates { best, tried } = best_neuron(problem, E.as_ref())?;
        state.gradients += sizes.cost(tried as f64 * sizes.candidate());
        let Some(NewNeuron { row, column, gain }) = best else { return Ok(false) };
        if gain <= cost * (1.0 + 1e-9) + 1e-12 * state.loss {
            return Ok(false);
        }
        (0..problem.n_r()).for_each(|k| without.V[(k, cheapest)] = column[k]);
        (0..problem.n_p()).for_each(|k| without.W[(cheapest, k)] = row[k]);
        let value = problem.value(&without)?;
        state.gradients += sizes.cost(sizes.loss());
        if value >= state.loss * (1.0 - 1e-12) {
            return Ok(false);
        }
        let cell = Biconvex::cell(problem, without.W.as_ref())?;
        state.gradients += sizes.cost(sizes.codes());
        Self::accept(state, without, value, cell);
        Ok(true)
    }
}

impl Optimizer for AlternatingSearch<'_> {
    fn name(&self) -> String {
        match self.variant {
            Variant::Cell => "acs".into(),
            Variant::Proximal(factor) => format!("acs-proximal-{factor}"),
            Variant::Extrapolated => "acs-extrapolated".into(),
            Variant::Accelerated => "acs-accelerated".into(),
            Variant::Piecewise => "acs-piecewise".into(),
            Variant::Insertion => "acs-insertion".into(),
        }
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        self.exhausted = false;
        self.memory.clear();
        let (cell, loss) = (problem.cell(start.W.as_ref())?, problem.loss(start)?);
        Ok(State { at: start.clone(), loss, residuals: None, gradient: None, cell, steps: 0, gradients: 1.0 })
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let prices = problem.prices(state.at.n_q());
        state.steps += 1;
        if state.steps == 1 {
            let decoder = problem.v_step(&state.cell, &state.at, self.rho)?;
            state.at.V = decoder.V;
            state.gradients += decoder.cost;
        }
        if self.variant == Variant::Accelerated {
            return self.accelerate(problem, state);
        }
        let before = (self.variant == Variant::Extrapolated).then(|| state.at.clone());
        let encoder = problem.w_step(&state.cell, &state.at, self.rho)?;
        state.gradients += encoder.cost;
        // The iterate before this W-step had r_V = 0 and r_W = its decrease.
        let r_w = encoder.decrease.max(0.0);
        let settled = self.rho == 0.0 && encoder.converged && r_w <= self.tolerance * state.loss;
        let mut moved = false;
        if self.crosses() {
            let before = problem.loss(&state.at)?;
            let inside = before - r_w;
            let (free, work) = self.free_direction(state)?;
            state.gradients += prices.loss + Sizes::new(self.problem, state.at.n_q()).cost(work);
            let mut directions = vec![free];
            if settled {
                directions.push(faer::Scale(-1.0) * problem.gradient(&state.at)?.1.W);
                state.gradients += 1.0;
            }
            for direction in directions {
                let lower = inside - 1e-12 * before.abs();
                if let Some((at, value)) = self.sweep(state, direction, lower)? {
                    state.gradients += prices.cell;
                    let cell = problem.cell(at.W.as_ref())?;
                    if cell != state.cell {
                        Self::accept(state, at, value, cell);
                        moved = true;
                        break;
                    }
                }
            }
        }
        if !moved {
            if settled {
                if self.variant == Variant::Insertion && !self.exhausted {
                    self.exhausted = !self.insert(state)?;
                    moved = !self.exhausted;
                }
                if !moved {
                    state.residuals = Some(Residuals { r_v: 0.0, r_w });
                    return Ok(());
                }
            } else {
                state.at.W = encoder.W;
            }
        }
        let decoder = problem.v_step(&state.cell, &state.at, self.rho)?;
        state.gradients += decoder.cost + prices.loss;
        state.at.V = decoder.V;
        if let Some(before) = before {
            let sizes = Sizes::new(self.problem, state.at.n_q());
            state.gradients += sizes.cost(sizes.cell_search(state.cell.firing()));
            if let Some(at) = extrapolated(self.problem, &state.cell, &before, &state.at) {
                state.at = at;
                let decoder = problem.v_step(&state.cell, &state.at, 0.0)?;
                state.gradients += decoder.cost;
                state.at.V = decoder.V;
            }
        }
        if self.problem.c() == 0.0 {
            balance(&mut state.at);
        }
        let before = std::mem::replace(&mut state.loss, problem.cell_loss(&state.cell, &state.at)?);
        state.residuals = None;
        // A proximal step measures nothing but itself, so that the residuals are asked for once it gains little.
        if self.rho > 0.0 && before - state.loss <= LITTLE * state.loss {
            let decoder = problem.v_step(&state.cell, &state.at, 0.0)?;
            let encoder = problem.w_step(&state.cell, &state.at, 0.0)?;
            state.gradients += decoder.cost + encoder.cost;
            state.residuals = Some(Residuals { r_v: decoder.decrease, r_w: encoder.decrease.max(0.0) });
        }
        Ok(())
    }

    fn terminate(&self, _: &dyn Biconvex, state: &State) -> Option<Termination> {
        let Residuals { r_v, r_w } = state.residuals?;
        let tolerance = self.tolerance;
        (r_v.max(r_w) <= tolerance * state.loss).then_some(Termination::PartialOptimum { r_v, r_w, tolerance })
    }
}

/// The best point beyond `at` on the line from `before` in the closure of the cell, by the roots of the derivative of a quartic; `None` if it is `at`
/// itself.
fn extrapolated(problem: &ApproximateLoss, cell: &super::Cell, before: &Weights, at: &Weights) -> Option<Weights> {
    let direction = at.plus(-1.0, before);
    let most = longest_step(problem, cell, &pre_activations(problem, &at.W), &direction.W, FURTHEST);
    let t = cell_quartic(problem, cell, at, &direction).minimiser_between(0.0, most);
    (t > 0.0).then(|| at.plus(t, &direction))
}

/// Scales every neuron so that ½ ≤ ‖v_i‖/‖w_i‖ ≤ 2, by a power of two, so that no code is rounded. Returns what columns were divided by.
pub(super) fn balance(at: &mut Weights) -> Vec<f64> {
    let mut factors = vec![1.0; at.n_q()];
    for (i, factor) in factors.iter_mut().enumerate() {
        let v = dot(at.V.col_as_slice(i), at.V.col_as_slice(i)).sqrt();
        let w = (0..at.W.ncols()).map(|k| at.W[(i, k)] * at.W[(i, k)]).sum::<f64>().sqrt();
        if v > 0.0 && w > 0.0 && v.is_finite() && w.is_finite() {
            let t = (0.5 * (v / w).log2()).round().exp2();
            at.V.col_as_slice_mut(i).iter_mut().for_each(|x| *x /= t);
            (0..at.W.ncols()).for_each(|k| at.W[(i, k)] *= t);
            *factor = t;
        }
    }
    factors
}

/// The neuron whose removal raises the loss least, and by how much: Σ_d M_d (2⟨e_d, v⟩z_d + z_d²‖v‖²).
fn cheapest(problem: &ApproximateLoss, state: &State, E: MatRef<'_, f64>) -> Option<(usize, f64)> {
    let Z = state.cell.codes(state.at.W.as_ref(), problem.P());
    let cost = |i: usize| {
        let v = state.at.V.col_as_slice(i);
        let s = dot(v, v);
        let of = |&d: &usize| problem.masses()[d] * Z[(i, d)] * (2.0 * dot(column(E, d), v) + Z[(i, d)] * s);
        state.cell.on[i].iter().map(of).sum::<f64>()
    };
    (0..state.at.n_q()).map(|i| (i, cost(i))).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// A neuron that could be added.
pub(super) struct NewNeuron {
    /// Its encoder row, n_p numbers.
    pub row: Vec<f64>,
    /// Its best decoder column, n_r numbers.
    pub column: Vec<f64>,
    /// By how much it lowers the loss.
    pub gain: f64,
}

/// What a search for a new neuron has found.
pub(super) struct Candidates {
    /// The neuron that gains most; `None` if nothing gains.
    pub best: Option<NewNeuron>,
    /// Rows that were tried.
    pub tried: u64,
}

/// The neuron that gains most, found from every feature's own direction p_d by alternating column and row a few times.
pub(super) fn best_neuron(problem: &ApproximateLoss, E: MatRef<'_, f64>) -> Result<Candidates, LossError> {
    let mut best: Option<NewNeuron> = None;
    let mut tried = 0;
    for d in 0..problem.n() {
        let mut row = column(problem.P(), d).to_vec();
        for _ in 0..4 {
            // Above the threshold on its own feature.
            let own = dot(&row, column(problem.P(), d));
            if own <= 0.0 {
                break;
            }
            if problem.c() > 0.0 {
                row.iter_mut().for_each(|x| *x *= 2.0 * problem.c() / own);
            }
            let added = problem.added_neuron(E, &row)?;
            tried += 1;
            if added.decrease > best.as_ref().map_or(0.0, |best| best.gain) {
                best = Some(NewNeuron { row: row.clone(), column: added.column.clone(), gain: added.decrease });
            }
            // Rows that ask every feature for what its residual wants of this column.
            let mut next = vec![0.0; row.len()];
            for e in 0..problem.n() {
                let wanted = problem.masses()[e] * dot(column(E, e), &added.column).max(0.0);
                next.iter_mut().zip(column(problem.P(), e)).for_each(|(x, p)| *x += wanted * p);
            }
            let norm = dot(&next, &next).sqrt();
            if norm == 0.0 {
                break;
            }
            next.iter_mut().for_each(|x| *x /= norm);
            row = next;
        }
    }
    Ok(Candidates { best, tried })
}

#[cfg(test)]
mod tests;
