//! Inputs on which no threshold c ≥ 0 reproduces an activation, shrunk, for the claim that every activation is a σ_c.

use super::relations::{rational, step};
use crate::exact::{Rational, rational as exact};
use crate::theory::activation::SparseActivation;
use crate::theory::activation::properties::ThresholdFit;
use crate::theory::problem::{Activation, Feature, Problem};
use sdlab_verify::format::{Relation, Step};

/// An activation over exact numbers.
pub(super) type Sigma = SparseActivation<Rational>;

/// An activation with batches of inputs (of one vector, except for Batch-top-k).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clash {
    pub sigma: Sigma,
    pub batches: Vec<Vec<Vec<Rational>>>,
}

impl Clash {
    pub fn new(sigma: Sigma, batches: Vec<Vec<Vec<Rational>>>) -> Self {
        Self { sigma, batches }
    }

    /// The thresholds that work on all batches; none if the activation cannot be applied.
    pub fn fit(&self) -> Option<ThresholdFit> {
        self.sigma.threshold_fit(&self.batches).ok()
    }

    /// True if no c ≥ 0 works on all batches.
    pub fn clashes(&self) -> bool {
        matches!(self.fit(), Some(ThresholdFit::NoThreshold(_)))
    }

    /// True if every batch alone has a c.
    pub fn each_alone_fits(&self) -> bool {
        self.batches.iter().all(|batch| !Self::new(self.sigma.clone(), vec![batch.clone()]).clashes())
    }

    /// True if the clash is between equal numbers.
    pub fn ties(&self) -> bool {
        match self.fit() {
            Some(ThresholdFit::NoThreshold(witnesses)) => {
                matches!(witnesses.as_slice(), [kept, dropped] if kept.input() == dropped.input())
            }
            _ => false,
        }
    }

    /// The two batches that the clash is about.
    pub fn narrowed(&self) -> Option<Self> {
        let Some(ThresholdFit::NoThreshold(witnesses)) = self.fit() else { return None };
        let mut batches: Vec<_> = witnesses.into_iter().map(|witness| witness.batch).collect();
        batches.dedup();
        Some(Self::new(self.sigma.clone(), batches))
    }

    /// Fewer batches, neurons and shorter numbers while `holds` stays true.
    pub fn shrunk(self, holds: impl Fn(&Self) -> bool) -> Self {
        let mut smallest = self;
        while let Some(smaller) =
            smallest.smaller().into_iter().filter(|c| c.size() < smallest.size() && holds(c)).min_by_key(Self::size)
        {
            smallest = smaller;
        }
        smallest
    }

    /// Batches, neurons, length of the numbers, and how many are negative.
    fn size(&self) -> (usize, usize, usize, usize) {
        let numbers = || self.batches.iter().flatten().flatten();
        let bits = numbers().map(|x| if x.is_zero() { 0 } else { exact::bits(x) }).sum();
        let negative = numbers().filter(|x| exact::sign(x) < 0).count();
        (self.batches.len(), self.batches[0][0].len(), bits, negative)
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for drop in 0..self.batches.len() {
            let mut next = self.clone();
            next.batches.remove(drop);
            if !next.batches.is_empty() {
                all.push(next);
            }
        }
        let neurons = self.batches[0][0].len();
        for drop in 0..neurons {
            let mut next = self.clone();
            next.batches.iter_mut().flatten().for_each(|z| {
                z.remove(drop);
            });
            if let Sigma::JumpRelu(thresholds) = &mut next.sigma {
                thresholds.remove(drop);
            }
            if neurons > 1 {
                all.push(next);
            }
        }
        // Equal numbers change together, so that ties stay ties.
        let mut values: Vec<Rational> = self.batches.iter().flatten().flatten().cloned().collect();
        values.sort();
        values.dedup();
        for value in &values {
            let mut next = self.clone();
            next.batches.iter_mut().flatten().flatten().filter(|x| *x == value).for_each(|x| *x = Rational::ONE);
            all.push(next);
        }
        let quarters = (-8..=12).map(|k| Rational::from(k) / Rational::from(4));
        for value in quarters {
            for (b, batch) in self.batches.iter().enumerate() {
                for (s, z) in batch.iter().enumerate() {
                    for i in 0..z.len() {
                        let mut next = self.clone();
                        next.batches[b][s][i] = value.clone();
                        all.push(next);
                    }
                }
            }
        }
        all
    }

