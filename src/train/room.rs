//! Whether a training fits the memory of this machine or of a device, before any is taken.

use super::check::{ConfigError, Plan};
use crate::backend::Spec;
use crate::backend::collective::sharded::{part_of, spec_of};
use crate::backend::cpu::{Cpu, Memory};
use crate::backend::cuda::{self, Options, Samples};
use crate::bench::config::BenchConfig;
use crate::sdl::resampling::Resampling;

/// Bytes that a training on the processor takes, all its ranks together; of more than one of `shards`, each has a part of the latents.
pub fn memory(plan: &Plan, shards: usize) -> Memory {
    if shards > 1 { rank_memory(plan, shards).times(shards) } else { of(plan, rank_spec(plan, 1)).times(plan.ranks) }
}

/// What the rank with most of a training computes: with more than one of `shards` a part of the latents, else a part of each batch.
pub fn rank_spec(plan: &Plan, shards: usize) -> Spec {
    if shards > 1 {
        return spec_of(&plan.spec, &part_of(shards - 1, shards, plan.spec.shape.n_q));
    }
    Spec { batch: plan.spec.batch.div_ceil(plan.ranks.max(1)), ..plan.spec.clone() }
}

/// Bytes of the rank with most latents, where each has a part of them.
pub fn rank_memory(plan: &Plan, shards: usize) -> Memory {
    let mut memory = of(plan, rank_spec(plan, shards));
    // Every rank puts the parts of all together while a checkpoint is written.
    memory.copy = memory.copy.saturating_add(of(plan, plan.spec.clone()).copy);
    memory
}

fn of(plan: &Plan, spec: Spec) -> Memory {
    Cpu::new(spec).memory(plan.activation, &plan.init.parameters(&plan.activation))
}

/// Refuses a training that needs more than these bytes, those of [`physical`]; where they are not known, none.
///
/// # Errors
/// `model.latents` or `train.batch`, whichever needs more.
pub fn ensure_room(plan: &Plan, shards: usize, physical: Option<u64>) -> Result<(), ConfigError> {
    let memory = memory(plan, shards);
    let Some(physical) = physical.filter(|physical| memory.most() > *physical) else {
        return Ok(());
    };
    let field = largest(memory.batch, memory.model);
    let expected = format!("a training that fits the memory of this machine, {}", shown(physical));
    let [training, most] = [memory.training(), memory.most()].map(shown);
    Err(ConfigError::new(field, expected, format!("one of {training}, and of {most} while a checkpoint is written")))
}

/// Bytes that a training takes on a device, or each of its ranks on its own; `bench` is what samples are drawn from, if they are.
pub fn device_memory(plan: &Plan, shards: usize, options: &Options, bench: Option<&BenchConfig>) -> cuda::Memory {
    let spec = rank_spec(plan, shards);
    // Features that fire together are drawn on the processor.
    let samples = match bench {
        Some(bench) if bench.correlation.is_none() && bench.hierarchy.is_none() => Samples::Drawn(bench.n),
        _ => Samples::Host,
    };
    let parameters = plan.init.parameters(&plan.activation);
    let mut memory = cuda::Memory::of(&spec, options, plan.activation, &parameters, samples);
    match &plan.resampling {
        Resampling::None => memory.moved = 0,
        Resampling::Bricken(_) => {}
        Resampling::Decrease(recipe) => {
            let shape = spec.shape;
            let of_sample = 16_u64.saturating_mul((shape.n_p as u64).saturating_add(shape.n_r as u64));
            memory.moved = memory.moved.max(of_sample.saturating_mul(recipe.samples as u64));
        }
    }
    memory
}

/// Refuses a training that needs more than is free on a device.
///
/// # Errors
/// `model.latents` or `train.batch`, whichever needs more.
pub fn ensure_device_room(memory: cuda::Memory, room: cuda::Room) -> Result<(), ConfigError> {
    if memory.most() <= room.free {
        return Ok(());
    }
    let [free, total, training, most] = [room.free, room.total, memory.training(), memory.most()].map(shown);
    let expected = format!("a training that fits the memory of the device, of whose {total} {free} are free");
    let moved = if memory.moved > 0 { format!(", and of {most} while latents are moved") } else { String::new() };
    Err(ConfigError::new(largest(memory.batch, memory.model), expected, format!("one of {training}{moved}")))
}

fn largest(batch: u64, model: u64) -> &'static str {
    if batch > model { "train.batch" } else { "model.latents" }
}

