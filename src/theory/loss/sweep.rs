//! The global minimum of L̃ along a line (V + tΔV, W + tΔW), across all cells that the line crosses.
//!
//! Neuron i changes its mind about feature d at the event t_id = (c − ⟨w_i, p_d⟩) / ⟨Δ_i, p_d⟩. Between events L̃ is the quartic of
//! [`super::line_search`]; an event changes the share of one feature only. The sweep sorts the events, keeps the polynomial of every
//! feature and their sum, and minimises each piece exactly.
//!
//! For c = 0 L̃ is continuous and the minimum exists. For c > 0 it jumps at events, and the infimum may be the limit at an
//! end that does not belong to the piece: then it is not attained. At an event itself every neuron that changes is silent, so that the
//! point may have a pattern of its own; events that coincide must therefore be recognised, and where rounding leaves their order
//! open it is decided in rational arithmetic on the given f64 numbers.
//!
//! There are at most n·n_q events, at a cost of n_r + log n each, beside six matrix products.

mod events;
#[cfg(test)]
mod tests;

use super::line_search::Quartic;
use super::products::{add_product, mask, product};
use super::{ApproximateLoss, LossError, Weights};
use events::{Event, Groups};
use faer::Mat;

/// How many pieces are evaluated afresh, with the smallest minima by the running polynomials.
const FINALISTS: usize = 8;

/// The least value of L̃ on a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineMinimum {
    /// Where it is, or where the limit is taken.
    pub t: f64,
    /// The minimum, or the infimum.
    pub value: f64,
    /// True if L̃ takes the value at t; always true for c = 0. A minimum that is attained wins over a limit that is equal up to
    /// rounding.
    pub attained: bool,
    /// The end points of the piece on which it lies; both are `t` if the minimum is at an event with a pattern of its own.
    pub piece: (f64, f64),
    /// How many events the line has.
    pub events: usize,
}

/// A piece's minimum by the running polynomial, before it is evaluated afresh.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    t: f64,
    predicted: f64,
    attained: bool,
    piece: (f64, f64),
    /// Events in the sweep's order that have happened.
    happened: usize,
}

impl ApproximateLoss {
    /// The least value of L̃ over from ≤ t ≤ to; infinite ends are allowed.
    pub fn line_minimum(
        &self,
        weights: &Weights,
        direction: &Weights,
        from: f64,
        to: f64,
    ) -> Result<LineMinimum, LossError> {
        self.check_pair(weights, direction)?;
        for (name, block) in
            [("V", &weights.V), ("W", &weights.W), ("direction V", &direction.V), ("direction W", &direction.W)]
        {
            if !block.is_all_finite() {
                return Err(LossError::NotFinite(name));
            }
        }
        // Not `from > to`, which is false for a bound that is not a number.
        if !(from <= to) || from == f64::INFINITY || to == f64::NEG_INFINITY {
            return Err(LossError::Parameter {
                name: "from",
                expected: "a number <= to, not both infinite",
                found: from,
            });
        }
        let line = Line::new(self, weights, direction);
        let Groups { order, groups } = line.events();
        let mut state = State::new(&line);
        let mut best = Finalists(Vec::new());
        let (mut last, mut last_closed, mut happened) = (f64::NEG_INFINITY, false, 0);
        for group in &groups {
            let changes = &order[group.from..group.to];
            let offs = changes.iter().filter(|e| !e.on).count();
            let (all_on, all_off) = (offs == 0, offs == changes.len());
            let continuous = self.c == 0.0;
            let piece = Piece { from: (last, last_closed), to: (group.t, continuous || all_on), happened };
            piece.minima(&state.total(), (from, to), &mut best);
            // Neurons go silent before others fire, so that the state in between is that of the event itself.
            for event in &changes[..offs] {
                state.apply(&line, event);
            }
            happened += offs;
            if !(continuous || all_on || all_off) {
                let point = Piece { from: (group.t, true), to: (group.t, true), happened };
                point.minima(&state.total(), (from, to), &mut best);
            }
            for event in &changes[offs..] {
                state.apply(&line, event);
            }
            happened += changes.len() - offs;
            (last, last_closed) = (group.t, continuous || all_off);
        }
        Piece { from: (last, last_closed), to: (f64::INFINITY, false), happened }.minima(
            &state.total(),
            (from, to),
            &mut best,
        );
        Ok(best.decide(&line, &order))
    }
}

