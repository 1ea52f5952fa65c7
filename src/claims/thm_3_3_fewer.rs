//! Fewer neurons than independent features, our theorem: the sign of the codes binds one code alone.
//!
//! Holds. With A = D^½RᵀRD^½ the loss of codes with the best decoder is tr A − tr P A, P the projector on the span of the codes b_i = D^½ z_i ≥ 0. Of a
//! space of n_q dimensions that holds a positive vector n_q positive vectors are a basis, and independent features have rows with these codes: all
//! neurons fire on all features. So the sign of the codes binds one vector of the span, not all of them. If the first n_q eigenvectors of A span
//! a positive vector, the least loss is the bound of Eckart and Young and attained; of spaces of random directions the share is Wendel's. Otherwise it is a
//! minimum over one code, below which the certificates prove that no encoder comes.
//!
//! It is why neurons on one feature each are not the global optimum with fewer neurons than features, however little the features interfere:
//! they leave out whole features, and a span need not.

use super::search::rational_unit;
use super::sources::{GILLIS_KUMAR_2015, WENDEL_1962};
use super::{Claim, Context, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::{random_unit, stream};
use crate::exact::field::Rationals;
use crate::exact::rational::to_f64;
use crate::exact::{Rational, matrix, rational};
use crate::optim::global::patterns::{GlobalOptimum, Options, solve};
use crate::optim::global::span::{self, Eigen, Spans};
use crate::optim::global::upper;
use crate::stats::{Cell, Kind, Proportion, Table};
use crate::theory::certificate_body::{certificate, number, point as point_json};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use faer::Mat;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use sdlab_verify::Certificate;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.3-fewer",
    place: "Section 3.3, our theorem",
    title: "Fewer neurons than features: the sign binds one code alone",
    statement: "Let the p_d be independent, n_q < n and c ≥ 0. The infimum of L̃ over all encoders and decoders is the minimum over b ≥ 0, b ≠ 0 of the sum of the n − n_q least eigenvalues of A = D^½ W_rᵀ W_r D^½ on the complement of b, D = diag(M_d). If the first n_q eigenvectors of A span a positive vector it is the bound of Eckart and Young, the sum of the n − n_q least eigenvalues of A, and attained by neurons that all fire on all features.",
    latex: r"\operatorname{rank}W_p=n>n_q\ \Longrightarrow\ \inf\tilde{\mathcal L}_{\mathrm{SDL}}=\min_{0\ne b\ge0}\ \sum_{k\le n-n_q}\lambda_k\bigl(A|_{b^\perp}\bigr),\quad A=D^{1/2}W_r^\top W_rD^{1/2}",
    assumes: "The p_d are independent, n_q < n, σ_c with any c ≥ 0, all M_d > 0. The statement is ours; the paper's Theorem 3.3 needs n_q ≥ n.",
    sources: &[WENDEL_1962, GILLIS_KUMAR_2015],
    run,
    on_instance: Some(on_instance),
};

/// Features and neurons of the instances that are decided with certificates, and how many of each.
const SIZES: [(usize, usize); 3] = [(3, 2), (4, 2), (4, 3)];
const TRIALS: usize = 12;
/// Features and neurons of the random spaces, and how many of each.
const SPACES: [(usize, usize); 4] = [(4, 2), (5, 2), (6, 3), (8, 3)];
const DRAWS: usize = 1_000;
/// Largest distance of a certified value from the one that the theorem states, relative to the loss without neurons: gaps of the certificates.
const NEAR: f64 = 2e-4;

/// The statement's hypotheses.
fn hypotheses(problem: &Problem, latents: usize) -> bool {
    let p: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    problem.threshold().is_some_and(|c| rational::sign(c) >= 0)
        && (1..problem.n()).contains(&latents)
        && matrix::rank(&Rationals, &p) == problem.n()
}

