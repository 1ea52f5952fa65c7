//! Sums of algebraic numbers: a polynomial and an isolating interval, by Newton's identities for power sums.

use super::domain::common_multiple;
use super::integer_poly::degree;
use super::poly::Polynomial;
use super::rational::{Rational, simplest_between};
use super::roots::{Root, roots_between};
use dashu::base::{Abs, Gcd};
use dashu::integer::{IBig, UBig};

/// The largest degree of the polynomial of a sum, as in the certificate format.
pub const MAX_DEGREE: usize = 64;

/// A small d > 0 such that d·α is an algebraic integer for every root α of f; f is not constant.
pub(crate) fn integral_multiplier(f: &[IBig]) -> UBig {
    let n = degree(f);
    let lead: UBig = f[n].clone().abs().try_into().unwrap_or(UBig::ONE);
    // d^i f_(n−i)/lc must be integers for all i.
    let mut multiplier = UBig::ONE;
    for i in 1..=n {
        let product = &f[n - i] * multiplier.pow(i);
        multiplier *= &lead / Gcd::gcd(&lead, &product);
    }
    multiplier
}

/// The monic polynomial of the numbers d·α for the roots α of f, for a multiple d of its integral multiplier.
pub(crate) fn monic_multiple(f: &[IBig], d: &UBig) -> Vec<IBig> {
    let n = degree(f);
    f.iter().enumerate().map(|(i, c)| c * d.pow(n - i) / &f[n]).collect()
}

/// The sums of the k-th powers of the roots of a monic polynomial for k = 0, .., count.
fn power_sums(h: &[IBig], count: usize) -> Vec<IBig> {
    let n = degree(h);
    let mut sums = vec![IBig::from(n)];
    for k in 1..=count {
        let known: IBig = (1..k.min(n + 1)).map(|i| &h[n - i] * &sums[k - i]).sum();
        let last = if k <= n { &h[n - k] * IBig::from(k) } else { IBig::ZERO };
        sums.push(-known - last);
    }
    sums
}

/// The monic polynomial of degree n with given power sums of its roots.
fn from_power_sums(sums: &[IBig], n: usize) -> Vec<IBig> {
    let mut h = vec![IBig::ZERO; n + 1];
    h[n] = IBig::ONE;
    for k in 1..=n {
        let total: IBig = (1..=k).map(|i| &sums[i] * &h[n - k + i]).sum();
        h[n - k] = -total / IBig::from(k);
    }
    h
}

/// The monic polynomial whose roots are all sums of a root of g and a root of h, with multiplicity.
fn sum_polynomial(g: &[IBig], h: &[IBig]) -> Vec<IBig> {
    let n = degree(g) * degree(h);
    let (p, q) = (power_sums(g, n), power_sums(h, n));
    let mut binomials = vec![IBig::ONE];
    let mut sums = Vec::with_capacity(n + 1);
    for k in 0..=n {
        sums.push((0..=k).map(|j| &binomials[j] * &p[j] * &q[k - j]).sum());
        let next = (0..k).map(|j| &binomials[j] + &binomials[j + 1]);
        binomials = std::iter::once(IBig::ONE).chain(next).chain([IBig::ONE]).collect();
    }
    from_power_sums(&sums, n)
}

/// A squarefree polynomial and an isolating interval of offset + Σ α_k, where α_k is the only root of the k-th polynomial in its
/// interval (lo, hi), simple, with end points that are no roots. The polynomial is integer, primitive and leads positively.
///
/// `None` when the product of the degrees exceeds [`MAX_DEGREE`].
pub fn sum_of_roots(
    roots: &[(Polynomial, (Rational, Rational))],
    offset: &Rational,
) -> Option<(Polynomial, (Rational, Rational))> {
    let degree = roots.iter().try_fold(1usize, |product, (f, _)| product.checked_mul(f.degree()))?;
    if degree > MAX_DEGREE {
        return None;
    }
    let multipliers: Vec<UBig> = roots.iter().map(|(f, _)| integral_multiplier(f.primitive_integers())).collect();
    let d = common_multiple(multipliers.iter());
    let sum = roots
        .iter()
        .map(|(f, _)| monic_multiple(f.primitive_integers(), &d))
        .reduce(|g, h| sum_polynomial(&g, &h))
        .unwrap_or_else(|| vec![IBig::ZERO, IBig::ONE]);
    // Its roots are d·Σα_k; at t = offset + Σα_k this is d(t − offset).
    let d = Rational::from(d);
    let f = Polynomial::from_integers(sum).compose_linear(&-(&d * offset), &d).squarefree_part();
    let mut located: Vec<(&[IBig], Root)> = roots
        .iter()
        .map(|(f, (lo, hi))| {
            let f = f.primitive_integers();
            (f, Root::locate(f, lo, hi))
        })
        .collect();
    let mut bits = 4;
    loop {
        // The sum lies in [lo, hi]; the interval is widened so that its end points differ from it.
        let mut lo = offset - Rational::from_parts(IBig::ONE, UBig::ONE << bits);
        let mut hi = offset + Rational::from_parts(IBig::ONE, UBig::ONE << bits);
        for (f, root) in &mut located {
            root.refine(f, bits as i64);
            let (a, b) = root.bounds();
            lo += a;
            hi += b;
        }
        if f.sign_at(&lo) * f.sign_at(&hi) < 0 && roots_between(&f, &lo, &hi) == 1 {
            return Some((f.clone(), shortened(&f, &lo, &hi)));
        }
        bits *= 2;
    }
}

