//! Training and scoring one experiment of the bench.

use super::record::{Origin, RunRecord, Side, six};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::io::FileError;
use crate::metrics::Scores;
use crate::metrics::similarity::SimilarityError;
use crate::sdl::Model;
use crate::sdl::resampling::Moved;
use crate::train::check::{ConfigError, Plan};
use crate::train::config::{Experiment, Published};
use crate::train::data::Data;
use crate::train::directory::{CONFIG, PROVENANCE, RESAMPLING, RESULT, Resampled, TRACE};
use crate::train::divergence::Diverged;
use crate::train::run::{End, Record, RunError, State, Trainer, Watch};
use crate::train::scoring::{SCORED, score};
use crate::train::session::{Outcome, PrepareError, Prepared, Provenance};
use crate::train::trace::{Point, Trace};
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::path::Path;

/// Why an experiment could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It cannot be trained.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is no experiment.
    #[error("{0}")]
    Text(String),
    /// Its data cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Its training went wrong.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// Its model cannot be scored.
    #[error(transparent)]
    Score(#[from] SimilarityError),
    /// It repeats no row of the paper, or its features are not known.
    #[error("published: expected the row of the paper that the experiment repeats, on the bench")]
    Unpublished,
}

/// Trains an experiment with all its random numbers from this seed, and scores it on held-out samples.
///
/// # Errors
/// Whatever stops it, see [`MeasureError`].
pub fn measure(experiment: &Experiment, seed: u64, commit: Option<String>) -> Result<RunRecord, MeasureError> {
    let mut experiment = experiment.completed();
    experiment.train.seed = seed;
    let (Some(published), Some(bench)) = (experiment.published.clone(), &mut experiment.bench) else {
        return Err(MeasureError::Unpublished);
    };
    bench.seed = seed;
    let (n, n_p) = (bench.n, bench.n_p);
    let course = follow(&experiment)?;
    let Course { data, plan, backend, .. } = &course;
    let (_, scores) = score(backend, data, plan, &course.model, SCORED)?;
    let made = Made {
        published,
        experiment: plan.hash.clone(),
        seed,
        size: [n, n_p, plan.spec.shape.n_q],
        steps: course.steps,
        epochs: plan.order.seen(course.steps) as f64 / data.samples() as f64,
        end: course.end,
        moved: Some(course.moved),
        trace: &course.trace,
        origin: Origin { version: env!("CARGO_PKG_VERSION").to_owned(), commit, device: backend.describe() },
    };
    made.record(&scores).ok_or(MeasureError::Unpublished)
}

/// A training as it went.
pub struct Course {
    /// One for every `log_every` steps.
    pub records: Vec<Record>,
    /// Recovery on the way.
    pub trace: Vec<Point>,
    /// Dead latents that resampling has moved, each time counted.
    pub moved: u64,
    /// Why it ended.
    pub end: End,
    /// Updates done.
    pub steps: u64,
    /// What came out.
    pub model: Model,
    data: Data,
    plan: Plan,
    backend: Cpu,
}

/// Trains an experiment.
///
/// # Errors
/// Whatever stops it, see [`MeasureError`].
pub fn follow(experiment: &Experiment) -> Result<Course, MeasureError> {
    let Prepared { data, plan, .. } = Prepared::new(experiment.check()?)?;
    let backend = Cpu::new(plan.spec.clone());
    let mut trainer = Trainer::new(&backend, &data, &plan);
    let mut log = Log { trace: Trace::new(&data, &plan), points: Vec::new(), records: Vec::new(), moved: 0 };
    let end = trainer.run(&mut log).map_err(|error| match error {
        RunError::Diverged(diverged) => diverged,
        RunError::Watch(never) => match never {},
    })?;
    let steps = trainer.step();
    let model = trainer.finite_state()?.model;
    let Log { mut trace, points: mut all, records, moved } = log;
    all.extend(trace.end(steps, plan.order.seen(steps), &model, records.last()));
    drop(trace);
    Ok(Course { records, trace: all, moved, end, steps, model, data, plan, backend })
}

