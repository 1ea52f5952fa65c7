//! A repair of Theorem 3.7: blocks of at most two features with independent p_d.
//!
//! Holds. For a pair the matrix D^½GD^½ is 2×2, and its eigenvectors are (cos, sin) and (−sin, cos): exactly one of them has
//! entries of one sign iff the off-diagonal entry is not 0, and it belongs to the larger eigenvalue iff ⟨r_d, r_e⟩ > 0. If that entry
//! is 0, every positive vector is an eigenvector if M_d‖r_d‖² = M_e‖r_e‖², and none otherwise. Patterns with blocks of at most two
//! are matchings, whose number grows faster than any exponential.

use super::relations::{self, integer};
use super::search::rational_unit;
use super::sources::GORSKI_2007;
use super::thm_3_7::partitions;
use super::{Claim, Context, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::{random_unit, stream};
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use crate::theory::partial_optimum::{Class, Decision, classify, decide, published};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use dashu::integer::UBig;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::format::{Expr, Relation};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.7-matchings",
    place: "Theorem 3.7, our repair",
    title: "Matchings of independent features have partial optima",
    statement: "If the p_d are independent, every neuron fires on at most two features, and each pair has ⟨r_d, r_e⟩ ≠ 0 or M_d‖r_d‖² = M_e‖r_e‖², then the cell holds a partial optimum, and a local minimum iff each pair has ⟨r_d, r_e⟩ > 0 or else ⟨r_d, r_e⟩ = 0 with equality. There are more such patterns than any exponential in n.",
    latex: r"|F_i|\le2,\ \forall\{d,e\}=F_i:\ \langle w_r^d,w_r^e\rangle\ne0\ \vee\ M_d\|w_r^d\|^2=M_e\|w_r^e\|^2\ \Longrightarrow\ \exists\ \text{a partial optimum of the cell}",
    assumes: "The p_d are independent (so that every pattern is realizable), n_q ≥ n, c ≥ 0. The statement is ours; the paper states it for all blocks.",
    sources: &[GORSKI_2007],
    run,
    on_instance: None,
};

/// Random instances decided exactly.
const TRIALS: usize = 150;
/// Explicit points, each compared with random points near it.
const POINTS: usize = 120;
/// Random points near each.
const NEIGHBOURS: usize = 6;

/// The statement's condition on the pattern's pairs.
fn hypotheses(problem: &Problem, pattern: &Pattern) -> bool {
    let features = problem.features();
    let p: Vec<Vec<Rational>> = features.iter().map(|f| f.w_p.clone()).collect();
    let weight = |d: usize| &features[d].mass * dot(&features[d].w_r, &features[d].w_r);
    matrix::rank(&Rationals, &p) == p.len()
        && pattern.is_disjoint()
        && pattern.sets().iter().all(|f| f.len() <= 2)
        && pairs(pattern).all(|(d, e)| overlap(problem, d, e) != 0 || weight(d) == weight(e))
}

/// The pairs {d, e} of a matching.
fn pairs(pattern: &Pattern) -> impl Iterator<Item = (usize, usize)> {
    pattern.lists().into_iter().filter(|f| f.len() == 2).map(|f| (f[0], f[1]))
}

/// Sign of ⟨r_d, r_e⟩.
fn overlap(problem: &Problem, d: usize, e: usize) -> i32 {
    rational::sign(&dot(&problem.features()[d].w_r, &problem.features()[e].w_r))
}

/// A random pattern with blocks of at most two and one neuron per feature.
fn random_matching(n: usize, rng: &mut ChaCha20Rng) -> Pattern {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(rng);
    let mut lists = Vec::new();
    while let Some(d) = order.pop() {
        let partner = if rng.random_range(0..4) > 0 { order.pop() } else { None };
        lists.push([d].into_iter().chain(partner).collect());
    }
    lists.resize(n, Vec::new());
    Pattern::new(lists, n).expect("indices are in range")
}

/// n rational unit vectors in R^n, redrawn until they are independent.
fn independent(n: usize, bits: u32, rng: &mut ChaCha20Rng) -> Vec<Vec<Rational>> {
    loop {
        let P = random_unit(n, n, rng);
        let p: Vec<_> = P.col_iter().map(|c| rational_unit(&c.iter().copied().collect::<Vec<_>>(), bits)).collect();
        if matrix::rank(&Rationals, &p) == n {
            return p;
        }
    }
}

