//! Lower bounds by one code that is not negative (`code` of `verify/FORMAT.md`): the least f of [`super::span`], made exact.
//!
//! The codes with few entries that are not 0 are cut into cones. In the middle b of a cone the best span is known, and with the multiplier ν for
//! zᵀx = 0 the matrix A + bνᵀ + νbᵀ has what is lost as its first eigenvectors. The matrix is linear in b and the sum of its κ least eigenvalues is concave,
//! so that all codes of the cone lose at least the least of these sums at its vertices. Each is proved by a t between two eigenvalues and vectors y that lift the
//! lower ones up to t.
//!
//! # Requirements
//! Few sets of κ + 1 features, κ being the number of features less the number of neurons. For κ = 1, [`super::kernel`] is at least as good.
//!
//! # References
//! Fan 1949, *On a theorem of Weyl concerning eigenvalues of linear transformations I*, for the sum of the least eigenvalues. Overton, Womersley 1992,
//! *On the sum of the largest eigenvalues of a symmetric matrix*, for its dual form.

use super::patterns::total;
use super::span::{Bound, Cut, Eigen, Options, Spans};
use crate::exact::Rational;
use crate::exact::matrix::is_positive_semidefinite;
use crate::exact::rational::{from_f64, to_f64};
use crate::theory::certificate;
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use faer::Mat;
use sdlab_verify::Certificate;
use sdlab_verify::format::{BoundNode, CodeBound, CodeEnd, CodeNode, Group, GroupBound, LowerBound, Rat};

/// Most cones of a proof.
const CONES: usize = 20_000;
/// Most cuts of one cone; certificates are nested at most 64 deep.
const DEPTH: usize = 40;
/// Room for rounding of eigenvalues in a proof, relative to tr A.
const ROOM: f64 = 1e-13;
/// What a multiplier is to prove beyond what is wanted, relative to that and to what the middle of the cone loses beyond it: without room a proof
/// needs many bits, with much of it many cones.
const AIM: [f64; 2] = [0.01, 0.02];

/// The group of these features with a contribution of s. `None` if that is more than is proved with so many cones.
pub(super) fn prove(problem: &Problem, features: &[usize], neurons: usize, s: &Rational) -> Option<Group> {
    let spans = Spans::new(problem, features, neurons)?;
    let sets = spans.sets(Options::default().sets)?;
    let all: Vec<usize> = (0..features.len()).collect();
    let weights = spans.root(&all).into_iter().enumerate().map(|(d, z)| from_f64(z[d]).ok().map(Rat));
    let weights = weights.collect::<Option<Vec<Rat>>>()?;
    let mut proof = Proof::new(problem, features, &spans, s);
    let tree = |set: &Vec<usize>| {
        let root = spans.root(set);
        let bound = spans.bound(&root)?;
        proof.node(&root, &bound, 0)
    };
    let trees = sets.iter().map(tree).collect::<Option<Vec<CodeNode>>>()?;
    let bound = GroupBound::Code(CodeBound { s: Rat(s.clone()), weights, trees });
    Some(Group { features: features.to_vec(), bound })
}

/// A lower bound of L̃ over all encoders with `latents` rows: `wanted`, if that is proved.
pub fn certify(problem: &Problem, latents: usize, wanted: &Rational) -> Option<Certificate> {
    let features: Vec<usize> = (0..problem.n()).collect();
    let group = prove(problem, &features, latents, wanted)?;
    let tree = BoundNode::Groups(vec![group]);
    let body = LowerBound { latents, pattern: None, bound: Rat(wanted.clone()), tree };
    Some(Certificate::new(certificate::instance(problem), body))
}

/// As [`certify`] for the best of a few values below the loss of a point for which the proof is short enough to be checked; with the value.
pub fn certify_below(problem: &Problem, latents: usize, loss: &Rational) -> Option<(Rational, Certificate)> {
    GAPS.iter().find_map(|gap| {
        let wanted = from_f64(to_f64(loss) * (1.0 - gap)).ok()?;
        let certificate = certify(problem, latents, &wanted)?;
        sdlab_verify::check(&certificate).is_ok().then_some((wanted, certificate))
    })
}

/// What is given up of a bound, relative to it. Proofs are longer the less it is.
const GAPS: [f64; 3] = [1e-6, 1e-5, 1e-4];

