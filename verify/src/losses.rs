//! Values of the loss at rational points (FORMAT.md §5): `zero-loss`, `loss-value`, `not-convex`, `not-partial-optimum`,
//! `not-separable`, `exact-loss`, `jacobian-rank`.

use crate::Refusal;
use crate::claim::{Claim, Value};
use crate::format::{
    ExactLoss, JacobianRank, LossValue, NotConvex, NotPartialOptimum, NotSeparable, Point, ThresholdCell, ZeroLoss,
};
use crate::instance::{ExactPoint, Instance, require};
use crate::matrix::rational_rank;
use crate::number::Num;
use std::collections::BTreeSet;

/// Most entries of the Jacobian.
const MAX_ENTRIES: usize = 4_000_000;

fn point(instance: &Instance, point: &Point, key: &str) -> Result<ExactPoint, Refusal> {
    instance.point(point).map_err(|refusal| refusal.within(key))
}

/// `zero-loss`.
pub(crate) fn zero_loss(instance: &Instance, body: &ZeroLoss) -> Result<Claim, Refusal> {
    let point = point(instance, &body.point, "point")?;
    for d in 0..instance.features() {
        let (p, r, _) = instance.feature(d)?;
        let error = instance.error(&point, p, r)?;
        require(instance.is_zero(&error)?, || format!("feature {d} is not reconstructed"))?;
    }
    let statement = format!("a point with {} neurons has loss 0", point.w.len());
    Ok(Claim { loss: Some((0.0, 0.0)), ..Claim::new(statement) })
}

/// `loss-value`.
pub(crate) fn loss_value(instance: &Instance, body: &LossValue) -> Result<Claim, Refusal> {
    let point = point(instance, &body.point, "point")?;
    let (loss, written) = (instance.loss(&point)?, Num::from(&body.loss));
    require(instance.equal(&loss, &written)?, || "the point has another loss".to_owned())?;
    let value = Value::of(instance, &written)?;
    let statement = format!("a point with {} neurons has loss {value}", point.w.len());
    Ok(Claim { loss: Some(value.as_f64()), ..Claim::new(statement) })
}

/// `not-convex`.
pub(crate) fn not_convex(instance: &Instance, body: &NotConvex) -> Result<Claim, Refusal> {
    let (from, to) = (point(instance, &body.from, "from")?, point(instance, &body.to, "to")?);
    let (t, one) = (Num::from(&body.t), Num::from(1));
    let s = instance.difference(&one, &t)?;
    require(instance.sign(&t)? > 0 && instance.sign(&s)? > 0, || "t is not between 0 and 1".to_owned())?;
    require(from.w.len() == to.w.len(), || "the points have different shapes".to_owned())?;
    let mix = |a: &[Vec<Num>], b: &[Vec<Num>]| {
        let mix = |(a, b): (&Vec<Num>, &Vec<Num>)| {
            instance.combine(a.len(), &[(s.clone(), a.as_slice()), (t.clone(), b.as_slice())])
        };
        a.iter().zip(b).map(mix).collect::<Result<Vec<_>, _>>()
    };
    let middle = ExactPoint { w: mix(&from.w, &to.w)?, v: mix(&from.v, &to.v)? };
    let mut place = String::new();
    if let Some(ThresholdCell { pattern, threshold }) = &body.cell {
        let (firing, threshold) = (instance.firing(pattern)?, Num::from(threshold));
        for (key, point) in [("from", &from), ("to", &to), ("the point between", &middle)] {
            require(point.w.len() == firing.neurons(), || format!("{key}: the pattern has other neurons"))?;
            for (i, w) in point.w.iter().enumerate() {
                for (d, p) in instance.p.iter().enumerate() {
                    let above = instance.compare(&instance.dot(w, p)?, &threshold)? > 0;
                    require(above == firing.fires(i, d), || {
                        format!("{key} is not in the cell: neuron {i}, feature {d}")
                    })?;
                }
            }
        }
        place = format!(" inside the threshold cell {}", firing.shown());
    }
    let chord = instance.sum([(&s, &instance.loss(&from)?), (&t, &instance.loss(&to)?)])?;
    let excess = instance.difference(&instance.loss(&middle)?, &chord)?;
    require(instance.sign(&excess)? > 0, || "the loss does not lie above the chord".to_owned())?;
    let excess = Value::of(instance, &excess)?;
    Ok(Claim::new(format!("the loss is not convex{place}: on a segment it exceeds the chord by {excess}")))
}

/// `not-partial-optimum`.
pub(crate) fn not_partial_optimum(instance: &Instance, body: &NotPartialOptimum) -> Result<Claim, Refusal> {
    let (worse, better) = (point(instance, &body.point, "point")?, point(instance, &body.better, "better")?);
    require(worse.w.len() == better.w.len(), || "the points have different shapes".to_owned())?;
    let kept = body.point.w_d == body.better.w_d || body.point.w_e == body.better.w_e;
    require(kept, || "neither the decoder nor the encoder is kept".to_owned())?;
    require(instance.firing_of(&worse.w)? == instance.firing_of(&better.w)?, || {
        "the points lie in different cells".to_owned()
    })?;
    let gain = instance.difference(&instance.loss(&worse)?, &instance.loss(&better)?)?;
    require(instance.sign(&gain)? > 0, || "the other point is not better".to_owned())?;
    let gain = Value::of(instance, &gain)?;
    Ok(Claim::new(format!(
        "a point is no partial optimum of its cell: a change of one block lowers its loss by {gain}"
    )))
}

