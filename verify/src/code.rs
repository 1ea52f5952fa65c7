//! Groups of a `lower-bound` by one code that is not negative (FORMAT.md §5).

use crate::Refusal;
use crate::format::{CodeBound, CodeEnd, CodeNode};
use crate::instance::{Instance, require};
use crate::matrix::{Matrix, is_semidefinite};
use crate::nonexistence::MAX_NODES;
use crate::number::Num;

/// Most features of a group: every cone has κ + 1 vertices with as many numbers.
const MAX_FEATURES: usize = 64;

/// The value s that is paid by what is orthogonal to any z ≥ 0.
pub(crate) fn code_bound(
    instance: &Instance,
    features: &[usize],
    reaching: usize,
    code: &CodeBound,
    nodes: &mut usize,
) -> Result<Num, Refusal> {
    let size = features.len();
    if size > MAX_FEATURES {
        return Err(Refusal::limit(format!("over {MAX_FEATURES} features")));
    }
    let fewer = (1..size).contains(&reaching);
    require(fewer, || format!("{reaching} neurons reach the group of {size} features, expected at least 1 and fewer"))?;
    let lost = size - reaching;
    let weights = code.weights.iter().map(Num::from).collect::<Vec<_>>();
    require(weights.len() == size, || format!("weights: expected {size}"))?;
    for weight in &weights {
        require(instance.sign(weight)? > 0, || "weights: expected positive numbers".to_owned())?;
    }
    let (mut gram, mut inverse, mut masses): (Matrix<Num>, Vec<Num>, Vec<Num>) = (Vec::new(), Vec::new(), Vec::new());
    for &d in features {
        let (_, r, mass) = instance.feature(d)?;
        let row = features.iter().map(|&e| instance.dot(r, instance.feature(e)?.1));
        gram.push(row.collect::<Result<_, Refusal>>()?);
        inverse.push(mass.inverse()?);
        masses.push(mass.clone());
    }
    let s = Num::from(&code.s);
    let kappa = Num::from(lost as i64);
    let mut codes = Codes { instance, gram, inverse, masses, lost: kappa, s: s.clone(), nodes };
    let mut sets = Sets { size, next: Some((0..=lost).collect()) };
    for (at, tree) in code.trees.iter().enumerate() {
        let set = sets.next().ok_or_else(|| Refusal::condition("trees: more than sets of features".to_owned()))?;
        let mut vertices: Matrix<Num> = Vec::new();
        for d in set {
            let mut vertex = vec![Num::zero(); size];
            if let (Some(entry), Some(weight)) = (vertex.get_mut(d), weights.get(d)) {
                *entry = weight.clone();
            }
            vertices.push(vertex);
        }
        codes.node(tree, &vertices).map_err(|refusal| refusal.within(format!("trees[{at}]")))?;
    }
    require(sets.next().is_none(), || "trees: fewer than sets of features".to_owned())?;
    Ok(s)
}

/// All sets of a few of the first `size` numbers, in lexicographic order.
struct Sets {
    size: usize,
    next: Option<Vec<usize>>,
}

impl Iterator for Sets {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let set = self.next.take()?;
        let count = set.len();
        // The last entry that can grow, and those behind it as small as they can be.
        let grows = set.iter().enumerate().rev().find(|(k, d)| **d + count < self.size + k);
        self.next = grows.map(|(k, d)| set.iter().copied().take(k).chain((d + 1..).take(count - k)).collect());
        Some(set)
    }
}

struct Codes<'a, 'w> {
    instance: &'a Instance<'w>,
    /// G.
    gram: Matrix<Num>,
    /// 1/M_d.
    inverse: Vec<Num>,
    masses: Vec<Num>,
    /// κ.
    lost: Num,
    s: Num,
    nodes: &'a mut usize,
}

impl Codes<'_, '_> {
    fn node(&mut self, node: &CodeNode, vertices: &Matrix<Num>) -> Result<(), Refusal> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES {
            return Err(Refusal::limit(format!("over {MAX_NODES} nodes")));
        }
        match node {
            CodeNode::Halve { edge: (j, k), first, second } => {
                let (Some(a), Some(b), true) = (vertices.get(*j), vertices.get(*k), j != k) else {
                    return Err(Refusal::condition(format!("halve: ({j}, {k}) are not two vertices")));
                };
                let half = Num::from(2).inverse()?;
                let middle = self.instance.combine(a.len(), &[(half.clone(), a), (half, b)])?;
                for (at, key, child) in [(*j, "first", first), (*k, "second", second)] {
                    let mut cone = vertices.clone();
                    cone.iter_mut().skip(at).take(1).for_each(|vertex| vertex.clone_from(&middle));
                    self.node(child, &cone).map_err(|refusal| refusal.within(key))?;
                }
                Ok(())
            }
            CodeNode::Pays { mu, ends } => {
                let size = self.masses.len();
                require(mu.len() == size, || format!("mu: expected {size} numbers"))?;
                let mu: Vec<Num> = mu.iter().map(Num::from).collect();
                require(ends.len() == vertices.len(), || format!("ends: expected {}", vertices.len()))?;
                for (at, (end, vertex)) in ends.iter().zip(vertices).enumerate() {
                    self.end(end, vertex, &mu).map_err(|refusal| refusal.within(format!("ends[{at}]")))?;
                }
                Ok(())
            }
        }
    }

    /// G + ζμᵀ + μζᵀ − tD⁻¹ + Σ yyᵀ is positive semidefinite, and κt − Σ yᵀDy ≥ s.
    fn end(&self, end: &CodeEnd, vertex: &[Num], mu: &[Num]) -> Result<(), Refusal> {
        let (instance, size) = (self.instance, self.masses.len());
        let t = Num::from(&end.t);
        let y = instance.vectors(&end.y, size).map_err(|refusal| refusal.within("y"))?;
        let (one, less) = (Num::from(1), t.neg());
        let mut matrix: Matrix<Num> = Vec::new();
        for (d, gram) in self.gram.iter().enumerate() {
            let at = |list: &'_ [Num]| list.get(d).cloned().unwrap_or_else(Num::zero);
            let (code, multiplier, inverse) = (at(vertex), at(mu), at(&self.inverse));
            let mine: Vec<Num> = y.iter().map(|y| at(y)).collect();
            let entry = |(e, ((gram, other_code), other_mu)): (usize, ((&Num, &Num), &Num))| {
                let squares = mine.iter().zip(&y).filter_map(|(mine, y)| Some((mine, y.get(e)?)));
                let terms = [(gram, &one), (&code, other_mu), (&multiplier, other_code)];
                let own = (d == e).then_some((&less, &inverse));
                instance.sum(terms.into_iter().chain(own).chain(squares))
            };
            let row = gram.iter().zip(vertex).zip(mu).enumerate().map(entry);
            matrix.push(row.collect::<Result<_, Refusal>>()?);
        }
        let definite = is_semidefinite(instance, &matrix)?;
        require(definite, || "G + ζμᵀ + μζᵀ − tD⁻¹ + Σ yyᵀ is not positive semidefinite".to_owned())?;
        let mut paid = instance.product(&self.lost, &t)?;
        for y in &y {
            for (y, mass) in y.iter().zip(&self.masses) {
                paid = instance.difference(&paid, &instance.product(&instance.product(y, y)?, mass)?)?;
            }
        }
        let enough = instance.compare(&paid, &self.s)? >= 0;
        require(enough, || "κt − Σ yᵀDy is less than s".to_owned())
    }
}
