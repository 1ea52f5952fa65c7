//! Writing a model for SAELens.

use super::super::{FileError, hexadecimal, tensors, write_atomic};
use super::{CONFIG, EXTRA, Own, WEIGHTS, encoded, transposed};
use crate::backend::score;
use crate::sdl::folding::fold_decoder_norms;
use crate::sdl::{Activation, Model, Parameter, Shape};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How a model is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// x_r is x_p; false for a transcoder.
    pub reconstructs_its_input: bool,
    /// Sources of a crosscoder, which are stacked in one row; else 1.
    pub sources: usize,
    /// Move the norms of decoder columns into the encoder first. The model that is read back is then the folded one.
    pub fold_decoder_norms: bool,
    /// Further entries of `metadata` in `cfg.json`, such as `model_name` and `hook_name`: an object, or null.
    pub metadata: Value,
}

impl Default for Export {
    fn default() -> Self {
        Self { reconstructs_its_input: true, sources: 1, fold_decoder_norms: false, metadata: Value::Null }
    }
}

/// A tensor of the file of weights.
type Named = (&'static str, Vec<usize>, Vec<f32>);

/// Writes the files of a model and returns what SAELens cannot express of it, in sentences for a person.
///
/// # Errors
/// A file cannot be written, or norms are to be moved that cannot be.
pub fn write(folder: &Path, model: &Model, export: &Export) -> Result<Vec<String>, FileError> {
    let folded = if export.fold_decoder_norms {
        let refused = |error: crate::sdl::folding::FoldError| {
            FileError::content(
                folder,
                "fold_decoder_norms",
                "norms that can be moved into the encoder",
                error.to_string(),
            )
        };
        Some(fold_decoder_norms(model).map_err(refused)?)
    } else {
        None
    };
    let model = folded.as_ref().unwrap_or(model);
    let form = Form::of(model, export);
    let named = form.tensors(model);
    let views: Vec<_> = named.iter().map(|(name, shape, x)| (*name, shape.clone(), x.as_slice())).collect();
    let weights = tensors::serialize(&views);
    let own = Own {
        format: 1,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        activation: model.activation,
        threshold: model.threshold,
        parameters: model.tensors.parameters().map(|p| p.name().to_owned()).collect(),
        exact: form.exact.iter().map(|p| p.name().to_owned()).collect(),
        reconstructs_its_input: export.reconstructs_its_input,
        sources: export.sources,
        notes: form.notes.clone(),
        weights_sha256: hexadecimal(&Sha256::digest(&weights)),
    };
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_atomic(&path, bytes).map_err(|error| FileError::write(&path, error))
    };
    let extra = folder.join(EXTRA);
    if form.exact.is_empty() {
        match std::fs::remove_file(&extra) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(FileError::write(&extra, error)),
            _ => {}
        }
    } else {
        let block = |p: &Parameter| model.tensors.get(*p).unwrap_or_default();
        let views: Vec<_> = form.exact.iter().map(|p| (p.name(), vec![block(p).len()], block(p))).collect();
        put(EXTRA, &tensors::serialize(&views))?;
    }
    put(WEIGHTS, &weights)?;
    // Last, since it names the weights that it describes.
    let text = serde_json::to_string_pretty(&form.config(model, export, &own)).expect("plain data always serialises");
    put(CONFIG, format!("{text}\n").as_bytes())?;
    Ok(form.notes)
}

/// How SAELens sees the model.
struct Form {
    architecture: &'static str,
    /// `b_dec` is subtracted from the input.
    applies_b_dec: bool,
    /// Parameters that cannot be had back from the tensors of SAELens.
    exact: Vec<Parameter>,
    notes: Vec<String>,
}

