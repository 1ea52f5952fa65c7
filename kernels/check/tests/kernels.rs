//! Kernels against plain loops, at sizes that leave tails, under many schedules of the threads.

mod common;
#[path = "common/numbers.rs"]
mod numbers;

use common::first_of_row;
use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::{Array, Checked, Matrices};
use sdlab_kernels::backend::cuda::device::{Device, Precision};
use sdlab_kernels::backend::cuda::kernels::{FILES, signatures};
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::backend::score::score;
use sdlab_kernels::backend::{Backend, Mode, Rows, Spec};
use sdlab_kernels::bench::config::BenchConfig;
use sdlab_kernels::bench::dataset::{Bench, Side};
use sdlab_kernels::sdl::{Activation, Init, Shape};
use sdlab_kernels::shim::Shim;
use std::cmp::Ordering;

/// The order of the reference: larger first, NaN last, −0 equal to +0, the earlier one first among equals.
fn first(k: usize, values: &[f32]) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..values.len() as u32).collect();
    let at = |i: u32| values[i as usize];
    positions.sort_by(|a, b| {
        at(*a).is_nan().cmp(&at(*b).is_nan()).then_with(|| at(*b).partial_cmp(&at(*a)).unwrap_or(Ordering::Equal))
    });
    positions.truncate(k);
    positions.sort_unstable();
    positions
}

/// (n, k) with tails, k = 1, k = n and k > n. Those above 2048 do not fit a list of all entries: the k that most widths of a block allow, one
/// that needs a search of the whole row, and one whose list is put in order in two parts and whose floor comes from a sample.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (5, 1),
    (33, 33),
    (64, 5),
    (70, 100),
    (150, 20),
    (257, 64),
    (500, 1),
    (500, 499),
    (2100, 30),
    (2303, 100),
    (5000, 3),
    (2500, 2400),
    (70_000, 100),
];

fn selects(device: &Checked<Shim>, seed: u64) -> bool {
    SHAPES.into_iter().all(|(n, k)| {
        let values = numbers(3 * n, seed + n as u64);
        [false, true].into_iter().all(|positive| {
            let expected = values.chunks(n).map(|row| {
                let chosen = first(k, row).into_iter();
                chosen.filter(|i| !positive || row[*i as usize] > 0.0).collect::<Vec<_>>()
            });
            first_of_row(device, &values, n, k, positive) == Ok(expected.collect::<Vec<_>>())
        })
    })
}

#[test]
fn the_first_k_of_a_row_are_those_of_a_sort_whatever_the_numbers_are() {
    for schedule in SCHEDULES {
        for width in WIDTHS {
            assert!(
                selects(&Checked::new(Shim::new(width, schedule)), schedule),
                "schedule {schedule}, {width} threads"
            );
        }
    }
}

#[test]
fn the_first_k_of_equal_numbers_are_the_first_ones() {
    for (schedule, n) in SCHEDULES.into_iter().zip([2048, 2052, 4097].into_iter().cycle()) {
        let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
        // Nothing but zeros of both signs, nothing but NaN, and a few greater ones among equals.
        let zeros = (0..n).map(|i| if i % 3 == 0 { -0.0 } else { 0.0 });
        let values: Vec<f32> = zeros
            .chain(std::iter::repeat_n(f32::NAN, n))
            .chain((0..n).map(|i| if i % 700 == 1 { 2.0 } else { -1.0 }))
            .collect();
        for k in [1, 2, 40] {
            let expected: Vec<Vec<u32>> = values.chunks(n).map(|row| first(k, row)).collect();
            assert_eq!(first_of_row(&device, &values, n, k, false), Ok(expected), "{k} of {n}, schedule {schedule}");
        }
    }
}

/// Candidates as the kernel's comment defines them: of each row, or None where it is marked.
struct Screen<'a> {
    s: &'a [f32],
    bias: &'a [f32],
    x_norms: &'a [f32],
    w_norms: &'a [f32],
    slack: [f32; 4],
    idle: Option<&'a [u64]>,
    k: usize,
    positive: bool,
    most: usize,
}

