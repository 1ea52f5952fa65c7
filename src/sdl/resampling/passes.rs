//! Passes over samples, of which the search for the exact decrease is made: products of all rows with a vector, and sums of rows.
//!
//! They are most of its cost, and need nothing but the rows; so a backend may compute them where it is. Every number is a sum in f64 whose order is
//! stated, products and sums rounded apart, so that what is moved does not depend on who computes.

use rayon::prelude::*;

/// Rows of all samples, one sample under the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Tables {
    /// Number of samples.
    pub rows: usize,
    /// n_p and n_r.
    pub widths: [usize; 2],
    /// x', n_p numbers a sample.
    pub inputs: Vec<f64>,
    /// What is missing once the latent that makes room has left, n_r numbers a sample.
    pub missing: Vec<f64>,
}

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// [`Tables::inputs`].
    Inputs,
    /// [`Tables::missing`].
    Missing,
}

/// Who passes over the samples.
pub trait Passes {
    /// For each vector w the products Σ_k w_k x_bk with all rows, from 0 on by increasing k.
    fn products(&self, of: Of, vectors: &[Vec<f64>]) -> Vec<Vec<f64>>;
    /// For each list of factors f the sum Σ_b f_b x_b, from 0 on by increasing b, without the rows whose factor is 0.
    fn sums(&self, of: Of, factors: &[Vec<f64>]) -> Vec<Vec<f64>>;
    /// Takes over new rows of [`Tables::missing`], each with the number of its sample.
    fn replace(&mut self, rows: &[(usize, Vec<f64>)]);
}

impl Tables {
    fn of(&self, of: Of) -> (&[f64], usize) {
        match of {
            Of::Inputs => (&self.inputs, self.widths[0]),
            Of::Missing => (&self.missing, self.widths[1]),
        }
    }
}

/// Coordinates that one thread sums.
const CHUNK: usize = 64;
/// Least number of rows for one thread.
const ROWS: usize = 32;

/// The processor, with all its threads.
impl Passes for Tables {
    fn products(&self, of: Of, vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (rows, width) = self.of(of);
        let product = |w: &[f64], x: &[f64]| w.iter().zip(x).fold(0.0, |sum, (w, x)| sum + w * x);
        let one = |w: &Vec<f64>| rows.par_chunks_exact(width).with_min_len(ROWS).map(|x| product(w, x)).collect();
        vectors.par_iter().map(one).collect()
    }

    fn sums(&self, of: Of, factors: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (rows, width) = self.of(of);
        let one = |factors: &Vec<f64>| {
            let mut sum = vec![0.0; width];
            sum.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, sum)| {
                for (b, f) in factors.iter().enumerate().filter(|(_, f)| **f != 0.0) {
                    let row = &rows[b * width + chunk * CHUNK..];
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f * x);
                }
            });
            sum
        };
        factors.par_iter().map(one).collect()
    }

    fn replace(&mut self, rows: &[(usize, Vec<f64>)]) {
        let width = self.widths[1];
        for (b, row) in rows {
            self.missing[b * width..(b + 1) * width].copy_from_slice(row);
        }
    }
}
