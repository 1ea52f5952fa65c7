//! Training as a library: the experiments in `configs`, and data that are as small or as plain as they can be.

use sdlab::backend::Backend;
use sdlab::backend::cpu::Cpu;
use sdlab::backend::reference::Reference;
use sdlab::bench::config::BenchConfig;
use sdlab::bench::dataset::Bench;
use sdlab::sdl::{Activation, Parameter};
use sdlab::train::check::{Facts, Plan};
use sdlab::train::config::{AnchorSource, Experiment};
use sdlab::train::data::{Data, Memory};
use sdlab::train::directory::{Found, Opening, RunDirectory};
use sdlab::train::divergence::{Diverged, Place};
use sdlab::train::run::{End, Record, RunError, State, Trainer, Watch};
use sdlab::train::session::{Prepared, train};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The repository, also where this file is compiled elsewhere.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    [here, here.parent().unwrap()].into_iter().find(|path| path.join("configs/make.py").exists()).unwrap().to_owned()
}

fn experiments(folder: &str) -> Vec<(PathBuf, Experiment)> {
    let mut all = Vec::new();
    for table in [1, 4, 5, 6, 7] {
        let folder = repository().join(folder).join(format!("table{table}"));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let experiment = Experiment::from_toml(&std::fs::read_to_string(&path).unwrap());
            all.push((path.clone(), experiment.unwrap_or_else(|error| panic!("{}: {error}", path.display()))));
        }
    }
    all
}

/// (table, method, anchored, printed value of the varied column).
type Row = (u32, String, bool, Option<String>);

/// Rows as the published tables print them, with their table.
fn printed() -> Vec<(Row, toml::Table)> {
    let varied = BTreeMap::from([(4, "n"), (5, "interference"), (6, "sparsity"), (7, "top-k")]);
    let mut rows = Vec::new();
    for table in [1, 4, 5, 6, 7] {
        let text = std::fs::read_to_string(repository().join(format!("reports/published/table-{table}.toml"))).unwrap();
        let published: toml::Table = toml::from_str(&text).unwrap();
        let kind = |column: &toml::Value| column["kind"].as_str().unwrap().to_owned();
        let kinds: Vec<String> = published["columns"].as_array().unwrap().iter().map(kind).collect();
        let column = varied.get(&table).map(|kind| kinds.iter().position(|k| k == kind).unwrap());
        let mut method = String::new();
        for group in published["groups"].as_array().unwrap() {
            for cells in group["rows"].as_array().unwrap() {
                let first = cells[0].as_str().unwrap();
                let anchored = first == "+ Feature Anchoring";
                if !anchored {
                    method = first.to_owned();
                }
                let at = column.map(|column| cells[column].as_str().unwrap().to_owned());
                rows.push(((table, method.clone(), anchored, at), published.clone()));
            }
        }
    }
    rows
}

fn row(experiment: &Experiment) -> Row {
    let published = experiment.published.clone().unwrap();
    (published.table, published.method, published.anchored, published.at)
}

#[test]
fn every_row_of_the_published_tables_has_one_experiment_of_either_size() {
    let expected: BTreeSet<Row> = printed().into_iter().map(|(row, _)| row).collect();
    assert_eq!(expected.len(), 94);
    for folder in ["configs", "configs/small"] {
        let all = experiments(folder);
        let found: BTreeSet<Row> = all.iter().map(|(_, experiment)| row(experiment)).collect();
        assert_eq!((all.len(), found), (expected.len(), expected.clone()), "{folder}");
        for (path, experiment) in all {
            let checked = experiment.check().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let plan = checked.plan(Facts::of_bench(experiment.bench.as_ref().unwrap())).unwrap();
            assert!(plan.steps > 100, "{}", path.display());
            let anchors = experiment.anchors.as_ref().map(|anchors| anchors.source);
            assert_eq!(anchors, row(&experiment).2.then_some(AnchorSource::GroundTruth), "{}", path.display());
        }
    }
}

