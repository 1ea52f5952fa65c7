//! Groups of a `lower-bound` whose neurons share features (FORMAT.md §5, `cones`).

use crate::Refusal;
use crate::format::{ConesBound, ConesStep};
use crate::instance::{Instance, require};
use crate::matrix::Matrix;
use crate::minors::Forms;
use crate::nonexistence::MAX_NODES;
use crate::number::Num;

/// Most features of a group.
const MAX_FEATURES: usize = 12;
/// Most children of a node, and most nodes from the root to a leaf.
const MAX_CHILDREN: usize = 512;
const MAX_PATH: usize = 400;

/// The value s that the group loses, if its neurons have codes of these cones.
pub(crate) fn cones_bound(
    instance: &Instance,
    features: &[usize],
    known: &Matrix<Option<bool>>,
    cones: &ConesBound,
    nodes: &mut usize,
) -> Result<Num, Refusal> {
    let size = features.len();
    if size > MAX_FEATURES {
        return Err(Refusal::limit(format!("over {MAX_FEATURES} features")));
    }
    let mut rays = Vec::new();
    for (i, row) in known.iter().enumerate() {
        let fires = features.iter().map(|&d| row.get(d).copied().flatten());
        if fires.clone().all(|fires| fires == Some(false)) {
            continue;
        }
        let fires: Option<Vec<bool>> = fires.collect();
        let fires = fires.ok_or_else(|| Refusal::condition(format!("neuron {i} is undecided on the group")))?;
        let on = fires.iter().enumerate().filter(|(_, fires)| **fires);
        rays.push(on.map(|(place, _)| Ray { place, negative: false }).collect::<Vec<Ray>>());
    }
    let within = (1..=size).contains(&rays.len());
    require(within, || format!("{} neurons reach the group of {size} features, expected 1 to {size}", rays.len()))?;
    require(has_matching(size, &rays), || "the codes of the neurons are always dependent".to_owned())?;
    let s = Num::from(&cones.s);
    let t = instance.difference(&instance.total(features.iter().copied())?, &s)?;
    let forms = Forms::new(instance, features, rays.len(), &t)?;
    let codes = rays.iter().map(|rays| rays.iter().map(|ray| ray.vector(size)).collect()).collect();
    let (cut, differences) = (vec![false; rays.len()], vec![None; rays.len()]);
    let mut walk = Walk { instance, size, forms, steps: cones.steps.iter(), at: 0, nodes };
    walk.node(&Node { rays, codes, cut, differences }, 0)?;
    require(walk.steps.next().is_none(), || format!("steps[{}]: the tree has ended before", walk.at))?;
    Ok(s)
}

/// ± the unit vector of a feature of the group.
#[derive(Clone, Copy, PartialEq)]
struct Ray {
    place: usize,
    negative: bool,
}

impl Ray {
    fn vector(self, size: usize) -> Vec<Num> {
        let one = Num::from(1);
        let entry = if self.negative { one.neg() } else { one };
        (0..size).map(|d| if d == self.place { entry.clone() } else { Num::zero() }).collect()
    }

    fn against(self) -> Self {
        Self { place: self.place, negative: !self.negative }
    }
}

/// Whether there is a different feature for each neuron (augmenting paths).
fn has_matching(size: usize, rays: &[Vec<Ray>]) -> bool {
    fn augment(i: usize, rays: &[Vec<Ray>], seen: &mut [bool], owner: &mut [Option<usize>]) -> bool {
        for ray in rays.get(i).into_iter().flatten() {
            let Some(seen_here) = seen.get_mut(ray.place) else { continue };
            if std::mem::replace(seen_here, true) {
                continue;
            }
            let free = match owner.get(ray.place).copied().flatten() {
                Some(other) => augment(other, rays, seen, owner),
                None => true,
            };
            if let Some(owner) = owner.get_mut(ray.place).filter(|_| free) {
                *owner = Some(i);
                return true;
            }
        }
        false
    }
    let mut owner = vec![None; size];
    (0..rays.len()).all(|i| augment(i, rays, &mut vec![false; size], &mut owner))
}

/// What is known of the codes at a node.
#[derive(Clone)]
struct Node {
    /// Rays of a cone that holds the cone of codes of each neuron.
    rays: Vec<Vec<Ray>>,
    /// Vertices of the cone of codes of each neuron, and whether it was cut.
    codes: Vec<Matrix<Num>>,
    cut: Vec<bool>,
    /// Vertices of the cone of its differences to another neuron, where there are some.
    differences: Vec<Option<Matrix<Num>>>,
}

