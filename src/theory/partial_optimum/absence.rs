//! Proof that a block has no partial optimum: `no-partial-optimum` in `verify/FORMAT.md`.
//!
//! Every partial optimum would solve, for one μ in [0, T], the linear system H w = Σ λ_e p_e, a > c on F, a ≤ c off F,
//! λ ≥ 0 with complementarity. A leaf excludes all μ of a segment with one vector x of Motzkin multipliers, a branch
//! decides one complementarity pair, and a chain of segments walks from 0 to T. Where the system with a ≥ 0 in place of
//! a > 0 is solvable the chain must stop exactly there, if need be at an algebraic number.

use super::block::Block;
use super::fields;
use crate::exact::Rational;
use crate::exact::algebraic::NumberField;
use crate::exact::field::{OrderedField, Rationals};
use crate::exact::lp::{self, Outcome, Relation, Row, System};
use crate::exact::rational;
use std::rc::Rc;

/// Largest number of segments, and smallest width (as a power of two below T), before the search gives up.
const MAX_LINKS: usize = 4000;
const MAX_HALVINGS: usize = 480;
/// Halvings after which a segment is short: pairs are then decided even where no weak solution violates them.
const SHORT: usize = 6;

/// Where a segment ends.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// At a rational.
    Rational(Rational),
    /// At the root of a field.
    Root(Rc<NumberField>),
}

/// One segment of the chain.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// The field of the segment's numbers, if one of its ends is a root.
    pub field: Option<Rc<NumberField>>,
    /// Its end; it starts where the link before ended, the first one at 0.
    pub to: End,
    /// The proof.
    pub tree: Node,
}

/// A proof for one segment; numbers are elements of the link's field (or one-element vectors).
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Complementarity of e: a_e = 0, or λ_e = 0.
    Branch(usize, Box<Node>, Box<Node>),
    /// Multipliers at both ends.
    Leaf {
        /// x, n_p numbers.
        x: Vec<Vec<Rational>>,
        /// Multipliers at the start.
        start: Side,
        /// Multipliers at the end.
        end: Side,
    },
}

/// Multipliers at one end: (feature, value).
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// On F, positive.
    pub y: Vec<(usize, Vec<Rational>)>,
    /// Off F, positive.
    pub z: Vec<(usize, Vec<Rational>)>,
    /// On tight faces, any sign.
    pub s: Vec<(usize, Vec<Rational>)>,
}

/// Proves that no row makes the block stationary, or gives up. `degenerate`: see
/// [`super::stationary::Enumeration::degenerate`].
pub(super) fn prove(block: &Block, degenerate: &[NumberField]) -> Option<Vec<Link>> {
    let mut chain = Chain { block, links: Vec::new() };
    let mut roots: Vec<Rc<NumberField>> = Vec::new();
    for field in degenerate {
        if !roots.iter().any(|r| fields::same_root(r, field)) {
            roots.push(Rc::new(field.clone()));
        }
    }
    roots.sort_by(|a, b| fields::compare_roots(a, b));
    let mut position = Rational::ZERO;
    for root in roots {
        if let Some(value) = root.rational_value() {
            if value > position && value < block.total {
                chain.walk(&position, &value, 0)?;
                position = value;
            }
        } else {
            position = chain.pass(&position, &root)?;
        }
    }
    chain.walk(&position, &block.total, 0)?;
    Some(chain.links)
}

struct Chain<'a> {
    block: &'a Block,
    links: Vec<Link>,
}

/// Which complementarity decisions hold at a node.
#[derive(Clone)]
struct Faces {
    free: Vec<usize>,
    tight: Vec<usize>,
    open: Vec<usize>,
}

impl Faces {
    fn root(block: &Block) -> Self {
        if block.c.is_zero() {
            Self { free: Vec::new(), tight: Vec::new(), open: block.off.clone() }
        } else {
            Self { free: block.off.clone(), tight: Vec::new(), open: Vec::new() }
        }
    }

    fn decide(&self, e: usize, tight: bool) -> Self {
        let mut next = self.clone();
        next.open.retain(|&f| f != e);
        if tight {
            next.tight.push(e)
        } else {
            next.free.push(e)
        }
        next
    }
}

