//! Lower bounds of the loss (FORMAT.md §5): `epsilon-partial-optimum` by weak duality, `lower-bound` by a tree.

use crate::Refusal;
use crate::claim::{Claim, Value};
use crate::code::code_bound;
use crate::cones::cones_bound;
use crate::format::{BoundNode, Conic, EpsilonPartialOptimum, Group, GroupBound, LowerBound, RankBound, Rat};
use crate::instance::{Instance, distinct, limit_size, require};
use crate::kernel::kernel_bound;
use crate::matrix::{Matrix, is_semidefinite};
use crate::nonexistence::MAX_NODES;
use crate::number::Num;
use crate::region::is_empty_row;

/// `epsilon-partial-optimum`.
pub(crate) fn epsilon_partial_optimum(instance: &Instance, body: &EpsilonPartialOptimum) -> Result<Claim, Refusal> {
    let (c, firing) = (instance.threshold()?, instance.firing(&body.pattern)?);
    let point = instance.point(&body.point).map_err(|refusal| refusal.within("point"))?;
    require(instance.firing_of(&point.w)? == firing, || "the point has another pattern".to_owned())?;
    let epsilon = Num::from(&body.epsilon);
    require(instance.sign(&epsilon)? >= 0, || "epsilon is negative".to_owned())?;
    let loss = instance.loss(&point)?;
    let dual = |written: &[Vec<Rat>], key: &str| {
        if written.len() != instance.features() {
            return Err(Refusal::format(format!("{key}: expected one column for each feature")));
        }
        let columns = instance.vectors(written, instance.n_r).map_err(|refusal| refusal.within(key))?;
        let value = dual_value(instance, &columns)?;
        Ok((columns, value))
    };
    let within = |residual: Num, key: &str| {
        require(instance.compare(&residual, &epsilon)? <= 0, || format!("{key}: the residual is not within epsilon"))
    };

    let (columns, value) = dual(&body.dual_v, "dual_v")?;
    for (i, w) in point.w.iter().enumerate() {
        let mut terms = Vec::new();
        for (d, y) in columns.iter().enumerate().filter(|(d, _)| firing.fires(i, *d)) {
            terms.push((instance.dot(w, instance.direction(d)?)?, y.as_slice()));
        }
        vanishes(instance, instance.n_r, &terms, &format!("dual_v of neuron {i}"))?;
    }
    within(instance.difference(&loss, &value)?, "dual_v")?;

    let (columns, value) = dual(&body.dual_w, "dual_w")?;
    let faces = body.slack.iter().map(|(i, d, slack)| ((*i, *d), slack));
    let slacks = instance.positive(instance, faces).map_err(|refusal| refusal.within("slack"))?;
    // Σ_{off} γ − Σ_{on} γ
    let (mut signed, one) = (Vec::new(), Num::from(1));
    for ((i, d), slack) in &slacks {
        instance.feature(*d)?;
        require(*i < firing.neurons(), || format!("slack: there is no neuron {i}"))?;
        signed.push(if firing.fires(*i, *d) { slack.neg() } else { slack.clone() });
    }
    let mut terms: Vec<Vec<(Num, &[Num])>> = vec![Vec::new(); firing.neurons()];
    for (((i, d), _), signed) in slacks.iter().zip(&signed) {
        if let Some(terms) = terms.get_mut(*i) {
            terms.push((signed.neg(), instance.direction(*d)?));
        }
    }
    for (i, (v, mut terms)) in point.v.iter().zip(terms).enumerate() {
        for (d, y) in columns.iter().enumerate().filter(|(d, _)| firing.fires(i, *d)) {
            terms.push((instance.dot(v, y)?, instance.direction(d)?));
        }
        vanishes(instance, instance.n_p, &terms, &format!("dual_w of neuron {i}"))?;
    }
    let slack = instance.sum(signed.iter().map(|slack| (slack, &one)))?;
    let shift = instance.product(&instance.product(&c, &slack)?, &Num::from(2))?;
    within(instance.difference(&loss, &instance.difference(&value, &shift)?)?, "dual_w")?;

    let (loss, epsilon) = (Value::of(instance, &loss)?, Value::of(instance, &epsilon)?);
    let statement = format!(
        "both block residuals of a point with the pattern {} and loss {loss} are at most {epsilon}",
        firing.shown()
    );
    Ok(Claim { loss: Some(loss.as_f64()), ..Claim::new(statement) })
}

