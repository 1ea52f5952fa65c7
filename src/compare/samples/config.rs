//! What is compared at bench scale, as TOML.

use crate::bench::config::BenchConfig;
use crate::bench::configuration;
use crate::optim::samples::{Config, online};
use crate::sdl::{Activation, Init, Shape};
use serde::{Deserialize, Serialize};

/// Every method that a comparison at bench scale can name, with what it is.
pub const METHODS: [(&str, &str); 5] = [
    ("adam", "Adam on mini-batches, as `sdlab train` does it"),
    ("alternating", "alternating convex search over sample-pattern cells"),
    ("alternating-online", "proximal alternating steps on mini-batches"),
    ("k-svd", "K-SVD with non-negative codes, an encoder fitted afterwards"),
    ("online", "online dictionary learning, an encoder fitted afterwards"),
];

/// A comparison at bench scale, with its defaults.
///
/// | field | default |
/// |---|---|
/// | `seed` | 0 |
/// | `tolerance`, `window` | 1e-4, 20 |
/// | `tau` | 0.9 |
/// | `held_out` | 4096 |
/// | `init`, `alternating`, `alternating-online` | theirs |
/// | `adam` | η = 1e-3, batches of 1024 |
/// | `online` | penalty 1.2, batches of 512 |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SamplesComparison {
    /// Seed of the start and of all orders of samples. That of the bench is its own.
    #[serde(default)]
    pub seed: u64,
    /// Seconds that every method may work; a round within which they are over ends there.
    pub seconds: f64,
    /// n_q.
    pub latents: usize,
    /// k of TopK.
    pub k: usize,
    /// By name; [`METHODS`] lists them.
    pub methods: Vec<String>,
    /// A method ends when its best loss has fallen by less than this share in the last `window` rounds. 0: only the time ends it.
    #[serde(default = "tolerance")]
    pub tolerance: f64,
    /// Rounds, see `tolerance`.
    #[serde(default = "window")]
    pub window: usize,
    /// τ of the recovery.
    #[serde(default = "tau")]
    pub tau: f64,
    /// Samples beyond N on which the loss is measured too.
    #[serde(default = "held_out", rename = "held_out")]
    pub held_out: u64,
    /// The samples: their law, n, n_p and N.
    pub bench: BenchConfig,
    /// The start of the methods that need one.
    #[serde(default)]
    pub init: Init,
    /// Of `adam`.
    #[serde(default)]
    pub adam: Adam,
    /// Of `alternating`; its own tolerance and window do not count, since all methods end by the same rule.
    #[serde(default)]
    pub alternating: Config,
    /// Of `alternating-online`.
    #[serde(default)]
    pub alternating_online: online::Config,
    /// Of `online`.
    #[serde(default)]
    pub online: Online,
}

/// Parameters of Adam. The step is to be tuned by whoever writes the configuration, and stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adam {
    /// η.
    pub learning_rate: f64,
    /// Samples of a batch.
    pub batch: usize,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, batch: 1024 }
    }
}

/// Parameters of online dictionary learning.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Online {
    /// λ over the root mean square of ‖x‖/√n_r.
    pub penalty: f64,
    /// Samples of a batch.
    pub batch: usize,
}

impl Default for Online {
    fn default() -> Self {
        Self { penalty: 1.2, batch: 512 }
    }
}

fn tolerance() -> f64 {
    1e-4
}

fn window() -> usize {
    20
}

fn tau() -> f64 {
    0.9
}

fn held_out() -> u64 {
    4096
}

/// Largest n_q, N and batch.
const MOST: usize = 1 << 24;

