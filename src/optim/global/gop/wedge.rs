//! The loss of several codes as a quotient of two forms on their exterior product.
//!
//! For codes B = [b_1 .. b_q] with K = SᵀS the loss with the best columns is tr K − tr(K P), P the projector onto their span. With the exterior
//! product w = b_1 ∧ .. ∧ b_q, whose entries are the q×q minors of B, and the additive compound K^[q] of K,
//!
//! ```text
//!     tr(K P) = wᵀ K^[q] w / wᵀw.
//! ```
//!
//! Numerator N and denominator D are quadratic in every code. On a product of simplices, b_i = Σ_k λ_ik v_ik with λ ≥ 0, they are sums over the
//! monomials Π_i λ_ij λ_ik, whose coefficients are averages of the bilinear forms over the ways to give v_ij to one of the two factors and v_ik
//! to the other. If t D ≥ N holds for every coefficient, tr(K P) ≤ t for all codes of the product. The difference to the largest value falls
//! quadratically with the edges of the simplices, as long as no codes in them are dependent.

use crate::optim::cell::dot;
use crate::optim::global::rays::subsets;

pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

/// Σ_k `weights`_k `vectors`_k.
pub(super) fn combination(vectors: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (vector, &weight) in vectors.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
    }
    sum
}

/// For each number p of factors, for each set of p + 1 indices, its sets of p with an index left out, that index, and the sign.
pub(super) type Expansions<S> = Vec<Vec<Vec<(usize, usize, S)>>>;

/// How minors of up to q of m rows come from those of one row less, by the last row; signs are made of whether they are negative.
pub(super) fn expansions<S>(m: usize, q: usize, sign: impl Fn(bool) -> S) -> Expansions<S> {
    let of = |p: usize| {
        let smaller = subsets(m, p);
        let terms = |set: Vec<usize>| {
            let term = |at: usize| {
                let rest: Vec<usize> = set.iter().copied().filter(|d| *d != set[at]).collect();
                (smaller.binary_search(&rest).unwrap_or(0), set[at], sign(!(p - at).is_multiple_of(2)))
            };
            (0..=p).map(term).collect()
        };
        subsets(m, p + 1).into_iter().map(terms).collect()
    };
    (0..q).map(of).collect()
}

/// Exterior products of at most q vectors of m numbers, and the compound of K on those of q.
pub(super) struct Forms {
    products: Expansions<f64>,
    compound: Vec<Vec<f64>>,
    trace: f64,
}

/// Rounding of minors of unit vectors, with room for their sums.
const ROUNDING: f64 = 1e-13;
/// Products of unit vectors below this length are known to less than about ten digits, and no value or bound is taken from them.
const SHORT: f64 = 1e-6;

impl Forms {
    pub(super) fn new(K: &[Vec<f64>], q: usize) -> Self {
        let m = K.len();
        let products = expansions(m, q, |negative| if negative { -1.0 } else { 1.0 });
        let mut forms = Self { products, compound: Vec::new(), trace: (0..m).map(|d| K[d][d]).sum() };
        let unit = |d: usize| (0..m).map(|e| if d == e { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
        let sets = subsets(m, q);
        for set in &sets {
            let mut image = vec![0.0; sets.len()];
            for at in 0..q {
                let factors: Vec<Vec<f64>> =
                    set.iter().enumerate().map(|(k, &d)| if k == at { K[d].clone() } else { unit(d) }).collect();
                image.iter_mut().zip(forms.wedge(factors.iter())).for_each(|(sum, w)| *sum += w);
            }
            forms.compound.push(image);
        }
        forms
    }

    /// w ∧ b for a product w of p factors.
    fn times(&self, w: &[f64], b: &[f64], p: usize) -> Vec<f64> {
        let entry = |terms: &Vec<(usize, usize, f64)>| terms.iter().map(|&(set, d, sign)| sign * w[set] * b[d]).sum();
        self.products[p].iter().map(entry).collect()
    }

    /// b_1 ∧ b_2 ∧ ..
    pub(super) fn wedge<'a>(&self, codes: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
        codes.enumerate().fold(vec![1.0], |w, (p, b)| self.times(&w, b, p))
    }

    /// K^[q] w.
    pub(super) fn image(&self, w: &[f64]) -> Vec<f64> {
        self.compound.iter().map(|row| dot(row, w)).collect()
    }

    /// tr(K P) for these codes of about unit length; `None` if they are nearly dependent.
    pub(super) fn value<'a>(&self, codes: impl Iterator<Item = &'a Vec<f64>>) -> Option<f64> {
        let w = self.wedge(codes);
        let square = dot(&w, &w);
        (square > SHORT * SHORT).then(|| dot(&w, &self.image(&w)) / square)
    }

