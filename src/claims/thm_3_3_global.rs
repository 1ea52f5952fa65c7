//! Section 3.3: "Theorem 3.3 provides a constructive global minimum that recovers ground-truth features".
//!
//! Refuted: with the same encoder the decoder V = R Z⁻¹, Z = σ(PᵀP), has loss 0 whenever Z is nonsingular, while eq. 14 has not,
//! unless no feature sees a positive product. At the paper's superposition even the zero decoder has a smaller loss.

use super::recovery::{instance, interference, printed, shrinkable, zero_decoder_loss};
use super::search::shrink;
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::{InterferenceBound, bounded_interference, random_unit, stream};
use crate::exact::Rational;
use crate::stats::{Axis, Cell, Figure, Layer, Mean, Panel, Width};
use crate::theory::certificate_body::{certificate, number, point as point_json};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use crate::theory::zero_loss::{code_rank, decoder};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use serde_json::json;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.3-global",
    place: "Section 3.3 after Theorem 3.4, on Theorem 3.3",
    title: "The feature-recovering weights are a global minimum",
    statement: "Theorem 3.3 provides a constructive global minimum that recovers the ground-truth features: W_D = [W_r, 0], W_E = [W_pᵀ; 0] minimise L̃.",
    latex: r"\bigl([W_r,0],\,[W_p^\top;0]\bigr)\in\arg\min\tilde{\mathcal L}_{\mathrm{SDL}}",
    assumes: "Unit features (Asm. 2.4), n_q ≥ n, σ_c with 0 ≤ c < 1, where Theorem 3.3 itself holds.",
    sources: &[],
    run,
    on_instance: Some(on_instance),
};

/// Proposals looked at before a search gives up.
const PROPOSALS: usize = 400;
/// Instances per check of the corrected statement.
const TRIALS: usize = 150;

/// Unit features and 0 ≤ c < 1.
fn hypotheses(problem: &Problem) -> bool {
    problem.threshold().is_some_and(|c| *c < Rational::ONE)
        && problem.features().iter().all(|f| dot(&f.w_p, &f.w_p) == Rational::ONE)
}

/// The encoder of eq. 14 with the decoder V = R Z⁻¹, if V Z = R has a solution.
fn repaired(problem: &Problem) -> Option<Point> {
    let w_e = printed(problem).w_e;
    Some(Point { w_d: decoder(problem, &w_e)?, w_e })
}

/// Eq. 14 has a positive loss and the repaired decoder has none.
fn beaten_by_repair(problem: &Problem) -> bool {
    hypotheses(problem)
        && printed(problem).loss(problem) > Rational::ZERO
        && repaired(problem).is_some_and(|point| point.loss(problem).is_zero())
}

/// Eq. 14 has a larger loss than V = 0.
fn beaten_by_zero(problem: &Problem) -> bool {
    hypotheses(problem) && printed(problem).loss(problem) > zero_decoder_loss(problem)
}

/// At least two dimensions, and M at most this: without equal features, and where the paper places itself without near ones.
fn interferes_at_most(problem: &Problem, most: (i32, i32)) -> bool {
    let most = Rational::from(most.0) / Rational::from(most.1);
    problem.n_p() >= 2 && interference(problem).is_some_and(|M| M <= most)
}

fn superposed(problem: &Problem) -> bool {
    problem.n() > problem.n_p()
}

