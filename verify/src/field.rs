//! Exact signs in Q(α), α the one root of a squarefree integer polynomial in an interval (FORMAT.md §3).

use crate::Refusal;
use crate::format::{Field, Number, Rat};
use crate::number::{Num, Work, trim, words};
use dashu::base::{Abs, BitTest, Signed};
use dashu::integer::IBig;
use std::cell::RefCell;
use std::ops::Deref;

/// Greatest degree of a field.
const MAX_DEGREE: usize = 64;

/// The numbers of one context: rationals, or the elements of the field that it declares.
pub(crate) struct Numbers<'w> {
    work: &'w Work,
    root: Option<(Vec<IBig>, RefCell<Isolation>)>,
}

impl Deref for Numbers<'_> {
    type Target = Work;

    fn deref(&self) -> &Work {
        self.work
    }
}

/// A written number.
pub(crate) trait Written {
    fn number(&self, k: &Numbers) -> Result<Num, Refusal>;
}

impl Written for Rat {
    fn number(&self, _: &Numbers) -> Result<Num, Refusal> {
        Ok(Num::from(self))
    }
}

impl Written for Number {
    fn number(&self, k: &Numbers) -> Result<Num, Refusal> {
        let (coefficients, root) = match (self, &k.root) {
            (Number::Rational(rational), _) => return Ok(Num::from(rational)),
            (Number::Element(coefficients), Some((poly, _))) => (coefficients, poly),
            (Number::Element(_), None) => return Err(Refusal::format("an array is a number only in a field")),
        };
        if coefficients.is_empty() || coefficients.len() >= root.len() {
            return Err(Refusal::format(format!("expected 1 to {} coefficients", root.len() - 1)));
        }
        k.polynomial(coefficients)
    }
}

impl<'w> Numbers<'w> {
    pub(crate) fn work(&self) -> &'w Work {
        self.work
    }

    pub(crate) fn rational(work: &'w Work) -> Self {
        Self { work, root: None }
    }

    /// Checks the declaration of a field.
    pub(crate) fn new(work: &'w Work, field: Option<&Field>) -> Result<Self, Refusal> {
        let root = field.map(|field| isolate(work, field).map_err(|refusal| refusal.within("field"))).transpose()?;
        Ok(Self { work, root })
    }

    /// A vector of the given length.
    pub(crate) fn vector(&self, written: &[impl Written], length: usize) -> Result<Vec<Num>, Refusal> {
        if written.len() != length {
            return Err(Refusal::format(format!("expected {length} numbers, found {}", written.len())));
        }
        written.iter().map(|number| number.number(self)).collect()
    }

    /// Vectors of one length.
    pub(crate) fn vectors(&self, written: &[Vec<impl Written>], length: usize) -> Result<Vec<Vec<Num>>, Refusal> {
        let vector = |(at, vector): (usize, &Vec<_>)| {
            self.vector(vector, length).map_err(|refusal| refusal.within(format!("[{at}]")))
        };
        written.iter().enumerate().map(vector).collect()
    }

    /// −1, 0 or 1.
    pub(crate) fn sign(&self, g: &Num) -> Result<i8, Refusal> {
        if let Some(sign) = g.rational_sign() {
            return Ok(sign);
        }
        // enough to tell most numbers of moderate size from 0 although their coefficients cancel
        let longest = g.c.iter().map(BitTest::bit_len).max().unwrap_or(0);
        let mut bits = 64 + longest.saturating_sub(g.den.bit_len());
        let mut may_vanish = true;
        loop {
            let enclosure = self.enclose(g, bits)?;
            if enclosure.radius == IBig::ZERO || (&enclosure.middle).abs() > enclosure.radius {
                return Ok(sign(&enclosure.middle));
            }
            if may_vanish && self.vanishes(g)? {
                return Ok(0);
            }
            may_vanish = false;
            bits *= 2;
        }
    }

    /// The sign of a − b.
    pub(crate) fn compare(&self, a: &Num, b: &Num) -> Result<i8, Refusal> {
        self.sign(&self.difference(a, b)?)
    }

    pub(crate) fn is_zero(&self, g: &Num) -> Result<bool, Refusal> {
        Ok(self.sign(g)? == 0)
    }

    pub(crate) fn equal(&self, a: &Num, b: &Num) -> Result<bool, Refusal> {
        Ok(self.compare(a, b)? == 0)
    }

    /// Whether gcd(f, g) has a root in the isolating interval: its roots there are simple, so that its sign changes.
    fn vanishes(&self, g: &Num) -> Result<bool, Refusal> {
        let Some((poly, isolation)) = &self.root else {
            return Ok(g.c.is_empty());
        };
        let chain = remainders(self, &g.c, poly)?;
        let Some(gcd) = chain.last() else {
            return Ok(false);
        };
        let at = isolation.borrow();
        Ok(sign_at(self, gcd, &at.lo, &at.den)? * sign_at(self, gcd, &at.hi, &at.den)? < 0)
    }

    /// g(α) from an interval for α of width at most 2^-bits: the value at its middle, and a bound on |g′| times its radius.
    pub(crate) fn enclose(&self, g: &Num, bits: usize) -> Result<Enclosure, Refusal> {
        let (lo, hi, den) = match &self.root {
            Some((poly, isolation)) => {
                let mut isolation = isolation.borrow_mut();
                isolation.refine(self, poly, bits)?;
                (isolation.lo.clone(), isolation.hi.clone(), isolation.den.clone())
            }
            None => (IBig::ZERO, IBig::ZERO, IBig::ONE),
        };
        // α = (m ± r)/s, |α| ≤ t/s; both sums are homogenised with s^deg g
        let (m, r, s) = (&lo + &hi, &hi - &lo, &den * IBig::from(2));
        let t = (&m).abs() + &r;
        let slopes: Vec<IBig> = g.c.iter().enumerate().skip(1).map(|(k, c)| c.abs() * IBig::from(k)).collect();
        let mut scale = IBig::ONE;
        for _ in 1..g.c.len() {
            scale = self.mul(&scale, &s)?;
        }
        Ok(Enclosure {
            middle: homogeneous(self, &g.c, &m, &s)?,
            radius: self.mul(&homogeneous(self, &slopes, &t, &s)?, &r)?,
            den: self.mul(&scale, &g.den)?,
        })
    }

    /// The floor and the ceiling of 2^bits times a number, wider by what its enclosure lacks.
    pub(crate) fn rounded(&self, g: &Num, bits: usize) -> Result<(IBig, IBig), Refusal> {
        let Enclosure { middle, radius, den } = self.enclose(g, bits)?;
        let (floor, below) = self.divide_with_rest(&((&middle - &radius) << bits), &den)?;
        let (ceiling, above) = self.divide_with_rest(&((middle + radius) << bits), &den)?;
        Ok((floor - IBig::from(below.is_negative()), ceiling + IBig::from(above.is_positive())))
    }
}