impl Chain<'_> {
    /// Excludes the segment between two rationals, splitting it as needed.
    fn walk(&mut self, from: &Rational, to: &Rational, halvings: usize) -> Option<()> {
        if from == to {
            return Some(());
        }
        if self.links.len() > MAX_LINKS || halvings > MAX_HALVINGS {
            return None;
        }
        let prover =
            Prover { block: self.block, field: &Rationals, solve: &lp::decide_rational, short: halvings > SHORT };
        if let Some(tree) = prover.tree(from, to, &Faces::root(self.block)) {
            let tree = tree.map(&|x: &Rational| vec![x.clone()]);
            self.links.push(Link { field: None, to: End::Rational(to.clone()), tree });
            return Some(());
        }
        let width = to - from;
        let quarter = &width / Rational::from(4);
        let middle = rational::simplest_between(&(from + &quarter), &(to - &quarter));
        self.walk(from, &middle, halvings + 1)?;
        self.walk(&middle, to, halvings + 1)
    }

    /// Walks from a rational below an irrational root to a rational above it, and returns the latter.
    fn pass(&mut self, from: &Rational, root: &Rc<NumberField>) -> Option<Rational> {
        let field: &NumberField = root;
        let mut near = from.clone();
        for step in 0..MAX_HALVINGS as i64 {
            if let Some(link) = self.beside(root, &near, true) {
                self.links.push(link);
                break;
            }
            let (below, _) = field.enclosure(&field.alpha(), 3 * step);
            if below > near {
                self.walk(&near, &below, 0)?;
                near = below;
            }
        }
        if !matches!(self.links.last().map(|l| &l.to), Some(End::Root(r)) if Rc::ptr_eq(r, root)) {
            return None;
        }
        for step in 0..MAX_HALVINGS as i64 {
            let (_, above) = field.enclosure(&field.alpha(), 3 * step);
            let above = if above > self.block.total { self.block.total.clone() } else { above };
            if let Some(link) = self.beside(root, &above, false) {
                self.links.push(link);
                return Some(above);
            }
        }
        None
    }

    /// The link between a rational and a root beside it.
    fn beside(&self, root: &Rc<NumberField>, rational: &Rational, towards: bool) -> Option<Link> {
        let field: &NumberField = root;
        let prover = Prover { block: self.block, field, solve: &|s| lp::decide(field, s), short: true };
        let (near, alpha) = (field.rational(rational), field.alpha());
        let (start, end) = if towards { (near, alpha) } else { (alpha, near) };
        let tree = prover.tree(&start, &end, &Faces::root(self.block))?;
        let to = if towards { End::Root(root.clone()) } else { End::Rational(rational.clone()) };
        Some(Link { field: Some(root.clone()), to, tree: tree.map(&|x: &Vec<Rational>| x.clone()) })
    }
}

/// A node whose numbers live in any field.
enum Tree<E> {
    Branch(usize, Box<Tree<E>>, Box<Tree<E>>),
    Leaf { x: Vec<E>, start: Multipliers<E>, end: Multipliers<E> },
}

struct Multipliers<E> {
    y: Vec<(usize, E)>,
    z: Vec<(usize, E)>,
    s: Vec<(usize, E)>,
}

impl<E> Tree<E> {
    fn map(&self, number: &dyn Fn(&E) -> Vec<Rational>) -> Node {
        let list = |v: &[(usize, E)]| v.iter().map(|(e, x)| (*e, number(x))).collect();
        let side = |m: &Multipliers<E>| Side { y: list(&m.y), z: list(&m.z), s: list(&m.s) };
        match self {
            Tree::Branch(e, tight, free) => Node::Branch(*e, Box::new(tight.map(number)), Box::new(free.map(number))),
            Tree::Leaf { x, start, end } => {
                Node::Leaf { x: x.iter().map(number).collect(), start: side(start), end: side(end) }
            }
        }
    }
}

/// Decides linear systems over a field.
type Solver<'a, E> = dyn Fn(&System<E>) -> Outcome<E> + 'a;

struct Prover<'a, F: OrderedField> {
    block: &'a Block,
    field: &'a F,
    solve: &'a Solver<'a, F::Elem>,
    /// Whether the segment is the result of many halvings.
    short: bool,
}

