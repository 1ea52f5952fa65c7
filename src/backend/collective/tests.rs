//! Ranks against one rank: the conformance suite, sums that are exact, repeats, and faults that must be noticed.

use super::{Collective, CollectiveError, Ranked, Reaches, Threads, from_bytes, to_bytes};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, HostOptState, Mode, Observation, Optimizer, Rows, Rule, Spec, conformance};
use crate::bench::features::stream;
use crate::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Shape, Tensors};
use rand::RngExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

/// What each rank returns, in their order.
pub fn on_ranks<T: Send>(ranks: usize, work: impl Fn(&Threads) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let team = Threads::team(ranks).into_iter();
        let started: Vec<_> = team.map(|rank| scope.spawn(move || work(&rank))).collect();
        started.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

#[test]
fn sums_are_taken_in_the_order_of_ranks_at_any_length() {
    for ranks in [1, 2, 3, 4, 7] {
        for len in [0, 1, 2, 3, 13, 1000] {
            let given = |rank: usize| -> Vec<f32> {
                let mut rng = stream(rank as u64, "collective tests");
                (0..len).map(|_| (rng.random::<f32>() - 0.5) * 1e3_f32.powi(rng.random_range(-1..=1))).collect()
            };
            let mut expected = given(0);
            for rank in 1..ranks {
                expected.iter_mut().zip(given(rank)).for_each(|(sum, x)| *sum += x);
            }
            let found = on_ranks(ranks, |rank| {
                let mut numbers = given(rank.rank());
                // Ranks come at different times, and each call follows on the last one.
                thread::sleep(Duration::from_micros(200 * (rank.rank() * 3 % 4) as u64));
                let mut marks: Vec<bool> = (0..len).map(|k| k % 9 == rank.rank()).collect();
                rank.sum(&mut numbers[..]).expect("a sum");
                rank.any(&mut marks[..]).expect("marks");
                let names = rank.gather(&vec![rank.rank() as u8; rank.rank()]).expect("bytes");
                rank.barrier().expect("a meeting");
                (numbers, marks, names)
            });
            for (numbers, marks, names) in found {
                assert!(numbers.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{ranks} ranks, {len}");
                assert!(marks.iter().enumerate().all(|(k, mark)| *mark == (k % 9 < ranks)), "{ranks} ranks, {len}");
                assert_eq!(names, (0..ranks).map(|r| vec![r as u8; r]).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_rank_that_leaves_or_disagrees_is_an_error_for_the_others() {
    let left = on_ranks(3, |rank| {
        rank.barrier().expect("a meeting");
        if rank.rank() == 1 { Ok(Vec::new()) } else { rank.gather(b"x") }
    });
    for rank in [0, 2] {
        // Whoever has noticed it leaves as well.
        let error = left[rank].as_ref().expect_err("an error");
        assert!(matches!(error, CollectiveError::Left { .. }), "{error}");
    }
    let differ = on_ranks(2, |rank| rank.sum(&mut vec![1.0; 3 + rank.rank()][..]));
    assert!(differ.iter().any(|error| matches!(error, Err(CollectiveError::Differ { .. }))), "{differ:?}");
    assert!(differ.iter().all(Result::is_err), "{differ:?}");
}

#[test]
fn ranks_together_conform_as_one_backend_does() {
    // Some batches have fewer rows than there are ranks.
    on_ranks(2, |rank| conformance::suite(|spec| Ranked::new(rank, spec, Cpu::new)));
    on_ranks(4, |rank| conformance::suite_of(selects_in_batches, |spec| Ranked::new(rank, spec, Cpu::new)));
}

/// How far two trainings may be apart that round sums elsewhere. Adam moves a number by about η = 0.01 a step, whatever the size of its gradient,
/// so that an error of 2⁻²⁴ times the cancellation in a gradient, of up to 1e-3 where it is nearly 0, becomes that share of a step; 30 steps.
pub const TOLERANCE: f64 = 30.0 * 0.01 * 1e-3;

fn selects_in_batches(activation: Activation) -> bool {
    matches!(activation, Activation::BatchTopK { .. })
}

/// A training in a few steps.
pub struct Training {
    pub spec: Spec,
    pub model: Model,
    pub inputs: Vec<f32>,
    pub steps: usize,
}

/// Where it ends, and what the steps have shown.
pub type Trained = (Model, HostOptState, Vec<Observation>);

impl Training {
    pub const BATCH: usize = 16;

    /// Gaussian-like data, clipping, AuxK, biases.
    pub fn new(activation: Activation) -> Self {
        let shape = Shape { n_p: 24, n_r: 24, n_q: 96 };
        let objective = Objective {
            l1: if activation.is_sparse() { 0.0 } else { 0.01 },
            aux: Some(AuxK { k: 3, weight: 0.1, dead_after: 40, target: AuxTarget::Residual }),
            ..Objective::default()
        };
        let optimizer = Optimizer { learning_rate: 0.01, clip: 0.5, ..Optimizer::default() };
        let spec = Spec { objective, optimizer, unit_decoder: true, ..Spec::plain(shape, Self::BATCH) };
        let init = Init { encoder_bias: true, decoder_bias: true, input_bias: true, ..Init::default() };
        let mut rng = stream(5, "collective tests");
        let steps = 30;
        let inputs = (0..steps * Self::BATCH * shape.n_p).map(|_| rng.random::<f32>() - 0.5).collect();
        Self { model: init.model(shape, activation, 1), spec, inputs, steps }
    }

    /// Small integers, one step of gradient descent: every sum is exact, so that its order does not matter.
    pub fn exact() -> Self {
        let shape = Shape { n_p: 8, n_r: 8, n_q: 40 };
        let optimizer = Optimizer { rule: Rule::Sgd, beta_1: 0.5, learning_rate: 0.25, ..Optimizer::default() };
        let spec = Spec { optimizer, ..Spec::plain(shape, Self::BATCH) };
        let mut model = Init { decoder_bias: true, ..Init::default() }.model(shape, Activation::TopK { k: 5 }, 1);
        let mut rng = stream(6, "collective tests");
        for parameter in model.tensors.parameters().collect::<Vec<_>>() {
            for w in model.tensors.get_mut(parameter).into_iter().flatten() {
                *w = f32::from(rng.random_range(-2_i8..=2));
            }
        }
        let inputs = (0..Self::BATCH * shape.n_p).map(|_| f32::from(rng.random_range(-2_i8..=2))).collect();
        Self { model, spec, inputs, steps: 1 }
    }

    pub fn run<B: Backend>(&self, backend: &B) -> Trained {
        let mut params = backend.params(&self.model);
        let mut opt = backend.opt_state(&params);
        let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
        let mut seen = Vec::new();
        for step in 0..self.steps {
            // The last batch is short.
            let rows = if step > 0 && step + 1 == self.steps { 3 } else { Self::BATCH };
            let inputs = &self.inputs[step * Self::BATCH * self.spec.shape.n_p..][..rows * self.spec.shape.n_p];
            backend.load(Rows { inputs, targets: &[], weights: None }, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
            backend.step(&mut params, &mut opt, &codes, &mut grads);
            seen.push(backend.observe(&params, &codes, &grads));
        }
        assert_eq!(backend.failure(), None);
        (backend.model(&params), backend.save(&opt), seen)
    }

    /// On ranks whose collective has this fault.
    fn on(&self, ranks: usize, fault: Fault) -> Vec<Trained> {
        on_ranks(ranks, |rank| self.run(&Ranked::new(&Faulty { rank, fault }, self.spec.clone(), Cpu::new)))
    }
}

fn all_numbers(tensors: &Tensors<f32>) -> Vec<f32> {
    tensors.parameters().flat_map(|p| tensors.get(p).unwrap_or_default().to_vec()).collect()
}

/// Largest difference of two trainings: of parameters, and of losses relative to the first one.
pub fn distance(a: &Trained, b: &Trained) -> f64 {
    let parameters = all_numbers(&a.0.tensors).into_iter().zip(all_numbers(&b.0.tensors));
    let losses = a.2.iter().zip(&b.2).map(|(x, y)| (x.loss - y.loss).abs() / a.2[0].loss);
    parameters.map(|(x, y)| f64::from((x - y).abs())).chain(losses).fold(0.0, f64::max)
}

#[test]
fn exact_sums_have_the_bits_of_one_rank() {
    let training = Training::exact();
    let alone = training.run(&Cpu::new(training.spec.clone()));
    assert_ne!(alone.0, training.model);
    for ranks in [1, 2, 4] {
        for found in training.on(ranks, Fault::None) {
            assert_eq!(found, alone, "{ranks} ranks");
        }
    }
}

fn activations() -> [Activation; 4] {
    [
        Activation::TopK { k: 6 },
        Activation::BatchTopK { k: 6 },
        Activation::JumpRelu { theta: 0.05, bandwidth: 0.1 },
        Activation::Gated,
    ]
}

#[test]
fn any_number_of_ranks_trains_alike_and_each_the_same_bits_again() {
    for activation in activations() {
        let training = Training::new(activation);
        let alone = training.run(&Cpu::new(training.spec.clone()));
        let idle = |trained: &Trained| trained.1.idle.iter().filter(|idle| **idle >= 40).count();
        assert!(idle(&alone) > 0 || !activation.is_sparse(), "{activation:?}: dead latents for AuxK");
        assert!(alone.2.iter().any(|seen| seen.gradient_norm > 0.5), "{activation:?}: something to clip");
        for ranks in [1, 2, 4] {
            let found = training.on(ranks, Fault::None);
            for (rank, of) in found.iter().enumerate() {
                assert!(*of == found[0], "{activation:?}: rank {rank} of {ranks} differs from the first");
            }
            assert!(training.on(ranks, Fault::None)[0] == found[0], "{activation:?}, {ranks} ranks: other bits again");
            if ranks == 1 {
                assert!(found[0] == alone, "{activation:?}: one rank is no rank");
            }
            let distance = distance(&found[0], &alone);
            assert!(distance < TOLERANCE, "{activation:?}, {ranks} ranks: {distance:e}");
        }
    }
}

/// How a collective adds up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// As it should.
    None,
    /// The last rank is left out.
    LeftOut,
    /// The mean.
    Mean,
    /// Ranks are added from this one on, as if their time of arrival decided.
    Arrival(usize),
    /// Each rank adds its own numbers first.
    OwnFirst,
    /// A mark counts on its own rank only.
    OwnMarks,
}

pub struct Faulty<'a> {
    pub rank: &'a Threads,
    pub fault: Fault,
}

impl Collective for Faulty<'_> {
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

impl Reaches<[f32], [bool]> for Faulty<'_> {
    fn sum(&self, numbers: &mut [f32]) -> Result<(), CollectiveError> {
        let ranks = self.ranks();
        let (first, last) = match self.fault {
            Fault::None | Fault::OwnMarks => return self.rank.sum(numbers),
            Fault::LeftOut => (0, ranks - 1),
            Fault::Mean => (0, ranks),
            Fault::Arrival(first) => (first, first + ranks),
            Fault::OwnFirst => (self.rank(), self.rank() + ranks),
        };
        let all = self.gather(&to_bytes(numbers))?;
        numbers.fill(0.0);
        for rank in first..last {
            numbers.iter_mut().zip(from_bytes(&all[rank % ranks])).for_each(|(sum, x)| *sum += x);
        }
        if self.fault == Fault::Mean {
            numbers.iter_mut().for_each(|x| *x /= ranks as f32);
        }
        Ok(())
    }

    fn any(&self, marks: &mut [bool]) -> Result<(), CollectiveError> {
        if self.fault == Fault::OwnMarks { Ok(()) } else { self.rank.any(marks) }
    }
}

#[test]
fn faults_of_a_collective_are_noticed() {
    let training = Training::new(Activation::TopK { k: 6 });
    let alone = training.run(&Cpu::new(training.spec.clone()));
    let noticed = |fault: Fault| {
        let found = training.on(4, fault);
        let apart = found.iter().any(|of| *of != found[0]);
        (apart, distance(&found[0], &alone))
    };
    for fault in [Fault::LeftOut, Fault::Mean, Fault::OwnMarks] {
        let (apart, distance) = noticed(fault);
        assert!(apart || distance > 30.0 * TOLERANCE, "{fault:?} is not noticed: {distance:e}");
    }
    assert!(noticed(Fault::OwnFirst).0, "an order of its own on each rank");
    // An order that differs from run to run changes bits, which is what the comparison of repeats looks at.
    assert!(training.on(4, Fault::Arrival(0))[0] == training.on(4, Fault::None)[0]);
    assert!(training.on(4, Fault::Arrival(2))[0] != training.on(4, Fault::None)[0]);
    // The suite notices them as well.
    for fault in [Fault::LeftOut, Fault::Mean, Fault::OwnMarks] {
        let failed = on_ranks(2, |rank| {
            let collective = Faulty { rank, fault };
            let suite = || conformance::suite_of(selects_in_batches, |spec| Ranked::new(&collective, spec, Cpu::new));
            catch_unwind(AssertUnwindSafe(suite)).is_err()
        });
        assert!(failed.iter().any(|failed| *failed), "{fault:?} passes the suite");
    }
}
