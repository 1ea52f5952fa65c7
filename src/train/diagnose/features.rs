//! The features that a model is held against: those of the bench, of a problem file, or the means of labelled classes.

use crate::bench::dataset::{Bench, Side};
use crate::io::labels::Labels;
use crate::theory::loss::{ApproximateLoss, LossError};
use crate::theory::problem::Problem;
use crate::train::data::Samples;
use faer::{Mat, MatRef};

/// Features with their directions, targets and masses: what L̃ (eq. 11) is made of.
#[derive(Debug, Clone)]
pub struct KnownFeatures {
    /// P, n_p×n.
    pub P: Mat<f64>,
    /// R, n_r×n.
    pub R: Mat<f64>,
    /// M_d ≥ 0.
    pub masses: Vec<f64>,
    /// What they are called; their numbers if absent.
    pub names: Option<Vec<String>>,
}

/// Why there are no known features.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// The problem has no plain numbers.
    #[error("problem: {0}")]
    Problem(String),
    /// Features and model have different dimensions.
    #[error("{name}: expected {expected} numbers in a direction, as the model has, found {found}")]
    Dimension {
        /// `w_p` or `w_r`.
        name: &'static str,
        /// That of the model.
        expected: usize,
        /// That of the features.
        found: usize,
    },
    /// A class has no rows.
    #[error("labels: expected a sample of every class, found none of `{0}`")]
    EmptyClass(String),
    /// A weight of the model is not finite.
    #[error("model: expected finite weights")]
    Weights,
    /// A direction is not finite, or no mass is positive.
    #[error("features: expected finite directions and masses, one of them positive")]
    NotUsable,
}

impl KnownFeatures {
    /// The features of the bench, with M_d = Pr(only d is active)·E\[x_d²\].
    ///
    /// # Errors
    /// A bench on which no feature is ever active alone.
    pub fn of_bench(bench: &Bench) -> Result<Self, FeatureError> {
        let matrix = |side| bench.directions(side).matrix();
        let masses = bench.coefficients().masses();
        Self { P: matrix(Side::Input), R: matrix(Side::Target), masses, names: None }.usable()
    }

    /// The features of a problem file, rounded to f64. Its activation does not matter: that of the model decides what fires.
    ///
    /// # Errors
    /// Numbers too large for f64.
    pub fn of_problem(problem: &Problem) -> Result<Self, FeatureError> {
        let features = problem.features();
        let number = crate::exact::rational::to_f64;
        let P = Mat::from_fn(problem.n_p(), problem.n(), |k, d| number(&features[d].w_p[k]));
        let R = Mat::from_fn(problem.n_r(), problem.n(), |k, d| number(&features[d].w_r[k]));
        let masses = features.iter().map(|feature| number(&feature.mass)).collect();
        Self { P, R, masses, names: None }.usable()
    }

    /// The means of all classes of labelled rows (eq. 22, not divided by their norms, so that the model meets them at their own length), each with its
    /// share of the labelled rows as mass.
    ///
    /// # Errors
    /// A class without rows.
    pub fn of_labels(rows: &dyn Samples, labels: &Labels) -> Result<Self, FeatureError> {
        const CHUNK: usize = 1024;
        let n = labels.names.len();
        let mut counts = vec![0_u64; n];
        labels.classes.iter().flatten().for_each(|c| counts[*c as usize] += 1);
        if let Some(empty) = counts.iter().position(|count| *count == 0) {
            return Err(FeatureError::EmptyClass(labels.names[empty].clone()));
        }
        let all: Vec<u64> = (0..rows.samples()).collect();
        let means = |side| {
            let width = rows.dimension(side);
            let mut sums = Mat::<f64>::zeros(width, n);
            let mut buffer = vec![0.0_f32; CHUNK * width];
            for indices in all.chunks(CHUNK) {
                let part = &mut buffer[..indices.len() * width];
                rows.read(indices, side, part);
                for (row, &index) in part.chunks_exact(width).zip(indices) {
                    if let Some(c) = labels.classes[index as usize] {
                        let sum = sums.col_as_slice_mut(c as usize);
                        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                    }
                }
            }
            for (c, &count) in counts.iter().enumerate() {
                sums.col_as_slice_mut(c).iter_mut().for_each(|sum| *sum /= count as f64);
            }
            sums
        };
        let (P, R) = (means(Side::Input), means(Side::Target));
        let total: u64 = counts.iter().sum();
        let masses = counts.iter().map(|count| *count as f64 / total as f64).collect();
        Self { P, R, masses, names: Some(labels.names.clone()) }.usable()
    }

