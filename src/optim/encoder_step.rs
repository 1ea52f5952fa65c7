//! The block steps of the approximate loss within the closure of a cell.
//!
//! Within a cell L̃ is the quadratic Q_A(V, W) = Σ_d M_d ‖r_d − Σ_{i: d∈F_i} v_i ⟨w_i, p_d⟩‖² of either block. If features are independent, the
//! W-step splits by feature (`feature.rs`). If no feature fires two neurons, both blocks split by neuron and are solved in closed form or by
//! one small quadratic program (`row.rs`). Else
//! * the V-step is the least-squares decoder of least norm (rank by [`RankRule::rounding`](crate::theory::loss::decoder_step::RankRule::rounding));
//! * the W-step is tried without inequalities by conjugate gradients from the point's own encoder, whose result is the best encoder if it
//!   lies in the closure of the cell; if it does not, exact steps over single rows are repeated until they gain nothing, which
//!   converges to the minimum because every inequality concerns one row (Tseng 2001), with conjugate gradients in between among the rows that
//!   stay on the inequalities which hold them back.
//!
//! A decoder column without weight, or a dead neuron, leaves its row as it is: that is the tie-break, as is the nearest row elsewhere.

use super::cell::{Cell, column, dot};
use super::feature::by_features;
use super::price::{Sizes, orthogonal};
use super::row::RowProblem;
use super::{Biconvex, DecoderMove, Prices};
use crate::theory::loss::line_search::Quartic;
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::linalg::matmul::matmul;
use faer::prelude::SolveLstsq;
use faer::{Accum, Mat, MatRef};

/// Passes over the rows of overlapping cells, products of conjugate gradients included, at most.
const PASSES: u64 = 1000;
/// Products of one run of conjugate gradients, at most.
const PRODUCTS: usize = 100;
/// A W-step over rows ends when a pass gains less than this fraction of what the whole step has gained, or than [`ROUNDING`] of the loss.
const GAIN: f64 = 1e-10;
/// Relative gains below this are rounding.
const ROUNDING: f64 = 1e-15;
/// Conjugate gradients end when the residual has fallen by this factor.
const FALL: f64 = 1e-12;

/// Codes within this fraction of ‖w_i‖‖p_d‖ + c of the threshold are on it.
const TOUCHED: f64 = 1e-13;

/// The result of a W-step.
#[derive(Debug, Clone)]
pub struct EncoderStep {
    /// W, n_q×n_p.
    pub W: Mat<f64>,
    /// Loss of the cell's quadratic at the point minus that with this encoder ≥ 0 up to rounding: r_W, if `converged`.
    pub decrease: f64,
    /// (i, d, λ > 0): the inequalities that hold the encoder back, in the scale of the loss.
    pub multipliers: Vec<(usize, usize, f64)>,
    /// What it has cost, in evaluations of loss and gradient ([`price`](super::price)).
    pub cost: f64,
    /// False if a budget ended first, so that a better encoder may exist.
    pub converged: bool,
}

impl Biconvex for ApproximateLoss {
    fn loss(&self, at: &Weights) -> Result<f64, LossError> {
        self.value(at)
    }

    fn gradient(&self, at: &Weights) -> Result<(f64, Weights), LossError> {
        self.value_and_gradients(at)
    }

    fn cell(&self, W: MatRef<'_, f64>) -> Result<Cell, LossError> {
        Ok(Cell::of_codes(self.codes(W)?.as_ref()))
    }

    fn cell_loss(&self, cell: &Cell, at: &Weights) -> Result<f64, LossError> {
        cell.check(at.n_q(), self.n())?;
        let E = cell_residuals(self, at, &cell.codes(at.W.as_ref(), self.P()));
        Ok(weighted_square(self, E.as_ref()))
    }

    fn v_step(&self, cell: &Cell, at: &Weights, proximal: f64) -> Result<DecoderMove, LossError> {
        cell.check(at.n_q(), self.n())?;
        let Z = cell.codes(at.W.as_ref(), self.P());
        let (sizes, firing) = (Sizes::new(self, at.n_q()), cell.firing());
        let (V, work) = if proximal > 0.0 {
            (proximal_decoder(self, &Z, at, proximal)?, sizes.proximal_decoder())
        } else if cell.is_disjoint() {
            (single_columns(self, cell, &Z), (firing * self.n_r()) as f64)
        } else {
            (self.decoder_step_of(Z.clone())?.V, sizes.decoder())
        };
        let cost = sizes.cost(work + (firing * self.n_p()) as f64 + sizes.answers());
        let difference = &V - &at.V;
        let mut missed = Mat::zeros(self.n_r(), self.n());
        matmul(&mut missed, Accum::Replace, &difference, &Z, 1.0, self.par());
        let decrease = weighted_square(self, missed.as_ref());
        Ok(DecoderMove { V, decrease, cost })
    }

