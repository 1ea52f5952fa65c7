//! Where the arithmetic of training runs.
//!
//! A [`Backend`] keeps parameters, batches and codes wherever it wants; a training loop only passes them around. Nothing in the trait is
//! host memory, except what is uploaded ([`Backend::load`], [`Backend::params`], [`Backend::restore`], [`Backend::passes`]) and what is asked for
//! ([`Backend::observe`], [`Backend::is_finite`], [`Backend::idle`], [`Backend::model`], [`Backend::save`], [`Backend::codes_of`],
//! [`Backend::gradients_of`]).
//!
//! A step is `load` or `sample`, `encode_select`, `decode_residual`, `backward`, `step`, in this order and without waiting in between: step
//! count, learning rate and dead counters live in the optimizer's state. A step starts with `Mode::Training`; an evaluation is the first three
//! operations with `Mode::Inference`, then `observe`.
//!
//! | backend | arithmetic |
//! |---|---|
//! | [`reference`](mod@reference) | f64, dense, plain loops: what the others are compared with |
//! | [`cpu`] | f32, at the machine's limit |
//! | [`cuda`] | f32 on a GPU, never run on one so far |
//! | [`collective::Ranked`] | one of them as one rank of several that share each batch |
//! | [`collective::Sharded`] | one of them as one rank of several that share the latents |
//!
//! # What a step computes
//!
//! Sample b has the weight w_b (1/B unless given). With x' = x_p − b_p, s = W_E x', π = s + b_E:
//!
//! ```text
//!     x̂^{(s)} = b_D + W_S x_p + Σ_{i: level(i) ≤ s} z_i v_i,       e^{(s)} = x̂^{(s)} − x_r,      e = e^{(last)}
//!     loss = Σ_b w_b ( Σ_s λ_s ‖e^{(s)}‖² + λ₁ Σ_i c_i |z_i| + λ₀ Σ_i 1(π_i > θ_i) + λ_aux ‖t − ê‖² ) + λ_anchor L_anchor
//! ```
//!
//! A parameter that the model lacks is 0. W_S sees x_p, not x'. The level of a latent is [`Scales::level`](crate::sdl::Scales::level); its rank
//! counts all selected latents of the row, larger z first, lower latent first among equals.
//!
//! **Selection** looks at f32 bits: x' is subtracted in f32, s is the score below, b_E is added in f32. −0 equals +0. An order of
//! pre-activations is: larger first, NaN after all numbers, and the lower latent (in a batch: the lower row, then the lower latent) first among
//! equals. A comparison with NaN is false, so that only TopK can select NaN.
//!
//! | activation | selected | z of a selected latent |
//! |---|---|---|
//! | Relu | π > 0 | π |
//! | JumpRelu | π > θ, θ = [`score::exp`]\(log θ\) | π |
//! | TopK | the first k of the row (all, if k ≥ n_q) | π, which may be negative or 0 |
//! | TopKRelu | those of them with π > 0 | π |
//! | BatchTopK, training | the first k·B of the batch, where π > 0 | π |
//! | BatchTopK, inference | π > θ; θ = 0 before the first step | π |
//! | Gated | π > 0 | max(0, fma(ρ, s, m)), ρ = [`score::exp`]\(r\); it may be 0 |
//!
//! Codes list the selected latents. A latent is *active* in a sample if z ≠ 0 there; L0 and the dead counters count active latents.
//!
//! **Penalties.** c_i is 1, or ‖v_i‖, through which v_i has a gradient too (0 at v_i = 0). sign 0 is 0. With Gated the L1 term is
//! λ₁ Σ_i c_i max(0, π_i), and ‖x_r − b_D − W_S x_p − Σ_i max(0, π_i) v_i‖² is added, in which b_D, W_S and all v_i count as constants; the gate
//! itself passes no gradient. λ₀ counts with JumpReLU only.
//!
//! **Straight-through estimates** of JumpReLU: for every latent with |π_i − θ_i| < ε/2 (in f32, ε/2 rounded to f32), selected or not,
//! log θ_i gets −(θ_i²/ε)·∂loss/∂z_i − w_b λ₀ θ_i/ε (Rajamanoharan et al. 2024b, eqs. 11 and 12, times ∂θ/∂log θ). ∂loss/∂z_i
//! is taken where z_i is, so that |z_i| adds nothing at 0. π_i gets ∂loss/∂z_i if π_i > θ_i, else 0.
//!
//! **AuxK.** In training, with the dead counters as they are before the step: among latents with idle ≥ `dead_after`, the first k of the row with
//! π > 0, whatever σ makes of them, have ê = Σ π_i v_i: no bias, no skip. t is −e, or x_r, and counts as a constant; v_i and π_i get
//! gradients. A row without such latents adds nothing to the loss.
//!
//! **The update** works on the gradient of everything, anchoring included (2λ(w_i − w̃_p), 2λ(v_i − w̃_r)), in this order:
//! 1. unit decoder: g_i ← g_i − (⟨g_i, v_i⟩/⟨v_i, v_i⟩) v_i for each decoder column (untouched if v_i = 0);
//! 2. clipping: if the norm of the whole gradient is above `clip` > 0, it is multiplied by `clip`/norm;
//! 3. η = `learning_rate`·share(steps done so far, from 0), and the rule of [`Optimizer`], whose moments are stored as [`Moments`] says;
//! 4. unit decoder: v_i ← v_i/‖v_i‖ (untouched if ‖v_i‖ is 0 or not finite; a column that did not change need not be rescaled);
//! 5. idle_i ← 0 if latent i is active in any row of the batch, else idle_i + B;
//! 6. BatchTopK: θ ← m at the first step, later [`THRESHOLD_DECAY`]·θ + (1 − [`THRESHOLD_DECAY`])·m, with m the least value kept;
//!    unchanged where nothing was kept. θ lives with the parameters.
//!
//! # The score of a latent
//!
//! Which latents a top-k keeps depends on the last bit of a pre-activation, so all f32 backends compute the same bits: the score is
//! [`score::score`], products accumulated in 64 lanes by fused multiply-adds and summed in a fixed tree. Screens may only discard what provably
//! cannot be selected by that score. Ties go to the lower latent; NaN is never selected while a number is left.
//!
//! **Selection by a product.** Where [`Spec::select_by`] says so, π̃ = s̃ + b_E takes the place of π in the order of a top-k, and only there: s̃ is the
//! dense product of x' and W_E as the device rounds it, added in f32. TopK selects the first k of the row by π̃, with the same rule for ties and NaN;
//! Top-k∘ReLU and AuxK select those of the first k with π̃ > 0 for which π > 0 too, so that they may have fewer. z is π, the score of what is selected plus b_E, which may be NaN where π̃ is
//! not; ranks and levels go by z. The same step has the same bits on the same device and library; another device may select other latents
//! where pre-activations differ by less than the rounding of the product. The other activations compare with thresholds, and know scores only.
//!
//! **Gathers in bf16.** Where [`Spec::gather`] says so, r(·) being the nearest bf16 of each number, ties to even: r(v_i) takes the place of v_i in all
//! reconstructions, those of gates and of AuxK included, and r(u_b) and r(x'_b) that of u_b and x'_b in ∂V_i = Σ z_b u_b, in d_b = ⟨v_i, u_b⟩ and in
//! ∂W_i = Σ d_b x'_b, u_b being any derivative of the loss by a reconstruction. Scores, the v_i of d_b, norms of columns, derivatives by b_D and W_S and
//! straight-through estimates are those of f32; but with selection by a product in bf16, r(w_i), which that product reads, takes the place of w_i in the scores of what
//! is selected. Sums have the same order: bits are those of gathers in f32 from numbers that were rounded before.

