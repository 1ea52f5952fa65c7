//! An encoder fitted afterwards: W that gives a dictionary's codes in one product, so that (V, W) with V = D is a point of the SDL problem.
//!
//! ```text
//!     minimize   Σ_{i: m_ik = 1} (⟨w_k, x_{p,i}⟩ − z_ik)² + ρ s ‖w_k‖²      for every row w_k of W, s = Σ_i ‖x_{p,i}‖²/n_p
//! ```
//!
//! With [`Fitted::All`] every sample counts (m = 1), with [`Fitted::Active`] those that use the atom: then a silent latent is only told by σ that it is
//! to be silent, as in the W-step on a cell. σ is z·1(z > c) (eq. 10; c = 0 is ReLU). The loss is that of eq. 3 on the samples.
//!
//! # Requirements
//! Codes of the samples on the dictionary; non-negative ones, since σ passes no others. ρ > 0 unless the samples span R^{n_p} (those that use an
//! atom, with [`Fitted::Active`]); where rounding leaves no positive definite system, that is an error.
//!
//! # References
//! * Gregor, LeCun 2010, Learning fast approximations of sparse coding, ICML.
//! * arXiv 2512.05534v3, Def. 2.5 and eq. 3.

use super::coding::Codes;
use super::{Dictionary, DictionaryError, Samples};
use crate::sdl::{Activation, Model, Parameter, Shape, Tensors};
use faer::linalg::matmul::matmul;
use faer::linalg::solvers::{Llt, Solve};
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Samples whose pre-activations are made at a time.
const BLOCK: usize = 256;
/// How many thresholds between 0 and the largest code are compared, equally spaced.
const THRESHOLDS: usize = 33;

/// Which samples a row of W is fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fitted {
    /// All.
    #[default]
    All,
    /// Those that use its atom.
    Active,
}

/// How σ is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threshold {
    /// c = 0: ReLU.
    Relu,
    /// The c with the least loss, of 33 between 0 and the mean positive code, both included; of equal ones the lowest.
    #[default]
    Best,
}

/// Parameters with their defaults: `fitted` all, `ridge` 1e-6, `threshold` best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Amortised {
    /// Which samples a row is fitted to.
    pub fitted: Fitted,
    /// ρ ≥ 0.
    pub ridge: f64,
    /// How σ is chosen.
    pub threshold: Threshold,
}

/// A point of the SDL problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// W, K × n_p, row after row.
    pub encoder: Vec<f32>,
    /// V = D.
    pub decoder: Dictionary,
    /// c of σ.
    pub threshold: f64,
    /// L(V, W): the mean of ‖x_r − V σ(W x_p)‖² over the samples.
    pub loss: f64,
    /// The same with the codes in place of σ(W x_p).
    pub loss_of_codes: f64,
}

impl Default for Amortised {
    fn default() -> Self {
        Self { fitted: Fitted::default(), ridge: 1e-6, threshold: Threshold::default() }
    }
}

impl Amortised {
    /// Fits W to codes of `targets` (x_r) on the dictionary, from `inputs` (x_p; the same samples for an autoencoder).
    ///
    /// # Errors
    /// A parameter out of its range, other numbers of samples or another dimension than the codes and the dictionary have, or a system that is singular.
    pub fn fit(
        &self,
        dictionary: &Dictionary,
        codes: &Codes,
        inputs: Samples<'_>,
        targets: Samples<'_>,
    ) -> Result<Point, DictionaryError> {
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return Err(DictionaryError::parameter("ridge", "a number >= 0", self.ridge));
        }
        dictionary.admits(targets)?;
        for (what, count) in [("inputs", inputs.count()), ("codes", codes.samples())] {
            if count != targets.count() {
                return Err(DictionaryError::Count { what, expected: targets.count(), found: count });
            }
        }
        let encoder = self.encoder(dictionary, codes, inputs)?;
        let positive = codes.values.iter().filter(|z| **z > 0.0);
        let (sum, count) = positive.fold((0.0, 0), |(sum, count), z| (sum + f64::from(*z), count + 1));
        let thresholds: Vec<f64> = match self.threshold {
            Threshold::Relu => vec![0.0],
            Threshold::Best => {
                let mean = sum / f64::from(count.max(1));
                (0..THRESHOLDS).map(|i| mean * i as f64 / (THRESHOLDS - 1) as f64).collect()
            }
        };
        let losses = losses(dictionary, &encoder, &thresholds, inputs, targets);
        let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap_or(0);
        let left = codes.residuals(dictionary, targets);
        let energy: f64 = left.iter().map(|e| f64::from(*e) * f64::from(*e)).sum();
        Ok(Point {
            encoder,
            decoder: dictionary.clone(),
            threshold: thresholds[best],
            loss: losses[best],
            loss_of_codes: energy / targets.count() as f64,
        })
    }

    /// W alone, K × n_p, row after row.
    ///
    /// # Errors
    /// A system that is singular.
    ///
    /// # Panics
    /// If there is not one row of codes for each sample, which is a mistake of the program.
    pub fn encoder(&self, dictionary: &Dictionary, codes: &Codes, x: Samples<'_>) -> Result<Vec<f32>, DictionaryError> {
        assert_eq!(codes.samples(), x.count(), "codes of the samples");
        let (n_p, atoms) = (x.dimension(), dictionary.atoms());
        let users = codes.users(atoms);
        let ridge = self.ridge * x.energy() / n_p as f64;
        let singular = || DictionaryError::parameter("ridge", "a number that makes the system definite", self.ridge);
        let factor = |mut second: Mat<f64>| {
            (0..n_p).for_each(|i| second[(i, i)] += ridge);
            Llt::new(second.as_ref(), Side::Lower).map_err(|_| singular())
        };
        let shared = match self.fitted {
            Fitted::All => Some(factor(second_moment(x, 0..x.count()))?),
            Fitted::Active => None,
        };
        let row = |k: usize| -> Result<Vec<f32>, DictionaryError> {
            if users[k].is_empty() {
                return Ok(vec![0.0; n_p]);
            }
            let mut w = Mat::<f64>::zeros(n_p, 1);
            for &(i, at) in &users[k] {
                let z = f64::from(codes.values[at]);
                w.col_as_slice_mut(0).iter_mut().zip(x.row(i as usize)).for_each(|(w, x)| *w += z * f64::from(*x));
            }
            let own;
            let factor = match &shared {
                Some(factor) => factor,
                None => {
                    own = factor(second_moment(x, users[k].iter().map(|(i, _)| *i as usize)))?;
                    &own
                }
            };
            factor.solve_in_place(&mut w);
            Ok(w.col_as_slice(0).iter().map(|w| *w as f32).collect())
        };
        let rows: Vec<Vec<f32>> = (0..atoms).into_par_iter().map(row).collect::<Result<_, _>>()?;
        check_rows(&rows.concat(), n_p, singular)
    }
}

