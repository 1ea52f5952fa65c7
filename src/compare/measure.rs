//! All runs of an instance, and the folder of a comparison.
//!
//! The folder holds `config.toml` (complete, with the tuned steps), `results.jsonl`, `timings.jsonl`, `provenance.json`, and for every instance its problem in
//! `instances` and its certificates in `certificates`. Runs of one instance are appended together and in a fixed order, so that a
//! comparison that was killed goes on after the last whole instance and ends in the same bytes.

use super::config::{Comparison, Steps, optimizer};
use super::record::{Record, Timing};
use super::suite::Instance;
use super::tuning::tune;
use crate::io::{origin, write_atomic};
use crate::optim::end_point::{EndPoint, classify};
use crate::optim::{Biconvex, Cell, Observer, State, Termination, run, start};
use crate::theory::partial_optimum;
use crate::theory::pattern::Pattern;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest n whose partial optima are listed to certify an end point.
const CERTIFIED: usize = 6;
/// Relative difference of losses below which an end point is a listed partial optimum.
const SAME: f64 = 1e-7;

/// What `config.toml` of a folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Complete {
    steps: Steps,
    comparison: Comparison,
}

/// A comparison in its folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    comparison: Comparison,
    steps: Steps,
    /// Lines of whole instances that the folder holds already.
    pub records: Vec<Record>,
}

impl Folder {
    /// Opens or makes the folder. One that holds another comparison is refused, unless `force` removes its results.
    pub fn open(path: &Path, comparison: Comparison, force: bool) -> Result<Self, String> {
        let at = |name: &str| path.join(name);
        let failed = |file: &Path, error: std::io::Error| format!("{}: {error}", file.display());
        fs::create_dir_all(path).map_err(|error| failed(path, error))?;
        if force {
            for name in ["config.toml", "results.jsonl", "timings.jsonl", "provenance.json"] {
                match fs::remove_file(at(name)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(&at(name), error)),
                    _ => {}
                }
            }
        }
        let steps = match fs::read_to_string(at("config.toml")) {
            Ok(text) => {
                let held: Complete = toml::from_str(&text)
                    .map_err(|error| format!("{}: {}", at("config.toml").display(), error.to_string().trim()))?;
                if held.comparison != comparison {
                    return Err(format!(
                        "{}: holds another comparison; choose another folder with --out, or --force to remove it",
                        path.display()
                    ));
                }
                held.steps
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let steps = tune(&comparison)?;
                let complete = Complete { steps, comparison: comparison.clone() };
                let text = toml::to_string(&complete).map_err(|error| error.to_string())?;
                write_atomic(&at("config.toml"), text.as_bytes()).map_err(|error| failed(&at("config.toml"), error))?;
                steps
            }
            Err(error) => return Err(failed(&at("config.toml"), error)),
        };
        let mut folder = Self { path: path.to_owned(), comparison, steps, records: Vec::new() };
        folder.records = folder.whole()?;
        Ok(folder)
    }

    /// Runs per instance.
    fn runs(&self) -> usize {
        self.comparison.optimizers.len() * self.comparison.starts as usize
    }

    /// Number of instances, and of those that are done.
    pub fn progress(&self) -> (usize, usize) {
        let all = self.comparison.families.iter().map(|family| family.instances as usize).sum();
        (all, self.records.len() / self.runs())
    }

    /// The records of whole instances; both files are cut to them.
    fn whole(&self) -> Result<Vec<Record>, String> {
        let file = self.path.join("results.jsonl");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        // A line without its end was being written when the program was killed.
        let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut records = read(complete).map_err(|error| format!("{}: {error}", file.display()))?;
        records.truncate(records.len() / self.runs() * self.runs());
        self.rewrite(&records)?;
        let timings = self.path.join("timings.jsonl");
        let text = fs::read_to_string(&timings).unwrap_or_default();
        let kept: String = text.lines().take(records.len()).flat_map(|line| [line, "\n"]).collect();
        write_atomic(&timings, kept.as_bytes()).map_err(|error| format!("{}: {error}", timings.display()))?;
        Ok(records)
    }

    /// Writes `provenance.json`: the program, the machine, and what every call has done in how many seconds.
    pub fn finish(&self, instances: usize, seconds: f64) -> Result<(), String> {
        let file = self.path.join("provenance.json");
        // What earlier calls have left, if it can be read; nothing depends on it.
        let before = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let mut calls = before.and_then(|before| before["calls"].as_array().cloned()).unwrap_or_default();
        calls.push(json!({ "instances": instances, "seconds": (seconds * 10.0).round() / 10.0 }));
        let provenance = json!({
            "format": 1,
            "version": env!("CARGO_PKG_VERSION"),
            "source": origin::checkout(),
            "target": origin::target(),
            "processor": origin::processor(),
            "instruction_set": origin::instruction_set(),
            "threads": rayon::current_num_threads(),
            "calls": calls,
        });
        write_atomic(&file, format!("{provenance:#}\n").as_bytes())
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    fn rewrite(&self, records: &[Record]) -> Result<(), String> {
        let file = self.path.join("results.jsonl");
        write_atomic(&file, lines(records)?.as_bytes()).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Runs the next instance and keeps its results; `None` when all are done.
    pub fn advance(&mut self) -> Result<Option<String>, String> {
        let (_, done) = self.progress();
        let all = self.comparison.families.iter().flat_map(|f| (0..f.instances).map(move |k| (f, k)));
        let Some((family, number)) = all.into_iter().nth(done) else { return Ok(None) };
        let instance = Instance::make(family, number, self.comparison.seed)?;
        let (records, timings) = measure(&instance, &self.comparison, self.steps)?;
        let written = |name: PathBuf, text: String| {
            let made = name.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| write_atomic(&name, text.as_bytes()))
                .map_err(|error| format!("{}: {error}", name.display()))
        };
        written(self.path.join("instances").join(format!("{}.json", instance.id)), instance.problem.to_json() + "\n")?;
        for certificate in &instance.optimum.certificates {
            let name = format!("{}-{}.json", instance.id, certificate.body.kind());
            written(self.path.join("certificates").join(name), certificate.to_json() + "\n")?;
        }
        append(&self.path.join("timings.jsonl"), &lines(&timings)?)?;
        append(&self.path.join("results.jsonl"), &lines(&records)?)?;
        self.records.extend(records);
        Ok(Some(instance.id))
    }
}

