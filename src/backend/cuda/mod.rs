//! Training on a GPU through CUDA, in f32.
//!
//! | layer | module |
//! |---|---|
//! | raw: the driver, the compiler of kernels, cuBLASLt, NCCL; the only unsafe code | [`raw`], [`nccl`] |
//! | checked: arrays with lengths, launches compared with the signatures of kernels | [`checked`] |
//! | domain: parameters, codes, gradients, the operations of a [`Backend`] | this one |
//!
//! The domain layer works on any [`Device`], of which the driver is one. Kernels stand in `kernels/*.cu`, which say what each of them computes,
//! its grid, its traffic and its floor. The package `kernels/check` compiles the same sources for the processor and runs this backend on them.
//!
//! # What a step does
//!
//! | operation | kernels |
//! |---|---|
//! | encode, top-k by a product | a dense product, `first_of_row`, `score_candidates` |
//! | encode, by the score | a dense product as a screen, `candidates`, `score_candidates`, `first_of_candidates`; rows that it cannot decide (`list_marked`), thresholds and BatchTopK: `by_lane`, `scores` |
//! | decode | `decode`, `row_terms` |
//! | backward | `mark`, `by_latent`, `cut_lists`, with gathers in bf16 `pack_rows`, `backward`, `join_pieces` |
//! | ranks with parts of a batch, before a step | `clear_silent` |
//! | ranks with parts of the latents, in decode | `residual_terms` |
//! | step | `anchor`; `gradient_squares` and `clipping`, where gradients are clipped, columns kept at norm 1 or the norm is asked for; `update_rows`, `update_flat` (with moments in bf16 `update_rows_bf16`, `update_flat_bf16`), `count_idle` |
//! | resampling by the exact decrease | `put_rows`, `row_products`, `row_sums` |
//!
//! A step waits for nothing. Its two halves are a graph of kernels each, and samples of the host for the next step are copied beside this one.
//!
//! Selection has the bits of [`score`](crate::backend::score), unless [`Spec::select_by`] says otherwise: a screen only discards what provably cannot be selected. Sums have a fixed order and no
//! kernel adds floating-point numbers atomically, so that the same step has the same bits on the same device.
//!
//! # Memory
//!
//! [`Memory`] counts it before any is taken. By far the most are 16 n_q (n_p + n_r) bytes for parameters, moments and gradients (12 with
//! [`Moments::Bf16`]) and 4 B n_q for scores, and 4 n_p (B + min(n_q, 16384)) for copies from which whole rows are
//! scored, unless a top-k goes by a product. [`Gather::Bf16`] adds 2 n_q n_r and 2 B (n_p + n_r), with rows filled up to a multiple of 128 numbers.
//! A rank with a part of the latents has n_q of that part.

pub mod check;
pub mod checked;
pub mod device;
#[cfg(test)]
mod device_tests;
mod encode;
mod gradients;
pub mod kernels;
mod memory;
pub mod metrics;
pub mod nccl;
mod part;
mod passes;
pub mod raw;
mod shard;
mod state;
pub mod timing;

pub use device::{Device, DeviceError, Time};
pub use gradients::rounding;
pub use memory::{Memory, Samples};
pub use raw::{Driver, Facts, Room};
pub use state::{Batch, Codes, Grads, OptState, Params};

use super::{Backend, Gather, Half, HostCodes, HostOptState, Mode, Moments, Observation, Rows, SelectBy, Spec};
use crate::bench::dataset::{Bench, Side};
use crate::sdl::resampling::passes::{Passes, Tables};
use crate::sdl::{Model, Parameter, Tensors};
use checked::Checked;
use device::Precision;
use encode::{Selection, precision};
use gradients::{Anchored, Pass, Update};
use metrics::Directions;
use state::{Drawn, SQUARES, Set};
use std::cell::Cell;

/// How a backend finds what a row may select by the score ([`SelectBy::Score`]). It changes no selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoder {
    /// All scores exactly, without a screen.
    Exact,
    /// A screen in f32.
    F32,
    /// A screen in tf32, on tensor cores.
    #[default]
    Tf32,
    /// A screen in bf16, on tensor cores.
    Bf16,
}

/// What changes the speed of a backend, not its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How TopK and Top-k∘ReLU are screened.
    pub encoder: Encoder,
    /// Room for the candidates of a row; a row with more of them is scored in full. Absent: 4k + 512.
    pub candidates: Option<usize>,
    /// Each half of a step is one graph of kernels, instead of many launches.
    pub graphs: bool,
}

impl Default for Options {
    /// A screen in tf32, the usual room, graphs.
    fn default() -> Self {
        Self { encoder: Encoder::default(), candidates: None, graphs: true }
    }
}

