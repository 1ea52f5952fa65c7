//! Calls that are recorded, and launched as one graph.
#![allow(unsafe_code)]

use super::guard::{failed, guarded, one_line};
use super::memory::Shared;
use super::owned::Owned;
use crate::backend::cuda::device::DeviceError;
use cudarc::driver::{result as cu, sys as cu_sys};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;

/// What errors call a half of a step.
const A_GRAPH: &str = "a graph of kernels";

fn unrecorded(error: cu::DriverError) -> DeviceError {
    let reason = one_line(&format!("{error:?}; --no-graphs trains without"));
    DeviceError::Failed { what: A_GRAPH.to_owned(), reason }
}

/// A graph that can be launched.
struct Graph(cu_sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: it was made once, and the stream on which it was launched has come to its end.
        let _ = unsafe { cu::graph::exec_destroy(self.0) };
    }
}

/// The graphs that were launched last, by part, to be given new numbers.
#[derive(Default)]
pub struct Graphs(RefCell<BTreeMap<usize, Graph>>);

impl Graphs {
    /// Records what `calls` asks for and launches it.
    pub fn run(&self, shared: &Shared, part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        // A library may load a kernel of its own meanwhile, which a stricter mode would refuse.
        let mode = cu_sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let stream = shared.stream();
        // SAFETY: the stream exists.
        guarded(A_GRAPH, || unsafe { cu::stream::begin_capture(stream, mode) }.map_err(unrecorded))?;
        shared.record(calls);
        guarded(A_GRAPH, || {
            // SAFETY: as above; the graph is destroyed once.
            let graph = Owned(unsafe { cu::stream::end_capture(stream) }.map_err(unrecorded)?, cu::graph::destroy);
            self.launch(shared, part, graph.0)
        })
    }

    /// Gives the graph that was launched last the numbers of this one, or takes this one in its place, and launches it.
    fn launch(&self, shared: &Shared, part: usize, graph: cu_sys::CUgraph) -> Result<(), DeviceError> {
        let stream = shared.stream();
        let mut graphs = self.0.borrow_mut();
        let is_like_the_last = graphs.get(&part).is_some_and(|last| {
            let mut info = MaybeUninit::uninit();
            // SAFETY: both graphs exist; the driver writes what did not fit.
            unsafe { cu_sys::cuGraphExecUpdate_v2(last.0, graph, info.as_mut_ptr()) }.result().is_ok()
        });
        if !is_like_the_last {
            if graphs.contains_key(&part) {
                shared.wait_for_ranks()?;
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
}
