//! The instance in exact numbers: shapes, patterns, firing, activations, losses (FORMAT.md §2).

use crate::Refusal;
use crate::field::{Numbers, Written};
use crate::format::{Activation, Pattern, Point, Problem, Rat};
use crate::number::{Num, Work};
use std::collections::BTreeSet;
use std::ops::Deref;

/// Most features, neurons, and coordinates.
const MAX_SIZE: usize = 4096;

/// Every certificate's conditions speak of one of these. It computes in rational numbers; a context with a field passes
/// its own [`Numbers`].
pub(crate) struct Instance<'w> {
    pub(crate) n_p: usize,
    pub(crate) n_r: usize,
    /// p_d.
    pub(crate) p: Vec<Vec<Num>>,
    /// r_d.
    pub(crate) r: Vec<Vec<Num>>,
    /// M_d.
    pub(crate) mass: Vec<Num>,
    activation: Activation,
    numbers: Numbers<'w>,
}

impl<'w> Deref for Instance<'w> {
    type Target = Numbers<'w>;

    fn deref(&self) -> &Numbers<'w> {
        &self.numbers
    }
}

pub(crate) fn limit_size(what: &str, size: usize) -> Result<(), Refusal> {
    match size {
        0 => Err(Refusal::format(format!("there are no {what}"))),
        1..=MAX_SIZE => Ok(()),
        _ => Err(Refusal::limit(format!("over {MAX_SIZE} {what}"))),
    }
}

/// A refusal unless the condition holds.
pub(crate) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::condition(otherwise())) }
}

/// A refusal if a value occurs twice.
pub(crate) fn distinct<T: Ord>(values: impl IntoIterator<Item = T>, what: &str) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    require(values.into_iter().all(|value| seen.insert(value)), || format!("{what} are not distinct"))
}

impl<'w> Instance<'w> {
    pub(crate) fn new(problem: &Problem, work: &'w Work) -> Result<Self, Refusal> {
        let numbers = Numbers::rational(work);
        let (n_p, n_r) = problem.features.first().map_or((0, 0), |feature| (feature.w_p.len(), feature.w_r.len()));
        for (what, size) in [("features", problem.features.len()), ("entries of w_p", n_p), ("entries of w_r", n_r)] {
            limit_size(what, size)?;
        }
        let (mut p, mut r, mut mass) = (Vec::new(), Vec::new(), Vec::new());
        for (d, feature) in problem.features.iter().enumerate() {
            let within = |field: &str| format!("features[{d}].{field}");
            p.push(numbers.vector(&feature.w_p, n_p).map_err(|refusal| refusal.within(within("w_p")))?);
            r.push(numbers.vector(&feature.w_r, n_r).map_err(|refusal| refusal.within(within("w_r")))?);
            mass.push(Num::from(&feature.mass));
            require(numbers.sign(&Num::from(&feature.mass))? > 0, || format!("features[{d}].mass is not positive"))?;
        }
        match &problem.activation {
            Activation::Threshold { c } => require(numbers.sign(&Num::from(c))? >= 0, || "c is negative".to_owned())?,
            Activation::TopK { k } | Activation::TopKRelu { k } => require(*k > 0, || "k is 0".to_owned())?,
        }
        Ok(Self { n_p, n_r, p, r, mass, activation: problem.activation.clone(), numbers })
    }

    /// n.
    pub(crate) fn features(&self) -> usize {
        self.p.len()
    }

    pub(crate) fn activation(&self) -> &Activation {
        &self.activation
    }

    /// c, for a kind that needs it.
    pub(crate) fn threshold(&self) -> Result<Num, Refusal> {
        match &self.activation {
            Activation::Threshold { c } => Ok(Num::from(c)),
            _ => Err(Refusal::condition("the activation is not a threshold")),
        }
    }

    /// Feature d, if there is one.
    pub(crate) fn feature(&self, d: usize) -> Result<(&[Num], &[Num], &Num), Refusal> {
        match (self.p.get(d), self.r.get(d), self.mass.get(d)) {
            (Some(p), Some(r), Some(mass)) => Ok((p, r, mass)),
            _ => Err(Refusal::format(format!("there is no feature {d}"))),
        }
    }

    /// p_d.
    pub(crate) fn direction(&self, d: usize) -> Result<&[Num], Refusal> {
        self.feature(d).map(|(p, _, _)| p)
    }

