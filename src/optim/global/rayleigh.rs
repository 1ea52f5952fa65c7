//! The largest Rayleigh quotient on a cone, in f64.
//!
//! For symmetric A and positive definite B, maximise ρ(λ) = λᵀAλ / λᵀBλ over λ ≥ 0, λ ≠ 0. The maximiser lies in the relative
//! interior of the face {λ : λ_k = 0 for k ∉ S} of its support S; there ρ has a local maximum on the whole subspace of S, and the only
//! local maxima of a Rayleigh quotient on a subspace are its top eigenvectors. So the maximum is the largest top eigenvalue among the
//! supports whose top eigenvector is of one sign: [`on_rays`] enumerates them.
//!
//! For B = I ([`on_orthant`]) most supports need not be looked at. If the top eigenvector of all of A is of one sign it is the answer.
//! Otherwise a point y that satisfies the optimality conditions is climbed to, and with λ = yᵀAy the matrix λI − A − N is tested for
//! positive semidefiniteness with one N ≥ 0 that vanishes on the support of y: if it passes, xᵀAx ≤ λ − xᵀNx ≤ λ for every unit x ≥ 0.
//! Only if it does not are the supports enumerated.

/// Largest order: the matrices live on the stack.
pub const MAX: usize = 16;

/// A symmetric matrix of order ≤ [`MAX`], of which the leading block is used.
pub type Small = [[f64; MAX]; MAX];

/// A vector of length ≤ [`MAX`].
pub type Short = [f64; MAX];

/// How a maximum was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The top eigenvector has one sign.
    Eigenvector,
    /// λI − A is positive semidefinite plus entrywise non-negative.
    Copositive,
    /// All supports were compared.
    Enumeration,
}

/// A maximum over a cone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Maximum {
    /// The quotient.
    pub value: f64,
    /// A maximiser, its entries ≥ 0.
    pub vector: Short,
    /// Why there is no larger value.
    pub proof: Proof,
}

/// An entry of a unit eigenvector below this is 0: eigenvectors are accurate to about 1e-15 over the relative eigengap.
const ZERO: f64 = 1e-11;

/// The largest eigenvalue of the leading n×n block and a unit eigenvector, by cyclic Jacobi rotations.
pub fn top_eigenpair(A: &Small, n: usize) -> (f64, Short) {
    let (mut D, mut U) = (*A, [[0.0; MAX]; MAX]);
    (0..n).for_each(|k| U[k][k] = 1.0);
    let scale: f64 = (0..n).map(|k| D[k][..n].iter().map(|x| x * x).sum::<f64>()).sum();
    for _ in 0..40 {
        let off: f64 = (0..n).map(|p| D[p][p + 1..n].iter().map(|x| x * x).sum::<f64>()).sum();
        // Squares: off-diagonal entries of 1e-17 of the whole change no eigenvalue within rounding.
        if off <= 1e-34 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut D, &mut U, n, p, q);
            }
        }
    }
    let best = (1..n).fold(0, |best, k| if D[k][k] > D[best][best] { k } else { best });
    (if n == 0 { 0.0 } else { D[best][best] }, U[best])
}

/// One rotation that makes D_pq zero. Row k of U is the k-th eigenvector to be.
fn rotate(D: &mut Small, U: &mut Small, n: usize, p: usize, q: usize) {
    let apq = D[p][q];
    if apq == 0.0 {
        return;
    }
    let theta = (D[q][q] - D[p][p]) / (2.0 * apq);
    let t = 1.0f64.copysign(theta) / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    let (app, aqq) = (D[p][p], D[q][q]);
    for k in (0..n).filter(|&k| k != p && k != q) {
        let (x, y) = (D[p][k], D[q][k]);
        let (x, y) = (c * x - s * y, s * x + c * y);
        (D[p][k], D[k][p], D[q][k], D[k][q]) = (x, x, y, y);
    }
    (D[p][p], D[q][q], D[p][q], D[q][p]) = (app - t * apq, aqq + t * apq, 0.0, 0.0);
    for k in 0..n {
        let (x, y) = (U[p][k], U[q][k]);
        (U[p][k], U[q][k]) = (c * x - s * y, s * x + c * y);
    }
}

/// The block of the rows and columns in `support`.
fn principal(A: &Small, support: &[usize]) -> Small {
    let mut block = [[0.0; MAX]; MAX];
    for (j, &a) in support.iter().enumerate() {
        for (k, &b) in support.iter().enumerate() {
            block[j][k] = A[a][b];
        }
    }
    block
}

