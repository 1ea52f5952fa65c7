//! Theorem 3.10 under ReLU (c = 0): a realizable pattern stays realizable when one feature of a neuron gets a neuron of its own.
//!
//! Refuted: a half-plane through the origin cannot cut off a feature that lies in the cone of others.

use super::sources::{CHANIN_2025, COVER_1965, WENDEL_1962};
use super::splits::{
    Found, Search, Shape, WIDE, listed, picture, polysemantic, propose, relation, search, shown, splits,
};
use super::{
    Check, Claim, Context, Correction, Evidence, Outcome, Verdict, absorption_on_instance, landscape, splits,
    thm_3_10_top1,
};
use crate::bench::features::stream;
use crate::claims::search::Instance;
use crate::exact::Rational;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Proportion, Table, Tone, Width};
use crate::theory::absorption::{Absorption, absorb};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::region::{Position, general_position, probability_of_realizability};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.10-relu",
    place: "Theorem 3.10 (eq. 20), σ = ReLU",
    title: "Under ReLU every polysemantic neuron can absorb",
    statement: "Under ReLU: if a pattern is realizable, then for every neuron that fires on two features or more some split of it is realizable, in which one of these features fires a new neuron instead.",
    latex: r"c=0:\quad (F_1,\dots,F_M)\ \text{realizable}\implies\forall\,i\ \exists\,j:\ (F_1,\dots,F_i\setminus\{d_{i,j}\},\{d_{i,j}\},\dots,F_M)\ \text{realizable}",
    assumes: "Unit features with M < 1 (Asm. 2.4); σ = σ_c with c = 0; |F_i| ≥ 2.",
    sources: &[CHANIN_2025, COVER_1965, WENDEL_1962],
    run,
    on_instance: Some(on_instance),
};

/// Proposals per shape.
const PROPOSALS: usize = 400;
/// Instances per check.
const TRIALS: usize = 150;
/// From the smallest shape up, so that what is found first has few features.
const SHAPES: [Shape; 5] = [
    Shape { n: 2, n_p: 1, latents: 1, bits: 4 },
    Shape { n: 2, n_p: 2, latents: 1, bits: 4 },
    Shape { n: 3, n_p: 2, latents: 1, bits: 4 },
    Shape { n: 4, n_p: 2, latents: 1, bits: 4 },
    Shape { n: 5, n_p: 3, latents: 1, bits: 4 },
];

/// ReLU.
fn relu() -> Activation {
    Activation::Threshold(Rational::ZERO)
}

/// The smallest counterexample found.
pub(super) fn counterexample(context: &Context) -> Option<Found> {
    search(
        context.seed,
        &Search {
            purpose: CLAIM.id,
            activation: relu(),
            shapes: &SHAPES,
            most: WIDE,
            proposals: PROPOSALS,
            hypotheses: splits::hypotheses,
        },
    )
}

/// The features of an instance under the threshold 1.
pub(super) fn raised(instance: &Instance) -> Problem {
    Problem::new(instance.problem.features().to_vec(), Activation::Threshold(Rational::ONE)).expect("the same features")
}