/// Targets with small integer entries and small integer masses, so that all cases of the statement occur.
fn small_integers(context: &Context) -> impl Iterator<Item = (Problem, Pattern)> {
    let mut rng = stream(context.seed, CLAIM.id);
    std::iter::repeat_with(move || {
        let n = rng.random_range(2..=6);
        let p = independent(n, 3, &mut rng);
        let features = p
            .into_iter()
            .map(|w_p| {
                let w_r = loop {
                    let r: Vec<Rational> = (0..2).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect();
                    if r.iter().any(|x| !x.is_zero()) {
                        break r;
                    }
                };
                Feature { w_p, w_r, mass: Rational::from(rng.random_range(1..=2_i32)) }
            })
            .collect();
        let c = Rational::from(rng.random_range(0..=1_i32));
        let problem = Problem::new(features, Activation::Threshold(c)).expect("masses are positive");
        let pattern = random_matching(n, &mut rng);
        (problem, pattern)
    })
}

/// What the statement says of an instance, against the exact decision.
fn agrees(problem: &Problem, pattern: &Pattern, decision: &Decision) -> bool {
    let exists = hypotheses(problem, pattern);
    let local = exists && pairs(pattern).all(|(d, e)| overlap(problem, d, e) >= 0);
    let found = decision.optima.iter().any(|o| o.class == Class::LocalMin);
    decision.realizable && decision.exists == Some(exists) && found == local
}

fn run(context: &Context) -> Outcome {
    let mut evidence = Vec::new();
    let mut examples: [Option<Evidence>; 2] = [None, None];
    let (mut with, mut without) = (0, 0);
    for (problem, pattern) in small_integers(context).take(TRIALS) {
        let decision = match decide(&problem, &pattern) {
            Ok(decision) => decision,
            Err(why) => return Outcome::undecided(why),
        };
        if !agrees(&problem, &pattern, &decision) {
            return contradicted(&problem, &pattern, decision);
        }
        let Some(best) = decision.optima.first() else {
            without += 1;
            continue;
        };
        with += 1;
        // One example of each class, with two pairs at least.
        let (slot, name) = match best.class {
            Class::LocalMin => (0, "local-minimum"),
            _ => (1, "saddle"),
        };
        if examples[slot].is_none() && pairs(&pattern).count() >= 2 {
            let text = format!(
                "{}, pattern {pattern}: a partial optimum with L̃ ≈ {:.4}, {}.",
                landscape::describe(&problem),
                best.loss.to_f64(),
                best.class.name()
            );
            match Evidence::certified(text, name, best.certificate.clone()) {
                Ok(item) => examples[slot] = Some(item),
                Err(refusal) => return Outcome::undecided(refusal.to_string()),
            }
        }
    }
    evidence.extend(examples.into_iter().flatten());
    evidence.push(Evidence::computed(format!(
        "{TRIALS} random instances with 2 to 6 features, c = 0 or 1: {with} with a partial optimum and {without} without, each as the \
         statement says, and of the class that it says."
    )));
    for stage in [explicit_points(context), all_partitions(context), growth()] {
        match stage {
            Ok(items) => evidence.extend(items),
            Err(why) => return Outcome::undecided(why),
        }
    }
    let mut outcome = Outcome::new(Verdict::Holds, evidence)
        .with_quantity("instances", "random matchings decided exactly", Cell::from(TRIALS))
        .with_quantity(
            "matchings-10",
            "matchings of 10 features with a pair at least",
            Cell::exact(involutions(10) - UBig::ONE),
        );
    outcome.tables.push(table());
    outcome.figures.push(figure());
    outcome
}

/// An instance on which the decision is not what the statement says.
fn contradicted(problem: &Problem, pattern: &Pattern, decision: Decision) -> Outcome {
    let text = format!("{}, pattern {pattern}: the decision contradicts the statement.", landscape::describe(problem));
    match decision.certificate.map(|certificate| Evidence::certified(text.clone(), "contradiction", certificate)) {
        Some(Ok(item)) => Outcome::new(Verdict::Refuted, vec![item]),
        Some(Err(refusal)) => Outcome::undecided(refusal.to_string()),
        None => Outcome::undecided(text),
    }
}

