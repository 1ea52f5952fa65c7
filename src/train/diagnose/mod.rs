//! Is a trained model at a spurious minimum? What the theory of L̃ says about it, against features that are known.
//!
//! Every feature is shown to the model alone. What it makes of them is a point of L̃ (eq. 11) with an activation pattern, whatever its activation and biases:
//!
//! | question | module |
//! |---|---|
//! | which features: of the bench, of a problem, means of labelled classes | [`features`] |
//! | codes, pattern and L̃ | [`isolated`] |
//! | how far from a partial optimum, r_V and r_W | [`residuals`] |
//! | polysemantic latents: μ against λ_max, escape directions | [`blocks`] |
//! | which latents to resample, which features to anchor | [`advice`] |
//! | tables for people | [`tables`] |
//! | whether the advice helps, on small benches | [`demonstrate`] |
//!
//! It stands in `train` since it looks at trained models with the data of their experiment; the exact side, `theory`, knows neither.

pub mod advice;
pub mod blocks;
pub mod demonstrate;
pub mod features;
pub mod isolated;
#[cfg(test)]
mod planted;
pub mod residuals;
mod sampled;
pub mod tables;

pub use features::{FeatureError, KnownFeatures};
pub use sampled::Sampled;

use crate::sdl::Model;
use crate::sdl::resampling::Samples;
use crate::sdl::resampling::decrease::{Addition, best_addition};
use advice::Advice;
use blocks::LatentBlock;
use isolated::Isolated;
use residuals::Residuals;
use serde::Serialize;

/// What counts as something.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// Shares below this are nothing: of L̃ in Σ M_d‖r_d‖², of a residual in L̃, of λ_max − μ in λ_max, of a feature that is missing.
    pub tolerance: f64,
    /// A latent counts as firing on a feature if its term z_id‖v_i‖ is at least this share of ‖r_d‖. A top-k of a single feature fires k latents, most of
    /// them hardly.
    pub floor: f64,
    /// Seed of the search for the best added latent.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tolerance: 0.01, floor: 0.05, seed: 0 }
    }
}

/// What the model is, as far as L̃ tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// L̃ is within the tolerance of 0: nothing to do.
    Solved,
    /// The decoder or the encoder alone lowers L̃: training is not at its end.
    NotPartialOptimum,
    /// Near a partial optimum, but a polysemantic latent is below its top eigenvalue: a saddle.
    Saddle,
    /// Near a partial optimum of positive loss without a way down inside the cell; one more latent lowers L̃.
    SpuriousMinimum,
    /// As far as the bounds tell: r_W may be more than the tolerance, or no added latent was found that helps.
    Undecided,
}

impl Verdict {
    /// As in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solved => "solved",
            Self::NotPartialOptimum => "not-partial-optimum",
            Self::Saddle => "saddle",
            Self::SpuriousMinimum => "spurious-minimum",
            Self::Undecided => "undecided",
        }
    }
}

/// r_V of at least this share of L̃ is all of it.
const ALL: f64 = 0.99;

/// Latents by the number of features that fire them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PatternCounts {
    /// Latents that no feature fires.
    pub dead: usize,
    /// Latents that one feature fires.
    pub monosemantic: usize,
    /// Latents that two or more features fire.
    pub polysemantic: usize,
    /// (features, polysemantic latents with so many), by increasing size.
    pub sizes: Vec<(usize, usize)>,
    /// Features that fire no latent.
    pub uncovered: usize,
    /// True if every feature fires at most one latent.
    pub disjoint: bool,
}

