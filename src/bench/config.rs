//! The parameters of a bench: a TOML table, checked once.

use super::coefficients::Coefficients;
use super::configuration;
use super::features::{InterferenceBound, apart, hierarchy_groups, interference_limit};
use serde::{Deserialize, Serialize};

/// What the bench is to be, with the defaults of Table 3. What the paper does not publish (`c_min`, `beta`, and everything below them) is
/// our choice.
///
/// | parameter | default |
/// |---|---|
/// | `n`, `n_p` | 1000, 768 |
/// | `samples` | 100 000 |
/// | `sparsity` | 0.99 |
/// | `interference` | 0.1 |
/// | `c_min`, `beta` | 1, 1 |
/// | `task` | `sae` |
/// | `rates`, `magnitudes` | the same for every feature |
/// | `correlation`, `hierarchy` | none |
/// | `descent` | as in [`InterferenceBound`]: `margin` (ε), `regularisation` (λ), `step` (η), `budget` |
/// | `seed` | 0 |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BenchConfig {
    /// n, the number of features.
    pub n: usize,
    /// n_p, the dimension of one input representation.
    pub n_p: usize,
    /// N, the number of training samples.
    pub samples: u64,
    /// S: a feature is silent with this probability (on average, when rates differ).
    pub sparsity: f64,
    /// M, the bound on ⟨p_i, p_j⟩ for i ≠ j.
    pub interference: f64,
    /// c_min ≥ 0 of eq. 30.
    pub c_min: f64,
    /// β > 0 of eq. 30, the mean of the exponential part.
    pub beta: f64,
    /// Which pair (x_p, x_r) is made.
    pub task: Task,
    /// How the firing probabilities differ.
    pub rates: Rates,
    /// How the magnitudes differ.
    pub magnitudes: MagnitudeSpread,
    /// Features that fire together.
    pub correlation: Option<Correlation>,
    /// Parents that fire iff a sub-concept does (Def. 3.9).
    pub hierarchy: Option<Hierarchy>,
    /// How the feature matrices are found.
    #[serde(skip_serializing_if = "Descent::is_empty")]
    pub descent: Descent,
    /// Seed of the matrices and the coefficients.
    pub seed: u64,
}

/// The pair (x_p, x_r), made from one x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"sae\" } or { kind = \"transcoder\", n_r = 768 }")]
pub enum Task {
    /// W_r = W_p: a sparse autoencoder reconstructs its input.
    Sae,
    /// W_r is a second matrix, of n_r rows.
    Transcoder {
        /// n_r.
        n_r: usize,
    },
    /// `sources` matrices of n_p rows each, stacked; W_r = W_p.
    Crosscoder {
        /// m ≥ 1.
        sources: usize,
    },
}

/// Firing probabilities p_d, whose mean is 1 − S.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"zipf\", exponent = 0.5 }")]
pub enum Rates {
    /// p_d = 1 − S.
    Same,
    /// p_d ∝ (d + 1)^−exponent.
    Zipf {
        /// ≥ 0.
        exponent: f64,
    },
}

/// Factors on the magnitude of every feature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[serde(expecting = "a table such as { kind = \"spread\", decades = 1.0 }")]
pub enum MagnitudeSpread {
    /// All 1.
    Same,
    /// 10^{(k/(n−1) − ½)·decades} in a seeded order over the features, so that the M_d span twice as many decades.
    Spread {
        /// ≥ 0, at most 30.
        decades: f64,
    },
}

/// A Gaussian copula with one factor per group: feature d fires iff √ρ g + √(1−ρ) ε_d lies below the p_d quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// Consecutive features in a group, ≥ 2.
    pub group: usize,
    /// ρ in [0, 1).
    pub rho: f64,
}

/// Groups of one parent and its sub-concepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hierarchy {
    /// Sub-concepts of each parent, ≥ 1.
    pub children: usize,
}

/// The construction of the feature matrices (eqs. 26–28). What is absent is the default of [`InterferenceBound`], which depends on M for ε.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Descent {
    /// ε > 0: pairs are pushed down to M − ε.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// λ ≥ 0, which pushes every positive product towards 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regularisation: Option<f64>,
    /// η > 0 at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
    /// Most steps before giving up, ≥ 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
}

