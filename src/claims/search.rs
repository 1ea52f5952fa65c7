//! Seeded proposals of instances, and shrinking of the ones that refute a statement.

use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational;
use crate::theory::pattern::Pattern;
use crate::theory::problem::{Activation, Feature, Problem};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};

/// A problem and a pattern in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The problem.
    pub problem: Problem,
    /// The pattern.
    pub pattern: Pattern,
}

/// A rational unit vector near a direction: the inverse stereographic projection of a point rounded to `bits` bits.
///
/// With bits = 0 only ± unit axes and a few simple vectors remain.
pub fn rational_unit(direction: &[f64], bits: u32) -> Vec<Rational> {
    let norm = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
    let x: Vec<f64> = direction.iter().map(|v| v / norm).collect();
    // Project from the pole −e_k opposite to the largest coordinate, where the projection is well conditioned.
    let k = (0..x.len()).max_by(|&i, &j| x[i].abs().total_cmp(&x[j].abs())).expect("directions are not empty");
    let sign = if x[k] < 0.0 { -1.0 } else { 1.0 };
    let scale = f64::from(2_u32.pow(bits));
    let t: Vec<Rational> = (0..x.len())
        .map(|i| {
            let value = if i == k { 0.0 } else { (x[i] / (1.0 + sign * x[k]) * scale).round() / scale };
            rational::from_f64(value).expect("coordinates are finite")
        })
        .collect();
    let squares = t.iter().fold(Rational::ZERO, |s, v| s + v * v);
    let denominator = Rational::ONE / (Rational::ONE + &squares);
    let two = Rational::from(2);
    t.iter()
        .enumerate()
        .map(|(i, v)| {
            if i == k {
                let value = (Rational::ONE - &squares) * &denominator;
                if sign < 0.0 { -value } else { value }
            } else {
                v * &two * &denominator
            }
        })
        .collect()
}

/// A seeded stream of instances with unit features in general position, spread masses, r = p, c = 0, and a partition
/// pattern with a polysemantic neuron over n_q = n neurons.
pub struct Proposals {
    rng: ChaCha20Rng,
    n: usize,
}

impl Proposals {
    /// Proposals with n features in R^n.
    pub fn new(seed: u64, purpose: &str, n: usize) -> Self {
        Self { rng: stream(seed, purpose), n }
    }
}

impl Iterator for Proposals {
    type Item = Instance;

    fn next(&mut self) -> Option<Instance> {
        let n = self.n;
        let features = (0..n)
            .map(|_| {
                let direction: Vec<f64> = (0..n).map(|_| StandardNormal.sample(&mut self.rng)).collect();
                let p = rational_unit(&direction, 20);
                let mass = rational::from_f64(2f64.powf(self.rng.random_range(-2.0..2.0))).expect("finite");
                Feature { w_r: p.clone(), w_p: p, mass }
            })
            .collect();
        let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
        // A uniform assignment of features to neurons; feature 1 joins feature 0, so that one neuron is polysemantic.
        let mut lists = vec![Vec::new(); n];
        let mut first = 0;
        for d in 0..n {
            let i = if d == 1 { first } else { self.rng.random_range(0..n) };
            if d == 0 {
                first = i;
            }
            lists[i].push(d);
        }
        let pattern = Pattern::new(lists, n).expect("indices are in range");
        Some(Instance { problem, pattern })
    }
}

/// Makes an instance smaller while `holds` stays true: fewer features, fewer neurons beyond n, simpler directions, smaller
/// and equal masses. Deterministic; ends at a local minimum of that order.
pub fn shrink(mut instance: Instance, holds: impl Fn(&Instance) -> bool) -> Instance {
    loop {
        let Some(smaller) = candidates(&instance).into_iter().find(|c| size(c) < size(&instance) && holds(c)) else {
            return instance;
        };
        instance = smaller;
    }
}

