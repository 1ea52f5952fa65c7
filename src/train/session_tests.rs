//! Whole trainings in folders, on the small backend.

use super::checkpoint;
use super::config::Experiment;
use super::directory::{
    CONFIG, DirectoryError, Found, METRICS, Opening, PROVENANCE, RESAMPLING, RESULT, RunDirectory, TIMINGS, TRACE,
};
use super::mock::Mock;
use super::run::{End, Record};
use super::session::{
    Display, Finish, Outcome, Prepared, Provenance, TrainError, train, train_on_ranks, train_on_shards,
};
use super::trace::Point;
use crate::backend::cpu::Cpu;
use crate::io::{npy, saelens};
use crate::sdl::folding::fold_decoder_norms;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const EXPERIMENT: &str = "
[bench]
n = 6
n_p = 4
interference = 0.9
sparsity = 0.7
samples = 50
[model]
latents = 7
activation = { kind = \"relu\" }
[anchors]
source = \"ground-truth\"
count = 2
weight = 0.1
[train]
batch = 8
steps = 40
log_every = 3
checkpoint_every = 10
";

fn prepared(text: &str) -> Prepared {
    Prepared::new(Experiment::from_toml(text).unwrap().check().unwrap()).unwrap()
}

fn opened(prepared: &Prepared, folder: &Path, opening: Opening) -> Result<(RunDirectory, Found), DirectoryError> {
    RunDirectory::open(folder, &prepared.checked, &prepared.plan, opening)
}

/// Runs the command's part of the library once.
fn ran(text: &str, folder: &Path, opening: Opening, until: Option<u64>) -> Result<Finish, TrainError> {
    let prepared = prepared(text);
    let (mut directory, found) = opened(&prepared, folder, opening)?;
    let state = match found {
        Found::Checkpoint(state) => Some(state),
        Found::Nothing => None,
        Found::Finished(_) => panic!("finished already"),
    };
    train(&prepared, &Mock::new(&prepared.plan.spec), &mut directory, state.as_deref(), until, &mut ())
}

#[test]
fn folded_norms_are_those_of_the_model_that_is_written_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    for (activation, ranks) in
        [("relu\" }", 1), ("gated\" }", 1), ("batch-top-k\", k = 2 }", 1), ("batch-top-k\", k = 2 }", 2)]
    {
        let [plain, folded] = [false, true].map(|fold| {
            let run = folder.path().join(format!("{} {ranks} {fold}", &activation[..5]));
            let text = EXPERIMENT.replace("relu\" }", activation);
            let text = format!("{text}ranks = {ranks}\nfold_decoder_norms = {fold}\n");
            let outcome = ran_on_ranks(&text, &run, Opening::New, None).unwrap().outcome.unwrap();
            let state = checkpoint::read(&run.join(checkpoint::FILE), &prepared(&text).plan).unwrap();
            (saelens::read(&run).unwrap().model, state.model, outcome.scores)
        });
        // Training is the same; only what is kept of it differs.
        assert_eq!((&plain.0, &plain.1), (&plain.1, &folded.1), "{activation}");
        assert_eq!(folded.0.tensors, fold_decoder_norms(&folded.1).unwrap().tensors, "{activation}");
        assert!(folded.0.has_unit_decoder() && !plain.0.has_unit_decoder());
        let [mip, folded_mip] = [&plain.2, &folded.2].map(|scores| scores.decoder.as_ref().unwrap().whole.raw.all.mip);
        let cosine = folded.2.decoder.as_ref().unwrap().whole.normalised.all.mip;
        // Columns of norm 1 up to 2^-23.
        assert!(
            (folded_mip - cosine).abs() < 1e-6 && (mip - folded_mip).abs() > 1e-6,
            "{activation}: {mip} {folded_mip}"
        );
        // The same function, of numbers of about 1 that are rounded to 24 bits.
        let apart = plain.2.fit.mse - folded.2.fit.mse;
        assert!(apart.abs() < 1e-5 * plain.2.fit.mse, "{activation}: {apart}");
    }
}

/// All files that must repeat.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let all = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
    all.filter(|(name, _)| name != PROVENANCE && name != TIMINGS).collect()
}

