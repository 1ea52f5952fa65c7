//! How well and how sparsely a model reconstructs: mean squared error, FVU, L0, dead latents.
//!
//! One definition serves training and evaluation, by [`Spread`]. FVU compares with the mean of the *same* samples, Σ‖x_r − x̂_r‖² /
//! Σ‖x_r − x̄_r‖², never with zero, and never a mean of quotients of batches. A latent is active where z_i ≠ 0: TopK
//! (eq. 7) keeps negative values.

use crate::backend::HostCodes;
use serde::{Deserialize, Serialize};

/// Σ‖x − x̄‖² over samples that come one after another: the denominator of FVU.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    samples: u64,
    mean: Vec<f64>,
    squares: f64,
}

impl Spread {
    /// No sample of so many numbers yet.
    pub fn new(dimension: usize) -> Self {
        Self { samples: 0, mean: vec![0.0; dimension], squares: 0.0 }
    }

    /// Adds one sample.
    pub fn add(&mut self, x: &[f32]) {
        self.samples += 1;
        // Welford 1962: no difference of large sums, whose digits would cancel where the mean is large.
        let share = 1.0 / self.samples as f64;
        let mut deviation = 0.0;
        for (mean, x) in self.mean.iter_mut().zip(x) {
            let before = f64::from(*x) - *mean;
            *mean += before * share;
            deviation += before * (f64::from(*x) - *mean);
        }
        self.squares += deviation;
    }

    /// The fraction of variance unexplained by a sum of squared errors over the same samples; absent where they do not vary.
    pub fn unexplained(&self, squared_error: f64) -> Option<f64> {
        (self.squares > 0.0).then(|| squared_error / self.squares)
    }
}

/// Sums over samples in f64, one sample after another, so that the same samples in the same order give the same bits
/// however they are cut into batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    active: u64,
    squared_error: f64,
    spread: Spread,
    /// Samples in which each latent was active.
    firings: Vec<u64>,
}

/// The numbers of [`Fit`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitScores {
    /// Samples seen.
    pub samples: u64,
    /// Mean number of latents with z_i ≠ 0.
    pub l0: f64,
    /// Share of latents that were active in no sample.
    pub dead: f64,
    /// E‖x_r − x̂_r‖², a sum over coordinates as in eq. 3.
    pub mse: f64,
    /// Fraction of variance unexplained; absent where the targets do not vary.
    pub fvu: Option<f64>,
}

impl Fit {
    /// Nothing seen yet of a model with n_q latents and n_r outputs.
    pub fn new(n_q: usize, n_r: usize) -> Self {
        Self { active: 0, squared_error: 0.0, spread: Spread::new(n_r), firings: vec![0; n_q] }
    }

    /// Adds a batch: codes, and rows of n_r numbers of x_r and x̂_r.
    ///
    /// # Panics
    /// If the lengths do not fit, which is a mistake of the program.
    pub fn add(&mut self, codes: &HostCodes, targets: &[f32], reconstructions: &[f32]) {
        let n_r = self.spread.mean.len();
        let rows = codes.offsets.len().saturating_sub(1);
        assert_eq!(
            (targets.len(), reconstructions.len()),
            (rows * n_r, rows * n_r),
            "one target and one reconstruction per row"
        );
        for (latent, value) in codes.latents.iter().zip(&codes.values) {
            if *value != 0.0 {
                self.active += 1;
                self.firings[*latent as usize] += 1;
            }
        }
        for b in 0..rows {
            let (x, found) = (&targets[b * n_r..(b + 1) * n_r], &reconstructions[b * n_r..(b + 1) * n_r]);
            self.squared_error +=
                x.iter().zip(found).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>();
            self.spread.add(x);
        }
    }

    /// Samples in which each latent was active.
    pub fn firings(&self) -> &[u64] {
        &self.firings
    }

