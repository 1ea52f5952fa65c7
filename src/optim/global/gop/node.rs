//! Products of simplices of codes, and how they are cut.
//!
//! Where the simplices of two neurons meet the codes may be parallel, and the coefficients of [`super::wedge`] give no bound however small they
//! are. There the code of the second neuron is replaced by its difference to that of the first, at one scale: the span is the same, and the
//! differences of the points of two simplices are a union of simplicial cones, which are cut in turn. A limit in which codes become parallel is
//! an ordinary point then.

use super::wedge::distance;
use crate::optim::cell::dot;
use std::cmp::Ordering;
use std::rc::Rc;

/// A code with its weights on the rays.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vertex {
    pub(super) b: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl Vertex {
    pub(super) fn unit(mut self) -> Self {
        let length = dot(&self.b, &self.b).sqrt();
        self.b.iter_mut().chain(&mut self.weights).for_each(|x| *x /= length);
        self
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let sum = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Self { b: sum(&self.b, &other.b), weights: sum(&self.weights, &other.weights) }
    }

    pub(super) fn times(mut self, factor: f64) -> Self {
        self.b.iter_mut().chain(&mut self.weights).for_each(|x| *x *= factor);
        self
    }
}

pub(super) type Simplex = Vec<Vertex>;

/// Differences of codes of one neuron to those of another one.
#[derive(Debug, Clone)]
pub(super) struct Differences {
    pub(super) from: usize,
    /// Unit vectors y − x.
    pub(super) at: Vec<Vec<f64>>,
    /// y, codes of this neuron, and x, codes of the other.
    pub(super) of: Simplex,
    pub(super) to: Simplex,
}

/// A product of simplices with what bounds it.
pub(super) struct Node {
    /// No codes of it have a larger tr(K P).
    pub(super) bound: f64,
    pub(super) chart: usize,
    pub(super) simplices: Vec<Rc<Simplex>>,
    /// What stands for a neuron's simplex, if something does.
    pub(super) differences: Vec<Option<Rc<Differences>>>,
    /// Whether its own bound is below that of the node that it is a part of, and whether it is that of the codes, not of differences.
    pub(super) improved: bool,
    pub(super) plain: bool,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Node {}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Node {
    /// The largest bound comes first out of a heap.
    fn cmp(&self, other: &Self) -> Ordering {
        self.bound.total_cmp(&other.bound)
    }
}

/// How far points are from a limit that codes approach but do not attain.
pub(super) const BESIDE: f64 = 1e-6;
/// Simplices may be replaced by differences if their vertices are at most this far from the centre.
pub(super) const SMALL: f64 = 0.25;
/// A length below which simplices are not told from points.
pub(super) const POINT: f64 = 1e-9;

impl Node {
    /// The vertices of the simplices.
    pub(super) fn plain(&self) -> Vec<Vec<&Vec<f64>>> {
        self.simplices.iter().map(|simplex| simplex.iter().map(|vertex| &vertex.b).collect()).collect()
    }

    pub(super) fn has_differences(&self) -> bool {
        self.differences.iter().any(Option::is_some)
    }

    /// The simplices, or the differences that stand for them.
    pub(super) fn current(&self) -> Vec<Vec<&Vec<f64>>> {
        let mut current = self.plain();
        for (cone, differences) in current.iter_mut().zip(&self.differences) {
            if let Some(differences) = differences {
                *cone = differences.at.iter().collect();
            }
        }
        current
    }

    fn part(&self) -> Self {
        Self {
            bound: self.bound,
            chart: self.chart,
            simplices: self.simplices.clone(),
            differences: self.differences.clone(),
            improved: false,
            plain: false,
        }
    }

    /// The two halves of a simplex, cut in the middle of an edge.
    pub(super) fn halved(&self, i: usize, j: usize, k: usize) -> Vec<Self> {
        let middle = self.simplices[i][j].plus(&self.simplices[i][k]).unit();
        let half = |at: usize| {
            let mut half = self.part();
            Rc::make_mut(&mut half.simplices[i])[at] = middle.clone();
            half
        };
        vec![half(j), half(k)]
    }

    pub(super) fn halved_differences(&self, i: usize, j: usize, k: usize) -> Vec<Self> {
        let half = |at: usize| {
            let mut half = self.part();
            if let Some(differences) = &mut half.differences[i] {
                let differences = Rc::make_mut(differences);
                let middle: Vec<f64> = differences.at[j].iter().zip(&differences.at[k]).map(|(a, b)| a + b).collect();
                let scale = 1.0 / dot(&middle, &middle).sqrt();
                differences.of[at] = differences.of[j].plus(&differences.of[k]).times(scale);
                differences.to[at] = differences.to[j].plus(&differences.to[k]).times(scale);
                differences.at[at] = middle.into_iter().map(|x| scale * x).collect();
            }
            half
        };
        vec![half(j), half(k)]
    }

