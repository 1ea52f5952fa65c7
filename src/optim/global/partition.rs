//! The best value of a partition cell (Thm 3.7), block by block, in f64.
//!
//! Where no feature fires two neurons the problem splits. For a block F with codes a ≥ 0 the best decoder column is v = R D a / aᵀDa and
//! the loss is Σ_F M_d‖r_d‖² − aᵀDGDa / aᵀDa with G = R_FᵀR_F, so that the best value is
//!
//! ```text
//!     Σ_F M_d‖r_d‖² − μ,      μ = max over the cone of codes of aᵀDGDa / aᵀDa
//! ```
//!
//! the top eigenvalue of the pencil (P D G D Pᵀ, P D Pᵀ) if its vector is positive on F and the other features can stay silent, and else
//! the largest one on a face. Independent features make the cone the orthant, whatever the threshold; dependent ones have the cone of
//! [`super::rays`]. [`super::rayleigh`] maximises over either, with the proof that it states. The values belong to the closure of the
//! cell: where an entry of a is 0, the point with this loss has a smaller pattern, and for c > 0 it may only be approached.
//!
//! # Requirements
//! A threshold activation, and blocks without a common feature. A block has at most [`MAX`] features, or a cone of at most as many rays where
//! features are dependent; a larger one is answered only if its top eigenvector is positive and features are independent. If features are dependent,
//! some row fires on exactly the block.
//!
//! # References
//! The paper's Thm 3.7. Eckart, Young 1936, *The approximation of one matrix by another of lower rank*, for a block without the sign of codes.
//! Gander, Golub, von Matt 1989, *A constrained eigenvalue problem*, for extreme values of a quotient under linear constraints.

use super::GlobalError;
use super::rayleigh::{MAX, Maximum, Proof, Small, on_orthant, on_rays};
use super::rays::row_cone;
use crate::exact::Rational;
use crate::exact::rational::{from_f64, to_f64};
use crate::theory::loss::{ApproximateLoss, LossError};
use crate::theory::problem::{Activation, Feature, Problem};
use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

/// Closed forms of the blocks of one problem.
#[derive(Debug, Clone)]
pub struct Partition<'a> {
    loss: &'a ApproximateLoss,
    /// M_d^½.
    roots: Vec<f64>,
    /// D^½ RᵀR D^½, n×n.
    K: Mat<f64>,
    /// The features as an exact problem if they are dependent; its targets and masses are not used.
    dependent: Option<Problem>,
}

/// The best value of one block.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockOptimum {
    /// F, in the order given.
    pub features: Vec<usize>,
    /// μ.
    pub mu: f64,
    /// Σ_F M_d‖r_d‖² − μ ≥ 0.
    pub loss: f64,
    /// a_d ≥ 0 for d ∈ F, up to scale.
    pub codes: Vec<f64>,
    /// v for these codes, n_r numbers.
    pub column: Vec<f64>,
    /// An encoder row of the closed cell with these codes where features are dependent.
    row: Option<Vec<f64>>,
    /// Why there is no better value.
    pub proof: Proof,
}

/// The best value of a partition cell.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionOptimum {
    /// The infimum of L̃ on the cell, features that no block covers included.
    pub loss: f64,
    /// The blocks; an empty list of features has an empty block.
    pub blocks: Vec<BlockOptimum>,
    /// V, n_r×n_q.
    pub V: Mat<f64>,
    /// W, n_q×n_p, in the closure of the cell. Features of a block whose code is 0 do not fire if the features are independent.
    pub W: Mat<f64>,
}

impl<'a> Partition<'a> {
    /// Prepares the blocks of a problem: an n×n Gram matrix and one rank decision.
    pub fn new(loss: &'a ApproximateLoss) -> Result<Self, GlobalError> {
        let roots: Vec<f64> = loss.masses().iter().map(|m| m.sqrt()).collect();
        let G = loss.R().transpose() * loss.R();
        let K = Mat::from_fn(loss.n(), loss.n(), |d, e| roots[d] * G[(d, e)] * roots[e]);
        let s = loss.P().singular_values().map_err(|_| LossError::Decomposition)?;
        // The rounding error of P itself, as in LAPACK's and NumPy's rank rules.
        let cut = loss.n().max(loss.n_p()) as f64 * f64::EPSILON * s.first().copied().unwrap_or(0.0);
        let independent = s.iter().filter(|&&s| s > cut).count() == loss.n();
        let dependent = if independent { None } else { Some(exact(loss)?) };
        Ok(Self { loss, roots, K, dependent })
    }

