//! App. G: "SDL optimization becomes increasingly underdetermined as the number of ground-truth features n grows (Theorem 3.4)".
//!
//! Refuted: eq. 16 for n + 1 features is eq. 16 for n of them and one equation more, so the zero set never grows. Where codes have
//! rank n its dimension falls by n_r with every feature.

use super::relations::{self, step};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use crate::theory::certificate_body::{certificate, point as point_json};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::zero_loss::{code_rank, codes, decoder, dimension, jacobian_rank};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::Certificate;
use sdlab_verify::format::{Expr, Relation};
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.4-dimension",
    place: "App. G, on Theorem 3.4",
    title: "More features leave the problem more underdetermined",
    statement: "SDL optimization becomes increasingly underdetermined as the number of features n grows relative to n_p: the set of points without loss gets larger.",
    latex: r"\dim\{(W_D,W_E):\ w_r^d=W_D\,\sigma(W_Ew_p^d)\ \forall\,d\in[n]\}\ \text{grows with } n",
    assumes: "n_p, n_r, n_q and σ_c are fixed; features are added one by one.",
    sources: &[],
    run,
    on_instance: None,
};

/// Proposals looked at before the search gives up.
const PROPOSALS: usize = 5000;
/// Instances per check of the corrected statement.
const TRIALS: usize = 150;
/// n_p = n_r and n_q of the found instances.
const SHAPE: (usize, usize) = (2, 5);
/// The paper's size: n_q, n_p = n_r, and the smallest and largest n of Table 4.
pub(super) const PAPER: (usize, usize, [usize; 7]) = (16_000, 768, [800, 900, 1000, 1100, 1200, 1300, 1400]);

/// A point without loss for a list of features, and so for every prefix of it.
struct Chain {
    problem: Problem,
    point: Point,
}

/// The first n features.
fn prefix(problem: &Problem, n: usize) -> Problem {
    Problem::new(problem.features()[..n].to_vec(), problem.activation().clone()).expect("n is at least 1")
}

/// The dimension of the zero set near a point without loss, as a certificate proves it.
struct Step {
    n: usize,
    rank: usize,
    predicted: usize,
    certified: usize,
}

fn vector(rng: &mut ChaCha20Rng, length: usize, range: std::ops::RangeInclusive<i32>) -> Vec<Rational> {
    (0..length).map(|_| Rational::from(rng.random_range(range.clone()))).collect()
}

/// Codes of rank n: n = n_q features with targets of their own, two and a half times as many as dimensions.
fn full_rank(rng: &mut ChaCha20Rng) -> Option<Chain> {
    let (n_p, n_q) = SHAPE;
    let features =
        (0..n_q).map(|_| Feature { w_p: vector(rng, n_p, -2..=2), w_r: vector(rng, n_p, -2..=2), mass: Rational::ONE });
    let problem = Problem::new(features.collect(), Activation::Threshold(Rational::ZERO)).expect("masses are 1");
    solve(problem, (0..n_q).map(|_| vector(rng, n_p, -2..=2)).collect(), n_q)
}

/// Every neuron fires on every feature, r = p: codes of rank min(n, n_p).
fn all_on(rng: &mut ChaCha20Rng) -> Option<Chain> {
    let (n_p, n_q) = SHAPE;
    let features =
        (0..n_q).map(|_| vector(rng, n_p, 1..=3)).map(|p| Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE });
    let problem = Problem::new(features.collect(), Activation::Threshold(Rational::ZERO)).expect("masses are 1");
    solve(problem, (0..n_q).map(|_| vector(rng, n_p, 1..=3)).collect(), n_p)
}

/// The point with a solved decoder, if no two features are parallel and the codes of the first n have rank min(n, `most`) for every n.
fn solve(problem: Problem, w_e: Vec<Vec<Rational>>, most: usize) -> Option<Chain> {
    let pair = |d: usize, e: usize| [d, e].map(|d| problem.features()[d].w_p.clone());
    if (0..problem.n()).any(|d| (0..d).any(|e| matrix::rank(&Rationals, &pair(d, e)) < 2)) {
        return None;
    }
    let steady = (1..=problem.n()).all(|n| code_rank(&prefix(&problem, n), &w_e) == n.min(most));
    let w_d = steady.then(|| decoder(&problem, &w_e)).flatten()?;
    Some(Chain { problem, point: Point { w_e, w_d } })
}

