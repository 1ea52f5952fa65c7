//! The encoder of the top-k family: screen, score again, select.
//!
//! Rows are worked on in blocks. A block of rows meets W_E panel by panel, so that their product stays in the cache; what a row may select ends
//! up in its [`List`]. Neither the size of a block nor that of a panel changes what is selected.

use super::codes::{Rows, Sparse};
use super::integer::{self, Packed, Screened, TILE, Tiles};
use super::screen::{Block, List, Panel, gamma, norm_above, screen};
use super::simd::{Isa, Kernel, Simd};
use super::state::Params;
use super::threshold::Hits;
use super::vector::score;
use crate::backend::select::{cut, key, rank_key, value};
use crate::sdl::{Parameter, Scales};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::sync::Mutex;

/// Rows of a block where its size has an influence on rounding.
pub const ROWS: usize = 256;
/// Rows of a block at most, where it has none.
const MOST_ROWS: usize = 1024;
/// The same for the screen in integers, which keeps no product of the block.
const MOST_ROWS_OF_TILES: usize = 1024;
/// Latents of a panel.
pub const LATENTS: usize = 2048;
/// Rows whose k-th pre-activation, in units of their norm, was the least of the last batch: one in so many. What exceeds that of the others is
/// presumed to do so in the next batch, too.
const EXCEPTIONS: usize = 50;
/// How much lower than that the floor is presumed, as a part of it.
const MARGIN: f32 = 0.1;
/// Rows that a first guess of the threshold of BatchTopK looks at.
const PILOTS: usize = 64;

/// Where a task works on one block of rows.
#[derive(Debug, Default)]
pub struct Scratch {
    product: Vec<f32>,
    lists: Vec<List>,
    dead: Vec<List>,
    pub hits: Vec<Hits>,
    /// [`gamma`]·‖x'‖ of every row; infinite where it must be scored in full.
    pub factors: Vec<f32>,
    /// ‖x'‖ of every row, to a few per cent.
    norms: Vec<f32>,
    scores: Vec<f32>,
    keys: Vec<u64>,
    candidates: Vec<u32>,
    kept: Vec<(u32, f32)>,
    /// Rows that are screened once more, and their x'.
    misjudged: (Vec<usize>, Vec<f32>),
    tiles: Tiles,
    again: Again,
}

/// Candidates of a block of rows that are scored again: latent by latent, so that each row of W_E is read once.
#[derive(Debug, Default)]
struct Again {
    /// Where the candidates of each row begin.
    offsets: Vec<usize>,
    latents: Vec<u32>,
    scores: Vec<f32>,
    /// Where the entries of each latent begin, and after sorting where they end.
    ends: Vec<u32>,
    /// Row and place of a candidate.
    entries: Vec<(u32, u32)>,
}

/// Scratch that tasks borrow, so that it is allocated once for each thread.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Scratch>>);

impl Pool {
    pub fn with<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let take = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut scratch = take().pop().unwrap_or_default();
        let result = work(&mut scratch);
        take().push(scratch);
        result
    }
}

/// What one block of rows has selected.
#[derive(Debug, Default)]
pub struct Found {
    pub main: Rows,
    /// JumpReLU: latents near their threshold, with z. Gated: π of the selected latents.
    pub second: Rows,
    /// Gated: the scores of the selected latents.
    pub scores: Vec<f32>,
    aux: Rows,
    /// The floor at the end of every row that has one, in units of the row's norm.
    floors: Vec<f32>,
    /// Bounds of the scores of `main`, while they are not known.
    lower: Vec<f32>,
    upper: Vec<f32>,
}

/// The memory of an encoder.
#[derive(Debug, Default)]
pub struct Workspace {
    pool: Pool,
    found: Vec<Found>,
    /// Where the last batch was cut: only a guess, which never changes what is selected.
    cut: Option<f32>,
    /// The same for the k-th largest pre-activation of a row, in units of the row's norm: what the floors of nearly all rows exceeded.
    share: Option<f32>,
    floors: Vec<f32>,
    keys: Vec<u32>,
    ranks: Vec<u64>,
}

impl Workspace {
    /// Empty blocks, and scratch for those who fill them.
    pub fn prepare(&mut self, rows: usize, block: usize) -> (&Pool, &mut [Found]) {
        self.found.resize_with(rows.div_ceil(block), Found::default);
        for found in &mut self.found {
            found.main.clear();
            found.second.clear();
            found.scores.clear();
            found.aux.clear();
            found.lower.clear();
            found.upper.clear();
            found.floors.clear();
        }
        (&self.pool, &mut self.found)
    }

