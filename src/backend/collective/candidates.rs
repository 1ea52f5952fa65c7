//! What ranks with parts of the latents select together: each finds the first of its own latents, and of all that were found the first count.
//!
//! The first k of a row are among the first k of each part, so that nothing else has to be known of the others. The order is that of one rank: larger
//! first, NaN after all numbers, the lower latent (in a batch: the lower row, then the lower latent) first among equals.

use super::{from_bytes, to_bytes};
use crate::backend::HostCodes;
use crate::backend::select::{cut, rank_key};
use crate::sdl::Scales;
use rayon::prelude::*;
use std::ops::Range;

/// What is selected of all candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The first k of each row.
    OfRow(usize),
    /// The first so many of the batch.
    OfBatch(usize),
}

/// What all ranks together have selected, as one of them holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// Selected latents of this rank, counted from its first one.
    pub codes: HostCodes,
    /// [`Scales::level`] of each of them, empty if there is one part only.
    pub levels: Vec<u16>,
    /// How many latents all ranks have selected in each row; empty where the first of a batch are selected.
    pub counts: Vec<u32>,
    /// The least value that any rank has kept.
    pub least: Option<f32>,
}

/// Appends candidates as bytes: how many each row has, all latents, all values.
pub fn write(codes: &HostCodes, first_latent: usize, bytes: &mut Vec<u8>) {
    let words = |bytes: &mut Vec<u8>, word: u32| bytes.extend(word.to_le_bytes());
    codes.offsets.windows(2).for_each(|pair| words(bytes, (pair[1] - pair[0]) as u32));
    codes.latents.iter().for_each(|i| words(bytes, first_latent as u32 + i));
    bytes.extend(to_bytes(&codes.values));
}

/// Takes the candidates of so many rows from the front of bytes; none where they end before.
pub fn read(bytes: &mut &[u8], rows: usize) -> Option<HostCodes> {
    let words = |of: &[u8]| of.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
    let mut offsets = vec![0];
    offsets.extend(words(bytes.split_off(..4 * rows)?).iter().scan(0, |end, count| {
        *end += *count as usize;
        Some(*end)
    }));
    let count = offsets[rows];
    let latents = words(bytes.split_off(..4 * count)?);
    Some(HostCodes { offsets, latents, values: from_bytes(bytes.split_off(..4 * count)?) })
}

/// The first of the candidates of all ranks, in their order, of which the one with these latents is told its own.
pub fn first_of_all(all: &[HostCodes], own: &Range<usize>, first: First, scales: &Scales) -> Kept {
    let rows = all.first().map_or(0, |codes| codes.offsets.len() - 1);
    match first {
        First::OfRow(k) => {
            let cuts: Vec<(u64, u32)> = (0..rows)
                .into_par_iter()
                .map_init(Vec::new, |keys, row| {
                    keys_of_row(all, row, keys);
                    let count = keys.len().min(k) as u32;
                    (cut(keys, k), count)
                })
                .collect();
            let mut kept = Kept { counts: cuts.iter().map(|(_, count)| *count).collect(), ..Kept::default() };
            kept.take(all, own, |row, _, i, z| rank_key(z, i) >= cuts[row].0);
            kept.find_levels(all, own, scales);
            kept
        }
        First::OfBatch(count) => {
            let values = (0..rows).flat_map(|row| all.iter().flat_map(move |codes| entries(codes, row)));
            let mut keys: Vec<u64> = (0..).zip(values).map(|(place, (_, z))| rank_key(z, place)).collect();
            let least = cut(&mut keys, count);
            let mut kept = Kept::default();
            kept.take(all, own, |_, place, _, z| rank_key(z, place) >= least);
            kept.find_levels(all, own, scales);
            kept
        }
    }
}

/// Latents and values of a row.
fn entries(codes: &HostCodes, row: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
    let range = codes.offsets[row]..codes.offsets[row + 1];
    codes.latents[range.clone()].iter().copied().zip(codes.values[range].iter().copied())
}

fn keys_of_row(all: &[HostCodes], row: usize, keys: &mut Vec<u64>) {
    keys.clear();
    keys.extend(all.iter().flat_map(|codes| entries(codes, row)).map(|(i, z)| rank_key(z, i)));
}

