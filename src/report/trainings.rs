//! Trainings that a report makes itself, as parts of the page: the bench in three dimensions, and what is done about dead latents.

use super::page::Exhibit;
use crate::results::live::{MOVES, RESAMPLING_SEEDS, Way};
use crate::results::low_dimension::{Direction, LARGER, LATENTS, Learned, STEPS, TAU, View};
use crate::results::measure::Course;
use crate::stats::table::rounded;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, MeanInterval, Panel, Table, Width};

/// Figures 4 and 8 of the paper, made again.
pub fn low_dimension(view: &View) -> Exhibit {
    let View { features, samples, constructed, trained, .. } = view;
    let seen: Vec<(f64, f64)> = samples.iter().map(project).collect();
    let bench = Figure::new("bench-3d", "experiments", Width::Page)
        .title("The bench in three dimensions")
        .caption(&format!(
            "As Figure 8 of the paper: n = {} features in n_p = 3 dimensions, and {} samples at S = 0.6, all seen from one fixed direction. (a) The \
             features; the circle is the outline of the unit sphere. (b) Samples lie in the cone of the features, most of them on its rays and faces.",
            features.len(),
            samples.len()
        ))
        .panel(arrows(sphere("features"), "feature", features))
        .panel({
            let reach = seen.iter().fold(1.0_f64, |m, (x, y)| m.max(x.abs()).max(y.abs())) * 1.05;
            let axes = (Axis::linear("").range(-reach, reach), Axis::linear("").range(-reach, reach));
            let panel = Panel::new("samples", axes.0, axes.1).equal_units();
            let panel = panel.layer(Layer::Points { label: "sample".into(), points: seen, intervals: Vec::new() });
            arrows(panel, "feature", features)
        });
    let made = |name: &str, title: &str, learned: &Learned, how: &str| {
        let [encoder, decoder] = learned.recovered;
        Figure::new(name, "experiments", Width::Page)
            .title(title)
            .caption(&format!(
                "As Figure 4 of the paper, on the features of the bench in three dimensions: {how} L̃ = {}. At τ = {TAU} the encoder has recovered \
                 {} of the features and the decoder {}. (a) The features. (b) Encoder rows. (c) Decoder columns, of latents that are active for \
                 some feature, scaled to norm 1, with the features behind them.",
                rounded(learned.loss, 2),
                percent(encoder),
                percent(decoder)
            ))
            .panel(arrows(sphere("features"), "feature", features))
            .panel(arrows(arrows(sphere("encoder"), "feature", features), "encoder row", &learned.encoder))
            .panel(arrows(arrows(sphere("decoder"), "feature", features), "decoder column", &learned.decoder))
    };
    let figures = vec![
        bench,
        made(
            "zero-loss-constructed",
            "No loss and no feature, constructed",
            constructed,
            "a random encoder with nonsingular codes and the decoder W_D = R Z^{-1} that belongs to it, solved for in exact numbers.",
        ),
        made(
            "zero-loss-trained",
            "Next to no loss, trained",
            trained,
            &format!(
                "a ReLU SAE of {LATENTS} latents after {STEPS} steps of Adam on the isolated features, whose loss is L̃."
            ),
        ),
    ];
    Exhibit {
        id: "bench-3d".into(),
        title: "The bench in three dimensions, and models without loss on it".into(),
        paragraphs: vec![
            "All of a bench of four features in three dimensions can be drawn. A model without loss need not have recovered any of them: for an \
             encoder with codes Z = σ(W_E P) of full rank there is always a decoder without loss (eq. 16). What a trained model of so few dimensions has \
             recovered may have been met by chance; the table has one in 48 dimensions beside it."
                .into(),
        ],
        figures,
        tables: vec![without_loss(view)],
        certificates: Vec::new(),
    }
}

fn without_loss(view: &View) -> Table {
    let columns = [
        ("model", Kind::Text),
        ("L̃", Kind::Number),
        ("of a zero decoder", Kind::Number),
        ("M_GT, encoder (%)", Kind::Number),
        ("M_GT, decoder (%)", Kind::Number),
        ("at the start (%)", Kind::Number),
    ];
    let mut table = Table::new("without-loss", "experiments", columns).title("Models without loss").caption(&format!(
        "L̃ of three models beside that of a decoder of zeros, and shares of features recovered at τ = {TAU}; for the trained ones also those of the encoder and \
         the decoder that training began with, which are random. In three dimensions random directions meet features, in 48 they do not."
    ));
    let [n, n_p, n_q] = LARGER;
    for (name, learned) in [
        (format!("constructed, n = {0}, n_p = 3, n_q = {0}", view.features.len()), &view.constructed),
        (format!("trained, n = {}, n_p = 3, n_q = {LATENTS}", view.features.len()), &view.trained),
        (format!("trained, n = {n}, n_p = {n_p}, n_q = {n_q}"), &view.larger),
    ] {
        let share = |share: f64| Cell::from(rounded(100.0 * share, 3));
        let start = learned.start.map(|both| both.map(|share| rounded(100.0 * share, 3)).join(", "));
        let [encoder, decoder] = learned.recovered;
        table.push([
            Cell::from(name),
            Cell::from(rounded(learned.loss, 2)),
            Cell::from(rounded(learned.most, 3)),
            share(encoder),
            share(decoder),
            Cell::from(start.unwrap_or_else(|| "–".to_owned())),
        ]);
    }
    table
}

