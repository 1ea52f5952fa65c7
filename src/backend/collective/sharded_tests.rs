//! Ranks with a part of the latents each against one rank with all of them.

use super::tests::{Fault, Faulty, TOLERANCE, Trained, Training, distance, on_ranks};
use super::{Collective, CollectiveError, Reaches, Sharded, Threads};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, HostCodes, HostOptState, Mode, Rows, Spec, conformance};
use crate::bench::features::stream;
use crate::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Scales, Shape};
use rand::RngExt;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn ranks_with_parts_of_the_latents_conform_as_one_backend_does() {
    // Some models have fewer latents than there are ranks.
    on_ranks(2, |rank| conformance::suite(|spec| Sharded::new(rank, spec, Cpu::new)));
    on_ranks(4, |rank| conformance::every(3, 1, |_| true, |spec| Sharded::new(rank, spec, Cpu::new)));
}

fn activations() -> [Activation; 6] {
    [
        Activation::TopK { k: 6 },
        Activation::TopKRelu { k: 6 },
        Activation::BatchTopK { k: 6 },
        Activation::Relu,
        Activation::JumpRelu { theta: 0.05, bandwidth: 0.1 },
        Activation::Gated,
    ]
}

fn sharded<'a, C: Reaches<[f32], [bool]>>(collective: &'a C, training: &Training) -> Sharded<'a, Cpu, C> {
    Sharded::new(collective, training.spec.clone(), Cpu::new)
}

/// On ranks whose collective has this fault.
fn on(training: &Training, ranks: usize, fault: Fault) -> Vec<Trained> {
    on_ranks(ranks, |rank| training.run(&sharded(&Faulty { rank, fault }, training)))
}

#[test]
fn exact_sums_have_the_bits_of_one_rank_whatever_part_of_the_latents_each_has() {
    let training = Training::exact();
    let alone = training.run(&Cpu::new(training.spec.clone()));
    assert_ne!(alone.0, training.model);
    // 40 latents: 3 and 7 do not divide them.
    for ranks in [1, 2, 3, 4, 7] {
        for found in on(&training, ranks, Fault::None) {
            assert_eq!(found, alone, "{ranks} ranks");
        }
    }
}

#[test]
fn any_number_of_parts_trains_alike_and_each_the_same_bits_again() {
    for activation in activations() {
        let training = Training::new(activation);
        let alone = training.run(&Cpu::new(training.spec.clone()));
        assert!(alone.2.iter().any(|seen| seen.gradient_norm > 0.5), "{activation:?}: something to clip");
        for ranks in [1, 2, 4, 5] {
            let found = on(&training, ranks, Fault::None);
            for (rank, of) in found.iter().enumerate() {
                assert!(*of == found[0], "{activation:?}: rank {rank} of {ranks} differs from the first");
            }
            assert!(
                on(&training, ranks, Fault::None)[0] == found[0],
                "{activation:?}, {ranks} ranks: other bits again"
            );
            if ranks == 1 {
                assert!(found[0] == alone, "{activation:?}: one rank is no rank");
            }
            let distance = distance(&found[0], &alone);
            assert!(distance < TOLERANCE, "{activation:?}, {ranks} ranks: {distance:e}");
        }
    }
}

const SHAPE: Shape = Shape { n_p: 9, n_r: 9, n_q: 43 };
const ROWS: usize = 12;

/// Numbers of which many are equal, or none are.
fn numbers(count: usize, ties: bool, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, "sharded tests");
    let number = |x: f32| if ties { (4.0 * x).round() / 2.0 } else { x };
    (0..count).map(|_| number(rng.random::<f32>() - 0.5)).collect()
}

