//! [`Scores`] as tables and a figure.

use super::score::{BINS, RecoveryScores, STEPS, Scores, SideScores, WithAndWithout};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};

/// τ in percent at which tables show M_GT: the paper publishes none; 90 fits its tables 1, 2, 5, 6 and 7.
pub const SHOWN: [usize; 2] = [90, 95];

impl Scores {
    /// Reconstruction, sparsity, and latents as classifiers.
    pub fn table(&self) -> Table {
        let mut table = Table::new("scores", "evaluate", [("quantity", Kind::Text), ("value", Kind::Number)])
            .title("What the model does");
        let mut row = |name: &str, value: Option<f64>| {
            table.push([Cell::from(name), value.map_or(Cell::Missing, |value| Cell::number(value, 4))]);
        };
        let fit = &self.fit;
        row("samples", Some(fit.samples as f64));
        row("L0", Some(fit.l0));
        row("dead latents, share", Some(fit.dead));
        row("mean squared error", Some(fit.mse));
        row("variance unexplained (FVU)", fit.fvu);
        for (firing, which) in [(&self.firing, ""), (&self.firing_free, ", not anchored")] {
            if let Some(firing) = firing {
                row(&format!("best F1{which}"), Some(firing.f1));
                row(&format!("precision at the best F1{which}"), Some(firing.precision));
                row(&format!("recall at the best F1{which}"), Some(firing.recall));
                row(&format!("split features, share{which}"), Some(firing.split));
            }
        }
        if let Some(absorption) = &self.absorption {
            row("absorption rate of parents", Some(absorption.rate));
            row("parents with a silent main latent, share", Some(absorption.silent));
        }
        table
    }

    /// Recovery by encoder and decoder; absent where no features are known.
    pub fn recovery_table(&self) -> Option<Table> {
        let (encoder, decoder) = (self.encoder.as_ref()?, self.decoder.as_ref()?);
        let columns = [("recovery", Kind::Text), ("encoder", Kind::Number), ("decoder", Kind::Number)];
        let mut table = Table::new("recovery", "evaluate", columns).title("Recovery of the features");
        let mut rows = |prefix: &str, of: &dyn Fn(&SideScores) -> Option<&RecoveryScores>| {
            let (Some(encoder), Some(decoder)) = (of(encoder), of(decoder)) else { return };
            for percent in SHOWN {
                let cells = [encoder, decoder].map(|scores| Cell::number(scores.recovered_at(percent), 4));
                let [left, right] = cells;
                table.push([Cell::from(format!("{prefix}M_{{GT}}(0.{percent})")), left, right]);
            }
            table.push([
                Cell::from(format!("{prefix}MIP")),
                Cell::number(encoder.mip, 4),
                Cell::number(decoder.mip, 4),
            ]);
        };
        rows("", &|side| Some(&side.whole.normalised.all));
        rows("not anchored: ", &|side| side.whole.normalised.free.as_ref());
        rows("raw ", &|side| Some(&side.whole.raw.all));
        rows("not anchored: raw ", &|side| side.whole.raw.free.as_ref());
        for m in 0..encoder.sources.len() {
            rows(&format!("source {}: ", m + 1), &|side| side.sources.get(m).map(|source| &source.normalised.all));
        }
        let mcc = |side: &SideScores| side.mcc.map_or(Cell::Missing, |mcc| Cell::number(mcc.mean, 4));
        table.push([Cell::from("MCC, one latent per feature"), mcc(encoder), mcc(decoder)]);
        if let (Some(encoder), Some(decoder)) = (encoder.mcc_free, decoder.mcc_free) {
            let cells = [encoder, decoder].map(|mcc| Cell::number(mcc.mean, 4));
            let [left, right] = cells;
            table.push([Cell::from("not anchored: MCC, one latent per feature"), left, right]);
        }
        Some(table.note(
            "Latents are scaled to norm 1 except where raw products are named. All products are absolute values.",
        ))
    }