#[test]
fn experiments_of_paper_size_have_the_published_numbers() {
    let tables: BTreeMap<u32, toml::Table> = printed().into_iter().map(|((table, ..), text)| (table, text)).collect();
    for (path, experiment) in experiments("configs") {
        let name = path.display();
        let (table, method, anchored, at) = row(&experiment);
        let bench = experiment.bench.as_ref().unwrap();
        let at: Option<f64> = at.map(|at| at.parse().unwrap());
        for setting in tables[&table]["settings"].as_array().unwrap() {
            let value: f64 = setting["value"].as_str().unwrap().parse().unwrap();
            let found = match setting["symbol"].as_str().unwrap() {
                "n" => bench.n as f64,
                "n_p" | "n_r" => bench.n_p as f64,
                "n_q" => experiment.model.latents as f64,
                "S" => bench.sparsity,
                "k" if anchored => experiment.anchors.as_ref().unwrap().count.unwrap() as f64,
                "λ_{anchor}" if anchored => experiment.anchors.as_ref().unwrap().weight,
                _ => value,
            };
            assert_eq!(found, value, "{name}: {setting}");
        }
        match (table, at) {
            (4, Some(n)) => assert_eq!(bench.n as f64, n, "{name}"),
            (5, Some(interference)) => assert_eq!(bench.interference, interference, "{name}"),
            // The column is 1 − S; one rounding of the difference.
            (6, Some(rate)) => assert!((1.0 - bench.sparsity - rate).abs() < 1e-15, "{name}"),
            (7, Some(k)) => assert_eq!(experiment.model.activation.k(), Some(k as usize), "{name}"),
            _ => assert_eq!(table, 1),
        }
        if table != 4 {
            assert_eq!((bench.n, bench.samples), (1000, 100_000), "{name}");
        }
        let activation = match method.as_str() {
            "ReLU SAE" | "SAE" => matches!(experiment.model.activation, Activation::Relu),
            "JumpReLU SAE" => matches!(experiment.model.activation, Activation::JumpRelu { .. }),
            "BatchTopK SAE" => matches!(experiment.model.activation, Activation::BatchTopK { .. }),
            _ => matches!(experiment.model.activation, Activation::TopK { .. }),
        };
        assert!(activation, "{name}");
    }
}

fn plan(data: &Data, text: &str) -> Plan {
    Experiment::from_toml(text).unwrap().check().unwrap().plan(Facts::of(data)).unwrap()
}

fn rows(n_p: usize, inputs: Vec<f32>) -> Data {
    Data::Rows(Box::new(Memory { n_p, inputs, targets: None, labels: None }))
}

/// Keeps records and checkpoints.
#[derive(Default)]
struct Log {
    records: Vec<Record>,
    states: Vec<State>,
}

impl Watch for Log {
    type Error = String;

    fn stop(&mut self, _: u64) -> bool {
        false
    }

    fn record(&mut self, record: &Record) -> Result<(), String> {
        self.records.push(record.clone());
        Ok(())
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), String> {
        self.states.push(state.clone());
        Ok(())
    }
}

fn trained<B: Backend>(backend: &B, data: &Data, plan: &Plan) -> (Log, State) {
    let (mut log, mut trainer) = (Log::default(), Trainer::new(backend, data, plan));
    assert_eq!(trainer.run(&mut log), Ok(End::Completed));
    let state = trainer.finite_state().unwrap();
    (log, state)
}

const ACTIVATIONS: [&str; 6] = [
    "\"top-k\", k = 6",
    "\"top-k-relu\", k = 6",
    "\"batch-top-k\", k = 6",
    "\"relu\"",
    "\"jump-relu\", theta = 0.05, bandwidth = 0.01",
    "\"gated\"",
];

