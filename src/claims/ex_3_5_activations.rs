//! Example 3.5 by activation: in which sense its point is a minimum under Top-1∘ReLU, ReLU, a threshold and Top-1.
//!
//! Where the firing sets do not change near the point, L̃ agrees there with the threshold problem whose c separates the activations
//! that fire from those that do not, and that problem's certificate decides. Under ReLU the dead row lies on the boundary of its cell, and a
//! search over it finds the way down.

use super::ex_3_5::{printed, problem_with};
use super::{Context, Evidence};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Cell, Kind, Table, Tone};
use crate::theory::certificate_body::{certificate, number, point as point_json};
use crate::theory::partial_optimum::{Class, classify, first_order};
use crate::theory::pattern::{Pattern, dot, firing};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Problem};
use rand::RngExt;
use serde_json::json;

/// What the printed point is under one activation.
pub(super) struct Row {
    name: &'static str,
    pattern: Pattern,
    loss: Rational,
    pub(super) partial_optimum: bool,
    /// In its cell.
    local_in_cell: bool,
    /// Of L̃ as a function on the whole space.
    local: bool,
    /// How the last column was decided.
    because: String,
}

/// The four activations and the evidence for each.
pub(super) fn rows(context: &Context) -> Result<(Vec<Row>, Vec<Evidence>), String> {
    let half = Rational::ONE / Rational::from(2);
    let activations = [
        ("Top-1∘ReLU", "top-1-relu", Activation::TopKRelu(1)),
        ("ReLU", "relu", Activation::Threshold(Rational::ZERO)),
        ("threshold c = 1/2", "threshold", Activation::Threshold(half)),
        ("Top-1", "top-1", Activation::TopK(1)),
    ];
    let (mut rows, mut evidence) = (Vec::new(), Vec::new());
    for (name, stem, activation) in activations {
        let problem = problem_with([Rational::ONE, Rational::ONE], activation);
        let (row, items) = decide(context, name, stem, &problem)?;
        rows.push(row);
        evidence.extend(items);
    }
    Ok((rows, evidence))
}

fn decide(
    context: &Context,
    name: &'static str,
    stem: &str,
    problem: &Problem,
) -> Result<(Row, Vec<Evidence>), String> {
    let point = printed();
    let first = first_order(problem, &point);
    // Both blocks are convex on the (convex) cell, so that vanishing gradients suffice.
    let stationary = first.gradient_v.iter().chain(&first.gradient_w).flatten().all(Rational::is_zero);
    let value = loss_value(
        problem,
        &point,
        format!("{name}: L̃ = {} at the printed point.", first.loss),
        &format!("{stem}-loss"),
    )?;
    let mut evidence = vec![value];
    let below = lower_nearby(context, problem, &first.loss);
    let separating = separating_threshold(problem, &point);
    let c = separating.clone().unwrap_or(Rational::ZERO);
    let equal = problem_with([Rational::ONE, Rational::ONE], Activation::Threshold(c.clone()));
    let report = classify(&equal, &point)?;
    let local_in_cell = stationary && report.first.pattern == first.pattern && report.class == Some(Class::LocalMin);
    let (local, because) = match (below, separating) {
        (Some(lower), None) => {
            for (exponent, near) in lower {
                let text = format!(
                    "{name}, at distance at most 2^-{exponent} in each entry: pattern {}, 1 − L̃ = {}.",
                    Pattern::of_encoder(problem, &near.w_e),
                    Rational::ONE - near.loss(problem)
                );
                evidence.push(loss_value(problem, &near, text, &format!("{stem}-escape-{exponent}"))?);
            }
            (false, "the dead row leaves its cell downhill".to_owned())
        }
        (None, Some(c)) if local_in_cell => {
            let text = format!(
                "{name}: near the printed point exactly the activations above {c} fire, so that L̃ is that of the threshold {c}, and the \
                 point is a local minimum of it."
            );
            let item = Evidence::certified(text, &format!("{stem}-minimum"), report.certificate);
            evidence.push(item.map_err(|refusal| refusal.to_string())?);
            (true, "the firing sets do not change nearby".to_owned())
        }
        _ => return Err(format!("{name}: the printed point was not decided")),
    };
    let row = Row {
        name,
        pattern: first.pattern,
        loss: first.loss,
        partial_optimum: stationary,
        local_in_cell,
        local,
        because,
    };
    Ok((row, evidence))
}

