//! Training and scoring one experiment of the bench.

use super::record::{Origin, Run, RunRecord};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::bench::config::BenchConfig;
use crate::bench::dataset::{Bench, BenchError};
use crate::metrics::score::Scores;
use crate::metrics::similarity::SimilarityError;
use crate::train::anchors::anchors;
use crate::train::check::{ConfigError, Facts};
use crate::train::config::Experiment;
use crate::train::data::Data;
use crate::train::run::{Diverged, Record, RunError, State, Trainer, Watch};

/// Held-out samples that a model is scored on: those with the numbers N, N + 1, ..
pub const HELD_OUT: u64 = 4096;

/// Why an experiment could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It cannot be trained.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its data cannot be made.
    #[error(transparent)]
    Bench(#[from] BenchError),
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

/// Hears how far a training is.
struct Listener<'a>(&'a mut dyn FnMut(&Record));

impl Watch for Listener<'_> {
    type Error = std::convert::Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, record: &Record) -> Result<(), Self::Error> {
        (self.0)(record);
        Ok(())
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Trains an experiment with all its random numbers from this seed, and scores it on held-out samples. `seen` hears of each recorded step.
///
/// # Errors
/// Whatever stops it, see [`MeasureError`].
pub fn measure(
    experiment: &Experiment,
    seed: u64,
    commit: Option<String>,
    seen: &mut dyn FnMut(&Record),
) -> Result<RunRecord, MeasureError> {
    let mut experiment = experiment.completed();
    experiment.train.seed = seed;
    let published = experiment.published.clone().ok_or(MeasureError::Unpublished)?;
    let config = BenchConfig { seed, ..experiment.bench.clone().ok_or(MeasureError::Unpublished)? };
    experiment.bench = Some(config.clone());
    let checked = experiment.check()?;
    let data = Data::Bench(Box::new(Bench::generate(&config)?));
    let mut plan = checked.plan(Facts::of(&data))?;
    if let Some(known) = &experiment.anchors {
        plan.spec.anchors = anchors(known, &data, plan.spec.shape, seed)?;
    }
    let backend = Cpu::new(plan.spec.clone());
    let mut trainer = Trainer::new(&backend, &data, &plan);
    let end = trainer.run(&mut Listener(seen)).map_err(|error| match error {
        RunError::Diverged(diverged) => diverged,
        RunError::Watch(never) => match never {},
    })?;
    let steps = trainer.step();
    let model = trainer.finite_state()?.model;
    let held_out: Vec<u64> = (config.samples..config.samples + HELD_OUT).collect();
    let bench = data.bench().ok_or(MeasureError::Unpublished)?;
    let scores = Scores::on_bench(&backend, &model, bench, &plan.spec.anchors, &held_out)?;
    let run = Run {
        published,
        experiment: plan.hash.clone(),
        seed,
        size: [config.n, config.n_p, plan.spec.shape.n_q],
        steps,
        epochs: plan.order.seen(steps) as f64 / config.samples as f64,
        end,
    };
    let origin = Origin { version: env!("CARGO_PKG_VERSION").to_owned(), commit, device: backend.describe() };
    RunRecord::of(run, &scores, origin).ok_or(MeasureError::Unpublished)
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
        let mut seen = 0;
        let record = measure(&experiment, 5, None, &mut |_| seen += 1).unwrap();
        assert_eq!((record.steps, record.epochs, record.size), (640, 40.0, [24, 16, 48]));
        assert!(seen > 10);
        // Chance is a MIP of about 0.7 for 48 random directions in 16 dimensions; training must beat it by far.
        assert!(record.decoder.normalised.mip > 0.9, "{record:?}");
        assert_eq!(measure(&experiment, 5, None, &mut |_| ()).unwrap(), record);
        assert_ne!(measure(&experiment, 6, None, &mut |_| ()).unwrap().decoder, record.decoder);
    }

    #[test]
    fn an_experiment_of_no_row_is_refused() {
        let mut experiment = Experiment::from_toml(SMALL).unwrap();
        experiment.published = None;
        let error = measure(&experiment, 0, None, &mut |_| ()).unwrap_err();
        assert!(error.to_string().starts_with("published: expected the row"), "{error}");
    }
}
