//! L̃ and what is derived from it, against exact rational arithmetic, finite differences, nalgebra and plain loops.

use super::line_search::Quartic;
use super::*;
use crate::bench::features::stream;
use crate::theory::problem::{Activation, Feature};
use proptest::prelude::*;
use rand::RngExt;

/// A problem and a point whose numbers are small multiples of 1/8: exact in f64, and on several sides of the threshold.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub problem: Problem,
    pub loss: ApproximateLoss,
    pub weights: Weights,
    pub direction: Weights,
}

pub(super) fn instance(seed: u64, [n, n_p, n_r, n_q]: [usize; 4], c_eighths: i64) -> Instance {
    let mut rng = stream(seed, "loss tests");
    let mut eighths = |from: i32, to: i32| Rational::from(rng.random_range(from..=to)) / Rational::from(8);
    let mut vector = |length: usize| (0..length).map(|_| eighths(-12, 12)).collect::<Vec<_>>();
    let directions: Vec<_> = (0..n).map(|_| (vector(n_p), vector(n_r))).collect();
    let points: Vec<Point> = (0..2)
        .map(|_| Point { w_e: (0..n_q).map(|_| vector(n_p)).collect(), w_d: (0..n_q).map(|_| vector(n_r)).collect() })
        .collect();
    let features = directions.into_iter().map(|(w_p, w_r)| Feature { w_p, w_r, mass: eighths(1, 24) }).collect();
    let c = Rational::from(c_eighths) / Rational::from(8);
    let problem = Problem::new(features, Activation::Threshold(c)).unwrap();
    let loss = ApproximateLoss::from_problem(&problem).unwrap().with_par(Par::Seq);
    let [weights, direction] = [0, 1].map(|k| Weights::from_point(&points[k], &problem).unwrap());
    Instance { problem, loss, weights, direction }
}

pub(super) fn instances() -> impl Strategy<Value = Instance> {
    (any::<u64>(), 1usize..6, 1usize..4, 1usize..4, 1usize..5, prop_oneof![Just(0i64), 1i64..9])
        .prop_map(|(seed, n, n_p, n_r, n_q, c)| instance(seed, [n, n_p, n_r, n_q], c))
}

pub(super) fn exact_loss(instance: &Instance, weights: &Weights) -> Rational {
    weights.to_point().unwrap().loss(&instance.problem)
}

/// Entries are at most 3, dimensions at most 5: no intermediate sum exceeds 1e5, so that a few hundred roundings of relative size
/// 1.1e-16 stay below 1e-8 in everything that follows.
pub(super) const SMALL: f64 = 1e-8;

pub(super) fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs()))
}

/// The quartic along the direction from five exact losses inside the cell, by Newton interpolation in rationals; `None` if the point is
/// alone in its cell on this line.
fn exact_quartic(instance: &Instance) -> Option<[f64; 5]> {
    let Instance { loss, weights, direction, .. } = instance;
    let cell = loss.cell_interval(weights.W.as_ref(), direction.W.as_ref()).unwrap();
    let side = if cell.hi >= -cell.lo { cell.hi.min(1.0) } else { cell.lo.max(-1.0) };
    if side == 0.0 {
        return None;
    }
    let step = side.signum() * 2f64.powi(side.abs().log2().floor() as i32 - 3);
    let nodes: Vec<Rational> = (0..5).map(|k| rational::from_f64(k as f64 * step).unwrap()).collect();
    let mut divided: Vec<Rational> =
        (0..5).map(|k| exact_loss(instance, &weights.plus(k as f64 * step, direction))).collect();
    for level in 1..5 {
        for k in (level..5).rev() {
            divided[k] = (&divided[k] - &divided[k - 1]) / (&nodes[k] - &nodes[k - level]);
        }
    }
    let mut p = vec![Rational::ZERO; 5];
    for k in (0..5).rev() {
        for j in (0..5).rev() {
            let lower = if j > 0 { p[j - 1].clone() } else { Rational::ZERO };
            p[j] = lower - &p[j] * &nodes[k] + if j == 0 { divided[k].clone() } else { Rational::ZERO };
        }
    }
    Some(std::array::from_fn(|k| rational::to_f64(&p[k])))
}

