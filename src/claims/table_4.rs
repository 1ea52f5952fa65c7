//! Table 4: recovery under varying superposition, measured with one threshold τ.
//!
//! Refuted: no similarity matrices and no single τ give these pairs of M_GT and MIP. A row without recovered features and MIP m needs
//! τ ≥ m; a row with share G and MIP m needs τ < m/G; and the largest of the first exceeds the smallest of the second.

use super::audit::{
    Answer, Common, Finding, Window, all, common, findings_table, greater, honest_tables, interval, invariants,
    one_threshold, outcome, printed_as, published_table, same,
};
use super::printed::{Printed, decimal};
use super::published::{Measurement, Pair, Published, Quote, Tables, audited};
use super::relations::{rational, step};
use super::{Claim, Context, Correction, Evidence, Outcome};
use crate::bench::features::stream;
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Tone, Width};
use sdlab_verify::format::{Expr, Relation};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-4",
    place: "Table 4, App. G",
    title: "Recovery falls with superposition, for one threshold τ",
    statement: "ReLU SAEs recover nothing for n = 800 .. 1400; with 100 anchors they recover 100 % at n = 800 and 98.89 % at n = 900, then fewer and fewer, and MIP grows throughout, M_GT and MIP being measured with one threshold τ (.9 or .95).",
    latex: r"\exists\,\tau:\ M_{\mathrm{GT}}=\frac1n\sum_i1(s_i>\tau),\quad \mathrm{MIP}=\frac1n\sum_i s_i\quad\text{in every row of Table 4}",
    assumes: "s ≥ 0, as s_i = max_j |⟨w_j, p_i⟩|; one τ for the table. No bound s ≤ 1 is needed.",
    sources: &[],
    run,
    on_instance: None,
};

fn run(context: &Context) -> Outcome {
    audited(|tables| audit(tables, context))
}

/// Can a row be measured with this threshold? m > τ G, and m ≤ τ if G = 0.
fn fits(row: &Measurement, tau: &Rational) -> Answer {
    let window = Window::of(row, false);
    if window.contains(tau) {
        return Answer::Yes;
    }
    if *tau < window.low {
        return Answer::No(vec![step(rational(tau), Relation::Less, rational(&row.mip.low()))]);
    }
    let least = Expr::Mul(vec![rational(tau), rational(&row.recovery.low())]);
    Answer::No(vec![step(least, Relation::GreaterEqual, rational(&row.mip.high()))])
}

