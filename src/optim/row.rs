//! The W-step of one row: with t_d the code that feature d ∈ F asks for and h_d its weight,
//!
//! ```text
//!     min  Σ_{d∈F} h_d (⟨w, p_d⟩ − t_d)² + ρ‖w − w₀‖²     s.t.  ⟨w, p_d⟩ ≥ c for d ∈ F,  ⟨w, p_e⟩ ≤ c for e ∉ F.
//! ```
//!
//! If the row nearest to w₀ with exactly the codes t keeps all inequalities, that is the answer for ρ = 0. Else the problem is solved by
//! proximal points, each of which is strictly convex and is solved in its dual,
//!
//! ```text
//!     min ½ λᵀQλ − λᵀs,  λ ≥ 0,   Q = Gᵀ K⁻¹ G,   K = 2(ρ I + P_F H P_Fᵀ),
//! ```
//!
//! by the active-set method of Lawson and Hanson, started from the active set before; K⁻¹ is applied by Woodbury's identity, so that
//! nothing is larger than |F| or the active set. The constraints' columns are G = (p_e for e ∉ F, −p_d for d ∈ F). Once two proximal points
//! agree on the active set, the problem with equality on it is solved directly, and that is the answer if it keeps the other inequalities
//! and no multiplier is negative.
//!
//! References: Lawson, Hanson 1974, ch. 23; Rockafellar 1976.

use super::cell::{column, dot};
use super::cholesky::Factor;
use super::price::{cholesky, orthogonal, singular};
use faer::{Mat, MatRef};
use std::cell::Cell;

/// Proximal points at most; each multiplies what is missing by ρ/(ρ + σ), σ ≥ the smallest curvature, so that few suffice.
const PROXIMAL_POINTS: usize = 60;
/// Changes of the active set of one proximal point, in multiples of the number of constraints.
const CHANGES: usize = 4;
/// Relative change of the row below which proximal points have ended.
const ACCURACY: f64 = 1e-14;

/// Singular values below this times the largest norm of a weighted feature count as zero.
const RANK: f64 = 1e-12;

/// One row's problem.
pub(super) struct RowProblem<'a> {
    /// P, n_p×n.
    pub P: MatRef<'a, f64>,
    /// F, ascending.
    pub on: &'a [usize],
    /// h_d > 0 for d ∈ F.
    pub weights: &'a [f64],
    /// t_d for d ∈ F.
    pub targets: &'a [f64],
    /// c.
    pub c: f64,
    /// ρ ≥ 0.
    pub proximal: f64,
    /// Multiply-adds so far.
    work: Cell<f64>,
}

/// Its solution.
pub(super) struct RowStep {
    /// w.
    pub w: Vec<f64>,
    /// ⟨w, p_d⟩ for d ∈ F.
    pub codes: Vec<f64>,
    /// (d, λ_d > 0) for the inequalities that hold the row back, in the scale of the loss.
    pub multipliers: Vec<(usize, f64)>,
    /// False if the budget ended first; then the row keeps the inequalities but may not be the best one.
    pub converged: bool,
}

impl<'a> RowProblem<'a> {
    /// With (c, ρ).
    pub fn new(
        P: MatRef<'a, f64>,
        on: &'a [usize],
        weights: &'a [f64],
        targets: &'a [f64],
        (c, proximal): (f64, f64),
    ) -> Self {
        Self { P, on, weights, targets, c, proximal, work: Cell::new(0.0) }
    }

    /// Multiply-adds that its solutions have taken, as [`super::price`] counts them.
    pub fn work(&self) -> f64 {
        self.work.get()
    }

    /// Counts so many products with columns of P.
    fn count(&self, columns: usize) {
        self.multiply((columns * self.P.nrows()) as f64);
    }

    /// Counts so many multiply-adds.
    fn multiply(&self, count: f64) {
        self.work.set(self.work.get() + count);
    }

    /// Solves it near the row w₀, which lies in the closure of the cell up to rounding; `warm` are constraints that are likely to be active.
    pub fn solve(&self, w0: &[f64], warm: &[usize]) -> RowStep {
        let gram = self.gram();
        if self.proximal == 0.0
            && let Some(step) = self.exact_hit(w0, &gram)
        {
            return step;
        }
        self.constrained(w0, &gram, warm)
    }

