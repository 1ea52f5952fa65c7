//! Points in a cell (FORMAT.md §4): `partial-optimum`, `strict-saddle`, `local-min`.

use crate::Refusal;
use crate::claim::{Claim, Value};
use crate::field::{Numbers, Written};
use crate::format::{Direction, JointPart, LocalMin, Order, Part, PartialOptimum, RowPart, StrictSaddle};
use crate::instance::{Firing, Instance, distinct, limit_size, require};
use crate::matrix::{Matrix, is_definite};
use crate::number::Num;
use std::collections::{BTreeMap, BTreeSet};

/// Faces a_e = c of rows: (position of the neuron in its part, e).
type Faces = BTreeSet<(usize, usize)>;

/// Some neurons of a point whose first-order conditions hold.
struct Stationary<'w> {
    k: Numbers<'w>,
    /// i.
    neurons: Vec<usize>,
    /// z_id for each and every feature.
    z: Vec<Vec<Num>>,
    /// The faces with a multiplier.
    held: Faces,
    /// The other faces on which a row lies.
    loose: Faces,
    loss: Num,
    form: Form,
}

/// What the two forms of parts keep for the second order.
enum Form {
    Row { features: Vec<usize>, mu: Num },
    Joint { v: Vec<Vec<Num>>, errors: Vec<(usize, Vec<Num>)> },
}

/// `partial-optimum`.
pub(crate) fn partial_optimum(instance: &Instance, body: &PartialOptimum) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.pattern)?;
    let parts = parts(instance, &firing, body)?;
    claim(instance, &firing, &parts, "a partial optimum with")
}

/// `strict-saddle`.
pub(crate) fn strict_saddle(instance: &Instance, body: &StrictSaddle) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.optimum.pattern)?;
    let parts = parts(instance, &firing, &body.optimum)?;
    let at = body.saddle.part;
    let part = parts.get(at).ok_or_else(|| Refusal::format(format!("saddle.part: there is no part {at}")))?;
    curves_down(instance, &firing, part, &body.saddle.direction).map_err(|refusal| refusal.within("saddle"))?;
    claim(instance, &firing, &parts, "a strict saddle: a partial optimum that is no local minimum in its cell, with")
}

/// `local-min`.
pub(crate) fn local_min(instance: &Instance, body: &LocalMin) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.optimum.pattern)?;
    let parts = parts(instance, &firing, &body.optimum)?;
    let mut orders = body.order.iter().enumerate();
    let mut strict = true;
    for (at, part) in parts.iter().enumerate() {
        match &part.form {
            Form::Row { features, mu } => {
                let (at, order) = orders.next().ok_or_else(|| Refusal::format("order: a row part has no entry"))?;
                let within = |refusal: Refusal| refusal.within(format!("order[{at}]"));
                strict &= curves_up(instance, part, features, mu, order).map_err(within)?;
            }
            Form::Joint { errors, .. } => {
                require(errors.is_empty(), || format!("parts[{at}]: a joint part of a local minimum has no features"))?;
            }
        }
    }
    require(orders.next().is_none(), || "order: more entries than row parts".to_owned())?;
    let name = match strict {
        true => "a local minimum in its cell, strict up to rescaling, with",
        false => "a local minimum in its cell with",
    };
    Ok(Claim { strict: Some(strict), ..claim(instance, &firing, &parts, name)? })
}

