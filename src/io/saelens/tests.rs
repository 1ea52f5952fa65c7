use super::super::tensors::{TensorFile, serialize};
use super::*;
use crate::backend::score;
use crate::sdl::{Init, Shape};
use serde_json::{Value, json};
use std::path::Path;

/// A model with all parameters that its activation allows, no two numbers of a block the same.
fn model(shape: Shape, activation: Activation, init: Init) -> Model {
    let mut model = init.model(shape, activation, 7);
    let parameters: Vec<_> = model.tensors.parameters().collect();
    for (seed, parameter) in parameters.into_iter().enumerate() {
        let block = model.tensors.get_mut(parameter).unwrap();
        block.iter_mut().enumerate().for_each(|(i, x)| *x += ((seed * 101 + i) as f32 * 0.37).sin() * 0.3);
    }
    model.threshold = matches!(activation, Activation::BatchTopK { .. }).then_some(0.125);
    model
}

const ACTIVATIONS: [Activation; 6] = [
    Activation::Relu,
    Activation::JumpRelu { theta: 0.2, bandwidth: 0.1 },
    Activation::TopK { k: 2 },
    Activation::TopKRelu { k: 2 },
    Activation::BatchTopK { k: 2 },
    Activation::Gated,
];

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(CONFIG)).unwrap()).unwrap()
}

fn biases(all: bool) -> Init {
    Init { encoder_bias: all, decoder_bias: all, input_bias: all, tied: false, ..Init::default() }
}

#[test]
fn every_model_is_read_back_bit_for_bit() {
    for activation in ACTIVATIONS {
        for (n_r, all, skip) in
            [(4, false, false), (4, true, false), (4, true, true), (5, true, false), (5, false, true)]
        {
            let shape = Shape { n_p: 4, n_r, n_q: 6 };
            let model = model(shape, activation, Init { skip, ..biases(all) });
            let folder = tempfile::tempdir().unwrap();
            let export = Export { reconstructs_its_input: n_r == 4 && !skip, sources: 2, ..Export::default() };
            let notes = write(folder.path(), &model, &export).unwrap();
            let loaded = read(folder.path()).unwrap();
            assert_eq!(loaded.model, model, "{activation:?} {shape:?}");
            assert_eq!((loaded.reconstructs_its_input, loaded.sources), (export.reconstructs_its_input, 2));
            assert_eq!(loaded.notes, notes);
        }
    }
}

#[test]
fn tensors_have_the_names_and_orders_of_saelens() {
    let shape = Shape { n_p: 4, n_r: 5, n_q: 6 };
    let model = model(shape, Activation::JumpRelu { theta: 0.2, bandwidth: 0.1 }, Init { skip: true, ..biases(true) });
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &model, &Export { reconstructs_its_input: false, ..Export::default() }).unwrap();
    let file = TensorFile::open(&folder.path().join(WEIGHTS)).unwrap();
    // SAELens refuses any other name.
    assert_eq!(file.names(), ["W_dec", "W_enc", "W_skip", "b_dec", "b_enc", "threshold"]);
    let W_enc = file.floats("W_enc", &[4, 6]).unwrap();
    let W_dec = file.floats("W_dec", &[6, 5]).unwrap();
    let (b_enc, threshold) = (file.floats("b_enc", &[6]).unwrap(), file.floats("threshold", &[6]).unwrap());
    let b_p = model.tensors.get(Parameter::InputBias).unwrap();
    for i in 0..6 {
        assert!((0..4).all(|k| W_enc[k * 6 + i] == model.w_e(i)[k]));
        assert_eq!(W_dec[i * 5..(i + 1) * 5], *model.w_d(i));
        let shift: f64 = model.w_e(i).iter().zip(b_p).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
        let b = f64::from(model.tensors.row(Parameter::EncoderBias, i)[0]) - shift;
        // One rounding of a number below 2 to 24 bits.
        assert!((f64::from(b_enc[i]) - b).abs() < 2f64.powi(-23));
        assert_eq!(threshold[i], score::exp(model.tensors.row(Parameter::LogThreshold, i)[0]));
    }
    assert_eq!(file.floats("W_skip", &[5, 4]).unwrap(), model.tensors.get(Parameter::Skip).unwrap());
    let config = config(folder.path());
    assert_eq!(config["architecture"], "jumprelu_skip_transcoder");
    assert_eq!([&config["d_in"], &config["d_sae"], &config["d_out"]].map(|d| d.as_u64().unwrap()), [4, 6, 5]);
}

