//! `sdlab atlas`: every realizable pattern, its best value, and the global optimum.

use super::output::Progress;
use super::{Answer, CliError, Session, shown};
use crate::exact::rational::to_f64;
use crate::optim::end_point::Class as FoundClass;
use crate::optim::global::GlobalError;
use crate::optim::global::atlas::{Atlas, Best, Entry, Options, atlas};
use crate::report::figure::Drawing;
use crate::stats::{Cell, Kind, Table, Tone};
use crate::theory::partial_optimum::{Class, LossValue};
use crate::theory::region::RegionError;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Every realizable pattern with its best loss, its partial optima and its basin, and the global optimum with a proof
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: String,
    /// Number of neurons
    #[arg(long, value_name = "N")]
    latents: usize,
    /// Random starts that measure which patterns searches end in
    #[arg(long, value_name = "N", default_value_t = 200)]
    starts: usize,
    /// Patterns, up to the order of the neurons, before giving up
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    budget: usize,
    /// Write the two certificates of the global optimum into this folder
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Draw the patterns, best first, into this file: .svg, .pdf or .png
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab atlas --problem problem.json --latents 2
  sdlab atlas --problem problem.json --latents 2 --certificates proofs --figure atlas.svg
  sdlab certify proofs

It is for problems with few features and neurons: all patterns are listed, and the proof of the global optimum branches over
which neuron fires on which feature. A budget that does not suffice ends with status 3.";