impl Screen<'_> {
    const DEAD: u64 = 7;

    fn expected(&self) -> Vec<Option<Vec<u32>>> {
        let n = self.bias.len();
        let [product, sum, least, share] = self.slack;
        let row = |(s, x): (&[f32], &f32)| {
            if !x.is_finite() {
                return None;
            }
            let bounds: Vec<_> = (0..n)
                .map(|i| {
                    let all = (product * x).mul_add(self.w_norms[i], sum.mul_add(x + self.w_norms[i], least));
                    let error = share.mul_add(s[i].abs() + self.bias[i].abs(), all);
                    (s[i] + self.bias[i] - error, s[i] + self.bias[i] + error)
                })
                .collect();
            let counts = |i: usize| self.idle.is_none_or(|idle| idle[i] >= Self::DEAD);
            let lower = |i: usize| if counts(i) && bounds[i].0.is_finite() { key(bounds[i].0) } else { 0 };
            let mut all: Vec<u32> = (0..n).map(lower).collect();
            all.sort_unstable();
            all.reverse();
            let cut = if self.k < n { all[self.k - 1] } else { 0 };
            let is_candidate = |i: &u32| {
                let (i, above) = (*i as usize, bounds[*i as usize].1);
                counts(i) && (!above.is_finite() || key(above) >= cut && (!self.positive || above > 0.0))
            };
            let found: Vec<u32> = (0..n as u32).filter(is_candidate).collect();
            (found.len() <= self.most).then_some(found)
        };
        self.s.chunks(n).zip(self.x_norms).map(row).collect()
    }

    fn found(&self, device: &Checked<Shim>) -> Vec<Option<Vec<u32>>> {
        let (n, rows) = (self.bias.len(), self.x_norms.len());
        let [product, sum, least, share] = self.slack;
        let [s, bias, x_norms, w_norms] = [self.s, self.bias, self.x_norms, self.w_norms].map(|x| device.array(x));
        let idle = device.array(self.idle.unwrap_or(&vec![0; n]));
        let [counts, marks] = [(); 2].map(|()| device.array(&vec![9_u32; rows]));
        let latents = device.zeros::<u32>(rows * self.most);
        let arguments = [
            s.all(),
            bias.all(),
            x_norms.all(),
            w_norms.all(),
            product.into(),
            sum.into(),
            least.into(),
            share.into(),
            idle.all(),
            self.idle.is_some().into(),
            Self::DEAD.into(),
            (self.k as u32).into(),
            self.positive.into(),
            (self.most as u32).into(),
            counts.all(),
            latents.all(),
            marks.all(),
            (n as u32).into(),
        ];
        device.launch("candidates", [rows as u32, 1, 1], arguments);
        assert_eq!(device.failure(), None);
        let [counts, marks] = [counts, marks].map(|of| device.download(&of, rows));
        let latents = device.download(&latents, rows * self.most);
        let row = |row: usize| {
            let found = latents[row * self.most..][..counts[row] as usize].to_vec();
            assert!(marks[row] == 0 || found.is_empty(), "a marked row has no candidates");
            (marks[row] == 0).then_some(found)
        };
        (0..rows).map(row).collect()
    }
}

