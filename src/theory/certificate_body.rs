//! Certificate bodies as JSON of `verify/FORMAT.md`, read back by the checker's own parser.
//!
//! Used where a body is put together from parts that carry their own fields; [`super::certificate`] builds the typed forms.

use super::pattern::Pattern;
use super::point::Point;
use super::problem::Problem;
use crate::exact::Rational;
use sdlab_verify::Certificate;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// SHA-256 of the problem's canonical JSON, the name of an instance.
pub fn hash(problem: &Problem) -> String {
    crate::io::hexadecimal(&Sha256::digest(problem.to_json()))
}

/// A certificate of `kind` about `problem`.
///
/// # Panics
/// If `body` is not of that kind's form: an error of the caller, never of the input.
pub fn certificate(problem: &Problem, kind: &str, body: Value) -> Certificate {
    let text = json!({
        "format": 1,
        "kind": kind,
        "instance": problem,
        "sha256": hash(problem),
        "body": body,
    })
    .to_string();
    Certificate::parse(&text).unwrap_or_else(|refusal| panic!("malformed {kind} certificate: {refusal}"))
}

/// A rational in lowest terms.
pub fn number(x: &Rational) -> Value {
    Value::String(x.to_string())
}

/// A vector of rationals.
pub fn numbers(v: &[Rational]) -> Value {
    v.iter().map(number).collect()
}

/// A list of vectors.
pub fn rows(m: &[Vec<Rational>]) -> Value {
    m.iter().map(|v| numbers(v)).collect()
}

/// A pattern.
pub fn pattern(pattern: &Pattern) -> Value {
    json!(pattern.lists())
}

/// A point.
pub fn point(point: &Point) -> Value {
    json!({"w_e": rows(&point.w_e), "w_d": rows(&point.w_d)})
}