proptest! {
    #[test]
    fn the_value_equals_the_exact_loss(instance in instances()) {
        let exact = rational::to_f64(&exact_loss(&instance, &instance.weights));
        prop_assert!(close(instance.loss.value(&instance.weights).unwrap(), exact, SMALL));
        let (value, _) = instance.loss.value_and_gradients(&instance.weights).unwrap();
        prop_assert_eq!(value, instance.loss.value(&instance.weights).unwrap());
    }

    #[test]
    fn gradient_hessian_and_quartic_agree_with_exact_interpolation(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let quartic = loss.quartic(weights, direction).unwrap();
        let slope = loss.value_and_gradients(weights).unwrap().1.dot(direction);
        let curvature = loss.hessian_product(weights, direction).unwrap().dot(direction);
        prop_assert!(close(slope, quartic.coefficients[1], SMALL), "{} {:?}", slope, quartic);
        prop_assert!(close(curvature, 2.0 * quartic.coefficients[2], SMALL), "{} {:?}", curvature, quartic);
        if let Some(exact) = exact_quartic(&instance) {
            for (found, expected) in quartic.coefficients.iter().zip(&exact) {
                prop_assert!(close(*found, *expected, SMALL), "{:?} {:?}", quartic, exact);
            }
        }
    }

    #[test]
    fn gradients_agree_with_central_differences_inside_the_cell(instance in instances(), at in any::<prop::sample::Index>()) {
        let Instance { loss, weights, .. } = &instance;
        let (n_q, n_p, n_r) = (weights.n_q(), loss.n_p(), loss.n_r());
        let gradient = loss.value_and_gradients(weights).unwrap().1;
        let mut unit = Weights::zeros(loss, n_q);
        let k = at.index(n_q * (n_p + n_r));
        let expected = if k < n_q * n_r {
            unit.V[(k % n_r, k / n_r)] = 1.0;
            gradient.V[(k % n_r, k / n_r)]
        } else {
            let k = k - n_q * n_r;
            unit.W[(k % n_q, k / n_q)] = 1.0;
            gradient.W[(k % n_q, k / n_q)]
        };
        let h = 1e-4;
        let cell = loss.cell_interval(weights.W.as_ref(), unit.W.as_ref()).unwrap();
        prop_assume!(cell.contains(h) && cell.contains(-h));
        let difference = (loss.value(&weights.plus(h, &unit)).unwrap() - loss.value(&weights.plus(-h, &unit)).unwrap()) / (2.0 * h);
        // Along one coordinate L̃ is a quadratic, for which central differences are exact up to rounding: ε·1e5 / h < 1e-6.
        prop_assert!(close(difference, expected, 1e-6), "{} {}", difference, expected);
    }

    #[test]
    fn euler_s_identity_holds_for_every_neuron_and_threshold(instance in instances()) {
        let Instance { loss, weights, .. } = &instance;
        let gradient = loss.value_and_gradients(weights).unwrap().1;
        for i in 0..weights.n_q() {
            let encoder = weights.W.row(i) * gradient.W.row(i).transpose();
            let decoder = weights.V.col(i).transpose() * gradient.V.col(i);
            prop_assert!(close(encoder, decoder, SMALL), "{} {}", encoder, decoder);
        }
    }

    #[test]
    fn the_dense_hessian_is_symmetric_and_agrees_with_products(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let H = loss.hessian(weights).unwrap();
        prop_assert!((&H - H.transpose()).norm_max() <= SMALL);
        let (n_q, n_p, n_r) = (weights.n_q(), loss.n_p(), loss.n_r());
        let flat = |x: &Weights| faer::Col::from_fn(n_q * (n_p + n_r), |k| {
            let l = k.wrapping_sub(n_q * n_r);
            if k < n_q * n_r { x.V[(k % n_r, k / n_r)] } else { x.W[(l / n_p, l % n_p)] }
        });
        let difference = H * flat(direction) - flat(&loss.hessian_product(weights, direction).unwrap());
        prop_assert!(difference.norm_max() <= 1e3 * SMALL);
    }

    #[test]
    fn the_decoder_step_is_the_minimum_norm_solution_that_nalgebra_finds(instance in instances()) {
        let Instance { loss, weights, .. } = &instance;
        let step = loss.decoder_step(weights.W.as_ref()).unwrap();
        let Z = loss.codes(weights.W.as_ref()).unwrap();
        let root = |d: usize| loss.masses()[d].sqrt();
        let Y = nalgebra::DMatrix::from_fn(Z.nrows(), Z.ncols(), |i, d| Z[(i, d)] * root(d));
        let target = nalgebra::DMatrix::from_fn(loss.n_r(), loss.n(), |k, d| loss.R()[(k, d)] * root(d));
        let singular = Y.clone().svd(false, false).singular_values;
        let largest = singular.iter().copied().fold(0.0, f64::max);
        // Multiples of 1/64 below 14 cannot be nearly dependent: a non-zero singular value is far above 1e-9.
        prop_assert_eq!(step.rank, singular.iter().filter(|s| **s > 1e-9 * (1.0 + largest)).count());
        let expected = target * Y.pseudo_inverse(1e-9 * (1.0 + largest)).unwrap();
        let smallest = step.singular_values.get(step.rank.wrapping_sub(1)).copied().unwrap_or(1.0).min(1.0);
        for i in 0..weights.n_q() {
            for k in 0..loss.n_r() {
                prop_assert!((step.V[(k, i)] - expected[(k, i)]).abs() <= SMALL / (smallest * smallest));
            }
        }
    }

    #[test]
    fn the_decoder_residual_is_the_loss_above_the_best_decoder(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let best = Weights { V: loss.decoder_step(weights.W.as_ref()).unwrap().V, W: weights.W.clone() };
        let least = loss.value(&best).unwrap();
        let residual = loss.decoder_residual(weights).unwrap();
        prop_assert!(close(loss.value(weights).unwrap() - least, residual, SMALL));
        let other = Weights { V: direction.V.clone(), W: weights.W.clone() };
        prop_assert!(loss.value(&other).unwrap() >= least - SMALL * (1.0 + least));
    }

    #[test]
    fn the_ridge_step_solves_its_normal_equations(instance in instances(), lambda in 0.01..10.0f64) {
        let Instance { loss, weights, .. } = &instance;
        let V = loss.ridge_decoder_step(weights.W.as_ref(), lambda).unwrap();
        // Stationarity of L̃ + λ‖V‖² in V: ∇_V L̃ + 2 λ V = 0.
        let gradient = loss.value_and_gradients(&Weights { V: V.clone(), W: weights.W.clone() }).unwrap().1.V;
        prop_assert!((gradient + faer::Scale(2.0 * lambda) * V).norm_max() <= 1e3 * SMALL);
    }

    #[test]
    fn an_added_neuron_lowers_the_loss_by_exactly_what_is_said(instance in instances()) {
        let Instance { loss, weights, direction, problem } = &instance;
        let row: Vec<f64> = direction.W.row(0).iter().copied().collect();
        let added = loss.added_neuron(loss.residuals(weights).unwrap().as_ref(), &row).unwrap();
        let mut point = weights.to_point().unwrap();
        let before = point.loss(problem);
        point.w_e.push(row.iter().map(|x| rational::from_f64(*x).unwrap()).collect());
        point.w_d.push(added.column.iter().map(|x| rational::from_f64(*x).unwrap()).collect());
        let decrease = rational::to_f64(&(before - point.loss(problem)));
        prop_assert!(close(decrease, added.decrease, SMALL), "{} {}", decrease, added.decrease);
        // No other column does better.
        point.w_d.last_mut().unwrap()[0] += Rational::ONE;
        let worse = rational::to_f64(&(weights.to_point().unwrap().loss(problem) - point.loss(problem)));
        prop_assert!(worse <= added.decrease + SMALL);
    }

    #[test]
    fn block_minima_are_minima_of_the_quartic_of_the_block(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let n_q = weights.n_q();
        let only_V = Weights { W: Mat::zeros(n_q, loss.n_p()), V: direction.V.clone() };
        let only_W = Weights { V: Mat::zeros(loss.n_r(), n_q), W: direction.W.clone() };
        let found = [
            (loss.decoder_line_minimum(weights, direction.V.as_ref()).unwrap(), only_V),
            (loss.encoder_line_minimum(weights, direction.W.as_ref()).unwrap(), only_W),
        ];
        for (minimum, direction) in found {
            let quartic = loss.quartic(weights, &direction).unwrap();
            prop_assert!(close(quartic.value(0.0) - quartic.value(minimum.t), minimum.decrease, SMALL));
            prop_assert!(close(quartic.value(quartic.minimiser()), quartic.value(minimum.t), SMALL));
            prop_assert!(quartic.coefficients[3] == 0.0 && quartic.coefficients[4] == 0.0);
        }
    }

    #[test]
    fn no_grid_point_lies_below_the_minimiser_of_a_quartic(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let quartic = loss.quartic(weights, direction).unwrap();
        let least = quartic.value(quartic.minimiser());
        prop_assert!(least >= -SMALL);
        for k in -400..=400 {
            prop_assert!(quartic.value(f64::from(k) / 50.0) >= least - SMALL * (1.0 + least));
        }
        for t in quartic.critical_points() {
            let h = 1e-5 * (1.0 + t.abs());
            let slope = (quartic.value(t + h) - quartic.value(t - h)) / (2.0 * h);
            let scale: f64 = quartic.coefficients.iter().map(|a| a.abs()).sum::<f64>() * (1.0 + t.abs()).powi(4);
            // Truncation h²·L''' and cancellation ε/h, both relative to the scale.
            prop_assert!(slope.abs() <= 1e-7 * (1.0 + scale), "{} {}", t, slope);
        }
    }
}