impl Node {
    /// The node with another cone.
    fn with(&self, change: Change) -> Self {
        let mut node = self.clone();
        match change {
            Change::Rays(j, rays, codes) => {
                replace(&mut node.rays, j, rays);
                replace(&mut node.codes, j, codes);
            }
            Change::Codes(i, codes) => {
                replace(&mut node.codes, i, codes);
                replace(&mut node.cut, i, true);
            }
            Change::Differences(i, differences) => replace(&mut node.differences, i, Some(differences)),
        }
        node
    }

    fn neuron(&self, i: usize) -> Result<(&[Ray], &Matrix<Num>), Refusal> {
        match (self.rays.get(i), self.codes.get(i)) {
            (Some(rays), Some(codes)) => Ok((rays, codes)),
            _ => Err(Refusal::condition(format!("there is no neuron {i} of the group"))),
        }
    }
}

/// What a child has instead.
enum Change {
    /// The cone of one neuron, by its rays.
    Rays(usize, Vec<Ray>, Matrix<Num>),
    /// A part of the cone of one neuron.
    Codes(usize, Matrix<Num>),
    /// Differences of one neuron.
    Differences(usize, Matrix<Num>),
}

fn replace<T>(list: &mut [T], at: usize, value: T) {
    if let Some(slot) = list.get_mut(at) {
        *slot = value;
    }
}

struct Walk<'a, 'w> {
    instance: &'a Instance<'w>,
    size: usize,
    forms: Forms<'a, 'w>,
    steps: std::slice::Iter<'a, ConesStep>,
    at: usize,
    nodes: &'a mut usize,
}

