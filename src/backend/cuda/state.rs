//! What lives on the device: parameters, moments, batches, codes, gradients.

use super::checked::{Array, Checked, Given, Number};
use super::device::Device;
use crate::backend::{HostOptState, Moments, Rows, Rule, Spec, WarmUp};
use crate::bench::coefficients::Tables;
use crate::bench::config::BenchConfig;
use crate::bench::dataset::{Bench, Side};
use crate::sdl::{Activation, Model, Parameter, Shape, Tensors};
use half::bf16;

/// One array for each parameter that a model has.
pub(super) struct Blocks<D: Device, T = f32> {
    pub shape: Shape,
    blocks: [Option<Array<D, T>>; 9],
}

impl<D: Device, T: Number> Blocks<D, T> {
    pub fn zeros_like<U: Number>(device: &Checked<D>, other: &Blocks<D, U>) -> Self {
        let block = |p: Parameter| other.get(p).map(|array| device.zeros(array.len()));
        Self { shape: other.shape, blocks: Parameter::ALL.map(block) }
    }

    pub fn get(&self, parameter: Parameter) -> Option<&Array<D, T>> {
        self.blocks[parameter as usize].as_ref()
    }

    pub fn get_mut(&mut self, parameter: Parameter) -> Option<&mut Array<D, T>> {
        self.blocks[parameter as usize].as_mut()
    }

    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        Parameter::ALL.into_iter().filter(|p| self.get(*p).is_some())
    }

    /// All numbers, `write` from an array's into a tensor's.
    fn downloaded(&self, device: &Checked<D>, write: impl Fn(&[T], &mut [f32])) -> Tensors<f32> {
        let mut tensors = Tensors::zeros(self.shape, self.parameters());
        for parameter in Parameter::ALL {
            if let (Some(to), Some(array)) = (tensors.get_mut(parameter), self.get(parameter)) {
                write(&device.download(array, array.len()), to);
            }
        }
        tensors
    }
}

impl<D: Device> Blocks<D> {
    pub fn upload(device: &Checked<D>, tensors: &Tensors<f32>) -> Self {
        let block = |p: Parameter| tensors.get(p).map(|numbers| device.array(numbers));
        Self { shape: tensors.shape(), blocks: Parameter::ALL.map(block) }
    }

    pub fn download(&self, device: &Checked<D>) -> Tensors<f32> {
        self.downloaded(device, |from, to| to.copy_from_slice(from))
    }
}

/// First or second moments, as [`Spec::moments`] stores them.
pub(super) enum Kept<D: Device> {
    F32(Blocks<D>),
    Bf16(Blocks<D, u16>),
}

impl<D: Device> Kept<D> {
    fn zeros_like(device: &Checked<D>, moments: Moments, blocks: &Blocks<D>) -> Self {
        match moments {
            Moments::F32 => Self::F32(Blocks::zeros_like(device, blocks)),
            Moments::Bf16 => Self::Bf16(Blocks::zeros_like(device, blocks)),
        }
    }

    /// What [`Kept::download`] has given comes back as it was.
    fn upload(device: &Checked<D>, moments: Moments, tensors: &Tensors<f32>) -> Self {
        let rounded = |numbers: &[f32]| numbers.iter().map(|x| bf16::from_f32(*x).to_bits()).collect::<Vec<_>>();
        let block = |p: Parameter| tensors.get(p).map(|numbers| device.array(&rounded(numbers)));
        match moments {
            Moments::F32 => Self::F32(Blocks::upload(device, tensors)),
            Moments::Bf16 => Self::Bf16(Blocks { shape: tensors.shape(), blocks: Parameter::ALL.map(block) }),
        }
    }

    fn download(&self, device: &Checked<D>) -> Tensors<f32> {
        let widened = |from: &[u16], to: &mut [f32]| {
            to.iter_mut().zip(from).for_each(|(to, x)| *to = bf16::from_bits(*x).to_f32());
        };
        match self {
            Self::F32(blocks) => blocks.download(device),
            Self::Bf16(blocks) => blocks.downloaded(device, widened),
        }
    }

