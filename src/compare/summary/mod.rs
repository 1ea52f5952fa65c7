//! What the runs of a comparison say: tables, figures and answers, all from its records and timings.
//!
//! *Best known* of an instance is the loss of a certified point where one attains the bound, or the least loss at which any run ended. Excess is
//! (loss − best known)/Σ_d M_d ‖r_d‖²; a run *succeeds* if it ends with excess at most [`SUCCESS`], and where the best known is certified its end is
//! *global*. The test of Moré and Wild with τ asks for the share 1 − τ of the way from the start to the best known, to the certified bound, or to the
//! optimum of the start's cell. Costs are evaluations of loss and gradient or their equivalent, and seconds where timings are at hand.
//!
//! Instances on which only some of the optimizers ran have tables of their own, so that all others compare like with like.
//!
//! Starts are nested in instances, and those of one instance resemble each other. Intervals of expected costs and of shares therefore draw instances
//! anew, each with all of its starts; Wilson's interval stands where the runs of one instance are counted alone.
//!
//! | part | module |
//! |---|---|
//! | tables | `tables` |
//! | figures | `figures` |
//! | questions with a sentence each | `answers` |

mod answers;
mod figures;
mod tables;
#[cfg(test)]
mod tests;

use super::record::{LEVELS, Record, Run, Timing};
use crate::optim::end_point::Class;
use crate::stats::{Attempt, ExpectedTime, Figure, ShareInterval, SignedRank, Table, TimeRatio, Zeros, holm};
use std::collections::{BTreeMap, BTreeSet};
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
/// τ of tables that show several.
const TAUS: [(f64, &str); 3] = [(1e-2, "τ = 1e-2"), (1e-4, "τ = 1e-4"), (1e-6, "τ = 1e-6")];
/// Those whose pairs with all others are tested.
const TESTED: [&str; 3] = ["acs", "acs-piecewise", "acs-insertion"];
/// Further pairs that are tested.
const PAIRS: [(&str, &str); 1] = [("anchored-descent", "descent-lipschitz")];

/// Everything that a page shows of a comparison.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What a theorist asks.
    pub answers: Vec<Answer>,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
}

/// A question with its answer in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// The sentence.
    pub answer: String,
    /// Names of the figures and tables that show it.
    pub shown: Vec<String>,
}

/// A run with its instance, and its timing where there is one.
#[derive(Clone, Copy)]
struct Entry<'a> {
    of: &'a Record,
    run: &'a Run,
    timing: Option<&'a Timing>,
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

    /// Whether it ends at a certified global optimum.
    fn is_global(&self) -> bool {
        self.of.upper.is_some() && self.succeeds()
    }

    /// Whether it ends above the best known at what is an optimum in some sense.
    fn is_spurious(&self) -> bool {
        !matches!(self.end.class, Class::Unfinished | Class::NoLoss) && !self.succeeds()
    }

    /// Cost until the test with τ, one of [`LEVELS`], is passed.
    fn cost(&self, tau: f64) -> f64 {
        hit(&self.hits, tau)
    }

    /// Seconds until then; no number without a timing.
    fn seconds(&self, tau: f64) -> f64 {
        self.timing.map_or(f64::NAN, |timing| hit(&timing.hits, tau))
    }
}

/// The entry of a list of hits for τ, one of [`LEVELS`]; infinite if the run did not get there.
fn hit(hits: &[f64], tau: f64) -> f64 {
    let place = LEVELS.iter().position(|level| *level == tau);
    place.and_then(|k| hits.get(k)).copied().unwrap_or(f64::INFINITY)
}

/// Values of runs, instance by instance.
fn nested<'a, T>(runs: impl Iterator<Item = (&'a str, T)>) -> BTreeMap<&'a str, Vec<T>> {
    let mut clusters: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    runs.for_each(|(instance, value)| clusters.entry(instance).or_default().push(value));
    clusters
}

