//! What the audits of the published tables share: thresholds that a row allows, statements tested on printed digits, and
//! checks of the method on tables that are honest by construction.
//!
//! For a similarity vector s ≥ 0 with G = M_GT = (1/n) Σ 1(s_i > τ) and m = MIP = (1/n) Σ s_i (Sect. 5.1):
//!
//! 1. m ≥ τ G, and m > τ G if G > 0: the recovered features alone contribute more than τ G;
//! 2. G = 0 ⇒ m ≤ τ: no s_i exceeds τ;
//! 3. s ≤ 1 ⇒ m ≤ G + τ (1 − G): the others contribute at most τ each. Rows and features of unit norm give s ≤ 1.
//!
//! With s ≤ 1 a recovered feature also says τ < 1. Read backwards, a printed pair (G, m) leaves a window of thresholds τ ([`Window`]).

use super::printed::{Printed, decimal, power_of_ten};
use super::published::{Measurement, Published};
use super::relations::{self, quotient, rational, step};
use super::{Check, Evidence, Outcome, Verdict};
use crate::exact::Rational;
use crate::stats::{Cell, Kind, Table, Tone};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::Refusal;
use sdlab_verify::format::{Relation, Step};

/// a < b.
pub fn less(a: &Rational, b: &Rational) -> Step {
    step(rational(a), Relation::Less, rational(b))
}

/// a ≤ b.
pub fn at_most(a: &Rational, b: &Rational) -> Step {
    step(rational(a), Relation::LessEqual, rational(b))
}

/// a = b.
pub fn equal(a: &Rational, b: &Rational) -> Step {
    step(rational(a), Relation::Equal, rational(b))
}

/// Evidence with the certificate of these relations.
pub fn arithmetic(text: String, name: &str, steps: Vec<Step>) -> Result<Evidence, Refusal> {
    let certificate = relations::certificate(steps, &text);
    Evidence::certified(text, name, certificate)
}

/// The thresholds τ that a row allows: low ≤ τ < high.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Smallest threshold.
    pub low: Rational,
    /// Thresholds stay below it; `None` if no feature need be recovered.
    pub high: Option<Rational>,
}

impl Window {
    /// The window of a row. Without `unit_norm` (s ≤ 1) only the first two invariants are used.
    pub fn of(row: &Measurement, unit_norm: bool) -> Self {
        let (g, m) = (&row.recovery, &row.mip);
        let low = if row.none_recovered() {
            m.low()
        } else if unit_norm && g.high() < Rational::ONE {
            // m ≤ G + τ(1−G) is weakest for the smallest m and, as its right side grows in G for τ ≤ 1, the largest G.
            ((m.low() - g.high()) / (Rational::ONE - g.high())).max(Rational::ZERO)
        } else {
            Rational::ZERO
        };
        let below = |ratio: Rational| if unit_norm { ratio.min(Rational::ONE) } else { ratio };
        let high = (g.low() > Rational::ZERO).then(|| below(m.high() / g.low()));
        Self { low, high }
    }

    /// True if a threshold is left.
    pub fn is_open(&self) -> bool {
        self.high.as_ref().is_none_or(|high| self.low < *high)
    }

    /// True for a threshold in the window.
    pub fn contains(&self, tau: &Rational) -> bool {
        self.low <= *tau && self.high.as_ref().is_none_or(|high| tau < high)
    }
}

/// The windows of several rows together, with the rows that bind.
#[derive(Debug, Clone)]
pub struct Common<'a> {
    /// The thresholds that all rows allow.
    pub window: Window,
    /// The row that asks for the largest threshold.
    pub low_row: &'a Measurement,
    /// The row that asks for the smallest one, if any recovers a feature.
    pub high_row: Option<&'a Measurement>,
}

/// The common window of rows; `None` of none.
pub fn common<'a>(rows: impl IntoIterator<Item = &'a Measurement>, unit_norm: bool) -> Option<Common<'a>> {
    rows.into_iter().fold(None, |so_far: Option<Common<'a>>, row| {
        let window = Window::of(row, unit_norm);
        let Some(mut so_far) = so_far else {
            let high_row = window.high.is_some().then_some(row);
            return Some(Common { window, low_row: row, high_row });
        };
        if window.low > so_far.window.low {
            (so_far.window.low, so_far.low_row) = (window.low, row);
        }
        if let Some(high) = window.high.filter(|h| so_far.window.high.as_ref().is_none_or(|old| h < old)) {
            (so_far.window.high, so_far.high_row) = (Some(high), Some(row));
        }
        Some(so_far)
    })
}

