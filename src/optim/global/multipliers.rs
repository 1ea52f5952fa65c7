//! Multipliers that make a quadratic form non-negative on a cone, in f64.
//!
//! A form xᵀQx is ≥ 0 where h_k·x ≥ 0 for all k if Q − Σ ν_kl (h_k h_lᵀ + h_l h_kᵀ) is positive semidefinite for some ν ≥ 0. In up to four
//! dimensions, on a cone with as many forms, there are such multipliers whenever the form is non-negative (Diananda 1962). They are found by
//! maximising the least eigenvalue τ with a logarithmic barrier and Newton steps; the caller makes them exact and tests them.

use crate::optim::cell::dot;

/// A list of multipliers (k, l, ν_kl > 0) with k < l.
pub type Multipliers = Vec<(usize, usize, f64)>;

/// Newton steps in all, far more than a problem of this size takes.
const STEPS: usize = 200;

/// Largest multiplier, relative to the norm of Q and for forms of unit length. Where the cone is thin multipliers could grow without end.
const LARGEST: f64 = 1e6;

/// Multipliers ν with Q − Σ ν_kl (h_k h_lᵀ + h_l h_kᵀ) positive definite, its least eigenvalue above `margin` times the norm of Q, or `None` if
/// there are none within rounding. Q is symmetric, the forms have its dimension and unit length.
pub fn multipliers(Q: &[Vec<f64>], forms: &[Vec<f64>], margin: f64) -> Option<Multipliers> {
    let n = Q.len();
    let norm = Q.iter().flatten().fold(0.0f64, |norm, q| norm.max(q.abs()));
    if norm == 0.0 {
        return None;
    }
    let Q: Vec<Vec<f64>> = Q.iter().map(|row| row.iter().map(|q| q / norm).collect()).collect();
    let pairs: Vec<(usize, usize)> = (0..forms.len()).flat_map(|k| (k + 1..forms.len()).map(move |l| (k, l))).collect();
    // The variables: τ first, then ν.
    let mut x = vec![1e-2; pairs.len() + 1];
    // Gershgorin: M is positive definite for this τ.
    x[0] = -1.0 - n as f64 - 2e-2 * pairs.len() as f64;
    let mut weight = 1.0;
    for _ in 0..STEPS {
        let M = matrix(&Q, forms, &pairs, &x);
        let inverse = inverse(&M)?;
        if x[0] > margin && (x[0] > 1e-3 || weight > 1e3 * pairs.len() as f64 / x[0]) {
            break;
        }
        let (gradient, hessian) = derivatives(&inverse, forms, &pairs, &x, weight);
        let step = solve(hessian, &gradient)?;
        let decrement: f64 = step.iter().zip(&gradient).map(|(s, g)| s * g).sum();
        let mut t = 1.0;
        while t > 1e-12 {
            let moved: Vec<f64> = x.iter().zip(&step).map(|(x, s)| x - t * s).collect();
            let inside = moved[1..].iter().all(|&v| v > 0.0 && v < LARGEST)
                && factor(&matrix(&Q, forms, &pairs, &moved)).is_some();
            // Self-concordance: the damped step decreases the barrier without a test.
            if inside {
                x = moved;
                break;
            }
            t /= 2.0;
        }
        if t <= 1e-12 {
            break;
        }
        if decrement < 0.5 {
            if (n + pairs.len()) as f64 / weight < 1e-12 {
                break;
            }
            weight *= 8.0;
        }
    }
    let fits = x[0] > margin && factor(&matrix(&Q, forms, &pairs, &x)).is_some();
    fits.then(|| pairs.iter().zip(&x[1..]).map(|(&(k, l), &v)| (k, l, v * norm)).collect())
}

/// Q − Σ ν H − τ I.
fn matrix(Q: &[Vec<f64>], forms: &[Vec<f64>], pairs: &[(usize, usize)], x: &[f64]) -> Vec<Vec<f64>> {
    let mut M = Q.to_vec();
    for (&(k, l), v) in pairs.iter().zip(&x[1..]) {
        for (a, row) in M.iter_mut().enumerate() {
            for (b, entry) in row.iter_mut().enumerate() {
                *entry -= v * (forms[k][a] * forms[l][b] + forms[l][a] * forms[k][b]);
            }
        }
    }
    M.iter_mut().enumerate().for_each(|(a, row)| row[a] -= x[0]);
    M
}

