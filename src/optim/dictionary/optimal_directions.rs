//! Method of optimal directions (MOD): all atoms at once are the least-squares fit to the samples, given the codes.
//!
//! ```text
//!     D ← X Zᵀ (Z Zᵀ)⁺,   then every column is scaled to norm 1 and its codes by the inverse
//! ```
//!
//! # Requirements
//! At least K samples that are not 0. The objective Σ_i ½‖x_i − Dα_i‖² of a pass is not above that of the pass before, as long as no atom is
//! replaced: the fit is optimal for its codes, and of the codes found anew and those kept from the pass before (scaled with their atoms) every sample
//! takes the better ones. With a penalty the fit ignores it, so that the penalised objective may rise.
//!
//! # References
//! * Engan, Aase, Håkon Husøy 1999, Method of optimal directions for frame design, ICASSP, doi:10.1109/ICASSP.1999.760624.

use super::coding::{Coder, Codes};
use super::replacement::Replacement;
use super::{Dictionary, DictionaryError, Fit, Learner, Samples, Watch, alternate};
use crate::optim::never;
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, SelfAdjointEigen, Solve};
use faer::{Accum, Mat, Par, Side};
use serde::{Deserialize, Serialize};

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `atoms` | 200 |
/// | `coder` | orthogonal matching pursuit with 4 atoms |
/// | `passes` | 30 |
/// | `tolerance` | 1e-4 |
/// | `replacement` | see [`Replacement`] |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimalDirections {
    /// K.
    pub atoms: usize,
    /// How samples are coded.
    pub coder: Coder,
    /// Most passes over the samples, ≥ 1.
    pub passes: usize,
    /// Ends when a pass without a replacement lowers the objective by less than this share of it; ≥ 0.
    pub tolerance: f64,
    /// When an atom is given up.
    pub replacement: Replacement,
}

impl Default for OptimalDirections {
    fn default() -> Self {
        Self {
            atoms: 200,
            coder: Coder::Omp { atoms: 4, error: 0.0 },
            passes: 30,
            tolerance: 1e-4,
            replacement: Replacement::default(),
        }
    }
}

impl OptimalDirections {
    /// Learns a dictionary.
    ///
    /// # Errors
    /// A parameter out of its range, more atoms than samples, or samples without a direction.
    pub fn fit(&self, samples: Samples<'_>, seed: u64) -> Result<Fit, DictionaryError> {
        self.fit_watched(samples, seed, &mut |_, _| true)
    }

    /// The same, watched; the codes that are shown have been fitted to the atoms.
    ///
    /// # Errors
    /// The same.
    pub fn fit_watched(&self, samples: Samples<'_>, seed: u64, watch: &mut Watch<'_>) -> Result<Fit, DictionaryError> {
        let learner = Learner {
            atoms: self.atoms,
            coder: self.coder,
            passes: self.passes,
            tolerance: self.tolerance,
            replacement: self.replacement,
        };
        alternate(&learner, samples, seed, watch, &never, |dictionary, codes, samples, _| {
            step(dictionary, codes, samples);
            true
        })
    }
}

/// The least-squares dictionary for these codes; atoms that no code uses stay as they are. Codes are scaled with the atoms.
pub fn step(dictionary: &mut Dictionary, codes: &mut Codes, samples: Samples<'_>) {
    let (n_r, atoms) = (dictionary.dimension(), dictionary.atoms());
    let (second, cross) = moments(codes, samples, atoms);
    let used: Vec<usize> = (0..atoms).filter(|k| second[(*k, *k)] > 0.0).collect();
    let second = Mat::from_fn(used.len(), used.len(), |i, j| second[(used[i], used[j])]);
    let cross = Mat::from_fn(used.len(), n_r, |i, r| cross[(r, used[i])]);
    let solution = least_squares(&second, &cross);
    let mut scales = vec![1.0; atoms];
    for (i, &k) in used.iter().enumerate() {
        let norm = solution.row(i).norm_l2();
        if norm > 0.0 && norm.is_finite() {
            scales[k] = norm;
            for (d, u) in dictionary.atom_mut(k).iter_mut().zip(solution.row(i).iter()) {
                *d = (u / norm) as f32;
            }
        }
    }
    for (k, value) in codes.atoms.iter().zip(&mut codes.values) {
        *value *= scales[*k as usize] as f32;
    }
}

/// Z Zᵀ and X Zᵀ in f64, added sample by sample.
fn moments(codes: &Codes, samples: Samples<'_>, atoms: usize) -> (Mat<f64>, Mat<f64>) {
    let mut second = Mat::<f64>::zeros(atoms, atoms);
    let mut cross = Mat::<f64>::zeros(samples.dimension(), atoms);
    for i in 0..samples.count() {
        let (indices, values) = codes.sample(i);
        for (&j, &z) in indices.iter().zip(values) {
            let z = f64::from(z);
            let column = second.col_as_slice_mut(j as usize);
            for (&k, &y) in indices.iter().zip(values) {
                column[k as usize] += z * f64::from(y);
            }
            for (b, x) in cross.col_as_slice_mut(j as usize).iter_mut().zip(samples.row(i)) {
                *b += z * f64::from(*x);
            }
        }
    }
    (second, cross)
}

/// S⁺ C for a positive semidefinite S: by Cholesky, or where rounding makes that impossible or worthless, with the eigenvalues above K·ε·λ_max.
fn least_squares(second: &Mat<f64>, cross: &Mat<f64>) -> Mat<f64> {
    let size = second.nrows();
    let rank = |largest: f64| size as f64 * f64::EPSILON * largest;
    if let Ok(llt) = Llt::new(second.as_ref(), Side::Lower) {
        let pivots = (0..size).map(|i| llt.L()[(i, i)].powi(2));
        let largest = (0..size).map(|i| second[(i, i)]).fold(0.0, f64::max);
        if pivots.fold(f64::INFINITY, f64::min) > 1e4 * rank(largest) {
            return llt.solve(cross);
        }
    }
    let Ok(eigen) = SelfAdjointEigen::new(second.as_ref(), Side::Lower) else { return Mat::zeros(size, cross.ncols()) };
    let values = eigen.S().column_vector();
    let least = rank((0..size).map(|i| values[i]).fold(0.0, f64::max));
    let mut inner = Mat::zeros(size, cross.ncols());
    matmul(inner.as_mut(), Accum::Replace, eigen.U().transpose(), cross, 1.0, Par::Seq);
    for i in 0..size {
        let inverse = if values[i] > least { 1.0 / values[i] } else { 0.0 };
        inner.row_mut(i).iter_mut().for_each(|x| *x *= inverse);
    }
    let mut solution = Mat::zeros(size, cross.ncols());
    matmul(solution.as_mut(), Accum::Replace, eigen.U(), &inner, 1.0, Par::Seq);
    solution
}
