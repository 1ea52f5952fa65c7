//! A step has the same bits whatever the order of threads and blocks: every activation with everything that an objective can hold. And
//! a part of the suite under many schedules, so that all kernels run beside the reference.

use sdlab_kernels::backend::collective::{Collective, CollectiveError, Ranked, Reaches, Sharded};
use sdlab_kernels::backend::cuda::checked::Array;
use sdlab_kernels::backend::cuda::kernels::signatures;
use sdlab_kernels::backend::cuda::metrics::Directions;
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::backend::{Backend, Gather, HostOptState, Mode, Moments, Rows, Spec, conformance};
use sdlab_kernels::sdl::resampling::passes::{Of, Tables};
use sdlab_kernels::sdl::{Activation, Anchors, AuxK, AuxTarget, Init, Model, Objective, Scales, Shape, Tensors};
use sdlab_kernels::shim::{Shim, launched};
use std::cell::Cell;

const SHAPE: Shape = Shape { n_p: 37, n_r: 21, n_q: 75 };
const BATCH: usize = 35;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|k| (k.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) as f32 * 1e-7).sin()).collect()
}

fn spec(activation: Activation, (moments, gather): (Moments, Gather)) -> Spec {
    let ranked = matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. });
    let scales = if ranked {
        Scales::TopK { ks: vec![1, 4, 7], weights: vec![0.5, 1.0, 0.25] }
    } else {
        Scales::Prefixes { sizes: vec![20, 75], weights: vec![0.5, 1.0] }
    };
    let mut spec = Spec::plain(SHAPE, BATCH);
    spec.objective = Objective {
        l1: 0.1,
        l1_by_decoder_norm: true,
        l0: 0.05,
        aux: Some(AuxK { k: 5, weight: 0.3, dead_after: 10, target: AuxTarget::Residual }),
        scales,
    };
    spec.anchors = Anchors::first(0.2, numbers(3 * 37, 5), numbers(3 * 21, 6), SHAPE).expect("three anchors");
    spec.unit_decoder = true;
    spec.reconstructs_its_input = false;
    spec.optimizer.clip = 0.5;
    spec.moments = moments;
    spec.gather = gather;
    spec
}

fn trained(
    activation: Activation,
    stored: (Moments, Gather),
    encoder: Encoder,
    schedule: u64,
) -> (Model, HostOptState) {
    let init =
        Init { tied: false, encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    // Screens have room for few candidates, so that some rows are scored in full.
    let options = Options { encoder, candidates: Some(16), ..Options::default() };
    let backend = Cuda::on(Shim::new(64, schedule), spec(activation, stored), options);
    let model = init.model(SHAPE, activation, 3);
    let mut params = backend.params(&model);
    let mut opt = backend.restore(&HostOptState {
        step: 0,
        warm_up: Default::default(),
        first: Tensors::zeros_like(&model.tensors),
        second: Some(Tensors::zeros_like(&model.tensors)),
        idle: (0..75).map(|i| i % 15).collect(),
    });
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    for step in 0..2 {
        let rows = BATCH - step as usize;
        let (inputs, targets) = (numbers(rows * 37, step), numbers(rows * 21, step + 10));
        backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        backend.step(&mut params, &mut opt, &codes, &mut grads);
    }
    assert_eq!(backend.failure(), None);
    (backend.model(&params), backend.save(&opt))
}

#[test]
fn a_step_has_the_same_bits_under_every_schedule_and_every_screen() {
    for activation in [
        Activation::Relu,
        Activation::JumpRelu { theta: 0.1, bandwidth: 0.3 },
        Activation::TopK { k: 7 },
        Activation::TopKRelu { k: 7 },
        Activation::BatchTopK { k: 7 },
        Activation::Gated,
    ] {
        let expected = trained(activation, (Moments::F32, Gather::F32), Encoder::Exact, 0);
        let moved = expected
            .1
            .first
            .parameters()
            .all(|p| expected.1.first.get(p).unwrap_or_default().iter().any(|m| *m != 0.0));
        assert!(moved, "{activation:?}: every parameter has a gradient");
        let [rounded, gathered] = [(Moments::Bf16, Gather::F32), (Moments::F32, Gather::Bf16)]
            .map(|stored| trained(activation, stored, Encoder::Exact, 0));
        for other in [&rounded, &gathered] {
            assert!(other.1.first != expected.1.first && other.1.second != expected.1.second, "{activation:?}");
        }
        for schedule in 1..=8 {
            let encoder = [Encoder::Exact, Encoder::F32, Encoder::Tf32, Encoder::Bf16][schedule as usize % 4];
            let other = if schedule % 2 == 0 {
                ((Moments::Bf16, Gather::F32), &rounded)
            } else {
                ((Moments::F32, Gather::Bf16), &gathered)
            };
            for (stored, expected) in [((Moments::F32, Gather::F32), &expected), other] {
                let found = trained(activation, stored, encoder, 1_000_003 * schedule);
                assert!(found == *expected, "{activation:?}, {stored:?}, schedule {schedule}, {encoder:?}");
            }
        }
    }
}

/// The only rank.
struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        Ok(vec![own.to_vec()])
    }
}

