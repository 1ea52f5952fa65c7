//! Numbers as bytes.
#![allow(unsafe_code)]

/// Numbers for which every pattern of bits is a value and which have no padding.
///
/// # Safety
/// Only for such types.
pub unsafe trait Plain: Copy {}

// SAFETY: a primitive number.
unsafe impl Plain for u16 {}
// SAFETY: a primitive number.
unsafe impl Plain for u32 {}
// SAFETY: a primitive number.
unsafe impl Plain for u64 {}
// SAFETY: a primitive number.
unsafe impl Plain for f32 {}
// SAFETY: a primitive number.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_have_the_same_memory() {
        let mut numbers = [1.0_f32, -0.0, f32::NAN];
        assert_eq!(bytes(&numbers), numbers.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>());
        bytes_mut(&mut numbers)[..4].copy_from_slice(&2.5_f32.to_ne_bytes());
        assert_eq!((numbers[0], bytes::<u64>(&[]).len()), (2.5, 0));
    }
}
