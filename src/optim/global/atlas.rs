//! Every realizable pattern of a small problem with its best value, its partial optima and its basin, and the global optimum.
//!
//! The cell of a pattern is a product over neurons, so that the realizable patterns are the multisets of realizable rows, up to the order of
//! the neurons. For each of them
//!
//! * the best value over the closed cell: where no feature fires two neurons it is the closed form of [`super::partition`], and exact if a
//!   partial optimum of the cell has it; where neurons share features it is the lowest value that several starts reach, an upper value, or that of
//!   the certified point of the global search, with a lower one in f64 by [`super::gop`] if that is asked for;
//! * its partial optima with their classes, by [`crate::theory::partial_optimum::decide`], which leaves shared features undecided: there the ends of
//!   searches inside the cell are listed with their classes in f64 ([`crate::optim::end_point`]), of which more may exist;
//! * its basin: how many of the seeded starts of a piecewise alternating search end in it.

use super::GlobalError;
use super::cell_bound::{self, CellBound};
use super::gop::{self, Bounds, CellBounds};
use super::kernel::Cones;
use super::partition::Partition;
use super::patterns::{self, GlobalOptimum};
use super::upper::{self, Candidate, count_multisets, multisets};
use crate::exact::rational::to_f64;
use crate::optim::acs::{AlternatingSearch, Variant};
use crate::optim::end_point::{self, Class as EndClass};
use crate::optim::{Biconvex, Budget, Unobserved, run, start};
use crate::stats::table::rounded;
use crate::stats::{Axis, Figure, Layer, Mark, Panel, Width};
use crate::theory::loss::{ApproximateLoss, LossError, Weights};
use crate::theory::partial_optimum::{Class, LossValue, decide};
use crate::theory::pattern::Pattern;
use crate::theory::problem::Problem;
use crate::theory::region::{RealizableRow, enumerate_rows};
use faer::Mat;
use std::collections::BTreeMap;

/// What an atlas may spend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Starts that measure the basins.
    pub starts: usize,
    /// Sweeps of each.
    pub sweeps: u64,
    /// Seed of the starts.
    pub seed: u64,
    /// Most patterns up to the order of the neurons.
    pub patterns: usize,
    /// Whether the cells are bounded from below by decomposition as well.
    pub cells: bool,
    /// Limits of the search for the global optimum.
    pub global: patterns::Options,
}

impl Default for Options {
    /// 200 starts of at most 500 sweeps, 2,000 patterns.
    fn default() -> Self {
        Self { starts: 200, sweeps: 500, seed: 0, patterns: 2_000, cells: false, global: patterns::Options::default() }
    }
}

/// The best value over the closure of a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Best {
    /// Exact: a partial optimum of the cell has it.
    Exact(LossValue),
    /// The closed form in f64; it belongs to the boundary of the cell.
    ClosedForm(f64),
    /// The lowest value found, in f64.
    Upper(f64),
}

impl Best {
    /// The value.
    pub fn to_f64(&self) -> f64 {
        match self {
            Self::Exact(value) => value.to_f64(),
            Self::ClosedForm(value) | Self::Upper(value) => *value,
        }
    }

    /// Its name in tables and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::ClosedForm(_) => "closed-form",
            Self::Upper(_) => "upper",
        }
    }
}

/// One pattern.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The pattern, its neurons in lexicographic order of their features.
    pub pattern: Pattern,
    /// The best value over its closed cell.
    pub best: Best,
    /// Loss and class of its partial optima, lowest loss first; empty also where they are undecided.
    pub optima: Vec<(LossValue, Class)>,
    /// Where partial optima are undecided: loss and class, in f64, of the ends in the cell that searches inside it have found, lowest loss first.
    pub found: Vec<(f64, EndClass)>,
    /// Whether it has a partial optimum, if that is decided.
    pub exists: Option<bool>,
    /// Starts that end in it.
    pub basin: usize,
    /// A lower bound of the loss in the cell with its certificate, if it was asked for. Where neurons share features only the patterns with the lowest values
    /// have one, [`CERTIFIED`] of them at most, and of those only the ones with small components.
    pub bound: Option<CellBound>,
    /// The best value between two bounds in f64, if it was asked for, neurons share features and the components are small.
    pub enclosure: Option<CellBounds>,
}

impl Entry {
    /// How many of its partial optima have each class; where these are undecided, of the ends that searches have found. Classes that none has
    /// are left out.
    pub fn classes(&self) -> Vec<(&'static str, usize)> {
        let exact = [Class::LocalMin, Class::StrictSaddle, Class::Degenerate]
            .map(|class| (class.name(), self.optima.iter().filter(|(_, of)| *of == class).count()));
        let found = EndClass::ALL.map(|class| (class.name(), self.found.iter().filter(|(_, of)| *of == class).count()));
        exact.into_iter().chain(found).filter(|(_, count)| *count > 0).collect()
    }