pub mod collective;
pub mod conformance;
#[cfg(not(sdlab_kernels))]
pub mod cpu;
pub mod cuda;
pub mod optimizer;
pub mod reference;
pub mod score;
pub mod select;
pub mod wide;

pub use optimizer::{Curve, Gather, Moments, Optimizer, Rule, Schedule, SelectBy, WarmUp};

use crate::bench::dataset::Bench;
use crate::sdl::resampling::passes::{Passes, Tables};
use crate::sdl::{Anchors, Model, Objective, Parameter, Shape, Tensors};
use serde::{Deserialize, Serialize};

/// Share of the old threshold in the running mean of BatchTopK.
pub const THRESHOLD_DECAY: f64 = 0.99;

/// All that a step needs to know, checked once by whoever makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Sizes.
    pub shape: Shape,
    /// Most samples in a batch; all memory is allocated for it.
    pub batch: usize,
    /// Penalties and further reconstructions.
    pub objective: Objective,
    /// Known features.
    pub anchors: Anchors,
    /// The rule of an update.
    pub optimizer: Optimizer,
    /// How its moments are stored. Only [`cuda`] knows bf16; the others keep what they compute.
    pub moments: Moments,
    /// By what a top-k ranks latents. Only [`cuda`] knows products; the others rank by the score.
    pub select_by: SelectBy,
    /// How rows are stored that are gathered by code. Only [`cuda`] knows bf16; the others take them as they are.
    pub gather: Gather,
    /// Learning rate over the steps.
    pub schedule: Schedule,
    /// Decoder columns are kept at norm 1: the gradient's part along the column is removed, and the column is rescaled after the update.
    /// One that has another norm is rescaled by the first update, whether it has a gradient or not.
    pub unit_decoder: bool,
    /// x_r is x_p: targets are not stored twice.
    pub reconstructs_its_input: bool,
}

