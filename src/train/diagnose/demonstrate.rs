//! Does it help to do what a diagnosis says? Small benches, trained, diagnosed, treated and trained on, beside a control that is only trained on.
//!
//! Three arms go on from one and the same state, with the same samples in the same order and the same number of steps:
//!
//! * **control**: nothing is changed;
//! * **resample**: the advised latents are moved by the exact decrease on the features alone ([`Resampling::Decrease`]), which is what the diagnosis has
//!   promised to lower L̃;
//! * **anchor**: the advised features are anchored to the advised latents (eqs. 24, 25). It is told where they are, so its recovery is counted on the
//!   other features, in all arms alike.

use super::{Diagnosis, FeatureError, KnownFeatures, Settings, diagnose, isolated::Isolated};
use crate::backend::cpu::Cpu;
use crate::metrics::Scores;
use crate::metrics::similarity::SimilarityError;
use crate::sdl::resampling::{Constraints, Recipe, Resampling};
use crate::sdl::{Anchors, Model, Parameter};
use crate::stats::table::rounded;
use crate::stats::{Cell, Kind, MeanInterval, SignedRank, Table, Zeros, holm};
use crate::train::check::{ConfigError, Plan};
use crate::train::config::Experiment;
use crate::train::data::Data;
use crate::train::run::{Record, RunError, State, Trainer, Watch};
use crate::train::session::{PrepareError, Prepared};
use std::convert::Infallible;

/// An experiment on the bench, and when it is diagnosed.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// What it is called.
    pub name: String,
    /// The experiment; its steps are those before and after the diagnosis together.
    pub experiment: Experiment,
    /// Steps before the diagnosis.
    pub before: u64,
    /// λ_anchor of the arm that anchors.
    pub weight: f64,
}

/// Why a trial has no result.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The experiment cannot be trained.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is no experiment.
    #[error("{0}")]
    Text(String),
    /// Its data cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// Its training went wrong.
    #[error("{0}")]
    Training(String),
    /// Its model cannot be diagnosed.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// Its model cannot be scored.
    #[error(transparent)]
    Score(#[from] SimilarityError),
    /// It has no known features.
    #[error("bench: expected a bench, found files")]
    NoBench,
}

/// What an arm came to, on samples that training has not seen and on features alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reached {
    /// E‖x_r − x̂_r‖².
    pub loss: f64,
    /// L̃.
    pub isolated: f64,
    /// M_GT(.9) of decoder columns.
    pub recovery: f64,
    /// The same for features and latents that the arm which anchors has not anchored; absent if there are none.
    pub free: Option<f64>,
}

/// One seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The diagnosis half-way.
    pub diagnosis: Diagnosis,
    /// Latents that the arm which resamples has moved.
    pub moved: usize,
    /// What L̃ fell by as they were moved, and what the rule promised, less what these latents did before.
    pub promised: (f64, f64),
    /// Trained on as it was.
    pub control: Reached,
    /// After resampling.
    pub resample: Reached,
    /// With anchors.
    pub anchor: Reached,
}

/// Samples that are scored.
const HELD_OUT: u64 = 2048;
/// τ = .9 in the hundredths of [`Scores`].
const TAU: usize = 90;

/// The trials of the command: a sparse model with dead latents in the regime where L̃ is a fair part of the loss, and one where samples overlap.
pub fn trials() -> Result<Vec<Trial>, TrialError> {
    let trial = |name: &str, sparsity: f64, k: usize| {
        let text = format!(
            "[bench]\nn = 64\nn_p = 40\ninterference = 0.5\nsparsity = {sparsity}\nsamples = 8192\nrates = {{ kind = \"zipf\", exponent = 0.5 }}\n\
             [model]\nlatents = 80\nactivation = {{ kind = \"top-k-relu\", k = {k} }}\n\
             [optimizer]\nlearning_rate = 0.003\n\
             [train]\nbatch = 128\nsteps = 1200\nlog_every = 100\n"
        );
        let experiment = Experiment::from_toml(&text).map_err(TrialError::Text)?;
        Ok::<_, TrialError>(Trial { name: name.to_owned(), experiment, before: 600, weight: 0.1 })
    };
    Ok(vec![trial("S = 0.995, k = 2", 0.995, 2)?, trial("S = 0.97, k = 4", 0.97, 4)?])
}