/// A run with its cost until it succeeds, infinite if it does not, and all that it spent.
fn attempt(cost: f64, spent: f64) -> Attempt {
    let success = cost.is_finite();
    Attempt { cost: if success { cost } else { spent }, success }
}

/// The expected cost of a success, of runs with their instance, their cost until they succeed, infinite if they do not, and all that they spent.
fn expected<'a>(runs: impl Iterator<Item = (&'a str, f64, f64)>) -> Option<ExpectedTime> {
    let runs = runs.map(|(instance, cost, spent)| (instance, attempt(cost, spent)));
    ExpectedTime::of_clusters(&nested(runs).into_values().collect::<Vec<_>>(), LEVEL, BOOTSTRAP)
}

/// The share of runs, with their instances, that pass a test.
fn share_of<'a>(runs: impl Iterator<Item = (&'a str, bool)>) -> Option<ShareInterval> {
    let count = |passed: Vec<bool>| (passed.iter().filter(|passed| **passed).count() as u64, passed.len() as u64);
    ShareInterval::of_clusters(&nested(runs).into_values().map(count).collect::<Vec<_>>(), LEVEL, BOOTSTRAP)
}

/// How much dearer one optimizer is than another where both come somewhere.
struct Speed {
    /// Geometric mean of the ratios of costs.
    ratio: f64,
    /// Starts from which both pass a level.
    used: usize,
    /// All starts.
    starts: usize,
    /// Median over these of the hardest level that both pass.
    level: f64,
}

/// The middle value of numbers, the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A test of the excess of two optimizers.
struct Paired<'a> {
    a: &'a str,
    b: &'a str,
    test: Option<SignedRank>,
    /// Corrected by Holm over all pairs.
    p: f64,
}

/// All runs, and the names of what was compared in the order of the records.
struct View<'a> {
    /// All instances.
    all: &'a [Record],
    /// Those on which every optimizer ran.
    records: Vec<&'a Record>,
    optimizers: Vec<&'a str>,
    /// Families of `records`.
    families: Vec<&'a str>,
    timings: BTreeMap<(&'a str, &'a str, u64), &'a Timing>,
}

impl<'a> View<'a> {
    fn new(all: &'a [Record], timings: &'a [Timing]) -> Self {
        let names = |record: &'a Record| record.runs.iter().map(|run| run.optimizer.as_str()).collect::<BTreeSet<_>>();
        let most = all.iter().map(|record| names(record).len()).max().unwrap_or(0);
        let records: Vec<&Record> = all.iter().filter(|record| names(record).len() == most).collect();
        let (mut optimizers, mut families): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for record in &records {
            if !families.contains(&record.family.as_str()) {
                families.push(&record.family);
            }
            for run in &record.runs {
                if !optimizers.contains(&run.optimizer.as_str()) {
                    optimizers.push(&run.optimizer);
                }
            }
        }
        let key = |timing: &'a Timing| (timing.instance.as_str(), timing.optimizer.as_str(), timing.start);
        let timings = timings.iter().map(|timing| (key(timing), timing)).collect();
        Self { all, records, optimizers, families, timings }
    }

    /// The runs on one instance.
    fn on(&self, of: &'a Record) -> Vec<Entry<'a>> {
        let timing =
            |run: &'a Run| self.timings.get(&(of.instance.as_str(), run.optimizer.as_str(), run.start)).copied();
        of.runs.iter().map(|run| Entry { of, run, timing: timing(run) }).collect()
    }

    fn runs(&self) -> impl Iterator<Item = Entry<'a>> {
        self.records.iter().flat_map(|of| self.on(of))
    }

    /// Instances on which only some of the optimizers ran.
    fn others(&self) -> impl Iterator<Item = &'a Record> {
        self.all.iter().filter(|record| !self.records.iter().any(|whole| std::ptr::eq(*whole, *record)))
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

