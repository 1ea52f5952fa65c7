//! A step in the proof of Theorem 3.1: Pr(‖x‖₀ ≥ 2) ≤ (1−S)².
//!
//! Refuted for every n ≥ 3 and every 0 < 1−S < 1: already three features give 3p² − 2p³ > p² with p = 1−S. The number of pairs is
//! missing. With it the union bound holds, so that Theorem 3.1 stands for a fixed n, with a constant that grows like n².

use super::relations::{self, difference, integer, power, rational, step};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Axis, Cell, Figure, Layer, Panel, Width};
use rand::RngExt;
use sdlab_verify::format::{Expr, Relation, Step};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.1-two-active",
    place: "App. I.1 (proof of Theorem 3.1), after eq. 38",
    title: "Two or more features are active with probability ≤ (1−S)²",
    statement: "By extreme sparsity and independence, the probability that two or more features are active is at most (1−S)².",
    latex: r"\sum_{m=2}^{n}\Pr(\|x(s)\|_0=m)\le(1-S)^2",
    assumes: "Independent features, each active with probability p = 1−S, 0 < p < 1 (Asms. 2.3 and 2.4).",
    sources: &[],
    run,
    on_instance: None,
};

/// Features, and denominators of p, up to which a violation is looked for.
const FEATURES: usize = 12;
const DENOMINATORS: i64 = 12;
/// Instances of the corrected bound.
const TRIALS: usize = 400;
/// The paper's default configuration (Table 3).
const DEFAULT: (usize, i64) = (1000, 100);

/// n independent features that are active with probability p.
#[derive(Clone)]
struct Law {
    n: usize,
    p: Rational,
}

/// What the step assumes of n and p = 1−S.
fn hypotheses(law: &Law) -> bool {
    law.n >= 1 && law.p > Rational::ZERO && law.p < Rational::ONE
}

impl Law {
    /// Pr(‖x‖₀ ≥ 2) = 1 − (1−p)^n − n p (1−p)^(n−1).
    fn two_or_more(&self) -> Rational {
        Rational::ONE - self.silent(self.n) - Rational::from(self.n) * &self.p * self.silent(self.n - 1)
    }

    /// (1−p)^k, the probability that k features are silent.
    fn silent(&self, k: usize) -> Rational {
        (Rational::ONE - &self.p).pow(k as isize)
    }

    /// The same as an expression.
    fn expression(&self) -> Expr {
        let (p, silent) = (|| rational(&self.p), || difference(integer(1), rational(&self.p)));
        let one = Expr::Mul(vec![Expr::Binomial(self.n, 1), p(), power(silent(), self.n - 1)]);
        difference(integer(1), Expr::Add(vec![power(silent(), self.n), one]))
    }

    /// C(n,2).
    fn pairs(&self) -> Rational {
        Rational::from(self.n * (self.n - 1) / 2)
    }

    /// The step is false here.
    fn refutes(&self) -> bool {
        hypotheses(self) && self.two_or_more() > &self.p * &self.p
    }

    /// `multiple`·p² R Pr(‖x‖₀ ≥ 2).
    fn compare(&self, relation: Relation, multiple: Expr) -> Step {
        step(self.expression(), relation, Expr::Mul(vec![multiple, power(rational(&self.p), 2)]))
    }
}

/// All laws by increasing n, then by increasing denominator of p.
fn by_size() -> impl Iterator<Item = Law> {
    (1..=FEATURES).flat_map(|n| {
        (2..=DENOMINATORS).flat_map(move |denominator| {
            (1..denominator).map(move |k| Law { n, p: Rational::from(k) / Rational::from(denominator) })
        })
    })
}