    fn w_step(&self, cell: &Cell, at: &Weights, proximal: f64) -> Result<EncoderStep, LossError> {
        cell.check(at.n_q(), self.n())?;
        if proximal == 0.0
            && let Some(inverse) = self.left_inverse()
        {
            return Ok(by_features(self, inverse, cell, at));
        }
        let sizes = Sizes::new(self, at.n_q());
        let held = touched(self, cell, at);
        let mut work = sizes.codes();
        if proximal == 0.0
            && !cell.is_disjoint()
            && held.iter().all(Vec::is_empty)
            && let Some(step) = unconstrained(self, cell, at, &mut work)
        {
            return Ok(EncoderStep { cost: sizes.cost(work), ..step });
        }
        let step = by_rows(self, cell, at, proximal, held, &mut work);
        Ok(EncoderStep { cost: sizes.cost(work), ..step })
    }

    fn total(&self) -> f64 {
        weighted_square(self, self.R())
    }

    fn prices(&self, n_q: usize) -> Prices {
        Sizes::new(self, n_q).prices()
    }
}

/// Σ_d M_d ‖a_d‖² of the columns of A.
fn weighted_square(loss: &ApproximateLoss, A: MatRef<'_, f64>) -> f64 {
    loss.masses().iter().enumerate().map(|(d, mass)| mass * dot(column(A, d), column(A, d))).sum()
}

/// R − V Z.
fn cell_residuals(loss: &ApproximateLoss, at: &Weights, Z: &Mat<f64>) -> Mat<f64> {
    let mut E = loss.R().to_owned();
    matmul(&mut E, Accum::Add, &at.V, Z, -1.0, loss.par());
    E
}

/// v_i = Σ_{d∈F_i} M_d z_id r_d / Σ M_d z_id², 0 for a dead neuron: the V-step where no feature fires two neurons.
fn single_columns(loss: &ApproximateLoss, cell: &Cell, Z: &Mat<f64>) -> Mat<f64> {
    let mut V = Mat::zeros(loss.n_r(), cell.on.len());
    for (i, on) in cell.on.iter().enumerate() {
        let weight: f64 = on.iter().map(|&d| loss.masses()[d] * Z[(i, d)] * Z[(i, d)]).sum();
        if weight > 0.0 {
            let v = V.col_as_slice_mut(i);
            for &d in on {
                let factor = loss.masses()[d] * Z[(i, d)] / weight;
                v.iter_mut().zip(column(loss.R(), d)).for_each(|(x, r)| *x += factor * r);
            }
        }
    }
    V
}

/// (R D Zᵀ + ρ V₀)(Z D Zᵀ + ρ I)⁻¹, as least squares of (Z D^½, √ρ I).
fn proximal_decoder(loss: &ApproximateLoss, Z: &Mat<f64>, at: &Weights, rho: f64) -> Result<Mat<f64>, LossError> {
    let (n, q, root) = (loss.n(), at.n_q(), rho.sqrt());
    let masses: Vec<f64> = loss.masses().iter().map(|m| m.sqrt()).collect();
    let of = |d: usize, i: usize| {
        if d < n {
            Z[(i, d)] * masses[d]
        } else if d - n == i {
            root
        } else {
            0.0
        }
    };
    let A = Mat::from_fn(n + q, q, of);
    let B = Mat::from_fn(
        n + q,
        loss.n_r(),
        |d, k| {
            if d < n { loss.R()[(k, d)] * masses[d] } else { root * at.V[(k, d - n)] }
        },
    );
    if !A.is_all_finite() || !B.is_all_finite() {
        return Err(LossError::NotFinite("W"));
    }
    // √ρ I keeps the columns independent.
    Ok(A.qr().solve_lstsq(&B).transpose().to_owned())
}