    pub(crate) fn firing(&self, pattern: &Pattern) -> Result<Firing, Refusal> {
        limit_size("neurons", pattern.len())?;
        self.spend((pattern.len() * self.features()) as u64)?;
        let mut firing = Firing(vec![vec![false; self.features()]; pattern.len()]);
        for (i, (row, features)) in firing.0.iter_mut().zip(pattern).enumerate() {
            for &d in features {
                match row.get_mut(d) {
                    Some(fires) if !*fires => *fires = true,
                    Some(_) => return Err(Refusal::condition(format!("pattern[{i}]: feature {d} stands there twice"))),
                    None => return Err(Refusal::format(format!("pattern[{i}]: there is no feature {d}"))),
                }
            }
        }
        Ok(firing)
    }

    /// Which of the neurons with rational pre-activations z fire, as FORMAT.md §2 defines it.
    fn fires(&self, z: &[Num]) -> Result<Vec<bool>, Refusal> {
        let (k, zero) = match &self.activation {
            Activation::Threshold { c } => {
                let c = Num::from(c);
                return z.iter().map(|z| Ok(self.compare(z, &c)? > 0)).collect();
            }
            Activation::TopK { k } => (*k, None),
            Activation::TopKRelu { k } => (*k, Some(Num::zero())),
        };
        let fires = |(i, z_i): (usize, &Num)| {
            let mut ahead = 0;
            for (j, z_j) in z.iter().enumerate() {
                let order = self.compare(z_j, z_i)?;
                ahead += usize::from(order > 0 || (order == 0 && j < i));
            }
            Ok(ahead < k && zero.as_ref().map_or(Ok(true), |zero| Ok(self.compare(z_i, zero)? > 0))?)
        };
        z.iter().enumerate().map(fires).collect()
    }

    /// The rows of an encoder, at least one, of length n_p.
    pub(crate) fn encoder(&self, w_e: &[Vec<Rat>]) -> Result<Vec<Vec<Num>>, Refusal> {
        limit_size("neurons", w_e.len())?;
        self.vectors(w_e, self.n_p)
    }

    pub(crate) fn point(&self, point: &Point) -> Result<ExactPoint, Refusal> {
        let w = self.encoder(&point.w_e).map_err(|refusal| refusal.within("w_e"))?;
        if point.w_d.len() != w.len() {
            return Err(Refusal::format("w_d and w_e have different numbers of neurons"));
        }
        Ok(ExactPoint { w, v: self.vectors(&point.w_d, self.n_r).map_err(|refusal| refusal.within("w_d"))? })
    }

    /// σ(Wx) for a rational x in ℝ^n_p: entry i is `None` if neuron i does not fire.
    pub(crate) fn activations(&self, w: &[Vec<Num>], x: &[Num]) -> Result<Vec<Option<Num>>, Refusal> {
        let z: Vec<Num> = w.iter().map(|w| self.dot(w, x)).collect::<Result<_, _>>()?;
        let fires = self.fires(&z)?;
        Ok(z.into_iter().zip(fires).map(|(z, fires)| fires.then_some(z)).collect())
    }

    /// The firing sets of an encoder.
    pub(crate) fn firing_of(&self, w: &[Vec<Num>]) -> Result<Firing, Refusal> {
        let columns: Vec<_> = self.p.iter().map(|p| self.activations(w, p)).collect::<Result<_, _>>()?;
        let row = |i: usize| columns.iter().map(|z| matches!(z.get(i), Some(Some(_)))).collect();
        Ok(Firing((0..w.len()).map(row).collect()))
    }

    /// ‖r − Vσ(Wx)‖².
    pub(crate) fn error(&self, point: &ExactPoint, x: &[Num], r: &[Num]) -> Result<Num, Refusal> {
        let z = self.activations(&point.w, x)?;
        let mut terms = vec![(Num::from(1), r)];
        for (z, v) in z.iter().zip(&point.v) {
            terms.extend(z.as_ref().map(|z| (z.neg(), v.as_slice())));
        }
        let error = self.combine(self.n_r, &terms)?;
        self.dot(&error, &error)
    }

