//! Real roots: counting (Sturm 1829), isolation by bisection with Descartes' rule of signs (Collins, Akritas 1976), and
//! refinement that doubles the number of digits per step (Abbott 2014, quadratic interval refinement).

use super::domain::sign;
use super::integer_poly::{
    degree, derivative, dyadic_value, homogeneous_value, primitive_part, pseudo_division, shifted_argument,
    sign_changes,
};
use super::poly::Polynomial;
use super::rational::{Rational, simplest_between};
use dashu::base::{Abs, BitTest};
use dashu::integer::{IBig, UBig};

/// Where the only root of a polynomial in some open interval lies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Root {
    /// At numerator·2^-bits.
    Dyadic { numerator: IBig, bits: i64 },
    /// Strictly between floor·2^-bits and (floor + 1)·2^-bits, which are no roots.
    Cell { floor: IBig, bits: i64 },
}

/// numerator·2^-bits.
pub(crate) fn dyadic(numerator: &IBig, bits: i64) -> Rational {
    if bits >= 0 {
        Rational::from_parts(numerator.clone(), UBig::ONE << bits as usize)
    } else {
        Rational::from(numerator << bits.unsigned_abs() as usize)
    }
}

/// ⌊x·2^bits⌋.
fn floor_at(x: &Rational, bits: i64) -> IBig {
    (x * dyadic(&IBig::ONE, -bits)).floor()
}

impl Root {
    /// Finds the only root of f in (lo, hi); it is simple, and lo and hi are no roots.
    pub fn locate(f: &[IBig], lo: &Rational, hi: &Rational) -> Self {
        let sign_lo = sign(&homogeneous_value(f, lo.numerator(), &IBig::from(lo.denominator().clone())));
        // At first about four grid points lie between lo and hi. The root has one on either side when the grid is fine enough.
        let width = hi - lo;
        let mut bits = width.denominator().bit_len() as i64 - width.numerator().bit_len() as i64 + 2;
        let mut step = 1;
        loop {
            let mut low = floor_at(lo, bits) + IBig::ONE;
            let mut high = -floor_at(&-hi.clone(), bits) - IBig::ONE;
            let side = |point: &IBig| sign(&dyadic_value(f, point, bits)) * sign_lo;
            let (at_low, at_high) = (side(&low), side(&high));
            for (point, side) in [(&low, at_low), (&high, at_high)] {
                if side == 0 && low <= high {
                    return Self::Dyadic { numerator: point.clone(), bits };
                }
            }
            if low < high && at_low > 0 && at_high < 0 {
                while &high - &low > IBig::ONE {
                    let middle = (&low + &high) >> 1;
                    match side(&middle) {
                        0 => return Self::Dyadic { numerator: middle, bits },
                        1 => low = middle,
                        _ => high = middle,
                    }
                }
                return Self::Cell { floor: low, bits };
            }
            bits += step;
            step *= 2;
        }
    }

    /// Narrows the cell to a width of at most 2^-target.
    pub fn refine(&mut self, f: &[IBig], target: i64) {
        let mut jump = 2;
        while let Self::Cell { floor, bits } = self {
            if *bits >= target {
                return;
            }
            let jumped = jump.min(target - *bits).max(1);
            match subdivide(f, floor, *bits, jumped) {
                Some(root) => {
                    *self = root;
                    jump = jumped * 2;
                }
                None => {
                    // A jump of one bit always succeeds.
                    jump = (jumped / 2).max(1);
                }
            }
        }
    }

    /// Rational bounds lo < root < hi, or lo = root = hi.
    pub fn bounds(&self) -> (Rational, Rational) {
        match self {
            Self::Dyadic { numerator, bits } => (dyadic(numerator, *bits), dyadic(numerator, *bits)),
            Self::Cell { floor, bits } => (dyadic(floor, *bits), dyadic(&(floor + IBig::ONE), *bits)),
        }
    }
}