/// Trains on both backends for 40 steps, each on all samples, after which the loss is not larger.
fn trains(data: &Data, activation: &str, what: &str) {
    let activation = activation.replace("k = 6", "k = 2");
    let model = format!("[model]\nlatents = 6\nactivation = {{ kind = {activation} }}");
    let plan = plan(data, &format!("{model}\n[train]\nsteps = 40\nbatch = 64"));
    let [fast, slow] = [
        trained(&Cpu::new(plan.spec.clone()), data, &plan).0,
        trained(&Reference::new(plan.spec.clone()), data, &plan).0,
    ];
    for Log { records, .. } in [fast, slow] {
        let [first, last] = [&records[0], &records[records.len() - 1]].map(|record| record.loss);
        assert!(last <= first, "{activation}, {what}: {first}, then {last}");
        assert!(records.iter().all(|record| record.loss.is_finite() && record.gradient_norm.is_finite()));
    }
}

#[test]
fn data_of_one_feature_one_row_or_one_value_train_on_every_backend_whatever_the_activation() {
    let waves = |count: usize| (0..count).map(|k| (k as f32 * 0.7).sin()).collect::<Vec<_>>();
    for activation in ACTIVATIONS {
        for (n_p, inputs) in [(1, waves(30)), (5, waves(50)), (4, waves(4)), (3, vec![1.0; 60]), (3, vec![0.0; 60])] {
            trains(&rows(n_p, inputs), activation, &format!("rows of {n_p}"));
        }
        let one = BenchConfig { n: 1, n_p: 4, sparsity: 0.5, samples: 60, ..BenchConfig::default() };
        trains(&Data::Bench(Box::new(Bench::generate(&one).unwrap())), activation, "a bench of one feature");
    }
}

#[test]
fn samples_in_which_nothing_fires_train_to_no_effect() {
    let text = "[bench]\nn = 6\nn_p = 4\ninterference = 0.9\nsparsity = 1.0\nsamples = 20\n[model]\nlatents = 5\nactivation = { kind = \"top-k\", k = 2 }\n[train]\nsteps = 12\nlog_every = 1";
    let prepared = Prepared::new(Experiment::from_toml(text).unwrap().check().unwrap()).unwrap();
    let (log, state) = trained(&Cpu::new(prepared.plan.spec.clone()), &prepared.data, &prepared.plan);
    assert!(log.records.iter().all(|record| record.loss == 0.0 && record.l0 == 0.0));
    assert_eq!(
        state.model.tensors,
        Trainer::new(&Cpu::new(prepared.plan.spec.clone()), &prepared.data, &prepared.plan).model().tensors
    );
    // Everything is dead in the end, and a folder of such a run is whole.
    assert_eq!(log.records.last().unwrap().dead, 5);
    let folder = tempfile::tempdir().unwrap();
    let (mut directory, found) =
        RunDirectory::open(&folder.path().join("run"), &prepared.checked, &prepared.plan, Opening::New).unwrap();
    assert!(matches!(found, Found::Nothing));
    let finish = train(&prepared, &Cpu::new(prepared.plan.spec.clone()), &mut directory, None, None, &mut ()).unwrap();
    assert_eq!(finish.outcome.unwrap().scores.fit.fvu, None);
}

