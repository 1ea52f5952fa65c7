//! The infimum of L̃ over all encoders where features are independent, and encoders that come to it.
//!
//! Scaled codes b_id = √M_d z_id of n_q neurons span a space T of at most n_q dimensions, and the best decoder leaves the part of
//! A = D^½RᵀRD^½ that is orthogonal to it: L̃ = tr A − tr P_T A (eq. 11 with D = diag(M_d)). The only thing that an encoder may not choose is the
//! sign: codes are not negative. This binds one code, not all:
//!
//! * If T holds a positive vector b, so does it hold n_q independent ones beside b, and independent features have rows with these codes: all
//!   neurons fire on all features.
//! * If the codes of a T are not all 0, T holds a vector b ≥ 0, b ≠ 0. Beside every such T there is one that holds a positive vector.
//!
//! So the infimum over all patterns is the least of tr A − tr P_T A over the T with dim T = n_q that hold some b ≥ 0. It is the bound of Eckart and Young, and
//! attained, if the first n_q eigenvectors of A span a positive vector; of random spaces of n_q dimensions a share of
//! 2^(1−n) Σ_(k<n_q) C(n−1, k) does (Wendel). Elsewhere it is min f(b) over b ≥ 0 with f(b) = the sum of the n − n_q least eigenvalues of A on b⊥, and if the
//! best b has a 0, it is approached, not attained: codes become parallel and the decoder grows without end. By Gordan and Carathéodory some best b has at most
//! n − n_q + 1 entries that are not 0.
//!
//! For dependent features min f(b) is a lower bound; the all-firing cell has T within the range of D^½Pᵀ, and the best of these, if it holds a positive
//! vector, is its optimum.
//!
//! # Requirements
//! A threshold activation; any threshold, for rows can be scaled.
//!
//! # References
//! Wendel 1962, *A problem in geometric probability*. Gillis, Kumar 2015, *Exact and heuristic algorithms for semi-nonnegative matrix factorization*,
//! who show that the sign of one factor costs nothing where the first singular vectors span a positive one. Gordan 1873; Carathéodory 1911.

use super::GlobalError;
use super::gop::Simplex;
use super::rays::subsets;
use super::upper::sequential;
use crate::exact::Rational;
use crate::exact::rational::{from_f64, to_f64};
use crate::optim::dictionary::coding::nonnegative::nonnegative;
use crate::optim::dictionary::coding::{Gram, Solver};
use crate::theory::loss::ApproximateLoss;
use crate::theory::problem::Problem;
use faer::{Mat, Side};
use std::collections::BinaryHeap;

/// Eigenpairs of a symmetric matrix, ascending.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// Values.
    pub values: Vec<f64>,
    /// Vectors of length 1, one column each.
    pub vectors: Mat<f64>,
}

impl Eigen {
    /// `None` if the matrix has numbers that are not finite.
    pub fn of(matrix: &Mat<f64>) -> Option<Self> {
        let eigen = matrix.self_adjoint_eigen(Side::Lower).ok()?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        values.iter().all(|x| x.is_finite()).then(|| Self { values, vectors: eigen.U().to_owned() })
    }

    /// The sum of the first `count` values.
    pub fn least(&self, count: usize) -> f64 {
        self.values.iter().take(count).sum()
    }
}

/// A for a list of features, with the number of neurons that may fire on them.
#[derive(Debug, Clone)]
pub struct Spans {
    /// A, scaled by roots of the masses.
    pub A: Mat<f64>,
    /// √M_d.
    pub roots: Vec<f64>,
    /// Dimensions that are lost: features less neurons, at least 1.
    pub lost: usize,
}

/// The best span for one code.
#[derive(Debug, Clone)]
pub struct At {
    /// f(b).
    pub loss: f64,
    /// What is lost: orthonormal columns that are orthogonal to b.
    pub lost: Mat<f64>,
    /// ν: A + bνᵀ + νbᵀ has these columns as eigenvectors, and its other eigenvalues are not below theirs.
    pub multipliers: Vec<Vec<f64>>,
}

/// What the codes of a cone lose.
#[derive(Debug, Clone)]
pub struct Bound {
    /// At least.
    pub value: f64,
    /// ν, by which that is so.
    pub multiplier: Vec<f64>,
    /// f in the middle.
    pub loss: f64,
    /// The middle, scaled.
    pub centre: Vec<f64>,
}

/// A cone that is cut in the middle of an edge. With few bits the middle is exact.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Places of the two vertices.
    pub edge: (usize, usize),
    /// The cones with the middle instead of the first of them, and of the second, with their bounds.
    pub halves: [(Vec<Vec<f64>>, Bound); 2],
    /// Cones that were bounded to choose the edge.
    pub bounded: usize,
}

