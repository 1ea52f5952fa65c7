//! The order of samples: a new permutation of 0 .. N for every epoch, a function of (seed, epoch) alone.
//!
//! Position j of an epoch is mapped by a Feistel network over the smallest power of two that is at least N (Luby and Rackoff 1988, "How to
//! construct pseudorandom permutations from pseudorandom functions", doi 10.1137/0217022), again and again until the result is below N
//! (cycle walking; Black and Rogaway 2002). Nothing is stored, so training goes on at any step as if it had never stopped.

use crate::bench::philox::Philox;

/// Rounds of the network; four give a permutation that cannot be told from a random one (Luby and Rackoff 1988).
const ROUNDS: u32 = 4;
/// Least number of bits: with fewer, a network has few permutations to choose from.
const LEAST_BITS: u32 = 8;

/// The samples of a training run in their order, cut into batches. The last batch of an epoch may be short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    stream: Philox,
    samples: u64,
    batch: u64,
    bits: u32,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Positions of the batch within the epoch.
    pub first: u64,
    /// One after the last position.
    pub end: u64,
}

impl Order {
    /// The order of `samples` ≥ 1 samples in batches of at most `batch` ≥ 1.
    pub fn new(seed: u64, samples: u64, batch: u64) -> Self {
        let bits = (64 - samples.saturating_sub(1).leading_zeros()).max(LEAST_BITS);
        Self { stream: Philox::stream(seed, "order of samples"), samples, batch, bits }
    }

    /// Batches of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch)
    }

    /// The epoch and the positions of a step, counted from 0.
    pub fn place(&self, step: u64) -> Place {
        let (epoch, k) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let first = k * self.batch;
        Place { epoch, first, end: self.samples.min(first + self.batch) }
    }

    /// Samples seen before this step.
    pub fn seen(&self, step: u64) -> u64 {
        let place = self.place(step);
        place.epoch * self.samples + place.first
    }

    /// The samples of a step, in place of what `indices` held.
    pub fn batch(&self, step: u64, indices: &mut Vec<u64>) {
        let place = self.place(step);
        indices.clear();
        indices.extend((place.first..place.end).map(|position| self.at(place.epoch, position)));
    }

    /// The sample at a position of an epoch.
    pub fn at(&self, epoch: u64, position: u64) -> u64 {
        let mut x = position;
        loop {
            x = self.network(epoch, x);
            if x < self.samples {
                return x;
            }
        }
    }

    /// One permutation of 0 .. 2^bits: (a, b) becomes (b, a ⊕ f(b)), with halves that differ by a bit where `bits` is odd.
    fn network(&self, epoch: u64, x: u64) -> u64 {
        let (mut left, mut right) = (self.bits / 2, self.bits - self.bits / 2);
        let (mut a, mut b) = (x >> right, x & mask(right));
        for round in 0..ROUNDS {
            // A half has at most 32 bits.
            let [low, ..] = self.stream.block([b as u32, round, epoch as u32, (epoch >> 32) as u32]);
            (a, b) = (b, (a ^ u64::from(low)) & mask(left));
            (left, right) = (right, left);
        }
        (a << right) | b
    }
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        for samples in [1, 2, 3, 10, 255, 256, 257, 1000, 4096, 5000] {
            let order = Order::new(3, samples, 64);
            let epoch = |e| (0..samples).map(|j| order.at(e, j)).collect::<Vec<_>>();
            for e in [0, 1, 1 << 40] {
                let mut sorted = epoch(e);
                sorted.sort_unstable();
                assert!(sorted.iter().copied().eq(0..samples), "{samples}");
            }
            if samples > 5 {
                assert_ne!(epoch(0), epoch(1), "{samples}");
                assert_ne!(epoch(0), epoch(1 << 32), "{samples}");
                assert_ne!(epoch(0), (0..samples).map(|j| Order::new(4, samples, 64).at(0, j)).collect::<Vec<_>>());
            }
        }
        // The largest domain, where halves have 32 bits.
        let order = Order::new(0, u64::MAX, 1);
        assert_ne!(order.at(0, 0), order.at(0, u64::MAX - 1));
    }

    #[test]
    fn positions_and_samples_are_uncorrelated_and_neighbours_are_torn_apart() {
        let n = 4000_u64;
        let order = Order::new(1, n, 1);
        let place: Vec<f64> = (0..n).map(|j| order.at(5, j) as f64).collect();
        let mean = (n - 1) as f64 / 2.0;
        let variance = ((n * n - 1) as f64) / 12.0;
        let correlation = |lag: usize| {
            let pairs = place.iter().zip(&place[lag..]).map(|(a, b)| (a - mean) * (b - mean));
            pairs.sum::<f64>() / ((n as usize - lag) as f64 * variance)
        };
        let with_position = place.iter().enumerate().map(|(j, x)| (j as f64 - mean) * (x - mean)).sum::<f64>();
        // Correlations of a random permutation have a standard deviation of 1/√n = 0.016; five of them.
        let bound = 5.0 / (n as f64).sqrt();
        assert!((with_position / (n as f64 * variance)).abs() < bound);
        assert!([1, 2, 64].into_iter().all(|lag| correlation(lag).abs() < bound));
    }

    #[test]
    fn batches_cover_an_epoch_once_and_the_last_may_be_short() {
        let order = Order::new(7, 10, 4);
        assert_eq!(order.steps_per_epoch(), 3);
        let mut indices = vec![99];
        let mut all = Vec::new();
        for step in 3..6 {
            order.batch(step, &mut indices);
            all.extend_from_slice(&indices);
        }
        assert_eq!(indices.len(), 2);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10));
        assert_eq!((order.seen(3), order.seen(5), order.place(5).epoch), (10, 18, 1));
    }
}