    /// The selected latents.
    pub fn main(&self, codes: &mut Sparse) {
        codes.join(self.found.iter().map(|found| &found.main));
    }

    /// What was kept beside them.
    pub fn second(&self, codes: &mut Sparse, scores: &mut Vec<f32>) {
        codes.join(self.found.iter().map(|found| &found.second));
        scores.clear();
        scores.extend(self.found.iter().flat_map(|found| &found.scores));
    }

    /// What was selected among dead latents.
    pub fn dead(&self, codes: &mut Sparse) {
        codes.join(self.found.iter().map(|found| &found.aux));
    }
}

/// Rows of x' and what they meet.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    /// x', rows of n_p numbers.
    pub x: &'a [f32],
    pub rows: usize,
    pub dead: Option<Dead<'a>>,
}

/// Dead latents and what AuxK takes of them.
#[derive(Clone, Copy)]
pub struct Dead<'a> {
    /// Most of them in one row.
    pub k: usize,
    /// Which ones.
    pub marks: &'a [bool],
    /// [`Params`]' norms where they are dead, −∞ elsewhere: no other latent passes the screen.
    pub norms: &'a [f32],
}

/// What a list keeps from the start.
#[derive(Clone, Copy)]
pub struct Start {
    floor: f32,
    /// What the floor presumably exceeds, in units of the row's norm.
    share: f32,
    rank: usize,
    most: usize,
}

