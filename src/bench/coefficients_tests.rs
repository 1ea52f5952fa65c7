use super::*;
use crate::bench::config::{Correlation, Hierarchy, Rates};
use crate::stats::{Mean, Proportion};
use sha2::{Digest, Sha256};

fn config(n: usize, sparsity: f64) -> BenchConfig {
    BenchConfig { n, n_p: n, sparsity, interference: 0.5, ..BenchConfig::default() }
}

fn drawn(config: &BenchConfig, samples: u64) -> SparseBatch {
    config.coefficients().unwrap().batch(&(0..samples).collect::<Vec<_>>())
}

fn count(batch: &SparseBatch, event: impl Fn(&[u32]) -> bool) -> u64 {
    (0..batch.rows()).filter(|&i| event(batch.row(i).0)).count() as u64
}

/// A count against its law. The test has power against a probability 8 standard deviations away: 4.9 for the false alarms, 2.3 for the power,
/// and as the wrong law's deviation is larger.
fn proportion(trials: u64, successes: u64, law: f64) -> Result<(), String> {
    let wrong = law + 8.0 * (law.max(0.003) / trials as f64).sqrt();
    let test = Proportion { trials, successes, law, wrong };
    assert!(test.power() >= Proportion::POWER, "too few draws: {}", test.sentence());
    if test.agrees() { Ok(()) } else { Err(test.sentence()) }
}

fn agrees(batch: &SparseBatch, event: impl Fn(&[u32]) -> bool, law: f64) -> Result<(), String> {
    proportion(batch.rows() as u64, count(batch, event), law)
}

