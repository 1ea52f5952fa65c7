//! What the backend asks of a device: memory, copies, kernels by name, and dense products.

/// Why a device does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A library is not there.
    #[error("{what} was not found; install {remedy}")]
    Missing {
        /// Which one.
        what: &'static str,
        /// What provides it.
        remedy: &'static str,
    },
    /// The driver is there and sees no device.
    #[error("the CUDA driver finds no device ({reason})")]
    NoDevice {
        /// What it says.
        reason: String,
    },
    /// The device has less memory left.
    #[error("{bytes} bytes cannot be allocated on the device: take a smaller batch, or fewer latents")]
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
    /// The kernels cannot be built for this device.
    #[error("the kernels cannot be built: {reason}; install a CUDA toolkit, 12.0 or later and no older than the GPU")]
    Build {
        /// What the compiler says, in one line.
        reason: String,
    },
    /// A call failed.
    #[error("{what}: {reason}")]
    Failed {
        /// Which one.
        what: String,
        /// What the device says.
        reason: String,
    },
}

/// An argument of a kernel.
#[derive(Debug)]
pub enum Argument<'a, M> {
    /// A pointer to the beginning of memory.
    Memory(&'a M, Kind),
    /// A word.
    U32(u32),
    /// Two words.
    U64(u64),
    /// A number.
    F32(f32),
    /// A double.
    F64(f64),
}

impl<M> Argument<'_, M> {
    /// Its bits in a word of eight bytes, of which a kernel reads as many as its parameter has; `address` is where memory begins.
    pub fn word(&self, address: impl Fn(&M) -> u64) -> u64 {
        match self {
            Self::Memory(memory, _) => address(memory),
            Self::U32(x) => u64::from(*x),
            Self::U64(x) => *x,
            Self::F32(x) => u64::from(x.to_bits()),
            Self::F64(x) => x.to_bits(),
        }
    }
}

/// What memory holds, or a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `unsigned short`: the bits of a bf16.
    U16,
    /// `u32`.
    U32,
    /// `u64`.
    U64,
    /// `float`.
    F32,
    /// `double`.
    F64,
}

/// How the numbers of a product are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32, products and sums in f32.
    F32,
    /// f32, rounded to tf32 (10 bits behind the point) on the way into tensor cores; sums in f32.
    Tf32,
    /// bf16, sums in f32.
    Bf16,
}

/// A product of two matrices in rows, into f32.
#[derive(Debug)]
pub struct Product<'a, M> {
    /// How a and b are stored and read.
    pub precision: Precision,
    /// False: c (m×n) = a (m×k) bᵀ (b is n×k). True: c (m×n) = aᵀ b (a is k×m, b is k×n).
    pub transposed: bool,
    /// m, n, k.
    pub sizes: [usize; 3],
    /// a, and the numbers from one of its rows to the next.
    pub a: (&'a M, usize),
    /// b, likewise.
    pub b: (&'a M, usize),
    /// c, whose rows have n numbers.
    pub c: &'a M,
}

/// A matrix as a library sees it that stores by columns: the number in row r and column c stands at r + c·stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByColumns {
    /// Rows as stored.
    pub rows: usize,
    /// Columns as stored.
    pub columns: usize,
    /// Numbers from one column to the next.
    pub stride: usize,
    /// Its transpose is what takes part.
    pub transposed: bool,
}

impl<M> Product<'_, M> {
    /// What a library that stores by columns is asked for: a matrix in rows is its own transpose there, and cᵀ (n×m) = b aᵀ, or bᵀ a. Its first
    /// operand, which is b, its second, which is a, and its result, which is c.
    pub fn by_columns(&self) -> [ByColumns; 3] {
        let [m, n, k] = self.sizes;
        let plain = |rows, columns, stride| ByColumns { rows, columns, stride, transposed: false };
        let transpose = |rows, columns, stride| ByColumns { rows, columns, stride, transposed: true };
        let [b, a] = if self.transposed {
            [plain(n, k, self.b.1), transpose(m, k, self.a.1)]
        } else {
            [transpose(k, n, self.b.1), plain(k, m, self.a.1)]
        };
        [b, a, plain(n, m, n)]
    }
}

/// How long a kernel has taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Time {
    /// The operation of a backend that it belongs to.
    pub phase: &'static str,
    /// The kernel, or what else was asked for.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// How long all of them took.
    pub seconds: f64,
}

/// A device. Calls are asynchronous and in order, except downloads, which wait, and staged copies, which overtake.
pub trait Device {
    /// A piece of its memory; released when dropped.
    type Memory;
    /// Memory of the host from which copies are made beside other work.
    type Staging;

