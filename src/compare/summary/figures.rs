//! Figures of a comparison.

use super::{Entry, TAU, View};
use crate::stats::{Axis, Figure, Layer, Panel, Steps, Width, data_profiles, performance_profiles};
use std::collections::BTreeMap;

/// τ of the targets that are counted together.
const TARGETS: [f64; 8] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8];
/// Optimizers by kind, no more in one than can be told apart in print; any others share further figures.
const KINDS: [(&str, &str, &[&str]); 4] = [
    (
        "alternating",
        "alternating search",
        &[
            "acs",
            "acs-proximal",
            "acs-extrapolated",
            "acs-accelerated",
            "acs-restarts",
            "acs-piecewise",
            "acs-insertion",
        ],
    ),
    (
        "descent",
        "gradient descent",
        &["descent-fixed", "descent-lipschitz", "descent-exact", "perturbed-descent", "anchored-descent"],
    ),
    (
        "accelerated",
        "accelerated and second-order methods",
        &["nesterov", "adam", "lbfgs", "trust-region", "interior-point"],
    ),
    ("dictionaries", "learners of dictionaries", &["k-svd", "optimal-directions", "online-dictionary"]),
];
/// Drawn in every figure, to compare with.
const REFERENCE: &str = "acs";
/// Excess below which a mean of excesses is drawn as this.
const FLOOR: f64 = 1e-8;

/// All figures, in the order of the page.
pub(super) fn all(view: &View) -> Vec<Figure> {
    let mut all = profiles(view);
    all.push(classes(view));
    all.extend(speed(view));
    all.extend(pairs(view));
    all.extend(contraction(view));
    all.extend(escape(view));
    all
}

/// Name of the figure, what its optimizers are, and those, for all that were compared.
fn kinds<'a>(view: &View<'a>) -> Vec<(String, &'static str, Vec<&'a str>)> {
    let of_kind = |kind: &[&str]| view.optimizers.iter().copied().filter(|o| kind.contains(o)).collect::<Vec<_>>();
    let mut kinds: Vec<(String, &str, Vec<&str>)> =
        KINDS.iter().map(|(name, words, kind)| ((*name).to_owned(), *words, of_kind(kind))).collect();
    let known = |name: &&str| KINDS.iter().any(|(_, _, kind)| kind.contains(name));
    let others: Vec<&str> = view.optimizers.iter().copied().filter(|name| !known(name)).collect();
    kinds.extend(others.chunks(7).enumerate().map(|(k, o)| (format!("others-{k}"), "other methods", o.to_vec())));
    kinds.retain(|(_, _, optimizers)| !optimizers.is_empty());
    kinds
}

/// A row of numbers for each start of each instance, a column for each optimizer.
fn costs(view: &View, of: impl Fn(&Entry) -> f64) -> Vec<Vec<f64>> {
    let mut rows: BTreeMap<(&str, u64), Vec<f64>> = BTreeMap::new();
    for (k, optimizer) in view.optimizers.iter().enumerate() {
        for run in view.of(optimizer) {
            let row = rows
                .entry((&run.of.instance, run.run.start))
                .or_insert_with(|| vec![f64::INFINITY; view.optimizers.len()]);
            row[k] = of(&run);
        }
    }
    rows.into_values().collect()
}

/// A panel of profiles: title, axis, its ends, and the steps of every optimizer.
type Profile = (String, Axis, (f64, f64), Vec<Steps>);

