//! How much memory of a device a training takes, known before any is taken.

use super::Options;
use super::device::Precision;
use super::encode::{has_lanes, most_candidates, precision, product as dense_product, stride};
use super::raw::WORKSPACE;
use super::state::{PART, PIECE, ROWS, SQUARES, STRIPE};
use crate::backend::{Gather, Moments, Rule, Spec};
use crate::sdl::{Activation, Parameter, Shape};

/// Where the samples of a training come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    /// Drawn on the device, of so many features.
    Drawn(usize),
    /// Of the host, copied while the step before still computes.
    Host,
}

/// Bytes of a training on one device: all that is allocated at its start and by its first step, for one rank. What the driver takes for itself and
/// for the kernels comes on top, some hundred megabytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Parameters, and what there is of every one or of every latent: moments, a gradient, encoder and decoder in bf16, counters, marks.
    pub model: u64,
    /// A batch, its scores, its codes and its residuals.
    pub batch: u64,
    /// Features that samples are drawn from, and what cuBLASLt works with.
    pub beside: u64,
    /// A second copy of parameters and moments, while latents are moved.
    pub moved: u64,
}

impl Memory {
    /// Bytes from the first step on.
    pub fn training(self) -> u64 {
        self.model.saturating_add(self.batch).saturating_add(self.beside)
    }

    /// Bytes while latents are moved, if they are.
    pub fn most(self) -> u64 {
        self.training().saturating_add(self.moved)
    }

    /// Of a training with this part of a batch.
    pub fn of(
        spec: &Spec,
        options: &Options,
        activation: Activation,
        parameters: &[Parameter],
        samples: Samples,
    ) -> Self {
        let Shape { n_p, n_r, n_q } = spec.shape;
        let [n_p, n_r, n_q, rows] = [n_p, n_r, n_q, spec.batch].map(|n| n as u64);
        let has = |parameter| parameters.contains(&parameter);
        let size = |parameter: &Parameter| {
            let (rows, columns) = parameter.size(spec.shape);
            product(&[rows as u64, columns as u64])
        };
        let numbers = sum(&parameters.iter().map(size).collect::<Vec<_>>());
        let moments = if spec.optimizer.rule == Rule::Sgd { 1 } else { 2 };
        let of_moment = if spec.moments == Moments::Bf16 { HALF } else { F32 };
        let state = product(&[numbers, sum(&[F32, product(&[moments, of_moment])])]);
        let half = if precision(spec, *options) == Some(Precision::Bf16) { product(&[HALF, n_q, n_p]) } else { 0 };
        let columns = product(&[HALF, n_q, packed(spec, n_r)]);
        // Norms, marks, counters; five arrays of what depends on the activation; sums, spare and live of a gradient, and its list of codes.
        let of_latent = sum(&[F32, WORD, 5 * F32, 4 * F32, if has(Parameter::EncoderBias) { 0 } else { F32 }]);
        let others = numbers.saturating_sub(product(&[n_q, sum(&[n_p, n_r])]));
        let squares = sum(&[n_q, others.div_ceil(SQUARES as u64)]);
        let partial = product(&[n_q.div_ceil(ROWS as u64), n_p]).max(product(&[rows.div_ceil(ROWS as u64), n_r]));
        let anchors = product(&[spec.anchors.latents.len() as u64, F32, sum(&[1, n_p, n_r])]);
        let model = sum(&[
            state,
            product(&[F32, numbers]),
            half,
            columns,
            product(&[n_q, of_latent]),
            product(&[WORD, squares]),
            product(&[F32, partial]),
            anchors,
        ]);
        let batch = sum(&[
            rows_of(spec, options, activation, parameters, samples),
            lanes(spec, activation),
            // Sums of pieces of long lists, their totals, and where they are.
            if spec.batch > PIECE { product(&[rows, F32, sum(&[n_p, n_r, 5 + 3])]) } else { 0 },
            sets(spec, activation).iter().map(|stride| set(n_q, rows, *stride)).fold(0, u64::saturating_add),
        ]);
        let drawn = match samples {
            Samples::Drawn(n) => {
                let targets = if spec.reconstructs_its_input { 0 } else { n_r };
                product(&[n as u64, sum(&[2 * WORD, product(&[F32, sum(&[n_p, targets])])])])
            }
            Samples::Host => 0,
        };
        let beside = sum(&[drawn, WORKSPACE as u64]);
        Self { model, batch, beside, moved: sum(&[state, half, columns, product(&[n_q, sum(&[2 * F32, WORD])])]) }
    }
}

