//! Orthogonal matching pursuit: the atom most correlated with the residual is taken, and all codes are fitted again.
//!
//! # Requirements
//! Unit atoms; products with the sample and the Gram matrix of the atoms (Batch-OMP): the residual itself is never formed. Codes have either sign.
//!
//! # References
//! * Pati, Rezaiifar, Krishnaprasad 1993, Asilomar, doi:10.1109/ACSSC.1993.342465.
//! * Rubinstein, Zibulevsky, Elad 2008, Efficient implementation of the K-SVD algorithm using Batch Orthogonal Matching Pursuit, CS Technion
//!   technical report 2008-08, Alg. 3 (progressive Cholesky on the Gram matrix; error-constrained variant).

use super::scalar::{Scalar, first_largest};
use super::{Gram, Solver, rounding};

/// Codes of one sample: at most `atoms` of them, none more once ‖x − Dα‖² ≤ `target`.
///
/// `products` is Dᵀx and `energy` is ‖x‖². An atom that depends on those taken, up to rounding, is passed over. The result is the solver's
/// [`codes`](Solver::codes).
///
/// # Panics
/// If `products` is not as long as the dictionary, which is a mistake of the program.
#[inline(always)]
pub fn omp<T: Scalar>(gram: Gram<'_, T>, products: &[T], energy: T, atoms: usize, target: T, solver: &mut Solver<T>) {
    solver.start(products);
    let mut error = energy;
    while solver.support.len() < atoms && error > target {
        // Atoms that are taken, or passed over, have magnitude 0.
        solver.magnitudes.clear();
        solver.magnitudes.extend(solver.residual.iter().map(|r| r.abs()));
        for &k in solver.support.iter().chain(&solver.barred) {
            solver.magnitudes[k as usize] = T::ZERO;
        }
        let Some((k, largest)) = first_largest(&solver.magnitudes) else { break };
        // A residual of mere rounding has no direction.
        if largest <= rounding(energy) {
            break;
        }
        if !solver.take(gram, k) {
            solver.barred.push(k as u32);
            continue;
        }
        solver.solution.clear();
        solver.solution.extend(solver.support.iter().map(|k| products[*k as usize]));
        solver.factor.solve(&mut solver.solution);
        std::mem::swap(&mut solver.values, &mut solver.solution);
        solver.refresh(gram, products);
        let explained = |(k, value): (u32, T)| value * products[k as usize];
        error = solver.codes().fold(energy, |error, code| error - explained(code));
    }
}
