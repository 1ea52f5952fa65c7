//! What the tests of regions and of absorption share.

use super::{Realizability, decide};
use crate::exact::Rational;
use crate::exact::rational::{parse, sign};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sdlab_verify::Certificate;
use sdlab_verify::format::{Body, Farkas, Split};

pub(crate) fn q(text: &str) -> Rational {
    parse(text).unwrap()
}

/// A problem with these p_d; r_d and M_d do not matter for regions.
pub(crate) fn problem(columns: &[Vec<Rational>], activation: Activation) -> Problem {
    let feature = |p: &Vec<Rational>| Feature { w_p: p.clone(), w_r: vec![Rational::ONE], mass: Rational::ONE };
    Problem::new(columns.iter().map(feature).collect(), activation).unwrap()
}

/// A problem with these p_d, written as "1 0; 3/5 4/5".
pub(crate) fn written(columns: &str, activation: Activation) -> Problem {
    let columns: Vec<_> = columns.split(';').map(|p| p.split_whitespace().map(q).collect()).collect();
    problem(&columns, activation)
}

pub(crate) fn threshold(c: &str) -> Activation {
    Activation::Threshold(q(c))
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// n columns of integers of absolute value at most `bound`.
pub(crate) fn integer_columns(rng: &mut ChaCha8Rng, n: usize, n_p: usize, bound: i64) -> Vec<Vec<Rational>> {
    (0..n).map(|_| (0..n_p).map(|_| Rational::from(rng.random_range(-bound..=bound))).collect()).collect()
}

/// n unit columns with rational coordinates: the inverse stereographic images of small fractions.
pub(crate) fn unit_columns(rng: &mut ChaCha8Rng, n: usize, n_p: usize, bound: i64) -> Vec<Vec<Rational>> {
    let mut columns: Vec<Vec<Rational>> = Vec::new();
    while columns.len() < n {
        let t: Vec<Rational> = (1..n_p)
            .map(|_| Rational::from_parts(rng.random_range(-bound..=bound).into(), (bound as u64 / 2 + 1).into()))
            .collect();
        let norm = dot(&t, &t);
        let scale = Rational::from(2) / (&norm + Rational::ONE);
        let mut p: Vec<Rational> = t.iter().map(|x| x * &scale).collect();
        p.push((&norm - Rational::ONE) / (norm + Rational::ONE));
        if !columns.contains(&p) {
            columns.push(p);
        }
    }
    columns
}

/// All vectors with integer coordinates of absolute value at most `bound`.
pub(crate) fn grid(dimension: usize, bound: i64) -> impl Iterator<Item = Vec<Rational>> {
    let side = 2 * bound + 1;
    (0..side.pow(dimension as u32))
        .map(move |k| (0..dimension as u32).map(|j| Rational::from(k / side.pow(j) % side - bound)).collect())
}

/// Decides, has the certificate checked, and says whether the pattern is realizable.
pub(crate) fn decided(problem: &Problem, pattern: &Pattern) -> bool {
    let decision = decide(problem, pattern).unwrap();
    accepted(&decision.certificate(problem, pattern));
    matches!(decision, Realizability::Realizable { .. })
}

/// Panics unless the certificate proves what it says.
pub(crate) fn accepted(certificate: &Certificate) {
    let problem = Problem::from_json(&certificate.instance.as_ref().unwrap().canonical_json()).unwrap();
    assert!(holds(&problem, &certificate.body), "{}", certificate.to_json());
}

pub(crate) fn holds(problem: &Problem, body: &Body) -> bool {
    let rows = |w: &Vec<Vec<sdlab_verify::format::Rat>>| {
        w.iter().map(|r| r.iter().map(|x| x.0.clone()).collect()).collect::<Vec<Vec<_>>>()
    };
    let is = |w: &Vec<Vec<sdlab_verify::format::Rat>>, lists: &Vec<Vec<usize>>| {
        Pattern::of_encoder(problem, &rows(w)).lists() == *lists
    };
    match body {
        Body::PatternWitness(b) => is(&b.w_e, &b.pattern),
        Body::PatternEmpty(b) => {
            farkas_holds(problem, &Pattern::new(b.pattern.clone(), problem.n()).unwrap(), &b.farkas)
        }
        Body::Absorption(b) => {
            let pattern = Pattern::new(b.pattern.clone(), problem.n()).unwrap();
            is(&b.w_e, &b.pattern)
                && b.pattern[b.neuron].len() >= 2
                && match &b.split {
                    Split::Realizable { feature, w_e } => {
                        pattern.sets()[b.neuron].contains(feature)
                            && is(w_e, &pattern.split(b.neuron, *feature).lists())
                    }
                    Split::None(s) => {
                        s.iter().map(|s| s.feature).collect::<Vec<_>>() == b.pattern[b.neuron]
                            && s.iter().all(|s| farkas_holds(problem, &pattern.split(b.neuron, s.feature), &s.farkas))
                    }
                }
        }
        _ => false,
    }
}

fn farkas_holds(problem: &Problem, pattern: &Pattern, farkas: &Farkas) -> bool {
    let p = |d: usize| &problem.features()[d].w_p;
    let n_p = problem.n_p();
    match farkas {
        Farkas::Row(row) => {
            let set = &pattern.sets()[row.neuron];
            let mut sum = vec![Rational::ZERO; n_p + 1];
            for (d, y) in &row.on {
                for k in 0..n_p {
                    sum[k] += &y.0 * &p(*d)[k];
                }
                sum[n_p] += y.0.clone();
            }
            for (d, y) in &row.off {
                for k in 0..n_p {
                    sum[k] -= &y.0 * &p(*d)[k];
                }
                sum[n_p] -= y.0.clone();
            }
            !row.on.is_empty()
                && row.on.iter().all(|(d, y)| set.contains(d) && sign(&y.0) > 0)
                && row.off.iter().all(|(d, y)| !set.contains(d) && sign(&y.0) > 0)
                && sum[..n_p].iter().all(|x| x.is_zero())
                && sign(&(&sum[n_p] * problem.threshold().unwrap())) >= 0
        }
        Farkas::Count(d) => match problem.activation() {
            Activation::TopK(k) => pattern.neurons_of(*d).len() != (*k).min(pattern.latents()),
            Activation::TopKRelu(k) => pattern.neurons_of(*d).len() > (*k).min(pattern.latents()),
            _ => false,
        },
        Farkas::Comparisons(f) => {
            let (k, relu) = match problem.activation() {
                Activation::TopK(k) => (*k, false),
                Activation::TopKRelu(k) => (*k, true),
                _ => return false,
            };
            let k = k.min(pattern.latents());
            let mut sum = vec![vec![Rational::ZERO; n_p]; pattern.latents()];
            let mut strict = false;
            let mut ok = true;
            let mut add = |m: usize, d: usize, y: Rational| {
                for t in 0..n_p {
                    sum[m][t] += &y * &p(d)[t];
                }
            };
            for (d, i, j, y) in &f.comparisons {
                let a = pattern.neurons_of(*d);
                ok &= a.contains(i) && !a.contains(j) && a.len() == k && sign(&y.0) > 0;
                strict |= i > j;
                add(*i, *d, y.0.clone());
                add(*j, *d, -y.0.clone());
            }
            for (d, i, y) in &f.positives {
                ok &= relu && pattern.neurons_of(*d).contains(i) && sign(&y.0) > 0;
                strict = true;
                add(*i, *d, y.0.clone());
            }
            for (d, j, y) in &f.nonpositives {
                let a = pattern.neurons_of(*d);
                ok &= relu && !a.contains(j) && a.len() < k && sign(&y.0) > 0;
                add(*j, *d, -y.0.clone());
            }
            ok && strict && sum.iter().flatten().all(|x| x.is_zero())
        }
    }
}
