//! The empirical loss of N samples in f32, and what is read from it: codes, residuals, the loss.

use super::codes::Codes;
use super::kernels::{self, Table};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::simd::Isa;
use crate::backend::{Backend, Mode, Rows, Spec};
use crate::optim::dictionary::{DictionaryError, Samples};
use crate::sdl::{Activation, Model, Parameter, Shape};
use rayon::prelude::*;

/// Samples that are encoded at a time.
const ENCODED: usize = 1024;

/// What cannot be searched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplesError {
    /// Inputs and targets of different numbers of samples.
    #[error("targets: expected {expected} samples, as many as there are inputs, found {found}")]
    Count {
        /// N of the inputs.
        expected: usize,
        /// N of the targets.
        found: usize,
    },
    /// An activation whose cells are not made of supports alone.
    #[error("activation: expected TopK, TopKRelu or Relu, found {0:?}")]
    Activation(Activation),
    /// A model of another shape, with another activation or with more parameters than W and V.
    #[error("model: expected {expected}, found {found}")]
    Model {
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A parameter is out of its range.
    #[error("{name}: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// Rows that are no samples.
    #[error(transparent)]
    Samples(#[from] DictionaryError),
    /// More codes than are counted.
    #[error("codes: expected at most 2^32 over all samples")]
    TooMany,
    /// The loss is no finite number any more.
    #[error("loss: expected a finite number, found {0}")]
    NotFinite(f64),
}

/// L(V, W) = (1/N) Σ_s ‖x_r^s − V σ(W x_p^s)‖² of samples in memory.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    pub(super) inputs: Samples<'a>,
    pub(super) targets: Samples<'a>,
    activation: Activation,
    pub(super) isa: Isa,
}

impl<'a> Problem<'a> {
    /// Of inputs x_p and targets x_r, the same for an autoencoder.
    ///
    /// # Errors
    /// Different numbers of samples, or an activation other than TopK, TopKRelu and Relu.
    pub fn new(inputs: Samples<'a>, targets: Samples<'a>, activation: Activation) -> Result<Self, SamplesError> {
        if inputs.count() != targets.count() {
            return Err(SamplesError::Count { expected: inputs.count(), found: targets.count() });
        }
        match activation {
            Activation::TopK { .. } | Activation::TopKRelu { .. } | Activation::Relu => {
                Ok(Self { inputs, targets, activation, isa: Isa::detect() })
            }
            _ => Err(SamplesError::Activation(activation)),
        }
    }

    /// The same problem on other rows.
    pub(super) fn on<'b>(&self, inputs: &'b [f32], targets: &'b [f32]) -> Result<Problem<'b>, SamplesError> {
        let inputs = Samples::new(inputs, self.inputs.dimension())?;
        let targets = Samples::new(targets, self.targets.dimension())?;
        Ok(Problem { inputs, targets, activation: self.activation, isa: self.isa })
    }

    /// N.
    pub fn count(&self) -> usize {
        self.inputs.count()
    }

    /// σ.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// (1/N) Σ_s ‖x_r^s‖², the loss of a model that answers nothing.
    pub fn total(&self) -> f64 {
        self.targets.energy() / self.count() as f64
    }

    pub(super) fn x_p(&self) -> Table<'a> {
        Table { data: self.inputs.data(), width: self.inputs.dimension() }
    }

    /// Checks that a model fits: W and V alone, with this problem's dimensions and activation.
    ///
    /// # Errors
    /// It does not.
    pub fn admits(&self, model: &Model) -> Result<(), SamplesError> {
        let Shape { n_p, n_r, n_q } = model.shape();
        let expected = (self.inputs.dimension(), self.targets.dimension());
        if (n_p, n_r) != expected || n_q == 0 {
            let expected = format!("n_p = {}, n_r = {} and latents", expected.0, expected.1);
            return Err(SamplesError::Model { expected, found: format!("n_p = {n_p}, n_r = {n_r}, n_q = {n_q}") });
        }
        if model.activation != self.activation {
            let expected = format!("activation {:?}", self.activation);
            return Err(SamplesError::Model { expected, found: format!("{:?}", model.activation) });
        }
        let parameters: Vec<Parameter> = model.tensors.parameters().collect();
        if parameters != [Parameter::Encoder, Parameter::Decoder] {
            let expected = "an encoder and a decoder without biases".to_owned();
            return Err(SamplesError::Model { expected, found: format!("{parameters:?}") });
        }
        Ok(())
    }

    /// σ(W x_p) of all samples: the cell of the encoder, by the definition that training uses (see [`backend`](crate::backend)).
    ///
    /// # Errors
    /// More than 2³² codes.
    pub fn encode(&self, model: &Model) -> Result<Codes, SamplesError> {
        let shape = model.shape();
        // The decoder takes no part, and targets are not loaded.
        let spec = Spec { reconstructs_its_input: true, ..Spec::plain(shape, ENCODED.min(self.count())) };
        let cpu = Cpu::new(spec);
        let params = cpu.params(model);
        let (opt, mut batch, mut found) = (cpu.opt_state(&params), cpu.batch(), cpu.codes());
        let (mut offsets, mut latents, mut values) = (vec![0], Vec::new(), Vec::new());
        for inputs in self.inputs.data().chunks(ENCODED * shape.n_p) {
            cpu.load(Rows { inputs, targets: &[], weights: None }, &mut batch);
            cpu.encode_select(&params, &opt, &batch, Mode::Inference, &mut found);
            let codes = cpu.codes_of(&found);
            let first = latents.len();
            offsets.extend(codes.offsets[1..].iter().map(|at| first + at));
            latents.extend_from_slice(&codes.latents);
            values.extend_from_slice(&codes.values);
        }
        Codes::new(offsets, latents, values, shape.n_q).ok_or(SamplesError::TooMany)
    }

    /// e_s = x_r^s − V z_s, n_r numbers for each sample.
    pub fn residuals(&self, decoder: &[f32], codes: &Codes, out: &mut Vec<f32>) {
        out.resize(self.targets.data().len(), 0.0);
        let table = Table { data: decoder, width: self.targets.dimension() };
        kernels::decode(self.isa, codes, &codes.values, -1.0, table, Some(self.targets.data()), out);
    }

    /// (1/N) Σ_s ‖e_s‖².
    pub fn loss_of(&self, residuals: &[f32]) -> f64 {
        let rows = residuals.par_chunks(self.targets.dimension());
        let squares: Vec<f64> = rows.map(|e| kernels::dot(e, e)).collect();
        squares.iter().sum::<f64>() / self.count() as f64
    }

    /// The loss of a model on all samples, and its codes.
    ///
    /// # Errors
    /// A model that does not fit, or more than 2³² codes.
    pub fn loss(&self, model: &Model) -> Result<(f64, Codes), SamplesError> {
        self.admits(model)?;
        let codes = self.encode(model)?;
        let mut residuals = Vec::new();
        self.residuals(decoder(model), &codes, &mut residuals);
        Ok((self.loss_of(&residuals), codes))
    }
}

/// W, row after row.
pub(super) fn encoder(model: &Model) -> &[f32] {
    model.tensors.get(Parameter::Encoder).unwrap_or_default()
}

/// V, column after column.
pub(super) fn decoder(model: &Model) -> &[f32] {
    model.tensors.get(Parameter::Decoder).unwrap_or_default()
}

/// W or V, to be changed.
pub(super) fn block(model: &mut Model, parameter: Parameter) -> &mut [f32] {
    model.tensors.get_mut(parameter).unwrap_or_default()
}
