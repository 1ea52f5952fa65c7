//! The ledger at a glance: every claim with its verdict, as a figure and as a table.

use super::claims::tone;
use crate::claims::{Claim, Outcome, Verdict};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};

/// Verdicts from left to right: how the legend calls them, what stands beside the symbol, and whose they are. Their order here
/// fixes their colours and symbols.
const COLUMNS: [(&str, &str, &str); 4] = [
    ("holds with an added hypothesis", "with hypothesis", "holds-with"),
    ("refuted by a certified counterexample", "refuted", "refuted"),
    ("holds as printed", "holds", "holds"),
    ("undecided", "undecided", "undecided"),
];
/// Where the symbols of the four verdicts stand, so that the position tells them apart as well.
const PLACES: [f64; 4] = [0.32, 0.64, 0.04, 0.78];
/// Height of a row in points.
const ROW: f64 = 10.5;

/// Items by the part of the theory that their claims belong to, parts and items in their order of appearance.
pub fn parts<'a, T: Copy>(items: &[T], claim: impl Fn(T) -> &'a Claim) -> Vec<(&'static str, Vec<T>)> {
    let mut parts: Vec<(&'static str, Vec<T>)> = Vec::new();
    for &item in items {
        let subject = claim(item).subject();
        match parts.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, members)) => members.push(item),
            None => parts.push((subject, vec![item])),
        }
    }
    parts
}

/// A line of the figure: the heading of a part, or a claim.
enum Line<'a> {
    Part(&'static str),
    Claim(&'a Claim, &'a Verdict),
}

/// Every claim with its verdict by place, symbol, colour and word, grouped by part of the theory.
pub fn figure(outcomes: &[(&Claim, &Outcome)]) -> Figure {
    let groups: Vec<Vec<Line>> = parts(outcomes, |(claim, _)| claim)
        .into_iter()
        .map(|(part, run)| {
            let claims = run.into_iter().map(|(claim, outcome)| Line::Claim(claim, &outcome.verdict));
            std::iter::once(Line::Part(part)).chain(claims).collect()
        })
        .collect();
    let columns = balanced(groups);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0).max(2);
    let figure = Figure::new("ledger", "ledger", if columns.len() > 1 { Width::Page } else { Width::Column })
        .title("The ledger at a glance")
        .caption(&format!(
            "The computed verdict on each of the {} claims, in the order of the paper. A symbol's place, shape and colour and the \
             word beside it say the same.",
            outcomes.len()
        ));
    columns.iter().fold(figure, |figure, lines| figure.panel(panel(lines, rows)))
}

/// Two columns of nearly one height if the groups are long enough, else one.
fn balanced(groups: Vec<Vec<Line>>) -> Vec<Vec<Line>> {
    let total: usize = groups.iter().map(Vec::len).sum();
    if total < 12 || groups.len() < 2 {
        return vec![groups.into_iter().flatten().collect()];
    }
    let sums = groups.iter().scan(0usize, |sum, group| {
        *sum += group.len();
        Some(*sum)
    });
    let split = sums.enumerate().take(groups.len() - 1).min_by_key(|(_, sum)| sum.abs_diff(total - sum));
    let first = split.map_or(1, |(k, _)| k + 1);
    let mut columns = vec![Vec::new(), Vec::new()];
    for (k, group) in groups.into_iter().enumerate() {
        columns[usize::from(k >= first)].extend(group);
    }
    columns
}

fn panel(lines: &[Line], rows: usize) -> Panel {
    let height = |k: usize| (rows - 1 - k) as f64;
    let claims = || {
        lines.iter().enumerate().filter_map(|(k, line)| match line {
            Line::Claim(claim, verdict) => Some((height(k), *claim, *verdict)),
            Line::Part(_) => None,
        })
    };
    let x = Axis::linear("").range(0.0, 1.0).ticks([]);
    let y =
        Axis::linear("").range(-0.7, rows as f64 - 0.3).ticks(claims().map(|(y, claim, _)| (y, claim.id.to_owned())));
    let mut panel = Panel::new("", x, y).frame_height(rows as f64 * ROW);
    for ((label, word, key), place) in COLUMNS.into_iter().zip(PLACES) {
        let points: Vec<(f64, f64)> =
            claims().filter(|(_, _, verdict)| verdict.word() == key).map(|(y, ..)| (place, y)).collect();
        for at in &points {
            panel = panel.layer(Layer::Note { at: *at, text: word.to_owned() });
        }
        panel = panel.layer(Layer::Points { label: label.to_owned(), points, intervals: Vec::new() });
    }
    for (k, line) in lines.iter().enumerate() {
        if let Line::Part(part) = line {
            panel = panel.layer(Layer::Note { at: (0.0, height(k)), text: (*part).to_owned() });
        }
    }
    panel
}

/// Every claim with its title, verdict, certificates and checks.
pub fn table(outcomes: &[(&Claim, &Outcome)]) -> Table {
    let columns = [
        ("claim", Kind::Text),
        ("statement", Kind::Text),
        ("verdict", Kind::Verdict),
        ("certificates", Kind::Number),
        ("checked", Kind::Number),
    ];
    let mut table = Table::new("ledger", "ledger", columns)
        .title("The ledger")
        .caption("Every claim, the verdict on it, and on how many instances the corrected statement was checked");
    for (claim, outcome) in outcomes {
        let one = [(*claim, *outcome)];
        table.push([
            Cell::from(claim.id),
            Cell::from(claim.title),
            Cell::verdict(tone(&outcome.verdict), outcome.verdict.word()),
            Cell::from(super::macros::certificates(&one)),
            Cell::from(super::macros::checked(&one)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::REGISTRY;

    #[test]
    fn every_claim_stands_once_in_the_ledger_at_its_verdict() {
        let outcomes: Vec<Outcome> = REGISTRY.iter().map(|_| Outcome::undecided("not run")).collect();
        let pairs: Vec<(&Claim, &Outcome)> = REGISTRY.iter().zip(&outcomes).collect();
        let figure = figure(&pairs);
        let points = |label: &str| {
            let layers = figure.panels.iter().flat_map(|p| &p.layers);
            layers
                .map(|layer| match layer {
                    Layer::Points { label: l, points, .. } if l == label => points.len(),
                    _ => 0,
                })
                .sum::<usize>()
        };
        assert_eq!(points("undecided"), REGISTRY.len());
        assert_eq!(points("holds as printed"), 0);
        let ticks: usize = figure.panels.iter().filter_map(|p| p.y.ticks.as_ref()).map(Vec::len).sum();
        assert_eq!(ticks, REGISTRY.len());
        assert_eq!(table(&pairs).rows.len(), REGISTRY.len());
    }

    #[test]
    fn every_claim_is_in_the_part_of_its_subject() {
        let claims: Vec<&Claim> = REGISTRY.iter().collect();
        let parts = parts(&claims, |claim| claim);
        assert_eq!(parts.iter().map(|(_, members)| members.len()).sum::<usize>(), claims.len());
        assert!(parts.iter().all(|(subject, members)| members.iter().all(|claim| claim.subject() == *subject)));
    }
}
