//! A diagnosis for people.

use super::advice::{Need, Spare};
use super::residuals::Residuals;
use super::sampled::carried_by_default;
use super::{Diagnosis, KnownFeatures, Verdict};
use crate::stats::table::rounded;
use crate::stats::{Cell, Kind, Table, Tone};

/// Most rows of a table; the rest is in the JSON.
const ROWS: usize = 10;

impl Diagnosis {
    /// The numbers, the polysemantic latents, and the advice, as far as there are any.
    pub fn tables(&self, features: &KnownFeatures) -> Vec<Table> {
        [Some(self.numbers()), self.blocks_table(features), self.advice_table()].into_iter().flatten().collect()
    }

    /// What the model is, in a sentence.
    pub fn sentence(&self) -> String {
        let found = self.words(self.verdict);
        match self.encoder_verdict {
            None => found,
            Some(verdict) => {
                let residuals = Residuals { r_v: Some(0.0), ..self.residuals };
                let rest = Self { residuals, ..self.clone() }.words(verdict);
                format!(
                    "{found}. But r_V is nearly all of L̃, as it is wherever the codes of the features are independent, for then some decoder has no loss on features alone, whatever the encoder is; by r_W and the \
                     latents alone it is {rest}"
                )
            }
        }
    }

    /// What a verdict means for this model.
    fn words(&self, verdict: Verdict) -> String {
        let of_loss = |x: f64| percent(x / self.loss);
        let tolerance = percent(self.settings.tolerance);
        match verdict {
            Verdict::Solved => {
                format!("solved: L̃ is {} of Σ M_d‖r_d‖²; nothing to do", percent(self.loss / self.energy))
            }
            Verdict::NotPartialOptimum => {
                let r_v = self.residuals.r_v.unwrap_or(0.0);
                let (which, gain) =
                    if r_v >= self.residuals.r_w_low { ("decoder", r_v) } else { ("encoder", self.residuals.r_w_low) };
                format!("no partial optimum of L̃: the {which} alone can lower it by {}", of_loss(gain))
            }
            Verdict::Saddle => {
                let below = self.blocks.iter().filter(|b| b.lambda_max - b.mu > self.settings.tolerance * b.lambda_max);
                format!(
                    "near a partial optimum of L̃ that is a saddle: {} polysemantic latents are below their top eigenvalue",
                    below.count()
                )
            }
            Verdict::SpuriousMinimum => format!(
                "at a spurious minimum of L̃, to {tolerance}: no way down inside the cell, and one resampled latent lowers L̃ by {}",
                of_loss(self.added.as_ref().map_or(0.0, |added| added.decrease))
            ),
            Verdict::Undecided => format!(
                "undecided: r_V ≤ {tolerance} of L̃ and no descent of W was found, but r_W may be as much as {} of L̃",
                of_loss(self.residuals.r_w_high)
            ),
        }
    }

    /// What must be kept in mind: how little of the training loss L̃ is.
    pub fn warning(&self) -> Option<String> {
        let carried = self.sampled.as_ref()?.carried?;
        let here = format!("L̃ sees the {} of the samples' energy that stands alone", share(carried));
        let default = carried_by_default()
            .map_or_else(String::new, |share_there| format!(" (at the paper's default {})", share(share_there)));
        let rest = "what is said here of features alone need not hold for samples, in which they overlap";
        (carried < 0.5).then(|| format!("{here}{default}: {rest}."))
    }

    fn numbers(&self) -> Table {
        let mut table = Table::new("diagnosis", "diagnose", [("quantity", Kind::Text), ("value", Kind::Number)])
            .title("The model on features alone");
        let number = |x: f64| Cell::number(x, 4);
        let optional = |x: Option<f64>| x.map_or(Cell::Missing, number);
        let pattern = &self.pattern;
        table.push([Cell::from("features"), Cell::from(self.features)]);
        table.push([Cell::from("features that fire no latent"), Cell::from(pattern.uncovered)]);
        table.push([Cell::from("latents"), Cell::from(self.latents)]);
        table.push([Cell::from("dead on all features"), Cell::from(pattern.dead)]);
        table.push([Cell::from("monosemantic"), Cell::from(pattern.monosemantic)]);
        table.push([Cell::from("polysemantic"), Cell::from(pattern.polysemantic)]);
        let sizes: Vec<String> =
            pattern.sizes.iter().take(ROWS).map(|(size, count)| format!("{count} of {size}")).collect();
        if !sizes.is_empty() {
            let more = if pattern.sizes.len() > ROWS { ", .." } else { "" };
            table.push([Cell::from("polysemantic, by features"), Cell::from(sizes.join(", ") + more)]);
        }
        table.push([Cell::from("L̃"), number(self.loss)]);
        table.push([Cell::from("L̃ / Σ M_d‖r_d‖²"), number(self.loss / self.energy)]);
        table.push([Cell::from("r_V"), optional(self.residuals.r_v)]);
        table.push([Cell::from("r_W, at least"), number(self.residuals.r_w_low)]);
        table.push([Cell::from("r_W, at most"), number(self.residuals.r_w_high)]);
        let added = self.added.as_ref().map(|added| added.decrease);
        table.push([Cell::from("decrease by one resampled latent"), optional(added)]);
        if let Some(sampled) = &self.sampled {
            table.push([Cell::from("L on samples"), number(sampled.loss)]);
            if let Some(one) = sampled.one {
                table.push([Cell::from("Pr(‖x‖₀ = 1)"), number(one)]);
                table.push([Cell::from("L̃ / L"), number(self.loss / sampled.loss)]);
            }
        }
        table
    }

