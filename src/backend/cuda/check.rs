//! Whether a device computes what it should: what `sdlab device check` runs.

use super::checked::{Checked, Matrices};
use super::device::Precision;
use super::encode::is_ranked;
use super::raw::quietly;
use super::{Cuda, Driver, Encoder, Options};
use crate::backend::{Backend, Half, HostOptState, Mode, Moments, Spec, conformance};
use crate::bench::config::BenchConfig;
use crate::bench::dataset::Bench;
use crate::bench::features::stream;
use crate::sdl::{Activation, Init, Model, Shape};
use half::bf16;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::time::Instant;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Of random operands.
    pub seed: u64,
    /// Of the cases of the conformance suite every so many-th, from the first one on.
    pub every: usize,
    /// Sizes for a device that is none: seconds on a processor.
    pub small: bool,
}

/// A number and what it must not exceed.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is.
    pub what: String,
    /// The number.
    pub value: f64,
    /// The largest that is right.
    pub bound: f64,
}

impl Found {
    /// Whether it is right; NaN is not.
    pub fn holds(&self) -> bool {
        self.value <= self.bound
    }
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The numbers of it, if it looks at numbers.
    pub found: Vec<Found>,
    /// What deviates, in one line.
    pub deviates: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// One check.
pub struct Check {
    /// How it is asked for.
    pub name: &'static str,
    /// What it compares.
    pub what: &'static str,
    run: fn(&Driver, Settings) -> Result<Vec<Found>, String>,
}

/// All of them, quick ones first.
pub const CHECKS: [Check; 8] = [
    Check { name: "products", what: "dense products of random numbers with those in f64", run: products },
    Check {
        name: "repeat",
        what: "trainings with each other, bit for bit, with every screen and with graphs or not",
        run: repeat,
    },
    Check {
        name: "exact",
        what: "exact scores with the reference in f64",
        run: |d, s| conforms(d, s, Encoder::Exact, None),
    },
    Check { name: "f32", what: "a screen in f32 with the reference", run: |d, s| conforms(d, s, Encoder::F32, None) },
    Check {
        name: "tf32",
        what: "a screen in tf32, with room for few candidates, with the reference",
        run: |d, s| conforms(d, s, Encoder::Tf32, Some(12)),
    },
    Check {
        name: "bf16",
        what: "a screen in bf16 with the reference",
        run: |d, s| conforms(d, s, Encoder::Bf16, Some(40)),
    },
    Check { name: "moments", what: "moments in bf16 with the reference", run: moments },
    Check { name: "gathers", what: "gathers in bf16 with the reference", run: gathers },
];

impl Check {
    /// Runs it. A driver that has failed once is not to be used again.
    pub fn run(&self, driver: &Driver, settings: Settings) -> Outcome {
        let begun = Instant::now();
        let result = quietly(|| (self.run)(driver, settings)).and_then(|result| result);
        let seconds = begun.elapsed().as_secs_f64();
        match result {
            Err(deviates) => Outcome { found: Vec::new(), deviates: Some(deviates), seconds },
            Ok(found) => {
                let wrong = found.iter().find(|found| !found.holds());
                let deviates = wrong.map(|of| format!("{}: {:e}, at most {:e} is right", of.what, of.value, of.bound));
                Outcome { found, deviates, seconds }
            }
        }
    }
}

fn conforms(
    driver: &Driver,
    settings: Settings,
    encoder: Encoder,
    candidates: Option<usize>,
) -> Result<Vec<Found>, String> {
    let takes = |activation| encoder == Encoder::Exact || is_ranked(activation);
    let options = Options { encoder, candidates, ..Options::default() };
    conformance::every(settings.every, 0, takes, |spec| Cuda::on(driver, spec, options));
    Ok(Vec::new())
}

fn moments(driver: &Driver, settings: Settings) -> Result<Vec<Found>, String> {
    conformance::rounded(settings.every, 0, |_| true, |spec| Cuda::on(driver, spec, Options::default()));
    Ok(Vec::new())
}

fn gathers(driver: &Driver, settings: Settings) -> Result<Vec<Found>, String> {
    conformance::gathered(settings.every, 0, |_| true, |spec| Cuda::on(driver, spec, Options::default()));
    Ok(Vec::new())
}

/// Products are made so often.
const REPEATED: usize = 10;

/// x yᵀ with relative errors below 1e-5, 1e-3 and 1e-2, in norm, and the same bits every time.
fn products(driver: &Driver, settings: Settings) -> Result<Vec<Found>, String> {
    let device = Checked::new(driver);
    let mut all = Vec::new();
    let sizes = if settings.small { [[20, 30, 48], [9, 17, 100]] } else { [[512, 1000, 768], [256, 600, 4096]] };
    for [m, n, k] in sizes {
        let mut rng = stream(settings.seed, "check of products");
        let mut draw = |count: usize| (0..count).map(|_| StandardNormal.sample(&mut rng)).collect::<Vec<f32>>();
        let (x, y) = (draw(m * k), draw(n * k));
        let exact: Vec<f64> = x.par_chunks(k).flat_map_iter(|x| y.chunks(k).map(|y| dot(x, y))).collect();
        let norms = |rows: &[f32]| rows.chunks(k).map(|row| dot(row, row).sqrt()).collect::<Vec<f64>>();
        let (of_x, of_y) = (norms(&x), norms(&y));
        let scale = exact.iter().map(|s| s * s).sum::<f64>().sqrt();
        let halves = |rows: &[f32]| rows.iter().map(|x| bf16::from_f32(*x).to_bits()).collect::<Vec<u16>>();
        let (a, b) = (device.array(&x), device.array(&y));
        let (half_a, half_b) = (device.array(&halves(&x)), device.array(&halves(&y)));
        for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Tf32, 1e-3), (Precision::Bf16, 1e-2)] {
            let c = device.zeros::<f32>(m * n);
            let mut results = (0..REPEATED).map(|_| {
                let (transposed, sizes) = (false, [m, n, k]);
                match precision {
                    Precision::Bf16 => {
                        let (a, b) = ((&half_a, k), (&half_b, k));
                        device.product(&Matrices { precision, transposed, sizes, a, b, c: &c });
                    }
                    _ => {
                        let (a, b) = ((&a, k), (&b, k));
                        device.product(&Matrices { precision, transposed, sizes, a, b, c: &c });
                    }
                }
                device.download(&c, m * n)
            });
            let first = results.next().unwrap_or_default();
            let others = results.filter(|other| *other != first).count();
            let off = || first.iter().zip(&exact).map(|(c, s)| f64::from(*c) - s);
            let worst =
                off().enumerate().map(|(at, off)| off.abs() / (of_x[at / n] * of_y[at % n])).fold(0.0, f64::max);
            let name = format!("{precision:?}, {m} x {n} x {k}").to_lowercase();
            let found = |what: &str, value, bound| Found { what: format!("{name}: {what}"), value, bound };
            all.push(found("relative error", off().map(|x| x * x).sum::<f64>().sqrt() / scale, bound));
            all.push(found("largest error of an entry, of the norms of its rows", worst, bound));
            all.push(found("runs with other bits", others as f64, 0.0));
        }
    }
    device.failure().map_or(Ok(all), |failure| Err(failure.to_string()))
}

fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// A few steps on the bench.
fn trained(driver: &Driver, settings: Settings, options: Options) -> Result<(Model, HostOptState), String> {
    let (n, n_p, n_q, rows, k) = if settings.small { (60, 32, 200, 90, 8) } else { (300, 64, 2000, 1500, 20) };
    let bench = Bench::generate(&BenchConfig { n, n_p, interference: 0.9, ..BenchConfig::default() });
    let bench = bench.map_err(|error| error.to_string())?;
    let shape = Shape { n_p, n_r: n_p, n_q };
    let backend = Cuda::on(driver, Spec { moments: Moments::F32, ..Spec::plain(shape, rows) }, options);
    let mut params = backend.params(&Init::default().model(shape, Activation::TopK { k }, settings.seed));
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    let rows = rows as u64;
    for step in 0..5 {
        backend.sample(&bench, &(step * rows..(step + 1) * rows).collect::<Vec<_>>(), &mut batch);
        backend.as_one(Half::Look, &mut || {
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
        });
        backend.as_one(Half::Update, &mut || backend.step(&mut params, &mut opt, &codes, &mut grads));
    }
    backend.failure().map_or_else(|| Ok((backend.model(&params), backend.save(&opt))), Err)
}

/// The same bits in ten trainings with graphs and ten without, and with every screen.
fn repeat(driver: &Driver, settings: Settings) -> Result<Vec<Found>, String> {
    let expected = trained(driver, settings, Options::default())?;
    let others = |what: &str, options: Options, runs: usize| -> Result<Found, String> {
        let mut count = 0;
        for _ in 0..runs {
            count += usize::from(trained(driver, settings, options)? != expected);
        }
        Ok(Found { what: format!("{what}: trainings with other bits"), value: count as f64, bound: 0.0 })
    };
    let runs = if settings.small { 2 } else { REPEATED };
    let mut all = vec![others("with graphs", Options::default(), runs)?];
    all.push(others("without graphs", Options { graphs: false, ..Options::default() }, runs)?);
    for encoder in [Encoder::Exact, Encoder::F32, Encoder::Bf16] {
        all.push(others(&format!("screen {encoder:?}").to_lowercase(), Options { encoder, ..Options::default() }, 1)?);
    }
    Ok(all)
}
