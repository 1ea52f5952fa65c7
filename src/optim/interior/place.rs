//! A step from a place on the path: its direction, the search along it, and the multipliers.

use super::cell::reach;
use super::{
    Block, CRAWL, DAMPING, Direction, End, FOUND, GRADIENTS, Interior, LEASH, LEAST_DAMPING, Landing, Newton, Place,
    REDUCTION, STEEPEST, Stands,
};
use crate::optim::cell::inner;
use crate::theory::loss::LossError;
use faer::Mat;

impl Place {
    /// Σ λ s, for the multipliers μ/s.
    pub(super) fn gap(&self) -> f64 {
        self.mu * self.pairs()
    }

    /// Number of inequalities.
    fn pairs(&self) -> f64 {
        (self.at.s.nrows() * self.at.s.ncols()) as f64
    }

    /// ρ.
    pub(super) fn damping(&self) -> f64 {
        self.size * (DAMPING * (self.gap() / self.total).min(1.0)).max(LEAST_DAMPING)
    }

    /// The next μ, after a minimiser.
    pub(super) fn reduce(&mut self, gap: f64) {
        let (pairs, before) = (self.pairs(), self.gap());
        let quick = self.stage <= 2 && before < 1e-3 * self.total;
        self.reduction = if quick { (REDUCTION.1 * self.reduction).max(STEEPEST) } else { REDUCTION.0 };
        self.mu = (self.mu * self.reduction).max(0.9 * gap * self.at.loss / pairs);
        self.radius = self.radius.max(before.sqrt());
        (self.stage, self.leash) = (0, LEASH);
    }

    /// A larger μ, where steps have been cut again and again.
    pub(super) fn rescue(&mut self) {
        self.mu *= 25.0;
        self.radius = 0.5 * self.gap().sqrt();
        (self.short, self.stage, self.reduction) = (0, 0, REDUCTION.0);
        self.rescues += 1;
    }

    /// The trust region after a search.
    pub(super) fn resize(&mut self, step: &Direction, landing: &Landing) {
        let length = step.square.sqrt();
        if landing.tries > 0 {
            self.radius = landing.t * length;
        } else if landing.ratio > 0.7 && step.end == End::Boundary {
            let wider = if landing.whole == 1.0 { 2.0 } else { 1.2 };
            self.radius = (wider * self.radius).min(1e3 * self.gap().sqrt());
        } else if landing.ratio < 0.25 {
            self.radius = 0.5 * length;
        }
    }

    /// Goes where the search has led, with multipliers.
    pub(super) fn settle(&mut self, step: &Direction, landing: Landing) -> Stands {
        let Landing { t, ratio, gain, tries, next, near, .. } = landing;
        let gap = self.gap();
        if let Some(next) = next {
            let ds = &step.ds;
            let change = |d: usize, i: usize| {
                let (s, l) = (self.at.s[(d, i)], self.multipliers[(d, i)]);
                self.mu / s - l - l / s * ds[(d, i)]
            };
            let dl = Mat::from_fn(ds.nrows(), ds.ncols(), change);
            let far = (0..dl.ncols()).map(|i| reach(&self.multipliers, &dl, i)).fold(0.0, f64::max);
            let share = if far > 0.0 { (near / far).min(1.0) } else { 1.0 };
            self.multipliers += faer::Scale(share) * dl;
            // Steps keep the scale up to rounding, which is left as it is: another product could round a small slack to 0.
            self.at = next;
            self.leash =
                if ratio < 0.25 || tries > 0 { self.leash.sqrt().max(2.0) } else { (10.0 * self.leash).min(LEASH) };
        } else {
            self.leash = 2.0;
        }
        self.hold();
        self.stage += 1;
        self.short = if t < 0.1 { self.short + 1 } else { 0 };
        self.gains.push_back(gain);
        if self.gains.len() > CRAWL.1 {
            self.gains.pop_front();
        }
        let fallen = self.gains.iter().sum::<f64>();
        if -step.slope < FOUND * gap && step.end == End::Found && t > 0.5 {
            Stands::Minimiser
        } else if self.stage >= CRAWL.0 && fallen < CRAWL.1 as f64 * CRAWL.2 * gap {
            Stands::Crawling
        } else {
            Stands::Between
        }
    }

