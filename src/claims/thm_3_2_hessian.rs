//! The Hessian in the proof of Theorem 3.2 (eq. 50): block-diagonal in the encoder rows.
//!
//! Refuted: rows that fire on a common feature are coupled by ⟨v_i, v_j⟩. Theorem 3.2 itself stands, as the corrected Hessian
//! is a Gram matrix.

use super::chord::{self, Shape};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::{Rational, rational};
use crate::stats::{Axis, Cell, Figure, HeatMap, Layer, Panel, Width};
use crate::theory::certificate_body::{certificate, number, numbers, point as point_json};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.2-hessian",
    place: "App. I.2, eq. 50 (proof of Theorem 3.2)",
    title: "The Hessian in the encoder is block-diagonal",
    statement: "Within a cell the Hessian of f_d in W_E is block-diagonal, with one block 2‖v_i‖² p_d p_dᵀ per active neuron.",
    latex: r"\nabla^2_{w_E^i}f_d=2\|w_D^i\|^2\,w_p^d(w_p^d)^\top\ \text{and}\ \nabla^2_{W_E}f_d\ \text{is block-diagonal}",
    assumes: "A cell Ω_A of a threshold activation, c ≥ 0.",
    sources: &[],
    run,
    on_instance: None,
};

const PROPOSALS: usize = 200;
const TRIALS: usize = 300;
/// The cells whose whole Hessian is compared with eq. 50, and the neurons and dimensions of the one that is drawn.
const DRAWN: Shape = Shape { n: 6, n_p: 3, n_r: 3, n_q: 4 };

/// A point with two neurons, and steps of the two rows that stay in its cell.
struct Square {
    problem: Problem,
    point: Point,
    steps: [Vec<Rational>; 2],
}

/// Small random integers: n features in R^{n_p}, targets in R^{n_r}, two neurons.
fn propose(rng: &mut ChaCha20Rng, n: usize, n_p: usize, n_r: usize) -> Square {
    let mut vector =
        |length: usize| (0..length).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect::<Vec<_>>();
    let features = (0..n).map(|_| Feature { w_p: vector(n_p), w_r: vector(n_r), mass: Rational::ONE }).collect();
    let point = Point { w_e: vec![vector(n_p), vector(n_p)], w_d: vec![vector(n_r), vector(n_r)] };
    let steps = [vector(n_p), vector(n_p)];
    let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are 1");
    Square { problem, point, steps }
}

impl Square {
    /// The point with row 0 and row 1 moved or not.
    fn corner(&self, moved: [bool; 2]) -> Point {
        let mut corner = self.point.clone();
        for (i, step) in self.steps.iter().enumerate().filter(|(i, _)| moved[*i]) {
            for (x, s) in corner.w_e[i].iter_mut().zip(step) {
                *x += s;
            }
        }
        corner
    }

    /// L̃(11) − L̃(10) − L̃(01) + L̃(00) if all corners lie in one cell: 0 if the Hessian is block-diagonal.
    fn mixed_difference(&self) -> Option<Rational> {
        let corners = [[true, true], [true, false], [false, true], [false, false]].map(|moved| self.corner(moved));
        let patterns = corners.each_ref().map(|c| Pattern::of_encoder(&self.problem, &c.w_e));
        if patterns.iter().any(|p| *p != patterns[0]) {
            return None;
        }
        let loss = corners.each_ref().map(|c| c.loss(&self.problem));
        Some(&loss[0] - &loss[1] - &loss[2] + &loss[3])
    }

