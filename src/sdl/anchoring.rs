//! Feature anchoring (§4): some encoder rows and decoder columns are pulled to known features,
//!
//! ```text
//!     L + λ_anchor ( Σ_{(i, w̃)} ‖w_i − w̃_p‖² + ‖v_i − w̃_r‖² )                                    (eqs. 24, 25)
//! ```

use super::model::{Model, Shape};

/// Known features and the latents that are to represent them.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchors {
    /// λ_anchor ≥ 0. With 0 the term vanishes, but the latents still count as anchored when a model is scored.
    pub weight: f64,
    /// The anchored latents, distinct; the paper takes the first k.
    pub latents: Vec<u32>,
    /// w̃_p for each of them: rows of n_p numbers.
    pub inputs: Vec<f32>,
    /// w̃_r for each of them: rows of n_r numbers.
    pub targets: Vec<f32>,
    /// The ground-truth features they are, where known, to be left out when a model is scored.
    pub features: Vec<u32>,
}

/// What is wrong with anchors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("anchors: expected {expected}, found {found}")]
pub struct AnchorError {
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl Anchors {
    /// No anchors.
    pub fn none() -> Self {
        Self { weight: 0.0, latents: Vec::new(), inputs: Vec::new(), targets: Vec::new(), features: Vec::new() }
    }

    /// Known features for the first latents, row by row (eq. 21, or class means of [`class_means`]).
    ///
    /// # Errors
    /// More anchors than latents, or rows of another length.
    pub fn first(weight: f64, inputs: Vec<f32>, targets: Vec<f32>, shape: Shape) -> Result<Self, AnchorError> {
        let count = inputs.len() / shape.n_p.max(1);
        let fail = |expected: String, found: String| Err(AnchorError { expected, found });
        if inputs.len() != count * shape.n_p || targets.len() != count * shape.n_r {
            let found = format!("{} and {} numbers", inputs.len(), targets.len());
            return fail(format!("rows of n_p = {} and as many of n_r = {}", shape.n_p, shape.n_r), found);
        }
        if count > shape.n_q {
            return fail(format!("at most n_q = {} of them", shape.n_q), count.to_string());
        }
        Ok(Self { weight, latents: (0..count as u32).collect(), inputs, targets, features: Vec::new() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.latents.len()
    }

    /// True without anchors.
    pub fn is_empty(&self) -> bool {
        self.latents.is_empty()
    }

    /// λ_anchor·L_anchor (eq. 25).
    pub fn penalty(&self, model: &Model) -> f64 {
        if self.weight == 0.0 || self.is_empty() {
            return 0.0;
        }
        let Shape { n_p, n_r, .. } = model.shape();
        let squared = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
        let rows = self.inputs.chunks_exact(n_p).zip(self.targets.chunks_exact(n_r));
        let each = self.latents.iter().zip(rows).map(|(&i, (input, target))| {
            squared(model.w_e(i as usize), input) + squared(model.w_d(i as usize), target)
        });
        self.weight * each.sum::<f64>()
    }
}

/// Normalised class means: for every class c the mean of the rows with y_j = c (eq. 22), divided by its norm (eq. 23), in f64 and in the order of
/// the rows. Rows without a class are left out. `row(j, x)` writes row j into `x` of `dimension` numbers; `of_class(c)` names a class in errors.
///
/// # Errors
/// A class without samples, or whose mean is 0 and has no direction.
pub fn class_means(
    dimension: usize,
    labels: &[Option<u32>],
    classes: usize,
    mut row: impl FnMut(usize, &mut [f32]),
    of_class: impl Fn(usize) -> String,
) -> Result<Vec<f32>, AnchorError> {
    let mut sums = vec![0.0_f64; classes * dimension];
    let mut counts = vec![0_u64; classes];
    let mut x = vec![0.0_f32; dimension];
    for (j, class) in labels.iter().enumerate() {
        let Some(c) = class.map(|c| c as usize) else { continue };
        if c >= classes {
            return Err(AnchorError {
                expected: format!("classes below {classes}"),
                found: format!("{c} at sample {j}"),
            });
        }
        row(j, &mut x);
        counts[c] += 1;
        sums[c * dimension..][..dimension].iter_mut().zip(&x).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let mut means = Vec::with_capacity(sums.len());
    for (c, count) in counts.into_iter().enumerate() {
        let fail = |expected: &str, found: &str| {
            Err(AnchorError { expected: format!("{expected} of the class {}", of_class(c)), found: found.to_owned() })
        };
        if count == 0 {
            return fail("samples", "none");
        }
        // The sum has the direction of the mean.
        let sum = &sums[c * dimension..][..dimension];
        let largest = sum.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        if largest == 0.0 {
            return fail("a mean with a direction", "0, so that it cannot be normalised");
        }
        // Scaled first, so that no square underflows.
        let norm = largest * sum.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return fail("finite samples", "a NaN or an infinity");
        }
        means.extend(sum.iter().map(|x| (x / norm) as f32));
    }
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(rows: &[[f32; 2]], labels: &[Option<u32>], classes: usize) -> Result<Vec<f32>, AnchorError> {
        class_means(2, labels, classes, |j, x| x.copy_from_slice(&rows[j]), |c| format!("`{c}`"))
    }

    #[test]
    fn class_means_are_directions_of_the_mean_of_each_class() {
        let rows = [[3.0, 1.0], [0.0, 2.0], [9.0, 9.0], [3.0, 7.0]];
        let found = means(&rows, &[Some(1), Some(0), None, Some(1)], 2).unwrap();
        // The mean of (3, 1) and (3, 7) is (3, 4).
        assert_eq!(found, [0.0, 1.0, 0.6, 0.8]);
        // Small rows have a direction too.
        assert_eq!(means(&[[3e-38, 4e-38]], &[Some(0)], 1).unwrap(), [0.6, 0.8]);
    }

    #[test]
    fn a_class_without_samples_or_without_direction_is_named() {
        let error = means(&[[1.0, 0.0]], &[Some(0)], 2).unwrap_err().to_string();
        assert_eq!(error, "anchors: expected samples of the class `1`, found none");
        let error = means(&[[1.0, 2.0], [-1.0, -2.0]], &[Some(0), Some(0)], 1).unwrap_err().to_string();
        assert!(error.contains("a direction of the class `0`, found 0"), "{error}");
        let error = means(&[[f32::INFINITY, 2.0]], &[Some(0)], 1).unwrap_err().to_string();
        assert!(error.contains("finite samples"), "{error}");
        let error = means(&[[1.0, 2.0]], &[Some(3)], 2).unwrap_err().to_string();
        assert!(error.contains("classes below 2, found 3 at sample 0"), "{error}");
    }
}
