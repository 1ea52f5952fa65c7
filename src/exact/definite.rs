//! Definiteness of symmetric matrices, decided by the signs of integer pivots.

use super::algebraic::NumberField;
use super::domain::{Integers, common_multiple, sign};
use super::elimination::leading_minor_signs;
use super::rational::Rational;
use dashu::integer::IBig;

/// Precision at which [`is_positive_definite_in`] gives up.
pub const MAX_PRECISION: usize = 4096;

/// The matrix times the positive common denominator of all its entries.
fn integral(M: &[Vec<Rational>]) -> Vec<Vec<IBig>> {
    let denominator = common_multiple(M.iter().flatten().map(|v| v.denominator()));
    M.iter().map(|row| row.iter().map(|v| v.numerator() * (&denominator / v.denominator())).collect()).collect()
}

fn positive_definite(rows: Vec<Vec<IBig>>) -> bool {
    let size = rows.len();
    let signs = leading_minor_signs(&Integers, rows);
    signs.len() == size && signs.iter().all(|&s| s > 0)
}

/// Is a symmetric matrix positive definite (Sylvester)?
pub fn is_positive_definite(M: &[Vec<Rational>]) -> bool {
    positive_definite(integral(M))
}

/// Is a symmetric matrix positive semidefinite? Pivots are taken from the diagonal in any order; where none is left, the rest must be 0.
pub fn is_positive_semidefinite(M: &[Vec<Rational>]) -> bool {
    let mut rest = integral(M);
    let mut previous = IBig::ONE;
    while !rest.is_empty() {
        if rest.iter().enumerate().any(|(k, row)| sign(&row[k]) < 0) {
            return false;
        }
        let Some(k) = (0..rest.len()).find(|&k| sign(&rest[k][k]) > 0) else {
            return rest.iter().flatten().all(|v| v.is_zero());
        };
        let pivot_row = rest.swap_remove(k);
        // The matrix is symmetric, so columns k and last change places as the rows did.
        let mut ordered = pivot_row.clone();
        let pivot = ordered.swap_remove(k);
        for row in &mut rest {
            let left = row.swap_remove(k);
            for (entry, above) in row.iter_mut().zip(&ordered) {
                *entry = (&*entry * &pivot - &left * above) / &previous;
            }
        }
        previous = pivot;
    }
    true
}

/// Is a symmetric matrix over Q(α) positive definite? `None` when enclosures of 4096 bits leave it open, as they do for every
/// singular positive semidefinite matrix.
///
/// The entries are enclosed in intervals with dyadic centres C and radii R. Every symmetric matrix in them is positive definite
/// if C − diag(Σ_j R_ij) is, because R's row sums bound the spectral norm of the difference row by row (Gershgorin).
pub fn is_positive_definite_in(field: &NumberField, M: &[Vec<Vec<Rational>>]) -> Option<bool> {
    let mut bits = 64;
    while bits <= MAX_PRECISION {
        let enclosures: Vec<Vec<(IBig, IBig)>> =
            M.iter().map(|row| row.iter().map(|entry| field.ball(entry, bits)).collect()).collect();
        let shifted = |direction: i32| -> Vec<Vec<IBig>> {
            let mut centres: Vec<Vec<IBig>> =
                enclosures.iter().map(|row| row.iter().map(|(centre, _)| centre.clone()).collect()).collect();
            for (k, row) in enclosures.iter().enumerate() {
                let radius: IBig = row.iter().map(|(_, radius)| radius).sum();
                centres[k][k] += radius * IBig::from(direction);
            }
            centres
        };
        if positive_definite(shifted(-1)) {
            return Some(true);
        }
        if !positive_definite(shifted(1)) {
            return Some(false);
        }
        bits *= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::field::Rationals;
    use crate::exact::matrix::{mat_mul, transpose};
    use crate::exact::poly::Polynomial;
    use crate::exact::rational::{parse, to_f64};
    use proptest::prelude::*;

    fn symmetric() -> impl Strategy<Value = Vec<Vec<Rational>>> {
        (1usize..6).prop_flat_map(|n| {
            prop::collection::vec((-9i64..10, 1u64..4), n * n).prop_map(move |entries| {
                (0..n)
                    .map(|i| {
                        (0..n)
                            .map(|j| {
                                let (a, b) = entries[i.min(j) * n + i.max(j)];
                                Rational::from_parts((a + if i == j { 12 } else { 0 }).into(), b.into())
                            })
                            .collect()
                    })
                    .collect()
            })
        })
    }

    fn smallest_eigenvalue(M: &[Vec<Rational>]) -> f64 {
        nalgebra::DMatrix::from_fn(M.len(), M.len(), |i, j| to_f64(&M[i][j])).symmetric_eigenvalues().min()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn definiteness_agrees_with_the_smallest_eigenvalue(M in symmetric()) {
            let smallest = smallest_eigenvalue(&M);
            // Eigenvalues of matrices with entries below 25 are computed to about 1e-13; ties are left to the exact tests.
            prop_assume!(smallest.abs() > 1e-9);
            prop_assert_eq!(is_positive_definite(&M), smallest > 0.0);
            prop_assert_eq!(is_positive_semidefinite(&M), smallest > 0.0);
        }

        #[test]
        fn a_gram_matrix_is_semidefinite_and_definite_exactly_at_full_rank(
            entries in prop::collection::vec(-3i64..4, 12), columns in 1usize..6,
        ) {
            let factor: Vec<Vec<Rational>> =
                entries.chunks_exact(columns).map(|row| row.iter().map(|&v| v.into()).collect()).collect();
            let mut gram = mat_mul(&Rationals, &transpose(&factor), &factor);
            let full = crate::exact::matrix::rank(&Rationals, &factor) == columns;
            prop_assert!(is_positive_semidefinite(&gram));
            prop_assert_eq!(is_positive_definite(&gram), full);
            if !full {
                // Lowering the diagonal of a singular matrix by anything makes an eigenvalue negative.
                for (k, row) in gram.iter_mut().enumerate() {
                    row[k] -= parse("1e-30").unwrap();
                }
                prop_assert!(!is_positive_semidefinite(&gram));
            }
        }
    }

    #[test]
    fn a_zero_pivot_with_a_non_zero_row_is_indefinite() {
        let M = [[0, 1], [1, 5]].map(|row| row.map(Rational::from).to_vec());
        assert!(!is_positive_semidefinite(&M));
        let M = [[0, 0], [0, 5]].map(|row| row.map(Rational::from).to_vec());
        assert!(is_positive_semidefinite(&M) && !is_positive_definite(&M));
    }

    #[test]
    fn a_matrix_over_a_number_field_is_decided_down_to_tiny_margins() {
        // α = √2; [[α, 1], [1, 1/α + m]] has determinant α·m.
        let field = NumberField::new(
            &Polynomial::from_integers([-2, 0, 1].map(IBig::from).to_vec()),
            &Rational::ONE,
            &Rational::from(2),
        )
        .unwrap();
        let with_margin = |margin: &str| {
            let corner = vec![parse(margin).unwrap(), parse("1/2").unwrap()];
            let one = vec![Rational::ONE];
            vec![vec![vec![Rational::ZERO, Rational::ONE], one.clone()], vec![one, corner]]
        };
        assert_eq!(is_positive_definite_in(&field, &with_margin("1e-200")), Some(true));
        assert_eq!(is_positive_definite_in(&field, &with_margin("-1e-200")), Some(false));
        assert_eq!(is_positive_definite_in(&field, &with_margin("0")), None);
    }
}
