//! Definiteness and rank by fraction-free elimination (Bareiss 1968).

use crate::Refusal;
use crate::field::Numbers;
use crate::number::{Num, Work};
use dashu::base::Signed;
use dashu::integer::IBig;

/// Finest enclosures of α, as 2^-bits, that a proof of definiteness tries.
const MAX_BITS: usize = 4096;

/// A square matrix of integers or numbers, or any matrix, by rows.
pub(crate) type Matrix<T> = Vec<Vec<T>>;

/// One step of elimination: row ← (pivot·row − row[0]·pivot_row)/previous, the first column dropped.
fn eliminate(
    work: &Work,
    row: &[IBig],
    pivot_row: &[IBig],
    pivot: &IBig,
    previous: &IBig,
) -> Result<Vec<IBig>, Refusal> {
    let Some((first, rest)) = row.split_first() else {
        return Ok(Vec::new());
    };
    let entry = |(a, b): (&IBig, &IBig)| work.divide(&(work.mul(pivot, a)? - work.mul(first, b)?), previous);
    rest.iter().zip(pivot_row.iter().skip(1)).map(entry).collect()
}

/// Whether a symmetric integer matrix is positive semidefinite, or definite.
///
/// A zero on the diagonal of a semidefinite matrix stands in a zero row and column, which is then left out; every pivot
/// of the rest is a ratio of principal minors.
fn is_positive(work: &Work, mut m: Matrix<IBig>, definite: bool) -> Result<bool, Refusal> {
    let mut previous = IBig::ONE;
    while let Some((pivot_row, rest)) = m.split_first() {
        let Some(pivot) = pivot_row.first() else { break };
        if *pivot == IBig::ZERO {
            if definite || pivot_row.iter().any(|x| *x != IBig::ZERO) {
                return Ok(false);
            }
            m = rest.iter().map(|row| row.iter().skip(1).cloned().collect()).collect();
        } else if pivot.is_negative() {
            return Ok(false);
        } else {
            let next = rest.iter().map(|row| eliminate(work, row, pivot_row, pivot, &previous));
            let (pivot, next) = (pivot.clone(), next.collect::<Result<_, _>>()?);
            (previous, m) = (pivot, next);
        }
    }
    Ok(true)
}

/// The rank of an integer matrix.
fn rank(work: &Work, mut m: Matrix<IBig>) -> Result<usize, Refusal> {
    let (mut rank, mut previous) = (0, IBig::ONE);
    while m.first().is_some_and(|row| !row.is_empty()) {
        let Some(at) = m.iter().position(|row| row.first().is_some_and(|x| *x != IBig::ZERO)) else {
            work.spend(4 * m.iter().map(|row| row.len() as u64).sum::<u64>())?;
            m.iter_mut().for_each(|row| drop(row.remove(0)));
            continue;
        };
        let pivot_row = m.swap_remove(at);
        let Some(pivot) = pivot_row.first() else { break };
        m = m.iter().map(|row| eliminate(work, row, &pivot_row, pivot, &previous)).collect::<Result<_, _>>()?;
        previous = pivot.clone();
        rank += 1;
    }
    Ok(rank)
}

/// A rational matrix times a positive number that makes it integer; `None` if α occurs.
pub(crate) fn integers(work: &Work, m: &Matrix<Num>) -> Result<Option<Matrix<IBig>>, Refusal> {
    let mut common = IBig::ONE;
    for entry in m.iter().flatten() {
        if entry.rational_sign().is_none() {
            return Ok(None);
        }
        let gcd = work.gcd(&common, &entry.den)?;
        common = work.mul(&common, &work.divide(&entry.den, &gcd)?)?;
    }
    let scaled = |entry: &Num| match entry.c.first() {
        Some(c) => work.mul(c, &work.divide(&common, &entry.den)?),
        None => Ok(IBig::ZERO),
    };
    m.iter().map(|row| row.iter().map(scaled).collect()).collect::<Result<_, _>>().map(Some)
}

/// The rank of a rational matrix.
pub(crate) fn rational_rank(work: &Work, m: &Matrix<Num>) -> Result<usize, Refusal> {
    let m = integers(work, m)?.ok_or_else(|| Refusal::format("expected rational numbers"))?;
    rank(work, m)
}

/// Whether a symmetric rational matrix is positive semidefinite.
pub(crate) fn is_semidefinite(work: &Work, m: &Matrix<Num>) -> Result<bool, Refusal> {
    let m = integers(work, m)?.ok_or_else(|| Refusal::format("expected rational numbers"))?;
    is_positive(work, m, false)
}

/// Whether a symmetric matrix of numbers is positive definite. `false` also if enclosures do not tell.
///
/// With entries in [c ± r]/2^bits it is, if C − ρI is positive definite for the largest row sum ρ of the r.
pub(crate) fn is_definite(k: &Numbers, m: &Matrix<Num>) -> Result<bool, Refusal> {
    if let Some(m) = integers(k, m)? {
        return is_positive(k, m, true);
    }
    let mut bits = 64;
    while bits <= MAX_BITS {
        let (mut centre, mut largest) = (Vec::new(), IBig::ZERO);
        for row in m {
            let (mut rounded, mut radii) = (Vec::new(), IBig::ZERO);
            for entry in row {
                let enclosure = k.enclose(entry, bits)?;
                let scale = IBig::ONE << bits;
                rounded.push(k.quotient(&k.mul(&enclosure.middle, &scale)?, &enclosure.den)?);
                // rounding each of the two towards zero loses less than 1
                radii += k.quotient(&k.mul(&enclosure.radius, &scale)?, &enclosure.den)? + IBig::from(2);
            }
            centre.push(rounded);
            largest = largest.max(radii);
        }
        for (at, row) in centre.iter_mut().enumerate() {
            if let Some(diagonal) = row.get_mut(at) {
                *diagonal -= &largest;
            }
        }
        if is_positive(k, centre, true)? {
            return Ok(true);
        }
        bits *= 2;
    }
    Ok(false)
}
