//! The ring ℤ\[β\] for a real algebraic integer β: the domain under a number field.
//!
//! An element is a polynomial in β with integer coefficients, constant first. β is known by a monic squarefree polynomial and a
//! dyadic cell that isolates it, not by a minimal polynomial: whenever a computation finds a factor, the factor that vanishes
//! at β takes the polynomial's place (dynamic evaluation, Della Dora, Dicrescenzo and Duval 1985), and elements stay valid.

use super::domain::{Domain, Float, content, rounded_quotient, shifted, sign};
use super::integer_poly::{
    degree, difference, dyadic_value, exact_quotient, primitive_part, product, pseudo_division, trim,
};
use super::modular;
use super::rational::Rational;
use super::roots::Root;
use dashu::base::{Abs, BitTest, Gcd};
use dashu::integer::{IBig, UBig};
use std::cell::RefCell;

/// ℤ\[β\].
#[derive(Debug, Clone)]
pub struct Order {
    state: RefCell<State>,
}

#[derive(Debug, Clone)]
struct State {
    /// Monic, squarefree, with the root β; linear if β is known to be an integer.
    monic: Vec<IBig>,
    root: Root,
}

/// An interval: lo ≤ value·2^scale ≤ hi.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Enclosure {
    pub lo: IBig,
    pub hi: IBig,
    pub scale: i64,
}

/// What division by an element needs: inverse/norm is its inverse.
#[derive(Debug, Clone)]
pub struct OrderDivisor {
    inverse: Vec<IBig>,
    norm: IBig,
}

impl OrderDivisor {
    /// The integer n with norm·(1/b) in ℤ\[β\].
    pub(crate) fn norm(&self) -> &IBig {
        &self.norm
    }
}

/// Enclosures start with cells of 2^-64 relative width; the precision doubles per level.
const FIRST_BITS: i64 = 64;

/// The level at which an undecided sign is tested for 0.
const ZERO_TEST_LEVEL: u32 = 2;

impl Order {
    /// ℤ\[β\] for the only root of a monic squarefree polynomial in (lo, hi), which are no roots.
    pub(crate) fn new(monic: Vec<IBig>, lo: &Rational, hi: &Rational) -> Self {
        let root = if degree(&monic) == 1 {
            Root::Dyadic { numerator: -&monic[0], bits: 0 }
        } else {
            Root::locate(&monic, lo, hi)
        };
        let mut state = State { monic, root };
        state.note_integer();
        Self { state: RefCell::new(state) }
    }

    /// The current polynomial of β.
    pub(crate) fn monic(&self) -> Vec<IBig> {
        self.state.borrow().monic.clone()
    }

    /// β if it is an integer.
    pub(crate) fn integer_value(&self) -> Option<IBig> {
        let mut state = self.state.borrow_mut();
        // An integer is a grid point of every cell grid up to this level, and cells end where the polynomial does not vanish.
        state.refine(0);
        match &state.root {
            Root::Dyadic { .. } => Some(-&state.monic[0]),
            Root::Cell { .. } => None,
        }
    }

    /// A polynomial in β of degree below that of β's polynomial.
    pub(crate) fn reduce(&self, element: Vec<IBig>) -> Vec<IBig> {
        let mut element = trim(element);
        let state = self.state.borrow();
        let n = degree(&state.monic);
        while element.len() > n {
            let top = element.pop().unwrap_or(IBig::ZERO);
            let start = element.len() - n;
            for (target, c) in element[start..].iter_mut().zip(&state.monic) {
                *target -= &top * c;
            }
            element = trim(element);
        }
        element
    }

