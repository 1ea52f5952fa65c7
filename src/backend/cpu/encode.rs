//! The encoder of the top-k family: screen, score again, select.

use super::codes::Sparse;
use super::screen::{Block, HUGE, List, Panel, gamma, norm_above, screen};
use super::select::{cut, rank_key};
use super::simd::{Isa, Kernel, Simd};
use super::state::Params;
use super::vector::score;
use crate::sdl::{Parameter, Scales};
use rayon::prelude::*;
use std::sync::Mutex;

/// Rows of a block at most. Neither this nor the width of a panel changes what is selected.
const ROWS: usize = 512;
/// Latents of a panel.
const LATENTS: usize = 1024;

/// Where a task works on one block of rows.
#[derive(Debug, Default)]
pub struct Scratch {
    product: Vec<f32>,
    lists: Vec<List>,
    factors: Vec<f32>,
    values: Vec<f32>,
    keys: Vec<u64>,
}

/// Scratch that tasks borrow, so that it is allocated once for each thread.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Vec<Scratch>>);

impl Pool {
    fn with<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let take = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut scratch = take().pop().unwrap_or_default();
        let result = work(&mut scratch);
        take().push(scratch);
        result
    }
}

/// Rows of x' and what selects among their pre-activations.
#[derive(Clone, Copy)]
pub struct TopK<'a> {
    pub isa: Isa,
    pub params: &'a Params,
    /// x', rows of n_p numbers.
    pub x: &'a [f32],
    pub rows: usize,
    pub k: usize,
    /// Keep those of the k with π > 0 only.
    pub positive: bool,
}

/// Rows of a block such that every thread gets some, for tasks that borrow scratch.
fn block_rows(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).clamp(1, ROWS)
}

impl TopK<'_> {
    /// Selected latents of every row, with π.
    pub fn select(self, pool: &Pool, counts: &mut Vec<u32>, codes: &mut Sparse) {
        let stride = self.k.min(self.params.shape().n_q);
        codes.latents.resize(self.rows * stride, 0);
        codes.values.resize(self.rows * stride, 0.0);
        codes.levels.clear();
        counts.clear();
        counts.resize(self.rows, 0);
        if stride > 0 {
            let rows = block_rows(self.rows);
            let out = codes.latents.par_chunks_mut(rows * stride).zip(codes.values.par_chunks_mut(rows * stride));
            out.zip(counts.par_chunks_mut(rows)).enumerate().with_max_len(1).for_each(
                |(block, ((latents, values), counts))| {
                    pool.with(|scratch| self.select_block(block * rows, scratch, latents, values, counts));
                },
            );
        }
        codes.compact(stride, counts);
    }

    fn select_block(
        self,
        first: usize,
        scratch: &mut Scratch,
        latents: &mut [u32],
        values: &mut [f32],
        counts: &mut [u32],
    ) {
        let stride = self.k.min(self.params.shape().n_q);
        let floor = if self.positive { 0.0 } else { f32::NEG_INFINITY };
        self.screen_block(first, counts.len(), floor, scratch);
        let Scratch { lists, values: scores, keys, .. } = scratch;
        let out = latents.chunks_exact_mut(stride).zip(values.chunks_exact_mut(stride)).zip(counts);
        for (r, (((latents, values), count), list)) in out.zip(lists).enumerate() {
            let candidates = list.candidates();
            self.rescore(first + r, candidates, scores);
            *count = choose(scores, candidates, self.k, self.positive, keys, latents, values) as u32;
        }
    }

    /// Lists for the rows from `first` on.
    fn screen_block(self, first: usize, rows: usize, floor: f32, scratch: &mut Scratch) {
        let (n_p, n_q) = (self.params.shape().n_p, self.params.shape().n_q);
        let x = &self.x[first * n_p..(first + rows) * n_p];
        let Scratch { product, lists, factors, .. } = scratch;
        lists.resize_with(rows.max(lists.len()), List::default);
        product.resize(product.len().max(rows * LATENTS.min(n_q)), 0.0);
        factors.clear();
        let gamma = gamma(n_p);
        for (x, list) in x.chunks_exact(n_p).zip(lists.iter_mut()) {
            let norm = norm_above(x);
            list.reset(floor, self.k, 4 * self.k + 512);
            if norm > HUGE {
                list.give_up();
            }
            factors.push(gamma * norm);
        }
        let block = Block { dimension: n_p, x, factors };
        for first in (0..n_q).step_by(LATENTS) {
            let range = first..(first + LATENTS).min(n_q);
            let panel = Panel {
                first,
                weights: &self.params.encoder()[range.start * n_p..range.end * n_p],
                norms: &self.params.norms[range.clone()],
                biases: self.params.block(Parameter::EncoderBias).map(|b| &b[range]),
            };
            screen(self.isa, block, panel, product, &mut lists[..rows]);
        }
    }

    /// π of the candidates of a row, or of all latents.
    fn rescore(self, row: usize, candidates: Option<&[u32]>, out: &mut Vec<f32>) {
        let (n_p, n_q) = (self.params.shape().n_p, self.params.shape().n_q);
        out.clear();
        out.resize(candidates.map_or(n_q, <[u32]>::len), 0.0);
        let (x, weights) = (&self.x[row * n_p..(row + 1) * n_p], self.params.encoder());
        self.isa.run(Scores { x, weights, candidates, out });
        if let Some(biases) = self.params.block(Parameter::EncoderBias) {
            match candidates {
                Some(candidates) => out.iter_mut().zip(candidates).for_each(|(z, i)| *z += biases[*i as usize]),
                None => out.iter_mut().zip(biases).for_each(|(z, b)| *z += b),
            }
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

/// The first k of a row, by increasing latent; how many there are.
fn choose(
    scores: &[f32],
    candidates: Option<&[u32]>,
    k: usize,
    positive: bool,
    keys: &mut Vec<u64>,
    latents: &mut [u32],
    values: &mut [f32],
) -> usize {
    keys.clear();
    keys.extend(scores.iter().enumerate().map(|(place, z)| rank_key(*z, place as u32)));
    let least = cut(keys, k);
    let mut count = 0;
    for (place, &z) in scores.iter().enumerate() {
        if rank_key(z, place as u32) >= least && (!positive || z > 0.0) {
            latents[count] = candidates.map_or(place as u32, |c| c[place]);
            values[count] = z;
            count += 1;
        }
    }
    count
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
        let range = codes.offsets[b]..codes.offsets[b + 1];
        order.clear();
        order.extend(range.clone());
        if matches!(scales, Scales::TopK { .. }) {
            order.sort_unstable_by_key(|&at| std::cmp::Reverse(rank_key(codes.values[at], codes.latents[at])));
        }
        for (rank, &at) in order.iter().enumerate() {
            codes.levels[at] = scales.level(rank, codes.latents[at] as usize) as u16;
        }
    }
}
