//! Arrays that know what they hold and how long they are, and launches that compare their arguments with the signature of the kernel.
//!
//! [`Backend`](crate::backend::Backend) has no way to say that a device failed in the middle of a step. So the first failure is kept, everything after it is left out,
//! and [`Checked::failure`] tells it; numbers that are downloaded afterwards are NaN, so that no one takes them for a result.

use super::device::{Argument, Device, DeviceError, Kind, Precision, Product};
use super::kernels::{Parameter, signatures};
use super::raw::{bytes, bytes_mut};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// What an array can hold: plain numbers, for which every pattern of bits is a value.
pub trait Number: Copy + Default + 'static + super::raw::Plain {
    /// As kernels declare it.
    const KIND: Kind;
    /// What stands for a number that a failed device did not give: NaN, or 0.
    const LOST: Self;
}

impl Number for u16 {
    const KIND: Kind = Kind::U16;
    // It holds bf16.
    const LOST: Self = 0x7FC0;
}
impl Number for u32 {
    const KIND: Kind = Kind::U32;
    const LOST: Self = 0;
}
impl Number for u64 {
    const KIND: Kind = Kind::U64;
    const LOST: Self = 0;
}
impl Number for f32 {
    const KIND: Kind = Kind::F32;
    const LOST: Self = Self::NAN;
}
impl Number for f64 {
    const KIND: Kind = Kind::F64;
    const LOST: Self = Self::NAN;
}

/// Numbers on the device.
pub struct Array<D: Device, T> {
    memory: Option<D::Memory>,
    len: usize,
    number: PhantomData<T>,
}

/// An argument of a launch: scalars, or an array with the least length that the kernel needs.
pub enum Given<'a, D: Device> {
    /// An array.
    Array {
        /// Its memory, unless the device had failed before.
        memory: Option<&'a D::Memory>,
        /// What it holds.
        kind: Kind,
        /// Its length.
        len: usize,
        /// How much of it is needed.
        need: usize,
    },
    /// A scalar.
    Scalar(Argument<'static, ()>),
}

impl<D: Device, T: Number> Array<D, T> {
    /// Length.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without numbers.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its memory, unless the device had failed before.
    pub fn memory(&self) -> Option<&D::Memory> {
        self.memory.as_ref()
    }

    /// As an argument, of which `need` numbers are read or written.
    pub fn of(&self, need: usize) -> Given<'_, D> {
        Given::Array { memory: self.memory.as_ref(), kind: T::KIND, len: self.len, need }
    }

    /// As an argument that is used as a whole.
    pub fn all(&self) -> Given<'_, D> {
        self.of(self.len)
    }
}

impl<D: Device> From<u32> for Given<'_, D> {
    fn from(x: u32) -> Self {
        Self::Scalar(Argument::U32(x))
    }
}
impl<D: Device> From<bool> for Given<'_, D> {
    fn from(x: bool) -> Self {
        Self::Scalar(Argument::U32(x.into()))
    }
}
impl<D: Device> From<u64> for Given<'_, D> {
    fn from(x: u64) -> Self {
        Self::Scalar(Argument::U64(x))
    }
}
impl<D: Device> From<f32> for Given<'_, D> {
    fn from(x: f32) -> Self {
        Self::Scalar(Argument::F32(x))
    }
}
impl<D: Device> From<f64> for Given<'_, D> {
    fn from(x: f64) -> Self {
        Self::Scalar(Argument::F64(x))
    }
}

/// A device with its signatures and its first failure.
pub struct Checked<D: Device> {
    device: D,
    signatures: BTreeMap<String, Vec<Parameter>>,
    failure: RefCell<Option<DeviceError>>,
}

