//! Loops over rows of numbers, generic over the instruction set. Sums have one order at any instruction set.

use super::simd::{Simd, WIDTH};
use crate::backend::score::LANES;

const REGISTERS: usize = LANES / WIDTH;

/// The bits of [`score::score`](crate::backend::score::score). A padded lane adds +0·+0, which can only turn a lane of −0 into +0, and the last
/// addition does not distinguish them.
#[inline(always)]
pub fn score<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [s.splat(0.0); REGISTERS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        accumulate(s, &mut lanes, a, b);
    }
    if !a_rest.is_empty() {
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        a[..a_rest.len()].copy_from_slice(a_rest);
        b[..a_rest.len()].copy_from_slice(b_rest);
        accumulate(s, &mut lanes, &a, &b);
    }
    let [l0, l1, l2, l3, l4, l5, l6, l7] = lanes;
    let (m0, m1, m2, m3) = (s.add(l0, l4), s.add(l1, l5), s.add(l2, l6), s.add(l3, l7));
    s.sum(s.add(s.add(m0, m2), s.add(m1, m3))) + 0.0
}

#[inline(always)]
fn accumulate<S: Simd>(s: S, lanes: &mut [S::V; REGISTERS], a: &[f32; LANES], b: &[f32; LANES]) {
    let (a, b) = (a.as_chunks::<WIDTH>().0, b.as_chunks::<WIDTH>().0);
    for l in 0..REGISTERS {
        lanes[l] = s.fma(s.load(&a[l]), s.load(&b[l]), lanes[l]);
    }
}

/// ‖a‖², in the order of [`score`].
#[inline(always)]
pub fn squared_norm<S: Simd>(s: S, a: &[f32]) -> f32 {
    score(s, a, a)
}

/// out ← out + Σ_j c_j·table\[row_j\], one fused multiply-add after the other in the order of the entries.
#[inline(always)]
pub fn gather<S: Simd>(s: S, out: &mut [f32], table: &[f32], entries: &[(u32, f32)]) {
    let d = out.len();
    let row = |i: u32| &table[i as usize * d..(i as usize + 1) * d];
    let (fours, rest) = entries.as_chunks::<4>();
    for (at, four) in fours.iter().enumerate() {
        if let Some(next) = fours.get(at + 1) {
            next.iter().for_each(|(i, _)| row(*i).chunks(16).take(8).for_each(|line| s.prefetch(&line[0])));
        }
        add_four(s, out, four.map(|(i, _)| row(i)), four.map(|(_, c)| c));
    }
    for (i, c) in rest {
        add_scaled(s, out, row(*i), *c);
    }
}

/// The same for entries that stand in no slice.
#[inline(always)]
pub fn gather_each<S: Simd>(s: S, out: &mut [f32], table: &[f32], mut entries: impl Iterator<Item = (u32, f32)>) {
    let mut some = [(0, 0.0); SOME];
    loop {
        let mut count = 0;
        for (place, entry) in some.iter_mut().zip(&mut entries) {
            *place = entry;
            count += 1;
        }
        gather(s, out, table, &some[..count]);
        if count < SOME {
            return;
        }
    }
}

/// Entries that are gathered at a time: more than most rows have.
const SOME: usize = 128;

#[inline(always)]
fn add_four<S: Simd>(s: S, out: &mut [f32], rows: [&[f32]; 4], factors: [f32; 4]) {
    let c = factors.map(|c| s.splat(c));
    let [(a, a_rest), (b, b_rest), (e, e_rest), (f, f_rest)] = rows.map(|row| row.as_chunks::<WIDTH>());
    let (out, out_rest) = out.as_chunks_mut::<WIDTH>();
    for ((((o, a), b), e), f) in out.iter_mut().zip(a).zip(b).zip(e).zip(f) {
        let sum = s.fma(c[0], s.load(a), s.load(o));
        let sum = s.fma(c[1], s.load(b), sum);
        let sum = s.fma(c[2], s.load(e), sum);
        s.store(s.fma(c[3], s.load(f), sum), o);
    }
    for ((((o, a), b), e), f) in out_rest.iter_mut().zip(a_rest).zip(b_rest).zip(e_rest).zip(f_rest) {
        let sum = factors[1].mul_add(*b, factors[0].mul_add(*a, *o));
        *o = factors[3].mul_add(*f, factors[2].mul_add(*e, sum));
    }
}

