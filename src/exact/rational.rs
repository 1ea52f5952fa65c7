//! Rational numbers: parsing, printing, rounding.

use dashu::base::{Abs, BitTest, Sign};
use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;

/// An exact rational number.
pub type Rational = RBig;

/// Largest absolute decimal exponent that an input string may carry.
pub const MAX_EXPONENT: i64 = 4096;

/// Why a string is no exact number.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParseRationalError {
    /// The string has another form.
    #[error("`{0}` is not an exact number: expected an integer, p/q, or a decimal such as -0.25 or 1e-40")]
    Form(String),
    /// The denominator is zero.
    #[error("`{0}` has denominator 0")]
    ZeroDenominator(String),
    /// The exponent is too large.
    #[error("the exponent of `{0}` exceeds {MAX_EXPONENT}")]
    Exponent(String),
    /// The number is infinite or not a number.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(37).chain("...".chars()).collect() }
}

/// Parses `-?digits(/digits)?` or a decimal with an optional exponent.
pub fn parse(text: &str) -> Result<Rational, ParseRationalError> {
    let form = || ParseRationalError::Form(shortened(text));
    let digits = |s: &str| -> Result<UBig, ParseRationalError> {
        if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
            return Err(form());
        }
        UBig::from_str_radix(s, 10).map_err(|_| form())
    };
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let signed = |value: RBig| if negative { -value } else { value };
    if let Some((numerator, denominator)) = rest.split_once('/') {
        let (numerator, denominator) = (digits(numerator)?, digits(denominator)?);
        if denominator == UBig::ZERO {
            return Err(ParseRationalError::ZeroDenominator(shortened(text)));
        }
        return Ok(signed(RBig::from_parts(IBig::from(numerator), denominator)));
    }
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => {
            let written = &rest[at + 1..];
            let unsigned = written.strip_prefix(['-', '+']).unwrap_or(written);
            if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
                return Err(form());
            }
            let value: i64 = written.parse().map_err(|_| ParseRationalError::Exponent(shortened(text)))?;
            (&rest[..at], value)
        }
        None => (rest, 0),
    };
    if exponent.abs() > MAX_EXPONENT {
        return Err(ParseRationalError::Exponent(shortened(text)));
    }
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    if mantissa.contains('.') && fraction.is_empty() || whole.is_empty() {
        return Err(form());
    }
    let number = digits(&format!("{whole}{fraction}"))?;
    let scale = exponent - fraction.len() as i64;
    let ten = |n: i64| UBig::from(10u8).pow(n.unsigned_abs() as usize);
    Ok(signed(if scale >= 0 {
        RBig::from(number * ten(scale))
    } else {
        RBig::from_parts(IBig::from(number), ten(scale))
    }))
}

/// The exact value of a finite f64.
pub fn from_f64(value: f64) -> Result<Rational, ParseRationalError> {
    RBig::try_from(value).map_err(|_| ParseRationalError::NotFinite(value))
}

/// The f64 nearest to `value` (infinite when it is out of range).
pub fn to_f64(value: &Rational) -> f64 {
    value.to_f64().value()
}

/// -1, 0 or 1.
pub fn sign(value: &Rational) -> i32 {
    if value.is_zero() {
        0
    } else if value.sign() == Sign::Negative {
        -1
    } else {
        1
    }
}

/// The multiple of 2^-bits nearest to `value` from below.
pub fn floor_to_bits(value: &Rational, bits: usize) -> Rational {
    let scaled = value.clone() * RBig::from(UBig::ONE << bits);
    RBig::from_parts(scaled.floor(), UBig::ONE << bits)
}

/// Number of bits of numerator and denominator together: the size of a number.
pub fn bits(value: &Rational) -> usize {
    value.numerator().clone().abs().bit_len() + value.denominator().bit_len()
}

/// The rational with the smallest denominator (then numerator) in the closed interval [lo, hi].
pub fn simplest_between(lo: &Rational, hi: &Rational) -> Rational {
    debug_assert!(lo <= hi);
    if sign(lo) <= 0 && sign(hi) >= 0 {
        return RBig::ZERO;
    }
    if sign(hi) < 0 {
        return -simplest_between(&-hi.clone(), &-lo.clone());
    }
    // Stern and Brocot: the first integer in the interval, or recurse on the reciprocals of the fractional parts.
    let ceiling = RBig::from(lo.ceil());
    if ceiling <= *hi {
        return ceiling;
    }
    let whole = RBig::from(lo.floor());
    let (low, high) = (lo.clone() - whole.clone(), hi.clone() - whole.clone());
    whole + RBig::ONE / simplest_between(&(RBig::ONE / high), &(RBig::ONE / low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_every_form_are_exact() {
        for (text, expected) in [
            ("3", "3"),
            ("-6/4", "-3/2"),
            ("0.25", "1/4"),
            ("-1e-2", "-1/100"),
            ("2.5e3", "2500"),
            ("1E2", "100"),
            ("-0", "0"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn other_strings_are_refused() {
        for text in [
            "",
            "-",
            "+1",
            "1/0",
            "1/",
            "/2",
            ".5",
            "5.",
            "1e",
            "1e5000",
            "1e99999999999999999999",
            "0x1",
            "1 ",
            "nan",
            "1/2/3",
            "1/2e3",
            "--1",
            "1_0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_simplest_rational_of_an_interval_is_found() {
        let between = |a: &str, b: &str| simplest_between(&parse(a).unwrap(), &parse(b).unwrap()).to_string();
        assert_eq!(between("0.3", "0.4"), "1/3");
        assert_eq!(between("-0.4", "-0.3"), "-1/3");
        assert_eq!(between("3.1415", "3.1416"), "333/106");
        assert_eq!(between("2", "2"), "2");
    }
}
