//! The exact simplex method: the largest margin of a system of inequalities, in a fraction-free dictionary.
//!
//! For rows a_k·z ≥ b_k and weights g_k > 0 the program is max t subject to a_k·z ≥ b_k + g_k t and t ≤ 1. It is feasible
//! (t very negative) and bounded, so one phase decides it: t > 0 is a point strictly inside, and otherwise the optimal
//! dual solution proves that there is none.

use super::domain::Domain;
use dashu::integer::IBig;
use std::cmp::Ordering;

/// The inequality coeffs·z ≥ rhs.
#[derive(Debug, Clone)]
pub(crate) struct Inequality<E> {
    pub coeffs: Vec<E>,
    pub rhs: E,
    /// Its margin counts in multiples of this integer ≥ 1, about the size of the coefficients.
    pub weight: IBig,
}

/// What the largest margin is.
#[derive(Debug, Clone)]
pub(crate) enum Margin<E> {
    /// Positive: at the point numerators/denominator (denominator > 0) every inequality is strict.
    Positive { numerators: Vec<E>, denominator: E },
    /// Not positive: (k, m_k) with m_k > 0, at least one, Σ m_k coeffs_k = 0 and Σ m_k rhs_k ≥ 0.
    Closed(Vec<(usize, E)>),
}

/// A quantity of the dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    /// z_i, any sign.
    Coordinate(usize),
    /// t, any sign.
    Margin,
    /// a_k·z − b_k − g_k t ≥ 0; the one after the last is 1 − t ≥ 0.
    Slack(usize),
}

/// denominator·basic[r] = entries[r][0] + Σ_q entries[r][q + 1]·nonbasic[q], with denominator > 0.
struct Dictionary<'a, D: Domain> {
    domain: &'a D,
    entries: Vec<Vec<D::Elem>>,
    basic: Vec<Unknown>,
    nonbasic: Vec<Unknown>,
    denominator: D::Elem,
}

/// Decides whether a point satisfies all inequalities strictly.
pub(crate) fn largest_margin<D: Domain>(
    domain: &D,
    rows: &[&Inequality<D::Elem>],
    variables: usize,
) -> Margin<D::Elem> {
    let mut dictionary = Dictionary::new(domain, rows, variables);
    let objective = dictionary.enter_margin(rows);
    // Dantzig's rule is fast but may cycle; after a run of degenerate pivots Bland's rule takes over until t has grown.
    let patience = 2 * (variables + 2);
    let mut stalled = 0;
    while let Some(column) = dictionary.entering(objective, stalled > patience) {
        let row = dictionary.leaving(column, domain.sign(&dictionary.entries[objective][column + 1]));
        stalled = if domain.sign(&dictionary.entries[row][0]) == 0 { stalled + 1 } else { 0 };
        dictionary.pivot(row, column);
    }
    dictionary.read(objective, variables)
}

impl<'a, D: Domain> Dictionary<'a, D> {
    fn new(domain: &'a D, rows: &[&Inequality<D::Elem>], variables: usize) -> Self {
        let mut entries: Vec<Vec<D::Elem>> = rows
            .iter()
            .map(|row| {
                let head = [domain.neg(&row.rhs), domain.integer(&-&row.weight)];
                head.into_iter().chain(row.coeffs.iter().cloned()).collect()
            })
            .collect();
        let mut bound = vec![domain.zero(); variables + 2];
        bound[0] = domain.one();
        bound[1] = domain.integer(&IBig::NEG_ONE);
        entries.push(bound);
        Self {
            domain,
            basic: (0..entries.len()).map(Unknown::Slack).collect(),
            nonbasic: std::iter::once(Unknown::Margin).chain((0..variables).map(Unknown::Coordinate)).collect(),
            denominator: domain.one(),
            entries,
        }
    }

    /// Makes the dictionary feasible at z = 0 by the largest t that satisfies all rows; returns the row of t.
    fn enter_margin(&mut self, rows: &[&Inequality<D::Elem>]) -> usize {
        let bound = Inequality { coeffs: Vec::new(), rhs: self.domain.integer(&IBig::NEG_ONE), weight: IBig::ONE };
        let mut tightest = (rows.len(), &bound);
        for (k, row) in rows.iter().enumerate() {
            let weigh = |a: &Inequality<D::Elem>, b: &IBig| self.domain.mul(&a.rhs, &self.domain.integer(b));
            if self.compare(&weigh(row, &tightest.1.weight), &weigh(tightest.1, &row.weight)) == Ordering::Greater {
                tightest = (k, row);
            }
        }
        self.pivot(tightest.0, 0);
        tightest.0
    }

