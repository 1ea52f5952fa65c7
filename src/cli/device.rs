//! `sdlab device`: what the GPU is, whether it computes what it should, and how long a step of training takes there.

use super::{Answer, CliError, Session};
use crate::backend::cuda::check::{CHECKS, Outcome, Settings};
use crate::backend::cuda::timing::{self, Timed};
use crate::backend::cuda::{Driver, Facts, Options, Room, Time};
use crate::backend::{Gather, Moments, SelectBy};
use crate::sdl::Shape;
use crate::stats::{Cell, Kind, Table};
use clap::{Args, Subcommand, value_parser};
use serde_json::{Value, json};

/// What the GPU is, whether it computes what it should, and how long a step of training takes there
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Which GPU, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0, global = true, value_parser = value_parser!(i32).range(0..))]
    gpu: i32,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Compare what it computes with references in f64, and with itself
    Check(Check),
    /// Time steps of training, and every kernel of them
    Time(Timing),
}

#[derive(Debug, Args)]
struct Check {
    /// Checks to run [default: all]: products, repeat, exact, f32, tf32, bf16, moments, gathers
    #[arg(value_name = "CHECK", value_parser = names())]
    checks: Vec<String>,
    /// Only every so many-th case of a check against the reference
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    every: u32,
    /// Small sizes, for a device that is none
    #[arg(long)]
    small: bool,
}

fn names() -> Vec<&'static str> {
    CHECKS.iter().map(|check| check.name).collect()
}

#[derive(Debug, Args)]
struct Timing {
    /// n_p = n_r, n_q and k of a TopK, with commas between them
    #[arg(long, value_name = "N_P,N_Q,K", default_value = "768,16000,64", value_parser = shape)]
    shape: (Shape, usize),
    /// Samples of a step
    #[arg(long, value_name = "B", default_value_t = 4096, value_parser = value_parser!(u32).range(1..=1 << 20))]
    batch: u32,
    /// What decides which latents are selected, as train.select_by: the score, found by a screen, or a product of tensor cores
    #[arg(long, value_name = "WHAT", default_value = "score", value_parser = ["score", "tf32", "bf16"])]
    select_by: String,
    /// How latents are found by the score
    #[arg(long, value_enum, value_name = "HOW", default_value = "tf32")]
    screen: super::train::Screen,
    /// Every kernel by itself, not half a step as one graph
    #[arg(long)]
    no_graphs: bool,
    /// Moments of Adam in bf16
    #[arg(long)]
    bf16_moments: bool,
    /// How rows are stored that reconstructions and gradients gather, as train.gather
    #[arg(long, value_name = "HOW", default_value = "f32", value_parser = ["f32", "bf16"])]
    gather: String,
    /// Steps before the first that is timed
    #[arg(long, value_name = "N", default_value_t = 10)]
    before: u64,
    /// How many times are taken
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = value_parser!(u32).range(1..))]
    times: u32,
    /// Steps of each of them
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..))]
    steps: u32,
}

fn shape(text: &str) -> Result<(Shape, usize), String> {
    let numbers: Vec<usize> = text.split(',').map_while(|part| part.parse().ok()).collect();
    match numbers[..] {
        [n_p, n_q, k]
            if text.split(',').count() == 3 && (1..=1 << 20).contains(&n_p) && (1..=1 << 24).contains(&n_q) =>
        {
            if (1..=n_q).contains(&k) {
                Ok((Shape { n_p, n_r: n_p, n_q }, k))
            } else {
                Err(format!("expected k from 1 to n_q, found {k}"))
            }
        }
        _ => Err("expected n_p up to 2^20, n_q up to 2^24 and k with commas between them".to_owned()),
    }
}

const EXAMPLES: &str = "\
Examples:
  sdlab device
  sdlab device check
  sdlab device check products --seed 7
  sdlab device time --shape 4096,131072,64 --select-by bf16