fn vanishes(instance: &Instance, length: usize, terms: &[(Num, &[Num])], what: &str) -> Result<(), Refusal> {
    for coordinate in instance.combine(length, terms)? {
        require(instance.is_zero(&coordinate)?, || format!("{what} is not balanced"))?;
    }
    Ok(())
}

/// 2 Σ⟨y_d, r_d⟩ − Σ ‖y_d‖²/M_d.
fn dual_value(instance: &Instance, columns: &[Vec<Num>]) -> Result<Num, Refusal> {
    let (mut linear, mut squares, mut inverses) = (Vec::new(), Vec::new(), Vec::new());
    for (d, y) in columns.iter().enumerate() {
        let (_, r, mass) = instance.feature(d)?;
        linear.push(instance.dot(y, r)?);
        squares.push(instance.dot(y, y)?);
        inverses.push(mass.inverse()?);
    }
    let two = Num::from(2);
    let linear = instance.sum(linear.iter().map(|term| (term, &two)))?;
    instance.difference(&linear, &instance.dot(&inverses, &squares)?)
}

/// `lower-bound`.
pub(crate) fn lower_bound(instance: &Instance, body: &LowerBound) -> Result<Claim, Refusal> {
    instance.threshold()?;
    limit_size("neurons", body.latents)?;
    instance.spend((body.latents * instance.features()) as u64)?;
    let mut known = vec![vec![None; instance.features()]; body.latents];
    let mut place = format!("for every encoder with {} neurons", body.latents);
    if let Some(pattern) = &body.pattern {
        let firing = instance.firing(pattern)?;
        require(firing.neurons() == body.latents, || "the pattern has another number of neurons".to_owned())?;
        for (i, row) in known.iter_mut().enumerate() {
            row.iter_mut().enumerate().for_each(|(d, fires)| *fires = Some(firing.fires(i, d)));
        }
        place = format!("for every encoder with the pattern {}", firing.shown());
    }
    let bound = Num::from(&body.bound);
    let faces = vec![vec![None; instance.features()]; body.latents];
    let mut tree = Tree { instance, known, faces, bound: &bound, nodes: 0 };
    tree.node(&body.tree).map_err(|refusal| refusal.within("tree"))?;
    Ok(Claim::new(format!("the loss is at least {} {place}", Value::of(instance, &bound)?)))
}

struct Tree<'a, 'w> {
    instance: &'a Instance<'w>,
    /// Whether neuron i fires on feature d, n_q rows of n entries.
    known: Matrix<Option<bool>>,
    /// Whether ⟨w_i, p_e⟩ = 0 or < 0 for a neuron that does not fire on e.
    faces: Matrix<Option<bool>>,
    bound: &'a Num,
    nodes: usize,
}

