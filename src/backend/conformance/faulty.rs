//! The suite itself is tested by backends with one fault each, among them those that are known from other programs.

use super::super::reference::{self, Reference};
use super::super::{Backend, HostCodes, HostOptState, Mode, Observation, Rows, Spec};
use super::suite;
use crate::bench::dataset::Bench;
use crate::sdl::{Model, Parameter, Tensors};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The last bit of one code.
    LastBit,
    /// Of equal codes the higher latent is kept.
    TiesToTheHigher,
    /// ReLU runs before TopK, so that rows have fewer than k active latents.
    ReluBeforeTopK,
    /// BatchTopK has no threshold for inference: a sample's codes depend on the others of its batch.
    NoInferenceThreshold,
    /// z > 0 where z ≠ 0 is meant.
    ActiveIfPositive,
    /// Row weights are ignored.
    WeightsIgnored,
    /// The decoder bias takes part in AuxK.
    BiasInAuxK,
    /// AuxK is in the loss, but has no gradient.
    AuxKWithoutGradient,
    /// No gradient in log θ.
    ThresholdNeverTrains,
    /// Anchoring is left out of the update.
    AnchorsForgotten,
    /// The first moment is not restored.
    MomentLost,
    /// The rise of the learning rate is left out.
    NoWarmUp,
    /// The gradient is clipped number by number.
    ClippedEach,
    /// Decoder columns are not rescaled.
    ColumnsGrow,
    /// Only decoder columns that have moved are rescaled.
    StillColumnsKeepTheirNorm,
    /// One derivative is wrong by a thousandth.
    DerivativeOff,
    /// Only the decoder is looked at for numbers that are not finite.
    BlindToTheEncoder,
}

struct Faulty {
    inner: Reference,
    fault: Fault,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

impl Backend for Faulty {
    type Params = reference::Params;
    type OptState = reference::State;
    type Batch = reference::Batch;
    type Codes = reference::Codes;
    type Grads = reference::Grads;

    fn describe(&self) -> String {
        format!("{:?}", self.fault)
    }

    fn spec(&self) -> &Spec {
        self.inner.spec()
    }

    fn params(&self, model: &Model) -> reference::Params {
        self.inner.params(model)
    }

    fn opt_state(&self, params: &reference::Params) -> reference::State {
        self.inner.opt_state(params)
    }

    fn batch(&self) -> reference::Batch {
        self.inner.batch()
    }

    fn codes(&self) -> reference::Codes {
        self.inner.codes()
    }

    fn grads(&self, params: &reference::Params) -> reference::Grads {
        self.inner.grads(params)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut reference::Batch) {
        let weights = if self.has(Fault::WeightsIgnored) { None } else { rows.weights };
        self.inner.load(Rows { weights, ..rows }, batch);
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut reference::Batch) {
        self.inner.sample(bench, indices, batch);
    }

    fn encode_select(
        &self,
        params: &reference::Params,
        opt: &reference::State,
        batch: &reference::Batch,
        mode: Mode,
        codes: &mut reference::Codes,
    ) {
        let mode = if self.has(Fault::NoInferenceThreshold) { Mode::Training } else { mode };
        self.inner.encode_select(params, opt, batch, mode, codes);
        for row in &mut codes.rows {
            if self.has(Fault::ReluBeforeTopK) {
                row.selected.retain(|c| c.code > 0.0);
            }
            if self.has(Fault::LastBit)
                && let Some(c) = row.selected.first_mut()
            {
                c.code = f32::from_bits(c.code.to_bits() ^ 1);
            }
            if self.has(Fault::TiesToTheHigher) {
                // A selected latent gives way to a later one of the same score.
                let taken: Vec<usize> = row.selected.iter().map(|c| c.latent).collect();
                for c in &mut row.selected {
                    let equal = |i: &usize| row.pi[*i] == row.pi[c.latent] && !taken.contains(i);
                    if let Some(later) = (c.latent + 1..row.pi.len()).rev().find(equal) {
                        c.latent = later;
                    }
                }
            }
        }
    }

    fn decode_residual(&self, params: &reference::Params, batch: &reference::Batch, codes: &mut reference::Codes) {
        self.inner.decode_residual(params, batch, codes);
        let bias = params.tensors.get(Parameter::DecoderBias);
        if self.has(Fault::BiasInAuxK)
            && let Some(bias) = bias
        {
            for row in &mut codes.rows {
                row.missing.iter_mut().zip(bias).for_each(|(e, b)| *e += b);
            }
        }
    }