#[test]
fn a_finished_run_has_all_its_files_and_they_repeat_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("deep/two"));
    let finish = ran(EXPERIMENT, &one, Opening::New, None).unwrap();
    assert_eq!((finish.end, finish.step), (End::Completed, 40));
    let outcome = finish.outcome.unwrap();
    assert_eq!((outcome.steps, outcome.samples, outcome.last.as_ref().unwrap().step), (40, 290, 39));
    assert!(outcome.scores.encoder.is_some());
    ran(EXPERIMENT, &two, Opening::New, None).unwrap();
    assert_eq!(files(&one), files(&two));
    let names: Vec<String> = files(&one).into_keys().collect();
    for name in [CONFIG, METRICS, RESULT, checkpoint::FILE, "cfg.json", "sae_weights.safetensors"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    let complete = Experiment::from_toml(&fs::read_to_string(one.join(CONFIG)).unwrap()).unwrap();
    assert_eq!(complete, Experiment::from_toml(EXPERIMENT).unwrap().completed());
    let read: Outcome = serde_json::from_slice(&fs::read(one.join(RESULT)).unwrap()).unwrap();
    assert_eq!(read, outcome);
    let provenance: serde_json::Value = serde_json::from_slice(&fs::read(one.join(PROVENANCE)).unwrap()).unwrap();
    assert_eq!((&provenance["experiment"], &provenance["backend"]), (&outcome.experiment.into(), &"mock".into()));
    assert_eq!(provenance["sessions"].as_array().unwrap().len(), 1);
    let lines = fs::read_to_string(one.join(METRICS)).unwrap();
    let steps = lines.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().step);
    assert!(steps.eq((0..40).step_by(3)));
    let lines = fs::read_to_string(one.join(TRACE)).unwrap();
    let points: Vec<Point> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(points.iter().map(|point| point.step).eq([0, 3, 6, 9, 12, 18, 24, 36, 40]));
    let scored = outcome.scores.decoder.unwrap().whole.normalised.all.recovered_at(90);
    assert_eq!((points[8].decoder, points[8].samples), (scored, 290));
}

/// Whether a checkpoint was there after each step.
struct Looks<'a>(&'a Path, Vec<bool>);

impl Display for Looks<'_> {
    fn stepped(&mut self, _: u64) {
        self.1.push(self.0.join(checkpoint::FILE).exists());
    }

    fn recorded(&mut self, _: &Record, _: f64) {}

    fn interrupted(&mut self) -> bool {
        false
    }
}

#[test]
fn checkpoints_keep_a_distance_in_time_that_changes_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &str, opening| {
        let (place, prepared) = (folder.path().join(name), prepared(&format!("{EXPERIMENT}{more}")));
        let (mut directory, _) = opened(&prepared, &place, opening).unwrap();
        let mut looks = Looks(&place, Vec::new());
        train(&prepared, &Mock::new(&prepared.plan.spec), &mut directory, None, None, &mut looks).unwrap();
        let mut kept = files(&place);
        kept.remove(CONFIG);
        (looks.1.iter().position(|is_there| *is_there), kept)
    };
    let soon = run("soon", "", Opening::New);
    // A model of a few numbers is kept whenever that is due, and every one at the end.
    assert_eq!(soon.0, Some(10));
    let late = run("late", "checkpoint_seconds = 3600\n", Opening::New);
    assert_eq!(late.0, None);
    assert!(late.1.contains_key(checkpoint::FILE) && soon.1 == late.1);
    // A run goes on with another distance.
    let prepared = prepared(&format!("{EXPERIMENT}checkpoint_seconds = 7\n"));
    assert!(matches!(opened(&prepared, &folder.path().join("soon"), Opening::Resume), Ok((_, Found::Finished(_)))));
}

#[test]
fn stopping_anywhere_and_going_on_gives_the_files_of_an_uninterrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    ran(EXPERIMENT, &whole, Opening::New, None).unwrap();
    let mut opening = Opening::New;
    for until in [0, 1, 9, 9, 17, 30, 39] {
        let finish = ran(EXPERIMENT, &parts, opening, Some(until)).unwrap();
        assert_eq!((finish.end, finish.step, finish.outcome), (End::Stopped, until, None));
        opening = Opening::Resume;
    }
    let finish = ran(EXPERIMENT, &parts, opening, Some(40)).unwrap();
    assert_eq!(finish.end, End::Completed);
    assert_eq!(files(&whole), files(&parts));
}

