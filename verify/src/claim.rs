//! What a certificate proved.

use crate::Refusal;
use crate::field::Numbers;
use crate::number::{Num, words};
use dashu::integer::IBig;
use dashu::rational::RBig;
use std::fmt;

/// What a check found out.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) statement: String,
    pub(crate) interior: Option<bool>,
    pub(crate) strict: Option<bool>,
    pub(crate) loss: Option<(f64, f64)>,
}

impl Claim {
    pub(crate) fn new(statement: String) -> Self {
        Self { statement, interior: None, strict: None, loss: None }
    }
}

/// Bounds of a number are multiples of 2^-GRID: finer than f64 from 1e-80 on.
const GRID: usize = 320;

/// Longest rational that a statement writes out.
const SHORT: usize = 24;

/// A number for a statement: rigorous bounds, and the value itself where it is short.
pub(crate) struct Value {
    lower: IBig,
    upper: IBig,
    exact: Option<RBig>,
}

impl Value {
    pub(crate) fn zero() -> Self {
        Self { lower: IBig::ZERO, upper: IBig::ZERO, exact: Some(RBig::ZERO) }
    }

    pub(crate) fn of(k: &Numbers, number: &Num) -> Result<Self, Refusal> {
        let (lower, upper) = k.rounded(number, GRID)?;
        let longest = number.c.iter().chain([&number.den]).map(words).max().unwrap_or(0);
        k.spend(8 * longest.saturating_mul(longest))?;
        Ok(Self { lower, upper, exact: number.rational() })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.lower += &other.lower;
        self.upper += &other.upper;
        self.exact = self.exact.take().zip(other.exact.as_ref()).map(|(a, b)| a + b);
    }

    /// Lower and upper bound.
    pub(crate) fn as_f64(&self) -> (f64, f64) {
        (0.0 - above(&-&self.lower), above(&self.upper))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let short = self.exact.as_ref().filter(|exact| {
            let bits = words(exact.numerator()) + words(&IBig::from(exact.denominator().clone()));
            bits <= 2
        });
        let (lower, upper) = self.as_f64();
        match short.map(RBig::to_string).filter(|text| text.len() <= SHORT) {
            Some(text) => f.write_str(&text),
            None => write!(f, "between {lower:?} and {upper:?}"),
        }
    }
}

/// An f64 that is at least x·2^-GRID, and the least one unless that overflows.
fn above(x: &IBig) -> f64 {
    let x = RBig::from_parts(x.clone(), dashu::integer::UBig::ONE << GRID);
    let nearest = x.to_f64().value();
    match RBig::try_from(nearest) {
        Ok(rounded) if rounded < x => nearest.next_up(),
        Ok(_) => nearest,
        Err(_) if nearest < 0.0 => f64::MIN,
        Err(_) => f64::INFINITY,
    }
}
