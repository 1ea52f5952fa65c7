//! Definition 3.9 together with Assumption 2.4: a parent that fires exactly when some child does, all of them independent.
//!
//! Refuted: 0 = Pr(parent, no child) = Pr(parent) Pr(no child) leaves a parent that never fires, or children one of which always
//! does, and sparsity excludes the latter. What is more, in a hierarchy no feature fires alone, so that all its M_d are 0.

use super::search::rational_unit;
use super::sources::CHANIN_2025;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape, relations};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Cell, Figure, Layer, Panel, Width};
use crate::theory::absorption::{Hierarchy, Parent};
use crate::theory::certificate_body::{certificate, number, numbers, point as point_json};
use crate::theory::exact_loss::finite::FiniteDistribution;
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use sdlab_verify::format::{Expr, Relation};
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "hierarchy-independence",
    place: "Def. 3.9 with Asms. 2.3 (sparsity) and 2.4 (independence)",
    title: "Hierarchical features can be independent",
    statement: "Features that fire independently, each silent with positive probability, can form a hierarchy in which a parent fires exactly when some child does.",
    latex: r"\exists\,x_1,\dots,x_n\ \text{mutually independent},\ 0<\Pr(x_c>0)<1:\quad x_p>0\iff\exists\,i\in[k],\ x_{c_i}>0",
    assumes: "Asm. 2.3 with S > 0, Asm. 2.4 (independence), Def. 3.9 with k ≥ 2 children, some of which fires at times.",
    sources: &[CHANIN_2025],
    run,
    on_instance: None,
};

/// Independent laws that the search looks at.
const LAWS: usize = 400;
/// Laws per check.
const TRIALS: usize = 300;
/// Firing probabilities of the search are multiples of 1/GRAIN, 0 and 1 included.
const GRAIN: u32 = 8;
/// Distance of the certified box of firing probabilities from 0 and 1 is 1/MARGIN.
const MARGIN: u32 = 100;

/// A hierarchy of feature 0 over features 1, .., k.
fn hierarchy(k: usize) -> Hierarchy {
    Hierarchy::new(vec![Parent { parent: 0, children: (1..=k).collect() }], k + 1).expect("k ≥ 2 distinct children")
}

/// The hypotheses on firing probabilities (parent first): all silent at times (S > 0), and some child fires at times.
fn hypotheses(firing: &[Rational]) -> bool {
    firing.iter().all(|p| *p < Rational::ONE) && firing[1..].iter().any(|p| !p.is_zero())
}

/// Firing probabilities of independent features, parent first.
fn propose(rng: &mut ChaCha20Rng) -> Vec<Rational> {
    let k = rng.random_range(2..=3_usize);
    (0..=k).map(|_| Rational::from(rng.random_range(0..=GRAIN)) / Rational::from(GRAIN)).collect()
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let laws = (0..LAWS).map(|_| propose(&mut rng)).filter(|p| hypotheses(p)).collect::<Vec<_>>();
    let mismatch = |p: &Vec<Rational>| hierarchy(p.len() - 1).mismatch(0, p).expect("one probability per feature");
    if let Some(law) = laws.iter().find(|p| mismatch(p).is_zero()) {
        let shown = law.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let text = format!("Independent features with Pr(x_d > 0) = {shown} satisfy Def. 3.9 almost surely.");
        return Outcome::new(Verdict::Holds, vec![Evidence::computed(text)]);
    }
    let evidence = box_of_laws().and_then(|first| Ok(vec![first, dependence(&mut rng)?, no_mass(&mut rng)?]));
    let evidence = match evidence {
        Ok(mut items) => {
            items.push(Evidence::computed(format!(
                "{} independent laws of 3 or 4 features, probabilities multiples of 1/{GRAIN}: in none does Def. 3.9 hold almost \
                 surely.",
                laws.len()
            )));
            items
        }
        Err(why) => return Outcome::undecided(why),
    };
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(correction(context)).with_quantity(
        "disagreement",
        "share of the inputs with an active parent or child on which Def. 3.9 fails, at 1 − S = .01 and 4 children",
        Cell::number(disagreement(0.01, 4), 3),
    );
    outcome.figures.push(figure());
    outcome
}

