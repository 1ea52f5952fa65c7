//! `sdlab atlas`: every realizable pattern, its best value, and the global optimum.

use super::input::Inputs;
use super::output::Progress;
use super::{Answer, CliError, Session, shown};
use crate::exact::rational::to_f64;
use crate::optim::global::atlas::{Atlas, Best, CERTIFIED, Entry, Options, Standing, atlas};
use crate::optim::global::gop::Reason;
use crate::optim::global::{GlobalError, patterns};
use crate::report::figure::Drawing;
use crate::stats::table::rounded;
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
    /// Bound every cell from below as well, by decomposition (GOP), and certify the bounds of the listed cells
    #[arg(long)]
    cells: bool,
    /// Write the certificates of the global optimum, and with --cells of the listed cells, into this folder
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
  sdlab atlas --problem problem.json --latents 1 --cells --certificates proofs
  sdlab certify proofs

It is for problems with few features and neurons: all patterns are listed, and the proof of the global optimum branches over
which neuron fires on which feature. A budget that does not suffice ends with status 3.

The best loss of a pattern is exact, or a closed form in f64, where no feature fires two neurons. Where neurons share features it
is an upper value: the lowest that searches in the cell, or the certified point, have reached. A pattern is called `global` only if
the gap between the two certified values is closed: at most 1e-6 of the upper one, or of the loss without neurons. While it is open
the patterns at the upper value are `best known`, and the exit status is 3.";

/// Most pairs of a feature and a neuron: beyond, no budget would do.
const LIMIT: usize = 64;
/// Most starts.
const STARTS: usize = 1_000_000;
/// Patterns in the table and in the figure.
const SHOWN: usize = CERTIFIED;

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
    if arguments.starts > STARTS {
        let found = arguments.starts;
        return Err(CliError::Request(format!("--starts: expected at most {STARTS}, found {found}")));
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
    let global = patterns::Options::default();
    let global = patterns::Options { patterns: global.patterns.max(arguments.budget), ..global };
    let options = Options {
        starts: arguments.starts,
        seed,
        patterns: arguments.budget,
        cells: arguments.cells,
        global,
        ..Options::default()
    };
    let mut bar: Option<Progress> = None;
    let found = atlas(&problem, latents, options, |done, steps, now| {
        bar.get_or_insert_with(|| Progress::new(steps)).set(done, now);
    });
    if let Some(bar) = bar {
        bar.finish();
    }
    let found = match found {
        Ok(found) => found,
        Err(
            error @ (GlobalError::TooLarge { .. }
            | GlobalError::Nodes(_)
            | GlobalError::Region(RegionError::Budget { .. })),
        ) => {
            let why = match error {
                GlobalError::Region(_) => format!("--budget {}: {error}", arguments.budget),
                GlobalError::TooLarge { limit, .. } if limit == arguments.budget => format!("--budget: {error}"),
                _ => error.to_string(),
            };
            session.output.text(&format!("undecided: {why}"))?;
            session.output.json(&json!({"latents": latents, "undecided": why}))?;
            return Ok(Answer::Undecided);
        }
        Err(error) => {
            let name = Inputs::name_of_problem(&arguments.problem);
            return Err(CliError::Request(format!("{name}: {error}")));
        }
    };
    // Nothing is written before all is computed.
    let drawing = match &arguments.figure {
        Some(path) => Some((path, draw(&found, path)?)),
        None => None,
    };
    session.output.text(&headline(&found))?;
    session.output.table(&listing(&found, arguments.cells))?;
    if found.entries.len() > SHOWN {
        session.output.text(&format!("and {} patterns with a higher loss", found.entries.len() - SHOWN))?;
    }
    if let Some(folder) = &arguments.certificates {
        for certificate in [&found.global.upper_certificate, &found.global.lower_certificate] {
            let path = folder.join(format!("global-{}.json", certificate.body.kind()));
            session.output.file(&path, certificate.to_json().as_bytes())?;
        }
        let cells = found.entries.iter().take(SHOWN).filter_map(|entry| entry.bound.as_ref());
        let mut count = 2;
        for (at, bound) in cells.enumerate() {
            let path = folder.join(format!("cell-{at:02}.json"));
            session.output.file(&path, bound.certificate.to_json().as_bytes())?;
            count += 1;
        }
        let folder = folder.display();
        session.output.text(&format!("{count} certificates written; replay them with: sdlab certify {folder}"))?;
    }
    if let Some((path, drawing)) = drawing {
        session.output.file(path, &drawing)?;
    }
    session.output.json(&machine(latents, &found))?;
    Ok(if found.global.is_closed() { Answer::Yes } else { Answer::Undecided })
}

/// The bytes of the figure in the format that the path's ending names.
fn draw(found: &Atlas, path: &Path) -> Result<Vec<u8>, CliError> {
    let figure = found.figure(SHOWN);
    let drawn = Drawing::new(&figure).and_then(|drawing| match ending(path) {
        Some("pdf") => Ok(drawing.pdf()),
        Some("png") => drawing.png(),
        _ => drawing.svg().map(String::into_bytes),
    });
    drawn.map_err(|error| CliError::Request(error.to_string()))
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
        let gap = if global.gap > patterns::CLOSED && global.is_closed() {
            format!("{:.1e} of the loss without neurons", global.gap_of_size)
        } else {
            format!("{:.1e}", global.gap)
        };
        let open = if global.is_closed() { "" } else { ", which is open" };
        format!("the global optimum is at most {upper} and at least {lower}, a gap of {gap}{open}")
    };
    let elsewhere = match found.elsewhere() {
        0 => String::new(),
        count => format!("; {count} of {} starts end where no listed pattern is", found.starts),
    };
    format!("{} patterns up to the order of the neurons; {known} ({tree}){elsewhere}", found.entries.len())
}