/// When a search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The largest gap, relative to the upper value.
    pub epsilon: f64,
    /// Most cones that are bounded, those of cuts that are not taken included.
    pub budget: usize,
    /// Most sets of features that carry a code.
    pub sets: usize,
}

impl Default for Options {
    /// ε = 1e-7, 60,000 cones, 60 sets.
    fn default() -> Self {
        Self { epsilon: 1e-7, budget: 60_000, sets: 60 }
    }
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// f is nowhere lower, up to rounding.
    pub lower: f64,
    /// f at `code`.
    pub upper: f64,
    /// b ≥ 0.
    pub code: Vec<f64>,
    /// Cones that were bounded; 0 if the first eigenvectors span a positive code.
    pub cones: usize,
}

impl Spans {
    /// `None` unless there are neurons, and fewer than features.
    pub fn new(problem: &Problem, features: &[usize], neurons: usize) -> Option<Self> {
        if neurons == 0 || neurons >= features.len() {
            return None;
        }
        let f = |d: usize| &problem.features()[features[d]];
        let roots: Vec<f64> = (0..features.len()).map(|d| to_f64(&f(d).mass).sqrt()).collect();
        let r: Vec<Vec<f64>> = (0..features.len()).map(|d| f(d).w_r.iter().map(to_f64).collect()).collect();
        let product = |d: usize, e: usize| r[d].iter().zip(&r[e]).map(|(x, y)| x * y).sum::<f64>();
        let A = Mat::from_fn(features.len(), features.len(), |d, e| roots[d] * roots[e] * product(d, e));
        A.is_all_finite().then(|| Self { A, roots, lost: features.len() - neurons })
    }

    /// Number of features.
    pub fn size(&self) -> usize {
        self.roots.len()
    }

    /// The sets of features among which some best code has all its entries that are not 0. `None` if they are more than `most`, or have more than
    /// four features.
    pub fn sets(&self, most: usize) -> Option<Vec<Vec<usize>>> {
        if self.lost > LOST {
            return None;
        }
        let (n, k) = (self.size(), (self.lost + 1).min(self.size()));
        let count = (0..k).try_fold(1usize, |count, j| Some(count.checked_mul(n - j)? / (j + 1)))?;
        (count <= most).then(|| subsets(n, k))
    }

    /// The cone of all codes on these features: vertices are codes z, of about length 1 when scaled, with few bits.
    pub fn root(&self, set: &[usize]) -> Vec<Vec<f64>> {
        let unit = |&d: &usize| {
            let mut z = vec![0.0; self.size()];
            z[d] = to_few_bits(1.0 / self.roots[d]);
            z
        };
        set.iter().map(unit).collect()
    }

    /// b of a code z.
    pub fn scaled(&self, z: &[f64]) -> Vec<f64> {
        z.iter().zip(&self.roots).map(|(z, root)| z * root).collect()
    }

    /// A + bνᵀ + νbᵀ.
    pub fn lifted(&self, b: &[f64], nu: &[f64]) -> Mat<f64> {
        Mat::from_fn(self.size(), self.size(), |d, e| self.A[(d, e)] + b[d] * nu[e] + nu[d] * b[e])
    }

    /// The best span that holds b ≠ 0.
    pub fn at(&self, b: &[f64]) -> Option<At> {
        let (n, square) = (self.size(), b.iter().map(|x| x * x).sum::<f64>());
        let unit: Vec<f64> = b.iter().map(|x| x / square.sqrt()).collect();
        // Columns 1.. of the reflection that takes the unit vector e_0 to ∓b/‖b‖ are an orthonormal basis of b⊥.
        let mut v = unit.clone();
        v[0] += if unit[0] < 0.0 { -1.0 } else { 1.0 };
        let half = v.iter().map(|x| x * x).sum::<f64>() / 2.0;
        let across = Mat::from_fn(n, n - 1, |d, k| f64::from(u8::from(d == k + 1)) - v[d] * v[k + 1] / half);
        let eigen = Eigen::of(&(across.transpose() * &self.A * &across))?;
        let columns = &across * &eigen.vectors;
        let image = |d: usize| (0..n).map(|e| self.A[(d, e)] * unit[e]).sum::<f64>();
        let image: Vec<f64> = (0..n).map(image).collect();
        let along: f64 = image.iter().zip(&unit).map(|(x, y)| x * y).sum();
        let last = eigen.values[self.lost - 1];
        let next = eigen.values.get(self.lost).copied().unwrap_or(last + along.abs());
        // The eigenvalue of b itself: as it is, or lifted above those that are lost.
        let mut levels = vec![along, next, (next + (next - last)).max(eigen.values[n - 2])];
        levels.retain(|level| *level >= last);
        let multiplier = |level: f64| {
            let own = (level - along) / 2.0;
            (0..n).map(|d| (own * unit[d] - (image[d] - along * unit[d])) / square.sqrt()).collect::<Vec<f64>>()
        };
        let multipliers = levels.into_iter().map(multiplier).collect();
        let lost = columns.subcols(0, self.lost).to_owned();
        Some(At { loss: eigen.least(self.lost), lost, multipliers })
    }

