//! Small models and batches: every activation with every objective and bias, over shapes that are no multiples of a vector's width, with ties,
//! zero rows, identical latents and subnormal numbers.

use super::super::{Curve, Gather, HostOptState, Moments, Optimizer, Rule, Schedule, SelectBy, Spec, WarmUp};
use crate::bench::features::stream;
use crate::sdl::{Activation, Anchors, AuxK, AuxTarget, Init, Model, Objective, Parameter, Scales, Shape, Tensors};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

/// What the numbers of a case are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Gaussian.
    Plain,
    /// Multiples of 1/2: many equal scores, many zeros.
    Ties,
    /// Every other row is zero, with both signs of zero.
    ZeroRows,
    /// All latents are copies of three.
    IdenticalLatents,
    /// Inputs below the least normal number.
    Subnormal,
}

/// Samples of one step.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Rows of x_p.
    pub inputs: Vec<f32>,
    /// Rows of x_r.
    pub targets: Vec<f32>,
    /// w_b.
    pub weights: Option<Vec<f64>>,
}

/// One model with its batches.
#[derive(Debug, Clone)]
pub struct Case {
    /// In words.
    pub name: String,
    /// What a backend is made for.
    pub spec: Spec,
    /// Parameters at the start.
    pub model: Model,
    /// State at the start: some latents are dead.
    pub state: HostOptState,
    /// Samples of each step.
    pub batches: Vec<Samples>,
}

/// A latent that was idle for so long is dead.
const DEAD: u64 = 20;
const STEPS: usize = 3;

/// All activations, with this k.
pub fn activations(k: usize) -> [Activation; 6] {
    [
        Activation::Relu,
        Activation::JumpRelu { theta: 0.3, bandwidth: 0.5 },
        Activation::TopK { k },
        Activation::TopKRelu { k },
        Activation::BatchTopK { k },
        Activation::Gated,
    ]
}

/// An objective with AuxK.
pub fn with_aux(activation: Activation) -> Objective {
    let target = if activation.is_sparse() { AuxTarget::Residual } else { AuxTarget::Target };
    Objective { aux: Some(AuxK { k: 2, weight: 0.5, dead_after: DEAD, target }), ..Objective::default() }
}

fn objectives(activation: Activation, n_q: usize) -> Vec<Objective> {
    let plain = Objective::default();
    let aux = |target| Some(AuxK { k: 3, weight: 0.7, dead_after: DEAD, target });
    let mut sizes = vec![n_q.div_ceil(3), n_q];
    sizes.dedup();
    let prefixes = Scales::Prefixes { weights: vec![0.5; sizes.len()], sizes };
    let mut all = vec![
        plain.clone(),
        Objective { l1: 0.1, ..plain.clone() },
        Objective { l1: 0.1, l1_by_decoder_norm: true, ..plain.clone() },
        Objective { aux: aux(AuxTarget::Residual), ..plain.clone() },
        Objective { aux: aux(AuxTarget::Target), ..plain.clone() },
        Objective { scales: prefixes.clone(), ..plain.clone() },
        Objective { l1: 0.1, l1_by_decoder_norm: true, l0: 0.05, aux: aux(AuxTarget::Residual), scales: prefixes },
    ];
    if let Activation::TopK { k } | Activation::TopKRelu { k } = activation {
        let mut ks = vec![1, k.div_ceil(2), k];
        ks.dedup();
        let scales = Scales::TopK { weights: (0..ks.len()).map(|s| 1.0 + s as f64).collect(), ks };
        all.push(Objective { scales: scales.clone(), ..plain.clone() });
        all.push(Objective { scales, l1: 0.1, aux: aux(AuxTarget::Residual), ..plain });
    } else if matches!(activation, Activation::JumpRelu { .. }) {
        all.push(Objective { l0: 0.05, ..plain });
    }
    all
}

fn inits() -> [Init; 6] {
    let none = Init { tied: false, ..Init::default() };
    [
        none,
        Init { encoder_bias: true, ..none },
        Init { decoder_bias: true, ..none },
        Init { input_bias: true, ..none },
        Init { skip: true, ..none },
        Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..none },
    ]
}