fn run(context: &Context) -> Outcome {
    let mut rng = stream(context.seed, CLAIM.id);
    let mut evidence = Vec::new();
    type Search = (&'static str, fn(&Problem) -> bool);
    let searches: [Search; 3] = [
        ("repaired", |problem| interferes_at_most(problem, (1, 2)) && beaten_by_repair(problem)),
        ("repaired-superposed", |problem| {
            interferes_at_most(problem, (1, 2)) && superposed(problem) && beaten_by_repair(problem)
        }),
        ("zero-decoder", |problem| interferes_at_most(problem, (9, 10)) && beaten_by_zero(problem)),
    ];
    for (name, holds) in searches {
        let Some(found) = (0..PROPOSALS).map(|_| instance(&mut rng, 5, &Rational::ZERO)).find(holds) else { continue };
        let smallest = shrink(shrinkable(found), |candidate| holds(&candidate.problem)).problem;
        match comparison(&smallest, name) {
            Ok(items) => evidence.extend(items),
            Err(why) => return Outcome::undecided(why),
        }
    }
    if evidence.is_empty() {
        // Nothing better was found; that proves nothing.
        return Outcome::undecided("no point with a smaller loss than eq. 14 was found");
    }
    let (figure, bench) = match figure(context) {
        Ok(drawn) => drawn,
        Err(why) => return Outcome::undecided(why),
    };
    let mut outcome = Outcome::new(Verdict::Refuted, evidence)
        .with_correction(Correction {
            statement: "Let σ = σ_c with 0 ≤ c < 1 and Z = σ(W_pᵀW_p). If Z is nonsingular, as it is when (K_d−1)·max(0,M) < 1 for \
                        all d, then V = W_r Z⁻¹ with the encoder of eq. 14 has L̃ = 0 exactly, in superposition too; so \
                        eq. 14 is a global minimum iff its own loss is 0, and otherwise not even the best decoder for its encoder. \
                        For independent uniform unit features, W_r = W_p, ReLU and any masses, its mean loss is \
                        (n−1)/(2n_p) + (n−1)(n−2)/(4n_p²) times that of the zero decoder, which is smaller beyond n/n_p ≈ √5 − 1 = 1.236."
                .into(),
            latex: r"\det Z\ne 0\ \Rightarrow\ \tilde{\mathcal L}_{\mathrm{SDL}}(W_rZ^{-1},W_p^\top)=0,\quad Z=\sigma(W_p^\top W_p);\qquad \mathbb{E}\,\frac{\tilde{\mathcal L}_{\mathrm{SDL}}(W_p,W_p^\top)}{\sum_d M_d}=\frac{n-1}{2n_p}+\frac{(n-1)(n-2)}{4n_p^2}".into(),
            checks: vec![repair_check(&mut rng), dominance_check(&mut rng), mean_check(&mut rng)],
        })
        .with_quantity("bench-loss", "L̃ of eq. 14 over that of the zero decoder, 1000 random unit features in 768 dimensions, ReLU", Cell::number(bench.loss, 4))
        .with_quantity("bench-bound", "Theorem 3.3's bound over the loss of the zero decoder, same features", Cell::number(bench.bound, 4))
        .with_quantity("crossing", "n/n_p beyond which the zero decoder is better on average", Cell::number(5f64.sqrt() - 1.0, 4));
    outcome.figures.push(figure);
    outcome
}

/// The loss of eq. 14 and that of a better point.
fn comparison(problem: &Problem, name: &str) -> Result<Vec<Evidence>, String> {
    let point = printed(problem);
    let loss = point.loss(problem);
    let describe = landscape::describe(problem);
    let value = |point: &Point, loss: &Rational| {
        certificate(problem, "loss-value", json!({"point": point_json(point), "loss": number(loss)}))
    };
    let text = format!("{describe}: eq. 14 has L̃ = {loss}.");
    let first = Evidence::certified(text, &format!("{name}-printed"), value(&point, &loss));
    let second = match repaired(problem).filter(|_| name != "zero-decoder") {
        Some(better) => {
            let text = format!("{describe}: with the same encoder and V = W_r Z⁻¹ there is L̃ = 0.");
            let body = json!({"point": point_json(&better)});
            Evidence::certified(text, &format!("{name}-better"), certificate(problem, "zero-loss", body))
        }
        None => {
            let columns = vec![vec![Rational::ZERO; problem.n_r()]; point.w_d.len()];
            let zero = Point { w_d: columns, ..point };
            let loss = zero.loss(problem);
            let text = format!("{describe}: with the same encoder and V = 0 there is L̃ = {loss}.");
            Evidence::certified(text, &format!("{name}-better"), value(&zero, &loss))
        }
    };
    [first, second].into_iter().map(|item| item.map_err(|refusal| refusal.to_string())).collect()
}

/// A user's problem: the loss of eq. 14, and the repaired decoder.
fn on_instance(problem: &Problem, _context: &Context) -> Result<Outcome, String> {
    if !hypotheses(problem) {
        return Err(
            "features, activation: thm-3.3-global needs features w_p of norm 1 and a threshold 0 <= c < 1".into()
        );
    }
    let loss = printed(problem).loss(problem);
    if loss.is_zero() {
        let body = json!({"point": point_json(&printed(problem))});
        let text = "Eq. 14 has L̃ = 0, so it is a global minimum.".to_owned();
        let item = Evidence::certified(text, "printed", certificate(problem, "zero-loss", body));
        return Ok(Outcome::new(Verdict::Holds, vec![item.map_err(|refusal| refusal.to_string())?]));
    }
    let name = if beaten_by_repair(problem) { "repaired" } else { "zero-decoder" };
    if name == "zero-decoder" && !beaten_by_zero(problem) {
        return Ok(Outcome::undecided("Z = σ(PᵀP) is singular, and the zero decoder is no better"));
    }
    Ok(Outcome::new(Verdict::Refuted, comparison(problem, name)?))
}

/// Thresholds below 1.
fn threshold(rng: &mut ChaCha20Rng) -> Rational {
    Rational::from([0, 0, 0, 1, 4][rng.random_range(0..5_usize)]) / Rational::from(10)
}

/// V = R Z⁻¹ has no loss if Z is nonsingular; eq. 14 then has zero gradient in V iff it has no loss.
fn repair_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut trials, mut failures, mut superposition) = (0, 0, 0);
    for _ in 0..20 * TRIALS {
        let problem = {
            let c = threshold(rng);
            instance(rng, 6, &c)
        };
        let point = printed(&problem);
        if code_rank(&problem, &point.w_e) < problem.n() {
            continue;
        }
        trials += 1;
        superposition += usize::from(superposed(&problem));
        let without_loss = repaired(&problem).is_some_and(|better| better.loss(&problem).is_zero());
        let lossless = point.loss(&problem).is_zero();
        failures += usize::from(!without_loss || lossless != decoder_gradient_is_zero(&problem, &point));
        if trials == TRIALS {
            break;
        }
    }
    let what = format!("V = R Z⁻¹ has no loss, and ∇_V = 0 at eq. 14 iff L̃ = 0 there ({superposition} with n > n_p)");
    Check { what, trials, failures }
}

