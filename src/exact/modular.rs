//! Greatest common divisors of integer polynomials by arithmetic modulo primes (Brown 1971).
//!
//! A gcd modulo one prime already proves most pairs coprime, which is the common question; otherwise the images modulo
//! several primes are combined, and exact division decides whether the result is the gcd.

use super::domain::sign;
use super::integer_poly::{exact_quotient, primitive_part};
use dashu::base::{Abs, Gcd};
use dashu::integer::{IBig, UBig};

/// Primes start below this number, so that products of residues fit in 128 bits with room to spare.
const START: u64 = 1 << 62;

/// The primes below 2^62, in decreasing order.
fn primes() -> impl Iterator<Item = u64> {
    (1..START).map(|k| START - k).filter(|&n| is_prime(n))
}

fn times(a: u64, b: u64, p: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(p)) as u64
}

fn minus(a: u64, b: u64, p: u64) -> u64 {
    if a >= b { a - b } else { a + p - b }
}

fn power(mut base: u64, mut exponent: u64, p: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, base, p);
        }
        base = times(base, base, p);
        exponent >>= 1;
    }
    result
}

fn inverse(a: u64, p: u64) -> u64 {
    power(a, p - 2, p)
}

/// Miller and Rabin's test, with the first twelve primes as bases: exact below 3.3e24 (Sorenson, Webster 2015).
fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if let Some(divisor) = BASES.into_iter().find(|&b| n.is_multiple_of(b)) {
        return n == divisor;
    }
    if n < 2 {
        return false;
    }
    let twos = (n - 1).trailing_zeros();
    BASES.into_iter().all(|base| {
        let mut x = power(base, (n - 1) >> twos, n);
        if x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = times(x, x, n);
            x == n - 1
        })
    })
}

fn residue(value: &IBig, p: u64) -> u64 {
    let magnitude: UBig = value.clone().abs().try_into().unwrap_or(UBig::ZERO);
    let rest = &magnitude % p;
    if sign(value) < 0 && rest != 0 { p - rest } else { rest }
}

fn residues(f: &[IBig], p: u64) -> Vec<u64> {
    let mut image: Vec<u64> = f.iter().map(|c| residue(c, p)).collect();
    while image.last() == Some(&0) {
        image.pop();
    }
    image
}

/// The monic gcd of two polynomials modulo p, not both 0.
fn gcd_modulo(mut a: Vec<u64>, mut b: Vec<u64>, p: u64) -> Vec<u64> {
    while let Some(&lead) = b.last() {
        let scale = inverse(lead, p);
        b.iter_mut().for_each(|c| *c = times(*c, scale, p));
        while a.len() >= b.len() {
            let top = a.pop().unwrap_or(0);
            let start = a.len() + 1 - b.len();
            if top != 0 {
                for (target, &c) in a[start..].iter_mut().zip(&b) {
                    *target = minus(*target, times(top, c, p), p);
                }
            }
        }
        while a.last() == Some(&0) {
            a.pop();
        }
        std::mem::swap(&mut a, &mut b);
    }
    if let Some(&lead) = a.last() {
        let scale = inverse(lead, p);
        a.iter_mut().for_each(|c| *c = times(*c, scale, p));
    }
    a
}

