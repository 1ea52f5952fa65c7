//! Exact linear algebra over an ordered field; a matrix is a list of rows.

use super::domain::Domain;
use super::elimination::{Echelon, pivot_columns, reduced_echelon};
use super::field::OrderedField;

pub use super::definite::{is_positive_definite, is_positive_definite_in, is_positive_semidefinite};

type DomainElem<F> = <<F as OrderedField>::Domain as Domain>::Elem;

/// The rows as rows of the domain, each scaled by a positive rational and freed of common integer factors.
fn integral_rows<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>]) -> Vec<Vec<DomainElem<F>>> {
    rows.iter()
        .map(|row| {
            let (mut integral, _) = field.integral(row);
            field.domain().strip_content(&mut integral);
            integral
        })
        .collect()
}

fn echelon<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>], columns: usize) -> Echelon<DomainElem<F>> {
    reduced_echelon(field.domain(), integral_rows(field, rows), columns)
}

/// The rank.
pub fn rank<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>]) -> usize {
    independent_columns(field, rows).len()
}

/// The first columns (in order) that are independent and span the column space.
pub fn independent_columns<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    pivot_columns(field.domain(), integral_rows(field, rows), columns)
}

/// The reduced row echelon form without its zero rows, and the column of each row's leading 1.
pub fn rref<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>]) -> (Vec<Vec<F::Elem>>, Vec<usize>) {
    let columns = rows.first().map_or(0, Vec::len);
    let Echelon { rows, pivots, denominator, .. } = echelon(field, rows, columns);
    // One call, so that a number field inverts the denominator once.
    let all: Vec<_> = rows.into_iter().flatten().collect();
    let quotients = field.quotients(&all, &denominator);
    let reduced = if columns == 0 { Vec::new() } else { quotients.chunks(columns).map(<[_]>::to_vec).collect() };
    (reduced, pivots)
}

/// A basis of {x : rows·x = 0} in dimension `columns`; the vector of a free column has a 1 there and 0 in the other free ones.
pub fn nullspace<F: OrderedField>(field: &F, rows: &[Vec<F::Elem>], columns: usize) -> Vec<Vec<F::Elem>> {
    let Echelon { rows, pivots, denominator, .. } = echelon(field, rows, columns);
    let free: Vec<usize> = (0..columns).filter(|c| !pivots.contains(c)).collect();
    let negated: Vec<_> = free.iter().flat_map(|&c| rows.iter().map(move |r| field.domain().neg(&r[c]))).collect();
    let entries = field.quotients(&negated, &denominator);
    free.iter()
        .enumerate()
        .map(|(k, &c)| {
            let mut vector = vec![field.zero(); columns];
            vector[c] = field.one();
            for (r, &p) in pivots.iter().enumerate() {
                vector[p] = entries[k * pivots.len() + r].clone();
            }
            vector
        })
        .collect()
}

/// A solution of A x = b (the free variables are 0), or `None`. With no equations the solution has no entries.
pub fn solve<F: OrderedField>(field: &F, A: &[Vec<F::Elem>], b: &[F::Elem]) -> Option<Vec<F::Elem>> {
    let columns = A.first().map_or(0, Vec::len);
    let augmented: Vec<Vec<F::Elem>> =
        A.iter().zip(b).map(|(row, rhs)| row.iter().chain([rhs]).cloned().collect()).collect();
    let Echelon { rows, pivots, denominator, rest } = echelon(field, &augmented, columns);
    if rest.iter().any(|row| field.domain().sign(&row[columns]) != 0) {
        return None;
    }
    let rhs: Vec<_> = rows.iter().map(|row| row[columns].clone()).collect();
    let mut x = vec![field.zero(); columns];
    for (&p, value) in pivots.iter().zip(field.quotients(&rhs, &denominator)) {
        x[p] = value;
    }
    Some(x)
}

/// A x.
pub fn mat_vec<F: OrderedField>(field: &F, A: &[Vec<F::Elem>], x: &[F::Elem]) -> Vec<F::Elem> {
    A.iter().map(|row| field.dot(row, x)).collect()
}

/// A B.
pub fn mat_mul<F: OrderedField>(field: &F, A: &[Vec<F::Elem>], B: &[Vec<F::Elem>]) -> Vec<Vec<F::Elem>> {
    let columns = transpose(B);
    A.iter().map(|row| mat_vec(field, &columns, row)).collect()
}

