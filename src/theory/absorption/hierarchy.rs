//! Hierarchical concepts (Def. 3.9).

use crate::exact::Rational;
use crate::theory::pattern::Pattern;

/// Parent concepts with their sub-concepts: parent(x) > 0 ⇔ some child(x) > 0 (Def. 3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy(Vec<Parent>);

/// One parent concept d_i and its sub-concepts F_i = {d_{i,1}, .., d_{i,k_i}}, k_i ≥ 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The parent's feature.
    pub parent: usize,
    /// The features of its sub-concepts.
    pub children: Vec<usize>,
}

/// What is wrong with a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HierarchyError {
    /// There is no parent.
    #[error("expected at least one parent concept, found none")]
    NoParents,
    /// A parent has fewer than two sub-concepts.
    #[error("[{index}]: expected at least 2 sub-concepts, found {found}")]
    TooFew {
        /// 0-based place in the list.
        index: usize,
        /// Number of sub-concepts.
        found: usize,
    },
    /// A feature index is out of range.
    #[error("[{index}]: feature {feature} is out of range, the problem has {n} features, counted from 0")]
    OutOfRange {
        /// 0-based place in the list.
        index: usize,
        /// The index.
        feature: usize,
        /// Number of features.
        n: usize,
    },
    /// A feature stands twice in one entry.
    #[error("[{index}]: feature {feature} stands twice among the parent and its sub-concepts")]
    Repeated {
        /// 0-based place in the list.
        index: usize,
        /// The feature.
        feature: usize,
    },
}

impl Hierarchy {
    /// Checks parents and sub-concepts, features of a problem with n.
    pub fn new(parents: Vec<Parent>, n: usize) -> Result<Self, HierarchyError> {
        if parents.is_empty() {
            return Err(HierarchyError::NoParents);
        }
        for (index, entry) in parents.iter().enumerate() {
            if entry.children.len() < 2 {
                return Err(HierarchyError::TooFew { index, found: entry.children.len() });
            }
            let mut seen = std::collections::BTreeSet::new();
            for &feature in entry.children.iter().chain([&entry.parent]) {
                if feature >= n {
                    return Err(HierarchyError::OutOfRange { index, feature, n });
                }
                if !seen.insert(feature) {
                    return Err(HierarchyError::Repeated { index, feature });
                }
            }
        }
        Ok(Self(parents))
    }

    /// The parents, in order.
    pub fn parents(&self) -> &[Parent] {
        &self.0
    }

    /// The pattern without absorption, P = (F_1, .., F_M) of Thm 3.10: one neuron per parent fires on all its sub-concepts.
    pub fn pattern(&self) -> Pattern {
        Pattern::from_sets(self.0.iter().map(|entry| entry.children.iter().copied().collect()).collect())
    }

    /// The probability that Def. 3.9 fails for one parent if features fire independently (Asm. 2.4), feature d with probability
    /// `firing[d]`: p₀ q + (1 − p₀)(1 − q), where p₀ is the parent's and q = Π (1 − p_child).
    ///
    /// It is 0 only if the parent never fires and no child does, or if it always fires and some child always does. So the
    /// definition contradicts the assumption in every other case. `None` if `index` or a feature is out of range.
    pub fn mismatch(&self, index: usize, firing: &[Rational]) -> Option<Rational> {
        let entry = self.0.get(index)?;
        let parent = firing.get(entry.parent)?;
        let silent = |d: &usize| firing.get(*d).map(|p| Rational::ONE - p);
        let none = entry.children.iter().map(silent).try_fold(Rational::ONE, |product, q| Some(product * q?))?;
        Some(parent * &none + (Rational::ONE - parent) * (Rational::ONE - &none))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rational::parse;

    fn dogs() -> Hierarchy {
        Hierarchy::new(vec![Parent { parent: 0, children: vec![1, 2] }], 3).unwrap()
    }

    #[test]
    fn the_pattern_without_absorption_fires_one_neuron_on_all_sub_concepts() {
        assert_eq!(dogs().pattern().to_string(), "[[1,2]]");
    }

    #[test]
    fn independent_concepts_satisfy_the_definition_only_when_they_are_constant() {
        let probability = |p: [&str; 3]| dogs().mismatch(0, &p.map(|text| parse(text).unwrap())).unwrap();
        assert_eq!(probability(["1/2", "1/2", "1/2"]), parse("1/2").unwrap());
        assert_eq!(probability(["7/16", "1/4", "1/4"]), parse("63/128").unwrap());
        assert_eq!(probability(["0", "0", "0"]), Rational::ZERO);
        assert_eq!(probability(["1", "1", "1/3"]), Rational::ZERO);
        assert_eq!(dogs().mismatch(0, &[Rational::ONE]), None);
    }

    #[test]
    fn malformed_hierarchies_are_refused() {
        let parent = |parent, children: &[usize]| Parent { parent, children: children.to_vec() };
        assert_eq!(Hierarchy::new(vec![], 3), Err(HierarchyError::NoParents));
        for (entry, error) in [
            (parent(0, &[1]), HierarchyError::TooFew { index: 0, found: 1 }),
            (parent(0, &[1, 3]), HierarchyError::OutOfRange { index: 0, feature: 3, n: 3 }),
            (parent(0, &[1, 1]), HierarchyError::Repeated { index: 0, feature: 1 }),
            (parent(2, &[1, 2]), HierarchyError::Repeated { index: 0, feature: 2 }),
        ] {
            assert_eq!(Hierarchy::new(vec![entry], 3), Err(error));
        }
    }
}
