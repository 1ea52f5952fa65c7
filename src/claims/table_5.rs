//! Table 5: what the bound M on the interference changes, and what anchoring gains for each M.
//!
//! Refuted: the printed gains are not those that the text states. And M = .2 and M = .5 are one distribution up to an event of small
//! probability: Gaussian columns already have no product above .2, so that the generator (App. C.1) returns them unchanged.
//!
//! The bound on that event. For independent uniform unit vectors in R^d, ⟨u,v⟩ has density c (1−x²)^{(d−3)/2} with
//! c = Γ(d/2)/(√π Γ((d−1)/2)) ≤ √((d−1)/(2π)) (Gautschi), and for x ≥ t the density is at most c (x/t)(1−x²)^{(d−3)/2}, so that
//! Pr(⟨u,v⟩ > t) ≤ (1−t²)^{(d−1)/2} / (t √(2π(d−1))). A union over C(n,2) pairs, with 2π > 6, is rational but for a root.

use super::audit::{
    Answer, Finding, all, arithmetic, common, findings_table, greater, honest_tables, interval, less, one_threshold,
    outcome, published_table, same,
};
use super::printed::{Printed, decimal, points};
use super::published::{Measurement, Pair, Published, Tables, audited};
use super::relations::{integer, power, quotient, rational, step};
use super::sources::MUIRHEAD_1982;
use super::{Check, Claim, Context, Correction, Evidence, Outcome};
use crate::bench::features::{random_unit, stream};
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Cell, Kind, Proportion, Table};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use sdlab_verify::format::{Expr, Relation};
use statrs::function::beta::beta_reg;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-5",
    place: "Table 5, App. G",
    title: "Anchoring gains 2–7 points for every interference M",
    statement: "For TopK, BatchTopK and Matryoshka SAEs anchoring improves GT Recovery for M = .05, .2 and .5 by 2–7 percentage points, MIP of the others improves too, and performance degrades slightly at M = .05.",
    latex: r"\min\Delta M_{\mathrm{GT}}=2\,\%,\quad\max\Delta M_{\mathrm{GT}}=7\,\%\quad(\text{TopK, BatchTopK, Matryoshka};\ M\in\{0.05,0.2,0.5\})",
    assumes: "The printed digits alone; for the distribution of the features, Gaussian columns of unit norm as App. C.1 starts from.",
    sources: &[MUIRHEAD_1982],
    run,
    on_instance: None,
};

/// Feature matrices that are drawn.
const MATRICES: usize = 8;
/// Columns whose products are computed together.
const PANEL: usize = 100;
/// The level at which the law of ⟨u,v⟩ is tested.
const LEVEL: f64 = 0.05;

fn run(context: &Context) -> Outcome {
    audited(|tables| audit(tables, context))
}

/// Methods that the text speaks of: all that recover features.
fn recovers(pair: &Pair) -> bool {
    !pair.before.none_recovered() || !pair.after.none_recovered()
}

fn gain(pair: &Pair) -> Rational {
    pair.after.recovery.value() - pair.before.recovery.value()
}

