//! Online dictionary learning: mini-batches are coded on the present dictionary, and its atoms are moved to the minimum of a surrogate that sums up all batches.
//!
//! ```text
//!     A ← (1 − 1/t)^ρ A + Σ α αᵀ,   B ← (1 − 1/t)^ρ B + Σ x αᵀ            (sums over batch t)
//!     d_k ← d_k + (b_k − D a_k)/A_kk, normalised                          for k = 1..K in turn
//! ```
//!
//! α are the codes of the non-negative lasso. λ is stated as a multiple of the root mean square of ‖x‖/√n_r, so that it does not depend on units. Mairal
//! et al. let atoms be shorter than 1; here they are scaled to norm 1, as the minimum on the sphere is: on it the surrogate is
//! ½A_kk‖d_k‖² − ⟨u, d_k⟩ with a constant first term. An atom with A_kk = 0 stays.
//! Unused, doubled and idle atoms give way by the rule of [`replacement`](super::replacement), after every `every` batches and after a pass.
//!
//! # Requirements
//! At least K samples that are not 0: the atoms begin as K of them, drawn at random. Batches are drawn without replacement, in a new order for every pass.
//!
//! # References
//! * Mairal, Bach, Ponce, Sapiro 2009, Online dictionary learning for sparse coding, ICML, doi:10.1145/1553374.1553463, Algs. 1 and 2.
//! * Mairal, Bach, Ponce, Sapiro 2010, Online learning for matrix factorization and sparse coding, JMLR 11, §3.4: rescaling of the past with exponent ρ
//!   (3.4.1), mini-batches (3.4.3), purging of atoms (3.4.5).

use super::coding::{Coder, Codes};
use super::replacement::Replacement;
use super::{
    Course, Dictionary, DictionaryError, Fit, Part, Samples, Termination, Watch, check_atoms, normalise, start,
};
use crate::bench::features::stream;
use crate::optim::{Expired, never};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// Atoms whose products D a_k are made at a time; within such a block they are corrected atom by atom.
const BLOCK: usize = 32;

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `atoms` | 200 |
/// | `penalty` | 1.2 |
/// | `batch` | 512 |
/// | `passes` | 10 |
/// | `tolerance` | 1e-3 |
/// | `forgetting` | 4 |
/// | `every` | 10 |
/// | `replacement` | see [`Replacement`] |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Online {
    /// K.
    pub atoms: usize,
    /// λ over the root mean square of ‖x‖/√n_r; ≥ 0.
    pub penalty: f64,
    /// Samples of a batch, ≥ 1.
    pub batch: usize,
    /// Most passes over the samples, ≥ 1.
    pub passes: usize,
    /// Ends when a pass without a replacement lowers the objective by less than this share of it; ≥ 0.
    pub tolerance: f64,
    /// ρ ≥ 0; 0 forgets nothing.
    pub forgetting: f64,
    /// Batches between replacements, ≥ 1.
    pub every: usize,
    /// When an atom is given up.
    pub replacement: Replacement,
}

impl Default for Online {
    fn default() -> Self {
        Self {
            atoms: 200,
            penalty: 1.2,
            batch: 512,
            passes: 10,
            tolerance: 1e-3,
            forgetting: 4.0,
            every: 10,
            replacement: Replacement::default(),
        }
    }
}

