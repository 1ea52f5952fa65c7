//! Polynomials in α with rational coefficients, and a budget for computing with them.

use crate::Refusal;
use crate::format::Rat;
use dashu::base::{Abs, BitTest, DivRem, Gcd, Signed};
use dashu::integer::IBig;
use dashu::rational::RBig;
use std::cell::Cell;

/// Word operations that one certificate may cost: some seconds.
const BUDGET: u64 = 6_000_000_000;

/// What any operation costs besides its words, in word operations.
const OVERHEAD: u64 = 150;

/// Weight of a word that is stored, so that the budget limits memory too.
const STORED: u64 = 32;

/// The length of an integer in 64-bit words.
pub(crate) fn words(x: &IBig) -> u64 {
    (x.bit_len() / 64 + 1) as u64
}

/// What is left of the budget. Every big operation is paid for before it runs.
pub(crate) struct Work(Cell<u64>);

impl Work {
    pub(crate) fn new() -> Self {
        Self(Cell::new(BUDGET))
    }

    /// Pays, or refuses.
    pub(crate) fn spend(&self, units: u64) -> Result<(), Refusal> {
        let rest = self.0.get().checked_sub(units).ok_or_else(|| Refusal::limit("the work budget is exhausted"))?;
        self.0.set(rest);
        Ok(())
    }

    /// a·b.
    pub(crate) fn mul(&self, a: &IBig, b: &IBig) -> Result<IBig, Refusal> {
        let (m, n) = (words(a), words(b));
        self.spend(OVERHEAD + m.saturating_mul(n) + STORED * (m + n))?;
        Ok(a * b)
    }

    /// a/b for b ≠ 0 that divides a; a refusal otherwise, so that a slip in an algorithm can never prove anything.
    pub(crate) fn divide(&self, a: &IBig, b: &IBig) -> Result<IBig, Refusal> {
        match self.divide_with_rest(a, b)? {
            (quotient, rest) if rest == IBig::ZERO => Ok(quotient),
            _ => Err(Refusal::limit("a division that must be exact is not")),
        }
    }

    /// a/b rounded towards zero, for b ≠ 0.
    pub(crate) fn quotient(&self, a: &IBig, b: &IBig) -> Result<IBig, Refusal> {
        self.divide_with_rest(a, b).map(|(quotient, _)| quotient)
    }

    /// The quotient rounded towards zero, and the rest, which has the sign of a.
    pub(crate) fn divide_with_rest(&self, a: &IBig, b: &IBig) -> Result<(IBig, IBig), Refusal> {
        let (m, n) = (words(a), words(b));
        self.spend(OVERHEAD + 2 * m.saturating_mul(n) + STORED * m)?;
        if *b == IBig::ZERO { Err(Refusal::limit("division by zero")) } else { Ok(a.div_rem(b)) }
    }

    /// gcd ≥ 0; gcd(0, 0) = 0.
    pub(crate) fn gcd(&self, a: &IBig, b: &IBig) -> Result<IBig, Refusal> {
        let (m, n) = (words(a), words(b));
        self.spend(OVERHEAD + 8 * m.saturating_mul(n))?;
        if *a == IBig::ZERO && *b == IBig::ZERO { Ok(IBig::ZERO) } else { Ok(IBig::from(a.gcd(b))) }
    }

