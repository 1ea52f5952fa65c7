//! How far an f32 backend may be from the f64 reference, by the standard model of rounding: every operation has a relative error of at most
//! u = 2^-24 and, where it underflows, an absolute one of 2^-149; a sum of n terms in any order has n·u·Σ|terms|. Sizes are the largest of a batch,
//! so that one bound serves a whole block of parameters.

use super::super::reference::{Batch, Codes, Params};
use super::super::{Spec, reference::forward};
use crate::sdl::{Activation, Parameter};

/// Unit roundoff of f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;
/// The least positive f32.
pub const TINY: f64 = 1.5e-45;

/// A number of at most this size that is computed with at most this error.
#[derive(Debug, Clone, Copy)]
pub struct Rough {
    /// Bound on the exact number.
    pub size: f64,
    /// Bound on |computed − exact|.
    pub error: f64,
}

impl Rough {
    fn exact(size: f64) -> Self {
        Self { size, error: 0.0 }
    }

    fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        Self::exact(numbers.into_iter().fold(0.0, |a, b| f64::max(a, b.abs())))
    }

    fn rounded(self) -> Self {
        Self { error: self.error + U * (self.size + self.error) + TINY, ..self }
    }

    fn times(self, other: Self) -> Self {
        let error = self.size * other.error + other.size * self.error + self.error * other.error;
        Self { size: self.size * other.size, error }.rounded()
    }

    fn plus(self, other: Self) -> Self {
        Self { size: self.size + other.size, error: self.error + other.error }.rounded()
    }

    /// The sum of n such terms.
    fn sum(self, n: usize) -> Self {
        let n = n as f64;
        let size = n * self.size;
        Self { size, error: n * self.error + n * U * (size + n * self.error) + n * TINY }
    }

    /// The same error, when the exact number is known to be smaller.
    fn at_most(self, size: f64) -> Self {
        Self { size: self.size.min(size), ..self }
    }
}

/// Bounds for one batch.
#[derive(Debug)]
pub struct Bounds {
    /// |computed − exact| for a coordinate of x̂_r.
    pub reconstruction: f64,
    /// Each part's E‖e‖².
    pub mse: f64,
    /// L1 and L0.
    pub penalty: f64,
    /// AuxK and the gates' reconstruction.
    pub aux: f64,
    /// Anchoring.
    pub anchor: f64,
    gradients: [f64; 9],
}

impl Bounds {
    /// For a derivative by a number of this block.
    pub fn gradient(&self, parameter: Parameter) -> f64 {
        self.gradients[parameter as usize]
    }