fn loss_value(problem: &Problem, point: &Point, text: String, name: &str) -> Result<Evidence, String> {
    let body = json!({"point": point_json(point), "loss": number(&point.loss(problem))});
    Evidence::certified(text, name, certificate(problem, "loss-value", body)).map_err(|refusal| refusal.to_string())
}

/// A c ≥ 0 strictly between the activations that fire and those that do not, if nearby encoders have the same firing sets for that reason:
/// for every feature the sets of the activation are those of the threshold c, and under Top-k no tie decides.
fn separating_threshold(problem: &Problem, point: &Point) -> Option<Rational> {
    let (mut on, mut off): (Vec<Rational>, Vec<Rational>) = (Vec::new(), Vec::new());
    for feature in problem.features() {
        let z: Vec<Rational> = point.w_e.iter().map(|w| dot(w, &feature.w_p)).collect();
        let fired = firing(problem.activation(), &z);
        let (yes, no): (Vec<usize>, Vec<usize>) = (0..z.len()).partition(|i| fired.contains(i));
        if let Activation::TopK(_) | Activation::TopKRelu(_) = problem.activation()
            && yes.iter().any(|&i| no.iter().any(|&j| z[i] == z[j]))
        {
            return None;
        }
        on.extend(yes.into_iter().map(|i| z[i].clone()));
        off.extend(no.into_iter().map(|i| z[i].clone()));
    }
    let (lowest, highest) = (on.into_iter().min()?, off.into_iter().max()?);
    let strict = match problem.activation() {
        Activation::Threshold(c) => lowest > *c && highest < *c,
        _ => lowest > highest,
    };
    let c = match problem.activation() {
        Activation::Threshold(c) => c.clone(),
        _ => (&lowest + &highest) / Rational::from(2),
    };
    (strict && rational::sign(&c) >= 0).then_some(c)
}

/// Points with a lower loss at three shrinking distances, found by a seeded search over the dead row and its column; `None` if the search finds none
/// at one of them.
fn lower_nearby(context: &Context, problem: &Problem, loss: &Rational) -> Option<Vec<(u32, Point)>> {
    const TRIES: usize = 1000;
    let mut rng = stream(context.seed, "ex-3.5 escape");
    [3_u32, 10, 20]
        .into_iter()
        .map(|exponent| {
            let distance = Rational::ONE / Rational::from(1_u64 << exponent);
            (0..TRIES).find_map(|_| {
                let mut near = printed();
                for x in near.w_e[1].iter_mut().chain(near.w_d[1].iter_mut()) {
                    *x = &distance * Rational::from(rng.random_range(-2..=2_i32)) / Rational::from(2);
                }
                (near.loss(problem) < *loss).then_some((exponent, near))
            })
        })
        .collect()
}

/// The table "Example 3.5 by activation".
pub(super) fn table(rows: &[Row], source: &str) -> Table {
    let columns = [
        ("activation", Kind::Text),
        ("pattern", Kind::Exact),
        ("L̃", Kind::Exact),
        ("partial optimum", Kind::Verdict),
        ("local minimum in its cell", Kind::Verdict),
        ("local minimum of L̃", Kind::Verdict),
        ("because", Kind::Text),
    ];
    let dead = printed().loss(&problem_with([Rational::ONE, Rational::ONE], Activation::Threshold(Rational::ONE)));
    let verdict = |yes: bool| if yes { Cell::verdict(Tone::Good, "yes") } else { Cell::verdict(Tone::Bad, "no") };
    let mut table = Table::new("ex-3-5-activations", source, columns)
        .title("Example 3.5 by activation")
        .caption("What the point of eq. 18 is; a local minimum is never strict, as all rows with positive activations share its loss.")
        .note(&format!("For a threshold c ≥ 1 neuron 1 does not fire at the printed point, and L̃ = {dead}."));
    for row in rows {
        table.push([
            row.name.into(),
            Cell::exact(&row.pattern),
            Cell::exact(&row.loss),
            verdict(row.partial_optimum),
            verdict(row.local_in_cell),
            verdict(row.local),
            row.because.clone().into(),
        ]);
    }
    table
}
