//! One neuron of a disjoint pattern: the pencil (A, B) of its block and the restriction of it to faces of the cell.
//!
//! With F the features of the neuron, a = P_Fᵀw and the decoder column eliminated, the block's loss is
//! Σ_F M_d‖r_d‖² − wᵀAw / wᵀBw, where A = P_F D G D P_Fᵀ, B = P_F D P_Fᵀ and G = R_FᵀR_F. The row w is part of a partial
//! optimum iff H w = (A − μB) w = Σ λ_e p_e with λ_e ≥ 0 on the faces a_e = c (e ∉ F), λ_e = 0 elsewhere.

use crate::exact::Rational;
use crate::exact::field::Rationals;
use crate::exact::matrix;
use crate::exact::poly::{self, Polynomial};
use crate::theory::pattern::dot;
use crate::theory::problem::Problem;
use std::collections::BTreeSet;

/// The exact data of one neuron's block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Features that fire the neuron.
    pub on: Vec<usize>,
    /// All other features.
    pub off: Vec<usize>,
    /// p_d for every feature of the problem.
    pub p: Vec<Vec<Rational>>,
    /// M_d for d ∈ F, in the order of `on`.
    pub mass: Vec<Rational>,
    /// D G D over F: M_d M_e ⟨r_d, r_e⟩.
    pub weighted_gram: Vec<Vec<Rational>>,
    /// The threshold.
    pub c: Rational,
    /// A, n_p×n_p.
    pub a: Vec<Vec<Rational>>,
    /// B, n_p×n_p.
    pub b: Vec<Vec<Rational>>,
    /// T = Σ_F M_d‖r_d‖², an upper bound of every μ.
    pub total: Rational,
    /// Rows x_d with ⟨x_d, p_e⟩ = δ_de for all features, if all p_d are independent.
    pub dual: Option<Vec<Vec<Rational>>>,
}

/// The block's pencil on the face {w : ⟨w, p_e⟩ = 0 for e ∈ J}.
pub(super) struct Restriction {
    /// J: independent, disjoint from F.
    pub tight: Vec<usize>,
    /// Encoder rows w_k in the face whose activations a_k = P_Fᵀw_k are a basis of what the face allows.
    pub rows: Vec<Vec<Rational>>,
    /// The activations a_k, m numbers each.
    pub activations: Vec<Vec<Rational>>,
    /// A basis of the rows in the face that no feature of F sees.
    pub silent: Vec<Vec<Rational>>,
    /// (TᵀDT)⁻¹TᵀDGDT in that basis: its eigenvalues are the stationary μ of the face.
    pub matrix: Vec<Vec<Rational>>,
    /// Its characteristic polynomial.
    pub characteristic: Polynomial,
}

impl Block {
    /// The block of features `on` of a threshold problem.
    pub fn new(problem: &Problem, on: &BTreeSet<usize>, c: &Rational) -> Self {
        let features = problem.features();
        let on: Vec<usize> = on.iter().copied().collect();
        let off = (0..problem.n()).filter(|d| !on.contains(d)).collect();
        let p: Vec<Vec<Rational>> = features.iter().map(|f| f.w_p.clone()).collect();
        let mass: Vec<Rational> = on.iter().map(|&d| features[d].mass.clone()).collect();
        let weighted_gram: Vec<Vec<Rational>> = on
            .iter()
            .zip(&mass)
            .map(|(&d, m)| {
                on.iter().zip(&mass).map(|(&e, l)| m * l * dot(&features[d].w_r, &features[e].w_r)).collect()
            })
            .collect();
        let total =
            on.iter().zip(&mass).fold(Rational::ZERO, |s, (&d, m)| s + m * dot(&features[d].w_r, &features[d].w_r));
        let n_p = problem.n_p();
        let p_on: Vec<Vec<Rational>> = on.iter().map(|&d| p[d].clone()).collect();
        let columns = matrix::transpose(&p_on);
        let a = matrix::mat_mul(&Rationals, &matrix::mat_mul(&Rationals, &columns, &weighted_gram), &p_on);
        let weighted: Vec<Vec<Rational>> =
            p_on.iter().zip(&mass).map(|(row, m)| row.iter().map(|x| m * x).collect()).collect();
        let b = matrix::mat_mul(&Rationals, &columns, &weighted);
        let dual = (p.len() <= n_p && matrix::rank(&Rationals, &p) == p.len()).then(|| dual_basis(&p));
        Self { on, off, p, mass, weighted_gram, c: c.clone(), a, b, total, dual }
    }