impl Spec {
    /// Plain reconstruction of the input by Adam at a constant rate: what everything else is a change of.
    pub fn plain(shape: Shape, batch: usize) -> Self {
        Self {
            shape,
            batch,
            objective: Objective::default(),
            anchors: Anchors::none(),
            optimizer: Optimizer::default(),
            moments: Moments::default(),
            select_by: SelectBy::default(),
            gather: Gather::default(),
            schedule: Schedule::default(),
            unit_decoder: false,
            reconstructs_its_input: true,
        }
    }
}

/// Samples on the host: rows of x_p and x_r.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Rows of n_p numbers.
    pub inputs: &'a [f32],
    /// Rows of n_r numbers; ignored where the model reconstructs its input.
    pub targets: &'a [f32],
    /// w_b, the weight of each row in the loss; 1/B if absent.
    pub weights: Option<&'a [f64]>,
}

/// Which σ is applied: BatchTopK alone distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Selection over the batch.
    Training,
    /// The threshold that training has left.
    Inference,
}

/// What a step has seen. Terms of the loss are sums over the batch weighted by w_b.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Samples in the batch.
    pub rows: usize,
    /// All terms together.
    pub loss: f64,
    /// E‖x_r − x̂_r‖² with all active latents.
    pub mse: f64,
    /// E‖x_r − x̂_r^{(s)}‖² for each part of [`Scales`](crate::sdl::Scales).
    pub scales: Vec<f64>,
    /// The L1 and L0 penalties, with their factors.
    pub penalty: f64,
    /// The auxiliary reconstructions of AuxK, with its factor, and of Gated.
    pub aux: f64,
    /// λ_anchor·L_anchor of the parameters as they are when asked.
    pub anchor: f64,
    /// Number of latents with z_i ≠ 0, the plain mean over the rows.
    pub l0: f64,
    /// Norm of the whole gradient as [`Backend::step`] has met it: after anchoring and the projection of a unit decoder, before clipping.
    /// 0 between [`Backend::backward`] and [`Backend::step`].
    pub gradient_norm: f64,
}

/// Codes on the host: row b has the entries offsets\[b\] .. offsets\[b + 1\], by increasing latent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostCodes {
    /// Where rows begin, one more than there are rows.
    pub offsets: Vec<usize>,
    /// Active latents.
    pub latents: Vec<u32>,
    /// z of each: all non-zero entries of x_q, and the selected ones that happen to be 0.
    pub values: Vec<f32>,
}

impl HostCodes {
    /// Of no rows.
    pub fn none() -> Self {
        Self { offsets: vec![0], ..Self::default() }
    }
}

/// State of the optimizer on the host: enough to go on bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOptState {
    /// Updates done.
    pub step: u64,
    /// The rise of the learning rate that is under way or was the last one; a resampling starts another.
    pub warm_up: WarmUp,
    /// First moments, or the velocity of SGD.
    pub first: Tensors<f32>,
    /// Second moments; absent for SGD.
    pub second: Option<Tensors<f32>>,
    /// Samples since each latent was last active, batch by batch.
    pub idle: Vec<u64>,
}

/// A half of a training step. It asks for the same operations every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// From [`Backend::encode_select`] to [`Backend::backward`].
    Look,
    /// [`Backend::step`].
    Update,
}

/// A device and the operations of training on it. See the [module](self) for their order.
pub trait Backend {
    /// Weights and biases.
    type Params;
    /// Moments, step count, dead counters.
    type OptState;
    /// Samples.
    type Batch;
    /// Active latents of a batch with everything that `backward` needs: residuals, bands of straight-through estimates, auxiliary codes.
    type Codes;
    /// Gradients.
    type Grads;

    /// What computes, for provenance: name, instruction set, threads.
    fn describe(&self) -> String;
    /// What the backend was made for.
    fn spec(&self) -> &Spec;
    /// The first failure of a device, if there was one: everything after it was left out, and numbers that were downloaded since are NaN.
    fn failure(&self) -> Option<String> {
        None
    }
    /// True where it is true for any of the ranks that train together, of which a backend is the only one unless it says otherwise.
    fn agreed(&self, stop: bool) -> bool {
        stop
    }

