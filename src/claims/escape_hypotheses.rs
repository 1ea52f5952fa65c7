//! Which hypotheses of the lemma `escape` matter: the residuals that no ReLU row sees, exactly, and counterexamples without them.
//!
//! Unseen residuals are the x with Σ_d max(⟨w, p_d⟩, 0) x_d = 0 for all w, x_d = M_d e_d in one coordinate of the target.

use super::escape::loss_value;
use super::relations;
use super::{Check, Context, Evidence, landscape};
use crate::bench::features::stream;
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::stats::{Kind, Table};
use crate::theory::partial_optimum::{Class, classify};
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::format::{Expr, Relation, Step};

/// λ with b = λ a, if the two lie on one line; a is not 0.
fn ratio(a: &[Rational], b: &[Rational]) -> Option<Rational> {
    let lambda = dot(a, b) / dot(a, a);
    a.iter().zip(b).all(|(x, y)| &lambda * x == *y).then_some(lambda)
}

/// How features share lines: an identity of max(⟨w, p_d⟩, 0) for each.
struct Lines {
    /// d with p_d = 0.
    zero: Vec<usize>,
    /// (d, e, λ): p_e = λ p_d with λ > 0, d the first of its ray.
    parallel: Vec<(usize, usize, Rational)>,
    /// (d, e, λ): p_e = −λ p_d with λ > 0, both the first of their rays.
    antipodal: Vec<(usize, usize, Rational)>,
}

fn lines(problem: &Problem) -> Lines {
    let p = |d: usize| &problem.features()[d].w_p;
    let mut all = Lines { zero: Vec::new(), parallel: Vec::new(), antipodal: Vec::new() };
    let mut firsts: Vec<usize> = Vec::new();
    for e in 0..problem.n() {
        if p(e).iter().all(Rational::is_zero) {
            all.zero.push(e);
            continue;
        }
        let shared: Vec<(usize, Rational)> = firsts.iter().filter_map(|&d| Some((d, ratio(p(d), p(e))?))).collect();
        if let Some((d, lambda)) = shared.iter().find(|(_, x)| rational::sign(x) > 0) {
            all.parallel.push((*d, e, lambda.clone()));
            continue;
        }
        all.antipodal.extend(shared.into_iter().map(|(d, lambda)| (d, e, -lambda)));
        firsts.push(e);
    }
    all
}

/// n_± − rank_±: how many relations hold between the lines that carry both signs.
fn dependencies(problem: &Problem, lines: &Lines) -> usize {
    let columns: Vec<Vec<Rational>> =
        lines.antipodal.iter().map(|(d, _, _)| problem.features()[*d].w_p.clone()).collect();
    if columns.is_empty() { 0 } else { columns.len() - matrix::rank(&Rationals, &columns) }
}

/// A basis of the unseen x that the identities give:
/// max(λy, 0) = λ max(y, 0), and max(y, 0) − max(−λy, 0)/λ = y, whose sums over dependent lines cancel.
pub(super) fn unseen(problem: &Problem) -> Vec<Vec<Rational>> {
    let n = problem.n();
    let lines = lines(problem);
    let with = |entries: Vec<(usize, Rational)>| {
        let mut x = vec![Rational::ZERO; n];
        entries.into_iter().for_each(|(d, value)| x[d] += value);
        x
    };
    let mut basis: Vec<Vec<Rational>> = lines.zero.iter().map(|&d| with(vec![(d, Rational::ONE)])).collect();
    basis.extend(lines.parallel.iter().map(|(d, e, lambda)| with(vec![(*e, Rational::ONE), (*d, -lambda.clone())])));
    let columns: Vec<Vec<Rational>> =
        lines.antipodal.iter().map(|(d, _, _)| problem.features()[*d].w_p.clone()).collect();
    if !columns.is_empty() {
        for c in matrix::nullspace(&Rationals, &matrix::transpose(&columns), columns.len()) {
            let entries =
                lines.antipodal.iter().zip(&c).flat_map(|((d, e, lambda), c)| [(*d, c.clone()), (*e, -(c / lambda))]);
            basis.push(with(entries.collect()));
        }
    }
    basis
}

/// The x that no row of a random sample sees: a space that contains all unseen x. Rows are drawn until it has not shrunk for long.
fn unseen_by_samples(problem: &Problem, rng: &mut ChaCha20Rng) -> Vec<Vec<Rational>> {
    let rows: Vec<Vec<Rational>> = (0..12 * problem.n())
        .map(|_| {
            let w: Vec<Rational> = (0..problem.n_p()).map(|_| Rational::from(rng.random_range(-50..=50_i32))).collect();
            problem.features().iter().map(|f| dot(&w, &f.w_p).max(Rational::ZERO)).collect()
        })
        .collect();
    matrix::nullspace(&Rationals, &rows, problem.n())
}

