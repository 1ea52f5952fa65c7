//! Polynomials in one variable with rational coefficients.

use super::domain::{content, sign};
use super::field::common_denominator;
use super::integer_poly as integer;
use super::modular;
use super::rational::{self, Rational};
use dashu::integer::{IBig, UBig};

pub use super::charpoly::{adjugate_column, characteristic_polynomial};
pub use super::root_sum::{MAX_DEGREE, sum_of_roots};
pub use super::roots::{isolate_real_roots, refine_root, roots_between, sturm_count};

/// A polynomial with rational coefficients, kept as a rational times a primitive integer polynomial that leads positively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polynomial {
    content: Rational,
    primitive: Vec<IBig>,
}

impl Polynomial {
    /// The polynomial with these coefficients, constant first.
    pub fn new(coeffs: Vec<Rational>) -> Self {
        let (integers, denominator) = common_denominator(&coeffs);
        Self::over(integers, denominator)
    }

    /// The polynomial with these coefficients, constant first.
    pub fn from_integers(coeffs: Vec<IBig>) -> Self {
        Self::over(coeffs, UBig::ONE)
    }

    /// coeffs/denominator.
    pub(crate) fn over(coeffs: Vec<IBig>, denominator: UBig) -> Self {
        let coeffs = integer::trim(coeffs);
        let Some(lead) = coeffs.last() else { return Self { content: Rational::ZERO, primitive: Vec::new() } };
        let common = IBig::from(content(&coeffs)) * IBig::from(sign(lead));
        Self { primitive: integer::primitive_part(coeffs), content: Rational::from_parts(common, denominator) }
    }

    /// c.
    pub fn constant(c: Rational) -> Self {
        Self::new(vec![c])
    }

    /// Is it the polynomial 0?
    pub fn is_zero(&self) -> bool {
        self.primitive.is_empty()
    }

    /// The degree; 0 for the polynomial 0.
    pub fn degree(&self) -> usize {
        integer::degree(&self.primitive)
    }

    /// The coefficients, constant first, the last one not 0; none for the polynomial 0.
    pub fn coeffs(&self) -> Vec<Rational> {
        self.primitive.iter().map(|c| &self.content * c).collect()
    }

    /// The leading coefficient, 0 for the polynomial 0.
    pub fn leading(&self) -> Rational {
        self.primitive.last().map_or(Rational::ZERO, |c| &self.content * c)
    }

    /// The coefficients, constant first, of the multiple that has integer coefficients without a common factor and leads positively.
    pub fn primitive_integers(&self) -> &[IBig] {
        &self.primitive
    }

    /// The value at x.
    pub fn eval(&self, x: &Rational) -> Rational {
        let (a, b) = (x.numerator(), x.denominator());
        let value = integer::homogeneous_value(&self.primitive, a, &IBig::from(b.clone()));
        &self.content * Rational::from_parts(value, b.pow(self.degree()))
    }

    /// The sign of the value at x.
    pub fn sign_at(&self, x: &Rational) -> i32 {
        let value = integer::homogeneous_value(&self.primitive, x.numerator(), &IBig::from(x.denominator().clone()));
        sign(&value) * rational::sign(&self.content)
    }

    /// The derivative.
    pub fn derivative(&self) -> Self {
        let derivative = Self::from_integers(integer::derivative(&self.primitive));
        derivative.scale(&self.content)
    }

    /// q times the polynomial.
    pub fn scale(&self, q: &Rational) -> Self {
        if q.is_zero() {
            return Self::constant(Rational::ZERO);
        }
        Self { content: &self.content * q, primitive: self.primitive.clone() }
    }

    /// The sum.
    pub fn add(&self, other: &Self) -> Self {
        let (mut sum, mut summand) = (self.coeffs(), other.coeffs());
        if sum.len() < summand.len() {
            std::mem::swap(&mut sum, &mut summand);
        }
        for (a, b) in sum.iter_mut().zip(summand) {
            *a += b;
        }
        Self::new(sum)
    }

