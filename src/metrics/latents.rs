//! Latents as classifiers of features: which fires when which feature is present.
//!
//! Latent i is active where z_i ≠ 0, feature d where x_d is. With a_i, f_d and c_id the numbers of samples in which the
//! latent, the feature and both are active, F1 = 2 c_id / (a_i + f_d), precision = c_id / a_i, recall = c_id / f_d.

use crate::backend::HostCodes;
use crate::bench::coefficients::SparseBatch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Most pairs of a latent and a feature that are counted: 1 GiB.
const MOST_PAIRS: usize = 1 << 28;
/// A part of a feature is a latent that is mostly silent without it.
const PART_PRECISION: f64 = 0.9;
/// And that fires in so much of it at least.
const PART_RECALL: f64 = 0.05;

/// Counts over samples. They are integers, so that neither order nor threads matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    latents: Vec<u32>,
    features: Vec<u32>,
    /// c, n × n_q.
    both: Vec<u32>,
}

/// A latent as a classifier of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Classifier {
    /// The latent.
    pub latent: u32,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Share of the latent's samples that have the feature.
    pub precision: f64,
    /// Share of the feature's samples in which the latent is active.
    pub recall: f64,
}

/// Means over the features that were present at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FiringScores {
    /// How many features.
    pub features: usize,
    /// Mean of the best F1.
    pub f1: f64,
    /// Mean precision of the latents with the best F1.
    pub precision: f64,
    /// Mean recall of the latents with the best F1.
    pub recall: f64,
    /// Features with 0, 1, 2, .. parts: see [`Firing::parts`].
    pub parts: Vec<usize>,
    /// Share of features with two or more parts.
    pub split: f64,
}

impl Firing {
    /// Nothing seen yet of n features and n_q latents; absent where n·n_q counts are too many.
    pub fn new(n: usize, n_q: usize) -> Option<Self> {
        let pairs = n.checked_mul(n_q).filter(|pairs| *pairs <= MOST_PAIRS)?;
        Some(Self { latents: vec![0; n_q], features: vec![0; n], both: vec![0; pairs] })
    }

    /// Adds a batch: codes, and the features of the same samples.
    ///
    /// # Panics
    /// If the numbers of rows differ, which is a mistake of the program.
    pub fn add(&mut self, codes: &HostCodes, present: &SparseBatch) {
        let rows = codes.offsets.len().saturating_sub(1);
        assert_eq!(rows, present.rows(), "codes of the same samples");
        let active = |b: usize| {
            let range = codes.offsets[b]..codes.offsets[b + 1];
            codes.latents[range.clone()]
                .iter()
                .zip(&codes.values[range])
                .filter(|(_, z)| **z != 0.0)
                .map(|(i, _)| *i as usize)
        };
        let mut rows_of: Vec<Vec<usize>> = vec![Vec::new(); self.features.len()];
        for b in 0..rows {
            active(b).for_each(|i| self.latents[i] += 1);
            for d in present.row(b).0 {
                self.features[*d as usize] += 1;
                rows_of[*d as usize].push(b);
            }
        }
        let n_q = self.latents.len().max(1);
        self.both.par_chunks_mut(n_q).zip(&rows_of).for_each(|(counts, rows)| {
            rows.iter().flat_map(|b| active(*b)).for_each(|i| counts[i] += 1);
        });
    }

    fn f1(&self, latent: usize, feature: usize) -> f64 {
        let together = self.both[feature * self.latents.len() + latent];
        if together == 0 {
            return 0.0;
        }
        2.0 * f64::from(together) / (f64::from(self.latents[latent]) + f64::from(self.features[feature]))
    }

    fn classifier(&self, latent: usize, feature: usize) -> Classifier {
        let together = f64::from(self.both[feature * self.latents.len() + latent]);
        Classifier {
            latent: latent as u32,
            f1: self.f1(latent, feature),
            precision: together / f64::from(self.latents[latent]),
            recall: together / f64::from(self.features[feature]),
        }
    }

    /// The best of some latents for a feature; of equal ones the first. Absent if none was ever active together with
    /// it.
    fn best_of(&self, latents: impl Iterator<Item = usize>, feature: usize) -> Option<Classifier> {
        let mut best = (0.0, None);
        for i in latents {
            let f1 = self.f1(i, feature);
            if f1 > best.0 {
                best = (f1, Some(i));
            }
        }
        best.1.map(|i| self.classifier(i, feature))
    }

