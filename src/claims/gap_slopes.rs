//! Random models with exponential magnitudes, their gap L − L̃ in closed form and by draws, and the figure of its slopes.

use super::Check;
use super::exact_models::Model;
use crate::bench::features::{random_unit, stream};
use crate::stats::{Axis, Figure, Layer, Panel, Width};
use crate::theory::exact_loss::ExactLoss;
use crate::theory::exact_loss::magnitudes::Magnitudes;
use crate::theory::exact_loss::polynomial::LossPolynomial;
use crate::theory::loss::{ApproximateLoss, Weights};
use faer::{Mat, Par};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// Number of models.
pub(super) const MODELS: usize = 120;
/// The threshold that is compared with c = 0.
pub(super) const THRESHOLD: f64 = 0.8;
/// Smallest p at which a slope is taken.
pub(super) const FINEST: f64 = 1e-6;

/// Features and dimensions of a model.
const FEATURES: usize = 3;
const DIMENSION: usize = 6;
/// Ends of the figure's p, as powers of ten, and steps.
const DECADES: (f64, f64) = (-4.0, -0.3);
const STEPS: usize = 37;
/// Draws for each estimate of the figure, and the normal quantile of its 99 % interval.
const DRAWS: usize = 3000;
const QUANTILE: f64 = 2.576;

const MAGNITUDES: Magnitudes = Magnitudes::Exponential { shift: 0.0, scale: 1.0 };

/// What a model does to inputs x, in f64.
pub(super) struct Response {
    /// Pre-activations of single features, n_q×n.
    A: Mat<f64>,
    R: Mat<f64>,
    V: Mat<f64>,
    c: f64,
}

impl Response {
    fn new(features: &ApproximateLoss, weights: &Weights) -> Self {
        Self { A: &weights.W * features.P(), R: features.R().to_owned(), V: weights.V.clone(), c: features.c() }
    }

    /// Of an exact model with a threshold activation.
    pub fn of_model(model: &Model) -> Result<Self, String> {
        let features = ApproximateLoss::from_problem(&model.problem).map_err(|error| error.to_string())?;
        let weights = Weights::from_point(&model.point, &model.problem).ok_or("the point does not fit the problem")?;
        Ok(Self::new(&features, &weights))
    }

    /// ‖R x − Vσ_c(W P x)‖².
    pub fn loss(&self, x: &[f64]) -> f64 {
        let sum = |M: &Mat<f64>, k: usize| x.iter().enumerate().map(|(d, x)| M[(k, d)] * x).sum::<f64>();
        let codes: Vec<f64> =
            (0..self.A.nrows()).map(|i| sum(&self.A, i)).map(|z| if z > self.c { z } else { 0.0 }).collect();
        let missed =
            |k: usize| sum(&self.R, k) - codes.iter().enumerate().map(|(i, z)| self.V[(k, i)] * z).sum::<f64>();
        (0..self.R.nrows()).map(|k| missed(k).powi(2)).sum()
    }
}

/// Inputs with at least `least` active features.
pub(super) struct ActiveCounts {
    n: usize,
    least: usize,
    /// Pr(least ≤ |A| ≤ k) for k = least, .., n.
    cumulative: Vec<f64>,
}

impl ActiveCounts {
    pub fn new(n: usize, p: f64, least: usize) -> Self {
        let mut binomial = 1.0;
        let mut sum = 0.0;
        let mut cumulative = Vec::new();
        for k in 0..=n {
            if k >= least {
                sum += binomial * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32);
                cumulative.push(sum);
            }
            binomial *= (n - k) as f64 / (k + 1) as f64;
        }
        Self { n, least, cumulative }
    }

    /// Pr(|A| ≥ least).
    fn probability(&self) -> f64 {
        self.cumulative.last().copied().unwrap_or(0.0)
    }

    /// One input with so many active features.
    pub fn draw(&self, magnitudes: &Magnitudes, rng: &mut ChaCha20Rng) -> Vec<f64> {
        let u = rng.random::<f64>() * self.probability();
        let last = self.cumulative.len().saturating_sub(1);
        let active = self.cumulative.partition_point(|c| *c <= u).min(last) + self.least;
        let mut x = vec![0.0; self.n];
        for d in rand::seq::index::sample(rng, self.n, active) {
            x[d] = magnitudes.sample(rng);
        }
        x
    }
}