    fn compare(&self, a: &D::Elem, b: &D::Elem) -> Ordering {
        self.domain.sign(&self.domain.add(a, &self.domain.neg(b))).cmp(&0)
    }

    /// A column along which t grows: a free one if there is any, since it never comes back.
    fn entering(&self, objective: usize, bland: bool) -> Option<usize> {
        let row = &self.entries[objective][1..];
        let mut best: Option<usize> = None;
        for (q, unknown) in self.nonbasic.iter().enumerate() {
            let sign = self.domain.sign(&row[q]);
            match unknown {
                Unknown::Coordinate(_) | Unknown::Margin if sign != 0 => return Some(q),
                Unknown::Slack(k) if sign > 0 => {
                    let better = best.is_none_or(|b| {
                        if bland {
                            matches!(self.nonbasic[b], Unknown::Slack(other) if *k < other)
                        } else {
                            let (new, old) = (self.domain.approximate(&row[q]), self.domain.approximate(&row[b]));
                            (new.exponent, new.mantissa.abs()) > (old.exponent, old.mantissa.abs())
                        }
                    });
                    if better {
                        best = Some(q);
                    }
                }
                _ => {}
            }
        }
        best
    }

    /// The row whose slack first falls to 0 when `column` moves in `direction`; ties go to the smallest slack.
    fn leaving(&self, column: usize, direction: i32) -> usize {
        let mut best: Option<(usize, usize, D::Elem)> = None;
        for (r, unknown) in self.basic.iter().enumerate() {
            let Unknown::Slack(k) = *unknown else { continue };
            let rate = &self.entries[r][column + 1];
            if self.domain.sign(rate) != -direction {
                continue;
            }
            let rate = if direction > 0 { self.domain.neg(rate) } else { rate.clone() };
            let first = best.as_ref().is_none_or(|(b, other, best_rate)| {
                let left = self.domain.mul(&self.entries[r][0], best_rate);
                let right = self.domain.mul(&self.entries[*b][0], &rate);
                match self.compare(&left, &right) {
                    Ordering::Less => true,
                    Ordering::Equal => k < *other,
                    Ordering::Greater => false,
                }
            });
            if first {
                best = Some((r, k, rate));
            }
        }
        // t ≤ 1 stops every direction along which t grows.
        best.expect("the margin is bounded").0
    }

    /// Exchanges basic[row] and nonbasic[column].
    fn pivot(&mut self, row: usize, column: usize) {
        let domain = self.domain;
        let q = column + 1;
        let negative = domain.sign(&self.entries[row][q]) < 0;
        let signed = |value: &D::Elem| if negative { domain.neg(value) } else { value.clone() };
        let pivot = signed(&self.entries[row][q]);
        let divisor = domain.divisor(&self.denominator);
        let pivot_row = self.entries[row].clone();
        for (r, entries) in self.entries.iter_mut().enumerate() {
            if r == row {
                continue;
            }
            let left = signed(&entries[q]);
            for (j, entry) in entries.iter_mut().enumerate() {
                if j != q {
                    *entry = domain.cross(&pivot, entry, &left, &pivot_row[j], &divisor);
                }
            }
            entries[q] = left;
        }
        self.entries[row] = pivot_row.iter().map(|entry| domain.neg(&signed(entry))).collect();
        self.entries[row][q] = signed(&self.denominator);
        self.denominator = pivot;
        std::mem::swap(&mut self.basic[row], &mut self.nonbasic[column]);
    }

    fn read(self, objective: usize, variables: usize) -> Margin<D::Elem> {
        if self.domain.sign(&self.entries[objective][0]) > 0 {
            let mut numerators = vec![self.domain.zero(); variables];
            for (row, unknown) in self.entries.iter().zip(&self.basic) {
                if let Unknown::Coordinate(i) = *unknown {
                    numerators[i] = row[0].clone();
                }
            }
            return Margin::Positive { numerators, denominator: self.denominator };
        }
        // t = t* + Σ (entry/denominator)·slack identically, with entries ≤ 0 at the optimum.
        let multipliers = self.nonbasic.iter().enumerate().filter_map(|(q, unknown)| {
            let entry = &self.entries[objective][q + 1];
            match *unknown {
                Unknown::Slack(k) if self.domain.sign(entry) != 0 => Some((k, self.domain.neg(entry))),
                _ => None,
            }
        });
        Margin::Closed(multipliers.collect())
    }
}
