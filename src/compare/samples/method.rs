//! The methods: loops that show their model after every round and stop when told.
//!
//! Adam and the alternating methods begin at the model of `init` and `seed`. The learners of dictionaries begin at samples, as they always
//! do; for every round an encoder is fitted to the codes of all samples by least squares
//! ([`Amortised`]), and the model is judged with the TopK of the others.

use super::config::SamplesComparison;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Mode, Optimizer, Rows, Spec};
use crate::bench::dataset::{Bench, Side};
use crate::optim::dictionary::{self, Amortised, Coder, Codes, Dictionary, Ksvd};
use crate::optim::samples::{Online, Problem, SamplesError, Search, Sweep, Termination};
use crate::sdl::{Model, Parameter, Shape, Tensors};
use crate::train::order::Order;
use std::time::Instant;

/// A bench with its samples in memory.
#[derive(Debug)]
pub struct Data {
    /// The bench.
    pub bench: Bench,
    /// x_p of samples 0 .. N, row after row.
    inputs: Vec<f32>,
    /// x_r of them; empty for an autoencoder.
    targets: Vec<f32>,
    /// The same of samples N .. N + `held_out`.
    held_out: [Vec<f32>; 2],
}

impl Data {
    /// Makes the bench and draws its samples.
    ///
    /// # Errors
    /// The bench cannot be made.
    pub fn new(comparison: &SamplesComparison) -> Result<Self, String> {
        let bench = Bench::generate(&comparison.bench).map_err(|error| format!("bench: {error}"))?;
        let N = comparison.bench.samples;
        let rows = |from: u64, to: u64, side: Side| {
            if side == Side::Target && bench.reconstructs_its_input() {
                return Vec::new();
            }
            let batch = bench.coefficients().batch(&(from..to).collect::<Vec<_>>());
            let mut out = vec![0.0; batch.rows() * bench.directions(side).dimension()];
            bench.synthesize(&batch, side, &mut out);
            out
        };
        let beyond = N + comparison.held_out;
        let held_out = [rows(N, beyond, Side::Input), rows(N, beyond, Side::Target)];
        Ok(Self { inputs: rows(0, N, Side::Input), targets: rows(0, N, Side::Target), held_out, bench })
    }

    fn problem_of<'a>(
        &'a self,
        comparison: &SamplesComparison,
        inputs: &'a [f32],
        targets: &'a [f32],
    ) -> Result<Problem<'a>, String> {
        let targets = if self.bench.reconstructs_its_input() { inputs } else { targets };
        let samples = |data, side| dictionary::Samples::new(data, self.bench.directions(side).dimension());
        let problem = samples(inputs, Side::Input)
            .and_then(|inputs| Ok((inputs, samples(targets, Side::Target)?)))
            .map_err(SamplesError::from)
            .and_then(|(inputs, targets)| Problem::new(inputs, targets, comparison.activation()));
        problem.map_err(|error| error.to_string())
    }

    /// The problem that all methods have.
    ///
    /// # Errors
    /// Samples that are not finite.
    pub fn problem(&self, comparison: &SamplesComparison) -> Result<Problem<'_>, String> {
        self.problem_of(comparison, &self.inputs, &self.targets)
    }

    /// The problem of the samples that no method sees.
    ///
    /// # Errors
    /// Samples that are not finite.
    pub fn unseen(&self, comparison: &SamplesComparison) -> Result<Problem<'_>, String> {
        self.problem_of(comparison, &self.held_out[0], &self.held_out[1])
    }
}

/// What a method shows.
#[derive(Debug)]
pub struct Round<'a> {
    /// Its model.
    pub model: &'a Model,
    /// Of alternating search: what the sweep has done.
    pub sweep: Option<Sweep>,
    /// Seconds that the method has worked for it.
    pub seconds: f64,
    /// True if there is nothing more that it could do.
    pub exhausted: bool,
}

/// Told of every round; false ends the method.
pub type Watch<'a> = dyn FnMut(Round<'_>) -> Result<bool, String> + 'a;

/// Time that a method works.
struct Clock {
    worked: f64,
    since: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { worked: 0.0, since: Instant::now() }
    }

    fn pause(&mut self) -> f64 {
        self.worked += self.since.elapsed().as_secs_f64();
        self.worked
    }

    fn resume(&mut self) {
        self.since = Instant::now();
    }
}

