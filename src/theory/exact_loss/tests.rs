//! L against quadrature, Monte Carlo, exact enumeration, known integrals and the statements of Thm 3.1.

use super::finite::{FiniteDistribution, exact_polynomial};
use super::magnitudes::Magnitudes;
use super::*;
use crate::bench::features::{random_unit, stream};
use crate::exact::{Rational, rational};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use faer::mat;
use proptest::prelude::*;

fn exponential(shift: f64, scale: f64) -> Magnitudes {
    Magnitudes::Exponential { shift, scale }
}

/// Unit features of a transcoder and a random point.
fn model(seed: u64, [n, n_p, n_r, n_q]: [usize; 4], c: f64) -> (ApproximateLoss, Weights) {
    let mut rng = stream(seed, "exact loss tests");
    let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(n_r, n, &mut rng));
    let weights =
        Weights { V: random_unit(n_r, n_q, &mut rng), W: random_unit(n_p, n_q, &mut rng).transpose().to_owned() };
    (ApproximateLoss::new(P, R, vec![1.0; n], c).unwrap(), weights)
}

/// Nodes and weights of Gauss–Legendre quadrature with 20 points on [−1, 1], by Newton's method on the recurrence.
fn gauss_legendre() -> Vec<(f64, f64)> {
    const N: usize = 20;
    (0..N)
        .map(|k| {
            let mut x = (std::f64::consts::PI * (k as f64 + 0.75) / (N as f64 + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..100 {
                let (mut before, mut now) = (1.0, x);
                for j in 2..=N {
                    (before, now) = (now, ((2 * j - 1) as f64 * x * now - (j - 1) as f64 * before) / j as f64);
                }
                slope = N as f64 * (x * now - before) / (x * x - 1.0);
                x -= now / slope;
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// E f(y, y') for y = m + h s, y' = m + h t; `rays` are the ρ at which f has a kink on y' = ρ y. Panels end at every kink, so that the
/// integrand is smooth on each; the tail beyond s = 45 is below 45²·e^-45 < 1e-16.
fn quadrature(m: f64, h: f64, rays: &[f64], f: impl Fn(f64, f64) -> f64) -> f64 {
    let rule = gauss_legendre();
    let integrate = |mut cuts: Vec<f64>, g: &dyn Fn(f64) -> f64| -> f64 {
        cuts.extend([0.0, 3.0, 8.0, 16.0, 30.0, 45.0]);
        cuts.retain(|s| (0.0..=45.0).contains(s));
        cuts.sort_by(f64::total_cmp);
        let panel = |(a, b): (f64, f64)| {
            rule.iter().map(|(x, w)| w * g(a + (b - a) * (x + 1.0) / 2.0)).sum::<f64>() * (b - a) / 2.0
        };
        cuts.windows(2).map(|ends| panel((ends[0], ends[1]))).sum()
    };
    integrate(rays.iter().map(|rho| (m / rho - m) / h).collect(), &|s| {
        let y = m + h * s;
        let kinks = rays.iter().map(|rho| (rho * y - m) / h).collect();
        (-s).exp() * integrate(kinks, &|t| (-t).exp() * f(y, m + h * t))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn minimum_moments_agree_with_quadrature(
        m in prop_oneof![Just(0.0), 0.05..2.0f64], h in 0.2..2.0f64, a in [0.05..3.0f64, 0.05..3.0f64], b in [0.05..3.0f64, 0.05..3.0f64],
    ) {
        let law = exponential(m, h);
        let rays = [a[0] / b[0], a[1] / b[1]];
        let least = |k: usize, y: f64, z: f64| (a[k] * y).min(b[k] * z);
        for (closed, numeric) in [
            (law.minimum(a[0], b[0]), quadrature(m, h, &rays, |y, z| least(0, y, z))),
            (law.minimum_with_own(a[0], b[0]), quadrature(m, h, &rays, |y, z| y * least(0, y, z))),
            (law.minimum_with_own(b[0], a[0]), quadrature(m, h, &rays, |y, z| z * least(0, y, z))),
            (law.minimum_product((a[0], b[0]), (a[0], b[0])), quadrature(m, h, &rays, |y, z| least(0, y, z).powi(2))),
            (law.minimum_product((a[0], b[0]), (a[1], b[1])), quadrature(m, h, &rays, |y, z| least(0, y, z) * least(1, y, z))),
        ] {
            prop_assert!((closed - numeric).abs() <= 1e-10 * (1.0 + numeric), "{} {}", closed, numeric);
        }
    }

    #[test]
    fn minimum_moments_of_exp_1_are_the_published_ones(a in [0.05..3.0f64, 0.05..3.0f64], b in [0.05..3.0f64, 0.05..3.0f64]) {
        let law = exponential(0.0, 1.0);
        let half = a[0] * b[0] / (a[0] + b[0]);
        let near = |x: f64, y: f64| (x - y).abs() <= 1e-12 * (1.0 + y);
        prop_assert!(near(law.minimum(a[0], b[0]), half));
        prop_assert!(near(law.minimum_product((a[0], b[0]), (a[0], b[0])), 2.0 * half * half));
        prop_assert!(near(law.minimum_with_own(a[0], b[0]), half * (a[0] + 2.0 * b[0]) / (a[0] + b[0])));
        let t = |k: usize| b[k] / (a[k] + b[k]);
        let (k, l) = if t(0) <= t(1) { (0, 1) } else { (1, 0) };
        let g = |t: f64| 3.0 * t * t - 2.0 * t * t * t;
        let product = 2.0 * a[k] * a[l] * t(k).powi(3) + b[k] * a[l] * (g(t(l)) - g(t(k))) + 2.0 * b[k] * b[l] * (1.0 - t(l)).powi(3);
        prop_assert!(near(law.minimum_product((a[0], b[0]), (a[1], b[1])), product));
    }

    #[test]
    fn one_feature_costs_its_residual_times_the_second_moment(seed: u64, m in 0.0..2.0f64, h in 0.2..2.0f64) {
        let (features, weights) = model(seed, [3, 3, 2, 4], 0.0);
        let exact = ExactLoss::new(&features, exponential(m, h)).unwrap();
        let E = features.residuals(&weights).unwrap();
        for d in 0..3 {
            let expected = exact.magnitudes().second() * E.col(d).squared_norm_l2();
            prop_assert!((exact.conditional_loss(&weights, &[d]).unwrap() - expected).abs() <= 1e-12 * (1.0 + expected));
        }
    }

    #[test]
    fn sign_coherent_rows_have_the_closed_form_at_every_sparsity(seed: u64, m in 0.0..1.0f64, p in 0.0..1.0f64) {
        // P in the positive orthant, rows of one sign.
        let (features, mut weights) = model(seed, [4, 3, 3, 3], 0.0);
        let P = faer::Mat::from_fn(3, 4, |k, d| features.P()[(k, d)].abs());
        let features = ApproximateLoss::new(P, features.R().to_owned(), vec![1.0; 4], 0.0).unwrap();
        weights.W = faer::Mat::from_fn(3, 3, |i, k| weights.W[(i, k)].abs() * if i == 1 { -1.0 } else { 1.0 });
        let exact = ExactLoss::new(&features, exponential(m, 1.0)).unwrap();
        let (closed, enumerated) = (exact.sign_coherent_loss(&weights, p).unwrap(), exact.polynomial(&weights).unwrap().value(p).unwrap());
        prop_assert!((closed - enumerated).abs() <= 1e-11 * (1.0 + closed), "{} {}", closed, enumerated);
    }

    #[test]
    fn a_finite_law_in_f64_agrees_with_exact_arithmetic(seed: u64, c in prop_oneof![Just(0.0), 0.05..0.5f64]) {
        let (features, weights) = model(seed, [3, 2, 2, 3], c);
        let atoms = [(0.25, 0.5), (1.0, 0.25), (3.0, 0.25)];
        let exact = ExactLoss::new(&features, Magnitudes::Finite(atoms.to_vec())).unwrap();
        let polynomial = exact.polynomial(&weights).unwrap();
        let (problem, point) = exact_view(&features, &weights);
        let rational_atoms: Vec<_> = atoms.iter().map(|(y, q)| (rational::from_f64(*y).unwrap(), rational::from_f64(*q).unwrap())).collect();
        let expected = exact_polynomial(&problem, &point, &rational_atoms).unwrap();
        for (found, expected) in polynomial.coefficients().iter().zip(&expected) {
            prop_assert!((found - rational::to_f64(expected)).abs() < 1e-11, "{} {}", found, expected);
        }
        let p = rational::parse("1/7").unwrap();
        let losses = FiniteDistribution::independent(3, &p, &rational_atoms).unwrap().losses(&problem, &point).unwrap();
        let at = rational::to_f64(&p);
        prop_assert!((polynomial.value(at).unwrap() - rational::to_f64(&losses.loss)).abs() < 1e-11);
        prop_assert!((polynomial.approximate(at).unwrap() - rational::to_f64(&losses.approximate)).abs() < 1e-11);
        prop_assert!((exact.approximate(at).unwrap().value(&weights).unwrap() - rational::to_f64(&losses.approximate)).abs() < 1e-11);
    }
}

proptest! {
    // Quadrature in two dimensions is slow in debug builds.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_pair_s_loss_agrees_with_quadrature_and_with_the_pieces(seed: u64, m in prop_oneof![Just(0.0), 0.05..2.0f64], h in 0.2..2.0f64, n_q in 1usize..5) {
        let (features, weights) = model(seed, [2, 3, 2, n_q], 0.0);
        let exact = ExactLoss::new(&features, exponential(m, h)).unwrap();
        let A = &weights.W * features.P();
        let rays: Vec<f64> = (0..n_q).map(|i| -A[(i, 0)] / A[(i, 1)]).filter(|rho| *rho > 0.0).collect();
        let pair = exact.restrict(&weights, &[0, 1]).unwrap();
        let numeric = quadrature(m, h, &rays, |y, z| pair.loss_at(&[y, z]));
        let wedges = exact.pair_loss(&weights, 0, 1).unwrap();
        let pieces = exact.conditional_loss(&weights, &[0, 1]).unwrap();
        // Magnitudes have second moments below 24, unit directions: the loss is below 1e3.
        prop_assert!((wedges - numeric).abs() <= 1e-10 * (1.0 + numeric), "{} {}", wedges, numeric);
        prop_assert!((pieces - numeric).abs() <= 1e-10 * (1.0 + numeric), "{} {}", pieces, numeric);
    }
}

fn exact_view(features: &ApproximateLoss, weights: &Weights) -> (Problem, Point) {
    let exact = |x: &f64| rational::from_f64(*x).unwrap();
    let column = |A: MatRef<'_, f64>, d: usize| A.col(d).iter().map(exact).collect::<Vec<_>>();
    let list = (0..features.n())
        .map(|d| crate::theory::problem::Feature {
            w_p: column(features.P(), d),
            w_r: column(features.R(), d),
            mass: Rational::ONE,
        })
        .collect();
    let threshold = crate::theory::problem::Activation::Threshold(exact(&features.c()));
    (Problem::new(list, threshold).unwrap(), weights.to_point().unwrap())
}

#[test]
fn known_integrals_over_three_features_are_met() {
    // R = 0, V = 1, w·P = (1, 1, −1): E max(0, y₁ + y₂ − y₃)² = 4 + 2m + m² − e^{−m}/2 for m + Exp(1).
    let zero = faer::Mat::zeros(1, 3);
    let weights = Weights { V: mat![[1.0]], W: mat![[1.0]] };
    for m in [0.0, 0.3, 1.0, 7.0] {
        let features = ApproximateLoss::new(mat![[1.0, 1.0, -1.0]], zero.clone(), vec![1.0; 3], 0.0).unwrap();
        let found =
            ExactLoss::new(&features, exponential(m, 1.0)).unwrap().conditional_loss(&weights, &[0, 1, 2]).unwrap();
        let expected = 4.0 + 2.0 * m + m * m - (-m).exp() / 2.0;
        assert!((found - expected).abs() < 1e-12 * expected, "{m}: {found} {expected}");
    }
    // w·P = (1, 1, 1), c = 2: the sum is Gamma(3), E[G²; G > c] = 2 Σ_{j ≤ 4} … = 12 e^{−c} Σ_{j=0}^{4} c^j/j!.
    let features = ApproximateLoss::new(mat![[1.0, 1.0, 1.0]], zero, vec![1.0; 3], 2.0).unwrap();
    let found =
        ExactLoss::new(&features, exponential(0.0, 1.0)).unwrap().conditional_loss(&weights, &[0, 1, 2]).unwrap();
    let expected = 12.0 * (-2f64).exp() * (1.0 + 2.0 + 2.0 + 8.0 / 6.0 + 16.0 / 24.0);
    assert!((found - expected).abs() < 1e-13 * expected, "{found} {expected}");
}

#[test]
fn the_gap_has_slope_two_for_relu_and_slope_one_for_a_positive_threshold() {
    for (c, slope) in [(0.0, 2.0), (0.3, 1.0)] {
        let (features, weights) = model(3, [4, 3, 3, 5], c);
        let polynomial = ExactLoss::new(&features, exponential(0.5, 1.0)).unwrap().polynomial(&weights).unwrap();
        let log_gap = |p: f64| polynomial.gap(p).unwrap().abs().ln();
        let found = (log_gap(1e-7) - log_gap(1e-8)) / 10f64.ln();
        // The next term of the polynomial changes the slope by O(p), with a constant below 1e4.
        assert!((found - slope).abs() < 1e-3, "c = {c}: {found}");
    }
}

#[test]
fn the_gap_s_coefficients_are_those_of_the_expansion() {
    let (features, weights) = model(4, [4, 3, 2, 5], 0.0);
    let exact = ExactLoss::new(&features, exponential(0.5, 1.0)).unwrap();
    let polynomial = exact.polynomial(&weights).unwrap();
    let gap = polynomial.gap_coefficients();
    let pairs = exact.pair_sum(&weights).unwrap();
    let triples: f64 =
        [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]].iter().map(|A| exact.conditional_loss(&weights, A).unwrap()).sum();
    assert_eq!(&gap[..2], &[0.0, 0.0]);
    assert!((gap[2] - pairs).abs() < 1e-11 * pairs);
    assert!((gap[3] - (triples - 2.0 * pairs)).abs() < 1e-11 * triples);
    for p in [0.0, 0.01, 0.4, 1.0] {
        let direct = polynomial.value(p).unwrap() - polynomial.approximate(p).unwrap();
        assert!((direct - polynomial.gap(p).unwrap()).abs() < 1e-12 * (1.0 + direct));
        let powers: f64 = polynomial.coefficients().iter().rev().fold(0.0, |sum, a| sum * p + a);
        assert!((powers - polynomial.value(p).unwrap()).abs() < 1e-10);
        assert!(polynomial.gap(p).unwrap() >= 0.0);
    }
}

#[test]
fn a_zero_approximate_loss_does_not_make_the_loss_zero() {
    // p_1 = (1,0), p_2 = (−3/5, 4/5), p_3 = (−3/5, −4/5), W = Pᵀ, V = R = P, all magnitudes 1: ℓ_12 = 36/125.
    let problem = Problem::from_json(
        r#"{"format": 1, "features": [{"w_p": ["1","0"], "mass": "1"}, {"w_p": ["-3/5","4/5"], "mass": "1"}, {"w_p": ["-3/5","-4/5"], "mass": "1"}]}"#,
    )
    .unwrap();
    let rows: Vec<_> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let point = Point { w_e: rows.clone(), w_d: rows };
    let one = Rational::ONE;
    let at = |x: [u8; 3]| {
        FiniteDistribution::new(vec![(x.map(Rational::from).to_vec(), one.clone())])
            .unwrap()
            .losses(&problem, &point)
            .unwrap()
    };
    assert_eq!(at([1, 1, 0]).loss, rational::parse("36/125").unwrap());
    assert_eq!(at([0, 0, 1]).loss, Rational::ZERO);
    let features = ApproximateLoss::from_problem(&problem).unwrap();
    let exact = ExactLoss::new(&features, Magnitudes::Finite(vec![(1.0, 1.0)])).unwrap();
    let weights = Weights::from_point(&point, &problem).unwrap();
    assert!((exact.pair_loss(&weights, 0, 1).unwrap() - 36.0 / 125.0).abs() < 1e-15);
    assert!(exact.approximate(0.1).unwrap().value(&weights).unwrap() < 1e-30);
}

#[test]
fn a_positive_threshold_leaves_a_gap_of_first_order() {
    // n = 1, c = 1, w = 2, v = 1/2, magnitudes 1/4 and 1 with probability 1/2: L̃ = 0 and L = p/32.
    let problem = Problem::from_json(
        r#"{"format": 1, "features": [{"w_p": [1], "mass": 1}], "activation": {"kind": "threshold", "c": 1}}"#,
    )
    .unwrap();
    let parse = |x: &str| rational::parse(x).unwrap();
    let point = Point { w_e: vec![vec![parse("2")]], w_d: vec![vec![parse("1/2")]] };
    let magnitudes = [(parse("1/4"), parse("1/2")), (parse("1"), parse("1/2"))];
    assert_eq!(exact_polynomial(&problem, &point, &magnitudes).unwrap(), vec![Rational::ZERO, parse("1/32")]);
    let losses =
        FiniteDistribution::independent(1, &parse("1/10"), &magnitudes).unwrap().losses(&problem, &point).unwrap();
    assert_eq!((losses.loss, losses.approximate), (parse("1/320"), Rational::ZERO));
}

#[test]
fn monte_carlo_intervals_cover_the_polynomial_as_often_as_they_say() {
    for (c, p, law) in [
        (0.0, 0.3, exponential(0.5, 1.0)),
        (0.4, 0.01, exponential(0.0, 1.0)),
        (0.0, 0.1, Magnitudes::Finite(vec![(0.5, 0.9), (4.0, 0.1)])),
    ] {
        let (features, weights) = model(8, [4, 3, 2, 5], c);
        let exact = ExactLoss::new(&features, law).unwrap();
        let truth = exact.polynomial(&weights).unwrap().value(p).unwrap();
        let covered = (0..400).filter(|&seed| {
            let estimate = exact.monte_carlo(&weights, p, 1024, 0.9, seed).unwrap();
            estimate.low <= truth && truth <= estimate.high
        });
        // 400 fixed seeds at 90 %: the count has standard deviation 6; skewness of chunks of 16 costs less than one percent.
        let count = covered.count();
        assert!((338..=382).contains(&count), "c = {c}, p = {p}: {count} of 400");
    }
}

#[test]
fn a_large_estimate_does_not_depend_on_the_number_of_threads() {
    let (features, weights) = model(9, [200, 20, 20, 60], 0.0);
    let exact = ExactLoss::new(&features, exponential(1.0, 1.0)).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| exact.monte_carlo(&weights, 0.02, 3000, 0.95, 1).unwrap())
    };
    let estimate = run(1);
    assert_eq!(estimate, run(3));
    assert_eq!(estimate.samples, 3008);
    assert!(estimate.low > 0.0 && estimate.high < 2.0 * estimate.low);
}

#[test]
fn wrong_input_is_refused_with_a_reason() {
    let (features, weights) = model(1, [3, 2, 2, 2], 0.5);
    let law = |law| ExactLoss::new(&features, law).map(|_| ()).unwrap_err().to_string();
    assert!(law(exponential(-1.0, 1.0)).contains("shift"));
    assert!(law(exponential(0.0, 0.0)).contains("scale"));
    assert!(law(Magnitudes::Finite(vec![(1.0, 0.5)])).contains("add up to 1"));
    assert!(law(Magnitudes::Finite(vec![(0.0, 1.0)])).contains("> 0"));
    let exact = ExactLoss::new(&features, exponential(0.0, 1.0)).unwrap();
    assert_eq!(exact.pair_sum(&weights).unwrap_err(), ExactLossError::NotHomogeneous(0.5));
    assert_eq!(exact.conditional_loss(&weights, &[0, 3]).unwrap_err(), ExactLossError::Feature { feature: 3, n: 3 });
    assert!(exact.conditional_loss(&weights, &[1, 1]).is_err());
    assert!(exact.mass(1.5).is_err() && exact.monte_carlo(&weights, f64::NAN, 10, 0.9, 0).is_err());
    assert!(
        exact.monte_carlo(&weights, 0.1, 10, 1.0, 0).is_err() && exact.monte_carlo(&weights, 0.1, 0, 0.9, 0).is_err()
    );
    let (relu, weights) = model(1, [3, 2, 2, 4], 0.0);
    let exact = ExactLoss::new(&relu, exponential(0.0, 1.0)).unwrap();
    assert!(matches!(exact.sign_coherent_loss(&weights, 0.1), Err(ExactLossError::NotSignCoherent { .. })));
    let (many, weights) = model(1, [17, 2, 2, 1], 0.0);
    let exact = ExactLoss::new(&many, exponential(0.0, 1.0)).unwrap();
    assert!(exact.polynomial(&weights).unwrap_err().to_string().contains("more than 16"));
    let half = rational::parse("1/2").unwrap();
    assert!(FiniteDistribution::new(vec![(vec![Rational::ONE], half.clone()), (vec![Rational::ONE], half)]).is_err());
    assert!(FiniteDistribution::independent(40, &Rational::ONE, &[]).is_err());
}
