//! Which latents of a row can be among its largest: a fast product with a rigorous error bound discards the others.
//!
//! # The bound
//!
//! Let u = 2⁻²⁴ and γ_m = m·u/(1 − m·u). A scalar product of n terms whose terms pass at most m roundings each differs from the exact
//! value by at most γ_m Σ|a_k b_k| ≤ γ_m ‖a‖‖b‖, in any order of summation, with or without fused multiply-adds (Higham 2002, §3.1). The
//! [score](crate::backend::score) has ⌈n/64⌉ steps in a lane, 6 levels of the tree and one last addition: m = ⌈n/64⌉ + 7. A blocked matrix
//! product has n steps at most, and a few more to scale and to join its blocks: m = n + 16. Hence
//!
//! ```text
//!     |product − score| ≤ (γ_{n+16} + γ_{⌈n/64⌉+7}) ‖x'‖‖w_i‖ + underflow
//! ```
//!
//! Adding b_E in f32 to both costs at most 2u(‖x'‖‖w_i‖ + |b_i|) more, and forming an upper and a lower bound in f32 at most as much again; both
//! are covered by 8u. Sums that underflow lose at most 2⁻¹⁴⁹ a step, covered by [`TINY`]. Nothing may overflow on the way: a latent with
//! ‖w_i‖ or |b_i| above [`HUGE`] (or not finite) is always a candidate, and a row with ‖x'‖ above it is scored in full.
//!
//! # The list
//!
//! A [`List`] keeps the latents whose upper bound is not below the row's *floor*: the k-th largest lower bound so far, which the k-th largest
//! score cannot undercut. What is left at the end is scored again, in the defined order.

use super::matmul::{Layout, product};
use super::simd::{Isa, Kernel, Simd, WIDTH};
use super::vector::squared_norm;

/// Covers underflow: the steps of any product that fits into memory lose less.
pub const TINY: f32 = 1e-36;
/// Norms up to here cannot make a product overflow.
pub const HUGE: f32 = 1e18;

/// u.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;
/// Share of |b_i| in the bound.
pub const BIAS_SHARE: f32 = (8.0 * U) as f32;
/// Vectors that are compared at once.
const GROUP: usize = 4;

/// Bound of the relative difference between product and score for vectors of n numbers, in units of ‖x'‖‖w‖.
pub fn gamma(n: usize) -> f32 {
    // The norms are rounded up, but their product with this factor is rounded to nearest: 1 % covers it.
    (1.01 * (gamma_of(n + 16) + gamma_of(n.div_ceil(64) + 7)) + 8.0 * U) as f32
}

/// γ_m.
pub fn gamma_of(m: usize) -> f64 {
    m as f64 * U / (1.0 - m as f64 * U)
}

/// An upper bound of ‖a‖, in f32; infinite where it is above [`HUGE`] or not a number.
pub fn norm_above(a: &[f32]) -> f32 {
    let norm = a.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    // f64 sums of squares of f32 neither overflow nor underflow; 1e-6 is above their rounding and that to f32.
    let above = (norm * (1.0 + 1e-6)) as f32;
    if above <= HUGE { above } else { f32::INFINITY }
}

/// [`norm_above`], fast for numbers of ordinary size: the sum of squares is then exact to 2⁻²⁴ times the length of a lane and 7, far less than
/// the margin of 1e-3 for rows of up to 2¹⁸ numbers.
#[inline(always)]
pub fn bound<S: Simd>(s: S, w: &[f32]) -> f32 {
    let square = squared_norm(s, w);
    if square > 1e-20 && square < HUGE && w.len() <= 1 << 18 { square.sqrt() * 1.001 } else { norm_above(w) }
}

/// The bound of |product − score| for one pre-activation, with that of adding the bias.
#[inline(always)]
pub fn slack_of(factor: f32, norm: f32, bias: f32) -> f32 {
    factor.mul_add(norm, BIAS_SHARE.mul_add(bias.abs(), TINY))
}

/// Latents that can still be selected in one row.
#[derive(Debug, Default)]
pub struct List {
    /// Candidates, increasing.
    pub latents: Vec<u32>,
    lower: Vec<f32>,
    upper: Vec<f32>,
    keys: Vec<u32>,
    floor: f32,
    guess: f32,
    rank: usize,
    limit: usize,
    most: usize,
    overflown: bool,
}

impl List {
    /// An empty list. Latents below `floor` do not matter; nor do those that `rank` others certainly exceed. A list of more than `most` gives up.
    pub fn reset(&mut self, floor: f32, rank: usize, most: usize) {
        (self.floor, self.rank, self.most, self.overflown) = (floor, rank, most, false);
        self.guess = f32::NEG_INFINITY;
        self.limit = rank.saturating_mul(2).saturating_add(32).min(most);
        self.clear();
    }