/// The minimiser of Q_A(V, ·) without inequalities that conjugate gradients reach from the point's encoder, if it lies in the closure of
/// the cell. Every iterate stays in W₀ + the range of the Hessian, so that the result is the minimiser nearest to W₀. Its multiply-adds are added to
/// `work`, and its own cost is left 0.
fn unconstrained(loss: &ApproximateLoss, cell: &Cell, at: &Weights, work: &mut f64) -> Option<EncoderStep> {
    let none = vec![Vec::new(); cell.on.len()];
    let E = cell_residuals(loss, at, &cell.codes(at.W.as_ref(), loss.P()));
    let sizes = Sizes::new(loss, at.n_q());
    // Codes, residuals, and the codes of what is found.
    *work += (cell.firing() * loss.n_p()) as f64 + sizes.answers() + sizes.codes();
    let found = conjugate_gradients(loss, cell, &at.V, &E, &none)?;
    *work += found.work;
    let W = &at.W + &found.direction;
    let codes = pre_activations(loss, &W);
    let c = loss.c();
    let inside = |i: usize, d: usize, on: bool| if on { codes[(i, d)] >= c } else { codes[(i, d)] <= c };
    let kept =
        cell.on.iter().enumerate().all(|(i, on)| (0..loss.n()).all(|d| inside(i, d, on.binary_search(&d).is_ok())));
    kept.then_some(EncoderStep {
        W,
        decrease: found.decrease,
        multipliers: Vec::new(),
        cost: 0.0,
        converged: found.converged,
    })
}

struct SubspaceMinimum {
    direction: Mat<f64>,
    decrease: f64,
    products: u64,
    work: f64,
    converged: bool,
}

/// W P.
pub(super) fn pre_activations(loss: &ApproximateLoss, W: &Mat<f64>) -> Mat<f64> {
    let mut codes = Mat::zeros(W.nrows(), loss.n());
    matmul(&mut codes, Accum::Replace, W, loss.P(), 1.0, loss.par());
    codes
}

/// The change of W that minimises Q_A(V, ·) among those whose row i is orthogonal to p_d for every d of `held[i]`, from residuals E, by
/// conjugate gradients; `None` if held features of a row are dependent.
fn conjugate_gradients(
    loss: &ApproximateLoss,
    cell: &Cell,
    V: &Mat<f64>,
    E: &Mat<f64>,
    held: &[Vec<usize>],
) -> Option<SubspaceMinimum> {
    let (par, masses, n_q) = (loss.par(), loss.masses(), cell.on.len());
    let bases: Vec<Option<Mat<f64>>> = held
        .iter()
        .map(|held| {
            let columns = Mat::from_fn(loss.n_p(), held.len(), |k, b| loss.P()[(k, held[b])]);
            if held.is_empty() { None } else { Some(columns.qr().compute_thin_Q()) }
        })
        .collect();
    if held.iter().any(|held| held.len() > loss.n_p()) {
        return None;
    }
    let project = |G: &mut Mat<f64>| {
        for (i, basis) in bases.iter().enumerate() {
            if let Some(Q) = basis {
                let row = G.row(i).transpose().to_owned();
                let kept = &row - Q * (Q.transpose() * &row);
                (0..G.ncols()).for_each(|k| G[(i, k)] = kept[k]);
            }
        }
    };
    // −∇/2 = [B∘(Vᵀ E D)] Pᵀ, projected.
    let descent = |E: &Mat<f64>| {
        let mut S = Mat::zeros(n_q, loss.n());
        let weighted = Mat::from_fn(E.nrows(), E.ncols(), |k, d| E[(k, d)] * masses[d]);
        matmul(&mut S, Accum::Replace, V.transpose(), &weighted, 1.0, par);
        let mut masked = Mat::zeros(n_q, loss.n());
        for (i, on) in cell.on.iter().enumerate() {
            for &d in on {
                masked[(i, d)] = S[(i, d)];
            }
        }
        let mut G = Mat::zeros(n_q, loss.n_p());
        matmul(&mut G, Accum::Replace, &masked, loss.P().transpose(), 1.0, par);
        project(&mut G);
        G
    };
    let mut E = E.clone();
    let mut change = Mat::<f64>::zeros(n_q, loss.n_p());
    let mut residual = descent(&E);
    let mut direction = residual.clone();
    let mut size = residual.squared_norm_l2();
    let goal = FALL * FALL * size;
    let (mut decrease, mut products) = (0.0, 1);
    for _ in 0..(2 * n_q * loss.n_p()).min(PRODUCTS) {
        if size <= goal {
            break;
        }
        let rates = cell.codes(direction.as_ref(), loss.P());
        let mut image = Mat::zeros(loss.n_r(), loss.n());
        matmul(&mut image, Accum::Replace, V, &rates, 1.0, par);
        let curvature = weighted_square(loss, image.as_ref());
        if curvature.is_nan() || curvature <= 0.0 {
            break;
        }
        let t = size / curvature;
        decrease += t * size;
        change += faer::Scale(t) * &direction;
        E -= faer::Scale(t) * &image;
        residual = descent(&E);
        let next = residual.squared_norm_l2();
        direction = &residual + faer::Scale(next / size) * &direction;
        size = next;
        products += 1;
    }
    // Each product with the Hessian takes Vᵀ E D, the product with Pᵀ, the rates of the codes and their image; the first has no image.
    let sizes = Sizes::new(loss, n_q);
    let rates = (cell.firing() * loss.n_p()) as f64;
    let descent: f64 = held.iter().map(|held| 2.0 * (loss.n_p() * held.len()) as f64).sum();
    let bases: f64 = held.iter().map(|held| 2.0 * orthogonal(loss.n_p() as f64, held.len() as f64)).sum();
    let each = sizes.loss() + descent;
    let work = bases + each + (products - 1) as f64 * (each + rates + sizes.answers());
    let converged = size <= goal.max(f64::MIN_POSITIVE);
    Some(SubspaceMinimum { direction: change, decrease, products, work, converged })
}

