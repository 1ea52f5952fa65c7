//! What lives on the host between the operations: parameters, moments, samples, gradients.

use super::backward::{Scratch, Sums};
use super::integer::{LONGEST, Packed};
use super::screen::{HUGE, norm_above};
use super::shared;
use super::simd::Isa;
use crate::backend::{HostOptState, Rule, Spec, WarmUp};
use crate::sdl::{Model, Parameter, Shape, Tensors};
use rayon::prelude::*;

/// Latents whose rows one task works on.
pub const CHUNK: usize = 16;

/// Weights and biases.
#[derive(Debug, Clone)]
pub struct Params {
    pub(super) model: Model,
    /// Upper bounds of ‖w_i‖ for the screen, infinite where a latent must not be discarded.
    pub(super) norms: Vec<f32>,
    /// W_E for the screen in integers, if that is the one in use.
    pub(super) packed: Option<Packed>,
    /// Columns are to have norm 1 and some do not: the first update scales them too where they do not move.
    pub(super) off_norm: bool,
}

impl Params {
    /// Of a model, `packed` for the screen in integers where it has one.
    pub(super) fn new(model: &Model, isa: Isa, packed: bool) -> Self {
        let n_p = model.shape().n_p;
        let mut params =
            Self { model: model.clone(), norms: vec![0.0; model.shape().n_q], packed: None, off_norm: false };
        params.norms.par_iter_mut().enumerate().for_each(|(i, norm)| *norm = norm_above(model.w_e(i)));
        if packed && model.activation.is_sparse() && (1..=LONGEST).contains(&n_p) {
            params.packed = Some(Packed::new(isa, params.encoder(), n_p, &params.norms));
        }
        params.mark_large_biases();
        params
    }

    /// A latent with a bias that could make a sum overflow is always scored.
    pub(super) fn mark_large_biases(&mut self) {
        if let Some(biases) = self.model.tensors.get(Parameter::EncoderBias) {
            for (norm, bias) in self.norms.iter_mut().zip(biases) {
                if bias.is_nan() || bias.abs() > HUGE {
                    *norm = f32::INFINITY;
                }
            }
        }
    }

    /// True if all numbers are finite.
    pub(super) fn is_finite(&self) -> bool {
        // Without a way out of the loop it is as fast as memory.
        let finite = |numbers: &[f32]| numbers.iter().fold(true, |all, x| all & x.is_finite());
        let tensors = &self.model.tensors;
        tensors.parameters().filter_map(|p| tensors.get(p)).all(|block| block.par_chunks(1 << 14).all(finite))
    }

    pub(super) fn shape(&self) -> Shape {
        self.model.shape()
    }

    pub(super) fn block(&self, parameter: Parameter) -> Option<&[f32]> {
        self.model.tensors.get(parameter)
    }

    pub(super) fn encoder(&self) -> &[f32] {
        self.block(Parameter::Encoder).unwrap_or_default()
    }

    pub(super) fn decoder(&self) -> &[f32] {
        self.block(Parameter::Decoder).unwrap_or_default()
    }
}

/// Moments, step count, dead counters.
#[derive(Debug, Clone)]
pub struct OptState {
    pub(super) step: u64,
    pub(super) warm_up: WarmUp,
    pub(super) first: Tensors<f32>,
    pub(super) second: Option<Tensors<f32>>,
    pub(super) idle: Vec<u64>,
    /// False for latents whose moments are all zero: without a gradient there is nothing to do for them.
    pub(super) moving: Vec<bool>,
}

impl OptState {
    pub(super) fn new(spec: &Spec, params: &Params) -> Self {
        let first = Tensors::zeros_like(&params.model.tensors);
        Self {
            step: 0,
            warm_up: spec.schedule.first_warm_up(),
            second: (spec.optimizer.rule != Rule::Sgd).then(|| first.clone()),
            first,
            idle: vec![0; spec.shape.n_q],
            moving: vec![false; spec.shape.n_q],
        }
    }

    /// The state that was saved.
    pub(super) fn restored(state: &HostOptState) -> Self {
        let (first, second) = (state.first.clone(), state.second.clone());
        let moving = vec![false; state.idle.len()];
        let mut opt =
            Self { step: state.step, warm_up: state.warm_up, first, second, idle: state.idle.clone(), moving };
        opt.find_moving();
        opt
    }

    /// Which latents have moments other than 0.
    fn find_moving(&mut self) {
        let shape = self.first.shape();
        let still = |tensors: &Tensors<f32>, i: usize| {
            [(Parameter::Encoder, shape.n_p), (Parameter::Decoder, shape.n_r)]
                .iter()
                .all(|(p, n)| tensors.get(*p).is_none_or(|block| block[i * n..(i + 1) * n].iter().all(|x| *x == 0.0)))
        };
        let (first, second) = (&self.first, &self.second);
        self.moving.par_iter_mut().enumerate().for_each(|(i, moving)| {
            *moving = !(still(first, i) && second.as_ref().is_none_or(|second| still(second, i)));
        });
    }
}

