//! The regime of L̃: "we only need to consider situations where at most one component is active" (App. I.1), read at the paper's default
//! n = 1000, S = .99 (Table 3).
//!
//! Refuted there: ten features are active on average, one input in two thousand has at most one, and L̃ carries less than one part in
//! twenty thousand of the loss wherever that has a closed form. What matters is n(1−S), not S: below about 0.1 L̃ carries most of it.

use super::exact_models::{Model, Shape};
use super::relations::{self, difference, integer, power, rational, step};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict};
use crate::bench::features::{random_unit, stream};
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::table::rounded;
use crate::stats::{Axis, Cell, Figure, HeatMap, Kind, Layer, Panel, Table, Width};
use crate::theory::exact_loss::ExactLoss;
use crate::theory::exact_loss::magnitudes::Magnitudes;
use crate::theory::exact_loss::monte_carlo::Estimate;
use crate::theory::loss::{ApproximateLoss, Weights};
use crate::theory::pattern::dot;
use crate::theory::problem::{Activation, Feature, Problem};
use faer::Par;
use rand::RngExt;
use sdlab_verify::format::{Expr, Relation, Step};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "regime",
    place: "App. I.1, before eq. 32, at the defaults of Table 3",
    title: "At the default sparsity at most one feature is active",
    statement: "Under extreme sparsity only inputs with at most one active feature need to be considered; read at the default n = 1000, S = .99: most inputs are such.",
    latex: r"S\to1:\ \|x(s)\|_0\le1\ \text{for any given input, at } n=1000,\ S=0.99",
    assumes: "Independent features, each active with probability 1−S (Asms. 2.3 and 2.4, eq. 29).",
    sources: &[],
    run,
    on_instance: None,
};

/// Table 3.
const FEATURES: usize = 1000;
const DIMENSION: usize = 768;
/// 1/(1−S).
const SPARSITY: i64 = 100;
/// 1−S in Table 6, which calls it S.
const TABLE_6: [f64; 3] = [0.005, 0.01, 0.1];
/// The magnitudes c_min + Exp(β) with c_min = β = 1; the paper does not publish the two numbers.
const MAGNITUDES: Magnitudes = Magnitudes::Exponential { shift: 1.0, scale: 1.0 };
/// Drawn inputs for the estimate of L, and models of the corrected statement.
const DRAWS: usize = 256;
const TRIALS: usize = 300;

/// n independent features that are active with probability p.
struct Setting {
    n: usize,
    p: Rational,
}

/// What the sentence assumes of n and 1−S.
fn hypotheses(setting: &Setting) -> bool {
    setting.n >= 1 && setting.p > Rational::ZERO && setting.p < Rational::ONE
}

impl Setting {
    fn silent(&self) -> Expr {
        difference(integer(1), rational(&self.p))
    }

    /// (1−p)^k.
    fn silent_power(&self, k: usize) -> Rational {
        (Rational::ONE - &self.p).pow(k as isize)
    }

    /// Pr(‖x‖₀ = 0), with its expression.
    fn none(&self) -> (Rational, Expr) {
        (self.silent_power(self.n), power(self.silent(), self.n))
    }

    /// Pr(‖x‖₀ = 1), with its expression.
    fn one(&self) -> (Rational, Expr) {
        let value = Rational::from(self.n) * &self.p * self.silent_power(self.n - 1);
        (value, Expr::Mul(vec![Expr::Binomial(self.n, 1), rational(&self.p), power(self.silent(), self.n - 1)]))
    }

    /// Pr(‖x‖₀ ≥ 2), with its expression.
    fn more(&self) -> (Rational, Expr) {
        let (none, one) = (self.none(), self.one());
        (Rational::ONE - none.0 - one.0, difference(integer(1), Expr::Add(vec![none.1, one.1])))
    }

    /// (1−p)^(n−1), the share L̃/L with the zero decoder and orthogonal targets, and (1−p)^(n−2), the largest of a sign-coherent point.
    fn shares(&self) -> [(Rational, Expr); 2] {
        [1, 2].map(|less| {
            let k = self.n.saturating_sub(less);
            (self.silent_power(k), power(self.silent(), k))
        })
    }
}

/// Decimals just below and above a number > 0, with so many digits.
fn bracket(x: &Rational, digits: usize) -> [Rational; 2] {
    let ten = Rational::from(10);
    let mut unit = Rational::ONE;
    while x / &unit < ten.pow(digits as isize - 1) {
        unit /= &ten;
    }
    let low = Rational::from((x / &unit).floor()) * &unit;
    [low.clone(), low + unit]
}

