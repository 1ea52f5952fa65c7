//! Activations (eqs. 6, 7 and what follows eq. 10), over f64 and over exact rationals with the same code.
//!
//! | variant | σ(z)_i | source |
//! |---|---|---|
//! | [`Relu`](SparseActivation::Relu) | max(0, z_i) | Bricken et al. 2023 |
//! | [`Threshold`](SparseActivation::Threshold) | z_i·1(z_i > c): the paper's σ_c | after eq. 10 |
//! | [`JumpRelu`](SparseActivation::JumpRelu) | z_i·1(z_i > θ_i), one θ for each neuron | eq. 6, Rajamanoharan et al. 2024b |
//! | [`TopK`](SparseActivation::TopK) | z_i if it is among the k largest, negative ones too | eq. 7 |
//! | [`TopKRelu`](SparseActivation::TopKRelu) | max(0, ·) after Top-k | Gao et al. 2024 |
//! | [`BatchTopK`](SparseActivation::BatchTopK) | z_i if it is among the B·k largest of a batch of B vectors | Bussmann et al. 2024 |
//! | [`BatchTopKRelu`](SparseActivation::BatchTopKRelu) | max(0, ·) after Batch-top-k | Bussmann et al. 2024 |
//! | [`Gated`](SparseActivation::Gated) | 1(z_i + g_i > 0)·max(0, s_i z_i + b_i) | Rajamanoharan et al. 2024a |
//! | [`BiasedRelu`](SparseActivation::BiasedRelu) | max(0, z_i + b_i): ReLU with an encoder bias | Bricken et al. 2023 |
//!
//! Ties: of equal numbers the one with the lower index is the larger; in a batch the one in the earlier vector, then the one with
//! the lower index. −0 equals 0. What is not a number is smaller than every number and exceeds no threshold. Thresholds are strict.
//!
//! What the theory says about all of them, eq. 10 and "σ = σ_c for some c ≥ 0", is decided by search in [`properties`].

pub mod properties;
#[cfg(test)]
mod tests;

use super::problem::Activation;
use crate::exact::{Rational, rational};
use crate::fault::{self, Fault};
use std::cmp::Ordering;
use std::ops::{Add, Mul};

/// The numbers that activations work on.
pub trait Scalar: Clone + Add<Output = Self> + Mul<Output = Self> {
    /// 0.
    fn zero() -> Self;
    /// A total order: −0 equals 0, and what is not a number comes first.
    fn order(&self, other: &Self) -> Ordering;
    /// True if self > other; false if one of them is not a number.
    fn exceeds(&self, other: &Self) -> bool;
    /// The exact value, if the number is finite.
    fn to_exact(&self) -> Option<Rational>;
}

impl Scalar for f64 {
    fn zero() -> Self {
        0.0
    }
    fn order(&self, other: &Self) -> Ordering {
        self.partial_cmp(other).unwrap_or_else(|| other.is_nan().cmp(&self.is_nan()))
    }
    fn exceeds(&self, other: &Self) -> bool {
        self > other || fault::planted(Fault::Cell) && self == other
    }
    fn to_exact(&self) -> Option<Rational> {
        rational::from_f64(*self).ok()
    }
}

impl Scalar for Rational {
    fn zero() -> Self {
        Rational::ZERO
    }
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
    fn exceeds(&self, other: &Self) -> bool {
        self > other || fault::planted(Fault::Cell) && self == other
    }
    fn to_exact(&self) -> Option<Rational> {
        Some(self.clone())
    }
}

/// A sparsity-inducing activation σ: ℝ^{n_q} → ℝ^{n_q} (eq. 1). The module's table defines the variants.
#[derive(Debug, Clone, PartialEq)]
pub enum SparseActivation<T> {
    /// ReLU.
    Relu,
    /// σ_c with c ≥ 0.
    Threshold(T),
    /// JumpReLU with a threshold θ_i ≥ 0 for each neuron.
    JumpRelu(Vec<T>),
    /// Top-k with k ≥ 1; with fewer than k neurons all are kept.
    TopK(usize),
    /// Top-k, then ReLU.
    TopKRelu(usize),
    /// Batch-top-k with k ≥ 1 for each vector on average. A vector alone is a batch of one.
    BatchTopK(usize),
    /// Batch-top-k, then ReLU.
    BatchTopKRelu(usize),
    /// A gate on z_i + g_i and a magnitude s_i z_i + b_i.
    Gated {
        /// g, the gate's bias.
        gate_bias: Vec<T>,
        /// s_i = exp(r_i) > 0, the rescale between gate and magnitude.
        scale: Vec<T>,
        /// b, the magnitude's bias.
        magnitude_bias: Vec<T>,
    },
    /// ReLU after the bias b of the encoder.
    BiasedRelu(Vec<T>),
}

