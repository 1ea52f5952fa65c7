//! Overlapping patterns: block residuals r_V and r_W of a point, and the ε for which it is certified.
//!
//! An overlapping pattern does not split by neuron, and whether its cell holds a partial optimum is left undecided. What is
//! exact is how far a given point is from one: both blocks are convex problems, and weak duality bounds their minima.

use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix;
use crate::exact::rational;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettings, DefaultSolver, IPSolver, SolverStatus, SupportedConeT};

/// Dual multipliers that bound both block minima from below: `epsilon-partial-optimum` in `verify/FORMAT.md`.
#[derive(Debug, Clone)]
pub struct Residuals {
    /// r_V = L̃ − min_V L̃, exactly.
    pub r_v: Rational,
    /// An upper bound of r_W = L̃ − min of the cell's quadratic over the closure of the cell.
    pub r_w: Rational,
    /// Columns y_d with Σ_{d∈F_i} z_id y_d = 0.
    pub dual_v: Vec<Vec<Rational>>,
    /// Columns y_d of the dual of the W-step.
    pub dual_w: Vec<Vec<Rational>>,
    /// (i, d, γ_id > 0), multipliers of the cell's inequalities.
    pub slack: Vec<(usize, usize, Rational)>,
}

/// Residuals of a point of a threshold problem, or `None` if the W-step's dual could not be made exact.
pub fn residuals(problem: &Problem, point: &Point) -> Option<Residuals> {
    let c = problem.threshold()?;
    let pattern = Pattern::of_encoder(problem, &point.w_e);
    let loss = point.loss(problem);
    let dual_v = v_dual(problem, &pattern, point);
    let r_v = &loss - dual_value(problem, &dual_v);
    let step = w_step(problem, &pattern, point, 0.0)?;
    let mut active: Vec<(usize, usize)> = step.active;
    for _ in 0..=active.len() {
        let (w, gamma) = equality_w_step(problem, &pattern, point, &active)?;
        if let Some(worst) =
            (0..gamma.len()).filter(|&k| rational::sign(&gamma[k]) < 0).min_by(|&a, &b| gamma[a].cmp(&gamma[b]))
        {
            active.remove(worst);
            continue;
        }
        let dual_w = weighted_residuals(problem, &pattern, &w, &point.w_d);
        let slack: Vec<(usize, usize, Rational)> =
            active.iter().zip(&gamma).filter(|(_, g)| !g.is_zero()).map(|(&(i, d), g)| (i, d, g.clone())).collect();
        let balance = slack.iter().fold(
            Rational::ZERO,
            |s, (i, d, g)| {
                if pattern.sets()[*i].contains(d) { s - g } else { s + g }
            },
        );
        let r_w = &loss - (dual_value(problem, &dual_w) - Rational::from(2) * c * balance);
        return Some(Residuals { r_v, r_w, dual_v, dual_w, slack });
    }
    None
}

/// 2Σ⟨y_d, r_d⟩ − Σ‖y_d‖²/M_d.
fn dual_value(problem: &Problem, y: &[Vec<Rational>]) -> Rational {
    problem
        .features()
        .iter()
        .zip(y)
        .fold(Rational::ZERO, |s, (f, y)| s + Rational::from(2) * dot(y, &f.w_r) - dot(y, y) / &f.mass)
}

/// M_d E_d for every feature, with the neurons of the pattern firing.
fn weighted_residuals(
    problem: &Problem,
    pattern: &Pattern,
    w: &[Vec<Rational>],
    v: &[Vec<Rational>],
) -> Vec<Vec<Rational>> {
    problem
        .features()
        .iter()
        .enumerate()
        .map(|(d, f)| {
            let mut e = f.w_r.clone();
            for i in pattern.neurons_of(d) {
                let z = dot(&w[i], &f.w_p);
                for (x, v) in e.iter_mut().zip(&v[i]) {
                    *x -= &z * v;
                }
            }
            e.into_iter().map(|x| x * &f.mass).collect()
        })
        .collect()
}

/// The exact V-step: V (Z D Zᵀ) = R D Zᵀ; returns its weighted residuals.
fn v_dual(problem: &Problem, pattern: &Pattern, point: &Point) -> Vec<Vec<Rational>> {
    weighted_residuals(problem, pattern, &point.w_e, &v_step(problem, pattern, &point.w_e))
}

