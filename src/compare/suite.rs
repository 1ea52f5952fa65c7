//! The instances of a comparison, each with certificates of what its optimum can be.
//!
//! The lower bound is that of Eckart and Young: with n_q columns, whatever the codes are, L̃ is at least the sum of all but the n_q largest
//! eigenvalues of Σ_d M_d r_d r_dᵀ ([`root_bound`]). Where one neuron for each feature is realizable, the optimum is 0 and a point without loss proves it.
//! The smallest instances are solved by branch-and-bound over all patterns ([`patterns::solve`]), whose tree is their certificate. Elsewhere an encoder that fires on
//! all features often attains the bound ([`span::encoders`]); where it does not and the features are few, the bound by one code is the infimum
//! of independent features ([`code_bound`]). In what is left, the best point that the runs found is certified in the end, if its exact loss attains the bound
//! ([`Instance::attain`]).
//!
//! The cell in which a start begins is certified by the start's own encoder ([`Instance::witness`]), where exact products take no time.
//!
//! The family `adversarial` is no family of seeds but of counterexamples: instance k is the first that refutes Thm 3.7 among the proposals of seed k
//! ([`refuting`]), and its first start lies in the cell that holds no partial optimum.

use super::config::FamilyConfig;
use super::record::ATTAINED;
use crate::claims::refuting;
use crate::exact::{Rational, rational};
use crate::optim::global::patterns::{self, Options, root_bound};
use crate::optim::global::upper::point_with;
use crate::optim::global::{code_bound, span};
use crate::optim::start;
use crate::theory;
use crate::theory::certificate_body::{self as body, certificate};
use crate::theory::families::{Family, Parameters};
use crate::theory::loss::{ApproximateLoss, Weights};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::region::{self, Realizability, Row, decide_row};
use faer::{Mat, Par};
use sdlab_verify::Certificate;
use sdlab_verify::format::PatternWitness;
use serde_json::json;
use std::collections::BTreeSet;

/// The family of counterexamples.
pub const ADVERSARIAL: &str = "adversarial";
/// Largest n·n_q that branch-and-bound is asked for.
pub const SMALLEST: usize = 12;
/// Most features for which the bound by one code is asked for.
pub const FEW: usize = 8;
/// Largest n·n_q·n_p for which the cells of starts are certified.
pub const WITNESSED: usize = 10_000;

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
    /// An encoder in the cell from which start 0 begins, where the instance has one.
    pub cell: Option<Mat<f64>>,
}

/// A certified lower bound of L̃.
#[derive(Debug, Clone)]
pub struct Optimum {
    /// The bound, rounded to f64.
    pub lower: f64,
    /// The exact loss of a point, rounded upwards to f64, where one was certified to attain the bound.
    pub upper: Option<f64>,
    /// The proof of the bound, and of the point where it is attained.
    pub certificates: Vec<Certificate>,
}

impl Instance {
    /// Instance `number` of a family.
    pub fn make(config: &FamilyConfig, number: u64, seed: u64) -> Result<Self, String> {
        let id = config.id(number);
        let failed = |error: &dyn std::fmt::Display| format!("{id}: {error}");
        let (problem, pattern) = generate(config, seed.wrapping_add(number)).map_err(|error| failed(&error))?;
        let loss = ApproximateLoss::from_problem(&problem).map_err(|error| failed(&error))?.with_par(Par::Seq);
        let optimum = certify(&problem, config.latents).map_err(|error| failed(&error))?;
        let cell = pattern.map(|pattern| inside(&problem, &pattern, config.latents)).transpose();
        let cell = cell.map_err(|error| failed(&error))?;
        Ok(Self { id, family: config.family.clone(), problem, loss, latents: config.latents, optimum, cell })
    }

    /// Whether instance `number` of a family can be made, without what is costly: its certificates.
    ///
    /// # Errors
    /// What it lacks.
    pub fn ensure(config: &FamilyConfig, number: u64, seed: u64) -> Result<(), String> {
        let (problem, pattern) = generate(config, seed.wrapping_add(number))?;
        ApproximateLoss::from_problem(&problem).map_err(|error| error.to_string())?;
        pattern.map_or(Ok(()), |pattern| inside(&problem, &pattern, config.latents).map(|_| ()))
    }