/// out ← out + c·row.
#[inline(always)]
pub fn add_scaled<S: Simd>(s: S, out: &mut [f32], row: &[f32], c: f32) {
    let ((out, out_rest), (row, rest)) = (out.as_chunks_mut::<WIDTH>(), row.as_chunks::<WIDTH>());
    let factor = s.splat(c);
    for (o, r) in out.iter_mut().zip(row) {
        s.store(s.fma(factor, s.load(r), s.load(o)), o);
    }
    for (o, r) in out_rest.iter_mut().zip(rest) {
        *o = c.mul_add(*r, *o);
    }
}

/// out ← c·out.
#[inline(always)]
pub fn scale<S: Simd>(s: S, out: &mut [f32], c: f32) {
    let (out, rest) = out.as_chunks_mut::<WIDTH>();
    let factor = s.splat(c);
    for o in out {
        s.store(s.mul(factor, s.load(o)), o);
    }
    for o in rest {
        *o *= c;
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, Kernel};
    use super::*;
    use crate::backend::score;
    use crate::bench::features::stream;
    use rand::RngExt;

    pub struct Score<'a>(pub &'a [f32], pub &'a [f32]);

    impl Kernel for Score<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            score(s, self.0, self.1)
        }
    }

    struct Gather<'a>(&'a mut [f32], &'a [f32], &'a [(u32, f32)]);

    impl Kernel for Gather<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            gather(s, self.0, self.1, self.2)
        }
    }

    struct GatherEach<'a>(&'a mut [f32], &'a [f32], &'a [(u32, f32)]);

    impl Kernel for GatherEach<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            gather_each(s, self.0, self.1, self.2.iter().copied())
        }
    }

    #[test]
    fn fast_scores_have_the_bits_of_the_definition_at_any_length() {
        let mut rng = stream(1, "scores");
        for length in (0..200).chain([767, 768, 769, 1000]) {
            let mut draw = || -> Vec<f32> { (0..length).map(|_| rng.random::<f32>() - 0.5).collect() };
            let (mut a, mut b) = (draw(), draw());
            for special in [None, Some(0.0), Some(-0.0), Some(1e-40), Some(3e38), Some(f32::INFINITY), Some(f32::NAN)] {
                if let (Some(x), true) = (special, length > 0) {
                    (a[length / 2], b[length - 1]) = (x, -x);
                }
                let expected = score::score(&a, &b);
                for isa in [Isa::Portable, Isa::detect()] {
                    let found = isa.run(Score(&a, &b));
                    assert!(
                        found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                        "{length} {special:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn gathered_sums_are_in_the_order_of_the_entries() {
        let mut rng = stream(2, "gather");
        for d in [1, 7, 8, 9, 40, 65] {
            let table: Vec<f32> = (0..20 * d).map(|_| rng.random::<f32>() - 0.5).collect();
            for count in (0..10).chain([SOME - 1, SOME, SOME + 1, 2 * SOME + 3]) {
                let entries: Vec<(u32, f32)> =
                    (0..count).map(|_| (rng.random_range(0..20), rng.random::<f32>())).collect();
                let mut expected = vec![0.25; d];
                for (i, c) in &entries {
                    for (x, w) in expected.iter_mut().zip(&table[*i as usize * d..]) {
                        *x = c.mul_add(*w, *x);
                    }
                }
                for isa in [Isa::Portable, Isa::detect()] {
                    let mut out = vec![0.25; d];
                    isa.run(Gather(&mut out, &table, &entries));
                    assert_eq!(out, expected);
                    let mut out = vec![0.25; d];
                    isa.run(GatherEach(&mut out, &table, &entries));
                    assert_eq!(out, expected);
                }
            }
        }
    }
}
