//! A quadratic form on the minors of codes, and its coefficients over cones (FORMAT.md §5, `cones`).

use crate::Refusal;
use crate::instance::{Instance, require};
use crate::matrix::{Matrix, integers};
use crate::number::Num;
use dashu::base::Signed;
use dashu::integer::IBig;
use std::collections::BTreeMap;

/// Most products of one vertex of each cone.
const MAX_PRODUCTS: usize = 1024;

/// tD − N as a quadratic form on the products of the neurons' codes, times a positive number.
pub(crate) struct Forms<'a, 'w> {
    instance: &'a Instance<'w>,
    /// For each number p of factors, for each set of p + 1 places, its sets of p with a place left out, that place, and whether the sign is −.
    products: Vec<Vec<Vec<(usize, usize, bool)>>>,
    /// The entries that may not be 0, by rows.
    rows: Vec<Vec<(usize, IBig)>>,
}

impl<'a, 'w> Forms<'a, 'w> {
    pub(crate) fn new(
        instance: &'a Instance<'w>,
        features: &[usize],
        neurons: usize,
        t: &Num,
    ) -> Result<Self, Refusal> {
        let size = features.len();
        let mut products = Vec::new();
        for p in 0..neurons {
            let smaller: BTreeMap<Vec<usize>, usize> = sets(size, p).into_iter().zip(0..).collect();
            let terms = |set: Vec<usize>| {
                let term = |(at, &d): (usize, &usize)| {
                    let rest: Vec<usize> = set.iter().copied().filter(|e| *e != d).collect();
                    smaller.get(&rest).map(|&place| (place, d, (p - at) % 2 == 1))
                };
                set.iter().enumerate().filter_map(term).collect::<Vec<_>>()
            };
            products.push(sets(size, p + 1).into_iter().map(terms).collect());
        }
        let mut known = Vec::new();
        for &d in features {
            known.push(instance.feature(d)?);
        }
        let chosen = sets(size, neurons);
        let mut matrix: Matrix<Num> = Vec::new();
        for left in &chosen {
            let mut row = Vec::new();
            for right in &chosen {
                let union: Vec<usize> = (0..size).filter(|d| left.contains(d) || right.contains(d)).collect();
                let factor = if left == right {
                    let mut rest = t.clone();
                    for (_, r, mass) in left.iter().filter_map(|&d| known.get(d)) {
                        rest = instance.difference(&rest, &instance.product(mass, &instance.dot(r, r)?)?)?;
                    }
                    rest
                } else if union.len() == neurons + 1 {
                    let alone = |set: &[usize], other: &[usize]| {
                        let place = set.iter().position(|d| !other.contains(d));
                        place.and_then(|place| Some((place, known.get(*set.get(place)?)?.1)))
                    };
                    let (Some((a, r)), Some((b, q))) = (alone(left, right), alone(right, left)) else {
                        return Err(Refusal::limit("two sets that differ in one place do not"));
                    };
                    let product = instance.dot(r, q)?;
                    if (a + b) % 2 == 0 { product.neg() } else { product }
                } else {
                    Num::zero()
                };
                let masses = union.iter().filter_map(|&d| known.get(d));
                row.push(
                    masses.map(|(_, _, mass)| *mass).try_fold(factor, |entry, mass| instance.product(&entry, mass))?,
                );
            }
            matrix.push(row);
        }
        let matrix = integers(instance, &matrix)?.ok_or_else(|| Refusal::format("expected rational numbers"))?;
        let entries = |row: Vec<IBig>| row.into_iter().enumerate().filter(|(_, entry)| *entry != IBig::ZERO).collect();
        Ok(Self { instance, products, rows: matrix.into_iter().map(entries).collect() })
    }

    /// The exterior product of p codes with one more.
    fn times(&self, w: &[IBig], b: &[IBig], p: usize) -> Result<Vec<IBig>, Refusal> {
        let entry = |terms: &Vec<(usize, usize, bool)>| {
            let mut sum = IBig::ZERO;
            for (w, b, negative) in terms.iter().filter_map(|&(place, d, n)| Some((w.get(place)?, b.get(d)?, n))) {
                if *w != IBig::ZERO && *b != IBig::ZERO {
                    let product = self.instance.mul(w, b)?;
                    sum = if negative { sum - product } else { sum + product };
                }
            }
            Ok(sum)
        };
        self.products.get(p).into_iter().flatten().map(entry).collect()
    }

