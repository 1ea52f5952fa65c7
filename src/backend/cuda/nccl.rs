//! Ranks that are processes with one GPU each, connected by NCCL. Raw, like [`raw`](super::raw), and never run so far.
//!
//! NCCL is opened at the first call of [`Nccl::join`], not when the program starts; nothing else needs it. It adds up in an order of its own, which
//! depends on the number of ranks and on how they are connected, not on their timing; every rank gets the same bits.
#![allow(unsafe_code)]

use super::checked::Array;
use super::device::DeviceError;
use super::raw::{Driver, Memory, Shared, allocate, bytes, bytes_mut, guarded, one_line, present};
use crate::backend::collective::{Collective, CollectiveError, Reaches};
use cudarc::nccl::result as nccl;
use cudarc::nccl::sys;
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a rank waits for the first one.
const PATIENCE: Duration = Duration::from_secs(120);

/// One rank of a training, and its GPU.
pub struct Nccl {
    shared: Rc<Shared>,
    rank: usize,
    ranks: usize,
    connection: sys::ncclComm_t,
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: it was made once and is given up once. Without waiting for the others, which may have gone.
        let _ = guarded("NCCL", || unsafe { nccl::comm_abort(self.connection) }.map_err(failed));
    }
}

fn failed(error: nccl::NcclError) -> DeviceError {
    DeviceError::Failed { what: "NCCL".to_owned(), reason: one_line(&format!("{:?}", error.0)) }
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
    /// Meets the other ranks of a training through a file that all of them see. Waits for all.
    ///
    /// # Errors
    /// NCCL is missing or too old, the file cannot be used, or the ranks cannot be connected.
    pub fn join(driver: &Driver, rank: usize, ranks: usize, meeting: &Path) -> Result<Self, DeviceError> {
        // SAFETY: it only tries to open the library.
        let found = unsafe { sys::is_culib_present() };
        present(found, "NCCL (libnccl)", "NCCL 2.18 or later, or train on one GPU")?;
        guarded("NCCL", || Self::connect(driver, rank, ranks, meeting))
    }

    fn connect(driver: &Driver, rank: usize, ranks: usize, meeting: &Path) -> Result<Self, DeviceError> {
        let mut id = sys::ncclUniqueId { internal: [0; 128] };
        if rank == 0 {
            id = nccl::get_uniqueid().map_err(failed)?;
            leave(meeting, &id.internal.map(|c| c as u8))?;
        } else {
            let found = find(meeting, id.internal.len(), PATIENCE)?;
            id.internal.iter_mut().zip(found).for_each(|(c, byte)| *c = byte as c_char);
        }
        let count = |x: usize| i32::try_from(x).map_err(|error| wrong(error.to_string()));
        let (rank_number, ranks_number) = (count(rank)?, count(ranks)?);
        let mut connection: sys::ncclComm_t = std::ptr::null_mut();
        // SAFETY: the context of the driver is current in this thread, and the call writes one pointer.
        let connected = unsafe { nccl::comm_init_rank(&mut connection, ranks_number, id, rank_number) };
        if rank == 0 {
            let _ = std::fs::remove_file(meeting);
        }
        connected.map_err(failed)?;
        Ok(Self { shared: driver.shared(), rank, ranks, connection })
    }

    fn all_reduce(&self, memory: &Memory, count: usize, marks: bool) -> Result<(), DeviceError> {
        let (kind, how) = if marks {
            (sys::ncclDataType_t::ncclUint32, sys::ncclRedOp_t::ncclMax)
        } else {
            (sys::ncclDataType_t::ncclFloat32, sys::ncclRedOp_t::ncclSum)
        };
        let (from, to) = (memory.address() as *const c_void, memory.address() as *mut c_void);
        let stream = self.shared.stream() as sys::cudaStream_t;
        guarded("NCCL", || {
            // SAFETY: so many numbers of four bytes are there, which the caller has compared; the call is queued on the stream that owns them.
            unsafe { nccl::all_reduce(from, to, count, kind, how, self.connection, stream) }.map_err(failed)
        })?;
        Ok(())
    }

    /// The same number of bytes from every rank.
    fn all_gather(&self, own: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut all = vec![0; own.len() * self.ranks];
        if own.is_empty() {
            return Ok(all);
        }
        let (from, to) = (allocate(&self.shared, own.len())?, allocate(&self.shared, all.len())?);
        self.shared.upload(own, &from)?;
        let stream = self.shared.stream() as sys::cudaStream_t;
        guarded("NCCL", || {
            let (from, to) = (from.address() as *const c_void, to.address() as *mut c_void);
            let kind = sys::ncclDataType_t::ncclUint8;
            // SAFETY: both were just allocated, one number of bytes from each rank; the call is queued on the stream that owns them.
            unsafe { nccl::all_gather(from, to, own.len(), kind, self.connection, stream) }.map_err(failed)
        })?;
        self.shared.download(&to, &mut all)?;
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