    /// The nodes in which one neuron's codes are replaced by differences to another one's, if the simplices of two neurons are small and may meet.
    pub(super) fn replaced(&self) -> Option<Vec<Self>> {
        let free = |i: &usize| self.differences[*i].is_none();
        let radius = |i: usize| {
            let centre = centre(&self.simplices[i]).b;
            let most = self.simplices[i].iter().map(|vertex| distance(&vertex.b, &centre)).fold(0.0, f64::max);
            (centre, most)
        };
        let count = self.simplices.len();
        for i in (0..count).filter(free) {
            for j in (i + 1..count).filter(free) {
                let ((a, r), (b, s)) = (radius(i), radius(j));
                // The factor has room for simplices that only touch.
                if r.max(s) > SMALL || distance(&a, &b) > 1.05 * (r + s) {
                    continue;
                }
                let pieces = differences(i, &self.simplices[j], &self.simplices[i])?;
                let part = |piece: Differences| {
                    let mut part = self.part();
                    part.differences[j] = Some(Rc::new(piece));
                    part
                };
                return Some(pieces.into_iter().map(part).collect());
            }
        }
        None
    }
}

/// Cones that cover the differences y − x of points y and x of two simplices, scaled to a common plane.
///
/// A common vertex counts as one of those of y or of those of x, by the sign of its weight in the difference. Then Σ μ_k y_k − Σ λ_l x_l with
/// weights of one sum is a plan of transport from x to y, and the plans whose support is a staircase in the table of k and l cover all differences.
fn differences(from: usize, of: &Simplex, to: &Simplex) -> Option<Vec<Differences>> {
    let form = mean(&of.iter().chain(to).map(|vertex| &vertex.b).collect::<Vec<_>>());
    let scaled = |simplex: &Simplex| -> Option<Simplex> {
        let scaled = |vertex: &Vertex| {
            let height = dot(&form, &vertex.b);
            (height > 0.05).then(|| vertex.clone().times(1.0 / height))
        };
        simplex.iter().map(scaled).collect()
    };
    let (of, to) = (scaled(of)?, scaled(to)?);
    let same = |j: usize, k: usize| distance(&of[j].b, &to[k].b) <= 1e-12;
    let common: Vec<(usize, usize)> =
        (0..of.len()).filter_map(|j| Some((j, (0..to.len()).find(|&k| same(j, k))?))).collect();
    let piece = |pairs: Vec<(usize, usize)>| {
        let mut piece = Differences { from, at: Vec::new(), of: Vec::new(), to: Vec::new() };
        for (j, k) in pairs {
            let scale = 1.0 / distance(&of[j].b, &to[k].b);
            piece.at.push(of[j].b.iter().zip(&to[k].b).map(|(y, x)| scale * (y - x)).collect());
            piece.of.push(of[j].clone().times(scale));
            piece.to.push(to[k].clone().times(scale));
        }
        piece
    };
    Some(pieces(of.len(), to.len(), &common).into_iter().map(piece).collect())
}

/// For two cones with so many vertices, of which some are common: for each piece of their differences the pairs of vertices of which it has the differences.
pub(super) fn pieces(of: usize, to: usize, common: &[(usize, usize)]) -> Vec<Vec<(usize, usize)>> {
    let mut pieces = Vec::new();
    for signs in 0..1usize << common.len() {
        let positive = |at: usize| (signs >> at) & 1 == 1;
        let of_kept = |j: &usize| !common.iter().enumerate().any(|(at, c)| c.0 == *j && !positive(at));
        let to_kept = |k: &usize| !common.iter().enumerate().any(|(at, c)| c.1 == *k && positive(at));
        let (ys, xs): (Vec<usize>, Vec<usize>) = ((0..of).filter(of_kept).collect(), (0..to).filter(to_kept).collect());
        if !ys.is_empty() && !xs.is_empty() {
            let paths = staircases(ys.len(), xs.len()).into_iter();
            pieces.extend(paths.map(|path| path.into_iter().map(|(j, k)| (ys[j], xs[k])).collect::<Vec<_>>()));
        }
    }
    pieces
}

/// The paths from (0, 0) to the last pair of two lists that step on in one of them each time, steps in the first before steps in the second.
fn staircases(first: usize, second: usize) -> Vec<Vec<(usize, usize)>> {
    let mut paths = vec![vec![(0, 0)]];
    for _ in 2..first + second {
        let longer = |path: Vec<(usize, usize)>| {
            let (j, k) = path.last().copied().unwrap_or_default();
            let next = [(j + 1, k), (j, k + 1)].into_iter().filter(|&(j, k)| j < first && k < second);
            next.map(move |next| path.iter().copied().chain([next]).collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        paths = paths.into_iter().flat_map(longer).collect();
    }
    paths
}

pub(super) fn sum(simplex: &Simplex) -> Vertex {
    let mut sum = simplex[0].clone();
    simplex[1..].iter().for_each(|vertex| sum = sum.plus(vertex));
    sum
}

pub(super) fn centre(simplex: &Simplex) -> Vertex {
    sum(simplex).unit()
}

/// The sum of some vectors at unit length.
pub(super) fn mean(vectors: &[&Vec<f64>]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors[0].len()];
    vectors.iter().for_each(|vector| sum.iter_mut().zip(*vector).for_each(|(sum, x)| *sum += x));
    let length = dot(&sum, &sum).sqrt();
    sum.into_iter().map(|x| x / length).collect()
}

/// The longest edge that has a middle, and its length.
pub(super) fn longest(vectors: Vec<&Vec<f64>>) -> (f64, usize, usize) {
    let mut best = (0.0, 0, 1);
    for j in 0..vectors.len() {
        for k in j + 1..vectors.len() {
            let length = distance(vectors[j], vectors[k]);
            if length > best.0 && length < 1.999 {
                best = (length, j, k);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use faer::Mat;
    use faer::linalg::solvers::Solve;

    /// The weights of the combination of independent vectors that is nearest to d, and how near it is.
    fn weights(vectors: &[Vec<f64>], d: &[f64]) -> (Vec<f64>, f64) {
        let A = Mat::from_fn(d.len(), vectors.len(), |k, j| vectors[j][k]);
        let right = Mat::from_fn(d.len(), 1, |k, _| d[k]);
        let x = (A.transpose() * &A).partial_piv_lu().solve(A.transpose() * &right);
        ((0..vectors.len()).map(|j| x[(j, 0)]).collect(), (A * &x - right).norm_l2())
    }

    #[test]
    fn every_difference_of_points_of_two_simplices_is_in_one_of_the_cones() {
        let vertex = |b: [f64; 5]| Vertex { b: b.to_vec(), weights: vec![0.0; 5] }.unit();
        let to = vec![
            vertex([1.0, 0.1, 0.0, 1.0, 0.0]),
            vertex([1.0, 0.0, 0.0, 0.0, 0.0]),
            vertex([1.0, 0.0, 0.3, 0.0, 0.0]),
        ];
        let alone = vec![vertex([1.0, 0.0, 0.0, 0.0, 0.2]), vertex([1.0, 0.3, 0.0, 0.1, 0.0])];
        let shared = vec![to[1].clone(), vertex([1.0, 0.0, 0.0, 0.1, 0.4]), vertex([1.0, 0.2, 0.0, 0.0, 0.0])];
        for (of, pieces) in [(&alone, 3), (&shared, 6)] {
            let cones = differences(0, of, &to).unwrap();
            assert_eq!(cones.len(), pieces);
            let mut used = vec![0; cones.len()];
            for draw in 0..400 {
                let point = |simplex: &Simplex, salt: usize| {
                    let weight = |k: usize| ((draw * (2 * k + 3) + salt * (k + 1)) % 101) as f64 + 1.0;
                    let terms = simplex.iter().enumerate().map(|(k, vertex)| vertex.clone().times(weight(k)));
                    terms.reduce(|a, b| a.plus(&b)).unwrap().b
                };
                // At one scale of the form, which is the first coordinate here up to a factor for each vertex.
                let form = mean(&of.iter().chain(&to).map(|vertex| &vertex.b).collect::<Vec<_>>());
                let (y, x) = (point(of, 17), point(&to, 40));
                let (height, other) = (dot(&form, &y), dot(&form, &x));
                let d: Vec<f64> = y.iter().zip(&x).map(|(y, x)| y / height - x / other).collect();
                let inside = |cone: &Differences| {
                    let (weights, rest) = weights(&cone.at, &d);
                    weights.iter().all(|weight| *weight >= -1e-9) && rest <= 1e-9
                };
                let found: Vec<usize> = (0..cones.len()).filter(|&k| inside(&cones[k])).collect();
                assert!(!found.is_empty(), "{draw}");
                found.into_iter().for_each(|k| used[k] += 1);
            }
            assert!(used.iter().all(|count| *count > 0), "{used:?}");
            for cone in &cones {
                for (at, (y, x)) in cone.at.iter().zip(cone.of.iter().zip(&cone.to)) {
                    assert!(distance(at, &y.plus(&x.clone().times(-1.0)).b) <= 1e-12);
                }
            }
        }
    }
}