fn audit(tables: &Tables, context: &Context) -> Outcome {
    let table = tables.table(4);
    let rows = &table.measurements;
    let (Some(shared), Some(n_p)) = (common(rows, false), table.setting("n_p")) else {
        return Outcome::undecided("Table 4 has no rows, or no n_p");
    };
    let usual: Vec<Rational> = (0..2).map(|k| table.quote("thresholds").printed(k).value().clone()).collect();
    let mut findings = vec![one_threshold(&shared)];
    for tau in &usual {
        let misfits: Vec<String> =
            rows.iter().filter(|r| matches!(fits(r, tau), Answer::No(_))).map(Measurement::name).collect();
        let name = format!("tau-{}", decimal(tau).replace('.', "-"));
        let shown = if misfits.is_empty() {
            "all rows are possible".into()
        } else {
            format!("impossible: {}", misfits.join("; "))
        };
        findings.push(Finding::new(
            &name,
            &format!("all rows are possible with τ = {} (App. B)", decimal(tau)),
            shown,
            all(rows.iter().map(|r| fits(r, tau))),
        ));
    }
    findings.extend(text(table, &n_p));
    let anchors = table.setting("k").and_then(|k| k.to_string().parse::<u32>().ok()).unwrap_or(0);
    let recovered: Vec<&Measurement> = rows.iter().filter(|r| !r.none_recovered()).collect();
    let counted = |held_out: u32| {
        recovered.iter().filter(|r| r.n.is_some_and(|n| !r.recovery.counts(n - held_out).is_empty())).count()
    };
    let others: Vec<&Measurement> = [1, 2, 5, 6, 7].iter().flat_map(|&k| &tables.table(k).measurements).collect();
    let (Some(rest), Some(rest_raw)) = (common(others.iter().copied(), true), common(others.iter().copied(), false))
    else {
        return Outcome::undecided("the other tables have no rows");
    };
    let evidence = vec![
        Evidence::computed(format!(
            "Pairs of rows of Table 4 that exclude each other: {}. Each n by itself allows a threshold: {}.",
            exclusions(rows),
            table
                .pairs()
                .iter()
                .map(|p| format!("n = {}, τ ∈ {}", p.before.n.unwrap_or(0), interval(&pair_window(p))))
                .collect::<Vec<_>>()
                .join("; "),
        )),
        Evidence::computed(format!(
            "The {} rows of tables 1, 2, 5, 6 and 7 are jointly possible: τ ∈ {} if s ≤ 1 (bound by {} and by {}), and τ ∈ {} without that \
             assumption. They contain {} of the usual values {}.",
            others.len(),
            interval(&rest.window),
            rest.low_row.full_name(),
            rest.high_row.map_or("no row".into(), Measurement::full_name),
            interval(&rest_raw.window),
            usual.iter().filter(|tau| rest.window.contains(tau)).count(),
            usual.iter().map(decimal).collect::<Vec<_>>().join(" and "),
        )),
        Evidence::computed(format!(
            "Of {} non-zero percentages of Table 4 {} are counts out of n and {} out of n − {anchors}: here the anchored features are scored, other than \
             in Table 1.",
            recovered.len(),
            counted(0),
            counted(anchors),
        )),
    ];
    if !rest.window.is_open() {
        return Outcome::undecided("the other tables allow no threshold either");
    }
    let rng = &mut stream(context.seed, CLAIM.id);
    let mut result = outcome(&findings, None, evidence).with_correction(Correction {
        statement: format!(
            "The two columns of Table 4 do not come from one similarity matrix and one τ, and none of its anchored rows up to n = {} with the usual \
             thresholds: perhaps encoder and decoder were scored in turn, or τ changed with n. All other tables together allow τ ∈ {} (s ≤ 1).",
            recovered.iter().filter(|r| usual.iter().all(|tau| matches!(fits(r, tau), Answer::No(_)))).filter_map(|r| r.n).max().unwrap_or(0),
            interval(&rest.window)
        ),
        latex: r"M_{\mathrm{GT}}=0\Rightarrow\tau\ge\mathrm{MIP},\qquad M_{\mathrm{GT}}>0\Rightarrow\tau<\mathrm{MIP}/M_{\mathrm{GT}}".into(),
        checks: vec![invariants(rng), honest_tables(rng)],
    });
    let bound = |x: &Option<Rational>| x.as_ref().map_or(f64::INFINITY, to_f64);
    result = result
        .with_quantity(
            "tau-needed",
            "smallest τ that a row of Table 4 without recovery allows",
            Cell::number(to_f64(&shared.window.low), 4),
        )
        .with_quantity(
            "tau-allowed",
            "τ stays below this in an anchored row of Table 4",
            Cell::number(bound(&shared.window.high), 4),
        )
        .with_quantity(
            "others-tau-low",
            "smallest τ that tables 1, 2, 5, 6 and 7 allow together, s ≤ 1",
            Cell::number(to_f64(&rest.window.low), 4),
        )
        .with_quantity(
            "others-tau-high",
            "upper end of the τ that tables 1, 2, 5, 6 and 7 allow together",
            Cell::number(bound(&rest.window.high), 4),
        );
    result.figures = vec![figure(tables, &rest)];
    result.tables = vec![
        findings_table("superposition-findings", CLAIM.id, &findings),
        windows(tables),
        published_table(table, CLAIM.id),
    ];
    result
}