#[test]
fn candidates_are_those_that_bounds_leave_whatever_the_numbers_are() {
    let (mut marked, mut kept) = (0, 0);
    for (schedule, (n, k, most)) in SCHEDULES.into_iter().zip([
        (1, 1, 1),
        (37, 5, 20),
        (300, 20, 70),
        (2048, 9, 500),
        (2049, 40, 400),
        (5000, 64, 768),
        (2600, 2500, 2600),
        (66_000, 30, 300),
        (2400, 7, 2400),
        (70_000, 64, 1000),
    ]) {
        for width in [64, 256] {
            let device = Checked::new(Shim::new(width, schedule));
            let s = numbers(4 * n, schedule + 5);
            // Few infinities and ties in one row, none in another.
            let tame = |x: f32| if x.is_finite() { x } else { 0.125 };
            let smooth: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * (i as f32 * 0.011).cos()).collect();
            let s: Vec<f32> =
                s[..n].iter().copied().chain(s[n..].iter().take(n).map(|x| tame(*x))).chain(smooth).collect();
            let bias: Vec<f32> = numbers(n, schedule + 6).into_iter().map(|x| tame(x) * 0.01).collect();
            let mut w_norms: Vec<f32> = numbers(n, schedule + 7).into_iter().map(|x| 1.0 + tame(x).abs()).collect();
            if n > 4 {
                w_norms[n / 2] = f32::INFINITY;
            }
            let idle: Vec<u64> = (0..n as u64).map(|i| i * 7919 % 11).collect();
            for idle in [None, Some(&idle[..])] {
                for positive in [false, true] {
                    let x_norms = [1.5, 0.25, if schedule % 3 == 0 { f32::INFINITY } else { 1.0 }];
                    let slack = [0.008, 1e-30, 1e-30, 5e-7];
                    let (bias, w_norms) = (&bias[..], &w_norms[..]);
                    let screen = Screen { s: &s, bias, x_norms: &x_norms, w_norms, slack, idle, k, positive, most };
                    let (found, expected) = (screen.found(&device), screen.expected());
                    marked += expected.iter().filter(|row| row.is_none()).count();
                    kept += expected.iter().filter(|row| row.is_some()).count();
                    for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!(
                            found == expected,
                            "{k} of {n}, most {most}, row {row}, schedule {schedule}, {width} threads, positive {positive}, idle {}",
                            idle.is_some()
                        );
                    }
                }
            }
        }
    }
    assert!(marked > 30 && kept > 100, "{marked} rows are marked, {kept} are not");
}

#[test]
fn a_missing_barrier_and_an_error_by_one_are_noticed() {
    for fault in ["missing-barrier/", "off-by-one/", "off-by-one-listed/", "early-list/", "high-floor/"] {
        let noticed =
            SCHEDULES.into_iter().filter(|s| !selects(&Checked::new(Shim::with_fault(64, *s, fault)), *s)).count();
        // The order of threads as numbered may hide a missing barrier; most others must not.
        assert!(noticed >= 8, "{fault} is noticed under {noticed} schedules of {}", SCHEDULES.len());
    }
}

/// Scores as the backend asks for them, latents in parts of so many; where there are marks, of the marked rows, and elsewhere what was there.
fn scored(
    device: &Checked<Shim>,
    (x, w): (&[f32], &[f32]),
    [rows, n_q, n_p]: [usize; 3],
    marks: Option<&[u32]>,
    part: usize,
    blocks: u32,
) -> Vec<f32> {
    let (of_x, of_w, s) = (device.array(x), device.array(w), device.array(&vec![7.0_f32; rows * n_q]));
    let strides = [rows, part].map(|rows| rows.next_multiple_of(128));
    // What a block does not fill is no zero.
    let [x_lanes, w_lanes] = strides.map(|stride| device.array(&vec![f32::NAN; stride * n_p.next_multiple_of(64)]));
    let list = device.array(&vec![u32::MAX; 1 + rows]);
    if let Some(marks) = marks {
        device.launch("list_marked", [1, 1, 1], [device.array(marks).all(), list.all(), (rows as u32).into()]);
        let marked: Vec<u32> = (0..rows as u32).filter(|row| marks[*row as usize] != 0).collect();
        let found = device.download(&list, 1 + marked.len());
        assert_eq!((found[0] as usize, &found[1..]), (marked.len(), &marked[..]), "the marked rows in order");
    }
    let by_lane = |of: &Array<Shim, f32>, listed: u32, first: usize, rows: usize, to: &Array<Shim, f32>, stride| {
        let (first, rows, stride) = (first as u32, rows as u32, stride as u32);
        let arguments = [
            of.all(),
            list.all(),
            if marks.is_some() { listed } else { 0 }.into(),
            first.into(),
            to.all(),
            rows.into(),
            (n_p as u32).into(),
            stride.into(),
        ];
        device.launch("by_lane", [blocks, 1, 1], arguments);
    };
    by_lane(&of_x, 1, 0, rows, &x_lanes, strides[0]);
    for first in (0..n_q).step_by(part) {
        let latents = part.min(n_q - first);
        by_lane(&of_w, 2, first, latents, &w_lanes, strides[1]);
        let arguments = [
            x_lanes.all(),
            w_lanes.all(),
            list.all(),
            marks.is_some().into(),
            s.all(),
            (rows as u32).into(),
            (first as u32).into(),
            (latents as u32).into(),
            (n_q as u32).into(),
            (n_p as u32).into(),
            (strides[0] as u32).into(),
            (strides[1] as u32).into(),
        ];
        device.launch("scores", [blocks, 1, 1], arguments);
    }
    assert_eq!(device.failure(), None);
    device.download(&s, rows * n_q)
}