/// Figure 6 of the paper on the bench, with more than one recipe.
pub fn resampling(ways: &[Way]) -> Exhibit {
    let panel = |title: &str, y: Axis, of: &dyn Fn(&Course) -> Vec<(f64, f64)>| {
        ways.iter().enumerate().fold(Panel::new(title, Axis::linear("steps"), y), |panel, (place, way)| {
            let curves: Vec<Vec<(f64, f64)>> = way.courses.iter().map(of).collect();
            let end = end_of(&curves, place);
            let panel = panel.layer(Layer::Line { label: way.name.into(), points: mean_curve(&curves) });
            panel.layer(Layer::Points {
                label: way.name.into(),
                points: end.iter().map(|(x, mean)| (*x, mean.mean)).collect(),
                intervals: end.iter().map(|(_, mean)| (mean.mean - mean.half, mean.mean + mean.half)).collect(),
            })
        })
    };
    let figure = Figure::new("resampling", "experiments", Width::Page)
        .title("Dead latents: left alone, moved, or trained")
        .caption(&format!(
            "As Figure 6 of the paper, on a small bench where latents die (n = 62, n_p = 48, n_q = 66, TopK with k = 4, learning rate 0.02), means over \
             {RESAMPLING_SEEDS} seeds; latents are moved after {} steps. (a) Loss, means over 8 records, without the first. (b) Share of latents that were silent for 1280 \
             samples. (c) Share of features that the decoder has recovered at τ = 0.9. Markers beside the ends: the \
             same means with 95 % intervals (Student's t).",
            MOVES.map(|step| step.to_string()).join(", ")
        ))
        .panel(panel("loss", Axis::linear("loss"), &late_losses))
        .panel(panel("dead latents", Axis::linear("share"), &dead))
        .panel(panel("recovery", Axis::linear("M_GT, decoder"), &late_recovery));
    Exhibit {
        id: "resampling".into(),
        title: "What is done about dead latents".into(),
        paragraphs: vec![
            "The paper compares resampling with none on activations of a language model, with one run each. Here dead latents are left alone, moved by the \
             recipe of Bricken et al. (2023), moved in the direction of the largest exact decrease of the loss, or trained by the auxiliary loss AuxK \
             (eq. 8), from the same starts and on the same samples. Trained for this report."
                .into(),
            "The setting was chosen, by three of the five seeds, from eight that were tried (66, 80, 100 and 200 latents, two learning rates each) as one in \
             which dead latents are missed. With 80 latents nothing was gained by any way, with 100 and 200 the order of the ways changed with the learning \
             rate, and AuxK was far behind at the larger one. So the intervals speak of this setting alone, and too well of what is moved."
                .into(),
        ],
        figures: vec![figure],
        tables: vec![table(ways)],
        certificates: Vec::new(),
    }
}

fn table(ways: &[Way]) -> Table {
    let columns = [
        ("dead latents", Kind::Text),
        ("moved", Kind::Number),
        ("loss", Kind::Number),
        ("against none", Kind::Number),
        ("dead (%)", Kind::Number),
        ("M_GT, decoder (%)", Kind::Number),
    ];
    let mut table = Table::new("resampling", "experiments", columns).title("Ends of the trainings").caption(
        "Means over seeds ± half a 95 % interval (Student's t). The loss is the mean of the last 8 records; the difference to none is taken seed by seed.",
    );
    let last = |course: &Course| losses(course).last().map_or(f64::NAN, |(_, loss)| *loss);
    for way in ways {
        let each = |of: &dyn Fn(&Course) -> f64| way.courses.iter().map(of).collect::<Vec<_>>();
        let own = each(&last);
        let differences: Vec<f64> = ways
            .first()
            .map(|none| none.courses.iter().zip(&own).map(|(none, own)| own - last(none)).collect())
            .unwrap_or_default();
        let moved = each(&|course| course.moved as f64);
        let share = |curve: fn(&Course) -> Vec<(f64, f64)>| {
            each(&move |course| curve(course).last().map_or(f64::NAN, |(_, share)| 100.0 * share))
        };
        table.push([
            Cell::from(way.name),
            Cell::from(rounded(moved.iter().sum::<f64>() / moved.len().max(1) as f64, 3)),
            Cell::from(interval(&own)),
            Cell::from(if way.name == ways[0].name { "–".to_owned() } else { interval(&differences) }),
            Cell::from(interval(&share(dead))),
            Cell::from(interval(&share(decoder))),
        ]);
    }
    table
}

fn interval(values: &[f64]) -> String {
    MeanInterval::of(values).map_or("–".to_owned(), |mean| format!("{:.2} ± {:.2}", mean.mean, mean.half))
}