/// Does one threshold fit all rows? If not, the two rows that exclude each other prove it.
pub fn one_threshold(shared: &Common) -> Finding {
    let (low, window) = (shared.low_row, &shared.window);
    let row = |row: &Measurement| format!("{} ({}, MIP {})", row.name(), row.recovery, row.mip);
    let (printed, answer) = match (shared.high_row, &window.high) {
        (Some(high_row), Some(high)) => {
            let printed =
                format!("{}: τ ≥ {}; {}: τ < {}", row(low), decimal(&window.low), row(high_row), decimal(high));
            let most = quotient(rational(&high_row.mip.high()), rational(&high_row.recovery.low()));
            let no = || Answer::No(vec![step(most, Relation::LessEqual, rational(&window.low))]);
            (printed, if window.is_open() { Answer::Yes } else { no() })
        }
        _ => (format!("{}: τ ≥ {}; no row recovers a feature", row(low), decimal(&window.low)), Answer::Yes),
    };
    Finding::new("one-threshold", "one threshold τ fits all rows", printed, answer)
}

/// What the printed digits say of a statement.
#[derive(Debug, Clone)]
pub enum Answer {
    /// True for all numbers that are printed so.
    Yes,
    /// False for all of them: these relations prove it.
    No(Vec<Step>),
    /// Both is possible within rounding.
    Open,
}

/// A statement of caption or text, tested.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Name of its certificate if it is false.
    pub name: String,
    /// The statement.
    pub statement: String,
    /// The printed numbers that decide.
    pub printed: String,
    /// What they say.
    pub answer: Answer,
}

impl Finding {
    /// A finding.
    pub fn new(name: &str, statement: &str, printed: String, answer: Answer) -> Self {
        Self { name: name.to_owned(), statement: statement.to_owned(), printed, answer }
    }

    /// True if the printed digits exclude the statement.
    pub fn is_false(&self) -> bool {
        matches!(self.answer, Answer::No(_))
    }
}

/// a > b?
pub fn greater(a: &Printed, b: &Printed) -> Answer {
    if a.low() > b.high() {
        Answer::Yes
    } else if a.high() <= b.low() {
        Answer::No(vec![at_most(&a.high(), &b.low())])
    } else {
        Answer::Open
    }
}

/// Is the exact number printed as `printed`?
pub fn printed_as(exact: &Rational, printed: &Printed) -> Answer {
    if printed.may_be(exact) {
        Answer::Yes
    } else if *exact < printed.low() {
        Answer::No(vec![less(exact, &printed.low())])
    } else {
        Answer::No(vec![less(&printed.high(), exact)])
    }
}

/// Is the printed number the same as the one in the text, digits aside? Different numbers of digits are compared as intervals.
pub fn same(a: &Printed, b: &Printed) -> Answer {
    if a.low() > b.high() {
        Answer::No(vec![less(&b.high(), &a.low())])
    } else if b.low() > a.high() {
        Answer::No(vec![less(&a.high(), &b.low())])
    } else {
        Answer::Yes
    }
}

/// All of several statements: no if one is no.
pub fn all(answers: impl IntoIterator<Item = Answer>) -> Answer {
    answers.into_iter().fold(Answer::Yes, |so_far, answer| match (so_far, answer) {
        (Answer::No(mut steps), Answer::No(more)) => {
            steps.extend(more);
            Answer::No(steps)
        }
        (Answer::No(steps), _) | (_, Answer::No(steps)) => Answer::No(steps),
        (Answer::Open, _) | (_, Answer::Open) => Answer::Open,
        (Answer::Yes, Answer::Yes) => Answer::Yes,
    })
}

/// Refuted with a certificate per false statement; else undecided if rounding decides; else true, with a reading if one is needed.
/// `evidence` comes first.
pub fn outcome(findings: &[Finding], reading: Option<String>, mut evidence: Vec<Evidence>) -> Outcome {
    for finding in findings {
        if let Answer::No(steps) = &finding.answer {
            let text = format!("Not so: “{}”. Printed: {}.", finding.statement, finding.printed);
            match arithmetic(text, &finding.name, steps.clone()) {
                Ok(item) => evidence.push(item),
                Err(refusal) => return Outcome::undecided(refusal.to_string()),
            }
        }
    }
    let open: Vec<&str> =
        findings.iter().filter(|f| matches!(f.answer, Answer::Open)).map(|f| f.statement.as_str()).collect();
    let verdict = match reading {
        _ if findings.iter().any(Finding::is_false) => Verdict::Refuted,
        _ if !open.is_empty() => Verdict::Undecided(format!("rounding decides: {}", open.join("; "))),
        Some(reading) => Verdict::HoldsWith(reading),
        None => Verdict::Holds,
    };
    Outcome::new(verdict, evidence)
}

