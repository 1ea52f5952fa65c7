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

    /// W_E and W_D, or what belongs to their numbers; empty where it is absent.
    pub fn matrices_mut(&mut self) -> [&mut [T]; 2] {
        let mut blocks = self.blocks.each_mut().map(Option::as_deref_mut);
        [Parameter::Encoder, Parameter::Decoder].map(|parameter| blocks[parameter as usize].take().unwrap_or_default())
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

    /// True if all columns of W_D have norm 1 up to the rounding of a backend. Those that are 0 or not finite have no direction and are not asked.
    pub fn has_unit_decoder(&self) -> bool {
        (0..self.shape().n_q).all(|i| off_norm(self.w_d(i)).is_none())
    }

    /// Scales the columns of W_D to norm 1, in f64. Those that have it up to the rounding of a backend keep their bits.
    pub fn scale_decoder_to_one(&mut self) {
        for i in 0..self.shape().n_q {
            if let Some(norm) = off_norm(self.w_d(i)) {
                let column = self.tensors.row_mut(Parameter::Decoder, i);
                column.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        }
    }
}

/// The norm of a column if it is not 1. A norm in f32, summed in any order, is off by (n_r/2 + 2)·2^-24 at most, and a quotient by it by 2^-23 more.
fn off_norm(column: &[f32]) -> Option<f64> {
    let norm = column.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let rounding = (column.len() as f64 + 8.0) * 2f64.powi(-24);
    (norm > 0.0 && norm.is_finite() && (norm - 1.0).abs() > rounding).then_some(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdl::Init;
    use crate::sdl::init::Weights;

    #[test]
    fn columns_are_scaled_to_norm_one_and_those_that_have_it_keep_their_bits() {
        let shape = Shape { n_p: 3, n_r: 40, n_q: 30 };
        let unit = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, 2);
        let mut same = unit.clone();
        same.scale_decoder_to_one();
        assert!(unit.has_unit_decoder() && same == unit);
        let mut model =
            Init { weights: Weights::Kaiming, tied: false, ..Init::default() }.model(shape, Activation::Relu, 2);
        let zero = 7;
        model.tensors.row_mut(Parameter::Decoder, zero).fill(0.0);
        let before = model.clone();
        assert!(!model.has_unit_decoder());
        model.scale_decoder_to_one();
        assert!(model.has_unit_decoder());
        for i in 0..30 {
            assert_eq!(model.w_e(i), before.w_e(i));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            let (v, w) = (model.w_d(i), before.w_d(i));
            let cosine = if i == zero { 1.0 } else { dot(v, w) / dot(w, w).sqrt() };
            // One rounding of each number to 24 bits.
            assert!((cosine - 1.0).abs() < 1e-6 && (i == zero || (dot(v, v) - 1.0).abs() < 1e-6));
        }
        assert!(model.w_d(zero).iter().all(|v| *v == 0.0));
    }
}
