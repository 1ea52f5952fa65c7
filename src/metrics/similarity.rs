//! Products of learned and known directions: the matrix S of §5.1, a panel of latents at a time, so that memory does
//! not grow with n·n_q.

use crate::bench::dataset::Directions;
use crate::sdl::{Model, Parameter};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Latents whose products with all features are made at a time: fixed, so that nothing depends on the number of
/// threads.
const PANEL: usize = 512;

/// What counts as similar to a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// |⟨w, p⟩|, as S of the paper: the default, so that numbers can be compared with its tables. A latent that points
    /// against a feature counts as having found it, although under ReLU it is silent where the feature fires.
    #[default]
    Absolute,
    /// ⟨w, p⟩.
    Signed,
}

impl Sign {
    /// How similar directions with this product are.
    pub fn of(self, product: f64) -> f64 {
        match self {
            Self::Absolute => product.abs(),
            Self::Signed => product,
        }
    }

    /// The same in f32.
    pub fn of_f32(self, product: f32) -> f32 {
        match self {
            Self::Absolute => product.abs(),
            Self::Signed => product,
        }
    }
}

/// Why learned directions cannot be compared with known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimilarityError {
    /// They live in different spaces.
    #[error("{what}: expected vectors of dimension {expected}, found {found}")]
    Dimension {
        /// Which vectors.
        what: &'static str,
        /// Dimension of the known directions.
        expected: usize,
        /// Dimension of the learned ones.
        found: usize,
    },
    /// A vector has a coordinate that is NaN or infinite, or a norm that f32 does not hold.
    #[error("{what}: expected finite numbers, found others in row {row}")]
    NotFinite {
        /// Which vectors.
        what: &'static str,
        /// The first such vector, from 0.
        row: usize,
    },
}

/// Vectors of one space, one after another, or the same range of coordinates of each.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    what: &'static str,
    data: &'a [f32],
    stride: usize,
    from: usize,
    dimension: usize,
}

impl<'a> Vectors<'a> {
    /// Rows of `dimension` numbers; `what` names them in errors.
    ///
    /// # Panics
    /// If `dimension` does not divide the length, which is a mistake of the program.
    pub fn rows(what: &'static str, data: &'a [f32], dimension: usize) -> Self {
        assert_eq!(data.len() % dimension.max(1), 0, "whole rows");
        Self { what, data, stride: dimension, from: 0, dimension }
    }

    /// Rows of W_E.
    pub fn encoder(model: &'a Model) -> Self {
        Self::rows("encoder", model.tensors.get(Parameter::Encoder).unwrap_or_default(), model.shape().n_p)
    }

    /// Columns of W_D.
    pub fn decoder(model: &'a Model) -> Self {
        Self::rows("decoder", model.tensors.get(Parameter::Decoder).unwrap_or_default(), model.shape().n_r)
    }

    /// Columns of W_p or W_r.
    pub fn truth(directions: &'a Directions) -> Self {
        Self::rows("features", directions.data(), directions.dimension())
    }

    /// These coordinates of every vector: one source of a crosscoder.
    ///
    /// # Panics
    /// If the range is outside, which is a mistake of the program.
    pub fn block(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.dimension, "coordinates of the vectors");
        Self { from: self.from + range.start, dimension: range.len(), ..self }
    }

    /// Number of coordinates.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.data.len() / self.stride.max(1)
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Vector i.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn get(&self, i: usize) -> &'a [f32] {
        let first = i * self.stride + self.from;
        &self.data[first..first + self.dimension]
    }

    /// Norms in f64.
    fn norms(&self) -> Result<Vec<f64>, SimilarityError> {
        let norm = |i| self.get(i).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let norms: Vec<f64> = (0..self.len()).into_par_iter().map(norm).collect();
        match norms.iter().position(|norm| !(*norm as f32).is_finite()) {
            Some(row) => Err(SimilarityError::NotFinite { what: self.what, row }),
            None => Ok(norms),
        }
    }

    /// Vectors i of `range`, divided by their norms in f64 and rounded; one with norm 0 stays 0.
    fn unit(&self, range: Range<usize>, norms: &[f64]) -> Vec<f32> {
        let scaled = |i: usize| {
            let norm = if norms[i] > 0.0 { norms[i] } else { 1.0 };
            self.get(i).iter().map(move |x| (f64::from(*x) / norm) as f32)
        };
        range.flat_map(scaled).collect()
    }
}

/// Learned and known directions, ready to be compared.
#[derive(Debug)]
pub struct Comparison<'a> {
    learned: Vectors<'a>,
    truth: Vectors<'a>,
    learned_norms: Vec<f64>,
    truth_norms: Vec<f64>,
    unit_truth: Vec<f32>,
}

/// Cosines of some latents with all features, in f32, latent by latent.
#[derive(Debug)]
pub struct Panel {
    /// The first latent.
    pub first: usize,
    cosines: Mat<f32>,
}

impl Panel {
    /// Each latent with its cosines.
    pub fn latents(&self) -> impl Iterator<Item = (usize, &[f32])> {
        (0..self.cosines.ncols()).map(|k| (self.first + k, self.cosines.col_as_slice(k)))
    }
}