/// An exact minimiser of L̃(·, W): columns v_i.
pub fn v_step(problem: &Problem, pattern: &Pattern, w: &[Vec<Rational>]) -> Vec<Vec<Rational>> {
    let features = problem.features();
    let n_q = w.len();
    let z = |i: usize, d: usize| {
        if pattern.sets()[i].contains(&d) { dot(&w[i], &features[d].w_p) } else { Rational::ZERO }
    };
    let z: Vec<Vec<Rational>> = (0..n_q).map(|i| (0..features.len()).map(|d| z(i, d)).collect()).collect();
    let gram: Vec<Vec<Rational>> = (0..n_q)
        .map(|i| {
            (0..n_q)
                .map(|j| {
                    features.iter().enumerate().fold(Rational::ZERO, |s, (d, f)| s + &f.mass * &z[i][d] * &z[j][d])
                })
                .collect()
        })
        .collect();
    let rows: Vec<Vec<Rational>> = (0..problem.n_r())
        .map(|k| {
            let right: Vec<Rational> = (0..n_q)
                .map(|i| {
                    features.iter().enumerate().fold(Rational::ZERO, |s, (d, f)| s + &f.mass * &z[i][d] * &f.w_r[k])
                })
                .collect();
            matrix::solve(&Rationals, &gram, &right).expect("normal equations are consistent")
        })
        .collect();
    matrix::transpose(&rows)
}

/// The result of the f64 W-step.
struct WStep {
    w: Vec<Vec<f64>>,
    active: Vec<(usize, usize)>,
}

/// min over the closure of the cell of the cell's quadratic, decoder fixed, by an interior-point QP. `prox` > 0 keeps
/// coordinates that no active feature sees near the point.
fn w_step(problem: &Problem, pattern: &Pattern, point: &Point, prox: f64) -> Option<WStep> {
    let features = problem.features();
    let (n_q, n_p, n) = (point.w_e.len(), problem.n_p(), problem.n());
    let f = rational::to_f64;
    let p: Vec<Vec<f64>> = features.iter().map(|x| x.w_p.iter().map(f).collect()).collect();
    let mass: Vec<f64> = features.iter().map(|x| f(&x.mass)).collect();
    let c = f(problem.threshold()?);
    let ridge = if prox > 0.0 { prox } else { 1e-12 };
    let size = n_q * n_p;
    let mut columns: Vec<Vec<f64>> = vec![vec![0.0; size]; size];
    let mut linear = vec![0.0; size];
    for i in 0..n_q {
        for &d in &pattern.sets()[i] {
            let vr = f(&dot(&point.w_d[i], &features[d].w_r));
            for k in 0..n_p {
                linear[i * n_p + k] -= 2.0 * mass[d] * vr * p[d][k];
            }
        }
        for j in 0..n_q {
            let vv = f(&dot(&point.w_d[i], &point.w_d[j]));
            for &d in pattern.sets()[i].intersection(&pattern.sets()[j]) {
                for k in 0..n_p {
                    for l in 0..n_p {
                        columns[j * n_p + l][i * n_p + k] += 2.0 * vv * mass[d] * p[d][k] * p[d][l];
                    }
                }
            }
        }
        for k in 0..n_p {
            columns[i * n_p + k][i * n_p + k] += 2.0 * ridge;
            linear[i * n_p + k] -= 2.0 * ridge * f(&point.w_e[i][k]);
        }
    }
    for (k, column) in columns.iter_mut().enumerate() {
        column[k + 1..].fill(0.0);
    }
    let dense = |columns: &[Vec<f64>], rows: usize| {
        let (mut starts, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for column in columns {
            for (r, &x) in column.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                indices.push(r);
                values.push(x);
            }
            starts.push(indices.len());
        }
        CscMatrix::new(rows, columns.len(), starts, indices, values)
    };
    let mut constraints: Vec<Vec<f64>> = vec![vec![0.0; n_q * n]; size];
    let mut bounds = vec![0.0; n_q * n];
    for i in 0..n_q {
        for d in 0..n {
            let s = if pattern.sets()[i].contains(&d) { -1.0 } else { 1.0 };
            bounds[i * n + d] = s * c;
            for k in 0..n_p {
                constraints[i * n_p + k][i * n + d] = s * p[d][k];
            }
        }
    }
    let settings = DefaultSettings::<f64> {
        verbose: false,
        tol_gap_abs: 1e-12,
        tol_gap_rel: 1e-12,
        tol_feas: 1e-12,
        ..DefaultSettings::default()
    };
    let cones = [SupportedConeT::NonnegativeConeT(n_q * n)];
    let mut solver =
        DefaultSolver::new(&dense(&columns, size), &linear, &dense(&constraints, n_q * n), &bounds, &cones, settings)
            .ok()?;
    solver.solve();
    let solution = &solver.solution;
    if !matches!(solution.status, SolverStatus::Solved | SolverStatus::AlmostSolved) {
        return None;
    }
    let scale = solution.z.iter().fold(0.0_f64, |a, b| a.max(*b));
    let active = (0..n_q * n)
        .filter(|&k| solution.z[k] > 1e-7 * scale.max(1e-9) && solution.z[k] > solution.s[k])
        .map(|k| (k / n, k % n))
        .collect();
    Some(WStep { w: solution.x.chunks(n_p).map(<[f64]>::to_vec).collect(), active })
}