/// Bits of the numbers of a cone's proof; with each as few as still prove it.
const BITS: [i32; 8] = [8, 11, 14, 18, 22, 27, 33, 40];

/// The spacing of numbers that are about as large as this with so many bits: a power of two.
fn spacing(size: f64, bits: i32) -> f64 {
    f64::powi(2.0, size.max(1e-250).log2().floor() as i32 - bits)
}

fn rounded(x: f64, spacing: f64) -> f64 {
    (x / spacing).round() * spacing
}

/// A proof under construction.
struct Proof<'a> {
    spans: &'a Spans,
    s: &'a Rational,
    /// s in f64.
    wanted: f64,
    /// What eigenvalues may be wrong by.
    room: f64,
    /// G.
    gram: Vec<Vec<Rational>>,
    masses: Vec<Rational>,
    cones: usize,
}

impl<'a> Proof<'a> {
    fn new(problem: &Problem, features: &[usize], spans: &'a Spans, s: &'a Rational) -> Self {
        let f = |d: usize| &problem.features()[d];
        let gram = features.iter().map(|&d| features.iter().map(|&e| dot(&f(d).w_r, &f(e).w_r)).collect()).collect();
        let masses = features.iter().map(|&d| f(d).mass.clone()).collect();
        let room = ROOM * to_f64(&total(problem, features));
        Self { spans, s, wanted: to_f64(s), room, gram, masses, cones: 0 }
    }

    fn node(&mut self, vertices: &[Vec<f64>], bound: &Bound, depth: usize) -> Option<CodeNode> {
        self.cones += 1;
        if self.cones > CONES || depth > DEPTH {
            return None;
        }
        if let Some(leaf) = self.multiplier(vertices, bound).and_then(|nu| self.leaf(vertices, &nu)) {
            return Some(leaf);
        }
        let Cut { edge, halves, .. } = self.spans.cut(vertices, self.wanted)?;
        let mut half = |(vertices, bound): &(Vec<Vec<f64>>, Bound)| self.node(vertices, bound, depth + 1).map(Box::new);
        Some(CodeNode::Halve { edge, first: half(&halves[0])?, second: half(&halves[1])? })
    }

    /// One by which all codes of the cone lose what is wanted.
    fn multiplier(&self, vertices: &[Vec<f64>], bound: &Bound) -> Option<Vec<f64>> {
        if bound.value >= self.wanted {
            return Some(bound.multiplier.clone());
        }
        let beyond = bound.loss - self.wanted;
        let aim = self.wanted + (AIM[0] * self.wanted.abs()).min(AIM[1] * beyond);
        (beyond > 0.0).then(|| self.spans.raise(vertices, &bound.multiplier, self.wanted, aim))?
    }

    fn leaf(&self, vertices: &[Vec<f64>], nu: &[f64]) -> Option<CodeNode> {
        let largest = nu.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let with = |bits: &i32| {
            let entries = nu.iter().zip(&self.spans.roots);
            let mu: Vec<f64> = entries.map(|(x, root)| rounded(x / root, spacing(largest / root, *bits))).collect();
            let ends = vertices.iter().map(|z| self.end(z, &mu)).collect::<Option<Vec<CodeEnd>>>()?;
            let mu = exact(&mu)?.into_iter().map(Rat).collect();
            Some(CodeNode::Pays { mu, ends })
        };
        BITS.iter().find_map(with)
    }

