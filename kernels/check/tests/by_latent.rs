//! Codes by latent, and the sums of many blocks by which they find their places, against plain loops under many schedules of the threads.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::Checked;
use sdlab_kernels::shim::Shim;

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
