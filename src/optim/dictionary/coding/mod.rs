//! Sparse codes α of samples x on a dictionary D of K unit columns.
//!
//! | coder | codes | module |
//! |---|---|---|
//! | [`Coder::Omp`] | a fixed number of atoms, or a target error; either sign | [`omp`](mod@omp) |
//! | [`Coder::Nnls`] | non-negative least squares, with a bound on the number of atoms if wanted | [`nonnegative`](mod@nonnegative) |
//! | [`Coder::Lasso`] | ½‖x − Dα‖² + λ Σα, α ≥ 0 | [`nonnegative`](mod@nonnegative) |
//!
//! All work on the products Dᵀx and on the Gram matrix DᵀD. Samples are coded in blocks of a fixed size, which threads take: their number
//! does not matter.

pub mod nonnegative;
pub mod omp;
mod scalar;

use super::{Dictionary, DictionaryError, Samples};
use crate::backend::cpu::simd::{Isa, Kernel, Simd};
use crate::optim::cholesky::Factor;
use crate::optim::{Expired, never};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};
pub use nonnegative::nonnegative;
pub use omp::omp;
use rayon::prelude::*;
pub use scalar::Scalar;
use serde::{Deserialize, Serialize};

/// Samples whose products with the dictionary are made at a time.
const BLOCK: usize = 64;
/// Such blocks for each thread between two looks at the time.
const BLOCKS: usize = 16;

/// How samples are coded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"omp\", atoms = 8, error = 0.0 }")]
pub enum Coder {
    /// Orthogonal matching pursuit.
    Omp {
        /// Most atoms of a sample, ≥ 1.
        atoms: usize,
        /// A sample is done once ‖x − Dα‖ ≤ `error`·‖x‖; ≥ 0.
        error: f64,
    },
    /// Non-negative least squares.
    Nnls {
        /// Most atoms of a sample, ≥ 1; absent: as many as the optimum has.
        atoms: Option<usize>,
    },
    /// Lasso with non-negative codes.
    Lasso {
        /// λ ≥ 0, in the units of the samples.
        penalty: f64,
    },
}

/// The Gram matrix DᵀD of a dictionary, column after column.
#[derive(Debug, Clone, Copy)]
pub struct Gram<'a, T> {
    entries: &'a [T],
    atoms: usize,
}

/// What the coders work in: made once for many samples.
#[derive(Debug, Clone)]
pub struct Solver<T> {
    /// Atoms that are taken.
    support: Vec<u32>,
    /// Their codes.
    values: Vec<T>,
    /// Atoms that cannot be taken now.
    barred: Vec<u32>,
    /// L Lᵀ = G_AA.
    factor: Factor<T>,
    /// Dᵀ(x − Dα).
    residual: Vec<T>,
    magnitudes: Vec<T>,
    solution: Vec<T>,
    /// Multiply-adds of non-negative codes since the solver was made.
    work: u64,
}

/// Sparse codes of many samples: those of sample i stand at offsets\[i\] .. offsets\[i + 1\], by increasing atom.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Codes {
    /// Where every sample begins; one more than there are samples.
    pub offsets: Vec<usize>,
    /// Atoms, counted from 0.
    pub atoms: Vec<u32>,
    /// Their codes.
    pub values: Vec<f32>,
    /// ‖x − Dα‖² for every sample, in f32 from ‖x‖² − Σ α_k (⟨d_k, x⟩ + ⟨d_k, x − Dα⟩), so that it is exact to rounding of ‖x‖².
    pub errors: Vec<f32>,
}

impl<'a, T: Scalar> Gram<'a, T> {
    /// Of K × K entries.
    ///
    /// # Panics
    /// If their number is another one, which is a mistake of the program.
    pub fn new(entries: &'a [T], atoms: usize) -> Self {
        assert_eq!(entries.len(), atoms * atoms, "a square matrix");
        Self { entries, atoms }
    }

    /// Products of all atoms with atom k.
    #[inline(always)]
    pub fn column(&self, k: usize) -> &'a [T] {
        &self.entries[k * self.atoms..(k + 1) * self.atoms]
    }
}

