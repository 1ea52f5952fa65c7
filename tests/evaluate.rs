//! `sdlab evaluate` as a user meets it.

mod common;

use boon::{Compiler, Schemas};
use common::sdlab;
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
    let config = folder.join("experiment.toml");
    std::fs::write(&config, EXPERIMENT).unwrap();
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