    /// 2⟨v_0,v_1⟩ Σ_{d: 0,1∈A(d)} M_d ⟨δ_0,p_d⟩⟨δ_1,p_d⟩, the corrected (0,1) block applied to the steps.
    fn predicted(&self) -> Rational {
        let pattern = Pattern::of_encoder(&self.problem, &self.point.w_e);
        let sum = pattern.sets()[0].intersection(&pattern.sets()[1]).fold(Rational::ZERO, |s, &d| {
            let f = &self.problem.features()[d];
            s + &f.mass * dot(&self.steps[0], &f.w_p) * dot(&self.steps[1], &f.w_p)
        });
        Rational::from(2) * dot(&self.point.w_d[0], &self.point.w_d[1]) * sum
    }
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    // Proposals start at the smallest shape, so that what is found first needs no shrinking.
    let found = [(1, 1, 1), (1, 2, 1), (2, 2, 2)].into_iter().find_map(|(n, n_p, n_r)| {
        (0..PROPOSALS).map(|_| propose(&mut rng, n, n_p, n_r)).find_map(|square| {
            let difference = square.mixed_difference()?;
            (!difference.is_zero()).then_some((square, difference))
        })
    });
    let Some((square, difference)) = found else {
        return Outcome::undecided("no coupled pair of rows among the proposals");
    };
    let moved = [square.corner([true, false]).w_e[0].clone(), square.corner([false, true]).w_e[1].clone()];
    let body = json!({
        "point": point_json(&square.point),
        "neurons": [0, 1],
        "rows": [numbers(&moved[0]), numbers(&moved[1])],
        "difference": number(&difference),
    });
    let text = format!(
        "{}: inside one cell the mixed second difference of L̃ in two encoder rows is {difference}, not 0.",
        landscape::describe(&square.problem)
    );
    let evidence = match Evidence::certified(text, "not-separable", certificate(&square.problem, "not-separable", body))
    {
        Ok(item) => vec![item],
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    let shares = shares(context);
    let mut outcome = Outcome::new(Verdict::Refuted, evidence).with_correction(Correction {
        statement: "The (w_i, w_j) block of the Hessian of L̃ is 2⟨v_i,v_j⟩ Σ_{d: i,j∈A(d)} M_d p_d p_dᵀ. The whole is the Gram \
                    matrix of W ↦ VZ and therefore positive semidefinite, so Theorem 3.2 holds."
            .into(),
        latex: r"\nabla_{w_E^i}\nabla_{w_E^j}\tilde{\mathcal L}=2\langle w_D^i,w_D^j\rangle\sum_{d:\,i,j\in A(d)}M_d\,w_p^d(w_p^d)^\top".into(),
        checks: vec![block_check(&mut rng)],
    });
    if let Some((problem, point, share)) = shares.iter().find(|(problem, point, _)| is_typical(problem, point)) {
        outcome.figures.push(figure(problem, point, *share));
    }
    let mut sorted: Vec<f64> = shares.iter().map(|(_, _, share)| *share).collect();
    sorted.sort_by(f64::total_cmp);
    outcome
        .with_quantity(
            "off-block-share",
            "median share of the encoder's Hessian (squared Frobenius norm) outside the diagonal blocks, 300 random cells of 4 neurons",
            Cell::number(sorted[sorted.len() / 2], 3),
        )
        .with_quantity(
            "mixed-difference",
            "mixed second difference of the loss in two encoder rows, which eq. 50 says is 0",
            Cell::exact(&difference),
        )
}

/// The Hessian of L̃ in W_E inside the point's cell, rows of W_E one after the other: blocks 2⟨v_i,v_j⟩ Σ_{d∈F_i∩F_j} M_d p_d p_dᵀ.
pub(super) fn encoder_hessian(problem: &Problem, point: &Point) -> Vec<Vec<Rational>> {
    let pattern = Pattern::of_encoder(problem, &point.w_e);
    let (n_q, n_p) = (point.w_e.len(), problem.n_p());
    let mut H = vec![vec![Rational::ZERO; n_q * n_p]; n_q * n_p];
    for (i, j) in (0..n_q).flat_map(|i| (0..n_q).map(move |j| (i, j))) {
        let overlap = Rational::from(2) * dot(&point.w_d[i], &point.w_d[j]);
        for &d in pattern.sets()[i].intersection(&pattern.sets()[j]) {
            let feature = &problem.features()[d];
            let weight = &overlap * &feature.mass;
            for (k, l) in (0..n_p).flat_map(|k| (0..n_p).map(move |l| (k, l))) {
                H[i * n_p + k][j * n_p + l] += &weight * &feature.w_p[k] * &feature.w_p[l];
            }
        }
    }
    H
}

/// Random cells with the share of the Hessian's squared Frobenius norm that eq. 50 leaves out.
fn shares(context: &Context) -> Vec<(Problem, Point, f64)> {
    let mut rng = stream(context.seed, "thm-3.2-hessian shares");
    let cell = |_| {
        let problem = chord::problem(&mut rng, DRAWN, Activation::Threshold(Rational::ZERO));
        let point = chord::point(&mut rng, DRAWN, 2);
        let H = encoder_hessian(&problem, &point);
        let (mut inside, mut outside) = (Rational::ZERO, Rational::ZERO);
        for (k, l) in (0..H.len()).flat_map(|k| (0..H.len()).map(move |l| (k, l))) {
            let sum = if k / DRAWN.n_p == l / DRAWN.n_p { &mut inside } else { &mut outside };
            *sum += &H[k][l] * &H[k][l];
        }
        let all = &inside + &outside;
        let share = if all.is_zero() { 0.0 } else { rational::to_f64(&(outside / all)) };
        (problem, point, share)
    };
    (0..TRIALS).map(cell).collect()
}

/// Every row has a block of its own, most pairs of rows are coupled, and some are not.
fn is_typical(problem: &Problem, point: &Point) -> bool {
    let H = encoder_hessian(problem, point);
    let is_zero = |i: usize, j: usize| {
        let of = |i: usize| i * DRAWN.n_p..(i + 1) * DRAWN.n_p;
        of(i).all(|k| H[k][of(j)].iter().all(Rational::is_zero))
    };
    let coupled = (0..DRAWN.n_q).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|&(i, j)| !is_zero(i, j)).count();
    (0..DRAWN.n_q).all(|i| !is_zero(i, i)) && (4..=5).contains(&coupled)
}

