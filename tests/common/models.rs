//! What the reference makes of a model.

use sdlab::backend::reference::Reference;
use sdlab::backend::{Backend, Mode, Rows, Spec};
use sdlab::sdl::Model;

/// x̂_r and the codes of the reference in f64 arithmetic, rounded to f32; codes as rows of n_q numbers.
pub fn reconstructed(model: &Model, inputs: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let shape = model.shape();
    let samples = inputs.len() / shape.n_p;
    let reference = Reference::new(Spec { reconstructs_its_input: false, ..Spec::plain(shape, samples) });
    let params = reference.params(model);
    let opt = reference.opt_state(&params);
    let (mut batch, mut codes) = (reference.batch(), reference.codes());
    let targets = vec![0.0; samples * shape.n_r];
    reference.load(Rows { inputs, targets: &targets, weights: None }, &mut batch);
    reference.encode_select(&params, &opt, &batch, Mode::Inference, &mut codes);
    reference.decode_residual(&params, &batch, &mut codes);
    let host = reference.codes_of(&codes);
    let mut dense = vec![0.0; samples * shape.n_q];
    for row in 0..samples {
        for at in host.offsets[row]..host.offsets[row + 1] {
            dense[row * shape.n_q + host.latents[at] as usize] = host.values[at];
        }
    }
    (reference.reconstruction_of(&batch, &codes), dense)
}