/// The statements of the text about Table 4.
fn text(table: &Published, n_p: &Rational) -> Vec<Finding> {
    let pairs = table.pairs();
    let quote = |name: &str| table.quote(name);
    let ratio = |n: u32| Rational::from(n) / n_p;
    let at = |n: u32| pairs.iter().find(|p| p.before.n == Some(n));
    let numbers: Vec<u32> = pairs.iter().filter_map(|p| p.before.n).collect();
    let (Some(&first), Some(&last)) = (numbers.iter().min(), numbers.iter().max()) else { return Vec::new() };
    let finding = |name: &str, quote: &Quote, printed: String, answers: Vec<Answer>| {
        Finding::new(name, &quote.text, printed, all(answers))
    };
    let ratios = quote("ratios");
    let standard = quote("standard");
    let anchored = quote("anchored");
    let shares = quote("shares");
    let decrease = quote("decrease");
    let improves = quote("improves");
    let k = table.setting("k").unwrap_or_default();
    // The n whose anchored row is printed with the quoted recovery.
    let n_of = |recovery: &Printed| {
        pairs.iter().find(|p| p.after.recovery.value() == recovery.value()).and_then(|p| p.before.n)
    };
    let anchored_values = [anchored.printed(0), anchored.printed(1)];
    let decreasing: Vec<Answer> = [0, 2, 4]
        .map(|k| match n_of(&decrease.printed(k)) {
            Some(n) => printed_as(&ratio(n), &decrease.printed(k + 1)),
            None => Answer::Open,
        })
        .into_iter()
        .chain(pairs.windows(2).map(|w| greater(&w[0].after.recovery, &w[1].after.recovery)))
        .collect();
    vec![
        finding(
            "ratios",
            ratios,
            format!(
                "{first}/{} = {}, {last}/{} = {}",
                decimal(n_p),
                decimal(&ratio(first)),
                decimal(n_p),
                decimal(&ratio(last))
            ),
            vec![printed_as(&ratio(first), &ratios.printed(0)), printed_as(&ratio(last), &ratios.printed(1))],
        ),
        finding(
            "standard",
            standard,
            pairs.iter().map(|p| p.before.recovery.to_string()).collect::<Vec<_>>().join(", "),
            pairs.iter().map(|p| same(&p.before.recovery, &standard.printed(0))).collect(),
        ),
        finding(
            "anchored",
            anchored,
            [800, 900].map(|n| at(n).map_or("–".into(), |p| p.after.recovery.to_string())).join(", "),
            [800, 900]
                .iter()
                .zip(&anchored_values)
                .map(|(&n, value)| at(n).map_or(Answer::Open, |p| same(&p.after.recovery, value)))
                .collect(),
        ),
        finding(
            "shares",
            shares,
            [800, 900].map(|n| format!("{}/{n}", decimal(&k))).join(", "),
            [(800, 0), (900, 1)].map(|(n, i)| printed_as(&(&k / Rational::from(n)), &shares.printed(i))).into(),
        ),
        Finding::new(
            "decrease",
            &format!("GT Recovery decreases with superposition ({})", decrease.text),
            pairs.iter().map(|p| p.after.recovery.to_string()).collect::<Vec<_>>().join(", "),
            all(decreasing),
        ),
        finding(
            "mip-improves",
            improves,
            pairs.iter().map(|p| format!("{} → {}", p.before.mip, p.after.mip)).collect::<Vec<_>>().join(", "),
            pairs.iter().map(|p| greater(&p.after.mip, &p.before.mip)).collect(),
        ),
    ]
}

fn pair_window(pair: &Pair) -> Window {
    common([pair.before, pair.after], false).map_or(Window { low: Rational::ZERO, high: None }, |c| c.window)
}

/// "0.00%/0.361 (800) with 98.89%/0.345 (900), ..".
fn exclusions(rows: &[Measurement]) -> String {
    let short = |m: &Measurement| format!("{}/{} (n = {})", m.recovery, m.mip, m.n.unwrap_or(0));
    let found: Vec<String> = rows
        .iter()
        .flat_map(|a| rows.iter().map(move |b| (a, b)))
        .filter(|(a, b)| Window::of(b, false).high.is_some_and(|high| Window::of(a, false).low >= high))
        .map(|(a, b)| format!("{} with {}", short(a), short(b)))
        .collect();
    if found.is_empty() { "none".into() } else { found.join(", ") }
}

