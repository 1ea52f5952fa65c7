//! Philox4x32-10: random numbers as a function of a key and a counter (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as
//! easy as 1, 2, 3", doi 10.1145/2063384.2063405).
//!
//! There is no state, so any number of a stream stands alone, in any order and on any device.

use sha2::{Digest, Sha256};

/// Multipliers and Weyl constants of the generator (Salmon et al. 2011, Table 2 and §4.3).
const MULTIPLY: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
/// The half of a lane that holds a word.
pub(super) const WORD: u64 = 0xFFFF_FFFF;

/// A stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The stream of this key.
    pub fn new(key: [u32; 2]) -> Self {
        Self { key }
    }

    /// The stream of this seed for one purpose: its key is the beginning of SHA-256 of both.
    pub fn stream(seed: u64, purpose: &str) -> Self {
        let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(purpose.as_bytes()).finalize();
        let word = |k: usize| u32::from_le_bytes([digest[k], digest[k + 1], digest[k + 2], digest[k + 3]]);
        Self { key: [word(0), word(4)] }
    }

    /// The key, with which another device draws the same words.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// Four words at this counter.
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        self.blocks_at(counter.map(|word| [u64::from(word)])).map(|lanes| lanes[0] as u32)
    }

    /// The blocks at the counters (low.0, low.1, third + lane, fourth) for `L` lanes; see [`Philox::blocks_at`].
    #[inline(always)]
    pub fn blocks<const L: usize>(&self, low: [u32; 2], third: u32, fourth: u32) -> [[u64; L]; 4] {
        let moving = std::array::from_fn(|lane| u64::from(third.wrapping_add(lane as u32)));
        self.blocks_at([[u64::from(low[0]); L], [u64::from(low[1]); L], moving, [u64::from(fourth); L]])
    }

    /// The blocks at `L` counters, in and out as word × lane. A word is the low half of 64 bits; the high half of a result is of no
    /// meaning. So a product of words stays in its lane, and the loop over lanes becomes vector instructions without any shuffle.
    #[inline(always)]
    pub fn blocks_at<const L: usize>(&self, [mut a, mut b, mut c, mut d]: [[u64; L]; 4]) -> [[u64; L]; 4] {
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let [first, second] = key.map(u64::from);
            for lane in 0..L {
                let left = MULTIPLY[0].wrapping_mul(a[lane] & WORD);
                let right = MULTIPLY[1].wrapping_mul(c[lane] & WORD);
                a[lane] = (right >> 32) ^ b[lane] ^ first;
                c[lane] = (left >> 32) ^ d[lane] ^ second;
                b[lane] = right;
                d[lane] = left;
            }
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        [a, b, c, d]
    }
}

/// −ln((2w + 1)/2³³), an exponential number of mean 1 from a word: in (0, 33 ln 2], never 0, never infinite.
///
/// With (2w + 1) = m·2^e, m in [√½, √2), and s = (m − 1)/(m + 1), ln m = 2s Σ s^{2k}/(2k + 1), summed by Horner's rule with separate
/// multiplications and additions in f64: a device that rounds these to nearest gives the same bits. The eleven terms leave a relative error
/// below 1e-17 (s² ≤ 0.0295), so that only the rounding of the sum counts.
#[inline(always)]
pub fn exponential(word: u32) -> f64 {
    const SQRT_2: f64 = std::f64::consts::SQRT_2;
    const LN_2: f64 = std::f64::consts::LN_2;
    // Exact: 2w + 1 has at most 33 bits, and f64 stores it as m·2^e with m in [1, 2).
    let bits = (2.0 * f64::from(word) + 1.0).to_bits();
    let mut exponent = (bits >> 52) as i32 - 1023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0_f64.to_bits());
    if mantissa >= SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 1.0 / 21.0;
    for k in (0..10).rev() {
        sum = sum * square + 1.0 / (2 * k + 1) as f64;
    }
    f64::from(33 - exponent) * LN_2 - 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_known_answers_come_out() {
        // kat_vectors of the Random123 distribution (Salmon et al. 2011), philox4x32 with 10 rounds.
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(Philox::new(key).block(counter), expected);
        }
    }

    #[test]
    fn lanes_are_the_blocks_of_consecutive_counters() {
        let stream = Philox::stream(7, "lanes");
        let lanes = stream.blocks::<8>([3, 4], u32::MAX - 2, 5);
        for lane in 0..8 {
            let block = stream.block([3, 4, (u32::MAX - 2).wrapping_add(lane as u32), 5]);
            assert_eq!(block, lanes.map(|words| words[lane] as u32));
        }
        assert_ne!(stream, Philox::stream(7, "lanes "));
        assert_ne!(stream, Philox::stream(8, "lanes"));
    }

    #[test]
    fn the_logarithm_agrees_with_the_standard_library_to_two_units_in_the_last_place() {
        let words =
            (0..200_000_u32).map(|k| k.wrapping_mul(0x9E37_79B9)).chain([0, 1, u32::MAX, u32::MAX - 1, 1 << 31]);
        for word in words {
            let u = (2.0 * f64::from(word) + 1.0) / 2f64.powi(33);
            // ln near 1 from the exact distance to 1.
            let expected = if u > 0.5 { -f64::ln_1p(-(1.0 - u)) } else { -u.ln() };
            let found = exponential(word);
            assert!(found > 0.0 && found <= 33.0 * std::f64::consts::LN_2);
            // The term e·ln 2 and the series are each rounded once; the sum can cancel to (1 − u) ≥ 2^-33 times its parts near u = 1 only
            // when e = 33, where the first term is 0.
            assert!((found - expected).abs() <= 2.0 * f64::EPSILON * expected.max(0.25), "{word}: {found} {expected}");
        }
    }
}
