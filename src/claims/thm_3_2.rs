//! Theorem 3.2: on ℝ^{n_r×n_q} × Ω_A the approximate loss is convex in the decoder and convex in the encoder.
//!
//! Holds for the jump activation σ_c with the fixed c of Ω_A: inside the cell z_d is linear in W_E, so that along either block L̃ is a
//! quadratic with a sum of squares as second derivative. It is no more than biconvex: not convex in both blocks together,
//! and not convex in W_E across cells.

use super::chord::{self, Chord, Shape};
use super::sources::GORSKI_2007;
use super::thm_3_2_hessian::encoder_hessian;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::definite::is_positive_semidefinite;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Cell, Figure, Layer, Mark, Panel, Width};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Activation;
use crate::theory::region::Realizability;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.2",
    place: "Theorem 3.2, proof in App. I.2",
    title: "Within a cell L̃ is convex in the decoder and in the encoder",
    statement: "Over ℝ^{n_r×n_q} × Ω_A, with Ω_A = {W_E : A(d) = {i : ⟨w_i, p_d⟩ > c} for all d}, L̃ is convex in W_D for fixed W_E ∈ Ω_A, and convex in W_E over Ω_A for fixed W_D.",
    latex: r"W_D\mapsto\tilde{\mathcal L}_{\mathrm{SDL}}(W_D,W_E)\ \text{convex for } W_E\in\Omega_{\mathcal A},\qquad W_E\mapsto\tilde{\mathcal L}_{\mathrm{SDL}}(W_D,W_E)\ \text{convex on } \Omega_{\mathcal A}",
    assumes: "σ = σ_c, z_i ↦ z_i·1(z_i > c), with the fixed c ≥ 0 of Ω_A.",
    sources: &[GORSKI_2007],
    run,
    on_instance: None,
};

/// Cells for each of the thresholds 0 and c > 0.
const CELLS: usize = 400;
/// Proposals of each shape before a search gives up.
const PROPOSALS: usize = 20_000;
const SHAPES: [Shape; 4] = [
    Shape { n: 2, n_p: 2, n_r: 2, n_q: 2 },
    Shape { n: 3, n_p: 2, n_r: 2, n_q: 3 },
    Shape { n: 4, n_p: 3, n_r: 2, n_q: 3 },
    Shape { n: 5, n_p: 3, n_r: 3, n_q: 4 },
];

/// What the theorem speaks of: σ_c, and one block moves inside a cell. The cell is the activation's own, so that its c is that of
/// Ω_A.
fn hypotheses(chord: &Chord) -> bool {
    let cell = |point: &Point| Pattern::of_encoder(&chord.problem, &point.w_e);
    chord.problem.threshold().is_some() && chord.moves_one_block() && cell(&chord.from) == cell(&chord.to)
}

/// The proof that a chord refutes the theorem, if it does: it leaves the cell, which then is not convex, or L̃ rises above it.
fn refutation(chord: &Chord) -> Option<Result<Vec<Evidence>, sdlab_verify::Refusal>> {
    if !hypotheses(chord) {
        return None;
    }
    let Some(pattern) = chord.cell() else {
        let witness = |(name, point): (&str, Point)| {
            let pattern = Pattern::of_encoder(&chord.problem, &point.w_e);
            let text = format!("The encoder {name} the segment has the pattern {pattern}.");
            let certificate = Realizability::Realizable { w_e: point.w_e }.certificate(&chord.problem, &pattern);
            Evidence::certified(text, &format!("pattern-{}", name.replace(' ', "-")), certificate)
        };
        let places = [("before", chord.from.clone()), ("after", chord.to.clone()), ("inside", chord.at(&chord.t))];
        return Some(places.into_iter().map(witness).collect());
    };
    let excess = chord.excess();
    (excess > Rational::ZERO).then(|| {
        let text = format!("{}: inside a cell L̃ lies {excess} above a chord.", landscape::describe(&chord.problem));
        let c = chord.problem.threshold().expect("among the hypotheses");
        Ok(vec![Evidence::certified(text, "not-convex", chord.certificate(Some((&pattern, c))))?])
    })
}