/// A rational unit vector from integers up to `height`; ±1 in one dimension.
fn simple_unit(n_p: usize, height: i32, rng: &mut ChaCha20Rng) -> Vec<Rational> {
    let mut t: Vec<i32> = (0..n_p - 1).map(|_| rng.random_range(-height..=height)).collect();
    // stereographic: (2st, s² − |t|²)/(s² + |t|²)
    let s = rng.random_range(1..=height);
    let squares: i32 = t.iter().map(|x| x * x).sum();
    let below = Rational::from(s * s + squares);
    t.iter_mut().for_each(|x| *x *= 2 * s);
    t.push((s * s - squares) * if rng.random_range(0..2) == 0 { 1 } else { -1 });
    t.into_iter().map(|x| Rational::from(x) / &below).collect()
}

/// A geometry of features: how many pairs share a ray or a line, in how many dimensions.
struct Geometry {
    name: &'static str,
    n_p: usize,
    /// Features that share no line with others.
    free: usize,
    /// Antipodal pairs.
    antipodal: usize,
    /// Features parallel to the first one.
    parallel: usize,
}

static GEOMETRIES: [Geometry; 7] = [
    Geometry { name: "no two on one line", n_p: 2, free: 5, antipodal: 0, parallel: 0 },
    Geometry { name: "one antipodal pair", n_p: 2, free: 3, antipodal: 1, parallel: 0 },
    Geometry { name: "two antipodal pairs", n_p: 2, free: 2, antipodal: 2, parallel: 0 },
    Geometry { name: "three antipodal pairs in the plane", n_p: 2, free: 1, antipodal: 3, parallel: 0 },
    Geometry { name: "three antipodal pairs in space", n_p: 3, free: 1, antipodal: 3, parallel: 0 },
    Geometry { name: "four antipodal pairs in space", n_p: 3, free: 1, antipodal: 4, parallel: 0 },
    Geometry { name: "two features on one ray", n_p: 2, free: 3, antipodal: 0, parallel: 1 },
];

impl Geometry {
    fn draw(&self, rng: &mut ChaCha20Rng) -> Problem {
        let mut chosen: Vec<Vec<Rational>> = Vec::new();
        while chosen.len() < self.free + self.antipodal {
            let p = simple_unit(self.n_p, 3, rng);
            if chosen.iter().all(|q| ratio(q, &p).is_none()) {
                chosen.push(p);
            }
        }
        let opposite = chosen[..self.antipodal].iter().map(|p| p.iter().map(|x| -x).collect());
        let twice = (0..self.parallel).map(|_| chosen[self.antipodal].iter().map(|x| x * Rational::from(2)).collect());
        let all: Vec<Vec<Rational>> = opposite.chain(twice).collect();
        let features = chosen.into_iter().chain(all);
        let features = features.map(|w_p| Feature { w_p, w_r: vec![Rational::ONE], mass: Rational::ONE }).collect();
        Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are 1")
    }

    /// (features − rays) + lines − rank of the lines, which is generic for these draws unless their lines happen to be dependent.
    fn predicted(&self) -> usize {
        self.parallel + self.antipodal.saturating_sub(self.n_p)
    }
}

/// What every geometry gave.
pub(super) struct Survey {
    rows: Vec<(&'static Geometry, usize, usize)>,
    trials: usize,
    failures: usize,
}

/// Draws every geometry and compares three dimensions: from the identities, from sampled rows, and the formula.
pub(super) fn survey(context: &Context) -> Survey {
    const DRAWS: usize = 20;
    let mut rng = stream(context.seed, "escape survey");
    let (mut trials, mut failures) = (0, 0);
    let rows = GEOMETRIES
        .iter()
        .map(|geometry| {
            let mut dimensions = Vec::new();
            for _ in 0..DRAWS {
                let problem = geometry.draw(&mut rng);
                let basis = unseen(&problem);
                let lines = lines(&problem);
                // three lines in space may be dependent by chance, which the rank notices
                let formula = lines.zero.len() + lines.parallel.len() + dependencies(&problem, &lines);
                let independent = basis.is_empty() || matrix::rank(&Rationals, &basis) == basis.len();
                trials += 1;
                failures += usize::from(
                    !(independent && basis.len() == formula)
                        || basis.len() < geometry.predicted()
                        || unseen_by_samples(&problem, &mut rng).len() != formula,
                );
                dimensions.push(formula);
            }
            let extreme = |of: Option<&usize>| of.copied().unwrap_or(0);
            (geometry, extreme(dimensions.iter().min()), extreme(dimensions.iter().max()))
        })
        .collect();
    Survey { rows, trials, failures }
}

impl Survey {
    pub fn check(&self) -> Check {
        let what = "dimension of the residuals that no row sees: the formula, the identities, and random rows".into();
        Check { what, trials: self.trials, failures: self.failures }
    }

