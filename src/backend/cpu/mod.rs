//! Training on the CPU, in f32.
//!
//! # What a step costs
//!
//! With B samples, k active latents a sample, and n = n_p + n_r:
//!
//! | operation | floating-point operations | |
//! |---|---|---|
//! | encode | 2 B n_q n_p, and 2 n_p for each candidate that is scored again | nearly all of a top-k step; a blocked matrix product, of 16-bit integers where the processor has AVX-512 VNNI |
//! | decode, backward | 2 B k n_r and 2 B k (n + n_r) | gathers of rows; above a share of active latents, dense products with k = n_q |
//! | step | about 12 n for each latent with a gradient or moments | bound by memory: it reads and writes W, both moments and the gradient |
//!
//! In training backward and step are one pass (`fused`) where the batch is small enough (1,365 rows of 768 numbers): gradients stay in the cache, and
//! moments come from memory while gradients wait for the cache.
//!
//! Memory in bytes: 16 n_q n for parameters, moments and gradients; 4 B (n_p + n_r·parts + n_r) for a batch and its residuals (less n_r where the
//! target is the input); about 16 B k for codes; 2 n_q n_p for W_E in integers, where they are used; a few megabytes of blocks for each thread. While
//! a checkpoint is written there are 12 n_q n more, a copy of parameters and moments ([`Cpu::memory`] counts all of these). Everything else is allocated once, at the start, except that
//! codes and blocks grow to the largest batch they have met. What a step allocates is small: lists of what is whose, ten to twenty bytes a latent; the
//! coefficients of samples that are drawn, about 16 bytes each; and what the `gemm` crate packs, where there are products in f32.

mod auxiliary;
mod backward;
mod codes;
mod decode;
mod dense;
mod encode;
mod fused;
mod integer;
mod matmul;
mod memory;
mod part;
mod penalty;
mod screen;
mod shard;
mod shared;
pub(crate) mod simd;
mod state;
#[cfg(test)]
mod tests;
mod threshold;
mod update;
pub(crate) mod vector;

pub use memory::Memory;
pub use simd::Isa;
pub use state::{Batch, Grads, OptState, Params};

use super::collective::CollectiveError;
use super::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Spec, THRESHOLD_DECAY};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Model, Parameter, Scales, Tensors};
use auxiliary::Auxiliary;
use backward::{Backward, Gate, Source};
use codes::{ByLatent, Sparse};
use decode::{Decode, Residuals};
use dense::{Coded, Dense};
use encode::{Dead, Encoder, Workspace};
use threshold::Thresholds;
use update::{Norm, Rates};

/// The backend.
#[derive(Debug, Clone)]
pub struct Cpu {
    spec: Spec,
    isa: Isa,
    screen: Screen,
    anchors: update::AnchorIndex,
}

/// How activations that select by rank find what a row may select. It changes no selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// By a product in f32.
    Float,
    /// By a product of 16-bit integers.
    Integer,
}

impl Screen {
    /// The faster one.
    pub fn of(isa: Isa) -> Self {
        if isa == Isa::Avx512 { Self::Integer } else { Self::Float }
    }
}

/// Active latents of a batch and what follows from them.
#[derive(Debug, Default)]
pub struct Codes {
    rows: usize,
    /// w_b.
    weights: Vec<f64>,
    /// x', where there is a b_p.
    centred: Vec<f32>,
    codes: Sparse,
    by_latent: ByLatent,
    residuals: Residuals,
    /// Penalties of every row, with their factors.
    penalties: Vec<f64>,
    norms: Vec<f32>,
    /// JumpReLU: latents near their threshold. Gated: π of the selected latents.
    second: Sparse,
    /// Gated: the scores of the selected latents.
    scores: Vec<f32>,
    second_by_latent: ByLatent,
    /// Gated: what the gates leave of the target.
    gates: Residuals,
    /// So many latents are active that dense products are faster.
    is_dense: bool,
    counted: Counted,
    aux: Option<AuxCodes>,
    thresholds: Thresholds,
    work: Workspace,
    dense: Dense,
}

/// The batch that rows are a part of.
struct Whole<'a> {
    rows: usize,
    /// Leaves of the first entries of the part those that are among the first of the batch.
    cut: &'a mut dyn FnMut(usize, &mut Sparse),
}

/// What a step counts, of the whole batch.
#[derive(Debug, Default)]
struct Counted {
    rows: u64,
    active: Vec<bool>,
    /// The least value that BatchTopK has kept.
    least: Option<f32>,
}

