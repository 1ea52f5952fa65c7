//! `sdlab train`: trains one experiment into a folder.

use super::interrupt::Deferred;
use super::output::{Progress, duration};
use super::trained::prepare;
use super::{Answer, CliError, Session};
use crate::backend::collective::{Ranked, Sharded};
use crate::backend::cpu::Cpu;
use crate::backend::cuda::nccl::Nccl;
use crate::backend::cuda::{Cuda, Driver, Encoder, Options, Room};
use crate::backend::reference::Reference;
use crate::backend::{Backend, Gather, Moments, SelectBy};
use crate::bench::config::BenchConfig;
use crate::stats::{Cell, Kind, Table};
use crate::train::check::{Checked, ConfigError, Facts, Plan, most_threads};
use crate::train::checkpoint;
use crate::train::config::{Experiment, Length};
use crate::train::data::{Data, Mapped};
use crate::train::directory::{Found, Opening, RESULT, RunDirectory};
use crate::train::room::{device_memory, ensure_device_room, ensure_room, memory, physical, rank_memory};
use crate::train::run::{End, Record, State};
use crate::train::session::{Display, Finish, Outcome, follow, train, train_on_ranks, train_on_shards};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Train a sparse autoencoder, transcoder or crosscoder, resumable and bit for bit repeatable
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The experiment as a TOML file, or `-`
    #[arg(value_name = "CONFIG")]
    config: String,
    /// The folder of the run [default: runs/<name of the configuration>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from the last checkpoint in the folder, or begin if there is none
    #[arg(long)]
    resume: bool,
    /// Remove the run that the folder holds, and begin anew
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Stop after so many steps of the whole training, with a checkpoint
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,
    /// Check the experiment and say what it would do, without doing it
    #[arg(long)]
    dry_run: bool,
    /// Threads instead of the configured ones; they change no result
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = Where::Cpu)]
    device: Where,
    /// How a GPU finds what a top-k by the score may select; it changes no result
    #[arg(long, value_enum, value_name = "HOW")]
    screen: Option<Screen>,
    /// A GPU is given every kernel by itself, not half a step as one graph; it changes no result
    #[arg(long)]
    no_graphs: bool,
    /// One of the ranks of the experiment, on the GPU of this number; each rank is a process
    #[arg(long, value_name = "R", requires = "meeting")]
    rank: Option<usize>,
    /// Divide the latents among N ranks, each with all samples, where one GPU cannot hold the model: threads on the processor, processes with
    /// --rank and --meeting on GPUs. It changes where sums are rounded, and no checkpoint
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=MOST_SHARDS))]
    shard_latents: Option<u64>,
    /// A file that does not exist yet, by which the ranks find each other
    #[arg(long, value_name = "FILE", requires = "rank")]
    meeting: Option<PathBuf>,
    /// How long a rank waits for the others before it takes them for gone [default: 1800]
    #[arg(long, value_name = "SECONDS", requires = "rank", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
}

/// Most ranks with a part of the latents.
const MOST_SHARDS: u64 = 64;

/// Seconds that ranks wait for each other: the first one writes checkpoints and scores in between.
const PATIENCE: u64 = 1800;

/// How a GPU finds what a top-k may select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Screen {
    /// None: all scores exactly
    Exact,
    /// A product in f32
    F32,
    /// A product in tf32, on tensor cores [the default]
    Tf32,
    /// A product in bf16, on tensor cores
    Bf16,
}

