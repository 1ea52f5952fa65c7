//! Files that are damaged at random: every reader answers with a value or one error, and takes no more memory than the input justifies.
//!
//! Each reader is fuzzed for `SDLAB_FUZZ_SECONDS` (2 if unset) with inputs that depend on the number of the attempt alone.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sdlab::backend::{HostOptState, WarmUp};
use sdlab::bench::config::BenchConfig;
use sdlab::io::embeddings::Embeddings;
use sdlab::io::labels::Labels;
use sdlab::io::tensors::{TensorFile, serialize};
use sdlab::io::{FileError, import, npy, saelens};
use sdlab::sdl::{Activation, Init, Shape, Tensors};
use sdlab::train::check::{Facts, Plan};
use sdlab::train::checkpoint;
use sdlab::train::config::Experiment;
use sdlab::train::plateau::Epochs;
use sdlab::train::run::State;
use std::path::Path;
use std::time::{Duration, Instant};

/// Counts what is allocated.
#[allow(unsafe_code)]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Counting;

    static LIVE: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call is passed on as it is; counting allocates nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
            PEAK.fetch_max(live, Relaxed);
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the pointer came from `alloc` above, which is that of the system.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// The most bytes held at a time while `f` runs, beyond those that were held before.
    pub fn peak(f: impl FnOnce()) -> usize {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        f();
        PEAK.load(Relaxed).saturating_sub(before)
    }
}

/// What a reader may hold for an input of n bytes: n times this much, and an allowance. JSON and TOML become trees, in which a byte such as `[`
/// makes a vector; numbers in f16 become f32 and are transposed.
const MULTIPLE: usize = 100;
/// Bytes for buffers of a fixed size, such as that of CSV, and error messages.
const ALLOWANCE: usize = 200_000;
/// Bytes for a checkpoint, which is read through a buffer of a mebibyte.
const CHECKPOINT_ALLOWANCE: usize = 2_000_000;
/// Bytes for a configuration: a line of it may ask for 2^20 features, whose rates are checked one by one.
const CONFIG_ALLOWANCE: usize = 40_000_000;

/// Valid inputs of a reader, and the reader. It gets the folder, and the name of the file that is damaged.
struct Target {
    name: &'static str,
    /// Files of the folder; the first `damaged` of them are damaged, one at a time.
    files: Vec<(String, Vec<u8>)>,
    damaged: usize,
    allowance: usize,
    read: fn(&Path, &str) -> Result<(), String>,
}

fn text(error: FileError) -> String {
    error.to_string()
}

fn read_array(folder: &Path, name: &str) -> Result<(), String> {
    let source = folder.join(name).display().to_string();
    let labels = Labels::open(&source, 6).map(|_| ()).map_err(text);
    let embeddings = Embeddings::open(&source).map_err(text)?;
    let mut row = vec![0.0; embeddings.dimension()];
    embeddings.read(&[embeddings.rows() as u64 - 1], &mut row);
    embeddings.digest().map_err(text)?;
    // Embeddings are no labels.
    assert!(labels.is_err());
    Ok(())
}

fn read_tensors(folder: &Path, name: &str) -> Result<(), String> {
    let path = folder.join(name);
    let file = TensorFile::open(&path).map_err(text)?;
    for name in file.names() {
        file.array(&name).map_err(text)?.to_f32();
        let _ = Embeddings::open(&format!("{}:{name}", path.display()));
    }
    Embeddings::open(&path.display().to_string()).map(|_| ()).map_err(text)
}

fn read_labels(folder: &Path, name: &str) -> Result<(), String> {
    let source = folder.join(name).display().to_string();
    let plain = Labels::open(&source, 6);
    Labels::open(&format!("{source}:a"), 6).or(plain).map(|_| ()).map_err(text)
}

fn read_model(folder: &Path, _: &str) -> Result<(), String> {
    import::open(folder).map(|_| ()).map_err(text)
}

fn read_config(folder: &Path, name: &str) -> Result<(), String> {
    let bytes = std::fs::read(folder.join(name)).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    if name == "bench.toml" {
        return BenchConfig::from_toml(&text)?.check().map_err(|error| error.to_string());
    }
    let checked = Experiment::from_toml(&text)?.check().map_err(|error| error.to_string())?;
    let Some(bench) = &checked.experiment().bench else { return Ok(()) };
    checked.plan(Facts::of_bench(bench)).map(|_| ()).map_err(|error| error.to_string())
}

