//! Small trainings that a report makes itself: Table 1 with a few seeds, and resampling against none (Figure 6). Several run at a time, each with
//! the same bits as alone.

use super::measure::{Course, MeasureError, follow, measure};
use super::record::RunRecord;
use crate::train::config::Experiment;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds of Table 1.
pub const SEEDS: u64 = 3;
/// Seeds of every way of resampling.
pub const RESAMPLING_SEEDS: u64 = 5;

/// The small experiments of Table 1, as they are in `configs/small/table1`.
const TABLE_1: [&str; 14] = [
    include_str!("../../configs/small/table1/relu.toml"),
    include_str!("../../configs/small/table1/relu-anchored.toml"),
    include_str!("../../configs/small/table1/jumprelu.toml"),
    include_str!("../../configs/small/table1/jumprelu-anchored.toml"),
    include_str!("../../configs/small/table1/topk.toml"),
    include_str!("../../configs/small/table1/topk-anchored.toml"),
    include_str!("../../configs/small/table1/batchtopk.toml"),
    include_str!("../../configs/small/table1/batchtopk-anchored.toml"),
    include_str!("../../configs/small/table1/matryoshka.toml"),
    include_str!("../../configs/small/table1/matryoshka-anchored.toml"),
    include_str!("../../configs/small/table1/transcoder.toml"),
    include_str!("../../configs/small/table1/transcoder-anchored.toml"),
    include_str!("../../configs/small/table1/crosscoder.toml"),
    include_str!("../../configs/small/table1/crosscoder-anchored.toml"),
];

/// A training in which latents are missed that die: there are hardly more than features, k is small, the learning rate large, and W_E starts on its
/// own.
const DYING: &str = r#"
[bench]
n = 62
n_p = 48
samples = 4000
sparsity = 0.95
interference = 0.1

[model]
latents = 66
activation = { kind = "top-k", k = 4 }
init = { weights = "unit", scale = 1.0, tied = false }

[optimizer]
rule = "adam"
learning_rate = 0.02

[train]
batch = 128
epochs = 20
dead_after = 1280
"#;

/// Steps after which dead latents are moved.
pub const MOVES: [u64; 3] = [160, 320, 480];

/// What is done about dead latents: its name, and what it adds to [`DYING`].
const WAYS: [(&str, &str); 4] = [
    ("none", ""),
    (
        "Bricken et al.",
        "[resampling]\nkind = \"bricken\"\nsteps = [160, 320, 480]\ndead_after = 1280\nsamples = 512\nwarm_up = 20\n",
    ),
    (
        "exact decrease",
        "[resampling]\nkind = \"decrease\"\nsteps = [160, 320, 480]\ndead_after = 1280\nsamples = 512\nwarm_up = 20\n",
    ),
    ("AuxK", "[objective]\naux = { k = 16, weight = 0.03125, dead_after = 1280 }\n"),
];

/// Trainings with one way of treating dead latents, one for each seed.
pub struct Way {
    /// Its name.
    pub name: &'static str,
    /// By seed.
    pub courses: Vec<Course>,
}

/// How many trainings [`table_1`] makes.
pub const TABLE_1_TRAININGS: usize = TABLE_1.len() * SEEDS as usize;
/// How many [`table_1`] and [`resampling`] make.
pub const TRAININGS: usize = TABLE_1_TRAININGS + WAYS.len() * RESAMPLING_SEEDS as usize;

/// Trains Table 1. `done` is told how many trainings are done.
///
/// # Errors
/// Whatever stops one of them.
pub fn table_1(commit: Option<&str>, done: &(dyn Fn(usize) + Sync)) -> Result<Vec<RunRecord>, MeasureError> {
    let jobs: Vec<(&str, u64)> = TABLE_1.iter().flat_map(|text| (0..SEEDS).map(move |seed| (*text, seed))).collect();
    together(&jobs, done, |(text, seed)| measure(&experiment(text)?, *seed, commit.map(str::to_owned)))
}

/// Trains with every way of treating dead latents.
///
/// # Errors
/// Whatever stops one of them.
pub fn resampling(done: &(dyn Fn(usize) + Sync)) -> Result<Vec<Way>, MeasureError> {
    let jobs: Vec<(usize, u64)> =
        (0..WAYS.len()).flat_map(|way| (0..RESAMPLING_SEEDS).map(move |seed| (way, seed))).collect();
    let courses = together(&jobs, done, |(way, seed)| {
        let mut experiment = experiment(&format!("{}\n{DYING}", WAYS[*way].1))?;
        experiment.train.seed = *seed;
        experiment.bench.get_or_insert_default().seed = *seed;
        follow(&experiment)
    })?;
    let mut courses = courses.into_iter();
    let take = |(name, _)| Way { name, courses: courses.by_ref().take(RESAMPLING_SEEDS as usize).collect() };
    Ok(WAYS.into_iter().map(take).collect())
}

fn experiment(text: &str) -> Result<Experiment, MeasureError> {
    Experiment::from_toml(text).map_err(MeasureError::Text)
}

/// Results in the order of the jobs, whatever the order in which they end.
fn together<J: Sync, T: Send>(
    jobs: &[J],
    done: &(dyn Fn(usize) + Sync),
    each: impl Fn(&J) -> Result<T, MeasureError> + Sync,
) -> Result<Vec<T>, MeasureError> {
    let count = AtomicUsize::new(0);
    jobs.par_iter()
        .with_max_len(1)
        .map(|job| {
            let result = each(job);
            done(count.fetch_add(1, Ordering::Relaxed) + 1);
            result
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_of_table_1_are_there_once() {
        let mut rows: Vec<(String, bool)> = TABLE_1
            .iter()
            .map(|text| experiment(text).unwrap().published.unwrap())
            .inspect(|published| assert_eq!(published.table, 1))
            .map(|published| (published.method, published.anchored))
            .collect();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), 14);
    }

    #[test]
    fn dead_latents_are_moved_where_they_are_and_only_there() {
        let all = resampling(&|_| {}).unwrap();
        for Way { name, courses } in &all {
            assert_eq!(courses.len() as u64, RESAMPLING_SEEDS);
            let moved: u64 = courses.iter().map(|course| course.moved).sum();
            let moves = matches!(*name, "Bricken et al." | "exact decrease");
            assert_eq!(moved > 0, moves, "{name}: {moved}");
            // Without dead latents there would be nothing to compare.
            let dead = courses.iter().filter(|course| course.records.iter().any(|record| record.dead > 0)).count();
            assert!(*name != "none" || dead == courses.len(), "{dead}");
        }
        let again = resampling(&|_| {}).unwrap();
        let losses = |ways: &[Way]| -> Vec<f64> {
            ways.iter().flat_map(|way| &way.courses).flat_map(|c| &c.records).map(|r| r.loss).collect()
        };
        assert_eq!(losses(&all), losses(&again));
    }
}