    /// Those of one parameter as an argument of a kernel.
    pub fn of(&self, parameter: Parameter) -> Option<Given<'_, D>> {
        match self {
            Self::F32(blocks) => blocks.get(parameter).map(Array::all),
            Self::Bf16(blocks) => blocks.get(parameter).map(Array::all),
        }
    }
}

/// Numbers of a packed row of n: see `packed` of `common.cuh`.
pub(super) fn packed(n: usize) -> usize {
    n.div_ceil(STRIPE).saturating_mul(STRIPE)
}

/// Packs rows of n numbers in bf16.
pub(super) fn pack<D: Device>(device: &Checked<D>, from: &Array<D, f32>, rows: usize, n: usize, to: &Array<D, u16>) {
    let arguments = [from.of(rows * n), to.of(rows * packed(n)), (rows as u32).into(), (n as u32).into()];
    device.launch("pack_rows", [device.some(rows.saturating_mul(n)), 1, 1], arguments);
}

/// Weights and biases on the device.
pub struct Params<D: Device> {
    pub(super) activation: Activation,
    pub(super) blocks: Blocks<D>,
    /// θ of BatchTopK, and 1 once there is one.
    pub(super) threshold: Array<D, f32>,
    /// Upper bounds of ‖w_i‖.
    pub(super) norms: Array<D, f32>,
    /// W_E in bf16, where a product reads it; else empty. Updates write it together with W_E.
    half: Array<D, u16>,
    /// Columns of W_D packed in bf16, where they are gathered so; else empty. Updates write it together with W_D.
    packed: Array<D, u16>,
    /// b_E, or zeros.
    pub(super) no_bias: Option<Array<D, f32>>,
}

impl<D: Device> Params<D> {
    /// With W_E in bf16 for products, and with packed columns of W_D.
    pub(super) fn new(device: &Checked<D>, model: &Model, [half, packs]: [bool; 2]) -> Self {
        let blocks = Blocks::upload(device, &model.tensors);
        let Shape { n_p, n_r, n_q } = blocks.shape;
        let threshold = [model.threshold.unwrap_or(0.0), f32::from(u8::from(model.threshold.is_some()))];
        let params = Self {
            activation: model.activation,
            threshold: device.array(&threshold),
            norms: device.zeros(n_q),
            half: device.zeros(if half { n_q * n_p } else { 0 }),
            packed: device.zeros(if packs { n_q * packed(n_r) } else { 0 }),
            no_bias: blocks.get(Parameter::EncoderBias).is_none().then(|| device.zeros(n_q)),
            blocks,
        };
        let grid = [device.warps(n_q), 1, 1];
        device.launch(
            "norms_above",
            grid,
            [params.encoder().all(), params.norms.all(), (n_q as u32).into(), (n_p as u32).into()],
        );
        let count = params.half.len();
        let arguments = [params.encoder().of(count), params.half.all(), (count as u64).into()];
        device.launch("to_bf16", [device.some(count), 1, 1], arguments);
        if packs {
            pack(device, params.decoder(), n_q, n_r, &params.packed);
        }
        params
    }

    /// Whether a product reads W_E in bf16.
    pub(super) fn has_half(&self) -> bool {
        !self.half.is_empty()
    }

    /// W_E in bf16, or nothing.
    pub(super) fn half(&self) -> &Array<D, u16> {
        &self.half
    }

    /// Packed columns of W_D, or nothing.
    pub(super) fn packed(&self) -> &Array<D, u16> {
        &self.packed
    }

    pub(super) fn encoder(&self) -> &Array<D, f32> {
        self.block(Parameter::Encoder)
    }

    pub(super) fn decoder(&self) -> &Array<D, f32> {
        self.block(Parameter::Decoder)
    }

    /// b_E, or zeros.
    pub(super) fn encoder_bias(&self) -> &Array<D, f32> {
        self.blocks.get(Parameter::EncoderBias).or(self.no_bias.as_ref()).unwrap_or(&self.norms)
    }

    /// A parameter that models of this activation have; a stand-in that no kernel reads where they have not.
    pub(super) fn block(&self, parameter: Parameter) -> &Array<D, f32> {
        self.blocks.get(parameter).unwrap_or(&self.threshold)
    }
}