/// Σ_{d ∈ F_i} M_d z_id e_d = 0 for all i?
fn decoder_gradient_is_zero(problem: &Problem, point: &Point) -> bool {
    let features = problem.features();
    let pattern = Pattern::of_encoder(problem, &point.w_e);
    let residuals: Vec<Vec<Rational>> = (0..features.len())
        .map(|d| {
            let mut e = features[d].w_r.clone();
            for i in pattern.neurons_of(d) {
                let z = dot(&point.w_e[i], &features[d].w_p);
                e.iter_mut().zip(&point.w_d[i]).for_each(|(e, v)| *e -= &z * v);
            }
            e
        })
        .collect();
    pattern.sets().iter().enumerate().all(|(i, fires)| {
        (0..problem.n_r()).all(|k| {
            let sum = fires.iter().fold(Rational::ZERO, |sum, &d| {
                sum + &features[d].mass * dot(&point.w_e[i], &features[d].w_p) * &residuals[d][k]
            });
            sum.is_zero()
        })
    })
}

/// (K_d−1)·max(0,M) < 1 for all d makes Z strictly diagonally dominant, so nonsingular.
fn dominance_check(rng: &mut ChaCha20Rng) -> Check {
    let (mut trials, mut failures) = (0, 0);
    for _ in 0..40 * TRIALS {
        let problem = {
            let c = threshold(rng);
            instance(rng, 5, &c)
        };
        let point = printed(&problem);
        let pattern = Pattern::of_encoder(&problem, &point.w_e);
        let most = (0..problem.n()).map(|d| pattern.neurons_of(d).len()).max().unwrap_or(1);
        let M = interference(&problem).unwrap_or(Rational::ZERO).max(Rational::ZERO);
        // Without a positive product there is nothing to show.
        if M.is_zero() || M * Rational::from(most - 1) >= Rational::ONE {
            continue;
        }
        trials += 1;
        failures += usize::from(code_rank(&problem, &point.w_e) < problem.n());
        if trials == TRIALS {
            break;
        }
    }
    Check { what: "Z is nonsingular if (K_d−1)·max(0,M) < 1, by exact rank".into(), trials, failures }
}

/// (n−1)/(2n_p) + (n−1)(n−2)/(4n_p²), the mean of ‖e_d‖² at eq. 14 for independent uniform unit features, R = P, ReLU.
///
/// E z₊² = 1/(2n_p) for each other feature, and for each ordered pair of them E z₊ z′₊ ⟨p,p′⟩ = ‖E z₊ p‖² = (1/(2n_p))².
fn mean_loss(n_p: usize, n: usize) -> f64 {
    let (n_p, n) = (n_p as f64, n as f64);
    (n - 1.0) / (2.0 * n_p) + (n - 1.0) * (n - 2.0) / (4.0 * n_p * n_p)
}

fn mean_check(rng: &mut ChaCha20Rng) -> Check {
    const DRAWS: u64 = 400_000;
    let (n_p, n) = (3, 5);
    let sum: f64 = (0..DRAWS)
        .map(|_| {
            let P = random_unit(n_p, n, rng);
            let mut e = [0.0; 3];
            for k in 1..n {
                let z: f64 = (0..n_p).map(|j| P[(j, 0)] * P[(j, k)]).sum();
                for (j, e) in e.iter_mut().enumerate() {
                    *e += z.max(0.0) * P[(j, k)];
                }
            }
            e.iter().map(|x| x * x).sum::<f64>()
        })
        .sum();
    let others = (n - 1) as f64;
    let test = Mean {
        trials: DRAWS,
        mean: sum / DRAWS as f64,
        // n − 1 terms of norm at most 1.
        range: (0.0, others * others),
        law: mean_loss(n_p, n),
        // (n−1)² ordered pairs instead of (n−1)(n−2)
        wrong: others / (2 * n_p) as f64 + others * others / (4 * n_p * n_p) as f64,
    };
    Check::mean("mean of ‖e_d‖² for 5 random unit features in 3 dimensions", &test)
}

