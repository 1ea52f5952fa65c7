//! Classical dictionary learning in the SDL setting: a dictionary D (n_r × K unit columns, the decoder) and sparse codes for samples x_r, without an
//! encoder.
//!
//! ```text
//!     minimize   Σ_i ½‖x_i − D α_i‖² + λ Σ_k α_ik      over D with unit columns and sparse α_i ≥ 0
//! ```
//!
//! | learner | source | module |
//! |---|---|---|
//! | online dictionary learning | Mairal, Bach, Ponce, Sapiro 2009 | [`online`] |
//! | K-SVD, exact and approximate | Aharon, Elad, Bruckstein 2006; Rubinstein, Zibulevsky, Elad 2008 | [`ksvd`] |
//! | method of optimal directions | Engan, Aase, Husøy 1999 | [`optimal_directions`] |
//!
//! Every learner has the shape `Config::fit(samples, seed) -> Result<Fit, DictionaryError>`. [`coding`] finds codes, [`replacement`] says when an atom is
//! given up for another one, and [`amortised`] fits an encoder W to the codes, so that (V, W) is a point of the SDL problem.

pub mod amortised;
pub mod coding;
pub mod ksvd;
pub mod online;
pub mod optimal_directions;
pub mod replacement;

use super::Expired;
use crate::bench::features::stream;
pub use amortised::Amortised;
pub use coding::{Coder, Codes};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
pub use ksvd::Ksvd;
pub use online::Online;
pub use optimal_directions::OptimalDirections;
use rand::seq::SliceRandom;
use rayon::prelude::*;
pub use replacement::Replacement;
use serde::{Deserialize, Serialize};

/// Atoms whose products with all atoms are made at a time, and samples whose squares are added at a time.
const PANEL: usize = 64;

/// Samples x_i, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    data: &'a [f32],
    dimension: usize,
}

/// K unit vectors of R^{n_r}.
#[derive(Debug, Clone, PartialEq)]
pub struct Dictionary {
    dimension: usize,
    data: Vec<f32>,
}

/// What is wrong with samples, a dictionary or a configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DictionaryError {
    /// A parameter is out of its range.
    #[error("{name}: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The range in words.
        expected: String,
        /// The value.
        found: String,
    },
    /// Numbers that are not whole rows.
    #[error("{what}: expected whole rows of {dimension} numbers, found {found} numbers")]
    Shape {
        /// Which numbers.
        what: &'static str,
        /// Length of a row.
        dimension: usize,
        /// How many there are.
        found: usize,
    },
    /// Vectors of another space.
    #[error("{what}: expected dimension {expected}, found {found}")]
    Dimension {
        /// Which vectors.
        what: &'static str,
        /// Dimension of the others.
        expected: usize,
        /// Their dimension.
        found: usize,
    },
    /// A number is NaN, infinite, or so large that ‖x‖² is.
    #[error("{what}: expected finite numbers with a finite sum of squares, found others in row {row}")]
    NotFinite {
        /// Which vectors.
        what: &'static str,
        /// The first such row, from 0.
        row: usize,
    },
    /// Another number of rows.
    #[error("{what}: expected {expected} rows, found {found}")]
    Count {
        /// Which rows.
        what: &'static str,
        /// Rows of the others.
        expected: usize,
        /// Their number.
        found: usize,
    },
    /// Too few samples that are not 0.
    #[error("samples: expected at least {expected} that are not 0, found {found}")]
    TooFew {
        /// How many are needed.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A vector that must have a direction has none.
    #[error("{what}: expected vectors that are not 0, found one in row {row}")]
    Zero {
        /// Which vectors.
        what: &'static str,
        /// The first such row, from 0.
        row: usize,
    },
}

impl DictionaryError {
    fn parameter(name: &'static str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self::Parameter { name, expected: expected.into(), found: found.to_string() }
    }
}

/// Rows of finite numbers whose squares have a finite sum; at least one.
fn check_rows(what: &'static str, data: &[f32], dimension: usize) -> Result<(), DictionaryError> {
    if dimension == 0 || data.is_empty() || !data.len().is_multiple_of(dimension) {
        return Err(DictionaryError::Shape { what, dimension, found: data.len() });
    }
    let finite = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().is_finite();
    match data.chunks_exact(dimension).position(|row| !finite(row)) {
        Some(row) => Err(DictionaryError::NotFinite { what, row }),
        None => Ok(()),
    }
}

impl<'a> Samples<'a> {
    /// Rows of `dimension` numbers.
    ///
    /// # Errors
    /// No samples, a row that is not whole, or numbers that are not finite.
    pub fn new(data: &'a [f32], dimension: usize) -> Result<Self, DictionaryError> {
        check_rows("samples", data, dimension)?;
        Ok(Self { data, dimension })
    }

    /// N.
    pub fn count(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// n_r.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All numbers.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// Sample i.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dimension..(i + 1) * self.dimension]
    }

