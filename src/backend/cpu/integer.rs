//! The screen in 16-bit integers, for processors that multiply them faster than f32.
//!
//! # The bound
//!
//! Every row of x' and of W_E is rounded to integers with one scale, x' ≈ x̂ = s_x·q_x, so that ‖q‖ ≤ 46340. By Cauchy and Schwarz no partial sum of
//! ⟨q_x, q_w⟩ exceeds 46340² < 2³¹: the integer product D is exact, on any processor and in any order. With the rounding residuals δx = x' − x̂ and
//! δw = w − ŵ, which are known,
//!
//! ```text
//!     |⟨x', w⟩ − ⟨x̂, ŵ⟩| ≤ ‖x'‖‖δw‖ + ‖δx‖‖ŵ‖ ≤ ‖δx‖‖w‖ + (‖x'‖ + ‖δx‖)‖δw‖
//! ```
//!
//! D·s_w·s_x in f32 differs from ⟨x̂, ŵ⟩ by at most 5u‖x̂‖‖ŵ‖ (one rounding of D, two products, and s = 1/a where integers were made with a), the
//! [score](crate::backend::score) from ⟨x', w⟩ by γ_m‖x'‖‖w‖ with m = ⌈n/64⌉ + 7. Residuals are computed with fused multiply-adds, so that their
//! norms are right to 1 %, and enlarged by 2 %. What adding a bias costs, underflow, and numbers too large to be bounded are treated as in
//! [`super::screen`], which see for u, γ and the lists.
//!
//! # The layout
//!
//! Two neighbouring integers make a word, which one instruction multiplies and adds. W_E stands in panels of [`PANEL`] latents, x' in tiles of
//! [`TILE`] rows; word c of all latents of a panel, or of all rows of a tile, are neighbours. The product of a tile and two panels fits into the
//! registers of AVX-512.

#![allow(unsafe_code)]

use super::screen::{HUGE, List, TINY, U, bound, gamma_of, slack_of};
use super::simd::{Isa, Kernel, Simd, WIDTH};
use super::state::CHUNK;
use rayon::prelude::*;
use std::cell::Cell;

/// Latents of a panel.
pub const PANEL: usize = CHUNK;
/// Latents that a tile meets at once.
const WIDE: usize = 2 * PANEL;
/// Rows of a tile.
pub const TILE: usize = 14;
/// Longer vectors are not rounded: the margins suppose fewer numbers.
pub const LONGEST: usize = 1 << 18;

/// Steps of a product for one cache line that is asked for ahead of time.
const AHEAD: usize = 4;

/// Largest norm of a row of integers.
const LARGEST_NORM: f32 = 46338.0;
/// Largest integer.
const LARGEST: f32 = 32766.0;
/// Rows of a smaller norm become zeros.
const LEAST_NORM: f32 = 1e-30;
/// 1.5·2²³: added to a number below 2²², it leaves its nearest integer in the last bits.
const SHIFT: f32 = 12_582_912.0;

/// A word of every latent of a panel, on one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub struct Line([u32; PANEL]);

/// W_E in integers.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// Words of a row.
    words: usize,
    /// Panel after panel, `words` lines each.
    lines: Vec<Line>,
    scales: Vec<[f32; PANEL]>,
    /// Upper bounds of ‖δw‖.
    residuals: Vec<[f32; PANEL]>,
    /// What stands beside the last panel if their number is odd.
    blank: Vec<Line>,
}

/// One panel of [`Packed`], to be written.
pub struct PanelMut<'a> {
    lines: &'a mut [Line],
    scales: &'a mut [f32; PANEL],
    residuals: &'a mut [f32; PANEL],
}

impl Packed {
    /// The rows of W_E, n numbers each; `norms` are upper bounds of theirs.
    pub fn new(isa: Isa, weights: &[f32], n: usize, norms: &[f32]) -> Self {
        let (words, panels) = (n.div_ceil(2), norms.len().div_ceil(PANEL));
        let (scales, residuals) = (vec![[0.0; PANEL]; panels], vec![[0.0; PANEL]; panels]);
        let [lines, blank] = [panels, 1].map(|panels| vec![Line::default(); panels * words]);
        let mut packed = Self { words, lines, scales, residuals, blank };
        let rows = weights.par_chunks(PANEL * n).zip(norms.par_chunks(PANEL));
        packed.panels_mut().zip(rows).for_each(|(panel, (rows, norms))| isa.run(Pack { panel, rows, norms }));
        packed
    }

