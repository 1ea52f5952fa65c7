//! A top-k that ranks by a product: what is selected is the first k of the product and nothing else, z is the score, and no row is scored in full.

#[path = "common/decoded.rs"]
mod decoded;
#[path = "common/numbers.rs"]
mod numbers;

use decoded::{ages, decoded};
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::backend::score::score;
use sdlab_kernels::backend::{Backend, Gather, HostCodes, Mode, Rows, SelectBy, Spec};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Model, Parameter, Scales, Shape};
use sdlab_kernels::shim::{Shim, launched};
use std::cmp::Ordering;

const SHAPE: Shape = Shape { n_p: 70, n_r: 70, n_q: 150 };
const ROWS: usize = 11;

/// What the stand-in's product reads of a number, from the definition of the format.
fn rounded(x: f32, by: SelectBy) -> f32 {
    match by {
        SelectBy::Score => x,
        // The stand-in cuts off.
        SelectBy::Tf32 => f32::from_bits(x.to_bits() & !0x1FFF),
        SelectBy::Bf16 => half::bf16::from_f32(x).to_f32(),
    }
}

/// Rows of π̃ and of π, the latter by weights in bf16 where these are gathered so.
fn pre_activations(model: &Model, inputs: &[f32], by: SelectBy, gather: Gather) -> [Vec<Vec<f32>>; 2] {
    let Shape { n_p, n_q, .. } = SHAPE;
    let part = |parameter| model.tensors.get(parameter).map(<[f32]>::to_vec);
    let (w, bias) = (part(Parameter::Encoder).expect("W_E"), part(Parameter::EncoderBias));
    let shift = part(Parameter::InputBias).unwrap_or_else(|| vec![0.0; n_p]);
    let biased = |s: f32, i: usize| s + bias.as_ref().map_or(0.0, |bias| bias[i]);
    let rows = |scored: &dyn Fn(&[f32], &[f32]) -> f32| {
        let row = |x: &[f32]| {
            let x: Vec<f32> = x.iter().zip(&shift).map(|(x, b)| x - b).collect();
            (0..n_q).map(|i| biased(scored(&w[i * n_p..][..n_p], &x), i)).collect::<Vec<f32>>()
        };
        inputs.chunks(n_p).map(row).collect::<Vec<_>>()
    };
    let product =
        |w: &[f32], x: &[f32]| -> f32 { w.iter().zip(x).map(|(w, x)| rounded(*w, by) * rounded(*x, by)).sum() };
    let by_halves = gather == Gather::Bf16 && by == SelectBy::Bf16;
    let scored = |w: &[f32], x: &[f32]| {
        let w: Vec<f32> = w.iter().map(|w| if by_halves { rounded(*w, by) } else { *w }).collect();
        score(&w, x)
    };
    [rows(&product), rows(&scored)]
}

/// The first k of those that may be taken, NaN last, the lower latent first among equals; by increasing latent.
fn first(k: usize, of: &[f32], may: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..of.len()).filter(|i| may(*i)).collect();
    order.sort_by(|a, b| {
        let nan = of[*a].is_nan().cmp(&of[*b].is_nan());
        nan.then_with(|| of[*b].partial_cmp(&of[*a]).unwrap_or(Ordering::Equal))
    });
    order.truncate(k);
    order.sort_unstable();
    order
}

fn same(found: &HostCodes, expected: &[Vec<usize>], pi: &[Vec<f32>], what: &str) {
    for (row, (expected, pi)) in expected.iter().zip(pi).enumerate() {
        let range = found.offsets[row]..found.offsets[row + 1];
        let latents: Vec<usize> = found.latents[range.clone()].iter().map(|i| *i as usize).collect();
        assert_eq!(&latents, expected, "{what}, row {row}");
        for (i, z) in latents.iter().zip(&found.values[range]) {
            let equal = z.to_bits() == pi[*i].to_bits() || z.is_nan() && pi[*i].is_nan();
            assert!(equal, "{what}, row {row}, latent {i}: {z:e}, the score gives {:e}", pi[*i]);
        }
    }
}

fn codes(spec: Spec, model: &Model, inputs: &[f32], shim: Shim, options: Options) -> HostCodes {
    let backend = Cuda::on(shim, spec, options);
    let params = backend.params(model);
    let (mut batch, mut codes) = (backend.batch(), backend.codes());
    backend.load(Rows { inputs, targets: &[], weights: None }, &mut batch);
    backend.encode_select(&params, &backend.opt_state(&params), &batch, Mode::Training, &mut codes);
    assert_eq!(backend.failure(), None);
    backend.codes_of(&codes)
}

fn init() -> Init {
    Init { encoder_bias: true, input_bias: true, ..Init::default() }
}

/// Finite numbers, and some that are not: of those a product makes infinite and undefined sums.
fn samples(schedule: u64, finite: bool) -> Vec<f32> {
    let all = numbers(3 * ROWS * SHAPE.n_p, schedule + 40);
    let mut inputs: Vec<f32> = all.into_iter().filter(|x| x.is_finite()).take(ROWS * SHAPE.n_p).collect();
    if !finite {
        inputs[3] = f32::NAN;
        inputs[SHAPE.n_p] = f32::INFINITY;
        // Too large for a sum of products, and for bf16, to which it is rounded as infinity.
        inputs[2 * SHAPE.n_p..3 * SHAPE.n_p].fill(f32::MAX);
        inputs[3 * SHAPE.n_p..4 * SHAPE.n_p].fill(0.0);
    }
    inputs
}

