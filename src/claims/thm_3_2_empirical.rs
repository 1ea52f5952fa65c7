//! Theorem 3.2 for the loss that is trained: is L itself (eqs. 3, 4), and not only L̃, convex in the encoder on Ω_A?
//!
//! Refuted: Ω_A fixes which neurons fire when one feature is active alone; where two are active the sum may cross the threshold inside
//! Ω_A. What carries over is the proof, at the scale of training: the empirical loss on N samples is L̃ of the problem whose features are
//! the samples, hence biconvex over the cells of the samples' patterns.

use super::chord::{self, Chord, Shape};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape, relations};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Cell, Figure, Layer, Panel, Width};
use crate::theory::certificate_body::{certificate, number, numbers, point as point_json};
use crate::theory::exact_loss::finite::{FiniteDistribution, exact_polynomial};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::region::Realizability;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::format::{Expr, Relation};
use sdlab_verify::{Certificate, Refusal};
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.2-empirical",
    place: "Sec. 3.2, Theorem 3.2 read for L of eq. 4",
    title: "L itself, not only L̃, is biconvex over the cells Ω_A",
    statement: "The SDL loss L, and not only its approximation L̃, is convex in W_E over Ω_A for fixed W_D, at least for S near 1.",
    latex: r"W_E\mapsto\mathcal L_{\mathrm{SDL}}(W_D,W_E)=\mathbb E\,\|W_r x-W_D\sigma(W_E W_p x)\|_2^2\ \text{is convex on}\ \Omega_{\mathcal A}",
    assumes: "Unit features, independent with the same S < 1 (Asm. 2.3, 2.4), σ = ReLU.",
    sources: &[],
    run,
    on_instance: None,
};

/// Proposals before the search gives up.
const PROPOSALS: usize = 100_000;
/// Sample sets for each of c = 0 and c > 0.
const SAMPLE_SETS: usize = 150;
/// The firing probability 1 − S of the certificates, one over this: the paper's default S = .99.
const INVERSE_P: u32 = 100;

/// Unit features and an encoder that moves alone inside one cell of ReLU.
fn hypotheses(chord: &Chord) -> bool {
    chord.problem.threshold().is_some_and(Rational::is_zero)
        && chord::is_plain(&chord.problem)
        && chord.from.w_d == chord.to.w_d
        && chord.cell().is_some()
}

/// Magnitudes of active features: 1, 2 or 3 with equal probability, so that certificates are finite.
fn magnitudes() -> [(Rational, Rational); 3] {
    let third = || Rational::ONE / Rational::from(3);
    [1, 2, 3].map(|y| (Rational::from(y), third()))
}

/// The coefficients of L in p = 1 − S at a point.
fn polynomial(chord: &Chord, s: &Rational) -> Vec<Rational> {
    exact_polynomial(&chord.problem, &chord.at(s), &magnitudes()).expect("two features are few")
}

/// The coefficients in p of L(X_t) − (1−t) L(X₀) − t L(X₁).
fn excess_polynomial(chord: &Chord) -> Vec<Rational> {
    let [from, middle, to] = [&Rational::ZERO, &chord.t, &Rational::ONE].map(|s| polynomial(chord, s));
    let rest = Rational::ONE - &chord.t;
    (0..middle.len()).map(|j| &middle[j] - &rest * &from[j] - &chord.t * &to[j]).collect()
}

/// L lies above the chord for every p ∈ (0, 1], because no coefficient of the excess is negative and one is positive; by a quarter of
/// the change of L between the ends at least, so that one sees it.
fn refutes(chord: &Chord) -> bool {
    // Near p = 0 the excess of L is that of L̃, which is never positive inside a cell: only flat chords of L̃ can do it.
    if !(hypotheses(chord) && chord.excess().is_zero()) {
        return false;
    }
    let excess = excess_polynomial(chord);
    let positive = excess.iter().all(|a| *a >= Rational::ZERO) && excess.iter().any(|a| *a > Rational::ZERO);
    let at_one = |coefficients: &[Rational]| coefficients.iter().fold(Rational::ZERO, |sum, a| sum + a);
    let change = at_one(&polynomial(chord, &Rational::ONE)) - at_one(&polynomial(chord, &Rational::ZERO));
    let four = Rational::from(4);
    positive && at_one(&excess) * &four >= change && at_one(&excess) * &four >= -change
}