/// The backend.
pub struct Cuda<D: Device = Driver> {
    device: Checked<D>,
    spec: Spec,
    options: Options,
    anchors: Option<Anchored<D>>,
    /// Which halves of a step have been done before. A backend serves one training: what a second one allocated within its first step would be refused.
    is_known: [Cell<bool>; 2],
}

impl<D: Device> Cuda<D> {
    /// On a device.
    pub fn on(device: D, spec: Spec, options: Options) -> Self {
        let device = Checked::new(device);
        let anchors = Anchored::new(&device, &spec);
        Self { device, spec, options, anchors, is_known: Default::default() }
    }

    fn enter(&self, phase: &'static str) {
        self.device.device().enter(phase);
    }

    fn pass<'a>(&'a self, params: &'a Params<D>, batch: &'a Batch<D>, codes: &'a Codes<D>) -> Option<Pass<'a, D>> {
        let room = codes.room.as_ref()?;
        Some(Pass { device: &self.device, spec: &self.spec, params, batch, room, rows: codes.rows })
    }

    fn update(&self) -> Update<'_, D> {
        Update { device: &self.device, spec: &self.spec, anchors: self.anchors.as_ref(), others: None }
    }
}

impl<D: Device> Backend for Cuda<D> {
    type Params = Params<D>;
    type OptState = OptState<D>;
    type Batch = Batch<D>;
    type Codes = Codes<D>;
    type Grads = Grads<D>;

