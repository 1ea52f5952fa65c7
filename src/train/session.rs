//! A training with its folder: records, checkpoints, the trained model, its scores, and where they come from.

use super::anchors::anchors;
use super::check::{Checked, ConfigError, Facts, Plan};
use super::data::{Content, Data, Mapped};
use super::directory::{DirectoryError, PROVENANCE, RESULT, RunDirectory};
use super::divergence::Diverged;
use super::run::{End, Record, RunError, State, Trainer, Watch};
use super::scoring::{SCORED, score};
use super::trace::Trace;
use crate::backend::collective::{DataParallel, LatentParallel, Ranked, Sharded, Threads};
use crate::backend::{Backend, Spec};
use crate::bench::dataset::{Bench, BenchError};
use crate::io::origin::{Checkout, checkout, instruction_set, processor, target, utc};
use crate::io::{FileError, saelens};
use crate::metrics::Scores;
use crate::metrics::similarity::SimilarityError;
use crate::sdl::Model;
use crate::sdl::folding::{FoldError, fold_decoder_norms};
use crate::sdl::resampling::Moved;
use serde::{Deserialize, Serialize};
use std::time::{Instant, SystemTime};

/// An experiment with its data, ready to train.
pub struct Prepared {
    /// The experiment.
    pub checked: Checked,
    /// Its samples.
    pub data: Data,
    /// What to do with them.
    pub plan: Plan,
}

/// Why an experiment cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A field does not fit the data.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The bench cannot be made.
    #[error("bench: {0}")]
    Bench(#[from] BenchError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Prepared {
    /// Makes the bench or opens the files, and draws the anchors.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub fn new(checked: Checked) -> Result<Self, PrepareError> {
        Self::new_watched(checked, &mut |_| {})
    }

    /// The same; while a bench is made, `watch` is told the largest interference so far.
    ///
    /// # Errors
    /// See [`PrepareError`].
    pub fn new_watched(checked: Checked, watch: &mut dyn FnMut(f64)) -> Result<Self, PrepareError> {
        let experiment = checked.experiment();
        let data = match (&experiment.bench, &experiment.data) {
            (_, Some(files)) => Data::Rows(Box::new(Mapped::open(files)?)),
            (bench, None) => Data::Bench(Box::new(Bench::generate_watched(&bench.clone().unwrap_or_default(), watch)?)),
        };
        let checked = checked.on(Facts::of(&data));
        let mut plan = checked.plan(Facts::of(&data))?;
        if let Some(known) = &checked.experiment().anchors {
            plan.spec.anchors = anchors(known, &data, plan.spec.shape, plan.seed)?;
        }
        plan.contents = data.contents().to_vec();
        Ok(Self { checked, data, plan })
    }
}

/// Who looks on from outside.
pub trait Display {
    /// So many steps are done.
    fn stepped(&mut self, step: u64);
    /// A record was written; so many samples a second since the last one, or since the beginning.
    fn recorded(&mut self, record: &Record, samples_per_second: f64);
    /// True once training is to stop, its state saved.
    fn interrupted(&mut self) -> bool;
}

/// Nobody looks on, and nothing interrupts.
impl Display for () {
    fn stepped(&mut self, _: u64) {}

    fn recorded(&mut self, _: &Record, _: f64) {}

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// `result.json`. The same for the same experiment, contents of its files, program and instruction set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Format of the file.
    pub format: u32,
    /// [`Experiment::hash`](super::config::Experiment::hash).
    pub experiment: String,
    /// How it ended.
    pub end: End,
    /// Updates done.
    pub steps: u64,
    /// Samples seen.
    pub samples: u64,
    /// The last record; absent after 0 steps.
    pub last: Option<Record>,
    /// Samples that were scored: of the bench, samples that training has not seen; of files, the first ones.
    pub scored: u64,
    /// Scores of the trained model.
    pub scores: Scores,
}

