//! Trainings beside the published tables, as parts of the page.

use super::page::Exhibit;
use super::trainings::mean_curve;
use crate::claims::printed::{Printed, decimal};
use crate::claims::published::{self, Measurement};
use crate::exact::rational::to_f64;
use crate::results::compare::{Measure, Scored};
use crate::results::orderings::Contrast;
use crate::results::record::{Recovered, Side};
use crate::results::{Comparison, PublishedRow, RunRecord};
use crate::stats::{Axis, Figure, Layer, MeanInterval, Panel, Table, Width};
use crate::train::trace::Point;
use std::collections::BTreeSet;

/// Height of the row of a method in points.
const ROW: f64 = 26.0;
/// How far the places of scores in a row are apart, in rows: further than markers are large.
const APART: f64 = 0.22;

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
        tables: tables(comparison, table, &name),
        certificates: Vec::new(),
    }
}

/// The published numbers beside ours, how ours were trained, and which orderings reproduce: counted, and by name.
fn tables(comparison: &Comparison<'_>, table: u32, name: &dyn Fn(&str) -> String) -> Vec<Table> {
    let of = |measure| match measure {
        Measure::Recovery => "recovery",
        Measure::Mip => "products",
    };
    let mut tables: Vec<Table> =
        Measure::ALL.iter().map(|measure| comparison.score_table(table, *measure, &name(of(*measure)))).collect();
    tables.push(comparison.raw_table(table, &name("raw")));
    tables.push(comparison.training_table(table, &name("sparsity")));
    tables.push(comparison.orderings_table(table, &name("orderings")));
    for contrast in Contrast::ALL {
        for measure in Measure::ALL {
            for scores in contrast.shown() {
                // Both sides stand in one table but where each has two scores.
                let side = if scores[1].is_free() { format!("-{}", scores[0].word()) } else { String::new() };
                let name = name(&format!("orderings-{}-{}{side}", contrast.word(), of(measure)));
                tables.extend(comparison.pairs_table(table, contrast, measure, *scores, &name));
            }
        }
    }
    tables
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

/// Recovery of both sides of each method, which has a row of its own and in it a place for every score, so that no marker covers another.
fn sides_figure(records: &[&RunRecord], name: &str) -> Option<Figure> {
    let panel = |title: &str, anchored: bool, scores: &[Scored]| {
        let (runs, methods) = unvaried(records, anchored);
        let height = |k: usize| (methods.len() - 1 - k) as f64;
        let ticks = methods.iter().enumerate().map(|(k, method)| (height(k), (*method).to_owned()));
        let axes = (
            Axis::linear("recovered share M_GT").range(-0.04, 1.04),
            Axis::linear("").range(-0.5, methods.len() as f64 - 0.5).ticks(ticks),
        );
        let panel = Panel::new(title, axes.0, axes.1).frame_height(methods.len() as f64 * ROW);
        scores.iter().enumerate().fold(panel, |panel, (place, scored)| {
            let above = APART * ((scores.len() - 1) as f64 / 2.0 - place as f64);
            let mut points = Vec::new();
            let mut intervals = Vec::new();
            for (k, method) in methods.iter().enumerate() {
                let own = runs.iter().filter(|record| record.published.method == *method);
                let own: Vec<f64> = own.filter_map(|record| scored.score(record, Measure::Recovery)).collect();
                let Some(mean) = MeanInterval::of(&own) else { continue };
                let y = height(k) + above;
                points.push((mean.mean, y));
                // With one run there is no interval.
                if mean.half.is_finite() {
                    intervals.extend([(mean.low().max(0.0), y), (mean.high().min(1.0), y), (f64::NAN, f64::NAN)]);
                }
            }
            let (label, has_intervals) = (scored.word().to_owned(), !intervals.is_empty());
            let line = Layer::Line { label: label.clone(), points: intervals };
            let panel = if has_intervals { panel.layer(line) } else { panel };
            panel.layer(Layer::Points { label, points, intervals: Vec::new() })
        })
    };
    let (plain, _) = unvaried(records, false);
    let (anchored, _) = unvaried(records, true);
    let all = [Scored::Decoder, Scored::Encoder];
    let with_free = [Scored::Decoder, Scored::DecoderFree, Scored::Encoder, Scored::EncoderFree];
    (!plain.is_empty() && !anchored.is_empty()).then(|| {
        Figure::new(name, "experiments", Width::Page)
            .title("Recovery of the encoder against that of the decoder")
            .caption(&format!(
                "Shares of features recovered at τ = 0.9, latents scaled to norm 1: means over seeds, with 95 % intervals (Student's t) where there is more \
                 than one, cut at 0 and 1. (a) Without anchors. (b) With feature anchoring: of all features, and of those that are free of anchors. {}",
                made_of(&plain)
            ))
            .panel(panel("without anchors", false, &all))
            .panel(panel("with anchors", true, &with_free))
    })
}

/// One side of a record.
type OfRecord = fn(&RunRecord) -> &Side;

/// Mean recovery over τ for each method, decoder and encoder.
fn recovery_figure(records: &[&RunRecord], name: &str, anchored: bool) -> Option<Figure> {
    let (plain, methods) = unvaried(records, anchored);
    if methods.is_empty() {
        return None;
    }
    let curve = |method: &str, of: &dyn Fn(&'_ RunRecord) -> Option<&'_ Recovered>| -> Vec<(f64, f64)> {
        let own = plain.iter().filter(|record| record.published.method == method);
        let curves = own.filter_map(|record| of(record)).map(|recovered| {
            let steps = (recovered.curve.len() - 1).max(1) as f64;
            recovered.curve.iter().enumerate().map(|(k, share)| (k as f64 / steps, *share)).collect()
        });
        mean_curve(&curves.collect::<Vec<_>>())
    };
    let panel = |title: &str, of: &dyn Fn(&'_ RunRecord) -> Option<&'_ Recovered>| {
        let axes = (Axis::linear("τ").range(0.0, 1.0), Axis::linear("recovered share M_GT").range(0.0, 1.0));
        methods.iter().fold(Panel::new(title, axes.0, axes.1), |panel, method| {
            panel.layer(Layer::Line { label: (*method).to_owned(), points: curve(method, of) })
        })
    };
    let sides: [(&str, OfRecord); 2] = [("decoder", |record| &record.decoder), ("encoder", |record| &record.encoder)];
    let mut figure = Figure::new(name, "experiments", Width::Page)
        .title(if anchored { "Recovery over τ, with anchors" } else { "Recovery over τ" })
        .caption(&format!(
            "Means over seeds, {}. (a) Decoder columns. (b) Encoder rows. {}Both scaled to norm 1. {}",
            if anchored { "with feature anchoring, anchored features counted" } else { "without anchors" },
            if anchored { "(c), (d) The same without the features and latents that are anchored. " } else { "" },
            made_of(&plain)
        ));
    for (title, side) in sides {
        figure = figure.panel(panel(title, &|record| Some(&side(record).normalised)));
    }
    for (title, side) in sides.into_iter().filter(|_| anchored) {
        figure = figure.panel(panel(&format!("{title}, not anchored"), &|record| side(record).free.as_ref()));
    }
    Some(figure)
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

    /// Stored results of one size.
    fn stored(size: &str) -> Vec<RunRecord> {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("reports/results/{size}.jsonl"));
        RunRecord::parse(&std::fs::read_to_string(file).unwrap(), size).unwrap()
    }

    #[test]
    fn runs_say_whether_they_are_stored_or_made_now_and_over_how_many_seeds_they_go() {
        let records = stored("small");
        let of = |now| exhibits(&records, "small", now);
        let table = |exhibits: &[Exhibit], number: usize| exhibits[number].paragraphs.concat();
        let (stored, made) = (of(false), of(true));
        assert_eq!(stored.len(), TABLES.len());
        let commit = short(records[0].origin.commit.as_ref().unwrap());
        assert!(
            table(&stored, 0).contains(&format!("stored results of sdlab {} at {commit}.", records[0].origin.version))
        );
        assert!(table(&made, 0).contains("trained for this report") && !table(&made, 0).contains("stored"));
        for exhibit in &stored {
            let number = exhibit.title.split([' ', ',']).nth(1).unwrap().parse::<u32>().unwrap();
            let own = records.iter().filter(|record| record.published.table == number);
            let seeds = own.map(|record| record.seed).collect::<BTreeSet<_>>().len();
            assert!(
                exhibit.paragraphs[0].contains(&format!(" runs with {seeds} seeds at ")),
                "{}",
                exhibit.paragraphs[0]
            );
            assert!(
                exhibit.tables[0].caption.contains(&format!("means over {seeds} seeds")),
                "{}",
                exhibit.tables[0].caption
            );
        }
    }

    #[test]
    fn no_marker_of_the_sides_covers_another() {
        for size in ["small", "full"] {
            let records = stored(size);
            let ours: Vec<&RunRecord> = records.iter().filter(|record| record.published.table == 1).collect();
            let figure = sides_figure(&ours, "sides").unwrap();
            for (panel, scores) in figure.panels.iter().zip([2, 4]) {
                let points = panel.layers.iter().filter_map(|layer| match layer {
                    Layer::Points { points, .. } => Some(points),
                    _ => None,
                });
                let mut rows: Vec<f64> = points.flatten().map(|(_, y)| *y).collect();
                rows.sort_by(f64::total_cmp);
                assert_eq!(rows.len(), 7 * scores);
                // The largest marker is less than 5.5 points high.
                assert!(rows.windows(2).all(|pair| (pair[1] - pair[0]) * ROW > 5.5), "{rows:?}");
            }
        }
    }

    #[test]
    fn what_is_anchored_has_curves_of_its_own() {
        let records = stored("full");
        let ours: Vec<&RunRecord> = records.iter().collect();
        let figure = recovery_figure(&ours, "curves", true).unwrap();
        assert_eq!(figure.panels.len(), 4);
        let last = |panel: usize| match &figure.panels[panel].layers[0] {
            Layer::Line { label, points } => (label.clone(), points[18]),
            layer => panic!("{layer:?}"),
        };
        let own = ours.iter().find(|record| record.published.anchored && record.published.method == last(0).0).unwrap();
        assert_eq!(last(1).1, (0.9, own.encoder.normalised.at(18)));
        assert_eq!(last(3).1, (0.9, own.encoder.free.as_ref().unwrap().at(18)));
    }
}