/// True where all scores have the bits of the definition.
fn scores_right(device: &Checked<Shim>, sizes: [usize; 3], seed: u64, part: usize, blocks: u32) -> bool {
    let [rows, n_q, n_p] = sizes;
    // Few of them are no numbers, so that most scores are.
    let most_finite = |count: usize, seed: u64| {
        let all = numbers(count, seed).into_iter().enumerate();
        all.map(|(at, x)| if x.is_finite() || at % 501 == 0 { x } else { 0.25 }).collect::<Vec<f32>>()
    };
    let (x, w) = (most_finite(rows * n_p, seed + 1), most_finite(n_q * n_p, seed + 2));
    let marks = [2, 1].map(|by| (0..rows as u32).map(|row| u32::from(row % by == 1)).collect::<Vec<_>>());
    [None, Some(&marks[0]), Some(&marks[1])].into_iter().all(|marks| {
        let found = scored(device, (&x, &w), sizes, marks.map(Vec::as_slice), part, blocks);
        found.into_iter().enumerate().all(|(at, found)| {
            let (row, i) = (at / n_q, at % n_q);
            let is_scored = marks.is_none_or(|marks| marks[row] != 0);
            let exact = if is_scored { score(&w[i * n_p..][..n_p], &x[row * n_p..][..n_p]) } else { 7.0 };
            found.to_bits() == exact.to_bits() || found.is_nan() && exact.is_nan()
        })
    })
}

#[test]
fn scores_have_the_bits_of_the_definition() {
    // Tails everywhere; lanes of one, two, three, eight and nine numbers; more tiles than blocks, and parts of latents.
    let sizes = [
        [1, 1, 1],
        [3, 9, 63],
        [8, 8, 64],
        [70, 17, 65],
        [17, 200, 129],
        [2, 130, 7],
        [65, 36, 512],
        [5, 33, 530],
        [140, 300, 70],
        [66, 5, 192],
    ];
    for (schedule, sizes) in SCHEDULES.into_iter().zip(sizes) {
        for width in WIDTHS {
            for (part, blocks) in [(1 << 14, 40), (64, 3)] {
                let device = Checked::new(Shim::new(width, schedule));
                let right = scores_right(&device, sizes, schedule, part.min(sizes[1].next_multiple_of(4)), blocks);
                assert!(right, "{sizes:?}, schedule {schedule}, {width} threads, {blocks} blocks");
            }
        }
    }
}

#[test]
fn scores_that_do_not_wait_for_copies_or_fold_lanes_in_another_order_are_noticed() {
    for fault in ["early-stage/", "no-wait/", "other-tree/"] {
        let wrong = |schedule: &u64| {
            let device = Checked::new(Shim::with_fault(256, *schedule, fault));
            !scores_right(&device, [70, 140, 200], *schedule, 140, 2)
        };
        let noticed = SCHEDULES.into_iter().filter(wrong).count();
        assert!(noticed >= 8, "{fault} is noticed under {noticed} schedules of {}", SCHEDULES.len());
    }
}

#[test]
fn bf16_is_rounded_to_nearest_and_even() {
    let device = Checked::new(Shim::new(32, 3));
    let mut x = numbers(500, 9);
    x.extend([1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX, -f32::MAX]);
    let (of_x, out): (Array<_, f32>, Array<_, u16>) = (device.array(&x), device.zeros(x.len()));
    device.launch("to_bf16", [2, 1, 1], [of_x.all(), out.all(), (x.len() as u64).into()]);
    for (x, found) in x.iter().zip(device.download(&out, x.len())) {
        let expected = half::bf16::from_f32(*x);
        assert!(found == expected.to_bits() || x.is_nan() && half::bf16::from_bits(found).is_nan(), "{x:e}");
    }
}

