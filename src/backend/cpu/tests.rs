//! The backend against plain computations: selection bit for bit, losses and gradients in f64.

use super::*;
use crate::backend::{Optimizer, Rule, conformance, score};
use crate::bench::features::stream;
use crate::sdl::{Anchors, AuxK, AuxTarget, Init, Objective, Shape};
use rand::RngExt;

/// Rows with a few strong directions, as data have.
fn data(rows: usize, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, "cpu tests");
    let directions: Vec<f32> = (0..30 * n).map(|_| rng.random::<f32>() - 0.5).collect();
    let mut x = vec![0.0; rows * n];
    for row in x.chunks_mut(n) {
        for direction in directions.chunks(n) {
            if rng.random::<f32>() < 0.1 {
                let c = 1.0 + rng.random::<f32>();
                row.iter_mut().zip(direction).for_each(|(x, w)| *x += c * w);
            }
        }
    }
    x
}

/// All pre-activations of a row by the definition.
fn pre_activations(model: &Model, x: &[f32]) -> Vec<f32> {
    let t = &model.tensors;
    let centred: Vec<f32> = match t.get(Parameter::InputBias) {
        Some(bias) => x.iter().zip(bias).map(|(x, b)| x - b).collect(),
        None => x.to_vec(),
    };
    let score = |i: usize| score::score(&centred, model.w_e(i));
    (0..model.shape().n_q).map(|i| score(i) + t.get(Parameter::EncoderBias).map_or(0.0, |b| b[i])).collect()
}

/// The first k of a row by the definition: a full sort.
fn top_k(z: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<u32> = (0..z.len() as u32).collect();
    let number = |i: u32| if z[i as usize].is_nan() { f32::NEG_INFINITY } else { z[i as usize] };
    order.sort_by(|&a, &b| {
        let nan = z[a as usize].is_nan().cmp(&z[b as usize].is_nan());
        nan.then(number(b).partial_cmp(&number(a)).unwrap()).then(a.cmp(&b))
    });
    order.truncate(k);
    order.sort_unstable();
    order.into_iter().map(|i| (i, z[i as usize])).collect()
}

fn assert_selects_by_definition(cpu: &Cpu, params: &Params, opt: &OptState, x: &[f32]) {
    let (mut batch, mut codes) = (cpu.batch(), cpu.codes());
    cpu.load(Rows { inputs: x, targets: &[], weights: None }, &mut batch);
    cpu.encode_select(params, opt, &batch, Mode::Training, &mut codes);
    let found = cpu.codes_of(&codes);
    let n_q = cpu.spec.shape.n_q;
    let mut all = vec![Vec::new(); x.len() / cpu.spec.shape.n_p];
    if let Activation::BatchTopK { k } = params.model.activation {
        let z: Vec<f32> = x.chunks(cpu.spec.shape.n_p).flat_map(|x| pre_activations(&params.model, x)).collect();
        for (place, z) in top_k(&z, k * all.len()).into_iter().filter(|(_, z)| *z > 0.0) {
            all[place as usize / n_q].push((place % n_q as u32, z));
        }
    }
    for (b, x) in x.chunks(cpu.spec.shape.n_p).enumerate() {
        let z = pre_activations(&params.model, x);
        let expected: Vec<(u32, f32)> = match params.model.activation {
            Activation::TopK { k } => top_k(&z, k),
            Activation::TopKRelu { k } => top_k(&z, k).into_iter().filter(|(_, z)| *z > 0.0).collect(),
            Activation::BatchTopK { .. } => all[b].clone(),
            other => panic!("{other:?} does not select by rank"),
        };
        let range = found.offsets[b]..found.offsets[b + 1];
        let bits = |z: f32| if z.is_nan() { u32::MAX } else { z.to_bits() };
        let found: Vec<_> = range.map(|at| (found.latents[at], bits(found.values[at]))).collect();
        assert_eq!(found, expected.into_iter().map(|(i, z)| (i, bits(z))).collect::<Vec<_>>(), "row {b}");
    }
}

fn train(cpu: &Cpu, model: &Model, x: &[f32], rows: usize, steps: usize) -> (Params, OptState, Vec<Observation>) {
    let mut params = cpu.params(model);
    let mut opt = cpu.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
    let batches: Vec<&[f32]> = x.chunks_exact(rows * cpu.spec.shape.n_p).collect();
    let mut seen = Vec::new();
    for t in 0..steps {
        cpu.load(Rows { inputs: batches[t % batches.len()], targets: &[], weights: None }, &mut batch);
        cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        cpu.decode_residual(&params, &batch, &mut codes);
        cpu.backward_and_step(&mut params, &mut opt, &batch, &mut codes, &mut grads);
        seen.push(cpu.observe(&params, &codes, &grads));
    }
    (params, opt, seen)
}

