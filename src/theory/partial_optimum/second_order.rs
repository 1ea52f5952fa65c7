//! The class of a stationary row in its cell: local minimum, strict saddle, or undecided.
//!
//! For a row w with multipliers λ on the faces J⁺ and further faces J⁰, and δ a step into the cell, the block's loss
//! changes by a positive multiple of −2Σ λ_e⟨δ, p_e⟩ − δᵀHδ. So the row is a local minimum iff δᵀHδ ≤ 0 on the critical
//! cone {⟨δ, p_e⟩ = 0 on J⁺, ≤ 0 on J⁰} (Contesse 1980).

use super::block::{Block, combination};
use super::stationary::{Stationary, hessian_form, pair};
use crate::exact::Rational;
use crate::exact::algebraic::NumberField;
use crate::exact::field::{OrderedField, Rationals};
use crate::exact::lp::{self, Outcome, Relation, Row, System};
use crate::exact::matrix;
use crate::exact::poly;
use crate::exact::rational;
use crate::fault::{self, Fault};
use crate::theory::pattern::dot;

type Elem = <NumberField as OrderedField>::Elem;

/// Evidence that −H is non-negative on the critical cone: `local-min` in `verify/FORMAT.md`.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// (e, u_e) for e ∈ J⁺.
    pub u: Vec<(usize, Vec<Elem>)>,
    /// (e, f, ν_ef) for e ≤ f in J⁰.
    pub n: Vec<(usize, usize, Elem)>,
    /// A basis of the kernel of M.
    pub kernel: Vec<Vec<Elem>>,
}

/// The class of a stationary row.
#[derive(Debug, Clone)]
pub(super) enum SecondOrder {
    /// A local minimum in the cell; strict if only rescaling keeps the loss.
    LocalMin {
        /// The evidence.
        order: Order,
        /// Whether every kernel vector only rescales the activations.
        strict: bool,
    },
    /// A strict saddle with a direction of negative curvature into the cell.
    Saddle(Vec<Elem>),
    /// Neither was proved.
    Degenerate,
}

/// Decides the class of a stationary row.
pub(super) fn classify(block: &Block, row: &Stationary) -> SecondOrder {
    let positive: Vec<usize> = row.multipliers.iter().map(|(e, _)| *e).collect();
    if row.is_top {
        return local_minimum(block, row, &positive, &[]).unwrap_or(SecondOrder::Degenerate);
    }
    let free = |direction: &[Rational]| row.faces.iter().all(|&e| rational::sign(&dot(direction, &block.p[e])) <= 0);
    let into_cell = |direction: Vec<Rational>| -> Option<SecondOrder> {
        let direction = if free(&direction) { direction } else { direction.into_iter().map(|x| -x).collect() };
        (free(&direction) && curvature_sign(block, row, &direction) > 0)
            .then(|| SecondOrder::Saddle(direction.iter().map(|x| row.field.rational(x)).collect()))
    };
    if let Some(saddle) = steepest(block, row, &positive).and_then(into_cell) {
        return saddle;
    }
    // Faces that no step into the cell leaves are equalities: look again on the smaller subspace.
    let implied = implied_equalities(block, &positive, &row.faces);
    let mut fixed = positive.clone();
    for (e, _) in &implied {
        let mut rows: Vec<Vec<Rational>> = fixed.iter().map(|&f| block.p[f].clone()).collect();
        rows.push(block.p[*e].clone());
        if matrix::rank(&Rationals, &rows) == rows.len() {
            fixed.push(*e);
        }
    }
    if !implied.is_empty()
        && let Some(saddle) = steepest(block, row, &fixed).and_then(into_cell)
    {
        return saddle;
    }
    if let Some(found) = local_minimum(block, row, &positive, &implied) {
        return found;
    }
    // The critical cone's own rays and their pairs are the last directions tried.
    match cone_directions(block, &fixed, &row.faces).into_iter().find_map(into_cell) {
        Some(saddle) => saddle,
        None => SecondOrder::Degenerate,
    }
}