impl Online {
    /// Checks the parameters.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), DictionaryError> {
        for (name, count) in [("batch", self.batch), ("passes", self.passes), ("every", self.every)] {
            if count == 0 {
                return Err(DictionaryError::parameter(name, "an integer >= 1", count));
            }
        }
        for (name, x) in [("penalty", self.penalty), ("tolerance", self.tolerance), ("forgetting", self.forgetting)] {
            if !(x >= 0.0 && x.is_finite()) {
                return Err(DictionaryError::parameter(name, "a number >= 0", x));
            }
        }
        self.replacement.check()
    }

    /// λ for these samples.
    pub fn lambda(&self, samples: Samples<'_>) -> f64 {
        self.penalty * (samples.energy() / samples.data().len() as f64).sqrt()
    }

    /// Learns a dictionary. The objective in the trace is that of every batch before its update, averaged over a pass.
    ///
    /// # Errors
    /// A parameter out of its range, more atoms than samples, or too few samples that are not 0.
    pub fn fit(&self, samples: Samples<'_>, seed: u64) -> Result<Fit, DictionaryError> {
        self.fit_watched(samples, seed, &mut |_, _| true)
    }

    /// The same, watched; there are no codes to be shown, as each batch was coded on another dictionary.
    ///
    /// # Errors
    /// The same.
    pub fn fit_watched(&self, samples: Samples<'_>, seed: u64, watch: &mut Watch<'_>) -> Result<Fit, DictionaryError> {
        self.fit_until(samples, seed, watch, &never)
    }

    /// The same for a limited time, which is looked at between batches. The codes of a part of a pass are those that its batches were given,
    /// each on the dictionary of its turn; atoms that have been replaced since then have none.
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
        self.check()?;
        check_atoms(self.atoms, samples)?;
        let mut dictionary = start(samples, self.atoms, seed)?;
        let lambda = self.lambda(samples);
        let coder = Coder::Lasso { penalty: lambda };
        let mut statistics = Statistics::new(samples.dimension(), self.atoms);
        let mut order: Vec<usize> = (0..samples.count()).collect();
        let mut rng = stream(seed, "online dictionary learning: order of samples");
        let mut course = Course::new(self.passes, self.tolerance);
        let mut batches = 0_u64;
        let mut batch = Vec::new();
        let mut residuals = Vec::new();
        loop {
            order.shuffle(&mut rng);
            let (mut objective, mut active) = (0.0, 0);
            // The codes of every batch, and the atoms that were replaced after it.
            let (mut coded, mut replaced): (Vec<Codes>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
            let count = order.len().div_ceil(self.batch);
            for (i, chosen) in order.chunks(self.batch).enumerate() {
                if i > 0 && expired() {
                    let part = Part { samples: order[..i * self.batch].to_vec(), codes: valid(&coded, &replaced) };
                    let passes = course.trace.len();
                    return Ok(course.interrupted(passes, dictionary, part));
                }
                batch.clear();
                chosen.iter().for_each(|i| batch.extend_from_slice(samples.row(*i)));
                let batch = Samples { data: &batch, dimension: samples.dimension() };
                let codes = coder.encode_with(&dictionary, &dictionary.gram(), batch, &never);
                objective += codes.objective(lambda);
                active += codes.atoms.len();
                batches += 1;
                statistics.forget((1.0 - 1.0 / batches as f64).powf(self.forgetting));
                statistics.add(batch, &codes);
                // Only the last M residuals count.
                let until = (i + 1).next_multiple_of(self.every).min(count);
                if self.replacement.enabled && (until - i - 1) * self.batch < self.replacement.samples {
                    residuals.extend(codes.residuals(&dictionary, batch));
                }
                statistics.update(&mut dictionary);
                // After the last batch no new atom could be learned.
                if until == i + 1 && !(until == count && course.is_last()) {
                    let given_up = self.replace(&mut dictionary, &mut statistics, &residuals, lambda);
                    replaced.extend(given_up.into_iter().map(|k| (i, k)));
                    residuals.clear();
                }
                coded.push(codes);
            }
            let samples = samples.count() as f64;
            if let Some(termination) = course.pass(objective / samples, active as f64 / samples, replaced.len()) {
                return Ok(course.end(dictionary, termination));
            }
            if !watch(&dictionary, None) {
                let passes = course.trace.len();
                return Ok(course.end(dictionary, Termination::Stopped { passes }));
            }
        }
    }

    fn replace(
        &self,
        dictionary: &mut Dictionary,
        statistics: &mut Statistics,
        residuals: &[f32],
        lambda: f64,
    ) -> Vec<usize> {
        let replaced = self.replacement.apply(dictionary, &statistics.energies(), residuals, lambda, false);
        replaced.iter().for_each(|k| statistics.clear(*k));
        replaced
    }
}

/// The codes of batches, without those of atoms that were replaced after the batch or a later one.
pub(super) fn valid(coded: &[Codes], replaced: &[(usize, usize)]) -> Codes {
    let of = |(i, codes): (usize, &Codes)| {
        let since: Vec<usize> = replaced.iter().filter(|(after, _)| *after >= i).map(|(_, k)| *k).collect();
        codes.without(&since)
    };
    Codes::joined(&coded.iter().enumerate().map(of).collect::<Vec<_>>())
}

/// What the past batches say about the dictionary.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    n_r: usize,
    atoms: usize,
    /// A, K × K, column after column.
    second: Vec<f32>,
    /// B, n_r × K, column after column.
    cross: Vec<f32>,
    /// Samples, each with the weight that it still has.
    weight: f64,
}

