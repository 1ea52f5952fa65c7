//! Small dense linear algebra in f64 on lists of rows: kernels and pencils of a handful of dimensions.

use super::rayleigh::{MAX, Small, top_of_pencil};
use faer::{Mat, Side};

/// An orthonormal basis of {x ∈ ℝ^n : all equations are 0}, by Gram and Schmidt with one repetition. An equation of which less than 1e-9
/// is new counts as dependent; equations have unit length.
pub(super) fn kernel(equations: &[Vec<f64>], n: usize) -> Vec<Vec<f64>> {
    let mut span: Vec<Vec<f64>> = Vec::new();
    let reduce = |span: &[Vec<f64>], x: &[f64]| {
        let mut x = x.to_vec();
        for _ in 0..2 {
            for s in span {
                let along: f64 = s.iter().zip(&x).map(|(a, b)| a * b).sum();
                x.iter_mut().zip(s).for_each(|(x, s)| *x -= along * s);
            }
        }
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        (norm, x.into_iter().map(|x| x / norm).collect::<Vec<f64>>())
    };
    for equation in equations {
        let (norm, rest) = reduce(&span, equation);
        if norm > 1e-9 {
            span.push(rest);
        }
    }
    let rank = span.len();
    while span.len() < n {
        // The unit vector of which most is new; some unit vector has at least n^-½ of its length outside a proper subspace.
        let unit = |k: usize| (0..n).map(|j| if j == k { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
        let new = (0..n).map(|k| reduce(&span, &unit(k))).max_by(|a, b| a.0.total_cmp(&b.0));
        match new {
            Some((_, rest)) => span.push(rest),
            None => break,
        }
    }
    span.split_off(rank)
}

/// The least μ with A x = μ B x on the subspace where the equations (of unit length) vanish, and x. `None` if that subspace is {0} or holds
/// more than [`MAX`] dimensions.
pub(super) fn least_on(A: &[Vec<f64>], B: &[Vec<f64>], equations: &[Vec<f64>]) -> Option<(f64, Vec<f64>)> {
    let space = kernel(equations, A.len());
    if space.is_empty() || space.len() > MAX {
        return None;
    }
    let restricted = |M: &[Vec<f64>], factor: f64| {
        let mut small: Small = [[0.0; MAX]; MAX];
        for (j, a) in space.iter().enumerate() {
            for (k, b) in space.iter().enumerate() {
                let image = |row: &Vec<f64>| row.iter().zip(b).map(|(m, x)| m * x).sum::<f64>();
                small[j][k] = factor * a.iter().zip(M).map(|(x, row)| x * image(row)).sum::<f64>();
            }
        }
        small
    };
    let (value, coefficients) = top_of_pencil(&restricted(A, -1.0), &restricted(B, 1.0), space.len())?;
    let mut x = vec![0.0; A.len()];
    for (s, c) in space.iter().zip(&coefficients) {
        x.iter_mut().zip(s).for_each(|(x, s)| *x += c * s);
    }
    Some((-value, x))
}

/// All eigenpairs of A x = μ B x in ascending order, for positive definite B.
pub(super) fn eigenpairs(A: &[Vec<f64>], B: &[Vec<f64>]) -> Option<Vec<(f64, Vec<f64>)>> {
    let matrix = |M: &[Vec<f64>]| Mat::from_fn(M.len(), M.len(), |j, k| M[j][k]);
    let half = matrix(B).self_adjoint_eigen(Side::Lower).ok()?;
    let roots: Vec<f64> = half.S().column_vector().iter().map(|s| s.sqrt()).collect();
    let whiten = Mat::from_fn(B.len(), B.len(), |j, k| half.U()[(j, k)] / roots[k]);
    let eigen = (whiten.transpose() * matrix(A) * &whiten).self_adjoint_eigen(Side::Lower).ok()?;
    let vectors = &whiten * eigen.U();
    let values = eigen.S().column_vector().iter().copied().enumerate();
    Some(values.map(|(k, value)| (value, vectors.col(k).iter().copied().collect())).collect())
}