/// low < value < high.
fn between((value, expression): (Rational, Expr), digits: usize) -> ([Rational; 2], [Step; 2]) {
    let ends = bracket(&value, digits);
    let steps = [
        step(rational(&ends[0]), Relation::Less, expression.clone()),
        step(expression, Relation::Less, rational(&ends[1])),
    ];
    (ends, steps)
}

fn run(context: &Context) -> Outcome {
    let default = Setting { n: FEATURES, p: Rational::ONE / Rational::from(SPARSITY) };
    if !hypotheses(&default) {
        return Outcome::undecided("the default configuration is no probability law");
    }
    let more = default.more().0;
    let [zero_decoder, coherent] = default.shares();
    let (share, most) = (to_f64(&zero_decoder.0), to_f64(&coherent.0));
    let of = [
        ("no feature is active", "none", default.none(), 3),
        ("exactly one feature is active", "one", default.one(), 3),
        ("two or more features are active", "two-or-more", default.more(), 6),
        (
            "(1−S)^{n−1}, the share of L that L̃ carries with the zero decoder and orthogonal targets,",
            "share",
            zero_decoder,
            3,
        ),
        ("(1−S)^{n−2}, the largest share at a point with sign-coherent rows,", "largest-share", coherent, 3),
    ];
    let mut evidence = Vec::new();
    for (what, name, value, digits) in of {
        let ([low, high], steps) = between(value, digits);
        let about = if name.ends_with("share") { what.to_owned() } else { format!("The probability that {what}") };
        let text = format!(
            "n = {FEATURES}, 1−S = {}: {about} lies between {} and {}.",
            default.p,
            rounded(to_f64(&low), digits),
            rounded(to_f64(&high), digits)
        );
        match Evidence::certified(text.clone(), name, relations::certificate(steps.into(), &text)) {
            Ok(item) => evidence.push(item),
            Err(refusal) => return Outcome::undecided(refusal.to_string()),
        }
    }
    let half = Rational::ONE / Rational::from(2);
    let verdict = if more > half { Verdict::Refuted } else { Verdict::Holds };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "L̃ speaks of inputs with one active feature, whose share of the inputs is n(1−S)S^{n−1}. At a point whose rows are \
                    sign-coherent (every W_pᵀw_i ≥ 0 or ≤ 0), with c = 0 and L > 0, S^{n−1}/(1+(n−1)(1−S)) ≤ L̃/L ≤ S^{n−2}. So L̃ is most of L \
                    iff n(1−S) is small: at n(1−S) ≤ 0.1 it is at least 9/11 there. Elsewhere the share may be anything: it is 0 where L̃ = 0 < L \
                    (see thm-3.1)."
            .into(),
        latex: r"\frac{S^{n-1}}{1+(n-1)(1-S)}\le\frac{\tilde{\mathcal L}}{\mathcal L}\le S^{n-2}".into(),
        checks: coherent_checks(context),
    });
    let law = (MAGNITUDES.mean(), MAGNITUDES.second());
    outcome.tables.push(match table(context, &default, law) {
        Ok(table) => table,
        Err(why) => return Outcome::undecided(why),
    });
    outcome.figures.push(figure(law));
    outcome
        .with_quantity(
            "expected",
            "Expected number of active features at n = 1000, S = .99",
            Cell::exact(Rational::from(FEATURES) * &default.p),
        )
        .with_quantity("none", "Pr(‖x‖₀ = 0) there", Cell::number(to_f64(&default.none().0), 3))
        .with_quantity("one", "Pr(‖x‖₀ = 1) there", Cell::number(to_f64(&default.one().0), 3))
        .with_quantity("more", "Pr(‖x‖₀ ≥ 2) there", Cell::number(to_f64(&more), 5))
        .with_quantity("share", "L̃/L there, zero decoder and orthogonal targets", Cell::number(share, 3))
        .with_quantity("largest-share", "Largest L̃/L there at a sign-coherent point", Cell::number(most, 3))
}