    /// What the codes in a cone lose at least, by the multiplier at its middle that is best for them.
    pub fn bound(&self, vertices: &[Vec<f64>]) -> Option<Bound> {
        let mut centre = vec![0.0; self.size()];
        let scaled: Vec<Vec<f64>> = vertices.iter().map(|z| self.scaled(z)).collect();
        scaled.iter().for_each(|b| centre.iter_mut().zip(b).for_each(|(sum, x)| *sum += x / scaled.len() as f64));
        let at = self.at(&centre)?;
        let value = |nu: &Vec<f64>| {
            let values = scaled.iter().map(|b| Eigen::of(&self.lifted(b, nu)).map(|eigen| eigen.least(self.lost)));
            values.collect::<Option<Vec<f64>>>().map(|values| values.into_iter().fold(f64::INFINITY, f64::min))
        };
        let best = at.multipliers.iter().filter_map(|nu| Some((value(nu)?, nu.clone())));
        let (value, multiplier) = best.max_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(Bound { value, multiplier, loss: at.loss, centre })
    }

    /// A multiplier by which the codes of a cone lose at least `wanted`, looked for from one by which they do not. By one multiplier what a vertex
    /// loses is concave: each that is tried tells, for every vertex, a half-space that holds all those by which it loses `aim`, and the next one is the
    /// nearest in all of them. `None` if there is none, or none was found in a few rounds.
    pub fn raise(&self, vertices: &[Vec<f64>], from: &[f64], wanted: f64, aim: f64) -> Option<Vec<f64>> {
        let scaled: Vec<Vec<f64>> = vertices.iter().map(|z| self.scaled(z)).collect();
        let (mut nu, mut halves) = (from.to_vec(), Vec::new());
        for _ in 0..ROUNDS {
            let mut least = f64::INFINITY;
            for b in &scaled {
                let eigen = Eigen::of(&self.lifted(b, &nu))?;
                let value = eigen.least(self.lost);
                least = least.min(value);
                let lost = eigen.vectors.subcols(0, self.lost);
                let gradient = lost * (lost.transpose() * Mat::from_fn(self.size(), 1, |d, _| 2.0 * b[d]));
                let normal: Vec<f64> = (0..self.size()).map(|d| gradient[(d, 0)]).collect();
                let along = product(&normal, &nu);
                halves.push(Half { normal, least: aim - value + along });
            }
            if least >= wanted {
                return Some(nu);
            }
            let step = step_into(&halves, &nu)?;
            nu.iter_mut().zip(step).for_each(|(x, step)| *x += step);
        }
        None
    }

    /// Cuts a cone at the edge whose halves have the least left to a value that is wanted, by the logarithm of what their bounds lack, among edges that
    /// are not much shorter than the longest: where masses differ by orders of magnitude so do directions. `None` for a single vertex.
    pub fn cut(&self, vertices: &[Vec<f64>], wanted: f64) -> Option<Cut> {
        let pairs = (0..vertices.len()).flat_map(|j| (j + 1..vertices.len()).map(move |k| (j, k)));
        let length = |(j, k): (usize, usize)| {
            let entries = vertices[j].iter().zip(&vertices[k]).zip(&self.roots);
            entries.map(|((a, b), root)| (root * (a - b)).powi(2)).sum::<f64>().sqrt()
        };
        let edges: Vec<((usize, usize), f64)> = pairs.map(|edge| (edge, length(edge))).collect();
        let longest = edges.iter().map(|(_, length)| *length).fold(0.0, f64::max);
        let lacks = |bound: &Bound| ((wanted - bound.value).max(0.0) / wanted.abs().max(f64::MIN_POSITIVE)).ln_1p();
        let mut best: Option<(f64, Cut)> = None;
        let mut bounded = 0;
        for (edge, _) in edges.into_iter().filter(|(_, length)| *length > 0.0 && *length >= longest / ALIKE) {
            let (j, k) = edge;
            let middle: Vec<f64> = vertices[j].iter().zip(&vertices[k]).map(|(a, b)| (a + b) / 2.0).collect();
            let half = |at: usize| {
                let mut half = vertices.to_vec();
                half[at].clone_from(&middle);
                let bound = self.bound(&half)?;
                Some((half, bound))
            };
            let halves = [half(j)?, half(k)?];
            bounded += 2;
            let left = lacks(&halves[0].1) + lacks(&halves[1].1);
            if best.as_ref().is_none_or(|(least, _)| left < *least) {
                best = Some((left, Cut { edge, halves, bounded: 0 }));
            }
        }
        best.map(|(_, cut)| Cut { bounded, ..cut })
    }

