//! Trainings beside the published tables, as parts of the page.

use super::page::Exhibit;
use super::trainings::mean_curve;
use crate::claims::printed::{Printed, decimal};
use crate::claims::published::{self, Measurement};
use crate::exact::rational::to_f64;
use crate::results::compare::Scored;
use crate::results::record::Recovered;
use crate::results::{Comparison, PublishedRow, RunRecord};
use crate::stats::{Axis, Figure, Layer, MeanInterval, Panel, Width};
use crate::train::trace::Point;
use std::collections::BTreeSet;

/// The tables that are about the bench.
pub const TABLES: [u32; 5] = [1, 4, 5, 6, 7];

/// The published rows in numbers.
pub fn published_rows() -> Vec<PublishedRow> {
    published::measurements().iter().map(row).collect()
}

fn row(measurement: &Measurement) -> PublishedRow {
    let number = |printed: &Printed| to_f64(printed.value());
    PublishedRow {
        table: measurement.table as u32,
        method: measurement.method.clone(),
        anchored: measurement.anchored,
        at: measurement.at.as_ref().map(decimal),
        recovery: number(&measurement.recovery),
        mip: number(&measurement.mip),
        l0: measurement.l0.as_ref().map(number),
    }
}

/// One part of the page for each size and table that records speak of. `size` is a word for file names and headings, such as "small"; `now` says that
/// the runs were made for this report.
pub fn exhibits(records: &[RunRecord], size: &str, now: bool) -> Vec<Exhibit> {
    let rows = published_rows();
    let comparison = Comparison::new(&rows, records);
    let spoken: BTreeSet<u32> = records.iter().map(|record| record.published.table).collect();
    TABLES
        .iter()
        .filter(|table| spoken.contains(table))
        .map(|table| exhibit(&comparison, records, *table, size, now))
        .collect()
}

/// The first digits of a commit, with its mark.
fn short(revision: &str) -> String {
    let (commit, mark) = revision.split_at(revision.find('-').unwrap_or(revision.len()));
    format!("{}{mark}", &commit[..commit.len().min(12)])
}

fn exhibit(comparison: &Comparison<'_>, records: &[RunRecord], table: u32, size: &str, now: bool) -> Exhibit {
    let ours: Vec<&RunRecord> = records.iter().filter(|record| record.published.table == table).collect();
    let seeds: BTreeSet<u64> = ours.iter().map(|record| record.seed).collect();
    let sizes: BTreeSet<[usize; 3]> = ours.iter().map(|record| record.size).collect();
    let sizes: Vec<String> = sizes.iter().map(|[n, n_p, n_q]| format!("n = {n}, n_p = {n_p}, n_q = {n_q}")).collect();
    let devices: BTreeSet<&str> = ours.iter().map(|record| record.origin.device.as_str()).collect();
    let devices: Vec<&str> = devices.into_iter().collect();
    let name = |what: &str| format!("{what}-table-{table}-{size}");
    let mut figures = Vec::new();
    figures.extend(recovery_figure(&ours, &name("recovery-over-tau"), false));
    figures.extend(recovery_figure(&ours, &name("recovery-over-tau-anchored"), true));
    figures.extend(training_figure(&ours, &name("training")));
    figures.extend(sides_figure(&ours, &name("encoder-decoder")));
    let texts = |of: fn(&RunRecord) -> Option<&str>| ours.iter().filter_map(|r| of(r)).collect::<BTreeSet<_>>();
    let list = |texts: BTreeSet<&str>| texts.into_iter().collect::<Vec<_>>().join(", ");
    let (versions, commits) = (texts(|r| Some(&r.origin.version)), texts(|r| r.origin.commit.as_deref()));
    let made = if now {
        "They were trained for this report.".to_owned()
    } else {
        let commits: BTreeSet<String> = commits.iter().map(|revision| short(revision)).collect();
        let commits: Vec<String> = commits.into_iter().collect();
        let at = if commits.is_empty() { String::new() } else { format!(" at {}", commits.join(", ")) };
        format!("They are stored results of sdlab {}{at}.", list(versions))
    };
    Exhibit {
        id: name("runs"),
        title: format!("Table {table}, {size} runs"),
        paragraphs: vec![format!(
            "{} runs with {} at {}, on {}. {made} The paper publishes neither optimizer, learning rate, batch, length of training, start, \
                 c_min nor β, nor which side is scored how; ours are recorded choices, so that orderings can be compared and numbers cannot.",
            ours.len(),
            counted(seeds.len()),
            sizes.join("; "),
            devices.join("; ")
        )],
        figures,
        tables: vec![
            comparison.recovery_table(table, &name("recovery")),
            comparison.product_table(table, &name("products")),
            comparison.orderings_table(table, &name("orderings")),
        ],
    }
}

