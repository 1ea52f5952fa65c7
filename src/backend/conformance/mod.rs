//! The suite that every backend must pass: step by step the same selection as the [`Reference`](super::reference::Reference), and everything else within the rounding of f32.
//!
//! ```text
//!     backend::conformance::suite(|spec| MyBackend::new(spec));
//! ```
//!
//! Before every step the reference takes over the backend's parameters and state, so that both start from the same f32 numbers; then
//!
//! | compared | how |
//! |---|---|
//! | codes, in both modes | latents equal; values bit for bit in the top-k family, else within rounding |
//! | reconstructions, terms of the loss, gradients | within the `bounds` of f32 rounding of that batch |
//! | updates | against the reference's update with the *backend's* gradients, within a bound of each number, which knows how moments are stored |
//! | idle counters, step counts | equal |
//! | numbers that are not finite | seen in every parameter |
//! | the same step again; a run saved, restored and continued; samples drawn or loaded | bit for bit |

mod bounds;
mod cases;
#[cfg(test)]
mod faulty;
mod steps;
mod update_bounds;

use super::{Backend, Gather, HostCodes, HostOptState, Mode, Moments, Rows, Spec};
use crate::bench::config::{BenchConfig, Task};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Init, Model, Objective, Shape, Tensors};
use cases::{Case, Flavour};
use steps::Run;

/// Runs all of it.
///
/// # Panics
/// Where the backend deviates, with the case in words.
pub fn suite<B: Backend>(make: impl Fn(Spec) -> B) {
    suite_of(|_| true, make);
}

/// The part of it that is about these activations.
///
/// # Panics
/// Where the backend deviates, with the case in words.
pub fn suite_of<B: Backend>(takes: impl Fn(Activation) -> bool, make: impl Fn(Spec) -> B) {
    every(1, 0, takes, make);
}

/// Every `step`-th case of this part, from this one on.
///
/// # Panics
/// Where the backend deviates, with the case in words.
pub fn every<B: Backend>(step: usize, from: usize, takes: impl Fn(Activation) -> bool, make: impl Fn(Spec) -> B) {
    for case in part(step, from, &takes) {
        steps_agree(&case, &make);
    }
    let activations = cases::activations(3).into_iter().filter(|activation| takes(*activation));
    for activation in activations.skip(from).step_by(step) {
        numbers_that_are_not_finite_are_seen(activation, &make);
        not_a_number(activation, &make);
        draws_what_it_loads(activation, &make);
    }
}

/// The steps of such a part with moments in bf16, for backends that know them: parameters keep to the same bounds, moments to those of their storage.
///
/// # Panics
/// Where the backend deviates, with the case in words.
pub fn rounded<B: Backend>(step: usize, from: usize, takes: impl Fn(Activation) -> bool, make: impl Fn(Spec) -> B) {
    for mut case in part(step, from, &takes) {
        case.spec.moments = Moments::Bf16;
        case.name.push_str(", moments in bf16");
        steps_agree(&case, &make);
    }
}

/// The steps of such a part with gathers in bf16, for backends that know them: selections are the same, everything else keeps to bounds that know the rounding.
///
/// # Panics
/// Where the backend deviates, with the case in words.
pub fn gathered<B: Backend>(step: usize, from: usize, takes: impl Fn(Activation) -> bool, make: impl Fn(Spec) -> B) {
    for mut case in part(step, from, &takes) {
        case.spec.gather = Gather::Bf16;
        case.name.push_str(", gathers in bf16");
        steps_agree(&case, &make);
    }
}

fn part(step: usize, from: usize, takes: &impl Fn(Activation) -> bool) -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| takes(case.model.activation)).skip(from).step_by(step)
}

fn steps_agree<B: Backend>(case: &Case, make: &impl Fn(Spec) -> B) {
    let backend = make(case.spec.clone());
    assert_eq!(backend.spec(), &case.spec, "{}", case.name);
    let mut run = Run::new(&backend, case);
    assert!(same_model(&backend.model(&run.params), &case.model), "{}: a model comes back as it was", case.name);
    for samples in &case.batches {
        run.compare_step(samples);
    }
    // Continue, once in the same run and once in another one that was restored from files.
    let other = make(case.spec.clone());
    let mut restored = Run::restored(&other, case, &backend.model(&run.params), &backend.save(&run.opt));
    for samples in &case.batches {
        run.step(samples);
        restored.step(samples);
        let (model, again) = (backend.model(&run.params), other.model(&restored.params));
        assert!(same_model(&model, &again), "{}: a restored run goes on with the same bits", case.name);
        assert!(same_state(&backend.save(&run.opt), &other.save(&restored.opt)), "{}: a restored state", case.name);
        assert_eq!(backend.idle(&run.opt), other.idle(&restored.opt), "{}", case.name);
    }
}

