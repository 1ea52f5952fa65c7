//! A backend that holds a part of the latents: to a training loop the ranks together look like one backend with all of them.

use super::candidates::{First, first_of_all, read, write};
use super::team::Team;
use super::{CollectiveError, LatentParallel, Reaches, from_bytes, to_bytes};
use crate::backend::{Backend, Half, HostCodes, HostOptState, Mode, Observation, Rows, Spec};
use crate::bench::dataset::Bench;
use crate::sdl::resampling::passes::{Passes, Tables};
use crate::sdl::{Activation, Anchors, Model, Parameter, Scales, Shape, Tensors};
use std::ops::Range;

/// One rank. Every call is given the same by all ranks, and gives the same bits to all; all make the same calls, also those that download.
///
/// Rank r of R holds the latents ⌊r n_q/R⌋ .. ⌊(r+1) n_q/R⌋: their rows of W_E and W_D and what else is one number a latent, their gradients, moments
/// and dead counters; it has the whole batch. b_p, b_D and W_S are on every rank. Of each step ranks exchange
///
/// * the candidates of an activation that selects by rank, and of AuxK, 8 bytes each over the host; what is selected of all is what one rank would
///   select, bit for bit;
/// * a sum of residuals for each part of the loss, of gates, and of AuxK; rank 0 gives b_D + W_S x_p − x_r beside its latents, and the sum is taken in
///   the order of the collective, so that it is that of one rank up to the rounding of another order, and with one rank that very sum;
/// * the gradient of b_p, a sum of their parts; the squared norm of the gradient.
///
/// Everything else of a step is local, or computed by all ranks alike. Models, states and gradients are downloaded as wholes, so that what is saved is
/// what one rank would save.
pub struct Sharded<'a, B, C> {
    inner: B,
    team: Team<'a, C>,
    spec: Spec,
    /// The latents of this rank.
    own: Range<usize>,
}

/// Parameters of a rank's latents.
pub struct Params<T> {
    part: T,
    activation: Activation,
}

/// Numbers of each rank that are exchanged at a time where a whole is downloaded.
const PIECE: usize = 1 << 22;

/// The latents that a rank holds.
pub fn part_of(rank: usize, ranks: usize, n_q: usize) -> Range<usize> {
    n_q * rank / ranks..n_q * (rank + 1) / ranks
}

/// What a rank with these latents is to compute.
pub fn spec_of(spec: &Spec, own: &Range<usize>) -> Spec {
    let mut part = Spec { shape: Shape { n_q: own.len(), ..spec.shape }, ..spec.clone() };
    let known = &spec.anchors;
    part.anchors = Anchors { weight: known.weight, ..Anchors::none() };
    let rows = known.latents.iter().zip(known.inputs.chunks(spec.shape.n_p)).zip(known.targets.chunks(spec.shape.n_r));
    for ((&i, inputs), targets) in rows.filter(|((i, _), _)| own.contains(&(**i as usize))) {
        part.anchors.latents.push(i - own.start as u32);
        part.anchors.inputs.extend_from_slice(inputs);
        part.anchors.targets.extend_from_slice(targets);
    }
    // A part of the loss may hold none of these latents, or all.
    if let Scales::Prefixes { sizes, .. } = &mut part.objective.scales {
        sizes.iter_mut().for_each(|size| *size = size.saturating_sub(own.start).min(own.len()));
    }
    part
}

impl<'a, B: LatentParallel, C: Reaches<B::Numbers, B::Marks>> Sharded<'a, B, C> {
    /// A rank of a training with this specification; `make` makes the backend for its part of the latents.
    pub fn new(collective: &'a C, spec: Spec, make: impl FnOnce(Spec) -> B) -> Self {
        let own = part_of(collective.rank(), collective.ranks(), spec.shape.n_q);
        Self { inner: make(spec_of(&spec, &own)), team: Team::new(collective), spec, own }
    }

    fn gather(&self, own: &[u8]) -> Option<Vec<Vec<u8>>> {
        self.team.gather(&self.inner, own)
    }

    /// This rank's part of tensors.
    fn part(&self, whole: &Tensors<f32>) -> Tensors<f32> {
        let shape = Shape { n_q: self.own.len(), ..self.spec.shape };
        let mut part = Tensors::zeros(shape, whole.parameters());
        for parameter in whole.parameters() {
            let (Some(to), Some(from)) = (part.get_mut(parameter), whole.get(parameter)) else { continue };
            let columns = parameter.size(shape).1;
            let rows = if parameter.is_per_latent() { self.own.clone() } else { 0..to.len() / columns.max(1) };
            to.copy_from_slice(&from[rows.start * columns..rows.end * columns]);
        }
        part
    }

    /// Tensors of all ranks; NaN after a failure.
    fn whole(&self, part: &Tensors<f32>) -> Tensors<f32> {
        let mut whole = Tensors::zeros(self.spec.shape, part.parameters());
        for parameter in part.parameters() {
            let (Some(to), Some(from)) = (whole.get_mut(parameter), part.get(parameter)) else { continue };
            if !parameter.is_per_latent() {
                to.copy_from_slice(from);
            } else if self.join(from, parameter.size(self.spec.shape).1, to).is_none() {
                to.fill(f32::NAN);
            }
        }
        whole
    }