    /// The latent with the best F1 for each feature, of equal ones the lower.
    pub fn best(&self) -> Vec<Option<Classifier>> {
        self.best_without(&[])
    }

    /// The same among latents that are not left out.
    fn best_without(&self, latents: &[u32]) -> Vec<Option<Classifier>> {
        let kept = kept(self.latents.len(), latents);
        let chosen = || (0..self.latents.len()).filter(|i| kept[*i]);
        (0..self.features.len()).into_par_iter().map(|d| self.best_of(chosen(), d)).collect()
    }

    /// The feature that each latent classifies best by F1: the one that *owns* it. Of equal ones the lower; none for a
    /// latent that never fired with any.
    pub fn owners(&self) -> Vec<Option<u32>> {
        let owner = |i: usize| {
            let mut best = (0.0, None);
            for d in 0..self.features.len() {
                let f1 = self.f1(i, d);
                if f1 > best.0 {
                    best = (f1, Some(d as u32));
                }
            }
            best.1
        };
        (0..self.latents.len()).into_par_iter().map(owner).collect()
    }

    /// The main latent of each feature: the one with the best F1 among those that it owns.
    pub fn main_latents(&self) -> Vec<Option<u32>> {
        let owned = self.owned();
        let main = |d: usize| self.best_of(owned[d].iter().copied(), d).map(|classifier| classifier.latent);
        (0..self.features.len()).map(main).collect()
    }

    /// The number of parts of each feature: latents that it owns, with precision ≥ 0.9 and recall ≥ 0.05. Above 1 the
    /// feature is *split*: several latents stand for parts of it, or for the same one.
    pub fn parts(&self) -> Vec<usize> {
        self.parts_without(&[])
    }

    /// The same among latents that are not left out. Who owns a latent stays as it is.
    fn parts_without(&self, latents: &[u32]) -> Vec<usize> {
        let kept = kept(self.latents.len(), latents);
        let part = |i: &usize, d: usize| {
            let classifier = self.classifier(*i, d);
            kept[*i] && classifier.precision >= PART_PRECISION && classifier.recall >= PART_RECALL
        };
        self.owned().iter().enumerate().map(|(d, owned)| owned.iter().filter(|i| part(i, d)).count()).collect()
    }

    /// Latents by owner.
    fn owned(&self) -> Vec<Vec<usize>> {
        let mut owned = vec![Vec::new(); self.features.len()];
        for (i, owner) in self.owners().into_iter().enumerate() {
            owner.into_iter().for_each(|d| owned[d as usize].push(i));
        }
        owned
    }

    /// The numbers, of some features among some latents: without those left out; absent if none of the other features was ever present.
    pub fn scores(&self, features: &[u32], latents: &[u32]) -> Option<FiringScores> {
        let counted = kept(self.features.len(), features);
        let chosen: Vec<usize> = (0..counted.len()).filter(|d| counted[*d] && self.features[*d] > 0).collect();
        if chosen.is_empty() {
            return None;
        }
        let (best, all_parts) = (self.best_without(latents), self.parts_without(latents));
        let mean = |of: fn(&Classifier) -> f64| {
            chosen.iter().map(|d| best[*d].as_ref().map_or(0.0, of)).sum::<f64>() / chosen.len() as f64
        };
        let most = chosen.iter().map(|d| all_parts[*d]).max().unwrap_or(0);
        let mut parts = vec![0; most + 1];
        chosen.iter().for_each(|d| parts[all_parts[*d]] += 1);
        Some(FiringScores {
            features: chosen.len(),
            f1: mean(|c| c.f1),
            precision: mean(|c| c.precision),
            recall: mean(|c| c.recall),
            split: parts.iter().skip(2).sum::<usize>() as f64 / chosen.len() as f64,
            parts,
        })
    }
}