/// Checks everything of `partial-optimum`.
fn parts<'w>(instance: &Instance<'w>, firing: &Firing, body: &PartialOptimum) -> Result<Vec<Stationary<'w>>, Refusal> {
    if body.parts.len() != body.loss.len() {
        return Err(Refusal::format("loss: expected one entry for each part"));
    }
    let mut parts = Vec::new();
    for (at, (part, loss)) in body.parts.iter().zip(&body.loss).enumerate() {
        let part = match part {
            Part::Row(part) => row_part(instance, firing, part),
            Part::Joint(part) => joint_part(instance, firing, part),
        };
        let part = part.map_err(|refusal| refusal.within(format!("parts[{at}]")))?;
        let loss = loss.number(&part.k).map_err(|refusal| refusal.within(format!("loss[{at}]")))?;
        require(part.k.equal(&loss, &part.loss)?, || format!("loss[{at}]: the part has another loss"))?;
        parts.push(part);
    }
    let mut neurons: Vec<usize> = parts.iter().flat_map(|part| part.neurons.iter().copied()).collect();
    neurons.sort_unstable();
    require(neurons.iter().copied().eq(0..firing.neurons()), || {
        "not every neuron stands in exactly one part".to_owned()
    })?;
    let mut owner = vec![None; instance.features()];
    for (at, part) in parts.iter().enumerate() {
        for d in part.neurons.iter().flat_map(|&i| firing.features(i)) {
            if let Some(owner) = owner.get_mut(d) {
                require(*owner.get_or_insert(at) == at, || format!("two parts share feature {d}"))?;
            }
        }
    }
    Ok(parts)
}

/// The rows in a cell: a > c on F_i and ≤ c elsewhere. Returns z and the faces on which a row lies.
fn in_cell(
    instance: &Instance,
    k: &Numbers,
    firing: &Firing,
    neurons: &[usize],
    w: &[Vec<Num>],
) -> Result<(Vec<Vec<Num>>, Faces), Refusal> {
    let (c, mut z, mut faces) = (instance.threshold()?, Vec::new(), Faces::new());
    for (at, (&i, w)) in neurons.iter().zip(w).enumerate() {
        require(i < firing.neurons(), || format!("there is no neuron {i}"))?;
        let row: Vec<Num> = instance.p.iter().map(|p| k.dot(w, p)).collect::<Result<_, _>>()?;
        for (d, z) in row.iter().enumerate() {
            match (firing.fires(i, d), k.compare(z, &c)?) {
                (true, 1) | (false, -1) => {}
                (false, 0) => {
                    faces.insert((at, d));
                }
                (true, _) => return Err(Refusal::condition(format!("neuron {i} does not fire on feature {d}"))),
                (false, _) => return Err(Refusal::condition(format!("neuron {i} fires on feature {d}"))),
            }
        }
        z.push(row);
    }
    Ok((z, faces))
}

/// Splits the faces of rows into those with a multiplier and the others; a multiplier elsewhere is refused.
fn split_faces(faces: Faces, multipliers: &[((usize, usize), Num)]) -> Result<(Faces, Faces), Refusal> {
    let with_multiplier: Faces = multipliers.iter().map(|(face, _)| *face).collect();
    let (held, loose): (Faces, Faces) = faces.into_iter().partition(|face| with_multiplier.contains(face));
    require(held.len() == with_multiplier.len(), || "a multiplier does not belong to an active face".to_owned())?;
    Ok((held, loose))
}

fn row_part<'w>(instance: &Instance<'w>, firing: &Firing, part: &RowPart) -> Result<Stationary<'w>, Refusal> {
    let k = Numbers::new(instance.work(), part.field.as_ref())?;
    let (w, mu) = (k.vector(&part.w, instance.n_p).map_err(|refusal| refusal.within("w"))?, part.mu.number(&k)?);
    let neurons = vec![part.neuron];
    let (z, faces) = in_cell(instance, &k, firing, &neurons, std::slice::from_ref(&w))?;
    let features = firing.features(part.neuron);
    require(!features.is_empty(), || format!("neuron {} is dead: a row part has features", part.neuron))?;
    let multipliers = part.multipliers.iter().map(|(e, number)| ((0, *e), number));
    let multipliers = instance.positive(&k, multipliers).map_err(|refusal| refusal.within("multipliers"))?;
    let (held, loose) = split_faces(faces, &multipliers)?;
    let c = instance.threshold()?;
    require(instance.is_zero(&c)? || held.is_empty(), || "no multiplier can occur for c > 0".to_owned())?;
    // H w = Σ λ_e p_e
    let gradient = instance.block(&k, &features, &mu, &w)?;
    let mut terms = vec![(Num::from(1), gradient.as_slice())];
    for ((_, e), multiplier) in &multipliers {
        terms.push((multiplier.neg(), instance.direction(*e)?));
    }
    for (at, coordinate) in k.combine(instance.n_p, &terms)?.iter().enumerate() {
        require(k.is_zero(coordinate)?, || format!("H w is not Σ λ p in coordinate {at}"))?;
    }
    let loss = k.difference(&instance.total(features.iter().copied())?, &mu)?;
    Ok(Stationary { neurons, z, held, loose, loss, form: Form::Row { features, mu }, k })
}

