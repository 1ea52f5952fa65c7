//! `sdlab evaluate` as a user meets it.

mod common;

use boon::{Compiler, Schemas};
use common::sdlab;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::path::Path;

const EXPERIMENT: &str = "\
[bench]
n = 20
n_p = 16
interference = 0.4
sparsity = 0.9
samples = 512
hierarchy = { children = 3 }
[model]
latents = 48
activation = { kind = \"top-k\", k = 3 }
[anchors]
source = \"ground-truth\"
count = 4
weight = 0.1
[train]
batch = 64
steps = 40
";

fn trained(folder: &Path, more: &[&str]) -> String {
    trained_as(EXPERIMENT, folder, more)
}

fn trained_as(experiment: &str, folder: &Path, more: &[&str]) -> String {
    let config = folder.join("experiment.toml");
    std::fs::write(&config, experiment).unwrap();
    let run = folder.join("run").to_str().unwrap().to_owned();
    let output = sdlab(&[&["train", config.to_str().unwrap(), "--out", &run], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run
}

#[test]
fn an_evaluation_repeats_the_scores_of_the_run_and_is_what_its_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &[]);
    let figures = folder.path().join("figures");
    let output = sdlab(&["evaluate", &run, "--json", "--out", figures.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("MIP") && text.contains("absorption rate"), "{text}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let result = std::fs::read(Path::new(&run).join("result.json")).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(found["scores"], result["scores"]);
    assert_eq!((&found["samples"], &found["held_out"]), (&Value::from(4096), &Value::from(true)));
    assert_eq!(found["scores"]["encoder"]["whole"]["normalised"]["free"]["features"], 16);
    assert!(figures.join("recovery.svg").is_file() && figures.join("recovery.png").is_file());
    let mut schemas = Schemas::new();
    let path = format!("{}/docs/schema/evaluate.json", env!("CARGO_MANIFEST_DIR"));
    let schema = Compiler::new().compile(&path, &mut schemas).unwrap();
    schemas.validate(&found, schema).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_model_of_another_folder_is_scored_without_the_anchors_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &[]);
    let output = sdlab(&["evaluate", &run, "--model", &run, "--samples", "100", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["samples"], 100);
    assert_eq!(found["scores"]["encoder"]["whole"]["normalised"]["free"], Value::Null);
}

/// The transpose of a matrix of f32, row by row.
fn transposed(rows: usize, columns: usize, bytes: &[u8]) -> Vec<u8> {
    let at = |i: usize, k: usize| &bytes[4 * (i * columns + k)..][..4];
    (0..columns).flat_map(|k| (0..rows).flat_map(move |i| at(i, k).to_vec())).collect()
}

/// A folder with a configuration and weights.
fn written(folder: &Path, config: (&str, &str), weights: &str, tensors: &[(&str, Dtype, &[usize], &[u8])]) -> String {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(weights), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::write(folder.join(config.0), config.1).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn the_same_weights_have_the_same_scores_in_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained_as(&EXPERIMENT.replace("top-k", "top-k-relu"), folder.path(), &[]);
    let weights = std::fs::read(Path::new(&run).join("sae_weights.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&weights).unwrap();
    // W_enc is 16 x 48, W_dec is 48 x 16.
    let (w_enc, w_dec) = (weights.tensor("W_enc").unwrap(), weights.tensor("W_dec").unwrap());
    let (encoder, decoder) = (transposed(16, 48, w_enc.data()), transposed(48, 16, w_dec.data()));
    let (zeros_q, zeros_p, k) = ([0; 4 * 48], [0; 4 * 16], 3_i64.to_le_bytes());
    let sparsify = written(
        &folder.path().join("sparsify"),
        ("cfg.json", r#"{"activation": "topk", "k": 3, "d_in": 16, "num_latents": 48, "transcode": false}"#),
        "sae.safetensors",
        &[
            ("encoder.weight", Dtype::F32, &[48, 16], &encoder),
            ("encoder.bias", Dtype::F32, &[48], &zeros_q),
            ("W_dec", Dtype::F32, &[48, 16], w_dec.data()),
            ("b_dec", Dtype::F32, &[16], &zeros_p),
        ],
    );
    let dictionary_learning = written(
        &folder.path().join("dictionary_learning"),
        ("config.json", r#"{"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}}"#),
        "ae.safetensors",
        &[
            ("encoder.weight", Dtype::F32, &[48, 16], &encoder),
            ("encoder.bias", Dtype::F32, &[48], &zeros_q),
            ("decoder.weight", Dtype::F32, &[16, 48], &decoder),
            ("b_dec", Dtype::F32, &[16], &zeros_p),
            ("k", Dtype::I64, &[], &k),
        ],
    );
    let scores = |model: &str| {
        let output = sdlab(&["evaluate", &run, "--model", model, "--samples", "300", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["scores"].clone()
    };
    let expected = scores(&run);
    assert!(expected.is_object());
    for model in [&sparsify, &dictionary_learning] {
        assert_eq!(scores(model), expected, "{model}");
    }
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = sdlab(&["evaluate", &run, "--model", empty.to_str().unwrap()]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for layout in ["sae_weights.safetensors", "sae.safetensors with cfg.json", "ae.safetensors with config.json"] {
        assert!(message.contains(layout) && !message.contains("--resume"), "{message}");
    }
    // Weights of one trainer with the configuration of another.
    std::fs::copy(Path::new(&dictionary_learning).join("ae.safetensors"), empty.join("ae.safetensors")).unwrap();
    std::fs::copy(Path::new(&sparsify).join("cfg.json"), empty.join("config.json")).unwrap();
    let output = sdlab(&["evaluate", &run, "--model", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.json: trainer.dict_class: expected AutoEncoder"));
}

#[test]
fn what_is_no_finished_run_gives_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &["--max-steps", "5"]);
    let absent = folder.path().join("absent").to_str().unwrap().to_owned();
    for (arguments, names) in [
        (vec!["evaluate", &run], "found no cfg.json"),
        (vec!["evaluate", &absent], "absent/config.toml: cannot be read"),
        (vec!["evaluate", &run, "--samples", "0"], "--samples"),
    ] {
        let output = sdlab(&arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(names), "{message}");
    }
}

#[test]
fn files_that_hold_something_else_than_in_training_are_said_and_their_sums_are_in_the_provenance() {
    let folder = tempfile::tempdir().unwrap();
    let write = |shift: f32| {
        let mut bytes = sdlab::io::npy::header(&[40, 3]);
        bytes.extend((0..120).flat_map(|k| (k as f32 + shift).sin().to_le_bytes()));
        std::fs::write(folder.path().join("x.npy"), bytes).unwrap();
    };
    write(0.0);
    let inputs = folder.path().join("x.npy");
    let experiment = format!(
        "[data]\ninputs = {inputs:?}\n[model]\nlatents = 5\nactivation = {{ kind = \"top-k\", k = 2 }}\n[train]\nbatch = 8\nsteps = 20"
    );
    let run = trained_as(&experiment, folder.path(), &[]);
    let provenance: Value =
        serde_json::from_slice(&std::fs::read(Path::new(&run).join("provenance.json")).unwrap()).unwrap();
    let mut schemas = Schemas::new();
    let path = format!("{}/docs/schema/run-provenance.json", env!("CARGO_MANIFEST_DIR"));
    let schema = Compiler::new().compile(&path, &mut schemas).unwrap();
    schemas.validate(&provenance, schema).unwrap_or_else(|error| panic!("{error}"));
    let evaluated = || {
        let output = sdlab(&["evaluate", &run]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    assert!(!evaluated().contains("mind:"));
    write(0.5);
    let text = evaluated();
    let line = text.lines().find(|line| line.starts_with("mind: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("x.npy") && line.contains("data.inputs"), "{line}");
}
