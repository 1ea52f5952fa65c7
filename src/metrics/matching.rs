//! Mean cosine under the best one-to-one assignment of latents to features (MCC).
//!
//! Where the best match of [`recovery`](super::recovery) lets one latent serve many features, an assignment uses each
//! latent once.
//!
//! # References
//! * R. Jonker and A. Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear assignment
//!   problems", doi 10.1007/BF02278710.
//! * D. F. Crouse 2016, "On implementing 2D rectangular assignment algorithms", doi 10.1109/TAES.2016.140952.

use super::latents::kept;
use super::similarity::{Comparison, Sign, SimilarityError, Vectors};
use faer::Mat;
use serde::{Deserialize, Serialize};

/// The one-to-one assignment of min(rows, columns) pairs (row, column) with the largest sum of values, which must be
/// finite; pairs stand by increasing column.
///
/// With r = min and c = max of the two sizes it takes O(r² c) steps at most: r shortest paths in the reduced costs,
/// each of which ends at the first free partner.
pub fn assign(values: &Mat<f32>) -> Vec<(usize, usize)> {
    if values.ncols() <= values.nrows() {
        return shortest_paths(values).into_iter().enumerate().map(|(column, row)| (row, column)).collect();
    }
    let transposed = values.transpose().to_owned();
    let mut pairs: Vec<_> = shortest_paths(&transposed).into_iter().enumerate().collect();
    pairs.sort_by_key(|pair| pair.1);
    pairs
}

/// The row of each column; there are at least as many rows. Potentials u of columns and v of rows keep all reduced
/// costs −value − u − v ≥ 0, and those of assigned pairs 0, so that the assignment is optimal among as many columns as
/// have been treated.
fn shortest_paths(values: &Mat<f32>) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let (rows, columns) = (values.nrows(), values.ncols());
    let (mut u, mut v) = (vec![0.0_f64; columns], vec![0.0_f64; rows]);
    let (mut column_of, mut row_of) = (vec![NONE; rows], vec![NONE; columns]);
    let (mut distance, mut before) = (vec![f64::INFINITY; rows], vec![NONE; rows]);
    let mut open = Vec::with_capacity(rows);
    for start in 0..columns {
        // Dijkstra's algorithm from `start` to the nearest free row.
        distance.fill(f64::INFINITY);
        open.clear();
        open.extend(0..rows);
        let mut settled = Vec::new();
        let (mut column, mut reached) = (start, 0.0);
        let end = loop {
            let gains = values.col_as_slice(column);
            let base = reached - u[column];
            let (mut least, mut slot, mut nearest) = (f64::INFINITY, 0, NONE);
            for (k, &i) in open.iter().enumerate() {
                let through = base - f64::from(gains[i]) - v[i];
                if through < distance[i] {
                    (distance[i], before[i]) = (through, column);
                }
                // Among equals a free row, then the lower one: the order of `open` must not matter.
                let ahead = distance[i] == least
                    && (column_of[i] != NONE, i) < (nearest != NONE && column_of[nearest] != NONE, nearest);
                if distance[i] < least || ahead {
                    (least, slot, nearest) = (distance[i], k, i);
                }
            }
            reached = least;
            open.swap_remove(slot);
            if column_of[nearest] == NONE {
                break nearest;
            }
            settled.push(nearest);
            column = column_of[nearest];
        };
        u[start] += reached;
        for &i in &settled {
            let slack = reached - distance[i];
            u[column_of[i]] += slack;
            v[i] -= slack;
        }
        // Every column of the path moves on to the next row.
        let mut row = end;
        loop {
            let column = before[row];
            column_of[row] = column;
            std::mem::swap(&mut row_of[column], &mut row);
            if column == start {
                break;
            }
        }
    }
    row_of
}

/// MCC with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mcc {
    /// The mean cosine of the assigned pairs: absolute, or signed.
    pub mean: f64,
    /// min(n, n_q).
    pub pairs: usize,
}

/// The mean cosine of min(n, n_q) pairs of a latent and a feature, assigned so that their sum is largest; absent
/// without pairs. The assignment is optimal for cosines in f32, n·n_q of which are held in memory twice; the mean is of
/// cosines in f64.
///
/// # Errors
/// Different dimensions, or numbers that are not finite.
pub fn mcc(learned: Vectors<'_>, truth: Vectors<'_>, sign: Sign) -> Result<Option<Mcc>, SimilarityError> {
    mcc_without(learned, truth, sign, &[], &[])
}