/// What the optimizers of each kind reach at which cost: a figure for each kind.
fn profiles(view: &View) -> Vec<Figure> {
    let most = view.runs().map(|run| run.gradients).fold(10.0, f64::max);
    let mut by_target: Vec<(f64, Vec<Vec<f64>>)> = Vec::new();
    TARGETS.iter().for_each(|tau| by_target.push((*tau, costs(view, |run| run.cost(*tau)))));
    let share = || Axis::linear("share").range(0.0, 1.0);
    let evaluations = || Axis::log("gradient evaluations");
    let mut panels: Vec<Profile> = Vec::new();
    let at_tau = costs(view, |run| run.cost(TAU));
    if let Some(steps) = performance_profiles(&at_tau) {
        panels.push(("to τ = 1e-4, relative".into(), Axis::log("cost / least cost"), (1.0, 100.0), steps));
    }
    let over_all = |k: usize| by_target.iter().flat_map(|(_, rows)| rows).map(|row| row[k]).collect::<Vec<_>>();
    if let Some(steps) = (0..view.optimizers.len()).map(|k| Steps::ecdf(&over_all(k))).collect() {
        panels.push(("all targets".into(), evaluations(), (1.0, most), steps));
    }
    let seconds = costs(view, |run| run.seconds(TAU));
    let timed = seconds.iter().flatten().copied().filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    let (least, longest) = timed.fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    if longest > least
        && let Some(steps) = data_profiles(&seconds, &vec![1.0; seconds.len()])
    {
        panels.push(("to τ = 1e-4".into(), Axis::log("seconds"), (least, longest), steps));
    }
    for (tau, rows) in &by_target {
        if let Some(steps) = data_profiles(rows, &vec![1.0; rows.len()]) {
            panels.push((format!("to τ = {tau:e}"), evaluations(), (1.0, most), steps));
        }
    }
    let mut figures = Vec::new();
    for (name, words, kind) in kinds(view) {
        let caption = format!(
            "Shares of the starts from which the loss has come within τ of the way to the best known, for {words}; alternating search in the start's cell stands in every figure. Relative cost: \
             performance profiles of Dolan and Moré, over the cheapest of all {} optimizers. Otherwise data profiles of Moré and Wild, by gradient evaluations or seconds of one thread; all \
             targets: of all pairs of a start and τ = 1e-1, 1e-2, .., 1e-8.",
            view.optimizers.len()
        );
        let mut figure = Figure::new(&format!("compare-profiles-{name}"), "experiments", Width::Page)
            .title(&format!("What a budget buys: {words}"))
            .caption(&caption);
        for (title, x, (from, to), steps) in &panels {
            let mut panel = Panel::new(title, x.clone(), share());
            for (k, optimizer) in view.optimizers.iter().enumerate() {
                if kind.contains(optimizer) {
                    panel = panel.layer(steps[k].layer(optimizer, *from, *to));
                } else if *optimizer == REFERENCE {
                    let points = steps[k].corners(*from, *to);
                    panel = panel.layer(Layer::Reference { label: REFERENCE.into(), points });
                }
            }
            figure = figure.panel(panel);
        }
        figures.push(figure);
    }
    figures
}

/// Cost ratios by family; nothing unless alternating search was compared with one of these.
fn speed(view: &View) -> Option<Figure> {
    let count = view.families.len();
    let others = ["descent-lipschitz", "nesterov", "lbfgs", "acs-extrapolated", "acs-accelerated"];
    let names = view.families.iter().enumerate().map(|(k, name)| ((count - k) as f64, (*name).to_owned()));
    let (low, high) = (0.4, count as f64 + 0.6);
    let mut panel = Panel::new("", Axis::log("cost / cost of acs"), Axis::linear("").range(low, high).ticks(names))
        .frame_height(14.0 * count as f64 + 20.0)
        .layer(Layer::Reference { label: "as fast as acs".into(), points: vec![(1.0, low), (1.0, high)] });
    let mut shown = false;
    for other in others.into_iter().filter(|other| view.optimizers.contains(other)) {
        let ratio =
            |(k, family): (usize, &&str)| Some((view.speed("acs", other, Some(*family))?.ratio, (count - k) as f64));
        let points: Vec<(f64, f64)> = view.families.iter().enumerate().filter_map(ratio).collect();
        shown |= !points.is_empty();
        panel = panel.layer(Layer::Points { label: other.to_owned(), points, intervals: Vec::new() });
    }
    let figure = Figure::new("compare-speed", "experiments", Width::Column)
        .title("Speed by family")
        .caption(
            "Geometric means over starts of the cost of an optimizer over that of alternating search in the start's cell, in gradient evaluations, until both have covered the largest share \
             of the way to the best known loss, up to 99.9 %, that both cover. To the right of the line alternating search is faster. Starts from which one of them covers not even half of the way are \
             left out, so that this figure says nothing of failures; the table by family counts them, and expected costs pay for them.",
        );
    shown.then(|| figure.panel(panel))
}