/// Runs of tables that vary nothing, and their methods in order.
fn unvaried<'a>(records: &[&'a RunRecord], anchored: bool) -> (Vec<&'a RunRecord>, Vec<&'a str>) {
    let fits = |record: &&&RunRecord| record.published.anchored == anchored && record.published.at.is_none();
    let chosen: Vec<&RunRecord> = records.iter().filter(fits).copied().collect();
    let mut methods: Vec<&str> = Vec::new();
    for record in &chosen {
        if !methods.contains(&record.published.method.as_str()) {
            methods.push(&record.published.method);
        }
    }
    (chosen, methods)
}

/// A number of seeds in words.
fn counted(seeds: usize) -> String {
    format!("{seeds} {}", if seeds == 1 { "seed" } else { "seeds" })
}

/// Size and seeds of runs, for captions.
fn made_of(runs: &[&RunRecord]) -> String {
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.seed).collect();
    let sizes: BTreeSet<[usize; 3]> = runs.iter().map(|run| run.size).collect();
    let sizes: Vec<String> = sizes.iter().map(|[n, n_p, n_q]| format!("n = {n}, n_p = {n_p}, n_q = {n_q}")).collect();
    format!("{}; {}.", sizes.join("; "), counted(seeds.len()))
}

/// Loss and recovery against steps for each method without anchors, as far as runs have been looked at on the way.
fn training_figure(records: &[&RunRecord], name: &str) -> Option<Figure> {
    let looked_at: Vec<&RunRecord> = records.iter().filter(|record| !record.trace.is_empty()).copied().collect();
    let (runs, methods) = unvaried(&looked_at, false);
    if methods.is_empty() {
        return None;
    }
    let panel = |title: &str, y: Axis, of: fn(&Point) -> f64| {
        methods.iter().fold(Panel::new(title, Axis::linear("steps"), y), |panel, method| {
            let own = runs.iter().filter(|record| record.published.method == *method);
            let curve = |record: &&RunRecord| record.trace.iter().map(|point| (point.step as f64, of(point))).collect();
            let points = mean_curve(&own.map(curve).collect::<Vec<_>>());
            panel.layer(Layer::Line { label: (*method).to_owned(), points })
        })
    };
    let share = || Axis::linear("recovered share M_GT").range(0.0, 1.0);
    Some(
        Figure::new(name, "experiments", Width::Page)
            .title("Loss and recovery against steps")
            .caption(&format!(
                "Means over seeds, without anchors. (a) Loss of the batch at that step, with its penalties. (b) Share of features that decoder columns have \
                 recovered at τ = 0.9. (c) The same of encoder rows. {}",
                made_of(&runs)
            ))
            .panel(panel("loss", Axis::log("loss"), |point| point.loss))
            .panel(panel("decoder", share(), |point| point.decoder))
            .panel(panel("encoder", share(), |point| point.encoder)),
    )
}

