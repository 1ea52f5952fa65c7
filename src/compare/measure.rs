//! All runs of an instance, and the folder of a comparison.
//!
//! The folder holds `config.toml` (complete, with the tuned steps), `results.jsonl`, `timings.jsonl`, `provenance.json`, and for every instance its problem in
//! `instances` and its certificates in `certificates`: those of its bound and optimum ([`proofs`]), and one for the cell of each start. An instance
//! with all of its runs is one line of `results.jsonl`, in a fixed order, so that a comparison that was killed goes on after the last whole line and ends in the same bytes.

use super::config::{Comparison, Steps, optimizer};
use super::dynamics::{cells, escapes};
use super::opening::{OpenError, another, clear, failed, text};
use super::record::{ATTAINED, FORMAT, Found, Record, Run, Timing, digits, hits};
use super::suite::Instance;
use super::summary::SUCCESS;
use super::tuning::tune;
use crate::bench::configuration;
use crate::io::{origin, write_atomic};
use crate::optim::end_point::{Class, EndPoint, classify};
use crate::optim::global::partition::Partition;
use crate::optim::{Biconvex, Cell, Observer, Optimizer, State, Termination, run};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use crate::theory::partial_optimum;
use crate::theory::pattern::Pattern;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Largest n whose partial optima are listed to certify an end point.
const CERTIFIED: usize = 6;
/// Relative difference of losses below which an end point is a listed partial optimum.
const SAME: f64 = 1e-7;

/// Largest n whose patterns are written.
const WRITTEN: usize = 12;
/// Codes below this share of the largest one of their neuron are taken for a limit of 0 where patterns of ends are told apart.
const SILENT: f64 = 1e-4;

/// What `config.toml` of a folder holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// Name of the configuration's file without its ending, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tuned steps.
    pub steps: Steps,
    /// What is compared.
    pub comparison: Comparison,
}

impl Held {
    /// Of a folder; nothing if it holds no comparison.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn read(folder: &Path) -> Result<Option<Self>, String> {
        let file = folder.join("config.toml");
        let held = text(&file)?.map(|text| configuration::from_toml(&text));
        held.transpose().map_err(|error| format!("{}: {error}", file.display()))
    }
}

/// A comparison in its folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    held: Held,
    /// The instances that are done.
    pub records: Vec<Record>,
    /// Seconds of their runs.
    pub timings: Vec<Timing>,
}

impl Folder {
    /// Opens or makes the folder for the comparison of a configuration with this name, if it has one. A folder that holds another comparison is
    /// refused, unless `force` removes what it holds. Nothing is written or removed before the steps are tuned and the first instance of each family
    /// is known to exist.
    ///
    /// # Errors
    /// A comparison that cannot be made, a folder that holds another one, or a file that cannot be read or written.
    pub fn open(path: &Path, name: Option<&str>, comparison: Comparison, force: bool) -> Result<Self, OpenError> {
        let held = if force { None } else { Held::read(path).map_err(OpenError::Folder)? };
        let held = match held {
            Some(held) if held.comparison != comparison => return Err(another(path)),
            Some(held) => held,
            None => {
                comparison.ensure_instances().map_err(OpenError::Comparison)?;
                let steps = tune(&comparison).map_err(OpenError::Comparison)?;
                let held = Held { name: name.map(str::to_owned), steps, comparison };
                begin(path, &held, force).map_err(OpenError::Folder)?;
                held
            }
        };
        let (records, timings) = (Vec::new(), Vec::new());
        let mut folder = Self { path: path.to_owned(), held, records, timings };
        (folder.records, folder.timings) = folder.whole().map_err(OpenError::Folder)?;
        Ok(folder)
    }

    /// What its `config.toml` holds.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Number of instances, and of those that are done.
    pub fn progress(&self) -> (usize, usize) {
        let all = self.held.comparison.families.iter().map(|family| family.instances as usize).sum();
        (all, self.records.len())
    }

