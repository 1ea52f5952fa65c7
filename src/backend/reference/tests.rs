use super::super::{Backend, Mode, Optimizer, Rows, Rule, Schedule, Spec, THRESHOLD_DECAY};
use super::selection::{first, order};
use super::{Codes, Grads, Params, Reference, State};
use crate::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Parameter, Shape};
use std::cmp::Ordering;

const IDENTITY: Shape = Shape { n_p: 3, n_r: 3, n_q: 3 };

fn spec(objective: Objective) -> Spec {
    Spec { objective, ..Spec::plain(IDENTITY, 4) }
}

/// W_E = W_D = I.
fn identity(activation: Activation, init: Init) -> Model {
    let mut model = init.model(IDENTITY, activation, 0);
    for parameter in [Parameter::Encoder, Parameter::Decoder] {
        for i in 0..3 {
            let row = model.tensors.row_mut(parameter, i);
            row.fill(0.0);
            row[i] = 1.0;
        }
    }
    model
}

/// A run on one batch that is its own target.
struct Run {
    backend: Reference,
    params: Params,
    opt: State,
    codes: Codes,
    grads: Grads,
}

impl Run {
    fn new(spec: Spec, model: &Model) -> Self {
        let backend = Reference::new(spec);
        let params = backend.params(model);
        let (opt, codes, grads) = (backend.opt_state(&params), backend.codes(), backend.grads(&params));
        Self { backend, params, opt, codes, grads }
    }

    fn forward(&mut self, inputs: &[f32], mode: Mode) {
        let mut batch = self.backend.batch();
        self.backend.load(Rows { inputs, targets: inputs, weights: None }, &mut batch);
        self.backend.encode_select(&self.params, &self.opt, &batch, mode, &mut self.codes);
        self.backend.decode_residual(&self.params, &batch, &mut self.codes);
        self.backend.backward(&self.params, &batch, &mut self.codes, &mut self.grads);
    }

    fn step(&mut self, inputs: &[f32]) {
        self.forward(inputs, Mode::Training);
        self.backend.step(&mut self.params, &mut self.opt, &self.codes, &mut self.grads);
    }

    fn selected(&self) -> Vec<(usize, u32, f32)> {
        let host = self.backend.codes_of(&self.codes);
        let row = |b: usize| host.offsets[b]..host.offsets[b + 1];
        (0..host.offsets.len() - 1)
            .flat_map(|b| row(b).map(move |e| (b, e)))
            .map(|(b, e)| (b, host.latents[e], host.values[e]))
            .collect()
    }
}

#[test]
fn the_order_puts_numbers_before_nan_and_lower_latents_first() {
    assert_eq!(order(0.0, -0.0), Ordering::Equal);
    assert_eq!(order(f32::NEG_INFINITY, f32::NAN), Ordering::Less);
    let values = [f32::NAN, 1.0, f32::NEG_INFINITY, 1.0, -0.0, 0.0, f32::NAN, f32::INFINITY];
    assert_eq!(first(8, &values), [7, 1, 3, 4, 5, 2, 0, 6]);
    assert_eq!(first(2, &values), [7, 1]);
    assert_eq!(first(20, &values).len(), 8);
}

#[test]
fn top_k_keeps_negative_codes_and_counts_them_and_top_k_relu_does_not() {
    let x = [-1.0, -2.0, 0.5];
    let mut run = Run::new(spec(Objective::default()), &identity(Activation::TopK { k: 2 }, Init::default()));
    run.forward(&x, Mode::Training);
    assert_eq!(run.selected(), [(0, 0, -1.0), (0, 2, 0.5)]);
    assert_eq!(run.codes.terms.l0, 2.0);
    run.step(&x);
    assert_eq!(run.backend.idle(&run.opt), [0, 1, 0]);
    let mut run = Run::new(spec(Objective::default()), &identity(Activation::TopKRelu { k: 2 }, Init::default()));
    run.step(&x);
    assert_eq!(run.selected(), [(0, 2, 0.5)]);
    assert_eq!(run.backend.idle(&run.opt), [1, 1, 0]);
}

#[test]
fn a_selected_zero_is_listed_but_not_active() {
    let mut run = Run::new(spec(Objective::default()), &identity(Activation::TopK { k: 2 }, Init::default()));
    run.step(&[0.0, -0.0, -1.0, 3.0, 0.0, 0.0]);
    assert_eq!(run.selected(), [(0, 0, 0.0), (0, 1, 0.0), (1, 0, 3.0), (1, 1, 0.0)]);
    assert_eq!(run.codes.terms.l0, 0.5);
    // Idle counts samples, two in this batch.
    assert_eq!(run.backend.idle(&run.opt), [0, 2, 2]);
}

