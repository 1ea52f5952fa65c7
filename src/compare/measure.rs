//! All runs of an instance, and the folder of a comparison.
//!
//! The folder holds `config.toml` (complete, with the tuned steps), `results.jsonl`, `timings.jsonl`, `provenance.json`, and for every instance its problem in
//! `instances` and its certificates in `certificates`. An instance with all of its runs is one line of `results.jsonl`, in a fixed
//! order, so that a comparison that was killed goes on after the last whole line and ends in the same bytes.

use super::config::{Comparison, Steps, optimizer};
use super::dynamics::{IN_CELL, cells, escapes};
use super::record::{FORMAT, Record, Run, Timing, digits, hits};
use super::suite::Instance;
use super::tuning::tune;
use crate::io::{origin, write_atomic};
use crate::optim::end_point::{EndPoint, classify};
use crate::optim::global::partition::Partition;
use crate::optim::{Biconvex, Cell, Observer, State, Termination, run};
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
    /// The instances that are done.
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
        (all, self.records.len())
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
        let records = read(complete).map_err(|error| format!("{}: {error}", file.display()))?;
        write_atomic(&file, complete.as_bytes()).map_err(|error| format!("{}: {error}", file.display()))?;
        let timings = self.path.join("timings.jsonl");
        let text = fs::read_to_string(&timings).unwrap_or_default();
        let kept: String = text.lines().take(records.len() * self.runs()).flat_map(|line| [line, "\n"]).collect();
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

    /// Runs the next instance and keeps its results; `None` when all are done.
    pub fn advance(&mut self) -> Result<Option<String>, String> {
        let (_, done) = self.progress();
        let all = self.comparison.families.iter().flat_map(|f| (0..f.instances).map(move |k| (f, k)));
        let Some((family, number)) = all.into_iter().nth(done) else { return Ok(None) };
        let instance = Instance::make(family, number, self.comparison.seed)?;
        let (record, timings) = measure(&instance, &self.comparison, self.steps)?;
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
        append(&self.path.join("results.jsonl"), &lines(std::slice::from_ref(&record))?)?;
        self.records.push(record);
        Ok(Some(instance.id))
    }
}

/// Records from lines of JSON; the error names the line.
pub fn read(text: &str) -> Result<Vec<Record>, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(k, line)| {
            let at = |error: serde_json::Error| format!("line {}: {error}", k + 1);
            match serde_json::from_str::<Format>(line).map_err(at)?.format {
                FORMAT => serde_json::from_str(line).map_err(at),
                other => Err(format!(
                    "line {}: format: expected {FORMAT}, found {other}; compare again, with --force to replace the old results",
                    k + 1
                )),
            }
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

/// All runs of an instance: every start with every optimizer, in this order; and what happens on its partition cells.
pub fn measure(instance: &Instance, comparison: &Comparison, steps: Steps) -> Result<(Record, Vec<Timing>), String> {
    let problem = crate::theory::certificate_body::hash(&instance.problem);
    let tasks: Vec<(u64, &String)> =
        (0..comparison.starts).flat_map(|start| comparison.optimizers.iter().map(move |o| (start, o))).collect();
    let closed = Partition::new(&instance.loss).ok();
    let ends: Result<Vec<_>, String> = tasks
        .par_iter()
        .map(|&(number, name)| {
            let failed = |error: &dyn std::fmt::Display| format!("{}, {name}, start {number}: {error}", instance.id);
            let mut chosen =
                optimizer(name, &instance.loss, steps, number).ok_or_else(|| failed(&"there is no such optimizer"))?;
            let at = instance.start(number, comparison.seed);
            let mut course = Course(Vec::new());
            let outcome = run(&instance.loss, chosen.as_mut(), &at, comparison.budget, &mut course)
                .map_err(|error| failed(&error))?;
            // A run that has diverged is taken to have stayed where it began.
            let diverged = matches!(outcome.termination, Termination::Diverged { .. });
            let last = if diverged { &at } else { &outcome.state.at };
            if diverged {
                course.0.truncate(1);
            }
            let end = classify(&instance.loss, last).map_err(|error| failed(&error))?;
            let timing = Timing {
                instance: instance.id.clone(),
                optimizer: name.clone(),
                start: number,
                seconds: outcome.seconds,
            };
            let begun = Biconvex::cell(&instance.loss, at.W.as_ref()).map_err(|error| failed(&error))?;
            let stays = IN_CELL.contains(&name.as_str()) && begun.is_disjoint();
            let run = Run {
                optimizer: name.clone(),
                start: number,
                end,
                certified: None,
                in_cell: closed.as_ref().filter(|_| stays).and_then(|p| Some(p.optimum(&begun.on).ok()?.loss)),
                ended: outcome.termination.reason().into(),
                steps: outcome.state.steps,
                gradients: digits(outcome.state.gradients, 5),
                hits: Vec::new(),
            };
            let cell = Biconvex::cell(&instance.loss, last.W.as_ref()).map_err(|error| failed(&error))?;
            Ok((run, timing, cell, course.0))
        })
        .collect();
    let ends = ends?;
    let certified_point = instance.optimum.upper.unwrap_or(f64::INFINITY);
    let best = ends.iter().map(|(run, ..)| run.end.loss).fold(certified_point, f64::min);
    let mut listed: BTreeMap<Vec<Vec<usize>>, Vec<(f64, String)>> = BTreeMap::new();
    let (mut runs, mut timings) = (Vec::new(), Vec::new());
    for (mut run, timing, cell, course) in ends {
        run.certified = certified(instance, &run.end, &cell, &mut listed);
        run.hits = hits(&course, best);
        run.end = shortened(run.end);
        runs.push(run);
        timings.push(timing);
    }
    let (cells, escapes) = rayon::join(|| cells(instance, comparison, steps), || escapes(instance, comparison.seed));
    let record = Record {
        format: FORMAT,
        instance: instance.id.clone(),
        family: instance.family.clone(),
        size: [instance.loss.n(), instance.loss.n_p(), instance.latents],
        problem,
        total: Biconvex::total(&instance.loss),
        lower: instance.optimum.lower,
        attained: instance.optimum.upper.is_some(),
        best,
        cells: cells?,
        escapes: escapes?,
        runs,
    };
    Ok((record, timings))
}

/// Two digits of all but the loss.
fn shortened(mut end: EndPoint) -> EndPoint {
    let short = |x: f64| digits(x, 2);
    end.gradient = short(end.gradient);
    (end.residuals.r_v, end.residuals.r_w) = (short(end.residuals.r_v), short(end.residuals.r_w));
    end.curvature = end.curvature.map(short);
    end
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

/// (evaluations, loss) after every step.
struct Course(Vec<(f64, f64)>);

impl Observer for Course {
    fn observe(&mut self, state: &State, _: f64) {
        self.0.push((state.gradients, state.loss));
    }
}