/// Runs a method until the watch ends it, or it ends itself.
///
/// # Errors
/// There is no such method, the watch fails, or the method does.
pub fn run(name: &str, comparison: &SamplesComparison, data: &Data, watch: &mut Watch<'_>) -> Result<(), String> {
    let problem = data.problem(comparison)?;
    match name {
        "adam" => adam(comparison, data, watch),
        "alternating" => alternating(comparison, data, problem, watch),
        "alternating-online" => alternating_online(comparison, data, problem, watch),
        "k-svd" => {
            let coder = Coder::Nnls { atoms: Some(comparison.k) };
            let learner =
                Ksvd { atoms: comparison.latents, coder, passes: usize::MAX, tolerance: 0.0, ..Ksvd::default() };
            dictionaries(comparison, data, coder, watch, |samples, watch| {
                learner.fit_watched(samples, comparison.seed, watch)
            })
        }
        "online" => {
            let learner = dictionary::Online {
                atoms: comparison.latents,
                penalty: comparison.online.penalty,
                batch: comparison.online.batch,
                passes: usize::MAX,
                tolerance: 0.0,
                ..dictionary::Online::default()
            };
            let samples = target_samples(data)?;
            let coder = Coder::Lasso { penalty: learner.lambda(samples) };
            dictionaries(comparison, data, coder, watch, |samples, watch| {
                learner.fit_watched(samples, comparison.seed, watch)
            })
        }
        _ => Err(format!("there is no method {name}")),
    }
}

fn shape(comparison: &SamplesComparison, data: &Data) -> Shape {
    let dimension = |side| data.bench.directions(side).dimension();
    comparison.shape(dimension(Side::Input), dimension(Side::Target))
}

fn start(comparison: &SamplesComparison, data: &Data) -> Model {
    comparison.init.model(shape(comparison, data), comparison.activation(), comparison.seed)
}

fn adam(comparison: &SamplesComparison, data: &Data, watch: &mut Watch<'_>) -> Result<(), String> {
    let model = start(comparison, data);
    let Shape { n_p, n_r, .. } = model.shape();
    if !watch(Round { model: &model, sweep: None, seconds: 0.0, exhausted: false })? {
        return Ok(());
    }
    let mut clock = Clock::start();
    let (N, own) = (comparison.bench.samples, data.bench.reconstructs_its_input());
    let batch_size = (comparison.adam.batch as u64).min(N);
    let optimizer = Optimizer { learning_rate: comparison.adam.learning_rate, ..Optimizer::default() };
    let spec = Spec { optimizer, reconstructs_its_input: own, ..Spec::plain(model.shape(), batch_size as usize) };
    let cpu = Cpu::new(spec);
    let mut params = cpu.params(&model);
    let (mut opt, mut batch, mut codes) = (cpu.opt_state(&params), cpu.batch(), cpu.codes());
    let mut grads = cpu.grads(&params);
    let order = Order::new(comparison.seed, N, batch_size);
    let (mut indices, mut inputs, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    let mut step = 0;
    loop {
        for _ in 0..order.steps_per_epoch() {
            order.batch(step, &mut indices);
            let gathered = |from: &[f32], width: usize, out: &mut Vec<f32>| {
                out.clear();
                indices.iter().for_each(|s| out.extend_from_slice(&from[*s as usize * width..][..width]));
            };
            gathered(&data.inputs, n_p, &mut inputs);
            if !own {
                gathered(&data.targets, n_r, &mut targets);
            }
            cpu.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
            cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            cpu.decode_residual(&params, &batch, &mut codes);
            cpu.backward(&params, &batch, &mut codes, &mut grads);
            cpu.step(&mut params, &mut opt, &codes, &mut grads);
            step += 1;
        }
        let seconds = clock.pause();
        if !watch(Round { model: &cpu.model(&params), sweep: None, seconds, exhausted: false })? {
            return Ok(());
        }
        clock.resume();
    }
}

/// Alternating search from the start of all methods; `exhausted` when no sweep lowers the loss.
fn alternating(
    comparison: &SamplesComparison,
    data: &Data,
    problem: Problem<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), String> {
    // The comparison decides when a method has settled.
    let config = crate::optim::samples::Config { tolerance: 0.0, ..comparison.alternating };
    let begin = |model: &Model| Search::new(problem, config, model);
    rounds(comparison, data, watch, begin, Search::model, |search| {
        let sweep = search.sweep()?;
        let over = matches!(search.terminate(), Some(Termination::NoDescent { .. } | Termination::NoLoss { .. }));
        Ok((Some(sweep), over))
    })
}

/// Proximal alternating steps on mini-batches, one round for each epoch.
fn alternating_online(
    comparison: &SamplesComparison,
    data: &Data,
    problem: Problem<'_>,
    watch: &mut Watch<'_>,
) -> Result<(), String> {
    let begin = |model: &Model| Online::new(problem, comparison.alternating_online, model, comparison.seed);
    rounds(comparison, data, watch, begin, Online::model, |online| online.epoch().map(|_| (None, false)))
}

/// Shows the start, then the model of a searcher after every round, until the watch or the searcher ends it. `advance` says what the
/// round has done, and whether nothing is left to do.
fn rounds<S>(
    comparison: &SamplesComparison,
    data: &Data,
    watch: &mut Watch<'_>,
    begin: impl FnOnce(&Model) -> Result<S, SamplesError>,
    model_of: impl Fn(&S) -> &Model,
    mut advance: impl FnMut(&mut S) -> Result<(Option<Sweep>, bool), SamplesError>,
) -> Result<(), String> {
    let failed = |error: SamplesError| error.to_string();
    let model = start(comparison, data);
    if !watch(Round { model: &model, sweep: None, seconds: 0.0, exhausted: false })? {
        return Ok(());
    }
    let mut clock = Clock::start();
    let mut searcher = begin(&model).map_err(failed)?;
    loop {
        let (sweep, exhausted) = advance(&mut searcher).map_err(failed)?;
        let seconds = clock.pause();
        if !watch(Round { model: model_of(&searcher), sweep, seconds, exhausted })? || exhausted {
            return Ok(());
        }
        clock.resume();
    }
}

fn target_samples(data: &Data) -> Result<dictionary::Samples<'_>, String> {
    let rows = if data.bench.reconstructs_its_input() { &data.inputs } else { &data.targets };
    dictionary::Samples::new(rows, data.bench.directions(Side::Target).dimension()).map_err(|error| error.to_string())
}