/// Independent unit features, targets with small integer entries, small integer masses.
fn propose(n: usize, rng: &mut ChaCha20Rng) -> Problem {
    let P = random_unit(n, n, rng);
    let features = P.col_iter().map(|p| Feature {
        w_p: rational_unit(&p.iter().copied().collect::<Vec<_>>(), 3),
        w_r: (0..n).map(|_| Rational::from(rng.random_range(-3..=3_i32))).collect(),
        mass: Rational::from(rng.random_range(1..=9_i32)),
    });
    let features = features.collect();
    Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive")
}

/// What the theorem says of an instance, in f64.
struct Stated {
    /// The sum of the least eigenvalues.
    rank: f64,
    /// The infimum between two bounds.
    lower: f64,
    upper: f64,
    /// Whether a positive vector is in the span of the first eigenvectors.
    attained: bool,
}

impl Stated {
    fn of(problem: &Problem, latents: usize) -> Option<Self> {
        let all: Vec<usize> = (0..problem.n()).collect();
        let spans = Spans::new(problem, &all, latents)?;
        let rank = Eigen::of(&spans.A)?.least(spans.lost);
        let found = spans.search(span::Options::default())?;
        Some(Self { rank, lower: found.lower, upper: found.upper, attained: found.cones == 0 })
    }

    /// Whether the certified optimum is what is stated, and a point whose neurons all fire on all features has that loss too.
    fn agrees(&self, problem: &Problem, found: &GlobalOptimum, (point, loss): &(Point, Rational)) -> bool {
        let near = |value: &Rational| {
            let value = to_f64(value);
            value >= self.lower - NEAR * found.size && value <= self.upper + NEAR * found.size
        };
        let everywhere = Pattern::of_encoder(problem, &point.w_e).lists().iter().all(|f| f.len() == problem.n());
        everywhere && near(&found.lower) && near(&found.upper) && near(loss)
    }
}

/// The least loss of neurons on one feature each: the features with the largest M_d‖r_d‖² are kept.
fn one_feature_each(problem: &Problem, latents: usize) -> Rational {
    let mut weights: Vec<Rational> = problem.features().iter().map(|f| &f.mass * dot(&f.w_r, &f.w_r)).collect();
    weights.sort();
    let left_out = problem.n().saturating_sub(latents);
    weights.into_iter().take(left_out).fold(Rational::ZERO, |sum, weight| sum + weight)
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let columns = [
        ("n", Kind::Number),
        ("n_q", Kind::Number),
        ("instances", Kind::Number),
        ("all fire on all", Kind::Number),
        ("the sign binds", Kind::Number),
        ("one feature each, over the optimum", Kind::Number),
    ];
    let mut table = Table::new("fewer-neurons", CLAIM.id, columns)
        .title("Fewer neurons than independent features: certified optima")
        .caption("Random instances whose optimum over all patterns is certified, and what the theorem says of them.")
        .note("the last column: median of the least loss of neurons on one feature each over the optimum");
    let mut examples: [Option<Vec<Evidence>>; 2] = [None, None];
    let mut decided = 0;
    for (n, latents) in SIZES {
        let (mut attained, mut ratios) = (0, Vec::new());
        let mut done = 0;
        while done < TRIALS {
            let problem = propose(n, &mut rng);
            if !hypotheses(&problem, latents) {
                continue;
            }
            done += 1;
            let (stated, found, firing) = match decided_of(&problem, latents) {
                Ok(decided) => decided,
                Err(why) => return Outcome::undecided(why),
            };
            if !stated.agrees(&problem, &found, &firing) {
                return contradicted(&problem, latents, &stated, &found);
            }
            attained += usize::from(stated.attained);
            let alone = one_feature_each(&problem, latents);
            if found.upper > Rational::ZERO {
                ratios.push(to_f64(&(&alone / &found.upper)));
            }
            let slot = usize::from(!stated.attained);
            if examples[slot].is_none() && (stated.attained || stated.lower > stated.rank + 1e-2 * found.size) {
                examples[slot] = match example(&problem, latents, &stated, &found, firing) {
                    Ok(items) => Some(items),
                    Err(why) => return Outcome::undecided(why),
                };
            }
        }
        decided += done;
        ratios.sort_by(f64::total_cmp);
        table.push([
            Cell::from(n),
            Cell::from(latents),
            Cell::from(done),
            Cell::from(attained),
            Cell::from(done - attained),
            Cell::number(ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN), 3),
        ]);
    }
    let mut evidence: Vec<Evidence> = examples.into_iter().flatten().flatten().collect();
    evidence.push(Evidence::computed(format!(
        "{decided} random instances with 3 or 4 independent features and fewer neurons: in each the certified optimum over all patterns is the stated one, \
         and a point whose neurons all fire on all features has that loss, or comes as near to it as the certificate does."
    )));
    match shares(context) {
        Ok(items) => evidence.extend(items),
        Err(why) => return Outcome::undecided(why),
    }
    let mut outcome = Outcome::new(Verdict::Holds, evidence).with_quantity(
        "instances",
        "random instances with a certified optimum",
        Cell::from(decided),
    );
    outcome.tables.push(table);
    outcome
}