/// For all independent laws of a parent with two children whose firing probabilities lie in a box: Def. 3.9 fails with at least
/// a positive probability. The failure probability is affine in each firing probability, so that its least value over a box is
/// attained at a corner.
fn box_of_laws() -> Result<Evidence, String> {
    let low = Rational::ONE / Rational::from(MARGIN);
    let high = Rational::ONE - &low;
    let corners: Vec<[Rational; 3]> =
        (0..8_u32).map(|k| [0, 1, 2].map(|j| if k >> j & 1 == 0 { low.clone() } else { high.clone() })).collect();
    let least = corners.iter().filter_map(|p| hierarchy(2).mismatch(0, p)).min().ok_or("the box has no corner")?;
    let bound = || relations::rational(&least);
    let step = |p: &[Rational; 3]| {
        let silent = |p: &Rational| relations::difference(relations::integer(1), relations::rational(p));
        let none = Expr::Mul(vec![silent(&p[1]), silent(&p[2])]);
        let some = relations::difference(relations::integer(1), none.clone());
        let left =
            Expr::Add(vec![Expr::Mul(vec![relations::rational(&p[0]), none]), Expr::Mul(vec![silent(&p[0]), some])]);
        relations::step(left, Relation::GreaterEqual, bound())
    };
    let mut steps: Vec<_> = corners.iter().map(step).collect();
    steps.push(relations::step(bound(), Relation::Greater, relations::integer(0)));
    let text = format!(
        "Independent parent and two children with firing probabilities anywhere in [{low}, {high}]: Def. 3.9 fails with probability \
         p_0(1 − p_1)(1 − p_2) + (1 − p_0)(1 − (1 − p_1)(1 − p_2)) ≥ {least}. It is affine in each p, so its value at the 8 \
         corners of the box decides."
    );
    let note =
        "At each corner of the box: the probability that Def. 3.9 fails is at least the bound, which is positive.";
    let certificate = relations::certificate(steps, note);
    Evidence::certified(text, "box-of-independent-laws", certificate).map_err(|refusal| refusal.to_string())
}

/// A law of (x_0, x_1, .., x_k) with Def. 3.9: children with any joint law, the parent determined by them.
fn hierarchical_law(rng: &mut ChaCha20Rng, k: usize) -> FiniteDistribution {
    let weights: Vec<u32> = (0..1_u32 << k).map(|_| rng.random_range(0..=3)).collect();
    let total: u32 = weights.iter().sum();
    if total == 0 {
        return hierarchical_law(rng, k);
    }
    let atoms = weights.iter().enumerate().filter(|(_, w)| **w > 0).map(|(active, &weight)| {
        let children: Vec<u32> =
            (0..k).map(|j| if active >> j & 1 == 1 { rng.random_range(1..=2) } else { 0 }).collect();
        let parent = if active > 0 { rng.random_range(1..=2) } else { 0 };
        let x = std::iter::once(parent).chain(children).map(Rational::from).collect();
        (x, Rational::from(weight) / Rational::from(total))
    });
    FiniteDistribution::new(atoms.collect()).expect("distinct sets are active, and the weights are normalised")
}

/// Pr(event).
fn probability(law: &FiniteDistribution, event: impl Fn(&[Rational]) -> bool) -> Rational {
    law.atoms().iter().filter(|(x, _)| event(x)).fold(Rational::ZERO, |sum, (_, q)| sum + q)
}

fn parent_fires(x: &[Rational]) -> bool {
    !x[0].is_zero()
}

fn no_child_fires(x: &[Rational]) -> bool {
    x[1..].iter().all(Rational::is_zero)
}

