//! What a model makes of each known feature alone: codes, activation pattern, residuals, L̃.

use super::features::{KnownFeatures, rows, squared};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, HostCodes, Mode, Rows, Spec};
use crate::sdl::{Model, Parameter};
use faer::Mat;

/// Most features that are encoded at a time.
const BATCH: usize = 128;

/// A model at the features: sample d is p_d alone, with target r_d and weight M_d, so that the loss of these samples is L̃ (eq. 11), for every activation
/// and with whatever biases the model has.
#[derive(Debug, Clone)]
pub struct Isolated<'a> {
    /// The model.
    pub model: &'a Model,
    /// The features.
    pub features: &'a KnownFeatures,
    /// p_d, r_d and x̂(p_d) as rows, and the codes, as a backend has computed them.
    pub inputs: Vec<f32>,
    /// r_d.
    pub targets: Vec<f32>,
    /// x̂(p_d).
    pub reconstructions: Vec<f32>,
    /// Active latents of each feature.
    pub codes: HostCodes,
    /// E, n_r×n: e_d = r_d − x̂(p_d).
    pub residuals: Mat<f64>,
}

impl<'a> Isolated<'a> {
    /// Encodes every feature, as after training. Their dimensions must be those of the model.
    pub fn of(model: &'a Model, features: &'a KnownFeatures) -> Self {
        let (shape, n) = (model.shape(), features.n());
        let (inputs, targets) = (rows(features.P.as_ref()), rows(features.R.as_ref()));
        let spec = Spec { reconstructs_its_input: false, ..Spec::plain(shape, n.min(BATCH)) };
        let backend = Cpu::new(spec);
        let params = backend.params(model);
        let opt = backend.opt_state(&params);
        let (mut batch, mut part) = (backend.batch(), backend.codes());
        let mut codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
        let mut reconstructions = Vec::with_capacity(targets.len());
        for (x, y) in inputs.chunks(BATCH * shape.n_p).zip(targets.chunks(BATCH * shape.n_r)) {
            backend.load(Rows { inputs: x, targets: y, weights: None }, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Inference, &mut part);
            backend.decode_residual(&params, &batch, &mut part);
            reconstructions.extend(backend.reconstruction_of(&batch, &part));
            let host = backend.codes_of(&part);
            let base = codes.latents.len();
            codes.offsets.extend(host.offsets.iter().skip(1).map(|offset| base + offset));
            codes.latents.extend(host.latents);
            codes.values.extend(host.values);
        }
        let residuals =
            Mat::from_fn(shape.n_r, n, |k, d| features.R[(k, d)] - f64::from(reconstructions[d * shape.n_r + k]));
        Self { model, features, inputs, targets, reconstructions, codes, residuals }
    }

    /// L̃.
    pub fn loss(&self) -> f64 {
        self.features.masses.iter().enumerate().map(|(d, mass)| mass * squared(self.residuals.col_as_slice(d))).sum()
    }

    /// The latents that fire on feature d, with their codes: those that are not 0.
    pub fn firing(&self, d: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.codes.offsets[d]..self.codes.offsets[d + 1];
        let pairs = self.codes.latents[range.clone()].iter().zip(&self.codes.values[range]);
        pairs.filter(|(_, z)| **z != 0.0).map(|(i, z)| (*i as usize, f64::from(*z)))
    }

    /// For each latent the features that fire it with z_id‖v_i‖ ≥ floor·‖r_d‖, and their codes. A floor of 0 is the pattern itself.
    pub fn pattern(&self, floor: f64) -> Vec<Vec<(usize, f64)>> {
        let n_q = self.model.shape().n_q;
        let norms: Vec<f64> = (0..n_q).map(|i| squared(&self.column(i)).sqrt()).collect();
        let mut pattern = vec![Vec::new(); n_q];
        for d in 0..self.features.n() {
            let least = floor * squared(self.features.R.col_as_slice(d)).sqrt();
            for (i, z) in self.firing(d).filter(|(i, z)| z.abs() * norms[*i] >= least) {
                pattern[i].push((d, z));
            }
        }
        pattern
    }

    /// v_i.
    pub fn column(&self, i: usize) -> Vec<f64> {
        self.model.w_d(i).iter().map(|v| f64::from(*v)).collect()
    }

    /// ∂z_id/∂⟨w_i, p_d⟩ where latent i fires: 1, but e^{r_i} for Gated.
    pub fn gain(&self, i: usize) -> f64 {
        self.model.tensors.get(Parameter::GateScale).map_or(1.0, |r| f64::from(r[i]).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;
    use crate::sdl::Activation;

    #[test]
    fn codes_and_loss_are_those_of_the_approximate_loss() {
        let (features, weights) = planted::random(9, 5, 4, 6, 3);
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let loss = features.approximate_loss(0.0).unwrap();
        let expected = loss.value(&weights).unwrap();
        // The backend rounds to f32.
        assert!((isolated.loss() - expected).abs() < 1e-5 * expected);
        let Z = loss.codes(weights.W.as_ref()).unwrap();
        for (i, fired) in isolated.pattern(0.0).into_iter().enumerate() {
            let expected: Vec<usize> = (0..9).filter(|d| Z[(i, *d)] != 0.0).collect();
            assert_eq!(fired.iter().map(|(d, _)| *d).collect::<Vec<_>>(), expected);
            assert!(fired.iter().all(|(d, z)| (z - Z[(i, *d)]).abs() < 1e-5));
        }
    }

    #[test]
    fn a_floor_leaves_out_what_hardly_counts() {
        let (features, weights) = planted::pair(0.25, [1.0, 2.0], [1.0, 0.01], [1.0, 0.0]);
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let fired = |floor: f64| isolated.pattern(floor)[0].iter().map(|(d, _)| *d).collect::<Vec<_>>();
        assert_eq!(fired(0.0), [0, 1]);
        assert_eq!(fired(0.5), [0]);
    }
}