fn run(context: &Context) -> Outcome {
    let Some(found) = counterexample(context) else {
        return Outcome::undecided(format!("no neuron without a split in {} shapes", SHAPES.len()));
    };
    let Instance { problem, pattern } = &found.instance;
    let Absorption::Impossible { splits: empty, .. } = &found.answer else {
        return Outcome::undecided("the search kept an instance that can be split");
    };
    let reasons: BTreeSet<String> = empty.iter().filter_map(|(_, farkas)| relation(farkas)).collect();
    let text = format!(
        "{}: the pattern {} is realizable, and no split of neuron {} on {} is, because {}.",
        landscape::describe(problem),
        shown(pattern),
        found.neuron + 1,
        listed(pattern.sets()[found.neuron].iter().copied()),
        reasons.into_iter().collect::<Vec<_>>().join(" and ")
    );
    let certificate = found.answer.certificate(problem, pattern, found.neuron);
    let mut evidence = match Evidence::certified(text, "no-split", certificate) {
        Ok(item) => vec![item],
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    evidence.push(Evidence::computed(format!(
        "All {} realizable patterns proposed with fewer than {} features can be split.",
        found.smaller,
        problem.n()
    )));
    // Both rows of a fixed split exist except with probability at most twice Wendel's.
    let bench = probability_of_realizability(1000, 768, true).log10_complement + 2f64.log10();
    evidence.push(Evidence::computed(format!(
        "At the size of the bench, n = 1000 and n_p = 768, a given split of random features fails with probability at most 10^{bench:.1}."
    )));
    let mut outcome = Outcome::new(Verdict::Refuted, evidence)
        .with_correction(correction(context))
        .with_quantity("features", "features of the smallest counterexample found", Cell::from(problem.n()))
        .with_quantity(
            "bench-exponent",
            "log₁₀ of the bound on the probability that a given split of the bench's features fails",
            Cell::number(bench, 3),
        );
    outcome.figures.extend(picture(&found, &raised(&found.instance), CLAIM.id));
    outcome.figures.push(prevalence(context));
    outcome.tables.push(summary(context, &found));
    outcome
}

fn correction(context: &Context) -> Correction {
    Correction {
        statement: "The split of d from F is realizable iff both rows exist: p_d lies outside the cone of the other features, and no \
                    combination of F∖{d} with non-negative weights, not all 0, lies in the cone of the features outside F∖{d}. So it \
                    always is if the features are linearly independent. For two random features of a neuron in the plane some split \
                    exists with probability 2/(n(n−1)) only, and n_p + 1 = n random features make a neuron on a given pair without \
                    split with probability 2^{2−n}."
            .into(),
        latex: r"w_p^d\notin\operatorname{cone}\{w_p^e:e\ne d\}\quad\text{and}\quad \sum_{f\in F\setminus\{d\}}y_fw_p^f\in\operatorname{cone}\{w_p^e:e\notin F\setminus\{d\}\},\ y\ge0\implies y=0".into(),
        checks: vec![
            plane_check(context),
            independent_check(context),
            pair_in_the_plane(context, 3, 0.5),
            pair_in_the_plane(context, 4, 1.0 / 3.0),
            one_feature_more(context, 4, 0.125),
            one_feature_more(context, 5, 0.25),
        ],
    }
}

/// All firing sets of rows in the plane at c = 0: rows on the border lines, and sums of two such rows, which meet every open sector.
fn rows_of_the_plane(problem: &Problem) -> BTreeSet<BTreeSet<usize>> {
    let borders: Vec<[Rational; 2]> = problem
        .features()
        .iter()
        .flat_map(|f| [[-&f.w_p[1], f.w_p[0].clone()], [f.w_p[1].clone(), -&f.w_p[0]]])
        .collect();
    let sums = borders.iter().flat_map(|a| borders.iter().map(move |b| [&a[0] + &b[0], &a[1] + &b[1]]));
    let fires = |w: [Rational; 2]| {
        let on = |d: &usize| dot(&w, &problem.features()[*d].w_p) > Rational::ZERO;
        (0..problem.n()).filter(on).collect()
    };
    sums.chain(borders.iter().cloned()).map(fires).collect()
}

/// The decision against the list of all rows of the plane, small directions included, so that degenerate positions occur.
fn plane_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-relu plane");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS {
        let shape = Shape { n: rng.random_range(3..=6), n_p: 2, latents: 1, bits: rng.random_range(1..=5) };
        let instance = propose(&mut rng, shape, WIDE, &relu());
        let Some(neuron) = polysemantic(&instance.pattern).next() else { continue };
        // With all features on one line no two border rows add up to a row inside a sector.
        let p = instance.problem.features();
        if p.iter().all(|f| &f.w_p[0] * &p[0].w_p[1] == &f.w_p[1] * &p[0].w_p[0]) {
            continue;
        }
        let rows = rows_of_the_plane(&instance.problem);
        let set = &instance.pattern.sets()[neuron];
        let expected = set.iter().any(|d| {
            let rest: BTreeSet<usize> = set.iter().copied().filter(|e| e != d).collect();
            rows.contains(&BTreeSet::from([*d])) && rows.contains(&rest)
        });
        trials += 1;
        failures += usize::from(splits(&instance, neuron) != expected);
    }
    Check { what: "plane features: the decision against the list of all rows of the plane".into(), trials, failures }
}

/// Linearly independent features of any length: every pattern with a neuron on two features splits.
fn independent_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-relu independent");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS {
        let n = rng.random_range(2..=4_usize);
        // a triangular matrix without zeros on the diagonal
        let mut entry = |k: usize, d: usize| match k.cmp(&d) {
            std::cmp::Ordering::Less => Rational::ZERO,
            std::cmp::Ordering::Equal => Rational::from(rng.random_range(1..=3_i32)),
            std::cmp::Ordering::Greater => Rational::from(rng.random_range(-3..=3_i32)),
        };
        let features = (0..n)
            .map(|d| {
                let p: Vec<Rational> = (0..n).map(|k| entry(k, d)).collect();
                Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }
            })
            .collect();
        let problem = Problem::new(features, relu()).expect("masses are 1");
        let rows = splits::encoder(&mut rng, Shape { n, n_p: n, latents: 2, bits: 0 }, WIDE);
        let pattern = Pattern::of_encoder(&problem, &rows);
        let instance = Instance { problem, pattern };
        for neuron in polysemantic(&instance.pattern) {
            trials += 1;
            failures += usize::from(!splits(&instance, neuron));
        }
    }
    Check { what: "linearly independent features: every neuron can be split".into(), trials, failures }
}