/// Recovery of the encoder against that of the decoder, one marker for each method.
fn sides_figure(records: &[&RunRecord], name: &str) -> Option<Figure> {
    let panel = |title: &str, anchored: bool| {
        let (runs, methods) = unvaried(records, anchored);
        let axes = (Axis::linear("M_GT, decoder").range(-0.05, 1.05), Axis::linear("M_GT, encoder").range(-0.05, 1.05));
        let same = Layer::Reference { label: "both sides alike".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] };
        methods.iter().fold(Panel::new(title, axes.0, axes.1).layer(same), |panel, method| {
            let own: Vec<&&RunRecord> = runs.iter().filter(|record| record.published.method == *method).collect();
            let mean = |side: Scored| MeanInterval::of(&own.iter().map(|r| side.recovery(r)).collect::<Vec<_>>());
            let (Some(decoder), Some(encoder)) = (mean(Scored::Decoder), mean(Scored::Encoder)) else { return panel };
            // With one run there is no interval.
            let half = if encoder.half.is_finite() { encoder.half } else { 0.0 };
            panel.layer(Layer::Points {
                label: (*method).to_owned(),
                points: vec![(decoder.mean, encoder.mean)],
                intervals: vec![((encoder.mean - half).max(0.0), (encoder.mean + half).min(1.0))],
            })
        })
    };
    let (plain, _) = unvaried(records, false);
    let (anchored, _) = unvaried(records, true);
    (!plain.is_empty() && !anchored.is_empty()).then(|| {
        Figure::new(name, "experiments", Width::Page)
            .title("Recovery of the encoder against that of the decoder")
            .caption(&format!(
                "Shares of features recovered at τ = 0.9, latents scaled to norm 1: means over seeds, with 95 % intervals of the encoder's, cut at 0 and \
                 1. (a) Without anchors. (b) With feature anchoring, anchored features counted. {}",
                made_of(&plain)
            ))
            .panel(panel("without anchors", false))
            .panel(panel("with anchors", true))
    })
}

/// Mean recovery over τ for each method, decoder and encoder.
fn recovery_figure(records: &[&RunRecord], name: &str, anchored: bool) -> Option<Figure> {
    let (plain, methods) = unvaried(records, anchored);
    if methods.is_empty() {
        return None;
    }
    let curve = |method: &str, side: fn(&RunRecord) -> &Recovered| -> Vec<(f64, f64)> {
        let of: Vec<&Recovered> =
            plain.iter().filter(|record| record.published.method == method).map(|record| side(record)).collect();
        let steps = of.first().map_or(0, |recovered| recovered.curve.len());
        let mean =
            |k: usize| MeanInterval::of(&of.iter().map(|r| r.curve[k]).collect::<Vec<_>>()).map_or(0.0, |m| m.mean);
        (0..steps).map(|k| (k as f64 / (steps - 1) as f64, mean(k))).collect()
    };
    let panel = |title: &str, side: fn(&RunRecord) -> &Recovered| {
        let axes = (Axis::linear("τ").range(0.0, 1.0), Axis::linear("recovered share M_GT").range(0.0, 1.0));
        methods.iter().fold(Panel::new(title, axes.0, axes.1), |panel, method| {
            panel.layer(Layer::Line { label: (*method).to_owned(), points: curve(method, side) })
        })
    };
    Some(
        Figure::new(name, "experiments", Width::Page)
            .title(if anchored { "Recovery over τ, with anchors" } else { "Recovery over τ" })
            .caption(&format!(
                "Means over seeds, {}. (a) Decoder columns. (b) Encoder rows. Both scaled to norm 1. {}",
                if anchored { "with feature anchoring, anchored features counted" } else { "without anchors" },
                made_of(&plain)
            ))
            .panel(panel("decoder", |record| &record.decoder.normalised))
            .panel(panel("encoder", |record| &record.encoder.normalised)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_rows_of_the_bench_are_ninety_four() {
        let rows = published_rows();
        assert_eq!(rows.iter().filter(|row| TABLES.contains(&row.table)).count(), 94);
        let topk = rows.iter().find(|row| row.table == 1 && row.method == "TopK SAE" && !row.anchored).unwrap();
        assert!((topk.recovery - 0.849).abs() < 1e-12 && (topk.mip - 0.983).abs() < 1e-12 && topk.l0 == Some(54.1));
        assert!(rows.iter().filter(|row| row.table == 4).all(|row| row.at.is_some()));
    }

    #[test]
    fn there_is_nothing_to_show_without_records() {
        assert!(exhibits(&[], "small", false).is_empty());
    }
}