/// Moments, step count, dead counters.
pub struct OptState<D: Device> {
    pub(super) step: u64,
    pub(super) warm_up: WarmUp,
    pub(super) first: Kept<D>,
    pub(super) second: Option<Kept<D>>,
    pub(super) idle: Array<D, u64>,
}

impl<D: Device> OptState<D> {
    pub(super) fn new(device: &Checked<D>, spec: &Spec, params: &Params<D>) -> Self {
        let zeros = || Kept::zeros_like(device, spec.moments, &params.blocks);
        Self {
            step: 0,
            warm_up: spec.schedule.first_warm_up(),
            first: zeros(),
            second: (spec.optimizer.rule != Rule::Sgd).then(zeros),
            idle: device.zeros(spec.shape.n_q),
        }
    }

    pub(super) fn restored(device: &Checked<D>, spec: &Spec, state: &HostOptState) -> Self {
        let upload = |tensors| Kept::upload(device, spec.moments, tensors);
        Self {
            step: state.step,
            warm_up: state.warm_up,
            first: upload(&state.first),
            second: state.second.as_ref().map(upload),
            idle: device.array(&state.idle),
        }
    }

    pub(super) fn save(&self, device: &Checked<D>) -> HostOptState {
        HostOptState {
            step: self.step,
            warm_up: self.warm_up,
            first: self.first.download(device),
            second: self.second.as_ref().map(|second| second.download(device)),
            idle: device.download(&self.idle, self.idle.len()),
        }
    }
}

/// Samples on the device.
pub struct Batch<D: Device> {
    pub(super) rows: usize,
    pub(super) inputs: Array<D, f32>,
    /// Absent where x_r is x_p.
    pub(super) targets: Option<Array<D, f32>>,
    pub(super) weights: Array<D, f32>,
    pub(super) host_weights: Vec<f64>,
    /// Numbers of samples that are drawn.
    pub(super) indices: Array<D, u64>,
    /// The bench that was drawn from last.
    pub(super) drawn: Option<Drawn<D>>,
    /// Where the next samples of the host go.
    next: Option<Next<D>>,
}

/// Room for the samples of the host that come next: they are copied while a step still computes with those before. The two rooms take turns.
struct Next<D: Device> {
    inputs: Array<D, f32>,
    targets: Option<Array<D, f32>>,
    /// From which this room is filled, and the one that the step computes with.
    stagings: [Option<D::Staging>; 2],
}

impl<D: Device> Next<D> {
    fn new(device: &Checked<D>, spec: &Spec) -> Self {
        let Shape { n_p, n_r, .. } = spec.shape;
        let n_r = if spec.reconstructs_its_input { 0 } else { n_r };
        let staging = || device.staging::<f32>(spec.batch * (n_p + n_r));
        let next = Self {
            inputs: device.zeros(spec.batch * n_p),
            targets: (!spec.reconstructs_its_input).then(|| device.zeros(spec.batch * n_r)),
            stagings: [staging(), staging()],
        };
        // The zeros come first.
        device.left(next.stagings[0].as_ref());
        next
    }
}

/// A bench on the device.
pub(super) struct Drawn<D: Device> {
    pub config: BenchConfig,
    pub tables: Tables,
    pub thresholds: Array<D, u64>,
    pub scales: Array<D, f64>,
    pub inputs: Array<D, f32>,
    pub targets: Option<Array<D, f32>>,
}

impl<D: Device> Drawn<D> {
    pub fn new(device: &Checked<D>, bench: &Bench, tables: Tables, has_targets: bool) -> Self {
        Self {
            config: bench.config().clone(),
            thresholds: device.array(&tables.thresholds),
            scales: device.array(&tables.scales),
            inputs: device.array(bench.directions(Side::Input).data()),
            targets: has_targets.then(|| device.array(bench.directions(Side::Target).data())),
            tables,
        }
    }
}