/// The vector or its negative if one of them has no entry below −[`ZERO`]; small negative entries become 0.
fn one_sign(vector: &Short, n: usize) -> Option<Short> {
    [1.0, -1.0].into_iter().find_map(|sign| {
        let mut turned = [0.0; MAX];
        for (x, y) in turned.iter_mut().zip(&vector[..n]) {
            *x = sign * y;
        }
        let fits = turned[..n].iter().all(|&x| x >= -ZERO);
        turned.iter_mut().for_each(|x| *x = x.max(0.0));
        fits.then_some(turned)
    })
}

/// The largest yᵀAy over unit y ≥ 0, for the leading n×n block, 1 ≤ n ≤ [`MAX`].
///
/// # Panics
/// If n is 0 or above [`MAX`].
pub fn on_orthant(A: &Small, n: usize) -> Maximum {
    assert!((1..=MAX).contains(&n), "order {n}");
    let (value, vector) = top_eigenpair(A, n);
    if let Some(vector) = one_sign(&vector, n) {
        return Maximum { value, vector, proof: Proof::Eigenvector };
    }
    let climbed = climb(A, n);
    if is_copositive(A, n, &climbed) {
        return climbed;
    }
    enumerate(A, n, climbed)
}

/// A point that satisfies the optimality conditions: drop the features whose entries have the wrong sign until none has, then add the one
/// with the largest slope, while the value grows.
fn climb(A: &Small, n: usize) -> Maximum {
    let mut support: Vec<usize> = (0..n).collect();
    let mut best = Maximum { value: f64::NEG_INFINITY, vector: [0.0; MAX], proof: Proof::Copositive };
    loop {
        let (value, vector) = descend(A, &mut support);
        if value <= best.value {
            return best;
        }
        best = Maximum { value, vector: scatter(&vector, &support), proof: Proof::Copositive };
        let slope = |d: usize| A[d][..n].iter().zip(&best.vector).map(|(a, y)| a * y).sum::<f64>();
        let steepest = (0..n).filter(|d| !support.contains(d)).map(|d| (slope(d), d));
        match steepest.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((slope, d)) if slope > ZERO * value.abs() => {
                let at = support.partition_point(|&e| e < d);
                support.insert(at, d);
            }
            _ => return best,
        }
    }
}

/// The top eigenvector of a support that shrinks until it has one sign. Entries are in the order of the support.
fn descend(A: &Small, support: &mut Vec<usize>) -> (f64, Short) {
    loop {
        let (value, vector) = top_eigenpair(&principal(A, support), support.len());
        if let Some(vector) = one_sign(&vector, support.len()) {
            return (value, vector);
        }
        let weight = |sign: f64| vector.iter().map(|&x| (sign * x).max(0.0).powi(2)).sum::<f64>();
        let sign = if weight(1.0) >= weight(-1.0) { 1.0 } else { -1.0 };
        let worst = (0..support.len()).min_by(|&a, &b| (sign * vector[a]).total_cmp(&(sign * vector[b])));
        support.remove(worst.unwrap_or(0));
    }
}

fn scatter(vector: &Short, support: &[usize]) -> Short {
    let mut full = [0.0; MAX];
    support.iter().zip(vector).for_each(|(&d, &x)| full[d] = x);
    full
}

/// Whether λI − A − N is positive semidefinite (to rounding) for N with N_ds = −(Ay)_d y_s between a feature d off the support and s on it,
/// max(0, −A_de) between two off the support, and 0 on it. N ≥ 0 by the optimality of y.
fn is_copositive(A: &Small, n: usize, at: &Maximum) -> bool {
    let y = &at.vector;
    let slope: Vec<f64> = (0..n).map(|d| A[d][..n].iter().zip(y).map(|(a, y)| a * y).sum()).collect();
    let mut M = [[0.0; MAX]; MAX];
    for d in 0..n {
        for e in 0..n {
            let identity = if d == e { at.value } else { 0.0 };
            let lowered = match (y[d] > 0.0, y[e] > 0.0) {
                (true, true) => 0.0,
                (false, true) => (-slope[d]).max(0.0) * y[e],
                (true, false) => (-slope[e]).max(0.0) * y[d],
                (false, false) => {
                    if d == e {
                        0.0
                    } else {
                        (-A[d][e]).max(0.0)
                    }
                }
            };
            M[d][e] = -(identity - A[d][e] - lowered);
        }
    }
    // M y = 0, so the least eigenvalue is 0 up to rounding if the test passes.
    top_eigenpair(&M, n).0 <= 1e-13 * at.value.abs()
}