const F32: u64 = size_of::<f32>() as u64;
const HALF: u64 = size_of::<u16>() as u64;
const WORD: u64 = size_of::<u64>() as u64;

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor))
}

fn sum(terms: &[u64]) -> u64 {
    terms.iter().fold(0, |sum: u64, term| sum.saturating_add(*term))
}

/// Numbers of a row of n that is gathered in bf16, or none.
fn packed(spec: &Spec, n: u64) -> u64 {
    let stripe = STRIPE as u64;
    if spec.gather == Gather::Bf16 { n.div_ceil(stripe).saturating_mul(stripe) } else { 0 }
}

/// What a batch has of every row, but for its codes by latent.
fn rows_of(spec: &Spec, options: &Options, activation: Activation, parameters: &[Parameter], samples: Samples) -> u64 {
    let Shape { n_p, n_r, n_q } = spec.shape;
    let [n_p, n_r, n_q] = [n_p, n_r, n_q].map(|n| n as u64);
    let has = |parameter, count| if parameters.contains(&parameter) { count } else { 0 };
    let dense = dense_product(spec, *options, activation);
    let own = sum(&[n_p, if spec.reconstructs_its_input { 0 } else { n_r }]);
    // The next samples, beside those of this step.
    let inputs = if samples == Samples::Host { product(&[2, own]) } else { own };
    let parts = spec.objective.scales.weights().len() as u64;
    // Residuals of gates and of dead latents.
    let further = u64::from(activation == Activation::Gated) + u64::from(spec.objective.aux.is_some());
    let ks = [activation.k(), spec.objective.aux.map(|aux| aux.k)].map(|k| k.filter(|_| dense.is_some()));
    let list = |k: &usize| sum(&[product(&[2 * F32, most_candidates(spec, *options, *k) as u64]), 2 * F32]);
    let candidates = ks.iter().flatten().map(list).fold(0, u64::saturating_add);
    let half = if dense == Some(Precision::Bf16) { product(&[HALF, n_p]) } else { 0 };
    let gates = if activation == Activation::Gated { product(&[2 * F32, n_q]) } else { 0 };
    let residuals = product(&[2 * F32, n_r, parts + further]);
    let own_gates = u64::from(activation == Activation::Gated);
    let gathered = sum(&[packed(spec, n_p), product(&[packed(spec, n_r), sum(&[parts, own_gates])])]);
    let linear = sum(&[has(Parameter::InputBias, n_p), has(Parameter::Skip, n_r)]);
    let numbers = product(&[F32, sum(&[inputs, n_q, linear])]);
    // Weights, indices, norms, ties, penalties, counts, squares.
    let small = sum(&[WORD, 6 * F32, product(&[F32, parts + further])]);
    product(&[
        spec.batch as u64,
        sum(&[numbers, residuals, candidates, half, product(&[HALF, gathered]), gates, small]),
    ])
}

/// What scores of whole rows are computed from.
fn lanes(spec: &Spec, activation: Activation) -> u64 {
    let Shape { n_p, n_q, .. } = spec.shape;
    let strides = [spec.batch, n_q.min(PART)].map(|rows| (rows as u64).div_ceil(128).saturating_mul(128));
    let columns = (n_p as u64).div_ceil(64).saturating_mul(64);
    let bytes = sum(&[product(&[F32, columns, sum(&strides)]), product(&[F32, spec.batch as u64])]);
    if has_lanes(spec, activation) { bytes } else { 0 }
}

