//! Polynomials with integer coefficients, as slices with the constant first and no leading zeros; 0 is the empty slice.

use super::domain::{content, sign};
use dashu::base::DivRem;
use dashu::integer::IBig;

/// Removes leading zeros.
pub(crate) fn trim(mut f: Vec<IBig>) -> Vec<IBig> {
    while f.last().is_some_and(|c| c.is_zero()) {
        f.pop();
    }
    f
}

/// The degree; 0 for the zero polynomial.
pub(crate) fn degree(f: &[IBig]) -> usize {
    f.len().saturating_sub(1)
}

/// f divided by the greatest common divisor of its coefficients, with a positive leading coefficient.
pub(crate) fn primitive_part(f: Vec<IBig>) -> Vec<IBig> {
    let mut f = trim(f);
    let mut divisor = IBig::from(content(&f));
    if f.last().is_some_and(|c| sign(c) < 0) {
        divisor = -divisor;
    }
    if !divisor.is_one() {
        f.iter_mut().for_each(|c| *c = &*c / &divisor);
    }
    f
}

/// f′.
pub(crate) fn derivative(f: &[IBig]) -> Vec<IBig> {
    f.iter().enumerate().skip(1).map(|(i, c)| c * IBig::from(i)).collect()
}

/// f·g.
pub(crate) fn product(f: &[IBig], g: &[IBig]) -> Vec<IBig> {
    if f.is_empty() || g.is_empty() {
        return Vec::new();
    }
    let mut result = vec![IBig::ZERO; f.len() + g.len() - 1];
    for (i, a) in f.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
        for (j, b) in g.iter().enumerate() {
            result[i + j] += a * b;
        }
    }
    result
}

/// f − g.
pub(crate) fn difference(f: &[IBig], g: &[IBig]) -> Vec<IBig> {
    let mut result = f.to_vec();
    result.resize(f.len().max(g.len()), IBig::ZERO);
    for (r, b) in result.iter_mut().zip(g) {
        *r -= b;
    }
    trim(result)
}

/// b^deg(f)·f(a/b) for b > 0: an integer with the sign of f(a/b).
pub(crate) fn homogeneous_value(f: &[IBig], a: &IBig, b: &IBig) -> IBig {
    let mut power = IBig::ONE;
    let mut value = IBig::ZERO;
    for c in f.iter().rev() {
        value = value * a + c * &power;
        power *= b;
    }
    value
}

/// 2^(bits·deg f)·f(a/2^bits), or f(a·2^-bits) if bits < 0: an integer with the sign of f(a·2^-bits).
pub(crate) fn dyadic_value(f: &[IBig], a: &IBig, bits: i64) -> IBig {
    let whole;
    let (a, bits) = if bits < 0 {
        whole = a << bits.unsigned_abs() as usize;
        (&whole, 0)
    } else {
        (a, bits as usize)
    };
    let mut value = IBig::ZERO;
    for (k, c) in f.iter().rev().enumerate() {
        value = value * a + (c << (bits * k));
    }
    value
}

/// f/g when g divides f over the integers.
pub(crate) fn exact_quotient(f: &[IBig], g: &[IBig]) -> Option<Vec<IBig>> {
    let lead = g.last()?;
    if f.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = f.to_vec();
    let mut quotient = vec![IBig::ZERO; (f.len() + 1).checked_sub(g.len()).filter(|&n| n > 0)?];
    for k in (0..quotient.len()).rev() {
        let (q, r) = (&rest[k + g.len() - 1]).div_rem(lead);
        if !r.is_zero() {
            return None;
        }
        if !q.is_zero() {
            for (target, c) in rest[k..].iter_mut().zip(g) {
                *target -= &q * c;
            }
        }
        quotient[k] = q;
    }
    rest.iter().all(|c| c.is_zero()).then_some(quotient)
}

