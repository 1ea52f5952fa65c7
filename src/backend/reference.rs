//! The reference: f64, dense, plain loops.
