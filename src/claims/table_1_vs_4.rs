//! Tables 1 and 4 report one configuration, the ReLU SAE with n = 1000, twice.
//!
//! Refuted: the two reports have no number in common but the share of the unanchored run. Nothing that is printed differs between them.

use super::audit::{Answer, Finding, all, findings_table, honest_tables, less, outcome};
use super::printed::{Printed, decimal};
use super::published::{Measurement, Published, Tables, audited};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Cell, Kind, Table};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-1-vs-4",
    place: "Table 1 and Table 4 (App. G)",
    title: "Tables 1 and 4 agree on the configuration that they share",
    statement: "Table 1's ReLU SAE and Table 4's SAE at n = 1000 (ReLU, n_p = n_r = 768, n_q = 16000, default data) report the same recovery and the same maximum inner product.",
    latex: r"(M_{\mathrm{GT}},\mathrm{MIP})_{\text{Table 1, ReLU}}=(M_{\mathrm{GT}},\mathrm{MIP})_{\text{Table 4, }n=1000}",
    assumes: "The two configurations agree in every setting that is printed for both.",
    sources: &[],
    run,
    on_instance: None,
};

const TRIALS: usize = 400;

/// The hypothesis: no setting is printed with two different values. Returns the symbols that both tables print.
fn hypotheses(one: &Published, four: &Published, n: u32) -> Result<Vec<String>, String> {
    let mut shared = Vec::new();
    for setting in &one.settings {
        let there = if setting.symbol == "n" { Some(Rational::from(n)) } else { four.setting(&setting.symbol) };
        let Some(there) = there else { continue };
        let here = one.setting(&setting.symbol);
        if here.as_ref() != Some(&there) {
            return Err(format!(
                "the configurations differ in {}: {} and {}",
                setting.symbol,
                setting.value,
                decimal(&there)
            ));
        }
        shared.push(setting.symbol.clone());
    }
    Ok(shared)
}

/// No number is printed both ways.
fn agree(a: &Printed, b: &Printed) -> Answer {
    if a.high() < b.low() {
        Answer::No(vec![less(&a.high(), &b.low())])
    } else if b.high() < a.low() {
        Answer::No(vec![less(&b.high(), &a.low())])
    } else {
        Answer::Yes
    }
}

fn run(context: &Context) -> Outcome {
    audited(|tables| audit(tables, context))
}