/// The inequalities of each row that hold with equality at the point, each with multiplier 0: a guess of those that hold the best encoder back.
fn touched(loss: &ApproximateLoss, cell: &Cell, at: &Weights) -> Vec<Vec<(usize, f64)>> {
    let codes = pre_activations(loss, &at.W);
    let sizes: Vec<f64> = (0..loss.n()).map(|d| loss.P().col(d).norm_l2()).collect();
    let mut held = vec![Vec::new(); cell.on.len()];
    for i in (0..cell.on.len()).filter(|&i| !cell.on[i].is_empty()) {
        let norm = at.W.row(i).norm_l2();
        let near = |d: &usize| (codes[(i, *d)] - loss.c()).abs() <= TOUCHED * (norm * sizes[*d] + loss.c());
        held[i].extend((0..loss.n()).filter(near).map(|d| (d, 0.0)));
    }
    held
}

/// The cell's quadratic along a joint direction, from a point in the closure of the cell.
pub(super) fn cell_quartic(loss: &ApproximateLoss, cell: &Cell, at: &Weights, direction: &Weights) -> Quartic {
    let (Z, rates) = (cell.codes(at.W.as_ref(), loss.P()), cell.codes(direction.W.as_ref(), loss.P()));
    let product = |V: &Mat<f64>, Z: &Mat<f64>| {
        let mut E = Mat::zeros(loss.n_r(), loss.n());
        matmul(&mut E, Accum::Replace, V, Z, 1.0, loss.par());
        E
    };
    let E0 = cell_residuals(loss, at, &Z);
    let E1 = product(&direction.V, &Z) + product(&at.V, &rates);
    let E2 = product(&direction.V, &rates);
    loss.quartic_of(&E0, &E1, &E2)
}

/// The longest step t ≤ `most` along a change of W that keeps every inequality of the cell, from pre-activations `codes`.
pub(super) fn longest_step(loss: &ApproximateLoss, cell: &Cell, codes: &Mat<f64>, change: &Mat<f64>, most: f64) -> f64 {
    let rates = pre_activations(loss, change);
    let mut t = most;
    for (i, on) in cell.on.iter().enumerate() {
        for d in 0..loss.n() {
            let (slack, rate) = if on.binary_search(&d).is_ok() {
                (codes[(i, d)] - loss.c(), -rates[(i, d)])
            } else {
                (loss.c() - codes[(i, d)], rates[(i, d)])
            };
            // What is held moves by rounding only.
            if rate > 1e-13 * (1.0 + codes[(i, d)].abs()) {
                t = t.min((slack / rate).max(0.0));
            }
        }
    }
    t
}