#[test]
fn records_after_the_last_checkpoint_are_cut_off_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    ran(EXPERIMENT, &whole, Opening::New, None).unwrap();
    ran(EXPERIMENT, &killed, Opening::New, Some(20)).unwrap();
    // As a process leaves it that was killed some steps after its checkpoint, within a line, and within the next checkpoint.
    let lines = fs::read_to_string(whole.join(METRICS)).unwrap();
    fs::write(killed.join(METRICS), &lines[..lines.len() - 40]).unwrap();
    fs::write(killed.join(format!(".{}.77.tmp", checkpoint::FILE)), b"half").unwrap();
    ran(EXPERIMENT, &killed, Opening::Resume, None).unwrap();
    assert_eq!(files(&whole), files(&killed));
}

#[test]
fn a_run_that_was_killed_before_its_first_checkpoint_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    ran(EXPERIMENT, &whole, Opening::New, None).unwrap();
    ran(EXPERIMENT, &killed, Opening::New, Some(5)).unwrap();
    fs::remove_file(killed.join(checkpoint::FILE)).unwrap();
    ran(EXPERIMENT, &killed, Opening::Resume, None).unwrap();
    assert_eq!(files(&whole), files(&killed));
}

#[test]
fn a_run_that_has_reached_its_target_does_not_go_past_it_when_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let text = format!("{EXPERIMENT}target_loss = 1.4\n").replace("steps = 40", "steps = 4000");
    let finish = ran(&text, &run, Opening::New, None).unwrap();
    assert!(finish.end == End::Target && finish.step < 4000, "{finish:?}");
    let before = files(&run);
    // Killed just before its result was written.
    fs::remove_file(run.join(RESULT)).unwrap();
    assert_eq!(ran(&text, &run, Opening::Resume, None).unwrap().step, finish.step);
    assert_eq!(files(&run), before);
}

#[test]
fn a_plateau_ends_a_run_at_the_same_step_however_it_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let text = format!("{EXPERIMENT}plateau = 0.2\n").replace("steps = 40", "steps = 4000");
    let finish = ran(&text, &whole, Opening::New, None).unwrap();
    // Seven steps are an epoch.
    assert!(finish.end == End::Plateau && finish.step < 4000 && finish.step.is_multiple_of(7), "{finish:?}");
    let mean = |epoch: u64| {
        let mut every = prepared(&text.replace("log_every = 3", "log_every = 1"));
        every.plan.plateau = None;
        every.plan.steps = (epoch + 1) * 7;
        let mock = Mock::new(&every.plan.spec);
        let mut losses = Losses(Vec::new());
        super::run::Trainer::new(&mock, &every.data, &every.plan).run(&mut losses).unwrap();
        let order = &every.plan.order;
        let rows = |step: u64| (order.place(step).end - order.place(step).first) as f64;
        (epoch * 7..(epoch + 1) * 7).map(|step| losses.0[step as usize] * rows(step)).sum::<f64>() / 50.0
    };
    let epochs = finish.step / 7;
    let means: Vec<f64> = (0..epochs).map(mean).collect();
    let falls: Vec<bool> = means.windows(2).map(|pair| pair[1] < 0.8 * pair[0]).collect();
    assert!(falls.iter().rev().skip(1).all(|fell| *fell) && falls.last() == Some(&false), "{means:?}");
    let mut opening = Opening::New;
    for until in [3, 7, 10, 14, finish.step - 1, finish.step] {
        ran(&text, &parts, opening, Some(until)).unwrap();
        opening = Opening::Resume;
    }
    if !parts.join(RESULT).exists() {
        assert_eq!(ran(&text, &parts, opening, None).unwrap().end, End::Plateau);
    }
    assert_eq!(files(&whole), files(&parts));
    // Killed just before its result was written.
    fs::remove_file(parts.join(RESULT)).unwrap();
    assert_eq!(ran(&text, &parts, Opening::Resume, None).unwrap().step, finish.step);
    assert_eq!(files(&whole), files(&parts));
}

