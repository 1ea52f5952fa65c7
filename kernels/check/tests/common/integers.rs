//! Numbers whose sums are exact.

/// Integers from −most to most, so that products and sums are exact, and many of them are equal.
pub fn integers(count: usize, most: u32, seed: u32) -> Vec<f32> {
    let (range, most) = ((2 * most + 1) as f32, most as f32);
    (0..count as u32).map(|j| (j.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as f32 % range - most).collect()
}