#[test]
fn batch_top_k_shares_its_budget_and_leaves_a_threshold_for_inference() {
    let x = [5.0, 4.0, 3.0, 1.0, 0.5, -1.0];
    let mut run = Run::new(spec(Objective::default()), &identity(Activation::BatchTopK { k: 2 }, Init::default()));
    run.forward(&x, Mode::Inference);
    assert_eq!(run.selected().len(), 5, "before the first step everything positive is selected");
    run.step(&x);
    assert_eq!(run.selected(), [(0, 0, 5.0), (0, 1, 4.0), (0, 2, 3.0), (1, 0, 1.0)]);
    assert_eq!(run.backend.model(&run.params).threshold, Some(1.0));
    run.step(&x.map(|x| 2.0 * x));
    // The least value kept is 2 then. Rounded to f32 after the step.
    let expected = THRESHOLD_DECAY + (1.0 - THRESHOLD_DECAY) * 2.0;
    assert!((run.params.threshold.unwrap() - expected).abs() < 1e-7);
    // A single sample is judged by the threshold, whatever else is in the batch.
    run.params = run
        .backend
        .params(&Model { threshold: Some(2.0), ..identity(Activation::BatchTopK { k: 2 }, Init::default()) });
    run.forward(&x, Mode::Inference);
    assert_eq!(run.selected(), [(0, 0, 5.0), (0, 1, 4.0), (0, 2, 3.0)]);
}

#[test]
fn aux_k_counts_no_bias_and_only_dead_latents_and_has_a_gradient() {
    let init = Init { decoder_bias: true, encoder_bias: true, ..Init::default() };
    let mut model = identity(Activation::TopK { k: 1 }, init);
    model.tensors.get_mut(Parameter::DecoderBias).unwrap().copy_from_slice(&[0.25, 0.25, 0.25]);
    for target in [AuxTarget::Residual, AuxTarget::Target] {
        let aux = AuxK { k: 2, weight: 0.5, dead_after: 10, target };
        let mut run = Run::new(spec(Objective { aux: Some(aux), ..Objective::default() }), &model);
        run.opt.idle = vec![10, 10, 9];
        run.forward(&[4.0, 2.0, 1.0], Mode::Training);
        // x̂ = (4, 0, 0) + bias, ê = (4, 2, 0); the third latent is alive.
        let t = match target {
            AuxTarget::Residual => [-0.25, 1.75, 0.75],
            AuxTarget::Target => [4.0, 2.0, 1.0],
        };
        let exact = 0.5 * ((t[0] - 4.0_f64).powi(2) + (t[1] - 2.0).powi(2) + t[2].powi(2));
        assert_eq!(run.codes.terms.aux, exact, "{target:?}");
        let moved = run.grads.tensors.row(Parameter::Decoder, 1);
        assert_eq!(moved, [2.0 * 0.5 * 2.0 * (4.0 - t[0]), 2.0 * 0.5 * 2.0 * (2.0 - t[1]), -2.0 * 0.5 * 2.0 * t[2]]);
        assert_eq!(run.grads.tensors.row(Parameter::Decoder, 2), [0.0; 3]);
        run.forward(&[4.0, 2.0, 1.0], Mode::Inference);
        assert_eq!(run.codes.terms.aux, 0.0);
    }
}

#[test]
fn thresholds_of_jump_relu_move() {
    let activation = Activation::JumpRelu { theta: 1.0, bandwidth: 0.5 };
    let mut run = Run::new(spec(Objective { l0: 0.1, ..Objective::default() }), &identity(activation, Init::default()));
    run.step(&[1.1, 0.9, 3.0]);
    let moved = run.params.tensors.get(Parameter::LogThreshold).unwrap();
    // The first is selected and costs an L0; the second is not, and its error asks for a lower threshold; the third is far away.
    assert!(moved[0] > 0.0 && moved[1] < 0.0 && moved[2] == 0.0, "{moved:?}");
}