impl<D: Device> Batch<D> {
    pub(super) fn new(device: &Checked<D>, spec: &Spec) -> Self {
        let Shape { n_p, n_r, .. } = spec.shape;
        Self {
            rows: 0,
            inputs: device.zeros(spec.batch * n_p),
            targets: (!spec.reconstructs_its_input).then(|| device.zeros(spec.batch * n_r)),
            weights: device.zeros(spec.batch),
            host_weights: Vec::new(),
            indices: device.zeros(spec.batch),
            drawn: None,
            next: None,
        }
    }

    /// Samples of the host, beside the step that still computes with those before.
    pub(super) fn load(&mut self, device: &Checked<D>, spec: &Spec, rows: Rows<'_>) {
        let next = self.next.get_or_insert_with(|| Next::new(device, spec));
        std::mem::swap(&mut self.inputs, &mut next.inputs);
        std::mem::swap(&mut self.targets, &mut next.targets);
        next.stagings.swap(0, 1);
        let [left, now] = &next.stagings;
        device.left(left.as_ref());
        let inputs = Some((rows.inputs, &self.inputs));
        let pieces: Vec<_> = inputs.into_iter().chain(self.targets.as_ref().map(|of| (rows.targets, of))).collect();
        device.stage(now.as_ref(), &pieces);
    }

    /// w_b, or 1/B.
    pub(super) fn weigh(&mut self, device: &Checked<D>, weights: Option<&[f64]>) {
        let equal = 1.0 / self.rows.max(1) as f64;
        let weights = weights.map_or_else(|| vec![equal; self.rows], <[f64]>::to_vec);
        if weights == self.host_weights {
            return;
        }
        self.host_weights = weights;
        let rounded: Vec<f32> = self.host_weights.iter().map(|w| *w as f32).collect();
        device.upload(&rounded, &self.weights);
    }

    pub(super) fn targets(&self) -> &Array<D, f32> {
        self.targets.as_ref().unwrap_or(&self.inputs)
    }
}

/// Codes of a batch, row by row and by latent.
pub(super) struct Set<D: Device> {
    /// Room of a row.
    pub stride: usize,
    pub counts: Array<D, u32>,
    pub latents: Array<D, u32>,
    pub values: Array<D, f32>,
    pub levels: Array<D, u32>,
    /// A bit for each latent and row.
    pub bits: Array<D, u32>,
    pub words: usize,
    /// Codes of each latent; where they begin; their rows and places.
    pub of_latent: Array<D, u32>,
    pub starts: Array<D, u32>,
    pub sums: Array<D, u32>,
    pub rows: Array<D, u32>,
    pub places: Array<D, u64>,
}

impl<D: Device> Set<D> {
    pub fn new(device: &Checked<D>, spec: &Spec, stride: usize) -> Self {
        let (batch, n_q) = (spec.batch, spec.shape.n_q);
        let (room, words) = (batch * stride, batch.div_ceil(32));
        Self {
            stride,
            counts: device.zeros(batch),
            latents: device.zeros(room),
            values: device.zeros(room),
            levels: device.zeros(room),
            bits: device.zeros(n_q * words),
            words,
            of_latent: device.zeros(n_q),
            starts: device.zeros(n_q + 1),
            sums: device.zeros(device.blocks(n_q) as usize),
            rows: device.zeros(room),
            places: device.zeros(room),
        }
    }
}

/// Candidates that a screen has left of a batch.
pub(super) struct Candidates<D: Device> {
    /// Room of a row.
    pub most: usize,
    pub counts: Array<D, u32>,
    pub latents: Array<D, u32>,
    pub pi: Array<D, f32>,
    /// Rows that are to be scored in full.
    pub marks: Array<D, u32>,
}

impl<D: Device> Candidates<D> {
    pub fn new(device: &Checked<D>, batch: usize, most: usize) -> Self {
        Self {
            most,
            counts: device.zeros(batch),
            latents: device.zeros(batch * most),
            pi: device.zeros(batch * most),
            marks: device.zeros(batch),
        }
    }
}

/// Latents that are copied by lane and scored at once.
pub(super) const PART: usize = 1 << 14;

/// x' and a part of W_E as columns, lane by lane: see `by_lane` of `encode.cu`.
pub(super) struct Lanes<D: Device> {
    pub inputs: Array<D, f32>,
    pub encoder: Array<D, f32>,
    /// Numbers from one column to the next, of the inputs and of the encoder.
    pub strides: [usize; 2],
    /// The number of marked rows, and which.
    pub list: Array<D, u32>,
}