impl Encoder<'_> {
    /// The first k of every row; with `positive` only those with π > 0.
    pub fn top_k(self, k: usize, positive: bool, work: &mut Workspace, codes: &mut Sparse) {
        let floor = if positive { 0.0 } else { f32::NEG_INFINITY };
        let share = work.share.map_or(f32::NEG_INFINITY, |share| share - MARGIN * share.abs());
        let start = Start { floor, share, rank: k, most: 4 * k + 512 };
        self.blocks(start, work, |first, scratch, found| {
            self.score_again(first, scratch);
            let ended =
                scratch.lists.iter().zip(&scratch.norms).filter(|(list, norm)| **norm > 0.0 && !list.has_given_up());
            found.floors.extend(ended.map(|(list, norm)| list.floor() / norm).filter(|floor| floor.is_finite()));
            let Scratch { lists, scores, keys, again, .. } = scratch;
            for (r, list) in lists.iter().enumerate() {
                let range = again.offsets[r]..again.offsets[r + 1];
                if list.has_given_up() {
                    self.rescore(first + r, None, scores);
                    choose(scores, None, k, positive, keys, &mut found.main);
                } else {
                    let candidates = &again.latents[range.clone()];
                    choose(&again.scores[range], Some(candidates), k, positive, keys, &mut found.main);
                }
            }
        });
        work.main(codes);
        let Workspace { found, floors, share, .. } = work;
        floors.clear();
        floors.extend(found.iter().flat_map(|found| &found.floors));
        let place = floors.len() / EXCEPTIONS;
        *share = (!floors.is_empty()).then(|| *floors.select_nth_unstable_by(place, f32::total_cmp).1);
    }

    /// π of the candidates of all rows of a block.
    fn score_again(self, first: usize, scratch: &mut Scratch) {
        let Scratch { lists, again, .. } = scratch;
        let Again { offsets, latents, scores, ends, entries } = again;
        offsets.clear();
        latents.clear();
        ends.clear();
        ends.resize(self.params.shape().n_q + 1, 0);
        for list in lists {
            offsets.push(latents.len());
            let candidates = list.candidates().unwrap_or_default();
            latents.extend_from_slice(candidates);
            candidates.iter().for_each(|i| ends[*i as usize + 1] += 1);
        }
        offsets.push(latents.len());
        let mut sum = 0;
        for end in ends.iter_mut() {
            sum += *end;
            *end = sum;
        }
        entries.clear();
        entries.resize(latents.len(), (0, 0));
        for (r, range) in offsets.windows(2).enumerate() {
            for place in range[0]..range[1] {
                let at = &mut ends[latents[place] as usize];
                entries[*at as usize] = (r as u32, place as u32);
                *at += 1;
            }
        }
        scores.clear();
        scores.resize(latents.len(), 0.0);
        self.isa.run(ScoresAgain { of: self, first, ends, entries, out: scores });
    }

    /// Screens all blocks with lists that nothing passes.
    pub fn screen_only(self, work: &mut Workspace) {
        let start = Start { floor: f32::INFINITY, share: f32::NEG_INFINITY, rank: usize::MAX, most: usize::MAX };
        self.blocks(start, work, |_, _, _| {});
    }

    /// All latents with π > θ.
    pub fn above(self, threshold: f32, work: &mut Workspace, codes: &mut Sparse) {
        self.collect(threshold, work);
        self.rescore_found(threshold, work, |z| z > threshold);
        work.main(codes);
    }

    /// The first `count` of the batch, where π > 0.
    ///
    /// A guess of the threshold is verified afterwards: if `count` lower bounds reach it, nothing below it can be selected. A guess that was too
    /// high is replaced by one from a few rows, and at last by 0.
    pub fn batch_top_k(self, count: usize, work: &mut Workspace, codes: &mut Sparse) {
        let mut least = 0.0;
        for attempt in 0..3 {
            let guess = match attempt {
                0 => work.cut.map(|cut| 0.9 * cut),
                1 => self.pilot(count, work),
                _ => Some(0.0),
            };
            let Some(guess) = guess else { continue };
            self.collect(guess, work);
            let Workspace { keys, found, .. } = work;
            keys.clear();
            keys.extend(found.iter().flat_map(|found| &found.lower).map(|z| key(*z)));
            if let Some(reached) = kth_largest(keys, count).filter(|reached| *reached >= guess) {
                least = reached;
                break;
            }
        }
        self.rescore_found(least, work, |z| z > 0.0 && z >= least);
        work.main(codes);
        codes.keep_first(count, &mut work.ranks);
        let kept = codes.values.iter().copied().fold(f32::INFINITY, f32::min);
        work.cut = kept.is_finite().then_some(kept);
    }

    /// A threshold that about twice as many pre-activations exceed as shall be selected, judged from a few rows.
    fn pilot(self, count: usize, work: &mut Workspace) -> Option<f32> {
        if self.rows < 4 * PILOTS {
            return None;
        }
        let n_p = self.params.shape().n_p;
        let step = self.rows / PILOTS;
        let x: Vec<f32> = (0..PILOTS).flat_map(|r| self.x[r * step * n_p..][..n_p].iter().copied()).collect();
        let pilot = Encoder { isa: self.isa, params: self.params, x: &x, rows: PILOTS, dead: None };
        pilot.collect(0.0, work);
        let Workspace { keys, found, .. } = work;
        keys.clear();
        keys.extend(found.iter().flat_map(|found| &found.lower).map(|z| key(*z)));
        kth_largest(keys, 2 * count * PILOTS / self.rows)
    }

    /// Everything whose upper bound reaches the threshold, with its bounds.
    fn collect(self, threshold: f32, work: &mut Workspace) {
        let start = Start { floor: threshold, share: f32::NEG_INFINITY, rank: usize::MAX, most: usize::MAX };
        self.blocks(start, work, |first, scratch, found| {
            let Scratch { lists, scores, .. } = scratch;
            for (r, list) in lists.iter_mut().enumerate() {
                match list.bounds() {
                    Some((latents, lower, upper)) => {
                        found.main.push_row(latents.iter().map(|i| (*i, 0.0)));
                        found.lower.extend_from_slice(lower);
                        found.upper.extend_from_slice(upper);
                    }
                    None => {
                        self.rescore(first + r, None, scores);
                        let listed = |z: &f32| *z >= threshold;
                        let all = (0..).zip(scores.iter());
                        found.main.push_row(all.filter(|(_, z)| listed(z)).map(|(i, z)| (i, *z)));
                        found.lower.extend(scores.iter().filter(|z| listed(z)));
                        found.upper.extend(scores.iter().filter(|z| listed(z)));
                    }
                }
            }
        });
    }

    /// Scores again what [`Self::collect`] has found and what can reach the threshold, and keeps what is wanted.
    fn rescore_found(self, threshold: f32, work: &mut Workspace, wanted: impl Fn(f32) -> bool + Sync) {
        let Workspace { pool, found, .. } = work;
        let rows = self.block_rows();
        found.par_iter_mut().enumerate().with_max_len(1).for_each(|(block, found)| {
            pool.with(|scratch| {
                let Scratch { scores, candidates, kept, .. } = scratch;
                let mut upper = found.upper.iter();
                let mut row = block * rows;
                found.main.retain(kept, |latents, keep| {
                    keep.clear();
                    keep.extend(
                        latents
                            .iter()
                            .zip(upper.by_ref())
                            .filter(|(_, u)| u.partial_cmp(&&threshold) != Some(Ordering::Less))
                            .map(|(i, _)| (*i, 0.0)),
                    );
                    candidates.clear();
                    candidates.extend(keep.iter().map(|(i, _)| *i));
                    self.rescore(row, Some(&*candidates), scores);
                    keep.iter_mut().zip(&*scores).for_each(|((_, z), score)| *z = *score);
                    keep.retain(|(_, z)| wanted(*z));
                    row += 1;
                });
            });
        });
    }

    /// Screens all blocks, finishes them by `finish`, and selects among dead latents.
    fn blocks(self, start: Start, work: &mut Workspace, finish: impl Fn(usize, &mut Scratch, &mut Found) + Sync) {
        let rows = self.block_rows();
        let (pool, found) = work.prepare(self.rows, rows);
        found.par_iter_mut().enumerate().with_max_len(1).for_each(|(block, found)| {
            let first = block * rows;
            let rows = rows.min(self.rows - first);
            pool.with(|scratch| {
                self.screen_block(first, rows, start, scratch);
                if start.share > f32::NEG_INFINITY {
                    self.screen_misjudged(first, start, scratch, pool);
                }
                finish(first, scratch, found);
                self.choose_dead(first, scratch, found);
            });
        });
    }

    /// Fills the lists of the rows from `first` on.
    fn screen_block(self, first: usize, rows: usize, start: Start, scratch: &mut Scratch) {
        if let Some(packed) = &self.params.packed {
            self.screen_integers(packed, first, rows, start, scratch);
        } else {
            self.start_block(first, rows, Some(start), scratch);
            let mut lists = std::mem::take(&mut scratch.lists);
            self.panels(first, rows, scratch, |block, panel, room, others| {
                screen(self.isa, block, panel, room, &mut lists, others);
            });
            scratch.lists = lists;
        }
    }

    /// Screens those rows of a block once more, presuming nothing, whose floor was presumed too high.
    fn screen_misjudged(self, first: usize, start: Start, scratch: &mut Scratch, pool: &Pool) {
        let n_p = self.params.shape().n_p;
        let (mut rows, mut x) = std::mem::take(&mut scratch.misjudged);
        rows.clear();
        rows.extend(scratch.lists.iter().enumerate().filter(|(_, list)| list.has_misjudged()).map(|(r, _)| r));
        if !rows.is_empty() {
            x.clear();
            rows.iter().for_each(|r| x.extend_from_slice(&self.x[(first + r) * n_p..][..n_p]));
            let these = Encoder { isa: self.isa, params: self.params, x: &x, rows: rows.len(), dead: None };
            pool.with(|other| {
                these.screen_block(0, rows.len(), Start { share: f32::NEG_INFINITY, ..start }, other);
                rows.iter().zip(&mut other.lists).for_each(|(r, list)| std::mem::swap(&mut scratch.lists[*r], list));
            });
        }
        scratch.misjudged = (rows, x);
    }

    /// Rows of a block such that every thread gets one.
    fn block_rows(self) -> usize {
        match self.params.packed {
            Some(_) => whole_tiles(self.rows),
            None => self.rows.div_ceil(rayon::current_num_threads()).clamp(1, MOST_ROWS),
        }
    }

    fn screen_integers(self, packed: &Packed, first: usize, rows: usize, start: Start, scratch: &mut Scratch) {
        let n_p = self.params.shape().n_p;
        scratch.tiles.fill(self.isa, &self.x[first * n_p..(first + rows) * n_p], n_p);
        scratch.norms.clear();
        scratch.norms.extend(scratch.tiles.norms());
        self.start_lists(Some(start), scratch);
        let Scratch { tiles, lists, dead, .. } = scratch;
        let others = self.dead.map(|these| these.norms);
        let at =
            Screened { packed, norms: &self.params.norms, biases: self.params.block(Parameter::EncoderBias), others };
        integer::screen(self.isa, tiles, at, lists, dead);
    }

    /// Error factors and empty lists for the rows from `first` on.
    pub fn start_block(self, first: usize, rows: usize, start: Option<Start>, scratch: &mut Scratch) {
        let n_p = self.params.shape().n_p;
        let Scratch { norms, factors, .. } = scratch;
        let gamma = gamma(n_p);
        norms.clear();
        norms.extend(self.x[first * n_p..(first + rows) * n_p].chunks_exact(n_p).map(norm_above));
        factors.clear();
        // Never 0, so that a factor times −∞ is −∞.
        factors.extend(norms.iter().map(|norm| (gamma * norm).max(f32::MIN_POSITIVE)));
        self.start_lists(start, scratch);
    }

    /// Empty lists, one for each norm; those of unbounded rows give up at once.
    fn start_lists(self, start: Option<Start>, scratch: &mut Scratch) {
        let Scratch { lists, dead, norms, .. } = scratch;
        let reset = |lists: &mut Vec<List>, start: Option<Start>| {
            lists.resize_with(if start.is_some() { norms.len() } else { 0 }, List::default);
            for (list, norm) in lists.iter_mut().zip(&*norms) {
                if let Some(Start { floor, share, rank, most }) = start {
                    list.reset(floor, rank, most);
                    list.presume(share * norm);
                }
                if norm.is_infinite() {
                    list.give_up();
                }
            }
        };
        reset(lists, start);
        reset(
            dead,
            self.dead.map(|Dead { k, .. }| Start { floor: 0.0, share: f32::NEG_INFINITY, rank: k, most: 4 * k + 512 }),
        );
    }

    /// Shows the panels of W_E to a block of rows, with room for the product and, where there are dead latents, their norms and lists.
    pub fn panels(
        self,
        first: usize,
        rows: usize,
        scratch: &mut Scratch,
        mut visit: impl FnMut(Block<'_>, Panel<'_>, &mut [f32], Option<(&[f32], &mut [List])>),
    ) {
        let (n_p, n_q) = (self.params.shape().n_p, self.params.shape().n_q);
        let Scratch { product, dead, factors, .. } = scratch;
        product.resize(product.len().max(rows * LATENTS.min(n_q)), 0.0);
        let block = Block { dimension: n_p, x: &self.x[first * n_p..(first + rows) * n_p], factors };
        for first in (0..n_q).step_by(LATENTS) {
            let range = first..(first + LATENTS).min(n_q);
            let panel = Panel {
                first,
                weights: &self.params.encoder()[range.start * n_p..range.end * n_p],
                norms: &self.params.norms[range.clone()],
                biases: self.params.block(Parameter::EncoderBias).map(|b| &b[range.clone()]),
            };
            let these = self.dead.filter(|these| these.marks[range.clone()].contains(&true));
            visit(block, panel, product, these.map(|these| (&these.norms[range], dead.as_mut_slice())));
        }
    }

    /// The first of the dead latents, where π > 0.
    pub fn choose_dead(self, first: usize, scratch: &mut Scratch, found: &mut Found) {
        let Some(these) = self.dead else { return };
        let Scratch { dead, scores, keys, .. } = scratch;
        for (r, list) in dead.iter_mut().enumerate() {
            let candidates = list.candidates();
            self.rescore(first + r, candidates, scores);
            for (place, z) in scores.iter_mut().enumerate() {
                if !these.marks[candidates.map_or(place, |c| c[place] as usize)] {
                    *z = f32::NAN;
                }
            }
            choose(scores, candidates, these.k, true, keys, &mut found.aux);
        }
    }

    /// π of the candidates of a row, or of all latents.
    fn rescore(self, row: usize, candidates: Option<&[u32]>, out: &mut Vec<f32>) {
        self.scores(row, candidates, out);
        if let Some(biases) = self.params.block(Parameter::EncoderBias) {
            match candidates {
                Some(candidates) => out.iter_mut().zip(candidates).for_each(|(z, i)| *z += biases[*i as usize]),
                None => out.iter_mut().zip(biases).for_each(|(z, b)| *z += b),
            }
        }
    }

    /// Scores of the candidates of a row, or of all latents.
    pub fn scores(self, row: usize, candidates: Option<&[u32]>, out: &mut Vec<f32>) {
        let (n_p, n_q) = (self.params.shape().n_p, self.params.shape().n_q);
        out.clear();
        out.resize(candidates.map_or(n_q, <[u32]>::len), 0.0);
        let (x, weights) = (&self.x[row * n_p..(row + 1) * n_p], self.params.encoder());
        self.isa.run(Scores { x, weights, candidates, out });
    }

    /// The score of one latent.
    pub fn score_of(self, row: usize, latent: usize) -> f32 {
        let n_p = self.params.shape().n_p;
        let mut out = [0.0];
        let (x, weights) = (&self.x[row * n_p..(row + 1) * n_p], self.params.encoder());
        self.isa.run(Scores { x, weights, candidates: Some(&[latent as u32]), out: &mut out });
        out[0]
    }
}

