//! The instances of a comparison, each with certificates of what its optimum can be.
//!
//! The lower bound is that of Eckart and Young: with n_q columns, whatever the codes are, L̃ is at least the sum of all but the n_q largest
//! eigenvalues of S = Σ_d M_d r_d r_dᵀ. Its certificate (`lower-bound` in `verify/FORMAT.md`, one group of all features) carries a rational t and a
//! rational Y ⪰ 0 with tI + Y ⪰ S. Where one neuron for each feature is realizable, the optimum is 0 and a point without loss proves it.

use super::config::FamilyConfig;
use crate::exact::{Rational, rational};
use crate::optim::Biconvex;
use crate::theory::certificate_body::{self as body, certificate};
use crate::theory::families::{Family, Parameters};
use crate::theory::loss::ApproximateLoss;
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::region::{Row, decide_row};
use faer::{Mat, Par};
use sdlab_verify::Certificate;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One instance.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Family, sizes and number.
    pub id: String,
    /// Its family.
    pub family: String,
    /// The exact problem.
    pub problem: Problem,
    /// L̃ in f64, on one thread.
    pub loss: ApproximateLoss,
    /// n_q.
    pub latents: usize,
    /// What is certain of the least L̃.
    pub optimum: Optimum,
}

/// A certified lower bound of L̃.
#[derive(Debug, Clone)]
pub struct Optimum {
    /// The bound, rounded to f64.
    pub lower: f64,
    /// True if a point attains it.
    pub attained: bool,
    /// The proof of the bound, and of the point where it is attained.
    pub certificates: Vec<Certificate>,
}

impl Instance {
    /// Instance `number` of a family.
    pub fn make(config: &FamilyConfig, number: u64, seed: u64) -> Result<Self, String> {
        let family = Family::by_name(&config.family).ok_or_else(|| format!("there is no family {}", config.family))?;
        let c = rational::parse(&config.threshold).map_err(|error| error.to_string())?;
        let suffix =
            if config.threshold == "0" { String::new() } else { format!("-c{}", config.threshold.replace('/', "_")) };
        let id = format!("{}-n{}-p{}-q{}{suffix}-{number}", config.family, config.n, config.n_p, config.latents);
        let parameters = Parameters { n: config.n, n_p: config.n_p, n_r: config.n_r, c };
        let failed = |error: &dyn std::fmt::Display| format!("{id}: {error}");
        let problem = family.generate(&parameters, seed.wrapping_add(number)).map_err(|error| failed(&error))?;
        let loss = ApproximateLoss::from_problem(&problem).map_err(|error| failed(&error))?.with_par(Par::Seq);
        let optimum = certify(&problem, &loss, config.latents).map_err(|error| failed(&error))?;
        Ok(Self { id, family: config.family.clone(), problem, loss, latents: config.latents, optimum })
    }
}

/// Bounds the least L̃ of encoders with so many rows.
pub fn certify(problem: &Problem, loss: &ApproximateLoss, latents: usize) -> Result<Optimum, String> {
    if latents >= problem.n()
        && let Some(point) = without_loss(problem, latents)?
    {
        let proof = certificate(problem, "zero-loss", json!({ "point": body::point(&point) }));
        return Ok(Optimum { lower: 0.0, attained: true, certificates: vec![accepted(proof)?] });
    }
    let (bound, tree) = eckart_young(problem, loss, latents)?;
    let proof = json!({ "latents": latents, "bound": body::number(&bound), "tree": tree });
    let proof = accepted(certificate(problem, "lower-bound", proof))?;
    // Rounded downwards, so that the f64 bounds as well.
    let lower = rational::to_f64(&bound).next_down().max(0.0);
    Ok(Optimum { lower, attained: false, certificates: vec![proof] })
}

fn accepted(certificate: Certificate) -> Result<Certificate, String> {
    sdlab_verify::check(&certificate).map_err(|refusal| format!("a certificate was refused: {refusal}"))?;
    Ok(certificate)
}

/// One neuron for each feature, and dead ones, if every feature can be fired alone.
fn without_loss(problem: &Problem, latents: usize) -> Result<Option<Point>, String> {
    let (mut w_e, mut w_d) = (Vec::new(), Vec::new());
    for (d, feature) in problem.features().iter().enumerate() {
        let Row::Realizable { w } = decide_row(problem, &BTreeSet::from([d])).map_err(|error| error.to_string())?
        else {
            return Ok(None);
        };
        let code = dot(&w, &feature.w_p);
        w_d.push(feature.w_r.iter().map(|r| r / &code).collect());
        w_e.push(w);
    }
    w_e.resize(latents, vec![Rational::ZERO; problem.n_p()]);
    w_d.resize(latents, vec![Rational::ZERO; problem.n_r()]);
    Ok(Some(Point { w_e, w_d }))
}

