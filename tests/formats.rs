//! Files that other programs read: models in the layout of SAELens, beside what the reference backend reconstructs with them.
//!
//! Our models stay in `tmp/formats` of the target directory. `docs/python/test_read_run.py` and `benches/peers/saelens_roundtrip.py` read them.

#[path = "common/models.rs"]
mod models;

use boon::{Compiler, SchemaIndex, Schemas};
use models::reconstructed;
use sdlab::backend::reference::Reference;
use sdlab::io::{import, npy, saelens, write_atomic};
use sdlab::sdl::{Activation, Init, Model, Parameter, Shape};
use sdlab::train::config::Experiment;
use sdlab::train::directory::{Opening, RunDirectory};
use sdlab::train::session::{Prepared, train};
use serde_json::Value;
use std::path::{Path, PathBuf};

const SAMPLES: usize = 100;
const SQUARE: Shape = Shape { n_p: 12, n_r: 12, n_q: 40 };
const WIDE: Shape = Shape { n_p: 12, n_r: 17, n_q: 40 };

/// What a folder holds.
struct Case {
    name: &'static str,
    model: Model,
    export: saelens::Export,
}

/// A model whose blocks have no two equal numbers.
fn model(shape: Shape, activation: Activation, biases: bool, skip: bool) -> Model {
    let init =
        Init { encoder_bias: biases, decoder_bias: biases, input_bias: biases, skip, tied: false, ..Init::default() };
    let mut model = init.model(shape, activation, 11);
    let parameters: Vec<_> = model.tensors.parameters().collect();
    for (block, parameter) in parameters.into_iter().enumerate() {
        if let Some(numbers) = model.tensors.get_mut(parameter) {
            numbers.iter_mut().enumerate().for_each(|(i, x)| *x += 0.2 * ((block * 1009 + i) as f32 * 0.618).sin());
        }
    }
    model.threshold = matches!(activation, Activation::BatchTopK { .. }).then_some(0.7);
    model
}

fn cases() -> Vec<Case> {
    let (jump, gated) = (Activation::JumpRelu { theta: 0.5, bandwidth: 0.1 }, Activation::Gated);
    let (top, top_relu, batch) =
        (Activation::TopK { k: 5 }, Activation::TopKRelu { k: 5 }, Activation::BatchTopK { k: 5 });
    let case = |name, shape: Shape, activation, biases, skip| Case {
        name,
        model: model(shape, activation, biases, skip),
        export: saelens::Export {
            reconstructs_its_input: shape.n_p == shape.n_r && !skip,
            ..saelens::Export::default()
        },
    };
    let mut cases = vec![
        case("relu", SQUARE, Activation::Relu, false, false),
        case("relu-biases", SQUARE, Activation::Relu, true, false),
        case("jumprelu-biases", SQUARE, jump, true, false),
        case("topk", SQUARE, top, false, false),
        case("topk-relu-biases", SQUARE, top_relu, true, false),
        case("batchtopk", SQUARE, batch, false, false),
        case("gated-biases", SQUARE, gated, true, false),
        case("relu-transcoder", WIDE, Activation::Relu, true, false),
        case("jumprelu-transcoder", WIDE, jump, true, false),
        case("relu-skip-transcoder", WIDE, Activation::Relu, true, true),
        case("jumprelu-skip-transcoder", WIDE, jump, false, true),
        case("topk-relu-transcoder", WIDE, top_relu, false, false),
        case("batchtopk-folded", SQUARE, batch, true, false),
        case("gated-folded", SQUARE, gated, false, false),
        case("relu-one-bias", SQUARE, Activation::Relu, true, false),
    ];
    for case in &mut cases {
        case.export.fold_decoder_norms = case.name.ends_with("folded");
        if case.name == "relu-one-bias" {
            let bias = case.model.tensors.get(Parameter::DecoderBias).unwrap().to_vec();
            case.model.tensors.get_mut(Parameter::InputBias).unwrap().copy_from_slice(&bias);
        }
    }
    cases
}

/// Rows of numbers between −2 and 2.
fn samples(columns: usize) -> Vec<f32> {
    (0..SAMPLES * columns).map(|i| 2.0 * (i as f32 * 1.618).sin()).collect()
}

/// A schema of `docs/schema`, or a part of one.
struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    fn new(name: &str) -> Self {
        let path = format!("{}/docs/schema/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut schemas = Schemas::new();
        let index = Compiler::new().compile(&path, &mut schemas).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { schemas, index }
    }

    fn check(&self, value: &Value) {
        if let Err(error) = self.schemas.validate(value, self.index) {
            panic!("{error}\nin {value:#}");
        }
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn write_npy(path: &Path, columns: usize, numbers: &[f32]) {
    let mut bytes = npy::header(&[SAMPLES as u64, columns as u64]);
    bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
    write_atomic(path, &bytes).unwrap();
}

#[test]
fn models_are_read_back_and_reconstruct_the_same() {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("formats");
    let schema = Schema::new("model.json");
    for case in cases() {
        let folder = root.join(case.name);
        saelens::write(&folder, &case.model, &case.export).unwrap();
        schema.check(&json(&folder.join(saelens::CONFIG)));
        let loaded = import::open(&folder).unwrap();
        if !case.export.fold_decoder_norms {
            assert_eq!(loaded.model, case.model, "{}", case.name);
        }
        let Shape { n_p, n_r, n_q } = case.model.shape();
        let inputs = samples(n_p);
        let (reconstruction, codes) = reconstructed(&loaded.model, &inputs);
        let (before, _) = reconstructed(&case.model, &inputs);
        // Folding rounds numbers below 4 to 24 bits; sums have 40 terms below 8. A code that crossed its threshold would differ by 0.5.
        assert!(reconstruction.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-3), "{}", case.name);
        let active = codes.iter().filter(|z| **z != 0.0).count();
        assert!(active > SAMPLES && active < SAMPLES * n_q, "{}: {active} active codes tell nothing", case.name);
        write_npy(&folder.join("x.npy"), n_p, &inputs);
        write_npy(&folder.join("codes.npy"), n_q, &codes);
        write_npy(&folder.join("reconstruction.npy"), n_r, &reconstruction);
    }
}

#[test]
fn the_files_of_a_run_are_what_their_schemas_say() {
    let text =
        "[bench]\nn = 6\nn_p = 4\ninterference = 0.9\nsamples = 40\n[model]\nlatents = 9\nactivation.kind = \"top-k\"
activation.k = 2\n[train]\nbatch = 10\nsteps = 3";
    let prepared = Prepared::new(Experiment::from_toml(text).unwrap().check().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (mut directory, _) = RunDirectory::open(&run, &prepared.checked, &prepared.plan, Opening::New).unwrap();
    let reference = Reference::new(prepared.plan.spec.clone());
    train(&prepared, &reference, &mut directory, None, None, &mut ()).unwrap();
    for (file, schema) in [
        ("cfg.json", "model.json"),
        ("provenance.json", "run-provenance.json"),
        ("result.json", "train.json#/$defs/result"),
    ] {
        Schema::new(schema).check(&json(&run.join(file)));
    }
    let records = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let record = Schema::new("train.json#/$defs/record");
    assert!(!records.is_empty());
    records.lines().for_each(|line| record.check(&serde_json::from_str(line).unwrap()));
}
