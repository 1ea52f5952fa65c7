//! The construction in the published proof of Thm 3.10 (eqs. 94–106), which raises the threshold that all neurons share.

use super::AbsorptionError;
use crate::exact::Rational;
use crate::exact::rational::sign;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Problem};
use crate::theory::region::RegionError;

/// What the published construction makes of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The feature j* of the least activation (the lowest index of a tie), which gets its own neuron.
    pub feature: usize,
    /// c″, the raised threshold (eq. 100).
    pub threshold: Rational,
    /// n_q + 1 rows: row i* scaled by (c + a_min)/(2 a_min) (eq. 98), the others as they were, and 2c″/(1+M)·p_{j*} (eq. 106), M the
    /// largest ⟨p_{j*}, p_e⟩ (or 0).
    pub w_e: Vec<Vec<Rational>>,
    /// The split pattern that eq. 20 promises.
    pub intended: Pattern,
    /// The pattern that these rows have under the raised threshold.
    pub actual: Pattern,
}

impl Published {
    /// (neuron, feature) pairs that should fire and do not.
    pub fn killed(&self) -> Vec<(usize, usize)> {
        difference(&self.intended, &self.actual)
    }

    /// (neuron, feature) pairs that should not fire and do.
    pub fn revived(&self) -> Vec<(usize, usize)> {
        difference(&self.actual, &self.intended)
    }
}

fn difference(a: &Pattern, b: &Pattern) -> Vec<(usize, usize)> {
    let lost = |(i, (x, y)): (usize, (&_, &_))| {
        let (x, y): (&std::collections::BTreeSet<usize>, &std::collections::BTreeSet<usize>) = (x, y);
        x.difference(y).map(|&d| (i, d)).collect::<Vec<_>>()
    };
    a.sets().iter().zip(b.sets()).enumerate().flat_map(lost).collect()
}

/// Runs the published construction on an encoder (threshold activation) for one neuron that fires on two features or more.
///
/// The infinitesimal ε of eq. 100 is half the way from c′ to the next activation above it, so that no pair is killed by
/// the size of ε, only by the raise to c′ = (c + a_min)/2 itself.
pub fn published(problem: &Problem, w_e: &[Vec<Rational>], neuron: usize) -> Result<Published, AbsorptionError> {
    let c = problem.threshold().ok_or(AbsorptionError::Region(RegionError::NotThreshold))?;
    let before = Pattern::of_encoder(problem, w_e);
    let set = super::checked_set(&before, neuron)?;
    let p = |d: usize| &problem.features()[d].w_p;
    let (least, feature) =
        set.iter().map(|&d| (dot(&w_e[neuron], p(d)), d)).min().ok_or(AbsorptionError::TooSmall { neuron, size: 0 })?;
    let middle = (c + &least) / Rational::from(2); // eq. 98
    let mut rows = w_e.to_vec();
    rows[neuron].iter_mut().for_each(|x| *x *= &middle / &least);
    let activations = problem.features().iter().flat_map(|f| rows.iter().map(|row| dot(row, &f.w_p)));
    let next = activations.filter(|a| *a > middle).min().unwrap_or(&middle + Rational::ONE);
    let threshold = (&middle + next) / Rational::from(2); // eq. 100
    let products = (0..problem.n()).filter(|&e| e != feature).map(|e| dot(p(feature), p(e)));
    let interference = products.max().filter(|m| sign(m) > 0).unwrap_or(Rational::ZERO);
    let factor = Rational::from(2) * &threshold / (Rational::ONE + interference); // eq. 106
    rows.push(p(feature).iter().map(|x| x * &factor).collect());
    let raised = Problem::new(problem.features().to_vec(), Activation::Threshold(threshold.clone()))
        .map_err(AbsorptionError::Problem)?;
    let actual = Pattern::of_encoder(&raised, &rows);
    Ok(Published { feature, threshold, w_e: rows, intended: before.split(neuron, feature), actual })
}