/// The smallest hierarchical law found in which Pr(parent) Pr(no child) ≠ Pr(parent, no child).
fn dependence(rng: &mut ChaCha20Rng) -> Result<Evidence, String> {
    let parts = |law: &FiniteDistribution| {
        let both = probability(law, |x| parent_fires(x) && no_child_fires(x));
        (probability(law, parent_fires), probability(law, no_child_fires), both)
    };
    let dependent = |law: &FiniteDistribution| {
        let (parent, none, both) = parts(law);
        &parent * &none != both
    };
    let size = |law: &FiniteDistribution| law.atoms().iter().map(|(_, q)| rational::bits(q)).sum::<usize>();
    let law = (0..LAWS).map(|_| hierarchical_law(rng, 2)).filter(dependent).min_by_key(size);
    let law = law.ok_or("no hierarchical law with dependent features among the proposals")?;
    let (parent, none, both) = parts(&law);
    let product = Expr::Mul(vec![relations::rational(&parent), relations::rational(&none)]);
    let steps = vec![
        relations::step(product, Relation::Greater, relations::rational(&both)),
        relations::step(relations::rational(&both), Relation::Equal, relations::integer(0)),
    ];
    let text = format!(
        "A law with Def. 3.9: Pr(parent) = {parent} and Pr(no child) = {none}, but Pr(parent, no child) = {both}: the features \
         depend on each other."
    );
    let certificate = relations::certificate(steps, "Pr(parent) Pr(no child) > Pr(parent, no child) = 0.");
    Evidence::certified(text, "dependent", certificate).map_err(|refusal| refusal.to_string())
}

/// n unit features in ℝ^{n_p} with r = p; the masses are placeholders, as the law brings its own.
fn features(rng: &mut ChaCha20Rng, n: usize, n_p: usize) -> Vec<Feature> {
    let mut all: Vec<Feature> = Vec::new();
    while all.len() < n {
        let direction: Vec<f64> = (0..n_p).map(|_| StandardNormal.sample(rng)).collect();
        let p = rational_unit(&direction, 1);
        if all.iter().all(|f| f.w_p != p) {
            all.push(Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE });
        }
    }
    all
}

fn relu(features: Vec<Feature>) -> Problem {
    Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are 1")
}

fn random_point(rng: &mut ChaCha20Rng, latents: usize, n_p: usize) -> Point {
    let mut rows = || {
        (0..latents)
            .map(|_| (0..n_p).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect())
            .collect::<Vec<Vec<Rational>>>()
    };
    Point { w_e: rows(), w_d: rows() }
}

/// A dictionary with L̃ = 0 < L under a hierarchical law: no feature fires alone. The search starts at the dead dictionary's size.
fn no_mass(rng: &mut ChaCha20Rng) -> Result<Evidence, String> {
    for _ in 0..LAWS {
        let law = hierarchical_law(rng, 2);
        let problem = relu(features(rng, 3, 2));
        let zero = || vec![vec![Rational::ZERO; 2]];
        let point = Point { w_e: zero(), w_d: zero() };
        let losses = law.losses(&problem, &point).map_err(|why| why.to_string())?;
        if !losses.approximate.is_zero() || losses.loss.is_zero() {
            continue;
        }
        let distribution: Vec<_> =
            law.atoms().iter().map(|(x, q)| json!({"x": numbers(x), "probability": number(q)})).collect();
        let body = json!({
            "point": point_json(&point),
            "distribution": distribution,
            "loss": number(&losses.loss),
            "approximate": number(&losses.approximate),
        });
        let directions = landscape::describe(&problem);
        let text = format!(
            "{directions} (the masses are those of the law), parent 1 over children 2 and 3 under a law with Def. 3.9: the dead \
             dictionary W = V = 0 has L̃ = {} and L = {}.",
            losses.approximate, losses.loss
        );
        return Evidence::certified(text, "no-mass", certificate(&problem, "exact-loss", body))
            .map_err(|refusal| refusal.to_string());
    }
    Err("no hierarchical law with L̃ = 0 < L among the proposals".into())
}

