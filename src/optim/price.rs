//! What an optimizer's operations cost, in evaluations of loss and gradient.
//!
//! The unit of work is a multiply-add. A product of an a×b and a b×c matrix takes a·b·c of them, ⟨x, y⟩ or x + t y as many as x has entries. Passes over
//! entries (masks, scalings, copies), comparisons and the sorting of events are free: they are less than the products beside them by the factor of a
//! dimension. With N = Σ_i |F_i|, the pairs of a feature and a neuron that it fires, and s = min(n, n_q):
//!
//! | operation | multiply-adds |
//! |---|---|
//! | **loss and gradient, the unit of cost** | n·n_q·(2 n_p + 3 n_r) |
//! | loss, or residuals | n·n_q·(n_p + n_r) |
//! | the cell of an encoder | n·n_q·n_p |
//! | a product with the Hessian | n·n_q·(3 n_p + 7 n_r) |
//! | search along a line, across cells | n·n_q·(2 n_p + 4 n_r), 10 n_r for every event, n·n_q·n_r for each of 8 finalists, of 16 where c > 0 |
//! | search along a line, in a cell | n·n_q·(2 n_p + 4 n_r) + 2 N n_p |
//! | V-step where no feature fires two neurons | N (n_p + n_r) + n·n_q·n_r |
//! | V-step elsewhere | N n_p, a singular value decomposition of n_q×n, n_r·s·(n + n_q) + n·n_q·n_r |
//! | V-step with a proximal term | N n_p, least squares of (n + n_q)×n_q with n_r right sides, n·n_q·n_r |
//! | W-step | counted as it goes: the number of active sets, of proximal points and of products of conjugate gradients is known afterwards |
//! | interior-point method: loss and gradient with the decoder eliminated | n·n_q·(2 n_p + 3 n_r), QR of (n + n_q)×n_q with its thin basis, n_q² (n_r + n_q) |
//! | its preconditioner | n_q·((n + n_q + n_p) n_p² + n·n_q·n_p) |
//! | a product with its Hessian, preconditioned | 2 n·n_q·(n_p + n_r) + 3 n_q² (n + n_r) + n_q·n_p² |
//! | a new neuron | n (n_p + n_r) for its best column and n (n_p + n_r) for the next row, for each candidate that was tried |
//!
//! Factorizations of m×k, m ≥ k, take 3 m k² + 10 k³ for singular values with both thin bases, m k² − k³/3 for QR, as much again for its thin basis;
//! a symmetric k×k takes 9/2 k³ for eigenvalues with vectors, and k³/6 for Cholesky's factor (Golub, Van Loan 2013, §§4.2, 5.2, 8.3, 8.6, half of the flops
//! there).
//!
//! Not charged is what is computed once for a problem (P⁺), and what only tells the observer where a gradient method is: its cell. A start costs 1.

use crate::theory::loss::ApproximateLoss;

/// Costs that the sizes alone decide, in evaluations of loss and gradient; the module's table states them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Of a loss, or of residuals.
    pub loss: f64,
    /// Of the cell of an encoder.
    pub cell: f64,
    /// Of a product with the Hessian.
    pub hessian_product: f64,
    /// Of a search along a line across all cells, its events apart.
    pub line_search: f64,
    /// Of one event of it.
    pub event: f64,
}

/// The sizes of a problem and of the point at which something is computed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    n: f64,
    n_p: f64,
    n_r: f64,
    n_q: f64,
    c: f64,
}

/// Finalists of a search along a line that are evaluated afresh: minima, and limits where the loss jumps.
const FINALISTS: f64 = 8.0;

impl Sizes {
    /// Of n_q neurons.
    pub fn new(loss: &ApproximateLoss, n_q: usize) -> Self {
        let [n, n_p, n_r, n_q] = [loss.n(), loss.n_p(), loss.n_r(), n_q].map(|size| size as f64);
        Self { n, n_p, n_r, n_q, c: loss.c() }
    }