    /// L̃ with the given masses.
    pub(crate) fn loss_with(&self, point: &ExactPoint, mass: &[Num]) -> Result<Num, Refusal> {
        let errors = self.p.iter().zip(&self.r).map(|(p, r)| self.error(point, p, r));
        let errors: Vec<Num> = errors.collect::<Result<_, _>>()?;
        self.dot(mass, &errors)
    }

    /// L̃.
    pub(crate) fn loss(&self, point: &ExactPoint) -> Result<Num, Refusal> {
        self.loss_with(point, &self.mass)
    }

    /// H x = (A − μB) x = Σ_F M_d (⟨r_d, q⟩ − μ ⟨x, p_d⟩) p_d with q = Σ_F M_d ⟨x, p_d⟩ r_d.
    pub(crate) fn block(&self, k: &Numbers, features: &[usize], mu: &Num, x: &[Num]) -> Result<Vec<Num>, Refusal> {
        let (mut q, mut terms) = (vec![], vec![]);
        for &d in features {
            let (p, r, mass) = self.feature(d)?;
            q.push((k.product(mass, &k.dot(x, p)?)?, r));
        }
        let q_sum = k.combine(self.n_r, &q)?;
        for (&d, (scaled, r)) in features.iter().zip(&q) {
            let (p, _, mass) = self.feature(d)?;
            let along = k.product(mass, &k.dot(r, &q_sum)?)?;
            terms.push((k.difference(&along, &k.product(mu, scaled)?)?, p));
        }
        k.combine(self.n_p, &terms)
    }

    /// Σ_F M_d ‖r_d‖².
    pub(crate) fn total(&self, features: impl IntoIterator<Item = usize>) -> Result<Num, Refusal> {
        let (mut masses, mut squares) = (Vec::new(), Vec::new());
        for d in features {
            let (_, r, mass) = self.feature(d)?;
            masses.push(mass.clone());
            squares.push(self.dot(r, r)?);
        }
        self.dot(&masses, &squares)
    }

    /// Coefficients with their indices: the indices are distinct, the coefficients > 0.
    pub(crate) fn positive<'a, I: Ord + Copy + 'a, T: Written + 'a>(
        &self,
        k: &Numbers,
        entries: impl IntoIterator<Item = (I, &'a T)>,
    ) -> Result<Vec<(I, Num)>, Refusal> {
        let mut read = Vec::new();
        for (at, (index, coefficient)) in entries.into_iter().enumerate() {
            let coefficient = coefficient.number(k)?;
            require(k.sign(&coefficient)? > 0, || format!("entry {at}: the coefficient is not positive"))?;
            read.push((index, coefficient));
        }
        distinct(read.iter().map(|(index, _)| *index), "the indices")?;
        Ok(read)
    }
}

/// A rational point.
#[derive(Clone)]
pub(crate) struct ExactPoint {
    /// Rows w_i.
    pub(crate) w: Vec<Vec<Num>>,
    /// Columns v_i.
    pub(crate) v: Vec<Vec<Num>>,
}

/// Which neuron fires on which feature: n_q rows of n entries.
#[derive(Clone, PartialEq)]
pub(crate) struct Firing(Vec<Vec<bool>>);

impl Firing {
    /// n_q.
    pub(crate) fn neurons(&self) -> usize {
        self.0.len()
    }

    /// Whether neuron i fires on feature d; `false` if there is no such pair.
    pub(crate) fn fires(&self, i: usize, d: usize) -> bool {
        self.0.get(i).and_then(|row| row.get(d)).copied().unwrap_or(false)
    }

    /// F_i, sorted.
    pub(crate) fn features(&self, i: usize) -> Vec<usize> {
        let row = self.0.get(i).map_or(&[][..], Vec::as_slice);
        row.iter().enumerate().filter_map(|(d, fires)| fires.then_some(d)).collect()
    }

    /// |A(d)| for each d.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.0.first().map_or(0, Vec::len)];
        for row in &self.0 {
            counts.iter_mut().zip(row).for_each(|(count, fires)| *count += usize::from(*fires));
        }
        counts
    }

    /// The pattern in a sentence, cut short.
    pub(crate) fn shown(&self) -> String {
        let text = format!("{:?}", (0..self.neurons().min(60)).map(|i| self.features(i)).collect::<Vec<_>>());
        if text.len() <= 60 { text } else { format!("of {} neurons", self.neurons()) }
    }
}