#[test]
fn adam_moves_by_the_rate_at_first_and_adam_w_shrinks_matrices_only() {
    let init = Init { decoder_bias: true, ..Init::default() };
    let mut model = identity(Activation::Relu, init);
    model.tensors.get_mut(Parameter::DecoderBias).unwrap().fill(0.5);
    for (rule, decay) in [(Rule::Adam, 0.0), (Rule::AdamW, 0.1 * 0.2)] {
        let optimizer = Optimizer { rule, learning_rate: 0.1, weight_decay: 0.2, ..Optimizer::default() };
        let mut run = Run::new(Spec { optimizer, ..spec(Objective::default()) }, &model);
        run.step(&[1.0, 1.0, -1.0]);
        // e = 0.5 wherever a latent is active: every derivative is positive, so that all move by −η; ε and rounding to f32 in 1e-6.
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{rule:?}: {a} for {b}");
        near(run.params.tensors.row(Parameter::DecoderBias, 0)[0], 0.4);
        near(run.params.tensors.row(Parameter::Decoder, 0)[0], 1.0 - decay - 0.1);
        near(run.params.tensors.row(Parameter::Encoder, 0)[0], 1.0 - decay - 0.1);
        near(run.params.tensors.row(Parameter::Encoder, 2)[2], 1.0 - decay);
    }
}

#[test]
fn momentum_adds_up_the_schedule_counts_and_clipping_sees_the_whole_norm() {
    let optimizer = Optimizer { rule: Rule::Sgd, learning_rate: 1.0, beta_1: 0.5, clip: 0.5, ..Optimizer::default() };
    let schedule = Schedule { warm_up: 4, ..Schedule::default() };
    let mut model = identity(Activation::Relu, Init { decoder_bias: true, ..Init::default() });
    for parameter in [Parameter::Encoder, Parameter::Decoder] {
        model.tensors.get_mut(parameter).unwrap().fill(0.0);
    }
    let mut run = Run::new(Spec { optimizer, schedule, ..spec(Objective::default()) }, &model);
    // Nothing is selected; the gradient of b_D is 2(b_D − x), of norm 10 at first.
    run.step(&[3.0, 4.0, 0.0]);
    assert_eq!(run.grads.norm, 10.0);
    let after = |run: &Run| run.params.tensors.get(Parameter::DecoderBias).unwrap().to_vec();
    // η = 1/4 of a gradient that is clipped to (−0.3, −0.4, 0); f32 in 1e-6 from here on.
    let near = |a: Vec<f64>, b: [f64; 2]| assert!((a[0] - b[0]).abs() + (a[1] - b[1]).abs() < 1e-6, "{a:?} for {b:?}");
    near(after(&run), [0.075, 0.1]);
    run.step(&[3.0, 4.0, 0.0]);
    // The direction stays, so the velocity is 1.5 times the clipped gradient, and η is 2/4.
    near(after(&run), [0.075 + 0.5 * 0.45, 0.1 + 0.5 * 0.6]);
}

#[test]
fn a_unit_decoder_stays_one_and_its_gradient_is_tangential() {
    let mut run = Run::new(
        Spec { unit_decoder: true, ..spec(Objective::default()) },
        &identity(Activation::Relu, Init::default()),
    );
    run.forward(&[3.0, 1.0, 2.0], Mode::Training);
    // e = 0: nothing moves.
    assert!(run.grads.tensors.row(Parameter::Decoder, 0).iter().all(|g| *g == 0.0));
    run.params.tensors.row_mut(Parameter::Encoder, 0)[1] = 1.0;
    run.step(&[3.0, 1.0, 2.0]);
    for i in 0..3 {
        let norm: f64 = run.params.tensors.row(Parameter::Decoder, i).iter().map(|v| v * v).sum();
        // Rounded to f32.
        assert!((norm - 1.0).abs() < 1e-6);
    }
    // The error is along e_1, so the first column, e_1 itself, has no tangential gradient.
    assert_eq!(run.params.tensors.row(Parameter::Decoder, 0), [1.0, 0.0, 0.0]);
    assert!(run.params.tensors.row(Parameter::Decoder, 1)[0] < 0.0);
}

#[test]
fn a_gated_model_at_its_start_selects_and_decodes_like_relu() {
    let x = [1.5, -2.0, 0.25];
    let mut gated = Run::new(spec(Objective::default()), &identity(Activation::Gated, Init::default()));
    let mut relu = Run::new(spec(Objective::default()), &identity(Activation::Relu, Init::default()));
    gated.forward(&x, Mode::Training);
    relu.forward(&x, Mode::Training);
    assert_eq!(gated.selected(), relu.selected());
    assert_eq!(gated.codes.terms.mse, relu.codes.terms.mse);
    assert_eq!(gated.codes.terms.aux, relu.codes.terms.mse);
}