    /// The numbers; absent before the first sample.
    pub fn scores(&self) -> Option<FitScores> {
        if self.spread.samples == 0 {
            return None;
        }
        let samples = self.spread.samples as f64;
        let dead = self.firings.iter().filter(|f| **f == 0).count();
        Some(FitScores {
            samples: self.spread.samples,
            l0: self.active as f64 / samples,
            dead: if self.firings.is_empty() { 0.0 } else { dead as f64 / self.firings.len() as f64 },
            mse: self.squared_error / samples,
            fvu: self.spread.unexplained(self.squared_error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::latents::tests::codes;
    use super::*;
    use crate::bench::features::stream;
    use rand::RngExt;

    fn drawn(count: usize, offset: f32, purpose: &str) -> Vec<f32> {
        let mut rng = stream(9, purpose);
        (0..count).map(|_| offset + rng.random::<f32>()).collect()
    }

    #[test]
    fn negative_values_are_active_and_selected_zeros_are_not() {
        let mut fit = Fit::new(4, 1);
        fit.add(&codes(&[&[(0, -2.0), (1, 0.0)], &[(0, 1.0), (3, -0.0), (2, 1e-44)]]), &[0.0; 2], &[0.0; 2]);
        let scores = fit.scores().unwrap();
        // Three of five entries; by `> 0` there would be two, and latent 0 would have fired once.
        assert_eq!((scores.l0, scores.dead), (1.5, 0.5));
        assert_eq!(fit.firings(), [2, 0, 1, 0]);
    }

    #[test]
    fn predicting_the_mean_leaves_all_variance_however_far_it_is_from_zero() {
        let (rows, n_r) = (500, 3);
        let x = drawn(rows * n_r, 1000.0, "fit targets");
        let mean: Vec<f64> =
            (0..n_r).map(|k| x.iter().skip(k).step_by(n_r).map(|x| f64::from(*x)).sum::<f64>() / rows as f64).collect();
        let guess: Vec<f32> = (0..rows * n_r).map(|k| mean[k % n_r] as f32).collect();
        let mut fit = Fit::new(0, n_r);
        fit.add(&codes(&vec![[].as_slice(); rows]), &x, &guess);
        let scores = fit.scores().unwrap();
        // The guess is rounded at 1000, by 3e-5 at most; the standard deviation is 0.29. Against zero the quotient
        // would be 1e-7.
        assert!((scores.fvu.unwrap() - 1.0).abs() < 2e-8, "{scores:?}");
        assert!((scores.mse - 3.0 / 12.0).abs() < 0.03, "three uniform coordinates");
    }

    #[test]
    fn batches_of_any_size_give_the_same_bits_and_the_quotient_is_of_sums() {
        let (rows, n_r) = (60, 5);
        let (x, y) = (drawn(rows * n_r, -3.0, "fit targets"), drawn(rows * n_r, -3.0, "fit reconstructions"));
        let whole = {
            let mut fit = Fit::new(1, n_r);
            fit.add(&codes(&vec![[(0, 1.0)].as_slice(); rows]), &x, &y);
            fit
        };
        for size in [1, 7, 30] {
            let mut fit = Fit::new(1, n_r);
            for (x, y) in x.chunks(size * n_r).zip(y.chunks(size * n_r)) {
                fit.add(&codes(&vec![[(0, 1.0)].as_slice(); x.len() / n_r]), x, y);
            }
            assert_eq!(fit, whole);
        }
        let mean = |k: usize| x.iter().skip(k).step_by(n_r).map(|x| f64::from(*x)).sum::<f64>() / rows as f64;
        let squares = |f: &dyn Fn(usize) -> f64| (0..rows * n_r).map(|k| f(k).powi(2)).sum::<f64>();
        let error = squares(&|k| f64::from(x[k]) - f64::from(y[k]));
        let variance = squares(&|k| f64::from(x[k]) - mean(k % n_r));
        let scores = whole.scores().unwrap();
        // 300 additions in f64.
        assert!((scores.fvu.unwrap() - error / variance).abs() < 300.0 * f64::EPSILON * error / variance);
        assert!((scores.mse - error / rows as f64).abs() < 300.0 * f64::EPSILON * error);
    }

    #[test]
    fn targets_that_do_not_vary_have_no_fvu_and_no_samples_have_no_scores() {
        let mut fit = Fit::new(2, 2);
        assert_eq!(fit.scores(), None);
        fit.add(&codes(&[&[], &[]]), &[0.1, 7.0, 0.1, 7.0], &[0.0; 4]);
        assert_eq!(fit.scores().unwrap().fvu, None);
        assert_eq!(fit.scores().unwrap().dead, 1.0);
    }
}
