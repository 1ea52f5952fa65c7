//! Chords: two points of the parameter space and a place between them, at which convexity of L̃ is tested exactly.
//!
//! Inside a cell, with one block moved, L̃ is a quadratic whose second derivative is a sum of squares, so that
//!
//! ```text
//!     (1−t) L̃(X₀) + t L̃(X₁) − L̃(X_t) = t(1−t) Σ_d M_d ‖Σ_{i∈A(d)} (⟨w_i,p_d⟩ Δv_i + ⟨Δw_i,p_d⟩ v_i)‖²
//! ```
//!
//! with Δv = 0 or Δw = 0. Where the left side is negative, L̃ is not convex, and the chord is a certificate of it.

use crate::exact::{Rational, rational};
use crate::theory::certificate_body::{certificate, number, pattern as pattern_json, point as point_json};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use dashu::base::Abs;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::Certificate;
use serde_json::json;

/// A segment from X₀ to X₁ and the place X_t on it, 0 < t < 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chord {
    /// The problem.
    pub problem: Problem,
    /// X₀.
    pub from: Point,
    /// X₁.
    pub to: Point,
    /// t.
    pub t: Rational,
}

/// The sizes of a proposal.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Features.
    pub n: usize,
    /// Length of p_d.
    pub n_p: usize,
    /// Length of r_d.
    pub n_r: usize,
    /// Neurons.
    pub n_q: usize,
}

/// Draws of an encoder before the search for a second one in a cell gives up.
const TRIES: usize = 200;
/// Samples of each smooth piece of a profile.
const SAMPLES: usize = 41;