fn run(context: &Context) -> Outcome {
    let Some(smallest) = by_size().find(Law::refutes) else {
        return Outcome::undecided(format!("no violation with n ≤ {FEATURES} and denominators up to {DENOMINATORS}"));
    };
    let default = Law { n: DEFAULT.0, p: Rational::ONE / Rational::from(DEFAULT.1) };
    let ratio = default.two_or_more() / (&default.p * &default.p);
    let whole = ratio.floor();
    let items = [
        Evidence::certified(
            format!(
                "n = {}, S = {}: Pr(‖x‖₀ ≥ 2) = {} > (1−S)² = {}. With fewer features no p = k/m with m ≤ {DENOMINATORS} violates it.",
                smallest.n,
                Rational::ONE - &smallest.p,
                smallest.two_or_more(),
                &smallest.p * &smallest.p
            ),
            "smallest",
            relations::certificate(
                vec![smallest.compare(Relation::Greater, integer(1))],
                "Pr(at least two active) against (1-S)^2",
            ),
        ),
        Evidence::certified(
            format!("At the default n = 1000, S = .99 (Table 3) Pr(‖x‖₀ ≥ 2) is more than {whole} times (1−S)²."),
            "default",
            relations::certificate(
                vec![default.compare(Relation::Greater, rational(&whole.clone().into()))],
                "Pr(at least two active) against a multiple of (1-S)^2 at n = 1000, S = 99/100",
            ),
        ),
    ];
    let mut evidence = Vec::new();
    for item in items {
        match item {
            Ok(item) => evidence.push(item),
            Err(refusal) => return Outcome::undecided(refusal.to_string()),
        }
    }
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(Correction {
        statement: "C(n,2)(1−S)² S^{n−2} ≤ Pr(‖x‖₀ ≥ 2) ≤ C(n,2)(1−S)², so that C(n,2) is the best constant: the printed bound holds for \
                    n = 2, with equality, and for no n ≥ 3 and 0 < S < 1. For fixed n the probability is O((1−S)²), which is all that \
                    Theorem 3.1 needs; it is small only where n(1−S) is."
            .into(),
        latex: r"\binom n2(1-S)^2S^{n-2}\le\Pr(\|x\|_0\ge 2)\le\binom n2(1-S)^2".into(),
        checks: checks(context),
    });
    outcome.figures.push(figure());
    outcome
        .with_quantity("smallest-n", "Fewest features with Pr(‖x‖₀ ≥ 2) > (1−S)²", Cell::from(smallest.n))
        .with_quantity("default-ratio", "Pr(‖x‖₀ ≥ 2)/(1−S)² at n = 1000, S = .99", Cell::number(to_f64(&ratio), 4))
}

/// Random n and p: both bounds, and for which n the printed step holds.
fn checks(context: &Context) -> Vec<Check> {
    let mut rng = stream(context.seed, CLAIM.id);
    let (mut bounds, mut exactly) = (0, 0);
    for _ in 0..TRIALS {
        let denominator = rng.random_range(2..=1000_i64);
        let n = rng.random_range(2..=40_usize);
        let law = Law { n, p: Rational::from(rng.random_range(1..denominator)) / Rational::from(denominator) };
        let (probability, square) = (law.two_or_more(), &law.p * &law.p);
        let (least, most) = (law.pairs() * &square * law.silent(n - 2), law.pairs() * &square);
        bounds += usize::from(!(least <= probability && probability <= most));
        exactly += usize::from((probability <= square) != (n == 2) || (n == 2 && probability != square));
    }
    vec![
        Check { what: "random n ≤ 40 and p: both bounds, exactly".into(), trials: TRIALS, failures: bounds },
        Check {
            what: "random n ≤ 40 and p: the printed step holds iff n = 2".into(),
            trials: TRIALS,
            failures: exactly,
        },
    ]
}

fn figure() -> Figure {
    let places: Vec<f64> = (0..=80).map(|k| 10f64.powf(-4.0 + 4.0 * f64::from(k) / 80.0)).collect();
    let mut panel = Panel::new("", Axis::log("1−S"), Axis::log("Pr(‖x‖₀ ≥ 2)/(1−S)^2").range(0.5, 1e6));
    for n in [1000, 100, 10, 3] {
        // C(n,2)p² is below rounding of 1 − (1−p)^n − .. for small p, so that the terms are added up from two on.
        let ratio = |p: f64| {
            let mut term = (1.0 - p).powi(n) / (p * p);
            let mut sum = 0.0;
            for m in 1..=n {
                term *= f64::from(n - m + 1) / f64::from(m) * p / (1.0 - p);
                sum += if m >= 2 { term } else { 0.0 };
            }
            sum
        };
        let points = places.iter().filter(|p| **p < 0.5).map(|&p| (p, ratio(p))).collect();
        panel = panel.layer(Layer::Line { label: format!("n = {n}"), points });
    }
    let printed = Layer::Reference { label: "printed bound".into(), points: vec![(1e-4, 1.0), (0.5, 1.0)] };
    Figure::new("thm-3-1-two-active", CLAIM.id, Width::Column)
        .title("How often two or more features are active, against (1−S)²")
        .caption(
            "Pr(‖x‖₀ ≥ 2) divided by the printed bound (1−S)². The ratio tends to C(n,2) as S → 1 and exceeds 1 for every n ≥ 3: the \
             sparser the features, the further the step is from true.",
        )
        .panel(panel.layer(printed))
}