/// One dense product of arrays; see [`Product`].
pub struct Matrices<'a, D: Device, T> {
    /// See [`Product::precision`].
    pub precision: Precision,
    /// See [`Product::transposed`].
    pub transposed: bool,
    /// m, n, k.
    pub sizes: [usize; 3],
    /// a and its stride.
    pub a: (&'a Array<D, T>, usize),
    /// b and its stride.
    pub b: (&'a Array<D, T>, usize),
    /// c.
    pub c: &'a Array<D, f32>,
}

impl<D: Device> Checked<D> {
    /// Around a device.
    pub fn new(device: D) -> Self {
        Self { device, signatures: signatures(), failure: RefCell::new(None) }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The first failure.
    pub fn failure(&self) -> Option<DeviceError> {
        self.failure.borrow().clone()
    }

    fn note<T>(&self, result: Result<T, DeviceError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failure.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    fn wrong<T>(&self, what: &str, reason: String) -> Option<T> {
        self.note(Err(DeviceError::Failed { what: what.to_owned(), reason }))
    }

    fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// An array of zeros.
    pub fn zeros<T: Number>(&self, len: usize) -> Array<D, T> {
        // An empty array has memory too, so that it can be an argument.
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let memory = if self.has_failed() { None } else { self.note(self.device.allocate(bytes)) };
        Array { memory, len, number: PhantomData }
    }

    /// An array of these numbers.
    pub fn array<T: Number>(&self, numbers: &[T]) -> Array<D, T> {
        let array = self.zeros(numbers.len());
        self.upload(numbers, &array);
        array
    }

    /// Overwrites the beginning of an array.
    pub fn upload<T: Number>(&self, numbers: &[T], to: &Array<D, T>) {
        let Some(memory) = to.memory.as_ref().filter(|_| !self.has_failed() && !numbers.is_empty()) else { return };
        if numbers.len() > to.len {
            self.wrong::<()>("upload", format!("{} numbers into an array of {}", numbers.len(), to.len));
            return;
        }
        self.note(self.device.upload(bytes(numbers), memory));
    }

    /// Memory of the host for so many numbers; nothing if the device has failed.
    pub fn staging<T: Number>(&self, len: usize) -> Option<D::Staging> {
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        if self.has_failed() { None } else { self.note(self.device.staging(bytes)) }
    }

    /// Overwrites the beginning of arrays beside other work; see [`Device::stage`].
    pub fn stage<T: Number>(&self, staging: Option<&D::Staging>, pieces: &[(&[T], &Array<D, T>)]) {
        let Some(staging) = staging.filter(|_| !self.has_failed()) else { return };
        if let Some((numbers, to)) = pieces.iter().find(|(numbers, to)| numbers.len() > to.len) {
            self.wrong::<()>("staging", format!("{} numbers into an array of {}", numbers.len(), to.len));
            return;
        }
        let filled = pieces.iter().filter(|(numbers, _)| !numbers.is_empty());
        let pieces: Option<Vec<_>> = filled.map(|(numbers, to)| Some((bytes(numbers), to.memory.as_ref()?))).collect();
        if let Some(pieces) = pieces {
            self.note(self.device.stage(staging, &pieces));
        }
    }

    /// Says that everything that uses what is staged here has been asked for; see [`Device::left`].
    pub fn left(&self, staging: Option<&D::Staging>) {
        if let Some(staging) = staging.filter(|_| !self.has_failed()) {
            self.note(self.device.left(staging));
        }
    }

    /// Does what `calls` asks for as one piece of work; see [`Device::as_one`].
    pub fn as_one(&self, part: usize, calls: &mut dyn FnMut()) {
        if self.has_failed() {
            // The host's share of the work.
            calls();
            return;
        }
        self.note(self.device.as_one(part, calls));
    }

    /// The first `len` numbers; NaN, or 0 for integers, if the device has failed.
    pub fn download<T: Number>(&self, from: &Array<D, T>, len: usize) -> Vec<T> {
        let mut numbers = vec![T::LOST; len.min(from.len)];
        if let Some(memory) = from.memory.as_ref().filter(|_| !self.has_failed() && !numbers.is_empty())
            && self.note(self.device.download(memory, bytes_mut(&mut numbers))).is_none()
        {
            numbers.fill(T::LOST);
        }
        numbers
    }

    /// Zeros everywhere.
    pub fn clear<T: Number>(&self, array: &Array<D, T>) {
        self.fill(array, 0);
    }

    /// The same byte everywhere.
    pub fn fill<T: Number>(&self, array: &Array<D, T>, byte: u8) {
        if let Some(memory) = array.memory.as_ref().filter(|_| !self.has_failed() && array.len > 0) {
            self.note(self.device.fill(memory, byte, array.len * size_of::<T>()));
        }
    }

    /// Blocks of one thread a number.
    pub fn blocks(&self, count: usize) -> u32 {
        u32::try_from(count.div_ceil(self.device.width() as usize)).unwrap_or(u32::MAX)
    }

    /// Blocks of one warp an item.
    pub fn warps(&self, count: usize) -> u32 {
        self.blocks(count.saturating_mul(32))
    }

    /// Blocks for loops that take any number of threads: enough to fill a device, not more than numbers.
    pub fn some(&self, count: usize) -> u32 {
        self.blocks(count).min(2048)
    }

    /// Launches a kernel; nothing where the grid is empty.
    pub fn launch<const N: usize>(&self, kernel: &str, grid: [u32; 3], given: [Given<'_, D>; N]) {
        self.launch_with(kernel, grid, given.into());
    }

    /// The same with as many arguments as there are.
    pub fn launch_with(&self, kernel: &str, grid: [u32; 3], given: Vec<Given<'_, D>>) {
        if self.has_failed() || grid.contains(&0) {
            return;
        }
        if let Some(arguments) = self.compare(kernel, given) {
            self.note(self.device.launch(kernel, grid, &arguments));
        }
    }

    fn compare<'a>(&self, kernel: &str, given: Vec<Given<'a, D>>) -> Option<Vec<Argument<'a, D::Memory>>> {
        let Some(parameters) = self.signatures.get(kernel) else {
            return self.wrong(kernel, "no such kernel".to_owned());
        };
        if parameters.len() != given.len() {
            return self.wrong(kernel, format!("{} arguments expected, {} given", parameters.len(), given.len()));
        }
        let mut arguments = Vec::with_capacity(given.len());
        for (number, (given, parameter)) in given.into_iter().zip(parameters).enumerate() {
            let (found, argument) = match given {
                Given::Array { len, need, .. } if len < need => {
                    return self.wrong(kernel, format!("argument {number} has {len} numbers, {need} are needed"));
                }
                Given::Array { memory, kind, .. } => {
                    (Parameter { kind, is_memory: true }, Argument::Memory(memory?, kind))
                }
                Given::Scalar(scalar) => {
                    let (kind, argument) = match scalar {
                        Argument::U32(x) => (Kind::U32, Argument::U32(x)),
                        Argument::U64(x) => (Kind::U64, Argument::U64(x)),
                        Argument::F32(x) => (Kind::F32, Argument::F32(x)),
                        Argument::F64(x) => (Kind::F64, Argument::F64(x)),
                        Argument::Memory((), kind) => return self.wrong(kernel, format!("a scalar of {kind:?}")),
                    };
                    (Parameter { kind, is_memory: false }, argument)
                }
            };
            if found != *parameter {
                return self.wrong(kernel, format!("argument {number} is {found:?}, the kernel has {parameter:?}"));
            }
            arguments.push(argument);
        }
        Some(arguments)
    }

    /// A dense product; nothing where a size is 0 but k, which fills c with zeros.
    pub fn product<T: Number>(&self, of: &Matrices<'_, D, T>) {
        let [m, n, k] = of.sizes;
        if self.has_failed() || m * n == 0 {
            return;
        }
        let kind = if of.precision == Precision::Bf16 { Kind::U16 } else { Kind::F32 };
        let span =
            |rows: usize, columns: usize, stride: usize| if rows == 0 { 0 } else { (rows - 1) * stride + columns };
        let (a, b) = if of.transposed {
            (span(k, m, of.a.1), span(k, n, of.b.1))
        } else {
            (span(m, k, of.a.1), span(n, k, of.b.1))
        };
        if T::KIND != kind || of.a.0.len < a || of.b.0.len < b || of.c.len < m * n {
            self.wrong::<()>("product", format!("arrays of {:?} for {:?} {:?}", T::KIND, of.precision, of.sizes));
            return;
        }
        if k == 0 {
            // No library takes a matrix without numbers.
            if let Some(c) = &of.c.memory {
                self.note(self.device.fill(c, 0, m * n * size_of::<f32>()));
            }
            return;
        }
        let memories = (of.a.0.memory.as_ref(), of.b.0.memory.as_ref(), of.c.memory.as_ref());
        if let (Some(a), Some(b), Some(c)) = memories {
            let (precision, transposed, sizes) = (of.precision, of.transposed, of.sizes);
            let product = Product { precision, transposed, sizes, a: (a, of.a.1), b: (b, of.b.1), c };
            self.note(self.device.product(&product));
        }
    }
}
