//! Known features for anchoring (§4.1): columns of the bench's own matrices (eq. 21), or means of labelled classes (eqs. 22 and 23).

use super::check::ConfigError;
use super::config::{AnchorConfig, AnchorSource};
use super::data::{Data, Samples};
use crate::bench::dataset::Side;
use crate::bench::features::stream;
use crate::sdl::{Anchors, Shape};
use rand::seq::SliceRandom;
use std::collections::BTreeMap;

/// The anchors of an experiment: `count` of the known features, drawn by the seed, each of norm 1 on both sides.
///
/// The columns of the bench have norm 1 already, except those of a crosscoder: its stacked column p has norm √m, and only the pair p/√m, p/√m
/// reconstructs it.
///
/// # Errors
/// More anchors than there are features, classes or latents; a class whose mean is 0.
pub fn anchors(config: &AnchorConfig, data: &Data, shape: Shape, seed: u64) -> Result<Anchors, ConfigError> {
    let (known, sides) = match (config.source, data) {
        (AnchorSource::GroundTruth, Data::Bench(bench)) => {
            let side = |side| bench.directions(side).data().to_vec();
            ((0..bench.config().n as u32).collect(), [side(Side::Input), side(Side::Target)])
        }
        (AnchorSource::Labels, Data::Rows(rows)) => {
            let labels =
                rows.labels().ok_or_else(|| ConfigError::new("anchors.source", "labelled data", "no labels"))?;
            class_means(rows.as_ref(), labels)?
        }
        (AnchorSource::GroundTruth, _) => return Err(ConfigError::new("anchors.source", "`labels`", "`ground-truth`")),
        (AnchorSource::Labels, _) => return Err(ConfigError::new("anchors.source", "`ground-truth`", "`labels`")),
    };
    let mut chosen: Vec<usize> = (0..known.len()).collect();
    chosen.shuffle(&mut stream(seed, "anchors"));
    let count = config.count.or(config.latents.as_ref().map(Vec::len)).unwrap_or(known.len());
    if count > known.len() {
        return Err(ConfigError::new("anchors.count", format!("at most the {} known features", known.len()), count));
    }
    chosen.truncate(count);
    let rows = |numbers: &[f32], width: usize| -> Result<Vec<f32>, ConfigError> {
        let mut rows = Vec::with_capacity(count * width);
        for &c in &chosen {
            let row = &numbers[c * width..(c + 1) * width];
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if !(norm > 0.0 && norm.is_finite()) {
                let found = format!("norm {norm} for {}", known[c]);
                return Err(ConfigError::new("anchors", "known features that are not 0", found));
            }
            rows.extend(row.iter().map(|x| (f64::from(*x) / norm) as f32));
        }
        Ok(rows)
    };
    let (inputs, targets) = (rows(&sides[0], shape.n_p)?, rows(&sides[1], shape.n_r)?);
    let mut anchors = Anchors::first(config.weight, inputs, targets, shape)
        .map_err(|error| ConfigError::new("anchors", error.expected, error.found))?;
    if let Some(latents) = &config.latents {
        anchors.latents.clone_from(latents);
    }
    if config.source == AnchorSource::GroundTruth {
        anchors.features = chosen.iter().map(|&c| known[c]).collect();
    }
    Ok(anchors)
}

/// Rows read at a time.
const CHUNK: u64 = 1024;

