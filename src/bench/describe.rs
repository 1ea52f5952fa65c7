//! What a bench looks like: its numbers as tables, its distributions as a figure.

use super::config::Task;
use super::dataset::{Bench, Side};
use super::features::{interference_limit, welch_bound};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

/// Samples that are drawn to compare with the laws.
pub const SAMPLES: u64 = 20_000;
/// Bins of a histogram, which cover \[−1, 1\].
pub const BINS: usize = 240;
/// Width of one.
const WIDTH: f64 = 2.0 / BINS as f64;
/// Histograms that are drawn one by one.
const SHOWN: usize = 4;

/// Statistics of a bench.
#[derive(Debug, Clone)]
pub struct Description {
    /// W_p and, of a transcoder, W_r; of a crosscoder every source.
    pub matrices: Vec<Matrix>,
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

/// Products of different directions of one feature matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Its name.
    pub name: String,
    /// Its number of rows.
    pub dimension: usize,
    /// The largest product; −∞ where there is none.
    pub maximum: f64,
    /// The largest absolute value of a product.
    pub coherence: f64,
    /// The least `maximum` that as many unit vectors can have, see [`interference_limit`].
    pub limit: f64,
    /// The least `coherence` that they can have, see [`welch_bound`].
    pub welch: f64,
    /// Number of products ⟨p_i, p_j⟩, i < j, in \[−1 + 2k/[`BINS`], −1 + 2(k+1)/[`BINS`]); those of 1 and above are in the last one.
    pub bins: Vec<u64>,
}

impl Description {
    /// Looks at a bench: all pairs of directions, the closed-form laws, and `samples` drawn samples.
    pub fn of(bench: &Bench, samples: u64) -> Self {
        let config = bench.config();
        let coefficients = bench.coefficients();
        let inputs = bench.directions(Side::Input).matrix();
        let matrices = match config.task {
            Task::Sae => vec![Matrix::of("W_p", inputs.as_ref())],
            Task::Transcoder { .. } => {
                let targets = bench.directions(Side::Target).matrix();
                vec![Matrix::of("W_p", inputs.as_ref()), Matrix::of("W_r", targets.as_ref())]
            }
            Task::Crosscoder { sources } => {
                let source = |m: usize| inputs.subrows(m * config.n_p, config.n_p);
                (0..sources).map(|m| Matrix::of(&format!("source {}", m + 1), source(m))).collect()
            }
        };
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
            matrices,
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
        for (k, matrix) in self.matrices.iter().enumerate() {
            let Matrix { name, dimension, .. } = matrix;
            table.push([Cell::from(format!("{name}: maximum interference")), Cell::number(matrix.maximum, 5)]);
            table.push([Cell::from(format!("{name}: largest |⟨p_i, p_j⟩|")), Cell::number(matrix.coherence, 5)]);
            // Sources share their dimension.
            if self.matrices[k + 1..].iter().any(|later| later.dimension == *dimension) {
                continue;
            }
            let least = format!("least possible maximum interference in R^{dimension}");
            table.push([Cell::from(least), Cell::number(matrix.limit, 5)]);
            let welch = format!("least possible |⟨p_i, p_j⟩| in R^{dimension} (Welch bound)");
            table.push([Cell::from(welch), Cell::number(matrix.welch, 5)]);
        }
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
        let mut interference = Panel::new("interference", Axis::linear("⟨p_i, p_j⟩"), Axis::linear("density"));
        // More lines cannot be told apart; then the last one is of all the others together.
        let alone = if self.matrices.len() > SHOWN { SHOWN - 1 } else { self.matrices.len() };
        let (alone, others) = self.matrices.split_at(alone);
        for matrix in alone {
            interference =
                interference.layer(Layer::Line { label: matrix.name.clone(), points: density(&matrix.bins) });
        }
        if let Some(first) = others.first() {
            let sum = |k: usize| others.iter().map(|matrix| matrix.bins[k]).sum::<u64>();
            let label = format!("{} and later", first.name);
            interference =
                interference.layer(Layer::Line { label, points: density(&(0..BINS).map(sum).collect::<Vec<_>>()) });
        }
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
                "(a) Products of all pairs of directions of a matrix. (b) Active features in a sample: drawn samples and the law. (c) The \
                 weights M_d of L̃.",
            )
            .panel(interference)
            .panel(counts)
            .panel(masses)
    }
}

