//! What can be trained: an experiment is checked once, and only a [`Checked`] one becomes a [`Plan`].

use super::config::{AnchorSource, Experiment, Span};
use super::data::{Content, Data};
use super::order::Order;
use crate::backend::{Optimizer, Rule, Schedule, SelectBy, Spec};
use crate::bench::config::{BenchConfig, Task};
use crate::bench::dataset::Side;
use crate::sdl::resampling::Resampling;
use crate::sdl::{Activation, Anchors, Init, Objective, Scales, Shape};

/// What is wrong with an experiment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct ConfigError {
    /// The field, such as `model.latents`.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl ConfigError {
    pub(super) fn new(field: &str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self { field: field.to_owned(), expected: expected.into(), found: found.to_string() }
    }
}

/// A complete experiment in which no field is out of range and none contradicts another.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked(Experiment);

/// What must be known of data to plan a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// N.
    pub samples: u64,
    /// n_p.
    pub n_p: usize,
    /// n_r.
    pub n_r: usize,
    /// x_r is x_p.
    pub reconstructs_its_input: bool,
}

/// A training that can run: what the backend is made for, and when what happens.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the backend is made for.
    pub spec: Spec,
    /// σ.
    pub activation: Activation,
    /// Where training starts.
    pub init: Init,
    /// The order of samples.
    pub order: Order,
    /// T, all steps.
    pub steps: u64,
    /// Seed of the start.
    pub seed: u64,
    /// Ranks that share each batch.
    pub ranks: usize,
    /// Dead latents that are moved.
    pub resampling: Resampling,
    /// Steps between two observations.
    pub log_every: u64,
    /// Steps between two checkpoints; 0 means none before the end.
    pub checkpoint_every: u64,
    /// Seconds between two checkpoints at least.
    pub checkpoint_seconds: u64,
    /// Samples after which a silent latent counts as dead.
    pub dead_after: u64,
    /// A loss that ends training.
    pub target_loss: Option<f64>,
    /// A fall of an epoch's mean loss, as a share, that is so small that it ends training.
    pub plateau: Option<f64>,
    /// A multiple of the first loss that stops training.
    pub divergence: f64,
    /// The trained model is kept with decoder columns of norm 1.
    pub fold_decoder_norms: bool,
    /// [`Experiment::hash`].
    pub hash: String,
    /// What the files of the data hold: training goes on only from a checkpoint that has seen the same.
    pub contents: Vec<Content>,
}

/// Most latents; an index has 32 bits.
const MOST_LATENTS: usize = 1 << 24;
/// Most numbers in the encoder and the decoder together.
const MOST_WEIGHTS: usize = 1 << 34;
/// Bytes of a checkpoint for which training goes on a second before the next one, unless `train.checkpoint_seconds` says otherwise.
const CHECKPOINT_RATE: u64 = 64 << 20;
/// Most samples in a batch.
const MOST_ROWS: usize = 1 << 20;
/// Most ranks.
const MOST_RANKS: usize = 64;
/// Most steps.
const MOST_STEPS: u64 = 1 << 40;

type Result<T = ()> = std::result::Result<T, ConfigError>;

fn ensure(fits: bool, field: &str, expected: &str, found: impl ToString) -> Result {
    if fits { Ok(()) } else { Err(ConfigError::new(field, expected, found)) }
}

fn within(x: f64, low: f64, high: f64, field: &str, expected: &str) -> Result {
    ensure(x >= low && x <= high, field, expected, x)
}

/// Largest factor or rate that can be meant.
const LARGE: f64 = 1e12;
const NON_NEGATIVE: &str = "a number in [0, 1e12]";
const POSITIVE: &str = "a number in (0, 1e12]";
const FOLD: &str = "train.fold_decoder_norms";
const LATENTS: &str = "anchors.latents";

impl Experiment {
    /// Completes the experiment and checks it.
    ///
    /// # Errors
    /// The first field that is out of range or contradicts another.
    pub fn check(&self) -> Result<Checked> {
        let experiment = self.completed();
        source(&experiment)?;
        model(&experiment)?;
        objective(&experiment.objective, &experiment.model.activation, experiment.model.latents)?;
        optimizer(&experiment.optimizer)?;
        for (field, span) in
            [("schedule.warm_up", experiment.schedule.warm_up), ("schedule.decay", experiment.schedule.decay)]
        {
            if let Span::Share(share) = span {
                within(share, 0.0, 1.0, field, "a share in [0, 1], or an integer number of steps")?;
            }
        }
        length(&experiment)?;
        resampling(&experiment.resampling)?;
        anchors(&experiment)?;
        let facts = experiment.bench.as_ref().map(Facts::of_bench);
        let checked = Checked(experiment);
        Ok(match facts {
            Some(facts) => checked.on(facts),
            None => checked,
        })
    }
}

