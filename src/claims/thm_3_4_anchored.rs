//! "Feature anchoring restores SDL identifiability": k anchors are "sufficient constraint" (Abstract, App. G, eq. 25).
//!
//! Refuted by dimension: the remaining neurons solve a problem of the same kind with the targets r_d − Σ_{i≤k} σ(⟨p_i,p_d⟩) r_i. It has
//! exact solutions without loss that recover none of the other features, and 100 anchors leave 99 % of the dimension.

use super::relations::{self, step};
use super::thm_3_4_dimension::{PAPER, count, expression};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape, search::rational_unit};
use crate::bench::features::stream;
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::stats::{Axis, Cell, Figure, Layer, Panel, Width};
use crate::theory::certificate_body::{certificate, point as point_json};
use crate::theory::pattern::dot;
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::zero_loss::{code_rank, codes, decoder, dimension, jacobian, jacobian_rank, matches_every_feature};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use sdlab_verify::format::Relation;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.4-anchored",
    place: "Abstract; Section 4.2, eqs. 24, 25; App. G, \"Effect of Superposition Ratio\"",
    title: "Anchoring a few features restores identifiability",
    statement: "Feature anchoring restores SDL identifiability: fixing k of the n features (w_i = p_i and v_i = r_i for i ≤ k, with k = 100 of n = 1000) is sufficient constraint to recover the others.",
    latex: r"w_E^i=w_p^i,\ w_D^i=w_r^i\ (i\le k),\quad \tilde{\mathcal L}_{\mathrm{SDL}}=0\ \Rightarrow\ \text{the other neurons recover the other features}",
    assumes: "Unit features (Asm. 2.4), ReLU, n_q ≥ n, k < n anchors that are met exactly, which is where eq. 25 is 0.",
    sources: &[],
    run,
    on_instance: None,
};

/// Proposals looked at before a search gives up.
const PROPOSALS: usize = 5000;
/// Instances per check of the corrected statement.
const TRIALS: usize = 150;
/// n, n_p = n_r and n_q of the certified instance, the smallest with n > n_p in which one anchor leaves two features to recover.
const FOUND: (usize, usize, usize) = (3, 2, 5);
/// The same of the figure and of the checks.
const SHAPE: (usize, usize, usize) = (5, 3, 10);
/// Anchors of the certified instance, of the paper.
const ANCHORS: (usize, usize) = (1, 100);
/// τ of the paper's recovery metric, squared: a feature counts as recovered if a row or column has a cosine of at least 9/10 with it.
const RECOVERED: (i32, i32) = (81, 100);

/// A zero-loss point with k anchors, and what the free neurons have to solve.
struct Anchored {
    problem: Problem,
    anchors: usize,
    point: Point,
    rest: Problem,
    rest_point: Point,
}

/// With neurons 0..k anchored at features 0..k and the other rows given, a random one of their decoders without loss; `None` if there is none.
fn anchored(rng: &mut ChaCha20Rng, problem: &Problem, k: usize, free: &[Vec<Rational>]) -> Option<Anchored> {
    let features = problem.features();
    let (mut w_e, mut w_d): (Vec<_>, Vec<_>) = features[..k].iter().map(|f| (f.w_p.clone(), f.w_r.clone())).unzip();
    let Z = codes(problem, &w_e);
    let rest = features.iter().enumerate().map(|(d, f)| {
        let mut w_r = f.w_r.clone();
        for (z, v) in Z.iter().zip(&w_d) {
            w_r.iter_mut().zip(v).for_each(|(r, v)| *r -= &z[d] * v);
        }
        Feature { w_r, ..f.clone() }
    });
    let rest = Problem::new(rest.collect(), problem.activation().clone()).expect("only targets changed");
    let mut rest_point = Point { w_e: free.to_vec(), w_d: decoder(&rest, free)? };
    let unused = matrix::nullspace(&Rationals, &matrix::transpose(&codes(&rest, free)), free.len());
    for weights in unused {
        // Σ_i ν_i z_i = 0, so that v_i + ν_i a reconstructs the same for any a.
        let a: Vec<Rational> = (0..rest.n_r()).map(|_| Rational::from(rng.random_range(-3..=3_i32))).collect();
        for (v, weight) in rest_point.w_d.iter_mut().zip(&weights) {
            v.iter_mut().zip(&a).for_each(|(v, a)| *v += weight * a);
        }
    }
    w_e.extend(rest_point.w_e.iter().cloned());
    w_d.extend(rest_point.w_d.iter().cloned());
    Some(Anchored { problem: problem.clone(), anchors: k, point: Point { w_e, w_d }, rest, rest_point })
}