fn audit(tables: &Tables, context: &Context) -> Outcome {
    let table = tables.table(5);
    let pairs = table.pairs();
    let family: Vec<&Pair> = pairs.iter().filter(|p| recovers(p)).collect();
    let mut findings = text(tables, table, &pairs, &family);
    let (Some(n), Some(n_p)) = (table.setting("n"), table.setting("n_p")) else {
        return Outcome::undecided("Table 5 prints no n or n_p");
    };
    let Some(shared) = common(&table.measurements, true) else { return Outcome::undecided("Table 5 has no rows") };
    findings.push(one_threshold(&shared));
    let (Ok(n_count), Ok(n_p_count)) = (n.to_string().parse::<u32>(), n_p.to_string().parse::<u32>()) else {
        return Outcome::undecided("n or n_p of Table 5 is no whole number");
    };
    // The two largest bounds: if neither binds, their matrices are the same.
    let mut bounds: Vec<Rational> = pairs.iter().filter_map(|p| p.before.at.clone()).collect();
    bounds.sort();
    bounds.dedup();
    let [.., free, _] = &bounds[..] else { return Outcome::undecided("Table 5 has fewer than two values of M") };
    let bound = match union_bound(n_count, n_p_count, free) {
        Ok(item) => item,
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    let drawn = draw(context, n_count as usize, n_p_count as usize);
    let maxima = drawn
        .maxima
        .iter()
        .copied()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), m| (low.min(m), high.max(m)));
    let above = drawn.maxima.iter().filter(|m| **m > to_f64(free)).count();
    let gains: Vec<Rational> = family.iter().map(|p| gain(p)).collect();
    let (least, most) =
        (gains.iter().min().cloned().unwrap_or_default(), gains.iter().max().cloned().unwrap_or_default());
    let evidence = vec![
        Evidence::computed(format!(
            "Gains of the {} pairs with recovery: {} to {} points as printed. One threshold fits all rows: τ ∈ {}.",
            family.len(),
            points(&least),
            points(&most),
            interval(&shared.window)
        )),
        bound.evidence,
        Evidence::computed(format!(
            "{MATRICES} matrices of {n_count} random unit columns in R^{n_p_count}: maximum product {:.3} to {:.3}; {above} of them above {}.",
            maxima.0,
            maxima.1,
            decimal(free)
        )),
    ];
    let rng = &mut stream(context.seed, CLAIM.id);
    let mut result = outcome(&findings, None, evidence).with_correction(Correction {
        statement: format!(
            "Anchoring improves every printed pair of TopK, BatchTopK and Matryoshka, by {} to {} points. M = {} and M = {} are the same \
             experiment with probability at least {}: with random columns neither bound binds. Differences between their rows are \
             differences between runs, which reach {} percentage points without anchors.",
            points(&least),
            points(&most),
            decimal(free),
            decimal(bounds.last().unwrap_or(free)),
            decimal(&(Rational::ONE - &bound.probability)),
            points(&between_runs(&pairs, free)),
        ),
        latex: r"\Pr\bigl(\max_{i\ne j}\langle w_p^i,w_p^j\rangle>t\bigr)\le\binom n2\frac{(1-t^2)^{(n_p-1)/2}}{t\sqrt{2\pi(n_p-1)}}".into(),
        checks: vec![drawn.law, honest_tables(rng)],
    });
    result = result
        .with_quantity(
            "gain-least",
            "least gain by anchoring in Table 5, points",
            Cell::number(to_f64(&least) * 100.0, 2),
        )
        .with_quantity(
            "gain-most",
            "largest gain by anchoring in Table 5, points",
            Cell::number(to_f64(&most) * 100.0, 2),
        )
        .with_quantity(
            "random-maximum",
            "largest maximum product of the drawn random matrices",
            Cell::number(maxima.1, 3),
        )
        .with_quantity(
            "same-distribution",
            "bound on the probability that M = .2 and M = .5 give different matrices",
            Cell::number(to_f64(&bound.probability), 2),
        );
    result.tables = vec![
        findings_table("interference-findings", CLAIM.id, &findings),
        gains_table(&family),
        published_table(table, CLAIM.id),
    ];
    result
}

/// The largest difference between rows without anchors at the two largest M.
fn between_runs(pairs: &[Pair], free: &Rational) -> Rational {
    let at = |method: &str, larger: bool| {
        let mut rows = pairs.iter().filter(|p| p.before.method == method);
        rows.find(|p| p.before.at.as_ref().is_some_and(|at| if larger { at > free } else { at == free }))
            .map(|p| p.before.recovery.value())
    };
    let differences = pairs.iter().filter_map(|p| {
        let (a, b) = (at(&p.before.method, false)?, at(&p.before.method, true)?);
        Some(if a < b { b - a } else { a - b })
    });
    differences.max().unwrap_or_default()
}

/// The pairs in words.
fn list(pairs: &[&Pair], show: impl Fn(&Pair) -> String) -> String {
    pairs.iter().map(|p| show(p)).collect::<Vec<_>>().join(", ")
}

fn recovery(pair: &Pair) -> String {
    format!("{} → {}", pair.before.recovery, pair.after.recovery)
}

