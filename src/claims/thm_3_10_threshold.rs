//! Theorem 3.10 for a fixed threshold c > 0: a realizable pattern stays realizable when one feature of a neuron gets a neuron of its own.
//!
//! Holds for distinct features of one length, by another construction: the published proof (eqs. 94–106) raises the threshold that all
//! neurons share, and can kill other neurons.

use super::search::{Instance, rational_unit};
use super::sources::CHANIN_2025;
use super::splits::{
    Search, Shape, WIDE, encoder, hypotheses, listed, polysemantic, propose, search, shown, unit_features, unit_norm,
};
use super::{
    Check, Claim, Context, Correction, Evidence, Outcome, Verdict, absorption_on_instance, landscape, splits,
    thm_3_10_relu,
};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::Cell;
use crate::theory::absorption::{Absorption, Published, absorb, published};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::region::Realizability;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.10-threshold",
    place: "Theorem 3.10 (eq. 20), proof in App. I.6, eqs. 93–108",
    title: "Above a fixed threshold every polysemantic neuron can absorb",
    statement: "For σ_c with a fixed c > 0 and unit features: if a pattern is realizable, then for every neuron that fires on two features or more some split of it is realizable, in which one of these features fires a new neuron instead.",
    latex: r"c>0:\quad (F_1,\dots,F_M)\ \text{realizable}\implies\forall\,i\ \exists\,j:\ (F_1,\dots,F_i\setminus\{d_{i,j}\},\{d_{i,j}\},\dots,F_M)\ \text{realizable}",
    assumes: "Unit features (Asm. 2.4, not named in the theorem, used in eq. 103); σ = σ_c with one fixed c > 0 before and after the split; |F_i| ≥ 2. Eq. 106 uses M < 1 as well.",
    sources: &[CHANIN_2025],
    run,
    on_instance: Some(on_instance),
};

/// Random patterns on which the theorem is decided.
const TRIALS: usize = 250;
/// Proposals per shape of a search.
const PROPOSALS: usize = 150;
/// Shapes in which features without unit norm, or equal ones, are looked for.
const SMALL: [Shape; 3] = [
    Shape { n: 2, n_p: 1, latents: 1, bits: 1 },
    Shape { n: 2, n_p: 2, latents: 1, bits: 1 },
    Shape { n: 3, n_p: 2, latents: 1, bits: 1 },
];

fn threshold() -> Activation {
    Activation::Threshold(Rational::ONE)
}

fn run(context: &Context) -> Outcome {
    let main = Tested::new(context);
    if let Some(instance) = &main.counterexample {
        let neuron = polysemantic(&instance.pattern).next().unwrap_or(0);
        let text =
            format!("{}: some neuron of {} has no split.", landscape::describe(&instance.problem), instance.pattern);
        let proof = splits::unsplittable(instance)
            .map(|(i, answer)| answer.certificate(&instance.problem, &instance.pattern, i));
        return match proof.map(|certificate| Evidence::certified(text, "no-split", certificate)) {
            Some(Ok(item)) => Outcome::new(Verdict::Refuted, vec![item]),
            _ => Outcome::undecided(format!("a split of neuron {neuron} in {} was not found", instance.pattern)),
        };
    }
    let mut evidence = vec![Evidence::computed(format!(
        "{} random realizable patterns of distinct unit features, c ∈ {{1/1000, 1, 5}}: every neuron on two features or more was split by \
         the construction below, with the threshold and all other rows unchanged.",
        main.trials
    ))];
    let collected = example(context).and_then(|item| {
        evidence.push(item);
        evidence.extend(broken_step(context)?);
        evidence.push(unequal_lengths(context)?);
        equal_features(context)
    });
    let equal = match collected {
        Ok(item) => item,
        Err(why) => return Outcome::undecided(why),
    };
    // Unit norm is in Asm. 2.4; M < 1 is used in the proof, but assumed nowhere.
    let verdict = match equal {
        Some(item) => {
            evidence.push(item);
            Verdict::HoldsWith("M < 1: no two features are equal".into())
        }
        None => Verdict::Holds,
    };
    let share = published_failures(context);
    evidence.push(Evidence::computed(format!(
        "The published construction gives another pattern than it promises on {} of {} random encoders of three rows.",
        share.0, share.1
    )));
    Outcome::new(verdict, evidence)
        .with_correction(Correction {
            statement: "Keep c. Let d be the feature of the least activation a_min of row i (break a tie by a small step along −p_d, after \
                        shrinking the row a little). Replace row i by (c/a_min) w_i, which puts d on the closed side of the threshold, \
                        and append (2c/(1 + M₊)) p_d with M₊ = max(0, max_{e≠d} ⟨p_d,p_e⟩) < 1. Every other row stays. This needs \
                        distinct features of one length, not unit length (then 1 is ‖p_d‖²); it fails for p and 2p, and for c = 0."
                .into(),
            latex: r"\tilde w_i=\frac{c}{a_{\min}}\,w_i,\qquad w_{\mathrm{new}}=\frac{2c}{1+M_+}\,w_p^d,\qquad c\ \text{unchanged}".into(),
            checks: vec![
                Check { what: "random distinct unit features: the split is that of the construction".into(), trials: main.trials, failures: main.failures },
                length_check(context),
                tie_check(context),
            ],
        })
        .with_quantity(
            "published-failures",
            "share of random encoders of three rows on which the published construction yields another pattern",
            Cell::number(share.0 as f64 / share.1 as f64, 2),
        )
}

