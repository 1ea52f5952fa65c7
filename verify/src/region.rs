//! Patterns: realizable, empty, and split (FORMAT.md §5: `pattern-witness`, `pattern-empty`, `absorption`).

use crate::Refusal;
use crate::claim::Claim;
use crate::field::Numbers;
use crate::format::{
    Absorption, Activation, EmptySplit, Farkas, FarkasComparisons, FarkasRow, PatternEmpty, PatternWitness, Rat, Split,
};
use crate::instance::{Firing, Instance, require};
use crate::number::Num;
use std::collections::BTreeMap;

/// `pattern-witness`.
pub(crate) fn pattern_witness(instance: &Instance, body: &PatternWitness) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.pattern)?;
    realizes(instance, &body.w_e, &firing)?;
    Ok(Claim::new(format!("an encoder has the pattern {}", firing.shown())))
}

/// `pattern-empty`.
pub(crate) fn pattern_empty(instance: &Instance, body: &PatternEmpty) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.pattern)?;
    is_empty(instance, &firing, &body.farkas).map_err(|refusal| refusal.within("farkas"))?;
    Ok(Claim::new(format!("no encoder has the pattern {}", firing.shown())))
}

/// `absorption`.
pub(crate) fn absorption(instance: &Instance, body: &Absorption) -> Result<Claim, Refusal> {
    let firing = instance.firing(&body.pattern)?;
    realizes(instance, &body.w_e, &firing)?;
    let features = firing.features(body.neuron);
    require(features.len() >= 2, || format!("neuron {} fires on fewer than two features", body.neuron))?;
    let split_at = |d: usize| {
        require(features.contains(&d), || format!("neuron {} does not fire on feature {d}", body.neuron))?;
        let mut split = body.pattern.clone();
        split.iter_mut().skip(body.neuron).take(1).for_each(|features| features.retain(|&e| e != d));
        split.push(vec![d]);
        instance.firing(&split)
    };
    let neuron = body.neuron;
    match &body.split {
        Split::Realizable { feature, w_e } => {
            realizes(instance, w_e, &split_at(*feature)?).map_err(|refusal| refusal.within("split.realizable"))?;
            Ok(Claim::new(format!("neuron {neuron} of {} can be split at feature {feature}", firing.shown())))
        }
        Split::None(splits) => {
            let mut covered: Vec<usize> = splits.iter().map(|split| split.feature).collect();
            covered.sort_unstable();
            require(covered == features, || format!("the splits are not those of neuron {neuron}, each once"))?;
            for EmptySplit { feature, farkas } in splits {
                let within = |refusal: Refusal| refusal.within(format!("split.none (feature {feature})"));
                is_empty(instance, &split_at(*feature)?, farkas).map_err(within)?;
            }
            Ok(Claim::new(format!("no split of neuron {neuron} of {} is realizable", firing.shown())))
        }
    }
}

fn realizes(instance: &Instance, w_e: &[Vec<Rat>], firing: &Firing) -> Result<(), Refusal> {
    let w = instance.encoder(w_e).map_err(|refusal| refusal.within("w_e"))?;
    require(instance.firing_of(&w)? == *firing, || "the rows have another pattern".to_owned())
}

/// FARKAS: the pattern has no encoder.
fn is_empty(instance: &Instance, firing: &Firing, farkas: &Farkas) -> Result<(), Refusal> {
    let (k, relu) = match (instance.activation(), farkas) {
        (Activation::Threshold { .. }, Farkas::Row(row)) => {
            require(row.neuron < firing.neurons(), || format!("there is no neuron {}", row.neuron))?;
            return is_empty_row(instance, row, |d| firing.fires(row.neuron, d), |e| !firing.fires(row.neuron, e));
        }
        (Activation::TopK { k }, Farkas::Count(_) | Farkas::Comparisons(_)) => (*k, false),
        (Activation::TopKRelu { k }, Farkas::Count(_) | Farkas::Comparisons(_)) => (*k, true),
        _ => return Err(Refusal::condition("the form does not belong to the activation")),
    };
    let selected = k.min(firing.neurons());
    let counts = firing.counts();
    let count = |d: usize| counts.get(d).copied().unwrap_or(0);
    let impossible = |d: usize| if relu { count(d) > selected } else { count(d) != selected };
    match farkas {
        Farkas::Count(d) => {
            instance.feature(*d)?;
            require(impossible(*d), || format!("feature {d} fires a possible number of neurons"))
        }
        Farkas::Comparisons(comparisons) => {
            if let Some(d) = (0..instance.features()).find(|&d| impossible(d)) {
                return Err(Refusal::condition(format!(
                    "feature {d} fires an impossible number of neurons: use `count`"
                )));
            }
            contradict(instance, firing, comparisons, |d| relu && count(d) < selected, relu)
        }
        Farkas::Row(_) => Err(Refusal::condition("the form does not belong to the activation")),
    }
}