    /// An interval around the element whose width falls quadratically with the level.
    pub(crate) fn enclosure(&self, element: &[IBig], level: u32) -> Enclosure {
        let reduced;
        let element = if element.len() > degree(&self.state.borrow().monic) {
            reduced = self.reduce(element.to_vec());
            &reduced
        } else {
            element
        };
        if element.len() <= 1 {
            let value = element.first().cloned().unwrap_or(IBig::ZERO);
            return Enclosure { lo: value.clone(), hi: value, scale: 0 };
        }
        let (floor, bits) = self.state.borrow_mut().cell(level);
        let ceiling = &floor + IBig::ONE;
        // Horner's rule on intervals; β's cell does not contain 0 inside.
        let (small, large, positive) =
            if sign(&floor) >= 0 { (&floor, &ceiling, true) } else { (&ceiling, &floor, false) };
        let (mut lo, mut hi) = (IBig::ZERO, IBig::ZERO);
        for (k, c) in element.iter().rev().enumerate() {
            let at_lo = &lo * if sign(&lo) >= 0 { small } else { large };
            let at_hi = &hi * if sign(&hi) >= 0 { large } else { small };
            (lo, hi) = if positive { (at_lo, at_hi) } else { (at_hi, at_lo) };
            let summand = shifted(c, bits * k as i64);
            lo += &summand;
            hi += summand;
        }
        Enclosure { lo, hi, scale: bits * degree(element) as i64 }
    }

    /// Does a polynomial vanish at β? The polynomial of β loses the factors that the answer rules out.
    fn vanishes(&self, element: &[IBig]) -> bool {
        let mut state = self.state.borrow_mut();
        if modular::surely_coprime_to_monic(&state.monic, element) {
            return false;
        }
        let common = modular::gcd(&state.monic, element);
        degree(&common) > 0 && state.split(common)
    }

    /// norm·a/b for the divisor b.
    pub(crate) fn times_inverse(&self, a: &[IBig], b: &OrderDivisor) -> Vec<IBig> {
        if b.inverse.len() == 1 && b.inverse[0].is_one() {
            return self.reduce(a.to_vec());
        }
        self.reduce(product(a, &b.inverse))
    }

    /// The inverse of an element that is not 0.
    fn inverse(&self, element: &[IBig]) -> OrderDivisor {
        let mut element = self.reduce(element.to_vec());
        loop {
            let monic = self.monic();
            match inverse_modulo(&monic, &element) {
                Ok(divisor) => return divisor,
                Err(common) => {
                    let zero = self.state.borrow_mut().split(common);
                    assert!(!zero, "division by zero in a number field");
                    element = self.reduce(element);
                }
            }
        }
    }
}

impl State {
    fn refine(&mut self, bits: i64) {
        self.root.refine(&self.monic, bits);
        self.note_integer();
    }

    /// A dyadic root of a monic polynomial is an integer, and then the polynomial may be linear.
    fn note_integer(&mut self) {
        if let Root::Dyadic { numerator, bits } = &self.root
            && degree(&self.monic) > 1
        {
            self.monic = vec![-shifted(numerator, -bits), IBig::ONE];
        }
    }

    /// floor and bits with floor ≤ β·2^bits ≤ floor + 1, where floor has about 64·2^level digits.
    fn cell(&mut self, level: u32) -> (IBig, i64) {
        let size = match &self.root {
            Root::Dyadic { .. } => 0,
            Root::Cell { floor, bits } => floor.bit_len() as i64 - bits,
        };
        let target = (FIRST_BITS << level) - size;
        self.refine(target);
        match &self.root {
            // The refinement is kept, but a coarser cell is enough here.
            Root::Cell { floor, bits } => (shifted(floor, target - bits), target),
            Root::Dyadic { numerator, bits } => (shifted(numerator, -bits), 0),
        }
    }