impl<T: Scalar> Default for Solver<T> {
    fn default() -> Self {
        Self {
            support: Vec::new(),
            values: Vec::new(),
            barred: Vec::new(),
            factor: Factor::new(),
            residual: Vec::new(),
            magnitudes: Vec::new(),
            solution: Vec::new(),
            work: 0,
        }
    }
}

impl<T: Scalar> Solver<T> {
    #[inline(always)]
    fn start(&mut self, products: &[T]) {
        self.support.clear();
        self.values.clear();
        self.barred.clear();
        self.factor.truncate(0);
        self.residual.clear();
        self.residual.extend_from_slice(products);
    }

    /// Takes an atom; false if it depends on those that are taken.
    #[inline(always)]
    fn take(&mut self, gram: Gram<'_, T>, k: usize) -> bool {
        let column = gram.column(k);
        let independent = self.factor.append(self.support.iter().map(|j| column[*j as usize]).chain([column[k]]));
        self.work += (self.support.len() * (self.support.len() + 1) / 2) as u64;
        if independent {
            self.support.push(k as u32);
        }
        independent
    }

    /// Dᵀ(x − Dα) for the present codes. Each entry takes the atoms in the order in which they were taken.
    #[inline(always)]
    fn refresh(&mut self, gram: Gram<'_, T>, products: &[T]) {
        scalar::combine(&mut self.residual, products, gram, &self.support, &self.values);
        self.work += (products.len() * self.support.len()) as u64;
    }

    /// x ← (L Lᵀ)⁻¹ x for the solution asked for.
    #[inline(always)]
    fn solve(&mut self) {
        self.factor.solve(&mut self.solution);
        self.work += (self.solution.len() * self.solution.len()) as u64;
    }

    /// Multiply-adds that non-negative codes have taken since the solver was made.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Atoms and codes of the sample that was coded last, in the order in which they were taken.
    pub fn codes(&self) -> impl Iterator<Item = (u32, T)> + '_ {
        self.support.iter().copied().zip(self.values.iter().copied())
    }

    /// Dᵀ(x − Dα) of the sample that was coded last. Non-negative codes leave exactly λ at the atoms that are taken.
    pub fn residual_products(&self) -> &[T] {
        &self.residual
    }
}

/// Products with a sample of this ‖x‖² that are no larger than this are rounding.
fn rounding<T: Scalar>(energy: T) -> T {
    T::of(16.0) * T::EPSILON * energy.sqrt()
}