impl<D: Device> Lanes<D> {
    pub fn new(device: &Checked<D>, spec: &Spec) -> Self {
        let Shape { n_p, n_q, .. } = spec.shape;
        // The kernel writes zeros up to there.
        let strides = [spec.batch, n_q.min(PART)].map(|rows| rows.next_multiple_of(128));
        let columns = n_p.next_multiple_of(64);
        Self {
            inputs: device.zeros(columns * strides[0]),
            encoder: device.zeros(columns * strides[1]),
            strides,
            list: device.zeros(1 + spec.batch),
        }
    }
}

/// Selected latents of a batch, and what follows from them. Room is made at the first use, when the activation is known.
pub struct Codes<D: Device> {
    pub(super) rows: usize,
    /// Rows that a step counts: of the whole batch, where this is a part of one.
    pub(super) counted: usize,
    pub(super) weights: Vec<f64>,
    pub(super) room: Option<Room<D>>,
}

/// Everything that a batch becomes.
pub(super) struct Room<D: Device> {
    pub activation: Activation,
    /// x', where there is a b_p.
    pub centred: Option<Array<D, f32>>,
    /// Scores of all latents.
    pub scores: Array<D, f32>,
    /// What exact scores of whole rows are made from, unless a top-k goes by a product.
    pub lanes: Option<Lanes<D>>,
    /// ‖x'‖, bf16 of x', and candidates, for a product that screens or selects.
    pub x_norms: Array<D, f32>,
    pub half: Option<Array<D, u16>>,
    pub candidates: Option<Candidates<D>>,
    pub main: Set<D>,
    /// Gated: π and s of the selected latents.
    pub gates: Option<Gates<D>>,
    /// JumpReLU: latents near their threshold.
    pub band: Option<Set<D>>,
    pub aux: Option<Aux<D>>,
    pub active: Array<D, u32>,
    /// Marks that nobody reads.
    pub ignored: Array<D, u32>,
    /// θ of each latent.
    pub theta: Array<D, f32>,
    /// ρ of each latent (Gated).
    pub rho: Array<D, f32>,
    /// Norms of decoder columns.
    pub column_norms: Array<D, f32>,
    /// BatchTopK: the search's state, ties of each row, sums before each row, and the key of the least value kept.
    pub search: Array<D, u32>,
    pub ties: Array<D, u32>,
    pub ties_before: Array<D, u32>,
    pub tie_sums: Array<D, u32>,
    pub least: Array<D, u32>,
    /// k_s or sizes of prefixes, λ_s, λ_aux, 1.
    pub limits: Array<D, u32>,
    pub lambdas: Array<D, f32>,
    pub one: Array<D, f32>,
    /// W_S x_p.
    pub linear: Option<Array<D, f32>>,
    pub residuals: Array<D, f32>,
    pub upstream: Array<D, f32>,
    pub squares: Array<D, f32>,
    pub penalties: Array<D, f32>,
    pub active_of_row: Array<D, u32>,
    /// What gradients gather, where that is in bf16.
    pub packed: Option<Packed<D>>,
}

/// Packed copies of x' and of derivatives of reconstructions: those of AuxK take the place of the others, once these have been gathered.
pub(super) struct Packed<D: Device> {
    pub inputs: Array<D, u16>,
    pub upstream: Array<D, u16>,
    /// Empty without gates.
    pub gates: Array<D, u16>,
}

/// What gates reconstruct.
pub(super) struct Gates<D: Device> {
    pub pi: Array<D, f32>,
    pub scores: Array<D, f32>,
    pub residuals: Array<D, f32>,
    pub upstream: Array<D, f32>,
    pub squares: Array<D, f32>,
}

/// What dead latents reconstruct.
pub(super) struct Aux<D: Device> {
    pub set: Set<D>,
    /// How many of a row all ranks have, where latents are on several.
    pub counts: Array<D, u32>,
    pub candidates: Option<Candidates<D>>,
    pub lambda: Array<D, f32>,
    pub residuals: Array<D, f32>,
    pub upstream: Array<D, f32>,
    pub squares: Array<D, f32>,
}

