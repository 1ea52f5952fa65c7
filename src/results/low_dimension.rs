//! The bench in three dimensions, where all of it can be drawn: its features and samples (Figure 8), and models without loss that have not
//! recovered the features (Figure 4).
//!
//! The first model is *constructed*: for a random encoder whose codes Z = σ(W_E P) are nonsingular, W_D = R Z⁻¹ has no loss at all (eq. 16). The
//! decoder is solved for in exact numbers. The others are *trained* on the isolated features, whose loss is L̃ itself (eq. 11). In three dimensions a
//! random direction is close to a feature with a probability of 1 − τ for each, so that some are met by chance; hence one of them in 48 dimensions.

use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Mode, Rows, Spec};
use crate::bench::config::BenchConfig;
use crate::bench::dataset::{Bench, BenchError, Side};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::metrics::score::{Known, recovered};
use crate::metrics::similarity::SimilarityError;
use crate::sdl::{Activation, Init, Model, Parameter, Shape};
use crate::theory::point::Point;
use crate::theory::problem::{self, Feature, Problem};
use crate::theory::zero_loss;
use rand::RngExt;

/// A point of the space of representations.
pub type Direction = [f64; 3];

/// n, as in Figures 4 and 8.
pub const FEATURES: usize = 4;
/// Samples that are drawn.
pub const SAMPLES: usize = 400;
/// Latents of the trained model.
pub const LATENTS: usize = 8;
/// n, n_p, n_q of the larger one.
pub const LARGER: [usize; 3] = [62, 48, 200];
/// Steps of Adam of both.
pub const STEPS: usize = 4000;
/// τ of M_GT.
pub const TAU: f64 = 0.9;

/// What there is to see.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Columns of W_p.
    pub features: Vec<Direction>,
    /// x_p of some samples.
    pub samples: Vec<Direction>,
    /// An exact point without loss.
    pub constructed: Learned,
    /// What training has found.
    pub trained: Learned,
    /// What training has found on a bench of [`LARGER`] dimensions; its directions are not kept.
    pub larger: Learned,
}

/// A model on the features.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Rows of W_E that are active for some feature, scaled to norm 1.
    pub encoder: Vec<Direction>,
    /// Columns of W_D of the same latents, scaled to norm 1.
    pub decoder: Vec<Direction>,
    /// L̃.
    pub loss: f64,
    /// Σ_d M_d, the loss of a decoder of zeros.
    pub most: f64,
    /// M_GT of the encoder and of the decoder.
    pub recovered: [f64; 2],
    /// The same at the random start of training; absent for a model that was not trained.
    pub start: Option<[f64; 2]>,
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The bench cannot be made.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A model is not finite.
    #[error(transparent)]
    Scores(#[from] SimilarityError),
    /// No encoder was found within the budget.
    #[error(
        "encoder: expected one among {TRIES} random ones whose codes are nonsingular and which recovers no feature, found none"
    )]
    NoEncoder,
}

/// Random encoders that are tried.
const TRIES: usize = 10_000;

/// Makes the bench and both models.
///
/// # Errors
/// See [`ViewError`]; none occurs for a seed that has been seen to work.
pub fn view(seed: u64) -> Result<View, ViewError> {
    let config = BenchConfig { n: FEATURES, n_p: 3, sparsity: 0.6, interference: 0.1, seed, ..BenchConfig::default() };
    let bench = Bench::generate(&config)?;
    let directions = bench.directions(Side::Input);
    let features = (0..FEATURES).map(|d| direction(directions.column(d))).collect();
    let drawn = bench.coefficients().batch(&(0..SAMPLES as u64).collect::<Vec<_>>());
    let mut x = vec![0.0; SAMPLES * 3];
    bench.synthesize(&drawn, Side::Input, &mut x);
    Ok(View {
        features,
        samples: x.chunks_exact(3).map(direction).collect(),
        constructed: constructed(&bench, seed)?,
        trained: trained(&bench, seed, LATENTS)?,
        larger: {
            let [n, n_p, n_q] = LARGER;
            let config = BenchConfig { n, n_p, sparsity: 0.95, interference: 0.1, seed, ..BenchConfig::default() };
            let learned = trained(&Bench::generate(&config)?, seed, n_q)?;
            Learned { encoder: Vec::new(), decoder: Vec::new(), ..learned }
        },
    })
}

