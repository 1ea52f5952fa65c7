//! Known features for anchoring (§4.1): columns of the bench's own matrices (eq. 21), or means of labelled classes (eqs. 22 and 23).

use super::check::ConfigError;
use super::config::{AnchorConfig, AnchorSource};
use super::data::{Data, Samples};
use crate::bench::dataset::{Bench, Side};
use crate::bench::features::stream;
use crate::io::labels::Labels;
use crate::sdl::anchoring::{AnchorError, class_means};
use crate::sdl::{Anchors, Shape};
use rand::seq::SliceRandom;

/// The anchors of an experiment: `count` of the known features, drawn by the seed, each of norm 1 on both sides.
///
/// The columns of the bench have norm 1 already, except those of a crosscoder: its stacked column p has norm √m, and only the pair p/√m, p/√m
/// reconstructs it.
///
/// # Errors
/// More anchors than there are features, classes or latents; a class whose mean is 0.
pub fn anchors(config: &AnchorConfig, data: &Data, shape: Shape, seed: u64) -> Result<Anchors, ConfigError> {
    let chosen = |known: usize| {
        let mut chosen: Vec<usize> = (0..known).collect();
        chosen.shuffle(&mut stream(seed, "anchors"));
        let count = config.known().unwrap_or(known);
        if count > known {
            let expected = format!("at most the {known} known features");
            return Err(ConfigError::new(config.count_field(), expected, count));
        }
        chosen.truncate(count);
        Ok(chosen)
    };
    let (inputs, targets, features) = match (config.source, data) {
        (AnchorSource::GroundTruth, Data::Bench(bench)) => {
            let chosen = chosen(bench.config().n)?;
            let columns = |side| columns(bench, side, &chosen);
            (columns(Side::Input), columns(Side::Target), chosen.iter().map(|&d| d as u32).collect())
        }
        (AnchorSource::Labels, Data::Rows(rows)) => {
            let labels =
                rows.labels().ok_or_else(|| ConfigError::new("anchors.source", "labelled data", "no labels"))?;
            let chosen = chosen(labels.names.len())?;
            let means = |side| means(rows.as_ref(), labels, side, &chosen).map_err(named);
            (means(Side::Input)?, means(Side::Target)?, chosen.iter().map(|&c| c as u32).collect())
        }
        (AnchorSource::GroundTruth, _) => return Err(ConfigError::new("anchors.source", "`labels`", "`ground-truth`")),
        (AnchorSource::Labels, _) => return Err(ConfigError::new("anchors.source", "`ground-truth`", "`labels`")),
    };
    let mut anchors = Anchors::first(config.weight, inputs, targets, shape).map_err(named)?;
    anchors.features = features;
    if let Some(latents) = &config.latents {
        anchors.latents.clone_from(latents);
    }
    Ok(anchors)
}

fn named(error: AnchorError) -> ConfigError {
    ConfigError::new("anchors", error.expected, error.found)
}

/// Columns of the bench, of norm 1.
fn columns(bench: &Bench, side: Side, chosen: &[usize]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(chosen.len() * bench.directions(side).dimension());
    for &d in chosen {
        let column = bench.directions(side).column(d);
        let norm = column.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        rows.extend(column.iter().map(|x| (f64::from(*x) / norm) as f32));
    }
    rows
}

