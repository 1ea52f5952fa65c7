//! Unit vectors, orthogonal matrices and rotations with rational entries.

use crate::exact::{Rational, rational};
use crate::theory::pattern::dot;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// A vector of exact numbers.
pub(super) type Vector = Vec<Rational>;

/// An exact unit vector within √k·2^-bits of the unit vector u ∈ R^k: stereographic projection from the pole −sign(u_j) e_j farthest
/// from u, with coordinates rounded to multiples of 2^-bits, and back.
pub(super) fn unit_near(u: &[f64], bits: u32) -> Vector {
    let pole = (0..u.len()).fold(0, |best, k| if u[k].abs() > u[best].abs() { k } else { best });
    let sign = if u[pole] < 0.0 { -1.0 } else { 1.0 };
    let grid = f64::from(bits).exp2();
    // |t| ≤ 1, because the pole is at least as far away as the equator.
    let t: Vector = (0..u.len())
        .map(|k| if k == pole { 0.0 } else { (u[k] / (1.0 + u[pole].abs()) * grid).round() / grid })
        .map(|t| rational::from_f64(t).unwrap_or(Rational::ZERO))
        .collect();
    let square = dot(&t, &t);
    let scale = Rational::ONE / (Rational::ONE + &square);
    let along = (Rational::ONE - square) * &scale;
    let mut p: Vector = t.into_iter().map(|t| t * Rational::from(2) * &scale).collect();
    p[pole] = if sign < 0.0 { -along } else { along };
    p
}

/// The columns of a random orthogonal k×k matrix: two reflections with integer normals between −3 and 3.
pub(super) fn orthonormal(k: usize, rng: &mut ChaCha20Rng) -> Vec<Vector> {
    let normals = [integers(k, rng), integers(k, rng)];
    let unit = |j: usize| (0..k).map(|l| Rational::from(u8::from(l == j))).collect::<Vector>();
    (0..k).map(|j| normals.iter().fold(unit(j), |x, u| reflect(&x, u))).collect()
}

/// n ≤ k unit vectors in R^k with one common product ρ' near ρ; `None` unless −1/(n−1) < ρ < 1.
///
/// Before a random rotation p_d = α e_d + β 1 in R^n, with ρ = 1 − α². The norm is 1 iff γ = α + nβ satisfies γ² + (n−1)α² = n, a conic
/// through (1, 1): lines of rational slope through that point reach all its rational points.
pub(super) fn equicorrelated(n: usize, k: usize, rho: f64, rng: &mut ChaCha20Rng) -> Option<Vec<Vector>> {
    const GRID: f64 = 4096.0;
    let others = n as f64 - 1.0;
    if !(rho < 1.0 && 1.0 + others * rho > 0.0) {
        return None;
    }
    let base = orthonormal(k, rng);
    let (alpha, gamma) = ((1.0 - rho).sqrt(), (1.0 + others * rho).sqrt());
    let slope = (gamma - 1.0) / (alpha - 1.0);
    if n == 1 || !slope.is_finite() {
        return Some(base.into_iter().take(n).collect());
    }
    let t = rational::from_f64((slope * GRID).round() / GRID).ok()?;
    let (one, count) = (Rational::ONE, Rational::from(n));
    let step = -(&t + &count - &one) * Rational::from(2) / (&t * &t + &count - &one);
    let (alpha, gamma) = (&one + &step, &one + &step * &t);
    let beta = (gamma - &alpha) / count;
    let sum: Vector = (0..k).map(|l| base[..n].iter().fold(Rational::ZERO, |s, b| s + &b[l])).collect();
    let column = |d: usize| (0..k).map(|l| &alpha * &base[d][l] + &beta * &sum[l]).collect();
    Some((0..n).map(column).collect())
}

/// A unit vector in the plane of the orthonormal a and b, along neither.
pub(super) fn combination(a: &[Rational], b: &[Rational], rng: &mut ChaCha20Rng) -> Vector {
    let (mut x, mut y) = legs(rng);
    for leg in [&mut x, &mut y] {
        if rng.random() {
            *leg = -leg.clone();
        }
    }
    a.iter().zip(b).map(|(a, b)| a * &x + b * &y).collect()
}

/// A unit vector with a positive product with the unit vector `parent` ∈ R^k, k ≥ 2, and a part orthogonal to it.
pub(super) fn lean(parent: &[Rational], rng: &mut ChaCha20Rng) -> Vector {
    let (along, across) = legs(rng);
    // The reflection that exchanges e_0 and the parent carries the orthogonal complement of e_0 to that of the parent.
    let mut normal = parent.to_vec();
    normal[0] -= Rational::ONE;
    let mut q = vec![Rational::ZERO];
    let flat: Vec<f64> = integers(parent.len() - 1, rng).iter().map(rational::to_f64).collect();
    let norm = flat.iter().map(|x| x * x).sum::<f64>().sqrt();
    q.extend(unit_near(&flat.iter().map(|x| x / norm).collect::<Vec<_>>(), 4));
    let q = reflect(&q, &normal);
    parent.iter().zip(&q).map(|(p, q)| p * &along + q * &across).collect()
}

/// The legs of a random Pythagorean triangle with hypotenuse 1.
fn legs(rng: &mut ChaCha20Rng) -> (Rational, Rational) {
    let m: i64 = rng.random_range(2..=8);
    let k: i64 = rng.random_range(1..m);
    let hypotenuse = Rational::from(m * m + k * k);
    (Rational::from(m * m - k * k) / &hypotenuse, Rational::from(2 * m * k) / hypotenuse)
}

/// x − 2 ⟨x, u⟩ u / ⟨u, u⟩; x itself for u = 0.
fn reflect(x: &[Rational], u: &[Rational]) -> Vector {
    let square = dot(u, u);
    if square.is_zero() {
        return x.to_vec();
    }
    let factor = dot(x, u) * Rational::from(2) / square;
    x.iter().zip(u).map(|(x, u)| x - u * &factor).collect()
}

/// Integers between −3 and 3, not all zero.
fn integers(k: usize, rng: &mut ChaCha20Rng) -> Vector {
    let mut u: Vec<i32> = (0..k).map(|_| rng.random_range(-3..=3)).collect();
    if u.iter().all(|x| *x == 0) {
        u[0] = 1;
    }
    u.into_iter().map(Rational::from).collect()
}
