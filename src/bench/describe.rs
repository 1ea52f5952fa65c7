//! What a bench looks like: its numbers as tables, its distributions as a figure.

use super::dataset::{Bench, Side};
use super::features::interference_limit;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

/// Samples that are drawn to compare with the laws.
pub const SAMPLES: u64 = 20_000;
/// Bins of a histogram.
const BINS: usize = 60;

/// Statistics of a bench.
#[derive(Debug, Clone)]
pub struct Description {
    /// Largest product of two different directions, per source or target matrix.
    pub interference: Vec<f64>,
    /// The least that n unit vectors can have.
    pub limit: f64,
    /// Products ⟨p_i, p_j⟩, i < j, of the first source: (bin centre, share of pairs per unit).
    pub products: Vec<(f64, f64)>,
    /// Pr(‖x‖₀ = m).
    pub count_law: Vec<f64>,
    /// Share of drawn samples with m active features.
    pub counts: Vec<f64>,
    /// Number of drawn samples.
    pub samples: u64,
    /// M_d, by decreasing value.
    pub masses: Vec<f64>,
    /// Pr(x_d > 0), by decreasing value.
    pub rates: Vec<f64>,
    /// Σ_d Pr(x_d > 0)·E\[x_d² | x_d > 0\]: what one sample carries, against Σ M_d, what L̃ sees.
    pub energy: f64,
}

impl Description {
    /// Looks at a bench: all pairs of directions, the closed-form laws, and `samples` drawn samples.
    pub fn of(bench: &Bench, samples: u64) -> Self {
        let config = bench.config();
        let coefficients = bench.coefficients();
        let inputs = bench.directions(Side::Input).matrix();
        let mut parts: Vec<Mat<f64>> =
            (0..inputs.nrows()).step_by(config.n_p).map(|from| inputs.subrows(from, config.n_p).to_owned()).collect();
        if !bench.reconstructs_its_input() {
            parts.push(bench.directions(Side::Target).matrix());
        }
        let mut interference = Vec::new();
        let mut products = Vec::new();
        for (k, part) in parts.iter().enumerate() {
            let (maximum, histogram) = pairs(part);
            interference.push(maximum);
            if k == 0 {
                products = histogram;
            }
        }
        let batch = coefficients.batch(&(0..samples).collect::<Vec<_>>());
        let most = (0..batch.rows()).map(|i| batch.row(i).0.len()).max().unwrap_or(0);
        let mut counts = vec![0.0; most + 1];
        for i in 0..batch.rows() {
            counts[batch.row(i).0.len()] += 1.0 / samples as f64;
        }
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(|a, b| b.total_cmp(a));
            values
        };
        let rates = coefficients.firing_rates();
        let energy = rates.iter().zip(coefficients.second_moments()).map(|(p, m)| p * m).sum();
        Self {
            interference,
            limit: interference_limit(config.n_p, config.n),
            products,
            count_law: coefficients.count_law(),
            counts,
            samples,
            masses: sorted(coefficients.masses()),
            rates: sorted(rates),
            energy,
        }
    }

    /// The numbers.
    pub fn table(&self) -> Table {
        let mut table = Table::new("bench", "bench", [("quantity", Kind::Text), ("value", Kind::Number)])
            .title("The bench in numbers");
        for (k, value) in self.interference.iter().enumerate() {
            table.push([Cell::from(format!("maximum interference, matrix {}", k + 1)), Cell::number(*value, 5)]);
        }
        table.push([Cell::from("least possible maximum interference"), Cell::number(self.limit, 5)]);
        let mean: f64 = self.count_law.iter().enumerate().map(|(m, p)| m as f64 * p).sum();
        table.push([Cell::from("mean L0 of a sample"), Cell::number(mean, 5)]);
        for m in 0..3 {
            let share = self.count_law.get(m).copied().unwrap_or(0.0);
            table.push([Cell::from(format!("Pr(‖x‖₀ = {m})")), Cell::number(share, 4)]);
        }
        let rest = self.count_law.iter().skip(2).sum::<f64>();
        table.push([Cell::from("Pr(‖x‖₀ ≥ 2)"), Cell::number(rest, 4)]);
        let extreme = |values: &[f64], last: bool| {
            let value = if last { values.last() } else { values.first() };
            Cell::number(value.copied().unwrap_or(f64::NAN), 4)
        };
        table.push([Cell::from("firing rate, largest"), extreme(&self.rates, false)]);
        table.push([Cell::from("firing rate, smallest"), extreme(&self.rates, true)]);
        table.push([Cell::from("mass M_d, largest"), extreme(&self.masses, false)]);
        table.push([Cell::from("mass M_d, smallest"), extreme(&self.masses, true)]);
        let share = if self.energy > 0.0 { self.masses.iter().sum::<f64>() / self.energy } else { f64::NAN };
        table.push([Cell::from("share of the energy that L̃ sees"), Cell::number(share, 4)]);
        table
    }

    /// Interference, active features, masses.
    pub fn figure(&self) -> Figure {
        let indexed = |values: &[f64]| values.iter().enumerate().map(|(k, v)| (k as f64, *v)).collect::<Vec<_>>();
        let ranked = |values: &[f64]| values.iter().enumerate().map(|(k, v)| ((k + 1) as f64, *v)).collect::<Vec<_>>();
        let interference = Panel::new("interference", Axis::linear("⟨p_i, p_j⟩"), Axis::linear("density"))
            .layer(Layer::Line { label: "pairs".into(), points: self.products.clone() });
        let shown = |p: &&(f64, f64)| p.1 > 0.0;
        let counts =
            Panel::new("active features", Axis::linear("active features of a sample"), Axis::linear("probability"))
                .layer(Layer::Reference {
                    label: "law".into(),
                    points: indexed(&self.count_law).iter().filter(|p| p.1 > 1e-6).copied().collect(),
                })
                .layer(Layer::Points {
                    label: format!("{} samples", self.samples),
                    points: indexed(&self.counts).iter().filter(shown).copied().collect(),
                    intervals: Vec::new(),
                });
        let masses = Panel::new("masses", Axis::log("rank of the feature"), Axis::log("M_d"))
            .layer(Layer::Line { label: "M_d".into(), points: ranked(&self.masses) });
        Figure::new("bench", "bench", Width::Page)
            .title("The Linear Representation Bench")
            .caption(
                "(a) Products of all pairs of input directions. (b) Active features in a sample: drawn samples and the law. (c) The \
                 weights M_d of L̃.",
            )
            .panel(interference)
            .panel(counts)
            .panel(masses)
    }
}

