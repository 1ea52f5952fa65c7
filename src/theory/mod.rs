//! The exact side: problems, activations, losses, patterns, regions, partial optima.

pub mod absorption;
pub mod activation;
pub mod certificate;
pub mod certificate_body;
pub mod exact_loss;
pub mod families;
pub mod loss;
pub mod partial_optimum;
pub mod pattern;
pub mod point;
pub mod problem;
pub mod region;
pub mod zero_loss;