fn check_rows(rows: &[f32], n_p: usize, singular: impl Fn() -> DictionaryError) -> Result<Vec<f32>, DictionaryError> {
    super::check_rows("encoder", rows, n_p).map_err(|_| singular())?;
    Ok(rows.to_vec())
}

/// Σ x xᵀ in f64 over some samples.
fn second_moment(x: Samples<'_>, of: impl IntoIterator<Item = usize>) -> Mat<f64> {
    let columns: Vec<f64> = of.into_iter().flat_map(|i| x.row(i)).map(|x| f64::from(*x)).collect();
    let X = MatRef::from_column_major_slice(&columns, x.dimension(), columns.len() / x.dimension());
    let mut second = Mat::zeros(x.dimension(), x.dimension());
    matmul(second.as_mut(), Accum::Replace, X, X.transpose(), 1.0, Par::Seq);
    second
}

/// Mean of ‖x_r − V σ_c(W x_p)‖² for every c.
fn losses(dictionary: &Dictionary, encoder: &[f32], c: &[f64], inputs: Samples<'_>, targets: Samples<'_>) -> Vec<f64> {
    let (atoms, n_p, n_r) = (dictionary.atoms(), inputs.dimension(), targets.dimension());
    let W = MatRef::from_row_major_slice(encoder, atoms, n_p);
    let starts: Vec<usize> = (0..inputs.count()).step_by(BLOCK).collect();
    let block = |from: usize| -> Vec<f64> {
        let count = BLOCK.min(inputs.count() - from);
        let mut z = vec![0.0_f32; atoms * count];
        let out = MatMut::from_column_major_slice_mut(&mut z, atoms, count);
        matmul(out, Accum::Replace, W, inputs.range(from, count).matrix(), 1.0, Par::Seq);
        let mut active = z.clone();
        let mut residual = vec![0.0_f32; n_r * count];
        let mut sums = Vec::with_capacity(c.len());
        for &c in c {
            active.iter_mut().zip(&z).for_each(|(a, z)| *a = if f64::from(*z) > c { *z } else { 0.0 });
            residual.copy_from_slice(targets.range(from, count).data());
            let out = MatMut::from_column_major_slice_mut(&mut residual, n_r, count);
            let active = MatRef::from_column_major_slice(&active, atoms, count);
            matmul(out, Accum::Add, dictionary.matrix(), active, -1.0, Par::Seq);
            sums.push(residual.iter().map(|e| f64::from(*e) * f64::from(*e)).sum());
        }
        sums
    };
    let blocks: Vec<Vec<f64>> = starts.into_par_iter().map(block).collect();
    (0..c.len()).map(|t| blocks.iter().map(|sums| sums[t]).sum::<f64>() / inputs.count() as f64).collect()
}

impl Point {
    /// As a model of the SDL family: ReLU, or JumpReLU with the same threshold for every latent (the bandwidth, which only training uses, is c).
    pub fn model(&self) -> Model {
        let (n_q, n_r) = (self.decoder.atoms(), self.decoder.dimension());
        let shape = Shape { n_p: self.encoder.len() / n_q, n_r, n_q };
        let jump = self.threshold > 0.0;
        let activation = match jump {
            true => Activation::JumpRelu { theta: self.threshold, bandwidth: self.threshold },
            false => Activation::Relu,
        };
        let parameters =
            [Parameter::Encoder, Parameter::Decoder].into_iter().chain(jump.then_some(Parameter::LogThreshold));
        let mut tensors = Tensors::zeros(shape, parameters);
        for (parameter, values) in [(Parameter::Encoder, &self.encoder[..]), (Parameter::Decoder, self.decoder.data())]
        {
            if let Some(block) = tensors.get_mut(parameter) {
                block.copy_from_slice(values);
            }
        }
        if let Some(block) = tensors.get_mut(Parameter::LogThreshold) {
            block.fill(self.threshold.ln() as f32);
        }
        Model { activation, tensors, threshold: None }
    }
}
