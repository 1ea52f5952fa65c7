//! Two-dimensional slices of L̃ with their gradient field, for the figures of claims.

use super::search::Instance;
use crate::exact::rational;
use crate::stats::{Axis, Figure, HeatMap, Layer, Mark, Panel, Width};
use crate::theory::loss::{ApproximateLoss, Weights};
use crate::theory::partial_optimum::published;
use crate::theory::problem::Problem;
use crate::theory::region::{self, Realizability};
use faer::{Mat, Par};

/// Grid points per side of a heat map, and arrows per side.
const GRID: usize = 121;
const ARROWS: usize = 11;

/// A problem in one line: "p_1 = (1, 0), p_2 = (0, 1), r = p, M = (1, 2), c = 0".
pub fn describe(problem: &Problem) -> String {
    let vector = |v: &[crate::exact::Rational]| {
        format!("({})", v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    };
    let features = problem.features();
    let list = |name: &str, of: &dyn Fn(usize) -> String| {
        (0..features.len()).map(|d| format!("{name}_{} = {}", d + 1, of(d))).collect::<Vec<_>>().join(", ")
    };
    let targets = if features.iter().all(|f| f.w_r == f.w_p) {
        "r = p".to_owned()
    } else {
        list("r", &|d| vector(&features[d].w_r))
    };
    let masses: Vec<_> = features.iter().map(|f| f.mass.clone()).collect();
    let c = problem.threshold().map_or(String::new(), |c| format!(", c = {c}"));
    format!("{}, {targets}, M = {}{c}", list("p", &|d| vector(&features[d].w_p)), vector(&masses))
}

/// A map from the plane to parameters, with the two directions along which they move.
struct Slice<'a> {
    loss: &'a ApproximateLoss,
    at: &'a dyn Fn(f64, f64) -> Weights,
    directions: &'a dyn Fn(f64, f64) -> [Weights; 2],
}

impl Slice<'_> {
    fn value(&self, x: f64, y: f64) -> f64 {
        self.loss.value(&(self.at)(x, y)).expect("shapes agree")
    }

    /// −∇ in the plane's coordinates.
    fn descent(&self, x: f64, y: f64) -> (f64, f64) {
        let (_, gradient) = self.loss.value_and_gradients(&(self.at)(x, y)).expect("shapes agree");
        let [first, second] = (self.directions)(x, y);
        (-gradient.dot(&first), -gradient.dot(&second))
    }

    fn layers(&self, x: (f64, f64), y: (f64, f64), label: &str) -> [Layer; 2] {
        let heat = HeatMap::sample(x, y, (GRID, GRID), |a, b| self.value(a, b)).label(label);
        let place = |(lo, hi): (f64, f64), k: usize| lo + (hi - lo) * (k as f64 + 0.5) / ARROWS as f64;
        let arrows = (0..ARROWS * ARROWS)
            .map(|k| {
                let (a, b) = (place(x, k % ARROWS), place(y, k / ARROWS));
                let (dx, dy) = self.descent(a, b);
                // Differences below rounding are no direction.
                if dx.hypot(dy) < 1e-12 { (a, b, 0.0, 0.0) } else { (a, b, dx, dy) }
            })
            .collect();
        [Layer::Heat(heat), Layer::Arrows { label: "−∇L̃".into(), arrows }]
    }
}

fn row(v: &[f64]) -> Mat<f64> {
    Mat::from_fn(1, v.len(), |_, k| v[k])
}

fn column(v: &[f64]) -> Mat<f64> {
    Mat::from_fn(v.len(), 1, |k, _| v[k])
}

fn loss_of(problem: &Problem) -> ApproximateLoss {
    ApproximateLoss::from_problem(problem).expect("claims use threshold problems").with_par(Par::Seq)
}