/// n features with random integer entries, a law that is exchangeable and symmetric in the sign of each feature. Their lengths do not
/// matter at c = 0: ⟨w, p⟩ > 0 is a statement about directions.
fn integer_features(rng: &mut ChaCha20Rng, n: usize, n_p: usize) -> Problem {
    let mut vector = || (0..n_p).map(|_| Rational::from(rng.random_range(-30..=30_i32))).collect::<Vec<_>>();
    let features = (0..n).map(|_| vector()).map(|p| Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }).collect();
    Problem::new(features, relu()).expect("masses are 1")
}

/// Features 1 and 2 as the firing set of one neuron, among random features in general position; `None` if these are not.
fn pair(rng: &mut ChaCha20Rng, n: usize, n_p: usize) -> Option<Absorption> {
    let problem = integer_features(rng, n, n_p);
    // columns eliminated: far more than n_p + 1 choices of n_p features need
    const BUDGET: u64 = 10_000;
    if general_position(&problem, BUDGET) != Ok(Position::General) {
        return None;
    }
    let pattern = Pattern::new(vec![vec![0, 1]], n).expect("there are two features");
    absorb(&problem, &pattern, 0).ok()
}

/// n random features of the plane, of which the first two fire a neuron: some split exists with probability 2/(n(n−1)).
///
/// The 2n sectors of rows follow each other so that neighbours differ in one feature. A pair splits iff {1}, {1,2}, {2} are three
/// neighbours: iff lines 1 and 2 are neighbours, which has probability 2/(n−1), and one of the two places where they are has these
/// signs, 2·2^{−n}; and {1,2} is one of the sectors with probability 2n·2^{−n}.
fn pair_in_the_plane(context: &Context, n: usize, wrong: f64) -> Check {
    let law = 2.0 / (n * (n - 1)) as f64;
    let trials = Proportion::draws(law, wrong).expect("the laws differ");
    let mut rng = stream(context.seed, &format!("thm-3.10-relu pair {n}"));
    let (mut drawn, mut successes) = (0, 0);
    while drawn < trials {
        match pair(&mut rng, n, 2) {
            Some(Absorption::Possible { .. }) => (drawn, successes) = (drawn + 1, successes + 1),
            Some(Absorption::Impossible { .. }) => drawn += 1,
            Some(Absorption::NotRealizable { .. }) | None => {}
        }
    }
    let what = format!("{n} random features in the plane: share of realizable pairs with a split");
    Check::proportion(&what, &Proportion { trials, successes, law, wrong })
}

/// n = n_p + 1 random features: the first two are a neuron without split with probability 2^{2−n}.
///
/// The features have one linear relation, whose signs up to a common factor are uniform among 2^{n−1}; the firing sets without a row
/// are its two sign classes, and both splits need the rows {1} and {2}.
fn one_feature_more(context: &Context, n: usize, wrong: f64) -> Check {
    let law = 0.5f64.powi(n as i32 - 2);
    let trials = Proportion::draws(law, wrong).expect("the laws differ");
    let mut rng = stream(context.seed, &format!("thm-3.10-relu circuit {n}"));
    let drawn = std::iter::repeat_with(|| pair(&mut rng, n, n - 1)).flatten().take(trials as usize);
    let successes = drawn.filter(|answer| matches!(answer, Absorption::Impossible { .. })).count() as u64;
    let what =
        format!("{n} random features in {} dimensions: share of pairs that are realizable and have no split", n - 1);
    Check::proportion(&what, &Proportion { trials, successes, law, wrong })
}