fn source(experiment: &Experiment) -> Result {
    match (&experiment.bench, &experiment.data) {
        (Some(_), Some(_)) => Err(ConfigError::new("data", "either [bench] or [data]", "both")),
        (Some(bench), None) => {
            bench.check().map_err(|e| ConfigError::new(&format!("bench.{}", e.field), e.expected, e.found))
        }
        _ => Ok(()),
    }
}

fn model(experiment: &Experiment) -> Result {
    let model = &experiment.model;
    ensure((1..=MOST_LATENTS).contains(&model.latents), "model.latents", "an integer from 1 to 2^24", model.latents)?;
    if let Some(k) = model.activation.k() {
        let expected = format!("an integer from 1 to the {} latents", model.latents);
        ensure((1..=model.latents).contains(&k), "model.activation.k", &expected, k)?;
    }
    if let Activation::JumpRelu { theta, bandwidth } = model.activation {
        within(theta, f64::MIN_POSITIVE, LARGE, "model.activation.theta", POSITIVE)?;
        within(bandwidth, f64::MIN_POSITIVE, LARGE, "model.activation.bandwidth", POSITIVE)?;
    }
    within(model.init.scale, f64::MIN_POSITIVE, LARGE, "model.init.scale", POSITIVE)
}

fn objective(objective: &Objective, activation: &Activation, latents: usize) -> Result {
    within(objective.l1, 0.0, LARGE, "objective.l1", NON_NEGATIVE)?;
    within(objective.l0, 0.0, LARGE, "objective.l0", NON_NEGATIVE)?;
    let jump = matches!(activation, Activation::JumpRelu { .. });
    ensure(objective.l0 == 0.0 || jump, "objective.l0", "0 without a JumpReLU", objective.l0)?;
    if let Some(aux) = objective.aux {
        ensure(aux.k >= 1, "objective.aux.k", "an integer >= 1", aux.k)?;
        within(aux.weight, 0.0, LARGE, "objective.aux.weight", NON_NEGATIVE)?;
        ensure(aux.dead_after >= 1, "objective.aux.dead_after", "a number of samples >= 1", aux.dead_after)?;
    }
    let (field, parts, last, expected) = match &objective.scales {
        Scales::Single => return Ok(()),
        Scales::TopK { ks, .. } => {
            let own = matches!(activation, Activation::TopK { .. } | Activation::TopKRelu { .. });
            let k = activation.k().filter(|_| own).ok_or_else(|| {
                ConfigError::new(
                    "objective.scales",
                    "an activation top-k or top-k-relu for scales of kind top-k",
                    "another",
                )
            })?;
            ("objective.scales.ks", ks, k, "increasing integers >= 1, the last of which is k of the activation")
        }
        Scales::Prefixes { sizes, .. } => (
            "objective.scales.sizes",
            sizes,
            latents,
            "increasing integers >= 1, the last of which is the number of latents",
        ),
    };
    let increasing = parts.windows(2).all(|w| w[0] < w[1]) && parts.first().is_some_and(|k| *k >= 1);
    ensure(increasing && parts.last() == Some(&last), field, &format!("{expected}, {last}"), format!("{parts:?}"))?;
    let weights = objective.scales.weights();
    let fits = weights.len() == parts.len() && weights.iter().all(|w| *w > 0.0 && *w <= LARGE);
    let expected = format!("{} numbers in (0, 1e12]", parts.len());
    ensure(fits, "objective.scales.weights", &expected, format!("{weights:?}"))
}

