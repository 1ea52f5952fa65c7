//! Gradients against central differences of a function written a second time, with everything frozen that counts as constant: the selection,
//! the target of AuxK, the decoder of Gated's auxiliary reconstruction, and π in the straight-through estimates.

use super::super::{Backend, Mode, Rows, Spec};
use super::{Codes, Params, Reference, State};
use crate::bench::features::stream;
use crate::sdl::init::Init;
use crate::sdl::{Activation, Anchors, AuxK, AuxTarget, Model, Objective, Parameter, Scales, Shape, Tensors};
use rand_distr::{Distribution, StandardNormal};

const SHAPE: Shape = Shape { n_p: 4, n_r: 3, n_q: 7 };
const ROWS: usize = 4;
const DEAD: u64 = 10;

/// Gaussian numbers in every block, about as large as those of training.
fn model(init: Init, activation: Activation, seed: u64) -> Model {
    let mut model = init.model(SHAPE, activation, seed);
    let mut rng = stream(seed, "gradient test");
    for parameter in Parameter::ALL {
        for w in model.tensors.get_mut(parameter).into_iter().flatten() {
            let drawn: f64 = StandardNormal.sample(&mut rng);
            *w += (0.3 * drawn) as f32;
        }
    }
    model
}

struct Case {
    backend: Reference,
    params: Params,
    batch: super::Batch,
    codes: Codes,
    gradient: Tensors<f64>,
    loss: f64,
}

impl Case {
    fn new(activation: Activation, objective: Objective, init: Init, anchors: Anchors, seed: u64) -> Self {
        let spec = Spec { objective, anchors, reconstructs_its_input: false, ..Spec::plain(SHAPE, ROWS) };
        let backend = Reference::new(spec);
        let params = backend.params(&model(init, activation, seed));
        let mut rng = stream(seed, "gradient test samples");
        let mut draw = |count: usize| -> Vec<f32> {
            (0..count).map(|_| StandardNormal.sample(&mut rng)).map(|x: f64| x as f32).collect()
        };
        let (inputs, targets) = (draw(ROWS * SHAPE.n_p), draw(ROWS * SHAPE.n_r));
        let mut batch = backend.batch();
        let weights = [0.4, 0.0, 1.5, 0.2];
        backend.load(Rows { inputs: &inputs, targets: &targets, weights: Some(&weights) }, &mut batch);
        // Every other latent is dead.
        let idle = (0..SHAPE.n_q as u64).map(|i| if i % 2 == 0 { DEAD } else { DEAD - 1 }).collect();
        let opt = State { idle, ..backend.opt_state(&params) };
        let (mut codes, mut grads) = (backend.codes(), backend.grads(&params));
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        let loss = backend.observe(&params, &codes, &grads).loss;
        let gradient = super::backward::with_anchoring(backend.spec(), &params, &grads.tensors);
        Self { backend, params, batch, codes, gradient, loss }
    }