/// [middle − radius, middle + radius] / den, den > 0.
pub(crate) struct Enclosure {
    pub(crate) middle: IBig,
    pub(crate) radius: IBig,
    pub(crate) den: IBig,
}

/// α ∈ (lo, hi)/den, or α = lo/den = hi/den.
#[derive(Debug)]
struct Isolation {
    lo: IBig,
    hi: IBig,
    den: IBig,
    sign_lo: i8,
    /// The next step looks for α in one of 2^`split` equal parts.
    split: usize,
}

impl Isolation {
    /// Quadratic interval refinement (Abbott 2014): guess the part that holds α by a secant, verify by signs; then square
    /// the number of parts, or else take its root. With two parts this is bisection.
    fn refine(&mut self, work: &Work, f: &[IBig], bits: usize) -> Result<(), Refusal> {
        while (&self.hi - &self.lo) << bits > self.den {
            let width = &self.hi - &self.lo;
            let ends =
                [homogeneous(work, f, &self.lo, &self.den)?.abs(), homogeneous(work, f, &self.hi, &self.den)?.abs()];
            work.spend(words(&ends[0]).saturating_mul(words(&ends[1])))?;
            let last = (IBig::ONE << self.split) - IBig::ONE;
            let guess = ((&ends[0] << self.split) / (&ends[0] + &ends[1])).min(last);
            let base = &self.lo << self.split;
            let den = &self.den << self.split;
            let (lo, hi) = (&base + &width * &guess, &base + &width * (guess + IBig::ONE));
            let (at_lo, at_hi) = (sign_at(work, f, &lo, &den)?, sign_at(work, f, &hi, &den)?);
            let whole_hi = &self.hi << self.split;
            let (lo, hi, found) = if at_lo == 0 {
                (lo.clone(), lo, true)
            } else if at_hi == 0 {
                (hi.clone(), hi, true)
            } else if at_lo != self.sign_lo {
                (base, lo, false)
            } else if at_hi == self.sign_lo {
                (hi, whole_hi, false)
            } else {
                (lo, hi, true)
            };
            self.split = if found { (2 * self.split).min(1024) } else { (self.split / 2).max(1) };
            (self.lo, self.hi, self.den) = (lo, hi, den);
        }
        Ok(())
    }
}

/// The conditions of FORMAT.md §3 on a field.
fn isolate(work: &Work, field: &Field) -> Result<(Vec<IBig>, RefCell<Isolation>), Refusal> {
    let Field { hi, lo, poly } = field;
    if !(2..=MAX_DEGREE + 1).contains(&poly.len()) || poly.last() == Some(&IBig::ZERO) {
        return Err(Refusal::format(format!("expected a polynomial of degree 1 to {MAX_DEGREE}")));
    }
    if lo >= hi {
        return Err(Refusal::condition("lo is not below hi"));
    }
    let (lo, hi) = (Num::from(lo), Num::from(hi));
    let common = work.gcd(&lo.den, &hi.den)?;
    let den = work.mul(&lo.den, &work.divide(&hi.den, &common)?)?;
    let over_den = |x: &Num| work.mul(x.c.first().unwrap_or(&IBig::ZERO), &work.divide(&den, &x.den)?);
    let (lo, hi) = (over_den(&lo)?, over_den(&hi)?);
    let derivative: Vec<IBig> = poly.iter().enumerate().skip(1).map(|(k, c)| c * IBig::from(k)).collect();
    let chain = remainders(work, poly, &derivative)?;
    if chain.last().is_none_or(|gcd| gcd.len() != 1) {
        return Err(Refusal::condition("the polynomial is not squarefree"));
    }
    let (sign_lo, sign_hi) = (sign_at(work, poly, &lo, &den)?, sign_at(work, poly, &hi, &den)?);
    if sign_lo == 0 || sign_hi == 0 {
        return Err(Refusal::condition("the polynomial vanishes at an end of the interval"));
    }
    let roots = variations(work, &chain, &lo, &den)?.checked_sub(variations(work, &chain, &hi, &den)?);
    if roots != Some(1) {
        return Err(Refusal::condition("the interval does not hold exactly one root"));
    }
    Ok((poly.clone(), RefCell::new(Isolation { lo, hi, den, sign_lo, split: 1 })))
}