/// What each table allows, and all but Table 4 together.
fn windows(tables: &Tables) -> Table {
    let columns = [
        ("tables", Kind::Text),
        ("rows", Kind::Number),
        ("τ if s ≤ 1", Kind::Text),
        ("τ for any s", Kind::Text),
        ("one τ", Kind::Verdict),
    ];
    let mut table = Table::new("thresholds", CLAIM.id, columns)
        .title("The thresholds that the printed digits allow")
        .caption("Intervals of τ for which all rows of a table are possible, with s ≤ 1 (rows and features of unit norm) and without that assumption.");
    let mut push = |name: String, numbers: &[usize]| {
        let rows: Vec<&Measurement> = numbers.iter().flat_map(|&k| &tables.table(k).measurements).collect();
        let windows = [true, false].map(|unit_norm| common(rows.iter().copied(), unit_norm).map(|c| c.window));
        if let [Some(unit_norm), Some(any)] = windows {
            let word = match (unit_norm.is_open(), any.is_open()) {
                (true, _) => Cell::verdict(Tone::Good, "possible"),
                (false, true) => Cell::verdict(Tone::Open, "only with s > 1"),
                (false, false) => Cell::verdict(Tone::Bad, "impossible"),
            };
            let shown = |w: &Window| if w.is_open() { interval(w) } else { "none".into() };
            table.push([
                Cell::from(name),
                Cell::from(rows.len()),
                Cell::from(shown(&unit_norm)),
                Cell::from(shown(&any)),
                word,
            ]);
        }
    };
    for number in [1, 2, 4, 5, 6, 7] {
        push(format!("Table {number}"), &[number]);
    }
    push("1, 2, 5, 6, 7".into(), &[1, 2, 5, 6, 7]);
    push("all".into(), &[1, 2, 4, 5, 6, 7]);
    table
}