    /// A number that tr(K P) does not exceed for any codes of these cones; `None` if the coefficients give none.
    pub(super) fn bound(&self, cones: &[Vec<&Vec<f64>>]) -> Option<f64> {
        let products = self.products_of(cones);
        if products.length.iter().any(|length| (ROUNDING..SHORT).contains(length)) {
            return None;
        }
        let mut t = f64::NEG_INFINITY;
        let mut open: Vec<(f64, f64, f64)> = Vec::new();
        products.coefficients(|_, N, D, size| {
            if D > ROUNDING * size {
                t = t.max(N / D);
            } else {
                open.push((N, D, ROUNDING * size));
            }
            true
        });
        let holds = |(N, D, rounding): &(f64, f64, f64)| N - t * D <= rounding * self.trace;
        (t.is_finite() && open.iter().all(holds)).then_some(t)
    }

    /// The monomials whose coefficients of t D − N are 0 up to rounding, by the two vertices of each neuron; `None` if another one is negative.
    pub(super) fn unclear(&self, cones: &[Vec<&Vec<f64>>], t: f64) -> Option<Vec<Vec<(usize, usize)>>> {
        let mut unclear = Vec::new();
        let held = self.products_of(cones).coefficients(|vertices, N, D, size| {
            let (coefficient, rounding) = (t * D - N, CLEAR * self.trace * size * size);
            if coefficient <= rounding {
                unclear.push(vertices.to_vec());
            }
            coefficient >= -rounding
        });
        held.then_some(unclear)
    }

    fn products_of(&self, cones: &[Vec<&Vec<f64>>]) -> Products {
        let mut w: Vec<Vec<f64>> = vec![vec![1.0]];
        for (p, cone) in cones.iter().enumerate() {
            w = w.iter().flat_map(|w| cone.iter().map(move |b| self.times(w, b, p))).collect();
        }
        let image = w.iter().map(|w| self.image(w)).collect();
        let length = w.iter().map(|w| dot(w, w).sqrt()).collect();
        Products { w, image, length, sizes: cones.iter().map(Vec::len).collect() }
    }
}

/// Rounding of a coefficient of products of unit vectors, relative to the trace of K, with room for its sums.
const CLEAR: f64 = 1e-12;

/// The products of one vertex of each neuron, the last neuron's counted fastest.
struct Products {
    w: Vec<Vec<f64>>,
    image: Vec<Vec<f64>>,
    length: Vec<f64>,
    sizes: Vec<usize>,
}

impl Products {
    /// Tells every monomial by the vertices j ≤ k of each neuron, with its coefficients N and D and the length of the longest product in them, as long as
    /// `visit` says so. Whether it always did.
    fn coefficients(&self, mut visit: impl FnMut(&[(usize, usize)], f64, f64, f64) -> bool) -> bool {
        pairs_of(&self.sizes, |chosen| {
            let (mut N, mut D, mut size) = (0.0, 0.0, 0.0f64);
            for (a, b) in factors(&self.sizes, chosen) {
                D += dot(&self.w[a], &self.w[b]);
                N += dot(&self.w[a], &self.image[b]);
                size = size.max(self.length[a]).max(self.length[b]);
            }
            visit(chosen, N, D, size)
        })
    }
}

/// Tells all choices of two vertices j ≤ k of each neuron, as long as `visit` says so. Whether it always did.
fn pairs_of(sizes: &[usize], mut visit: impl FnMut(&[(usize, usize)]) -> bool) -> bool {
    if sizes.contains(&0) {
        return true;
    }
    let mut chosen = vec![(0, 0); sizes.len()];
    loop {
        if !visit(&chosen) {
            return false;
        }
        let next = |((j, k), size): (&mut (usize, usize), &usize)| {
            (*j, *k) = if *k + 1 < *size {
                (*j, *k + 1)
            } else if *j + 1 < *size {
                (*j + 1, *j + 1)
            } else {
                (0, 0)
            };
            (*j, *k) != (0, 0)
        };
        if !chosen.iter_mut().zip(sizes).rev().any(next) {
            return true;
        }
    }
}

/// The ways to give one of the two vertices of each neuron to one factor and the other to the other factor, as places of these products, up to their order.
pub(super) fn factors(sizes: &[usize], chosen: &[(usize, usize)]) -> impl Iterator<Item = (usize, usize)> {
    (0..1usize << (sizes.len() - 1)).map(move |turned| {
        let (mut a, mut b) = (0, 0);
        for (i, (&(j, k), size)) in chosen.iter().zip(sizes).enumerate() {
            let (j, k) = if i > 0 && (turned >> (i - 1)) & 1 == 1 { (k, j) } else { (j, k) };
            (a, b) = (a * size + j, b * size + k);
        }
        (a, b)
    })
}
