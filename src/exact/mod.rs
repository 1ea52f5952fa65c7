//! Exact arithmetic for the producer of certificates: rationals, linear algebra, linear programs, polynomials, algebraic numbers.
//!
//! This is separate code from the checker's arithmetic in `sdlab-verify` on purpose, so that the two cannot share a bug.

mod definite;
pub mod domain;
mod elimination;
pub mod field;
pub mod matrix;
pub mod rational;

pub use rational::Rational;
