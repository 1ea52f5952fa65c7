//! Non-negative codes: least squares, alone or with an ℓ1 penalty, by an active set.
//!
//! ```text
//!     minimize   ½‖x − Dα‖² + λ Σ_k α_k   subject to   α ≥ 0
//! ```
//!
//! On the orthant the penalty is linear, so the positive lasso is non-negative least squares with Dᵀx − λ in the place of Dᵀx, and one method
//! finds both. α is optimal iff r = Dᵀ(x − Dα) is λ where α_k > 0 and at most λ elsewhere.
//!
//! # Requirements
//! Unit atoms; products with the sample and the Gram matrix of the atoms. λ ≥ 0. The number of steps is finite, since the objective falls with
//! each change of the active set: an atom that depends on those taken, up to rounding, enters in exchange for one of them. Rounding could make atoms enter and leave for ever, so that there are at most 4K + 16 steps.
//!
//! # References
//! * Lawson, Hanson 1974, Solving Least Squares Problems, Prentice-Hall, Alg. NNLS (23.10).
//! * Bro, de Jong 1997, J. Chemometrics 11, doi:10.1002/(SICI)1099-128X(199709/10)11:5<393::AID-CEM483>3.0.CO;2-L: the same on the Gram matrix.
//! * Bruckstein, Elad, Zibulevsky 2008, IEEE Trans. Inf. Theory 54(11), doi:10.1109/TIT.2008.929920: with a bound on the number of atoms this is
//!   non-negative matching pursuit.

use super::scalar::{Scalar, first_largest};
use super::{Gram, Solver, rounding};

/// Codes of one sample, of at most `atoms` atoms: with fewer than the optimum has, the best ones on the atoms that were taken.
///
/// `products` is Dᵀx and `energy` is ‖x‖². The result is the solver's [`codes`](Solver::codes).
///
/// # Panics
/// If `products` is not as long as the dictionary, which is a mistake of the program.
#[inline(always)]
pub fn nonnegative<T: Scalar>(
    gram: Gram<'_, T>,
    products: &[T],
    energy: T,
    penalty: T,
    atoms: usize,
    solver: &mut Solver<T>,
) {
    solver.start(products);
    let enters = penalty + rounding(energy);
    for _ in 0..4 * products.len() + 16 {
        if solver.support.len() >= atoms {
            break;
        }
        let Some((k, largest)) = first_largest(&solver.residual) else { break };
        // Nothing is left to gain.
        if largest <= enters {
            break;
        }
        let mut value = T::ZERO;
        if !solver.take(gram, k) {
            value = exchange(gram, k, solver);
            // Only rounding can leave nothing to exchange it for.
            if !(value > T::ZERO && solver.take(gram, k)) {
                solver.refresh(gram, products);
                solver.barred.push(k as u32);
                settle(penalty, solver);
                continue;
            }
        }
        solver.values.push(value);
        if descend(gram, products, penalty, solver) {
            solver.barred.clear();
        } else {
            solver.barred.push(k as u32);
        }
        solver.refresh(gram, products);
        settle(penalty, solver);
    }
}

/// What is taken has products equal to λ up to rounding, which must not let it enter twice; what is barred may not enter either.
#[inline(always)]
fn settle<T: Scalar>(penalty: T, solver: &mut Solver<T>) {
    for &k in solver.support.iter().chain(&solver.barred) {
        solver.residual[k as usize] = penalty;
    }
}

/// For an atom d_k = Σ_j w_j d_j that depends on those taken: codes move along (−w, 1), which leaves Dα as it is and lowers the penalty by
/// ⟨d_k, x − Dα⟩ − λ for every unit, until the first of them is 0; that atom is dropped. The code that atom k then has, 0 if there is no such end.
fn exchange<T: Scalar>(gram: Gram<'_, T>, k: usize, solver: &mut Solver<T>) -> T {
    let column = gram.column(k);
    solver.solution.clear();
    solver.solution.extend(solver.support.iter().map(|j| column[*j as usize]));
    solver.solve();
    let mut end: Option<(T, usize)> = None;
    for (i, (&value, &weight)) in solver.values.iter().zip(&solver.solution).enumerate() {
        if weight > T::ZERO && end.is_none_or(|(length, _)| value / weight < length) {
            end = Some((value / weight, i));
        }
    }
    let Some((length, first)) = end else { return T::ZERO };
    for (value, weight) in solver.values.iter_mut().zip(&solver.solution) {
        *value -= length * *weight;
    }
    solver.values[first] = T::ZERO;
    drop_zeros(gram, solver);
    length
}

/// Goes to the best codes of the atoms that are taken, and drops those that would become negative on the way there. False if the last atom was
/// dropped at once with a code of 0, which only rounding can do.
#[inline(always)]
fn descend<T: Scalar>(gram: Gram<'_, T>, products: &[T], penalty: T, solver: &mut Solver<T>) -> bool {
    let mut first = true;
    loop {
        solver.solution.clear();
        solver.solution.extend(solver.support.iter().map(|k| products[*k as usize] - penalty));
        solver.solve();
        let entering = first && solver.values.last().is_some_and(|v| *v == T::ZERO);
        if entering && solver.solution.last().is_some_and(|s| *s <= T::ZERO) {
            solver.support.pop();
            solver.values.pop();
            solver.factor.truncate(solver.support.len());
            return false;
        }
        first = false;
        // The longest step that keeps α ≥ 0.
        let mut step = T::of(1.0);
        let mut last = None;
        for (i, (&value, &solution)) in solver.values.iter().zip(&solver.solution).enumerate() {
            if solution <= T::ZERO {
                let t = value / (value - solution);
                if t < step {
                    (step, last) = (t, Some(i));
                }
            }
        }
        for (value, solution) in solver.values.iter_mut().zip(&solver.solution) {
            *value += step * (*solution - *value);
        }
        let Some(last) = last else {
            std::mem::swap(&mut solver.values, &mut solver.solution);
            return true;
        };
        solver.values[last] = T::ZERO;
        drop_zeros(gram, solver);
    }
}

/// Takes atoms without a code out of the active set.
fn drop_zeros<T: Scalar>(gram: Gram<'_, T>, solver: &mut Solver<T>) {
    let first = solver.values.iter().position(|v| *v <= T::ZERO).unwrap_or(solver.values.len());
    let tail: Vec<(u32, T)> = solver
        .support
        .iter()
        .copied()
        .zip(solver.values.iter().copied())
        .skip(first)
        .filter(|(_, v)| *v > T::ZERO)
        .collect();
    solver.support.truncate(first);
    solver.values.truncate(first);
    solver.factor.truncate(first);
    for (k, value) in tail {
        // Atoms that were independent still are; one that rounding calls dependent loses its code.
        if solver.take(gram, k as usize) {
            solver.values.push(value);
        }
    }
}
