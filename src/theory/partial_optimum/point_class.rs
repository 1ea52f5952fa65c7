//! The class of a given exact point of a threshold problem, decided exactly.

use super::block::Block;
use super::certificate::{self, ClassifiedRow};
use super::fields;
use super::listing::{Class, Kind};
use super::overlap;
use super::second_order::{self, SecondOrder};
use super::stationary::Stationary;
use crate::exact::Rational;
use crate::exact::field::{OrderedField, Rationals};
use crate::exact::lp::{self, Outcome, Relation, Row, System};
use crate::exact::matrix;
use crate::exact::rational;
use crate::fault::{self, Fault};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;
use sdlab_verify::Certificate;

/// Exact first-order facts about a point.
#[derive(Debug, Clone)]
pub struct FirstOrder {
    /// The pattern of the encoder.
    pub pattern: Pattern,
    /// L̃.
    pub loss: Rational,
    /// ∇_{v_i} L̃, one column per neuron.
    pub gradient_v: Vec<Vec<Rational>>,
    /// ∇_{w_i} L̃ of the cell's quadratic, one row per neuron.
    pub gradient_w: Vec<Vec<Rational>>,
}

/// What a point is in its cell.
#[derive(Debug, Clone)]
pub(super) enum PointKind {
    /// Not a partial optimum: `better` differs in one block only, lies in the same cell, and has a lower loss.
    NotStationary(Point),
    /// A partial optimum; (i, e, λ_ie) are the multipliers of ∇_{w_i} + Σ λ_ie p_e = 0.
    Stationary(Vec<(usize, usize, Rational)>),
}

/// Loss and gradients at a point (theory: ∇_V = −2EDZᵀ, ∇_W = −2[B∘(VᵀED)]Pᵀ).
pub fn first_order(problem: &Problem, point: &Point) -> FirstOrder {
    let pattern = Pattern::of_encoder(problem, &point.w_e);
    let features = problem.features();
    let z = |i: usize, d: usize| dot(&point.w_e[i], &features[d].w_p);
    let residuals: Vec<Vec<Rational>> = (0..problem.n())
        .map(|d| {
            let mut e = features[d].w_r.clone();
            for i in pattern.neurons_of(d) {
                let z = z(i, d);
                for (x, v) in e.iter_mut().zip(&point.w_d[i]) {
                    *x -= &z * v;
                }
            }
            e
        })
        .collect();
    let minus_two = Rational::from(-2);
    let sum = |i: usize, length: usize, term: &dyn Fn(usize) -> (Rational, Vec<Rational>)| {
        let mut total = vec![Rational::ZERO; length];
        for &d in &pattern.sets()[i] {
            let (factor, vector) = term(d);
            let factor = factor * &features[d].mass * &minus_two;
            for (t, x) in total.iter_mut().zip(&vector) {
                *t += &factor * x;
            }
        }
        total
    };
    let latents = point.w_e.len();
    let gradient_v = (0..latents).map(|i| sum(i, problem.n_r(), &|d| (z(i, d), residuals[d].clone()))).collect();
    let gradient_w = (0..latents)
        .map(|i| {
            sum(i, problem.n_p(), &|d| {
                let missed = if fault::planted(Fault::Gradient) { &features[d].w_r } else { &residuals[d] };
                (dot(&point.w_d[i], missed), features[d].w_p.clone())
            })
        })
        .collect();
    let loss = features.iter().zip(&residuals).fold(Rational::ZERO, |s, (f, e)| s + &f.mass * dot(e, e));
    FirstOrder { pattern, loss, gradient_v, gradient_w }
}

/// Decides whether the point is a partial optimum of its cell.
pub(super) fn kind(problem: &Problem, c: &Rational, point: &Point, first: &FirstOrder) -> PointKind {
    if first.gradient_v.iter().flatten().any(|x| !x.is_zero()) {
        let w_d = overlap::v_step(problem, &first.pattern, &point.w_e);
        return PointKind::NotStationary(Point { w_e: point.w_e.clone(), w_d });
    }
    let mut multipliers = Vec::new();
    for (i, gradient) in first.gradient_w.iter().enumerate() {
        let faces: Vec<usize> = (0..problem.n())
            .filter(|e| !first.pattern.sets()[i].contains(e) && dot(&point.w_e[i], &problem.features()[*e].w_p) == *c)
            .collect();
        match cone_combination(problem, &faces, &gradient.iter().map(|x| -x.clone()).collect::<Vec<_>>()) {
            Ok(found) => multipliers.extend(found.into_iter().map(|(e, x)| (i, e, x))),
            Err(direction) => {
                return PointKind::NotStationary(descend(problem, point, i, &direction, &first.pattern, &first.loss));
            }
        }
    }
    PointKind::Stationary(multipliers)
}