    /// All panels.
    pub fn panels_mut(&mut self) -> impl IndexedParallelIterator<Item = PanelMut<'_>> {
        let numbers = self.scales.par_iter_mut().zip(&mut self.residuals);
        let lines = self.lines.par_chunks_mut(self.words.max(1));
        lines.zip(numbers).map(|(lines, (scales, residuals))| PanelMut { lines, scales, residuals })
    }
}

thread_local! {
    /// A row in integers, while a panel is written.
    static INTEGERS: Cell<Vec<u16>> = const { Cell::new(Vec::new()) };
}

impl PanelMut<'_> {
    /// Writes the panel; rows and norms of at most [`PANEL`] latents.
    #[inline(always)]
    pub fn pack<S: Simd>(&mut self, s: S, rows: &[f32], norms: &[f32]) {
        let n = rows.len() / norms.len().max(1);
        let mut integers = INTEGERS.take();
        integers.clear();
        integers.resize(2 * self.lines.len(), 0);
        for (j, (row, norm)) in rows.chunks_exact(n.max(1)).zip(norms).enumerate() {
            let Rounded { scale, residual } = round(s, row, *norm, &mut integers);
            (self.scales[j], self.residuals[j]) = (scale, residual);
            for (line, pair) in self.lines.iter_mut().zip(integers.as_chunks::<2>().0) {
                line.0[j] = word(*pair);
            }
        }
        INTEGERS.set(integers);
    }
}

struct Pack<'a> {
    panel: PanelMut<'a>,
    rows: &'a [f32],
    norms: &'a [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        self.panel.pack(s, self.rows, self.norms);
    }
}

/// Rows of x' in integers.
#[derive(Debug, Default)]
pub struct Tiles {
    words: Vec<[u32; TILE]>,
    rows: Vec<RowOf>,
    integers: Vec<u16>,
}

/// What the bounds need to know about a row of x'.
#[derive(Debug, Clone, Copy, Default)]
struct RowOf {
    scale: f32,
    /// Times ‖w‖.
    by_norm: f32,
    /// Times ‖δw‖.
    by_residual: f32,
}

impl Tiles {
    /// Takes the rows of x', n numbers each.
    pub fn fill(&mut self, isa: Isa, x: &[f32], n: usize) {
        isa.run(Fill { tiles: self, x, n });
    }

    /// Upper bounds of the norms of the rows, to a few per cent; infinite where a row must be scored in full.
    pub fn norms(&self) -> impl Iterator<Item = f32> {
        self.rows.iter().map(|row| row.by_residual)
    }
}

struct Fill<'a> {
    tiles: &'a mut Tiles,
    x: &'a [f32],
    n: usize,
}

impl Kernel for Fill<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tiles { words, rows, integers } = self.tiles;
        let each = self.n.div_ceil(2);
        let gamma = 1.1 * (gamma_of(self.n.div_ceil(64) + 7) + 5.0 * U) + 8.0 * U;
        integers.clear();
        integers.resize(2 * each, 0);
        rows.clear();
        words.clear();
        words.resize((self.x.len() / self.n).div_ceil(TILE) * each, [0; TILE]);
        for (r, x) in self.x.chunks_exact(self.n).enumerate() {
            let norm = bound(s, x);
            let Rounded { scale, residual } = round(s, x, norm, integers);
            // Never 0, so that a factor times −∞ is −∞.
            let by_norm = (1.02 * (residual + gamma as f32 * norm)).max(f32::MIN_POSITIVE);
            rows.push(RowOf { scale, by_norm, by_residual: 1.001 * (norm + residual) });
            let tile = &mut words[r / TILE * each..][..each];
            for (line, pair) in tile.iter_mut().zip(integers.as_chunks::<2>().0) {
                line[r % TILE] = word(*pair);
            }
        }
    }
}

struct Rounded {
    scale: f32,
    residual: f32,
}

