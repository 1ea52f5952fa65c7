//! Theorem 3.2 with σ = Top-k on the printed Ω_A = {⟨w_i,p_d⟩ > c}: convexity in the encoder.
//!
//! Refuted: inside the printed cell neurons may exchange their ranks, and L̃ jumps. The cells of Top-k compare rows with one another; on
//! those, which are convex, L̃ is convex in the encoder by the proof of the theorem.

use super::chord::{self, Chord, Shape};
use super::sources::MAKHZANI_2014;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Cell, Figure, Layer, Mark, Panel, Width};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.2-topk",
    place: "Theorem 3.2 for Top-k, which Sec. 2.4 counts among the σ_c",
    title: "Top-k: L̃ is convex in W_E over the printed Ω_A",
    statement: "With σ = Top-k or Top-k∘ReLU, L̃ is convex in W_E over Ω_A = {W_E : A(d) = {i : ⟨w_i, p_d⟩ > c} for all d}, for fixed W_D.",
    latex: r"\sigma=\sigma_{\text{Top-}k}:\quad W_E\mapsto\tilde{\mathcal L}_{\mathrm{SDL}}(W_D,W_E)\ \text{convex on}\ \Omega_{\mathcal A}=\{\langle w_E^i,w_p^d\rangle>c\iff i\in A(d)\}",
    assumes: "Unit features (Asm. 2.4), σ = Top-k or Top-k∘ReLU with k < n_q, the printed Ω_A with any c ≥ 0.",
    sources: &[MAKHZANI_2014],
    run,
    on_instance: None,
};

/// Proposals of each shape before the search gives up.
const PROPOSALS: usize = 20_000;
/// Chords for each of the two activations, and thresholds to which a counterexample is scaled.
const TRIALS: usize = 300;
const SHAPES: [Shape; 3] = [
    Shape { n: 1, n_p: 1, n_r: 1, n_q: 2 },
    Shape { n: 2, n_p: 2, n_r: 2, n_q: 2 },
    Shape { n: 3, n_p: 2, n_r: 2, n_q: 3 },
];

/// What the claim speaks of: unit features, an encoder that moves alone, and three encoders in one printed cell. No
/// neuron is dead there, so that the pattern is one that Top-k could have.
fn hypotheses(chord: &Chord, c: &Rational) -> bool {
    let alive = |pattern: Pattern| pattern.sets().iter().all(|set| !set.is_empty());
    let k = match chord.problem.activation() {
        Activation::TopK(k) | Activation::TopKRelu(k) => *k,
        Activation::Threshold(_) => return false,
    };
    k < chord.from.w_e.len()
        && chord::is_plain(&chord.problem)
        && chord.from.w_d == chord.to.w_d
        && chord.printed_cell(c).is_some_and(alive)
}

/// L̃ lies above the chord by a quarter of its change between the ends at least, so that one sees it, and no point of the chord hangs
/// on a tie or on the border of the cell.
fn refutes(chord: &Chord, c: &Rational) -> bool {
    let strict = |point: &Point| {
        chord.problem.features().iter().all(|f| {
            let z: Vec<Rational> = point.w_e.iter().map(|w| dot(w, &f.w_p)).collect();
            (0..z.len()).all(|i| z[i] != *c && z[..i].iter().all(|other| *other != z[i]))
        })
    };
    hypotheses(chord, c)
        && [&chord.from, &chord.to, &chord.at(&chord.t)].into_iter().all(strict)
        && chord.excess() > Rational::ZERO
        && chord.excess() * Rational::from(4) >= chord.change()
}