    /// The records of whole instances, and their timings; both files are cut to them.
    fn whole(&self) -> Result<(Vec<Record>, Vec<Timing>), String> {
        let file = self.path.join("results.jsonl");
        let Some(text) = text(&file)? else { return Ok(Default::default()) };
        // A line without its end was being written when the program was killed.
        let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
        let records = read(complete).map_err(|error| format!("{}: {error}", file.display()))?;
        self.ensure_order(&records).map_err(|error| format!("{}: {error}", file.display()))?;
        write_atomic(&file, complete.as_bytes()).map_err(|error| format!("{}: {error}", file.display()))?;
        let file = self.path.join("timings.jsonl");
        let mut timings = times(&fs::read_to_string(&file).unwrap_or_default());
        timings.retain(|timing| records.iter().any(|record| record.instance == timing.instance));
        write_atomic(&file, lines(&timings)?.as_bytes()).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((records, timings))
    }

    /// Whether the records are those of the first instances, one each, in their order.
    fn ensure_order(&self, records: &[Record]) -> Result<(), String> {
        let mut expected = self.held.comparison.ids().into_iter();
        for (k, record) in records.iter().enumerate() {
            let (line, found) = (k + 1, &record.instance);
            let wrong = match expected.next() {
                Some(id) if id == *found => continue,
                Some(id) => format!("expected the instance {id}"),
                None => "expected no further instance".into(),
            };
            return Err(format!("line {line}: {wrong}, found {found}; restore the file, or begin anew with --force"));
        }
        Ok(())
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
        let Held { comparison, steps, .. } = &self.held;
        let mut all = comparison.families.iter().flat_map(|f| (0..f.instances).map(move |k| (f, k)));
        let Some((family, number)) = all.nth(done) else { return Ok(None) };
        let mut instance = Instance::make(family, number, comparison.seed)?;
        let (record, timings) = measure(&mut instance, comparison, comparison.of(family), *steps)?;
        let written = |name: PathBuf, text: String| {
            let made = name.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| write_atomic(&name, text.as_bytes()))
                .map_err(|error| format!("{}: {error}", name.display()))
        };
        written(self.path.join("instances").join(format!("{}.json", instance.id)), instance.problem.to_json() + "\n")?;
        for certificate in &instance.optimum.certificates {
            let name = format!("{}-{}.json", instance.id, certificate.body.kind());
            written(self.path.join("certificates").join(name), certificate.to_short_json())?;
        }
        for start in 0..comparison.starts {
            if let Some(certificate) = instance.witness(start, comparison.seed)? {
                let name = format!("{}-start{start}-{}.json", instance.id, certificate.body.kind());
                written(self.path.join("certificates").join(name), certificate.to_short_json())?;
            }
        }
        append(&self.path.join("timings.jsonl"), &lines(&timings)?)?;
        append(&self.path.join("results.jsonl"), &lines(std::slice::from_ref(&record))?)?;
        self.records.push(record);
        self.timings.extend(timings);
        Ok(Some(instance.id))
    }
}

/// Makes a folder that holds a comparison and no result.
fn begin(path: &Path, held: &Held, force: bool) -> Result<(), String> {
    let text = toml::to_string(held).map_err(|error| error.to_string())?;
    fs::create_dir_all(path).map_err(|error| failed(path, &error))?;
    if force {
        clear(path)?;
    }
    let file = path.join("config.toml");
    write_atomic(&file, text.as_bytes()).map_err(|error| failed(&file, &error))
}

/// Names of the files that may prove an instance's bound and optimum, in the folder `certificates` of a comparison.
pub fn proofs(record: &Record) -> [String; 3] {
    ["lower-bound", "loss-value", "zero-loss"].map(|kind| format!("{}-{kind}.json", record.instance))
}