/// The line, with the pre-activations A and their rates on it.
struct Line<'a> {
    loss: &'a ApproximateLoss,
    weights: &'a Weights,
    direction: &'a Weights,
    A: Mat<f64>,
    rates: Mat<f64>,
}

impl<'a> Line<'a> {
    fn new(loss: &'a ApproximateLoss, weights: &'a Weights, direction: &'a Weights) -> Self {
        let (A, rates) = (loss.pre_activations(weights.W.as_ref()), loss.pre_activations(direction.W.as_ref()));
        Self { loss, weights, direction, A, rates }
    }

    /// L̃ at t with the firing sets after the given events, without running sums.
    fn value(&self, t: f64, happened: &[Event]) -> f64 {
        let mut firing = self.initially_firing();
        for event in happened {
            firing[(event.i, event.d)] = f64::from(u8::from(event.on));
        }
        let mut Z = &self.A + faer::Scale(t) * &self.rates;
        mask(&mut Z, &firing);
        let V = &self.weights.V + faer::Scale(t) * &self.direction.V;
        let E = self.loss.residuals_of(V.as_ref(), Z.as_ref());
        self.loss.inner(&E, &E)
    }

    /// 1 where neuron i fires on feature d before the first event.
    fn initially_firing(&self) -> Mat<f64> {
        Mat::from_fn(self.A.nrows(), self.A.ncols(), |i, d| f64::from(u8::from(self.fires_at_first(i, d))))
    }
}

/// The residual E₀ − t E₁ − t² E₂ of every feature in the current cell, and the sum of their quartics.
struct State {
    E: [Mat<f64>; 3],
    /// A binary tree: the sum changes with one leaf without accumulating rounding errors.
    sums: Vec<[f64; 5]>,
    leaves: usize,
}

impl State {
    fn new(line: &Line) -> Self {
        let (loss, firing) = (line.loss, line.initially_firing());
        let (V, dV) = (line.weights.V.as_ref(), line.direction.V.as_ref());
        let (mut Z, mut rates) = (line.A.clone(), line.rates.clone());
        mask(&mut Z, &firing);
        mask(&mut rates, &firing);
        let mut E1 = product(dV, Z.as_ref(), loss.par);
        add_product(&mut E1, 1.0, V, rates.as_ref(), loss.par);
        let E = [loss.residuals_of(V, Z.as_ref()), E1, product(dV, rates.as_ref(), loss.par)];
        let leaves = loss.n().next_power_of_two();
        let mut state = Self { E, sums: vec![[0.0; 5]; 2 * leaves], leaves };
        for d in 0..loss.n() {
            state.sums[leaves + d] = state.quartic_of(d, loss.masses[d]);
        }
        for node in (1..leaves).rev() {
            state.sums[node] = state.children(node);
        }
        state
    }

    fn total(&self) -> Quartic {
        Quartic { coefficients: self.sums[1] }
    }

    fn children(&self, node: usize) -> [f64; 5] {
        let (left, right) = (&self.sums[2 * node], &self.sums[2 * node + 1]);
        std::array::from_fn(|k| left[k] + right[k])
    }

    fn quartic_of(&self, d: usize, mass: f64) -> [f64; 5] {
        let [E0, E1, E2] = [0, 1, 2].map(|k| self.E[k].col_as_slice(d));
        let dot = |a: &[f64], b: &[f64]| mass * a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        [dot(E0, E0), -2.0 * dot(E0, E1), dot(E1, E1) - 2.0 * dot(E0, E2), 2.0 * dot(E1, E2), dot(E2, E2)]
    }

