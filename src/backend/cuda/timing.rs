//! How long steps of training take on a device: what `sdlab device time` runs.

use super::raw::WORKSPACE;
use super::{Cuda, Device, Driver, Memory, Options, Samples, Time};
use crate::backend::{Backend, Gather, Half, Mode, Moments, SelectBy, Spec};
use crate::bench::config::BenchConfig;
use crate::bench::dataset::Bench;
use crate::sdl::{Activation, Init, Shape};
use std::time::Instant;

/// What is timed: steps of a plain TopK on samples that are drawn on the device.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// n_p = n_r, n_q.
    pub shape: Shape,
    /// k.
    pub k: usize,
    /// B.
    pub batch: usize,
    /// How moments are stored.
    pub moments: Moments,
    /// What decides which latents are selected.
    pub select_by: SelectBy,
    /// How rows are stored that are gathered.
    pub gather: Gather,
    /// How latents are found by the score, and whether steps are graphs.
    pub options: Options,
    /// Steps that are not timed; the first ones make memory and graphs.
    pub before: u64,
    /// Times that are taken.
    pub times: usize,
    /// Steps of each.
    pub steps: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Seconds of a step: the mean of each time, in the order in which they were taken.
    pub steps: Vec<f64>,
    /// Kernels of one step, one after the other without graphs.
    pub kernels: Vec<Time>,
    /// Bytes that the device has less while it trains.
    pub taken: u64,
    /// Bytes that were said before.
    pub said: u64,
    /// Loss and L0 of the last batch.
    pub last: [f64; 2],
}

/// Steps whose kernels are timed.
const OF_KERNELS: u64 = 20;

/// Runs it.
///
/// # Errors
/// The device has failed, or has too little memory.
pub fn time(driver: &Driver, settings: &Settings) -> Result<Timed, String> {
    let Settings { shape, k, batch: rows, moments, select_by, gather, options, before, times, steps } =
        settings.clone();
    let spec = Spec { moments, select_by, gather, ..Spec::plain(shape, rows) };
    let n = (2 * shape.n_p).min(1000);
    // In few dimensions features cannot be far from each other, and few of them have to fire more often.
    let (interference, sparsity) = if shape.n_p < 512 { (0.9, 0.9) } else { (0.2, 0.99) };
    let config = BenchConfig { n, n_p: shape.n_p, interference, sparsity, ..BenchConfig::default() };
    let bench = Bench::generate(&config).map_err(|error| error.to_string())?;
    let (init, activation) = (Init::default(), Activation::TopK { k });
    let samples = Samples::Drawn(n);
    let said = Memory::of(&spec, &options, activation, &init.parameters(&activation), samples).training();
    let text = |error: super::DeviceError| error.to_string();
    // What was freed before may still be in use.
    driver.wait().map_err(text)?;
    let free = driver.room().map_err(text)?.free;
    if said > free {
        return Err(format!("{said} bytes are needed, {free} are free on the device"));
    }
    let backend = Cuda::on(driver, spec, options);
    let model = init.model(shape, activation, 0);
    let mut params = backend.params(&model);
    drop(model);
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    let mut done = 0;
    let mut step = |graphs: bool| {
        let first = done * rows as u64;
        done += 1;
        backend.sample(&bench, &(first..first + rows as u64).collect::<Vec<_>>(), &mut batch);
        let mut look = || {
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
        };
        if graphs {
            backend.as_one(Half::Look, &mut look)
        } else {
            look()
        }
        let mut update = || backend.step(&mut params, &mut opt, &codes, &mut grads);
        if graphs { backend.as_one(Half::Update, &mut update) } else { update() }
    };
    for _ in 0..before.max(3) {
        step(true);
    }
    driver.wait().map_err(text)?;
    // What cuBLASLt works with is counted as free before, and it is taken.
    let taken = (free + WORKSPACE as u64).saturating_sub(driver.room().map_err(text)?.free);
    let mut found = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        for _ in 0..steps {
            step(true);
        }
        driver.wait().map_err(text)?;
        found.push(begun.elapsed().as_secs_f64() / steps.max(1) as f64);
    }
    driver.time_kernels(true);
    for _ in 0..OF_KERNELS {
        step(false);
    }
    let kernels = driver.times().map_err(text);
    driver.time_kernels(false);
    let of_step =
        |time: Time| Time { calls: time.calls / OF_KERNELS, seconds: time.seconds / OF_KERNELS as f64, ..time };
    let kernels = kernels?.into_iter().map(of_step).collect();
    let seen = backend.observe(&params, &codes, &grads);
    backend.failure().map_or(Ok(()), Err)?;
    Ok(Timed { steps: found, kernels, taken, said, last: [seen.loss, seen.l0] })
}
