//! Partial optima of L̃ in the cell of a pattern, decided exactly (Ex. 3.5, Thm 3.7).
//!
//! A pair (V*, W*) is a partial optimum of the cell Ω_A if V* minimises L̃(·, W*) and W* minimises L̃(V*, ·) over Ω_A
//! (Gorski, Pfeuffer and Klamroth 2007, Def. 4.1). For a disjoint pattern the problem splits by neuron: with F the
//! features of a neuron, a = P_Fᵀw, G = R_FᵀR_F and the decoder column eliminated, a row w of the cell belongs to a
//! partial optimum iff P_F D (G D − μ) a = Σ λ_e p_e with λ_e ≥ 0 on off-F faces; the block's loss is Σ_F M_d‖r_d‖² − μ.
//!
//! | question | where |
//! |---|---|
//! | all partial optima of a pattern, or a proof that there is none | [`decide`] |
//! | the class of a given point | [`classify`] |
//! | the published construction (eq. 76) | [`published`] |
//! | block residuals where patterns overlap | [`overlap`] |
//!
//! Cost: an n_p×n_p pencil and an m×m characteristic polynomial per block of m features; boundary optima (c = 0,
//! dependent features) add one pencil per independent face set that the cell touches, up to Σ_{k<n_p} C(n−m, k).

mod absence;
mod block;
mod certificate;
mod fields;
mod listing;
pub mod overlap;
mod point_class;
pub mod published;
mod second_order;
mod stationary;

pub use certificate::{epsilon as epsilon_certificate, not_partial as not_partial_certificate};
pub use listing::{BlockSummary, Class, Decision, Kind, LossValue, Optimum, decide};
pub use point_class::{FirstOrder, PointReport, classify, first_order};
