//! Which latents are active: scores, screens, selection.

use super::checked::{Array, Checked, Matrices};
use super::device::{Device, Precision};
use super::state::{Aux, Batch, Candidates, Codes, Gates, Lanes, OptState, PART, Packed, Params, Room, Set, packed};
use super::{Encoder, Options};
use crate::backend::collective::{Collective, CollectiveError};
use crate::backend::{Gather, Mode, SelectBy, Spec};
use crate::sdl::{Activation, Parameter, Scales, Shape};
use std::ops::Range;

/// Blocks that score marked rows, enough to fill a device.
const MARKED_BLOCKS: u32 = 512;

/// u of f32.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// The numbers of the bound on |s~ − s| in `candidates` of `select.cu`.
///
/// With δ the relative rounding of an operand, and m roundings of sums: a product of rounded operands is off by at most
/// ((1 + δ)² − 1) ‖x'‖‖w‖, its sums by γ_m ‖x'‖‖w‖, the score itself by γ_{⌈n/64⌉+7} ‖x'‖‖w‖ (see the CPU's screen). Tensor cores may cut off
/// instead of rounding, and may take operands and products below 2⁻¹²⁶ as 0.
struct Slack {
    product: f32,
    sum: f32,
    least: f32,
    share: f32,
}

fn gamma(m: f64, unit: f64) -> f64 {
    m * unit / (1.0 - m * unit)
}

impl Slack {
    fn of(encoder: Encoder, n_p: usize) -> Self {
        let n = n_p as f64;
        let (operand, unit) = match encoder {
            Encoder::Exact | Encoder::F32 => (0.0, U),
            Encoder::Tf32 => (1.0 / 1024.0, 4.0 * U),
            Encoder::Bf16 => (1.0 / 256.0, 4.0 * U),
        };
        let rounded = operand * (2.0 + operand);
        let product = rounded + (1.0 + rounded) * gamma(n + 16.0, unit) + gamma((n / 64.0).ceil() + 7.0, U);
        let tiny = 2f64.powi(-125);
        // 1 % covers the rounding of the bound itself.
        Self {
            product: (1.01 * product + 8.0 * U) as f32,
            sum: (1.01 * tiny * n.sqrt()) as f32,
            least: (1.01 * tiny * n + 1e-36) as f32,
            share: (8.0 * U) as f32,
        }
    }
}

/// Of the dense product by which a top-k selects, or which screens for it.
pub(super) fn precision(spec: &Spec, options: Options) -> Option<Precision> {
    match (spec.select_by, options.encoder) {
        (SelectBy::Score, Encoder::Exact) => None,
        (SelectBy::Score, Encoder::F32) => Some(Precision::F32),
        (SelectBy::Tf32, _) | (SelectBy::Score, Encoder::Tf32) => Some(Precision::Tf32),
        (SelectBy::Bf16, _) | (SelectBy::Score, Encoder::Bf16) => Some(Precision::Bf16),
    }
}

/// Room of a row for selected latents.
pub(super) fn stride(activation: Activation, n_q: usize) -> usize {
    match activation {
        Activation::TopK { k } | Activation::TopKRelu { k } => k.min(n_q),
        _ => n_q,
    }
}

/// Of the dense product that comes before scores, where there is one.
pub(super) fn product(spec: &Spec, options: Options, activation: Activation) -> Option<Precision> {
    precision(spec, options).filter(|_| is_ranked(activation))
}

/// True if each row selects by rank.
pub(super) fn is_ranked(activation: Activation) -> bool {
    matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. })
}

/// True if scores of whole rows may be needed.
pub(super) fn has_lanes(spec: &Spec, activation: Activation) -> bool {
    !is_ranked(activation) || spec.select_by == SelectBy::Score
}

/// Room of a row for candidates of the first k, or for those k.
pub(super) fn most_candidates(spec: &Spec, options: Options, k: usize) -> usize {
    let most = match spec.select_by {
        SelectBy::Score => options.candidates.unwrap_or(k.saturating_mul(4).saturating_add(512)),
        SelectBy::Tf32 | SelectBy::Bf16 => k,
    };
    most.clamp(1, spec.shape.n_q.max(1))
}