    /// The problem of instance `number` of a family alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn problem(config: &FamilyConfig, number: u64, seed: u64) -> Result<Problem, String> {
        Ok(generate(config, seed.wrapping_add(number))?.0)
    }

    /// Certifies the exact loss of a point if it attains the bound and no other point is known to attain it as well.
    ///
    /// # Errors
    /// A certificate that the checker refuses.
    pub fn attain(&mut self, at: &Weights) -> Result<(), String> {
        let Some(point) = at.to_point() else { return Ok(()) };
        let loss = point.loss(&self.problem);
        let upper = upwards(&loss);
        let attains = upper - self.optimum.lower <= ATTAINED * total(&self.problem);
        if attains && self.optimum.upper.is_none_or(|known| upper < known) {
            let body = json!({ "point": body::point(&point), "loss": body::number(&loss) });
            let proof = accepted(certificate(&self.problem, "loss-value", body))?;
            self.optimum.certificates.truncate(1);
            self.optimum.certificates.push(proof);
            self.optimum.upper = Some(upper);
        }
        Ok(())
    }

    /// Start `number`, the same for all optimizers: a random one, or, as the first, one in the cell that the instance is about.
    pub fn start(&self, number: u64, seed: u64) -> Weights {
        match &self.cell {
            Some(W) if number == 0 => Weights { V: W.transpose().to_owned(), W: W.clone() },
            _ => start::random(&self.loss, self.latents, seed.wrapping_add(number)),
        }
    }

    /// Proof that the cell in which start `number` begins is one: a `pattern-witness` with the start's own encoder. Absent for large instances.
    ///
    /// # Errors
    /// A certificate that the checker refuses.
    pub fn witness(&self, number: u64, seed: u64) -> Result<Option<Certificate>, String> {
        if self.problem.n() * self.latents * self.problem.n_p() > WITNESSED {
            return Ok(None);
        }
        let Some(point) = self.start(number, seed).to_point() else { return Ok(None) };
        let pattern = Pattern::of_encoder(&self.problem, &point.w_e).lists();
        let body = PatternWitness { pattern, w_e: theory::certificate::rows(&point.w_e) };
        let instance = theory::certificate::instance(&self.problem);
        accepted(Certificate::new(instance, body)).map(Some)
    }
}

/// The problem of a seed, and the pattern that it is about.
fn generate(config: &FamilyConfig, seed: u64) -> Result<(Problem, Option<Pattern>), String> {
    if config.family == ADVERSARIAL {
        let found = refuting::first(seed, config.n);
        let found = found.ok_or_else(|| format!("no counterexample among {} proposals", refuting::PROPOSALS))?;
        return Ok((found.problem, Some(found.pattern)));
    }
    let family = Family::by_name(&config.family).ok_or_else(|| format!("there is no family {}", config.family))?;
    let c = rational::parse(&config.threshold).map_err(|error| error.to_string())?;
    let parameters = Parameters { n: config.n, n_p: config.n_p, n_r: config.n_r, c };
    Ok((family.generate(&parameters, seed).map_err(|error| error.to_string())?, None))
}

/// An encoder with this pattern, its rows of length 1 or 0.
fn inside(problem: &Problem, pattern: &Pattern, latents: usize) -> Result<Mat<f64>, String> {
    let decided = region::decide(problem, pattern).map_err(|error| error.to_string())?;
    let Realizability::Realizable { w_e } = decided else { return Err(format!("the pattern {pattern} is empty")) };
    let mut W = Mat::zeros(latents, problem.n_p());
    for (i, row) in w_e.iter().enumerate() {
        let row: Vec<f64> = row.iter().map(rational::to_f64).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter().enumerate().for_each(|(k, x)| W[(i, k)] = x / norm);
        }
    }
    Ok(W)
}