/// Ends a training at a step.
struct Until(u64);

impl Watch for Until {
    type Error = Infallible;

    fn stop(&mut self, step: u64) -> bool {
        step >= self.0
    }

    fn record(&mut self, _: &Record) -> Result<(), Infallible> {
        Ok(())
    }

    fn checkpoint(&mut self, _: &State) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Trial {
    /// Trains, diagnoses and treats, with all random numbers from this seed.
    ///
    /// # Errors
    /// Whatever stops it.
    pub fn run(&self, seed: u64) -> Result<Seen, TrialError> {
        let mut experiment = self.experiment.completed();
        experiment.train.seed = seed;
        experiment.bench.as_mut().ok_or(TrialError::NoBench)?.seed = seed;
        let Prepared { data, plan, .. } = Prepared::new(experiment.check()?)?;
        let features = KnownFeatures::of_bench(data.bench().ok_or(TrialError::NoBench)?)?;
        let backend = Cpu::new(plan.spec.clone());
        let mut trainer = Trainer::new(&backend, &data, &plan);
        trainer.run(&mut Until(self.before)).map_err(failed)?;
        let state = trainer.state();
        let settings = Settings { seed, ..Settings::default() };
        let diagnosis = diagnose(&state.model, &features, None, settings)?;

        let mut moved_state = state.clone();
        let (moved, emptied) = resample(&mut moved_state, &features, &diagnosis, &plan);
        let fallen = diagnosis.loss - Isolated::of(&moved_state.model, &features).loss();
        let promised = diagnosis.loss - emptied + moved.iter().sum::<f64>();

        let anchors = anchors(&diagnosis, &features, self.weight);
        let mut anchored = plan.clone();
        anchored.spec.anchors = anchors.clone();
        let unpulled = Anchors { weight: 0.0, ..anchors };
        let reached = |plan: &Plan, state: &State| {
            let model = trained_on(&data, plan, state)?;
            reached(&data, plan, &model, &features, &unpulled)
        };
        Ok(Seen {
            moved: moved.len(),
            promised: (fallen, promised),
            control: reached(&plan, &state)?,
            resample: reached(&plan, &moved_state)?,
            anchor: reached(&anchored, &state)?,
            diagnosis,
        })
    }
}

fn failed(error: RunError<Infallible>) -> TrialError {
    TrialError::Training(error.to_string())
}

/// To the end of the plan.
fn trained_on(data: &Data, plan: &Plan, state: &State) -> Result<Model, TrialError> {
    let backend = Cpu::new(plan.spec.clone());
    let mut trainer = Trainer::resume(&backend, data, plan, state);
    trainer.run(&mut Until(u64::MAX)).map_err(failed)?;
    Ok(trainer.model())
}

/// Empties the advised latents and moves them by what is missing of the features alone; the decreases that the rule promises for each, and L̃ between the two.
/// Latents that find nothing to do stay empty.
fn resample(state: &mut State, features: &KnownFeatures, diagnosis: &Diagnosis, plan: &Plan) -> (Vec<f64>, f64) {
    const DEAD: u64 = u64::MAX;
    let idle = state.opt.idle.clone();
    state.opt.idle.fill(0);
    for spare in &diagnosis.advice.resample {
        state.opt.idle[spare.latent] = DEAD;
        // What it hardly does would keep it from being moved.
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            state.model.tensors.row_mut(parameter, spare.latent).fill(0.0);
        }
    }
    let emptied = state.model.clone();
    let isolated = Isolated::of(&emptied, features);
    let recipe = Recipe { dead_after: DEAD, ..Recipe::default() };
    let constraints = Constraints { unit_decoder: plan.spec.unit_decoder, anchored: &plan.spec.anchors.latents };
    let samples = super::samples(&isolated);
    let moved = Resampling::Decrease(recipe).apply(&mut state.model, &mut state.opt, &samples, constraints, plan.seed);
    state.opt.idle = idle;
    moved.iter().for_each(|moved| state.opt.idle[moved.latent as usize] = 0);
    (moved.iter().filter_map(|moved| moved.decrease).collect(), isolated.loss())
}