#[test]
fn the_backend_conforms_with_every_instruction_set() {
    conformance::suite(Cpu::new);
    conformance::suite(|spec| Cpu::with(spec, Isa::Portable, Screen::Float));
    conformance::suite(|spec| Cpu::with(spec, Isa::detect(), Screen::Integer));
}

#[test]
fn every_path_selects_what_a_full_scoring_selects() {
    for (n_p, n_q, k) in [(48, 300, 5), (70, 1500, 16), (64, 2100, 40), (5, 3, 8), (9, 40, 40)] {
        for bias in [false, true] {
            let shape = Shape { n_p, n_r: n_p, n_q };
            let activations = [Activation::TopK { k }, Activation::TopKRelu { k }, Activation::BatchTopK { k }];
            let screens =
                [(Isa::detect(), Screen::Float), (Isa::detect(), Screen::Integer), (Isa::Avx2, Screen::Integer)];
            for (activation, (isa, screen)) in activations.into_iter().flat_map(|a| screens.map(|s| (a, s))) {
                let cpu = Cpu::with(Spec::plain(shape, 64), isa, screen);
                let init = Init { encoder_bias: bias, input_bias: bias, ..Init::default() };
                let mut model = init.model(shape, activation, 5);
                let x = data(4 * 50, n_p, 6);
                for steps in [0, 1, 7, 30] {
                    let (params, opt, _) = train(&cpu, &model, &x, 50, steps);
                    assert_selects_by_definition(&cpu, &params, &opt, &x[..61 * n_p]);
                }
                // Zero rows, infinities, NaN, subnormals and numbers that overflow; identical latents and such numbers in their weights.
                let mut hard = x[..40 * n_p].to_vec();
                let specials =
                    [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3e38, 1e-30, -2e19, f32::MIN_POSITIVE];
                for (b, row) in hard.chunks_mut(n_p).enumerate().take(30) {
                    match b {
                        0 | 1 => row.fill(0.0),
                        2..10 => row[b % n_p] = specials[b - 2],
                        10..18 => row.fill(specials[b - 10]),
                        18..26 => row.iter_mut().for_each(|x| *x *= specials[b - 18]),
                        _ => row.iter_mut().for_each(|x| *x *= 1e-38),
                    }
                }
                let params = cpu.params(&model);
                let opt = cpu.opt_state(&params);
                assert_selects_by_definition(&cpu, &params, &opt, &hard);
                let first = model.w_e(0).to_vec();
                for i in 0..n_q {
                    let row = model.tensors.row_mut(Parameter::Encoder, i);
                    match i % 20 {
                        0..=12 => row.copy_from_slice(&first),
                        13 => row[i % n_p] = specials[i / 20 % 8],
                        14 => row.fill(0.0),
                        15 => row.iter_mut().for_each(|w| *w *= specials[i / 20 % 8]),
                        _ => {}
                    }
                }
                if let Some(biases) = model.tensors.get_mut(Parameter::EncoderBias) {
                    biases
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, b)| *b = if i % 17 == 3 { specials[i / 17 % 8] } else { 0.25 });
                }
                let params = cpu.params(&model);
                assert_selects_by_definition(&cpu, &params, &opt, &hard);
            }
        }
    }
}

#[test]
fn what_was_learnt_from_other_batches_changes_no_selection() {
    let shape = Shape { n_p: 40, n_r: 40, n_q: 900 };
    for screen in [Screen::Float, Screen::Integer] {
        for activation in [Activation::TopK { k: 12 }, Activation::TopKRelu { k: 12 }, Activation::BatchTopK { k: 12 }]
        {
            let cpu = Cpu::with(Spec::plain(shape, 64), Isa::detect(), screen);
            let model = Init::default().model(shape, activation, 3);
            let params = cpu.params(&model);
            let opt = cpu.opt_state(&params);
            // Rows that many latents resemble, and rows that few do; some are zero.
            let mut rng = stream(5, "other batches");
            let mut x = data(3 * 64, shape.n_p, 4);
            for row in x.chunks_mut(shape.n_p).take(64) {
                row.copy_from_slice(model.w_e(rng.random_range(0..shape.n_q)));
            }
            x[130 * shape.n_p..140 * shape.n_p].fill(0.0);
            let mut used = cpu.codes();
            for (number, x) in x.chunks(64 * shape.n_p).cycle().take(6).enumerate() {
                // The sign of a row exchanges its largest scores with its least.
                let x: Vec<f32> = x.iter().map(|x| if number % 2 == 0 { *x } else { -x.powi(3) }).collect();
                let (mut batch, mut fresh) = (cpu.batch(), cpu.codes());
                cpu.load(Rows { inputs: &x, targets: &[], weights: None }, &mut batch);
                cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut used);
                cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut fresh);
                assert_eq!(cpu.codes_of(&used), cpu.codes_of(&fresh), "{screen:?} {activation:?}, batch {number}");
            }
        }
    }
}

