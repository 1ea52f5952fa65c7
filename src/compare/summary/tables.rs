//! Tables of a comparison.

use super::{BOOTSTRAP, Entry, LEVEL, SUCCESS, TAU, View};
use crate::compare::dynamics::{IN_CELL, LEFT, PERTURBATION, STEP};
use crate::compare::record::Record;
use crate::optim::end_point::Class;
use crate::stats::{
    Attempt, Cell, ExpectedTime, InterquartileMean, Kind, ShareInterval, SignedRank, Table, Zeros, holm,
};
use std::collections::BTreeMap;

/// All tables, in the order of the page.
pub(super) fn all(view: &View) -> Vec<Table> {
    let mut all = vec![
        suite(view),
        optimizers(view),
        ends(view),
        neurons(view),
        paired(view),
        families(view),
        in_cells(view),
        contraction(view),
        escape(view),
    ];
    all.retain(|table| !table.rows.is_empty());
    all
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text { text: text.into() }
}

fn share(successes: usize, trials: usize) -> Cell {
    ShareInterval::of(successes as u64, trials as u64, LEVEL).map_or(Cell::Missing, |s| Cell::Interval {
        value: s.share,
        low: s.low,
        high: s.high,
        digits: 2,
    })
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
        ("median gap", Kind::Number),
    ];
    let mut table = Table::new("compare-suite", "experiments", columns)
        .title("The instances")
        .caption(
            "Certified: the best known loss is within 1e-6 of Σ M‖r‖² of a lower bound whose certificate the checker accepts. Gap: the best known loss \
             minus the bound, relative to the same. Every bound is over all encoders with n_q rows.",
        );
    for family in &view.families {
        let instances: Vec<&Record> = view.records.iter().filter(|record| record.family == *family).collect();
        let mut sizes: Vec<[usize; 3]> = instances.iter().map(|record| record.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let gap = |record: &&Record| (record.best - record.lower) / record.total;
            let mut gaps: Vec<f64> = instances.iter().filter(|record| record.size == size).map(gap).collect();
            gaps.sort_by(f64::total_cmp);
            let closed = gaps.iter().filter(|gap| **gap <= SUCCESS).count();
            table.push([
                text(*family),
                text(format!("{}, {}, {}", size[0], size[1], size[2])),
                Cell::Integer { value: gaps.len() as i64 },
                Cell::Integer { value: closed as i64 },
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
    let mut table = Table::new("compare-optimizers", "experiments", columns)
        .title("Optimizers on the whole suite")
        .caption(
            "Shares with Wilson's 95 % interval; the interquartile mean of the excess over the best known loss and the expected cost of a success with 95 % \
             bootstrap intervals. Runs that were never there are counted in the cost with all that they spent.",
        );
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let successes = runs.iter().filter(|record| record.succeeds()).count();
        let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        runs.iter().for_each(|record| tasks.entry(&record.of.instance).or_default().push(record.excess()));
        let excess = InterquartileMean::of(&tasks.into_values().collect::<Vec<_>>(), LEVEL, BOOTSTRAP);
        let attempts: Vec<Attempt> = runs
            .iter()
            .map(|record| {
                let cost = record.cost(TAU);
                let success = cost.is_finite();
                Attempt { cost: if success { cost } else { record.gradients }, success }
            })
            .collect();
        let expected = ExpectedTime::of(&attempts, LEVEL, BOOTSTRAP);
        let interval = |value: f64, low: f64, high: f64| match (value.is_finite(), high.is_finite()) {
            (true, true) => Cell::Interval { value, low, high, digits: 2 },
            (true, false) => Cell::number(value, 2),
            _ => text("never"),
        };
        table.push([
            text(*optimizer),
            Cell::Integer { value: runs.len() as i64 },
            share(successes, runs.len()),
            excess.map_or(Cell::Missing, |m| interval(m.mean, m.low, m.high)),
            expected.as_ref().map_or(Cell::Missing, |e| interval(e.time, e.low, e.high)),
            Cell::Integer { value: expected.map_or(0, |e| e.censored as i64) },
        ]);
    }
    table
}

fn ends(view: &View) -> Table {
    let header = |class: Class| (class.name(), Kind::Number);
    let columns = [("optimizer", Kind::Text)].into_iter().chain(Class::ALL.map(header));
    let mut table = Table::new("compare-ends", "experiments", columns)
        .title("Where the runs end")
        .caption(
            "Runs by class of their end point. A local minimum is one of the cell's quartic; a boundary optimum is a partial optimum that an inequality of its cell \
             holds back.",
        );
    for optimizer in &view.optimizers {
        let runs: Vec<Entry> = view.of(optimizer);
        let classes = Class::ALL.map(|class| count(&runs, |record| record.end.class == class));
        table.push([text(*optimizer)].into_iter().chain(classes));
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

fn paired(view: &View) -> Table {
    let columns = [
        ("optimizer", Kind::Text),
        ("against", Kind::Text),
        ("instances that differ", Kind::Number),
        ("effect", Kind::Number),
        ("p, Holm", Kind::Number),
    ];
    let mut table = Table::new("compare-paired", "experiments", columns)
        .title("Pairs of optimizers")
        .caption(
            "Wilcoxon's signed-rank test on the excess at the end, averaged over starts, one pair for each instance; p-values corrected by Holm over this table. \
             Effect: matched-pairs rank-biserial correlation, negative where the first ends lower.",
        );
    let first: Vec<&str> =
        ["acs", "acs-piecewise", "acs-insertion"].into_iter().filter(|a| view.optimizers.contains(a)).collect();
    let pairs: Vec<(&str, &str)> =
        first.iter().flat_map(|a| view.optimizers.iter().filter(move |b| *b != a).map(move |b| (*a, *b))).collect();
    let tests: Vec<Option<SignedRank>> =
        pairs.iter().map(|(a, b)| SignedRank::of(&view.differences(a, b), Zeros::Pratt)).collect();
    let p: Vec<f64> = tests.iter().map(|test| test.as_ref().map_or(1.0, |test| test.p)).collect();
    let corrected = holm(&p).unwrap_or(p);
    for (((a, b), test), p) in pairs.iter().zip(&tests).zip(corrected) {
        table.push([
            text(*a),
            text(*b),
            test.as_ref().map_or(Cell::Missing, |test| Cell::Integer { value: test.different as i64 }),
            test.as_ref().map_or(Cell::Missing, |test| Cell::number(test.effect, 2)),
            Cell::number(p, 2),
        ]);
    }
    table
}

fn families(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("acs ends at the best", Kind::Number),
        ("acs-insertion does", Kind::Number),
        ("descent does", Kind::Number),
        ("cost of descent / acs", Kind::Number),
        ("cost of lbfgs / acs", Kind::Number),
    ];
    let mut table = Table::new("compare-families", "experiments", columns)
        .title("By family")
        .caption(
            "Shares of runs that end at the best known loss, with Wilson's 95 % interval, and geometric means of cost ratios from the same starts until both have covered the largest share of the way to the best known \
             loss, up to 99.9 %, that both cover. Descent is gradient descent with backtracking.",
        );
    for family in &view.families {
        let of = |optimizer: &str| {
            let runs: Vec<Entry> =
                view.of(optimizer).into_iter().filter(|record| record.of.family == *family).collect();
            share(runs.iter().filter(|record| record.succeeds()).count(), runs.len())
        };
        let speed = |other| view.speed("acs", other, family).map_or(Cell::Missing, |(ratio, _)| Cell::number(ratio, 2));
        table.push([
            text(*family),
            of("acs"),
            of("acs-insertion"),
            of("descent-lipschitz"),
            speed("descent-lipschitz"),
            speed("lbfgs"),
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
        .caption(
            "Optimizers that stay in the cell of their start, from starts in partition cells, where the closed form knows the least loss of the closed cell: share of runs that end \
             within 1e-6 of Σ M‖r‖² of it, with Wilson's 95 % interval, beside the share within as much of the best loss known over all cells. Drawn: starts in partitions that were \
             drawn; random: those of the random starts whose cell is a partition cell.",
        );
    for optimizer in IN_CELL {
        // (excess over the cell, excess over the best known)
        let drawn: Vec<(f64, f64)> = view
            .records
            .iter()
            .flat_map(|of| of.cells.iter().map(move |study| (of, study)))
            .filter_map(|(of, study)| {
                let (_, loss) = study.ends.iter().find(|(name, _)| name == optimizer)?;
                Some(((loss - study.optimum) / of.total, (loss - of.best) / of.total))
            })
            .collect();
        let random: Vec<(f64, f64)> = view
            .of(optimizer)
            .iter()
            .filter_map(|run| Some(((run.end.loss - run.in_cell?) / run.of.total, run.excess())))
            .collect();
        for (starts, runs) in [("drawn", drawn), ("random", random)] {
            if runs.is_empty() {
                continue;
            }
            let within = |of: &dyn Fn(&(f64, f64)) -> f64| {
                share(runs.iter().filter(|run| of(run) <= SUCCESS).count(), runs.len())
            };
            let largest = runs.iter().map(|(cell, _)| cell.max(0.0)).fold(0.0, f64::max);
            table.push([
                text(optimizer),
                text(starts),
                Cell::Integer { value: runs.len() as i64 },
                within(&|run| run.0),
                within(&|run| run.1),
                Cell::number(largest, 2),
            ]);
        }
    }
    table
}

/// The middle value of numbers, the upper one of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn contraction(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("blocks", Kind::Number),
        ("predicted, least", Kind::Number),
        ("predicted, largest", Kind::Number),
        ("|measured − predicted|, median", Kind::Number),
        ("largest", Kind::Number),
    ];
    let mut table = Table::new("compare-contraction", "experiments", columns)
        .title("Contraction of alternating search")
        .caption(
            "Blocks of drawn partition cells whose top eigenvector is positive. Predicted: λ_2/λ_1 of D^½GD^½. Measured: the factor by which the change of the direction of b = D^½a shrinks in \
             one sweep, the geometric mean over the last five ratios of changes between 1e-3 and 1e-10. Blocks with fewer than two such changes have contracted at once and are left out. The prediction is that of c = 0; \
             the instances with a threshold stand among the others.",
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
        ]);
    }
    table
}

fn escape(view: &View) -> Table {
    let columns = [
        ("family", Kind::Text),
        ("certified as", Kind::Text),
        ("points", Kind::Number),
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
             partitions, all minima by Theorem 3.7, by what the exact criterion certifies them to be. Left: has come to the distance {LEFT:e}, where the \
             linear law ends. Predicted: log(ρ/δ)/log(1 + η|λ_min|), δ the component of the perturbation along the direction of least curvature λ_min of \
             the Hessian, ρ the final distance."
        ));
    for family in &view.families {
        for class in ["strict-saddle", "local-min"] {
            let of_family = view.records.iter().filter(|record| record.family == *family);
            let points: Vec<_> = of_family.flat_map(|r| &r.escapes).filter(|e| e.class == class).collect();
            if points.is_empty() {
                continue;
            }
            let count = |test: &dyn Fn(bool, bool) -> bool| Cell::Integer {
                value: points.iter().filter(|point| test(point.left, point.crossed)).count() as i64,
            };
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
                count(&|left, _| left),
                count(&|_, crossed| crossed),
                Cell::number(median(points.iter().map(|point| point.steps as f64).collect()), 3),
                extreme(f64::INFINITY, f64::min),
                extreme(0.0, f64::max),
            ]);
        }
    }
    table
}
