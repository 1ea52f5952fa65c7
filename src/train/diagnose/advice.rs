//! What to do: which latents are free to be resampled, and which features need one.

use super::features::squared;
use super::isolated::Isolated;
use serde::Serialize;

/// What a latent could be resampled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spare {
    /// No feature fires it.
    Dead,
    /// Its one feature fires another latent of its own more strongly.
    Redundant,
}

/// Why a feature needs a latent of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// No latent fires on it.
    Uncovered,
    /// Only latents fire on it that fire on others too.
    PolysemanticOnly,
}

/// A latent that can be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SpareLatent {
    /// The latent.
    pub latent: usize,
    /// Why.
    pub why: Spare,
    /// In how many of the samples it was active, where samples were looked at.
    pub firings: Option<u64>,
}

/// A feature that should be anchored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeedyFeature {
    /// The feature.
    pub feature: usize,
    /// What it is called.
    pub name: String,
    /// Why.
    pub why: Need,
    /// ‖e_d‖²/‖r_d‖²: the share of it that is missing.
    pub missing: f64,
    /// M_d‖e_d‖², its part of L̃.
    pub loss: f64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Latents to resample, at most one for each feature below: dead ones first, those that samples use least before others.
    pub resample: Vec<SpareLatent>,
    /// Features to anchor, by decreasing loss: more than the tolerance of them is missing, and no latent is theirs alone.
    pub anchor: Vec<NeedyFeature>,
    /// Latents that could be resampled, in all.
    pub spare: usize,
}

/// Reads the advice off a pattern, which lists the features and codes of each latent. `firings` counts samples in which each latent was active.
pub fn advice(
    isolated: &Isolated<'_>,
    pattern: &[Vec<(usize, f64)>],
    tolerance: f64,
    firings: Option<&[u64]>,
) -> Advice {
    let features = isolated.features;
    let strength = |i: usize, z: f64| z * squared(&isolated.column(i)).sqrt();
    let mut covered = vec![false; features.n()];
    // the strongest latent that fires on this feature alone
    let mut owner: Vec<Option<(usize, f64)>> = vec![None; features.n()];
    for (i, fired) in pattern.iter().enumerate() {
        fired.iter().for_each(|(d, _)| covered[*d] = true);
        if let [(d, z)] = fired[..]
            && owner[d].is_none_or(|(_, best)| strength(i, z) > best)
        {
            owner[d] = Some((i, strength(i, z)));
        }
    }
    let spare = |(i, fired): (usize, &Vec<(usize, f64)>)| {
        let why = match fired[..] {
            [] => Spare::Dead,
            [(d, _)] if owner[d].is_some_and(|(best, _)| best != i) => Spare::Redundant,
            _ => return None,
        };
        Some(SpareLatent { latent: i, why, firings: firings.and_then(|counts| counts.get(i).copied()) })
    };
    let mut resample: Vec<SpareLatent> = pattern.iter().enumerate().filter_map(spare).collect();
    resample.sort_by_key(|s| (s.why == Spare::Redundant, s.firings, s.latent));
    let needy = |d: usize| {
        let (e, r) = (squared(isolated.residuals.col_as_slice(d)), squared(features.R.col_as_slice(d)));
        let loss = features.masses[d] * e;
        let missing = if r > 0.0 { e / r } else { 0.0 };
        let why = if covered[d] { Need::PolysemanticOnly } else { Need::Uncovered };
        let needs = loss > 0.0 && missing > tolerance && owner[d].is_none();
        needs.then(|| NeedyFeature { feature: d, name: features.name(d), why, missing, loss })
    };
    let mut anchor: Vec<NeedyFeature> = (0..features.n()).filter_map(needy).collect();
    anchor.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.feature.cmp(&b.feature)));
    let spare = resample.len();
    resample.truncate(anchor.len());
    Advice { resample, anchor, spare }
}

#[cfg(test)]
mod tests {
    use super::super::features::KnownFeatures;
    use super::super::planted;
    use super::*;
    use crate::sdl::Activation;
    use crate::theory::loss::Weights;
    use faer::Mat;

    #[test]
    fn dead_latents_are_spent_on_features_without_a_latent_of_their_own() {
        // Axes of R⁵. Latents: 0 dead; 1 on feature 0; 2 on feature 0 too, weaker; 3 on features 1 and 2; 4 dead and used by samples. Features 3 and 4: nobody.
        let features = KnownFeatures {
            P: Mat::identity(5, 5),
            R: Mat::identity(5, 5),
            masses: vec![1.0, 1.0, 2.0, 4.0, 0.0],
            names: None,
        };
        let mut weights = Weights { V: Mat::zeros(5, 5), W: Mat::zeros(5, 5) };
        for (i, d, w) in [(1, 0, 0.6), (2, 0, 0.4), (3, 1, 0.5), (3, 2, 0.5)] {
            (weights.W[(i, d)], weights.V[(d, i)]) = (w, 1.0);
        }
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let found = advice(&isolated, &isolated.pattern(0.0), 0.01, Some(&[3, 9, 9, 9, 2]));
        let resample: Vec<(usize, Spare)> = found.resample.iter().map(|s| (s.latent, s.why)).collect();
        assert_eq!(resample, [(4, Spare::Dead), (0, Spare::Dead), (2, Spare::Redundant)]);
        let anchor: Vec<(usize, Need)> = found.anchor.iter().map(|f| (f.feature, f.why)).collect();
        // e_3 = r_3 with mass 4; e_2 = (−½, ½) with mass 2; e_1 likewise with mass 1; feature 4 has no mass.
        assert_eq!(anchor, [(3, Need::Uncovered), (2, Need::PolysemanticOnly), (1, Need::PolysemanticOnly)]);
        assert_eq!((found.spare, found.anchor[1].loss, found.anchor[1].missing), (3, 1.0, 0.5));
    }
}