    /// M_GT over τ, and how best matches are distributed; absent where no features are known.
    pub fn figure(&self) -> Option<Figure> {
        let sides = [("encoder", self.encoder.as_ref()?), ("decoder", self.decoder.as_ref()?)];
        let unit = |label: &str| Axis { range: Some((0.0, 1.0)), ..Axis::linear(label) };
        let mut recovery = Panel::new("recovery", unit("τ"), unit("M_{GT}(τ)"));
        let mut matches = Panel::new("best matches", unit("s"), Axis::linear("share of features"));
        for (name, side) in sides {
            let WithAndWithout { all, free } = &side.whole.normalised;
            recovery = recovery.layer(Layer::Line { label: name.into(), points: curve(all) });
            if let Some(free) = free {
                recovery = recovery.layer(Layer::Line { label: format!("{name}, not anchored"), points: curve(free) });
            }
            matches = matches.layer(Layer::Line { label: name.into(), points: steps(all) });
        }
        Some(
            Figure::new("recovery", "evaluate", Width::Page)
                .title("Recovery of the features")
                .caption(
                    "(a) Share of features whose best match s among latents of norm 1 is above τ. (b) Distribution of s.",
                )
                .panel(recovery)
                .panel(matches),
        )
    }
}

fn curve(scores: &RecoveryScores) -> Vec<(f64, f64)> {
    scores.recovered.iter().enumerate().map(|(k, share)| (k as f64 / STEPS as f64, *share)).collect()
}

/// The outline of the histogram.
fn steps(scores: &RecoveryScores) -> Vec<(f64, f64)> {
    let bin = |(k, count): (usize, &usize)| {
        let share = *count as f64 / scores.features.max(1) as f64;
        [(k as f64 / BINS as f64, share), ((k + 1) as f64 / BINS as f64, share)]
    };
    scores.histogram.counts.iter().enumerate().flat_map(bin).collect()
}

#[cfg(test)]
mod tests {
    use super::super::score::Known;
    use super::super::score::tests::{ideal, relu};
    use super::*;
    use crate::bench::config::BenchConfig;
    use crate::bench::dataset::Bench;
    use crate::sdl::Anchors;

    #[test]
    fn tables_and_figure_show_both_sides_with_and_without_anchors() {
        let config = BenchConfig { n: 10, n_p: 12, sparsity: 0.9, interference: 0.3, ..BenchConfig::default() };
        let bench = Bench::generate(&config).unwrap();
        let model = ideal(&bench, 10, 2.0);
        let mut anchors = Anchors::none();
        (anchors.latents, anchors.features) = (vec![0], vec![0]);
        let samples: Vec<u64> = (0..40).collect();
        let encode = |indices: &[u64]| relu(&model, &bench, indices);
        let scores = Scores::of(&model, Some(&Known::of(&bench)), &anchors, samples.chunks(40), encode).unwrap();
        let table = scores.recovery_table().unwrap();
        let shown = |name: &str| {
            let row = table.rows.iter().find(|row| row[0].text() == name).unwrap_or_else(|| panic!("{name}"));
            [row[1].text(), row[2].text()]
        };
        assert_eq!(shown("M_{GT}(0.90)"), ["1.000", "1.000"]);
        assert_eq!(shown("raw MIP"), ["2.000", "0.5000"]);
        assert_eq!(shown("not anchored: M_{GT}(0.95)"), ["1.000", "1.000"]);
        assert_eq!(shown("not anchored: MCC, one latent per feature"), ["1.000", "1.000"]);
        assert!(scores.table().rows.iter().any(|row| row[0].text() == "best F1, not anchored"));
        let figure = scores.figure().unwrap();
        assert_eq!(figure.panels.iter().map(|panel| panel.layers.len()).collect::<Vec<_>>(), [4, 2]);
        let plain = Scores::of(&model, None, &anchors, samples.chunks(40), encode).unwrap();
        assert_eq!((plain.recovery_table(), plain.figure()), (None, None));
        assert_eq!(plain.fit, scores.fit);
    }
}