    fn blocks_table(&self, features: &KnownFeatures) -> Option<Table> {
        let columns = [
            ("latent", Kind::Number),
            ("features", Kind::Text),
            ("alone", Kind::Text),
            ("μ", Kind::Number),
            ("λ_max", Kind::Number),
            ("curvature", Kind::Number),
            ("escape", Kind::Text),
            ("", Kind::Verdict),
        ];
        let mut table = Table::new("polysemantic-latents", "diagnose", columns)
            .title("Polysemantic latents: value against top eigenvalue")
            .caption("With all other latents in place. The escape direction is given as codes of the features; one that is not positive turns its feature off. A latent \
                 whose μ is below λ_max is a saddle if it is stationary; else its own gradient leads down already.");
        for block in self.blocks.iter().take(ROWS) {
            let below = block.lambda_max - block.mu > self.settings.tolerance * block.lambda_max;
            let verdict = match (below, block.stationarity <= self.settings.tolerance) {
                (true, true) => Cell::verdict(Tone::Bad, "saddle"),
                (true, false) => Cell::verdict(Tone::Open, "falls"),
                (false, _) => Cell::verdict(Tone::Good, "at its top"),
            };
            let names: Vec<String> = block.features.iter().map(|d| features.name(*d)).collect();
            let codes: Vec<String> = block.escape.iter().map(|a| rounded(*a, 2)).collect();
            table.push([
                Cell::from(block.latent),
                Cell::from(shortened(&names)),
                Cell::from(if block.alone { "yes" } else { "no" }),
                Cell::number(block.mu, 4),
                Cell::number(block.lambda_max, 4),
                Cell::number(block.curvature, 3),
                Cell::from(shortened(&codes)),
                verdict,
            ]);
        }
        let rest = self.pattern.polysemantic.saturating_sub(table.rows.len());
        let table = if rest > 0 { table.note(&format!("{rest} more polysemantic latents.")) } else { table };
        (!self.blocks.is_empty()).then_some(table)
    }

    fn advice_table(&self) -> Option<Table> {
        let columns =
            [("feature", Kind::Text), ("why", Kind::Text), ("missing", Kind::Number), ("resample", Kind::Text)];
        let mut table = Table::new("advice", "diagnose", columns)
            .title("What to do: anchor these features, each to a resampled latent");
        for (k, feature) in self.advice.anchor.iter().take(ROWS).enumerate() {
            let why = match feature.why {
                Need::Uncovered => "no latent fires",
                Need::PolysemanticOnly => "polysemantic latents only",
            };
            let latent = self.advice.resample.get(k).map_or(Cell::Missing, |spare| {
                let why = if spare.why == Spare::Dead { "dead" } else { "redundant" };
                Cell::from(format!("latent {} ({why})", spare.latent))
            });
            table.push([Cell::from(feature.name.clone()), Cell::from(why), Cell::number(feature.missing, 3), latent]);
        }
        let rest = self.advice.anchor.len().saturating_sub(ROWS);
        let note = |table: Table, text: Option<String>| text.iter().fold(table, |table, text| table.note(text));
        let table = note(table, (rest > 0).then(|| format!("{rest} more features; --json lists all.")));
        let spare = self.advice.spare;
        let table = note(table, Some(format!("{spare} latents are dead or redundant, and so free to be resampled.")));
        (!self.advice.anchor.is_empty()).then_some(table)
    }
}

/// `12.3 %`.
fn percent(share: f64) -> String {
    format!("{} %", rounded(100.0 * share, 3))
}

/// `4.4e-5`, or `12.3 %` where that reads better.
fn share(x: f64) -> String {
    if x < 1e-3 { format!("{x:.1e}") } else { percent(x) }
}

/// The first few, with dots for the others.
fn shortened(items: &[String]) -> String {
    const FEW: usize = 6;
    let more = if items.len() > FEW { ", .." } else { "" };
    items.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ") + more
}