/// One model.
struct One {
    exact: ExactLoss,
    weights: Weights,
    polynomial: LossPolynomial,
    response: Response,
    /// ‖e_d‖².
    squares: Vec<f64>,
}

/// Random unit features in the configuration of Thm 3.3, W_E = W_pᵀ and W_D = W_r, for c = 0 and for c = [`THRESHOLD`].
pub(super) struct Ensemble([Vec<One>; 2]);

const LABELS: [&str; 2] = ["c = 0", "c = 0.8"];

impl Ensemble {
    pub fn new(seed: u64) -> Self {
        Self([0.0, THRESHOLD].map(|c| {
            let mut rng = stream(seed, "gap L − L̃");
            (0..MODELS).map(|_| One::propose(&mut rng, c)).collect()
        }))
    }

    /// Log–log slopes of the mean gap at the finest p, for c = 0 and c > 0.
    pub fn slopes(&self) -> [f64; 2] {
        self.0.each_ref().map(|models| (mean_gap(models, 10.0 * FINEST) / mean_gap(models, FINEST)).log10())
    }

    /// (L − L̃)/p² against Σ ℓ_de, c = 0. The tolerance is the rest of the polynomial, and rounding.
    pub fn constant_check(&self) -> Check {
        let fails = |one: &&One| {
            let pairs = one.exact.pair_sum(&one.weights).unwrap_or(f64::NAN);
            let gap = one.polynomial.gap(FINEST).unwrap_or(f64::NAN) / FINEST.powi(2);
            let rest: f64 =
                one.polynomial.gap_coefficients().iter().skip(3).zip(1..).map(|(a, k)| a.abs() * FINEST.powi(k)).sum();
            let agrees = (gap - pairs).abs() <= rest + 1e-9 * pairs;
            !agrees
        };
        Check {
            what: format!("exponential magnitudes, closed forms: (L − L̃)/(1−S)² at 1−S = {FINEST:e} is Σ ℓ_de"),
            trials: MODELS,
            failures: self.0[0].iter().filter(fails).count(),
        }
    }

    /// The gap and its local slope against 1−S: closed forms with the spread over the models, leading terms, and draws.
    pub fn figure(&self, seed: u64) -> Figure {
        let grid: Vec<f64> = (0..STEPS)
            .map(|k| 10f64.powf(DECADES.0 + (DECADES.1 - DECADES.0) * k as f64 / (STEPS - 1) as f64))
            .collect();
        let mut gaps = Panel::new("the gap", Axis::log("1−S"), Axis::log("L − L̃"));
        let mut slopes =
            Panel::new("its slope", Axis::log("1−S"), Axis::linear("d log(L − L̃) / d log(1−S)").range(0.7, 2.3));
        for (models, label) in self.0.iter().zip(LABELS) {
            let label = label.to_owned();
            let means = grid.iter().map(|&p| (p, mean_gap(models, p))).collect();
            let spread = grid.iter().map(|&p| spread(models, p, |one, p| one.gap(p))).collect();
            gaps = gaps.layer(Layer::Band { label: label.clone(), points: spread });
            gaps = gaps.layer(Layer::Line { label: label.clone(), points: means });
            let slope = |gap: &dyn Fn(f64) -> f64, p: f64| (gap(p * 1.01) / gap(p / 1.01)).ln() / (2.0 * 1.01f64.ln());
            let means = grid.iter().map(|&p| (p, slope(&|p| mean_gap(models, p), p))).collect();
            let band = grid.iter().map(|&p| self::spread(models, p, |one, p| slope(&|p| one.gap(p), p))).collect();
            slopes = slopes.layer(Layer::Band { label: label.clone(), points: band });
            slopes = slopes.layer(Layer::Line { label, points: means });
        }
        let leading = |order: usize| {
            let models = &self.0[2 - order];
            let mean =
                models.iter().map(|one| one.polynomial.gap_coefficients()[order]).sum::<f64>() / models.len() as f64;
            grid.iter().map(|&p| (p, mean * p.powi(order as i32))).collect::<Vec<_>>()
        };
        for order in [2, 1] {
            gaps = gaps.layer(Layer::Reference { label: "leading term".into(), points: leading(order) });
            let level = vec![(grid[0], order as f64), (grid[STEPS - 1], order as f64)];
            slopes = slopes.layer(Layer::Reference { label: "leading term".into(), points: level });
        }
        for (k, (models, label)) in self.0.iter().zip(LABELS).enumerate() {
            let mut rng = stream(seed, &format!("gap L − L̃, draws, {label}"));
            let estimates: Vec<_> = (0..6).map(|j| drawn(models, grid[1 + 7 * j], 2 - k, &mut rng)).collect();
            gaps = gaps.layer(Layer::Points {
                label: label.into(),
                points: estimates.iter().map(|e| (e.0, e.1)).collect(),
                intervals: estimates.iter().map(|e| (e.1 - e.2, e.1 + e.2)).collect(),
            });
        }
        Figure::new("thm-3-1-slopes", "thm-3.1", Width::Page)
            .title("The gap between the loss and the approximate loss")
            .caption(&format!(
                "{MODELS} draws of three unit features in R^6 with W_E = W_pᵀ, W_D = W_r (Thm 3.3) and exponential magnitudes. (a) Lines: mean \
                 of L − L̃ in closed form. Bands: the middle 90 % of the draws. Markers: estimates from {DRAWS} inputs with 99 % intervals. Grey: the predicted \
                 leading term, (1−S)² Σ ℓ_{{de}} for c = 0, of first order for c = {THRESHOLD}. (b) The local slope tends to 2 for c = 0, \
                 and to 1 for c > 0, where the printed rate is wrong."
            ))
            .panel(gaps)
            .panel(slopes)
    }
}