impl Descent {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is wrong with the parameters of a bench.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// The parameter.
    pub field: &'static str,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Default for BenchConfig {
    fn default() -> Self {
        Self {
            n: 1000,
            n_p: 768,
            samples: 100_000,
            sparsity: 0.99,
            interference: 0.1,
            c_min: 1.0,
            beta: 1.0,
            task: Task::Sae,
            rates: Rates::Same,
            magnitudes: MagnitudeSpread::Same,
            correlation: None,
            hierarchy: None,
            descent: Descent::default(),
            seed: 0,
        }
    }
}

/// Most features: an index is 32 bits, and the interference of all pairs is looked at.
const MOST_FEATURES: usize = 1 << 20;
/// Most dimensions.
const MOST_DIMENSIONS: usize = 1 << 20;

impl BenchConfig {
    /// Reads a TOML table.
    ///
    /// # Errors
    /// What is wrong and where, on one line.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        configuration::from_toml(text)
    }

    /// Checks every parameter; only then can matrices and samples be made.
    pub fn check(&self) -> Result<(), ConfigError> {
        let fail =
            |field, expected: &str, found: String| Err(ConfigError { field, expected: expected.to_owned(), found });
        let range = |x: f64, low: f64, high: f64| x >= low && x <= high;
        if self.n < 1 || self.n > MOST_FEATURES {
            return fail("n", "an integer from 1 to 2^20", self.n.to_string());
        }
        if self.n_p < 1 || self.n_p > MOST_DIMENSIONS {
            return fail("n_p", "an integer from 1 to 2^20", self.n_p.to_string());
        }
        if self.samples < 1 {
            return fail("samples", "an integer >= 1", self.samples.to_string());
        }
        if !range(self.sparsity, 0.0, 1.0) {
            return fail("sparsity", "a number in [0, 1]", self.sparsity.to_string());
        }
        let limit = interference_limit(self.n_p, self.n);
        if !(self.interference < 1.0 && self.interference >= limit) {
            if limit >= 1.0 {
                let expected = format!("an integer >= 2, as two of {} unit vectors on a line are equal", self.n);
                return fail("n_p", &expected, self.n_p.to_string());
            }
            let least = apart(limit, &[1.0, self.interference]);
            let expected = format!(
                "a number in [{least}, 1), as {} unit vectors in {} dimensions always have a pair with a product of at least {least}",
                self.n, self.n_p
            );
            return fail("interference", &expected, self.interference.to_string());
        }
        if !range(self.c_min, 0.0, 1e6) {
            return fail("c_min", "a number in [0, 1e6]", self.c_min.to_string());
        }
        if !range(self.beta, f64::MIN_POSITIVE, 1e6) {
            return fail("beta", "a number in (0, 1e6]", self.beta.to_string());
        }
        match self.task {
            Task::Transcoder { n_r } if !(1..=MOST_DIMENSIONS).contains(&n_r) => {
                return fail("task.n_r", "an integer from 1 to 2^20", n_r.to_string());
            }
            Task::Transcoder { n_r } if self.interference < interference_limit(n_r, self.n) => {
                let limit = interference_limit(n_r, self.n);
                let expected = format!("room for {} directions with products up to {}", self.n, self.interference);
                let found = format!("{n_r}, where the least is {}", apart(limit, &[self.interference]));
                return fail("task.n_r", &expected, found);
            }
            Task::Crosscoder { sources } if !(1..=64).contains(&sources) => {
                return fail("task.sources", "an integer from 1 to 64", sources.to_string());
            }
            _ => {}
        }
        if let Rates::Zipf { exponent } = self.rates
            && !range(exponent, 0.0, 16.0)
        {
            return fail("rates.exponent", "a number in [0, 16]", exponent.to_string());
        }
        if let MagnitudeSpread::Spread { decades } = self.magnitudes
            && !range(decades, 0.0, 30.0)
        {
            return fail("magnitudes.decades", "a number in [0, 30]", decades.to_string());
        }
        if let Some(correlation) = self.correlation {
            if correlation.group < 2 {
                return fail("correlation.group", "an integer >= 2", correlation.group.to_string());
            }
            if !(0.0..1.0).contains(&correlation.rho) {
                return fail("correlation.rho", "a number in [0, 1)", correlation.rho.to_string());
            }
        }
        if let Some(Hierarchy { children: 0 }) = self.hierarchy {
            return fail("hierarchy.children", "an integer >= 1", "0".to_owned());
        }
        if self.correlation.is_some() && self.hierarchy.is_some() {
            return fail(
                "correlation",
                "nothing beside a hierarchy, which correlates features itself",
                "both".to_owned(),
            );
        }
        let Descent { margin, regularisation, step, budget } = self.descent;
        for (field, value) in [("descent.margin", margin), ("descent.step", step)] {
            if let Some(value) = value
                && !range(value, f64::MIN_POSITIVE, f64::MAX)
            {
                return fail(field, "a number > 0", value.to_string());
            }
        }
        if let Some(value) = regularisation
            && !range(value, 0.0, f64::MAX)
        {
            return fail("descent.regularisation", "a number >= 0", value.to_string());
        }
        if budget == Some(0) {
            return fail("descent.budget", "an integer >= 1", "0".to_owned());
        }
        let largest = self.rates().into_iter().fold(0.0, f64::max);
        if largest > 1.0 {
            let expected = "an exponent and a sparsity with which no feature fires with a probability above 1";
            return fail("rates", expected, format!("probability {largest:.3} for the first feature"));
        }
        Ok(())
    }

    /// p_d for every feature (of a parent: the probability of its own draw, which a hierarchy does not use).
    pub fn rates(&self) -> Vec<f64> {
        let mean = 1.0 - self.sparsity;
        match self.rates {
            Rates::Same => vec![mean; self.n],
            Rates::Zipf { exponent } => {
                let weights: Vec<f64> = (0..self.n).map(|d| ((d + 1) as f64).powf(-exponent)).collect();
                let total: f64 = weights.iter().sum();
                weights.iter().map(|w| mean * self.n as f64 * w / total).collect()
            }
        }
    }

    /// The bound of eqs. 26–28 for the feature matrices.
    pub fn bound(&self) -> InterferenceBound {
        let default = InterferenceBound::new(self.interference);
        let Descent { margin, regularisation, step, budget } = self.descent;
        InterferenceBound {
            maximum: self.interference,
            margin: margin.unwrap_or(default.margin),
            regularisation: regularisation.unwrap_or(default.regularisation),
            step: step.unwrap_or(default.step),
            budget: budget.unwrap_or(default.budget),
        }
    }

    /// With every default written out.
    #[must_use]
    pub fn completed(&self) -> Self {
        let InterferenceBound { margin, regularisation, step, budget, .. } = self.bound();
        let descent = Descent {
            margin: Some(margin),
            regularisation: Some(regularisation),
            step: Some(step),
            budget: Some(budget),
        };
        Self { descent, ..self.clone() }
    }

    /// Without those values of the descent that are the defaults: two configurations that make the same bench are then written alike.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let default = InterferenceBound::new(self.interference);
        let Descent { margin, regularisation, step, budget } = self.descent;
        let descent = Descent {
            margin: margin.filter(|value| *value != default.margin),
            regularisation: regularisation.filter(|value| *value != default.regularisation),
            step: step.filter(|value| *value != default.step),
            budget: budget.filter(|value| *value != default.budget),
        };
        Self { descent, ..self.clone() }
    }

    /// Lists of one parent followed by its sub-concepts.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        self.hierarchy.map_or_else(Vec::new, |h| hierarchy_groups(self.n, h.children))
    }

    /// The law of the coefficients.
    pub fn coefficients(&self) -> Result<Coefficients, ConfigError> {
        self.check()?;
        Ok(Coefficients::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_table_3_and_survive_a_round_trip() {
        let config = BenchConfig::default();
        config.check().unwrap();
        assert_eq!(BenchConfig::from_toml(&toml::to_string(&config).unwrap()).unwrap(), config);
        assert_eq!(BenchConfig::from_toml("").unwrap(), config);
    }

    #[test]
    fn wrong_parameters_are_refused_with_the_field_named() {
        for (text, names) in [
            ("n = 0", "n:"),
            ("n_p = 9223372036854775807", "n_p:"),
            ("samples = 0", "samples"),
            ("sparsity = nan", "sparsity"),
            ("sparsity = 1.5", "sparsity"),
            ("interference = 1.0", "interference"),
            ("n = 2000\ninterference = 0.0005", "interference"),
            ("n = 300\nn_p = 2\ninterference = 0.5", "interference: expected a number in [0.9998, 1)"),
            ("n = 100000\nn_p = 2", "interference: expected a number in [0.999999998, 1)"),
            ("n = 3\nn_p = 1\ninterference = 0.5", "n_p: expected an integer >= 2"),
            ("task = { kind = \"transcoder\", n_r = 1 }", "task.n_r"),
            ("beta = 0.0", "beta"),
            ("c_min = -1.0", "c_min"),
            ("task = { kind = \"transcoder\", n_r = 0 }", "task.n_r"),
            ("task = { kind = \"transcoder\", n_r = 20 }", "task.n_r"),
            ("task = { kind = \"crosscoder\", sources = 0 }", "task.sources"),
            ("rates = { kind = \"zipf\", exponent = 2.0 }", "rates:"),
            ("rates = { kind = \"zipf\", exponent = 17.0 }", "rates.exponent"),
            ("magnitudes = { kind = \"spread\", decades = -1.0 }", "magnitudes.decades"),
            ("correlation = { group = 1, rho = 0.5 }", "correlation.group"),
            ("correlation = { group = 2, rho = 1.0 }", "correlation.rho"),
            ("hierarchy = { children = 0 }", "hierarchy.children"),
            ("hierarchy = { children = 2 }\ncorrelation = { group = 2, rho = 0.1 }", "correlation"),
            ("descent = { margin = 0.0 }", "descent.margin"),
            ("descent = { margin = inf }", "descent.margin"),
            ("descent = { regularisation = -1e-9 }", "descent.regularisation"),
            ("descent = { regularisation = nan }", "descent.regularisation"),
            ("descent = { step = -0.1 }", "descent.step"),
            ("descent = { step = nan }", "descent.step"),
            ("descent = { budget = 0 }", "descent.budget"),
        ] {
            let error = BenchConfig::from_toml(text).unwrap().check().unwrap_err().to_string();
            assert!(error.starts_with(names), "{text}: {error}");
        }
        for (text, begins) in [
            ("n = 3\ndescent = { length = 3 }", "line 2: descent.length: unknown field `length`, expected one of"),
            ("descent = { budget = -1 }", "line 1: descent.budget: "),
            ("nn = 3", "line 1: nn: unknown field `nn`, expected one of `n`, `n_p`"),
            ("n = -3", "line 1: n: "),
            ("n = \"x\"", "line 1: n: "),
            ("task = { kind = \"x\" }", "line 1: task"),
            ("n = 3\nn = 4", "line 2: "),
        ] {
            let error = BenchConfig::from_toml(text).unwrap_err();
            assert!(error.starts_with(begins) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_complete_configuration_holds_the_values_of_the_descent_and_makes_the_same_bench() {
        let default = InterferenceBound::new(0.4);
        let plain = BenchConfig { n: 30, n_p: 12, interference: 0.4, ..BenchConfig::default() };
        assert_eq!(plain.bound(), default);
        let complete = plain.completed();
        assert_eq!(complete.bound(), default);
        let text = toml::to_string(&complete).unwrap();
        assert_eq!(BenchConfig::from_toml(&text).unwrap(), complete);
        let table: toml::Table = text.parse().unwrap();
        for (key, value) in
            [("margin", default.margin), ("regularisation", default.regularisation), ("step", default.step)]
        {
            assert_eq!(table["descent"][key].as_float(), Some(value), "{key}");
        }
        assert_eq!(table["descent"]["budget"].as_integer(), Some(default.budget as i64));
        assert_eq!(complete.shortened(), plain);
        assert!(!toml::to_string(&plain).unwrap().contains("descent"));
        let own = BenchConfig::from_toml(
            "descent = { margin = 0.25, regularisation = 0.5, step = 0.75, budget = 7 }\ninterference = 0.4",
        )
        .unwrap();
        let bound = InterferenceBound { maximum: 0.4, margin: 0.25, regularisation: 0.5, step: 0.75, budget: 7 };
        assert_eq!((own.bound(), own.completed().descent, own.shortened()), (bound, own.descent, own.clone()));
    }

    #[test]
    fn zipf_rates_have_the_asked_mean() {
        let config = BenchConfig { rates: Rates::Zipf { exponent: 0.7 }, ..BenchConfig::default() };
        config.check().unwrap();
        let rates = config.rates();
        assert!((rates.iter().sum::<f64>() / 1000.0 - 0.01).abs() < 1e-12);
        assert!((rates[0] / rates[9] - 10f64.powf(0.7)).abs() < 1e-9);
    }
}
