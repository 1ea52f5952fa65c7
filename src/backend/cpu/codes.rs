//! Sparse codes by row and by latent.

use crate::backend::HostCodes;
use crate::backend::select::{cut, rank_key};
use rayon::prelude::*;

/// Selected latents by row (CSR): row b has the entries offsets\[b\] .. offsets\[b + 1\], by increasing latent.
#[derive(Debug, Clone, Default)]
pub struct Sparse {
    pub offsets: Vec<usize>,
    pub latents: Vec<u32>,
    pub values: Vec<f32>,
    /// [`Scales::level`](crate::sdl::Scales::level) of each entry; empty if there is one part only.
    pub levels: Vec<u16>,
}

impl Sparse {
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    pub fn row(&self, b: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[b]..self.offsets[b + 1];
        (&self.latents[range.clone()], &self.values[range])
    }

    pub fn level(&self, entry: usize) -> usize {
        self.levels.get(entry).map_or(0, |level| usize::from(*level))
    }

    /// No rows.
    pub fn clear(&mut self) {
        self.join(std::iter::empty());
    }

    /// Joins blocks of rows.
    pub fn join<'a>(&mut self, blocks: impl Iterator<Item = &'a Rows>) {
        self.offsets.clear();
        self.offsets.push(0);
        self.latents.clear();
        self.values.clear();
        self.levels.clear();
        let mut end = 0;
        for block in blocks {
            self.latents.extend_from_slice(&block.latents);
            self.values.extend_from_slice(&block.values);
            self.offsets.extend(block.counts.iter().map(|count| {
                end += *count as usize;
                end
            }));
        }
    }

    /// Keeps the `count` entries with the largest values, the earlier ones among equals. `ranks` is scratch.
    pub fn keep_first(&mut self, count: usize, ranks: &mut Vec<u64>) {
        ranks.clear();
        ranks.extend((0..).zip(&self.values).map(|(place, z)| rank_key(*z, place)));
        self.keep_from(cut(ranks, count), 0);
    }

    /// Keeps the entries with at least this [`rank_key`], where the first one has the place `first`.
    pub fn keep_from(&mut self, least: u64, first: u32) {
        let mut kept = 0;
        let mut entry = 0;
        for end in &mut self.offsets[1..] {
            while entry < *end {
                if rank_key(self.values[entry], first + entry as u32) >= least {
                    self.latents[kept] = self.latents[entry];
                    self.values[kept] = self.values[entry];
                    kept += 1;
                }
                entry += 1;
            }
            *end = kept;
        }
        self.latents.truncate(kept);
        self.values.truncate(kept);
    }

    pub fn to_host(&self) -> HostCodes {
        HostCodes { offsets: self.offsets.clone(), latents: self.latents.clone(), values: self.values.clone() }
    }
}

/// Selected latents of a block of rows, while they are found.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    counts: Vec<u32>,
    latents: Vec<u32>,
    values: Vec<f32>,
}

impl Rows {
    pub fn clear(&mut self) {
        self.counts.clear();
        self.latents.clear();
        self.values.clear();
    }

    /// Appends an entry of a row that is not complete yet.
    pub fn push(&mut self, latent: u32, z: f32) {
        self.latents.push(latent);
        self.values.push(z);
    }

    /// Completes a row of so many entries.
    pub fn end_row(&mut self, count: u32) {
        self.counts.push(count);
    }

    /// Appends a row.
    pub fn push_row(&mut self, entries: impl Iterator<Item = (u32, f32)>) {
        let before = self.latents.len();
        for (latent, z) in entries {
            self.push(latent, z);
        }
        self.end_row((self.latents.len() - before) as u32);
    }

    /// Replaces every row by part of it: `keep` writes the new row into `kept`, which is scratch and which it finds as it left it.
    pub fn retain(&mut self, kept: &mut Vec<(u32, f32)>, mut keep: impl FnMut(&[u32], &mut Vec<(u32, f32)>)) {
        let (mut from, mut to) = (0, 0);
        for count in &mut self.counts {
            keep(&self.latents[from..from + *count as usize], kept);
            from += *count as usize;
            *count = kept.len() as u32;
            for (latent, z) in &*kept {
                (self.latents[to], self.values[to]) = (*latent, *z);
                to += 1;
            }
        }
        self.latents.truncate(to);
        self.values.truncate(to);
    }
}

/// The same entries by latent (CSC): those of a latent by increasing row.
#[derive(Debug, Clone, Default)]
pub struct ByLatent {
    pub offsets: Vec<usize>,
    pub entries: Vec<Entry>,
    /// Where the next entry of each latent goes, while they are sorted.
    next: Vec<usize>,
}

