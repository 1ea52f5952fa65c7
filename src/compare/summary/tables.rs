//! Tables of a comparison.

use super::{BOOTSTRAP, Entry, LEVEL, Paired, SUCCESS, TAU, TAUS, View, expected, hit, median, share_of};
use crate::compare::dynamics::{Escape, IN_CELL, LEFT, MARGIN, PERTURBATION, PassedOver, SLOW, STEP};
use crate::compare::learned::LEARNERS;
use crate::compare::record::Record;
use crate::optim::end_point::Class;
use crate::stats::{Cell, ExpectedTime, InterquartileMean, Kind, ShareInterval, Table};
use std::collections::BTreeMap;

/// All tables, in the order of the page.
pub(super) fn all(view: &View) -> Vec<Table> {
    let [acs_pairs, other_pairs] = paired(view);
    let mut all = vec![
        suite(view),
        optimizers(view),
        targets(view),
        seconds(view),
        to_bound(view),
        ends(view),
        shares(view),
        alternating_shares(view),
        neurons(view),
        acs_pairs,
        other_pairs,
        families(view),
        in_cells(view),
        to_cell(view),
        contraction(view),
        escape(view),
        larger(view),
    ];
    all.retain(|table| !table.rows.is_empty());
    all.into_iter().flat_map(pages).collect()
}

/// Rows that a page holds.
const PAGE: usize = 45;

/// A table that is longer than a page as several, each with a number behind its name.
fn pages(table: Table) -> Vec<Table> {
    let parts = table.rows.len().div_ceil(PAGE);
    let name = |part: usize| if part == 0 { table.name.clone() } else { format!("{}-{}", table.name, part + 1) };
    let title = |part: usize| match parts {
        0 | 1 => table.title.clone(),
        _ => format!("{} ({} of {parts})", table.title, part + 1),
    };
    let part = |(part, rows): (usize, &[Vec<Cell>])| Table {
        name: name(part),
        title: title(part),
        rows: rows.to_vec(),
        ..table.clone()
    };
    table.rows.chunks(PAGE).enumerate().map(part).collect()
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text { text: text.into() }
}

fn interval_of(share: Option<ShareInterval>) -> Cell {
    share.map_or(Cell::Missing, |s| Cell::Interval { value: s.share, low: s.low, high: s.high, digits: 2 })
}

/// A share of the runs of one instance.
fn share(successes: usize, trials: usize) -> Cell {
    interval_of(ShareInterval::of(successes as u64, trials as u64, LEVEL))
}

/// A share of runs over instances.
fn share_over(runs: &[Entry], test: impl Fn(&Entry) -> bool) -> Cell {
    interval_of(share_of(runs.iter().map(|run| (run.of.instance.as_str(), test(run)))))
}

/// What captions say of intervals over instances.
const NESTED: &str = "Intervals are 95 % bootstrap intervals that draw instances anew, each with all of its starts; where a share is the same on all instances, Wilson's with an instance as the unit. Few \
                      instances give too narrow ones.";

/// A number with its interval; "never" where it is infinite.
fn interval(value: f64, low: f64, high: f64) -> Cell {
    match (value.is_finite(), high.is_finite()) {
        (true, true) => Cell::Interval { value, low, high, digits: 2 },
        (true, false) => Cell::number(value, 2),
        _ => text("never"),
    }
}

/// An expected cost of a success with its interval.
fn cost(expected: Option<&ExpectedTime>) -> Cell {
    expected.map_or(Cell::Missing, |e| interval(e.time, e.low, e.high))
}

/// A number, or "never" where it is infinite.
fn finite(value: f64) -> Cell {
    if value.is_nan() {
        return Cell::Missing;
    }
    if value.is_finite() { Cell::number(value, 2) } else { text("never") }
}

fn count(runs: &[Entry], test: impl Fn(&Entry) -> bool) -> Cell {
    Cell::Integer { value: runs.iter().filter(|run| test(run)).count() as i64 }
}

