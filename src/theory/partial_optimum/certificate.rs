//! The certificates of this module: partial optima with their class, their absence, and ε-partial optima.

use super::absence::{End, Link, Node, Side};
use super::overlap::Residuals;
use super::second_order::SecondOrder;
use super::stationary::Stationary;
use crate::exact::Rational;
use crate::exact::algebraic::NumberField;
use crate::exact::field::OrderedField;
use crate::theory::certificate_body::{certificate, number, numbers, pattern, point, rows};
use crate::theory::pattern::Pattern;
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use sdlab_verify::Certificate;
use serde_json::{Map, Value, json};
use std::rc::Rc;

type Elem = <NumberField as OrderedField>::Elem;

/// A stationary row with its class, ready to be written.
pub(super) struct ClassifiedRow<'a> {
    /// The neuron.
    pub neuron: usize,
    /// T of its block.
    pub total: &'a Rational,
    /// The row.
    pub row: &'a Stationary,
    /// Its class.
    pub class: &'a SecondOrder,
}

/// A number of Q(α): a rational where it is one.
fn element(field: &NumberField, x: &Elem) -> Value {
    match &field.normal_form(x)[..] {
        [value] => number(value),
        several => numbers(several),
    }
}

fn elements(field: &NumberField, v: &[Elem]) -> Value {
    v.iter().map(|x| element(field, x)).collect()
}

/// The field's declaration, or `None` for Q.
fn declaration(field: &NumberField) -> Option<Value> {
    if field.rational_value().is_some() {
        return None;
    }
    let (lo, hi) = field.interval();
    let poly: Value = field.poly().primitive_integers().iter().map(|x| Value::String(x.to_string())).collect();
    Some(json!({"poly": poly, "lo": number(&lo), "hi": number(&hi)}))
}

fn pairs(field: &NumberField, list: &[(usize, Elem)]) -> Value {
    list.iter().map(|(e, x)| json!([e, element(field, x)])).collect()
}

/// The certificate of a partial optimum made of one classified row per live neuron and of dead neurons; `dead` gives each
/// dead neuron's row and column.
pub(super) fn optimum(
    problem: &Problem,
    p: &Pattern,
    live: &[ClassifiedRow],
    dead: &[(usize, Vec<Rational>, Vec<Rational>)],
) -> Certificate {
    let mut parts = Vec::new();
    let mut losses = Vec::new();
    let mut orders = Vec::new();
    let mut saddle = None;
    for (index, item) in live.iter().enumerate() {
        let field = &item.row.field;
        // Class evidence first: computing it may still shrink the field's polynomial.
        match item.class {
            SecondOrder::LocalMin { order, .. } => {
                let u: Value = order.u.iter().map(|(e, v)| json!([e, elements(field, v)])).collect();
                let n: Value = order.n.iter().map(|(e, f, x)| json!([e, f, element(field, x)])).collect();
                let kernel: Value = order.kernel.iter().map(|v| elements(field, v)).collect();
                orders.push(json!({"u": u, "n": n, "kernel": kernel}));
            }
            SecondOrder::Saddle(direction) => {
                saddle.get_or_insert_with(|| json!({"part": index, "direction": elements(field, direction)}));
            }
            SecondOrder::Degenerate => {}
        }
        let mut part = Map::new();
        part.insert("form".into(), "row".into());
        part.insert("neuron".into(), item.neuron.into());
        if let Some(declared) = declaration(field) {
            part.insert("field".into(), declared);
        }
        part.insert("mu".into(), element(field, &item.row.mu));
        part.insert("w".into(), elements(field, &item.row.w));
        part.insert("multipliers".into(), pairs(field, &item.row.multipliers));
        parts.push(Value::Object(part));
        losses.push(element(field, &field.sub(&field.rational(item.total), &item.row.mu)));
    }
    if !dead.is_empty() {
        let neurons: Vec<usize> = dead.iter().map(|d| d.0).collect();
        let w_e: Value = dead.iter().map(|d| numbers(&d.1)).collect();
        let w_d: Value = dead.iter().map(|d| numbers(&d.2)).collect();
        parts.push(json!({"form": "joint", "neurons": neurons, "w_e": w_e, "w_d": w_d, "multipliers": []}));
        losses.push(number(&Rational::ZERO));
    }
    let mut body = json!({"pattern": pattern(p), "parts": parts, "loss": losses});
    let kind = if let Some(saddle) = saddle {
        body["saddle"] = saddle;
        "strict-saddle"
    } else if orders.len() == live.len() {
        body["order"] = Value::Array(orders);
        "local-min"
    } else {
        "partial-optimum"
    };
    certificate(problem, kind, body)
}

