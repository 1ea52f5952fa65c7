//! All partial optima of a disjoint pattern, or a certificate that none exists.

use super::absence;
use super::block::Block;
use super::certificate::{self, ClassifiedRow};
use super::overlap::{self, Residuals};
use super::second_order::{self, SecondOrder};
use super::stationary::{self, Stationary};
use crate::exact::Rational;
use crate::exact::field::OrderedField;
use crate::exact::poly::{self, Polynomial};
use crate::exact::rational;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::region::{self, Realizability};
use sdlab_verify::Certificate;

/// Largest number of listed optima: products of block optima beyond it are cut, and the listing says so.
const MAX_LISTED: usize = 1024;

/// Whether the gradient vanishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The gradient in V and W is zero (also on a face).
    Interior,
    /// Some multiplier is positive.
    Boundary,
}

/// The class of a partial optimum in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A local minimum of L̃ over the cell.
    LocalMin,
    /// A direction of zero slope and negative curvature leads into the cell.
    StrictSaddle,
    /// The second order is undecided.
    Degenerate,
}

impl Kind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interior => "interior",
            Self::Boundary => "boundary",
        }
    }
}

impl Class {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::LocalMin => "local-min",
            Self::StrictSaddle => "strict-saddle",
            Self::Degenerate => "degenerate",
        }
    }
}

/// An exact loss.
#[derive(Debug, Clone, PartialEq)]
pub enum LossValue {
    /// A rational.
    Rational(Rational),
    /// The one root of `poly` (constant first) in (lo, hi).
    Algebraic {
        /// Integer coefficients, constant first.
        poly: Vec<Rational>,
        /// Lower end of the isolating interval.
        lo: Rational,
        /// Upper end of the isolating interval.
        hi: Rational,
    },
    /// An enclosure, where the polynomial would have a degree above 64.
    Enclosed {
        /// Lower end.
        lo: Rational,
        /// Upper end.
        hi: Rational,
    },
}

impl LossValue {
    /// The nearest f64, to about 1e-16 relative.
    pub fn to_f64(&self) -> f64 {
        match self {
            Self::Rational(x) => rational::to_f64(x),
            Self::Algebraic { lo, hi, .. } | Self::Enclosed { lo, hi } => {
                rational::to_f64(&((lo + hi) / Rational::from(2)))
            }
        }
    }
}

/// One neuron's share in an optimum.
#[derive(Debug, Clone)]
pub struct BlockSummary {
    /// 0-based neuron.
    pub neuron: usize,
    /// Features that fire it.
    pub features: Vec<usize>,
    /// μ: the block's loss is Σ_F M_d‖r_d‖² − μ.
    pub mu: f64,
    /// Interior or boundary.
    pub kind: Kind,
    /// Class of the row.
    pub class: Class,
    /// Features whose faces carry a positive multiplier.
    pub multipliers: Vec<usize>,
    /// −2(λ_max − μ) on the face's pencil, the least curvature with V eliminated at unit D-norm; 0 at a local minimum.
    pub curvature: f64,
    /// Dimension of the family of activations beyond scale.
    pub family_dim: usize,
    /// Dimension of encoder directions that no feature of the block sees.
    pub silent_dim: usize,
    /// The encoder row.
    pub w: Vec<f64>,
    /// The optimal decoder column.
    pub v: Vec<f64>,
}

/// One partial optimum (a scale orbit, and an eigenspace, are one entry).
#[derive(Debug, Clone)]
pub struct Optimum {
    /// Interior iff every block is.
    pub kind: Kind,
    /// Local minimum iff every block is; strict saddle iff some block is.
    pub class: Class,
    /// A local minimum at which only rescaling live neurons, silent directions and dead neurons keep the loss.
    pub strict: bool,
    /// Sum over the blocks.
    pub family_dim: usize,
    /// Least curvature over the blocks, see [`BlockSummary::curvature`].
    pub curvature: f64,
    /// L̃.
    pub loss: LossValue,
    /// The live neurons.
    pub blocks: Vec<BlockSummary>,
    /// The certificate: `local-min`, `strict-saddle` or `partial-optimum`.
    pub certificate: Certificate,
}

/// The answer for one pattern.
#[derive(Debug)]
pub struct Decision {
    /// Whether an encoder has this pattern.
    pub realizable: bool,
    /// Whether the cell holds a partial optimum; `None` where undecided.
    pub exists: Option<bool>,
    /// Proof of `exists`, or that the pattern is empty, or how near to a partial optimum an overlapping cell comes.
    pub certificate: Option<Certificate>,
    /// All partial optima of a disjoint pattern, lowest loss first.
    pub optima: Vec<Optimum>,
    /// False if the list was cut at a budget.
    pub complete: bool,
    /// For an overlapping pattern: the best point found and its residuals.
    pub best: Option<(Point, Residuals)>,
    /// Why `exists` is `None`.
    pub undecided: Option<String>,
}

