//! Models of other trainers, told apart by the files and tensors that they write.
//!
//! | trainer | files | classes |
//! |---|---|---|
//! | sdlab, SAELens | `cfg.json`, `sae_weights.safetensors` | see [`saelens`] |
//! | sparsify | `cfg.json`, `sae.safetensors` | `SparseCoder` with `topk`, transcoding and skip connection |
//! | dictionary_learning | `config.json`, `ae.safetensors` | `AutoEncoder`, `AutoEncoderNew`, `GatedAutoEncoder`, `JumpReluAutoEncoder`, `AutoEncoderTopK`, `BatchTopKSAE`, `MatryoshkaBatchTopKSAE` |
//!
//! dictionary_learning saves `ae.pt`, which is pickled Python and not read. Its tensors are saved under the same names by
//! `save_file(torch.load("ae.pt", map_location="cpu"), "ae.safetensors")` with `save_file` of `safetensors.torch`.

use super::FileError;
use super::array::Array;
use super::map::Mapped;
use super::saelens::{self, Loaded, assembled, log_threshold, transposed};
use super::tensors::TensorFile;
use crate::sdl::{Activation, Parameter, Shape};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Reads the model in a folder, whichever of these trainers has written it.
///
/// # Errors
/// There is no model in the folder, a file is damaged, or the model has something that there is no word for here.
pub fn open(folder: &Path) -> Result<Loaded, FileError> {
    let has = |name: &str| folder.join(name).is_file();
    if has(saelens::WEIGHTS) {
        saelens::read(folder)
    } else if has("sae.safetensors") {
        sparsify(folder)
    } else if has("ae.safetensors") {
        dictionary_learning(folder)
    } else if has("ae.pt") {
        let fix = "save_file(torch.load(\"ae.pt\", map_location=\"cpu\"), \"ae.safetensors\") in Python, from safetensors.torch";
        let expected = format!("ae.safetensors, which is made by {fix}");
        Err(FileError::content(folder, "files", expected, "ae.pt, which is pickled Python and is not read"))
    } else {
        let own = format!("{} with {} (sdlab, SAELens)", saelens::WEIGHTS, saelens::CONFIG);
        let others =
            "sae.safetensors with cfg.json (sparsify) or ae.safetensors with config.json (dictionary_learning)";
        let expected = format!("a model: {own}, {others}");
        let found = if folder.is_dir() { "none of them" } else { "no such folder" };
        Err(FileError::content(folder, "files", expected, found))
    }
}

/// A model that is being put together from a file.
struct Source {
    file: TensorFile,
    config: Value,
    config_path: PathBuf,
}

impl Source {
    fn open(folder: &Path, weights: &str, config: &str) -> Result<Self, FileError> {
        let config_path = folder.join(config);
        let text = Mapped::open(&config_path)?;
        let config = serde_json::from_slice(&text)
            .map_err(|error| FileError::content(&config_path, "text", "JSON", error.to_string()))?;
        Ok(Self { file: TensorFile::open(&folder.join(weights))?, config, config_path })
    }

    fn wrong(&self, field: &str, expected: &str, found: &Value) -> FileError {
        FileError::content(&self.config_path, field, expected, found.to_string())
    }

