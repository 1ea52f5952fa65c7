//! When an atom is given up for another direction.
//!
//! Alternating between codes and atoms can end with two atoms on one direction, or with an atom on nothing, while a direction of the samples has none.
//! Both sides of a swap can be estimated from codes α_i and residuals e_i = x_i − Dα_i of M samples:
//!
//! ```text
//!     loss(k) = ½ mean_i α_ik² · (1 − max_{j≠k} ρ_jk²)              what giving up atom k costs
//!     gain(d) = ½ mean_i max(0, ⟨e_i, d⟩ − λ)²                       what a further atom d earns at once
//! ```
//!
//! With λ the weight of the penalty and ρ_jk = max(0, ⟨d_j, d_k⟩): loss(k) is the rise of the objective when atom j takes over α_ik ρ_jk in all samples that
//! use both or, without an atom nearby, when α_ik is set to 0 (at optimal codes ⟨e_i, d_k⟩ = λ there). gain(d) is the fall by a single coordinate
//! step, other codes as they are, so that refitting can only add to it. For codes of either sign ⟨e_i, d⟩ and ⟨d_j, d_k⟩ are taken by their
//! magnitude. A direction of great gain is found by d ← Σ_i max(0, ⟨e_i, d⟩ − λ) e_i, normalised: gain is convex in d, so every step raises
//! it. It starts at the largest residuals.
//!
//! **The rule**: as long as gain(d) exceeds loss(k) by more than `least` times the mean loss of an atom, the atom of least loss becomes d and starts without a
//! past. Unused atoms have loss 0. Nothing else enters: no truth, and no count of uses.
//!
//! # References
//! * Mairal, Bach, Ponce, Sapiro 2010, JMLR 11, §3.4.5 and Rubinstein, Zibulevsky, Elad 2008, §2: unused atoms become samples, and of two alike one does.
//! * Journée, Nesterov, Richtárik, Sepulchre 2010, JMLR 11: maximising a convex function on a sphere by its own gradient never lowers it.

use super::{Dictionary, DictionaryError, normalise};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use serde::{Deserialize, Serialize};

/// Directions that are tried at a time.
const TRIED: usize = 8;
/// Steps from each.
const STEPS: usize = 4;

/// Parameters with their defaults.
///
/// | parameter | default |
/// |---|---|
/// | `enabled` | true |
/// | `least` | 0.1 |
/// | `most` | 32 |
/// | `samples` | 2048 |
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replacement {
    /// False: atoms are never given up.
    pub enabled: bool,
    /// How much must be won, in mean losses of an atom; ≥ 0.
    pub least: f64,
    /// Most atoms that are given up at one time.
    pub most: usize,
    /// M, most samples whose residuals are looked at; ≥ 1.
    pub samples: usize,
}

impl Default for Replacement {
    fn default() -> Self {
        Self { enabled: true, least: 0.1, most: 32, samples: 2048 }
    }
}

