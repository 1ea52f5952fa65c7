//! Polysemantic latents, one at a time: is the loss of a latent on its features as low as it can be, and where does it fall?
//!
//! With all other latents in place, latent i meets the targets r̃_d = e_d + z_id v_i on the features F that fire it, and nothing else changes with it inside the cell.
//! With a = (z_id)_{d∈F}, D = diag(M_d), G = (⟨r̃_d, r̃_e⟩) and its best column, the loss on F is Σ_F M_d‖r̃_d‖² − μ,
//!
//! ```text
//!     μ = aᵀ D G D a / aᵀ D a,        a = P_Fᵀ w,
//! ```
//!
//! so that the latent is stationary iff a is an eigenvector of the pencil (D G D, D) on the codes that rows can have, and a minimum in its cell
//! iff μ is the top eigenvalue λ_max; otherwise it is a strict saddle of curvature −2(λ_max − μ) along the top eigenvector, for the best column at each row and a
//! direction with Σ_F M_d ȧ_d² = Σ_F M_d a_d². If no other latent fires on F this is the criterion for a block of a partition pattern
//! (see [`partial_optimum`](crate::theory::partial_optimum)); else it speaks of this latent while the others stay.

use super::features::squared;
use super::isolated::Isolated;
use faer::{Mat, Side};
use rayon::prelude::*;
use serde::Serialize;

/// Most features of a latent that is looked at: λ_max takes the cube of their number.
pub const LARGEST: usize = 64;
/// Most latents that are looked at: those whose features carry the largest loss Σ_F M_d‖e_d‖².
pub const MOST: usize = 512;
/// Directions of codes whose squared norm is below this share of the largest count as ones that no row can have. Inputs are rounded to f32.
const RANK: f64 = 1e-10;

/// A latent on the features that fire it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatentBlock {
    /// The latent.
    pub latent: usize,
    /// F, the features that fire it (mass 0 left out), two or more.
    pub features: Vec<usize>,
    /// True if no other latent fires on them.
    pub alone: bool,
    /// μ.
    pub mu: f64,
    /// λ_max ≥ μ.
    pub lambda_max: f64,
    /// −2(λ_max − μ) ≤ 0.
    pub curvature: f64,
    /// Σ_F M_d‖r̃_d‖² − μ: the loss on F with the best column.
    pub left: f64,
    /// ‖gradient of μ‖ relative to its terms: 0 where the latent is stationary with its best column.
    pub stationarity: f64,
    /// a, its codes.
    pub codes: Vec<f64>,
    /// The top eigenvector as codes, with Σ_F M_d of their squares as that of `codes`: the escape direction.
    pub escape: Vec<f64>,
    /// True if all codes of the top eigenvector are positive, so that a row of the same cell can have them; else the escape turns features off.
    pub stays: bool,
}

