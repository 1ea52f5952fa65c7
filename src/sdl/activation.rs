//! Activations σ (eqs. 5–7, 10 and App. A). All of them keep a pre-activation z_i or set it to 0, except Gated, which scales it.

use serde::{Deserialize, Serialize};

/// σ of a layer. With ties, the lower latent wins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"relu\" } or { kind = \"top-k\", k = 64 }")]
pub enum Activation {
    /// max(0, z).
    Relu,
    /// z·1(z > θ) with a learned θ_i = exp(log θ_i) for each latent (eq. 6). Gradients in θ are straight-through estimates with a
    /// rectangular kernel of width ε (Rajamanoharan et al. 2024b, eqs. 11 and 12).
    JumpRelu {
        /// θ at the start, > 0.
        theta: f64,
        /// ε > 0.
        bandwidth: f64,
    },
    /// The k largest pre-activations of a sample, negative ones too (eq. 7).
    TopK {
        /// k ≥ 1.
        k: usize,
    },
    /// The k largest pre-activations of a sample where they are positive: TopK of ReLU, as in most code.
    TopKRelu {
        /// k ≥ 1.
        k: usize,
    },
    /// The k·B largest positive pre-activations of a batch of B samples; after training z·1(z > θ) with one θ, the running mean of the least
    /// value kept (Bussmann et al. 2024).
    BatchTopK {
        /// k ≥ 1, the mean number of active latents.
        k: usize,
    },
    /// 1(π > 0)·max(0, e^{r_i} (π_i − b_{E,i}) + m_i) with the gate π = W_E (x_p − b_p) + b_E: gate and magnitude share their directions
    /// (Rajamanoharan et al. 2024a). The L1 penalty and the auxiliary reconstruction act on max(0, π).
    Gated,
}

impl Activation {
    /// k of the activations that have one.
    pub fn k(&self) -> Option<usize> {
        match *self {
            Self::TopK { k } | Self::TopKRelu { k } | Self::BatchTopK { k } => Some(k),
            Self::Relu | Self::JumpRelu { .. } | Self::Gated => None,
        }
    }

    /// True if the activation itself bounds how many latents are active, so that codes are short from the start.
    pub fn is_sparse(&self) -> bool {
        self.k().is_some()
    }
}
