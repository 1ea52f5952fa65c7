//! The CUDA backend as one rank of several, with the collective of threads: memory of a device is copied to the host and back.

#[path = "common/integers.rs"]
mod integers;

use integers::integers;
use sdlab_kernels::backend::collective::{Collective, CollectiveError, Ranked, Reaches, Sharded, Threads};
use sdlab_kernels::backend::cuda::checked::{Array, Checked, Number};
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::backend::{Backend, HostCodes, HostOptState, Mode, Optimizer, Rows, Rule, Spec, conformance};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Scales, Shape};
use sdlab_kernels::shim::Shim;
use std::cell::Cell;
use std::thread;

/// Reaches memory of the stand-in, which any of its devices can copy.
struct Copied<'a> {
    rank: &'a Threads,
    device: Checked<Shim>,
}

impl<'a> Copied<'a> {
    fn of(rank: &'a Threads) -> Self {
        Self { rank, device: Checked::new(Shim::new(32, 0)) }
    }
}

/// A library that is given addresses cannot be called without memory, while the other ranks wait for the call.
fn has_memory<T: Number>(array: &Array<Shim, T>) -> Result<(), CollectiveError> {
    if array.memory().is_some() { Ok(()) } else { Err(CollectiveError::Failed { reason: "no memory".to_owned() }) }
}

impl Collective for Copied<'_> {
    fn rank(&self) -> usize {
        self.rank.rank()
    }

    fn ranks(&self) -> usize {
        self.rank.ranks()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.rank.gather(own)
    }
}

impl Reaches<Array<Shim, f32>, Array<Shim, u32>> for Copied<'_> {
    fn sum(&self, numbers: &mut Array<Shim, f32>) -> Result<(), CollectiveError> {
        has_memory(numbers)?;
        let mut host = self.device.download(numbers, numbers.len());
        self.rank.sum(&mut host[..])?;
        self.device.upload(&host, numbers);
        Ok(())
    }

    fn any(&self, marks: &mut Array<Shim, u32>) -> Result<(), CollectiveError> {
        has_memory(marks)?;
        let mut host: Vec<bool> = self.device.download(marks, marks.len()).into_iter().map(|mark| mark != 0).collect();
        self.rank.any(&mut host[..])?;
        self.device.upload(&host.into_iter().map(u32::from).collect::<Vec<_>>(), marks);
        Ok(())
    }
}