fn optimizer(optimizer: &Optimizer) -> Result {
    within(optimizer.learning_rate, 0.0, LARGE, "optimizer.learning_rate", NON_NEGATIVE)?;
    for (field, beta) in [("optimizer.beta_1", optimizer.beta_1), ("optimizer.beta_2", optimizer.beta_2)] {
        ensure((0.0..1.0).contains(&beta), field, "a number in [0, 1)", beta)?;
    }
    within(optimizer.epsilon, f64::MIN_POSITIVE, LARGE, "optimizer.epsilon", POSITIVE)?;
    within(optimizer.weight_decay, 0.0, LARGE, "optimizer.weight_decay", NON_NEGATIVE)?;
    let decays = optimizer.rule == Rule::AdamW || optimizer.weight_decay == 0.0;
    ensure(decays, "optimizer.weight_decay", "0 unless the rule is adam-w", optimizer.weight_decay)?;
    within(optimizer.clip, 0.0, LARGE, "optimizer.clip", "a number in [0, 1e12], 0 for no limit")
}

fn length(experiment: &Experiment) -> Result {
    let train = &experiment.train;
    ensure((1..=MOST_ROWS).contains(&train.batch), "train.batch", "an integer from 1 to 2^20", train.batch)?;
    if let (Some(_), Some(steps)) = (train.epochs, train.steps) {
        return Err(ConfigError::new("train.steps", "either epochs or steps", format!("both, steps = {steps}")));
    }
    for (field, length) in [("train.epochs", train.epochs), ("train.steps", train.steps)] {
        let length = length.unwrap_or(0);
        ensure(length <= MOST_STEPS, field, "an integer from 0 to 2^40", length)?;
    }
    ensure(train.log_every >= 1, "train.log_every", "a number of steps >= 1", train.log_every)?;
    ensure(train.dead_after != Some(0), "train.dead_after", "a number of samples >= 1", 0)?;
    if let Some(target) = train.target_loss {
        within(target, 0.0, f64::MAX, "train.target_loss", "a number >= 0")?;
    }
    if let Some(share) = train.plateau {
        ensure((0.0..1.0).contains(&share), "train.plateau", "a share in [0, 1)", share)?;
    }
    within(train.divergence, 1.0, f64::MAX, "train.divergence", "a number >= 1")?;
    let compares = matches!(experiment.model.activation, Activation::TopK { .. } | Activation::TopKRelu { .. });
    let expected = "false with a top-k, which compares latents and would keep others";
    ensure(!(train.fold_decoder_norms && compares), FOLD, expected, train.fold_decoder_norms)?;
    let expected = "\"score\" unless the activation is top-k or top-k-relu";
    let found = format!("\"{}\"", train.select_by.name());
    ensure(train.select_by == SelectBy::Score || compares, "train.select_by", expected, found)?;
    ensure((1..=MOST_RANKS).contains(&train.ranks), "train.ranks", "an integer from 1 to 64", train.ranks)?;
    let most = most_threads();
    ensure(train.threads <= most, "train.threads", &format!("an integer from 0 to {most}"), train.threads)
}

/// Most threads: 256, or four for each core of this machine where that is more.
pub fn most_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).saturating_mul(4).max(256)
}

fn resampling(resampling: &Resampling) -> Result {
    let Some(recipe) = resampling.recipe() else {
        return Ok(());
    };
    let steps = recipe.steps.iter().all(|step| (1..=MOST_STEPS).contains(step));
    ensure(steps, "resampling.steps", "integers from 1 to 2^40", format!("{:?}", recipe.steps))?;
    ensure(recipe.dead_after >= 1, "resampling.dead_after", "a number of samples >= 1", 0)?;
    let samples = recipe.samples;
    ensure((1..=MOST_ROWS).contains(&samples), "resampling.samples", "an integer from 1 to 2^20", samples)?;
    ensure(recipe.warm_up <= MOST_STEPS, "resampling.warm_up", "an integer from 0 to 2^40", recipe.warm_up)?;
    let expected = "at least one number of updates, after which dead latents are moved";
    ensure(!recipe.steps.is_empty(), "resampling.steps", expected, "none, so that none ever is")
}