/// Sign changes of a Sturm sequence at x/den.
fn variations(work: &Work, chain: &[Vec<IBig>], x: &IBig, den: &IBig) -> Result<usize, Refusal> {
    let signs: Vec<i8> = chain.iter().map(|f| sign_at(work, f, x, den)).collect::<Result<_, _>>()?;
    let signs: Vec<i8> = signs.into_iter().filter(|sign| *sign != 0).collect();
    Ok(signs.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

fn sign(x: &IBig) -> i8 {
    if *x == IBig::ZERO {
        0
    } else if x.is_positive() {
        1
    } else {
        -1
    }
}

/// den^deg f · f(x/den).
fn homogeneous(work: &Work, f: &[IBig], x: &IBig, den: &IBig) -> Result<IBig, Refusal> {
    let (mut value, mut power) = (IBig::ZERO, IBig::ONE);
    for c in f.iter().rev() {
        value = work.mul(&value, x)? + work.mul(c, &power)?;
        power = work.mul(&power, den)?;
    }
    Ok(value)
}

/// The sign of f(x/den), den > 0.
fn sign_at(work: &Work, f: &[IBig], x: &IBig, den: &IBig) -> Result<i8, Refusal> {
    homogeneous(work, f, x, den).map(|value| sign(&value))
}

/// The signed subresultant remainder sequence of two polynomials, down to the last that is not 0: a gcd. Each remainder
/// is a positive multiple of −(a mod b), so that of (f, f′) it is a Sturm sequence. (Cohen 1993, Alg. 3.3.1)
fn remainders(work: &Work, a: &[IBig], b: &[IBig]) -> Result<Vec<Vec<IBig>>, Refusal> {
    let (mut a, mut b) = (primitive(work, a)?, primitive(work, b)?);
    if a.len() < b.len() {
        std::mem::swap(&mut a, &mut b);
    }
    let mut chain = vec![a];
    let (mut g, mut h) = (IBig::ONE, IBig::ONE);
    while let Some(lead) = b.last().cloned() {
        let Some(a) = chain.last().filter(|_| b.len() > 1) else {
            chain.push(b);
            break;
        };
        let delta = a.len() - b.len();
        let mut remainder = pseudo_remainder(work, a, &b)?;
        let flip = !(lead.is_negative() && delta % 2 == 0);
        let divisor = work.mul(&g, &power(work, &h, delta)?)?;
        for c in &mut remainder {
            let quotient = work.divide(c, &divisor)?;
            *c = if flip { -quotient } else { quotient };
        }
        g = lead.abs();
        if delta > 0 {
            h = work.divide(&power(work, &g, delta)?, &power(work, &h, delta - 1)?)?;
        }
        chain.push(std::mem::replace(&mut b, remainder));
    }
    Ok(chain)
}

fn power(work: &Work, x: &IBig, exponent: usize) -> Result<IBig, Refusal> {
    (0..exponent).try_fold(IBig::ONE, |power, _| work.mul(&power, x))
}

/// f over the positive gcd of its coefficients, without leading zeros.
fn primitive(work: &Work, f: &[IBig]) -> Result<Vec<IBig>, Refusal> {
    let mut content = IBig::ZERO;
    for c in f {
        content = work.gcd(&content, c)?;
    }
    let mut f: Vec<IBig> = if content == IBig::ZERO {
        Vec::new()
    } else {
        f.iter().map(|c| work.divide(c, &content)).collect::<Result<_, _>>()?
    };
    trim(&mut f);
    Ok(f)
}

/// lc(b)^(deg a − deg b + 1) a mod b, for deg a ≥ deg b.
fn pseudo_remainder(work: &Work, a: &[IBig], b: &[IBig]) -> Result<Vec<IBig>, Refusal> {
    let (Some((lead, b_rest)), mut r) = (b.split_last(), a.to_vec()) else {
        return Ok(Vec::new());
    };
    for shift in (0..=a.len() - b.len()).rev() {
        let Some(top) = r.pop() else { break };
        for c in &mut r {
            *c = work.mul(c, lead)?;
        }
        for (c, d) in r.iter_mut().skip(shift).zip(b_rest) {
            *c -= work.mul(&top, d)?;
        }
    }
    trim(&mut r);
    Ok(r)
}
