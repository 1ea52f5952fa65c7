//! One experiment: a TOML file with a default for every field.
//!
//! [`Experiment`] is what the file says. [`Experiment::completed`] fills in what has been left out, so that the file a run keeps is complete,
//! and [`check`](super::check) refuses what cannot be trained.

use crate::backend::{Curve, Gather, Moments, Optimizer, SelectBy};
use crate::bench::config::BenchConfig;
use crate::bench::configuration;
use crate::io::hexadecimal;
use crate::sdl::resampling::Resampling;
use crate::sdl::{Activation, Init, Objective};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// An experiment.
///
/// | table | what it sets | default |
/// |---|---|---|
/// | `bench` or `data` | where samples come from | the bench of Table 3 |
/// | `model` | latents, σ, start, decoder norm | 16 000 latents, TopK with k = 64, tied unit start, no biases |
/// | `objective` | penalties, AuxK, scales | reconstruction alone |
/// | `optimizer` | the rule of an update | Adam, η = 1e-3 |
/// | `schedule` | warm-up and decay of η | constant |
/// | `anchors` | feature anchoring (eqs. 21–25) | none |
/// | `resampling` | dead latents that are moved | none |
/// | `train` | batch, length, seed, records, checkpoints | 20 epochs of batches of 1024 |
/// | `published` | the row of a table of the paper that this repeats | none |
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Experiment {
    /// The row of the paper that this experiment repeats.
    pub published: Option<Published>,
    /// Samples from the Linear Representation Bench.
    pub bench: Option<BenchConfig>,
    /// Samples from files.
    pub data: Option<Files>,
    /// The model.
    pub model: ModelConfig,
    /// What is minimised.
    pub objective: Objective,
    /// The rule of an update.
    pub optimizer: Optimizer,
    /// η over the steps.
    pub schedule: Rise,
    /// Known features.
    pub anchors: Option<AnchorConfig>,
    /// Dead latents that are moved.
    pub resampling: Resampling,
    /// The rest.
    pub train: Length,
}

/// A row of one of the paper's tables, as `reports/published` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Number of the table.
    pub table: u32,
    /// The method of the row, or of the row that a "+ Feature Anchoring" row belongs to.
    pub method: String,
    /// True for a "+ Feature Anchoring" row.
    #[serde(default)]
    pub anchored: bool,
    /// The printed value of the column that the table varies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Samples of one's own, see [`Embeddings`](crate::io::embeddings::Embeddings) and [`Labels`](crate::io::labels::Labels). Paths are relative to
/// the folder that the command runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Rows of x_p: `FILE.npy`, `FILE.safetensors` or `FILE.safetensors:TENSOR`.
    pub inputs: String,
    /// Rows of x_r; the inputs if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// The class of each row, for anchors: `FILE.npy`, `FILE.csv` or `FILE.csv:COLUMN`. Words below a heading need the COLUMN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// n_q.
    pub latents: usize,
    /// σ.
    pub activation: Activation,
    /// Where training starts.
    pub init: Init,
    /// Keep decoder columns at norm 1, from the start on: whatever `init` draws, columns of W_D are scaled before the first step, rows of W_E are not.
    pub unit_decoder: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { latents: 16_000, activation: Activation::TopK { k: 64 }, init: Init::default(), unit_decoder: false }
    }
}

/// Warm-up and decay of the learning rate, see [`Schedule`](crate::backend::Schedule).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rise {
    /// How long η rises.
    pub warm_up: Span,
    /// How long it falls.
    pub decay: Span,
    /// How it falls.
    pub curve: Curve,
}

/// A number of steps: an integer, or a share of the whole training as a number with a decimal point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Span {
    /// So many steps.
    Steps(u64),
    /// This share of all steps, in [0, 1].
    Share(f64),
}

