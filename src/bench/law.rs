//! The law of the coefficients in closed form: rates, moments, masses M_d (eq. 11), and the number of active features.

use super::coefficients::{Coefficients, Copula};
use statrs::distribution::Continuous;

impl Coefficients {
    /// Pr(x_d > 0) for every feature.
    pub fn firing_rates(&self) -> Vec<f64> {
        let mut rates = self.rates.clone();
        for group in self.groups.iter().filter(|g| g.len() > 1) {
            rates[group[0]] = 1.0 - group[1..].iter().map(|&d| 1.0 - self.rates[d]).product::<f64>();
        }
        rates
    }

    /// E\[x_d² | x_d > 0\] = s_d² (c_min² + 2 c_min β + 2β²).
    pub fn second_moments(&self) -> Vec<f64> {
        let (c, b) = (self.c_min, self.beta);
        self.scales.iter().map(|s| s * s * (c * c + 2.0 * c * b + 2.0 * b * b)).collect()
    }

    /// M_d = Pr(x = x_d e_d)·E\[x_d² | x_d > 0\] (eq. 11). Within a hierarchy it is 0: parents and sub-concepts never fire alone.
    pub fn masses(&self) -> Vec<f64> {
        let n = self.n();
        let mut alone = vec![0.0; n];
        let blocks = self.blocks();
        let silent: Vec<f64> = blocks.iter().map(|b| b.count[0]).collect();
        // Products of all other blocks, by prefixes and suffixes: no division by a probability that may be 0.
        let mut suffix = vec![1.0; silent.len() + 1];
        for k in (0..silent.len()).rev() {
            suffix[k] = suffix[k + 1] * silent[k];
        }
        let mut prefix = 1.0;
        for (k, block) in blocks.iter().enumerate() {
            for (&d, only) in block.features.iter().zip(&block.only) {
                alone[d] = prefix * suffix[k + 1] * only;
            }
            prefix *= silent[k];
        }
        alone.iter().zip(self.second_moments()).map(|(a, m)| a * m).collect()
    }

    /// Pr(‖x‖₀ = m) for m = 0, 1, .. up to where the rest is below 1e-12.
    pub fn count_law(&self) -> Vec<f64> {
        let mut law = vec![1.0];
        for block in self.blocks() {
            law = convolve(&law, &block.count);
            // What is cut off can only move upwards.
            let mut rest = 0.0;
            while law.len() > 1 && rest + law[law.len() - 1] < 1e-12 / self.n() as f64 {
                rest += law[law.len() - 1];
                law.pop();
            }
        }
        law
    }

    /// Groups of features that are independent of one another.
    fn blocks(&self) -> Vec<Block> {
        if let Some(copula) = &self.copula {
            let chunks = self.rates.chunks(copula.group).enumerate();
            return chunks.map(|(k, rates)| Block::correlated(k * copula.group, rates, copula)).collect();
        }
        if self.groups.is_empty() {
            return (0..self.n()).map(|d| Block::independent(d, &self.rates[d..=d])).collect();
        }
        self.groups.iter().map(|group| Block::hierarchical(group, &self.rates)).collect()
    }
}

/// Features that are independent of all others.
struct Block {
    features: Vec<usize>,
    /// Pr(exactly m of them are active).
    count: Vec<f64>,
    /// Pr(of them exactly this one is active).
    only: Vec<f64>,
}

impl Block {
    fn independent(first: usize, rates: &[f64]) -> Self {
        let count = rates.iter().fold(vec![1.0], |law, p| convolve(&law, &[1.0 - p, *p]));
        let others =
            |d: usize| rates.iter().enumerate().filter(|(e, _)| *e != d).map(|(_, p)| 1.0 - p).product::<f64>();
        let only = (0..rates.len()).map(|d| rates[d] * others(d)).collect();
        Self { features: (first..first + rates.len()).collect(), count, only }
    }

    /// The mixture over the common factor, by the trapezoid rule, which converges exponentially for a Gaussian weight.
    fn correlated(first: usize, rates: &[f64], copula: &Copula) -> Self {
        const HALF: i32 = 360;
        const STEP: f64 = 1.0 / 40.0;
        let mut mixture =
            Self { features: Vec::new(), count: vec![0.0; rates.len() + 1], only: vec![0.0; rates.len()] };
        for k in -HALF..=HALF {
            let g = f64::from(k) * STEP;
            let weight = STEP * copula.normal.pdf(g);
            let given: Vec<f64> = rates.iter().map(|p| copula.given(*p, g)).collect();
            let block = Self::independent(first, &given);
            mixture.count.iter_mut().zip(&block.count).for_each(|(m, c)| *m += weight * c);
            mixture.only.iter_mut().zip(&block.only).for_each(|(m, o)| *m += weight * o);
            mixture.features = block.features;
        }
        mixture
    }

    fn hierarchical(group: &[usize], rates: &[f64]) -> Self {
        let own: Vec<f64> = group.iter().map(|&d| rates[d]).collect();
        if group.len() == 1 {
            return Self::independent(group[0], &own);
        }
        let children = Self::independent(group[1], &own[1..]);
        // The parent makes one more wherever there is one.
        let count = [&children.count[..1], &[0.0], &children.count[1..]].concat();
        Self { features: group.to_vec(), count, only: vec![0.0; group.len()] }
    }
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            sum[i + j] += x * y;
        }
    }
    sum
}