    /// Excess of `a` minus that of `b` from the same starts, one mean over starts for each instance; means of at most [`SUCCESS`] are no difference.
    fn differences(&self, a: &str, b: &str) -> Vec<f64> {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (x, y) in self.pairs(a, b) {
            let entry = sums.entry(&x.of.instance).or_default();
            entry.0 += x.excess() - y.excess();
            entry.1 += 1.0;
        }
        let mean = |(sum, count): &(f64, f64)| sum / count;
        sums.values().map(mean).map(|mean| if mean.abs() <= SUCCESS { 0.0 } else { mean }).collect()
    }

    /// Expected cost of `b` over that of `a` until the test with τ is passed, over all starts.
    fn cost_ratio(&self, a: &str, b: &str, tau: f64) -> Option<TimeRatio> {
        let attempt = |run: &Entry| attempt(run.cost(tau), run.gradients);
        let pairs = self.pairs(a, b);
        let clusters = nested(pairs.iter().map(|(x, y)| (x.of.instance.as_str(), (attempt(y), attempt(x)))));
        let clusters: Vec<(Vec<Attempt>, Vec<Attempt>)> =
            clusters.into_values().map(|pairs| pairs.into_iter().unzip()).collect();
        TimeRatio::of(&clusters, LEVEL, BOOTSTRAP)
    }

    /// The optimizers of [`TESTED`] against all others, and [`PAIRS`].
    fn paired(&self) -> Vec<Paired<'a>> {
        let first: Vec<&str> = TESTED.into_iter().filter(|a| self.optimizers.contains(a)).collect();
        let pairs = first.iter().flat_map(|a| self.optimizers.iter().filter(move |b| *b != a).map(move |b| (*a, *b)));
        let both = |(a, b): &(&str, &str)| self.optimizers.contains(a) && self.optimizers.contains(b);
        let pairs: Vec<(&str, &str)> = pairs.chain(PAIRS.into_iter().filter(both)).collect();
        let tests: Vec<Option<SignedRank>> =
            pairs.iter().map(|(a, b)| SignedRank::of(&self.differences(a, b), Zeros::Pratt)).collect();
        let p: Vec<f64> = tests.iter().map(|test| test.as_ref().map_or(1.0, |test| test.p)).collect();
        let corrected = holm(&p).unwrap_or(p);
        let paired = pairs.into_iter().zip(tests).zip(corrected);
        paired.map(|(((a, b), test), p)| Paired { a, b, test, p }).collect()
    }

    /// Cost of `b` over cost of `a` until both have passed the hardest of [`LEVELS`] down to [`COMMON`] that both pass, on a family or on all; nothing
    /// where they pass none from any start.
    fn speed(&self, a: &str, b: &str, family: Option<&str>) -> Option<Speed> {
        let most = LEVELS.iter().filter(|level| **level >= COMMON).count();
        let (mut logarithms, mut levels) = (Vec::new(), Vec::new());
        let mut pairs = self.pairs(a, b);
        pairs.retain(|(x, _)| family.is_none_or(|family| x.of.family == family));
        for (x, y) in &pairs {
            let last = most.min(x.hits.len()).min(y.hits.len());
            if let Some(k) = last.checked_sub(1)
                && x.hits[k] > 0.0
            {
                logarithms.push((y.hits[k] / x.hits[k]).ln());
                levels.push(LEVELS[k]);
            }
        }
        let used = logarithms.len();
        let ratio = (logarithms.iter().sum::<f64>() / used as f64).exp();
        (used > 0).then(|| Speed { ratio, used, starts: pairs.len(), level: median(levels) })
    }
}

/// Summarises the records of a comparison; nothing where there are none. Timings may lack.
pub fn summarise(records: &[Record], timings: &[Timing]) -> Option<Summary> {
    let view = View::new(records, timings);
    (!records.is_empty()).then(|| Summary {
        answers: answers::all(&view),
        figures: figures::all(&view),
        tables: tables::all(&view),
    })
}
