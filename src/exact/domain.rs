//! Integral domains: what fraction-free (Bareiss) elimination and the exact simplex work in.
//!
//! A field element costs a gcd per operation. An element of the field's ring of integral numbers costs none, and by
//! Bareiss (1968) every entry of an elimination is a minor of the given matrix, so that entries stay small and each
//! division is exact.

use dashu::base::{Abs, BitTest, Gcd};
use dashu::integer::{IBig, UBig};

/// A number as mantissa·2^exponent, so that it neither overflows nor underflows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Float {
    /// 0, or of absolute value in [1/2, 1].
    pub mantissa: f64,
    /// The power of two.
    pub exponent: i64,
}

impl Float {
    /// The number 0.
    pub const ZERO: Self = Self { mantissa: 0.0, exponent: i64::MIN };

    /// `value`·2^`shift` to 53 bits.
    pub fn new(value: &IBig, shift: i64) -> Self {
        if value.is_zero() {
            return Self::ZERO;
        }
        let bits = value.clone().abs().bit_len();
        let drop = bits.saturating_sub(64);
        // At most 64 bits are left, so the conversion is in range and off by a relative 2^-53.
        let top = (value >> drop).to_f64().value();
        let kept = (bits - drop) as i32;
        Self { mantissa: top / 2f64.powi(kept), exponent: bits as i64 + shift }
    }

    /// This number times 2^-`exponent`, as an f64.
    pub fn scaled(self, exponent: i64) -> f64 {
        if self.mantissa == 0.0 {
            return 0.0;
        }
        self.mantissa * 2f64.powi((self.exponent.saturating_sub(exponent)).clamp(-2000, 2000) as i32)
    }
}

/// An ordered integral domain whose elements may need a context.
pub trait Domain {
    /// An element.
    type Elem: Clone + std::fmt::Debug;
    /// What exact division by one element needs, prepared once for many divisions.
    type Divisor;

