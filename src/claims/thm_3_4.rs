//! Theorem 3.4: L̃ = 0 iff r_d = Vσ(Wp_d) for all d.
//!
//! Holds if all masses M_d are positive, as its proof says and its statement does not: a feature that never fires alone has
//! M_d = 0, and may stay unmatched.

use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Cell, Kind, Table};
use crate::theory::certificate_body::{certificate, number, numbers, point as point_json};
use crate::theory::exact_loss::finite::{ExactLosses, FiniteDistribution};
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::zero_loss::{decoder, matches, matches_every_feature};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.4",
    place: "Theorem 3.4, eq. 16, proof in App. I.4",
    title: "L̃ = 0 iff every feature is reconstructed",
    statement: "L̃(W_D, W_E) = 0 if and only if r_d = W_D σ(W_E p_d) for all d.",
    latex: r"\tilde{\mathcal L}_{\mathrm{SDL}}(W_D,W_E)=0\iff w_r^d=W_D\,\sigma(W_Ew_p^d)\quad\forall\,d\in[n]",
    assumes: "Unit features (Asm. 2.4); every feature fires and is silent with positive probability, so that M_d is defined and S > 0.",
    sources: &[],
    run,
    on_instance: None,
};

/// Proposals of a point and a law.
const PROPOSALS: usize = 20_000;
/// Instances per check of the corrected statement.
const TRIALS: usize = 300;

/// A problem, a point of it, and a law of the feature vector.
struct Proposal {
    problem: Problem,
    point: Point,
    law: FiniteDistribution,
}

/// The feature vectors with every entry 0 or 1.
fn supports(n: usize) -> Vec<Vec<Rational>> {
    (0..1_u32 << n).map(|set| (0..n).map(|d| Rational::from((set >> d) & 1)).collect()).collect()
}

/// Small random integers in R², one of the paper's activations, and a law on random supports.
fn propose(rng: &mut ChaCha20Rng, n: usize, n_q: usize) -> Proposal {
    let law = loop {
        let weights: Vec<i32> = (0..1 << n).map(|_| rng.random_range(0..=2)).collect();
        let total: i32 = weights.iter().sum();
        let atoms = supports(n).into_iter().zip(&weights).filter(|(_, w)| **w > 0);
        let atoms = atoms.map(|(x, w)| (x, Rational::from(*w) / Rational::from(total))).collect();
        if let Ok(law) = FiniteDistribution::new(atoms) {
            break law;
        }
    };
    let mut vector = || (0..2).map(|_| Rational::from(rng.random_range(-1..=1_i32))).collect::<Vec<_>>();
    let features = (0..n).map(|_| vector()).map(|p| Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }).collect();
    let point = Point { w_e: (0..n_q).map(|_| vector()).collect(), w_d: (0..n_q).map(|_| vector()).collect() };
    let problem = Problem::new(features, activation(rng)).expect("masses are 1");
    Proposal { problem, point, law }
}

fn activation(rng: &mut ChaCha20Rng) -> Activation {
    match rng.random_range(0..4) {
        0 => Activation::Threshold(Rational::ZERO),
        1 => Activation::Threshold(Rational::ONE / Rational::from(2)),
        2 => Activation::TopK(1),
        _ => Activation::TopKRelu(2),
    }
}

impl Proposal {
    fn losses(&self) -> ExactLosses {
        self.law.losses(&self.problem, &self.point).expect("shapes agree")
    }

    /// M_d of eq. 11 under the law, up to the positive factor E\[x_d² | x_d > 0\] = 1: Pr(x = e_d).
    fn masses(&self) -> Vec<Rational> {
        let alone = |d: usize| {
            let only = |x: &[Rational]| x.iter().enumerate().all(|(e, x)| x.is_zero() != (e == d));
            self.law.atoms().iter().filter(|(x, _)| only(x)).fold(Rational::ZERO, |sum, (_, q)| sum + q)
        };
        (0..self.problem.n()).map(alone).collect()
    }

    /// Distinct unit features, each of which fires sometimes and is silent sometimes: the masses are defined, and S > 0.
    fn hypotheses(&self) -> bool {
        let features = self.problem.features();
        let n = features.len();
        let unit = features.iter().all(|f| dot(&f.w_p, &f.w_p) == Rational::ONE);
        let distinct = (0..n).all(|d| (0..d).all(|e| features[d].w_p != features[e].w_p));
        let takes = |d: usize, silent: bool| self.law.atoms().iter().any(|(x, _)| x[d].is_zero() == silent);
        unit && distinct && (0..n).all(|d| takes(d, false) && takes(d, true))
    }