    fn describe(&self) -> String {
        let moments = if self.spec.moments == Moments::Bf16 { ", moments in bf16" } else { "" };
        let gathers = if self.spec.gather == Gather::Bf16 { ", gathers in bf16" } else { "" };
        let encoder = match self.spec.select_by {
            SelectBy::Score => format!("encoder {:?}", self.options.encoder),
            by => format!("selection by a product in {}", by.name()),
        };
        format!("cuda, f32, {}, {encoder}{gathers}{moments}", self.device.device().describe())
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn failure(&self) -> Option<String> {
        self.device.failure().map(|failure| failure.to_string())
    }

    fn params(&self, model: &Model) -> Params<D> {
        let half = precision(&self.spec, self.options) == Some(Precision::Bf16);
        Params::new(&self.device, model, [half, self.spec.gather == Gather::Bf16])
    }

    fn opt_state(&self, params: &Params<D>) -> OptState<D> {
        OptState::new(&self.device, &self.spec, params)
    }

    fn batch(&self) -> Batch<D> {
        Batch::new(&self.device, &self.spec)
    }

    fn codes(&self) -> Codes<D> {
        Codes { rows: 0, counted: 0, weights: Vec::new(), room: None }
    }

    fn grads(&self, params: &Params<D>) -> Grads<D> {
        Grads::new(&self.device, &self.spec, params)
    }

    fn as_one(&self, half: Half, calls: &mut dyn FnMut()) {
        let part = half as usize;
        // The first time there is memory to be made.
        if self.options.graphs && self.is_known[part].replace(true) {
            self.device.as_one(part, calls);
        } else {
            calls();
        }
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Batch<D>) {
        self.enter("samples");
        batch.rows = rows.inputs.len() / self.spec.shape.n_p.max(1);
        batch.load(&self.device, &self.spec, rows);
        batch.weigh(&self.device, rows.weights);
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Batch<D>) {
        self.enter("samples");
        if self.draw(bench, indices, batch).is_some() {
            return;
        }
        let x = bench.coefficients().batch(indices);
        let side = |side: Side| {
            let mut rows = vec![0.0; indices.len() * bench.directions(side).dimension()];
            bench.synthesize(&x, side, &mut rows);
            rows
        };
        let inputs = side(Side::Input);
        let targets = if self.spec.reconstructs_its_input { Vec::new() } else { side(Side::Target) };
        self.load(Rows { inputs: &inputs, targets: &targets, weights: x.weights.as_deref() }, batch);
    }

    fn encode_select(&self, params: &Params<D>, opt: &OptState<D>, batch: &Batch<D>, mode: Mode, codes: &mut Codes<D>) {
        let Self { device, spec, options, .. } = self;
        self.enter("encode");
        let selection = Selection { device, spec, options: *options, params, opt, mode, whole: None };
        // Without other ranks nothing can fail between them.
        let _ = selection.run(batch, codes);
    }

    fn decode_residual(&self, params: &Params<D>, batch: &Batch<D>, codes: &mut Codes<D>) {
        self.enter("decode");
        if let Some(pass) = self.pass(params, batch, codes) {
            pass.decode();
        }
    }

    fn backward(&self, params: &Params<D>, batch: &Batch<D>, codes: &mut Codes<D>, grads: &mut Grads<D>) {
        grads.norm_is_due = false;
        self.enter("backward");
        if let Some(pass) = self.pass(params, batch, codes) {
            pass.backward(grads);
        }
    }

    fn step(&self, params: &mut Params<D>, opt: &mut OptState<D>, codes: &Codes<D>, grads: &mut Grads<D>) {
        let Some(room) = &codes.room else { return };
        self.enter("update");
        self.update().run(params, opt, room, codes.counted, grads);
    }

    fn observe(&self, params: &Params<D>, codes: &Codes<D>, grads: &Grads<D>) -> Observation {
        self.enter("records");
        let Some(room) = &codes.room else { return Observation::default() };
        let (device, rows) = (&self.device, codes.rows);
        let objective = &self.spec.objective;
        let lambdas = objective.scales.weights();
        let mut scales = vec![0.0; lambdas.len()];
        let squares = device.download(&room.squares, rows * lambdas.len());
        for (squares, weight) in squares.chunks(lambdas.len()).zip(&codes.weights) {
            scales.iter_mut().zip(squares).for_each(|(sum, square)| *sum += weight * f64::from(*square));
        }
        let weighted = |terms: Vec<f32>| -> f64 {
            terms.iter().zip(&codes.weights).map(|(term, weight)| f64::from(*term) * weight).sum()
        };
        let penalty = weighted(device.download(&room.penalties, rows));
        let gates = room.gates.as_ref().map_or(0.0, |gates| weighted(device.download(&gates.squares, rows)));
        let aux = objective
            .aux
            .zip(room.aux.as_ref())
            .map_or(0.0, |(of, aux)| of.weight * weighted(device.download(&aux.squares, rows)));
        let aux = aux + gates;
        let anchor = self.anchors.as_ref().map_or(0.0, |anchors| self.anchor(anchors, params));
        let active: u64 = device.download(&room.active_of_row, rows).into_iter().map(u64::from).sum();
        self.update().norm_as_met(params, grads);
        Observation {
            rows,
            loss: lambdas.iter().zip(&scales).map(|(lambda, e)| lambda * e).sum::<f64>() + penalty + aux + anchor,
            mse: scales.last().copied().unwrap_or(0.0),
            scales,
            penalty,
            aux,
            anchor,
            l0: active as f64 / rows.max(1) as f64,
            gradient_norm: device.download(&grads.clip, 2)[0],
        }
    }

    fn model(&self, params: &Params<D>) -> Model {
        let threshold = self.device.download(&params.threshold, 2);
        Model {
            activation: params.activation,
            tensors: params.blocks.download(&self.device),
            threshold: (threshold[1] != 0.0).then_some(threshold[0]),
        }
    }

    fn is_finite(&self, params: &Params<D>) -> bool {
        // A double holds the square of any finite f32, and the sum of them.
        params.blocks.parameters().all(|parameter| {
            let numbers = params.block(parameter);
            let groups = numbers.len().div_ceil(SQUARES);
            let squares = self.device.zeros::<f64>(groups);
            let arguments =
                [numbers.all(), (numbers.len() as u64).into(), (SQUARES as u64).into(), squares.all(), 0_u32.into()];
            self.device.launch("sum_squares", [groups as u32, 1, 1], arguments);
            self.device.download(&squares, groups).iter().all(|square| square.is_finite())
        })
    }

    fn best_cosines(&self, params: &Params<D>, of: Parameter, truth: &[f32]) -> Option<Vec<f32>> {
        let of = match of {
            Parameter::Encoder => Directions::Encoder,
            Parameter::Decoder => Directions::Decoder,
            _ => return None,
        };
        Some(self.best_matches(params, of, truth, true).into_iter().map(|best| best.cosine).collect())
    }

    fn passes(&self, tables: &Tables) -> Option<Box<dyn Passes + '_>> {
        Some(self.hold(tables))
    }

    fn idle(&self, opt: &OptState<D>) -> Vec<u64> {
        self.device.download(&opt.idle, opt.idle.len())
    }

    fn save(&self, opt: &OptState<D>) -> HostOptState {
        opt.save(&self.device)
    }

    fn restore(&self, state: &HostOptState) -> OptState<D> {
        OptState::restored(&self.device, &self.spec, state)
    }

    fn codes_of(&self, codes: &Codes<D>) -> HostCodes {
        codes.room.as_ref().map_or_else(HostCodes::none, |room| self.download(&room.main, codes.rows))
    }