fn mip(pair: &Pair) -> String {
    format!("{} → {}", pair.before.mip, pair.after.mip)
}

/// The statements of the text.
fn text(tables: &Tables, table: &Published, pairs: &[Pair], family: &[&Pair]) -> Vec<Finding> {
    let gains = table.quote("gains");
    let in_points = |k: usize| -> (Rational, Rational) {
        let (hundred, value) = (Rational::from(100), gains.printed(k));
        (value.low() / &hundred, value.high() / hundred)
    };
    let (smallest, largest) = (in_points(0), in_points(1));
    // The largest gain of a pair, and the smallest, that its digits leave.
    let up_to = |p: &Pair| p.after.recovery.high() - p.before.recovery.low();
    let down_to = |p: &Pair| p.after.recovery.low() - p.before.recovery.high();
    // The range begins at 2 points: some gain rounds to 2 and none is smaller. It ends at 7: some gain rounds to 7.
    let two = gains.printed(0).value() / Rational::from(100);
    let begins = all(family.iter().map(|p| {
        if up_to(p) < two {
            Answer::No(vec![less(&up_to(p), &two)])
        } else if down_to(p) >= smallest.0 {
            Answer::Yes
        } else {
            Answer::Open
        }
    }));
    let ends = if family.iter().any(|p| down_to(p) >= largest.0) {
        Answer::Yes
    } else if family.iter().all(|p| up_to(p) < largest.0) {
        Answer::No(family.iter().map(|p| less(&up_to(p), &largest.0)).collect())
    } else {
        Answer::Open
    };
    let mut bad: Vec<&Pair> = family.iter().copied().filter(|p| up_to(p) < two).collect();
    bad.sort_by_key(|p| gain(p));
    let others: Vec<&Pair> = pairs.iter().filter(|p| !recovers(p)).collect();
    let at = |method: &str, m: &Printed| {
        pairs.iter().find(|p| p.before.method.starts_with(method) && p.before.at.as_ref() == Some(m.value()))
    };
    let example = |name: &str, method: &str| {
        let quote = table.quote(name);
        let Some(pair) = at(method, &quote.printed(0)) else {
            return Finding::new(name, &quote.text, "no such row".into(), Answer::Open);
        };
        let is_share = quote.values[1].ends_with('%');
        let (b, a) =
            if is_share { (&pair.before.recovery, &pair.after.recovery) } else { (&pair.before.mip, &pair.after.mip) };
        Finding::new(
            name,
            &quote.text,
            format!("{b} → {a}"),
            all([same(b, &quote.printed(1)), same(a, &quote.printed(2))]),
        )
    };
    let listed = table.quote("values");
    let missing: Vec<Rational> = (0..listed.values.len())
        .map(|k| listed.printed(k).value().clone())
        .filter(|m| pairs.iter().all(|p| p.before.at.as_ref() != Some(m)))
        .collect();
    vec![
        Finding::new(
            "improves",
            "anchoring improves GT Recovery of TopK, BatchTopK and Matryoshka for every M",
            list(family, recovery),
            all(family.iter().map(|p| greater(&p.after.recovery, &p.before.recovery))),
        ),
        Finding::new(
            "range-low",
            "no gain is below 2 points",
            list(&bad, |p| {
                format!(
                    "{} (M = {}): {} points",
                    p.before.method,
                    p.before.at.as_ref().map_or(String::new(), decimal),
                    points(&gain(p))
                )
            }),
            begins,
        ),
        Finding::new(
            "range-high",
            "the gains reach 7 points",
            format!("at most {} points", family.iter().map(|p| gain(p)).max().map_or("–".into(), |g| points(&g))),
            ends,
        ),
        example("batch-top-k", "BatchTopK"),
        example("relu", "ReLU"),
        Finding::new(
            "mip",
            "ReLU and JumpReLU SAEs improve in MIP for every M",
            list(&others, mip),
            all(others.iter().map(|p| greater(&p.after.mip, &p.before.mip))),
        ),
        degrades(tables, table),
        Finding::new(
            "values-listed",
            &format!(
                "Table 5 shows all of {} (M = {} is that of Table 1)",
                listed.text,
                missing.iter().map(decimal).collect::<Vec<_>>().join(", ")
            ),
            format!("{} of {} values", listed.values.len() - missing.len(), listed.values.len()),
            if missing.len() <= 1 { Answer::Yes } else { Answer::Open },
        ),
    ]
}