/// Samples.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) rows: usize,
    pub(super) inputs: Vec<f32>,
    /// Empty where the model reconstructs its input.
    pub(super) targets: Vec<f32>,
    pub(super) weights: Vec<f64>,
}

impl Batch {
    pub(super) fn new(spec: &Spec) -> Self {
        let targets = if spec.reconstructs_its_input { 0 } else { spec.batch * spec.shape.n_r };
        let inputs = vec![0.0; spec.batch * spec.shape.n_p];
        Self { rows: 0, inputs, targets: vec![0.0; targets], weights: vec![0.0; spec.batch] }
    }

    /// Takes the weights of its rows, 1/B each if there are none.
    pub(super) fn weigh(&mut self, weights: Option<&[f64]>) {
        let rows = &mut self.weights[..self.rows];
        match weights {
            Some(weights) => rows.copy_from_slice(weights),
            None => rows.fill(1.0 / self.rows as f64),
        }
    }

    /// x_r of all rows.
    pub(super) fn targets(&self) -> &[f32] {
        if self.targets.is_empty() { &self.inputs } else { &self.targets }
    }
}

/// Gradients. Rows of latents without one are left as they were and marked.
#[derive(Debug, Clone)]
pub struct Grads {
    pub(super) encoder: Vec<f32>,
    pub(super) decoder: Vec<f32>,
    /// True where the rows of W_E and W_D have a gradient.
    pub(super) live: Vec<bool>,
    /// Sums over the batch for every latent.
    pub(super) sums: Vec<Sums>,
    /// All other parameters.
    pub(super) rest: Tensors<f32>,
    /// Squared norms of the gradients of W_E and W_D, one number for each chunk of latents.
    pub(super) squares: [Vec<f64>; 2],
    pub(super) norm: f64,
    /// Zeros, as many as the longest row has.
    pub(super) still: Vec<f32>,
    /// Scratch.
    pub(super) scratch: Scratch,
    pub(super) shared: shared::Scratch,
}

impl Grads {
    pub(super) fn new(params: &Params) -> Self {
        let shape = params.shape();
        let rest = params.model.tensors.parameters().filter(|p| !is_matrix(*p)).collect::<Vec<_>>();
        Self {
            encoder: vec![0.0; shape.n_q * shape.n_p],
            decoder: vec![0.0; shape.n_q * shape.n_r],
            live: vec![false; shape.n_q],
            sums: vec![Sums::default(); shape.n_q],
            rest: Tensors::zeros(shape, rest),
            squares: [0, 1].map(|_| vec![0.0; shape.n_q.div_ceil(CHUNK)]),
            norm: 0.0,
            still: vec![0.0; shape.n_p.max(shape.n_r)],
            scratch: Scratch::default(),
            shared: shared::Scratch::default(),
        }
    }
}

impl Grads {
    /// All gradients, with those of anchoring.
    pub(super) fn to_host(&self, spec: &Spec, params: &Params) -> Tensors<f32> {
        let mut host = Tensors::zeros_like(&params.model.tensors);
        for parameter in Parameter::ALL {
            if let (Some(out), Some(block)) = (host.get_mut(parameter), self.rest.get(parameter)) {
                out.copy_from_slice(block);
            }
        }
        for (parameter, block) in [(Parameter::Encoder, &self.encoder), (Parameter::Decoder, &self.decoder)] {
            let columns = parameter.size(spec.shape).1;
            for i in (0..spec.shape.n_q).filter(|i| self.live[*i]) {
                host.row_mut(parameter, i).copy_from_slice(&block[i * columns..(i + 1) * columns]);
            }
            let known = if parameter == Parameter::Encoder { &spec.anchors.inputs } else { &spec.anchors.targets };
            let factor = (2.0 * spec.anchors.weight) as f32;
            for (&i, known) in spec.anchors.latents.iter().zip(known.chunks(columns.max(1))) {
                let w = params.model.tensors.row(parameter, i as usize);
                let gradient = host.row_mut(parameter, i as usize).iter_mut().zip(w).zip(known);
                gradient.for_each(|((g, w), known)| *g += factor * (w - known));
            }
        }
        host
    }
}

/// W_E and W_D, whose rows can be skipped.
pub(super) fn is_matrix(parameter: Parameter) -> bool {
    matches!(parameter, Parameter::Encoder | Parameter::Decoder)
}
