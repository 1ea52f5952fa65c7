//! Checkpoints: everything that training needs to go on bit for bit, in one safetensors file.
//!
//! | tensor | type and shape |
//! |---|---|
//! | `idle` | U64 \[n_q\], samples since each latent was last active |
//! | `model.NAME` | F32, the parameter [`NAME`](crate::sdl::Parameter::name), latent by latent |
//! | `first.NAME`, `second.NAME` | F32, its moments |
//!
//! Its metadata hold the format, the [hash](super::config::Experiment::hash) of the experiment, the step, the rise of the learning rate, the
//! threshold of BatchTopK and the first loss (both as bits), the losses of epochs where a plateau ends training (sum, samples, the last two means,
//! as bits), SHA-256 of all tensors, and of what each file of `[data]` [holds](super::data::Content), which must be the same when training goes on;
//! a checkpoint of a version that did not keep it goes on with what there is. There is no state of a random generator: what is random
//! is a function of the seed and the step.

use super::check::Plan;
use super::data::Content;
use super::plateau::Epochs;
use super::run::State;
use crate::backend::{HostOptState, Rule, WarmUp};
use crate::io::{AtomicFile, FileError, hexadecimal};
use crate::sdl::{Model, Parameter, Tensors};
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Its name in a run directory.
pub const FILE: &str = "checkpoint.safetensors";
const FORMAT: &str = "sdlab checkpoint 1";
/// Longest header; ours has a few kilobytes.
const LONGEST_HEADER: u64 = 1 << 20;
/// Bytes converted at a time.
const CHUNK: usize = 1 << 16;

/// A tensor of the file.
struct Entry<'a> {
    name: String,
    shape: Vec<usize>,
    numbers: Numbers<'a>,
}

enum Numbers<'a> {
    Floats(&'a [f32]),
    Counts(&'a [u64]),
}

/// Writes a checkpoint whole or not at all.
///
/// # Errors
/// The operating system's; then the last checkpoint is as it was.
pub fn write(path: &Path, state: &State, plan: &Plan) -> Result<(), FileError> {
    let bits = |x: Option<u64>| x.map_or("none".to_owned(), |x| format!("{x:016x}"));
    let tensors = entries(state);
    let mut digest = Sha256::new();
    let mut header = Map::new();
    let mut offset = 0;
    for tensor in &tensors {
        let mut length = 0;
        tensor
            .each_chunk(|bytes| {
                digest.update(bytes);
                length += bytes.len();
                Ok(())
            })
            .expect("hashing cannot fail");
        let dtype = if matches!(tensor.numbers, Numbers::Counts(_)) { "U64" } else { "F32" };
        let offsets = [offset, offset + length];
        header.insert(tensor.name.clone(), json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": offsets}));
        offset += length;
    }
    let HostOptState { step, warm_up, .. } = state.opt;
    let mut metadata = json!({
        "format": FORMAT,
        "experiment": plan.hash,
        "step": step.to_string(),
        "warm_up_from": warm_up.from.to_string(),
        "warm_up_steps": warm_up.steps.to_string(),
        "threshold": bits(state.model.threshold.map(|x| u64::from(x.to_bits()))),
        "first_loss": bits(state.first_loss.map(f64::to_bits)),
        "sha256": hexadecimal(&digest.finalize()),
    });
    if state.epochs != Epochs::default() {
        metadata["epochs"] = Value::String(state.epochs.to_text());
    }
    for content in &plan.contents {
        metadata[content.field.as_str()] = Value::String(content.sha256.clone());
    }
    header.insert("__metadata__".to_owned(), metadata);
    let mut text = Value::Object(header).to_string();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let written = || -> io::Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
        file.write_all(text.as_bytes())?;
        for tensor in &tensors {
            tensor.each_chunk(|bytes| file.write_all(bytes))?;
        }
        file.commit()
    };
    written().map_err(|error| FileError::write(path, error))
}

fn entries(state: &State) -> Vec<Entry<'_>> {
    let idle = Numbers::Counts(&state.opt.idle);
    let mut all = vec![Entry { name: "idle".to_owned(), shape: vec![state.opt.idle.len()], numbers: idle }];
    let blocks = [
        ("model", Some(&state.model.tensors)),
        ("first", Some(&state.opt.first)),
        ("second", state.opt.second.as_ref()),
    ];
    for (block, tensors) in blocks {
        let Some(tensors) = tensors else { continue };
        for parameter in tensors.parameters() {
            let (rows, columns) = parameter.size(tensors.shape());
            let numbers = Numbers::Floats(tensors.get(parameter).unwrap_or_default());
            all.push(Entry { name: named(block, parameter), shape: vec![rows, columns], numbers });
        }
    }
    all
}

