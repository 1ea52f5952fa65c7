//! The exact side: problems, activations, losses, patterns, regions, partial optima.

pub mod absorption;
pub mod certificate;
pub mod pattern;
pub mod point;
pub mod problem;
pub mod region;