impl Coder {
    /// Checks the parameters.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), DictionaryError> {
        let number = |name, x: f64| match x >= 0.0 && x.is_finite() {
            true => Ok(()),
            false => Err(DictionaryError::parameter(name, "a number >= 0", x)),
        };
        let count = |atoms: usize| match atoms {
            0 => Err(DictionaryError::parameter("coder.atoms", "an integer >= 1", 0)),
            _ => Ok(()),
        };
        match *self {
            Self::Omp { atoms, error } => count(atoms).and_then(|()| number("coder.error", error)),
            Self::Nnls { atoms } => atoms.map_or(Ok(()), count),
            Self::Lasso { penalty } => number("coder.penalty", penalty),
        }
    }

    /// True if codes cannot be negative.
    pub fn is_nonnegative(&self) -> bool {
        !matches!(self, Self::Omp { .. })
    }

    /// λ; 0 without a penalty.
    pub fn penalty(&self) -> f64 {
        match *self {
            Self::Lasso { penalty } => penalty,
            Self::Omp { .. } | Self::Nnls { .. } => 0.0,
        }
    }

    /// Codes of all samples.
    ///
    /// # Errors
    /// A parameter out of its range, or samples of another dimension than the atoms.
    pub fn encode(&self, dictionary: &Dictionary, samples: Samples<'_>) -> Result<Codes, DictionaryError> {
        self.encode_until(dictionary, samples, &never)
    }

    /// The same, of the first samples alone if the time is over before the last.
    ///
    /// # Errors
    /// The same.
    pub fn encode_until(
        &self,
        dictionary: &Dictionary,
        samples: Samples<'_>,
        expired: &Expired<'_>,
    ) -> Result<Codes, DictionaryError> {
        self.check()?;
        dictionary.admits(samples)?;
        Ok(self.encode_with(dictionary, &dictionary.gram(), samples, expired))
    }

    /// The same for checked parameters and a Gram matrix that is there already.
    pub(super) fn encode_with(
        &self,
        dictionary: &Dictionary,
        gram: &[f32],
        samples: Samples<'_>,
        expired: &Expired<'_>,
    ) -> Codes {
        let blocks: Vec<usize> = (0..samples.count()).step_by(BLOCK).collect();
        let mut parts: Vec<Codes> = Vec::with_capacity(blocks.len());
        for some in blocks.chunks(BLOCKS * rayon::current_num_threads()) {
            if !parts.is_empty() && expired() {
                break;
            }
            parts.par_extend(some.par_iter().map_init(Work::default, |work, &from| {
                self.encode_block(dictionary, gram, samples.range(from, BLOCK.min(samples.count() - from)), work)
            }));
        }
        Codes::joined(&parts)
    }

    fn encode_block(&self, dictionary: &Dictionary, gram: &[f32], samples: Samples<'_>, work: &mut Work) -> Codes {
        let (atoms, count) = (dictionary.atoms(), samples.count());
        let gram = Gram::new(gram, atoms);
        work.products.resize(atoms * count, 0.0);
        let products = MatMut::from_column_major_slice_mut(&mut work.products, atoms, count);
        matmul(products, Accum::Replace, dictionary.matrix().transpose(), samples.matrix(), 1.0, Par::Seq);
        let mut codes = Codes { offsets: vec![0], ..Codes::default() };
        for (i, products) in work.products.chunks_exact(atoms).enumerate() {
            let energy = samples.row(i).iter().map(|x| x * x).sum();
            let solver = &mut work.solver;
            Isa::detect().run(OneSample { coder: *self, gram, products, energy, solver });
            work.sorted.clear();
            work.sorted.extend(solver.codes());
            work.sorted.sort_unstable_by_key(|(k, _)| *k);
            let explained = |(k, value): &(u32, f32)| value * (products[*k as usize] + solver.residual[*k as usize]);
            let error = work.sorted.iter().fold(energy, |error, code| error - explained(code));
            codes.push(work.sorted.iter().copied(), error.max(0.0));
        }
        codes
    }
}

/// One sample, compiled for the instruction set: sums keep their order and products are rounded before they are added, so that the codes do not depend on it.
struct OneSample<'a> {
    coder: Coder,
    gram: Gram<'a, f32>,
    products: &'a [f32],
    energy: f32,
    solver: &'a mut Solver<f32>,
}

impl Kernel for OneSample<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { coder, gram, products, energy, solver } = self;
        match coder {
            Coder::Omp { atoms, error } => omp(gram, products, energy, atoms, (error * error) as f32 * energy, solver),
            Coder::Nnls { atoms } => nonnegative(gram, products, energy, 0.0, atoms.unwrap_or(usize::MAX), solver),
            Coder::Lasso { penalty } => nonnegative(gram, products, energy, penalty as f32, usize::MAX, solver),
        }
    }
}

#[derive(Default)]
struct Work {
    products: Vec<f32>,
    solver: Solver<f32>,
    sorted: Vec<(u32, f32)>,
}

impl Codes {
    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Atoms and codes of a sample.
    pub fn sample(&self, i: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[i]..self.offsets[i + 1];
        (&self.atoms[range.clone()], &self.values[range])
    }

    /// Mean number of atoms of a sample: L0.
    pub fn mean_active(&self) -> f64 {
        self.atoms.len() as f64 / self.samples().max(1) as f64
    }

    /// Σ_i ½‖x_i − Dα_i‖² + λ Σ_k |α_ik|, added in f64.
    pub fn objective(&self, penalty: f64) -> f64 {
        let errors: f64 = self.errors.iter().map(|e| f64::from(*e)).sum();
        let codes: f64 = self.values.iter().map(|v| f64::from(v.abs())).sum();
        0.5 * errors + penalty * codes
    }

    /// X − D Z, n_r numbers for each sample.
    ///
    /// # Panics
    /// If there is not one row of codes for each sample, which is a mistake of the program.
    pub fn residuals(&self, dictionary: &Dictionary, samples: Samples<'_>) -> Vec<f32> {
        assert_eq!(self.samples(), samples.count(), "codes of the samples");
        let mut residuals = samples.data().to_vec();
        residuals.par_chunks_mut(samples.dimension()).enumerate().for_each(|(i, row)| {
            let (atoms, values) = self.sample(i);
            for (&k, &value) in atoms.iter().zip(values) {
                scalar::subtract(row, value, dictionary.atom(k as usize));
            }
        });
        residuals
    }