    /// All coefficients of tD − N are ≥ 0 on these cones.
    pub(crate) fn bounded(&self, cones: &[Matrix<Num>]) -> Result<(), Refusal> {
        let products = cones.iter().try_fold(1usize, |product, cone| product.checked_mul(cone.len()));
        if products.is_none_or(|products| products > MAX_PRODUCTS) {
            return Err(Refusal::limit(format!("over {MAX_PRODUCTS} products of vertices")));
        }
        let mut w: Matrix<IBig> = vec![vec![IBig::ONE]];
        for (p, cone) in cones.iter().enumerate() {
            let cone = integers(self.instance, cone)?.ok_or_else(|| Refusal::format("expected rational numbers"))?;
            let mut longer = Vec::new();
            for w in &w {
                for b in &cone {
                    longer.push(self.times(w, b, p)?);
                }
            }
            w = longer;
        }
        let mut pairs: Matrix<IBig> = Vec::new();
        for left in &w {
            let mut image = Vec::new();
            for row in &self.rows {
                image.push(self.product(row.iter().filter_map(|(place, entry)| Some((entry, left.get(*place)?))))?);
            }
            // The form is symmetric: the products before this one are known.
            let others = w.iter().take(pairs.len() + 1);
            let row = others.map(|right| self.product(image.iter().zip(right)));
            pairs.push(row.collect::<Result<_, Refusal>>()?);
        }
        let sizes: Vec<usize> = cones.iter().map(Vec::len).collect();
        let mut chosen = vec![(0, 0); sizes.len()];
        loop {
            self.instance.spend((1 << sizes.len()) * 40)?;
            let held = !self.coefficient(&pairs, &sizes, &chosen).is_negative();
            require(held, || format!("the coefficient of the vertices {chosen:?} is negative"))?;
            // The next pairs j ≤ k, the last neuron's first.
            let mut more = false;
            for ((j, k), size) in chosen.iter_mut().zip(&sizes).rev() {
                (*j, *k) = match (*j + 1 < *size, *k + 1 < *size) {
                    (_, true) => (*j, *k + 1),
                    (true, false) => (*j + 1, *j + 1),
                    (false, false) => (0, 0),
                };
                if (*j, *k) != (0, 0) {
                    more = true;
                    break;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    fn product<'n>(&self, pairs: impl Iterator<Item = (&'n IBig, &'n IBig)>) -> Result<IBig, Refusal> {
        let mut sum = IBig::ZERO;
        for (a, b) in pairs.filter(|(a, b)| **a != IBig::ZERO && **b != IBig::ZERO) {
            sum += self.instance.mul(a, b)?;
        }
        Ok(sum)
    }

    /// The sum over the ways to give one vertex of each pair to one factor and the other vertex to the other factor, up to the order of the factors.
    fn coefficient(&self, pairs: &Matrix<IBig>, sizes: &[usize], chosen: &[(usize, usize)]) -> IBig {
        let mut sum = IBig::ZERO;
        for turned in 0..1usize << (sizes.len().saturating_sub(1)) {
            let (mut a, mut b) = (0, 0);
            for (i, ((j, k), size)) in chosen.iter().zip(sizes).enumerate() {
                let (j, k) = if (turned << 1) >> i & 1 == 1 { (k, j) } else { (j, k) };
                (a, b) = (a * size + j, b * size + k);
            }
            if let Some(pair) = pairs.get(a.max(b)).and_then(|row| row.get(a.min(b))) {
                sum += pair;
            }
        }
        sum
    }
}

/// All sets of `count` of the first `size` numbers, in lexicographic order.
fn sets(size: usize, count: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![Vec::new()];
    for _ in 0..count {
        let longer = |set: Vec<usize>| {
            let next = set.last().map_or(0, |last| last + 1);
            (next..size).map(move |d| set.iter().copied().chain([d]).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        sets = sets.into_iter().flat_map(longer).collect();
    }
    sets
}
