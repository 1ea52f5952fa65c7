//! What the paper does not publish about its experiments on the bench, and what stands in its place here, as a part of the page.

use super::page::Exhibit;
use crate::bench::config::{BenchConfig, Task};
use crate::claims::published;
use crate::sdl::init::Weights;
use crate::sdl::{Activation, Scales};
use crate::stats::{Cell, Kind, Table};
use crate::train::config::Experiment;

/// Experiments of Table 1 at both sizes, in which every choice occurs.
struct Size {
    relu: Experiment,
    jumprelu: Experiment,
    topk: Experiment,
    matryoshka: Experiment,
    crosscoder: Experiment,
    transcoder: Experiment,
    anchored: Experiment,
}

/// What an experiment of a size has chosen, in words.
type Choice = fn(&Size) -> String;

macro_rules! size {
    ($folder:literal) => {{
        let read = |text: &str| Experiment::from_toml(text).ok().map(|experiment| experiment.completed());
        let size = || {
            Some(Size {
                relu: read(include_str!(concat!($folder, "/relu.toml")))?,
                jumprelu: read(include_str!(concat!($folder, "/jumprelu.toml")))?,
                topk: read(include_str!(concat!($folder, "/topk.toml")))?,
                matryoshka: read(include_str!(concat!($folder, "/matryoshka.toml")))?,
                crosscoder: read(include_str!(concat!($folder, "/crosscoder.toml")))?,
                transcoder: read(include_str!(concat!($folder, "/transcoder.toml")))?,
                anchored: read(include_str!(concat!($folder, "/topk-anchored.toml")))?,
            })
        };
        size()
    }};
}

/// Both sizes, the paper's first; none if a file of the project is not an experiment, which a test excludes.
fn sizes() -> Option<[Size; 2]> {
    Some([size!("../../configs/table1")?, size!("../../configs/small/table1")?])
}

/// The part of the page.
pub fn exhibit() -> Exhibit {
    let unprinted: Vec<String> = published::unprinted()
        .into_iter()
        .filter(|(number, _)| [1, 4, 5, 6, 7].contains(number))
        .map(|(number, symbols)| format!("Table {number} {}", symbols.join(", ")))
        .collect();
    Exhibit {
        id: "choices".into(),
        title: "What the paper does not publish".into(),
        paragraphs: vec![
            "The paper publishes neither the optimizer nor its learning rate, the batch, the length of training, the start of the weights, c_min and β of \
             the coefficients, ε and η of the construction of the features, and θ of JumpReLU. It does not say whether rows of the encoder or columns of \
             the decoder are scored, nor whether they are scaled to norm 1 first. The table names what stands in their place here."
                .into(),
            format!(
                "Of what the tables depend on, some values are printed with other tables only, or nowhere: {}. Values that Table 3 prints as defaults are \
                 taken from there.",
                unprinted.join("; ")
            ),
            "So the printed numbers cannot be repeated, and a difference from them is no finding. Orderings of rows can be compared: which of two methods, \
             or of two settings, recovers more."
                .into(),
        ],
        figures: Vec::new(),
        tables: sizes().iter().map(table).collect(),
        certificates: Vec::new(),
    }
}