    /// The loss at p, with what counts as constant taken from the parameters of the case.
    fn surrogate(&self, p: &Tensors<f64>) -> f64 {
        let at = &self.params.tensors;
        let objective = &self.backend.spec().objective;
        let number = |t: &Tensors<f64>, parameter, i: usize| t.get(parameter).map_or(0.0, |block| block[i]);
        let mut loss = 0.0;
        for (b, row) in self.codes.rows.iter().enumerate() {
            let x = |k: usize| f64::from(self.batch.inputs[b * SHAPE.n_p + k]);
            let target = |j: usize| f64::from(self.batch.targets[b * SHAPE.n_r + j]);
            let s = |t: &Tensors<f64>, i: usize| -> f64 {
                (0..SHAPE.n_p)
                    .map(|k| t.row(Parameter::Encoder, i)[k] * (x(k) - number(t, Parameter::InputBias, k)))
                    .sum()
            };
            let pi = |t: &Tensors<f64>, i: usize| s(t, i) + number(t, Parameter::EncoderBias, i);
            let theta = |t: &Tensors<f64>, i: usize| number(t, Parameter::LogThreshold, i).exp();
            // The Heaviside step smoothed by the rectangular kernel, minus its value at the case.
            let step = |i: usize| match self.params.activation {
                Activation::JumpRelu { bandwidth, .. } => {
                    let ramp = |theta: f64| ((pi(at, i) - theta) / bandwidth + 0.5).clamp(0.0, 1.0);
                    ramp(theta(p, i)) - ramp(theta(at, i))
                }
                _ => 0.0,
            };
            let selected = |i: usize| row.selected.iter().find(|c| c.latent == i);
            let z = |i: usize| {
                let value = match (self.params.activation, selected(i)) {
                    (_, None) => 0.0,
                    (Activation::Gated, Some(c)) if c.code == 0.0 => 0.0,
                    (Activation::Gated, Some(_)) => {
                        number(p, Parameter::GateScale, i).exp() * s(p, i) + number(p, Parameter::MagnitudeBias, i)
                    }
                    _ => pi(p, i),
                };
                value + theta(at, i) * step(i)
            };
            let linear = |t: &Tensors<f64>, j: usize| {
                let skip = t
                    .get(Parameter::Skip)
                    .map_or(0.0, |_| (0..SHAPE.n_p).map(|k| t.row(Parameter::Skip, j)[k] * x(k)).sum());
                number(t, Parameter::DecoderBias, j) + skip
            };
            let residual = |t: &Tensors<f64>, z: &dyn Fn(usize) -> f64, part: usize, j: usize| {
                let level = |i: usize| selected(i).map_or_else(|| objective.scales.level(usize::MAX, i), |c| c.level);
                let inside = (0..SHAPE.n_q).filter(|&i| level(i) <= part);
                linear(t, j) + inside.map(|i| z(i) * t.row(Parameter::Decoder, i)[j]).sum::<f64>() - target(j)
            };
            let square = |f: &dyn Fn(usize) -> f64| (0..SHAPE.n_r).map(|j| f(j).powi(2)).sum::<f64>();

            let mut of_row = 0.0;
            for (part, weight) in objective.scales.weights().iter().enumerate() {
                of_row += weight * square(&|j| residual(p, &z, part, j));
            }
            let gate = |i: usize| if selected(i).is_some() { pi(p, i) } else { 0.0 };
            for i in 0..SHAPE.n_q {
                let norm = p.row(Parameter::Decoder, i).iter().map(|v| v * v).sum::<f64>().sqrt();
                let factor = if objective.l1_by_decoder_norm { norm } else { 1.0 };
                let size = match (self.params.activation, selected(i)) {
                    (_, None) => 0.0,
                    (Activation::Gated, Some(_)) => gate(i),
                    (_, Some(c)) => c.z.signum() * z(i),
                };
                of_row += objective.l1 * factor * size;
                if matches!(self.params.activation, Activation::JumpRelu { .. }) {
                    of_row += objective.l0 * (f64::from(selected(i).is_some()) + step(i));
                }
            }
            if let Some(aux) = objective.aux
                && !row.auxiliary.is_empty()
            {
                let last = objective.scales.weights().len() - 1;
                let frozen = |i: usize| selected(i).map_or(0.0, |c| c.z);
                of_row += aux.weight
                    * square(&|j| {
                        let t = match aux.target {
                            AuxTarget::Residual => -residual(at, &frozen, last, j),
                            AuxTarget::Target => target(j),
                        };
                        t - row.auxiliary.iter().map(|&i| pi(p, i) * p.row(Parameter::Decoder, i)[j]).sum::<f64>()
                    });
            }
            if self.params.activation == Activation::Gated {
                let part = objective.scales.weights().len() - 1;
                of_row += square(&|j| residual(at, &gate, part, j));
            }
            loss += self.batch.weights[b] * of_row;
        }
        let anchors = &self.backend.spec().anchors;
        for (j, &i) in anchors.latents.iter().enumerate() {
            for (parameter, known) in [(Parameter::Encoder, &anchors.inputs), (Parameter::Decoder, &anchors.targets)] {
                let row = p.row(parameter, i as usize);
                let known = &known[j * row.len()..(j + 1) * row.len()];
                loss += anchors.weight * row.iter().zip(known).map(|(w, k)| (w - f64::from(*k)).powi(2)).sum::<f64>();
            }
        }
        loss
    }

    /// Compares every derivative, and says how many were not 0.
    fn check(&self, what: &str) -> usize {
        // Both sides sum a few hundred products.
        let scale = 1.0 + self.loss.abs();
        let value = self.surrogate(&self.params.tensors);
        assert!((value - self.loss).abs() < 1e-12 * scale, "{what}: loss {} against {value}", self.loss);
        const H: f64 = 1e-5;
        let mut seen = 0;
        for parameter in self.params.tensors.parameters() {
            for k in 0..self.params.tensors.get(parameter).unwrap().len() {
                let moved = |h: f64| {
                    let mut p = self.params.tensors.clone();
                    p.get_mut(parameter).unwrap()[k] += h;
                    self.surrogate(&p)
                };
                let measured = (moved(H) - moved(-H)) / (2.0 * H);
                let computed = self.gradient.get(parameter).unwrap()[k];
                // Rounding: 2^-53·(hundreds of terms)/H of the loss, 1e-9; third derivatives of at most some hundred: 1e-8.
                let error = (measured - computed).abs();
                assert!(error < 1e-7 * scale, "{what}: {parameter:?}[{k}] is {computed}, measured {measured}");
                seen += usize::from(computed.abs() > 1e-6);
            }
        }
        seen
    }
}

