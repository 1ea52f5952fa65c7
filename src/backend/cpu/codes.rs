//! Sparse codes by row and by latent.

use crate::backend::HostCodes;
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

    /// Makes rows of `counts[b]` entries out of rows that stand `stride` apart.
    pub fn compact(&mut self, stride: usize, counts: &[u32]) {
        self.offsets.clear();
        self.offsets.push(0);
        let mut end = 0;
        for (b, &count) in counts.iter().enumerate() {
            let (from, count) = (b * stride, count as usize);
            if from != end {
                self.latents.copy_within(from..from + count, end);
                self.values.copy_within(from..from + count, end);
                if !self.levels.is_empty() {
                    self.levels.copy_within(from..from + count, end);
                }
            }
            end += count;
            self.offsets.push(end);
        }
        self.latents.truncate(end);
        self.values.truncate(end);
        self.levels.truncate(end);
    }

    pub fn to_host(&self) -> HostCodes {
        HostCodes { offsets: self.offsets.clone(), latents: self.latents.clone(), values: self.values.clone() }
    }
}

/// The same entries by latent (CSC): those of a latent by increasing row.
#[derive(Debug, Clone, Default)]
pub struct ByLatent {
    pub offsets: Vec<usize>,
    pub entries: Vec<Entry>,
}

/// An entry of one latent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Entry {
    pub row: u32,
    pub level: u16,
    pub z: f32,
}

impl ByLatent {
    pub fn of(&self, latent: usize) -> &[Entry] {
        &self.entries[self.offsets[latent]..self.offsets[latent + 1]]
    }

    /// A stable counting sort. Each task owns a range of latents and goes through all entries in their order, so that the result does not
    /// depend on how many tasks there are.
    pub fn sort(&mut self, codes: &Sparse, n_q: usize) {
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
        let offsets = &self.offsets;
        let mut rest = self.entries.as_mut_slice();
        let mut parts = Vec::with_capacity(tasks);
        for first in (0..n_q).step_by(width) {
            let last = (first + width).min(n_q);
            let (part, others) = rest.split_at_mut(offsets[last] - offsets[first]);
            parts.push((first, last, part));
            rest = others;
        }
        parts.into_par_iter().with_max_len(1).for_each(|(first, last, part)| {
            let base = offsets[first];
            let mut next: Vec<usize> = offsets[first..last].iter().map(|at| at - base).collect();
            for row in 0..codes.rows() {
                for entry in codes.offsets[row]..codes.offsets[row + 1] {
                    let Some(at) = (codes.latents[entry] as usize).checked_sub(first) else { continue };
                    let Some(next) = next.get_mut(at) else { continue };
                    part[*next] = Entry { row: row as u32, level: codes.level(entry) as u16, z: codes.values[entry] };
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
            pool.install(|| sorted.sort(&codes, 7));
            assert_eq!(sorted.offsets, [0, 2, 2, 2, 2, 5, 6, 8]);
            let rows = |latent| sorted.of(latent).iter().map(|e| (e.row, e.z, e.level)).collect::<Vec<_>>();
            assert_eq!(rows(4), [(0, 1.0, 1), (2, 3.0, 1), (3, 6.0, 0)]);
            assert_eq!(rows(0), [(0, 0.0, 0), (3, 5.0, 1)]);
            assert_eq!(rows(1), []);
        }
    }

    #[test]
    fn rows_of_fixed_stride_are_joined() {
        let mut codes = Sparse { latents: vec![1, 2, 9, 9, 3, 9, 4, 5, 6], values: vec![0.0; 9], ..Sparse::default() };
        codes.compact(3, &[2, 0, 3]);
        assert_eq!((codes.latents, codes.offsets), (vec![1, 2, 4, 5, 6], vec![0, 2, 2, 5]));
    }
}
