//! A comparison of optimizers as a part of the page.

use super::page::Exhibit;
use crate::compare::Record;
use crate::compare::record::Timing as Seconds;
use crate::compare::samples::{self, SamplesComparison, Timing};
use crate::compare::summary::{Answer, Summary, summarise};
use crate::stats::{Figure, Table};

/// A question with its answer and links to what shows it.
fn paragraph(Answer { question, answer, shown }: &Answer, figures: &[Figure], tables: &[Table]) -> String {
    let link = |name: &String| {
        let figure = figures.iter().any(|figure| figure.name == *name).then(|| format!("#figure-{name}"));
        let table = tables.iter().any(|table| table.name == *name).then(|| format!("#table-{name}"));
        [figure, table]
    };
    let links: Vec<String> = shown.iter().flat_map(link).flatten().collect();
    if links.is_empty() {
        format!("{question} {answer}")
    } else {
        format!("{question} {answer} See {}.", links.join(", "))
    }
}

/// The part of the page for the records of one comparison; nothing if there are none. Timings may lack.
pub fn exhibit(records: &[Record], timings: &[Seconds]) -> Option<Exhibit> {
    let Summary { answers, figures, tables } = summarise(records, timings)?;
    let mut paragraphs = vec![
        "Every optimizer begins at the same random points of the same instances, with the same budget. The lower bounds and the optima without loss \
         carry certificates, which `sdlab compare` writes beside the results. A class is decided by the residuals of both blocks, the gradient and the \
         Hessian in f64. What is called the best known loss is certified only where the first table says so. Seconds, where shown, are of one run on one machine and differ from \
         run to run. \
         The closed form of a cell's optimum and the classes of the partial optima beside which gradient descent starts are those of the exact criterion. Every number here follows from the stored \
         results of `sdlab compare configs/compare/default.toml`."
            .to_owned(),
    ];
    paragraphs.extend(answers.iter().map(|answer| paragraph(answer, &figures, &tables)));
    Some(Exhibit {
        id: "compare".into(),
        title: "Optimizers against certified optima".into(),
        paragraphs,
        figures,
        tables,
    })
}

/// The part of the page for one stored comparison at bench scale; nothing if it has no round.
pub fn at_scale(
    name: &str,
    comparison: &SamplesComparison,
    records: &[samples::Record],
    timings: &[Timing],
) -> Option<Exhibit> {
    let Summary { answers, figures, tables } = samples::summary::summarise(name, comparison, records, timings)?;
    let mut paragraphs = vec![format!(
        "Every method has the same samples and {} s on one machine. Adam and the alternating methods begin at the same model; the learners of dictionaries begin at samples, and an \
         encoder is fitted to their codes by least squares. This is one run with one seed: differences of a few parts in a hundred between methods that end in different optima mean \
         nothing by themselves. Every number here follows from the stored results of `sdlab compare configs/compare/{name}.toml`.",
        comparison.seconds
    )];
    paragraphs.extend(answers.iter().map(|answer| paragraph(answer, &figures, &tables)));
    Some(Exhibit {
        id: name.to_owned(),
        title: format!("Alternating search at bench scale: {name}"),
        paragraphs,
        figures,
        tables,
    })
}