impl Chain {
    /// For every prefix a certificate that the point has no loss, and one of the rank of the Jacobian there.
    fn certify(&self, name: &str, evidence: &mut Vec<Evidence>) -> Result<Vec<Step>, String> {
        let n_q = self.point.w_e.len();
        let (n_p, n_r) = (self.problem.n_p(), self.problem.n_r());
        let body = json!({"point": point_json(&self.point)});
        let text = format!(
            "{}: a point without loss, for every prefix of the features too.",
            landscape::describe(&self.problem)
        );
        evidence.push(accepted(text, &format!("{name}-zero-loss"), certificate(&self.problem, "zero-loss", body))?);
        let mut steps = Vec::new();
        for n in 1..=self.problem.n() {
            let problem = prefix(&self.problem, n);
            let rank = jacobian_rank(&problem, &self.point);
            let codes_rank = code_rank(&problem, &self.point.w_e);
            let step = Step {
                n,
                rank: codes_rank,
                predicted: dimension(n_q, n_p, n_r, codes_rank),
                certified: n_q * (n_p + n_r) - rank,
            };
            let text = format!(
                "{name}, n = {n}: the Jacobian has rank {rank} of {} unknowns, so the zero set has dimension {} (predicted {}).",
                n_q * (n_p + n_r),
                step.certified,
                step.predicted
            );
            let body = json!({"point": point_json(&self.point), "rank": rank});
            evidence.push(accepted(text, &format!("{name}-rank-{n}"), certificate(&problem, "jacobian-rank", body))?);
            steps.push(step);
        }
        Ok(steps)
    }
}

fn accepted(text: String, name: &str, certificate: Certificate) -> Result<Evidence, String> {
    Evidence::certified(text, name, certificate).map_err(|refusal| refusal.to_string())
}

/// A count as an expression of `arithmetic` certificates.
pub(super) fn count(x: usize) -> Expr {
    relations::rational(&Rational::from(x))
}

/// n_q n_p + n_r (n_q − ρ) as such an expression.
pub(super) fn expression(n_q: usize, n_p: usize, n_r: usize, rank: usize) -> Expr {
    let decoders = Expr::Mul(vec![count(n_r), relations::difference(count(n_q), count(rank))]);
    Expr::Add(vec![Expr::Mul(vec![count(n_q), count(n_p)]), decoders])
}

fn run(context: &Context) -> Outcome {
    match decided(context) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::undecided(why),
    }
}

fn decided(context: &Context) -> Result<Outcome, String> {
    let mut rng = stream(context.seed, CLAIM.id);
    let mut evidence = Vec::new();
    let mut chains = Vec::new();
    type Search = fn(&mut ChaCha20Rng) -> Option<Chain>;
    let kinds: [(&str, Search); 2] = [("rank-n", full_rank), ("all-on", all_on)];
    for (name, propose) in kinds {
        let chain =
            (0..PROPOSALS).find_map(|_| propose(&mut rng)).ok_or_else(|| format!("no {name} instance was found"))?;
        chains.push((name, chain.certify(name, &mut evidence)?));
    }
    evidence.push(paper_sizes()?);
    let grows = |steps: &[Step]| steps.windows(2).any(|pair| pair[1].certified > pair[0].certified);
    let falls = |steps: &[Step]| steps.windows(2).all(|pair| pair[1].certified < pair[0].certified);
    let verdict = match (chains.iter().any(|(_, steps)| grows(steps)), chains.iter().any(|(_, steps)| falls(steps))) {
        (true, false) => Verdict::Holds,
        (false, true) => Verdict::Refuted,
        _ => Verdict::Undecided("the certified dimensions neither grow nor fall".into()),
    };
    let (n_q, n_p, sizes) = PAPER;
    let paper = |n: usize| Cell::from(dimension(n_q, n_p, n_p, n));
    let mut outcome = Outcome::new(verdict, evidence)
        .with_correction(Correction {
            statement: "The sets of points without loss are nested: one more feature can only make them smaller. In a cell whose encoders have \
                        rank Z = ρ and row(R) ⊆ row(Z) the set has dimension n_q n_p + n_r (n_q − ρ); with ρ = n it falls by n_r \
                        with each feature, and in the cell where all neurons fire on all features, ρ = min(n, n_p), it stays the same from \
                        n = n_p on. In no cell it exceeds n_q n_p + n_r (n_q − rank R). A smaller n_p at \
                        the same n lowers it as well."
                .into(),
            latex: r"\dim\{(W_D,W_E)\in\mathbb{R}^{n_r\times n_q}\times\Omega_A:\ W_DZ=W_r\}=n_qn_p+n_r\,(n_q-\rho),\quad \rho=\operatorname{rank}Z".into(),
            checks: vec![rank_check(&mut rng), bound_check(&mut rng)],
        })
        .with_quantity("smallest-n", "dimension at the paper's size, n = 800, codes of rank n", paper(sizes[0]))
        .with_quantity("middle-n", "dimension at the paper's size, n = 1000, codes of rank n", paper(1000))
        .with_quantity("largest-n", "dimension at the paper's size, n = 1400, codes of rank n", paper(sizes[6]));
    outcome.tables.push(table(&chains));
    outcome.figures.push(figure(&chains));
    Ok(outcome)
}