/// The exact minimiser over {⟨w_i, p_d⟩ = c for the active pairs}, and the multipliers of the pairs.
fn equality_w_step(
    problem: &Problem,
    pattern: &Pattern,
    point: &Point,
    active: &[(usize, usize)],
) -> Option<(Vec<Vec<Rational>>, Vec<Rational>)> {
    let features = problem.features();
    let c = problem.threshold()?;
    let (n_q, n_p) = (point.w_e.len(), problem.n_p());
    let size = n_q * n_p + active.len();
    let mut system = vec![vec![Rational::ZERO; size]; size];
    let mut right = vec![Rational::ZERO; size];
    for i in 0..n_q {
        for &d in &pattern.sets()[i] {
            let factor = &features[d].mass * dot(&point.w_d[i], &features[d].w_r);
            for k in 0..n_p {
                right[i * n_p + k] += &factor * &features[d].w_p[k];
            }
        }
        for j in 0..n_q {
            let vv = dot(&point.w_d[i], &point.w_d[j]);
            for &d in pattern.sets()[i].intersection(&pattern.sets()[j]) {
                let factor = &vv * &features[d].mass;
                for k in 0..n_p {
                    let left = &factor * &features[d].w_p[k];
                    for l in 0..n_p {
                        system[i * n_p + k][j * n_p + l] += &left * &features[d].w_p[l];
                    }
                }
            }
        }
    }
    for (a, &(i, d)) in active.iter().enumerate() {
        let row = n_q * n_p + a;
        let negative = pattern.sets()[i].contains(&d);
        for k in 0..n_p {
            let x = features[d].w_p[k].clone();
            system[i * n_p + k][row] = if negative { -x.clone() } else { x.clone() };
            system[row][i * n_p + k] = x;
        }
        right[row] = c.clone();
    }
    let solution = matrix::solve(&Rationals, &system, &right)?;
    let w = solution[..n_q * n_p].chunks(n_p).map(<[Rational]>::to_vec).collect();
    Some((w, solution[n_q * n_p..].to_vec()))
}

/// Alternating convex search inside the cell from a witness encoder (Gorski et al. 2007, Alg. 4.1), f64 steps on exact
/// points: returns a point of the cell.
pub fn search(problem: &Problem, pattern: &Pattern, witness: &[Vec<Rational>], sweeps: usize) -> Option<Point> {
    let short = |x: f64| rational::from_f64((x * 2f64.powi(40)).round() / 2f64.powi(40)).ok();
    let mut point = Point { w_e: witness.to_vec(), w_d: v_step(problem, pattern, witness) };
    for _ in 0..sweeps {
        let rounded = Point { w_e: point.w_e.clone(), w_d: shorten(&point.w_d, &short)? };
        let Some(step) = w_step(problem, pattern, &rounded, 1e-9) else { break };
        // The minimiser may sit on the closed side of an open inequality: step back until the pattern is right.
        let mut next = None;
        for back in [0.0, 1e-9, 1e-6, 1e-3] {
            let w: Option<Vec<Vec<Rational>>> = step
                .w
                .iter()
                .zip(&point.w_e)
                .map(|(new, old)| {
                    new.iter().zip(old).map(|(a, b)| short((1.0 - back) * a + back * rational::to_f64(b))).collect()
                })
                .collect();
            let w = w?;
            if Pattern::of_encoder(problem, &w) == *pattern {
                next = Some(w);
                break;
            }
        }
        let Some(w_e) = next else { break };
        let w_d = v_step(problem, pattern, &w_e);
        let candidate = Point { w_e, w_d };
        if candidate.loss(problem) >= point.loss(problem) {
            break;
        }
        point = candidate;
    }
    let w_d = shorten(&point.w_d, &short)?;
    Some(Point { w_d, ..point })
}

fn shorten(m: &[Vec<Rational>], short: &dyn Fn(f64) -> Option<Rational>) -> Option<Vec<Vec<Rational>>> {
    m.iter().map(|v| v.iter().map(|x| short(rational::to_f64(x))).collect()).collect()
}