    /// W P, or a product of the same sizes.
    pub fn codes(self) -> f64 {
        self.n * self.n_q * self.n_p
    }

    /// V Z, or a product of the same sizes.
    pub fn answers(self) -> f64 {
        self.n * self.n_q * self.n_r
    }

    /// L̃ with both gradients: the unit of cost.
    pub fn gradient(self) -> f64 {
        2.0 * self.codes() + 3.0 * self.answers()
    }

    /// L̃.
    pub fn loss(self) -> f64 {
        self.codes() + self.answers()
    }

    /// The least value on a line in the closure of a cell that fires `firing` pairs, and how far that reaches.
    pub fn cell_search(self, firing: usize) -> f64 {
        2.0 * self.codes() + 4.0 * self.answers() + 2.0 * firing as f64 * self.n_p
    }

    /// The best decoder by the singular values of the codes.
    pub fn decoder(self) -> f64 {
        let small = self.n.min(self.n_q);
        singular(self.n_q, self.n) + self.n_r * small * (self.n + self.n_q)
    }

    /// The best decoder with a proximal term.
    pub fn proximal_decoder(self) -> f64 {
        let (rows, columns) = (self.n + self.n_q, self.n_q);
        orthogonal(rows, columns) + self.n_r * (2.0 * rows * columns + columns * columns)
    }

    /// What L-BFGS in the metric of V-steps takes for its memory of `remembered` steps and for the next one.
    pub fn memory(self, remembered: usize) -> f64 {
        let (square, column) = (self.n_q * self.n_q, self.n_r * self.n_q);
        square * self.n
            + 3.0 * self.n_r * square
            + eigen(self.n_q)
            + square * self.n_q
            + (4.0 * remembered as f64 + 3.0) * column
    }

    /// Φ and its gradient, of [`super::interior`].
    pub fn interior_point(self) -> f64 {
        let square = self.n_q * self.n_q;
        self.gradient() + 2.0 * orthogonal(self.n + self.n_q, self.n_q) + square * (self.n_r + self.n_q)
    }

    /// The inverse blocks that precondition a step there.
    pub fn interior_blocks(self) -> f64 {
        let square = self.n_p * self.n_p;
        self.n_q * ((self.n + self.n_q + self.n_p) * square + self.n * self.n_q * self.n_p)
    }

    /// A product with the Hessian there, and what preconditions it.
    pub fn interior_product(self) -> f64 {
        let square = self.n_q * self.n_q;
        2.0 * self.loss() + 3.0 * square * (self.n + self.n_r) + self.n_q * self.n_p * self.n_p
    }

    /// The best column of a candidate for a new neuron, and the row that comes after it.
    pub fn candidate(self) -> f64 {
        2.0 * self.n * (self.n_p + self.n_r)
    }

    /// What an amount of work costs.
    pub fn cost(self, work: f64) -> f64 {
        work / self.gradient()
    }

    /// All prices.
    pub fn prices(self) -> Prices {
        let finalists = if self.c > 0.0 { 2.0 * FINALISTS } else { FINALISTS };
        Prices {
            loss: self.cost(self.loss()),
            cell: self.cost(self.codes()),
            hessian_product: self.cost(3.0 * self.codes() + 7.0 * self.answers()),
            line_search: self.cost(2.0 * self.codes() + (4.0 + finalists) * self.answers()),
            event: self.cost(10.0 * self.n_r),
        }
    }
}

/// Singular values with both thin bases.
pub(super) fn singular(rows: f64, columns: f64) -> f64 {
    let (large, small) = (rows.max(columns), rows.min(columns));
    3.0 * large * small * small + 10.0 * small.powi(3)
}

/// QR of rows ≥ columns.
pub(super) fn orthogonal(rows: f64, columns: f64) -> f64 {
    rows * columns * columns - columns.powi(3) / 3.0
}

