//! Real roots of polynomials of small degree, in f64.

/// a_0 + a_1 t + .. at t.
pub fn evaluate(coefficients: &[f64], t: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, a| sum.mul_add(t, *a))
}

/// The coefficients of the derivative.
pub fn derivative(coefficients: &[f64]) -> Vec<f64> {
    coefficients.iter().enumerate().skip(1).map(|(k, a)| k as f64 * a).collect()
}

/// All distinct real roots of a_0 + a_1 t + .. in ascending order; none for a constant, the zero polynomial included.
///
/// The roots of the derivative cut the line into pieces on which the polynomial is monotone, so that each sign change is one
/// root, found by bisection to the last bit. A root of even multiplicity is a root of the derivative at which the polynomial is zero up
/// to the rounding error of its evaluation.
pub fn real_roots(coefficients: &[f64]) -> Vec<f64> {
    let degree = coefficients.iter().rposition(|a| *a != 0.0).unwrap_or(0);
    if degree == 0 || coefficients.iter().any(|a| !a.is_finite()) {
        return Vec::new();
    }
    let p = &coefficients[..=degree];
    if degree == 1 {
        return vec![-p[0] / p[1]].into_iter().filter(|t| t.is_finite()).collect();
    }
    // Fujiwara's bound: every root lies within 2 max |a_{n−k} / a_n|^{1/k}.
    let bound = (1..=degree).map(|k| (p[degree - k] / p[degree]).abs().powf(1.0 / k as f64)).fold(0.0, f64::max) * 2.0;
    if !bound.is_finite() {
        // The leading coefficient only matters beyond the range of f64.
        return real_roots(&p[..degree]);
    }
    if bound == 0.0 {
        return vec![0.0];
    }
    let mut cuts = vec![-bound * (1.0 + 1e-9)];
    cuts.extend(real_roots(&derivative(p)).into_iter().filter(|t| t.abs() < bound));
    cuts.push(bound * (1.0 + 1e-9));
    let noise = |t: f64| {
        let magnitude = p.iter().rev().fold(0.0, |sum: f64, a| sum.mul_add(t.abs(), a.abs()));
        4.0 * degree as f64 * f64::EPSILON * magnitude
    };
    let mut roots: Vec<f64> = Vec::new();
    let value: Vec<f64> = cuts.iter().map(|&t| evaluate(p, t)).collect();
    for (k, &t) in cuts.iter().enumerate() {
        let inner = k > 0 && k + 1 < cuts.len();
        if inner && value[k].abs() <= noise(t) {
            roots.push(t);
        }
        let Some(&next) = value.get(k + 1) else { break };
        let touching = |j: usize| j > 0 && j + 1 < cuts.len() && value[j].abs() <= noise(cuts[j]);
        if !touching(k) && !touching(k + 1) && (value[k] < 0.0) != (next < 0.0) {
            roots.push(bisect(p, t, cuts[k + 1]));
        }
    }
    roots.dedup();
    roots
}

/// The root between `lo` and `hi`, at which the polynomial has different signs.
fn bisect(p: &[f64], mut lo: f64, mut hi: f64) -> f64 {
    let rising = evaluate(p, hi) > 0.0 || evaluate(p, lo) < 0.0;
    loop {
        let middle = lo + (hi - lo) / 2.0;
        if middle <= lo || middle >= hi {
            return middle;
        }
        let value = evaluate(p, middle);
        if value == 0.0 {
            return middle;
        }
        if (value > 0.0) == rising { hi = middle } else { lo = middle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_roots(roots: &[f64], scale: f64) -> Vec<f64> {
        roots.iter().fold(vec![scale], |p, r| {
            let mut q = vec![0.0; p.len() + 1];
            for (k, a) in p.iter().enumerate() {
                q[k + 1] += a;
                q[k] -= a * r;
            }
            q
        })
    }

    #[test]
    fn roots_of_even_multiplicity_are_found_once() {
        assert_eq!(real_roots(&with_roots(&[1.0, 1.0], 3.0)), vec![1.0]);
        assert_eq!(real_roots(&with_roots(&[-2.0, 0.5, 0.5], 1.0)), vec![-2.0, 0.5]);
        assert_eq!(real_roots(&with_roots(&[0.0, 0.0, 0.0], 1.0)), vec![0.0]);
    }

    #[test]
    fn polynomials_without_real_roots_have_none() {
        for p in [&[1.0, 0.0, 1.0][..], &[5.0], &[], &[0.0, 0.0], &[f64::NAN, 1.0], &[2.0, 0.0, 1.0, 0.0, 1.0]] {
            assert_eq!(real_roots(p), Vec::<f64>::new(), "{p:?}");
        }
    }

    #[test]
    fn a_leading_coefficient_out_of_range_of_its_roots_is_ignored() {
        assert_eq!(real_roots(&[-1.0, 1.0, 5e-324]), vec![1.0]);
    }

    proptest! {
        #[test]
        fn separated_roots_of_a_cubic_are_found(a in -10.0..10.0f64, gaps in [0.1..5.0f64, 0.1..5.0f64], scale in 0.01..100.0f64) {
            let expected = [a, a + gaps[0], a + gaps[0] + gaps[1]];
            let found = real_roots(&with_roots(&expected, -scale));
            prop_assert_eq!(found.len(), 3);
            for (x, y) in found.iter().zip(&expected) {
                // Rounding of the coefficients (|a_k| ≤ 8000) moves a root by at most 8000·ε divided by the slope ≥ 0.01.
                prop_assert!((x - y).abs() < 1e-9, "{} {}", x, y);
            }
        }
    }
}