/// Bounds the least L̃ of encoders with so many rows.
pub fn certify(problem: &Problem, latents: usize) -> Result<Optimum, String> {
    if latents >= problem.n()
        && let Some(point) = without_loss(problem, latents)?
    {
        let proof = certificate(problem, "zero-loss", json!({ "point": body::point(&point) }));
        return Ok(Optimum { lower: 0.0, upper: Some(0.0), certificates: vec![accepted(proof)?] });
    }
    if problem.n() * latents <= SMALLEST
        && let Ok(found) = patterns::solve(problem, latents, SEARCH)
    {
        let certificates = vec![accepted(found.lower_certificate)?, accepted(found.upper_certificate)?];
        let lower = rational::to_f64(&found.lower).next_down().max(0.0);
        let upper = Some(upwards(&found.upper)).filter(|upper| upper - lower <= ATTAINED * total(problem));
        return Ok(Optimum { lower, upper, certificates });
    }
    let (bound, proof) = root_bound(problem, latents, MARGIN)
        .ok_or("the lower bound by the eigenvalues of the targets could not be made exact")?;
    // Rounded downwards, so that the f64 bounds as well.
    let lower = rational::to_f64(&bound).next_down().max(0.0);
    let encoders = span::encoders(problem, latents).map_err(|error| error.to_string())?;
    let points = encoders.into_iter().map(|w_e| point_with(problem, w_e));
    let Some((point, loss)) = points.min_by(|a, b| a.1.cmp(&b.1)) else {
        return Ok(Optimum { lower, upper: None, certificates: vec![accepted(proof)?] });
    };
    let upper = upwards(&loss);
    let body = json!({ "point": body::point(&point), "loss": body::number(&loss) });
    let attained = || accepted(certificate(problem, "loss-value", body));
    if upper - lower <= ATTAINED * total(problem) {
        return Ok(Optimum { lower, upper: Some(upper), certificates: vec![accepted(proof)?, attained()?] });
    }
    let raised = (problem.n() <= FEW).then(|| code_bound::certify_below(problem, latents, &loss)).flatten();
    let Some((wanted, raised)) = raised else {
        return Ok(Optimum { lower, upper: None, certificates: vec![accepted(proof)?] });
    };
    let lower = rational::to_f64(&wanted).next_down().max(0.0);
    Ok(Optimum { lower, upper: Some(upper), certificates: vec![accepted(raised)?, attained()?] })
}

/// Σ_d M_d ‖r_d‖².
fn total(problem: &Problem) -> f64 {
    problem.features().iter().map(|feature| rational::to_f64(&(&feature.mass * &dot(&feature.w_r, &feature.w_r)))).sum()
}