/// The advised features for the advised latents, as many as there are of both.
fn anchors(diagnosis: &Diagnosis, features: &KnownFeatures, weight: f64) -> Anchors {
    let advice = &diagnosis.advice;
    let pairs = advice.anchor.iter().zip(&advice.resample);
    let mut anchors = Anchors { weight, ..Anchors::none() };
    for (feature, spare) in pairs {
        anchors.latents.push(spare.latent as u32);
        anchors.features.push(feature.feature as u32);
        anchors.inputs.extend(features.P.col_as_slice(feature.feature).iter().map(|x| *x as f32));
        anchors.targets.extend(features.R.col_as_slice(feature.feature).iter().map(|x| *x as f32));
    }
    anchors
}

fn reached(
    data: &Data,
    plan: &Plan,
    model: &Model,
    features: &KnownFeatures,
    anchors: &Anchors,
) -> Result<Reached, TrialError> {
    let bench = data.bench().ok_or(TrialError::NoBench)?;
    let backend = Cpu::new(plan.spec.clone());
    let first = bench.config().samples;
    let held_out: Vec<u64> = (first..first + HELD_OUT).collect();
    let scores = Scores::on_bench(&backend, model, bench, anchors, &held_out)?;
    let decoder = scores.decoder.as_ref().map(|side| &side.whole.normalised);
    let all = decoder.map_or(f64::NAN, |decoder| decoder.all.recovered_at(TAU));
    let free = decoder.and_then(|decoder| if anchors.is_empty() { Some(&decoder.all) } else { decoder.free.as_ref() });
    Ok(Reached {
        loss: scores.fit.mse,
        isolated: Isolated::of(model, features).loss(),
        recovery: all,
        free: free.map(|free| free.recovered_at(TAU)),
    })
}

/// Differences of an arm from the control.
struct Compared {
    trial: String,
    what: &'static str,
    arm: &'static str,
    control: f64,
    difference: MeanInterval,
    test: SignedRank,
}

/// Runs all trials with these seeds and compares the arms with their control, seed by seed: mean differences with 95 % intervals by Student's t, and the signed-rank
/// test of Wilcoxon with Holm's correction over all rows.
///
/// # Errors
/// The first trial that has no result.
pub fn demonstrate(trials: &[Trial], seeds: &[u64]) -> Result<Table, TrialError> {
    let mut rows: Vec<Compared> = Vec::new();
    let mut notes = Vec::new();
    for trial in trials {
        let seen = seeds.iter().map(|seed| trial.run(*seed)).collect::<Result<Vec<_>, _>>()?;
        rows.extend(compared(trial, &seen));
        notes.push(note(trial, &seen));
    }
    let p: Vec<f64> = rows.iter().map(|row| row.test.p).collect();
    let adjusted = holm(&p).unwrap_or(p);
    let columns = [
        ("trial", Kind::Text),
        ("what is measured", Kind::Text),
        ("advice", Kind::Text),
        ("control", Kind::Number),
        ("difference", Kind::Number),
        ("p", Kind::Number),
        ("effect", Kind::Number),
    ];
    let mut table = Table::new("diagnosis-demonstrated", "diagnose", columns)
        .title("What following a diagnosis does")
        .caption(
            "A model is trained, diagnosed, treated as advised and trained on, against a control that is trained on for as many steps without. Differences are \
             means over seeds with 95 % intervals; p is of Wilcoxon's signed-rank test after Holm's correction over all rows; the effect is the matched-pairs \
             rank-biserial correlation. Losses are better when lower, recovery when higher.",
        );
    for (row, p) in rows.into_iter().zip(adjusted) {
        let MeanInterval { mean: value, .. } = row.difference;
        table.push([
            Cell::from(row.trial),
            Cell::from(row.what),
            Cell::from(row.arm),
            Cell::number(row.control, 3),
            Cell::Interval { value, low: row.difference.low(), high: row.difference.high(), digits: 2 },
            Cell::number(p, 2),
            Cell::number(row.test.effect, 2),
        ]);
    }
    Ok(notes.iter().fold(table, |table, text| table.note(text)))
}