/// |entries| of the Hessian as printed and as it is.
fn figure(problem: &Problem, point: &Point, share: f64) -> Figure {
    let H = encoder_hessian(problem, point);
    let n_p = problem.n_p();
    let panel = |title: &str, printed: bool| {
        let entry = |k: usize, l: usize| {
            if printed && k / n_p != l / n_p { 0.0 } else { rational::to_f64(&H[k][l]).abs() }
        };
        let rows: Vec<Vec<f64>> = (0..H.len()).map(|k| (0..H.len()).map(|l| entry(k, l)).collect()).collect();
        let end = H.len() as f64;
        let middle = |i: usize| (i as f64 + 0.5) * n_p as f64 + 0.5;
        let axis = |ticks: &dyn Fn(usize) -> f64| {
            let ticks: Vec<_> = (0..DRAWN.n_q).map(|i| (ticks(i), format!("w_{}", i + 1))).collect();
            Axis::linear("encoder row").range(0.5, end + 0.5).ticks(ticks)
        };
        Panel::new(title, axis(&middle), axis(&|i| end + 1.0 - middle(i)))
            .equal_units()
            .layer(Layer::Heat(HeatMap::matrix(&rows, n_p).label("|entry|")))
    };
    Figure::new("thm-3-2-hessian-blocks", CLAIM.id, Width::Page)
        .title("The Hessian in W_E: eq. 50 against the true blocks")
        .caption(&format!(
            "Absolute entries of the Hessian of L̃ in the rows of W_E inside one cell, for a random instance with 4 neurons, 6 features and \
             n_p = 3. (a) As eq. 50 says, with diagonal blocks only. (b) The true one, block by block: rows that fire on a common feature are coupled, and {:.0} % \
             of the squared Frobenius norm lies outside the diagonal blocks.",
            100.0 * share
        ))
        .panel(panel("eq. 50", true))
        .panel(panel("true", false))
}

/// The corrected block against exact mixed differences: equal, as L̃ is quadratic in W within a cell.
fn block_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut trials, mut failures) = (0, 0);
    for _ in 0..20 * TRIALS {
        let square = propose(rng, 3, 2, 2);
        if let Some(difference) = square.mixed_difference() {
            trials += 1;
            failures += usize::from(difference != square.predicted());
        }
        if trials == TRIALS {
            break;
        }
    }
    Check { what: "exact mixed differences in one cell against the corrected block".into(), trials, failures }
}
