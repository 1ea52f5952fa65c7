//! One update: anchoring, projection, clipping and the rule of the optimizer, fused over the rows of a latent.

use super::integer::PanelMut;
use super::screen::bound;
use super::simd::{Isa, Kernel, Simd, WIDTH};
use super::state::{CHUNK, Grads, OptState, Params, is_matrix};
use super::vector::{add_scaled, scale, score, squared_norm};
use crate::backend::{Rule, Spec};
use crate::sdl::Parameter;
use rayon::prelude::*;

/// What an update needs to know about anchors: for every latent the number of its anchor.
#[derive(Debug, Clone, Default)]
pub struct AnchorIndex(Vec<Option<u32>>);

impl AnchorIndex {
    pub fn new(spec: &Spec) -> Self {
        let anchors = &spec.anchors;
        if anchors.weight == 0.0 || anchors.is_empty() {
            return Self::default();
        }
        let mut index = vec![None; spec.shape.n_q];
        for (number, &latent) in anchors.latents.iter().enumerate() {
            index[latent as usize] = Some(number as u32);
        }
        Self(index)
    }

    /// Anchored latents have a gradient in any case.
    fn mark(&self, spec: &Spec, grads: &mut Grads) {
        let (n_p, n_r) = (spec.shape.n_p, spec.shape.n_r);
        for i in (0..self.0.len()).filter(|i| self.of(*i).is_some()) {
            if !std::mem::replace(&mut grads.live[i], true) {
                grads.encoder[i * n_p..(i + 1) * n_p].fill(0.0);
                grads.decoder[i * n_r..(i + 1) * n_r].fill(0.0);
            }
        }
    }

    /// The number of a latent's anchor.
    pub fn of(&self, latent: usize) -> Option<usize> {
        self.0.get(latent).copied().flatten().map(|number| number as usize)
    }
}

/// The numbers of a rule at one step.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    rule: Rule,
    /// η, or η/(1 − β₁ᵗ).
    rate: f32,
    /// 1/√(1 − β₂ᵗ).
    correction: f32,
    beta_1: f32,
    rest_1: f32,
    beta_2: f32,
    rest_2: f32,
    epsilon: f32,
    /// 1 − η·decay, for matrices.
    keep: f32,
    /// What clipping multiplies the gradient with.
    clip: f32,
}

impl Rates {
    /// For the next update of a state.
    pub fn new(spec: &Spec, opt: &OptState) -> Self {
        let (optimizer, done) = (&spec.optimizer, opt.step);
        let rate = optimizer.learning_rate * spec.schedule.share_with(opt.warm_up, done);
        let t = (done + 1).min(i32::MAX as u64) as i32;
        let adam = optimizer.rule != Rule::Sgd;
        let decay = if optimizer.rule == Rule::AdamW { optimizer.weight_decay } else { 0.0 };
        Self {
            rule: optimizer.rule,
            rate: if adam { rate / (1.0 - optimizer.beta_1.powi(t)) } else { rate } as f32,
            correction: if adam { 1.0 / (1.0 - optimizer.beta_2.powi(t)).sqrt() } else { 1.0 } as f32,
            beta_1: optimizer.beta_1 as f32,
            rest_1: (1.0 - optimizer.beta_1) as f32,
            beta_2: optimizer.beta_2 as f32,
            rest_2: (1.0 - optimizer.beta_2) as f32,
            epsilon: optimizer.epsilon as f32,
            keep: (1.0 - rate * decay) as f32,
            clip: 1.0,
        }
    }
}

/// Whose gradient the norm is.
pub struct Norm<'a> {
    /// Parameters that all latents share count here.
    pub shared: bool,
    /// The squared norm of all, from that of these latents.
    pub sum: &'a mut dyn FnMut(f64) -> f64,
}

/// One update of everything; `spec` says which.
pub fn step(
    (spec, isa): (&Spec, Isa),
    anchors: &AnchorIndex,
    params: &mut Params,
    opt: &mut OptState,
    grads: &mut Grads,
    norm: Norm<'_>,
) {
    let mut rates = Rates::new(spec, opt);
    anchors.mark(spec, grads);
    let rest = rest_squared(grads, norm.shared);
    // Clipping needs the norm of everything before the first row is updated.
    let clips = spec.optimizer.clip > 0.0;
    let phases: &[Phase] = if clips { &[Phase::Gradient, Phase::Update] } else { &[Phase::Both] };
    let mut total = rest;
    for &phase in phases {
        let work = Work { spec, isa, anchors, rates, phase };
        if phase != Phase::Update {
            total = rest;
        }
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            let squares = work.matrix(parameter, params, opt, grads);
            if phase != Phase::Update {
                total += squares;
            }
        }
        if phase != Phase::Update {
            total = (norm.sum)(total);
        }
        if phase == Phase::Gradient {
            let norm = total.sqrt();
            if norm > spec.optimizer.clip {
                rates.clip = (spec.optimizer.clip / norm) as f32;
            }
        }
    }
    finish(isa, rates, total, params, opt, grads);
}

