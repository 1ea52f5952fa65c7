//! The raw layer: the driver, the compiler of kernels and cuBLASLt, found when the program runs. All unsafe code of the backend is here.
//!
//! None of it has run on a GPU so far. `kernels/check` runs it on stand-ins for the three libraries.
//!
//! Work is asked for on one stream; copies of staged samples are on another one, and events order the two. A half of a training step is recorded
//! and launched as one graph, whose numbers are replaced the next time.
#![allow(unsafe_code)]

use super::device::{Argument, ByColumns, Device, DeviceError, Precision, Product};
use super::kernels::{signatures, source};
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use cudarc::driver::{result as cu, sys as cu_sys};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Once;
use std::time::{Duration, Instant};

/// Threads of a block.
const WIDTH: u32 = 256;
/// Bytes that cuBLASLt may use.
const WORKSPACE: usize = 32 << 20;
/// The least version of the driver: that of CUDA 12.0.
const LEAST_DRIVER: i32 = 12_000;
/// The least version of cuBLASLt, as it counts: that of CUDA 12.0.
const LEAST_PRODUCTS: usize = 120_000;
/// The least major version of the compiler.
const LEAST_COMPILER: i32 = 12;
/// A stream waits for an event as usual.
const WAITS: cu_sys::CUevent_wait_flags = cu_sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
/// Contraction would change bits.
const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

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

/// A CUDA device with the kernels that were built for it.
pub struct Driver {
    shared: Rc<Shared>,
    kernels: BTreeMap<String, cu_sys::CUfunction>,
    products: lt_sys::cublasLtHandle_t,
    /// What halves of a step were last, to be given new numbers.
    graphs: RefCell<BTreeMap<usize, Graph>>,
    workspace: Memory,
    name: String,
}

