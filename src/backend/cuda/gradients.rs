//! Reconstructions, residuals, gradients and the update.

use super::checked::{Array, Checked, Given, Matrices};
use super::device::{Device, Precision};
use super::encode::{mark, transpose};
use super::state::{Batch, Grads, Kept, OptState, Params, ROWS, Room, SQUARES, Set, others, pack, packed};
use crate::backend::{Gather, Rule, Spec, THRESHOLD_DECAY};
use crate::bench::philox::Philox;
use crate::sdl::{Activation, AuxTarget, Parameter, Shape};

/// Blocks among which lists of codes are shared: what an H200 holds at once, 132 multiprocessors with four blocks each, and some more, which find
/// nothing left.
const BLOCKS: u32 = 640;
/// The same for lists that are cut, in each group of columns.
const JOINERS: u32 = 128;

/// A batch on its way through a step.
pub(super) struct Pass<'a, D: Device> {
    pub device: &'a Checked<D>,
    pub spec: &'a Spec,
    pub params: &'a Params<D>,
    pub batch: &'a Batch<D>,
    pub room: &'a Room<D>,
    pub rows: usize,
}

/// What reconstructs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The selected latents.
    Main,
    /// The gates of Gated.
    Gates,
    /// The dead latents of AuxK.
    Dead,
}

impl Which {
    /// All of them; AuxK needs the residuals of the first.
    pub const ALL: [Self; 3] = [Self::Main, Self::Gates, Self::Dead];
}

/// One call of `decode`.
struct Decoded<'a, D: Device> {
    set: &'a Set<D>,
    values: &'a Array<D, f32>,
    has_levels: bool,
    /// Bias and linear part take part.
    affine: bool,
    target: &'a Array<D, f32>,
    /// Numbers from one target to the next, and where the first begins.
    strides: [usize; 2],
    from_residual: bool,
    skip_empty: bool,
    lambdas: &'a Array<D, f32>,
    parts: usize,
    residuals: &'a Array<D, f32>,
    upstream: &'a Array<D, f32>,
    squares: &'a Array<D, f32>,
}

