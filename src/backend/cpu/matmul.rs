//! Dense products of f32 matrices by the `gemm` crate, on one thread: callers run fixed blocks in parallel, so that the order of every sum is
//! fixed whatever the number of threads.

#![allow(unsafe_code)]

/// A matrix in a slice: entry (i, j) stands at i·row + j·column.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Distance between rows.
    pub row: usize,
    /// Distance between columns.
    pub column: usize,
}

impl Layout {
    /// Rows one after the other.
    pub fn by_rows(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row: columns, column: 1 }
    }

    /// The transpose of the same numbers.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row }
    }

    fn fits(self, length: usize) -> bool {
        self.rows == 0 || self.columns == 0 || (self.rows - 1) * self.row + (self.columns - 1) * self.column < length
    }

    /// Different entries stand at different places.
    fn is_injective(self) -> bool {
        let (inner, outer, count) = match self.column <= self.row {
            true => (self.column, self.row, self.columns),
            false => (self.row, self.column, self.rows),
        };
        self.rows <= 1 && self.columns <= 1 || inner > 0 && (count.saturating_sub(1) * inner < outer)
    }
}

/// C ← A·B, or C ← C + A·B.
///
/// # Panics
/// If shapes do not match or a matrix is longer than its slice.
pub fn product(c: (&mut [f32], Layout), a: (&[f32], Layout), b: (&[f32], Layout), accumulate: bool) {
    let ((c, c_at), (a, a_at), (b, b_at)) = (c, a, b);
    assert!(a_at.columns == b_at.rows && a_at.rows == c_at.rows && b_at.columns == c_at.columns, "shapes of a product");
    assert!(c_at.fits(c.len()) && a_at.fits(a.len()) && b_at.fits(b.len()), "matrices within their slices");
    assert!(c_at.is_injective(), "the entries of the result are distinct");
    // SAFETY: by the assertions every entry that is read or written lies in its slice; C is borrowed mutably, so it overlaps neither A nor B.
    unsafe {
        gemm::gemm(
            c_at.rows,
            c_at.columns,
            a_at.columns,
            c.as_mut_ptr(),
            c_at.column as isize,
            c_at.row as isize,
            accumulate,
            a.as_ptr(),
            a_at.column as isize,
            a_at.row as isize,
            b.as_ptr(),
            b_at.column as isize,
            b_at.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use rand::RngExt;

    #[test]
    fn products_are_those_of_the_definition_in_all_layouts() {
        let mut rng = stream(3, "matmul");
        for (m, n, d) in [(1, 1, 1), (5, 7, 3), (33, 17, 40), (8, 64, 65), (4, 4, 0)] {
            let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-4..5) as f32).collect() };
            let (a, b, c) = (draw(m * d), draw(d * n), draw(m * n));
            for (a_turned, b_turned, accumulate) in
                [(false, false, false), (true, false, true), (false, true, true), (true, true, false)]
            {
                let layout = |rows, columns, turned| match turned {
                    true => Layout::by_rows(columns, rows).transposed(),
                    false => Layout::by_rows(rows, columns),
                };
                let (a_at, b_at) = (layout(m, d, a_turned), layout(d, n, b_turned));
                let mut out = c.clone();
                product((&mut out, Layout::by_rows(m, n)), (&a, a_at), (&b, b_at), accumulate);
                for i in 0..m {
                    for j in 0..n {
                        let start = if accumulate { c[i * n + j] } else { 0.0 };
                        let at = |at: Layout, i: usize, j: usize| i * at.row + j * at.column;
                        // Small integers: every order of summation is exact.
                        let sum: f32 = (0..d).map(|k| a[at(a_at, i, k)] * b[at(b_at, k, j)]).sum();
                        assert_eq!(out[i * n + j], start + sum);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "within their slices")]
    fn a_matrix_longer_than_its_slice_is_refused() {
        product(
            (&mut [0.0; 4], Layout::by_rows(2, 2)),
            (&[0.0; 5], Layout::by_rows(2, 3)),
            (&[0.0; 6], Layout::by_rows(3, 2)),
            false,
        );
    }

    #[test]
    #[should_panic(expected = "distinct")]
    fn a_result_that_overlaps_itself_is_refused() {
        let c = Layout { rows: 2, columns: 2, row: 1, column: 1 };
        product((&mut [0.0; 4], c), (&[0.0; 2], Layout::by_rows(2, 1)), (&[0.0; 2], Layout::by_rows(1, 2)), false);
    }
}
