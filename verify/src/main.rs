//! The command `sdlab-verify`: replays certificates.

use sdlab_verify::files::{FileError, Replay, find, replay, replay_corpus};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Checks certificates of sdlab by exact arithmetic (see FORMAT.md).

usage: sdlab-verify [--json] PATH..         certificate files, and directories searched for *.json
       sdlab-verify [--json] --corpus DIR   DIR/accepted must be accepted, every mutation in DIR/refused refused

Prints one line for each file:
    accepted KIND PATH — what it proves
    refused PATH: the first rule that is broken

--json        print one JSON object instead: {\"files\": [..], \"accepted\": .., \"refused\": ..}
--corpus DIR  check a corpus
--help        this text

exit: 0 all are accepted (with --corpus: as they must be), 1 some are not, 2 wrong usage or a file cannot be read
";

fn main() -> ExitCode {
    let (mut json, mut corpus, mut paths) = (false, None, Vec::new());
    let mut arguments = std::env::args_os().skip(1);
    let mut only_paths = false;
    while let Some(argument) = arguments.next() {
        match argument.to_str().filter(|_| !only_paths) {
            Some("--help" | "-h") => {
                print(HELP);
                return ExitCode::SUCCESS;
            }
            Some("--json") => json = true,
            Some("--corpus") => match arguments.next() {
                Some(directory) => corpus = Some(PathBuf::from(directory)),
                None => return usage("--corpus: expected a directory"),
            },
            Some("--") => only_paths = true,
            Some(option) if option.starts_with('-') => return usage(&format!("unknown option `{option}`")),
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let replays = match (&corpus, paths.as_slice()) {
        (Some(directory), []) => replay_corpus(directory),
        (None, [_, ..]) => find(&paths).and_then(|files| files.iter().map(|file| replay(file)).collect()),
        (Some(_), _) => return usage("--corpus takes no further path"),
        (None, []) => return usage("expected a certificate file or a directory"),
    };
    match replays {
        Ok(replays) => report(&replays, json),
        Err(error) => fail(&error),
    }
}

fn report(replays: &[Replay], json: bool) -> ExitCode {
    let accepted = replays.iter().filter(|replay| replay.outcome.is_ok()).count();
    if json {
        let report = serde_json::json!({
            "files": replays,
            "accepted": accepted,
            "refused": replays.len() - accepted,
        });
        print(&format!("{report:#}\n"));
    } else {
        replays.iter().for_each(|replay| print(&format!("{replay}\n")));
    }
    ExitCode::from(u8::from(!replays.iter().all(Replay::is_as_expected)))
}

/// A reader that went away is no reason to panic.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn fail(error: &FileError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sdlab-verify: {error}");
    ExitCode::from(2)
}

fn usage(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sdlab-verify: {message}\n\n{HELP}");
    ExitCode::from(2)
}