    /// The difference.
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.scale(&-Rational::ONE))
    }

    /// The product.
    pub fn mul(&self, other: &Self) -> Self {
        // By Gauss' lemma the product of primitive polynomials is primitive.
        Self { content: &self.content * &other.content, primitive: integer::product(&self.primitive, &other.primitive) }
    }

    /// The quotient if `other` ≠ 0 divides this polynomial over ℚ.
    pub fn div_exact(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let primitive = integer::exact_quotient(&self.primitive, &other.primitive)?;
        Some(Self { content: &self.content / &other.content, primitive })
    }

    /// The greatest common divisor, as a primitive integer polynomial that leads positively.
    pub fn gcd(&self, other: &Self) -> Self {
        Self::from_integers(modular::gcd(&self.primitive, &other.primitive))
    }

    /// Is the polynomial not 0 and without a double root in ℂ?
    pub fn is_squarefree(&self) -> bool {
        !self.is_zero() && integer::degree(&modular::gcd(&self.primitive, &integer::derivative(&self.primitive))) == 0
    }

    /// The primitive integer polynomial that leads positively and has the same complex roots, all simple.
    pub fn squarefree_part(&self) -> Self {
        let divisor = modular::gcd(&self.primitive, &integer::derivative(&self.primitive));
        // For constants the divisor is the polynomial itself.
        let part = integer::exact_quotient(&self.primitive, &divisor).unwrap_or_default();
        Self::from_integers(part)
    }

    /// The polynomial at a + b·x.
    pub fn compose_linear(&self, a: &Rational, b: &Rational) -> Self {
        let line = Self::new(vec![a.clone(), b.clone()]);
        self.coeffs()
            .into_iter()
            .rev()
            .fold(Self::constant(Rational::ZERO), |sum, c| sum.mul(&line).add(&Self::constant(c)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rational::parse;
    use proptest::prelude::*;

    fn q(text: &str) -> Rational {
        parse(text).unwrap()
    }

    fn polynomial() -> impl Strategy<Value = Polynomial> {
        prop::collection::vec((-20i64..20, 1u64..7), 0..6).prop_map(|c| {
            Polynomial::new(c.into_iter().map(|(a, b)| Rational::from_parts(a.into(), b.into())).collect())
        })
    }

    proptest! {
        #[test]
        fn ring_operations_are_those_of_the_values(f in polynomial(), g in polynomial(), a in -9i64..9, b in 1u64..9) {
            let x = Rational::from_parts(a.into(), b.into());
            prop_assert_eq!(f.add(&g).eval(&x), f.eval(&x) + g.eval(&x));
            prop_assert_eq!(f.sub(&g).eval(&x), f.eval(&x) - g.eval(&x));
            prop_assert_eq!(f.mul(&g).eval(&x), f.eval(&x) * g.eval(&x));
            prop_assert_eq!(f.sign_at(&x), rational::sign(&f.eval(&x)));
            prop_assert_eq!(f.compose_linear(&q("2/3"), &q("-5")).eval(&x), f.eval(&(q("2/3") - q("5") * x)));
            prop_assert_eq!(Polynomial::new(f.coeffs()), f);
        }

        #[test]
        fn the_derivative_obeys_the_product_rule(f in polynomial(), g in polynomial()) {
            let left = f.mul(&g).derivative();
            prop_assert_eq!(left, f.derivative().mul(&g).add(&f.mul(&g.derivative())));
        }

        #[test]
        fn the_squarefree_part_has_the_roots_once(f in polynomial(), g in polynomial()) {
            prop_assume!(!f.is_zero() && !g.is_zero());
            let h = f.mul(&f).mul(&g);
            let part = h.squarefree_part();
            prop_assert!(part.is_squarefree());
            prop_assert!(h.div_exact(&part).is_some());
            // h divides a power of its squarefree part.
            let power = (0..=h.degree()).fold(Polynomial::constant(Rational::ONE), |p, _| p.mul(&part));
            prop_assert!(power.div_exact(&h).is_some());
        }
    }

    #[test]
    fn the_product_rule_starts_from_powers() {
        let cube = Polynomial::new(vec![Rational::ZERO, Rational::ZERO, Rational::ZERO, q("1/2")]);
        assert_eq!(cube.derivative().coeffs(), vec![Rational::ZERO, Rational::ZERO, q("3/2")]);
        assert_eq!(cube.degree(), 3);
        assert_eq!(cube.leading(), q("1/2"));
        assert_eq!(cube.primitive_integers().last(), Some(&IBig::ONE));
    }

    #[test]
    fn division_by_zero_and_inexact_division_give_nothing() {
        let x = Polynomial::new(vec![Rational::ZERO, Rational::ONE]);
        let zero = Polynomial::constant(Rational::ZERO);
        assert_eq!(x.div_exact(&zero), None);
        assert_eq!(x.div_exact(&Polynomial::new(vec![Rational::ONE, Rational::ONE])), None);
        assert_eq!(zero.div_exact(&x), Some(zero));
    }
}