/// What the chords of many cells showed.
#[derive(Default)]
struct Survey {
    cells: usize,
    /// Chords along V and along W on which L̃ is strictly below the secant.
    strict: [usize; 2],
    /// Chords whose gap is not the sum of squares.
    unequal: [usize; 2],
    /// Encoders whose firing sets are not {d : ⟨w_i,p_d⟩ > c}.
    other_cell: usize,
    /// Hessians in W that are not the Gram matrix of W ↦ V Z, or not positive semidefinite.
    not_gram: usize,
}

/// A cell's chords: the decoder moves, then the encoder.
fn chords(rng: &mut ChaCha20Rng, shape: Shape, c: Rational) -> Option<[Chord; 2]> {
    let problem = chord::problem(rng, shape, Activation::Threshold(c));
    let from = chord::point(rng, shape, 3);
    let w_d = chord::vectors(rng, shape.n_q, shape.n_r, 3);
    let w_e = chord::same_cell(rng, &problem, &from.w_e, 3)?;
    let t = chord::place(rng);
    let along_v = Point { w_e: from.w_e.clone(), w_d };
    let along_w = Point { w_e, w_d: from.w_d.clone() };
    Some([along_v, along_w].map(|to| Chord { problem: problem.clone(), from: from.clone(), to, t: t.clone() }))
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let mut survey = Survey::default();
    for (k, positive) in (0..CELLS).flat_map(|k| [(k, false), (k, true)]) {
        let c = if positive { Rational::from(rng.random_range(1..=4_i32)) / Rational::from(2) } else { Rational::ZERO };
        let drawn = (0..100).find_map(|_| chords(&mut rng, SHAPES[k % SHAPES.len()], c.clone()));
        let Some(chords) = drawn else { return Outcome::undecided("no second encoder was found in 100 cells") };
        for (block, chord) in chords.iter().enumerate().filter(|(_, chord)| hypotheses(chord)) {
            match refutation(chord) {
                Some(Ok(evidence)) => return Outcome::new(Verdict::Refuted, evidence),
                Some(Err(refusal)) => return Outcome::undecided(refusal.to_string()),
                None => {}
            }
            let (excess, squares) = (chord.excess(), chord.sum_of_squares());
            survey.strict[block] += usize::from(excess < Rational::ZERO);
            survey.unequal[block] += usize::from(excess != -squares);
        }
        survey.other_cell += usize::from(!is_printed_cell(&chords[1], &c));
        survey.not_gram += usize::from(!gram_holds(&chords[1]));
        survey.cells += 1;
    }
    let Some(limits) = limits(context) else {
        return Outcome::undecided("chords on which L̃ is not convex were expected outside the theorem, and not found");
    };
    outcome(&survey, &limits).unwrap_or_else(|refusal| Outcome::undecided(refusal.to_string()))
}

/// Neuron i fires on d iff ⟨w_i,p_d⟩ > c, so that the cell of the chord is the printed Ω_A. Small integers meet the border often.
fn is_printed_cell(chord: &Chord, c: &Rational) -> bool {
    let pattern = Pattern::of_encoder(&chord.problem, &chord.from.w_e);
    pattern.sets().iter().zip(&chord.from.w_e).all(|(set, w)| {
        chord.problem.features().iter().enumerate().all(|(d, f)| set.contains(&d) == (dot(w, &f.w_p) > *c))
    })
}

/// The Hessian in W_E with the corrected blocks of eq. 50, along the chord's step δ: half of δᵀHδ is the sum of squares, and H is
/// positive semidefinite, both exactly.
fn gram_holds(chord: &Chord) -> bool {
    let H = encoder_hessian(&chord.problem, &chord.from);
    let step: Vec<Rational> =
        chord.to.w_e.iter().flatten().zip(chord.from.w_e.iter().flatten()).map(|(to, from)| to - from).collect();
    let form = H.iter().zip(&step).fold(Rational::ZERO, |sum, (row, x)| sum + x * dot(row, &step));
    let half = form / Rational::from(2) * &chord.t * (Rational::ONE - &chord.t);
    half == chord.sum_of_squares() && is_positive_semidefinite(&H)
}

/// Both blocks move inside one cell in which no neuron is dead, and L̃ lies above the chord.
fn refutes_joint_convexity(chord: &Chord) -> bool {
    let alive = |pattern: Pattern| pattern.sets().iter().all(|f| !f.is_empty());
    chord::is_plain(&chord.problem) && chord.cell().is_some_and(alive) && chord.excess() > Rational::ZERO
}