/// sign of δᵀHδ.
fn curvature_sign(block: &Block, row: &Stationary, direction: &[Rational]) -> i32 {
    let f = &row.field;
    let form =
        |m: &[Vec<Rational>]| m.iter().zip(direction).fold(Rational::ZERO, |s, (line, x)| s + x * dot(line, direction));
    let sign = f.sign(&f.sub(&f.rational(&form(&block.a)), &f.scale(&form(&block.b), &row.mu)));
    if fault::planted(Fault::Class) { -sign } else { sign }
}

/// A rational direction in {⟨δ, p_e⟩ = 0, e ∈ fixed} near the top eigenvector there, by exact inverse iteration.
fn steepest(block: &Block, row: &Stationary, fixed: &[usize]) -> Option<Vec<Rational>> {
    let restriction = block.restrict(fixed)?;
    let squarefree = restriction.characteristic.squarefree_part();
    let interval = poly::isolate_real_roots(&squarefree).pop()?;
    let size = restriction.matrix.len();
    for bits in [40_usize, 100, 200, 400, 800] {
        let width = Rational::ONE / Rational::from(dashu::integer::UBig::ONE << bits);
        let (_, above) = poly::refine_root(&squarefree, &interval, &width);
        let shift = above + width;
        let shifted: Vec<Vec<Rational>> = restriction
            .matrix
            .iter()
            .enumerate()
            .map(|(i, r)| r.iter().enumerate().map(|(j, x)| if i == j { x - &shift } else { x.clone() }).collect())
            .collect();
        for start in 0..size {
            let right: Vec<Rational> = (0..size).map(|k| Rational::from(1 + (k + start) % size)).collect();
            let Some(y) = matrix::solve(&Rationals, &shifted, &right) else { continue };
            let direction = shortened(&combination(&restriction.rows, &rounded(&y, bits), block.n_p()));
            if curvature_sign(block, row, &direction) > 0 {
                return Some(direction);
            }
        }
    }
    None
}

/// `v` scaled to largest entry 1 and rounded to `bits` fractional bits.
fn rounded(v: &[Rational], bits: usize) -> Vec<Rational> {
    let largest = v.iter().map(|x| if rational::sign(x) < 0 { -x.clone() } else { x.clone() }).max();
    match largest {
        Some(largest) if !largest.is_zero() => {
            v.iter().map(|x| rational::floor_to_bits(&(x / &largest), bits.min(64))).collect()
        }
        _ => v.to_vec(),
    }
}

/// The primitive integer vector on the same ray.
fn shortened(v: &[Rational]) -> Vec<Rational> {
    use dashu::base::Gcd;
    use dashu::integer::UBig;
    let denominator = v.iter().fold(UBig::ONE, |l, x| {
        let d = x.denominator().clone();
        let g = (&l).gcd(&d);
        l / g * d
    });
    let scaled: Vec<_> = v.iter().map(|x| x * Rational::from(denominator.clone())).collect();
    let divisor = scaled.iter().fold(UBig::ZERO, |g, x| {
        let n = x.numerator().clone().into_parts().1;
        if g == UBig::ZERO {
            n
        } else if n == UBig::ZERO {
            g
        } else {
            (&g).gcd(&n)
        }
    });
    if divisor == UBig::ZERO {
        return scaled;
    }
    let divisor = Rational::from(divisor);
    scaled.iter().map(|x| x / &divisor).collect()
}