/// Decides the partial optima of a pattern of a threshold problem.
///
/// # Errors
/// If the activation is not a threshold.
pub fn decide(problem: &Problem, pattern: &Pattern) -> Result<Decision, String> {
    let Some(c) = problem.threshold() else {
        return Err("activation.kind: partial optima are decided for `threshold` only, found a top-k activation".into());
    };
    let mut decision = Decision {
        realizable: true,
        exists: None,
        certificate: None,
        optima: Vec::new(),
        complete: true,
        best: None,
        undecided: None,
    };
    let realizability = region::decide(problem, pattern).map_err(|e| e.to_string())?;
    let Realizability::Realizable { w_e: witness } = &realizability else {
        decision.realizable = false;
        decision.exists = Some(false);
        decision.certificate = Some(realizability.certificate(problem, pattern));
        return Ok(decision);
    };
    if !pattern.is_disjoint() {
        overlapping(problem, pattern, witness, &mut decision);
        return Ok(decision);
    }
    let live: Vec<(usize, Block)> = pattern
        .sets()
        .iter()
        .enumerate()
        .filter(|(_, on)| !on.is_empty())
        .map(|(i, on)| (i, Block::new(problem, on, c)))
        .collect();
    let mut listed = Vec::new();
    for (neuron, block) in &live {
        let found = stationary::enumerate(block);
        decision.complete &= found.complete;
        if found.rows.is_empty() {
            match absence::prove(block, &found.degenerate) {
                Some(chain) => {
                    decision.exists = Some(false);
                    decision.certificate = Some(certificate::absence(problem, pattern, *neuron, &chain));
                }
                None => {
                    decision.undecided = Some(format!(
                        "neuron {neuron}: no partial optimum was found, and no certificate of absence within the budget"
                    ));
                }
            }
            decision.complete = true;
            return Ok(decision);
        }
        let classified: Vec<(Stationary, SecondOrder)> = found
            .rows
            .into_iter()
            .map(|row| {
                let class = second_order::classify(block, &row);
                (row, class)
            })
            .collect();
        listed.push(classified);
    }
    decision.exists = Some(true);
    let dead: Vec<(usize, Vec<Rational>, Vec<Rational>)> = pattern
        .sets()
        .iter()
        .enumerate()
        .filter(|(_, on)| on.is_empty())
        .map(|(i, _)| (i, vec![Rational::ZERO; problem.n_p()], vec![Rational::ZERO; problem.n_r()]))
        .collect();
    let mut choice = vec![0; listed.len()];
    loop {
        if decision.optima.len() == MAX_LISTED {
            decision.complete = false;
            break;
        }
        decision.optima.push(assemble(problem, pattern, &live, &listed, &choice, &dead));
        let Some(next) = (0..choice.len()).rev().find(|&k| choice[k] + 1 < listed[k].len()) else { break };
        choice[next] += 1;
        choice[next + 1..].fill(0);
    }
    decision.optima.sort_by(|a, b| a.loss.to_f64().total_cmp(&b.loss.to_f64()));
    decision.certificate = decision.optima.first().map(|o| o.certificate.clone());
    Ok(decision)
}

fn assemble(
    problem: &Problem,
    pattern: &Pattern,
    live: &[(usize, Block)],
    listed: &[Vec<(Stationary, SecondOrder)>],
    choice: &[usize],
    dead: &[(usize, Vec<Rational>, Vec<Rational>)],
) -> Optimum {
    let chosen: Vec<&(Stationary, SecondOrder)> = listed.iter().zip(choice).map(|(l, &k)| &l[k]).collect();
    let rows: Vec<ClassifiedRow> = live
        .iter()
        .zip(&chosen)
        .map(|((neuron, block), (row, class))| ClassifiedRow { neuron: *neuron, total: &block.total, row, class })
        .collect();
    let certificate = certificate::optimum(problem, pattern, &rows, dead);
    let blocks: Vec<BlockSummary> = live
        .iter()
        .zip(&chosen)
        .map(|((neuron, block), (row, class))| summary(problem, *neuron, block, row, class))
        .collect();
    let covered: std::collections::BTreeSet<usize> = pattern.sets().iter().flatten().copied().collect();
    let uncovered = problem
        .features()
        .iter()
        .enumerate()
        .filter(|(d, _)| !covered.contains(d))
        .fold(Rational::ZERO, |s, (_, f)| s + &f.mass * dot(&f.w_r, &f.w_r));
    let loss = total_loss(live, &chosen, uncovered);
    let class = if blocks.iter().any(|b| b.class == Class::StrictSaddle) {
        Class::StrictSaddle
    } else if blocks.iter().all(|b| b.class == Class::LocalMin) {
        Class::LocalMin
    } else {
        Class::Degenerate
    };
    let strict = chosen.iter().all(|(_, c)| matches!(c, SecondOrder::LocalMin { strict: true, .. }));
    Optimum {
        kind: blocks.iter().map(|b| b.kind).max().unwrap_or(Kind::Interior),
        class,
        strict: strict && class == Class::LocalMin,
        family_dim: blocks.iter().map(|b| b.family_dim).sum(),
        curvature: blocks.iter().map(|b| b.curvature).fold(0.0, f64::min),
        loss,
        blocks,
        certificate,
    }
}