/// Gradient and Hessian of −weight·τ − log det M − Σ log ν − Σ log (largest − ν).
fn derivatives(
    inverse: &[Vec<f64>],
    forms: &[Vec<f64>],
    pairs: &[(usize, usize)],
    x: &[f64],
    weight: f64,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let apply = |h: &Vec<f64>| inverse.iter().map(|row| dot(row, h)).collect::<Vec<f64>>();
    let images: Vec<Vec<f64>> = forms.iter().map(apply).collect();
    // h_kᵀ M⁻¹ h_l and h_kᵀ M⁻² h_l
    let Y: Vec<Vec<f64>> = forms.iter().map(|h| images.iter().map(|i| dot(h, i)).collect()).collect();
    let squares: Vec<Vec<f64>> = images.iter().map(|i| images.iter().map(|j| dot(i, j)).collect()).collect();
    let size = pairs.len() + 1;
    let (mut gradient, mut hessian) = (vec![0.0; size], vec![vec![0.0; size]; size]);
    gradient[0] = -weight + (0..inverse.len()).map(|a| inverse[a][a]).sum::<f64>();
    hessian[0][0] = inverse.iter().map(|row| dot(row, row)).sum();
    for (at, &(k, l)) in pairs.iter().enumerate() {
        gradient[at + 1] = 2.0 * Y[k][l] - 1.0 / x[at + 1] + 1.0 / (LARGEST - x[at + 1]);
        hessian[0][at + 1] = 2.0 * squares[k][l];
        hessian[at + 1][0] = hessian[0][at + 1];
        for (other, &(i, j)) in pairs.iter().enumerate() {
            hessian[at + 1][other + 1] = 2.0 * (Y[k][i] * Y[l][j] + Y[k][j] * Y[l][i]);
        }
        hessian[at + 1][at + 1] += 1.0 / (x[at + 1] * x[at + 1]) + 1.0 / (LARGEST - x[at + 1]).powi(2);
    }
    (gradient, hessian)
}

/// The lower Cholesky factor, or `None` if M is not positive definite.
fn factor(M: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = M.len();
    let mut L = vec![vec![0.0; n]; n];
    for j in 0..n {
        let pivot = M[j][j] - dot(&L[j][..j], &L[j][..j]);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        L[j][j] = pivot.sqrt();
        for i in j + 1..n {
            L[i][j] = (M[i][j] - dot(&L[i][..j], &L[j][..j])) / L[j][j];
        }
    }
    Some(L)
}

/// Solves M x = b for positive definite M; a pivot that rounding has spoilt ends it.
fn solve(M: Vec<Vec<f64>>, b: &[f64]) -> Option<Vec<f64>> {
    factor(&M).map(|L| solve_factored(&L, b))
}

/// x with L Lᵀ x = b.
fn solve_factored(L: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut x = b.to_vec();
    for i in 0..n {
        x[i] = (x[i] - dot(&L[i][..i], &x[..i])) / L[i][i];
    }
    for i in (0..n).rev() {
        let done: f64 = (i + 1..n).map(|k| L[k][i] * x[k]).sum();
        x[i] = (x[i] - done) / L[i][i];
    }
    x
}

fn inverse(M: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let unit = |k: usize| (0..M.len()).map(|j| if j == k { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    factor(M).map(|L| (0..M.len()).map(|k| solve_factored(&L, &unit(k))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use crate::optim::global::rayleigh::{MAX, on_orthant};
    use rand::RngExt;

    #[test]
    fn multipliers_exist_exactly_above_the_maximum_over_the_orthant() {
        for seed in 0..60 {
            let n = 2 + seed as usize % 3;
            let mut rng = stream(seed, "multipliers test");
            let X: Vec<Vec<f64>> = (0..n).map(|_| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
            let mut A = [[0.0; MAX]; MAX];
            for j in 0..n {
                for k in 0..n {
                    A[j][k] = dot(&X[j], &X[k]);
                }
            }
            let t = on_orthant(&A, n).value;
            let forms: Vec<Vec<f64>> =
                (0..n).map(|k| (0..n).map(|d| if d == k { 1.0 } else { 0.0 }).collect()).collect();
            let Q = |t: f64| -> Vec<Vec<f64>> {
                (0..n).map(|j| (0..n).map(|k| if j == k { t - A[j][k] } else { -A[j][k] }).collect()).collect()
            };
            let found = multipliers(&Q(t * (1.0 + 1e-6)), &forms, 1e-10);
            assert!(found.is_some_and(|found| found.iter().all(|(k, l, v)| k < l && *v > 0.0)), "{seed}");
            assert!(multipliers(&Q(t * (1.0 - 1e-6)), &forms, 0.0).is_none(), "{seed}");
        }
    }
}