/// What memory needs to be released.
pub(super) struct Shared {
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

/// A graph that can be launched.
struct Graph(cu_sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: it was made once, and the stream on which it was launched has come to its end.
        let _ = unsafe { cu::graph::exec_destroy(self.0) };
    }
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
    fn new(shared: &Rc<Shared>, bytes: usize) -> Result<Self, DeviceError> {
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

    fn copy(&self, pieces: &[(&[u8], &Memory)]) -> Result<(), DeviceError> {
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

/// Memory of the device.
pub struct Memory {
    at: cu_sys::CUdeviceptr,
    bytes: usize,
    shared: Rc<Shared>,
}

impl Memory {
    /// Where it begins.
    pub(super) fn address(&self) -> cu_sys::CUdeviceptr {
        self.at
    }
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
    /// What everything runs on, in order.
    pub(super) fn stream(&self) -> cu_sys::CUstream {
        self.stream
    }

    /// From now on other ranks can keep work from its end; after so long they are taken for gone.
    pub(super) fn expect_ranks(&self, patience: Duration) {
        self.patience.set(Some(patience));
    }

    /// Where there are other ranks, waits for the end of everything that was asked for, but not for ever.
    fn wait_for_ranks(&self) -> Result<(), DeviceError> {
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

    /// What is recorded must not copy, wait or allocate.
    fn refuse_recording(&self, what: &str) -> Result<(), DeviceError> {
        if self.is_recording.get() {
            let reason = "not within calls that are one piece of work".to_owned();
            return Err(DeviceError::Failed { what: what.to_owned(), reason });
        }
        Ok(())
    }

    pub(super) fn upload(&self, bytes: &[u8], to: &Memory) -> Result<(), DeviceError> {
        self.refuse_recording("upload")?;
        if bytes.len() > to.bytes {
            return Err(DeviceError::Failed { what: "upload".to_owned(), reason: "too long".to_owned() });
        }
        // SAFETY: it fits; from pageable memory the call returns once the bytes are read.
        guarded("upload", || unsafe { cu::memcpy_htod_async(to.at, bytes, self.stream) }.map_err(failed("upload")))
    }

    pub(super) fn download(&self, from: &Memory, bytes: &mut [u8]) -> Result<(), DeviceError> {
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

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated on this stream and is freed once, after everything that was asked for before.
        let _ = unsafe { cu::free_async(self.at, self.shared.stream) };
    }
}

fn failed(what: &str) -> impl Fn(cu::DriverError) -> DeviceError + '_ {
    move |error| DeviceError::Failed { what: what.to_owned(), reason: one_line(&format!("{error:?}")) }
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

thread_local! {
    /// True within `guarded`, whose panics become errors and are not printed.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

static QUIET: Once = Once::new();

/// cudarc panics where a library lacks a function that it looks for. Nothing that a panic leaves behind is used again.
pub(super) fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
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
    result.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(DeviceError::Failed {
            what: what.to_owned(),
            reason: one_line(&format!(
                "a function of the library is missing ({}): it is too old, install a newer one",
                said.unwrap_or_default()
            )),
        })
    })
}

/// Asks for the three libraries, without touching a device.
fn libraries() -> Result<(), DeviceError> {
    // SAFETY: these only try to open the libraries.
    let (driver, products) = unsafe { (cu_sys::is_culib_present(), lt_sys::is_culib_present()) };
    present(driver, "the CUDA driver (libcuda)", "an NVIDIA driver for CUDA 12.0 or later")?;
    compiler()?;
    present(products, "cuBLASLt (libcublasLt)", "the CUDA toolkit 12.0 or later, or its cublas library")
}

fn compiler() -> Result<(), DeviceError> {
    // SAFETY: it only tries to open the library.
    let found = unsafe { nvrtc_sys::is_culib_present() };
    present(found, "the compiler of kernels (libnvrtc)", "the CUDA toolkit 12.0 or later, or its nvrtc library")
}

pub(super) fn present(found: bool, what: &'static str, remedy: &'static str) -> Result<(), DeviceError> {
    if found { Ok(()) } else { Err(DeviceError::Missing { what, remedy }) }
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
        let stream = || cu::stream::create(cu::stream::StreamKind::NonBlocking).map_err(none);
        let (stream, copies) = (stream()?, stream()?);
        let (is_recording, patience, is_stuck) = (Cell::new(false), Cell::new(None), Cell::new(false));
        let shared = Rc::new(Shared { device, context, stream, copies, is_recording, patience, is_stuck });
        let kernels = load(device)?;
        recent_products()?;
        let products = lt::create_handle().map_err(|error| DeviceError::Failed {
            what: "cuBLASLt".to_owned(),
            reason: one_line(&format!("{error:?}")),
        })?;
        let workspace = allocate(&shared, WORKSPACE)?;
        Ok(Self { shared, kernels, products, graphs: RefCell::default(), workspace, name })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.shared.wait_for_ranks().is_ok() {
            // SAFETY: the stream exists; graphs are dropped after it has come to its end.
            let _ = unsafe { cu::stream::synchronize(self.shared.stream) };
        }
        // SAFETY: the handle was created once and nothing uses it afterwards.
        let _ = unsafe { lt::destroy_handle(self.products) };
    }
}

/// Whether cuBLASLt is new enough.
fn recent_products() -> Result<(), DeviceError> {
    // SAFETY: it returns a number.
    let version = unsafe { lt_sys::cublasLtGetVersion() };
    if version >= LEAST_PRODUCTS {
        return Ok(());
    }
    let (major, minor) = (version / 10_000, version % 10_000 / 100);
    let reason = format!("it is version {major}.{minor}, 12.0 is needed: install a newer one");
    Err(DeviceError::Failed { what: "cuBLASLt".to_owned(), reason })
}

/// Major and minor of the architecture.
fn architecture(device: cu_sys::CUdevice) -> Result<(i32, i32), DeviceError> {
    use cu_sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device exists.
    let get = |which| unsafe { cu::device::get_attribute(device, which) }.map_err(failed("architecture"));
    Ok((get(MAJOR)?, get(MINOR)?))
}

/// Where built kernels are kept, by what they were built from.
fn cached(options: &[String], text: &str) -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let digest = Sha256::new().chain_update(options.join(" ")).chain_update([0]).chain_update(text).finalize();
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(home.join("sdlab").join(format!("{name}.cubin")))
}

/// Built kernels that were kept, if they are whole: the driver would believe what a damaged file says of its own length.
fn kept(place: &PathBuf) -> Option<Vec<u8>> {
    let mut image = std::fs::read(place).ok()?;
    let digest = image.split_off(image.len().checked_sub(32)?);
    (Sha256::digest(&image).as_slice() == digest).then_some(image)
}