#[test]
fn codes_come_out_by_latent_with_increasing_rows() {
    for schedule in SCHEDULES {
        // The last one has more than 32 words of bits, which a warp takes one after the other.
        for (rows, n_q, stride) in [(1, 1, 1), (40, 7, 7), (70, 150, 12), (33, 3, 2), (1100, 5, 3)] {
            let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
            let mut draws = numbers(rows * n_q + rows, schedule).into_iter();
            let mut draw = |below: usize| {
                let x = draws.next().unwrap_or(0.5);
                if x.is_finite() { (x.abs() * 1e6) as usize % below } else { 0 }
            };
            // Row after row: the latents that it holds, some rows none at all.
            let mut held = Vec::new();
            for _ in 0..rows {
                let most = draw(stride + 1);
                let mut row: Vec<u32> = (0..n_q as u32).filter(|_| draw(3) == 0).collect();
                row.truncate(most);
                held.push(row);
            }
            let counts: Vec<u32> = held.iter().map(|row| row.len() as u32).collect();
            let mut latents = vec![u32::MAX; rows * stride];
            held.iter().enumerate().for_each(|(b, row)| latents[b * stride..][..row.len()].copy_from_slice(row));
            let words = rows.div_ceil(32);
            let (of_counts, of_latents) = (device.array(&counts), device.array(&latents));
            let values = device.array(&vec![1.0_f32; rows * stride]);
            let [bits, active, of_latent, starts, sums, rows_of] =
                [n_q * words, n_q, n_q, n_q + 1, device.blocks(n_q) as usize, rows * stride]
                    .map(|n| device.zeros::<u32>(n));
            let places = device.zeros::<u64>(rows * stride);
            let (words, n) = (words as u32, n_q as u32);
            let stride_word = stride as u32;
            let arguments = [
                of_counts.all(),
                of_latents.all(),
                values.all(),
                stride_word.into(),
                words.into(),
                bits.all(),
                active.all(),
            ];
            device.launch("mark", [rows as u32, 1, 1], arguments);
            let grid = [device.warps(n_q), 1, 1];
            device.launch("count_bits", grid, [bits.all(), words.into(), of_latent.all(), n.into()]);
            let blocks = [device.blocks(n_q), 1, 1];
            device.launch("scan_blocks", blocks, [of_latent.all(), starts.all(), sums.all(), n.into()]);
            device.launch("scan_join", blocks, [starts.all(), sums.all(), n.into()]);
            let arguments = [
                bits.all(),
                words.into(),
                starts.all(),
                of_counts.all(),
                of_latents.all(),
                stride_word.into(),
                rows_of.all(),
                places.all(),
                n.into(),
            ];
            device.launch("by_latent", grid, arguments);
            assert_eq!(device.failure(), None);
            let starts = device.download(&starts, n_q + 1);
            let (rows_of, places) = (device.download(&rows_of, rows * stride), device.download(&places, rows * stride));
            for i in 0..n_q {
                let range = starts[i] as usize..starts[i + 1] as usize;
                let expected: Vec<u32> = (0..rows as u32).filter(|b| held[*b as usize].contains(&(i as u32))).collect();
                assert_eq!(rows_of[range.clone()], expected, "latent {i}");
                for (row, place) in expected.iter().zip(&places[range]) {
                    assert_eq!((place / stride as u64, latents[*place as usize]), (u64::from(*row), i as u32));
                }
            }
            assert_eq!(
                device.download(&active, n_q),
                (0..n_q).map(|i| u32::from(starts[i] < starts[i + 1])).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn sums_of_many_blocks_are_joined() {
    for (schedule, n) in SCHEDULES.into_iter().zip([1, 31, 32, 33, 1000, 5000, 64, 4096, 77, 2049]) {
        let device = Checked::new(Shim::new(32, schedule));
        let numbers: Vec<u32> = (0..n as u32).map(|i| i * 7919 % 13).collect();
        let blocks = device.blocks(n);
        let (from, to, sums) =
            (device.array(&numbers), device.zeros::<u32>(n + 1), device.zeros::<u32>(blocks as usize));
        device.launch("scan_blocks", [blocks, 1, 1], [from.all(), to.all(), sums.all(), (n as u32).into()]);
        device.launch("scan_join", [blocks, 1, 1], [to.all(), sums.all(), (n as u32).into()]);
        let mut sum = 0;
        let mut expected = vec![0];
        for x in &numbers {
            sum += x;
            expected.push(sum);
        }
        assert_eq!(device.download(&to, n + 1), expected, "{n}");
    }
}

#[test]
fn the_checked_layer_refuses_what_does_not_fit_a_kernel() {
    let refused = |call: &dyn Fn(&Checked<Shim>)| {
        let device = Checked::new(Shim::new(32, 0));
        call(&device);
        device.failure().expect("a failure").to_string()
    };
    let x = |device: &Checked<Shim>| device.zeros::<f32>(4);
    let short = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).of(5), x(d).all(), 4_u32.into()]));
    assert!(short.contains("argument 0 has 4 numbers, 5 are needed"), "{short}");
    let kind = refused(&|d| d.launch("exponentials", [1, 1, 1], [d.zeros::<u32>(4).all(), x(d).all(), 4_u32.into()]));
    assert!(kind.contains("argument 0 is"), "{kind}");
    let word = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).all(), x(d).all(), 4_u64.into()]));
    assert!(word.contains("argument 2 is"), "{word}");
    let count = refused(&|d| d.launch("exponentials", [1, 1, 1], [x(d).all(), x(d).all()]));
    assert!(count.contains("3 arguments expected, 2 given"), "{count}");
    let name = refused(&|d| d.launch("no_such", [1, 1, 1], [x(d).all()]));
    assert!(name.contains("no such kernel"), "{name}");
    let long = refused(&|d| d.upload(&[0.0_f32; 5], &x(d)));
    assert!(long.contains("5 numbers into an array of 4"), "{long}");
    // After a failure nothing is computed any more, and what is downloaded is no number.
    let device = Checked::new(Shim::new(32, 0));
    let array = device.array(&[1.0_f32, 2.0]);
    device.launch("no_such", [1, 1, 1], []);
    assert!(device.download(&array, 2).iter().all(|x| x.is_nan()));
    assert_eq!(device.device().width(), 32);
}

