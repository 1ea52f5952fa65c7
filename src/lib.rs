//! # sdlab: a laboratory for the optimization theory of sparse dictionary learning
//!
//! Sparse dictionary learning (SDL: sparse autoencoders, transcoders, crosscoders) fits an encoder W = W_E (n_q×n_p)
//! and a decoder V = W_D (n_r×n_q) to
//!
//! ```text
//!     minimize   L(V, W) = E ‖x_r − V σ(W x_p)‖²                       (eq. 3)
//! ```
//!
//! where x_p = P x, x_r = R x for sparse non-negative features x. With at most one feature active at a time this is the
//! approximate loss
//!
//! ```text
//!     L̃(V, W) = Σ_d M_d ‖r_d − V σ(W p_d)‖²                            (eq. 11)
//! ```
//!
//! which is biconvex on every cell Ω_A, the set of encoders with one activation pattern. The library decides, exactly and
//! with certificates, what the theory of arXiv 2512.05534v3 claims about L̃.
//!
//! ## From the paper to the code
//!
//! | paper | module |
//! |---|---|
//! | Asm. 2.3, 2.4; problem files | [`theory::problem`] |
//! | eqs. 6, 7, 10: activations | [`theory::activation`] |
//! | eq. 11: L̃, its gradients, Hessian, line searches | [`theory::loss`] |
//! | eqs. 3, 4: the exact loss L, Thm 3.1 | [`theory::exact_loss`] |
//! | Def. 3.6: patterns; Ω_A of Thm 3.2 | [`theory::pattern`], [`theory::region`] |
//! | Thm 3.4, eq. 16: the set without loss and its dimension | [`theory::zero_loss`] |
//! | Ex. 3.5, Thm 3.7, eq. 76: partial optima | [`theory::partial_optimum`] |
//! | Def. 3.9, Thm 3.10, eq. 20: absorption | [`theory::absorption`] |
//! | every claim, with its verdict | [`claims`] |
//! | Def. 2.5, eqs. 5–9, §4: the family of methods, anchoring | [`sdl`] |
//! | §5.1: recovery | [`metrics`] |
//! | Future work: alternating convex search and other optimizers | [`optim`] |
//! | Optimizers against certified optima | [`compare`] |
//! | Tables 1 and 4–7 repeated | [`results`] |
//! | App. C: the Linear Representation Bench | [`bench`](mod@bench) |
//!
//! Training runs in [`train`] on a [`backend`]. Exact arithmetic for the producer of certificates is in [`exact`]; the checker is the package `sdlab-verify`.

// Single-letter matrices are the paper's own names.
#![allow(non_snake_case)]

pub mod backend;
pub mod bench;
pub mod claims;
pub mod cli;
pub mod compare;
pub mod exact;
mod fault;
pub mod io;
pub mod metrics;
pub mod optim;
pub mod report;
pub mod results;
pub mod sdl;
pub mod stats;
pub mod theory;
pub mod train;