impl One {
    fn propose(rng: &mut ChaCha20Rng, c: f64) -> Self {
        let (P, R) = (random_unit(DIMENSION, FEATURES, rng), random_unit(DIMENSION, FEATURES, rng));
        let weights = Weights { V: R.clone(), W: P.transpose().to_owned() };
        let features = ApproximateLoss::new(P, R, vec![1.0; FEATURES], c).expect("shapes agree").with_par(Par::Seq);
        let exact = ExactLoss::new(&features, MAGNITUDES).expect("the law is valid");
        let polynomial = exact.polynomial(&weights).expect("few features");
        let E = features.residuals(&weights).expect("shapes agree");
        let squares = (0..FEATURES).map(|d| E.col(d).squared_norm_l2()).collect();
        let response = Response::new(&features, &weights);
        Self { exact, weights, polynomial, response, squares }
    }

    fn gap(&self, p: f64) -> f64 {
        self.polynomial.gap(p).unwrap_or(f64::NAN)
    }
}

fn mean_gap(models: &[One], p: f64) -> f64 {
    models.iter().map(|one| one.gap(p)).sum::<f64>() / models.len() as f64
}

/// p with the ends of the middle 90 % of a value over the models.
fn spread(models: &[One], p: f64, value: impl Fn(&One, f64) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = models.iter().map(|one| value(one, p)).collect();
    values.sort_by(f64::total_cmp);
    let out = models.len() / 20;
    (p, values[out], values[values.len() - 1 - out])
}

/// p, an estimate of the mean gap, and half its 99 % interval: the loss less what L̃ says of inputs with one active feature, of drawn inputs
/// with at least `least` active ones (2 for c = 0, where inputs with one contribute nothing).
fn drawn(models: &[One], p: f64, least: usize, rng: &mut ChaCha20Rng) -> (f64, f64, f64) {
    let counts = ActiveCounts::new(FEATURES, p, least);
    let values: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let one = &models[rng.random_range(0..models.len())];
            let x = counts.draw(&MAGNITUDES, rng);
            let mut active = x.iter().zip(&one.squares).filter(|(x, _)| **x > 0.0);
            let single = match (active.next(), active.next()) {
                (Some((x, square)), None) => x * x * square,
                _ => 0.0,
            };
            one.response.loss(&x) - single
        })
        .collect();
    let mean = values.iter().sum::<f64>() / DRAWS as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
    let probability = counts.probability();
    (p, probability * mean, probability * QUANTILE * (variance / DRAWS as f64).sqrt())
}
