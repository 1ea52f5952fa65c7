//! One run of a backend, and its steps beside the reference's.

use super::super::reference::{self, Reference, update};
use super::super::{Backend, HostOptState, Mode, Observation, Rows, Spec};
use super::bounds::{Bounds, U};
use super::cases::{Case, Samples};
use super::update_bounds::Update;
use super::{same, same_codes};
use crate::sdl::{Model, Tensors};

/// A backend in the middle of training.
pub struct Run<'a, B: Backend> {
    backend: &'a B,
    reference: Reference,
    name: &'a str,
    /// Parameters.
    pub params: B::Params,
    /// State of the optimizer.
    pub opt: B::OptState,
    /// The batch that was uploaded last.
    pub batch: B::Batch,
    codes: B::Codes,
    grads: B::Grads,
}

impl<'a, B: Backend> Run<'a, B> {
    /// At the start of a case.
    pub fn new(backend: &'a B, case: &'a Case) -> Self {
        let run = Self::restored(backend, case, &case.model, &case.state);
        let fresh = backend.save(&backend.opt_state(&run.params));
        let expected = HostOptState { idle: vec![0; case.spec.shape.n_q], ..case.state.clone() };
        assert_eq!(fresh, expected, "{}: a fresh state", case.name);
        run
    }

    /// Where another run has stopped.
    pub fn restored(backend: &'a B, case: &'a Case, model: &Model, state: &HostOptState) -> Self {
        let params = backend.params(model);
        let grads = backend.grads(&params);
        let opt = backend.restore(state);
        assert_eq!(&backend.save(&opt), state, "{}: a state comes back as it was", case.name);
        let reference = Reference::new(case.spec.clone());
        let (batch, codes) = (backend.batch(), backend.codes());
        Self { backend, reference, name: &case.name, params, opt, batch, codes, grads }
    }

    fn spec(&self) -> &Spec {
        self.reference.spec()
    }

    fn load(&mut self, samples: &Samples) -> reference::Batch {
        let rows = Rows { inputs: &samples.inputs, targets: &samples.targets, weights: samples.weights.as_deref() };
        self.backend.load(rows, &mut self.batch);
        let mut batch = self.reference.batch();
        self.reference.load(rows, &mut batch);
        batch
    }

    /// One step, whatever comes of it.
    pub fn step(&mut self, samples: &Samples) {
        self.load(samples);
        self.step_as_loaded();
    }

    /// One step with the batch that is there.
    pub fn step_as_loaded(&mut self) {
        self.encode(Mode::Training);
        self.backend.decode_residual(&self.params, &self.batch, &mut self.codes);
        let Self { backend, params, opt, batch, codes, grads, .. } = self;
        backend.backward_and_step(params, opt, batch, codes, grads);
    }

    fn encode(&mut self, mode: Mode) {
        self.backend.encode_select(&self.params, &self.opt, &self.batch, mode, &mut self.codes);
    }

    /// Selection beside the reference's. Returns what the reference has found.
    pub fn compare_codes(
        &mut self,
        samples: &Samples,
        mode: Mode,
    ) -> (reference::Params, reference::Batch, reference::Codes) {
        let batch = self.load(samples);
        self.encode(mode);
        let params = self.reference.params(&self.backend.model(&self.params));
        let opt = self.reference.restore(&self.backend.save(&self.opt));
        let mut codes = self.reference.codes();
        self.reference.encode_select(&params, &opt, &batch, mode, &mut codes);
        let (found, expected) = (self.backend.codes_of(&self.codes), self.reference.codes_of(&codes));
        let same_latents = (&found.offsets, &found.latents) == (&expected.offsets, &expected.latents);
        let mut same = same_codes(&found, &expected);
        if !params.activation.is_sparse() {
            // Latents that a threshold selects are the same, their values only to rounding, once in the backend and once in the score.
            let bound = 2.0 * Bounds::new(self.spec(), &params, &batch, &codes).code;
            // Where some inputs are not finite there is no bound for all; the finite rows have norms below 20 and at most 70 coordinates.
            let bound = if bound.is_finite() { bound } else { 2.0 * 70.0 * U * 20.0 };
            let near = |a: f32, b: f32| a == b || a.is_nan() && b.is_nan() || f64::from((a - b).abs()) <= bound;
            same = same_latents && found.values.iter().zip(&expected.values).all(|(a, b)| near(*a, *b));
        }
        assert!(same, "{}, {mode:?}: codes\n{found:?}\ninstead of\n{expected:?}", self.name);
        (params, batch, codes)
    }