    fn apply(&mut self, line: &Line, event: &Event) {
        let &Event { i, d, on, .. } = event;
        let sign = if on { 1.0 } else { -1.0 };
        let (a, rate) = (sign * line.A[(i, d)], sign * line.rates[(i, d)]);
        for k in 0..line.loss.n_r() {
            let (v, dv) = (line.weights.V[(k, i)], line.direction.V[(k, i)]);
            self.E[0][(k, d)] -= a * v;
            self.E[1][(k, d)] += a * dv + rate * v;
            self.E[2][(k, d)] += rate * dv;
        }
        let mut node = self.leaves + d;
        self.sums[node] = self.quartic_of(d, line.loss.masses[d]);
        while node > 1 {
            node /= 2;
            self.sums[node] = self.children(node);
        }
    }
}

/// One piece between events: its ends, each with whether it belongs to the piece.
struct Piece {
    from: (f64, bool),
    to: (f64, bool),
    happened: usize,
}

impl Piece {
    /// Hands in the piece's minima on the range: stationary points, the ends, and one inner point for a constant.
    fn minima(&self, quartic: &Quartic, range: (f64, f64), best: &mut Finalists) {
        let (lo, lo_closed) = if range.0 > self.from.0 { (range.0, true) } else { self.from };
        let (hi, hi_closed) = if range.1 < self.to.0 { (range.1, true) } else { self.to };
        if !(lo < hi || (lo == hi && lo_closed && hi_closed)) {
            return;
        }
        let inner = match (lo.is_finite(), hi.is_finite()) {
            (true, true) => lo + (hi - lo) / 2.0,
            (true, false) => lo + 1.0,
            (false, true) => hi - 1.0,
            (false, false) => 0.0,
        };
        let stationary = quartic.critical_points().into_iter().filter(|t| lo < *t && *t < hi);
        let ends = [(lo, lo_closed), (hi, hi_closed)].into_iter().filter(|(t, _)| t.is_finite());
        for (t, attained) in stationary.map(|t| (t, true)).chain(ends).chain([(inner, true)]) {
            let (piece, happened) = ((self.from.0, self.to.0), self.happened);
            best.hand_in(Candidate { t, predicted: quartic.value(t), attained, piece, happened });
        }
    }
}

/// The best candidates, best first, and never more than [`FINALISTS`] of each kind.
struct Finalists(Vec<Candidate>);

impl Finalists {
    fn hand_in(&mut self, candidate: Candidate) {
        let alike = self.0.iter().filter(|c| c.attained == candidate.attained);
        if alike.clone().count() >= FINALISTS && alike.clone().all(|c| c.predicted <= candidate.predicted) {
            return;
        }
        let at = self.0.partition_point(|c| c.predicted <= candidate.predicted);
        self.0.insert(at, candidate);
        if self.0.iter().filter(|c| c.attained == candidate.attained).count() > FINALISTS
            && let Some(worst) = self.0.iter().rposition(|c| c.attained == candidate.attained)
        {
            self.0.remove(worst);
        }
    }

    /// Evaluates the candidates afresh. There is one at least: the sweep covers the whole range.
    fn decide(self, line: &Line, order: &[Event]) -> LineMinimum {
        let judged: Vec<(f64, Candidate)> =
            self.0.into_iter().map(|c| (line.value(c.t, &order[..c.happened]), c)).collect();
        let least = judged.iter().map(|(value, _)| *value).fold(f64::INFINITY, f64::min);
        let scale: f64 = line.loss.inner(&line.loss.R, &line.loss.R);
        let tolerance = 64.0 * f64::EPSILON * (scale + least);
        let first = |wanted: bool| {
            let alike = judged.iter().filter(|(value, c)| c.attained == wanted && *value <= least + tolerance);
            alike.min_by(|x, y| x.0.total_cmp(&y.0))
        };
        let winner = first(true).or_else(|| first(false));
        winner.map_or(
            LineMinimum {
                t: f64::NAN,
                value: f64::NAN,
                attained: false,
                piece: (f64::NAN, f64::NAN),
                events: order.len(),
            },
            |(value, c)| LineMinimum {
                t: c.t,
                value: *value,
                attained: c.attained,
                piece: c.piece,
                events: order.len(),
            },
        )
    }
}
