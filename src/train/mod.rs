//! Training: configuration, loop, checkpoints.