#[test]
fn the_first_k_by_a_product_are_those_of_a_sort_of_it_and_their_values_are_scores() {
    let mut differ = 0;
    for schedule in SCHEDULES {
        for by in [SelectBy::Tf32, SelectBy::Bf16] {
            for k in [1, 9, SHAPE.n_q] {
                for activation in [Activation::TopK { k }, Activation::TopKRelu { k }] {
                    let mut model = init().model(SHAPE, activation, schedule + 1);
                    let w = model.tensors.get_mut(Parameter::Encoder).expect("W_E");
                    // Identical latents, and one of zeros.
                    w.copy_within(0..SHAPE.n_p, 40 * SHAPE.n_p);
                    w.copy_within(0..SHAPE.n_p, 41 * SHAPE.n_p);
                    w[7 * SHAPE.n_p..8 * SHAPE.n_p].fill(0.0);
                    let bias = model.tensors.get_mut(Parameter::EncoderBias).expect("b_E");
                    bias.iter_mut().enumerate().for_each(|(i, b)| *b = ((i * 37 % 150) as f32 - 75.0) * 1e-3);
                    (bias[40], bias[41]) = (bias[0], bias[0]);
                    let shift = model.tensors.get_mut(Parameter::InputBias).expect("b_p");
                    shift.iter_mut().enumerate().for_each(|(i, b)| *b = (i as f32).sin() * 0.1);
                    let inputs = samples(schedule, schedule % 2 == 0);
                    let gather = if schedule % 4 < 2 { Gather::F32 } else { Gather::Bf16 };
                    let spec = Spec { select_by: by, gather, ..Spec::plain(SHAPE, ROWS) };
                    let shim = Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule);
                    // A screen has no part in it, nor has its room.
                    let encoder = [Encoder::Exact, Encoder::Bf16][schedule as usize / 2 % 2];
                    let options = Options { encoder, candidates: Some(1), ..Options::default() };
                    let found = codes(spec, &model, &inputs, shim, options);
                    let [product, pi] = pre_activations(&model, &inputs, by, gather);
                    let is_relu = matches!(activation, Activation::TopKRelu { .. });
                    let of = |values: &[f32], pi: &[f32]| -> Vec<usize> {
                        let all = first(k, values, |_| true).into_iter();
                        all.filter(|i| !is_relu || values[*i] > 0.0 && pi[*i] > 0.0).collect()
                    };
                    let expected: Vec<_> = product.iter().zip(&pi).map(|(product, pi)| of(product, pi)).collect();
                    differ += expected.iter().zip(&pi).filter(|(expected, pi)| **expected != of(pi, pi)).count();
                    same(&found, &expected, &pi, &format!("{activation:?}, {by:?}, {gather:?}, schedule {schedule}"));
                }
            }
        }
    }
    assert!(
        differ > 20,
        "{differ} rows have other latents by the product than by the score: the test tells them apart"
    );
    assert!(!launched().contains("scores"), "no row is scored in full");
    assert!(!launched().contains("candidates"), "nothing is screened");
}

#[test]
fn dead_latents_of_a_product_are_ranked_by_it_too_and_levels_go_by_the_score() {
    for schedule in SCHEDULES {
        let activation = Activation::TopK { k: 9 };
        let model = init().model(SHAPE, activation, schedule + 2);
        let inputs = samples(schedule, true);
        let mut spec = Spec { select_by: SelectBy::Bf16, ..Spec::plain(SHAPE, ROWS) };
        spec.objective.aux = Some(AuxK { k: 5, weight: 0.5, dead_after: 10, target: AuxTarget::Target });
        spec.objective.scales = Scales::TopK { ks: vec![2, 9], weights: vec![1.0, 1.0] };
        let idle = ages(SHAPE.n_q);
        let (codes, _, seen) = decoded(Shim::new(64, schedule), spec, &model, [&inputs, &[]]);
        let [product, pi] = pre_activations(&model, &inputs, SelectBy::Bf16, Gather::F32);
        let chosen: Vec<_> = product.iter().map(|row| first(9, row, |_| true)).collect();
        same(&codes, &chosen, &pi, &format!("schedule {schedule}"));
        let (Some(v), n) = (model.tensors.get(Parameter::Decoder), SHAPE.n_r) else { panic!("W_D") };
        let bias = model.tensors.get(Parameter::DecoderBias).map_or_else(|| vec![0.0; n], <[f32]>::to_vec);
        // ‖Σ π_i v_i − t‖² of these latents, in f64.
        let distance = |latents: &[usize], pi: &[f32], from: &dyn Fn(usize) -> f64| -> f64 {
            let sum = |q: usize| latents.iter().map(|i| f64::from(pi[*i]) * f64::from(v[i * n + q])).sum::<f64>();
            (0..n).map(|q| (sum(q) - from(q)).powi(2)).sum()
        };
        let (mut aux, mut small) = (0.0, 0.0);
        for (row, (product, pi)) in product.iter().zip(&pi).enumerate() {
            let x = |q: usize| f64::from(inputs[row * n + q]);
            let mut dead = first(5, product, |i| idle[i] >= 10 && product[i] > 0.0);
            dead.retain(|i| pi[*i] > 0.0);
            if !dead.is_empty() {
                aux += distance(&dead, pi, &x);
            }
            let best = first(2, pi, |i| chosen[row].contains(&i));
            small += distance(&best, pi, &|q| x(q) - f64::from(bias[q]));
        }
        // f32 against f64: 1e-4 is far above the rounding of sums of 70 terms.
        let close = |found: f64, exact: f64| (found - exact).abs() <= 1e-4 * exact;
        assert!(close(seen.aux, 0.5 * aux / ROWS as f64), "aux {} for {}", seen.aux, 0.5 * aux / ROWS as f64);
        assert!(close(seen.scales[0], small / ROWS as f64), "level 0: {} for {}", seen.scales[0], small / ROWS as f64);
    }
}