/// Integers in proportion to a row whose norm is at most `norm`: their scale, and an upper bound of the norm of what rounding has taken.
#[inline(always)]
fn round<S: Simd>(s: S, row: &[f32], norm: f32, out: &mut [u16]) -> Rounded {
    if !(LEAST_NORM..=HUGE).contains(&norm) {
        out.fill(0);
        return Rounded { scale: 0.0, residual: if norm <= HUGE { norm } else { 0.0 } };
    }
    let (vectors, rest) = row.as_chunks::<WIDTH>();
    let zero = s.splat(0.0);
    let mut largest = zero;
    for x in vectors {
        let x = s.load(x);
        largest = s.max(largest, s.max(x, s.sub(zero, x)));
    }
    let mut lanes = [0.0; WIDTH];
    s.store(largest, &mut lanes);
    let largest = lanes.into_iter().chain(rest.iter().map(|x| x.abs())).fold(0.0, f32::max);
    let a = ((LARGEST_NORM - 0.5 * (row.len() as f32).sqrt()) / norm).min(LARGEST / largest);
    let (by, shift) = (s.splat(a), s.splat(SHIFT));
    let (out, out_rest) = out.as_chunks_mut::<WIDTH>();
    let mut squares = zero;
    for (x, out) in vectors.iter().zip(out.iter_mut()) {
        let x = s.load(x);
        let shifted = s.add(s.mul(x, by), shift);
        let left = s.fma(x, by, s.sub(shift, shifted));
        squares = s.fma(left, left, squares);
        s.store(shifted, &mut lanes);
        *out = lanes.map(|q| q.to_bits() as u16);
    }
    let mut squares = s.sum(squares);
    // An odd row ends with half a word, which stays 0.
    let tail = out.get_mut(vectors.len()).map_or(out_rest, |out| &mut out[..]);
    for (x, out) in rest.iter().zip(tail) {
        let shifted = x * a + SHIFT;
        let left = x.mul_add(a, SHIFT - shifted);
        squares = left.mul_add(left, squares);
        *out = shifted.to_bits() as u16;
    }
    Rounded { scale: 1.0 / a, residual: 1.02 * squares.sqrt() / a }
}

#[inline(always)]
fn word([low, high]: [u16; 2]) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// What a screen compares with the lists.
#[derive(Clone, Copy)]
pub struct Screened<'a> {
    pub packed: &'a Packed,
    /// Upper bounds of ‖w‖, or −∞ for latents that do not matter.
    pub norms: &'a [f32],
    pub biases: Option<&'a [f32]>,
    /// Norms of further lists, which leave out some latents.
    pub others: Option<&'a [f32]>,
}

/// Appends to the list of every row of the tiles what can still be selected.
pub fn screen(isa: Isa, tiles: &Tiles, at: Screened<'_>, lists: &mut [List], others: &mut [List]) {
    isa.run(Screen { isa, tiles, at, lists, others });
}

struct Screen<'a> {
    isa: Isa,
    tiles: &'a Tiles,
    at: Screened<'a>,
    lists: &'a mut [List],
    others: &'a mut [List],
}

/// What two panels are compared with.
struct Columns {
    first: usize,
    /// One bit for each latent that exists.
    live: u32,
    scales: [f32; WIDE],
    residuals: [f32; WIDE],
    norms: [f32; WIDE],
    biases: [f32; WIDE],
}

impl Columns {
    fn set(&mut self, first: usize, packed: &Packed, norms: &[f32], biases: Option<&[f32]>) {
        let count = WIDE.min(norms.len() - first);
        self.first = first;
        self.live = u32::MAX >> (WIDE - count);
        for (half, at) in (first / PANEL..packed.scales.len().min(first / PANEL + 2)).enumerate() {
            self.scales[half * PANEL..][..PANEL].copy_from_slice(&packed.scales[at]);
            self.residuals[half * PANEL..][..PANEL].copy_from_slice(&packed.residuals[at]);
        }
        self.norms[..count].copy_from_slice(&norms[first..first + count]);
        if let Some(biases) = biases {
            self.biases[..count].copy_from_slice(&biases[first..first + count]);
        }
    }
}