    /// Takes a proper factor of β's polynomial into account; does the factor vanish at β?
    fn split(&mut self, factor: Vec<IBig>) -> bool {
        let vanishes = match &self.root {
            Root::Dyadic { numerator, bits } => dyadic_value(&factor, numerator, *bits).is_zero(),
            Root::Cell { floor, bits } => {
                let at = |point: &IBig| sign(&dyadic_value(&factor, point, *bits));
                // The ends of the cell are no roots, and inside is at most one, a simple one.
                at(floor) != at(&(floor + IBig::ONE))
            }
        };
        // A primitive factor of a monic polynomial is monic up to its sign, which is positive.
        if vanishes {
            self.monic = factor;
        } else if let Some(rest) = exact_quotient(&self.monic, &factor) {
            self.monic = rest;
        }
        if degree(&self.monic) == 1 {
            self.root = Root::Dyadic { numerator: -&self.monic[0], bits: 0 };
        }
        vanishes
    }
}

/// inverse and norm with inverse·g ≡ norm ≠ 0 modulo a monic h, or the primitive gcd of positive degree. Half of the extended
/// subresultant algorithm (Collins 1967): remainders and cofactors stay integral and of the size of minors.
fn inverse_modulo(h: &[IBig], g: &[IBig]) -> Result<OrderDivisor, Vec<IBig>> {
    let common = IBig::from(content(g));
    let (mut a, mut b) = (h.to_vec(), g.iter().map(|c| c / &common).collect::<Vec<_>>());
    let (mut s, mut t) = (Vec::new(), vec![IBig::ONE]);
    let (mut lead, mut height) = (IBig::ONE, IBig::ONE);
    while degree(&b) > 0 {
        let gap = degree(&a) - degree(&b);
        let (quotient, remainder, scale) = pseudo_division(&a, &b);
        let scaled: Vec<IBig> = s.iter().map(|c| c * &scale).collect();
        let cofactor = difference(&scaled, &product(&quotient, &t));
        let divisor = &lead * height.pow(gap);
        let reduced = |f: Vec<IBig>| f.into_iter().map(|c| c / &divisor).collect::<Vec<_>>();
        (a, b) = (b, reduced(remainder));
        (s, t) = (t, reduced(cofactor));
        lead = a[a.len() - 1].clone();
        if gap > 0 {
            height = lead.pow(gap) / height.pow(gap - 1);
        }
    }
    let Some(constant) = b.first() else { return Err(primitive_part(a)) };
    // inverse·(g/common) ≡ constant; common factors of both sides are of no use.
    let norm = constant * common;
    let factor = IBig::from(Gcd::gcd(&content(&t), &norm));
    Ok(OrderDivisor { inverse: t.iter().map(|c| c / &factor).collect(), norm: norm / factor })
}

impl Domain for Order {
    type Elem = Vec<IBig>;
    type Divisor = OrderDivisor;

    fn integer(&self, value: &IBig) -> Vec<IBig> {
        trim(vec![value.clone()])
    }

    fn add(&self, a: &Vec<IBig>, b: &Vec<IBig>) -> Vec<IBig> {
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let mut sum = long.clone();
        for (x, y) in sum.iter_mut().zip(short) {
            *x += y;
        }
        trim(sum)
    }

    fn neg(&self, a: &Vec<IBig>) -> Vec<IBig> {
        a.iter().map(|c| -c).collect()
    }

    fn mul(&self, a: &Vec<IBig>, b: &Vec<IBig>) -> Vec<IBig> {
        self.reduce(product(a, b))
    }

    fn sign(&self, a: &Vec<IBig>) -> i32 {
        for level in 0.. {
            let Enclosure { lo, hi, .. } = self.enclosure(a, level);
            if sign(&lo) == sign(&hi) && (sign(&lo) != 0 || lo == hi) {
                return sign(&lo);
            }
            if level == ZERO_TEST_LEVEL && self.vanishes(a) {
                return 0;
            }
        }
        0
    }

    fn divisor(&self, a: &Vec<IBig>) -> OrderDivisor {
        self.inverse(a)
    }

    fn divide(&self, a: &Vec<IBig>, b: &OrderDivisor) -> Vec<IBig> {
        let mut quotient = self.times_inverse(a, b);
        if !b.norm.is_one() {
            quotient.iter_mut().for_each(|c| *c = &*c / &b.norm);
        }
        quotient
    }

