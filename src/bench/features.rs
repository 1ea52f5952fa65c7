//! Generators of feature matrices (App. C.1, eqs. 26–28).

use faer::Mat;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

/// The random stream for one purpose: ChaCha seeded by the seed and the purpose's name.
pub fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha20Rng::from_seed(hash.finalize().into())
}

/// n unit columns in R^{n_p}: normalised Gaussian columns (eq. 26).
pub fn random_unit(n_p: usize, n: usize, rng: &mut ChaCha20Rng) -> Mat<f64> {
    let mut P = Mat::from_fn(n_p, n, |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng));
    normalise_columns(&mut P);
    P
}

/// Divides every column by its norm.
pub fn normalise_columns(P: &mut Mat<f64>) {
    for d in 0..P.ncols() {
        let norm = P.col(d).norm_l2();
        for k in 0..P.nrows() {
            P[(k, d)] /= norm;
        }
    }
}