fn named(block: &str, parameter: Parameter) -> String {
    format!("{block}.{}", parameter.name())
}

impl Entry<'_> {
    fn each_chunk(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK);
        match self.numbers {
            Numbers::Floats(floats) => floats.chunks(CHUNK / 4).try_for_each(|chunk| {
                bytes.clear();
                chunk.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
                take(&bytes)
            }),
            Numbers::Counts(counts) => counts.chunks(CHUNK / 8).try_for_each(|chunk| {
                bytes.clear();
                chunk.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
                take(&bytes)
            }),
        }
    }
}

/// Reads a checkpoint of this training. Nothing is allocated before the header and the file's length are what the plan asks for.
///
/// # Errors
/// The file cannot be read, is cut off or damaged, or belongs to another experiment.
pub fn read(path: &Path, plan: &Plan) -> Result<State, FileError> {
    let mut reader = Reader::open(path)?;
    reader.belongs_to(plan)?;
    let shape = plan.spec.shape;
    let mut idle = vec![0; shape.n_q];
    reader.check("idle", Dtype::U64, &[shape.n_q])?;
    let blank = Tensors::zeros(shape, plan.init.parameters(&plan.activation));
    let mut blocks = vec![("model", blank.clone()), ("first", blank.clone())];
    if plan.spec.optimizer.rule != Rule::Sgd {
        blocks.push(("second", blank));
    }
    for (block, tensors) in &blocks {
        for parameter in tensors.parameters() {
            let (rows, columns) = parameter.size(shape);
            reader.check(&named(block, parameter), Dtype::F32, &[rows, columns])?;
        }
    }
    reader.complete(1 + blocks.iter().map(|(_, tensors)| tensors.parameters().count()).sum::<usize>())?;
    reader.take(&mut idle, u64::from_le_bytes)?;
    for (_, tensors) in &mut blocks {
        for parameter in Parameter::ALL {
            if let Some(numbers) = tensors.get_mut(parameter) {
                reader.take(numbers, f32::from_le_bytes)?;
            }
        }
    }
    let field = |name| reader.number(name, 10);
    let (step, warm_up) = (field("step")?, WarmUp { from: field("warm_up_from")?, steps: field("warm_up_steps")? });
    let bits = |name| if reader.text(name)? == "none" { Ok(None) } else { reader.number(name, 16).map(Some) };
    let threshold = bits("threshold")?.map(|bits| f32::from_bits(bits as u32));
    let first_loss = bits("first_loss")?.map(f64::from_bits);
    let epochs = match reader.metadata.get("epochs") {
        Some(text) => Epochs::from_text(text).ok_or_else(|| {
            let expected = "the bits of four numbers in hexadecimal, the last two possibly none".to_owned();
            reader.wrong("epochs", expected, format!("{text:.80?}"))
        })?,
        None => Epochs::default(),
    };
    reader.untouched()?;
    if step > plan.steps {
        return Err(reader.wrong(
            "step",
            format!("at most the {} steps of the experiment", plan.steps),
            step.to_string(),
        ));
    }
    let mut blocks = blocks.into_iter().map(|(_, tensors)| tensors);
    let (Some(tensors), Some(first)) = (blocks.next(), blocks.next()) else {
        return Err(reader.wrong("tensors", "a model and its moments".to_owned(), "fewer".to_owned()));
    };
    let opt = HostOptState { step, warm_up, first, second: blocks.next(), idle };
    Ok(State { model: Model { activation: plan.activation, tensors, threshold }, opt, first_loss, epochs })
}

/// Looks at the head of a checkpoint alone: have files changed since its training began?
///
/// # Errors
/// The file cannot be read, or the first file of the data that holds something else.
pub fn check_contents(path: &Path, contents: &[Content]) -> Result<(), FileError> {
    Reader::open(path)?.has_seen(contents)
}

