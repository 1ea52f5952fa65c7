//! What the runs of a comparison say: tables, figures and answers, all from its records.
//!
//! *Best known* of an instance is the certified optimum where a point attains it, else the least loss at which any run ended. Excess is
//! (loss − best known)/Σ_d M_d ‖r_d‖²; a run *succeeds* if it ends with excess at most [`SUCCESS`]. The test of Moré and Wild with τ asks for
//! the share 1 − τ of the way from the start to the best known. Costs are evaluations of loss and gradient or their equivalent.

use super::record::Record;
use crate::optim::end_point::Class;
use crate::stats::table::rounded;
use crate::stats::{
    Attempt, Axis, Cell, ExpectedTime, Figure, InterquartileMean, Kind, Layer, Panel, ShareInterval, SignedRank, Steps,
    Table, Width, Zeros, data_profiles, first_hit, holm, performance_profiles,
};
use std::collections::BTreeMap;

/// Excess up to which a run succeeds.
pub const SUCCESS: f64 = 1e-6;
/// Confidence of intervals.
const LEVEL: f64 = 0.95;
/// Seed of the bootstrap.
const BOOTSTRAP: u64 = 0;
/// τ of the performance profile and of the expected cost.
const TAU: f64 = 1e-4;
/// τ of the targets that are counted together.
const TARGETS: [f64; 8] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8];
/// Series that a figure shows, the first ones of these that were compared: no more can be told apart in print.
const SHOWN: [&str; 9] = [
    "acs",
    "acs-piecewise",
    "acs-insertion",
    "descent-lipschitz",
    "adam",
    "lbfgs",
    "trust-region",
    "nesterov",
    "descent-exact",
];

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

/// The records by instance, start and optimizer.
struct View<'a> {
    records: &'a [Record],
    optimizers: Vec<&'a str>,
    families: Vec<&'a str>,
    best: BTreeMap<&'a str, f64>,
}

impl<'a> View<'a> {
    fn new(records: &'a [Record]) -> Self {
        let mut optimizers: Vec<&str> = Vec::new();
        let mut families: Vec<&str> = Vec::new();
        let mut best: BTreeMap<&str, f64> = BTreeMap::new();
        for record in records {
            if !optimizers.contains(&record.optimizer.as_str()) {
                optimizers.push(&record.optimizer);
            }
            if !families.contains(&record.family.as_str()) {
                families.push(&record.family);
            }
            let known = if record.attained { record.lower } else { record.end.loss };
            let least = best.entry(&record.instance).or_insert(f64::INFINITY);
            *least = least.min(known);
        }
        Self { records, optimizers, families, best }
    }

