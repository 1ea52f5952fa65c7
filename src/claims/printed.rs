//! Printed numbers as exact intervals.
//!
//! Rounding rule: a number printed with d decimals stands for every number within half a unit of its last digit, both ends
//! included, so that no convention for ties is assumed. 0.254 is [0.2535, 0.2545], and 85.50% is [0.85495, 0.85505].

use crate::exact::Rational;
use crate::exact::rational::{parse, to_f64};
use dashu::integer::UBig;
use std::fmt;

/// A text that is no printed number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no decimal number, with %, × or nothing behind it")]
pub struct PrintedError {
    /// The text.
    pub text: String,
}

/// A printed decimal number and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    text: String,
    value: Rational,
    half: Rational,
    decimals: usize,
}

impl Printed {
    /// Reads `0.254`, `85.50%` (a share), `1.30×` or `100,000`.
    pub fn parse(text: &str) -> Result<Self, PrintedError> {
        let error = || PrintedError { text: text.to_owned() };
        let (digits, unit) = match text.strip_suffix('%') {
            Some(digits) => (digits, Rational::ONE / Rational::from(100)),
            None => (text.strip_suffix('×').unwrap_or(text), Rational::ONE),
        };
        let digits = digits.replace(',', "");
        if !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(error());
        }
        let decimals = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let last = Rational::ONE / power_of_ten(decimals);
        let value = parse(&digits).map_err(|_| error())? * &unit;
        Ok(Self { text: text.to_owned(), value, half: last * unit / Rational::from(2), decimals })
    }

    /// The number itself.
    pub fn value(&self) -> &Rational {
        &self.value
    }

    /// Decimals printed.
    pub fn decimals(&self) -> usize {
        self.decimals
    }

    /// Smallest number that rounds to it; never negative, as no published quantity is.
    pub fn low(&self) -> Rational {
        (&self.value - &self.half).max(Rational::ZERO)
    }

    /// Largest number that rounds to it; at most 1 for a percentage, which is a share.
    pub fn high(&self) -> Rational {
        let high = &self.value + &self.half;
        if self.text.ends_with('%') { high.min(Rational::ONE) } else { high }
    }

    /// True if the exact value may have been printed so.
    pub fn may_be(&self, exact: &Rational) -> bool {
        self.low() <= *exact && *exact <= self.high()
    }

    /// The counts c with c/n printed so.
    pub fn counts(&self, n: u32) -> Vec<u32> {
        let n_exact = Rational::from(n);
        let (low, high) = ((self.low() * &n_exact).ceil(), (self.high() * &n_exact).floor());
        let end = |x: dashu::integer::IBig| u32::try_from(x).unwrap_or(u32::MAX);
        if low <= high { (end(low)..=end(high)).collect() } else { Vec::new() }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// 10^d.
pub(super) fn power_of_ten(d: usize) -> Rational {
    Rational::from(UBig::from(10_u8).pow(d))
}

/// A rational as a decimal: exactly if at most six decimals are enough, else rounded to four.
pub fn decimal(x: &Rational) -> String {
    let exact = (0..=6_usize).find(|&d| (x * power_of_ten(d)).is_int());
    format!("{:.*}", exact.unwrap_or(4), to_f64(x)).replace('-', "−")
}

/// A share in percent points: 0.0145 is `1.45`.
pub fn points(x: &Rational) -> String {
    decimal(&(x * Rational::from(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_half_a_unit_of_the_last_digit_on_both_sides() {
        for (text, low, high) in [
            ("0.254", "0.2535", "0.2545"),
            ("85.50%", "0.85495", "0.85505"),
            ("85.5%", "0.8545", "0.8555"),
            ("0.00%", "0", "0.00005"),
            ("100.0%", "0.9995", "1"),
            ("1.30×", "1.295", "1.305"),
            ("2", "1.5", "2.5"),
            ("2787.4", "2787.35", "2787.45"),
        ] {
            let printed = Printed::parse(text).unwrap();
            assert_eq!((printed.low(), printed.high()), (parse(low).unwrap(), parse(high).unwrap()), "{text}");
        }
        for text in ["", "%", "-1", "1.2.3", "0.2o5", "1e3"] {
            assert!(Printed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_those_whose_share_rounds_to_the_percentage() {
        let counts = |text: &str, n| Printed::parse(text).unwrap().counts(n);
        assert_eq!(counts("84.90%", 1000), [849]);
        assert_eq!(counts("12.5%", 1000), [125]);
        assert!(counts("33.33%", 1000).is_empty());
        assert_eq!(counts("33.33%", 3), [1]);
        assert_eq!(counts("0.0%", 1000), [0]);
        // 33.3 % of 10000 is 3325 to 3335.
        assert_eq!(counts("33.3%", 10_000).len(), 11);
    }

    #[test]
    fn decimals_are_exact_when_they_are_short() {
        for (x, text) in [("1/8", "0.125"), ("5", "5"), ("1/3", "0.3333"), ("-27/1000", "−0.027")] {
            assert_eq!(decimal(&parse(x).unwrap()), text);
        }
        assert_eq!(points(&parse("0.0145").unwrap()), "1.45");
    }
}