impl Tree<'_, '_> {
    fn node(&mut self, node: &BoundNode) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Refusal::limit(format!("over {MAX_NODES} nodes")));
        }
        match node {
            BoundNode::Branch { neuron, feature, on, off } => {
                for (fires, key, child) in [(true, "on", on), (false, "off", off)] {
                    match self.known.get_mut(*neuron).and_then(|row| row.get_mut(*feature)) {
                        Some(known) if known.is_none() => *known = Some(fires),
                        _ => return Err(Refusal::condition(format!("({neuron}, {feature}) is not undecided"))),
                    }
                    self.node(child).map_err(|refusal| refusal.within(key))?;
                    let row = self.known.iter_mut().skip(*neuron).take(1);
                    row.for_each(|row| row.iter_mut().skip(*feature).take(1).for_each(|known| *known = None));
                }
                Ok(())
            }
            BoundNode::Face { neuron, feature, tight, below } => {
                require(self.instance.is_zero(&self.instance.threshold()?)?, || "the threshold is not 0".to_owned())?;
                let silent = self.known.get(*neuron).and_then(|row| row.get(*feature)) == Some(&Some(false));
                require(silent, || format!("({neuron}, {feature}) is not decided off"))?;
                for (touches, key, child) in [(true, "tight", tight), (false, "below", below)] {
                    match self.faces.get_mut(*neuron).and_then(|row| row.get_mut(*feature)) {
                        Some(face) if face.is_none() => *face = Some(touches),
                        _ => {
                            return Err(Refusal::condition(format!("the face ({neuron}, {feature}) is not undecided")));
                        }
                    }
                    self.node(child).map_err(|refusal| refusal.within(key))?;
                    let row = self.faces.iter_mut().skip(*neuron).take(1);
                    row.for_each(|row| row.iter_mut().skip(*feature).take(1).for_each(|face| *face = None));
                }
                Ok(())
            }
            BoundNode::Empty(farkas) => {
                let row = self.known.get(farkas.neuron);
                let is = |d: usize, fires: bool| row.and_then(|row| row.get(d)) == Some(&Some(fires));
                let checked = is_empty_row(self.instance, farkas, |d| is(d, true), |e| is(e, false));
                checked.map_err(|refusal| refusal.within("empty"))
            }
            BoundNode::Groups(groups) => self.groups(groups).map_err(|refusal| refusal.within("groups")),
        }
    }

    fn groups(&mut self, groups: &[Group]) -> Result<(), Refusal> {
        let one = Num::from(1);
        distinct(groups.iter().flat_map(|group| &group.features), "the features of the groups")?;
        let mut total = Num::zero();
        for (at, group) in groups.iter().enumerate() {
            let contribution = self.contribution(group).map_err(|refusal| refusal.within(format!("[{at}]")))?;
            if self.instance.sign(&contribution)? > 0 {
                total = self.instance.sum([(&total, &one), (&contribution, &one)])?;
            }
        }
        let reached = self.instance.compare(&total, self.bound)? >= 0;
        require(reached, || "the contributions do not reach the bound".to_owned())
    }

    /// A lower bound of what the group loses.
    fn contribution(&mut self, group: &Group) -> Result<Num, Refusal> {
        require(!group.features.is_empty(), || "the group is empty".to_owned())?;
        self.instance.spend((self.known.len() * group.features.len()) as u64)?;
        match &group.bound {
            GroupBound::Rank(rank) => self.rank_bound(&group.features, rank),
            GroupBound::Conic(conic) => self.conic_bound(&group.features, conic).map_err(|r| r.within("conic")),
            GroupBound::Kernel(kernel) => {
                let bound =
                    kernel_bound(self.instance, &group.features, (&self.known, &self.faces), kernel, &mut self.nodes);
                bound.map_err(|refusal| refusal.within("kernel"))
            }
            GroupBound::Code(code) => {
                let reaching = self.reaching(&group.features);
                let bound = code_bound(self.instance, &group.features, reaching, code, &mut self.nodes);
                bound.map_err(|refusal| refusal.within("code"))
            }
            GroupBound::Cones(cones) => {
                let bound = cones_bound(self.instance, &group.features, &self.known, cones, &mut self.nodes);
                bound.map_err(|refusal| refusal.within("cones"))
            }
        }
    }

    /// How many neurons may fire on a feature of the group.
    fn reaching(&self, features: &[usize]) -> usize {
        let may_fire = |row: &&Vec<Option<bool>>| features.iter().any(|&d| row.get(d) != Some(&Some(false)));
        self.known.iter().filter(may_fire).count()
    }

    /// tr S − t.
    fn conic_bound(&self, features: &[usize], conic: &Conic) -> Result<Num, Refusal> {
        let instance = self.instance;
        require(self.reaching(features) <= 1, || "several neurons reach the group".to_owned())?;
        let t = Num::from(&conic.t);
        require(instance.sign(&t)? >= 0, || "t is negative".to_owned())?;
        let n = conic.n.iter().map(|(d, e, coefficient)| ((*d, *e), coefficient));
        let n = instance.positive(instance, n).map_err(|refusal| refusal.within("n"))?;
        for ((d, e), _) in &n {
            let inside = d < e && features.contains(d) && features.contains(e);
            require(inside, || format!("n: ({d}, {e}) are not two features of the group in order"))?;
        }
        // tD − DGD − N
        let (one, mut gap): (Num, Matrix<Num>) = (Num::from(1), Vec::new());
        for &d in features {
            let (_, r_d, mass_d) = instance.feature(d)?;
            let mut row = Vec::new();
            for &e in features {
                let (_, r_e, mass_e) = instance.feature(e)?;
                let product = instance.product(&instance.product(mass_d, mass_e)?, &instance.dot(r_d, r_e)?)?.neg();
                let lifted = n.iter().filter(|(pair, _)| *pair == (d.min(e), d.max(e))).map(|(_, x)| x.neg());
                let lifted: Vec<Num> = lifted.collect();
                let terms = lifted.iter().map(|x| (x, &one)).chain([(&product, &one)]);
                row.push(instance.sum(terms.chain((d == e).then_some((&t, mass_d))))?);
            }
            gap.push(row);
        }
        require(is_semidefinite(instance, &gap)?, || "tD − DGD − N is not positive semidefinite".to_owned())?;
        instance.difference(&instance.total(features.iter().copied())?, &t)
    }

    /// tr S − m t − tr y.
    fn rank_bound(&self, features: &[usize], rank: &RankBound) -> Result<Num, Refusal> {
        let (instance, n_r) = (self.instance, self.instance.n_r);
        let RankBound { t, y } = rank;
        let (t, y) = (Num::from(t), instance.vectors(y, n_r).map_err(|refusal| refusal.within("y"))?);
        if y.len() != n_r {
            return Err(Refusal::format("y is not a square matrix"));
        }
        require(instance.sign(&t)? >= 0, || "t is negative".to_owned())?;
        for (a, row) in y.iter().enumerate() {
            for (b, entry) in row.iter().enumerate().skip(a + 1) {
                let mirrored = y.get(b).and_then(|row| row.get(a)).map_or(Ok(false), |m| instance.equal(entry, m))?;
                require(mirrored, || format!("y is not symmetric at ({a}, {b})"))?;
            }
        }
        require(is_semidefinite(instance, &y)?, || "y is not positive semidefinite".to_owned())?;
        // tI + y − S, and its trace
        let (one, mut scaled) = (Num::from(1), Vec::new());
        for &d in features {
            let (_, r, mass) = instance.feature(d)?;
            scaled.push((instance.combine(n_r, &[(mass.neg(), r)])?, r));
        }
        let entry = |a: usize, b: usize, y: &Num| {
            let products = scaled.iter().filter_map(|(left, right)| Some((left.get(a)?, right.get(b)?)));
            instance.sum([(y, &one)].into_iter().chain((a == b).then_some((&t, &one))).chain(products))
        };
        let mut gap: Matrix<Num> = Vec::new();
        for (a, row) in y.iter().enumerate() {
            gap.push(row.iter().enumerate().map(|(b, y)| entry(a, b, y)).collect::<Result<_, _>>()?);
        }
        require(is_semidefinite(instance, &gap)?, || "tI + y − S is not positive semidefinite".to_owned())?;
        let m = Num::from(self.reaching(features) as i64);
        let mut trace = instance.product(&m, &t)?;
        for (a, row) in y.iter().enumerate() {
            trace = instance.sum([(&trace, &one)].into_iter().chain(row.get(a).map(|entry| (entry, &one))))?;
        }
        instance.difference(&instance.total(features.iter().copied())?, &trace)
    }
}
