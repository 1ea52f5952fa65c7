//! The schemas in `docs/schema` against what the command reads and writes.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

const PAIR: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"2"}]}"#;
const TOP: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"2"}],"activation":{"kind":"top-k","k":1}}"#;
/// Its partial optimum with both features on one neuron has an irrational loss.
const IRRATIONAL: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"w_r":["1","0"],"mass":"1"},{"w_p":["0","1"],"w_r":["1","1"],"mass":"1"}]}"#;

/// A training of a second.
const TRAINING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/small/table1/topk.toml");

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new(name: &str) -> Self {
        let path = format!("{}/docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut schemas = Schemas::new();
        let index = Compiler::new().compile(&path, &mut schemas).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { schemas, index }
    }

    fn accepts(&self, value: &Value) -> bool {
        self.schemas.validate(value, self.index).is_ok()
    }

    fn check(&self, value: &Value) {
        if let Err(error) = self.schemas.validate(value, self.index) {
            panic!("{error}\nin {value:#}");
        }
    }
}

fn sdlab(arguments: &[&str]) -> (i32, Value) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sdlab")).arg("--json").args(arguments).stdin(Stdio::null()).output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), value)
}

#[test]
fn every_command_prints_what_its_schema_says() {
    let point = r#"{"w_e":[["1","1"]],"w_d":[["1/3","2/3"]]}"#;
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let comparison = tempfile::tempdir().unwrap();
    let comparison = comparison.path().to_str().unwrap();
    let (folder, run) = (folder.path().to_str().unwrap(), run.to_str().unwrap());
    for (schema, arguments) in [
        ("loss", vec!["loss", "--problem", PAIR, "--point", point]),
        ("loss", vec!["loss", "--problem", PAIR, "--point", r#"{"w_e":[["1",0],[0,1]],"w_d":[["1","0"],["0","1"]]}"#]),
        ("loss", vec!["loss", "--problem", TOP, "--point", point]),
        ("region", vec!["region", "--problem", PAIR, "--pattern", "[[0,1],[]]"]),
        ("region", vec!["region", "--problem", TOP, "--pattern", "[[0],[0]]"]),
        ("region-count", vec!["region", "count", "--problem", PAIR]),
        ("region-count", vec!["region", "count", "--problem", PAIR, "--budget", "1"]),
        (
            "partial-optima",
            vec!["partial-optima", "--problem", PAIR, "--pattern", "[[0],[1]]", "--certificates", folder],
        ),
        ("partial-optima", vec!["partial-optima", "--problem", PAIR, "--pattern", "[[0,1]]"]),
        ("partial-optima", vec!["partial-optima", "--problem", PAIR, "--pattern", "[[0,1],[0]]"]),
        ("partial-optima", vec!["partial-optima", "--problem", IRRATIONAL, "--pattern", "[[0,1]]"]),
        ("atlas", vec!["atlas", "--problem", PAIR, "--latents", "2", "--starts", "5"]),
        ("atlas", vec!["atlas", "--problem", PAIR, "--latents", "2", "--starts", "5", "--cells"]),
        ("atlas", vec!["atlas", "--problem", IRRATIONAL, "--latents", "1", "--starts", "5"]),
        ("atlas", vec!["atlas", "--problem", PAIR, "--latents", "2", "--budget", "1"]),
        ("compare", vec!["compare", "configs/compare/small.toml", "--out", comparison, "--max-instances", "1"]),
        ("certify", vec!["certify", folder]),
        ("claims", vec!["claims"]),
        ("claim", vec!["claims", "ex-3.5"]),
        ("verify", vec!["verify", "thm-3.7"]),
        ("verify", vec!["verify", "thm-3.7", "--problem", PAIR]),
        ("verify", vec!["report", "ex-3.5", "--out", folder]),
        ("train", vec!["train", TRAINING, "--out", run, "--dry-run"]),
        ("train", vec!["train", TRAINING, "--out", run, "--dry-run", "--device", "cuda"]),
        ("train", vec!["train", TRAINING, "--out", run, "--max-steps", "3"]),
        ("train", vec!["train", TRAINING, "--out", run, "--resume"]),
    ] {
        let (status, value) = sdlab(&arguments);
        assert!(status != 2, "{arguments:?}");
        assert!(!value.is_null(), "{arguments:?} printed no JSON");
        Validator::new(schema).check(&value);
    }
}

#[test]
fn a_bench_prints_what_its_schema_says_whatever_its_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let schema = Validator::new("bench");
    let small = "n = 12\nn_p = 8\ninterference = 0.5\nsparsity = 0.8\nsamples = 30\n";
    for (k, more) in [
        "",
        "task = { kind = \"transcoder\", n_r = 9 }\nhierarchy = { children = 2 }\nrates = { kind = \"zipf\", exponent = 0.5 }",
        "task = { kind = \"crosscoder\", sources = 2 }\ncorrelation = { group = 3, rho = 0.4 }",
        "magnitudes = { kind = \"spread\", decades = 1.5 }\ndescent = { margin = 0.1 }\nseed = 4",
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(path("bench.toml"), format!("{small}{more}\n")).unwrap();
        let (status, value) = sdlab(&["bench", "generate", &path("bench.toml"), "--out", &path(&format!("data{k}"))]);
        assert_eq!(status, 0, "{more}");
        schema.check(&value);
        let (status, mut value) = sdlab(&["bench", "describe", &path("bench.toml")]);
        assert_eq!(status, 0, "{more}");
        schema.check(&value);
        value["config"]["descent"].as_object_mut().unwrap().remove("step").unwrap();
        assert!(!schema.accepts(&value));
    }
}

#[test]
fn a_training_that_ends_at_a_plateau_prints_what_the_schema_says() {
    let folder = tempfile::tempdir().unwrap();
    let (config, run) = (folder.path().join("plateau.toml"), folder.path().join("run"));
    // The last table of the file is [train].
    std::fs::write(&config, std::fs::read_to_string(TRAINING).unwrap() + "plateau = 0.9\n").unwrap();
    let (status, value) = sdlab(&["train", config.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    assert_eq!((status, value["end"].as_str(), value["result"]["end"].as_str()), (0, Some("plateau"), Some("plateau")));
    Validator::new("train").check(&value);
}

#[test]
fn the_data_files_of_a_report_are_what_their_schemas_say() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _) = sdlab(&["report", "--stored", "--out", folder.path().to_str().unwrap()]);
    assert!(status != 2);
    let mut seen = 0;
    for (name, schema) in [("figures", "figure"), ("tables", "table")] {
        let validator = Validator::new(schema);
        for entry in std::fs::read_dir(folder.path().join(name)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "json") {
                validator.check(&serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap());
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
    for (name, schema) in [("verdicts.json", "verify"), ("provenance.json", "provenance")] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        Validator::new(schema).check(&serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn an_irrational_loss_is_printed_with_its_polynomial() {
    let (_, value) = sdlab(&["partial-optima", "--problem", IRRATIONAL, "--pattern", "[[0,1]]"]);
    assert!(value["optima"][0]["loss"]["poly"].is_array(), "{value:#}");
}

#[test]
fn wrong_problems_are_refused_by_schema_and_command_alike() {
    let schema = Validator::new("problem");
    let good: Value = serde_json::from_str(PAIR).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        value
    };
    let read = |value: &Value| sdlab(&["region", "--problem", &value.to_string(), "--pattern", "[[0]]"]).0 != 2;
    let right = [
        good.clone(),
        with(&|v| v["features"][0]["mass"] = json!(0.5)),
        with(&|v| v["features"][0]["mass"] = json!("1e-40")),
        with(&|v| v["features"][0]["w_p"] = json!(["-0.5", "2E+3"])),
        with(&|v| v["features"][0]["w_p"] = json!(["-06/04", 3])),
        with(&|v| v["features"][0]["w_p"] = json!(["1e-4096", "1e4096"])),
        with(&|v| v["activation"] = json!({"kind": "threshold"})),
        with(&|v| v["activation"] = json!({"kind": "threshold", "c": "-0.0"})),
        with(&|v| v["activation"] = json!({"kind": "top-k-relu", "k": 2})),
    ];
    for value in &right {
        schema.check(value);
        assert!(read(value), "the command refuses {value}");
    }
    let wrong = [
        with(&|v| v["format"] = json!(2)),
        with(&|v| v["features"] = json!([])),
        with(&|v| v["more"] = json!(1)),
        with(&|v| v["features"][0]["mass"] = json!("0")),
        with(&|v| v["features"][0]["mass"] = json!("0/7")),
        with(&|v| v["features"][0]["mass"] = json!("-1")),
        with(&|v| v["features"][0]["mass"] = json!(0)),
        with(&|v| v["features"][0]["mass"] = json!(null)),
        with(&|v| v["features"][0]["w_p"] = json!([])),
        with(&|v| v["features"][0]["w_p"] = json!(["1/0", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!(["+1", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!([".5", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!(["5.", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!(["1/2e3", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!(["1e4097", "1"])),
        with(&|v| v["features"][0]["w_p"] = json!(["", "1"])),
        with(&|v| v["activation"] = json!({"kind": "threshold", "c": "-1/2"})),
        with(&|v| v["activation"] = json!({"kind": "threshold", "k": 1})),
        with(&|v| v["activation"] = json!({"kind": "top-k"})),
        with(&|v| v["activation"] = json!({"kind": "top-k", "k": 0})),
        with(&|v| v["activation"] = json!({"kind": "relu"})),
    ];
    for value in &wrong {
        assert!(!schema.accepts(value), "the schema accepts {value}");
        assert!(!read(value), "the command accepts {value}");
    }
}

#[test]
fn wrong_patterns_and_points_are_refused_by_schema_and_command_alike() {
    let schema = Validator::new("pattern");
    for (value, good) in [
        (json!([[0, 1], []]), true),
        (json!([]), false),
        (json!([[0, 0]]), false),
        (json!([[-1]]), false),
        (json!([[0.5]]), false),
        (json!([0]), false),
        (json!([["0"]]), false),
    ] {
        assert_eq!(schema.accepts(&value), good, "{value}");
        assert_eq!(sdlab(&["region", "--problem", PAIR, "--pattern", &value.to_string()]).0 != 2, good, "{value}");
    }
    let schema = Validator::new("point");
    for (value, good) in [
        (json!({"w_e": [["1", 0]], "w_d": [["1/3", 0.25]]}), true),
        (json!({"w_e": [["1", 0]]}), false),
        (json!({"w_e": [], "w_d": []}), false),
        (json!({"w_e": [["1", "x"]], "w_d": [["1", "1"]]}), false),
        (json!({"w_e": [["1", "1"]], "w_d": [["1", "1"]], "b": []}), false),
    ] {
        assert_eq!(schema.accepts(&value), good, "{value}");
        assert_eq!(sdlab(&["loss", "--problem", PAIR, "--point", &value.to_string()]).0 != 2, good, "{value}");
    }
}

#[test]
fn every_schema_compiles_and_accepts_its_examples() {
    let folder = format!("{}/docs/schema", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let validator = Validator::new(&name);
        for example in text["examples"].as_array().into_iter().flatten() {
            validator.check(example);
        }
        seen += 1;
    }
    assert!(seen >= 12);
}