/// False where something is left out.
pub(super) fn kept(count: usize, left_out: &[u32]) -> Vec<bool> {
    let mut kept = vec![true; count];
    left_out.iter().filter_map(|i| kept.get_mut(*i as usize).map(|kept| *kept = false)).for_each(drop);
    kept
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Codes of rows of (latent, value).
    pub(in super::super) fn codes(rows: &[&[(u32, f32)]]) -> HostCodes {
        let mut codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
        for row in rows {
            codes.latents.extend(row.iter().map(|e| e.0));
            codes.values.extend(row.iter().map(|e| e.1));
            codes.offsets.push(codes.latents.len());
        }
        codes
    }

    /// Samples with these features and magnitudes.
    pub(in super::super) fn present(rows: &[&[(u32, f32)]]) -> SparseBatch {
        let codes = codes(rows);
        SparseBatch { offsets: codes.offsets, indices: codes.latents, values: codes.values, weights: None }
    }

    /// Feature 0 is found by latent 2 but for one sample and one false alarm; feature 1 is split over latents 0 and 3;
    /// feature 2 has nothing.
    fn example() -> Firing {
        let mut firing = Firing::new(4, 5).unwrap();
        let x = [(0, 1.0)];
        let y = [(1, 1.0)];
        let (both, third) = ([(0, 1.0), (1, 2.0)], [(2, 1.0)]);
        firing.add(
            &codes(&[&[(2, 1.0)], &[(2, -1.0)], &[(1, 0.0)], &[(0, 1.0), (2, 1.0)]]),
            &present(&[&x, &x, &x, &both]),
        );
        firing.add(&codes(&[&[(3, 2.0)], &[(0, 1.0)], &[(2, 1.0)], &[]]), &present(&[&y, &y, &third, &third]));
        firing
    }

    #[test]
    fn f1_precision_and_recall_are_those_of_the_counted_samples() {
        let best = example().best();
        // Feature 0: present in 4 samples, latent 2 active in 4, together in 3, once with a negative value.
        assert_eq!(best[0], Some(Classifier { latent: 2, f1: 0.75, precision: 0.75, recall: 0.75 }));
        // Feature 1: present in 3; latent 0 twice, always with it.
        assert_eq!(best[1], Some(Classifier { latent: 0, f1: 0.8, precision: 1.0, recall: 2.0 / 3.0 }));
        // Feature 2: present in 2, latent 2 once.
        assert_eq!(best[2].map(|c| (c.latent, c.f1)), Some((2, 2.0 / 6.0)));
        assert_eq!(best[3], None);
    }

    #[test]
    fn a_latent_belongs_to_the_feature_that_it_classifies_best() {
        let firing = example();
        // Latent 1 was selected with the value 0 only, latent 4 never.
        assert_eq!(firing.owners(), [Some(1), None, Some(0), Some(1), None]);
        assert_eq!(firing.main_latents(), [Some(2), Some(0), None, None]);
        // Latent 2 is not precise enough for a part of feature 0.
        assert_eq!(firing.parts(), [0, 2, 0, 0]);
    }

    #[test]
    fn scores_are_means_over_the_features_that_were_present_and_not_left_out() {
        let scores = example().scores(&[], &[]).unwrap();
        assert_eq!((scores.features, scores.parts.as_slice()), (3, [2, 0, 1].as_slice()));
        // Three numbers are added.
        assert!((scores.f1 - (0.75 + 0.8 + 1.0 / 3.0) / 3.0).abs() < 1e-15);
        assert!((scores.split - 1.0 / 3.0).abs() < 1e-15);
        let without = example().scores(&[1, 2], &[]).unwrap();
        assert_eq!((without.features, without.f1, without.split), (1, 0.75, 0.0));
        assert_eq!(example().scores(&[0, 1, 2], &[]), None);
        assert!(Firing::new(1 << 20, 1 << 20).is_none());
    }

    #[test]
    fn a_latent_that_is_left_out_serves_no_feature() {
        // Without latent 0, the first part of feature 1, its best is latent 3: active once in 3 samples, always with it.
        let without = example().scores(&[0, 2], &[0]).unwrap();
        assert_eq!((without.features, without.parts.as_slice(), without.split), (1, [0, 1].as_slice(), 0.0));
        assert_eq!((without.f1, without.precision, without.recall), (2.0 / 4.0, 1.0, 1.0 / 3.0));
        // Latents and features have numbers of their own.
        let feature = example().scores(&[0, 2], &[1, 2]).unwrap();
        assert_eq!((feature.f1, feature.parts.as_slice()), (0.8, [0, 0, 1].as_slice()));
    }
}