/// A learner of dictionaries, with an encoder for each of its passes.
fn dictionaries(
    comparison: &SamplesComparison,
    data: &Data,
    coder: Coder,
    watch: &mut Watch<'_>,
    learn: impl FnOnce(
        dictionary::Samples<'_>,
        &mut dictionary::Watch<'_>,
    ) -> Result<dictionary::Fit, dictionary::DictionaryError>,
) -> Result<(), String> {
    let samples = target_samples(data)?;
    let inputs = dictionary::Samples::new(&data.inputs, data.bench.directions(Side::Input).dimension());
    let inputs = inputs.map_err(|error| error.to_string())?;
    let mut clock = Clock::start();
    let mut failure = None;
    let mut shown = |dictionary: &Dictionary, codes: Option<&Codes>| {
        let learning = clock.pause();
        let fit = Instant::now();
        let own;
        let codes = match codes {
            Some(codes) => Ok(codes),
            None => {
                own = coder.encode(dictionary, samples);
                own.as_ref().map_err(Clone::clone)
            }
        };
        let W = codes.and_then(|codes| Amortised::default().encoder(dictionary, codes, inputs));
        let seconds = learning + fit.elapsed().as_secs_f64();
        let told = W.map_err(|error| error.to_string()).and_then(|W| {
            let mut tensors = Tensors::zeros(shape(comparison, data), [Parameter::Encoder, Parameter::Decoder]);
            for (parameter, values) in [(Parameter::Encoder, &W[..]), (Parameter::Decoder, dictionary.data())] {
                if let Some(block) = tensors.get_mut(parameter) {
                    block.copy_from_slice(values);
                }
            }
            let model = Model { activation: comparison.activation(), tensors, threshold: None };
            watch(Round { model: &model, sweep: None, seconds, exhausted: false })
        });
        clock.resume();
        told.unwrap_or_else(|error| {
            failure = Some(error);
            false
        })
    };
    let fit = learn(samples, &mut shown);
    match failure {
        Some(error) => Err(error),
        None => fit.map(drop).map_err(|error| error.to_string()),
    }
}