impl Replacement {
    /// No replacement at all.
    pub fn never() -> Self {
        Self { enabled: false, ..Self::default() }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn check(&self) -> Result<(), DictionaryError> {
        if !(self.least >= 0.0 && self.least.is_finite()) {
            return Err(DictionaryError::parameter("replacement.least", "a number >= 0", self.least));
        }
        if self.samples == 0 {
            return Err(DictionaryError::parameter("replacement.samples", "an integer >= 1", 0));
        }
        Ok(())
    }

    /// Applies the rule and names the atoms that are new. `energies` is mean α_k² of every atom, `residuals` holds n_r numbers for each sample, of which the
    /// last M count; `penalty` is λ, and `signed` says that codes have either sign.
    ///
    /// # Panics
    /// If there is not one energy for each atom, or a residual is no whole row, which is a mistake of the program.
    pub fn apply(
        &self,
        dictionary: &mut Dictionary,
        energies: &[f64],
        residuals: &[f32],
        penalty: f64,
        signed: bool,
    ) -> Vec<usize> {
        let (n_r, atoms) = (dictionary.dimension(), dictionary.atoms());
        assert!(
            energies.len() == atoms && residuals.len().is_multiple_of(n_r),
            "an energy for each atom, and whole residuals"
        );
        let rows = (residuals.len() / n_r).min(self.samples);
        if !self.enabled || rows == 0 {
            return Vec::new();
        }
        let start = residuals.len() - rows * n_r;
        let mut E = MatRef::from_column_major_slice(&residuals[start..], n_r, rows).to_owned();
        let mut losses = losses(dictionary, energies, signed);
        let least = self.least * losses.iter().sum::<f64>() / atoms as f64;
        let mut replaced = Vec::new();
        while replaced.len() < self.most.min(atoms) {
            let Some((gain, direction)) = best_direction(&E, penalty as f32, signed) else { break };
            let first = |a: &usize, b: &usize| losses[*a].total_cmp(&losses[*b]);
            let Some(k) = (0..atoms).min_by(first) else { break };
            if gain <= losses[k] + least {
                break;
            }
            dictionary.atom_mut(k).copy_from_slice(&direction);
            // It is not given up again, and is no shelter for others.
            losses[k] = f64::INFINITY;
            replaced.push(k);
            explain(&mut E, &direction, penalty as f32, signed);
        }
        replaced
    }
}

/// loss(k) of every atom.
fn losses(dictionary: &Dictionary, energies: &[f64], signed: bool) -> Vec<f64> {
    let gram = dictionary.gram();
    let atoms = dictionary.atoms();
    let loss = |k: usize| {
        let column = gram[k * atoms..(k + 1) * atoms].iter().enumerate().filter(|(j, _)| *j != k);
        let nearest = column.map(|(_, g)| if signed { g.abs() } else { *g }).fold(0.0, f32::max);
        0.5 * energies[k] * (1.0 - f64::from(nearest).powi(2)).max(0.0)
    };
    (0..atoms).map(loss).collect()
}

/// max(0, |p| − λ) with the sign of p; for codes that are not negative 0 where p is negative.
fn shrunk(p: f32, penalty: f32, signed: bool) -> f32 {
    if signed { (p.abs() - penalty).max(0.0).copysign(p) } else { (p - penalty).max(0.0) }
}

/// A direction of great gain, and its gain; none if all residuals are 0.
fn best_direction(E: &Mat<f32>, penalty: f32, signed: bool) -> Option<(f64, Vec<f32>)> {
    let mut order: Vec<(f32, usize)> = E.col_iter().map(|e| e.squared_norm_l2()).zip(0..).collect();
    order.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
    let tried: Vec<usize> = order.iter().take(TRIED).filter(|(norm, _)| *norm > 0.0).map(|(_, i)| *i).collect();
    let mut directions = Mat::from_fn(E.nrows(), tried.len(), |r, c| E[(r, tried[c])]);
    let mut shares = Mat::<f32>::zeros(E.ncols(), tried.len());
    let mut gains = Vec::new();
    for step in 0..=STEPS {
        for c in 0..tried.len() {
            normalise(directions.col_as_slice_mut(c));
        }
        matmul(shares.as_mut(), Accum::Replace, E.transpose(), &directions, 1.0, Par::Seq);
        gains.clear();
        for c in 0..tried.len() {
            let column = shares.col_as_slice_mut(c);
            column.iter_mut().for_each(|p| *p = shrunk(*p, penalty, signed));
            gains.push(0.5 * column.iter().map(|p| f64::from(*p).powi(2)).sum::<f64>() / E.ncols() as f64);
        }
        if step < STEPS {
            let mut next = Mat::<f32>::zeros(E.nrows(), tried.len());
            matmul(next.as_mut(), Accum::Replace, E, &shares, 1.0, Par::Seq);
            for c in (0..tried.len()).filter(|c| gains[*c] > 0.0) {
                directions.col_as_slice_mut(c).copy_from_slice(next.col_as_slice(c));
            }
        }
    }
    let best = (0..tried.len()).max_by(|a, b| gains[*a].total_cmp(&gains[*b]).then(b.cmp(a)))?;
    Some((gains[best], directions.col_as_slice(best).to_vec()))
}

/// Takes out of the residuals what the direction explains.
fn explain(E: &mut Mat<f32>, direction: &[f32], penalty: f32, signed: bool) {
    for i in 0..E.ncols() {
        let column = E.col_as_slice_mut(i);
        let product: f32 = column.iter().zip(direction).map(|(e, d)| e * d).sum();
        let code = shrunk(product, penalty, signed);
        if code != 0.0 {
            column.iter_mut().zip(direction).for_each(|(e, d)| *e -= code * d);
        }
    }
}