    /// Rows and columns of a matrix.
    fn matrix(&self, name: &str) -> Result<(usize, usize), FileError> {
        let array = self.file.array(name)?;
        match *array.shape() {
            [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
            _ => Err(array.wrong("a matrix with rows and columns", format!("the shape {:?}", array.shape()))),
        }
    }

    /// The only number of a tensor.
    fn scalar(&self, name: &str) -> Result<(Array, f32), FileError> {
        let array = self.file.array(name)?;
        match array.to_f32().as_slice() {
            &[x] => Ok((array, x)),
            numbers => Err(array.wrong("one number", numbers.len().to_string())),
        }
    }

    /// k of a top-k, from the tensor that holds it.
    fn k(&self) -> Result<usize, FileError> {
        let (array, _) = self.scalar("k")?;
        let k = array.integer(0);
        usize::try_from(k).ok().filter(|k| *k > 0).ok_or_else(|| array.wrong("an integer >= 1", k.to_string()))
    }

    /// θ of a BatchTopK; it is −1 before training.
    fn threshold(&self) -> Result<Option<f32>, FileError> {
        Ok(Some(self.scalar("threshold")?.1).filter(|theta| *theta >= 0.0))
    }
}

/// `SparseCoder` of sparsify: ReLU, then the k largest; the decoder bias is subtracted from the input unless it transcodes.
fn sparsify(folder: &Path) -> Result<Loaded, FileError> {
    let source = Source::open(folder, "sae.safetensors", "cfg.json")?;
    let config = &source.config;
    match &config["activation"] {
        Value::Null => {}
        Value::String(name) if name == "topk" => {}
        other => return Err(source.wrong("activation", "topk", other)),
    }
    let k = match config["k"].as_u64().and_then(|k| usize::try_from(k).ok()).filter(|k| *k > 0) {
        Some(k) => k,
        None => return Err(source.wrong("k", "an integer >= 1", &config["k"])),
    };
    let transcode = match &config["transcode"] {
        Value::Null => false,
        Value::Bool(transcode) => *transcode,
        other => return Err(source.wrong("transcode", "true or false", other)),
    };
    let (n_q, n_p) = source.matrix("encoder.weight")?;
    let n_r = source.matrix("W_dec")?.1;
    let shape = Shape { n_p, n_r, n_q };
    let file = &source.file;
    let bias = file.floats("b_dec", &[n_r])?;
    let mut blocks = vec![
        (Parameter::Encoder, file.floats("encoder.weight", &[n_q, n_p])?),
        (Parameter::Decoder, file.floats("W_dec", &[n_q, n_r])?),
        (Parameter::EncoderBias, file.floats("encoder.bias", &[n_q])?),
    ];
    if !transcode {
        blocks.push((Parameter::InputBias, bias.clone()));
    }
    blocks.push((Parameter::DecoderBias, bias));
    if file.has("W_skip") {
        blocks.push((Parameter::Skip, file.floats("W_skip", &[n_r, n_p])?));
    }
    let model = assembled(file.path(), shape, Activation::TopKRelu { k }, None, blocks)?;
    Ok(Loaded { model, reconstructs_its_input: !transcode, sources: 1, notes: Vec::new() })
}

/// A class of dictionary_learning. Linear layers hold one row per output, single parameters the transpose of that.
fn dictionary_learning(folder: &Path) -> Result<Loaded, FileError> {
    let source = Source::open(folder, "ae.safetensors", "config.json")?;
    let (file, field) = (&source.file, "trainer.dict_class");
    let class = source.config["trainer"]["dict_class"].as_str().unwrap_or_default();
    let linear = file.has("encoder.weight");
    let (n_p, n_q) = if linear {
        let (n_q, n_p) = source.matrix("encoder.weight")?;
        (n_p, n_q)
    } else {
        source.matrix("W_enc")?
    };
    let shape = Shape { n_p, n_r: n_p, n_q };
    let mut blocks = if linear {
        let decoder = file.floats("decoder.weight", &[n_p, n_q])?;
        vec![
            (Parameter::Encoder, file.floats("encoder.weight", &[n_q, n_p])?),
            (Parameter::Decoder, transposed(n_p, n_q, &decoder)),
        ]
    } else {
        vec![
            (Parameter::Encoder, transposed(n_p, n_q, &file.floats("W_enc", &[n_p, n_q])?)),
            (Parameter::Decoder, file.floats("W_dec", &[n_q, n_p])?),
        ]
    };
    let mut threshold = None;
    let mut notes = Vec::new();
    // (name of the encoder's bias, name of the decoder's bias, whether that is subtracted from the input)
    let (activation, encoder_bias, decoder_bias, subtracted) = match class {
        "AutoEncoder" => (Activation::Relu, "encoder.bias", "bias", true),
        "AutoEncoderNew" => (Activation::Relu, "encoder.bias", "decoder.bias", false),
        "GatedAutoEncoder" => (Activation::Gated, "gate_bias", "decoder_bias", true),
        "JumpReluAutoEncoder" => {
            let theta = file.floats("threshold", &[n_q])?;
            let largest = f64::from(theta.iter().fold(f32::MIN_POSITIVE, |largest, theta| largest.max(*theta)));
            blocks.push((Parameter::LogThreshold, theta.into_iter().map(log_threshold).collect()));
            (Activation::JumpRelu { theta: largest, bandwidth: largest }, "b_enc", "b_dec", false)
        }
        "AutoEncoderTopK" => (Activation::TopKRelu { k: source.k()? }, "encoder.bias", "b_dec", true),
        "BatchTopKSAE" => {
            threshold = source.threshold()?;
            (Activation::BatchTopK { k: source.k()? }, "encoder.bias", "b_dec", true)
        }
        "MatryoshkaBatchTopKSAE" => {
            threshold = source.threshold()?;
            let sizes = file.array("group_sizes")?.to_f32();
            notes.push(format!("It was trained with nested groups of {sizes:?} latents."));
            (Activation::BatchTopK { k: source.k()? }, "b_enc", "b_dec", true)
        }
        _ => {
            let expected = "AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder, AutoEncoderTopK, BatchTopKSAE or MatryoshkaBatchTopKSAE";
            return Err(source.wrong(field, expected, &source.config["trainer"]["dict_class"]));
        }
    };
    if activation == Activation::Gated {
        blocks.push((Parameter::GateScale, file.floats("r_mag", &[n_q])?));
        blocks.push((Parameter::MagnitudeBias, file.floats("mag_bias", &[n_q])?));
    }
    blocks.push((Parameter::EncoderBias, file.floats(encoder_bias, &[n_q])?));
    let bias = file.floats(decoder_bias, &[n_p])?;
    if subtracted {
        blocks.push((Parameter::InputBias, bias.clone()));
    }
    blocks.push((Parameter::DecoderBias, bias));
    let model = assembled(file.path(), shape, activation, threshold, blocks)?;
    Ok(Loaded { model, reconstructs_its_input: true, sources: 1, notes })
}

#[cfg(test)]
mod tests {
    use super::super::tensors::serialize;
    use super::*;
    use safetensors::tensor::{Dtype, TensorView};