impl Span {
    /// In steps of a training of `total`; a share is rounded down.
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Share(share) => (share * total as f64).floor() as u64,
        }
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::Steps(0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Steps(steps) => serializer.serialize_u64(steps),
            Self::Share(share) => serializer.serialize_f64(share),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of steps (an integer) or a share of all steps such as 0.2")
            }

            fn visit_u64<E: de::Error>(self, steps: u64) -> Result<Span, E> {
                Ok(Span::Steps(steps))
            }

            fn visit_i64<E: de::Error>(self, steps: i64) -> Result<Span, E> {
                u64::try_from(steps)
                    .map(Span::Steps)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(steps), &self))
            }

            fn visit_f64<E: de::Error>(self, share: f64) -> Result<Span, E> {
                Ok(Span::Share(share))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// Feature anchoring (§4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorConfig {
    /// Where known features come from.
    pub source: AnchorSource,
    /// k, how many of them: a subset drawn by the seed of `train`, in random order. All of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// λ_anchor ≥ 0.
    pub weight: f64,
    /// The anchored latents, distinct and as many as anchors; the first k, as in the paper, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<Vec<u32>>,
}

impl AnchorConfig {
    /// How many known features are anchored; all of them if None.
    pub fn known(&self) -> Option<usize> {
        self.count.or(self.latents.as_ref().map(Vec::len))
    }

    /// The field that says how many.
    pub(super) fn count_field(&self) -> &'static str {
        if self.count.is_none() && self.latents.is_some() { "anchors.latents" } else { "anchors.count" }
    }
}

/// Where known features come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnchorSource {
    /// The columns of W_p and W_r of the bench (eq. 21).
    GroundTruth,
    /// The normalised means of the classes of labelled data (eqs. 22, 23).
    Labels,
}

/// Length, batch and bookkeeping of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Length {
    /// B, samples of a step; the last batch of an epoch may be short.
    pub batch: usize,
    /// Epochs; 20 if neither they nor `steps` are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Steps, in place of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Seed of the start, of the order of samples, and of the choice of anchors.
    pub seed: u64,
    /// Steps between two lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between two checkpoints; 0 means at the end only.
    pub checkpoint_every: u64,
    /// Seconds between two checkpoints at least: one that is due earlier is left out. As many as it has times 64 MiB if absent, so that large models
    /// on fast devices do not mostly write. They change no result, and count from when the command began, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_seconds: Option<u64>,
    /// A latent counts as dead after so many samples without it; one epoch if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    /// Training ends as soon as a recorded loss is at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_loss: Option<f64>,
    /// Training ends after an epoch whose mean loss fell by at most this share of that of the epoch before, such as 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<f64>,
    /// Training stops with an error if a recorded loss is larger than so many times the first one.
    pub divergence: f64,
    /// Threads; 0 means all cores. They change no result.
    pub threads: usize,
    /// Ranks that share the samples of each step and add up their gradients; their number changes where numbers are rounded.
    #[serde(skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// How the optimizer's moments are stored: `bf16` halves their memory and their traffic, rounds them at random, and needs `--device cuda`.
    #[serde(skip_serializing_if = "is_f32")]
    pub moments: Moments,
    /// By what a top-k ranks latents: `bf16` and `tf32` take the product of tensor cores for the score, which is quicker, may select other latents where
    /// two are nearly equal, and needs `--device cuda`.
    #[serde(skip_serializing_if = "is_score")]
    pub select_by: SelectBy,
    /// How the rows are stored that reconstructions and gradients gather: `bf16` halves their bytes, rounds columns of W_D, derivatives and inputs to the
    /// nearest while parameters, moments and sums stay in f32, and needs `--device cuda`.
    #[serde(skip_serializing_if = "is_gather_f32")]
    pub gather: Gather,
    /// Move the norms of decoder columns into the encoder once training is over ([`folding`](crate::sdl::folding)): the model that is written and
    /// scored has columns of norm 1 and computes the same; a BatchTopK becomes a JumpReLU. Refused for a top-k, whose selection would change.
    #[serde(skip_serializing_if = "is_false")]
    pub fold_decoder_norms: bool,
}

impl Default for Length {
    fn default() -> Self {
        Self {
            batch: 1024,
            epochs: None,
            steps: None,
            seed: 0,
            log_every: 10,
            checkpoint_every: 500,
            checkpoint_seconds: None,
            dead_after: None,
            target_loss: None,
            plateau: None,
            divergence: 1e4,
            threads: 0,
            ranks: 1,
            moments: Moments::F32,
            select_by: SelectBy::Score,
            gather: Gather::F32,
            fold_decoder_norms: false,
        }
    }
}