const EXPERIMENT: &str = "
[bench]
n = 6
n_p = 4
interference = 0.9
[model]
latents = 5
activation = { kind = \"top-k-relu\", k = 3 }
[objective]
aux = { k = 4, weight = 0.03, dead_after = 100 }
scales = { kind = \"top-k\", ks = [1, 3], weights = [1.0, 0.5] }
[schedule]
warm_up = 0.05
decay = 2
[anchors]
source = \"ground-truth\"
count = 2
weight = 0.1
[train]
steps = 9
";

fn plan() -> Plan {
    let checked = Experiment::from_toml(EXPERIMENT).unwrap().check().unwrap();
    checked.plan(Facts::of_bench(checked.experiment().bench.as_ref().unwrap())).unwrap()
}

fn read_checkpoint(folder: &Path, name: &str) -> Result<(), String> {
    checkpoint::read(&folder.join(name), &plan()).map(|_| ()).map_err(text)
}

fn a_checkpoint() -> Vec<u8> {
    let plan = plan();
    let model = plan.init.model(plan.spec.shape, plan.activation, 3);
    let zeros = Tensors::zeros_like(&model.tensors);
    let opt = HostOptState {
        step: 7,
        warm_up: WarmUp { from: 4, steps: 2 },
        first: zeros.clone(),
        second: Some(zeros),
        idle: vec![0; plan.spec.shape.n_q],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(checkpoint::FILE);
    checkpoint::write(&path, &State { model, opt, first_loss: Some(1.0), epochs: Epochs::default() }, &plan).unwrap();
    std::fs::read(path).unwrap()
}

fn targets() -> Vec<Target> {
    let numbers: Vec<f32> = (0..24).map(|i| (i as f32).sin()).collect();
    let with_data = |header: Vec<u8>, x: &[f32]| [header, x.iter().flat_map(|x| x.to_le_bytes()).collect()].concat();
    let other = |version: u8, descr: &str, fortran: &str, shape: &str, data: usize| {
        let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let length = (text.len() as u32).to_le_bytes();
        let length = if version == 1 { &length[..2] } else { &length };
        [b"\x93NUMPY", [version, 0].as_slice(), length, text.as_bytes(), &vec![0; data]].concat()
    };
    let named = |list: &[(&str, Vec<u8>)]| list.iter().map(|(n, b)| ((*n).to_owned(), b.clone())).collect::<Vec<_>>();
    let arrays = named(&[
        ("c.npy", with_data(npy::header(&[6, 4]), &numbers)),
        ("fortran.npy", other(1, "<f8", "True", "(3, 2)", 48)),
        ("half.npy", other(2, "<f2", "False", "(3, 2, 2)", 24)),
        ("integers.npy", other(3, "<i4", "False", "(6,)", 24)),
    ]);
    let tensors = named(&[
        ("one.safetensors", serialize(&[("x", vec![6, 4], &numbers)])),
        ("two.safetensors", serialize(&[("a", vec![2], &numbers[..2]), ("b", vec![3, 1], &numbers[..3])])),
    ]);
    let csv = named(&[
        ("plain.csv", b"a\n1\n2\n\"4\"\n\n5\n6\n".to_vec()),
        ("table.csv", b"a,b\n1,2\n2,3\n,4\n\"q\"\"r\",5\n5,6\n6,7\n".to_vec()),
    ]);
    let toml = named(&[
        ("bench.toml", toml::to_string(&BenchConfig::default()).unwrap().into_bytes()),
        ("experiment.toml", EXPERIMENT.as_bytes().to_vec()),
        ("complete.toml", Experiment::default().completed().to_toml().into_bytes()),
    ]);
    let checkpoints = named(&[(checkpoint::FILE, a_checkpoint())]);
    let all = |name, files: Vec<_>, allowance, read| Target { name, damaged: files.len(), files, allowance, read };
    vec![
        all("npy", arrays, ALLOWANCE, read_array),
        all("safetensors", tensors, ALLOWANCE, read_tensors),
        all("labels", csv, ALLOWANCE, read_labels),
        all("checkpoint", checkpoints, CHECKPOINT_ALLOWANCE, read_checkpoint),
        all("config", toml, CONFIG_ALLOWANCE, read_config),
        all("model", model_files(&[saelens::CONFIG, saelens::WEIGHTS, saelens::EXTRA], true), ALLOWANCE, read_model),
        all("model of SAELens", model_files(&[saelens::CONFIG, saelens::WEIGHTS], false), ALLOWANCE, read_model),
    ]
}

/// The files of a model, with or without what sdlab adds to `cfg.json`.
fn model_files(names: &[&str], own: bool) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let init = Init { input_bias: true, encoder_bias: true, decoder_bias: true, ..Init::default() };
    let model = init.model(Shape { n_p: 3, n_r: 3, n_q: 5 }, Activation::JumpRelu { theta: 0.1, bandwidth: 0.1 }, 0);
    saelens::write(folder.path(), &model, &saelens::Export::default()).unwrap();
    let read = |name: &&str| ((*name).to_owned(), std::fs::read(folder.path().join(name)).unwrap());
    let mut files: Vec<_> = names.iter().map(read).collect();
    if !own {
        let mut config: serde_json::Value = serde_json::from_slice(&files[0].1).unwrap();
        config["metadata"] = serde_json::json!({"hook_name": "x"});
        files[0].1 = config.to_string().into_bytes();
    }
    files
}

/// Damages a valid input.
fn damaged(rng: &mut ChaCha8Rng, valid: &[u8], other: &[u8]) -> Vec<u8> {
    const TEXTS: [&[u8]; 14] = [
        b"18446744073709551615",
        b"9223372036854775808",
        b"-1",
        b"0",
        b"1e400",
        b"NaN",
        b"null",
        b"[[[[[[[[[[[[[[[[",
        b"{\"a\":",
        b"'",
        b"\"",
        b"(0,",
        b"\xff\xfe",
        b"<f8",
    ];
    const NUMBERS: [&[u8]; 8] =
        [b"0", b"1", b"7", b"1048576", b"1000000000", b"4611686018427387904", b"18446744073709551615", b"1e30"];
    let mut bytes = valid.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..10) {
            // Another number in the place of one.
            8 | 9 => {
                let digits: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i].is_ascii_digit()).collect();
                if !digits.is_empty() {
                    let start = digits[rng.random_range(0..digits.len())];
                    let end = start + bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
                    let number = NUMBERS[rng.random_range(0..NUMBERS.len())];
                    bytes.splice(start..end, number.iter().copied());
                }
            }
            0 => bytes.truncate(at),
            1 => (0..rng.random_range(1..64)).for_each(|_| bytes.push(rng.random())),
            2 => {
                let text = TEXTS[rng.random_range(0..TEXTS.len())];
                let end = bytes.len().min(at + rng.random_range(0..=text.len()));
                bytes.splice(at..end, text.iter().copied());
            }
            3 => {
                let text =
                    vec![[b'[', b'{', b'(', b' ', b',', b'9'][rng.random_range(0..6)]; rng.random_range(1..3000)];
                bytes.splice(at..at, text);
            }
            4 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let end = other.len().min(from + rng.random_range(1..64));
                bytes.splice(at..at, other[from..end].iter().copied());
            }
            5 => {
                let end = bytes.len().min(at + rng.random_range(1..32));
                bytes.drain(at..end);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = match rng.random_range(0..3) {
                        0 => *byte ^ (1 << rng.random_range(0..8)),
                        1 => [0, 0xff, 0x7f, 0x80][rng.random_range(0..4)],
                        _ => rng.random(),
                    };
                }
            }
        }
    }
    // A header that was changed is not looked at unless its length fits.
    let fits = rng.random_bool(0.5);
    if fits && valid.starts_with(b"\x93NUMPY") && bytes.len() > 12 {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - 1) + 1;
        let length = (end.saturating_sub(10) as u16).to_le_bytes();
        bytes[8..10].copy_from_slice(&length);
    } else if fits && valid.get(8) == Some(&b'{') && bytes.len() > 8 {
        let end = bytes.iter().rposition(|b| *b == b'}').map_or(bytes.len(), |at| at + 1);
        let length = (end.saturating_sub(8) as u64).to_le_bytes();
        bytes[..8].copy_from_slice(&length);
    }
    bytes
}