    /// f from a code downhill, along P_K A b with what is lost for K, entries kept ≥ 0.
    pub fn descend(&self, from: &[f64], steps: usize) -> Option<(f64, Vec<f64>)> {
        let norm = |b: &[f64]| b.iter().map(|x| x * x).sum::<f64>().sqrt();
        let n = self.size();
        let mut b: Vec<f64> = from.iter().map(|x| x / norm(from)).collect();
        let mut at = self.at(&b)?;
        let mut step = 1.0 / (0..n).map(|d| self.A[(d, d)]).fold(f64::MIN_POSITIVE, f64::max);
        for _ in 0..steps {
            let image = Mat::from_fn(n, 1, |d, _| (0..n).map(|e| self.A[(d, e)] * b[e]).sum::<f64>());
            let along = &at.lost * (at.lost.transpose() * image);
            let mut moved = None;
            for _ in 0..40 {
                let next: Vec<f64> = (0..n).map(|d| (b[d] + step * along[(d, 0)]).max(0.0)).collect();
                let length = norm(&next);
                if length > 0.0 {
                    let next: Vec<f64> = next.iter().map(|x| x / length).collect();
                    let there = self.at(&next)?;
                    if there.loss < at.loss {
                        moved = Some((next, there));
                        break;
                    }
                }
                step /= 2.0;
            }
            let Some((next, there)) = moved else { break };
            let gained = at.loss - there.loss;
            (b, at) = (next, there);
            step *= 3.0;
            if gained <= 1e-15 * at.loss {
                break;
            }
        }
        Some((at.loss, b))
    }

    /// A positive code in the span of the first eigenvectors.
    fn first(&self, eigen: &Eigen) -> Option<Vec<f64>> {
        positive(&eigen.vectors.subcols(self.lost, self.size() - self.lost).to_owned())
    }

    /// Whether the first eigenvectors span a positive code, so that nothing is lost beyond the least eigenvalues. `None` if A is not finite.
    pub fn holds_positive(&self) -> Option<bool> {
        Eigen::of(&self.A).map(|eigen| self.first(&eigen).is_some())
    }

    /// The least f: that of the first eigenvectors if they span a positive code, else by bisection of the cones of codes, the lowest bound
    /// first. `None` if there are too many of them.
    pub fn search(&self, options: Options) -> Option<Found> {
        let eigen = Eigen::of(&self.A)?;
        if let Some(code) = self.first(&eigen) {
            let least = eigen.least(self.lost);
            return Some(Found { lower: least, upper: least, code, cones: 0 });
        }
        let sets = self.sets(options.sets)?;
        let trace: f64 = (0..self.size()).map(|d| self.A[(d, d)]).sum();
        let mut best = (f64::INFINITY, Vec::new());
        let mut heap = BinaryHeap::new();
        let offer = |vertices: Vec<Vec<f64>>, bound: Bound, above: f64, best: &mut (f64, Vec<f64>)| {
            if bound.loss < best.0 {
                *best = (bound.loss, bound.centre);
            }
            // No better than the bound of what it was cut from by rounding alone.
            Simplex { bound: bound.value.max(above), vertices }
        };
        for set in sets {
            let root = self.root(&set);
            let bound = self.bound(&root)?;
            heap.push(offer(root, bound, f64::NEG_INFINITY, &mut best));
        }
        if let Some((value, code)) = self.descend(&best.1, 100).filter(|(value, _)| *value < best.0) {
            best = (value, code);
        }
        let mut cones = heap.len();
        let mut lower = best.0;
        while let Some(simplex) = heap.pop() {
            lower = simplex.bound.min(best.0);
            if lower >= best.0 - (options.epsilon * best.0).max(1e-13 * trace) || cones >= options.budget {
                break;
            }
            // Cones without length are as good as their middle.
            let Some(cut) = self.cut(&simplex.vertices, best.0) else { break };
            cones += cut.bounded;
            for (half, bound) in cut.halves {
                heap.push(offer(half, bound, simplex.bound, &mut best));
            }
        }
        if let Some((value, code)) = self.descend(&best.1, 100).filter(|(value, _)| *value < best.0) {
            best = (value, code);
        }
        Some(Found { lower: lower.max(0.0), upper: best.0, code: best.1, cones })
    }

