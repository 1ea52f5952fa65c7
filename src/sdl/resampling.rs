//! Dead latents, and ways to bring them back.
