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
use sdlab_verify::Certificate;
use sdlab_verify::format::{BoundNode, CodeBound, CodeEnd, CodeNode, Group, GroupBound, LowerBound, Rat};

/// Most cones of a proof.
const CONES: usize = 20_000;
/// Most cuts of one cone; certificates are nested at most 64 deep.
const DEPTH: usize = 40;
/// Room for rounding in a proof: of eigenvalues, relative to tr A, and of vectors that are written in few bits, relative to what they lift.
const ROOM: [f64; 2] = [1e-13, 4e-9];

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

/// x in 33 bits.
fn rounded(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !((1 << 20) - 1))
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
        let room = ROOM[0] * to_f64(&total(problem, features));
        Self { spans, s, wanted: to_f64(s), room, gram, masses, cones: 0 }
    }

    fn node(&mut self, vertices: &[Vec<f64>], bound: &Bound, depth: usize) -> Option<CodeNode> {
        self.cones += 1;
        if self.cones > CONES || depth > DEPTH {
            return None;
        }
        if bound.value >= self.wanted
            && let Some(leaf) = self.leaf(vertices, &bound.multiplier)
        {
            return Some(leaf);
        }
        let Cut { edge, halves, .. } = self.spans.cut(vertices, self.wanted)?;
        let mut half = |(vertices, bound): &(Vec<Vec<f64>>, Bound)| self.node(vertices, bound, depth + 1).map(Box::new);
        Some(CodeNode::Halve { edge, first: half(&halves[0])?, second: half(&halves[1])? })
    }

    fn leaf(&self, vertices: &[Vec<f64>], nu: &[f64]) -> Option<CodeNode> {
        let written: Vec<f64> = nu.iter().zip(&self.spans.roots).map(|(x, root)| rounded(x / root)).collect();
        let nu = self.spans.scaled(&written);
        let mu = written.iter().map(|x| from_f64(*x).ok()).collect::<Option<Vec<Rational>>>()?;
        let ends = vertices.iter().map(|z| self.end(z, &nu, &mu)).collect::<Option<Vec<CodeEnd>>>()?;
        Some(CodeNode::Pays { mu: mu.into_iter().map(Rat).collect(), ends })
    }

    /// The proof of a vertex, seen to hold.
    fn end(&self, z: &[f64], nu: &[f64], mu: &[Rational]) -> Option<CodeEnd> {
        let (size, lost) = (self.masses.len(), self.spans.lost);
        let eigen = Eigen::of(&self.spans.lifted(&self.spans.scaled(z), nu))?;
        let t = eigen.values[lost - 1];
        let vector = |k: usize| {
            let lift = (t - eigen.values[k]).sqrt();
            let entries = (0..size).map(|d| from_f64(rounded(lift * eigen.vectors[(d, k)] / self.spans.roots[d])).ok());
            entries.collect::<Option<Vec<Rational>>>()
        };
        let y = (0..lost).filter(|&k| eigen.values[k] < t).map(vector).collect::<Option<Vec<_>>>()?;
        let t = from_f64(t - self.room - ROOM[1] * t.abs()).ok()?;
        let z = z.iter().map(|x| from_f64(*x).ok()).collect::<Option<Vec<Rational>>>()?;
        let entry = |d: usize, e: usize| {
            let lifted = y.iter().fold(Rational::ZERO, |sum, y| sum + &y[d] * &y[e]);
            let own = if d == e { &t / &self.masses[d] } else { Rational::ZERO };
            &self.gram[d][e] + &z[d] * &mu[e] + &mu[d] * &z[e] - own + lifted
        };
        let matrix: Vec<Vec<Rational>> = (0..size).map(|d| (0..size).map(|e| entry(d, e)).collect()).collect();
        let squares = y.iter().flat_map(|y| y.iter().zip(&self.masses));
        let spent = squares.fold(Rational::ZERO, |sum, (y, mass)| sum + y * y * mass);
        let paid = Rational::from(lost) * &t - spent;
        let holds = paid >= *self.s && is_positive_semidefinite(&matrix);
        holds.then(|| CodeEnd { t: Rat(t), y: certificate::rows(&y) })
    }
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
