//! Exact points (V, W) of the parameter space.

use super::pattern::{dot, firing};
use super::problem::{Number, Problem};
use crate::exact::Rational;
use crate::fault::{self, Fault};
use serde::Deserialize;

/// An exact point: encoder rows and decoder columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// w_i, the n_q rows of W_E, n_p numbers each.
    pub w_e: Vec<Vec<Rational>>,
    /// v_i, the n_q columns of W_D, n_r numbers each.
    pub w_d: Vec<Vec<Rational>>,
}

impl Point {
    /// Reads point JSON `{"w_e": [[row], ..], "w_d": [[column], ..]}` and checks it against the problem's shape.
    pub fn from_json(text: &str, problem: &Problem) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            w_e: Vec<Vec<Number>>,
            w_d: Vec<Vec<Number>>,
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let file: File = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| e.to_string())?;
        deserializer.end().map_err(|e| e.to_string())?;
        if file.w_e.is_empty() {
            return Err("w_e: expected at least one row, found none".into());
        }
        if file.w_d.len() != file.w_e.len() {
            return Err(format!("w_d: expected {} columns as w_e has rows, found {}", file.w_e.len(), file.w_d.len()));
        }
        for (name, rows, expected) in [("w_e", &file.w_e, problem.n_p()), ("w_d", &file.w_d, problem.n_r())] {
            if let Some((i, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != expected) {
                return Err(format!("{name}[{i}]: expected {expected} numbers, found {}", row.len()));
            }
        }
        let numbers = |m: Vec<Vec<Number>>| m.into_iter().map(|v| v.into_iter().map(|x| x.0).collect()).collect();
        Ok(Self { w_e: numbers(file.w_e), w_d: numbers(file.w_d) })
    }

    /// L̃ at this point, exactly (eq. 11).
    pub fn loss(&self, problem: &Problem) -> Rational {
        let mut loss = Rational::ZERO;
        let counted = problem.n() - usize::from(fault::planted(Fault::Loss));
        for feature in &problem.features()[..counted] {
            let z: Vec<Rational> = self.w_e.iter().map(|row| dot(row, &feature.w_p)).collect();
            let mut residual = feature.w_r.clone();
            for i in firing(problem.activation(), &z) {
                for (e, v) in residual.iter_mut().zip(&self.w_d[i]) {
                    *e -= &z[i] * v;
                }
            }
            loss += &feature.mass * dot(&residual, &residual);
        }
        loss
    }
}