#[test]
fn a_quartic_with_two_valleys_is_minimised_in_the_deeper_one() {
    // (t² − 1)² + t/10: valleys near ±1, the left one deeper.
    let quartic = Quartic { coefficients: [1.0, 0.1, -2.0, 0.0, 1.0] };
    assert_eq!(quartic.critical_points().len(), 3);
    assert!((quartic.minimiser() + 1.012_274).abs() < 1e-6, "{}", quartic.minimiser());
    assert!(quartic.minimiser_between(0.0, 5.0) > 0.9);
}

#[test]
fn blocks_of_features_and_threads_do_not_change_the_result() {
    let (n, n_p, n_r, n_q) = (2 * super::gradients::BLOCK + 37, 9, 7, 150);
    let Instance { loss, weights, .. } = instance(5, [n, n_p, n_r, n_q], 3);
    let (value, gradient) = loss.value_and_gradients(&weights).unwrap();
    let (Z, E) = (loss.codes(weights.W.as_ref()).unwrap(), loss.residuals(&weights).unwrap());
    let ED = Mat::from_fn(n_r, n, |k, d| E[(k, d)] * loss.masses()[d]);
    let flow = weights.V.transpose() * &ED;
    let flow = Mat::from_fn(n_q, n, |i, d| if Z[(i, d)] == 0.0 { 0.0 } else { flow[(i, d)] });
    // Sums of 549 terms below 1e6 that are multiples of 2^-15: the error is far below 1e-3 of the entries' unit.
    assert!((&gradient.V + faer::Scale(2.0) * &ED * Z.transpose()).norm_max() < 1e-3);
    assert!((&gradient.W + faer::Scale(2.0) * flow * loss.P().transpose()).norm_max() < 1e-3);
    let threads = loss.clone().with_par(Par::rayon(3)).value_and_gradients(&weights).unwrap();
    assert_eq!((value, gradient), threads);
}