fn joint_part<'w>(instance: &Instance<'w>, firing: &Firing, part: &JointPart) -> Result<Stationary<'w>, Refusal> {
    let k = Numbers::new(instance.work(), part.field.as_ref())?;
    let neurons = part.neurons.clone();
    limit_size("neurons", neurons.len())?;
    distinct(neurons.iter().copied(), "neurons")?;
    if part.w_e.len() != neurons.len() || part.w_d.len() != neurons.len() {
        return Err(Refusal::format("expected a row and a column for each neuron"));
    }
    let w = k.vectors(&part.w_e, instance.n_p).map_err(|refusal| refusal.within("w_e"))?;
    let v = k.vectors(&part.w_d, instance.n_r).map_err(|refusal| refusal.within("w_d"))?;
    let (z, faces) = in_cell(instance, &k, firing, &neurons, &w)?;
    let position: BTreeMap<usize, usize> = neurons.iter().enumerate().map(|(at, &i)| (i, at)).collect();
    let listed = part.multipliers.iter().map(|(i, e, number)| match position.get(i) {
        Some(at) => Ok(((*at, *e), number)),
        None => Err(Refusal::condition(format!("multipliers: neuron {i} is not in the part"))),
    });
    let listed: Vec<_> = listed.collect::<Result<_, _>>()?;
    let multipliers = instance.positive(&k, listed).map_err(|refusal| refusal.within("multipliers"))?;
    let (held, loose) = split_faces(faces, &multipliers)?;
    // E_d = r_d − Σ z_id v_i on the features of the part
    let (mut errors, mut squares, mut masses) = (Vec::new(), Vec::new(), Vec::new());
    for d in (0..instance.features()).filter(|&d| neurons.iter().any(|&i| firing.fires(i, d))) {
        let (_, r, mass) = instance.feature(d)?;
        let mut terms = vec![(Num::from(1), r)];
        for (_, z, v) in firing_on(firing, &neurons, &z, &v, d) {
            terms.push((z.neg(), v));
        }
        let error = k.combine(instance.n_r, &terms)?;
        squares.push(k.dot(&error, &error)?);
        masses.push(mass.clone());
        errors.push((d, error));
    }
    for (at, (&i, v)) in neurons.iter().zip(&v).enumerate() {
        let (mut for_v, mut for_w) = (Vec::new(), Vec::new());
        for (d, error) in errors.iter().filter(|(d, _)| firing.fires(i, *d)) {
            let (p, _, mass) = instance.feature(*d)?;
            let z = z.get(at).and_then(|row| row.get(*d)).ok_or_else(|| Refusal::format("no activation"))?;
            for_v.push((k.product(mass, z)?, error.as_slice()));
            for_w.push((k.product(&k.product(mass, &Num::from(-2))?, &k.dot(v, error)?)?, p));
        }
        for ((_, e), multiplier) in multipliers.iter().filter(|((held, _), _)| *held == at) {
            for_w.push((multiplier.clone(), instance.direction(*e)?));
        }
        for (block, length, terms) in [("V", instance.n_r, for_v), ("W", instance.n_p, for_w)] {
            for coordinate in k.combine(length, &terms)? {
                require(k.is_zero(&coordinate)?, || format!("the gradient in {block} of neuron {i} is not balanced"))?;
            }
        }
    }
    let loss = k.dot(&masses, &squares)?;
    Ok(Stationary { neurons, z, held, loose, loss, form: Form::Joint { v, errors }, k })
}