const SMALL: &str = "
[bench]
n = 40
n_p = 24
interference = 0.5
sparsity = 0.9
samples = 500
[model]
latents = 100
activation = { kind = \"top-k\", k = 6 }
[anchors]
source = \"ground-truth\"
count = 4
weight = 0.1
[schedule]
warm_up = 0.1
decay = 0.2
[resampling]
kind = \"decrease\"
steps = [20, 50]
dead_after = 300
samples = 200
[train]
batch = 64
steps = 90
log_every = 1
checkpoint_every = 13
";

#[test]
fn on_the_processor_going_on_from_any_checkpoint_gives_the_bits_of_an_uninterrupted_run_at_any_number_of_threads() {
    let prepared = Prepared::new(Experiment::from_toml(SMALL).unwrap().check().unwrap()).unwrap();
    let (data, plan) = (&prepared.data, &prepared.plan);
    let cpu = Cpu::new(plan.spec.clone());
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let (log, end) = pool(1).install(|| trained(&cpu, data, plan));
    assert_eq!(log.states.len(), 6);
    for (k, state) in log.states.iter().enumerate() {
        pool(k + 1).install(|| {
            let (mut rest, mut trainer) = (Log::default(), Trainer::resume(&cpu, data, plan, state));
            assert_eq!(trainer.run(&mut rest), Ok(End::Completed));
            assert_eq!(trainer.state(), end);
            assert_eq!(rest.records, log.records[state.opt.step as usize..]);
        });
    }
}

fn diverging(activation: &str, learning_rate: f64) -> Prepared {
    let bench = "[bench]\nn = 40\nn_p = 24\ninterference = 0.5\nsparsity = 0.9\nsamples = 500";
    let model = format!("[model]\nlatents = 100\nactivation = {{ kind = {activation} }}");
    let optimizer = format!("[optimizer]\nrule = \"sgd\"\nlearning_rate = {learning_rate:?}");
    let text = format!("{bench}\n{model}\n{optimizer}\n[train]\nbatch = 64\nsteps = 90\nlog_every = 10");
    Prepared::new(Experiment::from_toml(&text).unwrap().check().unwrap()).unwrap()
}

fn diverged(trainer: &mut Trainer<'_, Cpu>) -> (Diverged, Log) {
    let mut log = Log::default();
    match trainer.run(&mut log) {
        Err(RunError::Diverged(diverged)) => (diverged, log),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rate_that_is_much_too_high_is_noticed_at_the_next_record_whatever_the_activation() {
    for activation in ACTIVATIONS {
        let Prepared { data, plan, .. } = diverging(activation, 10.0);
        let cpu = Cpu::new(plan.spec.clone());
        let (error, log) = diverged(&mut Trainer::new(&cpu, &data, &plan));
        assert_eq!((error.step, log.records.len()), (10, 1), "{activation}: {error}");
        assert!(matches!(error.place, Place::Row("parameter", Parameter::Encoder, _)), "{activation}: {error}");
        let text = error.to_string();
        assert!(text.contains("step 10 (epoch 1)") && text.contains("parameter encoder, latent "), "{text}");
    }
}

#[test]
fn one_number_that_is_not_finite_is_named_with_its_parameter_and_latent() {
    for activation in ACTIVATIONS {
        let Prepared { data, plan, .. } = diverging(activation, 1e-3);
        let cpu = Cpu::new(plan.spec.clone());
        let mut start = Trainer::new(&cpu, &data, &plan).state();
        start.opt.step = 15;
        for parameter in [Parameter::Encoder, Parameter::EncoderBias] {
            let mut state = start.clone();
            let Some(numbers) = state.model.tensors.get_mut(parameter) else { continue };
            numbers[37 * parameter.size(plan.spec.shape).1] = f32::NAN;
            let (error, log) = diverged(&mut Trainer::resume(&cpu, &data, &plan, &state));
            // While there are k numbers beside it, no activation selects NaN.
            assert_eq!(error.place, Place::Row("parameter", parameter, 37), "{activation}");
            assert_eq!((error.step, log.records.len()), (20, 0), "{activation}: {error}");
        }
    }
}

#[test]
fn the_processor_and_the_reference_see_the_same_first_losses() {
    let text = SMALL.replace("steps = 90", "steps = 5");
    let prepared = Prepared::new(Experiment::from_toml(&text).unwrap().check().unwrap()).unwrap();
    let (data, plan) = (&prepared.data, &prepared.plan);
    let (fast, _) = trained(&Cpu::new(plan.spec.clone()), data, plan);
    let (slow, _) = trained(&Reference::new(plan.spec.clone()), data, plan);
    for (a, b) in fast.records.iter().zip(&slow.records) {
        // Parameters part by roundings of f32, 2^-24 each, a few hundred of them in a sum.
        assert!((a.loss - b.loss).abs() < 1e-4 * b.loss, "{a:?} {b:?}");
    }
}
