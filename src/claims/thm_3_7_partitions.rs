//! Uniform set partitions of random features: how many have a partial optimum or a local minimum (used by `thm-3.7-prevalence`).
//!
//! If a block of m has the property with probability g_m, independently of the other blocks, then the expected number of partitions
//! of [n] whose blocks all have it has the exponential generating function exp(Σ g_m x^m/m!). With g_m = m 2^{1−m} this is
//! exp(x e^{x/2}), with g_m = 2^{1−m} it is exp(2e^{x/2} − 2), and with g_m = 1 it is that of the Bell numbers.

use super::block_draws::{CLOSE, spectrum, spread_masses};
use super::{Check, Context};
use crate::bench::features::{random_unit, stream};
use crate::stats::{Axis, Layer, Panel, Proportion};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// Numbers of features at which the law is measured.
const SIZES: [usize; 5] = [3, 6, 10, 15, 20];
/// A law below this is not tested: it would need too many draws.
const RAREST: f64 = 0.01;
/// Largest n of the curves.
const LARGEST: usize = 30;
/// Largest mass over smallest mass in a block.
const SPREAD: f64 = 16.0;

/// Shares of the partitions of [0], [1], .., all of whose blocks have a property.
pub(super) struct PartitionLaw;

impl PartitionLaw {
    /// Partial optima: g_m = m 2^{1−m}.
    pub fn interior(largest: usize) -> Vec<f64> {
        shares(largest, |m| m as f64 * 0.5f64.powi(m as i32 - 1))
    }

    /// Local minima: g_m = 2^{1−m}.
    pub fn local(largest: usize) -> Vec<f64> {
        shares(largest, |m| 0.5f64.powi(m as i32 - 1))
    }

    /// The mistake that the eigenvectors of a block are positive independently.
    fn wrong_interior(largest: usize) -> Vec<f64> {
        shares(largest, |m| 1.0 - (1.0 - 0.5f64.powi(m as i32 - 1)).powi(m as i32))
    }

    /// The mistake that a vector and its negative are told apart (blocks of one feature excepted).
    fn wrong_local(largest: usize) -> Vec<f64> {
        shares(largest, |m| if m == 1 { 1.0 } else { 0.5f64.powi(m as i32) })
    }
}

/// Row n−1 of Pascal's triangle.
fn choose(n: usize) -> Vec<f64> {
    let mut row = vec![1.0; n];
    for k in 1..n {
        row[k] = row[k - 1] * (n - k) as f64 / k as f64;
    }
    row
}

/// t_n = Σ_k C(n−1, k−1) g_k t_{n−k}, by the block that holds the first feature.
fn totals(largest: usize, g: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut t = vec![1.0];
    for n in 1..=largest {
        let row = choose(n);
        t.push((1..=n).map(|k| row[k - 1] * g(k) * t[n - k]).sum());
    }
    t
}

fn shares(largest: usize, g: impl Fn(usize) -> f64) -> Vec<f64> {
    totals(largest, g).iter().zip(totals(largest, |_| 1.0)).map(|(t, bell)| t / bell).collect()
}

/// The block sizes of a uniform set partition of [n]; `bell` holds B_0..B_n.
fn random_block_sizes(mut n: usize, bell: &[f64], rng: &mut ChaCha20Rng) -> Vec<usize> {
    let mut sizes = Vec::new();
    while n > 0 {
        let row = choose(n);
        let mut left = rng.random_range(0.0..1.0) * bell[n];
        let size = (1..n).find(|&k| {
            left -= row[k - 1] * bell[n - k];
            left < 0.0
        });
        let size = size.unwrap_or(n);
        sizes.push(size);
        n -= size;
    }
    sizes
}

/// What partitions of n features gave.
pub(super) struct Measured {
    n: usize,
    interior: Proportion,
    /// Where the law is not below [`RAREST`].
    local: Option<Proportion>,
}

/// Draws partitions and features until the laws are tested with power .99.
pub(super) fn measure(context: &Context) -> Vec<Measured> {
    const FEWEST: u64 = 400;
    let mut rng = stream(context.seed, "thm-3.7-prevalence partitions");
    let bell = totals(LARGEST, |_| 1.0);
    let laws = [PartitionLaw::interior(LARGEST), PartitionLaw::local(LARGEST)];
    let wrong = [PartitionLaw::wrong_interior(LARGEST), PartitionLaw::wrong_local(LARGEST)];
    SIZES
        .iter()
        .map(|&n| {
            let needed = |k: usize| Proportion::draws(laws[k][n], wrong[k][n]).unwrap_or(FEWEST);
            let common = laws[1][n] >= RAREST;
            let trials = FEWEST.max(needed(0)).max(if common { needed(1) } else { 0 });
            let (mut interior, mut local) = (0, 0);
            for _ in 0..trials {
                let (some, top) = draw(n, &bell, &mut rng);
                interior += u64::from(some);
                local += u64::from(top);
            }
            let test = |k: usize, successes| Proportion { trials, successes, law: laws[k][n], wrong: wrong[k][n] };
            Measured { n, interior: test(0, interior), local: common.then(|| test(1, local)) }
        })
        .collect()
}