/// The encoder alone moves, to another cell, and L̃ lies above the chord.
fn refutes_convexity_across(chord: &Chord) -> bool {
    chord::is_plain(&chord.problem)
        && chord.from.w_d == chord.to.w_d
        && chord.cell().is_none()
        && chord.excess() > Rational::ZERO
}

/// A chord of ReLU with small integers, whose decoder moves too if `jointly`.
fn propose(rng: &mut ChaCha20Rng, shape: Shape, jointly: bool) -> Chord {
    let problem = chord::problem(rng, shape, Activation::Threshold(Rational::ZERO));
    let (from, mut to) = (chord::point(rng, shape, 3), chord::point(rng, shape, 3));
    if !jointly {
        to.w_d.clone_from(&from.w_d);
    }
    Chord { problem, from, to, t: chord::place(rng) }
}

/// The smallest chords found on which L̃ is not convex: in both blocks inside a cell, and in W_E across cells of ReLU.
fn limits(context: &Context) -> Option<[Chord; 2]> {
    let shapes = [Shape { n: 1, n_p: 1, n_r: 1, n_q: 1 }, SHAPES[0], SHAPES[1]];
    let mut rng = stream(context.seed, "thm-3.2 limits");
    let joint = |rng: &mut ChaCha20Rng, shape| propose(rng, shape, true);
    let joint = chord::search(&mut rng, &shapes, PROPOSALS, joint, refutes_joint_convexity)?;
    let across = |rng: &mut ChaCha20Rng, shape| propose(rng, shape, false);
    let across = chord::search(&mut rng, &shapes, PROPOSALS, across, refutes_convexity_across)?;
    Some([joint, across])
}

fn outcome(survey: &Survey, limits: &[Chord; 2]) -> Result<Outcome, sdlab_verify::Refusal> {
    let [joint, across] = limits;
    let cell = joint.cell().expect("the search kept one cell");
    let c = joint.problem.threshold().expect("proposals have a threshold");
    let Survey { cells, strict, .. } = survey;
    let evidence = vec![
        Evidence::computed(format!(
            "{cells} random cells, half of them with c = 0 and half with c > 0, rational numbers: no point of a chord in W_D or in W_E lies \
             above the chord ({} and {} lie strictly below), and none of an encoder chord leaves its cell.",
            strict[0], strict[1]
        )),
        Evidence::certified(
            format!(
                "{}: with both blocks moving inside the cell {cell}, L̃ lies {} above the chord. It is not convex in (W_D, W_E).",
                landscape::describe(&joint.problem),
                joint.excess()
            ),
            "not-jointly-convex",
            joint.certificate(Some((&cell, c))),
        )?,
        Evidence::certified(
            format!(
                "{}: from one cell to another L̃ lies {} above a chord in W_E. Convexity in W_E ends at the cell.",
                landscape::describe(&across.problem),
                across.excess()
            ),
            "not-convex-across-cells",
            across.certificate(None),
        )?,
    ];
    let check = |what: &str, failures: usize| Check { what: what.into(), trials: *cells, failures };
    let mut outcome = Outcome::new(Verdict::Holds, evidence).with_correction(Correction {
        statement: "True as printed for one fixed c. Inside Ω_A the gap below a chord in one block is exactly t(1−t) Σ_d M_d‖Σ_{i∈A(d)} \
                    (⟨w_i,p_d⟩Δv_i + ⟨Δw_i,p_d⟩v_i)‖². It is biconvexity and no more: L̃ is not convex in both blocks together, and \
                    not convex in W_E across cells."
            .into(),
        latex: r"(1-t)\tilde{\mathcal L}(W_0)+t\,\tilde{\mathcal L}(W_1)-\tilde{\mathcal L}(W_t)=t(1-t)\sum_d M_d\Bigl\|\sum_{i\in A(d)}\langle\Delta w_E^i,w_p^d\rangle w_D^i\Bigr\|^2\ge 0".into(),
        checks: vec![
            check("neuron i fires on d iff ⟨w_i,p_d⟩ > c, on the border of the cell too", survey.other_cell),
            check("chords in W_D: the gap is the sum of squares, exactly", survey.unequal[0]),
            check("chords in W_E within the cell: the gap is the sum of squares, exactly", survey.unequal[1]),
            check("the Hessian in W_E is the Gram matrix of W ↦ VZ, and positive semidefinite by exact elimination", survey.not_gram),
        ],
    });
    outcome.figures.push(figure(joint, across));
    Ok(outcome.with_quantity("cells", "cells whose chords were tested exactly", Cell::from(*cells)).with_quantity(
        "joint-excess",
        "height of L̃ above the chord in both blocks, as a share of the chord's height there",
        Cell::number(relative(joint), 3),
    ))
}