    /// After the reference has gone through the batch.
    pub fn new(spec: &Spec, params: &Params, batch: &Batch, codes: &Codes) -> Self {
        let tensors = &params.tensors;
        let (shape, objective) = (spec.shape, &spec.objective);
        let rows = codes.rows.len();
        let block = |p: Parameter| Rough::of(tensors.get(p).into_iter().flatten().copied());
        let (W, V) = (block(Parameter::Encoder), block(Parameter::Decoder));
        let weight = Rough::of(batch.weights.iter().copied()).rounded();
        let weight_sum: f64 = batch.weights.iter().map(|w| w.abs()).sum();
        let x_p = Rough::of(batch.inputs.iter().map(|x| f64::from(*x)));
        let x_r = Rough::of(batch.targets.iter().map(|x| f64::from(*x)));
        let count = codes.rows.iter().map(|row| row.selected.len() + row.auxiliary.len()).max().unwrap_or(0);

        let x = x_p.plus(block(Parameter::InputBias));
        let s = W.times(x).sum(shape.n_p);
        let pi = s.plus(block(Parameter::EncoderBias));
        let scale = Rough::of(tensors.get(Parameter::GateScale).into_iter().flatten().map(|r| r.exp())).rounded();
        let is_gated = params.activation == Activation::Gated;
        let z = if is_gated { scale.times(s).plus(block(Parameter::MagnitudeBias)) } else { pi };
        let z = z.at_most(codes.rows.iter().flat_map(|row| &row.selected).map(|c| c.z.abs()).fold(0.0, f64::max));

        let linear = block(Parameter::DecoderBias).plus(block(Parameter::Skip).times(x_p).sum(shape.n_p));
        let largest = |residuals: &mut dyn Iterator<Item = &f64>| residuals.fold(0.0, |a: f64, b| a.max(b.abs()));
        let residual = z.times(V).sum(count).plus(linear).plus(x_r);
        let reconstruction = residual.rounded().error;
        let residual = residual.at_most(largest(&mut codes.rows.iter().flat_map(|row| &row.residuals).flatten()));
        let gates = pi.times(V).sum(count).plus(linear).plus(x_r);
        let gates = gates.at_most(largest(&mut codes.rows.iter().flat_map(|row| &row.gates)));
        let missing = pi.times(V).sum(count).plus(residual.plus(x_r));
        let missing = missing.at_most(largest(&mut codes.rows.iter().flat_map(|row| &row.missing)));

        let norm = if objective.l1_by_decoder_norm { V.times(V).sum(shape.n_r).size.sqrt() } else { 1.0 };
        // ‖v‖ from a sum of n_r squares, and its root.
        let norm = Rough { size: norm, error: norm * U * (shape.n_r as f64 + 2.0) };
        let parts = objective.scales.weights();
        let part_sum: f64 = parts.iter().sum();
        let penalty = weight.times(Rough::exact(objective.l1)).times(norm);
        let upstream =
            residual.times(weight).times(Rough::exact(2.0 * part_sum)).sum(parts.len()).at_most_of(parts.len());
        let by_code = V.times(upstream).sum(shape.n_r).plus(penalty);
        let by_gate = V.times(gates).times(weight).times(Rough::exact(2.0)).sum(shape.n_r).plus(penalty);
        let aux_weight = Rough::exact(2.0 * objective.aux.map_or(0.0, |aux| aux.weight));
        let by_aux = V.times(missing).times(weight).times(aux_weight).sum(shape.n_r);
        let mut by_score = by_code.plus(by_aux);
        if is_gated {
            by_score = by_code.times(scale).plus(by_gate).plus(by_aux);
        }

        // v/‖v‖ is at most 1.
        let along_column = penalty.times(z.plus(pi));
        let mut of_column = z.times(upstream).plus(along_column);
        if objective.aux.is_some() {
            of_column = of_column.plus(pi.times(missing).times(weight).times(aux_weight));
        }
        let mut gradients = [0.0; 9];
        let mut set = |p: Parameter, bound: Rough| gradients[p as usize] = bound.rounded().error;
        let anchoring = |p: Parameter, known: &[f32]| {
            let known = Rough::of(known.iter().map(|x| f64::from(*x)));
            block(p).plus(known).times(Rough::exact(2.0 * spec.anchors.weight))
        };
        set(Parameter::Encoder, by_score.times(x).sum(rows).plus(anchoring(Parameter::Encoder, &spec.anchors.inputs)));
        set(Parameter::Decoder, of_column.sum(rows).plus(anchoring(Parameter::Decoder, &spec.anchors.targets)));
        set(Parameter::EncoderBias, by_score.plus(by_gate).sum(rows));
        set(Parameter::DecoderBias, upstream.sum(rows));
        set(Parameter::InputBias, by_score.times(W).sum(rows * count));
        set(Parameter::Skip, upstream.times(x_p).sum(rows));
        set(Parameter::GateScale, by_code.times(scale).times(s).sum(rows));
        set(Parameter::MagnitudeBias, by_code.sum(rows));
        if let Activation::JumpRelu { bandwidth, .. } = params.activation {
            let theta =
                Rough::of(tensors.get(Parameter::LogThreshold).into_iter().flatten().map(|t| t.exp())).rounded();
            let kernel = Rough::exact(1.0 / bandwidth).rounded();
            let l0 = weight.times(Rough::exact(objective.l0)).rounded();
            set(Parameter::LogThreshold, theta.times(by_code).plus(l0).times(theta).times(kernel).sum(rows));
        }

        let square = |e: Rough| e.times(e).sum(shape.n_r).rounded();
        let mean = |e: Rough, factor: f64| factor * weight_sum * (e.error + (rows as f64 + 3.0) * U * e.size) + TINY;
        let penalty = z.plus(pi).times(norm).sum(count).times(Rough::exact(objective.l1));
        let penalty = penalty.plus(Rough::exact(objective.l0 * count as f64));
        let aux = mean(square(missing), objective.aux.map_or(0.0, |aux| aux.weight));
        let anchor = forward::anchoring(spec, params);
        Self {
            reconstruction,
            mse: mean(square(residual), 1.0),
            penalty: mean(penalty, 1.0),
            aux: aux + if is_gated { mean(square(gates), 1.0) } else { 0.0 },
            anchor: anchor * U * (spec.anchors.len() * (shape.n_p + shape.n_r) + 4) as f64,
            gradients,
        }
    }
}

impl Rough {
    /// Undoes the counting of sizes by a sum whose weights were summed before; its rounding stays.
    fn at_most_of(self, n: usize) -> Self {
        Self { size: self.size / n as f64, error: self.error }
    }
}