/// The table audit: one bar per row, from the smallest to the largest τ that it allows.
fn figure(tables: &Tables, rest: &Common) -> Figure {
    // Table 4 has bars four units apart, the other tables one; y grows upwards.
    let (mut plain, mut anchored, mut small_plain, mut small_anchored) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut ticks, mut notes) = (Vec::new(), Vec::new());
    let mut y = 0.0;
    let bar = |y: f64, row: &Measurement, unit_norm: bool| {
        let window = Window::of(row, unit_norm);
        (y, to_f64(&window.low), window.high.as_ref().map_or(1.0, to_f64).min(1.0))
    };
    let four = tables.table(4);
    let shared = common(&four.measurements, false);
    for pair in four.pairs() {
        for row in [pair.before, pair.after] {
            y -= 4.0;
            let place = bar(y, row, false);
            if shared.as_ref().is_some_and(|s| s.low_row == row) {
                notes.push(Layer::Note {
                    at: (place.1 - 0.17, y + 0.4),
                    text: format!("needs τ ≥ {}", decimal(&Window::of(row, false).low)),
                });
            }
            if shared.as_ref().is_some_and(|s| s.high_row == Some(row)) {
                notes.push(Layer::Note { at: (place.2, y), text: format!("needs τ < {:.4}", place.2) });
            }
            let bars = if row.anchored { &mut anchored } else { &mut plain };
            bars.push(place);
        }
        ticks.push((y + 2.0, format!("Table 4, n = {}", pair.before.n.unwrap_or(0))));
        y -= 1.5;
    }
    for number in [1, 2, 5, 6, 7] {
        y -= 3.0;
        let top = y;
        let mut rows: Vec<&Measurement> = tables.table(number).measurements.iter().collect();
        rows.sort_by(|a, b| Window::of(a, true).low.cmp(&Window::of(b, true).low));
        for row in rows {
            y -= 1.0;
            let place = bar(y, row, true);
            let bars = if row.anchored { &mut small_anchored } else { &mut small_plain };
            bars.push(place);
        }
        ticks.push(((top + y) / 2.0, format!("Table {number}, {} rows", tables.table(number).measurements.len())));
    }
    let bottom = y - 2.0;
    let (low, high) = (to_f64(&rest.window.low), rest.window.high.as_ref().map_or(1.0, to_f64).min(1.0));
    let lines = [0, 1].map(|k| to_f64(four.quote("thresholds").printed(k).value()));
    let usual = format!("τ = {}, the usual values", lines.map(|tau| tau.to_string()).join(" and "));
    let (without, with) = ("row without anchors", "row with anchors");
    let bars =
        |label: &str, bars: Vec<(f64, f64, f64)>, thickness: f64| Layer::Bars { label: label.into(), bars, thickness };
    let x = Axis::linear("threshold τ").range(0.0, 1.0);
    let panel = Panel::new("", x, Axis::linear("").range(bottom, 0.0).ticks(ticks))
        .layer(Layer::Region {
            label: "τ that all rows of tables 1, 2, 5, 6, 7 allow".into(),
            corners: vec![(low, bottom), (high, bottom), (high, 0.0), (low, 0.0)],
        })
        .layer(bars(without, plain, 3.0))
        .layer(bars(with, anchored, 3.0))
        .layer(bars(without, small_plain, 0.8))
        .layer(bars(with, small_anchored, 0.8));
    let panel = lines.into_iter().fold(panel, |panel, tau| {
        panel.layer(Layer::Reference { label: usual.clone(), points: vec![(tau, bottom), (tau, 0.0)] })
    });
    let panel = notes.into_iter().fold(panel, Panel::layer);
    Figure::new("table-audit", CLAIM.id, Width::Page)
        .title("The table audit: which thresholds the printed digits allow")
        .caption(
            "Every row of the recovery tables as the interval of τ for which its M_GT and MIP are possible (Table 4 for any s ≥ 0, the \
             other tables for 0 ≤ s ≤ 1). No vertical line crosses all bars of Table 4: its first row needs a larger τ than its anchored rows for n = 900 and \
             n = 1000 allow. The rows of the other tables have a common window, shaded, with the usual values .9 and .95 inside.",
        )
        .panel(panel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;

    #[test]
    fn the_verdict_is_read_off_the_digits() {
        let one = |changes: &[(usize, &str, &str)]| {
            let tables = Tables::altered(changes);
            !one_threshold(&common(&tables.table(4).measurements, false).unwrap()).is_false()
        };
        // One pair repaired leaves the other; with both repaired there is a threshold.
        assert!(!one(&[(4, "0.292", "0.392")]));
        assert!(one(&[(4, "0.292", "0.392"), (4, "0.345", "0.445")]));
        assert!(one(&[(4, "0.361", "0.331")]));
        // Then the usual thresholds are still impossible, and with 100 % at .436 nothing helps against that.
        assert_eq!(audit(&Tables::altered(&[(4, "0.361", "0.331")]), &Context::default()).verdict, Verdict::Refuted);
    }

    #[test]
    fn statements_of_the_text_notice_other_digits() {
        let false_ones = |changes: &[(usize, &str, &str)]| {
            let tables = Tables::altered(changes);
            let findings = text(tables.table(4), &Rational::from(768));
            findings.into_iter().filter(Finding::is_false).map(|f| f.name).collect::<Vec<_>>()
        };
        assert_eq!(false_ones(&[(4, "0.361", "0.362")]), [""; 0]);
        assert_eq!(false_ones(&[(4, "1.82×", "1.83×")]), ["ratios"]);
        assert_eq!(false_ones(&[(4, "\"0.00%\", \"0.298\"", "\"2.00%\", \"0.298\"")]), ["standard"]);
        assert_eq!(false_ones(&[(4, "\"11.1%\"", "\"11.2%\"")]), ["shares"]);
        assert_eq!(false_ones(&[(4, "\"15.23%\", \"0.216\"", "\"35.23%\", \"0.190\"")]), ["decrease", "mip-improves"]);
    }
}