impl<D: Device> Pass<'_, D> {
    fn parts(&self) -> usize {
        self.spec.objective.scales.weights().len()
    }

    /// Residuals of all parts, of gates and of AuxK, and penalties.
    pub fn decode(&self) {
        self.linear();
        for which in Which::ALL {
            if let Some(of) = self.decoded(which) {
                self.decode_set(&of, None);
            }
        }
        self.row_terms();
    }

    /// W_S x_p.
    pub fn linear(&self) {
        let Self { device, spec, params, batch, room, rows } = *self;
        let Shape { n_p, n_r, .. } = spec.shape;
        if let (Some(linear), Some(skip)) = (&room.linear, params.blocks.get(Parameter::Skip)) {
            let (precision, sizes) = (Precision::F32, [rows, n_r, n_p]);
            let (a, b) = ((&batch.inputs, n_p), (skip, n_p));
            device.product(&Matrices { precision, transposed: false, sizes, a, b, c: linear });
        }
    }

    /// What these latents have in residuals, and with `affine` everything else; false where there are none of these. [`Pass::finish`] goes on from
    /// the sum over ranks.
    pub fn start(&self, which: Which, affine: bool) -> bool {
        let decoded = self.decoded(which);
        if let Some(of) = &decoded {
            self.decode_set(of, Some(affine));
        }
        decoded.is_some()
    }

    /// See [`Pass::start`].
    pub fn finish(&self, which: Which) {
        let Self { device, spec, batch, room, rows, .. } = *self;
        let (Some(of), n_r) = (self.decoded(which), spec.shape.n_r) else { return };
        let counts = room.aux.as_ref().map_or(&of.set.counts, |aux| &aux.counts);
        let arguments = [
            counts.of(rows),
            of.skip_empty.into(),
            batch.weights.of(rows),
            of.lambdas.of(of.parts),
            (of.parts as u32).into(),
            of.residuals.of(rows * of.parts * n_r),
            of.upstream.of(rows * of.parts * n_r),
            of.squares.of(rows * of.parts),
            (n_r as u32).into(),
        ];
        device.launch("residual_terms", [rows as u32, 1, 1], arguments);
    }

    fn decoded(&self, which: Which) -> Option<Decoded<'_, D>> {
        let Self { spec, batch, room, .. } = *self;
        let (parts, n_r) = (self.parts(), spec.shape.n_r);
        let main = Decoded {
            set: &room.main,
            values: &room.main.values,
            has_levels: parts > 1,
            affine: true,
            target: batch.targets(),
            strides: [n_r, 0],
            from_residual: false,
            skip_empty: false,
            lambdas: &room.lambdas,
            parts,
            residuals: &room.residuals,
            upstream: &room.upstream,
            squares: &room.squares,
        };
        match which {
            Which::Main => Some(main),
            Which::Gates => room.gates.as_ref().map(|gates| Decoded {
                values: &gates.pi,
                has_levels: false,
                lambdas: &room.one,
                parts: 1,
                residuals: &gates.residuals,
                upstream: &gates.upstream,
                squares: &gates.squares,
                ..main
            }),
            Which::Dead => {
                let (of, aux) = spec.objective.aux.zip(room.aux.as_ref())?;
                let from_residual = of.target == AuxTarget::Residual;
                Some(Decoded {
                    set: &aux.set,
                    values: &aux.set.values,
                    has_levels: false,
                    affine: false,
                    target: if from_residual { &room.residuals } else { batch.targets() },
                    strides: if from_residual { [parts * n_r, (parts - 1) * n_r] } else { [n_r, 0] },
                    from_residual,
                    skip_empty: true,
                    lambdas: &aux.lambda,
                    parts: 1,
                    residuals: &aux.residuals,
                    upstream: &aux.upstream,
                    squares: &aux.squares,
                })
            }
        }
    }

    /// `part` of several ranks: the one that has everything but latents, or another.
    fn decode_set(&self, of: &Decoded<'_, D>, part: Option<bool>) {
        let Self { device, spec, params, batch, room, rows } = *self;
        let n_r = spec.shape.n_r;
        let selected = rows * of.set.stride;
        let (bias, linear) = (params.blocks.get(Parameter::DecoderBias), room.linear.as_ref());
        let needed = |is_there: bool, count: usize| if is_there { count } else { 0 };
        let has_target = part.unwrap_or(true);
        let affine = of.affine && has_target;
        let halves = spec.gather == Gather::Bf16;
        let arguments = [
            of.set.counts.of(rows),
            of.set.latents.of(selected),
            of.values.of(selected),
            of.set.levels.of(selected),
            of.has_levels.into(),
            (of.set.stride as u32).into(),
            params.decoder().all(),
            params.packed().of(needed(halves, spec.shape.n_q * packed(n_r))),
            halves.into(),
            bias.unwrap_or(&room.one).of(needed(bias.is_some(), n_r)),
            (affine && bias.is_some()).into(),
            linear.unwrap_or(&room.one).of(needed(linear.is_some(), rows * n_r)),
            (affine && linear.is_some()).into(),
            of.target.of(rows * of.strides[0]),
            has_target.into(),
            (of.strides[0] as u32).into(),
            (of.strides[1] as u32).into(),
            of.from_residual.into(),
            // Another rank may have codes of the row.
            (of.skip_empty && part.is_none()).into(),
            batch.weights.of(rows),
            of.lambdas.of(of.parts),
            (of.parts as u32).into(),
            of.residuals.of(rows * of.parts * n_r),
            of.upstream.of(rows * of.parts * n_r),
            of.squares.of(rows * of.parts),
            (n_r as u32).into(),
        ];
        device.launch("decode", [rows as u32, 1, 1], arguments);
    }

    /// Penalties.
    pub fn row_terms(&self) {
        let Self { device, spec, params, room, .. } = *self;
        if spec.objective.l1_by_decoder_norm {
            let Shape { n_q, n_r, .. } = spec.shape;
            let arguments = [params.decoder().all(), room.column_norms.all(), (n_q as u32).into(), (n_r as u32).into()];
            device.launch("norms", [device.warps(n_q), 1, 1], arguments);
        }
        self.penalties();
    }

    fn penalties(&self) {
        let Self { device, spec, params, room, rows, .. } = *self;
        let (objective, set) = (&spec.objective, &room.main);
        let selected = rows * set.stride;
        let l0 = if matches!(params.activation, Activation::JumpRelu { .. }) { objective.l0 } else { 0.0 };
        let arguments = [
            set.counts.of(rows),
            set.latents.of(selected),
            set.values.of(selected),
            room.gates.as_ref().map_or(&set.values, |gates| &gates.pi).of(selected),
            (set.stride as u32).into(),
            room.column_norms.all(),
            objective.l1_by_decoder_norm.into(),
            (objective.l1 as f32).into(),
            (l0 as f32).into(),
            room.penalties.of(rows),
            room.active_of_row.of(rows),
        ];
        device.launch("row_terms", [rows as u32, 1, 1], arguments);
    }

    /// Gradients of all terms but anchoring.
    pub fn backward(&self, grads: &Grads<D>) {
        let Self { device, spec, params, batch, room, rows } = *self;
        let Shape { n_p, n_r, n_q } = spec.shape;
        let (parts, objective) = (self.parts(), &spec.objective);
        device.clear(&grads.clip);
        for zeroed in [&grads.sums, &grads.spare] {
            device.clear(zeroed);
        }
        for parameter in [Parameter::EncoderBias, Parameter::GateScale, Parameter::MagnitudeBias] {
            if let Some(g) = grads.blocks.get(parameter) {
                device.clear(g);
            }
        }
        device.clear(&grads.live);
        transpose(device, rows, &room.main, n_q);
        if let Some(of) = &room.packed {
            pack(device, self.inputs(), rows, n_p, &of.inputs);
            if let Some(gates) = &room.gates {
                pack(device, &gates.upstream, rows, n_r, &of.gates);
            }
        }
        self.backward_set(&room.main, &room.upstream, parts, objective.l1, false, grads);
        if let Some(aux) = &room.aux {
            mark(device, rows, &aux.set, &room.ignored);
            transpose(device, rows, &aux.set, n_q);
            self.backward_set(&aux.set, &aux.upstream, 1, 0.0, true, grads);
        }
        if let Activation::JumpRelu { bandwidth, .. } = params.activation
            && let Some(band) = &room.band
        {
            mark(device, rows, band, &room.ignored);
            transpose(device, rows, band, n_q);
            let selected = rows * band.stride;
            let arguments = [
                band.starts.all(),
                band.rows.of(selected),
                band.places.of(selected),
                band.values.of(selected),
                band.levels.of(selected),
                room.upstream.of(rows * parts * n_r),
                (parts as u32).into(),
                params.decoder().all(),
                room.theta.all(),
                room.column_norms.all(),
                objective.l1_by_decoder_norm.into(),
                batch.weights.of(rows),
                (objective.l1 as f32).into(),
                (objective.l0 as f32).into(),
                (bandwidth as f32).into(),
                grads.or_spare(Parameter::LogThreshold).of(n_q),
                (n_r as u32).into(),
            ];
            device.launch("band", [n_q as u32, 1, 1], arguments);
        }
        if let Some(out) = grads.blocks.get(Parameter::InputBias) {
            self.column_sums(params.encoder(), n_p, Some(&grads.sums), n_q, n_p, -1.0, grads, out);
        }
        if let Some(out) = grads.blocks.get(Parameter::DecoderBias) {
            self.column_sums(&room.upstream, parts * n_r, None, rows, n_r, 1.0, grads, out);
        }
        if let Some(c) = grads.blocks.get(Parameter::Skip) {
            let (precision, sizes) = (Precision::F32, [n_r, n_p, rows]);
            let (a, b) = ((&room.upstream, parts * n_r), (&batch.inputs, n_p));
            device.product(&Matrices { precision, transposed: true, sizes, a, b, c });
        }
    }

    /// x'.
    fn inputs(&self) -> &Array<D, f32> {
        self.room.centred.as_ref().unwrap_or(&self.batch.inputs)
    }

    fn backward_set(
        &self,
        set: &Set<D>,
        upstream: &Array<D, f32>,
        parts: usize,
        l1: f64,
        adds: bool,
        grads: &Grads<D>,
    ) {
        let Self { device, spec, params, batch, room, rows } = *self;
        let Shape { n_p, n_r, n_q } = spec.shape;
        let selected = rows * set.stride;
        let lists = &grads.lists;
        let slots = lists.slots as u32;
        device.clear(&lists.tally);
        let arguments = [
            set.starts.all(),
            adds.into(),
            grads.live.all(),
            slots.into(),
            lists.tally.all(),
            lists.whole.all(),
            lists.cut.all(),
            lists.joins.all(),
            (n_q as u32).into(),
        ];
        device.launch("cut_lists", [device.blocks(n_q), 1, 1], arguments);
        let gates = room.gates.as_ref().filter(|_| !adds);
        let needed = |count: usize| if gates.is_some() { count } else { 0 };
        let by_norm = spec.objective.l1_by_decoder_norm && !adds;
        let halves = room.packed.as_ref();
        if let Some(of) = halves {
            pack(device, upstream, rows * parts, n_r, &of.upstream);
        }
        let in_halves = |count: usize| if halves.is_some() { count } else { 0 };
        let arguments = [
            set.starts.all(),
            set.rows.of(selected),
            set.places.of(selected),
            set.values.of(selected),
            set.levels.of(selected),
            gates.map_or(&room.one, |gates| &gates.pi).of(needed(selected)),
            gates.map_or(&room.one, |gates| &gates.scores).of(needed(selected)),
            self.inputs().of(rows * n_p),
            upstream.of(rows * parts * n_r),
            (parts as u32).into(),
            gates.map_or(&room.one, |gates| &gates.upstream).of(needed(rows * n_r)),
            gates.is_some().into(),
            halves.map_or(params.packed(), |of| &of.inputs).of(in_halves(rows * packed(n_p))),
            halves.map_or(params.packed(), |of| &of.upstream).of(in_halves(rows * parts * packed(n_r))),
            halves.map_or(params.packed(), |of| &of.gates).of(in_halves(needed(rows * packed(n_r)))),
            halves.is_some().into(),
            params.decoder().all(),
            room.rho.all(),
            room.column_norms.all(),
            by_norm.into(),
            batch.weights.of(rows),
            (l1 as f32).into(),
            slots.into(),
            lists.tally.all(),
            lists.whole.all(),
            lists.cut.all(),
            lists.scratch.all(),
            lists.totals.all(),
            grads.or_spare(Parameter::Encoder).of(n_q * n_p),
            grads.or_spare(Parameter::Decoder).of(n_q * n_r),
            grads.or_spare(Parameter::EncoderBias).of(n_q),
            grads.sums.all(),
            grads.or_spare(Parameter::GateScale).of(n_q),
            grads.or_spare(Parameter::MagnitudeBias).of(n_q),
            (n_p as u32).into(),
            (n_r as u32).into(),
        ];
        device.launch("backward", [(n_q as u32).saturating_add(slots).min(BLOCKS), 1, 1], arguments);
        let arguments = [
            set.starts.all(),
            lists.tally.all(),
            lists.joins.all(),
            lists.scratch.all(),
            lists.totals.all(),
            params.decoder().all(),
            by_norm.into(),
            gates.is_some().into(),
            grads.or_spare(Parameter::Encoder).of(n_q * n_p),
            grads.or_spare(Parameter::Decoder).of(n_q * n_r),
            grads.or_spare(Parameter::EncoderBias).of(n_q),
            grads.sums.all(),
            grads.or_spare(Parameter::GateScale).of(n_q),
            grads.or_spare(Parameter::MagnitudeBias).of(n_q),
            (n_p as u32).into(),
            (n_r as u32).into(),
        ];
        // No list that is cut has fewer than two pieces.
        device.launch("join_pieces", [(slots / 2).min(JOINERS), device.blocks(n_p + n_r), 1], arguments);
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of two kernels")]
    fn column_sums(
        &self,
        matrix: &Array<D, f32>,
        stride: usize,
        factors: Option<&Array<D, f32>>,
        rows: usize,
        columns: usize,
        sign: f32,
        grads: &Grads<D>,
        out: &Array<D, f32>,
    ) {
        let (device, groups) = (self.device, rows.div_ceil(ROWS));
        let blocks = device.blocks(columns);
        let needed = if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let arguments = [
            matrix.of(needed),
            (stride as u64).into(),
            factors.unwrap_or(&self.room.one).of(if factors.is_some() { rows } else { 0 }),
            factors.is_some().into(),
            (rows as u32).into(),
            (columns as u32).into(),
            (ROWS as u32).into(),
            grads.partial.of(groups * columns),
        ];
        device.launch("column_sums", [blocks, groups as u32, 1], arguments);
        let arguments = [
            grads.partial.of(groups * columns),
            (groups as u32).into(),
            (columns as u32).into(),
            sign.into(),
            out.all(),
        ];
        device.launch("join_sums", [blocks, 1, 1], arguments);
    }
}

