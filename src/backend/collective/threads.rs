//! Ranks that are threads of one process.

use super::{Collective, CollectiveError, Reaches};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

/// One rank. When it is dropped, the others get an error at their next call instead of waiting for ever.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ranks: usize,
    meeting: Mutex<Meeting>,
    all_here: Condvar,
    /// What each rank gives.
    numbers: Vec<RwLock<Vec<f32>>>,
    bytes: Vec<RwLock<Vec<u8>>>,
    /// The part of a sum that each rank has taken.
    sums: Vec<RwLock<Vec<f32>>>,
}

#[derive(Debug, Default)]
struct Meeting {
    arrived: usize,
    /// Meetings that all ranks have reached.
    done: u64,
    left: Option<usize>,
}

impl Threads {
    /// All ranks of a training, one for each thread.
    pub fn team(ranks: usize) -> Vec<Self> {
        let shared = Arc::new(Shared {
            ranks,
            meeting: Mutex::default(),
            all_here: Condvar::new(),
            numbers: (0..ranks).map(|_| RwLock::default()).collect(),
            bytes: (0..ranks).map(|_| RwLock::default()).collect(),
            sums: (0..ranks).map(|_| RwLock::default()).collect(),
        });
        (0..ranks).map(|rank| Self { rank, shared: Arc::clone(&shared) }).collect()
    }

    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        // A rank that panics leaves, which is noticed without the poison.
        self.shared.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for all ranks. What was written before by any rank can be read afterwards by all.
    fn meet(&self) -> Result<(), CollectiveError> {
        let mut meeting = self.meeting();
        let number = meeting.done;
        if meeting.left.is_none() {
            meeting.arrived += 1;
            if meeting.arrived == self.shared.ranks {
                meeting.arrived = 0;
                meeting.done += 1;
                self.shared.all_here.notify_all();
            }
        }
        let waits = |meeting: &mut Meeting| meeting.done == number && meeting.left.is_none();
        meeting = self.shared.all_here.wait_while(meeting, waits).unwrap_or_else(PoisonError::into_inner);
        match meeting.left {
            // A rank may leave as soon as its last meeting is over, before the others have woken up.
            Some(rank) if meeting.done == number => Err(CollectiveError::Left { rank }),
            _ => Ok(()),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.meeting().left.get_or_insert(self.rank);
        self.shared.all_here.notify_all();
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn put<T: Copy>(lock: &RwLock<Vec<T>>, numbers: &[T]) {
    let mut slot = lock.write().unwrap_or_else(PoisonError::into_inner);
    slot.clear();
    slot.extend_from_slice(numbers);
}

/// The part of a sum that a rank takes.
fn part(rank: usize, ranks: usize, len: usize) -> Range<usize> {
    let size = len.div_ceil(ranks);
    (rank * size).min(len)..((rank + 1) * size).min(len)
}

fn same_length(lengths: impl Iterator<Item = usize>, own: usize) -> Result<(), CollectiveError> {
    for (rank, len) in lengths.enumerate() {
        if len != own {
            return Err(CollectiveError::Differ { what: format!("rank {rank} has {len} numbers, this one {own}") });
        }
    }
    Ok(())
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.shared.ranks
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        put(&self.shared.bytes[self.rank], own);
        self.meet()?;
        let all = self.shared.bytes.iter().map(|bytes| read(bytes).clone()).collect();
        // Nobody overwrites what another one has not read.
        self.meet()?;
        Ok(all)
    }
}

impl Reaches<[f32], [bool]> for Threads {
    fn sum(&self, numbers: &mut [f32]) -> Result<(), CollectiveError> {
        let Shared { ranks, numbers: given, sums, .. } = &*self.shared;
        put(&given[self.rank], numbers);
        self.meet()?;
        {
            let given: Vec<_> = given.iter().map(read).collect();
            same_length(given.iter().map(|given| given.len()), numbers.len())?;
            let own = part(self.rank, *ranks, numbers.len());
            let mut sum = given[0][own.clone()].to_vec();
            for given in &given[1..] {
                sum.iter_mut().zip(&given[own.clone()]).for_each(|(sum, x)| *sum += x);
            }
            put(&sums[self.rank], &sum);
        }
        // After it nobody reads what was given; what was summed is read until the next meeting, before the next sum.
        self.meet()?;
        for (rank, sum) in sums.iter().enumerate() {
            let of_rank = part(rank, *ranks, numbers.len());
            numbers[of_rank].copy_from_slice(&read(sum));
        }
        Ok(())
    }

    fn any(&self, marks: &mut [bool]) -> Result<(), CollectiveError> {
        let own: Vec<u8> = marks.iter().map(|mark| (*mark).into()).collect();
        let all = self.gather(&own)?;
        same_length(all.iter().map(Vec::len), own.len())?;
        for given in &all {
            marks.iter_mut().zip(given).for_each(|(mark, given)| *mark |= *given != 0);
        }
        Ok(())
    }
}
