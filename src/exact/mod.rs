//! Exact arithmetic for the producer of certificates: rationals, linear algebra, linear programs, polynomials, algebraic numbers.
//!
//! This is separate code from the checker's arithmetic in `sdlab-verify` on purpose, so that the two cannot share a bug.

pub mod algebraic;
mod charpoly;
pub mod definite;
pub mod domain;
mod elimination;
pub mod field;
mod integer_poly;
mod interior;
pub mod lp;
pub mod matrix;
mod modular;
pub mod order;
pub mod poly;
mod proposal;
pub mod rational;
mod root_sum;
mod roots;
mod simplex;

pub use rational::Rational;