/// Known features on the device.
pub(super) struct Anchored<D: Device> {
    pub latents: Array<D, u32>,
    pub inputs: Array<D, f32>,
    pub targets: Array<D, f32>,
}

impl<D: Device> Anchored<D> {
    /// None where the term vanishes.
    pub fn new(device: &Checked<D>, spec: &Spec) -> Option<Self> {
        let anchors = &spec.anchors;
        (anchors.weight != 0.0 && !anchors.is_empty()).then(|| Self {
            latents: device.array(&anchors.latents),
            inputs: device.array(&anchors.inputs),
            targets: device.array(&anchors.targets),
        })
    }
}

/// One update.
pub(super) struct Update<'a, D: Device> {
    pub device: &'a Checked<D>,
    pub spec: &'a Spec,
    pub anchors: Option<&'a Anchored<D>>,
    /// Ranks with other latents: whether parameters that all of them have count here, and the sum of squared norms.
    pub others: Option<(bool, &'a mut dyn FnMut(f64) -> f64)>,
}

/// The numbers of a rule at one step, and the decay that matrices keep.
#[derive(Clone, Copy)]
struct Rates {
    is_sgd: bool,
    /// η or η/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), β₁, 1 − β₁, β₂, 1 − β₂, ε.
    numbers: [f32; 7],
    keep: f32,
}

