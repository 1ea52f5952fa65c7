//! Theorem 3.1: |L − L̃| ≤ O((1−S)²).
//!
//! Holds for a positively homogeneous σ (ReLU, Top-k, c = 0), fixed n, W_D, W_E and finite second moments, with the constant Σ_{d<e} ℓ_de:
//! with p = 1−S, L = Σ_A p^|A| (1−p)^(n−|A|) ℓ(A), and ℓ({d}) = E\[y²\]‖e_d‖² is what L̃ takes. For c > 0 that last step fails and the gap is of
//! first order ([`super::thm_3_1_threshold`]).

use super::exact_models::{Model, Shape};
use super::sources::HOEFFDING_1963;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, gap_slopes, landscape, thm_3_1_threshold};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::{self, to_f64};
use crate::stats::table::rounded;
use crate::stats::{Cell, Mean, Proportion};
use crate::theory::exact_loss::magnitudes::Magnitudes;
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use gap_slopes::{ActiveCounts, Ensemble, Response};
use rand::RngExt;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.1",
    place: "Theorem 3.1, eqs. 11, 12; proof in App. I.1",
    title: "The approximate loss is the loss up to O((1−S)²)",
    statement: "For independent features, |L − L̃| ≤ O((1−S)²) as S → 1.",
    latex: r"|\mathcal L_{\mathrm{SDL}}-\tilde{\mathcal L}_{\mathrm{SDL}}|\le O((1-S)^2),\qquad \tilde{\mathcal L}_{\mathrm{SDL}}=\sum_{d=1}^nM_d\|w_r^d-W_D\sigma(W_Ew_p^d)\|^2",
    assumes: "Unit features, independent non-negative x_d, each active with probability 1−S (Asms. 2.3 and 2.4).",
    sources: &[HOEFFDING_1963],
    run,
    on_instance: None,
};

/// Proposals of a concrete instance, and models of the exact checks.
const PROPOSALS: usize = 60;
const TRIALS: usize = 120;

/// The hypotheses with the one that is added: σ(sz) = sσ(z) for s > 0.
fn hypotheses(model: &Model) -> bool {
    let unit = |v: &[Rational]| dot(v, v) == Rational::ONE;
    model.problem.features().iter().all(|f| unit(&f.w_p) && unit(&f.w_r))
        && model.problem.threshold().is_none_or(|c| c.is_zero())
        && model.magnitudes.iter().all(|(y, q)| *y > Rational::ZERO && *q > Rational::ZERO)
        && model.moment(0) == Rational::ONE
}

/// Numbers p at which instances are certified.
fn probabilities() -> [Rational; 3] {
    [10, 100, 1000].map(|m| Rational::ONE / Rational::from(m))
}

