//! Top-k and ReLU after Top-k: cells that compare the rows with one another.

use super::Realizability;
use super::inequalities::{at_least, decide as decide_system};
use crate::exact::Rational;
use crate::exact::lp;
use crate::theory::pattern::Pattern;
use crate::theory::problem::Problem;
use sdlab_verify::format::{Farkas, FarkasComparisons};

/// One inequality of the cell, on feature d.
#[derive(Debug, Clone, Copy)]
enum Inequality {
    /// z_id > z_jd where i > j, ≥ where i < j: neuron i is selected before neuron j.
    Before { d: usize, i: usize, j: usize },
    /// z_id > 0.
    Positive { d: usize, i: usize },
    /// z_jd ≤ 0.
    Nonpositive { d: usize, j: usize },
}

/// Decides a pattern under Top-k, with a ReLU behind it if `relu`.
///
/// With K = min(k, n_q), Top-k fires exactly K neurons on every feature: those selected before all others. With a ReLU the
/// neurons of A(d) are positive, and there are at most K; if there are fewer, the selected rest is not positive, hence
/// nothing outside A(d) is, and that suffices; if there are K, they are the selected ones.
pub(super) fn decide(problem: &Problem, pattern: &Pattern, k: usize, relu: bool) -> Realizability {
    let latents = pattern.latents();
    let selected = k.min(latents);
    let mut inequalities = Vec::new();
    for d in 0..problem.n() {
        let fired = pattern.neurons_of(d);
        if fired.len() > selected || (!relu && fired.len() < selected) {
            return Realizability::Empty { farkas: Farkas::Count(d) };
        }
        let silent: Vec<usize> = (0..latents).filter(|j| !fired.contains(j)).collect();
        if fired.len() == selected {
            let before = |&i: &usize| silent.iter().map(move |&j| Inequality::Before { d, i, j }).collect::<Vec<_>>();
            inequalities.extend(fired.iter().flat_map(before));
        } else {
            inequalities.extend(silent.iter().map(|&j| Inequality::Nonpositive { d, j }));
        }
        if relu {
            inequalities.extend(fired.iter().map(|&i| Inequality::Positive { d, i }));
        }
    }
    let cell = inequalities.iter().map(|&inequality| row(problem, latents, inequality)).collect();
    match decide_system(latents * problem.n_p(), cell) {
        Ok(w) => Realizability::Realizable { w_e: w.chunks(problem.n_p()).map(<[_]>::to_vec).collect() },
        Err(multipliers) => {
            let (mut comparisons, mut positives, mut nonpositives) = (Vec::new(), Vec::new(), Vec::new());
            for (index, coefficient) in multipliers {
                match inequalities[index] {
                    Inequality::Before { d, i, j } => comparisons.push((d, i, j, coefficient)),
                    Inequality::Positive { d, i } => positives.push((d, i, coefficient)),
                    Inequality::Nonpositive { d, j } => nonpositives.push((d, j, coefficient)),
                }
            }
            let farkas = Farkas::Comparisons(FarkasComparisons { comparisons, positives, nonpositives });
            Realizability::Empty { farkas }
        }
    }
}

/// The inequality in the n_q·n_p coordinates of all rows, one row after the other.
fn row(problem: &Problem, latents: usize, inequality: Inequality) -> lp::Row<Rational> {
    let (d, plus, minus, strict) = match inequality {
        Inequality::Before { d, i, j } => (d, Some(i), Some(j), i > j),
        Inequality::Positive { d, i } => (d, Some(i), None, true),
        Inequality::Nonpositive { d, j } => (d, None, Some(j), false),
    };
    let p = &problem.features()[d].w_p;
    let mut coeffs = vec![Rational::ZERO; latents * p.len()];
    for (k, x) in p.iter().enumerate() {
        if let Some(i) = plus {
            coeffs[i * p.len() + k] = x.clone();
        }
        if let Some(j) = minus {
            coeffs[j * p.len() + k] = -x;
        }
    }
    at_least(coeffs, Rational::ZERO, strict)
}