fn kth_largest(keys: &mut [u32], k: usize) -> Option<f32> {
    (k > 0 && k <= keys.len()).then(|| value(*keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a)).1))
}

/// Rows of a block of whole tiles, such that all threads get equally many blocks.
fn whole_tiles(rows: usize) -> usize {
    let (tiles, threads) = (rows.div_ceil(TILE), rayon::current_num_threads());
    let blocks = tiles.div_ceil(MOST_ROWS_OF_TILES / TILE).next_multiple_of(threads).min(tiles);
    tiles.div_ceil(blocks.max(1)).max(1) * TILE
}

/// Scores of the candidates of a block, latent by latent.
struct ScoresAgain<'a> {
    of: Encoder<'a>,
    /// The first row of the block.
    first: usize,
    ends: &'a [u32],
    entries: &'a [(u32, u32)],
    out: &'a mut [f32],
}

impl Kernel for ScoresAgain<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, first, ends, entries, out } = self;
        let params = of.params;
        let (d, weights) = (params.shape().n_p, params.encoder());
        let biases = params.block(Parameter::EncoderBias);
        let row = |r: u32| &of.x[(first + r as usize) * d..][..d];
        let mut begin = 0;
        for (i, &end) in ends.iter().enumerate().take(params.shape().n_q) {
            let w = &weights[i * d..(i + 1) * d];
            for at in begin..end as usize {
                if let Some(&(next, _)) = entries.get(at + 2) {
                    row(next).chunks(16).for_each(|line| s.prefetch(&line[0]));
                }
                let (r, place) = entries[at];
                let z = score(s, row(r), w);
                out[place as usize] = biases.map_or(z, |b| z + b[i]);
            }
            begin = end as usize;
        }
    }
}

