//! The definitions on small vectors, and the two statements of the paper about them.

use super::properties::ThresholdFit;
use super::*;
use crate::theory::pattern;
use proptest::prelude::*;

fn exact(text: &str) -> Rational {
    rational::parse(text).unwrap()
}

fn vector(numbers: &[&str]) -> Vec<Rational> {
    numbers.iter().map(|x| exact(x)).collect()
}

fn gated(scale: &str) -> SparseActivation<Rational> {
    let all = |x: &str| vec![exact(x); 3];
    SparseActivation::Gated { gate_bias: all("0"), scale: all(scale), magnitude_bias: all("0") }
}

#[test]
fn every_activation_does_what_the_table_says() {
    use SparseActivation::*;
    let z = [2.0, -1.0, 0.5, 2.0, 0.0];
    for (activation, expected) in [
        (Relu, [2.0, 0.0, 0.5, 2.0, 0.0]),
        (Threshold(0.5), [2.0, 0.0, 0.0, 2.0, 0.0]),
        (JumpRelu(vec![3.0, 0.0, 0.25, 2.0, 0.0]), [0.0, 0.0, 0.5, 0.0, 0.0]),
        (TopK(1), [2.0, 0.0, 0.0, 0.0, 0.0]),
        (TopK(5), z),
        (TopK(9), z),
        (TopKRelu(5), [2.0, 0.0, 0.5, 2.0, 0.0]),
        (BatchTopK(2), [2.0, 0.0, 0.0, 2.0, 0.0]),
        (BiasedRelu(vec![-2.0, 2.0, 0.0, 1.0, 0.25]), [0.0, 1.0, 0.5, 3.0, 0.25]),
        (
            Gated {
                gate_bias: vec![-2.0, 2.0, 0.0, 0.0, 1.0],
                scale: vec![2.0; 5],
                magnitude_bias: vec![0.0, 3.0, -1.0, 0.5, 0.0],
            },
            [0.0, 1.0, 0.0, 4.5, 0.0],
        ),
    ] {
        assert_eq!(activation.apply(&z).unwrap(), expected, "{activation:?}");
        let exactly = activation.to_exact().unwrap().apply(&z.map(|x| x.to_exact().unwrap())).unwrap();
        assert_eq!(exactly, expected.map(|x: f64| x.to_exact().unwrap()), "{activation:?}");
    }
}

#[test]
fn top_k_keeps_negatives_and_fires_on_zero_and_ties_go_to_the_lower_index() {
    let top = SparseActivation::TopK(2);
    assert_eq!(top.apply(&[-3.0, -1.0, -1.0, -1.0]).unwrap(), [0.0, -1.0, -1.0, 0.0]);
    assert_eq!(top.firing(&[0.0, -0.0, 0.0]).unwrap(), [true, true, false]);
    assert_eq!(SparseActivation::TopKRelu(2).firing(&[0.0, -1.0, 1.0]).unwrap(), [false, false, true]);
}

