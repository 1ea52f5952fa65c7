//! Gradients of latents whose lists of codes are cut into pieces: exact numbers against plain loops, and the order of sums in the bits.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::reference::Reference;
use sdlab_kernels::backend::{Backend, Mode, Rows, Spec};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Scales, Shape, Tensors};
use sdlab_kernels::shim::Shim;

/// Codes of a piece.
const PIECE: usize = 128;
/// Codes of each latent: no list, pieces that are just full, not full or begun, several of them.
const LENGTHS: [usize; 10] = [300, 0, 128, 129, 1, 257, 127, 3, 256, 0];
const ROWS: usize = 300;
const PARTS: usize = 2;

/// What the kernels are told, but the room for pieces.
#[derive(Clone)]
struct Case {
    n_p: usize,
    n_r: usize,
    gated: bool,
    has_norms: bool,
    adds: bool,
    /// Rows are packed in bf16 and gathered from there.
    halves: bool,
    starts: Vec<u32>,
    rows: Vec<u32>,
    places: Vec<u64>,
    levels: Vec<u32>,
    live: Vec<u32>,
    l1: f32,
    values: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
    x: Vec<f32>,
    upstream: Vec<f32>,
    gates: Vec<f32>,
    v: Vec<f32>,
    rho: Vec<f32>,
    norms: Vec<f32>,
    weights: Vec<f32>,
    g_w: Vec<f32>,
    g_v: Vec<f32>,
}

/// What they find: W_E, W_D, b_E, sums, r, m, and which latents are live.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    of: [Vec<f32>; 6],
    live: Vec<u32>,
}

fn draw(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) as usize
}

impl Case {
    /// `number` makes a number of a draw.
    fn new((n_p, n_r): (usize, usize), flags: [bool; 3], number: fn(usize) -> f32) -> Self {
        let mut state = 0x1234_5678_9ABC_DEF1 ^ (n_p * 1000 + n_r) as u64;
        let (mut starts, mut rows) = (vec![0], Vec::new());
        for length in LENGTHS {
            // As many different rows, by increasing row.
            let mut chosen: Vec<u32> = (0..ROWS as u32).collect();
            while chosen.len() > length {
                chosen.remove(draw(&mut state) % chosen.len());
            }
            rows.extend(chosen);
            starts.push(rows.len() as u32);
        }
        let codes = rows.len();
        let mut places: Vec<u64> = (0..codes as u64).collect();
        for j in (1..codes).rev() {
            places.swap(j, draw(&mut state) % (j + 1));
        }
        let levels = (0..codes).map(|_| draw(&mut state) as u32 % PARTS as u32).collect();
        let n_q = LENGTHS.len();
        let mut list = |count: usize| (0..count).map(|_| number(draw(&mut state))).collect::<Vec<f32>>();
        let [values, second, third] = [codes; 3].map(&mut list);
        let (x, upstream, gates, v) =
            (list(ROWS * n_p), list(ROWS * PARTS * n_r), list(ROWS * n_r), list(LENGTHS.len() * n_r));
        let (g_w, g_v) = (list(n_q * n_p), list(n_q * n_r));
        let [gated, has_norms, adds] = flags;
        let powers = |count: usize, of: &[f32]| of.iter().cycle().take(count).copied().collect::<Vec<f32>>();
        Self {
            n_p,
            n_r,
            gated,
            has_norms,
            adds,
            halves: false,
            starts,
            rows,
            places,
            levels,
            live: (0..n_q as u32).map(|i| u32::from(i % 3 != 1)).collect(),
            l1: 0.5,
            values,
            second,
            third,
            x,
            upstream,
            gates,
            v,
            rho: powers(n_q, &[2.0, 0.5, 1.0]),
            norms: powers(n_q, &[2.0, 0.0, 1.0, 0.5]),
            weights: powers(ROWS, &[1.0, 0.5, 2.0]),
            g_w,
            g_v,
        }
    }

