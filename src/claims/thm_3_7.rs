//! Theorem 3.7: every realizable polysemantic partition carries a partial minimum with positive loss.
//!
//! Refuted: the proof's step from eq. 85 to eq. 86 replaces the vector p_d by the number ⟨w, p_d⟩. What is true is a
//! criterion by the eigenvectors of D^½ G D^½.

use super::refuting::{self, PROPOSALS, refutes};
use super::search::{Proposals, shrink};
use super::sources::GORSKI_2007;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational;
use crate::stats::{Cell, Kind, Table};
use crate::theory::partial_optimum::{Class, decide};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::region;
use faer::{Mat, Side};
use rand::RngExt;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.7",
    place: "Theorem 3.7, proof in App. I.5",
    title: "Every realizable polysemantic partition has a partial minimum",
    statement: "For n ≥ 2 and n_q ≥ n, every activation pattern that is realizable, polysemantic and a partition of the features has a partial minimum of L̃ with that pattern and positive loss.",
    latex: r"\forall\,\mathcal P=(F_1,\dots,F_{n_q})\ \text{realizable, polysemantic, a partition of } [n]:\ \exists\ \text{a partial minimum } (W_D^*,W_E^*) \text{ of } \tilde{\mathcal L}_{\mathrm{SDL}} \text{ exhibiting } \mathcal P \text{ with } \tilde{\mathcal L}_{\mathrm{SDL}}(W_D^*,W_E^*)>0",
    assumes: "Unit features (Asm. 2.4), n ≥ 2, n_q ≥ n; the pattern is realizable, polysemantic and a partition.",
    sources: &[GORSKI_2007],
    run,
    on_instance: Some(on_instance),
};

/// Instances per check of the corrected statement.
const TRIALS: usize = 300;
/// Features above which the partitions of a user's instance are too many (Bell(8) = 4140).
pub(super) const MAX_FEATURES: usize = 7;

fn run(context: &Context) -> Outcome {
    let Some(found) = refuting::first(context.seed, 4) else {
        return Outcome::undecided(format!("no counterexample among {PROPOSALS} proposals"));
    };
    let smallest = shrink(found, refutes);
    let (problem, pattern) = (&smallest.problem, &smallest.pattern);
    let mut evidence = Vec::new();
    let describe = landscape::describe(problem);
    let realizability = region::decide(problem, pattern).expect("the pattern belongs to the problem");
    let text = format!("{describe}: the pattern {pattern} is realizable.");
    match Evidence::certified(text, "realizable", realizability.certificate(problem, pattern)) {
        Ok(item) => evidence.push(item),
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    }
    let decision = decide(problem, pattern).expect("the threshold was checked by the search");
    let certificate = decision.certificate.expect("an answer `false` carries a certificate");
    let text = format!("{describe}: no point of the cell of {pattern} is a partial optimum.");
    match Evidence::certified(text, "no-partial-optimum", certificate) {
        Ok(item) => evidence.push(item),
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    }
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(correction(context));
    outcome.figures.extend(landscape::counterexample(&smallest, CLAIM.id));
    outcome
}

fn correction(context: &Context) -> Correction {
    Correction {
        statement: "Split the pattern by neuron. With independent p_d a block F has a partial optimum in the cell iff \
                    D^½ G D^½, with G = R_FᵀR_F and D = diag(M_d), has an eigenvector with positive entries only; its loss \
                    is Σ_F M_d‖r_d‖² − μ, and it is a local minimum in the cell iff μ is the largest eigenvalue. For two \
                    features: iff ⟨r_1,r_2⟩ ≠ 0 or M_1‖r_1‖² = M_2‖r_2‖²."
            .into(),
        latex: r"\exists\, b>0:\ D_F^{1/2}R_F^\top R_F D_F^{1/2}\,b=\mu b,\qquad \tilde{\mathcal L}_F=\sum_{d\in F}M_d\|r_d\|^2-\mu".into(),
        checks: vec![eigenvector_check(context), pair_check(context)],
    }
}

/// One block of random features: the exact decision against an f64 eigen-decomposition, away from degeneracy.
fn eigenvector_check(context: &Context) -> Check {
    // An entry of a unit eigenvector nearer to 0 than this is too close to call in f64 (rounding is about 1e-15 over gaps).
    const MARGIN: f64 = 1e-6;
    let (mut trials, mut failures) = (0, 0);
    for instance in Proposals::new(context.seed, "thm-3.7 criterion", 4).take(TRIALS) {
        let features = instance.problem.features();
        let n = features.len();
        let whole = Pattern::new(vec![(0..n).collect()], n).expect("indices are in range");
        let root: Vec<f64> = features.iter().map(|f| rational::to_f64(&f.mass).sqrt()).collect();
        let S =
            Mat::from_fn(n, n, |d, e| root[d] * root[e] * rational::to_f64(&dot(&features[d].w_r, &features[e].w_r)));
        let Ok(eigen) = S.self_adjoint_eigen(Side::Lower) else { continue };
        let U = eigen.U();
        if (0..n).any(|k| (0..n).any(|d| U[(d, k)].abs() < MARGIN)) {
            continue;
        }
        let positive = |k: &usize| (1..n).all(|d| U[(d, *k)] * U[(0, *k)] > 0.0);
        let expected = (0..n).find(positive);
        trials += 1;
        let agrees = match decide(&instance.problem, &whole) {
            Ok(decision) => match (expected, decision.optima.as_slice()) {
                (None, []) => decision.exists == Some(false),
                // eigenvalues ascend, so the last one is λ_max
                (Some(k), [optimum]) => (optimum.class == Class::LocalMin) == (k + 1 == n),
                _ => false,
            },
            Err(_) => false,
        };
        failures += usize::from(!agrees);
    }
    Check { what: "existence and class of one block of 4 against an f64 eigen-decomposition".into(), trials, failures }
}