impl Case {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let mut rng = stream(1, "conformance");
        let flavours =
            [Flavour::Plain, Flavour::Ties, Flavour::ZeroRows, Flavour::IdenticalLatents, Flavour::Subnormal];
        for which in 0..6 {
            for objective in 0.. {
                let mut is_one = false;
                for init in inits() {
                    let mut pick = |from: &[usize]| from[rng.random_range(0..from.len())];
                    let shape =
                        Shape { n_p: pick(&[1, 7, 64, 70]), n_r: pick(&[1, 5, 64, 70]), n_q: pick(&[1, 33, 33, 150]) };
                    let batch = pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 40]);
                    let activation = activations(pick(&[1, 2, 5, 20]).min(shape.n_q))[which];
                    let flavour = flavours[pick(&[0, 1, 2, 3, 4])];
                    if let Some(objective) = objectives(activation, shape.n_q).into_iter().nth(objective) {
                        is_one = true;
                        all.push(Self::new("", activation, objective, init, shape, batch, flavour, all.len() as u64));
                    }
                }
                if !is_one {
                    break;
                }
            }
        }
        all
    }

    /// One of them; the seed also picks optimizer, anchors and whether the decoder is kept at norm 1.
    #[expect(clippy::too_many_arguments, reason = "one argument for each thing that varies")]
    pub fn new(
        name: &str,
        activation: Activation,
        objective: Objective,
        init: Init,
        shape: Shape,
        batch: usize,
        flavour: Flavour,
        seed: u64,
    ) -> Self {
        let mut rng = stream(seed, "conformance case");
        let rule = [Rule::Adam, Rule::AdamW, Rule::Sgd][seed as usize % 3];
        let unit_decoder = seed % 4 == 1;
        let mut model = init.model(shape, activation, seed);
        // Every other one of them starts off norm 1.
        perturb(&mut model, flavour, seed % 8 == 1, &mut rng);
        let optimizer = Optimizer {
            rule,
            learning_rate: 0.01,
            weight_decay: 0.1,
            clip: [0.0, 0.05, 1e3][seed as usize % 5 % 3],
            ..Optimizer::default()
        };
        let spec = Spec {
            shape,
            batch,
            anchors: if seed % 5 < 2 { anchors(shape, &mut rng) } else { Anchors::none() },
            objective,
            optimizer,
            moments: Moments::F32,
            select_by: SelectBy::Score,
            gather: Gather::F32,
            schedule: Schedule { warm_up: 2, decay: 3, curve: Curve::Cosine, steps: 8 },
            unit_decoder,
            reconstructs_its_input: shape.n_p == shape.n_r && seed.is_multiple_of(2),
        };
        let zeros = || Tensors::zeros_like(&model.tensors);
        let state = HostOptState {
            step: 0,
            warm_up: WarmUp { from: 0, steps: 2 },
            first: zeros(),
            second: (rule != Rule::Sgd).then(zeros),
            idle: (0..shape.n_q as u64).map(|i| if i % 3 == 0 { DEAD - 1 + i % 2 } else { i % 5 }).collect(),
        };
        let batches = (0..STEPS).map(|step| samples(shape, batch, flavour, step, &mut rng)).collect();
        let name = format!(
            "{name} case {seed}: {activation:?}, {flavour:?}, {shape:?}, batch {batch}, {init:?}, {:?}, {optimizer:?}, unit {unit_decoder}",
            spec.objective
        );
        Self { name, spec, model, state, batches }
    }
}

fn normal(rng: &mut ChaCha20Rng) -> f32 {
    let drawn: f64 = StandardNormal.sample(rng);
    drawn as f32
}

fn number(flavour: Flavour, rng: &mut ChaCha20Rng) -> f32 {
    if flavour == Flavour::Ties { f32::from(rng.random_range(-2_i8..=2)) / 2.0 } else { normal(rng) }
}

fn perturb(model: &mut Model, flavour: Flavour, unit_columns: bool, rng: &mut ChaCha20Rng) {
    let shape = model.shape();
    for parameter in Parameter::ALL {
        let is_matrix = matches!(parameter, Parameter::Encoder | Parameter::Decoder);
        for w in model.tensors.get_mut(parameter).into_iter().flatten() {
            *w = match (flavour, is_matrix) {
                (Flavour::Ties, true) => number(flavour, rng),
                (_, true) => *w + 0.2 * normal(rng),
                (Flavour::Ties, false) => *w + 0.5 * number(flavour, rng),
                (_, false) => *w + 0.3 * normal(rng),
            };
        }
    }
    if flavour == Flavour::IdenticalLatents {
        for parameter in Parameter::ALL.into_iter().filter(|p| p.is_per_latent() && *p != Parameter::Decoder) {
            if model.tensors.get(parameter).is_some() {
                for i in 3..shape.n_q {
                    let copied = model.tensors.row(parameter, i % 3).to_vec();
                    model.tensors.row_mut(parameter, i).copy_from_slice(&copied);
                }
            }
        }
    }
    if unit_columns {
        for i in 0..shape.n_q {
            let column = model.tensors.row_mut(Parameter::Decoder, i);
            let norm = column.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            if norm > 0.0 {
                column.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        }
    }
}

fn anchors(shape: Shape, rng: &mut ChaCha20Rng) -> Anchors {
    let latents = if shape.n_q > 4 { vec![4, 0, 2] } else { vec![0] };
    let mut rows = |length: usize| (0..latents.len() * length).map(|_| normal(rng)).collect::<Vec<f32>>();
    Anchors {
        weight: 0.3,
        inputs: rows(shape.n_p),
        targets: rows(shape.n_r),
        latents: latents.clone(),
        features: Vec::new(),
    }
}

fn samples(shape: Shape, batch: usize, flavour: Flavour, step: usize, rng: &mut ChaCha20Rng) -> Samples {
    // The second batch is smaller than the others.
    let rows = if step == 1 { batch.div_ceil(2) } else { batch };
    let mut draw = |length: usize| -> Vec<f32> {
        let factor = if flavour == Flavour::Subnormal { 1e-39 } else { 1.0 };
        let mut numbers: Vec<f32> = (0..rows * length).map(|_| factor * number(flavour, rng)).collect();
        if flavour == Flavour::ZeroRows {
            for row in numbers.chunks_mut(length).step_by(2) {
                row.iter_mut().for_each(|x| *x *= 0.0);
            }
        }
        numbers
    };
    let (inputs, targets) = (draw(shape.n_p), draw(shape.n_r));
    let weights = (step == 2).then(|| (0..rows).map(|b| if b % 3 == 1 { 0.0 } else { 0.3 * b as f64 + 0.1 }).collect());
    Samples { inputs, targets, weights }
}
