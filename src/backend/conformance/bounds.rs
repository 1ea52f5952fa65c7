//! How far an f32 backend may be from the f64 reference, by the standard model of rounding: every operation has a relative error of at most
//! u = 2^-24 and, where it underflows, an absolute one of 2^-149; a sum of n terms in any order has n·u·Σ|terms|, and a scalar product at most
//! n·u·‖a‖‖b‖. Sizes are the largest of a batch, so that one bound serves a whole block of parameters.

use super::super::reference::{Batch, Codes, Params, Row};
use super::super::{Gather, Spec, reference::forward};
use crate::sdl::{Activation, Parameter};

/// Unit roundoff of f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;
/// The least positive f32.
pub const TINY: f64 = 1.5e-45;

/// Unit roundoff of bf16.
const HALF_U: f64 = 1.0 / 256.0;
/// Half of the least positive bf16, 2^-134.
const HALF_TINY: f64 = 4.6e-41;

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

    /// Stored as rows that are gathered.
    fn gathered(self, gather: Gather) -> Self {
        match gather {
            Gather::F32 => self,
            Gather::Bf16 => Self { error: self.error + HALF_U * (self.size + self.error) + HALF_TINY, ..self },
        }
    }

    /// n more roundings.
    fn rounded_more(self, n: usize) -> Self {
        (0..n).fold(self, |a, _| a.rounded())
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

    /// ⟨a, b⟩ of vectors of n such numbers, with these bounds on their norms.
    fn inner(a: Self, norm_a: f64, b: Self, norm_b: f64, n: usize) -> Self {
        let n = n as f64;
        let size = norm_a * norm_b;
        let carried = n.sqrt() * (norm_a * b.error + norm_b * a.error) + n * a.error * b.error;
        Self { size, error: carried + (n + 1.0) * U * (size + carried) + n * TINY }
    }

    /// The same error, when the exact number is known to be smaller.
    fn at_most(self, size: f64) -> Self {
        Self { size: self.size.min(size), ..self }
    }
}

/// The largest norm of these vectors.
fn norm<'a>(vectors: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    vectors.into_iter().map(|v| v.iter().map(|x| x * x).sum::<f64>().sqrt()).fold(0.0, f64::max)
}

fn largest<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> f64 {
    numbers.into_iter().fold(0.0, |a, b| f64::max(a, b.abs()))
}

/// Bounds for one batch.
#[derive(Debug)]
pub struct Bounds {
    /// |computed − exact| for a code.
    pub code: f64,
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
        let plus_block = |a: Rough, p: Parameter| if tensors.get(p).is_some() { a.plus(block(p)) } else { a };
        let row_norm = |p: Parameter| norm(tensors.get(p).unwrap_or(&[]).chunks(p.size(shape).1));
        let (W, V) = (block(Parameter::Encoder), block(Parameter::Decoder));
        let (norm_W, norm_V) = (row_norm(Parameter::Encoder), row_norm(Parameter::Decoder));
        let weight = Rough::of(batch.weights.iter().copied()).rounded();
        let weight_sum: f64 = batch.weights.iter().map(|w| w.abs()).sum();
        let x_p = Rough::of(batch.inputs.iter().map(|x| f64::from(*x)));
        let x_r = Rough::of(batch.targets.iter().map(|x| f64::from(*x)));
        let most = |f: fn(&Row) -> usize| codes.rows.iter().map(f).max().unwrap_or(0);
        let (count, count_aux) = (most(|row| row.selected.len()), most(|row| row.auxiliary.len()));

        let x = plus_block(x_p, Parameter::InputBias);
        let s = Rough::inner(W, norm_W, x, norm(codes.rows.iter().map(|row| row.input.as_slice())), shape.n_p);
        let pi = plus_block(s, Parameter::EncoderBias).at_most(largest(codes.rows.iter().flat_map(|row| &row.pi)));
        let scale = Rough::of(tensors.get(Parameter::GateScale).into_iter().flatten().map(|r| r.exp())).rounded();
        let is_gated = params.activation == Activation::Gated;
        let z = if is_gated { scale.times(s).plus(block(Parameter::MagnitudeBias)) } else { pi };
        let code = z.error;
        let z = z.at_most(codes.rows.iter().flat_map(|row| &row.selected).map(|c| c.z.abs()).fold(0.0, f64::max));

        let skip = Rough::inner(
            block(Parameter::Skip),
            row_norm(Parameter::Skip),
            x_p,
            norm_of_inputs(batch, shape.n_p),
            shape.n_p,
        );
        let linear = block(Parameter::DecoderBias).plus(skip);
        let columns = V.gathered(spec.gather);
        let residual = z.times(columns).sum(count).plus(linear).plus(x_r);
        let reconstruction = residual.rounded().error;
        let residual = residual.at_most(largest(codes.rows.iter().flat_map(|row| &row.residuals).flatten()));
        let gates = pi.times(columns).sum(count).plus(linear).plus(x_r);
        let gates = gates.at_most(largest(codes.rows.iter().flat_map(|row| &row.gates)));
        let missing = pi.times(columns).sum(count_aux).plus(residual.plus(x_r));
        let missing = missing.at_most(largest(codes.rows.iter().flat_map(|row| &row.missing)));
        let (norm_gates, norm_missing) = (
            norm(codes.rows.iter().map(|row| row.gates.as_slice())),
            norm(codes.rows.iter().map(|row| row.missing.as_slice())),
        );