/// x̄^{(c)} for every class by increasing label, on both sides (eq. 22). Sums are in f64 and in the order of samples.
fn class_means(rows: &dyn Samples, labels: &[u32]) -> Result<(Vec<u32>, [Vec<f32>; 2]), ConfigError> {
    if labels.len() as u64 != rows.samples() {
        let expected = format!("one label for each of the {} samples", rows.samples());
        return Err(ConfigError::new("data.labels", expected, labels.len()));
    }
    let mut counts = BTreeMap::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_insert(0_u64) += 1);
    let place: BTreeMap<u32, usize> = counts.keys().enumerate().map(|(place, label)| (*label, place)).collect();
    let mean = |side| {
        let width = rows.dimension(side);
        let mut sums = vec![0.0_f64; counts.len() * width];
        let mut chunk = Vec::new();
        for first in (0..rows.samples()).step_by(CHUNK as usize) {
            let indices: Vec<u64> = (first..rows.samples().min(first + CHUNK)).collect();
            chunk.resize(indices.len() * width, 0.0_f32);
            rows.read(&indices, side, &mut chunk);
            for (row, &index) in chunk.chunks_exact(width).zip(&indices) {
                let sum = &mut sums[place[&labels[index as usize]] * width..][..width];
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
        let counts = counts.values().flat_map(|count| std::iter::repeat_n(*count as f64, width));
        sums.iter().zip(counts).map(|(sum, count)| (sum / count) as f32).collect()
    };
    Ok((counts.keys().copied().collect(), [mean(Side::Input), mean(Side::Target)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::{BenchConfig, Task};
    use crate::bench::dataset::Bench;
    use crate::train::data::Memory;

    fn bench(task: Task) -> Data {
        let config = BenchConfig { n: 20, n_p: 12, interference: 0.5, task, ..BenchConfig::default() };
        Data::Bench(Box::new(Bench::generate(&config).unwrap()))
    }

    fn config(source: AnchorSource, count: Option<usize>) -> AnchorConfig {
        AnchorConfig { source, count, weight: 0.1, latents: None }
    }

    #[test]
    fn ground_truth_anchors_are_a_seeded_subset_of_the_columns_of_both_matrices() {
        let data = bench(Task::Transcoder { n_r: 14 });
        let shape = Shape { n_p: 12, n_r: 14, n_q: 30 };
        let drawn = |seed| anchors(&config(AnchorSource::GroundTruth, Some(5)), &data, shape, seed).unwrap();
        let five = drawn(1);
        assert_eq!((five.latents.clone(), five.weight), ((0..5).collect(), 0.1));
        assert_ne!(five.features, drawn(2).features);
        assert_eq!(five, drawn(1));
        let truth = data.bench().unwrap();
        for (a, &d) in five.features.iter().enumerate() {
            let near = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-6);
            // Columns have norm 1 up to 2^-24 √n_p.
            assert!(near(&five.inputs[a * 12..][..12], truth.directions(Side::Input).column(d as usize)));
            assert!(near(&five.targets[a * 14..][..14], truth.directions(Side::Target).column(d as usize)));
        }
    }

    #[test]
    fn anchors_of_a_crosscoder_reconstruct_their_feature() {
        let data = bench(Task::Crosscoder { sources: 3 });
        let anchors =
            anchors(&config(AnchorSource::GroundTruth, Some(4)), &data, Shape { n_p: 36, n_r: 36, n_q: 9 }, 0).unwrap();
        for (a, &d) in anchors.features.iter().enumerate() {
            let p = data.bench().unwrap().directions(Side::Input).column(d as usize);
            let w = &anchors.inputs[a * 36..][..36];
            let z: f32 = w.iter().zip(p).map(|(w, p)| w * p).sum();
            // Sums of 36 products of f32.
            assert!(w.iter().zip(p).all(|(w, p)| (z * w - p).abs() < 1e-5));
        }
    }

    #[test]
    fn class_means_are_normalised_and_sorted_by_label() {
        let rows = Memory {
            n_p: 2,
            inputs: vec![3.0, 0.0, 0.0, 5.0, 0.0, 3.0, 6.0, 8.0],
            targets: None,
            labels: Some(vec![7, 2, 7, 9]),
        };
        let data = Data::Rows(Box::new(rows));
        let shape = Shape { n_p: 2, n_r: 2, n_q: 3 };
        let own = AnchorConfig { latents: Some(vec![2, 0, 1]), ..config(AnchorSource::Labels, None) };
        let found = anchors(&own, &data, shape, 0).unwrap();
        let half = 0.5_f32.sqrt();
        let mut expected = vec![[0.0, 1.0], [half, half], [0.6, 0.8]];
        let mut rows: Vec<[f32; 2]> = found.inputs.chunks(2).map(|row| [row[0], row[1]]).collect();
        let key = |row: &[f32; 2]| (row[0] * 100.0) as i32;
        rows.sort_by_key(key);
        expected.sort_by_key(key);
        // Each number is rounded once or twice to 24 bits.
        assert!(rows.iter().flatten().zip(expected.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-6), "{rows:?}");
        assert_eq!((found.targets.clone(), found.latents, found.features.len()), (found.inputs, vec![2, 0, 1], 0));
    }

    #[test]
    fn anchors_that_cannot_be_are_refused_by_name() {
        let memory = |inputs: Vec<f32>, labels| Data::Rows(Box::new(Memory { n_p: 1, inputs, targets: None, labels }));
        let shape = Shape { n_p: 1, n_r: 1, n_q: 5 };
        let by_labels = config(AnchorSource::Labels, Some(2));
        for (data, config, field) in [
            (memory(vec![1.0, -1.0, 2.0], Some(vec![0, 0, 1])), &by_labels, "anchors"),
            (memory(vec![1.0, 2.0], Some(vec![0, 0])), &by_labels, "anchors.count"),
            (memory(vec![1.0, 2.0], Some(vec![0])), &by_labels, "data.labels"),
            (memory(vec![1.0, 2.0], None), &by_labels, "anchors.source"),
            (bench(Task::Sae), &by_labels, "anchors.source"),
            (memory(vec![1.0], None), &config(AnchorSource::GroundTruth, None), "anchors.source"),
        ] {
            assert_eq!(anchors(config, &data, shape, 0).unwrap_err().field, field);
        }
    }
}