/// The polysemantic latents of a pattern that lists the features and codes of each latent, by decreasing λ_max − μ, and how many there are in all.
pub fn blocks(isolated: &Isolated<'_>, pattern: &[Vec<(usize, f64)>]) -> (Vec<LatentBlock>, usize) {
    let masses = &isolated.features.masses;
    let mut firing = vec![0_usize; masses.len()];
    pattern.iter().flatten().for_each(|(d, _)| firing[*d] += 1);
    let seen = |fired: &[(usize, f64)]| fired.iter().copied().filter(|(d, _)| masses[*d] > 0.0).collect::<Vec<_>>();
    let mut polysemantic: Vec<(usize, Vec<(usize, f64)>)> =
        pattern.iter().enumerate().map(|(i, fired)| (i, seen(fired))).filter(|(_, fired)| fired.len() >= 2).collect();
    let count = polysemantic.len();
    polysemantic.retain(|(_, fired)| fired.len() <= LARGEST);
    let residual = |d: usize| masses[d] * squared(isolated.residuals.col_as_slice(d));
    let carried = |fired: &[(usize, f64)]| fired.iter().map(|(d, _)| residual(*d)).sum::<f64>();
    let mut ranked: Vec<(f64, usize)> = polysemantic.iter().enumerate().map(|(k, (_, f))| (carried(f), k)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.truncate(MOST);
    let mut blocks: Vec<LatentBlock> = ranked
        .par_iter()
        .filter_map(|(_, k)| {
            let (latent, fired) = &polysemantic[*k];
            let alone = fired.iter().all(|(d, _)| firing[*d] == 1);
            block(isolated, *latent, fired, alone)
        })
        .collect();
    blocks.sort_by(|a, b| a.curvature.total_cmp(&b.curvature).then(a.latent.cmp(&b.latent)));
    (blocks, count)
}

/// One latent; none if the eigenvalues of its features are not found.
fn block(isolated: &Isolated<'_>, latent: usize, fired: &[(usize, f64)], alone: bool) -> Option<LatentBlock> {
    let (m, features) = (fired.len(), isolated.features);
    let roots: Vec<f64> = fired.iter().map(|(d, _)| features.masses[*d].sqrt()).collect();
    let column = isolated.column(latent);
    let target = |(d, z): &(usize, f64)| {
        isolated.residuals.col_as_slice(*d).iter().zip(&column).map(|(e, v)| e + z * v).collect::<Vec<f64>>()
    };
    let targets: Vec<Vec<f64>> = fired.iter().map(target).collect();
    let inner = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    // D^½ G D^½, and the same of the inputs
    let H = Mat::from_fn(m, m, |j, k| roots[j] * roots[k] * inner(&targets[j], &targets[k]));
    let input = |k: usize| features.P.col_as_slice(fired[k].0);
    let K = Mat::from_fn(m, m, |j, k| roots[j] * roots[k] * inner(input(j), input(k)));
    let reach = K.self_adjoint_eigen(Side::Lower).ok()?;
    let values = reach.S().column_vector();
    // ascending
    let first = (0..m).find(|k| values[*k] > RANK * values[m - 1])?;
    let T = reach.U().subcols(first, m - first).to_owned();
    let compressed = T.transpose() * &H * &T;
    let eigen = compressed.self_adjoint_eigen(Side::Lower).ok()?;
    let lambda = eigen.S().column_vector()[m - first - 1];
    let top: Vec<f64> = {
        let y = eigen.U().col(m - first - 1).to_owned();
        let mut top: Vec<f64> = (&T * &y).iter().copied().collect();
        // A sign that does not depend on rounding: the first of the largest entries is positive.
        let largest = top.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        let sign = top.iter().find(|x| x.abs() >= (1.0 - 1e-9) * largest).map_or(1.0, |x| x.signum());
        top.iter_mut().for_each(|x| *x *= sign);
        top
    };
    let b: Vec<f64> = fired.iter().zip(&roots).map(|((_, z), root)| root * z).collect();
    let length = squared(&b);
    let Hb: Vec<f64> = (0..m).map(|j| (0..m).map(|k| H[(j, k)] * b[k]).sum()).collect();
    let mu = inner(&b, &Hb) / length;
    let slope: Vec<f64> = Hb.iter().zip(&b).map(|(h, b)| h - mu * b).collect();
    let reachable: f64 = T.col_iter().map(|t| t.iter().zip(&slope).map(|(t, s)| t * s).sum::<f64>().powi(2)).sum();
    let scale = squared(&Hb).sqrt();
    let total: f64 = (0..m).map(|k| H[(k, k)]).sum();
    // Biases can give codes that no row alone has, with a μ above the top eigenvalue of those that rows have.
    let lambda_max = lambda.max(mu);
    Some(LatentBlock {
        latent,
        features: fired.iter().map(|(d, _)| *d).collect(),
        alone,
        mu,
        lambda_max,
        curvature: -2.0 * (lambda_max - mu),
        left: total - mu,
        stationarity: if scale > 0.0 { reachable.sqrt() / scale } else { 0.0 },
        codes: fired.iter().map(|(_, z)| *z).collect(),
        escape: top.iter().zip(&roots).map(|(x, root)| x / root * length.sqrt()).collect(),
        stays: top.iter().all(|x| *x > 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::super::planted;
    use super::*;
    use crate::sdl::Activation;
    use crate::theory::loss::Weights;

    fn one(masses: [f64; 2], g: f64, w: [f64; 2], v: [f64; 2]) -> LatentBlock {
        let (features, weights) = planted::pair(g, masses, w, v);
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let (blocks, count) = blocks(&isolated, &isolated.pattern(0.0));
        assert_eq!((blocks.len(), count), (1, 1));
        blocks[0].clone()
    }

    #[test]
    fn two_features_with_a_negative_product_are_a_saddle_with_the_curvature_of_the_criterion() {
        // M = 1, G = (1, g; g, 1): the positive eigenvector (1, 1) has μ = 1 + g, the other one 1 − g. Inputs are the axes.
        let g = -0.25;
        let block = one([1.0, 1.0], g, [1.0, 1.0], [0.0, 0.0]);
        let close = |x: f64, y: f64| (x - y).abs() < 1e-6;
        assert!(
            close(block.mu, 1.0 + g) && close(block.lambda_max, 1.0 - g) && close(block.left, 1.0 - g),
            "{block:?}"
        );
        assert!(close(block.curvature, 4.0 * g) && block.stationarity < 1e-6 && block.alone && !block.stays);
        assert!(close(block.escape[0], 1.0) && close(block.escape[1], -1.0), "{block:?}");
        // The loss itself along the escape direction, with the best column at each row.
        let (features, weights) = planted::pair(g, [1.0, 1.0], [1.0, 1.0], [0.0, 0.0]);
        let loss = features.approximate_loss(0.0).unwrap();
        let at = |t: f64| {
            let W = faer::Mat::from_fn(1, 2, |_, k| weights.W[(0, k)] + t * block.escape[k]);
            let V = loss.decoder_step(W.as_ref()).unwrap().V;
            loss.value(&Weights { V, W }).unwrap()
        };
        let step = 1e-3;
        let measured = (at(step) - 2.0 * at(0.0) + at(-step)) / (step * step);
        // The fourth derivative contributes of order step²; the escape direction is rounded to f32.
        assert!((measured - block.curvature).abs() < 1e-4, "{measured} {}", block.curvature);
    }

    #[test]
    fn two_features_with_a_positive_product_are_a_minimum_of_their_cell() {
        // D^½ G D^½ with M = (1, 4) and G = (1, ½; ½, 1) is (1, 1; 1, 4): λ = (5 ± √13)/2.
        let top = (5.0 + 13f64.sqrt()) / 2.0;
        // b = (1, λ − 1), a = D^{−½} b
        let block = one([1.0, 4.0], 0.5, [1.0, (top - 1.0) / 2.0], [0.0, 0.0]);
        assert!((block.mu - top).abs() < 1e-6 && block.curvature > -1e-6 && block.stays, "{block:?}");
        assert!((block.left - (5.0 - top)).abs() < 1e-6 && block.stationarity < 1e-6);
        assert!((block.escape[1] / block.escape[0] - (top - 1.0) / 2.0).abs() < 1e-6);
        let off = one([1.0, 4.0], 0.5, [1.0, 1.0], [0.0, 0.0]);
        // μ at a = (1, 1): (1 + 2·2·½·2 + 16)/... by hand: aᵀDGDa = 1 + 4·½·2 + 16 = 21, aᵀDa = 5
        assert!((off.mu - 21.0 / 5.0).abs() < 1e-6 && off.stationarity > 0.01 && off.mu < off.lambda_max);
    }

    #[test]
    fn the_column_at_hand_does_not_change_what_the_best_one_is_worth() {
        let (first, second) =
            (one([1.0, 2.0], 0.3, [1.0, 0.5], [0.0, 0.0]), one([1.0, 2.0], 0.3, [1.0, 0.5], [0.7, -0.2]));
        // r̃_d = e_d + z_d v = r_d whatever v is
        assert!((first.mu - second.mu).abs() < 1e-6 && (first.lambda_max - second.lambda_max).abs() < 1e-6);
    }

    #[test]
    fn inputs_that_depend_on_each_other_limit_what_a_row_can_do() {
        // Two equal inputs with orthogonal targets: a row has one code for both, so μ = (M_1 + M_2)/2 in units of ‖r‖² is all there is.
        let features = super::super::features::KnownFeatures {
            P: faer::Mat::from_fn(2, 2, |k, _| if k == 0 { 1.0 } else { 0.0 }),
            R: faer::Mat::identity(2, 2),
            masses: vec![1.0, 1.0],
            names: None,
        };
        let weights = Weights { W: faer::Mat::from_fn(1, 2, |_, _| 1.0), V: faer::Mat::zeros(2, 1) };
        let model = planted::model(&weights, Activation::Relu);
        let isolated = Isolated::of(&model, &features);
        let (blocks, _) = blocks(&isolated, &isolated.pattern(0.0));
        assert!((blocks[0].mu - 1.0).abs() < 1e-6 && (blocks[0].lambda_max - 1.0).abs() < 1e-6, "{blocks:?}");
    }
}