    fn backward(
        &self,
        params: &reference::Params,
        batch: &reference::Batch,
        codes: &mut reference::Codes,
        grads: &mut reference::Grads,
    ) {
        let mut seen = codes.clone();
        if self.has(Fault::AuxKWithoutGradient) {
            seen.rows.iter_mut().for_each(|row| row.auxiliary.clear());
        }
        if self.has(Fault::ThresholdNeverTrains) {
            seen.rows.iter_mut().for_each(|row| row.band.clear());
        }
        self.inner.backward(params, batch, &mut seen, grads);
        if self.has(Fault::DerivativeOff) {
            grads.tensors.row_mut(Parameter::Decoder, 0)[0] *= 1.001;
        }
    }

    fn step(
        &self,
        params: &mut reference::Params,
        opt: &mut reference::State,
        codes: &reference::Codes,
        grads: &mut reference::Grads,
    ) {
        let mut spec = self.spec().clone();
        if self.has(Fault::AnchorsForgotten) {
            spec.anchors.weight = 0.0;
        }
        if self.has(Fault::ColumnsGrow) {
            spec.unit_decoder = false;
        }
        if self.has(Fault::ClippedEach) && spec.optimizer.clip > 0.0 {
            let clip = spec.optimizer.clip;
            grads.tensors = grads.tensors.map(|g| g.clamp(-clip, clip));
            spec.optimizer.clip = 0.0;
        }
        let mut seen = codes.clone();
        if self.has(Fault::ActiveIfPositive) {
            for c in seen.rows.iter_mut().flat_map(|row| &mut row.selected) {
                c.code = c.code.max(0.0);
            }
        }
        let warm_up = opt.warm_up;
        if self.has(Fault::NoWarmUp) {
            opt.warm_up.steps = 0;
        }
        let before = params.tensors.clone();
        Reference::new(spec).step(params, opt, &seen, grads);
        if self.has(Fault::StillColumnsKeepTheirNorm) {
            for i in 0..self.spec().shape.n_q {
                if opt.first.row(Parameter::Decoder, i).iter().all(|m| *m == 0.0) {
                    let column = params.tensors.row_mut(Parameter::Decoder, i);
                    column.copy_from_slice(before.row(Parameter::Decoder, i));
                }
            }
        }
        opt.warm_up = warm_up;
    }

    fn observe(&self, params: &reference::Params, codes: &reference::Codes, grads: &reference::Grads) -> Observation {
        self.inner.observe(params, codes, grads)
    }

    fn model(&self, params: &reference::Params) -> Model {
        self.inner.model(params)
    }

    fn is_finite(&self, params: &reference::Params) -> bool {
        if self.has(Fault::BlindToTheEncoder) {
            return self.model(params).tensors.get(Parameter::Decoder).is_some_and(|v| v.iter().all(|x| x.is_finite()));
        }
        self.inner.is_finite(params)
    }

    fn idle(&self, opt: &reference::State) -> Vec<u64> {
        self.inner.idle(opt)
    }

    fn save(&self, opt: &reference::State) -> HostOptState {
        self.inner.save(opt)
    }

    fn restore(&self, state: &HostOptState) -> reference::State {
        let mut state = self.inner.restore(state);
        if self.has(Fault::MomentLost) {
            state.first = state.first.map(|_| 0.0);
        }
        state
    }

    fn codes_of(&self, codes: &reference::Codes) -> HostCodes {
        self.inner.codes_of(codes)
    }

    fn reconstruction_of(&self, batch: &reference::Batch, codes: &reference::Codes) -> Vec<f32> {
        self.inner.reconstruction_of(batch, codes)
    }

    fn gradients_of(&self, params: &reference::Params, grads: &reference::Grads) -> Tensors<f32> {
        self.inner.gradients_of(params, grads)
    }
}

#[test]
fn the_reference_conforms_to_itself() {
    suite(Reference::new);
}

#[test]
fn the_suite_notices_every_fault() {
    let faults = [
        Fault::LastBit,
        Fault::TiesToTheHigher,
        Fault::ReluBeforeTopK,
        Fault::NoInferenceThreshold,
        Fault::ActiveIfPositive,
        Fault::WeightsIgnored,
        Fault::BiasInAuxK,
        Fault::AuxKWithoutGradient,
        Fault::ThresholdNeverTrains,
        Fault::AnchorsForgotten,
        Fault::MomentLost,
        Fault::NoWarmUp,
        Fault::ClippedEach,
        Fault::ColumnsGrow,
        Fault::StillColumnsKeepTheirNorm,
        Fault::DerivativeOff,
        Fault::BlindToTheEncoder,
    ];
    for fault in faults {
        let run = AssertUnwindSafe(|| suite(|spec| Faulty { inner: Reference::new(spec), fault }));
        assert!(catch_unwind(run).is_err(), "{fault:?} goes unnoticed");
    }
}
