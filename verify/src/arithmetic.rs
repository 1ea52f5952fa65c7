//! `arithmetic`: relations between rational expressions (FORMAT.md §5).

use crate::Refusal;
use crate::claim::Claim;
use crate::format::{Arithmetic, Expr, Relation};
use crate::instance::require;
use crate::number::{Work, words};
use dashu::base::BitTest;
use dashu::integer::{IBig, UBig};
use dashu::rational::RBig;
use std::cmp::Ordering;

/// Most bits of a value.
const MAX_BITS: usize = 2_000_000;

/// Greatest exponent, and greatest argument of a binomial coefficient.
const MAX_ARGUMENT: usize = 100_000;

/// `arithmetic`.
pub(crate) fn arithmetic(work: &Work, body: &Arithmetic) -> Result<Claim, Refusal> {
    require(!body.steps.is_empty(), || "there is no step".to_owned())?;
    for (at, step) in body.steps.iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(format!("steps[{at}]"));
        let (left, right) = (evaluate(work, &step.left).map_err(within)?, evaluate(work, &step.right).map_err(within)?);
        pay(work, bits(&left), bits(&right), false)?;
        let holds = match (left.cmp(&right), step.relation) {
            (Ordering::Less, relation) => matches!(relation, Relation::Less | Relation::LessEqual),
            (Ordering::Equal, relation) => {
                matches!(relation, Relation::LessEqual | Relation::Equal | Relation::GreaterEqual)
            }
            (Ordering::Greater, relation) => matches!(relation, Relation::Greater | Relation::GreaterEqual),
        };
        require(holds, || format!("steps[{at}]: the relation does not hold"))?;
    }
    Ok(Claim::new(format!("{} relations between rational numbers hold", body.steps.len())))
}

fn bits(x: &RBig) -> usize {
    x.numerator().bit_len() + x.denominator().bit_len()
}

/// Pays for an operation on two numbers of so many bits, with a greatest common divisor or without.
fn pay(work: &Work, a: usize, b: usize, gcd: bool) -> Result<(), Refusal> {
    let words = ((a + b) / 64 + 4) as u64;
    work.spend(500 + if gcd { 8 } else { 1 } * words.pow(2))
}

fn limit_bits(bits: usize) -> Result<(), Refusal> {
    if bits <= MAX_BITS { Ok(()) } else { Err(Refusal::limit(format!("a value of over {MAX_BITS} bits"))) }
}

fn limit_argument(argument: usize) -> Result<(), Refusal> {
    if argument <= MAX_ARGUMENT { Ok(()) } else { Err(Refusal::limit(format!("an argument over {MAX_ARGUMENT}"))) }
}

/// The value; its size is estimated before it is computed.
fn evaluate(work: &Work, expression: &Expr) -> Result<RBig, Refusal> {
    let combine = |a: RBig, b: RBig, operation: fn(RBig, RBig) -> RBig| {
        limit_bits(bits(&a) + bits(&b) + 1)?;
        pay(work, bits(&a), bits(&b), !(a.is_int() && b.is_int()))?;
        Ok(operation(a, b))
    };
    let fold = |expressions: &[Expr], operation: fn(RBig, RBig) -> RBig| {
        let mut values = expressions.iter().map(|expression| evaluate(work, expression));
        let first = values.next().ok_or_else(|| Refusal::format("expected at least one operand"))??;
        values.try_fold(first, |value, next| combine(value, next?, operation))
    };
    match expression {
        Expr::Rational(value) => Ok(value.0.clone()),
        Expr::Add(terms) => fold(terms, |a, b| a + b),
        Expr::Mul(factors) => fold(factors, |a, b| a * b),
        Expr::Sub(pair) => combine(evaluate(work, &pair.0)?, evaluate(work, &pair.1)?, |a, b| a - b),
        Expr::Div(pair) => {
            let (a, b) = (evaluate(work, &pair.0)?, evaluate(work, &pair.1)?);
            require(!b.is_zero(), || "division by zero".to_owned())?;
            combine(a, b, |a, b| a / b)
        }
        Expr::Pow(pair) => {
            let (base, exponent) = (evaluate(work, &pair.0)?, pair.1);
            limit_argument(exponent)?;
            limit_bits(bits(&base).saturating_mul(exponent))?;
            // in lowest terms already, but `from_parts` computes the gcd all the same
            pay(work, bits(&base) * exponent, 0, !base.is_int())?;
            Ok(RBig::from_parts(base.numerator().pow(exponent), base.denominator().pow(exponent)))
        }
        Expr::Binomial(n, k) => {
            limit_argument((*n).max(*k))?;
            binomial(work, *n, *k)
        }
    }
}

/// n(n−1)..(n−k+1)/k!, each factor divided out as soon as it is whole.
fn binomial(work: &Work, n: usize, k: usize) -> Result<RBig, Refusal> {
    if k > n {
        return Ok(RBig::ZERO);
    }
    let mut value = IBig::ONE;
    for factor in 1..=k.min(n - k) {
        work.spend(200 + 16 * words(&value))?;
        value = value * IBig::from(n - factor + 1) / IBig::from(factor);
    }
    Ok(RBig::from_parts(value, UBig::ONE))
}