    /// The proof of a vertex, seen to hold.
    fn end(&self, z: &[f64], mu: &[f64]) -> Option<CodeEnd> {
        let (size, lost, roots) = (self.masses.len(), self.spans.lost, &self.spans.roots);
        let lifted = self.spans.lifted(&self.spans.scaled(z), &self.spans.scaled(mu));
        let eigen = Eigen::of(&lifted)?;
        if eigen.least(lost) < self.wanted {
            return None;
        }
        let top = eigen.values[lost - 1];
        let with = |bits: &i32| {
            let vector = |k: usize| {
                let lift = (top - eigen.values[k]).sqrt();
                let entry =
                    |d: usize| rounded(lift * eigen.vectors[(d, k)] / roots[d], spacing(lift / roots[d], *bits));
                (0..size).map(entry).collect::<Vec<f64>>()
            };
            let y: Vec<Vec<f64>> = (0..lost).filter(|&k| eigen.values[k] < top).map(vector).collect();
            let more = |d: usize, e: usize| y.iter().map(|y| y[d] * y[e]).sum::<f64>() * roots[d] * roots[e];
            let level = Eigen::of(&Mat::from_fn(size, size, |d, e| lifted[(d, e)] + more(d, e)))?.values[0];
            let spacing = spacing(level.abs(), *bits);
            let t = ((level - self.room) / spacing).floor() * spacing;
            let spent: f64 = y.iter().map(|y| self.spans.scaled(y).iter().map(|x| x * x).sum::<f64>()).sum();
            (lost as f64 * t - spent >= self.wanted - self.room).then(|| self.proved(z, mu, t, &y))?
        };
        BITS.iter().find_map(with)
    }

    /// The proof of a vertex with these numbers, if they prove it exactly.
    fn proved(&self, z: &[f64], mu: &[f64], t: f64, y: &[Vec<f64>]) -> Option<CodeEnd> {
        let (size, lost) = (self.masses.len(), self.spans.lost);
        let (z, mu, t) = (exact(z)?, exact(mu)?, from_f64(t).ok()?);
        let y = y.iter().map(|y| exact(y)).collect::<Option<Vec<_>>>()?;
        let squares = y.iter().flat_map(|y| y.iter().zip(&self.masses));
        let spent = squares.fold(Rational::ZERO, |sum, (y, mass)| sum + y * y * mass);
        if Rational::from(lost) * &t - spent < *self.s {
            return None;
        }
        let entry = |d: usize, e: usize| {
            let lifted = y.iter().fold(Rational::ZERO, |sum, y| sum + &y[d] * &y[e]);
            let own = if d == e { &t / &self.masses[d] } else { Rational::ZERO };
            &self.gram[d][e] + &z[d] * &mu[e] + &mu[d] * &z[e] - own + lifted
        };
        let matrix: Vec<Vec<Rational>> = (0..size).map(|d| (0..size).map(|e| entry(d, e)).collect()).collect();
        is_positive_semidefinite(&matrix).then(|| CodeEnd { t: Rat(t), y: certificate::rows(&y) })
    }
}

fn exact(numbers: &[f64]) -> Option<Vec<Rational>> {
    numbers.iter().map(|x| from_f64(*x).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::families::{Family, Parameters};
    use serde_json::Value;

    #[test]
    fn the_least_loss_of_one_code_is_certified_and_nothing_above_it() {
        let (mut above, mut halved) = (0, 0);
        for (n, latents, seed) in (0..6).map(|seed| if seed < 5 { (4, 2, seed) } else { (5, 3, seed) }) {
            let parameters = Parameters { n, n_p: n, n_r: Some(n), c: Rational::ZERO };
            let problem = Family::SpreadMasses { decades: 2 }.generate(&parameters, seed).unwrap();
            let all: Vec<usize> = (0..n).collect();
            let spans = Spans::new(&problem, &all, latents).unwrap();
            let found = spans.search(Options::default()).unwrap();
            if found.cones == 0 {
                continue;
            }
            above += 1;
            let certificate = certify(&problem, latents, &from_f64(found.upper * (1.0 - 1e-6)).unwrap()).unwrap();
            assert_eq!(sdlab_verify::check(&certificate).unwrap().kind(), "lower-bound");
            let text = certificate.to_json();
            halved += usize::from(text.contains("\"halve\""));
            let more = from_f64(found.upper * (1.0 + 1e-6)).unwrap();
            assert!(above > 1 || certify(&problem, latents, &more).is_none(), "{seed}");
            // What is claimed is what is proved.
            let mut value: Value = serde_json::from_str(&text).unwrap();
            for key in ["/body/bound", "/body/tree/groups/0/code/s"] {
                *value.pointer_mut(key).unwrap() = more.to_string().into();
            }
            let refusal = sdlab_verify::check_text(&value.to_string()).unwrap_err().to_string();
            assert!(refusal.contains("less than s"), "{refusal}");
        }
        assert!(above >= 2 && halved >= 1, "{above} bounds above that of the rank, {halved} with cones that are cut");
    }
}