    fn gram(&self) -> Vec<Vec<f64>> {
        self.count(self.on.len() * self.on.len());
        let entry = |&d: &usize, &e: &usize| dot(column(self.P, d), column(self.P, e));
        self.on.iter().map(|d| self.on.iter().map(|e| entry(d, e)).collect()).collect()
    }

    fn codes(&self, w: &[f64]) -> Vec<f64> {
        self.count(self.on.len());
        self.on.iter().map(|&d| dot(w, column(self.P, d))).collect()
    }

    /// The row nearest to w₀ with the codes t, if the p_d are independent and it lies in the closure of the cell.
    fn exact_hit(&self, w0: &[f64], gram: &[Vec<f64>]) -> Option<RowStep> {
        if self.targets.iter().any(|&t| t < self.c) {
            return None;
        }
        let factor = Factor::of(gram)?;
        let size = self.on.len();
        self.multiply(cholesky(size as f64) + (2 * size * size) as f64);
        self.count(2 * size);
        let mut w = w0.to_vec();
        // The second pass takes back what the first has rounded.
        for _ in 0..2 {
            let codes = self.codes(&w);
            let missing: Vec<f64> = self.targets.iter().zip(&codes).map(|(t, a)| t - a).collect();
            for (beta, &d) in factor.solved(&missing).iter().zip(self.on) {
                w.iter_mut().zip(column(self.P, d)).for_each(|(x, p)| *x += beta * p);
            }
        }
        self.count(self.P.ncols() - size);
        let mut on = self.on.iter().peekable();
        for e in 0..self.P.ncols() {
            if on.next_if_eq(&&e).is_none() && dot(&w, column(self.P, e)) > self.c {
                return None;
            }
        }
        Some(RowStep { codes: self.codes(&w), w, multipliers: Vec::new(), converged: true })
    }

    fn constrained(&self, w0: &[f64], gram: &[Vec<f64>], warm: &[usize]) -> RowStep {
        let mean = self.weights.iter().sum::<f64>() / self.weights.len().max(1) as f64;
        let rho = if self.proximal > 0.0 { self.proximal } else { 1e-3 * mean.max(f64::MIN_POSITIVE) };
        // (ρ H⁻¹ + P_Fᵀ P_F) is positive definite, so that its factor exists.
        let mut shifted = gram.to_vec();
        for (k, (row, h)) in shifted.iter_mut().zip(self.weights).enumerate() {
            row[k] += rho / h;
        }
        let Some(factor) = Factor::of(&shifted) else {
            return RowStep { codes: self.codes(w0), w: w0.to_vec(), multipliers: Vec::new(), converged: false };
        };
        self.multiply(cholesky(self.on.len() as f64));
        let metric = Metric { problem: self, rho, factor };
        let mut active: Vec<usize> = warm.to_vec();
        let mut w = w0.to_vec();
        let mut before = self.value(&w);
        let floor = self.reach().powi(2);
        let (mut multipliers, mut converged, mut held) = (Vec::new(), false, warm.to_vec());
        let points = if self.proximal > 0.0 { 1 } else { PROXIMAL_POINTS };
        for _ in 0..points {
            let Some(point) = metric.point(&w, &mut active) else { break };
            let value = self.value(&point.w);
            let moved: f64 = point.w.iter().zip(&w).map(|(a, b)| (a - b) * (a - b)).sum();
            self.count(1);
            let size = dot(&point.w, &point.w).max(floor);
            (w, multipliers) = (point.w, point.multipliers);
            if points == 1 || moved <= ACCURACY * ACCURACY * size || (value >= before && moved <= ACCURACY * size) {
                converged = true;
                break;
            }
            before = value;
            if active == held
                && let Some(step) = self.polished(&w, &active)
            {
                return step;
            }
            held.clone_from(&active);
        }
        RowStep { codes: self.codes(&w), w, multipliers, converged }
    }