    /// None where threads wait for others that never come.
    fn run(&self, device: &Checked<Shim>, slots: usize, blocks: u32) -> Option<Found> {
        let n_q = LENGTHS.len();
        let [n_p, n_r, n, words] = [self.n_p, self.n_r, n_q, slots].map(|n| n as u32);
        let (starts, live, rows) = (device.array(&self.starts), device.array(&self.live), device.array(&self.rows));
        let (places, levels) = (device.array(&self.places), device.array(&self.levels));
        let [values, second, third] = [&self.values, &self.second, &self.third].map(|x| device.array(x));
        let [x, upstream, gates, v] = [&self.x, &self.upstream, &self.gates, &self.v].map(|x| device.array(x));
        let [rho, norms, weights] = [&self.rho, &self.norms, &self.weights].map(|x| device.array(x));
        let [g_w, g_v] = [&self.g_w, &self.g_v].map(|x| device.array(x));
        let [bias, sums, scale, shift] = [(); 4].map(|()| device.array(&vec![1.0_f32; n_q]));
        let packed = |from: &Array<Shim, f32>, rows: usize, n: usize| -> Array<Shim, u16> {
            // Rubbish, all of which is written.
            let to = device.array(&vec![0x7777_u16; if self.halves { rows * n.next_multiple_of(128) } else { 0 }]);
            if self.halves {
                let arguments = [from.all(), to.all(), (rows as u32).into(), (n as u32).into()];
                device.launch("pack_rows", [7, 1, 1], arguments);
            }
            to
        };
        let packed_x = packed(&x, ROWS, self.n_p);
        let [packed_upstream, packed_gates] =
            [(&upstream, PARTS), (&gates, 1)].map(|(of, parts)| packed(of, ROWS * parts, self.n_r));
        let tally = device.zeros::<u32>(4);
        // Rubbish, of which nothing may be read.
        let [whole, cut, joins] = [n_q, 2 * slots, slots].map(|n| device.array(&vec![77_777_u32; n]));
        let lost = |n: usize| device.array(&vec![f32::NAN; n]);
        let (scratch, totals) = (lost(slots * (self.n_p + self.n_r)), lost(5 * slots));
        let arguments = [
            starts.all(),
            self.adds.into(),
            live.all(),
            words.into(),
            tally.all(),
            whole.all(),
            cut.all(),
            joins.all(),
            n.into(),
        ];
        device.launch("cut_lists", [device.blocks(n_q), 1, 1], arguments);
        let arguments = [
            starts.all(),
            rows.all(),
            places.all(),
            values.all(),
            levels.all(),
            second.all(),
            third.all(),
            x.all(),
            upstream.all(),
            (PARTS as u32).into(),
            gates.all(),
            self.gated.into(),
            packed_x.all(),
            packed_upstream.all(),
            packed_gates.all(),
            self.halves.into(),
            v.all(),
            rho.all(),
            norms.all(),
            self.has_norms.into(),
            weights.all(),
            self.l1.into(),
            words.into(),
            tally.all(),
            whole.all(),
            cut.all(),
            scratch.all(),
            totals.all(),
            g_w.all(),
            g_v.all(),
            bias.all(),
            sums.all(),
            scale.all(),
            shift.all(),
            n_p.into(),
            n_r.into(),
        ];
        device.launch("backward", [blocks, 1, 1], arguments);
        let arguments = [
            starts.all(),
            tally.all(),
            joins.all(),
            scratch.all(),
            totals.all(),
            v.all(),
            self.has_norms.into(),
            self.gated.into(),
            g_w.all(),
            g_v.all(),
            bias.all(),
            sums.all(),
            scale.all(),
            shift.all(),
            n_p.into(),
            n_r.into(),
        ];
        device.launch("join_pieces", [2, device.blocks(self.n_p + self.n_r), 1], arguments);
        if device.failure().is_some() {
            return None;
        }
        let of = [&g_w, &g_v, &bias, &sums, &scale, &shift].map(|x| device.download(x, x.len()));
        Some(Found { of, live: device.download(&live, n_q) })
    }