/// Rows with NaN and infinite inputs, and latents with such weights: the selection is defined, and nothing else is asked for.
fn not_a_number<B: Backend>(activation: Activation, make: &impl Fn(Spec) -> B) {
    for shape in [Shape { n_p: 7, n_r: 5, n_q: 33 }, Shape { n_p: 70, n_r: 70, n_q: 40 }] {
        for objective in [Objective::default(), cases::with_aux(activation)] {
            let init = Init { tied: false, encoder_bias: true, ..Init::default() };
            let mut case = Case::new("NaN", activation, objective, init, shape, 8, Flavour::Plain, 5);
            let samples = &mut case.batches[0];
            for (b, x) in [(1, f32::NAN), (2, f32::INFINITY), (3, f32::NEG_INFINITY), (5, f32::NAN)] {
                samples.inputs[b * shape.n_p + b] = x;
            }
            samples.inputs[5 * shape.n_p] = f32::INFINITY;
            let weights =
                case.model.tensors.get_mut(crate::sdl::Parameter::Encoder).expect("every model has an encoder");
            for (i, x) in [(0, f32::NAN), (4, f32::INFINITY), (9, f32::NEG_INFINITY), (31, f32::NAN)] {
                weights[i * shape.n_p + 1] = x;
            }
            let backend = make(case.spec.clone());
            let mut run = Run::new(&backend, &case);
            let samples = case.batches[0].clone();
            for mode in [Mode::Inference, Mode::Training] {
                run.compare_codes(&samples, mode);
            }
            run.step(&samples);
        }
    }
}

/// One such number in any parameter is enough.
fn numbers_that_are_not_finite_are_seen<B: Backend>(activation: Activation, make: &impl Fn(Spec) -> B) {
    // More numbers than one block of a sum has.
    let shape = Shape { n_p: 130, n_r: 130, n_q: 140 };
    let init =
        Init { tied: false, encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    let case = Case::new("finite", activation, Objective::default(), init, shape, 4, Flavour::Plain, 6);
    let backend = make(case.spec.clone());
    let mut model = case.model;
    assert!(backend.is_finite(&backend.params(&model)), "{activation:?}: all parameters are finite");
    for parameter in model.tensors.parameters().collect::<Vec<_>>() {
        for (x, at_the_end) in [(f32::NAN, true), (f32::INFINITY, false), (f32::NEG_INFINITY, true)] {
            let numbers = model.tensors.get_mut(parameter).expect("it is one of the model's");
            let at = if at_the_end { numbers.len() - 1 } else { 0 };
            let was = std::mem::replace(&mut numbers[at], x);
            assert!(!backend.is_finite(&backend.params(&model)), "{activation:?}: {x} in {}", parameter.name());
            model.tensors.get_mut(parameter).expect("it is one of the model's")[at] = was;
        }
    }
    let largest = model.tensors.get_mut(crate::sdl::Parameter::Encoder).expect("every model has an encoder");
    largest.fill(f32::MAX);
    assert!(backend.is_finite(&backend.params(&model)), "{activation:?}: the largest numbers are finite");
}

/// A batch that is drawn is the batch that a host would upload.
fn draws_what_it_loads<B: Backend>(activation: Activation, make: &impl Fn(Spec) -> B) {
    for task in [Task::Sae, Task::Transcoder { n_r: 20 }, Task::Crosscoder { sources: 2 }] {
        let config = BenchConfig { n: 30, n_p: 16, interference: 0.3, sparsity: 0.9, task, ..BenchConfig::default() };
        let bench = Bench::generate(&config).expect("a small bench");
        let dimension = |side| bench.directions(side).dimension();
        let shape = Shape { n_p: dimension(Side::Input), n_r: dimension(Side::Target), n_q: 50 };
        let mut case =
            Case::new("drawn", activation, Objective::default(), Init::default(), shape, 6, Flavour::Plain, 9);
        case.spec.reconstructs_its_input = bench.reconstructs_its_input();
        let indices = [3, 0, 1 << 40, 17, 17];
        let x = bench.coefficients().batch(&indices);
        let rows = |side| {
            let mut rows = vec![0.0; indices.len() * dimension(side)];
            bench.synthesize(&x, side, &mut rows);
            rows
        };
        let (inputs, targets) = (rows(Side::Input), rows(Side::Target));
        let backend = make(case.spec.clone());
        let outcome = |drawn: bool| {
            let mut run = Run::new(&backend, &case);
            if drawn {
                backend.sample(&bench, &indices, &mut run.batch);
            } else {
                backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut run.batch);
            }
            run.step_as_loaded();
            backend.model(&run.params)
        };
        assert!(same_model(&outcome(true), &outcome(false)), "{activation:?}, {task:?}: a drawn batch is a loaded one");
    }
}

/// Equal numbers, NaN equal to NaN, −0 to +0.
fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
}

fn same_model(a: &Model, b: &Model) -> bool {
    let parameters: Vec<_> = a.tensors.parameters().collect();
    let tensors =
        |m: &Model| parameters.iter().flat_map(|p| m.tensors.get(*p).map(<[f32]>::to_vec)).collect::<Vec<_>>();
    let equal = tensors(a).iter().zip(&tensors(b)).all(|(a, b)| same(a, b));
    a.activation == b.activation
        && a.threshold == b.threshold
        && b.tensors.parameters().eq(parameters.iter().copied())
        && equal
}

fn same_state(a: &HostOptState, b: &HostOptState) -> bool {
    let tensors = |a: &Tensors<f32>, b: &Tensors<f32>| {
        let equal = |p| same(a.get(p).unwrap_or_default(), b.get(p).unwrap_or_default());
        a.parameters().eq(b.parameters()) && a.parameters().all(equal)
    };
    let second = match (&a.second, &b.second) {
        (Some(a), Some(b)) => tensors(a, b),
        (a, b) => a.is_none() && b.is_none(),
    };
    (a.step, a.warm_up, &a.idle) == (b.step, b.warm_up, &b.idle) && tensors(&a.first, &b.first) && second
}

fn same_codes(a: &HostCodes, b: &HostCodes) -> bool {
    a.offsets == b.offsets && a.latents == b.latents && same(&a.values, &b.values)
}
