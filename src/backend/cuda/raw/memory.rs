//! Streams, memory of the device, and memory of the host from which copies are made beside other work.
#![allow(unsafe_code)]

use super::guard::{failed, guarded};
use crate::backend::cuda::device::DeviceError;
use cudarc::driver::{result as cu, sys as cu_sys};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A stream waits for an event as usual.
const WAITS: cu_sys::CUevent_wait_flags = cu_sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;

/// What memory needs to be released.
pub struct Shared {
    device: cu_sys::CUdevice,
    context: cu_sys::CUcontext,
    stream: cu_sys::CUstream,
    /// For copies beside other work.
    copies: cu_sys::CUstream,
    /// Calls are recorded, not done.
    is_recording: Cell<bool>,
    /// How long work may take that other ranks can keep from its end; absent without other ranks.
    patience: Cell<Option<Duration>>,
    /// It took longer: nothing more is waited for.
    is_stuck: Cell<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: all memory has been released, for it holds on to this; the context was retained once.
        unsafe {
            let _ = cu::ctx::set_current(self.context);
            for stream in [self.copies, self.stream] {
                if !self.is_stuck.get() {
                    let _ = cu::stream::synchronize(stream);
                }
                let _ = cu::stream::destroy(stream);
            }
            let _ = cu::primary_ctx::release(self.device);
        }
    }
}

impl Shared {
    /// Of a device, whose primary context has been retained and is current in this thread.
    pub fn new(device: cu_sys::CUdevice, context: cu_sys::CUcontext) -> Result<Self, cu::DriverError> {
        let stream = || cu::stream::create(cu::stream::StreamKind::NonBlocking);
        let (is_recording, patience, is_stuck) = (Cell::new(false), Cell::new(None), Cell::new(false));
        Ok(Self { device, context, stream: stream()?, copies: stream()?, is_recording, patience, is_stuck })
    }

    /// What everything runs on, in order.
    pub fn stream(&self) -> cu_sys::CUstream {
        self.stream
    }

    /// From now on other ranks can keep work from its end; after so long they are taken for gone.
    pub fn expect_ranks(&self, patience: Duration) {
        self.patience.set(Some(patience));
    }

    /// Waits for the end of everything that was asked for.
    pub fn finish(&self) {
        if self.wait_for_ranks().is_ok() {
            // SAFETY: the stream exists.
            let _ = unsafe { cu::stream::synchronize(self.stream) };
        }
    }

    /// Where there are other ranks, waits for the end of everything that was asked for, but not for ever.
    pub fn wait_for_ranks(&self) -> Result<(), DeviceError> {
        let Some(patience) = self.patience.get() else { return Ok(()) };
        let begun = Instant::now();
        while !self.is_stuck.get() {
            // SAFETY: the stream exists.
            match unsafe { cu_sys::cuStreamQuery(self.stream) } {
                cu_sys::CUresult::CUDA_SUCCESS => return Ok(()),
                cu_sys::CUresult::CUDA_ERROR_NOT_READY if begun.elapsed() < patience => {
                    // Short waits are not made longer, and long ones leave the processor to others.
                    std::thread::sleep((begun.elapsed() / 16).min(Duration::from_millis(1)));
                }
                cu_sys::CUresult::CUDA_ERROR_NOT_READY => self.is_stuck.set(true),
                other => return other.result().map_err(failed("waiting")),
            }
        }
        let reason = format!("nothing has come for {} s: another rank may have ended", patience.as_secs_f64());
        Err(DeviceError::Failed { what: "waiting for other ranks".to_owned(), reason })
    }

    /// Whether calls are recorded now.
    pub fn records(&self) -> bool {
        self.is_recording.get()
    }

    /// Makes calls that are recorded.
    pub fn record(&self, calls: &mut dyn FnMut()) {
        self.is_recording.set(true);
        calls();
        self.is_recording.set(false);
    }

    /// What is recorded must not copy, wait or allocate.
    pub fn refuse_recording(&self, what: &str) -> Result<(), DeviceError> {
        if self.is_recording.get() {
            let reason = "not within calls that are one piece of work".to_owned();
            return Err(DeviceError::Failed { what: what.to_owned(), reason });
        }
        Ok(())
    }

    /// Copies from the host, in order.
    pub fn upload(&self, bytes: &[u8], to: &Memory) -> Result<(), DeviceError> {
        self.refuse_recording("upload")?;
        if bytes.len() > to.bytes {
            return Err(DeviceError::Failed { what: "upload".to_owned(), reason: "too long".to_owned() });
        }
        // SAFETY: it fits; from pageable memory the call returns once the bytes are read.
        guarded("upload", || unsafe { cu::memcpy_htod_async(to.at, bytes, self.stream) }.map_err(failed("upload")))
    }

    /// Copies to the host, after everything that was asked for before.
    pub fn download(&self, from: &Memory, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.refuse_recording("download")?;
        if bytes.len() > from.bytes {
            return Err(DeviceError::Failed { what: "download".to_owned(), reason: "too long".to_owned() });
        }
        guarded("download", || {
            self.wait_for_ranks()?;
            // SAFETY: it fits, and the bytes are not touched before the stream has come to its end.
            let begun = unsafe { cu::memcpy_dtoh_async(bytes, from.at, self.stream) };
            // SAFETY: the stream exists.
            let ended = unsafe { cu::stream::synchronize(self.stream) };
            begun.and(ended).map_err(failed("download"))
        })
    }
}

