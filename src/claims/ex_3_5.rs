//! Example 3.5: one neuron fires on both of two orthonormal features, the other is dead; a partial optimum with loss 1.
//!
//! Holds in its cell. It needs M_1 = M_2, it is not isolated, and under plain ReLU it is no local minimum, because the dead
//! neuron can leave the cell and lower the loss.

use super::ex_3_5_activations;
use super::sources::GORSKI_2007;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::theory::partial_optimum::{Class, classify};
use crate::theory::pattern::Pattern;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "ex-3.5",
    place: "Example 3.5, eqs. 17, 18",
    title: "A two-feature polysemantic point is a partial minimum",
    statement: "For two orthonormal features with M_1 = M_2 = 1, W_E = (1 1; 0 0) and W_D = (1/2 0; 1/2 0) are a partial optimum of the cell in which neuron 1 fires on both features, with loss 1 > 0.",
    latex: r"W_E^*=\begin{pmatrix}1&1\\0&0\end{pmatrix},\ W_D^*=\begin{pmatrix}1/2&0\\1/2&0\end{pmatrix}:\ \nabla_{W_D}\tilde{\mathcal L}=\nabla_{W_E}\tilde{\mathcal L}=0,\quad \tilde{\mathcal L}_{\mathrm{SDL}}=1>0",
    assumes: "n = n_p = n_q = n_r = 2, the features of eq. 17, M_1 = M_2 = 1, σ = Top-1∘ReLU.",
    sources: &[GORSKI_2007],
    run,
    on_instance: None,
};

const TRIALS: usize = 200;

/// Eq. 17 with the given masses. The cell of the example is that of ReLU; Top-1∘ReLU fires the same neurons near the point.
fn problem(masses: [Rational; 2]) -> Problem {
    problem_with(masses, Activation::Threshold(Rational::ZERO))
}

/// Eq. 17 with any activation.
pub(super) fn problem_with(masses: [Rational; 2], activation: Activation) -> Problem {
    let axis = |k: usize| (0..2).map(|j| Rational::from(u8::from(j == k))).collect::<Vec<_>>();
    let features =
        masses.into_iter().enumerate().map(|(d, mass)| Feature { w_p: axis(d), w_r: axis(d), mass }).collect();
    Problem::new(features, activation).expect("masses are positive")
}

/// Eq. 18.
pub(super) fn printed() -> Point {
    let half = || Rational::ONE / Rational::from(2);
    Point {
        w_e: vec![vec![Rational::ONE, Rational::ONE], vec![Rational::ZERO, Rational::ZERO]],
        w_d: vec![vec![half(), half()], vec![Rational::ZERO, Rational::ZERO]],
    }
}

fn run(context: &Context) -> Outcome {
    let example = problem([Rational::ONE, Rational::ONE]);
    let report = match classify(&example, &printed()) {
        Ok(report) => report,
        Err(why) => return Outcome::undecided(why),
    };
    let is_partial_optimum = report.class.is_some();
    let loss = report.first.loss.clone();
    let text = match report.class {
        Some(class) => {
            let strictness = if report.strict { "strict" } else { "not strict" };
            format!(
                "The printed point is a partial optimum of its cell ({}, {strictness}) with L̃ = {loss}.",
                class.name()
            )
        }
        None => "The printed point is no partial optimum of its cell.".to_owned(),
    };
    let mut evidence = Vec::new();
    match Evidence::certified(text, "printed-point", report.certificate) {
        Ok(item) => evidence.push(item),
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    }
    let activations = match ex_3_5_activations::rows(context) {
        Ok((rows, items)) => {
            evidence.extend(items);
            rows
        }
        Err(why) => return Outcome::undecided(why),
    };
    // The paper's activation is the first row.
    let under_sigma = activations.first().is_some_and(|row| row.partial_optimum);
    let verdict =
        if is_partial_optimum && under_sigma && loss > Rational::ZERO { Verdict::Holds } else { Verdict::Refuted };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "True as printed, and only for M_1 = M_2. The point is a non-strict local minimum in its cell: all rows with \
                    positive activations have loss 1. It is a local minimum of L̃ itself for Top-1∘ReLU (the paper's σ), Top-1 and \
                    thresholds 0 < c < 1; for plain ReLU it is not, as the dead row can leave the cell downhill."
            .into(),
        latex: r"w_E^2=t\,(1,-1),\ w_D^2=t\,(\tfrac12,-\tfrac12):\quad \tilde{\mathcal L}=\tfrac12+\tfrac12(1-t^2)^2<1\quad(0<t\le 1)".into(),
        checks: vec![masses_check(context)],
    });
    outcome.figures.push(landscape::example(&example, CLAIM.id));
    outcome.tables.push(ex_3_5_activations::table(&activations, CLAIM.id));
    outcome
}

/// With the printed encoder and the decoder of eq. 76 the point is a partial optimum iff M_1 = M_2.
fn masses_check(context: &Context) -> Check {
    let mut rng = stream(context.seed, "ex-3.5 masses");
    let mut failures = 0;
    for _ in 0..TRIALS {
        let masses = [0, 1].map(|_| Rational::from(rng.random_range(1..=3_i32)));
        let equal = masses[0] == masses[1];
        let example = problem(masses);
        let pattern = Pattern::of_encoder(&example, &printed().w_e);
        let point = crate::theory::partial_optimum::published::construct(&example, &pattern, &printed().w_e).point;
        let agrees = classify(&example, &point)
            .is_ok_and(|r| r.class == equal.then_some(Class::LocalMin) && !(equal && r.strict));
        failures += usize::from(!agrees);
    }
    Check {
        what: "random masses: a partial optimum (then a non-strict local minimum) iff M_1 = M_2".into(),
        trials: TRIALS,
        failures,
    }
}
