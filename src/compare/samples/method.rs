//! The methods: loops that show their model after every round and stop when told.
//!
//! Adam and the alternating methods begin at the model of `init` and `seed`. The learners of dictionaries begin at samples, as they always
//! do; for every round an encoder is fitted to the codes of all samples by least squares
//! ([`Amortised`]), and the model is judged with the TopK of the others.
//!
//! Every method looks at the time within its rounds, too: between batches, between products of conjugate gradients, between atoms, and between the
//! samples that are coded. When its seconds are over it shows what it has, as a round that is interrupted. A learner of dictionaries then
//! has an encoder of the samples whose codes it has found in this round.

use super::config::SamplesComparison;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Mode, Optimizer, Rows, Spec};
use crate::bench::dataset::{Bench, Side};
use crate::optim::Expired;
use crate::optim::dictionary::{self, Amortised, Coder, Codes, Dictionary, Ksvd, Part};
use crate::optim::samples::{Online, Problem, SamplesError, Search, Sweep, Termination};
use crate::sdl::{Model, Parameter, Shape, Tensors};
use crate::train::order::Order;
use std::cell::Cell;
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
    /// True if its time was over within the round.
    pub interrupted: bool,
}

/// Told of every round; false ends the method.
pub type Watch<'a> = dyn FnMut(Round<'_>) -> Result<bool, String> + 'a;

/// Time that a method works.
#[derive(Debug, Clone)]
struct Clock {
    /// Seconds that it may.
    most: f64,
    worked: Cell<f64>,
    since: Cell<Instant>,
    /// Whether it has been told that they are over.
    interrupted: Cell<bool>,
}

impl Clock {
    fn start(most: f64) -> Self {
        Self { most, worked: Cell::new(0.0), since: Cell::new(Instant::now()), interrupted: Cell::new(false) }
    }

    fn seconds(&self) -> f64 {
        self.worked.get() + self.since.get().elapsed().as_secs_f64()
    }

    fn pause(&self) -> f64 {
        self.worked.set(self.seconds());
        self.worked.get()
    }

    fn resume(&self) {
        self.since.set(Instant::now());
    }

