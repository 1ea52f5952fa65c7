//! Ctrl-C: ends the program at once, except while a command wants to save its state first.

use std::sync::atomic::{AtomicBool, Ordering};

/// A command saves its state when it is interrupted.
static DEFERRED: AtomicBool = AtomicBool::new(false);
/// The user has asked.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status of an interrupted program.
pub const STATUS: u8 = 130;

/// What the signal does. The second one ends the program whatever it is doing.
pub fn handle() {
    if DEFERRED.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    crate::io::remove_pending();
    std::process::exit(STATUS.into());
}

/// While this lives, the first Ctrl-C only sets a flag.
#[derive(Debug)]
pub struct Deferred;

impl Deferred {
    /// From now on.
    pub fn begin() -> Self {
        DEFERRED.store(true, Ordering::SeqCst);
        Self
    }

    /// True once the user has asked.
    pub fn asked(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        DEFERRED.store(false, Ordering::SeqCst);
    }
}