/// The findings as a table.
pub fn findings_table(name: &str, source: &str, findings: &[Finding]) -> Table {
    let columns = [("statement", Kind::Text), ("printed", Kind::Text), ("as printed", Kind::Verdict)];
    let title = "Statements of caption and text, tested on the printed digits";
    let mut table = Table::new(name, source, columns).title(title).note(
        "A printed number stands for all numbers within half a unit of its last digit, ends included. “true” and “false” hold \
         for all of them; “open” means that rounding decides.",
    );
    for finding in findings {
        let answer = match finding.answer {
            Answer::Yes => Cell::verdict(Tone::Good, "true"),
            Answer::No(_) => Cell::verdict(Tone::Bad, "false"),
            Answer::Open => Cell::verdict(Tone::Open, "open"),
        };
        table.push([Cell::from(finding.statement.as_str()), Cell::from(finding.printed.as_str()), answer]);
    }
    table
}

/// A published table as data, digit for digit.
pub fn published_table(published: &Published, source: &str) -> Table {
    let text_column = |k: usize| published.rows.iter().any(|row| Printed::parse(&row.cells[k]).is_err());
    let kind = |k: usize| if text_column(k) { Kind::Text } else { Kind::Number };
    let columns = published.columns.iter().enumerate().map(|(k, c)| (c.header.as_str(), kind(k)));
    let mut table = Table::new(&format!("published-{}", published.number), source, columns)
        .title(&format!("Table {} as published", published.number))
        .caption(&format!("{} Printed in {}.", published.about, published.place));
    let mut heading = "";
    for row in &published.rows {
        if row.heading != heading {
            heading = &row.heading;
            let rest = std::iter::repeat_n(Cell::from(""), published.columns.len() - 1);
            table.push(std::iter::once(Cell::from(heading)).chain(rest));
        }
        table.push(row.cells.iter().map(|cell| Cell::from(cell.as_str())));
    }
    let settings: Vec<String> =
        published.settings.iter().map(|s| format!("{} = {} ({})", s.symbol, s.value, s.place)).collect();
    let printed =
        if settings.is_empty() { String::new() } else { format!("Printed with it: {}. ", settings.join(", ")) };
    table.note(&format!("{printed}Not printed: {}.", published.unprinted.join(", ")))
}

/// "[0.8906, 0.9939)".
pub fn interval(window: &Window) -> String {
    let high = window.high.as_ref().map_or("∞".to_owned(), decimal);
    format!("[{}, {high})", decimal(&window.low))
}

const VECTORS: usize = 400;
const TABLES: usize = 300;

/// The three invariants on random similarity vectors, exactly; every other one has entries above 1, where only the first two hold.
pub fn invariants(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for trial in 0..VECTORS {
        let unit_norm = trial % 2 == 0;
        let n = rng.random_range(1..=12_u32);
        let top = if unit_norm { 20 } else { 40 };
        let twentieth = |k: u32| Rational::from(k) / Rational::from(20);
        let tau = twentieth(rng.random_range(0..20));
        let s: Vec<Rational> = (0..n).map(|_| twentieth(rng.random_range(0..=top))).collect();
        let n_exact = Rational::from(n);
        let g = Rational::from(s.iter().filter(|s| **s > tau).count()) / &n_exact;
        let m = s.iter().fold(Rational::ZERO, |sum, s| sum + s) / &n_exact;
        let first = if g.is_zero() { m >= Rational::ZERO } else { m > &tau * &g };
        let second = !g.is_zero() || m <= tau;
        let third = !unit_norm || m <= &g + &tau * (Rational::ONE - &g);
        failures += usize::from(!(first && second && third));
    }
    Check {
        what: "the three invariants of M_GT and MIP on random similarity vectors, exactly".into(),
        trials: VECTORS,
        failures,
    }
}

/// x to `decimals` decimals, ties away from zero.
fn round(x: &Rational, decimals: usize) -> String {
    let scale = power_of_ten(decimals);
    let digits = (x * scale + Rational::ONE / Rational::from(2)).floor().to_string();
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    if decimals == 0 { padded } else { format!("{whole}.{fraction}") }
}

