//! The family of sparse dictionary learning methods in one framework (Def. 2.5, App. A):
//!
//! ```text
//!     x_q = σ(W_E (x_p − b_p) + b_E),     x̂_r = W_D x_q + b_D  (+ W_S x_p),     minimize E ‖x_r − x̂_r‖² + penalties
//! ```
//!
//! | method | what differs | |
//! |---|---|---|
//! | SAE, transcoder, crosscoder | the pair (x_p, x_r) | [`bench::config::Task`](crate::bench::config::Task), or files |
//! | ReLU + L1 (eq. 5), JumpReLU + L0 (eq. 6), TopK (eq. 7), Top-k∘ReLU, BatchTopK, Gated | σ, penalties | [`Activation`], [`Objective`] |
//! | AuxK (eq. 8), Matryoshka (eq. 9 and nested prefixes) | further reconstructions | [`AuxK`], [`Scales`] |
//! | feature anchoring (eqs. 21–25) | rows that are pulled to known features | [`anchoring`] |
//! | resampling | dead rows that are moved | [`resampling`] |
//!
//! The parameters live in [`Model`] on the host and in a [`Backend`](crate::backend::Backend) during training.

pub mod activation;
pub mod anchoring;
pub mod folding;
pub mod init;
pub mod model;
pub mod objective;
pub mod resampling;

pub use activation::Activation;
pub use anchoring::Anchors;
pub use init::Init;
pub use model::{Model, Parameter, Shape, Tensors};
pub use objective::{AuxK, AuxTarget, Objective, Scales};
pub use resampling::Resampling;
