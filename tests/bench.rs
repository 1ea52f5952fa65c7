//! `sdlab bench` as a user meets it.

mod common;

use common::sdlab;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;
use std::process::Output;

const SMALL: &str =
    "n = 20\nn_p = 12\ninterference = 0.4\nsparsity = 0.9\nsamples = 50\ntask = { kind = \"transcoder\", n_r = 9 }\n";

fn generated(folder: &Path, more: &[&str]) -> Output {
    let config = folder.join("config-in.toml");
    std::fs::write(&config, SMALL).unwrap();
    let out = folder.join("data");
    sdlab(&[&["bench", "generate", config.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

#[test]
fn the_files_of_a_bench_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let output = generated(folder.path(), &["--dense"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = folder.path().join("data");
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let (directions, samples) = (read("directions.safetensors"), read("samples-00000.safetensors"));
    let directions = SafeTensors::deserialize(&directions).unwrap();
    let samples = SafeTensors::deserialize(&samples).unwrap();
    let offsets: Vec<i64> = samples
        .tensor("offsets")
        .unwrap()
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let indices: Vec<u32> = samples
        .tensor("indices")
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let values = floats(samples.tensor("values").unwrap().data());
    assert_eq!((offsets.len(), *offsets.last().unwrap() as usize), (51, values.len()));
    for (name, npy, dimension) in [("w_p", "x_p.npy", 12), ("w_r", "x_r.npy", 9)] {
        let tensor = directions.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, [20, dimension].as_slice()));
        let w = floats(tensor.data());
        let bytes = read(npy);
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let x = floats(&bytes[start..]);
        assert_eq!(x.len(), 50 * dimension);
        for i in 0..50 {
            let mut row = vec![0.0_f32; dimension];
            for k in offsets[i] as usize..offsets[i + 1] as usize {
                for (x, w) in row.iter_mut().zip(&w[indices[k] as usize * dimension..]) {
                    *x += values[k] * w;
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

#[test]
fn wrong_parameters_and_places_give_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("file"), "in the way").unwrap();
    for (text, out, names) in [
        ("n = 0", "o", "n: expected"),
        ("n = 3\nn_p = 2\ninterference = -0.9", "o", "interference: expected"),
        ("n = 20\nn_p = 4\ninterference = 0.3\nsamples = 1", "o", "maximum"),
        ("nn = 3", "o", "nn"),
        ("n = 3\nn_p = 3", "file", "file/config.toml: cannot be written"),
    ] {
        std::fs::write(path("c.toml"), text).unwrap();
        let output = sdlab(&["bench", "generate", &path("c.toml"), "--out", &path(out), "--samples", "10"]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {message}");
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
