//! Codes of all samples, by sample and by latent.

use std::ops::Range;

/// Samples that one task works on: fixed, so that nothing depends on the number of threads.
pub(super) const BLOCK: usize = 64;

/// Sparse codes z_s of N samples, with their pattern in both orders: the latents of every sample, and the samples of every latent.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// Where every sample's entries begin; N + 1 numbers.
    pub offsets: Vec<usize>,
    /// The latent of each entry, increasing within a sample.
    pub latents: Vec<u32>,
    /// z of each entry.
    pub values: Vec<f32>,
    /// Where every latent's uses begin; n_q + 1 numbers.
    starts: Vec<usize>,
    /// (sample, entry) of each use, by increasing sample within a latent.
    uses: Vec<(u32, u32)>,
}

impl Codes {
    /// Codes by sample; `None` if there are more than 2³² entries or samples, which the order by latent does not hold.
    pub(super) fn new(offsets: Vec<usize>, latents: Vec<u32>, values: Vec<f32>, n_q: usize) -> Option<Self> {
        u32::try_from(latents.len().max(offsets.len())).ok()?;
        let mut starts = vec![0_usize; n_q + 1];
        latents.iter().for_each(|i| starts[*i as usize + 1] += 1);
        (0..n_q).for_each(|i| starts[i + 1] += starts[i]);
        let mut next = starts.clone();
        let mut uses = vec![(0, 0); latents.len()];
        for (s, entries) in offsets.windows(2).enumerate() {
            for entry in entries[0]..entries[1] {
                let at = &mut next[latents[entry] as usize];
                uses[*at] = (s as u32, entry as u32);
                *at += 1;
            }
        }
        Some(Self { offsets, latents, values, starts, uses })
    }

    /// N.
    pub fn samples(&self) -> usize {
        self.offsets.len() - 1
    }

    /// n_q.
    pub fn n_q(&self) -> usize {
        self.starts.len() - 1
    }

    /// Latents and codes of sample s.
    pub fn sample(&self, s: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[s]..self.offsets[s + 1];
        (&self.latents[range.clone()], &self.values[range])
    }

    /// (sample, entry) of every use of latent i.
    pub fn uses(&self, i: usize) -> &[(u32, u32)] {
        &self.uses[self.starts[i]..self.starts[i + 1]]
    }

    /// Mean number of entries of a sample.
    pub fn mean_active(&self) -> f64 {
        self.latents.len() as f64 / self.samples().max(1) as f64
    }

    /// Latents that no sample uses.
    pub fn dead(&self) -> usize {
        (0..self.n_q()).filter(|i| self.uses(*i).is_empty()).count()
    }

    /// Blocks of samples with their part of one number for each entry.
    pub(super) fn blocks<'a>(&self, mut entries: &'a mut [f32]) -> Vec<(Range<usize>, &'a mut [f32])> {
        let mut blocks = Vec::with_capacity(self.samples().div_ceil(BLOCK));
        for from in (0..self.samples()).step_by(BLOCK) {
            let to = (from + BLOCK).min(self.samples());
            let (part, rest) = entries.split_at_mut(self.offsets[to] - self.offsets[from]);
            blocks.push((from..to, part));
            entries = rest;
        }
        blocks
    }
}
