//! The characteristic polynomial and the adjugate of tI − K (Faddeev, Le Verrier), on integers.

use super::domain::{common_multiple, dot};
use super::poly::Polynomial;
use super::rational::Rational;
use dashu::integer::{IBig, UBig};

/// An integer matrix A and a denominator δ with K = A/δ.
fn over_common_denominator(K: &[Vec<Rational>]) -> (Vec<Vec<IBig>>, UBig) {
    let denominator = common_multiple(K.iter().flatten().map(|v| v.denominator()));
    let rows =
        K.iter().map(|row| row.iter().map(|v| v.numerator() * (&denominator / v.denominator())).collect()).collect();
    (rows, denominator)
}

/// The coefficients of det(sI − A), constant first, with a trailing 1.
fn integer_coefficients(A: &[Vec<IBig>]) -> Vec<IBig> {
    let n = A.len();
    let mut coefficients = vec![IBig::ZERO; n + 1];
    coefficients[n] = IBig::ONE;
    // Columns of N_k, where adj(sI − A) = Σ s^(n−k) N_k: N_1 = I, N_(k+1) = A N_k + c_(n−k) I, c_(n−k) = −tr(A N_k)/k.
    let unit = |i: usize| -> Vec<IBig> { (0..n).map(|j| if i == j { IBig::ONE } else { IBig::ZERO }).collect() };
    let mut columns: Vec<Vec<IBig>> = (0..n).map(unit).collect();
    for k in 1..=n {
        for column in &mut columns {
            *column = A.iter().map(|row| dot(row, column)).collect();
        }
        let trace: IBig = (0..n).map(|i| &columns[i][i]).sum();
        let coefficient = -trace / IBig::from(k);
        for (i, column) in columns.iter_mut().enumerate() {
            column[i] += &coefficient;
        }
        coefficients[n - k] = coefficient;
    }
    coefficients
}

/// det(tI − K) for a square matrix K; 1 for the matrix without rows.
pub fn characteristic_polynomial(K: &[Vec<Rational>]) -> Polynomial {
    let (A, denominator) = over_common_denominator(K);
    let n = A.len();
    // With s = δt: det(tI − A/δ) = δ^-n det(sI − A).
    let scaled = integer_coefficients(&A).into_iter().enumerate().map(|(k, c)| c * denominator.pow(k)).collect();
    Polynomial::over(scaled, denominator.pow(n))
}

/// Column j of adj(tI − K), so that (tI − K)·column = det(tI − K)·e_j, for a square matrix K and j below its size.
///
/// At an eigenvalue of K of multiplicity one the columns span the eigenspace.
pub fn adjugate_column(K: &[Vec<Rational>], j: usize) -> Vec<Polynomial> {
    let (A, denominator) = over_common_denominator(K);
    let n = A.len();
    let coefficients = integer_coefficients(&A);
    // With s = δt: adj(tI − A/δ) = δ^(1−n) Σ s^(n−k) N_k.
    let mut entries = vec![vec![IBig::ZERO; n]; n];
    let mut column: Vec<IBig> = (0..n).map(|i| if i == j { IBig::ONE } else { IBig::ZERO }).collect();
    for k in 1..=n {
        let scale = denominator.pow(n - k);
        for (entry, value) in entries.iter_mut().zip(&column) {
            entry[n - k] = value * &scale;
        }
        column = A.iter().map(|row| dot(row, &column)).collect();
        column[j] += &coefficients[n - k];
    }
    entries.into_iter().map(|entry| Polynomial::over(entry, denominator.pow(n - 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::field::Rationals;
    use crate::exact::matrix::{mat_mul, mat_vec, rank};
    use crate::exact::rational::to_f64;
    use proptest::prelude::*;

    fn square() -> impl Strategy<Value = Vec<Vec<Rational>>> {
        (1usize..6).prop_flat_map(|n| {
            prop::collection::vec((-9i64..10, 1u64..6), n * n).prop_map(move |entries| {
                entries
                    .chunks(n)
                    .map(|row| row.iter().map(|&(a, b)| Rational::from_parts(a.into(), b.into())).collect())
                    .collect()
            })
        })
    }

    proptest! {
        #[test]
        fn a_matrix_is_a_root_of_its_characteristic_polynomial(K in square()) {
            let f = characteristic_polynomial(&K);
            let n = K.len();
            let mut sum = vec![vec![Rational::ZERO; n]; n];
            for c in f.coeffs().into_iter().rev() {
                sum = mat_mul(&Rationals, &sum, &K);
                for (i, row) in sum.iter_mut().enumerate() {
                    row[i] += &c;
                }
            }
            prop_assert!(sum.iter().flatten().all(|v| v.is_zero()));
            prop_assert_eq!((f.degree(), f.leading()), (n, Rational::ONE));
        }

        #[test]
        fn the_value_is_the_determinant(K in square(), t in -5i64..5) {
            let n = K.len();
            let float = nalgebra::DMatrix::from_fn(n, n, |i, j| f64::from(u8::from(i == j)) * t as f64 - to_f64(&K[i][j]));
            // Up to 5! products of five numbers below 14, each rounded at 2^-53: errors below 1e-7.
            prop_assert!((to_f64(&characteristic_polynomial(&K).eval(&t.into())) - float.determinant()).abs() < 1e-7);
        }

        #[test]
        fn the_matrix_times_its_adjugate_is_the_determinant(K in square(), t in -5i64..5) {
            let n = K.len();
            let t = Rational::from_parts(t.into(), 3u8.into());
            let shifted: Vec<Vec<Rational>> = (0..n)
                .map(|i| (0..n).map(|j| if i == j { &t - &K[i][j] } else { -K[i][j].clone() }).collect())
                .collect();
            let determinant = characteristic_polynomial(&K).eval(&t);
            for j in 0..n {
                let column: Vec<Rational> = adjugate_column(&K, j).iter().map(|p| p.eval(&t)).collect();
                let mut expected = vec![Rational::ZERO; n];
                expected[j] = determinant.clone();
                prop_assert_eq!(mat_vec(&Rationals, &shifted, &column), expected);
                if determinant.is_zero() {
                    prop_assert!(rank(&Rationals, &shifted) < n);
                }
            }
        }
    }

    #[test]
    fn the_empty_matrix_has_the_polynomial_one() {
        assert_eq!(characteristic_polynomial(&[]), Polynomial::constant(Rational::ONE));
    }
}