fn compared(trial: &Trial, seen: &[Seen]) -> Vec<Compared> {
    type Of = fn(&Reached) -> Option<f64>;
    type Arm = fn(&Seen) -> &Reached;
    let measures: [(&'static str, Of); 4] = [
        ("loss L on held-out samples", |reached| Some(reached.loss)),
        ("L̃", |reached| Some(reached.isolated)),
        ("decoder recovery", |reached| Some(reached.recovery)),
        ("decoder recovery, features not anchored", |reached| reached.free),
    ];
    let arms: [(&'static str, Arm); 2] = [("resample", |s| &s.resample), ("anchor", |s| &s.anchor)];
    let mut rows = Vec::new();
    for (what, of) in measures {
        for (arm, treated) in arms {
            let pairs: Vec<(f64, f64)> = seen.iter().filter_map(|s| Some((of(&s.control)?, of(treated(s))?))).collect();
            let differences: Vec<f64> = pairs.iter().map(|(control, treated)| treated - control).collect();
            let control = MeanInterval::of(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
            let (Some(control), Some(difference), Some(test)) =
                (control, MeanInterval::of(&differences), SignedRank::of(&differences, Zeros::Pratt))
            else {
                continue;
            };
            rows.push(Compared { trial: trial.name.clone(), what, arm, control: control.mean, difference, test });
        }
    }
    rows
}

/// What the diagnoses of a trial said.
fn note(trial: &Trial, seen: &[Seen]) -> String {
    let mean = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / seen.len().max(1) as f64;
    let mut verdicts: Vec<&str> = seen.iter().map(|s| s.diagnosis.verdict.name()).collect();
    verdicts.sort_unstable();
    verdicts.dedup();
    format!(
        "{}: {} seeds, {} steps before and {} after. Diagnosed half-way: {}; on average {} latents dead on all features, {} features to anchor, {} latents moved, \
         by which L̃ fell at once by {}, where the rule promised {}.",
        trial.name,
        seen.len(),
        trial.before,
        trial.experiment.train.steps.unwrap_or(0).saturating_sub(trial.before),
        verdicts.join(", "),
        rounded(mean(&|s| s.diagnosis.pattern.dead as f64), 3),
        rounded(mean(&|s| s.diagnosis.advice.anchor.len() as f64), 3),
        rounded(mean(&|s| s.moved as f64), 3),
        rounded(mean(&|s| s.promised.0), 3),
        rounded(mean(&|s| s.promised.1), 3),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short() -> Trial {
        let text = "[bench]\nn = 16\nn_p = 12\ninterference = 0.6\nsparsity = 0.98\nsamples = 512\n[model]\nlatents = 20\nactivation = { kind = \"top-k-relu\", k = 1 }\n[optimizer]\nlearning_rate = 0.01\n[train]\nbatch = 64\nsteps = 80\n";
        Trial { name: "short".into(), experiment: Experiment::from_toml(text).unwrap(), before: 60, weight: 0.1 }
    }

    #[test]
    fn resampling_keeps_the_promise_of_the_exact_rule_and_spares_other_latents() {
        let trial = short();
        let seen = trial.run(1).unwrap();
        assert!(seen.moved > 0, "{:?}", seen.diagnosis.advice);
        let (fallen, promised) = seen.promised;
        assert!((fallen - promised).abs() < 1e-5 * seen.diagnosis.loss, "{fallen} {promised}");
        assert!(promised > 0.1 * seen.diagnosis.loss);
    }

    #[test]
    fn anchors_without_weight_end_where_the_control_ends_and_others_do_not() {
        let mut trial = short();
        let weighted = trial.run(1).unwrap();
        trial.weight = 0.0;
        let seen = trial.run(1).unwrap();
        assert_eq!((seen.anchor, seen.resample), (seen.control, weighted.resample));
        assert!(weighted.anchor != weighted.control && weighted.control == seen.control);
    }

    #[test]
    fn the_table_compares_every_arm_by_every_measure() {
        let table = demonstrate(&[short()], &[0, 1, 2]).unwrap();
        assert_eq!(table.rows.len(), 8);
        assert!(table.notes[0].starts_with("short: 3 seeds, 60 steps before and 20 after."), "{:?}", table.notes);
    }
}