pub(super) fn summary(
    problem: &Problem,
    neuron: usize,
    block: &Block,
    row: &Stationary,
    class: &SecondOrder,
) -> BlockSummary {
    let f = &row.field;
    let mu = f.to_f64(&row.mu);
    let w: Vec<f64> = row.w.iter().map(|x| f.to_f64(x)).collect();
    let mut v = vec![0.0; problem.n_r()];
    let mut weight = 0.0;
    for (&d, mass) in block.on.iter().zip(&block.mass) {
        let feature = &problem.features()[d];
        let a: f64 = feature.w_p.iter().zip(&w).map(|(p, x)| rational::to_f64(p) * x).sum();
        let mass = rational::to_f64(mass);
        weight += mass * a * a;
        for (x, r) in v.iter_mut().zip(&feature.w_r) {
            *x += mass * a * rational::to_f64(r);
        }
    }
    v.iter_mut().for_each(|x| *x /= weight);
    let width = Rational::ONE / Rational::from(dashu::integer::UBig::ONE << 80_usize);
    let multipliers: Vec<usize> = row.multipliers.iter().map(|(e, _)| *e).collect();
    let top = block
        .restrict(&multipliers)
        .and_then(|r| poly::isolate_real_roots(&r.characteristic.squarefree_part()).pop().map(|interval| (r, interval)))
        .map_or(mu, |(r, interval)| {
            let (lo, hi) = poly::refine_root(&r.characteristic.squarefree_part(), &interval, &width);
            rational::to_f64(&((lo + hi) / Rational::from(2)))
        });
    BlockSummary {
        neuron,
        features: block.on.clone(),
        mu,
        kind: if multipliers.is_empty() { Kind::Interior } else { Kind::Boundary },
        class: match class {
            SecondOrder::LocalMin { .. } => Class::LocalMin,
            SecondOrder::Saddle(_) => Class::StrictSaddle,
            SecondOrder::Degenerate => Class::Degenerate,
        },
        multipliers,
        curvature: if matches!(class, SecondOrder::LocalMin { .. }) { 0.0 } else { -2.0 * (top - mu) },
        family_dim: row.family_dim,
        silent_dim: row.silent.len(),
        w,
        v,
    }
}

/// Σ blocks (T − μ) + uncovered.
fn total_loss(live: &[(usize, Block)], chosen: &[&(Stationary, SecondOrder)], uncovered: Rational) -> LossValue {
    let mut constant = uncovered;
    let mut roots: Vec<(Polynomial, (Rational, Rational))> = Vec::new();
    for ((_, block), (row, _)) in live.iter().zip(chosen) {
        constant += &block.total;
        match row.field.rational_value() {
            Some(mu) => constant -= mu,
            None => {
                // loss = constant − Σ μ, and −μ is a root of f(−x)
                let (lo, hi) = row.field.interval();
                let reflected = row.field.poly().compose_linear(&Rational::ZERO, &Rational::from(-1));
                roots.push((reflected, (-hi, -lo)));
            }
        }
    }
    if roots.is_empty() {
        return LossValue::Rational(constant);
    }
    let width = Rational::ONE / Rational::from(dashu::integer::UBig::ONE << 80_usize);
    match poly::sum_of_roots(&roots, &constant) {
        Some((f, interval)) => {
            let (lo, hi) = poly::refine_root(&f, &interval, &width);
            LossValue::Algebraic { poly: f.coeffs(), lo, hi }
        }
        None => {
            let (mut lo, mut hi) = (constant.clone(), constant);
            for (f, interval) in &roots {
                let (l, h) = poly::refine_root(f, interval, &width);
                lo += l;
                hi += h;
            }
            LossValue::Enclosed { lo, hi }
        }
    }
}

fn overlapping(problem: &Problem, pattern: &Pattern, witness: &[Vec<Rational>], decision: &mut Decision) {
    const SWEEPS: usize = 60;
    decision.undecided = Some("the pattern is overlapping: existence is not decided".into());
    let found = overlap::search(problem, pattern, witness, SWEEPS)
        .and_then(|point| overlap::residuals(problem, &point).map(|r| (point, r)));
    if let Some((point, residuals)) = found {
        decision.certificate = Some(certificate::epsilon(problem, &point, &residuals));
        decision.best = Some((point, residuals));
    }
}