/// Keeps the losses.
struct Losses(Vec<f64>);

impl super::run::Watch for Losses {
    type Error = std::convert::Infallible;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, record: &Record) -> Result<(), Self::Error> {
        self.0.push(record.loss);
        Ok(())
    }

    fn checkpoint(&mut self, _: &super::run::State) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn folders_that_hold_something_are_refused_unless_asked() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let prepared = prepared(EXPERIMENT);
    let refused = |path: &Path, opening| opened(&prepared, path, opening).map(|_| ()).unwrap_err().to_string();
    ran(EXPERIMENT, &run, Opening::New, Some(5)).unwrap();
    assert!(refused(&run, Opening::New).contains("an unfinished run: expected a new folder, --resume to go on"));
    ran(EXPERIMENT, &run, Opening::Resume, None).unwrap();
    assert!(refused(&run, Opening::New).contains("a finished run"));
    assert!(matches!(opened(&prepared, &run, Opening::Resume), Ok((_, Found::Finished(_)))));
    let other = self::prepared(&EXPERIMENT.replace("weight = 0.1", "weight = 0.2"));
    let error = opened(&other, &run, Opening::Resume).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("another experiment: anchors.weight is 0.1 there and 0.2 here"), "{error}");
    let threads = self::prepared(&EXPERIMENT.replace("batch = 8", "batch = 8\nthreads = 3"));
    assert!(opened(&threads, &run, Opening::Resume).is_ok());
    // So does a run of a version that did not write down how features are found.
    let config = fs::read_to_string(run.join(CONFIG)).unwrap();
    let mut table: toml::Table = config.parse().unwrap();
    assert!(table["bench"].as_table_mut().unwrap().remove("descent").is_some());
    fs::write(run.join(CONFIG), table.to_string()).unwrap();
    assert!(opened(&prepared, &run, Opening::Resume).is_ok());
    fs::write(run.join(CONFIG), config).unwrap();
    let before = files(&run);
    ran(EXPERIMENT, &run, Opening::Force, None).unwrap();
    assert_eq!(files(&run), before);
    // Somebody's folder is left alone, whatever is asked.
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("thesis.tex"), b"x").unwrap();
    for opening in [Opening::New, Opening::Resume, Opening::Force] {
        assert!(refused(&own, opening).contains("found one without config.toml"));
    }
    assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    // A folder below a file cannot be made, even by an administrator.
    let impossible = own.join("thesis.tex/run");
    assert!(refused(&impossible, Opening::New).contains("thesis.tex/run: cannot be"));
}

#[test]
fn two_processes_cannot_train_into_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let prepared = prepared(EXPERIMENT);
    let first = opened(&prepared, &run, Opening::New).unwrap();
    let error = opened(&prepared, &run, Opening::Resume).map(|_| ()).unwrap_err();
    assert!(matches!(error, DirectoryError::Busy { .. }), "{error}");
    drop(first);
    assert!(opened(&prepared, &run, Opening::Resume).is_ok());
}

#[test]
fn a_diverged_run_keeps_its_last_checkpoint_and_has_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let prepared = prepared(EXPERIMENT);
    let (mut directory, _) = opened(&prepared, &run, Opening::New).unwrap();
    let poisoned = Mock { poison: Some((14, 1)), ..Mock::new(&prepared.plan.spec) };
    let error = train(&prepared, &poisoned, &mut directory, None, None, &mut ()).unwrap_err().to_string();
    assert!(error.contains("diverged at step 15 (epoch 2)") && error.contains("encoder, latent 1"), "{error}");
    assert!(!run.join(RESULT).exists());
    let state = checkpoint::read(&run.join(checkpoint::FILE), &prepared.plan).unwrap();
    assert_eq!(state.opt.step, 10);
}

/// Interrupts after so many steps.
struct Interrupt(u64, Vec<u64>);

impl Display for Interrupt {
    fn stepped(&mut self, step: u64) {
        self.1.push(step);
    }

