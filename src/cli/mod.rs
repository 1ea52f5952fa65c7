//! The command `sdlab`: one file per subcommand.
//!
//! A subcommand is a `clap` struct with its arguments and a function `run` that returns an `Answer`. To add one, copy a
//! file, and add its line to `Command` and to the match in [`run`].

mod atlas;
mod bench;
mod certify;
mod claims;
mod compare;
mod device;
mod diagnose;
mod evaluate;
mod input;
mod interrupt;
mod loss;
mod names;
mod output;
mod partial_optima;
mod region;
mod report;
mod results;
mod shown;
mod train;
mod trained;
mod verify;

use clap::{Args, Parser, Subcommand};
use input::{InputError, Inputs};
use output::{Output, OutputError};
use std::ffi::OsString;
use std::process::ExitCode;

/// A laboratory for the optimization theory of sparse dictionary learning.
///
/// It decides what the theory claims about the approximate loss L̃ of a problem, exactly, and proves its answers by
/// certificates that anyone can replay.
#[derive(Debug, Parser)]
#[command(name = "sdlab", version, max_term_width = 110, after_help = FILES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Write machine-readable JSON to standard output, and text for people to standard error
    #[arg(long, global = true, help_heading = "Every command")]
    json: bool,
    /// Seed of every random search [default: 0, or that of a configuration]
    #[arg(long, global = true, value_name = "N", help_heading = "Every command")]
    seed: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(verify::Arguments),
    Claims(claims::Arguments),
    Loss(loss::Arguments),
    Region(region::Arguments),
    PartialOptima(partial_optima::Arguments),
    Atlas(atlas::Arguments),
    Certify(certify::Arguments),
    Bench(bench::Arguments),
    Train(train::Arguments),
    Device(device::Arguments),
    Evaluate(evaluate::Arguments),
    Diagnose(diagnose::Arguments),
    Compare(compare::Arguments),
    Report(report::Arguments),
}

const FILES: &str = "\
Files:
  A problem, a point or a pattern is a path, `-` for standard input, or the JSON itself when it begins with { or [:
    problem  {\"format\": 1, \"features\": [{\"w_p\": [\"1\", \"0\"], \"mass\": \"1\"}, {\"w_p\": [\"0\", \"1\"], \"mass\": \"2\"}]}
    point    {\"w_e\": [[\"1\", \"1\"]], \"w_d\": [[\"1/3\", \"2/3\"]]}
    pattern  [[0, 1], []]        features (from 0) of each neuron; [] is a dead neuron
  Their schemas are in docs/schema.

Exit status:
  0  done, or the answer is yes        2  wrong input, or a file cannot be read or written
  1  the answer is no                  3  undecided, or a budget was spent        130  interrupted";

/// What a command answered; it decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Done, or yes.
    Yes,
    /// No.
    No,
    /// Neither.
    Undecided,
    /// The user has interrupted, and the state is saved.
    Interrupted,
}

/// Why a command could not answer.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("{0}")]
    Request(String),
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => ExitCode::SUCCESS,
            Answer::No => ExitCode::from(1),
            Answer::Undecided => ExitCode::from(3),
            Answer::Interrupted => ExitCode::from(interrupt::STATUS),
        }
    }
}

/// What every command is given.
struct Session {
    output: Output,
    inputs: Inputs,
    /// Seed of every random search.
    seed: u64,
    /// The seed of the command line, which overrides that of a configuration.
    given_seed: Option<u64>,
}

/// Runs the command line and returns the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are no errors; a reader that has gone away is none either.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    // A second handler can only come from a second call in one process, and the first one serves as well.
    let _ = ctrlc::set_handler(interrupt::handle);
    let mut session = Session {
        output: Output::new(cli.global.json),
        inputs: Inputs::default(),
        seed: cli.global.seed.unwrap_or(0),
        given_seed: cli.global.seed,
    };
    let answer = match &cli.command {
        Command::Verify(arguments) => verify::run(arguments, &mut session),
        Command::Claims(arguments) => claims::run(arguments, &mut session),
        Command::Loss(arguments) => loss::run(arguments, &mut session),
        Command::Region(arguments) => region::run(arguments, &mut session),
        Command::PartialOptima(arguments) => partial_optima::run(arguments, &mut session),
        Command::Atlas(arguments) => atlas::run(arguments, &mut session),
        Command::Certify(arguments) => certify::run(arguments, &mut session),
        Command::Bench(arguments) => bench::run(arguments, &mut session),
        Command::Train(arguments) => train::run(arguments, &mut session),
        Command::Device(arguments) => device::run(arguments, &mut session),
        Command::Compare(arguments) => compare::run(arguments, &mut session),
        Command::Evaluate(arguments) => evaluate::run(arguments, &mut session),
        Command::Diagnose(arguments) => diagnose::run(arguments, &mut session),
        Command::Report(arguments) => report::run(arguments, &mut session),
    };
    match answer {
        Ok(answer) => answer.into(),
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("sdlab: {error}\n"));
            ExitCode::from(2)
        }
    }
}