/// Room of a row in each set of codes.
fn sets(spec: &Spec, activation: Activation) -> Vec<u64> {
    let n_q = spec.shape.n_q;
    let band = matches!(activation, Activation::JumpRelu { .. }).then_some(n_q);
    let aux = spec.objective.aux.map(|aux| aux.k.min(n_q));
    [Some(stride(activation, n_q)), band, aux].into_iter().flatten().map(|stride| stride as u64).collect()
}

/// A set of codes by row and by latent: latents, values, levels, rows and places; bits; counts, starts.
fn set(n_q: u64, rows: u64, stride: u64) -> u64 {
    let bits = product(&[n_q, rows.div_ceil(32), F32]);
    sum(&[product(&[rows, stride, 4 * F32 + WORD]), bits, product(&[rows, F32]), product(&[n_q, 2 * F32])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::device::{Argument, Device, DeviceError, Product};
    use crate::backend::cuda::{Cuda, Encoder};
    use crate::backend::{Backend, Mode, Rows};
    use crate::bench::config::BenchConfig;
    use crate::bench::dataset::Bench;
    use crate::sdl::{Anchors, AuxK, AuxTarget, Init, Scales};
    use std::cell::Cell;
    use std::rc::Rc;

    /// A device that only counts what it is asked for.
    #[derive(Default)]
    struct Counter(Rc<Cell<u64>>);

    struct Counted(Rc<Cell<u64>>, u64);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - self.1);
        }
    }

    impl Device for Counter {
        type Memory = Counted;
        type Staging = ();

        fn describe(&self) -> String {
            "counter".to_owned()
        }
        fn width(&self) -> u32 {
            256
        }
        fn allocate(&self, bytes: usize) -> Result<Counted, DeviceError> {
            self.0.set(self.0.get() + bytes as u64);
            Ok(Counted(Rc::clone(&self.0), bytes as u64))
        }
        fn upload(&self, _: &[u8], _: &Counted) -> Result<(), DeviceError> {
            Ok(())
        }
        fn download(&self, _: &Counted, bytes: &mut [u8]) -> Result<(), DeviceError> {
            bytes.fill(0);
            Ok(())
        }
        fn staging(&self, _: usize) -> Result<(), DeviceError> {
            Ok(())
        }
        fn stage(&self, (): &(), _: &[(&[u8], &Counted)]) -> Result<(), DeviceError> {
            Ok(())
        }
        fn left(&self, (): &()) -> Result<(), DeviceError> {
            Ok(())
        }
        fn fill(&self, _: &Counted, _: u8, _: usize) -> Result<(), DeviceError> {
            Ok(())
        }
        fn launch(&self, _: &str, _: [u32; 3], _: &[Argument<'_, Counted>]) -> Result<(), DeviceError> {
            Ok(())
        }
        fn product(&self, _: &Product<'_, Counted>) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    /// Bytes that a step asks for, and what was said before.
    fn compared(spec: &Spec, options: Options, activation: Activation, init: &Init, drawn: bool) -> [u64; 2] {
        let shape = spec.shape;
        let counter = Counter::default();
        let held = Rc::clone(&counter.0);
        let backend = Cuda::on(counter, spec.clone(), options);
        let mut params = backend.params(&init.model(shape, activation, 0));
        let mut opt = backend.opt_state(&params);
        let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
        let samples = if drawn {
            let (n, n_p) = (100, shape.n_p);
            let config = BenchConfig { n, n_p, interference: 0.9, ..BenchConfig::default() };
            let bench = Bench::generate(&config).unwrap();
            backend.sample(&bench, &(0..spec.batch as u64).collect::<Vec<_>>(), &mut batch);
            Samples::Drawn(n)
        } else {
            let [inputs, targets] = [shape.n_p, shape.n_r].map(|n| vec![0.0; n * spec.batch]);
            backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
            Samples::Host
        };
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        backend.step(&mut params, &mut opt, &codes, &mut grads);
        assert_eq!(backend.failure(), None);
        let memory = Memory::of(spec, &options, activation, &init.parameters(&activation), samples);
        [held.get() + WORKSPACE as u64, memory.training()]
    }

    #[test]
    fn what_a_training_will_take_is_what_it_asks_for() {
        let shape = Shape { n_p: 96, n_r: 96, n_q: 3000 };
        let full = Init { input_bias: true, skip: true, tied: false, ..Init::default() };
        let aux = Some(AuxK { k: 24, weight: 0.1, dead_after: 10, target: AuxTarget::Residual });
        for encoder in [Encoder::Exact, Encoder::Tf32, Encoder::Bf16] {
            for activation in [
                Activation::TopK { k: 16 },
                Activation::TopKRelu { k: 16 },
                Activation::BatchTopK { k: 16 },
                Activation::JumpRelu { theta: 0.1, bandwidth: 0.1 },
                Activation::Gated,
                Activation::Relu,
            ] {
                let options = Options { encoder, ..Options::default() };
                let plain = Spec::plain(shape, 700);
                let mut more = Spec::plain(Shape { n_r: 60, ..shape }, 700);
                more.reconstructs_its_input = false;
                more.objective.aux = aux;
                more.objective.scales = Scales::Prefixes { sizes: vec![1000, 3000], weights: vec![1.0, 1.0] };
                more.anchors = Anchors {
                    latents: (0..50).collect(),
                    inputs: vec![0.1; 50 * 96],
                    targets: vec![0.1; 50 * 60],
                    weight: 0.1,
                    features: Vec::new(),
                };
                let mut halves = plain.clone();
                halves.moments = Moments::Bf16;
                let mut gathered = plain.clone();
                gathered.gather = Gather::Bf16;
                let mut more_gathered = more.clone();
                more_gathered.gather = Gather::Bf16;
                for (spec, init, drawn) in [
                    (&plain, &Init::default(), true),
                    (&plain, &Init::default(), false),
                    (&halves, &Init::default(), true),
                    (&more, &full, false),
                    (&gathered, &Init::default(), true),
                    (&more_gathered, &full, false),
                ] {
                    let [asked, said] = compared(spec, options, activation, init, drawn);
                    // A few small arrays are not counted.
                    let off = said as f64 / asked as f64 - 1.0;
                    assert!(off.abs() < 5e-3, "{encoder:?} {activation:?}: {said} said, {asked} asked for: {off}");
                }
            }
        }
    }

    #[test]
    fn the_largest_model_of_the_paper_has_the_memory_that_was_counted_by_hand() {
        let shape = Shape { n_p: 4096, n_r: 4096, n_q: 131_072 };
        let options = Options { encoder: Encoder::Bf16, ..Options::default() };
        let parameters = [Parameter::Encoder, Parameter::Decoder];
        let of =
            |spec: &Spec| Memory::of(spec, &options, Activation::TopK { k: 64 }, &parameters, Samples::Drawn(1000));
        let mut spec = Spec::plain(shape, 4096);
        let memory = of(&spec);
        // 16 n_q (n_p + n_r) and 2 n_q n_p of the model, 4 B n_q of the batch.
        let weights = 131_072 * 4096_u64;
        assert!((34 * weights..34 * weights + (1 << 25)).contains(&memory.model), "{memory:?}");
        // And 4 n_p for each sample and each of 2^14 latents whose weights are copied for scores, 4 (n_p + n_r) for sums of pieces of each sample.
        let copied = 4 * 4096 * (4096 + (1 << 14)) + 4 * 8192 * 4096;
        assert!(((2 << 30) + copied..(2 << 30) + copied + (1 << 29)).contains(&memory.batch), "{memory:?}");
        assert_eq!(memory.most() - memory.training(), 26 * weights + 16 * 131_072);
        spec.moments = Moments::Bf16;
        assert_eq!(memory.model - of(&spec).model, 8 * weights);
        let before = of(&spec);
        spec.gather = Gather::Bf16;
        assert_eq!(of(&spec).model - before.model, 2 * weights);
        assert_eq!(of(&spec).batch - before.batch, 2 * 4096 * 8192);
        let huge = Spec::plain(Shape { n_p: usize::MAX, n_r: usize::MAX, n_q: usize::MAX }, usize::MAX);
        assert_eq!(of(&huge).training(), u64::MAX, "sizes beyond all memory do not wrap");
    }
}
