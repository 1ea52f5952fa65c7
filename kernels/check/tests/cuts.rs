//! Candidates of a screen against plain loops over the same bounds, and the cut of a batch against a sort, under many schedules of the threads.

#[path = "common/numbers.rs"]
mod numbers;

use numbers::{SCHEDULES, WIDTHS, numbers};
use sdlab_kernels::backend::cuda::checked::Checked;
use sdlab_kernels::shim::Shim;

/// Keys as `key_of` makes them: in the order of numbers, NaN least.
fn key(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    match bits {
        _ if x.is_nan() => 0,
        _ if bits >> 31 == 1 => !bits,
        _ => bits | 0x8000_0000,
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