/// The certificate of a partial optimum with an overlapping pattern, at an exact point.
pub(super) fn joint(
    problem: &Problem,
    p: &Pattern,
    at: &Point,
    multipliers: &[(usize, usize, Rational)],
    loss: &Rational,
) -> Certificate {
    let list: Value = multipliers.iter().map(|(i, e, x)| json!([i, e, number(x)])).collect();
    let neurons: Vec<usize> = (0..p.latents()).collect();
    let part =
        json!({"form": "joint", "neurons": neurons, "w_e": rows(&at.w_e), "w_d": rows(&at.w_d), "multipliers": list});
    certificate(problem, "partial-optimum", json!({"pattern": pattern(p), "parts": [part], "loss": [number(loss)]}))
}

/// The certificate that a neuron of a disjoint pattern admits no partial optimum.
pub(super) fn absence(problem: &Problem, p: &Pattern, neuron: usize, chain: &[Link]) -> Certificate {
    // A root that two links share must be declared by the same JSON.
    let mut declared: Vec<(Rc<NumberField>, Value)> = Vec::new();
    let links: Value = chain
        .iter()
        .map(|link| {
            let mut object = Map::new();
            if let Some(field) = &link.field {
                let value = match declared.iter().find(|(f, _)| Rc::ptr_eq(f, field)) {
                    Some((_, value)) => value.clone(),
                    None => {
                        let value = declaration(field).expect("a root that ends a link is irrational");
                        declared.push((field.clone(), value.clone()));
                        value
                    }
                };
                object.insert("field".into(), value);
            }
            let to = match &link.to {
                End::Rational(x) => number(x),
                End::Root(_) => "alpha".into(),
            };
            object.insert("to".into(), to);
            object.insert("tree".into(), node(&link.tree, link.field.as_deref()));
            Value::Object(object)
        })
        .collect();
    certificate(problem, "no-partial-optimum", json!({"pattern": pattern(p), "neuron": neuron, "chain": links}))
}

fn node(tree: &Node, field: Option<&NumberField>) -> Value {
    let value = |x: &Vec<Rational>| match field {
        Some(field) => element(field, x),
        None => number(&x[0]),
    };
    let list = |v: &[(usize, Vec<Rational>)]| -> Value { v.iter().map(|(e, x)| json!([e, value(x)])).collect() };
    let side = |s: &Side| json!({"y": list(&s.y), "z": list(&s.z), "s": list(&s.s)});
    match tree {
        Node::Branch(e, tight, free) => json!({"branch": e, "tight": node(tight, field), "free": node(free, field)}),
        Node::Leaf { x, start, end } => {
            let x: Value = x.iter().map(value).collect();
            json!({"x": x, "start": side(start), "end": side(end)})
        }
    }
}

/// The certificate that both block residuals of a point are at most ε = max(r_V, r_W).
pub fn epsilon(problem: &Problem, at: &Point, residuals: &Residuals) -> Certificate {
    let slack: Value = residuals.slack.iter().map(|(i, d, x)| json!([i, d, number(x)])).collect();
    let bound = residuals.r_v.clone().max(residuals.r_w.clone()).max(Rational::ZERO);
    certificate(
        problem,
        "epsilon-partial-optimum",
        json!({
            "pattern": pattern(&Pattern::of_encoder(problem, &at.w_e)),
            "point": point(at),
            "epsilon": number(&bound),
            "dual_v": rows(&residuals.dual_v),
            "dual_w": rows(&residuals.dual_w),
            "slack": slack,
        }),
    )
}

/// The certificate that a point is no partial optimum of its cell.
pub fn not_partial(problem: &Problem, at: &Point, better: &Point) -> Certificate {
    certificate(problem, "not-partial-optimum", json!({"point": point(at), "better": point(better)}))
}
