//! Dead rows at zero (Section 5.3 argues for resampling them): for ReLU they are never at a local minimum.
//!
//! Holds. Along (t w, s v) the loss is L̃ − 2st⟨v, q(w)⟩ + s²t²‖v‖² Σ_d M_d z_d², with z_d = max(⟨w, p_d⟩, 0) and q(w) = Σ_d M_d z_d e_d,
//! so that the row can descend iff q(w) ≠ 0 for some w. The functions w ↦ max(⟨w, p_d⟩, 0) have their kinks on different hyperplanes
//! if no two p_d lie on one line; then they are independent, and q vanishes only with all residuals e_d.
//!
//! Without the hypotheses it fails. Two features on one ray with M_1e_1 and M_2e_2 opposite are seen by no row. Antiparallel features
//! are harmless until three lines that carry both ±p are dependent: max(x, 0) − max(−x, 0) = x, and the linear parts cancel. Under a
//! threshold c > 0 no small row fires at all.

use super::escape_hypotheses::{self, unseen};
use super::search::rational_unit;
use super::sources::BRICKEN_2023;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::{random_unit, stream};
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::stats::Cell;
use crate::theory::certificate_body::{certificate, number, point as point_json};
use crate::theory::loss::{ApproximateLoss, Weights};
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use faer::Par;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "escape",
    place: "Section 5.3, our lemma",
    title: "A dead row at zero is never at a local minimum (ReLU)",
    statement: "For ReLU, masses M_d > 0 and features of which no two lie on one line, a point with a row (w_i, v_i) = (0, 0) and L̃ > 0 is not a local minimum of L̃: arbitrarily near it there are points with lower loss.",
    latex: r"\sigma=\sigma_{\mathrm{ReLU}},\ \dim\operatorname{span}\{w_p^d,w_p^e\}=2\ (d\ne e),\ (w_E^i,w_D^i)=(0,0),\ \tilde{\mathcal L}_{\mathrm{SDL}}>0\ \Longrightarrow\ (W_D,W_E)\ \text{is no local minimum}",
    assumes: "ReLU (c = 0), all M_d > 0, p_d ≠ 0, no two p_d parallel or antiparallel. The lemma is ours; it says what a dead row needs in order to escape.",
    sources: &[BRICKEN_2023],
    run,
    on_instance: None,
};

/// Random points with a zero row.
const TRIALS: usize = 200;
/// Random rows tried at each.
const ROWS: usize = 50;

/// The lemma's hypotheses on a problem.
fn hypotheses(problem: &Problem) -> bool {
    let features = problem.features();
    let p: Vec<&Vec<Rational>> = features.iter().map(|f| &f.w_p).collect();
    let on_one_line = |d: usize, e: usize| matrix::rank(&Rationals, &[p[d].clone(), p[e].clone()]) < 2;
    problem.threshold().is_some_and(Rational::is_zero)
        && p.iter().all(|v| v.iter().any(|x| !x.is_zero()))
        && (0..p.len()).all(|d| (0..d).all(|e| !on_one_line(d, e)))
}

/// A random problem with unit features, and a random point whose last row and column are 0.
fn propose(rng: &mut ChaCha20Rng) -> (Problem, Point) {
    let (n, n_p, n_r) = (rng.random_range(2..=6), rng.random_range(2..=3), rng.random_range(1..=3));
    let P = random_unit(n_p, n, rng);
    let mut integers = |length: usize| -> Vec<Rational> {
        (0..length).map(|_| Rational::from(rng.random_range(-3..=3_i32))).collect()
    };
    let features = P
        .col_iter()
        .map(|p| Feature {
            w_p: rational_unit(&p.iter().copied().collect::<Vec<_>>(), 3),
            w_r: integers(n_r),
            mass: integers(1)[0].clone() + Rational::from(4),
        })
        .collect();
    let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
    let mut rows = |length: usize| vec![integers(length), integers(length), vec![Rational::ZERO; length]];
    let point = Point { w_e: rows(n_p), w_d: rows(n_r) };
    (problem, point)
}

