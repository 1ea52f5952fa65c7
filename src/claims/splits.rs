//! What the claims about Theorem 3.10 share: random realizable patterns, the search for neurons without a split, and how splits look in
//! the plane.

use super::search::{Instance, rational_unit, shrink};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Figure, Layer, Panel, Width};
use crate::theory::absorption::{Absorption, absorb};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use sdlab_verify::format::Farkas;

/// Size of a proposed instance.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// n.
    pub n: usize,
    /// n_p.
    pub n_p: usize,
    /// n_q.
    pub latents: usize,
    /// Bits of the directions before they become unit vectors; few bits make ties and antipodal pairs frequent.
    pub bits: u32,
}

/// Largest numerator of encoder entries, which are halves: few values make zeros frequent.
pub const WIDE: i32 = 12;

/// n unit features with M_d = 1 and r = p; some may be equal if there are few bits.
pub fn unit_features(rng: &mut ChaCha20Rng, shape: Shape) -> Vec<Feature> {
    let mut one = || {
        let direction: Vec<f64> = (0..shape.n_p).map(|_| StandardNormal.sample(rng)).collect();
        let p = rational_unit(&direction, shape.bits);
        Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }
    };
    (0..shape.n).map(|_| one()).collect()
}

/// A random encoder whose entries are the halves of integers up to `most`.
pub fn encoder(rng: &mut ChaCha20Rng, shape: Shape, most: i32) -> Vec<Vec<Rational>> {
    let mut entry = || Rational::from(rng.random_range(-most..=most)) / Rational::from(2);
    (0..shape.latents).map(|_| (0..shape.n_p).map(|_| entry()).collect()).collect()
}

/// The pattern of a random encoder on random unit features, which is realizable for that reason.
pub fn propose(rng: &mut ChaCha20Rng, shape: Shape, most: i32, activation: &Activation) -> Instance {
    let problem = Problem::new(unit_features(rng, shape), activation.clone()).expect("masses are 1");
    let pattern = Pattern::of_encoder(&problem, &encoder(rng, shape, most));
    Instance { problem, pattern }
}

/// Asm. 2.4 as the proof of Thm 3.10 uses it: unit norm (eq. 103) and M < 1 (eq. 106), so that no two features are equal.
pub fn hypotheses(problem: &Problem) -> bool {
    unit_norm(problem) && distinct(problem)
}

/// ‖p_d‖ = 1 for all d.
pub fn unit_norm(problem: &Problem) -> bool {
    problem.features().iter().all(|f| dot(&f.w_p, &f.w_p) == Rational::ONE)
}

/// No two p_d are equal.
pub fn distinct(problem: &Problem) -> bool {
    let features = problem.features();
    features.iter().enumerate().all(|(d, f)| features[..d].iter().all(|g| g.w_p != f.w_p))
}

/// The neurons with two features or more.
pub fn polysemantic(pattern: &Pattern) -> impl Iterator<Item = usize> {
    pattern.sets().iter().enumerate().filter(|(_, set)| set.len() >= 2).map(|(i, _)| i)
}

/// The first neuron that has two features or more and no realizable split, with the proofs.
pub fn unsplittable(instance: &Instance) -> Option<(usize, Absorption)> {
    polysemantic(&instance.pattern).find_map(|neuron| {
        let answer = absorb(&instance.problem, &instance.pattern, neuron).ok()?;
        matches!(answer, Absorption::Impossible { .. }).then_some((neuron, answer))
    })
}

/// True if the neuron has a split, whose rows are looked at once more.
pub fn splits(instance: &Instance, neuron: usize) -> bool {
    match absorb(&instance.problem, &instance.pattern, neuron) {
        Ok(Absorption::Possible { feature, split, .. }) => {
            Pattern::of_encoder(&instance.problem, &split) == instance.pattern.split(neuron, feature)
        }
        _ => false,
    }
}

/// A counterexample to Thm 3.10 and how many proposals were looked at before it came.
pub struct Found {
    /// The instance, shrunk.
    pub instance: Instance,
    /// The neuron.
    pub neuron: usize,
    /// Why it has no split.
    pub answer: Absorption,
    /// Realizable patterns with fewer features, all of which could be split.
    pub smaller: usize,
}

