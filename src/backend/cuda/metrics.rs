//! How well latents have found known directions, computed on the device.

use super::{Cuda, Device, Params};
use crate::sdl::Parameter;

/// Latents that one block compares.
const GROUP: usize = 1024;
/// Features that one block compares, as in `metrics.cu`.
const COMPARED: usize = 8;

/// The latent that is most similar to a known direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// ⟨w_i, p_d⟩/(‖w_i‖ ‖p_d‖), or its absolute value; −1 where no latent has a number.
    pub cosine: f32,
    /// i, the lowest one among equals; n_q where no latent has a number.
    pub latent: u32,
}

/// Which directions of latents are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directions {
    /// Rows of W_E.
    Encoder,
    /// Columns of W_D.
    Decoder,
}

impl<D: Device> Cuda<D> {
    /// For each known direction, rows of norm 1 in `truth`, the latent with the greatest cosine, or the greatest absolute one. Memory does not grow
    /// with n·n_q: 8 n ⌈n_q/1024⌉ bytes. Nothing after a [failure](crate::backend::Backend::failure).
    pub fn best_matches(&self, params: &Params<D>, of: Directions, truth: &[f32], absolute: bool) -> Vec<Match> {
        let shape = self.spec.shape;
        let (parameter, width) = match of {
            Directions::Encoder => (Parameter::Encoder, shape.n_p),
            Directions::Decoder => (Parameter::Decoder, shape.n_r),
        };
        let (device, n_q) = (&self.device, shape.n_q);
        let n = truth.len() / width.max(1);
        let groups = n_q.div_ceil(GROUP);
        let truth = device.array(truth);
        let (cosines, latents) = (device.zeros::<f32>(groups * n), device.zeros::<u32>(groups * n));
        let arguments = [
            params.block(parameter).of(n_q * width),
            truth.of(n * width),
            absolute.into(),
            (GROUP as u32).into(),
            (n as u32).into(),
            (n_q as u32).into(),
            (width as u32).into(),
            cosines.all(),
            latents.all(),
        ];
        device.launch("best_match", [n.div_ceil(COMPARED) as u32, groups as u32, 1], arguments);
        let arguments = [(groups as u32).into(), (n as u32).into(), cosines.all(), latents.all()];
        device.launch("best_of_groups", [device.blocks(n), 1, 1], arguments);
        let (cosines, latents) = (device.download(&cosines, n), device.download(&latents, n));
        if device.failure().is_some() {
            return Vec::new();
        }
        cosines.into_iter().zip(latents).map(|(cosine, latent)| Match { cosine, latent }).collect()
    }
}