    fn usable(self) -> Result<Self, FeatureError> {
        let positive = self.masses.iter().any(|mass| *mass > 0.0);
        let finite = self.P.is_all_finite() && self.R.is_all_finite() && self.masses.iter().all(|m| m.is_finite());
        if positive && finite { Ok(self) } else { Err(FeatureError::NotUsable) }
    }

    /// Refuses a model of other dimensions.
    ///
    /// # Errors
    /// The first one that differs.
    pub fn check(&self, n_p: usize, n_r: usize) -> Result<(), FeatureError> {
        for (name, expected, found) in [("w_p", n_p, self.P.nrows()), ("w_r", n_r, self.R.nrows())] {
            if expected != found {
                return Err(FeatureError::Dimension { name, expected, found });
            }
        }
        Ok(())
    }

    /// n.
    pub fn n(&self) -> usize {
        self.P.ncols()
    }

    /// Σ_d M_d‖r_d‖²: L̃ of a model that reconstructs nothing.
    pub fn energy(&self) -> f64 {
        self.masses.iter().enumerate().map(|(d, mass)| mass * squared(self.R.col_as_slice(d))).sum()
    }

    /// What feature d is called.
    pub fn name(&self, d: usize) -> String {
        self.names.as_ref().and_then(|names| names.get(d)).map_or_else(|| d.to_string(), Clone::clone)
    }

    /// L̃ of a model whose activation is σ_c, to compare with.
    ///
    /// # Errors
    /// See [`ApproximateLoss::new`].
    pub fn approximate_loss(&self, c: f64) -> Result<ApproximateLoss, LossError> {
        ApproximateLoss::new(self.P.clone(), self.R.clone(), self.masses.clone(), c)
    }
}

/// Columns as rows of f32, for a backend.
pub(super) fn rows(columns: MatRef<'_, f64>) -> Vec<f32> {
    columns.col_iter().flat_map(|column| column.iter().map(|x| *x as f32)).collect()
}

/// ‖x‖².
pub(super) fn squared(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::Memory;

    #[test]
    fn class_means_keep_their_length_and_shares_are_masses() {
        let labels = Labels { classes: vec![Some(1), None, Some(0), Some(1)], names: vec!["a".into(), "b".into()] };
        let rows = Memory {
            n_p: 2,
            inputs: vec![1.0, 0.0, 9.0, 9.0, 0.0, 4.0, 3.0, 2.0],
            targets: Some((1, vec![5.0, 9.0, 7.0, 1.0])),
            labels: None,
        };
        let features = KnownFeatures::of_labels(&rows, &labels).unwrap();
        assert_eq!((features.P.col_as_slice(0), features.P.col_as_slice(1)), (&[0.0, 4.0][..], &[2.0, 1.0][..]));
        assert_eq!((features.R[(0, 0)], features.R[(0, 1)]), (7.0, 3.0));
        assert_eq!(features.masses, [1.0 / 3.0, 2.0 / 3.0]);
        assert_eq!((features.name(1), features.check(2, 1)), ("b".to_owned(), Ok(())));
        assert!(features.check(2, 2).unwrap_err().to_string().starts_with("w_r: expected 2"));
        let empty = Labels { classes: vec![Some(0); 4], names: vec!["a".into(), "b".into()] };
        let error = KnownFeatures::of_labels(&rows, &empty).unwrap_err();
        assert_eq!(error, FeatureError::EmptyClass("b".into()));
    }
}