    fn approximate(&self, a: &Vec<IBig>) -> Float {
        for level in 0.. {
            let Enclosure { lo, hi, scale } = self.enclosure(a, level);
            let (sum, width) = (&lo + &hi, hi - lo);
            // 54 digits agree.
            if width.is_zero() || (width << 55) < sum.clone().abs() {
                return Float::new(&sum, -scale - 1);
            }
            if level == ZERO_TEST_LEVEL && self.sign(a) == 0 {
                break;
            }
        }
        Float::ZERO
    }

    fn rounded_quotient(&self, a: &Vec<IBig>, b: &Vec<IBig>, shift: i64) -> IBig {
        for level in 0.. {
            let (above, below) = (self.enclosure(a, level), self.enclosure(b, level));
            if sign(&below.lo) != sign(&below.hi) || below.lo.is_zero() {
                continue;
            }
            let shift = shift + below.scale - above.scale;
            let quotients = [&above.lo, &above.hi]
                .into_iter()
                .flat_map(|n| [&below.lo, &below.hi].map(|d| rounded_quotient(n, d, shift)));
            let (least, most) = quotients.fold((None, None), |(least, most): (Option<IBig>, Option<IBig>), q| {
                (Some(least.map_or(q.clone(), |l| l.min(q.clone()))), Some(most.map_or(q.clone(), |m| m.max(q))))
            });
            if let (Some(least), Some(most)) = (least, most)
                && &most - &least <= IBig::ONE
            {
                return least;
            }
        }
        IBig::ZERO
    }

    fn strip_content(&self, row: &mut [Vec<IBig>]) -> UBig {
        let all: Vec<IBig> = row.iter().flatten().cloned().collect();
        let common = content(&all);
        if !common.is_one() {
            let divisor = IBig::from(common.clone());
            row.iter_mut().flatten().for_each(|c| *c = &*c / &divisor);
        }
        common
    }

    fn combination(&self, row: &[Vec<IBig>], weights: &[IBig]) -> Vec<IBig> {
        let mut sum = vec![IBig::ZERO; row.iter().map(Vec::len).max().unwrap_or(0)];
        for (element, weight) in row.iter().zip(weights).filter(|(_, weight)| !weight.is_zero()) {
            for (target, c) in sum.iter_mut().zip(element) {
                *target += c * weight;
            }
        }
        trim(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn poly(coeffs: &[i64]) -> Vec<IBig> {
        trim(coeffs.iter().map(|&c| c.into()).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn inverses_modulo_a_monic_polynomial_are_inverses(
            h in prop::collection::vec(-9i64..10, 1..6), g in prop::collection::vec(any::<i64>(), 1..6), gap in 0usize..3,
        ) {
            let mut h = poly(&[h, vec![0; gap], vec![1]].concat());
            let mut g = poly(&g);
            prop_assume!(!g.is_empty() && degree(&h) > 0);
            g.truncate(degree(&h));
            g = trim(g);
            prop_assume!(!g.is_empty());
            match inverse_modulo(&h, &g) {
                Ok(OrderDivisor { inverse, norm }) => {
                    prop_assert!(!norm.is_zero());
                    let rest = difference(&product(&inverse, &g), &[norm]);
                    let (_, remainder, _) = if rest.len() < h.len() { (vec![], rest, IBig::ONE) } else { pseudo_division(&rest, &h) };
                    prop_assert!(remainder.is_empty());
                    prop_assert_eq!(degree(&modular::gcd(&h, &g)), 0);
                }
                Err(common) => prop_assert_eq!(common, modular::gcd(&h, &g)),
            }
            // With a planted factor there is no inverse.
            h = product(&h, &poly(&[5, 1]));
            g = product(&g, &poly(&[5, 1]));
            prop_assert!(inverse_modulo(&h, &g).is_err());
        }
    }
}
