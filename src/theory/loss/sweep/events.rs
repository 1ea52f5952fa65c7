//! The events of a line: where a neuron changes its mind about a feature, in their true order.

use super::Line;
use crate::exact::{Rational, rational};
use faer::MatRef;
use std::cmp::Ordering;

/// Neuron i begins (`on`) or ceases to fire on feature d at t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub t: f64,
    pub i: usize,
    pub d: usize,
    pub on: bool,
    /// A bound on the rounding error of `t`.
    error: f64,
}

/// Events that happen at one t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub t: f64,
    /// They are order[from..to], those that cease first.
    pub from: usize,
    pub to: usize,
}

/// All events in order, grouped by time.
pub(super) struct Groups {
    pub order: Vec<Event>,
    pub groups: Vec<Group>,
}

impl Line<'_> {
    /// Whether neuron i fires on feature d as t → −∞.
    pub(super) fn fires_at_first(&self, i: usize, d: usize) -> bool {
        match self.crossing(i, d) {
            Some(event) => !event.on,
            None => {
                let (a, c) = (self.A[(i, d)], self.loss.c);
                if c > 0.0 && (a - c).abs() <= self.rounding(self.weights.W.as_ref(), i, d) {
                    self.exact(self.weights.W.as_ref(), i, d) > exact(c)
                } else {
                    a > c
                }
            }
        }
    }

    /// Every event, in order. For c = 0, where L̃ is continuous, the order by rounded times will do.
    pub(super) fn events(&self) -> Groups {
        let (n_q, n) = (self.A.nrows(), self.A.ncols());
        let mut order: Vec<Event> = (0..n).flat_map(|d| (0..n_q).filter_map(move |i| self.crossing(i, d))).collect();
        order.sort_by(|x, y| x.t.total_cmp(&y.t).then(x.on.cmp(&y.on)));
        if self.loss.c > 0.0 {
            self.settle(&mut order);
        }
        let mut groups: Vec<Group> = Vec::new();
        for (at, event) in order.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if group.t == event.t => group.to = at + 1,
                _ => groups.push(Group { t: event.t, from: at, to: at + 1 }),
            }
        }
        for group in &groups {
            order[group.from..group.to].sort_by_key(|e| e.on);
        }
        Groups { order, groups }
    }

    /// The event of neuron i and feature d, if they have one within the range of f64.
    fn crossing(&self, i: usize, d: usize) -> Option<Event> {
        let (a, rate, c) = (self.A[(i, d)], self.rates[(i, d)], self.loss.c);
        let (of_a, of_rate) =
            (self.rounding(self.weights.W.as_ref(), i, d), self.rounding(self.direction.W.as_ref(), i, d));
        if c > 0.0 && rate.abs() <= 4.0 * of_rate {
            // Too small to trust: even its sign may be an effect of rounding.
            let rate = self.exact(self.direction.W.as_ref(), i, d);
            if rate.is_zero() {
                return None;
            }
            let t = rational::to_f64(&self.exact_time(i, d, &rate));
            let event = Event { t, i, d, on: rational::sign(&rate) > 0, error: t.abs() * f64::EPSILON };
            return t.is_finite().then_some(event);
        }
        let t = (c - a) / rate;
        let error = 2.0 * (of_a + t.abs() * of_rate) / rate.abs() + t.abs() * f64::EPSILON;
        (rate != 0.0 && t.is_finite()).then_some(Event { t, i, d, on: rate > 0.0, error })
    }

    /// Orders each run of events whose error intervals overlap by their exact times; equal exact times become equal f64.
    fn settle(&self, order: &mut [Event]) {
        let mut from = 0;
        while from < order.len() {
            let mut reach = order[from].t + order[from].error;
            let mut to = from + 1;
            while to < order.len() && order[to].t - order[to].error <= reach {
                reach = reach.max(order[to].t + order[to].error);
                to += 1;
            }
            if to - from > 1 {
                let mut exact: Vec<(Rational, Event)> = order[from..to]
                    .iter()
                    .map(|e| {
                        // Not zero: the rounded rate of a crossing exceeds the bound on its error, or the exact one was taken.
                        let rate = self.exact(self.direction.W.as_ref(), e.i, e.d);
                        (self.exact_time(e.i, e.d, &rate), *e)
                    })
                    .collect();
                exact.sort_by(|x, y| x.0.cmp(&y.0).then(x.1.on.cmp(&y.1.on)));
                separate(&mut exact);
                for (event, (_, settled)) in order[from..to].iter_mut().zip(exact) {
                    *event = settled;
                }
            }
            from = to;
        }
    }

    /// A bound on the rounding error of ⟨row i, p_d⟩: (n_p + 2)·ε‖w‖‖p‖ exceeds n_p·ε·Σ|w_k p_k| by Cauchy and Schwarz.
    fn rounding(&self, rows: MatRef<'_, f64>, i: usize, d: usize) -> f64 {
        let n_p = self.loss.n_p() as f64;
        (n_p + 2.0) * f64::EPSILON * rows.row(i).norm_l2() * self.loss.P().col(d).norm_l2()
    }

    /// ⟨row i, p_d⟩ of the given f64 numbers, exactly.
    fn exact(&self, rows: MatRef<'_, f64>, i: usize, d: usize) -> Rational {
        let P = self.loss.P();
        (0..self.loss.n_p()).fold(Rational::ZERO, |sum, k| sum + exact(rows[(i, k)]) * exact(P[(k, d)]))
    }

    fn exact_time(&self, i: usize, d: usize, rate: &Rational) -> Rational {
        (exact(self.loss.c) - self.exact(self.weights.W.as_ref(), i, d)) / rate
    }
}

/// Gives equal exact times one f64, and different ones different f64 in the same order.
fn separate(events: &mut [(Rational, Event)]) {
    let mut last: Option<(Rational, f64)> = None;
    for (time, event) in events {
        let rounded = rational::to_f64(time);
        event.t = match &last {
            Some((before, t)) => match (*time).cmp(before) {
                Ordering::Equal => *t,
                _ => rounded.max(t.next_up()),
            },
            None => rounded,
        };
        last = Some((time.clone(), event.t));
    }
}

/// The exact value of a number that was checked to be finite.
fn exact(x: f64) -> Rational {
    rational::from_f64(x).unwrap_or(Rational::ZERO)
}