fn correction(context: &Context) -> Correction {
    Correction {
        statement: "In every hierarchy Pr(parent) Pr(no child) − Pr(parent, no child) = Pr(parent)(1 − Pr(parent)), which is 0 only \
                    for a parent that is constant. Children may be independent if the parent is determined by them, \
                    Pr(parent) = 1 − Π (1 − p_c); but then no feature of the hierarchy fires alone, M_d = 0 for all of them, and \
                    L̃ does not see the hierarchy. Asm. 2.4 can hold if the parent is no entry of x but the name of the set F_i, \
                    as in the patterns of Thm 3.10; then M_c = p_c E[y_c²] Π_{e≠c}(1 − p_e)."
            .into(),
        latex: r"\Pr(x_p>0)\Pr(\forall i:x_{c_i}=0)-\Pr(x_p>0,\,\forall i:x_{c_i}=0)=\Pr(x_p>0)\bigl(1-\Pr(x_p>0)\bigr)".into(),
        checks: vec![covariance_check(context), mismatch_check(context), mass_check(context), children_check(context)],
    }
}

/// The identity of the correction on random hierarchical laws.
fn covariance_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "hierarchy covariance");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let k = rng.random_range(2..=4);
        let law = hierarchical_law(&mut rng, k);
        let parent = probability(&law, parent_fires);
        let both = probability(&law, |x| parent_fires(x) && no_child_fires(x));
        let difference = &parent * probability(&law, no_child_fires) - &both;
        let constant = parent.is_zero() || parent == Rational::ONE;
        let agrees = both.is_zero()
            && difference == &parent * (Rational::ONE - &parent)
            && (difference > Rational::ZERO) != constant;
        failures += usize::from(!agrees);
    }
    Check {
        what: "random laws with Def. 3.9: the dependence is Pr(parent)(1 − Pr(parent))".into(),
        trials: TRIALS,
        failures,
    }
}

/// Independent laws: the probability that Def. 3.9 fails, summed over all active sets, is the closed form, and 0 only if parent and
/// children are constant.
fn mismatch_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "hierarchy mismatch");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let p = propose(&mut rng);
        let summed = (0..1_usize << p.len()).filter(|active| (active & 1 == 1) != (active >> 1 != 0)).fold(
            Rational::ZERO,
            |sum, active| {
                let factor =
                    |(d, p): (usize, &Rational)| if active >> d & 1 == 1 { p.clone() } else { Rational::ONE - p };
                sum + p.iter().enumerate().map(factor).fold(Rational::ONE, |product, q| product * q)
            },
        );
        let never = p.iter().all(Rational::is_zero);
        let always = p[0] == Rational::ONE && p[1..].contains(&Rational::ONE);
        let agrees =
            hierarchy(p.len() - 1).mismatch(0, &p).as_ref() == Some(&summed) && summed.is_zero() == (never || always);
        failures += usize::from(!agrees);
    }
    let what = "random independent laws: Def. 3.9 holds almost surely iff nothing ever fires, or the parent and a child always do";
    Check { what: what.into(), trials: TRIALS, failures }
}

