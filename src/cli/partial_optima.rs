//! `sdlab partial-optima`: all partial optima of a pattern, or a proof that there is none.

use super::{Answer, CliError, Session, shown};
use crate::stats::{Cell, Kind, Table, Tone};
use crate::theory::partial_optimum::{BlockSummary, Class, Decision, LossValue, Optimum, decide};
use clap::Args;
use sdlab_verify::Certificate;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// All partial optima of an activation pattern, each with its class and a certificate, or a proof that there is none
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: String,
    /// The pattern: a path, `-`, or JSON such as [[0,1],[]]
    #[arg(long, value_name = "A")]
    pattern: String,
    /// Write the certificates into this folder
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab partial-optima --problem problem.json --pattern '[[0,1],[]]'
  sdlab partial-optima --problem problem.json --pattern '[[0,1],[]]' --certificates proofs
  sdlab certify proofs

Every pattern in which no feature fires two neurons is decided. For one with shared features the answer is `undecided`, with
the best point found and its residuals.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let problem = session.inputs.problem(&arguments.problem)?;
    let pattern = session.inputs.pattern(&arguments.pattern, &problem)?;
    let decision = decide(&problem, &pattern).map_err(CliError::Request)?;
    session.output.text(&headline(&decision, &pattern.to_string()))?;
    if !decision.optima.is_empty() {
        session.output.table(&listing(&decision.optima))?;
    }
    if let Some(folder) = &arguments.certificates {
        // Where there are optima, the decision's own certificate is that of one of them.
        let own = decision.certificate.as_ref().filter(|_| decision.optima.is_empty());
        let certificates = decision.optima.iter().map(|o| &o.certificate).chain(own);
        let count = certificates.enumerate().try_fold(0, |_, (k, certificate)| {
            let path = folder.join(format!("{}-{k}.json", certificate.body.kind()));
            session.output.file(&path, (certificate.to_json() + "\n").as_bytes()).map(|()| k + 1)
        })?;
        session.output.text(&replay(count, folder))?;
    }
    session.output.json(&machine(&decision)?)?;
    Ok(match decision.exists {
        Some(true) => Answer::Yes,
        Some(false) => Answer::No,
        None => Answer::Undecided,
    })
}

fn replay(count: usize, folder: &Path) -> String {
    format!("{count} certificates written; replay them with: sdlab certify {}", folder.display())
}

fn headline(decision: &Decision, pattern: &str) -> String {
    if !decision.realizable {
        return format!("{pattern} is not realizable, so its cell holds no partial optimum");
    }
    match decision.exists {
        Some(false) => format!("no point of the cell of {pattern} is a partial optimum"),
        Some(true) => {
            let cut = if decision.complete { "" } else { " (the list was cut)" };
            format!("partial optima of {pattern}: {}{cut}", decision.optima.len())
        }
        None => {
            let why = decision.undecided.as_deref().unwrap_or("no reason was given");
            let best = decision.best.as_ref().map_or(String::new(), |(_, residuals)| {
                format!(
                    "\nbest point found: residuals {} (decoder) and at most {} (encoder)",
                    shown::exact_text(&residuals.r_v),
                    shown::exact_text(&residuals.r_w)
                )
            });
            format!("undecided: {why}{best}")
        }
    }
}

fn listing(optima: &[Optimum]) -> Table {
    let columns = [
        ("#", Kind::Number),
        ("loss", Kind::Number),
        ("exact", Kind::Exact),
        ("kind", Kind::Text),
        ("class", Kind::Verdict),
        ("strict", Kind::Text),
        ("family", Kind::Number),
        ("curvature", Kind::Number),
        ("rows", Kind::Exact),
    ];
    let mut table = Table::new("partial-optima", "partial-optima", columns);
    for (k, optimum) in optima.iter().enumerate() {
        let tone = match optimum.class {
            Class::LocalMin => Tone::Good,
            Class::StrictSaddle => Tone::Bad,
            Class::Degenerate => Tone::Open,
        };
        let row = |block: &BlockSummary| format!("w_{} ∝ {}", block.neuron, shown::rounded_vector(&block.w));
        table.push([
            Cell::from(k),
            Cell::number(optimum.loss.to_f64(), 8),
            Cell::exact(exact_loss(&optimum.loss)),
            Cell::from(optimum.kind.name()),
            Cell::verdict(tone, optimum.class.name()),
            Cell::from(if optimum.strict { "yes" } else { "no" }),
            Cell::from(optimum.family_dim),
            Cell::number(optimum.curvature, 4),
            Cell::exact(optimum.blocks.iter().map(row).collect::<Vec<_>>().join("; ")),
        ]);
    }
    table
}

fn exact_loss(loss: &LossValue) -> String {
    let short = |text: String, otherwise: String| if text.len() <= 32 { text } else { otherwise };
    match loss {
        LossValue::Rational(value) => short(value.to_string(), "rational".to_owned()),
        LossValue::Algebraic { poly, .. } => {
            let degree = poly.len() - 1;
            let terms = poly.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            short(format!("root of [{terms}]"), format!("algebraic, degree {degree}"))
        }
        LossValue::Enclosed { .. } => "enclosed".to_owned(),
    }
}

fn loss_value(loss: &LossValue) -> Value {
    match loss {
        LossValue::Rational(value) => shown::exact(value),
        LossValue::Algebraic { poly, lo, hi } => json!({
            "f64": loss.to_f64(),
            "poly": poly.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "lo": lo.to_string(),
            "hi": hi.to_string(),
        }),
        LossValue::Enclosed { lo, hi } => json!({"f64": loss.to_f64(), "lo": lo.to_string(), "hi": hi.to_string()}),
    }
}

fn machine(decision: &Decision) -> Result<Value, CliError> {
    let certificate = |c: &Option<Certificate>| c.as_ref().map_or(Ok(Value::Null), shown::certificate);
    let optima = decision.optima.iter().map(|optimum| {
        Ok(json!({
            "kind": optimum.kind.name(),
            "class": optimum.class.name(),
            "strict": optimum.strict,
            "family_dim": optimum.family_dim,
            "curvature": optimum.curvature,
            "loss": loss_value(&optimum.loss),
            "blocks": optimum.blocks.iter().map(block).collect::<Vec<_>>(),
            "certificate": shown::certificate(&optimum.certificate)?,
        }))
    });
    Ok(json!({
        "realizable": decision.realizable,
        "exists": decision.exists,
        "certificate": certificate(&decision.certificate)?,
        "complete": decision.complete,
        "optima": optima.collect::<Result<Vec<Value>, CliError>>()?,
        "undecided": decision.undecided,
    }))
}

fn block(block: &BlockSummary) -> Value {
    json!({
        "neuron": block.neuron,
        "features": block.features,
        "mu": block.mu,
        "kind": block.kind.name(),
        "class": block.class.name(),
        "multipliers": block.multipliers,
        "curvature": block.curvature,
        "family_dim": block.family_dim,
        "silent_dim": block.silent_dim,
        "w": block.w,
        "v": block.v,
    })
}