#[test]
fn every_kernel_says_its_grid_its_traffic_and_its_floor() {
    let mut seen = 0;
    for (file, text) in &FILES[1..] {
        for (before, after) in text.match_indices("\nKERNEL(").map(|(at, _)| text.split_at(at)) {
            let name = after.trim_start_matches("\nKERNEL(").split(')').next().expect("a name");
            let comment: Vec<&str> = before.lines().rev().take_while(|line| line.starts_with("//")).collect();
            for part in ["Grid:", "Traffic:", "Floor:"] {
                assert!(comment.iter().any(|line| line.contains(part)), "{file}: {name} does not say its {part}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, signatures().len());
}

/// Small integers, whose products and sums are exact.
fn integers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|j| (j.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as f32 % 7.0 - 3.0).collect()
}

#[test]
fn dense_products_read_rows_with_any_stride_and_nothing_makes_zeros() {
    for (seed, [m, n, k]) in [[1, 1, 1], [2, 3, 5], [7, 1, 4], [1, 6, 2], [5, 4, 0], [0, 3, 2]].into_iter().enumerate()
    {
        for transposed in [false, true] {
            let device = Checked::new(Shim::new(32, 0));
            // Rows of a and b, each longer than what is read of it.
            let (rows, widths) = if transposed { ([k, k], [m, n]) } else { ([m, n], [k, k]) };
            let strides = widths.map(|width| width + 2 + seed);
            let a = integers(rows[0] * strides[0], seed as u32);
            let b = integers(rows[1] * strides[1], seed as u32 + 100);
            let c = device.array(&vec![7.0_f32; m * n]);
            let (of_a, of_b) = (device.array(&a), device.array(&b));
            device.product(&Matrices {
                precision: Precision::F32,
                transposed,
                sizes: [m, n, k],
                a: (&of_a, strides[0]),
                b: (&of_b, strides[1]),
                c: &c,
            });
            assert_eq!(device.failure(), None);
            let term = |i: usize, j: usize, q: usize| {
                if transposed {
                    a[q * strides[0] + i] * b[q * strides[1] + j]
                } else {
                    a[i * strides[0] + q] * b[j * strides[1] + q]
                }
            };
            let expected: Vec<f32> = (0..m * n).map(|at| (0..k).map(|q| term(at / n, at % n, q)).sum()).collect();
            assert_eq!(device.download(&c, m * n), expected, "{m}×{n}×{k}, transposed {transposed}");
        }
    }
}

#[test]
fn samples_of_more_features_than_a_block_draws_at_once_have_the_bits_of_the_processor() {
    let config = BenchConfig { n: 700, n_p: 24, sparsity: 0.9, interference: 0.95, ..BenchConfig::default() };
    let bench = Bench::generate(&config).expect("a small bench");
    let (directions, tables) = (bench.directions(Side::Input), bench.coefficients().tables().expect("tables"));
    let indices = [0, 5, 1 << 33, 7];
    let mut expected = vec![0.0; indices.len() * 24];
    bench.synthesize(&bench.coefficients().batch(&indices), Side::Input, &mut expected);
    for (schedule, width) in SCHEDULES.into_iter().zip(WIDTHS.into_iter().cycle()) {
        let device = Checked::new(Shim::new(width, schedule));
        let (thresholds, scales) = (device.array(&tables.thresholds), device.array(&tables.scales));
        let (of_indices, of_directions) = (device.array(&indices), device.array(directions.data()));
        let out = device.zeros::<f32>(expected.len());
        let arguments = [
            tables.key[0].into(),
            tables.key[1].into(),
            thresholds.all(),
            scales.all(),
            tables.c_min.into(),
            tables.beta.into(),
            of_indices.all(),
            of_directions.all(),
            700_u32.into(),
            24_u32.into(),
            out.all(),
        ];
        device.launch("draw", [indices.len() as u32, 1, 1], arguments);
        assert_eq!(device.failure(), None);
        assert_eq!(device.download(&out, expected.len()), expected, "schedule {schedule}, {width} threads");
    }
}

#[test]
fn squares_of_many_groups_are_summed_each_into_its_place() {
    let x = integers(1000, 3);
    for (schedule, group) in SCHEDULES.into_iter().zip([100, 333, 1000, 2000, 7].into_iter().cycle()) {
        let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
        let groups = x.len().div_ceil(group);
        let (of_x, out) = (device.array(&x), device.array(&vec![-1.0_f64; groups + 4]));
        let arguments = [of_x.all(), 1000_u64.into(), (group as u64).into(), out.all(), 3_u32.into()];
        device.launch("sum_squares", [groups as u32, 1, 1], arguments);
        let squares = x.chunks(group).map(|x| x.iter().map(|x| f64::from(*x).powi(2)).sum());
        let expected: Vec<f64> = [-1.0; 3].into_iter().chain(squares).chain([-1.0]).collect();
        assert_eq!(device.download(&out, groups + 4), expected, "groups of {group}");
    }
}

#[test]
fn fewer_threads_than_numbers_take_all_of_them() {
    const ROWS: usize = 37;
    const N: usize = 13;
    for schedule in SCHEDULES {
        let device = Checked::new(Shim::new(32, schedule));
        let (x, bias) = (numbers(ROWS * N, schedule), numbers(N, schedule + 1));
        let (of_x, of_bias, out) = (device.array(&x), device.array(&bias), device.zeros::<f32>(ROWS * N));
        let arguments = [of_x.all(), of_bias.all(), out.all(), (ROWS as u32).into(), (N as u32).into()];
        device.launch("centre", [3, 1, 1], arguments);
        for (j, found) in device.download(&out, ROWS * N).into_iter().enumerate() {
            let expected = x[j] - bias[j % N];
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{j}: {found:e}");
        }
        // Powers of two, so that every product is exact and the rule is seen in the bits.
        let (w, g, m) = (integers(500, 1), integers(500, 2), integers(500, 3));
        let arrays = [&w, &g, &m, &m].map(|numbers| device.array(numbers));
        let [of_w, of_g, of_m, unread] = &arrays;
        let clip = device.array(&[8.0_f64, 0.5]);
        let [rate, beta] = [0.25_f32, 0.5];
        let arguments = [
            of_g.all(),
            clip.all(),
            of_w.all(),
            of_m.all(),
            unread.all(),
            true.into(),
            rate.into(),
            1.0_f32.into(),
            beta.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            0.0_f32.into(),
            1.0_f32.into(),
            500_u64.into(),
        ];
        device.launch("update_flat", [2, 1, 1], arguments);
        let momentum: Vec<f32> = m.iter().zip(&g).map(|(m, g)| beta * m + 0.5 * g).collect();
        let moved: Vec<f32> = w.iter().zip(&momentum).map(|(w, m)| w - rate * m).collect();
        assert_eq!((device.download(of_m, 500), device.download(of_w, 500)), (momentum, moved));
        assert_eq!(device.download(unread, 500), m);
    }
}

/// Keys as `key_of` makes them: in the order of numbers, NaN least.
fn key(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    match bits {
        _ if x.is_nan() => 0,
        _ if bits >> 31 == 1 => !bits,
        _ => bits | 0x8000_0000,
    }
}

#[test]
fn the_cut_of_a_batch_is_that_of_a_sort_with_few_threads() {
    for (schedule, wanted) in SCHEDULES.into_iter().zip([1, 2, 100, 617, 739, 740].into_iter().cycle()) {
        let device = Checked::new(Shim::new(WIDTHS[schedule as usize % WIDTHS.len()], schedule));
        let (s, bias) = (numbers(20 * 37, schedule + 3), numbers(37, schedule + 4));
        let (of_s, of_bias, state) = (device.array(&s), device.array(&bias), device.zeros::<u32>(2 + 256));
        device.upload(&[0, wanted as u32], &state);
        for shift in [24_u32, 16, 8, 0] {
            let arguments =
                [of_s.all(), of_bias.all(), state.all(), shift.into(), (s.len() as u64).into(), 37_u32.into()];
            device.launch("batch_histogram", [2, 1, 1], arguments);
            device.launch("batch_digit", [1, 1, 1], [state.all(), shift.into()]);
        }
        let mut keys: Vec<u32> = s.iter().enumerate().map(|(j, s)| key(s + bias[j % 37])).collect();
        keys.sort_unstable();
        keys.reverse();
        let cut = keys[wanted - 1];
        let above = keys.iter().filter(|key| **key > cut).count();
        assert_eq!(device.download(&state, 2), [cut, (wanted - above) as u32], "{wanted} of {}", s.len());
    }
}

#[test]
fn a_screen_that_keeps_every_latent_selects_all_of_them() {
    for (schedule, n_q) in SCHEDULES.into_iter().zip([5, 33, 70].into_iter().cycle()) {
        for k in [n_q, n_q + 3] {
            for activation in [Activation::TopK { k }, Activation::TopKRelu { k }] {
                let shape = Shape { n_p: 9, n_r: 9, n_q };
                let model = Init { encoder_bias: true, ..Init::default() }.model(shape, activation, schedule);
                let inputs: Vec<f32> = numbers(200, schedule).into_iter().filter(|x| x.is_finite()).take(63).collect();
                let codes = |options| {
                    let backend = Cuda::on(Shim::new(64, schedule), Spec::plain(shape, 7), options);
                    let params = backend.params(&model);
                    let (mut batch, mut codes) = (backend.batch(), backend.codes());
                    backend.load(Rows { inputs: &inputs, targets: &[], weights: None }, &mut batch);
                    let opt = backend.opt_state(&params);
                    backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
                    assert_eq!(backend.failure(), None);
                    backend.codes_of(&codes)
                };
                let expected = codes(Options { encoder: Encoder::Exact, ..Options::default() });
                if matches!(activation, Activation::TopK { .. }) {
                    assert_eq!(expected.latents.len(), 7 * n_q, "all latents of all rows");
                }
                for encoder in [Encoder::F32, Encoder::Tf32, Encoder::Bf16] {
                    // With room for all of them, and with too little, so that rows are scored in full.
                    for candidates in [None, Some(n_q - 1)] {
                        let found = codes(Options { encoder, candidates, ..Options::default() });
                        assert_eq!(found, expected, "{activation:?} of {n_q}, {encoder:?}, {candidates:?}");
                    }
                }
            }
        }
    }
}
