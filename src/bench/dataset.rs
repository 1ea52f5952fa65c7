//! The bench itself: feature matrices, coefficients, and the representations x_p = W_p x and x_r = W_r x (eq. 31), made batch by batch, so
//! that N is not bounded by memory.

use super::coefficients::{Coefficients, SparseBatch};
use super::config::{BenchConfig, ConfigError, Task};
use super::features::{FeatureError, bounded_interference_watched, stream};
use faer::Mat;
use rayon::prelude::*;

/// Ground truth of one bench.
#[derive(Debug, Clone)]
pub struct Bench {
    config: BenchConfig,
    coefficients: Coefficients,
    inputs: Directions,
    targets: Option<Directions>,
}

/// One direction per feature, in f32, feature after feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Directions {
    dimension: usize,
    data: Vec<f32>,
}

/// Which representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// x_p.
    Input,
    /// x_r.
    Target,
}

/// Why a bench cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BenchError {
    /// A parameter is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No feature matrix was found.
    #[error(transparent)]
    Features(#[from] FeatureError),
}

impl Directions {
    /// The columns of stacked matrices of equally many columns.
    fn stacked(matrices: &[Mat<f64>]) -> Self {
        let dimension = matrices.iter().map(Mat::nrows).sum();
        let n = matrices.first().map_or(0, Mat::ncols);
        let mut data = Vec::with_capacity(dimension * n);
        for d in 0..n {
            for matrix in matrices {
                data.extend(matrix.col(d).iter().map(|x| *x as f32));
            }
        }
        Self { dimension, data }
    }

    /// Length of a direction.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// n, the number of directions.
    pub fn n(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// The direction of feature d.
    pub fn column(&self, d: usize) -> &[f32] {
        &self.data[d * self.dimension..(d + 1) * self.dimension]
    }

    /// All directions, feature after feature.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// As a dense matrix of one column per feature.
    pub fn matrix(&self) -> Mat<f64> {
        Mat::from_fn(self.dimension, self.n(), |k, d| f64::from(self.column(d)[k]))
    }
}

impl Bench {
    /// Makes the feature matrices. Every matrix has a random stream of its own, so that a transcoder has the input matrix of the
    /// autoencoder with the same seed, and a crosscoder's first source too.
    ///
    /// # Errors
    /// A parameter out of range, or no matrix within the budget of the descent.
    pub fn generate(config: &BenchConfig) -> Result<Self, BenchError> {
        Self::generate_watched(config, &mut |_| {})
    }

    /// The same; `watch` is told the largest interference before each step of the descent.
    ///
    /// # Errors
    /// The same.
    pub fn generate_watched(config: &BenchConfig, watch: &mut dyn FnMut(f64)) -> Result<Self, BenchError> {
        let coefficients = config.coefficients()?;
        let mut matrix = |dimension: usize, purpose: &str| {
            let rng = &mut stream(config.seed, purpose);
            bounded_interference_watched(dimension, config.n, &config.bound(), rng, watch)
        };
        let (inputs, targets) = match config.task {
            Task::Sae => (vec![matrix(config.n_p, "bench source 0")?], None),
            Task::Transcoder { n_r } => {
                (vec![matrix(config.n_p, "bench source 0")?], Some(vec![matrix(n_r, "bench target")?]))
            }
            Task::Crosscoder { sources } => {
                let each = (0..sources).map(|m| matrix(config.n_p, &format!("bench source {m}")));
                (each.collect::<Result<Vec<_>, _>>()?, None)
            }
        };
        Ok(Self {
            config: config.clone(),
            coefficients,
            inputs: Directions::stacked(&inputs),
            targets: targets.as_deref().map(Directions::stacked),
        })
    }

    /// The parameters.
    pub fn config(&self) -> &BenchConfig {
        &self.config
    }

    /// The law of x.
    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    /// W_p or W_r. The sources of a crosscoder stand under each other, so that a column has norm √m.
    pub fn directions(&self, side: Side) -> &Directions {
        match (side, &self.targets) {
            (Side::Target, Some(targets)) => targets,
            _ => &self.inputs,
        }
    }

    /// True if x_r is x_p.
    pub fn reconstructs_its_input(&self) -> bool {
        self.targets.is_none()
    }