/// Memory of the device.
pub struct Memory {
    at: cu_sys::CUdeviceptr,
    bytes: usize,
    shared: Rc<Shared>,
}

impl Memory {
    /// How long it is.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Where it begins.
    pub fn address(&self) -> cu_sys::CUdeviceptr {
        self.at
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated on this stream and is freed once, after everything that was asked for before.
        let _ = unsafe { cu::free_async(self.at, self.shared.stream) };
    }
}

/// Memory of zeros.
pub fn allocate(shared: &Rc<Shared>, bytes: usize) -> Result<Memory, DeviceError> {
    shared.refuse_recording("allocation")?;
    let explain = |error: cu::DriverError| {
        if error.0 == cu_sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return DeviceError::OutOfMemory { bytes };
        }
        failed("allocation")(error)
    };
    // SAFETY: the stream exists; the memory is filled before it is used, on the same stream.
    let at = unsafe { cu::malloc_async(shared.stream, bytes) }.map_err(explain)?;
    let memory = Memory { at, bytes, shared: Rc::clone(shared) };
    // SAFETY: as long as was just allocated.
    unsafe { cu::memset_d8_async(at, 0, bytes, shared.stream) }.map_err(failed("clearing"))?;
    Ok(memory)
}

/// Locked memory of the host, which the device reads while the program goes on.
pub struct Staging {
    at: *mut u8,
    bytes: usize,
    /// The last copy has read it.
    copied: cu_sys::CUevent,
    /// What uses its copies has been asked for before.
    left: cu_sys::CUevent,
    shared: Rc<Shared>,
}

impl Staging {
    /// For copies of so many bytes.
    pub fn new(shared: &Rc<Shared>, bytes: usize) -> Result<Self, DeviceError> {
        let flags = cu_sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let event = || cu::event::create(flags).map_err(failed("an event"));
        // SAFETY: any size may be asked for.
        let at = unsafe { cu::malloc_host(bytes, 0) }.map_err(failed("locked memory of the host"))?;
        let (copied, left) = match (event(), event()) {
            (Ok(copied), Ok(left)) => (copied, left),
            (one, other) => {
                // SAFETY: each was just made, and nothing knows of it.
                unsafe {
                    let _ = cu::free_host(at);
                    for event in [&one, &other].into_iter().flatten() {
                        let _ = cu::event::destroy(*event);
                    }
                }
                return Err(one.and(other).err().unwrap_or(DeviceError::OutOfMemory { bytes }));
            }
        };
        Ok(Self { at: at.cast(), bytes, copied, left, shared: Rc::clone(shared) })
    }

    /// See [`Device::stage`](crate::backend::cuda::Device::stage).
    pub fn copy(&self, pieces: &[(&[u8], &Memory)]) -> Result<(), DeviceError> {
        let Shared { stream, copies, .. } = *self.shared;
        let wrong = |reason: &str| DeviceError::Failed { what: "staging".to_owned(), reason: reason.to_owned() };
        let total: usize = pieces.iter().map(|(bytes, _)| bytes.len()).sum();
        if total > self.bytes || pieces.iter().any(|(bytes, to)| bytes.len() > to.bytes) {
            return Err(wrong("too long"));
        }
        self.shared.refuse_recording("staging")?;
        self.shared.wait_for_ranks()?;
        // SAFETY: the events and streams live as long as this. The memory is written only after the last copy has read it, and again only after this
        // one has, for it waits for the same event. All pieces together fit it, and each its own memory.
        unsafe {
            cu::event::synchronize(self.copied).map_err(failed("staging"))?;
            cu::stream::wait_event(copies, self.left, WAITS).map_err(failed("staging"))?;
            let mut at = self.at;
            for (bytes, to) in pieces {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len());
                let locked = std::slice::from_raw_parts(at.cast_const(), bytes.len());
                cu::memcpy_htod_async(to.at, locked, copies).map_err(failed("staging"))?;
                at = at.add(bytes.len());
            }
            cu::event::record(self.copied, copies).map_err(failed("staging"))?;
            cu::stream::wait_event(stream, self.copied, WAITS).map_err(failed("staging"))
        }
    }

    /// See [`Device::left`](crate::backend::cuda::Device::left).
    pub fn leave(&self) -> Result<(), DeviceError> {
        // SAFETY: the event and the stream exist.
        unsafe { cu::event::record(self.left, self.shared.stream) }.map_err(failed("staging"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let ended = self.shared.wait_for_ranks();
        // SAFETY: each was made once, and no copy reads the memory any more; where that cannot be known it is left to the end of the process.
        unsafe {
            if ended.is_ok() && cu::event::synchronize(self.copied).is_ok() {
                let _ = cu::free_host(self.at.cast());
            }
            let _ = cu::event::destroy(self.copied);
            let _ = cu::event::destroy(self.left);
        }
    }
}
