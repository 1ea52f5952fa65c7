//! Reading a model in the layout of SAELens, of ours or of its own.

use super::super::tensors::TensorFile;
use super::super::{FileError, hexadecimal, map::Mapped};
use super::{CONFIG, EXTRA, Loaded, Own, WEIGHTS, parameter, transposed};
use crate::sdl::{Activation, Model, Parameter, Shape, Tensors};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Reads the model of a directory with `cfg.json` and `sae_weights.safetensors`.
///
/// # Errors
/// A file is missing or damaged, shapes disagree, a number is not finite, or the model has something that there is no word for here.
pub fn read(folder: &Path) -> Result<Loaded, FileError> {
    let config = Config::open(&folder.join(CONFIG))?;
    let weights = folder.join(WEIGHTS);
    let file = TensorFile::open(&weights)?;
    if let Some(own) = config.value.pointer("/metadata/sdlab") {
        let own: Own = serde_path_to_error::deserialize(own).map_err(|error| {
            let field = format!("metadata.sdlab.{}", error.path());
            FileError::content(&config.path, &field, "what this version of sdlab writes", error.inner().to_string())
        })?;
        if own.format != 1 {
            return Err(config.wrong("metadata.sdlab.format", "1", own.format.to_string()));
        }
        if own.weights_sha256 == hexadecimal(&Sha256::digest(&*Mapped::open(&weights)?)) {
            return read_own(folder, &config, &file, own);
        }
    }
    read_foreign(&config, &file)
}

/// `cfg.json`, with the checks that a field needs.
struct Config {
    path: PathBuf,
    value: Value,
}

impl Config {
    fn open(path: &Path) -> Result<Self, FileError> {
        let file = Mapped::open(path)?;
        let value: Value = serde_json::from_slice(&file)
            .map_err(|error| FileError::content(path, "text", "JSON", error.to_string()))?;
        Ok(Self { path: path.to_owned(), value })
    }