impl Kept {
    /// Keeps the candidates that `is_first`, which is told their row, their place among all candidates, their latent and their value.
    fn take(&mut self, all: &[HostCodes], own: &Range<usize>, is_first: impl Fn(usize, u32, u32, f32) -> bool) {
        let rows = all.first().map_or(0, |codes| codes.offsets.len() - 1);
        self.codes.offsets.push(0);
        let mut place = 0;
        for row in 0..rows {
            for (i, z) in all.iter().flat_map(|codes| entries(codes, row)) {
                if is_first(row, place, i, z) {
                    self.least = Some(self.least.map_or(z, |least| least.min(z)));
                    if own.contains(&(i as usize)) {
                        self.codes.latents.push(i - own.start as u32);
                        self.codes.values.push(z);
                    }
                }
                place += 1;
            }
            self.codes.offsets.push(self.codes.latents.len());
        }
    }
    /// The level of each entry, by its rank among the candidates of its row or by its latent.
    fn find_levels(&mut self, all: &[HostCodes], own: &Range<usize>, scales: &Scales) {
        let (mut keys, by_rank) = (Vec::new(), matches!(scales, Scales::TopK { .. }));
        if scales.weights().len() <= 1 {
            return;
        }
        for row in 0..self.codes.offsets.len() - 1 {
            if by_rank {
                keys_of_row(all, row, &mut keys);
                keys.sort_unstable_by(|a, b| b.cmp(a));
            }
            self.levels.extend(entries(&self.codes, row).map(|(i, z)| {
                let key = rank_key(z, own.start as u32 + i);
                scales.level(keys.partition_point(|other| *other > key), own.start + i as usize) as u16
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use rand::RngExt;

    /// Codes with the entries of each row.
    fn codes(rows: &[Vec<(u32, f32)>]) -> HostCodes {
        let mut codes = HostCodes { offsets: vec![0], ..HostCodes::default() };
        for row in rows {
            codes.latents.extend(row.iter().map(|(i, _)| i));
            codes.values.extend(row.iter().map(|(_, z)| z));
            codes.offsets.push(codes.latents.len());
        }
        codes
    }

    #[test]
    fn candidates_come_back_from_bytes_one_after_another() {
        let (a, b) = (codes(&[vec![(1, 0.5), (3, f32::NAN)], vec![]]), codes(&[vec![], vec![(0, -0.0)]]));
        let mut bytes = Vec::new();
        write(&a, 0, &mut bytes);
        write(&b, 7, &mut bytes);
        let mut rest = &bytes[..];
        let (again, other) = (read(&mut rest, 2).unwrap(), read(&mut rest, 2).unwrap());
        assert_eq!((&again.offsets, &again.latents, again.values[0]), (&a.offsets, &a.latents, 0.5));
        assert!(again.values[1].is_nan() && rest.is_empty());
        assert_eq!((other.offsets, other.latents), (vec![0, 0, 1], vec![7]));
        for len in 0..bytes.len() {
            let mut short = &bytes[..len];
            assert!(read(&mut short, 2).is_none_or(|_| read(&mut short, 2).is_none()), "{len} bytes");
        }
    }

    #[test]
    fn the_first_of_all_parts_are_those_of_the_whole_with_ties_nan_and_levels() {
        let mut rng = stream(3, "candidates");
        let (latents, rows) = (13, 40);
        let values = [f32::NAN, f32::NEG_INFINITY, -1.0, -0.0, 0.0, 0.5, 0.5, 2.0, f32::INFINITY];
        let all: Vec<Vec<f32>> =
            (0..rows).map(|_| (0..latents).map(|_| values[rng.random_range(0..values.len())]).collect()).collect();
        for parts in [1, 2, 4, 5] {
            let ranges: Vec<Range<usize>> =
                (0..parts).map(|r| r * latents / parts..(r + 1) * latents / parts).collect();
            let of = |range: &Range<usize>| {
                codes(&all.iter().map(|row| range.clone().map(|i| (i as u32, row[i])).collect()).collect::<Vec<_>>())
            };
            let given: Vec<HostCodes> = ranges.iter().map(of).collect();
            for k in [0, 1, 3, 12, 13, 20] {
                let scales = Scales::TopK { ks: vec![1, 3, 20], weights: vec![1.0; 3] };
                let kept: Vec<Kept> =
                    ranges.iter().map(|own| first_of_all(&given, own, First::OfRow(k), &scales)).collect();
                for (b, row) in all.iter().enumerate() {
                    let mut order: Vec<usize> = (0..latents).collect();
                    // Stable, so that the lower latent comes first among equals.
                    order.sort_by(|i, j| match (row[*i].is_nan(), row[*j].is_nan()) {
                        (false, false) => row[*j].partial_cmp(&row[*i]).unwrap(),
                        (i, j) => i.cmp(&j),
                    });
                    let mut first: Vec<(usize, u16)> =
                        order.iter().take(k).enumerate().map(|(r, i)| (*i, scales.level(r, *i) as u16)).collect();
                    first.sort_unstable();
                    let found: Vec<(usize, u16)> = kept
                        .iter()
                        .zip(&ranges)
                        .flat_map(|(kept, own)| {
                            let range = kept.codes.offsets[b]..kept.codes.offsets[b + 1];
                            let level = |at: usize| kept.levels[at];
                            range
                                .map(move |at| (own.start + kept.codes.latents[at] as usize, level(at)))
                                .collect::<Vec<_>>()
                        })
                        .collect();
                    assert_eq!(found, first, "{parts} parts, k = {k}, row {b}: {row:?}");
                    assert!(kept.iter().all(|kept| kept.counts[b] as usize == k.min(latents)));
                }
            }
            // In a batch, among equals the lower row.
            let kept: Vec<Kept> =
                ranges.iter().map(|own| first_of_all(&given, own, First::OfBatch(100), &Scales::Single)).collect();
            let mut places: Vec<usize> = (0..rows * latents).collect();
            let key = |place: &usize| rank_key(all[place / latents][place % latents], *place as u32);
            places.sort_by_key(|place| std::cmp::Reverse(key(place)));
            let least = all[places[99] / latents][places[99] % latents];
            places.truncate(100);
            places.sort_unstable();
            let mut found: Vec<usize> = Vec::new();
            for b in 0..rows {
                for (kept, own) in kept.iter().zip(&ranges) {
                    found.extend(entries(&kept.codes, b).map(|(i, _)| b * latents + own.start + i as usize));
                    assert_eq!(kept.least, Some(least));
                }
            }
            assert_eq!(found, places, "{parts} parts");
        }
    }
}