impl Screen {
    /// For the backend.
    pub(super) fn encoder(self) -> Encoder {
        match self {
            Self::Exact => Encoder::Exact,
            Self::F32 => Encoder::F32,
            Self::Tf32 => Encoder::Tf32,
            Self::Bf16 => Encoder::Bf16,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Where {
    /// In f32, as fast as the processor can
    Cpu,
    /// In f32 on the first NVIDIA GPU; not run on one so far
    Cuda,
    /// On a GPU if there is one, else on the processor
    Auto,
    /// In f64 by plain loops, for comparisons; its checkpoints are rounded to f32
    Reference,
}

const EXAMPLES: &str = "\
Examples:
  sdlab train configs/small/table1/topk.toml
  sdlab train configs/table1/topk.toml --dry-run
  sdlab train configs/table1/topk.toml --out runs/first --seed 1
  sdlab train configs/table1/topk.toml --resume          after Ctrl-C, a crash, or --max-steps
  sdlab train configs/table1/topk.toml --device auto     on a GPU if there is one
  sdlab train own.toml --shard-latents 2 --dry-run       memory of each of 2 ranks with half of the latents
  sdlab train own.toml --shard-latents 2 --device cuda --rank 0 --meeting FILE   and the same with --rank 1, on another GPU

A configuration holds what differs from the defaults (a TopK SAE on the paper's bench):
  [bench]                                    or [data] with inputs, targets, labels (.npy, .safetensors, .csv)
  n = 1000
  n_p = 768
  [model]
  latents = 16000
  activation = { kind = \"top-k\", k = 64 }    relu, jump-relu, top-k, top-k-relu, batch-top-k, gated (always with biases)
  [objective]
  l1 = 0.0                                   and: l0, aux, scales
  [anchors]
  source = \"ground-truth\"
  count = 100
  weight = 0.1
  [schedule]
  warm_up = 0.05                             a share of all steps; an integer counts steps
  [train]
  epochs = 20                                and: batch, steps, seed, log_every, checkpoint_every, checkpoint_seconds,
                                             target_loss, plateau, ranks, moments, select_by, gather, fold_decoder_norms

Further keys, each line a configuration of its own:
  model.init = { weights = \"kaiming\", tied = false, encoder_bias = true, decoder_bias = true } # and: scale, input_bias, skip
  model.unit_decoder = true                                                                  # columns of W_D keep norm 1
  model.activation = { kind = \"gated\" }                                                      # objective.l1 is a penalty of its gates
  model.activation = { kind = \"jump-relu\", theta = 0.1, bandwidth = 0.01 }                   # with objective.l0
  objective.aux = { k = 512, weight = 0.03125, dead_after = 100000, target = \"residual\" }    # AuxK; or \"target\"
  objective.scales = { kind = \"prefixes\", sizes = [2000, 16000], weights = [1.0, 1.0] }      # Matryoshka
  objective.scales = { kind = \"top-k\", ks = [16, 64], weights = [0.5, 1.0] }                 # Multi-TopK
  optimizer = { rule = \"adam-w\", learning_rate = 1e-3, weight_decay = 0.01, clip = 1.0 }     # and: beta_1, beta_2, epsilon
  optimizer = { rule = \"sgd\", learning_rate = 0.01, beta_1 = 0.9 }                           # beta_1 is its momentum; or \"adam\"
  schedule = { warm_up = 0.05, decay = 0.2, curve = \"cosine\" }                               # or \"linear\"
  resampling = { kind = \"decrease\", steps = [2000, 4000], dead_after = 100000, samples = 4096, warm_up = 100 } # and: most
  resampling = { kind = \"bricken\", steps = [2000] }                                          # the recipe of Bricken et al.
  anchors = { source = \"ground-truth\", weight = 0.1, latents = [3, 4] }                      # or \"labels\", those of [data]
  train = { dead_after = 100000, divergence = 1e4, threads = 2 }
  train = { select_by = \"bf16\", moments = \"bf16\" }                                          # on a GPU: top-k by a product
  train.gather = \"bf16\"                                                                     # on a GPU: rows in half the bytes

The folder then holds config.toml (complete), metrics.jsonl, checkpoint.safetensors, the model in SAELens's layout, result.json
with its scores, and provenance.json and timings.jsonl, the only files that differ between two runs. --seed is the seed of the
bench and of the training. Paths in [data] are relative to the current folder.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let most = most_threads();
    if let Some(threads) = arguments.threads.filter(|threads| *threads > most) {
        return Err(CliError::Request(format!("--threads: expected an integer from 0 to {most}, found {threads}")));
    }
    let (name, text) = session.inputs.configuration(&arguments.config)?;
    let request = |error: String| CliError::Request(format!("{name}: {error}"));
    let mut experiment = Experiment::from_toml(&text).map_err(request)?;
    if let Some(seed) = session.given_seed {
        experiment.train.seed = seed;
        if experiment.data.is_none() {
            experiment.bench.get_or_insert_default().seed = seed;
        }
    }
    let checked = experiment.check().map_err(|error| request(error.to_string()))?;
    let folder = arguments.out.clone().unwrap_or_else(|| default_folder(&arguments.config));
    let shards = shards(arguments, checked.experiment())?;
    let options = options(arguments);
    if arguments.dry_run {
        let place = Place::of(arguments.device, arguments.rank.unwrap_or(0), options);
        return describe(&checked, &folder, place, shards, session).map_err(|error| request(error.to_string()));
    }
    let threads = arguments.threads.unwrap_or(checked.experiment().train.threads);
    // Refused only where this process has computed before, and then its threads stay.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let opening = match (arguments.resume, arguments.force) {
        (true, _) => Opening::Resume,
        (_, true) => Opening::Force,
        _ => Opening::New,
    };
    fits(arguments, &checked.experiment().train, shards)?;
    let device = open_device(arguments.device, arguments.rank.unwrap_or(0), session)?;
    let patience = Duration::from_secs(arguments.patience.unwrap_or(PATIENCE));
    let rank = arguments.rank.zip(arguments.meeting.as_deref()).map(|(rank, meeting)| (rank, meeting, patience));
    let until = arguments.max_steps;
    let run = Run { name: &name, folder: &folder, opening, until, device, options, rank, shards };
    if arguments.rank.is_some_and(|rank| rank > 0) {
        return run.follow(checked, session);
    }
    match run.train(checked, "", session)? {
        Trained::Before(outcome) => again(&outcome, &folder, session),
        Trained::Now { finish, steps, interrupted } => {
            say(&finish, &folder, steps, session)?;
            Ok(if interrupted && finish.outcome.is_none() { Answer::Interrupted } else { Answer::Yes })
        }
    }
}

/// A training into a folder.
struct Run<'a> {
    /// What errors name.
    name: &'a str,
    folder: &'a Path,
    opening: Opening,
    until: Option<u64>,
    device: Computes,
    /// Of a GPU.
    options: Options,
    /// The number of this process among those that train together, where they meet, and how long it waits for them.
    rank: Option<(usize, &'a Path, Duration)>,
    /// Ranks with a part of the latents each; 1 if none is divided.
    shards: usize,
}

/// What computes.
enum Computes {
    Cpu,
    Cuda(Box<Driver>),
    Reference,
}

/// Of a GPU.
fn options(arguments: &Arguments) -> Options {
    let encoder = arguments.screen.map_or_else(Encoder::default, Screen::encoder);
    Options { encoder, graphs: !arguments.no_graphs, ..Options::default() }
}

/// Ranks with a part of the latents each, which do not share batches too.
fn shards(arguments: &Arguments, experiment: &Experiment) -> Result<usize, CliError> {
    let Some(shards) = arguments.shard_latents.and_then(|shards| usize::try_from(shards).ok()) else { return Ok(1) };
    let refused = |text: String| Err(CliError::Request(format!("--shard-latents: expected {text}")));
    let (ranks, latents) = (experiment.train.ranks, experiment.model.latents);
    match arguments.device {
        Where::Auto | Where::Reference => refused("--device cpu or cuda".to_owned()),
        _ if ranks > 1 => refused(format!("1 as train.ranks, whose ranks share batches, found {ranks}")),
        _ if experiment.train.select_by != SelectBy::Score => {
            let name = experiment.train.select_by.name();
            refused(format!("\"score\" as train.select_by, by which ranks compare candidates, found \"{name}\""))
        }
        _ if shards > latents => refused(format!("at most the {latents} of model.latents, found {shards}")),
        _ => Ok(shards),
    }
}

/// Which options go together.
fn fits(arguments: &Arguments, train: &Length, shards: usize) -> Result<(), CliError> {
    let ranks = train.ranks;
    let refused = |text: String| Err(CliError::Request(text));
    if arguments.screen.is_some() && !matches!(arguments.device, Where::Cuda | Where::Auto) {
        return refused("--screen: expected --device cuda or auto".to_owned());
    }
    if arguments.screen.is_some() && train.select_by != SelectBy::Score {
        let by = train.select_by.name();
        return refused(format!(
            "--screen: expected train.select_by = \"score\", which a screen keeps to, found \"{by}\""
        ));
    }
    if arguments.no_graphs && !matches!(arguments.device, Where::Cuda | Where::Auto) {
        return refused("--no-graphs: expected --device cuda or auto".to_owned());
    }
    let (ranks, named) = if shards > 1 { (shards, "--shard-latents") } else { (ranks, "train.ranks") };
    match (arguments.device, arguments.rank) {
        (Where::Cuda, Some(rank)) if rank >= ranks => {
            refused(format!("--rank: expected less than the {ranks} of {named}, found {rank}"))
        }
        (Where::Cuda, Some(_)) => Ok(()),
        (_, Some(_)) => refused("--rank: expected --device cuda; on the processor ranks are threads".to_owned()),
        (Where::Cuda, None) if ranks > 1 => refused(format!(
            "--device cuda: {ranks} ranks are as many processes, each with a --rank from 0 and the same --meeting"
        )),
        (Where::Auto | Where::Reference, None) if ranks > 1 => {
            refused(format!("train.ranks: expected 1 unless --device is cpu or cuda, found {ranks}"))
        }
        _ => Ok(()),
    }
}

/// Before anything else is done: a device that is missing is known at once.
fn open_device(device: Where, number: usize, session: &Session) -> Result<Computes, CliError> {
    let opened = match device {
        Where::Cpu => return Ok(Computes::Cpu),
        Where::Reference => return Ok(Computes::Reference),
        Where::Cuda | Where::Auto => Driver::open(i32::try_from(number).unwrap_or(i32::MAX)),
    };
    match opened {
        Ok(driver) => Ok(Computes::Cuda(Box::new(driver))),
        Err(error) if device == Where::Auto => {
            session.output.text(&format!("training on the processor: {error}"))?;
            Ok(Computes::Cpu)
        }
        Err(error) => Err(CliError::Request(format!("--device cuda: {error}"))),
    }
}

/// What has come of it.
pub(super) enum Trained {
    /// The folder held a finished run.
    Before(Box<Outcome>),
    /// It was trained now, of so many steps.
    Now { finish: Box<Finish>, steps: u64, interrupted: bool },
}

/// Goes on with the run that the folder holds, or begins it. `label` stands before the progress.
pub(super) fn resume(
    name: &str,
    folder: &Path,
    checked: Checked,
    label: &str,
    session: &Session,
) -> Result<Trained, CliError> {
    let (opening, device, options) = (Opening::Resume, Computes::Cpu, Options::default());
    Run { name, folder, opening, until: None, device, options, rank: None, shards: 1 }.train(checked, label, session)
}

impl Run<'_> {
    fn train(self, checked: Checked, label: &str, session: &Session) -> Result<Trained, CliError> {
        let Self { name, folder, opening, until, device, options, rank, shards } = self;
        let request = |error: String| CliError::Request(format!("{name}: {error}"));
        if checked.experiment().train.moments == Moments::Bf16 && !matches!(device, Computes::Cuda(_)) {
            return Err(request("train.moments: expected \"f32\" unless --device is cuda, found \"bf16\"".to_owned()));
        }
        let select_by = checked.experiment().train.select_by;
        if select_by != SelectBy::Score && !matches!(device, Computes::Cuda(_)) {
            let name = select_by.name();
            let text = format!("train.select_by: expected \"score\" unless --device is cuda, found \"{name}\"");
            return Err(request(text));
        }
        let gather = checked.experiment().train.gather;
        if gather != Gather::F32 && !matches!(device, Computes::Cuda(_)) {
            let name = gather.name();
            return Err(request(format!("train.gather: expected \"f32\" unless --device is cuda, found \"{name}\"")));
        }
        // A finished run is only shown.
        let is_finished = folder.join(RESULT).exists();
        let bench = checked.experiment().bench.clone();
        let room = |plan: &Plan| match &device {
            _ if is_finished => Ok(()),
            Computes::Cuda(driver) => device_room(driver, plan, shards, &options, bench.as_ref()).map_err(request),
            Computes::Cpu | Computes::Reference => {
                ensure_room(plan, shards, physical()).map_err(|error| request(error.to_string()))
            }
        };
        // The folder first: a bench may take seconds, and a wrong folder is known at once. Facts of files need the files.
        let prepared;
        let (mut directory, found);
        if let Some(bench) = &checked.experiment().bench {
            let plan = checked.plan(Facts::of_bench(bench)).map_err(|error| request(error.to_string()))?;
            room(&plan)?;
            (directory, found) = open(folder, &checked, &plan, opening)?;
            if let Found::Finished(text) = &found {
                return Ok(Trained::Before(finished(text, folder)?));
            }
            prepared = prepare(checked).map_err(|error| request(error.to_string()))?;
        } else {
            prepared = prepare(checked).map_err(|error| request(error.to_string()))?;
            room(&prepared.plan)?;
            (directory, found) = open(folder, &prepared.checked, &prepared.plan, opening)?;
        }
        let state = match found {
            Found::Finished(text) => return Ok(Trained::Before(finished(&text, folder)?)),
            Found::Checkpoint(state) => Some(state),
            Found::Nothing => None,
        };
        let steps = prepared.plan.steps;
        if let Some(state) = &state {
            session.output.text(&format!("{label}going on from step {} of {steps}", state.opt.step))?;
        }
        let mut bar = Bar::new(&prepared.plan, state.as_deref(), label);
        let spec = prepared.plan.spec.clone();
        let finish = match device {
            Computes::Cpu if shards > 1 => {
                train_on_shards(&prepared, shards, Cpu::new, &mut directory, state.as_deref(), until, &mut bar)
            }
            Computes::Cpu => train_on_ranks(&prepared, Cpu::new, &mut directory, state.as_deref(), until, &mut bar),
            Computes::Cuda(driver) => {
                let ranks = prepared.plan.ranks.max(shards);
                let join = |(rank, meeting, patience)| Nccl::join(&driver, rank, ranks, meeting, patience);
                let team = rank.map(join).transpose().map_err(|error| request(error.to_string()))?;
                let make = |spec| Cuda::on(*driver, spec, options);
                let state = state.as_deref();
                match &team {
                    Some(team) if shards > 1 => {
                        let backend = Sharded::new(team, spec, make);
                        train(&prepared, &backend, &mut directory, state, until, &mut bar)
                    }
                    Some(team) => {
                        let backend = Ranked::new(team, spec, make);
                        train(&prepared, &backend, &mut directory, state, until, &mut bar)
                    }
                    None => train(&prepared, &make(spec), &mut directory, state, until, &mut bar),
                }
            }
            Computes::Reference => {
                train(&prepared, &Reference::new(spec), &mut directory, state.as_deref(), until, &mut bar)
            }
        };
        let interrupted = bar.deferred.asked();
        bar.progress.finish();
        let finish = Box::new(finish.map_err(|error| request(error.to_string()))?);
        Ok(Trained::Now { finish, steps, interrupted })
    }

    /// A rank that writes nothing: what the first one shows is what all do.
    fn follow(self, checked: Checked, session: &Session) -> Result<Answer, CliError> {
        let Self { name, folder, opening, device, options, rank, shards, .. } = self;
        let request = |error: String| CliError::Request(format!("{name}: {error}"));
        let (Computes::Cuda(driver), Some((rank, meeting, patience))) = (device, rank) else {
            return Err(request("--rank: expected --device cuda".to_owned()));
        };
        let prepared = prepare(checked).map_err(|error| request(error.to_string()))?;
        let bench = prepared.checked.experiment().bench.as_ref();
        device_room(&driver, &prepared.plan, shards, &options, bench).map_err(request)?;
        // The first rank overwrites it only when all have come.
        let kept = folder.join(checkpoint::FILE);
        let state = if opening == Opening::Resume && kept.exists() {
            Some(checkpoint::read(&kept, &prepared.plan).map_err(|error| request(error.to_string()))?)
        } else {
            None
        };
        let joined = Nccl::join(&driver, rank, prepared.plan.ranks.max(shards), meeting, patience);
        let team = joined.map_err(|error| request(error.to_string()))?;
        let (spec, make) = (prepared.plan.spec.clone(), |spec| Cuda::on(*driver, spec, options));
        let failure = if shards > 1 {
            let backend = Sharded::new(&team, spec, make);
            follow(&prepared, &backend, state.as_ref());
            backend.failure()
        } else {
            let backend = Ranked::new(&team, spec, make);
            follow(&prepared, &backend, state.as_ref());
            backend.failure()
        };
        if let Some(failure) = failure {
            return Err(request(failure));
        }
        session.output.text(&format!("rank {rank} is done; the run is in {}", folder.display()))?;
        Ok(Answer::Yes)
    }
}

/// Refuses a training that the device cannot hold.
fn device_room(
    driver: &Driver,
    plan: &Plan,
    shards: usize,
    options: &Options,
    bench: Option<&BenchConfig>,
) -> Result<(), String> {
    let room = driver.room().map_err(|error| error.to_string())?;
    ensure_device_room(device_memory(plan, shards, options, bench), room).map_err(|error| error.to_string())
}

fn finished(text: &str, folder: &Path) -> Result<Box<Outcome>, CliError> {
    serde_json::from_str(text).map_err(|error| CliError::Request(format!("{}: {error}", folder.join(RESULT).display())))
}

fn open(folder: &Path, checked: &Checked, plan: &Plan, opening: Opening) -> Result<(RunDirectory, Found), CliError> {
    RunDirectory::open(folder, checked, plan, opening).map_err(|error| CliError::Request(error.to_string()))
}

/// `runs/` and the path of the configuration, from the folder `configs` on if it is in one.
fn default_folder(config: &str) -> PathBuf {
    let path = Path::new(config).with_extension("");
    let parts: Vec<_> = path.iter().collect();
    let named = match parts.iter().rposition(|part| *part == "configs") {
        Some(at) => parts[at + 1..].iter().collect(),
        None => PathBuf::from(parts.last().map_or("run".as_ref(), |name| *name)),
    };
    Path::new("runs").join(if named == Path::new("-") { PathBuf::from("run") } else { named })
}

/// Where a training would take its memory.
enum Place {
    Host,
    /// On a device with these options; what it has is known where there is one.
    Device(Options, Option<Room>),
}

/// Bytes that a training takes.
struct Bytes {
    /// Each with what it is.
    lines: Vec<(&'static str, u64)>,
    json: Value,
}

impl Place {
    fn of(device: Where, number: usize, options: Options) -> Self {
        let room = || Room::of(i32::try_from(number).unwrap_or(i32::MAX)).ok();
        match device {
            Where::Cpu | Where::Reference => Self::Host,
            Where::Cuda => Self::Device(options, room()),
            Where::Auto => room().map_or(Self::Host, |room| Self::Device(options, Some(room))),
        }
    }

    fn memory(&self, plan: &Plan, shards: usize, bench: Option<&BenchConfig>) -> Result<Bytes, ConfigError> {
        match self {
            Self::Host => {
                ensure_room(plan, shards, physical())?;
                let bytes = memory(plan, shards);
                let mut lines = vec![
                    ("bytes of memory on the processor, at least", bytes.training()),
                    ("the same while a checkpoint is written", bytes.most()),
                ];
                let mut json = json!({"training": bytes.training(), "most": bytes.most()});
                if shards > 1 {
                    let rank = rank_memory(plan, shards);
                    lines.extend([
                        ("latents of a rank, at most", plan.spec.shape.n_q.div_ceil(shards) as u64),
                        ("bytes of memory of a rank, at least", rank.training()),
                        ("the same while a checkpoint is written, the whole model and its moments", rank.most()),
                    ]);
                    json["rank"] = rank.training().into();
                }
                Ok(Bytes { lines, json })
            }
            Self::Device(options, room) => {
                let bytes = device_memory(plan, shards, options, bench);
                let what = match plan.ranks.max(shards) {
                    1 => "bytes of memory on the device, at least",
                    _ => "bytes of memory on the device of each rank, at least",
                };
                let mut lines = vec![(what, bytes.training())];
                let mut json = json!({"training": bytes.training(), "most": bytes.most()});
                if bytes.moved > 0 {
                    lines.push(("the same while latents are moved", bytes.most()));
                }
                if let Some(room) = room {
                    ensure_device_room(bytes, *room)?;
                    lines.push(("bytes of the device that are free", room.free));
                    json["free"] = room.free.into();
                }
                Ok(Bytes { lines, json })
            }
        }
    }
}

/// What an experiment would do.
fn describe(
    checked: &Checked,
    folder: &Path,
    place: Place,
    shards: usize,
    session: &Session,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let experiment = checked.experiment();
    let facts = match (&experiment.bench, &experiment.data) {
        (_, Some(files)) => Facts::of(&Data::Rows(Box::new(Mapped::open(files)?))),
        (bench, None) => Facts::of_bench(&bench.clone().unwrap_or_default()),
    };
    let plan = checked.plan(facts)?;
    let Bytes { lines, json: bytes } = place.memory(&plan, shards, experiment.bench.as_ref())?;
    let parameters: usize = plan
        .init
        .parameters(&plan.activation)
        .into_iter()
        .map(|parameter| {
            let (rows, columns) = parameter.size(plan.spec.shape);
            rows * columns
        })
        .sum();
    let mut table = Table::new("an experiment", "train", [("what", Kind::Text), ("value", Kind::Number)]);
    let of_plan = [
        ("samples N", facts.samples),
        ("dimension of inputs n_p", facts.n_p as u64),
        ("dimension of targets n_r", facts.n_r as u64),
        ("latents n_q", plan.spec.shape.n_q as u64),
        ("parameters", parameters as u64),
        ("samples in a batch", plan.spec.batch as u64),
        ("steps", plan.steps),
        ("steps in an epoch", plan.order.steps_per_epoch()),
        ("steps of rising learning rate", plan.spec.schedule.warm_up),
        ("steps of falling learning rate", plan.spec.schedule.decay),
    ];
    for (what, value) in of_plan.into_iter().chain(lines) {
        table.push([Cell::from(what), Cell::from(value.to_string())]);
    }
    let output = &session.output;
    output.table(&table)?;
    output.text(&format!("\nNothing was trained; the run would be in {}", folder.display()))?;
    output.json(&json!({
        "folder": folder.display().to_string(),
        "end": "dry-run",
        "step": 0,
        "steps": plan.steps,
        "parameters": parameters,
        "memory": bytes,
        "experiment": experiment,
        "result": Value::Null,
    }))?;
    Ok(Answer::Yes)
}

/// A finished run, shown once more.
fn again(outcome: &Outcome, folder: &Path, session: &Session) -> Result<Answer, CliError> {
    session.output.text(&format!("{} holds a finished run", folder.display()))?;
    tables(outcome, session)?;
    machine(Some(outcome), outcome.end, outcome.steps, outcome.steps, folder, session)?;
    Ok(Answer::Yes)
}

fn say(finish: &Finish, folder: &Path, steps: u64, session: &Session) -> Result<(), CliError> {
    let output = &session.output;
    let step = finish.step;
    match &finish.outcome {
        Some(outcome) => {
            tables(outcome, session)?;
            let how = match finish.end {
                End::Target => ", at its target",
                End::Plateau => ", to a plateau",
                _ => "",
            };
            output.text(&format!(
                "\ntrained {step} steps{how}, {:.0} samples/s; the run is in {}",
                finish.samples_per_second,
                folder.display()
            ))?;
        }
        None => output.text(&format!(
            "stopped at step {step} of {steps}; the same command with --resume goes on from {}",
            folder.display()
        ))?,
    }
    machine(finish.outcome.as_ref(), finish.end, step, steps, folder, session)
}

/// The last record and the scores.
fn tables(outcome: &Outcome, session: &Session) -> Result<(), CliError> {
    if let Some(last) = &outcome.last {
        session.output.text(&format!("last recorded loss {:.6} (step {})\n", last.loss, last.step))?;
    }
    session.output.table(&outcome.scores.table())?;
    if let Some(table) = outcome.scores.recovery_table() {
        session.output.text("")?;
        session.output.table(&table)?;
    }
    Ok(())
}

fn machine(
    outcome: Option<&Outcome>,
    end: End,
    step: u64,
    steps: u64,
    folder: &Path,
    session: &Session,
) -> Result<(), CliError> {
    let folder = folder.display().to_string();
    session.output.json(&json!({"folder": folder, "end": end, "step": step, "steps": steps, "result": outcome}))?;
    Ok(())
}

/// The progress of a training, and its interruption.
struct Bar {
    progress: Progress,
    deferred: Deferred,
    begun: Instant,
    from: u64,
    steps: u64,
    label: String,
    /// What was recorded last, and the samples a second until then.
    last: Option<(Record, f64)>,
}

impl Bar {
    fn new(plan: &Plan, state: Option<&State>, label: &str) -> Self {
        let steps = plan.steps;
        Self {
            progress: Progress::new(usize::try_from(steps).unwrap_or(usize::MAX)),
            deferred: Deferred::begin(),
            begun: Instant::now(),
            from: state.map_or(0, |state| state.opt.step),
            steps,
            label: label.to_owned(),
            last: None,
        }
    }
}

impl Display for Bar {
    fn stepped(&mut self, step: u64) {
        let done = step.saturating_sub(self.from);
        let seconds = self.begun.elapsed().as_secs_f64();
        let text = message(self.last.as_ref(), done, seconds, self.steps.saturating_sub(step));
        self.progress.set(usize::try_from(step).unwrap_or(usize::MAX), &format!("{}{text}", self.label));
    }

    fn recorded(&mut self, record: &Record, samples_per_second: f64) {
        self.last = Some((record.clone(), samples_per_second));
    }

    fn interrupted(&mut self) -> bool {
        self.deferred.asked()
    }
}

/// What the progress says: the last record with its samples a second, and the time that is left if the steps to come are as fast as those that
/// were `done` in so many seconds.
fn message(last: Option<&(Record, f64)>, done: u64, seconds: f64, to_come: u64) -> String {
    let shown = match last {
        None => "the first step".to_owned(),
        Some((Record { loss, l0, dead, .. }, rate)) => {
            format!("loss {loss:.4}, L0 {l0:.1}, dead {dead}, {rate:.0} samples/s")
        }
    };
    if done == 0 {
        return shown;
    }
    format!("{shown}, {} left", duration(seconds / done as f64 * to_come as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_shows_the_last_record_its_speed_and_the_time_left() {
        let record = r#"{"step": 20, "epoch": 0, "samples": 1280, "learning_rate": 1e-3, "loss": 0.123456, "mse": 0.1, "fvu": 0.2,
            "scales": [0.1], "penalty": 0.0, "aux": 0.0, "anchor": 0.0, "l0": 6.04, "dead": 17, "gradient_norm": 1.0}"#;
        let last = (serde_json::from_str(record).unwrap(), 15_600.4);
        assert_eq!(message(None, 0, 0.3, 1000), "the first step");
        assert_eq!(message(Some(&last), 0, 0.3, 1000), "loss 0.1235, L0 6.0, dead 17, 15600 samples/s");
        for (done, seconds, to_come, left) in
            [(25, 10.0, 100, "40 s"), (10, 30.0, 1000, "50 min"), (7, 3.0, 0, "0 s"), (1, 0.0, u64::MAX, "0 s")]
        {
            let expected = format!("loss 0.1235, L0 6.0, dead 17, 15600 samples/s, {left} left");
            assert_eq!(message(Some(&last), done, seconds, to_come), expected);
        }
    }

    #[test]
    fn every_line_of_further_keys_in_the_help_is_an_experiment_that_can_be_trained() {
        let keys = EXAMPLES.split_once("Further keys").unwrap().1;
        let lines: Vec<&str> = keys.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        let facts = Facts { samples: 1000, n_p: 8, n_r: 8, reconstructs_its_input: true };
        for line in &lines {
            let experiment = Experiment::from_toml(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_ne!(experiment, Experiment::default(), "{line}");
            let plan = experiment.check().and_then(|checked| checked.plan(facts));
            assert!(plan.is_ok(), "{line}: {plan:?}");
        }
        for key in [
            "init",
            "unit_decoder",
            "gated",
            "aux",
            "prefixes",
            "ks = ",
            "adam-w",
            "sgd",
            "curve",
            "decrease",
            "bricken",
            "anchors",
        ] {
            assert!(lines.iter().any(|line| line.contains(key)), "{key}");
        }
    }

    #[test]
    fn a_run_is_named_after_its_configuration() {
        for (config, folder) in [
            ("configs/table1/topk.toml", "runs/table1/topk"),
            ("/a/configs/small/table1/topk.toml", "runs/small/table1/topk"),
            ("x/own.toml", "runs/own"),
            ("-", "runs/run"),
        ] {
            assert_eq!(default_folder(config), Path::new(folder), "{config}");
        }
    }
}