/// r_d = s_d u_d with unit u_d and M_d = 1/s_d², so that the positive eigenvector is rational: a = (s_d, s_e). All other activations are
/// −1, so that the point is in the interior of its cell; then a local minimum of the cell is one of L̃, and random points near it
/// have no lower loss.
fn explicit_points(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "thm-3.7-matchings points");
    let mut example = None;
    let (mut minima, mut saddles) = (0, 0);
    for _ in 0..POINTS {
        let n = rng.random_range(2..=4);
        let (problem, pattern, scales) = rational_pairs(n, &mut rng);
        let point = slack_point(&problem, &pattern, &scales);
        let report = classify(&problem, &point)?;
        let local = pairs(&pattern).all(|(d, e)| overlap(&problem, d, e) >= 0);
        let expected = if local { Class::LocalMin } else { Class::StrictSaddle };
        if report.class != Some(expected) {
            return Err(format!("{}: class {:?}, expected {expected:?}", landscape::describe(&problem), report.class));
        }
        if !local {
            saddles += 1;
            continue;
        }
        minima += 1;
        for _ in 0..NEIGHBOURS {
            if near(&point, &mut rng).loss(&problem) < report.first.loss {
                return Err(format!("{}: a lower loss near a local minimum", landscape::describe(&problem)));
            }
        }
        if example.is_none() && pattern.is_polysemantic() && report.strict {
            let text = format!(
                "{}, pattern {pattern}: a local minimum of L̃ itself with L̃ = {}, as no activation is at the threshold.",
                landscape::describe(&problem),
                report.first.loss
            );
            example =
                Some(Evidence::certified(text, "interior-minimum", report.certificate).map_err(|r| r.to_string())?);
        }
    }
    let summary = Evidence::computed(format!(
        "{POINTS} explicit rational points: {minima} local minima of L̃, compared with {NEIGHBOURS} random points at distance 2^-20 \
         each, and {saddles} strict saddles, as the signs of ⟨r_d, r_e⟩ say."
    ));
    Ok(example.into_iter().chain([summary]).collect())
}

fn rational_pairs(n: usize, rng: &mut ChaCha20Rng) -> (Problem, Pattern, Vec<Rational>) {
    let p = independent(n, 3, rng);
    // Few bits, so that orthogonal targets occur.
    let U = random_unit(2, n, rng);
    let scales: Vec<Rational> = (0..n).map(|_| Rational::from(rng.random_range(1..=3_i32))).collect();
    let features = p
        .into_iter()
        .zip(U.col_iter())
        .zip(&scales)
        .map(|((w_p, u), s)| {
            let unit = rational_unit(&[u[0], u[1]], 1);
            Feature { w_p, w_r: unit.iter().map(|x| x * s).collect(), mass: Rational::ONE / (s * s) }
        })
        .collect();
    let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
    let pattern = random_matching(n, rng);
    (problem, pattern, scales)
}

/// Activations s_d on the block, −1 elsewhere and on dead rows; the decoder of eq. 76.
fn slack_point(problem: &Problem, pattern: &Pattern, scales: &[Rational]) -> Point {
    let p: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let w_e: Vec<Vec<Rational>> = pattern
        .sets()
        .iter()
        .map(|on| {
            let wanted: Vec<Rational> = (0..problem.n())
                .map(|d| if on.contains(&d) { scales[d].clone() } else { Rational::from(-1) })
                .collect();
            matrix::solve(&Rationals, &p, &wanted).expect("the features are independent")
        })
        .collect();
    published::construct(problem, pattern, &w_e).point
}

/// Every entry moved by at most 2^-20.
fn near(point: &Point, rng: &mut ChaCha20Rng) -> Point {
    let mut moved = point.clone();
    let unit = Rational::ONE / Rational::from(1_u32 << 24);
    for x in moved.w_e.iter_mut().chain(moved.w_d.iter_mut()).flatten() {
        *x += &unit * Rational::from(rng.random_range(-16..=16_i32));
    }
    moved
}

/// All 52 partitions of five generic features: the patterns with blocks of at most two and a partial optimum are the 26 involutions, and
/// those with a local minimum are the matchings of the graph ⟨r_d, r_e⟩ > 0.
fn all_partitions(context: &Context) -> Result<Vec<Evidence>, String> {
    const FEATURES: usize = 5;
    let mut rng = stream(context.seed, "thm-3.7-matchings partitions");
    let p = independent(FEATURES, 3, &mut rng);
    let features = p
        .into_iter()
        .map(|w_p| Feature { w_r: w_p.clone(), w_p, mass: Rational::from(rng.random_range(1..=9_i32)) })
        .collect();
    let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
    let (mut some, mut local, mut predicted) = (0_u32, 0_u32, 0_u32);
    let generic = (0..FEATURES).all(|d| (0..d).all(|e| overlap(&problem, d, e) != 0));
    for pattern in partitions(FEATURES).iter().filter(|p| p.sets().iter().all(|f| f.len() <= 2)) {
        let decision = decide(&problem, pattern)?;
        some += u32::from(decision.exists == Some(true));
        local += u32::from(decision.optima.iter().any(|o| o.class == Class::LocalMin));
        predicted += u32::from(pairs(pattern).all(|(d, e)| overlap(&problem, d, e) > 0));
    }
    if generic && (UBig::from(some) != involutions(FEATURES) || local != predicted) {
        return Err(format!(
            "{FEATURES} generic features: {some} matchings with a partial optimum, {local} local minima"
        ));
    }
    Ok(vec![Evidence::computed(format!(
        "All matchings of {FEATURES} random features: {some} with a partial optimum, of which {local} are local minima, the matchings of \
         the graph ⟨r_d, r_e⟩ > 0."
    ))])
}