/// L̃ of eq. 14 with R = P, equal masses and ReLU, and Theorem 3.3's bound, both over the loss of the zero decoder.
struct Ratios {
    interference: f64,
    loss: f64,
    bound: f64,
}

impl Ratios {
    fn of(P: MatRef<'_, f64>) -> Self {
        let n = P.ncols();
        let mut Z = Mat::<f64>::zeros(n, n);
        matmul(&mut Z, Accum::Replace, P.transpose(), P, 1.0, Par::Seq);
        let (mut others, mut M) = (0.0, 0.0_f64);
        for d in 0..n {
            let column = Z.col_as_slice_mut(d);
            let mut active = 0.0;
            for (k, z) in column.iter_mut().enumerate() {
                *z = z.max(0.0);
                if k != d && *z > 0.0 {
                    active += 1.0;
                    M = M.max(*z);
                }
            }
            others += active * active;
        }
        let mut E = P.to_owned();
        matmul(&mut E, Accum::Add, P, &Z, -1.0, Par::Seq);
        Self { interference: M, loss: E.squared_norm_l2() / n as f64, bound: M * M * others / n as f64 }
    }
}

/// The bound, the true loss and the zero decoder over n and over M; and the ratios at the paper's size.
fn figure(context: &Context) -> Result<(Figure, Ratios), String> {
    const DIMENSION: usize = 48;
    // One panel of columns and n ≤ 2n_p, where every M > 0 is possible.
    const BOUNDED: (usize, usize) = (40, 64);
    let mut rng = stream(context.seed, "thm-3.3-global figure");
    let sizes = [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
    let over_n: Vec<(f64, Ratios)> =
        sizes.iter().map(|&n| (n as f64, Ratios::of(random_unit(DIMENSION, n, &mut rng).as_ref()))).collect();
    let mut over_m = Vec::new();
    for bound in [0.004, 0.01, 0.03, 0.1, 0.2, 0.3, 0.45, 0.6] {
        // The same random columns to start from.
        let mut columns = stream(context.seed, "thm-3.3-global bounded features");
        let P = bounded_interference(BOUNDED.0, BOUNDED.1, &InterferenceBound::new(bound), &mut columns)
            .map_err(|error| error.to_string())?;
        let ratios = Ratios::of(P.as_ref());
        over_m.push((ratios.interference, ratios));
    }
    let bench = Ratios::of(random_unit(768, 1000, &mut rng).as_ref());
    let layers = |panel: Panel, rows: &[(f64, Ratios)]| {
        let of =
            |value: &dyn Fn(&Ratios) -> f64| rows.iter().map(|(x, ratios)| (*x, value(ratios))).collect::<Vec<_>>();
        let ends = [rows[0].0, rows[rows.len() - 1].0];
        panel
            .layer(Layer::Reference { label: "zero decoder".into(), points: ends.map(|x| (x, 1.0)).to_vec() })
            .layer(Layer::Points {
                label: "bound M² mean (K_d−1)²".into(),
                points: of(&|r| r.bound),
                intervals: vec![],
            })
            .layer(Layer::Points { label: "L̃ of eq. 14".into(), points: of(&|r| r.loss), intervals: vec![] })
    };
    let y = || Axis::log("loss / loss of the zero decoder");
    let law = sizes.iter().map(|&n| (n as f64, mean_loss(DIMENSION, n))).collect();
    let panel = layers(Panel::new("n_p = 48, random features", Axis::log("number of features n"), y()), &over_n)
        .layer(Layer::Line { label: "mean of L̃, predicted".into(), points: law });
    let title = format!("n_p = {}, n = {}, bounded features", BOUNDED.0, BOUNDED.1);
    let figure = Figure::new("thm-3-3-loss", CLAIM.id, Width::Page)
        .title("Theorem 3.3's bound, its true loss and the zero decoder")
        .caption(&format!(
            "The configuration of eq. 14 with W_r = W_p, equal masses and ReLU. (a) Random unit features: its loss passes that of the \
             zero decoder at n/n_p ≈ 1.24, as (n−1)/(2n_p) + (n−1)(n−2)/(4n_p²) predicts; at the paper's n = 1000, n_p = 768 it is {:.2} \
             times as large. (b) Features with bounded interference: the loss falls with M as the theorem says, but stays positive, \
             while V = W_r Z⁻¹ has loss 0 at every point of both panels where Z = σ(W_pᵀW_p) is nonsingular.",
            bench.loss
        ))
        .panel(panel)
        .panel(layers(Panel::new(&title, Axis::log("maximum interference M"), y()), &over_m));
    Ok((figure, bench))
}
