//! A backend that is one rank of several: to a training loop it looks like one backend with the whole batch.

use super::team::Team;
use super::{DataParallel, Reaches, from_bytes, to_bytes};
use crate::backend::{Backend, Half, HostCodes, HostOptState, Mode, Observation, Rows, Spec};
use crate::bench::dataset::Bench;
use crate::sdl::resampling::passes::{Passes, Tables};
use crate::sdl::{Model, Parameter, Tensors};
use std::ops::Range;

/// One rank. Every call is given the same by all ranks, and gives the same bits to all.
///
/// Rank r of R has the rows ⌊rB/R⌋ .. ⌊(r+1)B/R⌋ of a batch of B, maybe none. Gradients are summed in [`Backend::backward`]; terms of the loss, codes
/// and reconstructions are those of the whole batch too, so that records, resampling and scores are what one rank would show. Parameters, the
/// optimizer's state and dead counters are the same on all ranks, and the update of each, clipping included, is that of the summed gradient.
pub struct Ranked<'a, B, C> {
    inner: B,
    team: Team<'a, C>,
    spec: Spec,
}

/// A rank's part of a batch.
pub struct Batch<T> {
    part: T,
    /// Rows of the whole batch.
    rows: usize,
}

/// What a rank's part has become.
pub struct Codes<T> {
    part: T,
    /// Rows of the whole batch.
    rows: usize,
}

impl<'a, B: DataParallel, C: Reaches<B::Numbers, B::Marks>> Ranked<'a, B, C> {
    /// A rank of a training with this specification; `make` makes the backend for its part of a batch.
    pub fn new(collective: &'a C, spec: Spec, make: impl FnOnce(Spec) -> B) -> Self {
        let batch = spec.batch.div_ceil(collective.ranks().max(1));
        Self { inner: make(Spec { batch, ..spec.clone() }), team: Team::new(collective), spec }
    }

    /// The rows of this rank.
    fn part(&self, rows: usize) -> Range<usize> {
        let (rank, ranks) = (self.team.collective.rank(), self.team.collective.ranks());
        rows * rank / ranks..rows * (rank + 1) / ranks
    }

    fn gather(&self, own: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.team.gather(&self.inner, own)
    }

    fn weigh(&self, rows: usize, part: &mut B::Batch) {
        self.inner.weigh(&vec![1.0 / rows as f64; self.part(rows).len()], part);
    }
}