    /// d = 2, three latents: rows of W_E and columns of W_D, latent by latent.
    const ENCODER: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    const DECODER: [f32; 6] = [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0];
    /// The same as matrices of two rows.
    const ENCODER_T: [f32; 6] = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    const DECODER_T: [f32; 6] = [-1.0, -3.0, -5.0, -2.0, -4.0, -6.0];
    const B_E: [f32; 3] = [0.1, 0.2, 0.3];
    const B_D: [f32; 2] = [0.7, 0.9];

    fn folder(config: (&str, &str), weights: (&str, Vec<u8>)) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(config.0), config.1).unwrap();
        std::fs::write(folder.path().join(weights.0), weights.1).unwrap();
        folder
    }

    fn check(loaded: &Loaded, activation: Activation, input_bias: bool) {
        let tensors = &loaded.model.tensors;
        assert_eq!(loaded.model.activation, activation);
        assert_eq!(tensors.shape(), Shape { n_p: 2, n_r: 2, n_q: 3 });
        assert_eq!(tensors.get(Parameter::Encoder), Some(ENCODER.as_slice()));
        assert_eq!(tensors.get(Parameter::Decoder), Some(DECODER.as_slice()));
        assert_eq!(tensors.get(Parameter::EncoderBias), Some(B_E.as_slice()));
        assert_eq!(tensors.get(Parameter::DecoderBias), Some(B_D.as_slice()));
        assert_eq!(tensors.get(Parameter::InputBias), input_bias.then_some(B_D.as_slice()));
    }

    #[test]
    fn a_sparse_coder_of_sparsify_is_read_with_its_skip_connection() {
        let config = r#"{"activation": "topk", "k": 2, "d_in": 2, "num_latents": 3, "transcode": TRANSCODE}"#;
        let skip = [1.0, 2.0, 3.0, 4.0];
        let mut tensors = vec![
            ("encoder.weight", vec![3, 2], ENCODER.as_slice()),
            ("encoder.bias", vec![3], &B_E),
            ("W_dec", vec![3, 2], &DECODER),
            ("b_dec", vec![2], &B_D),
        ];
        let open = |transcode: &str, tensors: &[_]| {
            let config = config.replace("TRANSCODE", transcode);
            super::open(folder(("cfg.json", &config), ("sae.safetensors", serialize(tensors))).path())
        };
        let loaded = open("false", &tensors).unwrap();
        check(&loaded, Activation::TopKRelu { k: 2 }, true);
        assert!(loaded.reconstructs_its_input);
        tensors.push(("W_skip", vec![2, 2], &skip));
        let loaded = open("true", &tensors).unwrap();
        check(&loaded, Activation::TopKRelu { k: 2 }, false);
        assert_eq!(loaded.model.tensors.get(Parameter::Skip), Some(skip.as_slice()));
        assert!(!loaded.reconstructs_its_input);
        let error = open("1", &tensors).unwrap_err().to_string();
        assert!(error.contains("cfg.json: transcode: expected true or false"), "{error}");
        tensors.remove(0);
        let error = open("true", &tensors).unwrap_err().to_string();
        assert!(error.contains("encoder.weight: expected a tensor of this name"), "{error}");
    }

    #[test]
    fn every_class_of_dictionary_learning_is_read() {
        let linear = [("encoder.weight", vec![3, 2], ENCODER.as_slice()), ("decoder.weight", vec![2, 3], &DECODER_T)];
        let single = [("W_enc", vec![2, 3], ENCODER_T.as_slice()), ("W_dec", vec![3, 2], &DECODER)];
        let (theta, r, m) = ([0.5, 2.0, 0.0], [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]);
        let jump = Activation::JumpRelu { theta: 2.0, bandwidth: 2.0 };
        let classes = [
            ("AutoEncoder", &linear, vec![("encoder.bias", B_E.as_slice()), ("bias", &B_D)], Activation::Relu, true),
            ("AutoEncoderNew", &linear, vec![("encoder.bias", &B_E), ("decoder.bias", &B_D)], Activation::Relu, false),
            (
                "AutoEncoderTopK",
                &linear,
                vec![("encoder.bias", &B_E), ("b_dec", &B_D)],
                Activation::TopKRelu { k: 2 },
                true,
            ),
            (
                "BatchTopKSAE",
                &linear,
                vec![("encoder.bias", &B_E), ("b_dec", &B_D)],
                Activation::BatchTopK { k: 2 },
                true,
            ),
            (
                "JumpReluAutoEncoder",
                &single,
                vec![("b_enc", &B_E), ("b_dec", &B_D), ("threshold", &theta)],
                jump,
                false,
            ),
            (
                "MatryoshkaBatchTopKSAE",
                &single,
                vec![("b_enc", &B_E), ("b_dec", &B_D)],
                Activation::BatchTopK { k: 2 },
                true,
            ),
            (
                "GatedAutoEncoder",
                &linear,
                vec![("gate_bias", &B_E), ("decoder_bias", &B_D), ("r_mag", &r), ("mag_bias", &m)],
                Activation::Gated,
                true,
            ),
        ];
        for (class, matrices, vectors, activation, input_bias) in classes {
            let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let mut named: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
            for (name, shape, x) in matrices {
                named.push((name, Dtype::F32, shape.clone(), bytes(x)));
            }
            for (name, x) in vectors {
                named.push((name, Dtype::F32, vec![x.len()], bytes(x)));
            }
            if activation.k().is_some() {
                named.push(("k", Dtype::I32, vec![], 2_i32.to_le_bytes().to_vec()));
                named.push(("threshold", Dtype::F32, vec![], 0.25_f32.to_le_bytes().to_vec()));
            }
            if class.starts_with("Matryoshka") {
                named.push((
                    "group_sizes",
                    Dtype::I64,
                    vec![2],
                    [1_i64, 2].iter().flat_map(|x| x.to_le_bytes()).collect(),
                ));
            }
            let views = named.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap()));
            let weights = safetensors::serialize(views, None).unwrap();
            let config = format!(r#"{{"trainer": {{"dict_class": "{class}", "k": 2}}}}"#);
            let loaded = open(folder(("config.json", &config), ("ae.safetensors", weights)).path()).unwrap();
            check(&loaded, activation, input_bias);
            assert_eq!(loaded.model.threshold, matches!(activation, Activation::BatchTopK { .. }).then_some(0.25));
            match activation {
                Activation::JumpRelu { .. } => {
                    let log = loaded.model.tensors.get(Parameter::LogThreshold).unwrap();
                    // A logarithm below 128 is rounded to 24 bits; a threshold of 0 becomes the least positive number.
                    assert!(log.iter().zip([0.5_f32, 2.0, f32::MIN_POSITIVE]).all(|(l, t)| (l - t.ln()).abs() < 1e-5));
                }
                Activation::Gated => {
                    assert_eq!(loaded.model.tensors.get(Parameter::GateScale), Some(r.as_slice()));
                    assert_eq!(loaded.model.tensors.get(Parameter::MagnitudeBias), Some(m.as_slice()));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_folder_without_a_readable_model_says_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = open(empty.path()).unwrap_err().to_string();
        assert!(error.contains("ae.safetensors with config.json (dictionary_learning), found none of them"), "{error}");
        std::fs::write(empty.path().join("ae.pt"), b"PK").unwrap();
        let error = open(empty.path()).unwrap_err().to_string();
        assert!(error.contains("save_file(torch.load"), "{error}");
        let error = open(&empty.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("no such folder"), "{error}");
        let weights =
            serialize(&[("encoder.weight", vec![3, 2], &ENCODER), ("decoder.weight", vec![2, 3], &DECODER_T)]);
        let unknown = folder(("config.json", r#"{"trainer": {"dict_class": "X"}}"#), ("ae.safetensors", weights));
        let error = open(unknown.path()).unwrap_err().to_string();
        assert!(error.contains("trainer.dict_class: expected AutoEncoder, "), "{error}");
    }
}