/// The middle of a chord in W_E between small integer encoders, over reconstructed axes.
fn propose(rng: &mut ChaCha20Rng, shape: Shape, activation: Activation) -> Chord {
    let axis = |d: usize| (0..shape.n_p).map(|k| Rational::from(u8::from(k == d % shape.n_p))).collect::<Vec<_>>();
    let features = (0..shape.n).map(|d| Feature { w_p: axis(d), w_r: axis(d), mass: Rational::ONE });
    let problem = Problem::new(features.collect(), activation).expect("masses are 1");
    let from = chord::point(rng, shape, 5);
    let to = Point { w_e: chord::vectors(rng, shape.n_q, shape.n_p, 5), w_d: from.w_d.clone() };
    Chord { problem, from, to, t: Rational::ONE / Rational::from(2) }
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let mut found = Vec::new();
    for activation in [Activation::TopK(1), Activation::TopKRelu(1)] {
        for c in [Rational::ZERO, Rational::ONE] {
            let draw = |rng: &mut ChaCha20Rng, shape| propose(rng, shape, activation.clone());
            match chord::search(&mut rng, &SHAPES, PROPOSALS, draw, |chord| refutes(chord, &c)) {
                Some(chord) => found.push((chord, c)),
                None => return Outcome::undecided(format!("no counterexample with {activation:?} and c = {c}")),
            }
        }
    }
    let evidence = match found.iter().map(|(chord, c)| certified(chord, c)).collect::<Result<Vec<_>, _>>() {
        Ok(evidence) => evidence,
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(Correction {
        statement: "The cells of Top-k compare rows with one another: ⟨w_i,p_d⟩ ≥ ⟨w_j,p_d⟩ for i ∈ A(d), j ∉ A(d) (strictly where the \
                    tie would go to j), with positive ⟨w_i,p_d⟩ besides under Top-k∘ReLU. They are convex cones, and on each L̃ is \
                    convex in W_E for fixed W_D, and in W_D for fixed W_E."
            .into(),
        latex: r"\Omega_{\mathcal A}=\{W_E:\ \langle w_E^i-w_E^j,\,w_p^d\rangle\ge 0\ \text{for}\ i\in A(d),\ j\notin A(d)\}".into(),
        checks: vec![
            firing_cells_check(context, false),
            firing_cells_check(context, true),
            scaling_check(&found, context),
        ],
    });
    let (chord, c) = &found[1];
    outcome.figures.push(figure(chord, c));
    outcome.with_quantity(
        "jump",
        "height of L̃ above the chord of the counterexample at c = 1",
        Cell::number(rational::to_f64(&chord.excess()), 3),
    )
}

fn certified(chord: &Chord, c: &Rational) -> Result<Evidence, sdlab_verify::Refusal> {
    let cell = chord.printed_cell(c).expect("the search kept one printed cell");
    let name = name(chord);
    let text = format!(
        "{}, σ = {name}, W_D = {}: from W_E = {} to {} the three encoders lie in the printed cell {cell} of c = {c}, and L̃ lies {} \
         above the chord.",
        landscape::describe(&chord.problem),
        chord::rows(&chord.from.w_d),
        chord::rows(&chord.from.w_e),
        chord::rows(&chord.to.w_e),
        chord.excess()
    );
    let stem = format!("not-convex-{}-c-{c}", if name.contains("ReLU") { "top-k-relu" } else { "top-k" });
    Evidence::certified(text, &stem, chord.certificate(Some((&cell, c))))
}

fn name(chord: &Chord) -> String {
    match chord.problem.activation() {
        Activation::TopK(k) => format!("Top-{k}"),
        Activation::TopKRelu(k) => format!("Top-{k}∘ReLU"),
        Activation::Threshold(c) => format!("σ_c with c = {c}"),
    }
}

/// Chords between two encoders of one firing pattern: the cell holds the chord, and the gap is a sum of squares, exactly.
fn firing_cells_check(context: &Context, relu: bool) -> Check {
    let name = if relu { "Top-k∘ReLU" } else { "Top-k" };
    let mut rng = stream(context.seed, &format!("thm-3.2-topk cells of {name}"));
    let (mut trials, mut failures) = (0, 0);
    for draw in 0..20 * TRIALS {
        if trials == TRIALS {
            break;
        }
        let shape = [Shape { n: 2, n_p: 2, n_r: 2, n_q: 3 }, Shape { n: 3, n_p: 3, n_r: 2, n_q: 3 }][draw % 2];
        let k = rng.random_range(1..=2);
        let activation = if relu { Activation::TopKRelu(k) } else { Activation::TopK(k) };
        let problem = chord::problem(&mut rng, shape, activation);
        let from = chord::point(&mut rng, shape, 3);
        let Some(w_e) = chord::same_cell(&mut rng, &problem, &from.w_e, 3) else { continue };
        let t = chord::place(&mut rng);
        let decoder = chord::vectors(&mut rng, shape.n_q, shape.n_r, 3);
        let ends = [Point { w_e, w_d: from.w_d.clone() }, Point { w_e: from.w_e.clone(), w_d: decoder }];
        trials += 1;
        let convex = |to: Point| {
            let chord = Chord { problem: problem.clone(), from: from.clone(), to, t: t.clone() };
            let excess = chord.excess();
            chord.cell().is_some() && excess <= Rational::ZERO && excess == -chord.sum_of_squares()
        };
        failures += usize::from(!ends.into_iter().all(convex));
    }
    Check {
        what: format!("{name}: chords between encoders of one firing pattern, in either block, exactly"),
        trials,
        failures,
    }
}

/// (λW_E, W_D/λ) carries a counterexample for c = 1 to c = λ, since Top-k is positively homogeneous.
fn scaling_check(found: &[(Chord, Rational)], context: &Context) -> Check {
    let mut rng = stream(context.seed, "thm-3.2-topk scaling");
    let (mut trials, mut failures) = (0, 0);
    for (chord, c) in found.iter().filter(|(_, c)| !c.is_zero()) {
        for _ in 0..TRIALS / 2 {
            let scale = Rational::from(rng.random_range(1..=1000_i32)) / Rational::from(rng.random_range(1..=1000_i32));
            let times =
                |m: &[Vec<Rational>], s: &Rational| m.iter().map(|v| v.iter().map(|x| x * s).collect()).collect();
            let inverse = Rational::ONE / &scale;
            let end = |p: &Point| Point { w_e: times(&p.w_e, &scale), w_d: times(&p.w_d, &inverse) };
            let scaled = Chord { from: end(&chord.from), to: end(&chord.to), ..chord.clone() };
            trials += 1;
            failures += usize::from(!(refutes(&scaled, &(c * &scale)) && scaled.excess() == chord.excess()));
        }
    }
    Check { what: "the counterexamples for c = 1, scaled to other c > 0".into(), trials, failures }
}

/// L̃ along the counterexample, and the pre-activations that exchange their ranks above the threshold.
fn figure(chord: &Chord, c: &Rational) -> Figure {
    let mut loss = Panel::new("the loss jumps", Axis::linear("t").range(0.0, 1.0), Axis::linear("L̃"));
    loss = loss.layer(Layer::Reference { label: "chord".into(), points: chord.secant() });
    for points in chord.profile() {
        loss = loss.layer(Layer::Line { label: "L̃".into(), points });
    }
    loss = loss.layer(Layer::Marks { mark: Mark::Counterexample, points: vec![chord.middle()] });
    let mut ranks = Panel::new("no neuron leaves Ω_A", Axis::linear("t").range(0.0, 1.0), Axis::linear("⟨w_i, p_d⟩"));
    for (d, feature) in chord.problem.features().iter().enumerate() {
        for i in 0..chord.from.w_e.len() {
            let z = |point: &Point| rational::to_f64(&dot(&point.w_e[i], &feature.w_p));
            let label = format!("neuron {}, feature {}", i + 1, d + 1);
            ranks = ranks.layer(Layer::Line { label, points: vec![(0.0, z(&chord.from)), (1.0, z(&chord.to))] });
        }
    }
    let threshold = rational::to_f64(c);
    ranks = ranks.layer(Layer::Reference {
        label: format!("threshold c = {c}"),
        points: vec![(0.0, threshold), (1.0, threshold)],
    });
    Figure::new("thm-3-2-topk-chord", CLAIM.id, Width::Page)
        .title("Top-k on the printed cell: L̃ jumps where ranks change")
        .caption(&format!(
            "{}, σ = {}. (a) L̃ along a segment of encoders in one printed cell, with its chord. (b) The pre-activations stay on their \
             sides of c, so that the printed pattern is the same all along, but they exchange their ranks.",
            landscape::describe(&chord.problem),
            name(chord)
        ))
        .panel(loss)
        .panel(ranks)
}
