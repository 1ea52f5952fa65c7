//! An estimate of L with an interval, for any number of features.
//!
//! Without an active feature the loss is 0, so that L = Pr(|A| ≥ 1) E[loss | |A| ≥ 1]: the number of active features is drawn from
//! the binomial law conditioned on being positive, which keeps the interval honest when p is small. Samples come in [`CHUNKS`] chunks,
//! each with a random stream of its own, and the interval is Student's t on the means of the chunks: these are close to
//! normal even where single losses are heavy-tailed, and the same bits at any number of threads.

use super::{ExactLoss, ExactLossError, check_probability};
use crate::bench::features::stream;
use crate::theory::loss::Weights;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Number of independent chunks.
pub const CHUNKS: usize = 64;

/// Samples that go through the matrix products together.
const BATCH: usize = 256;

/// An estimate of L.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub mean: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// The confidence level of the interval.
    pub level: f64,
    /// Samples drawn, all with at least one active feature.
    pub samples: usize,
}

impl ExactLoss {
    /// Estimates L at p from `samples` samples (rounded up to a multiple of [`CHUNKS`]) with an interval of confidence `level`.
    /// A sample costs n_q·(n_p + n_r) operations.
    pub fn monte_carlo(
        &self,
        weights: &Weights,
        p: f64,
        samples: usize,
        level: f64,
        seed: u64,
    ) -> Result<Estimate, ExactLossError> {
        check_probability("p", p)?;
        if !(level > 0.0 && level < 1.0) {
            return Err(ExactLossError::Probability { name: "level", range: "(0, 1)", found: level });
        }
        if samples == 0 {
            return Err(ExactLossError::Shape("samples: expected at least one"));
        }
        // The residuals check the shapes.
        self.features.residuals(weights)?;
        let each = samples.div_ceil(CHUNKS);
        let counts = ActiveCounts::new(self.n(), p);
        let means: Vec<f64> = (0..CHUNKS)
            .into_par_iter()
            .map(|chunk| {
                let mut rng = stream(seed, &format!("exact loss, chunk {chunk}"));
                let sizes = (0..each).step_by(BATCH).map(|from| BATCH.min(each - from));
                sizes.map(|size| self.sum_of_losses(weights, &counts, size, &mut rng)).sum::<f64>() / each as f64
            })
            .collect();
        let mean = means.iter().sum::<f64>() / CHUNKS as f64;
        let variance = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (CHUNKS - 1) as f64;
        let standard_error = counts.any * (variance / CHUNKS as f64).sqrt();
        let mean = counts.any * mean;
        let quantile = StudentsT::new(0.0, 1.0, (CHUNKS - 1) as f64)
            .map_or(f64::INFINITY, |law| law.inverse_cdf(0.5 + level / 2.0));
        let reach = quantile * standard_error;
        Ok(Estimate { mean, standard_error, low: mean - reach, high: mean + reach, level, samples: each * CHUNKS })
    }

    fn sum_of_losses(&self, weights: &Weights, counts: &ActiveCounts, size: usize, rng: &mut ChaCha20Rng) -> f64 {
        let (P, R, c) = (self.features.P(), self.features.R(), self.features.c());
        let (mut inputs, mut targets) = (Mat::zeros(P.nrows(), size), Mat::zeros(R.nrows(), size));
        for sample in 0..size {
            let active = counts.draw(rng);
            for d in rand::seq::index::sample(rng, self.n(), active) {
                let y = self.magnitudes.sample(rng);
                for (representation, feature) in [(&mut inputs, P.col(d)), (&mut targets, R.col(d))] {
                    let column = representation.col_as_slice_mut(sample);
                    column.iter_mut().zip(feature.iter()).for_each(|(x, direction)| *x += y * direction);
                }
            }
        }
        let mut codes = Mat::zeros(weights.n_q(), size);
        // Chunks are spread over the threads, so that the products are not.
        matmul(&mut codes, Accum::Replace, &weights.W, &inputs, 1.0, Par::Seq);
        for sample in 0..size {
            codes.col_as_slice_mut(sample).iter_mut().for_each(|z| *z = if *z <= c { 0.0 } else { *z });
        }
        matmul(&mut targets, Accum::Add, &weights.V, &codes, -1.0, Par::Seq);
        targets.squared_norm_l2()
    }
}

/// The law of the number of active features, given that there is one.
struct ActiveCounts {
    /// Pr(|A| ≥ 1).
    any: f64,
    /// Pr(|A| ≤ k and |A| ≥ 1) for k = 1, .., n.
    cumulative: Vec<f64>,
}

impl ActiveCounts {
    fn new(n: usize, p: f64) -> Self {
        // Logarithms, because (1−p)^n underflows for large n.
        let (active, silent) = (p.ln(), (-p).ln_1p());
        let mut binomial = 0.0;
        let mut sum = 0.0;
        let mut cumulative = Vec::with_capacity(n);
        for k in 1..=n {
            binomial += ((n + 1 - k) as f64).ln() - (k as f64).ln();
            // 0·∞ at p = 1 stands for 0^0 = 1.
            let none = if k == n { 0.0 } else { (n - k) as f64 * silent };
            sum += (binomial + k as f64 * active + none).exp();
            cumulative.push(sum);
        }
        Self { any: -(n as f64 * silent).exp_m1(), cumulative }
    }

    fn draw(&self, rng: &mut ChaCha20Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let u = rng.random::<f64>() * total;
        self.cumulative.partition_point(|c| *c <= u).min(self.cumulative.len() - 1) + 1
    }
}
