//! Resampling by the exact decrease. A latent with encoder row w that was silent, and the best decoder column for it, lower the loss of a set of samples
//! with weights M_b by exactly
//!
//! ```text
//!     ‖q(w)‖² / Σ_b M_b z_b²,     z_b = σ(⟨w, x'_b⟩),     q = Σ_b M_b z_b e_b,     e_b = x_r − x̂_r,     v = q / Σ_b M_b z_b²
//! ```
//!
//! while the others stay as they are. Where a top-k makes room for the new latent, the last one selected, j, leaves: then e_b + z_bj v_j stands for
//! e_b, and Σ_b M_b (‖e_b‖² − ‖e_b + z_bj v_j‖²) over these samples is added. BatchTopK counts as its threshold of inference.
//!
//! The maximum over w is looked for among inputs of badly reconstructed samples (and their residuals where x_p and x_r are of one space), from the best of
//! which a line search climbs along the gradient 2 Σ_b M_b ⟨v, e_b − z_b v⟩ x'_b; so it is a local maximum at best. Latents are placed one after the
//! other, each with the earlier ones in place. With a unit decoder the length of v is moved to w; where that changes what is selected, the decrease
//! is that of the pair as it ends up. What goes over all samples is left to [`Passes`].

use super::bricken::Lottery;
use super::passes::{Of, Passes, Tables};
use super::{Constraints, Elsewhere, Moved, Samples, log_threshold, mean_norm_of_living_rows};
use crate::backend::score;
use crate::bench::features::stream;
use crate::sdl::activation::Activation;
use crate::sdl::model::{Model, Parameter};
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use serde::Serialize;

/// Samples whose directions are tried for a latent.
const CANDIDATES: usize = 16;
/// Steps of the climb.
const CLIMB: usize = 12;

/// One sample.
struct Row {
    weight: f64,
    /// x' = x_p − b_p, as the backends round it.
    rounded: Vec<f32>,
    missing: Vec<f64>,
    codes: Vec<(u32, f64)>,
    /// What z must exceed to be selected.
    entry: f64,
    /// The latent that would leave, and the weighted loss that this costs.
    leaving: Option<(u32, f64)>,
    cost: f64,
}

/// The latents of the model and those that were placed here, with their columns.
struct Latents<'a> {
    model: &'a Model,
    placed: Vec<(u32, Vec<f64>)>,
}

/// The samples with all latents that are in place.
struct Fit<'a> {
    latents: Latents<'a>,
    rows: Vec<Row>,
    passes: Box<dyn Passes + 'a>,
}

/// What a row is worth, with its z of every sample.
struct Worth {
    z: Vec<f64>,
    column: Vec<f64>,
    decrease: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn round(a: &[f64]) -> Vec<f32> {
    a.iter().map(|x| *x as f32).collect()
}

/// A latent that could be added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Addition {
    /// Its encoder row, n_p numbers.
    pub row: Vec<f64>,
    /// The best decoder column for it, n_r numbers.
    pub column: Vec<f64>,
    /// By how much it lowers Σ_b w_b ‖x_r − x̂_r‖² over the samples.
    pub decrease: f64,
}

/// The best latent that could stand beside those of the model, as resampling looks for it; its row has the mean length of the rows of latents that are not
/// `dead`. None if nothing is missing. The same for the same seed.
///
/// # Panics
/// If the samples are not rows of the model's sizes.
pub fn best_addition(model: &Model, samples: &Samples<'_>, dead: &[usize], seed: u64) -> Option<Addition> {
    samples.check(model);
    let fit = Fit::new(model, samples, &|_| None);
    let row = fit.best_row(mean_norm_of_living_rows(model, dead), &mut stream(seed, "best addition"))?;
    fit.worth(&row).map(|Worth { column, decrease, .. }| Addition { row, column, decrease })
}