impl SamplesComparison {
    /// From TOML; the error names the field and what was expected.
    ///
    /// # Errors
    /// No TOML, an unknown or missing field, or a value out of its range.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let comparison: Self = configuration::from_toml(text)?;
        comparison.check()?;
        Ok(Self { bench: comparison.bench.completed(), ..comparison })
    }

    /// True if the text has a `[bench]`, which the comparison on certified instances has not.
    pub fn is_meant(text: &str) -> bool {
        text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("bench"))
    }

    /// σ.
    pub fn activation(&self) -> Activation {
        Activation::TopK { k: self.k }
    }

    /// Sizes of the models, of inputs and targets with these dimensions.
    pub fn shape(&self, n_p: usize, n_r: usize) -> Shape {
        Shape { n_p, n_r, n_q: self.latents }
    }

    fn check(&self) -> Result<(), String> {
        let fail =
            |field: &str, expected: &str, found: String| Err(format!("{field}: expected {expected}, found {found}"));
        let number = |field: &str, x: f64, from: f64, to: f64| match x >= from && x <= to {
            true => Ok(()),
            false => fail(field, &format!("a number in [{from}, {to}]"), x.to_string()),
        };
        let count = |field: &str, x: usize, to: usize| match (1..=to).contains(&x) {
            true => Ok(()),
            false => fail(field, &format!("an integer from 1 to {to}"), x.to_string()),
        };
        number("seconds", self.seconds, 1e-3, 1e7)?;
        count("latents", self.latents, MOST)?;
        count("k", self.k, self.latents)?;
        number("tolerance", self.tolerance, 0.0, 1.0)?;
        count("window", self.window, MOST)?;
        number("tau", self.tau, 0.0, 1.0)?;
        count("held_out", self.held_out as usize, MOST)?;
        number("adam.learning_rate", self.adam.learning_rate, f64::MIN_POSITIVE, 1e3)?;
        count("adam.batch", self.adam.batch, MOST)?;
        number("online.penalty", self.online.penalty, 0.0, 1e6)?;
        count("online.batch", self.online.batch, MOST)?;
        self.alternating.check().map_err(|error| format!("alternating.{error}"))?;
        self.alternating_online.check().map_err(|error| format!("alternating-online.{error}"))?;
        if !(self.init.scale > 0.0 && self.init.scale.is_finite()) {
            return fail("init.scale", "a number > 0", self.init.scale.to_string());
        }
        let biases = [self.init.encoder_bias, self.init.decoder_bias, self.init.input_bias, self.init.skip];
        if biases.contains(&true) {
            return fail("init", "no biases and no skip, which alternating search does not have", "one of them".into());
        }
        self.bench.check().map_err(|error| format!("bench.{error}"))?;
        count("bench.samples", self.bench.samples as usize, MOST)?;
        if self.methods.is_empty() {
            return fail("methods", "at least one", "none".into());
        }
        for (i, name) in self.methods.iter().enumerate() {
            if !METHODS.iter().any(|(known, _)| known == name) {
                let known: Vec<&str> = METHODS.iter().map(|(known, _)| *known).collect();
                return fail(&format!("methods[{i}]"), &format!("one of {}", known.join(", ")), format!("\"{name}\""));
            }
            if self.methods[..i].contains(name) {
                return Err(format!("methods[{i}]: \"{name}\" stands there twice"));
            }
        }
        let dictionary = self.methods.iter().any(|name| name == "k-svd" || name == "online");
        if dictionary && self.latents as u64 > self.bench.samples {
            return fail(
                "latents",
                "at most as many as there are samples for dictionary learning",
                self.latents.to_string(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "seconds = 1\nlatents = 8\nk = 2\nmethods = [\"adam\"]\n[adam]\nbatch = 4\n[bench]\nn = 6\nn_p = 5\nsamples = 40\ninterference = 0.6\n";

    #[test]
    fn what_is_wrong_is_named() {
        let comparison = SamplesComparison::from_toml(TEXT).unwrap();
        assert!(SamplesComparison::is_meant(TEXT));
        assert!(!SamplesComparison::is_meant("starts = 2\n[budget]\nsteps = 1\n"));
        let complete = toml::to_string(&comparison).unwrap();
        assert_eq!(SamplesComparison::from_toml(&complete).unwrap(), comparison);
        for (from, to, named) in [
            ("seconds = 1", "seconds = nan", "seconds:"),
            ("seconds = 1", "seconds = 0", "seconds:"),
            ("latents = 8", "latents = 0", "latents:"),
            ("k = 2", "k = 9", "k:"),
            ("\"adam\"", "\"magic\"", "methods[0]:"),
            ("\"adam\"", "\"adam\", \"adam\"", "methods[1]:"),
            ("\"adam\"", "", "methods:"),
            ("k = 2", "k = 2\ntau = 2", "tau:"),
            ("k = 2", "k = 2\nwindow = 0", "window:"),
            ("k = 2", "k = 2\ntolerance = -1", "tolerance:"),
            ("k = 2", "k = 2\nheld_out = 0", "held_out:"),
            ("k = 2", "k = 2\nstep = 1", "step"),
            ("batch = 4", "batch = 0", "adam.batch:"),
            ("batch = 4", "learning_rate = 0", "adam.learning_rate:"),
            ("[adam]\nbatch = 4", "[online]\npenalty = -1", "online.penalty:"),
            ("[adam]\nbatch = 4", "[alternating]\nridge = 0", "alternating.ridge:"),
            ("[adam]\nbatch = 4", "[alternating-online]\nbatch = 0", "alternating-online.batch:"),
            ("[adam]\nbatch = 4", "[init]\nscale = 0", "init.scale:"),
            ("[adam]\nbatch = 4", "[init]\ndecoder_bias = true", "init:"),
            ("n = 6", "n = 0", "bench.n:"),
            ("latents = 8\nk = 2\nmethods = [\"adam\"]", "latents = 41\nk = 2\nmethods = [\"online\"]", "latents:"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = SamplesComparison::from_toml(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "{named} {error}");
        }
    }
}
