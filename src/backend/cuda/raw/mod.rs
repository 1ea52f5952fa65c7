//! The raw layer: the driver, the compiler of kernels and cuBLASLt, found when the program runs. With [`nccl`](super::nccl) it holds all unsafe code
//! of the backend.
//!
//! | part | module |
//! |---|---|
//! | kernels as machine code | [`compiler`] |
//! | streams, memory, copies | `memory` |
//! | many calls as one graph | `graphs` |
//! | dense products | `products` |
//! | times of kernels | `times` |
//! | which versions go together | `versions` |
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
mod times;
mod versions;

pub use compiler::{build, options};
pub use guard::quietly;
pub use memory::{Memory, Staging};
pub use plain::{Plain, bytes, bytes_mut};
pub use products::WORKSPACE;
pub use versions::Versions;

use super::device::{Argument, Device, DeviceError, Precision, Product, Time};
use cudarc::cublaslt::sys as lt_sys;
use cudarc::driver::{result as cu, sys as cu_sys};
use graphs::Graphs;
use guard::{failed, guarded, one_line, present};
use memory::{Shared, allocate};
use products::Products;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::rc::Rc;
use times::Times;

/// Threads of a block.
const WIDTH: u32 = 256;

/// A CUDA device with the kernels that were built for it.
pub struct Driver {
    // Before what they were launched on.
    graphs: Graphs,
    times: Times,
    shared: Rc<Shared>,
    kernels: BTreeMap<String, cu_sys::CUfunction>,
    products: Products,
    facts: Facts,
}

/// What is known of a device and of what drives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it calls itself.
    pub name: String,
    /// Major and minor of its architecture, such as 9 and 0.
    pub architecture: (i32, i32),
    /// The driver and the libraries.
    pub versions: Versions,
}

/// Memory of a device in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What no program has taken.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

impl Room {
    /// Of the device whose context is current in this thread.
    fn current() -> Result<Self, DeviceError> {
        let (free, total) = cu::mem_get_info().map_err(failed("memory of the device"))?;
        Ok(Self { free: free as u64, total: total as u64 })
    }

    /// Of the device of this number; no kernel is built for it.
    ///
    /// # Errors
    /// There is no driver, or no such device.
    pub fn of(number: i32) -> Result<Self, DeviceError> {
        driver()?;
        guarded("the CUDA driver", || {
            let device = device(number)?;
            // SAFETY: the device exists; what is retained is released before this returns.
            unsafe {
                let context = cu::primary_ctx::retain(device).map_err(none)?;
                let room = cu::ctx::set_current(context).map_err(none).and_then(|()| Self::current());
                let _ = cu::primary_ctx::release(device);
                room
            }
        })
    }
}

/// An error of the driver before there is a device.
fn none(error: cu::DriverError) -> DeviceError {
    match error.0 {
        cu_sys::CUresult::CUDA_ERROR_NO_DEVICE | cu_sys::CUresult::CUDA_ERROR_INVALID_DEVICE => {
            DeviceError::NoDevice { reason: one_line(&format!("{error:?}")) }
        }
        _ => failed("the CUDA driver")(error),
    }
}

/// Starts the driver and finds a device.
fn device(number: i32) -> Result<cu_sys::CUdevice, DeviceError> {
    cu::init().map_err(none)?;
    cu::device::get(number).map_err(none)
}

/// Asks for the driver, without touching a device.
fn driver() -> Result<(), DeviceError> {
    // SAFETY: it only tries to open the library.
    let found = unsafe { cu_sys::is_culib_present() };
    present(found, "the CUDA driver (libcuda)", "an NVIDIA driver for CUDA 12.0 or later")
}

/// Asks for the three libraries, without touching a device.
fn libraries() -> Result<(), DeviceError> {
    driver()?;
    compiler::compiler()?;
    // SAFETY: it only tries to open the library.
    let products = unsafe { lt_sys::is_culib_present() };
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

    /// Whether every kernel is timed by itself from now on, which takes a little longer; see [`Device::times`]. What is part of a graph is not.
    pub fn time_kernels(&self, on: bool) {
        self.times.turn(on);
    }

    /// Waits for the end of everything that was asked for.
    ///
    /// # Errors
    /// A call failed, now or before.
    pub fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream exists.
        guarded("waiting", || unsafe { cu::stream::synchronize(self.shared.stream()) }.map_err(failed("waiting")))
    }

    /// What is known of it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its memory before a training; what cuBLASLt works with is counted as free, since a training counts it.
    ///
    /// # Errors
    /// A call failed.
    pub fn room(&self) -> Result<Room, DeviceError> {
        let room = guarded("memory of the device", Room::current)?;
        Ok(Room { free: room.free + WORKSPACE as u64, ..room })
    }

    /// What its memory lives on.
    pub(super) fn shared(&self) -> Rc<Shared> {
        Rc::clone(&self.shared)
    }

    fn start(number: i32) -> Result<Self, DeviceError> {
        let device = device(number)?;
        let mut version = 0;
        // SAFETY: the driver writes one number.
        unsafe { cu_sys::cuDriverGetVersion(&mut version) }.result().map_err(none)?;
        let versions = Versions {
            driver: versions::of_driver(version),
            compiler: compiler::version()?,
            products: versions::of_products(products::version()),
        };
        versions.check()?;
        let name = cu::device::get_name(device).map_err(none)?;
        // SAFETY: the device exists; its primary context is retained until `Shared` is dropped, and current in this thread.
        let context = unsafe { cu::primary_ctx::retain(device) }.map_err(none)?;
        // SAFETY: as above.
        unsafe { cu::ctx::set_current(context) }.map_err(none)?;
        let shared = Rc::new(Shared::new(device, context).map_err(none)?);
        let architecture = compiler::architecture(device)?;
        let kernels = compiler::load(architecture, versions.compiler)?;
        let products = Products::new(&shared)?;
        let facts = Facts { name, architecture, versions };
        Ok(Self { graphs: Graphs::default(), times: Times::default(), shared, kernels, products, facts })
    }

    /// Makes a call, and times it if that is wanted.
    fn asked(&self, name: &str, call: impl FnOnce() -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        let is_timed = self.times.is_on() && !self.shared.records();
        guarded(name, || if is_timed { self.times.around(name, self.shared.stream(), call) } else { call() })
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
        self.facts.name.clone()
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
        self.asked("filling", || {
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
        self.asked(kernel, || {
            unsafe { cu::launch_kernel(function, grid, block, 0, self.shared.stream(), &mut pointers) }
                .map_err(failed(kernel))
        })
    }

    fn product(&self, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        let name = match product.precision {
            Precision::F32 => "cuBLASLt in f32",
            Precision::Tf32 => "cuBLASLt in tf32",
            Precision::Bf16 => "cuBLASLt in bf16",
        };
        self.asked(name, || self.products.multiply(&self.shared, product))
    }

    fn as_one(&self, part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        self.graphs.run(&self.shared, part, calls)
    }

    fn enter(&self, phase: &'static str) {
        self.times.enter(phase);
    }

    fn times(&self) -> Result<Vec<Time>, DeviceError> {
        guarded("times of kernels", || self.times.take())
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
