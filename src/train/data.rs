//! Where samples come from.

use super::config::Files;
use crate::backend::{Backend, Rows};
use crate::bench::config::Task;
use crate::bench::dataset::{Bench, Side};
use crate::io::FileError;
use crate::io::embeddings::Embeddings;
use crate::io::labels::Labels;
use serde::{Deserialize, Serialize};
use std::path::Path;

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
    /// The classes of the samples, where known.
    fn labels(&self) -> Option<&Labels>;
    /// Sources of a crosscoder, equally long and stacked in one row of either side; else 1.
    fn sources(&self) -> usize {
        1
    }
    /// What the files hold that the rows are from, if they are from files.
    fn contents(&self) -> &[Content] {
        &[]
    }
}

/// What a file of `[data]` holds, as far as training can see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The field that names the file, such as `data.inputs`.
    pub field: String,
    /// The file, as the field names it.
    pub file: String,
    /// [`Embeddings::digest`] or [`Labels::digest`].
    pub sha256: String,
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

    /// Rows of one side on the host.
    pub fn rows(&self, indices: &[u64], side: Side) -> Vec<f32> {
        let mut out = vec![0.0; indices.len() * self.dimension(side)];
        match self {
            Self::Bench(bench) => bench.synthesize(&bench.coefficients().batch(indices), side, &mut out),
            Self::Rows(rows) => rows.read(indices, side, &mut out),
        }
        out
    }

    /// Sources of a crosscoder, stacked in one row; else 1.
    pub fn sources(&self) -> usize {
        match self {
            Self::Bench(bench) => match bench.config().task {
                Task::Crosscoder { sources } => sources,
                _ => 1,
            },
            Self::Rows(rows) => rows.sources(),
        }
    }

    /// What the files of the data hold; nothing on the bench.
    pub fn contents(&self) -> &[Content] {
        match self {
            Self::Bench(_) => &[],
            Self::Rows(rows) => rows.contents(),
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
    /// The classes of the rows.
    pub labels: Option<Labels>,
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

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }
}

/// Rows of files, read as they are needed.
#[derive(Debug)]
pub struct Mapped {
    inputs: Embeddings,
    targets: Option<Embeddings>,
    labels: Option<Labels>,
    contents: Vec<Content>,
}

impl Mapped {
    /// Opens the files and reads the numbers once, to refuse NaN and infinities before training begins, and to know what the files hold.
    ///
    /// # Errors
    /// A file that cannot be used, a number that is not finite, targets or labels of another number of rows.
    pub fn open(files: &Files) -> Result<Self, FileError> {
        let inputs = Embeddings::open(&files.inputs)?;
        let targets = files.targets.as_deref().map(Embeddings::open).transpose()?;
        if let (Some(rows), Some(path)) = (targets.as_ref().map(Embeddings::rows), &files.targets)
            && rows != inputs.rows()
        {
            let expected = format!("{}, as many as there are inputs", inputs.rows());
            return Err(FileError::content(Path::new(path), "rows", expected, rows.to_string()));
        }
        let mut known = vec![("data.inputs", Some(&files.inputs), Some(inputs.digest()?))];
        let digest = targets.as_ref().map(Embeddings::digest).transpose()?;
        known.push(("data.targets", files.targets.as_ref(), digest));
        let labels = files.labels.as_deref().map(|labels| Labels::open(labels, inputs.rows())).transpose()?;
        known.push(("data.labels", files.labels.as_ref(), labels.as_ref().map(Labels::digest)));
        let contents = known.into_iter().filter_map(|(field, file, sha256)| {
            Some(Content { field: field.to_owned(), file: file?.clone(), sha256: sha256? })
        });
        let contents = contents.collect();
        Ok(Self { inputs, targets, labels, contents })
    }

    fn side(&self, side: Side) -> &Embeddings {
        match (&self.targets, side) {
            (Some(targets), Side::Target) => targets,
            _ => &self.inputs,
        }
    }
}

impl Samples for Mapped {
    fn samples(&self) -> u64 {
        self.inputs.rows() as u64
    }

    fn dimension(&self, side: Side) -> usize {
        self.side(side).dimension()
    }

    fn reconstructs_its_input(&self) -> bool {
        self.targets.is_none()
    }

    fn read(&self, indices: &[u64], side: Side, out: &mut [f32]) {
        self.side(side).read(indices, out);
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    fn sources(&self) -> usize {
        let sources = self.inputs.sources();
        if self.side(Side::Target).sources() == sources { sources } else { 1 }
    }

    fn contents(&self) -> &[Content] {
        &self.contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::npy;

    fn written(folder: &Path, name: &str, rows: &[&[f32]]) -> String {
        let path = folder.join(name);
        let mut bytes = npy::header(&[rows.len() as u64, rows[0].len() as u64]);
        rows.iter().copied().flatten().for_each(|x| bytes.extend(x.to_le_bytes()));
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    #[test]
    fn a_crosscoder_has_as_many_sources_as_both_sides() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, shape: &[u64]| {
            let path = folder.path().join(name);
            let numbers = vec![0; 4 * shape.iter().product::<u64>() as usize];
            std::fs::write(&path, [npy::header(shape), numbers].concat()).unwrap();
            path.display().to_string()
        };
        let (inputs, same, other) = (file("x.npy", &[2, 3, 4]), file("y.npy", &[2, 3, 1]), file("z.npy", &[2, 12]));
        for (targets, sources) in [(None, 3), (Some(same), 3), (Some(other), 1)] {
            let files = Files { inputs: inputs.clone(), targets, labels: None };
            let data = Data::Rows(Box::new(Mapped::open(&files).unwrap()));
            assert_eq!(data.sources(), sources);
            let named: Vec<&String> = data.contents().iter().map(|content| &content.file).collect();
            assert_eq!(named, std::iter::once(&inputs).chain(&files.targets).collect::<Vec<_>>());
        }
    }

    #[test]
    fn files_of_one_length_become_samples_and_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = written(folder.path(), "x.npy", &[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]);
        let targets = written(folder.path(), "y.npy", &[&[7.0], &[8.0], &[9.0]]);
        let short = written(folder.path(), "short.npy", &[&[7.0], &[8.0]]);
        let holes = written(folder.path(), "holes.npy", &[&[7.0], &[f32::NAN], &[1.0]]);
        let files =
            |targets: Option<&String>| Files { inputs: inputs.clone(), targets: targets.cloned(), labels: None };
        let data = Data::Rows(Box::new(Mapped::open(&files(Some(&targets))).unwrap()));
        assert_eq!((data.samples(), data.dimension(Side::Input), data.dimension(Side::Target)), (3, 2, 1));
        assert_eq!(data.rows(&[2, 0], Side::Target), [9.0, 7.0]);
        let own = Data::Rows(Box::new(Mapped::open(&files(None)).unwrap()));
        assert!(own.reconstructs_its_input());
        assert_eq!(own.rows(&[1], Side::Target), [3.0, 4.0]);
        let error = Mapped::open(&files(Some(&short))).unwrap_err().to_string();
        assert!(error.ends_with("short.npy: rows: expected 3, as many as there are inputs, found 2"), "{error}");
        let error = Mapped::open(&files(Some(&holes))).unwrap_err().to_string();
        assert!(error.contains("row 1, column 0"), "{error}");
    }
}