/// The memory of this machine in bytes, where Linux says it.
pub fn physical() -> Option<u64> {
    total(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// MemTotal of `/proc/meminfo`, which counts in units of 1024 bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn shown(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.1} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::check::Facts;
    use crate::train::config::Experiment;

    fn plan(text: &str) -> Plan {
        let facts = Facts { samples: 1 << 20, n_p: 768, n_r: 768, reconstructs_its_input: true };
        Experiment::from_toml(text).unwrap().check().unwrap().plan(facts).unwrap()
    }

    #[test]
    fn a_training_that_does_not_fit_is_refused_by_the_field_that_asks_for_most() {
        let large = plan("[model]\nlatents = 8000000");
        // Four numbers of every weight, and three more in a copy.
        let weights = 4 * 2 * 768 * 8_000_000_u64;
        assert!((4 * weights..5 * weights).contains(&memory(&large, 1).training()));
        assert!((7 * weights..8 * weights).contains(&memory(&large, 1).most()));
        let error = ensure_room(&large, 1, Some(1 << 30)).unwrap_err().to_string();
        let begins = "model.latents: expected a training that fits the memory of this machine, 1.0 GiB, found one of ";
        assert!(error.starts_with(begins) && !error.contains('\n'), "{error}");
        let wide = plan("[model]\nlatents = 70\n[train]\nbatch = 1048576");
        assert_eq!(ensure_room(&wide, 1, Some(1 << 30)).unwrap_err().field, "train.batch");
        assert_eq!(ensure_room(&large, 1, None), Ok(()));
        let most = memory(&large, 1).most();
        assert_eq!(ensure_room(&large, 1, Some(most)), Ok(()));
        assert!(ensure_room(&large, 1, Some(most - 1)).is_err());
    }

    #[test]
    fn a_training_that_does_not_fit_a_device_is_refused_by_the_field_that_asks_for_most() {
        let memory = |text: &str| device_memory(&plan(text), 1, &Options::default(), Some(&BenchConfig::default()));
        let large = memory("[model]\nlatents = 1000000");
        let room = |free| cuda::Room { free, total: 1 << 40 };
        assert_eq!(ensure_device_room(large, room(large.most())), Ok(()));
        let error = ensure_device_room(large, room(large.most() - 1)).unwrap_err().to_string();
        let begins = "model.latents: expected a training that fits the memory of the device, of whose 1024.0 GiB ";
        assert!(error.starts_with(begins) && !error.contains("moved") && !error.contains('\n'), "{error}");
        let wide = memory("[model]\nlatents = 70\n[train]\nbatch = 1048576");
        assert_eq!(ensure_device_room(wide, room(1 << 20)).unwrap_err().field, "train.batch");
        // Each rank has a whole model, and its share of the batch.
        let [one, four] = [1, 4].map(|ranks| memory(&format!("[train]\nranks = {ranks}\nbatch = 4096")));
        assert_eq!(one.beside, four.beside);
        assert!(one.model.abs_diff(four.model) < one.model / 1000 && 2 * four.batch < one.batch, "{one:?} {four:?}");
        let moving = |samples: u64| {
            let text = format!("[resampling]\nkind = \"decrease\"\nsteps = [3]\nsamples = {samples}");
            let memory = memory(&text);
            (memory.moved, ensure_device_room(memory, room(memory.training())).unwrap_err().to_string())
        };
        assert!(moving(100).0 > 12 * 2 * 768 * 16000 && moving(100).1.contains("while latents are moved"));
        assert_eq!(moving(1 << 20).0, (16 * 2 * 768) << 20);
    }

    #[test]
    fn every_rank_has_a_model_of_its_own_and_its_share_of_the_batch() {
        let [one, four] = [1, 4].map(|ranks| memory(&plan(&format!("[train]\nranks = {ranks}")), 1));
        assert_eq!((4 * one.model, 4 * one.copy, one.batch), (four.model, four.copy, four.batch));
    }

    #[test]
    fn a_rank_with_a_part_of_the_latents_has_that_part_of_the_model_and_the_whole_batch() {
        let plan = plan("[model]\nlatents = 16003");
        let (one, four) = (memory(&plan, 1), rank_memory(&plan, 4));
        assert_eq!(memory(&plan, 4), four.times(4));
        // 4001 of 16003 latents, rounded up.
        assert!((one.model / 4..one.model / 4 + one.model / 1000).contains(&four.model), "{one:?}, {four:?}");
        assert!(four.batch == one.batch && four.copy > one.copy && four.copy < one.copy + one.copy / 3);
        let [one, four] =
            [1, 4].map(|shards| device_memory(&plan, shards, &Options::default(), Some(&BenchConfig::default())));
        assert!((one.model / 4..one.model / 4 + one.model / 1000).contains(&four.model), "{one:?}, {four:?}");
    }

    #[test]
    fn the_memory_of_linux_is_read_in_units_of_1024_bytes() {
        assert_eq!(total("MemTotal:       24576000 kB\nMemFree:  1 kB\n"), Some(24_576_000 << 10));
        for text in ["", "MemTotal: x kB", "MemTotal: 18446744073709551615 kB", "MemTotal: 3"] {
            assert_eq!(total(text), None, "{text}");
        }
        assert_eq!([3 << 20, 5 << 29].map(shown), ["3.0 MiB", "2.5 GiB"]);
    }
}
