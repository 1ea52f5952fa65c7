//! Ranks that are processes with one GPU each, connected by NCCL. Raw, like [`raw`](super::raw), and never run on GPUs so far.
//!
//! NCCL is opened at the first call of [`Nccl::join`], not when the program starts; nothing else needs it. It adds up in an order of its own, which
//! depends on the number of ranks and on how they are connected, not on their timing; every rank gets the same bits.
//!
//! A rank whose device still answers tells the others of its failure, and all of them end. A rank that is killed, or whose device answers no more,
//! keeps the others waiting; they end with an error when they have waited as long as they were told.
#![allow(unsafe_code)]

use super::checked::Array;
use super::device::DeviceError;
use super::raw::memory::{Shared, allocate};
use super::raw::{Driver, Memory, bytes, bytes_mut};
use crate::backend::collective::{Collective, CollectiveError, Reaches};
use cudarc::nccl::sys;
use libloading::Library;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a rank waits for the first one.
const MEETING: Duration = Duration::from_secs(120);
/// What the library is called: where it is only used, it has no other name than the first one.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// Bytes of a rank for which memory is there from the beginning, so that a rank without any left can still say so.
const SMALL: usize = 64;

/// The functions of NCCL that ranks need. All return 0 where they succeed.
#[derive(Clone, Copy)]
struct Functions {
    unique_id: unsafe extern "C" fn(*mut sys::ncclUniqueId) -> c_int,
    init_rank: unsafe extern "C" fn(*mut sys::ncclComm_t, c_int, sys::ncclUniqueId, c_int) -> c_int,
    all_reduce: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        sys::ncclDataType_t,
        sys::ncclRedOp_t,
        sys::ncclComm_t,
        sys::cudaStream_t,
    ) -> c_int,
    all_gather: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        sys::ncclDataType_t,
        sys::ncclComm_t,
        sys::cudaStream_t,
    ) -> c_int,
    finalize: unsafe extern "C" fn(sys::ncclComm_t) -> c_int,
    destroy: unsafe extern "C" fn(sys::ncclComm_t) -> c_int,
    abort: unsafe extern "C" fn(sys::ncclComm_t) -> c_int,
    explain: unsafe extern "C" fn(c_int) -> *const c_char,
}

impl Functions {
    /// Of the first library of these names that there is.
    fn find(names: &[&str]) -> Result<Self, DeviceError> {
        // SAFETY: opening NCCL runs nothing that another thread could notice.
        let library =
            names.iter().find_map(|name| unsafe { Library::new(*name) }.ok()).ok_or(DeviceError::Missing {
                what: "NCCL (libnccl.so.2)",
                remedy: "NCCL 2.18 or later where the loader finds it (LD_LIBRARY_PATH), or train on one GPU",
            })?;
        // SAFETY: the types are those of NCCL's header, `nccl.h`, where ncclResult_t is an int.
        let all = unsafe {
            Self {
                unique_id: function(&library, "ncclGetUniqueId")?,
                init_rank: function(&library, "ncclCommInitRank")?,
                all_reduce: function(&library, "ncclAllReduce")?,
                all_gather: function(&library, "ncclAllGather")?,
                finalize: function(&library, "ncclCommFinalize")?,
                destroy: function(&library, "ncclCommDestroy")?,
                abort: function(&library, "ncclCommAbort")?,
                explain: function(&library, "ncclGetErrorString")?,
            }
        };
        // It stays open: its functions may be called until the program ends.
        std::mem::forget(library);
        Ok(all)
    }

    /// What a call has returned.
    fn succeeded(&self, status: c_int) -> Result<(), DeviceError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NCCL has a text for every number, which is never freed.
        let text = unsafe { CStr::from_ptr((self.explain)(status)) };
        Err(wrong(format!("{} ({status})", text.to_string_lossy())))
    }

    /// Gives a connection up: with all ranks together, or without waiting for others, which may have gone.
    fn leave(&self, connection: sys::ncclComm_t, together: bool) {
        // SAFETY: it was made once and is given up once.
        unsafe {
            if together && (self.finalize)(connection) == 0 {
                (self.destroy)(connection);
            } else {
                (self.abort)(connection);
            }
        }
    }
}

/// A function of a library.
///
/// # Safety
/// It has this type.
unsafe fn function<F: Copy>(library: &Library, name: &str) -> Result<F, DeviceError> {
    // SAFETY: as the caller says.
    let found = unsafe { library.get::<F>(name) };
    found
        .map(|found| *found)
        .map_err(|_| wrong(format!("{name} is missing: it is too old, install NCCL 2.18 or later")))
}

/// One rank of a training, and its GPU.
pub struct Nccl {
    functions: Functions,
    shared: Rc<Shared>,
    rank: usize,
    ranks: usize,
    connection: sys::ncclComm_t,
    /// Memory for a few bytes of this rank, and of all.
    small: [Memory; 2],
    /// Ranks have stopped working together.
    has_failed: Cell<bool>,
}

impl Drop for Nccl {
    fn drop(&mut self) {
        self.functions.leave(self.connection, !self.has_failed.get() && !std::thread::panicking());
    }
}