impl Counted {
    fn mark(&mut self, codes: &Sparse, n_q: usize) {
        self.active.clear();
        self.active.resize(n_q, false);
        for (&i, z) in codes.latents.iter().zip(&codes.values) {
            self.active[i as usize] |= *z != 0.0;
        }
    }
}

/// Dead latents of a batch, which reconstruct what is missing.
#[derive(Debug, Default)]
struct AuxCodes {
    marks: Vec<bool>,
    norms: Vec<f32>,
    codes: Sparse,
    /// How many of a row all ranks have, where latents are on several.
    counts: Vec<u32>,
    by_latent: ByLatent,
    residuals: Vec<f32>,
    squares: Vec<f64>,
}

/// Adds up over ranks.
type Sums<'a> = &'a mut dyn FnMut(&mut [f32]) -> Result<(), CollectiveError>;

impl Cpu {
    /// A backend with the best instruction set of this processor.
    pub fn new(spec: Spec) -> Self {
        Self::with(spec, Isa::detect(), Screen::of(Isa::detect()))
    }

    /// A backend with a given instruction set, or a lesser one where the processor lacks it, and a given screen.
    pub fn with(spec: Spec, isa: Isa, screen: Screen) -> Self {
        let anchors = update::AnchorIndex::new(&spec);
        Self { spec, isa: isa.or_lesser(), screen, anchors }
    }

    /// Screens a batch with nothing to be found: what the screen's product costs, for measurements. Nothing is selected.
    pub fn screen_only(&self, params: &Params, batch: &Batch, codes: &mut Codes) {
        let encoder = Encoder { isa: self.isa, params, x: &batch.inputs, rows: batch.rows, dead: None };
        encoder.screen_only(&mut codes.work);
    }