    /// Uploads a model.
    fn params(&self, model: &Model) -> Self::Params;
    /// A fresh state.
    fn opt_state(&self, params: &Self::Params) -> Self::OptState;
    /// Room for a batch.
    fn batch(&self) -> Self::Batch;
    /// Room for codes.
    fn codes(&self) -> Self::Codes;
    /// Room for gradients.
    fn grads(&self, params: &Self::Params) -> Self::Grads;

    /// Uploads samples.
    fn load(&self, rows: Rows<'_>, batch: &mut Self::Batch);
    /// Draws samples of the bench, by their numbers.
    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Self::Batch);
    /// σ(W_E (x_p − b_p) + b_E) for every row: the active latents.
    fn encode_select(
        &self,
        params: &Self::Params,
        opt: &Self::OptState,
        batch: &Self::Batch,
        mode: Mode,
        codes: &mut Self::Codes,
    );
    /// x̂_r − x_r for every row and every part of the loss.
    fn decode_residual(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut Self::Codes);
    /// Gradients of all terms but anchoring, which [`Backend::step`] adds. Needs codes of [`Mode::Training`].
    fn backward(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut Self::Codes, grads: &mut Self::Grads);
    /// One update of all parameters, of the dead counters, and of the threshold of BatchTopK.
    fn step(&self, params: &mut Self::Params, opt: &mut Self::OptState, codes: &Self::Codes, grads: &mut Self::Grads);
    /// True where [`Backend::backward_and_step`] can be quicker than the two of them.
    fn fuses(&self) -> bool {
        false
    }
    /// [`Backend::backward`] and then [`Backend::step`], to the same bits. Of the gradients nothing but their norm can be asked afterwards.
    fn backward_and_step(
        &self,
        params: &mut Self::Params,
        opt: &mut Self::OptState,
        batch: &Self::Batch,
        codes: &mut Self::Codes,
        grads: &mut Self::Grads,
    ) {
        self.backward(params, batch, codes, grads);
        self.step(params, opt, codes, grads);
    }

    /// Does what `calls` asks of this backend, the operations of one half of a training step, as one piece of work where that is quicker. It runs `calls` once.
    fn as_one(&self, _half: Half, calls: &mut dyn FnMut()) {
        calls();
    }

    /// What the last batch has shown. Waits for the device.
    fn observe(&self, params: &Self::Params, codes: &Self::Codes, grads: &Self::Grads) -> Observation;
    /// Downloads the parameters.
    fn model(&self, params: &Self::Params) -> Model;
    /// True if all parameters are finite numbers. Most activations never select a latent with NaN in it, so that the loss need not show it.
    /// Waits for the device.
    fn is_finite(&self, params: &Self::Params) -> bool {
        let tensors = self.model(params).tensors;
        tensors.parameters().filter_map(|parameter| tensors.get(parameter)).flatten().all(|x| x.is_finite())
    }

    /// For each known direction p_d, rows of norm 1 in `truth`, the greatest |⟨w_i, p_d⟩|/‖w_i‖ over the rows of W_E or the columns of W_D. None where
    /// the backend finds them no quicker than from its [`Backend::model`].
    fn best_cosines(&self, _params: &Self::Params, _of: Parameter, _truth: &[f32]) -> Option<Vec<f32>> {
        None
    }
    /// Takes these tables over and passes over them, with the bits of [`Tables`] itself: what the exact decrease of resampling spends its time on. None
    /// where the backend is no quicker than the processor.
    fn passes(&self, _tables: &Tables) -> Option<Box<dyn Passes + '_>> {
        None
    }
    /// Downloads the samples since each latent was last active, the small part of the optimizer's state. Waits for the device.
    fn idle(&self, opt: &Self::OptState) -> Vec<u64>;
    /// Downloads the optimizer's state.
    fn save(&self, opt: &Self::OptState) -> HostOptState;
    /// Uploads an optimizer's state.
    fn restore(&self, state: &HostOptState) -> Self::OptState;
    /// Downloads codes.
    fn codes_of(&self, codes: &Self::Codes) -> HostCodes;
    /// Downloads x̂_r of the last [`Backend::decode_residual`], all active latents, rows of n_r numbers.
    fn reconstruction_of(&self, batch: &Self::Batch, codes: &Self::Codes) -> Vec<f32>;
    /// Downloads gradients between [`Backend::backward`] and [`Backend::step`], anchoring included, neither projected nor clipped.
    fn gradients_of(&self, params: &Self::Params, grads: &Self::Grads) -> Tensors<f32>;
}
