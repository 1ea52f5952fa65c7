//! `sdlab diagnose`: is a trained model at a spurious minimum?

use super::trained::Trained;
use super::{Answer, CliError, Session};
use crate::backend::cpu::Cpu;
use crate::train::data::Data;
use crate::train::diagnose::{KnownFeatures, Sampled, Settings, Verdict, demonstrate, diagnose};
use clap::{Args, value_parser};
use serde_json::json;
use std::path::PathBuf;

/// Ask whether a trained model is at a spurious minimum, by showing it each known feature alone; and what to do about it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder of a run of `sdlab train`
    #[arg(value_name = "RUN", required_unless_present = "demonstrate")]
    run: Option<PathBuf>,
    /// Diagnose the model of another folder on the data of the run, in the layout of SAELens, sparsify or dictionary_learning
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The known features: a problem file, in place of those of the bench
    #[arg(long, value_name = "P", conflicts_with = "labels")]
    problem: Option<String>,
    /// The known features: means of the classes in this file, one label for each row of the run's data
    #[arg(long, value_name = "FILE")]
    labels: Option<String>,
    /// Samples on which the loss is measured beside L̃: of the bench, samples that training has not seen; of files, the first ones
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = value_parser!(u64).range(1..=1 << 26))]
    samples: u64,
    /// Shares below this count as nothing: of L̃ in Σ M_d‖r_d‖², of a residual in L̃, of λ_max − μ in λ_max, of a feature that is missing
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().tolerance, value_parser = parse_share)]
    tolerance: f64,
    /// A latent fires on a feature if its term is at least this share of the feature's norm; 0 is the pattern itself
    #[arg(long, value_name = "SHARE", default_value_t = Settings::default().floor, value_parser = parse_share)]
    floor: f64,
    /// Train small models, follow their diagnosis, and compare with models that are only trained on
    #[arg(long, conflicts_with_all = ["run", "model", "problem", "labels"])]
    demonstrate: bool,
    /// Number of seeds of the demonstration: with 10 the least p-value that sixteen comparisons leave is .03
    #[arg(long, value_name = "N", default_value_t = 10, requires = "demonstrate", value_parser = value_parser!(u64).range(2..=1000))]
    seeds: u64,
}

const EXAMPLES: &str = "\
Examples:
  sdlab diagnose runs/small/table1/topk
  sdlab diagnose runs/mine --labels labels.csv:class --json
  sdlab diagnose runs/mine --problem problem.json
  sdlab diagnose --demonstrate

L̃ is the loss on features that are active alone. A latent is dead if no feature fires it, polysemantic if several do. r_V and r_W say how much the decoder or
the encoder alone could lower L̃ without changing what fires. A polysemantic latent of value μ below its top eigenvalue λ_max is a saddle.
With as many latents as features r_V can be all of L̃ whatever the model is; the answer says so, and what r_W and the latents alone tell.
Exit status 0: nothing is wrong. 1: L̃ is not small, and the tables say what to do.";

fn parse_share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..1.0).contains(&value) { Ok(value) } else { Err("expected a number in [0, 1)".to_owned()) }
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let Some(run) = arguments.run.as_deref().filter(|_| !arguments.demonstrate) else {
        return demonstration(arguments, session);
    };
    let trained = Trained::read(session, run, arguments.model.as_deref(), |experiment| {
        if let Some(labels) = &arguments.labels {
            let files = experiment.data.as_mut();
            let expected = || CliError::Request("--labels: expected a run on files, found one on the bench".to_owned());
            files.ok_or_else(expected)?.labels = Some(labels.clone());
        }
        Ok(())
    })?;
    let Trained { name, folder, data, plan, model } = &trained;
    let (known, features) = match (&arguments.problem, data) {
        (Some(problem), _) => {
            let (file, problem) = session.inputs.named_problem(problem)?;
            let shape = model.shape();
            let features = KnownFeatures::of_problem(&problem).and_then(|features| {
                features.check(shape.n_p, shape.n_r)?;
                Ok(features)
            });
            ("problem", Ok(features.map_err(|error| CliError::Request(format!("{file}: {error}")))?))
        }
        (None, Data::Bench(bench)) => ("bench", KnownFeatures::of_bench(bench)),
        (None, Data::Rows(rows)) => {
            let labels = rows.labels().ok_or_else(|| {
                CliError::Request(format!("{name}: data.labels: expected labels, or --labels or --problem, found none"))
            })?;
            ("labels", KnownFeatures::of_labels(rows.as_ref(), labels))
        }
    };
    let wrong = |error: &dyn std::fmt::Display| CliError::Request(format!("{folder}: {error}"));
    let features = features.map_err(|error| wrong(&error))?;
    let sampled = Sampled::of(&Cpu::new(plan.spec.clone()), data, model, arguments.samples);
    let settings = Settings { tolerance: arguments.tolerance, floor: arguments.floor, seed: session.seed };
    let diagnosis = diagnose(model, &features, Some(sampled), settings).map_err(|error| wrong(&error))?;
    let tables = diagnosis.tables(&features);
    let output = &session.output;
    for table in &tables {
        output.table(table)?;
        output.text("")?;
    }
    output.text(&format!("The model is {}.", diagnosis.sentence()))?;
    if let Some(warning) = diagnosis.warning() {
        output.text(&format!("Mind that {warning}"))?;
    }
    output.json(&json!({
        "run": run.display().to_string(),
        "known": known,
        "sentence": diagnosis.sentence(),
        "warning": diagnosis.warning(),
        "diagnosis": diagnosis,
        "tables": tables,
    }))?;
    Ok(if diagnosis.verdict == Verdict::Solved { Answer::Yes } else { Answer::No })
}

fn demonstration(arguments: &Arguments, session: &Session) -> Result<Answer, CliError> {
    let wrong = |error: demonstrate::TrialError| CliError::Request(format!("--demonstrate: {error}"));
    let seeds: Vec<u64> = (0..arguments.seeds).map(|k| session.seed.wrapping_add(k)).collect();
    let trials = demonstrate::trials().map_err(wrong)?;
    let table = demonstrate::demonstrate(&trials, &seeds).map_err(wrong)?;
    session.output.table(&table)?;
    session.output.json(&json!({ "seeds": seeds, "tables": [table] }))?;
    Ok(Answer::Yes)
}