fn suite(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("n, n_p, n_q", Kind::Text),
        ("instances", Kind::Number),
        ("optimum certified", Kind::Number),
        ("met by a run", Kind::Number),
        ("median gap", Kind::Number),
    ];
    let mut table = Table::new("compare-suite", "experiments", columns)
        .title("The instances")
        .caption(
            "The checker accepts a certificate of a lower bound over all encoders with n_q rows for every instance. Certified: it also accepts the exact loss of a rational \
             point within 1e-6 of Σ M‖r‖² of the bound. Met by a run: the best end of all optimizers is as near, by f64 alone. Gap: the best known loss minus the bound, relative to the same.",
        );
    let mut families: Vec<&str> = Vec::new();
    for record in view.all {
        if !families.contains(&record.family.as_str()) {
            families.push(&record.family);
        }
    }
    for family in families {
        let instances: Vec<&Record> = view.all.iter().filter(|record| record.family == *family).collect();
        let mut sizes: Vec<[usize; 3]> = instances.iter().map(|record| record.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let gap = |record: &&Record| (record.best - record.lower) / record.total;
            let mut gaps: Vec<f64> = instances.iter().filter(|record| record.size == size).map(gap).collect();
            gaps.sort_by(f64::total_cmp);
            let end = |record: &Record| record.runs.iter().map(|run| run.end.loss).fold(f64::INFINITY, f64::min);
            let meets = |record: &&&Record| record.size == size && end(record) - record.lower <= SUCCESS * record.total;
            let met = instances.iter().filter(meets).count();
            let certified = instances.iter().filter(|record| record.size == size && record.upper.is_some()).count();
            table.push([
                text(family),
                text(format!("{}, {}, {}", size[0], size[1], size[2])),
                Cell::Integer { value: gaps.len() as i64 },
                Cell::Integer { value: certified as i64 },
                Cell::Integer { value: met as i64 },
                Cell::number(gaps[gaps.len() / 2].max(0.0), 2),
            ]);
        }
    }
    table
}

fn optimizers(view: &View) -> Table {
    let columns = [
        ("optimizer", Kind::Text),
        ("runs", Kind::Number),
        ("ends at the best known", Kind::Number),
        ("excess, interquartile mean", Kind::Number),
        ("cost of one success at τ = 1e-4", Kind::Number),
        ("never there", Kind::Number),
    ];
    let learners: Vec<&str> = LEARNERS.into_iter().filter(|name| view.optimizers.contains(name)).collect();
    let others = match learners.is_empty() {
        true => String::new(),
        false => format!(
            " All begin at the same starts but {}, which begin at features that a seed draws; their way is counted from the start all the same.",
            learners.join(", ")
        ),
    };
    let mut table = Table::new("compare-optimizers", "experiments", columns)
        .title("Optimizers on the whole suite")
        .caption(&format!(
            "Share of runs that end at the best known loss; the interquartile mean of the excess over it, with an interval that draws starts anew within each instance and speaks of these instances only; \
             the expected cost of a success. Runs that were never there are counted in the cost with all that they spent.{others} {NESTED}"
        ));
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        runs.iter().for_each(|record| tasks.entry(&record.of.instance).or_default().push(record.excess()));
        let excess = InterquartileMean::of(&tasks.into_values().collect::<Vec<_>>(), LEVEL, BOOTSTRAP);
        let expected =
            expected(runs.iter().map(|record| (record.of.instance.as_str(), record.cost(TAU), record.gradients)));
        table.push([
            text(*optimizer),
            Cell::Integer { value: runs.len() as i64 },
            share_over(&runs, |run| run.succeeds()),
            excess.map_or(Cell::Missing, |m| interval(m.mean, m.low, m.high)),
            cost(expected.as_ref()),
            Cell::Integer { value: expected.map_or(0, |e| e.censored as i64) },
        ]);
    }
    table
}