/// (q, r, s) with s·f = q·g + r, deg r < deg g, s = lc(g)^(deg f − deg g + 1), for deg f ≥ deg g ≥ 0, g ≠ 0.
pub(crate) fn pseudo_division(f: &[IBig], g: &[IBig]) -> (Vec<IBig>, Vec<IBig>, IBig) {
    let lead = &g[g.len() - 1];
    let steps = f.len() - g.len() + 1;
    let mut rest = f.to_vec();
    let mut quotient = vec![IBig::ZERO; steps];
    for k in (0..steps).rev() {
        let top = rest.pop().unwrap_or(IBig::ZERO);
        quotient.iter_mut().for_each(|q| *q *= lead);
        rest.iter_mut().for_each(|r| *r *= lead);
        for (target, c) in rest[k..].iter_mut().zip(g) {
            *target -= &top * c;
        }
        quotient[k] = top;
    }
    (quotient, trim(rest), lead.pow(steps))
}

/// f(x + a).
pub(crate) fn shifted_argument(f: &[IBig], a: &IBig) -> Vec<IBig> {
    let mut result = f.to_vec();
    for start in 0..result.len() {
        for k in (start..result.len() - 1).rev() {
            let step = if a.is_one() { result[k + 1].clone() } else { &result[k + 1] * a };
            result[k] += step;
        }
    }
    result
}

/// The number of sign changes in a sequence, zeros left out.
pub(crate) fn sign_changes(signs: impl Iterator<Item = i32>) -> usize {
    let mut last = 0;
    let mut changes = 0;
    for s in signs.filter(|&s| s != 0) {
        changes += usize::from(s == -last);
        last = s;
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn poly(coeffs: &[i64]) -> Vec<IBig> {
        trim(coeffs.iter().map(|&c| IBig::from(c)).collect())
    }

    fn value(f: &[IBig], x: i64) -> IBig {
        homogeneous_value(f, &x.into(), &IBig::ONE)
    }

    fn coeffs() -> impl Strategy<Value = Vec<IBig>> {
        prop::collection::vec(-50i64..50, 1..7).prop_map(|c| poly(&c))
    }

    proptest! {
        #[test]
        fn products_and_differences_are_those_of_the_values(f in coeffs(), g in coeffs(), x in -9i64..9) {
            prop_assert_eq!(value(&product(&f, &g), x), value(&f, x) * value(&g, x));
            prop_assert_eq!(value(&difference(&f, &g), x), value(&f, x) - value(&g, x));
            prop_assert_eq!(value(&shifted_argument(&f, &3.into()), x), value(&f, x + 3));
        }

        #[test]
        fn a_product_is_divided_exactly_and_a_disturbed_one_is_not(f in coeffs(), g in coeffs()) {
            prop_assume!(!f.is_empty() && g.len() > 1);
            let mut h = product(&f, &g);
            prop_assert_eq!(exact_quotient(&h, &g), Some(f));
            h[0] += IBig::ONE;
            prop_assert_eq!(exact_quotient(&h, &g), None);
        }

        #[test]
        fn pseudo_division_satisfies_its_identity(f in coeffs(), g in coeffs()) {
            prop_assume!(!g.is_empty() && f.len() >= g.len());
            let (q, r, s) = pseudo_division(&f, &g);
            prop_assert!(r.len() < g.len());
            let scaled: Vec<IBig> = f.iter().map(|c| c * &s).collect();
            prop_assert_eq!(difference(&difference(&scaled, &product(&q, &g)), &r), Vec::<IBig>::new());
        }

        #[test]
        fn values_at_fractions_have_the_right_sign(f in coeffs(), a in -40i64..40, bits in -3i64..6) {
            let x = a as f64 * 2f64.powi(-bits as i32);
            // |f(x)| is a multiple of 2^-30 and computed to 1e-3·2^-30 relative to at most 50·320^5, so doubles are off by < 2^-10.
            let approximate = f.iter().rev().fold(0.0, |sum, c| sum * x + c.to_f64().value());
            prop_assume!(approximate.abs() > 1e-2);
            prop_assert_eq!(sign(&dyadic_value(&f, &a.into(), bits)), approximate.signum() as i32);
            if bits >= 0 {
                prop_assert_eq!(dyadic_value(&f, &a.into(), bits), homogeneous_value(&f, &a.into(), &(IBig::ONE << bits as usize)));
            }
        }
    }

    #[test]
    fn the_primitive_part_has_no_common_factor_and_leads_positively() {
        assert_eq!(primitive_part(poly(&[6, 0, -9])), poly(&[-2, 0, 3]));
        assert_eq!(primitive_part(Vec::new()), Vec::<IBig>::new());
    }
}