/// Room for a batch of such codes.
pub(super) fn room<D: Device>(device: &Checked<D>, spec: &Spec, options: Options, params: &Params<D>) -> Room<D> {
    let Shape { n_p, n_r, n_q } = spec.shape;
    let (activation, batch) = (params.activation, spec.batch);
    let parts = spec.objective.scales.weights().len();
    let has = |parameter| params.blocks.get(parameter).is_some();
    let product = product(spec, options, activation);
    let candidates =
        |k: usize| product.is_some().then(|| Candidates::new(device, batch, most_candidates(spec, options, k)));
    let main = Set::new(device, spec, stride(activation, n_q));
    let (selected, rows) = (batch * main.stride, batch * n_r);
    let limits: Vec<u32> = match &spec.objective.scales {
        Scales::Single => Vec::new(),
        Scales::TopK { ks: limits, .. } | Scales::Prefixes { sizes: limits, .. } => {
            limits.iter().map(|k| *k as u32).collect()
        }
    };
    let lambdas: Vec<f32> = spec.objective.scales.weights().iter().map(|l| *l as f32).collect();
    Room {
        activation,
        centred: has(Parameter::InputBias).then(|| device.zeros(batch * n_p)),
        scores: device.zeros(batch * n_q),
        lanes: has_lanes(spec, activation).then(|| Lanes::new(device, spec)),
        x_norms: device.zeros(batch),
        half: (product == Some(Precision::Bf16)).then(|| device.zeros(batch * n_p)),
        candidates: activation.k().and_then(candidates),
        main,
        gates: (activation == Activation::Gated).then(|| Gates {
            pi: device.zeros(selected),
            scores: device.zeros(selected),
            residuals: device.zeros(rows),
            upstream: device.zeros(rows),
            squares: device.zeros(batch),
        }),
        band: matches!(activation, Activation::JumpRelu { .. }).then(|| Set::new(device, spec, n_q)),
        aux: spec.objective.aux.map(|aux| Aux {
            set: Set::new(device, spec, aux.k.min(n_q)),
            counts: device.zeros(batch),
            candidates: candidates(aux.k),
            lambda: device.array(&[aux.weight as f32]),
            residuals: device.zeros(rows),
            upstream: device.zeros(rows),
            squares: device.zeros(batch),
        }),
        active: device.zeros(n_q),
        ignored: device.zeros(n_q),
        theta: device.zeros(n_q),
        rho: device.zeros(n_q),
        column_norms: device.zeros(n_q),
        search: device.zeros(2 + 256),
        ties: device.zeros(batch),
        ties_before: device.zeros(batch + 1),
        tie_sums: device.zeros(device.blocks(batch) as usize),
        least: device.zeros(1),
        limits: device.array(&limits),
        lambdas: device.array(&lambdas),
        one: device.array(&[1.0]),
        linear: has(Parameter::Skip).then(|| device.zeros(rows)),
        residuals: device.zeros(rows * parts),
        upstream: device.zeros(rows * parts),
        squares: device.zeros(batch * parts),
        penalties: device.zeros(batch),
        active_of_row: device.zeros(batch),
        packed: (spec.gather == Gather::Bf16).then(|| Packed {
            inputs: device.zeros(batch * packed(n_p)),
            upstream: device.zeros(batch * parts * packed(n_r)),
            gates: device.zeros(if activation == Activation::Gated { batch * packed(n_r) } else { 0 }),
        }),
    }
}

/// What selects latents of a batch.
pub(super) struct Selection<'a, D: Device> {
    pub device: &'a Checked<D>,
    pub spec: &'a Spec,
    pub options: Options,
    pub params: &'a Params<D>,
    pub opt: &'a OptState<D>,
    pub mode: Mode,
    /// The batch of which these rows are a part; absent, they are all.
    pub whole: Option<Whole<'a>>,
}

/// A batch whose rows lie on several ranks, lower rows on lower ranks.
#[derive(Clone, Copy)]
pub(super) struct Whole<'a> {
    pub rows: usize,
    pub collective: &'a dyn Collective,
}

/// Whom a top-k of rows may take.
#[derive(Clone, Copy)]
struct Ranked {
    k: usize,
    positive: bool,
    /// AuxK: only latents that were idle for so long.
    dead_after: Option<u64>,
}

/// Where the first k of rows are written.
struct Listed<'a, D: Device> {
    stride: usize,
    counts: &'a Array<D, u32>,
    latents: &'a Array<D, u32>,
    values: &'a Array<D, f32>,
}