struct Scores<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    candidates: Option<&'a [u32]>,
    out: &'a mut [f32],
}

impl Kernel for Scores<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let d = self.x.len();
        let row = |i: usize| &self.weights[i * d..(i + 1) * d];
        match self.candidates {
            None => self.out.iter_mut().enumerate().for_each(|(i, z)| *z = score(s, self.x, row(i))),
            Some(candidates) => {
                for (at, (z, &i)) in self.out.iter_mut().zip(candidates).enumerate() {
                    if let Some(&next) = candidates.get(at + 2) {
                        row(next as usize).chunks(16).take(8).for_each(|line| s.prefetch(&line[0]));
                    }
                    *z = score(s, self.x, row(i as usize));
                }
            }
        }
    }
}

/// Appends the first k of a row, by increasing latent.
fn choose(scores: &[f32], candidates: Option<&[u32]>, k: usize, positive: bool, keys: &mut Vec<u64>, out: &mut Rows) {
    keys.clear();
    keys.extend((0..).zip(scores).map(|(place, z)| rank_key(*z, place)));
    let least = cut(keys, k);
    let all = (0..).zip(scores.iter().copied());
    let chosen = all.filter(|&(place, z)| rank_key(z, place) >= least && (!positive || z > 0.0));
    out.push_row(chosen.map(|(place, z)| (candidates.map_or(place, |c| c[place as usize]), z)));
}