/// Timings from lines of JSON. Lines that are none are passed over, as no result depends on them.
pub fn times(text: &str) -> Vec<Timing> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
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

pub(super) fn append(file: &Path, text: &str) -> Result<(), String> {
    use std::io::Write;
    let mut open = fs::OpenOptions::new().create(true).append(true).open(file);
    let done = open.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string())).and_then(|file| {
        file.write_all(text.as_bytes())?;
        file.sync_data()
    });
    done.map_err(|error| format!("{}: {error}", file.display()))
}

/// All runs of an instance: every start with every one of these optimizers, in this order; and what happens on its partition cells. The best end is
/// certified if it attains the bound.
///
/// # Errors
/// An optimizer that does not exist, a loss that cannot be computed, or a certificate that the checker refuses.
pub fn measure(
    instance: &mut Instance,
    comparison: &Comparison,
    optimizers: &[String],
    steps: Steps,
) -> Result<(Record, Vec<Timing>), String> {
    let problem = crate::theory::certificate_body::hash(&instance.problem);
    let tasks: Vec<(u64, &String)> =
        (0..comparison.starts).flat_map(|start| optimizers.iter().map(move |o| (start, o))).collect();
    let ends: Result<Vec<End>, String> = {
        let closed = Partition::new(&instance.loss).ok();
        tasks.par_iter().map(|task| end(instance, comparison, *task, steps, closed.as_ref())).collect()
    };
    let ends = ends?;
    let total = Biconvex::total(&instance.loss);
    if let Some(least) = ends.iter().min_by(|a, b| a.run.end.loss.total_cmp(&b.run.end.loss))
        && least.run.end.loss - instance.optimum.lower <= ATTAINED * total
    {
        instance.attain(&least.at)?;
    }
    let certified_point = instance.optimum.upper.unwrap_or(f64::INFINITY);
    let best = ends.iter().map(|end| end.run.end.loss).fold(certified_point, f64::min);
    let mut listed: BTreeMap<Vec<Vec<usize>>, Vec<(f64, String)>> = BTreeMap::new();
    let optima = tell_apart(&ends, instance.loss.n(), total);
    let (mut runs, mut timings) = (Vec::new(), Vec::new());
    for (end, optimum) in ends.into_iter().zip(optima.1) {
        let End { mut run, seconds, cell, course, .. } = end;
        run.certified = certified(instance, &run.end, &cell, &mut listed);
        run.optimum = optimum;
        run.hits = hits(&course.by_gradients(), best);
        run.to_bound = hits(&course.by_gradients(), instance.optimum.lower);
        run.to_cell = run.in_cell.map_or_else(Vec::new, |least| hits(&course.by_gradients(), least));
        run.end = shortened(run.end);
        timings.push(Timing {
            instance: instance.id.clone(),
            optimizer: run.optimizer.clone(),
            start: run.start,
            seconds,
            hits: hits(&course.by_seconds(), best).into_iter().map(|seconds| digits(seconds, 3)).collect(),
        });
        runs.push(run);
    }
    let shared: &Instance = instance;
    let (cells, escapes) = rayon::join(|| cells(shared, comparison, steps), || escapes(shared, comparison.seed));
    let escapes = escapes?;
    let record = Record {
        format: FORMAT,
        instance: instance.id.clone(),
        family: instance.family.clone(),
        size: [instance.loss.n(), instance.loss.n_p(), instance.latents],
        problem,
        total,
        lower: instance.optimum.lower,
        upper: instance.optimum.upper,
        best,
        optima: optima.0,
        cells: cells?,
        escapes: escapes.made,
        passed_over: Some(escapes.passed_over),
        runs,
    };
    Ok((record, timings))
}

/// A run before it is compared with the others.
struct End {
    run: Run,
    seconds: f64,
    at: Weights,
    cell: Cell,
    /// Firing sets without those of dead neurons, sorted; codes that are nearly 0 do not fire.
    pattern: Vec<Vec<usize>>,
    course: Course,
}