/// The largest product of two different columns, and the histogram of all products over \[−1, 1\], cut to where there are any.
fn pairs(P: &Mat<f64>) -> (f64, Vec<(f64, f64)>) {
    const PANEL: usize = 256;
    let n = P.ncols();
    let width = 2.0 / BINS as f64 / 4.0;
    let mut bins = vec![0_u64; BINS * 4];
    let (mut maximum, mut total) = (f64::NEG_INFINITY, 0_u64);
    for from in (0..n).step_by(PANEL) {
        let columns = P.subcols(from, PANEL.min(n - from));
        let mut products = Mat::<f64>::zeros(n, columns.ncols());
        matmul(&mut products, Accum::Replace, P.transpose(), columns, 1.0, Par::rayon(0));
        for k in 0..columns.ncols() {
            for &g in &products.col_as_slice(k)[..from + k] {
                maximum = maximum.max(g);
                let bin = ((g + 1.0) / width) as usize;
                bins[bin.min(BINS * 4 - 1)] += 1;
                total += 1;
            }
        }
    }
    let first = bins.iter().position(|b| *b > 0).unwrap_or(0).saturating_sub(1);
    let last = (bins.iter().rposition(|b| *b > 0).unwrap_or(0) + 2).min(bins.len());
    let points = (first..last)
        .map(|k| (-1.0 + (k as f64 + 0.5) * width, bins[k] as f64 / total.max(1) as f64 / width))
        .collect();
    (maximum, points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::BenchConfig;

    #[test]
    fn the_description_agrees_with_the_bench() {
        let config = BenchConfig { n: 40, n_p: 24, interference: 0.25, sparsity: 0.9, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let description = Description::of(&bench, 4000);
        assert!(description.interference[0] <= 0.25 + 1e-6);
        assert!((description.counts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let mean: f64 = description.count_law.iter().enumerate().map(|(m, p)| m as f64 * p).sum();
        assert!((mean - 4.0).abs() < 1e-9);
        // 780 pairs in a histogram of width 1/120.
        let area: f64 = description.products.iter().map(|(_, y)| y / 120.0).sum();
        assert!((area - 1.0).abs() < 1e-9, "{area}");
        assert_eq!(description.figure().panels.len(), 3);
        assert!(description.table().rows.len() > 8);
    }
}
