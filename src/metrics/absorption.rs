//! Feature absorption on hierarchical data (Def. 3.9): the latent of a parent is silent although the parent is present,
//! because the latent of a sub-concept writes the parent's direction too.
//!
//! Chanin et al. 2025 ("A is for absorption", arXiv 2409.14507) measure it on language models, with a probe in place of
//! the unknown parent. Here features are known, and the definition is this. The main latent m(d) of a feature is the
//! one with the best F1 among those that classify no other feature better ([`Firing::main_latents`]). A parent d is
//! *absorbed* in a sample if
//!
//! * d is present: x_d ≠ 0;
//! * m(d) is silent, or there is none;
//! * a present sub-concept c has a main latent i that is active and writes at least half of what d contributes:
//!   z_i ⟨v_i, r_d⟩ ≥ ½ x_d ‖r_d‖².
//!
//! The absorption rate of a parent is the share of absorbed samples among those in which it is present.

use super::latents::Firing;
use super::similarity::Vectors;
use crate::backend::HostCodes;
use crate::bench::coefficients::SparseBatch;
use serde::{Deserialize, Serialize};

/// The part of a parent's contribution that the latent of a sub-concept must write.
const TAKEN_OVER: f64 = 0.5;

/// Counts over samples.
#[derive(Debug, Clone)]
pub struct Absorption {
    parents: Vec<Parent>,
    /// The parent of each feature, by its place in `parents`, where it is a sub-concept.
    parent_of: Vec<Option<usize>>,
    place_of: Vec<Option<usize>>,
    main: Vec<Option<u32>>,
    /// ⟨v_i, r_d⟩ / ‖r_d‖² of the main latent of each sub-concept with its parent.
    written: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Parent {
    present: u64,
    silent: u64,
    absorbed: u64,
}

/// Means over the parents that were present at all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AbsorptionScores {
    /// How many parents.
    pub parents: usize,
    /// Mean absorption rate.
    pub rate: f64,
    /// Mean share of samples in which the parent's main latent is silent, for whatever reason.
    pub silent: f64,
}

impl Absorption {
    /// Nothing seen yet of these groups, each a parent followed by its sub-concepts; groups of one have no part in it.
    /// The main latents come from `firing`, the decoder's columns and the target directions from the model and the
    /// bench.
    pub fn new(groups: &[Vec<usize>], firing: &Firing, decoder: Vectors<'_>, truth: Vectors<'_>) -> Self {
        let n = truth.len();
        let main = firing.main_latents();
        let mut found = Self {
            parents: Vec::new(),
            parent_of: vec![None; n],
            place_of: vec![None; n],
            written: vec![0.0; n],
            main,
        };
        for group in groups.iter().filter(|group| group.len() > 1) {
            let place = found.parents.len();
            found.parents.push(Parent::default());
            found.place_of[group[0]] = Some(place);
            let direction = truth.get(group[0]);
            let product =
                |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
            for &child in &group[1..] {
                found.parent_of[child] = Some(place);
                if let Some(i) = found.main[child] {
                    found.written[child] = product(decoder.get(i as usize), direction) / product(direction, direction);
                }
            }
        }
        found
    }

    /// Adds a batch: codes, and the features of the same samples.
    pub fn add(&mut self, codes: &HostCodes, present: &SparseBatch) {
        for b in 0..present.rows() {
            let range = codes.offsets[b]..codes.offsets[b + 1];
            let (latents, values) = (&codes.latents[range.clone()], &codes.values[range]);
            let value = |latent: Option<u32>| {
                latent.and_then(|i| latents.binary_search(&i).ok()).map_or(0.0, |k| f64::from(values[k]))
            };
            let (features, magnitudes) = present.row(b);
            for (&d, &x) in features.iter().zip(magnitudes) {
                let Some(place) = self.place_of[d as usize] else { continue };
                self.parents[place].present += 1;
                if value(self.main[d as usize]) != 0.0 {
                    continue;
                }
                self.parents[place].silent += 1;
                let takes_over = |c: &u32| {
                    let c = *c as usize;
                    let z = value(self.main[c]);
                    self.parent_of[c] == Some(place) && z != 0.0 && z * self.written[c] >= TAKEN_OVER * f64::from(x)
                };
                if features.iter().any(takes_over) {
                    self.parents[place].absorbed += 1;
                }
            }
        }
    }