/// "Performance degrades slightly at M = .05 compared to M = .1, .2": every row that recovers features is better at each of the others.
fn degrades(tables: &Tables, table: &Published) -> Finding {
    let quote = table.quote("degrades");
    let low = quote.printed(0);
    let rows = |m: &Rational| {
        table.measurements.iter().filter(|r| r.at.as_ref() == Some(m) && !r.none_recovered()).collect::<Vec<_>>()
    };
    let (mut answers, mut against, mut compared) = (Vec::new(), Vec::new(), 0);
    for here in rows(low.value()) {
        for k in 1..quote.values.len() {
            let other = quote.printed(k);
            // The default value of M stands in Table 1.
            let there: Vec<&Measurement> = if rows(other.value()).is_empty() {
                tables.table(1).measurements.iter().collect()
            } else {
                rows(other.value())
            };
            let there = there.into_iter().find(|r| r.method == here.method && r.anchored == here.anchored);
            if let Some(there) = there {
                compared += 1;
                let answer = greater(&there.recovery, &here.recovery);
                if matches!(answer, Answer::No(_)) {
                    against.push(format!(
                        "{}: {} against {} at M = {}",
                        here.name(),
                        here.recovery,
                        there.recovery,
                        other
                    ));
                }
                answers.push(answer);
            }
        }
    }
    let printed = format!("{} of {compared} comparisons against it: {}", against.len(), against.join("; "));
    Finding::new("degrades", &quote.text, printed, all(answers))
}

struct Union {
    evidence: Evidence,
    probability: Rational,
}

/// C(n,2) (1−t²)^{(d−1)/2} / (t √(2π(d−1))) from above: the exponent rounded down, 2π(d−1) replaced by the largest square below 6(d−1).
fn union_bound(n: u32, d: u32, t: &Rational) -> Result<Union, sdlab_verify::Refusal> {
    let (exponent, root) = ((d as usize - 1) / 2, (6 * (d - 1)).isqrt());
    let base = Rational::ONE - t * t;
    let pairs = Rational::from(u64::from(n) * u64::from(n - 1) / 2);
    let exact = &pairs * base.pow(exponent as isize) / (t * Rational::from(root));
    // Three decimals upwards, so that the certificate proves a short statement.
    let probability = Rational::from((&exact * Rational::from(1000)).ceil()) / Rational::from(1000);
    let left = quotient(
        Expr::Mul(vec![Expr::Binomial(n as usize, 2), power(rational(&base), exponent)]),
        Expr::Mul(vec![rational(t), integer(i64::from(root))]),
    );
    let steps = vec![
        step(left, Relation::LessEqual, rational(&probability)),
        // root² ≤ 6(d−1) < 2π(d−1)
        step(power(integer(i64::from(root)), 2), Relation::LessEqual, integer(6 * (i64::from(d) - 1))),
        step(integer(2 * exponent as i64), Relation::LessEqual, integer(i64::from(d) - 1)),
    ];
    let text = format!(
        "Union bound: {n} random unit vectors in R^{d} have a product above {} with probability at most {}.",
        decimal(t),
        decimal(&probability)
    );
    Ok(Union { evidence: arithmetic(text, "union-bound", steps)?, probability })
}

struct Drawn {
    /// The maximum product of each matrix.
    maxima: Vec<f64>,
    /// The law of one product, tested on the products with the first column, which are independent.
    law: Check,
}

/// Pr(⟨u,v⟩ > t) for independent uniform unit vectors in R^d: ½ I_{1−t²}((d−1)/2, ½) (Muirhead 1982, Sect. 1.5).
fn cap(d: usize, t: f64) -> f64 {
    0.5 * beta_reg((d as f64 - 1.0) / 2.0, 0.5, 1.0 - t * t)
}