fn run(context: &Context) -> Outcome {
    let exact = match exact_checks(context) {
        Ok(checks) => checks,
        Err(why) => return Outcome::undecided(why),
    };
    let mut evidence = Vec::new();
    for item in [generic(context), perfect(context)] {
        match item {
            Ok(items) => evidence.extend(items),
            Err(why) => return Outcome::undecided(why),
        }
    }
    let ensemble = Ensemble::new(context.seed);
    let slopes = ensemble.slopes();
    evidence.push(Evidence::computed(format!(
        "{} random models with exponential magnitudes, closed forms between 1−S = {} and {}: log–log slope {:.4} of the mean gap \
         for c = 0 and {:.4} for c = {}.",
        gap_slopes::MODELS,
        rounded(gap_slopes::FINEST, 1),
        rounded(gap_slopes::FINEST * 10.0, 1),
        slopes[0],
        slopes[1],
        gap_slopes::THRESHOLD
    )));
    let verdict = if thm_3_1_threshold::find(context.seed).is_some() {
        Verdict::HoldsWith(
            "σ is positively homogeneous (c = 0), n, W_D and W_E are fixed, and E[x_d²] is finite".to_owned(),
        )
    } else {
        Verdict::Holds
    };
    let mut checks = exact;
    checks.push(ensemble.constant_check());
    match sampled_check(context) {
        Ok(check) => checks.push(check),
        Err(why) => return Outcome::undecided(why),
    }
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "With p = 1−S and σ positively homogeneous, 0 ≤ L − L̃ = p² Σ_{d<e} ℓ_de + p³ (Σ_{d<e<f} ℓ_def − (n−2) Σ_{d<e} ℓ_de) + O(p⁴), \
                    where ℓ_A is the expected loss when exactly the features of A are active. If also |σ(z)_i| ≤ |z_i|, then for every p \
                    L − L̃ ≤ p² ((n−1) E[y²] Σ_d κ_d² + E[y]² Σ_{d≠e} κ_d κ_e) with κ_d = ‖r_d‖ + Σ_i |⟨w_i,p_d⟩| ‖v_i‖. The constant grows like n², \
                    so that the theorem says little unless n(1−S) is small."
            .into(),
        latex: r"0\le\mathcal L-\tilde{\mathcal L}=(1-S)^2\sum_{d<e}\ell_{de}+(1-S)^3(\sum_{d<e<f}\ell_{def}-(n-2)\sum_{d<e}\ell_{de})+O((1-S)^4)".into(),
        checks,
    });
    outcome.figures.push(ensemble.figure(context.seed));
    outcome.with_quantity("slope", "Log–log slope of L − L̃ for c = 0", Cell::number(slopes[0], 5)).with_quantity(
        "slope-threshold",
        "Log–log slope of L − L̃ for c > 0",
        Cell::number(slopes[1], 5),
    )
}

/// A random instance with three features, certified at several p.
fn generic(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, CLAIM.id);
    let shape = Shape { n: 3, neurons: 2, dimension: 2 };
    let proposals = (0..PROPOSALS).map(|_| Model::propose(&mut rng, shape, Activation::Threshold(Rational::ZERO)));
    // No two features are parallel.
    let distinct = |m: &Model| {
        let features = m.problem.features();
        let parallel = |d: usize, e: usize| dot(&features[d].w_p, &features[e].w_p).pow(2) == Rational::ONE;
        !(parallel(0, 1) || parallel(0, 2) || parallel(1, 2))
    };
    let positive = |m: &Model| hypotheses(m) && distinct(m) && m.approximate_sum() > Rational::ZERO;
    let model = proposals.filter(positive).min_by_key(Model::size).ok_or("no instance was proposed")?;
    let pairs = model.sum_over_active(2).map_err(|error| error.to_string())?;
    certified(&model, &pairs, "generic")
}

/// An autoencoder with L̃ = 0 for every p and L > 0: r = p, W_E = W_pᵀ, W_D = W_r (the configuration of Thm 3.3) with features that do not
/// excite each other's neurons.
fn perfect(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "thm-3.1 perfect");
    let shape = Shape { n: 2, neurons: 2, dimension: 2 };
    let proposals = (0..PROPOSALS).map(|_| {
        let model = Model::propose(&mut rng, shape, Activation::Threshold(Rational::ZERO));
        let features: Vec<Feature> =
            model.problem.features().iter().map(|f| Feature { w_r: f.w_p.clone(), ..f.clone() }).collect();
        let directions: Vec<Vec<Rational>> = features.iter().map(|f| f.w_p.clone()).collect();
        let point = Point { w_e: directions.clone(), w_d: directions };
        let problem = Problem::new(features, model.problem.activation().clone()).expect("masses are 1");
        Model { problem, point, magnitudes: vec![(Rational::ONE, Rational::ONE)] }
    });
    let gap = |m: &Model| m.sum_over_active(2).unwrap_or(Rational::ZERO);
    let fits = |m: &Model| hypotheses(m) && m.approximate_sum().is_zero() && gap(m) > Rational::ZERO;
    let model = proposals.filter(fits).min_by_key(Model::size).ok_or("no instance with L̃ = 0 < L was found")?;
    certified(&model, &gap(&model), "zero-approximate-loss")
}