/// What each rank returns, in their order.
fn on_ranks<T: Send>(ranks: usize, work: impl Fn(&Copied<'_>) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let team = Threads::team(ranks).into_iter();
        let started: Vec<_> = team.map(|rank| scope.spawn(move || work(&Copied::of(&rank)))).collect();
        started.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// What the ranks have parts of.
#[derive(Clone, Copy, Debug)]
enum Shares {
    Batch,
    Latents,
}

/// Every so many-th case of the suite, from this one on.
fn conform(shares: Shares, ranks: usize, every: usize, from: usize) {
    fn suite<B: Backend>(every: usize, from: usize, make: impl Fn(Spec) -> B) {
        conformance::every(every, from, |_| true, &make);
        conformance::rounded(10 * every, from, |_| true, &make);
    }
    on_ranks(ranks, |collective| {
        let seeds = Cell::new(7 + collective.rank() as u64);
        let options = Options { encoder: Encoder::Tf32, candidates: Some(12), ..Options::default() };
        let own = |part| {
            // Ranks have schedules of their own, and agree nevertheless.
            seeds.set(seeds.get() + 1001);
            Cuda::on(Shim::new(64, seeds.get()), part, options)
        };
        match shares {
            Shares::Batch => suite(every, from, |spec| Ranked::new(collective, spec, own)),
            Shares::Latents => suite(every, from, |spec| Sharded::new(collective, spec, own)),
        }
    });
}

#[test]
fn one_rank_conforms_as_one_device_does() {
    conform(Shares::Batch, 1, 7, 2);
}

#[test]
fn two_ranks_conform_as_one_device_does() {
    conform(Shares::Batch, 2, 3, 0);
}

#[test]
fn four_ranks_conform_as_one_device_does() {
    // Some batches have fewer rows than there are ranks.
    conform(Shares::Batch, 4, 5, 4);
}

const SHAPE: Shape = Shape { n_p: 8, n_r: 8, n_q: 40 };
const BATCH: usize = 14;

/// Codes, and everything after one step of gradient descent. Every sum is exact, and entries are equal to many others, of the same row and of rows
/// on other ranks.
fn step<B: Backend>(backend: &B, activation: Activation, rows: usize) -> (HostCodes, Model, HostOptState) {
    let mut model = Init { tied: false, decoder_bias: true, ..Init::default() }.model(SHAPE, activation, 1);
    for (seed, parameter) in (1..).zip(model.tensors.parameters().collect::<Vec<_>>()) {
        let numbers = model.tensors.get_mut(parameter).expect("a parameter of the model");
        numbers.copy_from_slice(&integers(numbers.len(), 2, 1000 * seed));
    }
    let inputs = integers(rows * SHAPE.n_p, 2, 5);
    let mut params = backend.params(&model);
    let mut opt = backend.save(&backend.opt_state(&params));
    // Every other latent is dead.
    opt.idle.iter_mut().step_by(2).for_each(|idle| *idle = 50);
    let mut opt = backend.restore(&opt);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    // Weights that are powers of two.
    let weights = vec![0.125; rows];
    backend.load(Rows { inputs: &inputs, targets: &[], weights: Some(&weights) }, &mut batch);
    backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
    let found = backend.codes_of(&codes);
    backend.decode_residual(&params, &batch, &mut codes);
    backend.backward(&params, &batch, &mut codes, &mut grads);
    backend.step(&mut params, &mut opt, &codes, &mut grads);
    assert_eq!(backend.failure(), None);
    (found, backend.model(&params), backend.save(&opt))
}

#[test]
fn a_batch_on_several_ranks_has_the_first_entries_and_the_threshold_of_one_device_bit_for_bit() {
    let mut spec = Spec::plain(SHAPE, BATCH);
    spec.optimizer = Optimizer { rule: Rule::Sgd, beta_1: 0.5, learning_rate: 0.25, ..Optimizer::default() };
    // Some ranks have no rows; k from one that leaves many ties over to all entries.
    for (k, rows) in [(1, BATCH), (3, BATCH), (5, 9), (2, 3), (40, BATCH), (50, 5)] {
        let alone =
            step(&Cuda::on(Shim::new(64, 3), spec.clone(), Options::default()), Activation::BatchTopK { k }, rows);
        let threshold = alone.1.threshold.expect("something is kept");
        // The cut goes through entries that are equal, or there is none.
        let kept = |codes: &HostCodes| codes.values.iter().filter(|z| **z == threshold).count();
        assert!(kept(&alone.0) > 0 && alone.0.latents.len() <= k.min(40) * rows);
        for ranks in [1, 2, 4] {
            let found = on_ranks(ranks, |collective| {
                let seed = 11 + 5 * collective.rank() as u64;
                let make = |part| Cuda::on(Shim::new(32, seed), part, Options::default());
                step(&Ranked::new(collective, spec.clone(), make), Activation::BatchTopK { k }, rows)
            });
            for found in found {
                assert!(found == alone, "k = {k}, {rows} rows, {ranks} ranks: {found:?}\ninstead of\n{alone:?}");
            }
        }
    }
}

#[test]
fn one_part_of_the_latents_conforms_as_one_device_does() {
    conform(Shares::Latents, 1, 7, 3);
}

#[test]
fn two_parts_of_the_latents_conform_as_one_device_does() {
    conform(Shares::Latents, 2, 4, 1);
}

#[test]
fn four_parts_of_the_latents_conform_as_one_device_does() {
    // Some models have fewer latents than there are ranks.
    conform(Shares::Latents, 4, 6, 2);
}

#[test]
fn parts_of_the_latents_select_and_step_as_one_device_does_bit_for_bit_where_sums_are_exact() {
    let aux = Some(AuxK { k: 3, weight: 0.5, dead_after: 40, target: AuxTarget::Residual });
    for (activation, scales) in [
        (Activation::TopK { k: 5 }, Scales::TopK { ks: vec![2, 5], weights: vec![1.0, 2.0] }),
        (Activation::TopK { k: 40 }, Scales::Single),
        (Activation::TopKRelu { k: 7 }, Scales::Prefixes { sizes: vec![13, 40], weights: vec![1.0, 1.0] }),
        (Activation::BatchTopK { k: 3 }, Scales::Single),
        (Activation::BatchTopK { k: 5 }, Scales::Prefixes { sizes: vec![20, 40], weights: vec![1.0, 1.0] }),
        (Activation::Relu, Scales::Single),
    ] {
        let mut spec = Spec::plain(SHAPE, BATCH);
        spec.objective = Objective { aux, scales, ..Objective::default() };
        spec.optimizer = Optimizer { rule: Rule::Sgd, beta_1: 0.5, learning_rate: 0.25, ..Optimizer::default() };
        for rows in [BATCH, 9] {
            let alone = step(&Cuda::on(Shim::new(64, 3), spec.clone(), Options::default()), activation, rows);
            for ranks in [1, 2, 3, 4] {
                let found = on_ranks(ranks, |collective| {
                    let seed = 11 + 5 * collective.rank() as u64;
                    let make = |part| Cuda::on(Shim::new(32, seed), part, Options::default());
                    step(&Sharded::new(collective, spec.clone(), make), activation, rows)
                });
                for found in found {
                    assert!(
                        found == alone,
                        "{activation:?}, {rows} rows, {ranks} ranks: {found:?}\ninstead of\n{alone:?}"
                    );
                }
            }
        }
    }
}

/// Steps, at most three, and what has gone wrong; `no_memory` is told when the backend is made and when everything is but a batch.
fn until_it_fails<B: Backend>(backend: &B, model: &Model, no_memory: &dyn Fn(usize)) -> (usize, Option<String>) {
    no_memory(0);
    let mut params = backend.params(model);
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    no_memory(1);
    let inputs = integers(BATCH * SHAPE.n_p, 2, 5);
    let mut steps = 0;
    while steps < 3 && !backend.agreed(false) {
        backend.load(Rows { inputs: &inputs, targets: &[], weights: None }, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        backend.step(&mut params, &mut opt, &codes, &mut grads);
        backend.observe(&params, &codes, &grads);
        steps += 1;
    }
    (steps, backend.failure())
}

#[test]
fn when_the_device_of_one_rank_has_no_memory_left_all_ranks_end_with_an_error() {
    for (activation, shares) in [
        (Activation::TopK { k: 3 }, Shares::Batch),
        (Activation::BatchTopK { k: 3 }, Shares::Batch),
        (Activation::TopK { k: 3 }, Shares::Latents),
        (Activation::Relu, Shares::Latents),
    ] {
        let model = Init::default().model(SHAPE, activation, 1);
        // From the beginning, after all but the room for a batch, which is made at the first step, or never.
        for fails_after in [Some(0), Some(1), None] {
            let ended = on_ranks(3, |collective| {
                let shim = Shim::new(32, 1);
                let left = shim.left();
                let no_memory = |now: usize| {
                    if fails_after == Some(now) && collective.rank() == 1 {
                        left.set(0);
                    }
                };
                let make = |part| Cuda::on(shim, part, Options::default());
                let (spec, no_memory): (_, &dyn Fn(usize)) = (Spec::plain(SHAPE, BATCH), &no_memory);
                match shares {
                    Shares::Batch => until_it_fails(&Ranked::new(collective, spec, make), &model, no_memory),
                    Shares::Latents => until_it_fails(&Sharded::new(collective, spec, make), &model, no_memory),
                }
            });
            for (rank, (steps, failure)) in ended.into_iter().enumerate() {
                let case = format!("{activation:?}, shares {shares:?}, {fails_after:?}, rank {rank}");
                assert_eq!(steps, fails_after.unwrap_or(3), "{case}");
                let expected = if rank == 1 { "bytes cannot be allocated" } else { "rank 1 has failed" };
                match failure {
                    Some(failure) => assert!(fails_after.is_some() && failure.contains(expected), "{case}: {failure}"),
                    None => assert!(fails_after.is_none(), "{case}: no error"),
                }
            }
        }
    }
}