/// Aᵀ. A matrix without rows has the transpose without rows.
pub fn transpose<E: Clone>(A: &[Vec<E>]) -> Vec<Vec<E>> {
    let columns = A.first().map_or(0, Vec::len);
    (0..columns).map(|j| A.iter().map(|row| row[j].clone()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::field::Rationals;
    use crate::exact::rational::{Rational, sign, to_f64};
    use proptest::prelude::*;

    fn matrix(entries: &[i64], columns: usize) -> Vec<Vec<Rational>> {
        entries.chunks(columns).map(|row| row.iter().map(|&v| Rational::from(v)).collect()).collect()
    }

    /// A product of an m×r and an r×n matrix of small fractions: rank at most r, often less than min(m, n).
    fn low_rank() -> impl Strategy<Value = Vec<Vec<Rational>>> {
        (1usize..6, 0usize..5, 1usize..6).prop_flat_map(|(m, r, n)| {
            let entries = |count| prop::collection::vec((-4i64..5, 1u64..5), count);
            (entries(m * r), entries(r * n)).prop_map(move |(left, right)| {
                let q = |e: (i64, u64)| Rational::from_parts(e.0.into(), e.1.into());
                (0..m)
                    .map(|i| {
                        (0..n)
                            .map(|j| (0..r).fold(Rational::ZERO, |s, k| s + q(left[i * r + k]) * q(right[k * n + j])))
                            .collect()
                    })
                    .collect()
            })
        })
    }

    fn as_nalgebra(rows: &[Vec<Rational>]) -> nalgebra::DMatrix<f64> {
        nalgebra::DMatrix::from_fn(rows.len(), rows[0].len(), |i, j| to_f64(&rows[i][j]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn the_rank_is_that_of_the_singular_values(rows in low_rank()) {
            // Entries are fractions with denominators up to 144 and numerators up to 320, so non-zero singular values
            // of these at most 5×5 matrices stay above 1e-9 of the largest.
            prop_assert_eq!(rank(&Rationals, &rows), as_nalgebra(&rows).rank(1e-9));
        }

        #[test]
        fn nullspace_vectors_are_null_and_as_many_as_rank_allows(rows in low_rank()) {
            let columns = rows[0].len();
            let basis = nullspace(&Rationals, &rows, columns);
            prop_assert_eq!(basis.len(), columns - rank(&Rationals, &rows));
            for vector in &basis {
                prop_assert!(mat_vec(&Rationals, &rows, vector).iter().all(|v| v.is_zero()));
            }
            prop_assert_eq!(rank(&Rationals, &basis), basis.len());
        }

        #[test]
        fn the_reduced_form_has_unit_pivots_and_the_same_row_space(rows in low_rank()) {
            let (reduced, pivots) = rref(&Rationals, &rows);
            for (r, &p) in pivots.iter().enumerate() {
                for (k, row) in reduced.iter().enumerate() {
                    prop_assert_eq!(&row[p], &Rational::from(i64::from(k == r)));
                }
                prop_assert!(reduced[r][..p].iter().all(|v| v.is_zero()));
            }
            let both: Vec<_> = rows.iter().chain(&reduced).cloned().collect();
            prop_assert_eq!(rank(&Rationals, &both), pivots.len());
            prop_assert_eq!(reduced.len(), pivots.len());
        }

        #[test]
        fn a_consistent_system_is_solved_and_an_inconsistent_one_is_refused(
            rows in low_rank(),
            x in prop::collection::vec(-9i64..9, 5),
            shift in 1i64..9,
        ) {
            let x: Vec<Rational> = x[..rows[0].len()].iter().map(|&v| v.into()).collect();
            let mut b = mat_vec(&Rationals, &rows, &x);
            let found = solve(&Rationals, &rows, &b).expect("x is a solution");
            prop_assert_eq!(mat_vec(&Rationals, &rows, &found), b.clone());
            // A left null vector y with y·b ≠ 0 proves inconsistency.
            for y in nullspace(&Rationals, &transpose(&rows), rows.len()) {
                let pivot = y.iter().position(|v| !v.is_zero()).unwrap();
                b[pivot] += Rational::from(shift);
                prop_assert_eq!(sign(&Rationals.dot(&y, &b)).abs(), 1);
                prop_assert!(solve(&Rationals, &rows, &b).is_none());
                b[pivot] -= Rational::from(shift);
            }
        }

        #[test]
        fn independent_columns_are_a_basis_of_all(rows in low_rank()) {
            let chosen = independent_columns(&Rationals, &rows);
            let columns = transpose(&rows);
            let basis: Vec<_> = chosen.iter().map(|&c| columns[c].clone()).collect();
            prop_assert_eq!(rank(&Rationals, &basis), chosen.len());
            prop_assert_eq!(rank(&Rationals, &columns), chosen.len());
        }

        #[test]
        fn products_agree_with_floating_point(rows in low_rank()) {
            let product = mat_mul(&Rationals, &transpose(&rows), &rows);
            let expected = as_nalgebra(&rows).transpose() * as_nalgebra(&rows);
            for (i, row) in product.iter().enumerate() {
                for (j, value) in row.iter().enumerate() {
                    // Sums of five products below 1e5, each rounded at 2^-53.
                    prop_assert!((to_f64(value) - expected[(i, j)]).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn close_rows_of_many_digits_are_told_apart() {
        let tiny = crate::exact::rational::parse("1e-40").unwrap();
        let mut rows = matrix(&[1, 2, 2, 4], 2);
        assert_eq!(rank(&Rationals, &rows), 1);
        rows[1][1] += tiny;
        assert_eq!(rank(&Rationals, &rows), 2);
    }

    #[test]
    fn empty_systems_have_the_full_nullspace() {
        assert_eq!(nullspace(&Rationals, &[], 3).len(), 3);
        assert_eq!(rank(&Rationals, &[]), 0);
        assert_eq!(solve(&Rationals, &matrix(&[0, 0], 2), &[Rational::ONE]), None);
    }
}