    fn recorded(&mut self, _: &Record, samples_per_second: f64) {
        assert!(samples_per_second > 0.0);
    }

    fn interrupted(&mut self) -> bool {
        self.1.last() == Some(&self.0)
    }
}

#[test]
fn an_interrupt_saves_the_state_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, run) = (folder.path().join("whole"), folder.path().join("run"));
    let prepared = prepared(EXPERIMENT);
    let (mut directory, _) = opened(&prepared, &run, Opening::New).unwrap();
    let mut display = Interrupt(13, Vec::new());
    let mock = Mock::new(&prepared.plan.spec);
    let finish = train(&prepared, &mock, &mut directory, None, None, &mut display).unwrap();
    assert_eq!((finish.end, finish.step, display.1), (End::Stopped, 13, (0..=13).collect()));
    drop(directory);
    let timings = fs::read_to_string(run.join(TIMINGS)).unwrap();
    let timings: Vec<serde_json::Value> = timings.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(timings.iter().map(|timing| timing["step"].as_u64().unwrap()).eq([0, 3, 6, 9, 12]));
    assert!(timings.iter().all(|timing| timing["samples_per_second"].as_f64().unwrap() > 0.0), "{timings:?}");
    ran(EXPERIMENT, &run, Opening::Resume, None).unwrap();
    ran(EXPERIMENT, &whole, Opening::New, None).unwrap();
    assert_eq!(files(&run), files(&whole));
    let provenance: serde_json::Value = serde_json::from_slice(&fs::read(run.join(PROVENANCE)).unwrap()).unwrap();
    let sessions = provenance["sessions"].as_array().unwrap();
    assert_eq!((sessions.len(), &sessions[1]["from_step"]), (2, &13.into()));
}

/// The same on the processor, on the ranks of the experiment.
fn ran_on_ranks(text: &str, folder: &Path, opening: Opening, until: Option<u64>) -> Result<Finish, TrainError> {
    let prepared = prepared(text);
    let (mut directory, found) = opened(&prepared, folder, opening)?;
    let state = if let Found::Checkpoint(state) = found { Some(state) } else { None };
    train_on_ranks(&prepared, Cpu::new, &mut directory, state.as_deref(), until, &mut ())
}

/// Six rows of two sources of two numbers, with classes, and an experiment on them.
struct Own {
    folder: tempfile::TempDir,
    text: String,
}

impl Own {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (inputs, labels) = (folder.path().join("x.npy"), folder.path().join("y.csv"));
        let text = format!(
            "[data]\ninputs = {inputs:?}\nlabels = {labels:?}\n[model]\nlatents = 5\nactivation = {{ kind = \"relu\" }}
[train]\nbatch = 3\nsteps = 8\n"
        );
        let own = Self { folder, text };
        own.numbers(0.0);
        own.classes("0\n1\n0\n1\n\n1\n");
        own
    }

    fn numbers(&self, last: f32) {
        let numbers = (0..23).map(|k| (k as f32).sin()).chain([last]);
        let bytes: Vec<u8> = npy::header(&[6, 2, 2]).into_iter().chain(numbers.flat_map(f32::to_le_bytes)).collect();
        fs::write(self.folder.path().join("x.npy"), bytes).unwrap();
    }

    fn classes(&self, lines: &str) {
        fs::write(self.folder.path().join("y.csv"), lines).unwrap();
    }

    fn run(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    fn ran(&self, opening: Opening, until: Option<u64>) -> Result<Finish, TrainError> {
        ran_on_ranks(&self.text, &self.run(), opening, until)
    }
}

