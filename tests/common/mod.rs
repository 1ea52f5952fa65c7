//! What tests of the command share.

use std::process::{Command, Output, Stdio};

/// Runs the command with nothing on standard input.
pub fn sdlab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sdlab")).args(arguments).stdin(Stdio::null()).output().unwrap()
}