/// What is wrong with an activation or with what it is applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActivationError {
    /// k = 0.
    #[error("k: expected an integer >= 1, found 0")]
    K,
    /// A threshold is negative or not a number.
    #[error("threshold of neuron {0}: expected a number >= 0")]
    Threshold(usize),
    /// A rescale is not positive.
    #[error("scale of neuron {0}: expected a number > 0")]
    Scale(usize),
    /// A parameter has no exact value.
    #[error("a parameter is not finite")]
    NotFinite,
    /// There are not as many parameters as neurons.
    #[error("expected parameters for {neurons} neurons, found {found}")]
    Width {
        /// Length of z.
        neurons: usize,
        /// Number of parameters.
        found: usize,
    },
    /// The vectors of a batch have different lengths.
    #[error("batch[{vector}]: expected {expected} numbers as in batch[0], found {found}")]
    Ragged {
        /// 0-based vector.
        vector: usize,
        /// Length of the first vector.
        expected: usize,
        /// Length of this one.
        found: usize,
    },
}

impl<T: Scalar> SparseActivation<T> {
    /// Checks the parameters, and that they fit `neurons` neurons.
    pub fn check(&self, neurons: usize) -> Result<(), ActivationError> {
        let width = |found: usize| {
            if found == neurons { Ok(()) } else { Err(ActivationError::Width { neurons, found }) }
        };
        match self {
            Self::Relu => Ok(()),
            Self::Threshold(c) => non_negative(std::slice::from_ref(c)),
            Self::JumpRelu(thresholds) => width(thresholds.len()).and(non_negative(thresholds)),
            Self::TopK(0) | Self::TopKRelu(0) | Self::BatchTopK(0) | Self::BatchTopKRelu(0) => Err(ActivationError::K),
            Self::TopK(_) | Self::TopKRelu(_) | Self::BatchTopK(_) | Self::BatchTopKRelu(_) => Ok(()),
            Self::Gated { gate_bias, scale, magnitude_bias } => {
                for parameter in [gate_bias, scale, magnitude_bias] {
                    width(parameter.len())?;
                }
                scale.iter().position(|s| !s.exceeds(&T::zero())).map_or(Ok(()), |i| Err(ActivationError::Scale(i)))
            }
            Self::BiasedRelu(bias) => width(bias.len()),
        }
    }

    /// σ(z); a batch of one vector for Batch-top-k.
    pub fn apply(&self, z: &[T]) -> Result<Vec<T>, ActivationError> {
        Ok(self.apply_batch(std::slice::from_ref(&z.to_vec()))?.swap_remove(0))
    }

    /// σ on every vector of a batch. Only Batch-top-k compares the vectors with each other.
    pub fn apply_batch(&self, batch: &[Vec<T>]) -> Result<Vec<Vec<T>>, ActivationError> {
        let masks = self.firing_batch(batch)?;
        let outputs = batch.iter().zip(&masks).map(|(z, mask)| {
            z.iter().enumerate().map(|(i, x)| if mask[i] { self.magnitude(i, x) } else { T::zero() }).collect()
        });
        Ok(outputs.collect())
    }

    /// Which neurons fire at z. A neuron that Top-k selects fires, also with a negative pre-activation or with 0; with every other
    /// activation a neuron fires iff σ(z)_i > 0.
    pub fn firing(&self, z: &[T]) -> Result<Vec<bool>, ActivationError> {
        Ok(self.firing_batch(std::slice::from_ref(&z.to_vec()))?.swap_remove(0))
    }