impl Reaches<Array<Shim, f32>, Array<Shim, u32>> for Alone {
    fn sum(&self, _: &mut Array<Shim, f32>) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn any(&self, _: &mut Array<Shim, u32>) -> Result<(), CollectiveError> {
        Ok(())
    }
}

#[test]
fn a_part_of_the_suite_holds_under_many_schedules_and_every_kernel_runs() {
    // With AddressSanitizer less of it.
    let step = if cfg!(feature = "address") { 24 } else { 12 };
    for schedule in 0..8_u64 {
        let encoder = [Encoder::Tf32, Encoder::Exact, Encoder::Bf16, Encoder::F32][schedule as usize % 4];
        let seeds = Cell::new(schedule);
        let make = |spec: Spec| {
            seeds.set(seeds.get() + 1001);
            Cuda::on(Shim::new(64, seeds.get()), spec, Options { encoder, candidates: Some(16), ..Options::default() })
        };
        // Ranks gather in bf16 as one device does.
        match schedule {
            5 => conformance::gathered(2 * step, 5, |_| true, |spec| Sharded::new(&Alone, spec, make)),
            6 => conformance::gathered(2 * step, 6, |_| true, |spec| Ranked::new(&Alone, spec, make)),
            _ => {}
        }
        if schedule < 4 {
            conformance::every(step, schedule as usize, |_| true, make);
            conformance::rounded(step, 4 + schedule as usize, |_| true, make);
        } else if schedule % 2 == 0 {
            conformance::every(step, schedule as usize, |_| true, |spec| Ranked::new(&Alone, spec, make));
        } else {
            conformance::every(step, schedule as usize, |_| true, |spec| Sharded::new(&Alone, spec, make));
        }
    }
    let backend = Cuda::on(Shim::new(64, 1), Spec::plain(SHAPE, BATCH), Options::default());
    let params = backend.params(&Init::default().model(SHAPE, Activation::Relu, 1));
    // What it finds is compared elsewhere.
    assert_eq!(backend.best_matches(&params, Directions::Decoder, &numbers(3 * SHAPE.n_r, 1), true).len(), 3);
    let tables = Tables { rows: 2, widths: [3, 1], inputs: vec![1.0; 6], missing: vec![1.0; 2] };
    let passes = backend.passes(&tables).expect("passes on the device");
    assert_eq!(passes.products(Of::Inputs, &[vec![2.0; 3]]), [[6.0; 2]]);
    assert_eq!(passes.sums(Of::Missing, &[vec![2.0; 2]]), [[4.0]]);
    // Lists are cut where a batch has more rows than a piece has codes. What comes out is compared elsewhere.
    let shape = Shape { n_p: 5, n_r: 5, n_q: 3 };
    let backend = Cuda::on(Shim::new(64, 1), Spec::plain(shape, 150), Options::default());
    let params = backend.params(&Init::default().model(shape, Activation::TopK { k: 3 }, 1));
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    backend.load(Rows { inputs: &numbers(150 * 5, 1), targets: &[], weights: None }, &mut batch);
    backend.encode_select(&params, &backend.opt_state(&params), &batch, Mode::Training, &mut codes);
    backend.decode_residual(&params, &batch, &mut codes);
    backend.backward(&params, &batch, &mut codes, &mut grads);
    assert_eq!(backend.failure(), None);
    let (ran, all) = (launched(), signatures());
    let idle: Vec<_> = all.keys().filter(|name| !ran.contains(*name)).collect();
    assert!(idle.is_empty(), "kernels that nothing launches: {idle:?}");
}