/// The squared norm of the gradient of everything but W_E and W_D; of what all latents share only if `shared`.
pub fn rest_squared(grads: &Grads, shared: bool) -> f64 {
    let counted = grads.rest.parameters().filter(|p| shared || p.is_per_latent());
    counted.map(|p| sum_of_squares(grads.rest.get(p).unwrap_or_default())).sum()
}

/// What follows when W_E and W_D are updated. `total` is the squared norm of the whole gradient.
pub fn finish(isa: Isa, rates: Rates, total: f64, params: &mut Params, opt: &mut OptState, grads: &mut Grads) {
    grads.norm = total.sqrt();
    if std::mem::take(&mut params.off_norm) {
        params.model.scale_decoder_to_one();
    }
    for (moving, live) in opt.moving.iter_mut().zip(&grads.live) {
        *moving |= live;
    }
    let others: Vec<Parameter> = params.model.tensors.parameters().filter(|p| !is_matrix(*p)).collect();
    for parameter in others {
        let keep = if parameter == Parameter::Skip { rates.keep } else { 1.0 };
        let rates = Rates { keep, ..rates };
        let v = opt.second.as_mut().and_then(|second| second.get_mut(parameter)).unwrap_or_default();
        let (w, m) = (params.model.tensors.get_mut(parameter), opt.first.get_mut(parameter));
        if let (Some(w), Some(m), Some(g)) = (w, m, grads.rest.get(parameter)) {
            isa.run(Row { w, m, v, g, rates });
        }
    }
    params.mark_large_biases();
    opt.step += 1;
}

fn sum_of_squares(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum()
}

/// What is done of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Anchoring and projection, and the norm of the result.
    Gradient,
    /// The update proper.
    Update,
    /// One after the other for each row, while it is in the cache.
    Both,
}

/// What is the same for all latents.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub spec: &'a Spec,
    pub isa: Isa,
    pub anchors: &'a AnchorIndex,
    pub rates: Rates,
    pub phase: Phase,
}

impl Work<'_> {
    /// Goes through the rows of W_E or W_D; returns the squared norm of the gradient.
    fn matrix(self, parameter: Parameter, params: &mut Params, opt: &mut OptState, grads: &mut Grads) -> f64 {
        let columns = parameter.size(self.spec.shape).1;
        let encoder = parameter == Parameter::Encoder;
        let (moving, norms) = (&opt.moving, &mut params.norms);
        let mut panels = Vec::new();
        if let Some(packed) = params.packed.as_mut().filter(|_| encoder) {
            packed.panels_mut().map(Some).collect_into_vec(&mut panels);
        } else {
            panels.resize_with(norms.len().div_ceil(CHUNK), || None);
        }
        let Some(w) = params.model.tensors.get_mut(parameter) else { return 0.0 };
        let Some(m) = opt.first.get_mut(parameter) else { return 0.0 };
        let v = opt.second.as_mut().and_then(|second| second.get_mut(parameter)).unwrap_or_default();
        let g = if encoder { &mut grads.encoder } else { &mut grads.decoder };
        let (live, width, squares) = (&grads.live, CHUNK * columns, &mut grads.squares[usize::from(!encoder)]);
        if columns == 0 {
            return 0.0;
        }
        let still = &grads.still[..columns];
        let chunk = |chunk: usize, w, m, v, g, live, norms, panel| Chunk {
            work: self,
            parameter,
            first: chunk * CHUNK,
            columns,
            moving,
            w,
            m,
            v,
            g,
            live,
            norms,
            panel,
            still,
        };
        let marks = live.par_chunks(CHUNK).zip(norms.par_chunks_mut(CHUNK)).zip(&mut *squares).zip(panels);
        let rows =
            w.par_chunks_mut(width).zip(m.par_chunks_mut(width)).zip(g.par_chunks_mut(width)).zip(marks).enumerate();
        if v.is_empty() {
            rows.for_each(|(i, (((w, m), g), (((live, norms), squares), panel)))| {
                *squares = self.isa.run(chunk(i, w, m, &mut [][..], g, live, norms, panel));
            });
        } else {
            rows.zip(v.par_chunks_mut(width)).for_each(|((i, (((w, m), g), (((live, norms), squares), panel))), v)| {
                *squares = self.isa.run(chunk(i, w, m, v, g, live, norms, panel));
            });
        }
        squares.iter().sum()
    }
}

/// A few rows of W_E or W_D.
pub struct Chunk<'a> {
    pub work: Work<'a>,
    pub parameter: Parameter,
    pub first: usize,
    pub columns: usize,
    pub moving: &'a [bool],
    pub w: &'a mut [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    pub g: &'a mut [f32],
    pub live: &'a [bool],
    pub norms: &'a mut [f32],
    /// The same latents in integers, for the encoder.
    pub panel: Option<PanelMut<'a>>,
    /// The gradient of a latent that has none.
    pub still: &'a [f32],
}