/// The kernels for the device's own architecture, from the cache or the compiler.
fn load(device: cu_sys::CUdevice) -> Result<BTreeMap<String, cu_sys::CUfunction>, DeviceError> {
    let (major, minor) = architecture(device)?;
    let (mut newest, mut of_newest) = (0, 0);
    // SAFETY: the compiler writes two numbers.
    let status = unsafe { nvrtc_sys::nvrtcVersion(&mut newest, &mut of_newest) };
    status.result().map_err(|error| DeviceError::Build { reason: format!("{error:?}") })?;
    if newest < LEAST_COMPILER {
        return Err(DeviceError::Build { reason: format!("the compiler (libnvrtc) is version {newest}.{of_newest}") });
    }
    let options = options(&format!("sm_{major}{minor}"));
    let text = source();
    // Another compiler may build something else.
    let place = cached(&[options.clone(), vec![format!("nvrtc {newest}.{of_newest}")]].concat(), &text);
    if let Some(image) = place.as_ref().and_then(kept)
        && let Ok(kernels) = functions(&image)
    {
        return Ok(kernels);
    }
    let image = build(&text, &options)?;
    let kernels = functions(&image)?;
    // A cache that cannot be written costs time at the next start, nothing else.
    if let Some(place) = place
        && let Some(folder) = place.parent()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let new = place.with_extension(format!("{}.tmp", std::process::id()));
        let whole = [image.as_slice(), Sha256::digest(&image).as_slice()].concat();
        if std::fs::write(&new, whole).and_then(|()| std::fs::rename(&new, &place)).is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }
    Ok(kernels)
}

/// The kernels as machine code, by NVRTC.
///
/// # Errors
/// The compiler is missing, or refuses the text or an option.
pub fn build(text: &str, options: &[String]) -> Result<Vec<u8>, DeviceError> {
    compiler()?;
    guarded("the compiler of kernels", || compile(text, options))
}

/// What the kernels are compiled with for an architecture such as `sm_90`.
pub fn options(architecture: &str) -> Vec<String> {
    let mut options: Vec<String> = OPTIONS.iter().map(|option| (*option).to_owned()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    options
}

fn compile(text: &str, options: &[String]) -> Result<Vec<u8>, DeviceError> {
    let refused = |reason: String| DeviceError::Build { reason };
    let text = CString::new(text).map_err(|error| refused(error.to_string()))?;
    let program = nvrtc::create_program(&text, Some(c"sdlab.cu")).map_err(|error| refused(format!("{error:?}")))?;
    // SAFETY: the program was just created, and is destroyed once, at the end; the text lives until then.
    unsafe {
        let built = nvrtc::compile_program(program, options).map_err(|error| {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|c| *c != 0).collect();
            refused(one_line(&format!("{error:?}: {}", String::from_utf8_lossy(&log))))
        });
        let image = built.and_then(|()| {
            let mut size = 0;
            let status = nvrtc_sys::nvrtcGetCUBINSize(program, &mut size);
            let mut image = vec![0_u8; size];
            status.result().map_err(|error| refused(format!("{error:?}")))?;
            let status = nvrtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast());
            status.result().map_err(|error| refused(format!("{error:?}")))?;
            Ok(image)
        });
        let _ = nvrtc::destroy_program(program);
        image
    }
}

fn functions(image: &[u8]) -> Result<BTreeMap<String, cu_sys::CUfunction>, DeviceError> {
    // SAFETY: a cubin of the compiler, which says how long it is; the driver copies it. The module is never unloaded.
    let module = unsafe { cu::module::load_data(image.as_ptr().cast()) }.map_err(failed("loading the kernels"))?;
    let get = |name: String| {
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        // SAFETY: the module is loaded.
        let function = unsafe { cu::module::get_function(module, c_name) }.map_err(failed(&name))?;
        Ok((name, function))
    };
    signatures().into_keys().map(get).collect()
}