#[test]
fn what_saelens_cannot_express_is_said() {
    let square = Shape { n_p: 4, n_r: 4, n_q: 6 };
    let wide = Shape { n_r: 5, ..square };
    for (shape, activation, all, architecture, says) in [
        (square, Activation::Relu, false, "standard", ""),
        (square, Activation::TopKRelu { k: 2 }, false, "topk", ""),
        (square, Activation::TopK { k: 2 }, false, "topk", "eq. 7"),
        (square, Activation::BatchTopK { k: 2 }, false, "jumprelu", ""),
        (square, Activation::Gated, true, "gated", "exact biases"),
        (wide, Activation::Relu, false, "transcoder", ""),
        (wide, Activation::TopKRelu { k: 2 }, false, "topk_transcoder", "refuses"),
        (wide, Activation::Gated, false, "gated_transcoder", "refuses"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let notes = write(folder.path(), &model(shape, activation, biases(all)), &Export::default()).unwrap();
        let config = config(folder.path());
        assert_eq!(config["architecture"], architecture);
        assert_eq!(notes.len(), usize::from(!says.is_empty()), "{notes:?}");
        assert!(notes.iter().all(|note| note.contains(says)));
        assert_eq!(config["metadata"]["sdlab"]["notes"], json!(notes));
    }
}

#[test]
fn equal_biases_are_left_to_saelens_to_subtract() {
    let mut model = model(Shape { n_p: 4, n_r: 4, n_q: 6 }, Activation::Relu, biases(true));
    let bias = model.tensors.get(Parameter::DecoderBias).unwrap().to_vec();
    model.tensors.get_mut(Parameter::InputBias).unwrap().copy_from_slice(&bias);
    let folder = tempfile::tempdir().unwrap();
    assert!(write(folder.path(), &model, &Export::default()).unwrap().is_empty());
    assert_eq!(config(folder.path())["apply_b_dec_to_input"], true);
    assert!(!folder.path().join(EXTRA).exists());
    assert_eq!(read(folder.path()).unwrap().model, model);
}

#[test]
fn folded_norms_and_further_metadata_are_written() {
    let model = model(Shape { n_p: 4, n_r: 4, n_q: 6 }, Activation::BatchTopK { k: 2 }, biases(false));
    let folder = tempfile::tempdir().unwrap();
    let metadata = json!({"hook_name": "blocks.3.hook_resid_post"});
    let export = Export { fold_decoder_norms: true, metadata, ..Export::default() };
    write(folder.path(), &model, &export).unwrap();
    let read_back = read(folder.path()).unwrap().model;
    assert_eq!(read_back, crate::sdl::folding::fold_decoder_norms(&model).unwrap());
    assert_eq!(config(folder.path())["metadata"]["hook_name"], "blocks.3.hook_resid_post");
    let topk = Model { activation: Activation::TopK { k: 1 }, ..model };
    let error = write(folder.path(), &topk, &export).unwrap_err().to_string();
    assert!(error.contains("fold_decoder_norms") && error.contains("top-k"), "{error}");
}

#[test]
fn other_weights_are_read_as_saelens_understands_them() {
    let shape = Shape { n_p: 4, n_r: 4, n_q: 6 };
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &model(shape, Activation::TopK { k: 2 }, biases(true)), &Export::default()).unwrap();
    let (W, b) = ((0..24).map(|i| i as f32).collect::<Vec<_>>(), [1.0; 6]);
    let tensors = [
        ("W_enc", vec![4, 6], W.as_slice()),
        ("W_dec", vec![6, 4], &W),
        ("b_enc", vec![6], &b),
        ("b_dec", vec![4], &b[..4]),
    ];
    std::fs::write(folder.path().join(WEIGHTS), serialize(&tensors)).unwrap();
    let loaded = read(folder.path()).unwrap();
    assert_eq!(loaded.model.activation, Activation::TopKRelu { k: 2 });
    assert_eq!(loaded.model.w_e(1), [1.0, 7.0, 13.0, 19.0]);
    assert_eq!(loaded.model.tensors.get(Parameter::InputBias), None);
}