impl Kernel for Screen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { isa, tiles, at, lists, others } = self;
        let words = at.packed.words;
        let empty = || Columns {
            first: 0,
            live: 0,
            scales: [0.0; WIDE],
            residuals: [0.0; WIDE],
            norms: [0.0; WIDE],
            biases: [0.0; WIDE],
        };
        let (mut columns, mut other_columns) = (empty(), empty());
        let mut product = [[0.0; WIDE]; TILE];
        let panel = |p: usize| at.packed.lines.get(p * words..(p + 1) * words);
        let count = tiles.rows.len().div_ceil(TILE);
        for first in (0..at.norms.len()).step_by(WIDE) {
            let p = first / PANEL;
            let [left, right] = [p, p + 1].map(|p| panel(p).unwrap_or(&at.packed.blank));
            columns.set(first, at.packed, at.norms, at.biases);
            let others_here = at.others.filter(|norms| {
                norms[first..at.norms.len().min(first + WIDE)].iter().any(|norm| *norm != f32::NEG_INFINITY)
            });
            if let Some(norms) = others_here {
                other_columns.set(first, at.packed, norms, at.biases);
            }
            // The last tiles ask for the panels that come next, each for a part of them.
            let next = at.packed.lines.get((p + 2) * words..).unwrap_or_default();
            let mut parts = next.chunks(words.div_ceil(AHEAD).max(1));
            for (t, rows) in tiles.rows.chunks(TILE).enumerate() {
                let ahead = if t + 2 * AHEAD >= count { parts.next().unwrap_or_default() } else { &[] };
                let tile = &tiles.words[t * words..(t + 1) * words];
                multiply(isa, tile, [left, right], ahead, &mut product);
                let each = product.iter().zip(rows);
                for ((product, row), list) in each.clone().zip(&mut lists[t * TILE..]) {
                    compare(s, product, row, &columns, at.biases.is_some(), list);
                }
                if others_here.is_some() {
                    for ((product, row), list) in each.zip(&mut others[t * TILE..]) {
                        compare(s, product, row, &other_columns, at.biases.is_some(), list);
                    }
                }
            }
        }
    }
}

/// Appends what passes.
#[inline(always)]
fn compare<S: Simd>(s: S, product: &[f32; WIDE], row: &RowOf, at: &Columns, biased: bool, list: &mut List) {
    if list.has_given_up() {
        return;
    }
    let (scale, by_norm, by_residual) = (s.splat(row.scale), s.splat(row.by_norm), s.splat(row.by_residual));
    let (tiny, share, zero, floor) =
        (s.splat(TINY), s.splat(super::screen::BIAS_SHARE), s.splat(0.0), s.splat(list.floor()));
    let of = |x: &[f32; WIDE], v: usize| s.load(&x.as_chunks::<WIDTH>().0[v]);
    let mut mask = 0;
    for v in 0..WIDE / WIDTH {
        let mut z = s.mul(s.mul(of(product, v), of(&at.scales, v)), scale);
        let mut slack = tiny;
        if biased {
            let b = of(&at.biases, v);
            z = s.add(z, b);
            slack = s.fma(share, s.max(b, s.sub(zero, b)), slack);
        }
        slack = s.fma(by_residual, of(&at.residuals, v), slack);
        slack = s.fma(by_norm, of(&at.norms, v), slack);
        mask |= s.not_below(s.add(z, slack), floor) << (v * WIDTH);
    }
    mask &= at.live;
    if mask == 0 {
        return;
    }
    while mask != 0 {
        let j = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        let slack = row.by_residual.mul_add(at.residuals[j], slack_of(row.by_norm, at.norms[j], at.biases[j]));
        list.push((at.first + j) as u32, product[j] * at.scales[j] * row.scale + at.biases[j], slack);
    }
    list.end_group();
}

