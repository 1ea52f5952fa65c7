//! How long the ledger takes: seconds of each claim, of all of them on every core, and the largest memory that was held.
//!
//! `cargo bench --bench ledger`, with `-- --quick` for the whole ledger only. The bars are 60 s on 2 cores and 1 GiB.

use sdlab::claims::{Claim, Context, Outcome, REGISTRY, ledger};
use std::num::NonZero;
use std::time::Instant;

const BAR_SECONDS: f64 = 60.0;
const BAR_MIB: u64 = 1024;

/// Largest resident memory of this process so far, where the system tells.
fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn word(met: bool) -> &'static str {
    if met { "within" } else { "MISSED" }
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let claims: Vec<&'static Claim> = REGISTRY.iter().collect();
    let each = |claim: &'static Claim| -> Outcome { (claim.run)(&Context::default()) };
    if !quick {
        println!("{:<24} {:>10} {:>10} {:>14}", "claim", "verdict", "seconds", "peak so far");
        for (claim, finished) in claims.iter().zip(ledger::run(&claims, NonZero::<usize>::MIN, each, |_| ())) {
            let memory = peak_mib().map_or("–".into(), |mib| format!("{mib} MiB"));
            println!(
                "{:<24} {:>10} {:>10.2} {memory:>14}",
                claim.id,
                finished.outcome.verdict.word(),
                finished.seconds
            );
        }
    }
    let start = Instant::now();
    ledger::run(&claims, ledger::cores(), each, |_| ());
    let seconds = start.elapsed().as_secs_f64();
    let bar = word(seconds <= BAR_SECONDS);
    println!("{} claims on {} cores: {seconds:.1} s, {bar} the bar of {BAR_SECONDS} s", claims.len(), ledger::cores());
    if let Some(mib) = peak_mib() {
        println!("largest memory: {mib} MiB, {} the bar of {BAR_MIB} MiB", word(mib <= BAR_MIB));
    }
}