/// Most pairs of a feature and a neuron: beyond, no budget would do.
const LIMIT: usize = 64;
/// Patterns in the table and in the figure.
const SHOWN: usize = 24;

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let problem = session.inputs.problem(&arguments.problem)?;
    let latents = arguments.latents;
    if latents == 0 {
        return Err(CliError::Request("--latents: expected at least 1, found 0".to_owned()));
    }
    if problem.n().saturating_mul(latents) > LIMIT {
        let found = format!("{} × {latents}", problem.n());
        return Err(CliError::Request(format!(
            "--latents: expected at most {LIMIT} pairs of a feature and a neuron, found {found}"
        )));
    }
    if let Some(path) = &arguments.figure
        && !matches!(ending(path), Some("svg" | "pdf" | "png"))
    {
        let found = path.display();
        return Err(CliError::Request(format!(
            "--figure: expected a file that ends in .svg, .pdf or .png, found {found}"
        )));
    }
    let seed = session.seed;
    let options = Options { starts: arguments.starts, seed, patterns: arguments.budget, ..Options::default() };
    let mut bar: Option<Progress> = None;
    let found = atlas(&problem, latents, options, |done, steps, now| {
        bar.get_or_insert_with(|| Progress::new(steps)).set(done, now);
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let found = match found {
        Ok(found) => found,
        Err(error @ (GlobalError::TooLarge { .. } | GlobalError::Region(RegionError::Budget { .. }))) => {
            session.output.text(&format!("undecided: {error}"))?;
            session.output.json(&json!({"latents": latents, "undecided": error.to_string()}))?;
            return Ok(Answer::Undecided);
        }
        Err(error) => return Err(CliError::Request(error.to_string())),
    };
    session.output.text(&headline(&found))?;
    session.output.table(&listing(&found))?;
    if found.entries.len() > SHOWN {
        session.output.text(&format!("and {} patterns with a higher loss", found.entries.len() - SHOWN))?;
    }
    if let Some(folder) = &arguments.certificates {
        for certificate in [&found.global.upper_certificate, &found.global.lower_certificate] {
            let path = folder.join(format!("global-{}.json", certificate.body.kind()));
            session.output.file(&path, certificate.to_json().as_bytes())?;
        }
        let folder = folder.display();
        session.output.text(&format!("2 certificates written; replay them with: sdlab certify {folder}"))?;
    }
    if let Some(path) = &arguments.figure {
        let figure = found.figure(SHOWN);
        let drawn = Drawing::new(&figure).and_then(|drawing| match ending(path) {
            Some("pdf") => Ok(drawing.pdf()),
            Some("png") => drawing.png(),
            _ => drawing.svg().map(String::into_bytes),
        });
        session.output.file(path, &drawn.map_err(|error| CliError::Request(error.to_string()))?)?;
    }
    session.output.json(&machine(latents, &found))?;
    Ok(if found.global.gap <= options.global.gap { Answer::Yes } else { Answer::Undecided })
}

fn ending(path: &Path) -> Option<&str> {
    path.extension().and_then(|ending| ending.to_str())
}

fn headline(found: &Atlas) -> String {
    let global = &found.global;
    let (upper, lower) = (shown::exact_text(&global.upper), to_f64(&global.lower));
    let tree =
        if global.nodes == 1 { "without branching".to_owned() } else { format!("a tree of {} nodes", global.nodes) };
    let known = if global.upper == global.lower {
        format!("the global optimum is {upper}")
    } else {
        format!("the global optimum is at most {upper} and at least {lower}, a gap of {:.1e}", global.gap)
    };
    let elsewhere = match found.elsewhere() {
        0 => String::new(),
        count => format!("; {count} of {} starts end where no listed pattern is", found.starts),
    };
    format!("{} patterns up to the order of the neurons; {known} ({tree}){elsewhere}", found.entries.len())
}

fn listing(found: &Atlas) -> Table {
    let columns = [
        ("pattern", Kind::Exact),
        ("best loss", Kind::Number),
        ("value", Kind::Text),
        ("partial optima", Kind::Verdict),
        ("starts", Kind::Number),
    ];
    let mut table = Table::new("atlas", "atlas", columns);
    let rounding = found.rounding();
    for entry in found.entries.iter().take(SHOWN) {
        let (tone, text) = optima(entry);
        let global = if found.is_global(entry) { ", global" } else { "" };
        table.push([
            Cell::exact(entry.pattern.to_string()),
            match entry.best.to_f64() {
                value if value > 0.0 && value <= rounding => Cell::from("0 up to rounding".to_owned()),
                value => Cell::number(value, 8),
            },
            Cell::from(format!("{}{global}", entry.best.name())),
            Cell::verdict(tone, &text),
            Cell::from(entry.basin),
        ]);
    }
    table
}

/// What the partial optima of a pattern are, such as `2 local-min, 1 strict-saddle`; where they are undecided, what searches have found, in f64.
fn optima(entry: &Entry) -> (Tone, String) {
    match entry.exists {
        None => {
            let counted = FoundClass::ALL.into_iter().filter_map(|class| {
                let count = entry.found.iter().filter(|(_, of)| *of == class).count();
                (count > 0).then(|| format!("{count} {}", class.name()))
            });
            let found: Vec<String> = counted.collect();
            let found = if found.is_empty() { String::new() } else { format!("; found {}", found.join(", ")) };
            (Tone::Open, format!("undecided{found}"))
        }
        Some(false) => (Tone::Bad, "none".to_owned()),
        Some(true) => {
            let counted = [Class::LocalMin, Class::StrictSaddle, Class::Degenerate].into_iter().filter_map(|class| {
                let count = entry.optima.iter().filter(|(_, of)| *of == class).count();
                (count > 0).then(|| format!("{count} {}", class.name()))
            });
            let local = entry.optima.iter().any(|(_, class)| *class == Class::LocalMin);
            (if local { Tone::Good } else { Tone::Bad }, counted.collect::<Vec<_>>().join(", "))
        }
    }
}

fn loss(value: &LossValue) -> Value {
    match value {
        LossValue::Rational(value) => shown::exact(value),
        LossValue::Algebraic { .. } | LossValue::Enclosed { .. } => json!({"f64": value.to_f64()}),
    }
}

fn machine(latents: usize, found: &Atlas) -> Value {
    let global = &found.global;
    let entry = |entry: &Entry| {
        let value = match &entry.best {
            Best::Exact(value) => loss(value),
            Best::ClosedForm(value) | Best::Upper(value) => json!({"f64": value}),
        };
        let optima: Vec<Value> =
            entry.optima.iter().map(|(value, class)| json!({"loss": loss(value), "class": class.name()})).collect();
        let ends: Vec<Value> =
            entry.found.iter().map(|(value, class)| json!({"loss": {"f64": value}, "class": class.name()})).collect();
        json!({
            "pattern": entry.pattern.lists(),
            "best": value,
            "best_kind": entry.best.name(),
            "global": found.is_global(entry),
            "exists": entry.exists,
            "optima": optima,
            "found": ends,
            "starts": entry.basin,
        })
    };
    json!({
        "latents": latents,
        "global": {
            "upper": shown::exact(&global.upper),
            "lower": shown::exact(&global.lower),
            "gap": global.gap,
            "nodes": global.nodes,
        },
        "starts": found.starts,
        "elsewhere": found.elsewhere(),
        "patterns": found.entries.iter().map(entry).collect::<Vec<Value>>(),
    })
}