/// Records from lines of JSON; the error names the line.
pub fn read(text: &str) -> Result<Vec<Record>, String> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(k, line)| {
            let record: Record = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", k + 1))?;
            if record.format == 1 { Ok(record) } else { Err(format!("line {}: format: expected 1", k + 1)) }
        })
        .collect()
}

fn lines<T: Serialize>(values: &[T]) -> Result<String, String> {
    let mut text = String::new();
    for value in values {
        text += &serde_json::to_string(value).map_err(|error| error.to_string())?;
        text.push('\n');
    }
    Ok(text)
}

fn append(file: &Path, text: &str) -> Result<(), String> {
    use std::io::Write;
    let mut open = fs::OpenOptions::new().create(true).append(true).open(file);
    let done = open.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string())).and_then(|file| {
        file.write_all(text.as_bytes())?;
        file.sync_data()
    });
    done.map_err(|error| format!("{}: {error}", file.display()))
}

/// All runs of an instance: every start with every optimizer, in this order.
pub fn measure(
    instance: &Instance,
    comparison: &Comparison,
    steps: Steps,
) -> Result<(Vec<Record>, Vec<Timing>), String> {
    let problem = crate::theory::certificate_body::hash(&instance.problem);
    let total = Biconvex::total(&instance.loss);
    let tasks: Vec<(u64, &String)> =
        (0..comparison.starts).flat_map(|start| comparison.optimizers.iter().map(move |o| (start, o))).collect();
    let ends: Result<Vec<_>, String> = tasks
        .par_iter()
        .map(|&(number, name)| {
            let failed = |error: &dyn std::fmt::Display| format!("{}, {name}, start {number}: {error}", instance.id);
            let mut chosen =
                optimizer(name, &instance.loss, steps, number).ok_or_else(|| failed(&"there is no such optimizer"))?;
            let at = start::random(&instance.loss, instance.latents, comparison.seed.wrapping_add(number));
            let mut course = Course { lower: instance.optimum.lower, points: Vec::new(), last: None };
            let outcome = run(&instance.loss, chosen.as_mut(), &at, comparison.budget, &mut course)
                .map_err(|error| failed(&error))?;
            course.points.extend(course.last);
            // A run that has diverged is taken to have stayed where it began.
            let diverged = matches!(outcome.termination, Termination::Diverged { .. });
            let last = if diverged { &at } else { &outcome.state.at };
            if diverged {
                course.points.truncate(1);
            }
            let end = classify(&instance.loss, last).map_err(|error| failed(&error))?;
            let timing = Timing {
                instance: instance.id.clone(),
                optimizer: name.clone(),
                start: number,
                seconds: outcome.seconds,
            };
            let record = Record {
                format: 1,
                instance: instance.id.clone(),
                family: instance.family.clone(),
                size: [instance.loss.n(), instance.loss.n_p(), instance.latents],
                problem: problem.clone(),
                total,
                lower: instance.optimum.lower,
                attained: instance.optimum.attained,
                optimizer: name.clone(),
                start: number,
                end,
                certified: None,
                termination: outcome.termination,
                steps: outcome.state.steps,
                gradients: outcome.state.gradients,
                course: course.points,
            };
            let cell = Biconvex::cell(&instance.loss, last.W.as_ref()).map_err(|error| failed(&error))?;
            Ok((record, timing, cell))
        })
        .collect();
    let mut listed: BTreeMap<Vec<Vec<usize>>, Vec<(f64, String)>> = BTreeMap::new();
    let (mut records, mut timings) = (Vec::new(), Vec::new());
    for (mut record, timing, cell) in ends? {
        record.certified = certified(instance, &record.end, &cell, &mut listed);
        records.push(record);
        timings.push(timing);
    }
    Ok((records, timings))
}

