//! Ordered fields: the rationals, and (in [`super::algebraic`]) real number fields.

use super::domain::{Domain, Integers, common_multiple, dot};
use super::rational;
use super::rational::Rational;
use dashu::base::Inverse;
use dashu::integer::{IBig, UBig};
use std::cmp::Ordering;

/// An ordered field whose elements need a context.
///
/// It is the field of fractions of [`OrderedField::Domain`], in which elimination and linear programming run.
pub trait OrderedField {
    /// An element.
    type Elem: Clone + std::fmt::Debug;
    /// A domain that this field is the field of fractions of.
    type Domain: Domain;

    /// 0.
    fn zero(&self) -> Self::Elem;
    /// 1.
    fn one(&self) -> Self::Elem;
    /// The image of a rational number.
    fn rational(&self, q: &Rational) -> Self::Elem;
    /// a + b.
    fn add(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem;
    /// a − b.
    fn sub(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem;
    /// a·b.
    fn mul(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem;
    /// −a.
    fn neg(&self, a: &Self::Elem) -> Self::Elem;
    /// 1/a. Panics for a = 0, so callers test [`OrderedField::sign`] first.
    fn inv(&self, a: &Self::Elem) -> Self::Elem;
    /// -1, 0 or 1, exactly.
    fn sign(&self, a: &Self::Elem) -> i32;
    /// The value to about 52 bits, infinite out of range.
    fn to_f64(&self, a: &Self::Elem) -> f64;

    /// The domain.
    fn domain(&self) -> &Self::Domain;
    /// A row of domain elements and a rational s > 0 with row = s·`row`.
    fn integral(&self, row: &[Self::Elem]) -> (Vec<<Self::Domain as Domain>::Elem>, Rational);
    /// The quotients n/d of domain elements n and d ≠ 0.
    fn quotients(
        &self,
        numerators: &[<Self::Domain as Domain>::Elem],
        denominator: &<Self::Domain as Domain>::Elem,
    ) -> Vec<Self::Elem>;

    /// a = 0?
    fn is_zero(&self, a: &Self::Elem) -> bool {
        self.sign(a) == 0
    }
    /// a/b. Panics for b = 0.
    fn div(&self, a: &Self::Elem, b: &Self::Elem) -> Self::Elem {
        self.mul(a, &self.inv(b))
    }
    /// The order of a and b.
    fn cmp(&self, a: &Self::Elem, b: &Self::Elem) -> Ordering {
        self.sign(&self.sub(a, b)).cmp(&0)
    }
    /// q·a for a rational q.
    fn scale(&self, q: &Rational, a: &Self::Elem) -> Self::Elem {
        self.mul(&self.rational(q), a)
    }
    /// Σ a_k b_k.
    fn dot(&self, a: &[Self::Elem], b: &[Self::Elem]) -> Self::Elem {
        debug_assert_eq!(a.len(), b.len());
        a.iter().zip(b).fold(self.zero(), |sum, (x, y)| self.add(&sum, &self.mul(x, y)))
    }
    /// The images of rational numbers.
    fn rationals(&self, values: &[Rational]) -> Vec<Self::Elem> {
        values.iter().map(|q| self.rational(q)).collect()
    }
}

/// The rational numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rationals;

impl OrderedField for Rationals {
    type Elem = Rational;
    type Domain = Integers;

    fn zero(&self) -> Rational {
        Rational::ZERO
    }
    fn one(&self) -> Rational {
        Rational::ONE
    }
    fn rational(&self, q: &Rational) -> Rational {
        q.clone()
    }
    fn add(&self, a: &Rational, b: &Rational) -> Rational {
        a + b
    }
    fn sub(&self, a: &Rational, b: &Rational) -> Rational {
        a - b
    }
    fn mul(&self, a: &Rational, b: &Rational) -> Rational {
        a * b
    }
    fn neg(&self, a: &Rational) -> Rational {
        -a.clone()
    }
    fn inv(&self, a: &Rational) -> Rational {
        a.inv()
    }
    fn sign(&self, a: &Rational) -> i32 {
        rational::sign(a)
    }
    fn to_f64(&self, a: &Rational) -> f64 {
        rational::to_f64(a)
    }
    fn domain(&self) -> &Integers {
        &Integers
    }
    fn integral(&self, row: &[Rational]) -> (Vec<IBig>, Rational) {
        let (integers, denominator) = common_denominator(row);
        (integers, Rational::from(denominator))
    }
    fn quotients(&self, numerators: &[IBig], denominator: &IBig) -> Vec<Rational> {
        numerators.iter().map(|n| Rational::from_parts_signed(n.clone(), denominator.clone())).collect()
    }
    fn cmp(&self, a: &Rational, b: &Rational) -> Ordering {
        a.cmp(b)
    }
    fn dot(&self, a: &[Rational], b: &[Rational]) -> Rational {
        debug_assert_eq!(a.len(), b.len());
        let ((x, s), (y, t)) = (common_denominator(a), common_denominator(b));
        Rational::from_parts(dot(&x, &y), s * t)
    }
}

/// Integers n_k and a denominator d > 0 with n_k/d = values\[k\], d as small as possible.
pub fn common_denominator(values: &[Rational]) -> (Vec<IBig>, UBig) {
    let denominator = common_multiple(values.iter().map(|v| v.denominator()));
    let integers = values
        .iter()
        .map(|v| {
            if v.denominator() == &denominator {
                v.numerator().clone()
            } else {
                v.numerator() * (&denominator / v.denominator())
            }
        })
        .collect();
    (integers, denominator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rational::parse;
    use proptest::prelude::*;

    fn q(text: &str) -> Rational {
        parse(text).unwrap()
    }

    #[test]
    fn a_common_denominator_reproduces_every_number() {
        let values = [q("1/6"), q("-3/4"), q("0"), q("5")];
        let (integers, denominator) = common_denominator(&values);
        assert_eq!(denominator, UBig::from(12u8));
        for (n, v) in integers.iter().zip(&values) {
            assert_eq!(Rational::from_parts(n.clone(), denominator.clone()), *v);
        }
    }

    proptest! {
        #[test]
        fn the_scalar_product_equals_the_sum_of_products(
            pairs in prop::collection::vec((-99i64..99, 1u64..50, -99i64..99, 1u64..50), 0..9),
        ) {
            let a: Vec<_> = pairs.iter().map(|p| Rational::from_parts(p.0.into(), p.1.into())).collect();
            let b: Vec<_> = pairs.iter().map(|p| Rational::from_parts(p.2.into(), p.3.into())).collect();
            let plain = a.iter().zip(&b).fold(Rational::ZERO, |sum, (x, y)| sum + x * y);
            prop_assert_eq!(Rationals.dot(&a, &b), plain);
        }
    }

    #[test]
    fn quotients_and_integral_rows_are_inverse_to_each_other() {
        let row = [q("1/6"), q("-3/4")];
        let (integers, scale) = Rationals.integral(&row);
        let back = Rationals.quotients(&integers, scale.numerator());
        assert_eq!(back, row);
        assert_eq!(Rationals.quotients(&integers, &-scale.numerator()), row.map(|v| -v));
    }

    #[test]
    fn order_division_and_scaling_follow_from_the_operations() {
        let field = Rationals;
        assert_eq!(field.cmp(&q("1/3"), &q("1/2")), Ordering::Less);
        assert_eq!(field.div(&q("1/3"), &q("-1/2")), q("-2/3"));
        assert_eq!(field.scale(&q("3"), &q("1/2")), q("3/2"));
        assert!(field.is_zero(&field.sub(&q("2"), &q("2"))));
    }
}
