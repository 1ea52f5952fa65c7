//! Passes over the samples of a resampling, computed on the device with the bits of the processor.

use super::checked::{Array, Checked};
use super::{Cuda, Device};
use crate::sdl::resampling::passes::{Of, Passes, Tables};

/// Tables of a resampling on the device: 16 bytes a number.
struct Held<'a, D: Device> {
    device: &'a Checked<D>,
    rows: usize,
    inputs: Table<D>,
    missing: Table<D>,
}

/// The same numbers twice.
struct Table<D: Device> {
    width: usize,
    by_row: Array<D, f64>,
    by_column: Array<D, f64>,
}

impl<D: Device> Cuda<D> {
    /// The tables, brought here.
    pub(super) fn hold(&self, tables: &Tables) -> Box<dyn Passes + '_> {
        let (device, rows) = (&self.device, tables.rows);
        let all: Vec<u32> = (0..rows as u32).collect();
        let table = |width: usize, numbers: &[f64]| {
            let (by_row, by_column) = (device.zeros(rows * width), device.zeros(rows * width));
            let table = Table { width, by_row, by_column };
            table.put(device, rows, &all, numbers);
            table
        };
        let [n_p, n_r] = tables.widths;
        Box::new(Held { device, rows, inputs: table(n_p, &tables.inputs), missing: table(n_r, &tables.missing) })
    }
}

impl<D: Device> Table<D> {
    fn put(&self, device: &Checked<D>, rows: usize, which: &[u32], numbers: &[f64]) {
        let (of_which, given) = (device.array(which), device.array(numbers));
        let arguments = [
            of_which.all(),
            given.of(which.len() * self.width),
            (rows as u32).into(),
            (self.width as u32).into(),
            self.by_row.of(rows * self.width),
            self.by_column.of(rows * self.width),
        ];
        device.launch("put_rows", [which.len() as u32, 1, 1], arguments);
    }
}

impl<D: Device> Held<'_, D> {
    fn table(&self, of: Of) -> &Table<D> {
        match of {
            Of::Inputs => &self.inputs,
            Of::Missing => &self.missing,
        }
    }

    /// One pass of a kernel: `length` numbers for each list of numbers.
    fn pass(
        &self,
        kernel: &str,
        table: &Array<D, f64>,
        width: usize,
        lists: &[Vec<f64>],
        length: usize,
    ) -> Vec<Vec<f64>> {
        let (device, rows) = (self.device, self.rows);
        let given = device.array(&lists.concat());
        let out = device.zeros::<f64>(lists.len() * length);
        let arguments = [table.of(rows * width), given.all(), (rows as u32).into(), (width as u32).into(), out.all()];
        device.launch(kernel, [device.blocks(length), lists.len() as u32, 1], arguments);
        let numbers = device.download(&out, out.len());
        (0..lists.len()).map(|list| numbers[list * length..(list + 1) * length].to_vec()).collect()
    }
}

impl<D: Device> Passes for Held<'_, D> {
    fn products(&self, of: Of, vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let Table { width, by_column, .. } = self.table(of);
        self.pass("row_products", by_column, *width, vectors, self.rows)
    }

    fn sums(&self, of: Of, factors: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let Table { width, by_row, .. } = self.table(of);
        self.pass("row_sums", by_row, *width, factors, *width)
    }

    fn replace(&mut self, rows: &[(usize, Vec<f64>)]) {
        let which: Vec<u32> = rows.iter().map(|(b, _)| *b as u32).collect();
        let numbers: Vec<f64> = rows.iter().flat_map(|(_, row)| row).copied().collect();
        self.missing.put(self.device, self.rows, &which, &numbers);
    }
}