    fn expired(&self) -> bool {
        self.interrupted.set(self.interrupted.get() || self.seconds() >= self.most);
        self.interrupted.get()
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
            dictionaries(comparison, data, coder, watch, |samples, watch, expired| {
                learner.fit_until(samples, comparison.seed, watch, expired)
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
            dictionaries(comparison, data, coder, watch, |samples, watch, expired| {
                learner.fit_until(samples, comparison.seed, watch, expired)
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
    if !watch(Round { model: &model, sweep: None, seconds: 0.0, exhausted: false, interrupted: false })? {
        return Ok(());
    }
    let clock = Clock::start(comparison.seconds);
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
        for done in 0..order.steps_per_epoch() {
            if done > 0 && clock.expired() {
                break;
            }
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
        let interrupted = clock.interrupted.get();
        if !watch(Round { model: &cpu.model(&params), sweep: None, seconds, exhausted: false, interrupted })? {
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
    rounds(comparison, data, watch, begin, Search::model, |search, expired| {
        let sweep = search.sweep_until(expired)?;
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
    rounds(comparison, data, watch, begin, Online::model, |online, expired| {
        online.epoch_until(expired).map(|()| (None, false))
    })
}

/// Shows the start, then the model of a searcher after every round, until the watch or the searcher ends it. `advance` says what the
/// round has done, and whether nothing is left to do.
fn rounds<S>(
    comparison: &SamplesComparison,
    data: &Data,
    watch: &mut Watch<'_>,
    begin: impl FnOnce(&Model) -> Result<S, SamplesError>,
    model_of: impl Fn(&S) -> &Model,
    mut advance: impl FnMut(&mut S, &Expired<'_>) -> Result<(Option<Sweep>, bool), SamplesError>,
) -> Result<(), String> {
    let failed = |error: SamplesError| error.to_string();
    let model = start(comparison, data);
    if !watch(Round { model: &model, sweep: None, seconds: 0.0, exhausted: false, interrupted: false })? {
        return Ok(());
    }
    let clock = Clock::start(comparison.seconds);
    let mut searcher = begin(&model).map_err(failed)?;
    loop {
        let (sweep, exhausted) = advance(&mut searcher, &|| clock.expired()).map_err(failed)?;
        let (seconds, interrupted) = (clock.pause(), clock.interrupted.get());
        if !watch(Round { model: model_of(&searcher), sweep, seconds, exhausted, interrupted })? || exhausted {
            return Ok(());
        }
        clock.resume();
    }
}

fn target_samples(data: &Data) -> Result<dictionary::Samples<'_>, String> {
    let rows = if data.bench.reconstructs_its_input() { &data.inputs } else { &data.targets };
    dictionary::Samples::new(rows, data.bench.directions(Side::Target).dimension()).map_err(|error| error.to_string())
}

/// A learner of dictionaries, with an encoder for each of its passes, the part of one in the end included.
fn dictionaries(
    comparison: &SamplesComparison,
    data: &Data,
    coder: Coder,
    watch: &mut Watch<'_>,
    learn: impl FnOnce(
        dictionary::Samples<'_>,
        &mut dictionary::Watch<'_>,
        &Expired<'_>,
    ) -> Result<dictionary::Fit, dictionary::DictionaryError>,
) -> Result<(), String> {
    let samples = target_samples(data)?;
    let width = data.bench.directions(Side::Input).dimension();
    let clock = Clock::start(comparison.seconds);
    let model = |dictionary: &Dictionary, codes: &Codes, inputs: &[f32]| -> Result<Model, String> {
        let inputs = dictionary::Samples::new(inputs, width);
        let W = inputs.and_then(|inputs| Amortised::default().encoder(dictionary, codes, inputs));
        let W = W.map_err(|error| error.to_string())?;
        let mut tensors = Tensors::zeros(shape(comparison, data), [Parameter::Encoder, Parameter::Decoder]);
        for (parameter, values) in [(Parameter::Encoder, &W[..]), (Parameter::Decoder, dictionary.data())] {
            if let Some(block) = tensors.get_mut(parameter) {
                block.copy_from_slice(values);
            }
        }
        Ok(Model { activation: comparison.activation(), tensors, threshold: None })
    };
    let mut failure = None;
    let mut shown = |dictionary: &Dictionary, codes: Option<&Codes>| {
        clock.pause();
        // The fit of this line is in its seconds, and in those of no other.
        let line = clock.clone();
        line.resume();
        let own = codes.is_none().then(|| coder.encode_until(dictionary, samples, &|| line.expired())).transpose();
        let told = own.map_err(|error| error.to_string()).and_then(|own| {
            let Some(codes) = codes.or(own.as_ref()) else { return Ok(true) };
            let model = model(dictionary, codes, &data.inputs[..codes.samples() * width])?;
            let (seconds, interrupted) = (line.pause(), line.interrupted.get());
            watch(Round { model: &model, sweep: None, seconds, exhausted: false, interrupted })
        });
        clock.resume();
        told.unwrap_or_else(|error| {
            failure = Some(error);
            false
        })
    };
    let fit = learn(samples, &mut shown, &|| clock.expired());
    if let Some(error) = failure {
        return Err(error);
    }
    let fit = fit.map_err(|error| error.to_string())?;
    if let Some(Part { samples, codes }) = &fit.part {
        let inputs: Vec<f32> = samples.iter().flat_map(|i| &data.inputs[i * width..][..width]).copied().collect();
        let model = model(&fit.dictionary, codes, &inputs)?;
        watch(Round { model: &model, sweep: None, seconds: clock.pause(), exhausted: false, interrupted: true })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config::METHODS;
    use super::*;

    const TEXT: &str = "seconds = 1\nlatents = 20\nk = 2\nheld_out = 10\nmethods = [\"adam\"]\n[adam]\nbatch = 50\n[alternating-online]\nbatch = 100\n[online]\nbatch = 50\n\
        [bench]\nn = 12\nn_p = 8\nsamples = 300\nsparsity = 0.9\ninterference = 0.5\n";

    /// The models of the rounds, and whether each was interrupted, until it was or there are enough.
    fn rounds(name: &str, comparison: &SamplesComparison, data: &Data, enough: usize) -> Vec<(Model, bool)> {
        let mut seen = Vec::new();
        let mut watch = |round: Round<'_>| {
            seen.push((round.model.clone(), round.interrupted));
            Ok(!round.interrupted && seen.len() < enough)
        };
        run(name, comparison, data, &mut watch).unwrap();
        seen
    }

    #[test]
    fn a_method_whose_time_is_over_shows_a_part_of_its_first_round() {
        let mut comparison = SamplesComparison::from_toml(TEXT).unwrap();
        let data = Data::new(&comparison).unwrap();
        let problem = data.problem(&comparison).unwrap();
        for (name, _) in METHODS {
            // Dictionaries have no round 0.
            let whole = if name == "k-svd" || name == "online" { 1 } else { 2 };
            comparison.seconds = f64::INFINITY;
            let unlimited = rounds(name, &comparison, &data, whole);
            comparison.seconds = 0.0;
            let cut = rounds(name, &comparison, &data, whole);
            assert!(unlimited.iter().all(|(_, interrupted)| !interrupted), "{name}");
            assert_eq!((cut.len(), unlimited.len()), (whole, whole), "{name}");
            assert_eq!(cut[..whole - 1], unlimited[..whole - 1], "{name}");
            let ((part, interrupted), (after, _)) = (&cut[whole - 1], &unlimited[whole - 1]);
            assert!(*interrupted && part != after, "{name}");
            if whole == 2 {
                continue;
            }
            // The encoder answers the dictionary: x̂ = 0 would lose the energy of the samples.
            let energy: f64 = data.inputs.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 300.0;
            let loss = problem.loss(part).unwrap().0;
            assert!(loss < energy, "{name}: {loss} of {energy}");
        }
    }
}
