//! Are the features in general position? Decided exactly, by elimination modulo a prime first.
//!
//! Columns that are independent modulo a prime are independent. A dependence modulo the prime is settled over ℚ.

use super::RegionError;
use super::inequalities::coprime_integers;
use crate::exact::Rational;
use crate::theory::problem::Problem;
use dashu::base::Sign;

/// Whether features are in general position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// They are.
    General,
    /// They are not: these features, at most n_p + 1, are dependent.
    Degenerate(Vec<usize>),
}

/// Decides general position, under which [`cover`](super::cover::cover) counts the realizable rows.
///
/// * c = 0, and activations without a threshold: every min(n, n_p) of the p_d are linearly independent. A degenerate answer
///   names features that are linearly dependent.
/// * c > 0: moreover every min(n, n_p+1) of the p_d are affinely independent. (Both at once: the vectors (p_d, 1) and (0, 1) of
///   ℝ^{n_p+1} are in linear general position.) A degenerate answer names features that are affinely dependent, or at most
///   n_p that are linearly dependent.
///
/// The work grows as C(n, n_p): after `budget` eliminated columns the answer is [`RegionError::Budget`].
pub fn general_position(problem: &Problem, budget: u64) -> Result<Position, RegionError> {
    let mut columns: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    if problem.threshold().is_some_and(|c| !c.is_zero()) {
        columns.iter_mut().for_each(|column| column.push(Rational::ONE));
        let mut direction = vec![Rational::ZERO; problem.n_p()];
        direction.push(Rational::ONE);
        columns.push(direction);
    }
    let size = columns.len().min(columns[0].len());
    let exact = |features: &[usize]| features.iter().map(|&d| (d, columns[d].clone())).collect::<Vec<_>>();
    let modular: Vec<(usize, Vec<Residue>)> = columns.iter().map(|column| residues(column)).enumerate().collect();
    let mut search = Search { budget, spent: 0 };
    let dependent = match search.explore(&modular, size, &[])? {
        None => None,
        Some(suspect) => match search.explore(&exact(&suspect), suspect.len(), &[])? {
            Some(dependent) => Some(dependent),
            // The prime divides a minor that is not 0: rare, but an input can be made so.
            None => search.explore(&exact(&(0..columns.len()).collect::<Vec<_>>()), size, &[])?,
        },
    };
    Ok(match dependent {
        None => Position::General,
        Some(subset) => Position::Degenerate(subset.into_iter().filter(|&d| d < problem.n()).collect()),
    })
}

struct Search {
    budget: u64,
    spent: u64,
}

impl Search {
    /// A dependent set of at most `size` of the columns together with the `chosen` ones, by which the columns are reduced.
    fn explore<T: Scalar>(
        &mut self,
        columns: &[(usize, Vec<T>)],
        size: usize,
        chosen: &[usize],
    ) -> Result<Option<Vec<usize>>, RegionError> {
        let with = |d: usize| chosen.iter().copied().chain([d]).collect::<Vec<_>>();
        if let Some((d, _)) = columns.iter().find(|(_, column)| column.iter().all(T::is_zero)) {
            return Ok(Some(with(*d)));
        }
        if size <= 1 {
            return Ok(None);
        }
        for (position, (d, pivot)) in columns.iter().enumerate() {
            let rest = &columns[position + 1..];
            if rest.len() + 1 < size {
                break;
            }
            self.spent += rest.len() as u64;
            if self.spent > self.budget {
                return Err(RegionError::Budget { budget: self.budget });
            }
            let Some(at) = pivot.iter().position(|x| !x.is_zero()) else { continue };
            let reduced: Vec<_> = rest.iter().map(|(e, column)| (*e, T::eliminate(column, pivot, at))).collect();
            if let Some(dependent) = self.explore(&reduced, size - 1, &with(*d))? {
                return Ok(Some(dependent));
            }
        }
        Ok(None)
    }
}

/// What elimination needs of numbers.
trait Scalar: Sized {
    fn is_zero(&self) -> bool;
    /// A non-zero multiple of column − (column\[at\] / pivot\[at\]) pivot, without its coordinate `at`, which is 0.
    fn eliminate(column: &[Self], pivot: &[Self], at: usize) -> Vec<Self>;
}

impl Scalar for Rational {
    fn is_zero(&self) -> bool {
        Rational::is_zero(self)
    }

    fn eliminate(column: &[Self], pivot: &[Self], at: usize) -> Vec<Self> {
        let factor = &column[at] / &pivot[at];
        (0..column.len()).filter(|&k| k != at).map(|k| &column[k] - &factor * &pivot[k]).collect()
    }
}

/// The prime 2^61 − 1.
const PRIME: u64 = (1 << 61) - 1;

/// A number modulo [`PRIME`].
struct Residue(u64);

impl Scalar for Residue {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }

    fn eliminate(column: &[Self], pivot: &[Self], at: usize) -> Vec<Self> {
        let minus = PRIME - column[at].0;
        let entry = |k: usize| times(column[k].0, pivot[at].0) + times(pivot[k].0, minus);
        (0..column.len()).filter(|&k| k != at).map(|k| Residue(entry(k) % PRIME)).collect()
    }
}

fn times(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

/// The column, scaled to coprime integers, modulo the prime.
fn residues(column: &[Rational]) -> Vec<Residue> {
    let residue = |value: dashu::integer::IBig| {
        let (sign, magnitude) = value.into_parts();
        let residue: u64 = magnitude % PRIME;
        Residue(if sign == Sign::Negative && residue != 0 { PRIME - residue } else { residue })
    };
    coprime_integers(column).into_iter().map(residue).collect()
}

#[cfg(test)]
#[path = "general_position_tests.rs"]
mod tests;
