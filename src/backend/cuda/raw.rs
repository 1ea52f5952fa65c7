//! The driver.
#![allow(unsafe_code)]

/// Numbers for which every pattern of bits is a value and which have no padding.
///
/// # Safety
/// Only for such types.
pub unsafe trait Plain: Copy {}

// SAFETY: primitive numbers.
unsafe impl Plain for u16 {}
// SAFETY: primitive numbers.
unsafe impl Plain for u32 {}
// SAFETY: primitive numbers.
unsafe impl Plain for u64 {}
// SAFETY: primitive numbers.
unsafe impl Plain for f32 {}
// SAFETY: primitive numbers.
unsafe impl Plain for f64 {}

/// Numbers as bytes.
pub fn bytes<T: Plain>(numbers: &[T]) -> &[u8] {
    // SAFETY: the memory of plain numbers is initialised bytes, and a byte needs no alignment.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// Numbers as bytes, to be overwritten.
pub fn bytes_mut<T: Plain>(numbers: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes`, and any bytes are plain numbers.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}

/// A CUDA device.
pub struct Driver;
use super::device::*;
impl Device for Driver {
    type Memory = ();
    fn describe(&self) -> String { String::new() }
    fn width(&self) -> u32 { 256 }
    fn allocate(&self, _: usize) -> Result<(), DeviceError> { Ok(()) }
    fn upload(&self, _: &[u8], _: &()) -> Result<(), DeviceError> { Ok(()) }
    fn download(&self, _: &(), _: &mut [u8]) -> Result<(), DeviceError> { Ok(()) }
    fn fill(&self, _: &(), _: u8, _: usize) -> Result<(), DeviceError> { Ok(()) }
    fn launch(&self, _: &str, _: [u32; 3], _: &[Argument<'_, ()>]) -> Result<(), DeviceError> { Ok(()) }
    fn product(&self, _: &Product<'_, ()>) -> Result<(), DeviceError> { Ok(()) }
}