    /// X, n_r × N.
    pub fn matrix(&self) -> MatRef<'a, f32> {
        MatRef::from_column_major_slice(self.data, self.dimension, self.count())
    }

    /// ‖X‖² in f64.
    pub fn energy(&self) -> f64 {
        self.data.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
    }

    fn range(&self, from: usize, count: usize) -> Self {
        Self { data: &self.data[from * self.dimension..(from + count) * self.dimension], dimension: self.dimension }
    }
}

impl Dictionary {
    /// Rows of `dimension` numbers, each divided by its norm.
    ///
    /// # Errors
    /// No atoms, a row that is not whole, numbers that are not finite, or an atom without a direction.
    pub fn new(mut data: Vec<f32>, dimension: usize) -> Result<Self, DictionaryError> {
        check_rows("dictionary", &data, dimension)?;
        for (row, atom) in data.chunks_exact_mut(dimension).enumerate() {
            if !normalise(atom) {
                return Err(DictionaryError::Zero { what: "dictionary", row });
            }
        }
        Ok(Self { dimension, data })
    }

    /// K.
    pub fn atoms(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// n_r.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Atom k, a unit vector.
    pub fn atom(&self, k: usize) -> &[f32] {
        &self.data[k * self.dimension..(k + 1) * self.dimension]
    }

    fn atom_mut(&mut self, k: usize) -> &mut [f32] {
        &mut self.data[k * self.dimension..(k + 1) * self.dimension]
    }

    /// All numbers, atom after atom.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// D, n_r × K.
    pub fn matrix(&self) -> MatRef<'_, f32> {
        MatRef::from_column_major_slice(&self.data, self.dimension, self.atoms())
    }

    /// DᵀD, K × K, column after column.
    pub fn gram(&self) -> Vec<f32> {
        let atoms = self.atoms();
        let mut gram = vec![0.0; atoms * atoms];
        gram.par_chunks_mut(atoms * PANEL).zip(self.data.par_chunks(self.dimension * PANEL)).for_each(
            |(out, columns)| {
                let width = columns.len() / self.dimension;
                let columns = MatRef::from_column_major_slice(columns, self.dimension, width);
                let out = MatMut::from_column_major_slice_mut(out, atoms, width);
                matmul(out, Accum::Replace, self.matrix().transpose(), columns, 1.0, Par::Seq);
            },
        );
        gram
    }

    fn admits(&self, samples: Samples<'_>) -> Result<(), DictionaryError> {
        match samples.dimension() == self.dimension {
            true => Ok(()),
            false => Err(DictionaryError::Dimension {
                what: "samples",
                expected: self.dimension,
                found: samples.dimension(),
            }),
        }
    }
}

/// Divides by the norm; false, and nothing is changed, if that is 0 or not finite.
fn normalise(x: &mut [f32]) -> bool {
    let norm = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let fine = norm > 0.0 && norm.is_finite();
    if fine {
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    fine
}

/// Σ a·b in f64, term by term.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// What a learner returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// D.
    pub dictionary: Dictionary,
    /// Every pass over the samples.
    pub trace: Vec<Pass>,
    /// Why it ended.
    pub termination: Termination,
    /// What the last pass had found, if its time was over within it.
    pub part: Option<Part>,
}

/// A part of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The samples that have codes, by their numbers.
    pub samples: Vec<usize>,
    /// Their codes.
    pub codes: Codes,
}

/// One pass over the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pass {
    /// Mean of ½‖x − Dα‖² + λ Σ|α| over the samples, at their codes and before the atoms were moved for them.
    pub objective: f64,
    /// Mean number of atoms of a sample.
    pub active: f64,
    /// Atoms that were given up in this pass.
    pub replaced: usize,
}

/// Why a learner ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Termination {
    /// A pass without a replacement lowered the objective by no more than this.
    Converged {
        /// Share of the objective of the pass before.
        decrease: f64,
        /// The bound on it.
        tolerance: f64,
    },
    /// The passes were used up.
    Passes {
        /// Their number.
        passes: usize,
        /// Share of the objective by which the last one lowered it; absent after a single pass.
        decrease: Option<f64>,
    },
    /// The [`Watch`] wanted it.
    Stopped {
        /// Passes done.
        passes: usize,
    },
    /// The time was over within a pass.
    Interrupted {
        /// Whole passes done.
        passes: usize,
    },
}

/// Sees the dictionary after every pass, with the codes of all samples where the learner has them, and says whether to go on.
pub type Watch<'a> = dyn FnMut(&Dictionary, Option<&Codes>) -> bool + 'a;

/// The trace so far, and when it ends.
struct Course {
    passes: usize,
    tolerance: f64,
    trace: Vec<Pass>,
}

impl Course {
    fn new(passes: usize, tolerance: f64) -> Self {
        Self { passes, tolerance, trace: Vec::new() }
    }

    /// True during the last pass that there can be.
    fn is_last(&self) -> bool {
        self.trace.len() + 1 >= self.passes
    }

