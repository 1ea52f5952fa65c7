//! Eight f32 lanes with fused multiply-adds, on whatever the processor has.
//!
//! A [`Kernel`] is written once, generically over [`Simd`]; [`Isa::run`] compiles it inside a function that enables the instruction set, so that
//! everything marked `inline(always)` becomes vector code. A value of a [`Simd`] type is the proof that its instructions exist.

#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Lanes of a vector.
pub const WIDTH: usize = 8;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isa {
    /// Arrays of eight numbers, which the compiler vectorises where the target allows it (NEON). Slow on a processor without fused multiply-adds.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F and VNNI beside them: for products of integers; all else is done as with AVX2.
    Avx512,
}

/// Work that is generic over the instruction set.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The work. Implementations are `inline(always)`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Isa {
    /// The best that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            let wide = std::arch::is_x86_feature_detected!("avx512f");
            return if wide && std::arch::is_x86_feature_detected!("avx512vnni") { Self::Avx512 } else { Self::Avx2 };
        }
        Self::Portable
    }

    /// This one, or the best that this processor has where it lacks this one.
    pub fn or_lesser(self) -> Self {
        self.min(Self::detect())
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2+fma",
            Self::Avx512 => "avx512+vnni",
        }
    }

    /// Runs a kernel, with a lesser instruction set if the processor lacks this one.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        if self >= Self::Avx2 && Self::detect() >= Self::Avx2 {
            // SAFETY: the processor has AVX2 and FMA, as just detected (a cached load after the first time).
            return unsafe { avx2::enter(kernel) };
        }
        kernel.run(Portable)
    }
}

/// Operations on eight lanes. All of them are `inline(always)`: used outside of [`Isa::run`] they would be slow, never wrong.
pub trait Simd: Copy {
    /// Eight numbers.
    type V: Copy;
    /// The same number eight times.
    fn splat(self, x: f32) -> Self::V;
    /// Reads eight numbers.
    fn load(self, x: &[f32; WIDTH]) -> Self::V;
    /// Writes eight numbers.
    fn store(self, v: Self::V, x: &mut [f32; WIDTH]);
    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a/b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one of two numbers; either of them if one is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// √a.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// a·b + c, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Bit l is set unless a_l < b_l; in particular if one of them is NaN.
    fn not_below(self, a: Self::V, b: Self::V) -> u32;
    /// The sum in the order of [`score`](crate::backend::score): lane l and l + 4, then l and l + 2, then both.
    fn sum(self, v: Self::V) -> f32;
    /// Asks for the cache line of a number.
    fn prefetch(self, x: &f32);
}

/// Arrays.
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type V = [f32; WIDTH];
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; WIDTH]
    }
    #[inline(always)]
    fn load(self, x: &[f32; WIDTH]) -> Self::V {
        *x
    }
    #[inline(always)]
    fn store(self, v: Self::V, x: &mut [f32; WIDTH]) {
        *x = v;
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l] / b[l])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|l| a[l].mul_add(b[l], c[l]))
    }
    #[inline(always)]
    fn not_below(self, a: Self::V, b: Self::V) -> u32 {
        (0..WIDTH).fold(0, |mask, l| {
            mask | u32::from(!matches!(a[l].partial_cmp(&b[l]), Some(std::cmp::Ordering::Less))) << l
        })
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let four: [f32; 4] = std::array::from_fn(|l| v[l] + v[l + 4]);
        (four[0] + four[2]) + (four[1] + four[3])
    }
    #[inline(always)]
    fn prefetch(self, _: &f32) {}
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Kernel, Simd, WIDTH};
    use std::arch::x86_64::*;

    /// Exists only inside of [`enter`].
    #[derive(Clone, Copy)]
    pub struct Avx2(());

    /// # Safety
    /// The processor must have AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn enter<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }

    impl Simd for Avx2 {
        type V = __m256;
        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            // SAFETY: `self` exists, so the processor has AVX2 and FMA; so below.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        fn load(self, x: &[f32; WIDTH]) -> __m256 {
            // SAFETY: eight numbers are readable, and the load needs no alignment.
            unsafe { _mm256_loadu_ps(x.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, v: __m256, x: &mut [f32; WIDTH]) {
            // SAFETY: eight numbers are writable, and the store needs no alignment.
            unsafe { _mm256_storeu_ps(x.as_mut_ptr(), v) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn div(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        fn max(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        fn sqrt(self, a: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_sqrt_ps(a) }
        }
        #[inline(always)]
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: see `splat`.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn not_below(self, a: __m256, b: __m256) -> u32 {
            // SAFETY: see `splat`.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(a, b)) as u32 }
        }
        #[inline(always)]
        fn sum(self, v: __m256) -> f32 {
            // SAFETY: see `splat`.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
        #[inline(always)]
        fn prefetch(self, x: &f32) {
            // SAFETY: see `splat`; the address is valid.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(x).cast()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            let a = [1.5, -2.25, 3.1, 0.0, 1e-40, f32::INFINITY, 7.7, -0.1];
            let b = [0.3, 2.0, 3.1, -0.0, 2e-41, 1.0, f32::NAN, 1e30];
            let (x, y, z) = (s.load(&a), s.load(&b), s.splat(0.7));
            let mut out = vec![
                s.not_below(x, y),
                s.not_below(y, x),
                s.sum(x).to_bits(),
                s.sum(s.load(&[1e8, 1.0, 2.0, 3.0, -1e8, 5.0, 6.0, 7.0])).to_bits(),
            ];
            for v in
                [s.add(x, y), s.sub(x, y), s.mul(x, y), s.div(x, y), s.max(x, y), s.sqrt(s.mul(x, x)), s.fma(x, y, z)]
            {
                let mut stored = [0.0; WIDTH];
                s.store(v, &mut stored);
                // The bits of a NaN are not defined.
                out.extend(stored.map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }));
            }
            out
        }
    }

    #[test]
    fn instruction_sets_compute_the_same_bits() {
        let portable = Isa::Portable.run(Everything);
        assert_eq!(portable, Isa::detect().run(Everything));
        // a < b in lanes 1, 3 (equal zeros: no), 7: so bit 1 and bit 7 are clear.
        assert_eq!(portable[0], 0b0111_1101);
        assert_eq!(f32::from_bits(portable[3]), 24.0);
    }
}