/// An isolating interval inside (lo, hi) with short end points.
fn shortened(f: &Polynomial, lo: &Rational, hi: &Rational) -> (Rational, Rational) {
    let integers = f.primitive_integers();
    let mut root = Root::locate(integers, lo, hi);
    if let Root::Cell { bits, .. } = root {
        root.refine(integers, bits + 4);
    }
    let (a, b) = root.bounds();
    if a < b {
        return (simplest_between(lo, &a), simplest_between(&b, hi));
    }
    let two = Rational::from(2);
    (simplest_between(lo, &((lo + &a) / &two)), simplest_between(&((&a + hi) / two), hi))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rational::{parse, to_f64};
    use crate::exact::roots::{isolate_real_roots, refine_root, sturm_count};
    use proptest::prelude::*;

    fn q(text: &str) -> Rational {
        parse(text).unwrap()
    }

    fn integers(coeffs: &[i64]) -> Polynomial {
        Polynomial::from_integers(coeffs.iter().map(|&c| c.into()).collect())
    }

    #[test]
    fn the_sum_of_two_square_roots_has_the_textbook_polynomial() {
        let two = (integers(&[-2, 0, 1]), (q("1"), q("2")));
        let three = (integers(&[-3, 0, 1]), (q("1"), q("2")));
        let (f, (lo, hi)) = sum_of_roots(&[two.clone(), three.clone()], &Rational::ZERO).unwrap();
        assert_eq!(f, integers(&[1, 0, -10, 0, 1]));
        assert!(to_f64(&lo) < 2f64.sqrt() + 3f64.sqrt() && 2f64.sqrt() + 3f64.sqrt() < to_f64(&hi));
        assert_eq!(sturm_count(&f, &lo, &hi), 1);
        // √2 + √2 = √8, √2 + (−√2) = 0: repeated sums are made simple.
        let (f, _) = sum_of_roots(&[two.clone(), two.clone()], &Rational::ZERO).unwrap();
        assert_eq!(f, integers(&[0, -8, 0, 1]));
        let minus = (integers(&[-2, 0, 1]), (q("-2"), q("-1")));
        let (_, (lo, hi)) = sum_of_roots(&[two, minus], &Rational::ZERO).unwrap();
        assert!(lo < Rational::ZERO && Rational::ZERO < hi);
    }

    #[test]
    fn no_root_gives_the_rational_and_too_many_give_none() {
        let (f, (lo, hi)) = sum_of_roots(&[], &q("-7/3")).unwrap();
        assert_eq!(f, integers(&[7, 3]));
        assert!(lo < q("-7/3") && q("-7/3") < hi);
        let fifth = (integers(&[-2, 0, 0, 0, 0, 1]), (q("1"), q("2")));
        assert!(sum_of_roots(&[fifth.clone(), fifth.clone()], &Rational::ZERO).is_some());
        assert!(sum_of_roots(&[fifth.clone(), fifth.clone(), fifth], &Rational::ZERO).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn the_interval_of_a_sum_contains_the_sum(
            a in prop::collection::vec(-9i64..10, 2..5), b in prop::collection::vec(-9i64..10, 2..5), c in -9i64..10,
        ) {
            let (f, g) = (integers(&a).squarefree_part(), integers(&b).squarefree_part());
            let offset = Rational::from_parts(c.into(), 7u8.into());
            for i in isolate_real_roots(&f) {
                for j in isolate_real_roots(&g) {
                    let parts = [(f.clone(), i.clone()), (g.clone(), j.clone())];
                    let (h, interval) = sum_of_roots(&parts, &offset).unwrap();
                    prop_assert!(h.is_squarefree());
                    prop_assert_eq!(sturm_count(&h, &interval.0, &interval.1), 1);
                    // The root of h and the sum of the roots agree far beyond the distance of h's roots.
                    let width = q("1e-60");
                    let (x, y, z) = (refine_root(&f, &i, &width), refine_root(&g, &j, &width), refine_root(&h, &interval, &width));
                    prop_assert!(&x.0 + &y.0 + &offset < z.1 && z.0 < &x.1 + &y.1 + &offset);
                }
            }
        }

        #[test]
        fn multiples_of_roots_are_integral(coeffs in prop::collection::vec(-99i64..99, 1..6), lead in 1i64..500) {
            let f = integers(&[coeffs, vec![lead]].concat());
            let d = integral_multiplier(f.primitive_integers());
            let h = monic_multiple(f.primitive_integers(), &d);
            // h(dt) is a multiple of f, so no coefficient was truncated; and h is monic.
            let back = Polynomial::from_integers(h.clone()).compose_linear(&Rational::ZERO, &Rational::from(d));
            prop_assert_eq!(back.primitive_integers(), f.primitive_integers());
            prop_assert!(h[h.len() - 1].is_one());
        }
    }
}