/// Random exact models with sign-coherent rows: the closed form of L, and both bounds on the share.
fn coherent_checks(context: &Context) -> Vec<Check> {
    let mut rng = stream(context.seed, CLAIM.id);
    let [mut forms, mut bounds, mut small, mut sparse] = [0; 4];
    for _ in 0..TRIALS {
        let shape = Shape { n: rng.random_range(2..=4), neurons: 2, dimension: 2 };
        let model = coherent(Model::propose(&mut rng, shape, Activation::Threshold(Rational::ZERO)));
        // Half of the models are in the regime n(1−S) ≤ 1/10.
        let range = if rng.random() { 10..=40 } else { 2..=9_usize };
        let p = Rational::ONE / Rational::from(rng.random_range(range) * shape.n);
        let Ok(losses) = model.losses(&p) else {
            forms += 1;
            continue;
        };
        let (single, sum) = residual_sums(&model);
        let (first, second) = (model.moment(1), model.moment(2));
        let mean = &p * &first * &p * &first;
        let closed = (&p * &second - &mean) * &single + mean * sum;
        forms += usize::from(losses.loss != closed);
        let others = Rational::from(shape.n - 1);
        let silent = Rational::ONE - &p;
        let least = silent.pow(shape.n as isize - 1) * &losses.loss;
        let holds = least <= &losses.approximate * (Rational::ONE + others * &p)
            && losses.approximate <= silent.pow(shape.n as isize - 2) * &losses.loss;
        bounds += usize::from(!holds);
        if Rational::from(shape.n) * &p <= Rational::ONE / Rational::from(10) {
            sparse += 1;
            small += usize::from(losses.approximate * Rational::from(11) < losses.loss * Rational::from(9));
        }
    }
    let check = |what: &str, trials, failures| Check { what: what.into(), trials, failures };
    vec![
        check("sign-coherent models: L in closed form, exactly", TRIALS, forms),
        check("sign-coherent models: both bounds on L̃/L, exactly", TRIALS, bounds),
        check("those with n(1−S) ≤ 1/10: L̃/L ≥ 9/11", sparse, small),
    ]
}

/// The model with features in the positive orthant and rows of one sign.
fn coherent(model: Model) -> Model {
    let magnitude = |x: &Rational| if *x < Rational::ZERO { -x } else { x.clone() };
    let features = model.problem.features().iter();
    let features = features.map(|f| Feature { w_p: f.w_p.iter().map(magnitude).collect(), ..f.clone() }).collect();
    let mut point = model.point;
    for (i, row) in point.w_e.iter_mut().enumerate() {
        row.iter_mut().for_each(|x| *x = if i % 2 == 0 { magnitude(x) } else { -magnitude(x) });
    }
    let problem = Problem::new(features, model.problem.activation().clone()).expect("masses are 1");
    Model { problem, point, ..model }
}

/// Σ ‖e_d‖² and ‖Σ e_d‖².
fn residual_sums(model: &Model) -> (Rational, Rational) {
    let mut sum = vec![Rational::ZERO; model.problem.n_r()];
    let mut squares = Rational::ZERO;
    for f in model.problem.features() {
        let mut e = f.w_r.clone();
        for (w, v) in model.point.w_e.iter().zip(&model.point.w_d) {
            let z = dot(w, &f.w_p).max(Rational::ZERO);
            e.iter_mut().zip(v).for_each(|(e, v)| *e -= &z * v);
        }
        squares += dot(&e, &e);
        sum.iter_mut().zip(&e).for_each(|(s, e)| *s += e);
    }
    (squares, dot(&sum, &sum))
}

/// L̃/L at a sign-coherent point with ‖Σ e_d‖² = `alignment` Σ ‖e_d‖² (0 if the residuals cancel, 1 if they are orthogonal, n if equal),
/// for magnitudes with the moments (μ₁, μ₂).
fn coherent_share(n: f64, p: f64, alignment: f64, (first, second): (f64, f64)) -> f64 {
    (1.0 - p).powf(n - 1.0) / (1.0 + p * first * first / second * (alignment - 1.0))
}

/// Shares at the default configuration.
fn table(context: &Context, default: &Setting, law: (f64, f64)) -> Result<Table, String> {
    let (n, p) = (default.n as f64, to_f64(&default.p));
    let columns = [("point", Kind::Text), ("L̃", Kind::Number), ("L", Kind::Number), ("L̃/L", Kind::Number)];
    let mut table = Table::new("regime-shares", CLAIM.id, columns)
        .title("The share of the loss that L̃ carries at n = 1000, S = .99")
        .caption("Unit targets, magnitudes 1 + Exp(1) (the paper does not publish c_min and β). The share of the first row is the same for every law.");
    // Σ ‖e_d‖² is n with the zero decoder, and n/2 when pairs share a neuron.
    let rows = [
        ("zero decoder, orthogonal targets", n, 1.0),
        ("zero decoder, equal targets", n, n),
        ("Example 3.5 on 500 orthonormal pairs", n / 2.0, 0.0),
    ];
    for (name, squares, alignment) in rows {
        let approximate = p * (1.0 - p).powf(n - 1.0) * law.1 * squares;
        let share = coherent_share(n, p, alignment, law);
        table.push([
            name.into(),
            Cell::number(approximate, 3),
            Cell::number(approximate / share, 4),
            Cell::number(share, 3),
        ]);
    }
    let (approximate, loss) = published_point(context, p)?;
    table.push([
        "W_E = W_pᵀ, W_D = W_r (Thm 3.3), random features in R^768".into(),
        Cell::number(approximate, 3),
        Cell::Interval { value: loss.mean, low: loss.low, high: loss.high, digits: 4 },
        Cell::number(approximate / loss.mean, 3),
    ]);
    Ok(table.note(&format!("The last L is estimated from {DRAWS} drawn inputs, with its 99 % interval.")))
}