/// A search for a neuron without a split.
pub struct Search<'a> {
    /// Name of the random stream.
    pub purpose: &'a str,
    /// The activation.
    pub activation: Activation,
    /// Shapes in the order in which they are tried.
    pub shapes: &'a [Shape],
    /// Largest numerator of encoder entries.
    pub most: i32,
    /// Proposals per shape.
    pub proposals: usize,
    /// What the features must satisfy.
    pub hypotheses: fn(&Problem) -> bool,
}

/// Searches the shapes in order for a realizable pattern with a neuron that has no split, and shrinks what it finds.
pub fn search(seed: u64, search: &Search) -> Option<Found> {
    let &Search { purpose, ref activation, shapes, most, proposals, hypotheses } = search;
    let mut rng = stream(seed, purpose);
    let refutes = |instance: &Instance| hypotheses(&instance.problem) && unsplittable(instance).is_some();
    let (mut looked, mut smaller, mut n) = (0, 0, 0);
    for &shape in shapes {
        if shape.n > n {
            (n, smaller) = (shape.n, looked);
        }
        for _ in 0..proposals {
            let instance = propose(&mut rng, shape, most, activation);
            if !hypotheses(&instance.problem) || polysemantic(&instance.pattern).next().is_none() {
                continue;
            }
            looked += 1;
            if refutes(&instance) {
                let instance = shrink(instance, refutes);
                let (neuron, answer) = unsplittable(&instance)?;
                return Some(Found { instance, neuron, answer, smaller });
            }
        }
    }
    None
}

/// The relation Σ y_d p_d = Σ z_e p_e by which a row does not exist, such as "p_2 = 6/5 p_1 + p_3".
pub fn relation(farkas: &Farkas) -> Option<String> {
    let Farkas::Row(row) = farkas else { return None };
    let side = |list: &[(usize, sdlab_verify::format::Rat)]| {
        let term = |(d, y): &(usize, sdlab_verify::format::Rat)| {
            if y.0 == Rational::ONE { format!("p_{}", d + 1) } else { format!("{} p_{}", y.0, d + 1) }
        };
        if list.is_empty() { "0".to_owned() } else { list.iter().map(term).collect::<Vec<_>>().join(" + ") }
    };
    Some(format!("{} = {}", side(&row.on), side(&row.off)))
}

/// A pattern with neurons and features counted from 1, such as "F_1 = {1, 2}, F_2 = {}".
pub fn shown(pattern: &Pattern) -> String {
    let set = |(i, set): (usize, &std::collections::BTreeSet<usize>)| {
        format!("F_{} = {}", i + 1, listed(set.iter().copied()))
    };
    pattern.sets().iter().enumerate().map(set).collect::<Vec<_>>().join(", ")
}

/// Features 1, 2, .. of a list, as people count.
pub fn listed(set: impl IntoIterator<Item = usize>) -> String {
    format!("{{{}}}", set.into_iter().map(|d| (d + 1).to_string()).collect::<Vec<_>>().join(", "))
}

const NEURON: &str = "neuron 1 fires here";
const NEW: &str = "the new neuron fires here";

