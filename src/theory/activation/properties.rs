//! Two statements about activations, decided by a seeded search over exact rationals:
//!
//! * eq. 10: σ(z)_i ∈ {0, z_i} for every z and i;
//! * "all these activation functions are σ_c for some threshold c ≥ 0" (after eq. 10).
//!
//! A violation is a witness that anyone can recompute. That none was found proves nothing beyond the vectors that were tried.

use super::{ActivationError, SparseActivation};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use rand::RngExt;

/// A vector z and a neuron i at which something is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The batch that σ was applied to: one vector, except for Batch-top-k.
    pub batch: Vec<Vec<Rational>>,
    /// Which vector of the batch.
    pub vector: usize,
    /// 0-based neuron.
    pub neuron: usize,
    /// σ(z)_i.
    pub output: Rational,
}

impl Witness {
    /// z_i.
    pub fn input(&self) -> &Rational {
        &self.batch[self.vector][self.neuron]
    }
}

/// Which thresholds c ≥ 0 make σ_c agree with σ on all vectors that were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThresholdFit {
    /// Exactly those in [lo, hi), or [lo, ∞) without `hi`.
    Agrees {
        /// The least such c.
        lo: Rational,
        /// The smallest number that was kept.
        hi: Option<Rational>,
    },
    /// No c: one witness suffices if it keeps a number ≤ 0 or breaks eq. 10, else there are two, the first of which is
    /// kept (so c < z) and the second dropped (so c ≥ z' ≥ z).
    NoThreshold(Vec<Witness>),
}

impl SparseActivation<Rational> {
    /// Searches `batches` (each a batch for Batch-top-k, else vectors that are taken one by one) for a violation of eq. 10.
    pub fn zero_or_identity_violation(
        &self,
        batches: &[Vec<Vec<Rational>>],
    ) -> Result<Option<Witness>, ActivationError> {
        for batch in batches {
            let found = self.witnesses(batch)?.into_iter().find(|w| !w.output.is_zero() && w.output != *w.input());
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The thresholds c for which σ_c agrees with this activation on `batches`, or witnesses that there is none.
    pub fn threshold_fit(&self, batches: &[Vec<Vec<Rational>>]) -> Result<ThresholdFit, ActivationError> {
        let (mut kept, mut dropped): (Option<Witness>, Option<Witness>) = (None, None);
        for batch in batches {
            for witness in self.witnesses(batch)? {
                let input = witness.input();
                let keeps = witness.output == *input;
                if input.is_zero() && keeps {
                    continue;
                }
                if keeps && rational::sign(input) < 0 || !keeps && !witness.output.is_zero() {
                    return Ok(ThresholdFit::NoThreshold(vec![witness]));
                }
                if keeps && kept.as_ref().is_none_or(|k| input < k.input()) {
                    kept = Some(witness);
                } else if !keeps && dropped.as_ref().is_none_or(|d| input > d.input()) {
                    dropped = Some(witness);
                }
            }
        }
        let lo = dropped.as_ref().map_or(Rational::ZERO, |d| d.input().clone().max(Rational::ZERO));
        Ok(match (kept, dropped) {
            (Some(kept), Some(dropped)) if kept.input() <= dropped.input() => {
                ThresholdFit::NoThreshold(vec![kept, dropped])
            }
            (kept, _) => ThresholdFit::Agrees { lo, hi: kept.map(|k| k.input().clone()) },
        })
    }

    /// `count` seeded batches to search: small multiples of ½ and ¼, and numbers at, beside and beyond the activation's own
    /// parameters, where a kink would sit. Batches hold two vectors for Batch-top-k, else one.
    pub fn probes(&self, neurons: usize, count: usize, seed: u64) -> Vec<Vec<Vec<Rational>>> {
        let mut values: Vec<Rational> = (-8..=8).map(|k| Rational::from(k) / Rational::from(4)).collect();
        for x in self.parameters() {
            let unit = Rational::ONE;
            let around = [&x - &unit, x.clone(), &x + &unit, &x * Rational::from(2), &x / Rational::from(2)];
            values.extend(around.iter().map(|y| -y));
            values.extend(around);
        }
        let vectors = if matches!(self, Self::BatchTopK(_) | Self::BatchTopKRelu(_)) { 2 } else { 1 };
        let mut rng = stream(seed, "activation probes");
        let mut vector = || (0..neurons).map(|_| values[rng.random_range(0..values.len())].clone()).collect();
        (0..count).map(|_| (0..vectors).map(|_| vector()).collect()).collect()
    }

    fn parameters(&self) -> Vec<Rational> {
        match self {
            Self::Threshold(c) => vec![c.clone()],
            Self::JumpRelu(v) | Self::BiasedRelu(v) => v.clone(),
            Self::Gated { gate_bias, scale, magnitude_bias } => {
                // The gate opens at −g, the magnitude becomes positive at −b/s.
                let kinks = magnitude_bias.iter().zip(scale).map(|(b, s)| b / s);
                gate_bias.iter().cloned().chain(kinks).collect()
            }
            _ => Vec::new(),
        }
    }

    fn witnesses(&self, batch: &[Vec<Rational>]) -> Result<Vec<Witness>, ActivationError> {
        let mut all = Vec::new();
        for (vector, outputs) in self.apply_batch(batch)?.into_iter().enumerate() {
            for (neuron, output) in outputs.into_iter().enumerate() {
                all.push(Witness { batch: batch.to_vec(), vector, neuron, output });
            }
        }
        Ok(all)
    }
}