/// L̃ and an estimate of L in the configuration of Thm 3.3.
fn published_point(context: &Context, p: f64) -> Result<(f64, Estimate), String> {
    let P = random_unit(DIMENSION, FEATURES, &mut stream(context.seed, "regime features"));
    let weights = Weights { V: P.clone(), W: P.transpose().to_owned() };
    let features = ApproximateLoss::new(P.clone(), P, vec![1.0; FEATURES], 0.0).map_err(|error| error.to_string())?;
    let features = features.with_par(Par::Seq);
    let exact = ExactLoss::new(&features, MAGNITUDES).map_err(|error| error.to_string())?;
    let mass = exact.mass(p).map_err(|error| error.to_string())?;
    let approximate = mass * features.value(&weights).map_err(|error| error.to_string())?;
    let estimate = exact.monte_carlo(&weights, p, DRAWS, 0.99, context.seed).map_err(|error| error.to_string())?;
    Ok((approximate, estimate))
}

fn figure(law: (f64, f64)) -> Figure {
    let (features, sparsity) = ((1.0, 1e5), (1e-6, 0.3));
    let map = HeatMap::sample_log(features, sparsity, (91, 91), |n, p| (1.0 - p).powf(n - 1.0))
        .log(1e-6)
        .label("share L̃/L, zero decoder");
    let line = |product: f64| {
        let left = (product / sparsity.1).max(features.0);
        let right = (product / sparsity.0).min(features.1);
        vec![(left, product / left), (right, product / right)]
    };
    let settings = |p: f64| (FEATURES as f64, p);
    let regime = Panel::new("the regime map", Axis::log("n"), Axis::log("1−S"))
        .layer(Layer::Heat(map))
        .layer(Layer::Line { label: "n(1−S) = 0.1".into(), points: line(0.1) })
        .layer(Layer::Points {
            label: "Table 6".into(),
            points: TABLE_6.iter().map(|&p| settings(p)).collect(),
            intervals: Vec::new(),
        })
        .layer(Layer::Points {
            label: "default, Table 3".into(),
            points: vec![settings(1.0 / SPARSITY as f64)],
            intervals: Vec::new(),
        });
    let n = FEATURES as f64;
    let grid: Vec<f64> = (0..=80).map(|k| 10f64.powf(-2.0 + 3.3 * f64::from(k) / 80.0)).collect();
    let curve = |alignment: f64| grid.iter().map(|&x| (x, coherent_share(n, x / n, alignment, law))).collect();
    let bounds = grid.iter().map(|&x| {
        let p = x / n;
        (x, (1.0 - p).powf(n - 1.0) / (1.0 + (n - 1.0) * p), (1.0 - p).powf(n - 2.0))
    });
    let shares = Panel::new("n = 1000", Axis::log("n(1−S)"), Axis::log("share L̃/L").range(1e-9, 2.0))
        .layer(Layer::Band { label: "sign-coherent points".into(), points: bounds.collect() })
        .layer(Layer::Line { label: "zero decoder".into(), points: curve(1.0) })
        .layer(Layer::Reference { label: "n(1−S) of the default".into(), points: vec![(10.0, 1e-9), (10.0, 2.0)] });
    Figure::new("regime-map", CLAIM.id, Width::Page)
        .title("Where the approximate loss is the loss")
        .caption(
            "(a) The share S^{n−1} of L that L̃ carries with the zero decoder and orthogonal targets, for every law of magnitudes. Left of \
             the line n(1−S) = 0.1 it exceeds 0.9; at the default n = 1000, S = .99 it is 4×10^-5. (b) At n = 1000, the proven range over all points \
             with sign-coherent rows: a matter of n(1−S), which is 10 at the default.",
        )
        .panel(regime)
        .panel(shares)
}