/// Eigenvalues and vectors of a symmetric matrix.
pub(super) fn eigen(size: f64) -> f64 {
    4.5 * size.powi(3)
}

/// Cholesky's factor.
pub(super) fn cholesky(size: f64) -> f64 {
    size.powi(3) / 6.0
}

#[cfg(test)]
mod tests {
    use super::super::acs::best_neuron;
    use super::super::cell::{Cell, tally};
    use super::super::{Biconvex, start};
    use super::*;
    use crate::bench::features::{random_unit, stream};
    use crate::theory::loss::Weights;
    use faer::{Mat, Par};

    fn problem(n: usize, n_p: usize, n_r: usize, seed: u64) -> ApproximateLoss {
        let mut rng = stream(seed, "problem of a test");
        let (P, R) = (random_unit(n_p, n, &mut rng), random_unit(n_r, n, &mut rng));
        ApproximateLoss::new(P, R, vec![1.0; n], 0.0).unwrap().with_par(Par::Seq)
    }

    /// A B with its multiply-adds counted.
    fn counted(A: &Mat<f64>, B: &Mat<f64>, count: &mut f64) -> Mat<f64> {
        Mat::from_fn(A.nrows(), B.ncols(), |i, j| {
            (0..A.ncols()).fold(0.0, |sum, k| {
                *count += 1.0;
                sum + A[(i, k)] * B[(k, j)]
            })
        })
    }

    #[test]
    fn a_loss_and_its_gradient_cost_the_products_of_their_formula() {
        let loss = problem(6, 3, 5, 1);
        let at = start::random(&loss, 4, 1);
        let (P, R) = (loss.P().to_owned(), loss.R().to_owned());
        let mut count = 0.0;
        let mut Z = counted(&at.W, &P, &mut count);
        Z.col_iter_mut().for_each(|column| column.iter_mut().for_each(|z| *z = z.max(0.0)));
        let E = R - counted(&at.V, &Z, &mut count);
        let value = E.squared_norm_l2();
        let sizes = Sizes::new(&loss, 4);
        assert_eq!(count, sizes.loss());
        let V = counted(&E, &Z.transpose().to_owned(), &mut count);
        let mut flow = counted(&at.V.transpose().to_owned(), &E, &mut count);
        (0..6).for_each(|d| (0..4).filter(|&i| Z[(i, d)] == 0.0).for_each(|i| flow[(i, d)] = 0.0));
        let W = counted(&flow, &P.transpose().to_owned(), &mut count);
        assert_eq!(count, sizes.gradient());
        // These loops do compute both.
        let (expected, gradient) = loss.value_and_gradients(&at).unwrap();
        assert!((value - expected).abs() < 1e-12 * expected);
        assert!((faer::Scale(-2.0) * V - gradient.V).norm_max() < 1e-12);
        assert!((faer::Scale(-2.0) * W - gradient.W).norm_max() < 1e-12);
    }

    /// What ⟨x, y⟩ has taken while `work` ran.
    fn products<T>(work: impl FnOnce() -> T) -> (T, f64) {
        let before = tally();
        let result = work();
        (result, (tally() - before) as f64)
    }

    #[test]
    fn rows_cost_what_their_products_take() {
        let mut held = 0;
        for seed in 0..12 {
            // More features than dimensions, and no feature that fires two neurons.
            let loss = problem(9, 4, 4, seed);
            let mut at = start::random(&loss, 2, seed);
            let mut cell = Biconvex::cell(&loss, at.W.as_ref()).unwrap();
            // The second row is the first one reversed.
            (0..4).for_each(|k| at.W[(1, k)] = -at.W[(0, k)]);
            cell.on[1] = (0..9).filter(|d| !cell.on[0].contains(d)).collect();
            let (step, dots) = products(|| loss.w_step(&cell, &at, 0.0).unwrap());
            let sizes = Sizes::new(&loss, 2);
            let work = step.cost * sizes.gradient();
            // Every product with a column is followed by one addition of it at most; what is held with equality is solved with factors besides, which
            // are less than ten times the products here.
            assert!(work >= dots && work <= 12.0 * dots + 4.0 * sizes.gradient(), "{seed}: {work} and {dots}");
            // Where inequalities hold the rows back, a gradient does not pay for it.
            assert!(step.multipliers.is_empty() || step.cost > 1.0, "{seed}: {}", step.cost);
            held += usize::from(!step.multipliers.is_empty());
        }
        assert!(held >= 6, "{held}");
    }