    fn reconstruction_of(&self, batch: &Batch<D>, codes: &Codes<D>) -> Vec<f32> {
        let Some(room) = &codes.room else { return Vec::new() };
        let (n_r, parts) = (self.spec.shape.n_r, self.spec.objective.scales.weights().len());
        let count = codes.rows * n_r;
        let residuals = self.device.download(&room.residuals, count * parts);
        let targets = self.device.download(batch.targets(), count);
        let last = residuals.chunks_exact(n_r.max(1)).skip(parts - 1).step_by(parts).flatten();
        last.zip(targets).map(|(e, x)| e + x).collect()
    }

    fn gradients_of(&self, params: &Params<D>, grads: &Grads<D>) -> Tensors<f32> {
        let mut tensors = grads.blocks.download(&self.device);
        let live = self.device.download(&grads.live, grads.live.len());
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            for i in (0..live.len()).filter(|i| live[*i] == 0) {
                tensors.row_mut(parameter, i).fill(0.0);
            }
        }
        let anchors = &self.spec.anchors;
        if anchors.weight != 0.0 && !anchors.is_empty() {
            let model = self.model(params);
            let factor = (2.0 * anchors.weight) as f32;
            for (parameter, known) in [(Parameter::Encoder, &anchors.inputs), (Parameter::Decoder, &anchors.targets)] {
                let columns = parameter.size(self.spec.shape).1;
                for (&i, known) in anchors.latents.iter().zip(known.chunks_exact(columns)) {
                    let row = model.tensors.row(parameter, i as usize);
                    let gradient = tensors.row_mut(parameter, i as usize);
                    gradient.iter_mut().zip(row).zip(known).for_each(|((g, w), k)| *g += factor * (w - k));
                }
            }
        }
        tensors
    }
}

impl<D: Device> Cuda<D> {
    fn download(&self, set: &Set<D>, rows: usize) -> HostCodes {
        let mut host = HostCodes::none();
        let counts = self.device.download(&set.counts, rows);
        let latents = self.device.download(&set.latents, rows * set.stride);
        let values = self.device.download(&set.values, rows * set.stride);
        for (row, count) in counts.into_iter().enumerate() {
            let range = row * set.stride..row * set.stride + count as usize;
            host.latents.extend(&latents[range.clone()]);
            host.values.extend(&values[range]);
            host.offsets.push(host.latents.len());
        }
        host
    }

    /// Draws on the device; None where the law of the bench needs the processor.
    fn draw(&self, bench: &Bench, indices: &[u64], batch: &mut Batch<D>) -> Option<()> {
        let (device, has_targets) = (&self.device, batch.targets.is_some());
        if batch.drawn.as_ref().is_none_or(|drawn| drawn.config != *bench.config()) {
            batch.drawn = Some(Drawn::new(device, bench, bench.coefficients().tables()?, has_targets));
        }
        batch.rows = indices.len();
        batch.weigh(device, None);
        device.upload(indices, &batch.indices);
        let drawn = batch.drawn.as_ref()?;
        let shape = self.spec.shape;
        let targets = batch.targets.as_ref().zip(drawn.targets.as_ref()).map(|(out, of)| (out, of, shape.n_r));
        for (out, directions, dimension) in
            [Some((&batch.inputs, &drawn.inputs, shape.n_p)), targets].into_iter().flatten()
        {
            let n = drawn.thresholds.len();
            let arguments = [
                drawn.tables.key[0].into(),
                drawn.tables.key[1].into(),
                drawn.thresholds.all(),
                drawn.scales.of(n),
                drawn.tables.c_min.into(),
                drawn.tables.beta.into(),
                batch.indices.of(batch.rows),
                directions.of(n * dimension),
                (n as u32).into(),
                (dimension as u32).into(),
                out.of(batch.rows * dimension),
            ];
            device.launch("draw", [batch.rows as u32, 1, 1], arguments);
        }
        Some(())
    }

    /// λ_anchor·L_anchor.
    fn anchor(&self, anchors: &Anchored<D>, params: &Params<D>) -> f64 {
        let count = anchors.latents.len();
        let distances = self.device.zeros::<f64>(count);
        let arguments = [
            anchors.latents.all(),
            anchors.inputs.all(),
            anchors.targets.all(),
            params.encoder().all(),
            params.decoder().all(),
            distances.all(),
            (self.spec.shape.n_p as u32).into(),
            (self.spec.shape.n_r as u32).into(),
        ];
        self.device.launch("anchor_distances", [count as u32, 1, 1], arguments);
        self.spec.anchors.weight * self.device.download(&distances, count).iter().sum::<f64>()
    }
}
