//! The sweep against dense grids, the exact loss and lines whose minimum is known.

use super::super::tests::{Instance, SMALL, close, exact_loss, instance, instances};
use super::*;
use crate::exact::rational;
use proptest::prelude::*;

/// n_p = n_r = 1, unit masses: features (p, r), neurons (w, Δw, v), all with Δv = 0.
fn scalar_line(features: &[(f64, f64)], neurons: &[(f64, f64, f64)], c: f64) -> (ApproximateLoss, Weights, Weights) {
    let (n, n_q) = (features.len(), neurons.len());
    let P = Mat::from_fn(1, n, |_, d| features[d].0);
    let R = Mat::from_fn(1, n, |_, d| features[d].1);
    let loss = ApproximateLoss::new(P, R, vec![1.0; n], c).unwrap();
    let weights =
        Weights { V: Mat::from_fn(1, n_q, |_, i| neurons[i].2), W: Mat::from_fn(n_q, 1, |i, _| neurons[i].0) };
    let direction = Weights { V: Mat::zeros(1, n_q), W: Mat::from_fn(n_q, 1, |i, _| neurons[i].1) };
    (loss, weights, direction)
}

fn everywhere(line: &(ApproximateLoss, Weights, Weights)) -> LineMinimum {
    line.0.line_minimum(&line.1, &line.2, f64::NEG_INFINITY, f64::INFINITY).unwrap()
}

#[test]
fn an_infimum_at_an_open_end_is_not_attained() {
    // w = 1 + t fires only for t > 0 (c = 1) and then leaves (1 − (1+t))² = t²; silent, the loss is 1.
    let minimum = everywhere(&scalar_line(&[(1.0, 1.0)], &[(1.0, 1.0, 1.0)], 1.0));
    assert_eq!((minimum.t, minimum.value, minimum.attained), (0.0, 0.0, false));
}

#[test]
fn a_pattern_that_exists_only_at_an_event_is_seen() {
    // r = 0. For t > 0 neuron 1 fires with 1 + t, for t < 0 neuron 2 with 1 − t; at t = 0 both are silent and the loss is 0.
    let minimum = everywhere(&scalar_line(&[(1.0, 0.0)], &[(1.0, 1.0, 1.0), (1.0, -1.0, 1.0)], 1.0));
    assert_eq!((minimum.t, minimum.value, minimum.attained, minimum.piece), (0.0, 0.0, true, (0.0, 0.0)));
}

#[test]
fn events_that_coincide_only_in_exact_arithmetic_are_one_event() {
    // ⟨w, p⟩ is 0.1 + 0.2 + 0.3 in two orders, so that both neurons begin to fire at one t, but rounded sums differ. In a spurious gap
    // between the events one neuron alone would fit r = 0.7; in truth none fires (loss 0.49) or both (loss (0.7 − 2z)², z > 0.7).
    let loss = ApproximateLoss::new(Mat::full(3, 1, 1.0), Mat::full(1, 1, 0.7), vec![1.0], 0.7).unwrap();
    let rows = [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]];
    let weights = Weights { V: Mat::full(1, 2, 1.0), W: Mat::from_fn(2, 3, |i, k| rows[i][k]) };
    let direction = Weights { V: Mat::zeros(1, 2), W: Mat::from_fn(2, 3, |_, k| f64::from(u8::from(k == 0))) };
    let A = Line::new(&loss, &weights, &direction).A;
    assert_ne!(A[(0, 0)], A[(1, 0)], "the example needs sums that round differently");
    let minimum = loss.line_minimum(&weights, &direction, f64::NEG_INFINITY, f64::INFINITY).unwrap();
    assert_eq!((minimum.value, minimum.attained, minimum.events), (0.7 * 0.7, true, 2));
}

#[test]
fn a_minimum_across_cells_is_below_the_minimum_of_the_first_cell() {
    // The cell of t = 0 is silent, with loss 1 throughout; from t = 1 on the neuron fires, and at t = 2 it fits.
    let line = scalar_line(&[(1.0, 1.0)], &[(-1.0, 1.0, 1.0)], 0.0);
    assert_eq!(line.0.quartic(&line.1, &line.2).unwrap().value(7.0), 1.0);
    let minimum = everywhere(&line);
    assert_eq!((minimum.t, minimum.value, minimum.attained), (2.0, 0.0, true));
    let clipped = line.0.line_minimum(&line.1, &line.2, -3.0, 1.5).unwrap();
    assert_eq!((clipped.t, clipped.value), (1.5, 0.25));
}