    /// What it is, for provenance.
    fn describe(&self) -> String;
    /// Threads of a block, a multiple of 32.
    fn width(&self) -> u32;
    /// Memory filled with zeros.
    ///
    /// # Errors
    /// There is not so much left.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory, DeviceError>;
    /// Copies from the host to the beginning of memory.
    ///
    /// # Errors
    /// A call failed.
    fn upload(&self, bytes: &[u8], to: &Self::Memory) -> Result<(), DeviceError>;
    /// Copies from the beginning of memory to the host, after everything that was asked for before.
    ///
    /// # Errors
    /// A call failed, now or before.
    fn download(&self, from: &Self::Memory, bytes: &mut [u8]) -> Result<(), DeviceError>;
    /// Memory of the host for copies of so many bytes.
    ///
    /// # Errors
    /// There is not so much left.
    fn staging(&self, bytes: usize) -> Result<Self::Staging, DeviceError>;
    /// Copies each piece from the host to the beginning of its memory, beside work that was asked for before. What is asked for afterwards sees
    /// the copies; what was asked for before the last [`Device::left`] with this staging is done before they begin.
    ///
    /// # Errors
    /// The pieces are longer than the staging, or a call failed.
    fn stage(&self, staging: &Self::Staging, pieces: &[(&[u8], &Self::Memory)]) -> Result<(), DeviceError>;
    /// Says that everything that reads or writes what is staged here has been asked for.
    ///
    /// # Errors
    /// A call failed.
    fn left(&self, staging: &Self::Staging) -> Result<(), DeviceError>;
    /// Fills the beginning of memory with a byte.
    ///
    /// # Errors
    /// A call failed.
    fn fill(&self, memory: &Self::Memory, byte: u8, bytes: usize) -> Result<(), DeviceError>;
    /// Launches a kernel; its arguments are those of its signature, and memory is as long as the kernel reads and writes, which the
    /// [checked layer](super::checked) sees to.
    ///
    /// # Errors
    /// No such kernel, or a call failed.
    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument<'_, Self::Memory>])
    -> Result<(), DeviceError>;
    /// A dense product with sizes above 0, with the same bits every time.
    ///
    /// # Errors
    /// A call failed.
    fn product(&self, product: &Product<'_, Self::Memory>) -> Result<(), DeviceError>;
    /// Does what `calls` asks for, launches, products and fills and nothing else, as one piece of work, if that is quicker. `calls` is run once.
    /// Pieces of work of one `part` are alike but for their numbers.
    ///
    /// # Errors
    /// A call failed; the work may be left out.
    fn as_one(&self, _part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        calls();
        Ok(())
    }
    /// Says to which operation what is asked for from now on belongs, for [`Device::times`].
    fn enter(&self, _phase: &'static str) {}
    /// How long what was asked for since the last such question has taken, by operation and kernel, where a device was made to know that.
    ///
    /// # Errors
    /// A call failed.
    fn times(&self) -> Result<Vec<Time>, DeviceError> {
        Ok(Vec::new())
    }
}

/// One device may serve several backends.
impl<D: Device> Device for &D {
    type Memory = D::Memory;
    type Staging = D::Staging;

    fn describe(&self) -> String {
        D::describe(self)
    }

    fn width(&self) -> u32 {
        D::width(self)
    }

    fn allocate(&self, bytes: usize) -> Result<D::Memory, DeviceError> {
        D::allocate(self, bytes)
    }

    fn upload(&self, bytes: &[u8], to: &D::Memory) -> Result<(), DeviceError> {
        D::upload(self, bytes, to)
    }

    fn download(&self, from: &D::Memory, bytes: &mut [u8]) -> Result<(), DeviceError> {
        D::download(self, from, bytes)
    }

    fn staging(&self, bytes: usize) -> Result<D::Staging, DeviceError> {
        D::staging(self, bytes)
    }

    fn stage(&self, staging: &D::Staging, pieces: &[(&[u8], &D::Memory)]) -> Result<(), DeviceError> {
        D::stage(self, staging, pieces)
    }

    fn left(&self, staging: &D::Staging) -> Result<(), DeviceError> {
        D::left(self, staging)
    }

    fn fill(&self, memory: &D::Memory, byte: u8, bytes: usize) -> Result<(), DeviceError> {
        D::fill(self, memory, byte, bytes)
    }

    fn launch(&self, kernel: &str, grid: [u32; 3], arguments: &[Argument<'_, D::Memory>]) -> Result<(), DeviceError> {
        D::launch(self, kernel, grid, arguments)
    }

    fn product(&self, product: &Product<'_, D::Memory>) -> Result<(), DeviceError> {
        D::product(self, product)
    }

    fn as_one(&self, part: usize, calls: &mut dyn FnMut()) -> Result<(), DeviceError> {
        D::as_one(self, part, calls)
    }

    fn enter(&self, phase: &'static str) {
        D::enter(self, phase);
    }

    fn times(&self) -> Result<Vec<Time>, DeviceError> {
        D::times(self)
    }
}
