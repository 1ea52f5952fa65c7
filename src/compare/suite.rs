//! The instances of a comparison, each with certificates of what its optimum can be.
//!
//! The lower bound is that of Eckart and Young: with n_q columns, whatever the codes are, L̃ is at least the sum of all but the n_q largest
//! eigenvalues of Σ_d M_d r_d r_dᵀ ([`root_bound`]). Where one neuron for each feature is realizable, the optimum is 0 and a point without loss proves it.

use super::config::FamilyConfig;
use crate::exact::{Rational, rational};
use crate::optim::global::patterns::root_bound;
use crate::theory::certificate_body::{self as body, certificate};
use crate::theory::families::{Family, Parameters};
use crate::theory::loss::ApproximateLoss;
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::region::{Row, decide_row};
use faer::Par;
use sdlab_verify::Certificate;
use serde_json::json;
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
        let optimum = certify(&problem, config.latents).map_err(|error| failed(&error))?;
        Ok(Self { id, family: config.family.clone(), problem, loss, latents: config.latents, optimum })
    }
}

/// Bounds the least L̃ of encoders with so many rows.
pub fn certify(problem: &Problem, latents: usize) -> Result<Optimum, String> {
    if latents >= problem.n()
        && let Some(point) = without_loss(problem, latents)?
    {
        let proof = certificate(problem, "zero-loss", json!({ "point": body::point(&point) }));
        return Ok(Optimum { lower: 0.0, attained: true, certificates: vec![accepted(proof)?] });
    }
    let (bound, proof) = root_bound(problem, latents, MARGIN)
        .ok_or("the lower bound by the eigenvalues of the targets could not be made exact")?;
    let proof = accepted(proof)?;
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

/// What the bound lies below its exact value, relative to Σ_d M_d ‖r_d‖², so that a rational proof has room.
const MARGIN: f64 = 1e-10;

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