    fn of(&self, optimizer: &str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.optimizer == optimizer)
    }

    fn best(&self, record: &Record) -> f64 {
        self.best.get(record.instance.as_str()).copied().unwrap_or(f64::NAN)
    }

    fn excess(&self, record: &Record) -> f64 {
        (record.end.loss - self.best(record)).max(0.0) / record.total
    }

    fn succeeds(&self, record: &Record) -> bool {
        self.excess(record) <= SUCCESS
    }

    /// Cost until the test with τ is passed.
    fn cost(&self, record: &Record, tau: f64) -> f64 {
        let start = record.course.first().map_or(f64::NAN, |(_, loss)| *loss);
        first_hit(&record.course, start, self.best(record), tau)
    }

    /// Pairs of runs from the same start.
    fn pairs(&self, a: &'a str, b: &'a str) -> Vec<(&'a Record, &'a Record)> {
        let key = |record: &Record| (record.instance.clone(), record.start);
        let others: BTreeMap<_, _> = self.of(b).map(|record| (key(record), record)).collect();
        self.of(a).filter_map(|record| Some((record, *others.get(&key(record))?))).collect()
    }

    /// Excess of `a` minus that of `b` from the same starts, one mean over starts for each instance.
    fn differences(&self, a: &'a str, b: &'a str) -> Vec<f64> {
        let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (x, y) in self.pairs(a, b) {
            let entry = sums.entry(&x.instance).or_default();
            entry.0 += self.excess(x) - self.excess(y);
            entry.1 += 1.0;
        }
        sums.values().map(|(sum, count)| sum / count).collect()
    }

    /// Geometric mean of cost of `b` over cost of `a` until both are where the worse of the two ends, or within a thousandth of the way.
    fn speed(&self, a: &'a str, b: &'a str, family: &str) -> Option<(f64, usize)> {
        let mut logarithms = Vec::new();
        for (x, y) in self.pairs(a, b).into_iter().filter(|(x, _)| x.family == family) {
            let start = x.course.first()?.1;
            let level = x.end.loss.max(y.end.loss);
            let (cost_x, cost_y) = (first_hit(&x.course, start, level, 1e-3), first_hit(&y.course, start, level, 1e-3));
            if cost_x.is_finite() && cost_y.is_finite() && cost_x > 0.0 && level < start {
                logarithms.push((cost_y / cost_x).ln());
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
        answers: answers(&view),
        figures: vec![profiles(&view), budgets(&view), classes(&view)],
        tables: vec![suite(&view), optimizers(&view), ends(&view), neurons(&view), paired(&view), families(&view)],
    })
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
        let mut instances: BTreeMap<&str, &Record> = BTreeMap::new();
        for record in view.records.iter().filter(|record| record.family == *family) {
            instances.insert(&record.instance, record);
        }
        let mut sizes: Vec<[usize; 3]> = instances.values().map(|record| record.size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for size in sizes {
            let mut gaps: Vec<f64> = instances
                .values()
                .filter(|record| record.size == size)
                .map(|record| (view.best(record) - record.lower) / record.total)
                .collect();
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
        let runs: Vec<&Record> = view.of(optimizer).collect();
        let successes = runs.iter().filter(|record| view.succeeds(record)).count();
        let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        runs.iter().for_each(|record| tasks.entry(&record.instance).or_default().push(view.excess(record)));
        let excess = InterquartileMean::of(&tasks.into_values().collect::<Vec<_>>(), LEVEL, BOOTSTRAP);
        let attempts: Vec<Attempt> = runs
            .iter()
            .map(|record| {
                let cost = view.cost(record, TAU);
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
        let runs: Vec<&Record> = view.of(optimizer).collect();
        let count =
            |test: &dyn Fn(&Record) -> bool| Cell::Integer { value: runs.iter().filter(|r| test(r)).count() as i64 };
        let classes = Class::ALL.map(|class| count(&|record| record.end.class == class));
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
        let runs: Vec<&Record> = view.of(optimizer).collect();
        let count =
            |test: &dyn Fn(&Record) -> bool| Cell::Integer { value: runs.iter().filter(|r| test(r)).count() as i64 };
        let mean = |of: &dyn Fn(&Record) -> usize| {
            Cell::number(runs.iter().map(|record| of(record) as f64).sum::<f64>() / runs.len() as f64, 2)
        };
        table.push([
            text(*optimizer),
            count(&|record| spurious(view, record)),
            count(&|record| record.certified.is_some()),
            mean(&|record| record.end.dead),
            mean(&|record| record.end.polysemantic),
        ]);
    }
    table
}

fn spurious(view: &View, record: &Record) -> bool {
    !matches!(record.end.class, Class::Unfinished | Class::NoLoss) && !view.succeeds(record)
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
            "Shares of runs that end at the best known loss, with Wilson's 95 % interval, and geometric means of cost ratios from the same starts until both are within a \
             thousandth of the way to the worse of their two ends. Descent is gradient descent with backtracking.",
        );
    for family in &view.families {
        let of = |optimizer: &str| {
            let runs: Vec<&Record> = view.of(optimizer).filter(|record| record.family == *family).collect();
            share(runs.iter().filter(|record| view.succeeds(record)).count(), runs.len())
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

fn shown<'a>(view: &View<'a>) -> Vec<&'a str> {
    let listed = SHOWN.iter().filter_map(|name| view.optimizers.iter().find(|o| *o == name)).copied();
    let others = view.optimizers.iter().copied().filter(|o| !SHOWN.contains(o));
    listed.chain(others).take(7).collect()
}

/// A row of costs for each start of each instance, a column for each shown optimizer.
fn costs(view: &View, shown: &[&str], tau: f64) -> Vec<Vec<f64>> {
    let mut rows: BTreeMap<(&str, u64), Vec<f64>> = BTreeMap::new();
    for (k, optimizer) in shown.iter().enumerate() {
        for record in view.of(optimizer) {
            let row = rows.entry((&record.instance, record.start)).or_insert_with(|| vec![f64::INFINITY; shown.len()]);
            row[k] = view.cost(record, tau);
        }
    }
    rows.into_values().collect()
}

fn profiles(view: &View) -> Figure {
    let shown = shown(view);
    let mut panel =
        Panel::new("", Axis::log("cost relative to the cheapest"), Axis::linear("share of starts").range(0.0, 1.0));
    if let Some(steps) = performance_profiles(&costs(view, &shown, TAU)) {
        for (name, steps) in shown.iter().zip(steps) {
            panel = panel.layer(steps.layer(name, 1.0, 100.0));
        }
    }
    Figure::new("compare-profiles", "experiments", Width::Column)
        .title("Performance profiles")
        .caption(
            "Share of starts from which an optimizer has covered 99.99 % of the way to the best known loss at no more than so many times the cost of the cheapest \
             (Dolan and Moré). At the left: how often it is the cheapest; at the right: how often it gets there at all.",
        )
        .panel(panel)
}

fn budgets(view: &View) -> Figure {
    let shown = shown(view);
    let most = view.records.iter().map(|record| record.gradients).fold(10.0, f64::max);
    let axes = || (Axis::log("gradient evaluations"), Axis::linear("share").range(0.0, 1.0));
    let mut figure = Figure::new("compare-budgets", "experiments", Width::Page).title("What a budget buys").caption(
        "(a), (b) Data profiles of Moré and Wild: share of starts from which the loss has come within τ of the way to the best known. (c) Share of \
         all pairs of a start and a target τ = 1e-1, 1e-2, .., 1e-8.",
    );
    for tau in [1e-1, 1e-5] {
        let (x, y) = axes();
        let mut panel = Panel::new(&format!("τ = {}", if tau > 0.01 { "0.1" } else { "1e-5" }), x, y);
        let costs = costs(view, &shown, tau);
        if let Some(steps) = data_profiles(&costs, &vec![1.0; costs.len()]) {
            for (name, steps) in shown.iter().zip(steps) {
                panel = panel.layer(steps.layer(name, 1.0, most));
            }
        }
        figure = figure.panel(panel);
    }
    let (x, y) = axes();
    let mut panel = Panel::new("all targets", x, y);
    let by_target: Vec<Vec<Vec<f64>>> = TARGETS.iter().map(|tau| costs(view, &shown, *tau)).collect();
    for (k, name) in shown.iter().enumerate() {
        let all: Vec<f64> = by_target.iter().flatten().map(|row| row[k]).collect();
        if let Some(steps) = Steps::ecdf(&all) {
            panel = panel.layer(steps.layer(name, 1.0, most));
        }
    }
    figure.panel(panel)
}

fn classes(view: &View) -> Figure {
    let count = view.optimizers.len();
    let names = view.optimizers.iter().enumerate().map(|(k, name)| ((count - k) as f64, (*name).to_owned()));
    let mut panel = Panel::new(
        "",
        Axis::linear("share of runs").range(0.0, 1.0),
        Axis::linear("").range(0.4, count as f64 + 0.6).ticks(names),
    );
    let mut from = vec![0.0; count];
    let mut segments = |label: &str, test: &dyn Fn(&Record) -> bool| {
        let mut bars = Vec::new();
        for (k, optimizer) in view.optimizers.iter().enumerate() {
            let runs: Vec<&Record> = view.of(optimizer).collect();
            let share = runs.iter().filter(|record| test(record)).count() as f64 / runs.len() as f64;
            if share > 0.0 {
                bars.push(((count - k) as f64, from[k], from[k] + share));
            }
            from[k] += share;
        }
        Layer::Bars { label: label.to_owned(), bars, thickness: 0.7 }
    };
    let layers = [
        segments("best known", &|record| view.succeeds(record)),
        segments("spurious optimum", &|record| spurious(view, record)),
        segments("unfinished", &|record| !view.succeeds(record) && !spurious(view, record)),
    ];
    for layer in layers {
        panel = panel.layer(layer);
    }
    Figure::new("compare-ends", "experiments", Width::Column)
        .title("Where the runs end")
        .caption(
            "Share of runs that end at the best known loss, at a stationary point or partial optimum above it, and at neither within the budget.",
        )
        .panel(panel)
}

/// The questions that a theorist asks, each with a sentence whose numbers come from the records.
fn answers(view: &View) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let has = |name: &str| view.optimizers.contains(&name);
    let percent = |share: f64| format!("{} %", rounded(100.0 * share, 3));
    if has("acs") && has("descent-lipschitz") {
        let mut ratios: Vec<(f64, &str)> =
            view.families.iter().filter_map(|f| Some((view.speed("acs", "descent-lipschitz", f)?.0, *f))).collect();
        ratios.sort_by(|a, b| b.0.total_cmp(&a.0));
        let list: Vec<String> = ratios.iter().map(|(ratio, f)| format!("{} on {f}", rounded(*ratio, 2))).collect();
        let faster = ratios.iter().filter(|(ratio, _)| *ratio > 1.0).count();
        all.push((
            "Is alternating search faster than gradient descent?".into(),
            format!(
                "Yes on {faster} of {} families, counted in gradient evaluations to a common loss. The cost of gradient descent over its own is {}.",
                ratios.len(),
                list.join(", ")
            ),
        ));
        if let Some(test) = SignedRank::of(&view.differences("acs", "descent-lipschitz"), Zeros::Pratt) {
            let verdict = match (test.p < 0.05, test.effect < 0.0) {
                (true, true) => "Yes",
                (true, false) => "No, in worse ones",
                _ => "No difference is seen",
            };
            all.push((
                "Does it end in better optima?".into(),
                format!(
                    "{verdict}: over {} instances that differ the rank-biserial effect is {} (negative: alternating search ends lower), p = {} before correction.",
                    test.different,
                    rounded(test.effect, 2),
                    rounded(test.p, 2)
                ),
            ));
        }
    }
    if has("acs") {
        let runs: Vec<&Record> = view.of("acs").collect();
        let bad = runs.iter().filter(|record| spurious(view, record)).count();
        let blocks = runs.iter().filter(|record| spurious(view, record) && record.end.polysemantic > 0).count();
        if let Some(s) = ShareInterval::of(bad as u64, runs.len() as u64, LEVEL) {
            all.push((
                "Are spurious partial optima prevalent in practice?".into(),
                format!(
                    "Of {} runs of alternating search from random starts {bad} end in one, {} ({} to {}), and {blocks} of these have polysemantic neurons.",
                    runs.len(),
                    percent(s.share),
                    percent(s.low),
                    percent(s.high)
                ),
            ));
        }
    }
    let share = |name: &str| {
        let runs: Vec<&Record> = view.of(name).collect();
        runs.iter().filter(|record| view.succeeds(record)).count() as f64 / runs.len() as f64
    };
    // How the ends of `with` compare with those of `without` from the same starts.
    let against = |with: &'static str, without: &'static str| {
        let pairs = view.pairs(with, without);
        let lower = pairs.iter().filter(|(a, b)| view.excess(a) < view.excess(b) - SUCCESS).count();
        let higher = pairs.iter().filter(|(a, b)| view.excess(a) > view.excess(b) + SUCCESS).count();
        format!(
            "{} of runs end at the best known loss with it, {} without; from {lower} of {} starts it ends lower, from {higher} higher.",
            percent(share(with)),
            percent(share(without)),
            pairs.len()
        )
    };
    for (question, with, without) in [
        (
            "Does anchoring half of the neurons at first change where gradient descent ends?",
            "anchored-descent",
            "descent-lipschitz",
        ),
        ("What does resampling by the exact rule buy?", "acs-insertion", "acs-piecewise"),
        ("What do ten restarts buy alternating search within the same budget?", "acs-restarts", "acs"),
    ] {
        if has(with) && has(without) {
            all.push((question.into(), against(with, without)));
        }
    }
    if has("acs") && has("acs-extrapolated") {
        let ratios: Vec<f64> =
            view.families.iter().filter_map(|f| Some(view.speed("acs-extrapolated", "acs", f)?.0)).collect();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
        if !ratios.is_empty() {
            all.push((
                "Does extrapolation speed alternating search up?".into(),
                format!(
                    "To a common loss plain search costs {} to {} times as much, by family.",
                    rounded(least, 2),
                    rounded(most, 2)
                ),
            ));
        }
    }
    all
}