/// Random exact unit features with r = p.
fn features(rng: &mut ChaCha20Rng, n: usize, n_p: usize) -> Problem {
    let features = (0..n).map(|_| {
        let direction: Vec<f64> = (0..n_p).map(|_| StandardNormal.sample(rng)).collect();
        let p = rational_unit(&direction, 2);
        Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }
    });
    Problem::new(features.collect(), Activation::Threshold(Rational::ZERO)).expect("masses are 1")
}

/// Rows of small integers for the neurons that are not anchored, none aligned with a feature that has no anchor.
fn free_rows(rng: &mut ChaCha20Rng, problem: &Problem, k: usize, count: usize) -> Vec<Vec<Rational>> {
    let mut rows = Vec::with_capacity(count);
    while rows.len() < count {
        let row: Vec<Rational> = (0..problem.n_p()).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect();
        if !problem.features()[k..].iter().any(|f| aligned(&row, &f.w_p)) {
            rows.push(row);
        }
    }
    rows
}

/// True if the cosine of a and b is at least τ.
fn aligned(a: &[Rational], b: &[Rational]) -> bool {
    let product = dot(a, b);
    let scale = Rational::from(RECOVERED.0) / Rational::from(RECOVERED.1);
    rational::sign(&product) > 0 && &product * &product >= scale * dot(a, a) * dot(b, b)
}

impl Anchored {
    /// Features without an anchor that some encoder row or decoder column is aligned with.
    fn recovered(&self) -> usize {
        let features = self.problem.features();
        let found = |d: &usize| {
            let rows = self.point.w_e.iter().any(|w| aligned(w, &features[*d].w_p));
            rows || self.point.w_d.iter().any(|v| aligned(v, &features[*d].w_r))
        };
        (self.anchors..features.len()).filter(found).count()
    }

    /// No loss, codes of rank n with the free neurons alone, and no further feature recovered.
    fn refutes(&self) -> bool {
        self.anchors < self.problem.n()
            && matches_every_feature(&self.problem, &self.point)
            && code_rank(&self.rest, &self.rest_point.w_e) == self.problem.n()
            && self.recovered() == 0
    }

    /// Free unknowns minus the rank of the Jacobian.
    fn dimension(&self) -> usize {
        self.rest_point.w_e.len() * (self.rest.n_p() + self.rest.n_r()) - jacobian_rank(&self.rest, &self.rest_point)
    }
}

fn run(context: &Context) -> Outcome {
    match decided(context) {
        Ok(outcome) => outcome,
        Err(why) => Outcome::undecided(why),
    }
}

