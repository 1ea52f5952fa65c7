//! What a command says: machine output, human text, files, and how far it is.

use crate::io::write_atomic;
use crate::report::terminal;
use crate::stats::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why output failed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file cannot be written.
    #[error("{}: cannot be written: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        error: io::Error,
    },
    /// Standard output or standard error cannot be written.
    #[error("standard output: cannot be written: {0}")]
    Stream(io::Error),
}

/// The two streams: with `--json`, machine output on standard output and human text on standard error, else human text on
/// standard output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// Output with or without `--json`.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Writes human text.
    pub fn text(&self, text: &str) -> Result<(), OutputError> {
        let text = text.trim_end_matches('\n');
        if self.json { line(io::stderr().lock(), text) } else { line(io::stdout().lock(), text) }
    }

    /// Writes machine output, if it is wanted.
    pub fn json(&self, value: &Value) -> Result<(), OutputError> {
        if self.json { line(io::stdout().lock(), &format!("{value:#}")) } else { Ok(()) }
    }

    /// Writes a table for people.
    pub fn table(&self, table: &Table) -> Result<(), OutputError> {
        let color = self.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        self.text(&terminal::table(table, color, Some(terminal::width(self.json).unwrap_or(PLAIN_WIDTH))))
    }

    fn is_terminal(&self) -> bool {
        if self.json { io::stderr().is_terminal() } else { io::stdout().is_terminal() }
    }

    /// Writes a file whole or not at all.
    pub fn file(&self, path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
        write_atomic(path, bytes).map_err(|error| OutputError::File { path: path.to_owned(), error })
    }
}

/// Columns of tables where no terminal says how many there are.
const PLAIN_WIDTH: u16 = 120;

/// A reader that has gone away wants no more, and that is no error.
fn line(mut stream: impl Write, text: &str) -> Result<(), OutputError> {
    match writeln!(stream, "{text}").and_then(|()| stream.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(OutputError::Stream(error)),
        _ => Ok(()),
    }
}

/// A time in the largest unit of which it has one, such as `3 min`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// How far a command is: after two seconds a bar where a terminal watches standard error, else a plain line now and then.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    started: Instant,
    said: Option<Instant>,
}

/// No sign of progress before this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between plain lines.
const INTERVAL: Duration = Duration::from_secs(10);

impl Progress {
    /// Begins a command of so many steps.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self { bar, plain: !io::stderr().is_terminal(), started: Instant::now(), said: None }
    }

    /// Says how many steps are done and what is being done now.
    pub fn set(&mut self, done: usize, now: &str) {
        self.bar.set_position(done as u64);
        self.bar.set_message(now.to_owned());
        if self.started.elapsed() < PATIENCE {
            return;
        }
        if !self.plain {
            if self.bar.is_hidden() {
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            self.bar.tick();
        } else if self.said.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.said = Some(Instant::now());
            // Nothing is lost if nobody reads it.
            let _ = writeln!(io::stderr(), "{done} of {} done, now {now}", self.bar.length().unwrap_or(0));
        }
    }

    /// Says how far the features of a bench have come that are made with at most this interference.
    pub fn features(&mut self, largest: f64, wanted: f64) {
        self.set(0, &format!("features, largest interference {largest:.3}, wanted {wanted}"));
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
