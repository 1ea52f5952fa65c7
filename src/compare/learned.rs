//! Learners of dictionaries among the optimizers of L̃: each feature is a sample, the square root of its mass its weight, and after every pass an encoder
//! is fitted to the codes.
//!
//! A learner sees targets √M_d r_d. K-SVD and optimal directions give each one atom, so that their codes are a partition of the features; the online
//! learner has the lasso's codes. The encoder is the least-squares fit to the codes from √M_d p_d ([`Amortised`]). What is compared is L̃ of the point
//! (D, W), of all passes so far the best. A learner minimises another objective, the error of its own codes, and begins at features, not where the others
//! begin.
//!
//! # Requirements
//! A pass counts as a V-step and one pass of a W-step. All passes are made at the beginning, so that each has the seconds of all.

use crate::optim::dictionary::amortised::{Fitted, Threshold};
use crate::optim::dictionary::{
    Amortised, Coder, Codes, Dictionary, DictionaryError, Ksvd, Online, OptimalDirections, Samples,
};
use crate::optim::{Biconvex, Optimizer, State, Termination};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use faer::{Mat, MatRef};
use std::collections::VecDeque;

/// Most passes.
const PASSES: usize = 100;
/// A learner ends when a pass lowers its objective by less than this share of it.
const TOLERANCE: f64 = 1e-9;
/// λ of the lasso relative to the root mean square of the samples' numbers.
pub const PENALTY: f64 = 0.1;

/// The optimizers that are learners, by name.
pub const LEARNERS: [&str; 3] = ["k-svd", "optimal-directions", "online-dictionary"];

/// Which learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learner {
    /// K-SVD with non-negative codes.
    Ksvd,
    /// The method of optimal directions, the same.
    OptimalDirections,
    /// Online dictionary learning, one batch a pass.
    Online,
}

/// A learner with an encoder for each of its passes.
#[derive(Debug)]
pub struct Learned<'a> {
    problem: &'a ApproximateLoss,
    learner: Learner,
    seed: u64,
    passes: VecDeque<Weights>,
}

impl<'a> Learned<'a> {
    /// The learner for one problem; the seed draws the features at which it begins.
    pub fn new(problem: &'a ApproximateLoss, learner: Learner, seed: u64) -> Self {
        Self { problem, learner, seed, passes: VecDeque::new() }
    }

    /// The points after every pass.
    fn learn(&self, n_q: usize) -> Result<VecDeque<Weights>, DictionaryError> {
        let loss = self.problem;
        let weighted = |of: MatRef<'_, f64>| -> Vec<f32> {
            let entry = |d: usize, k: usize| (loss.masses()[d].sqrt() * of[(k, d)]) as f32;
            (0..loss.n()).flat_map(|d| (0..of.nrows()).map(move |k| (d, k))).map(|(d, k)| entry(d, k)).collect()
        };
        let (inputs, targets) = (weighted(loss.P()), weighted(loss.R()));
        let inputs = Samples::new(&inputs, loss.n_p())?;
        let targets = Samples::new(&targets, loss.n_r())?;
        // More neurons than features stay dead.
        let atoms = n_q.min(loss.n());
        let one = Coder::Nnls { atoms: Some(1) };
        let online = Online {
            atoms,
            penalty: PENALTY,
            passes: PASSES,
            tolerance: TOLERANCE,
            batch: loss.n(),
            ..Online::default()
        };
        let coder = match self.learner {
            Learner::Online => Coder::Lasso { penalty: online.lambda(targets) },
            _ => one,
        };
        let encoder = Amortised { fitted: Fitted::All, threshold: Threshold::Relu, ..Amortised::default() };
        let mut passes = VecDeque::new();
        let mut failure = None;
        let mut watch = |dictionary: &Dictionary, codes: Option<&Codes>| {
            let own = codes.is_none().then(|| coder.encode(dictionary, targets)).transpose();
            let W = own.and_then(|own| match codes.or(own.as_ref()) {
                Some(codes) => encoder.encoder(dictionary, codes, inputs),
                None => Ok(Vec::new()),
            });
            match W {
                Ok(W) => passes.push_back(Weights {
                    V: Mat::from_fn(
                        loss.n_r(),
                        n_q,
                        |k, i| if i < atoms { f64::from(dictionary.atom(i)[k]) } else { 0.0 },
                    ),
                    W: Mat::from_fn(n_q, loss.n_p(), |i, k| W.get(i * loss.n_p() + k).copied().map_or(0.0, f64::from)),
                }),
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        };
        match self.learner {
            Learner::Ksvd => {
                let learner = Ksvd { atoms, coder: one, passes: PASSES, tolerance: TOLERANCE, ..Ksvd::default() };
                learner.fit_watched(targets, self.seed, &mut watch)
            }
            Learner::OptimalDirections => {
                let learner = OptimalDirections {
                    atoms,
                    coder: one,
                    passes: PASSES,
                    tolerance: TOLERANCE,
                    ..OptimalDirections::default()
                };
                learner.fit_watched(targets, self.seed, &mut watch)
            }
            Learner::Online => online.fit_watched(targets, self.seed, &mut watch),
        }?;
        failure.map_or(Ok(passes), Err)
    }
}