/// The order in which instances are small: features, dimensions, size of directions, distinct masses, size of masses, and
/// the pattern's lists.
fn size(instance: &Instance) -> (usize, usize, usize, usize, Vec<Vec<usize>>) {
    let features = instance.problem.features();
    let directions: usize = features
        .iter()
        .flat_map(|f| f.w_p.iter().chain(&f.w_r))
        .map(|x| if x.is_zero() { 0 } else { rational::bits(x) })
        .sum();
    let mut masses: Vec<_> = features.iter().map(|f| f.mass.clone()).collect();
    let mass_bits: usize = masses.iter().map(rational::bits).sum();
    masses.sort();
    masses.dedup();
    let negative = features.iter().flat_map(|f| f.w_p.iter().chain(&f.w_r)).filter(|x| rational::sign(x) < 0).count();
    (
        features.len() * 1000 + instance.problem.n_p() + instance.problem.n_r(),
        directions + negative,
        masses.len(),
        mass_bits,
        instance.pattern.lists(),
    )
}

fn candidates(instance: &Instance) -> Vec<Instance> {
    let mut all = Vec::new();
    let problem = &instance.problem;
    let features = problem.features();
    let n = features.len();
    let rebuilt = |features: Vec<Feature>, lists: Vec<Vec<usize>>| -> Option<Instance> {
        let count = features.len();
        let problem = Problem::new(features, problem.activation().clone()).ok()?;
        Some(Instance { problem, pattern: Pattern::new(lists, count).ok()? })
    };
    let lists = instance.pattern.lists();
    // fewer features
    for drop in 0..n {
        let kept: Vec<Feature> = (0..n).filter(|&d| d != drop).map(|d| features[d].clone()).collect();
        let mut renamed: Vec<Vec<usize>> = lists
            .iter()
            .map(|l| l.iter().filter(|&&d| d != drop).map(|&d| if d > drop { d - 1 } else { d }).collect())
            .collect();
        if let Some(empty) = renamed.iter().position(Vec::is_empty)
            && renamed.len() > n - 1
        {
            renamed.remove(empty);
        }
        all.extend(rebuilt(kept, renamed));
    }
    // fewer dimensions, the directions made unit vectors again
    let f64s = |v: &[Rational]| v.iter().map(rational::to_f64).collect::<Vec<_>>();
    let n_p = problem.n_p();
    if n_p > 1 && n_p == problem.n_r() {
        for drop in 0..n_p {
            let kept: Vec<Feature> = features
                .iter()
                .map(|f| {
                    let mut direction = f64s(&f.w_p);
                    direction.remove(drop);
                    let p = if direction.iter().all(|x| *x == 0.0) {
                        f.w_p[..n_p - 1].to_vec()
                    } else {
                        rational_unit(&direction, 8)
                    };
                    Feature { w_r: p.clone(), w_p: p, mass: f.mass.clone() }
                })
                .collect();
            all.extend(rebuilt(kept, lists.clone()));
        }
    }
    // simpler directions: all at once, then one by one
    for bits in 0..8 {
        let simpler = |f: &Feature| {
            let p = rational_unit(&f64s(&f.w_p), bits);
            Feature { w_r: p.clone(), w_p: p, mass: f.mass.clone() }
        };
        all.extend(rebuilt(features.iter().map(simpler).collect(), lists.clone()));
        for d in 0..n {
            let mut next = features.to_vec();
            next[d] = simpler(&features[d]);
            all.extend(rebuilt(next, lists.clone()));
        }
    }
    // the d-th axis for feature d, and without signs
    let axis = |d: usize| (0..n_p).map(|k| if k == d { Rational::ONE } else { Rational::ZERO }).collect::<Vec<_>>();
    if n <= n_p {
        let axes = features
            .iter()
            .enumerate()
            .map(|(d, f)| Feature { w_p: axis(d), w_r: axis(d), mass: f.mass.clone() })
            .collect();
        all.extend(rebuilt(axes, lists.clone()));
    }
    // equal masses, then small integers
    let with_masses = |mass: &dyn Fn(usize) -> Rational| {
        let next = features.iter().enumerate().map(|(d, f)| Feature { mass: mass(d), ..f.clone() }).collect();
        rebuilt(next, lists.clone())
    };
    all.extend(with_masses(&|_| Rational::ONE));
    for changed in 0..n {
        for value in 1..=3 {
            all.extend(with_masses(&|d| if d == changed { Rational::from(value) } else { features[d].mass.clone() }));
        }
    }
    // neurons in order
    let mut sorted = lists.clone();
    sorted.sort_by_key(|l| (l.is_empty(), l.clone()));
    all.extend(rebuilt(features.to_vec(), sorted));
    all
}
