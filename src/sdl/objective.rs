//! What is minimised beside the reconstruction (eqs. 5, 8, 9; App. A).
//!
//! Every term is a mean over the samples of a batch and a sum over coordinates and latents, as in eq. 3. What each of them computes to the last
//! detail stands in [`backend`](crate::backend#what-a-step-computes).

use serde::{Deserialize, Serialize};

/// The penalties and further reconstructions of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Objective {
    /// λ₁ of λ₁ Σ_i |z_i| (eq. 5); of the gates max(0, π_i) with the Gated activation.
    pub l1: f64,
    /// Weigh |z_i| by ‖v_i‖, so that the penalty cannot be avoided by rescaling.
    pub l1_by_decoder_norm: bool,
    /// λ₀ of λ₀ Σ_i 1(π_i > θ_i) with JumpReLU, whose gradient in θ is a straight-through estimate; without effect on the other activations.
    pub l0: f64,
    /// Reconstruction by dead latents (eq. 8).
    pub aux: Option<AuxK>,
    /// Reconstruction at several sparsity levels (eq. 9).
    pub scales: Scales,
}

/// AuxK: the k largest positive pre-activations among dead latents reconstruct what is missing (Gao et al. 2024), or the input (eq. 8 as
/// printed). Biases take no part, and the target counts as a constant. A sample without such latents adds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxK {
    /// k_aux ≥ 1.
    pub k: usize,
    /// λ_aux.
    pub weight: f64,
    /// A latent is dead if it has not been active for this many samples.
    pub dead_after: u64,
    /// What is reconstructed.
    #[serde(default)]
    pub target: AuxTarget,
}

/// What the dead latents reconstruct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuxTarget {
    /// x_r − x̂_r.
    #[default]
    Residual,
    /// x_r, as eq. 8 is printed.
    Target,
}

/// Matryoshka: the loss is Σ_s weight_s E‖x_r − x̂_r^{(s)}‖², where x̂_r^{(s)} uses part of the active latents. The parts are nested, the last
/// one is all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"prefixes\", sizes = [1000, 16000], weights = [1.0, 1.0] }")]
pub enum Scales {
    /// One reconstruction by all active latents.
    #[default]
    Single,
    /// x̂^{(s)} uses the ks\[s\] largest (eq. 9). Increasing; the last is k of the activation, which must be TopK or Top-k∘ReLU.
    TopK {
        /// k_1 < k_2 < .. < k_m.
        ks: Vec<usize>,
        /// λ_1, .., λ_m > 0.
        weights: Vec<f64>,
    },
    /// x̂^{(s)} uses the active ones among the first sizes\[s\] latents (Bussmann et al. 2025). Increasing; the last is n_q.
    Prefixes {
        /// m_1 < m_2 < .. < n_q.
        sizes: Vec<usize>,
        /// λ_1, .., λ_m > 0.
        weights: Vec<f64>,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Self { l1: 0.0, l1_by_decoder_norm: false, l0: 0.0, aux: None, scales: Scales::Single }
    }
}

impl Scales {
    /// λ_s, one number per part.
    pub fn weights(&self) -> &[f64] {
        match self {
            Self::Single => &[1.0],
            Self::TopK { weights, .. } | Self::Prefixes { weights, .. } => weights,
        }
    }

    /// The first part that contains the latent that is `rank`-th largest (from 0) of its sample: its *level*.
    pub fn level(&self, rank: usize, latent: usize) -> usize {
        match self {
            Self::Single => 0,
            Self::TopK { ks, .. } => ks.partition_point(|&k| k <= rank),
            Self::Prefixes { sizes, .. } => sizes.partition_point(|&m| m <= latent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_first_part_that_contains_the_latent() {
        let weights = vec![1.0; 3];
        let by_rank = Scales::TopK { ks: vec![1, 3, 6], weights: weights.clone() };
        assert_eq!([0, 1, 2, 3, 5].map(|rank| by_rank.level(rank, 99)), [0, 1, 1, 2, 2]);
        let by_index = Scales::Prefixes { sizes: vec![2, 4, 8], weights };
        assert_eq!([0, 1, 2, 3, 4, 7].map(|latent| by_index.level(99, latent)), [0, 0, 1, 1, 2, 2]);
        assert_eq!(Scales::Single.level(5, 5), 0);
    }
}
