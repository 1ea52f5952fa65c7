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