/// Σ of all but the `latents` largest eigenvalues of S, rounded down to what a rational t and Y prove: tr S − m t − tr Y.
fn eckart_young(problem: &Problem, loss: &ApproximateLoss, latents: usize) -> Result<(Rational, Value), String> {
    let n_r = problem.n_r();
    let sum = |terms: &mut dyn Iterator<Item = Rational>| terms.fold(Rational::ZERO, |a, b| a + b);
    let S: Vec<Vec<Rational>> = (0..n_r)
        .map(|a| {
            (0..n_r).map(|b| sum(&mut problem.features().iter().map(|f| &f.mass * &f.w_r[a] * &f.w_r[b]))).collect()
        })
        .collect();
    let trace = |M: &[Vec<Rational>]| -> Rational { sum(&mut (0..n_r).map(|k| M[k][k].clone())) };
    let (t, Y) = if latents >= n_r {
        // Any target is within reach of n_r columns.
        (Rational::ZERO, S.clone())
    } else {
        let scaled = Mat::from_fn(n_r, loss.n(), |k, d| loss.R()[(k, d)] * loss.masses()[d].sqrt());
        let svd = scaled.thin_svd().map_err(|_| "the singular value decomposition of the targets did not converge")?;
        let value =
            |k: usize| if k < svd.S().column_vector().nrows() { svd.S().column_vector()[k].powi(2) } else { 0.0 };
        let (t, margin) = (value(latents), MARGIN * Biconvex::total(loss));
        let entry = |a: usize, b: usize| {
            let top: f64 = (0..latents).map(|k| (value(k) - t) * svd.U()[(a, k)] * svd.U()[(b, k)]).sum();
            top + if a == b { margin } else { 0.0 }
        };
        let exact = |x: f64| rational::from_f64((x * GRID).round() / GRID).map_err(|error| error.to_string());
        // Symmetric, entry by entry.
        let row = |a: usize| (0..n_r).map(|b| exact(entry(a.max(b), a.min(b)))).collect::<Result<Vec<_>, _>>();
        let Y = (0..n_r).map(row).collect::<Result<Vec<_>, _>>()?;
        (exact(t + margin)?, Y)
    };
    let bound = trace(&S) - Rational::from(latents as u64) * &t - trace(&Y);
    let bound = if rational::sign(&bound) < 0 { Rational::ZERO } else { bound };
    let features: Vec<usize> = (0..problem.n()).collect();
    let group = json!({ "features": features, "t": body::number(&t), "y": body::rows(&Y) });
    Ok((bound, json!({ "groups": [group] })))
}

/// What t and Y exceed their exact values by, relative to Σ_d M_d ‖r_d‖², so that rounding leaves them valid.
const MARGIN: f64 = 1e-11;
/// Y is rounded to multiples of 1/GRID.
const GRID: f64 = (1_u64 << 50) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(family: &str, n: usize, n_p: usize, latents: usize) -> FamilyConfig {
        FamilyConfig { family: family.into(), n, n_p, n_r: None, latents, threshold: "0".into(), instances: 1 }
    }

    #[test]
    fn orthonormal_features_lose_their_smallest_masses() {
        let instance = Instance::make(&config("orthonormal", 4, 4, 2), 0, 7).unwrap();
        let mut masses = instance.loss.masses().to_vec();
        masses.sort_by(f64::total_cmp);
        let expected = masses[0] + masses[1];
        let lower = instance.optimum.lower;
        assert!(lower <= expected && lower >= expected - 1e-9, "{lower} for {expected}");
        assert!(!instance.optimum.attained && instance.optimum.certificates.len() == 1);
    }

    #[test]
    fn a_neuron_for_every_feature_leaves_nothing() {
        let instance = Instance::make(&config("random-unit", 4, 4, 5), 0, 7).unwrap();
        assert!(instance.optimum.attained && instance.optimum.lower == 0.0);
        // Antipodal pairs among dependent features: still each alone.
        assert!(Instance::make(&config("antipodal", 4, 2, 4), 0, 7).is_ok());
    }

    #[test]
    fn more_columns_than_dimensions_bound_nothing() {
        let instance = Instance::make(&config("dependent", 5, 3, 4), 0, 7).unwrap();
        assert_eq!(instance.optimum.lower, 0.0);
    }
}
