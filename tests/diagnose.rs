//! `sdlab diagnose` as a user meets it.

mod common;

use boon::{Compiler, Schemas};
use common::sdlab;
use serde_json::Value;
use std::path::Path;

/// As many latents as features, one active at a time.
const SPARSE: &str = "\
[bench]
n = 12
n_p = 12
interference = 0.5
sparsity = 0.99
samples = 2048
[model]
latents = 16
activation = { kind = \"top-k-relu\", k = 1 }
[optimizer]
learning_rate = 0.01
[train]
batch = 64
";

fn trained(folder: &Path, text: &str) -> String {
    let (config, run) = (folder.join("experiment.toml"), folder.join("run"));
    std::fs::write(&config, text).unwrap();
    let output = sdlab(&["train", config.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run.to_str().unwrap().to_owned()
}

fn checked(value: &Value) {
    let mut schemas = Schemas::new();
    let path = format!("{}/docs/schema/diagnose.json", env!("CARGO_MANIFEST_DIR"));
    let schema = Compiler::new().compile(&path, &mut schemas).unwrap();
    schemas.validate(value, schema).unwrap_or_else(|error| panic!("{error}\nin {value:#}"));
}

#[test]
fn a_model_that_has_hardly_trained_is_found_wanting_and_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &format!("{SPARSE}steps = 5\n"));
    let output = sdlab(&["diagnose", &run, "--json", "--samples", "500"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    checked(&found);
    let diagnosis = &found["diagnosis"];
    assert_eq!(
        (&found["known"], &diagnosis["features"], &diagnosis["latents"]),
        (&"bench".into(), &12.into(), &16.into())
    );
    let count = |name: &str| diagnosis["pattern"][name].as_u64().unwrap();
    assert_eq!(count("dead") + count("monosemantic") + count("polysemantic"), 16);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("The model is ") && text.contains("r_W, at most"), "{text}");
    assert_eq!(diagnosis["sampled"]["samples"], 500);
}

#[test]
fn the_true_solution_has_nothing_to_do_and_status_0() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &format!("{SPARSE}steps = 1\n"));
    // W = Pᵀ and V = R of orthonormal features: the file of problem, not the bench, is what is held against.
    let axis = |d: usize| (0..12).map(|k| if k == d { "\"1\"" } else { "\"0\"" }).collect::<Vec<_>>().join(",");
    let features: Vec<String> = (0..12).map(|d| format!("{{\"w_p\":[{}],\"mass\":\"{}\"}}", axis(d), d + 1)).collect();
    let problem = format!("{{\"format\":1,\"features\":[{}]}}", features.join(","));
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(Path::new(&run).join("cfg.json"), model.join("cfg.json")).unwrap();
    let identity: Vec<u8> =
        (0..12 * 16).flat_map(|k| if k / 16 == k % 16 { 1.0_f32 } else { 0.0 }.to_le_bytes()).collect();
    let transposed: Vec<u8> =
        (0..16 * 12).flat_map(|k| if k / 12 == k % 12 { 1.0_f32 } else { 0.0 }.to_le_bytes()).collect();
    let zeros = |count: usize| vec![0_u8; 4 * count];
    let view = |shape: &[usize], bytes: &[u8]| (shape.to_vec(), bytes.to_vec());
    let tensors = [
        ("W_enc", view(&[12, 16], &identity)),
        ("W_dec", view(&[16, 12], &transposed)),
        ("b_enc", view(&[16], &zeros(16))),
        ("b_dec", view(&[12], &zeros(12))),
    ];
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(model.join("sae_weights.safetensors"), bytes).unwrap();
    let model = model.to_str().unwrap();
    let output = sdlab(&["diagnose", &run, "--model", model, "--problem", &problem, "--json"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("solved") && text.contains("nothing to do"), "{text}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    checked(&found);
    assert_eq!(
        (&found["diagnosis"]["verdict"], &found["diagnosis"]["pattern"]["monosemantic"]),
        (&"solved".into(), &12.into())
    );
    // The same model is wrong for the bench of the run.
    assert_eq!(sdlab(&["diagnose", &run, "--model", model]).status.code(), Some(1));
    // As dictionary_learning stores it: one row per output.
    let imported = folder.path().join("imported");
    std::fs::create_dir(&imported).unwrap();
    std::fs::write(imported.join("config.json"), r#"{"trainer": {"dict_class": "AutoEncoderTopK"}}"#).unwrap();
    let numbers = safetensors::Dtype::F32;
    let tensors = [
        ("encoder.weight", numbers, vec![16, 12], transposed),
        ("decoder.weight", numbers, vec![12, 16], identity),
        ("encoder.bias", numbers, vec![16], zeros(16)),
        ("b_dec", numbers, vec![12], zeros(12)),
        ("k", safetensors::Dtype::I64, vec![], 1_i64.to_le_bytes().to_vec()),
    ];
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(imported.join("ae.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let imported = imported.to_str().unwrap();
    let output = sdlab(&["diagnose", &run, "--model", imported, "--problem", &problem]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn class_means_stand_for_features_of_labelled_files() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<[f32; 3]> = vec![[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [2.2, 0.0, 0.0], [0.0, 1.4, 0.0]];
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }".to_vec();
    npy.resize(127, b' ');
    npy.push(b'\n');
    rows.iter().flatten().for_each(|x| npy.extend(x.to_le_bytes()));
    let (inputs, labels) = (folder.path().join("x.npy"), folder.path().join("y.csv"));
    std::fs::write(&inputs, npy).unwrap();
    std::fs::write(&labels, "class\ncat\ndog\ncat\ndog\n").unwrap();
    let text = format!(
        "[data]\ninputs = {:?}\n[model]\nlatents = 4\nactivation = {{ kind = \"relu\" }}\n[train]\nsteps = 2\n",
        inputs.to_str().unwrap()
    );
    let run = trained(folder.path(), &text);
    let output = sdlab(&["diagnose", &run]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("data.labels: expected labels"));
    let output = sdlab(&["diagnose", &run, "--labels", &format!("{}:class", labels.display()), "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    checked(&found);
    assert_eq!((&found["known"], &found["diagnosis"]["features"]), (&"labels".into(), &2.into()));
    // means of length 2.1 and 1.2, half of the rows each
    let energy = found["diagnosis"]["energy"].as_f64().unwrap();
    assert!((energy - (2.1_f64.powi(2) + 1.2_f64.powi(2)) / 2.0).abs() < 1e-6, "{energy}");
}

#[test]
fn wrong_input_gives_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), &format!("{SPARSE}steps = 1\n"));
    let small = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"}]}"#;
    let file = folder.path().join("p.json");
    std::fs::write(&file, small).unwrap();
    let file = file.to_str().unwrap();
    for (arguments, names) in [
        (vec!["diagnose", &run, "--problem", small], "--problem: w_p: expected 12 numbers in a direction"),
        (vec!["diagnose", &run, "--problem", file], "p.json: w_p: expected 12 numbers in a direction"),
        (vec!["diagnose", &run, "--labels", "y.csv"], "--labels: expected a run on files"),
        (vec!["diagnose", &run, "--tolerance", "2"], "expected a number in [0, 1)"),
        (vec!["diagnose", "absent"], "absent/config.toml: cannot be read"),
        (vec!["diagnose"], "required"),
        (vec!["diagnose", &run, "--demonstrate"], "cannot be used with"),
    ] {
        let output = sdlab(&arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(names), "{message}");
    }
}

#[test]
fn the_demonstration_compares_advice_with_none() {
    let output = sdlab(&["diagnose", "--demonstrate", "--seeds", "2", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    checked(&found);
    assert_eq!((output.status.code(), found["seeds"].as_array().unwrap().len()), (Some(0), 2));
}