    /// The best value of the block F = `features`. Blocks of over [`MAX`] features are answered only if their top eigenvector is positive
    /// and the features are independent.
    pub fn block(&self, features: &[usize]) -> Result<BlockOptimum, GlobalError> {
        self.check(features)?;
        let m = features.len();
        let (mu, codes, row, proof) = match &self.dependent {
            _ if m == 0 => (0.0, Vec::new(), None, Proof::Eigenvector),
            Some(problem) => self.on_cone(problem, features)?,
            None if m <= MAX => {
                let Maximum { value, vector, proof } = on_orthant(&self.small(features), m);
                (value, self.unscaled(features, &vector), None, proof)
            }
            None => self.large(features)?,
        };
        let total: f64 = features.iter().map(|&d| self.K[(d, d)]).sum();
        let column = self.column(features, &codes);
        Ok(BlockOptimum { features: features.to_vec(), mu, loss: (total - mu).max(0.0), codes, column, row, proof })
    }

    /// The best value of the cell of a partition, one list of features for each neuron.
    pub fn optimum(&self, blocks: &[Vec<usize>]) -> Result<PartitionOptimum, GlobalError> {
        let mut covered = vec![false; self.loss.n()];
        for features in blocks {
            for &d in features {
                match covered.get_mut(d) {
                    Some(covered) if !*covered => *covered = true,
                    _ => return Err(GlobalError::Blocks { n: self.loss.n(), found: features.clone() }),
                }
            }
        }
        let blocks = blocks.iter().map(|features| self.block(features)).collect::<Result<Vec<_>, _>>()?;
        let missed: f64 = (0..self.loss.n()).filter(|&d| !covered[d]).map(|d| self.K[(d, d)]).sum();
        let loss = blocks.iter().map(|block| block.loss).sum::<f64>() + missed;
        let scales: Vec<f64> = blocks.iter().map(|block| self.scale(block)).collect();
        let V = Mat::from_fn(self.loss.n_r(), blocks.len(), |k, i| blocks[i].column[k] / scales[i]);
        let W = self.encoder(&blocks, &scales);
        Ok(PartitionOptimum { loss, blocks, V, W })
    }

    /// The extreme rays of the closed cone of codes of the block F = `features`: one list of a_d for each ray, in the order of the features.
    ///
    /// # Errors
    /// If the features are wrong, or dependent and no row fires on exactly these, or their cone has too many faces.
    pub fn rays(&self, features: &[usize]) -> Result<Vec<Vec<f64>>, GlobalError> {
        self.check(features)?;
        let Some(problem) = &self.dependent else {
            let unit = |k: usize| (0..features.len()).map(|j| if j == k { 1.0 } else { 0.0 }).collect();
            return Ok((0..features.len()).map(unit).collect());
        };
        let cone = row_cone(problem, &features.iter().copied().collect())?;
        Ok(cone.codes.iter().map(|z| features.iter().map(|&d| to_f64(&z[d])).collect()).collect())
    }

    fn check(&self, features: &[usize]) -> Result<(), GlobalError> {
        let n = self.loss.n();
        if features.iter().enumerate().any(|(k, d)| *d >= n || features[..k].contains(d)) {
            return Err(GlobalError::Blocks { n, found: features.to_vec() });
        }
        Ok(())
    }

    fn small(&self, features: &[usize]) -> Small {
        let mut K = [[0.0; MAX]; MAX];
        for (j, &d) in features.iter().enumerate() {
            for (k, &e) in features.iter().enumerate() {
                K[j][k] = self.K[(d, e)];
            }
        }
        K
    }

    /// a = D^-½ b.
    fn unscaled(&self, features: &[usize], b: &[f64]) -> Vec<f64> {
        let divide = |(&d, &b): (&usize, &f64)| if b == 0.0 { 0.0 } else { b / self.roots[d] };
        features.iter().zip(b).map(divide).collect()
    }

    fn column(&self, features: &[usize], codes: &[f64]) -> Vec<f64> {
        let masses = self.loss.masses();
        let weight: f64 = features.iter().zip(codes).map(|(&d, a)| masses[d] * a * a).sum();
        let mut column = vec![0.0; self.loss.n_r()];
        if weight > 0.0 {
            for (&d, a) in features.iter().zip(codes) {
                let factor = masses[d] * a / weight;
                column.iter_mut().zip(self.loss.R().col(d).iter()).for_each(|(v, r)| *v += factor * r);
            }
        }
        column
    }

