//! The construction in the published proof of Thm 3.7 (eqs. 75, 76), with its true gradient.

use super::point_class::first_order;
use crate::exact::Rational;
use crate::theory::pattern::{Pattern, dot};
use crate::theory::point::Point;
use crate::theory::problem::Problem;

/// The printed point and the gradient that the proof claims to vanish.
#[derive(Debug, Clone)]
pub struct Construction {
    /// The given encoder with the decoder of eq. 76; dead neurons get a zero column.
    pub point: Point,
    /// ∇_{w_i} L̃ at the point, one row per neuron: −2 Σ_{d∈F_i} M_d ⟨v_i, r_d − a_d v_i⟩ p_d (eq. 85, not eq. 86).
    pub gradient_w: Vec<Vec<Rational>>,
}

impl Construction {
    /// Whether the gradient in W vanishes, as eq. 88 says.
    pub fn is_stationary(&self) -> bool {
        self.gradient_w.iter().flatten().all(Rational::is_zero)
    }
}

/// Eq. 76 for an encoder that realizes a disjoint pattern.
pub fn construct(problem: &Problem, pattern: &Pattern, w_e: &[Vec<Rational>]) -> Construction {
    let features = problem.features();
    let w_d = pattern
        .sets()
        .iter()
        .zip(w_e)
        .map(|(on, w)| {
            let mut column = vec![Rational::ZERO; problem.n_r()];
            let mut weight = Rational::ZERO;
            for &d in on {
                let a = dot(w, &features[d].w_p);
                weight += &features[d].mass * &a * &a;
                let factor = &features[d].mass * a;
                for (x, r) in column.iter_mut().zip(&features[d].w_r) {
                    *x += &factor * r;
                }
            }
            if !weight.is_zero() {
                column.iter_mut().for_each(|x| *x /= &weight);
            }
            column
        })
        .collect();
    let point = Point { w_e: w_e.to_vec(), w_d };
    let gradient_w = first_order(problem, &point).gradient_w;
    Construction { point, gradient_w }
}