    /// The row nearest to w that is best among those with equality for every active inequality, if that is optimal: it keeps the others, and
    /// no multiplier is negative.
    fn polished(&self, w: &[f64], active: &[usize]) -> Option<RowStep> {
        let (P, c, n_p) = (self.P, self.c, w.len());
        if active.len() > n_p {
            return None;
        }
        // QR with its basis and two solutions, the projection, the singular values and the inverse from them.
        let [rows, held, on] = [n_p, active.len(), self.on.len()].map(|size| size as f64);
        let solved = 2.0 * orthogonal(rows, held) + held * held + 4.0 * rows * held + 2.0 * rows * held * on;
        let inverted = singular(rows, on) + rows * on * rows.min(on) + 2.0 * rows * on;
        self.multiply(solved + inverted);
        // Products with held columns, those that are checked, and the slope.
        self.count(P.ncols() + self.on.len() + 1);
        let mut w = Mat::from_fn(n_p, 1, |k, _| w[k]);
        let qr = (!active.is_empty()).then(|| Mat::from_fn(n_p, active.len(), |k, b| P[(k, active[b])]).qr());
        let basis = qr.as_ref().map(|qr| qr.compute_thin_Q());
        if let (Some(qr), Some(Q)) = (&qr, &basis) {
            let R = qr.thin_R();
            if (0..active.len()).any(|b| R[(b, b)].abs() < 1e-10) {
                return None;
            }
            let mut y = Mat::from_fn(active.len(), 1, |b, _| c - dot(w.col_as_slice(0), column(P, active[b])));
            for a in 0..active.len() {
                let known: f64 = (0..a).map(|b| R[(b, a)] * y[(b, 0)]).sum();
                y[(a, 0)] = (y[(a, 0)] - known) / R[(a, a)];
            }
            w += Q * y;
        }
        let roots: Vec<f64> = self.weights.iter().map(|h| h.sqrt()).collect();
        let mut rows = Mat::from_fn(n_p, self.on.len(), |k, b| roots[b] * P[(k, self.on[b])]);
        // What the projection leaves of a held feature is rounding of the feature itself.
        let size = (0..rows.ncols()).map(|b| rows.col(b).norm_l2()).fold(0.0, f64::max);
        if let Some(Q) = &basis {
            rows -= Q * (Q.transpose() * &rows);
        }
        let svd = rows.thin_svd().ok()?;
        let s = svd.S().column_vector();
        let scaled = Mat::from_fn(n_p, s.nrows(), |k, b| if s[b] > RANK * size { svd.U()[(k, b)] / s[b] } else { 0.0 });
        let inverse = scaled * svd.V().transpose();
        // Twice, so that the second solve takes back what the first has rounded.
        for _ in 0..2 {
            let codes = self.codes(w.col_as_slice(0));
            w += &inverse * Mat::from_fn(self.on.len(), 1, |b, _| roots[b] * (self.targets[b] - codes[b]));
        }
        let row = w.col_as_slice(0).to_vec();
        let codes = self.codes(&row);
        let scale = dot(&row, &row).sqrt().max(self.reach()) + c;
        for e in (0..P.ncols()).filter(|e| !active.contains(e)) {
            let z = dot(&row, column(P, e));
            let out = if self.on.binary_search(&e).is_ok() { c - z } else { z - c };
            if out > 8.0 * f64::EPSILON * scale {
                return None;
            }
        }
        // ∇ + Σ ± λ p = 0.
        let mut slope = Mat::<f64>::zeros(n_p, 1);
        for (b, &d) in self.on.iter().enumerate() {
            let pull = 2.0 * self.weights[b] * (codes[b] - self.targets[b]);
            slope.col_as_slice_mut(0).iter_mut().zip(column(P, d)).for_each(|(s, p)| *s += pull * p);
        }
        let mut multipliers = Vec::new();
        let asked: f64 =
            self.weights.iter().zip(self.targets).zip(&codes).map(|((h, t), a)| 2.0 * h * (t.abs() + a.abs())).sum();
        if let (Some(qr), Some(Q)) = (&qr, &basis) {
            let R = qr.thin_R();
            let mut y = Q.transpose() * &slope;
            slope -= Q * &y;
            for a in (0..active.len()).rev() {
                let known: f64 = (a + 1..active.len()).map(|b| R[(a, b)] * y[(b, 0)]).sum();
                y[(a, 0)] = (y[(a, 0)] - known) / R[(a, a)];
            }
            for (b, &d) in active.iter().enumerate() {
                let lambda = if self.on.binary_search(&d).is_ok() { y[(b, 0)] } else { -y[(b, 0)] };
                if lambda < -1e-13 * asked {
                    return None;
                }
                if lambda > 0.0 {
                    multipliers.push((d, lambda));
                }
            }
        }
        (slope.norm_l2() <= 1e-11 * asked).then_some(RowStep { w: row, codes, multipliers, converged: true })
    }

