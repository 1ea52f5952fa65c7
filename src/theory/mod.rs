//! The exact side: problems, activations, losses, patterns, regions, partial optima.

pub mod activation;
pub mod exact_loss;
pub mod families;
pub mod loss;
pub mod pattern;
pub mod point;
pub mod problem;