#[test]
fn a_run_goes_on_only_with_files_that_hold_what_they_held() {
    let own = Own::new();
    own.ran(Opening::New, Some(2)).unwrap();
    assert_eq!(own.ran(Opening::Resume, Some(4)).unwrap().step, 4);
    let saved = own.run().join(checkpoint::FILE);
    let before = fs::read(&saved).unwrap();
    let refused = |field: &str| {
        let error = own.ran(Opening::Resume, None).unwrap_err().to_string();
        let (file, rest) = error.split_once(": ").unwrap();
        assert!(
            Path::new(file).is_file() && rest.starts_with(&format!("{field}: expected what the file held")),
            "{error}"
        );
        assert!(error.contains("--force") && !error.contains('\n'), "{error}");
        assert_eq!(fs::read(&saved).unwrap(), before);
    };
    own.numbers(0.5);
    refused("data.inputs");
    own.numbers(0.0);
    own.classes("0\n1\n0\n1\n1\n1\n");
    refused("data.labels");
    own.classes("0\n1\n0\n1\n\n1\n");
    assert_eq!(own.ran(Opening::Resume, Some(6)).unwrap().step, 6);
    // A checkpoint that does not say what the files held.
    let prepared = prepared(&own.text);
    let state = checkpoint::read(&saved, &prepared.plan).unwrap();
    checkpoint::write(&saved, &state, &super::check::Plan { contents: Vec::new(), ..prepared.plan }).unwrap();
    own.numbers(0.5);
    assert_eq!(own.ran(Opening::Resume, None).unwrap().end, End::Completed);
    let provenance: Provenance = serde_json::from_slice(&fs::read(own.run().join(PROVENANCE)).unwrap()).unwrap();
    let fields: Vec<&str> = provenance.data.iter().map(|content| content.field.as_str()).collect();
    assert_eq!(fields, ["data.inputs", "data.labels"]);
}

#[test]
fn a_crosscoder_on_files_is_written_and_scored_with_its_sources() {
    let own = Own::new();
    let scores = own.ran(Opening::New, None).unwrap().outcome.unwrap().scores;
    let loaded = saelens::read(&own.run()).unwrap();
    assert_eq!(loaded.sources, 2);
    for side in [scores.encoder.unwrap(), scores.decoder.unwrap()] {
        assert_eq!(side.sources.len(), 2);
        assert_ne!(side.sources[0], side.sources[1]);
    }
}

const SHARED: &str = "
[bench]
n = 12
n_p = 8
interference = 0.6
sparsity = 0.7
samples = 50
[model]
latents = 30
activation = { kind = \"batch-top-k\", k = 2 }
[objective]
aux = { k = 2, weight = 0.1, dead_after = 60 }
[optimizer]
clip = 0.2
[resampling]
kind = \"bricken\"
steps = [12, 25]
dead_after = 60
[train]
batch = 8
steps = 40
log_every = 3
checkpoint_every = 10
";

#[test]
fn ranks_train_as_one_does_and_repeat_byte_for_byte_interrupted_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let lines = |name: &str, file: &str| fs::read_to_string(place(name).join(file)).unwrap();
    let alone = ran_on_ranks(SHARED, &place("alone"), Opening::New, None).unwrap().outcome.unwrap();
    // One rank is written as it was before there were several.
    assert!(!lines("alone", CONFIG).contains("ranks"));
    for ranks in [2, 4] {
        let text = format!("{SHARED}ranks = {ranks}\n");
        let (whole, parts) = (format!("whole {ranks}"), format!("parts {ranks}"));
        let finish = ran_on_ranks(&text, &place(&whole), Opening::New, None).unwrap();
        let mut opening = Opening::New;
        for until in [0, 9, 13, 30] {
            assert_eq!(ran_on_ranks(&text, &place(&parts), opening, Some(until)).unwrap().end, End::Stopped);
            opening = Opening::Resume;
        }
        ran_on_ranks(&text, &place(&parts), opening, None).unwrap();
        assert!(files(&place(&whole)) == files(&place(&parts)), "{ranks} ranks");
        // Other roundings, and nothing else: 40 steps of Adam with η = 1e-3, of which a share of 1e-3 may go elsewhere.
        let together = finish.outcome.unwrap();
        assert_ne!(together.experiment, alone.experiment);
        let losses = |name: &str| -> Vec<f64> {
            lines(name, METRICS).lines().map(|line| serde_json::from_str::<Record>(line).unwrap().loss).collect()
        };
        let pairs = losses("alone").into_iter().zip(losses(&whole));
        let apart = pairs.map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
        assert!(apart < 40.0 * 1e-3 * 1e-3, "{ranks} ranks: {apart:e}");
        let moved = |name: &str| lines(name, RESAMPLING).matches("latent").count();
        assert_eq!(moved(&whole), moved("alone"), "{ranks} ranks");
        assert!(moved("alone") > 0);
        let error = |scores: &crate::metrics::Scores| scores.fit.mse;
        assert!((error(&together.scores) - error(&alone.scores)).abs() < 1e-4, "{ranks} ranks");
    }
}

