//! The published construction (eq. 76): with the decoder optimal for a given encoder, eq. 88 says ∇_{W_E} L̃ = 0.
//!
//! Refuted: only the radial part ⟨w, ∇_w⟩ vanishes (Euler), as ⟨w, ∇_w⟩ = ⟨v, ∇_v⟩ in a cell.

use super::search::{Instance, Proposals, shrink};
use super::sources::GORSKI_2007;
use super::thm_3_7::{MAX_FEATURES, partitions};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::exact::Rational;
use crate::theory::partial_optimum::published::{Construction, construct};
use crate::theory::partial_optimum::{classify, first_order};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::Problem;
use crate::theory::region::{self, Realizability};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.7-construction",
    place: "App. I.5, eqs. 76–88 (proof of Theorem 3.7)",
    title: "The decoder of eq. 76 makes both gradients vanish",
    statement: "For every encoder that realizes a partition pattern, the decoder of eq. 76 makes both gradients vanish, so that the pair is a partial optimum.",
    latex: r"W_D^{*,i}=\frac{\sum_{d\in F_i}M_d(z_d)_i\,w_r^d}{\sum_{d\in F_i}M_d(z_d)_i^2}\ \Longrightarrow\ \nabla_{w_E^i}\tilde{\mathcal L}_{\mathrm{SDL}}(W_D^*,W_E^*)=0",
    assumes: "A realizable partition pattern and any encoder that realizes it.",
    sources: &[GORSKI_2007],
    run,
    on_instance: Some(on_instance),
};

const PROPOSALS: usize = 200;
const TRIALS: usize = 200;

/// The construction from the witness of realizability, if the pattern has one.
fn constructed(instance: &Instance) -> Option<Construction> {
    match region::decide(&instance.problem, &instance.pattern) {
        Ok(Realizability::Realizable { w_e }) => Some(construct(&instance.problem, &instance.pattern, &w_e)),
        _ => None,
    }
}

fn refutes(instance: &Instance) -> bool {
    instance.pattern.is_disjoint()
        && constructed(instance).is_some_and(|c| {
            !c.is_stationary() && classify(&instance.problem, &c.point).is_ok_and(|report| report.class.is_none())
        })
}

fn run(context: &Context) -> Outcome {
    let Some(found) = Proposals::new(context.seed, CLAIM.id, 3).take(PROPOSALS).find(refutes) else {
        return Outcome::undecided(format!("no counterexample among {PROPOSALS} proposals"));
    };
    let smallest = shrink(found, refutes);
    let problem = &smallest.problem;
    let construction = constructed(&smallest).expect("the search kept a realizable pattern");
    let report = classify(problem, &construction.point).expect("the search kept a threshold problem");
    let gradient: Vec<String> = construction
        .gradient_w
        .iter()
        .map(|row| format!("({})", row.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")))
        .collect();
    let text = format!(
        "{}, pattern {}: the printed point has ∇_w L̃ = {}; moving an encoder row inside the cell lowers L̃.",
        landscape::describe(problem),
        smallest.pattern,
        gradient.join("; ")
    );
    let evidence = match Evidence::certified(text, "not-partial-optimum", report.certificate) {
        Ok(item) => vec![item],
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    Outcome::new(Verdict::Refuted, evidence).with_correction(Correction {
        statement: "With the decoder of eq. 76 ∇_V vanishes, and of ∇_W the radial part ⟨w_i, ∇_{w_i}⟩ only: \
                    ∇_{w_i} = −2 Σ_{d∈F_i} M_d ⟨v_i, r_d − a_d v_i⟩ p_d. Step (85)→(86) replaces the vector p_d by the \
                    number ⟨w_i, p_d⟩."
            .into(),
        latex: r"\nabla_{w_E^i}\tilde{\mathcal L}=-2\sum_{d\in F_i}M_d\langle v_i,\,w_r^d-a_dv_i\rangle\,w_p^d,\qquad \langle w_E^i,\nabla_{w_E^i}\tilde{\mathcal L}\rangle=0".into(),
        checks: vec![euler_check(context)],
    })
}

/// Exactly: ∇_V = 0 and ⟨w_i, ∇_{w_i}⟩ = 0 at the printed point of random instances.
fn euler_check(context: &Context) -> Check {
    let (mut trials, mut failures) = (0, 0);
    for instance in Proposals::new(context.seed, "thm-3.7 radial part", 3).take(TRIALS) {
        let Some(construction) = constructed(&instance) else { continue };
        trials += 1;
        let first = first_order(&instance.problem, &construction.point);
        let v_vanishes = first.gradient_v.iter().flatten().all(Rational::is_zero);
        let radial_vanishes =
            construction.point.w_e.iter().zip(&construction.gradient_w).all(|(w, g)| dot(w, g).is_zero());
        failures += usize::from(!(v_vanishes && radial_vanishes));
    }
    Check { what: "exact gradients at the printed point of random instances".into(), trials, failures }
}

/// The printed point of every polysemantic partition of a user's problem, at the encoder that shows it realizable.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if problem.n() > MAX_FEATURES {
        let found = problem.n();
        return Err(format!("features: {} is decided for at most {MAX_FEATURES} features, found {found}", CLAIM.id));
    }
    if problem.threshold().is_none() {
        return Err(format!("activation.kind: {} is decided for `threshold` only, found a top-k activation", CLAIM.id));
    }
    let mut evidence = Vec::new();
    let (mut printed, mut moving) = (0, 0);
    for pattern in partitions(problem.n()).into_iter().filter(Pattern::is_polysemantic) {
        let instance = Instance { problem: problem.clone(), pattern };
        let Some(construction) = constructed(&instance) else { continue };
        printed += 1;
        let report = classify(problem, &construction.point)?;
        if report.class.is_none() {
            moving += 1;
            let text = format!("The printed point of {} is no partial optimum of its cell.", instance.pattern);
            let item = Evidence::certified(text, &format!("not-partial-optimum-{moving}"), report.certificate);
            evidence.push(item.map_err(|refusal| refusal.to_string())?);
        }
    }
    evidence.push(Evidence::computed(format!(
        "{printed} realizable polysemantic partitions, one encoder of each: at {moving} of them the printed point is no partial optimum."
    )));
    let verdict = if moving > 0 {
        Verdict::Refuted
    } else {
        Verdict::Undecided("the claim speaks of every encoder, and one of each pattern was looked at".to_owned())
    };
    Ok(Outcome::new(verdict, evidence))
}
