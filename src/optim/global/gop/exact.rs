//! The coefficients of [`super::wedge`] in integers.

use super::proof::Cone;
use super::wedge::{Expansions, expansions, factors};
use crate::exact::Rational;
use crate::optim::global::rays::subsets;
use dashu::base::Gcd;
use dashu::integer::{IBig, UBig};

/// tD − N on the minors of codes, times a positive number.
pub(super) struct ExactForms {
    products: Expansions<IBig>,
    rows: Vec<Vec<IBig>>,
}

impl ExactForms {
    pub(super) fn new(gram: &[Vec<Rational>], masses: &[Rational], neurons: usize, t: &Rational) -> Self {
        let size = masses.len();
        let sets = subsets(size, neurons);
        let entry = |left: &Vec<usize>, right: &Vec<usize>| {
            let union: Vec<usize> = (0..size).filter(|d| left.contains(d) || right.contains(d)).collect();
            let factor = if left == right {
                left.iter().fold(t.clone(), |rest, &d| rest - &masses[d] * &gram[d][d])
            } else if union.len() == neurons + 1 {
                let alone = |set: &[usize], other: &[usize]| set.iter().position(|d| !other.contains(d)).unwrap_or(0);
                let (a, b) = (alone(left, right), alone(right, left));
                let product = &gram[left[a]][right[b]];
                if (a + b).is_multiple_of(2) { -product.clone() } else { product.clone() }
            } else {
                return Rational::ZERO;
            };
            union.iter().fold(factor, |entry, &d| entry * &masses[d])
        };
        let rows: Vec<Vec<Rational>> =
            sets.iter().map(|left| sets.iter().map(|right| entry(left, right)).collect()).collect();
        let products = expansions(size, neurons, |negative| if negative { IBig::NEG_ONE } else { IBig::ONE });
        Self { products, rows: integers(&rows) }
    }

    /// Whether the coefficients of these monomials over the cones, by the two vertices of each neuron, are ≥ 0.
    pub(super) fn hold(&self, cones: &[&Cone], monomials: &[Vec<(usize, usize)>]) -> bool {
        if monomials.is_empty() {
            return true;
        }
        let mut w = vec![vec![IBig::ONE]];
        for (products, cone) in self.products.iter().zip(cones) {
            let cone = integers(cone);
            let times = |w: &Vec<IBig>, b: &Vec<IBig>| -> Vec<IBig> {
                let entry = |terms: &Vec<(usize, usize, IBig)>| {
                    terms.iter().fold(IBig::ZERO, |sum, (set, d, sign)| sum + sign * &w[*set] * &b[*d])
                };
                products.iter().map(entry).collect()
            };
            w = w.iter().flat_map(|w| cone.iter().map(move |b| times(w, b)).collect::<Vec<_>>()).collect();
        }
        let product = |a: &[IBig], b: &[IBig]| a.iter().zip(b).fold(IBig::ZERO, |sum, (a, b)| sum + a * b);
        let mut images: Vec<Option<Vec<IBig>>> = vec![None; w.len()];
        let sizes: Vec<usize> = cones.iter().map(|cone| cone.len()).collect();
        monomials.iter().all(|chosen| {
            let pair = |(a, b): (usize, usize)| {
                let image = || self.rows.iter().map(|row| product(row, &w[b])).collect::<Vec<IBig>>();
                product(&w[a], images[b].get_or_insert_with(image))
            };
            factors(&sizes, chosen).map(pair).fold(IBig::ZERO, |sum, pair| sum + pair) >= IBig::ZERO
        })
    }
}

/// Rows times a positive number that makes them integers.
fn integers(rows: &[Vec<Rational>]) -> Vec<Vec<IBig>> {
    let mut common = UBig::ONE;
    for x in rows.iter().flatten() {
        let gcd = (&common).gcd(x.denominator());
        common = &common * (x.denominator() / gcd);
    }
    let whole = |x: &Rational| x.numerator() * IBig::from(&common / x.denominator());
    rows.iter().map(|row| row.iter().map(whole).collect()).collect()
}