pub(super) fn replace(
    model: &mut Model,
    samples: &Samples<'_>,
    dead: &[usize],
    constraints: Constraints<'_>,
    elsewhere: Elsewhere<'_, '_>,
    rng: &mut ChaCha20Rng,
) -> Vec<Moved> {
    let length = mean_norm_of_living_rows(model, dead);
    let mut moved = Vec::new();
    let mut changes = Vec::new();
    let mut fit = Fit::new(model, samples, elsewhere);
    for &i in dead {
        let Some(row) = fit.best_row(length, rng) else { break };
        let Some(column) = fit.worth(&row).map(|worth| worth.column) else { continue };
        let (row, column) = if constraints.unit_decoder { balanced(&row, &column) } else { (row, column) };
        let (row, column) = (round(&row), round(&column));
        let Some(decrease) = fit.place(i as u32, &row, &column) else { continue };
        changes.push((i, row, column));
        moved.push(Moved { latent: i as u32, decrease: Some(decrease) });
    }
    drop(fit);
    for (i, row, column) in changes {
        model.tensors.row_mut(Parameter::Encoder, i).copy_from_slice(&row);
        model.tensors.row_mut(Parameter::Decoder, i).copy_from_slice(&column);
    }
    moved
}

/// The same product with ‖v‖ = 1.
fn balanced(row: &[f64], column: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let norm = dot(column, column).sqrt();
    if norm == 0.0 {
        return (row.to_vec(), column.to_vec());
    }
    (row.iter().map(|w| w * norm).collect(), column.iter().map(|v| v / norm).collect())
}

impl Latents<'_> {
    /// What z must exceed to be selected, and the latent that would leave.
    fn entry(&self, row: &Row) -> (f64, Option<(u32, f64)>) {
        let last = || row.codes.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let full = |k: usize| row.codes.len() >= k.min(self.model.shape().n_q);
        match self.model.activation {
            Activation::Relu | Activation::Gated => (0.0, None),
            Activation::JumpRelu { .. } => (f64::from(score::exp(log_threshold(self.model.activation))), None),
            Activation::BatchTopK { .. } => (f64::from(self.model.threshold.unwrap_or(0.0)), None),
            Activation::TopK { k } if full(k) => (last().map_or(0.0, |(_, z)| z), last()),
            Activation::TopK { .. } => (f64::NEG_INFINITY, None),
            Activation::TopKRelu { k } if full(k) => (last().map_or(0.0, |(_, z)| z), last()),
            Activation::TopKRelu { .. } => (0.0, None),
        }
    }

    fn column(&self, latent: u32) -> Vec<f64> {
        let placed = self.placed.iter().rev().find(|(i, _)| *i == latent).map(|(_, column)| column.clone());
        placed.unwrap_or_else(|| self.model.w_d(latent as usize).iter().map(|v| f64::from(*v)).collect())
    }

    /// e_b once the latent that leaves has left.
    fn without(&self, row: &Row) -> Vec<f64> {
        let mut missing = row.missing.clone();
        if let Some((j, z)) = row.leaving {
            missing.iter_mut().zip(self.column(j)).for_each(|(e, v)| *e += z * v);
        }
        missing
    }

    /// Brings up to date what follows from the codes of a sample and from what is missing there, and returns [`Latents::without`].
    fn settle(&self, row: &mut Row) -> Vec<f64> {
        (row.entry, row.leaving) = self.entry(row);
        let missing = self.without(row);
        row.cost = row.weight * (dot(&missing, &missing) - dot(&row.missing, &row.missing));
        missing
    }
}