/// Writes g as Σ λ_e p_e with λ > 0 on an independent subset of the faces, or returns δ with ⟨δ, p_e⟩ ≤ 0 and ⟨δ, g⟩ > 0.
fn cone_combination(
    problem: &Problem,
    faces: &[usize],
    g: &[Rational],
) -> Result<Vec<(usize, Rational)>, Vec<Rational>> {
    if g.iter().all(Rational::is_zero) {
        return Ok(Vec::new());
    }
    let p = |e: usize| &problem.features()[e].w_p;
    let mut rows: Vec<Row<Rational>> = (0..problem.n_p())
        .map(|k| Row {
            coeffs: faces.iter().map(|&e| p(e)[k].clone()).collect(),
            relation: Relation::Eq,
            rhs: g[k].clone(),
        })
        .collect();
    for index in 0..faces.len() {
        let mut coeffs = vec![Rational::ZERO; faces.len()];
        coeffs[index] = Rational::ONE;
        rows.push(Row { coeffs, relation: Relation::Ge, rhs: Rational::ZERO });
    }
    match lp::decide_rational(&System { variables: faces.len(), rows }) {
        Outcome::Feasible(x) => {
            let mut list: Vec<(usize, Rational)> = faces.iter().copied().zip(x).filter(|(_, x)| !x.is_zero()).collect();
            // Carathéodory: move along a dependency until a coefficient vanishes.
            loop {
                let columns: Vec<Vec<Rational>> = list.iter().map(|(e, _)| p(*e).clone()).collect();
                let dependencies = matrix::nullspace(&Rationals, &matrix::transpose(&columns), columns.len());
                let Some(mut dependency) = dependencies.into_iter().next() else { break };
                if dependency.iter().all(|x| rational::sign(x) <= 0) {
                    dependency.iter_mut().for_each(|x| *x = -x.clone());
                }
                let step = list
                    .iter()
                    .zip(&dependency)
                    .filter(|(_, k)| rational::sign(k) > 0)
                    .map(|((_, x), k)| x / k)
                    .min()
                    .expect("a dependency has a positive entry");
                for ((_, x), k) in list.iter_mut().zip(&dependency) {
                    *x -= &step * k;
                }
                list.retain(|(_, x)| !x.is_zero());
            }
            Ok(list)
        }
        Outcome::Infeasible(multipliers) => Err(multipliers[..problem.n_p()].to_vec()),
    }
}

/// A point with row i moved along a descent direction into the cell.
fn descend(
    problem: &Problem,
    point: &Point,
    i: usize,
    direction: &[Rational],
    pattern: &Pattern,
    loss: &Rational,
) -> Point {
    let half = Rational::ONE / Rational::from(2);
    let tiny = Rational::ONE / Rational::from(1_u64 << 40);
    let mut t = Rational::ONE;
    loop {
        let mut better = point.clone();
        for (x, d) in better.w_e[i].iter_mut().zip(direction) {
            *x += &t * d;
        }
        let lower = Pattern::of_encoder(problem, &better.w_e) == *pattern && better.loss(problem) < *loss;
        // Without a fault the direction is one of descent into the cell, and the loop ends.
        if lower || fault::any() && t < tiny {
            return better;
        }
        t *= &half;
    }
}

/// The exact facts of a row with rational μ, so that its class can be decided.
pub(super) fn stationary_at(block: &Block, w: &[Rational], multipliers: &[(usize, Rational)]) -> Stationary {
    let form = |m: &[Vec<Rational>]| m.iter().zip(w).fold(Rational::ZERO, |s, (line, x)| s + x * dot(line, w));
    let mu = form(&block.a) / form(&block.b);
    let field = fields::of_rational(&mu);
    let tight: Vec<usize> = multipliers.iter().map(|(e, _)| *e).collect();
    let restriction = block.restrict(&tight).expect("the row itself lies on the face");
    let squarefree = restriction.characteristic.squarefree_part();
    let above = &block.total + Rational::ONE;
    let larger = if fault::planted(Fault::Class) { squarefree.degree() - 1 } else { 0 };
    let is_top = fields::roots_above(&squarefree, &mu, &above) == larger;
    let shifted: Vec<Vec<Rational>> = restriction
        .matrix
        .iter()
        .enumerate()
        .map(|(k, line)| line.iter().enumerate().map(|(j, x)| if j == k { x - &mu } else { x.clone() }).collect())
        .collect();
    let lift = |v: &[Rational]| v.iter().map(|x| field.rational(x)).collect::<Vec<_>>();
    let eigenspace = matrix::nullspace(&Rationals, &shifted, restriction.matrix.len());
    let faces = block.off.iter().copied().filter(|e| !tight.contains(e) && dot(w, &block.p[*e]) == block.c).collect();
    Stationary {
        mu: field.rational(&mu),
        w: lift(w),
        multipliers: multipliers.iter().map(|(e, x)| (*e, field.rational(x))).collect(),
        faces,
        is_top,
        family_dim: eigenspace.len().saturating_sub(1),
        silent: restriction.silent,
        field,
    }
}