    /// Sets the errors to those of this dictionary, and returns X − D Z.
    pub(super) fn measured(&mut self, dictionary: &Dictionary, samples: Samples<'_>) -> Vec<f32> {
        let residuals = self.residuals(dictionary, samples);
        let square = |row: &[f32]| row.iter().map(|e| e * e).sum::<f32>();
        self.errors.clear();
        self.errors.par_extend(residuals.par_chunks(samples.dimension()).map(square));
        residuals
    }

    /// For every sample the codes with the lower ½‖x − Dα‖² + λ Σ|α|; of equal ones these.
    pub(super) fn better(&self, other: &Self, penalty: f64) -> Self {
        let mut best = Self { offsets: vec![0], ..Self::default() };
        for i in 0..self.samples() {
            let objective = |codes: &Self| {
                let sum: f64 = codes.sample(i).1.iter().map(|z| f64::from(z.abs())).sum();
                0.5 * f64::from(codes.errors[i]) + penalty * sum
            };
            let from = if objective(other) < objective(self) { other } else { self };
            let (atoms, values) = from.sample(i);
            best.push(atoms.iter().copied().zip(values.iter().copied()), from.errors[i]);
        }
        best
    }

    /// Without the codes of some atoms. Errors are those from before.
    pub(super) fn without(&self, atoms: &[usize]) -> Self {
        let mut left = Self { offsets: vec![0], ..Self::default() };
        for i in 0..self.samples() {
            let (indices, values) = self.sample(i);
            let kept = indices.iter().copied().zip(values.iter().copied());
            left.push(kept.filter(|(k, _)| !atoms.contains(&(*k as usize))), self.errors[i]);
        }
        left
    }

    /// Mean α_k² of every atom.
    pub fn energies(&self, atoms: usize) -> Vec<f64> {
        let mut sums = vec![0.0; atoms];
        for (&k, &value) in self.atoms.iter().zip(&self.values) {
            sums[k as usize] += f64::from(value) * f64::from(value);
        }
        sums.iter().map(|sum| sum / self.samples().max(1) as f64).collect()
    }

    /// For every atom the samples that use it, and where their codes stand.
    pub(super) fn users(&self, atoms: usize) -> Vec<Vec<(u32, usize)>> {
        let mut users = vec![Vec::new(); atoms];
        for i in 0..self.samples() {
            for at in self.offsets[i]..self.offsets[i + 1] {
                users[self.atoms[at] as usize].push((i as u32, at));
            }
        }
        users
    }

    fn push(&mut self, codes: impl Iterator<Item = (u32, f32)>, error: f32) {
        for (atom, value) in codes.filter(|(_, value)| *value != 0.0) {
            self.atoms.push(atom);
            self.values.push(value);
        }
        self.offsets.push(self.atoms.len());
        self.errors.push(error);
    }

    /// Z as a dense K × N matrix.
    pub fn dense(&self, atoms: usize) -> Mat<f64> {
        let mut dense = Mat::zeros(atoms, self.samples());
        for i in 0..self.samples() {
            let (indices, values) = self.sample(i);
            for (&k, &value) in indices.iter().zip(values) {
                dense[(k as usize, i)] = f64::from(value);
            }
        }
        dense
    }

    /// Adds the codes of another one for the samples that it has beyond these.
    pub(super) fn complete(&mut self, other: &Self) {
        for i in self.samples()..other.samples() {
            let (atoms, values) = other.sample(i);
            self.push(atoms.iter().copied().zip(values.iter().copied()), other.errors[i]);
        }
    }

    pub(super) fn joined(parts: &[Self]) -> Self {
        let mut all = Self { offsets: vec![0], ..Self::default() };
        for part in parts {
            let start = all.atoms.len();
            all.offsets.extend(part.offsets[1..].iter().map(|at| start + at));
            all.atoms.extend_from_slice(&part.atoms);
            all.values.extend_from_slice(&part.values);
            all.errors.extend_from_slice(&part.errors);
        }
        all
    }
}

#[cfg(test)]
mod tests;