/// Splits a cell into 2^jump parts and looks for the root next to where a straight line through the end points has its own.
fn subdivide(f: &[IBig], floor: &IBig, bits: i64, jump: i64) -> Option<Root> {
    let fine = bits + jump;
    let left = floor << jump as usize;
    let parts = IBig::ONE << jump as usize;
    let (at_left, at_right) = (dyadic_value(f, floor, bits), dyadic_value(f, &(floor + IBig::ONE), bits));
    let sign_left = sign(&at_left);
    let side = |offset: &IBig| sign(&dyadic_value(f, &(&left + offset), fine)) * sign_left;
    let guess = if jump == 1 {
        IBig::ONE
    } else {
        // Both values are of opposite sign, so the quotient lies strictly between 0 and the number of parts.
        let span = (&at_left - &at_right).abs();
        let estimate = ((at_left.abs() << (jump as usize + 1)) / span + IBig::ONE) >> 1;
        estimate.clamp(IBig::ONE, &parts - IBig::ONE)
    };
    let exact = |offset: &IBig| Some(Root::Dyadic { numerator: &left + offset, bits: fine });
    let cell = |offset: IBig| Some(Root::Cell { floor: &left + offset, bits: fine });
    match side(&guess) {
        0 => exact(&guess),
        1 => {
            let next = &guess + IBig::ONE;
            let at_next = if next == parts { -1 } else { side(&next) };
            match at_next {
                0 => exact(&next),
                1 => None,
                _ => cell(guess),
            }
        }
        _ => {
            let before = &guess - IBig::ONE;
            let at_before = if before.is_zero() { 1 } else { side(&before) };
            match at_before {
                0 => exact(&before),
                1 => cell(before),
                _ => None,
            }
        }
    }
}

/// The number of distinct real roots in (lo, hi); lo < hi are no roots. Sturm's theorem.
pub fn sturm_count(f: &Polynomial, lo: &Rational, hi: &Rational) -> usize {
    let mut chain = vec![f.primitive_integers().to_vec()];
    let mut next = primitive_with_sign(derivative(&chain[0]));
    while !next.is_empty() {
        let last = &chain[chain.len() - 1];
        let (_, mut remainder, scale) = pseudo_division(last, &next);
        if sign(&scale) > 0 {
            remainder.iter_mut().for_each(|c| *c = -&*c);
        }
        chain.push(std::mem::replace(&mut next, primitive_with_sign(remainder)));
    }
    let changes = |x: &Rational| {
        let denominator = IBig::from(x.denominator().clone());
        sign_changes(chain.iter().map(|g| sign(&homogeneous_value(g, x.numerator(), &denominator))))
    };
    changes(lo) - changes(hi)
}

/// The primitive part with the sign of the polynomial kept.
fn primitive_with_sign(f: Vec<IBig>) -> Vec<IBig> {
    let negative = f.last().is_some_and(|c| sign(c) < 0);
    let mut part = primitive_part(f);
    if negative {
        part.iter_mut().for_each(|c| *c = -&*c);
    }
    part
}

/// A root of a squarefree polynomial among its roots in (0, 1).
#[derive(Debug, Clone, PartialEq)]
enum Found {
    /// The number numerator/2^bits.
    Point { numerator: IBig, bits: usize },
    /// The only root between numerator/2^bits and (numerator + 1)/2^bits, which are no roots.
    Between { numerator: IBig, bits: usize },
}

/// Descartes' bound for the number of roots in (0, 1): exact when it is 0 or 1.
fn descartes_bound(f: &[IBig]) -> usize {
    let reversed: Vec<IBig> = f.iter().rev().cloned().collect();
    sign_changes(shifted_argument(&reversed, &IBig::ONE).iter().map(sign))
}

/// The roots of a squarefree polynomial in (0, 1), in increasing order.
fn roots_in_unit_interval(f: Vec<IBig>) -> Vec<Found> {
    enum Task {
        Search(Vec<IBig>, IBig, usize),
        Report(Found),
    }
    let mut found = Vec::new();
    let mut tasks = vec![Task::Search(f, IBig::ZERO, 0)];
    while let Some(task) = tasks.pop() {
        let (f, numerator, bits) = match task {
            Task::Report(root) => {
                found.push(root);
                continue;
            }
            Task::Search(f, numerator, bits) => (f, numerator, bits),
        };
        let bound = descartes_bound(&f);
        if bound == 0 {
            continue;
        }
        let root_at_end = f[0].is_zero() || f.iter().sum::<IBig>().is_zero();
        if bound == 1 && !root_at_end {
            found.push(Found::Between { numerator, bits });
            continue;
        }
        let n = degree(&f);
        let left: Vec<IBig> = f.iter().enumerate().map(|(i, c)| c << (n - i)).collect();
        let right = shifted_argument(&left, &IBig::ONE);
        let middle = (&numerator << 1) + IBig::ONE;
        let root_at_middle = right[0].is_zero();
        tasks.push(Task::Search(right, middle.clone(), bits + 1));
        if root_at_middle {
            tasks.push(Task::Report(Found::Point { numerator: middle, bits: bits + 1 }));
        }
        tasks.push(Task::Search(left, numerator << 1, bits + 1));
    }
    found
}