/// Whether what is drawn from `config` has the rates and the counts that `claimed` promises.
fn follows(config: &BenchConfig, claimed: &BenchConfig) -> Result<(), String> {
    let batch = drawn(config, 60_000);
    let coefficients = claimed.coefficients().unwrap();
    for (d, &law) in coefficients.firing_rates().iter().enumerate() {
        agrees(&batch, |row| row.contains(&(d as u32)), law).map_err(|e| format!("feature {d}: {e}"))?;
    }
    let counts = coefficients.count_law();
    assert!((counts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    for (m, &law) in counts.iter().enumerate().take(4) {
        agrees(&batch, |row| row.len() == m, law).map_err(|e| format!("{m} active features: {e}"))?;
    }
    for (d, (mass, moment)) in coefficients.masses().iter().zip(coefficients.second_moments()).enumerate() {
        agrees(&batch, |row| row == [d as u32], mass / moment).map_err(|e| format!("{d} alone: {e}"))?;
    }
    Ok(())
}

#[test]
fn rates_counts_and_masses_follow_their_laws_and_those_of_a_neighbour_are_refused() {
    let plain = config(12, 0.8);
    let zipf = BenchConfig { rates: Rates::Zipf { exponent: 0.7 }, ..config(13, 0.9) };
    let hierarchy = BenchConfig { hierarchy: Some(Hierarchy { children: 3 }), ..config(13, 0.9) };
    let copula = BenchConfig { correlation: Some(Correlation { group: 4, rho: 0.6 }), ..config(10, 0.8) };
    for config in [&plain, &zipf, &hierarchy, &copula] {
        follows(config, config).unwrap_or_else(|error| panic!("{config:?}: {error}"));
    }
    // Faults: a denser law, rates that do not fall, parents that fire for themselves, groups that are independent or too close.
    for (drawn, claimed) in [
        (BenchConfig { sparsity: 0.78, ..plain.clone() }, &plain),
        (BenchConfig { rates: Rates::Same, ..zipf.clone() }, &zipf),
        (BenchConfig { rates: Rates::Zipf { exponent: 0.5 }, ..zipf.clone() }, &zipf),
        (BenchConfig { hierarchy: None, ..hierarchy.clone() }, &hierarchy),
        (BenchConfig { hierarchy: Some(Hierarchy { children: 2 }), ..hierarchy.clone() }, &hierarchy),
        (BenchConfig { correlation: None, ..copula.clone() }, &copula),
        (BenchConfig { correlation: Some(Correlation { group: 4, rho: 0.7 }), ..copula.clone() }, &copula),
        (BenchConfig { correlation: Some(Correlation { group: 5, rho: 0.6 }), ..copula.clone() }, &copula),
    ] {
        assert!(follows(&drawn, claimed).is_err(), "{drawn:?} passes as {claimed:?}");
    }
}

#[test]
fn features_and_samples_are_independent_of_one_another() {
    // Neighbours within a block, in the next block, in the other half of the lanes, and in the next group of lanes.
    let n = 4 * LANES + 8;
    let batch = drawn(&config(n, 0.7), 60_000);
    for d in [1, 4, 4 * HALF as u32, 4 * LANES as u32] {
        agrees(&batch, |row| row.contains(&0) && row.contains(&d), 0.09).unwrap();
    }
    let fires: Vec<bool> = (0..batch.rows()).map(|i| batch.row(i).0.contains(&2)).collect();
    let twice = fires.windows(2).step_by(2).filter(|w| w[0] && w[1]).count() as u64;
    proportion(30_000, twice, 0.09).unwrap();
}

#[test]
fn two_features_of_a_group_fire_together_as_two_normals_of_correlation_rho() {
    // At p = ½ the orthant has probability ¼ + asin(ρ)/2π (Sheppard 1899): a law that the quadrature of the masses has no part in.
    let rho = 0.5_f64;
    let batch = drawn(&BenchConfig { correlation: Some(Correlation { group: 2, rho }), ..config(4, 0.5) }, 60_000);
    let together = 0.25 + rho.asin() / std::f64::consts::TAU;
    agrees(&batch, |row| row.contains(&0) && row.contains(&1), together).unwrap();
    agrees(&batch, |row| row.contains(&0) && row.contains(&2), 0.25).unwrap();
}

#[test]
fn a_parent_fires_iff_a_sub_concept_does_and_has_no_mass() {
    let config = BenchConfig { hierarchy: Some(Hierarchy { children: 2 }), ..config(7, 0.7) };
    let batch = drawn(&config, 2000);
    let mut fired = 0;
    for i in 0..batch.rows() {
        let row = batch.row(i).0;
        for parent in [0, 3] {
            let child = row.contains(&(parent + 1)) || row.contains(&(parent + 2));
            assert_eq!(row.contains(&parent), child);
            fired += usize::from(child);
        }
    }
    assert!(fired > 100);
    let masses = config.coefficients().unwrap().masses();
    assert!(masses[..6].iter().all(|m| *m == 0.0) && masses[6] > 0.0);
}

/// Whether the magnitudes of `config`, scales taken off, are c + β·Exp(1): quantiles, and the first two moments cut off at 8.
fn magnitudes(config: &BenchConfig, c: f64, beta: f64) -> Result<(), String> {
    let batch = drawn(config, 40_000);
    let scales = config.coefficients().unwrap().scales;
    let standard: Vec<f64> = batch
        .indices
        .iter()
        .zip(&batch.values)
        .map(|(&d, &value)| (f64::from(value) / scales[d as usize] - c) / beta)
        .collect();
    // Rounding to f32 moves a value of c + β E by 2^-24 of itself.
    if let Some(low) = standard.iter().find(|x| **x < -1e-6 * (1.0 + c / beta)) {
        return Err(format!("{low} below 0"));
    }
    let trials = standard.len() as u64;
    for law in [0.9_f64, 0.5, 0.1, 0.001] {
        let successes = standard.iter().filter(|x| **x > -law.ln()).count() as u64;
        proportion(trials, successes, law).map_err(|e| format!("quantile {law}: {e}"))?;
    }
    // E min(E, 8) = 1 − e⁻⁸ and E min(E, 8)² = 2 − 18 e⁻⁸.
    let tail = (-8_f64).exp();
    for (power, law, room) in [(1, 1.0 - tail, 0.045), (2, 2.0 - 18.0 * tail, 0.36)] {
        let mean = standard.iter().map(|x| x.min(8.0).powi(power)).sum::<f64>() / trials as f64;
        let test = Mean { trials, mean, range: (0.0, 8_f64.powi(power)), law, wrong: law + room };
        assert!(test.power() >= Proportion::POWER, "too few draws: {}", test.sentence());
        if !test.agrees() {
            return Err(format!("moment {power}: {}", test.sentence()));
        }
    }
    Ok(())
}

#[test]
fn magnitudes_are_shifted_exponential_and_other_shifts_and_means_are_refused() {
    let spread = MagnitudeSpread::Spread { decades: 2.0 };
    let config = BenchConfig { c_min: 0.5, beta: 2.0, magnitudes: spread, ..config(50, 0.5) };
    magnitudes(&config, 0.5, 2.0).unwrap();
    for (c, beta) in [(0.49, 2.0), (0.51, 2.0), (0.5, 1.96), (0.5, 2.04)] {
        assert!(magnitudes(&config, c, beta).is_err(), "{c} {beta}");
    }
    let moments = config.coefficients().unwrap().second_moments();
    let (least, most) = moments.iter().fold((f64::MAX, 0.0_f64), |(l, m), x| (l.min(*x), m.max(*x)));
    // Magnitudes over two decades, squares over four; powers of ten are rounded to a few ulp.
    assert!((most / least - 1e4).abs() < 1e-9 * 1e4);
    // c² + 2cβ + 2β², times the scale.
    let scale = config.coefficients().unwrap().scales[7];
    assert!((moments[7] - 10.25 * scale * scale).abs() < 1e-12 * moments[7]);
}

#[test]
fn any_sample_stands_alone_and_threads_do_not_matter() {
    for config in [
        config(130, 0.9),
        BenchConfig { correlation: Some(Correlation { group: 3, rho: 0.4 }), ..config(130, 0.9) },
        BenchConfig { hierarchy: Some(Hierarchy { children: 4 }), ..config(130, 0.9) },
    ] {
        let coefficients = config.coefficients().unwrap();
        let all: Vec<u64> = (0..300).map(|k| k * 0x1_0000_0001).collect();
        let batch = coefficients.batch(&all);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| coefficients.batch(&all)), batch);
        assert_eq!(coefficients.batch(&all[17..18]).row(0), batch.row(17));
        assert!((0..batch.rows()).all(|i| batch.row(i).0.windows(2).all(|w| w[0] < w[1])));
        let other = BenchConfig { seed: 1, ..config.clone() }.coefficients().unwrap();
        assert_ne!(coefficients.batch(&[3]), other.batch(&[3]));
    }
}