#[test]
fn directories_of_saelens_are_read() {
    let (W, b) = ((1..25).map(|i| i as f32).collect::<Vec<_>>(), [0.5_f32; 6]);
    let open = |config: Value, more: &[(&'static str, Vec<usize>, &[f32])]| {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors =
            vec![("W_enc", vec![4, 6], W.as_slice()), ("W_dec", vec![6, 4], &W), ("b_dec", vec![4], &b[..4])];
        tensors.extend_from_slice(more);
        std::fs::write(folder.path().join(WEIGHTS), serialize(&tensors)).unwrap();
        std::fs::write(folder.path().join(CONFIG), config.to_string()).unwrap();
        read(folder.path())
    };
    let b_enc = ("b_enc", vec![6], b.as_slice());
    let only = [b_enc.clone()];
    let has = |loaded: &Loaded, p| loaded.model.tensors.get(p).is_some();

    // From before version 6: no architecture, and the bias is subtracted unless it says otherwise.
    let old = open(json!({"d_in": 4, "d_sae": 6, "activation_fn_str": "relu"}), &only).unwrap();
    assert!(old.model.activation == Activation::Relu && has(&old, Parameter::InputBias));
    let old = json!({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}});
    assert_eq!(open(old, &only).unwrap().model.activation, Activation::TopKRelu { k: 3 });

    let no_bias = json!({"architecture": "standard", "apply_b_dec_to_input": false, "normalize_activations": "none"});
    assert!(!has(&open(no_bias, &only).unwrap(), Parameter::InputBias));

    let theta = [0.5, 0.0, -1.0, 2.0, 1.0, 1.0];
    let jump = open(json!({"architecture": "jumprelu"}), &[b_enc.clone(), ("threshold", vec![6], &theta)]).unwrap();
    let log = jump.model.tensors.get(Parameter::LogThreshold).unwrap();
    assert_eq!(log[0], 0.5_f32.ln());
    assert!(score::exp(log[1]) < 1.2e-38 && log[1] == log[2], "a threshold below 0 is as good as 0");

    // A number without axes, as SAELens writes it; rows are rescaled by ‖v_i‖, here √(1 + 4 + 9 + 16) for the first.
    let batch =
        open(json!({"architecture": "batchtopk", "k": 3.0}), &[b_enc.clone(), ("topk_threshold", vec![], &[0.25])]);
    let batch = batch.unwrap().model;
    assert_eq!((batch.activation, batch.threshold), (Activation::BatchTopK { k: 3 }, Some(0.25)));
    assert!((batch.w_e(0)[0] - 30f32.sqrt()).abs() < 1e-6 && (batch.w_d(0)[1] - 2.0 / 30f32.sqrt()).abs() < 1e-6);

    for (config, names) in [
        (json!({"architecture": "temporal"}), "cfg.json: architecture: expected standard, "),
        (json!({"architecture": "topk"}), "cfg.json: k: expected an integer >= 1, found null"),
        (json!({"architecture": "topk", "k": 2.5}), "k: expected an integer >= 1, found 2.5"),
        (json!({"normalize_activations": "layer_norm"}), "normalize_activations: expected none"),
        (json!({"activation_fn": "tanh-relu"}), "activation_fn: expected relu or topk"),
        (json!({"apply_b_dec_to_input": 1}), "apply_b_dec_to_input: expected true or false"),
        (json!({"architecture": "gated"}), "b_gate: expected a tensor of this name"),
        (json!({"metadata": {"sdlab": {"format": "x"}}}), "metadata.sdlab.format: expected"),
    ] {
        let error = open(config, &only).unwrap_err().to_string();
        assert!(error.contains(names) && !error.contains('\n'), "{error}");
    }
    let error = open(json!({}), &[("b_enc", vec![6], &[0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0])]).unwrap_err().to_string();
    assert!(error.contains("encoder-bias, row 2: expected finite numbers, found NaN"), "{error}");
    let error = open(json!({}), &[("b_enc", vec![5], &b[..5])]).unwrap_err().to_string();
    assert!(error.contains("b_enc: expected the shape [6], found [5]"), "{error}");
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model =
        model(Shape { n_p: 4, n_r: 4, n_q: 6 }, Activation::JumpRelu { theta: 0.2, bandwidth: 0.1 }, biases(true));
    for name in [CONFIG, WEIGHTS, EXTRA] {
        write(folder.path(), &model, &Export::default()).unwrap();
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("cannot be read"), "{error}");
    }
}
