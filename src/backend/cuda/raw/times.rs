//! How long each kernel takes, by events before and behind it.
#![allow(unsafe_code)]

use super::guard::failed;
use crate::backend::cuda::device::{DeviceError, Time};
use cudarc::driver::{result as cu, sys as cu_sys};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Pairs of events that are waiting to be read.
const MOST: usize = 4096;

type Elapsed = unsafe extern "C" fn(*mut f32, cu_sys::CUevent, cu_sys::CUevent) -> cu_sys::CUresult;

/// Events, and what they have shown.
#[derive(Default)]
pub struct Times {
    is_on: Cell<bool>,
    /// What is timed now.
    phase: Cell<&'static str>,
    /// Phase and kernel of each pair of events.
    waiting: RefCell<Vec<(&'static str, String, [cu_sys::CUevent; 2])>>,
    /// Events that can be used again.
    free: RefCell<Vec<cu_sys::CUevent>>,
    found: RefCell<BTreeMap<(&'static str, String), Time>>,
}

impl Times {
    /// Whether calls are timed from now on.
    pub fn turn(&self, on: bool) {
        self.is_on.set(on);
    }

    /// Whether calls are timed.
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// What follows belongs to this phase.
    pub fn enter(&self, phase: &'static str) {
        self.phase.set(phase);
    }

    fn event(&self) -> Result<cu_sys::CUevent, DeviceError> {
        let known = self.free.borrow_mut().pop();
        known.map_or_else(|| cu::event::create(cu_sys::CUevent_flags::CU_EVENT_DEFAULT), Ok).map_err(failed("an event"))
    }

    /// Makes one call between two events.
    pub fn around(
        &self,
        name: &str,
        stream: cu_sys::CUstream,
        call: impl FnOnce() -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        if self.waiting.borrow().len() >= MOST {
            self.read()?;
        }
        let events = [self.event()?, self.event()?];
        self.waiting.borrow_mut().push((self.phase.get(), name.to_owned(), events));
        // SAFETY: the events and the stream exist.
        unsafe { cu::event::record(events[0], stream) }.map_err(failed("an event"))?;
        call()?;
        // SAFETY: as above.
        unsafe { cu::event::record(events[1], stream) }.map_err(failed("an event"))
    }

    /// Waits for all events and adds up what they say.
    fn read(&self) -> Result<(), DeviceError> {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        // The function of this name is in every driver, that of its second version in those of CUDA 12.8 and later.
        // SAFETY: the library is open, and the function has this type.
        let elapsed = unsafe { cu_sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") };
        let missing = |_| DeviceError::Failed { what: "cuEventElapsedTime".to_owned(), reason: "not found".to_owned() };
        let elapsed = elapsed.map_err(missing)?;
        for (phase, name, events) in waiting {
            let mut milliseconds = 0.0_f32;
            // SAFETY: both events were recorded, and the second one is waited for; the driver writes one number.
            unsafe {
                cu::event::synchronize(events[1]).map_err(failed("an event"))?;
                elapsed(&mut milliseconds, events[0], events[1]).result().map_err(failed("an event"))?;
            }
            self.free.borrow_mut().extend(events);
            let mut found = self.found.borrow_mut();
            let time = found.entry((phase, name.clone())).or_insert_with(|| Time { phase, name, ..Time::default() });
            time.calls += 1;
            time.seconds += f64::from(milliseconds) / 1e3;
        }
        Ok(())
    }

    /// What was found since this was asked last.
    pub fn take(&self) -> Result<Vec<Time>, DeviceError> {
        self.read()?;
        Ok(std::mem::take(&mut *self.found.borrow_mut()).into_values().collect())
    }
}

impl Drop for Times {
    fn drop(&mut self) {
        let waiting = self.waiting.take().into_iter().flat_map(|(_, _, events)| events);
        for event in waiting.chain(self.free.take()) {
            // SAFETY: each was made once; one that is still to come is destroyed when it has come.
            let _ = unsafe { cu::event::destroy(event) };
        }
    }
}
