//! Decoder norms moved into the encoder: every column of W_D gets norm 1 and the model computes the same.

use super::activation::Activation;
use super::model::{Model, Parameter, Shape, Tensors};

/// Why norms cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Rescaled pre-activations have another order, so a top-k would keep others.
    #[error(
        "decoder norms: expected an activation that looks at one latent at a time, found a top-k, which compares them"
    )]
    Compares,
    /// A BatchTopK that has no threshold yet compares latents too.
    #[error("decoder norms: expected a BatchTopK with the threshold that training leaves, found none")]
    Untrained,
}

/// The same function with decoder columns v_i of norm 1: z_i is multiplied by ‖v_i‖, through row i of W_E and the biases and thresholds of latent
/// i. A column that is 0 stays. Gated keeps its gate and its r. A trained BatchTopK becomes a JumpReLU with θ_i = θ‖v_i‖, since one θ does
/// not fit all latents any more.
///
/// # Errors
/// The activation compares latents with one another.
pub fn fold_decoder_norms(model: &Model) -> Result<Model, FoldError> {
    let activation = match (model.activation, model.threshold) {
        (Activation::TopK { .. } | Activation::TopKRelu { .. }, _) => return Err(FoldError::Compares),
        (Activation::BatchTopK { .. }, Some(theta)) if theta > 0.0 => {
            // The bandwidth is of no use after training; it is positive as it must be.
            Activation::JumpRelu { theta: theta.into(), bandwidth: theta.into() }
        }
        (Activation::BatchTopK { .. }, _) => return Err(FoldError::Untrained),
        (activation, _) => activation,
    };
    let shape: Shape = model.shape();
    let mut parameters: Vec<Parameter> = model.tensors.parameters().collect();
    if activation != model.activation {
        parameters.push(Parameter::LogThreshold);
    }
    let mut tensors = Tensors::zeros(shape, parameters.iter().copied());
    for parameter in model.tensors.parameters() {
        if let (Some(to), Some(from)) = (tensors.get_mut(parameter), model.tensors.get(parameter)) {
            to.copy_from_slice(from);
        }
    }
    if let Activation::JumpRelu { theta, .. } = activation
        && activation != model.activation
        && let Some(to) = tensors.get_mut(Parameter::LogThreshold)
    {
        to.fill(theta.ln() as f32);
    }
    for i in 0..shape.n_q {
        let norm = model.w_d(i).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            continue;
        }
        let scale = |row: &mut [f32], factor: f64| row.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        for parameter in &parameters {
            match parameter {
                Parameter::Encoder | Parameter::EncoderBias | Parameter::MagnitudeBias => {
                    scale(tensors.row_mut(*parameter, i), norm);
                }
                Parameter::Decoder => scale(tensors.row_mut(*parameter, i), 1.0 / norm),
                Parameter::LogThreshold => {
                    let log = &mut tensors.row_mut(*parameter, i)[0];
                    *log = (f64::from(*log) + norm.ln()) as f32;
                }
                Parameter::DecoderBias | Parameter::InputBias | Parameter::GateScale | Parameter::Skip => {}
            }
        }
    }
    Ok(Model { activation, tensors, threshold: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdl::{Init, init::Weights};

    const SHAPE: Shape = Shape { n_p: 3, n_r: 4, n_q: 5 };

    /// x̂_r in f64, by the formulas of [`Activation`].
    fn reconstruction(model: &Model, x: &[f64]) -> Vec<f64> {
        let number = |p, i: usize| model.tensors.get(p).map_or(0.0, |block| f64::from(block[i]));
        let mut out: Vec<f64> = (0..SHAPE.n_r).map(|k| number(Parameter::DecoderBias, k)).collect();
        for i in 0..SHAPE.n_q {
            let s: f64 =
                (0..SHAPE.n_p).map(|k| f64::from(model.w_e(i)[k]) * (x[k] - number(Parameter::InputBias, k))).sum();
            let pi = s + number(Parameter::EncoderBias, i);
            let z = match model.activation {
                Activation::JumpRelu { .. } if pi <= number(Parameter::LogThreshold, i).exp() => 0.0,
                Activation::BatchTopK { .. } if pi <= f64::from(model.threshold.unwrap()) => 0.0,
                Activation::Gated if pi <= 0.0 => 0.0,
                Activation::Gated => {
                    (number(Parameter::GateScale, i).exp() * s + number(Parameter::MagnitudeBias, i)).max(0.0)
                }
                _ => pi.max(0.0),
            };
            out.iter_mut().zip(model.w_d(i)).for_each(|(out, v)| *out += z * f64::from(*v));
        }
        out
    }

    #[test]
    fn the_function_stays_and_columns_get_norm_one() {
        let activations = [
            Activation::Relu,
            Activation::JumpRelu { theta: 0.3, bandwidth: 0.1 },
            Activation::BatchTopK { k: 2 },
            Activation::Gated,
        ];
        for activation in activations {
            let init = Init {
                weights: Weights::Kaiming,
                encoder_bias: true,
                decoder_bias: true,
                input_bias: true,
                ..Init::default()
            };
            let mut model = init.model(SHAPE, activation, 1);
            let parameters: Vec<_> = model.tensors.parameters().collect();
            for parameter in parameters {
                let block = model.tensors.get_mut(parameter).unwrap();
                block.iter_mut().enumerate().for_each(|(i, x)| *x += 0.1 * ((i * 7) % 5) as f32 - 0.2);
            }
            model.threshold = matches!(activation, Activation::BatchTopK { .. }).then_some(0.25);
            let folded = fold_decoder_norms(&model).unwrap();
            for i in 0..SHAPE.n_q {
                let norm: f32 = folded.w_d(i).iter().map(|x| x * x).sum();
                // Four squares of numbers rounded to 24 bits.
                assert!((norm - 1.0).abs() < 1e-6);
            }
            let mut active = 0.0;
            for t in 0..50 {
                let x: Vec<f64> = (0..3).map(|k| (f64::from(t * 3 + k) * 0.7).sin() * 2.0).collect();
                let (a, b) = (reconstruction(&model, &x), reconstruction(&folded, &x));
                active += a.iter().map(|a| a.abs()).sum::<f64>();
                // Weights of about 1 are rounded to 24 bits twice; a threshold that is crossed by rounding would differ by 0.25.
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{activation:?}: {a:?} {b:?}");
            }
            assert!(active > 1.0);
        }
    }

    #[test]
    fn a_top_k_compares_latents_and_is_refused() {
        for (activation, error) in [
            (Activation::TopK { k: 1 }, FoldError::Compares),
            (Activation::TopKRelu { k: 1 }, FoldError::Compares),
            (Activation::BatchTopK { k: 1 }, FoldError::Untrained),
        ] {
            assert_eq!(fold_decoder_norms(&Init::default().model(SHAPE, activation, 0)), Err(error));
        }
    }

    #[test]
    fn a_column_that_is_zero_stays() {
        let mut model = Init::default().model(SHAPE, Activation::Relu, 0);
        model.tensors.row_mut(Parameter::Decoder, 2).fill(0.0);
        let folded = fold_decoder_norms(&model).unwrap();
        assert!(folded.w_d(2).iter().all(|x| *x == 0.0));
        assert_eq!(folded.w_e(2), model.w_e(2));
    }
}
