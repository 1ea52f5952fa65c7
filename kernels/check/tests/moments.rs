//! Moments in bf16: the bits of a host that rounds by the same random words, under many schedules; and that the rounding is fair.

#[path = "common/numbers.rs"]
mod numbers;

use half::bf16;
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::backend::cuda::{Cuda, Options, rounding};
use sdlab_kernels::backend::{Backend, HostOptState, Mode, Moments, Rows, Spec};
use sdlab_kernels::bench::philox::Philox;
use sdlab_kernels::sdl::{Activation, Init, Parameter, Shape, Tensors};
use sdlab_kernels::shim::Shim;

/// A rule at one step: η, its correction, β₁, 1 − β₁, β₂, 1 − β₂, ε.
type Numbers = [f32; 7];

/// Ordinary numbers of Adam after some steps.
const ADAM: Numbers = [2e-3, 3.5, 0.9, 0.1, 0.999, 0.001, 1e-8];
/// Moments become the gradient and its square.
const TAKES: Numbers = [1e-3, 1.0, 0.0, 1.0, 0.0, 1.0, 1e-8];

/// The word of number `at` after so many updates.
fn word(stream: Philox, at: u64, step: u64) -> u32 {
    let block = 32 * (at / 128) + at % 32;
    stream.block([block as u32, (block >> 32) as u32, step as u32, (step >> 32) as u32])[(at % 128 / 32) as usize]
}

/// The neighbour of x towards 0 if what it cuts off plus r stays below 2¹⁶, else the one away from 0; a number stays one.
fn round(x: f32, r: u32) -> u16 {
    if x.is_nan() {
        return 0x7FC0;
    }
    let below = x.to_bits() >> 16;
    let up = (x.to_bits() & 0xFFFF) + r > 0xFFFF && below & 0x7FFF != 0x7F7F;
    (below + u32::from(up)) as u16
}

/// Parameters and moments.
#[derive(Debug, Clone)]
struct Held {
    w: Vec<f32>,
    m: Vec<u16>,
    v: Vec<u16>,
}

impl Held {
    fn new(count: usize, seed: u64) -> Self {
        let halves = |seed| numbers(count, seed).into_iter().map(|x| bf16::from_f32(x).to_bits());
        // Second moments are not negative.
        Self {
            w: numbers(count, seed),
            m: halves(seed + 1).collect(),
            v: halves(seed + 2).map(|x| x & 0x7FFF).collect(),
        }
    }

    /// One update on the host, by gradients of which some are left out.
    fn updated(&self, g: &[Option<f32>], is_sgd: bool, rule: Numbers, stream: Philox, step: u64) -> Self {
        let [rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon] = rule;
        let mut next = self.clone();
        for (at, g) in g.iter().enumerate() {
            let g = g.unwrap_or(0.0);
            let [m, v] = [self.m[at], self.v[at]].map(|x| bf16::from_bits(x).to_f32());
            let word = word(stream, at as u64, step);
            if is_sgd {
                let first = beta_1.mul_add(m, g);
                next.w[at] -= rate * first;
                next.m[at] = round(first, word & 0xFFFF);
                continue;
            }
            let (first, second) = (beta_1.mul_add(m, rest_1 * g), beta_2.mul_add(v, rest_2 * (g * g)));
            next.w[at] -= rate * (first / second.sqrt().mul_add(correction, epsilon));
            next.m[at] = round(first, word & 0xFFFF);
            next.v[at] = round(second, word >> 16);
        }
        next
    }

    fn is(&self, other: &Self) -> bool {
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        self.w.iter().zip(&other.w).all(same) && (&self.m, &self.v) == (&other.m, &other.v)
    }
}

/// Numbers that a kernel takes.
#[derive(Clone, Copy)]
enum Taken<'a> {
    /// Rows of latents, with a mark for those that have a gradient.
    Rows(&'a [u32]),
    /// A vector, by so many blocks.
    Flat(u32),
}

/// The same update by a kernel.
struct Launch<'a> {
    device: &'a Checked<Shim>,
    is_sgd: bool,
    rule: Numbers,
    stream: Philox,
    step: u64,
}