    /// An orthonormal basis of the best span that holds b: all of what is not lost.
    fn kept(&self, at: &At) -> Option<Mat<f64>> {
        let beside = Mat::from_fn(self.size(), self.size(), |d, e| {
            (0..self.lost).map(|k| at.lost[(d, k)] * at.lost[(e, k)]).sum::<f64>()
        });
        Eigen::of(&beside).map(|eigen| eigen.vectors.subcols(0, self.size() - self.lost).to_owned())
    }
}

/// Most dimensions that are lost: a cone of κ + 1 vertices has (κ + 1) κ/2 edges, and is cut up to a power of its dimensions.
const LOST: usize = 3;
/// Edges that are shorter than the longest by more than this factor are not cut.
const ALIKE: f64 = 3.0;

/// Most multipliers that are tried for one cone.
const ROUNDS: usize = 40;

/// All x with ⟨normal, x⟩ ≥ least.
#[derive(Debug, Clone)]
struct Half {
    normal: Vec<f64>,
    least: f64,
}

/// The shortest step from a point into all of these half-spaces; `None` if they have no point in common. With the λ ≥ 0 that minimise
/// ‖Σ λ (a, h) − (0, 1)‖², for normals a and what lacks along them h, it is Σ λ a / (1 − Σ λ h) (Lawson, Hanson 1974, ch. 23).
fn step_into(halves: &[Half], at: &[f64]) -> Option<Vec<f64>> {
    let lacks: Vec<f64> = halves.iter().map(|half| half.least - product(&half.normal, at)).collect();
    let norm = |half: &Half| product(&half.normal, &half.normal).sqrt().max(f64::MIN_POSITIVE);
    // The longest step to a single one is the unit.
    let unit = halves.iter().zip(&lacks).map(|(half, lack)| lack / norm(half)).fold(f64::MIN_POSITIVE, f64::max);
    let column = |(half, lack): (&Half, &f64)| {
        let mut column: Vec<f64> = half.normal.iter().copied().chain([lack / unit]).collect();
        let length = product(&column, &column).sqrt();
        column.iter_mut().for_each(|x| *x /= length);
        column
    };
    let columns: Vec<Vec<f64>> = halves.iter().zip(&lacks).map(column).collect();
    let gram: Vec<f64> = columns.iter().flat_map(|a| columns.iter().map(move |b| product(a, b))).collect();
    let ends: Vec<f64> = columns.iter().map(|column| column[at.len()]).collect();
    let mut solver = Solver::default();
    nonnegative(Gram::new(&gram, columns.len()), &ends, 1.0, 0.0, usize::MAX, &mut solver);
    let mut sum = vec![0.0; at.len() + 1];
    for (k, weight) in solver.codes() {
        sum.iter_mut().zip(&columns[k as usize]).for_each(|(sum, x)| *sum += weight * x);
    }
    let left = 1.0 - sum.pop()?;
    (left > 1e-12).then(|| sum.into_iter().map(|x| unit * x / left).collect())
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// x > 0, rounded to 12 bits.
fn to_few_bits(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !((1 << 41) - 1))
}

/// A vector of the span of orthonormal columns with positive entries only: the one at which the least of them, relative to the rows of the columns, is
/// largest. By the nearest point of the convex hull of the rows (Lawson, Hanson 1974, ch. 23).
fn positive(columns: &Mat<f64>) -> Option<Vec<f64>> {
    let n = columns.nrows();
    let norms: Vec<f64> = (0..n).map(|d| columns.row(d).norm_l2()).collect();
    if norms.iter().any(|norm| *norm < 1e-12) {
        return None;
    }
    let row = |d: usize, k: usize| columns[(d, k)] / norms[d];
    let entry = |d: usize, e: usize| 1.0 + (0..columns.ncols()).map(|k| row(d, k) * row(e, k)).sum::<f64>();
    let gram: Vec<f64> = (0..n * n).map(|at| entry(at / n, at % n)).collect();
    let mut solver = Solver::default();
    nonnegative(Gram::new(&gram, n), &vec![1.0; n], 1.0, 0.0, usize::MAX, &mut solver);
    let mut y = vec![0.0; columns.ncols()];
    for (d, weight) in solver.codes() {
        y.iter_mut().enumerate().for_each(|(k, y)| *y += weight * row(d as usize, k));
    }
    let b: Vec<f64> = (0..n).map(|d| y.iter().enumerate().map(|(k, y)| y * columns[(d, k)]).sum()).collect();
    let (least, most) = b.iter().fold((f64::INFINITY, 0.0f64), |(least, most), x| (least.min(*x), most.max(*x)));
    (least > 1e-9 * most).then_some(b)
}

/// Scaled codes b and b + 2^-k t for every t, all positive and with the span of the columns, which holds b.
#[derive(Debug, Clone)]
struct Around {
    b: Vec<f64>,
    others: Vec<(i32, Vec<f64>)>,
}