impl Form {
    fn of(model: &Model, export: &Export) -> Self {
        let Shape { n_p, n_r, .. } = model.shape();
        let has = |p| model.tensors.get(p).is_some();
        let skip = has(Parameter::Skip);
        let transcoder = n_p != n_r || skip;
        let (architecture, known) = match (model.activation, transcoder, skip) {
            // A transcoder of equal sizes says what it is where SAELens has a name for it.
            (Activation::Relu, false, _) if export.reconstructs_its_input => ("standard", true),
            (Activation::Relu, _, false) => ("transcoder", true),
            (Activation::Relu, _, true) => ("skip_transcoder", true),
            (Activation::JumpRelu { .. } | Activation::BatchTopK { .. }, false, _) => ("jumprelu", true),
            (Activation::JumpRelu { .. } | Activation::BatchTopK { .. }, true, false) => ("jumprelu_transcoder", true),
            (Activation::JumpRelu { .. } | Activation::BatchTopK { .. }, true, true) => {
                ("jumprelu_skip_transcoder", true)
            }
            (Activation::TopK { .. } | Activation::TopKRelu { .. }, false, _) => ("topk", true),
            (Activation::TopK { .. } | Activation::TopKRelu { .. }, true, _) => ("topk_transcoder", false),
            (Activation::Gated, false, _) => ("gated", true),
            (Activation::Gated, true, _) => ("gated_transcoder", false),
        };
        let same = match (model.tensors.get(Parameter::InputBias), model.tensors.get(Parameter::DecoderBias)) {
            (Some(b_p), Some(b_d)) => {
                b_p.len() == b_d.len() && b_p.iter().zip(b_d).all(|(p, d)| p.to_bits() == d.to_bits())
            }
            _ => false,
        };
        let applies_b_dec = same && !architecture.ends_with("transcoder");
        let folded = has(Parameter::InputBias) && !applies_b_dec;
        let is_exact = |p: &Parameter| match p {
            Parameter::LogThreshold => true,
            Parameter::InputBias | Parameter::EncoderBias | Parameter::MagnitudeBias => folded,
            _ => false,
        };
        let exact = model.tensors.parameters().filter(is_exact).collect();
        let mut notes = Vec::new();
        if !known {
            notes.push(format!(
                "SAELens has no architecture `{architecture}` and refuses this directory; sdlab reads it."
            ));
        }
        if matches!(model.activation, Activation::TopK { .. }) {
            let consequence = "they agree on samples with at least k positive pre-activations";
            notes.push(format!(
                "TopK keeps negative pre-activations (eq. 7) and SAELens sets them to 0: {consequence}."
            ));
        }
        if matches!(model.activation, Activation::BatchTopK { .. }) && model.threshold.is_none() {
            notes
                .push("This BatchTopK has no threshold, since it was not trained; 0 stands in `threshold`.".to_owned());
        }
        if folded {
            notes.push(format!("`b_enc` contains -W_E b_p, rounded to f32; the exact biases are in {EXTRA}."));
        }
        if export.sources > 1 {
            notes.push(format!(
                "Rows of the input are {} sources of equal length, one after the other.",
                export.sources
            ));
        }
        Self { architecture, applies_b_dec, exact, notes }
    }

    fn tensors(&self, model: &Model) -> Vec<Named> {
        let Shape { n_p, n_r, n_q } = model.shape();
        let get = |p| model.tensors.get(p);
        let or_zero = |p, n: usize| get(p).map_or_else(|| vec![0.0; n], <[f32]>::to_vec);
        let shift = get(Parameter::InputBias).filter(|_| !self.applies_b_dec).map(|b| encoded(&model.tensors, b));
        // A bias of the encoder without the input bias: b − factor·(W_E b_p).
        let shifted = |p, factor: &dyn Fn(usize) -> f64| {
            let mut bias = or_zero(p, n_q);
            if let Some(shift) = &shift {
                let each = bias.iter_mut().zip(shift).enumerate();
                each.for_each(|(i, (b, shift))| *b = (f64::from(*b) - factor(i) * shift) as f32);
            }
            bias
        };
        let mut named: Vec<Named> = vec![
            ("W_enc", vec![n_p, n_q], transposed(n_q, n_p, get(Parameter::Encoder).unwrap_or_default())),
            ("W_dec", vec![n_q, n_r], or_zero(Parameter::Decoder, n_q * n_r)),
            ("b_dec", vec![n_r], or_zero(Parameter::DecoderBias, n_r)),
        ];
        match model.activation {
            Activation::Gated => {
                let r = or_zero(Parameter::GateScale, n_q);
                let b_mag = shifted(Parameter::MagnitudeBias, &|i| f64::from(r[i]).exp());
                named.push(("b_gate", vec![n_q], shifted(Parameter::EncoderBias, &|_| 1.0)));
                named.push(("b_mag", vec![n_q], b_mag));
                named.push(("r_mag", vec![n_q], r));
            }
            _ => named.push(("b_enc", vec![n_q], shifted(Parameter::EncoderBias, &|_| 1.0))),
        }
        match model.activation {
            Activation::JumpRelu { .. } => {
                let theta = or_zero(Parameter::LogThreshold, n_q).into_iter().map(score::exp).collect();
                named.push(("threshold", vec![n_q], theta));
            }
            Activation::BatchTopK { .. } => {
                named.push(("threshold", vec![n_q], vec![model.threshold.unwrap_or(0.0); n_q]));
            }
            _ => {}
        }
        if let Some(skip) = get(Parameter::Skip) {
            named.push(("W_skip", vec![n_r, n_p], skip.to_vec()));
        }
        named
    }

    fn config(&self, model: &Model, export: &Export, own: &Own) -> Value {
        let Shape { n_p, n_r, n_q } = model.shape();
        let mut metadata = match &export.metadata {
            Value::Object(entries) => entries.clone(),
            _ => serde_json::Map::new(),
        };
        // From this version on SAELens reads the fields below as they stand.
        metadata.insert("sae_lens_version".to_owned(), json!("6.0.0"));
        metadata.insert("sae_lens_training_version".to_owned(), Value::Null);
        metadata.insert("sdlab".to_owned(), serde_json::to_value(own).expect("plain data always serialises"));
        let mut config = json!({
            "architecture": self.architecture,
            "d_in": n_p,
            "d_sae": n_q,
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": self.applies_b_dec,
            "normalize_activations": "none",
            "reshape_activations": "none",
            "metadata": metadata,
        });
        if self.architecture.ends_with("transcoder") {
            config["d_out"] = json!(n_r);
        }
        if let Activation::TopK { k } | Activation::TopKRelu { k } = model.activation {
            // torch.topk refuses more than there are.
            config["k"] = json!(k.min(n_q));
            config["rescale_acts_by_decoder_norm"] = json!(false);
        }
        config
    }
}