#[test]
fn batch_top_k_compares_the_vectors_of_a_batch() {
    let batch = [vec![3.0, 1.0, 0.0], vec![2.0, 1.0, -1.0], vec![-5.0, -6.0, 1.0]];
    let masks = SparseActivation::BatchTopK(1).firing_batch(&batch).unwrap();
    assert_eq!(masks, [[true, true, false], [true, false, false], [false, false, false]]);
    let relu = SparseActivation::BatchTopKRelu(3).apply_batch(&batch).unwrap();
    assert_eq!(relu, [[3.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
}

#[test]
fn what_is_not_a_number_ranks_last_and_exceeds_nothing() {
    let z = [f64::NAN, -1.0, f64::NAN, f64::NEG_INFINITY];
    assert_eq!(SparseActivation::TopK(2).firing(&z).unwrap(), [false, true, false, true]);
    assert_eq!(SparseActivation::Relu.apply(&z).unwrap(), [0.0; 4]);
}

#[test]
fn parameters_are_checked() {
    use SparseActivation::*;
    assert_eq!(TopK::<f64>(0).apply(&[1.0]), Err(ActivationError::K));
    assert_eq!(Threshold(-1.0).apply(&[1.0]), Err(ActivationError::Threshold(0)));
    assert_eq!(JumpRelu(vec![0.0, f64::NAN]).apply(&[1.0, 2.0]), Err(ActivationError::Threshold(1)));
    assert_eq!(JumpRelu(vec![0.0]).apply(&[1.0, 2.0]), Err(ActivationError::Width { neurons: 2, found: 1 }));
    let gate = Gated { gate_bias: vec![0.0], scale: vec![0.0], magnitude_bias: vec![0.0] };
    assert_eq!(gate.apply(&[1.0]), Err(ActivationError::Scale(0)));
    let ragged = [vec![1.0], vec![]];
    assert_eq!(Relu.apply_batch(&ragged), Err(ActivationError::Ragged { vector: 1, expected: 1, found: 0 }));
    assert_eq!(Threshold(f64::INFINITY).to_exact(), Err(ActivationError::NotFinite));
    assert_eq!(Relu.apply_batch(&[] as &[Vec<f64>]), Ok(vec![]));
}

#[test]
fn eq_10_holds_for_bias_free_activations_and_fails_with_a_bias_or_a_rescale() {
    use SparseActivation::*;
    let holds = [
        Relu,
        Threshold(exact("7/3")),
        JumpRelu(vector(&["0", "1/2", "100"])),
        TopK(2),
        TopKRelu(1),
        BatchTopK(1),
        BatchTopKRelu(2),
        gated("1"),
    ];
    for activation in holds {
        assert_eq!(
            activation.zero_or_identity_violation(&activation.probes(3, 500, 1)).unwrap(),
            None,
            "{activation:?}"
        );
    }
    for activation in [BiasedRelu(vector(&["1/2", "0", "0"])), BiasedRelu(vector(&["0", "0", "-1000000"])), gated("2")]
    {
        let witness = activation.zero_or_identity_violation(&activation.probes(3, 500, 1)).unwrap().unwrap();
        // The witness is checked by applying σ anew.
        let output = activation.apply_batch(&witness.batch).unwrap()[witness.vector][witness.neuron].clone();
        assert_eq!(output, witness.output);
        assert!(!output.is_zero() && output != *witness.input(), "{activation:?} {witness:?}");
    }
    let published = BiasedRelu(vector(&["1/2"]));
    let witness = published.zero_or_identity_violation(&[vec![vector(&["1"])]]).unwrap().unwrap();
    assert_eq!(witness.output, exact("3/2"));
}

#[test]
fn thresholds_are_recognised_with_their_c() {
    use SparseActivation::*;
    for (activation, c) in [
        (Relu, "0"),
        (Threshold(exact("7/3")), "7/3"),
        (JumpRelu(vector(&["5/2", "5/2", "5/2"])), "5/2"),
        (gated("1"), "0"),
        (BiasedRelu(vector(&["0", "0", "0"])), "0"),
    ] {
        match activation.threshold_fit(&activation.probes(3, 500, 2)).unwrap() {
            ThresholdFit::Agrees { lo, hi } => {
                assert_eq!(lo, exact(c), "{activation:?}");
                assert!(hi.unwrap() > lo);
            }
            other => panic!("{activation:?} {other:?}"),
        }
    }
}

#[test]
fn activations_that_compare_neurons_equal_no_single_threshold() {
    use SparseActivation::*;
    for activation in
        [TopK(1), TopKRelu(1), BatchTopK(1), BatchTopKRelu(1), JumpRelu(vector(&["1", "2", "1"])), gated("2")]
    {
        let fit = activation.threshold_fit(&activation.probes(3, 500, 3)).unwrap();
        assert!(matches!(fit, ThresholdFit::NoThreshold(_)), "{activation:?} {fit:?}");
    }
}

#[test]
fn the_published_counterexamples_for_top_1_are_witnesses() {
    let top = SparseActivation::TopK(1);
    let fit =
        |vectors: &[&[&str]]| top.threshold_fit(&vectors.iter().map(|z| vec![vector(z)]).collect::<Vec<_>>()).unwrap();
    // It keeps −1 of (−1, −2): no c ≥ 0 is below −1.
    match fit(&[&["-1", "-2"]]) {
        ThresholdFit::NoThreshold(witnesses) => {
            assert_eq!((witnesses.len(), witnesses[0].output.clone()), (1, exact("-1")))
        }
        other => panic!("{other:?}"),
    }
    // Equal numbers, one kept and one not.
    assert!(matches!(fit(&[&["1", "1"]]), ThresholdFit::NoThreshold(w) if w.len() == 2));
    // (2, 1) needs 1 ≤ c < 2, (1/2, 1/4) needs 1/4 ≤ c < 1/2: each alone has a c, both together have none.
    assert_eq!(fit(&[&["2", "1"]]), ThresholdFit::Agrees { lo: exact("1"), hi: Some(exact("2")) });
    assert_eq!(fit(&[&["1/2", "1/4"]]), ThresholdFit::Agrees { lo: exact("1/4"), hi: Some(exact("1/2")) });
    match fit(&[&["2", "1"], &["1/2", "1/4"]]) {
        ThresholdFit::NoThreshold(w) => assert_eq!((w[0].input(), w[1].input()), (&exact("1/2"), &exact("1"))),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn exact_problems_fire_as_their_activation_does(z in prop::collection::vec(-4i32..5, 1..7), k in 1usize..8, kind in 0..3) {
        let z: Vec<Rational> = z.into_iter().map(|x| Rational::from(x) / Rational::from(2)).collect();
        let activation = match kind {
            0 => Activation::Threshold(Rational::from(k) / Rational::from(4)),
            1 => Activation::TopK(k),
            _ => Activation::TopKRelu(k),
        };
        let mask = SparseActivation::from(&activation).firing(&z).unwrap();
        let fired: Vec<usize> = (0..z.len()).filter(|&i| mask[i]).collect();
        prop_assert_eq!(fired, pattern::firing(&activation, &z));
    }

    #[test]
    fn f64_and_exact_arithmetic_agree(z in prop::collection::vec(prop::collection::vec(-2.0..2.0f64, 4), 1..4), k in 1usize..4, kind in 0..6) {
        use SparseActivation::*;
        let activation = match kind {
            0 => Relu,
            1 => Threshold(0.25 * k as f64),
            2 => TopK(k),
            3 => TopKRelu(k),
            4 => BatchTopK(k),
            _ => JumpRelu(vec![0.1, 0.2, 0.3, 0.4]),
        };
        let exactly = |batch: &[Vec<f64>]| batch.iter().map(|z| z.iter().map(|x| x.to_exact().unwrap()).collect()).collect::<Vec<Vec<_>>>();
        let expected = activation.to_exact().unwrap().apply_batch(&exactly(&z)).unwrap();
        prop_assert_eq!(exactly(&activation.apply_batch(&z).unwrap()), expected);
    }
}