/// The record of a finished run, from its folder.
///
/// # Errors
/// Files that cannot be read or are none of a run on the bench that repeats a row of the paper.
pub fn recorded(folder: &Path, experiment: &Experiment) -> Result<RunRecord, FileError> {
    let experiment = experiment.completed();
    let wrong = |name: &str, field: &str| {
        let expected = "a run on the bench that repeats a row of the paper";
        FileError::content(&folder.join(name), field, expected, "another one")
    };
    let (Some(published), Some(bench)) = (experiment.published.clone(), &experiment.bench) else {
        return Err(wrong(CONFIG, "published"));
    };
    let outcome: Outcome = json(&folder.join(RESULT))?;
    let provenance: Provenance = json(&folder.join(PROVENANCE))?;
    let resampled: Vec<Resampled> = lines(&folder.join(RESAMPLING))?;
    let trace: Vec<Point> = lines(&folder.join(TRACE))?;
    let made = Made {
        published,
        experiment: outcome.experiment.clone(),
        seed: experiment.train.seed,
        size: [bench.n, bench.n_p, experiment.model.latents],
        steps: outcome.steps,
        epochs: outcome.samples as f64 / bench.samples as f64,
        end: outcome.end,
        moved: Some(resampled.iter().map(|moved| moved.latents.len() as u64).sum()),
        trace: &trace,
        origin: Origin {
            version: provenance.version,
            commit: provenance.source.map(|source| source.revision()),
            device: provenance.backend,
        },
    };
    made.record(&outcome.scores).ok_or_else(|| wrong(RESULT, "scores"))
}

fn text(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(|error| FileError::read(path, error))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let of = |error: serde_json::Error| FileError::content(path, "run", "a file of a finished run", error.to_string());
    serde_json::from_str(&text(path)?).map_err(of)
}

/// Lines of JSON; none if there is no file.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, FileError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let of = |error: serde_json::Error| FileError::content(path, "line", "a line of a run", error.to_string());
    text(path)?.lines().map(|line| serde_json::from_str(line).map_err(of)).collect()
}

/// What a record says beside the scores.
struct Made<'a> {
    published: Published,
    experiment: String,
    seed: u64,
    size: [usize; 3],
    steps: u64,
    epochs: f64,
    end: End,
    moved: Option<u64>,
    trace: &'a [Point],
    origin: Origin,
}

impl Made<'_> {
    fn record(self, scores: &Scores) -> Option<RunRecord> {
        let Self { published, experiment, seed, size, steps, epochs, end, moved, trace, origin } = self;
        Some(RunRecord {
            format: 1,
            published,
            experiment,
            seed,
            size,
            steps,
            epochs,
            end,
            encoder: Side::of(scores.encoder.as_ref()?),
            decoder: Side::of(scores.decoder.as_ref()?),
            l0: six(scores.fit.l0),
            dead: six(scores.fit.dead),
            fvu: scores.fit.fvu.map(six),
            moved,
            trace: trace.iter().map(short).collect(),
            origin,
        })
    }
}

/// What a training shows that its record keeps.
struct Log<'a> {
    trace: Trace<'a>,
    points: Vec<Point>,
    records: Vec<Record>,
    moved: u64,
}