#[test]
fn a_range_or_a_number_that_makes_no_sense_is_refused() {
    let (loss, weights, direction) = scalar_line(&[(1.0, 1.0)], &[(1.0, 1.0, 1.0)], 0.0);
    for (from, to) in [(1.0, 0.0), (f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, f64::INFINITY)] {
        assert!(loss.line_minimum(&weights, &direction, from, to).is_err(), "{from} {to}");
    }
    let broken = Weights { V: weights.V.clone(), W: Mat::full(1, 1, f64::NAN) };
    assert_eq!(loss.line_minimum(&broken, &direction, 0.0, 1.0).unwrap_err(), LossError::NotFinite("W"));
}

#[test]
fn a_line_with_hundreds_of_events_keeps_its_accuracy() {
    let Instance { loss, weights, direction, .. } = instance(11, [40, 3, 3, 20], 0);
    let minimum = loss.line_minimum(&weights, &direction, f64::NEG_INFINITY, f64::INFINITY).unwrap();
    assert!(minimum.events > 500);
    let value = loss.value(&weights.plus(minimum.t, &direction)).unwrap();
    // The loss is of order 1e3: a few hundred roundings stay below 1e-10 of it.
    assert!(close(value, minimum.value, 1e-10), "{value} {minimum:?}");
    let least = (-4000..=4000).map(|k| loss.value(&weights.plus(f64::from(k) / 1000.0, &direction)).unwrap());
    assert!(least.fold(f64::INFINITY, f64::min) >= minimum.value);
}

proptest! {
    #[test]
    fn the_exact_loss_is_nowhere_below_the_minimum_and_takes_it_where_it_is_attained(instance in instances()) {
        let Instance { loss, weights, direction, .. } = &instance;
        let minimum = loss.line_minimum(weights, direction, f64::NEG_INFINITY, f64::INFINITY).unwrap();
        prop_assert!(loss.c() > 0.0 || minimum.attained);
        let value = |t: f64| rational::to_f64(&exact_loss(&instance, &weights.plus(t, direction)));
        // Multiples of 1/64 hit many events exactly, because the instance's numbers are multiples of 1/8.
        for k in -256..=256 {
            prop_assert!(value(f64::from(k) / 64.0) >= minimum.value - SMALL * (1.0 + minimum.value), "{:?} at {}", minimum, k);
        }
        // At a t without rounding, attained or not is a statement about the exact loss there.
        if loss.c() == 0.0 || (minimum.t * 64.0).fract() == 0.0 {
            let there = close(value(minimum.t), minimum.value, SMALL);
            prop_assert_eq!(there, minimum.attained, "{:?} {}", minimum, value(minimum.t));
        }
        // A pre-activation that is c on the whole line does not fire; rounding of the weights may make it fire.
        let line = Line::new(loss, weights, direction);
        let held = (0..loss.n()).any(|d| (0..line.A.nrows()).any(|i| line.A[(i, d)] == loss.c() && line.rates[(i, d)] == 0.0));
        if held && loss.c() > 0.0 {
            return Ok(());
        }
        if minimum.piece.0 < minimum.t && minimum.t < minimum.piece.1 {
            let there = loss.value(&weights.plus(minimum.t, direction)).unwrap();
            prop_assert!(close(there, minimum.value, SMALL), "{:?} {}", minimum, there);
        }
        // An infimum is approached from inside its piece.
        let (lo, hi) = (minimum.piece.0.max(minimum.t - 1.0), minimum.piece.1.min(minimum.t + 1.0));
        if lo < hi {
            let near = minimum.t + 1e-7 * ((lo + hi) / 2.0 - minimum.t);
            prop_assert!(close(loss.value(&weights.plus(near, direction)).unwrap(), minimum.value, 1e-4), "{:?}", minimum);
        }
    }
}
