//! `sdlab bench` as a user meets it.

mod common;

use common::sdlab;
use safetensors::{Dtype, SafeTensors};
use sdlab::bench::config::BenchConfig;
use sdlab::bench::dataset::{Bench, Side};
use std::path::Path;
use std::process::Output;

const SMALL: &str =
    "n = 20\nn_p = 12\ninterference = 0.4\nsparsity = 0.9\nsamples = 50\ntask = { kind = \"transcoder\", n_r = 9 }\n";

fn generated(folder: &Path, more: &[&str]) -> Output {
    generated_as(SMALL, folder, more)
}

fn generated_as(config_text: &str, folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("config-in.toml");
    std::fs::write(&config, config_text).unwrap();
    let out = folder.join("data");
    sdlab(&[&["bench", "generate", config.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// What one file holds: offsets, features and magnitudes.
struct Shard {
    offsets: Vec<i64>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Shard {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let data = |name| tensors.tensor(name).unwrap();
        let offsets = data("offsets").data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()));
        let indices = data("indices").data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        Self { offsets: offsets.collect(), indices: indices.collect(), values: floats(data("values").data()) }
    }

    fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[i] as usize..self.offsets[i + 1] as usize;
        (&self.indices[range.clone()], &self.values[range])
    }
}

/// The numbers of a .npy file.
fn dense(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    floats(&bytes[10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))..])
}