impl Kernel for Chunk<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Self { work, parameter, first, columns, moving, w, m, v, g, live, norms, panel, still } = self;
        let mut changed = false;
        let Work { spec, anchors, rates, phase, .. } = work;
        let encoder = parameter == Parameter::Encoder;
        let mut squares = 0.0;
        for j in 0..live.len() {
            let range = j * columns..(j + 1) * columns;
            let (w, g) = (&mut w[range.clone()], &mut g[range.clone()]);
            if phase != Phase::Update {
                if let Some(number) = anchors.of(first + j) {
                    let (rows, known) = (&spec.anchors, number * columns..(number + 1) * columns);
                    let known = if encoder { &rows.inputs[known] } else { &rows.targets[known] };
                    let factor = (2.0 * spec.anchors.weight) as f32;
                    add_scaled(s, g, w, factor);
                    add_scaled(s, g, known, -factor);
                }
                if live[j] && !encoder && spec.unit_decoder {
                    let square = squared_norm(s, w);
                    if square > 0.0 {
                        add_scaled(s, g, w, -score(s, g, w) / square);
                    }
                }
                if live[j] {
                    let square = squared_norm(s, g);
                    // Squares of small numbers vanish in f32.
                    squares += if square > 1e-20 { f64::from(square) } else { sum_of_squares(g) };
                }
            }
            if phase == Phase::Gradient || !(live[j] || moving[first + j] || rates.keep != 1.0) {
                continue;
            }
            let g = if live[j] { &*g } else { still };
            let v = if v.is_empty() { &mut [][..] } else { &mut v[range.clone()] };
            let m = &mut m[range];
            Row { w: &mut *w, m: &mut *m, v: &mut *v, g, rates }.run(s);
            // A mark may outlast what it stands for, so that moments say whether anything has moved: a restored run has no other marks.
            let moved = rates.keep != 1.0 || m.iter().chain(&*v).any(|x| *x != 0.0);
            changed = true;
            if encoder {
                norms[j] = bound(s, w);
            } else if spec.unit_decoder && moved {
                let norm = squared_norm(s, w).sqrt();
                if norm > 0.0 && norm.is_finite() {
                    scale(s, w, 1.0 / norm);
                }
            }
        }
        if let Some(mut panel) = panel.filter(|_| changed) {
            panel.pack(s, w, norms);
        }
        squares
    }
}

/// The rule of the optimizer on a row.
struct Row<'a> {
    w: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    g: &'a [f32],
    rates: Rates,
}

impl Kernel for Row<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { w, m, v, g, rates } = self;
        if rates.rule == Rule::Sgd {
            for ((w, m), g) in w.iter_mut().zip(m).zip(g) {
                *m = rates.beta_1 * *m + rates.clip * g;
                *w -= rates.rate * *m;
            }
            return;
        }
        let ((w, w_rest), (m, m_rest)) = (w.as_chunks_mut::<WIDTH>(), m.as_chunks_mut::<WIDTH>());
        let ((v, v_rest), (g, g_rest)) = (v.as_chunks_mut::<WIDTH>(), g.as_chunks::<WIDTH>());
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            adam(s, w, m, v, g, &rates);
        }
        if !w_rest.is_empty() {
            let pad = |x: &[f32]| {
                let mut all = [0.0; WIDTH];
                all[..x.len()].copy_from_slice(x);
                all
            };
            let (mut w, mut m, mut v, g) = (pad(w_rest), pad(m_rest), pad(v_rest), pad(g_rest));
            adam(s, &mut w, &mut m, &mut v, &g, &rates);
            let n = w_rest.len();
            w_rest.copy_from_slice(&w[..n]);
            m_rest.copy_from_slice(&m[..n]);
            v_rest.copy_from_slice(&v[..n]);
        }
    }
}

#[inline(always)]
fn adam<S: Simd>(
    s: S,
    w: &mut [f32; WIDTH],
    m: &mut [f32; WIDTH],
    v: &mut [f32; WIDTH],
    g: &[f32; WIDTH],
    rates: &Rates,
) {
    let g = s.mul(s.splat(rates.clip), s.load(g));
    let first = s.fma(s.splat(rates.beta_1), s.load(m), s.mul(s.splat(rates.rest_1), g));
    let second = s.fma(s.splat(rates.beta_2), s.load(v), s.mul(s.splat(rates.rest_2), s.mul(g, g)));
    s.store(first, m);
    s.store(second, v);
    let denominator = s.fma(s.sqrt(second), s.splat(rates.correction), s.splat(rates.epsilon));
    let kept = s.mul(s.splat(rates.keep), s.load(w));
    s.store(s.sub(kept, s.mul(s.splat(rates.rate), s.div(first, denominator))), w);
}
