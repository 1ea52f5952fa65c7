//! Random blocks in f64: the eigenvector criterion of Theorem 3.7's correction, fast enough for many draws.

use crate::exact::rational;
use crate::theory::problem::Problem;
use faer::{Mat, MatRef, Side};

/// Where the stationary row of one block stands among the eigenvectors of its pencil.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spectrum {
    /// Rank of the eigenvector with positive activations, 0 for the largest eigenvalue; `None` if there is none.
    pub optimum: Option<usize>,
    /// Smallest |entry| of the unit eigenvectors times the smallest relative eigenvalue gap. Rounding moves an entry by about
    /// 1e-15 over the gap, so that a sign is safe while this is well above 1e-15.
    pub margin: f64,
}

/// Margin below which a draw is not counted: a thousand times the rounding of an eigenvector's entry over its gap.
pub const CLOSE: f64 = 1e-12;

/// One neuron that fires on all columns of P (n_p×m, general position), with targets R (n_r×m, rank ≥ min(m, n_p)) and masses:
/// the row w is gradient-stationary with its best decoder iff b = D^½Pᵀw is an eigenvector of D^½GD^½, G = RᵀR, restricted to
/// the range of D^½Pᵀ, and it lies in the cell iff b > 0 (up to sign).
///
/// `None` if the decomposition did not converge.
pub fn spectrum(P: MatRef<'_, f64>, R: MatRef<'_, f64>, masses: &[f64]) -> Option<Spectrum> {
    let (n_p, m) = (P.nrows(), P.ncols());
    let root: Vec<f64> = masses.iter().map(|x| x.sqrt()).collect();
    let product = |d: usize, e: usize| (0..R.nrows()).map(|k| R[(k, d)] * R[(k, e)]).sum::<f64>();
    let weighted = Mat::from_fn(m, m, |d, e| root[d] * root[e] * product(d, e));
    let range = (m > n_p).then(|| orthonormal_range(P, &root));
    let compressed = match &range {
        None => weighted,
        Some(U) => U.transpose() * weighted * U,
    };
    let eigen = compressed.self_adjoint_eigen(Side::Lower).ok()?;
    let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
    let vectors = match &range {
        None => eigen.U().to_owned(),
        Some(U) => U * eigen.U(),
    };
    let k = values.len();
    let positive = |j: usize| (1..m).all(|d| vectors[(d, j)] * vectors[(0, j)] > 0.0);
    // eigenvalues ascend
    let optimum = (0..k).rev().find(|&j| positive(j)).map(|j| k - 1 - j);
    let smallest = vectors.col_iter().flat_map(|c| c.iter().map(|x| x.abs()).collect::<Vec<_>>()).fold(1.0, f64::min);
    let gap = (1..k).map(|j| values[j] - values[j - 1]).fold(values[k - 1], f64::min);
    Some(Spectrum { optimum, margin: smallest * gap / values[k - 1] })
}

/// The same for all features of an exact problem, rounded to f64.
pub fn spectrum_of(problem: &Problem) -> Option<Spectrum> {
    let features = problem.features();
    let P = Mat::from_fn(problem.n_p(), problem.n(), |k, d| rational::to_f64(&features[d].w_p[k]));
    let R = Mat::from_fn(problem.n_r(), problem.n(), |k, d| rational::to_f64(&features[d].w_r[k]));
    let masses: Vec<f64> = features.iter().map(|f| rational::to_f64(&f.mass)).collect();
    spectrum(P.as_ref(), R.as_ref(), &masses)
}

/// Masses from 1 to `spread` in equal steps of the logarithm.
pub fn spread_masses(m: usize, spread: f64) -> Vec<f64> {
    (0..m).map(|d| if m > 1 { spread.powf(d as f64 / (m - 1) as f64) } else { 1.0 }).collect()
}

/// An orthonormal basis (m×n_p) of the range of D^½Pᵀ, by modified Gram and Schmidt.
fn orthonormal_range(P: MatRef<'_, f64>, root: &[f64]) -> Mat<f64> {
    let (n_p, m) = (P.nrows(), P.ncols());
    let mut U = Mat::from_fn(m, n_p, |d, k| root[d] * P[(k, d)]);
    for k in 0..n_p {
        for j in 0..k {
            let along: f64 = (0..m).map(|d| U[(d, j)] * U[(d, k)]).sum();
            for d in 0..m {
                U[(d, k)] -= along * U[(d, j)];
            }
        }
        let norm = U.col(k).norm_l2();
        for d in 0..m {
            U[(d, k)] /= norm;
        }
    }
    U
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_features_have_their_optimum_on_top_iff_they_point_the_same_way() {
        for (x, rank) in [(0.6, 0), (-0.6, 1)] {
            let P = Mat::from_fn(2, 2, |k, d| [[1.0, x], [0.0, 0.8]][k][d]);
            let found = spectrum(P.as_ref(), P.as_ref(), &[1.0, 3.0]).unwrap();
            assert_eq!(found.optimum, Some(rank));
            assert!(found.margin > 0.05);
        }
    }

    #[test]
    fn dependent_features_have_as_many_stationary_rows_as_dimensions() {
        // In one dimension a row fires on two features iff they point the same way, and then it is stationary.
        for (x, optimum) in [(2.0, Some(0)), (-2.0, None)] {
            let P = Mat::from_fn(1, 2, |_, d| [1.0, x][d]);
            assert_eq!(spectrum(P.as_ref(), P.as_ref(), &[1.0, 5.0]).unwrap().optimum, optimum);
        }
    }
}