/// Σ y_d p_d = Σ z_e p_e and c Σ y_d ≥ c Σ z_e, for features on which the row fires and does not.
pub(crate) fn is_empty_row(
    instance: &Instance,
    farkas: &FarkasRow,
    on: impl Fn(usize) -> bool,
    off: impl Fn(usize) -> bool,
) -> Result<(), Refusal> {
    let entries = |list: &[(usize, Rat)], key: &str, allowed: &dyn Fn(usize) -> bool| {
        let read = instance.positive(instance, list.iter().map(|(d, y)| (*d, y)));
        let read = read.map_err(|refusal| refusal.within(key))?;
        match read.iter().find(|(d, _)| !allowed(*d)) {
            Some((d, _)) => Err(Refusal::condition(format!("feature {d} does not belong in `{key}`"))),
            None => Ok(read),
        }
    };
    let (y, z) = (entries(&farkas.on, "on", &on)?, entries(&farkas.off, "off", &off)?);
    require(!y.is_empty(), || "`on` is empty".to_owned())?;
    balanced(instance, instance, Vec::new(), &y, &z)
}

/// residual = Σ y_d p_d − Σ z_e p_e and c Σ y_d ≥ c Σ z_e.
pub(crate) fn balanced(
    instance: &Instance,
    k: &Numbers,
    left: Vec<(Num, &[Num])>,
    y: &[(usize, Num)],
    z: &[(usize, Num)],
) -> Result<(), Refusal> {
    let (mut terms, mut difference) = (left, Vec::new());
    for (d, y_d) in y {
        terms.push((y_d.neg(), instance.direction(*d)?));
        difference.push(y_d.clone());
    }
    for (e, z_e) in z {
        terms.push((z_e.clone(), instance.direction(*e)?));
        difference.push(z_e.neg());
    }
    for (at, coordinate) in k.combine(instance.n_p, &terms)?.iter().enumerate() {
        require(k.is_zero(coordinate)?, || format!("the combination is not balanced in coordinate {at}"))?;
    }
    let (one, c) = (Num::from(1), instance.threshold()?);
    let difference = k.product(&c, &k.sum(difference.iter().map(|x| (x, &one)))?)?;
    require(k.sign(&difference)? >= 0, || "c Σ y is below c Σ z".to_owned())
}

/// A positive combination of inequalities, one of them strict, that vanishes for every encoder.
fn contradict(
    instance: &Instance,
    firing: &Firing,
    farkas: &FarkasComparisons,
    has_room: impl Fn(usize) -> bool,
    relu: bool,
) -> Result<(), Refusal> {
    // for each neuron, z_id for fire = true and −z_id for false: the neuron must exist and fire on d or not
    let mut terms: BTreeMap<usize, Vec<(Num, &[Num])>> = BTreeMap::new();
    let mut add = |d: usize, i: usize, coefficient: &Num, fire: bool| {
        let p = instance.direction(d)?;
        require(i < firing.neurons() && firing.fires(i, d) == fire, || format!("neuron {i} is wrong for feature {d}"))?;
        terms.entry(i).or_default().push((if fire { coefficient.clone() } else { coefficient.neg() }, p));
        Ok::<(), Refusal>(())
    };
    let comparisons = farkas.comparisons.iter().map(|(d, i, j, y)| ((*d, *i, *j), y));
    let comparisons = instance.positive(instance, comparisons).map_err(|refusal| refusal.within("comparisons"))?;
    let positives = farkas.positives.iter().map(|(d, i, y)| ((*d, *i), y));
    let positives = instance.positive(instance, positives).map_err(|refusal| refusal.within("positives"))?;
    let nonpositives = farkas.nonpositives.iter().map(|(d, j, y)| ((*d, *j), y));
    let nonpositives = instance.positive(instance, nonpositives).map_err(|refusal| refusal.within("nonpositives"))?;
    require(relu || (positives.is_empty() && nonpositives.is_empty()), || {
        "only `top-k-relu` has positives and nonpositives".to_owned()
    })?;
    for ((d, i, j), y) in &comparisons {
        require(!has_room(*d), || format!("feature {d} fires fewer neurons than are selected: no comparison holds"))?;
        add(*d, *i, y, true)?;
        add(*d, *j, y, false)?;
    }
    for ((d, i), y) in &positives {
        add(*d, *i, y, true)?;
    }
    for ((d, j), y) in &nonpositives {
        require(has_room(*d), || format!("feature {d} fires all neurons that are selected"))?;
        add(*d, *j, y, false)?;
    }
    let strict = !positives.is_empty() || comparisons.iter().any(|((_, i, j), _)| i > j);
    require(strict, || "no inequality is strict".to_owned())?;
    for (m, terms) in &terms {
        for coordinate in instance.combine(instance.n_p, terms)? {
            require(instance.is_zero(&coordinate)?, || format!("the terms of neuron {m} do not cancel"))?;
        }
    }
    Ok(())
}