    /// The image of an integer.
    fn integer(&self, value: &IBig) -> Self::Elem;
    /// a + b.
    fn add(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem;
    /// −a.
    fn neg(&self, a: &Self::Elem) -> Self::Elem;
    /// a·b.
    fn mul(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem;
    /// -1, 0 or 1, exactly.
    fn sign(&self, a: &Self::Elem) -> i32;
    /// Prepares division by a ≠ 0.
    fn divisor(&self, a: &Self::Elem) -> Self::Divisor;
    /// a/b for a divisor of a.
    fn divide(&self, a: &Self::Elem, b: &Self::Divisor) -> Self::Elem;
    /// About `a`, for guesses.
    fn approximate(&self, a: &Self::Elem) -> Float;
    /// About (a/b)·2^shift for b ≠ 0, off by at most 2.
    fn rounded_quotient(&self, a: &Self::Elem, b: &Self::Elem, shift: i64) -> IBig;
    /// Divides a row by the greatest positive integer that divides all its entries, and returns that integer.
    fn strip_content(&self, row: &mut [Self::Elem]) -> UBig;

    /// 0.
    fn zero(&self) -> Self::Elem {
        self.integer(&IBig::ZERO)
    }
    /// 1.
    fn one(&self) -> Self::Elem {
        self.integer(&IBig::ONE)
    }
    /// (a·b − c·d)/e, the step of Bareiss' elimination.
    fn cross(&self, a: &Self::Elem, b: &Self::Elem, c: &Self::Elem, d: &Self::Elem, e: &Self::Divisor) -> Self::Elem {
        let product = self.add(&self.mul(a, b), &self.neg(&self.mul(c, d)));
        self.divide(&product, e)
    }
    /// Σ a_k n_k with integers n_k.
    fn combination(&self, row: &[Self::Elem], weights: &[IBig]) -> Self::Elem {
        debug_assert_eq!(row.len(), weights.len());
        row.iter()
            .zip(weights)
            .filter(|(_, n)| !n.is_zero())
            .fold(self.zero(), |sum, (a, n)| self.add(&sum, &self.mul(a, &self.integer(n))))
    }
}

/// The integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Integers;

impl Domain for Integers {
    type Elem = IBig;
    type Divisor = IBig;

    fn integer(&self, value: &IBig) -> IBig {
        value.clone()
    }
    fn add(&self, a: &IBig, b: &IBig) -> IBig {
        a + b
    }
    fn neg(&self, a: &IBig) -> IBig {
        -a
    }
    fn mul(&self, a: &IBig, b: &IBig) -> IBig {
        a * b
    }
    fn sign(&self, a: &IBig) -> i32 {
        sign(a)
    }
    fn divisor(&self, a: &IBig) -> IBig {
        a.clone()
    }
    fn divide(&self, a: &IBig, b: &IBig) -> IBig {
        if b.is_one() { a.clone() } else { a / b }
    }
    fn approximate(&self, a: &IBig) -> Float {
        Float::new(a, 0)
    }
    fn rounded_quotient(&self, a: &IBig, b: &IBig, shift: i64) -> IBig {
        rounded_quotient(a, b, shift)
    }
    fn strip_content(&self, row: &mut [IBig]) -> UBig {
        let content = content(row);
        if !content.is_one() {
            let divisor = IBig::from(content.clone());
            row.iter_mut().for_each(|entry| *entry = &*entry / &divisor);
        }
        content
    }
    fn cross(&self, a: &IBig, b: &IBig, c: &IBig, d: &IBig, e: &IBig) -> IBig {
        let product = if c.is_zero() || d.is_zero() { a * b } else { a * b - c * d };
        if e.is_one() { product } else { product / e }
    }
    fn combination(&self, row: &[IBig], weights: &[IBig]) -> IBig {
        dot(row, weights)
    }
}

/// -1, 0 or 1.
pub(crate) fn sign(value: &IBig) -> i32 {
    match value.sign() {
        _ if value.is_zero() => 0,
        dashu::base::Sign::Positive => 1,
        dashu::base::Sign::Negative => -1,
    }
}

/// Σ a_k b_k.
pub(crate) fn dot(a: &[IBig], b: &[IBig]) -> IBig {
    let mut sum = IBig::ZERO;
    for (x, y) in a.iter().zip(b) {
        if !x.is_zero() && !y.is_zero() {
            sum += x * y;
        }
    }
    sum
}

/// The greatest positive integer that divides all values; 1 when all are 0.
pub(crate) fn content(values: &[IBig]) -> UBig {
    // Small values first: the gcd is then small from the start, and 1 early in most cases.
    let mut order: Vec<&IBig> = values.iter().filter(|v| !v.is_zero()).collect();
    order.sort_by_key(|v| v.bit_len());
    let mut gcd: Option<UBig> = None;
    for value in order {
        gcd = Some(match gcd {
            None => value.clone().abs().try_into().unwrap_or(UBig::ONE),
            Some(g) if g.is_one() => return g,
            Some(g) => Gcd::gcd(&g, value),
        });
    }
    gcd.unwrap_or(UBig::ONE)
}

/// The least common multiple of positive integers.
pub(crate) fn common_multiple<'a>(values: impl Iterator<Item = &'a UBig>) -> UBig {
    let mut multiple = UBig::ONE;
    for value in values {
        if !value.is_one() && *value != multiple {
            let gcd = Gcd::gcd(&multiple, value);
            multiple *= value / gcd;
        }
    }
    multiple
}

/// a·2^shift, rounded down when the shift is negative.
pub(crate) fn shifted(a: &IBig, shift: i64) -> IBig {
    if shift >= 0 { a << shift as usize } else { a >> shift.unsigned_abs() as usize }
}

/// About (a/b)·2^shift, off by at most 1.
pub(crate) fn rounded_quotient(a: &IBig, b: &IBig, shift: i64) -> IBig {
    if shift >= 0 { (a << shift as usize) / b } else { a / (b << shift.unsigned_abs() as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_holds_numbers_beyond_the_range_of_f64() {
        let huge = IBig::from(3) << 5000;
        let float = Float::new(&huge, -4990);
        // 3·2^10, exactly representable.
        assert_eq!(float.scaled(0), 3072.0);
        assert_eq!(Float::new(&-huge, 0).scaled(5000), -3.0);
        assert_eq!(Float::ZERO.scaled(-7), 0.0);
    }

    #[test]
    fn shifts_of_negative_numbers_round_down() {
        assert_eq!(shifted(&IBig::from(-5), -1), IBig::from(-3));
        assert_eq!(shifted(&IBig::from(-5), 1), IBig::from(-10));
    }

    #[test]
    fn content_and_common_multiple_are_those_of_the_textbook() {
        let numbers: Vec<IBig> = [12, 0, -18, 30].map(IBig::from).to_vec();
        assert_eq!(content(&numbers), UBig::from(6u8));
        assert_eq!(content(&[IBig::ZERO]), UBig::ONE);
        let values = [4u8, 6, 10].map(UBig::from);
        assert_eq!(common_multiple(values.iter()), UBig::from(60u8));
    }
}