    pub fn table(&self, source: &str) -> Table {
        let columns = [
            ("features", Kind::Text),
            ("n_p", Kind::Number),
            ("n", Kind::Number),
            ("unseen dimension", Kind::Text),
            ("a zero row can always leave", Kind::Text),
        ];
        let mut table = Table::new("escape-hypotheses", source, columns)
            .title("Which hypotheses of the escape lemma matter")
            .caption(
                "Dimension of the residuals that no ReLU row sees, per coordinate of the target, over random draws. Where it is 0 a zero \
                 row with L̃ > 0 is never at a local minimum.",
            )
            .note("Under a threshold c > 0 no geometry helps: rows near 0 do not fire.")
            .note("Features with p_d = 0, which Assumption 2.4 excludes, are seen by no row and count 1 each.");
        for (geometry, low, high) in &self.rows {
            let dimension = if low == high { low.to_string() } else { format!("{low} to {high}") };
            table.push([
                geometry.name.into(),
                geometry.n_p.into(),
                (geometry.free + 2 * geometry.antipodal + geometry.parallel).into(),
                dimension.into(),
                match (*low, *high) {
                    (_, 0) => "yes".into(),
                    (0, _) => "not if three lines lie in a plane".into(),
                    _ => "no".into(),
                },
            ]);
        }
        table
    }
}

/// Which hypothesis a counterexample gives up.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    /// Features on one ray allowed.
    Rays,
    /// Antiparallel features allowed, parallel ones not.
    Antiparallel,
}

/// A problem whose residuals at (0, 0) no row sees: r_d = x_d/M_d for an unseen x, shapes tried from the smallest.
fn search(without: Without, rng: &mut ChaCha20Rng) -> Option<Problem> {
    const PROPOSALS: usize = 2500;
    [1, 2].into_iter().flat_map(|n_p| (2..=6).map(move |n| (n_p, n))).find_map(|(n_p, n)| {
        (0..PROPOSALS).find_map(|_| {
            let features: Vec<Feature> = (0..n)
                .map(|_| Feature {
                    w_p: simple_unit(n_p, 2, rng),
                    w_r: vec![Rational::ONE],
                    mass: Rational::from(rng.random_range(1..=3_i32)),
                })
                .collect();
            let problem =
                Problem::new(features.clone(), Activation::Threshold(Rational::ZERO)).expect("masses are positive");
            if without == Without::Antiparallel && !lines(&problem).parallel.is_empty() {
                return None;
            }
            let x = unseen(&problem).into_iter().next()?;
            let features = features.into_iter().zip(x).map(|(f, x)| Feature { w_r: vec![x / &f.mass], ..f }).collect();
            Problem::new(features, Activation::Threshold(Rational::ZERO)).ok()
        })
    })
}

/// The point with one neuron, (w, v) = (0, 0).
fn zero(problem: &Problem) -> Point {
    Point { w_e: vec![vec![Rational::ZERO; problem.n_p()]], w_d: vec![vec![Rational::ZERO; problem.n_r()]] }
}

/// The identities that make q vanish, as exact relations: on each ray Σ λ_e M_e r_e, over the antipodal lines Σ (M_d r_d) p_d, and on
/// each such line M_d r_d + λ M_e r_e. (n_r = 1.)
fn identities(problem: &Problem) -> Vec<Step> {
    let lines = lines(problem);
    let f = problem.features();
    let product = |factors: &[&Rational]| Expr::Mul(factors.iter().map(|x| relations::rational(x)).collect());
    let equal = |left: Expr, right: Expr| relations::step(left, Relation::Equal, right);
    // what a ray's first feature carries for all of its ray: (λ, e), with itself at λ = 1
    let carried = |d: usize| -> Vec<(Rational, usize)> {
        let rest = lines.parallel.iter().filter(|(first, _, _)| *first == d).map(|(_, e, lambda)| (lambda.clone(), *e));
        [(Rational::ONE, d)].into_iter().chain(rest).collect()
    };
    let is_zero = |terms: Vec<Expr>| equal(Expr::Add(terms), relations::integer(0));
    let mut steps = Vec::new();
    for (d, e, lambda) in &lines.parallel {
        for (x, y) in f[*d].w_p.iter().zip(&f[*e].w_p) {
            steps.push(equal(relations::rational(y), product(&[lambda, x])));
        }
    }
    let alone = |d: &usize| lines.antipodal.iter().all(|(a, b, _)| a != d && b != d);
    let firsts = (0..f.len()).filter(|e| lines.parallel.iter().all(|(_, later, _)| later != e));
    for d in firsts.filter(alone) {
        steps.push(is_zero(carried(d).iter().map(|(l, e)| product(&[l, &f[*e].mass, &f[*e].w_r[0]])).collect()));
    }
    for (d, e, lambda) in &lines.antipodal {
        for (x, y) in f[*d].w_p.iter().zip(&f[*e].w_p) {
            let minus = -lambda.clone();
            steps.push(equal(relations::rational(y), product(&[&minus, x])));
        }
        let here = carried(*d).into_iter().map(|(l, k)| product(&[&l, &f[k].mass, &f[k].w_r[0]]));
        let there = carried(*e).into_iter().map(|(l, k)| product(&[lambda, &l, &f[k].mass, &f[k].w_r[0]]));
        steps.push(is_zero(here.chain(there).collect()));
    }
    if !lines.antipodal.is_empty() {
        for k in 0..problem.n_p() {
            let terms = lines.antipodal.iter().flat_map(|(d, _, _)| {
                carried(*d)
                    .into_iter()
                    .map(|(l, e)| product(&[&l, &f[e].mass, &f[e].w_r[0], &f[*d].w_p[k]]))
                    .collect::<Vec<_>>()
            });
            steps.push(is_zero(terms.collect()));
        }
    }
    steps
}

