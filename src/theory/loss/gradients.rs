//! L̃ and both gradients in one pass:
//!
//! ```text
//!     ∇_V L̃ = −2 E D Zᵀ,    ∇_W L̃ = −2 [B∘(Vᵀ E D)] Pᵀ
//! ```
//!
//! Five matrix products (W P, V Z, E D Zᵀ, Vᵀ E D, [B∘·] Pᵀ) of 2·n·n_p·n_q or 2·n·n_r·n_q operations each are the floor;
//! the elementwise passes between them touch n·(2 n_q + n_r) numbers, so that the cost grows like n·n_q·(4 n_p + 6 n_r) with a
//! share of roughly 1/(n_p + n_r) for the passes. Features are taken in blocks of [`BLOCK`] columns: the codes of a block and
//! what flows back through them are the only temporaries, 2·n_q·[`BLOCK`] numbers whatever n is.

use super::products::{for_each_column, mask_column, threshold};
use super::{ApproximateLoss, LossError, Weights};
use crate::fault::{self, Fault};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef};

/// Number of features that are taken at a time.
pub const BLOCK: usize = 256;

/// The temporaries of one block of features, kept between calls by who calls often.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    Z: Vec<f64>,
    backward: Vec<f64>,
    E: Vec<f64>,
    column_losses: Vec<f64>,
}

impl ApproximateLoss {
    /// L̃(V, W) (eq. 11).
    pub fn value(&self, weights: &Weights) -> Result<f64, LossError> {
        self.check(weights)?;
        let mut work = Workspace::default();
        Ok(self.blocks().map(|block| self.forward(weights, block, &mut work)).sum())
    }

    /// L̃(V, W) and the gradients (∇_V L̃, ∇_W L̃) inside the cell of W.
    pub fn value_and_gradients(&self, weights: &Weights) -> Result<(f64, Weights), LossError> {
        let mut gradients = Weights { V: Mat::zeros(0, 0), W: Mat::zeros(0, 0) };
        let value = self.value_and_gradients_into(weights, &mut gradients, &mut Workspace::default())?;
        Ok((value, gradients))
    }

    /// As [`Self::value_and_gradients`], into matrices that are allocated anew only if their shape does not fit.
    pub fn value_and_gradients_into(
        &self,
        weights: &Weights,
        gradients: &mut Weights,
        work: &mut Workspace,
    ) -> Result<f64, LossError> {
        self.check(weights)?;
        let n_q = weights.n_q();
        for (gradient, like) in [(&mut gradients.V, &weights.V), (&mut gradients.W, &weights.W)] {
            if gradient.nrows() != like.nrows() || gradient.ncols() != like.ncols() {
                *gradient = Mat::zeros(like.nrows(), like.ncols());
            }
        }
        let mut value = 0.0;
        for block in self.blocks() {
            let accumulate = if block.0 == 0 { Accum::Replace } else { Accum::Add };
            let width = block.1 - block.0;
            value += self.forward(weights, block, work);
            let Workspace { Z, backward, E, .. } = work;
            for_each_column(self.par, E, self.n_r(), |k, column| {
                column.iter_mut().for_each(|e| *e *= self.masses[block.0 + k]);
            });
            let ED = MatRef::from_column_major_slice(E, self.n_r(), width);
            let codes = MatRef::from_column_major_slice(Z, n_q, width);
            matmul(&mut gradients.V, accumulate, ED, codes.transpose(), -2.0, self.par);
            if fault::planted(Fault::Gradient) {
                for_each_column(self.par, E, self.n_r(), |k, column| {
                    let d = block.0 + k;
                    column.iter_mut().zip(self.R.col(d).iter()).for_each(|(e, r)| *e = r * self.masses[d]);
                });
            }
            let ED = MatRef::from_column_major_slice(E, self.n_r(), width);
            backward.resize(n_q * width, 0.0);
            let flow = MatMut::from_column_major_slice_mut(backward, n_q, width);
            matmul(flow, Accum::Replace, weights.V.transpose(), ED, 1.0, self.par);
            for_each_column(self.par, backward, n_q, |k, column| mask_column(column, &Z[k * n_q..(k + 1) * n_q]));
            let flow = MatRef::from_column_major_slice(backward, n_q, width);
            matmul(&mut gradients.W, accumulate, flow, self.columns(block).transpose(), -2.0, self.par);
        }
        Ok(value)
    }

    /// E = R − V σ_c(W P), n_r×n: what each feature's reconstruction misses.
    pub fn residuals(&self, weights: &Weights) -> Result<Mat<f64>, LossError> {
        self.check(weights)?;
        Ok(self.residuals_of(weights.V.as_ref(), self.codes_of(weights.W.as_ref()).as_ref()))
    }

    /// Z = σ_c(W P), n_q×n: the code of every feature.
    pub fn codes(&self, W: MatRef<'_, f64>) -> Result<Mat<f64>, LossError> {
        self.check_encoder("W", W)?;
        Ok(self.codes_of(W))
    }

    /// The blocks of features [from, to).
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.n();
        (0..n).step_by(BLOCK).map(move |from| (from, (from + BLOCK).min(n)))
    }

    fn columns(&self, (from, to): (usize, usize)) -> MatRef<'_, f64> {
        self.P.as_ref().subcols(from, to - from)
    }

    /// Fills Z and E for one block of features and returns its share of L̃.
    fn forward(&self, weights: &Weights, block: (usize, usize), work: &mut Workspace) -> f64 {
        let (from, to) = block;
        let (n_q, n_r, width) = (weights.n_q(), self.n_r(), to - from);
        let Workspace { Z, E, column_losses, .. } = work;
        Z.resize(n_q * width, 0.0);
        E.resize(n_r * width, 0.0);
        let codes = MatMut::from_column_major_slice_mut(Z, n_q, width);
        matmul(codes, Accum::Replace, &weights.W, self.columns(block), 1.0, self.par);
        for_each_column(self.par, Z, n_q, |_, column| threshold(self.c, column));
        let mut residuals = MatMut::from_column_major_slice_mut(E, n_r, width);
        residuals.copy_from(self.R.as_ref().subcols(from, width));
        let codes = MatRef::from_column_major_slice(Z, n_q, width);
        matmul(residuals, Accum::Add, &weights.V, codes, -1.0, self.par);
        // Column losses first, their sum in order afterwards: the same bits at any number of threads.
        column_losses.clear();
        column_losses.extend(E.chunks(n_r).zip(&self.masses[from..to]).map(|(e, m)| m * squared_norm(e)));
        let counted = width - usize::from(fault::planted(Fault::Loss) && to == self.n());
        column_losses[..counted].iter().sum()
    }
}

fn squared_norm(e: &[f64]) -> f64 {
    e.iter().map(|x| x * x).sum()
}