/// τ of every decade with its header.
const DECADES: [(f64, &str); 8] = [
    (1e-1, "1e-1"),
    (1e-2, "1e-2"),
    (1e-3, "1e-3"),
    (1e-4, "1e-4"),
    (1e-5, "1e-5"),
    (1e-6, "1e-6"),
    (1e-7, "1e-7"),
    (1e-8, "1e-8"),
];

fn targets(view: &View) -> Table {
    let columns = [("optimizer", Kind::Text)].into_iter().chain(DECADES.map(|(_, header)| (header, Kind::Number)));
    let mut table = Table::new("compare-targets", "experiments", columns)
        .title("Targets met, decade by decade")
        .caption("Share of runs that have come within τ of the way from the start to the best known loss, within the budget; one column for each τ.");
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let share = |tau: f64| runs.iter().filter(|run| run.cost(tau).is_finite()).count() as f64 / runs.len() as f64;
        table.push([text(*optimizer)].into_iter().chain(DECADES.map(|(tau, _)| Cell::number(share(tau), 2))));
    }
    table
}

/// Nothing without timings.
fn seconds(view: &View) -> Table {
    let headers = TAUS.map(|(_, name)| (name, Kind::Number));
    let columns = [("optimizer", Kind::Text), ("of a run", Kind::Number)].into_iter().chain(headers);
    let mut table = Table::new("compare-seconds", "experiments", columns)
        .title("Seconds")
        .caption(
            "Median seconds of a run, and until it has come within τ of the way to the best known loss; never: fewer than half of the runs did. Each run had one thread beside others \
             on the same machine.",
        );
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer).into_iter().filter(|run| run.timing.is_some()).collect();
        if runs.is_empty() {
            continue;
        }
        let whole = median(runs.iter().filter_map(|run| Some(run.timing?.seconds)).collect());
        let until = TAUS.map(|(tau, _)| finite(median(runs.iter().map(|run| run.seconds(tau)).collect())));
        table.push([text(*optimizer), Cell::number(whole, 2)].into_iter().chain(until));
    }
    table
}

/// The expected cost of a success for every τ of [`TAUS`], of runs with their instance, their hits and all that they spent.
fn costs<'a>(runs: &[(&'a str, &'a [f64], f64)]) -> [Cell; TAUS.len()] {
    TAUS.map(|(tau, _)| cost(expected(runs.iter().map(|(of, hits, spent)| (*of, hit(hits, tau), *spent))).as_ref()))
}

fn to_bound(view: &View) -> Table {
    let headers = TAUS.map(|(_, name)| (name, Kind::Number));
    let columns = [("optimizer", Kind::Text), ("instances", Kind::Text), ("runs", Kind::Number)];
    let mut table = Table::new("compare-bound", "experiments", columns.into_iter().chain(headers))
        .title("Cost to the certified bound")
        .caption(
            "Expected cost, in gradient evaluations, of a run that covers all but τ of the way from its start to the certified lower bound, with 95 % bootstrap intervals over instances. Certified: \
             instances on which a certified point attains the bound, which is the global optimum; open: the others, on which no run can pass a target below the gap.",
        );
    for optimizer in &view.optimizers {
        for (name, certified) in [("certified", true), ("open", false)] {
            let runs: Vec<Entry> =
                view.of(optimizer).into_iter().filter(|run| run.of.upper.is_some() == certified).collect();
            if !runs.is_empty() {
                let hits =
                    runs.iter().map(|run| (run.of.instance.as_str(), run.run.to_bound.as_slice(), run.gradients));
                let costs = costs(&hits.collect::<Vec<_>>());
                let count = Cell::Integer { value: runs.len() as i64 };
                table.push([text(*optimizer), text(name), count].into_iter().chain(costs));
            }
        }
    }
    table
}

