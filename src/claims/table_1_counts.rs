//! Table 1: M_GT is the share of the n = 1000 features that are recovered, so that every percentage is a count out of 1000.
//!
//! Refuted for all anchored rows that recover anything: no count out of 1000 is printed so. A systematic search over denominators
//! finds what they may be shares of.

use super::audit::{Answer, Finding, findings_table, outcome};
use super::printed::{Printed, decimal, power_of_ten};
use super::published::{Measurement, Tables, audited};
use super::relations::{quotient, rational, step};
use super::{Check, Claim, Context, Correction, Evidence, Outcome};
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Cell, Kind, Table};
use sdlab_verify::format::Relation;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-1-counts",
    place: "Table 1, definition of M_GT in Sect. 5.1",
    title: "Every M_GT of Table 1 is a count out of 1000 features",
    statement: "M_GT = (1/n) Σ 1(s_i > τ) with n = 1000: every percentage of Table 1 is a whole number of features out of 1000, as the definition says.",
    latex: r"M_{\mathrm{GT}}=\frac1n\sum_{i=1}^n 1(s_i>\tau)\in\{0,\tfrac1n,\dots,1\},\quad n=1000",
    assumes: "Each row is one model, scored once on all n features.",
    sources: &[],
    run,
    on_instance: None,
};

/// Denominators that are tried.
const DENOMINATORS: u32 = 1000;
/// Most models whose average a row may be.
const AVERAGED: u32 = 20;

fn run(_: &Context) -> Outcome {
    audited(audit)
}

/// No count c has c/n printed so: ⌊low·n⌋ is too small and its successor too large.
fn no_count(printed: &Printed, n: u32) -> Answer {
    if !printed.counts(n).is_empty() {
        return Answer::Yes;
    }
    let n_exact = Rational::from(n);
    let below = Rational::from((printed.low() * &n_exact).floor());
    let share = |count: &Rational| quotient(rational(count), rational(&n_exact));
    Answer::No(vec![
        step(share(&below), Relation::Less, rational(&printed.low())),
        step(share(&(&below + Rational::ONE)), Relation::Greater, rational(&printed.high())),
    ])
}

/// The denominators up to [`DENOMINATORS`] that fit all rows.
fn fitting(rows: &[&Measurement]) -> Vec<u32> {
    (1..=DENOMINATORS).filter(|&n| rows.iter().all(|row| !row.recovery.counts(n).is_empty())).collect()
}

/// How many of the 10001 percentages with two decimals are shares of n. In units of 1/10000: |10000 c/n − p| ≤ 1/2.
fn printable(n: u32) -> usize {
    let n = u64::from(n);
    let mut last = None;
    let mut count = 0;
    for c in 0..=n {
        // ⌈(20000c − n)/(2n)⌉ to ⌊(20000c + n)/(2n)⌋
        let low = (20_000 * c).saturating_sub(n).div_ceil(2 * n);
        let high = ((20_000 * c + n) / (2 * n)).min(10_000);
        let low = last.map_or(low, |last: u64| low.max(last + 1));
        if low <= high {
            count += (high - low + 1) as usize;
            last = Some(high);
        }
    }
    count
}