#[test]
fn steps_have_the_same_bits_at_any_number_of_threads() {
    let shape = Shape { n_p: 70, n_r: 70, n_q: 500 };
    let x = data(4 * 90, 70, 8);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let init = Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
        let mut spec = Spec::plain(shape, 90);
        spec.optimizer.clip = 0.5;
        spec.unit_decoder = true;
        let cpu = Cpu::new(spec);
        pool.install(|| train(&cpu, &init.model(shape, Activation::TopK { k: 7 }, 9), &x, 90, 6))
    };
    let (one, _, seen) = run(1);
    assert!(seen[5].loss < seen[0].loss);
    for threads in [2, 3] {
        let (other, _, also) = run(threads);
        assert!(one.model == other.model && one.norms == other.norms && seen == also);
    }
}

#[test]
fn steps_of_every_activation_and_of_auxk_have_the_same_bits_at_any_number_of_threads() {
    let shape = Shape { n_p: 40, n_r: 40, n_q: 200 };
    let x = data(3 * 60, 40, 8);
    let activations = [
        Activation::Relu,
        Activation::JumpRelu { theta: 0.5, bandwidth: 0.2 },
        Activation::TopK { k: 5 },
        Activation::TopKRelu { k: 5 },
        Activation::BatchTopK { k: 5 },
        Activation::Gated,
    ];
    for activation in activations {
        for aux in [None, Some(AuxK { k: 4, weight: 0.3, dead_after: 60, target: AuxTarget::Residual })] {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let init = Init { encoder_bias: true, decoder_bias: true, input_bias: true, ..Init::default() };
                let mut spec = Spec::plain(shape, 60);
                spec.objective = Objective { l1: 0.01, aux, ..Objective::default() };
                spec.optimizer.clip = 0.5;
                let cpu = Cpu::new(spec);
                pool.install(|| {
                    let (params, opt, seen) = train(&cpu, &init.model(shape, activation, 9), &x, 60, 4);
                    (params.model.clone(), params.norms, cpu.save(&opt), seen)
                })
            };
            let one = run(1);
            // The first batch again, of which a model that has moved makes something else.
            assert!(one.3[3].mse != one.3[0].mse, "{activation:?}");
            // Where few latents are kept, some are dead after a batch.
            if aux.is_some() && activation.is_sparse() {
                assert!(one.3[3].aux > 0.0, "{activation:?}");
            }
            for threads in [2, 5] {
                assert!(run(threads) == one, "{activation:?}, {aux:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn gradients_are_those_of_a_plain_computation_in_f64() {
    compare_gradients(Shape { n_p: 21, n_r: 33, n_q: 60 }, 19, 6);
    // Several strips in a panel, several panels, and columns beside both.
    compare_gradients(Shape { n_p: 150, n_r: 200, n_q: 12 }, 1400, 3);
}

fn compare_gradients(shape: Shape, rows: usize, k: usize) {
    let mut spec = Spec::plain(shape, rows);
    spec.reconstructs_its_input = false;
    let cpu = Cpu::new(spec);
    let init = Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    let mut model = init.model(shape, Activation::TopK { k }, 3);
    let mut rng = stream(4, "biases");
    for p in [Parameter::EncoderBias, Parameter::DecoderBias, Parameter::InputBias, Parameter::Skip] {
        model.tensors.get_mut(p).unwrap().iter_mut().for_each(|b| *b = rng.random::<f32>() - 0.5);
    }
    let (x, t) = (data(rows, shape.n_p, 1), data(rows, shape.n_r, 2));
    let weights: Vec<f64> = (0..rows).map(|b| 0.01 * (b + 1) as f64).collect();
    let params = cpu.params(&model);
    let opt = cpu.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
    cpu.load(Rows { inputs: &x, targets: &t, weights: Some(&weights) }, &mut batch);
    cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
    cpu.decode_residual(&params, &batch, &mut codes);
    cpu.backward(&params, &batch, &mut codes, &mut grads);
    let found = cpu.gradients_of(&params, &grads);
    let loss = cpu.observe(&params, &codes, &grads).loss;

    let selected = cpu.codes_of(&codes);
    let at = |p: Parameter, i: usize| f64::from(model.tensors.get(p).unwrap()[i]);
    let mut expected: Tensors<f64> = Tensors::zeros(shape, model.tensors.parameters());
    let mut expected_loss = 0.0;
    for b in 0..rows {
        let centred: Vec<f64> =
            (0..shape.n_p).map(|c| f64::from(x[b * shape.n_p + c]) - at(Parameter::InputBias, c)).collect();
        let mut e: Vec<f64> = (0..shape.n_r)
            .map(|r| {
                let skip: f64 = (0..shape.n_p)
                    .map(|c| at(Parameter::Skip, r * shape.n_p + c) * f64::from(x[b * shape.n_p + c]))
                    .sum();
                at(Parameter::DecoderBias, r) + skip - f64::from(t[b * shape.n_r + r])
            })
            .collect();
        let own = selected.offsets[b]..selected.offsets[b + 1];
        assert_eq!(own.len(), k);
        for entry in own.clone() {
            let i = selected.latents[entry] as usize;
            let z: f64 = centred.iter().zip(model.w_e(i)).map(|(x, w)| x * f64::from(*w)).sum::<f64>()
                + at(Parameter::EncoderBias, i);
            e.iter_mut().zip(model.w_d(i)).for_each(|(e, v)| *e += z * f64::from(*v));
        }
        expected_loss += weights[b] * e.iter().map(|e| e * e).sum::<f64>();
        let g: Vec<f64> = e.iter().map(|e| 2.0 * weights[b] * e).collect();
        for entry in own {
            let (i, z) = (selected.latents[entry] as usize, f64::from(selected.values[entry]));
            let delta: f64 = g.iter().zip(model.w_d(i)).map(|(g, v)| g * f64::from(*v)).sum();
            expected.row_mut(Parameter::Decoder, i).iter_mut().zip(&g).for_each(|(o, g)| *o += z * g);
            expected.row_mut(Parameter::Encoder, i).iter_mut().zip(&centred).for_each(|(o, x)| *o += delta * x);
            expected.row_mut(Parameter::EncoderBias, i)[0] += delta;
            let bias = expected.get_mut(Parameter::InputBias).unwrap();
            bias.iter_mut().zip(model.w_e(i)).for_each(|(o, w)| *o -= delta * f64::from(*w));
        }
        expected.get_mut(Parameter::DecoderBias).unwrap().iter_mut().zip(&g).for_each(|(o, g)| *o += g);
        for (r, g) in g.iter().enumerate() {
            let row = expected.row_mut(Parameter::Skip, r).iter_mut().zip(&x[b * shape.n_p..]);
            row.for_each(|(o, x)| *o += g * f64::from(*x));
        }
    }
    assert!((loss - expected_loss).abs() < 1e-5 * expected_loss);
    for p in model.tensors.parameters() {
        let (found, expected) = (found.get(p).unwrap(), expected.get(p).unwrap());
        let size = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        for (found, expected) in found.iter().zip(expected) {
            // Sums of fewer than 2^10 terms of the size of the largest entry, each rounded to 2^-24.
            assert!((f64::from(*found) - expected).abs() < 6e-5 * size, "{p:?}: {found} {expected}");
        }
    }
}

/// What two steps leave, gradients and update in one pass or in two. The room for gradients holds NaN before each.
fn one_step(cpu: &Cpu, model: &Model, x: &[f32], at_once: bool) -> (Params, HostOptState, Observation, Grads) {
    let mut params = cpu.params(model);
    let mut opt = cpu.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
    for x in x.chunks(x.len() / 2) {
        grads.encoder.fill(f32::NAN);
        grads.decoder.fill(f32::NAN);
        cpu.load(Rows { inputs: x, targets: &[], weights: None }, &mut batch);
        cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        cpu.decode_residual(&params, &batch, &mut codes);
        if at_once {
            cpu.backward_and_step(&mut params, &mut opt, &batch, &mut codes, &mut grads);
        } else {
            cpu.backward(&params, &batch, &mut codes, &mut grads);
            cpu.step(&mut params, &mut opt, &codes, &mut grads);
        }
    }
    let seen = cpu.observe(&params, &codes, &grads);
    (params, cpu.save(&opt), seen, grads)
}

#[test]
fn gradients_that_are_used_up_in_one_pass_move_every_latent_to_the_same_bits_and_are_not_stored() {
    // 700 latents are six tasks, the last one with fewer; 130 inputs do not fill a strip, 128 do.
    for (n_p, anchored) in [(128, false), (130, false), (130, true)] {
        let shape = Shape { n_p, n_r: n_p, n_q: 700 };
        let model = Init { encoder_bias: true, ..Init::default() }.model(shape, Activation::TopK { k: 5 }, 3);
        let mut spec = Spec { unit_decoder: true, ..Spec::plain(shape, 60) };
        if anchored {
            let known = data(3, n_p, 9);
            let latents = vec![1, 300, 699];
            spec.anchors =
                Anchors { weight: 0.5, latents, inputs: known.clone(), targets: known, features: Vec::new() };
        }
        let x = data(120, n_p, 4);
        for (isa, threads) in [(Isa::detect(), 1), (Isa::detect(), 3), (Isa::Portable, 2)] {
            let cpu = Cpu::with(spec.clone(), isa, Screen::of(isa));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let [(params, opt, seen, grads), (expected, opt_expected, seen_expected, _)] =
                pool.install(|| [true, false].map(|at_once| one_step(&cpu, &model, &x, at_once)));
            assert_eq!(params.model, expected.model);
            assert_eq!(params.norms, expected.norms);
            assert_eq!((opt, seen), (opt_expected, seen_expected));
            let stored = grads.encoder.chunks(n_p).filter(|row| row.iter().all(|x| !x.is_nan())).count();
            assert!((1..=96).contains(&stored), "room for gradients of 16 latents in each of six tasks: {stored}");
        }
        // With a norm to clip by all gradients are needed first.
        spec.optimizer.clip = 1e-3;
        let (_, _, _, grads) = one_step(&Cpu::new(spec), &model, &x, true);
        assert!(grads.live.iter().zip(grads.encoder.chunks(n_p)).all(|(live, row)| *live != row[0].is_nan()));
    }
}

#[test]
fn adam_follows_its_formulas_and_skips_only_what_does_not_move() {
    let shape = Shape { n_p: 12, n_r: 12, n_q: 200 };
    for rule in [Rule::Adam, Rule::AdamW, Rule::Sgd] {
        let mut spec = Spec::plain(shape, 8);
        spec.optimizer = Optimizer { rule, weight_decay: 0.1, ..Optimizer::default() };
        let cpu = Cpu::new(spec);
        let model = Init::default().model(shape, Activation::TopK { k: 2 }, 3);
        let x = data(24, 12, 5);
        let mut params = cpu.params(&model);
        let mut opt = cpu.opt_state(&params);
        let (mut batch, mut codes, mut grads) = (cpu.batch(), cpu.codes(), cpu.grads(&params));
        let (mut w, mut m, mut v) =
            (model.tensors.get(Parameter::Decoder).unwrap().to_vec(), vec![0.0_f64; 2400], vec![0.0_f64; 2400]);
        let mut w: Vec<f64> = w.drain(..).map(f64::from).collect();
        for t in 1..=6 {
            cpu.load(Rows { inputs: &x[(t % 3) * 96..(t % 3 + 1) * 96], targets: &[], weights: None }, &mut batch);
            cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            cpu.decode_residual(&params, &batch, &mut codes);
            cpu.backward(&params, &batch, &mut codes, &mut grads);
            let g = cpu.gradients_of(&params, &grads);
            let g = g.get(Parameter::Decoder).unwrap();
            cpu.step(&mut params, &mut opt, &codes, &mut grads);
            for i in 0..w.len() {
                let g = f64::from(g[i]);
                if rule == Rule::AdamW {
                    w[i] *= 1.0 - 1e-3 * 0.1;
                }
                m[i] = if rule == Rule::Sgd { 0.9 * m[i] + g } else { 0.9 * m[i] + 0.1 * g };
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.9_f64.powi(t as i32)), v[i] / (1.0 - 0.999_f64.powi(t as i32)));
                w[i] -= if rule == Rule::Sgd { 1e-3 * m[i] } else { 1e-3 * m_hat / (v_hat.sqrt() + 1e-8) };
            }
            let found = params.decoder();
            // A handful of roundings of numbers below 2 to 2^-24 a step.
            assert!(w.iter().zip(found).all(|(w, f)| (w - f64::from(*f)).abs() < 2e-6 * t as f64));
        }
        let saved = cpu.save(&opt);
        let again = cpu.restore(&saved);
        // A latent whose gradients were all zero counts as moving until its state is restored: nothing happens to it either way.
        assert!(again.moving.iter().zip(&opt.moving).all(|(again, before)| *before || !again));
        assert!(again.moving.contains(&true) && opt.moving.contains(&false));
        assert!(opt.idle.contains(&0) && opt.idle.contains(&48));
        assert_eq!(cpu.save(&again), saved);
    }
}