#[test]
fn samples_are_what_the_documented_counters_give() {
    let config = BenchConfig { rates: Rates::Zipf { exponent: 0.5 }, c_min: 0.25, beta: 3.0, ..config(300, 0.9) };
    let coefficients = config.coefficients().unwrap();
    let digest = Sha256::digest([&0_u64.to_le_bytes(), b"bench coefficients".as_slice()].concat());
    let word = |k: usize| u32::from_le_bytes(digest[k..k + 4].try_into().unwrap());
    let stream = Philox::new([word(0), word(4)]);
    for index in [0_u64, 1, 77, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        let counter = |c, purpose| [index as u32, (index >> 32) as u32, c, purpose];
        let fires = |d: &u32| {
            let word = stream.block(counter(d / 4, 0))[*d as usize % 4];
            u64::from(word) < (config.rates()[*d as usize] * 4_294_967_296.0) as u64
        };
        let indices: Vec<u32> = (0..300).filter(fires).collect();
        let magnitude = |d: &u32| (0.25 + 3.0 * exponential(stream.block(counter(*d, 1))[0])) as f32;
        let values: Vec<f32> = indices.iter().map(magnitude).collect();
        assert_eq!(coefficients.batch(&[index]).row(0), (indices.as_slice(), values.as_slice()), "{index}");
    }
}

#[test]
fn the_plain_loops_and_the_wide_ones_draw_the_same_bits() {
    let coefficients = config(300, 0.9).coefficients().unwrap();
    let samples: Vec<u64> = (0..64).collect();
    let rows = || Rows { coefficients: &coefficients, samples: &samples };
    assert_eq!(rows().run(), wide(rows()));
}

#[test]
fn the_ends_of_the_range_of_sparsity_work() {
    assert_eq!(config(9, 1.0).coefficients().unwrap().batch(&[0, 1]).indices, Vec::<u32>::new());
    assert_eq!(config(9, 0.0).coefficients().unwrap().batch(&[5]).indices, (0..9).collect::<Vec<u32>>());
    assert_eq!(config(9, 1.0).coefficients().unwrap().count_law(), [1.0]);
    assert_eq!(config(9, 0.5).coefficients().unwrap().batch(&[]).rows(), 0);
    let one = BenchConfig { n: 1, n_p: 1, ..BenchConfig::default() };
    assert_eq!(one.coefficients().unwrap().n(), 1);
}

#[test]
fn samples_are_the_same_on_every_machine_and_in_every_version() {
    let config = BenchConfig { c_min: 0.25, beta: 3.0, ..config(300, 0.9) };
    let batch = drawn(&config, 1000);
    let mut digest = Sha256::new();
    for row in 0..batch.rows() {
        let (indices, values) = batch.row(row);
        digest.update((indices.len() as u32).to_le_bytes());
        indices.iter().for_each(|d| digest.update(d.to_le_bytes()));
        values.iter().for_each(|value| digest.update(value.to_bits().to_le_bytes()));
    }
    // A change of these numbers makes every stored result a result of other data.
    let expected = "81850c5df477b2c1a9e3ad1300b9ee675e43db37ab19c890c0f789a097846f60";
    assert_eq!(crate::io::hexadecimal(&digest.finalize()), expected);
}

#[test]
fn the_isolated_batch_carries_the_masses_as_weights() {
    let coefficients = config(5, 0.9).coefficients().unwrap();
    let batch = coefficients.isolated();
    assert_eq!((batch.rows(), batch.row(3)), (5, ([3].as_slice(), [1.0].as_slice())));
    assert_eq!(batch.weight(3), coefficients.masses()[3]);
    assert_eq!(coefficients.batch(&[0, 1]).weight(0), 0.5);
}
