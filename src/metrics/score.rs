//! Everything that is known about a trained model, as one value.

use super::absorption::{Absorption, AbsorptionScores};
use super::fit::{Fit, FitScores};
use super::latents::{Firing, FiringScores};
use super::matching::{Mcc, mcc, mcc_without};
use super::recovery::{BestMatches, Histogram, Match, Recovery};
use super::similarity::{Sign, SimilarityError, Vectors};
use crate::backend::{Backend, HostCodes, Mode};
use crate::bench::coefficients::SparseBatch;
use crate::bench::config::Task;
use crate::bench::dataset::{Bench, Side};
use crate::bench::features::hierarchy_groups;
use crate::sdl::{Anchors, Model};
use serde::{Deserialize, Serialize};

/// M_GT is kept for τ = 0, 1/100, .., 1.
pub const STEPS: usize = 100;
/// Bins of a histogram of best matches.
pub const BINS: usize = 50;

/// The scores of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Reconstruction and sparsity.
    pub fit: FitScores,
    /// Rows of W_E against W_p; absent where no features are known.
    pub encoder: Option<SideScores>,
    /// Columns of W_D against W_r; absent where no features are known.
    pub decoder: Option<SideScores>,
    /// Latents as classifiers; absent where it is not known which feature is present, or where n·n_q is too large to
    /// count.
    pub firing: Option<FiringScores>,
    /// Features that are not anchored, among latents that are not, as in [`WithAndWithout`]; absent without anchors, or if every feature is one.
    pub firing_free: Option<FiringScores>,
    /// Absorption; absent where features have no hierarchy.
    pub absorption: Option<AbsorptionScores>,
}

/// How well one side has recovered the features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideScores {
    /// Whole vectors.
    pub whole: Matched,
    /// Each source of a crosscoder on its own; empty for the others.
    pub sources: Vec<Matched>,
    /// One-to-one assignment; absent without features or latents.
    pub mcc: Option<Mcc>,
    /// Features that are not anchored, among latents that are not; absent without anchors, without such features, and in older files.
    #[serde(default)]
    pub mcc_free: Option<Mcc>,
}

/// Best matches with latents scaled to norm 1, and as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matched {
    /// Cosines.
    pub normalised: WithAndWithout,
    /// Products with latents as they are: the formula as printed, which grows with their norms.
    pub raw: WithAndWithout,
}

/// With everything, and without what was anchored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithAndWithout {
    /// All features and latents.
    pub all: RecoveryScores,
    /// Features that are not anchored among latents that are not; absent without anchors, or if every feature is one.
    pub free: Option<RecoveryScores>,
}

/// Best matches in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryScores {
    /// How many features.
    pub features: usize,
    /// Maximum inner product.
    pub mip: f64,
    /// M_GT(τ) for τ = 0, 0.01, .., 1.
    pub recovered: Vec<f64>,
    /// Smallest best match.
    pub least: f64,
    /// Largest best match.
    pub largest: f64,
    /// Best matches in 50 bins from 0 to 1.
    pub histogram: Histogram,
}

/// Features that are known, as far as a score needs them.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// W_p.
    pub inputs: Vectors<'a>,
    /// W_r.
    pub targets: Vectors<'a>,
    /// Sources of a crosscoder, equally long; else 1.
    pub sources: usize,
    /// Parents with their sub-concepts; empty without a hierarchy.
    pub groups: Vec<Vec<usize>>,
}

/// What a model makes of some samples.
#[derive(Debug, Clone, Default)]
pub struct Encoded {
    /// Its codes, by σ of inference.
    pub codes: HostCodes,
    /// x_r.
    pub targets: Vec<f32>,
    /// x̂_r.
    pub reconstructions: Vec<f32>,
    /// Which features are present, where that is known.
    pub present: Option<SparseBatch>,
}