    fn wrong(&self, field: &str, expected: &str, found: impl Into<String>) -> FileError {
        FileError::content(&self.path, field, expected, found)
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, FileError> {
        match &self.value[field] {
            Value::Null => Ok(default),
            Value::Bool(flag) => Ok(*flag),
            other => Err(self.wrong(field, "true or false", other.to_string())),
        }
    }

    /// k, which SAELens writes as 64 or as 64.0.
    fn k(&self) -> Result<usize, FileError> {
        let found = match &self.value["k"] {
            Value::Null => &self.value["activation_fn_kwargs"]["k"],
            k => k,
        };
        match found.as_f64() {
            Some(k) if (1.0..=1e9).contains(&k) && k.fract() == 0.0 => Ok(k as usize),
            _ => Err(self.wrong("k", "an integer >= 1", found.to_string())),
        }
    }
}

/// Sizes, from the two matrices.
fn shape(file: &TensorFile) -> Result<Shape, FileError> {
    let matrix = |name: &str| {
        let array = file.array(name)?;
        match *array.shape() {
            [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
            _ => Err(array.wrong("a matrix with rows and columns", format!("the shape {:?}", array.shape()))),
        }
    };
    let (n_p, n_q) = matrix("W_enc")?;
    let (latents, n_r) = matrix("W_dec")?;
    if latents != n_q {
        let expected = format!("{n_q} rows, one for each column of W_enc");
        return Err(FileError::content(file.path(), "W_dec", expected, latents.to_string()));
    }
    Ok(Shape { n_p, n_r, n_q })
}

/// The numbers of a parameter, under the name and in the order of SAELens.
fn block(file: &TensorFile, shape: Shape, p: Parameter, gated: bool) -> Result<Vec<f32>, FileError> {
    let Shape { n_p, n_r, n_q } = shape;
    match p {
        Parameter::Encoder => Ok(transposed(n_p, n_q, &file.floats("W_enc", &[n_p, n_q])?)),
        Parameter::Decoder => file.floats("W_dec", &[n_q, n_r]),
        Parameter::EncoderBias if gated => file.floats("b_gate", &[n_q]),
        Parameter::EncoderBias => file.floats("b_enc", &[n_q]),
        // Where it is not in a file of its own, the input bias is that of the decoder.
        Parameter::DecoderBias | Parameter::InputBias => file.floats("b_dec", &[n_r]),
        Parameter::LogThreshold => Ok(file.floats("threshold", &[n_q])?.into_iter().map(log_threshold).collect()),
        Parameter::GateScale => file.floats("r_mag", &[n_q]),
        Parameter::MagnitudeBias => file.floats("b_mag", &[n_q]),
        Parameter::Skip => file.floats("W_skip", &[n_r, n_p]),
    }
}

/// log θ. A threshold of 0 or less lets all positive numbers pass, as the least positive one does.
pub(in crate::io) fn log_threshold(theta: f32) -> f32 {
    f64::from(theta.max(f32::MIN_POSITIVE)).ln() as f32
}

/// A model of these blocks.
pub(in crate::io) fn assembled(
    path: &Path,
    shape: Shape,
    activation: Activation,
    threshold: Option<f32>,
    blocks: Vec<(Parameter, Vec<f32>)>,
) -> Result<Model, FileError> {
    let mut tensors = Tensors::zeros(shape, blocks.iter().map(|(p, _)| *p));
    for (p, numbers) in blocks {
        let (rows, columns) = p.size(shape);
        if numbers.len() != rows * columns {
            let expected = format!("{} numbers", rows * columns);
            return Err(FileError::content(path, p.name(), expected, numbers.len().to_string()));
        }
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            let field = format!("{}, row {}", p.name(), at / columns);
            return Err(FileError::content(path, &field, "finite numbers", numbers[at].to_string()));
        }
        if let Some(to) = tensors.get_mut(p) {
            to.copy_from_slice(&numbers);
        }
    }
    Ok(Model { activation, tensors, threshold })
}

/// A model that sdlab has written.
fn read_own(folder: &Path, config: &Config, file: &TensorFile, own: Own) -> Result<Loaded, FileError> {
    let shape = shape(file)?;
    let extra = if own.exact.is_empty() { None } else { Some(TensorFile::open(&folder.join(EXTRA))?) };
    let gated = matches!(own.activation, Activation::Gated);
    let mut blocks = Vec::new();
    for name in &own.parameters {
        let Some(p) = parameter(name) else {
            return Err(config.wrong("metadata.sdlab.parameters", "names of parameters", name.as_str()));
        };
        let (rows, columns) = p.size(shape);
        let numbers = match &extra {
            Some(extra) if own.exact.contains(name) => extra.floats(name, &[rows * columns])?,
            _ => block(file, shape, p, gated)?,
        };
        blocks.push((p, numbers));
    }
    for needed in [Parameter::Encoder, Parameter::Decoder] {
        if !blocks.iter().any(|(p, _)| *p == needed) {
            return Err(config.wrong("metadata.sdlab.parameters", needed.name(), "a list without it"));
        }
    }
    let model = assembled(file.path(), shape, own.activation, own.threshold, blocks)?;
    let Own { reconstructs_its_input, sources, notes, .. } = own;
    Ok(Loaded { model, reconstructs_its_input, sources, notes })
}

/// A model that SAELens has written.
fn read_foreign(config: &Config, file: &TensorFile) -> Result<Loaded, FileError> {
    let shape = shape(file)?;
    match &config.value["normalize_activations"] {
        Value::Null | Value::Bool(false) => {}
        Value::String(none) if none == "none" => {}
        other => {
            let fix = "none: fold it into the weights in SAELens first (fold_activation_norm_scaling_factor)";
            return Err(config.wrong("normalize_activations", fix, other.to_string()));
        }
    }
    if file.has("scaling_factor") && file.array("scaling_factor")?.to_f32().iter().any(|x| *x != 1.0) {
        return Err(FileError::content(file.path(), "scaling_factor", "only ones, or no such tensor", "other numbers"));
    }
    let mut parameters = vec![Parameter::Encoder, Parameter::Decoder, Parameter::EncoderBias, Parameter::DecoderBias];
    let mut threshold = None;
    let architecture = config.value["architecture"].as_str().unwrap_or("standard");
    let activation = match architecture {
        "standard" | "transcoder" | "skip_transcoder" => match relu_or_topk(config)? {
            true => Activation::TopKRelu { k: config.k()? },
            false => Activation::Relu,
        },
        "topk" => Activation::TopKRelu { k: config.k()? },
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => {
            parameters.push(Parameter::LogThreshold);
            let theta = file.floats("threshold", &[shape.n_q])?;
            let theta = f64::from(theta.iter().fold(f32::MIN_POSITIVE, |largest, theta| largest.max(*theta)));
            // What training would need; only log θ of each latent counts afterwards.
            Activation::JumpRelu { theta, bandwidth: theta }
        }
        "batchtopk" | "matryoshka_batchtopk" => {
            threshold = file.array("topk_threshold")?.to_f32().first().copied();
            Activation::BatchTopK { k: config.k()? }
        }
        "gated" => {
            parameters.extend([Parameter::GateScale, Parameter::MagnitudeBias]);
            Activation::Gated
        }
        other => {
            let expected = "standard, topk, batchtopk, jumprelu, gated or a transcoder";
            return Err(config.wrong("architecture", expected, other));
        }
    };
    let transcoder = architecture.ends_with("transcoder");
    if architecture.contains("skip") {
        parameters.push(Parameter::Skip);
    }
    if !transcoder && config.flag("apply_b_dec_to_input", true)? {
        parameters.push(Parameter::InputBias);
    }
    if !transcoder && shape.n_p != shape.n_r {
        let expected = format!("{} columns, as there are rows of W_enc", shape.n_p);
        return Err(FileError::content(file.path(), "W_dec", expected, shape.n_r.to_string()));
    }
    let gated = activation == Activation::Gated;
    let mut blocks = Vec::new();
    for p in parameters {
        blocks.push((p, block(file, shape, p, gated)?));
    }
    let mut model = assembled(file.path(), shape, activation, threshold, blocks)?;
    let mut notes = Vec::new();
    if activation.k().is_some() && config.flag("rescale_acts_by_decoder_norm", architecture.contains("batchtopk"))? {
        rescale_by_decoder_norm(&mut model);
        notes.push("Decoder norms were moved into the encoder, as rescale_acts_by_decoder_norm means.".to_owned());
    }
    Ok(Loaded { model, reconstructs_its_input: !transcoder, sources: 1, notes })
}

/// True if a directory from before SAELens 6 has the TopK activation, false for ReLU.
fn relu_or_topk(config: &Config) -> Result<bool, FileError> {
    for field in ["activation_fn", "activation_fn_str"] {
        match config.value[field].as_str() {
            None | Some("relu") => {}
            Some("topk") => return Ok(true),
            Some(other) => return Err(config.wrong(field, "relu or topk", other)),
        }
    }
    Ok(false)
}

/// Selection by π_i‖v_i‖ and decoding by v_i/‖v_i‖ is what rescaled rows and biases of the encoder and unit columns do.
fn rescale_by_decoder_norm(model: &mut Model) {
    for i in 0..model.shape().n_q {
        let norm = model.w_d(i).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        for (p, factor) in
            [(Parameter::Encoder, norm), (Parameter::EncoderBias, norm), (Parameter::Decoder, 1.0 / norm)]
        {
            if norm > 0.0 && model.tensors.get(p).is_some() {
                model.tensors.row_mut(p, i).iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
            }
        }
    }
}
