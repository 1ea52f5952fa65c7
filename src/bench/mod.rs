//! The Linear Representation Bench (§5.1, App. C): synthetic representations whose ground-truth features are known.
//!
//! | part | equations | module |
//! |---|---|---|
//! | feature matrices with bounded interference | 26–28 | [`features`] |
//! | sparse coefficients x | 29, 30 | [`coefficients`] |
//! | their statistics in closed form: M_d, Pr(‖x‖₀ = m) | 11, 30 | [`law`] |
//! | random numbers that any device can draw | | [`philox`] |
//! | parameters with their defaults (Table 3) | | [`config`] |
//! | what is wrong with a TOML table, on one line | | [`configuration`] |
//! | data: x_p = W_p x and x_r = W_r x for autoencoders, transcoders, crosscoders | 31 | [`dataset`] |
//! | what a generated bench looks like, as tables and a figure | | [`describe`] |

pub mod coefficients;
pub mod config;
pub mod configuration;
pub mod dataset;
pub mod describe;
pub mod features;
pub mod law;
pub mod philox;
