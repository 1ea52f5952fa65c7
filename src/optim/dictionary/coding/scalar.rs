//! The two precisions in which codes are found.

use super::Gram;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// f32, in which samples and dictionaries are kept, or f64.
pub trait Scalar:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
{
    /// 0.
    const ZERO: Self;
    /// Less than every finite number.
    const LEAST: Self;
    /// The distance from 1 to the next number.
    const EPSILON: Self;
    /// √x.
    fn sqrt(self) -> Self;
    /// |x|.
    fn abs(self) -> Self;
    /// The nearest number.
    fn of(x: f64) -> Self;
}

macro_rules! scalar {
    ($type:ty) => {
        impl Scalar for $type {
            const ZERO: Self = 0.0;
            const LEAST: Self = <$type>::NEG_INFINITY;
            const EPSILON: Self = <$type>::EPSILON;
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn of(x: f64) -> Self {
                x as $type
            }
        }
    };
}

scalar!(f32);
scalar!(f64);

/// Lanes that [`first_largest`] compares side by side, which the compiler makes vectors of.
const LANES: usize = 16;

/// The largest number and the first place where it stands; none of nothing. Numbers must not be NaN.
#[inline(always)]
pub(super) fn first_largest<T: Scalar>(numbers: &[T]) -> Option<(usize, T)> {
    let mut lanes = [T::LEAST; LANES];
    let larger = |a: T, b: T| if a > b { a } else { b };
    let (whole, rest) = numbers.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *x);
        }
    }
    let largest = lanes.iter().chain(rest).fold(T::LEAST, |a, b| larger(a, *b));
    // Without a branch for each number.
    let has = |chunk: &[T; LANES]| chunk.iter().fold(false, |found, x| found | (*x == largest));
    let from = whole.iter().position(has).unwrap_or(whole.len()) * LANES;
    numbers[from..].iter().position(|x| *x == largest).map(|at| (from + at, largest))
}

/// y ← y − a·x.
#[inline(always)]
pub(super) fn subtract<T: Scalar>(y: &mut [T], a: T, x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y -= a * *x;
    }
}

/// out ← products − Σ_j values_j·(column of atom j), the atoms in their order.
#[inline(always)]
pub(super) fn combine<T: Scalar>(out: &mut [T], products: &[T], gram: Gram<'_, T>, support: &[u32], values: &[T]) {
    out.copy_from_slice(products);
    let (whole, _) = out.as_chunks_mut::<LANES>();
    let done = whole.len() * LANES;
    for (c, chunk) in whole.iter_mut().enumerate() {
        // Stays in registers.
        let mut sums = *chunk;
        for (&k, &value) in support.iter().zip(values) {
            if let Some(column) = gram.column(k as usize)[c * LANES..].first_chunk::<LANES>() {
                sums = std::array::from_fn(|l| sums[l] - value * column[l]);
            }
        }
        *chunk = sums;
    }
    for (&k, &value) in support.iter().zip(values) {
        subtract(&mut out[done..], value, &gram.column(k as usize)[done..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_found_at_every_length() {
        for length in 0..70 {
            let numbers: Vec<f64> = (0..length).map(|i| f64::from((i * 37 + 11) % 17) - 20.0).collect();
            let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let expected = numbers.iter().position(|x| *x == largest).map(|at| (at, largest));
            assert_eq!(first_largest(&numbers), expected);
        }
    }

    #[test]
    fn a_combination_of_columns_is_that_of_the_definition_at_every_length() {
        for atoms in 1..50_usize {
            // Small integers: every sum is exact.
            let entries: Vec<f32> = (0..atoms * atoms).map(|i| ((i * 29) % 13) as f32 - 6.0).collect();
            let products: Vec<f32> = (0..atoms).map(|i| ((i * 7) % 11) as f32).collect();
            let support: Vec<u32> = (0..atoms as u32).step_by(3).collect();
            let values: Vec<f32> = support.iter().map(|k| (k % 5) as f32 - 2.0).collect();
            let mut out = vec![f32::NAN; atoms];
            combine(&mut out, &products, Gram::new(&entries, atoms), &support, &values);
            for j in 0..atoms {
                let sum: f32 = support.iter().zip(&values).map(|(k, v)| v * entries[*k as usize * atoms + j]).sum();
                assert_eq!(out[j], products[j] - sum);
            }
        }
    }
}