fn certified(model: &Model, pairs: &Rational, name: &str) -> Result<Vec<Evidence>, String> {
    let describe = format!("{}, {}", landscape::describe(&model.problem), model.describe());
    let item = |p: &Rational| {
        let losses = model.losses(p).map_err(|error| error.to_string())?;
        let ratio = (&losses.loss - &losses.approximate) / (p * p);
        let text = format!(
            "{describe}. At 1−S = {p}: L = {}, L̃ = {}, (L − L̃)/(1−S)² = {:.6}, Σ ℓ_de = {pairs} = {:.6}.",
            losses.loss,
            losses.approximate,
            to_f64(&ratio),
            to_f64(pairs)
        );
        model.certified(p, text, &format!("{name}-at-{}", p.to_string().replace('/', "-")))
    };
    probabilities().iter().map(item).collect()
}

/// Random models with ReLU and with Top-k: the coefficients of the gap against sums over the active sets, its sign, and its bound.
fn exact_checks(context: &Context) -> Result<Vec<Check>, String> {
    let mut rng = stream(context.seed, "thm-3.1 exact");
    let [mut coefficients, mut signs, mut bounds] = [0; 3];
    let points: Vec<Rational> = (0..=8).map(|k| Rational::from(k) / Rational::from(8)).collect();
    for trial in 0..TRIALS {
        let activation = match trial % 4 {
            0 | 1 => Activation::Threshold(Rational::ZERO),
            2 => Activation::TopK(1),
            _ => Activation::TopKRelu(rng.random_range(1..=2)),
        };
        let shape = Shape { n: rng.random_range(2..=3), neurons: rng.random_range(2..=3), dimension: 2 };
        let model = Model::propose(&mut rng, shape, activation);
        if !hypotheses(&model) {
            return Err("a proposal breaks the hypotheses".to_owned());
        }
        let sum = |size| model.sum_over_active(size).map_err(|error| error.to_string());
        let gap = model.gap().map_err(|error| error.to_string())?;
        let (pairs, triples) = (sum(2)?, if shape.n > 2 { sum(3)? } else { Rational::ZERO });
        let third = triples - Rational::from(shape.n - 2) * &pairs;
        let expected = [Rational::ZERO, Rational::ZERO, pairs, third];
        coefficients += usize::from(gap.iter().zip(&expected).any(|(a, b)| a != b));
        let value = |p: &Rational| gap.iter().rev().fold(Rational::ZERO, |sum, a| sum * p + a);
        signs += usize::from(points.iter().any(|p| rational::sign(&value(p)) < 0));
        // The bound is in f64; its rounding is far below the relative 1e-9.
        let constant = bound(&model) * (1.0 + 1e-9);
        bounds += usize::from(points.iter().any(|p| to_f64(&value(p)) > constant * to_f64(p).powi(2)));
    }
    let check = |what: &str, failures| Check { what: what.into(), trials: TRIALS, failures };
    Ok(vec![
        check("random models with ReLU and Top-k: the coefficients of p, p² and p³ in L − L̃, exactly", coefficients),
        check("L ≥ L̃ at nine p in [0, 1], exactly", signs),
        check("the bound by κ at nine p in [0, 1]", bounds),
    ])
}

/// (n−1) E[y²] Σ_d κ_d² + E[y]² Σ_{d≠e} κ_d κ_e.
fn bound(model: &Model) -> f64 {
    let norm = |v: &[Rational]| to_f64(&dot(v, v)).sqrt();
    let kappa: Vec<f64> = model
        .problem
        .features()
        .iter()
        .map(|f| {
            let rows = model.point.w_e.iter().zip(&model.point.w_d);
            norm(&f.w_r) + rows.map(|(w, v)| to_f64(&dot(w, &f.w_p)).abs() * norm(v)).sum::<f64>()
        })
        .collect();
    let (sum, squares) = (kappa.iter().sum::<f64>(), kappa.iter().map(|k| k * k).sum::<f64>());
    let (first, second) = (to_f64(&model.moment(1)), to_f64(&model.moment(2)));
    (kappa.len() - 1) as f64 * second * squares + first * first * (sum * sum - squares)
}