/// The split of the first neuron with two features: other rows kept, row i and the new row parallel to what the construction says.
fn constructed(instance: &Instance, neuron: usize) -> bool {
    let Ok(Absorption::Possible { w_e, feature, split, .. }) = absorb(&instance.problem, &instance.pattern, neuron)
    else {
        return false;
    };
    let Some((new, kept)) = split.split_last() else { return false };
    let p = &instance.problem.features()[feature].w_p;
    let c = instance.problem.threshold().cloned().unwrap_or(Rational::ZERO);
    let others = (0..instance.problem.n()).filter(|e| *e != feature);
    let interference = others.map(|e| dot(p, &instance.problem.features()[e].w_p)).fold(Rational::ZERO, Rational::max);
    let factor = Rational::from(2) * &c / (dot(p, p) + interference);
    let new_row = new.iter().zip(p).all(|(w, x)| *w == x * &factor);
    let other_rows = (0..w_e.len()).all(|i| i == neuron || w_e[i] == kept[i]);
    let on_threshold = dot(&kept[neuron], p) == c;
    let pattern = Pattern::of_encoder(&instance.problem, &split) == instance.pattern.split(neuron, feature);
    new_row && other_rows && on_threshold && pattern
}

/// The theorem on random instances.
struct Tested {
    trials: usize,
    failures: usize,
    counterexample: Option<Instance>,
}

impl Tested {
    fn new(context: &Context) -> Self {
        let mut rng = stream(context.seed, CLAIM.id);
        let mut tested = Self { trials: 0, failures: 0, counterexample: None };
        while tested.trials < TRIALS {
            let shape = Shape {
                n: rng.random_range(2..=7),
                n_p: rng.random_range(2..=4),
                latents: 3,
                bits: rng.random_range(1..=6),
            };
            let c = [1000, 1][rng.random_range(0..2_usize)];
            let c = if rng.random_bool(0.3) { Rational::from(5) } else { Rational::ONE / Rational::from(c) };
            let instance = propose(&mut rng, shape, WIDE, &Activation::Threshold(c));
            if !hypotheses(&instance.problem) {
                continue;
            }
            for neuron in polysemantic(&instance.pattern) {
                tested.trials += 1;
                if !constructed(&instance, neuron) {
                    tested.failures += 1;
                    if !splits::splits(&instance, neuron) {
                        tested.counterexample.get_or_insert_with(|| instance.clone());
                    }
                }
            }
        }
        tested
    }
}

/// The features of the smallest counterexample for c = 0, split at c = 1.
fn example(context: &Context) -> Result<Evidence, String> {
    let found = thm_3_10_relu::counterexample(context).ok_or("no counterexample for c = 0 to compare with")?;
    let problem = thm_3_10_relu::raised(&found.instance);
    let pattern = &found.instance.pattern;
    let answer = absorb(&problem, pattern, found.neuron).map_err(|why| why.to_string())?;
    let Absorption::Possible { feature, .. } = answer else {
        return Err("the example cannot be split at c = 1".into());
    };
    let text = format!(
        "{}: the smallest counterexample for c = 0 splits at c = 1, {} into the rest and {{{}}}.",
        landscape::describe(&problem),
        listed(pattern.sets()[found.neuron].iter().copied()),
        feature + 1
    );
    Evidence::certified(text, "split", answer.certificate(&problem, pattern, found.neuron)).map_err(|r| r.to_string())
}