/// The faces e ∈ J⁰ with ⟨δ, p_e⟩ = 0 for every δ of the critical cone, each with c ≥ 0 such that
/// p_e + Σ_f c_f p_f ∈ span{p_g : g ∈ J⁺}.
fn implied_equalities(block: &Block, positive: &[usize], faces: &[usize]) -> Vec<(usize, Vec<(usize, Rational)>)> {
    let mut implied = Vec::new();
    for &e in faces {
        let mut rows: Vec<Row<Rational>> = positive
            .iter()
            .map(|&g| Row { coeffs: block.p[g].clone(), relation: Relation::Eq, rhs: Rational::ZERO })
            .collect();
        for &f in faces {
            let relation = if f == e { Relation::Gt } else { Relation::Ge };
            rows.push(Row { coeffs: negated(&block.p[f]), relation, rhs: Rational::ZERO });
        }
        let system = System { variables: block.n_p(), rows };
        if let Outcome::Infeasible(multipliers) = lp::decide_rational(&system) {
            let on_faces = &multipliers[positive.len()..];
            let own = faces.iter().position(|&f| f == e).expect("e is one of the faces");
            let others = faces
                .iter()
                .zip(on_faces)
                .filter(|&(&f, m)| f != e && !m.is_zero())
                .map(|(&f, m)| (f, m / &on_faces[own]))
                .collect();
            implied.push((e, others));
        }
    }
    implied
}

fn negated(p: &[Rational]) -> Vec<Rational> {
    p.iter().map(|x| -x.clone()).collect()
}

/// Builds M of the `local-min` certificate and proves it positive semidefinite, or gives up.
///
/// With Π the projector on {⟨δ, p_e⟩ = 0, e ∈ J⁺}, u_e are chosen so that M = −ΠHΠ + P_JP_Jᵀ; implied equalities e add
/// ν p_e p_eᵀ through the products with the faces that imply them.
fn local_minimum(
    block: &Block,
    row: &Stationary,
    positive: &[usize],
    implied: &[(usize, Vec<(usize, Rational)>)],
) -> Option<SecondOrder> {
    let f = &row.field;
    let n_p = block.n_p();
    // H as a matrix over the field, symmetric.
    let unit = |k: usize| (0..n_p).map(|j| if j == k { f.one() } else { f.zero() }).collect::<Vec<Elem>>();
    let h: Vec<Vec<Elem>> = (0..n_p).map(|k| hessian_form(block, f, &row.mu, &unit(k))).collect();
    let mut m: Vec<Vec<Elem>> = h.iter().map(|line| line.iter().map(|x| f.neg(x)).collect()).collect();
    let mut u = Vec::new();
    if !positive.is_empty() {
        for (e, vector) in cross_terms(block, f, &h, positive) {
            add_symmetric(f, &mut m, &block.p[e], &vector);
            u.push((e, vector));
        }
    }
    for nu in [1_u64, 1 << 10, 1 << 24, 1 << 40] {
        let mut products: std::collections::BTreeMap<(usize, usize), Rational> = std::collections::BTreeMap::new();
        let mut trial = m.clone();
        for (e, others) in implied {
            for (g, weight) in others {
                let value = weight * Rational::from(nu);
                *products.entry(((*e).min(*g), (*e).max(*g))).or_insert(Rational::ZERO) += value;
            }
        }
        for ((e, g), value) in &products {
            let scaled: Vec<Elem> = block.p[*g].iter().map(|x| f.rational(&-(x * value))).collect();
            add_symmetric(f, &mut trial, &block.p[*e], &scaled);
        }
        let kernel = matrix::nullspace(f, &trial, n_p);
        let mut definite = trial;
        for k in &kernel {
            for (line, x) in definite.iter_mut().zip(k) {
                for (entry, y) in line.iter_mut().zip(k) {
                    *entry = f.add(entry, &f.mul(x, y));
                }
            }
        }
        if matrix::is_positive_definite_in(f, &definite) == Some(true) {
            let strict = kernel.iter().all(|k| only_rescales(block, row, k));
            let n = products.iter().map(|((e, g), v)| (*e, *g, f.rational(v))).collect();
            return Some(SecondOrder::LocalMin { order: Order { u, n, kernel }, strict });
        }
        if implied.is_empty() {
            break;
        }
    }
    None
}

