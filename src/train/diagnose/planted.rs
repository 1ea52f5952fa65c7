//! Models and features whose diagnosis is known.

use super::features::KnownFeatures;
use crate::bench::features::stream;
use crate::sdl::{Activation, Model, Parameter, Shape, Tensors};
use crate::theory::loss::Weights;
use faer::Mat;
use rand_distr::{Distribution, StandardNormal};

/// The model without biases that has these weights, rounded to f32.
pub fn model(weights: &Weights, activation: Activation) -> Model {
    let shape = Shape { n_p: weights.W.ncols(), n_r: weights.V.nrows(), n_q: weights.n_q() };
    let mut tensors = Tensors::zeros(shape, [Parameter::Encoder, Parameter::Decoder]);
    for i in 0..shape.n_q {
        let row = (0..shape.n_p).map(|k| weights.W[(i, k)] as f32);
        tensors.row_mut(Parameter::Encoder, i).iter_mut().zip(row).for_each(|(to, w)| *to = w);
        let column = (0..shape.n_r).map(|k| weights.V[(k, i)] as f32);
        tensors.row_mut(Parameter::Decoder, i).iter_mut().zip(column).for_each(|(to, v)| *to = v);
    }
    Model { activation, tensors, threshold: None }
}

/// Two features: inputs are the axes of R², targets have norm 1 and product g. One latent.
pub fn pair(g: f64, masses: [f64; 2], w: [f64; 2], v: [f64; 2]) -> (KnownFeatures, Weights) {
    let mut R = Mat::zeros(2, 2);
    (R[(0, 0)], R[(0, 1)], R[(1, 1)]) = (1.0, g, (1.0 - g * g).sqrt());
    let features = KnownFeatures { P: Mat::identity(2, 2), R, masses: masses.to_vec(), names: None };
    (features, Weights { W: Mat::from_fn(1, 2, |_, k| w[k]), V: Mat::from_fn(2, 1, |k, _| v[k]) })
}

/// Gaussian features of different masses, and Gaussian weights.
pub fn random(n: usize, n_p: usize, n_r: usize, n_q: usize, seed: u64) -> (KnownFeatures, Weights) {
    let mut rng = stream(seed, "planted models");
    // Rounded to f32, so that a backend sees the same numbers.
    let mut draw = |rows: usize, columns: usize| -> Mat<f64> {
        Mat::from_fn(rows, columns, |_, _| {
            f64::from(<StandardNormal as Distribution<f32>>::sample(&StandardNormal, &mut rng))
        })
    };
    let (P, R, V, W) = (draw(n_p, n), draw(n_r, n), draw(n_r, n_q), draw(n_q, n_p));
    let masses = (0..n).map(|d| 1.0 + d as f64 / n as f64).collect();
    (KnownFeatures { P, R, masses, names: None }, Weights { V, W })
}