/// Three pictures of plane features: at c = 0 no split of the neuron, at c > 0 the neuron before and after its split.
///
/// `None` unless the features lie in the plane, the counterexample is one neuron without split, and it has one at c > 0.
pub fn picture(without: &Found, with: &Problem, source: &str) -> Option<Figure> {
    let problem = &without.instance.problem;
    let Absorption::Impossible { w_e, splits } = &without.answer else { return None };
    let Absorption::Possible { w_e: before, feature, split, .. } =
        absorb(with, &without.instance.pattern, without.neuron).ok()?
    else {
        return None;
    };
    if problem.n_p() != 2 {
        return None;
    }
    let (farkas, row) = splits.iter().find_map(|(_, farkas)| match farkas {
        Farkas::Row(row) if row.on.len() == 1 && row.off.len() == 2 => Some((farkas, row)),
        _ => None,
    })?;
    let place = |d: usize| {
        let p = &problem.features()[d].w_p;
        (rational::to_f64(&p[0]), rational::to_f64(&p[1]))
    };
    let (inner, sides) = (row.on[0].0, [row.off[0].0, row.off[1].0]);
    let cone = format!("cone of p_{} and p_{}", sides[0] + 1, sides[1] + 1);
    let corner = |d: usize| (4.0 * place(d).0, 4.0 * place(d).1);
    let (a, b) = (corner(sides[0]), corner(sides[1]));
    let corners = vec![(0.0, 0.0), a, (a.0 + b.0, a.1 + b.1), b];
    let c = with.threshold()?;
    let zero = Rational::ZERO;
    let first = plane(problem, &format!("c = 0: p_{} cannot be cut off", inner + 1))
        .layer(half_plane(NEURON, &w_e[without.neuron], &zero))
        .layer(Layer::Region { label: cone.clone(), corners });
    let second = plane(problem, "c > 0: before the split").layer(half_plane(NEURON, &before[without.neuron], c));
    let third = plane(problem, &format!("c > 0: p_{} splits off", feature + 1))
        .layer(half_plane(NEURON, &split[without.neuron], c))
        .layer(half_plane(NEW, split.last()?, c));
    let panels = [first, second, third].map(|panel| with_features(panel, problem));
    let figure = Figure::new("absorption-splits", source, Width::Page)
        .title("A split that fails and one that works")
        .caption(&format!(
            "The smallest features found on which Thm 3.10 fails under ReLU. A neuron fires on the features in its half-plane \
             ⟨w, p⟩ > c. (a) c = 0: its border passes through the origin. Every such half-plane with p_{} contains p_{} or p_{}, as \
             p_{} lies in their cone ({}), so that neither split of {} is realizable. (b), (c) c = {c}, the same features: the \
             border of neuron 1 moves outwards until p_{} lies on it and no longer fires, and a new neuron cuts p_{} off alone.",
            inner + 1,
            sides[0] + 1,
            sides[1] + 1,
            inner + 1,
            relation(farkas)?,
            listed(without.instance.pattern.sets()[without.neuron].iter().copied()),
            feature + 1,
            feature + 1
        ));
    Some(panels.into_iter().fold(figure, Figure::panel))
}

fn plane(problem: &Problem, title: &str) -> Panel {
    const REACH: f64 = 1.4;
    let axis = |label: &str| {
        let ticks = [-1.0, 0.0, 1.0].map(|x: f64| (x, format!("{x}").replace('-', "−")));
        Axis::linear(label).range(-REACH, REACH).ticks(ticks)
    };
    debug_assert_eq!(problem.n_p(), 2);
    Panel::new(title, axis("first coordinate"), axis("second coordinate")).equal_units()
}

/// The features in front: rays from the origin that end in points on the unit circle.
fn with_features(panel: Panel, problem: &Problem) -> Panel {
    let places: Vec<(f64, f64)> =
        problem.features().iter().map(|f| (rational::to_f64(&f.w_p[0]), rational::to_f64(&f.w_p[1]))).collect();
    let circle = (0..=120)
        .map(|k| {
            let angle = f64::from(k) / 120.0 * std::f64::consts::TAU;
            (angle.cos(), angle.sin())
        })
        .collect();
    let rays = places.iter().flat_map(|p| [(0.0, 0.0), *p, (f64::NAN, f64::NAN)]).collect();
    let mut panel = panel
        .layer(Layer::Reference { label: "unit circle".into(), points: circle })
        .layer(Layer::Line { label: "features p_d".into(), points: rays })
        .layer(Layer::Points { label: "features p_d".into(), points: places.clone(), intervals: Vec::new() });
    for (d, (x, y)) in places.into_iter().enumerate() {
        // Beyond the end of the ray; the text begins to the right of its place.
        let at = (1.2 * x - 0.2, 1.2 * y);
        panel = panel.layer(Layer::Note { at, text: format!("p_{}", d + 1) });
    }
    panel
}

/// {p : ⟨w, p⟩ > c}, as a rectangle that reaches beyond the axes.
fn half_plane(label: &str, w: &[Rational], c: &Rational) -> Layer {
    const FAR: f64 = 10.0;
    let (x, y, c) = (rational::to_f64(&w[0]), rational::to_f64(&w[1]), rational::to_f64(c));
    let norm = x.hypot(y);
    let (u, v) = (x / norm, y / norm);
    let distance = c / norm;
    let corner = |along: f64, out: f64| ((distance + out) * u - along * v, (distance + out) * v + along * u);
    let corners = vec![corner(-FAR, 0.0), corner(FAR, 0.0), corner(FAR, FAR), corner(-FAR, FAR)];
    Layer::Region { label: label.to_owned(), corners }
}
