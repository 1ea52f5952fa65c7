//! Theorem 3.10 under Top-1 with a ReLU: a realizable pattern stays realizable when one feature of a neuron gets a neuron of its own.
//!
//! Refuted: silence on other features can leave rows too little room. True where the pattern has an encoder without ties.

use super::search::Instance;
use super::sources::CHANIN_2025;
use super::splits::{Found, Search, Shape, WIDE, encoder, listed, polysemantic, search, shown, splits, unit_features};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape, splits};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::stats::Cell;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Problem};
use rand::RngExt;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.10-top1",
    place: "Theorem 3.10 (eq. 20), σ = Top-1∘ReLU",
    title: "Under Top-1 every polysemantic neuron can absorb",
    statement: "Under Top-1 with a ReLU: if a pattern is realizable, then for every neuron that fires on two features or more some split of it is realizable, in which one of these features fires a new neuron instead.",
    latex: r"\sigma=\operatorname{Top}_1\circ\operatorname{ReLU}:\quad (F_1,\dots,F_M)\ \text{realizable}\implies\forall\,i\ \exists\,j:\ (F_1,\dots,F_i\setminus\{d_{i,j}\},\{d_{i,j}\},\dots,F_M)\ \text{realizable}",
    assumes: "Unit features with M < 1 (Asm. 2.4); the largest pre-activation is kept if it is positive, ties to the lower index; |F_i| ≥ 2. Features may be silent, as a parent is in its own pattern.",
    sources: &[CHANIN_2025],
    run,
    on_instance: None,
};

/// Proposals per shape.
const PROPOSALS: usize = 1000;
/// Instances per check.
const TRIALS: usize = 150;
/// From the smallest shape up. One bit makes antipodal features and ties frequent.
const SHAPES: [Shape; 6] = [
    Shape { n: 2, n_p: 2, latents: 1, bits: 1 },
    Shape { n: 3, n_p: 2, latents: 1, bits: 1 },
    Shape { n: 3, n_p: 2, latents: 2, bits: 1 },
    Shape { n: 3, n_p: 3, latents: 1, bits: 1 },
    Shape { n: 4, n_p: 2, latents: 1, bits: 1 },
    Shape { n: 5, n_p: 2, latents: 1, bits: 1 },
];

/// The smallest counterexample found.
pub(super) fn counterexample(context: &Context) -> Option<Found> {
    search(
        context.seed,
        &Search {
            purpose: CLAIM.id,
            activation: Activation::TopKRelu(1),
            shapes: &SHAPES,
            most: 2,
            proposals: PROPOSALS,
            hypotheses: splits::hypotheses,
        },
    )
}

fn run(context: &Context) -> Outcome {
    let Some(found) = counterexample(context) else {
        return Outcome::undecided(format!("no neuron without a split in {} shapes", SHAPES.len()));
    };
    let Instance { problem, pattern } = &found.instance;
    let set = &pattern.sets()[found.neuron];
    let silent = (0..problem.n()).filter(|d| pattern.neurons_of(*d).is_empty());
    let text = format!(
        "{}, Top-1∘ReLU: the pattern {} is realizable, and no split of neuron {} on {} is, as every row must be silent on {}.",
        landscape::describe(problem),
        shown(pattern),
        found.neuron + 1,
        listed(set.iter().copied()),
        listed(silent)
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
    Outcome::new(Verdict::Refuted, evidence)
        .with_correction(Correction {
            statement: "True if the pattern has an encoder without ties and negative on all silent features, and no two features of F_i \
                        are equal: the new row is w_i + εq, where d spans an extreme ray of the cone of F_i and q separates it from \
                        the rest. Such an encoder exists in particular whenever every feature fires a neuron."
                .into(),
            latex: r"w_{\mathrm{new}}=w_i+\varepsilon q,\quad \langle q,w_p^d\rangle>0\ge\langle q,w_p^f\rangle\ (f\in F_i\setminus\{d\})".into(),
            checks: vec![covering_check(context), strict_check(context)],
        })
        .with_quantity("features", "features of the smallest counterexample found", Cell::from(problem.n()))
}

/// Random patterns in which every feature fires a neuron, ties included.
fn covering_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-top1 covering");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS {
        let shape = Shape {
            n: rng.random_range(2..=5),
            n_p: rng.random_range(2..=3),
            latents: 3,
            bits: rng.random_range(1..=3),
        };
        let instance = splits::propose(&mut rng, shape, WIDE, &Activation::TopKRelu(1));
        let covers = (0..shape.n).all(|d| !instance.pattern.neurons_of(d).is_empty());
        if !covers || !splits::distinct(&instance.problem) {
            continue;
        }
        for neuron in polysemantic(&instance.pattern) {
            trials += 1;
            failures += usize::from(!splits(&instance, neuron));
        }
    }
    Check {
        what: "random patterns in which every feature fires a neuron: every neuron can be split".into(),
        trials,
        failures,
    }
}

/// Random encoders without ties, negative on at least one silent feature.
fn strict_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.10-top1 strict");
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS {
        let shape = Shape {
            n: rng.random_range(3..=6),
            n_p: rng.random_range(2..=3),
            latents: 2,
            bits: rng.random_range(1..=3),
        };
        let problem = Problem::new(unit_features(&mut rng, shape), Activation::TopKRelu(1)).expect("masses are 1");
        let rows = encoder(&mut rng, shape, WIDE);
        let strict = problem.features().iter().all(|f| {
            let mut z: Vec<Rational> = rows.iter().map(|w| dot(w, &f.w_p)).collect();
            z.sort();
            let top = &z[z.len() - 1];
            !top.is_zero() && (*top < Rational::ZERO || z[z.len() - 2] < *top)
        });
        let pattern = Pattern::of_encoder(&problem, &rows);
        let silent = (0..shape.n).any(|d| pattern.neurons_of(d).is_empty());
        if !strict || !silent || !splits::distinct(&problem) {
            continue;
        }
        let instance = Instance { problem, pattern };
        for neuron in polysemantic(&instance.pattern) {
            trials += 1;
            failures += usize::from(!splits(&instance, neuron));
        }
    }
    let what = "random encoders without ties, negative on the silent features: every neuron can be split";
    Check { what: what.into(), trials, failures }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_counterexample_has_two_silent_features_in_the_plane() {
        for seed in 0..8 {
            let found = counterexample(&Context { seed }).unwrap();
            assert_eq!((found.instance.problem.n(), found.instance.problem.n_p()), (4, 2));
            assert_eq!(found.instance.pattern.sets()[found.neuron].len(), 2);
        }
    }
}