impl Launch<'_> {
    fn updated(&self, held: &Held, g: &[f32], taken: Taken<'_>) -> Held {
        let (device, count) = (self.device, g.len());
        let (w, m, v, of_g) = (device.array(&held.w), device.array(&held.m), device.array(&held.v), device.array(g));
        let clip = device.array(&[1.0_f64, 1.0]);
        let marks = if let Taken::Rows(marks) = taken { marks } else { &[] };
        let (live, norms): (_, Array<_, f32>) = (device.array(marks), device.zeros(marks.len()));
        let half: Array<_, u16> = device.zeros(count);
        let mut rule = vec![of_g.all(), clip.all(), w.all(), m.all(), v.all(), self.is_sgd.into()];
        rule.extend(self.rule.map(Into::into));
        rule.push(1.0_f32.into());
        let key = self.stream.key();
        let words = [key[0].into(), key[1].into(), self.step.into()];
        let (kernel, blocks, arguments): (_, _, Vec<_>) = match taken {
            Taken::Rows(_) => {
                let columns = (count / marks.len()) as u32;
                let shape =
                    [false.into(), norms.all(), true.into(), half.all(), true.into(), false.into(), columns.into()];
                let all = [live.all()].into_iter().chain(rule).chain(shape).chain(words);
                ("update_rows_bf16", marks.len() as u32, all.collect())
            }
            Taken::Flat(blocks) => {
                ("update_flat_bf16", blocks, rule.into_iter().chain([(count as u64).into()]).chain(words).collect())
            }
        };
        device.launch_with(kernel, [blocks, 1, 1], arguments);
        assert_eq!(device.failure(), None);
        if matches!(taken, Taken::Rows(_)) {
            let rounded = |w: &f32| if w.is_nan() { 0x7FC0 } else { bf16::from_f32(*w).to_bits() };
            let expected: Vec<u16> = device.download(&w, count).iter().map(rounded).collect();
            assert_eq!(device.download(&half, count), expected, "the row in bf16");
        }
        Held { w: device.download(&w, count), m: device.download(&m, count), v: device.download(&v, count) }
    }
}

/// Rows and columns: tails of words, of warps and of groups, and groups of several rows.
const SHAPES: [(usize, usize); 7] = [(1, 1), (3, 37), (5, 128), (2, 300), (4, 129), (9, 5), (3, 1024)];

fn agrees(device: &Checked<Shim>, seed: u64) -> bool {
    let stream = Philox::stream(seed, "a parameter");
    SHAPES.into_iter().enumerate().all(|(k, (rows, columns))| {
        let (held, g) = (Held::new(rows * columns, seed + 10), numbers(rows * columns, seed + 13));
        let live: Vec<u32> = (0..rows as u32).map(|row| (row + k as u32) % 2).collect();
        // Rows without a gradient hold numbers that are not read.
        let some: Vec<_> = g.iter().enumerate().map(|(at, g)| (live[at / columns] != 0).then_some(*g)).collect();
        let all: Vec<_> = g.iter().copied().map(Some).collect();
        [(false, 0), (false, 7), (false, (1 << 32) + 7), (true, 3)].into_iter().all(|(is_sgd, step)| {
            let launch = Launch { device, is_sgd, rule: ADAM, stream, step };
            let of_rows = launch.updated(&held, &g, Taken::Rows(&live));
            let flat = launch.updated(&held, &g, Taken::Flat(1 + k as u32 % 3));
            of_rows.is(&held.updated(&some, is_sgd, ADAM, stream, step))
                && flat.is(&held.updated(&all, is_sgd, ADAM, stream, step))
        })
    })
}

#[test]
fn moments_in_bf16_have_the_bits_of_the_definition_whatever_the_numbers_are() {
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        assert!(agrees(&Checked::new(Shim::new(width, schedule)), schedule), "schedule {schedule}, {width} threads");
    }
}

/// Numbers of which N copies are rounded at each of some steps: ordinary ones, one that bf16 has, one of few places, and subnormal ones.
const ROUNDED: [f32; 8] = [1.003, -0.7, 3.0e-5, 0.5, 1.0 + 1.0 / 65_536.0, 1e-40, -1e-39, f32::MIN_POSITIVE * 1.001];
const COPIES: usize = 4099;
const STEPS: u64 = 8;

/// True if the means of the rounded numbers, and of products of neighbours' errors, are within five standard deviations of what they should be.
fn is_fair(device: &Checked<Shim>) -> bool {
    let fair = |errors: &[f64], share: f64| {
        let deviation = (share * (1.0 - share) / errors.len() as f64).sqrt();
        (errors.iter().sum::<f64>() / errors.len() as f64).abs() <= 5.0 * deviation
    };
    ROUNDED.into_iter().enumerate().all(|(k, x)| {
        let stream = Philox::stream(k as u64, "fair");
        let held = Held { w: vec![0.0; COPIES], m: vec![0; COPIES], v: vec![0; COPIES] };
        let (mut first, mut second, mut products) = (Vec::new(), Vec::new(), Vec::new());
        let share = |x: f32| f64::from(x.to_bits() & 0xFFFF) / 65_536.0;
        // How far a rounded number is from the exact one, in units of the last place; the greater bits are the greater size.
        let error = |x: f32, found: u16| (f64::from(u32::from(found) << 16) - f64::from(x.to_bits())) / 65_536.0;
        for step in 0..STEPS {
            let found = Launch { device, is_sgd: false, rule: TAKES, stream, step }.updated(
                &held,
                &[x; COPIES],
                Taken::Flat(3),
            );
            let own: Vec<f64> = found.m.iter().map(|m| error(x, *m)).collect();
            let other: Vec<f64> = found.v.iter().map(|v| error(x * x, *v)).collect();
            products.extend(own.windows(2).map(|pair| pair[0] * pair[1]));
            products.extend(own.iter().zip(&other).map(|(a, b)| a * b));
            first.extend(own);
            second.extend(other);
        }
        // A product of independent errors has the mean 0 and, as both are below 1, no greater variance than either.
        fair(&first, share(x)) && fair(&second, share(x * x)) && fair(&products, share(x).max(share(x * x)).min(0.5))
    })
}

