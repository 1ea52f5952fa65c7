//! `sdlab region`: is a pattern realizable, and how many rows' patterns are.

use super::{Answer, CliError, Session, shown};
use crate::theory::pattern::Pattern;
use crate::theory::region::{Position, Realizability, RegionError, count_rows, decide};
use clap::{Args, Subcommand};
use sdlab_verify::format::Farkas;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Is this activation pattern realizable? Answers with an encoder, or with a proof that there is none
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    count: Option<Question>,
    /// The problem: a path, `-`, or JSON
    #[arg(long, value_name = "P", required = true)]
    problem: Option<String>,
    /// The pattern: a path, `-`, or JSON such as [[0,1],[]]
    #[arg(long, value_name = "A", required = true)]
    pattern: Option<String>,
    /// Write the certificate to this file
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Question {
    Count(CountArguments),
}

/// How many firing sets of a single row are realizable, beside Cover's number
#[derive(Debug, Args)]
pub struct CountArguments {
    /// The problem: a path, `-`, or JSON
    #[arg(long, value_name = "P")]
    problem: String,
    /// Steps of the enumeration, and of the test of general position, before giving up
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    budget: u64,
}

const EXAMPLES: &str = "\
Examples:
  A witness: does some encoder fire its first neuron on features 0 and 1 and keep its second one dead?
    sdlab region --problem problem.json --pattern '[[0,1],[]]'
  A proof that there is none, kept as a file and replayed:
    sdlab region --problem problem.json --pattern '[[1],[0]]' --certificate empty.json
    sdlab certify empty.json
  All firing sets of one row:
    sdlab region count --problem problem.json";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    if let Some(Question::Count(arguments)) = &arguments.count {
        return count(arguments, session);
    }
    // clap has seen to both.
    let (Some(problem), Some(pattern)) = (&arguments.problem, &arguments.pattern) else {
        return Err(CliError::Request("--problem and --pattern are needed".into()));
    };
    let problem = session.inputs.problem(problem)?;
    let pattern = session.inputs.pattern(pattern, &problem)?;
    let answer = decide(&problem, &pattern).map_err(|e| CliError::Request(e.to_string()))?;
    let certificate = answer.certificate(&problem, &pattern);
    let (realizable, text) = match &answer {
        Realizability::Realizable { w_e } => {
            let rows = w_e.iter().enumerate().map(|(i, row)| format!("  w_{i} = {}", shown::vector(row)));
            (true, format!("{pattern} is realizable, by the encoder\n{}", rows.collect::<Vec<_>>().join("\n")))
        }
        Realizability::Empty { farkas } => {
            (false, format!("{pattern} is not realizable: {}", why_empty(farkas, &pattern)))
        }
    };
    session.output.text(&text)?;
    shown::save_certificate(&session.output, arguments.certificate.as_deref(), &certificate)?;
    session.output.json(&json!({"realizable": realizable, "certificate": shown::certificate(&certificate)?}))?;
    Ok(if realizable { Answer::Yes } else { Answer::No })
}

fn why_empty(farkas: &Farkas, pattern: &Pattern) -> String {
    match farkas {
        Farkas::Row(row) => {
            let sum = |terms: &[(usize, sdlab_verify::format::Rat)]| {
                let terms: Vec<String> = terms.iter().map(|(d, y)| format!("{}·p_{d}", y.0)).collect();
                if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
            };
            let fires = shown::set(pattern.sets()[row.neuron].iter().copied());
            format!(
                "no row fires on exactly {fires} (neuron {}), since\n  {} = {}",
                row.neuron,
                sum(&row.on),
                sum(&row.off)
            )
        }
        Farkas::Count(feature) => format!("feature {} fires a number of neurons that top-k does not allow", feature),
        Farkas::Comparisons(_) => "the comparisons that it asks of the neurons contradict each other".to_owned(),
    }
}

fn count(arguments: &CountArguments, session: &mut Session) -> Result<Answer, CliError> {
    let problem = session.inputs.problem(&arguments.problem)?;
    let count = match count_rows(&problem, arguments.budget) {
        Ok(count) => count,
        Err(error @ RegionError::Budget { .. }) => {
            session.output.text(&format!("undecided: {error}; --budget allows more"))?;
            session.output.json(&json!({"count": null, "cover": null, "general_position": null}))?;
            return Ok(Answer::Undecided);
        }
        Err(error) => return Err(CliError::Request(error.to_string())),
    };
    let general = count.position == Position::General;
    let position = match &count.position {
        Position::General => "the features are in general position, where the two agree".to_owned(),
        Position::Degenerate(features) => {
            format!("the features are not in general position: {} are dependent", shown::set(features.iter().copied()))
        }
    };
    session.output.text(&format!(
        "{} firing sets of a row are realizable; Cover's number is {}; {position}",
        count.count, count.cover
    ))?;
    session.output.json(&json!({
        "count": integer(&count.count),
        "cover": integer(&count.cover),
        "general_position": general,
    }))?;
    Ok(Answer::Yes)
}

/// A number where JSON readers keep it exact, else a string of digits.
fn integer(value: &dashu::integer::UBig) -> Value {
    const EXACT: u64 = 1 << 53;
    match u64::try_from(value) {
        Ok(small) if small <= EXACT => json!(small),
        _ => json!(value.to_string()),
    }
}
