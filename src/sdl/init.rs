//! Where training starts.

use super::activation::Activation;
use super::model::{Model, Parameter, Shape, Tensors};
use crate::bench::features::stream;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

/// Parameters at the start. The paper publishes none of this; these are our choices, and every run records them.
///
/// | field | default |
/// |---|---|
/// | `decoder` | `unit`: Gaussian directions of norm `scale` |
/// | `scale` | 1 |
/// | `tied` | true: W_E is the transpose of W_D, when n_p = n_r; a run with other sizes records false |
/// | biases | off, as in the paper; Gated has b_E, r and m in any case |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Init {
    /// How weights are drawn.
    pub weights: Weights,
    /// Factor on the drawn weights, > 0.
    pub scale: f64,
    /// W_E starts as the transpose of W_D (possible only if n_p = n_r; else W_E is drawn on its own).
    pub tied: bool,
    /// Learn b_E, from 0. Gated always does, as its gate and its magnitudes differ in nothing else than b_E, r and m.
    pub encoder_bias: bool,
    /// Learn b_D, from 0.
    pub decoder_bias: bool,
    /// Learn b_p, from 0.
    pub input_bias: bool,
    /// Learn the linear path W_S, from 0.
    pub skip: bool,
}

/// The law of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// Gaussian directions of norm 1: rows of W_E, columns of W_D.
    Unit,
    /// Uniform in ±√(6 / fan-in) (He et al. 2015); the fan-in is n_p for W_E and n_q for W_D.
    Kaiming,
}

impl Default for Init {
    fn default() -> Self {
        Self {
            weights: Weights::Unit,
            scale: 1.0,
            tied: true,
            encoder_bias: false,
            decoder_bias: false,
            input_bias: false,
            skip: false,
        }
    }
}

impl Init {
    /// The parameters that a model with this activation has.
    pub fn parameters(&self, activation: &Activation) -> Vec<Parameter> {
        let gated = matches!(activation, Activation::Gated);
        let has = |parameter: &Parameter| match parameter {
            Parameter::Encoder | Parameter::Decoder => true,
            Parameter::EncoderBias => self.encoder_bias || gated,
            Parameter::DecoderBias => self.decoder_bias,
            Parameter::InputBias => self.input_bias,
            Parameter::LogThreshold => matches!(activation, Activation::JumpRelu { .. }),
            Parameter::GateScale | Parameter::MagnitudeBias => gated,
            Parameter::Skip => self.skip,
        };
        Parameter::ALL.into_iter().filter(has).collect()
    }

    /// A model at its start; the same for the same seed.
    pub fn model(&self, shape: Shape, activation: Activation, seed: u64) -> Model {
        let mut tensors = Tensors::zeros(shape, self.parameters(&activation));
        // W_D maps n_q numbers to n_r, W_E maps n_p numbers to n_q.
        self.draw(&mut tensors, Parameter::Decoder, shape.n_q, seed, "init decoder");
        if self.tied && shape.n_p == shape.n_r {
            let decoder = tensors.get(Parameter::Decoder).map(<[f32]>::to_vec);
            if let (Some(encoder), Some(decoder)) = (tensors.get_mut(Parameter::Encoder), decoder) {
                encoder.copy_from_slice(&decoder);
            }
        } else {
            self.draw(&mut tensors, Parameter::Encoder, shape.n_p, seed, "init encoder");
        }
        if let Activation::JumpRelu { theta, .. } = activation
            && let Some(block) = tensors.get_mut(Parameter::LogThreshold)
        {
            block.fill(theta.ln() as f32);
        }
        Model { activation, tensors, threshold: None }
    }

