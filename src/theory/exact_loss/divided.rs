//! Divided differences of the exponential function.

/// Nodes closer together than this are handled by a Taylor series; farther apart the recursion loses at most a factor of about
/// (number of nodes)/[`CLOSE`] of accuracy in each step.
const CLOSE: f64 = 4.0;

/// exp[x_0, .., x_N] for N ≥ 0 (0 for no node). By Hermite and Genocchi it is the integral of e^{Σ θ_j x_j} over the simplex
/// θ ≥ 0, Σ θ_j = 1; a node that is repeated k + 1 times carries the weight θ_j^k / k!.
pub(super) fn exponential(nodes: &[f64]) -> f64 {
    let mut x = nodes.to_vec();
    x.sort_by(f64::total_cmp);
    // After pass `length`, table[i] is exp[x_i, .., x_{i+length}].
    let mut table: Vec<f64> = x.iter().map(|x| x.exp()).collect();
    for length in 1..x.len() {
        for i in 0..x.len() - length {
            let spread = x[i + length] - x[i];
            table[i] = if spread < CLOSE { series(&x[i..=i + length]) } else { (table[i + 1] - table[i]) / spread };
        }
    }
    table.first().copied().unwrap_or(0.0)
}

/// e^c Σ_m h_m(x − c) / (m + N)! about the middle c of the nodes, with the complete homogeneous symmetric polynomials h_m.
fn series(x: &[f64]) -> f64 {
    let order = x.len() - 1;
    let centre = (x[0] + x[order]) / 2.0;
    // homogeneous[j] is h_m of the first j + 1 nodes: h_m(x_0..x_j) = h_m(x_0..x_{j−1}) + x_j h_{m−1}(x_0..x_j).
    let mut homogeneous = vec![1.0; x.len()];
    let mut factor = (1..=order).fold(1.0, |f, k| f / k as f64);
    let mut sum = factor;
    // |x − c| ≤ 2: the terms fall below 2^60 / 60! < 1e-60 of the first.
    for m in 1..60 {
        let mut before = 0.0;
        for (h, node) in homogeneous.iter_mut().zip(x) {
            *h = before + (node - centre) * *h;
            before = *h;
        }
        factor /= (m + order) as f64;
        sum += factor * before;
    }
    centre.exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_are_met_for_equal_distant_and_mixed_nodes() {
        let e = std::f64::consts::E;
        for (nodes, expected) in [
            (vec![], 0.0),
            (vec![1.0], e),
            (vec![0.0, 1.0], e - 1.0),
            (vec![2.0; 4], (2f64).exp() / 6.0),
            (vec![0.0, -30.0], (1.0 - (-30f64).exp()) / 30.0),
            // d/da of (1 − e^{−a})/a at a = 8, with a minus sign: weight θ on the node −8.
            (vec![0.0, -8.0, -8.0], (1.0 - 9.0 * (-8f64).exp()) / 64.0),
            (vec![0.0, 0.0, 1.0], e - 2.0),
        ] {
            let found = exponential(&nodes);
            assert!(
                (found - expected).abs() <= 1e-15 * expected.abs().max(1e-300) * 8.0,
                "{nodes:?}: {found} {expected}"
            );
        }
    }

    #[test]
    fn the_recursion_holds_across_the_switch_to_the_series() {
        // x[..4] has a spread below 4 and x a spread above: both branches meet in one table.
        let x = [-0.5, -1.25, -3.0, -4.0, -5.5];
        let (all, low, high) = (exponential(&x), exponential(&x[1..]), exponential(&x[..4]));
        assert!((all - (high - low) / 5.0).abs() < 1e-15, "{all}");
        let near = [0.0, 1.0, 3.9, 2.0];
        let direct = (exponential(&[1.0, 2.0, 3.9]) - exponential(&[0.0, 1.0, 2.0])) / 3.9;
        assert!((exponential(&near) - direct).abs() < 1e-13 * direct);
    }
}
