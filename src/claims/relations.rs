//! Relations between rational numbers, as `arithmetic` certificates (verify/FORMAT.md §5).

use crate::exact::Rational;
use sdlab_verify::Certificate;
use sdlab_verify::format::{Arithmetic, Expr, Rat, Relation, Step};

/// A rational as an expression.
pub fn rational(x: &Rational) -> Expr {
    Expr::Rational(Rat(x.clone()))
}

/// An integer as an expression.
pub fn integer(k: i64) -> Expr {
    rational(&Rational::from(k))
}

/// a − b.
pub fn difference(a: Expr, b: Expr) -> Expr {
    Expr::Sub(Box::new((a, b)))
}

/// a/b, b ≠ 0.
pub fn quotient(a: Expr, b: Expr) -> Expr {
    Expr::Div(Box::new((a, b)))
}

/// a^k.
pub fn power(a: Expr, k: usize) -> Expr {
    Expr::Pow(Box::new((a, k)))
}

/// `left` R `right`.
pub fn step(left: Expr, relation: Relation, right: Expr) -> Step {
    Step { left, relation, right }
}

/// The certificate that all steps hold; `note` says in words what they mean.
pub fn certificate(steps: Vec<Step>, note: &str) -> Certificate {
    Certificate { instance: None, body: Arithmetic { steps }.into(), note: Some(note.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_that_hold_are_accepted_and_others_are_refused() {
        let third = Rational::ONE / Rational::from(3);
        let cube = || power(difference(integer(1), rational(&third)), 3);
        let expected = quotient(integer(8), Expr::Mul(vec![integer(9), Expr::Binomial(3, 1)]));
        let holds =
            |relation| sdlab_verify::check(&certificate(vec![step(cube(), relation, expected.clone())], "")).is_ok();
        assert!(holds(Relation::Equal) && holds(Relation::LessEqual));
        assert!(!holds(Relation::Less) && !holds(Relation::Greater));
    }
}
