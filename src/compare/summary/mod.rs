//! What the runs of a comparison say: tables, figures and answers, all from its records.
//!
//! *Best known* of an instance is the loss of a certified point where one attains the bound, or the least loss at which any run ended. Excess is
//! (loss − best known)/Σ_d M_d ‖r_d‖²; a run *succeeds* if it ends with excess at most [`SUCCESS`]. The test of Moré and Wild with τ asks for
//! the share 1 − τ of the way from the start to the best known. Costs are evaluations of loss and gradient or their equivalent.
//!
//! | part | module |
//! |---|---|
//! | tables | `tables` |
//! | figures | `figures` |
//! | questions with a sentence each | `answers` |

mod answers;
mod figures;
mod tables;

use super::record::{LEVELS, Record, Run};
use crate::optim::end_point::Class;
use crate::stats::{Figure, Table};
use std::collections::BTreeMap;
use std::ops::Deref;

/// Excess up to which a run succeeds.
pub const SUCCESS: f64 = 1e-6;
/// Confidence of intervals.
const LEVEL: f64 = 0.95;
/// Seed of the bootstrap.
const BOOTSTRAP: u64 = 0;
/// The hardest share left at which speeds are compared.
const COMMON: f64 = 1e-3;
/// τ of the performance profile and of the expected cost.
const TAU: f64 = 1e-4;
/// Everything that a page shows of a comparison.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Question and answer.
    pub answers: Vec<(String, String)>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
}

/// A run with its instance.
#[derive(Clone, Copy)]
struct Entry<'a> {
    of: &'a Record,
    run: &'a Run,
}

impl Deref for Entry<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        self.run
    }
}

impl Entry<'_> {
    /// (loss − best known)/Σ_d M_d ‖r_d‖² at the end.
    fn excess(&self) -> f64 {
        (self.end.loss - self.of.best).max(0.0) / self.of.total
    }

    fn succeeds(&self) -> bool {
        self.excess() <= SUCCESS
    }

    /// Whether it ends above the best known at what is an optimum in some sense.
    fn is_spurious(&self) -> bool {
        !matches!(self.end.class, Class::Unfinished | Class::NoLoss) && !self.succeeds()
    }

    /// Cost until the test with τ, one of [`LEVELS`], is passed.
    fn cost(&self, tau: f64) -> f64 {
        let place = LEVELS.iter().position(|level| *level == tau);
        place.and_then(|k| self.hits.get(k)).copied().unwrap_or(f64::INFINITY)
    }
}

/// All runs, and the names of what was compared in the order of the records.
struct View<'a> {
    records: &'a [Record],
    optimizers: Vec<&'a str>,
    families: Vec<&'a str>,
}

impl<'a> View<'a> {
    fn new(records: &'a [Record]) -> Self {
        let (mut optimizers, mut families): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for record in records {
            if !families.contains(&record.family.as_str()) {
                families.push(&record.family);
            }
            for run in &record.runs {
                if !optimizers.contains(&run.optimizer.as_str()) {
                    optimizers.push(&run.optimizer);
                }
            }
        }
        Self { records, optimizers, families }
    }

    fn runs(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.records.iter().flat_map(|of| of.runs.iter().map(move |run| Entry { of, run }))
    }

    fn of(&self, optimizer: &str) -> Vec<Entry<'a>> {
        self.runs().filter(|run| run.optimizer == optimizer).collect()
    }

    /// Pairs of runs from the same start.
    fn pairs(&self, a: &str, b: &str) -> Vec<(Entry<'a>, Entry<'a>)> {
        let key = |entry: &Entry<'a>| (entry.of.instance.as_str(), entry.run.start);
        let others: BTreeMap<_, _> = self.of(b).into_iter().map(|entry| (key(&entry), entry)).collect();
        self.of(a).into_iter().filter_map(|entry| Some((entry, *others.get(&key(&entry))?))).collect()
    }

    /// Excess of `a` minus that of `b` from the same starts, one mean over starts for each instance.
    fn differences(&self, a: &str, b: &str) -> Vec<f64> {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (x, y) in self.pairs(a, b) {
            let entry = sums.entry(&x.of.instance).or_default();
            entry.0 += x.excess() - y.excess();
            entry.1 += 1.0;
        }
        sums.values().map(|(sum, count)| sum / count).collect()
    }

    /// Geometric mean of cost of `b` over cost of `a` until both have passed the hardest of [`LEVELS`] down to [`COMMON`] that both pass, and
    /// from how many starts they pass any.
    fn speed(&self, a: &str, b: &str, family: &str) -> Option<(f64, usize)> {
        let most = LEVELS.iter().filter(|level| **level >= COMMON).count();
        let mut logarithms = Vec::new();
        for (x, y) in self.pairs(a, b).into_iter().filter(|(x, _)| x.of.family == family) {
            let last = most.min(x.hits.len()).min(y.hits.len());
            if let Some(k) = last.checked_sub(1)
                && x.hits[k] > 0.0
            {
                logarithms.push((y.hits[k] / x.hits[k]).ln());
            }
        }
        let count = logarithms.len();
        (count > 0).then(|| ((logarithms.iter().sum::<f64>() / count as f64).exp(), count))
    }
}

/// Summarises the records of a comparison; nothing where there are none.
pub fn summarise(records: &[Record]) -> Option<Summary> {
    let view = View::new(records);
    (!records.is_empty()).then(|| Summary {
        answers: answers::all(&view),
        figures: figures::all(&view),
        tables: tables::all(&view),
    })
}
