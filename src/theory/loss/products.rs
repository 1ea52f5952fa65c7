//! The matrix products and elementwise passes that the files of this folder share.

use super::ApproximateLoss;
use crate::fault::{self, Fault};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

/// Below this many numbers a pass over them is not worth handing to other threads.
const PARALLEL_PASS: usize = 1 << 15;

/// A B.
pub(super) fn product(A: MatRef<'_, f64>, B: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let mut C = Mat::zeros(A.nrows(), B.ncols());
    matmul(&mut C, Accum::Replace, A, B, 1.0, par);
    C
}

/// C ← C + α A B.
pub(super) fn add_product(C: &mut Mat<f64>, alpha: f64, A: MatRef<'_, f64>, B: MatRef<'_, f64>, par: Par) {
    matmul(C, Accum::Add, A, B, alpha, par);
}

/// Calls `pass` on every column of a column-major buffer with `rows` rows. Columns do not share anything, so that the result does
/// not depend on the number of threads.
pub(super) fn for_each_column(
    par: Par,
    buffer: &mut [f64],
    rows: usize,
    pass: impl Fn(usize, &mut [f64]) + Send + Sync,
) {
    match par {
        Par::Rayon(_) if buffer.len() >= PARALLEL_PASS => {
            buffer.par_chunks_mut(rows).enumerate().for_each(|(d, column)| pass(d, column));
        }
        _ => buffer.chunks_mut(rows).enumerate().for_each(|(d, column)| pass(d, column)),
    }
}

/// σ_c on every number: z stays if z > c, else it becomes 0. What is not a number stays, to be seen in the loss.
pub(super) fn threshold(c: f64, column: &mut [f64]) {
    for z in column {
        let off = if fault::planted(Fault::Cell) { *z < c } else { *z <= c };
        *z = if off { 0.0 } else { *z };
    }
}

/// Sets to zero what does not fire: where the code is zero.
pub(super) fn mask_column(column: &mut [f64], codes: &[f64]) {
    for (x, &z) in column.iter_mut().zip(codes) {
        *x = if z == 0.0 { 0.0 } else { *x };
    }
}

impl ApproximateLoss {
    /// W P, the pre-activations, n_q×n.
    pub(super) fn pre_activations(&self, W: MatRef<'_, f64>) -> Mat<f64> {
        product(W, self.P(), self.par)
    }

    /// Z = B∘(W P), the codes, n_q×n. As c ≥ 0, Z_id ≠ 0 exactly where neuron i fires on feature d.
    pub(super) fn codes_of(&self, W: MatRef<'_, f64>) -> Mat<f64> {
        let mut Z = self.pre_activations(W);
        for d in 0..Z.ncols() {
            threshold(self.c, Z.col_as_slice_mut(d));
        }
        Z
    }

    /// Ż = B∘(ΔW P), the rate of the codes along an encoder direction inside the cell of Z.
    pub(super) fn code_rates(&self, Z: &Mat<f64>, direction: MatRef<'_, f64>) -> Mat<f64> {
        let mut rates = self.pre_activations(direction);
        mask(&mut rates, Z);
        rates
    }

    /// R − V Z.
    pub(super) fn residuals_of(&self, V: MatRef<'_, f64>, Z: MatRef<'_, f64>) -> Mat<f64> {
        let mut E = self.R.clone();
        add_product(&mut E, -1.0, V, Z, self.par);
        E
    }

    /// A D, column d times M_d.
    pub(super) fn weighted(&self, mut A: Mat<f64>) -> Mat<f64> {
        for (column, &mass) in A.col_iter_mut().zip(&self.masses) {
            column.iter_mut().for_each(|x| *x *= mass);
        }
        A
    }

    /// tr(A D Bᵀ) = Σ_d M_d ⟨a_d, b_d⟩.
    pub(super) fn inner(&self, A: &Mat<f64>, B: &Mat<f64>) -> f64 {
        A.col_iter().zip(B.col_iter()).zip(&self.masses).map(|((a, b), mass)| mass * (a.transpose() * b)).sum()
    }
}

/// A ← B∘A in the cell of the codes Z.
pub(super) fn mask(A: &mut Mat<f64>, Z: &Mat<f64>) {
    for d in 0..A.ncols() {
        mask_column(A.col_as_slice_mut(d), Z.col_as_slice(d));
    }
}
