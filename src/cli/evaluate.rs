//! `sdlab evaluate`: how well a trained model does, and what it has recovered.

use super::trained::Trained;
use super::{Answer, CliError, Session};
use crate::backend::cpu::Cpu;
use crate::report::figure::{Drawing, FigureError};
use crate::train::scoring::{SCORED, score};
use clap::{Args, value_parser};
use serde_json::json;
use std::path::PathBuf;

/// Score a trained model: recovery of the known features, reconstruction, sparsity, latents as classifiers, absorption
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder of a run of `sdlab train`
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Score the model of another folder on the data of the run, in the layout of SAELens, sparsify or dictionary_learning
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Number of samples: of the bench, samples that training has not seen; of files, the first ones
    #[arg(long, value_name = "N", default_value_t = SCORED, value_parser = value_parser!(u64).range(1..=MOST_SAMPLES))]
    samples: u64,
    /// Draw recovery over τ into this folder, as recovery.svg and recovery.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// So that numbers of samples stay far from the end of 64 bits, and their list in memory.
const MOST_SAMPLES: u64 = 1 << 26;

const EXAMPLES: &str = "\
Examples:
  sdlab evaluate runs/small/table1/topk
  sdlab evaluate runs/table1/topk --samples 100000 --json
  sdlab evaluate runs/table1/topk --out figures
  sdlab evaluate runs/table1/topk --model trainer_0

Recovery M_GT(τ) is the share of known features whose best match among the latents is above τ; MIP is the mean of the best matches. Rows of
the encoder and columns of the decoder are scaled to norm 1 except where raw products are named. Known features are those of the bench,
or the means of the classes of labelled files.

--model reads cfg.json and sae_weights.safetensors (sdlab, SAELens), cfg.json and sae.safetensors (sparsify), or config.json and ae.safetensors
(dictionary_learning, after save_file(torch.load(\"ae.pt\"), \"ae.safetensors\") with save_file of safetensors.torch).";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let Trained { name, folder, data, plan, model } =
        Trained::read(session, &arguments.run, arguments.model.as_deref(), |_| Ok(()))?;
    let request = |error: String| CliError::Request(format!("{name}: {error}"));
    let backend = Cpu::new(plan.spec.clone());
    let (samples, scores) = score(&backend, &data, &plan, &model, arguments.samples)
        .map_err(|error| CliError::Request(format!("{folder}: {error}")))?;
    let output = &session.output;
    let tables: Vec<_> = [Some(scores.table()), scores.recovery_table()].into_iter().flatten().collect();
    for (k, table) in tables.iter().enumerate() {
        if k > 0 {
            output.text("")?;
        }
        output.table(table)?;
    }
    let figure = scores.figure();
    if let Some(out) = &arguments.out {
        let expected = || request("expected data with known features to draw, found none".to_owned());
        let wrong = |error: FigureError| CliError::Request(error.to_string());
        let drawing = Drawing::new(figure.as_ref().ok_or_else(expected)?).map_err(wrong)?;
        output.file(&out.join("recovery.svg"), drawing.svg().map_err(wrong)?.as_bytes())?;
        output.file(&out.join("recovery.png"), &drawing.png().map_err(wrong)?)?;
        output.text(&format!("drawn: {}", out.join("recovery.svg").display()))?;
    }
    output.json(&json!({
        "run": arguments.run.display().to_string(),
        "samples": samples,
        "held_out": data.bench().is_some(),
        "scores": scores,
        "tables": tables,
        "figure": figure,
    }))?;
    Ok(Answer::Yes)
}