    fn draw(&self, tensors: &mut Tensors<f32>, parameter: Parameter, fan_in: usize, seed: u64, purpose: &str) {
        let mut rng = stream(seed, purpose);
        let (rows, columns) = parameter.size(tensors.shape());
        for i in 0..rows {
            let row = tensors.row_mut(parameter, i);
            match self.weights {
                Weights::Unit => {
                    let drawn: Vec<f64> = (0..columns).map(|_| StandardNormal.sample(&mut rng)).collect();
                    let norm = drawn.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter_mut().zip(&drawn).for_each(|(w, x)| *w = (self.scale * x / norm) as f32);
                }
                Weights::Kaiming => {
                    let bound = self.scale * (6.0 / fan_in as f64).sqrt();
                    row.iter_mut()
                        .for_each(|w| *w = (bound * (2.0 * rand::RngExt::random::<f64>(&mut rng) - 1.0)) as f32);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { n_p: 6, n_r: 6, n_q: 20 };

    #[test]
    fn unit_rows_have_norm_one_and_tied_ones_are_equal() {
        let model = Init::default().model(SHAPE, Activation::TopK { k: 2 }, 3);
        for i in 0..SHAPE.n_q {
            let norm: f32 = model.w_e(i).iter().map(|x| x * x).sum();
            // Six roundings to 24 bits.
            assert!((norm - 1.0).abs() < 1e-6);
            assert_eq!(model.w_e(i), model.w_d(i));
        }
        assert_ne!(model, Init::default().model(SHAPE, Activation::TopK { k: 2 }, 4));
        let free = Init { tied: false, ..Init::default() }.model(SHAPE, Activation::TopK { k: 2 }, 3);
        assert_ne!(free.w_e(0), free.w_d(0));
        assert_eq!(free.w_d(0), model.w_d(0));
    }

    #[test]
    fn kaiming_weights_are_uniform_up_to_a_bound_by_their_own_fan_in() {
        let shape = Shape { n_p: 54, n_r: 40, n_q: 600 };
        let init = Init { weights: Weights::Kaiming, scale: 0.5, tied: false, ..Init::default() };
        let model = init.model(shape, Activation::Relu, 7);
        // √(6/54) = 1/3 and √(6/600) = 1/10, times the scale.
        for (parameter, bound) in [(Parameter::Encoder, 1.0 / 6.0), (Parameter::Decoder, 0.05)] {
            let drawn: Vec<f64> = model.tensors.get(parameter).unwrap().iter().map(|w| f64::from(*w) / bound).collect();
            // One rounding to 24 bits.
            assert!(drawn.iter().all(|u| u.abs() < 1.0 + 1e-7), "{parameter:?}");
            let share = drawn.len() as f64 / 8.0;
            for part in 0..8 {
                let range = f64::from(part) / 4.0 - 1.0..f64::from(part + 1) / 4.0 - 1.0;
                let count = drawn.iter().filter(|u| range.contains(u)).count() as f64;
                // Five standard deviations of a binomial count; a Gaussian of this variance has a third more in the middle, which is 20 of them.
                assert!((count - share).abs() < 5.0 * (share * 7.0 / 8.0).sqrt(), "{parameter:?}: {count} of {share}");
            }
        }
        let tied = Init { tied: true, ..init }.model(Shape { n_p: 40, ..shape }, Activation::Relu, 7);
        assert_eq!(tied.tensors.get(Parameter::Encoder), tied.tensors.get(Parameter::Decoder));
        assert_eq!(tied.tensors.get(Parameter::Decoder), model.tensors.get(Parameter::Decoder));
    }

    #[test]
    fn parameters_follow_the_activation_and_the_biases_asked_for() {
        let parameters = |init: Init, activation| init.parameters(&activation);
        assert_eq!(parameters(Init::default(), Activation::Relu), [Parameter::Encoder, Parameter::Decoder]);
        let jump = Init::default().model(SHAPE, Activation::JumpRelu { theta: 0.5, bandwidth: 0.1 }, 0);
        let theta = jump.tensors.get(Parameter::LogThreshold).unwrap();
        assert!(theta.iter().all(|t| (t.exp() - 0.5).abs() < 1e-6));
        assert_eq!(parameters(Init::default(), Activation::Gated).len(), 5);
        let all = Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
        assert_eq!(parameters(all, Activation::Relu).len(), 6);
    }
}