impl Statistics {
    /// Of no samples.
    pub fn new(n_r: usize, atoms: usize) -> Self {
        Self { n_r, atoms, second: vec![0.0; atoms * atoms], cross: vec![0.0; n_r * atoms], weight: 0.0 }
    }

    /// A, K × K.
    pub fn second(&self) -> MatRef<'_, f32> {
        MatRef::from_column_major_slice(&self.second, self.atoms, self.atoms)
    }

    /// B, n_r × K.
    pub fn cross(&self) -> MatRef<'_, f32> {
        MatRef::from_column_major_slice(&self.cross, self.n_r, self.atoms)
    }

    /// Scales the past.
    pub fn forget(&mut self, factor: f64) {
        self.weight *= factor;
        let factor = factor as f32;
        self.second.iter_mut().chain(&mut self.cross).for_each(|x| *x *= factor);
    }

    /// Adds Σ α αᵀ and Σ x αᵀ, sample by sample.
    ///
    /// # Panics
    /// If there is not one row of codes for each sample, which is a mistake of the program.
    pub fn add(&mut self, samples: Samples<'_>, codes: &Codes) {
        assert!(codes.samples() == samples.count() && samples.dimension() == self.n_r, "codes of the samples");
        self.weight += samples.count() as f64;
        for i in 0..samples.count() {
            let (atoms, values) = codes.sample(i);
            for (&k, &value) in atoms.iter().zip(values) {
                let k = k as usize;
                let column = &mut self.second[k * self.atoms..(k + 1) * self.atoms];
                for (&j, &other) in atoms.iter().zip(values) {
                    column[j as usize] += value * other;
                }
                let column = &mut self.cross[k * self.n_r..(k + 1) * self.n_r];
                column.iter_mut().zip(samples.row(i)).for_each(|(b, x)| *b += value * x);
            }
        }
    }

    /// Mean α_k² of every atom.
    pub fn energies(&self) -> Vec<f64> {
        let total = self.weight.max(f64::MIN_POSITIVE);
        (0..self.atoms).map(|k| f64::from(self.second[k * self.atoms + k]) / total).collect()
    }

    /// Forgets an atom that has been replaced.
    pub fn clear(&mut self, k: usize) {
        for j in 0..self.atoms {
            self.second[k * self.atoms + j] = 0.0;
            self.second[j * self.atoms + k] = 0.0;
        }
        self.cross[k * self.n_r..(k + 1) * self.n_r].fill(0.0);
    }

    /// One round of block-coordinate descent on ½ tr(DᵀD A) − tr(DᵀB) over unit columns (Alg. 2).
    pub fn update(&self, dictionary: &mut Dictionary) {
        let (n_r, atoms) = (self.n_r, self.atoms);
        let mut block = vec![0.0_f32; n_r * BLOCK.min(atoms)];
        let mut new = vec![0.0_f32; n_r];
        let mut change = vec![0.0_f32; n_r];
        for from in (0..atoms).step_by(BLOCK) {
            let width = BLOCK.min(atoms - from);
            // B − D A for these atoms, with the dictionary as it is now.
            let block = &mut block[..n_r * width];
            block.copy_from_slice(&self.cross[from * n_r..(from + width) * n_r]);
            let A = MatRef::from_column_major_slice(&self.second[from * atoms..(from + width) * atoms], atoms, width);
            let out = MatMut::from_column_major_slice_mut(block, n_r, width);
            matmul(out, Accum::Add, dictionary.matrix(), A, -1.0, Par::Seq);
            for i in 0..width {
                let k = from + i;
                let row = &self.second[k * atoms..(k + 1) * atoms];
                if row[k] <= 0.0 {
                    continue;
                }
                let (own, later) = block[i * n_r..].split_at_mut(n_r);
                for ((new, d), u) in new.iter_mut().zip(dictionary.atom(k)).zip(&*own) {
                    *new = row[k] * d + u;
                }
                if !normalise(&mut new) {
                    continue;
                }
                for ((change, new), d) in change.iter_mut().zip(&new).zip(dictionary.atom(k)) {
                    *change = new - d;
                }
                dictionary.atom_mut(k).copy_from_slice(&new);
                for (column, a) in later.chunks_exact_mut(n_r).zip(&row[k + 1..]) {
                    if *a != 0.0 {
                        column.iter_mut().zip(&change).for_each(|(u, c)| *u -= a * c);
                    }
                }
            }
        }
    }
}
