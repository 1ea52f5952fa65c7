//! Panics and errors of libraries, as errors of one line.

use crate::backend::cuda::device::DeviceError;
use cudarc::driver::result as cu;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// The error of a call.
pub fn failed(what: &str) -> impl Fn(cu::DriverError) -> DeviceError + '_ {
    move |error| DeviceError::Failed { what: what.to_owned(), reason: one_line(&format!("{error:?}")) }
}

/// A text without breaks of lines.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

thread_local! {
    /// True within `quietly`, whose panics become errors and are not printed.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

static QUIET: Once = Once::new();

/// Makes a call; what a panic of it says, in one line, in place of its result. Nothing that a panic leaves behind is used again.
pub fn quietly<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    QUIET.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                before(panic);
            }
        }));
    });
    let outer = IS_GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(outer);
    result.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        one_line(said.unwrap_or_default())
    })
}

/// cudarc panics where a library lacks a function that it looks for.
pub fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    quietly(call).unwrap_or_else(|said| {
        let reason = format!("a function of the library is missing ({said}): it is too old, install a newer one");
        Err(DeviceError::Failed { what: what.to_owned(), reason })
    })
}

/// Whether a library was found.
pub fn present(found: bool, what: &'static str, remedy: &'static str) -> Result<(), DeviceError> {
    if found { Ok(()) } else { Err(DeviceError::Missing { what, remedy }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_library_becomes_one_line_that_says_what_to_do() {
        let text = guarded::<()>("a library", || panic!("no such\nfunction")).unwrap_err().to_string();
        assert!(text.contains("(no such function)") && text.contains("install a newer one"), "{text}");
        assert!(!IS_GUARDED.get(), "panics of others are printed again");
        assert!(guarded("a library", || Ok(IS_GUARDED.get())).unwrap(), "and within it they are not");
    }
}
