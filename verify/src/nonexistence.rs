//! `no-partial-optimum` (FORMAT.md §5): a chain of segments of μ from 0 to T, on each of which a tree over complementary
//! slackness ends in contradictions.

use crate::Refusal;
use crate::claim::Claim;
use crate::field::{Numbers, Written};
use crate::format::{FaceNode, Link, NoPartialOptimum, Number, Side, To};
use crate::instance::{Instance, distinct, require};
use crate::number::Num;
use crate::region::balanced;

/// Most nodes of the trees of a certificate.
pub(crate) const MAX_NODES: usize = 200_000;

/// What is known of a feature that does not fire the neuron.
#[derive(Clone, Copy, PartialEq)]
enum Face {
    /// It fires the neuron: no face.
    On,
    /// a_e = c.
    Tight,
    /// λ_e = 0.
    Free,
    /// Either.
    Open,
}

/// `no-partial-optimum`.
pub(crate) fn no_partial_optimum(instance: &Instance, body: &NoPartialOptimum) -> Result<Claim, Refusal> {
    let (c, firing) = (instance.threshold()?, instance.firing(&body.pattern)?);
    let (counts, features) = (firing.counts(), firing.features(body.neuron));
    require(!features.is_empty(), || format!("neuron {} does not exist or fires on no feature", body.neuron))?;
    require(features.iter().all(|&d| counts.get(d) == Some(&1)), || {
        format!("neuron {} shares a feature with another", body.neuron)
    })?;
    let undecided = if instance.is_zero(&c)? { Face::Open } else { Face::Free };
    let at_root = |d| if firing.fires(body.neuron, d) { Face::On } else { undecided };
    let faces: Vec<Face> = (0..instance.features()).map(at_root).collect();
    let total = instance.total(features.iter().copied())?;
    let mut nodes = 0;
    let mut before: Option<&Link> = None;
    for (at, link) in body.chain.iter().enumerate() {
        let checked = segment(instance, &features, faces.clone(), before, link, &mut nodes);
        checked.map_err(|refusal| refusal.within(format!("chain[{at}]")))?;
        before = Some(link);
    }
    let end = match before.map(|link| &link.to) {
        Some(To::Rational(end)) => Num::from(end),
        Some(To::Alpha) => return Err(Refusal::condition("the last link must end at T, a rational")),
        None => return Err(Refusal::condition("the chain is empty")),
    };
    require(instance.equal(&end, &total)?, || "the last link does not end at T".to_owned())?;
    Ok(Claim::new(format!(
        "no point with the pattern {} is a partial optimum, because of neuron {}",
        firing.shown(),
        body.neuron
    )))
}

/// One link, from the end of the one before.
fn segment(
    instance: &Instance,
    features: &[usize],
    faces: Vec<Face>,
    before: Option<&Link>,
    link: &Link,
    nodes: &mut usize,
) -> Result<(), Refusal> {
    let k = Numbers::new(instance.work(), link.field.as_ref())?;
    let start = match before.map(|before| (&before.to, &before.field)) {
        None => Num::zero(),
        Some((To::Rational(start), _)) => Num::from(start),
        Some((To::Alpha, field)) if *field == link.field => Num::alpha(),
        Some((To::Alpha, _)) => {
            return Err(Refusal::condition("the link starts at the root of another field"));
        }
    };
    let end = match &link.to {
        To::Rational(end) => Num::from(end),
        To::Alpha if link.field.is_some() => Num::alpha(),
        To::Alpha => return Err(Refusal::format("to: the link has no field")),
    };
    let mut segment = Segment { instance, k, features, faces, ends: [start, end], nodes };
    segment.node(&link.tree).map_err(|refusal| refusal.within("tree"))
}

struct Segment<'a, 'w> {
    instance: &'a Instance<'w>,
    k: Numbers<'w>,
    features: &'a [usize],
    faces: Vec<Face>,
    ends: [Num; 2],
    nodes: &'a mut usize,
}

impl Segment<'_, '_> {
    fn node(&mut self, node: &FaceNode) -> Result<(), Refusal> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES {
            return Err(Refusal::limit(format!("over {MAX_NODES} nodes")));
        }
        match node {
            FaceNode::Branch { feature, tight, free } => {
                for (face, key, child) in [(Face::Tight, "tight", tight), (Face::Free, "free", free)] {
                    match self.faces.get_mut(*feature) {
                        Some(known) if *known == Face::Open => *known = face,
                        _ => return Err(Refusal::condition(format!("feature {feature} is not open"))),
                    }
                    self.node(child).map_err(|refusal| refusal.within(key))?;
                    self.faces.iter_mut().skip(*feature).take(1).for_each(|known| *known = Face::Open);
                }
                Ok(())
            }
            FaceNode::Leaf { x, start, end } => self.leaf(x, start, end),
        }
    }

    fn leaf(&self, x: &[Number], start: &Side, end: &Side) -> Result<(), Refusal> {
        let (instance, k) = (self.instance, &self.k);
        let x = k.vector(x, instance.n_p).map_err(|refusal| refusal.within("x"))?;
        for ((side, m), key) in [start, end].into_iter().zip(&self.ends).zip(["start", "end"]) {
            self.side(side, m, &x).map_err(|refusal| refusal.within(key))?;
        }
        for (p, e) in instance.p.iter().zip(0..) {
            if self.is(e, &[Face::Tight, Face::Open]) {
                require(k.sign(&k.dot(&x, p)?)? <= 0, || format!("⟨x, p⟩ is positive on feature {e}"))?;
            }
        }
        Ok(())
    }

    fn is(&self, e: usize, one_of: &[Face]) -> bool {
        self.faces.get(e).is_some_and(|known| one_of.contains(known))
    }

    /// (A − mB) x + Σ s_e p_e = Σ y_d p_d − Σ z_e p_e and c Σ y_d ≥ c Σ z_e.
    fn side(&self, side: &Side, m: &Num, x: &[Num]) -> Result<(), Refusal> {
        let (instance, k) = (self.instance, &self.k);
        let lists = [
            (&side.y, "y", &[Face::On][..]),
            (&side.z, "z", &[Face::Free, Face::Open]),
            (&side.s, "s", &[Face::Tight]),
        ];
        for (list, key, allowed) in lists {
            if let Some((e, _)) = list.iter().find(|(e, _)| !self.is(*e, allowed)) {
                return Err(Refusal::condition(format!("{key}: feature {e} does not belong there")));
            }
        }
        let positive = |list: &[(usize, Number)], key: &str| {
            let entries = list.iter().map(|(d, number)| (*d, number));
            instance.positive(k, entries).map_err(|refusal| refusal.within(key))
        };
        let (y, z) = (positive(&side.y, "y")?, positive(&side.z, "z")?);
        require(!y.is_empty(), || "`y` is empty".to_owned())?;
        distinct(side.s.iter().map(|(e, _)| *e), "the features of `s`")?;
        let hx = instance.block(k, self.features, m, x)?;
        let mut left = vec![(Num::from(1), hx.as_slice())];
        for (e, s) in &side.s {
            let s = s.number(k)?;
            require(!k.is_zero(&s)?, || format!("s: the coefficient of feature {e} is 0"))?;
            left.push((s, instance.direction(*e)?));
        }
        balanced(instance, k, left, &y, &z)
    }
}