/// Writes a file that is not the old one made shorter, which some file systems wait for the disk to do.
fn write_anew(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Names the attempt if a reader panics.
struct Attempt(&'static str, u64);

impl Drop for Attempt {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: attempt {} panics", self.0, self.1);
        }
    }
}

#[test]
fn damaged_files_give_an_error_and_no_large_allocation() {
    let seconds =
        std::env::var("SDLAB_FUZZ_SECONDS").map_or(2.0, |text| text.parse().expect("SDLAB_FUZZ_SECONDS is a number"));
    // The first parallel loop starts its threads, which has nothing to do with any input.
    rayon::spawn(|| {});
    for target in targets() {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for (name, bytes) in &target.files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let (mut read, mut attempts, mut largest) = (0_u64, 0_u64, 0.0_f64);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs_f64(seconds) {
            let mut rng = ChaCha8Rng::seed_from_u64(attempts);
            let attempt = Attempt(target.name, attempts);
            let (name, valid) = &target.files[rng.random_range(0..target.damaged)];
            let other = &target.files[rng.random_range(0..target.files.len())].1;
            let bytes = damaged(&mut rng, valid, other);
            let path = folder.path().join(name);
            write_anew(&path, &bytes);
            let mut outcome = Ok(());
            let peak = allocator::peak(|| outcome = (target.read)(folder.path(), name));
            let size: usize = target.files.iter().map(|(n, b)| if n == name { bytes.len() } else { b.len() }).sum();
            assert!(
                peak <= MULTIPLE * size + target.allowance,
                "{} attempt {attempts}: {peak} bytes for {size}",
                target.name
            );
            largest = largest.max(peak as f64 / size.max(1000) as f64);
            match outcome {
                Ok(()) => read += 1,
                Err(error) => {
                    // TOML shows the line that is wrong.
                    let longest = if target.name == "config" { 1200 + 8 * size } else { 1200 };
                    let length = error.len();
                    assert!(length < longest, "{} attempt {attempts}: {length} bytes of error", target.name);
                    let of_file = error.contains(&folder.path().display().to_string());
                    assert!(target.name == "config" || of_file && !error.contains('\n'), "attempt {attempts}: {error}");
                }
            }
            write_anew(&path, valid);
            drop(attempt);
            attempts += 1;
        }
        eprintln!(
            "{}: {attempts} damaged files, {read} still valid, at most {largest:.1} bytes held per byte",
            target.name
        );
        assert!(read > 0 && read < attempts, "{}: {read} of {attempts} are valid", target.name);
    }
}