/// u_e, the columns of U = ΠHLᵀ + ½P_J(LHLᵀ + 1) with L = (P_JᵀP_J)⁻¹P_Jᵀ.
fn cross_terms(block: &Block, f: &NumberField, h: &[Vec<Elem>], positive: &[usize]) -> Vec<(usize, Vec<Elem>)> {
    let q = &Rationals;
    let faces: Vec<Vec<Rational>> = positive.iter().map(|&e| block.p[e].clone()).collect();
    let gram: Vec<Vec<Rational>> = faces.iter().map(|x| faces.iter().map(|y| dot(x, y)).collect()).collect();
    let columns = matrix::transpose(&faces);
    // L by columns: (P_JᵀP_J) L = P_Jᵀ
    let l = matrix::transpose(
        &columns.iter().map(|right| matrix::solve(q, &gram, right).expect("J is independent")).collect::<Vec<_>>(),
    );
    let half = Rational::ONE / Rational::from(2);
    // HLᵀ by columns, then L H Lᵀ
    let hl: Vec<Vec<Elem>> =
        l.iter().map(|row| h.iter().map(|line| pair(f, line, row)).collect::<Vec<Elem>>()).collect();
    let lhl: Vec<Vec<Elem>> = hl.iter().map(|column| l.iter().map(|row| pair(f, column, row)).collect()).collect();
    positive
        .iter()
        .enumerate()
        .map(|(j, &e)| {
            // Π x = x − P_J (L x), with L(HLᵀ)_j = (LHLᵀ)_·j
            let vector = (0..block.n_p())
                .map(|k| {
                    let mut value = hl[j][k].clone();
                    for (i, face) in faces.iter().enumerate() {
                        value = f.sub(&value, &f.scale(&(&face[k] * &half), &lhl[j][i]));
                        if i == j {
                            value = f.add(&value, &f.rational(&(&face[k] * &half)));
                        }
                    }
                    value
                })
                .collect();
            (e, vector)
        })
        .collect()
}

/// m += p uᵀ + u pᵀ.
fn add_symmetric(f: &NumberField, m: &mut [Vec<Elem>], p: &[Rational], u: &[Elem]) {
    for (i, line) in m.iter_mut().enumerate() {
        for (j, entry) in line.iter_mut().enumerate() {
            *entry = f.add(entry, &f.add(&f.scale(&p[i], &u[j]), &f.scale(&p[j], &u[i])));
        }
    }
}

/// ⟨k, p_d⟩ a_e = ⟨k, p_e⟩ a_d for all d, e ∈ F.
fn only_rescales(block: &Block, row: &Stationary, k: &[Elem]) -> bool {
    let f = &row.field;
    let first = block.on[0];
    let (k0, a0) = (pair(f, k, &block.p[first]), pair(f, &row.w, &block.p[first]));
    block.on.iter().all(|&d| {
        let (kd, ad) = (pair(f, k, &block.p[d]), pair(f, &row.w, &block.p[d]));
        f.sign(&f.sub(&f.mul(&kd, &a0), &f.mul(&k0, &ad))) == 0
    })
}

/// Points of the critical cone: on each face subset a solution with the other inequalities strict, and their sums.
fn cone_directions(block: &Block, fixed: &[usize], faces: &[usize]) -> Vec<Vec<Rational>> {
    let mut rays: Vec<Vec<Rational>> = Vec::new();
    for &strict in faces {
        let mut rows: Vec<Row<Rational>> = fixed
            .iter()
            .map(|&g| Row { coeffs: block.p[g].clone(), relation: Relation::Eq, rhs: Rational::ZERO })
            .collect();
        for &f in faces {
            let relation = if f == strict { Relation::Gt } else { Relation::Eq };
            rows.push(Row { coeffs: negated(&block.p[f]), relation, rhs: Rational::ZERO });
        }
        if let Outcome::Feasible(x) = lp::decide_rational(&System { variables: block.n_p(), rows }) {
            rays.push(x);
        }
    }
    let mut all = rays.clone();
    for (i, x) in rays.iter().enumerate() {
        for y in &rays[i + 1..] {
            all.push(x.iter().zip(y).map(|(a, b)| a + b).collect());
        }
    }
    all
}
