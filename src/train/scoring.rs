//! Scores of a model on the data of an experiment.

use super::anchors::means;
use super::check::Plan;
use super::data::{Data, Loader, Samples};
use crate::backend::{Backend, Mode};
use crate::bench::coefficients::SparseBatch;
use crate::bench::dataset::Side;
use crate::io::labels::Labels;
use crate::metrics::Scores;
use crate::metrics::score::{Encoded, Known};
use crate::metrics::similarity::{SimilarityError, Vectors};
use crate::sdl::Model;

/// Samples that are scored where nothing else is asked.
pub const SCORED: u64 = 4096;

/// Scores a model on at most so many samples, and says on how many. Those of the bench are held out: their numbers
/// begin at N. Those of files are the first ones, which training has seen.
///
/// Known features are those of the bench, or the normalised means of all classes of labelled files (eqs. 22 and 23), as
/// in the paper's Table 2; none where a class has no mean of a direction.
///
/// # Errors
/// Weights that do not fit the data, or are not finite.
pub fn score<B: Backend>(
    backend: &B,
    data: &Data,
    plan: &Plan,
    model: &Model,
    most: u64,
) -> Result<(u64, Scores), SimilarityError> {
    let anchors = &plan.spec.anchors;
    let rows = match data {
        Data::Bench(bench) => {
            let samples: Vec<u64> = (0..most).map(|k| data.samples() + k).collect();
            return Ok((most, Scores::on_bench(backend, model, bench, anchors, &samples)?));
        }
        Data::Rows(rows) => rows.as_ref(),
    };
    let samples: Vec<u64> = (0..data.samples().min(most)).collect();
    let params = backend.params(model);
    let opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut loader) = (backend.batch(), backend.codes(), Loader::default());
    let encode = |indices: &[u64]| {
        loader.load(backend, data, indices, &mut batch);
        backend.encode_select(&params, &opt, &batch, Mode::Inference, &mut codes);
        backend.decode_residual(&params, &batch, &mut codes);
        let reconstructions = backend.reconstruction_of(&batch, &codes);
        let targets = data.rows(indices, Side::Target);
        let present = rows.labels().map(|labels| classes(labels, indices));
        Encoded { codes: backend.codes_of(&codes), targets, reconstructions, present }
    };
    let directions = class_directions(rows);
    let known = directions.as_ref().map(|[inputs, targets]| Known {
        inputs: Vectors::rows("class means", inputs, rows.dimension(Side::Input)),
        targets: Vectors::rows("class means", targets, rows.dimension(Side::Target)),
        sources: rows.sources(),
        groups: Vec::new(),
    });
    let scores = Scores::of(model, known.as_ref(), anchors, samples.chunks(plan.spec.batch), encode)?;
    Ok((samples.len() as u64, scores))
}

/// Normalised means of all classes, on both sides.
fn class_directions(rows: &dyn Samples) -> Option<[Vec<f32>; 2]> {
    let labels = rows.labels()?;
    let all: Vec<usize> = (0..labels.names.len()).collect();
    let side = |side| means(rows, labels, side, &all).ok();
    Some([side(Side::Input)?, side(Side::Target)?])
}

/// The class of each sample as a feature of magnitude 1.
fn classes(labels: &Labels, indices: &[u64]) -> SparseBatch {
    let mut present = SparseBatch { offsets: vec![0], ..SparseBatch::default() };
    for &index in indices {
        present.indices.extend(labels.classes[index as usize]);
        present.offsets.push(present.indices.len());
    }
    present.values = vec![1.0; present.indices.len()];
    present
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::reference::Reference;
    use crate::bench::dataset::Bench;
    use crate::sdl::{Activation, Init, Parameter};
    use crate::train::anchors::anchors;
    use crate::train::check::Facts;
    use crate::train::config::Experiment;
    use crate::train::data::Memory;

    fn plan(text: &str, data: &Data) -> Plan {
        let checked = Experiment::from_toml(text).unwrap().check().unwrap();
        let mut plan = checked.plan(Facts::of(data)).unwrap();
        if let Some(config) = &checked.experiment().anchors {
            plan.spec.anchors = anchors(config, data, plan.spec.shape, plan.seed).unwrap();
        }
        plan
    }

    #[test]
    fn samples_of_the_bench_are_those_after_the_last_one_that_training_sees() {
        let text = "[bench]\nn = 6\nn_p = 5\ninterference = 0.9\nsparsity = 0.5\nsamples = 40\n[model]\nlatents = 9\nactivation = { kind = \"relu\" }";
        let config = Experiment::from_toml(text).unwrap().bench.unwrap();
        let bench = Bench::generate(&config).unwrap();
        let data = Data::Bench(Box::new(bench.clone()));
        let plan = plan(text, &data);
        let model = plan.init.model(plan.spec.shape, plan.activation, 0);
        let backend = Reference::new(plan.spec.clone());
        let (count, scores) = score(&backend, &data, &plan, &model, 7).unwrap();
        let held_out: Vec<u64> = (40..47).collect();
        let expected = Scores::on_bench(&backend, &model, &bench, &plan.spec.anchors, &held_out).unwrap();
        assert_eq!((count, scores), (7, expected));
    }

    #[test]
    fn class_means_of_labelled_rows_are_the_known_features() {
        let labels =
            Labels { classes: vec![Some(0), Some(1), Some(0), None, Some(1)], names: vec!["cat".into(), "dog".into()] };
        let inputs = vec![1.0, 0.1, 0.0, 2.0, 1.0, -0.1, 5.0, 5.0, 0.0, 1.0];
        let data = Data::Rows(Box::new(Memory { n_p: 2, inputs, targets: None, labels: Some(labels) }));
        let text = "[data]\ninputs = \"x.npy\"\nlabels = \"y.csv\"\n[model]\nlatents = 2\nactivation = { kind = \"top-k\", k = 1 }\n[anchors]\nsource = \"labels\"\ncount = 1\nweight = 0.1";
        let plan = plan(text, &data);
        let mut model = Init::default().model(plan.spec.shape, Activation::TopK { k: 1 }, 0);
        // The mean of cats is along the first axis, that of dogs along the second.
        for parameter in [Parameter::Encoder, Parameter::Decoder] {
            model.tensors.get_mut(parameter).unwrap().copy_from_slice(&[0.0, 1.0, 1.0, 0.0]);
        }
        let (count, scores) = score(&Reference::new(plan.spec.clone()), &data, &plan, &model, 100).unwrap();
        let encoder = scores.encoder.unwrap().whole.normalised;
        assert_eq!((count, encoder.all.features, encoder.all.recovered_at(99)), (5, 2, 1.0));
        assert_eq!(encoder.free.unwrap().features, 1);
        let firing = scores.firing.unwrap();
        // The sample without a class is one false alarm of the latent of cats or dogs; ties go to the lower latent,
        // dogs.
        assert_eq!((firing.features, firing.recall, firing.precision), (2, 1.0, (1.0 + 2.0 / 3.0) / 2.0));
    }
}