impl<'a, D: Device> From<&'a Set<D>> for Listed<'a, D> {
    fn from(set: &'a Set<D>) -> Self {
        let Set { stride, counts, latents, values, .. } = set;
        Self { stride: *stride, counts, latents, values }
    }
}

impl<'a, D: Device> From<&'a Candidates<D>> for Listed<'a, D> {
    fn from(list: &'a Candidates<D>) -> Self {
        let Candidates { most, counts, latents, pi, .. } = list;
        Self { stride: *most, counts, latents, values: pi }
    }
}

impl<D: Device> Selection<'_, D> {
    /// An error of the collective, where a batch is on several ranks.
    pub fn run(&self, batch: &Batch<D>, codes: &mut Codes<D>) -> Result<(), CollectiveError> {
        let Self { device, spec, options, params, mode, .. } = *self;
        codes.rows = batch.rows;
        codes.counted = batch.rows;
        codes.weights.clone_from(&batch.host_weights);
        if codes.room.as_ref().is_none_or(|room| room.activation != params.activation) {
            codes.room = Some(room(device, spec, options, params));
        }
        let Some(room) = &codes.room else { return Ok(()) };
        let rows = batch.rows;
        let x = self.centre(batch, room);
        device.clear(&room.active);
        match params.activation {
            Activation::TopK { k } | Activation::TopKRelu { k } => {
                let positive = matches!(params.activation, Activation::TopKRelu { .. });
                self.ranked(x, rows, room, Ranked { k, positive, dead_after: None });
            }
            _ => self.exact(x, rows, None, room),
        }
        match params.activation {
            Activation::TopK { .. } | Activation::TopKRelu { .. } => {}
            Activation::BatchTopK { k } if mode == Mode::Training => self.first_of_batch(k, rows, room)?,
            Activation::BatchTopK { .. } => self.above(&params.threshold, true, 0.0, rows, room, &room.main),
            Activation::Relu | Activation::Gated => self.above(&room.theta, false, 0.0, rows, room, &room.main),
            Activation::JumpRelu { bandwidth, .. } => {
                self.exponentials(Parameter::LogThreshold, &room.theta);
                self.above(&room.theta, false, 0.0, rows, room, &room.main);
                if let Some(band) = &room.band {
                    self.above(&room.theta, false, (bandwidth / 2.0) as f32, rows, room, band);
                    self.levels(rows, room, band);
                }
            }
        }
        self.levels(rows, room, &room.main);
        if mode == Mode::Training {
            self.mark(rows, &room.main, &room.active);
            if let (Some(aux), Some(found), false) = (spec.objective.aux, &room.aux, is_ranked(params.activation)) {
                let dead = Ranked { k: aux.k, positive: true, dead_after: Some(aux.dead_after) };
                self.first_of_row(dead, None, rows, room, (&found.set).into());
            }
        } else if let Some(found) = &room.aux {
            device.clear(&found.set.counts);
            device.clear(&found.counts);
        }
        Ok(())
    }

    fn centre<'b>(&self, batch: &'b Batch<D>, room: &'b Room<D>) -> &'b Array<D, f32> {
        let Self { device, spec, params, .. } = *self;
        let (Some(centred), Some(bias)) = (&room.centred, params.blocks.get(Parameter::InputBias)) else {
            return &batch.inputs;
        };
        let (n_p, count) = (spec.shape.n_p, batch.rows * spec.shape.n_p);
        let arguments =
            [batch.inputs.of(count), bias.all(), centred.of(count), (batch.rows as u32).into(), (n_p as u32).into()];
        device.launch("centre", [device.some(count), 1, 1], arguments);
        centred
    }

    /// Scores of all latents, of the marked rows or of all. How many are marked the host does not know: blocks find out.
    fn exact(&self, x: &Array<D, f32>, rows: usize, marks: Option<&Array<D, u32>>, room: &Room<D>) {
        let Self { device, spec, params, .. } = *self;
        let Shape { n_p, n_q, .. } = spec.shape;
        let Some(lanes) = &room.lanes else { return };
        let ([x_stride, w_stride], n) = (lanes.strides.map(|stride| stride as u32), n_p as u32);
        if let Some(marks) = marks {
            device.launch("list_marked", [1, 1, 1], [marks.of(rows), lanes.list.of(1 + rows), (rows as u32).into()]);
        }
        let listed = |how: u32| if marks.is_some() { how } else { 0 };
        let by_lane = |of: &Array<D, f32>, listed: u32, range: Range<usize>, to: &Array<D, f32>, stride: u32| {
            let arguments = [
                of.of(if listed == 1 { rows } else { range.end } * n_p),
                lanes.list.all(),
                listed.into(),
                (range.start as u32).into(),
                to.all(),
                (range.len() as u32).into(),
                n.into(),
                stride.into(),
            ];
            device.launch("by_lane", [device.some(range.len() * n_p), 1, 1], arguments);
        };
        by_lane(x, listed(1), 0..rows, &lanes.inputs, x_stride);
        for first in (0..n_q).step_by(PART) {
            let latents = PART.min(n_q - first);
            by_lane(params.encoder(), listed(2), first..first + latents, &lanes.encoder, w_stride);
            let tiles = (rows.div_ceil(64) * latents.div_ceil(128)) as u32;
            let arguments = [
                lanes.inputs.all(),
                lanes.encoder.all(),
                lanes.list.all(),
                marks.is_some().into(),
                room.scores.of(rows * n_q),
                (rows as u32).into(),
                (first as u32).into(),
                (latents as u32).into(),
                (n_q as u32).into(),
                n.into(),
                x_stride.into(),
                w_stride.into(),
            ];
            // Of rows that are marked there are few, most often none.
            device.launch("scores", [if marks.is_some() { tiles.min(MARKED_BLOCKS) } else { tiles }, 1, 1], arguments);
        }
    }

    /// The first k of each row, and the dead latents of AuxK.
    fn ranked(&self, x: &Array<D, f32>, rows: usize, room: &Room<D>, main: Ranked) {
        let aux = self.spec.objective.aux.filter(|_| self.mode == Mode::Training).zip(room.aux.as_ref());
        let dead = aux.map(|(aux, found)| {
            (Ranked { k: aux.k, positive: true, dead_after: Some(aux.dead_after) }, &found.set, &found.candidates)
        });
        let both = [Some((main, &room.main, &room.candidates)), dead];
        let Some(precision) = precision(self.spec, self.options) else {
            self.exact(x, rows, None, room);
            for (ranked, set, _) in both.into_iter().flatten() {
                self.first_of_row(ranked, None, rows, room, set.into());
            }
            return;
        };
        self.product(x, rows, precision, room);
        if self.spec.select_by != SelectBy::Score {
            for (ranked, set, list) in both.into_iter().flatten() {
                if let Some(list) = list {
                    self.first_by_product(x, ranked, rows, room, (list, set));
                }
            }
            return;
        }
        self.norms(x, rows, room);
        // All lists first: rows that are scored in full overwrite what a screen has left.
        for (ranked, _, list) in both.into_iter().flatten() {
            if let Some(list) = list {
                self.candidates(ranked, rows, room, list);
            }
        }
        for (ranked, set, list) in both.into_iter().flatten() {
            let Some(list) = list else { continue };
            self.exact(x, rows, Some(&list.marks), room);
            self.first_of_row(ranked, Some(&list.marks), rows, room, set.into());
            self.score(x, rows, list.into());
            self.first_of_candidates(ranked, rows, list, set);
        }
    }

    /// The first k of each row by the product, with their scores. No score decides but whether one is positive.
    fn first_by_product(
        &self,
        x: &Array<D, f32>,
        ranked: Ranked,
        rows: usize,
        room: &Room<D>,
        (list, set): (&Candidates<D>, &Set<D>),
    ) {
        let into = || if ranked.positive { list.into() } else { set.into() };
        self.first_of_row(ranked, None, rows, room, into());
        self.score(x, rows, into());
        if ranked.positive {
            // No row is marked, and of k candidates at most those with a positive score are the first.
            self.first_of_candidates(ranked, rows, list, set);
        }
    }

    fn norms(&self, x: &Array<D, f32>, rows: usize, room: &Room<D>) {
        let Self { device, spec, .. } = *self;
        let n_p = spec.shape.n_p;
        let arguments = [x.of(rows * n_p), room.x_norms.of(rows), (rows as u32).into(), (n_p as u32).into()];
        device.launch("norms_above", [device.warps(rows), 1, 1], arguments);
    }

    /// Approximate scores of all latents.
    fn product(&self, x: &Array<D, f32>, rows: usize, precision: Precision, room: &Room<D>) {
        let Self { device, spec, params, .. } = *self;
        let Shape { n_p, n_q, .. } = spec.shape;
        let (count, sizes, c) = (rows * n_p, [rows, n_q, n_p], &room.scores);
        if let Some(half) = &room.half {
            device.launch("to_bf16", [device.some(count), 1, 1], [x.of(count), half.of(count), (count as u64).into()]);
            let (a, b) = ((half, n_p), (params.half(), n_p));
            device.product(&Matrices { precision, transposed: false, sizes, a, b, c });
        } else {
            let (a, b) = ((x, n_p), (params.encoder(), n_p));
            device.product(&Matrices { precision, transposed: false, sizes, a, b, c });
        }
    }

    fn candidates(&self, ranked: Ranked, rows: usize, room: &Room<D>, list: &Candidates<D>) {
        let Self { device, spec, options, params, opt, .. } = *self;
        let n_q = spec.shape.n_q;
        let slack = Slack::of(options.encoder, spec.shape.n_p);
        let arguments = [
            room.scores.of(rows * n_q),
            params.encoder_bias().of(n_q),
            room.x_norms.of(rows),
            params.norms.of(n_q),
            slack.product.into(),
            slack.sum.into(),
            slack.least.into(),
            slack.share.into(),
            opt.idle.of(n_q),
            ranked.dead_after.is_some().into(),
            ranked.dead_after.unwrap_or(0).into(),
            clamped(ranked.k).into(),
            ranked.positive.into(),
            (list.most as u32).into(),
            list.counts.of(rows),
            list.latents.of(rows * list.most),
            list.marks.of(rows),
            (n_q as u32).into(),
        ];
        device.launch("candidates", [rows as u32, 1, 1], arguments);
    }

    fn first_of_row(
        &self,
        ranked: Ranked,
        marks: Option<&Array<D, u32>>,
        rows: usize,
        room: &Room<D>,
        into: Listed<'_, D>,
    ) {
        let Self { device, spec, params, opt, .. } = *self;
        let n_q = spec.shape.n_q;
        let arguments = [
            room.scores.of(rows * n_q),
            params.encoder_bias().of(n_q),
            opt.idle.of(n_q),
            ranked.dead_after.is_some().into(),
            ranked.dead_after.unwrap_or(0).into(),
            marks.unwrap_or(&room.ignored).of(if marks.is_some() { rows } else { 0 }),
            marks.is_some().into(),
            clamped(ranked.k).into(),
            ranked.positive.into(),
            (into.stride as u32).into(),
            into.counts.of(rows),
            into.latents.of(rows * into.stride),
            into.values.of(rows * into.stride),
            (n_q as u32).into(),
        ];
        device.launch("first_of_row", [rows as u32, 1, 1], arguments);
    }

    /// Scores of candidates, and π.
    fn score(&self, x: &Array<D, f32>, rows: usize, of: Listed<'_, D>) {
        let Self { device, spec, params, .. } = *self;
        let Shape { n_p, n_q, .. } = spec.shape;
        let room = rows * of.stride;
        // The copy that the product reads.
        let halves = spec.gather == Gather::Bf16 && spec.select_by == SelectBy::Bf16;
        let arguments = [
            x.of(rows * n_p),
            params.encoder().all(),
            params.half().of(if halves { n_q * n_p } else { 0 }),
            halves.into(),
            params.encoder_bias().of(n_q),
            of.counts.of(rows),
            of.latents.of(room),
            of.values.of(room),
            (of.stride as u32).into(),
            (n_p as u32).into(),
        ];
        device.launch("score_candidates", [rows as u32, 1, 1], arguments);
    }

    fn first_of_candidates(&self, ranked: Ranked, rows: usize, list: &Candidates<D>, set: &Set<D>) {
        let (device, room) = (self.device, rows * list.most);
        let arguments = [
            list.counts.of(rows),
            list.latents.of(room),
            list.pi.of(room),
            list.marks.of(rows),
            (list.most as u32).into(),
            clamped(ranked.k).into(),
            ranked.positive.into(),
            (set.stride as u32).into(),
            set.counts.of(rows),
            set.latents.of(rows * set.stride),
            set.values.of(rows * set.stride),
        ];
        device.launch("first_of_candidates", [rows as u32, 1, 1], arguments);
    }

    /// The first k·B of the batch.
    fn first_of_batch(&self, k: usize, rows: usize, room: &Room<D>) -> Result<(), CollectiveError> {
        let Self { device, spec, params, .. } = *self;
        let n_q = spec.shape.n_q;
        let count = rows * n_q;
        let all = self.whole.map_or(rows, |whole| whole.rows);
        let wanted = k.min(n_q).saturating_mul(all);
        device.launch("batch_begin", [1, 1, 1], [room.search.all(), clamped(wanted).into()]);
        device.fill(&room.least, 0xFF);
        let bias = || params.encoder_bias().of(n_q);
        for shift in [24_u32, 16, 8, 0] {
            let arguments = [
                room.scores.of(count),
                bias(),
                room.search.all(),
                shift.into(),
                (count as u64).into(),
                (n_q as u32).into(),
            ];
            device.launch("batch_histogram", [device.some(count), 1, 1], arguments);
            match self.whole {
                Some(whole) => self.digit_of_all(whole.collective, shift, room)?,
                None => device.launch("batch_digit", [1, 1, 1], [room.search.all(), shift.into()]),
            }
        }
        let arguments = [room.scores.of(count), bias(), room.search.all(), room.ties.of(rows), (n_q as u32).into()];
        device.launch("batch_ties", [rows as u32, 1, 1], arguments);
        scan(device, &room.ties, &room.ties_before, &room.tie_sums, rows);
        if let Some(whole) = self.whole {
            self.ties_of_all(whole.collective, rows, room)?;
        }
        let set = &room.main;
        let arguments = [
            room.scores.of(count),
            bias(),
            room.search.all(),
            room.ties_before.of(rows),
            (set.stride as u32).into(),
            set.counts.of(rows),
            set.latents.of(rows * set.stride),
            set.values.of(rows * set.stride),
            room.least.all(),
            (n_q as u32).into(),
        ];
        device.launch("batch_take", [rows as u32, 1, 1], arguments);
        Ok(())
    }

    /// `batch_digit` with the histograms of all ranks. What a failed device gives counts nothing, and is found out before ranks add up.
    fn digit_of_all(&self, collective: &dyn Collective, shift: u32, room: &Room<D>) -> Result<(), CollectiveError> {
        let mut state = self.device.download(&room.search, room.search.len());
        let mut histogram = [0_u64; 256];
        for given in collective.gather(&to_bytes(&state[2..]))? {
            histogram.iter_mut().zip(from_bytes(&given)).for_each(|(sum, count)| *sum += u64::from(count));
        }
        let (mut digit, mut rest) = (255, u64::from(state[1]));
        while digit > 0 && histogram[digit] < rest {
            rest -= histogram[digit];
            digit -= 1;
        }
        state[0] |= (digit as u32) << shift;
        state[1] = rest as u32;
        state[2..].fill(0);
        self.device.upload(&state, &room.search);
        Ok(())
    }

    /// Leaves to this rank those of the ties that the lower ranks do not take.
    fn ties_of_all(&self, collective: &dyn Collective, rows: usize, room: &Room<D>) -> Result<(), CollectiveError> {
        let own = if rows == 0 { 0 } else { self.device.download(&room.ties_before, rows + 1)[rows] };
        let all = collective.gather(&to_bytes(&[own]))?;
        let before = all[..collective.rank()].iter().flat_map(|given| from_bytes(given)).fold(0, u32::saturating_add);
        let state = self.device.download(&room.search, 2);
        self.device.upload(&[state[0], state[1].saturating_sub(before)], &room.search);
        Ok(())
    }

    /// e^x of a parameter of latents.
    fn exponentials(&self, parameter: Parameter, out: &Array<D, f32>) {
        let n_q = self.spec.shape.n_q;
        let arguments = [self.params.block(parameter).of(n_q), out.of(n_q), (n_q as u32).into()];
        self.device.launch("exponentials", [self.device.blocks(n_q), 1, 1], arguments);
    }

    /// Latents above a threshold, or within a band of it.
    fn above(&self, theta: &Array<D, f32>, common: bool, band: f32, rows: usize, room: &Room<D>, set: &Set<D>) {
        let Self { device, spec, params, .. } = *self;
        let (n_q, selected) = (spec.shape.n_q, rows * set.stride);
        let gated = room.gates.as_ref();
        if gated.is_some() {
            self.exponentials(Parameter::GateScale, &room.rho);
        }
        let arguments = [
            room.scores.of(rows * n_q),
            params.encoder_bias().of(n_q),
            theta.of(if common { 1 } else { n_q }),
            common.into(),
            band.into(),
            gated.is_some().into(),
            room.rho.of(n_q),
            params.block(Parameter::MagnitudeBias).of(if gated.is_some() { n_q } else { 0 }),
            (set.stride as u32).into(),
            set.counts.of(rows),
            set.latents.of(selected),
            set.values.of(selected),
            gated.map_or(&room.theta, |gates| &gates.pi).of(if gated.is_some() { selected } else { 0 }),
            gated.map_or(&room.theta, |gates| &gates.scores).of(if gated.is_some() { selected } else { 0 }),
            (n_q as u32).into(),
        ];
        device.launch("above", [rows as u32, 1, 1], arguments);
    }

    fn levels(&self, rows: usize, room: &Room<D>, set: &Set<D>) {
        let (kind, parts) = match &self.spec.objective.scales {
            Scales::Single => (0_u32, 1),
            Scales::TopK { ks, .. } => (1, ks.len()),
            Scales::Prefixes { sizes, .. } => (2, sizes.len()),
        };
        if kind == 0 {
            // Levels are 0 from the start.
            return;
        }
        let arguments = [
            set.counts.of(rows),
            set.latents.of(rows * set.stride),
            set.values.of(rows * set.stride),
            (set.stride as u32).into(),
            kind.into(),
            room.limits.of(parts),
            (parts as u32).into(),
            set.levels.of(rows * set.stride),
        ];
        self.device.launch("levels", [rows as u32, 1, 1], arguments);
    }

    fn mark(&self, rows: usize, set: &Set<D>, active: &Array<D, u32>) {
        mark(self.device, rows, set, active);
    }
}

