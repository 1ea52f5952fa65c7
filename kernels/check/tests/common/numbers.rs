//! Schedules, and numbers of all kinds.

/// As numbered, backwards, and shuffled in eight ways.
pub const SCHEDULES: [u64; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 11, 12];
/// Threads of a block.
pub const WIDTHS: [u32; 4] = [32, 64, 160, 256];

/// Numbers with ties, both zeros, infinities, NaN and subnormal ones.
pub fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let special =
        [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, 1e-40, -1e-40, f32::MIN_POSITIVE, 1.5, 1.5];
    (0..count)
        .map(|_| {
            let word = draw();
            match word % 8 {
                0 => special[(word >> 8) as usize % special.len()],
                1 | 2 => ((word >> 8) % 5) as f32 / 2.0 - 1.0,
                _ => (word >> 40) as f32 / (1 << 23) as f32 - 1.0,
            }
        })
        .collect()
}