/// A random encoder of n latents with its exact decoder, such that neither side has recovered a feature.
fn constructed(bench: &Bench, seed: u64) -> Result<Learned, ViewError> {
    let directions = bench.directions(Side::Input);
    let exact = |x: f32| Rational::try_from(x).unwrap_or(Rational::ZERO);
    let features = (0..FEATURES).map(|d| {
        let w: Vec<Rational> = directions.column(d).iter().map(|x| exact(*x)).collect();
        Feature { w_p: w.clone(), w_r: w, mass: Rational::ONE }
    });
    let relu = problem::Activation::Threshold(Rational::ZERO);
    let Ok(problem) = Problem::new(features.collect(), relu) else { return Err(ViewError::NoEncoder) };
    let mut rng = stream(seed, "an encoder without loss");
    for _ in 0..TRIES {
        let w_e: Vec<Vec<f32>> = (0..FEATURES).map(|_| (0..3).map(|_| rng.random::<f32>() - 0.5).collect()).collect();
        let rows: Vec<Vec<Rational>> = w_e.iter().map(|row| row.iter().map(|x| exact(*x)).collect()).collect();
        if zero_loss::code_rank(&problem, &rows) < FEATURES {
            continue;
        }
        let Some(columns) = zero_loss::decoder(&problem, &rows) else { continue };
        let shape = Shape { n_p: 3, n_r: 3, n_q: FEATURES };
        let mut model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, seed);
        for (i, (row, column)) in w_e.iter().zip(&columns).enumerate() {
            model.tensors.row_mut(Parameter::Encoder, i).copy_from_slice(row);
            let column: Vec<f32> = column.iter().map(|x| to_f64(x) as f32).collect();
            model.tensors.row_mut(Parameter::Decoder, i).copy_from_slice(&column);
        }
        let shares = recovered(&model, &Known::of(bench), TAU)?;
        let point = Point { w_e: rows, w_d: columns };
        if shares == [0.0, 0.0] && zero_loss::matches_every_feature(&problem, &point) {
            // Exactly none, as just decided in rational numbers.
            return Ok(learned(bench, &model, (0..FEATURES).collect(), 0.0, shares));
        }
    }
    Err(ViewError::NoEncoder)
}

/// A ReLU SAE after some thousand steps on the isolated features.
fn trained(bench: &Bench, seed: u64, latents: usize) -> Result<Learned, ViewError> {
    let isolated = bench.coefficients().isolated();
    let (n, n_p) = (isolated.rows(), bench.directions(Side::Input).dimension());
    let shape = Shape { n_p, n_r: n_p, n_q: latents };
    let mut spec = Spec::plain(shape, n);
    spec.optimizer.learning_rate = 0.01;
    // Without a falling rate Adam ends up going around the minimum.
    spec.schedule.decay = STEPS as u64 / 2;
    spec.schedule.steps = STEPS as u64;
    let backend = Cpu::new(spec);
    let model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, seed);
    let start = recovered(&model, &Known::of(bench), TAU)?;
    let mut params = backend.params(&model);
    let mut opt = backend.opt_state(&params);
    let mut x = vec![0.0; n * n_p];
    bench.synthesize(&isolated, Side::Input, &mut x);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    backend.load(Rows { inputs: &x, targets: &[], weights: isolated.weights.as_deref() }, &mut batch);
    let mut loss = f64::INFINITY;
    for step in 0..=STEPS {
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        loss = backend.observe(&params, &codes, &grads).loss;
        if step < STEPS {
            backend.step(&mut params, &mut opt, &codes, &mut grads);
        }
    }
    let active =
        backend.codes_of(&codes).latents.iter().map(|i| *i as usize).collect::<std::collections::BTreeSet<_>>();
    let model = backend.model(&params);
    let shares = recovered(&model, &Known::of(bench), TAU)?;
    let learned = learned(bench, &model, active.into_iter().collect(), loss, shares);
    Ok(Learned { start: Some(start), ..learned })
}

fn learned(bench: &Bench, model: &Model, active: Vec<usize>, loss: f64, recovered: [f64; 2]) -> Learned {
    // Only of three dimensions, as is what is drawn.
    let unit = |x: &[f32]| {
        let v = direction(x);
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.map(|x| if norm > 0.0 { x / norm } else { 0.0 })
    };
    Learned {
        encoder: active.iter().map(|i| unit(model.w_e(*i))).collect(),
        decoder: active.iter().map(|i| unit(model.w_d(*i))).collect(),
        loss,
        most: bench.coefficients().masses().iter().sum(),
        recovered,
        start: None,
    }
}

fn direction(x: &[f32]) -> Direction {
    std::array::from_fn(|k| f64::from(x[k]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_without_loss_have_not_recovered_the_features() {
        for seed in [0, 1, 2] {
            let view = view(seed).unwrap();
            assert_eq!((view.features.len(), view.samples.len()), (FEATURES, SAMPLES));
            assert_eq!((view.constructed.loss, view.constructed.recovered), (0.0, [0.0, 0.0]));
            assert_eq!(view.constructed.encoder.len(), FEATURES);
            for trained in [&view.trained, &view.larger] {
                assert!(trained.loss < 1e-6 * trained.most, "{}", trained.loss);
            }
            assert_eq!(view.larger.recovered, [0.0, 0.0]);
            for learned in [&view.constructed, &view.trained] {
                for (side, share) in
                    [(&learned.encoder, learned.recovered[0]), (&learned.decoder, learned.recovered[1])]
                {
                    let near = |feature: &Direction| {
                        side.iter().any(|v| v.iter().zip(feature).map(|(a, b)| a * b).sum::<f64>().abs() >= TAU)
                    };
                    let found = view.features.iter().filter(|feature| near(feature)).count();
                    // Latents that are active nowhere are not shown, but they may point at a feature.
                    assert!(found as f64 / FEATURES as f64 <= share, "{seed}: {found} {share}");
                }
            }
        }
    }
}