/// What is stated, the certified optimum over all patterns, and the best point found whose neurons are to fire on all features.
fn decided_of(problem: &Problem, latents: usize) -> Result<(Stated, GlobalOptimum, (Point, Rational)), String> {
    let stated = Stated::of(problem, latents).ok_or("f64 does not hold the instance, or its cones are too many")?;
    let found = solve(problem, latents, Options::default()).map_err(|error| error.to_string())?;
    let encoders = span::encoders(problem, latents).map_err(|error| error.to_string())?;
    let points = encoders.into_iter().map(|w_e| upper::point_with(problem, w_e));
    let firing = points.min_by(|a, b| a.1.cmp(&b.1)).ok_or("no encoder with all neurons firing was built")?;
    Ok((stated, found, firing))
}

/// The two certificates of an instance.
fn example(
    problem: &Problem,
    latents: usize,
    stated: &Stated,
    found: &GlobalOptimum,
    (point, loss): (Point, Rational),
) -> Result<Vec<Evidence>, String> {
    let (name, describe) = (if stated.attained { "attained" } else { "sign-binds" }, landscape::describe(problem));
    let alone = to_f64(&one_feature_each(problem, latents));
    let upper = format!(
        "{describe}, n_q = {latents}: a point whose neurons all fire on all features has L̃ ≈ {:.6}; neurons on one feature each leave {alone:.4} at least.",
        to_f64(&loss)
    );
    let body = json!({"point": point_json(&point), "loss": number(&loss)});
    let value = certificate(problem, "loss-value", body);
    let lower = if stated.attained {
        format!(
            "{describe}, n_q = {latents}: no encoder has a loss below {:.6}, the bound of Eckart and Young.",
            to_f64(&found.lower)
        )
    } else {
        format!(
            "{describe}, n_q = {latents}: no encoder has a loss below {:.6}; the bound of Eckart and Young, {:.6}, is lower.",
            to_f64(&found.lower),
            stated.rank
        )
    };
    let certificates = [(upper, "upper", value), (lower, "lower", found.lower_certificate.clone())];
    let item = |(text, which, certificate): (String, &str, Certificate)| {
        Evidence::certified(text, &format!("{name}-{which}"), certificate).map_err(|refusal| refusal.to_string())
    };
    certificates.into_iter().map(item).collect()
}

/// An instance whose certified optimum is not what is stated.
fn contradicted(problem: &Problem, latents: usize, stated: &Stated, found: &GlobalOptimum) -> Outcome {
    let text = format!(
        "{}, n_q = {latents}: certified between {:.8} and {:.8}, stated between {:.8} and {:.8}.",
        landscape::describe(problem),
        to_f64(&found.lower),
        to_f64(&found.upper),
        stated.lower,
        stated.upper
    );
    // A point below the stated value refutes it.
    let below = to_f64(&found.upper) < stated.lower - NEAR * found.size;
    match Evidence::certified(text.clone(), "contradiction", found.upper_certificate.clone()) {
        Ok(item) if below => Outcome::new(Verdict::Refuted, vec![item]),
        Ok(_) => Outcome::undecided(text),
        Err(refusal) => Outcome::undecided(refusal.to_string()),
    }
}