/// A training on one rank is written as it was before there were several.
fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

/// The same for moments that are stored as they are computed.
fn is_f32(moments: &Moments) -> bool {
    *moments == Moments::F32
}

/// The same for a top-k that ranks by the score.
fn is_score(select_by: &SelectBy) -> bool {
    *select_by == SelectBy::Score
}

/// The same for rows that are gathered as they are.
fn is_gather_f32(gather: &Gather) -> bool {
    *gather == Gather::F32
}

/// The same for a training whose model is kept as it is.
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Epochs of a training that does not say how long it is.
const EPOCHS: u64 = 20;

impl Experiment {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// What is wrong and where, on one line.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        configuration::from_toml(text)
    }

    /// With every default written out, except those that depend on the data.
    #[must_use]
    pub fn completed(&self) -> Self {
        let mut complete = self.clone();
        if complete.data.is_none() {
            complete.bench.get_or_insert_default();
        }
        complete.bench = complete.bench.as_ref().map(BenchConfig::completed);
        if complete.train.steps.is_none() {
            complete.train.epochs.get_or_insert(EPOCHS);
        }
        complete
    }

    /// As TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain parameters always serialise")
    }

    /// SHA-256 of the complete experiment without what changes no result (threads, seconds between checkpoints): two runs with the same hash, program and instruction set
    /// have the same bits, if the files of `[data]` hold the same. Only the names of files count here; a checkpoint and `provenance.json` keep
    /// what was in them ([`Content`](super::data::Content)).
    pub fn hash(&self) -> String {
        let mut complete = self.completed();
        complete.train.threads = 0;
        complete.train.checkpoint_seconds = None;
        complete.bench = complete.bench.as_ref().map(BenchConfig::shortened);
        hexadecimal(&Sha256::digest(complete.to_toml().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdl::Scales;

    #[test]
    fn an_empty_file_is_the_default_and_complete_files_survive_a_round_trip() {
        let empty = Experiment::from_toml("").unwrap();
        assert_eq!(empty, Experiment::default());
        let complete = empty.completed();
        assert_eq!(complete.bench, Some(BenchConfig::default().completed()));
        assert_eq!((complete.train.epochs, complete.train.steps), (Some(20), None));
        let text = r#"
            [model]
            latents = 12
            activation = { kind = "top-k-relu", k = 3 }
            [objective]
            aux = { k = 4, weight = 0.03, dead_after = 100 }
            scales = { kind = "top-k", ks = [1, 3], weights = [1.0, 0.5] }
            [schedule]
            warm_up = 0.05
            decay = 20
            [anchors]
            source = "ground-truth"
            count = 2
            weight = 0.1
            latents = [3, 1]
            [published]
            table = 1
            method = "TopK SAE"
            [resampling]
            kind = "decrease"
            steps = [30, 60]
            dead_after = 50
            [train]
            steps = 100
        "#;
        for experiment in [complete, Experiment::from_toml(text).unwrap().completed()] {
            assert_eq!(Experiment::from_toml(&experiment.to_toml()).unwrap(), experiment);
        }
        let read = Experiment::from_toml(text).unwrap();
        assert_eq!((read.schedule.warm_up.of(1000), read.schedule.decay.of(1000)), (50, 20));
        assert!(matches!(read.objective.scales, Scales::TopK { .. }));
        assert_eq!(read.completed().train.epochs, None);
    }

    #[test]
    fn unknown_fields_and_wrong_kinds_are_refused_by_name() {
        for (text, names) in [
            ("[model]\nlatent = 3", "latent"),
            ("latents = 3", "latents"),
            ("[train]\nbatch = -1", "line 2: train.batch: "),
            ("[train]\nmoments = \"f16\"", "train.moments"),
            ("[train]\nselect_by = \"f16\"", "train.select_by"),
            ("[train]\ngather = \"tf32\"", "train.gather"),
            ("[schedule]\nwarm_up = \"long\"", "share of all steps"),
            ("[schedule]\nwarm_up = -3", "share of all steps"),
            ("[anchors]\nsource = \"labels\"", "missing field `weight`"),
            ("[model.activation]\nkind = \"top-k\"", "k"),
            ("[model.activation]\nkind = \"softmax\"", "softmax"),
            ("[resampling]\nkind = \"bricken\"\nevery = 3", "every"),
        ] {
            let error = Experiment::from_toml(text).unwrap_err();
            assert!(error.contains(names) && !error.contains('\n'), "{text}: {error}");
        }
        let error = Experiment::from_toml("[model]\nlatents = 3\nlatent = 4").unwrap_err();
        assert!(error.starts_with("line 3: model.latent: unknown field `latent`"), "{error}");
    }

    #[test]
    fn what_should_be_a_table_with_a_kind_is_answered_by_an_example_that_may_stand_there() {
        for (before, field) in [
            ("[model]\n", "model.activation"),
            ("[objective]\n", "objective.scales"),
            ("", "resampling"),
            ("[bench]\n", "bench.task"),
            ("[bench]\n", "bench.rates"),
            ("[bench]\n", "bench.magnitudes"),
        ] {
            let key = field.rsplit('.').next().unwrap();
            let error = Experiment::from_toml(&format!("{before}{key} = \"relu\"")).unwrap_err();
            let contains = format!("{field}: invalid type: string \"relu\", expected a table such as {{ kind = ");
            assert!(error.contains(&contains) && !error.contains('\n'), "{error}");
            let examples: Vec<_> = error.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
            assert!(!examples.is_empty(), "{error}");
            for example in examples {
                let read = Experiment::from_toml(&format!("{before}{key} = {{{example}}}"));
                let checked = read.unwrap_or_else(|error| panic!("{field}: {example}: {error}")).check();
                assert!(checked.is_ok(), "{field}: {example}: {checked:?}");
            }
        }
    }

    #[test]
    fn the_hash_is_that_of_everything_but_threads() {
        let hash = |text: &str| Experiment::from_toml(text).unwrap().hash();
        assert_eq!(hash(""), hash("[train]\nthreads = 7\nepochs = 20\n[bench]\nn = 1000"));
        assert_ne!(hash(""), hash("[train]\nseed = 1"));
        let folded = Experiment::from_toml("[train]\nfold_decoder_norms = true").unwrap();
        assert_eq!(Experiment::from_toml(&folded.to_toml()).unwrap(), folded);
        assert_ne!(hash(""), folded.hash());
        let rounded = Experiment::from_toml("[train]\nmoments = \"bf16\"").unwrap();
        assert_eq!(Experiment::from_toml(&rounded.to_toml()).unwrap(), rounded);
        assert_ne!(hash(""), rounded.hash());
        assert_eq!(hash(""), hash("[train]\nmoments = \"f32\""));
        let ranked = Experiment::from_toml("[train]\nselect_by = \"bf16\"").unwrap();
        assert_eq!(Experiment::from_toml(&ranked.to_toml()).unwrap(), ranked);
        assert!(hash("") != ranked.hash() && hash("[train]\nselect_by = \"tf32\"") != ranked.hash());
        assert_eq!(hash(""), hash("[train]\nselect_by = \"score\""));
        let gathered = Experiment::from_toml("[train]\ngather = \"bf16\"").unwrap();
        assert_eq!(Experiment::from_toml(&gathered.to_toml()).unwrap(), gathered);
        assert!(hash("") != gathered.hash() && rounded.hash() != gathered.hash());
        assert_eq!(hash(""), hash("[train]\ngather = \"f32\""));
        // Trainings from before there were these fields keep their hash.
        let default = Experiment::default().to_toml();
        for field in ["fold_decoder_norms", "moments", "select_by", "gather"] {
            assert!(!default.contains(field), "{field}");
        }
        assert_ne!(hash(""), hash("[bench]\nn = 999"));
        assert_eq!(hash(""), hash("[bench.descent]\nstep = 0.125"));
        assert_ne!(hash(""), hash("[bench.descent]\nstep = 0.25"));
        assert_eq!(hash("").len(), 64);
    }
}