fn wrong(reason: String) -> DeviceError {
    DeviceError::Failed { what: "NCCL".to_owned(), reason }
}

/// What the first rank tells the others through a file: it appears as a whole, and the first rank removes it when all have come.
fn leave(at: &Path, id: &[u8]) -> Result<(), DeviceError> {
    let explain = |error: std::io::Error| wrong(format!("{} cannot be written: {error}", at.display()));
    if at.exists() {
        return Err(wrong(format!("{} is there already: another training uses it, or has left it", at.display())));
    }
    let new = at.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&new, id).and_then(|()| std::fs::rename(&new, at)).map_err(|error| {
        let _ = std::fs::remove_file(&new);
        explain(error)
    })
}

/// Waits for what the first rank tells.
fn find(at: &Path, len: usize, patience: Duration) -> Result<Vec<u8>, DeviceError> {
    let begun = Instant::now();
    loop {
        match std::fs::read(at) {
            Ok(id) if id.len() == len => return Ok(id),
            Ok(_) => return Err(wrong(format!("{} is not what a first rank writes", at.display()))),
            Err(_) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(wrong(format!("the first rank has not come: {}: {error}", at.display()))),
        }
    }
}

impl Nccl {
    /// Meets the other ranks of a training through a file that all of them see. Waits for all. Later on, a rank that has to wait longer than `patience`
    /// gives up.
    ///
    /// # Errors
    /// NCCL is missing or too old, the file cannot be used, or the ranks cannot be connected.
    pub fn join(
        driver: &Driver,
        rank: usize,
        ranks: usize,
        meeting: &Path,
        patience: Duration,
    ) -> Result<Self, DeviceError> {
        let functions = Functions::find(&NAMES)?;
        let shared = driver.shared();
        let small = [allocate(&shared, SMALL)?, allocate(&shared, SMALL * ranks)?];
        let mut id = sys::ncclUniqueId { internal: [0; 128] };
        if rank == 0 {
            // SAFETY: the call writes an identification.
            functions.succeeded(unsafe { (functions.unique_id)(&raw mut id) })?;
            leave(meeting, &id.internal.map(|c| c as u8))?;
        } else {
            let found = find(meeting, id.internal.len(), MEETING)?;
            id.internal.iter_mut().zip(found).for_each(|(c, byte)| *c = byte as c_char);
        }
        let count = |x: usize| i32::try_from(x).map_err(|error| wrong(error.to_string()));
        let (rank_number, ranks_number) = (count(rank)?, count(ranks)?);
        let mut connection: sys::ncclComm_t = std::ptr::null_mut();
        // SAFETY: the context of the driver is current in this thread, and the call writes one pointer.
        let status = unsafe { (functions.init_rank)(&raw mut connection, ranks_number, id, rank_number) };
        if rank == 0 {
            let _ = std::fs::remove_file(meeting);
        }
        functions.succeeded(status)?;
        shared.expect_ranks(patience);
        Ok(Self { functions, shared, rank, ranks, connection, small, has_failed: Cell::new(false) })
    }

    fn all_reduce(&self, memory: &Memory, count: usize, marks: bool) -> Result<(), DeviceError> {
        let (kind, how) = if marks {
            (sys::ncclDataType_t::ncclUint32, sys::ncclRedOp_t::ncclMax)
        } else {
            (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum)
        };
        let (from, to) = (memory.address() as *const c_void, memory.address() as *mut c_void);
        let stream = self.shared.stream() as sys::cudaStream_t;
        // SAFETY: so many numbers of four bytes are there, which the caller has compared; the call is queued on the stream that owns them.
        let status = unsafe { (self.functions.all_reduce)(from, to, count, kind, how, self.connection, stream) };
        self.functions.succeeded(status)
    }

    /// The same number of bytes from every rank.
    fn all_gather(&self, own: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut all = vec![0; own.len() * self.ranks];
        if own.is_empty() {
            return Ok(all);
        }
        let large = if own.len() <= SMALL {
            None
        } else {
            Some([allocate(&self.shared, own.len())?, allocate(&self.shared, all.len())?])
        };
        let [from, to] = large.as_ref().unwrap_or(&self.small);
        self.shared.upload(own, from)?;
        let stream = self.shared.stream() as sys::cudaStream_t;
        let (source, target) = (from.address() as *const c_void, to.address() as *mut c_void);
        let kind = sys::ncclDataType_t::ncclUint8;
        // SAFETY: both have room for so many bytes, of this rank and of all; the call is queued on the stream that owns them.
        let status = unsafe { (self.functions.all_gather)(source, target, own.len(), kind, self.connection, stream) };
        self.functions.succeeded(status)?;
        self.shared.download(to, &mut all)?;
        Ok(all)
    }