#[test]
fn samples_on_both_sides_of_every_boundary_are_those_of_their_numbers() {
    const TINY: &str = "n = 5\nn_p = 3\ninterference = 0.6\nsparsity = 0.5\nsamples = 100003\nseed = 3\n";
    let folder = tempfile::tempdir().unwrap();
    let output = generated_as(TINY, folder.path(), &["--dense"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = folder.path().join("data");
    let shards = ["samples-00000.safetensors", "samples-00001.safetensors"].map(|name| Shard::read(&data.join(name)));
    assert_eq!(shards.each_ref().map(|shard| shard.offsets.len()), [100_001, 4]);
    assert!(!data.join("samples-00002.safetensors").exists());
    let x = dense(&data.join("x_p.npy"));
    assert_eq!(x.len(), 3 * 100_003);
    let bench = Bench::generate(&BenchConfig::from_toml(TINY).unwrap()).unwrap();
    // Files of 100,000 samples; dense rows are made 1024 at a time, the last time 675.
    for i in [0, 1023, 1024, 2047, 2048, 99_327, 99_328, 99_999, 100_000, 100_001, 100_002] {
        let batch = bench.coefficients().batch(&[i as u64]);
        assert_eq!(shards[i / 100_000].row(i % 100_000), batch.row(0), "sample {i}");
        let mut row = [0.0; 3];
        bench.synthesize(&batch, Side::Input, &mut row);
        assert_eq!(x[3 * i..3 * (i + 1)], row, "sample {i}");
    }
}

/// Names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_data_set_takes_the_place_of_another_only_if_asked_and_then_nothing_of_the_other_stays() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert!(generated(folder.path(), &["--dense"]).status.success());
    // As a larger data set would leave it, and what is not of a data set.
    for name in ["samples-00001.safetensors", "samples-100000.safetensors", "samples-2.safetensors", "notes.txt"] {
        std::fs::write(data.join(name), name).unwrap();
    }
    let before = names(&data);
    let directions = std::fs::read(data.join("directions.safetensors")).unwrap();
    let sae = SMALL.lines().filter(|line| !line.starts_with("task")).collect::<Vec<_>>().join("\n");
    let refused = |text: &str, more: &[&str], expected: &str| {
        let output = generated_as(text, folder.path(), more);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    };
    refused(&sae, &["--seed", "7"], "holds a data set: expected a new folder, or --force");
    // Parameters that cannot be are refused before anything is removed.
    refused("n = 20\nn_p = 4\ninterference = 0.3\n", &["--force"], "interference: still");
    assert_eq!(names(&data), before);
    assert_eq!(std::fs::read(data.join("directions.safetensors")).unwrap(), directions);
    assert!(generated_as(&sae, folder.path(), &["--force", "--seed", "7"]).status.success());
    let kept = ["notes.txt", "samples-2.safetensors"];
    let written = ["config.toml", "directions.safetensors", "samples-00000.safetensors"];
    let mut expected = [&kept[..], &written[..]].concat();
    expected.sort_unstable();
    assert_eq!(names(&data), expected);
    assert_ne!(std::fs::read(data.join("directions.safetensors")).unwrap(), directions);
    // Without its parameters a data set is not known for one; nor is a run of `sdlab train`.
    std::fs::remove_file(data.join("config.toml")).unwrap();
    refused(&sae, &["--force"], "found directions.safetensors without config.toml");
    std::fs::write(data.join("config.toml"), "[bench]\nn = 20\n").unwrap();
    refused(&sae, &["--force"], "found config.toml of something else");
    assert_eq!(std::fs::read_to_string(data.join("config.toml")).unwrap(), "[bench]\nn = 20\n");
}

/// Where no file may have more than 20 or 40 kB, as on a disk that is full.
#[cfg(unix)]
#[test]
fn a_data_set_that_was_cut_off_does_not_pass_for_a_whole_one_and_is_written_anew_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("c.toml"), folder.path().join("data"));
    std::fs::write(&config, SMALL).unwrap();
    let generate = |limits: &str, more: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("trap '' XFSZ; {limits} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_sdlab")]);
        command.args(["bench", "generate"]).arg(&config).arg("--out").arg(&data).args(more);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // In a new folder, and in the place of a whole data set.
    for (more, samples) in [(&["--samples", "5000"][..], 60), (&["--samples", "5000", "--force"][..], 70)] {
        let (status, message) = generate("ulimit -f 40;", more);
        assert_eq!((status, message.lines().count()), (Some(2), 1), "{message}");
        assert!(message.contains("samples-00000.safetensors: cannot be written"), "{message}");
        assert_eq!(names(&data), ["directions.safetensors", "unfinished.toml"]);
        let (status, message) = generate("", &["--samples", "50"]);
        assert_eq!(status, Some(2), "{message}");
        assert!(message.contains("data: holds a part of a data set, whose writing was cut off: expected"), "{message}");
        let (status, message) = generate("", &["--samples", &samples.to_string(), "--force"]);
        assert_eq!(status, Some(0), "{message}");
        assert_eq!(names(&data), ["config.toml", "directions.safetensors", "samples-00000.safetensors"]);
        let written = std::fs::read_to_string(data.join("config.toml")).unwrap();
        assert_eq!(BenchConfig::from_toml(&written).unwrap().samples, samples);
    }
}

#[test]
fn the_files_of_a_bench_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let output = generated(folder.path(), &["--dense"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = folder.path().join("data");
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let directions = read("directions.safetensors");
    let directions = SafeTensors::deserialize(&directions).unwrap();
    // The parameters are complete, and make the same data.
    let config = BenchConfig::from_toml(&std::fs::read_to_string(data.join("config.toml")).unwrap()).unwrap();
    assert_eq!(config, BenchConfig::from_toml(SMALL).unwrap().completed());
    assert!((config.descent.margin.unwrap() - 0.006).abs() < 1e-15);
    let samples = Shard::read(&data.join("samples-00000.safetensors"));
    assert_eq!((samples.offsets.len(), *samples.offsets.last().unwrap() as usize), (51, samples.values.len()));
    for (name, npy, dimension) in [("w_p", "x_p.npy", 12), ("w_r", "x_r.npy", 9)] {
        let tensor = directions.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, [20, dimension].as_slice()));
        let w = floats(tensor.data());
        let x = dense(&data.join(npy));
        assert_eq!(x.len(), 50 * dimension);
        for i in 0..50 {
            let mut row = vec![0.0_f32; dimension];
            let (indices, values) = samples.row(i);
            for (&d, &value) in indices.iter().zip(values) {
                for (x, w) in row.iter_mut().zip(&w[d as usize * dimension..]) {
                    *x += value * w;
                }
            }
            assert_eq!(row, x[i * dimension..(i + 1) * dimension], "{npy}, row {i}");
        }
    }
}