/// A polynomial with integer coefficients that has at x ∈ [0, 1] the sign of f(lo + (hi − lo)·x).
fn stretched(f: &[IBig], lo: &Rational, hi: &Rational) -> Vec<IBig> {
    // With lo = a/c and hi = b/c: c^n f((a + (b − a)x)/c).
    let c = IBig::from(lo.denominator() * hi.denominator());
    let a = lo.numerator() * hi.denominator();
    let width = hi.numerator() * lo.denominator() - &a;
    let mut power = IBig::ONE;
    let mut scaled = f.to_vec();
    for coefficient in scaled.iter_mut().rev() {
        *coefficient *= &power;
        power *= &c;
    }
    let mut result = shifted_argument(&scaled, &a);
    let mut power = IBig::ONE;
    for coefficient in &mut result {
        *coefficient *= &power;
        power *= &width;
    }
    primitive_part(result)
}

/// The number of distinct real roots in (lo, hi), for lo < hi. Descartes' rule: faster than [`sturm_count`] for large polynomials.
pub fn roots_between(f: &Polynomial, lo: &Rational, hi: &Rational) -> usize {
    if f.degree() == 0 {
        return 0;
    }
    let f = f.squarefree_part();
    roots_in_unit_interval(stretched(f.primitive_integers(), lo, hi)).len()
}

/// Disjoint open intervals (lo, hi), increasing, that contain one real root each and together all; no end point is a root.
/// None for constants. The end points are as short as the distances of the roots allow; neighbours may share one.
pub fn isolate_real_roots(f: &Polynomial) -> Vec<(Rational, Rational)> {
    if f.degree() == 0 {
        return Vec::new();
    }
    let f = f.squarefree_part();
    let f = f.primitive_integers();
    // Cauchy: |root| ≤ 1 + max |f_i/lc|, less than this power of two.
    let lead = f[f.len() - 1].bit_len();
    let exponent = 2 + f.iter().map(|c| (c.bit_len() + 1).saturating_sub(lead)).max().unwrap_or(0);
    let bound = dyadic(&IBig::ONE, -(exponent as i64));
    let found = roots_in_unit_interval(stretched(f, &-bound.clone(), &bound));
    // Back from (0, 1): x ↦ −bound + 2·bound·x.
    let place = |numerator: &IBig, bits: usize| dyadic(numerator, bits as i64 - exponent as i64 - 1) - &bound;
    let extents: Vec<(Rational, Rational)> = found
        .iter()
        .map(|root| match root {
            Found::Point { numerator, bits } => (place(numerator, *bits), place(numerator, *bits)),
            Found::Between { numerator, bits } => (place(numerator, *bits), place(&(numerator + IBig::ONE), *bits)),
        })
        .collect();
    // A root known exactly gets an interval within the gaps beside it, where there is no other root.
    let gap = |k: usize| {
        let before = if k == 0 { None } else { Some(&extents[k].0 - &extents[k - 1].1) };
        let after = extents.get(k + 1).map(|next| &next.0 - &extents[k].1);
        before.into_iter().chain(after).min().unwrap_or(Rational::from(3))
    };
    let tight: Vec<(Rational, Rational)> = (0..extents.len())
        .map(|k| match &found[k] {
            Found::Between { .. } => extents[k].clone(),
            Found::Point { .. } => {
                let third = gap(k) / Rational::from(3);
                (&extents[k].0 - &third, &extents[k].0 + &third)
            }
        })
        .collect();
    let (Some(first), Some(last)) = (tight.first(), tight.last()) else { return Vec::new() };
    let mut ends = vec![Rational::from(first.0.floor())];
    ends.extend(tight.windows(2).map(|pair| simplest_between(&pair[0].1, &pair[1].0)));
    ends.push(Rational::from(last.1.ceil()));
    ends.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// A part of the isolating interval (lo, hi) of a simple root that is at most `width` > 0 wide; its end points are no roots.
pub fn refine_root(f: &Polynomial, (lo, hi): &(Rational, Rational), width: &Rational) -> (Rational, Rational) {
    let f = f.primitive_integers();
    let mut root = Root::locate(f, lo, hi);
    let target = width.denominator().bit_len() as i64 - width.numerator().bit_len() as i64 + 1;
    root.refine(f, target);
    let (a, b) = root.bounds();
    if a < b {
        return (a, b);
    }
    let radius = (width / Rational::from(2)).min(&a - lo).min(hi - &a);
    (&a - &radius, a + radius)
}

#[cfg(test)]
#[path = "roots_tests.rs"]
mod tests;