    #[allow(clippy::type_complexity, reason = "the parts of one record")]
    fn on_cone(
        &self,
        problem: &Problem,
        features: &[usize],
    ) -> Result<(f64, Vec<f64>, Option<Vec<f64>>, Proof), GlobalError> {
        let cone = row_cone(problem, &features.iter().copied().collect())?;
        let count = cone.codes.len();
        if count > MAX {
            return Err(GlobalError::TooLarge { what: "rays of a block's cone", limit: MAX, found: count });
        }
        // b = D^½ a for every ray, at unit length
        let unit = |z: &Vec<Rational>| {
            let b: Vec<f64> = features.iter().map(|&d| self.roots[d] * to_f64(&z[d])).collect();
            let norm = b.iter().map(|x| x * x).sum::<f64>().sqrt();
            (b.into_iter().map(|x| x / norm).collect::<Vec<f64>>(), norm)
        };
        let rays: Vec<(Vec<f64>, f64)> = cone.codes.iter().map(unit).collect();
        let (mut A, mut B) = ([[0.0; MAX]; MAX], [[0.0; MAX]; MAX]);
        for (j, (x, _)) in rays.iter().enumerate() {
            for (k, (y, _)) in rays.iter().enumerate() {
                B[j][k] = x.iter().zip(y).map(|(x, y)| x * y).sum();
                let image = |d: usize| features.iter().zip(y).map(|(&e, y)| self.K[(d, e)] * y).sum::<f64>();
                A[j][k] = features.iter().zip(x).map(|(&d, x)| x * image(d)).sum();
            }
        }
        let Some(Maximum { value, vector, proof }) = on_rays(&A, &B, count, cone.dimension) else {
            return Err(GlobalError::EmptyCell(features.to_vec()));
        };
        let mut b = vec![0.0; features.len()];
        let mut row = vec![0.0; self.loss.n_p()];
        for ((ray, norm), (w, &weight)) in rays.iter().zip(cone.rows.iter().zip(&vector)) {
            b.iter_mut().zip(ray).for_each(|(b, x)| *b += weight * x);
            row.iter_mut().zip(w).for_each(|(sum, w)| *sum += weight / norm * to_f64(w));
        }
        Ok((value, self.unscaled(features, &b), Some(row), proof))
    }

    #[allow(clippy::type_complexity, reason = "the parts of one record")]
    fn large(&self, features: &[usize]) -> Result<(f64, Vec<f64>, Option<Vec<f64>>, Proof), GlobalError> {
        let m = features.len();
        let K = Mat::from_fn(m, m, |j, k| self.K[(features[j], features[k])]);
        let eigen = K.self_adjoint_eigen(Side::Lower).map_err(|_| LossError::Decomposition)?;
        let top: Vec<f64> = eigen.U().col(m - 1).iter().copied().collect();
        let sign = top.iter().sum::<f64>().signum();
        let b: Vec<f64> = top.iter().map(|x| sign * x).collect();
        if b.iter().any(|&x| x < 0.0) {
            return Err(GlobalError::TooLarge {
                what: "features of a block with a face optimum",
                limit: MAX,
                found: m,
            });
        }
        Ok((eigen.S()[m - 1], self.unscaled(features, &b), None, Proof::Eigenvector))
    }

    /// What a row is multiplied with, and its column divided by, so that what fires has a code above a positive threshold: twice c where
    /// the other features can be as silent as one likes, just above c where they cannot.
    fn scale(&self, block: &BlockOptimum) -> f64 {
        let least = block.codes.iter().copied().filter(|&a| a > 0.0).fold(f64::INFINITY, f64::min);
        let above = if self.dependent.is_some() { 1.0 + 1e-6 } else { 2.0 };
        if self.loss.c() > 0.0 && least.is_finite() { above * self.loss.c() / least } else { 1.0 }
    }