#[test]
fn the_mean_of_rounded_moments_is_the_moment_and_neighbours_are_rounded_apart() {
    assert!(is_fair(&Checked::new(Shim::new(64, 5))));
}

#[test]
fn rounding_to_the_nearest_and_by_one_word_for_all_are_noticed() {
    for fault in ["to-nearest/", "one-word/"] {
        let device = || Checked::new(Shim::with_fault(64, 1, fault));
        assert!(!agrees(&device(), 1), "{fault} has other bits");
        assert!(!is_fair(&device()), "{fault} is not fair");
    }
}

#[test]
fn numbers_that_are_not_finite_stay_so_and_the_largest_ones_stay_finite() {
    // The NaN of all ones would be carried into a number.
    let g = [
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        -f32::MAX,
        f32::from_bits(0x7FFF_FFFF),
        0.0,
        -0.0,
    ];
    for step in 0..200 {
        let device = Checked::new(Shim::new(32, step));
        let held = Held { w: vec![0.0; g.len()], m: vec![0; g.len()], v: vec![0; g.len()] };
        let stream = Philox::stream(1, "extremes");
        let found =
            Launch { device: &device, is_sgd: true, rule: TAKES, stream, step }.updated(&held, &g, Taken::Flat(1));
        let found: Vec<f32> = found.m.iter().map(|m| bf16::from_bits(*m).to_f32()).collect();
        assert!(found[0].is_nan() && found[1].is_nan() && found[6].is_nan(), "{found:?}");
        let largest = bf16::MAX.to_f32();
        assert_eq!(found[2..6], [f32::INFINITY, f32::NEG_INFINITY, largest, -largest]);
        assert_eq!(found[7..], [0.0, 0.0]);
    }
}

#[test]
fn a_backend_rounds_by_the_words_of_the_step_and_the_parameter() {
    let shape = Shape { n_p: 37, n_r: 21, n_q: 40 };
    let init = Init { tied: false, encoder_bias: true, decoder_bias: true, skip: true, ..Init::default() };
    let mut spec = Spec::plain(shape, 12);
    spec.reconstructs_its_input = false;
    spec.moments = Moments::Bf16;
    let optimizer = spec.optimizer;
    let backend = Cuda::on(Shim::new(64, 3), spec, Options::default());
    assert!(backend.describe().ends_with(", moments in bf16"), "provenance says so");
    let mut params = backend.params(&init.model(shape, Activation::TopK { k: 5 }, 3));
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    for step in 0..3 {
        let finite = |count: usize, seed| {
            let ordinary = numbers(3 * count, seed).into_iter().filter(|x| x.abs() > 1e-6 && x.is_finite());
            ordinary.take(count).collect::<Vec<f32>>()
        };
        let (inputs, targets) = (finite(12 * shape.n_p, step + 1), finite(12 * shape.n_r, step + 50));
        backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        backend.backward(&params, &batch, &mut codes, &mut grads);
        let (gradient, before) = (backend.gradients_of(&params, &grads), backend.save(&opt));
        backend.step(&mut params, &mut opt, &codes, &mut grads);
        assert_eq!(backend.failure(), None);
        let after = backend.save(&opt);
        let t = step as i32 + 1;
        let (beta_1, beta_2) = (optimizer.beta_1, optimizer.beta_2);
        let rule = [
            optimizer.learning_rate / (1.0 - beta_1.powi(t)),
            1.0 / (1.0 - beta_2.powi(t)).sqrt(),
            beta_1,
            1.0 - beta_1,
            beta_2,
            1.0 - beta_2,
            optimizer.epsilon,
        ];
        let mut streams = Vec::new();
        for parameter in gradient.parameters() {
            let stream = rounding(parameter);
            assert!(!streams.contains(&stream), "{parameter:?} has words of its own");
            streams.push(stream);
            let held = |state: &HostOptState| {
                let halves = |tensors: &Tensors<f32>| -> Vec<u16> {
                    let numbers = tensors.get(parameter).expect("moments of every parameter");
                    let halves: Vec<u16> = numbers.iter().map(|x| bf16::from_f32(*x).to_bits()).collect();
                    assert!(numbers.iter().zip(&halves).all(|(x, half)| bf16::from_bits(*half).to_f32() == *x));
                    halves
                };
                let second = state.second.as_ref().expect("second moments");
                let (m, v) = (halves(&state.first), halves(second));
                Held { w: vec![0.0; m.len()], m, v }
            };
            let g: Vec<_> = gradient.get(parameter).unwrap_or_default().iter().copied().map(Some).collect();
            let mut expected = held(&before).updated(&g, false, rule.map(|x| x as f32), stream, step);
            // Parameters are compared where kernels are.
            expected.w.fill(0.0);
            assert!(held(&after).is(&expected), "{parameter:?}, step {step}");
            let moved = expected.m.iter().any(|m| *m != 0);
            assert!(moved || parameter == Parameter::InputBias, "{parameter:?} has moments");
        }
    }
}
