//! Dense arrays that lie in mapped files, and the numbers they hold.

use super::FileError;
use super::map::Mapped;
use half::{bf16, f16};
use safetensors::Dtype;
use std::path::Path;
use std::sync::Arc;

/// The kind of number of an array, always little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// IEEE binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
    /// One byte, 0 or 1.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
}

impl Element {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// True for floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// The kind that a safetensors file names, where it is one of these.
    pub fn of_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::Bf16,
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            Dtype::BOOL => Self::Bool,
            Dtype::I8 => Self::I8,
            Dtype::I16 => Self::I16,
            Dtype::I32 => Self::I32,
            Dtype::I64 => Self::I64,
            Dtype::U8 => Self::U8,
            Dtype::U16 => Self::U16,
            Dtype::U32 => Self::U32,
            Dtype::U64 => Self::U64,
            _ => return None,
        })
    }

    /// The number in these bytes, of which there must be [`Element::size`]. Halves are exact in f32, doubles are rounded.
    fn float(self, bytes: &[u8]) -> f32 {
        match self {
            Self::F16 => f16::from_le_bytes(sized(bytes)).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(sized(bytes)).to_f32(),
            Self::F32 => f32::from_le_bytes(sized(bytes)),
            Self::F64 => f64::from_le_bytes(sized(bytes)) as f32,
            _ => self.integer(bytes) as f32,
        }
    }

    /// The integer in these bytes; 0 for kinds that are not integers.
    fn integer(self, bytes: &[u8]) -> i128 {
        match self {
            Self::Bool | Self::U8 => bytes[0].into(),
            Self::I8 => i8::from_le_bytes(sized(bytes)).into(),
            Self::I16 => i16::from_le_bytes(sized(bytes)).into(),
            Self::I32 => i32::from_le_bytes(sized(bytes)).into(),
            Self::I64 => i64::from_le_bytes(sized(bytes)).into(),
            Self::U16 => u16::from_le_bytes(sized(bytes)).into(),
            Self::U32 => u32::from_le_bytes(sized(bytes)).into(),
            Self::U64 => u64::from_le_bytes(sized(bytes)).into(),
            Self::F16 | Self::Bf16 | Self::F32 | Self::F64 => 0,
        }
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("callers cut the bytes to the size of the number")
}

/// A dense array in a mapped file.
#[derive(Debug, Clone)]
pub struct Array {
    file: Arc<Mapped>,
    name: String,
    start: usize,
    element: Element,
    shape: Vec<usize>,
    fortran: bool,
}

impl Array {
    /// The array of these bytes of the file, which must hold the product of `shape` numbers. `name` stands in errors. With `fortran` the first
    /// axis runs fastest, else the last.
    ///
    /// # Errors
    /// The bytes are not as many as the shape needs.
    pub fn new(
        file: Arc<Mapped>,
        name: &str,
        bytes: std::ops::Range<usize>,
        element: Element,
        shape: Vec<usize>,
        fortran: bool,
    ) -> Result<Self, FileError> {
        let needed = shape.iter().try_fold(element.size(), |size, &n| size.checked_mul(n));
        let held = bytes.end.saturating_sub(bytes.start);
        let Some(needed) = needed else {
            let expected = format!("a shape of less than 2^{} bytes", usize::BITS);
            return Err(FileError::content(file.path(), name, expected, format!("{shape:?} of {element:?}")));
        };
        if needed != held || bytes.end > file.len() {
            let expected = format!("{needed} bytes for the shape {shape:?} of {element:?}");
            return Err(FileError::content(file.path(), name, expected, format!("{held} bytes")));
        }
        Ok(Self { file, name: name.to_owned(), start: bytes.start, element, shape, fortran })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its name in errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of its numbers.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Lengths of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True without any number.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An error about this array.
    pub fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> FileError {
        FileError::content(self.path(), &self.name, expected, found)
    }

    /// Row i in f32: all numbers whose first index is i, the last axis running fastest.
    ///
    /// # Panics
    /// If there is no row i, or `out` has another length than a row; both are mistakes of the program.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        let rows = self.shape.first().copied().unwrap_or(1);
        assert!(i < rows && out.len() * rows == self.len(), "a row of the array and room for it");
        let size = self.element.size();
        if self.fortran && self.shape.len() > 1 {
            for (at, x) in (0..out.len()).zip(out) {
                let start = self.start + self.position(i, at) * size;
                *x = self.element.float(&self.file[start..start + size]);
            }
        } else {
            let start = self.start + i * out.len() * size;
            let bytes = &self.file[start..start + out.len() * size];
            // The common kind has a loop of its own, so that rows are read at the speed of memory.
            if self.element == Element::F32 {
                bytes.chunks_exact(4).zip(out).for_each(|(bytes, x)| *x = f32::from_le_bytes(sized(bytes)));
            } else {
                bytes.chunks_exact(size).zip(out).for_each(|(bytes, x)| *x = self.element.float(bytes));
            }
        }
    }

    /// Where in Fortran order the number stands that is at `at` of row i in C order.
    fn position(&self, i: usize, mut at: usize) -> usize {
        let mut index = vec![i; self.shape.len()];
        for (index, n) in index.iter_mut().zip(&self.shape).skip(1).rev() {
            *index = at % n;
            at /= n;
        }
        index.iter().zip(&self.shape).rev().fold(0, |position, (index, n)| position * n + index)
    }

    /// All numbers in f32, in C order.
    pub fn to_f32(&self) -> Vec<f32> {
        let rows = self.shape.first().copied().unwrap_or(1);
        let mut all = vec![0.0; self.len()];
        if !all.is_empty() {
            all.chunks_exact_mut(self.len() / rows).enumerate().for_each(|(i, row)| self.row(i, row));
        }
        all
    }

    /// Number i of an array of integers, which has one axis.
    ///
    /// # Panics
    /// If there is no number i.
    pub fn integer(&self, i: usize) -> i128 {
        let start = self.start + i * self.element.size();
        self.element.integer(&self.file[start..start + self.element.size()])
    }
}
