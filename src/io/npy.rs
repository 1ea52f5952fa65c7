//! The NPY array format, version 1.0 (NumPy Enhancement Proposal 1).
//!
//! Written by hand, since the format is one line of text before the numbers, and the crates for it bring a grammar of Python with them.

/// The bytes before the numbers of a C-ordered little-endian f32 array.
pub fn header(shape: &[u64]) -> Vec<u8> {
    let mut sizes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    if shape.len() > 1 {
        sizes.truncate(sizes.len() - 2);
    }
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
    let padding = 63 - (10 + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("a shape of a few numbers is short");
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_begins_at_a_multiple_of_64_bytes_after_a_line_of_python() {
        for shape in [vec![], vec![3], vec![100_000, 768], vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
            let bytes = header(&shape);
            assert_eq!(bytes.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), bytes.len() - 10);
            assert_eq!(bytes.last(), Some(&b'\n'));
        }
        let text = String::from_utf8_lossy(&header(&[3])).into_owned();
        assert!(text.contains("'shape': (3, ), }"), "{text}");
        assert!(String::from_utf8_lossy(&header(&[100, 7])).contains("'shape': (100, 7), }"));
    }
}