fn to_cell(view: &View) -> Table {
    let headers = TAUS.map(|(_, name)| (name, Kind::Number));
    let columns = [("optimizer", Kind::Text), ("starts", Kind::Text), ("runs", Kind::Number)];
    let mut table = Table::new("compare-cell-costs", "experiments", columns.into_iter().chain(headers))
        .title("Cost to the optimum of the cell")
        .caption(
            "Expected cost, in gradient evaluations, of a run that covers all but τ of the way from its start to the least loss of the start's closed cell, with 95 % bootstrap intervals over instances, \
             where the cell is a partition cell and the closed form knows it. Drawn: starts in partitions that were drawn; random: those of the random starts whose cell is a partition cell. \
             Optimizers that leave the cell may go below it, and pass as well.",
        );
    for optimizer in &view.optimizers {
        let mut drawn: Vec<(&str, &[f64], f64)> = Vec::new();
        for of in &view.records {
            let ends = of.cells.iter().flat_map(|cell| &cell.ends).filter(|end| end.optimizer == *optimizer);
            drawn.extend(ends.map(|end| (of.instance.as_str(), end.hits.as_slice(), end.gradients)));
        }
        let random: Vec<Entry> = view.of(optimizer).into_iter().filter(|run| run.in_cell.is_some()).collect();
        let random: Vec<(&str, &[f64], f64)> = random
            .iter()
            .map(|run| (run.of.instance.as_str(), run.run.to_cell.as_slice(), run.run.gradients))
            .collect();
        for (starts, runs) in [("drawn", drawn), ("random", random)] {
            if !runs.is_empty() {
                let count = Cell::Integer { value: runs.len() as i64 };
                table.push([text(*optimizer), text(starts), count].into_iter().chain(costs(&runs)));
            }
        }
    }
    table
}

fn shares(view: &View) -> Table {
    let columns = [
        ("instance", Kind::Text),
        ("optima", Kind::Number),
        ("best known", Kind::Number),
        ("another", Kind::Number),
        ("excess", Kind::Number),
        ("class", Kind::Text),
        ("others", Kind::Number),
        ("unfinished", Kind::Number),
    ];
    let mut table = Table::new("compare-shares", "experiments", columns)
        .title("Shares of runs by the optimum in which they end")
        .caption(
            "Over all starts and optimizers, with Wilson's 95 % interval for the best known, the run as its unit; another is the most frequent optimum that is not the best known, with its excess and class, and others are the rest. Ends with one pattern, up to the order of the neurons and dead ones, and one loss are one optimum; the best known may have \
             several patterns. Excess is relative to Σ M‖r‖².",
        );
    for record in &view.records {
        let mut counts = vec![0; record.optima.len()];
        record.runs.iter().filter_map(|run| run.optimum).for_each(|k| counts[k] += 1);
        let excess = |k: usize| (record.optima[k].loss - record.best) / record.total;
        let mut others: Vec<usize> = (0..counts.len()).filter(|&k| excess(k) > SUCCESS).collect();
        others.sort_by(|&a, &b| counts[b].cmp(&counts[a]).then(a.cmp(&b)));
        let best: usize = (0..counts.len()).filter(|&k| excess(k) <= SUCCESS).map(|k| counts[k]).sum();
        let runs = record.runs.len();
        let rest: usize = others.iter().skip(1).map(|&k| counts[k]).sum();
        let part = |count: usize| Cell::number(count as f64 / runs.max(1) as f64, 2);
        let first = others.first().map(|&k| (excess(k), &record.optima[k]));
        table.push([
            text(&record.instance),
            Cell::Integer { value: counts.len() as i64 },
            share(best, runs),
            others.first().map_or(Cell::Missing, |&k| part(counts[k])),
            first.map_or(Cell::Missing, |(excess, _)| Cell::number(excess, 2)),
            first.map_or(Cell::Missing, |(_, found)| text(found.class.name())),
            part(rest),
            part(runs - counts.iter().sum::<usize>()),
        ]);
    }
    table
}