/// Integer products of a tile and two panels, rounded to f32. `ahead` is what will be needed soon.
fn multiply(isa: Isa, tile: &[[u32; TILE]], panels: [&[Line]; 2], ahead: &[Line], out: &mut [[f32; WIDE]; TILE]) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 && Isa::detect() == Isa::Avx512 {
        // SAFETY: the processor has AVX-512 F and VNNI, as just detected (a cached load after the first time).
        unsafe { vnni::multiply(tile, panels, ahead, out) };
        return;
    }
    let _ = (isa, ahead);
    let mut sums = [[0_i32; WIDE]; TILE];
    for ((x, left), right) in tile.iter().zip(panels[0]).zip(panels[1]) {
        for (sums, x) in sums.iter_mut().zip(x) {
            for (half, line) in [left, right].into_iter().enumerate() {
                for (sum, w) in sums[half * PANEL..].iter_mut().zip(&line.0) {
                    let low = i32::from(*x as i16) * i32::from(*w as i16);
                    let high = i32::from((x >> 16) as i16) * i32::from((w >> 16) as i16);
                    *sum = sum.wrapping_add(low.wrapping_add(high));
                }
            }
        }
    }
    *out = sums.map(|sums| sums.map(|sum| sum as f32));
}

#[cfg(target_arch = "x86_64")]
mod vnni {
    use super::{AHEAD, Line, TILE, WIDE};
    use std::arch::x86_64::*;