    /// Plain loops, for numbers whose products and sums are exact.
    fn expected(&self) -> Found {
        let (n_p, n_r) = (self.n_p, self.n_r);
        let mut found = Found {
            of: [self.g_w.clone(), self.g_v.clone(), vec![1.0; 10], vec![1.0; 10], vec![1.0; 10], vec![1.0; 10]],
            live: self.live.clone(),
        };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for i in 0..LENGTHS.len() {
            let range = self.starts[i] as usize..self.starts[i + 1] as usize;
            if range.is_empty() {
                continue;
            }
            let column = &self.v[i * n_r..][..n_r];
            let [g_w, g_v, bias, sums, scale, shift] = &mut found.of;
            let (g_w, g_v) = (&mut g_w[i * n_p..][..n_p], &mut g_v[i * n_r..][..n_r]);
            if !self.adds || self.live[i] == 0 {
                g_w.fill(0.0);
                g_v.fill(0.0);
            }
            found.live[i] = 1;
            let norm = if self.has_norms { self.norms[i] } else { 1.0 };
            for c in range {
                let (row, place) = (self.rows[c] as usize, self.places[c] as usize);
                let (z, price) = (self.values[place], self.weights[row] * self.l1);
                let of_row = &self.upstream[(row * PARTS + self.levels[place] as usize) * n_r..][..n_r];
                let by_code = dot(column, of_row);
                let (by_score, by_bias) = if self.gated {
                    let gate = dot(column, &self.gates[row * n_r..][..n_r]) + price * norm;
                    let code = if z == 0.0 { 0.0 } else { by_code };
                    scale[i] += code * self.rho[i] * self.third[place];
                    shift[i] += code;
                    (gate + code * self.rho[i], gate)
                } else {
                    let d = by_code + if z == 0.0 { 0.0 } else { z.signum() * price * norm };
                    (d, d)
                };
                sums[i] += by_score;
                bias[i] += by_bias;
                let size = if self.gated { self.second[place] } else { z.abs() };
                let along = if self.has_norms && norm > 0.0 { price * size / norm } else { 0.0 };
                for k in 0..n_r {
                    g_v[k] += z * of_row[k] + along * column[k];
                }
                let inputs = &self.x[row * n_p..(row + 1) * n_p];
                g_w.iter_mut().zip(inputs).for_each(|(g, x)| *g += by_score * x);
            }
        }
        found
    }

    /// ∂W_D without norms in the order of the kernel: from 0 over the codes of a piece, then over the pieces.
    fn decoder_in_order(&self) -> Vec<f32> {
        let n_r = self.n_r;
        let mut all = self.g_v.clone();
        for i in 0..LENGTHS.len() {
            let codes: Vec<usize> = (self.starts[i] as usize..self.starts[i + 1] as usize).collect();
            let adds = self.adds && self.live[i] != 0;
            for (number, piece) in codes.chunks(PIECE).enumerate() {
                for k in 0..n_r {
                    let sum = piece.iter().fold(0.0_f32, |sum, c| {
                        let place = self.places[*c] as usize;
                        let row = self.rows[*c] as usize * PARTS + self.levels[place] as usize;
                        self.values[place].mul_add(self.upstream[row * n_r + k], sum)
                    });
                    let to = &mut all[i * n_r + k];
                    *to = if number == 0 && !adds { sum } else { *to + sum };
                }
            }
        }
        all
    }
}

/// Small integers.
fn integer(word: usize) -> f32 {
    (word % 5) as f32 - 2.0
}

/// Numbers whose sums are rounded.
fn rough(word: usize) -> f32 {
    (word % 20_011) as f32 * 1e-4 - 1.0
}

/// Tails of a warp, of its stripe, a stripe that is just full, and more stripes than warps.
const SIZES: [(usize, usize); 5] = [(1, 31), (150, 129), (33, 300), (290, 5), (128, 128)];

