//! Scores of tiles, of parts of the latents and of listed rows: the bits of the definition under many schedules of the threads, and planted faults
//! that must be noticed.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::backend::score::score;
use sdlab_kernels::shim::Shim;

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
