//! Training and scoring one experiment of the bench.

use super::record::{Origin, RunRecord, Side, six};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::metrics::similarity::SimilarityError;
use crate::sdl::Model;
use crate::sdl::resampling::Moved;
use crate::train::check::ConfigError;
use crate::train::config::Experiment;
use crate::train::divergence::Diverged;
use crate::train::run::{Record, RunError, State, Trainer, Watch};
use crate::train::scoring::{SCORED, score};
use crate::train::session::{PrepareError, Prepared};
use crate::train::trace::{Point, Trace};
use std::convert::Infallible;

/// Why an experiment could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It cannot be trained.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    let Prepared { data, plan, .. } = Prepared::new(experiment.check()?)?;
    let backend = Cpu::new(plan.spec.clone());
    let mut trainer = Trainer::new(&backend, &data, &plan);
    let mut log = Log { trace: Trace::new(&data, &plan), points: Vec::new(), last: None, moved: 0 };
    let end = trainer.run(&mut log).map_err(|error| match error {
        RunError::Diverged(diverged) => diverged,
        RunError::Watch(never) => match never {},
    })?;
    let steps = trainer.step();
    let model = trainer.finite_state()?.model;
    log.points.extend(log.trace.end(steps, plan.order.seen(steps), &model, log.last.as_ref()));
    let (_, scores) = score(&backend, &data, &plan, &model, SCORED)?;
    let (Some(encoder), Some(decoder)) = (&scores.encoder, &scores.decoder) else {
        return Err(MeasureError::Unpublished);
    };
    Ok(RunRecord {
        format: 1,
        published,
        experiment: plan.hash.clone(),
        seed,
        size: [n, n_p, plan.spec.shape.n_q],
        steps,
        epochs: plan.order.seen(steps) as f64 / data.samples() as f64,
        end,
        encoder: Side::of(encoder),
        decoder: Side::of(decoder),
        l0: six(scores.fit.l0),
        dead: six(scores.fit.dead),
        fvu: scores.fit.fvu.map(six),
        moved: Some(log.moved),
        trace: log.points.iter().map(short).collect(),
        origin: Origin { version: env!("CARGO_PKG_VERSION").to_owned(), commit, device: backend.describe() },
    })
}

/// What a training shows that its record keeps.
struct Log<'a> {
    trace: Trace<'a>,
    points: Vec<Point>,
    last: Option<Record>,
    moved: u64,
}

impl Watch for Log<'_> {
    type Error = Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, record: &Record) -> Result<(), Infallible> {
        self.points.extend(self.trace.point(record));
        self.last = Some(record.clone());
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
        let mut log = Log { trace: Trace::new(&data, &plan), points: Vec::new(), last: None, moved: 0 };
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
    fn an_experiment_of_no_row_is_refused() {
        let mut experiment = Experiment::from_toml(SMALL).unwrap();
        experiment.published = None;
        let error = measure(&experiment, 0, None).unwrap_err();
        assert!(error.to_string().starts_with("published: expected the row"), "{error}");
    }
}