/// Example 3.5: inside its cell, and the way out through the dead neuron under plain ReLU.
pub fn example(problem: &Problem, source: &str) -> Figure {
    let loss = loss_of(problem);
    let both = |w: [f64; 4], v: [f64; 4]| Weights {
        W: Mat::from_fn(2, 2, |i, k| w[2 * i + k]),
        V: Mat::from_fn(2, 2, |k, i| v[2 * i + k]),
    };
    let inside = Slice {
        loss: &loss,
        at: &|x, y| both([x, y, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]),
        directions: &|_, _| [both([1.0, 0.0, 0.0, 0.0], [0.0; 4]), both([0.0, 1.0, 0.0, 0.0], [0.0; 4])],
    };
    let outside = Slice {
        loss: &loss,
        at: &|s, t| both([1.0, 1.0, s, -s], [0.5, 0.5, t / 2.0, -t / 2.0]),
        directions: &|_, _| [both([0.0, 0.0, 1.0, -1.0], [0.0; 4]), both([0.0; 4], [0.0, 0.0, 0.5, -0.5])],
    };
    let (unit, wide) = ((0.0, 2.2), (-1.6, 1.6));
    let mut first = Panel::new(
        "in the cell",
        Axis::linear("w_11").range(unit.0, unit.1),
        Axis::linear("w_12").range(unit.0, unit.1),
    )
    .equal_units();
    first.layers.extend(inside.layers(unit, unit, "L̃"));
    let first = first.layer(Layer::Marks { mark: Mark::PartialOptimum, points: vec![(1.0, 1.0)] });
    let mut second =
        Panel::new("the dead neuron", Axis::linear("s").range(wide.0, wide.1), Axis::linear("t").range(wide.0, wide.1))
            .equal_units();
    second.layers.extend(outside.layers(wide, wide, "L̃"));
    let second = second.layer(Layer::Marks { mark: Mark::PartialOptimum, points: vec![(0.0, 0.0)] });
    Figure::new("ex-3-5-landscape", source, Width::Page)
        .title("The landscape of Example 3.5")
        .caption(
            "(a) L̃ over the live row w_1 = (w_11, w_12) with the decoder of eq. 18 fixed: the printed point minimises it in the \
             cell. (b) The dead neuron under plain ReLU, w_2 = s(1, −1), v_2 = t(½, −½): the same point is a saddle.",
        )
        .panel(first)
        .panel(second)
}

/// The smallest counterexample to Thm 3.7: the printed construction, and the loss with the decoder eliminated.
pub fn counterexample(instance: &Instance, source: &str) -> Option<Figure> {
    let problem = &instance.problem;
    let Ok(Realizability::Realizable { w_e }) = region::decide(problem, &instance.pattern) else { return None };
    let construction = published::construct(problem, &instance.pattern, &w_e);
    let neuron = instance.pattern.sets().iter().position(|f| f.len() >= 2)?;
    let f64s = |v: &[crate::exact::Rational]| v.iter().map(rational::to_f64).collect::<Vec<f64>>();
    let (w, v) = (f64s(&construction.point.w_e[neuron]), f64s(&construction.point.w_d[neuron]));
    let loss = loss_of(problem);
    // In two dimensions the plane is all of them; else it is spanned by the row and its gradient.
    let plane = if w.len() == 2 {
        [vec![1.0, 0.0], vec![0.0, 1.0]]
    } else {
        let unit = |v: Vec<f64>| {
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            v.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
        };
        [unit(w.clone()), unit(f64s(&construction.gradient_w[neuron]))]
    };
    let coordinate = |e: &[f64]| w.iter().zip(e).map(|(a, b)| a * b).sum::<f64>();
    let point = (coordinate(&plane[0]), coordinate(&plane[1]));
    let at_row = |x: f64, y: f64| -> Vec<f64> { (0..w.len()).map(|k| x * plane[0][k] + y * plane[1][k]).collect() };
    let zero = vec![0.0; v.len()];
    let directions = |_: f64, _: f64| {
        [Weights { W: row(&plane[0]), V: column(&zero) }, Weights { W: row(&plane[1]), V: column(&zero) }]
    };
    let fixed =
        Slice { loss: &loss, at: &|x, y| Weights { W: row(&at_row(x, y)), V: column(&v) }, directions: &directions };
    let eliminated = Slice {
        loss: &loss,
        at: &|x, y| {
            let W = row(&at_row(x, y));
            let V = loss.decoder_step(W.as_ref()).expect("shapes agree").V;
            Weights { W, V }
        },
        directions: &directions,
    };
    let reach = 2.0 * point.0.abs().max(point.1.abs());
    let range = if w.len() == 2 { (0.0, reach) } else { (-reach, reach) };
    let axes = if w.len() == 2 { ["w_11", "w_12"] } else { ["along w", "along ∇_w L̃"] };
    let panel = |title: &str, slice: &Slice, label: &str| {
        let mut panel = Panel::new(
            title,
            Axis::linear(axes[0]).range(range.0, range.1),
            Axis::linear(axes[1]).range(range.0, range.1),
        )
        .equal_units();
        panel.layers.extend(slice.layers(range, range, label));
        panel.layer(Layer::Marks { mark: Mark::Counterexample, points: vec![point] })
    };
    Some(
        Figure::new("thm-3-7-landscape", source, Width::Page)
            .title("The smallest counterexample found to Theorem 3.7")
            .caption(&format!(
                "{}. (a) L̃ over the live encoder row with the decoder of eq. 76 fixed: at the printed point the gradient is not \
                 zero. (b) L̃ with the decoder eliminated: inside the cell the gradient never vanishes.",
                describe(problem)
            ))
            .panel(panel("decoder of eq. 76", &fixed, "L̃"))
            .panel(panel("optimal decoder", &eliminated, "L̃ with V eliminated")),
    )
}
