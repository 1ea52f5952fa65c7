//! `provenance.json`: which program made a report, from which source, on what machine, when and how long it took.
//!
//! It is the only file of a report that differs between two runs.

pub use crate::io::origin::{Checkout, checkout};

use crate::io::origin::{instruction_set, target, utc};
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// What is known about the making of a report.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    /// Format of this file.
    pub format: u32,
    /// Version of the program.
    pub version: &'static str,
    /// The source, if the program still lies in its checkout and git can be asked.
    pub source: Option<Checkout>,
    /// The command.
    pub command: String,
    /// The seed.
    pub seed: u64,
    /// Processor architecture and operating system that the program was compiled for.
    pub target: String,
    /// Instruction sets that the processor offers and the arithmetic may use.
    pub instruction_set: Vec<&'static str>,
    /// Threads available.
    pub threads: usize,
    /// Seconds from the beginning of the command to the writing of this file.
    pub wall_seconds: f64,
    /// Begin, in coordinated universal time (RFC 3339).
    pub started: String,
}

impl Provenance {
    /// Of a report that began at `started` and took `wall`.
    pub fn new(command: String, seed: u64, source: Option<Checkout>, started: SystemTime, wall: Duration) -> Self {
        Self {
            format: 1,
            version: env!("CARGO_PKG_VERSION"),
            source,
            command,
            seed,
            target: target(),
            instruction_set: instruction_set(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            wall_seconds: wall.as_secs_f64(),
            started: utc(started),
        }
    }
}
