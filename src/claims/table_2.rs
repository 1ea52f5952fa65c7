//! Table 2: feature anchoring consistently improves feature recovery on CLIP embeddings.
//!
//! True of the printed digits: both metrics grow in all rows, and one threshold allows all of them. But the percentages are no
//! counts out of the 1000 classes of ImageNet-1K, so that the number of ground-truth features must be another one.

use super::audit::{
    Finding, all, common, findings_table, greater, honest_tables, interval, invariants, one_threshold, outcome,
    published_table, same,
};
use super::printed::points;
use super::published::{Tables, audited};
use super::{Claim, Context, Correction, Evidence, Outcome};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::Cell;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-2",
    place: "Table 2, Sect. 5.2",
    title: "Anchoring improves recovery on CLIP embeddings",
    statement: "With n_p = n_r = 768, n_q = 16384, k = 30 and λ = 1, feature anchoring consistently improves feature recovery on CLIP embeddings of ImageNet-1K (Table 2).",
    latex: r"M_{\mathrm{GT}}(\text{anchored})>M_{\mathrm{GT}}\ \text{and}\ \mathrm{MIP}(\text{anchored})>\mathrm{MIP}\ \text{for every method}",
    assumes: "The printed digits alone.",
    sources: &[],
    run,
    on_instance: None,
};

/// Denominators that are tried.
const DENOMINATORS: u32 = 1000;

fn run(context: &Context) -> Outcome {
    audited(|tables| audit(tables, context))
}

fn audit(tables: &Tables, context: &Context) -> Outcome {
    let table = tables.table(2);
    let pairs = table.pairs();
    let mut findings: Vec<Finding> = pairs
        .iter()
        .map(|pair| {
            let (b, a) = (pair.before, pair.after);
            Finding::new(
                &b.method.to_lowercase().replace(' ', "-"),
                &format!("anchoring improves M_GT and MIP of the {}", b.method),
                format!("{} → {}, {} → {}", b.recovery, a.recovery, b.mip, a.mip),
                all([greater(&a.recovery, &b.recovery), greater(&a.mip, &b.mip)]),
            )
        })
        .chain(pairs.iter().filter_map(|pair| {
            let (b, a) = (pair.before.l0.as_ref()?, pair.after.l0.as_ref()?);
            let name = format!("l0-{}", pair.before.method.to_lowercase().replace(' ', "-"));
            Some(Finding::new(
                &name,
                &format!("L0 of the {} stays", pair.before.method),
                format!("{b} → {a}"),
                same(a, b),
            ))
        }))
        .collect();
    let Some(shared) = common(&table.measurements, true) else { return Outcome::undecided("Table 2 has no rows") };
    findings.push(one_threshold(&shared));
    let nonzero: Vec<_> = table.measurements.iter().filter(|m| *m.recovery.value() > Rational::ZERO).collect();
    let fits = |n: u32| nonzero.iter().all(|m| !m.recovery.counts(n).is_empty());
    let classes = table.quote("classes").values[0].parse::<u32>().unwrap_or(DENOMINATORS);
    let fitting: Vec<String> = (1..=DENOMINATORS).filter(|&n| fits(n)).map(|n| n.to_string()).collect();
    let anchors = table.setting("k").and_then(|k| k.to_string().parse::<u32>().ok()).unwrap_or(0);
    let per_row = |n: u32| nonzero.iter().filter(|m| !m.recovery.counts(n).is_empty()).count();
    let smallest = pairs.iter().map(|p| p.after.recovery.low() - p.before.recovery.high()).min().unwrap_or_default();
    let evidence = vec![
        Evidence::computed(format!(
            "Smallest gain in M_GT: {} points, more than the {anchors} anchored classes give (their share of {classes} is {} points). One threshold fits \
             all rows: τ ∈ {} if s ≤ 1.",
            points(&smallest),
            points(&(Rational::from(anchors) / Rational::from(classes))),
            interval(&shared.window),
        )),
        Evidence::computed(format!(
            "Of {} non-zero percentages {} are counts out of {classes} classes, {} out of {} (the anchored classes left out). Denominators up to \
             {DENOMINATORS} that fit all of them: {}.",
            nonzero.len(),
            per_row(classes),
            per_row(classes - anchors),
            classes - anchors,
            if fitting.is_empty() { "none".into() } else { fitting.join(", ") },
        )),
    ];
    let reading = (!fits(classes)).then(|| {
        format!("a number n of ground-truth features that is not printed: the percentages are no counts out of {classes} classes")
    });
    let rng = &mut stream(context.seed, CLAIM.id);
    let mut result = outcome(&findings, reading, evidence).with_correction(Correction {
        statement: format!(
            "Every row gains in both metrics by more than rounding, at unchanged L0, and all rows are possible for one threshold τ ∈ {} if s ≤ 1. \
             M_GT is not the share of the {classes} classes. That a feature is recovered says only that some latent comes near it: one \
             latent can count for many classes whose means are alike.",
            interval(&shared.window)
        ),
        latex: r"\tau M_{\mathrm{GT}}\le\mathrm{MIP}\le M_{\mathrm{GT}}+\tau(1-M_{\mathrm{GT}})".into(),
        checks: vec![invariants(rng), honest_tables(rng)],
    });
    result = result.with_quantity(
        "tau-low",
        "smallest τ that all rows of Table 2 allow",
        Cell::number(to_f64(&shared.window.low), 4),
    );
    result.tables = vec![findings_table("clip-findings", CLAIM.id, &findings), published_table(table, CLAIM.id)];
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;

    #[test]
    fn the_verdict_is_read_off_the_digits() {
        let verdict = |changes: &[(usize, &str, &str)]| audit(&Tables::altered(changes), &Context::default()).verdict;
        assert!(matches!(verdict(&[(2, "0.851", "0.852")]), Verdict::HoldsWith(_)));
        assert_eq!(verdict(&[(2, "24.13%", "24.10%"), (2, "24.45%", "24.50%")]), Verdict::Holds);
        assert_eq!(verdict(&[(2, "0.851", "0.510")]), Verdict::Refuted);
        // Within rounding the share may have grown.
        assert!(matches!(verdict(&[(2, "24.45%", "0.00%")]), Verdict::Undecided(_)));
    }
}