    /// Σ a·b over pairs of numbers.
    pub(crate) fn sum<'n>(&self, pairs: impl IntoIterator<Item = (&'n Num, &'n Num)>) -> Result<Num, Refusal> {
        let mut total = Num::zero();
        for (a, b) in pairs {
            let mut product = vec![IBig::ZERO; (a.c.len() + b.c.len()).saturating_sub(1)];
            for (i, x) in a.c.iter().enumerate() {
                for (slot, y) in product.iter_mut().skip(i).zip(&b.c) {
                    *slot += self.mul(x, y)?;
                }
            }
            if !a.c.is_empty() && !b.c.is_empty() {
                self.accumulate(&mut total, product, self.mul(&a.den, &b.den)?)?;
            }
        }
        trim(&mut total.c);
        Ok(total)
    }

    /// g_0 + g_1 α + ..
    pub(crate) fn polynomial(&self, coefficients: &[Rat]) -> Result<Num, Refusal> {
        let mut total = Num::zero();
        for (power, coefficient) in coefficients.iter().enumerate() {
            let Num { c, den } = Num::from(coefficient);
            self.accumulate(&mut total, [vec![IBig::ZERO; power], c].concat(), den)?;
        }
        trim(&mut total.c);
        Ok(total)
    }

    fn accumulate(&self, total: &mut Num, mut addend: Vec<IBig>, den: IBig) -> Result<(), Refusal> {
        if total.den != den {
            let common = self.gcd(&total.den, &den)?;
            let (for_total, for_addend) = (self.divide(&den, &common)?, self.divide(&total.den, &common)?);
            for c in &mut total.c {
                *c = self.mul(c, &for_total)?;
            }
            for c in &mut addend {
                *c = self.mul(c, &for_addend)?;
            }
            total.den = self.mul(&total.den, &for_total)?;
        }
        if total.c.len() < addend.len() {
            total.c.resize(addend.len(), IBig::ZERO);
        }
        self.spend(addend.iter().map(words).sum())?;
        for (slot, c) in total.c.iter_mut().zip(addend) {
            *slot += c;
        }
        Ok(())
    }

    pub(crate) fn product(&self, a: &Num, b: &Num) -> Result<Num, Refusal> {
        self.sum([(a, b)])
    }

    /// a − b.
    pub(crate) fn difference(&self, a: &Num, b: &Num) -> Result<Num, Refusal> {
        let (one, minus) = (Num::from(1), Num::from(-1));
        self.sum([(a, &one), (b, &minus)])
    }

    /// ⟨a, b⟩.
    pub(crate) fn dot(&self, a: &[Num], b: &[Num]) -> Result<Num, Refusal> {
        if a.len() != b.len() {
            return Err(Refusal::format("vectors of different lengths"));
        }
        self.sum(a.iter().zip(b))
    }

    /// Σ a·v over scalars and vectors of the given length.
    pub(crate) fn combine(&self, length: usize, terms: &[(Num, &[Num])]) -> Result<Vec<Num>, Refusal> {
        if terms.iter().any(|(_, vector)| vector.len() != length) {
            return Err(Refusal::format("vectors of different lengths"));
        }
        (0..length)
            .map(|at| self.sum(terms.iter().filter_map(|(scalar, vector)| Some((scalar, vector.get(at)?)))))
            .collect()
    }
}

/// Drops leading zeros of a polynomial.
pub(crate) fn trim(f: &mut Vec<IBig>) {
    while f.last() == Some(&IBig::ZERO) {
        f.pop();
    }
}

/// (c_0 + c_1 α + ..) / den with den > 0 and a non-zero last coefficient. Without α: a rational.
///
/// Powers of α beyond the degree of its field are left alone: only a comparison looks at the field.
#[derive(Debug, Clone)]
pub(crate) struct Num {
    pub(crate) c: Vec<IBig>,
    pub(crate) den: IBig,
}

impl Num {
    pub(crate) fn zero() -> Self {
        Self { c: Vec::new(), den: IBig::ONE }
    }

    pub(crate) fn alpha() -> Self {
        Self { c: vec![IBig::ZERO, IBig::ONE], den: IBig::ONE }
    }

    pub(crate) fn neg(&self) -> Self {
        Self { c: self.c.iter().map(|c| -c).collect(), den: self.den.clone() }
    }

    /// 1/x for a rational x ≠ 0.
    pub(crate) fn inverse(&self) -> Result<Self, Refusal> {
        match self.c.as_slice() {
            [c] => {
                Ok(Self { c: vec![if c.is_negative() { -&self.den } else { self.den.clone() }], den: c.clone().abs() })
            }
            _ => Err(Refusal::limit("only a rational that is not 0 is inverted")),
        }
    }

    /// The value, if α does not occur.
    pub(crate) fn rational(&self) -> Option<RBig> {
        match self.c.as_slice() {
            [] => Some(RBig::ZERO),
            [c] => Some(RBig::from_parts_signed(c.clone(), self.den.clone())),
            _ => None,
        }
    }

    /// The sign of a rational.
    pub(crate) fn rational_sign(&self) -> Option<i8> {
        match self.c.as_slice() {
            [] => Some(0),
            [c] => Some(if c.is_positive() { 1 } else { -1 }),
            _ => None,
        }
    }
}

impl From<&Rat> for Num {
    fn from(value: &Rat) -> Self {
        let (numerator, denominator) = (value.0.numerator(), value.0.denominator());
        let c = if *numerator == IBig::ZERO { Vec::new() } else { vec![numerator.clone()] };
        Self { c, den: IBig::from(denominator.clone()) }
    }
}

impl From<i64> for Num {
    fn from(value: i64) -> Self {
        Self::from(&Rat::from(value))
    }
}