fn audit(tables: &Tables, context: &Context) -> Outcome {
    let (one, four) = (tables.table(1), tables.table(4));
    let relu = one.pairs().into_iter().find(|pair| pair.before.method == "ReLU SAE");
    let Some(relu) = relu else { return Outcome::undecided("Table 1 has no ReLU SAE") };
    let Some(n) = relu.before.n else { return Outcome::undecided("Table 1 does not print n") };
    let Some(sae) = four.pairs().into_iter().find(|pair| pair.before.n == Some(n)) else {
        return Outcome::undecided(format!("Table 4 has no row with n = {n}"));
    };
    let shared = match hypotheses(one, four, n) {
        Ok(shared) => shared,
        Err(why) => return Outcome::new(Verdict::HoldsWith(why), Vec::new()),
    };
    let compare = |name: &str, statement: &str, a: &Measurement, b: &Measurement| {
        Finding::new(
            name,
            statement,
            format!("{}, {} and {}, {}", a.recovery, a.mip, b.recovery, b.mip),
            all([agree(&a.recovery, &b.recovery), agree(&a.mip, &b.mip)]),
        )
    };
    let findings = [
        compare(
            "without-anchors",
            "without anchors, where neither k nor λ enters, both tables print the same M_GT and MIP",
            relu.before,
            sae.before,
        ),
        compare("with-anchors", "with anchors, both tables print the same M_GT and MIP", relu.after, sae.after),
    ];
    // ReLU SAEs without anchors and n features elsewhere: what other settings change.
    let others = [5, 6].map(|number| tables.table(number)).into_iter().flat_map(|table| {
        let rows =
            table.measurements.iter().filter(|m| !m.anchored && m.method == relu.before.method && m.n == Some(n));
        rows.map(move |m| (table.number, m))
    });
    let others: Vec<(usize, &Measurement)> = others.collect();
    let everywhere = others.iter().map(|(_, m)| *m).chain([relu.before]);
    let (low, high) = everywhere
        .clone()
        .fold((sae.before.mip.high(), Rational::ZERO), |(low, high), m| (low.min(m.mip.low()), high.max(m.mip.high())));
    let gap = sae.before.mip.low() - relu.before.mip.high();
    let evidence = vec![Evidence::computed(format!(
        "Both tables print {}, with the same values; λ and k cannot matter without anchors, and S, M of Table 4 are the defaults if they \
         are not said to differ. The two MIP differ by at least {}. All {} other rows for a ReLU SAE with n = {n} and no anchors (tables 1, 5 and 6: four \
         bounds M, three sparsities) lie in [{}, {}], which does not reach {}.",
        shared.join(", "),
        decimal(&gap),
        others.len() + 1,
        decimal(&low),
        decimal(&high),
        decimal(&sae.before.mip.low()),
    ))];
    let rng = &mut stream(context.seed, CLAIM.id);
    let outside = high < sae.before.mip.low();
    let mut result = outcome(&findings, None, evidence);
    if result.verdict == Verdict::Refuted {
        result = result.with_correction(Correction {
            statement: format!(
                "A setting that is not printed differs between the two tables (the weight of the sparsity penalty, the side that is \
                 scored, initialisation and length of training are candidates; M and S within their printed ranges are {}). Their \
                 numbers cannot be compared with each other.",
                if outside { "not" } else { "too" }
            ),
            latex: format!(r"\mathrm{{MIP}}_4-\mathrm{{MIP}}_1\ge {}", decimal(&gap)),
            checks: vec![printed_twice(rng), honest_tables(rng)],
        });
    }
    result = result.with_quantity(
        "mip-gap",
        "least difference between the two printed MIP without anchors",
        Cell::number(to_f64(&gap), 3),
    );
    let mut rows = Table::new(
        "relu-rows",
        CLAIM.id,
        [("table", Kind::Number), ("row", Kind::Text), ("M_GT", Kind::Number), ("MIP", Kind::Number)],
    )
    .title("The ReLU SAE with n = 1000, wherever it is printed")
    .caption("Rows without anchors in all tables, and the two anchored rows that are compared. The value after the method is M in Table 5, S in Table 6, n in Table 4.");
    let compared = [(1, relu.before), (1, relu.after), (4, sae.before), (4, sae.after)];
    for (table, m) in compared.into_iter().chain(others) {
        rows.push([
            Cell::from(table),
            Cell::from(m.name()),
            Cell::from(m.recovery.to_string()),
            Cell::from(m.mip.to_string()),
        ]);
    }
    result.tables = vec![findings_table("same-configuration", CLAIM.id, &findings), rows];
    result
}

/// One number, printed with any two numbers of decimals, is never taken for two.
fn printed_twice(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for _ in 0..TRIALS {
        let millionths = rng.random_range(0..=1_000_000_u32);
        let [a, b] = [(); 2].map(|()| {
            let decimals = rng.random_range(1..=5_u32);
            let unit = 10_u32.pow(6 - decimals);
            let rounded = (millionths + unit / 2) / unit * unit;
            let text = format!("{}.{:06}", rounded / 1_000_000, rounded % 1_000_000);
            Printed::parse(&text[..text.len() - (6 - decimals as usize)]).expect("a decimal number")
        });
        failures += usize::from(!matches!(agree(&a, &b), Answer::Yes));
    }
    Check {
        what: "one number printed twice, with 1 to 5 decimals: the audit finds no disagreement".into(),
        trials: TRIALS,
        failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_read_off_the_digits() {
        let verdict = |changes: &[(usize, &str, &str)]| audit(&Tables::altered(changes), &Context::default()).verdict;
        let before = (4, "\"0.00%\", \"0.254\"", "\"0.00%\", \"0.205\"");
        let after = (4, "\"85.50%\", \"0.292\"", "\"0.00%\", \"0.246\"");
        // Half of the difference is enough, and without any the statement holds.
        assert_eq!([verdict(&[before]), verdict(&[after])], [Verdict::Refuted, Verdict::Refuted]);
        assert_eq!(verdict(&[before, after]), Verdict::Holds);
        let other = (4, r#"symbol = "n_q", value = "16000""#, r#"symbol = "n_q", value = "8000""#);
        assert!(matches!(verdict(&[other]), Verdict::HoldsWith(_)));
    }
}
