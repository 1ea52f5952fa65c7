use super::*;
use crate::backend::reference::Reference;
use crate::backend::{Backend, Mode, Rows, Spec};
use crate::sdl::{Init, Shape};
use rand_distr::{Distribution, StandardNormal};

const ROWS: usize = 60;
const DEAD: std::ops::Range<usize> = 20..26;
const IDLE: u64 = 1000;

/// A model of which some latents are silent, the samples, and what the model makes of them.
struct World {
    backend: Reference,
    model: Model,
    state: HostOptState,
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

struct Seen {
    reconstructions: Vec<f32>,
    codes: HostCodes,
    mse: f64,
}

impl World {
    fn new(activation: Activation, shape: Shape, init: Init, unit_decoder: bool) -> Self {
        let spec = Spec { unit_decoder, reconstructs_its_input: false, ..Spec::plain(shape, ROWS) };
        let backend = Reference::new(spec);
        let mut model = init.model(shape, activation, 4);
        for i in DEAD {
            model.tensors.row_mut(Parameter::Encoder, i).fill(0.0);
        }
        if let Activation::BatchTopK { .. } = activation {
            model.threshold = Some(0.5);
        }
        let params = backend.params(&model);
        let mut state = backend.save(&backend.opt_state(&params));
        state.step = 500;
        state.idle[DEAD].fill(IDLE);
        for moments in [Some(&mut state.first), state.second.as_mut()].into_iter().flatten() {
            *moments = moments.map(|_| 1.0);
        }
        let mut rng = stream(8, "resampling test");
        let mut draw = |count: usize| (0..count).map(|_| StandardNormal.sample(&mut rng)).collect::<Vec<f32>>();
        let (inputs, targets) = (draw(ROWS * shape.n_p), draw(ROWS * shape.n_r));
        Self { backend, model, state, inputs, targets }
    }