    /// Which latents AuxK may take.
    fn find_dead<'a>(&self, params: &Params, opt: &OptState, mode: Mode, found: &'a mut AuxCodes) -> Option<Dead<'a>> {
        let aux = self.spec.objective.aux.filter(|_| mode == Mode::Training)?;
        found.marks.clear();
        found.marks.extend(opt.idle.iter().map(|idle| *idle >= aux.dead_after));
        found.norms.clear();
        // A latent that is not dead must not pass, unless its bounds mean nothing.
        let norm = |(dead, norm): (&bool, &f32)| if *dead || !norm.is_finite() { *norm } else { f32::NEG_INFINITY };
        found.norms.extend(found.marks.iter().zip(&params.norms).map(norm));
        Some(Dead { k: aux.k, marks: &found.marks, norms: &found.norms })
    }

    /// Residuals; `others` sums them over ranks with other latents, and says whether b_D, W_S and the target belong to this one.
    fn decode(
        &self,
        params: &Params,
        batch: &Batch,
        mut others: Option<(bool, Sums<'_>)>,
        codes: &mut Codes,
    ) -> Result<(), CollectiveError> {
        let objective = &self.spec.objective;
        let Codes { codes: main, second, residuals, gates, penalties, norms, dense, is_dense, aux: found, .. } = codes;
        let dense = is_dense.then_some(&*dense);
        let affine = others.as_ref().is_none_or(|(affine, _)| *affine);
        let decode = Decode { isa: self.isa, params, batch, scales: &objective.scales, dense, affine };
        decode.with(main, &mut others, residuals)?;
        let is_gated = params.model.activation == Activation::Gated;
        penalty::penalties(self.isa, params, objective, if is_gated { second } else { main }, norms, penalties);
        if is_gated {
            let levels = std::mem::take(&mut second.levels);
            Decode { scales: &Scales::Single, ..decode }.with(second, &mut others, gates)?;
            second.levels = levels;
        }
        if let (Some(aux), Some(found)) = (objective.aux, found) {
            let lambdas = objective.scales.weights();
            let (rows, parts, lambda) = (&residuals.rows, lambdas.len(), lambdas[lambdas.len() - 1]);
            let AuxCodes { codes, counts, residuals, squares, .. } = found;
            let counts = others.is_some().then_some(&counts[..]);
            let auxiliary =
                Auxiliary { isa: self.isa, params, batch, aux, residuals: rows, parts, lambda, affine, counts };
            if auxiliary.start(codes, residuals, squares) {
                if let Some((_, sum)) = &mut others {
                    sum(residuals)?;
                }
                auxiliary.finish(codes, residuals, squares);
            }
        }
        Ok(())
    }

    /// An update with the norm of the gradient of all latents.
    fn update(&self, params: &mut Params, opt: &mut OptState, codes: &Codes, grads: &mut Grads, norm: Norm<'_>) {
        update::step((&self.spec, self.isa), &self.anchors, params, opt, grads, norm);
        self.count(params, opt, codes);
    }

    /// Selects in a batch, or in a part of one.
    fn select(
        &self,
        (params, opt, batch): (&Params, &OptState, &Batch),
        mode: Mode,
        whole: Whole<'_>,
        codes: &mut Codes,
    ) {
        let n_p = self.spec.shape.n_p;
        codes.rows = batch.rows;
        codes.weights.clear();
        codes.weights.extend_from_slice(&batch.weights[..batch.rows]);
        if let Some(bias) = params.block(Parameter::InputBias) {
            codes.centred.resize(batch.rows * n_p, 0.0);
            shared::centre(self.isa, &batch.inputs[..batch.rows * n_p], bias, &mut codes.centred);
        }
        let mut aux = codes.aux.take().unwrap_or_default();
        let dead = self.find_dead(params, opt, mode, &mut aux);
        let Codes { codes: main, second, scores, work, thresholds, centred, counted, .. } = codes;
        let x = if centred.is_empty() { &batch.inputs } else { &*centred };
        let encoder = Encoder { isa: self.isa, params, x, rows: batch.rows, dead };
        second.clear();
        counted.least = None;
        match (params.model.activation, mode) {
            (Activation::TopK { k }, _) => encoder.top_k(k, false, work, main),
            (Activation::TopKRelu { k }, _) => encoder.top_k(k, true, work, main),
            (Activation::BatchTopK { k }, Mode::Training) => {
                let count = k.saturating_mul(whole.rows);
                encoder.batch_top_k(count, work, main);
                (whole.cut)(count, main);
                counted.least = main.values.iter().copied().reduce(f32::min);
            }
            (Activation::BatchTopK { .. }, Mode::Inference) => {
                encoder.above(params.model.threshold.unwrap_or(0.0), work, main);
            }
            (Activation::Relu | Activation::JumpRelu { .. } | Activation::Gated, _) => {
                encoder.above_thresholds(thresholds, work);
                work.main(main);
                work.second(second, scores);
            }
        }
        work.dead(&mut aux.codes);
        counted.rows = batch.rows as u64;
        counted.mark(main, self.spec.shape.n_q);
        let scales = &self.spec.objective.scales;
        encode::assign_levels(scales, main);
        encode::assign_levels(scales, second);
        codes.is_dense = dense::is_faster(params.model.activation, main, self.spec.shape.n_q);
        codes.aux = Some(aux);
    }

    /// What the gradients of W_D and W_E are made of.
    fn of<'a>(&self, decoder: &'a [f32], batch: &'a Batch, centred: &'a [f32], weights: &'a [f64]) -> Backward<'a> {
        let x = if centred.is_empty() { &batch.inputs } else { centred };
        let l1_by_decoder_norm = self.spec.objective.l1_by_decoder_norm;
        Backward { isa: self.isa, shape: self.spec.shape, decoder, x, weights, l1_by_decoder_norm }
    }

    /// What the codes of a model without gates reconstruct.
    fn source<'a>(&self, residuals: &'a Residuals) -> Source<'a> {
        let objective = &self.spec.objective;
        Source { residuals: &residuals.rows, parts: objective.scales.weights().len(), l1: objective.l1, gate: None }
    }

    /// The gradient of log θ.
    fn estimate(&self, params: &Params, batch: &Batch, codes: &mut Codes, grads: &mut Grads) {
        let Activation::JumpRelu { bandwidth, .. } = params.model.activation else { return };
        let Some(out) = grads.rest.get_mut(Parameter::LogThreshold) else { return };
        codes.second_by_latent.sort(&codes.second, &[], self.spec.shape.n_q);
        let of = self.of(params.decoder(), batch, &codes.centred, &codes.weights);
        let source = self.source(&codes.residuals);
        let logs = params.block(Parameter::LogThreshold).unwrap_or_default();
        penalty::estimates(of, &source, &codes.second_by_latent, logs, (self.spec.objective.l0, bandwidth), out);
    }

    /// True if gradients and update can be one pass, see [`fused`].
    fn can_fuse(&self, params: &Params, codes: &Codes) -> bool {
        let spec = &self.spec;
        let lines = codes.rows.saturating_mul(spec.objective.scales.weights().len());
        let one_kind = params.model.activation != Activation::Gated && spec.objective.aux.is_none();
        let by_row = spec.optimizer.clip <= 0.0 && params.block(Parameter::InputBias).is_none();
        one_kind && by_row && !codes.is_dense && fused::fits(spec.shape, lines, codes.rows)
    }

    /// What the batch has shown of every latent, and the threshold of BatchTopK.
    fn count(&self, params: &mut Params, opt: &mut OptState, codes: &Codes) {
        let counted = &codes.counted;
        for (idle, active) in opt.idle.iter_mut().zip(&counted.active) {
            *idle = if *active { 0 } else { *idle + counted.rows };
        }
        if let Activation::BatchTopK { .. } = params.model.activation
            && let Some(least) = counted.least
        {
            let mean = |old: f32| THRESHOLD_DECAY * f64::from(old) + (1.0 - THRESHOLD_DECAY) * f64::from(least);
            params.model.threshold = Some(params.model.threshold.map_or(least, |old| mean(old) as f32));
        }
    }
}