/// How far L̃ lies above the chord at t, as a share of the chord's height there.
fn relative(chord: &Chord) -> f64 {
    let height = chord.at(&chord.t).loss(&chord.problem) - chord.excess();
    if height.is_zero() { f64::INFINITY } else { rational::to_f64(&(chord.excess() / height)) }
}

fn figure(joint: &Chord, across: &Chord) -> Figure {
    let along = |to: Point| Chord { to, ..joint.clone() };
    let decoder = along(Point { w_e: joint.from.w_e.clone(), w_d: joint.to.w_d.clone() });
    let encoder = along(Point { w_e: joint.to.w_e.clone(), w_d: joint.from.w_d.clone() });
    let mut figure = Figure::new("thm-3-2-chords", CLAIM.id, Width::Page)
        .title("L̃ along chords: each block alone, both, and across cells")
        .caption(&format!(
            "{}. Inside one cell L̃ stays below its chord when (a) the decoder or (b) the encoder moves, and rises above it when (c) both \
             move at once. (d) {}: the encoder moves from one cell to another, and L̃ is not convex where it crosses.",
            landscape::describe(&joint.problem),
            landscape::describe(&across.problem),
        ));
    for (title, chord, refutes) in [
        ("W_D moves", &decoder, false),
        ("W_E moves, in its cell", &encoder, false),
        ("both move, in the cell", joint, true),
        ("W_E moves, across cells", across, true),
    ] {
        figure = figure.panel(panel(title, chord, refutes));
    }
    figure
}

/// L̃ along one chord with the chord itself.
pub(super) fn panel(title: &str, chord: &Chord, refutes: bool) -> Panel {
    let mut panel = Panel::new(title, Axis::linear("t").range(0.0, 1.0), Axis::linear("L̃"));
    panel = panel.layer(Layer::Reference { label: "chord".into(), points: chord.secant() });
    for points in chord.profile() {
        panel = panel.layer(Layer::Line { label: "L̃".into(), points });
    }
    if refutes {
        panel = panel.layer(Layer::Marks { mark: Mark::Counterexample, points: vec![chord.middle()] });
    }
    panel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::problem::{Feature, Problem};

    fn numbers(values: &[i32]) -> Vec<Rational> {
        values.iter().map(|&x| Rational::from(x)).collect()
    }

    /// One feature p = r = 1, and two neurons with v = (1, 0).
    fn chord(activation: Activation, from: [i32; 2], to: [i32; 2]) -> Chord {
        let one = numbers(&[1]);
        let problem =
            Problem::new(vec![Feature { w_p: one.clone(), w_r: one, mass: Rational::ONE }], activation).unwrap();
        let point = |w: [i32; 2]| Point {
            w_e: vec![numbers(&w[..1]), numbers(&w[1..])],
            w_d: vec![numbers(&[1]), numbers(&[0])],
        };
        Chord { problem, from: point(from), to: point(to), t: Rational::ONE / Rational::from(2) }
    }

    #[test]
    fn a_chord_inside_a_threshold_cell_refutes_nothing_and_one_outside_the_hypotheses_is_not_judged() {
        let relu = || Activation::Threshold(Rational::ZERO);
        assert!(hypotheses(&chord(relu(), [1, 2], [3, 1])));
        assert!(refutation(&chord(relu(), [1, 2], [3, 1])).is_none());
        assert!(!hypotheses(&chord(relu(), [1, 2], [-3, 1])));
        assert!(!hypotheses(&chord(Activation::TopK(1), [2, 1], [3, 1])));
        assert!(!hypotheses(&chord(relu(), [1, 2], [1, 2])));
    }

    #[test]
    fn the_gap_is_the_sum_of_squares_inside_a_cell_and_not_across_cells() {
        let inside = chord(Activation::Threshold(Rational::ZERO), [1, 2], [3, 1]);
        assert_eq!(inside.excess(), -inside.sum_of_squares());
        let across = chord(Activation::Threshold(Rational::ZERO), [1, 2], [-3, 1]);
        assert_ne!(across.excess(), -across.sum_of_squares());
    }
}