/// The class of the exact partial optimum that an end point is, from the list of its pattern.
fn certified(
    instance: &Instance,
    end: &EndPoint,
    cell: &Cell,
    listed: &mut BTreeMap<Vec<Vec<usize>>, Vec<(f64, String)>>,
) -> Option<String> {
    if instance.problem.n() > CERTIFIED || !cell.is_disjoint() {
        return None;
    }
    let mut key = cell.on.clone();
    key.sort();
    let optima = listed.entry(key).or_insert_with_key(|key| {
        let pattern = Pattern::new(key.clone(), instance.problem.n());
        let decision = pattern.map_err(|e| e.to_string()).and_then(|p| partial_optimum::decide(&instance.problem, &p));
        let name = |o: &partial_optimum::Optimum| format!("{} {}", o.kind.name(), o.class.name());
        decision.map_or_else(|_| Vec::new(), |d| d.optima.iter().map(|o| (o.loss.to_f64(), name(o))).collect())
    });
    let near = |loss: &f64| (loss - end.loss).abs() <= SAME * end.loss.max(1e-9 * Biconvex::total(&instance.loss));
    optima.iter().find(|(loss, _)| near(loss)).map(|(_, class)| class.clone())
}

/// Keeps the points at which a quarter of what was left above the lower bound is gone.
struct Course {
    lower: f64,
    points: Vec<(f64, f64)>,
    last: Option<(f64, f64)>,
}

impl Observer for Course {
    fn observe(&mut self, state: &State, _: f64) {
        let point = (state.gradients, state.loss);
        let fallen = |(_, before): &(f64, f64)| state.loss - self.lower <= 0.75 * (before - self.lower);
        self.last = Some(point);
        if self.points.last().is_none_or(fallen) {
            self.points.push(point);
            self.last = None;
        }
    }
}