pub(super) fn allocate(shared: &Rc<Shared>, bytes: usize) -> Result<Memory, DeviceError> {
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
        // SAFETY: the event and the stream exist.
        guarded("staging", || unsafe { cu::event::record(staging.left, self.shared.stream) }.map_err(failed("staging")))
    }

    fn fill(&self, memory: &Memory, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        let bytes = bytes.min(memory.bytes);
        // SAFETY: within the memory.
        guarded("filling", || {
            unsafe { cu::memset_d8_async(memory.at, byte, bytes, self.shared.stream) }.map_err(failed("filling"))
        })
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument<'_, Memory>]) -> Result<(), DeviceError> {
        let Some(&function) = self.kernels.get(kernel) else {
            return Err(DeviceError::Failed { what: kernel.to_owned(), reason: "no such kernel".to_owned() });
        };
        let mut words: Vec<u64> = arguments.iter().map(|argument| argument.word(|memory| memory.at)).collect();
        let mut pointers: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (WIDTH, 1, 1));
        // SAFETY: the arguments are those of the kernel's signature, with memory as long as it needs, which the checked layer has compared; a
        // little-endian word of eight bytes begins with the bytes of a shorter parameter, and the driver copies them before it returns.
        guarded(kernel, || {
            unsafe { cu::launch_kernel(function, grid, block, 0, self.shared.stream, &mut pointers) }
                .map_err(failed(kernel))
        })
    }

    fn product(&self, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        guarded("cuBLASLt", || self.multiply(product))
    }

    fn as_one(&self, part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        let Shared { stream, is_recording, .. } = &*self.shared;
        let mode = cu_sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream exists.
        guarded(A_GRAPH, || unsafe { cu::stream::begin_capture(*stream, mode) }.map_err(unrecorded))?;
        is_recording.set(true);
        calls();
        is_recording.set(false);
        guarded(A_GRAPH, || {
            // SAFETY: as above; the graph is destroyed once.
            let graph = Owned(unsafe { cu::stream::end_capture(*stream) }.map_err(unrecorded)?, cu::graph::destroy);
            self.launch_graph(part, graph.0)
        })
    }
}

/// What errors call a half of a step.
const A_GRAPH: &str = "a graph of kernels";

fn unrecorded(error: cu::DriverError) -> DeviceError {
    let reason = one_line(&format!("{error:?}; --no-graphs trains without"));
    DeviceError::Failed { what: A_GRAPH.to_owned(), reason }
}

/// A handle that is destroyed when dropped.
struct Owned<T: Copy, E>(T, unsafe fn(T) -> Result<(), E>);

impl<T: Copy, E> Drop for Owned<T, E> {
    fn drop(&mut self) {
        // SAFETY: it was created once and is destroyed once.
        let _ = unsafe { (self.1)(self.0) };
    }
}

impl Driver {
    /// Gives the graph that was launched last the numbers of this one, or takes this one in its place, and launches it.
    fn launch_graph(&self, part: usize, graph: cu_sys::CUgraph) -> Result<(), DeviceError> {
        let stream = self.shared.stream;
        let mut graphs = self.graphs.borrow_mut();
        let is_like_the_last = graphs.get(&part).is_some_and(|last| {
            let mut info = MaybeUninit::uninit();
            // SAFETY: both graphs exist; the driver writes what did not fit.
            unsafe { cu_sys::cuGraphExecUpdate_v2(last.0, graph, info.as_mut_ptr()) }.result().is_ok()
        });
        if !is_like_the_last {
            if graphs.contains_key(&part) {
                self.shared.wait_for_ranks()?;
                // SAFETY: the stream exists; a graph is destroyed only after it has come to its end.
                unsafe { cu::stream::synchronize(stream) }.map_err(failed(A_GRAPH))?;
            }
            let flags = cu_sys::CUgraphInstantiate_flags(0);
            // SAFETY: the graph exists.
            graphs.insert(part, Graph(unsafe { cu::graph::instantiate(graph, flags) }.map_err(unrecorded)?));
        }
        let Some(Graph(last)) = graphs.get(&part) else { return Ok(()) };
        // SAFETY: the graph and the stream exist; the memory that its kernels use is freed on the same stream, that is afterwards.
        unsafe { cu::graph::launch(*last, stream) }.map_err(unrecorded)
    }

