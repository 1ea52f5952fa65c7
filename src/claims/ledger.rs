//! Runs many claims, each on one thread, and keeps their order.

use super::{Claim, Outcome};
use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What a claim's run gave, and how long it took. The time belongs on a screen or in a log, never in a file that is
/// compared.
#[derive(Debug)]
pub struct Finished {
    /// What came out.
    pub outcome: Outcome,
    /// Wall-clock seconds.
    pub seconds: f64,
}

/// How far a ledger is.
#[derive(Debug)]
pub struct State<'a> {
    /// Claims that are being run, in the order in which they began.
    pub running: &'a [&'static str],
    /// Number of claims that have been run.
    pub done: usize,
}

/// At least this often `watch` is called.
const TICK: Duration = Duration::from_millis(200);

enum Event {
    Begun(usize),
    Done(usize, Box<Finished>),
}

/// Runs `each` on every claim, `threads` at a time, and returns what it gave in the order of `claims`.
///
/// `watch` is called on this thread whenever a claim begins or ends, and every 0.2 s between. The threads are our own and not
/// rayon's: a thread of rayon that waits inside one claim may take up another, and the times would mix.
pub fn run(
    claims: &[&'static Claim],
    threads: NonZero<usize>,
    each: impl Fn(&'static Claim) -> Outcome + Sync,
    mut watch: impl FnMut(State),
) -> Vec<Finished> {
    let next = AtomicUsize::new(0);
    let (sender, events) = mpsc::channel();
    let mut finished: Vec<Option<Finished>> = claims.iter().map(|_| None).collect();
    thread::scope(|scope| {
        for _ in 0..threads.get().min(claims.len()) {
            let (sender, next, each) = (sender.clone(), &next, &each);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(claim) = claims.get(index) else { return };
                    // The receiver lives as long as this scope, so that sending cannot fail.
                    let _ = sender.send(Event::Begun(index));
                    let _ = sender.send(Event::Done(index, Box::new(one(claim, each))));
                }
            });
        }
        drop(sender);
        let (mut running, mut done) = (Vec::new(), 0);
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Begun(index)) => running.push(claims[index].id),
                Ok(Event::Done(index, result)) => {
                    running.retain(|id| *id != claims[index].id);
                    done += 1;
                    finished[index] = Some(*result);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            watch(State { running: &running, done });
        }
    });
    finished.into_iter().map(|result| result.expect("every claim was run")).collect()
}

/// Threads that this machine runs at once.
pub fn cores() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// Runs one claim. A panic in it is a bug; the claim is then undecided, and the others go on.
fn one(claim: &'static Claim, each: impl Fn(&'static Claim) -> Outcome) -> Finished {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| each(claim))).unwrap_or_else(|payload| {
        Outcome::undecided(format!("its computation stopped with an error, a bug: {}", message(payload.as_ref())))
    });
    Finished { outcome, seconds: begun.elapsed().as_secs_f64() }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{Context, Verdict, ex_3_5};

    const fn claim(id: &'static str, run: fn(&Context) -> Outcome) -> Claim {
        Claim { id, run, ..ex_3_5::CLAIM }
    }

    fn slow(_: &Context) -> Outcome {
        thread::sleep(Duration::from_millis(30));
        Outcome::new(Verdict::Holds, Vec::new())
    }

    fn quick(context: &Context) -> Outcome {
        Outcome::undecided(format!("seed {}", context.seed))
    }

    fn broken(_: &Context) -> Outcome {
        panic!("planted by a test")
    }

    static CLAIMS: [Claim; 4] =
        [claim("slow", slow), claim("quick", quick), claim("broken", broken), claim("last", slow)];

    #[test]
    fn outcomes_keep_the_order_of_the_claims_and_a_panic_stops_one_claim_only() {
        for threads in 1..=5 {
            let claims: Vec<&'static Claim> = CLAIMS.iter().collect();
            let mut most = 0;
            let each = |claim: &'static Claim| (claim.run)(&Context { seed: 7 });
            let finished = run(&claims, NonZero::new(threads).unwrap(), each, |state| {
                most = most.max(state.running.len());
                assert!(state.done + state.running.len() <= claims.len());
            });
            let verdicts: Vec<Verdict> = finished.into_iter().map(|f| f.outcome.verdict).collect();
            assert_eq!([&verdicts[0], &verdicts[3]], [&Verdict::Holds; 2]);
            assert_eq!(verdicts[1], Verdict::Undecided("seed 7".into()));
            assert!(matches!(&verdicts[2], Verdict::Undecided(why) if why.ends_with("planted by a test")));
            assert!((1..=threads).contains(&most));
        }
    }

    #[test]
    fn no_claims_are_run_at_once() {
        assert!(run(&[], cores(), |claim| (claim.run)(&Context::default()), |_| ()).is_empty());
    }
}