    /// Everything up to the terms of the loss. Returns the bounds and what the reference has found.
    fn compare_forward(
        &mut self,
        samples: &Samples,
        mode: Mode,
    ) -> (reference::Params, reference::Batch, reference::Codes, Bounds) {
        let (params, batch, mut codes) = self.compare_codes(samples, mode);
        self.reference.decode_residual(&params, &batch, &mut codes);
        self.backend.decode_residual(&self.params, &self.batch, &mut self.codes);
        let bounds = Bounds::new(self.spec(), &params, &batch, &codes);
        let found = self.backend.reconstruction_of(&self.batch, &self.codes);
        let expected = self.reference.reconstruction_of(&batch, &codes);
        assert_eq!(found.len(), expected.len(), "{}: a reconstruction for every sample", self.name);
        for (k, (a, b)) in found.iter().zip(&expected).enumerate() {
            self.near(&format!("reconstruction[{k}]"), f64::from(*a), f64::from(*b), bounds.reconstruction);
        }
        let observed = self.backend.observe(&self.params, &self.codes, &self.grads);
        let expected = self.reference.observe(&params, &codes, &self.reference.grads(&params));
        self.compare_observations(&observed, &expected, &bounds);
        (params, batch, codes, bounds)
    }

    /// A whole step beside the reference's.
    pub fn compare_step(&mut self, samples: &Samples) {
        self.compare_forward(samples, Mode::Inference);
        let (mut params, batch, mut codes, bounds) = self.compare_forward(samples, Mode::Training);
        let mut grads = self.reference.grads(&params);
        self.reference.backward(&params, &batch, &mut codes, &mut grads);
        self.backend.backward(&self.params, &self.batch, &mut self.codes, &mut self.grads);
        assert_eq!(
            self.backend.observe(&self.params, &self.codes, &self.grads).gradient_norm,
            0.0,
            "{}: no step has seen these gradients",
            self.name
        );
        let found = self.backend.gradients_of(&self.params, &self.grads);
        let expected = self.reference.gradients_of(&params, &grads);
        self.compare("gradient", &found, &expected, |parameter, _| bounds.gradient(parameter));

        // The same step from the same state has the same bits, in one piece too.
        let (model, state) = (self.backend.model(&self.params), self.backend.save(&self.opt));
        self.backend.step(&mut self.params, &mut self.opt, &self.codes, &mut self.grads);
        let after = (self.backend.model(&self.params), self.backend.save(&self.opt));
        let norm = self.backend.observe(&self.params, &self.codes, &self.grads).gradient_norm;
        self.params = self.backend.params(&model);
        self.opt = self.backend.restore(&state);
        self.step(samples);
        assert!(super::same_model(&self.backend.model(&self.params), &after.0), "{}: a repeated step", self.name);
        assert!(super::same_state(&self.backend.save(&self.opt), &after.1), "{}: a repeated step", self.name);
        let again = self.backend.observe(&self.params, &self.codes, &self.grads).gradient_norm;
        assert_eq!(again.to_bits(), norm.to_bits(), "{}: the norm of a repeated step", self.name);

        self.compare_update(&mut params, &state, &codes, &found.map(f64::from), &after, norm);
    }