impl Around {
    fn new(columns: &Mat<f64>, b: &[f64]) -> Self {
        let (n, square) = (columns.nrows(), b.iter().map(|x| x * x).sum::<f64>());
        let along: Vec<f64> = (0..columns.ncols()).map(|k| (0..n).map(|d| b[d] * columns[(d, k)]).sum()).collect();
        // The columns without their part along b have one dimension less; the one that has most of it is left out.
        let skipped = (0..along.len()).max_by(|&j, &k| along[j].abs().total_cmp(&along[k].abs())).unwrap_or(0);
        let other = |k: usize| {
            let t: Vec<f64> = (0..n).map(|d| columns[(d, k)] - along[k] * b[d] / square).collect();
            let most = t.iter().zip(b).map(|(t, b)| t.abs() / b).fold(f64::MIN_POSITIVE, f64::max);
            // At most half of b is taken away.
            (most.log2().ceil() as i32 + 1, t)
        };
        Self { b: b.to_vec(), others: (0..along.len()).filter(|k| *k != skipped).map(other).collect() }
    }
}

/// Steps from a code with zeros to positive ones, relative to its length.
const STEPS: [f64; 4] = [1e-6, 1e-8, 1e-10, 1e-12];
/// Encoders whose neurons fire on all features, the best of which have the least loss there is of such: with the first eigenvectors as span of
/// their codes if that holds a positive vector, else, where features are independent, beside the best span that was found. Rows are exact: beside a
/// code with zeros they are so close to each other that f64 would lose what tells them apart.
///
/// # Errors
/// If f64 does not hold the problem.
pub fn encoders(problem: &Problem, latents: usize) -> Result<Vec<Vec<Vec<Rational>>>, GlobalError> {
    let loss = sequential(problem)?;
    let all: Vec<usize> = (0..problem.n()).collect();
    let Some(spans) = Spans::new(problem, &all, latents) else { return Ok(Vec::new()) };
    Ok(Encoders { loss: &loss, latents, spans: &spans }.list().unwrap_or_default())
}

struct Encoders<'a> {
    loss: &'a ApproximateLoss,
    latents: usize,
    spans: &'a Spans,
}