/// An entry of one latent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Entry {
    pub row: u32,
    pub level: u16,
    pub z: f32,
    /// The score where it is needed beside z, else 0.
    pub s: f32,
}

impl ByLatent {
    pub fn of(&self, latent: usize) -> &[Entry] {
        &self.entries[self.offsets[latent]..self.offsets[latent + 1]]
    }

    /// A stable counting sort. Each task owns a range of latents and goes through all entries in their order, so that the result does not
    /// depend on how many tasks there are.
    pub fn sort(&mut self, codes: &Sparse, scores: &[f32], n_q: usize) {
        self.offsets.clear();
        self.offsets.resize(n_q + 1, 0);
        self.entries.resize(codes.latents.len(), Entry::default());
        let tasks = rayon::current_num_threads().clamp(1, n_q.max(1));
        let width = n_q.div_ceil(tasks).max(1);
        self.offsets[1..].par_chunks_mut(width).enumerate().for_each(|(task, counts)| {
            let first = task * width;
            for &latent in &codes.latents {
                if let Some(count) = (latent as usize).checked_sub(first).and_then(|at| counts.get_mut(at)) {
                    *count += 1;
                }
            }
        });
        for i in 0..n_q {
            self.offsets[i + 1] += self.offsets[i];
        }
        let Self { offsets, entries, next } = self;
        next.clear();
        next.extend_from_slice(&offsets[..n_q]);
        let mut rest = entries.as_mut_slice();
        let mut parts = Vec::with_capacity(tasks);
        for (first, next) in (0..n_q).step_by(width).zip(next.chunks_mut(width)) {
            let (part, others) = rest.split_at_mut(offsets[first + next.len()] - offsets[first]);
            parts.push((first, next, part));
            rest = others;
        }
        parts.into_par_iter().with_max_len(1).for_each(|(first, next, part)| {
            let base = offsets[first];
            for row in 0..codes.rows() {
                for entry in codes.offsets[row]..codes.offsets[row + 1] {
                    let Some(at) = (codes.latents[entry] as usize).checked_sub(first) else { continue };
                    let Some(next) = next.get_mut(at) else { continue };
                    let s = scores.get(entry).copied().unwrap_or(0.0);
                    part[*next - base] =
                        Entry { row: row as u32, level: codes.level(entry) as u16, z: codes.values[entry], s };
                    *next += 1;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorting_by_latent_is_stable_at_any_number_of_threads() {
        let mut codes = Sparse { offsets: vec![0, 3, 3, 5, 8], ..Sparse::default() };
        codes.latents = vec![0, 4, 6, 4, 5, 0, 4, 6];
        codes.values = (0..8).map(|x| x as f32).collect();
        codes.levels = vec![0, 1, 0, 1, 0, 1, 0, 1];
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut sorted = ByLatent::default();
            pool.install(|| sorted.sort(&codes, &[], 7));
            assert_eq!(sorted.offsets, [0, 2, 2, 2, 2, 5, 6, 8]);
            let rows = |latent| sorted.of(latent).iter().map(|e| (e.row, e.z, e.level)).collect::<Vec<_>>();
            assert_eq!(rows(4), [(0, 1.0, 1), (2, 3.0, 1), (3, 6.0, 0)]);
            assert_eq!(rows(0), [(0, 0.0, 0), (3, 5.0, 1)]);
            assert!(rows(1).is_empty());
        }
    }

    #[test]
    fn rows_are_joined_and_the_largest_of_all_kept() {
        let (mut a, mut b) = (Rows::default(), Rows::default());
        a.push_row([(3, 1.0), (5, 2.0)].into_iter());
        a.push_row([].into_iter());
        b.push_row([(0, 2.0), (1, 0.5), (9, 2.0)].into_iter());
        b.retain(&mut Vec::new(), |latents, kept| {
            kept.clear();
            kept.extend(latents.iter().filter(|i| **i != 1).map(|i| (*i, 2.0)));
        });
        let mut codes = Sparse::default();
        codes.join([&a, &b].into_iter());
        assert_eq!((&codes.offsets, &codes.latents), (&vec![0, 2, 2, 4], &vec![3, 5, 0, 9]));
        codes.keep_first(2, &mut Vec::new());
        assert_eq!((codes.offsets, codes.latents, codes.values), (vec![0, 1, 1, 2], vec![5, 0], vec![2.0, 2.0]));
    }
}