/// The multipliers λ_e of H w = Σ λ_e p_e from those of ∇_w + Σ λ p = 0: times Σ M a² / 2.
pub(super) fn row_multipliers(block: &Block, w: &[Rational], list: &[(usize, Rational)]) -> Vec<(usize, Rational)> {
    let weight = block.on.iter().zip(&block.mass).fold(Rational::ZERO, |s, (&d, m)| {
        let a = dot(w, &block.p[d]);
        s + m * &a * &a
    });
    let half = Rational::ONE / Rational::from(2);
    list.iter().map(|(e, x)| (*e, x * &weight * &half)).collect()
}

/// The class of a point, with its certificate.
#[derive(Debug, Clone)]
pub struct PointReport {
    /// Loss, gradients, pattern.
    pub first: FirstOrder,
    /// `None` if the point is not a partial optimum of its cell.
    pub class: Option<Class>,
    /// For a local minimum: only rescaling keeps the loss.
    pub strict: bool,
    /// Any multiplier positive?
    pub kind: Kind,
    /// `not-partial-optimum`, `partial-optimum`, `strict-saddle` or `local-min`.
    pub certificate: Certificate,
}

/// Classifies a point of a threshold problem. For overlapping patterns the second order stays undecided.
///
/// # Errors
/// If the activation is not a threshold.
pub fn classify(problem: &Problem, point: &Point) -> Result<PointReport, String> {
    let Some(c) = problem.threshold() else {
        return Err("activation.kind: points are classified for `threshold` only, found a top-k activation".into());
    };
    let first = first_order(problem, point);
    let multipliers = match kind(problem, c, point, &first) {
        PointKind::NotStationary(better) => {
            let certificate = certificate::not_partial(problem, point, &better);
            return Ok(PointReport { first, class: None, strict: false, kind: Kind::Interior, certificate });
        }
        PointKind::Stationary(multipliers) => multipliers,
    };
    let kind = if multipliers.is_empty() { Kind::Interior } else { Kind::Boundary };
    if !first.pattern.is_disjoint() {
        let covered: Vec<usize> = (0..problem.n()).filter(|&d| !first.pattern.neurons_of(d).is_empty()).collect();
        let outside = (0..problem.n())
            .filter(|d| !covered.contains(d))
            .map(|d| &problem.features()[d])
            .fold(Rational::ZERO, |s, f| s + &f.mass * dot(&f.w_r, &f.w_r));
        let loss = &first.loss - outside;
        let certificate = certificate::joint(problem, &first.pattern, point, &multipliers, &loss);
        return Ok(PointReport { first, class: Some(Class::Degenerate), strict: false, kind, certificate });
    }
    let mut live = Vec::new();
    let mut dead = Vec::new();
    for (i, on) in first.pattern.sets().iter().enumerate() {
        if on.is_empty() {
            dead.push((i, point.w_e[i].clone(), point.w_d[i].clone()));
            continue;
        }
        let block = Block::new(problem, on, c);
        let own: Vec<(usize, Rational)> =
            multipliers.iter().filter(|(j, _, _)| *j == i).map(|(_, e, x)| (*e, x.clone())).collect();
        let row = stationary_at(&block, &point.w_e[i], &row_multipliers(&block, &point.w_e[i], &own));
        let class = second_order::classify(&block, &row);
        live.push((i, block, row, class));
    }
    let rows: Vec<ClassifiedRow> = live
        .iter()
        .map(|(neuron, block, row, class)| ClassifiedRow { neuron: *neuron, total: &block.total, row, class })
        .collect();
    let certificate = certificate::optimum(problem, &first.pattern, &rows, &dead);
    let class = if live.iter().any(|(.., class)| matches!(class, SecondOrder::Saddle(_))) {
        Class::StrictSaddle
    } else if live.iter().all(|(.., class)| matches!(class, SecondOrder::LocalMin { .. })) {
        Class::LocalMin
    } else {
        Class::Degenerate
    };
    let strict =
        class == Class::LocalMin && live.iter().all(|(.., c)| matches!(c, SecondOrder::LocalMin { strict: true, .. }));
    Ok(PointReport { first, class: Some(class), strict, kind, certificate })
}