/// The same without some latents and some features.
///
/// # Errors
/// The same.
pub fn mcc_without(
    learned: Vectors<'_>,
    truth: Vectors<'_>,
    sign: Sign,
    latents: &[u32],
    features: &[u32],
) -> Result<Option<Mcc>, SimilarityError> {
    let comparison = Comparison::new(learned, truth)?;
    let numbers = |count: usize, left_out: &[u32]| -> Vec<usize> {
        kept(count, left_out).into_iter().enumerate().filter(|(_, kept)| *kept).map(|(number, _)| number).collect()
    };
    let latents = numbers(comparison.latents(), latents);
    let features = numbers(comparison.features(), features);
    let panels = comparison.panels(|panel| panel);
    let rows: Vec<&[f32]> = panels.iter().flat_map(|panel| panel.latents().map(|(_, cosines)| cosines)).collect();
    let values = Mat::from_fn(latents.len(), features.len(), |i, d| sign.of_f32(rows[latents[i]][features[d]]));
    let pairs = assign(&values);
    let sum: f64 = pairs.iter().map(|&(i, d)| sign.of(comparison.cosine(latents[i], features[d]))).sum();
    Ok((!pairs.is_empty()).then(|| Mcc { mean: sum / pairs.len() as f64, pairs: pairs.len() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::{random_unit, stream};
    use proptest::prelude::*;

    fn total(values: &Mat<f32>, pairs: &[(usize, usize)]) -> f64 {
        pairs.iter().map(|&(i, j)| f64::from(values[(i, j)])).sum()
    }

    /// The best of all one-to-one assignments of the columns from `column` on, where all must be assigned.
    fn brute_force(values: &Mat<f32>, column: usize, taken: &mut Vec<bool>) -> f64 {
        if column == values.ncols() {
            return 0.0;
        }
        let mut best = f64::NEG_INFINITY;
        for i in 0..values.nrows() {
            if !taken[i] {
                taken[i] = true;
                best = best.max(f64::from(values[(i, column)]) + brute_force(values, column + 1, taken));
                taken[i] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn the_assignment_is_the_best_of_all(
            rows in 1..8_usize,
            columns in 1..7_usize,
            numbers in prop::collection::vec(-4..=4_i8, 56),
            fine: bool,
        ) {
            // Few different values make many ties.
            let scale = if fine { 0.37 } else { 1.0 };
            let values = Mat::from_fn(rows, columns, |i, j| f32::from(numbers[7 * i.min(7) + j % 7]) * scale);
            let pairs = assign(&values);
            prop_assert_eq!(pairs.len(), rows.min(columns));
            for side in [pairs.iter().map(|p| p.0).collect::<Vec<_>>(), pairs.iter().map(|p| p.1).collect()] {
                let distinct: std::collections::BTreeSet<_> = side.iter().collect();
                prop_assert_eq!(distinct.len(), pairs.len());
            }
            let tall = if columns <= rows { values.clone() } else { values.transpose().to_owned() };
            let best = brute_force(&tall, 0, &mut vec![false; tall.nrows()]);
            // At most 7 additions of numbers below 4.
            prop_assert!((total(&values, &pairs) - best).abs() < 1e-13, "{} {}", total(&values, &pairs), best);
        }
    }

    #[test]
    fn features_hidden_among_latents_are_assigned_to_themselves() {
        // Negative multiples of the features stand at scattered places among random latents.
        let (n, n_q, dimension) = (60, 400, 32);
        let truth = random_unit(dimension, n, &mut stream(1, "matching truth"));
        let noise = random_unit(dimension, n_q, &mut stream(1, "matching noise"));
        let truth_rows: Vec<f32> =
            truth.col_iter().flat_map(|c| c.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect();
        let mut learned: Vec<f32> =
            noise.col_iter().flat_map(|c| c.iter().map(|x| *x as f32).collect::<Vec<_>>()).collect();
        for d in 0..n {
            let at = (d * 37 + 5) % n_q * dimension;
            for k in 0..dimension {
                learned[at + k] = -2.0 * truth_rows[d * dimension + k];
            }
        }
        let (rows, known) =
            (Vectors::rows("learned", &learned, dimension), Vectors::rows("truth", &truth_rows, dimension));
        let found = mcc(rows, known, Sign::Absolute).unwrap().unwrap();
        // Cosines of parallel vectors in f64.
        assert!(found.pairs == n && (found.mean - 1.0).abs() < 1e-14);
        assert!(mcc(rows, known, Sign::Signed).unwrap().unwrap().mean < 0.9);
    }

    #[test]
    fn one_latent_serves_one_feature() {
        // Two features at 60 degrees, one latent on the first and one orthogonal to it.
        let (truth, half) = ([1.0, 0.0, 0.5, 0.75_f32.sqrt()], 0.75_f64.sqrt());
        let known = Vectors::rows("truth", &truth, 2);
        let two = mcc(Vectors::rows("learned", &[3.0, 0.0, 0.0, 1.0], 2), known, Sign::Absolute).unwrap().unwrap();
        assert!((two.mean - (1.0 + half) / 2.0).abs() < 1e-7, "the square root in f32");
        let one = mcc(Vectors::rows("learned", &[3.0, 0.0], 2), known, Sign::Absolute).unwrap().unwrap();
        assert_eq!((one.mean, one.pairs), (1.0, 1));
        assert_eq!(mcc(Vectors::rows("learned", &[], 2), known, Sign::Absolute).unwrap(), None);
    }

    #[test]
    fn latents_and_features_that_are_left_out_are_in_no_pair() {
        // The axes, and latents along the second, the third, the first and between the first two.
        let truth = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
        let learned = [0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0];
        let (rows, known) = (Vectors::rows("learned", &learned, 3), Vectors::rows("truth", &truth, 3));
        let found = |latents: &[u32], features: &[u32]| {
            let mcc = mcc_without(rows, known, Sign::Absolute, latents, features).unwrap();
            mcc.map(|mcc| (mcc.pairs, mcc.mean))
        };
        let near = |found: Option<(usize, f64)>, pairs: usize, mean: f64| {
            // A few roundings of f64.
            assert!(found.is_some_and(|(n, m)| n == pairs && (m - mean).abs() < 1e-15), "{found:?}");
        };
        near(found(&[], &[]), 3, 1.0);
        // The second axis has only the latent between the first two left.
        near(found(&[0], &[]), 3, (1.0 + 0.8 + 1.0) / 3.0);
        near(found(&[0], &[2]), 2, (1.0 + 0.8) / 2.0);
        near(found(&[0, 3], &[0, 2]), 1, 0.0);
        assert_eq!(found(&[0, 1, 2, 3], &[]), None);
        assert_eq!(found(&[], &[0, 1, 2]), None);
    }
}