    /// 28 sums stay in registers; every step loads two lines and broadcasts a word of each of 14 rows.
    ///
    /// # Safety
    /// The processor must have AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub unsafe fn multiply(
        tile: &[[u32; TILE]],
        [left, right]: [&[Line]; 2],
        ahead: &[Line],
        out: &mut [[f32; WIDE]; TILE],
    ) {
        let mut sums = [[_mm512_setzero_si512(); 2]; TILE];
        for (c, ((x, left), right)) in tile.iter().zip(left).zip(right).enumerate() {
            if c % AHEAD == 0
                && let Some(line) = ahead.get(c / AHEAD)
            {
                _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(line).cast());
            }
            // SAFETY: a line is 64 readable bytes at an address that 64 divides.
            let (left, right) = unsafe {
                (
                    _mm512_load_si512(std::ptr::from_ref(left).cast()),
                    _mm512_load_si512(std::ptr::from_ref(right).cast()),
                )
            };
            for (sums, x) in sums.iter_mut().zip(x) {
                let x = _mm512_set1_epi32(*x as i32);
                sums[0] = _mm512_dpwssd_epi32(sums[0], x, left);
                sums[1] = _mm512_dpwssd_epi32(sums[1], x, right);
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            // SAFETY: a row of the product is 128 writable bytes, and the stores need no alignment.
            unsafe {
                _mm512_storeu_ps(out.as_mut_ptr(), _mm512_cvtepi32_ps(sums[0]));
                _mm512_storeu_ps(out.as_mut_ptr().add(WIDE / 2), _mm512_cvtepi32_ps(sums[1]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::score;
    use crate::bench::features::stream;
    use rand::RngExt;

    /// Rows of many kinds: even, with one large number, sparse, tiny, large, zero.
    fn rows(count: usize, n: usize, seed: u64) -> Vec<f32> {
        let mut rng = stream(seed, "rows of integers");
        let mut x: Vec<f32> = (0..count * n).map(|_| rng.random::<f32>() - 0.5).collect();
        for (r, row) in x.chunks_mut(n).enumerate() {
            match r % 7 {
                1 => row[r % n] = 1e4,
                2 => row.iter_mut().enumerate().for_each(|(c, x)| *x *= if (c + r) % 5 == 0 { 1.0 } else { 1e-5 }),
                3 => row.iter_mut().for_each(|x| *x *= 1e-25),
                4 => row.iter_mut().for_each(|x| *x *= 1e15),
                5 => row.fill(if r % 2 == 0 { 0.0 } else { 0.3 }),
                6 => row.iter_mut().for_each(|x| *x *= 1e-33),
                _ => {}
            }
        }
        x
    }

    fn norms(x: &[f32], n: usize) -> Vec<f32> {
        x.chunks(n).map(super::super::screen::norm_above).collect()
    }

    fn every_isa() -> Vec<Isa> {
        [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.or_lesser() == *isa).collect()
    }

    /// All products and bounds of a few rows, from lists that drop nothing.
    fn bounds(isa: Isa, x: &[f32], w: &[f32], biases: Option<&[f32]>, n: usize) -> Vec<Vec<(f32, f32)>> {
        let norms = norms(w, n);
        let packed = Packed::new(isa, w, n, &norms);
        let mut tiles = Tiles::default();
        tiles.fill(isa, x, n);
        let mut lists: Vec<List> = (0..x.len() / n).map(|_| List::default()).collect();
        lists.iter_mut().for_each(|list| list.reset(f32::NEG_INFINITY, usize::MAX, usize::MAX));
        screen(isa, &tiles, Screened { packed: &packed, norms: &norms, biases, others: None }, &mut lists, &mut []);
        let each = lists.iter().map(|list| {
            let (latents, lower, upper) = list.bounds().unwrap();
            assert_eq!(latents, (0..norms.len() as u32).collect::<Vec<_>>());
            lower.iter().copied().zip(upper.iter().copied()).collect()
        });
        each.collect()
    }

    #[test]
    fn every_score_is_within_its_bounds_which_are_narrow_and_the_same_everywhere() {
        for (n, n_q) in [(1, 5), (2, 16), (7, 33), (64, 40), (129, 100), (768, 50)] {
            let (x, w) = (rows(31, n, 1), rows(n_q, n, 2));
            let biases: Vec<f32> = (0..n_q).map(|i| i as f32 - 3.0).collect();
            for biases in [None, Some(&biases[..])] {
                let found = bounds(Isa::Portable, &x, &w, biases, n);
                for isa in every_isa() {
                    assert_eq!(bounds(isa, &x, &w, biases, n), found, "{}", isa.name());
                }
                for (x, found) in x.chunks(n).zip(found) {
                    for (i, (lower, upper)) in found.into_iter().enumerate() {
                        let w = &w[i * n..(i + 1) * n];
                        let z = score::score(x, w) + biases.map_or(0.0, |b| b[i]);
                        assert!(lower <= z && z <= upper, "n = {n}, latent {i}: {z} in {lower} .. {upper}");
                        let norm = |a: &[f32]| a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                        let size = norm(x) * norm(w);
                        let biased = biases.map_or(0.0, |b| f64::from(b[i].abs()));
                        let width = f64::from(upper) - f64::from(lower);
                        // For both sides and both directions half a unit of every number, which is at most the norm over 32766.
                        let ordinary = norm(x).min(norm(w)) > 1e-29;
                        let most = (7e-5 * (n as f64).sqrt() + 3e-5) * size + 3e-6 * biased + 1e-35;
                        assert!(!ordinary || width < most, "n = {n}: {width} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn integer_products_are_exact_up_to_the_largest_norms() {
        let n = 768;
        // All integers as large as the norm allows, of one sign and of both; a single one; and pairs that differ by one unit.
        let even = vec![1.0_f32; n];
        let mixed: Vec<f32> = (0..n).map(|c| if c % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut single = vec![0.0; n];
        single[5] = -7.0;
        let ramp: Vec<f32> = (0..n).map(|c| c as f32 - 300.0).collect();
        let x: Vec<f32> = [even, mixed, single, ramp].concat();
        for isa in every_isa() {
            let mut tiles = Tiles::default();
            tiles.fill(isa, &x, n);
            let packed = Packed::new(isa, &x, n, &norms(&x, n));
            let half = |word: u32, c: usize| i64::from((word >> (16 * (c % 2))) as i16);
            let row = |r: usize, c: usize| half(tiles.words[c / 2][r], c);
            let latent = |j: usize, c: usize| half(packed.lines[c / 2].0[j], c);
            let mut product = [[0.0; WIDE]; TILE];
            let blank = vec![Line::default(); n / 2];
            multiply(isa, &tiles.words, [&packed.lines, &blank], &[], &mut product);
            for (r, product) in product.iter().enumerate().take(4) {
                let square: i64 = (0..n).map(|c| latent(r, c).pow(2)).sum();
                assert!(square <= 46340 * 46340 && (r == 2 || square > 46300 * 46300), "{square}");
                for (j, found) in product.iter().enumerate().take(4) {
                    let exact: i64 = (0..n).map(|c| row(r, c) * latent(j, c)).sum();
                    assert_eq!(*found, exact as f32, "{} {r} {j}", isa.name());
                }
            }
            assert!(product[4..].iter().flatten().all(|z| *z == 0.0));
        }
    }
}