impl Walk<'_, '_> {
    fn node(&mut self, node: &Node, depth: usize) -> Result<(), Refusal> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES || depth > MAX_PATH {
            return Err(Refusal::limit(format!("over {MAX_NODES} nodes, or over {MAX_PATH} on a path")));
        }
        let at = self.at;
        let step = self.steps.next().ok_or_else(|| Refusal::condition("steps: the tree has no end".to_owned()))?;
        self.at += 1;
        let changes = match step {
            ConesStep::Minus { neurons } => self.minus(node, *neurons),
            ConesStep::Cut { differences, edge, weight } => self.cut(node, *differences, *edge, &Num::from(weight)),
            ConesStep::Difference { neurons, form } => {
                let form = self.instance.vector(form, self.size).map_err(|refusal| refusal.within("form"));
                form.and_then(|form| self.difference(node, *neurons, &form))
            }
            ConesStep::Bounded { differences } => {
                let cones = node.codes.iter().zip(&node.differences);
                let current = |(codes, other): (&Matrix<Num>, &Option<Matrix<Num>>)| match other {
                    Some(other) if *differences => other.clone(),
                    _ => codes.clone(),
                };
                self.forms.bounded(&cones.map(current).collect::<Vec<_>>()).map(|()| Vec::new())
            }
        };
        for change in changes.map_err(|refusal| refusal.within(format!("steps[{at}]")))? {
            self.node(&node.with(change), depth + 1)?;
        }
        Ok(())
    }

    /// b_j − α b_i, with the largest α for which no common ray has a negative weight, is without weight on one of them.
    fn minus(&self, node: &Node, (i, j): (usize, usize)) -> Result<Vec<Change>, Refusal> {
        let ((taken, codes), (rays, _)) = (node.neuron(i)?, node.neuron(j)?);
        require(i != j, || "minus: one neuron".to_owned())?;
        let whole = node.cut.get(j) == Some(&false) && node.differences.iter().all(Option::is_none);
        require(whole, || format!("minus: the cone of neuron {j} was cut, or there are differences"))?;
        require(taken.iter().all(|ray| !ray.negative), || format!("minus: neuron {i} has negative rays"))?;
        let common: Vec<Ray> = taken.iter().copied().filter(|ray| rays.contains(ray)).collect();
        // Codes of i in general have a weight on one of them.
        let mut weighs = false;
        for (code, ray) in codes.iter().flat_map(|code| common.iter().map(move |ray| (code, ray))) {
            weighs |= code.get(ray.place).map_or(Ok(false), |weight| Ok(self.instance.sign(weight)? > 0))?;
        }
        require(weighs, || "minus: the neurons have no ray in common".to_owned())?;
        let beside: Vec<Ray> = taken.iter().filter(|ray| !rays.contains(ray)).map(|ray| ray.against()).collect();
        let child = |without: &Ray| {
            let mut less: Vec<Ray> = rays.iter().copied().filter(|ray| ray != without).collect();
            less.extend(beside.iter().filter(|ray| !rays.contains(ray)));
            let codes = less.iter().map(|ray| ray.vector(self.size)).collect();
            Change::Rays(j, less, codes)
        };
        Ok(common.iter().map(child).collect())
    }

    /// Σ λ v has λ_k ≤ weight·λ_j or not.
    fn cut(
        &self,
        node: &Node,
        differences: bool,
        (i, j, k): (usize, usize, usize),
        weight: &Num,
    ) -> Result<Vec<Change>, Refusal> {
        let codes = node.neuron(i)?.1;
        let cone = if differences { node.differences.get(i).and_then(Option::as_ref) } else { Some(codes) };
        let cone = cone.ok_or_else(|| Refusal::condition(format!("cut: neuron {i} has no differences")))?;
        let (Some(a), Some(b), true) = (cone.get(j), cone.get(k), j != k) else {
            return Err(Refusal::condition(format!("cut: ({j}, {k}) are not two vertices of neuron {i}")));
        };
        require(self.instance.sign(weight)? > 0, || "weight: expected a positive number".to_owned())?;
        let middle = self.instance.combine(self.size, &[(Num::from(1), a), (weight.clone(), b)])?;
        let child = |at: usize| {
            let mut part = cone.clone();
            replace(&mut part, at, middle.clone());
            if differences { Change::Differences(i, part) } else { Change::Codes(i, part) }
        };
        Ok(vec![child(j), child(k)])
    }

    /// b_j/h(b_j) − b_i/h(b_i) is in one of the cones.
    fn difference(&self, node: &Node, (i, j): (usize, usize), form: &[Num]) -> Result<Vec<Change>, Refusal> {
        let (to, of) = (node.neuron(i)?.1, node.neuron(j)?.1);
        let free = node.differences.get(j).is_some_and(Option::is_none);
        require(i < j && free, || format!("difference: {i} is not before {j}, or {j} has differences"))?;
        let scaled = |cone: &Matrix<Num>| {
            let scale = |v: &Vec<Num>| {
                let height = self.instance.dot(form, v)?;
                require(self.instance.sign(&height)? > 0, || "form: it is not positive on all vertices".to_owned())?;
                self.instance.combine(self.size, &[(height.inverse()?, v)])
            };
            cone.iter().map(scale).collect::<Result<Matrix<Num>, Refusal>>()
        };
        let (to, of) = (scaled(to)?, scaled(of)?);
        let same = |a: &[Num], b: &[Num]| {
            let pairs = a.iter().zip(b).map(|(a, b)| self.instance.equal(a, b));
            pairs.collect::<Result<Vec<bool>, Refusal>>().map(|equal| equal.into_iter().all(|equal| equal))
        };
        let mut common = Vec::new();
        for (place, y) in of.iter().enumerate() {
            for (other, x) in to.iter().enumerate() {
                if same(y, x)? {
                    common.push((place, other));
                    break;
                }
            }
        }
        if common.len() > MAX_FEATURES {
            return Err(Refusal::limit(format!("over {MAX_FEATURES} common vertices")));
        }
        let mut pieces = Vec::new();
        for signs in 0..1usize << common.len() {
            let positive = |at: usize| (signs >> at) & 1 == 1;
            let left_out = |in_of: bool, place: usize| {
                let mut all = common.iter().enumerate();
                all.any(|(at, (y, x))| (if in_of { *y } else { *x }) == place && positive(at) != in_of)
            };
            let kept = |cone: &Matrix<Num>, in_of: bool| -> Matrix<Num> {
                let kept = cone.iter().enumerate().filter(|(place, _)| !left_out(in_of, *place));
                kept.map(|(_, vertex)| vertex.clone()).collect()
            };
            let (ys, xs) = (kept(&of, true), kept(&to, false));
            self.paths(&ys, &xs, &mut Vec::new(), (0, 0), &mut pieces)?;
        }
        Ok(pieces.into_iter().map(|piece| Change::Differences(j, piece)).collect())
    }

    /// The differences along the paths from (y_0, x_0) to the last pair, steps in y before steps in x.
    fn paths(
        &self,
        ys: &Matrix<Num>,
        xs: &Matrix<Num>,
        path: &mut Matrix<Num>,
        (j, k): (usize, usize),
        pieces: &mut Vec<Matrix<Num>>,
    ) -> Result<(), Refusal> {
        let (Some(y), Some(x)) = (ys.get(j), xs.get(k)) else { return Ok(()) };
        let one = Num::from(1);
        path.push(self.instance.combine(self.size, &[(one.clone(), y), (one.neg(), x)])?);
        if (j + 1, k + 1) == (ys.len(), xs.len()) {
            if pieces.len() >= MAX_CHILDREN {
                return Err(Refusal::limit(format!("over {MAX_CHILDREN} cones of differences")));
            }
            pieces.push(path.clone());
        }
        self.paths(ys, xs, path, (j + 1, k), pieces)?;
        self.paths(ys, xs, path, (j, k + 1), pieces)?;
        path.pop();
        Ok(())
    }
}