/// `provenance.json`: what the last session of a run was made by, and when all of them were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Format of the file.
    pub format: u32,
    /// [`Experiment::hash`](super::config::Experiment::hash).
    pub experiment: String,
    /// Seed of the training.
    pub seed: u64,
    /// Seed of the bench.
    pub bench_seed: Option<u64>,
    /// What the files of the data held, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Content>,
    /// Version of the program.
    pub version: String,
    /// Its source, if known.
    pub source: Option<Checkout>,
    /// Processor architecture and operating system.
    pub target: String,
    /// The processor's name, if known.
    pub processor: Option<String>,
    /// What the processor offers.
    pub instruction_set: Vec<String>,
    /// [`Backend::describe`].
    pub backend: String,
    /// Threads.
    pub threads: usize,
    /// One for each time the command ran.
    pub sessions: Vec<SessionTime>,
    /// What the exported model cannot express.
    pub export_notes: Vec<String>,
}

/// One run of the command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionTime {
    /// When it began, in coordinated universal time.
    pub started: String,
    /// Updates done before.
    pub from_step: u64,
    /// Updates done after it.
    pub to_step: u64,
    /// Seconds in the loop of training, checkpoints included.
    pub training_seconds: f64,
    /// Samples a second in this time.
    pub samples_per_second: f64,
    /// [`Backend::describe`]; absent in runs of before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// A line of `timings.jsonl`.
#[derive(Debug, Serialize)]
struct Timing {
    step: u64,
    seconds: f64,
    samples_per_second: f64,
}

/// Why a training has failed. Its last checkpoint is kept.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Numbers went out of bounds.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Norms are to be moved into the encoder and cannot be.
    #[error("train.fold_decoder_norms: {0}")]
    Fold(#[from] FoldError),
    /// The trained model cannot be scored.
    #[error("scores: {0}")]
    Scores(#[from] SimilarityError),
    /// The device that computes has failed.
    #[error("the device has failed: {0}")]
    Device(String),
}

/// How training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why.
    pub end: End,
    /// Updates done.
    pub step: u64,
    /// What came out, if it is finished.
    pub outcome: Option<Outcome>,
    /// Samples a second in this session.
    pub samples_per_second: f64,
}

/// Trains into a folder, from a state or from the beginning, up to `until` steps if that comes first.
///
/// # Errors
/// Divergence, or a file that cannot be written.
pub fn train<B: Backend>(
    prepared: &Prepared,
    backend: &B,
    directory: &mut RunDirectory,
    state: Option<&State>,
    until: Option<u64>,
    display: &mut dyn Display,
) -> Result<Finish, TrainError> {
    let Prepared { data, plan, .. } = prepared;
    let mut trainer = match state {
        Some(state) => Trainer::resume(backend, data, plan, state),
        None => Trainer::new(backend, data, plan),
    };
    let (started, clock, from) = (SystemTime::now(), Instant::now(), trainer.step());
    let trace = Trace::new(data, plan);
    let mut recorder = Recorder { plan, directory, display, until, clock, marked: (clock, from), kept: clock, trace };
    // A run that was killed between its last checkpoint and its result has nothing left to do.
    let reached = |last: Record| last.step + 1 == from && plan.target_loss.is_some_and(|target| last.loss <= target);
    let ended = if backend.agreed(recorder.directory.last_record()?.is_some_and(reached)) {
        Ok(End::Target)
    } else {
        trainer.run(&mut recorder)
    };
    let mut trace = recorder.trace;
    // What a failed device gives is NaN, which looks like divergence.
    let works = || backend.failure().map_or(Ok(()), |failure| Err(TrainError::Device(failure)));
    let end = ended.map_err(|error| match error {
        RunError::Diverged(diverged) => works().err().unwrap_or(TrainError::Diverged(diverged)),
        RunError::Watch(error) => TrainError::File(error),
    })?;
    let step = trainer.step();
    let state = trainer.finite_state();
    works()?;
    directory.checkpoint(&state?, plan)?;
    let training_seconds = clock.elapsed().as_secs_f64();
    let samples_per_second = (plan.order.seen(step) - plan.order.seen(from)) as f64 / training_seconds.max(1e-9);
    let model = trainer.model();
    drop(trainer);
    works()?;
    let mut outcome = None;
    let mut export_notes = Vec::new();
    if end != End::Stopped {
        let last = directory.last_record()?;
        if let Some(point) = trace.end(step, plan.order.seen(step), &model, last.as_ref()) {
            directory.traced(&point)?;
        }
        let model = kept(plan, model)?;
        export_notes = saelens::write(directory.path(), &model, &export(prepared))?;
        let scores = score(backend, data, plan, &model, SCORED);
        works()?;
        let (scored, scores) = scores?;
        outcome = Some(Outcome {
            format: 1,
            experiment: plan.hash.clone(),
            end,
            steps: step,
            samples: plan.order.seen(step),
            last,
            scored,
            scores,
        });
    }
    let session = SessionTime {
        started: utc(started),
        from_step: from,
        to_step: step,
        training_seconds,
        samples_per_second,
        backend: Some(backend.describe()),
    };
    let provenance = provenance(prepared, backend, directory, session, export_notes);
    directory.file(PROVENANCE, &pretty(&provenance))?;
    if let Some(outcome) = &outcome {
        // Last, since it says that the run is finished.
        directory.file(RESULT, &pretty(outcome))?;
    }
    Ok(Finish { end, step, outcome, samples_per_second })
}