impl<'a> Known<'a> {
    /// What is known on the bench.
    pub fn of(bench: &'a Bench) -> Self {
        let config = bench.config();
        let sources = if let Task::Crosscoder { sources } = config.task { sources } else { 1 };
        let groups = config.hierarchy.map(|hierarchy| hierarchy_groups(config.n, hierarchy.children));
        let truth = |side| Vectors::truth(bench.directions(side));
        Self { inputs: truth(Side::Input), targets: truth(Side::Target), sources, groups: groups.unwrap_or_default() }
    }
}

impl Scores {
    /// Scores a model on samples of the bench: held-out ones have numbers from N on. The same for the same samples in
    /// the same order, whatever the batch and the number of threads.
    ///
    /// # Errors
    /// Dimensions that do not fit the bench, or weights that are not finite.
    pub fn on_bench<B: Backend>(
        backend: &B,
        model: &Model,
        bench: &Bench,
        anchors: &Anchors,
        samples: &[u64],
    ) -> Result<Self, SimilarityError> {
        let params = backend.params(model);
        let opt = backend.opt_state(&params);
        let (mut batch, mut codes) = (backend.batch(), backend.codes());
        let n_r = bench.directions(Side::Target).dimension();
        let encode = |indices: &[u64]| {
            backend.sample(bench, indices, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Inference, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            let present = bench.coefficients().batch(indices);
            let mut targets = vec![0.0; indices.len() * n_r];
            bench.synthesize(&present, Side::Target, &mut targets);
            let (codes, reconstructions) = (backend.codes_of(&codes), backend.reconstruction_of(&batch, &codes));
            Encoded { codes, targets, reconstructions, present: Some(present) }
        };
        Self::of(model, Some(&Known::of(bench)), anchors, samples.chunks(backend.spec().batch.max(1)), encode)
    }

    /// Scores a model on batches of samples, whatever encodes them. Batches are encoded twice where there is a
    /// hierarchy: main latents must be known before absorption can be counted.
    ///
    /// # Errors
    /// Dimensions that do not fit, or weights that are not finite.
    ///
    /// # Panics
    /// If there are no samples, which is a mistake of the program.
    pub fn of<'s>(
        model: &Model,
        known: Option<&Known<'_>>,
        anchors: &Anchors,
        batches: impl Iterator<Item = &'s [u64]> + Clone,
        mut encode: impl FnMut(&[u64]) -> Encoded,
    ) -> Result<Self, SimilarityError> {
        let shape = model.shape();
        let (mut encoder, mut decoder) = (None, None);
        if let Some(known) = known {
            encoder = Some(SideScores::of(Vectors::encoder(model), known.inputs, known.sources, anchors)?);
            decoder = Some(SideScores::of(Vectors::decoder(model), known.targets, known.sources, anchors)?);
        }
        let mut fit = Fit::new(shape.n_q, shape.n_r);
        let mut firing = known.and_then(|known| Firing::new(known.inputs.len(), shape.n_q));
        let mut presence = false;
        for indices in batches.clone() {
            let encoded = encode(indices);
            fit.add(&encoded.codes, &encoded.targets, &encoded.reconstructions);
            if let (Some(firing), Some(present)) = (&mut firing, &encoded.present) {
                firing.add(&encoded.codes, present);
                presence = true;
            }
        }
        let firing = firing.filter(|_| presence);
        let mut absorption = None;
        if let (Some(known), Some(firing)) = (known, &firing)
            && !known.groups.is_empty()
        {
            let mut counts = Absorption::new(&known.groups, firing, Vectors::decoder(model), known.targets);
            for indices in batches {
                let encoded = encode(indices);
                encoded.present.iter().for_each(|present| counts.add(&encoded.codes, present));
            }
            absorption = counts.scores();
        }
        Ok(Self {
            fit: fit.scores().expect("a score needs samples"),
            encoder,
            decoder,
            firing_free: firing
                .as_ref()
                .filter(|_| !anchors.is_empty())
                .and_then(|firing| firing.scores(&anchors.features, &anchors.latents)),
            firing: firing.and_then(|firing| firing.scores(&[], &[])),
            absorption,
        })
    }
}