fn table(sizes: &[Size; 2]) -> Table {
    let columns = [("choice", Kind::Text), ("at the paper's size", Kind::Text), ("small", Kind::Text)];
    let mut table = Table::new("choices", "experiments", columns)
        .title("Our choices where the paper is silent")
        .caption("As the experiments in configs say it. What Table 1 prints is not among them.");
    let rows: [(&str, Choice); 14] = [
        ("optimizer, learning rate", |s| {
            let optimizer = &s.topk.optimizer;
            format!("{:?}, {}", optimizer.rule, optimizer.learning_rate)
        }),
        ("batch", |s| s.topk.train.batch.to_string()),
        ("length, top-k activations", |s| length(&s.topk)),
        ("length, ReLU and JumpReLU", |s| length(&s.relu)),
        ("start", |s| start(&s.topk)),
        ("start, transcoder", |s| start(&s.transcoder)),
        ("c_min, β", |s| s.topk.bench.as_ref().map_or_else(String::new, |b| format!("{}, {}", b.c_min, b.beta))),
        ("ε, λ, η of the features", |s| {
            let bound = s.topk.bench.as_ref().map(BenchConfig::bound);
            bound.map_or_else(String::new, |b| format!("{:.3}, {}, {}", b.margin, b.regularisation, b.step))
        }),
        ("k", |s| s.topk.model.activation.k().map_or_else(String::new, |k| k.to_string())),
        ("λ of the L1 penalty, ReLU", |s| s.relu.objective.l1.to_string()),
        ("θ at the start, width, weight of L0, JumpReLU", |s| match s.jumprelu.model.activation {
            Activation::JumpRelu { theta, bandwidth } => format!("{theta}, {bandwidth}, {}", s.jumprelu.objective.l0),
            _ => String::new(),
        }),
        ("the k and weights of eq. 9, Matryoshka", |s| match &s.matryoshka.objective.scales {
            Scales::TopK { ks, weights } => format!("{ks:?}, {weights:?}"),
            _ => String::new(),
        }),
        ("sources of the crosscoder", |s| match s.crosscoder.bench.as_ref().map(|bench| bench.task) {
            Some(Task::Crosscoder { sources }) => sources.to_string(),
            _ => String::new(),
        }),
        ("number and λ of anchors, from Table 4's caption", |s| {
            let anchors = s.anchored.anchors.as_ref();
            let count = |count: Option<usize>| count.map_or_else(|| "all".to_owned(), |count| count.to_string());
            anchors.map_or_else(String::new, |a| format!("{}, {}", count(a.count), a.weight))
        }),
    ];
    for (choice, of) in rows {
        table.push([Cell::from(choice), Cell::from(of(&sizes[0])), Cell::from(of(&sizes[1]))]);
    }
    table.push([
        Cell::from("what is scored"),
        Cell::from("encoder and decoder, scaled to norm 1; the encoder also as it is"),
        Cell::from("the same"),
    ]);
    table
}

/// "20 epochs, or until an epoch's mean loss falls by at most 1 %".
fn length(experiment: &Experiment) -> String {
    let train = &experiment.train;
    let length = match (train.epochs, train.steps) {
        (Some(epochs), _) => format!("{epochs} epochs"),
        (None, steps) => format!("{} steps", steps.unwrap_or(0)),
    };
    let plateau = |share: f64| format!("{length}, or until an epoch's mean loss falls by at most {} %", 100.0 * share);
    train.plateau.map_or_else(|| length.clone(), plateau)
}

fn start(experiment: &Experiment) -> String {
    let init = &experiment.model.init;
    let weights = match init.weights {
        Weights::Unit => "random directions of norm 1",
        Weights::Kaiming => "uniform by fan-in",
    };
    let scale = if init.scale == 1.0 { String::new() } else { format!(" times {}", init.scale) };
    let tied = if init.tied { "encoder and decoder alike" } else { "encoder and decoder on their own" };
    let biases = init.encoder_bias || init.decoder_bias || init.input_bias;
    format!("{weights}{scale}, {tied}, {}", if biases { "with biases" } else { "no biases" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_named_at_both_sizes_as_the_experiments_say_it() {
        let shown = exhibit();
        let table = &shown.tables[0];
        assert!(table.rows.iter().flatten().all(|cell| !cell.text().is_empty()));
        let row = |choice: &str| {
            let row = table.rows.iter().find(|row| row[0].text() == choice).unwrap();
            (row[1].text(), row[2].text())
        };
        let [paper, small] = sizes().unwrap();
        let expected = |s: &Size| format!("Adam, {}", s.relu.optimizer.learning_rate);
        assert_eq!(row("optimizer, learning rate"), (expected(&paper), expected(&small)));
        assert_eq!(row("k"), ("64".into(), "16".into()));
        // One row stands for all methods.
        for size in [paper, small] {
            for other in
                [&size.relu, &size.jumprelu, &size.matryoshka, &size.crosscoder, &size.transcoder, &size.anchored]
            {
                assert_eq!(other.optimizer, size.topk.optimizer);
                assert_eq!(other.train.batch, size.topk.train.batch);
                assert_eq!(
                    other.bench.as_ref().map(|b| (b.c_min, b.beta)),
                    size.topk.bench.as_ref().map(|b| (b.c_min, b.beta))
                );
            }
            for other in [&size.matryoshka, &size.crosscoder, &size.transcoder, &size.anchored] {
                assert_eq!(length(other), length(&size.topk));
            }
            assert_eq!(length(&size.jumprelu), length(&size.relu));
        }
        assert!(shown.paragraphs[1].contains("Table 1 M, k, λ_{anchor}, τ"), "{}", shown.paragraphs[1]);
    }
}
