//! Rational expressions and relations between them (FORMAT.md §5).

use super::{Rat, record};
use crate::Refusal;
use crate::json::{Form, Json, object};

/// `arithmetic`: relations between rational expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arithmetic {
    /// At least one.
    pub steps: Vec<Step>,
}
record!(Arithmetic { steps });

/// left R right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The left side.
    pub left: Expr,
    /// R.
    pub relation: Relation,
    /// The right side.
    pub right: Expr,
}
record!(Step { left, relation, right });

/// A relation between rationals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `=`
    Equal,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

impl Relation {
    const WRITTEN: [(Self, &'static str); 5] = [
        (Self::Less, "<"),
        (Self::LessEqual, "<="),
        (Self::Equal, "="),
        (Self::Greater, ">"),
        (Self::GreaterEqual, ">="),
    ];
}

impl Form for Relation {
    fn read(json: Json) -> Result<Self, Refusal> {
        let text = String::read(json)?;
        let found = Self::WRITTEN.into_iter().find(|(_, written)| *written == text);
        found.map(|(relation, _)| relation).ok_or_else(|| Refusal::format("expected one of < <= = > >="))
    }

    fn write(&self) -> Json {
        let found = Self::WRITTEN.into_iter().find(|(relation, _)| relation == self);
        Json::Text(found.map_or("", |(_, written)| written).to_owned())
    }
}

/// A rational expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// A rational.
    Rational(Rat),
    /// A sum, not empty.
    Add(Vec<Expr>),
    /// A product, not empty.
    Mul(Vec<Expr>),
    /// The first less the second.
    Sub(Box<(Expr, Expr)>),
    /// The first over the second, which is not 0.
    Div(Box<(Expr, Expr)>),
    /// A power; 0^0 = 1.
    Pow(Box<(Expr, usize)>),
    /// A binomial coefficient, 0 if the second number exceeds the first.
    Binomial(usize, usize),
}

impl Form for Expr {
    fn read(json: Json) -> Result<Self, Refusal> {
        let Json::Object(object) = json else {
            return Rat::read(json).map(Self::Rational);
        };
        let mut entries = object.into_iter();
        let (Some((operation, operands)), None) = (entries.next(), entries.next()) else {
            return Err(Refusal::format("expected one operation"));
        };
        let expression = match operation.as_str() {
            "add" => Vec::read(operands).map(Self::Add),
            "mul" => Vec::read(operands).map(Self::Mul),
            "sub" => Form::read(operands).map(Self::Sub),
            "div" => Form::read(operands).map(Self::Div),
            "pow" => Form::read(operands).map(Self::Pow),
            "binomial" => Form::read(operands).map(|(n, k)| Self::Binomial(n, k)),
            _ => Err(Refusal::format("expected one of add, mul, sub, div, pow, binomial")),
        };
        expression.map_err(|refusal| refusal.within(&operation))
    }

    fn write(&self) -> Json {
        match self {
            Self::Rational(rational) => rational.write(),
            Self::Add(terms) => object([("add", terms.write())]),
            Self::Mul(factors) => object([("mul", factors.write())]),
            Self::Sub(pair) => object([("sub", pair.write())]),
            Self::Div(pair) => object([("div", pair.write())]),
            Self::Pow(pair) => object([("pow", pair.write())]),
            Self::Binomial(n, k) => object([("binomial", (*n, *k).write())]),
        }
    }
}