/// M_GT(τ) of the encoder and of the decoder, all features, latents scaled to norm 1: the part of [`Scores`] that needs no samples.
///
/// # Errors
/// Dimensions that do not fit, or weights that are not finite.
pub fn recovered(model: &Model, known: &Known<'_>, tau: f64) -> Result<[f64; 2], SimilarityError> {
    let share = |learned, truth| {
        let best = BestMatches::of(learned, truth, Sign::Absolute, &[])?;
        Ok(Recovery::without(&best.normalised, &[]).map_or(0.0, |recovery| recovery.recovered(tau)))
    };
    Ok([share(Vectors::encoder(model), known.inputs)?, share(Vectors::decoder(model), known.targets)?])
}

impl SideScores {
    /// Learned directions against known ones.
    fn of(
        learned: Vectors<'_>,
        truth: Vectors<'_>,
        sources: usize,
        anchors: &Anchors,
    ) -> Result<Self, SimilarityError> {
        let whole = Matched::of(learned, truth, anchors)?;
        let width = truth.dimension() / sources.max(1);
        let source = |m: usize| {
            Matched::of(learned.block(m * width..(m + 1) * width), truth.block(m * width..(m + 1) * width), anchors)
        };
        let sources = if sources > 1 { (0..sources).map(source).collect::<Result<_, _>>()? } else { Vec::new() };
        let mcc_free = if anchors.is_empty() {
            None
        } else {
            mcc_without(learned, truth, Sign::Absolute, &anchors.latents, &anchors.features)?
        };
        Ok(Self { whole, sources, mcc: mcc(learned, truth, Sign::Absolute)?, mcc_free })
    }
}

impl Matched {
    fn of(learned: Vectors<'_>, truth: Vectors<'_>, anchors: &Anchors) -> Result<Self, SimilarityError> {
        let best = BestMatches::of(learned, truth, Sign::Absolute, &anchors.latents)?;
        let both = |all: &[Match], free: &[Match]| WithAndWithout {
            all: RecoveryScores::of(Recovery::without(all, &[]).as_ref()),
            free: Recovery::without(free, &anchors.features)
                .filter(|_| !anchors.is_empty())
                .map(|recovery| RecoveryScores::of(Some(&recovery))),
        };
        Ok(Self { normalised: both(&best.normalised, &best.normalised_free), raw: both(&best.raw, &best.raw_free) })
    }
}

impl RecoveryScores {
    /// In numbers; of no features at all, nothing is recovered.
    fn of(recovery: Option<&Recovery>) -> Self {
        let Some(recovery) = recovery else {
            let histogram = Histogram { below: 0, counts: vec![0; BINS], above: 0 };
            return Self {
                features: 0,
                mip: 0.0,
                recovered: vec![0.0; STEPS + 1],
                least: 0.0,
                largest: 0.0,
                histogram,
            };
        };
        let (least, largest) = recovery.range();
        Self {
            features: recovery.features(),
            mip: recovery.mip(),
            recovered: (0..=STEPS).map(|k| recovery.recovered(k as f64 / STEPS as f64)).collect(),
            least,
            largest,
            histogram: recovery.histogram(BINS),
        }
    }