impl Rates {
    fn new(spec: &Spec, rate: f64, done: u64) -> Self {
        let optimizer = &spec.optimizer;
        let t = i32::try_from(done + 1).unwrap_or(i32::MAX);
        let is_sgd = optimizer.rule == Rule::Sgd;
        let (beta_1, beta_2) = (optimizer.beta_1, optimizer.beta_2);
        let correct = |rate: f64, by: f64| if is_sgd { rate } else { rate / by };
        let decay = if optimizer.rule == Rule::AdamW { optimizer.weight_decay } else { 0.0 };
        let numbers = [
            correct(rate, 1.0 - beta_1.powi(t)),
            correct(1.0, (1.0 - beta_2.powi(t)).sqrt()),
            beta_1,
            1.0 - beta_1,
            beta_2,
            1.0 - beta_2,
            optimizer.epsilon,
        ];
        Self { is_sgd, numbers: numbers.map(|x| x as f32), keep: (1.0 - rate * decay) as f32 }
    }
}

impl<D: Device> Update<'_, D> {
    pub fn run(
        mut self,
        params: &mut Params<D>,
        opt: &mut OptState<D>,
        room: &Room<D>,
        rows: usize,
        grads: &mut Grads<D>,
    ) {
        let Self { device, spec, .. } = self;
        let Shape { n_p, n_r, n_q } = spec.shape;
        let rate = spec.optimizer.learning_rate * spec.schedule.share_with(opt.warm_up, opt.step);
        let rates = Rates::new(spec, rate, opt.step);
        let (g_w, g_v) = (grads.or_spare(Parameter::Encoder), grads.or_spare(Parameter::Decoder));
        if let Some(anchors) = self.anchors {
            let arguments = [
                anchors.latents.all(),
                anchors.inputs.all(),
                anchors.targets.all(),
                ((2.0 * spec.anchors.weight) as f32).into(),
                grads.live.all(),
                params.encoder().all(),
                params.decoder().all(),
                g_w.of(n_q * n_p),
                g_v.of(n_q * n_r),
                (n_p as u32).into(),
                (n_r as u32).into(),
            ];
            device.launch("anchor", [anchors.latents.len() as u32, 1, 1], arguments);
        }
        // Without clipping the norm is for those who ask; ranks that hold other latents cannot be asked later.
        grads.norm_is_due = spec.optimizer.clip == 0.0 && self.others.is_none();
        if grads.norm_is_due {
            if spec.unit_decoder {
                self.squares(params, grads, true, 0);
            }
        } else {
            self.squares(params, grads, spec.unit_decoder, n_p);
            self.norm(grads);
        }
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            self.rows(parameter, rates, params, opt, grads);
        }
        for parameter in others(&grads.blocks) {
            let keep = if parameter == Parameter::Skip { rates.keep } else { 1.0 };
            let [g, w, m, v] = blocks(parameter, params, opt, grads);
            let count = grads.or_spare(parameter).len();
            let [rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon] = rates.numbers.map(Given::from);
            let arguments = vec![
                g,
                grads.factor(),
                w,
                m,
                v,
                rates.is_sgd.into(),
                rate,
                correction,
                beta_1,
                rest_1,
                beta_2,
                rest_2,
                epsilon,
                keep.into(),
                (count as u64).into(),
            ];
            let (kernel, arguments) = rounded(["update_flat", "update_flat_bf16"], arguments, parameter, opt);
            device.launch_with(kernel, [device.some(count), 1, 1], arguments);
        }
        opt.step += 1;
        let arguments = [room.active.all(), opt.idle.all(), (rows as u32).into(), (n_q as u32).into()];
        device.launch("count_idle", [device.blocks(n_q), 1, 1], arguments);
        if let Activation::BatchTopK { .. } = params.activation {
            let arguments = [params.threshold.all(), room.least.all(), THRESHOLD_DECAY.into()];
            device.launch("update_threshold", [1, 1, 1], arguments);
        }
    }

    /// Leaves the norm of all gradients on the device where [`Update::run`] has not needed it: those that are there are what it has met, projected.
    pub fn norm_as_met(mut self, params: &Params<D>, grads: &Grads<D>) {
        if grads.norm_is_due {
            self.squares(params, grads, false, self.spec.shape.n_p);
            self.norm(grads);
        }
    }

    /// Projects the gradients of columns (`unit`), and sums the squares of each latent, of W_E only where its n_p numbers are asked for.
    fn squares(&self, params: &Params<D>, grads: &Grads<D>, unit: bool, n_p: usize) {
        let Shape { n_r, n_q, .. } = self.spec.shape;
        let arguments = [
            grads.live.all(),
            grads.or_spare(Parameter::Encoder).of(n_q * n_p),
            grads.or_spare(Parameter::Decoder).of(n_q * n_r),
            params.decoder().all(),
            unit.into(),
            grads.squares.of(n_q),
            (n_p as u32).into(),
            (n_r as u32).into(),
        ];
        self.device.launch("gradient_squares", [n_q as u32, 1, 1], arguments);
    }

    /// The norm of all gradients and the factor of clipping, from the squares of latents.
    fn norm(&mut self, grads: &Grads<D>) {
        let Self { device, spec, .. } = *self;
        let shared = self.others.as_ref().is_none_or(|(shared, _)| *shared);
        let n_q = spec.shape.n_q;
        let mut next = n_q;
        for parameter in others(&grads.blocks).filter(|parameter| shared || parameter.is_per_latent()) {
            let g = grads.or_spare(parameter);
            let blocks = g.len().div_ceil(SQUARES);
            let arguments = [
                g.all(),
                (g.len() as u64).into(),
                (SQUARES as u64).into(),
                grads.squares.of(next + blocks),
                (next as u32).into(),
            ];
            device.launch("sum_squares", [blocks as u32, 1, 1], arguments);
            next += blocks;
        }
        let arguments = [grads.squares.of(next), (next as u32).into(), spec.optimizer.clip.into(), grads.clip.all()];
        device.launch("clipping", [1, 1, 1], arguments);
        if let Some((_, sum)) = &mut self.others {
            // The square root of a square is that number again.
            let own = device.download(&grads.clip, 1)[0];
            let (norm, clip) = (sum(own * own).sqrt(), spec.optimizer.clip);
            device.upload(&[norm, if clip > 0.0 && norm > clip { clip / norm } else { 1.0 }], &grads.clip);
        }
    }

    fn rows(&self, parameter: Parameter, rates: Rates, params: &Params<D>, opt: &OptState<D>, grads: &Grads<D>) {
        let Self { device, spec, .. } = *self;
        let (n_q, columns) = parameter.size(spec.shape);
        let is_encoder = parameter == Parameter::Encoder;
        let halves = is_encoder && params.has_half();
        let packs = !is_encoder && spec.gather == Gather::Bf16;
        let half = if packs {
            params.packed().of(n_q * packed(columns))
        } else {
            params.half().of(if halves { n_q * columns } else { 0 })
        };
        let [g, w, m, v] = blocks(parameter, params, opt, grads);
        let [rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon] = rates.numbers.map(Given::from);
        let arguments = vec![
            grads.live.all(),
            g,
            grads.factor(),
            w,
            m,
            v,
            rates.is_sgd.into(),
            rate,
            correction,
            beta_1,
            rest_1,
            beta_2,
            rest_2,
            epsilon,
            rates.keep.into(),
            (spec.unit_decoder && !is_encoder).into(),
            params.norms.all(),
            is_encoder.into(),
            half,
            halves.into(),
            packs.into(),
            (columns as u32).into(),
        ];
        let (kernel, arguments) = rounded(["update_rows", "update_rows_bf16"], arguments, parameter, opt);
        device.launch_with(kernel, [n_q as u32, 1, 1], arguments);
    }
}