/// The dimension falls from n to n at the sizes of Table 4.
fn paper_sizes() -> Result<Evidence, String> {
    let (n_q, n_p, sizes) = PAPER;
    let dimension_at = |n: usize| expression(n_q, n_p, n_p, n);
    let values = sizes.iter().map(|&n| step(dimension_at(n), Relation::Equal, count(dimension(n_q, n_p, n_p, n))));
    let falls = sizes.windows(2).map(|pair| step(dimension_at(pair[1]), Relation::Less, dimension_at(pair[0])));
    let steps = values.chain(falls).collect();
    let list = sizes.map(|n| dimension(n_q, n_p, n_p, n).to_string()).join(", ");
    let text = format!("n_q = {n_q}, n_p = n_r = {n_p}, n = 800, 900, .., 1400, codes of rank n: dimension {list}.");
    let note = "n_q n_p + n_r (n_q − n) for n = 800, 900, .., 1400, and that it falls.";
    accepted(text, "paper-sizes", relations::certificate(steps, note))
}

fn table(chains: &[(&str, Vec<Step>)]) -> Table {
    let columns = [
        ("cell", Kind::Text),
        ("n", Kind::Number),
        ("rank Z", Kind::Number),
        ("predicted", Kind::Number),
        ("certified", Kind::Number),
    ];
    let mut table = Table::new("dimensions", CLAIM.id, columns)
        .title("Dimension of the zero-loss set as features are added")
        .caption(&format!("n_p = n_r = {}, n_q = {}; predicted: n_q n_p + n_r (n_q − rank Z); certified: unknowns minus the exact rank of the Jacobian.", SHAPE.0, SHAPE.1));
    for (name, steps) in chains {
        let cell = if *name == "all-on" { "all neurons on all features" } else { "codes of rank n" };
        for step in steps {
            let counts = [step.n, step.rank, step.predicted, step.certified];
            table.push([Cell::from(cell)].into_iter().chain(counts.map(Cell::from)));
        }
    }
    table
}

fn figure(chains: &[(&str, Vec<Step>)]) -> Figure {
    let mut panel =
        Panel::new("", Axis::linear("number of features n"), Axis::linear("dimension of the zero-loss set"));
    for (name, steps) in chains {
        let label = if *name == "all-on" { "all neurons on, r = p" } else { "codes of rank n" };
        let predicted = steps.iter().map(|s| (s.n as f64, s.predicted as f64)).collect();
        let certified = steps.iter().map(|s| (s.n as f64, s.certified as f64)).collect();
        panel = panel
            .layer(Layer::Reference { label: "n_q n_p + n_r (n_q − rank Z)".into(), points: predicted })
            .layer(Layer::Points { label: label.into(), points: certified, intervals: vec![] });
    }
    Figure::new("thm-3-4-dimension", CLAIM.id, Width::Column)
        .title("More features do not leave more solutions")
        .caption(&format!(
            "Certified dimension of the zero-loss set at one point as features are added, n_p = n_r = {}, n_q = {}. It falls by n_r with \
             each feature where codes have rank n, in superposition (n > {}) too, and stays where all neurons fire on all features.",
            SHAPE.0, SHAPE.1, SHAPE.0
        ))
        .panel(panel)
}