/// Hierarchical laws next to one feature outside: L̃ of any point is the term of that feature alone.
fn mass_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "hierarchy masses");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let law = hierarchical_law(&mut rng, 2);
        // The outside feature fires with magnitude 1, independently.
        let q = Rational::from(rng.random_range(1..GRAIN)) / Rational::from(GRAIN);
        let atoms = law.atoms().iter().flat_map(|(x, probability)| {
            [(Rational::ZERO, Rational::ONE - &q), (Rational::ONE, q.clone())]
                .map(|(y, share)| ([&x[..], &[y]].concat(), probability * share))
        });
        let joint = FiniteDistribution::new(atoms.collect()).expect("a product of laws");
        let problem = relu(features(&mut rng, 4, 2));
        let point = random_point(&mut rng, 2, 2);
        // only the outside feature is active: the hierarchy is silent
        let mass = &q * probability(&law, |x| x.iter().all(Rational::is_zero));
        let alone = Problem::new(
            vec![Feature { mass: Rational::ONE, ..problem.features()[3].clone() }],
            problem.activation().clone(),
        )
        .expect("one feature with mass 1");
        let expected = mass * point.loss(&alone);
        let agrees = joint.losses(&problem, &point).is_ok_and(|losses| losses.approximate == expected);
        failures += usize::from(!agrees);
    }
    let what =
        "random laws with Def. 3.9 beside an independent feature, random points: L̃ is the term of that feature alone";
    Check { what: what.into(), trials: TRIALS, failures }
}

/// Independent children without a parent in x: L̃ has the masses of the correction.
fn children_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "hierarchy children");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let k = rng.random_range(2..=3_usize);
        let p: Vec<Rational> =
            (0..k).map(|_| Rational::from(rng.random_range(1..GRAIN)) / Rational::from(GRAIN)).collect();
        let y: Vec<Rational> = (0..k).map(|_| Rational::from(rng.random_range(1..=3_u32))).collect();
        let atoms = (0..1_usize << k).map(|active| {
            let on = |d: usize| active >> d & 1 == 1;
            let x = (0..k).map(|d| if on(d) { y[d].clone() } else { Rational::ZERO }).collect();
            let factor = |d: usize| if on(d) { p[d].clone() } else { Rational::ONE - &p[d] };
            (x, (0..k).map(factor).fold(Rational::ONE, |product, q| product * q))
        });
        let law = FiniteDistribution::new(atoms.collect()).expect("a product of laws");
        let mut children = features(&mut rng, k, 2);
        let point = random_point(&mut rng, 2, 2);
        let approximate = law.losses(&relu(children.clone()), &point).map(|losses| losses.approximate);
        for c in 0..k {
            let others = (0..k).filter(|e| *e != c).fold(Rational::ONE, |product, e| product * (Rational::ONE - &p[e]));
            children[c].mass = &p[c] * &y[c] * &y[c] * others;
        }
        let positive = children.iter().all(|f| dot(&f.w_r, &f.w_r) * &f.mass > Rational::ZERO);
        failures += usize::from(!(positive && approximate == Ok(point.loss(&relu(children)))));
    }
    let what = "random independent children without a parent in x: L̃ has the masses M_c of the formula, all positive";
    Check { what: what.into(), trials: TRIALS, failures }
}

/// Among the inputs on which the parent or a child fires: the share on which they disagree, for independent features, children with
/// firing probability p and a parent as frequent as "some child", 2q/(1 + q) with q = (1 − p)^k.
fn disagreement(p: f64, k: i32) -> f64 {
    let q = (1.0 - p).powi(k);
    2.0 * q / (1.0 + q)
}

fn figure() -> Figure {
    const POINTS: usize = 61;
    let mut panel = Panel::new(
        "",
        Axis::log("firing probability 1 − S of a child").range(1e-3, 0.5),
        Axis::linear("share that breaks Def. 3.9").range(0.0, 1.05),
    );
    for k in [2, 4, 8] {
        let place = |j: usize| 1e-3 * 500f64.powf(j as f64 / (POINTS - 1) as f64);
        let points = (0..POINTS).map(|j| (place(j), disagreement(place(j), k))).collect();
        panel = panel.layer(Layer::Line { label: format!("{k} children"), points });
    }
    Figure::new("hierarchy-mismatch", CLAIM.id, Width::Column)
        .title("Independent features are no hierarchy")
        .caption(
            "Independent features, the parent as frequent as the event that some child fires: share of the inputs on which the parent \
             or a child fires, but not as Def. 3.9 says. The sparser the features, the fewer inputs obey the definition: \
             2q/(1 + q) → 1 with q = S^k.",
        )
        .panel(panel)
}
