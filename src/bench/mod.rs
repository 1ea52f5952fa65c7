//! The Linear Representation Bench (App. C): feature matrices.

pub mod features;
