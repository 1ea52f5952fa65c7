//! Faults that tests plant, to see that the claims notice them. Without `cfg(test)` nothing here exists but constants `false`.

/// A place where the program can be made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// L̃ leaves out the last feature, in exact and in f64 arithmetic.
    Loss,
    /// ∇_W takes r_d for the residual r_d − V z_d, in exact and in f64 arithmetic.
    Gradient,
    /// A neuron fires at z ≥ c in place of z > c, and its cell is closed.
    Cell,
    /// The class of a stationary row is decided by the smallest eigenvalue, and curvature has the wrong sign.
    Class,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// True while a test of this thread has planted this fault.
#[cfg(test)]
pub(crate) fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Never outside tests.
#[cfg(not(test))]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

/// True while a test of this thread has planted any fault: a loop that ends because the mathematics is right may not end.
#[cfg(test)]
pub(crate) fn any() -> bool {
    PLANTED.get().is_some()
}

/// Never outside tests.
#[cfg(not(test))]
pub(crate) const fn any() -> bool {
    false
}

/// Runs `f` in this thread with the fault planted, or without any.
#[cfg(test)]
pub(crate) fn with<T>(fault: Option<Fault>, f: impl FnOnce() -> T) -> T {
    struct Remove;
    impl Drop for Remove {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    let _remove = Remove;
    PLANTED.set(fault);
    f()
}