/// All that is found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// What counted as something.
    pub settings: Settings,
    /// n_q.
    pub latents: usize,
    /// n.
    pub features: usize,
    /// In one word.
    pub verdict: Verdict,
    /// What r_W and the blocks alone would say, where r_V is nearly all of L̃. If n codes have rank n, which takes at least as many latents as features,
    /// there is a decoder without loss on features alone, r_V is L̃ whatever the model is, and that it is no partial optimum says nothing of it.
    pub encoder_verdict: Option<Verdict>,
    /// L̃.
    pub loss: f64,
    /// Σ M_d‖r_d‖², the loss of a model that reconstructs nothing.
    pub energy: f64,
    /// How far from a partial optimum.
    pub residuals: Residuals,
    /// The pattern in numbers.
    pub pattern: PatternCounts,
    /// Polysemantic latents by decreasing λ_max − μ; at most [`blocks::MOST`], of at most [`blocks::LARGEST`] features.
    pub blocks: Vec<LatentBlock>,
    /// The best latent that could be added; absent if nothing is missing.
    pub added: Option<Addition>,
    /// The training loss beside L̃, where samples were looked at.
    pub sampled: Option<Sampled>,
    /// What to do.
    pub advice: Advice,
}

/// Diagnoses a model whose dimensions are those of the features.
///
/// # Errors
/// Other dimensions, or weights that are not finite.
pub fn diagnose(
    model: &Model,
    features: &KnownFeatures,
    sampled: Option<Sampled>,
    settings: Settings,
) -> Result<Diagnosis, FeatureError> {
    features.check(model.shape().n_p, model.shape().n_r)?;
    let finite = |p| model.tensors.get(p).is_none_or(|block| block.iter().all(|x| x.is_finite()));
    if !model.tensors.parameters().all(finite) {
        return Err(FeatureError::Weights);
    }
    let isolated = Isolated::of(model, features);
    let pattern = isolated.pattern(settings.floor);
    let (loss, energy) = (isolated.loss(), features.energy());
    let residuals = Residuals::of(&isolated);
    let (blocks, _) = blocks::blocks(&isolated, &pattern);
    let dead: Vec<usize> = (0..pattern.len()).filter(|i| pattern[*i].is_empty()).collect();
    let added = best_addition(model, &samples(&isolated), &dead, settings.seed);
    let firings = sampled.as_ref().map(|sampled| &sampled.firings[..]);
    let mut advice = advice::advice(&isolated, &pattern, settings.tolerance, firings);
    let by = |residuals: &Residuals| verdict(loss, energy, residuals, &blocks, added.as_ref(), settings.tolerance);
    let verdict = by(&residuals);
    let idle = verdict == Verdict::NotPartialOptimum && residuals.r_v.is_some_and(|r_v| r_v >= ALL * loss);
    let encoder_verdict = idle.then(|| by(&Residuals { r_v: Some(0.0), ..residuals }));
    if verdict == Verdict::Solved {
        advice.resample.clear();
        advice.anchor.clear();
    }
    Ok(Diagnosis {
        settings,
        latents: pattern.len(),
        features: features.n(),
        verdict,
        encoder_verdict,
        loss,
        energy,
        residuals,
        pattern: PatternCounts::of(&pattern, features.n()),
        blocks,
        added,
        sampled,
        advice,
    })
}

/// The features alone, as samples to resample by.
fn samples<'a>(isolated: &'a Isolated<'_>) -> Samples<'a> {
    Samples {
        inputs: &isolated.inputs,
        targets: &isolated.targets,
        reconstructions: &isolated.reconstructions,
        codes: &isolated.codes,
        weights: Some(&isolated.features.masses),
    }
}

fn verdict(
    loss: f64,
    energy: f64,
    residuals: &Residuals,
    blocks: &[LatentBlock],
    added: Option<&Addition>,
    tolerance: f64,
) -> Verdict {
    let small = tolerance * loss;
    if loss <= tolerance * energy {
        Verdict::Solved
    } else if residuals.r_v.is_some_and(|r_v| r_v > small) || residuals.r_w_low > small {
        Verdict::NotPartialOptimum
    } else if blocks.iter().any(|block| block.lambda_max - block.mu > tolerance * block.lambda_max) {
        Verdict::Saddle
    } else if residuals.r_v.is_some() && residuals.r_w_high <= small && added.is_some_and(|a| a.decrease > small) {
        Verdict::SpuriousMinimum
    } else {
        Verdict::Undecided
    }
}