        // ‖v‖ from a sum of n_r squares, and its root.
        let factor = if objective.l1_by_decoder_norm { norm_V } else { 1.0 };
        let factor = Rough { size: factor, error: factor * U * (shape.n_r as f64 + 2.0) };
        let parts = objective.scales.weights();
        let part_sum: f64 = parts.iter().sum();
        let penalty = weight.times(Rough::exact(objective.l1)).times(factor);
        let twice = weight.times(Rough::exact(2.0));
        let upstream = residual.times(twice).times(Rough::exact(part_sum)).rounded_more(parts.len());
        let norm_upstream =
            part_sum * twice.size * norm(codes.rows.iter().flat_map(|row| &row.residuals).map(Vec::as_slice));
        let along = |rows: Rough, norm: f64| Rough::inner(V, norm_V, rows, norm, shape.n_r);
        let by_code = along(upstream.gathered(spec.gather), norm_upstream).plus(penalty);
        // These derivatives are gathered with their factors.
        let [gates_gathered, missing_gathered] = [gates, missing].map(|rows| rows.gathered(spec.gather));
        let by_gate = along(gates_gathered, norm_gates).times(twice).plus(penalty);
        let aux_weight = Rough::exact(objective.aux.map_or(0.0, |aux| aux.weight));
        let by_aux = along(missing_gathered, norm_missing).times(twice).times(aux_weight);
        let mut by_score = by_code.plus(by_aux);
        if is_gated {
            by_score = by_code.times(scale).plus(by_gate).plus(by_aux);
        }

        // v/‖v‖ is at most 1.
        let along_column = penalty.times(z.plus(pi));
        let mut of_column = z.times(upstream.gathered(spec.gather)).plus(along_column);
        if objective.aux.is_some() {
            of_column = of_column.plus(pi.times(missing_gathered).times(twice).times(aux_weight));
        }
        let mut gradients = [0.0; 9];
        let mut set = |p: Parameter, bound: Rough| gradients[p as usize] = bound.rounded().error;
        let anchoring = |p: Parameter, known: &[f32]| {
            let known = Rough::of(known.iter().map(|x| f64::from(*x)));
            block(p).plus(known).times(Rough::exact(2.0 * spec.anchors.weight))
        };
        let inputs = x.gathered(spec.gather);
        set(
            Parameter::Encoder,
            by_score.times(inputs).sum(rows).plus(anchoring(Parameter::Encoder, &spec.anchors.inputs)),
        );
        set(Parameter::Decoder, of_column.sum(rows).plus(anchoring(Parameter::Decoder, &spec.anchors.targets)));
        set(Parameter::EncoderBias, by_score.plus(by_gate).sum(rows));
        set(Parameter::DecoderBias, upstream.sum(rows));
        set(Parameter::InputBias, by_score.times(W).sum(rows * (count + count_aux)));
        set(Parameter::Skip, upstream.times(x_p).sum(rows));
        set(Parameter::GateScale, by_code.times(scale).times(s).sum(rows));
        set(Parameter::MagnitudeBias, by_code.sum(rows));
        if let Activation::JumpRelu { bandwidth, .. } = params.activation {
            let theta =
                Rough::of(tensors.get(Parameter::LogThreshold).into_iter().flatten().map(|t| t.exp())).rounded();
            let kernel = Rough::exact(1.0 / bandwidth).rounded();
            let l0 = weight.times(Rough::exact(objective.l0)).rounded();
            let by_code = along(upstream, norm_upstream).plus(penalty);
            set(Parameter::LogThreshold, theta.times(by_code).plus(l0).times(theta).times(kernel).sum(rows));
        }

        let square = |e: Rough| e.times(e).sum(shape.n_r).rounded();
        let mean = |e: Rough, factor: f64| factor * weight_sum * (e.error + (rows as f64 + 3.0) * U * e.size) + TINY;
        let penalty = z.plus(pi).times(factor).sum(count).times(Rough::exact(objective.l1));
        let penalty = penalty.plus(Rough::exact(objective.l0 * count as f64));
        let aux = mean(square(missing), objective.aux.map_or(0.0, |aux| aux.weight));
        let anchor = forward::anchoring(spec, params);
        Self {
            code,
            reconstruction,
            mse: mean(square(residual), 1.0),
            penalty: mean(penalty, 1.0),
            aux: aux + if is_gated { mean(square(gates), 1.0) } else { 0.0 },
            anchor: anchor * U * (spec.anchors.len() * (shape.n_p + shape.n_r) + 4) as f64,
            gradients,
        }
    }
}

/// The largest norm of an input.
fn norm_of_inputs(batch: &Batch, n_p: usize) -> f64 {
    let inputs: Vec<f64> = batch.inputs.iter().map(|x| f64::from(*x)).collect();
    norm(inputs.chunks(n_p))
}