impl Chord {
    /// X_s.
    pub fn at(&self, s: &Rational) -> Point {
        let mix = |a: &[Vec<Rational>], b: &[Vec<Rational>]| {
            let mix = |(x, y): (&Rational, &Rational)| x + s * (y - x);
            a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(mix).collect()).collect()
        };
        Point { w_e: mix(&self.from.w_e, &self.to.w_e), w_d: mix(&self.from.w_d, &self.to.w_d) }
    }

    /// loss(X_t) − (1−t) loss(X₀) − t loss(X₁): positive where that loss is not convex.
    pub fn excess_of(&self, loss: impl Fn(&Point) -> Rational) -> Rational {
        loss(&self.at(&self.t)) - (Rational::ONE - &self.t) * loss(&self.from) - &self.t * loss(&self.to)
    }

    /// |L̃(X₁) − L̃(X₀)|.
    pub fn change(&self) -> Rational {
        (self.to.loss(&self.problem) - self.from.loss(&self.problem)).abs()
    }

    /// [`Self::excess_of`] L̃.
    pub fn excess(&self) -> Rational {
        self.excess_of(|point| point.loss(&self.problem))
    }

    /// The firing sets at both ends and at X_t, if they are the same: the three encoders lie in one cell of the activation.
    pub fn cell(&self) -> Option<Pattern> {
        self.common(|w_e| Pattern::of_encoder(&self.problem, w_e))
    }

    /// The sets F_i = {d : ⟨w_i,p_d⟩ > c} at both ends and at X_t, if they are the same: the cell Ω_A as printed, whatever the
    /// activation fires.
    pub fn printed_cell(&self, c: &Rational) -> Option<Pattern> {
        let threshold = Problem::new(self.problem.features().to_vec(), Activation::Threshold(c.clone())).ok()?;
        self.common(|w_e| Pattern::of_encoder(&threshold, w_e))
    }

    fn common(&self, pattern: impl Fn(&[Vec<Rational>]) -> Pattern) -> Option<Pattern> {
        let first = pattern(&self.from.w_e);
        let same = |point: &Point| pattern(&point.w_e) == first;
        (same(&self.to) && same(&self.at(&self.t))).then_some(first)
    }

    /// True if the encoder moves or the decoder, and not both.
    pub fn moves_one_block(&self) -> bool {
        (self.from.w_e == self.to.w_e) != (self.from.w_d == self.to.w_d)
    }

    /// t(1−t) Σ_d M_d ‖Σ_{i∈A(d)} (⟨w_i,p_d⟩ Δv_i + ⟨Δw_i,p_d⟩ v_i)‖² with A and the point taken at X₀.
    pub fn sum_of_squares(&self) -> Rational {
        let pattern = Pattern::of_encoder(&self.problem, &self.from.w_e);
        let mut sum = Rational::ZERO;
        for (d, feature) in self.problem.features().iter().enumerate() {
            let mut change = vec![Rational::ZERO; self.problem.n_r()];
            for i in pattern.neurons_of(d) {
                let (z, rate) = (dot(&self.from.w_e[i], &feature.w_p), dot(&self.to.w_e[i], &feature.w_p));
                let rate = rate - &z;
                for (k, x) in change.iter_mut().enumerate() {
                    let v = &self.from.w_d[i][k];
                    *x += &z * (&self.to.w_d[i][k] - v) + &rate * v;
                }
            }
            sum += &feature.mass * dot(&change, &change);
        }
        sum * &self.t * (Rational::ONE - &self.t)
    }

    /// The `not-convex` certificate; with a cell {W : ⟨w_i,p_d⟩ > threshold ⇔ d ∈ F_i} it says that the three encoders lie in it.
    pub fn certificate(&self, cell: Option<(&Pattern, &Rational)>) -> Certificate {
        let (from, to) = (point_json(&self.from), point_json(&self.to));
        let mut body = json!({"from": from, "to": to, "t": number(&self.t)});
        if let Some((pattern, threshold)) = cell {
            body["cell"] = json!({"pattern": pattern_json(pattern), "threshold": number(threshold)});
        }
        certificate(&self.problem, "not-convex", body)
    }

    /// The places 0 < s < 1, in order, at which some neuron begins or ceases to fire.
    pub fn events(&self) -> Vec<Rational> {
        let mut events = Vec::new();
        for feature in self.problem.features() {
            let z = |point: &Point| point.w_e.iter().map(|w| dot(w, &feature.w_p)).collect::<Vec<_>>();
            let (first, last) = (z(&self.from), z(&self.to));
            let n_q = first.len();
            let mut crossing = |a: Rational, b: Rational| {
                if rational::sign(&a) * rational::sign(&b) < 0 {
                    events.push(&a / (&a - &b));
                }
            };
            if !matches!(self.problem.activation(), Activation::TopK(_)) {
                let c = self.problem.threshold().cloned().unwrap_or(Rational::ZERO);
                (0..n_q).for_each(|i| crossing(&first[i] - &c, &last[i] - &c));
            }
            if self.problem.threshold().is_none() {
                for i in 0..n_q {
                    (0..i).for_each(|j| crossing(&first[i] - &first[j], &last[i] - &last[j]));
                }
            }
        }
        events.sort();
        events.dedup();
        events
    }

    /// L̃ along the chord as points (s, L̃), one list for each piece between events; at a jump the limits from both sides stand.
    pub fn profile(&self) -> Vec<Vec<(f64, f64)>> {
        let ends = [vec![Rational::ZERO], self.events(), vec![Rational::ONE]].concat();
        let piece = |pair: &[Rational]| {
            let width = &pair[1] - &pair[0];
            // Sampled a millionth inside, where the pattern is that of the piece.
            let margin = &width / Rational::from(1_000_000);
            let place = |k: usize, last: usize| {
                let inner = (&width - &margin - &margin) * Rational::from(k) / Rational::from(last);
                &pair[0] + &margin + inner
            };
            let value = |s: &Rational| self.at(s).loss(&self.problem);
            let [first, middle, last] = [0, 1, 2].map(|k| value(&place(k, 2)));
            // A piece is a polynomial of degree 4 at most, and a quadratic if one block moves: then three values show a line.
            let is_line = self.moves_one_block() && first + last == middle * Rational::from(2);
            let samples = if is_line { 2 } else { SAMPLES };
            let sample = |s: Rational| (rational::to_f64(&s), rational::to_f64(&value(&s)));
            (0..samples).map(|k| sample(place(k, samples - 1))).collect()
        };
        ends.windows(2).map(piece).collect()
    }

    /// The straight line that a convex L̃ would stay below.
    pub fn secant(&self) -> Vec<(f64, f64)> {
        let value = |point: &Point| rational::to_f64(&point.loss(&self.problem));
        vec![(0.0, value(&self.from)), (1.0, value(&self.to))]
    }

    /// (t, L̃(X_t)).
    pub fn middle(&self) -> (f64, f64) {
        let value = self.at(&self.t).loss(&self.problem);
        (rational::to_f64(&self.t), rational::to_f64(&value))
    }
}