    /// Notes a pass; why to end, if so. The pass before must have had no replacement either: new atoms cost before they earn.
    fn pass(&mut self, objective: f64, active: f64, replaced: usize) -> Option<Termination> {
        let before = self.trace.last().copied();
        self.trace.push(Pass { objective, active, replaced });
        let decrease = before.map(|before| match before.objective > 0.0 {
            true => 1.0 - objective / before.objective,
            false => 0.0,
        });
        match (before, decrease) {
            (Some(before), Some(decrease)) if replaced == 0 && before.replaced == 0 && decrease <= self.tolerance => {
                Some(Termination::Converged { decrease, tolerance: self.tolerance })
            }
            _ if self.trace.len() >= self.passes => Some(Termination::Passes { passes: self.trace.len(), decrease }),
            _ => None,
        }
    }

    /// What is returned.
    fn end(self, dictionary: Dictionary, termination: Termination) -> Fit {
        Fit { dictionary, trace: self.trace, termination, part: None }
    }

    /// The same where the time was over within the pass after `passes`.
    fn interrupted(self, passes: usize, dictionary: Dictionary, part: Part) -> Fit {
        Fit { part: Some(part), ..self.end(dictionary, Termination::Interrupted { passes }) }
    }
}

fn check_atoms(atoms: usize, samples: Samples<'_>) -> Result<(), DictionaryError> {
    match (1..=samples.count()).contains(&atoms) {
        true => Ok(()),
        false => {
            let expected = format!("an integer from 1 to the number of samples, {}", samples.count());
            Err(DictionaryError::parameter("atoms", expected, atoms))
        }
    }
}

/// K of the samples that are not 0, drawn at random and scaled to norm 1.
fn start(samples: Samples<'_>, atoms: usize, seed: u64) -> Result<Dictionary, DictionaryError> {
    let mut order: Vec<usize> = (0..samples.count()).filter(|i| samples.row(*i).iter().any(|x| *x != 0.0)).collect();
    if order.len() < atoms {
        return Err(DictionaryError::TooFew { expected: atoms, found: order.len() });
    }
    let (chosen, _) = order.partial_shuffle(&mut stream(seed, "dictionary learning: first atoms"), atoms);
    Dictionary::new(chosen.iter().flat_map(|i| samples.row(*i)).copied().collect(), samples.dimension())
}

/// What the learners that code all samples in every pass share.
struct Learner {
    atoms: usize,
    coder: Coder,
    passes: usize,
    tolerance: f64,
    replacement: Replacement,
}

/// Codes all samples, lets `step` move the atoms and their codes (it is also given X − D Z, which it may spoil), and so on. A sample keeps its codes of the
/// pass before if they are better than those found anew, since a greedy coder may find worse ones. `watch` is asked after every step.
///
/// If the time is over while samples are coded, the others keep their codes, in the first pass they have none, and no atom is moved; `step` is false
/// if it was over while atoms were.
fn alternate(
    learner: &Learner,
    samples: Samples<'_>,
    seed: u64,
    watch: &mut Watch<'_>,
    expired: &Expired<'_>,
    mut step: impl FnMut(&mut Dictionary, &mut Codes, Samples<'_>, &mut [f32]) -> bool,
) -> Result<Fit, DictionaryError> {
    let Learner { atoms, coder, passes, tolerance, replacement } = *learner;
    coder.check()?;
    replacement.check()?;
    if passes == 0 {
        return Err(DictionaryError::parameter("passes", "an integer >= 1", 0));
    }
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        return Err(DictionaryError::parameter("tolerance", "a number >= 0", tolerance));
    }
    check_atoms(atoms, samples)?;
    let penalty = coder.penalty();
    let mut dictionary = start(samples, atoms, seed)?;
    let mut kept: Option<Codes> = None;
    let mut course = Course::new(passes, tolerance);
    loop {
        let mut codes = coder.encode_with(&dictionary, &dictionary.gram(), samples, expired);
        let whole = codes.samples() == samples.count();
        if let Some(mut old) = kept.take() {
            old.measured(&dictionary, samples);
            codes.complete(&old);
            codes.measured(&dictionary, samples);
            codes = codes.better(&old, penalty);
        }
        if !whole {
            let part = Part { samples: (0..codes.samples()).collect(), codes };
            let passes = course.trace.len();
            return Ok(course.interrupted(passes, dictionary, part));
        }
        let mut residuals = codes.measured(&dictionary, samples);
        let count = samples.count() as f64;
        let (objective, active) = (codes.objective(penalty) / count, codes.mean_active());
        let mut replaced = Vec::new();
        if replacement.enabled && !course.is_last() {
            let energies = codes.energies(atoms);
            replaced = replacement.apply(&mut dictionary, &energies, &residuals, penalty, !coder.is_nonnegative());
            if !replaced.is_empty() {
                codes = codes.without(&replaced);
                residuals = codes.measured(&dictionary, samples);
            }
        }
        if let Some(termination) = course.pass(objective, active, replaced.len()) {
            return Ok(course.end(dictionary, termination));
        }
        let passes = course.trace.len();
        if !step(&mut dictionary, &mut codes, samples, &mut residuals) {
            let part = Part { samples: (0..codes.samples()).collect(), codes };
            return Ok(course.interrupted(passes - 1, dictionary, part));
        }
        if !watch(&dictionary, Some(&codes)) {
            return Ok(course.end(dictionary, Termination::Stopped { passes }));
        }
        kept = Some(codes);
    }
}

#[cfg(test)]
mod tests;
