//! `sdlab bench`: the Linear Representation Bench as files, or in numbers.

use super::output::{Output, OutputError, Progress};
use super::{Answer, CliError, Session};
use crate::bench::config::BenchConfig;
use crate::bench::dataset::{Bench, Side};
use crate::bench::describe::{Description, SAMPLES};
use crate::io::{AtomicFile, npy};
use crate::report::figure::{Drawing, FigureError};
use clap::{Args, Subcommand};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The Linear Representation Bench: sparse data whose ground-truth features are known
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write feature matrices and samples as files that Python reads
    Generate(Generate),
    /// Print what the bench looks like, and draw it
    Describe(Describe),
}

#[derive(Debug, Args)]
struct Generate {
    /// Parameters as a TOML file, or `-`; Table 3 of the paper if absent
    #[arg(value_name = "CONFIG")]
    config: Option<String>,
    /// The folder to write into
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of samples instead of the configured one
    #[arg(long, value_name = "N")]
    samples: Option<u64>,
    /// Write the representations x_p and x_r too, as dense .npy files
    #[arg(long)]
    dense: bool,
    /// Remove the data set that the folder holds, and write anew
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct Describe {
    /// Parameters as a TOML file, or `-`; Table 3 of the paper if absent
    #[arg(value_name = "CONFIG")]
    config: Option<String>,
    /// Draw the figure into this folder, as bench.svg and bench.png
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sdlab bench describe
  sdlab bench generate small.toml --out data --dense

A configuration holds what differs from Table 3 of the paper:
  n = 200
  n_p = 128
  sparsity = 0.98
  task = { kind = \"transcoder\", n_r = 128 }      sae, transcoder or crosscoder (with sources = m)
  rates = { kind = \"zipf\", exponent = 1.0 }      and: magnitudes, correlation, hierarchy, c_min, beta, seed
  descent = { margin = 0.009, regularisation = 1e-4, step = 0.125, budget = 20000 }     ε, λ, η of eqs. 26-28, most steps

The folder then holds config.toml (complete), directions.safetensors (w_p, and w_r of a transcoder, one row per feature), and
samples-00000.safetensors, .. with 100,000 samples each: row i of x has the entries offsets[i] .. offsets[i+1] of indices and
values. Any sample is a function of the seed and its number. config.toml is written last: until then the folder holds unfinished.toml in its
place. A folder that holds a data set, or a part of one, is refused; --force removes the files of that data set, and no others.";

/// Samples in one file, so that memory does not grow with their number.
const SHARD: u64 = 100_000;
/// Samples that are made dense at a time.
const DENSE: u64 = 1024;
/// The parameters of a data set, complete. They are there only if all the rest is.
const CONFIG: &str = "config.toml";
/// The same while the rest is being written or removed.
const UNFINISHED: &str = "unfinished.toml";
/// Its feature matrices.
const DIRECTIONS: &str = "directions.safetensors";
/// Its representations.
const REPRESENTATIONS: [(Side, &str); 2] = [(Side::Input, "x_p.npy"), (Side::Target, "x_r.npy")];

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    match &arguments.action {
        Action::Generate(arguments) => generate(arguments, session),
        Action::Describe(arguments) => describe(arguments, session),
    }
}

/// The configuration with the seed of the command line, if one is given there.
fn configured(source: Option<&str>, session: &mut Session) -> Result<(BenchConfig, String), CliError> {
    let (config, name) = match source {
        None => (BenchConfig::default(), "the defaults".to_owned()),
        Some(source) => {
            let (name, text) = session.inputs.configuration(source)?;
            let config = BenchConfig::from_toml(&text).map_err(|e| CliError::Request(format!("{name}: {e}")))?;
            (config, name)
        }
    };
    Ok((BenchConfig { seed: session.given_seed.unwrap_or(config.seed), ..config }, name))
}

fn made(config: &BenchConfig, name: &str) -> Result<Bench, CliError> {
    let mut progress = Progress::new(1);
    let wanted = config.interference;
    let bench = Bench::generate_watched(config, &mut |largest| progress.features(largest, wanted));
    progress.finish();
    bench.map_err(|error| CliError::Request(format!("{name}: {error}")))
}

fn generate(arguments: &Generate, session: &mut Session) -> Result<Answer, CliError> {
    let (mut config, name) = configured(arguments.config.as_deref(), session)?;
    config.samples = arguments.samples.unwrap_or(config.samples);
    let folder = &arguments.out;
    let earlier = earlier(folder, arguments.force)?;
    let bench = made(&config, &name)?;
    let output = &session.output;
    let (parameters, unfinished) = (folder.join(CONFIG), folder.join(UNFINISHED));
    if parameters.exists() {
        // From now on the folder holds a part only, if this is interrupted.
        std::fs::rename(&parameters, &unfinished).map_err(failed(&parameters))?;
    }
    for path in earlier {
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    let shards = config.samples.div_ceil(SHARD);
    let sides = if bench.reconstructs_its_input() { &REPRESENTATIONS[..1] } else { &REPRESENTATIONS[..] };
    let dense = if arguments.dense { sides.len() as u64 * config.samples.div_ceil(DENSE) } else { 0 };
    let mut progress = Progress::new(usize::try_from(shards + dense).unwrap_or(usize::MAX));
    let text = toml::to_string(&config.completed()).expect("plain parameters always serialise");
    output.file(&unfinished, text.as_bytes())?;
    output.file(&folder.join(DIRECTIONS), &directions(&bench))?;
    let mut done = 0;
    for shard in 0..shards {
        let name = shard_name(shard);
        progress.set(done, &name);
        let range = shard * SHARD..config.samples.min((shard + 1) * SHARD);
        output.file(&folder.join(&name), &samples(&bench, range))?;
        done += 1;
    }
    if arguments.dense {
        for (side, name) in sides {
            let path = folder.join(name);
            write_dense(&bench, *side, &path, &mut || {
                progress.set(done, name);
                done += 1;
            })
            .map_err(|e| CliError::Request(format!("{}: cannot be written: {e}", path.display())))?;
        }
    }
    std::fs::rename(&unfinished, &parameters).map_err(failed(&parameters))?;
    progress.finish();
    output.text(&format!("{} samples of {} features written to {}", config.samples, config.n, folder.display()))?;
    output.json(&json!({"folder": folder.display().to_string(), "samples": config.samples, "shards": shards}))?;
    Ok(Answer::Yes)
}

fn shard_name(shard: u64) -> String {
    format!("samples-{shard:05}.safetensors")
}

/// True for the names that [`shard_name`] gives.
fn is_shard(name: &str) -> bool {
    let number = name.strip_prefix("samples-").and_then(|rest| rest.strip_suffix(".safetensors"));
    number.and_then(|number| number.parse().ok()).is_some_and(|shard| shard_name(shard) == name)
}

/// What to say of a file that could not be written, renamed or removed.
fn failed(path: &Path) -> impl FnOnce(io::Error) -> OutputError {
    let path = path.to_owned();
    move |error| OutputError::File { path, error }
}

/// The files of a data set that the folder holds, or of a part of one, without its parameters.
fn earlier(folder: &Path, force: bool) -> Result<Vec<PathBuf>, CliError> {
    let request = |what: &str| Err(CliError::Request(format!("{}: {what}", folder.display())));
    let unreadable = |error: io::Error| CliError::Request(format!("{}: cannot be read: {error}", folder.display()));
    let mut held = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries {
                held.extend(entry.map_err(unreadable)?.file_name().into_string());
            }
        }
        // What is in the way of the folder is found when it is written into.
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {}
        Err(error) => return Err(unreadable(error)),
    }
    let own =
        |name: &String| name == DIRECTIONS || is_shard(name) || REPRESENTATIONS.iter().any(|(_, dense)| name == dense);
    let parameters = [CONFIG, UNFINISHED].into_iter().find(|parameters| held.iter().any(|name| name == parameters));
    held.retain(own);
    held.sort_unstable();
    let Some(parameters) = parameters else {
        return match held.first() {
            None => Ok(Vec::new()),
            Some(name) => {
                request(&format!("expected a new folder, or one of a data set, found {name} without {CONFIG}"))
            }
        };
    };
    let text = std::fs::read_to_string(folder.join(parameters)).unwrap_or_default();
    if text.trim().is_empty() || BenchConfig::from_toml(&text).is_err() {
        return request(&format!("expected a new folder, or one of a data set, found {parameters} of something else"));
    }
    if !force {
        let what = if parameters == CONFIG { "a data set" } else { "a part of a data set, whose writing was cut off" };
        return request(&format!("holds {what}: expected a new folder, or --force to remove it and write anew"));
    }
    Ok(held.iter().map(|name| folder.join(name)).collect())
}

/// Little-endian bytes.
fn bytes<T: Copy, const N: usize>(values: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| of(*v)).collect()
}

fn tensors(named: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = named.iter().map(|(name, dtype, shape, data)| {
        (*name, TensorView::new(*dtype, shape.clone(), data).expect("the bytes fill the shape"))
    });
    safetensors::serialize(views, None).expect("names are distinct and sizes are right")
}

fn directions(bench: &Bench) -> Vec<u8> {
    let tensor = |name, side| {
        let directions = bench.directions(side);
        let shape = vec![directions.n(), directions.dimension()];
        (name, Dtype::F32, shape, bytes(directions.data(), f32::to_le_bytes))
    };
    let mut all = vec![tensor("w_p", Side::Input)];
    if !bench.reconstructs_its_input() {
        all.push(tensor("w_r", Side::Target));
    }
    tensors(&all)
}

fn samples(bench: &Bench, range: std::ops::Range<u64>) -> Vec<u8> {
    let batch = bench.coefficients().batch(&range.collect::<Vec<_>>());
    let offsets = bytes(&batch.offsets, |o| (o as i64).to_le_bytes());
    tensors(&[
        ("offsets", Dtype::I64, vec![batch.offsets.len()], offsets),
        ("indices", Dtype::U32, vec![batch.indices.len()], bytes(&batch.indices, u32::to_le_bytes)),
        ("values", Dtype::F32, vec![batch.values.len()], bytes(&batch.values, f32::to_le_bytes)),
    ])
}

fn write_dense(bench: &Bench, side: Side, path: &Path, begun: &mut dyn FnMut()) -> io::Result<()> {
    let (samples, dimension) = (bench.config().samples, bench.directions(side).dimension());
    let mut file = AtomicFile::create(path)?;
    file.write_all(&npy::header(&[samples, dimension as u64]))?;
    let mut rows = Vec::new();
    for first in (0..samples).step_by(DENSE as usize) {
        begun();
        let batch = bench.coefficients().batch(&(first..samples.min(first + DENSE)).collect::<Vec<_>>());
        rows.resize(batch.rows() * dimension, 0.0_f32);
        bench.synthesize(&batch, side, &mut rows);
        file.write_all(&bytes(&rows, f32::to_le_bytes))?;
    }
    file.commit()
}

fn describe(arguments: &Describe, session: &mut Session) -> Result<Answer, CliError> {
    let (config, name) = configured(arguments.config.as_deref(), session)?;
    let bench = made(&config, &name)?;
    let description = Description::of(&bench, config.samples.min(SAMPLES));
    let output: &Output = &session.output;
    output.table(&description.table())?;
    if let Some(folder) = &arguments.out {
        let figure = description.figure();
        let request = |error: FigureError| CliError::Request(error.to_string());
        let drawing = Drawing::new(&figure).map_err(request)?;
        output.file(&folder.join("bench.svg"), drawing.svg().map_err(request)?.as_bytes())?;
        output.file(&folder.join("bench.png"), &drawing.png().map_err(request)?)?;
        output.text(&format!("drawn: {}", folder.join("bench.svg").display()))?;
    }
    output
        .json(&json!({"config": config.completed(), "table": description.table(), "figure": description.figure()}))?;
    Ok(Answer::Yes)
}