/// All supports from the largest down, except below one whose top eigenvalue does not exceed the best value or whose top eigenvector
/// already has one sign.
fn enumerate(A: &Small, n: usize, start: Maximum) -> Maximum {
    let mut best = Maximum { proof: Proof::Enumeration, ..start };
    let mut seen = vec![false; 1 << n];
    let mut open = vec![(1usize << n) - 1];
    while let Some(mask) = open.pop() {
        if mask == 0 || std::mem::replace(&mut seen[mask], true) {
            continue;
        }
        let support: Vec<usize> = (0..n).filter(|d| mask >> d & 1 == 1).collect();
        let (value, vector) = top_eigenpair(&principal(A, &support), support.len());
        if value <= best.value {
            continue;
        }
        match one_sign(&vector, support.len()) {
            Some(vector) => {
                best = Maximum { value, vector: scatter(&vector, &support), proof: Proof::Enumeration };
            }
            None => open.extend(support.iter().map(|d| mask & !(1 << d))),
        }
    }
    best
}

/// The largest λᵀAλ / λᵀBλ over λ ≥ 0, λ ≠ 0, where B is positive semidefinite of rank `rank`, for the leading n×n blocks, n ≤ [`MAX`].
/// Every point of a cone is a positive combination of independent rays (Carathéodory), so supports of at most `rank` rays with positive
/// definite B are compared. `None` if B vanishes on the cone.
pub fn on_rays(A: &Small, B: &Small, n: usize, rank: usize) -> Option<Maximum> {
    let mut best: Option<Maximum> = None;
    for mask in (1usize..1 << n).filter(|mask| mask.count_ones() as usize <= rank) {
        let support: Vec<usize> = (0..n).filter(|k| mask >> k & 1 == 1).collect();
        let Some((value, vector)) = top_of_pencil(&principal(A, &support), &principal(B, &support), support.len())
        else {
            continue;
        };
        if best.is_some_and(|best| value <= best.value) {
            continue;
        }
        if let Some(vector) = one_sign(&vector, support.len()) {
            best = Some(Maximum { value, vector: scatter(&vector, &support), proof: Proof::Enumeration });
        }
    }
    best
}

/// The largest eigenvalue of Ax = μBx and its eigenvector of length 1, or `None` if B is singular.
pub fn top_of_pencil(A: &Small, B: &Small, n: usize) -> Option<(f64, Short)> {
    let L = cholesky(B, n)?;
    // L⁻¹ A L⁻ᵀ: solve with L for the columns of A, then for those of the transpose.
    let mut half = [[0.0; MAX]; MAX];
    for column in 0..n {
        for row in 0..n {
            let done: f64 = (0..row).map(|k| L[row][k] * half[k][column]).sum();
            half[row][column] = (A[row][column] - done) / L[row][row];
        }
    }
    let mut reduced = [[0.0; MAX]; MAX];
    for column in 0..n {
        for row in 0..n {
            let done: f64 = (0..row).map(|k| L[row][k] * reduced[column][k]).sum();
            reduced[column][row] = (half[column][row] - done) / L[row][row];
        }
    }
    for j in 0..n {
        for k in 0..j {
            let mean = (reduced[j][k] + reduced[k][j]) / 2.0;
            (reduced[j][k], reduced[k][j]) = (mean, mean);
        }
    }
    let (value, y) = top_eigenpair(&reduced, n);
    let mut x = [0.0; MAX];
    for row in (0..n).rev() {
        let done: f64 = (row + 1..n).map(|k| L[k][row] * x[k]).sum();
        x[row] = (y[row] - done) / L[row][row];
    }
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    x.iter_mut().for_each(|x| *x /= norm);
    Some((value, x))
}