    /// L̃ = 0 although a feature is unmatched and L > 0; some mass is positive, so that L̃ is not 0 everywhere.
    fn refutes(&self) -> bool {
        self.hypotheses()
            && !matches_every_feature(&self.problem, &self.point)
            && self.masses().iter().any(|m| !m.is_zero())
            && self.only_L_notices()
    }

    /// Def. 3.9 with feature 0 as the parent: it fires iff another feature does.
    fn is_hierarchy(&self) -> bool {
        let other = |x: &[Rational]| x[1..].iter().any(|x| !x.is_zero());
        self.law.atoms().iter().all(|(x, _)| x[0].is_zero() != other(x))
    }

    /// L̃ = 0 < L.
    fn only_L_notices(&self) -> bool {
        let ExactLosses { loss, approximate } = self.losses();
        approximate.is_zero() && rational::sign(&loss) > 0
    }

    /// A hierarchy and a point with L̃ = 0 < L although nothing is matched.
    fn vanishes(&self) -> bool {
        self.hypotheses()
            && self.is_hierarchy()
            && (0..self.problem.n()).all(|d| !matches(&self.problem, &self.point, d))
            && self.only_L_notices()
    }

    /// Number of values of the law, and non-zero entries of the point.
    fn size(&self) -> (usize, usize) {
        let entries = self.point.w_e.iter().chain(&self.point.w_d).flatten();
        (self.law.atoms().len(), entries.filter(|x| !x.is_zero()).count())
    }

    fn evidence(&self, name: &str, text: &str) -> Result<Evidence, String> {
        let ExactLosses { loss, approximate } = self.losses();
        let atoms = self.law.atoms().iter().map(|(x, q)| json!({"x": numbers(x), "probability": number(q)}));
        let body = json!({
            "point": point_json(&self.point),
            "distribution": atoms.collect::<Value>(),
            "loss": number(&loss),
            "approximate": number(&approximate),
        });
        let list = |v: &[Rational]| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!(
            "{text} {}; Pr(only d fires) = ({}): L̃ = {approximate}, L = {loss}.",
            landscape::describe(&self.problem),
            list(&self.masses())
        );
        Evidence::certified(text, name, certificate(&self.problem, "exact-loss", body))
            .map_err(|refusal| refusal.to_string())
    }

    fn row(&self, law: &str) -> [Cell; 5] {
        let losses = self.losses();
        let matched = (0..self.problem.n()).filter(|&d| matches(&self.problem, &self.point, d)).count();
        let masses = self.masses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let of = format!("{matched} of {}", self.problem.n());
        [
            Cell::from(law),
            Cell::exact(masses),
            Cell::from(of),
            Cell::exact(losses.approximate),
            Cell::exact(losses.loss),
        ]
    }
}

/// What is searched for, and how it is reported.
struct Case {
    name: &'static str,
    law: &'static str,
    text: &'static str,
    holds: fn(&Proposal) -> bool,
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    // Of two features and one neuron; the smallest of the proposals.
    let proposals: Vec<Proposal> = (0..PROPOSALS).map(|_| propose(&mut rng, 2, 1)).collect();
    let smallest = |holds: fn(&Proposal) -> bool| proposals.iter().filter(|p| holds(p)).min_by_key(|p| p.size());
    let columns = [
        ("law of the features", Kind::Text),
        ("Pr(only d fires)", Kind::Exact),
        ("matched", Kind::Text),
        ("L̃", Kind::Exact),
        ("L", Kind::Exact),
    ];
    let mut table = Table::new("masses", CLAIM.id, columns).title("L̃ = 0 with unmatched features").caption(
        "Found by seeded search, exact. L̃ is taken with the law's own masses M_d = Pr(x = x_d e_d)·E[x_d² | x_d > 0].",
    );
    let mut evidence = Vec::new();
    let cases: [Case; 2] = [
        Case {
            name: "co-firing",
            law: "one feature never fires alone",
            text: "A feature that never fires alone has M_d = 0 and is unmatched.",
            holds: Proposal::refutes,
        },
        Case {
            name: "hierarchy",
            law: "hierarchy (Def. 3.9)",
            text: "In a hierarchy nothing fires alone, and L̃ vanishes identically.",
            holds: Proposal::vanishes,
        },
    ];
    for case in cases {
        let Some(found) = smallest(case.holds) else { continue };
        match found.evidence(case.name, case.text) {
            Ok(item) => evidence.push(item),
            Err(why) => return Outcome::undecided(why),
        }
        table.push(found.row(case.law));
    }
    let verdict = if evidence.is_empty() { Verdict::Holds } else { Verdict::HoldsWith("all M_d > 0".into()) };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "L̃ = 0 iff r_d = Vσ(Wp_d) for every d with M_d > 0, that is for every feature that fires alone with positive \
                    probability. Under independence (Asm. 2.4) with 0 < p < 1 these are all features; in a hierarchy (Def. 3.9) none."
            .into(),
        latex: r"\tilde{\mathcal L}_{\mathrm{SDL}}(W_D,W_E)=0\iff w_r^d=W_D\,\sigma(W_Ew_p^d)\quad\forall\,d:\ M_d>0".into(),
        checks: vec![positive_masses_check(&mut rng), laws_check(&mut rng), independence_check(&mut rng)],
    });
    outcome.tables.push(table);
    outcome
}