/// Bits of the codes, and latents with a value that is not 0.
pub(super) fn mark<D: Device>(device: &Checked<D>, rows: usize, set: &Set<D>, active: &Array<D, u32>) {
    device.clear(&set.bits);
    let arguments = [
        set.counts.of(rows),
        set.latents.of(rows * set.stride),
        set.values.of(rows * set.stride),
        (set.stride as u32).into(),
        (set.words as u32).into(),
        set.bits.all(),
        active.all(),
    ];
    device.launch("mark", [rows as u32, 1, 1], arguments);
}

/// Codes by latent, from their bits.
pub(super) fn transpose<D: Device>(device: &Checked<D>, rows: usize, set: &Set<D>, n_q: usize) {
    let grid = [device.warps(n_q), 1, 1];
    let arguments = [set.bits.all(), (set.words as u32).into(), set.of_latent.all(), (n_q as u32).into()];
    device.launch("count_bits", grid, arguments);
    scan(device, &set.of_latent, &set.starts, &set.sums, n_q);
    let arguments = [
        set.bits.all(),
        (set.words as u32).into(),
        set.starts.all(),
        set.counts.of(rows),
        set.latents.of(rows * set.stride),
        (set.stride as u32).into(),
        set.rows.of(rows * set.stride),
        set.places.of(rows * set.stride),
        (n_q as u32).into(),
    ];
    device.launch("by_latent", grid, arguments);
}

/// Sums of numbers before each one, and of all.
fn scan<D: Device>(device: &Checked<D>, from: &Array<D, u32>, to: &Array<D, u32>, sums: &Array<D, u32>, n: usize) {
    let blocks = device.blocks(n);
    let grid = [blocks, 1, 1];
    device.launch("scan_blocks", grid, [from.of(n), to.of(n + 1), sums.of(blocks as usize), (n as u32).into()]);
    device.launch("scan_join", grid, [to.of(n + 1), sums.of(blocks as usize), (n as u32).into()]);
}

/// Words as bytes, for a collective.
pub(super) fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Words from bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word))
}

fn clamped(k: usize) -> u32 {
    u32::try_from(k).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarser_screen_has_a_wider_bound() {
        let of = |encoder| Slack::of(encoder, 768).product;
        // Twice the rounding of an operand, to first order, and sums.
        assert!(of(Encoder::F32) < 2e-4 && of(Encoder::F32) > 768.0 * U as f32);
        assert!((2.0 / 1024.0..3.0 / 1024.0).contains(&of(Encoder::Tf32)));
        assert!((2.0 / 256.0..2.2 / 256.0).contains(&of(Encoder::Bf16)));
    }
}