/// One optimizer from one start.
fn end(
    instance: &Instance,
    comparison: &Comparison,
    (number, name): (u64, &String),
    steps: Steps,
    closed: Option<&Partition<'_>>,
) -> Result<End, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}, {name}, start {number}: {error}", instance.id);
    let loss = &instance.loss;
    let chosen = optimizer(name, loss, steps, number).ok_or_else(|| failed(&"there is no such optimizer"))?;
    let mut chosen = Timed { inner: chosen, most: comparison.budget.seconds, seconds: 0.0 };
    let start = instance.start(number, comparison.seed);
    let mut course = Course::default();
    let outcome = run(loss, &mut chosen, &start, comparison.budget.budget(), &mut course).map_err(|e| failed(&e))?;
    // A run that has diverged is taken to have stayed where it began.
    let diverged = matches!(outcome.termination, Termination::Diverged { .. });
    let at = if diverged { start.clone() } else { outcome.state.at };
    if diverged {
        course.0.truncate(1);
    }
    let begun = Biconvex::cell(loss, start.W.as_ref()).map_err(|error| failed(&error))?;
    let in_cell = closed.filter(|_| begun.is_disjoint()).and_then(|closed| Some(closed.optimum(&begun.on).ok()?.loss));
    let run = Run {
        optimizer: name.clone(),
        start: number,
        end: classify(loss, &at).map_err(|error| failed(&error))?,
        certified: None,
        optimum: None,
        in_cell,
        ended: outcome.termination.reason().into(),
        steps: outcome.state.steps,
        gradients: digits(outcome.state.gradients, 5),
        hits: Vec::new(),
        to_bound: Vec::new(),
        to_cell: Vec::new(),
    };
    let cell = Biconvex::cell(loss, at.W.as_ref()).map_err(|error| failed(&error))?;
    let pattern = pattern(loss, &at).map_err(|error| failed(&error))?;
    Ok(End { run, seconds: outcome.seconds, at, cell, pattern, course })
}

/// An optimizer that ends when it has worked so many seconds.
struct Timed<'a> {
    inner: Box<dyn Optimizer + 'a>,
    most: Option<f64>,
    seconds: f64,
}

impl Optimizer for Timed<'_> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn init(&mut self, problem: &dyn Biconvex, start: &Weights) -> Result<State, LossError> {
        let clock = Instant::now();
        let state = self.inner.init(problem, start);
        self.seconds = clock.elapsed().as_secs_f64();
        state
    }

    fn step(&mut self, problem: &dyn Biconvex, state: &mut State) -> Result<(), LossError> {
        let clock = Instant::now();
        let stepped = self.inner.step(problem, state);
        self.seconds += clock.elapsed().as_secs_f64();
        stepped
    }

    fn terminate(&self, problem: &dyn Biconvex, state: &State) -> Option<Termination> {
        let spent = self.most.is_some_and(|most| self.seconds >= most);
        let budget = || Termination::Budget { steps: state.steps, gradients: state.gradients };
        self.inner.terminate(problem, state).or_else(|| spent.then(budget))
    }
}

/// The firing sets of a point, sorted, without neurons that answer nothing and codes that are nearly 0.
fn pattern(loss: &ApproximateLoss, at: &Weights) -> Result<Vec<Vec<usize>>, LossError> {
    let Z = loss.codes(at.W.as_ref())?;
    let mut sets = Vec::new();
    for i in 0..Z.nrows() {
        let largest = (0..Z.ncols()).map(|d| Z[(i, d)]).fold(0.0, f64::max);
        if largest > 0.0 && at.V.col(i).iter().any(|v| *v != 0.0) {
            sets.push((0..Z.ncols()).filter(|&d| Z[(i, d)] > SILENT * largest).collect());
        }
    }
    sets.sort();
    Ok(sets)
}