fn decided(context: &Context) -> Result<Outcome, String> {
    let mut rng = stream(context.seed, CLAIM.id);
    let (n, n_p, n_q) = FOUND;
    let found = (0..PROPOSALS).find_map(|_| {
        let problem = features(&mut rng, n, n_p);
        let rows = free_rows(&mut rng, &problem, ANCHORS.0, n_q - ANCHORS.0);
        anchored(&mut rng, &problem, ANCHORS.0, &rows).filter(Anchored::refutes)
    });
    let found = found.ok_or("no point without loss left the other features unrecovered")?;
    let mut evidence = Vec::new();
    let mut push = |text: String, name: &str, certificate| -> Result<(), String> {
        evidence.push(Evidence::certified(text, name, certificate).map_err(|refusal| refusal.to_string())?);
        Ok(())
    };
    let describe = landscape::describe(&found.problem);
    let text = format!(
        "{describe}, n_q = {n_q}: neuron 1 is anchored at feature 1, L̃ = 0, and {} of the other {} features are recovered (a row or column with a \
         cosine of 0.9).",
        found.recovered(),
        n - found.anchors
    );
    let body = json!({"point": point_json(&found.point)});
    push(text, "anchored-zero-loss", certificate(&found.problem, "zero-loss", body))?;
    let free = n_q - found.anchors;
    let left = found.dimension();
    let whole = n_q * 2 * n_p - jacobian_rank(&found.problem, &found.point);
    let text = format!("All neurons: the zero set has dimension {whole} at this point.");
    let body = json!({"point": point_json(&found.point), "rank": n_q * 2 * n_p - whole});
    push(text, "without-anchors", certificate(&found.problem, "jacobian-rank", body))?;
    let text = format!(
        "The {free} free neurons solve the problem with the targets that the anchors leave: dimension {left}, of which rescaling (v/t, tw) \
         explains {free}."
    );
    let body = json!({"point": point_json(&found.rest_point), "rank": free * 2 * n_p - left});
    push(text, "with-anchors", certificate(&found.rest, "jacobian-rank", body))?;
    let paper = Paper::at(1000, ANCHORS.1);
    push(paper.sentence(), "paper-size", paper.certificate())?;
    let verdict = if left > free && paper.left > paper.free {
        Verdict::Refuted
    } else {
        Verdict::Undecided("the anchored zero set holds no more than rescalings".into())
    };
    let mut outcome = Outcome::new(verdict, evidence)
        .with_correction(Correction {
            statement: "With k anchors met exactly, the n_q − k free neurons solve V′Z′ = R′, r′_d = r_d − Σ_{i≤k} σ(⟨p_i,p_d⟩) r_i. Where \
                        their codes have rank n the zero set has dimension (n_q − k) n_p + n_r (n_q − k − n): each anchor removes \
                        n_p + n_r dimensions and no more. Only n_q − k of what is left are rescalings. Identifiability needs \
                        a further condition on the solution (sparsity of the codes, or no neuron to spare), not some anchors."
                .into(),
            latex: r"\dim\{\text{zero loss, } k \text{ anchors}\}=(n_q-k)\,n_p+n_r\,(n_q-k-n)".into(),
            checks: vec![reduction_check(&mut rng), unrecovered_check(&mut rng)],
        })
        .with_quantity("dimension", "dimension of the zero-loss set at the paper's size, n = 1000", Cell::from(paper.whole))
        .with_quantity("anchored-dimension", "the same with 100 anchors", Cell::from(paper.left))
        .with_quantity("share-left", "per cent of the dimension that 100 anchors leave", Cell::number(paper.share(), 4));
    outcome.figures.push(figure(&mut rng)?);
    Ok(outcome)
}

/// The dimensions at the paper's n_q and n_p = n_r, where codes have rank n.
struct Paper {
    n: usize,
    anchors: usize,
    whole: usize,
    left: usize,
    /// Free neurons, each of which can be rescaled.
    free: usize,
}

impl Paper {
    fn at(n: usize, anchors: usize) -> Self {
        let (n_q, n_p, _) = PAPER;
        let free = n_q - anchors;
        Self { n, anchors, whole: dimension(n_q, n_p, n_p, n), left: dimension(free, n_p, n_p, n), free }
    }

    /// Per cent that the anchors leave.
    fn share(&self) -> f64 {
        100.0 * self.left as f64 / self.whole as f64
    }