    fn compare_update(
        &self,
        params: &mut reference::Params,
        before: &HostOptState,
        codes: &reference::Codes,
        gradient: &Tensors<f64>,
        after: &(Model, HostOptState),
        norm: f64,
    ) {
        let mut state = self.reference.restore(before);
        let (parameters, earlier) = (params.tensors.clone(), state.clone());
        let spec = self.spec();
        let update = Update {
            spec,
            parameters: &parameters,
            first: &earlier.first,
            second: earlier.second.as_ref(),
            gradient,
            step: before.step + 1,
            rate: spec.optimizer.learning_rate * spec.schedule.share_with(before.warm_up, before.step),
        };
        let mut bounds = update.bounds();
        if spec.unit_decoder {
            let free = Spec { unit_decoder: false, ..spec.clone() };
            let mut unscaled = params.clone();
            let mut projected = gradient.clone();
            update::project(&parameters, &mut projected);
            update::update(&free, &mut unscaled, &mut state.clone(), codes, projected);
            update.rescaled(&mut bounds, &unscaled.tensors);
        }
        let exact = update::update(spec, params, &mut state, codes, gradient.clone());

        self.near("norm of the gradient", norm, exact, bounds.norm);
        let (model, saved) = after;
        let expected = self.reference.save(&state);
        assert_eq!((saved.step, saved.warm_up), (expected.step, expected.warm_up), "{}", self.name);
        assert_eq!(saved.idle, expected.idle, "{}: idle counters", self.name);
        let at = |bound: &Tensors<f64>, parameter, k: usize| bound.get(parameter).map_or(0.0, |block| block[k]);
        let new = self.reference.model(params);
        self.compare("first moment", &saved.first, &expected.first, |p, k| at(&bounds.first, p, k));
        if let (Some(found), Some(expected)) = (&saved.second, &expected.second) {
            self.compare("second moment", found, expected, |p, k| at(&bounds.second, p, k));
        }
        self.compare("parameter", &model.tensors, &new.tensors, |p, k| at(&bounds.parameters, p, k));
        assert_eq!(model.threshold.is_some(), new.threshold.is_some(), "{}: threshold", self.name);
        if let (Some(found), Some(expected)) = (model.threshold, new.threshold) {
            // Two products and a sum.
            self.near("threshold", f64::from(found), f64::from(expected), 4.0 * U * f64::from(expected));
        }
    }

    fn compare_observations(&self, found: &Observation, expected: &Observation, bounds: &Bounds) {
        assert_eq!(found.rows, expected.rows, "{}: rows", self.name);
        assert_eq!(found.scales.len(), expected.scales.len(), "{}: one error for each part", self.name);
        // A count of at most rows·n_q, divided once.
        self.near("L0", found.l0, expected.l0, 2.0 * U * expected.l0);
        self.near("mse", found.mse, expected.mse, bounds.mse);
        for (part, (a, b)) in found.scales.iter().zip(&expected.scales).enumerate() {
            self.near(&format!("scales[{part}]"), *a, *b, bounds.mse);
        }
        self.near("penalty", found.penalty, expected.penalty, bounds.penalty);
        self.near("aux", found.aux, expected.aux, bounds.aux);
        self.near("anchor", found.anchor, expected.anchor, bounds.anchor);
        let parts: f64 = self.spec().objective.scales.weights().iter().sum();
        let bound = parts * bounds.mse + bounds.penalty + bounds.aux + bounds.anchor;
        self.near("loss", found.loss, expected.loss, bound);
    }

    fn compare(
        &self,
        what: &str,
        found: &Tensors<f32>,
        expected: &Tensors<f32>,
        bound: impl Fn(crate::sdl::Parameter, usize) -> f64,
    ) {
        assert!(found.parameters().eq(expected.parameters()), "{}: {what} of the same parameters", self.name);
        for parameter in expected.parameters() {
            let (found, expected) = (found.get(parameter).unwrap_or(&[]), expected.get(parameter).unwrap_or(&[]));
            assert_eq!(found.len(), expected.len(), "{}: {what} {parameter:?}", self.name);
            if same(found, expected) {
                continue;
            }
            for (k, (a, b)) in found.iter().zip(expected).enumerate() {
                self.near(&format!("{what} {parameter:?}[{k}]"), f64::from(*a), f64::from(*b), bound(parameter, k));
            }
        }
    }

    /// |found − expected| within the bound and one rounding of each.
    fn near(&self, what: &str, found: f64, expected: f64, bound: f64) {
        let allowed = bound + 2.0 * U * (found.abs() + expected.abs()) + super::bounds::TINY;
        // Equal numbers need no bound, which is not a number where it is 0·∞: a projection onto a line leaves noise, that Adam scales up.
        assert!(
            found == expected || (found - expected).abs() <= allowed,
            "{}: {what} is {found:e}, expected {expected:e} ± {allowed:e}",
            self.name
        );
    }
}