impl<B: DataParallel, C: Reaches<B::Numbers, B::Marks>> Backend for Ranked<'_, B, C> {
    type Params = B::Params;
    type OptState = B::OptState;
    type Batch = Batch<B::Batch>;
    type Codes = Codes<B::Codes>;
    type Grads = B::Grads;

    fn describe(&self) -> String {
        format!("{}, {} ranks", self.inner.describe(), self.team.collective.ranks())
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure().or_else(|| self.team.failure())
    }

    fn agreed(&self, stop: bool) -> bool {
        self.team.agreed(&self.inner, stop)
    }

    fn as_one(&self, half: Half, calls: &mut dyn FnMut()) {
        match half {
            // Ranks speak to each other in between.
            Half::Look => calls(),
            Half::Update => self.inner.as_one(half, calls),
        }
    }

    fn params(&self, model: &Model) -> B::Params {
        self.inner.params(model)
    }

    fn opt_state(&self, params: &B::Params) -> B::OptState {
        self.inner.opt_state(params)
    }

    fn batch(&self) -> Batch<B::Batch> {
        Batch { part: self.inner.batch(), rows: 0 }
    }

    fn codes(&self) -> Codes<B::Codes> {
        Codes { part: self.inner.codes(), rows: 0 }
    }

    fn grads(&self, params: &B::Params) -> B::Grads {
        self.inner.grads(params)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch<B::Batch>) {
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        batch.rows = rows.inputs.len() / n_p.max(1);
        let part = self.part(batch.rows);
        let targets =
            if self.spec.reconstructs_its_input { &[] } else { &rows.targets[part.start * n_r..part.end * n_r] };
        let inputs = &rows.inputs[part.start * n_p..part.end * n_p];
        let weights = rows.weights.map(|weights| &weights[part]);
        self.inner.load(Rows { inputs, targets, weights }, &mut batch.part);
        if weights.is_none() {
            self.weigh(batch.rows, &mut batch.part);
        }
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch<B::Batch>) {
        batch.rows = indices.len();
        self.inner.sample(bench, &indices[self.part(batch.rows)], &mut batch.part);
        self.weigh(batch.rows, &mut batch.part);
    }

    fn encode_select(
        &self,
        params: &B::Params,
        opt: &B::OptState,
        batch: &Batch<B::Batch>,
        mode: Mode,
        codes: &mut Codes<B::Codes>,
    ) {
        codes.rows = batch.rows;
        if !self.team.has_failed() {
            let (from, of) = ((params, opt, &batch.part), (batch.rows, self.team.collective));
            self.team.note(self.inner.encode_select_part(from, mode, of, &mut codes.part));
        }
    }

    fn decode_residual(&self, params: &B::Params, batch: &Batch<B::Batch>, codes: &mut Codes<B::Codes>) {
        self.inner.decode_residual(params, &batch.part, &mut codes.part);
    }

    fn backward(&self, params: &B::Params, batch: &Batch<B::Batch>, codes: &mut Codes<B::Codes>, grads: &mut B::Grads) {
        self.inner.backward(params, &batch.part, &mut codes.part, grads);
        // A sum over ranks cannot be had where one of them has no memory for it.
        if self.gather(&[]).is_some() {
            self.team.note(self.inner.join(batch.rows, self.team.collective, &mut codes.part, grads));
        }
    }

    fn step(&self, params: &mut B::Params, opt: &mut B::OptState, codes: &Codes<B::Codes>, grads: &mut B::Grads) {
        if !self.team.has_failed() {
            self.inner.step(params, opt, &codes.part, grads);
        }
    }

    fn observe(&self, params: &B::Params, codes: &Codes<B::Codes>, grads: &B::Grads) -> Observation {
        let own = self.inner.observe(params, &codes.part, grads);
        // Means over no rows are no numbers.
        let of_rows = |x: f64| if own.rows == 0 { 0.0 } else { x };
        let mut terms: Vec<f64> = [own.penalty, own.aux, own.l0 * own.rows as f64].map(of_rows).to_vec();
        terms.extend(own.scales.iter().map(|x| of_rows(*x)));
        let Some(sums) = self.team.sums(&self.inner, &terms) else {
            return Observation { loss: f64::NAN, rows: codes.rows, ..own };
        };
        let (terms, scales) = sums.split_at(3);
        let [penalty, aux, active] = [terms[0], terms[1], terms[2]];
        let lambdas = self.spec.objective.scales.weights();
        let parts: f64 = lambdas.iter().zip(scales).map(|(lambda, e)| lambda * e).sum();
        Observation {
            rows: codes.rows,
            loss: parts + penalty + aux + own.anchor,
            mse: scales.last().copied().unwrap_or(0.0),
            scales: scales.to_vec(),
            penalty,
            aux,
            l0: active / codes.rows as f64,
            ..own
        }
    }

    fn model(&self, params: &B::Params) -> Model {
        self.inner.model(params)
    }

    fn is_finite(&self, params: &B::Params) -> bool {
        self.inner.is_finite(params)
    }

    fn best_cosines(&self, params: &B::Params, of: Parameter, truth: &[f32]) -> Option<Vec<f32>> {
        // Every rank has all parameters.
        self.inner.best_cosines(params, of, truth)
    }

    fn passes(&self, tables: &Tables) -> Option<Box<dyn Passes + '_>> {
        // Every rank has been given all samples.
        self.inner.passes(tables)
    }

    fn idle(&self, opt: &B::OptState) -> Vec<u64> {
        self.inner.idle(opt)
    }

    fn save(&self, opt: &B::OptState) -> HostOptState {
        self.inner.save(opt)
    }

    fn restore(&self, state: &HostOptState) -> B::OptState {
        self.inner.restore(state)
    }

    fn codes_of(&self, codes: &Codes<B::Codes>) -> HostCodes {
        let own = self.inner.codes_of(&codes.part);
        let counts = own.offsets.windows(2).flat_map(|pair| ((pair[1] - pair[0]) as u64).to_le_bytes());
        let latents = own.latents.iter().flat_map(|i| i.to_le_bytes());
        let counts = self.gather(&counts.collect::<Vec<_>>());
        let latents = self.gather(&latents.collect::<Vec<_>>());
        let values = self.gather(&to_bytes(&own.values));
        let (Some(counts), Some(latents), Some(values)) = (counts, latents, values) else {
            return HostCodes { offsets: vec![0; codes.rows + 1], ..HostCodes::default() };
        };
        let mut host = HostCodes { offsets: vec![0], ..HostCodes::default() };
        let mut end = 0;
        for count in counts.iter().flat_map(|counts| counts.as_chunks::<8>().0) {
            end += u64::from_le_bytes(*count) as usize;
            host.offsets.push(end);
        }
        host.latents.extend(latents.iter().flat_map(|of| of.as_chunks::<4>().0).map(|i| u32::from_le_bytes(*i)));
        host.values.extend(values.iter().flat_map(|of| from_bytes(of)));
        host
    }

    fn reconstruction_of(&self, batch: &Batch<B::Batch>, codes: &Codes<B::Codes>) -> Vec<f32> {
        let own = self.inner.reconstruction_of(&batch.part, &codes.part);
        match self.gather(&to_bytes(&own)) {
            Some(all) => all.iter().flat_map(|of| from_bytes(of)).collect(),
            None => vec![f32::NAN; batch.rows * self.spec.shape.n_r],
        }
    }

    fn gradients_of(&self, params: &B::Params, grads: &B::Grads) -> Tensors<f32> {
        self.inner.gradients_of(params, grads)
    }
}