/// "(1, 0; 0, 1)", rows or columns apart by semicolons.
pub fn rows(matrix: &[Vec<Rational>]) -> String {
    let row = |v: &Vec<Rational>| v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({})", matrix.iter().map(row).collect::<Vec<_>>().join("; "))
}

/// Integers between −bound and bound.
pub fn vector(rng: &mut ChaCha20Rng, length: usize, bound: i32) -> Vec<Rational> {
    (0..length).map(|_| Rational::from(rng.random_range(-bound..=bound))).collect()
}

/// `count` vectors of small integers.
pub fn vectors(rng: &mut ChaCha20Rng, count: usize, length: usize, bound: i32) -> Vec<Vec<Rational>> {
    (0..count).map(|_| vector(rng, length, bound)).collect()
}

/// A problem with small integer features, so that pre-activations at the threshold occur, and masses ½, 1, .., 2.
pub fn problem(rng: &mut ChaCha20Rng, shape: Shape, activation: Activation) -> Problem {
    let features = (0..shape.n)
        .map(|_| Feature {
            w_p: vector(rng, shape.n_p, 2),
            w_r: vector(rng, shape.n_r, 2),
            mass: Rational::from(rng.random_range(1..=4_i32)) / Rational::from(2),
        })
        .collect();
    Problem::new(features, activation).expect("masses are positive")
}

/// A point with small integers.
pub fn point(rng: &mut ChaCha20Rng, shape: Shape, bound: i32) -> Point {
    Point { w_e: vectors(rng, shape.n_q, shape.n_p, bound), w_d: vectors(rng, shape.n_q, shape.n_r, bound) }
}

/// Unit features that are reconstructed, r = p. Counterexamples are looked for among these, so that they are no artefact of odd
/// targets.
pub fn is_plain(problem: &Problem) -> bool {
    problem.features().iter().all(|f| f.w_r == f.w_p && dot(&f.w_p, &f.w_p) == Rational::ONE)
}

/// One of 1/8, .., 7/8.
pub fn place(rng: &mut ChaCha20Rng) -> Rational {
    Rational::from(rng.random_range(1..=7_i32)) / Rational::from(8)
}

/// Another encoder with the firing sets of this one, drawn independently of it; `None` if none of the draws has them.
pub fn same_cell(
    rng: &mut ChaCha20Rng,
    problem: &Problem,
    w_e: &[Vec<Rational>],
    bound: i32,
) -> Option<Vec<Vec<Rational>>> {
    let length = problem.n_p();
    let of = |rows: &[Vec<Rational>]| Pattern::of_encoder(problem, rows);
    if problem.threshold().is_none() {
        let wanted = of(w_e);
        return (0..TRIES).map(|_| vectors(rng, w_e.len(), length, bound)).find(|rows| of(rows) == wanted);
    }
    // Under a threshold the rows are free of each other.
    let row = |w: &Vec<Rational>| {
        let wanted = of(std::slice::from_ref(w));
        (0..TRIES).map(|_| vector(rng, length, bound)).find(|row| of(std::slice::from_ref(row)) == wanted)
    };
    w_e.iter().map(row).collect()
}

/// The first chord drawn that `holds`, made smaller. Shapes are tried in order, `proposals` chords of each.
pub fn search(
    rng: &mut ChaCha20Rng,
    shapes: &[Shape],
    proposals: usize,
    draw: impl Fn(&mut ChaCha20Rng, Shape) -> Chord,
    holds: impl Fn(&Chord) -> bool,
) -> Option<Chord> {
    let found = shapes.iter().find_map(|&shape| (0..proposals).map(|_| draw(rng, shape)).find(|c| holds(c)))?;
    Some(shrink(found, holds))
}

/// Makes a chord smaller while `holds` stays true: fewer features, neurons and dimensions, then smaller numbers, equal masses and
/// t = ½. Deterministic.
pub fn shrink(mut chord: Chord, holds: impl Fn(&Chord) -> bool) -> Chord {
    loop {
        let bound = size(&chord);
        let Some(smaller) = candidates(&chord).into_iter().find(|c| size(c) < bound && holds(c)) else {
            return chord;
        };
        chord = smaller;
    }
}