    fn see(&self) -> Seen {
        let backend = &self.backend;
        let params = backend.params(&self.model);
        let (opt, mut batch, mut codes) = (backend.restore(&self.state), backend.batch(), backend.codes());
        backend.load(Rows { inputs: &self.inputs, targets: &self.targets, weights: None }, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Inference, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        Seen {
            reconstructions: backend.reconstruction_of(&batch, &codes),
            codes: backend.codes_of(&codes),
            mse: backend.observe(&params, &codes, &backend.grads(&params)).mse,
        }
    }

    fn apply(&mut self, resampling: &Resampling, constraints: Constraints<'_>, seed: u64) -> Vec<Moved> {
        let seen = self.see();
        let samples = Samples {
            inputs: &self.inputs,
            targets: &self.targets,
            reconstructions: &seen.reconstructions,
            codes: &seen.codes,
            weights: None,
        };
        resampling.apply(&mut self.model, &mut self.state, &samples, constraints, seed)
    }
}

fn recipe() -> Recipe {
    Recipe { steps: vec![500], dead_after: IDLE, warm_up: 7, ..Recipe::default() }
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt()
}

const SHAPE: Shape = Shape { n_p: 6, n_r: 5, n_q: 30 };
const SQUARE: Shape = Shape { n_p: 6, n_r: 6, n_q: 30 };

#[test]
fn the_predicted_decrease_is_the_measured_one() {
    let all =
        Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, tied: false, ..Init::default() };
    for activation in [
        Activation::Relu,
        Activation::JumpRelu { theta: 0.4, bandwidth: 0.1 },
        Activation::TopK { k: 3 },
        Activation::TopKRelu { k: 3 },
        Activation::BatchTopK { k: 3 },
        Activation::Gated,
    ] {
        for (shape, init, unit_decoder) in [(SHAPE, all, false), (SQUARE, Init::default(), false), (SQUARE, all, true)]
        {
            let mut world = World::new(activation, shape, init, unit_decoder);
            let before = world.see().mse;
            let constraints = Constraints { unit_decoder, anchored: &[] };
            let moved = world.apply(&Resampling::Decrease(recipe()), constraints, 1);
            let after = world.see().mse;
            let predicted: f64 = moved.iter().filter_map(|m| m.decrease).sum();
            assert!(
                moved.len() >= 4 && predicted > 0.01 * before,
                "{activation:?}: {} moved, {predicted}",
                moved.len()
            );
            // Reconstructions are handed over in f32, n_r coordinates a sample; the sums themselves are f64.
            let tolerance = before * 8.0 * 2f64.powi(-24) * 10.0;
            assert!(
                (before - after - predicted).abs() < tolerance,
                "{activation:?}: {} for {predicted}",
                before - after
            );
            if unit_decoder {
                // One rounding of each of six coordinates.
                assert!(moved.iter().all(|m| (norm(world.model.w_d(m.latent as usize)) - 1.0).abs() < 1e-6));
            }
        }
    }
}

#[test]
fn the_decrease_is_q_squared_by_the_mass_of_the_codes() {
    let mut world = World::new(Activation::Relu, SHAPE, Init { tied: false, ..Init::default() }, false);
    let seen = world.see();
    let moved = world.apply(&Resampling::Decrease(Recipe { most: 1, ..recipe() }), Constraints::default(), 3);
    let [Moved { latent, decrease: Some(decrease) }] = moved[..] else { panic!("one latent: {moved:?}") };
    let row = world.model.w_e(latent as usize);
    let (mut q, mut mass) = ([0.0; 5], 0.0);
    for b in 0..ROWS {
        let x = &world.inputs[b * 6..(b + 1) * 6];
        let z = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>().max(0.0);
        mass += z * z / ROWS as f64;
        for (j, q) in q.iter_mut().enumerate() {
            let e = f64::from(world.targets[b * 5 + j]) - f64::from(seen.reconstructions[b * 5 + j]);
            *q += z * e / ROWS as f64;
        }
    }
    let formula = q.iter().map(|q| q * q).sum::<f64>() / mass;
    // Rounding v to f32 changes the decrease in second order, z in f32 in first: 6 products of about 1.
    assert!((decrease - formula).abs() < 1e-6 * formula, "{decrease} for {formula}");
}

#[test]
fn the_climb_finds_a_feature_that_is_missing() {
    // Living latents reconstruct e_1 .. e_5 exactly; samples also hold a direction that has no latent.
    let shape = Shape { n_p: 8, n_r: 8, n_q: 30 };
    let mut world = World::new(Activation::Relu, shape, Init::default(), false);
    for i in 0..30 {
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            let row = world.model.tensors.row_mut(parameter, i);
            row.fill(0.0);
            if i < 5 {
                row[i] = 1.0;
            }
        }
    }
    world.inputs = vec![0.0; ROWS * 8];
    for b in 0..ROWS {
        let x = &mut world.inputs[b * 8..(b + 1) * 8];
        x[b % 5] = 1.0 + (b % 3) as f32;
        if b % 4 == 0 {
            (x[6], x[7]) = (0.6, 0.8);
        }
    }
    world.targets = world.inputs.clone();
    let moved = world.apply(&Resampling::Decrease(Recipe { most: 1, ..recipe() }), Constraints::default(), 2);
    let column = world.model.w_d(moved[0].latent as usize);
    let cosine = (0.6 * f64::from(column[6]) + 0.8 * f64::from(column[7])) / norm(column);
    // The residual of a sample with the direction is a candidate, and exact in f32 up to rounding.
    assert!(cosine > 1.0 - 1e-6, "{cosine}");
    assert!(world.see().mse < 1e-12);
}