impl Matrix {
    /// Looks at all pairs of columns, by panels, so that memory grows with n and not with n².
    fn of(name: &str, P: MatRef<'_, f64>) -> Self {
        const PANEL: usize = 256;
        let (dimension, n) = (P.nrows(), P.ncols());
        let mut bins = vec![0; BINS];
        let (mut least, mut maximum) = (f64::INFINITY, f64::NEG_INFINITY);
        for from in (0..n).step_by(PANEL) {
            let columns = P.subcols(from, PANEL.min(n - from));
            let mut products = Mat::<f64>::zeros(n, columns.ncols());
            matmul(&mut products, Accum::Replace, P.transpose(), columns, 1.0, Par::rayon(0));
            for k in 0..columns.ncols() {
                for &g in &products.col_as_slice(k)[..from + k] {
                    (least, maximum) = (least.min(g), maximum.max(g));
                    let bin = ((g + 1.0) / WIDTH) as usize;
                    bins[bin.min(BINS - 1)] += 1;
                }
            }
        }
        let (limit, welch) = (interference_limit(dimension, n), welch_bound(dimension, n));
        Self { name: name.to_owned(), dimension, maximum, coherence: maximum.max(-least), limit, welch, bins }
    }
}

/// (bin centre, share of the products per unit), cut to where there are any.
fn density(bins: &[u64]) -> Vec<(f64, f64)> {
    let total = bins.iter().sum::<u64>().max(1) as f64;
    let first = bins.iter().position(|b| *b > 0).unwrap_or(0).saturating_sub(1);
    let last = (bins.iter().rposition(|b| *b > 0).unwrap_or(0) + 2).min(bins.len());
    (first..last).map(|k| (-1.0 + (k as f64 + 0.5) * WIDTH, bins[k] as f64 / total / WIDTH)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::config::{BenchConfig, Hierarchy, MagnitudeSpread, Rates};

    /// The number in a row of the table.
    fn number(description: &Description, quantity: &str) -> f64 {
        let table = description.table();
        let row = table.rows.iter().find(|row| row[0] == Cell::from(quantity));
        match row.map(|row| &row[1]) {
            Some(Cell::Number { value, .. }) => *value,
            other => panic!("{quantity}: {other:?}"),
        }
    }

    /// Products of all pairs of the rows from..from + dimension of directions, by plain sums.
    fn products(bench: &Bench, side: Side, from: usize, dimension: usize) -> Vec<f64> {
        let directions = bench.directions(side);
        let part = |d: usize| &directions.column(d)[from..from + dimension];
        let dot = |i: usize, j: usize| part(i).iter().zip(part(j)).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        (0..directions.n()).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect()
    }

    fn check(matrix: &Matrix, expected: &[f64]) {
        let mut bins = vec![0; BINS];
        let edges: Vec<f64> = (0..BINS).map(|k| f64::from(k as u32) / 120.0 - 1.0).collect();
        for g in expected {
            bins[edges.partition_point(|edge| edge <= g) - 1] += 1;
        }
        assert_eq!(matrix.bins, bins, "{}", matrix.name);
        let largest = |of: fn(f64) -> f64| expected.iter().copied().map(of).fold(f64::NEG_INFINITY, f64::max);
        // Sums of 60 products below 1, in another order.
        assert!((matrix.maximum - largest(|g| g)).abs() < 60.0 * f64::EPSILON);
        assert!((matrix.coherence - largest(f64::abs)).abs() < 60.0 * f64::EPSILON);
    }

    #[test]
    fn histograms_hold_every_pair_of_every_matrix_in_its_bin() {
        // More columns than are taken together.
        let plain = BenchConfig { n: 300, n_p: 60, interference: 0.6, ..BenchConfig::default() };
        let transcoder = BenchConfig { task: Task::Transcoder { n_r: 40 }, ..plain.clone() };
        let bench = Bench::generate(&transcoder).unwrap();
        let description = Description::of(&bench, 1);
        let expected = [products(&bench, Side::Input, 0, 60), products(&bench, Side::Target, 0, 40)];
        assert_eq!(description.matrices.len(), 2);
        for (matrix, expected) in description.matrices.iter().zip(&expected) {
            check(matrix, expected);
        }
        for (name, n_p) in [("W_p", 60.0_f64), ("W_r", 40.0)] {
            let maximum = number(&description, &format!("{name}: maximum interference"));
            let coherence = number(&description, &format!("{name}: largest |⟨p_i, p_j⟩|"));
            let welch = number(&description, &format!("least possible |⟨p_i, p_j⟩| in R^{n_p} (Welch bound)"));
            let least = number(&description, &format!("least possible maximum interference in R^{n_p}"));
            assert!((welch - ((300.0 - n_p) / (n_p * 299.0)).sqrt()).abs() < 1e-15);
            assert!(least <= maximum && maximum <= 0.6 + 1e-6 && maximum <= coherence && welch <= coherence);
        }
        // The lines of the figure: one for each matrix, every bin at its centre, and in sum all pairs.
        let panel = &description.figure().panels[0];
        let pairs = expected[0].len() as f64;
        for (layer, matrix) in panel.layers.iter().zip(&description.matrices) {
            let Layer::Line { label, points } = layer else { panic!("{layer:?}") };
            assert_eq!(*label, matrix.name);
            let mut total = 0;
            for (x, y) in points {
                let bin = ((x + 1.0) * 120.0 - 0.5).round();
                assert!(((x + 1.0) * 120.0 - 0.5 - bin).abs() < 1e-9);
                let count = matrix.bins[bin as usize];
                assert!((y * pairs / 120.0 - count as f64).abs() < 1e-6);
                total += count;
            }
            assert_eq!(total as f64, pairs);
        }
        assert_eq!(panel.layers.len(), 2);
    }

    #[test]
    fn every_source_of_a_crosscoder_is_looked_at_and_many_share_the_last_line() {
        let task = Task::Crosscoder { sources: 6 };
        let config = BenchConfig { n: 30, n_p: 12, interference: 0.7, task, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let description = Description::of(&bench, 1);
        assert_eq!(description.matrices.len(), 6);
        for (m, matrix) in description.matrices.iter().enumerate() {
            check(matrix, &products(&bench, Side::Input, 12 * m, 12));
        }
        let figure = description.figure();
        let labels = figure.panels[0].layers.iter().map(|layer| match layer {
            Layer::Line { label, .. } => label.as_str(),
            other => panic!("{other:?}"),
        });
        assert!(labels.eq(["source 1", "source 2", "source 3", "source 4 and later"]));
        let Layer::Line { points, .. } = &figure.panels[0].layers[3] else { panic!() };
        let bins = |k: usize| description.matrices[3..].iter().map(|matrix| matrix.bins[k]).sum::<u64>();
        for (x, y) in points {
            let k = ((x + 1.0) * 120.0).floor() as usize;
            assert!((y * 3.0 * 435.0 / 120.0 - bins(k) as f64).abs() < 1e-6);
        }
        // One bound, after the last source.
        let welch = description.table().rows.iter().filter(|row| row[0].text().contains("Welch")).count();
        assert_eq!(welch, 1);
    }

    /// The law of x by adding over all 2^n sets of own draws: Pr(d active), Pr(d active alone), Pr(‖x‖₀ = m).
    fn enumerated(config: &BenchConfig, parents: &[Option<usize>]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (n, rates) = (config.n, config.rates());
        let (mut active, mut alone, mut counts) = (vec![0.0; n], vec![0.0; n], vec![0.0; n + 1]);
        for drawn in 0..1_u32 << n {
            let draws = |d: usize| drawn >> d & 1 == 1;
            let p: f64 = (0..n).map(|d| if draws(d) { rates[d] } else { 1.0 - rates[d] }).product();
            let is_parent = |d: usize| parents.contains(&Some(d));
            let fires = |d: usize| match is_parent(d) {
                true => (0..n).any(|child| parents[child] == Some(d) && draws(child)),
                false => draws(d),
            };
            let set: Vec<usize> = (0..n).filter(|d| fires(*d)).collect();
            set.iter().for_each(|d| active[*d] += p);
            if let [d] = set[..] {
                alone[d] += p;
            }
            counts[set.len()] += p;
        }
        (active, alone, counts)
    }

    #[test]
    fn numbers_and_laws_are_those_of_all_sets_of_features() {
        let plain = BenchConfig {
            n: 7,
            n_p: 5,
            interference: 0.5,
            sparsity: 0.7,
            c_min: 0.5,
            beta: 2.0,
            rates: Rates::Zipf { exponent: 0.6 },
            magnitudes: MagnitudeSpread::Spread { decades: 1.0 },
            ..BenchConfig::default()
        };
        let hierarchy = BenchConfig { hierarchy: Some(Hierarchy { children: 2 }), ..plain.clone() };
        // The last group has a parent alone, which is a feature like others.
        let family = [None, Some(0), Some(0), None, Some(3), Some(3), None];
        for (config, parents) in [(&plain, [None; 7]), (&hierarchy, family)] {
            let bench = Bench::generate(config).unwrap();
            let description = Description::of(&bench, 3000);
            let (active, alone, counts) = enumerated(config, &parents);
            let scales = &bench.coefficients().scales;
            // E[(c + βE)²] = c² + 2cβ + 2β² for E exponential with mean 1.
            let second: Vec<f64> = scales.iter().map(|s| s * s * (0.25 + 2.0 + 8.0)).collect();
            let sorted = |values: Vec<f64>| {
                let mut values = values;
                values.sort_by(|a, b| b.total_cmp(a));
                values
            };
            let masses = sorted(alone.iter().zip(&second).map(|(p, m)| p * m).collect());
            let energy: f64 = active.iter().zip(&second).map(|(p, m)| p * m).sum();
            let rates = sorted(active);
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
            assert!(description.masses.iter().zip(&masses).all(|(a, b)| close(*a, *b)), "{masses:?}");
            assert!(description.rates.iter().zip(&rates).all(|(a, b)| close(*a, *b)), "{rates:?}");
            assert!(description.count_law.iter().zip(&counts).all(|(a, b)| close(*a, *b)), "{counts:?}");
            assert!(close(description.count_law.iter().sum(), 1.0) && close(description.energy, energy));
            let mean: f64 = counts.iter().enumerate().map(|(m, p)| m as f64 * p).sum();
            for (quantity, expected) in [
                ("mean L0 of a sample", mean),
                ("Pr(‖x‖₀ = 0)", counts[0]),
                ("Pr(‖x‖₀ = 1)", counts[1]),
                ("Pr(‖x‖₀ = 2)", counts[2]),
                ("Pr(‖x‖₀ ≥ 2)", 1.0 - counts[0] - counts[1]),
                ("firing rate, largest", rates[0]),
                ("firing rate, smallest", rates[6]),
                ("mass M_d, largest", masses[0]),
                ("mass M_d, smallest", masses[6]),
                ("share of the energy that L̃ sees", masses.iter().sum::<f64>() / energy),
            ] {
                let found = number(&description, quantity);
                assert!(close(found, expected), "{quantity}: {found} {expected}");
            }
            // Drawn samples, counted one by one.
            let batch = bench.coefficients().batch(&(0..3000).collect::<Vec<_>>());
            for (m, share) in description.counts.iter().enumerate() {
                let drawn = batch.offsets.windows(2).filter(|ends| ends[1] - ends[0] == m).count();
                assert!((share * 3000.0 - drawn as f64).abs() < 1e-6, "{m}");
                // Five standard deviations.
                let p = counts[m];
                assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / 3000.0).sqrt() + 1e-9, "{m}: {share} {p}");
            }
            assert!((description.counts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert_eq!(description.figure().panels.len(), 3);
        }
    }
}
