//! A numerical check that decides blocks of Theorem 3.7 (used by `thm-3.7-epsilon`): spread masses, and both residuals certified.
//!
//! The candidate is the positive eigenvector of D^½GD^½ in f64, if there is one, rounded to rationals. It is accepted iff r_V and r_W, bounded
//! exactly by weak duality, are at most 10^{-6} of the squared interference. At the printed point r_W is a fixed share of the loss.

use super::search::{Instance, rational_unit};
use super::{Check, Context, Evidence, landscape};
use crate::bench::features::stream;
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::theory::partial_optimum::{classify, decide, epsilon_certificate, overlap, published};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::{Activation, Feature, Problem};
use faer::{Mat, Side};
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

/// Features in a block.
const FEATURES: usize = 3;
/// Standard deviation of the coordinates that make features overlap.
const NOISE: f64 = 1.0 / 32.0;

/// M = (1, 4, 16).
fn spread_mass(d: usize) -> Rational {
    Rational::from(4_u32.pow(d as u32))
}

/// The same features with spread masses: the printed point fails by far, certified from both sides.
pub(super) fn rejected(instance: &Instance) -> Result<Vec<Evidence>, String> {
    let features =
        instance.problem.features().iter().enumerate().map(|(d, f)| Feature { mass: spread_mass(d), ..f.clone() });
    let problem = Problem::new(features.collect(), instance.problem.activation().clone()).map_err(|e| e.to_string())?;
    let ones = vec![Rational::ONE; problem.n()];
    let point = with_activations(&problem, &ones).ok_or("the features are dependent")?;
    let residuals = overlap::residuals(&problem, &point).ok_or("no exact dual of the W-step was found")?;
    let report = classify(&problem, &point)?;
    if report.class.is_some() {
        return Err("with spread masses the printed point is a partial optimum".into());
    }
    let describe = landscape::describe(&problem);
    let text = format!(
        "{describe}: with spread masses the same printed point has r_V = {:.1e} and r_W ≤ {:.2}.",
        rational::to_f64(&residuals.r_v),
        rational::to_f64(&residuals.r_w)
    );
    let certify = |text, name, certificate| Evidence::certified(text, name, certificate).map_err(|r| r.to_string());
    let above = certify(text, "spread-masses-residual", epsilon_certificate(&problem, &point, &residuals))?;
    let text = "With spread masses a better row in the cell of the printed point shows that it is no partial optimum."
        .to_owned();
    Ok(vec![above, certify(text, "spread-masses-no-optimum", report.certificate)?])
}

/// One neuron with these activations and the decoder of eq. 76.
fn with_activations(problem: &Problem, a: &[Rational]) -> Option<Point> {
    let p: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let w = matrix::solve(&Rationals, &p, a)?;
    let pattern = Pattern::new(vec![(0..problem.n()).collect()], problem.n()).ok()?;
    Some(published::construct(problem, &pattern, &[w]).point)
}

/// Nearly orthogonal features with spread masses.
fn propose(rng: &mut ChaCha20Rng) -> Problem {
    let features = (0..FEATURES)
        .map(|d| {
            let direction: Vec<f64> = (0..FEATURES)
                .map(|k| {
                    let noise: f64 = StandardNormal.sample(rng);
                    f64::from(u8::from(k == d)) + NOISE * noise
                })
                .collect();
            let p = rational_unit(&direction, 12);
            Feature { w_r: p.clone(), w_p: p, mass: spread_mass(d) }
        })
        .collect();
    Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive")
}

/// The largest ⟨p_d, p_e⟩² of two features.
fn squared_interference(problem: &Problem) -> Rational {
    let f = problem.features();
    let pairs = (0..f.len()).flat_map(|d| (0..d).map(move |e| (d, e)));
    pairs.map(|(d, e)| dot(&f[d].w_p, &f[e].w_p)).map(|x| &x * &x).max().unwrap_or(Rational::ZERO)
}

/// The activations a = D^{−½} b of the positive eigenvector b, in f64, scaled to 1 at the largest.
fn candidate(problem: &Problem) -> Option<Vec<Rational>> {
    let f = problem.features();
    let root: Vec<f64> = f.iter().map(|x| rational::to_f64(&x.mass).sqrt()).collect();
    let n = f.len();
    let S = Mat::from_fn(n, n, |d, e| root[d] * root[e] * rational::to_f64(&dot(&f[d].w_r, &f[e].w_r)));
    let eigen = S.self_adjoint_eigen(Side::Lower).ok()?;
    let U = eigen.U();
    let k = (0..n).find(|&k| (1..n).all(|d| U[(d, k)] * U[(0, k)] > 0.0))?;
    let a: Vec<f64> = (0..n).map(|d| U[(d, k)].abs() / root[d]).collect();
    let largest = a.iter().copied().fold(0.0, f64::max);
    a.iter().map(|x| rational::from_f64(x / largest).ok()).collect()
}

/// A lower bound of r_W at the printed point with a = 1: what is gained half way to the best activations ⟨r_d, v⟩/‖v‖², ¾ of the way down,
/// which lies in the cell if those are above −1.
fn printed_residual(problem: &Problem, point: &Point) -> Option<Rational> {
    let v = &point.w_d[0];
    let square = dot(v, v);
    let three_quarters = Rational::from(3) / Rational::from(4);
    problem.features().iter().try_fold(Rational::ZERO, |sum, f| {
        let best = dot(&f.w_r, v) / &square;
        let off = Rational::ONE - &best;
        (best > Rational::from(-1)).then(|| sum + &three_quarters * &f.mass * &square * &off * &off)
    })
}

/// On random blocks the protocol agrees with the exact decision, and rejects every printed point.
pub(super) fn checks(context: &Context) -> Vec<Check> {
    const TRIALS: usize = 120;
    let mut rng = stream(context.seed, "thm-3.7-epsilon protocol");
    let tenth = Rational::ONE / Rational::from(10);
    let (mut wrong, mut accepted, mut rejected) = (0, 0, 0);
    for _ in 0..TRIALS {
        let problem = propose(&mut rng);
        let whole = Pattern::new(vec![(0..FEATURES).collect()], FEATURES).expect("indices are in range");
        let tolerance = squared_interference(&problem) / Rational::from(1_000_000);
        let within = |point: &Point| {
            overlap::residuals(&problem, point).is_some_and(|r| r.r_v <= tolerance && r.r_w <= tolerance)
        };
        let yes = candidate(&problem).and_then(|a| with_activations(&problem, &a)).is_some_and(|point| within(&point));
        rejected += usize::from(!yes);
        let exact = decide(&problem, &whole).ok().and_then(|d| d.exists);
        wrong += usize::from(exact != Some(yes));
        let printed = with_activations(&problem, &vec![Rational::ONE; FEATURES]);
        let above =
            printed.and_then(|point| printed_residual(&problem, &point)).is_some_and(|r| r > tolerance && r > tenth);
        accepted += usize::from(!above);
    }
    vec![
        Check {
            what: format!(
                "spread masses, residuals within 10^{{-6}} of the squared interference: agrees with the exact decision ({rejected} blocks without a partial optimum)"
            ),
            trials: TRIALS,
            failures: wrong,
        },
        Check {
            what: "the same tolerance rejects every printed point, whose r_W is above 1/10".into(),
            trials: TRIALS,
            failures: accepted,
        },
    ]
}