#[test]
fn bricken_takes_directions_of_samples_and_their_lengths_from_living_rows() {
    for shape in [SHAPE, SQUARE] {
        let mut world =
            World::new(Activation::TopK { k: 3 }, shape, Init { tied: false, scale: 2.0, ..Init::default() }, false);
        let moved = world.apply(&Resampling::Bricken(recipe()), Constraints::default(), 1);
        assert_eq!(moved.iter().map(|m| m.latent as usize).collect::<Vec<_>>(), DEAD.collect::<Vec<_>>());
        for m in moved {
            let (row, column) = (world.model.w_e(m.latent as usize), world.model.w_d(m.latent as usize));
            // Living rows have norm 2, so new ones 0.4; roundings of 24 bits.
            assert!((norm(row) - 0.4).abs() < 1e-6 && (norm(column) - 1.0).abs() < 1e-6);
            let is_sample = (0..ROWS).any(|b| {
                let parallel = |a: &[f32], x: &[f32]| {
                    let product: f64 = a.iter().zip(x).map(|(a, x)| f64::from(*a) * f64::from(*x)).sum();
                    product > (1.0 - 1e-6) * norm(a) * norm(x)
                };
                parallel(row, &world.inputs[b * shape.n_p..(b + 1) * shape.n_p])
                    && parallel(column, &world.targets[b * shape.n_r..(b + 1) * shape.n_r])
            });
            assert!(is_sample, "both directions are those of one sample");
        }
    }
}

#[test]
fn bricken_draws_by_the_squared_loss() {
    // No latent is selected, so that the loss of a sample is ‖x_r‖²: 1 and 4 for two samples, squares 1 and 16, and nothing for the others.
    let mut world = World::new(Activation::Relu, SQUARE, Init::default(), false);
    world.model.tensors.get_mut(Parameter::Encoder).unwrap().fill(0.0);
    world.state.idle.fill(IDLE);
    world.targets.fill(0.0);
    world.targets[0] = 1.0;
    world.targets[6 + 1] = 2.0;
    let mut second = 0;
    let trials = 100;
    for seed in 0..trials {
        let mut copy = World { backend: world.backend.clone(), ..clone(&world) };
        let moved = copy.apply(&Resampling::Bricken(recipe()), Constraints::default(), seed);
        assert_eq!(moved.len(), 30);
        second += moved.iter().filter(|m| copy.model.w_d(m.latent as usize)[1] == 1.0).count() as u64;
        assert!(moved.iter().all(|m| copy.model.w_d(m.latent as usize)[..2].iter().sum::<f32>() == 1.0));
    }
    // 16/17 = 0.941 of 3000 draws; by the plain loss it would be 0.8.
    let test = crate::stats::Proportion { trials: 30 * trials, successes: second, law: 16.0 / 17.0, wrong: 0.8 };
    assert!(test.agrees() && test.power() >= crate::stats::Proportion::POWER, "{}", test.sentence());
}

fn clone(world: &World) -> World {
    World {
        backend: world.backend.clone(),
        model: world.model.clone(),
        state: world.state.clone(),
        inputs: world.inputs.clone(),
        targets: world.targets.clone(),
    }
}

#[test]
fn what_is_moved_starts_anew_and_the_rest_stays() {
    let init = Init { encoder_bias: true, tied: false, ..Init::default() };
    for resampling in [Resampling::Bricken(recipe()), Resampling::Decrease(recipe())] {
        for activation in [Activation::JumpRelu { theta: 0.4, bandwidth: 0.1 }, Activation::Gated] {
            let mut world = World::new(activation, SHAPE, init, false);
            for parameter in
                [Parameter::EncoderBias, Parameter::LogThreshold, Parameter::GateScale, Parameter::MagnitudeBias]
            {
                for b in world.model.tensors.get_mut(parameter).into_iter().flatten() {
                    *b += 0.01;
                }
            }
            // They must stay silent with the bias.
            world.model.tensors.get_mut(Parameter::EncoderBias).unwrap()[DEAD].fill(-3.0);
            let before = clone(&world);
            let moved: Vec<usize> =
                world.apply(&resampling, Constraints::default(), 1).iter().map(|m| m.latent as usize).collect();
            assert!(moved.len() >= 4);
            assert_eq!(world.state.warm_up, WarmUp { from: 500, steps: 7 });
            for i in 0..SHAPE.n_q {
                let is_moved = moved.contains(&i);
                assert_eq!(world.state.idle[i], if is_moved { 0 } else { before.state.idle[i] });
                for parameter in world.model.tensors.parameters().filter(|p| p.is_per_latent()) {
                    let moments = [&world.state.first, world.state.second.as_ref().unwrap()];
                    let expected = if is_moved { 0.0 } else { 1.0 };
                    assert!(
                        moments.iter().all(|m| m.row(parameter, i).iter().all(|x| *x == expected)),
                        "{parameter:?}"
                    );
                    let same = world.model.tensors.row(parameter, i) == before.model.tensors.row(parameter, i);
                    assert_eq!(same, !is_moved, "{parameter:?} of latent {i}");
                }
                let start = init.model(SHAPE, activation, 4);
                if is_moved && let Some(theta) = start.tensors.get(Parameter::LogThreshold) {
                    assert_eq!(world.model.tensors.row(Parameter::LogThreshold, i)[0], theta[i]);
                }
            }
        }
    }
}