/// Every optimum at which alternating search ended.
fn alternating_shares(view: &View) -> Table {
    let columns = [
        ("instance", Kind::Text),
        ("optimum", Kind::Text),
        ("excess", Kind::Number),
        ("class", Kind::Text),
        ("starts", Kind::Number),
        ("share", Kind::Number),
    ];
    let mut table = Table::new("compare-shares-acs", "experiments", columns)
        .title("Share of starts from which alternating search ends in each optimum")
        .caption(
            "An optimum has the place of its loss among all at which runs of any optimizer ended, the least first. Excess over the best known loss is relative to Σ M‖r‖². Wilson's 95 % interval, \
             the start as its unit. Unfinished: the budget ended before.",
        );
    for record in &view.records {
        let runs: Vec<_> = record.runs.iter().filter(|run| run.optimizer == "acs").collect();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        runs.iter().filter_map(|run| run.optimum).for_each(|k| *counts.entry(k).or_default() += 1);
        let unfinished = runs.iter().filter(|run| run.optimum.is_none()).count();
        let number = |count: usize| [Cell::Integer { value: count as i64 }, share(count, runs.len())];
        for (k, count) in counts {
            let found = &record.optima[k];
            let place = format!("{} of {}", k + 1, record.optima.len());
            let excess = Cell::number(((found.loss - record.best) / record.total).max(0.0), 2);
            let row = [text(&record.instance), text(place), excess, text(found.class.name())];
            table.push(row.into_iter().chain(number(count)));
        }
        if unfinished > 0 {
            let row = [text(&record.instance), Cell::Missing, Cell::Missing, text("unfinished")];
            table.push(row.into_iter().chain(number(unfinished)));
        }
    }
    table
}

fn larger(view: &View) -> Table {
    let columns = [
        ("instance", Kind::Text),
        ("bound", Kind::Number),
        ("best known", Kind::Number),
        ("gap", Kind::Number),
        ("optimizer", Kind::Text),
        ("excess", Kind::Number),
        ("gradients", Kind::Number),
        ("seconds", Kind::Number),
    ];
    let mut table = Table::new("compare-larger", "experiments", columns)
        .title("Larger instances, some of the optimizers")
        .caption(
            "Instances on which only some of the optimizers ran; no other table but the first counts them. The bound is certified over all encoders with n_q rows. Bound, best known loss, gap and the \
             mean excess of the ends over the best known are relative to Σ M‖r‖²; gradient evaluations and seconds are medians.",
        );
    for record in view.others() {
        let mut names: Vec<&str> = Vec::new();
        for run in &record.runs {
            if !names.contains(&run.optimizer.as_str()) {
                names.push(&run.optimizer);
            }
        }
        for name in names {
            let runs: Vec<Entry> = view.on(record).into_iter().filter(|run| run.optimizer == name).collect();
            let excess: Vec<f64> = runs.iter().map(Entry::excess).collect();
            table.push([
                text(&record.instance),
                Cell::number(record.lower / record.total, 4),
                Cell::number(record.best / record.total, 4),
                Cell::number(((record.best - record.lower) / record.total).max(0.0), 2),
                text(name),
                Cell::number(excess.iter().sum::<f64>() / excess.len() as f64, 2),
                Cell::number(median(runs.iter().map(|run| run.gradients).collect()), 3),
                finite(median(runs.iter().filter_map(|run| Some(run.timing?.seconds)).collect())),
            ]);
        }
    }
    table
}

fn ends(view: &View) -> Table {
    let header = |class: Class| (class.name(), Kind::Number);
    let columns = [("optimizer", Kind::Text), ("global", Kind::Number)].into_iter().chain(Class::ALL.map(header));
    let mut table = Table::new("compare-ends", "experiments", columns)
        .title("Where the runs end")
        .caption(
            "Runs by class of their end point. Global: within 1e-6 of Σ M‖r‖² of an optimum that is certified from both sides, whatever its class would be otherwise. A local minimum is one \
             of the cell's quartic; a boundary optimum is a partial optimum that an inequality of its cell holds back.",
        );
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let classes = Class::ALL.map(|class| count(&runs, |record| record.end.class == class && !record.is_global()));
        table.push([text(*optimizer), count(&runs, |record| record.is_global())].into_iter().chain(classes));
    }
    table
}

