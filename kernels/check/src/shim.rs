//! A device that is none: kernels run on the processor, the threads of a block in an order that a seed chooses.
#![allow(unsafe_code)]

use crate::backend::cuda::device::{Argument, ByColumns, Device, DeviceError, Precision, Product};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int, c_void};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

unsafe extern "C" {
    fn sdlab_shim_launch(
        name: *const c_char,
        grid: *const u32,
        width: u32,
        arguments: *mut *mut c_void,
        seed: u64,
    ) -> c_int;
    fn sdlab_shim_allocate(bytes: usize) -> *mut c_void;
    fn sdlab_shim_free(at: *mut c_void);
}

/// The stand-in. Every launch has a schedule of its own, counted from the first seed.
pub struct Shim {
    width: u32,
    seed: Cell<u64>,
    /// Before the names of kernels: a planted fault.
    prefix: &'static str,
    left: Rc<Cell<usize>>,
}

static LAUNCHED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The kernels that have run in this process.
pub fn launched() -> BTreeSet<String> {
    LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Memory that the kernels see.
pub struct Memory {
    at: *mut c_void,
    bytes: usize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it came from `sdlab_shim_allocate` and is freed once.
        unsafe { sdlab_shim_free(self.at) }
    }
}

impl Memory {
    fn as_slice(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated and filled with zeros; kernels run only within `launch`, which returns before this is read.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.bytes) }
    }

    fn floats(&self) -> Vec<f32> {
        self.as_slice().chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    fn halves(&self) -> Vec<f32> {
        let word = |b: &[u8]| f32::from_bits(u32::from(u16::from_ne_bytes([b[0], b[1]])) << 16);
        self.as_slice().chunks_exact(2).map(word).collect()
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.bytes, "a copy within the memory");
        // SAFETY: within the allocation, as just checked; the device is used by one thread at a time, since its memory is not `Sync`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.cast::<u8>().add(offset), bytes.len()) }
    }
}

impl Shim {
    /// Blocks of so many threads, schedules from this seed on.
    pub fn new(width: u32, seed: u64) -> Self {
        Self { width, seed: Cell::new(seed), prefix: "", left: Rc::new(Cell::new(usize::MAX)) }
    }

    /// Bytes that can still be allocated, to be changed from outside; what is freed does not come back.
    pub fn left(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.left)
    }

    /// The kernels with this fault, where it touches them.
    pub fn with_fault(width: u32, seed: u64, prefix: &'static str) -> Self {
        Self { prefix, ..Self::new(width, seed) }
    }
}

/// What tf32 keeps of a number where it cuts off.
fn tf32(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & !0x1FFF)
}

impl Device for Shim {
    type Memory = Memory;
    type Staging = ();

    fn describe(&self) -> String {
        "stand-in".to_owned()
    }

    fn width(&self) -> u32 {
        self.width
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, DeviceError> {
        let Some(left) = self.left.get().checked_sub(bytes) else { return Err(DeviceError::OutOfMemory { bytes }) };
        self.left.set(left);
        // SAFETY: any size may be asked for.
        let at = unsafe { sdlab_shim_allocate(bytes) };
        if at.is_null() { Err(DeviceError::OutOfMemory { bytes }) } else { Ok(Memory { at, bytes }) }
    }

    fn upload(&self, bytes: &[u8], to: &Memory) -> Result<(), DeviceError> {
        to.write(0, bytes);
        Ok(())
    }

    fn download(&self, from: &Memory, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.copy_from_slice(&from.as_slice()[..bytes.len()]);
        Ok(())
    }

    fn staging(&self, _bytes: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn stage(&self, (): &(), pieces: &[(&[u8], &Memory)]) -> Result<(), DeviceError> {
        pieces.iter().for_each(|(bytes, to)| to.write(0, bytes));
        Ok(())
    }

    fn left(&self, (): &()) -> Result<(), DeviceError> {
        Ok(())
    }

    fn fill(&self, memory: &Memory, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        memory.write(0, &vec![byte; bytes]);
        Ok(())
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument<'_, Memory>]) -> Result<(), DeviceError> {
        let seed = self.seed.get();
        self.seed.set(seed + 1);
        let mut words: Vec<u64> = arguments.iter().map(|argument| argument.word(|memory| memory.at as u64)).collect();
        let mut pointers: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let mut call = |name: String| {
            let name = CString::new(name).unwrap_or_default();
            // SAFETY: the arguments are those of the kernel's signature, which the checked layer has compared, with memory as long as it needs.
            unsafe { sdlab_shim_launch(name.as_ptr(), grid.as_ptr(), self.width, pointers.as_mut_ptr(), seed) }
        };
        let mut status = call(format!("{}{kernel}", self.prefix));
        if status == 1 && !self.prefix.is_empty() {
            status = call(kernel.to_owned());
        }
        let reason = match status {
            0 => {
                LAUNCHED.lock().unwrap_or_else(PoisonError::into_inner).insert(kernel.to_owned());
                return Ok(());
            }
            1 => "no such kernel",
            2 => "threads wait for others that never come",
            _ => "no such shape of a block",
        };
        Err(DeviceError::Failed { what: kernel.to_owned(), reason: reason.to_owned() })
    }

    fn product(&self, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        let [m, n, k] = product.sizes;
        let [of_b, of_a, of_c] = product.by_columns();
        // What a library refuses as well.
        if [of_b, of_a, of_c].iter().any(|of| of.rows == 0 || of.columns == 0 || of.stride < of.rows) {
            let reason = format!("no layouts: {of_b:?}, {of_a:?}, {of_c:?}");
            return Err(DeviceError::Failed { what: "product".to_owned(), reason });
        }
        let read = |memory: &Memory| -> Vec<f32> {
            match product.precision {
                Precision::F32 => memory.floats(),
                Precision::Tf32 => memory.floats().into_iter().map(tf32).collect(),
                Precision::Bf16 => memory.halves(),
            }
        };
        let (a, b) = (read(product.a.0), read(product.b.0));
        // The number of an operand that takes part in row r and column c.
        let place =
            |of: ByColumns, r: usize, c: usize| if of.transposed { c + r * of.stride } else { r + c * of.stride };
        let mut c = vec![0.0_f32; m * n];
        for column in 0..of_c.columns {
            for row in 0..of_c.rows {
                let term = |q: usize| b[place(of_b, row, q)] * a[place(of_a, q, column)];
                c[place(of_c, row, column)] = (0..k).map(term).sum();
            }
        }
        product.c.write(0, &c.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>());
        Ok(())
    }
}