#[test]
fn anchored_latents_and_those_that_are_active_stay() {
    for resampling in [Resampling::Bricken(recipe()), Resampling::Decrease(recipe())] {
        let mut world = World::new(Activation::Relu, SHAPE, Init { tied: false, ..Init::default() }, false);
        // Latent 0 has not been active for long, but is in these samples.
        world.state.idle[0] = 10 * IDLE;
        let constraints = Constraints { unit_decoder: false, anchored: &[21, 24, 3] };
        let moved = world.apply(&resampling, constraints, 1);
        assert!(!moved.is_empty() && moved.iter().all(|m| [20, 22, 23, 25].contains(&m.latent)), "{moved:?}");
    }
}

#[test]
fn nothing_moves_where_nothing_is_missing_or_no_latent_is_dead() {
    for resampling in [Resampling::Bricken(recipe()), Resampling::Decrease(recipe())] {
        let mut perfect = World::new(Activation::Relu, SHAPE, Init { tied: false, ..Init::default() }, false);
        perfect.targets = perfect.see().reconstructions;
        let before = perfect.model.clone();
        // Up to the rounding of the reconstructions to f32, which the targets share.
        assert_eq!(perfect.apply(&resampling, Constraints::default(), 1), []);
        assert_eq!(perfect.model, before);
        let mut alive = World::new(Activation::Relu, SHAPE, Init { tied: false, ..Init::default() }, false);
        alive.state.idle.fill(IDLE - 1);
        let before = alive.state.clone();
        assert_eq!(alive.apply(&resampling, Constraints::default(), 1), []);
        assert_eq!(alive.state, before);
    }
}

#[test]
fn the_same_seed_moves_to_the_same_bits_at_any_number_of_threads() {
    let moved = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut world = World::new(Activation::TopK { k: 3 }, SQUARE, Init::default(), false);
            world.apply(&Resampling::Decrease(recipe()), Constraints::default(), seed);
            world.model
        })
    };
    assert_eq!(moved(1, 5), moved(2, 5));
    assert_ne!(moved(1, 5), moved(1, 6));
}

#[test]
fn a_recipe_is_read_from_a_table_and_says_when_it_is_due() {
    let text = "kind = \"bricken\"\nsteps = [100, 200]\nwarm_up = 10\n";
    let resampling: Resampling = toml::from_str(text).unwrap();
    let expected = Recipe { steps: vec![100, 200], warm_up: 10, ..Recipe::default() };
    assert_eq!(resampling, Resampling::Bricken(expected));
    assert_eq!([99, 100, 101, 200].map(|step| resampling.is_due(step)), [false, true, false, true]);
    assert_eq!(toml::from_str::<Resampling>(&toml::to_string(&resampling).unwrap()).unwrap(), resampling);
    assert!(toml::from_str::<Resampling>("kind = \"bricken\"\nstep = 3\n").is_err());
    assert!(!toml::from_str::<Resampling>("kind = \"none\"").unwrap().is_due(0));
}