/// The rank of the Jacobian is n_r·rank Z where the codes have rank n, or all neurons are on and r lies in row(P).
fn rank_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut trials, mut failures, mut superposed) = (0, 0, 0);
    for trial in 0..40 * TRIALS {
        let (n, n_p, n_r) = (rng.random_range(1..=6), rng.random_range(1..=3), rng.random_range(1..=3));
        let n_q = rng.random_range(1..=7);
        let all_on = trial % 2 == 0;
        let (low, high) = if all_on { (1, 4) } else { (-3, 3) };
        let P: Vec<Vec<Rational>> = (0..n).map(|_| vector(rng, n_p, low..=high)).collect();
        let mix: Vec<Vec<Rational>> = (0..n_r).map(|_| vector(rng, n_p, -2..=2)).collect();
        let target = |p: &[Rational], rng: &mut ChaCha20Rng| {
            if all_on { matrix::mat_vec(&Rationals, &mix, p) } else { vector(rng, n_r, -3..=3) }
        };
        let features = P.iter().map(|p| Feature { w_p: p.clone(), w_r: target(p, rng), mass: Rational::ONE }).collect();
        let c = Rational::from(if all_on { 0 } else { rng.random_range(0..=2_i32) }) / Rational::from(2);
        let problem = Problem::new(features, Activation::Threshold(c)).expect("masses are 1");
        let w_e: Vec<_> = (0..n_q).map(|_| vector(rng, n_p, low..=high)).collect();
        let rank = code_rank(&problem, &w_e);
        // Near the point every encoder must have the same rank: the largest one possible in the cell.
        let largest = if all_on { matrix::rank(&Rationals, &P) } else { n };
        if rank != largest {
            continue;
        }
        let Some(w_d) = decoder(&problem, &w_e) else { continue };
        trials += 1;
        superposed += usize::from(n > n_p);
        let left = n_q * (n_p + n_r) - jacobian_rank(&problem, &Point { w_e, w_d });
        failures += usize::from(left != dimension(n_q, n_p, n_r, rank));
        if trials == TRIALS {
            break;
        }
    }
    Check {
        what: format!("unknowns − exact rank of the Jacobian against the formula ({superposed} with n > n_p)"),
        trials,
        failures,
    }
}

/// At any point without loss the Jacobian has rank n_r·rank R at least.
fn bound_check(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for _ in 0..TRIALS {
        let (n, n_p, n_r) = (rng.random_range(1..=5), rng.random_range(1..=3), rng.random_range(1..=3));
        let n_q = rng.random_range(1..=6);
        let point = Point {
            w_e: (0..n_q).map(|_| vector(rng, n_p, -2..=2)).collect(),
            w_d: (0..n_q).map(|_| vector(rng, n_r, -2..=2)).collect(),
        };
        let activation = Activation::Threshold(Rational::ZERO);
        let features = (0..n).map(|_| Feature {
            w_p: vector(rng, n_p, -2..=2),
            w_r: vec![Rational::ZERO; n_r],
            mass: Rational::ONE,
        });
        let silent = Problem::new(features.collect(), activation.clone()).expect("masses are 1");
        // The targets that this point reaches.
        let Z = codes(&silent, &point.w_e);
        let reached = matrix::mat_mul(&Rationals, &matrix::transpose(&Z), &point.w_d);
        let features = silent.features().iter().zip(&reached).map(|(f, r)| Feature { w_r: r.clone(), ..f.clone() });
        let problem = Problem::new(features.collect(), activation).expect("masses are 1");
        let rank = jacobian_rank(&problem, &point);
        let left = n_q * (n_p + n_r) - rank;
        let least = matrix::rank(&Rationals, &reached);
        let nested = n == 1 || jacobian_rank(&prefix(&problem, n - 1), &point) <= rank;
        let without_loss = point.loss(&problem).is_zero();
        failures += usize::from(!without_loss || !nested || left > dimension(n_q, n_p, n_r, least));
    }
    let what =
        "at random points without loss: at most n_q n_p + n_r (n_q − rank R), and no more than with a feature less"
            .into();
    Check { what, trials: TRIALS, failures }
}