    fn gather_parts(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, DeviceError> {
        let lengths = self.all_gather(bytes(&[own.len() as u64]))?;
        let mut each = vec![0_u64; self.ranks];
        bytes_mut(&mut each).copy_from_slice(&lengths);
        let longest = each.iter().max().map_or(0, |len| *len as usize);
        let mut padded = own.to_vec();
        padded.resize(longest, 0);
        let all = self.all_gather(&padded)?;
        Ok(each.iter().enumerate().map(|(r, len)| all[r * longest..][..*len as usize].to_vec()).collect())
    }

    /// Adds up an array, or joins its marks.
    fn combine<T>(&self, array: &Array<Driver, T>, marks: bool) -> Result<(), CollectiveError>
    where
        T: super::checked::Number,
    {
        match array.memory() {
            Some(memory) => self.all_reduce(memory, array.len(), marks).map_err(stopped),
            None => Err(CollectiveError::Failed { reason: "the device has failed before".to_owned() }),
        }
    }
}

fn stopped(error: DeviceError) -> CollectiveError {
    CollectiveError::Failed { reason: error.to_string() }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.gather_parts(own).map_err(stopped)
    }

    fn give_up(&self) {
        self.has_failed.set(true);
    }
}

impl Reaches<Array<Driver, f32>, Array<Driver, u32>> for Nccl {
    fn sum(&self, numbers: &mut Array<Driver, f32>) -> Result<(), CollectiveError> {
        self.combine(numbers, false)
    }

    fn any(&self, marks: &mut Array<Driver, u32>) -> Result<(), CollectiveError> {
        self.combine(marks, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        /// Calls of the functions below, and what the first of them returns.
        static CALLS: Cell<(&'static str, &'static str)> = const { Cell::new(("", "")) };
        static STATUS: Cell<c_int> = const { Cell::new(0) };
    }

    fn called(name: &'static str) {
        let (first, _) = CALLS.get();
        CALLS.set(if first.is_empty() { (name, "") } else { (first, name) });
    }

    unsafe extern "C" fn finalize(_: sys::ncclComm_t) -> c_int {
        called("finalize");
        STATUS.get()
    }

    unsafe extern "C" fn destroy(_: sys::ncclComm_t) -> c_int {
        called("destroy");
        0
    }

    unsafe extern "C" fn abort(_: sys::ncclComm_t) -> c_int {
        called("abort");
        0
    }

    unsafe extern "C" fn explain(_: c_int) -> *const c_char {
        c"in words".as_ptr()
    }

    unsafe extern "C" fn unique_id(_: *mut sys::ncclUniqueId) -> c_int {
        0
    }

    unsafe extern "C" fn init_rank(_: *mut sys::ncclComm_t, _: c_int, _: sys::ncclUniqueId, _: c_int) -> c_int {
        0
    }

    unsafe extern "C" fn all_reduce(
        _: *const c_void,
        _: *mut c_void,
        _: usize,
        _: sys::ncclDataType_t,
        _: sys::ncclRedOp_t,
        _: sys::ncclComm_t,
        _: sys::cudaStream_t,
    ) -> c_int {
        0
    }

    unsafe extern "C" fn all_gather(
        _: *const c_void,
        _: *mut c_void,
        _: usize,
        _: sys::ncclDataType_t,
        _: sys::ncclComm_t,
        _: sys::cudaStream_t,
    ) -> c_int {
        0
    }

    #[test]
    fn a_connection_ends_in_order_and_is_cut_off_after_a_failure() {
        let functions = Functions { unique_id, init_rank, all_reduce, all_gather, finalize, destroy, abort, explain };
        for (together, status, calls) in
            [(true, 0, ("finalize", "destroy")), (true, 3, ("finalize", "abort")), (false, 0, ("abort", ""))]
        {
            CALLS.set(("", ""));
            STATUS.set(status);
            functions.leave(std::ptr::null_mut(), together);
            assert_eq!(CALLS.get(), calls, "{together}, {status}");
        }
        assert!(functions.succeeded(0).is_ok());
        assert!(functions.succeeded(5).unwrap_err().to_string().ends_with("in words (5)"));
    }

    #[test]
    fn a_library_that_is_missing_or_too_old_is_named_with_its_remedy() {
        let refused = |names: &[&str]| Functions::find(names).err().map(|error| error.to_string()).unwrap_or_default();
        let missing = refused(&["libsdlab-has-none.so.2"]);
        assert!(missing.contains("libnccl.so.2") && missing.contains("install NCCL 2.18"), "{missing}");
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            // The second name is tried where the first is not there.
            let old = refused(&["libsdlab-has-none.so.2", "libc.so.6"]);
            assert!(old.contains("ncclGetUniqueId is missing") && old.contains("install NCCL 2.18"), "{old}");
        }
    }

    #[test]
    fn ranks_find_what_the_first_one_leaves_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("meeting");
        let soon = Duration::from_millis(1);
        assert!(find(&at, 3, soon).unwrap_err().to_string().contains("the first rank has not come"));
        leave(&at, b"abc").unwrap();
        assert_eq!(find(&at, 3, soon).unwrap(), b"abc");
        assert!(find(&at, 4, soon).unwrap_err().to_string().contains("is not what a first rank writes"));
        assert!(leave(&at, b"def").unwrap_err().to_string().contains("is there already"));
        let nowhere = folder.path().join("no folder/meeting");
        assert!(leave(&nowhere, b"abc").unwrap_err().to_string().contains("cannot be written"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
