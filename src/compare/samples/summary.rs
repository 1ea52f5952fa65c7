//! What the rounds of a comparison at bench scale say: tables, a figure and the answer, all from its records and timings.

use super::config::SamplesComparison;
use super::record::{Record, Timing};
use crate::compare::summary::{Answer, Summary};
use crate::stats::table::rounded;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};

/// Shares of the longest time at which methods are compared, which no method had more of than the comparison gives to all.
const SHARES: [f64; 4] = [1.0 / 64.0, 1.0 / 16.0, 1.0 / 4.0, 1.0];

/// The rounds of one method.
struct Course<'a> {
    method: &'a str,
    rounds: Vec<(&'a Record, f64)>,
}

impl<'a> Course<'a> {
    fn last(&self) -> (&'a Record, f64) {
        self.rounds[self.rounds.len() - 1]
    }

    /// The last round that was done in so many seconds.
    fn at(&self, seconds: f64) -> Option<&'a Record> {
        self.rounds.iter().rfind(|(_, at)| *at <= seconds).map(|(record, _)| *record)
    }
}

fn courses<'a>(comparison: &'a SamplesComparison, records: &'a [Record], timings: &[Timing]) -> Vec<Course<'a>> {
    let course = |method: &'a String| {
        let of =
            |(record, timing): (&'a Record, &Timing)| (record.method == *method).then_some((record, timing.seconds));
        Course { method, rounds: records.iter().zip(timings).filter_map(of).collect() }
    };
    comparison.methods.iter().map(course).filter(|course| !course.rounds.is_empty()).collect()
}

/// Why a method has ended, in words.
fn end(record: &Record) -> &'static str {
    match record.end {
        None => "running",
        Some(_) if record.interrupted => "time, in a round",
        Some(end) => end.words(),
    }
}

fn percent(share: f64) -> Cell {
    Cell::number(100.0 * share, 3)
}

/// Tables, figure and answers; `name` is that of the comparison and begins the names of all of them. None without a round.
pub fn summarise(
    name: &str,
    comparison: &SamplesComparison,
    records: &[Record],
    timings: &[Timing],
) -> Option<Summary> {
    let courses = courses(comparison, records, timings);
    let longest = courses.iter().map(|course| course.last().1).reduce(f64::max)?.min(comparison.seconds);
    let bench = &comparison.bench;
    let size = format!(
        "n = {}, n_p = {}, n_q = {}, k = {}, N = {}, S = {}",
        bench.n, bench.n_p, comparison.latents, comparison.k, bench.samples, bench.sparsity
    );
    let tau = comparison.tau;
    let columns = [
        ("method", Kind::Text),
        ("rounds", Kind::Number),
        ("seconds", Kind::Number),
        ("loss", Kind::Number),
        ("loss, unseen", Kind::Number),
        ("decoder %", Kind::Number),
        ("encoder %", Kind::Number),
        ("dead", Kind::Number),
        ("end", Kind::Text),
    ];
    let mut ends = Table::new(&format!("{name}-ends"), "experiments", columns)
        .title("Methods at bench scale: where they end")
        .caption(&format!(
            "{size}. The loss is the mean of ‖x_r − x̂_r‖² over all samples with TopK, and over samples that no method has seen; decoder and encoder: features recovered at τ = {tau}. \
             A round is a sweep, an epoch or a pass. A method has settled when its best loss fell by less than {} of itself in {} rounds; seconds are those that it worked. Time, in a round: the last round was interrupted, and is counted; \
             what it came to depends on the machine.",
            rounded(comparison.tolerance, 2),
            comparison.window
        ));
    for course in &courses {
        let (record, seconds) = course.last();
        ends.push([
            course.method.into(),
            Cell::exact(record.round),
            Cell::number(seconds, 3),
            Cell::number(record.loss, 4),
            Cell::number(record.held_out, 4),
            percent(record.decoder),
            percent(record.encoder),
            record.dead.into(),
            end(record).into(),
        ]);
    }
    let times: Vec<f64> = SHARES.iter().map(|share| share * longest).collect();
    let headers: Vec<String> = times.iter().map(|t| format!("{} s", rounded(*t, 2))).collect();
    let columns = std::iter::once(("method", Kind::Text)).chain(headers.iter().map(|h| (h.as_str(), Kind::Number)));
    let mut same = Table::new(&format!("{name}-times"), "experiments", columns)
        .title("Methods at bench scale: the loss at the same wall time")
        .caption(&format!(
            "{size}. The loss after the last round that a method has done in so many seconds, decoder recovery at τ = {tau} in brackets. A method that has ended stays where it is; a round that was not done by then does not count, \
             and a dash is where a method had done none."
        ));
    for course in &courses {
        let cell = |t: &f64| match course.at(*t) {
            Some(record) => {
                Cell::exact(format!("{} ({} %)", rounded(record.loss, 4), rounded(100.0 * record.decoder, 3)))
            }
            None => Cell::Missing,
        };
        same.push(std::iter::once(course.method.into()).chain(times.iter().map(cell)));
    }
    Some(Summary {
        answers: answer(name, &courses, &times, tau).into_iter().collect(),
        figures: vec![figure(name, &courses, &size, tau)],
        tables: vec![ends, same],
    })
}

