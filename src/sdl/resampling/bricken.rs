//! Bricken et al. 2023, "Neuron resampling": a dead latent takes the direction of a sample, drawn with probability proportional to the square of the
//! sample's loss.
//!
//! For a transcoder the sample has two directions: the column takes that of x_r, the row that of x_p. The loss of a sample is ‖x_r − x̂_r‖².

use super::{Moved, Samples, mean_norm_of_living_rows, set_row};
use crate::sdl::model::{Model, Parameter};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// Length of a new encoder row, as a share of the mean norm of living ones.
const SHARE: f64 = 0.2;

/// Sums that a uniform number in [0, 1) is looked up in.
pub(super) struct Lottery {
    sums: Vec<f64>,
}

impl Lottery {
    /// Chances, of which what is not a positive number counts as 0. None if all do.
    pub(super) fn new(chances: impl Iterator<Item = f64>) -> Option<Self> {
        let mut total = 0.0;
        let sums: Vec<f64> = chances
            .map(|chance| {
                total += if chance > 0.0 && chance.is_finite() { chance } else { 0.0 };
                total
            })
            .collect();
        (total > 0.0 && total.is_finite()).then_some(Self { sums })
    }

    /// One draw.
    pub(super) fn draw(&self, rng: &mut ChaCha20Rng) -> usize {
        let at = rng.random::<f64>() * self.sums[self.sums.len() - 1];
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1)
    }
}

/// The direction of a row in f64; None if it has none.
fn direction(row: &[f32]) -> Option<Vec<f64>> {
    let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
    let square: f64 = row.iter().map(|x| x * x).sum();
    (square > 0.0 && square.is_finite()).then_some(row)
}

pub(super) fn replace(model: &mut Model, samples: &Samples<'_>, dead: &[usize], rng: &mut ChaCha20Rng) -> Vec<Moved> {
    let shape = model.shape();
    let sides = |b: usize| {
        let input = direction(&samples.inputs[b * shape.n_p..(b + 1) * shape.n_p])?;
        let target = direction(&samples.targets[b * shape.n_r..(b + 1) * shape.n_r])?;
        Some((input, target))
    };
    let chance = |b: usize| {
        let loss: f64 = samples.missing(b).iter().map(|e| e * e).sum();
        if sides(b).is_some() { samples.weight(b) * loss * loss } else { 0.0 }
    };
    let Some(lottery) = Lottery::new((0..samples.rows()).map(chance)) else { return Vec::new() };
    let length = SHARE * mean_norm_of_living_rows(model, dead);
    let mut moved = Vec::with_capacity(dead.len());
    for &i in dead {
        let Some((input, target)) = sides(lottery.draw(rng)) else { continue };
        set_row(model, Parameter::Encoder, i, &input, length);
        set_row(model, Parameter::Decoder, i, &target, 1.0);
        moved.push(Moved { latent: i as u32, decrease: None });
    }
    moved
}
