//! K-SVD: every atom in turn, together with its codes, is the best rank-one fit to what the other atoms leave of the samples that use it.
//!
//! ```text
//!     minimize   ‖E_k − d gᵀ‖²_F      E_k = X_ω − Σ_{j≠k} d_j z_jω,   ω the samples that use atom k
//! ```
//!
//! [`Update::Exact`] repeats d ← E_k g/‖E_k g‖, g ← E_kᵀ d from the present atom until the atom turns by less than 1e-6, at most 100 times; this is the power
//! method, whose limit is the leading singular pair unless the present atom is orthogonal to it. [`Update::Approximate`] does it once. With
//! non-negative codes g ← max(0, E_kᵀ d) in both.
//!
//! # Requirements
//! At least K samples that are not 0. The objective Σ_i ½‖x_i − Dα_i‖² of a pass is not above that of the pass before, as long as no atom is
//! replaced: no update of an atom raises it, and of the codes found anew and those kept from the pass before every sample takes the better ones.
//!
//! # References
//! * Aharon, Elad, Bruckstein 2006, IEEE Trans. Signal Process. 54(11), doi:10.1109/TSP.2006.881199.
//! * Aharon, Elad, Bruckstein 2005, Proc. SPIE 5914, doi:10.1117/12.613878 (non-negative codes).
//! * Rubinstein, Zibulevsky, Elad 2008, CS Technion technical report 2008-08, Alg. 5 (approximate).

use super::coding::{Coder, Codes};
use super::replacement::Replacement;
use super::{Dictionary, DictionaryError, Fit, Learner, Samples, Watch, alternate, dot, normalise};
use crate::optim::{Expired, never};
use serde::{Deserialize, Serialize};

/// Most repetitions of [`Update::Exact`].
const POWER_STEPS: usize = 100;
/// It ends when ‖d − d'‖² is below this.
const TURN: f32 = 1e-12;

/// How an atom is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// Leading singular pair.
    Exact,
    /// One step towards it.
    #[default]
    Approximate,
}

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `atoms` | 200 |
/// | `coder` | orthogonal matching pursuit with 4 atoms |
/// | `update` | approximate |
/// | `passes` | 30 |
/// | `tolerance` | 1e-4 |
/// | `replacement` | see [`Replacement`] |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ksvd {
    /// K.
    pub atoms: usize,
    /// How samples are coded.
    pub coder: Coder,
    /// How an atom is fitted.
    pub update: Update,
    /// Most passes over the samples, ≥ 1.
    pub passes: usize,
    /// Ends when a pass without a replacement lowers the objective by less than this share of it; ≥ 0.
    pub tolerance: f64,
    /// When an atom is given up.
    pub replacement: Replacement,
}

impl Default for Ksvd {
    fn default() -> Self {
        Self {
            atoms: 200,
            coder: Coder::Omp { atoms: 4, error: 0.0 },
            update: Update::default(),
            passes: 30,
            tolerance: 1e-4,
            replacement: Replacement::default(),
        }
    }
}

impl Ksvd {
    /// Learns a dictionary.
    ///
    /// # Errors
    /// A parameter out of its range, more atoms than samples, or samples without a direction.
    pub fn fit(&self, samples: Samples<'_>, seed: u64) -> Result<Fit, DictionaryError> {
        self.fit_watched(samples, seed, &mut |_, _| true)
    }

    /// The same, watched; the codes that are shown have been fitted to the atoms.
    ///
    /// # Errors
    /// The same.
    pub fn fit_watched(&self, samples: Samples<'_>, seed: u64, watch: &mut Watch<'_>) -> Result<Fit, DictionaryError> {
        self.fit_until(samples, seed, watch, &never)
    }

    /// The same for a limited time, which is looked at between blocks of samples and between atoms.
    ///
    /// # Errors
    /// The same.
    pub fn fit_until(
        &self,
        samples: Samples<'_>,
        seed: u64,
        watch: &mut Watch<'_>,
        expired: &Expired<'_>,
    ) -> Result<Fit, DictionaryError> {
        let learner = Learner {
            atoms: self.atoms,
            coder: self.coder,
            passes: self.passes,
            tolerance: self.tolerance,
            replacement: self.replacement,
        };
        let nonnegative = self.coder.is_nonnegative();
        alternate(&learner, samples, seed, watch, expired, |dictionary, codes, _, residuals| {
            step(dictionary, codes, residuals, self.update, nonnegative, expired)
        })
    }
}

/// Fits all atoms and their codes in turn; `residuals` is X − D Z, n_r numbers for each sample, and stays so. Atoms that no code uses stay as they are.
/// False if the time was over before the last atom: those after it stay, too.
pub fn step(
    dictionary: &mut Dictionary,
    codes: &mut Codes,
    residuals: &mut [f32],
    update: Update,
    nonnegative: bool,
    expired: &Expired<'_>,
) -> bool {
    let n_r = dictionary.dimension();
    let users = codes.users(dictionary.atoms());
    // E_k, one row per sample of ω.
    let mut errors: Vec<f32> = Vec::new();
    let mut g: Vec<f32> = Vec::new();
    let mut next = vec![0.0_f64; n_r];
    for (k, users) in users.iter().enumerate() {
        if k > 0 && expired() {
            return false;
        }
        errors.clear();
        g.clear();
        for &(sample, at) in users {
            let value = codes.values[at];
            let row = &residuals[sample as usize * n_r..][..n_r];
            errors.extend(row.iter().zip(dictionary.atom(k)).map(|(e, d)| e + value * d));
            g.push(value);
        }
        let steps = if update == Update::Exact { POWER_STEPS } else { 1 };
        for _ in 0..steps {
            next.fill(0.0);
            for (row, g) in errors.chunks_exact(n_r).zip(&g) {
                next.iter_mut().zip(row).for_each(|(d, e)| *d += f64::from(*g) * f64::from(*e));
            }
            let mut atom: Vec<f32> = scaled(&next);
            if !normalise(&mut atom) {
                break;
            }
            let turned: f32 = atom.iter().zip(dictionary.atom(k)).map(|(new, d)| (new - d).powi(2)).sum();
            dictionary.atom_mut(k).copy_from_slice(&atom);
            for (row, g) in errors.chunks_exact(n_r).zip(&mut g) {
                let product = dot(row, &atom) as f32;
                *g = if nonnegative { product.max(0.0) } else { product };
            }
            if turned < TURN {
                break;
            }
        }
        for ((&(sample, at), row), &g) in users.iter().zip(errors.chunks_exact(n_r)).zip(&g) {
            codes.values[at] = g;
            let out = &mut residuals[sample as usize * n_r..][..n_r];
            for ((out, e), d) in out.iter_mut().zip(row).zip(dictionary.atom(k)) {
                *out = e - g * d;
            }
        }
    }
    true
}

/// In f32, divided by the largest entry so that none overflows.
fn scaled(x: &[f64]) -> Vec<f32> {
    let largest = x.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    x.iter().map(|x| if largest > 0.0 { (x / largest) as f32 } else { 0.0 }).collect()
}