/// Means over 8 records each, at the step of the last of them.
fn losses(course: &Course) -> Vec<(f64, f64)> {
    let mean = |records: &[crate::train::run::Record]| {
        let loss = records.iter().map(|record| record.loss).sum::<f64>() / records.len() as f64;
        records.last().map(|last| (last.step as f64, loss))
    };
    course.records.chunks_exact(8).filter_map(mean).collect()
}

/// Without the first, which is far above the others.
fn late_losses(course: &Course) -> Vec<(f64, f64)> {
    losses(course).into_iter().skip(1).collect()
}

fn dead(course: &Course) -> Vec<(f64, f64)> {
    let latents = course.model.shape().n_q.max(1) as f64;
    course.records.iter().map(|record| (record.step as f64, record.dead as f64 / latents)).collect()
}

/// Without the beginning, where nothing is recovered.
fn late_recovery(course: &Course) -> Vec<(f64, f64)> {
    decoder(course).into_iter().filter(|(step, _)| *step >= MOVES[0] as f64 / 2.0).collect()
}

fn decoder(course: &Course) -> Vec<(f64, f64)> {
    course.trace.iter().map(|point| (point.step as f64, point.decoder)).collect()
}

/// The mean over curves with the same places.
pub fn mean_curve(curves: &[Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let Some(first) = curves.first() else { return Vec::new() };
    let at = |k: usize| curves.iter().filter_map(|curve| curve.get(k)).map(|(_, y)| *y).collect::<Vec<_>>();
    let mean = |k: usize| MeanInterval::of(&at(k)).map_or(f64::NAN, |mean| mean.mean);
    first.iter().enumerate().map(|(k, (x, _))| (*x, mean(k))).collect()
}

/// The mean of the ends of curves with its interval, beside the last step so that no two places cover each other.
fn end_of(curves: &[Vec<(f64, f64)>], place: usize) -> Option<(f64, MeanInterval)> {
    let ends: Vec<(f64, f64)> = curves.iter().filter_map(|curve| curve.last().copied()).collect();
    let mean = MeanInterval::of(&ends.iter().map(|(_, y)| *y).collect::<Vec<_>>())?;
    let last = ends.first()?.0;
    mean.half.is_finite().then_some((last * (1.03 + 0.03 * place as f64), mean))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// As seen from one direction: orthogonal projection along (0.48, 0.60, 0.64).
fn project(v: &Direction) -> (f64, f64) {
    let right = [-0.780_868_809_443_030_4, 0.624_695_047_554_424_3, 0.0];
    let up = [-0.399_804_830_434_831_56, -0.499_756_038_043_539_46, 0.768_374_908_491_941_8];
    let along = |axis: [f64; 3]| axis.iter().zip(v).map(|(a, x)| a * x).sum();
    (along(right), along(up))
}

/// A panel with the outline of the unit sphere.
fn sphere(title: &str) -> Panel {
    let axes = (Axis::linear("").range(-1.15, 1.15), Axis::linear("").range(-1.15, 1.15));
    let circle = (0..=96).map(|k| (f64::from(k) * std::f64::consts::TAU / 96.0).sin_cos()).collect();
    Panel::new(title, axes.0, axes.1)
        .equal_units()
        .layer(Layer::Reference { label: "outline of the unit sphere".into(), points: circle })
}

/// Lines from the origin to each direction, with a marker at its end.
fn arrows(panel: Panel, label: &str, directions: &[Direction]) -> Panel {
    let tips: Vec<(f64, f64)> = directions.iter().map(project).collect();
    let lines = tips.iter().flat_map(|tip| [(0.0, 0.0), *tip, (f64::NAN, f64::NAN)]).collect();
    panel.layer(Layer::Line { label: label.to_owned(), points: lines }).layer(Layer::Points {
        label: label.to_owned(),
        points: tips,
        intervals: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_an_orthogonal_projection() {
        let (x, y, z) = (project(&[1.0, 0.0, 0.0]), project(&[0.0, 1.0, 0.0]), project(&[0.0, 0.0, 1.0]));
        let square = |f: fn((f64, f64)) -> f64| [x, y, z].map(|v| f(v) * f(v)).iter().sum::<f64>();
        assert!((square(|v| v.0) - 1.0).abs() < 1e-12 && (square(|v| v.1) - 1.0).abs() < 1e-12);
        assert!([x, y, z].map(|v| v.0 * v.1).iter().sum::<f64>().abs() < 1e-12);
        let (u, v) = project(&[0.48, 0.60, 0.64]);
        assert!(u.abs() < 1e-12 && v.abs() < 1e-12);
    }

    #[test]
    fn curves_are_averaged_place_by_place() {
        let curves = [vec![(0.0, 1.0), (5.0, 2.0)], vec![(0.0, 3.0), (5.0, 6.0)]];
        assert_eq!(mean_curve(&curves), [(0.0, 2.0), (5.0, 4.0)]);
        assert!(mean_curve(&[]).is_empty());
    }
}