/// The lower factor of B = L Lᵀ, or `None` if a pivot is below 1e-12 of its diagonal entry.
pub fn cholesky(B: &Small, n: usize) -> Option<Small> {
    let mut L = [[0.0; MAX]; MAX];
    for j in 0..n {
        let pivot = B[j][j] - L[j][..j].iter().map(|x| x * x).sum::<f64>();
        if pivot.is_nan() || pivot <= 1e-12 * B[j][j] {
            return None;
        }
        L[j][j] = pivot.sqrt();
        for i in j + 1..n {
            let done: f64 = L[i][..j].iter().zip(&L[j][..j]).map(|(a, b)| a * b).sum();
            L[i][j] = (B[i][j] - done) / L[j][j];
        }
    }
    Some(L)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use nalgebra::DMatrix;
    use rand::RngExt;

    fn gram(seed: u64, n: usize, rank: usize) -> Small {
        let mut rng = stream(seed, "rayleigh test");
        let X: Vec<Vec<f64>> = (0..n).map(|_| (0..rank).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let mut A = [[0.0; MAX]; MAX];
        for j in 0..n {
            for k in 0..n {
                A[j][k] = X[j].iter().zip(&X[k]).map(|(a, b)| a * b).sum();
            }
        }
        A
    }

    /// All supports, by an eigen-decomposition that is not ours.
    fn brute_force(A: &Small, n: usize) -> f64 {
        (1usize..1 << n)
            .filter_map(|mask| {
                let support: Vec<usize> = (0..n).filter(|d| mask >> d & 1 == 1).collect();
                let block = DMatrix::from_fn(support.len(), support.len(), |j, k| A[support[j]][support[k]]);
                let eigen = block.symmetric_eigen();
                let top = eigen.eigenvalues.imax();
                let vector = eigen.eigenvectors.column(top);
                let one_sign = vector.iter().all(|x| *x >= -1e-9) || vector.iter().all(|x| *x <= 1e-9);
                one_sign.then_some(eigen.eigenvalues[top])
            })
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn the_top_eigenpair_is_nalgebras() {
        for seed in 0..50 {
            let n = 1 + seed as usize % MAX;
            let A = gram(seed, n, n);
            let (value, vector) = top_eigenpair(&A, n);
            let expected = DMatrix::from_fn(n, n, |j, k| A[j][k]).symmetric_eigen().eigenvalues.max();
            // Both round at 1e-16 of the norm, times a small multiple of n.
            assert!((value - expected).abs() <= 1e-13 * expected, "{value} {expected}");
            for j in 0..n {
                let image: f64 = A[j][..n].iter().zip(&vector).map(|(a, x)| a * x).sum();
                assert!((image - value * vector[j]).abs() <= 1e-13 * expected);
            }
        }
    }

    #[test]
    fn the_maximum_over_the_orthant_is_that_of_all_supports_and_each_proof_occurs() {
        let mut proofs = [0; 3];
        for seed in 0..400 {
            let n = 2 + seed as usize % 7;
            let A = gram(seed, n, n);
            let found = on_orthant(&A, n);
            proofs[found.proof as usize] += 1;
            let expected = brute_force(&A, n);
            assert!((found.value - expected).abs() <= 1e-12 * expected, "{seed}: {} {expected}", found.value);
            let y = &found.vector[..n];
            let attained: f64 = (0..n).map(|j| (0..n).map(|k| y[j] * A[j][k] * y[k]).sum::<f64>()).sum();
            assert!(y.iter().all(|y| *y >= 0.0) && (attained - found.value).abs() <= 1e-11 * expected);
        }
        assert!(proofs.iter().all(|&count| count >= 10), "{proofs:?}");
    }

    #[test]
    fn the_maximum_over_rays_is_that_over_the_orthant_they_span() {
        for seed in 0..60 {
            let n = 2 + seed as usize % 4;
            let A = gram(seed, n, n);
            let mut identity = [[0.0; MAX]; MAX];
            (0..n).for_each(|k| identity[k][k] = 1.0);
            let expected = on_orthant(&A, n).value;
            let plain = on_rays(&A, &identity, n, n).unwrap();
            assert!((plain.value - expected).abs() <= 1e-12 * expected);
            // One more ray, the sum of all others, changes nothing but the numbers.
            let ray = |k: usize, d: usize| if k == n || k == d { 1.0 } else { 0.0 };
            let (mut M, mut B) = ([[0.0; MAX]; MAX], [[0.0; MAX]; MAX]);
            for j in 0..=n {
                for k in 0..=n {
                    for d in 0..n {
                        B[j][k] += ray(j, d) * ray(k, d);
                        M[j][k] += (0..n).map(|e| ray(j, d) * A[d][e] * ray(k, e)).sum::<f64>();
                    }
                }
            }
            let more = on_rays(&M, &B, n + 1, n).unwrap();
            assert!((more.value - expected).abs() <= 1e-11 * expected, "{} {expected}", more.value);
        }
    }
}