    fn sentence(&self) -> String {
        let (n_q, n_p, _) = PAPER;
        format!(
            "n_q = {n_q}, n_p = n_r = {n_p}, n = {}, codes of rank n: dimension {}; with {} anchors {}, that is {:.2} %, and {} rescalings.",
            self.n,
            self.whole,
            self.anchors,
            self.left,
            self.share(),
            self.free
        )
    }

    fn certificate(&self) -> sdlab_verify::Certificate {
        let (n_q, n_p, _) = PAPER;
        let (whole, left) = (expression(n_q, n_p, n_p, self.n), expression(self.free, n_p, n_p, self.n));
        // The share in units of 10⁻⁴, between two neighbours.
        let share = self.left * 10_000 / self.whole;
        let quotient = relations::quotient(left.clone(), whole.clone());
        let ratio = |k: usize| relations::quotient(count(k), count(10_000));
        let steps = vec![
            step(whole, Relation::Equal, count(self.whole)),
            step(left.clone(), Relation::Equal, count(self.left)),
            step(quotient.clone(), Relation::GreaterEqual, ratio(share)),
            step(quotient, Relation::Less, ratio(share + 1)),
            step(left, Relation::Greater, count(self.free)),
        ];
        relations::certificate(
            steps,
            "Dimension without and with anchors, their quotient, and more than the rescalings.",
        )
    }
}

/// The columns of the free neurons in the whole Jacobian have the rank n_r·n, also for k = n, as in the reduced problem.
fn reduction_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut trials, mut failures) = (0, 0);
    for _ in 0..40 * TRIALS {
        let (n, n_p) = (rng.random_range(2..=5_usize), rng.random_range(2..=3_usize));
        let (k, free) = (rng.random_range(0..=n), n + rng.random_range(0..=2_usize));
        let problem = features(rng, n, n_p);
        let rows = free_rows(rng, &problem, k, free);
        let Some(case) = anchored(rng, &problem, k, &rows).filter(|case| code_rank(&case.rest, &rows) == n) else {
            continue;
        };
        trials += 1;
        let columns = k * 2 * n_p;
        let kept: Vec<Vec<Rational>> =
            jacobian(&problem, &case.point).iter().map(|row| row[columns..].to_vec()).collect();
        let left = free * 2 * n_p - matrix::rank(&Rationals, &kept);
        let expected = dimension(free, n_p, n_p, n);
        failures +=
            usize::from(left != expected || case.dimension() != expected || !case.point.loss(&problem).is_zero());
        if trials == TRIALS {
            break;
        }
    }
    Check { what: "dimension that k anchors leave, by exact rank, against the formula".into(), trials, failures }
}

/// There is a point without loss and without a further recovered feature for random features, whatever k < n.
fn unrecovered_check(rng: &mut ChaCha20Rng) -> Check {
    let (n, n_p, n_q) = SHAPE;
    let (mut trials, mut failures) = (0, 0);
    while trials < TRIALS {
        let k = rng.random_range(1..n);
        let problem = features(rng, n, n_p);
        // A feature near an anchor counts as recovered by it.
        let p = |d: usize| &problem.features()[d].w_p;
        let close = (0..n).any(|d| (0..d).any(|e| aligned(p(d), p(e))));
        if close {
            continue;
        }
        trials += 1;
        let refuted = (0..PROPOSALS).any(|_| {
            let rows = free_rows(rng, &problem, k, n_q - k);
            anchored(rng, &problem, k, &rows).is_some_and(|case| case.refutes())
        });
        failures += usize::from(!refuted);
    }
    Check {
        what: "random features, k < n anchors: a point without loss that recovers no further feature".into(),
        trials,
        failures,
    }
}

