//! Exact results as JSON and as text for people.

use super::CliError;
use super::output::Output;
use crate::exact::Rational;
use crate::exact::rational;
use crate::stats::table::rounded;
use sdlab_verify::Certificate;
use serde_json::{Value, json};
use std::path::Path;

/// An exact number for machines: its nearest f64 and itself.
pub fn exact(value: &Rational) -> Value {
    json!({"f64": rational::to_f64(value), "exact": value.to_string()})
}

/// An exact number for people: itself, and its value if that is not plain.
pub fn exact_text(value: &Rational) -> String {
    let text = value.to_string();
    let approximate = rounded(rational::to_f64(value), 6);
    if text.len() > 40 {
        format!("{approximate} (an exact number of {} digits)", text.bytes().filter(u8::is_ascii_digit).count())
    } else if text.contains('/') {
        format!("{text} = {approximate}")
    } else {
        text
    }
}

/// A certificate as a JSON value.
pub fn certificate(certificate: &Certificate) -> Result<Value, CliError> {
    serde_json::from_str(&certificate.to_json())
        .map_err(|e| CliError::Request(format!("a certificate is no JSON: {e}")))
}

/// Writes a certificate to the file that the user named, and says how to replay it.
pub fn save_certificate(output: &Output, path: Option<&Path>, certificate: &Certificate) -> Result<(), CliError> {
    if let Some(path) = path {
        output.file(path, (certificate.to_json() + "\n").as_bytes())?;
        output.text(&format!("certificate written; replay it with: sdlab certify {}", path.display()))?;
    }
    Ok(())
}

/// A row such as (1, -1/2).
pub fn vector(values: &[Rational]) -> String {
    format!("({})", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// A rounded row such as (1, -0.5).
pub fn rounded_vector(values: &[f64]) -> String {
    let short = |value: &f64| {
        let text = rounded(*value, 4);
        if text.contains('.') && !text.contains('e') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    format!("({})", values.iter().map(short).collect::<Vec<_>>().join(", "))
}

/// Features in a firing set, such as {0, 2}.
pub fn set(features: impl IntoIterator<Item = usize>) -> String {
    format!("{{{}}}", features.into_iter().map(|d| d.to_string()).collect::<Vec<_>>().join(", "))
}