impl Backend for Cpu {
    type Params = Params;
    type OptState = OptState;
    type Batch = Batch;
    type Codes = Codes;
    type Grads = Grads;

    fn describe(&self) -> String {
        format!("cpu, f32, {}, {} threads", self.isa.name(), rayon::current_num_threads())
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn params(&self, model: &Model) -> Params {
        let mut params = Params::new(model, self.isa, self.screen == Screen::Integer);
        params.off_norm = self.spec.unit_decoder && !model.has_unit_decoder();
        params
    }

    fn opt_state(&self, params: &Params) -> OptState {
        OptState::new(&self.spec, params)
    }

    fn batch(&self) -> Batch {
        Batch::new(&self.spec)
    }

    fn codes(&self) -> Codes {
        Codes::default()
    }

    fn grads(&self, params: &Params) -> Grads {
        Grads::new(params)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch) {
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        batch.rows = rows.inputs.len() / n_p.max(1);
        batch.inputs[..rows.inputs.len()].copy_from_slice(rows.inputs);
        if !self.spec.reconstructs_its_input {
            batch.targets[..batch.rows * n_r].copy_from_slice(rows.targets);
        }
        batch.weigh(rows.weights);
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch) {
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        batch.rows = indices.len();
        let drawn = bench.coefficients().batch(indices);
        batch.weigh(drawn.weights.as_deref());
        bench.synthesize(&drawn, Side::Input, &mut batch.inputs[..batch.rows * n_p]);
        if !self.spec.reconstructs_its_input {
            bench.synthesize(&drawn, Side::Target, &mut batch.targets[..batch.rows * n_r]);
        }
    }

    fn encode_select(&self, params: &Params, opt: &OptState, batch: &Batch, mode: Mode, codes: &mut Codes) {
        self.select((params, opt, batch), mode, Whole { rows: batch.rows, cut: &mut |_, _| () }, codes);
    }

    fn decode_residual(&self, params: &Params, batch: &Batch, codes: &mut Codes) {
        // Without other ranks nothing can fail between them.
        let _ = self.decode(params, batch, None, codes);
    }

    fn backward(&self, params: &Params, batch: &Batch, codes: &mut Codes, grads: &mut Grads) {
        let objective = &self.spec.objective;
        let n_q = self.spec.shape.n_q;
        self.estimate(params, batch, codes, grads);
        let of = self.of(params.decoder(), batch, &codes.centred, &codes.weights);
        let block = |parameter| params.block(parameter).unwrap_or_default();
        let gate = (params.model.activation == Activation::Gated).then(|| Gate {
            residuals: &codes.gates.rows,
            scales: block(Parameter::GateScale),
            biases: block(Parameter::EncoderBias),
        });
        let source = Source { gate, ..self.source(&codes.residuals) };
        if codes.is_dense {
            let coded = Coded { codes: &codes.codes, scores: &codes.scores, scales: &objective.scales };
            codes.dense.backward(of, &source, coded, grads);
        } else {
            codes.by_latent.sort(&codes.codes, &codes.scores, n_q);
            of.run(&source, &codes.by_latent, false, grads);
        }
        if let (Some(_), Some(aux)) = (objective.aux, &mut codes.aux) {
            aux.by_latent.sort(&aux.codes, &[], n_q);
            let source = Source { residuals: &aux.residuals, parts: 1, l1: 0.0, gate: None };
            of.run(&source, &aux.by_latent, true, grads);
        }
        backward::spread(grads);
        shared::backward(self.isa, params, batch, source.parts, &codes.residuals, grads);
        grads.norm = 0.0;
    }

    fn step(&self, params: &mut Params, opt: &mut OptState, codes: &Codes, grads: &mut Grads) {
        self.update(params, opt, codes, grads, Norm { shared: true, sum: &mut |own| own });
    }

    fn fuses(&self) -> bool {
        true
    }

    fn backward_and_step(
        &self,
        params: &mut Params,
        opt: &mut OptState,
        batch: &Batch,
        codes: &mut Codes,
        grads: &mut Grads,
    ) {
        if !self.can_fuse(params, codes) {
            self.backward(params, batch, codes, grads);
            self.step(params, opt, codes, grads);
            return;
        }
        self.estimate(params, batch, codes, grads);
        codes.by_latent.sort(&codes.codes, &codes.scores, self.spec.shape.n_q);
        // Decoder columns are those that are about to change.
        let of = self.of(&[], batch, &codes.centred, &codes.weights);
        let source = self.source(&codes.residuals);
        shared::backward(self.isa, params, batch, source.parts, &codes.residuals, grads);
        let rates = Rates::new(&self.spec, opt);
        let update = (&self.spec, &self.anchors, rates);
        let [encoder, decoder] = fused::run(of, &source, &codes.by_latent, update, params, opt, grads);
        backward::spread(grads);
        let total = update::rest_squared(grads, true) + encoder + decoder;
        update::finish(self.isa, rates, total, params, opt, grads);
        self.count(params, opt, codes);
    }

    fn observe(&self, params: &Params, codes: &Codes, grads: &Grads) -> Observation {
        let lambdas = self.spec.objective.scales.weights();
        let mut scales = vec![0.0; lambdas.len()];
        for (squares, weight) in codes.residuals.squares.chunks(lambdas.len()).zip(&codes.weights) {
            scales.iter_mut().zip(squares).for_each(|(sum, square)| *sum += weight * square);
        }
        let weighted =
            |terms: &[f64]| terms.iter().zip(&codes.weights).map(|(term, weight)| term * weight).sum::<f64>();
        let penalty = weighted(&codes.penalties);
        let aux = codes.aux.as_ref().map_or(0.0, |aux| weighted(&aux.squares)) + weighted(&codes.gates.squares);
        let anchor = self.spec.anchors.penalty(&params.model);
        let active = codes.codes.values.iter().filter(|z| **z != 0.0).count();
        Observation {
            rows: codes.rows,
            loss: lambdas.iter().zip(&scales).map(|(lambda, e)| lambda * e).sum::<f64>() + penalty + aux + anchor,
            mse: scales.last().copied().unwrap_or(0.0),
            scales,
            penalty,
            aux,
            anchor,
            l0: active as f64 / codes.rows as f64,
            gradient_norm: grads.norm,
        }
    }

    fn model(&self, params: &Params) -> Model {
        params.model.clone()
    }

    fn is_finite(&self, params: &Params) -> bool {
        params.is_finite()
    }

    fn idle(&self, opt: &OptState) -> Vec<u64> {
        opt.idle.clone()
    }

    fn save(&self, opt: &OptState) -> HostOptState {
        HostOptState {
            step: opt.step,
            warm_up: opt.warm_up,
            first: opt.first.clone(),
            second: opt.second.clone(),
            idle: opt.idle.clone(),
        }
    }

    fn restore(&self, state: &HostOptState) -> OptState {
        OptState::restored(state)
    }

    fn codes_of(&self, codes: &Codes) -> HostCodes {
        codes.codes.to_host()
    }

    fn reconstruction_of(&self, batch: &Batch, codes: &Codes) -> Vec<f32> {
        let (n_r, lambdas) = (self.spec.shape.n_r, self.spec.objective.scales.weights());
        let last = lambdas.len() - 1;
        let rows = codes.residuals.rows.chunks(lambdas.len() * n_r).zip(batch.targets().chunks(n_r)).take(codes.rows);
        let each = rows.flat_map(|(e, x)| e[last * n_r..].iter().zip(x));
        each.map(|(e, x)| e / lambdas[last] as f32 + x).collect()
    }

    fn gradients_of(&self, params: &Params, grads: &Grads) -> Tensors<f32> {
        grads.to_host(&self.spec, params)
    }
}