fn anchors(experiment: &Experiment) -> Result {
    let Some(anchors) = &experiment.anchors else {
        return Ok(());
    };
    within(anchors.weight, 0.0, LARGE, "anchors.weight", NON_NEGATIVE)?;
    let latents = experiment.model.latents;
    let (most, what) = match (anchors.source, &experiment.bench, &experiment.data) {
        (AnchorSource::GroundTruth, Some(bench), _) => (bench.n, format!("the {} features", bench.n)),
        (AnchorSource::GroundTruth, None, _) => {
            return Err(ConfigError::new(
                "anchors.source",
                "`labels`, as [data] has no ground truth",
                "`ground-truth`",
            ));
        }
        (AnchorSource::Labels, _, Some(data)) if data.labels.is_some() => (usize::MAX, "the classes".to_owned()),
        (AnchorSource::Labels, ..) => {
            return Err(ConfigError::new("anchors.source", "labels in data.labels", "none"));
        }
    };
    // How many classes there are is known once the labels are read.
    let all = if most == usize::MAX { 0 } else { most };
    let count = anchors.known().unwrap_or(all);
    let expected = match anchors.count_field() {
        LATENTS => format!("at most as many as {what} and as the {latents} latents"),
        _ => format!("an integer of at most {what} and at most the {latents} latents"),
    };
    ensure(count <= most.min(latents), anchors.count_field(), &expected, count)?;
    if let Some(own) = &anchors.latents {
        let mut sorted = own.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let distinct = sorted.len() == own.len() && sorted.last().is_none_or(|i| (*i as usize) < latents);
        ensure(distinct, LATENTS, &format!("distinct integers below {latents}"), format!("{own:?}"))?;
        let fits = anchors.count.is_none_or(|count| count == own.len());
        ensure(fits, LATENTS, "as many latents as anchors.count", own.len())?;
    }
    Ok(())
}

impl Facts {
    /// Of a bench that has not been made yet.
    pub fn of_bench(bench: &BenchConfig) -> Self {
        let (n_p, n_r) = match bench.task {
            Task::Sae => (bench.n_p, bench.n_p),
            Task::Transcoder { n_r } => (bench.n_p, n_r),
            Task::Crosscoder { sources } => (bench.n_p * sources, bench.n_p * sources),
        };
        let reconstructs_its_input = !matches!(bench.task, Task::Transcoder { .. });
        Self { samples: bench.samples, n_p, n_r, reconstructs_its_input }
    }

    /// Of data that are there.
    pub fn of(data: &Data) -> Self {
        Self {
            samples: data.samples(),
            n_p: data.dimension(Side::Input),
            n_r: data.dimension(Side::Target),
            reconstructs_its_input: data.reconstructs_its_input(),
        }
    }
}

impl Checked {
    /// The complete experiment.
    pub fn experiment(&self) -> &Experiment {
        &self.0
    }

    /// The same with what such data decide written out: an encoder cannot start as the transpose of a decoder of another size.
    #[must_use]
    pub fn on(mut self, facts: Facts) -> Self {
        self.0.model.init.tied &= facts.n_p == facts.n_r;
        self
    }