fn listing(found: &Atlas, cells: bool) -> Table {
    let mut columns = vec![
        ("pattern", Kind::Exact),
        ("best loss", Kind::Number),
        ("value", Kind::Text),
        ("partial optima", Kind::Verdict),
        ("starts", Kind::Number),
    ];
    if cells {
        columns.push(("at least", Kind::Number));
    }
    let mut table = Table::new("atlas", "atlas", columns);
    let rounding = found.rounding();
    for entry in found.entries.iter().take(SHOWN) {
        let (tone, text) = optima(entry);
        let standing = found.standing(entry).map_or(String::new(), |standing| format!(", {}", standing.name()));
        let mut row = vec![
            Cell::exact(entry.pattern.to_string()),
            match entry.best.to_f64() {
                value if value > 0.0 && value <= rounding => Cell::from("0 up to rounding".to_owned()),
                value => Cell::number(value, 8),
            },
            Cell::from(format!("{}{standing}", entry.best.name())),
            Cell::verdict(tone, &text),
            Cell::from(entry.basin),
        ];
        if cells {
            row.push(match (&entry.bound, uncertified(entry)) {
                (_, Some(lower)) => Cell::from(format!("{} in f64", rounded(lower, 8))),
                (Some(bound), None) => Cell::number(to_f64(&bound.certified), 8),
                (None, None) => Cell::Missing,
            });
        }
        table.push(row);
    }
    if cells && found.entries.iter().take(SHOWN).any(|entry| uncertified(entry).is_some()) {
        table = table.note("in f64: a bound that holds up to rounding, without a certificate of as much");
    }
    if found.entries.iter().take(SHOWN).any(|entry| matches!(entry.best, Best::Upper(_))) {
        return table.note(
            "upper: neurons share features and the cell has no closed form; the lowest value found, a lower one may exist",
        );
    }
    table
}

/// The bound in f64 of a pattern whose neurons share features, if what is certified is lower.
fn uncertified(entry: &Entry) -> Option<f64> {
    let lower = entry.enclosure.as_ref()?.lower;
    let certified = entry.bound.as_ref().map(|bound| to_f64(&bound.certified));
    certified.is_none_or(|certified| certified < lower * (1.0 - LESS)).then_some(lower)
}

/// What a certified bound may be less than the one in f64, relative to it, to be shown instead.
const LESS: f64 = 1e-4;

/// What the partial optima of a pattern are, such as `2 local-min, 1 strict-saddle`; where they are undecided, what searches have found, in f64.
fn optima(entry: &Entry) -> (Tone, String) {
    let counted: Vec<String> = entry.classes().into_iter().map(|(class, count)| format!("{count} {class}")).collect();
    let counted = counted.join(", ");
    match entry.exists {
        None if counted.is_empty() => (Tone::Open, "undecided".to_owned()),
        None => (Tone::Open, format!("undecided; found {counted}")),
        Some(false) => (Tone::Bad, "none".to_owned()),
        Some(true) => (if entry.has(Class::LocalMin) { Tone::Good } else { Tone::Bad }, counted),
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
        let best = match &entry.best {
            Best::Exact(value) => loss(value),
            Best::ClosedForm(value) | Best::Upper(value) => json!({"f64": value}),
        };
        let optima: Vec<Value> =
            entry.optima.iter().map(|(value, class)| json!({"loss": loss(value), "class": class.name()})).collect();
        let ends: Vec<Value> =
            entry.found.iter().map(|(value, class)| json!({"loss": {"f64": value}, "class": class.name()})).collect();
        let mut value = json!({
            "pattern": entry.pattern.lists(),
            "best": best,
            "best_kind": entry.best.name(),
            "global": found.standing(entry) == Some(Standing::Global),
            "best_known": found.standing(entry) == Some(Standing::BestKnown),
            "exists": entry.exists,
            "optima": optima,
            "found": ends,
            "starts": entry.basin,
            "lower": entry.bound.as_ref().map(|bound| shown::exact(&bound.certified)),
        });
        if let Some(bounds) = &entry.enclosure {
            let converged = bounds.reason == Reason::Converged;
            value["bounds"] = json!({"lower": bounds.lower, "upper": bounds.upper, "converged": converged});
        }
        value
    };
    json!({
        "latents": latents,
        "global": {
            "upper": shown::exact(&global.upper),
            "lower": shown::exact(&global.lower),
            "gap": global.gap,
            "gap_of_size": global.gap_of_size,
            "closed": global.is_closed(),
            "nodes": global.nodes,
        },
        "starts": found.starts,
        "elsewhere": found.elsewhere(),
        "patterns": found.entries.iter().map(entry).collect::<Vec<Value>>(),
    })
}