    /// Begins with a floor that the `rank`-th largest score presumably exceeds. If it does not, the list [has misjudged](Self::has_misjudged) at
    /// the end.
    pub fn presume(&mut self, guess: f32) {
        if guess > self.floor {
            (self.floor, self.guess) = (guess, guess);
        }
    }

    /// Gives up: the row must be scored in full.
    pub fn give_up(&mut self) {
        self.overflown = true;
        self.clear();
    }

    fn clear(&mut self) {
        self.latents.clear();
        self.lower.clear();
        self.upper.clear();
    }

    /// The candidates; none if there were too many to be listed, or if the floor was presumed too high.
    pub fn candidates(&mut self) -> Option<&[u32]> {
        if self.has_misjudged() {
            self.give_up();
        }
        if self.overflown {
            return None;
        }
        self.shrink();
        Some(&self.latents)
    }

    /// Whether, after all latents were shown, the floor turns out to have been presumed too high.
    pub fn has_misjudged(&self) -> bool {
        let reaches = |z: &&f32| **z >= self.guess;
        !self.overflown && self.guess > f32::NEG_INFINITY && self.lower.iter().filter(reaches).count() < self.rank
    }

    /// The candidates with lower and upper bounds of their pre-activations, as far as the floor has not been raised in between.
    pub fn bounds(&self) -> Option<(&[u32], &[f32], &[f32])> {
        (!self.overflown).then_some((&self.latents, &self.lower, &self.upper))
    }

    /// Whether the row must be scored in full.
    #[inline(always)]
    pub fn has_given_up(&self) -> bool {
        self.overflown
    }

    /// Latents whose upper bound is below it do not matter.
    #[inline(always)]
    pub fn floor(&self) -> f32 {
        self.floor
    }

    /// Appends a latent whose upper bound is not below the floor.
    #[inline(always)]
    pub fn push(&mut self, latent: u32, z: f32, slack: f32) {
        self.latents.push(latent);
        self.lower.push(z - slack);
        self.upper.push(z + slack);
    }

    /// Raises the floor and drops what is below it.
    fn shrink(&mut self) {
        if self.latents.len() <= self.rank {
            return;
        }
        self.keys.clear();
        self.keys.extend(self.lower.iter().map(|z| crate::backend::select::key(*z)));
        let (_, kth, _) = self.keys.select_nth_unstable_by(self.rank - 1, |a, b| b.cmp(a));
        self.floor = self.floor.max(crate::backend::select::value(*kth));
        let mut kept = 0;
        for j in 0..self.latents.len() {
            if self.upper[j] < self.floor {
                continue;
            }
            self.latents[kept] = self.latents[j];
            self.lower[kept] = self.lower[j];
            self.upper[kept] = self.upper[j];
            kept += 1;
        }
        self.latents.truncate(kept);
        self.lower.truncate(kept);
        self.upper.truncate(kept);
    }

    /// To be called after some latents were appended.
    #[inline(always)]
    pub fn end_group(&mut self) {
        if self.latents.len() > self.limit {
            self.make_room();
        }
    }

    #[inline(never)]
    fn make_room(&mut self) {
        self.shrink();
        let length = self.latents.len();
        self.limit = self.limit.max(2 * length).min(self.most);
        if length >= self.most {
            self.give_up();
        }
    }
}

/// Consecutive latents.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// Number of the first one.
    pub first: usize,
    /// Their rows of W_E.
    pub weights: &'a [f32],
    /// Upper bounds of their norms, [`norm_above`].
    pub norms: &'a [f32],
    /// b_E, if there is one.
    pub biases: Option<&'a [f32]>,
}

/// Rows of x'.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// n_p.
    pub dimension: usize,
    /// The rows.
    pub x: &'a [f32],
    /// [`gamma`]·‖x'‖ of each, rounded up.
    pub factors: &'a [f32],
}

/// Screens a block of rows against a panel of latents: appends to the list of every row what can still be selected. `scratch` has room for
/// rows × latents. `others` are further lists over the same product, with norms that leave out some latents.
pub fn screen(
    isa: Isa,
    block: Block<'_>,
    panel: Panel<'_>,
    scratch: &mut [f32],
    lists: &mut [List],
    others: Option<(&[f32], &mut [List])>,
) {
    let product = multiply(block, panel, scratch);
    filter(isa, block, panel, product, lists);
    if let Some((norms, lists)) = others {
        filter(isa, block, Panel { norms, ..panel }, product, lists);
    }
}

/// Appends to the lists what passes.
pub fn filter(isa: Isa, block: Block<'_>, panel: Panel<'_>, product: &[f32], lists: &mut [List]) {
    isa.run(Filter { block, panel, product, lists });
}