fn audit(tables: &Tables) -> Outcome {
    let table = tables.table(1);
    let Some(n) = table.measurements.iter().find_map(|m| m.n) else {
        return Outcome::undecided("Table 1 does not print n");
    };
    let nonzero: Vec<&Measurement> = table.measurements.iter().filter(|m| !m.none_recovered()).collect();
    let findings: Vec<Finding> = nonzero
        .iter()
        .map(|m| {
            let slug = m.name().to_lowercase().replace(" + ", "-").replace(' ', "-");
            Finding::new(
                &slug,
                &format!("{}: M_GT is a count out of {n}", m.name()),
                m.recovery.to_string(),
                no_count(&m.recovery, n),
            )
        })
        .collect();
    let anchored: Vec<&Measurement> = nonzero.iter().copied().filter(|m| m.anchored).collect();
    let plain: Vec<&Measurement> = nonzero.iter().copied().filter(|m| !m.anchored).collect();
    // n less the anchors of Table 2 and of Table 6, which repeats the rows of Table 1.
    let anchors = |number: usize| tables.table(number).setting("k").and_then(|k| k.to_string().parse::<u32>().ok());
    let held_out: Vec<u32> = [anchors(2), anchors(6)].into_iter().flatten().map(|k| n.saturating_sub(k)).collect();
    let [few, many] = held_out[..] else { return Outcome::undecided("tables 2 and 6 do not print k") };
    let fit = |rows: &[&Measurement], n: u32| rows.iter().filter(|m| !m.recovery.counts(n).is_empty()).count();
    // The largest set of anchored rows that one denominator fits.
    let most = (1..=DENOMINATORS).map(|d| fit(&anchored, d)).max().unwrap_or(0);
    let best: Vec<u32> = (1..=DENOMINATORS).filter(|&d| fit(&anchored, d) == most).collect();
    let chance = by_chance(anchored.len(), most);
    let misfits: Vec<&Measurement> =
        nonzero.iter().copied().filter(|m| m.recovery.counts(if m.anchored { few } else { n }).is_empty()).collect();
    let average = (1..=AVERAGED).find(|&models| {
        misfits.iter().all(|m| !m.recovery.counts(models * if m.anchored { few } else { n }).is_empty())
    });
    let evidence = vec![
        Evidence::computed(format!(
            "Of {} non-zero percentages without anchors {} are counts out of {n}; of {} with anchors {} are. Of these, {} are counts out of \
             {few} = {n} − {} (held-out anchors of Table 2's number) and {} out of {many} = {n} − {} (Table 6's number).",
            plain.len(),
            fit(&plain, n),
            anchored.len(),
            fit(&anchored, n),
            fit(&anchored, few),
            n - few,
            fit(&anchored, many),
            n - many,
        )),
        Evidence::computed(format!(
            "All denominators from 1 to {DENOMINATORS}: the most anchored rows that one of them fits is {most} of {}, by {}. Random percentages would \
             let {} denominators fit so many on average, and {few} with probability {}.",
            anchored.len(),
            list(&best),
            decimal(&chance),
            decimal(&tail(few, anchored.len(), fit(&anchored, few))),
        )),
        Evidence::computed(match (misfits.is_empty(), average) {
            (true, _) => "No row is left over.".to_owned(),
            (false, Some(models)) => format!(
                "Left over: {}. They fit averages over {models} models or sources (denominators {} and {}), the first number that fits, and \
                 not fewer.",
                names(&misfits),
                models * n,
                models * few
            ),
            (false, None) => format!("Left over: {}. No average over up to {AVERAGED} models fits.", names(&misfits)),
        }),
    ];
    let mut result = outcome(&findings, None, evidence).with_correction(Correction {
        statement: format!(
            "Rows with anchors are not scored on the {n} features. That {} of {} fit {few} suggests, and does not prove, that {} \
             anchored features were held out of the score; then they are not comparable with the rows without anchors, which are \
             scored on {n}, and k is not the 100 of Table 6, whose caption covers the same rows.",
            fit(&anchored, few),
            anchored.len(),
            n - few
        ),
        latex: r"c\in\{0,\dots,n\}:\quad c/n\notin[M_{\mathrm{GT}}-\tfrac12 10^{-4},\,M_{\mathrm{GT}}+\tfrac12 10^{-4}]".into(),
        checks: [n, few, many].map(every_count).into(),
    });
    result = result
        .with_quantity(
            "anchored-fit-n",
            "anchored rows of Table 1 that are counts out of 1000",
            Cell::from(fit(&anchored, n)),
        )
        .with_quantity(
            "anchored-fit-held-out",
            "anchored rows of Table 1 that are counts out of 970",
            Cell::from(fit(&anchored, few)),
        )
        .with_quantity(
            "denominators-by-chance",
            "denominators up to 1000 that would fit as many random percentages",
            Cell::number(to_f64(&chance), 2),
        );
    result.tables = vec![
        counts_table(&nonzero, [n, few, many]),
        denominators_table(&plain, &anchored),
        findings_table("shares-of-n", CLAIM.id, &findings),
    ];
    result
}

/// The probability that at least `most` of `rows` random percentages are counts out of n, rounded up to nine decimals.
fn tail(n: u32, rows: usize, most: usize) -> Rational {
    let p = Rational::from(printable(n)) / Rational::from(10_001);
    let q = Rational::ONE - &p;
    let exact = (most..=rows).fold(Rational::ZERO, |tail, k| {
        let ways = (0..k).fold(Rational::ONE, |c, j| c * Rational::from(rows - j) / Rational::from(j + 1));
        let power = |x: &Rational, e: usize| (0..e).fold(Rational::ONE, |product, _| product * x);
        tail + ways * power(&p, k) * power(&q, rows - k)
    });
    let scale = power_of_ten(9);
    Rational::from((exact * &scale).ceil()) / scale
}

