//! Seeded starts.

use crate::bench::features::stream;
use crate::theory::loss::{ApproximateLoss, Weights};
use faer::Mat;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

/// Gaussian rows of norm 1, above the threshold on the feature that they fit best, and the transposed decoder: the usual start of training.
/// For targets in another dimension the decoder has Gaussian columns of norm 1.
pub fn random(problem: &ApproximateLoss, n_q: usize, seed: u64) -> Weights {
    let mut rng = stream(seed, "start of an optimizer");
    let mut W = unit_rows(n_q, problem.n_p(), &mut rng);
    let V = if problem.n_p() == problem.n_r() {
        W.transpose().to_owned()
    } else {
        unit_rows(n_q, problem.n_r(), &mut rng).transpose().to_owned()
    };
    if problem.c() > 0.0 {
        for i in 0..n_q {
            let best = (0..problem.n())
                .map(|d| (0..problem.n_p()).map(|k| W[(i, k)] * problem.P()[(k, d)]).sum::<f64>())
                .fold(0.0, f64::max);
            if best > 0.0 {
                (0..problem.n_p()).for_each(|k| W[(i, k)] *= 2.0 * problem.c() / best);
            }
        }
    }
    Weights { V, W }
}

fn unit_rows(rows: usize, columns: usize, rng: &mut ChaCha20Rng) -> Mat<f64> {
    let mut M = Mat::from_fn(rows, columns, |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng));
    for i in 0..rows {
        let norm = (0..columns).map(|k| M[(i, k)] * M[(i, k)]).sum::<f64>().sqrt();
        if norm > 0.0 {
            (0..columns).for_each(|k| M[(i, k)] /= norm);
        }
    }
    M
}