impl Watch for Log<'_> {
    type Error = Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, record: &Record) -> Result<(), Infallible> {
        self.points.extend(self.trace.point(record));
        self.records.push(record.clone());
        Ok(())
    }

    fn resampled(&mut self, _: u64, moved: &[Moved]) -> Result<(), Infallible> {
        self.moved += moved.len() as u64;
        Ok(())
    }

    fn wants_model(&self, step: u64) -> bool {
        self.trace.wants(step)
    }

    fn model(&mut self, step: u64, model: &Model) {
        self.trace.look(step, model);
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A point in the digits of a record.
fn short(point: &Point) -> Point {
    let Point { step, samples, loss, l0, encoder, decoder } = *point;
    Point { step, samples, loss: six(loss), l0: six(l0), encoder: six(encoder), decoder: six(decoder) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::directory::{Opening, RunDirectory};
    use crate::train::session::train;

    const SMALL: &str = r#"
        published = { table = 1, method = "TopK SAE" }
        [bench]
        n = 24
        n_p = 16
        interference = 0.35
        sparsity = 0.95
        samples = 4096
        [model]
        latents = 48
        activation = { kind = "top-k", k = 3 }
        [train]
        batch = 256
        epochs = 40
        [optimizer]
        learning_rate = 0.01
    "#;

    #[test]
    fn an_experiment_is_trained_and_scored_and_the_seed_alone_decides_the_result() {
        let experiment = Experiment::from_toml(SMALL).unwrap();
        let record = measure(&experiment, 5, None).unwrap();
        assert_eq!((record.steps, record.epochs, record.size), (640, 40.0, [24, 16, 48]));
        // Chance is a MIP of about 0.7 for 48 random directions in 16 dimensions; training must beat it by far.
        assert!(record.decoder.normalised.mip > 0.9, "{record:?}");
        assert_eq!(measure(&experiment, 5, None).unwrap(), record);
        let last = record.trace.last().unwrap();
        assert_eq!((last.step, last.samples), (640, 40 * 4096));
        assert_eq!((last.encoder, last.decoder), (record.encoder.normalised.at(18), record.decoder.normalised.at(18)));
        let steps: Vec<u64> = record.trace.iter().map(|point| point.step).collect();
        assert_eq!(steps, [0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640]);
        assert!(record.trace[0].decoder < 0.5 && last.loss < 0.5 * record.trace[0].loss, "{:?}", record.trace);
        assert_ne!(measure(&experiment, 6, None).unwrap().decoder, record.decoder);
    }

    #[test]
    fn looking_on_changes_no_bit_of_training() {
        let experiment = Experiment::from_toml(SMALL).unwrap().completed();
        let Prepared { data, plan, .. } = Prepared::new(experiment.check().unwrap()).unwrap();
        let backend = Cpu::new(plan.spec.clone());
        let mut alone = Trainer::new(&backend, &data, &plan);
        alone.run(&mut ()).unwrap();
        let mut watched = Trainer::new(&backend, &data, &plan);
        let mut log = Log { trace: Trace::new(&data, &plan), points: Vec::new(), records: Vec::new(), moved: 0 };
        watched.run(&mut log).unwrap();
        assert_eq!(log.points.len(), 12);
        assert_eq!(watched.state(), alone.state());
    }

    #[test]
    fn dead_latents_that_are_moved_are_counted() {
        let mut experiment = Experiment::from_toml(SMALL).unwrap();
        assert_eq!(measure(&experiment, 5, None).unwrap().moved, Some(0));
        let text = "[resampling]\nkind = \"decrease\"\nsteps = [100]\ndead_after = 400\nsamples = 64";
        experiment.resampling = Experiment::from_toml(text).unwrap().resampling;
        experiment.model.latents = 400;
        let moved = measure(&experiment, 5, None).unwrap().moved.unwrap();
        assert!((1..=400).contains(&moved), "{moved}");
    }

    #[test]
    fn a_finished_run_gives_the_record_of_the_same_training() {
        let folder = tempfile::tempdir().unwrap();
        let mut experiment = Experiment::from_toml(SMALL).unwrap().completed();
        experiment.train.seed = 5;
        experiment.bench.as_mut().unwrap().seed = 5;
        let prepared = Prepared::new(experiment.check().unwrap()).unwrap();
        let opened = RunDirectory::open(folder.path(), &prepared.checked, &prepared.plan, Opening::Force);
        let backend = Cpu::new(prepared.plan.spec.clone());
        train(&prepared, &backend, &mut opened.unwrap().0, None, None, &mut ()).unwrap();
        let found = recorded(folder.path(), &experiment).unwrap();
        let commit = found.origin.commit.clone();
        assert_eq!(found, measure(&experiment, 5, commit).unwrap());
        std::fs::write(folder.path().join(RESULT), "{}").unwrap();
        let error = recorded(folder.path(), &experiment).unwrap_err().to_string();
        assert!(error.contains("result.json: run: expected a file of a finished run"), "{error}");
    }

    #[test]
    fn an_experiment_of_no_row_is_refused() {
        let mut experiment = Experiment::from_toml(SMALL).unwrap();
        experiment.published = None;
        let error = measure(&experiment, 0, None).unwrap_err();
        assert!(error.to_string().starts_with("published: expected the row"), "{error}");
    }
}