A check whose numbers deviate ends with status 1. Libraries are found where the loader looks: with those of PyTorch, set LD_LIBRARY_PATH to the
folders nvidia/*/lib beside it.";

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let request = |error: String| CliError::Request(format!("device: {error}"));
    let driver = Driver::open(arguments.gpu).map_err(|error| request(error.to_string()))?;
    let room = driver.room().map_err(|error| request(error.to_string()))?;
    let facts = driver.facts().clone();
    match &arguments.action {
        None => describe(&facts, room, session),
        Some(Action::Check(of)) => check(&driver, &facts, of, session),
        Some(Action::Time(of)) => {
            let settings = timing::Settings {
                shape: of.shape.0,
                k: of.shape.1,
                batch: of.batch as usize,
                moments: if of.bf16_moments { Moments::Bf16 } else { Moments::F32 },
                select_by: [SelectBy::Tf32, SelectBy::Bf16]
                    .into_iter()
                    .find(|by| by.name() == of.select_by)
                    .unwrap_or_default(),
                gather: if of.gather == Gather::Bf16.name() { Gather::Bf16 } else { Gather::F32 },
                options: Options { encoder: of.screen.encoder(), graphs: !of.no_graphs, ..Options::default() },
                before: of.before,
                times: of.times as usize,
                steps: of.steps.into(),
            };
            let timed = timing::time(&driver, &settings).map_err(request)?;
            show_times(&facts, &settings, &timed, session)
        }
    }
}

fn version((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn of_device(facts: &Facts) -> Value {
    let versions = facts.versions;
    json!({
        "name": facts.name,
        "architecture": format!("{}.{}", facts.architecture.0, facts.architecture.1),
        "driver": version(versions.driver),
        "nvrtc": version(versions.compiler),
        "cublaslt": version(versions.products),
    })
}

fn describe(facts: &Facts, room: Room, session: &Session) -> Result<Answer, CliError> {
    let mut table = Table::new("a device", "device", [("what", Kind::Text), ("value", Kind::Text)]);
    let versions = facts.versions;
    for (what, value) in [
        ("device", facts.name.clone()),
        ("architecture", format!("{}.{}", facts.architecture.0, facts.architecture.1)),
        ("CUDA that the driver serves", version(versions.driver)),
        ("compiler of kernels", version(versions.compiler)),
        ("cuBLASLt", version(versions.products)),
        ("bytes of memory", room.total.to_string()),
        ("bytes that are free", room.free.to_string()),
    ] {
        table.push([Cell::from(what), Cell::from(value)]);
    }
    session.output.table(&table)?;
    session.output.json(&json!({
        "device": of_device(facts),
        "memory": {"free": room.free, "total": room.total},
    }))?;
    Ok(Answer::Yes)
}

fn check(driver: &Driver, facts: &Facts, of: &Check, session: &Session) -> Result<Answer, CliError> {
    let settings = Settings { seed: session.seed, every: of.every as usize, small: of.small };
    let mut all = Vec::new();
    let mut deviates = false;
    for check in CHECKS.iter().filter(|check| of.checks.is_empty() || of.checks.iter().any(|name| name == check.name)) {
        let Outcome { found, deviates: wrong, seconds } = check.run(driver, settings);
        let said = wrong.as_deref().map_or_else(|| "agrees".to_owned(), |wrong| format!("deviates: {wrong}"));
        session.output.text(&format!("{}: {}: {said} ({seconds:.1} s)", check.name, check.what))?;
        for found in &found {
            session.output.text(&format!("  {}: {:.2e} (at most {:e})", found.what, found.value, found.bound))?;
        }
        deviates |= wrong.is_some();
        let numbers = found.iter().map(|of| json!({"what": of.what, "value": of.value, "bound": of.bound}));
        all.push(json!({
            "check": check.name,
            "what": check.what,
            "deviates": wrong,
            "found": numbers.collect::<Vec<_>>(),
            "seconds": seconds,
        }));
        // What has failed once gives nothing more.
        if deviates {
            break;
        }
    }
    session.output.json(&json!({"device": of_device(facts), "seed": settings.seed, "checks": all}))?;
    Ok(if deviates { Answer::No } else { Answer::Yes })
}

/// The middle of some numbers, of which there is at least one.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { f64::midpoint(sorted[middle - 1], sorted[middle]) } else { sorted[middle] }
}

fn show_times(
    facts: &Facts,
    settings: &timing::Settings,
    timed: &Timed,
    session: &Session,
) -> Result<Answer, CliError> {
    let step = median(&timed.steps);
    let all: f64 = timed.kernels.iter().map(|kernel| kernel.seconds).sum();
    let kinds = [("operation", Kind::Text), ("kernel", Kind::Text), ("calls", Kind::Number)];
    let more = [("ms a step", Kind::Number), ("share", Kind::Number)];
    let mut table = Table::new("kernels of a step", "kernels", kinds.into_iter().chain(more));
    let mut kernels: Vec<&Time> = timed.kernels.iter().collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    for kernel in &kernels {
        let (calls, milliseconds) = (kernel.calls.to_string(), format!("{:.4}", kernel.seconds * 1e3));
        let share = format!("{:.1} %", 100.0 * kernel.seconds / all.max(f64::MIN_POSITIVE));
        let cells = [kernel.phase, kernel.name.as_str(), &calls, &milliseconds, &share].map(str::to_owned);
        table.push(cells.map(Cell::from));
    }
    let (output, shape) = (&session.output, settings.shape);
    let screen = format!("{:?}", settings.options.encoder).to_lowercase();
    let by = match settings.select_by {
        SelectBy::Score => format!("score, screen in {screen}"),
        by => format!("product in {}", by.name()),
    };
    output.table(&table)?;
    let (least, most) = timed.steps.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), t| (a.min(*t), b.max(*t)));
    output.text(&format!(
        "\n{}: a step of TopK, n_p = {}, n_q = {}, k = {}, batch {}, selection by {by}, gathers in {}, takes {:.4} ms (median; {:.4} to {:.4}), its kernels one by one {:.4} ms; {:.0} samples/s; {} bytes of the device, {} were said before",
        facts.name,
        shape.n_p,
        shape.n_q,
        settings.k,
        settings.batch,
        settings.gather.name(),
        step * 1e3,
        least * 1e3,
        most * 1e3,
        all * 1e3,
        settings.batch as f64 / step,
        timed.taken,
        timed.said,
    ))?;
    let of_kernel = |kernel: &&Time| json!({"operation": kernel.phase, "kernel": kernel.name, "calls": kernel.calls, "seconds": kernel.seconds});
    output.json(&json!({
        "device": of_device(facts),
        "n_p": shape.n_p,
        "n_q": shape.n_q,
        "k": settings.k,
        "batch": settings.batch,
        "select_by": settings.select_by.name(),
        "screen": (settings.select_by == SelectBy::Score).then_some(screen),
        "gather": settings.gather.name(),
        "graphs": settings.options.graphs,
        "bf16_moments": settings.moments == Moments::Bf16,
        "steps_before": settings.before,
        "step_seconds": {"median": step, "least": least, "most": most, "all": timed.steps},
        "samples_per_second": settings.batch as f64 / step,
        "kernels": kernels.iter().map(of_kernel).collect::<Vec<_>>(),
        "memory": {"taken": timed.taken, "said": timed.said},
        "loss": timed.last[0],
        "l0": timed.last[1],
    }))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_three_numbers_of_which_the_last_is_at_most_the_second() {
        let (found, k) = shape("768,16000,64").unwrap();
        assert_eq!((found, k), (Shape { n_p: 768, n_r: 768, n_q: 16000 }, 64));
        for wrong in ["", "768", "768,16000", "768,16000,64,1", "0,5,1", "5,4,5", "5,4,0", "5,x,1", "5,99999999,1"] {
            assert!(shape(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!([median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0]), median(&[7.0])], [2.0, 2.5, 7.0]);
    }
}