    /// The plan for data like these, without anchors and contents yet.
    ///
    /// # Errors
    /// Fields that do not fit the data: no samples, a model too large, a schedule longer than the training, a skip path from an input to itself.
    pub fn plan(&self, facts: Facts) -> Result<Plan> {
        let Experiment { model, train, schedule, .. } = &self.0;
        let Facts { samples, n_p, n_r, reconstructs_its_input } = facts;
        ensure(samples >= 1, "data.inputs", "at least one sample", 0)?;
        ensure(n_p >= 1 && n_r >= 1, "data.inputs", "rows of at least one number", n_p.min(n_r))?;
        let weights = model.latents.checked_mul(n_p + n_r);
        let expected = format!("at most {} latents for n_p = {n_p} and n_r = {n_r}", MOST_WEIGHTS / (n_p + n_r));
        ensure(weights.is_some_and(|w| w <= MOST_WEIGHTS), "model.latents", &expected, model.latents)?;
        let skips = model.init.skip && reconstructs_its_input;
        ensure(!skips, "model.init.skip", "false, as the target is the input", model.init.skip)?;
        let batch = usize::try_from(samples).unwrap_or(usize::MAX).min(train.batch);
        let order = Order::new(train.seed, samples, batch as u64);
        let steps = match (train.steps, train.epochs) {
            (Some(steps), _) => Some(steps),
            (None, epochs) => epochs.unwrap_or(0).checked_mul(order.steps_per_epoch()).filter(|t| *t <= MOST_STEPS),
        };
        let found = format!("{} epochs of {}", train.epochs.unwrap_or(0), order.steps_per_epoch());
        let steps = steps.ok_or_else(|| ConfigError::new("train.epochs", "at most 2^40 steps", found))?;
        let untrained = steps == 0 && matches!(model.activation, Activation::BatchTopK { .. });
        let expected = "false for a BatchTopK without a step, which has no threshold yet";
        ensure(!(train.fold_decoder_norms && untrained), FOLD, expected, train.fold_decoder_norms)?;
        let (warm_up, decay) = (schedule.warm_up.of(steps), schedule.decay.of(steps));
        let fits = warm_up.checked_add(decay).is_some_and(|t| t <= steps);
        let expected = format!("warm_up and decay of together at most the {steps} steps");
        ensure(fits, "schedule.decay", &expected, format!("{warm_up} and {decay}"))?;
        let schedule = Schedule { warm_up, decay, curve: schedule.curve, steps };
        // Parameters and their moments, by far the most of which are those of latents.
        let numbers = if self.0.optimizer.rule == Rule::Sgd { 2 } else { 3 };
        let checkpoint = numbers * size_of::<f32>() * model.latents * (n_p + n_r);
        let spec = Spec {
            shape: Shape { n_p, n_r, n_q: model.latents },
            batch,
            objective: self.0.objective.clone(),
            anchors: Anchors::none(),
            optimizer: self.0.optimizer,
            moments: train.moments,
            select_by: train.select_by,
            gather: train.gather,
            schedule,
            unit_decoder: model.unit_decoder,
            reconstructs_its_input,
        };
        Ok(Plan {
            spec,
            activation: model.activation,
            init: model.init,
            order,
            steps,
            seed: train.seed,
            ranks: train.ranks,
            resampling: self.0.resampling.clone(),
            log_every: train.log_every,
            checkpoint_every: train.checkpoint_every,
            checkpoint_seconds: train.checkpoint_seconds.unwrap_or(checkpoint as u64 / CHECKPOINT_RATE),
            dead_after: train.dead_after.unwrap_or(samples),
            target_loss: train.target_loss,
            plateau: train.plateau,
            divergence: train.divergence,
            fold_decoder_norms: train.fold_decoder_norms,
            hash: self.0.hash(),
            contents: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Checked> {
        Experiment::from_toml(text).unwrap().check()
    }

    #[test]
    fn every_wrong_field_is_refused_by_name() {
        for (text, field) in [
            ("[model]\nlatents = 0", "model.latents"),
            ("[model]\nlatents = 9\nactivation = { kind = \"top-k\", k = 10 }", "model.activation.k"),
            ("[model]\nactivation = { kind = \"batch-top-k\", k = 0 }", "model.activation.k"),
            ("[model]\nactivation = { kind = \"jump-relu\", theta = 0.0, bandwidth = 0.1 }", "model.activation.theta"),
            (
                "[model]\nactivation = { kind = \"jump-relu\", theta = 1.0, bandwidth = nan }",
                "model.activation.bandwidth",
            ),
            ("[model.init]\nscale = -1.0", "model.init.scale"),
            ("[bench]\nsparsity = 2.0", "bench.sparsity"),
            ("[bench]\n[data]\ninputs = \"x.npy\"", "data"),
            ("[objective]\nl1 = inf", "objective.l1"),
            ("[objective]\nl0 = 0.1", "objective.l0"),
            ("[objective]\naux = { k = 0, weight = 1.0, dead_after = 1 }", "objective.aux.k"),
            ("[objective]\naux = { k = 1, weight = 1.0, dead_after = 0 }", "objective.aux.dead_after"),
            ("[objective]\nscales = { kind = \"top-k\", ks = [3], weights = [1.0] }", "objective.scales.ks"),
            ("[objective]\nscales = { kind = \"top-k\", ks = [64], weights = [] }", "objective.scales.weights"),
            (
                "[objective]\nscales = { kind = \"prefixes\", sizes = [0, 16000], weights = [1.0, 1.0] }",
                "objective.scales.sizes",
            ),
            ("[objective]\nscales = { kind = \"prefixes\", sizes = [], weights = [] }", "objective.scales.sizes"),
            (
                "[model]\nactivation = { kind = \"relu\" }\n[objective]\nscales = { kind = \"top-k\", ks = [1], weights = [1.0] }",
                "objective.scales",
            ),
            ("[optimizer]\nlearning_rate = nan", "optimizer.learning_rate"),
            ("[optimizer]\nbeta_2 = 1.0", "optimizer.beta_2"),
            ("[optimizer]\nepsilon = 0.0", "optimizer.epsilon"),
            ("[optimizer]\nweight_decay = 0.1", "optimizer.weight_decay"),
            ("[optimizer]\nclip = -1.0", "optimizer.clip"),
            ("[schedule]\nwarm_up = 1.5", "schedule.warm_up"),
            ("[train]\nbatch = 0", "train.batch"),
            ("[train]\nepochs = 2\nsteps = 3", "train.steps"),
            ("[train]\nlog_every = 0", "train.log_every"),
            ("[train]\ndead_after = 0", "train.dead_after"),
            ("[train]\ntarget_loss = nan", "train.target_loss"),
            ("[train]\nplateau = 1.0", "train.plateau"),
            ("[train]\nplateau = nan", "train.plateau"),
            ("[train]\ndivergence = 0.5", "train.divergence"),
            ("[train]\nthreads = 100000", "train.threads"),
            ("[train]\nranks = 0", "train.ranks"),
            ("[train]\nranks = 65", "train.ranks"),
            ("[train]\nfold_decoder_norms = true", "train.fold_decoder_norms"),
            ("[model]\nactivation = { kind = \"relu\" }\n[train]\nselect_by = \"bf16\"", "train.select_by"),
            (
                "[model]\nactivation = { kind = \"top-k-relu\", k = 3 }\n[train]\nfold_decoder_norms = true",
                "train.fold_decoder_norms",
            ),
            ("[resampling]\nkind = \"bricken\"\nsteps = [0]", "resampling.steps"),
            ("[resampling]\nkind = \"bricken\"", "resampling.steps"),
            ("[resampling]\nkind = \"decrease\"\nsteps = []\nwarm_up = 5", "resampling.steps"),
            ("[resampling]\nkind = \"decrease\"\ndead_after = 0", "resampling.dead_after"),
            ("[resampling]\nkind = \"decrease\"\nsamples = 0", "resampling.samples"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = -1.0", "anchors.weight"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = 1.0\ncount = 1001", "anchors.count"),
            ("[anchors]\nsource = \"labels\"\nweight = 1.0", "anchors.source"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = 1.0\n[data]\ninputs = \"x.npy\"", "anchors.source"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = 1.0\ncount = 2\nlatents = [1, 1]", "anchors.latents"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = 1.0\ncount = 2\nlatents = [1]", "anchors.latents"),
            ("[anchors]\nsource = \"ground-truth\"\nweight = 1.0\n[model]\nlatents = 999", "anchors.count"),
            (
                "[anchors]\nsource = \"ground-truth\"\nweight = 1.0\nlatents = [0, 1, 2]\n[bench]\nn = 2",
                "anchors.latents",
            ),
        ] {
            let error = checked(text).unwrap_err();
            assert_eq!(error.field, field, "{text}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn anchored_latents_say_how_many_anchors_there_are_also_where_there_are_more_features_than_latents() {
        let anchors = "[anchors]\nsource = \"ground-truth\"\nweight = 1.0\nlatents = [3, 4]";
        let model = "[model]\nlatents = 80";
        for text in [format!("{anchors}\n{model}"), format!("{anchors}\ncount = 2\n{model}")] {
            assert_eq!(checked(&text).unwrap().experiment().anchors.as_ref().unwrap().known(), Some(2), "{text}");
        }
    }

    #[test]
    fn as_many_threads_are_allowed_as_are_said_to_be_and_256_on_every_machine() {
        let most = most_threads();
        assert!(most >= 256);
        assert!(checked(&format!("[train]\nthreads = {most}")).is_ok());
        let error = checked(&format!("[train]\nthreads = {}", most + 1)).unwrap_err();
        assert_eq!(error.expected, format!("an integer from 0 to {most}"));
    }

    fn planned(text: &str, facts: Facts) -> Result<Plan> {
        checked(text).unwrap().plan(facts)
    }

    const FACTS: Facts = Facts { samples: 10, n_p: 3, n_r: 3, reconstructs_its_input: true };

    #[test]
    fn a_plan_counts_steps_and_shrinks_the_batch_to_the_data() {
        let plan = planned("[train]\nbatch = 4\nepochs = 5\n[schedule]\nwarm_up = 0.5\ndecay = 0.5", FACTS).unwrap();
        assert_eq!((plan.steps, plan.spec.batch, plan.dead_after), (15, 4, 10));
        assert_eq!((plan.spec.schedule.warm_up, plan.spec.schedule.decay, plan.spec.schedule.steps), (7, 7, 15));
        let plan = planned("[train]\nsteps = 7\ndead_after = 3", FACTS).unwrap();
        assert_eq!((plan.steps, plan.spec.batch, plan.dead_after), (7, 10, 3));
    }

    #[test]
    fn a_start_that_cannot_be_tied_is_recorded_as_what_it_is() {
        let transcoder = |n_r: usize, more: &str| {
            let bench = format!(
                "[bench]\nn = 12\nn_p = 8\ninterference = 0.6\ntask = {{ kind = \"transcoder\", n_r = {n_r} }}\n{more}"
            );
            checked(&bench).unwrap()
        };
        let tied = |checked: &Checked| checked.experiment().model.init.tied;
        assert_eq!([8, 9].map(|n_r| tied(&transcoder(n_r, ""))), [true, false]);
        let [default, own] = ["", "[model.init]\ntied = false"].map(|more| transcoder(9, more).experiment().hash());
        assert_eq!(default, own);
        // What files hold is known only once they are open.
        let files = checked("[data]\ninputs = \"x.npy\"\ntargets = \"y.npy\"").unwrap();
        assert!(tied(&files) && tied(&files.clone().on(FACTS)));
        let apart = files.on(Facts { n_r: 4, reconstructs_its_input: false, ..FACTS });
        assert!(!tied(&apart));
        let again = Experiment::from_toml(&apart.experiment().to_toml()).unwrap().check().unwrap();
        assert_eq!(again, apart);
    }

    #[test]
    fn what_does_not_fit_the_data_is_refused_by_name() {
        for (text, facts, field) in [
            ("", Facts { samples: 0, ..FACTS }, "data.inputs"),
            ("", Facts { n_p: 0, ..FACTS }, "data.inputs"),
            ("", Facts { n_p: 1 << 40, ..FACTS }, "model.latents"),
            ("[model.init]\nskip = true", FACTS, "model.init.skip"),
            ("[schedule]\ndecay = 100\n[train]\nsteps = 99", FACTS, "schedule.decay"),
            ("[train]\nepochs = 1099511627776\nbatch = 1", FACTS, "train.epochs"),
            (
                "[model]\nactivation = { kind = \"batch-top-k\", k = 3 }\n[train]\nsteps = 0\nfold_decoder_norms = true",
                FACTS,
                "train.fold_decoder_norms",
            ),
        ] {
            assert_eq!(planned(text, facts).unwrap_err().field, field, "{text}");
        }
    }

    #[test]
    fn large_models_have_more_time_between_checkpoints_unless_it_is_given() {
        let seconds = |text: &str, n| planned(text, Facts { n_p: n, n_r: n, ..FACTS }).unwrap().checkpoint_seconds;
        // Three numbers of each weight: 0.9 MB, 0.29 GB and 12.9 GB.
        assert_eq!(seconds("[model]\nlatents = 800", 48), 0);
        assert_eq!(seconds("[model]\nlatents = 16000", 768), 4);
        assert_eq!(seconds("[model]\nlatents = 131072", 4096), 192);
        assert_eq!(seconds("[model]\nlatents = 131072\n[optimizer]\nrule = \"sgd\"", 4096), 128);
        assert_eq!(seconds("[model]\nlatents = 131072\n[train]\ncheckpoint_seconds = 7", 4096), 7);
        let hash = |text: &str| checked(text).unwrap().experiment().hash();
        assert_eq!(hash("[train]\ncheckpoint_seconds = 7"), hash(""));
    }

    #[test]
    fn the_facts_of_a_bench_are_known_before_it_is_made() {
        for task in [Task::Sae, Task::Transcoder { n_r: 9 }, Task::Crosscoder { sources: 2 }] {
            let config = BenchConfig { n: 12, n_p: 8, interference: 0.6, samples: 5, task, ..BenchConfig::default() };
            let bench = crate::bench::dataset::Bench::generate(&config).unwrap();
            assert_eq!(Facts::of_bench(&config), Facts::of(&Data::Bench(Box::new(bench))));
        }
    }
}