/// No room for pieces, too little for the longest list, just enough for some, enough for all.
const SLOTS: [usize; 4] = [0, 2, 4, 20];

fn is_exact(device: &Checked<Shim>, sizes: (usize, usize), flags: [bool; 3], slots: usize, blocks: u32) -> bool {
    let case = Case::new(sizes, flags, integer);
    case.run(device, slots, blocks) == Some(case.expected())
}

#[test]
fn gradients_of_lists_of_any_length_are_exact() {
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        for (number, sizes) in SIZES.into_iter().enumerate() {
            for flags in (0..8).map(|bits| [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0]) {
                // Every schedule has its own share of all combinations.
                let which = number + schedule as usize + usize::from(flags[0]) + usize::from(flags[2]);
                let (slots, blocks) = (SLOTS[which % 4], [1, 3, 40][which % 3]);
                let device = Checked::new(Shim::new(width, schedule));
                assert!(
                    is_exact(&device, sizes, flags, slots, blocks),
                    "schedule {schedule}, {width} threads, {sizes:?}, {flags:?}, {slots} slots, {blocks} blocks"
                );
            }
        }
    }
}

#[test]
fn sums_have_their_order_wherever_pieces_are_kept_and_whoever_takes_them() {
    for flags in [[false, false, false], [false, false, true], [true, true, true], [false, true, false]] {
        let case = Case::new((150, 290), flags, rough);
        for width in WIDTHS {
            let expected = case.run(&Checked::new(Shim::new(width, 0)), 20, 7).expect("sums");
            if !flags[1] {
                assert_eq!(expected.of[1], case.decoder_in_order(), "{width} threads, {flags:?}");
            }
            for (schedule, slots) in SCHEDULES.into_iter().zip(SLOTS.into_iter().cycle()) {
                let found = case.run(&Checked::new(Shim::new(width, schedule)), slots, 1 + 5 * schedule as u32);
                assert!(
                    found.as_ref() == Some(&expected),
                    "schedule {schedule}, {width} threads, {slots} slots, {flags:?}"
                );
            }
        }
    }
}

/// The same numbers, or NaN for NaN.
fn same(a: &Found, b: &Found) -> bool {
    let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    a.live == b.live && a.of.iter().flatten().zip(b.of.iter().flatten()).all(equal)
}

#[test]
fn gathers_in_bf16_have_the_bits_of_gathers_of_rounded_numbers() {
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        // Every schedule has its own share of all combinations.
        for (number, sizes) in SIZES.into_iter().chain([(300, 600)]).enumerate().skip(schedule as usize % 2).step_by(2)
        {
            let which = number + schedule as usize;
            let mut case = Case::new(sizes, [which & 1 != 0, which & 2 != 0, which & 4 != 0], rough);
            let (slots, blocks) = (SLOTS[which % 4], [1, 3, 40][which % 3]);
            let not_finite = schedule % 3 == 2;
            if not_finite {
                for (k, x) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40].into_iter().enumerate() {
                    for rows in [&mut case.x, &mut case.upstream, &mut case.gates] {
                        let at = (k * 7919 + number) % rows.len();
                        rows[at] = x;
                    }
                }
            }
            let mut rounded = case.clone();
            for rows in [&mut rounded.x, &mut rounded.upstream, &mut rounded.gates] {
                rows.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
            }
            let expected = rounded.run(&Checked::new(Shim::new(width, 0)), slots, 7).expect("sums");
            let plain = case.run(&Checked::new(Shim::new(width, 0)), slots, 7).expect("sums");
            case.halves = true;
            let found = case.run(&Checked::new(Shim::new(width, schedule)), slots, blocks).expect("sums");
            let what = format!("schedule {schedule}, {width} threads, {sizes:?}, {slots} slots, {blocks} blocks");
            assert!(same(&found, &expected), "{what}");
            assert!(!same(&found, &plain), "{what}: the test tells bf16 from f32");
        }
    }
}