/// Two axes as features, r = p, and integers.
fn propose(rng: &mut ChaCha20Rng, shape: Shape) -> Chord {
    let axis =
        |d: usize, length: usize| (0..length).map(|k| Rational::from(u8::from(k == d % length))).collect::<Vec<_>>();
    let features = (0..shape.n)
        .map(|d| Feature { w_p: axis(d, shape.n_p), w_r: axis(d, shape.n_r), mass: Rational::ONE })
        .collect();
    let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are 1");
    let from = chord::point(rng, shape, 3);
    let to = Point { w_e: chord::vectors(rng, shape.n_q, shape.n_p, 3), w_d: from.w_d.clone() };
    Chord { problem, from, to, t: chord::place(rng) }
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let shapes = [Shape { n: 2, n_p: 2, n_r: 2, n_q: 1 }, Shape { n: 2, n_p: 2, n_r: 2, n_q: 2 }];
    let Some(found) = chord::search(&mut rng, &shapes, PROPOSALS, propose, refutes) else {
        return Outcome::undecided(format!("no counterexample among {PROPOSALS} proposals"));
    };
    let evidence = match evidence(&found) {
        Ok(evidence) => evidence,
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(Correction {
        statement: "The empirical loss on N samples x_s is L̃ of the problem with features (W_p x_s, W_r x_s) and masses 1/N. So it is \
                    biconvex over ℝ^{n_r×n_q} × {W_E : ⟨w_i, W_p x_s⟩ > c ⇔ i ∈ A(s) for all samples s}, by the proof of Theorem 3.2. \
                    These cells are finer than Ω_A as soon as features are active together."
            .into(),
        latex: r"\frac1N\sum_{s=1}^N\|W_rx_s-W_D\sigma(W_EW_px_s)\|_2^2\ \text{is biconvex over}\ \mathbb R^{n_r\times n_q}\times\{W_E:\ \langle w_E^i,W_px_s\rangle>c\iff i\in A(s)\}".into(),
        checks: sample_checks(context),
    });
    outcome.figures.push(figure(context, &found));
    outcome.with_quantity(
        "pair-excess",
        "height of L above the chord of the counterexample, in units of (1 − S)²",
        Cell::number(rational::to_f64(&excess_polynomial(&found)[2]), 3),
    )
}

/// L at the three points for 1 − S = 1/100, with the patterns, and the comparison.
fn evidence(found: &Chord) -> Result<Vec<Evidence>, Refusal> {
    let p = Rational::ONE / Rational::from(INVERSE_P);
    let n = found.problem.n();
    let law = FiniteDistribution::independent(n, &p, &magnitudes()).expect("two features are few");
    // The instance carries the masses of eq. 11 for this law.
    let square = magnitudes().iter().fold(Rational::ZERO, |sum, (y, q)| sum + y * y * q);
    let mass = (1..n).fold(&p * square, |mass, _| mass * (Rational::ONE - &p));
    let features = found.problem.features().iter().map(|f| Feature { mass: mass.clone(), ..f.clone() }).collect();
    let problem = Problem::new(features, found.problem.activation().clone()).expect("masses are positive");
    let pattern = found.cell().expect("the search kept one cell");
    let mut evidence = Vec::new();
    let mut losses = Vec::new();
    for (name, s) in [("from", Rational::ZERO), ("middle", found.t.clone()), ("to", Rational::ONE)] {
        let point = found.at(&s);
        let value = law.losses(&problem, &point).expect("the shapes agree");
        let text = format!("At t = {s} the encoder is {} and lies in the cell {pattern}.", chord::rows(&point.w_e));
        let witness = Realizability::Realizable { w_e: point.w_e.clone() }.certificate(&problem, &pattern);
        evidence.push(Evidence::certified(text, &format!("pattern-{name}"), witness)?);
        let distribution: Vec<_> =
            law.atoms().iter().map(|(x, q)| json!({"x": numbers(x), "probability": number(q)})).collect();
        let body = json!({
            "point": point_json(&point),
            "distribution": distribution,
            "loss": number(&value.loss),
            "approximate": number(&value.approximate),
        });
        let text = format!("At t = {s}, S = {}: L = {}, L̃ = {}.", Rational::ONE - &p, value.loss, value.approximate);
        evidence.push(Evidence::certified(text, &format!("loss-{name}"), certificate(&problem, "exact-loss", body))?);
        losses.push(value.loss);
    }
    let coefficients = excess_polynomial(found);
    let terms: Vec<String> =
        coefficients.iter().enumerate().filter(|(_, a)| !a.is_zero()).map(|(j, a)| format!("{a}·(1−S)^{j}")).collect();
    let text = format!(
        "{}, W_D = {}: at t = {} L lies above the chord. For every S < 1 the excess is {}, while L̃ is flat along it.",
        landscape::describe(&problem),
        chord::rows(&found.from.w_d),
        found.t,
        terms.join(" + ")
    );
    evidence.push(Evidence::certified(text, "above-the-chord", above_the_chord(&losses, &found.t))?);
    Ok(evidence)
}

/// L(X_t) > (1−t) L(X₀) + t L(X₁), with the losses in the order of the chord.
fn above_the_chord(losses: &[Rational], t: &Rational) -> Certificate {
    let share =
        |share: &Rational, loss: &Rational| Expr::Mul(vec![relations::rational(share), relations::rational(loss)]);
    let right = Expr::Add(vec![share(&(Rational::ONE - t), &losses[0]), share(t, &losses[2])]);
    let step = relations::step(relations::rational(&losses[1]), Relation::Greater, right);
    relations::certificate(vec![step], "L at a point of a chord, and the chord's height there")
}

/// The problem whose features are the samples: p_s = W_p x_s, r_s = W_r x_s, M_s = 1/N.
fn of_samples(problem: &Problem, samples: &[Vec<Rational>]) -> Problem {
    let combine = |x: &[Rational], direction: &dyn Fn(&Feature) -> Vec<Rational>, length: usize| {
        x.iter().zip(problem.features()).fold(vec![Rational::ZERO; length], |sum, (x, f)| {
            sum.into_iter().zip(direction(f)).map(|(sum, w)| sum + x * w).collect()
        })
    };
    let mass = Rational::ONE / Rational::from(samples.len());
    let features = samples
        .iter()
        .map(|x| Feature {
            w_p: combine(x, &|f| f.w_p.clone(), problem.n_p()),
            w_r: combine(x, &|f| f.w_r.clone(), problem.n_r()),
            mass: mass.clone(),
        })
        .collect();
    Problem::new(features, problem.activation().clone()).expect("masses are positive")
}

/// Random sample sets: the empirical loss is L̃ of the samples, and chords in either block inside a sample cell are convex, exactly.
fn sample_checks(context: &Context) -> Vec<Check> {
    let mut rng = stream(context.seed, "thm-3.2-empirical samples");
    let mut checks = [
        "the empirical loss (eq. 4 under the samples' distribution) equals L̃ of the samples",
        "chords in W_D: the gap is the sum of squares, exactly",
        "chords in W_E inside a sample cell: the gap is the sum of squares, exactly",
    ]
    .map(|what| Check { what: what.into(), trials: 0, failures: 0 });
    for k in 0..20 * SAMPLE_SETS {
        if checks[0].trials == 2 * SAMPLE_SETS {
            break;
        }
        let shape = [Shape { n: 3, n_p: 2, n_r: 2, n_q: 2 }, Shape { n: 4, n_p: 3, n_r: 2, n_q: 3 }][k / 2 % 2];
        let c = Rational::from([0, rng.random_range(1..=3_i32)][k % 2]) / Rational::from(2);
        let problem = chord::problem(&mut rng, shape, Activation::Threshold(c));
        let samples = samples(&mut rng, shape.n);
        let empirical = of_samples(&problem, &samples);
        let from = chord::point(&mut rng, shape, 3);
        let Some(w_e) = chord::same_cell(&mut rng, &empirical, &from.w_e, 3) else { continue };
        let decoder = chord::vectors(&mut rng, shape.n_q, shape.n_r, 3);
        let ends = [Point { w_e: from.w_e.clone(), w_d: decoder }, Point { w_e, w_d: from.w_d.clone() }];
        let t = chord::place(&mut rng);
        let share = Rational::ONE / Rational::from(samples.len());
        let law = FiniteDistribution::new(samples.into_iter().map(|x| (x, share.clone())).collect());
        let loss = law.expect("samples are distinct").losses(&problem, &from).map(|losses| losses.loss);
        checks[0].trials += 1;
        checks[0].failures += usize::from(loss != Ok(from.loss(&empirical)));
        for (check, to) in checks[1..].iter_mut().zip(ends) {
            let chord = Chord { problem: empirical.clone(), from: from.clone(), to, t: t.clone() };
            let excess = chord.excess();
            let convex = chord.cell().is_some() && excess <= Rational::ZERO && excess == -chord.sum_of_squares();
            check.trials += 1;
            check.failures += usize::from(!convex);
        }
    }
    checks.into()
}

/// Three to six distinct samples with entries 0, .., 3, half of them 0.
fn samples(rng: &mut ChaCha20Rng, n: usize) -> Vec<Vec<Rational>> {
    let count = rng.random_range(3..=6);
    let mut samples = std::collections::BTreeSet::new();
    while samples.len() < count {
        samples.insert((0..n).map(|_| Rational::from(rng.random_range(-2..=3_i32).max(0))).collect::<Vec<_>>());
    }
    samples.into_iter().collect()
}

/// L and the empirical loss of one draw of samples along the counterexample, for S = ½.
fn figure(context: &Context, found: &Chord) -> Figure {
    let empirical = drawn_samples(context, found);
    let axis = || Axis::linear("t").range(0.0, 1.0);
    let population = population(found);
    let ends = [population[0], population[population.len() - 1]];
    let first = Panel::new("population", axis(), Axis::linear("L"))
        .layer(Layer::Reference { label: "chord".into(), points: ends.to_vec() })
        .layer(Layer::Line { label: "loss".into(), points: population });
    let mut second = Panel::new(&format!("{} samples", empirical.problem.n()), axis(), Axis::linear("empirical loss"))
        .layer(Layer::Reference { label: "chord".into(), points: empirical.secant() });
    for points in empirical.profile() {
        second = second.layer(Layer::Line { label: "loss".into(), points });
    }
    let border = |s: &Rational| (rational::to_f64(s), rational::to_f64(&empirical.at(s).loss(&empirical.problem)));
    second = second.layer(Layer::Points {
        label: "borders of the sample cells".into(),
        points: empirical.events().iter().map(border).collect(),
        intervals: Vec::new(),
    });
    Figure::new("thm-3-2-empirical-chord", CLAIM.id, Width::Page)
        .title("Inside one cell Ω_A: the loss L and the empirical loss")
        .caption(&format!(
            "{}, W_D = {}, W_E from {} to {}, S = ½, magnitudes 1, 2 or 3. (a) L along the chord, all of which lies in one Ω_A: it is not convex. \
             (b) The empirical loss on one draw of samples: convex between the borders of the samples' cells, not across them.",
            landscape::describe(&found.problem),
            chord::rows(&found.from.w_d),
            chord::rows(&found.from.w_e),
            chord::rows(&found.to.w_e),
        ))
        .panel(first)
        .panel(second)
}

/// L along the chord for S = ½.
fn population(found: &Chord) -> Vec<(f64, f64)> {
    const STEPS: u32 = 120;
    let half = Rational::ONE / Rational::from(2);
    let law = FiniteDistribution::independent(found.problem.n(), &half, &magnitudes()).expect("two features are few");
    (0..=STEPS)
        .map(|k| {
            let s = Rational::from(k) / Rational::from(STEPS);
            let losses = law.losses(&found.problem, &found.at(&s)).expect("the shapes agree");
            (rational::to_f64(&s), rational::to_f64(&losses.loss))
        })
        .collect()
}

/// The chord under the loss of samples of which each feature is active with probability ½.
fn drawn_samples(context: &Context, found: &Chord) -> Chord {
    const SAMPLES: usize = 60;
    let mut rng = stream(context.seed, "thm-3.2-empirical figure");
    let mut entry = |_| Rational::from(if rng.random_bool(0.5) { rng.random_range(1..=3_i32) } else { 0 });
    let samples: Vec<Vec<Rational>> = (0..SAMPLES).map(|_| (0..found.problem.n()).map(&mut entry).collect()).collect();
    Chord { problem: of_samples(&found.problem, &samples), ..found.clone() }
}