#[test]
fn the_same_seed_writes_the_same_bytes_and_the_command_line_overrides_it() {
    let (one, two, three) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(generated(one.path(), &[]).status.success());
    assert!(generated(two.path(), &["--seed", "0"]).status.success());
    assert!(generated(three.path(), &["--seed", "5"]).status.success());
    for name in ["directions.safetensors", "samples-00000.safetensors", "config.toml"] {
        let bytes = |folder: &tempfile::TempDir| std::fs::read(folder.path().join("data").join(name)).unwrap();
        assert_eq!(bytes(&one), bytes(&two), "{name}");
        assert_ne!(bytes(&one), bytes(&three), "{name}");
    }
}

/// The products of all pairs of 10,000 directions take 763 MiB; a step is to take far less.
#[cfg(target_os = "linux")]
#[test]
fn memory_of_a_step_does_not_grow_with_the_pairs_of_features() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("large.toml"), folder.path().join("data"));
    std::fs::write(&config, "n = 10000\nn_p = 8\ninterference = 0.9\ndescent = { budget = 1 }\n").unwrap();
    // Address space in KiB. Every thread and every arena reserves some, so that there are to be few of them.
    let limited = "ulimit -v 524288 && exec \"$@\"";
    let output = std::process::Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_sdlab"), "bench", "generate"])
        .arg(&config)
        .arg("--out")
        .arg(&out)
        .env("RAYON_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .unwrap();
    // There is room for so many directions in 8 dimensions, but one step does not find it.
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("instead of 0.9 after 1 steps"), "{message}");
    assert!(!out.exists());
}

#[test]
fn wrong_parameters_and_places_give_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("file"), "in the way").unwrap();
    for (text, out, names) in [
        ("n = 0", "o", "n: expected"),
        ("n = 3\nn_p = 2\ninterference = -0.9", "o", "interference: expected"),
        ("n = 20\nn_p = 4\ninterference = 0.3\nsamples = 1", "o", "interference: still"),
        ("n = 300\nn_p = 2\ninterference = 0.5", "o", "interference: expected a number in [0.9998, 1)"),
        ("n = 9\nnn = 3", "o", "c.toml: line 2: nn: unknown field `nn`, expected one of"),
        ("n = 9\ndescent = { budget = -1 }", "o", "c.toml: line 2: descent.budget: "),
        ("descent = { step = 0.0 }", "o", "descent.step: expected a number > 0, found 0"),
        ("n = 40\nn_p = 8\ninterference = 0.25\ndescent = { budget = 2 }", "o", "after 2 steps"),
        ("n = 3\nn_p = 3", "file", "file/unfinished.toml: cannot be written"),
    ] {
        std::fs::write(path("c.toml"), text).unwrap();
        let output = sdlab(&["bench", "generate", &path("c.toml"), "--out", &path(out), "--samples", "10"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), message.lines().count()), (Some(2), 1), "{text}: {message}");
        assert!(message.contains(names), "{text}: {message}");
    }
    let output = sdlab(&["bench", "describe", &path("absent.toml")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("absent.toml: cannot be read"));
}

#[test]
fn a_description_is_printed_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(&config, SMALL).unwrap();
    let output = sdlab(&["bench", "describe", config.to_str().unwrap(), "--out", folder.path().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("mean L0 of a sample") && text.contains("2.0000"), "{text}");
    assert!(folder.path().join("bench.svg").is_file() && folder.path().join("bench.png").is_file());
}