#[test]
fn kept_matrices_give_the_same_result_as_fresh_ones() {
    let Instance { loss, weights, direction, .. } = instance(6, [5, 3, 2, 4], 1);
    let (mut gradients, mut work) = (Weights::zeros(&loss, 1), super::gradients::Workspace::default());
    for point in [&weights, &direction, &weights] {
        let value = loss.value_and_gradients_into(point, &mut gradients, &mut work).unwrap();
        assert_eq!((value, gradients.clone()), loss.value_and_gradients(point).unwrap());
    }
}

#[test]
fn wrong_input_is_an_error_that_says_what_was_expected() {
    let Instance { loss, weights, direction, .. } = instance(7, [3, 2, 2, 2], 0);
    let ones = |rows, columns| Mat::<f64>::full(rows, columns, 1.0);
    let text = |e: LossError| e.to_string();
    let new = |P, R, masses: &[f64], c| text(ApproximateLoss::new(P, R, masses.to_vec(), c).unwrap_err());
    assert_eq!(
        new(ones(2, 3), ones(2, 2), &[1.0; 3], 0.0),
        "R: expected at least one row, and 3 columns as in P, found 2×2"
    );
    assert_eq!(
        new(ones(2, 3), ones(2, 3), &[1.0; 2], 0.0),
        "masses: expected 3 numbers, one for each column of P, found 2"
    );
    assert!(new(ones(2, 1), ones(2, 1), &[-1.0], 0.0).contains("masses[0]"));
    assert!(new(ones(2, 1), ones(2, 1), &[1.0], f64::NAN).contains("threshold"));
    assert!(new(ones(2, 1) * faer::Scale(f64::INFINITY), ones(2, 1), &[1.0], 0.0).contains("P: expected finite"));
    assert!(new(ones(0, 1), ones(2, 1), &[1.0], 0.0).starts_with("P:"));
    let wide = Weights { V: ones(2, 3), W: ones(2, 2) };
    assert!(text(loss.value(&wide).unwrap_err()).starts_with("V: expected 2×2"));
    assert!(text(loss.quartic(&weights, &wide).unwrap_err()).starts_with("direction V"));
    assert!(loss.value(&Weights { V: ones(2, 0), W: ones(0, 2) }).is_err());
    assert!(loss.ridge_decoder_step(weights.W.as_ref(), 0.0).is_err());
    assert!(loss.decoder_step((ones(2, 2) * faer::Scale(f64::NAN)).as_ref()).is_err());
    assert!(loss.added_neuron(direction.V.as_ref(), &[1.0]).is_err());
    let big = Weights { V: ones(2, 2000), W: ones(2000, 2) };
    assert_eq!(loss.hessian(&big).unwrap_err(), LossError::TooLarge { dimension: 8000, limit: 4096 });
    let top =
        Problem::from_json(r#"{"format":1,"features":[{"w_p":[1],"mass":1}],"activation":{"kind":"top-k","k":1}}"#);
    assert_eq!(ApproximateLoss::from_problem(&top.unwrap()).unwrap_err(), LossError::NotThreshold);
}