    /// The size of a row that answers what is asked: the largest |t_d|/‖p_d‖. Rows far smaller than this are zero.
    fn reach(&self) -> f64 {
        self.count(self.on.len());
        let of =
            |(&d, t): (&usize, &f64)| t.abs() / dot(column(self.P, d), column(self.P, d)).sqrt().max(f64::MIN_POSITIVE);
        self.on.iter().zip(self.targets).map(of).fold(0.0, f64::max)
    }

    /// Σ h (a − t)².
    fn value(&self, w: &[f64]) -> f64 {
        self.codes(w).iter().zip(self.targets).zip(self.weights).map(|((a, t), h)| h * (a - t) * (a - t)).sum()
    }
}

/// K = 2(ρ I + P_F H P_Fᵀ), through the factor of ρ H⁻¹ + P_Fᵀ P_F.
struct Metric<'a> {
    problem: &'a RowProblem<'a>,
    rho: f64,
    factor: Factor<f64>,
}

struct ProximalPoint {
    w: Vec<f64>,
    multipliers: Vec<(usize, f64)>,
}

/// The active set of a proximal point, with Q on it and its factor.
#[derive(Default)]
struct Held {
    set: Vec<usize>,
    lambda: Vec<f64>,
    /// K⁻¹ of their columns of G.
    images: Vec<Vec<f64>>,
    /// Rows of the lower triangle of Q.
    products: Vec<Vec<f64>>,
    factor: Factor<f64>,
}

impl Held {
    /// Takes constraint d with multiplier 0; `products` is its row of Q, itself last. False, and nothing is taken, if it depends on the others.
    fn add(&mut self, d: usize, image: Vec<f64>, products: Vec<f64>) -> bool {
        let independent = self.factor.append(products.iter().copied());
        if independent {
            self.set.push(d);
            self.lambda.push(0.0);
            self.images.push(image);
            self.products.push(products);
        }
        independent
    }

    /// Drops the k-th constraint.
    fn remove(&mut self, k: usize) {
        self.set.remove(k);
        self.lambda.remove(k);
        self.images.remove(k);
        self.products.remove(k);
        self.factor.truncate(k);
        for j in k..self.products.len() {
            self.products[j].remove(k);
            // Fewer constraints are no more dependent; should rounding say otherwise, the rest is dropped and enters anew.
            if !self.factor.append(self.products[j].iter().copied()) {
                self.set.truncate(j);
                self.lambda.truncate(j);
                self.images.truncate(j);
                self.products.truncate(j);
                return;
            }
        }
    }
}