/// The primitive greatest common divisor of two integer polynomials, with a positive leading coefficient.
pub(crate) fn gcd(f: &[IBig], g: &[IBig]) -> Vec<IBig> {
    let (f, g) = (primitive_part(f.to_vec()), primitive_part(g.to_vec()));
    let (Some(f_lead), Some(g_lead)) = (f.last(), g.last()) else { return if f.is_empty() { g } else { f } };
    let lead = IBig::from(Gcd::gcd(f_lead, g_lead));
    // The combined image: lead/lc(gcd) times the gcd, modulo `modulus`.
    let mut combined: Vec<IBig> = Vec::new();
    let mut modulus = IBig::ONE;
    for p in primes() {
        let (image_f, image_g) = (residues(&f, p), residues(&g, p));
        if image_f.len() < f.len() || image_g.len() < g.len() {
            continue;
        }
        let image = gcd_modulo(image_f, image_g, p);
        if image.len() == 1 {
            return vec![IBig::ONE];
        }
        // The degree of an image is never too small, and too large for finitely many primes only.
        if modulus.is_one() || image.len() < combined.len() {
            combined = vec![IBig::ZERO; image.len()];
            modulus = IBig::ONE;
        } else if image.len() > combined.len() {
            continue;
        }
        let lead_image = residue(&lead, p);
        let inverse_modulus = inverse(residue(&modulus, p), p);
        let product = &modulus * IBig::from(p);
        let half = &product >> 1;
        let mut stable = true;
        for (value, &c) in combined.iter_mut().zip(&image) {
            let missing = times(minus(times(c, lead_image, p), residue(value, p), p), inverse_modulus, p);
            if missing != 0 {
                stable = false;
                *value += &modulus * IBig::from(missing);
                if *value > half {
                    *value -= &product;
                }
            }
        }
        modulus = product;
        if stable {
            let candidate = primitive_part(combined.clone());
            if exact_quotient(&f, &candidate).is_some() && exact_quotient(&g, &candidate).is_some() {
                return candidate;
            }
        }
    }
    // The loop ends long before the primes do: they outnumber the bits of any coefficient in memory.
    vec![IBig::ONE]
}

/// Is the gcd of a monic f and g constant? `false` may be a mistake, `true` is not.
pub(crate) fn surely_coprime_to_monic(f: &[IBig], g: &[IBig]) -> bool {
    // The leading coefficient 1 survives, so a common factor over the integers survives, too.
    const PRIME: u64 = START - 57;
    gcd_modulo(residues(f, PRIME), residues(g, PRIME), PRIME).len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::integer_poly::{product, trim};
    use proptest::prelude::*;

    #[test]
    fn primality_agrees_with_trial_division() {
        for n in 0u64..2000 {
            assert_eq!(is_prime(n), n > 1 && (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0), "{n}");
        }
        // 2^61 − 1 is prime; 3215031751 is a strong pseudoprime to the bases 2, 3, 5, 7.
        assert!(is_prime((1 << 61) - 1) && !is_prime(3_215_031_751));
        assert_eq!(primes().next(), Some(START - 57));
    }

    fn coeffs(length: usize) -> impl Strategy<Value = Vec<IBig>> {
        prop::collection::vec(any::<i128>(), 1..length).prop_map(|c| trim(c.into_iter().map(IBig::from).collect()))
    }

    proptest! {
        #[test]
        fn a_planted_factor_is_found_and_the_cofactors_are_coprime(a in coeffs(4), b in coeffs(5), common in coeffs(5)) {
            prop_assume!(!a.is_empty() && !b.is_empty() && !common.is_empty());
            let (f, g) = (product(&a, &common), product(&b, &common));
            let found = gcd(&f, &g);
            prop_assert!(exact_quotient(&found, &primitive_part(common)).is_some());
            let (u, v) = (exact_quotient(&f, &found).unwrap(), exact_quotient(&g, &found).unwrap());
            prop_assert_eq!(gcd(&u, &v), vec![IBig::ONE]);
        }

        #[test]
        fn coprimality_is_never_claimed_of_polynomials_with_a_common_factor(a in coeffs(4), b in coeffs(4), root in any::<i64>()) {
            prop_assume!(!a.is_empty());
            let mut monic = b;
            monic.push(IBig::ONE);
            let factor = [IBig::from(root), IBig::ONE];
            prop_assert!(!surely_coprime_to_monic(&product(&monic, &factor), &product(&a, &factor)));
        }
    }

    #[test]
    fn gcds_with_zero_and_constants_are_those_of_the_textbook() {
        let f = [2, 4].map(IBig::from);
        assert_eq!(gcd(&f, &[]), [1, 2].map(IBig::from));
        assert_eq!(gcd(&f, &[IBig::from(6)]), [IBig::ONE]);
        assert!(surely_coprime_to_monic(&[-2, 0, 1].map(IBig::from), &[-1, 1].map(IBig::from)));
    }
}