/// [`train`] on the ranks of the plan, each a thread of this process; only the first one writes.
///
/// # Errors
/// Those of [`train`].
pub fn train_on_ranks<B: DataParallel<Numbers = [f32], Marks = [bool]>>(
    prepared: &Prepared,
    make: impl Fn(Spec) -> B + Sync,
    directory: &mut RunDirectory,
    state: Option<&State>,
    until: Option<u64>,
    display: &mut dyn Display,
) -> Result<Finish, TrainError> {
    let spec = &prepared.plan.spec;
    if prepared.plan.ranks == 1 {
        return train(prepared, &make(spec.clone()), directory, state, until, display);
    }
    as_team(
        prepared.plan.ranks,
        |rank| train(prepared, &Ranked::new(rank, spec.clone(), &make), directory, state, until, display),
        |rank| follow(prepared, &Ranked::new(rank, spec.clone(), &make), state),
    )
}

/// [`train`] on so many ranks, each a thread of this process with a part of the latents; only the first one writes.
///
/// # Errors
/// Those of [`train`].
pub fn train_on_shards<B: LatentParallel<Numbers = [f32], Marks = [bool]>>(
    prepared: &Prepared,
    shards: usize,
    make: impl Fn(Spec) -> B + Sync,
    directory: &mut RunDirectory,
    state: Option<&State>,
    until: Option<u64>,
    display: &mut dyn Display,
) -> Result<Finish, TrainError> {
    let spec = &prepared.plan.spec;
    as_team(
        shards.max(1),
        |rank| train(prepared, &Sharded::new(rank, spec.clone(), &make), directory, state, until, display),
        |rank| follow(prepared, &Sharded::new(rank, spec.clone(), &make), state),
    )
}

/// So many ranks, each a thread of this process: what the first one does, while the others do what they do.
fn as_team<T>(ranks: usize, leads: impl FnOnce(&Threads) -> T, follows: impl Fn(&Threads) + Sync) -> T {
    let mut team = Threads::team(ranks);
    let first = team.remove(0);
    std::thread::scope(|scope| {
        let follows = &follows;
        for rank in team {
            scope.spawn(move || follows(&rank));
        }
        // Others wait for this rank until it is dropped, at the end of this block.
        let first = first;
        leads(&first)
    })
}

/// The calls of [`train`] that ranks have to make together, on a rank that writes nothing. Downloads are such calls, where each has a part of the
/// latents.
pub fn follow<B: Backend>(prepared: &Prepared, backend: &B, state: Option<&State>) {
    let Prepared { data, plan, .. } = prepared;
    let mut trainer = match state {
        Some(state) => Trainer::resume(backend, data, plan, state),
        None => Trainer::new(backend, data, plan),
    };
    let trace = Trace::new(data, plan);
    let ended = if backend.agreed(false) { Ok(End::Target) } else { trainer.run(&mut Follower { trace }) };
    // All ranks see the same numbers, so that what goes wrong is reported by the first one.
    let Ok(end) = ended else { return };
    if backend.failure().is_none() && trainer.finite_state().is_ok() {
        let model = trainer.model();
        drop(trainer);
        if let (true, Ok(model)) = (end != End::Stopped, kept(plan, model)) {
            let _ = score(backend, data, plan, &model, SCORED);
        }
    }
}

/// Looks at the same models as a [`Recorder`], and keeps nothing.
struct Follower<'a> {
    trace: Trace<'a>,
}

