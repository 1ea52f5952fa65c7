//! The configuration of Theorem 3.3 that recovers the features (eq. 14), and random instances for it.

use super::search::Instance;
use crate::exact::Rational;
use crate::theory::families::{Family, Parameters};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// W_D = [W_r, 0], W_E = [W_pᵀ; 0] (eq. 14) with n_q = n, where the padding is empty.
pub fn printed(problem: &Problem) -> Point {
    Point {
        w_e: problem.features().iter().map(|f| f.w_p.clone()).collect(),
        w_d: problem.features().iter().map(|f| f.w_r.clone()).collect(),
    }
}

/// M = max_{i≠j} ⟨p_i, p_j⟩ (Asm. 2.4), or `None` for a single feature.
pub fn interference(problem: &Problem) -> Option<Rational> {
    let features = problem.features();
    let pairs = (0..features.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| dot(&features[i].w_p, &features[j].w_p)).max()
}

/// Σ_d M_d ‖r_d‖², the loss of the zero decoder.
pub fn zero_decoder_loss(problem: &Problem) -> Rational {
    problem.features().iter().fold(Rational::ZERO, |sum, f| sum + &f.mass * dot(&f.w_r, &f.w_r))
}

/// The problem as something that [`super::search::shrink`] makes smaller; the pattern says nothing.
pub fn shrinkable(problem: Problem) -> Instance {
    let pattern = Pattern::new(vec![(0..problem.n()).collect()], problem.n()).expect("indices are in range");
    Instance { problem, pattern }
}

/// The same features under another activation.
pub fn under(problem: &Problem, activation: Activation) -> Problem {
    Problem::new(problem.features().to_vec(), activation).expect("the features were a problem before")
}

/// A problem of a random family with n ≤ `most` exact unit features in at least two dimensions, a target matrix that is W_p or not, and this threshold.
pub fn instance(rng: &mut ChaCha20Rng, most: usize, c: &Rational) -> Problem {
    let families = [
        Family::RandomUnit,
        Family::Equicorrelated { rho: 0.3 },
        Family::ParallelTargets { group: 2 },
        Family::Dependent,
        Family::Hierarchy { children: 2 },
    ];
    loop {
        let family = families[rng.random_range(0..families.len())];
        let parameters = Parameters {
            n: rng.random_range(2..=most),
            n_p: rng.random_range(2..=most),
            n_r: rng.random_bool(0.5).then(|| rng.random_range(1..=most)),
            c: c.clone(),
        };
        // A family that cannot have these sizes is drawn again.
        if let Ok(problem) = family.generate(&parameters, rng.random()) {
            return problem;
        }
    }
}