    /// The rows of all ranks' latents, a piece of each at a time.
    fn join(&self, own: &[f32], columns: usize, to: &mut [f32]) -> Option<()> {
        let (ranks, n_q) = (self.team.collective.ranks(), self.spec.shape.n_q);
        let longest = n_q.div_ceil(ranks) * columns;
        for start in (0..longest).step_by(PIECE) {
            let piece = own.len().min(start)..own.len().min(start + PIECE);
            for (rank, given) in self.gather(&to_bytes(&own[piece]))?.iter().enumerate() {
                let first = part_of(rank, ranks, n_q).start * columns + start;
                to[first.min(n_q * columns)..].iter_mut().zip(from_bytes(given)).for_each(|(to, x)| *to = x);
            }
        }
        Some(())
    }

    /// Numbers that are one a latent, or rows of any length, in the order of ranks.
    fn joined_words(&self, own: impl Iterator<Item = u64>) -> Option<Vec<Vec<u64>>> {
        let own: Vec<u8> = own.flat_map(u64::to_le_bytes).collect();
        let words = |given: &Vec<u8>| given.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Some(self.gather(&own)?.iter().map(words).collect())
    }

    /// What all ranks together select of the candidates of each.
    fn select(&self, activation: Activation, rows: usize, mode: Mode, codes: &mut B::Codes) {
        let main = match (activation, mode) {
            (Activation::TopK { k } | Activation::TopKRelu { k }, _) => Some(First::OfRow(k)),
            (Activation::BatchTopK { k }, Mode::Training) => Some(First::OfBatch(k.saturating_mul(rows))),
            _ => None,
        };
        let dead = self.spec.objective.aux.filter(|_| mode == Mode::Training).map(|aux| First::OfRow(aux.k));
        let mut given = Vec::new();
        if main.is_some() {
            write(&self.inner.codes_of(codes), self.own.start, &mut given);
        }
        if dead.is_some() {
            write(&self.inner.dead_codes_of(codes), self.own.start, &mut given);
        }
        // Where nothing is exchanged, a sum over ranks follows, which cannot be had where one of them has no memory for it.
        let Some(all) = self.gather(&given) else { return };
        let mut rest: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let mut kept = |first: Option<First>, scales: &Scales| {
            let Some(first) = first else { return Some(None) };
            let all: Option<Vec<HostCodes>> = rest.iter_mut().map(|bytes| read(bytes, rows)).collect();
            Some(Some(first_of_all(&all?, &self.own, first, scales)))
        };
        let both = kept(main, &self.spec.objective.scales).zip(kept(dead, &Scales::Single));
        let Some((main, dead)) = both else {
            let what = "the candidates of a batch".to_owned();
            self.team.note::<()>(Err(CollectiveError::Differ { what }));
            return;
        };
        self.inner.keep(main.as_ref(), dead.as_ref(), codes);
    }
}