impl Watch for Follower<'_> {
    type Error = std::convert::Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, _: &Record) -> Result<(), Self::Error> {
        Ok(())
    }

    fn wants_model(&self, step: u64) -> bool {
        self.trace.wants(step)
    }

    fn directions(&self) -> Option<[Vec<f32>; 2]> {
        self.trace.directions()
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The trained model as it is written and scored.
fn kept(plan: &Plan, trained: Model) -> Result<Model, FoldError> {
    if plan.fold_decoder_norms { fold_decoder_norms(&trained) } else { Ok(trained) }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain numbers and texts always serialise");
    text.push(b'\n');
    text
}

fn export(prepared: &Prepared) -> saelens::Export {
    let sources = prepared.data.sources();
    let reconstructs_its_input = prepared.plan.spec.reconstructs_its_input;
    saelens::Export { reconstructs_its_input, sources, ..saelens::Export::default() }
}

fn provenance<B: Backend>(
    prepared: &Prepared,
    backend: &B,
    directory: &RunDirectory,
    session: SessionTime,
    export_notes: Vec<String>,
) -> Provenance {
    // What an earlier session has left, if it can be read; nothing depends on it.
    let before = std::fs::read(directory.path().join(PROVENANCE)).ok();
    let before: Option<Provenance> = before.and_then(|text| serde_json::from_slice(&text).ok());
    let mut sessions = before.map_or_else(Vec::new, |before| before.sessions);
    sessions.push(session);
    Provenance {
        format: 1,
        experiment: prepared.plan.hash.clone(),
        seed: prepared.plan.seed,
        bench_seed: prepared.data.bench().map(|bench| bench.config().seed),
        data: prepared.plan.contents.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: checkout(),
        target: target(),
        processor: processor(),
        instruction_set: instruction_set().into_iter().map(str::to_owned).collect(),
        backend: backend.describe(),
        threads: rayon::current_num_threads(),
        sessions,
        export_notes,
    }
}

/// Writes what a training shows.
struct Recorder<'a, 'd> {
    plan: &'a Plan,
    directory: &'a mut RunDirectory,
    display: &'a mut dyn Display,
    until: Option<u64>,
    clock: Instant,
    /// When the last record came, and the updates that were done then.
    marked: (Instant, u64),
    /// When the last checkpoint was kept, or training began.
    kept: Instant,
    trace: Trace<'d>,
}

impl Watch for Recorder<'_, '_> {
    type Error = FileError;

    fn stop(&mut self, step: u64) -> bool {
        self.display.stepped(step);
        self.until.is_some_and(|until| step >= until) || self.display.interrupted()
    }

    fn record(&mut self, record: &Record) -> Result<(), FileError> {
        self.directory.record(record)?;
        if let Some(point) = self.trace.point(record) {
            self.directory.traced(&point)?;
        }
        // The update of the record's step is done.
        let ((at, before), done) = (self.marked, record.step + 1);
        let samples = self.plan.order.seen(done) - self.plan.order.seen(before);
        let samples_per_second = samples as f64 / at.elapsed().as_secs_f64().max(1e-9);
        self.marked = (Instant::now(), done);
        let seconds = self.clock.elapsed().as_secs_f64();
        self.directory.timing(&Timing { step: record.step, seconds, samples_per_second })?;
        self.display.recorded(record, samples_per_second);
        Ok(())
    }

    fn resampled(&mut self, step: u64, moved: &[Moved]) -> Result<(), FileError> {
        self.directory.resampled(step, moved)
    }

    fn wants_model(&self, step: u64) -> bool {
        self.trace.wants(step)
    }

    fn model(&mut self, step: u64, model: &Model) {
        self.trace.look(step, model);
    }

    fn directions(&self) -> Option<[Vec<f32>; 2]> {
        self.trace.directions()
    }

    fn compared(&mut self, step: u64, best: &[Vec<f32>; 2]) {
        self.trace.compared(step, best);
    }

    fn wants_checkpoint(&self) -> bool {
        self.kept.elapsed().as_secs() >= self.plan.checkpoint_seconds
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), FileError> {
        self.directory.checkpoint(state, self.plan)?;
        self.kept = Instant::now();
        Ok(())
    }
}