    /// The numbers; absent if no parent was ever present.
    pub fn scores(&self) -> Option<AbsorptionScores> {
        let seen: Vec<&Parent> = self.parents.iter().filter(|parent| parent.present > 0).collect();
        let mean = |of: fn(&Parent) -> u64| {
            seen.iter().map(|parent| of(parent) as f64 / parent.present as f64).sum::<f64>() / seen.len() as f64
        };
        (!seen.is_empty()).then(|| AbsorptionScores {
            parents: seen.len(),
            rate: mean(|parent| parent.absorbed),
            silent: mean(|parent| parent.silent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::latents::tests::{codes, present};
    use super::*;

    /// One parent, features 1 and 2 below it, in three orthogonal directions.
    const TRUTH: [f32; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    type Row = &'static [(u32, f32)];
    const SAMPLES: [Row; 4] =
        [&[(0, 1.0), (1, 2.0)], &[(0, 1.0), (2, 1.0)], &[(0, 3.0), (1, 1.0), (2, 1.0)], &[(0, 1.0), (1, 1.0)]];

    fn scored(decoder: &[f32], rows: &[Row]) -> AbsorptionScores {
        let (codes, present) = (codes(rows), present(&SAMPLES));
        let mut firing = Firing::new(3, decoder.len() / 3).unwrap();
        firing.add(&codes, &present);
        let (decoder, truth) = (Vectors::rows("decoder", decoder, 3), Vectors::rows("features", &TRUTH, 3));
        let mut absorption = Absorption::new(&[vec![0, 1, 2]], &firing, decoder, truth);
        absorption.add(&codes, &present);
        absorption.scores().unwrap()
    }

    #[test]
    fn a_dictionary_with_a_latent_for_every_feature_absorbs_nothing() {
        let scores = scored(&TRUTH, &SAMPLES);
        assert_eq!(scores, AbsorptionScores { parents: 1, rate: 0.0, silent: 0.0 });
    }

    #[test]
    fn latents_of_sub_concepts_that_write_the_parent_absorb_it() {
        // Latents 0 and 1 write a sub-concept each, and the parent with it; the parent has no latent.
        let decoder = [1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let rows: [Row; 4] = [&[(0, 1.0)], &[(1, 1.0)], &[(0, 1.0), (1, 1.0)], &[(0, 0.6)]];
        // In the third sample each writes 1 of the parent's 3.
        assert_eq!(scored(&decoder, &rows), AbsorptionScores { parents: 1, rate: 0.75, silent: 1.0 });
    }

    #[test]
    fn a_parent_is_absorbed_only_where_its_latent_is_silent() {
        // Latent 2 is the parent's, silent in the first sample, where the latent of feature 1 writes for it.
        let decoder = [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        let rows: [Row; 4] = [&[(0, 2.0)], &[(1, 1.0), (2, 1.0)], &[(0, 1.0), (1, 1.0), (2, 2.0)], &[(2, 1.0)]];
        assert_eq!(scored(&decoder, &rows), AbsorptionScores { parents: 1, rate: 0.25, silent: 0.25 });
    }

    #[test]
    fn a_silent_parent_that_nobody_writes_is_missed_and_not_absorbed() {
        let decoder = [0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let rows: [Row; 4] = [&[(0, 2.0)], &[(1, 1.0)], &[(0, 1.0), (1, 1.0)], &[(0, 1.0)]];
        assert_eq!(scored(&decoder, &rows), AbsorptionScores { parents: 1, rate: 0.0, silent: 1.0 });
    }
}