    /// The problem whose features are the inputs and whose encoder is the identity, where the format knows the activation.
    pub fn problem(&self) -> Option<(Problem, Vec<Vec<Rational>>)> {
        let activation = match self.sigma {
            Sigma::TopK(k) => Activation::TopK(k),
            Sigma::TopKRelu(k) => Activation::TopKRelu(k),
            _ => return None,
        };
        let feature = |z: &Vec<Rational>| Feature { w_p: z.clone(), w_r: z.clone(), mass: Rational::ONE };
        let features: Vec<Feature> = self.batches.iter().flatten().map(feature).collect();
        let n = features[0].w_p.len();
        let identity = (0..n).map(|i| (0..n).map(|j| Rational::from(u8::from(i == j))).collect()).collect();
        Some((Problem::new(features, activation).ok()?, identity))
    }

    /// Why the activation keeps what it keeps: numbers against their thresholds, or the smallest kept number of a batch against the
    /// largest dropped one.
    pub fn ranking(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for batch in &self.batches {
            let Ok(masks) = self.sigma.firing_batch(batch) else { continue };
            let numbers = || batch.iter().zip(&masks).flat_map(|(z, mask)| z.iter().zip(mask));
            match &self.sigma {
                Sigma::JumpRelu(thresholds) => {
                    for (k, (x, fires)) in numbers().enumerate() {
                        let relation = if *fires { Relation::Greater } else { Relation::LessEqual };
                        steps.push(step(rational(x), relation, rational(&thresholds[k % thresholds.len()])));
                    }
                }
                _ => {
                    let kept = numbers().filter(|(_, fires)| **fires).map(|(x, _)| x).min();
                    let dropped = numbers().filter(|(_, fires)| !**fires).map(|(x, _)| x).max();
                    if let (Some(kept), Some(dropped)) = (kept, dropped) {
                        steps.push(step(rational(kept), Relation::GreaterEqual, rational(dropped)));
                    }
                }
            }
        }
        steps
    }

    /// The clash in a table: "z = (1, 1): keeps 1, drops 1".
    pub fn in_words(&self) -> String {
        let Some(ThresholdFit::NoThreshold(witnesses)) = self.fit() else { return String::new() };
        let what = match witnesses.as_slice() {
            [kept, dropped] => format!("keeps {}, drops {}", kept.input(), dropped.input()),
            [kept, ..] => format!("keeps {}", kept.input()),
            [] => String::new(),
        };
        format!("{}: {what}", self.inputs())
    }

    /// The inputs, "z = (2, 1) and (0, 1)", after the thresholds of JumpReLU.
    pub fn inputs(&self) -> String {
        let inputs: Vec<String> = self.batches.iter().map(|batch| shown(batch)).collect();
        let thresholds = match &self.sigma {
            Sigma::JumpRelu(thresholds) => format!("θ = {}, ", shown(std::slice::from_ref(thresholds))),
            _ => String::new(),
        };
        format!("{thresholds}z = {}", inputs.join(" and "))
    }
}

/// "(2, 1)", or "[(2, 1), (0, 1)]" for a batch.
fn shown(batch: &[Vec<Rational>]) -> String {
    match batch {
        [z] => vector(z),
        _ => format!("[{}]", batch.iter().map(|z| vector(z)).collect::<Vec<_>>().join(", ")),
    }
}

/// "(2, 1)".
pub(super) fn vector(z: &[Rational]) -> String {
    format!("({})", z.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// The thresholds t ≥ 0 with which σ_t equals Top-k (with ReLU after it or without) at z, from
/// the least on, below the second if there is one: the corrected statement.
pub(super) fn thresholds_of_top_k(z: &[Rational], k: usize, relu: bool) -> Option<(Rational, Option<Rational>)> {
    let mut sorted: Vec<&Rational> = z.iter().collect();
    sorted.sort_by(|a, b| b.cmp(a));
    let k = k.min(sorted.len());
    let last = sorted[k - 1];
    let next = sorted.get(k).copied();
    let tie = *last > Rational::ZERO && next == Some(last);
    if tie || !relu && *last < Rational::ZERO {
        return None;
    }
    let lo = next.cloned().unwrap_or(Rational::ZERO).max(Rational::ZERO);
    Some((lo, sorted[..k].iter().filter(|x| ***x > Rational::ZERO).min().map(|x| (*x).clone())))
}
