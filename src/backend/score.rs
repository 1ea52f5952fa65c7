//! The score of a latent: the scalar product that all f32 backends compute with the same bits.

/// Lanes of the accumulation.
pub const LANES: usize = 64;

/// ⟨a, b⟩: element k goes to lane k mod 64 by one fused multiply-add, lanes start at +0, and the 64 sums are added in a tree of halves (lane l and
/// l + 32, then l and l + 16, down to 1). The result is +0 where it would be −0.
///
/// The plain definition, portable and slow where the processor has no fused multiply-add; backends have faster code of equal bits.
///
/// # Panics
/// If the lengths differ.
pub fn score(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one space");
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = x.mul_add(*y, *lane);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0] + 0.0
}

/// e^x in f64, rounded to f32: thresholds and scales of latents are stored as logarithms, and backends must agree on which latents they select.
pub fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_the_product_to_rounding_and_never_minus_zero() {
        let a: Vec<f32> = (0..150).map(|k| (k as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..150).map(|k| (k as f32 * 0.11).cos()).collect();
        let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        // 3 fused steps and 6 levels of the tree, each with a relative error of 2^-24 of at most Σ|ab| ≤ 150.
        assert!((f64::from(score(&a, &b)) - exact).abs() < 9.0 * 150.0 * 2f64.powi(-24));
        assert_eq!(score(&[-1.0], &[0.0]).to_bits(), 0);
        assert_eq!(score(&[], &[]), 0.0);
        // The order is part of the definition: lanes 0 and 32 meet first.
        let mut large = vec![0.0; 64];
        (large[0], large[1], large[32]) = (1e8, 1.0, -1e8);
        assert_eq!(score(&large, &[1.0; 64]), 1.0);
    }
}
