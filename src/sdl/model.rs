//! The parameters of a model on the host.

use super::activation::Activation;

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Dimension of the input x_p.
    pub n_p: usize,
    /// Dimension of the target x_r.
    pub n_r: usize,
    /// Number of latents.
    pub n_q: usize,
}

/// A block of parameters. Matrices stand latent by latent: row i of W_E, and *column* i of W_D, are contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// W_E, n_q × n_p.
    Encoder,
    /// W_D, stored as n_q × n_r: one decoder column per latent.
    Decoder,
    /// b_E, n_q.
    EncoderBias,
    /// b_D, n_r.
    DecoderBias,
    /// b_p, n_p, subtracted from the input.
    InputBias,
    /// log θ, n_q (JumpReLU).
    LogThreshold,
    /// r, n_q (Gated).
    GateScale,
    /// m, n_q (Gated).
    MagnitudeBias,
    /// W_S, n_r × n_p: the linear path of a transcoder beside its latents.
    Skip,
}

impl Parameter {
    /// All of them, in the order of files.
    pub const ALL: [Self; 9] = [
        Self::Encoder,
        Self::Decoder,
        Self::EncoderBias,
        Self::DecoderBias,
        Self::InputBias,
        Self::LogThreshold,
        Self::GateScale,
        Self::MagnitudeBias,
        Self::Skip,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::EncoderBias => "encoder-bias",
            Self::DecoderBias => "decoder-bias",
            Self::InputBias => "input-bias",
            Self::LogThreshold => "log-threshold",
            Self::GateScale => "gate-scale",
            Self::MagnitudeBias => "magnitude-bias",
            Self::Skip => "skip",
        }
    }

    /// Rows and columns; vectors are one column.
    pub fn size(self, shape: Shape) -> (usize, usize) {
        let Shape { n_p, n_r, n_q } = shape;
        match self {
            Self::Encoder => (n_q, n_p),
            Self::Decoder => (n_q, n_r),
            Self::EncoderBias | Self::LogThreshold | Self::GateScale | Self::MagnitudeBias => (n_q, 1),
            Self::DecoderBias => (n_r, 1),
            Self::InputBias => (n_p, 1),
            Self::Skip => (n_r, n_p),
        }
    }

    /// True if row i belongs to latent i.
    pub fn is_per_latent(self) -> bool {
        !matches!(self, Self::DecoderBias | Self::InputBias | Self::Skip)
    }
}

/// One block of numbers for each parameter that a model has: weights, gradients or moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors<T> {
    shape: Shape,
    blocks: [Option<Vec<T>>; 9],
}

impl<T: Copy + Default> Tensors<T> {
    /// Zeros for these parameters.
    pub fn zeros(shape: Shape, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        let mut tensors = Self { shape, blocks: Default::default() };
        for parameter in parameters {
            let (rows, columns) = parameter.size(shape);
            tensors.blocks[parameter as usize] = Some(vec![T::default(); rows * columns]);
        }
        tensors
    }

    /// Zeros for the parameters that these have.
    pub fn zeros_like<U>(other: &Tensors<U>) -> Self
    where
        U: Copy + Default,
    {
        Self::zeros(other.shape, other.parameters())
    }

    /// Every number replaced.
    pub fn map<U>(&self, f: impl Fn(T) -> U) -> Tensors<U> {
        let block = |block: &Option<Vec<T>>| block.as_ref().map(|numbers| numbers.iter().map(|x| f(*x)).collect());
        Tensors { shape: self.shape, blocks: std::array::from_fn(|p| block(&self.blocks[p])) }
    }

    /// The sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The parameters that are there, in the order of [`Parameter::ALL`].
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        Parameter::ALL.into_iter().filter(|p| self.blocks[*p as usize].is_some())
    }

    /// The numbers of a parameter, if the model has it.
    pub fn get(&self, parameter: Parameter) -> Option<&[T]> {
        self.blocks[parameter as usize].as_deref()
    }

    /// The numbers of a parameter, to be changed.
    pub fn get_mut(&mut self, parameter: Parameter) -> Option<&mut [T]> {
        self.blocks[parameter as usize].as_deref_mut()
    }

    /// Row i: the numbers of latent i where rows are latents.
    ///
    /// # Panics
    /// If the parameter is absent or has fewer rows.
    pub fn row(&self, parameter: Parameter, i: usize) -> &[T] {
        let columns = parameter.size(self.shape).1;
        &self.blocks[parameter as usize].as_deref().expect("the model has the parameter")
            [i * columns..(i + 1) * columns]
    }

    /// Row i, to be changed.
    ///
    /// # Panics
    /// If the parameter is absent or has fewer rows.
    pub fn row_mut(&mut self, parameter: Parameter, i: usize) -> &mut [T] {
        let columns = parameter.size(self.shape).1;
        let block = self.blocks[parameter as usize].as_deref_mut().expect("the model has the parameter");
        &mut block[i * columns..(i + 1) * columns]
    }
}

/// A model: what it computes is given by its activation and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// σ.
    pub activation: Activation,
    /// Weights and biases.
    pub tensors: Tensors<f32>,
    /// θ of a trained BatchTopK (its running mean); absent before the first step.
    pub threshold: Option<f32>,
}

impl Model {
    /// The sizes.
    pub fn shape(&self) -> Shape {
        self.tensors.shape()
    }

    /// Row i of W_E.
    pub fn w_e(&self, i: usize) -> &[f32] {
        self.tensors.row(Parameter::Encoder, i)
    }

    /// Column i of W_D.
    pub fn w_d(&self, i: usize) -> &[f32] {
        self.tensors.row(Parameter::Decoder, i)
    }
}