/// Who is ahead at the same seconds.
fn answer(name: &str, courses: &[Course<'_>], times: &[f64], tau: f64) -> Option<Answer> {
    let mut said = Vec::new();
    for t in times {
        let done = |course: &&Course<'_>| course.at(*t).is_some_and(|record| record.round > 0);
        if !courses.iter().any(|course| done(&course)) {
            continue;
        }
        let at = |course: &Course<'_>| course.at(*t).map(|record| (record.loss, course.method.to_owned()));
        let mut found: Vec<(f64, String)> = courses.iter().filter_map(at).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let [(best, first), (next, second), ..] = found.as_slice() {
            said.push(format!(
                "after {} s {first} has the lowest loss, {} against {} of {second}",
                rounded(*t, 2),
                rounded(*best, 3),
                rounded(*next, 3)
            ));
        }
    }
    let share = |course: &Course<'_>| {
        let (record, seconds) = course.last();
        format!(
            "{} {} % and {} % after {} s",
            course.method,
            rounded(100.0 * record.decoder, 3),
            rounded(100.0 * record.encoder, 3),
            rounded(seconds, 3)
        )
    };
    let recovered: Vec<String> = courses.iter().map(share).collect();
    (!said.is_empty()).then(|| Answer {
        question: "At the same wall time at bench scale, which method is ahead?".into(),
        answer: format!(
            "In this one run {}. Decoder and encoder have recovered after the last round of each, at τ = {tau}: {}.",
            said.join("; "),
            recovered.join(", ")
        ),
        shown: vec![format!("{name}-course"), format!("{name}-times")],
    })
}

fn figure(name: &str, courses: &[Course<'_>], size: &str, tau: f64) -> Figure {
    // Round 0 stands at 0 s, which a logarithmic axis does not show. One round makes no line.
    let line = |course: &Course<'_>, of: fn(&Record) -> f64| {
        let label = course.method.to_owned();
        let points: Vec<_> =
            course.rounds.iter().filter(|(_, t)| *t > 0.0).map(|(record, t)| (*t, of(record))).collect();
        match points.len() {
            1 => Layer::Points { label, points, intervals: Vec::new() },
            _ => Layer::Line { label, points },
        }
    };
    let panel = |title: &str, y: Axis, of: fn(&Record) -> f64| {
        courses.iter().fold(Panel::new(title, Axis::log("seconds"), y), |panel, course| panel.layer(line(course, of)))
    };
    Figure::new(&format!("{name}-course"), "experiments", Width::Page)
        .title("Loss and recovery against time at bench scale")
        .caption(&format!(
            "{size}. (a) The loss on all samples after every round; (b) and (c) features recovered at τ = {tau} by decoder and encoder. Measuring is not timed."
        ))
        .panel(panel("loss", Axis::log("loss"), |record| record.loss))
        .panel(panel("decoder", Axis::linear("recovered").range(0.0, 1.0), |record| record.decoder))
        .panel(panel("encoder", Axis::linear("recovered").range(0.0, 1.0), |record| record.encoder))
}