/// The expected number of denominators up to [`DENOMINATORS`] that fit at least `most` of `rows` random percentages.
fn by_chance(rows: usize, most: usize) -> Rational {
    (1..=DENOMINATORS).fold(Rational::ZERO, |sum, n| sum + tail(n, rows, most))
}

/// Every count out of n, printed with two decimals, is found again.
fn every_count(n: u32) -> Check {
    let misses = (0..=n).filter(|&count| {
        let hundredths = (20_000 * u64::from(count) + u64::from(n)) / (2 * u64::from(n));
        let text = format!("{}.{:02}%", hundredths / 100, hundredths % 100);
        !Printed::parse(&text).is_ok_and(|printed| printed.counts(n).contains(&count))
    });
    Check {
        what: format!("every count out of {n}, printed with two decimals, is recognised as one"),
        trials: n as usize + 1,
        failures: misses.count(),
    }
}

fn names(rows: &[&Measurement]) -> String {
    rows.iter().map(|m| format!("{} ({})", m.name(), m.recovery)).collect::<Vec<_>>().join(", ")
}

fn list(numbers: &[u32]) -> String {
    match numbers {
        [] => "none".into(),
        _ if numbers.len() > 12 => format!("{} denominators", numbers.len()),
        _ => numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn counts_table(rows: &[&Measurement], denominators: [u32; 3]) -> Table {
    let headers = denominators.map(|n| format!("out of {n}"));
    let columns = [("row", Kind::Text), ("M_GT", Kind::Number)]
        .into_iter()
        .chain(headers.iter().map(|h| (h.as_str(), Kind::Number)));
    let mut table = Table::new("counts", CLAIM.id, columns)
        .title("Which M_GT of Table 1 is a whole number of features")
        .caption("The count that is printed so, out of all features and out of those that are left when 30 or 100 anchored ones are held out; – where there is none.");
    for row in rows {
        let counts = denominators.map(|n| match row.recovery.counts(n)[..] {
            [] => Cell::Missing,
            [count, ..] => Cell::from(count as usize),
        });
        table.push([Cell::from(row.name()), Cell::from(row.recovery.to_string())].into_iter().chain(counts));
    }
    table
}

fn denominators_table(plain: &[&Measurement], anchored: &[&Measurement]) -> Table {
    let mut table = Table::new(
        "denominators",
        CLAIM.id,
        [("rows", Kind::Text), ("denominators up to 1000 that fit all", Kind::Text)],
    )
    .title("All denominators that fit")
    .caption("For sets of rows of Table 1 with non-zero M_GT: every N for which all percentages are counts out of N.");
    let without = |rows: &[&Measurement], left_out: &str| {
        fitting(&rows.iter().copied().filter(|m| m.method != left_out).collect::<Vec<_>>())
    };
    table.push([Cell::from("all without anchors"), Cell::from(list(&fitting(plain)))]);
    for m in plain {
        table.push([
            Cell::from(format!("without anchors, less the {}", m.method)),
            Cell::from(list(&without(plain, &m.method))),
        ]);
    }
    table.push([Cell::from("all with anchors"), Cell::from(list(&fitting(anchored)))]);
    for m in anchored {
        table.push([
            Cell::from(format!("with anchors, less the {}", m.method)),
            Cell::from(list(&without(anchored, &m.method))),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;

    #[test]
    fn percentages_that_are_printable_are_those_of_a_plain_search() {
        for n in [1, 3, 7, 999, 1000] {
            let fits = |p: u64| (0..=u64::from(n)).any(|c| (20_000 * c).abs_diff(2 * p * u64::from(n)) <= u64::from(n));
            assert_eq!(printable(n), (0..=10_000).filter(|&p| fits(p)).count(), "{n}");
        }
        assert_eq!(printable(1000), 1001);
    }

    #[test]
    fn digits_that_are_counts_would_hold() {
        let changes = [
            ("87.63%", "87.60%"),
            ("89.38%", "89.40%"),
            ("87.32%", "87.30%"),
            ("25.05%", "25.10%"),
            ("57.71%", "57.70%"),
            ("56.42%", "56.40%"),
        ]
        .map(|(from, to)| (1, from, to));
        assert_eq!(audit(&Tables::altered(&changes[1..])).verdict, Verdict::Refuted);
        assert_eq!(audit(&Tables::altered(&changes)).verdict, Verdict::Holds);
    }
}