    /// M_GT at τ = percent / 100.
    ///
    /// # Panics
    /// Above 100.
    pub fn recovered_at(&self, percent: usize) -> f64 {
        self.recovered[percent]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::Spec;
    use crate::backend::reference::Reference;
    use crate::bench::config::{BenchConfig, Hierarchy};
    use crate::sdl::{Activation, Init, Parameter, Shape};

    /// Codes and reconstructions in plain f64 loops: z = max(0, W_E x_p), x̂_r = W_D z.
    pub(in super::super) fn relu(model: &Model, bench: &Bench, indices: &[u64]) -> Encoded {
        let present = bench.coefficients().batch(indices);
        let dense = |side| {
            let mut out = vec![0.0; indices.len() * bench.directions(side).dimension()];
            bench.synthesize(&present, side, &mut out);
            out
        };
        let (inputs, targets) = (dense(Side::Input), dense(Side::Target));
        let Shape { n_p, n_r, n_q } = model.shape();
        let mut codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
        let mut reconstructions = Vec::new();
        for x in inputs.chunks(n_p) {
            let mut found = vec![0.0_f64; n_r];
            for i in 0..n_q {
                let z: f64 = model.w_e(i).iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                if z > 0.0 {
                    codes.latents.push(i as u32);
                    codes.values.push(z as f32);
                    found.iter_mut().zip(model.w_d(i)).for_each(|(x, v)| *x += z * f64::from(*v));
                }
            }
            codes.offsets.push(codes.latents.len());
            reconstructions.extend(found.iter().map(|x| *x as f32));
        }
        Encoded { codes, targets, reconstructions, present: Some(present) }
    }

    /// A model whose first latents are the features, the encoder scaled by `scale` and the decoder by its inverse.
    pub(in super::super) fn ideal(bench: &Bench, n_q: usize, scale: f32) -> Model {
        let (inputs, targets) = (bench.directions(Side::Input), bench.directions(Side::Target));
        let shape = Shape { n_p: inputs.dimension(), n_r: targets.dimension(), n_q };
        let mut model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, 1);
        for d in 0..inputs.n().min(n_q) {
            let row = model.tensors.row_mut(Parameter::Encoder, d);
            row.iter_mut().zip(inputs.column(d)).for_each(|(w, p)| *w = scale * p);
            let column = model.tensors.row_mut(Parameter::Decoder, d);
            column.iter_mut().zip(targets.column(d)).for_each(|(v, r)| *v = r / scale);
        }
        model
    }

    fn scored(model: &Model, bench: &Bench, anchors: &Anchors, samples: &[u64], batch: usize) -> Scores {
        Scores::of(model, Some(&Known::of(bench)), anchors, samples.chunks(batch), |indices| {
            relu(model, bench, indices)
        })
        .unwrap()
    }

    #[test]
    fn features_without_positive_interference_score_full_marks_and_raw_products_show_the_scale() {
        let config = BenchConfig { n: 8, n_p: 12, sparsity: 0.8, interference: 0.0, ..BenchConfig::default() };
        let bench = Bench::generate(&BenchConfig { task: Task::Transcoder { n_r: 9 }, ..config }).unwrap();
        let model = ideal(&bench, 8, 4.0);
        let samples: Vec<u64> = (100_000..100_300).collect();
        let scores = scored(&model, &bench, &Anchors::none(), &samples, 64);
        for (side, scale) in [(scores.encoder.unwrap(), 4.0), (scores.decoder.unwrap(), 0.25)] {
            let (normalised, raw) = (&side.whole.normalised.all, &side.whole.raw.all);
            assert_eq!((normalised.features, normalised.recovered_at(99)), (8, 1.0));
            // Norms of f32 features of 12 coordinates.
            assert!((normalised.mip - 1.0).abs() < 1e-12 && (raw.mip - scale).abs() < 1e-5);
            assert_eq!((side.mcc.unwrap().pairs, side.sources.len()), (8, 0));
            assert_eq!(side.whole.normalised.free, None);
        }
        let firing = scores.firing.unwrap();
        // Products of different features are at most 0 here, so that they can silence a latent but not wake it.
        assert!(firing.precision == 1.0 && firing.recall > 0.9, "{firing:?}");
        assert_eq!((scores.firing_free, scores.absorption), (None, None));
        assert_eq!((scores.fit.samples, scores.fit.dead), (300, 0.0));
    }