fn model(activation: Activation, ties: bool) -> Model {
    let init =
        Init { tied: false, encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    let mut model = init.model(SHAPE, activation, 1);
    for (seed, parameter) in (1..).zip(model.tensors.parameters().collect::<Vec<_>>()) {
        let block = model.tensors.get_mut(parameter).unwrap();
        block.copy_from_slice(&numbers(block.len(), ties, seed));
    }
    model
}

/// What one batch is in both modes, with all latents dead: codes, those of AuxK by their gradients, reconstructions.
fn looked<B: Backend>(backend: &B, model: &Model, inputs: &[f32]) -> Vec<(HostCodes, Vec<f32>)> {
    let params = backend.params(model);
    let mut opt = backend.save(&backend.opt_state(&params));
    opt.idle.fill(99);
    let opt = backend.restore(&opt);
    let (mut batch, mut codes) = (backend.batch(), backend.codes());
    backend.load(Rows { inputs, targets: &[], weights: None }, &mut batch);
    let mut all = Vec::new();
    for mode in [Mode::Training, Mode::Inference] {
        backend.encode_select(&params, &opt, &batch, mode, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        all.push((backend.codes_of(&codes), backend.reconstruction_of(&batch, &codes)));
    }
    all
}

#[test]
fn parts_select_bit_for_bit_what_the_whole_does_and_reconstruct_up_to_the_order_of_a_sum() {
    let spec = Spec::plain(SHAPE, ROWS);
    for ties in [false, true] {
        let mut inputs = numbers(ROWS * SHAPE.n_p, ties, 77);
        inputs[5 * SHAPE.n_p..6 * SHAPE.n_p].fill(0.0);
        for k in [1, 6, 42, 43, 60] {
            for activation in
                [Activation::TopK { k }, Activation::TopKRelu { k }, Activation::BatchTopK { k: k.min(43) }]
            {
                let model = model(activation, ties);
                let alone = looked(&Cpu::new(spec.clone()), &model, &inputs);
                for ranks in [1, 2, 3, 4, 8] {
                    let found =
                        on_ranks(ranks, |rank| looked(&Sharded::new(rank, spec.clone(), Cpu::new), &model, &inputs));
                    for ((codes, x), (expected, y)) in found.iter().flatten().zip(alone.iter().cycle()) {
                        let case = format!("{activation:?}, {ranks} ranks, ties {ties}");
                        assert_eq!((&codes.offsets, &codes.latents), (&expected.offsets, &expected.latents), "{case}");
                        let same = codes.values.iter().zip(&expected.values).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{case}: other values");
                        // Sums of at most 43 + 10 terms below 8.
                        let apart = x.iter().zip(y).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(apart <= 53.0 * 8.0 * 53.0 * f32::EPSILON, "{case}: {apart:e}");
                        assert!(ranks > 1 || x == y, "{case}: one rank is no rank");
                    }
                }
            }
        }
    }
}

/// Steps on a batch from a state, on one rank or on several.
fn steps<B: Backend>(backend: &B, from: &(Model, HostOptState), inputs: &[f32], count: usize) -> (Model, HostOptState) {
    let (mut params, mut opt) = (backend.params(&from.0), backend.restore(&from.1));
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    backend.load(Rows { inputs, targets: &[], weights: None }, &mut batch);
    for _ in 0..count {
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        backend.step(&mut params, &mut opt, &codes, &mut grads);
    }
    assert_eq!(backend.failure(), None);
    (backend.model(&params), backend.save(&opt))
}

/// The largest difference of parameters, moments and counters.
fn apart(a: &(Model, HostOptState), b: &(Model, HostOptState)) -> f64 {
    assert_eq!((a.1.step, &a.1.idle), (b.1.step, &b.1.idle));
    let pairs = [(&a.0.tensors, &b.0.tensors), (&a.1.first, &b.1.first)];
    let numbers = |tensors: &crate::sdl::Tensors<f32>| {
        tensors.parameters().flat_map(|p| tensors.get(p).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let differences = pairs.iter().flat_map(|(a, b)| {
        numbers(a).into_iter().zip(numbers(b)).map(|(x, y)| f64::from((x - y).abs())).collect::<Vec<_>>()
    });
    differences.fold(0.0, f64::max)
}

#[test]
fn what_parts_have_saved_the_whole_goes_on_with_and_the_other_way_round() {
    for activation in activations() {
        let objective = Objective {
            aux: Some(AuxK { k: 3, weight: 0.1, dead_after: 20, target: AuxTarget::Residual }),
            scales: Scales::Prefixes { sizes: vec![10, 43], weights: vec![0.5, 1.0] },
            ..Objective::default()
        };
        let spec = Spec { objective, ..Spec::plain(SHAPE, ROWS) };
        let inputs = numbers(ROWS * SHAPE.n_p, false, 5);
        let model = model(activation, false);
        let alone = Cpu::new(spec.clone());
        let start = (model.clone(), alone.save(&alone.opt_state(&alone.params(&model))));
        let whole = steps(&alone, &start, &inputs, 3);
        let all = steps(&alone, &whole, &inputs, 2);
        for ranks in [2, 4] {
            let run = |from: &(Model, HostOptState), count: usize| {
                on_ranks(ranks, |rank| steps(&Sharded::new(rank, spec.clone(), Cpu::new), from, &inputs, count))
            };
            let parts = run(&start, 3).remove(0);
            // A state comes back as it was.
            assert!(run(&parts, 0).iter().all(|again| *again == parts));
            let then_whole = steps(&alone, &parts, &inputs, 2);
            let then_parts = run(&whole, 2).remove(0);
            for (found, how) in [(then_whole, "parts, then the whole"), (then_parts, "the whole, then parts")] {
                let apart = apart(&found, &all);
                assert!(apart < TOLERANCE, "{activation:?}, {ranks} ranks, {how}: {apart:e}");
            }
        }
    }
}

#[test]
fn anchors_prefixes_and_parameters_go_to_the_rank_that_has_the_latent() {
    let mut spec = Spec::plain(SHAPE, ROWS);
    spec.anchors.weight = 0.5;
    spec.anchors.latents = vec![30, 0, 14];
    spec.anchors.inputs = numbers(3 * SHAPE.n_p, false, 1);
    spec.anchors.targets = numbers(3 * SHAPE.n_r, false, 2);
    spec.objective.scales = Scales::Prefixes { sizes: vec![5, 20, 43], weights: vec![1.0; 3] };
    let own = super::sharded::part_of(1, 3, SHAPE.n_q);
    assert_eq!(own, 14..28);
    let part = super::sharded::spec_of(&spec, &own);
    assert_eq!((part.shape.n_q, part.anchors.latents.as_slice()), (14, &[0][..]));
    assert_eq!(part.anchors.inputs, spec.anchors.inputs[2 * SHAPE.n_p..]);
    assert_eq!(part.objective.scales, Scales::Prefixes { sizes: vec![0, 6, 14], weights: vec![1.0; 3] });
    let parts: Vec<_> = (0..7).flat_map(|rank| super::sharded::part_of(rank, 7, SHAPE.n_q)).collect();
    assert_eq!(parts, (0..SHAPE.n_q).collect::<Vec<_>>());
}

#[test]
fn faults_of_a_collective_are_noticed_by_parts_of_the_latents_too() {
    let training = Training::new(Activation::TopK { k: 6 });
    let alone = training.run(&Cpu::new(training.spec.clone()));
    for fault in [Fault::LeftOut, Fault::Mean] {
        let found = on(&training, 4, fault);
        let distance = distance(&found[0], &alone);
        assert!(distance > 30.0 * TOLERANCE, "{fault:?} is not noticed: {distance:e}");
        let failed = on_ranks(2, |rank: &Threads| {
            let collective = Faulty { rank, fault };
            let suite = || conformance::every(9, 0, |_| true, |spec| Sharded::new(&collective, spec, Cpu::new));
            catch_unwind(AssertUnwindSafe(suite)).is_err()
        });
        assert!(failed.iter().any(|failed| *failed), "{fault:?} passes the suite");
    }
    // An order of its own on each rank, or one that differs from run to run, changes bits.
    let found = on(&training, 4, Fault::OwnFirst);
    assert!(found.iter().any(|of| *of != found[0]));
    assert!(on(&training, 4, Fault::Arrival(2))[0] != on(&training, 4, Fault::None)[0]);
}

/// A rank that takes itself for the first one, once it knows its latents.
struct Leads<'a>(&'a Threads, Cell<bool>);

impl Collective for Leads<'_> {
    fn rank(&self) -> usize {
        if self.1.get() { 0 } else { self.0.rank() }
    }

    fn ranks(&self) -> usize {
        self.0.ranks()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.0.gather(own)
    }
}

impl Reaches<[f32], [bool]> for Leads<'_> {
    fn sum(&self, numbers: &mut [f32]) -> Result<(), CollectiveError> {
        self.0.sum(numbers)
    }

    fn any(&self, marks: &mut [bool]) -> Result<(), CollectiveError> {
        self.0.any(marks)
    }
}

#[test]
fn a_bias_and_a_target_that_several_ranks_count_are_noticed() {
    let training = Training::new(Activation::TopK { k: 6 });
    let alone = training.run(&Cpu::new(training.spec.clone()));
    let found = on_ranks(2, |rank| {
        let leads = Leads(rank, Cell::new(false));
        let backend = sharded(&leads, &training);
        leads.1.set(true);
        training.run(&backend)
    });
    assert!(distance(&found[0], &alone) > 30.0 * TOLERANCE);
}