fn neurons(view: &View) -> Table {
    let columns = [
        ("optimizer", Kind::Text),
        ("spurious", Kind::Number),
        ("in the exact list", Kind::Number),
        ("dead", Kind::Number),
        ("polysemantic", Kind::Number),
    ];
    let mut table = Table::new("compare-neurons", "experiments", columns)
        .title("What the ends look like")
        .caption(
            "Spurious: runs of any class but unfinished, with excess over the best known loss. In the exact list: runs whose pattern is disjoint and whose loss is that of \
             a certified partial optimum of that pattern. Dead and polysemantic: neurons, mean per run.",
        );
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let mean = |of: &dyn Fn(&Entry) -> usize| {
            Cell::number(runs.iter().map(|record| of(record) as f64).sum::<f64>() / runs.len() as f64, 2)
        };
        table.push([
            text(*optimizer),
            count(&runs, |record| record.is_spurious()),
            count(&runs, |record| record.certified.is_some()),
            mean(&|record| record.end.dead),
            mean(&|record| record.end.polysemantic),
        ]);
    }
    table
}

/// Pairs with alternating search, and all others.
fn paired(view: &View) -> [Table; 2] {
    let columns = [
        ("optimizer", Kind::Text),
        ("against", Kind::Text),
        ("instances that differ", Kind::Number),
        ("effect", Kind::Number),
        ("p, Holm", Kind::Number),
    ];
    [("compare-paired", true), ("compare-paired-others", false)].map(|(name, reference)| {
        let mut table = Table::new(name, "experiments", columns)
            .title(if reference { "Alternating search against others" } else { "Other pairs of optimizers" })
            .caption(
                "Wilcoxon's signed-rank test on the excess at the end of the budget, averaged over starts, one pair for each instance; differences of at most 1e-6 of Σ M‖r‖² are none. P-values corrected by Holm over all pairs. \
                 Effect: matched-pairs rank-biserial correlation, negative where the first ends lower.",
            );
        for Paired { a, b, test, p } in view.paired().into_iter().filter(|pair| (pair.a == "acs") == reference) {
            table.push([
                text(a),
                text(b),
                test.as_ref().map_or(Cell::Missing, |test| Cell::Integer { value: test.different as i64 }),
                test.as_ref().map_or(Cell::Missing, |test| Cell::number(test.effect, 2)),
                Cell::number(p, 2),
            ]);
        }
        table
    })
}

fn families(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("acs ends at the best", Kind::Number),
        ("acs-insertion does", Kind::Number),
        ("descent does", Kind::Number),
        ("starts", Kind::Number),
        ("acs within 1e-2", Kind::Number),
        ("descent within 1e-2", Kind::Number),
        ("cost of descent / acs", Kind::Number),
        ("of so many starts", Kind::Number),
        ("median τ", Kind::Number),
        ("cost of lbfgs / acs", Kind::Number),
    ];
    let mut table = Table::new("compare-families", "experiments", columns)
        .title("By family")
        .caption(&format!(
            "Shares of runs that end at the best known loss. Within 1e-2: starts from which a run comes within that share of the way to it. Cost: geometric means of cost ratios from the same starts until both \
             have covered the largest share of the way, up to 99.9 %, that both cover: of so many starts, at a median τ; starts from which one of them covers less than half of the way are left out of it. Descent is gradient \
             descent with backtracking. {NESTED}"
        ));
    for family in &view.families {
        let runs = |optimizer: &str| -> Vec<Entry> {
            view.of(optimizer).into_iter().filter(|record| record.of.family == *family).collect()
        };
        let of = |optimizer: &str| share_over(&runs(optimizer), |run| run.succeeds());
        let speed = |other: &str| view.speed("acs", other, Some(*family));
        let ratio = |other: &str| speed(other).map_or(Cell::Missing, |speed| Cell::number(speed.ratio, 2));
        let near = |optimizer: &str| match runs(optimizer) {
            none if none.is_empty() => Cell::Missing,
            some => count(&some, |run| run.cost(1e-2).is_finite()),
        };
        let descent = speed("descent-lipschitz");
        table.push([
            text(*family),
            of("acs"),
            of("acs-insertion"),
            of("descent-lipschitz"),
            Cell::from(view.pairs("acs", "descent-lipschitz").iter().filter(|(x, _)| x.of.family == *family).count()),
            near("acs"),
            near("descent-lipschitz"),
            ratio("descent-lipschitz"),
            descent.as_ref().map_or(Cell::Missing, |speed| Cell::from(speed.used)),
            descent.as_ref().map_or(Cell::Missing, |speed| Cell::number(speed.level, 1)),
            ratio("lbfgs"),
        ]);
    }
    table
}

