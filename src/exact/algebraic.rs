//! Real number fields ℚ(α), for exact signs of numbers that are polynomials in one irrational number.

use super::domain::{Domain, Float, common_multiple, rounded_quotient};
use super::field::OrderedField;
use super::integer_poly::trim;
use super::order::{Enclosure, Order};
use super::poly::{Polynomial, roots_between};
use super::rational::{self, Rational, simplest_between};
use super::root_sum::{integral_multiplier, monic_multiple};
use super::roots::dyadic;
use dashu::base::BitTest;
use dashu::integer::{IBig, UBig};

/// The field ℚ(α) for one real root α of a squarefree polynomial.
///
/// An element is the list of coefficients of a polynomial in α, constant first, never empty. The polynomial of α need not be
/// irreducible. When a computation finds a factor, the factor that vanishes at α replaces it: [`NumberField::poly`] may
/// shrink, all elements stay valid, and [`NumberField::normal_form`] shortens them.
#[derive(Debug, Clone)]
pub struct NumberField {
    /// ℤ[β] for β = multiplier·α.
    order: Order,
    multiplier: UBig,
    lo: Rational,
    hi: Rational,
}

impl NumberField {
    /// ℚ(α) for the root α of `poly` in (lo, hi). `None` unless `poly` is squarefree and not constant, lo < hi are no roots, and
    /// there is exactly one real root between them.
    pub fn new(poly: &Polynomial, lo: &Rational, hi: &Rational) -> Option<Self> {
        let valid = poly.degree() > 0
            && lo < hi
            && poly.sign_at(lo) * poly.sign_at(hi) < 0
            && poly.is_squarefree()
            && roots_between(poly, lo, hi) == 1;
        if !valid {
            return None;
        }
        let integers = poly.primitive_integers();
        let multiplier = integral_multiplier(integers);
        let scale = Rational::from(multiplier.clone());
        let order = Order::new(monic_multiple(integers, &multiplier), &(lo * &scale), &(hi * scale));
        Some(Self { order, multiplier, lo: lo.clone(), hi: hi.clone() })
    }

    /// The current polynomial of α: integer, primitive, leading positively, squarefree, with only one root in the interval.
    pub fn poly(&self) -> Polynomial {
        let monic = self.order.monic();
        let powers = powers(&self.multiplier, monic.len() - 1);
        let multiple = Polynomial::from_integers(monic.iter().zip(powers).map(|(c, p)| c * p).collect());
        Polynomial::from_integers(multiple.primitive_integers().to_vec())
    }

    /// The degree of the current polynomial.
    pub fn degree(&self) -> usize {
        self.order.monic().len() - 1
    }

    /// An isolating interval (lo, hi) of α for its polynomial, with short end points that are no roots.
    pub fn interval(&self) -> (Rational, Rational) {
        // Between the given end points and α there is no root, so any number there serves.
        let (left, right) = match self.rational_value() {
            Some(alpha) => {
                let two = Rational::from(2);
                ((&self.lo + &alpha) / &two, (alpha + &self.hi) / two)
            }
            None => {
                // Much narrower than the given interval, to leave room for short end points.
                let width = &self.hi - &self.lo;
                let bits = 5 + width.denominator().bit_len() as i64 - width.numerator().bit_len() as i64;
                self.enclosure(&self.alpha(), bits)
            }
        };
        (
            simplest_between(&self.lo, &left.max(self.lo.clone())),
            simplest_between(&right.min(self.hi.clone()), &self.hi),
        )
    }

    /// α.
    pub fn alpha(&self) -> Vec<Rational> {
        match self.rational_value() {
            Some(value) => vec![value],
            None => vec![Rational::ZERO, Rational::ONE],
        }
    }

    /// α if it is rational.
    pub fn rational_value(&self) -> Option<Rational> {
        // β is an algebraic integer, so a rational β is an integer.
        self.order.integer_value().map(|beta| Rational::from_parts(beta, self.multiplier.clone()))
    }

    /// The value of a polynomial at α.
    pub fn evaluate(&self, poly: &Polynomial) -> Vec<Rational> {
        self.normal_form(&poly.coeffs())
    }

    /// The same number with fewer coefficients than the degree of the current polynomial allows, or as many.
    pub fn normal_form(&self, element: &[Rational]) -> Vec<Rational> {
        let (integers, scale) = self.in_beta(&[element]);
        self.in_alpha(&self.order.reduce(integers[0].clone()), scale.numerator())
    }

    /// The number if its normal form is rational. (A rational number may have another form while the polynomial is reducible.)
    pub fn as_rational(&self, element: &[Rational]) -> Option<Rational> {
        match &self.normal_form(element)[..] {
            [value] => Some(value.clone()),
            _ => None,
        }
    }

    /// Bounds lo ≤ element ≤ hi at most 2^-bits apart.
    pub fn enclosure(&self, element: &[Rational], bits: i64) -> (Rational, Rational) {
        let (integers, denominator) = self.in_beta(&[element]);
        let Enclosure { lo, hi, scale } = self.narrow(&integers[0], denominator.numerator(), bits);
        let place = |end: IBig| dyadic(&end, scale) / &denominator;
        (place(lo), place(hi))
    }

    /// (c, r) with |element·2^bits − c| ≤ r ≤ 2.
    pub fn ball(&self, element: &[Rational], bits: usize) -> (IBig, IBig) {
        let (integers, denominator) = self.in_beta(&[element]);
        let denominator = denominator.numerator();
        let Enclosure { lo, hi, scale } = self.narrow(&integers[0], denominator, bits as i64);
        let centre = rounded_quotient(&(&lo + &hi), denominator, bits as i64 - scale - 1);
        // Half the width is at most 1/2, and the quotient is off by at most 1.
        (centre, IBig::from(2))
    }