/// The mean loss of drawn inputs with two or more active features against the exact law. The mistake to notice is to add up the losses of
/// single features, as if features did not meet in a neuron.
fn sampled_check(context: &Context) -> Result<Check, String> {
    let mut rng = stream(context.seed, "thm-3.1 draws");
    let p = 0.05;
    let shape = Shape { n: 4, neurons: 3, dimension: 2 };
    let mut best: Option<(f64, Model, Mean)> = None;
    for _ in 0..12 {
        let model = Model::propose(&mut rng, shape, Activation::Threshold(Rational::ZERO));
        let test = conditional_law(&model, p)?;
        let contrast = (test.wrong - test.law).abs() / test.range.1;
        if best.as_ref().is_none_or(|(most, ..)| contrast > *most) {
            best = Some((contrast, model, test));
        }
    }
    let (contrast, model, test) = best.ok_or("no model was proposed")?;
    // Hoeffding: the tolerance, and the spare that power .99 needs, must fit between the two laws.
    let roots = (2.0 / Proportion::FALSE_ALARM).ln().sqrt() + (1.0 / (1.0 - Proportion::POWER)).ln().sqrt();
    let trials = (roots.powi(2) / (2.0 * contrast * contrast)).ceil().max(50_000.0) as u64 + 1;
    let response = Response::of_model(&model)?;
    let law: Vec<(f64, f64)> = model.magnitudes.iter().map(|(y, q)| (to_f64(y), to_f64(q))).collect();
    let magnitudes = Magnitudes::Finite(law);
    let counts = ActiveCounts::new(shape.n, p, 2);
    let total: f64 = (0..trials).map(|_| response.loss(&counts.draw(&magnitudes, &mut rng))).sum();
    let test = Mean { trials, mean: total / trials as f64, ..test };
    Ok(Check::mean("drawn inputs with at least two of four features active, 1−S = 1/20: mean loss", &test))
}

/// The mean loss given two or more active features, its range, and the wrong law; no draws yet.
fn conditional_law(model: &Model, p: f64) -> Result<Mean, String> {
    let n = model.problem.n();
    let sum = |size| model.sum_over_active(size).map(|s| to_f64(&s)).map_err(|error| error.to_string());
    let single = sum(1)?;
    let (mut law, mut wrong, mut probability) = (0.0, 0.0, 0.0);
    let mut binomial = n as f64;
    for size in 2..=n {
        // C(n, size); a feature is in C(n−1, size−1) = size/n of the sets
        binomial *= (n + 1 - size) as f64 / size as f64;
        let weight = p.powi(size as i32) * (1.0 - p).powi((n - size) as i32);
        law += weight * sum(size)?;
        wrong += weight * binomial * size as f64 / n as f64 * single;
        probability += weight * binomial;
    }
    let response = Response::of_model(model)?;
    let values: Vec<f64> = std::iter::once(0.0).chain(model.magnitudes.iter().map(|(y, _)| to_f64(y))).collect();
    let combinations = values.len().pow(n as u32);
    let input =
        |code: usize| (0..n).map(|d| values[code / values.len().pow(d as u32) % values.len()]).collect::<Vec<_>>();
    let most = (0..combinations).map(|code| response.loss(&input(code))).fold(0.0, f64::max);
    // The range must hold every draw in spite of rounding.
    let range = (0.0, most * (1.0 + 1e-9));
    Ok(Mean { trials: 0, mean: f64::NAN, range, law: law / probability, wrong: wrong / probability })
}