/// A checkpoint that is being read from front to back.
struct Reader<'a> {
    path: &'a Path,
    file: io::BufReader<File>,
    tensors: Metadata,
    metadata: HashMap<String, String>,
    digest: Sha256,
    /// Bytes of tensors in the file.
    length: u64,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, FileError> {
        let unreadable = |error| FileError::read(path, error);
        let wrong = |expected: &str, found: String| FileError::content(path, "header", expected, found);
        let file = File::open(path).map_err(unreadable)?;
        let total = file.metadata().map_err(unreadable)?.len();
        let mut file = io::BufReader::with_capacity(1 << 20, file);
        if total < 8 {
            return Err(wrong("a checkpoint", format!("a file of {total} bytes, which is cut off")));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(unreadable)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length > total - 8 {
            return Err(wrong(
                "at most 2^20 bytes and no more than the file has",
                format!("{length} in a file of {total}"),
            ));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let tensors: Metadata = serde_json::from_slice(&header).map_err(|error| {
            wrong("the description of tensors", error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
        })?;
        let metadata = tensors.metadata().clone().unwrap_or_default();
        Ok(Self { path, file, tensors, metadata, digest: Sha256::new(), length: total - 8 - length })
    }

    fn wrong(&self, field: &str, expected: String, found: String) -> FileError {
        FileError::content(self.path, field, expected, found)
    }

    fn text(&self, name: &str) -> Result<&str, FileError> {
        let text = self.metadata.get(name).map(String::as_str);
        text.ok_or_else(|| self.wrong(name, "an entry of the metadata".to_owned(), "none".to_owned()))
    }

    fn number(&self, name: &str, radix: u32) -> Result<u64, FileError> {
        let text = self.text(name)?;
        let wrong = |_| self.wrong(name, format!("an integer of radix {radix}"), format!("{text:.40?}"));
        u64::from_str_radix(text, radix).map_err(wrong)
    }

    fn belongs_to(&self, plan: &Plan) -> Result<(), FileError> {
        for (name, expected) in [("format", FORMAT), ("experiment", plan.hash.as_str())] {
            let found = self.text(name)?;
            if found != expected {
                return Err(self.wrong(name, format!("{expected:?}"), format!("{found:.80?}")));
            }
        }
        self.has_seen(&plan.contents)
    }

    /// The files of the data hold what they held when training began, where that is known.
    fn has_seen(&self, contents: &[Content]) -> Result<(), FileError> {
        for Content { field, file, sha256 } in contents {
            if let Some(before) = self.metadata.get(field).filter(|before| *before != sha256) {
                let expected = format!("what the file held when this run began, with the SHA-256 {before:.64}");
                let found = format!("{sha256}; put the old file back, or begin anew with --force");
                return Err(FileError::content(Path::new(file), field, expected, found));
            }
        }
        Ok(())
    }

    fn check(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<(), FileError> {
        let info = self.tensors.info(name);
        let fits = info.is_some_and(|info| info.dtype == dtype && info.shape == shape);
        if fits {
            return Ok(());
        }
        let found = info.map_or("none".to_owned(), |info| format!("{:?} {:?}", info.dtype, info.shape));
        Err(self.wrong(name, format!("{dtype:?} {shape:?}"), found))
    }

    /// All tensors are known, and the file has all of their bytes.
    fn complete(&self, tensors: usize) -> Result<(), FileError> {
        let (found, bytes) = (self.tensors.tensors().len(), self.tensors.data_len() as u64);
        if found != tensors {
            return Err(self.wrong("tensors", tensors.to_string(), found.to_string()));
        }
        if bytes != self.length {
            let found = format!("{}, so that it is cut off or damaged", self.length);
            return Err(self.wrong("tensors", format!("{bytes} bytes"), found));
        }
        Ok(())
    }

    fn take<T, const N: usize>(&mut self, numbers: &mut [T], of: impl Fn([u8; N]) -> T) -> Result<(), FileError> {
        let mut bytes = vec![0; CHUNK];
        for numbers in numbers.chunks_mut(CHUNK / N) {
            let bytes = &mut bytes[..numbers.len() * N];
            self.file.read_exact(bytes).map_err(|error| FileError::read(self.path, error))?;
            self.digest.update(&*bytes);
            for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *number = of(*bytes);
            }
        }
        Ok(())
    }

    /// The bytes are those that were written. Tensors in another order are refused here too.
    fn untouched(&mut self) -> Result<(), FileError> {
        let found = hexadecimal(&std::mem::take(&mut self.digest).finalize());
        let expected = self.text("sha256")?;
        if found == expected {
            return Ok(());
        }
        Err(self.wrong(
            "tensors",
            format!("bytes with the SHA-256 {expected:.64}"),
            format!("{found}, so that it is damaged"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::check::Facts;
    use crate::train::config::Experiment;
    use std::path::PathBuf;

    fn plan(text: &str) -> Plan {
        let text =
            format!("[bench]\nn = 6\nn_p = 4\ninterference = 0.9\n[train]\nsteps = 9\n[model]\nlatents = 5\n{text}");
        let checked = Experiment::from_toml(&text).unwrap().check().unwrap();
        checked.plan(Facts::of_bench(checked.experiment().bench.as_ref().unwrap())).unwrap()
    }

    fn state(plan: &Plan) -> State {
        let model = plan.init.model(plan.spec.shape, plan.activation, 3);
        let mut first = Tensors::zeros_like(&model.tensors);
        for (k, x) in first.get_mut(Parameter::Decoder).unwrap().iter_mut().enumerate() {
            *x = [f32::MIN_POSITIVE / 3.0, -0.0, 1.0 / 3.0][k % 3];
        }
        let second = (plan.spec.optimizer.rule != Rule::Sgd).then(|| model.tensors.clone());
        let opt = HostOptState {
            step: 7,
            warm_up: WarmUp { from: 4, steps: 2 },
            first,
            second,
            idle: vec![0, 1, u64::MAX, 3, 4],
        };
        let epochs = Epochs { sum: 0.1, samples: 3, last: Some(1.0 / 3.0), before: None };
        State { model: Model { threshold: Some(0.1), ..model }, opt, first_loss: Some(1.0 / 3.0), epochs }
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        (folder, path)
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let (_folder, path) = place();
        for text in [
            "activation = { kind = \"batch-top-k\", k = 2 }",
            "activation = { kind = \"gated\" }",
            "activation = { kind = \"jump-relu\", theta = 0.1, bandwidth = 0.1 }\n[optimizer]\nrule = \"sgd\"",
        ] {
            let plan = plan(text);
            let state = state(&plan);
            write(&path, &state, &plan).unwrap();
            let back = read(&path, &plan).unwrap();
            assert_eq!(back, state);
            let zero = |state: &State| state.opt.first.get(Parameter::Decoder).unwrap()[1].to_bits();
            assert_eq!(zero(&back), (-0.0_f32).to_bits());
            // Any reader of safetensors can read it.
            let bytes = std::fs::read(&path).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(tensors.tensor("model.encoder").unwrap().shape(), [5, 4]);
        }
        let plan = plan("activation = { kind = \"relu\" }");
        let model = Model { threshold: None, ..state(&plan).model };
        let bare = State { model, first_loss: None, epochs: Epochs::default(), ..state(&plan) };
        write(&path, &bare, &plan).unwrap();
        assert_eq!(read(&path, &plan).unwrap(), bare);
    }

    #[test]
    fn a_file_that_is_cut_off_or_damaged_anywhere_is_refused_in_one_line() {
        let (_folder, path) = place();
        let plan = plan("activation = { kind = \"relu\" }");
        write(&path, &state(&plan), &plan).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path, &plan).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()) && !error.contains('\n'), "{error}");
        };
        (0..whole.len()).step_by(7).for_each(|end| refused(&whole[..end]));
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for at in (0..8).chain((header..whole.len()).step_by(5)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            refused(&bytes);
        }
        refused(&[whole.as_slice(), b"x"].concat());
        // Any byte of the header may be wrong without a crash; a few changes (a space) are harmless.
        for at in (8..header).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= 2;
            std::fs::write(&path, &bytes).unwrap();
            let _ = read(&path, &plan);
        }
    }

    #[test]
    fn a_checkpoint_of_another_experiment_is_refused_by_name() {
        let (_folder, path) = place();
        let own = plan("activation = { kind = \"relu\" }");
        write(&path, &state(&own), &own).unwrap();
        let error = read(&path, &plan("activation = { kind = \"gated\" }")).unwrap_err().to_string();
        assert!(error.contains("experiment: expected"), "{error}");
        let gated = Plan { hash: own.hash.clone(), ..plan("activation = { kind = \"gated\" }") };
        let error = read(&path, &gated).unwrap_err().to_string();
        assert!(error.contains("model.encoder-bias: expected F32 [5, 1], found none"), "{error}");
        let shorter = Plan { steps: 6, ..own };
        let error = read(&path, &shorter).unwrap_err().to_string();
        assert!(error.contains("step: expected at most the 6 steps"), "{error}");
    }

    #[test]
    fn a_failed_write_keeps_the_last_checkpoint() {
        let (folder, path) = place();
        let plan = plan("activation = { kind = \"relu\" }");
        write(&path, &state(&plan), &plan).unwrap();
        let before = std::fs::read(&path).unwrap();
        // The temporary name is taken by a folder, so that the file cannot be begun.
        std::fs::create_dir(folder.path().join(format!(".{FILE}.{}.tmp", std::process::id()))).unwrap();
        let mut later = state(&plan);
        later.opt.step = 8;
        let error = write(&path, &later, &plan).unwrap_err().to_string();
        assert!(error.contains("cannot be written"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
