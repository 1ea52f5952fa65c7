//! Activation patterns (Def. 3.6): which features fire which neuron.

use super::problem::{Activation, Problem};
use crate::exact::Rational;
use crate::exact::field::{OrderedField, Rationals};
use crate::fault::{self, Fault};
use std::collections::BTreeSet;

/// A pattern: F_i, the features that fire neuron i, for every neuron; an empty set is a dead neuron.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Vec<BTreeSet<usize>>);

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no neuron.
    #[error("expected at least one neuron, found none")]
    NoNeurons,
    /// A feature index is out of range.
    #[error("[{neuron}]: feature {feature} is out of range, the problem has {n} features, counted from 0")]
    OutOfRange {
        /// 0-based neuron.
        neuron: usize,
        /// The index.
        feature: usize,
        /// Number of features.
        n: usize,
    },
    /// A feature stands twice in one neuron's list.
    #[error("[{neuron}]: feature {feature} is listed twice")]
    Repeated {
        /// 0-based neuron.
        neuron: usize,
        /// The index.
        feature: usize,
    },
}

impl Pattern {
    /// Checks lists of 0-based features, one per neuron, for a problem of n features.
    pub fn new(lists: Vec<Vec<usize>>, n: usize) -> Result<Self, PatternError> {
        if lists.is_empty() {
            return Err(PatternError::NoNeurons);
        }
        let mut sets = Vec::with_capacity(lists.len());
        for (neuron, list) in lists.into_iter().enumerate() {
            let mut set = BTreeSet::new();
            for feature in list {
                if feature >= n {
                    return Err(PatternError::OutOfRange { neuron, feature, n });
                }
                if !set.insert(feature) {
                    return Err(PatternError::Repeated { neuron, feature });
                }
            }
            sets.push(set);
        }
        Ok(Self(sets))
    }

    /// Reads pattern JSON such as `[[0,1],[]]`.
    pub fn from_json(text: &str, n: usize) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let lists: Vec<Vec<usize>> = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| e.to_string())?;
        deserializer.end().map_err(|e| e.to_string())?;
        Self::new(lists, n).map_err(|e| e.to_string())
    }

    /// The pattern of these firing sets, one per neuron; for sets that are known to be in range.
    pub(crate) fn from_sets(sets: Vec<BTreeSet<usize>>) -> Self {
        Self(sets)
    }

    /// The split of feature d from a neuron (eq. 20): F_i loses d, and a last neuron fires on d alone. An index that does
    /// not exist removes nothing.
    pub fn split(&self, neuron: usize, d: usize) -> Self {
        let mut sets = self.0.clone();
        if let Some(set) = sets.get_mut(neuron) {
            set.remove(&d);
        }
        sets.push(BTreeSet::from([d]));
        Self(sets)
    }

    /// The pattern of an exact encoder (rows w_i) under the problem's activation.
    pub fn of_encoder(problem: &Problem, w_e: &[Vec<Rational>]) -> Self {
        let mut sets = vec![BTreeSet::new(); w_e.len()];
        for (d, feature) in problem.features().iter().enumerate() {
            let z: Vec<Rational> = w_e.iter().map(|row| dot(row, &feature.w_p)).collect();
            for i in firing(problem.activation(), &z) {
                sets[i].insert(d);
            }
        }
        Self(sets)
    }

    /// F_i for every neuron.
    pub fn sets(&self) -> &[BTreeSet<usize>] {
        &self.0
    }

    /// F_i as lists.
    pub fn lists(&self) -> Vec<Vec<usize>> {
        self.0.iter().map(|s| s.iter().copied().collect()).collect()
    }

    /// n_q, the number of neurons.
    pub fn latents(&self) -> usize {
        self.0.len()
    }

    /// A(d), the neurons that feature d fires.
    pub fn neurons_of(&self, d: usize) -> Vec<usize> {
        (0..self.0.len()).filter(|&i| self.0[i].contains(&d)).collect()
    }

    /// True if no feature fires two neurons.
    pub fn is_disjoint(&self) -> bool {
        let total: usize = self.0.iter().map(BTreeSet::len).sum();
        self.0.iter().flatten().collect::<BTreeSet<_>>().len() == total
    }

    /// True if some neuron fires on two features or more (Def. 3.6).
    pub fn is_polysemantic(&self) -> bool {
        self.0.iter().any(|s| s.len() >= 2)
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", serde_json::to_string(&self.lists()).expect("integers always serialise"))
    }
}

/// ⟨a, b⟩, exactly.
pub fn dot(a: &[Rational], b: &[Rational]) -> Rational {
    Rationals.dot(a, b)
}

/// The neurons that fire at pre-activations z, ties to the lower index.
pub fn firing(activation: &Activation, z: &[Rational]) -> Vec<usize> {
    let top = |k: usize| {
        let mut order: Vec<usize> = (0..z.len()).collect();
        order.sort_by(|&i, &j| z[j].cmp(&z[i]).then(i.cmp(&j)));
        order.truncate(k);
        order
    };
    let mut fired = match activation {
        Activation::Threshold(c) if fault::planted(Fault::Cell) => (0..z.len()).filter(|&i| z[i] >= *c).collect(),
        Activation::Threshold(c) => (0..z.len()).filter(|&i| z[i] > *c).collect(),
        Activation::TopK(k) => top(*k),
        Activation::TopKRelu(k) => top(*k).into_iter().filter(|&i| z[i] > Rational::ZERO).collect::<Vec<_>>(),
    };
    fired.sort_unstable();
    fired
}