/// A row that sees the residuals: w, q(w) ≠ 0 and Σ_d M_d z_d².
struct Way {
    w: Vec<Rational>,
    q: Vec<Rational>,
    weight: Rational,
}

/// M_d e_d for every feature at a ReLU point.
fn weighted_residuals(problem: &Problem, point: &Point) -> Vec<Vec<Rational>> {
    problem
        .features()
        .iter()
        .map(|f| {
            let mut e = f.w_r.clone();
            for (w, v) in point.w_e.iter().zip(&point.w_d) {
                let z = dot(w, &f.w_p);
                if rational::sign(&z) > 0 {
                    e.iter_mut().zip(v).for_each(|(x, v)| *x -= &z * v);
                }
            }
            e.into_iter().map(|x| x * &f.mass).collect()
        })
        .collect()
}

/// Looks for a row with q(w) ≠ 0 among small random integer rows.
fn find_way(problem: &Problem, residuals: &[Vec<Rational>], rng: &mut ChaCha20Rng) -> Option<Way> {
    (0..ROWS).find_map(|_| {
        let w: Vec<Rational> = (0..problem.n_p()).map(|_| Rational::from(rng.random_range(-9..=9_i32))).collect();
        let mut q = vec![Rational::ZERO; problem.n_r()];
        let mut weight = Rational::ZERO;
        for (f, e) in problem.features().iter().zip(residuals) {
            let z = dot(&w, &f.w_p);
            if rational::sign(&z) > 0 {
                q.iter_mut().zip(e).for_each(|(s, x)| *s += &z * x);
                weight += &f.mass * &z * &z;
            }
        }
        q.iter().any(|x| !x.is_zero()).then_some(Way { w, q, weight })
    })
}

impl Way {
    /// The point with its last row at 2^-k w and its last column at 2^-k q(w).
    fn step(&self, point: &Point, k: u32) -> Point {
        let t = Rational::ONE / Rational::from(1_u64 << k);
        let mut moved = point.clone();
        let last = point.w_e.len() - 1;
        moved.w_e[last] = self.w.iter().map(|x| x * &t).collect();
        moved.w_d[last] = self.q.iter().map(|x| x * &t).collect();
        moved
    }

    /// −2τ‖q‖² + τ²‖q‖² Σ M z² for τ = 4^-k: what that step changes, negative iff τ Σ M z² < 2.
    fn change(&self, k: u32) -> Rational {
        let tau = Rational::ONE / Rational::from(1_u64 << (2 * k));
        let squares = dot(&self.q, &self.q);
        &tau * squares * (&tau * &self.weight - Rational::from(2))
    }
}