impl PatternCounts {
    /// Of a pattern that lists the features of each latent.
    fn of(pattern: &[Vec<(usize, f64)>], n: usize) -> Self {
        let mut firing = vec![0_usize; n];
        pattern.iter().flatten().for_each(|(d, _)| firing[*d] += 1);
        let largest = pattern.iter().map(Vec::len).max().unwrap_or(0);
        let mut counts = vec![0; largest + 1];
        pattern.iter().for_each(|fired| counts[fired.len()] += 1);
        let of_size = |size: usize| counts.get(size).copied().unwrap_or(0);
        let sizes: Vec<(usize, usize)> = (2..=largest).map(|m| (m, of_size(m))).filter(|(_, c)| *c > 0).collect();
        Self {
            dead: of_size(0),
            monosemantic: of_size(1),
            polysemantic: sizes.iter().map(|(_, count)| count).sum(),
            sizes,
            uncovered: firing.iter().filter(|latents| **latents == 0).count(),
            disjoint: firing.iter().all(|latents| *latents <= 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdl::Activation;
    use crate::theory::loss::Weights;
    use faer::Mat;

    fn diagnosis(features: &KnownFeatures, weights: &Weights) -> Diagnosis {
        let model = planted::model(weights, Activation::Relu);
        diagnose(&model, features, None, Settings { floor: 0.0, ..Settings::default() }).unwrap()
    }

    /// Two features on one latent at the stationary point a = D^{−½} b, with its best column, and a dead latent.
    fn merged(g: f64, masses: [f64; 2], b: [f64; 2]) -> (KnownFeatures, Weights) {
        let a = [b[0] / masses[0].sqrt(), b[1] / masses[1].sqrt()];
        let (features, one) = planted::pair(g, masses, a, [0.0, 0.0]);
        let mut weights = Weights { V: Mat::zeros(2, 2), W: Mat::zeros(2, 2) };
        (0..2).for_each(|k| weights.W[(0, k)] = one.W[(0, k)]);
        let V = features.approximate_loss(0.0).unwrap().decoder_step(weights.W.as_ref()).unwrap().V;
        (features, Weights { V, W: weights.W })
    }

    #[test]
    fn a_merged_pair_with_a_positive_product_and_a_dead_latent_is_a_spurious_minimum() {
        let top = (5.0 + 13f64.sqrt()) / 2.0;
        let (features, weights) = merged(0.5, [1.0, 4.0], [1.0, top - 1.0]);
        let found = diagnosis(&features, &weights);
        assert_eq!(found.verdict, Verdict::SpuriousMinimum, "{found:?}");
        let counts = PatternCounts {
            dead: 1,
            monosemantic: 0,
            polysemantic: 1,
            sizes: vec![(2, 1)],
            uncovered: 0,
            disjoint: true,
        };
        assert_eq!((found.pattern.clone(), found.energy), (counts, 5.0));
        assert!((found.loss - (5.0 - top)).abs() < 1e-6);
        // The residuals are those of one direction u: e_1 and e_2 are opposite, and a row that fires on one alone takes M_d‖e_d‖².
        let alone = found.advice.anchor[0].loss;
        let added = found.added.clone().unwrap();
        assert!(added.decrease >= alone * (1.0 - 1e-6) && added.decrease <= found.loss, "{found:?}");
        assert_eq!(found.advice.resample[0].latent, 1);
        assert_eq!(found.advice.anchor.len(), 2);
        // The formula of one added neuron, scored by the exact side.
        let loss = features.approximate_loss(0.0).unwrap();
        let scored = loss.added_neuron(loss.residuals(&weights).unwrap().as_ref(), &added.row).unwrap();
        assert!((scored.decrease - added.decrease).abs() < 1e-6, "{scored:?} {added:?}");
    }

    #[test]
    fn a_merged_pair_with_a_negative_product_is_a_saddle() {
        let (features, weights) = merged(-0.25, [1.0, 1.0], [1.0, 1.0]);
        let found = diagnosis(&features, &weights);
        assert_eq!(found.verdict, Verdict::Saddle, "{found:?}");
        assert!((found.blocks[0].curvature + 1.0).abs() < 1e-6 && found.residuals.r_w_high < 1e-9);
    }

    #[test]
    fn a_model_at_the_true_solution_has_nothing_to_do() {
        let (features, _) = planted::pair(0.5, [1.0, 4.0], [0.0; 2], [0.0; 2]);
        // W = Pᵀ = I, V = R, and a dead latent that nothing is missing for
        let mut weights = Weights { V: Mat::zeros(2, 3), W: Mat::zeros(3, 2) };
        for d in 0..2 {
            weights.W[(d, d)] = 1.0;
            (0..2).for_each(|k| weights.V[(k, d)] = features.R[(k, d)]);
        }
        let found = diagnosis(&features, &weights);
        assert_eq!((found.verdict, found.pattern.dead, found.pattern.monosemantic), (Verdict::Solved, 1, 2));
        assert!(found.advice.resample.is_empty() && found.advice.anchor.is_empty() && found.blocks.is_empty());
        assert!(found.loss < 1e-12 && found.added.is_none_or(|added| added.decrease < 1e-12));
    }

    #[test]
    fn a_decoder_that_is_not_the_best_one_is_no_partial_optimum() {
        let (features, mut weights) = merged(0.5, [1.0, 4.0], [1.0, 2.0]);
        weights.V *= faer::Scale(0.5);
        let found = diagnosis(&features, &weights);
        assert_eq!(found.verdict, Verdict::NotPartialOptimum);
        assert!(found.residuals.r_v.unwrap() > 0.1);
    }

    #[test]
    fn where_some_decoder_has_no_loss_whatever_the_encoder_is_the_others_are_asked() {
        // Two features and two latents with independent codes, of which each fires on both: a decoder has no loss, and this one has half of everything.
        let (features, _) = planted::pair(0.5, [1.0, 4.0], [0.0; 2], [0.0; 2]);
        let W = faer::mat![[1.0, 0.3], [0.3, 1.0]];
        let V = features.approximate_loss(0.0).unwrap().decoder_step(W.as_ref()).unwrap().V * faer::Scale(0.5);
        let found = diagnosis(&features, &Weights { V, W });
        assert_eq!(found.verdict, Verdict::NotPartialOptimum);
        assert!((found.residuals.r_v.unwrap() / found.loss - 1.0).abs() < 1e-4, "{found:?}");
        assert!(found.encoder_verdict.is_some());
        let said = found.sentence();
        assert!(said.contains("whatever the encoder is") && said.contains("by r_W and the latents alone"), "{said}");
        // One latent cannot serve both, and what its decoder lacks is told as it was.
        let (features, mut weights) = merged(0.5, [1.0, 4.0], [1.0, 2.0]);
        weights.V *= faer::Scale(0.5);
        let found = diagnosis(&features, &weights);
        assert_eq!((found.verdict, found.encoder_verdict), (Verdict::NotPartialOptimum, None));
        assert!(!found.sentence().contains("whatever"), "{}", found.sentence());
    }

    #[test]
    fn a_model_of_other_dimensions_is_refused() {
        let (features, _) = planted::pair(0.5, [1.0, 1.0], [0.0; 2], [0.0; 2]);
        let (_, weights) = planted::random(3, 5, 2, 2, 0);
        let model = planted::model(&weights, Activation::Relu);
        assert!(diagnose(&model, &features, None, Settings::default()).is_err());
    }
}