/// A measurement as a table would print it, from a similarity vector in thousandths.
fn honest_row(s: &[u32], tau: u32, decimals: usize) -> Measurement {
    let n = u32::try_from(s.len()).unwrap_or(u32::MAX);
    let recovered = s.iter().filter(|s| **s > tau).count();
    let total: u32 = s.iter().sum();
    let percent = Rational::from(recovered) * Rational::from(100) / Rational::from(n);
    let mean = Rational::from(total) / Rational::from(n) / Rational::from(1000);
    let read = |text: String| Printed::parse(&text).expect("a rounded number");
    Measurement {
        table: 0,
        method: "honest".into(),
        anchored: false,
        at: None,
        recovery: read(round(&percent, decimals) + "%"),
        mip: read(round(&mean, 3)),
        l0: None,
        n: Some(n),
    }
}

/// Rows printed from similarity vectors with a known threshold are never convicted: their windows contain it.
pub fn honest_tables(rng: &mut ChaCha20Rng) -> Check {
    let mut failures = 0;
    for _ in 0..TABLES {
        let (n, tau) = (rng.random_range(800..=1400_usize), rng.random_range(50..=990_u32));
        // A share of the features is recovered, all or none among them; the others lie anywhere up to τ.
        let share = [0, 1000, rng.random_range(0..=1000_u32)][rng.random_range(0..3_usize)];
        let mut draw = || match rng.random_range(0..1000) < share {
            true => rng.random_range(tau + 1..=1000),
            false => rng.random_range(0..=tau),
        };
        let s: Vec<u32> = (0..n).map(|_| draw()).collect();
        let row = honest_row(&s, tau, rng.random_range(1..=2));
        let tau = Rational::from(tau) / Rational::from(1000);
        failures += usize::from([true, false].iter().any(|&unit_norm| !Window::of(&row, unit_norm).contains(&tau)));
    }
    let what =
        "rows printed from a similarity vector with a known τ: the window that the printed digits leave contains τ";
    Check { what: what.into(), trials: TABLES, failures }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::features::stream;
    use crate::exact::rational::parse;

    fn row(recovery: &str, mip: &str, n: Option<u32>) -> Measurement {
        let (recovery, mip) = (Printed::parse(recovery).unwrap(), Printed::parse(mip).unwrap());
        Measurement { table: 0, method: "m".into(), anchored: false, at: None, recovery, mip, l0: None, n }
    }

    #[test]
    fn a_window_ends_where_the_invariants_say() {
        let half = |r| Window::of(&row("50%", "0.70", r), true);
        // G ∈ [.495, .505], m ∈ [.695, .705]: (.695 − .505)/.495 and .705/.495.
        assert_eq!(half(None), Window { low: parse("38/99").unwrap(), high: Some(Rational::ONE) });
        assert_eq!(Window::of(&row("50%", "0.70", None), false).high, Some(parse("47/33").unwrap()));
        assert_eq!(Window::of(&row("50%", "0.70", None), false).low, Rational::ZERO);
        let none = Window::of(&row("0.00%", "0.361", Some(800)), false);
        assert_eq!(none, Window { low: parse("0.3605").unwrap(), high: None });
        // Half a percent of 800 features may be four features, so that τ need not be above MIP.
        assert_eq!(Window::of(&row("0%", "0.361", Some(800)), false).low, Rational::ZERO);
    }

    #[test]
    fn the_checks_of_the_method_pass_and_notice_a_wrong_threshold() {
        let mut rng = stream(5, "audit test");
        assert_eq!((invariants(&mut rng).failures, honest_tables(&mut rng).failures), (0, 0));
        let s: Vec<u32> = (0..1000).collect();
        // 100 of 1000 exceed .899, with mean .4995: allowed for τ up to 4.99, and from (.499 − .1)/.9 = .444 upwards.
        let window = Window::of(&honest_row(&s, 899, 2), true);
        assert!(window.contains(&parse("0.899").unwrap()) && !window.contains(&parse("0.44").unwrap()));
    }

    #[test]
    fn rounding_prints_all_decimals() {
        for (x, decimals, text) in [("1/8", 2, "0.13"), ("0", 2, "0.00"), ("99999/1000", 2, "100.00"), ("7", 0, "7")] {
            assert_eq!(round(&parse(x).unwrap(), decimals), text);
        }
    }

    #[test]
    fn a_false_statement_among_others_keeps_its_proof() {
        let no = greater(&Printed::parse("0.1").unwrap(), &Printed::parse("0.9").unwrap());
        assert!(matches!(all([Answer::Yes, no, Answer::Open]), Answer::No(steps) if steps.len() == 1));
        assert!(matches!(all([Answer::Yes, Answer::Open]), Answer::Open));
    }
}
