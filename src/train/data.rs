//! Where samples come from.

use crate::backend::{Backend, Rows};
use crate::bench::dataset::{Bench, Side};

/// Samples to train on, by their number.
pub enum Data {
    /// The Linear Representation Bench: samples are drawn where the backend computes.
    Bench(Box<Bench>),
    /// Rows that are read and uploaded.
    Rows(Box<dyn Samples>),
}

/// Rows of x_p and x_r that are read by their number.
pub trait Samples: Send + Sync {
    /// N.
    fn samples(&self) -> u64;
    /// n_p or n_r.
    fn dimension(&self, side: Side) -> usize;
    /// True if x_r is x_p.
    fn reconstructs_its_input(&self) -> bool;
    /// Writes these rows of one side under each other, `indices.len()` × dimension numbers.
    fn read(&self, indices: &[u64], side: Side, out: &mut [f32]);
    /// The class of each sample, where known.
    fn labels(&self) -> Option<&[u32]>;
}

impl Data {
    /// N.
    pub fn samples(&self) -> u64 {
        match self {
            Self::Bench(bench) => bench.config().samples,
            Self::Rows(rows) => rows.samples(),
        }
    }

    /// n_p or n_r.
    pub fn dimension(&self, side: Side) -> usize {
        match self {
            Self::Bench(bench) => bench.directions(side).dimension(),
            Self::Rows(rows) => rows.dimension(side),
        }
    }

    /// True if x_r is x_p.
    pub fn reconstructs_its_input(&self) -> bool {
        match self {
            Self::Bench(bench) => bench.reconstructs_its_input(),
            Self::Rows(rows) => rows.reconstructs_its_input(),
        }
    }

    /// The bench, where the samples are one.
    pub fn bench(&self) -> Option<&Bench> {
        match self {
            Self::Bench(bench) => Some(bench),
            Self::Rows(_) => None,
        }
    }
}

/// Brings samples to a backend; its buffers are used again.
#[derive(Debug, Default)]
pub struct Loader {
    inputs: Vec<f32>,
    targets: Vec<f32>,
}

impl Loader {
    /// Puts these samples into a batch.
    pub fn load<B: Backend>(&mut self, backend: &B, data: &Data, indices: &[u64], batch: &mut B::Batch) {
        match data {
            Data::Bench(bench) => backend.sample(bench, indices, batch),
            Data::Rows(rows) => {
                self.inputs.resize(indices.len() * rows.dimension(Side::Input), 0.0);
                rows.read(indices, Side::Input, &mut self.inputs);
                if !rows.reconstructs_its_input() {
                    self.targets.resize(indices.len() * rows.dimension(Side::Target), 0.0);
                    rows.read(indices, Side::Target, &mut self.targets);
                }
                backend.load(Rows { inputs: &self.inputs, targets: &self.targets, weights: None }, batch);
            }
        }
    }
}

/// Rows in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// n_p.
    pub n_p: usize,
    /// Rows of n_p numbers.
    pub inputs: Vec<f32>,
    /// n_r and rows of n_r numbers; absent if x_r is x_p.
    pub targets: Option<(usize, Vec<f32>)>,
    /// The class of each row.
    pub labels: Option<Vec<u32>>,
}

impl Samples for Memory {
    fn samples(&self) -> u64 {
        (self.inputs.len() / self.n_p.max(1)) as u64
    }

    fn dimension(&self, side: Side) -> usize {
        match (&self.targets, side) {
            (Some((n_r, _)), Side::Target) => *n_r,
            _ => self.n_p,
        }
    }

    fn reconstructs_its_input(&self) -> bool {
        self.targets.is_none()
    }

    fn read(&self, indices: &[u64], side: Side, out: &mut [f32]) {
        let width = self.dimension(side);
        let rows = match (&self.targets, side) {
            (Some((_, rows)), Side::Target) => rows,
            _ => &self.inputs,
        };
        for (out, &index) in out.chunks_exact_mut(width).zip(indices) {
            out.copy_from_slice(&rows[index as usize * width..][..width]);
        }
    }

    fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }
}