/// Gradients on the device. Rows of latents without codes are not written: `live` says which have one.
pub struct Grads<D: Device> {
    pub(super) blocks: Blocks<D>,
    pub(super) live: Array<D, u32>,
    /// Σ_b ∂loss/∂s of each latent.
    pub(super) sums: Array<D, f32>,
    /// Stands for the gradient of a parameter that the model lacks.
    pub(super) spare: Array<D, f32>,
    pub(super) partial: Array<D, f32>,
    pub(super) lists: Lists<D>,
    pub(super) squares: Array<D, f64>,
    /// Norm of the gradient, and the factor of clipping.
    pub(super) clip: Array<D, f64>,
    /// The last update has not needed the norm: it is taken when it is asked for.
    pub(super) norm_is_due: bool,
    /// What stands for `clip` there: 0 and 1.
    whole: Array<D, f64>,
}

/// The lists of codes by latent as blocks take them: long ones are cut into pieces. See `cut_lists` in `kernels/backward.cu`.
pub(super) struct Lists<D: Device> {
    /// Pieces that have room for their sums: as many as a batch has rows. B rows of k codes have at most B k/64 pieces; a list for whose pieces there
    /// is no room left stays whole.
    pub slots: usize,
    pub tally: Array<D, u32>,
    pub whole: Array<D, u32>,
    pub cut: Array<D, u32>,
    pub joins: Array<D, u32>,
    pub scratch: Array<D, f32>,
    pub totals: Array<D, f32>,
}

impl<D: Device> Lists<D> {
    fn new(device: &Checked<D>, batch: usize, Shape { n_p, n_r, n_q }: Shape) -> Self {
        let slots = if batch > PIECE { batch } else { 0 };
        Self {
            slots,
            tally: device.zeros(4),
            whole: device.zeros(n_q),
            cut: device.zeros(2 * slots),
            // A list that is cut has two pieces.
            joins: device.zeros(slots),
            scratch: device.zeros(slots * (n_p + n_r)),
            totals: device.zeros(5 * slots),
        }
    }
}

/// Numbers of a row that a warp takes.
pub(super) const STRIPE: usize = 128;
/// Codes of a piece of a list.
pub(super) const PIECE: usize = 128;
/// Numbers that one block squares and adds.
pub(super) const SQUARES: usize = 1 << 14;
/// Rows that one thread adds.
pub(super) const ROWS: usize = 128;

impl<D: Device> Grads<D> {
    pub(super) fn new(device: &Checked<D>, spec: &Spec, params: &Params<D>) -> Self {
        let Shape { n_p, n_r, n_q } = spec.shape;
        let blocks = Blocks::zeros_like(device, &params.blocks);
        let others: usize = others(&blocks).map(|p| blocks.get(p).map_or(0, Array::len).div_ceil(SQUARES)).sum();
        let partial = (n_q.div_ceil(ROWS) * n_p).max(spec.batch.div_ceil(ROWS) * n_r);
        Self {
            blocks,
            live: device.zeros(n_q),
            sums: device.zeros(n_q),
            spare: device.zeros(n_q),
            partial: device.zeros(partial),
            lists: Lists::new(device, spec.batch, spec.shape),
            squares: device.zeros(n_q + others),
            clip: device.zeros(2),
            norm_is_due: false,
            whole: device.array(&[0.0, 1.0]),
        }
    }

    /// The factor of clipping, as the second of two numbers.
    pub(super) fn factor(&self) -> Given<'_, D> {
        if self.norm_is_due { self.whole.all() } else { self.clip.all() }
    }

    pub(super) fn or_spare(&self, parameter: Parameter) -> &Array<D, f32> {
        self.blocks.get(parameter).unwrap_or(&self.spare)
    }
}

/// All parameters but the two matrices of latents.
pub(super) fn others<D: Device>(blocks: &Blocks<D>) -> impl Iterator<Item = Parameter> + '_ {
    blocks.parameters().filter(|p| !matches!(p, Parameter::Encoder | Parameter::Decoder))
}
