//! The raw layer: the driver, the compiler of kernels and cuBLASLt, found when the program runs. With [`nccl`](super::nccl) it holds all unsafe code
//! of the backend.
//!
//! | part | module |
//! |---|---|
//! | kernels as machine code | [`compiler`] |
//! | streams, memory, copies | `memory` |
//! | many calls as one graph | `graphs` |
//! | dense products | `products` |
//!
//! None of it has run on a GPU so far. `kernels/check` runs it on stand-ins for the three libraries.
//!
//! Work is asked for on one stream; copies of staged samples are on another one, and events order the two. A half of a training step is recorded
//! and launched as one graph, whose numbers are replaced the next time.
#![allow(unsafe_code)]

pub mod compiler;
mod graphs;
pub(super) mod guard;
pub(super) mod memory;
mod owned;
pub mod plain;
mod products;

pub use compiler::{build, options};
pub use memory::{Memory, Staging};
pub use plain::{Plain, bytes, bytes_mut};

use super::device::{Argument, Device, DeviceError, Product};
use cudarc::cublaslt::sys as lt_sys;
use cudarc::driver::{result as cu, sys as cu_sys};
use graphs::Graphs;
use guard::{failed, guarded, one_line, present};
use memory::{Shared, allocate};
use products::Products;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::rc::Rc;

/// Threads of a block.
const WIDTH: u32 = 256;
/// The least version of the driver: that of CUDA 12.0.
const LEAST_DRIVER: i32 = 12_000;

/// A CUDA device with the kernels that were built for it.
pub struct Driver {
    // Before what they were launched on.
    graphs: Graphs,
    shared: Rc<Shared>,
    kernels: BTreeMap<String, cu_sys::CUfunction>,
    products: Products,
    name: String,
}

/// Asks for the three libraries, without touching a device.
fn libraries() -> Result<(), DeviceError> {
    // SAFETY: these only try to open the libraries.
    let (driver, products) = unsafe { (cu_sys::is_culib_present(), lt_sys::is_culib_present()) };
    present(driver, "the CUDA driver (libcuda)", "an NVIDIA driver for CUDA 12.0 or later")?;
    compiler::compiler()?;
    present(products, "cuBLASLt (libcublasLt)", "the CUDA toolkit 12.0 or later, or its cublas library")
}

impl Driver {
    /// The device of this number, with all kernels built for it.
    ///
    /// # Errors
    /// A library is missing or too old, there is no such device, or the kernels cannot be built.
    pub fn open(number: i32) -> Result<Self, DeviceError> {
        libraries()?;
        guarded("the CUDA driver", || Self::start(number))
    }

    /// What its memory lives on.
    pub(super) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared)
    }

    fn start(number: i32) -> Result<Self, DeviceError> {
        let none = |error: cu::DriverError| match error.0 {
            cu_sys::CUresult::CUDA_ERROR_NO_DEVICE | cu_sys::CUresult::CUDA_ERROR_INVALID_DEVICE => {
                DeviceError::NoDevice { reason: one_line(&format!("{error:?}")) }
            }
            _ => failed("the CUDA driver")(error),
        };
        cu::init().map_err(none)?;
        let mut version = 0;
        // SAFETY: the driver writes one number.
        unsafe { cu_sys::cuDriverGetVersion(&mut version) }.result().map_err(none)?;
        if version < LEAST_DRIVER {
            let found = format!(
                "it is for CUDA {}.{}, 12.0 is needed: install a newer one",
                version / 1000,
                version % 1000 / 10
            );
            return Err(DeviceError::Failed { what: "the CUDA driver".to_owned(), reason: found });
        }
        let device = cu::device::get(number).map_err(none)?;
        let name = cu::device::get_name(device).map_err(none)?;
        // SAFETY: the device exists; its primary context is retained until `Shared` is dropped, and current in this thread.
        let context = unsafe { cu::primary_ctx::retain(device) }.map_err(none)?;
        // SAFETY: as above.
        unsafe { cu::ctx::set_current(context) }.map_err(none)?;
        let shared = Rc::new(Shared::new(device, context).map_err(none)?);
        let kernels = compiler::load(device)?;
        let products = Products::new(&shared)?;
        Ok(Self { graphs: Graphs::default(), shared, kernels, products, name })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Graphs and memory are in use until then.
        self.shared.finish();
    }
}

impl Device for Driver {
    type Memory = Memory;
    type Staging = Staging;

    fn describe(&self) -> String {
        self.name.clone()
    }

    fn width(&self) -> u32 {
        WIDTH
    }

    fn allocate(&self, bytes: usize) -> Result<Memory, DeviceError> {
        guarded("allocation", || allocate(&self.shared, bytes))
    }

    fn upload(&self, bytes: &[u8], to: &Memory) -> Result<(), DeviceError> {
        self.shared.upload(bytes, to)
    }

    fn download(&self, from: &Memory, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.shared.download(from, bytes)
    }

    fn staging(&self, bytes: usize) -> Result<Staging, DeviceError> {
        guarded("staging", || Staging::new(&self.shared, bytes))
    }

    fn stage(&self, staging: &Staging, pieces: &[(&[u8], &Memory)]) -> Result<(), DeviceError> {
        guarded("staging", || staging.copy(pieces))
    }

    fn left(&self, staging: &Staging) -> Result<(), DeviceError> {
        guarded("staging", || staging.leave())
    }

    fn fill(&self, memory: &Memory, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        let bytes = bytes.min(memory.size());
        // SAFETY: within the memory.
        guarded("filling", || {
            unsafe { cu::memset_d8_async(memory.address(), byte, bytes, self.shared.stream()) }
                .map_err(failed("filling"))
        })
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument<'_, Memory>]) -> Result<(), DeviceError> {
        let Some(&function) = self.kernels.get(kernel) else {
            return Err(DeviceError::Failed { what: kernel.to_owned(), reason: "no such kernel".to_owned() });
        };
        let mut words: Vec<u64> = arguments.iter().map(|argument| argument.word(|memory| memory.address())).collect();
        let mut pointers: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (WIDTH, 1, 1));
        // SAFETY: the arguments are those of the kernel's signature, with memory as long as it needs, which the checked layer has compared; a
        // little-endian word of eight bytes begins with the bytes of a shorter parameter, and the driver copies them before it returns.
        guarded(kernel, || {
            unsafe { cu::launch_kernel(function, grid, block, 0, self.shared.stream(), &mut pointers) }
                .map_err(failed(kernel))
        })
    }

    fn product(&self, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        guarded("cuBLASLt", || self.products.multiply(&self.shared, product))
    }

    fn as_one(&self, part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        self.graphs.run(&self.shared, part, calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_the_driver_says_what_is_missing_in_one_line() {
        // Where there is one, opening it must succeed.
        if let Err(error) = Driver::open(0) {
            let text = error.to_string();
            assert!(!text.contains('\n') && !text.is_empty(), "{text}");
            // SAFETY: it only tries to open the library.
            if !unsafe { cu_sys::is_culib_present() } {
                assert!(text.contains("libcuda") && text.contains("install an NVIDIA driver"), "{text}");
            }
        }
    }
}