/// A random encoder for the published construction.
fn for_published(rng: &mut ChaCha20Rng, shape: Shape) -> Option<(Problem, Vec<Vec<Rational>>, usize)> {
    let problem = Problem::new(unit_features(rng, shape), threshold()).expect("masses are 1");
    let rows = encoder(rng, shape, WIDE);
    let neuron = hypotheses(&problem).then(|| polysemantic(&Pattern::of_encoder(&problem, &rows)).next()).flatten()?;
    Some((problem, rows, neuron))
}

/// The smallest encoder found on which the published construction kills another neuron, with the pattern that its rows have, and the
/// split of the same pattern at the unchanged threshold.
fn broken_step(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "thm-3.10-threshold published");
    // what is lost is lost by the raise alone, not by a tie of the split row
    let kills = |p: &Published, neuron: usize, latents: usize| {
        let killed = p.killed();
        let others = p.revived().is_empty() && killed.iter().all(|(i, _)| *i != neuron && *i < latents);
        killed.first().copied().filter(|_| others)
    };
    let size = |w: &[Vec<Rational>], problem: &Problem| {
        let entries = w.iter().flatten().chain(problem.features().iter().flat_map(|f| &f.w_p));
        entries
            .map(|x| if x.is_zero() { 0 } else { rational::bits(x) + usize::from(rational::sign(x) < 0) })
            .sum::<usize>()
    };
    let shape = Shape { n: 2, n_p: 2, latents: 2, bits: 1 };
    let smallest = (0..20 * PROPOSALS)
        .filter_map(|_| for_published(&mut rng, shape))
        .filter(|(problem, w, neuron)| {
            published(problem, w, *neuron).is_ok_and(|p| kills(&p, *neuron, w.len()).is_some())
        })
        .min_by_key(|(problem, w, _)| size(w, problem));
    let (problem, w, neuron) = smallest.ok_or("the published construction killed no neuron among the proposals")?;
    let broken = published(&problem, &w, neuron).map_err(|why| why.to_string())?;
    let (i, d) = kills(&broken, neuron, w.len()).ok_or("the search kept an encoder with a killed neuron")?;
    let before = Pattern::of_encoder(&problem, &w);
    let raised = Problem::new(problem.features().to_vec(), Activation::Threshold(broken.threshold.clone()))
        .map_err(|why| why.to_string())?;
    let row = |i: usize| format!("({})", w[i].iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let text = format!(
        "{}, rows w_1 = {}, w_2 = {}, pattern {}. The published construction raises the threshold to c″ = {}, above \
         ⟨w_{}, p_{}⟩ = {}: neuron {} no longer fires on feature {}. Its rows have the pattern {}, where {} was promised.",
        landscape::describe(&problem),
        row(0),
        row(1),
        shown(&before),
        broken.threshold,
        i + 1,
        d + 1,
        dot(&w[i], &problem.features()[d].w_p),
        i + 1,
        d + 1,
        shown(&broken.actual),
        shown(&broken.intended)
    );
    let witness = Realizability::Realizable { w_e: broken.w_e.clone() }.certificate(&raised, &broken.actual);
    let killed = Evidence::certified(text, "published-kills", witness).map_err(|r| r.to_string())?;
    let answer = absorb(&problem, &before, neuron).map_err(|why| why.to_string())?;
    let text = "The same pattern has a split at the unchanged threshold.".to_owned();
    let kept = Evidence::certified(text, "unchanged-threshold", answer.certificate(&problem, &before, neuron));
    Ok(vec![killed, kept.map_err(|r| r.to_string())?])
}

/// Features of different lengths without a split: unit norm, or at least one length, is needed.
fn unequal_lengths(context: &Context) -> Result<Evidence, String> {
    let mut rng = stream(context.seed, "thm-3.10-threshold lengths");
    let mut propose = |shape: Shape| {
        let features = (0..shape.n).map(|_| {
            let p: Vec<Rational> = (0..shape.n_p).map(|_| Rational::from(rng.random_range(0..=2_i32))).collect();
            Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }
        });
        let problem = Problem::new(features.collect(), threshold()).expect("masses are 1");
        let pattern = Pattern::of_encoder(&problem, &encoder(&mut rng, shape, WIDE));
        Instance { problem, pattern }
    };
    let fails = |instance: &Instance| {
        splits::distinct(&instance.problem)
            .then(|| splits::unsplittable(instance))
            .flatten()
            .map(|found| (instance.clone(), found))
    };
    let found = SMALL.into_iter().find_map(|shape| (0..PROPOSALS).find_map(|_| fails(&propose(shape))));
    let (instance, (neuron, answer)) = found.ok_or("no features of different lengths without a split")?;
    let text = format!(
        "Features of different lengths, {}: the pattern {} is realizable, no split of it is.",
        landscape::describe(&instance.problem),
        shown(&instance.pattern)
    );
    let certificate = answer.certificate(&instance.problem, &instance.pattern, neuron);
    Evidence::certified(text, "unequal-lengths", certificate).map_err(|r| r.to_string())
}