/// How many spaces of random directions hold a positive vector, against 2^(1−n) Σ_{k<n_q} C(n−1, k).
fn shares(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "thm-3.3-fewer spaces");
    let mut items = Vec::new();
    for (n, latents) in SPACES {
        let mut successes = 0;
        for _ in 0..DRAWS {
            // With a Gaussian R and equal masses the eigenvectors of A have random directions.
            let R = Mat::from_fn(n, n, |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, &mut rng));
            let spans = Spans { A: R.transpose() * &R, roots: vec![1.0; n], lost: n - latents };
            successes += u64::from(spans.holds_positive().ok_or("f64 does not hold a random matrix")?);
        }
        let test = Proportion {
            trials: DRAWS as u64,
            successes,
            law: wendel(n, latents),
            wrong: wendel(n, latents - 1).max(wendel(n, latents) / 2.0),
        };
        if !test.agrees() || test.power() < Proportion::POWER {
            return Err(format!("n = {n}, n_q = {latents}: {}", test.sentence()));
        }
        items.push(Evidence::computed(format!(
            "The first {latents} eigenvectors of a random A with {n} features span a positive vector, so that the bound of Eckart and Young is attained: {}",
            test.sentence()
        )));
    }
    Ok(items)
}

/// 2^(1−n) Σ_{k<m} C(n−1, k): the probability that a random space of m dimensions in ℝ^n holds a positive vector.
fn wendel(n: usize, m: usize) -> f64 {
    let mut term = 0.5f64.powi(n as i32 - 1);
    let mut sum = 0.0;
    for k in 0..m {
        sum += term;
        term *= (n - 1 - k) as f64 / (k + 1) as f64;
    }
    sum
}

/// A user's problem: its infimum for every smaller number of neurons.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if !hypotheses(problem, 1) {
        return Err("the theorem is for threshold activations and independent features, at least two".to_owned());
    }
    let mut evidence = Vec::new();
    for latents in 1..problem.n() {
        let Some(stated) = Stated::of(problem, latents) else { continue };
        let alone = to_f64(&one_feature_each(problem, latents));
        let how = if stated.attained {
            "attained by neurons that all fire on all features"
        } else {
            "above the bound of Eckart and Young, as codes are not negative"
        };
        evidence.push(Evidence::computed(format!(
            "n_q = {latents}: the least loss over all patterns is {:.6}, {how}; neurons on one feature each leave {alone:.6}.",
            stated.upper
        )));
    }
    if evidence.is_empty() {
        return Err("more dimensions are lost for every number of neurons than the search takes on".to_owned());
    }
    Ok(Outcome::new(Verdict::Holds, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wendels_probability_is_that_of_small_cases() {
        // A line holds a positive vector with both signs of its 2^n orthants; a plane in R^3 with 6 of 8.
        assert_eq!((wendel(3, 1), wendel(3, 2), wendel(3, 3)), (0.25, 0.75, 1.0));
        assert_eq!(wendel(8, 3), (1.0 + 7.0 + 21.0) / 128.0);
    }

    #[test]
    fn a_value_beside_the_stated_one_or_another_pattern_is_noticed() {
        let mut rng = stream(0, CLAIM.id);
        let mut seen = [false; 2];
        for _ in 0..20 {
            let problem = propose(3, &mut rng);
            if !hypotheses(&problem, 2) {
                continue;
            }
            let (stated, found, firing) = decided_of(&problem, 2).unwrap();
            assert!(stated.agrees(&problem, &found, &firing));
            let shifted = |by: f64| Stated {
                lower: stated.lower + by * found.size,
                upper: stated.upper + by * found.size,
                ..stated
            };
            assert!([1e-3, -1e-3].iter().all(|by| !shifted(*by).agrees(&problem, &found, &firing)));
            let mut silent = firing.clone();
            silent.0.w_e.iter_mut().take(1).flatten().for_each(|w| *w = Rational::ZERO);
            assert!(!stated.agrees(&problem, &found, &silent));
            seen[usize::from(stated.attained)] = true;
        }
        assert!(seen.iter().any(|seen| *seen), "{seen:?}");
    }
}