impl Encoders<'_> {
    fn list(&self) -> Option<Vec<Vec<Vec<Rational>>>> {
        let (n, n_p) = (self.loss.n(), self.loss.P().nrows());
        // D^½Pᵀ
        let reached = Mat::from_fn(n, n_p, |d, k| self.spans.roots[d] * self.loss.P()[(k, d)]);
        let svd = reached.thin_svd().ok()?;
        let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let rank = values.iter().filter(|value| **value > 1e-10 * most).count();
        let range = svd.U().subcols(0, rank).to_owned();
        // Rows from scaled codes in this range.
        let inverse =
            Mat::from_fn(n_p, n, |k, d| (0..rank).map(|j| svd.V()[(k, j)] * range[(d, j)] / values[j]).sum::<f64>());
        let eigen = Eigen::of(&(range.transpose() * &self.spans.A * &range))?;
        let kept = self.latents.min(rank);
        let first = &range * eigen.vectors.subcols(rank - kept, kept);
        if let Some(b) = positive(&first) {
            return self.rows(&inverse, &Around::new(&first, &b)).map(|rows| vec![rows]);
        }
        if rank < n {
            return None;
        }
        let code = self.spans.search(Options::default())?.code;
        let length = code.iter().map(|x| x * x).sum::<f64>().sqrt();
        let beside = |step: &f64| {
            let b: Vec<f64> = code.iter().map(|x| x / length + step).collect();
            let columns = self.spans.kept(&self.spans.at(&b)?)?;
            self.rows(&inverse, &Around::new(&columns, &b))
        };
        Some(STEPS.iter().filter_map(beside).collect())
    }

    /// The encoder with these scaled codes, above the threshold, and dead rows if there are fewer codes than rows.
    fn rows(&self, inverse: &Mat<f64>, codes: &Around) -> Option<Vec<Vec<Rational>>> {
        let (n, n_p) = (self.loss.n(), self.loss.P().nrows());
        // The least code is 1, or twice the threshold; all others are at least half as large.
        let least = codes.b.iter().zip(&self.spans.roots).map(|(b, root)| b / root).fold(f64::INFINITY, f64::min);
        let scale = from_f64((4.0 * self.loss.c()).max(1.0) / least).ok()?;
        let row = |b: &[f64]| {
            let entry = |k: usize| from_f64((0..n).map(|d| inverse[(k, d)] * b[d]).sum::<f64>()).ok();
            (0..n_p).map(entry).collect::<Option<Vec<Rational>>>()
        };
        let base = row(&codes.b)?;
        let mut rows = vec![base.iter().map(|x| &scale * x).collect::<Vec<Rational>>()];
        for (k, t) in &codes.others {
            let part = from_f64(f64::powi(2.0, -k)).ok()?;
            rows.push(base.iter().zip(&row(t)?).map(|(x, t)| &scale * (x + &part * t)).collect());
        }
        rows.resize(self.latents, vec![Rational::ZERO; n_p]);
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::{random_unit, stream};
    use crate::optim::global::patterns::root_bound;
    use crate::optim::global::upper::point_with;
    use crate::theory::families::{Family, Parameters};

    fn instance(n: usize, n_p: usize, c: Rational, seed: u64) -> Problem {
        Family::RandomUnit.generate(&Parameters { n, n_p, n_r: Some(n), c }, seed).unwrap()
    }

    fn spans(problem: &Problem, latents: usize) -> Spans {
        let all: Vec<usize> = (0..problem.n()).collect();
        Spans::new(problem, &all, latents).unwrap()
    }

    /// f by definition: what is left of A on b⊥, by deflation of b to the far end of the spectrum.
    fn deflated(A: &Mat<f64>, b: &[f64], lost: usize) -> f64 {
        let n = b.len();
        let square: f64 = b.iter().map(|x| x * x).sum();
        let project = Mat::from_fn(n, n, |d, e| f64::from(u8::from(d == e)) - b[d] * b[e] / square);
        let far = Mat::from_fn(n, n, |d, e| 1e3 * b[d] * b[e] / square);
        Eigen::of(&(&project * A * &project + far)).unwrap().least(lost)
    }

    #[test]
    fn the_least_loss_of_one_code_is_that_of_a_grid() {
        let (mut faces, mut bound) = (0, 0);
        for seed in 0..10 {
            let spans = spans(&instance(4, 4, Rational::ZERO, seed), 2);
            let found = spans.search(Options::default()).unwrap();
            assert!(found.upper - found.lower <= 1e-7 * found.upper, "{seed}: {found:?}");
            let at = deflated(&spans.A, &found.code, 2);
            assert!(found.code.iter().all(|x| *x >= 0.0) && (at - found.upper).abs() <= 1e-9, "{at} {found:?}");
            // All four entries may be positive in the grid: sets of three are enough.
            let steps = 12;
            let mut least = f64::INFINITY;
            for number in 1..(steps + 1usize).pow(4) {
                let b: Vec<f64> = (0..4).map(|d| ((number / (steps + 1).pow(d)) % (steps + 1)) as f64).collect();
                least = least.min(deflated(&spans.A, &b, 2));
            }
            assert!(found.lower <= least + 1e-9 && found.upper >= least - 0.02, "{seed}: {found:?} {least}");
            faces += usize::from(found.code.iter().filter(|x| **x > 1e-6).count() < 3);
            bound += usize::from(found.cones > 0);
        }
        assert!(
            faces >= 1 && bound >= 3,
            "{faces} best codes with fewer entries than a set, {bound} where the sign binds"
        );
    }

    #[test]
    fn the_shortest_step_into_half_spaces_is_found_or_there_is_none() {
        let half = |normal: [f64; 2], least: f64| Half { normal: normal.to_vec(), least };
        let corner = [half([2.0, 0.0], 6.0), half([0.0, 1.0], 5.0), half([1.0, 1.0], -9.0)];
        for (halves, at, expected) in [
            (&corner[..], [1.0, 1.0], Some([2.0, 4.0])),
            (&corner[..], [1.0, 7.0], Some([2.0, 0.0])),
            (&corner[..], [4.0, 7.0], Some([0.0, 0.0])),
            (&[half([1.0, 1.0], 1e-9)][..], [0.0, 0.0], Some([5e-10, 5e-10])),
            (&[half([1.0, 0.0], 1.0), half([-1.0, 0.0], 0.0)][..], [0.0, 0.0], None),
        ] {
            let step = step_into(halves, &at);
            match expected {
                None => assert!(step.is_none(), "{step:?}"),
                Some(expected) => {
                    let near = |(x, y): (&f64, f64)| (x - y).abs() <= 1e-12 * (1.0 + y.abs());
                    assert!(step.as_ref().is_some_and(|step| step.iter().zip(expected).all(near)), "{step:?}");
                }
            }
        }
    }

    #[test]
    fn multipliers_are_raised_to_what_every_vertex_loses() {
        let (mut raised, mut cones) = (0, 0);
        for seed in 0..4 {
            let parameters = Parameters { n: 5, n_p: 5, n_r: Some(5), c: Rational::ZERO };
            let problem = Family::SpreadMasses { decades: 4 }.generate(&parameters, seed).unwrap();
            let spans = spans(&problem, 3);
            let least = spans.search(Options::default()).unwrap().lower;
            for set in spans.sets(60).unwrap() {
                let root = spans.root(&set);
                let bound = spans.bound(&root).unwrap();
                let wanted = 0.9 * least;
                if bound.value >= wanted {
                    continue;
                }
                cones += 1;
                let Some(nu) = spans.raise(&root, &bound.multiplier, wanted, wanted) else { continue };
                let loses = |z: &Vec<f64>| Eigen::of(&spans.lifted(&spans.scaled(z), &nu)).unwrap().least(2);
                assert!(root.iter().all(|z| loses(z) >= wanted), "{seed} {set:?}");
                raised += 1;
            }
        }
        assert!(raised >= 5, "{raised} of {cones}");
    }

    #[test]
    fn encoders_come_to_the_infimum_and_attain_it_where_the_first_eigenvectors_span_a_positive_vector() {
        let (mut attained, mut approached) = (0, 0);
        for seed in 0..16 {
            let c = if seed % 2 == 0 { Rational::ZERO } else { Rational::ONE / Rational::from(10) };
            let problem = instance(5, 5, c, seed);
            let bound = to_f64(&root_bound(&problem, 3, 1e-10).unwrap().0);
            let found = spans(&problem, 3).search(Options::default()).unwrap();
            let encoders = encoders(&problem, 3).unwrap();
            let losses = encoders.iter().map(|w_e| to_f64(&point_with(&problem, w_e.clone()).1));
            let least = losses.fold(f64::INFINITY, f64::min);
            let total: f64 = problem.features().iter().map(|f| to_f64(&f.mass)).sum();
            assert!(least >= found.lower - 1e-12 * total, "{seed}: {least} {found:?}");
            if encoders.len() == 1 {
                assert!(bound <= least && least <= bound + 2e-10 * total, "{seed}: {least} {bound}");
                attained += 1;
            } else {
                assert!(least <= found.upper + 1e-6 * total, "{seed}: {least} {found:?}");
                approached += 1;
            }
        }
        assert!(attained >= 4 && approached >= 2, "{attained} {approached}");
    }

    #[test]
    fn dependent_features_have_the_best_encoder_that_fires_on_all() {
        // Features in a half-plane, close to an axis: two neurons that fire on all have all codes ⟨w, p⟩.
        let text = r#"{"format":1,"features":[{"w_p":["4","1"],"w_r":["1","0","0"],"mass":"1"},
            {"w_p":["4","-1"],"w_r":["0","1","0"],"mass":"1"},{"w_p":["5","2"],"w_r":["0","0","1"],"mass":"1"}]}"#;
        let problem = Problem::from_json(text).unwrap();
        let list = encoders(&problem, 2).unwrap();
        let (point, loss) = point_with(&problem, list[0].clone());
        assert!(point.w_e.iter().all(|w| {
            problem.features().iter().all(|f| crate::exact::rational::sign(&crate::theory::pattern::dot(w, &f.w_p)) > 0)
        }));
        // What is left is the part of the targets along x ∝ (13, −3, −8), with x_1 p_1 + x_2 p_2 + x_3 p_3 = 0: ‖Rx‖² = 1.
        assert!((to_f64(&loss) - 1.0).abs() <= 1e-12, "{}", to_f64(&loss));
        // No row fires on features that surround the origin.
        let text = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["-1","1"],"mass":"1"},{"w_p":["0","-1"],"mass":"1"}]}"#;
        assert!(encoders(&Problem::from_json(text).unwrap(), 2).unwrap().is_empty());
    }

    #[test]
    fn a_random_space_holds_a_positive_vector_as_often_as_wendel_says() {
        let mut rng = stream(0, "random spaces");
        for (n, size, expected) in [(6, 3, 0.5), (6, 4, 26.0 / 32.0), (5, 1, 1.0 / 16.0), (4, 4, 1.0)] {
            let mut held = 0;
            for _ in 0..1000 {
                let span = random_unit(n, size, &mut rng).qr().compute_thin_Q();
                let Some(b) = positive(&span) else { continue };
                let inside: Vec<f64> = (0..size).map(|k| (0..n).map(|d| b[d] * span[(d, k)]).sum()).collect();
                let again = |d: usize| (0..size).map(|k| inside[k] * span[(d, k)]).sum::<f64>();
                assert!((0..n).all(|d| b[d] > 0.0 && (again(d) - b[d]).abs() <= 1e-12));
                held += 1;
            }
            let (mean, deviation) = (1000.0 * expected, f64::sqrt(1000.0 * expected * (1.0 - expected)));
            assert!((f64::from(held) - mean).abs() <= 3.5 * deviation, "{n} {size}: {held}");
        }
    }
}
