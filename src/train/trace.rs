//! Recovery of known features while training goes on, at a few of its steps: lines of `trace.jsonl`.
//!
//! Nothing here changes training: the model is looked at between two steps.

use super::check::Plan;
use super::data::Data;
use super::run::Record;
use crate::metrics::score::{Known, recovered};
use crate::metrics::similarity::Vectors;
use crate::sdl::Model;
use serde::{Deserialize, Serialize};

/// τ of the paper's M_GT.
pub const TAU: f64 = 0.9;

/// What a model has recovered on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Updates done.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// The loss of the batch that follows; after the last step, the last recorded one.
    pub loss: f64,
    /// Mean number of active latents in the same batch.
    pub l0: f64,
    /// M_GT at τ = 0.9 of rows of W_E, scaled to norm 1, all features.
    pub encoder: f64,
    /// The same of columns of W_D.
    pub decoder: f64,
}

/// Looks at models where features are known, and joins what it finds with the records of the same steps.
pub struct Trace<'a> {
    known: Option<Known<'a>>,
    log_every: u64,
    /// Step and shares of the model seen last.
    seen: Option<(u64, [f64; 2])>,
}

/// True for the steps at which recovery is looked at: of those that are recorded, number 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..
fn is_due(step: u64, log_every: u64) -> bool {
    let (number, rest) = (step / log_every, step % log_every);
    rest == 0 && (number == 0 || matches!(number >> number.trailing_zeros(), 1 | 3))
}

impl<'a> Trace<'a> {
    /// Of a training on these data. Features are known on the bench alone.
    pub fn new(data: &'a Data, plan: &Plan) -> Self {
        Self { known: data.bench().map(Known::of), log_every: plan.log_every, seen: None }
    }

    /// True if the model after so many updates is to be shown to [`Trace::look`].
    pub fn wants(&self, step: u64) -> bool {
        self.known.is_some() && is_due(step, self.log_every)
    }

    /// Looks at the model after so many updates. One that is not finite is passed over, as training itself says so.
    pub fn look(&mut self, step: u64, model: &Model) {
        let shares = self.known.as_ref().and_then(|known| recovered(model, known, TAU).ok());
        self.seen = shares.map(|shares| (step, shares));
    }

    /// The known directions, scaled to norm 1, for a backend that compares them with its own parameters.
    pub fn directions(&self) -> Option<[Vec<f32>; 2]> {
        self.known.as_ref().map(|known| [known.inputs, known.targets].map(units))
    }

    /// Looks at the best cosines of these directions after so many updates.
    pub fn compared(&mut self, step: u64, best: &[Vec<f32>; 2]) {
        let share = |best: &Vec<f32>| {
            let above = best.iter().filter(|cosine| f64::from(**cosine) > TAU).count();
            above as f64 / best.len().max(1) as f64
        };
        self.seen = Some((step, [share(&best[0]), share(&best[1])]));
    }

    /// The point of this record, if its model has been looked at.
    pub fn point(&self, record: &Record) -> Option<Point> {
        let (step, [encoder, decoder]) = self.seen.filter(|(step, _)| *step == record.step)?;
        Some(Point { step, samples: record.samples, loss: record.loss, l0: record.l0, encoder, decoder })
    }

    /// The point after the last step.
    pub fn end(&mut self, step: u64, samples: u64, model: &Model, last: Option<&Record>) -> Option<Point> {
        self.look(step, model);
        let (last, (_, [encoder, decoder])) = (last?, self.seen?);
        Some(Point { step, samples, loss: last.loss, l0: last.l0, encoder, decoder })
    }
}

/// Rows of norm 1; one without length stays as it is.
fn units(rows: Vectors<'_>) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let scale = if norm > 0.0 { 1.0 / norm } else { 1.0 };
        row.iter().map(|x| (f64::from(*x) * scale) as f32).collect::<Vec<_>>()
    };
    (0..rows.len()).flat_map(|d| unit(rows.get(d))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::{BenchConfig, Task};
    use crate::bench::dataset::{Bench, Side};
    use crate::sdl::{Activation, Init, Parameter, Shape};

    #[test]
    fn best_cosines_that_a_backend_finds_give_the_point_of_the_model() {
        let task = Task::Crosscoder { sources: 2 };
        let bench =
            Bench::generate(&BenchConfig { n: 12, n_p: 8, interference: 0.5, task, ..BenchConfig::default() }).unwrap();
        let shape = Shape { n_p: 16, n_r: 16, n_q: 9 };
        let mut model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, 1);
        for (parameter, found, scale) in [(Parameter::Encoder, 5, -3.0), (Parameter::Decoder, 2, 0.1)] {
            for i in 0..found {
                let known = bench.directions(Side::Input).column(i).iter().map(|x| scale * x).collect::<Vec<_>>();
                model.tensors.row_mut(parameter, i).copy_from_slice(&known);
            }
        }
        let mut trace = Trace { known: Some(Known::of(&bench)), log_every: 1, seen: None };
        trace.look(3, &model);
        let expected = trace.seen;
        assert_eq!(expected, Some((3, [5.0 / 12.0, 2.0 / 12.0])));
        let best = |parameter, known: &Vec<f32>| -> Vec<f32> {
            let cosine = |p: &[f32], i| {
                let row = model.tensors.row(parameter, i);
                let dot =
                    |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                (dot(row, p) / dot(row, row).sqrt()).abs() as f32
            };
            known.chunks(16).map(|p| (0..shape.n_q).map(|i| cosine(p, i)).fold(0.0, f32::max)).collect()
        };
        let [inputs, targets] = trace.directions().unwrap();
        trace.seen = None;
        trace.compared(3, &[best(Parameter::Encoder, &inputs), best(Parameter::Decoder, &targets)]);
        assert_eq!(trace.seen, expected);
    }

    #[test]
    fn steps_are_recorded_ones_and_become_rarer() {
        let due: Vec<u64> = (0..640).filter(|step| is_due(*step, 10)).collect();
        assert_eq!(due, [0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480]);
        assert_eq!((0..20).filter(|step| is_due(*step, 1)).count(), 9);
    }
}
