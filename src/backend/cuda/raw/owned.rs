//! Handles of libraries.
#![allow(unsafe_code)]

/// A handle that is destroyed when dropped.
pub struct Owned<T: Copy, E>(pub T, pub unsafe fn(T) -> Result<(), E>);

impl<T: Copy, E> Drop for Owned<T, E> {
    fn drop(&mut self) {
        // SAFETY: it was created once and is destroyed once.
        let _ = unsafe { (self.1)(self.0) };
    }
}
