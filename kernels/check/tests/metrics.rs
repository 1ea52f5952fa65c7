//! The best match of each known direction against plain sums in f64, under many schedules.

use sdlab_kernels::backend::cuda::metrics::Directions;
use sdlab_kernels::backend::cuda::{Cuda, Options};
use sdlab_kernels::backend::{Backend, Spec};
use sdlab_kernels::sdl::{Activation, Init, Model, Parameter, Shape};
use sdlab_kernels::shim::Shim;

fn drawn(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|k| (k.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) as f32 * 1e-7).sin()).collect()
}

fn unit(mut rows: Vec<f32>, width: usize) -> Vec<f32> {
    for row in rows.chunks_mut(width) {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    rows
}

fn cosine(w: &[f32], p: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = dot(w, w).sqrt();
    if norm > 0.0 { dot(w, p) / norm } else { 0.0 }
}

fn model(shape: Shape) -> Model {
    let mut model = Init { tied: false, ..Init::default() }.model(shape, Activation::Relu, 1);
    for (parameter, width) in [(Parameter::Encoder, shape.n_p), (Parameter::Decoder, shape.n_r)] {
        let rows = model.tensors.get_mut(parameter).expect("a matrix");
        rows.copy_from_slice(&drawn(rows.len(), width as u32));
        // No length; three copies; not a number.
        rows[..width].fill(0.0);
        for copy in [shape.n_q / 2, shape.n_q - 2] {
            let (from, to) = rows.split_at_mut(copy * width);
            to[..width].copy_from_slice(&from[width..2 * width]);
        }
        rows[(shape.n_q - 1) * width] = f32::NAN;
    }
    model
}

#[test]
fn the_best_match_is_that_of_all_cosines() {
    let shapes = [(1, 1, 4), (7, 33, 9), (64, 70, 60), (5, 9, 1030)];
    for schedule in 0..8 {
        for (width, n, n_q) in shapes {
            let shape = Shape { n_p: width, n_r: width + 1, n_q };
            let model = model(shape);
            let shim = Shim::new([32, 64, 160][schedule as usize % 3], schedule);
            let backend = Cuda::on(shim, Spec::plain(shape, 2), Options::default());
            let params = backend.params(&model);
            for (of, parameter, width) in [
                (Directions::Encoder, Parameter::Encoder, shape.n_p),
                (Directions::Decoder, Parameter::Decoder, shape.n_r),
            ] {
                let mut truth = unit(drawn(n * width, 5), width);
                // The first direction is that of three latents.
                let copied = unit(model.tensors.row(parameter, 1).to_vec(), width);
                truth[..width].copy_from_slice(&copied);
                for absolute in [false, true] {
                    let found = backend.best_matches(&params, of, &truth, absolute);
                    assert_eq!((backend.failure(), found.len()), (None, n));
                    if absolute {
                        let cosines = backend.best_cosines(&params, parameter, &truth).expect("on the device");
                        assert!(cosines.iter().eq(found.iter().map(|found| &found.cosine)), "{cosines:?}, {found:?}");
                    }
                    // Sums of up to ⌈n/32⌉ + 5 terms for both products, a root and a quotient.
                    let bound = 2.0 * (width as f64 / 32.0 + 10.0) / f64::from(1 << 24);
                    for (d, (found, p)) in found.iter().zip(truth.chunks(width)).enumerate() {
                        let of = |i: usize| {
                            let cosine = cosine(model.tensors.row(parameter, i), p);
                            if absolute { cosine.abs() } else { cosine }
                        };
                        let best = (0..n_q).map(of).filter(|c| !c.is_nan()).fold(-1.0, f64::max);
                        assert!((f64::from(found.cosine) - best).abs() <= bound, "{found:?}, {best}, {shape:?}, {d}");
                        assert!(of(found.latent as usize) >= best - 2.0 * bound, "{found:?}, {best}");
                        if d == 0 && width > 1 {
                            assert_eq!(found.latent, 1, "the first of equal latents");
                        }
                    }
                }
            }
        }
    }
}
