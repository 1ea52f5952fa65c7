//! Figures of a comparison.

use super::{Entry, TAU, View};
use crate::stats::{Axis, Figure, Layer, Panel, Steps, Width, data_profiles, performance_profiles};
use std::collections::BTreeMap;

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

/// All figures, in the order of the page.
pub(super) fn all(view: &View) -> Vec<Figure> {
    let mut all = vec![profiles(view), budgets(view), classes(view)];
    all.extend(contraction(view));
    all.extend(escape(view));
    all
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
            let row =
                rows.entry((&record.of.instance, record.run.start)).or_insert_with(|| vec![f64::INFINITY; shown.len()]);
            row[k] = record.cost(tau);
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
    let most = view.runs().map(|record| record.gradients).fold(10.0, f64::max);
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
    let mut segments = |label: &str, test: &dyn Fn(&Entry) -> bool| {
        let mut bars = Vec::new();
        for (k, optimizer) in view.optimizers.iter().enumerate() {
            let runs: Vec<Entry> = view.of(optimizer);
            let share = runs.iter().filter(|record| test(record)).count() as f64 / runs.len() as f64;
            if share > 0.0 {
                bars.push(((count - k) as f64, from[k], from[k] + share));
            }
            from[k] += share;
        }
        Layer::Bars { label: label.to_owned(), bars, thickness: 0.7 }
    };
    let layers = [
        segments("best known", &|record| record.succeeds()),
        segments("spurious optimum", &|record| record.is_spurious()),
        segments("unfinished", &|record| !record.succeeds() && !record.is_spurious()),
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

/// The measured rate of alternating search over the predicted one, families apart; nothing if none was measured.
fn contraction(view: &View) -> Option<Figure> {
    let mut panel = Panel::new(
        "",
        Axis::linear("predicted, λ_2/λ_1").range(0.0, 1.0),
        Axis::linear("measured factor of a sweep").range(0.0, 1.0),
    )
    .equal_units()
    .layer(Layer::Reference { label: "equality".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] });
    let mut pairs: Vec<(f64, f64)> = view
        .records
        .iter()
        .flat_map(|record| &record.cells)
        .flat_map(|cell| &cell.contractions)
        .map(|block| (block.predicted, block.measured))
        .collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    if pairs.is_empty() {
        return None;
    }
    panel = panel.layer(Layer::Points { label: "one block".into(), points: pairs, intervals: Vec::new() });
    let figure = Figure::new("compare-contraction", "experiments", Width::Column)
        .title("Contraction of alternating search")
        .caption(
            "The factor by which one sweep shrinks the change of a block's direction, measured in the last sweeps, over the ratio of the two largest eigenvalues of D^½GD^½. Every point is a \
             block of a partition cell whose top eigenvector is positive.",
        );
    Some(figure.panel(panel))
}

/// Steps that gradient descent takes to leave saddles over those that the curvature predicts; nothing if there is no saddle.
fn escape(view: &View) -> Option<Figure> {
    let all: Vec<_> = view.records.iter().flat_map(|record| &record.escapes).collect();
    let points = |crossed: bool| -> Vec<(f64, f64)> {
        let of = all.iter().filter(|escape| escape.left && escape.crossed == crossed);
        of.filter_map(|escape| Some((escape.predicted?, escape.steps as f64))).collect()
    };
    let (inside, outside) = (points(false), points(true));
    let (least, most) =
        inside.iter().chain(&outside).fold((f64::INFINITY, 0.0_f64), |(a, b), p| (a.min(p.0), b.max(p.0)));
    if most == 0.0 {
        return None;
    }
    let (from, to) = (least / 1.5, most * 1.5);
    let mut panel = Panel::new(
        "",
        Axis::log("steps predicted by the curvature").range(from, to),
        Axis::log("steps to leave").range(from, to),
    )
    .layer(Layer::Reference { label: "equality".into(), points: vec![(from, from), (to, to)] });
    for (label, points) in [("within the cell", inside), ("into another cell", outside)] {
        if !points.is_empty() {
            panel = panel.layer(Layer::Points { label: label.into(), points, intervals: Vec::new() });
        }
    }
    let figure = Figure::new("compare-escape", "experiments", Width::Column)
        .title("Leaving saddles that are called minima")
        .caption(
            "Steps of gradient descent with a small fixed step from beside a strict saddle, a partial optimum that Theorem 3.7 calls a minimum, until it has left, over the number that the negative \
             curvature of the Hessian predicts.",
        );
    Some(figure.panel(panel))
}