    /// An enclosure of an order element at most denominator·2^-bits wide.
    fn narrow(&self, element: &[IBig], denominator: &IBig, bits: i64) -> Enclosure {
        let mut level = 0;
        loop {
            let enclosure = self.order.enclosure(element, level);
            let width = &enclosure.hi - &enclosure.lo;
            let excess = enclosure.scale - bits;
            let fits = if excess >= 0 {
                width <= denominator << excess as usize
            } else {
                width << excess.unsigned_abs() as usize <= *denominator
            };
            if fits {
                return enclosure;
            }
            level += 1;
        }
    }

    /// Elements as integer polynomials in β, all multiplied by the same integer s > 0, and s.
    fn in_beta<T: AsRef<[Rational]>>(&self, elements: &[T]) -> (Vec<Vec<IBig>>, Rational) {
        let all = || elements.iter().flat_map(|element| element.as_ref());
        let common = common_multiple(all().map(|c| c.denominator()));
        let top = elements.iter().map(|element| element.as_ref().len()).max().unwrap_or(1).max(1) - 1;
        let powers: Vec<UBig> = powers(&self.multiplier, top);
        let integers = elements
            .iter()
            .map(|element| {
                let coeffs = element.as_ref().iter().enumerate();
                let scaled = coeffs.map(|(i, c)| c.numerator() * (&common / c.denominator()) * &powers[top - i]);
                trim(scaled.collect())
            })
            .collect();
        (integers, Rational::from(common * &powers[top]))
    }

    /// element/denominator with coefficients in powers of α.
    fn in_alpha(&self, element: &[IBig], denominator: &IBig) -> Vec<Rational> {
        if element.is_empty() {
            return vec![Rational::ZERO];
        }
        let powers = powers(&self.multiplier, element.len() - 1);
        element.iter().zip(powers).map(|(c, p)| Rational::from_parts_signed(c * p, denominator.clone())).collect()
    }
}

/// 1, d, .., d^top.
fn powers(d: &UBig, top: usize) -> Vec<UBig> {
    let mut powers = vec![UBig::ONE];
    for k in 0..top {
        powers.push(&powers[k] * d);
    }
    powers
}

/// Removes leading zeros, but leaves one coefficient.
fn trimmed(mut element: Vec<Rational>) -> Vec<Rational> {
    while element.len() > 1 && element.last().is_some_and(Rational::is_zero) {
        element.pop();
    }
    if element.is_empty() {
        element.push(Rational::ZERO);
    }
    element
}

impl OrderedField for NumberField {
    type Elem = Vec<Rational>;
    type Domain = Order;

    fn zero(&self) -> Vec<Rational> {
        vec![Rational::ZERO]
    }

    fn one(&self) -> Vec<Rational> {
        vec![Rational::ONE]
    }

    fn rational(&self, q: &Rational) -> Vec<Rational> {
        vec![q.clone()]
    }

    fn add(&self, a: &Vec<Rational>, b: &Vec<Rational>) -> Vec<Rational> {
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let mut sum = long.clone();
        for (x, y) in sum.iter_mut().zip(short) {
            *x += y;
        }
        trimmed(sum)
    }

    fn sub(&self, a: &Vec<Rational>, b: &Vec<Rational>) -> Vec<Rational> {
        self.add(a, &self.neg(b))
    }

    fn mul(&self, a: &Vec<Rational>, b: &Vec<Rational>) -> Vec<Rational> {
        match (&a[..], &b[..]) {
            ([q], other) | (other, [q]) => trimmed(other.iter().map(|c| c * q).collect()),
            _ => {
                let ((x, s), (y, t)) = (self.in_beta(&[a]), self.in_beta(&[b]));
                self.in_alpha(&self.order.mul(&x[0], &y[0]), (s * t).numerator())
            }
        }
    }

    fn neg(&self, a: &Vec<Rational>) -> Vec<Rational> {
        a.iter().map(|c| -c).collect()
    }

    fn inv(&self, a: &Vec<Rational>) -> Vec<Rational> {
        let (integers, scale) = self.in_beta(&[a]);
        let numerator = self.order.integer(scale.numerator());
        self.quotients(&[numerator], &integers[0]).swap_remove(0)
    }

    fn sign(&self, a: &Vec<Rational>) -> i32 {
        match &a[..] {
            [] => 0,
            [q] => rational::sign(q),
            _ => self.order.sign(&self.in_beta(&[a]).0[0]),
        }
    }

    fn to_f64(&self, a: &Vec<Rational>) -> f64 {
        if let [q] = &a[..] {
            return rational::to_f64(q);
        }
        let (integers, scale) = self.in_beta(&[a]);
        // Both factors are kept apart from their exponents, so that neither overflows.
        let (above, below) =
            (self.order.approximate(&integers[0]), self.order.approximate(&vec![scale.numerator().clone()]));
        let quotient = Float { mantissa: above.mantissa / below.mantissa, exponent: above.exponent };
        quotient.scaled(below.exponent)
    }

    fn domain(&self) -> &Order {
        &self.order
    }

    fn integral(&self, row: &[Vec<Rational>]) -> (Vec<Vec<IBig>>, Rational) {
        self.in_beta(row)
    }

    fn quotients(&self, numerators: &[Vec<IBig>], denominator: &Vec<IBig>) -> Vec<Vec<Rational>> {
        let divisor = self.order.divisor(denominator);
        numerators.iter().map(|n| self.in_alpha(&self.order.times_inverse(n, &divisor), divisor.norm())).collect()
    }
}

#[cfg(test)]
#[path = "algebraic_tests.rs"]
mod tests;