    /// n_p.
    pub fn n_p(&self) -> usize {
        self.p[0].len()
    }

    /// The pencil on the face of the independent set `tight`, or `None` if no feature of F sees the face.
    pub fn restrict(&self, tight: &[usize]) -> Option<Restriction> {
        let q = &Rationals;
        let (n_p, m) = (self.n_p(), self.on.len());
        let faces: Vec<Vec<Rational>> = tight.iter().map(|&e| self.p[e].clone()).collect();
        let face = matrix::nullspace(q, &faces, n_p);
        if face.is_empty() {
            return None;
        }
        // seen[d][k] = ⟨p_d, k-th row of the face's basis⟩
        let seen: Vec<Vec<Rational>> =
            self.on.iter().map(|&d| face.iter().map(|row| dot(&self.p[d], row)).collect()).collect();
        let combine = |y: &[Rational]| combination(&face, y, n_p);
        let silent: Vec<Vec<Rational>> = matrix::nullspace(q, &seen, face.len()).iter().map(|y| combine(y)).collect();
        let rank = face.len() - silent.len();
        if rank == 0 {
            return None;
        }
        let rows: Vec<Vec<Rational>> = if rank == m {
            // Every activation is possible: the unit activations are the basis, in which the matrix is G D.
            (0..m)
                .map(|d| {
                    let unit: Vec<Rational> =
                        (0..m).map(|e| if d == e { Rational::ONE } else { Rational::ZERO }).collect();
                    combine(&matrix::solve(q, &seen, &unit).expect("the activations span the space"))
                })
                .collect()
        } else {
            matrix::independent_columns(q, &seen).into_iter().map(|k| face[k].clone()).collect()
        };
        let activations: Vec<Vec<Rational>> =
            rows.iter().map(|w| self.on.iter().map(|&d| dot(&self.p[d], w)).collect()).collect();
        let form = |weights: &dyn Fn(usize, usize) -> Rational| -> Vec<Vec<Rational>> {
            activations
                .iter()
                .map(|x| {
                    activations
                        .iter()
                        .map(|y| {
                            let mut sum = Rational::ZERO;
                            for (d, xd) in x.iter().enumerate().filter(|(_, v)| !v.is_zero()) {
                                for (e, ye) in y.iter().enumerate().filter(|(_, v)| !v.is_zero()) {
                                    sum += xd * ye * weights(d, e);
                                }
                            }
                            sum
                        })
                        .collect()
                })
                .collect()
        };
        let numerator = form(&|d, e| self.weighted_gram[d][e].clone());
        let denominator = form(&|d, e| if d == e { self.mass[d].clone() } else { Rational::ZERO });
        let columns: Vec<Vec<Rational>> = matrix::transpose(&numerator)
            .iter()
            .map(|column| matrix::solve(q, &denominator, column).expect("masses are positive"))
            .collect();
        let matrix = matrix::transpose(&columns);
        let characteristic = poly::characteristic_polynomial(&matrix);
        Some(Restriction { tight: tight.to_vec(), rows, activations, silent, matrix, characteristic })
    }
}

/// Rows dual to independent features.
fn dual_basis(p: &[Vec<Rational>]) -> Vec<Vec<Rational>> {
    (0..p.len())
        .map(|d| {
            let unit: Vec<Rational> =
                (0..p.len()).map(|e| if d == e { Rational::ONE } else { Rational::ZERO }).collect();
            matrix::solve(&Rationals, p, &unit).expect("the features are independent")
        })
        .collect()
}

/// Σ_k y_k basis_k.
pub(super) fn combination(basis: &[Vec<Rational>], y: &[Rational], length: usize) -> Vec<Rational> {
    let mut sum = vec![Rational::ZERO; length];
    for (row, factor) in basis.iter().zip(y).filter(|(_, factor)| !factor.is_zero()) {
        for (s, x) in sum.iter_mut().zip(row) {
            *s += factor * x;
        }
    }
    sum
}