/// `not-separable`.
pub(crate) fn not_separable(instance: &Instance, body: &NotSeparable) -> Result<Claim, Refusal> {
    instance.threshold()?;
    let point = point(instance, &body.point, "point")?;
    let (i, j) = body.neurons;
    require(i != j && i.max(j) < point.w.len(), || "the neurons are not two of the point's".to_owned())?;
    let (row_i, row_j) = (instance.vector(&body.rows.0, instance.n_p)?, instance.vector(&body.rows.1, instance.n_p)?);
    let firing = instance.firing_of(&point.w)?;
    let mut terms = Vec::new();
    for (move_i, move_j) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut moved = point.clone();
        for (at, row, moves) in [(i, &row_i, move_i), (j, &row_j, move_j)] {
            moved.w.iter_mut().skip(at).take(usize::from(moves)).for_each(|w| w.clone_from(row));
        }
        require(instance.firing_of(&moved.w)? == firing, || "an encoder lies in another cell".to_owned())?;
        terms.push((Num::from(if move_i == move_j { 1 } else { -1 }), instance.loss(&moved)?));
    }
    let difference = instance.sum(terms.iter().map(|(sign, loss)| (sign, loss)))?;
    let written = Num::from(&body.difference);
    require(instance.equal(&difference, &written)?, || "the mixed difference is another".to_owned())?;
    require(!instance.is_zero(&written)?, || "the mixed difference is 0".to_owned())?;
    let value = Value::of(instance, &written)?;
    Ok(Claim::new(format!(
        "within a cell the loss is no sum over encoder rows: the mixed difference of rows {i} and {j} is {value}"
    )))
}

/// `exact-loss`.
pub(crate) fn exact_loss(instance: &Instance, body: &ExactLoss) -> Result<Claim, Refusal> {
    let point = point(instance, &body.point, "point")?;
    let (n, one) = (instance.features(), Num::from(1));
    let (mut seen, mut probabilities, mut errors) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut mass = vec![Num::zero(); n];
    for (at, atom) in body.distribution.iter().enumerate() {
        let within = |refusal: Refusal| refusal.within(format!("distribution[{at}]"));
        let (x, probability) = (instance.vector(&atom.x, n).map_err(within)?, Num::from(&atom.probability));
        require(instance.sign(&probability)? > 0, || format!("distribution[{at}]: the probability is not positive"))?;
        require(seen.insert(&atom.x), || format!("distribution[{at}]: x occurs twice"))?;
        let mut active = Vec::new();
        for (d, x) in x.iter().enumerate() {
            let sign = instance.sign(x)?;
            require(sign >= 0, || format!("distribution[{at}]: x is negative at {d}"))?;
            active.extend((sign > 0).then_some((d, x)));
        }
        let (mut in_p, mut in_r) = (Vec::new(), Vec::new());
        for &(d, x) in &active {
            let (p, r, _) = instance.feature(d)?;
            in_p.push((x.clone(), p));
            in_r.push((x.clone(), r));
        }
        let (p, r) = (instance.combine(instance.n_p, &in_p)?, instance.combine(instance.n_r, &in_r)?);
        errors.push(instance.error(&point, &p, &r)?);
        if let [(d, x)] = active.as_slice()
            && let Some(mass) = mass.get_mut(*d)
        {
            let square = instance.product(x, x)?;
            *mass = instance.sum([(&*mass, &one), (&square, &probability)])?;
        }
        probabilities.push(probability);
    }
    let total = instance.sum(probabilities.iter().map(|probability| (probability, &one)))?;
    require(instance.equal(&total, &one)?, || "the probabilities do not add up to 1".to_owned())?;
    let (loss, approximate) = (instance.dot(&probabilities, &errors)?, instance.loss_with(&point, &mass)?);
    for (value, written, key) in [(&loss, &body.loss, "loss"), (&approximate, &body.approximate, "approximate")] {
        require(instance.equal(value, &Num::from(written))?, || format!("{key}: the value is another"))?;
    }
    let (loss, approximate) = (Value::of(instance, &loss)?, Value::of(instance, &approximate)?);
    let statement = format!(
        "under a distribution of {} values the loss is {loss}, the approximate loss {approximate}",
        errors.len()
    );
    Ok(Claim { loss: Some(loss.as_f64()), ..Claim::new(statement) })
}

/// `jacobian-rank`.
pub(crate) fn jacobian_rank(instance: &Instance, body: &JacobianRank) -> Result<Claim, Refusal> {
    instance.threshold()?;
    let point = point(instance, &body.point, "point")?;
    let (n, n_q, n_p, n_r) = (instance.features(), point.w.len(), instance.n_p, instance.n_r);
    let (rows, columns) = (n * n_r, n_q * (n_r + n_p));
    if rows.saturating_mul(columns) > MAX_ENTRIES {
        return Err(Refusal::limit(format!("the Jacobian has over {MAX_ENTRIES} entries")));
    }
    let mut matrix = Vec::with_capacity(rows);
    for p in &instance.p {
        let z = instance.activations(&point.w, p)?;
        for at in 0..n_r {
            // ∂/∂v_i is z_id in coordinate `at`, ∂/∂w_i is v_i[at] p_d
            let mut row = Vec::with_capacity(columns);
            for (z, v) in z.iter().zip(&point.v) {
                let entry = |k: usize| z.clone().filter(|_| k == at).unwrap_or_else(Num::zero);
                row.extend((0..n_r).map(entry));
                let v = v.get(at).filter(|_| z.is_some()).cloned().unwrap_or_else(Num::zero);
                row.extend(instance.combine(n_p, &[(v, p.as_slice())])?);
            }
            matrix.push(row);
        }
    }
    let rank = rational_rank(instance, &matrix)?;
    require(rank == body.rank, || format!("the rank is {rank}"))?;
    Ok(Claim::new(format!("the Jacobian of the residuals has rank {rank}: {rows} residuals, {columns} parameters")))
}