/// The optima at which runs ended, by increasing loss, and which of them each run's end is: those with one pattern whose losses differ by at most
/// [`SUCCESS`] of the total are one, and so are all ends without loss.
fn tell_apart(ends: &[End], n: usize, total: f64) -> (Vec<Found>, Vec<Option<usize>>) {
    let mut found: Vec<(&[Vec<usize>], Found)> = Vec::new();
    let mut which = Vec::new();
    for End { run, pattern, .. } in ends {
        let EndPoint { loss, class, .. } = run.end;
        if class == Class::Unfinished {
            which.push(None);
            continue;
        }
        let pattern: &[Vec<usize>] = if class == Class::NoLoss { &[] } else { pattern };
        let same = |(known, optimum): &(&[Vec<usize>], Found)| {
            *known == pattern && (optimum.loss - loss).abs() <= SUCCESS * total
        };
        let place = found.iter().position(same).unwrap_or_else(|| {
            let written = if n <= WRITTEN { pattern.to_vec() } else { Vec::new() };
            found.push((pattern, Found { pattern: written, loss, class }));
            found.len() - 1
        });
        which.push(Some(place));
    }
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_by(|&a, &b| found[a].1.loss.total_cmp(&found[b].1.loss));
    let mut place = vec![0; found.len()];
    order.iter().enumerate().for_each(|(to, &from)| place[from] = to);
    let optima = order.iter().map(|&k| found[k].1.clone()).collect();
    (optima, which.into_iter().map(|k| k.map(|k| place[k])).collect())
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

/// (evaluations, seconds, loss) after every step.
#[derive(Default)]
pub(super) struct Course(Vec<(f64, f64, f64)>);

impl Course {
    /// (evaluations, loss) after every step.
    pub(super) fn by_gradients(&self) -> Vec<(f64, f64)> {
        self.0.iter().map(|&(gradients, _, loss)| (gradients, loss)).collect()
    }

    /// (seconds, loss) after every step.
    fn by_seconds(&self) -> Vec<(f64, f64)> {
        self.0.iter().map(|&(_, seconds, loss)| (seconds, loss)).collect()
    }
}

impl Observer for Course {
    fn observe(&mut self, state: &State, seconds: f64) {
        self.0.push((state.gradients, seconds, state.loss));
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{FamilyConfig, Limits};
    use super::*;

    fn config(family: &str, latents: usize) -> FamilyConfig {
        FamilyConfig {
            family: family.into(),
            n: 4,
            n_p: 4,
            n_r: None,
            latents,
            threshold: "0".into(),
            instances: 1,
            optimizers: Vec::new(),
        }
    }

    fn comparison(optimizers: &[&str], starts: u64, seconds: Option<f64>) -> Comparison {
        Comparison {
            seed: 0,
            starts,
            budget: Limits { steps: 500, gradients: 1000.0, seconds },
            optimizers: optimizers.iter().map(|name| (*name).to_owned()).collect(),
            families: Vec::new(),
        }
    }

    fn measured(comparison: &Comparison, family: &str, latents: usize) -> (Instance, Record, Vec<Timing>) {
        let mut instance = Instance::make(&config(family, latents), 0, 0).unwrap();
        let steps = Steps { descent: 0.1, adam: 0.1 };
        let (record, timings) = measure(&mut instance, comparison, &comparison.optimizers, steps).unwrap();
        (instance, record, timings)
    }

    #[test]
    fn ends_of_one_pattern_and_loss_are_one_optimum_and_seconds_stand_beside_every_hit() {
        let comparison = comparison(&["acs", "acs-insertion", "lbfgs"], 6, None);
        let (_, record, timings) = measured(&comparison, "orthonormal", 3);
        assert!(record.optima.len() > 1 && record.optima.is_sorted_by(|a, b| a.loss <= b.loss), "{:?}", record.optima);
        for (run, timing) in record.runs.iter().zip(&timings) {
            assert_eq!((&run.optimizer, run.start), (&timing.optimizer, timing.start));
            assert_eq!(run.hits.len(), timing.hits.len());
            assert!(timing.hits.is_sorted() && timing.hits.iter().all(|t| *t <= timing.seconds * 1.01));
            match run.optimum {
                Some(k) => {
                    let found = &record.optima[k];
                    assert!((found.loss - run.end.loss).abs() <= SUCCESS * record.total, "{run:?} {found:?}");
                    // Sets of features that fire, none of them empty.
                    assert!(found.pattern.is_sorted() && found.pattern.iter().all(|set| !set.is_empty()));
                }
                None => assert_eq!(run.end.class, Class::Unfinished),
            }
            if let Some(least) = run.in_cell {
                assert!(run.optimizer != "acs" || run.end.loss >= least - 1e-12 * record.total, "{run:?}");
            }
        }
        let twice = |a: usize| record.runs.iter().filter(|run| run.optimum == Some(a)).count() > 1;
        assert!((0..record.optima.len()).any(twice), "no optimum was met twice: {:?}", record.optima);
    }

    #[test]
    fn a_best_end_that_attains_the_bound_is_certified() {
        // Larger than what branch-and-bound is asked for: the bound at the root alone, attained by the features with the largest masses.
        let comparison = comparison(&["acs-restarts"], 3, None);
        let mut instance = Instance::make(&FamilyConfig { n: 7, n_p: 7, ..config("orthonormal", 3) }, 0, 0).unwrap();
        let steps = Steps { descent: 0.1, adam: 0.1 };
        let (record, _) = measure(&mut instance, &comparison, &comparison.optimizers, steps).unwrap();
        let upper = record.upper.unwrap();
        assert!(upper >= record.lower && upper - record.lower <= ATTAINED * record.total);
        let best = record.runs.iter().map(|run| run.end.loss).fold(f64::INFINITY, f64::min);
        assert!((upper - best).abs() <= 1e-9 * record.total, "{upper} {best}");
        let kinds: Vec<&str> = instance.optimum.certificates.iter().map(|proof| proof.body.kind()).collect();
        assert_eq!(kinds, ["lower-bound", "loss-value"]);
        // The bound is the optimum: the runs that come there come to both at once, to the digits of the bound.
        for run in &record.runs {
            assert!(run.to_bound.len() >= 7 || run.end.loss > record.best + 1e-6 * record.total, "{run:?}");
        }
    }

    #[test]
    fn a_run_ends_when_its_seconds_are_spent() {
        let (_, spent, _) = measured(&comparison(&["descent-lipschitz"], 1, Some(1e-9)), "random-unit", 3);
        assert_eq!((spent.runs[0].steps, spent.runs[0].ended.as_str()), (0, "budget"));
        let (_, ample, _) = measured(&comparison(&["descent-lipschitz"], 1, Some(1e9)), "random-unit", 3);
        let (_, without, _) = measured(&comparison(&["descent-lipschitz"], 1, None), "random-unit", 3);
        assert_eq!(ample.runs, without.runs);
        assert!(without.runs[0].steps > 0);
    }

    #[test]
    fn patterns_know_no_order_no_dead_neurons_and_no_vanishing_codes() {
        let P = faer::Mat::<f64>::identity(3, 3);
        let loss = ApproximateLoss::new(P.clone(), P, vec![1.0; 3], 0.0).unwrap();
        let W = faer::mat![[0.0, 0.0, 2.0], [-1.0, -1.0, -1.0], [1.0, 0.5, 1e-6], [0.0, 1.0, 0.0]];
        let mut V = W.transpose().to_owned();
        // The last neuron fires and answers nothing.
        V.col_mut(3).fill(0.0);
        assert_eq!(pattern(&loss, &Weights { V, W }).unwrap(), [vec![0, 1], vec![2]]);
    }
}