#[test]
fn faults_of_pieces_are_noticed() {
    for fault in ["short-piece/", "pieces-backwards/", "codes-unfinished/", "list-too-early/"] {
        let is_noticed = |schedule: &u64| {
            let device = || Checked::new(Shim::with_fault(64, *schedule, fault));
            let case = Case::new((150, 290), [false; 3], rough);
            !is_exact(&device(), (150, 290), [false; 3], 20, 3)
                || case.run(&device(), 20, 3).is_none_or(|found| found.of[1] != case.decoder_in_order())
        };
        let noticed = SCHEDULES.iter().filter(|schedule| is_noticed(schedule)).count();
        assert!(noticed >= 8, "{fault} is noticed under {noticed} schedules of {}", SCHEDULES.len());
    }
}

/// A model of few latents, most of which are active in more than one piece of the batch, with rows of several stripes.
const SHAPE: Shape = Shape { n_p: 150, n_r: 290, n_q: 9 };

fn finite(count: usize, seed: u64) -> Vec<f32> {
    numbers(2 * count, seed).into_iter().filter(|x| x.is_finite()).take(count).collect()
}

fn gradients<B: Backend>(backend: &B, model: &Model) -> Tensors<f32> {
    let params = backend.params(model);
    let opt = backend.opt_state(&params);
    // The last four latents count as dead.
    let mut state = backend.save(&opt);
    state.idle = (0..SHAPE.n_q as u64).map(|i| if i < 5 { 0 } else { 1000 }).collect();
    let opt = backend.restore(&state);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    let (inputs, targets) = (finite(ROWS * SHAPE.n_p, 1), finite(ROWS * SHAPE.n_r, 2));
    backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
    backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
    backend.decode_residual(&params, &batch, &mut codes);
    backend.backward(&params, &batch, &mut codes, &mut grads);
    assert_eq!(backend.failure(), None);
    backend.gradients_of(&params, &grads)
}

#[test]
fn a_batch_of_more_rows_than_a_piece_has_the_gradients_of_the_reference() {
    for (schedule, activation) in [
        Activation::Relu,
        Activation::TopK { k: 6 },
        Activation::BatchTopK { k: 5 },
        Activation::Gated,
        Activation::JumpRelu { theta: 0.1, bandwidth: 0.3 },
    ]
    .into_iter()
    .enumerate()
    {
        let mut spec = Spec::plain(SHAPE, ROWS);
        spec.reconstructs_its_input = false;
        let aux = Some(AuxK { k: 3, weight: 0.3, dead_after: 10, target: AuxTarget::Residual });
        let scales = match activation {
            Activation::TopK { .. } => Scales::TopK { ks: vec![1, 3, 6], weights: vec![0.5, 0.25, 1.0] },
            Activation::BatchTopK { .. } => Scales::Single,
            _ => Scales::Prefixes { sizes: vec![4, 9], weights: vec![0.5, 1.0] },
        };
        spec.objective = Objective { l1: 0.1, l1_by_decoder_norm: true, aux, scales, ..Objective::default() };
        let init = Init { tied: false, encoder_bias: true, decoder_bias: true, input_bias: true, ..Init::default() };
        let model = init.model(SHAPE, activation, 3);
        let exact = gradients(&Reference::new(spec.clone()), &model);
        let backend = Cuda::on(Shim::new(64, 2 + schedule as u64), spec, Options::default());
        let found = gradients(&backend, &model);
        for parameter in exact.parameters() {
            let (exact, found) = (exact.get(parameter).unwrap_or_default(), found.get(parameter).unwrap_or_default());
            // A sum of up to 600 codes, each a product of at most 290 terms: below 900 roundings of 6e-8, of numbers that cancel to a tenth at most.
            let bound = 6e-4 * exact.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(bound > 0.0, "{activation:?}: {parameter:?} has a gradient");
            for (k, (exact, found)) in exact.iter().zip(found).enumerate() {
                assert!((exact - found).abs() <= bound, "{activation:?}, {parameter:?}[{k}]: {found}, not {exact}");
            }
        }
    }
}