/// Random points with solved decoders, half of them with one entry of the decoder or of a target changed.
fn positive_masses_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut failures, mut without_loss) = (0, 0);
    for trial in 0..TRIALS {
        let (mut problem, mut point) = solved(rng);
        if trial % 2 == 1 {
            let entry = rng.random_range(0..2_usize);
            if rng.random_bool(0.5) {
                let i = rng.random_range(0..point.w_d.len());
                point.w_d[i][entry] += Rational::ONE;
            } else {
                let mut features = problem.features().to_vec();
                let d = rng.random_range(0..features.len());
                features[d].w_r[entry] += Rational::ONE;
                problem = Problem::new(features, problem.activation().clone()).expect("only a target changed");
            }
        }
        let zero = point.loss(&problem).is_zero();
        without_loss += usize::from(zero);
        failures += usize::from(zero != matches_every_feature(&problem, &point));
    }
    let what =
        format!("all M_d > 0: L̃ = 0 iff every feature is matched, exactly ({without_loss} of them without loss)");
    Check { what, trials: TRIALS, failures }
}

/// Features, an encoder and a decoder that matches all of them.
fn solved(rng: &mut ChaCha20Rng) -> (Problem, Point) {
    loop {
        let n = rng.random_range(1..=4_usize);
        let n_q = rng.random_range(1..=5_usize);
        let mut vector = || (0..2).map(|_| Rational::from(rng.random_range(-3..=3_i32))).collect::<Vec<_>>();
        let features: Vec<[Vec<Rational>; 2]> = (0..n).map(|_| [vector(), vector()]).collect();
        let w_e: Vec<_> = (0..n_q).map(|_| vector()).collect();
        let with_mass =
            |[w_p, w_r]: [Vec<Rational>; 2]| Feature { w_p, w_r, mass: Rational::from(rng.random_range(1..=4_i32)) };
        let features = features.into_iter().map(with_mass).collect();
        let problem = Problem::new(features, activation(rng)).expect("masses are positive");
        if let Some(w_d) = decoder(&problem, &w_e) {
            return (problem, Point { w_e, w_d });
        }
    }
}

/// Any law: L̃ with its own masses is 0 iff every feature that fires alone is matched.
fn laws_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut failures, mut without_loss) = (0, 0);
    for _ in 0..10 * TRIALS {
        let (n, n_q) = (rng.random_range(1..=3_usize), rng.random_range(1..=2_usize));
        let proposal = propose(rng, n, n_q);
        let matched = |(d, m): (usize, &Rational)| m.is_zero() || matches(&proposal.problem, &proposal.point, d);
        let expected = proposal.masses().iter().enumerate().all(matched);
        without_loss += usize::from(expected);
        failures += usize::from(expected != proposal.losses().approximate.is_zero());
    }
    let what =
        format!("random laws: L̃ = 0 iff all features with M_d > 0 are matched ({without_loss} of them without L̃)");
    Check { what, trials: 10 * TRIALS, failures }
}

/// Independent features that fire with probability 0 < p < 1 all have M_d > 0.
fn independence_check(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for _ in 0..TRIALS {
        let n = rng.random_range(1..=3_usize);
        let mut proposal = propose(rng, n, 1);
        let p = Rational::from(rng.random_range(1..=9_i32)) / Rational::from(10);
        proposal.law = FiniteDistribution::independent(n, &p, &[(Rational::ONE, Rational::ONE)]).expect("n is small");
        let positive = proposal.masses().iter().all(|m| rational::sign(m) > 0);
        let matched = matches_every_feature(&proposal.problem, &proposal.point);
        failures += usize::from(!positive || matched != proposal.losses().approximate.is_zero());
    }
    Check { what: "independent features: all M_d > 0, and the printed equivalence".into(), trials: TRIALS, failures }
}
