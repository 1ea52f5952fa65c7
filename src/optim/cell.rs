//! [`Cell`]: the encoders with one activation pattern, Ω_A of Thm 3.2.

use crate::theory::loss::LossError;
use faer::{Mat, MatRef};

/// Ω_A = {W : ⟨w_i, p_d⟩ > c ⇔ d ∈ F_i}, named by its firing sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// F_i in ascending order, for each neuron i.
    pub on: Vec<Vec<usize>>,
}

impl Cell {
    /// The cell of the codes Z (n_q×n) of an encoder: where they are not zero, a neuron fires.
    pub fn of_codes(Z: MatRef<'_, f64>) -> Self {
        let fires = |i: usize| (0..Z.ncols()).filter(|&d| Z[(i, d)] != 0.0).collect();
        Self { on: (0..Z.nrows()).map(fires).collect() }
    }

    /// True if no feature fires two neurons: then both blocks split by neuron.
    pub fn is_disjoint(&self) -> bool {
        let mut all: Vec<usize> = self.on.iter().flatten().copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() == count
    }

    /// Pairs of a feature and a neuron that it fires.
    pub fn firing(&self) -> usize {
        self.on.iter().map(Vec::len).sum()
    }

    /// Neurons that fire on nothing.
    pub fn dead(&self) -> usize {
        self.on.iter().filter(|on| on.is_empty()).count()
    }

    /// Neurons that fire on two features or more.
    pub fn polysemantic(&self) -> usize {
        self.on.iter().filter(|on| on.len() >= 2).count()
    }

    /// Features that fire no neuron, of n.
    pub fn uncovered(&self, n: usize) -> usize {
        let mut covered = vec![false; n];
        for &d in self.on.iter().flatten() {
            if let Some(covered) = covered.get_mut(d) {
                *covered = true;
            }
        }
        covered.iter().filter(|covered| !**covered).count()
    }

    /// The codes Z (n_q×n) of the cell's quadratic: ⟨w_i, p_d⟩ where d ∈ F_i, whatever its sign, and 0 elsewhere.
    pub(super) fn codes(&self, W: MatRef<'_, f64>, P: MatRef<'_, f64>) -> Mat<f64> {
        let mut Z = Mat::zeros(W.nrows(), P.ncols());
        let mut row = vec![0.0; P.nrows()];
        for (i, on) in self.on.iter().enumerate() {
            row.iter_mut().enumerate().for_each(|(k, x)| *x = W[(i, k)]);
            for &d in on {
                Z[(i, d)] = dot(&row, column(P, d));
            }
        }
        Z
    }

    /// Refuses a cell that does not belong to n_q neurons and n features.
    pub(super) fn check(&self, n_q: usize, n: usize) -> Result<(), LossError> {
        let fits = self.on.len() == n_q && self.on.iter().flatten().all(|&d| d < n);
        let refused = LossError::Shape {
            name: "cell",
            expected: format!("firing sets of {n_q} neurons among {n} features"),
            rows: self.on.len(),
            columns: self.on.iter().flatten().max().map_or(0, |d| d + 1),
        };
        if fits { Ok(()) } else { Err(refused) }
    }
}

/// Column d as a slice; the matrices of a loss are column-major.
pub(super) fn column(M: MatRef<'_, f64>, d: usize) -> &[f64] {
    M.col(d).try_as_col_major().map_or(&[], |column| column.as_slice())
}

/// ⟨a, b⟩ in one fixed order.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    #[cfg(test)]
    TALLY.with(|tally| tally.set(tally.get() + a.len() as u64));
    let (chunks, tail) = a.as_chunks::<4>();
    let (others, other_tail) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (x, y) in chunks.iter().zip(others) {
        for k in 0..4 {
            sums[k] += x[k] * y[k];
        }
    }
    let rest: f64 = tail.iter().zip(other_tail).map(|(x, y)| x * y).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// ⟨A, B⟩.
pub(super) fn inner(A: &Mat<f64>, B: &Mat<f64>) -> f64 {
    (0..A.ncols()).map(|i| dot(A.col_as_slice(i), B.col_as_slice(i))).sum()
}

#[cfg(test)]
thread_local! {
    static TALLY: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Multiply-adds of all products ⟨a, b⟩ of this thread so far.
#[cfg(test)]
pub(super) fn tally() -> u64 {
    TALLY.with(std::cell::Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_counts_what_its_codes_say() {
        let Z =
            Mat::from_fn(3, 4, |i, d| if (i, d) == (0, 1) || (i, d) == (0, 3) || (i, d) == (2, 0) { 2.0 } else { 0.0 });
        let cell = Cell::of_codes(Z.as_ref());
        assert_eq!(cell.on, vec![vec![1, 3], vec![], vec![0]]);
        assert_eq!((cell.dead(), cell.polysemantic(), cell.uncovered(4)), (1, 1, 1));
        assert!(cell.is_disjoint());
        assert!(!Cell { on: vec![vec![0], vec![0, 1]] }.is_disjoint());
        assert!(cell.check(3, 3).is_err() && cell.check(2, 4).is_err() && cell.check(3, 4).is_ok());
    }

    #[test]
    fn the_product_in_four_sums_is_the_product() {
        let a: Vec<f64> = (0..11).map(|k| f64::from(k) - 4.0).collect();
        let expected: f64 = a.iter().map(|x| x * x).sum();
        assert_eq!(dot(&a, &a), expected);
    }
}