impl<F: OrderedField> Prover<'_, F> {
    /// A proof for the segment, or `None` if it must be split.
    fn tree(&self, start: &F::Elem, end: &F::Elem, faces: &Faces) -> Option<Tree<F::Elem>> {
        if let Some(dual) = &self.block.dual {
            return self.independent_leaf(dual, start, end);
        }
        let ends = [start.clone(), end.clone()];
        let layout = Layout::new(self.block, faces, 2);
        match (self.solve)(&self.system(&ends, faces, &layout)) {
            Outcome::Feasible(solution) => Some(self.leaf(&solution, faces, &layout)),
            Outcome::Infeasible(_) => {
                // If single points have multipliers the segment is too long; otherwise a pair must be decided. Where a weak
                // solution violates no pair, as at a degenerate μ, any pair may help on a short segment.
                let half = self.field.rational(&(Rational::ONE / Rational::from(2)));
                let middle = self.field.mul(&half, &self.field.add(start, end));
                let single = Layout::new(self.block, faces, 1);
                let violated = [middle, end.clone(), start.clone()].into_iter().find_map(|mu| {
                    match (self.solve)(&self.system(&[mu], faces, &single)) {
                        Outcome::Infeasible(dual) => self.violated(&dual, faces, &single),
                        Outcome::Feasible(_) => None,
                    }
                });
                let any = if self.short { faces.open.first().copied() } else { None };
                let e = violated.or(any)?;
                let tight = self.tree(start, end, &faces.decide(e, true))?;
                let free = self.tree(start, end, &faces.decide(e, false))?;
                Some(Tree::Branch(e, Box::new(tight), Box::new(free)))
            }
        }
    }

    /// With independent features x is determined by ξ = P_Fᵀx, and y = (DGD − μD)ξ must be ≥ 0 and not 0 at both ends.
    fn independent_leaf(&self, dual: &[Vec<Rational>], start: &F::Elem, end: &F::Elem) -> Option<Tree<F::Elem>> {
        let f = self.field;
        let m = self.block.on.len();
        let line = |d: usize, mu: &F::Elem| -> Vec<F::Elem> {
            (0..m)
                .map(|e| {
                    let entry = f.rational(&self.block.weighted_gram[d][e]);
                    if d == e { f.sub(&entry, &f.mul(mu, &f.rational(&self.block.mass[d]))) } else { entry }
                })
                .collect()
        };
        let mut rows = Vec::new();
        for mu in [start, end] {
            let mut sum = vec![f.zero(); m];
            for d in 0..m {
                let coeffs = line(d, mu);
                for (s, x) in sum.iter_mut().zip(&coeffs) {
                    *s = f.add(s, x);
                }
                rows.push(Row { coeffs, relation: Relation::Ge, rhs: f.zero() });
            }
            rows.push(Row { coeffs: sum, relation: Relation::Gt, rhs: f.zero() });
        }
        let Outcome::Feasible(xi) = (self.solve)(&System { variables: m, rows }) else { return None };
        let x = (0..self.block.n_p())
            .map(|k| {
                self.block
                    .on
                    .iter()
                    .zip(&xi)
                    .fold(f.zero(), |s, (&d, value)| f.add(&s, &f.mul(value, &f.rational(&dual[d][k]))))
            })
            .collect();
        let side = |mu: &F::Elem| {
            let y = (0..m)
                .map(|d| {
                    let value = line(d, mu).iter().zip(&xi).fold(f.zero(), |s, (a, b)| f.add(&s, &f.mul(a, b)));
                    (self.block.on[d], value)
                })
                .filter(|(_, value)| f.sign(value) != 0)
                .collect();
            Multipliers { y, z: Vec::new(), s: Vec::new() }
        };
        Some(Tree::Leaf { x, start: side(start), end: side(end) })
    }

    /// The conditions of a leaf at each of `points`, which share x.
    fn system(&self, points: &[F::Elem], faces: &Faces, layout: &Layout) -> System<F::Elem> {
        let (f, block) = (self.field, self.block);
        let minus_one = f.neg(&f.one());
        let c = f.rational(&block.c);
        let mut rows = Vec::new();
        let zeros = || vec![f.zero(); layout.variables];
        for (side, mu) in points.iter().enumerate() {
            for k in 0..block.n_p() {
                let mut coeffs = zeros();
                for (j, coeff) in coeffs.iter_mut().enumerate().take(block.n_p()) {
                    *coeff = f.sub(&f.rational(&block.a[k][j]), &f.mul(mu, &f.rational(&block.b[k][j])));
                }
                for (index, &d) in block.on.iter().enumerate() {
                    coeffs[layout.y(side, index)] = f.rational(&-block.p[d][k].clone());
                }
                for (index, e) in layout.slack.iter().enumerate() {
                    coeffs[layout.z(side, index)] = f.rational(&block.p[*e][k]);
                }
                for (index, e) in faces.tight.iter().enumerate() {
                    coeffs[layout.s(side, index)] = f.rational(&block.p[*e][k]);
                }
                rows.push(Row { coeffs, relation: Relation::Eq, rhs: f.zero() });
            }
            let mut total = zeros();
            let mut balance = zeros();
            for index in 0..block.on.len() {
                rows.push(unit_row(f, layout.variables, layout.y(side, index)));
                total[layout.y(side, index)] = f.one();
                balance[layout.y(side, index)] = c.clone();
            }
            for index in 0..layout.slack.len() {
                rows.push(unit_row(f, layout.variables, layout.z(side, index)));
                balance[layout.z(side, index)] = f.mul(&c, &minus_one);
            }
            rows.push(Row { coeffs: total, relation: Relation::Gt, rhs: f.zero() });
            rows.push(Row { coeffs: balance, relation: Relation::Ge, rhs: f.zero() });
        }
        for &e in faces.tight.iter().chain(&faces.open) {
            let mut coeffs = zeros();
            for (coeff, x) in coeffs.iter_mut().zip(&block.p[e]) {
                *coeff = f.rational(&-x.clone());
            }
            rows.push(Row { coeffs, relation: Relation::Ge, rhs: f.zero() });
        }
        System { variables: layout.variables, rows }
    }

    fn leaf(&self, solution: &[F::Elem], faces: &Faces, layout: &Layout) -> Tree<F::Elem> {
        let pick = |features: &[usize], at: &dyn Fn(usize) -> usize| {
            features
                .iter()
                .enumerate()
                .map(|(index, &e)| (e, solution[at(index)].clone()))
                .filter(|(_, value)| self.field.sign(value) != 0)
                .collect()
        };
        let side = |side: usize| Multipliers {
            y: pick(&self.block.on, &|i| layout.y(side, i)),
            z: pick(&layout.slack, &|i| layout.z(side, i)),
            s: pick(&faces.tight, &|i| layout.s(side, i)),
        };
        Tree::Leaf { x: solution[..self.block.n_p()].to_vec(), start: side(0), end: side(1) }
    }

    /// The open pair whose complementarity the weak solution (the multipliers of the infeasible system) violates most.
    fn violated(&self, dual: &[F::Elem], faces: &Faces, layout: &Layout) -> Option<usize> {
        let f = self.field;
        let slack_rows = self.block.n_p() + self.block.on.len();
        let lambda_rows = slack_rows + layout.slack.len() + 2 + faces.tight.len();
        let mut best: Option<(f64, usize)> = None;
        for (index, &e) in faces.open.iter().enumerate() {
            let lambda = &dual[lambda_rows + index];
            let position = layout.slack.iter().position(|&g| g == e).expect("open faces have slacks");
            let slack = &dual[slack_rows + position];
            if f.sign(lambda) > 0 && f.sign(slack) > 0 {
                let size = f.to_f64(lambda).min(f.to_f64(slack));
                if best.is_none_or(|(b, _)| size > b) {
                    best = Some((size, e));
                }
            }
        }
        best.map(|(_, e)| e)
    }
}

/// x_index ≥ 0.
fn unit_row<F: OrderedField>(field: &F, variables: usize, index: usize) -> Row<F::Elem> {
    let mut coeffs = vec![field.zero(); variables];
    coeffs[index] = field.one();
    Row { coeffs, relation: Relation::Ge, rhs: field.zero() }
}

/// Where the variables of a leaf's system stand.
struct Layout {
    slack: Vec<usize>,
    m: usize,
    tight: usize,
    base: usize,
    variables: usize,
}

impl Layout {
    fn new(block: &Block, faces: &Faces, sides: usize) -> Self {
        let slack: Vec<usize> = faces.free.iter().chain(&faces.open).copied().collect();
        let (m, tight, base) = (block.on.len(), faces.tight.len(), block.n_p());
        let variables = base + sides * (m + slack.len() + tight);
        Self { slack, m, tight, base, variables }
    }

    fn y(&self, side: usize, index: usize) -> usize {
        self.base + side * (self.m + self.slack.len() + self.tight) + index
    }

    fn z(&self, side: usize, index: usize) -> usize {
        self.y(side, self.m + index)
    }

    fn s(&self, side: usize, index: usize) -> usize {
        self.y(side, self.m + self.slack.len() + index)
    }
}