/// Whether each block of a random partition of n random features in R^n has a partial optimum, and whether each has a local minimum.
fn draw(n: usize, bell: &[f64], rng: &mut ChaCha20Rng) -> (bool, bool) {
    let (mut some, mut top) = (true, true);
    for m in random_block_sizes(n, bell, rng) {
        if m == 1 {
            continue;
        }
        let masses = spread_masses(m, SPREAD);
        // A draw that is too close to call is drawn again; it happens less than once in 10⁶.
        let found = loop {
            let P = random_unit(n, m, rng);
            match spectrum(P.as_ref(), P.as_ref(), &masses) {
                Some(found) if found.margin > CLOSE => break found,
                _ => {}
            }
        };
        some &= found.optimum.is_some();
        top &= found.optimum == Some(0);
        if !some {
            break;
        }
    }
    (some, some && top)
}

/// Both laws at each n.
pub(super) fn checks(measured: &[Measured]) -> Vec<Check> {
    let name = |n: usize, what: &str| format!("uniform partitions of {n} features, masses 1 to {SPREAD}: {what}");
    measured
        .iter()
        .flat_map(|x| {
            let interior = Check::proportion(&name(x.n, "partial optimum"), &x.interior);
            let local = x.local.map(|test| Check::proportion(&name(x.n, "local minimum"), &test));
            [interior].into_iter().chain(local)
        })
        .collect()
}

/// The share of partitions against n, down to `LOWEST`.
pub(super) fn panel(measured: &[Measured]) -> Panel {
    const LOWEST: f64 = 1e-3;
    let curve = |law: Vec<f64>| Layer::Reference {
        label: "law".into(),
        points: law
            .into_iter()
            .enumerate()
            .skip(2)
            .filter(|(_, share)| *share >= LOWEST)
            .map(|(n, share)| (n as f64, share))
            .collect(),
    };
    let points = |label: &str, of: fn(&Measured) -> Option<Proportion>| {
        let tests: Vec<(f64, Proportion)> = measured.iter().filter_map(|x| Some((x.n as f64, of(x)?))).collect();
        Layer::Points {
            label: label.into(),
            points: tests.iter().map(|(n, test)| (*n, test.share())).collect(),
            intervals: tests.iter().map(|(_, test)| test.interval(0.99)).collect(),
        }
    };
    let n = Axis::linear("features n").range(0.0, 31.0).ticks([0, 10, 20, 30].map(|n| (f64::from(n), n.to_string())));
    Panel::new("uniform partitions", n, Axis::log("share of partitions").range(LOWEST, 1.3))
        .layer(curve(PartitionLaw::interior(LARGEST)))
        .layer(curve(PartitionLaw::local(LARGEST)))
        .layer(points("partitions with a partial optimum", |x| Some(x.interior)))
        .layer(points("partitions with a local minimum", |x| x.local))
}

#[cfg(test)]
mod tests {
    use super::super::thm_3_7::partitions;
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_recurrence_sums_over_all_partitions() {
        for n in 1..=6 {
            let all = partitions(n);
            let sum: f64 = all
                .iter()
                .map(|p| {
                    let sizes = p.sets().iter().map(|f| f.len()).filter(|m| *m > 0);
                    sizes.map(|m| m as f64 * 0.5f64.powi(m as i32 - 1)).product::<f64>()
                })
                .sum();
            // sums of dyadic rationals are exact; the two ways round at most a few times
            assert!((sum / all.len() as f64 - PartitionLaw::interior(n)[n]).abs() < 1e-14);
        }
    }

    #[test]
    fn the_laws_are_those_of_their_generating_functions() {
        // exp(x e^{x/2}) = 1 + x + x² + (7/8 ..): Σ_j x^j e^{jx/2}/j!, coefficient by coefficient
        let coefficient = |n: usize| -> f64 {
            (0..=n).map(|j| (j as f64 / 2.0).powi((n - j) as i32) / factorial(j) / factorial(n - j)).sum()
        };
        let bell = totals(8, |_| 1.0);
        for (n, partitions) in bell.iter().enumerate() {
            let expected = coefficient(n) * factorial(n) / partitions;
            assert!((PartitionLaw::interior(8)[n] - expected).abs() < 1e-13, "{n}");
        }
        assert_eq!(bell, [1.0, 1.0, 2.0, 5.0, 15.0, 52.0, 203.0, 877.0, 4140.0]);
    }

    fn factorial(n: usize) -> f64 {
        (1..=n).map(|k| k as f64).product()
    }

    #[test]
    fn random_partitions_are_uniform_over_block_sizes() {
        let bell = totals(4, |_| 1.0);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let trials = 40_000;
        // 4 of the 15 partitions of [4] have a block of three
        let successes = (0..trials).filter(|_| random_block_sizes(4, &bell, &mut rng).contains(&3)).count() as u64;
        let test = Proportion { trials: trials as u64, successes, law: 4.0 / 15.0, wrong: 4.0 / 14.0 };
        assert!(test.agrees() && test.power() > 0.99, "{}", test.sentence());
    }
}
