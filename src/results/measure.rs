//! Training and scoring one experiment of the bench.

use super::record::{Origin, RunRecord, Side};
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::metrics::similarity::SimilarityError;
use crate::train::check::ConfigError;
use crate::train::config::Experiment;
use crate::train::divergence::Diverged;
use crate::train::run::{RunError, Trainer};
use crate::train::scoring::{SCORED, score};
use crate::train::session::{PrepareError, Prepared};

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
    let end = trainer.run(&mut ()).map_err(|error| match error {
        RunError::Diverged(diverged) => diverged,
        RunError::Watch(never) => match never {},
    })?;
    let steps = trainer.step();
    let model = trainer.finite_state()?.model;
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
        l0: scores.fit.l0,
        dead: scores.fit.dead,
        fvu: scores.fit.fvu,
        origin: Origin { version: env!("CARGO_PKG_VERSION").to_owned(), commit, device: backend.describe() },
    })
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
        assert_ne!(measure(&experiment, 6, None).unwrap().decoder, record.decoder);
    }

    #[test]
    fn an_experiment_of_no_row_is_refused() {
        let mut experiment = Experiment::from_toml(SMALL).unwrap();
        experiment.published = None;
        let error = measure(&experiment, 0, None).unwrap_err();
        assert!(error.to_string().starts_with("published: expected the row"), "{error}");
    }
}
