//! How far one update in f32 may be from the same update in f64, number by number: errors are carried along to first order, and Adam's quotient
//! is bounded as a quotient, for it is large where a gradient is small.

use super::super::{Moments, Rule, Spec};
use super::bounds::{TINY, U};
use crate::sdl::{Parameter, Tensors};

/// Parameters and moments before an update, and the gradient.
pub struct Update<'a> {
    /// What the backend was made for.
    pub spec: &'a Spec,
    /// Parameters before.
    pub parameters: &'a Tensors<f64>,
    /// First moments before.
    pub first: &'a Tensors<f64>,
    /// Second moments before.
    pub second: Option<&'a Tensors<f64>>,
    /// The backend's gradient, anchoring included.
    pub gradient: &'a Tensors<f64>,
    /// Updates done, this one included.
    pub step: u64,
    /// η.
    pub rate: f64,
}

/// Bounds on |computed − exact|.
pub struct Bounds {
    /// Of the new parameters.
    pub parameters: Tensors<f64>,
    /// Of the new first moments.
    pub first: Tensors<f64>,
    /// Of the new second moments.
    pub second: Tensors<f64>,
    /// Of the norm of the gradient.
    pub norm: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x * y).abs()).sum()
}

impl Update<'_> {
    /// All of them.
    pub fn bounds(&self) -> Bounds {
        let (mut gradient, mut error) = (self.gradient.clone(), self.gradient.map(|g| 2.0 * U * g.abs() + TINY));
        self.anchoring(&mut error);
        if self.spec.unit_decoder {
            self.projection(&mut gradient, &mut error);
        }
        let norm = self.clipping(&mut gradient, &mut error);
        let zeros = || Tensors::zeros_like(self.parameters);
        let mut bounds = Bounds { parameters: zeros(), first: zeros(), second: zeros(), norm };
        for parameter in self.parameters.parameters() {
            for k in 0..self.parameters.get(parameter).map_or(0, <[f64]>::len) {
                self.rule(parameter, k, &gradient, &error, &mut bounds);
            }
        }
        bounds
    }

    /// Anchoring may be added again, with other roundings.
    fn anchoring(&self, error: &mut Tensors<f64>) {
        let anchors = &self.spec.anchors;
        for (parameter, known) in [(Parameter::Encoder, &anchors.inputs), (Parameter::Decoder, &anchors.targets)] {
            let columns = parameter.size(self.spec.shape).1;
            for (&i, known) in anchors.latents.iter().zip(known.chunks_exact(columns)) {
                let row = self.parameters.row(parameter, i as usize);
                for ((e, w), k) in error.row_mut(parameter, i as usize).iter_mut().zip(row).zip(known) {
                    *e += 8.0 * U * anchors.weight * (w.abs() + f64::from(k.abs()));
                }
            }
        }
    }

    fn projection(&self, gradient: &mut Tensors<f64>, error: &mut Tensors<f64>) {
        let n_r = self.spec.shape.n_r as f64;
        for i in 0..self.spec.shape.n_q {
            let column = self.parameters.row(Parameter::Decoder, i);
            let square = dot(column, column);
            if square == 0.0 {
                continue;
            }
            let g = gradient.row_mut(Parameter::Decoder, i);
            let along = g.iter().zip(column).map(|(g, v)| g * v).sum::<f64>() / square;
            let e = error.row_mut(Parameter::Decoder, i);
            let of_product = dot(column, e) + (n_r + 3.0) * U * dot(g, column);
            let of_along = of_product / square + along.abs() * (n_r + 3.0) * U;
            for ((g, e), v) in g.iter_mut().zip(e).zip(column) {
                *e += v.abs() * of_along + 2.0 * U * (g.abs() + (along * v).abs());
                *g -= along * v;
            }
        }
    }

    /// Returns the bound of the norm.
    fn clipping(&self, gradient: &mut Tensors<f64>, error: &mut Tensors<f64>) -> f64 {
        let blocks: Vec<Parameter> = gradient.parameters().collect();
        let length = |t: &Tensors<f64>| blocks.iter().filter_map(|p| t.get(*p)).map(|g| dot(g, g)).sum::<f64>().sqrt();
        let count: usize = blocks.iter().filter_map(|p| gradient.get(*p)).map(<[f64]>::len).sum();
        let norm = length(gradient);
        let of_norm = length(error) + norm * (count as f64 + 4.0) * U + TINY;
        let clip = self.spec.optimizer.clip;
        if clip > 0.0 && norm + of_norm > clip {
            let factor = (clip / norm).min(1.0);
            for parameter in blocks {
                let (Some(g), Some(e)) = (gradient.get_mut(parameter), error.get_mut(parameter)) else { continue };
                for (g, e) in g.iter_mut().zip(e) {
                    *e = factor * *e + g.abs() * factor * (of_norm / norm + 3.0 * U);
                    *g *= factor;
                }
            }
        }
        of_norm
    }

    fn rule(&self, parameter: Parameter, k: usize, gradient: &Tensors<f64>, error: &Tensors<f64>, bounds: &mut Bounds) {
        let at = |t: &Tensors<f64>| t.get(parameter).map_or(0.0, |block| block[k]);
        let mut set = |of: fn(&mut Bounds) -> &mut Tensors<f64>, bound: f64| {
            if let Some(block) = of(bounds).get_mut(parameter) {
                block[k] = bound;
            }
        };
        let (w, m, g, e) = (at(self.parameters), at(self.first), at(gradient), at(error));
        let optimizer = &self.spec.optimizer;
        let (beta_1, beta_2) = (optimizer.beta_1, optimizer.beta_2);
        let Some(second) = self.second else {
            let velocity = beta_1 * m + g;
            let of_velocity = e + 4.0 * U * (beta_1 * m.abs() + g.abs()) + TINY;
            set(|b| &mut b.first, of_velocity + self.storage(velocity, of_velocity));
            let moved = self.rate * velocity.abs();
            set(|b| &mut b.parameters, self.rate * of_velocity + 4.0 * U * moved + 2.0 * U * (w.abs() + moved) + TINY);
            return;
        };
        let v = at(second);
        let (m, of_m) = (
            beta_1 * m + (1.0 - beta_1) * g,
            (1.0 - beta_1) * e + 4.0 * U * (beta_1 * m.abs() + (1.0 - beta_1) * g.abs()) + TINY,
        );
        let v = beta_2 * v + (1.0 - beta_2) * g * g;
        let of_v = (1.0 - beta_2) * (2.0 * g.abs() * e + e * e) + 6.0 * U * v + 2.0 * TINY;
        let t = self.step as f64;
        let (c_1, c_2) = (1.0 - beta_1.powf(t), 1.0 - beta_2.powf(t));
        let root = (v / c_2).sqrt();
        // |√a − √b| is at most √|a − b|, and |a − b|/√b.
        let of_root = (of_v / c_2).sqrt().min(of_v / c_2 / root.max(f64::MIN_POSITIVE)) + 4.0 * U * root;
        let (size, of_size) = (m.abs() / c_1, of_m / c_1 + 3.0 * U * m.abs() / c_1);
        let exact = root + optimizer.epsilon;
        let least = (root - of_root).max(0.0) + optimizer.epsilon * (1.0 - U);
        let of_quotient = of_size / least + size * (of_root + 2.0 * U * exact) / (exact * least);
        let moved = self.rate * size / exact;
        let decay = if optimizer.rule == Rule::AdamW { self.rate * optimizer.weight_decay } else { 0.0 };
        let of_w = self.rate * of_quotient + 6.0 * U * moved + 2.0 * U * (w.abs() * (1.0 + 2.0 * decay) + moved) + TINY;
        set(|b| &mut b.first, of_m + self.storage(m, of_m));
        set(|b| &mut b.second, of_v + self.storage(v, of_v));
        set(|b| &mut b.parameters, of_w);
    }

    /// What storing a moment may change, which is so large up to an error: in bf16 less than one unit in the last of 8 places.
    fn storage(&self, moment: f64, error: f64) -> f64 {
        match self.spec.moments {
            Moments::F32 => 0.0,
            Moments::Bf16 => (moment.abs() + error) / 128.0 + f64::from(f32::MIN_POSITIVE) / 128.0,
        }
    }

    /// Carries the bounds over the rescaling of decoder columns, of which `unscaled` are the exact ones before it.
    pub fn rescaled(&self, bounds: &mut Bounds, unscaled: &Tensors<f64>) {
        let n_r = self.spec.shape.n_r as f64;
        for i in 0..self.spec.shape.n_q {
            let column = unscaled.row(Parameter::Decoder, i);
            let norm = dot(column, column).sqrt();
            let of_column = bounds.parameters.row_mut(Parameter::Decoder, i);
            let whole = dot(of_column, of_column).sqrt();
            for (e, v) in of_column.iter_mut().zip(column) {
                // Twice the rounding of a norm, for a column that did not change may keep the norm that an earlier step has left.
                *e = *e / norm + v.abs() / norm * (whole / norm + 2.0 * (n_r + 4.0) * U) + TINY;
            }
        }
    }
}