    /// W x for every row of a batch, into `out` of rows × dimension numbers: features are added by increasing index, each product rounded
    /// before it is added, so that the bits depend on nothing else.
    ///
    /// # Panics
    /// If `out` has another length, which is a mistake of the program.
    pub fn synthesize(&self, batch: &SparseBatch, side: Side, out: &mut [f32]) {
        let directions = self.directions(side);
        assert_eq!(out.len(), batch.rows() * directions.dimension(), "one representation per row");
        out.par_chunks_mut(directions.dimension()).enumerate().for_each(|(i, x)| {
            x.fill(0.0);
            let (indices, values) = batch.row(i);
            for (&d, &value) in indices.iter().zip(values) {
                for (x, w) in x.iter_mut().zip(directions.column(d as usize)) {
                    *x += value * w;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::maximum_interference;

    fn small(task: Task) -> BenchConfig {
        BenchConfig { n: 30, n_p: 16, interference: 0.3, sparsity: 0.9, task, ..BenchConfig::default() }
    }

    #[test]
    fn matrices_have_unit_columns_and_bounded_interference_after_rounding() {
        let bench = Bench::generate(&small(Task::Sae)).unwrap();
        let W = bench.directions(Side::Input).matrix();
        // Rounding moves a product of unit vectors by at most 2·2^-24 √n_p or so.
        assert!(maximum_interference(W.as_ref()) <= 0.3 + 1e-6);
        assert!((0..30).all(|d| (W.col(d).norm_l2() - 1.0).abs() < 1e-6));
        assert!(bench.reconstructs_its_input());
    }

    #[test]
    fn tasks_share_the_coefficients_and_the_first_matrix() {
        let sae = Bench::generate(&small(Task::Sae)).unwrap();
        let transcoder = Bench::generate(&small(Task::Transcoder { n_r: 20 })).unwrap();
        let crosscoder = Bench::generate(&small(Task::Crosscoder { sources: 3 })).unwrap();
        assert_eq!(transcoder.directions(Side::Input), sae.directions(Side::Input));
        assert_eq!(transcoder.directions(Side::Target).dimension(), 20);
        assert_eq!(crosscoder.directions(Side::Target).dimension(), 48);
        for d in 0..30 {
            assert_eq!(crosscoder.directions(Side::Input).column(d)[..16], *sae.directions(Side::Input).column(d));
        }
        assert_eq!(transcoder.coefficients().batch(&[9]), sae.coefficients().batch(&[9]));
    }

    #[test]
    fn targets_and_sources_have_matrices_of_their_own() {
        // Equal sizes, at which one stream for both would give one matrix.
        let transcoder = Bench::generate(&small(Task::Transcoder { n_r: 16 })).unwrap();
        let crosscoder = Bench::generate(&small(Task::Crosscoder { sources: 3 })).unwrap();
        let source = |m: usize| -> Vec<&[f32]> {
            (0..30).map(|d| &crosscoder.directions(Side::Input).column(d)[16 * m..16 * (m + 1)]).collect()
        };
        let side = |side| -> Vec<&[f32]> { (0..30).map(|d| transcoder.directions(side).column(d)).collect() };
        let pairs = [
            (side(Side::Input), side(Side::Target)),
            (source(0), source(1)),
            (source(0), source(2)),
            (source(1), source(2)),
            (source(1), side(Side::Target)),
        ];
        for (own, other) in pairs {
            let cosine = |p: &[f32], r: &[f32]| p.iter().zip(r).map(|(p, r)| f64::from(p * r)).sum::<f64>();
            let mean = own.iter().zip(&other).map(|(p, r)| cosine(p, r).abs()).sum::<f64>() / 30.0;
            // |⟨p, r⟩| of independent directions has mean √(2/16π) = 0.2 and variance 1/16 − 0.04 = 0.15²: six deviations of the mean of 30.
            assert!((0.03..0.37).contains(&mean), "{mean}");
            // Nor is one a permutation of the other: 900 products of deviation 1/4.
            let closest = own.iter().flat_map(|p| other.iter().map(move |r| cosine(p, r).abs())).fold(0.0, f64::max);
            assert!(closest < 0.98, "{closest}");
        }
    }

    #[test]
    fn a_representation_is_the_sum_of_its_active_directions() {
        let bench = Bench::generate(&small(Task::Transcoder { n_r: 20 })).unwrap();
        let batch = bench.coefficients().batch(&(0..50).collect::<Vec<_>>());
        for side in [Side::Input, Side::Target] {
            let W = bench.directions(side).matrix();
            let mut x = vec![f32::NAN; 50 * W.nrows()];
            bench.synthesize(&batch, side, &mut x);
            for i in 0..50 {
                let (indices, values) = batch.row(i);
                for k in 0..W.nrows() {
                    let sum: f64 = indices.iter().zip(values).map(|(&d, &v)| W[(k, d as usize)] * f64::from(v)).sum();
                    // Few terms below 20 each.
                    assert!((sum - f64::from(x[i * W.nrows() + k])).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn an_impossible_bench_is_refused() {
        let error = Bench::generate(&BenchConfig { interference: 0.0, ..small(Task::Sae) }).map(|_| ()).unwrap_err();
        assert!(matches!(error, BenchError::Config(_) | BenchError::Features(_)), "{error}");
    }
}