    /// One row for each block. Independent features get ⟨w, p_d⟩ = a_d times the scale where it is not 0, and a negative number elsewhere.
    fn encoder(&self, blocks: &[BlockOptimum], scales: &[f64]) -> Mat<f64> {
        let (n, P) = (self.loss.n(), self.loss.P());
        let mut W = Mat::zeros(blocks.len(), self.loss.n_p());
        if self.dependent.is_some() {
            for (i, block) in blocks.iter().enumerate() {
                block.row.iter().flatten().enumerate().for_each(|(k, &w)| W[(i, k)] = scales[i] * w);
            }
            return W;
        }
        let mut targets = Mat::zeros(n, blocks.len());
        for (i, (block, scale)) in blocks.iter().zip(scales).enumerate() {
            let largest = block.codes.iter().copied().fold(0.0, f64::max);
            (0..n).for_each(|d| targets[(d, i)] = -scale * largest);
            for (&d, &a) in block.features.iter().zip(&block.codes).filter(|(_, a)| **a > 0.0) {
                targets[(d, i)] = scale * a;
            }
        }
        // The rows of least norm: w = P (PᵀP)⁻¹ a.
        let coefficients = (P.transpose() * P).partial_piv_lu().solve(&targets);
        (P * coefficients).transpose().to_owned()
    }
}

/// The directions p_d with the threshold, exactly.
fn exact(loss: &ApproximateLoss) -> Result<Problem, GlobalError> {
    let number = |x: f64| from_f64(x).map_err(|_| LossError::NotFinite("P"));
    let feature = |d: usize| {
        let w_p = loss.P().col(d).iter().map(|&x| number(x)).collect::<Result<_, _>>()?;
        Ok(Feature { w_p, w_r: vec![Rational::ONE], mass: Rational::ONE })
    };
    let features = (0..loss.n()).map(feature).collect::<Result<Vec<_>, LossError>>()?;
    let activation = Activation::Threshold(number(loss.c())?);
    Problem::new(features, activation).map_err(|_| LossError::NotFinite("P").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::families::{Family, Parameters};
    use crate::theory::partial_optimum::decide;
    use crate::theory::pattern::Pattern;

    fn instance(n: usize, n_p: usize, c: Rational, seed: u64) -> Problem {
        Family::SpreadMasses { decades: 1 }.generate(&Parameters { n, n_p, n_r: Some(n), c }, seed).unwrap()
    }

    #[test]
    fn the_value_is_the_loss_of_the_point_that_is_returned() {
        for (n, n_p, c) in [(6, 6, 0), (6, 6, 1), (4, 3, 0)] {
            for seed in 0..20 {
                let problem = instance(n, n_p, c.into(), seed);
                let loss = ApproximateLoss::from_problem(&problem).unwrap().with_par(faer::Par::Seq);
                let blocks = [vec![0, 2], vec![], vec![3, 1]];
                let Ok(found) = Partition::new(&loss).unwrap().optimum(&blocks) else {
                    assert!(n_p < n, "independent features realize every pattern");
                    continue;
                };
                let weights = crate::theory::loss::Weights { V: found.V.clone(), W: found.W.clone() };
                let at = loss.value(&weights).unwrap();
                // Sums of n squares, each rounded at 1e-16 of the largest mass.
                assert!((at - found.loss).abs() <= 1e-12 * (1.0 + found.loss), "{seed}: {at} {}", found.loss);
            }
        }
    }

    #[test]
    fn no_exact_partial_optimum_is_below_the_value_and_local_minima_of_a_block_reach_it() {
        let mut reached = 0;
        for n_p in [3, 4] {
            for seed in 0..25 {
                let problem = instance(4, n_p, Rational::ZERO, seed);
                let loss = ApproximateLoss::from_problem(&problem).unwrap();
                let decision = decide(&problem, &Pattern::new(vec![vec![0, 1, 2]], 4).unwrap()).unwrap();
                let Ok(found) = Partition::new(&loss).unwrap().optimum(&[vec![0, 1, 2]]) else {
                    assert!(!decision.realizable);
                    continue;
                };
                for optimum in &decision.optima {
                    let exact = optimum.loss.to_f64();
                    assert!(exact >= found.loss - 1e-12 * (1.0 + found.loss), "{exact} below {}", found.loss);
                    reached += usize::from((exact - found.loss).abs() <= 1e-12 * (1.0 + found.loss));
                }
            }
        }
        // A positive top eigenvector has probability 1/4 for three features.
        assert!(reached >= 5, "{reached}");
    }

    #[test]
    fn wrong_blocks_are_refused() {
        let problem = instance(4, 4, Rational::ZERO, 0);
        let loss = ApproximateLoss::from_problem(&problem).unwrap();
        let partition = Partition::new(&loss).unwrap();
        for blocks in [vec![vec![0, 0]], vec![vec![4]], vec![vec![0, 1], vec![1]]] {
            assert!(matches!(partition.optimum(&blocks), Err(GlobalError::Blocks { n: 4, .. })));
        }
    }
}