    #[test]
    fn the_encoder_by_features_costs_its_least_squares_problems_too() {
        for (n_q, every) in [(4, false), (4, true), (12, true)] {
            let loss = problem(8, 8, 8, 3);
            let W = Mat::from_fn(n_q, 8, |i, k| {
                let inverse = loss.left_inverse().unwrap();
                (0..8).map(|d| if every || d % n_q == i { inverse[(d, k)] } else { -inverse[(d, k)] }).sum::<f64>()
            });
            let at = Weights { V: start::random(&loss, n_q, 5).V, W };
            let cell = Biconvex::cell(&loss, at.W.as_ref()).unwrap();
            let firing: Vec<usize> = (0..8).map(|d| cell.on.iter().filter(|on| on.contains(&d)).count()).collect();
            assert!(firing.iter().all(|m| *m == if every { n_q } else { 1 }));
            let step = loss.w_step(&cell, &at, 0.0).unwrap();
            let sizes = Sizes::new(&loss, n_q);
            let work = step.cost * sizes.gradient();
            // Which codes are positive in the end: each has entered the active set once at least, with a row of the factor and a product of all m.
            let codes = &step.W * loss.P();
            let (mut least, mut most) = (0.0, 0.0);
            for (d, &m) in firing.iter().enumerate() {
                let free = (0..n_q).filter(|&i| codes[(i, d)] > 1e-9).count();
                let m = m as f64;
                least += (0..free).map(|k| (k * k) as f64 / 2.0 + m).sum::<f64>() + m * (16.0 + 2.0 * m);
                most += (4.0 * m + 16.0) * 4.0 * m * m + m * (32.0 + 3.0 * m);
            }
            let fixed = sizes.codes() + (n_q * n_q * 8) as f64;
            assert!(work >= fixed + least && work <= fixed + most, "{n_q}: {work} of {least} to {most} and {fixed}");
        }
    }

    #[test]
    fn candidates_for_a_new_neuron_cost_their_products() {
        let loss = problem(12, 6, 6, 2);
        let at = start::random(&loss, 2, 2);
        let E = loss.residuals(&at).unwrap();
        let (found, dots) = products(|| best_neuron(&loss, E.as_ref()).unwrap());
        // For every candidate the loops take n ⟨e_d, v⟩, and as much three times more for its codes, its column and its next row.
        let sizes = Sizes::new(&loss, 2);
        let work = found.tried as f64 * sizes.candidate();
        assert!(work >= 3.0 * dots && work <= 5.0 * dots, "{work} and {dots}");
    }

    #[test]
    fn a_decoder_for_neurons_that_share_nothing_is_cheaper_than_one_by_singular_values() {
        let loss = problem(10, 10, 10, 4);
        let at = start::random(&loss, 5, 4);
        let shared = Biconvex::cell(&loss, at.W.as_ref()).unwrap();
        let apart = Cell { on: (0..5).map(|i| vec![i]).collect() };
        assert!(!shared.is_disjoint());
        let sizes = Sizes::new(&loss, 5);
        let work = |cell: &Cell| loss.v_step(cell, &at, 0.0).unwrap().cost * sizes.gradient();
        // Five columns of ten numbers with as many products for their codes, and V Z.
        assert!((work(&apart) - (100.0 + 500.0)).abs() < 1e-9);
        assert!(work(&shared) > sizes.answers() + 3.0 * 10.0 * 25.0);
    }
}