fn activations() -> Vec<Activation> {
    vec![
        Activation::Relu,
        Activation::JumpRelu { theta: 0.3, bandwidth: 0.8 },
        Activation::TopK { k: 4 },
        Activation::TopKRelu { k: 4 },
        Activation::BatchTopK { k: 2 },
        Activation::Gated,
    ]
}

fn objectives(activation: Activation) -> Vec<Objective> {
    let plain = Objective::default();
    let aux = |target| Some(AuxK { k: 2, weight: 0.7, dead_after: DEAD, target });
    let prefixes = Scales::Prefixes { sizes: vec![2, 5, 7], weights: vec![0.5, 1.0, 2.0] };
    let mut all = vec![
        plain.clone(),
        Objective { l1: 0.3, ..plain.clone() },
        Objective { l1: 0.3, l1_by_decoder_norm: true, ..plain.clone() },
        Objective { l0: 0.2, ..plain.clone() },
        Objective { aux: aux(AuxTarget::Residual), ..plain.clone() },
        Objective { aux: aux(AuxTarget::Target), ..plain.clone() },
        Objective { scales: prefixes.clone(), ..plain.clone() },
        Objective { l1: 0.3, l1_by_decoder_norm: true, l0: 0.2, aux: aux(AuxTarget::Residual), scales: prefixes },
    ];
    if matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. }) {
        let scales = Scales::TopK { ks: vec![1, 2, 4], weights: vec![0.5, 1.0, 2.0] };
        all.push(Objective { scales: scales.clone(), ..plain.clone() });
        all.push(Objective { scales, l1: 0.1, aux: aux(AuxTarget::Target), ..plain });
    }
    all
}

fn inits() -> Vec<Init> {
    let none = Init { tied: false, ..Init::default() };
    vec![
        none,
        Init { encoder_bias: true, ..none },
        Init { decoder_bias: true, ..none },
        Init { input_bias: true, ..none },
        Init { skip: true, ..none },
        Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..none },
    ]
}

#[test]
fn gradients_of_every_activation_objective_and_bias_are_central_differences() {
    let anchors = Anchors {
        weight: 0.6,
        latents: vec![4, 1],
        inputs: (0..8).map(|k| k as f32 * 0.1).collect(),
        targets: (0..6).map(|k| 0.5 - k as f32 * 0.1).collect(),
        features: vec![],
    };
    for activation in activations() {
        for objective in objectives(activation) {
            for (seed, init) in inits().into_iter().enumerate() {
                let anchors = if seed % 2 == 0 { anchors.clone() } else { Anchors::none() };
                let what = format!("{activation:?}, {objective:?}, {init:?}");
                let case = Case::new(activation, objective.clone(), init, anchors, seed as u64);
                let seen = case.check(&what);
                assert!(seen >= 20, "{what}: only {seen} derivatives are not 0");
                if let Some(AuxK { .. }) = objective.aux {
                    let used: usize = case.codes.rows.iter().map(|row| row.auxiliary.len()).sum();
                    assert!(used > 0, "{what}: no dead latent is used");
                }
            }
        }
    }
}

#[test]
fn thresholds_of_jump_relu_learn_inside_the_band_and_nowhere_else() {
    let activation = Activation::JumpRelu { theta: 0.3, bandwidth: 0.8 };
    let objective = Objective { l0: 0.2, ..Objective::default() };
    let init = Init { tied: false, ..Init::default() };
    let mut unselected = 0;
    for seed in 0..5 {
        let case = Case::new(activation, objective.clone(), init, Anchors::none(), seed);
        let gradient = case.gradient.get(Parameter::LogThreshold).unwrap();
        for (i, g) in gradient.iter().enumerate() {
            let weighty =
                case.codes.rows.iter().zip(&case.batch.weights).filter(|(_, w)| **w > 0.0).map(|(row, _)| row);
            let in_band = weighty.filter(|row| row.band.contains(&i)).count();
            assert_eq!(*g != 0.0, in_band > 0, "latent {i}");
        }
        let outside =
            |row: &super::Row| row.band.iter().filter(|i| row.selected.iter().all(|c| c.latent != **i)).count();
        unselected += case.codes.rows.iter().map(outside).sum::<usize>();
    }
    assert!(unselected > 0, "latents below their threshold learn it too");
}