/// Two features with small rational overlaps and masses, so that equalities occur.
fn pair_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.7 pairs");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let mut vector = || (0..2).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect::<Vec<_>>();
        let (r1, r2) = (vector(), vector());
        let mut mass = || Rational::from(rng.random_range(1..=4_i32));
        let axis = |k: usize| (0..2).map(|j| Rational::from(u8::from(j == k))).collect::<Vec<_>>();
        let features = vec![
            Feature { w_p: axis(0), w_r: r1.clone(), mass: mass() },
            Feature { w_p: axis(1), w_r: r2.clone(), mass: mass() },
        ];
        let weight = |f: &Feature| &f.mass * dot(&f.w_r, &f.w_r);
        let overlap = rational::sign(&dot(&r1, &r2));
        let equal = weight(&features[0]) == weight(&features[1]);
        let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
        let pattern = Pattern::new(vec![vec![0, 1]], 2).expect("indices are in range");
        let agrees = decide(&problem, &pattern).is_ok_and(|decision| {
            let local = decision.optima.iter().any(|o| o.class == Class::LocalMin);
            decision.exists == Some(overlap != 0 || equal) && local == (overlap > 0 || overlap == 0 && equal)
        });
        failures += usize::from(!agrees);
    }
    Check { what: "two features: the law in ⟨r_1,r_2⟩ and M‖r‖²".into(), trials: TRIALS, failures }
}

/// Every polysemantic partition of a user's problem over n_q = n neurons.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if problem.n() > MAX_FEATURES {
        return Err(format!(
            "features: thm-3.7 is decided for at most {MAX_FEATURES} features, found {}; use `sdlab partial-optima` for one pattern",
            problem.n()
        ));
    }
    if problem.threshold().is_none() {
        return Err("activation.kind: thm-3.7 is decided for `threshold` only, found a top-k activation".into());
    }
    let n = problem.n();
    let columns = [
        ("pattern", Kind::Exact),
        ("realizable", Kind::Text),
        ("partial optimum", Kind::Text),
        ("class of the best", Kind::Text),
        ("loss", Kind::Number),
    ];
    let mut table = Table::new("partitions", CLAIM.id, columns).title("Polysemantic partitions of the instance");
    let mut evidence = Vec::new();
    let (mut without, mut undecided, mut realizable) = (0, 0, 0);
    for (index, pattern) in partitions(n).into_iter().filter(Pattern::is_polysemantic).enumerate() {
        let decision = decide(problem, &pattern)?;
        let best = decision.optima.first();
        let answer = match decision.exists {
            Some(true) => "exists",
            Some(false) => "none",
            None => "undecided",
        };
        let text = |words: &str| Cell::Text { text: words.to_owned() };
        table.push([
            Cell::exact(&pattern),
            text(if decision.realizable { "yes" } else { "no" }),
            text(answer),
            best.map_or(Cell::Missing, |o| text(o.class.name())),
            best.map_or(Cell::Missing, |o| Cell::number(o.loss.to_f64(), 6)),
        ]);
        if !decision.realizable {
            continue;
        }
        realizable += 1;
        undecided += usize::from(decision.exists.is_none());
        if decision.exists == Some(false) {
            without += 1;
            if let Some(certificate) = decision.certificate {
                let text = format!("No partial optimum has the pattern {pattern}.");
                let item = Evidence::certified(text, &format!("no-partial-optimum-{index}"), certificate)
                    .map_err(|refusal| refusal.to_string())?;
                evidence.push(item);
            }
        }
    }
    evidence.push(Evidence::computed(format!(
        "{realizable} realizable polysemantic partitions: {without} without a partial optimum, {undecided} undecided."
    )));
    let verdict = if without > 0 {
        Verdict::Refuted
    } else if undecided > 0 {
        Verdict::Undecided(format!("{undecided} patterns are undecided"))
    } else {
        Verdict::Holds
    };
    let mut outcome = Outcome::new(verdict, evidence);
    outcome.tables.push(table);
    Ok(outcome)
}

/// All partitions of [n], each padded with dead neurons to n_q = n.
pub(super) fn partitions(n: usize) -> Vec<Pattern> {
    let mut all = Vec::new();
    let mut labels = vec![0; n];
    // restricted growth strings
    loop {
        let mut lists = vec![Vec::new(); n];
        for (d, &label) in labels.iter().enumerate() {
            lists[label].push(d);
        }
        all.push(Pattern::new(lists, n).expect("indices are in range"));
        let bound = |d: usize, labels: &[usize]| labels[..d].iter().max().map_or(0, |m| m + 1);
        let Some(d) = (1..n).rev().find(|&d| labels[d] < bound(d, &labels)) else { return all };
        labels[d] += 1;
        labels[d + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_counted_by_the_bell_numbers() {
        assert_eq!((1..=6).map(|n| partitions(n).len()).collect::<Vec<_>>(), [1, 2, 5, 15, 52, 203]);
    }
}