/// At distance about 2^-10 and 2^-25: the loss is lower, by exactly the amount of the formula; and the f64 score of the row agrees.
fn descends(problem: &Problem, point: &Point, way: &Way) -> bool {
    let loss = point.loss(problem);
    let exact = [10, 25].iter().all(|&k| {
        let change = way.step(point, k).loss(problem) - &loss;
        change == way.change(k) && rational::sign(&change) < 0
    });
    let gain = rational::to_f64(&(dot(&way.q, &way.q) / &way.weight));
    let score = || -> Option<f64> {
        let view = ApproximateLoss::from_problem(problem).ok()?.with_par(Par::Seq);
        let residuals = view.residuals(&Weights::from_point(point, problem)?).ok()?;
        let w: Vec<f64> = way.w.iter().map(rational::to_f64).collect();
        Some(view.added_neuron(residuals.as_ref(), &w).ok()?.decrease)
    };
    // q sums at most six terms below 10³ that may cancel down to about 1e-4, squared: 1e-16·10⁶/1e-8 at worst, and rarely near it.
    exact && score().is_some_and(|decrease| (decrease - gain).abs() <= 1e-6 * (1.0 + gain))
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let (mut trials, mut failures) = (0, 0);
    let mut example = None;
    while trials < TRIALS {
        let (problem, point) = propose(&mut rng);
        if !hypotheses(&problem) || point.loss(&problem).is_zero() {
            continue;
        }
        trials += 1;
        let residuals = weighted_residuals(&problem, &point);
        let Some(way) = find_way(&problem, &residuals, &mut rng) else {
            // No random row sees the residuals: is there one at all?
            if unseen(&problem).is_empty() {
                return Outcome::undecided("no random row sees the residuals, though some row must");
            }
            let text = format!("{}: no row sees the residuals.", landscape::describe(&problem));
            return match loss_value(&problem, &point, text, "counterexample") {
                Ok(item) => Outcome::new(Verdict::Refuted, vec![item]),
                Err(why) => Outcome::undecided(why),
            };
        };
        failures += usize::from(!descends(&problem, &point, &way));
        let smaller = |best: &(Problem, Point, Way)| problem.n() < best.0.n();
        if example.as_ref().is_none_or(smaller) {
            example = Some((problem, point, way));
        }
    }
    let mut evidence = Vec::new();
    if let Some((problem, point, way)) = example {
        match descent(&problem, &point, &way) {
            Ok(items) => evidence.extend(items),
            Err(why) => return Outcome::undecided(why),
        }
    }
    match escape_hypotheses::counterexamples(context) {
        Ok(items) => evidence.extend(items),
        Err(why) => return Outcome::undecided(why),
    }
    let survey = escape_hypotheses::survey(context);
    let checks = vec![
        Check {
            what: "random points with a zero row: an exact descent by −2τ‖q‖² + τ²‖q‖² Σ M z² at two distances".into(),
            trials,
            failures,
        },
        survey.check(),
        escape_hypotheses::counterexample_check(context),
    ];
    let mut outcome = Outcome::new(Verdict::Holds, evidence)
        .with_correction(Correction {
            statement: "The hypothesis can be weakened. The residuals that no row sees form a space of dimension (features − rays of \
                        features) + (lines that carry both p and −p) − (rank of those lines), per coordinate of the target. It is 0 \
                        iff no two p_d lie on one ray and those lines are independent; so one or two antipodal pairs do no harm. \
                        For c > 0 a zero row is always dead nearby, and the lemma fails."
                .into(),
            latex: r"\dim\{e:\ q(w)=\sum_d M_d\,\sigma(\langle w,w_p^d\rangle)\,e_d=0\ \forall w\}=(n-n_{\text{rays}})+n_{\pm}-\operatorname{rank}_{\pm}".into(),
            checks,
        })
        .with_quantity("trials", "random points with a zero row that were left downhill", Cell::from(trials));
    outcome.tables.push(survey.table(CLAIM.id));
    outcome
}

/// A point and its exact loss.
pub(super) fn loss_value(problem: &Problem, point: &Point, text: String, name: &str) -> Result<Evidence, String> {
    let body = json!({"point": point_json(point), "loss": number(&point.loss(problem))});
    Evidence::certified(text, name, certificate(problem, "loss-value", body)).map_err(|refusal| refusal.to_string())
}

/// Two exact losses: at the point, and at distance about 2^-25 of it.
fn descent(problem: &Problem, point: &Point, way: &Way) -> Result<Vec<Evidence>, String> {
    let list = |v: &[Rational]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let at = format!(
        "{}: row {} and its column are 0, L̃ = {}.",
        landscape::describe(problem),
        point.w_e.len(),
        point.loss(problem)
    );
    let below = format!(
        "The same point with that row at t(({})) and its column at t({}), t = 2^-25: L̃ changes by {:.2e}; for every τ = t² the change \
         is τ‖q‖²(τ Σ M z² − 2), ‖q‖² = {}, Σ M z² = {}.",
        list(&way.w),
        list(&way.q),
        rational::to_f64(&way.change(25)),
        dot(&way.q, &way.q),
        way.weight
    );
    Ok(vec![
        loss_value(problem, point, at, "zero-row")?,
        loss_value(problem, &way.step(point, 25), below, "below-zero-row")?,
    ])
}