/// (position, z_id, x_i) of the neurons that fire on d, x one vector for each neuron.
fn firing_on<'a>(
    firing: &Firing,
    neurons: &[usize],
    z: &'a [Vec<Num>],
    x: &'a [Vec<Num>],
    d: usize,
) -> Vec<(usize, &'a Num, &'a [Num])> {
    let rows = neurons.iter().zip(z.iter().zip(x)).enumerate().filter(|(_, (i, _))| firing.fires(**i, d));
    rows.filter_map(|(at, (_, (z, x)))| Some((at, z.get(d)?, x.as_slice()))).collect()
}

/// Whether rows may move along the directions: faces with a multiplier are kept, the others not crossed.
fn stays_in_cell(instance: &Instance, part: &Stationary, directions: &[Vec<Num>]) -> Result<(), Refusal> {
    for (faces, held) in [(&part.held, true), (&part.loose, false)] {
        for (at, e) in faces {
            let along = directions.get(*at).ok_or_else(|| Refusal::format("a direction is missing"))?;
            let along = part.k.sign(&part.k.dot(along, instance.direction(*e)?)?)?;
            require(along == 0 || (along < 0 && !held), || format!("the direction leaves the face of feature {e}"))?;
        }
    }
    Ok(())
}

/// The second-order condition of `strict-saddle`.
fn curves_down(instance: &Instance, firing: &Firing, part: &Stationary, to: &Direction) -> Result<(), Refusal> {
    let k = &part.k;
    let curvature = match (&part.form, to) {
        (Form::Row { features, mu }, Direction::Row(direction)) => {
            let directions = vec![k.vector(direction, instance.n_p)?];
            stays_in_cell(instance, part, &directions)?;
            let direction = directions.first().map_or(&[][..], Vec::as_slice);
            k.dot(direction, &instance.block(k, features, mu, direction)?)?.neg()
        }
        (Form::Joint { v, errors }, Direction::Joint { w_e, w_d }) => {
            if w_e.len() != part.neurons.len() || w_d.len() != part.neurons.len() {
                return Err(Refusal::format("expected a direction for each neuron of the part"));
            }
            let (w1, v1) = (k.vectors(w_e, instance.n_p)?, k.vectors(w_d, instance.n_r)?);
            stays_in_cell(instance, part, &w1)?;
            let (mut masses, mut terms) = (Vec::new(), Vec::new());
            for (d, error) in errors {
                let (p, _, mass) = instance.feature(*d)?;
                let (mut first, mut second) = (Vec::new(), Vec::new());
                for (at, z, v) in firing_on(firing, &part.neurons, &part.z, v, *d) {
                    let (Some(w1), Some(v1)) = (w1.get(at), v1.get(at)) else { continue };
                    let z1 = k.dot(w1, p)?;
                    first.extend([(z.clone(), v1.as_slice()), (z1.clone(), v)]);
                    second.push((z1, v1.as_slice()));
                }
                let (first, second) = (k.combine(instance.n_r, &first)?, k.combine(instance.n_r, &second)?);
                let twice = k.product(&k.dot(error, &second)?, &Num::from(2))?;
                terms.push(k.difference(&k.dot(&first, &first)?, &twice)?);
                masses.push(mass.clone());
            }
            k.dot(&masses, &terms)?
        }
        _ => return Err(Refusal::format("the direction does not have the form of its part")),
    };
    require(k.sign(&curvature)? < 0, || "the loss does not curve down along the direction".to_owned())
}