    #[test]
    fn anchored_features_and_latents_are_left_out_together() {
        // In 24 dimensions random directions are far from features.
        let config = BenchConfig { n: 20, n_p: 24, sparsity: 0.9, interference: 0.2, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let mut model = Init::default().model(Shape { n_p: 24, n_r: 24, n_q: 50 }, Activation::Relu, 1);
        // Latents 30 to 34 are anchored to features 0 to 4, but the last of them has become feature 9. Features 7 and 8 have latents of their own,
        // with the numbers of anchored features; no other feature has one.
        let owners: [(u32, u32); 7] = [(0, 30), (1, 31), (2, 32), (3, 33), (9, 34), (7, 2), (8, 3)];
        for (feature, latent) in owners {
            let column = bench.directions(Side::Input).column(feature as usize).to_vec();
            model.tensors.row_mut(Parameter::Encoder, latent as usize).copy_from_slice(&column);
            model.tensors.row_mut(Parameter::Decoder, latent as usize).copy_from_slice(&column);
        }
        let mut anchors = Anchors::none();
        (anchors.latents, anchors.features) = ((30..35).collect(), (0..5).collect());
        let samples: Vec<u64> = (100..300).collect();
        let encode = |indices: &[u64]| {
            let mut encoded = relu(&model, &bench, indices);
            // A latent that looks along a feature fires where the feature does, and others never.
            let present = encoded.present.clone().unwrap();
            encoded.codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
            for b in 0..present.rows() {
                let fires = owners.iter().filter(|(d, _)| present.row(b).0.contains(d));
                encoded.codes.latents.extend(fires.map(|(_, i)| *i));
                encoded.codes.values.resize(encoded.codes.latents.len(), 1.0);
                encoded.codes.offsets.push(encoded.codes.latents.len());
            }
            encoded
        };
        let scores = Scores::of(&model, Some(&Known::of(&bench)), &anchors, samples.chunks(50), encode).unwrap();
        for side in [scores.encoder.as_ref().unwrap(), scores.decoder.as_ref().unwrap()] {
            for matched in [&side.whole.normalised, &side.whole.raw] {
                let (all, free) = (&matched.all, matched.free.as_ref().unwrap());
                assert_eq!((all.features, free.features), (20, 15));
                let recovered = |scores: &RecoveryScores| (scores.recovered_at(95) * scores.features as f64).round();
                assert_eq!((recovered(all), recovered(free)), (7.0, 2.0));
                assert!(all.mip > free.mip);
            }
            let [all, free] = [side.mcc.unwrap(), side.mcc_free.unwrap()];
            assert_eq!((all.pairs, free.pairs), (20, 15));
            // Seven pairs of cosine 1, and two; the others are below those.
            let rest = |mcc: Mcc, ones: f64| (mcc.mean * mcc.pairs as f64 - ones) / (mcc.pairs as f64 - ones);
            assert!((0.0..0.9).contains(&rest(all, 7.0)) && (0.0..0.9).contains(&rest(free, 2.0)));
        }
        let [all, free] = [scores.firing.unwrap(), scores.firing_free.unwrap()];
        // All features are present somewhere. Features 0 to 3 and 7 to 9 have a perfect classifier, of which those of 7 and 8 are free.
        assert_eq!((all.features, free.features), (20, 15));
        assert_eq!((&all.parts[..], &free.parts[..]), (&[13, 7][..], &[13, 2][..]));
        assert!(all.f1 >= 7.0 / 20.0 && (2.0 / 15.0..0.5).contains(&free.f1));
        let none = Scores::of(&model, Some(&Known::of(&bench)), &Anchors::none(), samples.chunks(50), encode).unwrap();
        assert!(none.encoder.unwrap().mcc_free.is_none() && none.firing_free.is_none());
    }

    #[test]
    fn every_source_of_a_crosscoder_is_scored_on_its_own_too() {
        let config = BenchConfig { n: 10, n_p: 12, sparsity: 0.9, interference: 0.3, ..BenchConfig::default() };
        let bench = Bench::generate(&BenchConfig { task: Task::Crosscoder { sources: 3 }, ..config }).unwrap();
        let mut model = ideal(&bench, 10, 1.0);
        // The second source of every latent is turned away from its feature.
        for d in 0..10 {
            let next = bench.directions(Side::Input).column((d + 1) % 10)[12..24].to_vec();
            model.tensors.row_mut(Parameter::Encoder, d)[12..24].copy_from_slice(&next);
        }
        let encoder = scored(&model, &bench, &Anchors::none(), &[1, 2], 2).encoder.unwrap();
        let recovered = |matched: &Matched| matched.normalised.all.recovered_at(90);
        assert_eq!(recovered(&encoder.whole), 0.0);
        // On its own, the second source is a permutation of the features.
        assert_eq!(encoder.sources.iter().map(recovered).collect::<Vec<_>>(), [1.0; 3]);
        // Whole vectors have two thirds of the cosine and a product below 0.3 / 3; norms are rounded to f32.
        let mip = encoder.whole.normalised.all.mip;
        assert!((0.5..2.0 / 3.0 + 0.1 + 1e-6).contains(&mip), "{mip}");
    }

    #[test]
    fn an_evaluation_sees_what_training_sees() {
        let config = BenchConfig { n: 12, n_p: 9, sparsity: 0.8, interference: 0.5, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let mut model = ideal(&bench, 30, 1.0);
        // Negative values are kept, and count.
        model.activation = Activation::TopK { k: 28 };
        let samples: Vec<u64> = (0..32).collect();
        let backend = Reference::new(Spec::plain(model.shape(), samples.len()));
        let (params, mut batch, mut codes) = (backend.params(&model), backend.batch(), backend.codes());
        backend.sample(&bench, &samples, &mut batch);
        backend.encode_select(&params, &backend.opt_state(&params), &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        let seen = backend.observe(&params, &codes, &backend.grads(&params));
        let scores = Scores::on_bench(&backend, &model, &bench, &Anchors::none(), &samples).unwrap();
        // Samples without features have zeros in all places.
        let empty = (0..32).filter(|i| bench.coefficients().batch(&[*i]).indices.is_empty()).count();
        assert_eq!((seen.l0, scores.fit.l0), (scores.fit.l0, 28.0 * (32 - empty) as f64 / 32.0));
        // Reconstructions are rounded to f32, relative to values of which few are above 100.
        assert!((scores.fit.mse / seen.mse - 1.0).abs() < 1e-5, "{} {}", scores.fit.mse, seen.mse);
        // The one definition, in the plainest words: the mean is that of these samples.
        let mut x = vec![0.0; 32 * 9];
        bench.synthesize(&bench.coefficients().batch(&samples), Side::Target, &mut x);
        let mean = |k: usize| x.iter().skip(k % 9).step_by(9).map(|x| f64::from(*x)).sum::<f64>() / 32.0;
        let variance = x.iter().enumerate().map(|(k, x)| (f64::from(*x) - mean(k)).powi(2)).sum::<f64>() / 32.0;
        assert!((scores.fit.fvu.unwrap() / (seen.mse / variance) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn scores_do_not_depend_on_the_batch_and_come_back_from_json() {
        let config = BenchConfig {
            n: 12,
            n_p: 9,
            sparsity: 0.8,
            interference: 0.5,
            hierarchy: Some(Hierarchy { children: 2 }),
            ..BenchConfig::default()
        };
        let bench = Bench::generate(&config).unwrap();
        let model = ideal(&bench, 30, 1.0);
        let samples: Vec<u64> = (100_000..100_150).collect();
        let scores = scored(&model, &bench, &Anchors::none(), &samples, 150);
        for batch in [1, 64] {
            assert_eq!(scored(&model, &bench, &Anchors::none(), &samples, batch), scores);
        }
        assert_eq!(scores.absorption.unwrap().parents, 4);
        let text = serde_json::to_string(&scores).unwrap();
        let back: Scores = serde_json::from_str(&text).unwrap();
        // The reader of JSON may be off by one unit in the last place.
        assert!((back.fit.mse - scores.fit.mse).abs() <= f64::EPSILON * scores.fit.mse);
        assert_eq!(back.firing.map(|firing| firing.parts), scores.firing.map(|firing| firing.parts));
        // Files from before there was the assignment of what is not anchored.
        let old = text.replace(",\"mcc_free\":null", "");
        assert!(old.len() < text.len());
        assert!(serde_json::from_str::<Scores>(&old).unwrap().encoder.unwrap().mcc_free.is_none());
    }
}
