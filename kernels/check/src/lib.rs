//! The modules of sdlab that the CUDA backend needs, and [`shim`], a device that runs the kernels on the processor.

// Single-letter matrices are the paper's own names.
#![allow(non_snake_case)]

#[path = "../../../src/backend/mod.rs"]
pub mod backend;
#[path = "../../../src/bench/mod.rs"]
pub mod bench;
#[path = "../../../src/sdl/mod.rs"]
pub mod sdl;
pub mod shim;
#[path = "../../../src/stats/mod.rs"]
pub mod stats;