/// A counterexample for each hypothesis that matters, found and certified.
pub(super) fn counterexamples(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "escape counterexamples");
    let mut items = Vec::new();
    let kinds = [
        (Without::Rays, "parallel", "With two features on one ray"),
        (Without::Antiparallel, "antiparallel", "Without parallel features, but with dependent antipodal lines"),
    ];
    for (without, name, words) in kinds {
        let problem = search(without, &mut rng).ok_or_else(|| format!("no counterexample with {name} features"))?;
        let text = format!("{words}: {}. The zero row has L̃ > 0.", landscape::describe(&problem));
        items.push(loss_value(&problem, &zero(&problem), text, &format!("{name}-zero-row"))?);
        let text = "There q(w) = 0 for every row w, by these identities with max(λy, 0) = λ max(y, 0) and max(y, 0) − max(−y, 0) = y; so \
                    L̃(w, v) = L̃(0, 0) + ‖v‖² Σ M_d z_d² ≥ L̃(0, 0), and the zero row is at a minimum."
            .to_owned();
        let certificate =
            relations::certificate(identities(&problem), "the identities by which no row sees the residuals");
        let item = Evidence::certified(text, &format!("{name}-identities"), certificate);
        items.push(item.map_err(|refusal| refusal.to_string())?);
    }
    // c > 0: the zero row is inside the cell of dead rows
    let feature = Feature { w_p: simple_unit(1, 1, &mut rng), w_r: vec![Rational::ONE], mass: Rational::ONE };
    let c = Rational::ONE / Rational::from(rng.random_range(2..=4_i32));
    let problem = Problem::new(vec![feature], Activation::Threshold(c)).map_err(|e| e.to_string())?;
    let report = classify(&problem, &zero(&problem))?;
    if report.class != Some(Class::LocalMin) || report.first.loss.is_zero() {
        return Err("the zero row under c > 0 is no local minimum".into());
    }
    let text = format!(
        "Under a threshold: {}. The zero row is at a local minimum with L̃ = {}, for its activations are below c.",
        landscape::describe(&problem),
        report.first.loss
    );
    items.push(
        Evidence::certified(text, "threshold-zero-row", report.certificate).map_err(|refusal| refusal.to_string())?,
    );
    Ok(items)
}

/// Random counterexamples of both kinds: no random (w, v) has a lower loss than (0, 0).
pub(super) fn counterexample_check(context: &Context) -> Check {
    const DRAWS: usize = 60;
    const POINTS: usize = 10;
    let mut rng = stream(context.seed, "escape counterexample check");
    let (mut trials, mut failures) = (0, 0);
    for geometry in GEOMETRIES.iter().filter(|g| g.predicted() > 0 && g.n_p == 2) {
        for _ in 0..DRAWS {
            let problem = geometry.draw(&mut rng);
            let basis = unseen(&problem);
            let features = problem
                .features()
                .iter()
                .enumerate()
                .map(|(d, f)| Feature { w_r: basis.iter().take(1).map(|x| x[d].clone()).collect(), ..f.clone() });
            let problem =
                Problem::new(features.collect(), problem.activation().clone()).expect("an unseen residual exists");
            let lowest = zero(&problem).loss(&problem);
            trials += 1;
            failures += usize::from((0..POINTS).any(|_| {
                let mut near = zero(&problem);
                for x in near.w_e.iter_mut().chain(near.w_d.iter_mut()).flatten() {
                    *x = Rational::from(rng.random_range(-9..=9_i32)) / Rational::from(64);
                }
                near.loss(&problem) < lowest
            }));
        }
    }
    Check {
        what: "random counterexamples without the hypothesis: no random point near (0, 0) has a lower loss".into(),
        trials,
        failures,
    }
}