fn in_cells(view: &View) -> Table {
    let columns = [
        ("optimizer", Kind::Text),
        ("starts", Kind::Text),
        ("runs", Kind::Number),
        ("end at the cell's optimum", Kind::Number),
        ("at the best known", Kind::Number),
        ("largest excess over the cell", Kind::Number),
    ];
    let mut table = Table::new("compare-cells", "experiments", columns)
        .title("Relative to the optimum of the cell")
        .caption(&format!(
            "Optimizers that stay in the cell of their start, from starts in partition cells, where the closed form knows the least loss of the closed cell: share of runs that end \
             within 1e-6 of Σ M‖r‖² of it, beside the share within as much of the best loss known over all cells. Drawn: starts in partitions that were \
             drawn; random: those of the random starts whose cell is a partition cell. {NESTED}"
        ));
    for optimizer in IN_CELL {
        // Instance, excess over the cell, excess over the best known.
        let drawn: Vec<(&str, f64, f64)> = view
            .records
            .iter()
            .flat_map(|of| of.cells.iter().map(move |study| (of, study)))
            .filter_map(|(of, study)| {
                let end = study.ends.iter().find(|end| end.optimizer == optimizer)?;
                let excess = |least: f64| (end.loss - least) / of.total;
                Some((of.instance.as_str(), excess(study.optimum), excess(of.best)))
            })
            .collect();
        let random = view.of(optimizer).into_iter().filter_map(|run| {
            Some((run.of.instance.as_str(), (run.end.loss - run.in_cell?) / run.of.total, run.excess()))
        });
        let random: Vec<(&str, f64, f64)> = random.collect();
        for (starts, runs) in [("drawn", drawn), ("random", random)] {
            if runs.is_empty() {
                continue;
            }
            let within = |of: &dyn Fn(&(&str, f64, f64)) -> f64| {
                interval_of(share_of(runs.iter().map(|run| (run.0, of(run) <= SUCCESS))))
            };
            let largest = runs.iter().map(|(_, cell, _)| cell.max(0.0)).fold(0.0, f64::max);
            table.push([
                text(optimizer),
                text(starts),
                Cell::Integer { value: runs.len() as i64 },
                within(&|run| run.1),
                within(&|run| run.2),
                Cell::number(largest, 2),
            ]);
        }
    }
    table
}