impl Metric<'_> {
    /// K⁻¹x.
    fn inverse(&self, x: &[f64]) -> Vec<f64> {
        let P = self.problem.P;
        let size = self.problem.on.len();
        self.problem.count(2 * size);
        self.problem.multiply((size * size) as f64);
        let inner: Vec<f64> = self.problem.on.iter().map(|&d| dot(x, column(P, d))).collect();
        let mut y = x.to_vec();
        for (beta, &d) in self.factor.solved(&inner).iter().zip(self.problem.on) {
            y.iter_mut().zip(column(P, d)).for_each(|(y, p)| *y -= beta * p);
        }
        y.iter_mut().for_each(|y| *y /= 2.0 * self.rho);
        y
    }

    /// +1 for e ∉ F (⟨w, p_e⟩ ≤ c), −1 for d ∈ F (−⟨w, p_d⟩ ≤ −c).
    fn sign(&self, d: usize) -> f64 {
        if self.problem.on.binary_search(&d).is_ok() { -1.0 } else { 1.0 }
    }

    /// The minimiser around `centre`. `active` is taken as a guess, and is the active set afterwards.
    fn point(&self, centre: &[f64], active: &mut Vec<usize>) -> Option<ProximalPoint> {
        let (P, c) = (self.problem.P, self.problem.c);
        let n = P.ncols();
        // Without inequalities: centre + K⁻¹ 2 P_F H (t − P_Fᵀ centre).
        let codes = self.problem.codes(centre);
        let mut pull = vec![0.0; centre.len()];
        self.problem.count(self.problem.on.len());
        for (k, &d) in self.problem.on.iter().enumerate() {
            let force = 2.0 * self.problem.weights[k] * (self.problem.targets[k] - codes[k]);
            pull.iter_mut().zip(column(P, d)).for_each(|(x, p)| *x += force * p);
        }
        let mut free = self.inverse(&pull);
        free.iter_mut().zip(centre).for_each(|(x, c)| *x += c);

        let mut held = Held::default();
        let guess = std::mem::take(active);
        let violation = |w: &[f64], d: usize| {
            self.problem.count(1);
            self.sign(d) * (dot(w, column(P, d)) - c)
        };
        let mut banned: Vec<usize> = Vec::new();
        let mut w = free.clone();
        let mut pending = guess.into_iter().filter(|&d| d < n).collect::<Vec<_>>();
        self.problem.count(1);
        let scale = dot(&free, &free).sqrt().max(self.problem.reach()) + c;
        let at_free: Vec<f64> = (0..n).map(|d| violation(&free, d)).collect();
        for _ in 0..CHANGES * n + 8 {
            // The guess enters as a whole, afterwards the most violated inequality.
            let mut entering = std::mem::take(&mut pending);
            entering.retain(|d| !held.set.contains(d));
            if entering.is_empty() {
                let mut worst = (8.0 * f64::EPSILON * scale, None);
                for d in 0..n {
                    if !held.set.contains(&d) && !banned.contains(&d) {
                        let v = violation(&w, d);
                        if v > worst.0 {
                            worst = (v, Some(d));
                        }
                    }
                }
                match worst.1 {
                    Some(d) => entering.push(d),
                    None => {
                        let multipliers = held.set.iter().copied().zip(held.lambda).filter(|(_, l)| *l > 0.0).collect();
                        *active = held.set;
                        return Some(ProximalPoint { w, multipliers });
                    }
                }
            }
            let newest = (entering.len() == 1).then(|| entering[0]);
            for d in entering {
                let signed: Vec<f64> = column(P, d).iter().map(|p| self.sign(d) * p).collect();
                let image = self.inverse(&signed);
                let product = |&a: &usize| self.sign(a) * dot(column(P, a), &image);
                let products = held.set.iter().chain([&d]).map(product).collect();
                // With the new row of the factor.
                self.problem.count(held.set.len() + 1);
                self.problem.multiply((held.set.len() * held.set.len()) as f64 / 2.0);
                // What depends on the others cannot be active with them.
                if !held.add(d, image, products) {
                    banned.push(d);
                }
            }
            // Lawson and Hanson's inner loop: solve on the active set, step back to the first multiplier that vanishes.
            while !held.set.is_empty() {
                let s: Vec<f64> = held.set.iter().map(|&d| at_free[d]).collect();
                let solved = held.factor.solved(&s);
                self.problem.multiply((s.len() * s.len()) as f64);
                // The first multiplier that vanishes on the way to the solution.
                let mut first: Option<(f64, usize)> = None;
                for (k, (old, new)) in held.lambda.iter().zip(&solved).enumerate() {
                    if *new <= 0.0 {
                        let alpha = if old > new { old / (old - new) } else { 0.0 };
                        if first.is_none_or(|(least, _)| alpha < least) {
                            first = Some((alpha, k));
                        }
                    }
                }
                let Some((alpha, k)) = first else {
                    held.lambda = solved;
                    break;
                };
                held.lambda.iter_mut().zip(&solved).for_each(|(old, new)| *old += alpha * (new - *old));
                if newest == Some(held.set[k]) {
                    banned.push(held.set[k]);
                }
                held.remove(k);
                // The rows of the factor after it are made anew.
                let size = held.set.len();
                self.problem.multiply((size.saturating_sub(k) * size * size) as f64 / 2.0);
            }
            w.copy_from_slice(&free);
            self.problem.count(held.set.len());
            for (l, image) in held.lambda.iter().zip(&held.images) {
                w.iter_mut().zip(image).for_each(|(x, y)| *x -= l * y);
            }
            if newest.is_some_and(|d| held.set.contains(&d)) {
                banned.clear();
            }
        }
        None
    }
}
