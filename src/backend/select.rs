//! Exact selection: larger first, NaN after all numbers, and the lower place first among equals.

/// An integer with the order of the numbers: larger numbers have larger keys, −0 and +0 the same, NaN the least.
#[inline(always)]
pub fn key(z: f32) -> u32 {
    if z.is_nan() {
        return 0;
    }
    let bits = (z + 0.0).to_bits();
    // Negative numbers have falling bits; the least number, −∞, gets 0x007f_ffff.
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The number with this key; −∞ for that of NaN.
#[inline(always)]
pub fn value(key: u32) -> f32 {
    match key {
        0 => f32::NEG_INFINITY,
        _ if key >> 31 == 1 => f32::from_bits(key & !(1 << 31)),
        _ => f32::from_bits(!key),
    }
}

/// Order of (z, place): the larger comes first in selection.
#[inline(always)]
pub fn rank_key(z: f32, place: u32) -> u64 {
    u64::from(key(z)) << 32 | u64::from(!place)
}

/// The least [`rank_key`] among the first k; 0 if there are at most k. `keys` is scratch.
pub fn cut(keys: &mut [u64], k: usize) -> u64 {
    if keys.len() <= k {
        return 0;
    }
    if k == 0 {
        return u64::MAX;
    }
    *keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a)).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_numbers_and_give_them_back() {
        let rising = [f32::NEG_INFINITY, -1e30, -1.0, -1e-45, 0.0, 1e-45, 0.5, 1.0, f32::INFINITY];
        for pair in rising.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        assert!(rising.iter().all(|z| value(key(*z)) == *z && key(*z) > key(f32::NAN)));
        assert_eq!((key(-0.0), key(f32::NAN), key(-f32::NAN)), (key(0.0), 0, 0));
    }

    #[test]
    fn the_cut_takes_k_and_among_equals_the_lower_places() {
        let z = [1.0, 3.0, f32::NAN, 3.0, -2.0, 3.0, 0.0, -0.0];
        let chosen = |k: usize| -> Vec<usize> {
            let mut keys: Vec<u64> = z.iter().enumerate().map(|(i, z)| rank_key(*z, i as u32)).collect();
            let least = cut(&mut keys, k);
            (0..z.len()).filter(|i| rank_key(z[*i], *i as u32) >= least && k > 0).collect()
        };
        assert!(chosen(0).is_empty());
        assert_eq!(chosen(2), [1, 3]);
        assert_eq!(chosen(4), [0, 1, 3, 5]);
        assert_eq!(chosen(5), [0, 1, 3, 5, 6]);
        assert_eq!(chosen(7), [0, 1, 3, 4, 5, 6, 7]);
        assert_eq!(chosen(8).len(), 8);
    }
}