/// Excess of pairs of optimizers, instance by instance; nothing if no such pair was compared.
fn pairs(view: &View) -> Option<Figure> {
    let mut figure = Figure::new("compare-pairs", "experiments", Width::Page)
        .title("Pairs of optimizers, instance by instance")
        .caption(
            "Excess at the end over the best known loss, relative to Σ M‖r‖² and averaged over starts, one point for each instance; excess below 1e-8 is drawn as 1e-8. Below the line the \
             method of the vertical axis ends lower. Where a run is unfinished its end is where the budget left it.",
        );
    for (title, a, b) in [
        ("alternating or descending", "acs", "descent-lipschitz"),
        ("anchoring", "anchored-descent", "descent-lipschitz"),
        ("resampling", "acs-insertion", "acs-piecewise"),
        ("restarts", "acs-restarts", "acs"),
    ] {
        let means = |name: &str| {
            let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
            for run in view.of(name) {
                let entry = sums.entry(&run.of.instance).or_default();
                entry.0 += run.excess();
                entry.1 += 1.0;
            }
            sums.into_iter().map(|(k, (sum, count))| (k, (sum / count).max(FLOOR))).collect::<BTreeMap<_, _>>()
        };
        let (of_a, of_b) = (means(a), means(b));
        let points: Vec<(f64, f64)> = of_b.iter().filter_map(|(k, x)| Some((*x, *of_a.get(k)?))).collect();
        if points.is_empty() {
            continue;
        }
        let axis = |name: &str| Axis::log(name).range(FLOOR / 2.0, 1.0);
        let line = vec![(FLOOR / 2.0, FLOOR / 2.0), (1.0, 1.0)];
        let panel = Panel::new(title, axis(b), axis(a))
            .layer(Layer::Reference { label: "equality".into(), points: line })
            .layer(Layer::Points { label: "one instance".into(), points, intervals: Vec::new() });
        figure = figure.panel(panel);
    }
    (!figure.panels.is_empty()).then_some(figure)
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
        segments("certified global", &|record| record.is_global()),
        segments("best known", &|record| record.succeeds() && !record.is_global()),
        segments("spurious optimum", &|record| record.is_spurious()),
        segments("unfinished", &|record| !record.succeeds() && !record.is_spurious()),
    ];
    for layer in layers {
        panel = panel.layer(layer);
    }
    Figure::new("compare-ends", "experiments", Width::Column)
        .title("Where the runs end")
        .caption(
            "Share of runs that end at a global optimum that is certified from both sides, at the best known loss elsewhere, at a stationary point or partial optimum above it, and at none of \
             these within the budget.",
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
    let blocks: Vec<_> =
        view.records.iter().flat_map(|record| &record.cells).flat_map(|cell| &cell.contractions).collect();
    if blocks.is_empty() {
        return None;
    }
    for (label, on_face) in [("one block", false), ("one that ends on a face", true)] {
        let of = blocks.iter().filter(|block| block.on_face.is_some() == on_face);
        let mut points: Vec<(f64, f64)> = of.map(|block| (block.predicted, block.measured)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !points.is_empty() {
            panel = panel.layer(Layer::Points { label: label.into(), points, intervals: Vec::new() });
        }
    }
    let figure = Figure::new("compare-contraction", "experiments", Width::Column)
        .title("Contraction of alternating search")
        .caption(
            "The factor by which one sweep shrinks the change of a block's direction, measured in the last sweeps, over the ratio of the two largest eigenvalues of D^½GD^½. Every point is a \
             block of a partition cell whose top eigenvector is positive. Where there is a threshold, the search can end on a face of the cell, codes at the threshold; there the factor tends to \
             λ_max/λ_1, λ_max without the features of those codes, which is larger.",
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
             curvature of the Hessian predicts. Left: it has come to the distance for which the prediction is made.",
        );
    Some(figure.panel(panel))
}
