//! Theorem 3.3: W_D = [W_r, 0], W_E = [W_pᵀ; 0] has L̃ = O((1−S)M²) for every σ with σ(z)_i ∈ {0, z_i}.
//!
//! Refuted: at M = 0 the bound is 0, yet the loss is positive if σ silences the right neuron (σ_c with c ≥ 1) or keeps negative
//! values (Top-k). With σ_c and c < 1 the proof works, and its constant is written out.

use super::recovery::{instance, interference, printed, shrinkable, under};
use super::search::shrink;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Cell, Kind, Table, Tone};
use crate::theory::certificate_body::{certificate, number, point as point_json};
use crate::theory::families::{Family, Parameters};
use crate::theory::pattern::{dot, firing};
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.3",
    place: "Theorem 3.3, eqs. 13–15, proof in App. I.3",
    title: "The feature-recovering weights have loss O((1−S)M²)",
    statement: "For n_q ≥ n and every σ with σ(z)_i ∈ {0, z_i}, the weights W_D = [W_r, 0] and W_E = [W_pᵀ; 0] have L̃ = O((1−S)M²), with M the maximum interference.",
    latex: r"n_q\ge n,\ \sigma(z)_i\in\{0,z_i\}\ \Rightarrow\ \tilde{\mathcal L}_{\mathrm{SDL}}\bigl([W_r,0],\,[W_p^\top;0]\bigr)=O\bigl((1-S)M^2\bigr)",
    assumes: "Unit features (Asm. 2.4), n_q ≥ n, σ(z)_i ∈ {0, z_i} (eq. 10).",
    sources: &[],
    run,
    on_instance: None,
};

/// Instances with M = 0 for each activation.
const PROPOSALS: usize = 100;
/// Instances per check of the corrected statement.
const TRIALS: usize = 300;

/// The theorem's hypotheses, at an instance where its bound is 0. Every [`Activation`] keeps or drops each entry (eq. 10).
fn hypotheses(problem: &Problem) -> bool {
    problem.features().iter().all(|f| dot(&f.w_p, &f.w_p) == Rational::ONE)
        && interference(problem).is_some_and(|M| M.is_zero())
}

/// The bound O((1−S)M²) is 0, and the loss is not.
fn refutes(problem: &Problem) -> bool {
    hypotheses(problem) && printed(problem).loss(problem) > Rational::ZERO
}

/// Features ± the columns of an orthogonal matrix, among which two are orthogonal: M = 0 exactly.
fn propose(rng: &mut ChaCha20Rng) -> Problem {
    let n_p = rng.random_range(2..=3_usize);
    let parameters = Parameters { n: n_p, n_p, n_r: None, c: Rational::ZERO };
    let basis = Family::Orthonormal.generate(&parameters, rng.random()).expect("n = n_p is allowed");
    let mut features: Vec<Feature> = basis
        .features()
        .iter()
        .flat_map(|f| {
            let p: Vec<Rational> = f.w_p.iter().map(|x| -x.clone()).collect();
            [f.clone(), Feature { w_r: p.clone(), w_p: p, mass: f.mass.clone() }]
        })
        .collect();
    features.shuffle(rng);
    // More than n_p of the 2n_p vectors: two of them are opposite; and at least three, so that two are orthogonal.
    features.truncate(rng.random_range(3..=2 * n_p));
    Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("the features were a problem before")
}

/// The activations of the paper: name, and the activation for n neurons.
fn activations(n: usize) -> Vec<(&'static str, Activation)> {
    let threshold = |twice: i32| Activation::Threshold(Rational::from(twice) / Rational::from(2));
    vec![
        ("ReLU", threshold(0)),
        ("σ_c, c = ½", threshold(1)),
        ("σ_c, c = 1", threshold(2)),
        ("σ_c, c = 2", threshold(4)),
        ("Top-1", Activation::TopK(1)),
        ("Top-2", Activation::TopK(2)),
        ("Top-n (σ(z) = z)", Activation::TopK(n)),
        ("Top-n∘ReLU", Activation::TopKRelu(n)),
    ]
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let proposals: Vec<Problem> = (0..PROPOSALS).map(|_| propose(&mut rng)).collect();
    let columns =
        [("σ", Kind::Text), ("instances", Kind::Number), ("with L̃ > 0", Kind::Number), ("L̃ = O(M²)", Kind::Verdict)];
    let mut table = Table::new("activations", CLAIM.id, columns).title("Eq. 14 at M = 0, by activation").caption(
        "Random features with maximum interference exactly 0, where a loss O((1−S)M²) would be 0; the loss is exact.",
    );
    let mut evidence = Vec::new();
    for (index, (name, _)) in activations(2).into_iter().enumerate() {
        let with_activation = |problem: &Problem| under(problem, activations(problem.n())[index].1.clone());
        let failing: Vec<Problem> = proposals.iter().map(&with_activation).filter(refutes).collect();
        let verdict = if failing.is_empty() {
            Cell::verdict(Tone::Good, "no violation")
        } else {
            Cell::verdict(Tone::Bad, "violated")
        };
        table.push([Cell::from(name), Cell::from(proposals.len()), Cell::from(failing.len()), verdict]);
        let Some(first) = failing.into_iter().next() else { continue };
        let smallest = shrink(shrinkable(first), |candidate| refutes(&with_activation(&candidate.problem))).problem;
        match violation(&with_activation(&smallest), name, index) {
            Ok(item) => evidence.push(item),
            Err(why) => return Outcome::undecided(why),
        }
    }
    let verdict = if evidence.is_empty() { Verdict::Holds } else { Verdict::Refuted };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "For σ_c with 0 ≤ c < 1 and unit p_d, L̃ = Σ_d M_d ‖Σ_{k ∈ A(d), k ≠ d} ⟨p_k,p_d⟩ r_k‖² ≤ max(0,M)² max_k ‖r_k‖² \
                    Σ_d M_d (K_d−1)², with K_d = |A(d)| ≤ n the number of neurons that feature d fires. It is 0 if M ≤ c, and it is met \
                    with equality if all products are M > c and all r_k are equal. So O((1−S)M²) holds for bounded r_k and bounded K_d."
            .into(),
        latex: r"0\le c<1:\quad \tilde{\mathcal L}_{\mathrm{SDL}}\le\max(0,M)^2\,\max_k\|w_r^k\|^2\sum_d M_d\,(K_d-1)^2,\quad K_d=|A(d)|".into(),
        checks: vec![bound_check(&mut rng), equality_check(&mut rng)],
    });
    outcome.tables.push(table);
    outcome
}