fn draw(context: &Context, n: usize, n_p: usize) -> Drawn {
    let mut rng = stream(context.seed, "table-5 features");
    let (mut maxima, mut above) = (Vec::new(), 0);
    for _ in 0..MATRICES {
        let P = random_unit(n_p, n, &mut rng);
        // The products of every column with those before it, a panel of columns at a time.
        let mut maximum = f64::NEG_INFINITY;
        for start in (0..n).step_by(PANEL) {
            let width = PANEL.min(n - start);
            let mut G = Mat::<f64>::zeros(start + width, width);
            let (before, panel) = (P.subcols(0, start + width), P.subcols(start, width));
            matmul(&mut G, Accum::Replace, before.transpose(), panel, 1.0, Par::Seq);
            for k in 0..width {
                maximum = (0..start + k).map(|i| G[(i, k)]).fold(maximum, f64::max);
                above += usize::from(start + k > 0 && G[(0, k)] > LEVEL);
            }
        }
        maxima.push(maximum);
    }
    let trials = (MATRICES * (n - 1)) as u64;
    // The plausible mistake is to take the dimension of the features for their number.
    let test = Proportion { trials, successes: above as u64, law: cap(n_p, LEVEL), wrong: cap(n, LEVEL) };
    Drawn {
        maxima,
        law: Check::proportion(
            &format!("products of random unit columns above {LEVEL}, against the law of a spherical cap"),
            &test,
        ),
    }
}

fn gains_table(family: &[&Pair]) -> Table {
    let columns = [
        ("method", Kind::Text),
        ("M", Kind::Number),
        ("before", Kind::Number),
        ("after", Kind::Number),
        ("gain in points", Kind::Number),
    ];
    let mut table = Table::new("interference-gains", CLAIM.id, columns).title("Gains in Table 5").caption(
        "Differences of the printed percentages of the methods that recover features; each is exact to 0.1 points.",
    );
    for pair in family {
        table.push([
            Cell::from(pair.before.method.as_str()),
            Cell::from(pair.before.at.as_ref().map_or(String::new(), decimal)),
            Cell::from(pair.before.recovery.to_string()),
            Cell::from(pair.after.recovery.to_string()),
            Cell::from(points(&gain(pair))),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::rational::parse;

    #[test]
    fn statements_of_the_text_notice_other_digits() {
        let false_ones = |changes: &[(usize, &str, &str)]| {
            let tables = Tables::altered(changes);
            let pairs = tables.table(5).pairs();
            let family: Vec<&Pair> = pairs.iter().filter(|p| recovers(p)).collect();
            let findings = text(&tables, tables.table(5), &pairs, &family);
            findings.into_iter().filter(Finding::is_false).map(|f| f.name).collect::<Vec<_>>()
        };
        let printed = ["range-low", "range-high", "degrades"];
        assert_eq!(false_ones(&[(5, "0.326", "0.327")]), printed);
        assert_eq!(false_ones(&[(5, "87.5%", "88.2%"), (5, "86.8%", "87.3%")]), ["range-high", "degrades"]);
        assert_eq!(false_ones(&[(5, "90.7%", "91.7%")]), ["range-low", "degrades"]);
        assert_eq!(
            false_ones(&[(
                5,
                "[\"+ Feature Anchoring\", \"0.2\", \"0.0%\", \"0.245\"]",
                "[\"+ Feature Anchoring\", \"0.2\", \"0.0%\", \"0.199\"]"
            )]),
            ["range-low", "range-high", "relu", "mip", "degrades"]
        );
    }

    #[test]
    fn the_law_of_a_cap_is_that_of_low_dimensions() {
        // On the circle Pr(cos φ > 1/2) = 1/3; on the sphere Pr(z > t) = (1 − t)/2 (Archimedes).
        assert!((cap(2, 0.5) - 1.0 / 3.0).abs() < 1e-12);
        assert!((cap(3, 0.3) - 0.35).abs() < 1e-12);
    }

    #[test]
    fn the_union_bound_is_above_the_exact_union() {
        let bound = union_bound(1000, 768, &parse("0.2").unwrap()).unwrap();
        let exact = 499_500.0 * cap(768, 0.2);
        let bound = to_f64(&bound.probability);
        assert!(exact < bound && bound < 0.01, "{exact} {bound}");
    }
}
