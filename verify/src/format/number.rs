//! Exact numbers: rationals, fields Q(α) and their elements (FORMAT.md §§1, 3).

use super::record;
use crate::Refusal;
use crate::json::{Form, Json, shortened};
use dashu::base::Gcd;
use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;
use std::fmt;

/// Most decimal digits of a numerator or denominator.
const MAX_DIGITS: usize = 200_000;

/// A rational number, written in lowest terms: `"3"`, `"-1/2"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rat(pub RBig);

impl From<RBig> for Rat {
    fn from(value: RBig) -> Self {
        Self(value)
    }
}

impl From<IBig> for Rat {
    fn from(value: IBig) -> Self {
        Self(RBig::from(value))
    }
}

impl From<i64> for Rat {
    fn from(value: i64) -> Self {
        Self(RBig::from(value))
    }
}

impl fmt::Display for Rat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Digits without a leading zero.
fn magnitude(digits: &str) -> Result<UBig, Refusal> {
    let canonical = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !canonical || (digits.len() > 1 && digits.starts_with('0')) {
        return Err(Refusal::format("expected digits without a leading zero"));
    }
    if digits.len() > MAX_DIGITS {
        return Err(Refusal::limit(format!("over {MAX_DIGITS} digits")));
    }
    UBig::from_str_radix(digits, 10).map_err(|error| Refusal::format(error.to_string()))
}

impl Form for Rat {
    fn read(json: Json) -> Result<Self, Refusal> {
        let text = String::read(json)?;
        let wrong = |refusal: Refusal| {
            let reason = format!("`{}` is no rational in lowest terms: {}", shortened(&text), refusal.reason);
            Refusal { reason, ..refusal }
        };
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let (numerator, denominator) = match rest.split_once('/') {
            Some((numerator, denominator)) => {
                let (numerator, denominator) =
                    (magnitude(numerator).map_err(wrong)?, magnitude(denominator).map_err(wrong)?);
                if denominator <= UBig::ONE || (&numerator).gcd(&denominator) != UBig::ONE {
                    return Err(wrong(Refusal::format("the denominator is below 2 or has a common factor")));
                }
                (IBig::from(numerator), denominator)
            }
            None => (IBig::from(magnitude(rest).map_err(wrong)?), UBig::ONE),
        };
        if negative && numerator == IBig::ZERO {
            return Err(wrong(Refusal::format("zero has no sign")));
        }
        Ok(Self(RBig::from_parts(if negative { -numerator } else { numerator }, denominator)))
    }

    fn write(&self) -> Json {
        Json::Text(self.0.to_string())
    }
}

impl Form for IBig {
    fn read(json: Json) -> Result<Self, Refusal> {
        let (numerator, denominator) = Rat::read(json)?.0.into_parts();
        if denominator == UBig::ONE { Ok(numerator) } else { Err(Refusal::format("expected an integer")) }
    }

    fn write(&self) -> Json {
        Json::Text(self.to_string())
    }
}

/// Q(α) for the one root α of a squarefree polynomial in an open interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The upper end of the interval.
    pub hi: Rat,
    /// The lower end of the interval.
    pub lo: Rat,
    /// Integer coefficients, constant first, of degree 1 to 64.
    pub poly: Vec<IBig>,
}
record!(Field { hi, lo, poly });

/// A number: rational, or g_0 + g_1 α + .. in the field that the context declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Number {
    /// A rational.
    Rational(Rat),
    /// The coefficients [g_0, g_1, ..]: at least one, at most the degree of the field.
    Element(Vec<Rat>),
}

impl<T: Into<Rat>> From<T> for Number {
    fn from(value: T) -> Self {
        Self::Rational(value.into())
    }
}

impl Form for Number {
    fn read(json: Json) -> Result<Self, Refusal> {
        match json {
            Json::Text(_) => Rat::read(json).map(Self::Rational),
            Json::List(_) => Vec::read(json).map(Self::Element),
            _ => Err(Refusal::format("expected a rational or an array of rationals")),
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Rational(rational) => rational.write(),
            Self::Element(coefficients) => coefficients.write(),
        }
    }
}
