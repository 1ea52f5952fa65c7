//! The Cholesky factor of a Gram matrix that gains and loses columns.

use super::dictionary::coding::Scalar;

/// L with L Lᵀ = G_AA, rows packed one after the other.
#[derive(Debug, Clone)]
pub(super) struct Factor<T> {
    size: usize,
    rows: Vec<T>,
}

impl<T: Scalar> Default for Factor<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Scalar> Factor<T> {
    /// Of the matrix with these rows, of which the lower triangle is read; `None` if it is not positive definite beyond rounding.
    pub fn of(rows: &[Vec<T>]) -> Option<Self> {
        let mut factor = Self::new();
        let whole = rows.iter().enumerate().all(|(i, row)| factor.append(row[..=i].iter().copied()));
        whole.then_some(factor)
    }

    /// The solution of L Lᵀ x = b.
    pub fn solved(&self, b: &[T]) -> Vec<T> {
        let mut x = b.to_vec();
        self.solve(&mut x);
        x
    }

    /// Of no atoms.
    pub fn new() -> Self {
        Self { size: 0, rows: Vec::new() }
    }

    fn row(&self, i: usize) -> &[T] {
        &self.rows[i * (i + 1) / 2..(i + 1) * (i + 2) / 2]
    }

    /// Keeps the first atoms only.
    pub fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
        self.rows.truncate(self.size * (self.size + 1) / 2);
    }

    /// Adds an atom with these products with the atoms that are there, the last one being with itself. False, and nothing is added, if it depends on
    /// them up to rounding: the square of its distance from their span is at most 64·size·ε of its own.
    pub fn append(&mut self, products: impl IntoIterator<Item = T>) -> bool {
        let start = self.rows.len();
        self.rows.extend(products);
        debug_assert_eq!(self.rows.len(), start + self.size + 1);
        let (before, new) = self.rows.split_at_mut(start);
        let mut pivot = new[self.size];
        let least = T::of(64.0 * (self.size + 1) as f64) * T::EPSILON * pivot;
        for j in 0..self.size {
            let row = &before[j * (j + 1) / 2..(j + 1) * (j + 2) / 2];
            let mut x = new[j];
            for (l, y) in row[..j].iter().zip(&new[..j]) {
                x -= *l * *y;
            }
            new[j] = x / row[j];
            pivot -= new[j] * new[j];
        }
        // Also refuses NaN.
        if !(pivot > least && pivot > T::ZERO) {
            self.rows.truncate(start);
            return false;
        }
        new[self.size] = pivot.sqrt();
        self.size += 1;
        true
    }

    /// x ← (L Lᵀ)⁻¹ x.
    pub fn solve(&self, x: &mut [T]) {
        for i in 0..self.size {
            let row = self.row(i);
            let mut y = x[i];
            for (l, x) in row[..i].iter().zip(&*x) {
                y -= *l * *x;
            }
            x[i] = y / row[i];
        }
        for i in (0..self.size).rev() {
            let row = self.row(i);
            x[i] = x[i] / row[i];
            let y = x[i];
            for (l, x) in row[..i].iter().zip(&mut *x) {
                *x -= *l * y;
            }
        }
    }
}