/// (a) the paper's size over k, (b) over n, (c) a small instance over k by exact rank.
fn figure(rng: &mut ChaCha20Rng) -> Result<Figure, String> {
    let (n_q, n_p, sizes) = PAPER;
    let over_k: Vec<Paper> = (0..=20).map(|step| Paper::at(1000, 50 * step)).collect();
    let line = |label: &str, points: Vec<(f64, f64)>| Layer::Line { label: label.into(), points };
    let panel_k = Panel::new("n = 1000", Axis::linear("number of anchors k"), Axis::log("dimension").range(3e3, 1e8))
        .layer(Layer::Reference {
            label: "rescalings only".into(),
            points: over_k.iter().map(|p| (p.anchors as f64, p.free as f64)).collect(),
        })
        .layer(line("k anchors", over_k.iter().map(|p| (p.anchors as f64, p.left as f64)).collect()));
    let over_n = |anchors: &dyn Fn(usize) -> usize| {
        let left = |n: usize| Paper::at(n, anchors(n)).left as f64 / 1e6;
        sizes.iter().map(|&n| (n as f64, left(n))).collect::<Vec<_>>()
    };
    let ticks = [800, 1000, 1200, 1400].map(|n| (f64::from(n), n.to_string()));
    let axis = Axis::linear("number of features n").ticks(ticks);
    let title = format!("n_q = {n_q}");
    let panel_n = Panel::new(&title, axis, Axis::linear("dimension (10^6)").range(20.0, 25.0))
        .layer(line("no anchors", over_n(&|_| 0)))
        .layer(line("100 anchors", over_n(&|_| ANCHORS.1)))
        .layer(line("all n anchored", over_n(&|n| n)));
    let small = small_instance(rng)?;
    let (n, dim, neurons) = SHAPE;
    let formula = (0..=n).map(|k| (k as f64, dimension(neurons - k, dim, dim, n) as f64)).collect();
    let rescalings = (0..=n).map(|k| (k as f64, (neurons - k) as f64)).collect();
    let title = format!("n = {n}, n_p = {dim}, n_q = {neurons}");
    let panel_small =
        Panel::new(&title, Axis::linear("number of anchors k"), Axis::linear("dimension").range(0.0, 50.0))
            .layer(Layer::Reference { label: "rescalings only".into(), points: rescalings })
            .layer(line("k anchors", formula))
            .layer(Layer::Points { label: "exact rank of the Jacobian".into(), points: small, intervals: vec![] });
    let paper = Paper::at(1000, ANCHORS.1);
    Ok(Figure::new("thm-3-4-anchors", CLAIM.id, Width::Page)
        .title("Dimension of the zero-loss set with and without anchors")
        .caption(&format!(
            "Where codes have rank n. (a) The paper's size, n_q = {n_q}, n_p = n_r = {n_p}: {} anchors leave {:.2} % of the dimension, {:.0} \
             times more than the {} rescalings (v/t, tw) of the free neurons. (b) The same over n: more features lower the dimension, and \
             anchors hardly do. (c) A found instance, where the dimension is computed by exact rank.",
            paper.anchors,
            paper.share(),
            paper.left as f64 / paper.free as f64,
            paper.free
        ))
        .panel(panel_k)
        .panel(panel_n)
        .panel(panel_small))
}

/// k and the dimension by exact rank, for k = 0..n anchors of one found instance.
fn small_instance(rng: &mut ChaCha20Rng) -> Result<Vec<(f64, f64)>, String> {
    let (n, n_p, n_q) = SHAPE;
    let found = (0..PROPOSALS).find_map(|_| {
        let problem = features(rng, n, n_p);
        let rows = free_rows(rng, &problem, 0, n_q);
        let mut case =
            |k: usize| anchored(rng, &problem, k, &rows[k..]).filter(|case| code_rank(&case.rest, &rows[k..]) == n);
        (0..=n).map(|k| Some((k as f64, case(k)?.dimension() as f64))).collect::<Option<Vec<_>>>()
    });
    found.ok_or_else(|| "no instance has codes of rank n for every number of anchors".into())
}