fn contraction(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("blocks", Kind::Number),
        ("predicted, least", Kind::Number),
        ("predicted, largest", Kind::Number),
        ("|measured − predicted|, median", Kind::Number),
        ("largest", Kind::Number),
        ("on a face", Kind::Number),
    ];
    let mut table = Table::new("compare-contraction", "experiments", columns)
        .title("Contraction of alternating search")
        .caption(
            "Blocks of drawn partition cells whose top eigenvector is positive. Predicted: λ_2/λ_1 of D^½GD^½. Measured: the factor by which the change of the direction of b = D^½a shrinks in \
             one sweep, the geometric mean over the last five ratios of changes between 1e-3 and 1e-10. Blocks with fewer than two such changes have contracted at once and are left out. The prediction is that of c = 0; \
             the instances with a threshold stand among the others. On a face: blocks that end with codes at the threshold, for which the prediction does not hold.",
        );
    for family in &view.families {
        let of_family = view.records.iter().filter(|record| record.family == *family);
        let blocks: Vec<_> = of_family.flat_map(|r| &r.cells).flat_map(|cell| &cell.contractions).collect();
        if blocks.is_empty() {
            continue;
        }
        let predicted = |start: f64, pick: fn(f64, f64) -> f64| {
            Cell::number(blocks.iter().map(|block| block.predicted).fold(start, pick), 3)
        };
        let off: Vec<f64> = blocks.iter().map(|block| (block.measured - block.predicted).abs()).collect();
        table.push([
            text(*family),
            Cell::Integer { value: blocks.len() as i64 },
            predicted(f64::INFINITY, f64::min),
            predicted(0.0, f64::max),
            Cell::number(median(off.clone()), 2),
            Cell::number(off.into_iter().fold(0.0, f64::max), 2),
            Cell::Integer { value: blocks.iter().filter(|block| block.on_face.is_some()).count() as i64 },
        ]);
    }
    table
}

fn escape(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("certified as", Kind::Text),
        ("points", Kind::Number),
        ("passed over", Kind::Number),
        ("left", Kind::Number),
        ("in another cell", Kind::Number),
        ("steps, median", Kind::Number),
        ("steps / predicted, least", Kind::Number),
        ("largest", Kind::Number),
    ];
    let mut table = Table::new("compare-escape", "experiments", columns)
        .title("Gradient descent beside partial optima")
        .caption(&format!(
            "Descent with the fixed step {STEP}/λ_max(∇²L̃), from a random perturbation of {PERTURBATION:e} of the size of partial optima of polysemantic \
             partitions, all minima by Theorem 3.7, by what the exact criterion certifies them to be. Passed over: listed, and without a descent, as more than two saddles or one minimum of an instance, as they \
             lie on a face of their cell or have a dead neuron, stand within {MARGIN:e} of a threshold, or have a curvature that predicts more than {SLOW} steps or is rounding. Left: has come to the distance {LEFT:e}, \
             where the linear law ends, or lies in another cell at a lower loss; steps over predicted ones are of the former. Predicted: log(ρ/δ)/log(1 + η|λ_min|), δ the component of the perturbation along the direction of least curvature λ_min of \
             the Hessian, ρ the final distance."
        ));
    for family in &view.families {
        for class in ["strict-saddle", "local-min"] {
            let of_family = || view.records.iter().filter(|record| record.family == *family);
            let points: Vec<_> = of_family().flat_map(|r| &r.escapes).filter(|e| e.class == class).collect();
            let counted = of_family().any(|record| record.passed_over.is_some());
            let passed = of_family().flat_map(|r| r.passed_over.iter().flatten()).filter(|p| p.class == class);
            let passed: u64 = passed.map(PassedOver::all).sum();
            if points.is_empty() && passed == 0 {
                continue;
            }
            let count = |test: &dyn Fn(&Escape) -> bool| Cell::from(points.iter().filter(|point| test(point)).count());
            let ratios: Vec<f64> =
                points.iter().filter(|p| p.left).filter_map(|p| Some(p.steps as f64 / p.predicted?)).collect();
            let extreme = |start: f64, pick: fn(f64, f64) -> f64| match ratios.is_empty() {
                true => Cell::Missing,
                false => Cell::number(ratios.iter().copied().fold(start, pick), 4),
            };
            table.push([
                text(*family),
                text(if class == "local-min" { "local minimum" } else { "strict saddle" }),
                Cell::Integer { value: points.len() as i64 },
                if counted { Cell::Integer { value: passed as i64 } } else { Cell::Missing },
                count(&|point| point.has_left()),
                count(&|point| point.crossed),
                finite(median(points.iter().map(|point| point.steps as f64).collect())),
                extreme(f64::INFINITY, f64::min),
                extreme(0.0, f64::max),
            ]);
        }
    }
    table
}
