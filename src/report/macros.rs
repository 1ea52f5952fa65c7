//! `macros.tex`: a LaTeX command for every number that a text about the claims may quote.

use super::latex;
use crate::claims::{Claim, Outcome, Quantity, Verdict};
use crate::stats::Cell;
use std::collections::BTreeSet;

/// A LaTeX command without arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Macro {
    /// Its name without the backslash: letters only.
    pub name: String,
    /// What it stands for.
    pub meaning: String,
    /// What it expands to, in and out of maths.
    pub latex: String,
}

/// Facts about a report that are no result of one claim.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the program.
    pub version: &'static str,
    /// The seed.
    pub seed: u64,
    /// The commit of the source, if it is known.
    pub commit: Option<String>,
}

/// The name of the command of a claim's quantity: `sdlab`, then the words of both with capitals, digits spelled.
pub fn name(claim: &str, quantity: &str) -> String {
    format!("sdlab{}{}", letters(claim), letters(quantity))
}

/// Words with capitals and without anything between them.
fn letters(text: &str) -> String {
    const DIGITS: [&str; 10] = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"];
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            out.push_str(DIGITS[digit as usize]);
            begins = true;
        } else if c.is_ascii_alphabetic() {
            out.push(if begins { c.to_ascii_uppercase() } else { c });
            begins = false;
        } else {
            begins = true;
        }
    }
    out
}

/// A verdict as words in a sentence.
pub fn verdict_words(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::HoldsWith(_) => "holds with an added hypothesis",
        Verdict::Refuted => "refuted",
        Verdict::Undecided(_) => "undecided",
    }
}

/// The commands of a quantity: its value, and the ends of its interval if it has one.
pub fn of_quantity(claim: &str, quantity: &Quantity) -> Vec<Macro> {
    let name = name(claim, quantity.name);
    let command = |ending: &str, of: &str, cell: &Cell| Macro {
        name: format!("{name}{ending}"),
        meaning: format!("{claim}: {of}{}", quantity.meaning),
        latex: latex::value(cell),
    };
    match &quantity.value {
        Cell::Interval { value, low, high, digits } => {
            let number = |value: f64| Cell::number(value, *digits);
            vec![
                command("", "", &number(*value)),
                command("Low", "lower end of the interval of ", &number(*low)),
                command("High", "upper end of the interval of ", &number(*high)),
            ]
        }
        cell => vec![command("", "", cell)],
    }
}

/// All commands of a report: counts, then for each claim its verdict, its citation and its quantities. Of two commands of one
/// name the first stays.
pub fn all(outcomes: &[(&Claim, &Outcome)], facts: &Facts) -> Vec<Macro> {
    let mut macros = general(outcomes, facts);
    for (claim, outcome) in outcomes {
        macros.push(Macro {
            name: name(claim.id, "verdict"),
            meaning: format!("{}: verdict", claim.id),
            latex: verdict_words(&outcome.verdict).to_owned(),
        });
        macros.push(Macro {
            name: name(claim.id, "cite"),
            meaning: format!("{}: citation of the claim", claim.id),
            latex: super::bibliography::citation(claim),
        });
        macros.extend(outcome.quantities.iter().flat_map(|quantity| of_quantity(claim.id, quantity)));
    }
    let mut seen = BTreeSet::new();
    macros.retain(|m| seen.insert(m.name.clone()));
    macros
}

/// How many claims have the verdict of this word.
pub fn count(outcomes: &[(&Claim, &Outcome)], word: &str) -> usize {
    outcomes.iter().filter(|(_, outcome)| outcome.verdict.word() == word).count()
}

/// Certificates of the claims.
pub fn certificates(outcomes: &[(&Claim, &Outcome)]) -> usize {
    outcomes.iter().flat_map(|(_, o)| &o.evidence).filter(|e| e.proof.is_some()).count()
}

/// Instances and draws on which corrected statements were checked.
pub fn checked(outcomes: &[(&Claim, &Outcome)]) -> usize {
    outcomes.iter().filter_map(|(_, o)| o.correction.as_ref()).flat_map(|c| &c.checks).map(|c| c.trials).sum()
}

fn general(outcomes: &[(&Claim, &Outcome)], facts: &Facts) -> Vec<Macro> {
    let number = |name: &str, meaning: &str, value: usize| (name.to_owned(), meaning.to_owned(), value.to_string());
    let text = |name: &str, meaning: &str, value: &str| (name.to_owned(), meaning.to_owned(), latex::inline(value));
    let figures = outcomes.iter().map(|(_, o)| o.figures.len()).sum::<usize>() + 1;
    let tables = outcomes.iter().map(|(_, o)| o.tables.len()).sum::<usize>() + 1;
    [
        number("ClaimCount", "claims", outcomes.len()),
        number("HoldsCount", "claims that hold as printed", count(outcomes, "holds")),
        number("HoldsWithCount", "claims that hold with an added hypothesis", count(outcomes, "holds-with")),
        number("RefutedCount", "claims that are refuted", count(outcomes, "refuted")),
        number("UndecidedCount", "claims that are undecided", count(outcomes, "undecided")),
        number("CertificateCount", "certificates", certificates(outcomes)),
        number("CheckedCount", "instances and draws on which corrections were checked", checked(outcomes)),
        number("FigureCount", "figures", figures),
        number("TableCount", "tables", tables),
        text("Version", "version of the program", facts.version),
        text("Seed", "seed of every search and experiment", &facts.seed.to_string()),
        text("Commit", "commit of the source", facts.commit.as_deref().unwrap_or("unknown")),
    ]
    .into_iter()
    .map(|(name, meaning, latex)| Macro { name: format!("sdlab{name}"), meaning, latex })
    .collect()
}

/// The file: a comment with the meaning, then the command, each.
pub fn file(macros: &[Macro]) -> String {
    let mut text =
        String::from("% Numbers and verdicts of the report. A command is followed by {} where a space follows it.\n");
    for m in macros {
        let meaning = m.meaning.split_whitespace().collect::<Vec<_>>().join(" ");
        text += &format!("% {meaning}\n\\newcommand{{\\{}}}{{{}}}\n", m.name, m.latex);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_letters_only_and_digits_are_spelled() {
        assert_eq!(name("thm-3.10-relu", "share-at-12"), "sdlabThmThreeOneZeroReluShareAtOneTwo");
    }

    #[test]
    fn an_interval_has_three_commands_and_an_exponent_is_set_in_maths() {
        let value = Cell::Interval { value: 1.5e-9, low: 1.0, high: 2.0, digits: 2 };
        let macros = of_quantity("x", &Quantity { name: "p", meaning: "probability".into(), value });
        let shown: Vec<_> = macros.iter().map(|m| (m.name.as_str(), m.latex.as_str())).collect();
        let expected = [
            ("sdlabXP", r"\ensuremath{1.5\times10^{-9}}"),
            ("sdlabXPLow", r"\ensuremath{1.0}"),
            ("sdlabXPHigh", r"\ensuremath{2.0}"),
        ];
        assert_eq!(shown, expected);
    }
}