fn violation(problem: &Problem, name: &str, index: usize) -> Result<Evidence, String> {
    let point = printed(problem);
    let loss = point.loss(problem);
    let body = json!({"point": point_json(&point), "loss": number(&loss)});
    let text = format!(
        "σ = {name}, {}: the maximum interference is 0, yet L̃ = {loss} at eq. 14.",
        landscape::describe(problem)
    );
    Evidence::certified(text, &format!("loss-{index}"), certificate(problem, "loss-value", body))
        .map_err(|refusal| refusal.to_string())
}

/// max(0,M)² max_k ‖r_k‖² Σ_d M_d (K_d−1)².
fn bound(problem: &Problem) -> Rational {
    let features = problem.features();
    let M = interference(problem).unwrap_or(Rational::ZERO).max(Rational::ZERO);
    let longest = features.iter().map(|f| dot(&f.w_r, &f.w_r)).max().unwrap_or(Rational::ZERO);
    let sum = features.iter().fold(Rational::ZERO, |sum, f| {
        let z: Vec<Rational> = features.iter().map(|k| dot(&k.w_p, &f.w_p)).collect();
        let others = Rational::from(firing(problem.activation(), &z).len()) - Rational::ONE;
        sum + &f.mass * &others * &others
    });
    &M * &M * longest * sum
}

/// Thresholds in [0, 1).
fn threshold(rng: &mut ChaCha20Rng) -> Rational {
    Rational::from([0, 0, 1, 2, 5, 9][rng.random_range(0..6_usize)]) / Rational::from(10)
}

/// The bound on random instances, and L̃ = 0 for M ≤ c.
fn bound_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut failures, mut positive) = (0, 0);
    for _ in 0..TRIALS {
        let c = threshold(rng);
        let mut problem = instance(rng, 6, &c);
        // Targets of other norms: the theorem's assumptions bound p_d only.
        let features = problem.features().iter().map(|f| {
            let scale = Rational::from(rng.random_range(1..=3_i32));
            Feature { w_r: f.w_r.iter().map(|x| x * &scale).collect(), ..f.clone() }
        });
        problem = Problem::new(features.collect(), problem.activation().clone()).expect("only targets were scaled");
        let loss = printed(&problem).loss(&problem);
        let silent = interference(&problem).is_none_or(|M| M <= c);
        positive += usize::from(rational::sign(&loss) > 0);
        failures += usize::from(loss > bound(&problem) || silent && !loss.is_zero());
    }
    let what = format!("the bound, and L̃ = 0 for M ≤ c, exactly on random instances ({positive} of them with L̃ > 0)");
    Check { what, trials: TRIALS, failures }
}

/// n features with all products t², 0 < t < 1, and one target for all: the bound is met if t² > c, and else the loss is 0.
fn equality_check(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for _ in 0..TRIALS {
        let n = rng.random_range(2..=6_usize);
        // (s, t) on the unit circle.
        let slope = Rational::from(rng.random_range(1..=4_i32)) / Rational::from(5);
        let scale = Rational::ONE + &slope * &slope;
        let (s, t) = ((Rational::ONE - &slope * &slope) / &scale, Rational::from(2) * &slope / &scale);
        let w_r = vec![Rational::from(rng.random_range(1..=3_i32)), Rational::from(rng.random_range(-3..=3_i32))];
        let features = (0..n).map(|d| {
            let mut w_p = vec![Rational::ZERO; n + 1];
            (w_p[d], w_p[n]) = (s.clone(), t.clone());
            Feature { w_p, w_r: w_r.clone(), mass: Rational::from(rng.random_range(1..=4_i32)) }
        });
        let features: Vec<Feature> = features.collect();
        let c = threshold(rng);
        let fires = &t * &t > c;
        let problem = Problem::new(features, Activation::Threshold(c)).expect("masses are positive");
        let loss = printed(&problem).loss(&problem);
        let expected = bound(&problem);
        failures += usize::from(loss != expected || fires != (rational::sign(&loss) > 0));
    }
    Check { what: "equality for equiangular features with one target".into(), trials: TRIALS, failures }
}