    /// Whether one of its partial optima has this class.
    pub fn has(&self, class: Class) -> bool {
        self.optima.iter().any(|(_, of)| *of == class)
    }
}

/// What the best value of a pattern is among all patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// That of the certified point, and the gap to the lower value is closed.
    Global,
    /// That of the certified point. A lower one may exist.
    BestKnown,
}

impl Standing {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::BestKnown => "best known",
        }
    }
}

/// The atlas of a problem.
#[derive(Debug, Clone)]
pub struct Atlas {
    /// All patterns, the lowest best value first.
    pub entries: Vec<Entry>,
    /// The global optimum between two certified values.
    pub global: GlobalOptimum,
    /// Starts.
    pub starts: usize,
}

/// Computes the atlas of a problem (threshold activations). `progress` is told how many of how many steps are done.
///
/// # Errors
/// If the activation is no threshold, or a limit does not suffice.
pub fn atlas(
    problem: &Problem,
    latents: usize,
    options: Options,
    mut progress: impl FnMut(usize, usize, &str),
) -> Result<Atlas, GlobalError> {
    let rows = enumerate_rows(problem, options.patterns as u64 * problem.n() as u64)?;
    let count = count_multisets(rows.len(), latents);
    if count > options.patterns {
        return Err(GlobalError::TooLarge {
            what: "patterns up to the order of neurons",
            limit: options.patterns,
            found: count,
        });
    }
    let steps = count + options.starts + 1;
    let loss = upper::sequential(problem)?;
    let partition = Partition::new(&loss)?;
    let mut cones = Cones::default();
    let mut entries = Vec::with_capacity(count);
    let mut places = BTreeMap::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut blocks: BTreeMap<Vec<usize>, Bounds> = BTreeMap::new();
    for (at, chosen) in multisets(rows.len(), latents).into_iter().enumerate() {
        progress(at, steps, "the best value of each pattern");
        let chosen: Vec<&RealizableRow> = chosen.iter().map(|&k| &rows[k]).collect();
        let (mut entry, candidate) = entry(problem, &loss, &partition, &mut cones, &chosen, options)?;
        candidates.extend(candidate);
        if options.cells && entry.pattern.is_disjoint() {
            entry.bound = Some(bound_of(problem, &loss, &entry.pattern, &mut blocks)?);
        } else if options.cells {
            entry.enclosure = enclosure_of(&loss, &entry.pattern)?;
            if let (Best::Upper(value), Some(CellBounds { upper, .. })) = (&mut entry.best, &entry.enclosure) {
                // Not lower by rounding alone.
                *value = if *upper < *value * (1.0 - SAME) { *upper } else { *value };
            }
        }
        places.insert(entry.pattern.lists(), at);
        entries.push(entry);
    }
    for k in 0..options.starts {
        progress(count + k, steps, "the basins");
        let end = end_of(&loss, latents, options, k as u64)?;
        if let Some(&at) = places.get(&end) {
            entries[at].basin += 1;
        }
    }
    progress(steps - 1, steps, "the global optimum");
    candidates.sort_by(|a, b| a.value.total_cmp(&b.value));
    candidates.truncate(CANDIDATES);
    let global = patterns::solve_from(problem, latents, options.global, &candidates)?;
    // The certified point is one of its pattern.
    let mut lists = Pattern::of_encoder(problem, &global.point.w_e).lists();
    lists.sort();
    if let Some(Best::Upper(value)) = places.get(&lists).map(|&at: &usize| &mut entries[at].best) {
        *value = value.min(to_f64(&global.upper));
    }
    entries.sort_by(|a, b| a.best.to_f64().total_cmp(&b.best.to_f64()).then_with(|| a.pattern.cmp(&b.pattern)));
    for entry in entries.iter_mut().take(CERTIFIED).filter(|entry| entry.enclosure.is_some()) {
        entry.bound = match cell_bound::certify_shared(problem, &loss, &entry.pattern, CELL) {
            Ok(bound) => Some(bound),
            Err(GlobalError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(Atlas { entries, global, starts: options.starts })
}

/// What the bounds of a block may cost. They hold even if it is spent.
const BLOCK: gop::Options = gop::Options { epsilon: 1e-6, budget: 50_000 };

/// The certified lower bound of a partition cell; blocks that other patterns have had are not solved again.
fn bound_of(
    problem: &Problem,
    loss: &ApproximateLoss,
    pattern: &Pattern,
    blocks: &mut BTreeMap<Vec<usize>, Bounds>,
) -> Result<CellBound, GlobalError> {
    let mut bounds = Vec::new();
    for list in pattern.lists() {
        if !blocks.contains_key(&list) {
            blocks.insert(list.clone(), gop::solve(loss, &list, BLOCK)?);
        }
        bounds.extend(blocks.get(&list).cloned());
    }
    cell_bound::certify(problem, pattern, &bounds)
}

/// Patterns with the lowest values, of which the bounds have certificates where neurons share features too.
pub const CERTIFIED: usize = 24;

/// What the bounds of a cell may cost whose neurons share features. They hold even if it is spent.
const CELL: gop::Options = gop::Options { epsilon: 1e-6, budget: 1_000 };

/// The bounds of a cell whose neurons share features; `None` if a component is too large.
fn enclosure_of(loss: &ApproximateLoss, pattern: &Pattern) -> Result<Option<CellBounds>, GlobalError> {
    match gop::solve_cell(loss, pattern, CELL) {
        Ok(bounds) => Ok(Some(bounds)),
        Err(GlobalError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Encoders of the listed values that are offered to the search for the global optimum, which evaluates them exactly.
const CANDIDATES: usize = 3;

/// A pattern, and where neurons share features an encoder of the closed cell with its value.
fn entry(
    problem: &Problem,
    loss: &ApproximateLoss,
    partition: &Partition,
    cones: &mut Cones,
    rows: &[&RealizableRow],
    options: Options,
) -> Result<(Entry, Option<Candidate>), GlobalError> {
    let mut lists: Vec<Vec<usize>> = rows.iter().map(|row| row.set.iter().copied().collect()).collect();
    lists.sort();
    let pattern = Pattern::from_sets(lists.iter().map(|list| list.iter().copied().collect()).collect());
    if !pattern.is_disjoint() {
        let best = in_closed_cell(problem, loss, cones, rows)?;
        let found = ends_in_cell(problem, loss, rows, &lists, options)?;
        let optima = Vec::new();
        let (best, candidate) = (Best::Upper(best.value), best);
        let entry = Entry { pattern, best, optima, found, exists: None, basin: 0, bound: None, enclosure: None };
        return Ok((entry, Some(candidate)));
    }
    let optimum = partition.optimum(&lists)?;
    let decision = decide(problem, &pattern).map_err(|_| LossError::NotThreshold)?;
    let optima: Vec<(LossValue, Class)> = decision.optima.into_iter().map(|o| (o.loss, o.class)).collect();
    // The closed form rounds at about 1e-15 of the sum of all M_d‖r_d‖².
    let total: f64 = loss.value(&Weights::zeros(loss, 1))?;
    // The loss of its point rounds less where it is small, see [`Atlas::is_at_upper`].
    let at: f64 = loss.value(&Weights { V: optimum.V, W: optimum.W })?;
    let value = if (at - optimum.loss).abs() <= 1e-12 * total { at } else { optimum.loss };
    let lowest = optima.first().filter(|(exact, _)| (exact.to_f64() - value).abs() <= 1e-12 * total);
    let best = lowest.map_or(Best::ClosedForm(value), |(exact, _)| Best::Exact(exact.clone()));
    let (found, exists) = (Vec::new(), decision.exists);
    Ok((Entry { pattern, best, optima, found, exists, basin: 0, bound: None, enclosure: None }, None))
}

/// Sweeps of an alternating search inside one cell.
const SWEEPS: u64 = 100;

/// The lowest value that is found in a closed cell, with its encoder: at the points of [`upper::in_cell`], and by alternating search inside the cell.
fn in_closed_cell(
    problem: &Problem,
    loss: &ApproximateLoss,
    cones: &mut Cones,
    rows: &[&RealizableRow],
) -> Result<Candidate, GlobalError> {
    let mut best = None;
    upper::in_cell(problem, loss, cones, rows, &mut best)?;
    let W = Mat::from_fn(rows.len(), problem.n_p(), |i, k| to_f64(&rows[i].w[k]));
    let inside = Weights { V: loss.decoder_step(W.as_ref())?.V, W };
    let mut search = AlternatingSearch::new(loss, Variant::Cell, 1e-10);
    let budget = Budget { steps: SWEEPS, gradients: f64::INFINITY };
    let end = run(loss, &mut search, &inside, budget, &mut Unobserved)?.state;
    // The rows have the order in which they are given.
    let pattern = Pattern::from_sets(rows.iter().map(|row| row.set.clone()).collect());
    let exact = |W: Mat<f64>, value: f64| {
        let value = upper::exact_loss_in(problem, &pattern, &W).map_or(value, |loss| to_f64(&loss));
        Candidate { value, W }
    };
    let found = exact(end.at.W, end.loss);
    let best = best.map(|best: Candidate| exact(best.W, best.value));
    Ok(best.filter(|best| best.value <= found.value).unwrap_or(found))
}

/// Searches inside the cell of a pattern whose neurons share features.
const INSIDE: u64 = 4;

/// Loss and class of the different ends of accelerated searches inside a cell that lie in the cell itself, lowest loss first. Each starts from the
/// encoder that is best for a random decoder, drawn half way to a row inside.
fn ends_in_cell(
    problem: &Problem,
    loss: &ApproximateLoss,
    rows: &[&RealizableRow],
    lists: &[Vec<usize>],
    options: Options,
) -> Result<Vec<(f64, EndClass)>, GlobalError> {
    let inside = Mat::from_fn(rows.len(), problem.n_p(), |i, k| to_f64(&rows[i].w[k]));
    let cell = Biconvex::cell(loss, inside.as_ref())?;
    let total: f64 = loss.value(&Weights::zeros(loss, 1))?;
    let mut ends: Vec<(f64, EndClass)> = Vec::new();
    for k in 0..INSIDE {
        let V = start::random(loss, rows.len(), seed_of(options, k)).V;
        let at = Weights { V, W: inside.clone() };
        let best = loss.w_step(&cell, &at, 0.0)?.W;
        let begin = Weights { W: faer::Scale(0.5) * (&inside + best), V: at.V };
        let mut search = AlternatingSearch::new(loss, Variant::Accelerated, 1e-12);
        let budget = Budget { steps: SWEEPS, gradients: f64::INFINITY };
        let end = run(loss, &mut search, &begin, budget, &mut Unobserved)?.state.at;
        if pattern_of(loss, &end)? != lists {
            continue;
        }
        let end = end_point::classify(loss, &end)?;
        // Two ends are one if their losses differ by what the tolerance of the search leaves.
        let known = ends.iter().any(|(other, class)| *class == end.class && (other - end.loss).abs() <= 1e-9 * total);
        if end.class != EndClass::Unfinished && !known {
            ends.push((end.loss, end.class));
        }
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(ends)
}

/// Residuals at which a search ends, over the loss. A code that vanishes in the limit is then about 1e-7 of the others, the root of it.
const ENDED: f64 = 1e-14;
/// A code below this times its neuron's largest is taken for a face.
const FACE: f64 = 1e-5;

/// The seed of the k-th start.
fn seed_of(options: Options, k: u64) -> u64 {
    options.seed.wrapping_mul(1_000_003).wrapping_add(k)
}

/// The pattern in which the search from one start ends, its lists sorted. A code below [`FACE`] is taken for a face, and a neuron whose column is 0
/// for dead.
fn end_of(loss: &ApproximateLoss, latents: usize, options: Options, k: u64) -> Result<Vec<Vec<usize>>, GlobalError> {
    let begin = start::random(loss, latents, seed_of(options, k));
    let mut search = AlternatingSearch::new(loss, Variant::Piecewise, ENDED);
    let budget = Budget { steps: options.sweeps, gradients: f64::INFINITY };
    let end = run(loss, &mut search, &begin, budget, &mut Unobserved)?.state.at;
    Ok(pattern_of(loss, &end)?)
}

/// The pattern of an end, its lists sorted.
fn pattern_of(loss: &ApproximateLoss, end: &Weights) -> Result<Vec<Vec<usize>>, LossError> {
    let Z = loss.codes(end.W.as_ref())?;
    let list = |i: usize| {
        let largest = (0..loss.n()).map(|d| Z[(i, d)]).fold(0.0, f64::max);
        let silent = end.V.col(i).iter().all(|v| *v == 0.0);
        (0..loss.n()).filter(|&d| !silent && Z[(i, d)] > FACE * largest && Z[(i, d)] > 0.0).collect::<Vec<usize>>()
    };
    let mut lists: Vec<Vec<usize>> = (0..end.n_q()).map(list).collect();
    lists.sort();
    Ok(lists)
}

/// Two values are one if they differ by this factor.
const SAME: f64 = 1e-9;
/// Rounding of a residual relative to its target.
const ROUNDING: f64 = 1e-14;

impl Atlas {
    /// Starts that end in no listed pattern: on a face whose pattern is not realizable.
    pub fn elsewhere(&self) -> usize {
        self.starts - self.entries.iter().map(|entry| entry.basin).sum::<usize>()
    }

    /// Whether the best value of an entry is the global optimum or the best that is known of it.
    pub fn standing(&self, entry: &Entry) -> Option<Standing> {
        let standing = if self.global.is_closed() { Standing::Global } else { Standing::BestKnown };
        self.is_at_upper(entry).then_some(standing)
    }

    /// Whether the best value of an entry is at most that of the certified point, up to 1e-9 of it. A residual r_d − Σ z v is rounded at a few
    /// units of 1e-16 of ‖r_d‖, so that the root of a loss in f64 is known to about 1e-14 of the root of Σ_d M_d‖r_d‖².
    fn is_at_upper(&self, entry: &Entry) -> bool {
        let upper = to_f64(&self.global.upper);
        match &entry.best {
            Best::Exact(value) => value.to_f64() <= upper * (1.0 + SAME),
            Best::ClosedForm(value) | Best::Upper(value) => {
                value.sqrt() <= upper.sqrt() * (1.0 + SAME / 2.0) + ROUNDING * self.global.size.sqrt()
            }
        }
    }

    /// What a loss of 0 may be in f64.
    pub fn rounding(&self) -> f64 {
        ROUNDING * ROUNDING * self.global.size
    }

    /// The `most` best patterns, one row each: the best value with a marker for what is there, and the share of starts that end in it.
    pub fn figure(&self, most: usize) -> Figure {
        let shown = &self.entries[..self.entries.len().min(most)];
        let height = |at: usize| (shown.len() - at) as f64;
        let name = |entry: &Entry| entry.pattern.to_string();
        let ticks = || shown.iter().enumerate().map(|(at, entry)| (height(at), name(entry)));
        let rows = Axis::linear("pattern").range(0.25, shown.len() as f64 + 0.75).ticks(ticks());
        let bare = Axis::linear("").range(0.25, shown.len() as f64 + 0.75).ticks(Vec::new());
        let mut marked: BTreeMap<Mark, Vec<(f64, f64)>> = BTreeMap::new();
        let (mut none, mut open) = (Vec::new(), Vec::new());
        for (at, entry) in shown.iter().enumerate() {
            let place = (entry.best.to_f64(), height(at));
            if let Some(standing) = self.standing(entry) {
                let mark = match standing {
                    Standing::Global => Mark::GlobalMinimum,
                    Standing::BestKnown => Mark::BestKnown,
                };
                marked.entry(mark).or_default().push(place);
            } else if entry.has(Class::LocalMin) {
                marked.entry(Mark::LocalMinimum).or_default().push(place);
            } else if entry.has(Class::StrictSaddle) {
                marked.entry(Mark::Saddle).or_default().push(place);
            } else if entry.exists == Some(true) {
                marked.entry(Mark::PartialOptimum).or_default().push(place);
            } else if entry.exists == Some(false) {
                none.push(place);
            } else {
                open.push(place);
            }
        }
        let mut losses = Panel::new("best value over the closed cell", Axis::linear("loss"), rows);
        for (label, points) in [("no partial optimum in the cell", none), ("shared features, an upper value", open)] {
            if !points.is_empty() {
                losses = losses.layer(Layer::Points { label: label.to_owned(), points, intervals: Vec::new() });
            }
        }
        for (mark, points) in marked {
            losses = losses.layer(Layer::Marks { mark, points });
        }
        let share = |entry: &Entry| 100.0 * entry.basin as f64 / self.starts.max(1) as f64;
        let bars = shown.iter().enumerate().map(|(at, entry)| (height(at), 0.0, share(entry))).collect();
        let basins = Panel::new("where starts end", Axis::linear("% of starts"), bare).layer(Layer::Bars {
            label: "share of starts".to_owned(),
            bars,
            thickness: 0.6,
        });
        let points = 14.0 * shown.len() as f64 + 20.0;
        let global = if self.global.is_closed() {
            "A filled star is the global minimum, which is certified".to_owned()
        } else {
            let (upper, lower) = (to_f64(&self.global.upper), to_f64(&self.global.lower));
            format!(
                "An open star is the best value known: no value below {} is excluded but those below {}",
                rounded(upper, 6),
                rounded(lower, 6)
            )
        };
        Figure::new("atlas", "atlas", Width::Page)
            .title("Every pattern, its best loss, and where searches end")
            .caption(&format!(
                "Patterns up to the order of the neurons, lowest loss first. A marker is the best value over the closed cell, where neurons \
                 share features the lowest that was found, and tells the best that its partial optima are. {global}. Bars are the shares of \
                 random starts whose search ends in the pattern.",
            ))
            .panel(losses.frame_height(points))
            .panel(basins.frame_height(points))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features e_1, e_2 with masses 1, 2 (Thm 3.7: no partial optimum fires one neuron on both).
    const PAIR: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"2"}]}"#;

    #[test]
    fn the_atlas_of_a_pair_is_what_the_theory_says() {
        let problem = Problem::from_json(PAIR).unwrap();
        let found = atlas(&problem, 1, Options { starts: 20, ..Options::default() }, |_, _, _| {}).unwrap();
        let all: Vec<(String, f64, Option<bool>)> =
            found.entries.iter().map(|e| (e.pattern.to_string(), e.best.to_f64(), e.exists)).collect();
        let expected = [
            ("[[0,1]]", 1.0, Some(false)),
            ("[[1]]", 1.0, Some(true)),
            ("[[0]]", 2.0, Some(true)),
            ("[[]]", 3.0, Some(true)),
        ];
        for (pattern, value, exists) in expected {
            let entry = all.iter().find(|(name, _, _)| name == pattern).unwrap();
            // sums of two squares
            assert!((entry.1 - value).abs() <= 1e-14 && entry.2 == exists, "{entry:?}");
        }
        assert_eq!((all.len(), found.global.upper.to_string()), (4, "1".to_owned()));
        assert!(found.global.gap <= 1e-6);
        assert!(found.entries.iter().filter(|e| found.standing(e) == Some(Standing::Global)).count() == 2);
    }

    #[test]
    fn a_basin_counts_the_starts_that_end_in_a_pattern() {
        // A code keeps its sign, since the features are orthogonal. A row that fires on both turns to the heavier one by a factor of 2 each sweep.
        let problem = Problem::from_json(PAIR).unwrap();
        let loss = upper::sequential(&problem).unwrap();
        let options = Options { starts: 40, seed: 3, ..Options::default() };
        let mut expected = BTreeMap::new();
        for k in 0..40 {
            let W = start::random(&loss, 1, seed_of(options, k)).W;
            let end = match (W[(0, 0)] > 0.0, W[(0, 1)] > 0.0) {
                (_, true) => "[[1]]",
                (true, false) => "[[0]]",
                (false, false) => "[[]]",
            };
            *expected.entry(end.to_owned()).or_insert(0) += 1;
        }
        assert!(expected.len() == 3 && expected.values().all(|count| *count >= 4), "{expected:?}");
        let found = atlas(&problem, 1, options, |_, _, _| {}).unwrap();
        for entry in &found.entries {
            let pattern = entry.pattern.to_string();
            assert_eq!(entry.basin, expected.remove(&pattern).unwrap_or(0), "{pattern}");
        }
        assert_eq!(found.elsewhere(), 0);
    }

    #[test]
    fn where_neurons_share_features_the_ends_inside_the_cell_are_listed() {
        use crate::theory::families::{Family, Parameters};
        let parameters = Parameters { n: 3, n_p: 3, n_r: Some(3), c: crate::exact::Rational::ZERO };
        let (mut listed, mut minima) = (0, 0);
        for seed in 0..3 {
            let problem = Family::RandomUnit.generate(&parameters, seed).unwrap();
            let loss = upper::sequential(&problem).unwrap();
            let found = atlas(&problem, 2, Options { starts: 0, ..Options::default() }, |_, _, _| {}).unwrap();
            for entry in &found.entries {
                assert!(entry.found.is_empty() || (entry.exists.is_none() && entry.optima.is_empty()));
                for (value, class) in &entry.found {
                    listed += 1;
                    minima += usize::from(*class == EndClass::LocalMinimum || *class == EndClass::NoLoss);
                    // An end lies in the cell, so that it is not below the best value that is found there by more than other starts find.
                    assert!(*value >= to_f64(&found.global.lower) - 1e-9);
                    assert!(*class != EndClass::Unfinished);
                }
                assert!(entry.found.is_sorted_by(|a, b| a.0 <= b.0));
            }
            let total = loss.value(&Weights::zeros(&loss, 1)).unwrap();
            assert!(total > 0.0);
        }
        assert!(listed >= 3 && minima >= 1, "{listed} ends, {minima} minima");
    }

    #[test]
    fn no_pattern_is_better_than_the_lower_bound_and_one_reaches_the_upper_value() {
        use crate::theory::families::{Family, Parameters};
        let parameters = Parameters { n: 3, n_p: 2, n_r: Some(3), c: crate::exact::Rational::ZERO };
        for seed in 0..2 {
            let problem = Family::RandomUnit.generate(&parameters, seed).unwrap();
            let found = atlas(&problem, 2, Options { starts: 10, ..Options::default() }, |_, _, _| {}).unwrap();
            let (upper, lower) = (to_f64(&found.global.upper), to_f64(&found.global.lower));
            let best = found.entries[0].best.to_f64();
            assert!(best >= lower * (1.0 - 1e-9) && best <= upper * (1.0 + 1e-6), "{lower} {best} {upper}");
        }
    }

    /// Unit features, each its own target.
    fn units(features: &[[&str; 3]], masses: &[&str]) -> Problem {
        let feature =
            |(p, mass): (&[&str; 3], &&str)| format!(r#"{{"w_p":["{}","{}","{}"],"mass":"{mass}"}}"#, p[0], p[1], p[2]);
        let features: Vec<String> = features.iter().zip(masses).map(feature).collect();
        Problem::from_json(&format!(r#"{{"format":1,"features":[{}]}}"#, features.join(","))).unwrap()
    }

    const STAR: [[&str; 3]; 6] = [
        ["1", "0", "0"],
        ["3/5", "4/5", "0"],
        ["-3/5", "4/5", "0"],
        ["-1", "0", "0"],
        ["-3/5", "-4/5", "0"],
        ["5/13", "-12/13", "0"],
    ];

    #[test]
    fn cells_of_partitions_are_bounded_from_below_by_what_the_checker_accepts() {
        for seed in 0..3 {
            use crate::theory::families::{Family, Parameters};
            let parameters = Parameters { n: 4, n_p: 4, n_r: Some(4), c: crate::exact::Rational::ZERO };
            let problem = Family::SpreadMasses { decades: 1 }.generate(&parameters, seed).unwrap();
            let options = Options { starts: 0, cells: true, ..Options::default() };
            let found = atlas(&problem, 1, options, |_, _, _| {}).unwrap();
            assert_eq!(found.entries.len(), 16);
            for entry in &found.entries {
                let (bound, best) = (entry.bound.as_ref().unwrap(), entry.best.to_f64());
                sdlab_verify::check(&bound.certificate).unwrap();
                let certified = to_f64(&bound.certified);
                // ε and the margin of the certificate
                assert!(certified <= best * (1.0 + 1e-12), "{} {certified} {best}", entry.pattern);
                assert!(certified >= best * (1.0 - 1e-5), "{} {certified} {best}", entry.pattern);
            }
        }
    }

    #[test]
    fn cells_whose_neurons_share_features_lie_between_two_bounds() {
        use crate::theory::families::{Family, Parameters};
        let parameters = Parameters { n: 3, n_p: 3, n_r: Some(3), c: crate::exact::Rational::ZERO };
        let (mut shared, mut closed, mut lowered, mut certificates) = (0, 0, 0, 0);
        for seed in 0..3 {
            let problem = Family::SpreadMasses { decades: 1 }.generate(&parameters, seed).unwrap();
            let of = |cells| {
                let options = Options { starts: 0, cells, ..Options::default() };
                atlas(&problem, 2, options, |_, _, _| {}).unwrap()
            };
            let (found, without) = (of(true), of(false));
            for (at, entry) in found.entries.iter().enumerate() {
                let other = without.entries.iter().find(|other| other.pattern == entry.pattern).unwrap();
                assert!(other.enclosure.is_none() && other.bound.is_none());
                assert_eq!(entry.bound.is_some(), entry.pattern.is_disjoint() || at < CERTIFIED);
                assert_eq!(entry.enclosure.is_none(), entry.pattern.is_disjoint());
                let Some(bounds) = &entry.enclosure else {
                    assert_eq!(entry.best, other.best);
                    continue;
                };
                let (best, size) = (entry.best.to_f64(), found.global.size);
                if let Some(bound) = &entry.bound {
                    sdlab_verify::check(&bound.certificate).unwrap();
                    let certified = to_f64(&bound.certified);
                    assert!(certified <= best + 1e-12 * size && certified >= bounds.lower - 1e-3 * size, "{bounds:?}");
                    certificates += 1;
                }
                // ε, and what searches towards parallel codes leave
                assert!(bounds.lower <= best + 1e-12 * size, "{} {bounds:?} {best}", entry.pattern);
                assert!(bounds.upper >= to_f64(&found.global.lower) - 1e-9 * size, "{} {bounds:?}", entry.pattern);
                assert!(best <= other.best.to_f64() && best <= bounds.upper * (1.0 + 2.0 * SAME) + 1e-12 * size);
                shared += 1;
                closed += usize::from(best - bounds.lower <= 1e-5 * size);
                lowered += usize::from(best < other.best.to_f64());
            }
        }
        assert!(
            shared >= 40 && closed == shared && certificates >= 30,
            "{closed} of {shared}, {lowered} lowered, {certificates}"
        );
    }

    #[test]
    fn no_loss_is_below_the_certified_bound_where_codes_become_parallel() {
        // In f64 the loss of the pattern in which both neurons fire on all was 2e-6 below the bound.
        let text = r#"{"format":1,"features":[{"w_p":["1","0","0"],"mass":"1"},{"w_p":["1","2","0"],"mass":"2"},
            {"w_p":["0","1","1"],"mass":"3"},{"w_p":["-1","1","2"],"mass":"1"}]}"#;
        let problem = Problem::from_json(text).unwrap();
        let found = atlas(&problem, 2, Options { starts: 0, ..Options::default() }, |_, _, _| {}).unwrap();
        let lower = to_f64(&found.global.lower);
        for entry in &found.entries {
            let best = entry.best.to_f64();
            assert!(best >= lower * (1.0 - 1e-12), "{} {best} {lower}", entry.pattern);
        }
    }

    #[test]
    fn while_the_gap_is_open_no_pattern_is_global_and_those_above_the_upper_value_are_not_the_best_known() {
        let problem = units(&STAR, &["1"; 6]);
        let found = atlas(&problem, 2, Options { starts: 0, ..Options::default() }, |_, _, _| {}).unwrap();
        let upper = to_f64(&found.global.upper);
        assert!(!found.global.is_closed() && found.global.gap > 0.1, "{}", found.global.gap);
        let (mut best, mut within) = (0, 0);
        for entry in &found.entries {
            let (value, standing) = (entry.best.to_f64(), found.standing(entry));
            assert_ne!(standing, Some(Standing::Global), "{}", entry.pattern);
            // 1e-9 of the upper value, and more than the searches leave.
            assert!(value > upper || standing.is_some(), "{} {value}", entry.pattern);
            assert!(value <= upper * (1.0 + 1e-6) || standing.is_none(), "{} {value}", entry.pattern);
            best += usize::from(standing.is_some());
            within += usize::from(standing.is_none() && value <= upper * (1.0 + found.global.gap));
        }
        assert!(best >= 1 && within >= 10, "{best} at the upper value, {within} above it by less than the gap");
        let figure = found.figure(24);
        let marks: Vec<Mark> = figure.panels[0]
            .layers
            .iter()
            .filter_map(|layer| match layer {
                Layer::Marks { mark, .. } => Some(*mark),
                _ => None,
            })
            .collect();
        assert!(marks.contains(&Mark::BestKnown) && !marks.contains(&Mark::GlobalMinimum), "{marks:?}");
    }

    #[test]
    fn the_standing_of_patterns_does_not_depend_on_the_scale_of_the_masses() {
        let standings = |exponent: &str| {
            let mass: Vec<String> = ["1", "2"].iter().map(|m| format!("{m}{exponent}")).collect();
            let problem = units(&STAR[..2], &[&mass[0], &mass[1]]);
            let found = atlas(&problem, 1, Options { starts: 0, ..Options::default() }, |_, _, _| {}).unwrap();
            let mut names: Vec<String> = found
                .entries
                .iter()
                .filter(|entry| found.standing(entry).is_some())
                .map(|entry| entry.pattern.to_string())
                .collect();
            names.sort();
            names
        };
        assert_eq!(standings(""), ["[[0,1]]"]);
        assert_eq!([standings("e-130"), standings("e-30"), standings("e130")], [(); 3].map(|()| standings("")));
    }

    #[test]
    fn no_pattern_has_a_value_above_that_of_a_certified_point_in_it() {
        let features =
            [["1", "0", "0"], ["3/5", "4/5", "0"], ["0", "3/5", "4/5"], ["-4/5", "0", "3/5"], ["0", "-12/13", "5/13"]];
        let problem = units(&features, &["1", "2", "3", "4", "5"]);
        let options = Options { starts: 0, patterns: 5_000, ..Options::default() };
        let found = atlas(&problem, 2, options, |_, _, _| {}).unwrap();
        let mut lists = Pattern::of_encoder(&problem, &found.global.point.w_e).lists();
        lists.sort();
        let entry = found.entries.iter().find(|entry| entry.pattern.lists() == lists).unwrap();
        let upper = to_f64(&found.global.upper);
        assert!(entry.best.to_f64() <= upper, "{} {upper}", entry.best.to_f64());
        // Nor is the certified value above a listed one, but for those of points that are only approached.
        let lowest = found.entries[0].best.to_f64();
        assert!(upper <= lowest * (1.0 + 1e-6), "{upper} {lowest}");
    }

    #[test]
    fn a_loss_of_zero_is_known_but_for_rounding() {
        let problem = units(&[["1", "0", "0"], ["3/5", "4/5", "0"], ["-3/5", "4/5", "0"]], &["1", "2", "1"]);
        let found = atlas(&problem, 2, Options { starts: 0, ..Options::default() }, |_, _, _| {}).unwrap();
        sdlab_verify::check(&found.global.lower_certificate).unwrap();
        sdlab_verify::check(&found.global.upper_certificate).unwrap();
        assert!(found.global.is_closed() && to_f64(&found.global.upper) <= 1e-25, "{}", to_f64(&found.global.upper));
        let global = found.entries.iter().filter(|entry| found.standing(entry) == Some(Standing::Global)).count();
        assert!((1..found.entries.len()).contains(&global), "{global}");
    }

    #[test]
    fn too_many_patterns_are_refused() {
        let problem = Problem::from_json(PAIR).unwrap();
        let few = Options { patterns: 5, ..Options::default() };
        assert!(matches!(atlas(&problem, 3, few, |_, _, _| {}), Err(GlobalError::TooLarge { found: 20, .. })));
    }
}
