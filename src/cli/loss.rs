//! `sdlab loss`: the loss at a point, its gradient and residuals, and what the point is.

use super::{Answer, CliError, Session, shown};
use crate::exact::Rational;
use crate::exact::rational;
use crate::stats::table::rounded;
use crate::theory::certificate;
use crate::theory::partial_optimum::{classify, first_order, overlap};
use crate::theory::pattern::dot;
use clap::Args;
use sdlab_verify::Certificate;
use sdlab_verify::format::{self, Rat};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The loss L̃ at a point, its gradient, how far it is from a partial optimum, and what it is in its cell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: String,
    /// The point: a path, `-`, or JSON such as {"w_e": [["1","1"]], "w_d": [["1/3","2/3"]]}
    #[arg(long, value_name = "Q")]
    point: String,
    /// Write the certificate of the point's class to this file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab loss --problem problem.json --point point.json
  sdlab loss --problem problem.json --point '{\"w_e\": [[\"1\",\"1\"]], \"w_d\": [[\"1/3\",\"2/3\"]]}' --json

The residuals are L̃ minus its minimum over the decoder, and over the encoder within the closure of the cell (an upper bound,
from an exact dual point). Both are 0 exactly at a partial optimum.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let problem = session.inputs.problem(&arguments.problem)?;
    let point = session.inputs.point(&arguments.point, &problem)?;
    let first = first_order(&problem, &point);
    let residuals = overlap::residuals(&problem, &point);
    let (class, note, certificate) = match classify(&problem, &point) {
        Ok(report) => {
            let class = report.class.map_or("not-stationary", |class| class.name());
            let note = match class {
                "not-stationary" => "no partial optimum: one block alone lowers the loss",
                "local-min" if report.strict => "a local minimum in its cell, strict up to rescaling",
                "local-min" => "a local minimum in its cell, not strict",
                "strict-saddle" => "a partial optimum, and a strict saddle",
                _ => "a partial optimum; the second order is undecided",
            };
            (Some(class), note, report.certificate)
        }
        // Without a threshold the point has no class, and the certificate is of the loss alone.
        Err(_) => {
            let at = format::Point { w_d: certificate::rows(&point.w_d), w_e: certificate::rows(&point.w_e) };
            let body = format::LossValue { point: at, loss: Rat(first.loss.clone()) };
            let proof = Certificate::new(certificate::instance(&problem), body);
            (None, "points are classified for threshold activations only", proof)
        }
    };
    let (norm_d, norm_e) = (norm(&first.gradient_v), norm(&first.gradient_w));
    let residual = |of: &dyn Fn(&overlap::Residuals) -> Rational| residuals.as_ref().map(of);
    let (residual_d, residual_e) = (residual(&|r| r.r_v.clone()), residual(&|r| r.r_w.clone()));
    let text = |value: &Option<Rational>| value.as_ref().map_or("not known".to_owned(), shown::exact_text);
    session.output.text(&format!(
        "loss L̃             {}\npattern            {}\n‖∇ decoder‖        {}\n‖∇ encoder‖        {}\nresidual, decoder  {}\nresidual, encoder  {}\nclass              {}",
        shown::exact_text(&first.loss),
        first.pattern,
        rounded(norm_d, 6),
        rounded(norm_e, 6),
        text(&residual_d),
        text(&residual_e),
        class.map_or(note.to_owned(), |class| format!("{class}: {note}")),
    ))?;
    shown::save_certificate(&session.output, arguments.certificate.as_deref(), &certificate)?;
    let exact = |value: &Option<Rational>| value.as_ref().map_or(Value::Null, shown::exact);
    session.output.json(&json!({
        "loss": shown::exact(&first.loss),
        "grad_w_d_norm": norm_d,
        "grad_w_e_norm": norm_e,
        "residual_d": exact(&residual_d),
        "residual_e": exact(&residual_e),
        "pattern": first.pattern.lists(),
        "class": class,
        "certificate": shown::certificate(&certificate)?,
    }))?;
    Ok(Answer::Yes)
}

/// Frobenius norm, rounded once at the end.
fn norm(rows: &[Vec<Rational>]) -> f64 {
    let squares = rows.iter().fold(Rational::ZERO, |sum, row| sum + dot(row, row));
    rational::to_f64(&squares).sqrt()
}