/// Exact steps over single rows, repeated where rows share features. Their multiply-adds are added to `work`, and their own cost is left 0.
fn by_rows(
    loss: &ApproximateLoss,
    cell: &Cell,
    at: &Weights,
    proximal: f64,
    held: Vec<Vec<(usize, f64)>>,
    work: &mut f64,
) -> EncoderStep {
    let (P, masses) = (loss.P(), loss.masses());
    let disjoint = cell.is_disjoint();
    let mut Z = cell.codes(at.W.as_ref(), P);
    let mut E = cell_residuals(loss, at, &Z);
    let mut W = at.W.clone();
    let mut active: Vec<Vec<(usize, f64)>> = held;
    let sizes = Sizes::new(loss, at.n_q());
    let residuals = (cell.firing() * loss.n_p()) as f64 + sizes.answers();
    *work += residuals;
    let (mut decrease, mut passes, mut rounds, mut converged) = (0.0, 0, 0, false);
    // A proximal step is one pass; its rows are coupled too, but it need not be the minimum to be a descent.
    let most = if disjoint || proximal > 0.0 { 1 } else { PASSES };
    let mut row = vec![0.0; loss.n_p()];
    while passes < most {
        if !disjoint && proximal == 0.0 && rounds % 4 == 0 && active.iter().any(|held| !held.is_empty()) {
            let held: Vec<Vec<usize>> = active.iter().map(|list| list.iter().map(|(d, _)| *d).collect()).collect();
            if let Some(found) = conjugate_gradients(loss, cell, &at.V, &E, &held) {
                passes += found.products;
                // Pre-activations and their rates besides.
                *work += found.work + 2.0 * sizes.codes();
                let t = longest_step(loss, cell, &pre_activations(loss, &W), &found.direction, 1.0);
                if t > 0.0 && found.decrease > 0.0 {
                    // A quadratic along the way to its minimum: 1 − (1 − t)² of the decrease.
                    decrease += (2.0 - t) * t * found.decrease;
                    W += faer::Scale(t) * &found.direction;
                    let moved = Weights { V: at.V.clone(), W: W.clone() };
                    Z = cell.codes(W.as_ref(), P);
                    E = cell_residuals(loss, &moved, &Z);
                    *work += residuals;
                }
            }
        }
        let (mut gained, mut exact) = (0.0, true);
        for (i, on) in cell.on.iter().enumerate() {
            let v = at.V.col_as_slice(i);
            let s = dot(v, v);
            if on.is_empty() || s == 0.0 {
                continue;
            }
            row.iter_mut().enumerate().for_each(|(k, x)| *x = W[(i, k)]);
            let weights: Vec<f64> = on.iter().map(|&d| masses[d] * s).collect();
            let targets: Vec<f64> = on.iter().map(|&d| dot(column(E.as_ref(), d), v) / s + Z[(i, d)]).collect();
            let seen = weights.iter().all(|h| *h > 0.0);
            if !seen {
                // A feature without mass asks for nothing, and its constraint alone would need a weight of its own.
                exact = false;
                continue;
            }
            let warm: Vec<usize> = active[i].iter().map(|(d, _)| *d).collect();
            let row_problem = RowProblem::new(P, on, &weights, &targets, (loss.c(), proximal));
            let step = row_problem.solve(&row, &warm);
            // ‖v‖², the targets and the residuals of the new codes besides.
            *work += row_problem.work() + ((2 * on.len() + 1) * loss.n_r()) as f64;
            exact &= step.converged;
            let mut gain = 0.0;
            for (k, &d) in on.iter().enumerate() {
                let (old, new, t) = (Z[(i, d)], step.codes[k], targets[k]);
                gain += weights[k] * (old - new) * (old + new - 2.0 * t);
            }
            // A step that is no improvement beyond rounding is not taken, so that the loss never rises.
            if gain <= 0.0 {
                // Multipliers change when other rows have moved, even if this one stays.
                if step.converged || active[i].iter().all(|(_, lambda)| *lambda == 0.0) {
                    active[i] = step.multipliers;
                }
                continue;
            }
            gained += gain;
            for (k, &d) in on.iter().enumerate() {
                let change = step.codes[k] - Z[(i, d)];
                Z[(i, d)] = step.codes[k];
                E.col_as_slice_mut(d).iter_mut().zip(v).for_each(|(e, v)| *e -= change * v);
            }
            step.w.iter().enumerate().for_each(|(k, x)| W[(i, k)] = *x);
            active[i] = step.multipliers;
        }
        passes += 1;
        rounds += 1;
        decrease += gained;
        *work += (loss.n() * loss.n_r()) as f64;
        let value = weighted_square(loss, E.as_ref());
        converged = exact;
        if gained <= (GAIN * decrease).max(ROUNDING * value) {
            break;
        }
        converged &= disjoint;
    }
    let of = |(i, list): (usize, &Vec<(usize, f64)>)| list.iter().map(move |&(d, l)| (i, d, l)).collect::<Vec<_>>();
    let multipliers = active.iter().enumerate().flat_map(of).filter(|(_, _, lambda)| *lambda > 0.0).collect();
    EncoderStep { W, decrease, multipliers, cost: 0.0, converged }
}