/// Normalised means of these classes (eqs. 22 and 23).
pub(super) fn means(
    rows: &dyn Samples,
    labels: &Labels,
    side: Side,
    chosen: &[usize],
) -> Result<Vec<f32>, AnchorError> {
    let mut place = vec![None; labels.names.len()];
    chosen.iter().enumerate().for_each(|(k, &c)| place[c] = Some(k as u32));
    let classes: Vec<Option<u32>> = labels.classes.iter().map(|c| c.and_then(|c| place[c as usize])).collect();
    class_means(
        rows.dimension(side),
        &classes,
        chosen.len(),
        |j, x| rows.read(&[j as u64], side, x),
        |k| format!("`{}`", labels.names[chosen[k]]),
    )
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

    fn labels(classes: &[u32]) -> Labels {
        let names = (0..=*classes.iter().max().unwrap()).map(|c| c.to_string()).collect();
        Labels { classes: classes.iter().map(|c| Some(*c)).collect(), names }
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
    fn anchors_of_labelled_data_are_normalised_class_means_of_a_seeded_subset() {
        let rows = Memory {
            n_p: 2,
            inputs: vec![3.0, 0.0, 5.0, 5.0, -3.0, 3.0, 6.0, 8.0],
            targets: None,
            labels: Some(labels(&[1, 0, 1, 2])),
        };
        let data = Data::Rows(Box::new(rows));
        let shape = Shape { n_p: 2, n_r: 2, n_q: 3 };
        let own = AnchorConfig { latents: Some(vec![2, 0, 1]), ..config(AnchorSource::Labels, None) };
        let found = anchors(&own, &data, shape, 0).unwrap();
        let half = 0.5_f32.sqrt();
        let all = [[half, half], [0.0, 1.0], [0.6, 0.8]];
        // Each number is rounded once or twice to 24 bits.
        let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6);
        let place = |row: &[f32]| all.iter().position(|mean| near(mean, row)).unwrap();
        let mut places: Vec<usize> = found.inputs.chunks(2).map(place).collect();
        assert_eq!(places, found.features.iter().map(|&c| c as usize).collect::<Vec<_>>());
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!((found.targets.clone(), found.latents), (found.inputs, vec![2, 0, 1]));
        let one = |seed| place(&anchors(&config(AnchorSource::Labels, Some(1)), &data, shape, seed).unwrap().inputs);
        assert!((1..20).any(|seed| one(seed) != one(0)));
    }

    #[test]
    fn label_anchors_of_a_transcoder_take_the_means_of_its_inputs_and_of_its_targets() {
        let rows = Memory {
            n_p: 2,
            inputs: vec![3.0, 0.0, 5.0, 5.0, 0.0, 4.0],
            targets: Some((3, vec![0.0, 0.0, 2.0, -1.0, 0.0, 0.0, 4.0, 0.0, 6.0])),
            labels: Some(labels(&[1, 0, 1])),
        };
        let data = Data::Rows(Box::new(rows));
        let found = anchors(&config(AnchorSource::Labels, None), &data, Shape { n_p: 2, n_r: 3, n_q: 2 }, 0).unwrap();
        let half = 0.5_f32.sqrt();
        let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6);
        // Means of the class 1 are (3/2, 2) and (2, 0, 4).
        let (inputs, targets) = ([[half, half], [0.6, 0.8]], [[-1.0, 0.0, 0.0], [0.2_f32.sqrt(), 0.0, 0.8_f32.sqrt()]]);
        let mut classes = found.features.clone();
        for (a, &class) in found.features.iter().enumerate() {
            // Each number is rounded once or twice to 24 bits.
            assert!(near(&found.inputs[2 * a..2 * a + 2], &inputs[class as usize]), "{class}: {:?}", found.inputs);
            assert!(near(&found.targets[3 * a..3 * a + 3], &targets[class as usize]), "{class}: {:?}", found.targets);
        }
        classes.sort_unstable();
        assert_eq!((classes, found.latents), (vec![0, 1], vec![0, 1]));
    }

    #[test]
    fn anchors_that_cannot_be_are_refused_by_name() {
        let memory = |inputs: Vec<f32>, labels| Data::Rows(Box::new(Memory { n_p: 1, inputs, targets: None, labels }));
        let shape = Shape { n_p: 1, n_r: 1, n_q: 5 };
        let by_labels = config(AnchorSource::Labels, Some(2));
        let by_latents = AnchorConfig { latents: Some(vec![4, 0]), ..config(AnchorSource::Labels, None) };
        for (data, config, field) in [
            (memory(vec![1.0, -1.0, 2.0], Some(labels(&[0, 0, 1]))), &by_labels, "anchors"),
            (memory(vec![1.0, 2.0], Some(labels(&[0, 0]))), &by_labels, "anchors.count"),
            (memory(vec![1.0, 2.0], Some(labels(&[0, 0]))), &by_latents, "anchors.latents"),
            (memory(vec![1.0, 2.0], None), &by_labels, "anchors.source"),
            (bench(Task::Sae), &by_labels, "anchors.source"),
            (memory(vec![1.0], None), &config(AnchorSource::GroundTruth, None), "anchors.source"),
        ] {
            assert_eq!(anchors(config, &data, shape, 0).unwrap_err().field, field);
        }
    }
}