/// Equal unit features without a split, if there are any: Asm. 2.4 defines M, but nowhere says M < 1.
fn equal_features(context: &Context) -> Result<Option<Evidence>, String> {
    let equal = Search {
        purpose: "thm-3.10-threshold equal",
        activation: threshold(),
        shapes: &SMALL,
        most: WIDE,
        proposals: PROPOSALS,
        hypotheses: unit_norm,
    };
    let Some(found) = search(context.seed, &equal) else {
        return Ok(None);
    };
    let Instance { problem, pattern } = &found.instance;
    let text = format!(
        "Equal unit features, {}: the pattern {} is realizable, no split of it is. Eq. 106 needs M < 1.",
        landscape::describe(problem),
        shown(pattern)
    );
    let certificate = found.answer.certificate(problem, pattern, found.neuron);
    Evidence::certified(text, "equal-features", certificate).map(Some).map_err(|r| r.to_string())
}

/// How often the published construction yields another pattern than it promises: (failures, encoders).
fn published_failures(context: &Context) -> (usize, usize) {
    let mut rng = stream(context.seed, "thm-3.10-threshold share");
    let (mut failures, mut trials) = (0, 0);
    while trials < TRIALS {
        let shape = Shape { n: 6, n_p: 4, latents: 3, bits: 8 };
        let Some((problem, w, neuron)) = for_published(&mut rng, shape) else { continue };
        trials += 1;
        failures += usize::from(!published(&problem, &w, neuron).is_ok_and(|p| p.actual == p.intended));
    }
    (failures, trials)
}

/// Distinct features of one common length other than 1.
fn length_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-threshold length");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS / 2 {
        let shape = Shape { n: rng.random_range(2..=6), n_p: 3, latents: 2, bits: 4 };
        let length = Rational::from(rng.random_range(1..=9_i32)) / Rational::from(rng.random_range(2..=4_i32));
        let features = unit_features(&mut rng, shape)
            .into_iter()
            .map(|f| Feature { w_p: f.w_p.iter().map(|x| x * &length).collect(), ..f })
            .collect();
        let problem = Problem::new(features, threshold()).expect("masses are 1");
        let pattern = Pattern::of_encoder(&problem, &encoder(&mut rng, shape, WIDE));
        if !splits::distinct(&problem) {
            continue;
        }
        let instance = Instance { problem, pattern };
        for neuron in polysemantic(&instance.pattern) {
            trials += 1;
            failures += usize::from(!constructed(&instance, neuron));
        }
    }
    Check { what: "random distinct features of one length other than 1".into(), trials, failures }
}

/// Mirror images: the least activation of the symmetric row is attained twice.
fn tie_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-threshold ties");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS / 2 {
        let mut features = Vec::new();
        for _ in 0..rng.random_range(1..=3) {
            let direction: Vec<f64> = (0..3).map(|_| StandardNormal.sample(&mut rng)).collect();
            for sign in [1, -1] {
                let mut p = rational_unit(&direction, 3);
                p[0] = &p[0] * Rational::from(sign);
                features.push(Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE });
            }
        }
        let problem = Problem::new(features, threshold()).expect("masses are 1");
        let row: Vec<Rational> = [0, rng.random_range(-4..=4), rng.random_range(-4..=4)].map(Rational::from).into();
        let pattern = Pattern::of_encoder(&problem, std::slice::from_ref(&row));
        if !splits::distinct(&problem) || pattern.sets()[0].len() < 2 {
            continue;
        }
        trials += 1;
        failures += usize::from(!constructed(&Instance { problem, pattern }, 0));
    }
    Check { what: "mirrored features, which tie at the least activation".into(), trials, failures }
}

/// Every firing set of a row of a user's problem.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if problem.threshold().is_some_and(|c| !c.is_zero()) {
        absorption_on_instance::decide(problem, &CLAIM)
    } else {
        Err(format!("activation: {} is about a threshold c > 0", CLAIM.id))
    }
}