impl<'a> Comparison<'a> {
    /// Known directions count with norm 1, whatever their length: those of a crosscoder have √m.
    ///
    /// # Errors
    /// Different dimensions, or numbers that are not finite.
    pub fn new(learned: Vectors<'a>, truth: Vectors<'a>) -> Result<Self, SimilarityError> {
        let (expected, found) = (truth.dimension, learned.dimension);
        if expected != found {
            return Err(SimilarityError::Dimension { what: learned.what, expected, found });
        }
        let (learned_norms, truth_norms) = (learned.norms()?, truth.norms()?);
        let unit_truth = truth.unit(0..truth.len(), &truth_norms);
        Ok(Self { learned, truth, learned_norms, truth_norms, unit_truth })
    }

    /// n_q.
    pub fn latents(&self) -> usize {
        self.learned_norms.len()
    }

    /// n.
    pub fn features(&self) -> usize {
        self.truth_norms.len()
    }

    /// ‖w_i‖.
    pub fn norm(&self, latent: usize) -> f64 {
        self.learned_norms[latent]
    }

    /// ⟨w_i, p_d⟩ / (‖w_i‖ ‖p_d‖) in f64, within [−1, 1]; 0 for a vector without length.
    pub fn cosine(&self, latent: usize, feature: usize) -> f64 {
        let pairs = self.learned.get(latent).iter().zip(self.truth.get(feature));
        let product: f64 = pairs.map(|(w, p)| f64::from(*w) * f64::from(*p)).sum();
        let length = self.learned_norms[latent] * self.truth_norms[feature];
        // Cauchy and Schwarz, but for rounding.
        if length > 0.0 { (product / length).clamp(-1.0, 1.0) } else { 0.0 }
    }

    /// Applies `each` to the panels, in parallel, and returns the results by increasing latent. The whole costs one
    /// product of an n × n_p with an n_p × n_q matrix in f32.
    pub fn panels<T: Send>(&self, each: impl Fn(Panel) -> T + Sync) -> Vec<T> {
        let (n, dimension) = (self.features(), self.learned.dimension);
        let truth = MatRef::from_column_major_slice(&self.unit_truth, dimension, n);
        let starts: Vec<usize> = (0..self.latents()).step_by(PANEL).collect();
        let panel = |first: usize| {
            let last = self.latents().min(first + PANEL);
            let units = self.learned.unit(first..last, &self.learned_norms);
            let units = MatRef::from_column_major_slice(&units, dimension, last - first);
            let mut cosines = Mat::<f32>::zeros(n, last - first);
            matmul(&mut cosines, Accum::Replace, truth.transpose(), units, 1.0, Par::Seq);
            each(Panel { first, cosines })
        };
        starts.into_par_iter().map(panel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::{random_unit, stream};

    fn drawn(count: usize, dimension: usize, purpose: &str) -> Vec<f32> {
        let columns = random_unit(dimension, count, &mut stream(5, purpose));
        columns.col_iter().flat_map(|c| c.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn panels_hold_the_cosines_of_all_pairs_and_a_block_those_of_its_coordinates() {
        let (learned, truth) = (drawn(PANEL + 40, 24, "learned"), drawn(30, 24, "truth"));
        let (learned, truth) = (Vectors::rows("learned", &learned, 24), Vectors::rows("truth", &truth, 24));
        for range in [0..24, 8..16] {
            let comparison = Comparison::new(learned.block(range.clone()), truth.block(range)).unwrap();
            let mut seen = 0;
            for panel in comparison.panels(|panel| panel) {
                for (i, cosines) in panel.latents() {
                    assert_eq!((i, cosines.len()), (seen, 30));
                    seen += 1;
                    for (d, cosine) in cosines.iter().enumerate() {
                        // 24 products of numbers below 1 in f32, and the rounding of both unit vectors.
                        assert!((f64::from(*cosine) - comparison.cosine(i, d)).abs() < 26.0 * 2f64.powi(-24));
                    }
                }
            }
            assert_eq!(seen, comparison.latents());
        }
    }

    #[test]
    fn vectors_of_any_length_have_cosines_and_those_without_length_have_0() {
        let learned = [3e38, 0.0, 0.0, 1e-44, 0.0, 0.0, -2.0, -2.0];
        let comparison =
            Comparison::new(Vectors::rows("learned", &learned, 2), Vectors::rows("truth", &[5.0, 0.0, 0.0, 7.0], 2))
                .unwrap();
        let panels = comparison.panels(|panel| panel.latents().map(|(_, c)| c.to_vec()).collect::<Vec<_>>());
        let half = -(0.5_f32.sqrt());
        assert_eq!(panels, [[vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 0.0], vec![half, half]]]);
        assert_eq!(comparison.cosine(2, 0), 0.0);
    }

    #[test]
    fn other_spaces_and_numbers_that_are_not_finite_are_refused() {
        let truth = [1.0, 0.0];
        let compare = |learned: &[f32], dimension| {
            Comparison::new(Vectors::rows("encoder", learned, dimension), Vectors::rows("features", &truth, 2))
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(compare(&[1.0; 3], 3), "encoder: expected vectors of dimension 2, found 3");
        for broken in [f32::NAN, f32::INFINITY] {
            assert_eq!(compare(&[1.0, 0.0, 0.0, broken], 2), "encoder: expected finite numbers, found others in row 1");
        }
        assert!(compare(&[f32::MAX, f32::MAX], 2).contains("row 0"), "a norm above the largest f32");
    }
}