impl<B: LatentParallel, C: Reaches<B::Numbers, B::Marks>> Backend for Sharded<'_, B, C> {
    type Params = Params<B::Params>;
    type OptState = B::OptState;
    type Batch = Batch<B::Batch>;
    type Codes = B::Codes;
    type Grads = B::Grads;

    fn describe(&self) -> String {
        format!("{}, {} ranks with a part of the latents each", self.inner.describe(), self.team.collective.ranks())
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure().or_else(|| self.team.failure())
    }

    fn agreed(&self, stop: bool) -> bool {
        self.team.agreed(&self.inner, stop)
    }

    fn as_one(&self, _: Half, calls: &mut dyn FnMut()) {
        // Ranks speak to each other in both halves.
        calls();
    }

    fn params(&self, model: &Model) -> Self::Params {
        let Model { activation, tensors, threshold } = model;
        let part = Model { activation: *activation, tensors: self.part(tensors), threshold: *threshold };
        Params { part: self.inner.params(&part), activation: *activation }
    }

    fn opt_state(&self, params: &Self::Params) -> B::OptState {
        self.inner.opt_state(&params.part)
    }

    fn batch(&self) -> Self::Batch {
        Batch { all: self.inner.batch(), rows: 0 }
    }

    fn codes(&self) -> B::Codes {
        self.inner.codes()
    }

    fn grads(&self, params: &Self::Params) -> B::Grads {
        self.inner.grads(&params.part)
    }

    fn load(&self, rows: Rows<'_>, batch: &mut Self::Batch) {
        batch.rows = rows.inputs.len() / self.spec.shape.n_p.max(1);
        self.inner.load(rows, &mut batch.all);
    }

    fn sample(&self, bench: &Bench, indices: &[u64], batch: &mut Self::Batch) {
        batch.rows = indices.len();
        self.inner.sample(bench, indices, &mut batch.all);
    }

    fn encode_select(
        &self,
        params: &Self::Params,
        opt: &B::OptState,
        batch: &Self::Batch,
        mode: Mode,
        codes: &mut B::Codes,
    ) {
        if !self.team.has_failed() {
            self.inner.encode_select(&params.part, opt, &batch.all, mode, codes);
            self.select(params.activation, batch.rows, mode, codes);
        }
    }

    fn decode_residual(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut B::Codes) {
        if !self.team.has_failed() {
            let collective = self.team.collective;
            self.team.note(self.inner.decode_residual_part(&params.part, &batch.all, collective, codes));
        }
    }

    fn backward(&self, params: &Self::Params, batch: &Self::Batch, codes: &mut B::Codes, grads: &mut B::Grads) {
        if !self.team.has_failed() {
            self.inner.backward(&params.part, &batch.all, codes, grads);
            self.team.note(self.inner.join_part(self.team.collective, grads));
        }
    }

    fn step(&self, params: &mut Self::Params, opt: &mut B::OptState, codes: &B::Codes, grads: &mut B::Grads) {
        if !self.team.has_failed() {
            let mut sum = |own: f64| self.team.sums(&self.inner, &[own]).map_or(f64::NAN, |sums| sums[0]);
            let shared = self.team.collective.rank() == 0;
            self.inner.step_part(&mut params.part, opt, codes, grads, (shared, &mut sum));
        }
    }

    fn observe(&self, params: &Self::Params, codes: &B::Codes, grads: &B::Grads) -> Observation {
        // Residuals are those of all latents; the other terms are of those of this rank.
        let own = self.inner.observe(&params.part, codes, grads);
        let active = (own.l0 * own.rows as f64).round();
        let Some(sums) = self.team.sums(&self.inner, &[own.penalty, own.anchor, active]) else {
            return Observation { loss: f64::NAN, ..own };
        };
        let [penalty, anchor, active] = [sums[0], sums[1], sums[2]];
        let lambdas = self.spec.objective.scales.weights();
        let parts: f64 = lambdas.iter().zip(&own.scales).map(|(lambda, e)| lambda * e).sum();
        let loss = parts + penalty + own.aux + anchor;
        Observation { loss, penalty, anchor, l0: active / own.rows as f64, ..own }
    }

    fn model(&self, params: &Self::Params) -> Model {
        let part = self.inner.model(&params.part);
        Model { tensors: self.whole(&part.tensors), ..part }
    }

    fn is_finite(&self, params: &Self::Params) -> bool {
        let own = self.inner.is_finite(&params.part);
        self.gather(&[own.into()]).is_some_and(|all| all.iter().all(|given| given.as_slice() == [1]))
    }

    fn best_cosines(&self, params: &Self::Params, of: Parameter, truth: &[f32]) -> Option<Vec<f32>> {
        let mut best = self.inner.best_cosines(&params.part, of, truth)?;
        for given in self.gather(&to_bytes(&best))? {
            best.iter_mut().zip(from_bytes(&given)).for_each(|(best, other)| *best = best.max(other));
        }
        Some(best)
    }

    fn passes(&self, tables: &Tables) -> Option<Box<dyn Passes + '_>> {
        // Every rank has been given all samples.
        self.inner.passes(tables)
    }

    fn idle(&self, opt: &B::OptState) -> Vec<u64> {
        let all = self.joined_words(self.inner.idle(opt).into_iter());
        all.map_or_else(|| vec![0; self.spec.shape.n_q], |all| all.concat())
    }

    fn save(&self, opt: &B::OptState) -> HostOptState {
        let own = self.inner.save(opt);
        let (first, second) = (self.whole(&own.first), own.second.as_ref().map(|second| self.whole(second)));
        HostOptState { first, second, idle: self.idle(opt), ..own }
    }

    fn restore(&self, state: &HostOptState) -> B::OptState {
        self.inner.restore(&HostOptState {
            first: self.part(&state.first),
            second: state.second.as_ref().map(|second| self.part(second)),
            idle: state.idle[self.own.clone()].to_vec(),
            ..*state
        })
    }

    fn codes_of(&self, codes: &B::Codes) -> HostCodes {
        let own = self.inner.codes_of(codes);
        let rows = own.offsets.len() - 1;
        let mut given = Vec::new();
        write(&own, self.own.start, &mut given);
        let all: Option<Vec<HostCodes>> =
            self.gather(&given).and_then(|all| all.iter().map(|bytes| read(&mut bytes.as_slice(), rows)).collect());
        let Some(all) = all else { return HostCodes { offsets: vec![0; rows + 1], ..HostCodes::default() } };
        first_of_all(&all, &(0..self.spec.shape.n_q), First::OfRow(usize::MAX), &Scales::Single).codes
    }

    fn reconstruction_of(&self, batch: &Self::Batch, codes: &B::Codes) -> Vec<f32> {
        // Every rank has the residuals of all latents, and the targets.
        self.inner.reconstruction_of(&batch.all, codes)
    }

    fn gradients_of(&self, params: &Self::Params, grads: &B::Grads) -> Tensors<f32> {
        self.whole(&self.inner.gradients_of(&params.part, grads))
    }
}

/// A whole batch.
pub struct Batch<T> {
    all: T,
    rows: usize,
}