/// Gradient, parameter, first and second moments; without second moments the first stand for them, and are not read twice.
fn blocks<'a, D: Device>(
    parameter: Parameter,
    params: &'a Params<D>,
    opt: &'a OptState<D>,
    grads: &'a Grads<D>,
) -> [Given<'a, D>; 4] {
    let count = grads.or_spare(parameter).len();
    let first = || opt.first.of(parameter).unwrap_or(grads.spare.all());
    let second = opt.second.as_ref().and_then(|second| second.of(parameter)).unwrap_or_else(first);
    [grads.or_spare(parameter).of(count), params.block(parameter).of(count), first(), second]
}

/// Of two kernels the one for moments as they are stored, in f32 or in bf16; the second is told what its random words are drawn by.
fn rounded<'a, D: Device>(
    [plain, random]: [&'static str; 2],
    mut arguments: Vec<Given<'a, D>>,
    parameter: Parameter,
    opt: &OptState<D>,
) -> (&'static str, Vec<Given<'a, D>>) {
    if let Kept::F32(_) = opt.first {
        return (plain, arguments);
    }
    let key = rounding(parameter).key();
    arguments.extend([key[0].into(), key[1].into(), opt.step.into()]);
    (random, arguments)
}

/// The random words by which moments of a parameter are rounded to bf16: a function of the step and of the place in the parameter, so that
/// they need no state, and all ranks draw the same.
pub fn rounding(parameter: Parameter) -> Philox {
    Philox::stream(0, &format!("moments of {}", parameter.name()))
}
