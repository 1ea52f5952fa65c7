//! The interquartile mean of scores over tasks and runs (Agarwal et al. 2021, <https://arxiv.org/abs/2108.13264>).

use super::bootstrap::{RESAMPLES, draw, is_level, percentiles};
use crate::bench::features::stream;
use serde::{Deserialize, Serialize};

/// The mean of the middle half of all scores, whatever task they are of, with a percentile interval by the stratified bootstrap: runs are drawn anew
/// within each task, so that the interval shows the spread over runs and not that over tasks.
///
/// Of n scores the ⌊n/4⌋ least and the ⌊n/4⌋ largest are left out, as the authors' `rliable` does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InterquartileMean {
    /// Number of tasks.
    pub tasks: usize,
    /// Number of scores.
    pub scores: usize,
    /// The interquartile mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl InterquartileMean {
    /// Of the scores of the runs of each task, at confidence `level`. The same for the same seed and order. Nothing without tasks, for a task without
    /// runs, for a score that is not finite, or for a level outside (0, 1).
    pub fn of(tasks: &[Vec<f64>], level: f64, seed: u64) -> Option<Self> {
        let usable = |runs: &Vec<f64>| !runs.is_empty() && runs.iter().all(|score| score.is_finite());
        if tasks.is_empty() || !tasks.iter().all(usable) || !is_level(level) {
            return None;
        }
        let mut rng = stream(seed, "bootstrap of the interquartile mean");
        let mut resample =
            || tasks.iter().flat_map(|runs| draw(runs.len(), &mut rng).map(|k| runs[k]).collect::<Vec<_>>()).collect();
        let resamples = (0..RESAMPLES).map(|_| middle_mean(resample())).collect();
        let (low, high) = percentiles(resamples, level);
        let all: Vec<f64> = tasks.concat();
        Some(Self { tasks: tasks.len(), scores: all.len(), mean: middle_mean(all), low, high })
    }
}

/// The mean without the ⌊n/4⌋ least and largest values. There must be a value.
fn middle_mean(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let cut = values.len() / 4;
    let middle = &values[cut..values.len() - cut];
    middle.iter().sum::<f64>() / middle.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_half_is_averaged_as_by_scipy() {
        // trim_mean(x, 0.25) of SciPy cuts ⌊n/4⌋ on each side: its documentation has trim_mean(arange(20), 0.1) = 9.5.
        for (values, mean) in [
            (vec![4.0], 4.0),
            (vec![1.0, 2.0, 6.0], 3.0),
            (vec![1e9, 2.0, 3.0, -1e9], 2.5),
            (vec![5.0, 1.0, 2.0, 30.0, 3.0], 10.0 / 3.0),
            ((0..20).map(f64::from).collect(), 9.5),
        ] {
            assert_eq!(middle_mean(values.clone()), mean, "{values:?}");
        }
    }

    #[test]
    fn the_interval_is_that_of_all_possible_resamples() {
        let tasks = vec![vec![1.0, 2.0, 7.0], vec![0.0, 5.5, 3.0]];
        // 27·27 equally likely pairs of resamples
        let of = |runs: &[f64], code: usize| [0, 1, 2].map(|digit| runs[code / 3_usize.pow(digit) % 3]);
        let all: Vec<f64> = (0..27 * 27)
            .map(|code| middle_mean([of(&tasks[0], code / 27), of(&tasks[1], code % 27)].concat()))
            .collect();
        let share = |test: &dyn Fn(f64) -> bool| all.iter().filter(|y| test(**y)).count() as f64 / all.len() as f64;
        for seed in 0..20 {
            let mean = InterquartileMean::of(&tasks, 0.9, seed).unwrap();
            assert_eq!((mean.tasks, mean.scores, mean.mean), (2, 6, (1.0 + 2.0 + 3.0 + 5.5) / 4.0));
            // Five standard deviations of a share of .05 in RESAMPLES draws; sums in another order differ by rounding.
            let slack = 5.0 * (0.05 * 0.95 / RESAMPLES as f64).sqrt();
            for (end, nominal) in [(mean.low, 0.05), (mean.high, 0.95)] {
                assert!(share(&|y| y < end - 1e-12) <= nominal + slack, "{mean:?}");
                assert!(share(&|y| y <= end + 1e-12) >= nominal - slack, "{mean:?}");
            }
        }
    }

    #[test]
    fn tasks_that_differ_do_not_widen_the_interval_of_runs_that_agree() {
        // Without strata the mean of a resample would move with the tasks it happens to hold.
        let mean = InterquartileMean::of(&[vec![0.0; 5], vec![10.0; 5]], 0.95, 0).unwrap();
        assert_eq!((mean.mean, mean.low, mean.high), (5.0, 5.0, 5.0));
    }

    #[test]
    fn what_is_empty_or_no_number_has_no_mean() {
        for tasks in [vec![], vec![vec![]], vec![vec![1.0], vec![]], vec![vec![f64::NAN]], vec![vec![f64::INFINITY]]] {
            assert_eq!(InterquartileMean::of(&tasks, 0.95, 0), None);
        }
        assert_eq!(InterquartileMean::of(&[vec![1.0]], 0.0, 0), None);
    }
}