    /// Which neurons fire at each vector of a batch.
    pub fn firing_batch(&self, batch: &[Vec<T>]) -> Result<Vec<Vec<bool>>, ActivationError> {
        let neurons = batch.first().map_or(0, Vec::len);
        if let Some((vector, z)) = batch.iter().enumerate().find(|(_, z)| z.len() != neurons) {
            return Err(ActivationError::Ragged { vector, expected: neurons, found: z.len() });
        }
        self.check(neurons)?;
        let positive = |x: &T| x.exceeds(&T::zero());
        let each = |fires: &dyn Fn(usize, &T) -> bool| -> Vec<Vec<bool>> {
            batch.iter().map(|z| z.iter().enumerate().map(|(i, x)| fires(i, x)).collect()).collect()
        };
        let mut masks = match self {
            Self::Relu => each(&|_, x| positive(x)),
            Self::Threshold(c) => each(&|_, x| x.exceeds(c)),
            Self::JumpRelu(thresholds) => each(&|i, x| x.exceeds(&thresholds[i])),
            Self::Gated { gate_bias, .. } => {
                each(&|i, x| positive(&(x.clone() + gate_bias[i].clone())) && positive(&self.magnitude(i, x)))
            }
            Self::BiasedRelu(_) => each(&|i, x| positive(&self.magnitude(i, x))),
            Self::TopK(k) | Self::TopKRelu(k) => {
                batch.iter().flat_map(|z| largest(std::slice::from_ref(z), *k)).collect()
            }
            Self::BatchTopK(k) | Self::BatchTopKRelu(k) => largest(batch, k.saturating_mul(batch.len())),
        };
        if matches!(self, Self::TopKRelu(_) | Self::BatchTopKRelu(_)) {
            for (mask, z) in masks.iter_mut().zip(batch) {
                mask.iter_mut().zip(z).for_each(|(fires, x)| *fires &= positive(x));
            }
        }
        Ok(masks)
    }

    /// The same activation with exact parameters.
    pub fn to_exact(&self) -> Result<SparseActivation<Rational>, ActivationError> {
        let exact = |x: &T| x.to_exact().ok_or(ActivationError::NotFinite);
        let all = |v: &[T]| v.iter().map(exact).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Relu => SparseActivation::Relu,
            Self::Threshold(c) => SparseActivation::Threshold(exact(c)?),
            Self::JumpRelu(thresholds) => SparseActivation::JumpRelu(all(thresholds)?),
            Self::TopK(k) => SparseActivation::TopK(*k),
            Self::TopKRelu(k) => SparseActivation::TopKRelu(*k),
            Self::BatchTopK(k) => SparseActivation::BatchTopK(*k),
            Self::BatchTopKRelu(k) => SparseActivation::BatchTopKRelu(*k),
            Self::Gated { gate_bias, scale, magnitude_bias } => SparseActivation::Gated {
                gate_bias: all(gate_bias)?,
                scale: all(scale)?,
                magnitude_bias: all(magnitude_bias)?,
            },
            Self::BiasedRelu(bias) => SparseActivation::BiasedRelu(all(bias)?),
        })
    }

    /// σ(z)_i of a neuron that fires.
    fn magnitude(&self, i: usize, x: &T) -> T {
        match self {
            Self::Gated { scale, magnitude_bias, .. } => scale[i].clone() * x.clone() + magnitude_bias[i].clone(),
            Self::BiasedRelu(bias) => x.clone() + bias[i].clone(),
            _ => x.clone(),
        }
    }
}

impl From<&Activation> for SparseActivation<Rational> {
    fn from(activation: &Activation) -> Self {
        match activation {
            Activation::Threshold(c) => Self::Threshold(c.clone()),
            Activation::TopK(k) => Self::TopK(*k),
            Activation::TopKRelu(k) => Self::TopKRelu(*k),
        }
    }
}

fn non_negative<T: Scalar>(thresholds: &[T]) -> Result<(), ActivationError> {
    let fits = |x: &T| x.exceeds(&T::zero()) || (x.order(&T::zero()) == Ordering::Equal);
    thresholds.iter().position(|x| !fits(x)).map_or(Ok(()), |i| Err(ActivationError::Threshold(i)))
}

/// The masks of the `count` largest numbers of a batch; of equal ones the earlier is the larger.
fn largest<T: Scalar>(batch: &[Vec<T>], count: usize) -> Vec<Vec<bool>> {
    let mut order: Vec<(usize, usize)> =
        batch.iter().enumerate().flat_map(|(s, z)| (0..z.len()).map(move |i| (s, i))).collect();
    // A stable sort keeps equal numbers in index order.
    order.sort_by(|x, y| batch[y.0][y.1].order(&batch[x.0][x.1]));
    let mut masks: Vec<Vec<bool>> = batch.iter().map(|z| vec![false; z.len()]).collect();
    for (s, i) in order.into_iter().take(count) {
        masks[s][i] = true;
    }
    masks
}