impl Optimizer for Learned<'_> {
    fn name(&self) -> String {
        match self.learner {
            Learner::Ksvd => "K-SVD, an encoder fitted to its codes",
            Learner::OptimalDirections => "optimal directions, an encoder fitted to their codes",
            Learner::Online => "online dictionary learning, an encoder fitted to its codes",
        }
        .into()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        // A learner that finds nothing to learn from stays at the start.
        self.passes = self.learn(start.n_q()).unwrap_or_default();
        Ok(State {
            at: start.clone(),
            loss: problem.loss(start)?,
            residuals: None,
            gradient: None,
            cell: problem.cell(start.W.as_ref())?,
            steps: 0,
            gradients: 1.0,
        })
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let Some(at) = self.passes.pop_front() else { return Ok(()) };
        let prices = problem.prices(at.n_q());
        state.steps += 1;
        // A pass codes every feature and moves every atom, which takes the products of an evaluation; the loss of what it has found besides.
        state.gradients += 1.0 + prices.loss;
        let loss = problem.loss(&at)?;
        if loss < state.loss {
            state.cell = problem.cell(at.W.as_ref())?;
            (state.at, state.loss) = (at, loss);
        }
        Ok(())
    }

    fn terminate(&self, _: &dyn Biconvex, state: &State) -> Option<Termination> {
        self.passes.is_empty().then_some(Termination::NoDescent { measure: state.loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Budget, Unobserved, run};

    const ALL: [Learner; 3] = [Learner::Ksvd, Learner::OptimalDirections, Learner::Online];

    fn end(loss: &ApproximateLoss, learner: Learner, n_q: usize, seed: u64) -> State {
        let start = crate::optim::start::random(loss, n_q, seed);
        let mut chosen = Learned::new(loss, learner, seed);
        let budget = Budget { steps: 1000, gradients: 1e6 };
        run(loss, &mut chosen, &start, budget, &mut Unobserved).unwrap().state
    }

    fn orthonormal(masses: &[f64]) -> ApproximateLoss {
        let P = Mat::identity(masses.len(), masses.len());
        ApproximateLoss::new(P.clone(), P, masses.to_vec(), 0.0).unwrap().with_par(faer::Par::Seq)
    }

    #[test]
    fn a_neuron_for_every_feature_leaves_next_to_nothing_and_more_neurons_stay_dead() {
        let loss = orthonormal(&[1.0, 0.5, 2.0]);
        for learner in ALL {
            let state = end(&loss, learner, 4, 0);
            // The ridge, and for the lasso the penalty, which shortens the codes.
            let allowed = if learner == Learner::Online { 0.02 } else { 1e-9 };
            assert!(state.loss <= allowed * loss.total(), "{learner:?}: {}", state.loss);
            assert!(state.at.W.row(3).iter().all(|w| *w == 0.0), "{learner:?}");
        }
    }

    #[test]
    fn masses_are_weights_of_the_samples() {
        // One atom for two features with the product 1/2 and the masses 9 and 1: the top eigenvector of Σ_d M_d p_d p_dᵀ, whose eigenvalue is
        // 5 + √(16 + 9/4). Without weights half of each square would be lost, 2.5 in all.
        let P = faer::mat![[1.0, 0.5], [0.0, 0.75_f64.sqrt()]];
        let loss = ApproximateLoss::new(P.clone(), P, vec![9.0, 1.0], 0.0).unwrap().with_par(faer::Par::Seq);
        for learner in [Learner::Ksvd, Learner::OptimalDirections] {
            let state = end(&loss, learner, 1, 0);
            let least = 10.0 - 5.0 - 18.25_f64.sqrt();
            assert!((state.loss - least).abs() < 1e-3, "{learner:?}: {} for {least}", state.loss);
        }
    }
}
