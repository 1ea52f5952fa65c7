//! Fraction-free Gauss and Jordan elimination (Bareiss 1968).

use super::domain::Domain;

/// A matrix reduced to denominator·x_(pivots[r]) + Σ_(j not a pivot) rows[r][j]·x_j = 0.
#[derive(Debug, Clone)]
pub(crate) struct Echelon<E> {
    /// The rows that hold a pivot. Entries in the pivots' columns are the denominator or 0.
    pub rows: Vec<Vec<E>>,
    /// The column of each row's pivot, increasing.
    pub pivots: Vec<usize>,
    /// The common pivot entry; 1 when there is no pivot.
    pub denominator: E,
    /// The rows without a pivot: 0 in every column that may hold a pivot.
    pub rest: Vec<Vec<E>>,
}

/// Reduces `rows`, with pivots in the first `columns` columns only. Every entry of the result is a minor of `rows`.
pub(crate) fn reduced_echelon<D: Domain>(domain: &D, rows: Vec<Vec<D::Elem>>, columns: usize) -> Echelon<D::Elem> {
    eliminate(domain, rows, columns, true)
}

/// The pivots' columns of `rows`, with pivots in the first `columns` columns only.
pub(crate) fn pivot_columns<D: Domain>(domain: &D, rows: Vec<Vec<D::Elem>>, columns: usize) -> Vec<usize> {
    eliminate(domain, rows, columns, false).pivots
}

fn eliminate<D: Domain>(domain: &D, mut rows: Vec<Vec<D::Elem>>, columns: usize, above: bool) -> Echelon<D::Elem> {
    let mut pivots = Vec::new();
    let mut previous = domain.one();
    for column in 0..columns {
        let rank = pivots.len();
        let Some(found) = (rank..rows.len()).find(|&r| domain.sign(&rows[r][column]) != 0) else { continue };
        rows.swap(rank, found);
        let divisor = domain.divisor(&previous);
        let pivot_row = rows[rank].clone();
        let pivot = &pivot_row[column];
        let (before, after) = rows.split_at_mut(rank);
        let above = before.iter_mut().filter(|_| above);
        for row in above.chain(&mut after[1..]) {
            let left = row[column].clone();
            for (j, entry) in row.iter_mut().enumerate() {
                *entry = if j == column {
                    domain.zero()
                } else {
                    domain.cross(pivot, entry, &left, &pivot_row[j], &divisor)
                };
            }
        }
        previous = pivot_row[column].clone();
        pivots.push(column);
    }
    let rest = rows.split_off(pivots.len());
    Echelon { rows, pivots, denominator: previous, rest }
}

/// The signs of the leading principal minors of a square matrix, up to and including the first that is not positive.
pub(crate) fn leading_minor_signs<D: Domain>(domain: &D, mut rows: Vec<Vec<D::Elem>>) -> Vec<i32> {
    let size = rows.len();
    let mut previous = domain.one();
    let mut signs = Vec::with_capacity(size);
    for k in 0..size {
        signs.push(domain.sign(&rows[k][k]));
        if signs[k] <= 0 {
            break;
        }
        let divisor = domain.divisor(&previous);
        let pivot_row = rows[k].clone();
        for row in rows.iter_mut().skip(k + 1) {
            let left = row[k].clone();
            for j in k + 1..size {
                row[j] = domain.cross(&pivot_row[k], &row[j], &left, &pivot_row[j], &divisor);
            }
        }
        previous = pivot_row[k].clone();
    }
    signs
}