/// (n − 1)!! > 10^n for an n at which it is: perfect matchings alone outgrow ten to the n.
fn growth() -> Result<Vec<Evidence>, String> {
    const FEATURES: usize = 1000;
    let factors = (1..FEATURES).step_by(2).map(|k| integer(i64::try_from(k).expect("below 1000")));
    let more =
        relations::step(Expr::Mul(factors.collect()), Relation::Greater, relations::power(integer(10), FEATURES));
    let text = format!(
        "{FEATURES} features have {}!! perfect matchings, more than 10^{{{FEATURES}}}; n!! grows like (n/e)^{{n/2}}.",
        FEATURES - 1
    );
    let certificate =
        relations::certificate(vec![more], "perfect matchings of 1000 features outnumber ten to the 1000");
    let item = Evidence::certified(text, "growth", certificate).map_err(|refusal| refusal.to_string())?;
    Ok(vec![item])
}

/// I(n) = I(n−1) + (n−1) I(n−2), the number of partitions of [n] with blocks of at most two.
fn involutions(n: usize) -> UBig {
    let (mut before, mut now) = (UBig::ONE, UBig::ONE);
    for k in 2..=n {
        let next = &now + &before * UBig::from(k - 1);
        before = std::mem::replace(&mut now, next);
    }
    now
}

/// Bell numbers B_0..B_n, by Peirce's triangle.
fn bell(n: usize) -> Vec<UBig> {
    let mut numbers = vec![UBig::ONE];
    let mut row = vec![UBig::ONE];
    for _ in 0..n {
        let mut next = vec![row[row.len() - 1].clone()];
        for x in &row {
            let sum = &next[next.len() - 1] + x;
            next.push(sum);
        }
        numbers.push(next[0].clone());
        row = next;
    }
    numbers
}

fn table() -> Table {
    const SIZES: [usize; 7] = [2, 3, 4, 5, 6, 10, 20];
    let columns =
        [("n", Kind::Number), ("polysemantic partitions", Kind::Exact), ("matchings among them", Kind::Exact)];
    let mut table = Table::new("matchings", CLAIM.id, columns)
        .title("Polysemantic partitions with a certain partial optimum")
        .caption(
            "For features with ⟨r_d, r_e⟩ ≠ 0 every matching with a pair has one, up to the order of the neurons.",
        );
    let bell = bell(20);
    for n in SIZES {
        table.push([n.into(), Cell::exact(&bell[n] - UBig::ONE), Cell::exact(involutions(n) - UBig::ONE)]);
    }
    table
}

fn figure() -> Figure {
    const LARGEST: usize = 60;
    let to_f64 = |x: &UBig| rational::to_f64(&Rational::from(x.clone()));
    let bell = bell(LARGEST);
    let line = |label: &str, of: &dyn Fn(usize) -> f64| Layer::Line {
        label: label.into(),
        points: (2..=LARGEST).map(|n| (n as f64, of(n))).collect(),
    };
    let panel = Panel::new("", Axis::linear("features n"), Axis::log("number of patterns"))
        .layer(Layer::Reference {
            label: "2^n".into(),
            points: (2..=LARGEST).map(|n| (n as f64, (n as f64).exp2())).collect(),
        })
        .layer(line("all polysemantic partitions", &|n| to_f64(&bell[n]) - 1.0))
        .layer(line("matchings", &|n| to_f64(&involutions(n)) - 1.0));
    Figure::new("thm-3-7-matchings", CLAIM.id, Width::Column)
        .title("Patterns that certainly have a partial optimum")
        .caption(
            "Matchings with a pair at least, which have a partial optimum for all generic features, beside all polysemantic partitions. \
             Their share falls to 0, yet they outgrow every exponential: their curve bends upwards.",
        )
        .panel(panel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchings_are_the_partitions_with_blocks_of_at_most_two() {
        for n in 1..=6 {
            let all = partitions(n);
            let few = all.iter().filter(|p| p.sets().iter().all(|f| f.len() <= 2)).count();
            assert_eq!((UBig::from(few), UBig::from(all.len())), (involutions(n), bell(n)[n].clone()));
        }
    }
}