impl<'a> Fit<'a> {
    fn new<'b: 'a>(model: &'a Model, samples: &Samples<'_>, elsewhere: Elsewhere<'_, 'b>) -> Self {
        let shape = model.shape();
        let row = |b: usize| {
            let x = &samples.inputs[b * shape.n_p..(b + 1) * shape.n_p];
            let rounded: Vec<f32> = match model.tensors.get(Parameter::InputBias) {
                Some(bias) => x.iter().zip(bias).map(|(x, b)| x - b).collect(),
                None => x.to_vec(),
            };
            let range = samples.codes.offsets[b]..samples.codes.offsets[b + 1];
            let codes = samples.codes.latents[range.clone()].iter().zip(&samples.codes.values[range]);
            Row {
                weight: samples.weight(b),
                rounded,
                missing: samples.missing(b),
                codes: codes.map(|(i, z)| (*i, f64::from(*z))).collect(),
                entry: 0.0,
                leaving: None,
                cost: 0.0,
            }
        };
        let is_number =
            |row: &Row| row.rounded.iter().all(|x| x.is_finite()) && row.missing.iter().all(|x| x.is_finite());
        let mut rows: Vec<Row> = (0..samples.rows()).map(row).filter(is_number).collect();
        let latents = Latents { model, placed: Vec::new() };
        let tables = Tables {
            rows: rows.len(),
            widths: [shape.n_p, shape.n_r],
            inputs: rows.iter().flat_map(|row| &row.rounded).map(|x| f64::from(*x)).collect(),
            missing: rows.iter_mut().flat_map(|row| latents.settle(row)).collect(),
        };
        let passes: Box<dyn Passes + 'a> = match elsewhere(&tables) {
            Some(passes) => passes,
            None => Box::new(tables),
        };
        Self { latents, rows, passes }
    }

    /// Samples on which a latent with these z is selected.
    fn selected<'z>(&'z self, z: &'z [f64]) -> impl Iterator<Item = (usize, &'z Row, f64)> {
        self.rows.iter().zip(z).enumerate().filter(|(_, (row, z))| **z > row.entry).map(|(b, (row, z))| (b, row, *z))
    }

    /// The best column for each row, and what the pair gains. None if a row is silent.
    fn worths(&self, candidates: &[Vec<f64>]) -> Vec<Option<Worth>> {
        let all = self.passes.products(Of::Inputs, candidates);
        let mass = |z: &[f64]| self.selected(z).map(|(_, row, z)| row.weight * z * z).sum::<f64>();
        let masses: Vec<f64> = all.iter().map(|z| mass(z)).collect();
        let factors: Vec<Vec<f64>> = all
            .iter()
            .zip(&masses)
            .map(|(z, mass)| {
                let mut factors = vec![0.0; self.rows.len()];
                self.selected(z).for_each(|(b, row, z)| factors[b] = row.weight * z / mass);
                factors
            })
            .collect();
        let columns = self.passes.sums(Of::Missing, &factors);
        let worth = |((z, mass), column): ((Vec<f64>, f64), Vec<f64>)| {
            let cost: f64 = self.selected(&z).map(|(_, row, _)| row.cost).sum();
            let decrease = mass * dot(&column, &column) - cost;
            (mass > 0.0 && mass.is_finite()).then_some(Worth { z, column, decrease })
        };
        all.into_iter().zip(masses).zip(columns).map(worth).collect()
    }

    /// The same for one row.
    fn worth(&self, w: &[f64]) -> Option<Worth> {
        self.worths(&[w.to_vec()]).pop().flatten()
    }

    /// Half the gradient of the decrease by the row that is worth this.
    fn slope(&self, Worth { z, column, .. }: &Worth) -> Vec<f64> {
        let products = self.passes.products(Of::Missing, std::slice::from_ref(column)).pop().unwrap_or_default();
        let square = dot(column, column);
        let mut factors = vec![0.0; self.rows.len()];
        self.selected(z).for_each(|(b, row, z)| factors[b] = row.weight * (products[b] - z * square));
        self.passes.sums(Of::Inputs, &[factors]).pop().unwrap_or_default()
    }

    /// A row of this length with a large decrease. None if nothing is missing.
    fn best_row(&self, length: f64, rng: &mut ChaCha20Rng) -> Option<Vec<f64>> {
        let lottery = Lottery::new(self.rows.iter().map(|row| row.weight * dot(&row.missing, &row.missing)))?;
        let drawn: Vec<usize> = (0..CANDIDATES).map(|_| lottery.draw(rng)).collect();
        let scaled = |w: &[f64]| {
            let norm = dot(w, w).sqrt();
            (norm > 0.0).then(|| w.iter().map(|x| length * x / norm).collect::<Vec<f64>>())
        };
        let shape = self.latents.model.shape();
        let directions = drawn.iter().flat_map(|&b| {
            let row = &self.rows[b];
            let input: Vec<f64> = row.rounded.iter().map(|x| f64::from(*x)).collect();
            [Some(input), (shape.n_p == shape.n_r).then(|| row.missing.clone())].into_iter().flatten()
        });
        let candidates: Vec<Vec<f64>> = directions.filter_map(|w| scaled(&w)).collect();
        let worths = self.worths(&candidates);
        // The first of equals.
        let mut best: Option<(Vec<f64>, Worth)> = None;
        for (w, worth) in candidates.into_iter().zip(worths) {
            if let Some(worth) = worth
                && best.as_ref().is_none_or(|(_, b)| worth.decrease > b.decrease)
            {
                best = Some((w, worth));
            }
        }
        let (mut w, mut worth) = best?;
        let mut stride = 0.5;
        for _ in 0..CLIMB {
            let slope = self.slope(&worth);
            let Some(slope) = scaled(&slope) else { break };
            let moved: Vec<f64> = w.iter().zip(&slope).map(|(w, s)| w + stride * s).collect();
            let Some(moved) = scaled(&moved) else { break };
            match self.worth(&moved) {
                Some(better) if better.decrease > worth.decrease => (w, worth) = (moved, better),
                _ => stride /= 2.0,
            }
        }
        Some(w)
    }

    /// Puts a latent in place if that lowers the loss, and says by how much: with the rounded numbers, and the scores that backends compute.
    fn place(&mut self, latent: u32, row: &[f32], column: &[f32]) -> Option<f64> {
        let column: Vec<f64> = column.iter().map(|v| f64::from(*v)).collect();
        let z: Vec<f64> = self.rows.par_iter().map(|sample| score::score(row, &sample.rounded).into()).collect();
        let mut decrease = 0.0;
        let mut after = Vec::new();
        for (b, sample, z) in self.selected(&z) {
            let mut missing = self.latents.without(sample);
            missing.iter_mut().zip(&column).for_each(|(e, v)| *e -= z * v);
            decrease += sample.weight * (dot(&sample.missing, &sample.missing) - dot(&missing, &missing));
            after.push((b, z, missing));
        }
        if decrease <= 0.0 || decrease.is_nan() {
            return None;
        }
        self.latents.placed.push((latent, column));
        let mut changed = Vec::with_capacity(after.len());
        for (b, z, missing) in after {
            let sample = &mut self.rows[b];
            sample.missing = missing;
            sample.codes.retain(|(i, _)| sample.leaving.is_none_or(|(j, _)| *i != j));
            sample.codes.push((latent, z));
            changed.push((b, self.latents.settle(sample)));
        }
        self.passes.replace(&changed);
        Some(decrease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::HostCodes;
    use crate::sdl::{Init, Shape};
    use rand::RngExt;
    use std::f64::consts::TAU;

    /// Samples of a plane whose targets are a number each, and nothing is reconstructed.
    fn best_and_candidates(inputs: &[[f32; 2]], targets: &[f32]) -> (f64, f64, f64) {
        let shape = Shape { n_p: 2, n_r: 1, n_q: 3 };
        let model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, 0);
        let codes = HostCodes { offsets: vec![0; inputs.len() + 1], ..HostCodes::default() };
        let reconstructions = vec![0.0; targets.len()];
        let samples = Samples {
            inputs: inputs.as_flattened(),
            targets,
            reconstructions: &reconstructions,
            codes: &codes,
            weights: None,
        };
        let fit = Fit::new(&model, &samples, &|_| None);
        let decrease = |w: &[f64]| fit.worth(w).map_or(0.0, |worth| worth.decrease);
        let row = fit.best_row(1.5, &mut stream(1, "climb")).unwrap();
        // The length that was asked for.
        assert!((dot(&row, &row).sqrt() - 1.5).abs() < 1e-12);
        let rows = inputs.iter().map(|x| decrease(&x.map(f64::from)));
        let angles = (0..3600).map(|t| TAU * f64::from(t) / 3600.0);
        let grid = angles.map(|angle| decrease(&[angle.cos(), angle.sin()]));
        (decrease(&row), rows.fold(0.0, f64::max), grid.fold(0.0, f64::max))
    }

    #[test]
    fn the_climb_goes_from_the_best_input_to_the_best_of_all_angles() {
        // Two inputs at equal angles to an axis and one target for both: a row along an input serves the other one worse, a row along the axis
        // serves both alike, and there is no other maximum.
        for apart in [20.0_f64, 30.0, 40.0] {
            for turned in [0.0_f64, 50.0, 200.0] {
                let at = |angle: f64| [angle.to_radians().cos() as f32, angle.to_radians().sin() as f32];
                let inputs = [at(turned - apart), at(turned + apart)];
                let (found, candidate, grid) = best_and_candidates(&inputs, &[1.0, 1.0]);
                assert!((grid - 1.0).abs() < 1e-6, "all of the loss: {grid}");
                assert!(candidate < grid - 0.01, "{apart} {turned}: {candidate}");
                // Twelve steps end within a fifth of a degree, of which the square counts.
                assert!(found > grid - 1e-5, "{apart} {turned}: {found} of {grid}, from {candidate}");
            }
        }
    }

    #[test]
    fn the_slope_is_half_the_derivative_of_the_decrease() {
        let shape = Shape { n_p: 4, n_r: 3, n_q: 6 };
        let mut rng = stream(3, "slope");
        let mut draw = |count: usize| (0..count).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<f32>>();
        let rows = 12;
        let (inputs, targets, reconstructions) = (draw(rows * 4), draw(rows * 3), draw(rows * 3));
        let weights: Vec<f64> = (1..=rows).map(|b| 0.01 * b as f64).collect();
        // Every sample has two latents, of which the lesser leaves where a top-k makes room.
        let codes = HostCodes {
            offsets: (0..=rows).map(|b| 2 * b).collect(),
            latents: (0..rows as u32).flat_map(|b| [b % 3, 3 + b % 2]).collect(),
            values: (0..rows).flat_map(|b| [0.02, 0.3 + 0.01 * b as f32]).collect(),
        };
        let samples = Samples {
            inputs: &inputs,
            targets: &targets,
            reconstructions: &reconstructions,
            codes: &codes,
            weights: Some(&weights),
        };
        for activation in [
            Activation::Relu,
            Activation::JumpRelu { theta: 0.05, bandwidth: 0.1 },
            Activation::TopK { k: 2 },
            Activation::TopKRelu { k: 2 },
        ] {
            let model = Init { input_bias: true, tied: false, ..Init::default() }.model(shape, activation, 5);
            let fit = Fit::new(&model, &samples, &|_| None);
            let w = [0.7, -0.4, 0.5, 0.9];
            let worth = fit.worth(&w).unwrap();
            let slope = fit.slope(&worth);
            let chosen = |w: &[f64]| {
                let z = fit.worth(w).unwrap().z;
                fit.selected(&z).map(|(b, ..)| b).collect::<Vec<_>>()
            };
            assert!((2..rows).contains(&chosen(&w).len()), "{activation:?}");
            let length = dot(&slope, &slope).sqrt();
            assert!(length > 1e-3, "{activation:?}: {length}");
            for (k, slope) in slope.iter().enumerate() {
                let step = 1e-5;
                let at = |by: f64| {
                    let mut moved = w;
                    moved[k] += by;
                    assert_eq!(chosen(&moved), chosen(&w), "no sample begins or ends to fire in between");
                    fit.worth(&moved).unwrap().decrease
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                // The third derivative times 1e-10, and 1e-16 divided by the step.
                assert!((difference - 2.0 * slope).abs() < 1e-6 * length, "{activation:?}: {difference} {slope}");
            }
        }
    }
}