/// Share of random rows with two features or more that can be split, over n/n_p.
fn prevalence(context: &Context) -> Figure {
    const ROWS: usize = 36;
    let mut rng = stream(context.seed, "thm-3.10-relu prevalence");
    let mut panel =
        Panel::new("", Axis::linear("n/n_p").range(1.0, 4.0), Axis::linear("share with some split").range(-0.03, 1.05))
            .layer(Layer::Reference { label: "c > 0 (always)".into(), points: vec![(1.0, 1.0), (4.0, 1.0)] });
    for n_p in [2, 3, 4] {
        let (mut points, mut intervals) = (Vec::new(), Vec::new());
        for n in (2 * n_p..=8 * n_p).step_by(n_p).map(|twice| twice / 2) {
            let (mut drawn, mut successes) = (0, 0);
            while drawn < ROWS {
                let problem = integer_features(&mut rng, n, n_p);
                let row = integer_features(&mut rng, 1, n_p).features()[0].w_p.clone();
                let pattern = Pattern::of_encoder(&problem, &[row]);
                let instance = Instance { problem, pattern };
                let Some(neuron) = polysemantic(&instance.pattern).next() else { continue };
                drawn += 1;
                successes += usize::from(splits(&instance, neuron));
            }
            let share = successes as f64 / ROWS as f64;
            // two standard errors of Agresti and Coull
            let (centre, count) = ((successes as f64 + 2.0) / (ROWS as f64 + 4.0), ROWS as f64 + 4.0);
            let half = 2.0 * (centre * (1.0 - centre) / count).sqrt();
            points.push((n as f64 / n_p as f64, share));
            intervals.push(((centre - half).max(0.0), (centre + half).min(1.0)));
        }
        panel = panel
            .layer(Layer::Line { label: format!("c = 0, n_p = {n_p}"), points: points.clone() })
            .layer(Layer::Points { label: format!("c = 0, n_p = {n_p}"), points, intervals });
    }
    Figure::new("absorption-prevalence", CLAIM.id, Width::Column)
        .title("How often some split exists")
        .caption(&format!(
            "Firing sets of random rows on random features, at least two features each: share with a realizable split, decided \
             exactly, {ROWS} sets per point, bars of two standard errors. At c = 0 splits disappear as n grows beyond 2n_p, where a \
             feature comes to lie in the cone of the others; with n ≤ n_p, and for every c > 0, there always is one."
        ))
        .panel(panel)
}

/// Activation, verdict and the smallest evidence.
fn summary(context: &Context, found: &Found) -> Table {
    let columns = [("activation", Kind::Text), ("splits", Kind::Verdict), ("smallest evidence", Kind::Text)];
    let mut table = Table::new("absorption", CLAIM.id, columns)
        .title("Theorem 3.10 by activation")
        .caption("Does every realizable neuron on two unit features or more, M < 1, have a realizable split?")
        .note("Every entry without a split is certified in the claim of its row.");
    let shown = |instance: &Instance, neuron: usize| {
        let directions: Vec<String> = instance
            .problem
            .features()
            .iter()
            .map(|f| format!("({})", f.w_p.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
            .collect();
        format!("p = {}; F = {}", directions.join(", "), listed(instance.pattern.sets()[neuron].iter().copied()))
    };
    table.push([
        Cell::from("ReLU (c = 0)"),
        Cell::verdict(Tone::Bad, "not always"),
        Cell::from(format!("{}: none", shown(&found.instance, found.neuron))),
    ]);
    let with = raised(&found.instance);
    let kept = absorb(&with, &found.instance.pattern, found.neuron);
    table.push(match kept {
        Ok(Absorption::Possible { feature, .. }) => [
            Cell::from("σ_c with c > 0"),
            Cell::verdict(Tone::Good, "always"),
            Cell::from(format!("the same features, c = 1: p_{} splits off", feature + 1)),
        ],
        _ => [Cell::from("σ_c with c > 0"), Cell::verdict(Tone::Open, "open"), Cell::Missing],
    });
    table.push(match thm_3_10_top1::counterexample(context) {
        Some(top) => [
            Cell::from("Top-1∘ReLU"),
            Cell::verdict(Tone::Bad, "not always"),
            Cell::from(format!("{}: none", shown(&top.instance, top.neuron))),
        ],
        None => [Cell::from("Top-1∘ReLU"), Cell::verdict(Tone::Open, "open"), Cell::Missing],
    });
    table
}

/// Every firing set of a row of a user's problem.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if problem.threshold().is_some_and(Rational::is_zero) {
        absorption_on_instance::decide(problem, &CLAIM)
    } else {
        Err(format!("activation: {} is about the threshold c = 0", CLAIM.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_counterexample_has_three_features_in_the_plane() {
        for seed in 0..8 {
            let found = counterexample(&Context { seed }).unwrap();
            assert_eq!((found.instance.problem.n(), found.instance.problem.n_p()), (3, 2));
            assert!(found.smaller > 40, "{}", found.smaller);
        }
    }
}