/// The order in which chords are small: entries, then the length of all numbers, then negative ones.
fn size(chord: &Chord) -> (usize, usize, usize) {
    let features = chord.problem.features();
    let directions = features.iter().flat_map(|f| f.w_p.iter().chain(&f.w_r));
    let ends = [&chord.from, &chord.to];
    let weights = ends.into_iter().flat_map(|p| p.w_e.iter().chain(&p.w_d).flatten());
    let numbers: Vec<&Rational> = directions.chain(weights).collect();
    let length = |x: &Rational| if x.is_zero() { 0 } else { rational::bits(x) };
    let masses: usize = features.iter().map(|f| length(&f.mass)).sum();
    (
        numbers.len() + features.len(),
        numbers.iter().map(|x| length(x)).sum::<usize>() + masses + length(&chord.t),
        numbers.iter().filter(|x| rational::sign(x) < 0).count(),
    )
}

fn candidates(chord: &Chord) -> Vec<Chord> {
    let mut all = Vec::new();
    let features = chord.problem.features();
    let (n, n_q) = (features.len(), chord.from.w_e.len());
    let mut push = |features: Vec<Feature>, from: Point, to: Point, t: Rational| {
        let problem = Problem::new(features, chord.problem.activation().clone());
        all.extend(problem.ok().map(|problem| Chord { problem, from, to, t }));
    };
    let (from, to, t) = (&chord.from, &chord.to, &chord.t);
    for d in 0..n {
        let mut kept = features.to_vec();
        kept.remove(d);
        push(kept, from.clone(), to.clone(), t.clone());
    }
    if n_q > 1 {
        let without = |point: &Point, i: usize| {
            let mut point = point.clone();
            point.w_e.remove(i);
            point.w_d.remove(i);
            point
        };
        (0..n_q).for_each(|i| push(features.to_vec(), without(from, i), without(to, i), t.clone()));
    }
    let shorter = |rows: &[Vec<Rational>], k: usize| {
        let mut rows = rows.to_vec();
        rows.iter_mut().for_each(|row| drop(row.remove(k)));
        rows
    };
    for k in 0..chord.problem.n_p() {
        let kept =
            features.iter().map(|f| Feature { w_p: shorter(std::slice::from_ref(&f.w_p), k).remove(0), ..f.clone() });
        let end = |p: &Point| Point { w_e: shorter(&p.w_e, k), w_d: p.w_d.clone() };
        push(kept.collect(), end(from), end(to), t.clone());
    }
    for k in 0..chord.problem.n_r() {
        let kept =
            features.iter().map(|f| Feature { w_r: shorter(std::slice::from_ref(&f.w_r), k).remove(0), ..f.clone() });
        let end = |p: &Point| Point { w_e: p.w_e.clone(), w_d: shorter(&p.w_d, k) };
        push(kept.collect(), end(from), end(to), t.clone());
    }
    // the d-th axis for feature d
    let axis = |d: usize, length: usize| (0..length).map(|k| Rational::from(u8::from(k == d))).collect::<Vec<_>>();
    let axes = features.iter().enumerate().map(|(d, f)| Feature {
        w_p: axis(d, f.w_p.len()),
        w_r: axis(d, f.w_r.len()),
        mass: f.mass.clone(),
    });
    push(axes.collect(), from.clone(), to.clone(), t.clone());
    let ones = features.iter().map(|f| Feature { mass: Rational::ONE, ..f.clone() });
    push(ones.collect(), from.clone(), to.clone(), t.clone());
    push(features.to_vec(), from.clone(), to.clone(), Rational::ONE / Rational::from(2));
    // one number smaller, in a block that rests at both ends together
    let simpler = |x: &Rational| {
        let truncated = Rational::from(x.trunc());
        let half = Rational::from((x / Rational::from(2)).trunc());
        [Rational::ZERO, Rational::ONE, -Rational::ONE, half, truncated, -x]
    };
    for d in 0..n {
        for k in 0..features[d].w_p.len() + features[d].w_r.len() {
            let entry = |f: &mut Feature, value: Option<&Rational>| -> Rational {
                let n_p = f.w_p.len();
                let place = if k < n_p { &mut f.w_p[k] } else { &mut f.w_r[k - n_p] };
                if let Some(value) = value {
                    *place = value.clone();
                }
                place.clone()
            };
            let old = entry(&mut features[d].clone(), None);
            for value in simpler(&old) {
                let mut changed = features.to_vec();
                entry(&mut changed[d], Some(&value));
                push(changed, from.clone(), to.clone(), t.clone());
            }
        }
    }
    let weight = |point: &Point, i: usize, k: usize| {
        let n_p = point.w_e[i].len();
        if k < n_p { point.w_e[i][k].clone() } else { point.w_d[i][k - n_p].clone() }
    };
    let with = |point: &Point, i: usize, k: usize, value: &Rational| {
        let mut point = point.clone();
        let n_p = point.w_e[i].len();
        let place = if k < n_p { &mut point.w_e[i][k] } else { &mut point.w_d[i][k - n_p] };
        *place = value.clone();
        point
    };
    for i in 0..n_q {
        for k in 0..from.w_e[i].len() + from.w_d[i].len() {
            for value in simpler(&weight(from, i, k)) {
                push(features.to_vec(), with(from, i, k, &value), with(to, i, k, &value), t.clone());
                push(features.to_vec(), with(from, i, k, &value), to.clone(), t.clone());
            }
            for value in simpler(&weight(to, i, k)) {
                push(features.to_vec(), from.clone(), with(to, i, k, &value), t.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[i32]) -> Vec<Rational> {
        values.iter().map(|&x| Rational::from(x)).collect()
    }

    /// One feature p = r = 1, and two neurons with v = (2, 1).
    fn example(activation: Activation, from: [i32; 2], to: [i32; 2]) -> Chord {
        let one = numbers(&[1]);
        let feature = Feature { w_p: one.clone(), w_r: one, mass: Rational::ONE };
        let problem = Problem::new(vec![feature], activation).unwrap();
        let point = |w: [i32; 2]| Point {
            w_e: vec![numbers(&w[..1]), numbers(&w[1..])],
            w_d: vec![numbers(&[2]), numbers(&[1])],
        };
        Chord { problem, from: point(from), to: point(to), t: Rational::ONE / Rational::from(2) }
    }

    #[test]
    fn events_are_crossings_of_the_threshold_or_exchanges_of_ranks() {
        let thirds = |k: i32| Rational::from(k) / Rational::from(3);
        let at = |activation| example(activation, [-1, 3], [2, 0]).events();
        // z = (−1 + 3t, 3 − 3t): neuron 1 crosses 0 at 1/3, the ranks change at 2/3.
        assert_eq!(at(Activation::Threshold(Rational::ZERO)), [thirds(1)]);
        assert_eq!(at(Activation::TopK(1)), [thirds(2)]);
        assert_eq!(at(Activation::TopKRelu(1)), [thirds(1), thirds(2)]);
    }

    #[test]
    fn the_excess_is_minus_the_sum_of_squares_inside_a_cell_and_not_across_a_jump_of_top_k() {
        let inside = example(Activation::Threshold(Rational::ZERO), [1, 3], [2, 1]);
        // V Δz = 2·1 + 1·(−2) = 0: the loss is flat.
        assert_eq!((inside.excess(), inside.sum_of_squares()), (Rational::ZERO, Rational::ZERO));
        // Losses (2·2 − 1)² = 9 and (1·3 − 1)² = 4 at the ends, (2·3/2 − 1)² = 4 or (1·2 − 1)² = 1 between, by the neuron that fires.
        let apart = example(Activation::TopK(1), [2, 1], [1, 3]);
        assert!(apart.cell().is_none() && apart.printed_cell(&Rational::ZERO).is_some());
        assert_eq!(apart.excess(), Rational::from(1) - Rational::from(13) / Rational::from(2));
        assert_eq!(apart.sum_of_squares(), Rational::ONE);
    }

    #[test]
    fn a_shrunk_chord_keeps_its_property_and_is_not_larger() {
        let mut rng = crate::bench::features::stream(0, "chord tests");
        let shape = Shape { n: 3, n_p: 2, n_r: 2, n_q: 3 };
        let relu = || Activation::Threshold(Rational::ZERO);
        let draw = |rng: &mut ChaCha20Rng| Chord {
            problem: problem(rng, shape, relu()),
            from: point(rng, shape, 3),
            to: point(rng, shape, 3),
            t: place(rng),
        };
        let rises = |chord: &Chord| chord.excess() > Rational::ZERO;
        let found = (0..1000).map(|_| draw(&mut rng)).find(rises).unwrap();
        let smaller = shrink(found.clone(), rises);
        assert!(rises(&smaller) && size(&smaller) < size(&found));
        // The excess is a sum over features: without the one that adds least it is positive still.
        assert_eq!(smaller.problem.n(), 1);
    }
}