    /// cuBLASLt stores matrices by columns.
    fn multiply(&self, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        use lt_sys::{
            cublasComputeType_t as Compute, cublasLtMatmulDescAttributes_t as Attribute,
            cublasLtMatmulPreferenceAttributes_t as Preference, cudaDataType as Data,
        };
        let wrong = |error: lt::CublasError| DeviceError::Failed {
            what: "cuBLASLt".to_owned(),
            reason: one_line(&format!("{error:?}")),
        };
        let (compute, data) = match product.precision {
            Precision::F32 => (Compute::CUBLAS_COMPUTE_32F_PEDANTIC, Data::CUDA_R_32F),
            Precision::Tf32 => (Compute::CUBLAS_COMPUTE_32F_FAST_TF32, Data::CUDA_R_32F),
            Precision::Bf16 => (Compute::CUBLAS_COMPUTE_32F, Data::CUDA_R_16BF),
        };
        // CUBLAS_OP_N and CUBLAS_OP_T.
        let [of_b, of_a, _] = product.by_columns().map(|matrix| u32::from(matrix.transposed));
        let layout = |data, matrix: ByColumns| {
            lt::create_matrix_layout(data, matrix.rows as u64, matrix.columns as u64, matrix.stride as i64)
                .map(|layout| Owned(layout, lt::destroy_matrix_layout))
                .map_err(wrong)
        };
        let [b, a, c] = product.by_columns();
        let (b, a, c) = (layout(data, b)?, layout(data, a)?, layout(Data::CUDA_R_32F, c)?);
        let task = Owned(lt::create_matmul_desc(compute, Data::CUDA_R_32F).map_err(wrong)?, lt::destroy_matmul_desc);
        let preference = Owned(lt::create_matmul_pref().map_err(wrong)?, lt::destroy_matmul_pref);
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: all handles live until the end; attributes point to values of the sizes given; the matrices are as long as their layouts say,
        // which the checked layer has compared; everything runs on one stream, which owns the memory.
        unsafe {
            for (which, operation) in
                [(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, of_b), (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, of_a)]
            {
                let at = std::ptr::from_ref(&operation).cast();
                lt::set_matmul_desc_attribute(task.0, which, at, size_of_val(&operation)).map_err(wrong)?;
            }
            let (which, room) = (Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE);
            let at = std::ptr::from_ref(&room).cast();
            lt::set_matmul_pref_attribute(preference.0, which, at, size_of_val(&room)).map_err(wrong)?;
            // The same sizes find the same algorithm, so that a product has the same bits every time.
            let best = lt::get_matmul_algo_heuristic(self.products, task.0, b.0, a.0, c.0, c.0, preference.0)
                .map_err(wrong)?;
            lt::matmul(
                self.products,
                task.0,
                std::ptr::from_ref(&one).cast(),
                std::ptr::from_ref(&zero).cast(),
                product.b.0.at as *const c_void,
                b.0,
                product.a.0.at as *const c_void,
                a.0,
                product.c.at as *const c_void,
                c.0,
                product.c.at as *mut c_void,
                c.0,
                &best.algo,
                self.workspace.at as *mut c_void,
                WORKSPACE,
                self.shared.stream as lt_sys::cudaStream_t,
            )
            .map_err(wrong)
        }
    }
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

    #[test]
    fn a_panic_of_a_library_becomes_one_line_that_says_what_to_do() {
        let text = guarded::<()>("a library", || panic!("no such\nfunction")).unwrap_err().to_string();
        assert!(text.contains("(no such function)") && text.contains("install a newer one"), "{text}");
        assert!(!IS_GUARDED.get(), "panics of others are printed again");
        assert!(guarded("a library", || Ok(IS_GUARDED.get())).unwrap(), "and within it they are not");
    }

    #[test]
    fn a_damaged_file_of_kernels_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x.cubin");
        let image = b"machine code".to_vec();
        std::fs::write(&place, [image.as_slice(), Sha256::digest(&image).as_slice()].concat()).unwrap();
        assert_eq!(kept(&place), Some(image.clone()));
        for damaged in [&image[..5], &[], &[0; 40]] {
            std::fs::write(&place, damaged).unwrap();
            assert_eq!(kept(&place), None);
        }
        assert_eq!(kept(&folder.path().join("absent")), None);
    }

    #[test]
    fn built_kernels_are_kept_by_what_they_were_built_from() {
        let of = |option: &str, text: &str| cached(&[option.to_owned()], text);
        if let (Some(a), Some(b), Some(c)) = (of("x", "text"), of("y", "text"), of("x", "text ")) {
            assert!(a != b && a != c && b != c);
            assert_eq!(of("x", "text"), Some(a));
        }
    }
}
