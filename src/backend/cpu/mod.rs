//! Training on the CPU, in f32.