/// X' W_Eᵀ of a block and a panel.
pub fn multiply<'a>(block: Block<'_>, panel: Panel<'_>, scratch: &'a mut [f32]) -> &'a [f32] {
    let (rows, latents, d) = (block.factors.len(), panel.norms.len(), block.dimension);
    let out = &mut scratch[..rows * latents];
    let weights = (panel.weights, Layout::by_rows(latents, d).transposed());
    product((&mut *out, Layout::by_rows(rows, latents)), (block.x, Layout::by_rows(rows, d)), weights, false);
    out
}

struct Filter<'a> {
    block: Block<'a>,
    panel: Panel<'a>,
    product: &'a [f32],
    lists: &'a mut [List],
}

impl Kernel for Filter<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let latents = self.panel.norms.len();
        let rows = self.product.chunks_exact(latents).zip(self.block.factors).zip(self.lists);
        for ((product, &factor), list) in rows {
            if !list.overflown {
                match self.panel.biases {
                    None => filter_row(s, product, factor, self.panel, list),
                    Some(biases) => filter_biased_row(s, product, factor, biases, self.panel, list),
                }
            }
        }
    }
}

/// Without biases: groups of vectors are compared, and only groups with a candidate are looked at one by one.
#[inline(always)]
fn filter_row<S: Simd>(s: S, product: &[f32], factor: f32, panel: Panel<'_>, list: &mut List) {
    const STEP: usize = GROUP * WIDTH;
    let (scale, tiny) = (s.splat(factor), s.splat(TINY));
    let mut floor = s.splat(list.floor);
    let (groups, rest) = product.as_chunks::<STEP>();
    let (norms, norms_rest) = panel.norms.as_chunks::<STEP>();
    for (at, (z, norm)) in groups.iter().zip(norms).enumerate() {
        let (zs, ns) = (z.as_chunks::<WIDTH>().0, norm.as_chunks::<WIDTH>().0);
        let mut mask = 0;
        for v in 0..GROUP {
            let upper = s.add(s.load(&zs[v]), s.fma(scale, s.load(&ns[v]), tiny));
            mask |= s.not_below(upper, floor) << (v * WIDTH);
        }
        if mask != 0 {
            while mask != 0 {
                let j = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                list.push((panel.first + at * STEP + j) as u32, z[j], factor.mul_add(norm[j], TINY));
            }
            if list.latents.len() > list.limit {
                list.make_room();
                if list.overflown {
                    return;
                }
                floor = s.splat(list.floor);
            }
        }
    }
    let first = panel.first + groups.len() * STEP;
    for (j, (&z, &norm)) in rest.iter().zip(norms_rest).enumerate() {
        consider((first + j) as u32, z, factor.mul_add(norm, TINY), list);
    }
}

/// With biases: z is the product plus the bias, and the bias has its share of the bound.
#[inline(always)]
fn filter_biased_row<S: Simd>(s: S, product: &[f32], factor: f32, biases: &[f32], panel: Panel<'_>, list: &mut List) {
    let (scale, tiny, share) = (s.splat(factor), s.splat(TINY), s.splat(BIAS_SHARE));
    let zero = s.splat(0.0);
    let (vectors, rest) = product.as_chunks::<WIDTH>();
    let ((norms, norms_rest), (bs, biases_rest)) = (panel.norms.as_chunks::<WIDTH>(), biases.as_chunks::<WIDTH>());
    let mut floor = s.splat(list.floor);
    for (at, ((product, norm), bias)) in vectors.iter().zip(norms).zip(bs).enumerate() {
        let b = s.load(bias);
        let size = s.max(b, s.sub(zero, b));
        let slack = s.fma(scale, s.load(norm), s.fma(share, size, tiny));
        let mut mask = s.not_below(s.add(s.add(s.load(product), b), slack), floor);
        if mask != 0 {
            while mask != 0 {
                let j = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let slack = slack_of(factor, norm[j], bias[j]);
                list.push((panel.first + at * WIDTH + j) as u32, product[j] + bias[j], slack);
            }
            if list.latents.len() > list.limit {
                list.make_room();
                if list.overflown {
                    return;
                }
                floor = s.splat(list.floor);
            }
        }
    }
    let first = panel.first + vectors.len() * WIDTH;
    for (j, ((&z, &norm), &bias)) in rest.iter().zip(norms_rest).zip(biases_rest).enumerate() {
        consider((first + j) as u32, z + bias, slack_of(factor, norm, bias), list);
    }
}

#[inline(always)]
fn consider(latent: u32, z: f32, slack: f32, list: &mut List) {
    if list.overflown || z + slack < list.floor {
        return;
    }
    list.push(latent, z, slack);
    if list.latents.len() > list.limit {
        list.make_room();
    }
}