/// The level of every entry, where there are several parts.
pub fn assign_levels(scales: &Scales, codes: &mut Sparse) {
    codes.levels.clear();
    if scales.weights().len() <= 1 {
        return;
    }
    codes.levels.resize(codes.latents.len(), 0);
    let mut order = Vec::new();
    for b in 0..codes.rows() {
        order.clear();
        order.extend(codes.offsets[b]..codes.offsets[b + 1]);
        if matches!(scales, Scales::TopK { .. }) {
            order.sort_unstable_by_key(|&at| std::cmp::Reverse(rank_key(codes.values[at], codes.latents[at])));
        }
        for (rank, &at) in order.iter().enumerate() {
            codes.levels[at] = scales.level(rank, codes.latents[at] as usize) as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::{Cpu, Screen};
    use crate::backend::{Backend, Spec};
    use crate::bench::features::{random_unit, stream};
    use crate::sdl::{Activation, Init, Shape};

    fn unit_rows(rows: usize, n_p: usize) -> Vec<f32> {
        let columns = random_unit(n_p, rows, &mut stream(4, "presumed floors"));
        (0..rows).flat_map(|b| columns.col(b).iter().map(|x| *x as f32).collect::<Vec<_>>()).collect()
    }

    /// A presumed floor that some or all rows do not reach costs them another screen, not a score of every latent, and changes no candidate
    /// that can be selected.
    #[test]
    fn a_floor_that_was_presumed_too_high_is_presumed_no_more() {
        let (rows, k) = (70, 12);
        let shape = Shape { n_p: 40, n_r: 40, n_q: 2500 };
        let model = Init::default().model(shape, Activation::TopK { k }, 3);
        let x = unit_rows(rows, shape.n_p);
        for screen in [Screen::Float, Screen::Integer] {
            let cpu = Cpu::with(Spec::plain(shape, rows), Isa::detect(), screen);
            let params = cpu.params(&model);
            let encoder = Encoder { isa: Isa::detect(), params: &params, x: &x, rows, dead: None };
            let mut floors = Vec::new();
            for share in [f32::NEG_INFINITY, -0.1, 0.385, 0.41, 2.0] {
                let start = Start { floor: f32::NEG_INFINITY, share, rank: k, most: 4 * k + 512 };
                let seen = Mutex::new(vec![0.0; rows]);
                encoder.blocks(start, &mut Workspace::default(), |first, scratch, _| {
                    for (r, list) in scratch.lists.iter_mut().enumerate() {
                        let mut scores = Vec::new();
                        encoder.rescore(first + r, None, &mut scores);
                        let candidates = list.candidates().expect("no row is scored in full").to_vec();
                        let kth = kth_largest(&mut scores.iter().map(|z| key(*z)).collect::<Vec<_>>(), k).unwrap();
                        assert!(candidates.len() < k + 100);
                        let selected = (0..).zip(&scores).filter(|(_, z)| **z >= kth);
                        selected.for_each(|(i, _)| assert!(candidates.contains(&i), "{share}: row {r} lost {i}"));
                        seen.lock().unwrap()[first + r] = kth / scratch.norms[r];
                    }
                });
                floors = seen.into_inner().unwrap();
            }
            let above = |share: f32| floors.iter().filter(|floor| **floor > share).count();
            assert!(above(0.385) > above(0.41) && above(0.41) > 0 && above(2.0) == 0, "{floors:?}");
        }
    }

    /// The next batch presumes what nearly all rows of the last one reached.
    #[test]
    fn what_is_presumed_follows_the_batch() {
        let (rows, k) = (200, 8);
        let shape = Shape { n_p: 30, n_r: 30, n_q: 600 };
        let cpu = Cpu::with(Spec::plain(shape, rows), Isa::detect(), Screen::Float);
        let mut model = Init::default().model(shape, Activation::TopK { k }, 3);
        (0..shape.n_q).for_each(|i| model.tensors.row_mut(Parameter::Encoder, i)[0] = 0.0);
        let params = cpu.params(&model);
        let mut x = unit_rows(rows, shape.n_p);
        let mut work = Workspace::default();
        let mut shares = Vec::new();
        for _ in 0..2 {
            let encoder = Encoder { isa: Isa::detect(), params: &params, x: &x, rows, dead: None };
            for _ in 0..2 {
                encoder.top_k(k, false, &mut work, &mut Sparse::default());
                shares.push(work.share.unwrap());
            }
            // One row in four now lies mostly where no latent does.
            x.chunks_mut(4 * shape.n_p).for_each(|rows| rows[0] = 20.0);
        }
        assert!(shares[0] > 0.0 && (shares[0] - shares[1]).abs() < 1e-6, "{shares:?}");
        assert!(shares[2] < shares[1] && shares[3] == shares[2], "{shares:?}");
    }
}