/// The same on so many ranks with a part of the latents each, or on one.
fn ran_on_shards(text: &str, folder: &Path, opening: Opening, until: Option<u64>, shards: usize) -> Finish {
    let prepared = prepared(text);
    let (mut directory, found) = opened(&prepared, folder, opening).unwrap();
    let state = if let Found::Checkpoint(state) = found { Some(state) } else { None };
    let finish = if shards == 1 {
        train_on_ranks(&prepared, Cpu::new, &mut directory, state.as_deref(), until, &mut ())
    } else {
        train_on_shards(&prepared, shards, Cpu::new, &mut directory, state.as_deref(), until, &mut ())
    };
    finish.unwrap()
}

#[test]
fn parts_of_the_latents_train_as_the_whole_does_and_each_goes_on_from_what_the_other_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let losses = |name: &str| -> Vec<f64> {
        let lines = fs::read_to_string(place(name).join(METRICS)).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().loss).collect()
    };
    let moved = |name: &str| fs::read_to_string(place(name).join(RESAMPLING)).unwrap().matches("latent").count();
    let alone = ran_on_shards(SHARED, &place("alone"), Opening::New, None, 1).outcome.unwrap();
    // 30 latents; the last run changes between parts and the whole.
    for (name, shards) in [("two", [2, 2, 2]), ("four", [4, 4, 4]), ("mixed", [4, 1, 3])] {
        let mut finish = None;
        for (until, shards) in [Some(9), Some(23), None].into_iter().zip(shards) {
            let opening = if finish.is_none() { Opening::New } else { Opening::Resume };
            finish = Some(ran_on_shards(SHARED, &place(name), opening, until, shards));
        }
        if name != "mixed" {
            let whole = format!("{name} in one go");
            ran_on_shards(SHARED, &place(&whole), Opening::New, None, shards[0]);
            assert!(files(&place(&whole)) == files(&place(name)), "{name}");
        }
        let outcome = finish.unwrap().outcome.unwrap();
        assert_eq!((&outcome.experiment, outcome.steps), (&alone.experiment, alone.steps));
        // Other roundings, and nothing else: 40 steps of Adam with η = 1e-3, of which a share of 1e-3 may go elsewhere.
        let pairs = losses("alone").into_iter().zip(losses(name));
        let apart = pairs.map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
        assert!(apart < 40.0 * 1e-3 * 1e-3, "{name}: {apart:e}");
        assert_eq!(moved(name), moved("alone"), "{name}");
        assert!((outcome.scores.fit.mse - alone.scores.fit.mse).abs() < 1e-4, "{name}");
    }
}

#[test]
fn a_rank_that_cannot_write_ends_all_of_them_with_its_own_error() {
    /// Takes the name under which the next checkpoint is begun.
    struct Blocks(std::path::PathBuf);
    impl Display for Blocks {
        fn stepped(&mut self, step: u64) {
            if step == 5 {
                fs::create_dir(&self.0).unwrap();
            }
        }

        fn recorded(&mut self, _: &Record, _: f64) {}

        fn interrupted(&mut self) -> bool {
            false
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let prepared = prepared(&format!("{SHARED}ranks = 3\n"));
    let mut directory = opened(&prepared, &run, Opening::New).unwrap().0;
    let mut blocks = Blocks(run.join(format!(".{}.{}.tmp", checkpoint::FILE, std::process::id())));
    let error = train_on_ranks(&prepared, Cpu::new, &mut directory, None, None, &mut blocks).unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    let wild = format!("{SHARED}ranks = 3\n").replace("clip = 0.2", "learning_rate = 1e6");
    let error = ran_on_ranks(&wild, &folder.path().join("wild"), Opening::New, None).unwrap_err();
    assert!(matches!(error, TrainError::Diverged(_)), "{error}");
}