/// The second-order condition of `local-min` for a row part. Returns whether the minimum is strict up to rescaling.
fn curves_up(
    instance: &Instance,
    part: &Stationary,
    features: &[usize],
    mu: &Num,
    order: &Order,
) -> Result<bool, Refusal> {
    let (k, n_p) = (&part.k, instance.n_p);
    distinct(order.u.iter().map(|(e, _)| *e), "the features of `u`")?;
    distinct(order.n.iter().map(|(e, f, _)| (*e, *f)), "the pairs of `n`")?;
    let one = |at: usize| -> Vec<Num> { (0..n_p).map(|i| Num::from(i64::from(i == at))).collect() };
    // M = −H + Σ (left rightᵀ + right leftᵀ)
    let mut m: Matrix<Num> = Vec::new();
    for at in 0..n_p {
        m.push(instance.block(k, features, mu, &one(at))?.iter().map(Num::neg).collect());
    }
    let mut outer = Vec::new();
    for (e, u) in &order.u {
        require(part.held.contains(&(0, *e)), || format!("u: feature {e} has no multiplier"))?;
        let (p, u) = (instance.direction(*e)?.to_vec(), k.vector(u, n_p)?);
        outer.extend([(p.clone(), u.clone()), (u, p)]);
    }
    for (e, f, nu) in &order.n {
        let active = e <= f && [e, f].iter().all(|e| part.loose.contains(&(0, **e)));
        require(active, || format!("n: {e}, {f} are no ordered pair of active features without a multiplier"))?;
        let nu = nu.number(k)?;
        require(k.sign(&nu)? >= 0, || format!("n: the coefficient of {e}, {f} is negative"))?;
        let scaled = k.combine(n_p, &[(nu.neg(), instance.direction(*e)?)])?;
        let p = instance.direction(*f)?.to_vec();
        outer.extend([(scaled.clone(), p.clone()), (p, scaled)]);
    }
    let m = plus_outer(k, &m, &outer)?;
    let kernel = k.vectors(&order.kernel, n_p).map_err(|refusal| refusal.within("kernel"))?;
    for (at, vector) in kernel.iter().enumerate() {
        for row in &m {
            require(k.is_zero(&k.dot(row, vector)?)?, || format!("kernel[{at}] is not in the kernel"))?;
        }
    }
    let outer: Vec<_> = kernel.iter().map(|vector| (vector.clone(), vector.clone())).collect();
    require(is_definite(k, &plus_outer(k, &m, &outer)?)?, || "M is not proved semidefinite".to_owned())?;
    let mut strict = true;
    let activations: Vec<(&[Num], &Num)> = match part.z.first() {
        Some(row) => features.iter().filter_map(|&d| Some((instance.p.get(d)?.as_slice(), row.get(d)?))).collect(),
        None => Vec::new(),
    };
    if let Some((p_first, a_first)) = activations.first() {
        for vector in &kernel {
            let k_first = k.dot(vector, p_first)?;
            for (p, a) in &activations {
                let change = k.dot(vector, p)?;
                strict &= k.equal(&k.product(&change, a_first)?, &k.product(&k_first, a)?)?;
            }
        }
    }
    Ok(strict)
}

/// m + Σ left rightᵀ.
fn plus_outer(k: &Numbers, m: &Matrix<Num>, outer: &[(Vec<Num>, Vec<Num>)]) -> Result<Matrix<Num>, Refusal> {
    let one = Num::from(1);
    let entry = |at: usize, j: usize, base: &Num| {
        let products = outer.iter().filter_map(|(left, right)| Some((left.get(at)?, right.get(j)?)));
        k.sum(std::iter::once((base, &one)).chain(products))
    };
    m.iter().enumerate().map(|(at, row)| row.iter().enumerate().map(|(j, base)| entry(at, j, base)).collect()).collect()
}

/// What was proved, with bounds of the loss.
fn claim(instance: &Instance, firing: &Firing, parts: &[Stationary], name: &str) -> Result<Claim, Refusal> {
    let covered = firing.counts();
    let mut rational = instance.total((0..instance.features()).filter(|&d| covered.get(d) == Some(&0)))?;
    let (mut value, one) = (Value::zero(), Num::from(1));
    for part in parts {
        if part.loss.rational_sign().is_some() {
            rational = instance.sum([(&rational, &one), (&part.loss, &one)])?;
        } else {
            value.add(&Value::of(&part.k, &part.loss)?);
        }
    }
    value.add(&Value::of(instance, &rational)?);
    let interior = parts.iter().all(|part| part.held.is_empty());
    let place =
        if interior { "interior: no face carries a multiplier" } else { "boundary: a face carries a multiplier" };
    let statement = format!("a point with the pattern {} is {name} loss {value} ({place})", firing.shown());
    Ok(Claim { interior: Some(interior), loss: Some(value.as_f64()), ..Claim::new(statement) })
}