#[cfg(test)]
mod tests {
    use super::super::record::End;
    use super::*;

    #[test]
    fn methods_are_compared_after_the_same_seconds_with_what_they_had_done_by_then() {
        let text = "seconds = 16\nlatents = 8\nk = 2\nmethods = [\"adam\", \"alternating\"]\n[bench]\nn = 6\nn_p = 5\nsamples = 40\ninterference = 0.6\n";
        let comparison = SamplesComparison::from_toml(text).unwrap();
        let lines = |method: &str, rounds: &[(f64, f64)]| -> Vec<(Record, Timing)> {
            let line = |(round, (seconds, loss)): (usize, &(f64, f64))| {
                let (method, round) = (method.to_owned(), round as u64);
                let record = Record {
                    format: 1,
                    method: method.clone(),
                    round,
                    loss: *loss,
                    held_out: *loss,
                    encoder: 0.0,
                    decoder: 0.5,
                    dead: 0,
                    sweep: None,
                    interrupted: false,
                    end: None,
                };
                (record, Timing { method, round, seconds: *seconds })
            };
            rounds.iter().enumerate().map(line).collect()
        };
        // At 4 s Adam is at 3, at 16 s at 1; alternating search ends at 2 after 3.5 s.
        let mut all = lines("adam", &[(0.0, 9.0), (2.0, 5.0), (4.0, 3.0), (16.0, 1.0)]);
        all.extend(lines("alternating", &[(0.0, 9.0), (3.5, 2.0)]));
        let (records, timings): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let summary = summarise("scale", &comparison, &records, &timings).unwrap();
        let times = &summary.tables[1];
        let texts = |row: usize| times.rows[row].iter().map(Cell::text).collect::<Vec<_>>();
        assert_eq!(texts(0), ["adam", "9.000 (50.0 %)", "9.000 (50.0 %)", "3.000 (50.0 %)", "1.000 (50.0 %)"]);
        assert_eq!(texts(1), ["alternating", "9.000 (50.0 %)", "9.000 (50.0 %)", "2.000 (50.0 %)", "2.000 (50.0 %)"]);
        let answer = &summary.answers[0].answer;
        assert!(answer.contains("after 4.0 s alternating has the lowest loss, 2.00 against 3.00 of adam"), "{answer}");
        assert!(answer.contains("after 16 s adam has the lowest loss, 1.00 against 2.00 of alternating"), "{answer}");
        let layers = &summary.figures[0].panels[0].layers;
        assert!(matches!(&layers[0], Layer::Line { points, .. } if points.len() == 3));
        assert!(matches!(&layers[1], Layer::Points { points, .. } if *points == [(3.5, 2.0)]), "one round is seen");
        // What comes after the seconds that all have is not compared.
        let less = SamplesComparison { seconds: 8.0, ..comparison.clone() };
        let late = summarise("scale", &less, &records, &timings).unwrap();
        assert_eq!(late.tables[1].columns.last().unwrap().header, "8.0 s");
        assert!(late.answers[0].answer.contains("after 8.0 s alternating has the lowest loss, 2.00 against 3.00"));
        assert!(!late.answers[0].answer.contains("after 16 s adam has"), "{}", late.answers[0].answer);
        assert!(summarise("scale", &comparison, &[], &[]).is_none());
        // Where the time was over within the last round, the table says so.
        let ends = |interrupted| {
            let mut last = Record { end: Some(End::Time), ..records[5].clone() };
            last.interrupted = interrupted;
            let summary = summarise("scale", &comparison, &[last], &timings[5..]).unwrap();
            summary.tables[0].rows[0].last().map(Cell::text).unwrap()
        };
        assert_eq!([ends(false), ends(true)], ["time", "time, in a round"]);
    }
}