/// An f64 that is not below x ≥ 0.
fn upwards(x: &Rational) -> f64 {
    if x.is_zero() { 0.0 } else { rational::to_f64(x).next_up() }
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

/// Limits of branch-and-bound.
const SEARCH: Options = Options { gap: 1e-6, nodes: 20_000, patterns: 5_000 };

/// What the bound lies below its exact value, relative to Σ_d M_d ‖r_d‖², so that a rational proof has room.
const MARGIN: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::acs::{AlternatingSearch, Variant};

    fn config(family: &str, n: usize, n_p: usize, latents: usize) -> FamilyConfig {
        let (family, threshold) = (family.into(), "0".into());
        FamilyConfig { family, n, n_p, n_r: None, latents, threshold, instances: 1, optimizers: Vec::new() }
    }

    #[test]
    fn orthonormal_features_lose_their_smallest_masses() {
        let instance = Instance::make(&config("orthonormal", 5, 5, 3), 0, 7).unwrap();
        let mut masses = instance.loss.masses().to_vec();
        masses.sort_by(f64::total_cmp);
        let expected = masses[0] + masses[1];
        let lower = instance.optimum.lower;
        assert!(lower <= expected && lower >= expected - 1e-9, "{lower} for {expected}");
        // By codes close to one of the kept features, all of which are positive.
        let (upper, total) = (instance.optimum.upper.unwrap(), total(&instance.problem));
        assert!(upper >= expected && upper <= expected + ATTAINED * total, "{upper} for {expected}");
        assert_eq!(instance.optimum.certificates.len(), 2);
    }

    #[test]
    fn a_point_is_certified_if_it_attains_the_bound_better_and_only_then() {
        // Larger than what branch-and-bound is asked for.
        let mut instance = Instance::make(&config("orthonormal", 5, 5, 4), 0, 7).unwrap();
        let masses = instance.loss.masses().to_vec();
        let least = (0..5).min_by(|&a, &b| masses[a].total_cmp(&masses[b])).unwrap();
        // The features themselves, but for one of them: all but its mass is kept.
        let without = |missed: usize| {
            let kept: Vec<usize> = (0..5).filter(|&d| d != missed).collect();
            let W = Mat::from_fn(4, 5, |i, k| instance.loss.P()[(k, kept[i])]);
            Weights { V: W.transpose().to_owned(), W }
        };
        let most = (0..5).max_by(|&a, &b| masses[a].total_cmp(&masses[b])).unwrap();
        assert!(masses[most] > masses[least]);
        let (worse, best) = (without(most), without(least));
        let known = instance.optimum.upper.unwrap();
        instance.attain(&worse).unwrap();
        assert_eq!((instance.optimum.upper, instance.optimum.certificates.len()), (Some(known), 2));
        instance.attain(&best).unwrap();
        assert_eq!(instance.optimum.certificates.len(), 2);
        let upper = instance.optimum.upper.unwrap();
        assert!(upper >= masses[least] - 1e-14 && upper <= masses[least] + 1e-12, "{upper} for {}", masses[least]);
        assert_eq!(instance.optimum.certificates[1].body.kind(), "loss-value");
    }

    #[test]
    fn the_cells_of_starts_are_certified_and_differ() {
        let instance = Instance::make(&config("random-unit", 6, 4, 3), 0, 7).unwrap();
        let texts: Vec<String> = (0..3).map(|k| instance.witness(k, 5).unwrap().unwrap().to_json()).collect();
        assert!(texts[0] != texts[1] && texts[1] != texts[2]);
        for text in texts {
            let certificate = Certificate::parse(&text).unwrap();
            assert_eq!(certificate.body.kind(), "pattern-witness");
            sdlab_verify::check(&certificate).unwrap();
            // The same encoder is no witness of another pattern: with or without the last feature in the first set.
            let text: String = text.split_whitespace().collect();
            let begin = text.find("\"pattern\":[[").unwrap() + "\"pattern\":[[".len();
            let end = begin + text[begin..].find(']').unwrap();
            let set: Vec<&str> = text[begin..end].split(',').filter(|d| !d.is_empty()).collect();
            let other = match set.split_last() {
                Some((&"5", others)) => others.to_vec(),
                _ => [set.as_slice(), &["5"]].concat(),
            };
            let changed = format!("{}{}{}", &text[..begin], other.join(","), &text[end..]);
            sdlab_verify::check(&Certificate::parse(&changed).unwrap()).unwrap_err();
        }
        // Exact products of large instances would take long.
        let large = Instance::make(&config("orthonormal", 30, 30, 12), 0, 7).unwrap();
        assert!(large.witness(0, 5).unwrap().is_none());
    }

    #[test]
    fn a_neuron_for_every_feature_leaves_nothing() {
        let instance = Instance::make(&config("random-unit", 4, 4, 5), 0, 7).unwrap();
        assert!(instance.optimum.upper == Some(0.0) && instance.optimum.lower == 0.0);
        // Antipodal pairs among dependent features: still each alone.
        assert!(Instance::make(&config("antipodal", 4, 2, 4), 0, 7).is_ok());
    }

    #[test]
    fn more_columns_than_dimensions_bound_nothing() {
        let instance = Instance::make(&config("dependent", 5, 3, 4), 0, 7).unwrap();
        assert_eq!(instance.optimum.lower, 0.0);
    }

    #[test]
    fn branch_and_bound_closes_the_smallest_and_no_start_ends_below() {
        let instance = Instance::make(&config("random-unit", 4, 4, 3), 0, 0).unwrap();
        let upper = instance.optimum.upper.unwrap();
        assert_eq!(instance.optimum.certificates.len(), 2);
        let root = root_bound(&instance.problem, 3, MARGIN).unwrap().0;
        let total = total(&instance.problem);
        // Not below the bound at the root, but for the gap.
        assert!(instance.optimum.lower >= rational::to_f64(&root) - ATTAINED * total);
        let budget = crate::optim::Budget { steps: 1000, gradients: 1e4 };
        let end = |number: u64| {
            let mut search = AlternatingSearch::new(&instance.loss, Variant::Insertion, 1e-10);
            let begin = instance.start(number, 0);
            crate::optim::run(&instance.loss, &mut search, &begin, budget, &mut crate::optim::Unobserved)
                .unwrap()
                .state
                .loss
        };
        let ends: Vec<f64> = (0..3).map(end).collect();
        assert!(ends.iter().all(|end| *end >= instance.optimum.lower - 1e-12 * total), "{ends:?}");
        // The certified point is one that a search finds.
        assert!(ends.iter().any(|end| (end - upper).abs() <= 1e-6 * total), "{ends:?} {upper}");
    }

    #[test]
    fn the_first_start_of_a_counterexample_lies_in_the_cell_without_a_partial_optimum() {
        let instance = Instance::make(&config(ADVERSARIAL, 4, 4, 4), 0, 0).unwrap();
        let pattern = refuting::first(0, 4).unwrap().pattern;
        let at = instance.start(0, 0);
        let cell = crate::optim::Biconvex::cell(&instance.loss, at.W.as_ref()).unwrap();
        assert_eq!(cell.on, pattern.lists());
        assert!(cell.polysemantic() > 0);
        assert_ne!(instance.start(1, 0).W, at.W);
    }
}
