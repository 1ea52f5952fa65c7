//! The loop of training, on any backend and without files: what it shows goes to a [`Watch`].
//!
//! Step t takes the batch t of the [`Order`](super::order::Order), looks at it where a record is due, and updates. So a record of step t shows
//! the loss after t updates, and everything that decides what comes next is in [`State`].

use super::check::Plan;
use super::data::{Data, Loader};
use super::divergence::not_finite;
use super::divergence::{Diverged, Place};
use super::plateau::Epochs;
use crate::backend::{Backend, Half, HostCodes, HostOptState, Mode, Observation, WarmUp};
use crate::bench::dataset::Side;
use crate::metrics::fit::Spread;
use crate::sdl::resampling::passes::Tables;
use crate::sdl::resampling::{Constraints, Moved, Samples};
use crate::sdl::{Model, Parameter};
use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`: what one batch has shown. The same for the same experiment, program and instruction set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Updates done before this batch.
    pub step: u64,
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Samples seen before this batch.
    pub samples: u64,
    /// η of the update that follows.
    pub learning_rate: f64,
    /// All terms together.
    pub loss: f64,
    /// E‖x_r − x̂_r‖².
    pub mse: f64,
    /// Fraction of variance unexplained, as [`Fit`](crate::metrics::fit::Fit) defines it; absent where the targets do not vary.
    pub fvu: Option<f64>,
    /// The same as `mse` for each part of Matryoshka.
    pub scales: Vec<f64>,
    /// L1 and L0 penalties with their factors.
    pub penalty: f64,
    /// The auxiliary reconstruction with its factor.
    pub aux: f64,
    /// The anchoring term with its factor.
    pub anchor: f64,
    /// Mean number of active latents.
    pub l0: f64,
    /// Latents that have been silent for `dead_after` samples.
    pub dead: usize,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
}

/// All that training needs to go on, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Parameters.
    pub model: Model,
    /// Optimizer, with its step count, which is that of training.
    pub opt: HostOptState,
    /// The first recorded loss, which divergence is measured against.
    pub first_loss: Option<f64>,
    /// Mean losses of epochs, which a plateau is found by; not counted without one.
    pub epochs: Epochs,
}

/// Who looks on. Every method may end training with an error.
pub trait Watch {
    /// What can go wrong in looking.
    type Error;

    /// So many steps are done. Training stops before the next one if this is true.
    fn stop(&mut self, step: u64) -> bool;
    /// A batch has been looked at.
    ///
    /// # Errors
    /// The record cannot be kept.
    fn record(&mut self, record: &Record) -> Result<(), Self::Error>;
    /// Dead latents were moved, after so many updates.
    ///
    /// # Errors
    /// It cannot be kept.
    fn resampled(&mut self, _step: u64, _moved: &[Moved]) -> Result<(), Self::Error> {
        Ok(())
    }
    /// True if the model after so many updates is wanted.
    fn wants_model(&self, _step: u64) -> bool {
        false
    }
    /// The model after so many updates, where it is wanted.
    fn model(&mut self, _step: u64, _model: &Model) {}
    /// Directions of norm 1, of the inputs and of the targets, whose best cosines do instead of the model, if the backend knows them.
    fn directions(&self) -> Option<[Vec<f32>; 2]> {
        None
    }
    /// Those of W_E and W_D after so many updates, instead of the model.
    fn compared(&mut self, _step: u64, _best: &[Vec<f32>; 2]) {}
    /// True if a checkpoint that is due is wanted.
    fn wants_checkpoint(&self) -> bool {
        true
    }
    /// A checkpoint is due and wanted.
    ///
    /// # Errors
    /// The state cannot be kept.
    fn checkpoint(&mut self, state: &State) -> Result<(), Self::Error>;
}

/// Nobody looks on.
impl Watch for () {
    type Error = std::convert::Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, _: &Record) -> Result<(), Self::Error> {
        Ok(())
    }

    fn wants_checkpoint(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All steps are done.
    Completed,
    /// A recorded loss is at most the target; the update of that step is done.
    Target,
    /// The mean loss of an epoch has fallen too little.
    Plateau,
    /// [`Watch::stop`] wanted it.
    Stopped,
}

/// Why training could not go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError<E> {
    /// Numbers are no longer finite, or the loss has grown out of all proportion.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// The watcher has failed.
    #[error("{0}")]
    Watch(E),
}

/// A training that is going on.
pub struct Trainer<'a, B: Backend> {
    backend: &'a B,
    data: &'a Data,
    plan: &'a Plan,
    params: B::Params,
    opt: B::OptState,
    batch: B::Batch,
    codes: B::Codes,
    grads: B::Grads,
    loader: Loader,
    indices: Vec<u64>,
    step: u64,
    warm_up: WarmUp,
    first_loss: Option<f64>,
    epochs: Epochs,
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// At the beginning. The backend must have been made for the plan's `spec`.
    pub fn new(backend: &'a B, data: &'a Data, plan: &'a Plan) -> Self {
        let mut model = plan.init.model(plan.spec.shape, plan.activation, plan.seed);
        if plan.spec.unit_decoder {
            model.scale_decoder_to_one();
        }
        let params = backend.params(&model);
        let opt = backend.opt_state(&params);
        let (warm_up, epochs) = (plan.spec.schedule.first_warm_up(), Epochs::default());
        Self::at(backend, data, plan, params, opt, (0, warm_up, None, epochs))
    }

    /// Where a state was left: what follows is bit for bit what would have followed then.
    pub fn resume(backend: &'a B, data: &'a Data, plan: &'a Plan, state: &State) -> Self {
        let (params, opt) = (backend.params(&state.model), backend.restore(&state.opt));
        Self::at(backend, data, plan, params, opt, (state.opt.step, state.opt.warm_up, state.first_loss, state.epochs))
    }

    fn at(
        backend: &'a B,
        data: &'a Data,
        plan: &'a Plan,
        params: B::Params,
        opt: B::OptState,
        (step, warm_up, first_loss, epochs): (u64, WarmUp, Option<f64>, Epochs),
    ) -> Self {
        let grads = backend.grads(&params);
        let (batch, codes) = (backend.batch(), backend.codes());
        let (loader, indices) = (Loader::default(), Vec::new());
        Self {
            backend,
            data,
            plan,
            params,
            opt,
            batch,
            codes,
            grads,
            loader,
            indices,
            step,
            warm_up,
            first_loss,
            epochs,
        }
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The parameters now.
    pub fn model(&self) -> Model {
        self.backend.model(&self.params)
    }

    /// Everything that is needed to go on.
    pub fn state(&self) -> State {
        State {
            model: self.model(),
            opt: self.backend.save(&self.opt),
            first_loss: self.first_loss,
            epochs: self.epochs,
        }
    }

    /// Trains until the plan is done, the target or a plateau is reached, or the watcher wants to stop.
    ///
    /// # Errors
    /// Divergence, or an error of the watcher.
    pub fn run<W: Watch>(&mut self, watch: &mut W) -> Result<End, RunError<W::Error>> {
        while self.step < self.plan.steps {
            if self.plan.plateau.is_some_and(|share| self.epochs.reached(share)) {
                return Ok(End::Plateau);
            }
            if self.backend.agreed(watch.stop(self.step)) {
                return Ok(End::Stopped);
            }
            if watch.wants_model(self.step) {
                match watch.directions().and_then(|known| self.compared(&known)) {
                    Some(best) => watch.compared(self.step, &best),
                    None => watch.model(self.step, &self.model()),
                }
            }
            self.look();
            self.count_loss();
            let due = self.step.is_multiple_of(self.plan.log_every) || self.step + 1 == self.plan.steps;
            let mut record = if due { Some(self.observed()?) } else { None };
            self.update();
            if let Some(record) = &mut record {
                record.gradient_norm = self.gradient_norm()?;
                watch.record(record).map_err(RunError::Watch)?;
            }
            self.step += 1;
            let reached = |record: Record| self.plan.target_loss.is_some_and(|target| record.loss <= target);
            if record.is_some_and(reached) {
                return Ok(End::Target);
            }
            if self.plan.resampling.is_due(self.step) && self.step < self.plan.steps {
                let moved = self.resample();
                watch.resampled(self.step, &moved).map_err(RunError::Watch)?;
            }
            let every = self.plan.checkpoint_every;
            let is_due = every > 0 && self.step.is_multiple_of(every) && self.step < self.plan.steps;
            // The watcher of one rank may know that it is too early.
            if is_due && self.backend.agreed(watch.wants_checkpoint()) {
                watch.checkpoint(&self.finite_state()?).map_err(RunError::Watch)?;
            }
        }
        Ok(End::Completed)
    }

    /// The state, if all its numbers are finite.
    ///
    /// # Errors
    /// Where they are not.
    pub fn finite_state(&self) -> Result<State, Diverged> {
        let state = self.state();
        match not_finite(&state) {
            None => Ok(state),
            Some(place) => Err(self.diverged("a parameter is not finite".to_owned(), place)),
        }
    }

    /// Moves dead latents by what the model makes of some samples: those of an epoch that never comes, so that they depend on the step alone.
    fn resample(&mut self) -> Vec<Moved> {
        let (plan, data) = (self.plan, self.data);
        let count = plan.resampling.recipe().map_or(0, |recipe| recipe.samples as u64).min(data.samples());
        let indices: Vec<u64> = (0..count).map(|j| plan.order.at(u64::MAX - self.step, j)).collect();
        let mut codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
        let mut reconstructions = Vec::new();
        for indices in indices.chunks(plan.spec.batch) {
            self.loader.load(self.backend, data, indices, &mut self.batch);
            self.backend.encode_select(&self.params, &self.opt, &self.batch, Mode::Inference, &mut self.codes);
            self.backend.decode_residual(&self.params, &self.batch, &mut self.codes);
            reconstructions.extend(self.backend.reconstruction_of(&self.batch, &self.codes));
            let part = self.backend.codes_of(&self.codes);
            let base = codes.latents.len();
            codes.offsets.extend(part.offsets.iter().skip(1).map(|offset| base + offset));
            codes.latents.extend(part.latents);
            codes.values.extend(part.values);
        }
        let (inputs, targets) = (data.rows(&indices, Side::Input), data.rows(&indices, Side::Target));
        let samples = Samples {
            inputs: &inputs,
            targets: &targets,
            reconstructions: &reconstructions,
            codes: &codes,
            weights: None,
        };
        let spec = &plan.spec;
        let constraints = Constraints { unit_decoder: spec.unit_decoder, anchored: &spec.anchors.latents };
        let mut state = self.state();
        let State { model, opt, .. } = &mut state;
        let elsewhere = |tables: &Tables| self.backend.passes(tables);
        let moved = plan.resampling.apply_with(model, opt, &samples, constraints, &elsewhere, plan.seed);
        if !moved.is_empty() {
            self.warm_up = state.opt.warm_up;
            self.params = self.backend.params(&state.model);
            self.opt = self.backend.restore(&state.opt);
        }
        moved
    }

    /// The best cosines of known directions, where that spares the download of the model.
    fn compared(&self, [inputs, targets]: &[Vec<f32>; 2]) -> Option<[Vec<f32>; 2]> {
        let best = |of, known| self.backend.best_cosines(&self.params, of, known);
        Some([best(Parameter::Encoder, inputs)?, best(Parameter::Decoder, targets)?])
    }

    /// Everything of a step before the update, but for gradients that are a part of it.
    fn look(&mut self) {
        self.plan.order.batch(self.step, &mut self.indices);
        self.loader.load(self.backend, self.data, &self.indices, &mut self.batch);
        let Self { backend, params, opt, batch, codes, grads, .. } = self;
        backend.as_one(Half::Look, &mut || {
            backend.encode_select(params, opt, batch, Mode::Training, codes);
            backend.decode_residual(params, batch, codes);
            if !backend.fuses() {
                backend.backward(params, batch, codes, grads);
            }
        });
    }

    fn update(&mut self) {
        let Self { backend, params, opt, batch, codes, grads, .. } = self;
        if backend.fuses() {
            backend.backward_and_step(params, opt, batch, codes, grads);
        } else {
            backend.as_one(Half::Update, &mut || backend.step(params, opt, codes, grads));
        }
    }

    /// Adds the loss of the batch to those of its epoch, if they decide the end.
    fn count_loss(&mut self) {
        if self.plan.plateau.is_none() {
            return;
        }
        let loss = self.backend.observe(&self.params, &self.codes, &self.grads).loss;
        self.epochs.add(loss, self.indices.len() as u64);
        if (self.step + 1).is_multiple_of(self.plan.order.steps_per_epoch()) {
            self.epochs.close();
        }
    }

    /// What can be seen before the update: everything but the gradient's norm.
    fn observed(&mut self) -> Result<Record, Diverged> {
        let seen = self.backend.observe(&self.params, &self.codes, &self.grads);
        let Observation { loss, mse, scales, penalty, aux, anchor, l0, .. } = seen;
        if !loss.is_finite() {
            let what = format!("the loss is {loss} (mse {mse}, penalty {penalty}, aux {aux}, anchor {anchor})");
            let place = not_finite(&self.state()).or_else(|| self.sample_not_finite()).unwrap_or(Place::Nowhere);
            return Err(self.diverged(what, place));
        }
        if !self.backend.is_finite(&self.params) {
            self.finite_state()?;
        }
        let first = *self.first_loss.get_or_insert(loss);
        if first > 0.0 && loss > self.plan.divergence * first {
            let what = format!("the loss is {loss}, more than {} times the first one, {first}", self.plan.divergence);
            return Err(self.diverged(what, Place::Nowhere));
        }
        let dead = self.backend.idle(&self.opt).iter().filter(|idle| **idle >= self.plan.dead_after).count();
        let spec = &self.plan.spec;
        Ok(Record {
            step: self.step,
            epoch: self.plan.order.place(self.step).epoch,
            samples: self.plan.order.seen(self.step),
            learning_rate: spec.optimizer.learning_rate * spec.schedule.share_with(self.warm_up, self.step),
            loss,
            mse,
            fvu: self.fvu(mse),
            scales,
            // A sum without terms is −0.
            penalty: penalty + 0.0,
            aux: aux + 0.0,
            anchor: anchor + 0.0,
            l0,
            dead,
            gradient_norm: 0.0,
        })
    }

    /// FVU of the batch whose mean squared error this is. The targets are made once more, since the backend may hold them elsewhere.
    fn fvu(&self, mse: f64) -> Option<f64> {
        let n_r = self.plan.spec.shape.n_r;
        let targets = self.data.rows(&self.indices, Side::Target);
        let mut spread = Spread::new(n_r);
        targets.chunks_exact(n_r).for_each(|x| spread.add(x));
        spread.unexplained(mse * self.indices.len() as f64)
    }

    /// Known after the update only, since the update adds the anchors.
    fn gradient_norm(&self) -> Result<f64, Diverged> {
        let norm = self.backend.observe(&self.params, &self.codes, &self.grads).gradient_norm;
        if norm.is_finite() {
            return Ok(norm);
        }
        let place = not_finite(&self.state()).unwrap_or(Place::Nowhere);
        Err(self.diverged(format!("the gradient's norm is {norm}"), place))
    }

    fn diverged(&self, what: String, place: Place) -> Diverged {
        Diverged { step: self.step, epoch: self.plan.order.place(self.step).epoch, what, place }
    }

    /// The first sample of the batch with a number that is not finite. Samples of the bench always are.
    fn sample_not_finite(&self) -> Option<Place> {
        let Data::Rows(rows) = self.data else {
            return None;
        };
        let bad = |index: u64, side| {
            let mut row = vec![0.0; rows.dimension(side)];
            rows.read(&[index], side, &mut row);
            row.iter().any(|x| !x.is_finite())
        };
        let index = self.indices.iter().find(|i| bad(**i, Side::Input) || bad(**i, Side::Target))?;
        Some(Place::Sample(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::backend::reference::Reference;
    use crate::metrics::fit::Fit;
    use crate::sdl::Parameter;
    use crate::train::check::Facts;
    use crate::train::config::Experiment;
    use crate::train::data::Memory;
    use crate::train::mock::Mock;

    fn memory(rows: usize, of: impl Fn(usize, usize) -> f32) -> Data {
        let inputs = (0..rows).flat_map(|i| (0..3).map(move |k| (i, k))).map(|(i, k)| of(i, k)).collect();
        Data::Rows(Box::new(Memory { n_p: 3, inputs, targets: None, labels: None }))
    }

    fn waves(rows: usize) -> Data {
        memory(rows, |i, k| ((i * 7 + k * 3) as f32).sin())
    }

    fn plan(text: &str, data: &Data) -> Plan {
        let text = format!("[model]\nlatents = 8\nactivation = {{ kind = \"relu\" }}\n{text}");
        Experiment::from_toml(&text).unwrap().check().unwrap().plan(Facts::of(data)).unwrap()
    }

    #[derive(Default)]
    struct Log {
        records: Vec<Record>,
        states: Vec<State>,
        moved: Vec<(u64, Vec<u32>)>,
        stop_at: Option<u64>,
    }

    impl Watch for Log {
        type Error = String;

        fn stop(&mut self, step: u64) -> bool {
            self.stop_at == Some(step)
        }

        fn record(&mut self, record: &Record) -> Result<(), String> {
            self.records.push(record.clone());
            Ok(())
        }

        fn resampled(&mut self, step: u64, moved: &[Moved]) -> Result<(), String> {
            self.moved.push((step, moved.iter().map(|moved| moved.latent).collect()));
            Ok(())
        }

        fn checkpoint(&mut self, state: &State) -> Result<(), String> {
            self.states.push(state.clone());
            Ok(())
        }
    }

    fn run(plan: &Plan, data: &Data, mock: &Mock, log: &mut Log) -> (Result<End, RunError<String>>, State) {
        let mut trainer = Trainer::new(mock, data, plan);
        (trainer.run(log), trainer.state())
    }

    /// Wants every model, or the best cosines of these directions.
    struct Looks {
        directions: Option<[Vec<f32>; 2]>,
        models: Vec<Model>,
        compared: Vec<[Vec<f32>; 2]>,
    }

    impl Watch for Looks {
        type Error = String;

        fn stop(&mut self, _: u64) -> bool {
            false
        }

        fn record(&mut self, _: &Record) -> Result<(), String> {
            Ok(())
        }

        fn wants_model(&self, step: u64) -> bool {
            step.is_multiple_of(2)
        }

        fn model(&mut self, _: u64, model: &Model) {
            self.models.push(model.clone());
        }

        fn directions(&self) -> Option<[Vec<f32>; 2]> {
            self.directions.clone()
        }

        fn compared(&mut self, _: u64, best: &[Vec<f32>; 2]) {
            self.compared.push(best.clone());
        }

        fn checkpoint(&mut self, _: &State) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_backend_that_compares_directions_itself_spares_the_model() {
        let data = waves(10);
        let plan = plan("[train]\nbatch = 4\nsteps = 5", &data);
        let mock = Mock::new(&plan.spec);
        let looks = |directions| {
            let mut looks = Looks { directions, models: Vec::new(), compared: Vec::new() };
            assert_eq!(Trainer::new(&mock, &data, &plan).run(&mut looks), Ok(End::Completed));
            looks
        };
        let (first, second) = (vec![1.0, 0.0, 0.0], vec![0.0, 0.6, 0.8, 0.0, 1.0, 0.0]);
        let known = Some([first.clone(), second.clone()]);
        let (with_models, without) = (looks(None), looks(known));
        assert_eq!((with_models.models.len(), with_models.compared.len()), (3, 0));
        let expected = with_models.models.iter().map(|model| {
            let best = |of, known| mock.best_cosines(model, of, known).unwrap();
            [best(Parameter::Encoder, &first), best(Parameter::Decoder, &second)]
        });
        assert_eq!((without.models.len(), without.compared), (0, expected.collect()));
    }

    #[test]
    fn records_come_at_their_steps_and_at_the_last_one_and_the_loss_falls() {
        let data = waves(10);
        let plan = plan("[train]\nbatch = 4\nepochs = 20\nlog_every = 7\n[optimizer]\nlearning_rate = 0.02", &data);
        let mut log = Log::default();
        let (end, state) = run(&plan, &data, &Mock::new(&plan.spec), &mut log);
        assert_eq!(end, Ok(End::Completed));
        assert_eq!(state.opt.step, 60);
        let steps: Vec<u64> = log.records.iter().map(|r| r.step).collect();
        assert_eq!(steps, [0, 7, 14, 21, 28, 35, 42, 49, 56, 59]);
        assert_eq!((log.records[1].epoch, log.records[1].samples), (2, 24));
        assert!(log.records[9].loss < 0.2 * log.records[0].loss);
    }

    #[test]
    fn terms_that_a_loss_does_not_have_are_recorded_as_0_without_a_sign() {
        let data = waves(10);
        let plan = plan("[train]\nbatch = 4\nsteps = 3\nlog_every = 1", &data);
        let mut log = Log::default();
        assert_eq!(Trainer::new(&Cpu::new(plan.spec.clone()), &data, &plan).run(&mut log), Ok(End::Completed));
        for record in &log.records {
            let terms = [record.penalty, record.aux, record.anchor];
            assert_eq!(terms.map(f64::to_bits), [0; 3], "{terms:?}");
        }
    }

    #[test]
    fn the_fvu_of_a_record_is_that_of_evaluation_on_the_same_batch() {
        // Far from zero, where a baseline of zero would give almost nothing.
        let data = memory(10, |i, k| 50.0 + ((i * 7 + k * 3) as f32).sin());
        let plan = plan("[train]\nbatch = 4\nsteps = 9\nlog_every = 1", &data);
        let mock = Mock::new(&plan.spec);
        let mut log = Log::default();
        let mut trainer = Trainer::new(&mock, &data, &plan);
        for step in 0..9 {
            log.stop_at = Some(step + 1);
            trainer.look();
            let mut fit = Fit::new(8, 3);
            let targets = data.rows(&trainer.indices, Side::Target);
            let codes = mock.codes_of(&trainer.codes);
            fit.add(&codes, &targets, &mock.reconstruction_of(&trainer.batch, &trainer.codes));
            let expected = fit.scores().unwrap().fvu.unwrap();
            assert_eq!(trainer.run(&mut log), Ok(if step < 8 { End::Stopped } else { End::Completed }));
            let found = log.records.last().unwrap().fvu.unwrap();
            // The reconstruction is rounded once more, at 50.
            assert!((found / expected - 1.0).abs() < 1e-4, "step {step}: {found}, expected {expected}");
        }
        let constant = memory(10, |_, _| 50.0);
        let mut log = Log::default();
        run(&plan, &constant, &mock, &mut log).0.unwrap();
        assert!(log.records.iter().all(|record| record.fvu.is_none()));
    }

    #[test]
    fn going_on_from_any_checkpoint_gives_the_bits_of_an_uninterrupted_run() {
        let data = waves(11);
        let plan = plan("[train]\nbatch = 4\nsteps = 40\nlog_every = 3\ncheckpoint_every = 5", &data);
        let mock = Mock::new(&plan.spec);
        let mut whole = Log::default();
        let (_, end) = run(&plan, &data, &mock, &mut whole);
        assert_eq!(whole.states.len(), 7);
        for state in &whole.states {
            let mut rest = Log::default();
            let mut trainer = Trainer::resume(&mock, &data, &plan, state);
            assert_eq!(trainer.run(&mut rest), Ok(End::Completed));
            assert_eq!(trainer.state(), end);
            let from = whole.records.iter().position(|r| r.step >= state.opt.step).unwrap();
            assert_eq!(rest.records, whole.records[from..]);
        }
    }

    #[test]
    fn dead_latents_are_moved_when_due_and_going_on_afterwards_gives_the_same_bits() {
        // Three latents that look away from data on one ray never fire.
        let data = memory(20, |i, k| (1 + i % 4) as f32 * [0.6, 0.8, 0.0][k]);
        let text = "[train]\nbatch = 8\nsteps = 30\nlog_every = 1\ncheckpoint_every = 4\n[resampling]\nkind = \"decrease\"\nsteps = [10, 21, 30]\ndead_after = 16\nsamples = 12\nwarm_up = 5";
        let plan = plan(text, &data);
        let mock = Mock::new(&plan.spec);
        let mut whole = Log::default();
        let (_, end) = run(&plan, &data, &mock, &mut whole);
        assert_eq!(whole.moved.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [10, 21]);
        assert!(!whole.moved[0].1.is_empty() && whole.moved[0].1.len() < 8);
        let rate = |step: usize| whole.records[step].learning_rate;
        assert_eq!([9, 10, 11, 14, 15].map(rate), [1e-3, 2e-4, 4e-4, 1e-3, 1e-3]);
        assert!(whole.records[10].dead < whole.records[9].dead);
        for state in &whole.states {
            let mut rest = Log::default();
            let mut trainer = Trainer::resume(&mock, &data, &plan, state);
            assert_eq!(trainer.run(&mut rest), Ok(End::Completed));
            assert_eq!(trainer.state(), end);
            assert_eq!(rest.records, whole.records[state.opt.step as usize..]);
        }
    }

    #[test]
    fn training_stops_when_asked_and_at_the_target() {
        let data = waves(10);
        let stopped = plan("[train]\nsteps = 30", &data);
        let mut log = Log { stop_at: Some(12), ..Log::default() };
        let (end, state) = run(&stopped, &data, &Mock::new(&stopped.spec), &mut log);
        assert_eq!((end, state.opt.step), (Ok(End::Stopped), 12));
        let target = plan("[train]\nsteps = 3000\nlog_every = 5\ntarget_loss = 0.05", &data);
        let mut log = Log::default();
        let (end, state) = run(&target, &data, &Mock::new(&target.spec), &mut log);
        assert_eq!(end, Ok(End::Target));
        let last = log.records.last().unwrap();
        assert!(last.loss <= 0.05 && last.step + 1 == state.opt.step && last.step < 2999);
        assert!(log.records[..log.records.len() - 1].iter().all(|r| r.loss > 0.05));
    }

    #[test]
    fn divergence_stops_with_what_when_and_where() {
        let diverged = |data: &Data, plan: &Plan, mock: &Mock| match run(plan, data, mock, &mut Log::default()).0 {
            Err(RunError::Diverged(diverged)) => diverged,
            other => panic!("{other:?}"),
        };
        let data = waves(10);
        let usual = plan("[train]\nsteps = 30\nlog_every = 4", &data);
        let poisoned = Mock { poison: Some((11, 5)), ..Mock::new(&usual.spec) };
        let error = diverged(&data, &usual, &poisoned);
        assert_eq!((error.step, error.place.clone()), (12, Place::Row("parameter", Parameter::Encoder, 5)));
        assert!(error.to_string().contains("step 12 (epoch 12): the loss is NaN"), "{error}");
        // A checkpoint that is due looks for itself.
        let saving = plan("[train]\nsteps = 30\nlog_every = 30\ncheckpoint_every = 10", &data);
        let error = diverged(&data, &saving, &Mock { poison: Some((9, 5)), ..Mock::new(&saving.spec) });
        assert_eq!((error.step, error.place), (10, Place::Row("parameter", Parameter::Encoder, 5)));
        let wild = plan("[train]\nsteps = 300\n[optimizer]\nrule = \"sgd\"\nlearning_rate = 0.7", &data);
        let error = diverged(&data, &Plan { divergence: 2.0, ..wild.clone() }, &Mock::new(&wild.spec));
        assert!(error.what.contains("times the first one"), "{error}");
        let holes = memory(10, |i, k| if (i, k) == (6, 2) { f32::NAN } else { 1.0 });
        assert_eq!(diverged(&holes, &usual, &Mock::new(&usual.spec)).place, Place::Sample(6));
    }

    #[test]
    fn a_unit_decoder_is_one_from_the_start_whatever_the_start_is_like() {
        let data = waves(10);
        for init in ["weights = \"unit\"", "scale = 3.0", "weights = \"kaiming\""] {
            let text = format!("unit_decoder = true\n[model.init]\n{init}\n[train]\nbatch = 4\nsteps = 5");
            let plan = plan(&text, &data);
            let (cpu, reference) = (Cpu::new(plan.spec.clone()), Reference::new(plan.spec.clone()));
            let drawn = plan.init.model(plan.spec.shape, plan.activation, plan.seed);
            let start = Trainer::new(&cpu, &data, &plan).model();
            assert_eq!(start, Trainer::new(&reference, &data, &plan).model());
            assert_eq!(start.tensors.get(Parameter::Encoder), drawn.tensors.get(Parameter::Encoder));
            assert_eq!(start == drawn, init.contains("unit"));
            let mut trainer = Trainer::new(&cpu, &data, &plan);
            assert_eq!(trainer.run(&mut ()), Ok(End::Completed));
            for model in [start, trainer.model()] {
                let norm = |i: usize| model.w_d(i).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
                // Three squares, their root and a quotient in f32.
                assert!((0..8).all(|i| (norm(i) - 1.0).abs() < 1e-6), "{init}");
            }
        }
    }

    #[test]
    fn small_and_degenerate_data_train() {
        for data in [waves(1), waves(10), memory(10, |_, _| 1.0), memory(10, |_, _| 0.0)] {
            let plan = plan("[train]\nsteps = 12", &data);
            let mut log = Log::default();
            assert_eq!(run(&plan, &data, &Mock::new(&plan.spec), &mut log).0, Ok(End::Completed));
            assert!(log.records.iter().all(|r| r.loss.is_finite()));
        }
    }
}