    /// Along the step, within the interior, to where the barrier function falls enough.
    pub(super) fn search(&self, inside: &Interior, step: &Direction) -> Result<Landing, LossError> {
        let Direction { U, ds, slope, curvature, .. } = step;
        let columns = 0..ds.ncols();
        let far = columns.clone().map(|i| reach(&self.at.s, ds, i)).fold(0.0, f64::max);
        let near = (1.0 - self.gap() / self.at.loss).max(0.99);
        let whole = if far < near { 1.0 } else { near / far };
        let mut landing =
            Landing { t: whole, whole, near, ratio: -1.0, gain: 0.0, tries: 0, evaluations: 0, next: None };
        let rounding = 1e-12 * self.at.loss;
        while landing.tries < 10 {
            let t = landing.t;
            let W = &self.at.W + faer::Scale(t) * U;
            let s = inside.slacks(&W);
            if columns.clone().all(|i| s.col_as_slice(i).iter().all(|s| *s > 0.0)) {
                let logs = |i: usize| {
                    let pairs = s.col_as_slice(i).iter().zip(self.at.s.col_as_slice(i));
                    pairs.map(|(after, before)| (after / before).ln()).sum::<f64>()
                };
                let deeper = self.mu * columns.clone().map(logs).sum::<f64>();
                let next = inside.eliminated(W, s, self.damping())?;
                landing.evaluations += 1;
                let change = (next.loss - self.at.loss) - deeper;
                let is_rounding = (slope * t).abs() < rounding && change.abs() < rounding;
                if change <= 1e-3 * slope * t || is_rounding {
                    let promised = slope * t + 0.5 * t * t * curvature;
                    landing.ratio = if is_rounding {
                        1.0
                    } else if promised < 0.0 {
                        change / promised
                    } else {
                        -1.0
                    };
                    (landing.next, landing.gain) = (Some(next), -change);
                    return Ok(landing);
                }
            }
            landing.t *= 0.4;
            landing.tries += 1;
        }
        Ok(landing)
    }

    /// Keeps λ s near μ.
    pub(super) fn hold(&mut self) {
        let Self { at, multipliers, mu, leash, .. } = self;
        for i in 0..at.s.ncols() {
            for (l, s) in multipliers.col_as_slice_mut(i).iter_mut().zip(at.s.col_as_slice(i)) {
                *l = l.clamp(*mu / s / *leash, *mu / s * *leash);
            }
        }
    }

    /// The step from here.
    pub(super) fn direction(&self, inside: &Interior) -> Result<Direction, LossError> {
        let (s, multipliers) = (&self.at.s, &self.multipliers);
        let (n, m) = (s.nrows(), s.ncols());
        let barrier = Mat::from_fn(n, m, |d, i| multipliers[(d, i)] / s[(d, i)]);
        let blocks = inside.blocks(&self.at, &barrier)?;
        let push = Mat::from_fn(n, m, |d, i| inside.signs[(d, i)] * self.mu / s[(d, i)]);
        let slope = &self.at.gradient - &inside.P * push;
        let Newton { U, HU, square, end, products } = self.gradients(inside, &barrier, &blocks, &slope);
        let (slope, curvature) = (inner(&slope, &U), inner(&U, &HU));
        Ok(Direction { ds: inside.slacks(&U), U, square, end, products, slope, curvature })
    }

    /// Steihaug's conjugate gradients on steps orthogonal to all c_i.
    fn gradients(&self, inside: &Interior, barrier: &Mat<f64>, blocks: &[Block], slope: &Mat<f64>) -> Newton {
        let precondition = |r: &Mat<f64>| {
            let mut out = Mat::zeros(r.nrows(), r.ncols());
            for (i, block) in blocks.iter().enumerate() {
                inside.tangent(i, block, r.col_as_slice(i), out.col_as_slice_mut(i));
            }
            out
        };
        let limit = self.radius * self.radius;
        let (mut U, mut HU) = (Mat::zeros(slope.nrows(), slope.ncols()), Mat::zeros(slope.nrows(), slope.ncols()));
        let mut r = faer::Scale(-1.0) * slope;
        let z = precondition(&r);
        let mut p = z.clone();
        let mut rz = inner(&r, &z);
        let first = rz;
        let (mut square, mut mixed, mut length) = (0.0, 0.0, rz);
        for products in 1..=GRADIENTS.1 {
            let Hp = inside.hessian(&self.at, barrier, &p);
            let curvature = inner(&p, &Hp);
            let t = rz / curvature;
            // False where a number is none, too.
            let stays = curvature > 0.0 && square + 2.0 * t * mixed + t * t * length < limit;
            if !stays {
                let t = ((mixed * mixed + length * (limit - square)).max(0.0).sqrt() - mixed) / length;
                if length > 0.0 && t.is_finite() {
                    U += faer::Scale(t) * &p;
                    HU += faer::Scale(t) * &Hp;
                }
                return Newton { U, HU, square: limit, end: End::Boundary, products };
            }
            U += faer::Scale(t) * &p;
            HU += faer::Scale(t) * &Hp;
            square += 2.0 * t * mixed + t * t * length;
            r -= faer::Scale(t) * Hp;
            let z = precondition(&r);
            let next = inner(&r, &z);
            if next <= GRADIENTS.0 * GRADIENTS.0 * first {
                return Newton { U, HU, square, end: End::Found, products };
            }
            let keep = next / rz;
            p = z + faer::Scale(keep) * p;
            mixed = keep * (mixed + t * length);
            length = next + keep * keep * length;
            rz = next;
        }
        Newton { U, HU, square, end: End::Most, products: GRADIENTS.1 }
    }
}
