//! The training loss beside L̃: how much of it does L̃ carry?

use crate::backend::{Backend, Mode};
use crate::bench::coefficients::Coefficients;
use crate::bench::config::BenchConfig;
use crate::bench::dataset::Side;
use crate::sdl::Model;
use crate::train::data::{Data, Loader};
use serde::Serialize;

/// What samples say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampled {
    /// How many: of the bench, samples that training has not seen; of files, the first ones.
    pub samples: u64,
    /// L = E‖x_r − x̂_r‖² over them.
    pub loss: f64,
    /// Pr(‖x‖₀ = 1); absent where the law of x is not known.
    pub one: Option<f64>,
    /// Σ M_d‖r_d‖² / Σ_d Pr(x_d > 0)E\[x_d² | x_d > 0\]‖r_d‖²: the share of the energy of samples that stands alone, and so the share of L that L̃ can see.
    pub carried: Option<f64>,
    /// In how many samples each latent was active.
    #[serde(skip)]
    pub firings: Vec<u64>,
}

impl Sampled {
    /// Looks at so many samples. The backend must have been made for the shape of the model.
    pub fn of<B: Backend>(backend: &B, data: &Data, model: &Model, most: u64) -> Self {
        let first = data.bench().map_or(0, |bench| bench.config().samples);
        let count = if data.bench().is_some() { most } else { most.min(data.samples()) };
        let indices: Vec<u64> = (first..first + count).collect();
        let params = backend.params(model);
        let opt = backend.opt_state(&params);
        let (mut batch, mut codes, mut loader) = (backend.batch(), backend.codes(), Loader::default());
        let mut firings = vec![0; model.shape().n_q];
        let mut sum = 0.0;
        for indices in indices.chunks(backend.spec().batch.max(1)) {
            loader.load(backend, data, indices, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Inference, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            let targets = data.rows(indices, Side::Target);
            let reconstructions = backend.reconstruction_of(&batch, &codes);
            sum += targets.iter().zip(&reconstructions).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>();
            let host = backend.codes_of(&codes);
            let active = host.latents.iter().zip(&host.values).filter(|(_, z)| **z != 0.0);
            active.for_each(|(i, _)| firings[*i as usize] += 1);
        }
        let law = data.bench().map(|bench| bench.coefficients());
        Self {
            samples: count,
            loss: sum / count.max(1) as f64,
            one: law.map(|law| law.count_law().get(1).copied().unwrap_or(0.0)),
            carried: law.and_then(carried),
            firings,
        }
    }
}

/// Σ M_d over Σ_d Pr(x_d > 0)E\[x_d² | x_d > 0\]; the directions of a bench have one length. Absent if nothing ever fires.
fn carried(law: &Coefficients) -> Option<f64> {
    let all: f64 = law.firing_rates().iter().zip(law.second_moments()).map(|(p, m)| p * m).sum();
    (all > 0.0).then(|| law.masses().iter().sum::<f64>() / all)
}

/// The same share for the bench of the paper's default (Table 3).
pub fn carried_by_default() -> Option<f64> {
    carried(&BenchConfig::default().coefficients().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_default_of_the_paper_one_feature_alone_is_rare() {
        // (1 − p)^{n−1} with p = .01 and n = 1000: every mass has this factor.
        let share = carried_by_default().unwrap();
        let expected = 0.99_f64.powi(999);
        assert!((share - expected).abs() < 1e-3 * expected, "{share:e} {expected:e}");
        assert!(expected > 4e-5 && expected < 5e-5);
    }
}
